"""Markov chains whose distribution can be written down: Gibbs scans, Metropolis-Hastings and edits on tiny joints, float64.

A joint over L positions of V values is an array of shape (V,) * L that sums to 1; its states are numbered as the array
is raveled. A kernel is a row-stochastic matrix [states, states]. What holds here to machine precision is what the text
samplers of this package do with a language model in the joint's place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from engines.arguments import Between, OneOf, Refusal, checked, items, number, text, whole
from engines.gibbs import inputs

MOST_STATES = 1024


@checked
def potts(
    length: Annotated[int, Between(1, 10)] = 3, coupling: float = 1.0, fields: Sequence[float] = (0.0, 0.5, -0.5)
) -> np.ndarray:
    """p(x) ∝ exp(coupling * Σ 1[x_i = x_{i+1}] + Σ fields[x_i]) on a chain of `length` positions, shape (V,) * length."""
    coupling, fields = number("coupling", coupling, -1e300, 1e300), inputs.floats("fields", fields, 1)
    values = len(fields)
    if values < 2 or values**length > MOST_STATES:
        raise Refusal(
            "{parameter} must give from 2 to {most} states; {values} values at {length} positions do not.",
            parameter="fields",
            most=MOST_STATES,
            values=values,
            length=length,
        )
    energy = np.zeros((values,) * length)
    for i in range(length):
        shape = [1] * length
        shape[i] = values
        energy += np.reshape(fields, shape)
        if i:
            shape[i - 1] = values
            energy += coupling * np.eye(values).reshape(shape)
    return inputs.law("fields", np.exp(energy - energy.max()))


def conditional(law: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    """p(x at `positions` | the others), of the joint's shape."""
    law = inputs.law("law", law)
    axes = _positions("positions", positions, law.ndim)
    margin = law.sum(axis=axes, keepdims=True)
    if not margin.all():
        raise Refusal(
            "{parameter} gives probability 0 to some values of the other positions: nothing follows from them.",
            parameter="law",
        )
    return law / margin


def conditionals(law: np.ndarray) -> list[np.ndarray]:
    """The L single-site conditionals, all that a masked language model gives."""
    law = inputs.law("law", law)
    return [conditional(law, [i]) for i in range(law.ndim)]


