"""The best critics of two laws on the line, exact: penalties centred at 1 and at 0, and ReFlow's static critic.

At a place z = t x + (1 − t) y between independent pairs, with t uniform, E D(x) − E D(y) = E[D'(z) (x − y)], exactly: the mean
over t of a derivative along t is its difference at the ends. So on the line the best slope is found at each place alone, from
the mean move m(z) = E[x − y | z]: m/(2λ) for the penalty λ s² and sign(m)(1 + |m|/2λ) for λ(|s| − 1)². ReFlow's critic, which
regresses its slope on x − y, has m itself: the penalty centred at 0 with λ = ½. Term by term its loss is
½E|D'(z) − (x − y)|² = ½E D'² − [E D(x) − E D(y)] + ½E|x − y|², exactly, whatever D is; a field that knows t has a lower one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, OneOf, checked
from engines.diffusion.mixture import TARGETS as MIXTURES
from engines.transport.closed_forms import two_point_critic
from engines.transport.critic_plane import SIGMA, plane_critics
from engines.transport.data import plane_law
from engines.transport.matching import wasserstein

CASES = ("points", "gaussians", "plane")
TARGETS = tuple(MIXTURES)
SHOWN = 200  # points of each law of the plane
KINDS = ("gp_at_1", "gp_at_0", "reflow")
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
TIMES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # a quadrature over [0, 1]
GRID = 401


def slope_of(kind: str, move: np.ndarray, penalty: float) -> np.ndarray:
    """The best critic's slope dD/dz [n] of one of KINDS where the mean moves are `move` [n]."""
    if kind == "gp_at_1":
        return np.sign(move) * (1 + np.abs(move) / (2 * penalty))
    return move / (2 * penalty) if kind == "gp_at_0" else move


