"""Byte pair encoding, and its random segmentation: BPE-dropout.

Provilkov, Emelianenko, Voita, "BPE-Dropout: Simple and Effective Subword Regularization" (2020), algorithm 1: in each step each merge that
applies to the word is left out with probability p; of the rest the one that was learned first is made, the leftmost where it
applies twice; a word is done when a step leaves nothing. At p = 0 it is BPE, at p = 1 characters.

Written here because tokenizers' own dropout takes no seed and has another law: entries of its queue that no longer apply give a
word further chances (0.16 in total variation on one word of ten letters at p = 0.3). sentencepiece leaves out a merge once and
for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise

import numpy as np

from engines.arguments import Refusal, number, one_of, whole
from engines.segmentation.vocabulary import MOST_CHARACTERS, UNKNOWN, Prepared, Vocabulary, prepare

MOST_CELLS = 40_000_000
MOST_STATES = 20_000  # segmentations that the exact distribution of a word may pass through
MOST_WORK = 400_000_000  # draws times the square of a word's length, summed over the words


@dataclass(frozen=True, eq=False)
class BytePairs:
    """A BPE tokenizer.

    pieces: all of them
    ranks: (left piece, right piece) -> rank of their merge, the lowest first; or merged piece -> rank
    parts: text -> the words that it is cut into first
    prefix: before every piece but a word's first; suffix: after a word's last piece
    keeps_words: whether a word that is a piece is never cut ("ignore_merges")
    byte_level: whether pieces are written in GPT-2's letters for bytes
    """

    pieces: frozenset[str]
    ranks: Mapping
    parts: Callable[[str], list[str]]
    prefix: str = ""
    suffix: str = ""
    keeps_words: bool = False
    byte_level: bool = False

    @classmethod
    def of_scores(cls, rows: list[tuple[str, float]], parts: Callable[[str], list[str]]) -> BytePairs:
        """sentencepiece's BPE: any two pieces merge that give a piece, the one of the highest score first."""
        return cls(frozenset(piece for piece, _ in rows), {piece: -score for piece, score in rows}, parts)

    @cached_property
    def characters(self) -> frozenset[str]:
        """Every character that is a piece within a word, at its start or at its end."""
        bare = (piece.removeprefix(self.prefix).removesuffix(self.suffix) for piece in self.pieces)
        return frozenset(piece for piece in bare if len(piece) == 1)

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.pieces))

    def prepare(self, text: str, unknown: str = "refuse", most: int = MOST_CHARACTERS) -> Prepared:
        """As of a `Vocabulary`; walls stand between words."""
        return prepare(text, self.characters, self.parts, one_of("unknown", unknown, UNKNOWN), most)

    def _merges(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """The merges that may apply within a word: keys ((start * L + middle) * L + end, sorted, L = length + 1), and ranks."""
        size = len(word) + 1

        def piece(i: int, j: int) -> str:
            return self.prefix * (i > 0) + word[i:j] + self.suffix * (j == len(word))

        spans = [
            [j for j in range(i + 1, min(size, i + self.longest + 1)) if j == i + 1 or piece(i, j) in self.pieces]
            for i in range(size)
        ]
        by_pair = not self.ranks or isinstance(next(iter(self.ranks)), tuple)
        found = {}
        for i in range(len(word)):
            for j in spans[i]:
                for k in spans[j] if j < len(word) else ():
                    rank = self.ranks.get((piece(i, j), piece(j, k)) if by_pair else piece(i, k))
                    if rank is not None:
                        found[(i * size + j) * size + k] = rank
        keys = np.array(sorted(found), np.int64)
        return keys, np.array([found[key] for key in keys.tolist()], np.float64)

    def draw(self, word: str, dropout: float, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws of a word as cuts, bool [n, length + 1]."""
        size = len(word) + 1
        cuts = np.ones((n, size), bool)
        whole_word = word + self.suffix
        if self.keeps_words and whole_word in self.pieces:
            cuts[:, 1:-1] = False
            return cuts
        keys, ranks = self._merges(word)
        places, rows = np.arange(size), np.arange(n)
        while len(keys) and len(rows):
            now = cuts[rows]
            before = np.maximum.accumulate(np.where(now, places, 0), 1)[:, :-2]
            after = np.minimum.accumulate(np.where(now, places, size)[:, ::-1], 1)[:, ::-1][:, 2:]
            key = (before * size + places[1:-1]) * size + after
            at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            applies = (keys[at] == key) & now[:, 1:-1]
            if dropout:
                applies &= rng.random(applies.shape) >= dropout
            rank = np.where(applies, ranks[at], np.inf)
            first = rank.argmin(1)
            merges = applies[np.arange(len(rows)), first]
            rows, first = rows[merges], first[merges]
            cuts[rows, first + 1] = False
        return cuts

    def law(self, word: str, dropout: float) -> tuple[np.ndarray, np.ndarray]:
        """The exact distribution of `draw`: cuts, bool [K, length + 1], and their probabilities, float64 [K].

        What may be merged depends on the present pieces alone: a chain of states, followed from the characters on. Of r merges
        that apply, in order of rank, the i-th is made with probability p^(i - 1) (1 - p), and none with p^r.
        Refusal where the chain has more than 20,000 states.
        """
        size = len(word) + 1
        if self.keeps_words and word + self.suffix in self.pieces:
            return self.draw(word, 0, 1, np.random.default_rng(0)), np.ones(1)
        keys, ranks = self._merges(word)
        rank_of = dict(zip(keys.tolist(), ranks.tolist(), strict=True))
        ended: dict[tuple[int, ...], float] = {}
        level = {tuple(range(size)): 1.0}
        seen = 1
        while level:  # each merge takes away one cut: states of a level have equally many
            following: dict[tuple[int, ...], float] = {}
            for cuts, chance in level.items():
                triples = zip(cuts, cuts[1:], cuts[2:], strict=False)
                found = [(rank_of.get((i * size + j) * size + k), at + 1) for at, (i, j, k) in enumerate(triples)]
                for _, at in sorted(option for option in found if option[0] is not None):
                    merged = cuts[:at] + cuts[at + 1 :]
                    following[merged] = following.get(merged, 0.0) + chance * (1 - dropout)
                    chance *= dropout
                ended[cuts] = chance
            level = {cuts: chance for cuts, chance in following.items() if chance}
            seen += len(level)
            if seen > MOST_STATES:
                raise Refusal(
                    "{parameter} holds a word too long for the exact distribution of BPE-dropout.", parameter="text"
                )
        rows = np.zeros((len(ended), size), bool)
        for row, cuts in zip(rows, ended, strict=True):
            row[list(cuts)] = True
        return rows, np.array(list(ended.values()))


@lru_cache(4)
def merges_of(vocabulary: Vocabulary) -> BytePairs:
    """The pieces of a unigram vocabulary with merges: any two pieces that give a piece, the most probable one first."""
    return BytePairs.of_scores(list(zip(vocabulary.pieces, vocabulary.log_probs.tolist(), strict=True)), str.split)


def words_of(prepared: Prepared) -> list[str]:
    """The parts of a prepared text between its walls."""
    ends = [0, *prepared.walls.tolist(), len(prepared.text)]
    return [prepared.text[i:j] for i, j in pairwise(ends)]


def bpe_law(prepared: Prepared, tokenizer: BytePairs, dropout: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact distribution of `draw_bpe`: cuts, bool [K, characters + 1], and probabilities [K]; those of the words, multiplied."""
    cuts, law = np.ones((1, 1), bool), np.ones(1)
    for word in words_of(prepared):
        rows, chances = tokenizer.law(word, dropout)
        if len(law) * len(chances) > MOST_STATES:
            raise Refusal("{parameter} is too long for the exact distribution of BPE-dropout.", parameter="text")
        cuts = np.hstack((np.repeat(cuts, len(rows), 0), np.tile(rows[:, 1:], (len(cuts), 1))))
        law = np.repeat(law, len(rows)) * np.tile(chances, len(law))
    return cuts, law


@cache
def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others for 256 and on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


def readable(piece: str) -> str:
    """A piece in letters for bytes as text, a space as "▁"; bytes that are no text as <0xE2> and so on."""
    known = _byte_letters()
    if not all(letter in known for letter in piece):
        return piece
    data = bytes(known[letter] for letter in piece)
    try:
        return data.decode().replace(" ", "▁")
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in data)


def sample_bpe(
    text: str, tokenizer: BytePairs, dropout: float = 0.1, n: int = 1, seed: int = 0, unknown: str = "refuse"
) -> tuple[str, np.ndarray]:
    """n segmentations of a text by BPE-dropout: the prepared text and bool [n, characters + 1], a cut before each character
    that begins a piece and at the end.

    dropout: p, from 0 to 1; unknown: see `Vocabulary.prepare`
    """
    if not isinstance(tokenizer, BytePairs):
        raise Refusal("{parameter} must be a BPE tokenizer.", parameter="tokenizer")
    prepared = tokenizer.prepare(text, unknown)
    return prepared.text, draw_bpe(prepared, tokenizer, dropout, n, seed)


def draw_bpe(prepared: Prepared, tokenizer: BytePairs, dropout: float, n: int, seed: int) -> np.ndarray:
    """The cuts that `sample_bpe` draws, of a prepared text."""
    dropout, seed = number("dropout", dropout, 0, 1), whole("seed", seed, 0, 2**63 - 1)
    n = whole("n", n, 1, MOST_CELLS)
    length = len(prepared.text)
    starts = [0, *prepared.walls.tolist()]
    ends = [*prepared.walls.tolist(), length]
    work = sum((j - i) ** 2 for i, j in zip(starts, ends, strict=True)) * n
    if n * length > MOST_CELLS or work > MOST_WORK:
        raise Refusal("{parameter} is too many draws for so long a text or word: lower it.", parameter="n")
    rng = np.random.default_rng(seed)
    cuts = np.ones((n, length + 1), bool)
    for i, j in zip(starts, ends, strict=True):
        cuts[:, i : j + 1] = tokenizer.draw(prepared.text[i:j], dropout, n, rng)
    return cuts
