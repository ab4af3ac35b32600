"""Consistency models on the line, exact: training by levels, the bound of its error, and a model taken for an ODE's field.

Time is that of kexue.fm 10633: x_t = (1 − t) x_0 + t x_1 from data x_0 at t = 0 to noise x_1 at t = 1. Data are two equal
Gaussians at ±gap. The flow from noise to data keeps quantiles on the line, so the exact consistency function is
f(x, t) = Q_0(P_t(x)) with the distribution functions P_t of x_t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from engines.arguments import Between, checked

LATTICE, NODES, PARTICLES = 281, 12, 400
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def halves(x: np.ndarray, t: float, gap: float, std: float) -> tuple[np.ndarray, float]:
    """Of x_t: the shares [2, n] of the Gaussians at −gap and gap at each x, and the variance of either."""
    variance = ((1 - t) * std) ** 2 + t**2
    right = 1 / (1 + np.exp(np.clip(-2 * (1 - t) * gap * x / variance, -700, 700)))
    return np.stack([1 - right, right]), variance


def normal_score(x: np.ndarray, t: float, gap: float, std: float) -> np.ndarray:
    """Φ⁻¹ of the distribution function of x_t; precise in both tails, by symmetry."""
    from scipy.special import ndtr, ndtri

    variance = ((1 - t) * std) ** 2 + t**2
    below = -np.abs(x)
    level = 0.5 * sum(ndtr((below - sign * (1 - t) * gap) / math.sqrt(variance)) for sign in (-1, 1))
    return np.where(x > 0, -1.0, 1.0) * ndtri(np.maximum(level, 1e-300))


@lru_cache(maxsize=16)
def data_scores(gap: float, std: float) -> tuple[np.ndarray, np.ndarray]:
    """(Φ⁻¹ of the data's distribution function, data) on a fine lattice."""
    data = np.linspace(-gap - 8 * std, gap + 8 * std, 4001)
    return normal_score(data, 0.0, gap, std), data


def exact_consistency(x: np.ndarray, t: float, gap: float, std: float) -> np.ndarray:
    """Where the exact flow takes x from time t to the data; like x."""
    return np.interp(normal_score(x, t, gap, std), *data_scores(gap, std))


def exact_velocity(x: np.ndarray, t: float, gap: float, std: float) -> np.ndarray:
    """E[x_1 − x_0 | x_t = x], like x."""
    shares, variance = halves(x, t, gap, std)
    found = np.zeros_like(x)
    for share, sign in zip(shares, (-1, 1), strict=True):
        found += share * ((t - (1 - t) * std**2) / variance * (x - sign * (1 - t) * gap) - sign * gap)
    return found


def trained_levels(count: int, gap: float, std: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Consistency training on `count` even levels, each at its least squares: (places, f_n there [g], squared residuals [n]).

    f_k(x) = E[f_{k−1}(x_{t_{k−1}}) | x_{t_k} = x] with both on one line from data to noise, f_0(x) = x; the residual is
    E|f_k(x_{t_k}) − f_{k−1}(x_{t_{k−1}})|². By projection the residuals of all levels add up to the variance that is lost.
    """
    from scipy.interpolate import CubicSpline

    reach = 7 * max(1.0, std) + gap
    x = np.linspace(-reach, reach, LATTICE)
    nodes, masses = np.polynomial.hermite_e.hermegauss(NODES)
    masses = masses / masses.sum()
    function, residuals = x, np.zeros(count)
    for k in range(1, count + 1):
        t, s = k / count, (k - 1) / count
        shares, variance = halves(x, t, gap, std)
        slope = ((1 - t) * (1 - s) * std**2 + t * s) / variance
        spread = (t - s) * std / math.sqrt(variance)
        earlier = CubicSpline(x, function, bc_type="natural")
        mean, square = np.zeros_like(x), np.zeros_like(x)
        for share, sign in zip(shares, (-1, 1), strict=True):
            places = (1 - s) * sign * gap + slope * (x - (1 - t) * sign * gap)
            values = earlier(np.clip(places[:, None] + spread * nodes, -reach, reach))
            mean += share * (values @ masses)
            square += share * (values**2 @ masses)
        density = sum(np.exp(-((x - sign * (1 - t) * gap) ** 2) / (2 * variance)) for sign in (-1, 1))
        residuals[k - 1] = max(float(density @ (square - mean**2) / density.sum()), 0.0)
        function = mean
    return x, function, residuals


def sampler_map(x: np.ndarray, steps: int, gap: float, std: float, field: str) -> np.ndarray:
    """Noise x carried to the data in even Euler steps, along the exact velocity or, field="consistency", (x − f(x, t))/t."""
    for k in range(steps, 0, -1):
        t = k / steps
        if field == "velocity":
            x = x - exact_velocity(x, t, gap, std) / steps
        else:
            x = x + (exact_consistency(x, t, gap, std) - x) / k
    return x


@dataclass(frozen=True)
class Consistency:
    """Maps from noise to data on the line, and their distance to the data.

    gap, std, levels, steps: as asked
    x: float64 [g]; noise
    exact, trained, as_field, euler: float64 [g]; where the exact flow, consistency training on `levels` levels, and `steps`
        Euler steps along (x − f)/t and along the exact velocity take it
    places, density: float64 [p]; of the data
    densities: float64 [3, p]; of what training, field and Euler make of N(0, 1), by their maps
    counts: int64 [c]; levels or steps
    distance: float64 [3, c]; W2 to the data of trained, as_field, euler
    error: float64 [c]; √E|f_n(x_1) − x_0|² of trained pairs
    bound: float64 [c]; Σ_k √E|f_k − f_{k−1}|², never less
    lost: float64 [c]; variance of the data less that of the samples
    residual: float64 [c]; Σ_k E|f_k − f_{k−1}|², the same number
    """

    gap: float
    std: float
    levels: int
    steps: int
    x: np.ndarray
    exact: np.ndarray
    trained: np.ndarray
    as_field: np.ndarray
    euler: np.ndarray
    places: np.ndarray
    density: np.ndarray
    densities: np.ndarray
    counts: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    bound: np.ndarray
    lost: np.ndarray
    residual: np.ndarray


def pushed_density(x: np.ndarray, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The density of values(x), x ~ N(0, 1), at places, for an increasing map; 0 where nothing comes."""
    level = np.interp(places, values, normal_score(x, 1.0, 0.0, 1.0), left=-9, right=9)
    from scipy.special import ndtr

    return np.gradient(ndtr(level), places)


@lru_cache(maxsize=16)
def over_counts(gap: float, std: float) -> dict[str, np.ndarray]:
    """What of a Consistency depends on the data alone: its curves over COUNTS."""
    from scipy.special import ndtri

    even = ndtri((np.arange(PARTICLES) + 0.5) / PARTICLES)
    truth = exact_consistency(even, 1.0, gap, std)
    variance = gap**2 + std**2

    def apart(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.sort(values) - truth) ** 2)))

    distance, error, bound, lost, residual = [], [], [], [], []
    for count in COUNTS:
        x, function, squares = trained_levels(count, gap, std)
        weight = np.exp(-(x**2) / 2)
        kept = float(weight @ function**2 / weight.sum())
        distance.append(
            [
                apart(np.interp(even, x, function)),
                *(apart(sampler_map(even, count, gap, std, field)) for field in ("consistency", "velocity")),
            ]
        )
        # x_0 and x_1 of a pair are independent, so their products vanish in the mean
        error.append(math.sqrt(kept + variance))
        bound.append(float(np.sqrt(squares).sum()))
        lost.append(variance - kept)
        residual.append(float(squares.sum()))
    return {
        "counts": np.array(COUNTS),
        "distance": np.array(distance).T,
        "error": np.array(error),
        "bound": np.array(bound),
        "lost": np.array(lost),
        "residual": np.array(residual),
    }


