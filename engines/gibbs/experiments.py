"""Chains on state spaces small enough to compute their distributions exactly: scans, edits, importance and rejection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, OneOf, checked
from engines.gibbs import kernels
from engines.gibbs.inputs import SEED

CONDITIONALS = ("joint", "mixed")
PROPOSALS = ("uniform", "conditional")
STRENGTH = Between(-3, 3)
DRAWS = Between(100, 50_000)


@dataclass(frozen=True)
class ScanLaws:
    """The distributions that K scans keep on L positions of 3 values: S = 3^L states.

    states: S texts; "a", "b", "c" for the values
    law: float64 [S]; the joint, or where there is none ("mixed") the distribution that the random scan keeps
    scans: K keys; "random", "sweep" (left to right), "backwards", "joint blocks", "blocks", "parallel", "metropolis"
    stationary: float64 [K, S]; the distribution each keeps
    distance: float64 [K]; total variation between that and `law`
    balance: float64 [K]; the greatest |p_i k_ij - p_j k_ji| under the kept law: 0 for a reversible chain
    approach: float64 [K, sweeps + 1]; total variation from `law` after 0, 1, ... sweeps, from the least likely state
    orders: float; total variation between the distributions of the sweeps from left to right and back
    conditionals: as given
    """

    states: tuple[str, ...]
    law: np.ndarray
    scans: tuple[str, ...]
    stationary: np.ndarray
    distance: np.ndarray
    balance: np.ndarray
    approach: np.ndarray
    orders: float
    conditionals: str


@checked
def scan_laws(
    conditionals: Annotated[str, OneOf(CONDITIONALS)] = "joint",
    coupling: Annotated[float, STRENGTH] = 1.0,
    other_coupling: Annotated[float, STRENGTH] = -0.5,
    field: Annotated[float, STRENGTH] = 0.5,
    positions: Annotated[int, Between(2, 4)] = 3,
    sweeps: Annotated[int, Between(1, 100)] = 20,
) -> ScanLaws:
    """Which distribution each scan keeps on p ∝ exp(coupling Σ 1[x_i = x_{i+1}] + Σ h(x_i)), h = (0, field, -field).

    conditionals: "joint", all of this p; or "mixed": those of the second, fourth, ... position belong to the p with
        `other_coupling`, so that no joint has them all, as with a masked language model
    """
    fields = (0.0, field, -field)
    law = kernels.potts(positions, coupling, fields)
    tables = kernels.conditionals(law)
    if conditionals == "mixed":
        others = kernels.conditionals(kernels.potts(positions, other_coupling, fields))
        tables = [(tables, others)[i % 2][i] for i in range(positions)]
    matrices = {
        "random": np.linalg.matrix_power(kernels.random_scan(tables), positions),
        "sweep": kernels.systematic_scan(tables),
        "backwards": kernels.systematic_scan(tables, list(range(positions))[::-1]),
    }
    if conditionals == "joint":  # several positions together need the joint
        matrices["joint blocks"] = kernels.block_scan(law, 2, at_once=False)
        matrices["blocks"] = kernels.block_scan(law, 2, at_once=True)
    matrices["parallel"] = kernels.parallel_scan(tables)
    matrices["metropolis"] = _corrected_sweep(tables)
    kept = {name: kernels.stationary(kernel) for name, kernel in matrices.items()}
    law = law if conditionals == "joint" else kept["random"].reshape(law.shape)
    start = int(law.argmin())
    return ScanLaws(
        states=tuple("".join("abc"[v] for v in np.unravel_index(i, law.shape)) for i in range(law.size)),
        law=law.ravel(),
        scans=tuple(matrices),
        stationary=np.array(list(kept.values())),
        distance=np.array([kernels.total_variation(found, law) for found in kept.values()]),
        balance=np.array([kernels.detailed_balance_gap(matrices[name], kept[name]) for name in matrices]),
        approach=np.array([kernels.approach(kernel, law, start, sweeps) for kernel in matrices.values()]),
        orders=kernels.total_variation(kept["sweep"], kept["backwards"]),
        conditionals=conditionals,
    )


def _corrected_sweep(tables: list[np.ndarray]) -> np.ndarray:
    """A sweep of single-site proposals, each accepted towards Π p(x_i | others)."""
    target = kernels.pseudo_likelihood(tables)
    kernel = np.eye(target.size)
    for i, table in enumerate(tables):
        kernel = kernel @ kernels.metropolis(kernels.site_kernel(table, [i]), target)
    return kernel


@dataclass(frozen=True)
class EditLaws:
    """Chains of edits on the S strings of at most `max_length` letters a, b.

    states: S texts; the empty one first
    law: float64 [S]; π
    with_ratio: float64 [S]; the distribution kept with the true acceptance
    without_ratio: float64 [S]; the distribution kept where the probability of the proposed letters is left out of it
    sampled: float64 [S]; shares in a chain of n steps with the true acceptance
    published: float64 [S]; shares in the chain of CGMH's published code (`kernels.published_edit_law`), which is never empty
    moved: float; share of its steps that changed the string
    balance: float; greatest |π_i k_ij - π_j k_ji| with the true acceptance
    distance: four floats; total variation of with_ratio, without_ratio and sampled from the distribution, and of published from the distribution of
        strings that are not empty
    n: steps, as given
    """

    states: tuple[str, ...]
    law: np.ndarray
    with_ratio: np.ndarray
    without_ratio: np.ndarray
    sampled: np.ndarray
    published: np.ndarray
    moved: float
    balance: float
    distance: tuple[float, float, float, float]
    n: int


@checked
def edit_laws(
    cost: Annotated[float, Between(-2, 3)] = 0.7,
    gain: Annotated[float, STRENGTH] = 0.9,
    max_length: Annotated[int, Between(1, 4)] = 3,
    proposal: Annotated[str, OneOf(PROPOSALS)] = "uniform",
    n: Annotated[int, DRAWS] = 5000,
    seed: Annotated[int, SEED] = 0,
) -> EditLaws:
    """Insertions, deletions and replacements on strings of a and b under π ∝ exp(-cost * length + gain * changes).

    proposal: of a letter: "uniform", or "conditional" on its neighbours under π
    """
    states = kernels.edit_states("ab", max_length)
    law = kernels.edit_law(states, cost, gain)
    index_of = {s: i for i, s in enumerate(states)}

    def conditional(left: str, right: str) -> np.ndarray:
        weights = np.array([law[index_of[left + c + right]] if left + c + right in index_of else 1.0 for c in "ab"])
        return weights / weights.sum()

    fill = conditional if proposal == "conditional" else None
    with_ratio = kernels.edit_kernel(states, law, fill=fill)
    kept = [kernels.stationary(kernel) for kernel in (with_ratio, kernels.edit_kernel(states, law, "ab", fill, False))]
    ladders = with_ratio.cumsum(axis=1)
    visits, moved, state = np.zeros(len(states)), 0, 0
    for u in np.random.default_rng(seed).random(n):
        following = min(int(np.searchsorted(ladders[state], u, side="right")), len(states) - 1)
        moved += following != state
        state = following
        visits[state] += 1
    sampled = visits / n
    published = kernels.published_edit_law(states, law)
    return EditLaws(
        states=tuple(states),
        law=law,
        with_ratio=kept[0],
        without_ratio=kept[1],
        sampled=sampled,
        published=published,
        moved=moved / n,
        balance=kernels.detailed_balance_gap(with_ratio, law),
        distance=(
            *(kernels.total_variation(found, law) for found in (*kept, sampled)),
            kernels.total_variation(published[1:], law[1:]),  # the first string is the empty one
        ),
        n=n,
    )


@dataclass(frozen=True)
class Weighing:
    """N(0, 1) sampled by way of draws from N(mean, sd²).

    x: float64 [201]; places at which the densities are given
    target: float64 [201]; density p
    proposal: float64 [201]; density q
    envelope: float64 [201]; M q, NaN where M is infinite
    edges: float64 [41]; of the bins
    accepted: float64 [40]; density of the accepted draws
    weighted: float64 [40]; density of the weighted draws
    log_bound: float; log M, M = sup p/q; infinity where p/q has no bound
    rate: float; share of the draws accepted
    expected_rate: float; 1 / M
    efficiency: float; effective share of the weighted draws
    expected_efficiency: float; 1 / E_q[(p/q)²], 0 where the weights have no variance
    variance: two floats; of the accepted and of the weighted draws (1 expected)
    dimensions: int64 [32]; 1, 2, ... coordinates, each drawn so
    log_rates: float64 [32]; log of the expected rate in as many dimensions
    log_efficiencies: float64 [32]; log of the expected efficiency
    n: draws, as given
    mean: as given
    sd: as given
    """

    x: np.ndarray
    target: np.ndarray
    proposal: np.ndarray
    envelope: np.ndarray
    edges: np.ndarray
    accepted: np.ndarray
    weighted: np.ndarray
    log_bound: float
    rate: float
    expected_rate: float
    efficiency: float
    expected_efficiency: float
    variance: tuple[float, float]
    dimensions: np.ndarray
    log_rates: np.ndarray
    log_efficiencies: np.ndarray
    n: int
    mean: float
    sd: float


@checked
def weigh(
    mean: Annotated[float, STRENGTH] = 0.0,
    sd: Annotated[float, Between(0.2, 5)] = 2.0,
    n: Annotated[int, DRAWS] = 5000,
    seed: Annotated[int, SEED] = 0,
) -> Weighing:
    """Rejection and importance sampling of N(0, 1) from draws of N(mean, sd²), and their share in many dimensions."""
    rng = np.random.default_rng(seed)
    draws, u = mean + sd * rng.standard_normal(n), rng.random(n)
    log_rate, log_efficiency = kernels.log_rejection_rate(mean, sd), kernels.log_importance_efficiency(mean, sd)
    log_weights = -(draws**2) / 2 + ((draws - mean) / sd) ** 2 / 2 + math.log(sd)
    taken = draws[np.log(u.clip(1e-300)) < log_weights + log_rate]
    weights = np.exp(log_weights - log_weights.max())
    weighted_mean = float(weights @ draws / weights.sum())
    edges = np.linspace(-4, 4, 41)
    width = edges[1] - edges[0]
    x = np.linspace(-6, 6, 201)
    q = np.exp(-(((x - mean) / sd) ** 2) / 2) / sd / math.sqrt(2 * math.pi)
    dimensions = np.arange(1, 33)
    bounded = math.isfinite(log_rate)
    with np.errstate(over="ignore"):
        envelope = q * np.exp(-log_rate) if bounded else np.full(len(x), np.nan)
    return Weighing(
        x=x,
        target=np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        proposal=q,
        envelope=envelope,
        edges=edges,
        accepted=np.histogram(taken, edges)[0] / max(1, len(taken)) / width,
        weighted=np.histogram(draws, edges, weights=weights)[0] / weights.sum() / width,
        log_bound=-log_rate,
        rate=len(taken) / n,
        expected_rate=math.exp(log_rate),
        efficiency=kernels.effective_sample_size(log_weights) / n,
        expected_efficiency=math.exp(log_efficiency),
        variance=(
            float(taken.var()) if len(taken) else math.nan,
            float(weights @ (draws - weighted_mean) ** 2 / weights.sum()),
        ),
        dimensions=dimensions,
        log_rates=dimensions * log_rate,
        log_efficiencies=dimensions * log_efficiency,
        n=n,
        mean=mean,
        sd=sd,
    )
