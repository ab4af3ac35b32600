"""Tokenizers' files: what tokenizers and sentencepiece make of a text, ours must too; BPE-dropout by enumeration."""

import base64
import gzip
import itertools
import json
import math
import struct
from collections import defaultdict

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from engines.segmentation import BytePairs, Vocabulary, load_tokenizer, sample, sample_bpe
from engines.segmentation.bpe import readable
from engines.segmentation.experiments import compare, read

LINES = [
    "the cat sat on the mat and the bat ate the rat",
    "a hat that fat cats chat at; the thin cat's tail",
    "don’t scatter that batter, café latte for the matter",
] * 5
TEXTS = ["the cat sat", "Ｔｈｅ　ﬁt  cafe\u0301 chats", "that scatter ", "the <s> cat </s>"]


def trained(model, trainer, before, normaliser=None):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = before
    if normaliser:
        tokenizer.normalizer = normaliser
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def words(text, cuts):
    places = np.flatnonzero(cuts).tolist()
    return [text[i:j] for i, j in itertools.pairwise(places)]


def merged(text, tokenizer, unknown="piece"):
    text, cuts = sample_bpe(text, tokenizer, 0.0, 1, 0, unknown)
    return words(text, cuts[0])


def test_unigram_of_tokenizers(tmp_path):
    tokenizer = trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False),
        pre_tokenizers.Metaspace(),
        normalizers.NFKC(),
    )
    path = tmp_path / "TOKENIZER.JSON"
    tokenizer.save(str(path))
    ours = load_tokenizer(path)
    assert isinstance(ours, Vocabulary) and "<unk>" not in ours.pieces
    score = dict(zip(ours.pieces, ours.log_probs, strict=True))
    for text in TEXTS[:3]:
        theirs = tokenizer.encode(text).tokens
        mine = sample(text, ours, "viterbi", unknown="piece")[0]
        assert "".join(mine) == "".join(theirs)
        least = ours.unknown_log_prob
        assert sum(score.get(p, least) for p in mine) == pytest.approx(
            sum(score.get(p, least * len(p)) for p in theirs), abs=1e-9
        )
    result = compare("the cat", "file", file=str(path), n=100)
    assert result.count > 1 and result.text == "▁the▁cat"


BPES = {
    "bytes": (
        models.BPE(),
        {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "special_tokens": ["<s>"]},
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ),
    "suffix": (
        models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
        {"special_tokens": ["<unk>"], "end_of_word_suffix": "</w>"},
        pre_tokenizers.BertPreTokenizer(),
    ),
    "prefix": (
        models.BPE(unk_token="<unk>", continuing_subword_prefix="##"),
        {"special_tokens": ["<unk>"], "continuing_subword_prefix": "##"},
        pre_tokenizers.BertPreTokenizer(),
    ),
}


@pytest.mark.parametrize("kind", BPES)
def test_bpe_of_tokenizers(kind, tmp_path):
    model, options, before = BPES[kind]
    trainer = trainers.BpeTrainer(vocab_size=330 if kind == "bytes" else 70, show_progress=False, **options)
    tokenizer = trained(model, trainer, before, normalizers.NFC())
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(tmp_path / "tokenizer.json")
    assert isinstance(ours, BytePairs)
    for text in (TEXTS[0], "cafe\u0301 chats", TEXTS[2]):
        theirs = [piece.replace("</w>", "").replace("##", "") for piece in tokenizer.encode(text).tokens]
        assert merged(text, ours) == theirs
    # names of special tokens are text
    assert "<s>" not in merged("the <s> cat", ours)


def exact_dropout(word, tokenizer, p):
    """Algorithm 1 of Provilkov et al. 2020, followed through every set of merges left out."""
    law = defaultdict(float)
    stack = [(tuple(word), 1.0)]
    while stack:
        pieces, share = stack.pop()
        ranks = sorted(
            (tokenizer.ranks[pair], i) for i, pair in enumerate(itertools.pairwise(pieces)) if pair in tokenizer.ranks
        )
        for left_out, (_, i) in enumerate(ranks):  # the first that stays in
            if share * p**left_out * (1 - p) > 1e-15:
                stack.append(
                    ((*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]), share * p**left_out * (1 - p))
                )
        law[pieces] += share * p ** len(ranks)
    return law


@pytest.mark.parametrize("p", [0.0, 0.2, 0.6, 1.0])
def test_bpe_dropout_has_the_published_law(p):
    merges = ["a b", "ab a", "b a", "ab ab", "ba b"]
    ranks = {tuple(pair.split(" ")): rank for rank, pair in enumerate(merges)}
    pieces = frozenset("ab") | {"".join(pair) for pair in ranks}
    tokenizer = BytePairs(pieces, ranks, str.split)
    law, n = exact_dropout("ababab", tokenizer, p), 20_000
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    text, cuts = sample_bpe("ababab", tokenizer, p, n, seed=3)
    found = defaultdict(int)
    for row in cuts:
        found[tuple(words(text, row))] += 1
    assert set(found) <= set(law)
    for path, share in law.items():
        assert abs(found[path] / n - share) <= 4.5 * math.sqrt(share * (1 - share) / n) + 1e-12
    assert np.array_equal(cuts, sample_bpe("ababab", tokenizer, p, n, seed=3)[1])


# sentencepiece's protocol buffer, written here as its schema says


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def model(rows, kind, charsmap=b"", **flags):
    trainer = field(1, b"input.txt") + field(3, kind)
    normalizer = field(1, b"nmt_nfkc") + (field(2, charsmap) if charsmap else b"")
    for name, number in {"prefix": 3, "collapse": 4, "escape": 5}.items():
        if name in flags:
            normalizer += field(number, int(flags[name]))
    pieces = b"".join(
        field(1, field(1, piece.encode()) + field(2, float(score)) + (field(3, form) if form != 1 else b""))
        for piece, score, form in rows
    )
    return pieces + field(2, trainer) + field(3, normalizer)