@checked
def consistency(
    gap: Annotated[float, Between(0, 3)] = 1.5,
    std: Annotated[float, Between(0.1, 2)] = 0.4,
    levels: Annotated[int, Between(1, 64)] = 8,
    steps: Annotated[int, Between(1, 64)] = 8,
) -> Consistency:
    """Consistency training on a number of levels, and its exact function in a number of Euler steps.

    gap, std: data are N(−gap, std²) and N(gap, std²), half each.
    """
    shown = np.linspace(-3, 3, 241)
    x, function, _ = trained_levels(levels, gap, std)
    maps = [np.interp(shown, x, function)]
    maps += [sampler_map(shown, steps, gap, std, field) for field in ("consistency", "velocity")]
    edge = gap + 3.5 * std
    places = np.linspace(-edge, edge, 161)
    wide = np.linspace(-5, 5, 801)
    pushed = [np.interp(wide, x, function)]
    pushed += [sampler_map(wide, steps, gap, std, field) for field in ("consistency", "velocity")]
    density = sum(np.exp(-(((places - sign * gap) / std) ** 2) / 2) for sign in (-1, 1)) / (
        2 * std * math.sqrt(2 * math.pi)
    )
    return Consistency(
        gap=gap,
        std=std,
        levels=levels,
        steps=steps,
        x=shown,
        exact=exact_consistency(shown, 1.0, gap, std),
        trained=maps[0],
        as_field=maps[1],
        euler=maps[2],
        places=places,
        density=density,
        densities=np.stack([pushed_density(wide, np.maximum.accumulate(values), places) for values in pushed]),
        **over_counts(gap, std),
    )
