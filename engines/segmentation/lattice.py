"""The lattice of a text: its places are the nodes, the pieces that occur there the edges, its segmentations the paths."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from engines.arguments import Refusal
from engines.segmentation.vocabulary import Prepared, Vocabulary, codes


class Lattice:
    """All segmentations of several chunks at once.

    Nodes are numbered through: chunk k of length m has m + 1 of them from `start[k]` to `end[k]`. Edges are sorted by
    target, the longest piece first, which is the order in which an Aho-Corasick automaton reports them.
    `levels` lists, for each distance from the chunk's start and each rank among a target's edges, the edges that can be
    treated together: every chunk has at most one in each.
    walls: places of a single chunk that no piece crosses; unknown: whether a character that is no piece may stand alone (an
    edge whose piece is -1).
    """

    def __init__(
        self, chunks: list[str], vocabulary: Vocabulary, walls: np.ndarray | None = None, unknown: bool = False
    ):
        alphabet, keys, leads, spells = vocabulary.trie
        lengths = np.fromiter(map(len, chunks), np.int64, len(chunks))
        self.start = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
        self.end = self.start + lengths
        self.nodes = int(self.end[-1]) + 1
        self.depth = np.arange(self.nodes) - np.repeat(self.start, lengths + 1)
        # one separator a chunk, of a letter that leads nowhere, makes places in the text and nodes the same numbers
        letters = vocabulary.letters(codes("\x00".join(chunks) + "\x00"))
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
            if unknown and length == 1:
                alone = np.setdiff1d(np.flatnonzero(~vocabulary.singles[letters]), self.end)
                found.append((alone, alone + 1, np.full(len(alone), -1)))
        # longest first, so that a stable sort by target leaves them so; it has but few sorted runs to merge
        source, target, piece = (np.concatenate(column) for column in zip(*reversed(found), strict=True))
        order = np.argsort(target, kind="stable")
        if walls is not None and len(walls):
            passed = np.cumsum(np.bincount(walls, minlength=self.nodes))  # walls at or before each node
            order = order[passed[target[order] - 1] == passed[source[order]]]
        self.source, self.target, self.piece = source[order], target[order], piece[order]
        self.log_probs = np.where(self.piece < 0, vocabulary.unknown_log_prob, vocabulary.log_probs[self.piece])

    @classmethod
    def of(cls, prepared: Prepared, vocabulary: Vocabulary) -> Lattice:
        """The lattice of a whole prepared text as one chunk."""
        return cls([prepared.text], vocabulary, prepared.walls, prepared.unknown != "refuse")

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
        """log of the summed weight of all paths from its chunk's start to each node; `weights` are logs, by edge [E, ...].

        With np.maximum for `add`, of the greatest instead.
        """
        total = np.full((self.nodes, *weights.shape[1:]), -np.inf)
        total[self.start] = 0
        for edges in self.levels:
            source, target = self.source[edges], self.target[edges]
            total[target] = add(total[target], total[source] + weights[edges])
        if np.isneginf(total[self.end]).any():
            raise Refusal(
                "{parameter} cannot be cut: no sequence of this vocabulary's pieces spells it.", parameter="text"
            )
        return total

    def backward(self, weights: np.ndarray, add: np.ufunc = np.logaddexp) -> np.ndarray:
        """The same from each node to its chunk's end."""
        total = np.full((self.nodes, *weights.shape[1:]), -np.inf)
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
        """Forward filtering, backward sampling: a `last_edge` that makes `trace` draw from the exact distribution."""
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


def unique_chunks(chunks: list[str], vocabulary: Vocabulary, unknown: bool) -> tuple[Lattice, np.ndarray]:
    """The lattice of the distinct chunks, and which of them each chunk is."""
    index: dict[str, int] = {}
    which = np.fromiter((index.setdefault(chunk, len(index)) for chunk in chunks), np.int64, len(chunks))
    return Lattice(list(index), vocabulary, unknown=unknown), which


def posteriors(lattice: Lattice, alpha: float) -> tuple[np.ndarray, float, float]:
    """Of a lattice of one chunk: probability of each edge under p^alpha, log Z, entropy in nats."""
    weights = alpha * lattice.log_probs
    forward, backward = lattice.forward(weights), lattice.backward(weights)
    log_z = float(forward[-1])
    posterior = np.exp(np.minimum(forward[lattice.source] + weights + backward[lattice.target] - log_z, 0))
    return posterior, log_z, max(0.0, log_z - float(posterior @ weights))


def sweep(lattice: Lattice, alphas: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log Z, entropy (nats) and expected number of pieces under p^alpha for each alpha, float64 [alphas] each, of a text in
    which each chunk of the lattice occurs `times` [chunks] times."""
    weights = lattice.log_probs[:, None] * alphas
    forward, backward = lattice.forward(weights), lattice.backward(weights)
    chunk = np.searchsorted(lattice.start, lattice.source, "right") - 1
    log_z = forward[lattice.end]
    share = np.exp(np.minimum(forward[lattice.source] + weights + backward[lattice.target] - log_z[chunk], 0))
    share *= times[chunk, None]
    total = times @ log_z
    return total, np.maximum(0, total - (share * weights).sum(0)), share.sum(0)