def between_gaussians(distance: float, std: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of y ~ N(0, 1), x ~ N(distance, std²): density of z = t x + (1 − t) y, t uniform, and E[x − y | z]; [n] each."""
    t, weights = TIMES[:, None], WEIGHTS[:, None]
    variance = (1 - t) ** 2 + t**2 * std**2
    density = weights * np.exp(-((z - t * distance) ** 2) / (2 * variance)) / np.sqrt(2 * math.pi * variance)
    move = distance + (t * std**2 - (1 - t)) / variance * (z - t * distance)
    total = density.sum(0)
    return total, (density * move).sum(0) / np.maximum(total, 1e-300)


def gaussian_w1(distance: float, std: float) -> float:
    """W1 of N(0, 1) and N(distance, std²), the mean of |distance + (std − 1) Z|."""
    scale = abs(std - 1)
    if scale < 1e-12:
        return abs(distance)
    at = distance / scale
    return scale * math.sqrt(2 / math.pi) * math.exp(-(at**2) / 2) + distance * math.erf(at / math.sqrt(2))


@dataclass(frozen=True)
class CriticFlow:
    """Three critics of two laws on the line, y at 0 and x at a distance, each the best of its kind.

    case: one of CASES; kinds: KINDS
    z: float64 [g]; places
    density_y, density_x: float64 [g]; of the two laws; NaN for points
    critic: float64 [kinds, g]; D, 0 at z = 0
    slope: float64 [kinds, g]; dD/dz
    distances: float64 [d]; distances of the two laws
    difference: float64 [kinds, d]; E D(x) − E D(y) at each
    w1, w2_squared: float64 [d]; what it might measure, at each
    now: float64 [kinds]; the difference at the distance asked for
    moved: float64 [kinds]; mean of the fake law after a step of the generator: E[y + dD/dz(y)]
    distance: float
    w1_now, w2_squared_now: float
    terms: float64 [kinds + 1, 4]; of ReFlow's loss, of each and of D = sin 2z: ½E D'², E D'(z)(x − y), E D(x) − E D(y), ½E|x − y|²
    least: float; ReFlow's loss of the best field that knows t
    """

    case: str
    kinds: tuple[str, ...]
    z: np.ndarray
    density_y: np.ndarray
    density_x: np.ndarray
    critic: np.ndarray
    slope: np.ndarray
    distances: np.ndarray
    difference: np.ndarray
    w1: np.ndarray
    w2_squared: np.ndarray
    now: np.ndarray
    moved: np.ndarray
    distance: float
    w1_now: float
    w2_squared_now: float
    terms: np.ndarray
    least: float


@dataclass(frozen=True)
class PlaneFlow:
    """Three critics of N(0, I), fake, and a law of the plane with noise, real: each the best of its kind, on a grid.

    kinds: KINDS
    axis: float64 [g]; of both coordinates
    critic: float64 [kinds, g, g]; D, rows along the second coordinate; mean 0 over the fake law
    difference: float64 [kinds]; E D(x) − E D(y)
    y, x: float64 [n, 2]; draws of the two laws; row i of y goes to row i of x where the mean squared distance is least
    move: float64 [kinds, n, 2]; ∇D at y, a step of the generator
    after: float64 [kinds]; exact W1 of y + ∇D(y) to x
    w1, w2_squared: exact, of y and x
    chance: exact W1 of x to other draws of the real law
    """

    kinds: tuple[str, ...]
    axis: np.ndarray
    critic: np.ndarray
    difference: np.ndarray
    y: np.ndarray
    x: np.ndarray
    move: np.ndarray
    after: np.ndarray
    w1: float
    w2_squared: float
    chance: float


def in_plane(target: str, penalty: float) -> PlaneFlow:
    """The best critics of N(0, I) and a target, and what a step along each does to draws."""
    law = plane_law(target)
    made = plane_critics(law, penalty)
    y = plane_law("gaussian").sample(SHOWN, 0).numpy()
    x, other = (law.sample(SHOWN, seed, SIGMA).numpy() for seed in (1, 2))
    best, move = wasserstein(y, x, 2), made.slope(y)
    return PlaneFlow(
        KINDS,
        made.axis,
        made.critic,
        made.difference,
        y,
        x[best.matching],
        move,
        np.array([wasserstein(y + step, x).value for step in move]),
        wasserstein(y, x).value,
        best.value,
        wasserstein(x, other).value,
    )


def reflow_terms(case: str, distance: float, std: float, penalty: float) -> np.ndarray:
    """½E D'², E D'(z)(x − y), E D(x) − E D(y) and ½E|x − y|² of KINDS and of D = sin 2z, [kinds + 1, 4].

    The third is found from the critic at the two laws, not from its slope between them.
    """
    if case == "points":
        z = np.linspace(0.0, distance, 8 * GRID + 1)
        between, move = np.full(z.shape, 1 / distance), np.full(z.shape, distance)
        x, y, square = (z == distance).astype(float), (z == 0).astype(float), distance**2
    else:
        reach = 8 * max(1.0, std)
        z = np.linspace(-reach, distance + reach, 8 * GRID + 1)
        between, move = between_gaussians(distance, std, z)
        x, y = np.exp(-(((z - distance) / std) ** 2) / 2), np.exp(-(z**2) / 2)
        square = distance**2 + 1 + std**2
    weights = np.full(z.shape, z[1] - z[0])  # trapezium's
    weights[[0, -1]] /= 2
    slopes = [*(slope_of(kind, move, penalty) for kind in KINDS), 2 * np.cos(2 * z)]
    rows = []
    for slope in slopes:
        critic = np.concatenate(([0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * (z[1] - z[0]))))
        ends = float(critic @ x / x.sum() - critic @ y / y.sum())
        inner = weights * between
        rows.append([float(inner @ slope**2) / 2, float(inner @ (slope * move)), ends, square / 2])
    return np.array(rows)


def least_reflow_loss(case: str, std: float) -> float:
    """½E|v(z, t) − (x − y)|² of the best field that knows t: ½∫ std²/((1 − t)² + t² std²) dt, which is π std/4; 0 for points."""
    if case == "points":
        return 0.0
    return float(WEIGHTS @ (std**2 / ((1 - TIMES) ** 2 + (TIMES * std) ** 2))) / 2


def differences(case: str, distance: float, std: float, penalty: float) -> tuple[list[float], float, float]:
    """E D(x) − E D(y) of each kind, W1 and W2²."""
    if case == "points":
        made = [
            two_point_critic(distance, lam, centre).difference for lam, centre in ((penalty, 1), (penalty, 0), (0.5, 0))
        ]
        return made, distance, distance**2
    reach = 7 * max(1.0, std)
    z = np.linspace(-reach, distance + reach, GRID)
    density, move = between_gaussians(distance, std, z)
    made = [float((density * move * slope_of(kind, move, penalty)).sum() * (z[1] - z[0])) for kind in KINDS]
    return made, gaussian_w1(distance, std), distance**2 + (std - 1) ** 2


@checked
def critic_flow(
    case: Annotated[str, OneOf(CASES)] = "gaussians",
    distance: Annotated[float, Between(0.1, 4)] = 2.0,
    penalty: Annotated[float, Between(0.1, 100)] = 10.0,
    std: Annotated[float, Between(0.2, 2)] = 0.6,
    target: Annotated[str, OneOf(TARGETS)] = "ring",
) -> CriticFlow | PlaneFlow:
    """The best critic of each kind for two points, for N(0, 1) and N(distance, std²), or for N(0, I) and a target of the plane.

    penalty: λ of both penalties; Gulrajani et al. 2017 take 10. std: of the second Gaussian.
    """
    if case == "plane":
        return in_plane(target, penalty)
    distances = np.linspace(0.1, 4, 27)
    many = [differences(case, at, std, penalty) for at in distances]
    now, w1, w2 = differences(case, distance, std, penalty)
    if case == "points":
        z = np.linspace(0, distance, GRID)
        none = np.full(GRID, np.nan)
        density_y, density_x, move = none, none, np.full(GRID, distance)
        weight = (z == 0).astype(float)
    else:
        z = np.linspace(-3.5, distance + 3.5 * max(std, 1.0), GRID)
        density_y = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        density_x = np.exp(-(((z - distance) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
        move = between_gaussians(distance, std, z)[1]
        weight = density_y / density_y.sum()
    slope = np.stack([slope_of(kind, move, penalty) for kind in KINDS])
    steps = (slope[:, 1:] + slope[:, :-1]) / 2 * (z[1] - z[0])
    critic = np.concatenate((np.zeros((len(KINDS), 1)), np.cumsum(steps, 1)), 1)
    critic -= critic[:, [int(np.abs(z).argmin())]]
    return CriticFlow(
        case,
        KINDS,
        z,
        density_y,
        density_x,
        critic,
        slope,
        distances,
        np.array([row[0] for row in many]).T,
        np.array([row[1] for row in many]),
        np.array([row[2] for row in many]),
        np.array(now),
        slope @ weight,
        distance,
        w1,
        w2,
        reflow_terms(case, distance, std, penalty),
        least_reflow_loss(case, std),
    )
