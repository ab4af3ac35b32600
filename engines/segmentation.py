"""Cutting text into the pieces of a unigram vocabulary: the best way, and at random.

The law: a segmentation of the text into pieces w_1 ... w_m has probability proportional to (p(w_1) ... p(w_m))^alpha
(Kudo, "Subword regularization", arXiv 1804.10959, section 3.2). Its segmentations are the paths of a lattice whose
nodes are the places between characters and whose edges are the pieces that occur there. Two posts of kexue.fm are
followed: "Viterbi Sampling" (archives/9768), which draws where Viterbi's algorithm compares and is biased, and
"from Viterbi Sampling to the perfect sampler" (archives/9811), which is exact.

Speed comes from two facts. A character that occurs in pieces only at their start (or end) forces a cut, so the lattice
falls into independent chunks (words, mostly); and equal chunks have equal laws, so each is worked out once.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from engines.arguments import number, one_of, several_of, unbroken, whole

ASSETS = Path(__file__).parent.parent / "assets" / "segmentation"
FILES = {"english": ASSETS / "storybook-unigram.json", "chinese": ASSETS / "quatrain-unigram.json"}
METHODS = {
    "viterbi": "Viterbi (the best, always)",
    "viterbi-sampling": "Viterbi Sampling, as first published",
    "perfect": "the perfect sampler",
    "ffbs": "forward filtering, backward sampling",
    "n-best": "drawn from the n best",
}
MOST_CHARACTERS = 1_000_000
MOST_DRAWN = 40_000_000
MOST_NBEST = 200_000
BLOCK = 2_000_000  # cells of one working array
MOST_COMPARISONS = 14
VIEW_LATTICE, VIEW_ENUMERATED, VIEW_SEGMENTATIONS, VIEW_PASSAGE = 60, 40, 20_000, 600  # characters; segmentations
VIEW_LISTED, VIEW_TIES = 16, 4
OWN_PIECES = "a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1"


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Pieces and their log-probabilities.

    pieces: distinct, none empty
    log_probs: float64 [pieces], natural logarithms; they need not sum to 1 as probabilities
    metaspace: whether spaces are written "▁" and one stands before the text, as SentencePiece does
    """

    pieces: tuple[str, ...]
    log_probs: np.ndarray
    metaspace: bool = False

    def __post_init__(self):
        if not self.pieces or "" in self.pieces or len(set(self.pieces)) != len(self.pieces):
            raise ValueError("vocabulary must hold distinct pieces of at least one character")
        if len(self.log_probs) != len(self.pieces) or not np.isfinite(self.log_probs).all():
            raise ValueError("vocabulary needs a finite log-probability for each piece")

    @classmethod
    def of(cls, vocabulary: Vocabulary | Mapping[str, float]) -> Vocabulary:
        """A vocabulary as it is, or one made from piece -> log-probability."""
        if isinstance(vocabulary, Vocabulary):
            return vocabulary
        return cls(tuple(vocabulary), np.array(list(vocabulary.values()), dtype=np.float64))

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.pieces))

    @cached_property
    def trie(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The prefixes as numbered states (0 is the empty one): alphabet (code points), keys of the steps
        (state * (letters + 1) + letter, sorted), where each leads, and the piece each state spells or -1."""
        alphabet = np.unique(_codes("".join(self.pieces)))
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
    def borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each letter (0: none of the alphabet): whether a cut before it, and whether one after it, is forced."""
        alphabet = self.trie[0]
        before, after = np.ones(len(alphabet) + 1, bool), np.ones(len(alphabet) + 1, bool)
        before[self._letters(_codes("".join(piece[1:] for piece in self.pieces)))] = False
        after[self._letters(_codes("".join(piece[:-1] for piece in self.pieces)))] = False
        return before, after

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point -> letter (0: none), as far as the alphabet reaches and one further."""
        alphabet = self.trie[0]
        table = np.zeros(int(alphabet[-1]) + 2, np.int64)
        table[alphabet] = np.arange(1, len(alphabet) + 1)
        return table

    def _letters(self, codes: np.ndarray) -> np.ndarray:
        return self._table[np.minimum(codes, len(self._table) - 1)]

    def prepare(self, text: str) -> str:
        """The text as the lattice reads it, or ValueError for an empty one or a character in no piece."""
        if not isinstance(text, str) or not text.strip():
            raise ValueError("text is empty: type something to cut")
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"text has {len(text):,} characters; at most {MOST_CHARACTERS:,} can be cut at once")
        text = "▁" + "▁".join(text.split()) if self.metaspace else text
        unknown = np.flatnonzero(self._letters(_codes(text)) == 0)
        if len(unknown):
            raise ValueError(f"text holds {text[unknown[0]]!r}, a character that is in no piece of this vocabulary")
        return text

    def chunks(self, text: str) -> tuple[list[str], np.ndarray]:
        """The prepared text, split at the cuts that every segmentation has, and where each part starts."""
        letters = self._letters(_codes(text))
        before, after = self.borders
        cuts = (np.flatnonzero(after[letters[:-1]] | before[letters[1:]]) + 1).tolist()
        starts = [0, *cuts]
        return [text[i:j] for i, j in zip(starts, [*cuts, len(text)], strict=True)], np.array(starts)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def parse_pieces(pieces: str) -> Vocabulary:
    """A vocabulary written as "a=0.2, b=0.2, ab=0.25": pieces and probabilities (any positive weights)."""
    if not isinstance(pieces, str):
        raise ValueError("pieces must be text: write for example a=0.2, b=0.2, ab=0.25")
    table: dict[str, float] = {}
    for item in unbroken("pieces", pieces).replace(",", " ").split():
        piece, _, probability = item.rpartition("=")
        try:
            weight = float(probability)
        except ValueError:
            weight = math.nan
        if not piece or not 0 < weight < math.inf:
            raise ValueError(f"pieces: {item[:40]!r} is not of the form piece=probability with a positive number")
        if piece in table:
            raise ValueError(f"pieces names {piece[:40]!r} twice")
        table[piece] = math.log(weight)
    if not table:
        raise ValueError("pieces is empty: write for example a=0.2, b=0.2, ab=0.25")
    return Vocabulary.of(table)


@cache
def _shipped(name: str) -> Vocabulary:
    rows = json.loads(FILES[name].read_text(encoding="utf-8"))
    scores = np.array([score for _, score in rows], dtype=np.float64)
    return Vocabulary(tuple(piece for piece, _ in rows), scores, metaspace=name == "english")


def load_vocabulary(name: str = "english", pieces: str = "") -> Vocabulary:
    """A shipped vocabulary ("english", "chinese"), or with "own" the one that `parse_pieces` reads from `pieces`."""
    name = one_of("vocabulary", name, (*FILES, "own"))
    return parse_pieces(pieces) if name == "own" else _shipped(name)


class Lattice:
    """All segmentations of several chunks at once.

    Nodes are numbered through: chunk k of length m has m + 1 of them from `start[k]` to `end[k]`. Edges are sorted by
    target, the longest piece first, which is the order in which an Aho-Corasick automaton reports them.
    `levels` lists, for each distance from the chunk's start and each rank among a target's edges, the edges that can be
    treated together: every chunk has at most one in each.
    """

    def __init__(self, chunks: list[str], vocabulary: Vocabulary):
        alphabet, keys, leads, spells = vocabulary.trie
        lengths = np.fromiter(map(len, chunks), np.int64, len(chunks))
        self.start = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
        self.end = self.start + lengths
        self.nodes = int(self.end[-1]) + 1
        self.depth = np.arange(self.nodes) - np.repeat(self.start, lengths + 1)
        # one separator a chunk, of a letter that leads nowhere, makes places in the text and nodes the same numbers
        letters = vocabulary._letters(_codes("\x00".join(chunks) + "\x00"))
        letters[self.end] = 0

        places, state = np.arange(self.nodes), np.zeros(self.nodes, np.int64)
        found = []
        for length in range(1, vocabulary.longest + 1):
            inside = places + length <= self.nodes
            places, state = places[inside], state[inside]
            key = state * (len(alphabet) + 1) + letters[places + length - 1]
            at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            goes_on = keys[at] == key
            places, state = places[goes_on], leads[at[goes_on]]
            piece = spells[state]
            whole = piece >= 0
            found.append((places[whole], places[whole] + length, piece[whole]))
        # longest first, so that a stable sort by target leaves them so; it has but few sorted runs to merge
        source, target, piece = (np.concatenate(column) for column in zip(*reversed(found), strict=True))
        order = np.argsort(target, kind="stable")
        self.source, self.target, self.piece = source[order], target[order], piece[order]
        self.log_probs = vocabulary.log_probs[self.piece]

    @cached_property
    def first(self) -> np.ndarray:
        """Of each edge, the first with the same target."""
        opens = np.flatnonzero(np.diff(self.target, prepend=-1))
        return np.repeat(opens, np.diff(opens, append=len(self.target)))

    @cached_property
    def levels(self) -> list[np.ndarray]:
        rank = np.arange(len(self.target)) - self.first
        level = self.depth[self.target] * (rank.max(initial=0) + 1) + rank
        order = np.argsort(level, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(level[order])) + 1)

    def forward(self, weights: np.ndarray, add: np.ufunc = np.logaddexp) -> np.ndarray:
        """log of the summed weight of all paths from its chunk's start to each node; `weights` are logs, by edge.

        With np.maximum for `add`, of the greatest instead.
        """
        total = np.full(self.nodes, -np.inf)
        total[self.start] = 0
        for edges in self.levels:
            source, target = self.source[edges], self.target[edges]
            total[target] = add(total[target], total[source] + weights[edges])
        if np.isneginf(total[self.end]).any():
            raise ValueError("text cannot be cut: no sequence of this vocabulary's pieces spells it")
        return total

    def backward(self, weights: np.ndarray, add: np.ufunc = np.logaddexp) -> np.ndarray:
        """The same from each node to its chunk's end."""
        total = np.full(self.nodes, -np.inf)
        total[self.end] = 0
        for edges in reversed(self.levels):
            source, target = self.source[edges], self.target[edges]
            total[source] = add(total[source], total[target] + weights[edges])
        return total

    def best(self) -> np.ndarray:
        """Viterbi: the last edge of the best path to each node, or -1."""
        score, route = np.full(self.nodes, -np.inf), np.full(self.nodes, -1)
        score[self.start] = 0
        for edges in self.levels:
            target = self.target[edges]
            new = score[self.source[edges]] + self.log_probs[edges]
            better = new > score[target]
            score[target[better]], route[target[better]] = new[better], edges[better]
        return route

    def trace(self, ends: np.ndarray, last_edge: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Walk from each of the nodes `ends` back to its chunk's start: the cuts passed, int [2, cuts]: walker, depth.

        last_edge(walkers, nodes) says by which edge each walker came.
        """
        walker, node, cuts = np.arange(len(ends)), ends, []
        while len(walker):
            cuts.append(np.stack((walker, self.depth[node])))
            node = self.source[last_edge(walker, node)]
            inside = self.depth[node] > 0
            walker, node = walker[inside], node[inside]
        return np.concatenate(cuts, axis=1)

    def backward_sampler(
        self, alpha: float, rng: np.random.Generator
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Forward filtering, backward sampling: a `last_edge` that makes `trace` draw from the exact law."""
        weights = alpha * self.log_probs
        total = self.forward(weights)
        with np.errstate(invalid="ignore"):
            share = np.nan_to_num(np.exp(total[self.source] + weights - total[self.target]))
        before = np.cumsum(share) - share
        # edge e owns [key_e, key_e+1) of the line on which node v owns [v, v + 1): one binary search draws an edge
        keys = self.target + np.clip(before - before[self.first], 0, 1)
        return lambda _, node: np.searchsorted(keys, node + rng.random(len(node)), side="right") - 1

    def forward_sampler(
        self, alpha: float, n: int, published: bool, rng: np.random.Generator
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A `last_edge` for n times as many walkers as chunks, drawn by `draw_forward`."""
        route = self.draw_forward(alpha, n, published, lambda p: rng.random((len(p), n)) < p)
        return lambda walker, node: route[node, walker // len(self.start)]

    def draw_forward(
        self, alpha: float, n: int, published: bool, decide: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Draw an edge into every node while going forward, n times over: int32 [nodes, n].

        When an edge reaches a node that has one, it takes its place with probability e^new / (e^old + e^new).
        `published`: old and new are scores of the paths drawn so far (the first post); otherwise they are total weights
        of all paths (the second), which makes the draw exact. decide(probability [edges, n or 1]) says who takes it.
        """
        weights = alpha * self.log_probs
        score = np.full((self.nodes, n if published else 1), -np.inf)
        score[self.start] = 0
        route = np.full((self.nodes, n), -1, np.int32)
        for edges in self.levels:
            source, target = self.source[edges], self.target[edges]
            new, old = score[source] + weights[edges, None], score[target]
            if self.first[edges[0]] == edges[0]:  # the first of its target, like all of its level
                score[target], route[target] = new, edges[:, None]
                continue
            both = np.logaddexp(old, new)
            with np.errstate(invalid="ignore"):
                taken = decide(np.nan_to_num(np.exp(new - both)))
            score[target] = np.where(taken, new, old) if published else both
            route[target] = np.where(taken, edges[:, None], route[target])
        return route


def _vocabulary(vocabulary: Vocabulary | Mapping[str, float] | str) -> Vocabulary:
    return load_vocabulary(vocabulary) if isinstance(vocabulary, str) else Vocabulary.of(vocabulary)


def _alpha(alpha: float) -> float:
    return number("alpha", alpha, 0, 100)  # from all segmentations alike to nearly always the best


def _seed(seed: int) -> int:
    return whole("seed", seed, 0, 2**63 - 1)


def log_partition(text: str, vocabulary: Vocabulary | Mapping[str, float] | str, alpha: float = 1.0) -> float:
    """log Z = log of the sum over segmentations of (product of the pieces' probabilities)^alpha, in nats.

    At alpha = 0 it is the logarithm of the number of segmentations.
    """
    vocabulary = _vocabulary(vocabulary)
    alpha = _alpha(alpha)
    lattice, which = _unique(vocabulary.chunks(vocabulary.prepare(text))[0], vocabulary)
    return float(lattice.forward(alpha * lattice.log_probs)[lattice.end][which].sum())


def _unique(chunks: list[str], vocabulary: Vocabulary) -> tuple[Lattice, np.ndarray]:
    """The lattice of the distinct chunks, and which of them each chunk is."""
    index: dict[str, int] = {}
    which = np.fromiter((index.setdefault(chunk, len(index)) for chunk in chunks), np.int64, len(chunks))
    return Lattice(list(index), vocabulary), which


def _draw(text: str, vocabulary: Vocabulary, method: str, alpha: float, n: int, seed: int, nbest: int) -> np.ndarray:
    """n segmentations of a prepared text as cuts, bool [n, characters + 1]. For the arguments see `sample`."""
    alpha, method, n, seed = _alpha(alpha), one_of("method", method, METHODS), whole("n", n, 1, MOST_DRAWN), _seed(seed)
    if n * len(text) > MOST_DRAWN:
        raise ValueError(f"n times the length of the text is {n * len(text):,}; at most {MOST_DRAWN:,} can be drawn")
    rng = np.random.default_rng(seed)
    if method == "n-best":
        paths, scores = _nbest(text, vocabulary, nbest)
        law = np.exp(alpha * (scores - scores[0]))
        return paths[rng.choice(len(paths), n, p=law / law.sum())]

    chunks, places = vocabulary.chunks(text)
    if method in ("viterbi", "ffbs"):
        lattice, which = _unique(chunks, vocabulary)
    else:  # these draw at every node, so equal chunks cannot share the work
        lattice, which = Lattice(chunks, vocabulary), np.arange(len(chunks))
    if method != "ffbs":  # whose own forward pass says so
        lattice.forward(lattice.log_probs)  # raises where nothing spells the text
    ends = lattice.end[which]
    cuts = np.zeros((n, len(text) + 1), bool)
    cuts[:, 0] = True
    if method == "viterbi":
        route = lattice.best()
        at, depth = lattice.trace(ends, lambda _, node: route[node])
        cuts[:, places[at] + depth] = True
        return cuts
    if method == "ffbs":
        last_edge = lattice.backward_sampler(alpha, rng)
    step = max(1, BLOCK // lattice.nodes)
    for low in range(0, n, step):
        copies = min(step, n - low)
        if method != "ffbs":
            last_edge = lattice.forward_sampler(alpha, copies, method == "viterbi-sampling", rng)
        at, depth = lattice.trace(np.tile(ends, copies), last_edge)
        cuts[low + at // len(ends), places[at % len(ends)] + depth] = True
    return cuts


def sample(
    text: str,
    vocabulary: Vocabulary | Mapping[str, float] | str = "english",
    method: str = "perfect",
    alpha: float = 1.0,
    n: int = 1,
    seed: int = 0,
    nbest: int = 8,
) -> list[list[str]]:
    """n segmentations of the text, each a list of pieces that spell the prepared text.

    vocabulary: a `Vocabulary`, a mapping piece -> log-probability, or the name of a shipped one
    method: a key of METHODS. "perfect" and "ffbs" draw exactly from p^alpha; "viterbi-sampling" is the biased draw of
        the first post; "n-best" draws from the `nbest` best only (as arXiv 1804.10959 does); "viterbi" ignores alpha
    alpha: 0 makes all segmentations alike, infinity would leave the best
    """
    text, cuts = sample_cuts(text, vocabulary, method, alpha, n, seed, nbest)
    return [_pieces(text, row) for row in cuts]


def sample_cuts(
    text: str,
    vocabulary: Vocabulary | Mapping[str, float] | str = "english",
    method: str = "perfect",
    alpha: float = 1.0,
    n: int = 1,
    seed: int = 0,
    nbest: int = 8,
) -> tuple[str, np.ndarray]:
    """What `sample` draws, as the prepared text and bool [n, characters + 1]: a cut before each character and at the end."""
    vocabulary = _vocabulary(vocabulary)
    text = vocabulary.prepare(text)
    return text, _draw(text, vocabulary, method, alpha, n, seed, nbest)


def _pieces(text: str, cuts: np.ndarray) -> list[str]:
    places = np.flatnonzero(cuts).tolist()
    return [text[i:j] for i, j in pairwise(places)]


def _nbest(text: str, vocabulary: Vocabulary, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best segmentations of a prepared text as cuts, bool [k or fewer, characters + 1], and their
    log-probabilities, falling. The k best paths to a node go through the k best to those before it."""
    k = whole("nbest", k, 1, 1000)
    if len(text) * k > MOST_NBEST:
        raise ValueError(f"text is too long for its {k} best segmentations: at most {MOST_NBEST // k:,} characters")
    lattice = Lattice([text], vocabulary)
    lattice.forward(lattice.log_probs)  # raises where nothing spells the text
    score = np.full((lattice.nodes, k), -np.inf)
    score[0, 0] = 0
    edge, rank = np.full((lattice.nodes, k), -1), np.zeros((lattice.nodes, k), np.int64)
    bounds = np.append(np.flatnonzero(lattice.first == np.arange(len(lattice.first))), len(lattice.first)).tolist()
    for low, high in pairwise(bounds):
        node = lattice.target[low]
        options = (score[lattice.source[low:high]] + lattice.log_probs[low:high, None]).ravel()
        order = np.argsort(-options, kind="stable")[:k]
        score[node, : len(order)], edge[node, : len(order)] = options[order], low + order // k
        rank[node, : len(order)] = order % k
    found = int(np.isfinite(score[-1]).sum())
    cuts = np.zeros((found, len(text) + 1), bool)
    for row in range(found):
        node, place = len(text), row
        while node:
            cuts[row, node] = True
            node, place = lattice.source[edge[node, place]], rank[node, place]
    cuts[:, 0] = True
    return cuts, score[-1, :found]


def nbest(
    text: str, vocabulary: Vocabulary | Mapping[str, float] | str = "english", k: int = 8
) -> tuple[list[list[str]], np.ndarray]:
    """The k most probable segmentations and their log-probabilities (float64, nats, not normalised), best first."""
    vocabulary = _vocabulary(vocabulary)
    text = vocabulary.prepare(text)
    cuts, scores = _nbest(text, vocabulary, k)
    return [_pieces(text, row) for row in cuts], scores


def enumerate_segmentations(
    text: str, vocabulary: Vocabulary | Mapping[str, float] | str = "english", alpha: float = 1.0, most: int = 20_000
) -> tuple[list[list[str]], np.ndarray]:
    """All segmentations and their probabilities (float64, summing to 1), the most probable first.

    ValueError where there are more than `most` of them.
    """
    vocabulary = _vocabulary(vocabulary)
    alpha = _alpha(alpha)
    text = vocabulary.prepare(text)
    cuts, scores = _enumerate(text, vocabulary, most)
    law = np.exp(alpha * (scores - scores.max()))
    return [_pieces(text, row) for row in cuts], law / law.sum()


def _enumerate(text: str, vocabulary: Vocabulary, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts and log-probabilities of all segmentations of a prepared text, falling."""
    lattice = Lattice([text], vocabulary)
    ways = lattice.forward(0 * lattice.log_probs)
    count = round(math.exp(min(ways[-1], 40)))
    if count > most:
        raise ValueError(f"text has more than {most:,} segmentations, too many to list: try a shorter one")
    # only edges that can be reached: walking back among the others may take forever and never come to the start
    entering: dict[int, list[int]] = {}
    for edge in np.flatnonzero(np.isfinite(ways[lattice.source])).tolist():
        entering.setdefault(int(lattice.target[edge]), []).append(edge)
    source, log_probs = lattice.source.tolist(), lattice.log_probs.tolist()
    rows, scores, stack = [], [], [(len(text), [len(text)], 0.0)]
    while stack:
        node, cuts, score = stack.pop()
        if node == 0:
            rows.append(cuts)
            scores.append(score)
        for edge in entering.get(node, ()):
            stack.append((source[edge], [*cuts, source[edge]], score + log_probs[edge]))
    cuts = np.zeros((len(rows), len(text) + 1), bool)
    for row, places in zip(cuts, rows, strict=True):
        row[places] = True
    order = np.argsort(-np.array(scores), kind="stable")
    return cuts[order], np.array(scores)[order]


def viterbi_sampling_law(
    text: str, vocabulary: Vocabulary | Mapping[str, float] | str = "english", alpha: float = 1.0
) -> tuple[list[list[str]], np.ndarray]:
    """The exact law of Viterbi Sampling as first published: segmentations and probabilities, the most probable first.

    Follows every outcome of every comparison at once, so ValueError where the lattice has more than 14 of them.
    """
    vocabulary = _vocabulary(vocabulary)
    alpha = _alpha(alpha)
    text = vocabulary.prepare(text)
    cuts, law = _viterbi_sampling_law(text, vocabulary, alpha)
    return [_pieces(text, row) for row in cuts], law


def _viterbi_sampling_law(text: str, vocabulary: Vocabulary, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    lattice = Lattice([text], vocabulary)
    lattice.forward(lattice.log_probs)
    comparisons = int((lattice.first != np.arange(len(lattice.first))).sum())
    if comparisons > MOST_COMPARISONS:
        raise ValueError(f"text needs {comparisons} comparisons; the exact law is followed through {MOST_COMPARISONS}")
    outcome = np.arange(2**comparisons)
    law = np.ones(len(outcome))
    bit = 0

    def decide(probability: np.ndarray) -> np.ndarray:
        nonlocal bit
        taken = (outcome >> bit & 1).astype(bool)
        law[:] *= np.where(taken, probability[0], 1 - probability[0])
        bit += 1
        return taken[None]

    route = lattice.draw_forward(alpha, len(outcome), True, decide)
    at, depth = lattice.trace(np.repeat(lattice.end, len(outcome)), lambda walker, node: route[node, walker])
    cuts = np.zeros((len(outcome), len(text) + 1), bool)
    cuts[:, 0] = cuts[at, depth] = True
    cuts, where = np.unique(cuts, axis=0, return_inverse=True)
    law = np.bincount(where.ravel(), law)
    order = np.argsort(-law, kind="stable")
    return cuts[order], law[order]


def edge_posteriors(
    text: str, vocabulary: Vocabulary | Mapping[str, float] | str = "english", alpha: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lattice's edges: where each starts and ends (characters of the prepared text), and the probability that a
    segmentation drawn from p^alpha uses it (forward-backward; the gradient of log Z by alpha log p)."""
    vocabulary = _vocabulary(vocabulary)
    alpha = _alpha(alpha)
    lattice = Lattice([vocabulary.prepare(text)], vocabulary)
    return lattice.source, lattice.target, _posteriors(lattice, alpha)[0]


def _posteriors(lattice: Lattice, alpha: float) -> tuple[np.ndarray, float, float]:
    """Of a lattice of one chunk: edge posteriors, log Z, entropy in nats."""
    weights = alpha * lattice.log_probs
    forward, backward = lattice.forward(weights), lattice.backward(weights)
    log_z = float(forward[-1])
    posterior = np.exp(np.minimum(forward[lattice.source] + weights + backward[lattice.target] - log_z, 0))
    return posterior, log_z, max(0.0, log_z - float(posterior @ weights))


# The views: plain arguments in, arrays out.


@dataclass(frozen=True)
class LatticeView:
    """What `lattice` found.

    text: the prepared text, of N characters
    source, target: int [edges], the places (0 to N) where each piece starts and ends
    posterior: float64 [edges], probability that a random segmentation uses the piece
    best: bool [edges], whether a most probable segmentation does
    cut: float64 [N + 1], probability of a cut before each character and at the end
    segmentations: the most probable one, its pieces parted by "|"; where several tie, up to 4 of them; ties: how many do
    log_z: nats; log_count: natural logarithm of the number of segmentations; entropy: nats
    pieces: expected number of pieces; best_probability: of a most probable segmentation
    alpha: as given
    """

    text: str
    source: np.ndarray
    target: np.ndarray
    posterior: np.ndarray
    best: np.ndarray
    cut: np.ndarray
    segmentations: tuple[str, ...]
    ties: int
    log_z: float
    log_count: float
    entropy: float
    pieces: float
    best_probability: float
    alpha: float


def _view_text(text: str, vocabulary: str, pieces: str, most: int) -> tuple[str, Vocabulary]:
    if isinstance(text, str) and len(text) > most:
        raise ValueError(f"text has {len(text):,} characters; this view takes at most {most}")
    table = load_vocabulary(vocabulary, pieces)
    return table.prepare(text), table


def lattice(
    text: str = "unbelievable", vocabulary: str = "english", pieces: str = OWN_PIECES, alpha: float = 0.3
) -> LatticeView:
    """The lattice of a text with the probability of every piece (forward-backward), and the best segmentation."""
    alpha = _alpha(alpha)
    text, table = _view_text(text, vocabulary, pieces, VIEW_LATTICE)
    grid = Lattice([text], table)
    posterior, log_z, entropy = _posteriors(grid, alpha)
    to, onward = grid.forward(grid.log_probs, np.maximum), grid.backward(grid.log_probs, np.maximum)
    best = to[grid.source] + grid.log_probs + onward[grid.target] > to[-1] - 1e-9
    ties = round(math.exp(grid.forward(np.where(best, 0, -np.inf))[-1]))  # every path of best edges is a best one
    paths, scores = _nbest(text, table, min(ties, VIEW_TIES))
    cut = np.bincount(grid.target, posterior, len(text) + 1)
    cut[0] = 1
    return LatticeView(
        text=text,
        source=grid.source,
        target=grid.target,
        posterior=posterior,
        best=best,
        cut=cut,
        segmentations=tuple("|".join(_pieces(text, row)) for row in paths),
        ties=ties,
        log_z=log_z,
        log_count=float(grid.forward(0 * grid.log_probs)[-1]),
        entropy=entropy,
        pieces=float(posterior.sum()),
        best_probability=math.exp(alpha * float(scores[0]) - log_z),
        alpha=alpha,
    )


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. K segmentations are listed, the most probable first.

    text: the prepared text; segmentations: K texts, pieces parted by "|"
    exact: float64 [K], their probabilities; listed: float, the sum of these
    methods: M names from METHODS; frequency: float64 [M, K], shares among n draws
    published: float64 [K], the exact law of Viterbi Sampling as first published, NaN where too long to follow
    distance: float64 [M], total variation between all draws and the exact law
    noise: the distance to expect from n exact draws
    count: number of segmentations; n: draws of each method; alpha, nbest: as given
    """

    text: str
    segmentations: tuple[str, ...]
    exact: np.ndarray
    listed: float
    methods: tuple[str, ...]
    frequency: np.ndarray
    published: np.ndarray
    distance: np.ndarray
    noise: float
    count: int
    n: int
    alpha: float
    nbest: int


def compare(
    text: str = "unbelievable",
    vocabulary: str = "english",
    pieces: str = OWN_PIECES,
    methods: Sequence[str] = ("viterbi-sampling", "perfect", "ffbs"),
    alpha: float = 0.3,
    n: int = 1000,
    nbest: int = 4,
    seed: int = 0,
) -> Comparison:
    """The exact law of the segmentations, enumerated, beside the shares among n draws of each method."""
    alpha = _alpha(alpha)
    methods = tuple(several_of("methods", methods, METHODS, len(METHODS)))
    n, nbest = whole("n", n, 1, 10_000), whole("nbest", nbest, 1, 1000)
    text, table = _view_text(text, vocabulary, pieces, VIEW_ENUMERATED)
    paths, scores = _enumerate(text, table, VIEW_SEGMENTATIONS)
    law = np.exp(alpha * (scores - scores[0]))
    law /= law.sum()
    index = {row.tobytes(): k for k, row in enumerate(paths)}

    def by_path(cuts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount([index[row.tobytes()] for row in cuts], weights, len(paths))

    frequency = np.array([by_path(_draw(text, table, method, alpha, n, seed, nbest)) / n for method in methods])
    try:
        published = by_path(*_viterbi_sampling_law(text, table, alpha))
    except ValueError:
        published = np.full(len(paths), np.nan)
    top = slice(VIEW_LISTED)
    return Comparison(
        text=text,
        segmentations=tuple("|".join(_pieces(text, row)) for row in paths[top]),
        exact=law[top],
        listed=float(law[top].sum()),
        methods=methods,
        frequency=frequency[:, top],
        published=published[top],
        distance=np.abs(frequency - law).sum(1) / 2,
        noise=float(np.sqrt(2 / np.pi * law * (1 - law) / n).sum() / 2),
        count=len(paths),
        n=n,
        alpha=alpha,
        nbest=nbest,
    )


@dataclass(frozen=True)
class AlphaSweep:
    """What `alpha_sweep` found, at A values of alpha.

    text: the prepared text; alphas: float64 [A]
    entropy: float64 [A], bits; most_entropy: bits, log2 of the number of segmentations
    pieces: float64 [A], expected number of pieces; best_probability: float64 [A], of the most probable segmentation
    best_pieces: its number of pieces
    """

    text: str
    alphas: np.ndarray
    entropy: np.ndarray
    most_entropy: float
    pieces: np.ndarray
    best_probability: np.ndarray
    best_pieces: int


def alpha_sweep(
    text: str = "unbelievable", vocabulary: str = "english", pieces: str = OWN_PIECES, most: float = 2.0
) -> AlphaSweep:
    """How the law changes from all segmentations alike (alpha = 0) towards the best one alone."""
    most = number("most", most, 0.01, 10)
    text, table = _view_text(text, vocabulary, pieces, VIEW_LATTICE)
    grid = Lattice([text], table)
    alphas = np.linspace(0, most, 41)
    found = [_posteriors(grid, float(alpha)) for alpha in alphas]
    best, score = _nbest(text, table, 1)
    return AlphaSweep(
        text=text,
        alphas=alphas,
        entropy=np.array([entropy for _, _, entropy in found]) / math.log(2),
        most_entropy=found[0][1] / math.log(2),
        pieces=np.array([posterior.sum() for posterior, _, _ in found]),
        best_probability=np.array([math.exp(a * score[0] - z) for a, (_, z, _) in zip(alphas, found, strict=True)]),
        best_pieces=int(best.sum()) - 1,
    )


@dataclass(frozen=True)
class Reading:
    """What `read` drew.

    text: the prepared text, of N characters
    cuts: bool [rows, N + 1], the first draws, at most 12
    frequency: float64 [N + 1], share of all draws with a cut at each place; exact: float64 [N + 1], its probability
    distinct: different segmentations among the draws; entropy: bits of the exact law
    log10_count: decimal logarithm of the number of segmentations
    method, alpha, n: as given
    """

    text: str
    cuts: np.ndarray
    frequency: np.ndarray
    exact: np.ndarray
    distinct: int
    entropy: float
    log10_count: float
    method: str
    alpha: float
    n: int


def read(
    passage: str = "Once upon a time there was a miller who was uncommonly quarrelsome.",
    vocabulary: str = "english",
    pieces: str = OWN_PIECES,
    method: str = "perfect",
    alpha: float = 0.3,
    n: int = 1000,
    nbest: int = 4,
    seed: int = 0,
) -> Reading:
    """A passage cut n times, and how often each place is cut beside how often it should be."""
    alpha = _alpha(alpha)
    n = whole("n", n, 1, 10_000)
    text, table = _view_text(passage, vocabulary, pieces, VIEW_PASSAGE)
    drawn = _draw(text, table, method, alpha, n, seed, nbest)
    grid = Lattice([text], table)
    posterior, _, entropy = _posteriors(grid, alpha)
    exact = np.bincount(grid.target, posterior, len(text) + 1)
    exact[0] = 1
    return Reading(
        text=text,
        cuts=drawn[:12],
        frequency=drawn.mean(0),
        exact=exact,
        distinct=len({row.tobytes() for row in np.packbits(drawn, axis=1)}),
        entropy=entropy / math.log(2),
        log10_count=float(grid.forward(0 * grid.log_probs)[-1]) / math.log(10),
        method=method,
        alpha=alpha,
        n=n,
    )


@dataclass(frozen=True)
class Throughput:
    """What `throughput` measured on a text whose pieces were drawn from the vocabulary itself.

    methods: M names from METHODS
    seconds: float64 [M], time to cut the text once; bytes_per_seconds: float64 [M], of UTF-8
    pieces: int [M], pieces each cut it into
    size: bytes of the text; chunks, distinct: parts between forced cuts, and how many of them differ
    start: the first 60 characters
    """

    methods: tuple[str, ...]
    seconds: np.ndarray
    bytes_per_seconds: np.ndarray
    pieces: np.ndarray
    size: int
    chunks: int
    distinct: int
    start: str


def throughput(
    vocabulary: str = "english", pieces: str = OWN_PIECES, kilobytes: int = 100, alpha: float = 0.3, seed: int = 0
) -> Throughput:
    """How fast each method cuts a long text, one after the other in this process."""
    alpha = _alpha(alpha)
    kilobytes, seed = whole("kilobytes", kilobytes, 1, 500), _seed(seed)
    table = load_vocabulary(vocabulary, pieces)
    law = np.exp(table.log_probs - table.log_probs.max())
    mean = float((law / law.sum()) @ [len(piece.encode()) for piece in table.pieces])
    count = math.ceil(1000 * kilobytes / mean)
    drawn = np.random.default_rng(seed).choice(len(table.pieces), count, p=law / law.sum())
    text = "".join(table.pieces[i] for i in drawn)
    text = table.prepare(text.replace("▁", " ") if table.metaspace else text)
    chunks, _ = table.chunks(text)
    methods = tuple(method for method in METHODS if method != "n-best")
    seconds, found = [], []
    for method in methods:
        started = time.perf_counter()
        found.append(int(_draw(text, table, method, alpha, 1, seed, 1).sum()) - 1)
        seconds.append(time.perf_counter() - started)
    size = len(text.encode())
    return Throughput(
        methods=methods,
        seconds=np.array(seconds),
        bytes_per_seconds=size / np.array(seconds),
        pieces=np.array(found),
        size=size,
        chunks=len(chunks),
        distinct=len(set(chunks)),
        start=text[:60],
    )
