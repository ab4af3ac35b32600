"""Vocabularies of pieces with log-probabilities, and how a text is made ready for them.

A text is normalised as the vocabulary's tokenizer does it, a file's by what the file says. For the shipped vocabularies and those
typed in, spaces become "▁" or separate words; byte order marks and other invisible signs are dropped; and a character that no
piece has is replaced by its twin where a piece has that (’ for ', é for e and a combining accent, ， for a comma, A for Ａ).
What the vocabulary truly lacks is refused, or becomes an unknown piece.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from engines.arguments import Refusal, one_of, text, unbroken

ASSETS = Path(__file__).parents[2] / "assets" / "segmentation"
FILES = {"english": ASSETS / "storybook-unigram.json", "chinese": ASSETS / "quatrain-unigram.json"}
UNKNOWN = ("refuse", "piece", "bytes")
UNKNOWN_PENALTY = 10.0  # of an unknown piece below the least probable one, as SentencePiece and tokenizers have it
MOST_CHARACTERS = 1_000_000
MOST_LOG_PROB = 1e30
INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad"
# signs that are typed for one another; the first that a vocabulary has is taken
TWINS = (
    "'’‘ʼ‛`´′", '"”“„‟″', "-‐‑−", "—―⸺─–", ",，", ".。．", "!！", "?？", ";；", ":：", "(（", ")）", "[［【", "]］】", "~～〜", "…⋯",
)  # fmt: skip
OPENING = {"’": "‘", "”": "“"}


@dataclass(frozen=True)
class Prepared:
    """A text as a lattice reads it.

    text: what the pieces spell, N characters
    walls: int [w], ascending; places (0 < place < N) that no piece crosses
    unknown: "refuse"; "piece" or "bytes" where a character that is no piece may stand alone
    """

    text: str
    walls: np.ndarray
    unknown: str = "refuse"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Pieces and their log-probabilities.

    pieces: distinct, none empty
    log_probs: float64 [pieces], natural logarithms; they need not sum to 1 as probabilities
    metaspace: whether spaces are written "▁" and one stands before the text, as SentencePiece does
    normalise: text -> the parts that its tokenizer cuts apart first; None: by `metaspace`
    """

    pieces: tuple[str, ...]
    log_probs: np.ndarray
    metaspace: bool = False
    normalise: Callable[[str], list[str]] | None = None

    def __post_init__(self):
        try:
            log_probs = np.array([float(score) for score in self.log_probs], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            log_probs = np.array([math.nan])
        if not all(isinstance(piece, str) and piece for piece in self.pieces):
            raise Refusal("{parameter} must hold pieces of at least one character.", parameter="vocabulary")
        if not self.pieces or len(set(self.pieces)) != len(self.pieces):
            raise Refusal("{parameter} must hold distinct pieces, at least one.", parameter="vocabulary")
        if len(log_probs) != len(self.pieces) or not (np.abs(log_probs) <= MOST_LOG_PROB).all():
            raise Refusal("{parameter} needs a finite log-probability for each piece.", parameter="vocabulary")
        for piece in self.pieces:
            unbroken("vocabulary", piece)
        object.__setattr__(self, "log_probs", log_probs)

    @classmethod
    def of(cls, vocabulary: Vocabulary | Mapping[str, float] | str) -> Vocabulary:
        """A vocabulary as it is, a shipped one by its name, or one made from piece -> log-probability."""
        if isinstance(vocabulary, str):
            return _shipped(one_of("vocabulary", vocabulary, FILES))
        if isinstance(vocabulary, Vocabulary):
            return vocabulary
        if not isinstance(vocabulary, Mapping):
            raise Refusal("{parameter} must be a Vocabulary, a mapping or a name.", parameter="vocabulary")
        return of_rows(vocabulary.items())

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.pieces))

    @cached_property
    def unknown_log_prob(self) -> float:
        return float(self.log_probs.min()) - UNKNOWN_PENALTY

    @cached_property
    def trie(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The prefixes as numbered states (0 is the empty one): alphabet (code points), keys of the steps
        (state * (letters + 1) + letter, sorted), where each leads, and the piece each state spells or -1."""
        alphabet = np.unique(codes("".join(self.pieces)))
        letter = {chr(code): i + 1 for i, code in enumerate(alphabet)}
        states: dict[str, int] = {"": 0}
        steps: dict[int, int] = {}
        spells = {}
        for index, piece in enumerate(self.pieces):
            state = 0
            for end in range(1, len(piece) + 1):
                following = states.setdefault(piece[:end], len(states))
                steps[state * (len(alphabet) + 1) + letter[piece[end - 1]]] = following
                state = following
            spells[state] = index
        keys = np.array(sorted(steps))
        leads = np.array([steps[key] for key in keys.tolist()])
        return alphabet, keys, leads, np.array([spells.get(state, -1) for state in range(len(states))])

    @cached_property
    def characters(self) -> frozenset[str]:
        """Every character that occurs in a piece."""
        return frozenset("".join(self.pieces))

    @cached_property
    def singles(self) -> np.ndarray:
        """Of each letter (0: none of the alphabet): whether it is a piece of its own."""
        own = np.zeros(len(self.trie[0]) + 1, bool)
        own[self.letters(codes("".join(piece for piece in self.pieces if len(piece) == 1)))] = True
        own[0] = False
        return own

    @cached_property
    def borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each letter (0: none of the alphabet): whether a cut before it, and whether one after it, is forced."""
        alphabet = self.trie[0]
        before, after = np.ones(len(alphabet) + 1, bool), np.ones(len(alphabet) + 1, bool)
        before[self.letters(codes("".join(piece[1:] for piece in self.pieces)))] = False
        after[self.letters(codes("".join(piece[:-1] for piece in self.pieces)))] = False
        return before, after

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point -> letter (0: none), as far as the alphabet reaches and one further."""
        alphabet = self.trie[0]
        table = np.zeros(int(alphabet[-1]) + 2, np.int64)
        table[alphabet] = np.arange(1, len(alphabet) + 1)
        return table

    def letters(self, code_points: np.ndarray) -> np.ndarray:
        """The letter of each code point, 0 where the alphabet lacks it."""
        return self._table[np.minimum(code_points, len(self._table) - 1)]

    def prepare(self, text: str, unknown: str = "refuse", most: int = MOST_CHARACTERS) -> Prepared:
        """The text as the lattice reads it: normalised, and with twins for what is in no piece.

        unknown: what becomes of a character that the vocabulary lacks: "refuse" it with ValueError, or let it stand alone, as an
            unknown "piece" or as the pieces of its UTF-8 "bytes", 10 nats below the least probable piece
        ValueError for an empty text and for one of more than `most` characters.
        """
        unknown = one_of("unknown", unknown, UNKNOWN)
        return prepare(
            text, self.characters, self.normalise or self._parts, unknown, most, twins=self.normalise is None
        )

    def _parts(self, text: str) -> list[str]:
        if self.metaspace:
            return ["▁" + "▁".join(text.split())]
        if any(sign.isspace() for sign in self.characters):
            blank = " " if " " in self.characters else ""
            return [
                "".join(s if s in self.characters or not s.isspace() else blank for s in text.replace("\r\n", "\n"))
            ]
        return text.split()

    def chunks(self, prepared: Prepared) -> tuple[list[str], np.ndarray]:
        """The prepared text, split at the cuts that every segmentation has, and where each part starts."""
        text = prepared.text
        letters = self.letters(codes(text))
        before, after = self.borders
        forced = np.flatnonzero(after[letters[:-1]] | before[letters[1:]]) + 1
        cuts = (np.union1d(forced, prepared.walls) if len(prepared.walls) else forced).tolist()
        starts = [0, *cuts]
        return [text[i:j] for i, j in zip(starts, [*cuts, len(text)], strict=True)], np.array(starts)


def prepare(
    given: str,
    characters: frozenset[str],
    parts: Callable[[str], list[str]],
    unknown: str,
    most: int,
    twins: bool = False,
) -> Prepared:
    """What `Vocabulary.prepare` says, for any tokenizer: characters: all that its pieces hold; parts: text -> its parts;
    twins: whether characters that no piece has are dropped or replaced where that helps."""
    given = text("text", given, most)
    lacking = set(given) - characters
    if twins and lacking & set(INVISIBLE):
        given = given.translate({ord(sign): None for sign in lacking & set(INVISIBLE)})
    if twins and not all(map(str.isspace, lacking)):
        given = unicodedata.normalize("NFC", given)
    words = [word for word in parts(given) if word]
    whole = "".join(words)
    lacking = set(whole) - characters
    if twins and lacking:
        words = [_with_twins(word, characters) for word in words]
        whole = "".join(words)
        lacking = set(whole) - characters
    if not whole.strip("▁ \n"):
        raise Refusal("{parameter} is empty: type something to cut.", parameter="text")
    if len(whole) > most:
        raise Refusal(
            "{parameter} has {length} characters once it is normalised; at most {most} can be cut at once.",
            parameter="text",
            length=len(whole),
            most=most,
        )
    if lacking and unknown == "refuse":
        missing = sorted(lacking, key=whole.index)
        raise Refusal(
            "{parameter} holds {characters}, which no piece of this vocabulary has: take it out, or choose an unknown "
            "piece or byte fallback.",
            parameter="text",
            characters=", ".join(f"{sign!r} (U+{ord(sign):04X})" for sign in missing[:5]) + ", …" * (len(missing) > 5),
        )
    return Prepared(whole, np.cumsum([len(word) for word in words], dtype=np.int64)[:-1], unknown)


def _with_twins(part: str, characters: frozenset[str]) -> str:
    """A part of a text with a twin for each character that no piece holds, where there is one."""
    if characters.issuperset(part):
        return part
    pairs = zip(part, " " + part, strict=False)  # each with the one before it
    return "".join(sign if sign in characters else _twin(sign, before, characters) for sign, before in pairs)


def _twin(sign: str, before: str, characters: frozenset[str]) -> str:
    if sign.isspace() and " " in characters:
        return " "
    for spelling in dict.fromkeys((sign, *(unicodedata.normalize(form, sign) for form in ("NFKC", "NFD", "NFKD")))):
        found = [_same(letter, before, characters) for letter in spelling]
        if all(found):
            return "".join(found)
    return sign


def _same(letter: str, before: str, characters: frozenset[str]) -> str:
    """The letter, or a sign that is typed for it, of those that the vocabulary has; "" where there is none."""
    if letter in characters:
        return letter
    found = next((c for group in TWINS if letter in group for c in group if c in characters), "")
    opens = before.isspace() or before in "▁([（【‘“—–-"
    return OPENING.get(found, found) if opens and OPENING.get(found) in characters else found


def codes(text: str) -> np.ndarray:
    """The code points, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def parse_pieces(pieces: str) -> Vocabulary:
    """A vocabulary written as "a=0.2, b=0.2, ab=0.25": pieces and probabilities (any positive weights)."""
    if not isinstance(pieces, str):
        raise Refusal("{parameter} must be text: write for example a=0.2, b=0.2, ab=0.25.", parameter="pieces")
    table: dict[str, float] = {}
    composed = unicodedata.normalize("NFC", unbroken("pieces", pieces)).translate({ord(c): " " for c in ",，\ufeff"})
    for item in composed.replace("＝", "=").split():
        piece, _, probability = item.rpartition("=")
        try:
            weight = float(probability)
        except ValueError:
            weight = math.nan
        if not piece or not 0 < weight < math.inf:
            raise Refusal(
                "{parameter}: {item} is not of the form piece=probability with a positive number.",
                parameter="pieces",
                item=repr(item[:40]),
            )
        if piece in table:
            raise Refusal("{parameter} names {item} twice.", parameter="pieces", item=repr(piece[:40]))
        table[piece] = math.log(weight)
    if not table:
        raise Refusal("{parameter} is empty: write for example a=0.2, b=0.2, ab=0.25.", parameter="pieces")
    return Vocabulary.of(table)


@cache
def _shipped(name: str) -> Vocabulary:
    rows = json.loads(FILES[name].read_text(encoding="utf-8"))
    return of_rows(rows, metaspace=name == "english")


def of_rows(rows: Iterable[tuple[str, float]], **more) -> Vocabulary:
    """A vocabulary of (piece, log-probability) pairs."""
    pairs = list(rows)
    scores = np.array([score for _, score in pairs], dtype=object)
    return Vocabulary(tuple(piece for piece, _ in pairs), scores, **more)