def site_kernel(table: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    """Redraw `positions` together from table = p(x at positions | others): moves only along these axes."""
    table = inputs.floats("table", table)
    states = np.array(list(itertools.product(*map(range, table.shape))))
    others = np.delete(states, _positions("positions", positions, table.ndim), axis=1)
    same = (others[:, None] == others[None]).all(-1)
    return same * table.ravel()[None, :]


def random_scan(tables: Sequence[np.ndarray]) -> np.ndarray:
    """One step: a position chosen uniformly, redrawn from its conditional (Geman & Geman 1984)."""
    tables = _tables(tables)
    return sum(site_kernel(table, [i]) for i, table in enumerate(tables)) / len(tables)


def systematic_scan(tables: Sequence[np.ndarray], order: Sequence[int] | None = None) -> np.ndarray:
    """One sweep: every position redrawn in turn, by default from left to right."""
    tables = _tables(tables)
    kernel = np.eye(tables[0].size)
    for i in range(len(tables)) if order is None else _positions("order", order, len(tables)):
        kernel = kernel @ site_kernel(tables[i], [i])
    return kernel


def parallel_scan(tables: Sequence[np.ndarray]) -> np.ndarray:
    """One sweep: all positions redrawn at once, each from the others as they were."""
    tables = _tables(tables)
    states = np.array(list(itertools.product(*map(range, tables[0].shape))))
    kernel = np.ones((len(states), len(states)))
    for i, table in enumerate(tables):
        context = np.repeat(states[:, None], table.shape[i], axis=1)
        context[:, :, i] = np.arange(table.shape[i])
        kernel *= table[tuple(context.transpose(2, 0, 1))][:, states[:, i]]
    return kernel


@checked
def block_scan(law: np.ndarray, size: Annotated[int, Between(1, 10)], at_once: bool) -> np.ndarray:
    """One sweep over blocks of `size` neighbours. Redrawn from their joint conditional, or `at_once`: each position from its
    own marginal given what lies outside the block, which is what a masked model gives for several marks."""
    law = inputs.law("law", law)
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
    """The distribution ∝ Π p(x_i | others): what a Metropolis correction towards the pseudo-log-likelihood samples."""
    return inputs.law("tables", math.prod(_tables(tables)))


def metropolis(proposal: np.ndarray, law: np.ndarray, ratio: bool = True) -> np.ndarray:
    """Metropolis-Hastings: accept i -> j with min(1, law_j q_ji / (law_i q_ij)) (Hastings 1970); without `ratio` the q are
    left out, which is right only for a symmetric proposal."""
    proposal = inputs.kernel("proposal", proposal)
    law = inputs.law("law", law, len(proposal)).ravel()
    flow = proposal * law[:, None]
    back = flow.T if ratio else proposal * law[None]
    kernel = np.divide(np.minimum(flow, back), law[:, None], where=law[:, None] > 0, out=proposal.copy())
    return _with_rest(kernel)


def stationary(kernel: np.ndarray) -> np.ndarray:
    """The distribution [states] that the kernel keeps, each entry to its own relative precision: the elimination of Grassmann,
    Taksar & Heyman (1985), which subtracts nothing. Refusal where the kernel has more than one."""
    kernel = inputs.kernel("kernel", kernel)
    from scipy.sparse.csgraph import connected_components  # slow to load, and asked for by one view

    count, group = connected_components(kernel > 0, connection="strong")
    leaves = np.zeros(count, bool)
    np.logical_or.at(leaves, group, ((kernel > 0) & (group[:, None] != group)).any(1))
    if (~leaves).sum() != 1:
        raise Refusal(
            "{parameter} has more than one stationary distribution: some states are never reached from others.",
            parameter="kernel",
        )
    inside = np.flatnonzero(~leaves[group])
    flow = kernel[np.ix_(inside, inside)]
    for k in range(len(flow) - 1, 0, -1):
        flow[:k, k] /= flow[k, :k].sum()
        flow[:k, :k] += np.outer(flow[:k, k], flow[k, :k])
    kept = np.ones(len(flow))
    for k in range(1, len(flow)):
        kept[k] = kept[:k] @ flow[:k, k]
        kept[: k + 1] /= kept[: k + 1].max()  # states may differ by more than float64 can hold
    law = np.zeros(len(kernel))
    law[inside] = kept / kept.sum()
    return law


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the sum of |p - q|: the greatest difference of the two distributions on any event."""
    p, q = inputs.law("p", p), inputs.law("q", q)
    if p.size != q.size:
        raise Refusal("{parameter} must be a distribution on as many states as the other.", parameter="q")
    return float(np.abs(p.ravel() - q.ravel()).sum() / 2)


def detailed_balance_gap(kernel: np.ndarray, law: np.ndarray) -> float:
    """The greatest |law_i k_ij - law_j k_ji|: 0 for a reversible chain."""
    kernel = inputs.kernel("kernel", kernel)
    flow = inputs.law("law", law, len(kernel)).ravel()[:, None] * kernel
    return float(np.abs(flow - flow.T).max())


@checked
def approach(kernel: np.ndarray, law: np.ndarray, start: int, steps: Annotated[int, Between(0, 10_000)]) -> np.ndarray:
    """Total variation between `law` and the chain begun in state `start`, after 0 ... steps applications: [steps + 1]."""
    kernel = inputs.kernel("kernel", kernel)
    law = inputs.law("law", law, len(kernel))
    now = np.zeros(len(kernel))
    now[whole("start", start, 0, len(kernel) - 1)] = 1
    distances = [total_variation(now, law)]
    for _ in range(steps):
        now = now @ kernel
        distances.append(total_variation(now, law))
    return np.array(distances)


def _positions(name: str, positions: Any, axes: int) -> tuple[int, ...]:
    return tuple(whole(name, i, 0, axes - 1) for i in items(name, positions, axes))


def _tables(tables: Any) -> list[np.ndarray]:
    """The L conditionals, each of the joint's shape."""
    found = [inputs.floats("tables", table) for table in items("tables", tables, 10)]
    if any(table.shape != found[0].shape or table.ndim != len(found) or not table.size for table in found):
        raise Refusal("{parameter} must be one array for each position, all of the joint's shape.", parameter="tables")
    return found


def _with_rest(kernel: np.ndarray) -> np.ndarray:
    """The kernel with what is left of each row on its diagonal."""
    np.fill_diagonal(kernel, 0)
    np.fill_diagonal(kernel, (1 - kernel.sum(1)).clip(min=0))
    return kernel


# Edits: insert, delete, replace on sequences of any length (CGMH: Miao et al., AAAI 2019, arXiv 1811.10996)

OPERATIONS = ("insert", "delete", "replace")


@checked
def edit_log_proposal(
    operation: Annotated[str, OneOf(OPERATIONS)], length: Annotated[int, Between(0, 10**6)], log_word: float = 0.0
) -> float:
    """log q of one edit of a sequence of `length`: an operation of three, a place uniformly, a word of log-probability
    `log_word`. The inverse of an insertion is the deletion at the same place of the longer sequence, and so on: one
    table serves both directions of the Metropolis-Hastings ratio (arXiv 1811.10996, eqs. 4 to 9). An insertion and the
    deletion that undoes it choose among equally many places, so of q only the word is left in the ratio."""
    places = length + 1 if operation == "insert" else length
    if not places:
        raise Refusal("{parameter} is 0: there is nothing to delete or replace.", parameter="length")
    return -math.log(3 * places) + (_log_number("log_word", log_word) if operation != "delete" else 0.0)


def _log_number(name: str, value: float) -> float:
    """A logarithm: a number below infinity."""
    return number(name, value, -math.inf, 1e300)


@checked
def edit_log_acceptance(
    operation: Annotated[str, OneOf(OPERATIONS)],
    length: Annotated[int, Between(0, 10**6)],
    log_target: float,
    log_word: float,
    log_word_back: float,
) -> float:
    """log of the acceptance probability of an edit of a sequence of `length`.

    log_target: log π(after) - log π(before); log_word: of the word put in (0 for a deletion);
    log_word_back: of the word that the inverse edit puts in (0 for an insertion)
    """
    log_target, log_word = _log_number("log_target", log_target), _log_number("log_word", log_word)
    log_word_back = _log_number("log_word_back", log_word_back)
    if -math.inf in (log_target, log_word_back):  # π is 0 there, or the inverse is impossible
        return -math.inf
    reverse, after = {
        "insert": ("delete", length + 1),
        "delete": ("insert", length - 1),
        "replace": ("replace", length),
    }[operation]
    there, back = edit_log_proposal(operation, length, log_word), edit_log_proposal(reverse, after, log_word_back)
    return min(0.0, log_target + back - there)


@checked
def edit_states(alphabet: str = "ab", max_length: Annotated[int, Between(1, 6)] = 3) -> list[str]:
    """All strings of at most `max_length` letters, the empty one first."""
    alphabet = text("alphabet", alphabet, 4)
    if not alphabet or len(set(alphabet)) < len(alphabet) or len(alphabet) ** max_length > MOST_STATES // 2:
        raise Refusal(
            "{parameter} must be one to four different letters, with at most {most} strings of {length}.",
            parameter="alphabet",
            most=MOST_STATES // 2,
            length=max_length,
        )
    return ["".join(s) for n in range(max_length + 1) for s in itertools.product(alphabet, repeat=n)]


def edit_law(states: Sequence[str], cost: float = 0.7, gain: float = 0.9) -> np.ndarray:
    """π ∝ exp(-cost * length + gain * changes), a change being two neighbours that differ."""
    states = [text("states", s, 6) for s in items("states", states, MOST_STATES)]
    cost, gain = number("cost", cost, -1e300, 1e300), number("gain", gain, -1e300, 1e300)
    energy = np.array([gain * sum(a != b for a, b in itertools.pairwise(s)) - cost * len(s) for s in states])
    return inputs.law("states", np.exp(energy - energy.max()))


def edit_kernel(
    states: Sequence[str],
    law: np.ndarray,
    alphabet: str = "ab",
    fill: Callable[[str, str], np.ndarray] | None = None,
    ratio: bool = True,
) -> np.ndarray:
    """The insert/delete/replace chain on `states` as a matrix: each move weighed by `edit_log_acceptance`.

    fill(left, right) -> probability of each letter between them, by default uniform. A move out of `states` stays put.
    Without `ratio` the proposal's part of the acceptance is left out, which is the probability of the letters; with the uniform
    fill the chain then keeps π(s) / len(alphabet)^len(s).
    """
    states = [text("states", s, 6) for s in items("states", states, MOST_STATES)]
    law = inputs.law("law", law, len(states)).ravel()
    alphabet = text("alphabet", alphabet, 4)
    if fill is not None and not callable(fill):
        raise Refusal("{parameter} must be a function of what stands left and right.", parameter="fill")
    if set("".join(states)) - set(alphabet) or len(set(states)) < len(states) or not law.all():
        raise Refusal(
            "{parameter} must be different strings of the alphabet, each with a probability above 0.",
            parameter="states",
        )
    number_of = {s: i for i, s in enumerate(states)}
    kernel = np.zeros((len(states), len(states)))
    uniform = np.full(len(alphabet), 1 / len(alphabet))
    for s, operation in itertools.product(states, OPERATIONS):
        for place in range(len(s) + (operation == "insert")):
            left, right = s[:place], s[place + (operation != "insert") :]
            words = uniform if fill is None else inputs.floats("fill", fill(left, right), 1)
            if len(words) != len(alphabet):
                raise Refusal("{parameter} must give each letter a probability.", parameter="fill")
            for letter, word in zip(alphabet, words, strict=True):
                after = left + right if operation == "delete" else left + letter + right
                if after not in number_of or (operation == "delete" and letter != alphabet[0]):
                    continue
                log_word = 0.0 if operation == "delete" else _log(word)
                log_back = 0.0 if operation == "insert" else _log(words[alphabet.index(s[place])])
                gain = math.log(law[number_of[after]] / law[number_of[s]])
                accept = edit_log_acceptance(operation, len(s), gain, log_word, log_back) if ratio else min(0.0, gain)
                move = edit_log_proposal(operation, len(s), log_word) + accept
                kernel[number_of[s], number_of[after]] += math.exp(move)
    return _with_rest(kernel)


@checked
def published_edit_law(states: Sequence[str], law: np.ndarray, alphabet: str = "ab") -> np.ndarray:
    """What the published code of CGMH keeps (NingMiao/CGMH, key_gen.py, no keywords): shares [states] over its cycle of 20 steps.

    It visits the places from left to right. A replacement is drawn from π, and taken where π exceeds `threshold` times the old one,
    which is 0 for ten steps and 1/2 for ten; so must be what is inserted or deleted, beside their ratio. An insertion's π counts
    10 / (length + 1) times, a deletion's does not. It moves two places on after an insertion and none after a deletion, and never
    empties the string: the share of "" is 0. Its search for the 100 best letters leaves none of so few out.
    """
    from scipy.sparse import csr_array  # slow to load, and asked for by one view

    states = [text("states", s, 6) for s in items("states", states, MOST_STATES)]
    law = inputs.law("law", law, len(states)).ravel()
    weight = dict(zip(states, law.tolist(), strict=True))
    longest = max(map(len, states))
    if not longest or set("".join(states)) - set(text("alphabet", alphabet, 4)) or not law.all():
        raise Refusal(
            "{parameter} must be different strings of the alphabet, each with a probability above 0.",
            parameter="states",
        )
    cycle = math.lcm(*range(2, longest + 2))  # the place is counted on and on, and read modulo the length
    walkers = [(s, pos) for s in states if s for pos in range(cycle)]
    number_of = {walker: i for i, walker in enumerate(walkers)}

    def moves(s: str, pos: int, threshold: float) -> Iterator[tuple[str, int, float]]:
        """(string, place, probability) of all that one step may do."""
        place, least = pos % (len(s) + 1), threshold * weight[s]
        yield s, pos + 1, 0.1
        inserted = {s[:place] + c + s[place:]: 10 / (len(s) + 1) for c in alphabet} if len(s) < longest else {}
        inserted = {new: prior * weight[new] for new, prior in inserted.items() if new in weight}
        total, left = sum(inserted.values()), 0.3
        for new, level in inserted.items():
            share = 0.3 * level / total * min(1.0, total / weight[s]) * (level > least)
            left -= share
            yield new, pos + 2, share
        yield s, pos + 1, left
        if place == len(s):
            yield s, pos, 0.6  # neither replaced nor deleted, and the place is not counted on
            return
        others = [new for c in alphabet if (new := s[:place] + c + s[place + 1 :]) in weight]
        total = sum(weight[new] for new in others)
        for new in others:
            yield new if weight[new] > least else s, pos + 1, 0.3 * weight[new] / total
        new = s[:place] + s[place + 1 :]
        taken = 0.3 * min(1.0, weight[new] / total) * (weight[new] > least) if new in weight and new else 0.0
        yield new, pos, taken
        yield s, pos + 1, 0.3 - taken

    def step(threshold: float) -> Any:
        found = [
            (number_of[new, to % cycle], number_of[walker], share)
            for walker in walkers
            for new, to, share in moves(*walker, threshold)
            if share > 0
        ]
        rows, columns, shares = zip(*found, strict=True)
        return csr_array((shares, (rows, columns)), shape=(len(walkers), len(walkers)))

    steps = [step(0.0)] * 10 + [step(0.5)] * 10
    now = np.full(len(walkers), 1 / len(walkers))
    for _ in range(10_000):
        before, total = now, np.zeros(len(walkers))
        for kernel in steps:
            now = kernel @ now
            total += now
        if np.abs(now - before).sum() < 1e-13:
            break
    shares = dict.fromkeys(states, 0.0)
    for (s, _), share in zip(walkers, total.tolist(), strict=True):
        shares[s] += share / len(steps)
    return np.array(list(shares.values()))


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf


# Importance and rejection sampling of N(0, 1) from N(mean, sd^2), in any number of dimensions


def log_rejection_rate(mean: float, sd: float) -> float:
    """log of the share that rejection accepts in one dimension, 1 / sup(p/q) = exp(-mean² / (2 (sd² - 1))) / sd; -inf where
    sd < 1, or = 1 unless q = p, for then p/q has no bound."""
    exponent, sd = _rejection_exponent(mean, sd)
    return exponent - math.log(sd)


def rejection_rate(mean: float, sd: float) -> float:
    """The same, not its log."""
    exponent, sd = _rejection_exponent(mean, sd)
    return math.exp(exponent) / sd


def _rejection_exponent(mean: float, sd: float) -> tuple[float, float]:
    """-mean² / (2 (sd² - 1)), -inf where p/q has no bound, and sd."""
    mean, sd = number("mean", mean, -1e300, 1e300), number("sd", sd, 1e-300, 1e300)
    if sd <= 1:
        return 0.0 if sd == 1 and mean == 0 else -math.inf, sd
    shift = mean / sd  # mean² and sd² may be beyond float64
    return -shift * shift / (2 * (1 - 1 / sd) * (1 + 1 / sd)), sd


def log_importance_efficiency(mean: float, sd: float) -> float:
    """log of the effective share of the weighted draws in one dimension, 1 / E_q[(p/q)²] = √(2 sd² - 1) / sd² exp(-mean² /
    (2 sd² - 1)); -inf where sd² <= 1/2, for then the weights have no variance."""
    room, exponent, sd = _importance_exponent(mean, sd)
    return math.log(room) / 2 + exponent - math.log(sd) if room else -math.inf


def importance_efficiency(mean: float, sd: float) -> float:
    """The same, not its log."""
    room, exponent, sd = _importance_exponent(mean, sd)
    return math.sqrt(room) * math.exp(exponent) / sd


def _importance_exponent(mean: float, sd: float) -> tuple[float, float, float]:
    """2 - 1 / sd², or 0 where the weights have no variance; -mean² / (2 sd² - 1); and sd."""
    mean, sd = number("mean", mean, -1e300, 1e300), number("sd", sd, 1e-300, 1e300)
    room = max(0.0, 2 - (1 / sd) * (1 / sd))
    shift = mean / sd
    return room, -shift * shift / room if room else 0.0, sd


def effective_sample_size(log_weights: np.ndarray) -> float:
    """(Σ w)² / Σ w² (Kong 1992) of log-weights [n], -inf for a weight of 0."""
    log_weights = inputs.floats("log_weights", log_weights, 1, finite=False)
    if not log_weights.size or not np.isfinite(log_weights.max()):
        raise Refusal("{parameter} must hold a finite number, and no +∞.", parameter="log_weights")
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())