ROWS = [
    ("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("<0x41>", 0, 6), ("▁", -2, 1), ("▁a", -1.5, 1), ("a", -2.5, 1),
    ("b", -2.25, 1), ("ab", -1.25, 1), ("▁ab", -3, 1), ("ba", -1.75, 1), ("bbbb", 0, 4), ("s", -4, 1), ("gone", -1, 5),
]  # fmt: skip


def test_unigram_model_of_sentencepiece(tmp_path):
    path = tmp_path / "m.MODEL"
    path.write_bytes(model(ROWS, 1))
    ours = load_tokenizer(path)
    assert set(ours.pieces) == {"▁", "▁a", "a", "b", "ab", "▁ab", "ba", "bbbb", "s"}
    assert dict(zip(ours.pieces, ours.log_probs, strict=True))["bbbb"] == pytest.approx(4 * -1.25 - 0.1)
    assert sample("abba  ba ", ours, "viterbi")[0] == ["▁ab", "ba", "▁", "ba"]
    with pytest.raises(ValueError, match="'<' "):
        sample("<s>", ours)
    assert sample("<s>", ours, "viterbi", unknown="piece")[0] == ["▁", "<", "s", ">"]
    path.write_bytes(model(ROWS, 1, prefix=False, collapse=False))
    assert sample("ab  a", load_tokenizer(path), "viterbi")[0] == ["ab", "▁", "▁a"]


def test_vocab_of_sentencepiece(tmp_path):
    path = tmp_path / "m.vocab"
    for end in ("\n", "\r\n"):
        rows = [row for row in ROWS if row[2] != 5]
        path.write_text(end.join(f"{piece}\t{score}" for piece, score, _ in rows), encoding="utf-8-sig", newline="")
        ours = load_tokenizer(path)
        assert isinstance(ours, Vocabulary) and sample("ａb\r\nba", ours, "viterbi")[0] == ["▁ab", "▁", "ba"]
    ranked = ["<unk>\t0", "<s>\t0", "▁a\t-0", "ab\t-1", "▁ab\t-2", "▁\t-3", "a\t-4", "b\t-5"]
    path.write_text("\n".join(ranked) + "\n", encoding="utf-8")
    ours = load_tokenizer(path)
    assert isinstance(ours, BytePairs) and merged("ab bab", ours) == ["▁ab", "▁", "b", "ab"]
    path.write_bytes(
        model([(row.split("\t")[0], float(row.split("\t")[1]), 2 if "<" in row else 1) for row in ranked], 2)
    )
    assert merged("ab bab", load_tokenizer(path)) == ["▁ab", "▁", "b", "ab"]


def test_a_passage_by_bpe_dropout(tmp_path):
    tokenizer = trained(BPES["bytes"][0], trainers.BpeTrainer(vocab_size=300, show_progress=False), BPES["bytes"][2])
    path = str(tmp_path / "tokenizer.json")
    tokenizer.save(path)
    result = read("the cat sat", "file", file=path, method="bpe-dropout", dropout=0.5, n=200)
    assert result.distinct > 5 and ((result.exact > 0) & (result.exact <= 1)).all() and math.isnan(result.entropy)
    assert result.byte_level and result.text == "theĠcatĠsat"
    assert [readable(piece) for piece in ("Ġcat", "Ã©", "Ã", "€")] == ["▁cat", "é", "<0xC3>", "€"]
    with pytest.raises(ValueError, match="method must be bpe-dropout"):
        read("the cat sat", "file", file=path)
    with pytest.raises(ValueError, match="no probabilities"):
        compare("the cat", "file", file=path)
    with pytest.raises(ValueError, match="n is too many draws"):
        sample_bpe("t" * 5000, load_tokenizer(path), n=1000)
    for wrong in ({"dropout": 2}, {"dropout": "a"}, {"n": 0}, {"seed": -1}, {"unknown": "x"}, {"text": None}):
        with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}.*\.$"):
            sample_bpe(**{"text": "the", "tokenizer": load_tokenizer(path), **wrong})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"hello world",
        b"{}",
        b"{ not json",
        b"a\tb\n",
        "ü\tnan".encode(),
        model(ROWS, 3),
        model([], 1),
        model(ROWS, 1)[:-5],
        model(ROWS, 1, charsmap=b"\xff\xff\xff\xff"),
        json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}).encode(),
        gzip.compress(b"a\t1\n", mtime=0),
        base64.b64encode(b"a" * 99),
    ],
    ids=repr,
)
def test_files_that_hold_no_tokenizer_are_refused_with_a_sentence(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^file .*\.$|^file: .*\.$"):
        load_tokenizer(path)


def test_agreement_with_sentencepiece(tmp_path):
    spm = pytest.importorskip("sentencepiece")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES * 4), encoding="utf-8")
    for kind in ("unigram", "bpe"):
        spm.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(tmp_path / kind), vocab_size=40, model_type=kind, minloglevel=2
        )
        theirs = spm.SentencePieceProcessor(model_file=str(tmp_path / f"{kind}.model"))
        for ending in (".model", ".vocab"):
            ours = load_tokenizer(tmp_path / (kind + ending))
            for line in TEXTS[:3]:
                mine = merged(line, ours) if kind == "bpe" else sample(line, ours, "viterbi", unknown="piece")[0]
                assert mine == theirs.encode(line, out_type=str)
