"""The views of the tiny chains: scans, conditionals that fit no joint, edits, importance and rejection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engines.arguments import number, one_of, whole
from engines.gibbs import kernels


@dataclass(frozen=True)
class ScanLaws:
    """What `scan_laws` found for the joint of L positions and 3 values: S = 3^L states.

    states: S texts, "a", "b", "c" for the values; law: float64 [S], the joint
    scans: names of the K kernels; stationary: float64 [K, S], the law each keeps
    distance: float64 [K], total variation between that and the joint
    balance: float64 [K], the greatest |p_i k_ij - p_j k_ji| under the kept law: 0 for a reversible chain
    approach: float64 [K, sweeps + 1], total variation from the joint after 0, 1, ... sweeps, begun at the least likely state
    """

    states: tuple[str, ...]
    law: np.ndarray
    scans: tuple[str, ...]
    stationary: np.ndarray
    distance: np.ndarray
    balance: np.ndarray
    approach: np.ndarray


def scan_laws(coupling: float = 1.0, field: float = 0.5, positions: int = 3, sweeps: int = 20) -> ScanLaws:
    """Which law each scan keeps on p ∝ exp(coupling Σ 1[x_i = x_{i+1}] + Σ h(x_i)), h = (0, field, -field)."""
    coupling = number("coupling", coupling, -3, 3)
    field = number("field", field, -3, 3)
    positions = whole("positions", positions, 2, 4)
    sweeps = whole("sweeps", sweeps, 1, 100)
    law = kernels.potts(positions, coupling, (0.0, field, -field))
    tables = kernels.conditionals(law)
    pseudo = kernels.pseudo_likelihood(tables)
    random = np.linalg.matrix_power(kernels.random_scan(tables), positions)
    matrices = {
        "random": random,
        "sweep": kernels.systematic_scan(tables),
        "blocks of 2, jointly": kernels.block_scan(law, 2, at_once=False),
        "blocks of 2 at once": kernels.block_scan(law, 2, at_once=True),
        "all at once": kernels.parallel_scan(tables),
        "sweep + Metropolis": _corrected_sweep(tables, pseudo),
    }
    kept = [kernels.stationary(kernel) for kernel in matrices.values()]
    start = int(law.argmin())
    letters = [np.unravel_index(i, law.shape) for i in range(law.size)]
    return ScanLaws(
        states=tuple("".join("abc"[v] for v in state) for state in letters),
        law=law.ravel(),
        scans=tuple(matrices),
        stationary=np.array(kept),
        distance=np.array([kernels.total_variation(found, law) for found in kept]),
        balance=np.array([kernels.detailed_balance_gap(k, p) for k, p in zip(matrices.values(), kept, strict=True)]),
        approach=np.array([kernels.approach(kernel, law, start, sweeps) for kernel in matrices.values()]),
    )


def _corrected_sweep(tables: list[np.ndarray], target: np.ndarray) -> np.ndarray:
    """A sweep of single-site proposals, each accepted towards `target`."""
    kernel = np.eye(target.size)
    for i, table in enumerate(tables):
        kernel = kernel @ kernels.metropolis(kernels.site_kernel(table, [i]), target)
    return kernel


@dataclass(frozen=True)
class Incompatible:
    """What `incompatible` found for two words x, y of 3 values each.

    values: their names
    x_last, y_last, random: float64 [3, 3] (x, y), the law kept when x is drawn last in each sweep, y last, or either at random
    distance: total variation between x_last and y_last; from_random: of each of these from `random`
    coupling, other: as given
    """

    values: tuple[str, ...]
    x_last: np.ndarray
    y_last: np.ndarray
    random: np.ndarray
    distance: float
    from_random: tuple[float, float]
    coupling: float
    other: float


def incompatible(coupling: float = 1.0, other: float = -0.5, field: float = 0.5) -> Incompatible:
    """p(x | y) of one joint and p(y | x) of another, which differ in their coupling: each scan order has its own law."""
    coupling = number("coupling", coupling, -3, 3)
    other = number("other", other, -3, 3)
    field = number("field", field, -3, 3)
    fields = (0.0, field, -field)
    tables = [kernels.conditionals(kernels.potts(2, c, fields))[i] for i, c in enumerate((coupling, other))]
    x_last = kernels.stationary(kernels.systematic_scan(tables, [1, 0])).reshape(3, 3)
    y_last = kernels.stationary(kernels.systematic_scan(tables, [0, 1])).reshape(3, 3)
    random = kernels.stationary(kernels.random_scan(tables)).reshape(3, 3)
    return Incompatible(
        values=("a", "b", "c"),
        x_last=x_last,
        y_last=y_last,
        random=random,
        distance=kernels.total_variation(x_last, y_last),
        from_random=(kernels.total_variation(x_last, random), kernels.total_variation(y_last, random)),
        coupling=float(coupling),
        other=float(other),
    )


@dataclass(frozen=True)
class EditLaws:
    """What `edit_laws` found on the S strings of at most `letters` letters a, b.

    states: S texts, the empty one first; law: float64 [S], π
    faithful, careless: float64 [S], laws kept with the true acceptance and without the proposal's part of it
    sampled: float64 [S], shares in a chain of n steps under the true acceptance; accepted: its share of accepted moves
    balance: greatest |π_i k_ij - π_j k_ji| of the faithful chain
    distance: total variation of faithful, careless and sampled from the law
    n: as given
    """

    states: tuple[str, ...]
    law: np.ndarray
    faithful: np.ndarray
    careless: np.ndarray
    sampled: np.ndarray
    accepted: float
    balance: float
    distance: tuple[float, float, float]
    n: int


PROPOSALS = {"uniform": "any letter alike", "conditional": "the true conditional"}


def edit_laws(
    cost: float = 0.7, gain: float = 0.9, letters: int = 3, proposal: str = "uniform", n: int = 5000, seed: int = 0
) -> EditLaws:
    """Insertions, deletions and replacements on strings of a and b under π ∝ exp(-cost * length + gain * changes)."""
    cost = number("cost", cost, -2, 3)
    gain = number("gain", gain, -3, 3)
    letters = whole("letters", letters, 1, 4)
    one_of("proposal", proposal, PROPOSALS)
    n = whole("n", n, 1, 50_000)
    seed = whole("seed", seed, 0, 2**63 - 1)
    states = kernels.edit_states("ab", letters)
    law = kernels.edit_law(states, cost, gain)
    index_of = {s: i for i, s in enumerate(states)}

    def conditional(left: str, right: str) -> np.ndarray:
        weights = np.array([law[index_of[left + c + right]] if left + c + right in index_of else 1.0 for c in "ab"])
        return weights / weights.sum()

    fill = conditional if proposal == "conditional" else None
    faithful = kernels.edit_kernel(states, law, fill=fill)
    careless = kernels.edit_kernel(states, law, fill=fill, ratio=False)
    kept = [kernels.stationary(kernel) for kernel in (faithful, careless)]
    ladders = faithful.cumsum(axis=1)
    visits, moved, state = np.zeros(len(states)), 0, 0
    for u in np.random.default_rng(seed).random(n):
        following = min(int(np.searchsorted(ladders[state], u, side="right")), len(states) - 1)
        moved += following != state
        state = following
        visits[state] += 1
    sampled = visits / n
    return EditLaws(
        states=tuple(states),
        law=law,
        faithful=kept[0],
        careless=kept[1],
        sampled=sampled,
        accepted=moved / n,
        balance=kernels.detailed_balance_gap(faithful, law),
        distance=tuple(kernels.total_variation(found, law) for found in (*kept, sampled)),
        n=n,
    )


@dataclass(frozen=True)
class Weighing:
    """What `weigh` found for N(0, 1) sampled by way of N(mean, sd^2).

    x: float64 [201]; target, proposal, envelope: float64 [201], densities p, q and M q (NaN where M is infinite)
    edges: float64 [41]; accepted, weighted: float64 [40], densities of the accepted draws and of the weighted ones
    bound: M = sup p/q, infinite where p/q has none
    rate, expected_rate: share accepted, and 1/M
    efficiency, expected_efficiency: effective share of the weighted draws, and 1 / E_q[(p/q)^2]
    variance: of the accepted and of the weighted draws (1 expected)
    dimensions: int [D]; rates, efficiencies: float64 [D], the same expectations where every coordinate is drawn so
    n, mean, sd: as given
    """

    x: np.ndarray
    target: np.ndarray
    proposal: np.ndarray
    envelope: np.ndarray
    edges: np.ndarray
    accepted: np.ndarray
    weighted: np.ndarray
    bound: float
    rate: float
    expected_rate: float
    efficiency: float
    expected_efficiency: float
    variance: tuple[float, float]
    dimensions: np.ndarray
    rates: np.ndarray
    efficiencies: np.ndarray
    n: int
    mean: float
    sd: float


def weigh(mean: float = 0.0, sd: float = 2.0, n: int = 5000, seed: int = 0) -> Weighing:
    """Rejection and importance sampling of N(0, 1) from draws of N(mean, sd^2), and what becomes of them in many dimensions."""
    mean = number("mean", mean, -3, 3)
    sd = number("sd", sd, 0.2, 5)
    n = whole("n", n, 10, 100_000)
    seed = whole("seed", seed, 0, 2**63 - 1)
    rng = np.random.default_rng(seed)
    draws, u = mean + sd * rng.standard_normal(n), rng.random(n)

    def log_ratio(x: np.ndarray) -> np.ndarray:
        return -(x**2) / 2 + ((x - mean) / sd) ** 2 / 2 + math.log(sd)

    rate = kernels.rejection_rate(mean, sd)
    log_weights = log_ratio(draws)
    taken = draws[np.log(u) < log_weights + math.log(rate)] if rate else draws[:0]
    weights = np.exp(log_weights - log_weights.max())
    edges = np.linspace(-4, 4, 41)
    width = edges[1] - edges[0]
    x = np.linspace(-6, 6, 201)
    q = np.exp(-(((x - mean) / sd) ** 2) / 2) / sd / math.sqrt(2 * math.pi)
    dimensions = np.arange(1, 33)
    weighted_mean = float(weights @ draws / weights.sum())
    return Weighing(
        x=x,
        target=np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        proposal=q,
        envelope=q / rate if rate else np.full(len(x), np.nan),
        edges=edges,
        accepted=np.histogram(taken, edges)[0] / max(1, len(taken)) / width,
        weighted=np.histogram(draws, edges, weights=weights)[0] / weights.sum() / width,
        bound=1 / rate if rate else math.inf,
        rate=len(taken) / n,
        expected_rate=rate,
        efficiency=kernels.effective_sample_size(log_weights) / n,
        expected_efficiency=kernels.importance_efficiency(mean, sd),
        variance=(
            float(taken.var()) if len(taken) else math.nan,
            float(weights @ (draws - weighted_mean) ** 2 / weights.sum()),
        ),
        dimensions=dimensions,
        rates=rate ** dimensions.astype(float),
        efficiencies=kernels.importance_efficiency(mean, sd) ** dimensions.astype(float),
        n=n,
        mean=float(mean),
        sd=float(sd),
    )
