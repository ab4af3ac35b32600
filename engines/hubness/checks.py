"""What a correct implementation of hubness must reproduce."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from engines.checks import Check
from engines.hubness.approximate import search_graph
from engines.hubness.experiments import concentration
from engines.hubness.measures import antihub_rate, ball_volume, robin_hood, skewness, top_share
from engines.hubness.nearest import k_occurrence
from engines.hubness.reduction import reduced_k_occurrence

HUB_TOOLBOX = "the five-point example of the Hub Toolbox's tests"
ORACLE = "scikit-hubness's definitions, numpy RandomState(0), n = 2,000, k = 10"


@cache
def normal_points() -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(0).normal(size=(2000, 100)))


@cache
def distances_between_them() -> torch.Tensor:
    return torch.cdist(normal_points(), normal_points(), compute_mode="donot_use_mm_for_euclid_dist")


def measures_of(law: str) -> list[float]:
    points = normal_points() if law == "normal" else torch.from_numpy(np.random.RandomState(0).uniform(size=(2000, 3)))
    counts = k_occurrence(points, 10)
    return [skewness(counts), robin_hood(counts, 10), antihub_rate(counts), float(counts.max())]


def after_reduction(method: str) -> list[float]:
    if method in ("mutual proximity", "local scaling"):
        counts = reduced_k_occurrence(distances_between_them(), 10, method, "precomputed")
    else:
        counts = reduced_k_occurrence(normal_points(), 10, method)
    return [skewness(counts), robin_hood(counts, 10)]


def five_points() -> list[float]:
    distances = torch.zeros(5, 5, dtype=torch.float64)
    row, column = torch.triu_indices(5, 5, 1)
    distances[row, column] = torch.tensor([0.2, 0.1, 0.8, 0.4, 0.3, 0.5, 0.7, 1, 0.6, 0.9], dtype=torch.float64)
    counts = k_occurrence(distances + distances.T, 2, "precomputed")
    return [*counts.tolist(), skewness(counts)]


def wrong_against_full_sort() -> float:
    """Points whose N_k differs from a full sort of all distances in double precision."""
    points = normal_points()[:1000, :20]
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    nearest = distance.sort(dim=1, stable=True).indices[:, :10]
    return float((k_occurrence(points, 10) != torch.bincount(nearest.flatten(), minlength=1000)).sum())


def wrong_on_a_lattice() -> float:
    """The same on whole-number points, where most distances tie."""
    points = torch.from_numpy(np.random.RandomState(0).randint(0, 4, size=(1000, 3)).astype(float))
    distance = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    nearest = distance.sort(dim=1, stable=True).indices[:, :10]
    return float((k_occurrence(points, 10) != torch.bincount(nearest.flatten(), minlength=1000)).sum())


def found_by_the_graph() -> float:
    """Share of exact neighbours, of 500 points, in a graph of many links that is searched with a beam as wide as the set."""
    points = normal_points()[:500, :20]
    nearest = torch.cdist(points, points).fill_diagonal_(math.inf).topk(10, largest=False).indices.numpy()
    returned, _ = search_graph(points.float().numpy(), 11, 32, [500])
    return float((nearest[:, :, None] == returned[0][:, None, :]).any(-1).mean())


def angles_off_their_law() -> float:
    """Total variation between the angles of 5,000 pairs on the sphere of 10 dimensions and sin^8."""
    result = concentration("sphere", pairs=5000)
    at = result.shown.tolist().index(10)
    gap = 2 * (result.angle_density[at] - result.angle_law[at])  # shares of bins of 2 degrees, put together to 12
    return float(np.abs(gap.reshape(15, 6).sum(1)).sum()) / 2


CHECKS = (
    Check(
        "Five points from their distances, k = 2: N = 4, 3, 3, 0, 0 and skewness −0.2561204163",
        HUB_TOOLBOX,
        [4, 3, 3, 0, 0, -0.2561204163],
        5e-11,
        five_points,
    ),
    Check(
        "Uniform, d = 3: skewness, Robin Hood, antihubs, largest N",
        ORACLE,
        [0.105, 0.115, 0, 21],
        6e-4,
        lambda: measures_of("uniform"),
    ),
    Check(
        "Normal, d = 100: skewness, Robin Hood, antihubs, largest N",
        ORACLE,
        [9.297, 0.536, 0.203, 508],
        6e-4,
        lambda: measures_of("normal"),
    ),
    Check(
        "The same after cosine: skewness, Robin Hood", ORACLE, [0.345, 0.120], 6e-4, lambda: after_reduction("cosine")
    ),
    Check(
        "After mutual proximity (Gaussian)", ORACLE, [0.541, 0.245], 6e-4, lambda: after_reduction("mutual proximity")
    ),
    Check("After local scaling", ORACLE, [1.887, 0.284], 6e-4, lambda: after_reduction("local scaling")),
    Check("After DisSimLocal", ORACLE, [1.347, 0.168], 6e-4, lambda: after_reduction("dissimlocal")),
    Check("After CSLS", ORACLE, [0.465, 0.084], 6e-4, lambda: after_reduction("csls")),
    Check(
        "Counts that differ from a full sort in double precision",
        "the definition, 1,000 normal points, d = 20",
        0,
        0,
        wrong_against_full_sort,
    ),
    Check(
        "Counts that differ where most distances tie",
        "the definition, ties by index, 1,000 lattice points",
        0,
        0,
        wrong_on_a_lattice,
    ),
    Check(
        "N = 0, 1, …, 999: the share of the top fifth",
        "(800 + … + 999) ÷ (0 + … + 999)",
        sum(range(800, 1000)) / sum(range(1000)),
        1e-12,
        lambda: top_share(torch.arange(1000)),
    ),
    Check(
        "Share of exact neighbours that a graph of 32 links finds with a beam as wide as the set",
        "the definition, 500 normal points, d = 20",
        1,
        0,
        found_by_the_graph,
    ),
    Check(
        "Spread of the cosine between directions in 500 dimensions, times √d",
        "1: the mean of the squared cosine is 1/d",
        1.0,
        0.04,
        lambda: concentration("sphere", pairs=5000).cosine_spread[-1] * math.sqrt(500),
    ),
    Check(
        "Total variation between 5,000 angles and their density sin⁸, d = 10, in bins of 12° (0.01 expected)",
        "directions at random",
        0.0,
        0.03,
        angles_off_their_law,
    ),
    Check(
        "Volume of the ball in 2, 3 and 4 dimensions",
        "π, 4π/3, π²/2",
        [math.pi, 4 * math.pi / 3, math.pi**2 / 2],
        1e-12,
        lambda: ball_volume(torch.tensor([2, 3, 4])).numpy(),
    ),
    Check(
        "Spread of distances between normal points in 500 dimensions, times √(2d)",
        "1 in the limit; Beyer et al. 1999 for why it falls",
        1.0,
        0.04,
        lambda: concentration("normal", pairs=3000).spread[2, -1] * math.sqrt(1000),
    ),
)
