"""Vocabularies of one's own: .model and .vocab of sentencepiece, tokenizer.json of tokenizers; unigram and BPE.

A .model is read here: it is a protocol buffer of three plain messages, and neither sentencepiece nor protobuf is needed for
it. Names of control tokens (<s>, [CLS], ...) are no pieces: in a text they are text.
"""

from __future__ import annotations

import contextlib
import json
import struct
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from engines.arguments import Refusal, number, one_of
from engines.segmentation.bpe import BytePairs
from engines.segmentation.vocabulary import FILES, INVISIBLE, Vocabulary, of_rows, parse_pieces

MOST_BYTES = 20_000_000
MOST_PIECES = 300_000
VOCABULARIES = (*FILES, "own", "file")
CONTROLS = frozenset({"<unk>", "<s>", "</s>", "<pad>", "<mask>", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"})
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of a sentencepiece


def load_vocabulary(name: str = "english", pieces: str = "", file: str | None = None) -> Vocabulary | BytePairs:
    """A shipped vocabulary ("english", "chinese"); with "own" the one that `parse_pieces` reads from `pieces`; with "file"
    that of a tokenizer's file (see `load_tokenizer`)."""
    name = one_of("vocabulary", name, VOCABULARIES)
    if name == "own":
        return parse_pieces(pieces)
    if name != "file":
        return Vocabulary.of(name)
    if not file:
        raise Refusal("{parameter} is missing: give a .model, .vocab or tokenizer.json.", parameter="file")
    return load_tokenizer(file)


def load_tokenizer(file: str | Path) -> Vocabulary | BytePairs:
    """The vocabulary of a tokenizer's file of at most 20 MB, whatever its name: a .model or .vocab of sentencepiece, a
    tokenizer.json of tokenizers; a `Vocabulary` of a unigram model, `BytePairs` of BPE. ValueError for others (WordPiece, word, char).

    It normalises as the file says. A .vocab does not say: NFKC and "▁" for spaces are taken, sentencepiece's default.
    """
    try:
        path = Path(file)
        stat = path.stat()
        if stat.st_size > MOST_BYTES:
            raise Refusal("{parameter} may have at most {most} bytes.", parameter="file", most=MOST_BYTES)
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except Refusal:
        raise
    except (OSError, TypeError, ValueError) as fault:
        raise Refusal("{parameter} cannot be read.", parameter="file") from fault


@lru_cache(4)
def _read(path: Path, time: int, size: int) -> Vocabulary | BytePairs:
    data = path.read_bytes()
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode("utf-8-sig")
    if text is not None and text.lstrip().startswith("{"):
        return _of_json(text)
    if text is not None and "\t" in text.split("\n", 1)[0]:
        return _of_vocab(text)
    return _of_model(data)


def _enough(count: int) -> None:
    if not 0 < count <= MOST_PIECES:
        raise Refusal("{parameter} must hold 1 to {most} pieces.", parameter="file", most=MOST_PIECES)


def _of_vocab(text: str) -> Vocabulary | BytePairs:
    rows = []
    for line in text.splitlines() if "\r\n" in text else text.split("\n"):
        if line:
            piece, _, score = line.rpartition("\t")
            try:
                rows.append((piece, number("file", float(score))))
            except ValueError:
                raise Refusal(
                    "{parameter}: {line} is not a piece, a tab and a number.", parameter="file", line=repr(line[:40])
                ) from None
    _enough(len(rows))

    def normalise(text: str) -> str:
        signs = (" " if sign.isspace() else sign for sign in text if sign not in INVISIBLE)
        return unicodedata.normalize("NFKC", "".join(signs))

    kept = [row for row in dict(rows).items() if row[0] not in CONTROLS and not _byte(row[0])]
    scores = [score for _, score in kept if score]
    # sentencepiece's BPE has the ranks 0, -1, -2, ... for scores
    if scores and all(score == int(score) for score in scores) and len(set(scores)) == len(scores):
        return BytePairs.of_scores(kept, _metaspace(normalise, words=True))
    return of_rows(kept, normalise=_metaspace(normalise))


def _byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _metaspace(
    normalise: Callable[[str], str],
    *,
    prefix: bool = True,
    collapse: bool = True,
    escape: bool = True,
    suffix: bool = False,
    words: bool = False,
) -> Callable[[str], list[str]]:
    """sentencepiece's way with spaces after `normalise`; words: cut before each "▁" (no merge crosses it)."""

    def parts(text: str) -> list[str]:
        text = normalise(text)
        if collapse:
            text = " ".join(filter(None, text.split(" ")))
        if prefix and text.strip():
            text = text + " " if suffix else " " + text
        if escape:
            text = text.replace(" ", "▁")
        if not words:
            return [text]
        return [("▁" if i else "") + word for i, word in enumerate(text.split("▁")) if i or word]

    return parts


def _of_model(data: bytes) -> Vocabulary | BytePairs:
    """sentencepiece's ModelProto: pieces (1), trainer_spec (2), normalizer_spec (3)."""
    rows, trainer, normalizer = [], {}, {}
    try:
        for field, value in _fields(data):
            if field == 1:
                piece = dict(_fields(value))
                rows.append(
                    (piece[1].decode(), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0], piece.get(3, NORMAL))
                )
            elif field == 2:
                trainer = dict(_fields(value))
            elif field == 3:
                normalizer = dict(_fields(value))
        kind = trainer.get(3, 1)
        precompiled = normalizer.get(2, b"")
        from tokenizers.normalizers import Precompiled

        charsmap = Precompiled(precompiled) if precompiled else None
    except Exception as fault:
        raise Refusal(
            "{parameter} is no .model or .vocab of sentencepiece and no tokenizer.json.", parameter="file"
        ) from fault
    if kind not in (1, 2):
        raise Refusal("{parameter} must hold a unigram or BPE model, not one of words or characters.", parameter="file")
    _enough(len(rows))
    parts = _metaspace(
        charsmap.normalize_str if charsmap else str,
        prefix=bool(normalizer.get(3, 1)),
        collapse=bool(normalizer.get(4, 1)),
        escape=bool(normalizer.get(5, 1)),
        suffix=bool(trainer.get(24, 0)),
        words=kind == 2,
    )
    highest = max((score for _, score, form in rows if form == NORMAL), default=0.0)
    kept = {}
    for piece, score, form in rows:
        if form == USER_DEFINED:  # so that it is always chosen, as sentencepiece does
            score = len(piece) * highest - 0.1 if kind == 1 else float("inf")
        if piece and form in (NORMAL, USER_DEFINED):
            kept[piece] = score
    if kind == 2:
        return BytePairs.of_scores(list(kept.items()), parts)
    return of_rows(kept.items(), normalise=parts)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """A protocol buffer's fields: (number, int of a varint, bytes of the others)."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 2: None, 5: 4}[key & 7]
        length = varint() if length is None else length
        if at + length > len(data):
            raise IndexError
        yield key >> 3, data[at : at + length]
        at += length


def _of_json(text: str) -> Vocabulary | BytePairs:
    """tokenizers' own file."""
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(text)
        table = json.loads(text)
        model = table["model"]
        special = {token["content"] for token in table.get("added_tokens") or [] if token.get("special")}
    except Exception as fault:
        raise Refusal("{parameter} is no tokenizer.json that tokenizers can read.", parameter="file") from fault

    def parts(given: str) -> list[str]:
        given = tokenizer.normalizer.normalize_str(given) if tokenizer.normalizer else given
        if tokenizer.pre_tokenizer is None:
            return [given]
        return [part for part, _ in tokenizer.pre_tokenizer.pre_tokenize_str(given)]

    if "vocab" not in model or not model["vocab"]:
        raise Refusal("{parameter} must hold 1 to {most} pieces.", parameter="file", most=MOST_PIECES)
    _enough(len(model["vocab"]))
    if isinstance(model["vocab"], list):  # unigram, named or not
        unknown = model.get("unk_id")
        rows = {
            piece: score
            for i, (piece, score) in enumerate(model["vocab"])
            if i != unknown and piece and piece not in special and not _byte(piece)
        }
        return of_rows(rows.items(), normalise=parts)
    if "merges" not in model:
        raise Refusal("{parameter} must hold a unigram or BPE model, not one of words or characters.", parameter="file")
    pairs = (tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"])
    return BytePairs(
        pieces=frozenset(
            piece
            for piece in model["vocab"]
            if piece not in special and piece != model.get("unk_token") and not _byte(piece)
        ),
        ranks={pair: rank for rank, pair in enumerate(pairs)},
        parts=parts,
        prefix=model.get("continuing_subword_prefix") or "",
        suffix=model.get("end_of_word_suffix") or "",
        keeps_words=bool(model.get("ignore_merges")),
        byte_level='"ByteLevel"' in json.dumps([table.get("pre_tokenizer"), table.get("normalizer")]),
    )
