"""Markov chains whose law can be written down: Gibbs scans, Metropolis-Hastings and edits on tiny joints, float64.

A joint over L positions of V values is an array of shape (V,) * L that sums to 1; its states are numbered as the array
is raveled. A kernel is a row-stochastic matrix [states, states]. What holds here to machine precision is what the text
samplers of this package do with a language model in the joint's place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

MOST_STATES = 1024


def potts(length: int = 3, coupling: float = 1.0, fields: Sequence[float] = (0.0, 0.5, -0.5)) -> np.ndarray:
    """p(x) ∝ exp(coupling * Σ 1[x_i = x_{i+1}] + Σ fields[x_i]) on a chain of `length` positions, shape (V,) * length."""
    values = len(fields)
    if length < 1 or values < 2 or values**length > MOST_STATES:
        raise ValueError(f"length and fields must give between 2 and {MOST_STATES} states")
    energy = np.zeros((values,) * length)
    for i in range(length):
        shape = [1] * length
        shape[i] = values
        energy += np.reshape(fields, shape)
        if i:
            shape[i - 1] = values
            energy += coupling * np.eye(values).reshape(shape)
    law = np.exp(energy - energy.max())
    return law / law.sum()


def conditional(law: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    """p(x at `positions` | the others), of the joint's shape."""
    return law / law.sum(axis=tuple(positions), keepdims=True)


def conditionals(law: np.ndarray) -> list[np.ndarray]:
    """The L single-site conditionals, all that a masked language model gives."""
    return [conditional(law, [i]) for i in range(law.ndim)]


