"""Distillation by identities, exact on Gaussians: the gradients of SiD's losses with the fake model held, and their ends.

Data are N(0, 1), the generator makes N(m, τ²), both compared after adding noise of level σ, as predictions of that noise:
φ(x) = a x, a = σ/(1 + σ²), of the teacher, and ψ(x) = b (x − m), b = σ/(τ² + σ²), of the best fake model. In kexue.fm 10085
and 10567 (with Zhou et al. 2024, arXiv 2404.04057, and Huang et al. 2024, arXiv 2410.19310), x = m + τ z + σ ε and

    L1 = E|φ − ψ|²,  L2 = E(φ − ψ)(φ − ε),  L3 = E[φ² − 2φε + ψε],  L4 = 2 L2 − L1,  L5 = 2 (L2 − L1).

The first four have one value, the Fisher divergence F, for E ψ f(x) = E ε f(x). A generator is trained with ψ held, and then they
have four gradients: that of L4 is ∇F, that of L5 is the gradient of F⁺, which is F with the distribution of x held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, SomeOf, checked

LOSSES = ("l1", "l2", "l3", "l4", "l5", "mixed")
# each as (of E φ², E φψ, E φε, E ψε, E ψ²)
TERMS = {
    "l1": (1.0, -2.0, 0.0, 0.0, 1.0),
    "l2": (1.0, -1.0, -1.0, 1.0, 0.0),
    "l3": (1.0, 0.0, -2.0, 1.0, 0.0),
    "l4": (1.0, 0.0, -2.0, 2.0, -1.0),
    "l5": (0.0, 2.0, -2.0, 2.0, -2.0),
}
MEANS, STDS, POINTS, REACH = 3.0, 3.5, 61, 8.0


def terms_of(loss: str, lam: float) -> tuple[float, ...]:
    """The five weights of a loss; "mixed" is L2 − λ L1."""
    if loss == "mixed":
        return tuple(two - lam * one for one, two in zip(TERMS["l1"], TERMS["l2"], strict=True))
    return TERMS[loss]


def fisher(mean, std, noise: float):
    """F = a² m² + (a − b)² (τ² + σ²), at numbers or arrays."""
    variance = std**2 + noise**2
    a, b = noise / (1 + noise**2), noise / variance
    return (a * mean) ** 2 + (a - b) ** 2 * variance


def held_gradient(loss: str, mean: float, std: float, noise: float, lam: float = 1.0) -> tuple[float, float]:
    """The gradient of a loss by m and τ with the best fake model of N(m, τ²) held.

    With x = m + τ z + σ ε: E x² = m² + τ² + σ², E x ε = σ, and ψ = b x − b m with b and the last m fixed.
    """
    a, b = noise / (1 + noise**2), noise / (std**2 + noise**2)
    of_phi2, of_both, _, _, of_psi2 = terms_of(loss, lam)
    # E φε = a σ and E ψε = b σ stay as they are; E ψ² = b² (τ² + σ²) is at its least in m
    by_mean = 2 * a**2 * mean * of_phi2 + a * b * mean * of_both
    by_std = 2 * std * (a**2 * of_phi2 + a * b * of_both + b**2 * of_psi2)
    return by_mean, by_std


def true_gradient(mean: float, std: float, noise: float) -> tuple[float, float]:
    """∇F by m and τ, through the fake model too."""
    a, b = noise / (1 + noise**2), noise / (std**2 + noise**2)
    return 2 * a**2 * mean, 2 * std * (a - b) * (a + b)


def runaway_std(noise: float, lam: float) -> float:
    """The τ above which L2 − λ L1 makes τ larger still: τ² + σ² = (1 + σ²) λ/(λ − 1); infinite for λ up to 1."""
    return math.sqrt((1 + noise**2) * lam / (lam - 1) - noise**2) if lam > 1 else math.inf


@dataclass(frozen=True)
class Identities:
    """SiD's losses of a generator N(m, τ²) of data N(0, 1), with their gradient flows.

    losses: names of LOSSES, as asked
    mean, std, noise, lam: as asked
    value: float64 [losses]; of each loss at the start
    held: float64 [losses, 2]; gradient by m and τ, the fake model held
    fisher: float; F at the start
    fisher_gradient, plus_gradient: float64 [2]; of F and of F⁺
    times: float64 [t]; time of the gradient flows
    paths: float64 [losses, t, 2]; (m, τ) along the flow of each held gradient, NaN once it has left the figure
    runaway: float; the τ above which L2 − λ L1 diverges, infinite where there is none
    means, stds: float64 [g]; the figure's plane
    landscape: float64 [g, g]; log10 F, a row a τ
    """

    losses: tuple[str, ...]
    mean: float
    std: float
    noise: float
    lam: float
    value: np.ndarray
    held: np.ndarray
    fisher: float
    fisher_gradient: np.ndarray
    plus_gradient: np.ndarray
    times: np.ndarray
    paths: np.ndarray
    runaway: float
    means: np.ndarray
    stds: np.ndarray
    landscape: np.ndarray


def flow(loss: str, mean: float, std: float, noise: float, lam: float, times: np.ndarray) -> np.ndarray:
    """(m, τ) [t, 2] along −held_gradient from a start; NaN once |m| or τ is over REACH."""
    from scipy.integrate import solve_ivp

    def slope(_, state):
        width = max(math.exp(state[1]), 1e-100)
        by_mean, by_std = held_gradient(loss, state[0], width, noise, lam)
        return -by_mean, -by_std / width

    def left(_, state):
        return REACH - max(abs(state[0]), math.exp(state[1]))

    left.terminal = True
    start = (mean, math.log(std))
    solved = solve_ivp(slope, times[[0, -1]], start, "LSODA", times, events=left, rtol=1e-8, atol=1e-10)
    path = np.full((len(times), 2), np.nan)
    path[: solved.y.shape[1], 0], path[: solved.y.shape[1], 1] = solved.y[0], np.exp(solved.y[1])
    return path


@checked
def identities(
    losses: Annotated[Sequence[str], SomeOf(LOSSES)] = LOSSES,
    lam: Annotated[float, Between(0, 3)] = 1.5,
    mean: Annotated[float, Between(-MEANS, MEANS)] = 1.5,
    std: Annotated[float, Between(0.05, STDS)] = 0.5,
    noise: Annotated[float, Between(0.1, 5)] = 0.5,
    duration: Annotated[float, Between(1, 1000)] = 200.0,
) -> Identities:
    """Values, gradients and gradient flows of SiD's losses from a generator N(mean, std²).

    lam: λ of L2 − λ L1; noise: σ, the level at which distributions are compared; duration: of the gradient flows.
    """
    terms = np.array([terms_of(loss, lam) for loss in losses])
    a, b, variance = noise / (1 + noise**2), noise / (std**2 + noise**2), std**2 + noise**2
    moments = np.array(
        [a**2 * (mean**2 + variance), a * b * variance, a * noise, b * noise, b**2 * variance]
    )  # E φ², E φψ, E φε, E ψε, E ψ²
    times = np.concatenate(([0.0], np.geomspace(duration / 1000, duration, 160)))
    means, stds = np.linspace(-MEANS, MEANS, POINTS), np.linspace(STDS / POINTS, STDS, POINTS)
    return Identities(
        losses=tuple(losses),
        mean=mean,
        std=std,
        noise=noise,
        lam=lam,
        value=terms @ moments,
        held=np.array([held_gradient(loss, mean, std, noise, lam) for loss in losses]),
        fisher=fisher(mean, std, noise),
        fisher_gradient=np.array(true_gradient(mean, std, noise)),
        plus_gradient=np.array([2 * a * b * mean, 4 * std * b * (a - b)]),
        times=times,
        paths=np.stack([flow(loss, mean, std, noise, lam, times) for loss in losses]),
        runaway=runaway_std(noise, lam),
        means=means,
        stds=stds,
        landscape=np.log10(np.maximum(fisher(means, stds[:, None], noise), 1e-12)),
    )
