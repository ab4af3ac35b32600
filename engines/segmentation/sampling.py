"""Segmentations of a text: at random, the best, all of them.

The law: a segmentation of the text into pieces w_1 ... w_m has probability proportional to (p(w_1) ... p(w_m))^alpha
(Kudo, "Subword regularization", arXiv 1804.10959, section 3.2). Two posts of kexue.fm are followed: "Viterbi Sampling"
(archives/9768), which draws where Viterbi's algorithm compares and is biased, and "from Viterbi Sampling to the perfect
sampler" (archives/9811), which is exact.

Speed comes from two facts. A character that occurs in pieces only at their start (or end) forces a cut, so the lattice
falls into independent chunks (words, mostly); and equal chunks have equal distributions, so each is worked out once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from engines.arguments import Refusal, number, one_of, whole
from engines.segmentation.lattice import Lattice, posteriors, unique_chunks
from engines.segmentation.vocabulary import Prepared, Vocabulary

METHODS = ("viterbi", "viterbi-sampling", "perfect", "ffbs", "n-best")
MOST_CELLS = 40_000_000  # draws times characters
MOST_NBEST = 200_000
MOST_LISTED = 1_000_000
BLOCK = 2_000_000  # cells of one working array
MOST_COMPARISONS = 14
MOST_ALPHA = 100  # nearly always the best

Vocabularies = Vocabulary | Mapping[str, float] | str


def log_partition(text: str, vocabulary: Vocabularies, alpha: float = 1.0, unknown: str = "refuse") -> float:
    """log Z = log of the sum over segmentations of (product of the pieces' probabilities)^alpha, in nats.

    At alpha = 0 it is the logarithm of the number of segmentations.
    """
    vocabulary, alpha = Vocabulary.of(vocabulary), number("alpha", alpha, 0, MOST_ALPHA)
    prepared = vocabulary.prepare(text, unknown)
    lattice, which = unique_chunks(vocabulary.chunks(prepared)[0], vocabulary, prepared.unknown != "refuse")
    return float(lattice.forward(alpha * lattice.log_probs)[lattice.end][which].sum())


def sample(
    text: str,
    vocabulary: Vocabularies = "english",
    method: str = "perfect",
    alpha: float = 1.0,
    n: int = 1,
    seed: int = 0,
    nbest: int = 8,
    unknown: str = "refuse",
) -> list[list[str]]:
    """n segmentations of the text, each a list of pieces that spell the prepared text.

    vocabulary: a `Vocabulary`, a mapping piece -> log-probability, or the name of a shipped one
    method: one of METHODS. "perfect" and "ffbs" draw exactly from p^alpha; "viterbi-sampling" is the biased draw of
        the first post; "n-best" draws from the `nbest` best only (as arXiv 1804.10959 does); "viterbi" ignores alpha
    alpha: 0 makes all segmentations alike, infinity would leave the best
    unknown: what becomes of a character that no piece holds, see `Vocabulary.prepare`; "bytes" spells it <0xE2> and so on
    """
    vocabulary = Vocabulary.of(vocabulary)
    prepared = vocabulary.prepare(text, unknown)
    cuts = draw(prepared, vocabulary, method, alpha, n, seed, nbest)
    known = frozenset(vocabulary.pieces) if unknown == "bytes" else frozenset()
    return [spell(prepared, row, known) for row in cuts]


def sample_cuts(
    text: str,
    vocabulary: Vocabularies = "english",
    method: str = "perfect",
    alpha: float = 1.0,
    n: int = 1,
    seed: int = 0,
    nbest: int = 8,
    unknown: str = "refuse",
) -> tuple[str, np.ndarray]:
    """What `sample` draws, as the prepared text and bool [n, characters + 1]: a cut before each character and at the end."""
    vocabulary = Vocabulary.of(vocabulary)
    prepared = vocabulary.prepare(text, unknown)
    return prepared.text, draw(prepared, vocabulary, method, alpha, n, seed, nbest)


def spell(prepared: Prepared, cuts: np.ndarray, known: frozenset[str] = frozenset()) -> list[str]:
    """The pieces between cuts [characters + 1]; where `known` is given, those that are not among them as their bytes."""
    places = np.flatnonzero(cuts).tolist()
    pieces = [prepared.text[i:j] for i, j in pairwise(places)]
    if not known:
        return pieces
    spelled = ([piece] if piece in known else [f"<0x{byte:02X}>" for byte in piece.encode()] for piece in pieces)
    return [piece for some in spelled for piece in some]


def draw(
    prepared: Prepared, vocabulary: Vocabulary, method: str, alpha: float, n: int, seed: int, nbest: int
) -> np.ndarray:
    """n segmentations of a prepared text as cuts, bool [n, characters + 1]. For the arguments see `sample`."""
    alpha, method = number("alpha", alpha, 0, MOST_ALPHA), one_of("method", method, METHODS)
    n, seed = whole("n", n, 1, MOST_CELLS), whole("seed", seed, 0, 2**63 - 1)
    length = len(prepared.text)
    if n * length > MOST_CELLS:
        raise Refusal(
            "{parameter} times the length of the text is {cells}; at most {most} can be drawn.",
            parameter="n",
            cells=n * length,
            most=MOST_CELLS,
        )
    rng = np.random.default_rng(seed)
    if method == "n-best":
        paths, scores = best_paths(prepared, vocabulary, nbest)
        law = np.exp(alpha * (scores - scores[0]))
        return paths[rng.choice(len(paths), n, p=law / law.sum())]

    chunks, places = vocabulary.chunks(prepared)
    takes_unknown = prepared.unknown != "refuse"
    if method in ("viterbi", "ffbs"):
        lattice, which = unique_chunks(chunks, vocabulary, takes_unknown)
    else:  # these draw at every node, so equal chunks cannot share the work
        lattice = Lattice(chunks, vocabulary, unknown=takes_unknown)
        which = np.arange(len(chunks))
    if method != "ffbs":  # whose own forward pass says so
        lattice.forward(lattice.log_probs)  # raises where nothing spells the text
    ends = lattice.end[which]
    cuts = np.zeros((n, length + 1), bool)
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


def nbest(
    text: str, vocabulary: Vocabularies = "english", k: int = 8, unknown: str = "refuse"
) -> tuple[list[list[str]], np.ndarray]:
    """The k most probable segmentations and their log-probabilities (float64, nats, not normalised), best first."""
    vocabulary, k = Vocabulary.of(vocabulary), whole("k", k, 1, 1000)
    prepared = vocabulary.prepare(text, unknown)
    cuts, scores = best_paths(prepared, vocabulary, k)
    return [spell(prepared, row) for row in cuts], scores


def best_paths(prepared: Prepared, vocabulary: Vocabulary, nbest: int) -> tuple[np.ndarray, np.ndarray]:
    """The best segmentations of a prepared text as cuts, bool [nbest or fewer, characters + 1], and their
    log-probabilities, falling. The k best paths to a node go through the k best to those before it."""
    k, length = whole("nbest", nbest, 1, 1000), len(prepared.text)
    if length * k > MOST_NBEST:
        raise Refusal(
            "{parameter} is too long for its {k} best segmentations: at most {most} characters.",
            parameter="text",
            k=k,
            most=MOST_NBEST // k,
        )
    lattice = Lattice.of(prepared, vocabulary)
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
    cuts = np.zeros((found, length + 1), bool)
    for row in range(found):
        node, place = length, row
        while node:
            cuts[row, node] = True
            node, place = lattice.source[edge[node, place]], rank[node, place]
    cuts[:, 0] = True
    return cuts, score[-1, :found]


def enumerate_segmentations(
    text: str, vocabulary: Vocabularies = "english", alpha: float = 1.0, most: int = 20_000, unknown: str = "refuse"
) -> tuple[list[list[str]], np.ndarray]:
    """All segmentations and their probabilities (float64, summing to 1), the most probable first.

    ValueError where there are more than `most` of them (at most 1,000,000).
    """
    vocabulary, alpha = Vocabulary.of(vocabulary), number("alpha", alpha, 0, MOST_ALPHA)
    prepared = vocabulary.prepare(text, unknown)
    cuts, scores = all_paths(prepared, vocabulary, whole("most", most, 1, MOST_LISTED))
    law = np.exp(alpha * (scores - scores.max()))
    return [spell(prepared, row) for row in cuts], law / law.sum()


def all_paths(prepared: Prepared, vocabulary: Vocabulary, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts and log-probabilities of all segmentations of a prepared text, falling."""
    length = len(prepared.text)
    lattice = Lattice.of(prepared, vocabulary)
    ways = lattice.forward(0 * lattice.log_probs)
    if round(math.exp(min(ways[-1], 40))) > most:
        raise Refusal(
            "{parameter} has more than {most} segmentations, too many to list: try a shorter one.",
            parameter="text",
            most=most,
        )
    # only edges that can be reached: walking back among the others may take forever and never come to the start
    entering: dict[int, list[int]] = {}
    for edge in np.flatnonzero(np.isfinite(ways[lattice.source])).tolist():
        entering.setdefault(int(lattice.target[edge]), []).append(edge)
    source, log_probs = lattice.source.tolist(), lattice.log_probs.tolist()
    rows, scores, stack = [], [], [(length, [length], 0.0)]
    while stack:
        node, cuts, score = stack.pop()
        if node == 0:
            rows.append(cuts)
            scores.append(score)
        for edge in entering.get(node, ()):
            stack.append((source[edge], [*cuts, source[edge]], score + log_probs[edge]))
    cuts = np.zeros((len(rows), length + 1), bool)
    for row, places in zip(cuts, rows, strict=True):
        row[places] = True
    order = np.argsort(-np.array(scores), kind="stable")
    return cuts[order], np.array(scores)[order]


def viterbi_sampling_law(
    text: str, vocabulary: Vocabularies = "english", alpha: float = 1.0, unknown: str = "refuse"
) -> tuple[list[list[str]], np.ndarray]:
    """The exact distribution of Viterbi Sampling as first published: segmentations and probabilities, the most probable first.

    Follows every outcome of every comparison at once, so ValueError where the lattice has more than 14 of them.
    """
    vocabulary, alpha = Vocabulary.of(vocabulary), number("alpha", alpha, 0, MOST_ALPHA)
    prepared = vocabulary.prepare(text, unknown)
    cuts, law = published_law(prepared, vocabulary, alpha)
    return [spell(prepared, row) for row in cuts], law


def published_law(prepared: Prepared, vocabulary: Vocabulary, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The same of a prepared text, segmentations as cuts."""
    lattice = Lattice.of(prepared, vocabulary)
    lattice.forward(lattice.log_probs)
    comparisons = int((lattice.first != np.arange(len(lattice.first))).sum())
    if comparisons > MOST_COMPARISONS:
        raise Refusal(
            "{parameter} needs {comparisons} comparisons; the exact distribution is followed through {most}.",
            parameter="text",
            comparisons=comparisons,
            most=MOST_COMPARISONS,
        )
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
    cuts = np.zeros((len(outcome), len(prepared.text) + 1), bool)
    cuts[:, 0] = cuts[at, depth] = True
    cuts, where = np.unique(cuts, axis=0, return_inverse=True)
    law = np.bincount(where.ravel(), law)
    order = np.argsort(-law, kind="stable")
    return cuts[order], law[order]


def edge_posteriors(
    text: str, vocabulary: Vocabularies = "english", alpha: float = 1.0, unknown: str = "refuse"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lattice's edges: where each starts and ends (characters of the prepared text), and the probability that a
    segmentation drawn from p^alpha uses it (forward-backward; the gradient of log Z by alpha log p)."""
    vocabulary, alpha = Vocabulary.of(vocabulary), number("alpha", alpha, 0, MOST_ALPHA)
    lattice = Lattice.of(vocabulary.prepare(text, unknown), vocabulary)
    return lattice.source, lattice.target, posteriors(lattice, alpha)[0]