def site_kernel(table: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    """Redraw `positions` together from table = p(x at positions | others): moves only along these axes."""
    states = np.array(list(itertools.product(*map(range, table.shape))))
    others = np.delete(states, list(positions), axis=1)
    same = (others[:, None] == others[None]).all(-1)
    return same * table.ravel()[None, :]


def random_scan(tables: Sequence[np.ndarray]) -> np.ndarray:
    """One step: a position chosen uniformly, redrawn from its conditional (Geman & Geman 1984)."""
    return sum(site_kernel(table, [i]) for i, table in enumerate(tables)) / len(tables)


def systematic_scan(tables: Sequence[np.ndarray], order: Sequence[int] | None = None) -> np.ndarray:
    """One sweep: every position redrawn in turn, by default from left to right."""
    kernel = np.eye(tables[0].size)
    for i in range(len(tables)) if order is None else order:
        kernel = kernel @ site_kernel(tables[i], [i])
    return kernel


def parallel_scan(tables: Sequence[np.ndarray]) -> np.ndarray:
    """One sweep: all positions redrawn at once, each from the others as they were."""
    states = np.array(list(itertools.product(*map(range, tables[0].shape))))
    kernel = np.ones((len(states), len(states)))
    for i, table in enumerate(tables):
        context = np.repeat(states[:, None], table.shape[i], axis=1)
        context[:, :, i] = np.arange(table.shape[i])
        kernel *= table[tuple(context.transpose(2, 0, 1))][:, states[:, i]]
    return kernel


def block_scan(law: np.ndarray, size: int, at_once: bool) -> np.ndarray:
    """One sweep over blocks of `size` neighbours. Redrawn from their joint conditional, or `at_once`: each position from its
    own marginal given what lies outside the block, which is what a masked model gives for several marks."""
    kernel = np.eye(law.size)
    for low in range(0, law.ndim, size):
        block = list(range(low, min(low + size, law.ndim)))
        table = conditional(law, block)
        if at_once:
            shared = [table.sum(axis=tuple(j for j in block if j != i), keepdims=True) for i in block]
            table = math.prod(shared)
        kernel = kernel @ site_kernel(np.broadcast_to(table, law.shape), block)
    return kernel


def pseudo_likelihood(tables: Sequence[np.ndarray]) -> np.ndarray:
    """The law ∝ Π p(x_i | others): what a Metropolis correction towards the pseudo-log-likelihood samples."""
    law = math.prod(tables)
    return law / law.sum()


def metropolis(proposal: np.ndarray, law: np.ndarray, ratio: bool = True) -> np.ndarray:
    """Metropolis-Hastings: accept i -> j with min(1, law_j q_ji / (law_i q_ij)) (Hastings 1970); without `ratio` the q are
    left out, which is right only for a symmetric proposal."""
    law = law.ravel()
    flow = proposal * law[:, None]
    back = flow.T if ratio else proposal * law[None]
    kernel = np.where(
        flow > 0, proposal * np.minimum(1, np.divide(back, flow, where=flow > 0, out=np.zeros_like(flow))), 0
    )
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(kernel, 1 - kernel.sum(1))
    return kernel


def stationary(kernel: np.ndarray) -> np.ndarray:
    """The law the kernel keeps, assuming there is one only: solves law (kernel - 1) = 0, Σ law = 1."""
    system = np.vstack((kernel.T - np.eye(len(kernel)), np.ones(len(kernel))))
    law = np.linalg.lstsq(system, np.append(np.zeros(len(kernel)), 1.0), rcond=None)[0]
    return np.clip(law, 0, None) / np.clip(law, 0, None).sum()


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the sum of |p - q|: the greatest difference of the two laws on any event."""
    return float(np.abs(p.ravel() - q.ravel()).sum() / 2)


def detailed_balance_gap(kernel: np.ndarray, law: np.ndarray) -> float:
    """The greatest |law_i k_ij - law_j k_ji|: 0 for a reversible chain."""
    flow = law.ravel()[:, None] * kernel
    return float(np.abs(flow - flow.T).max())


def approach(kernel: np.ndarray, law: np.ndarray, start: int, steps: int) -> np.ndarray:
    """Total variation between `law` and the chain begun in state `start`, after 0 ... steps applications: [steps + 1]."""
    now = np.zeros(len(kernel))
    now[start] = 1
    distances = [total_variation(now, law)]
    for _ in range(steps):
        now = now @ kernel
        distances.append(total_variation(now, law))
    return np.array(distances)


# Edits: insert, delete, replace on sequences of any length (CGMH: Miao et al., AAAI 2019, arXiv 1811.10996)

OPERATIONS = ("insert", "delete", "replace")


def edit_log_proposal(operation: str, length: int, log_fill: float = 0.0) -> float:
    """log q of one edit of a sequence of `length`: an operation of three, a place uniformly, a word with log-probability
    `log_fill`. The way back of an insertion is the deletion at the same place of the longer sequence, and so on, so
    one table serves both directions of the Metropolis-Hastings ratio (arXiv 1811.10996, eqs. 4 to 9)."""
    places = {"insert": length + 1, "delete": length, "replace": length}[operation]
    return -math.log(3 * places) + (log_fill if operation != "delete" else 0.0)


def edit_log_acceptance(operation: str, length: int, log_target: float, log_word: float, log_word_back: float) -> float:
    """log of the acceptance probability of an edit of a sequence of `length`.

    log_target: log π(after) - log π(before); log_word: of the word put in (0 for a deletion);
    log_word_back: of the word that the way back puts in (0 for an insertion)
    """
    reverse, after = {
        "insert": ("delete", length + 1),
        "delete": ("insert", length - 1),
        "replace": ("replace", length),
    }[operation]
    there, back = edit_log_proposal(operation, length, log_word), edit_log_proposal(reverse, after, log_word_back)
    return min(0.0, log_target + back - there)


def edit_states(alphabet: str = "ab", longest: int = 3) -> list[str]:
    """All strings of at most `longest` letters, the empty one first."""
    if not 1 <= len(alphabet) <= 4 or not 1 <= longest <= 6 or len(alphabet) ** longest > MOST_STATES // 2:
        raise ValueError("longest must lie between 1 and 6, with at most 512 strings of that length")
    return ["".join(s) for n in range(longest + 1) for s in itertools.product(alphabet, repeat=n)]


def edit_law(states: Sequence[str], cost: float = 0.7, gain: float = 0.9) -> np.ndarray:
    """π ∝ exp(-cost * length + gain * changes), a change being two neighbours that differ."""
    energy = np.array([gain * sum(a != b for a, b in itertools.pairwise(s)) - cost * len(s) for s in states])
    law = np.exp(energy - energy.max())
    return law / law.sum()


def edit_kernel(
    states: Sequence[str],
    law: np.ndarray,
    alphabet: str = "ab",
    fill: Callable[[str, int, str], np.ndarray] | None = None,
    ratio: bool = True,
) -> np.ndarray:
    """The insert/delete/replace chain on `states` as a matrix: each move weighed by `edit_log_acceptance`.

    fill(left, right) -> probability of each letter between them, by default uniform. A move out of `states` stays put.
    Without `ratio` the proposal's part of the acceptance is left out.
    """
    number = {s: i for i, s in enumerate(states)}
    kernel = np.zeros((len(states), len(states)))
    uniform = np.full(len(alphabet), 1 / len(alphabet))
    for s, operation in itertools.product(states, OPERATIONS):
        for place in range(len(s) + (operation == "insert")):
            left, right = s[:place], s[place + (operation != "insert") :]
            words = uniform if fill is None else fill(left, right)
            for letter, word in zip(alphabet, words, strict=True):
                after = left + right if operation == "delete" else left + letter + right
                if after not in number or (operation == "delete" and letter != alphabet[0]):
                    continue
                log_word = 0.0 if operation == "delete" else math.log(word)
                log_back = 0.0 if operation == "insert" else math.log(words[alphabet.index(s[place])])
                gain = math.log(law[number[after]] / law[number[s]])
                accept = edit_log_acceptance(operation, len(s), gain, log_word, log_back) if ratio else min(0.0, gain)
                kernel[number[s], number[after]] += math.exp(edit_log_proposal(operation, len(s), log_word) + accept)
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(kernel, 1 - kernel.sum(1))
    return kernel


# Importance and rejection sampling of N(0, 1) from N(mean, sd^2), in any number of dimensions


def rejection_rate(mean: float, sd: float) -> float:
    """The share that rejection accepts in one dimension, 1 / sup(p/q) = exp(-mean² / (2 (sd² - 1))) / sd; 0 where sd <= 1
    unless q = p, for then p/q has no bound."""
    if sd == 1 and mean == 0:
        return 1.0
    return math.exp(-(mean**2) / (2 * (sd**2 - 1))) / sd if sd > 1 else 0.0


def importance_efficiency(mean: float, sd: float) -> float:
    """Effective share of the weighted draws in one dimension, 1 / E_q[(p/q)²] = √(2 sd² - 1) / sd² exp(-mean² / (2 sd² - 1));
    0 where sd² <= 1/2, for then the weights have no variance."""
    room = 2 * sd**2 - 1
    return math.sqrt(room) / sd**2 * math.exp(-(mean**2) / room) if room > 0 else 0.0


def effective_sample_size(log_weights: np.ndarray) -> float:
    """(Σ w)² / Σ w² (Kong 1992)."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())
