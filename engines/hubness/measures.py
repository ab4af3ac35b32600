"""How unequal the k-occurrences are, from N_k alone, and what random neighbours would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, whole

MOST_COUNTS = 10_000_000


def _counts(counts: Tensor, name: str = "counts") -> Tensor:
    """One finite number or more, float64 [n], of a tensor, array or list of any real type."""
    if not isinstance(counts, Tensor):
        try:
            array = np.asarray(counts)
        except (TypeError, ValueError, RuntimeError):
            array = np.empty(0, object)
        counts = torch.from_numpy(np.array(array, np.float64)) if array.dtype.kind in "biuf" else torch.empty(0, 0)
    if counts.is_complex() or counts.ndim != 1 or not 0 < len(counts) <= MOST_COUNTS:
        raise Refusal("{parameter} must be a list of 1 to {most} real numbers.", parameter=name, most=MOST_COUNTS)
    counts = counts.detach().double()
    if not torch.isfinite(counts).all():
        raise Refusal("{parameter} holds NaN or infinity.", parameter=name)
    return counts


def skewness(counts: Tensor) -> float:
    """Third standardised moment of N_k with the biased variance, E[(N - mean)^3] / std^3; 0 where all are equal.

    Radovanović et al. 2010, equation (1).
    """
    counts = _counts(counts)
    low, high = counts.aminmax()
    if low == high:
        return 0.0
    counts = counts / max(float(high), -float(low))  # cubes of any number stay numbers
    centred = counts - counts.mean()
    centred = centred / centred.abs().max()
    return float(centred.pow(3).mean()) / float(centred.square().mean()) ** 1.5


def robin_hood(counts: Tensor, k: int) -> float:
    """Share of all n k neighbour slots that would have to change hands for every point to have k: sum |N - k| / (2 n k).

    Between 0 (all alike) and almost 1. Feldbauer, Leodolter, Plant and Flexer 2018, "Fast approximate hubness reduction".
    """
    counts, k = _counts(counts), whole("k", k, 1, MOST_COUNTS)
    return float(((counts - k) / (2 * len(counts) * k)).abs().sum())


def antihub_rate(counts: Tensor) -> float:
    """Share of the points that are nobody's neighbour (N_k = 0)."""
    return float((_counts(counts) == 0).double().mean())


def hub_occurrence(counts: Tensor, k: int, size: float = 2.0) -> float:
    """Share of all n k neighbour slots held by hubs, the points with N_k >= size k."""
    counts, k, size = _counts(counts), whole("k", k, 1, MOST_COUNTS), number("size", size, 0, 1e6)
    return float((counts[counts >= size * k] / (len(counts) * k)).sum())


def top_share(counts: Tensor, share: float = 0.2) -> float:
    """Share of all neighbour slots held by the `share` of the points with the greatest N_k (of a point that is cut, its part)."""
    counts, share = _counts(counts), number("share", share, 0, 1)
    return _held_at_top(counts, torch.ones_like(counts), share)


def _held_at_top(counts: Tensor, weight: Tensor, share: float) -> float:
    """The same where counts[i] occurs weight[i] times."""
    order = counts.argsort(descending=True)
    counts, weight = counts[order], weight[order] / weight.sum()
    taken = (share - (weight.cumsum(0) - weight)).clamp(min=0).minimum(weight)
    return float(taken @ counts) / float(weight @ counts) if float(weight @ counts) else share


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors [n]; 0 where one of them is constant."""
    a, b = _counts(a, "a"), _counts(b, "b")
    if len(a) != len(b):
        raise Refusal("{parameter} must be as long as a, {n}; this has {m}.", parameter="b", n=len(a), m=len(b))
    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    import scipy.stats  # a second to load

    return float(scipy.stats.spearmanr(a.cpu(), b.cpu()).statistic)


def binomial(most: int, n: int, k: int) -> Tensor:
    """P(N_k = 0 .. most) if neighbours are chosen at random, Binomial(n - 1, k / (n - 1)): float64 [most + 1].

    The limit for many points is Poisson(k).
    """
    most, n = whole("most", most, 0, MOST_COUNTS), whole("n", n, 2, 10**9)
    k = whole("k", k, 1, n - 1)
    import scipy.stats

    return torch.from_numpy(scipy.stats.binom.pmf(np.arange(most + 1), n - 1, k / (n - 1)))


@dataclass(frozen=True)
class Inequality:
    """How unequally neighbours are distributed.

    skewness: float; third standardised moment of N_k
    robin_hood: float; share of the n k neighbour slots that would have to be moved for equality
    antihubs: float; share of the points with N_k = 0
    hub_share: float; share of the slots held by points with N_k >= 2k
    top_fifth: float; share of the slots held by the fifth of the points with the greatest N_k
    largest: int; greatest N_k
    """

    skewness: float
    robin_hood: float
    antihubs: float
    hub_share: float
    top_fifth: float
    largest: int


def inequality(counts: Tensor, k: int) -> Inequality:
    """The measures of N_k together."""
    return Inequality(
        skewness(counts),
        robin_hood(counts, k),
        antihub_rate(counts),
        hub_occurrence(counts, k),
        top_share(counts),
        int(_counts(counts).max()),
    )


def at_random(n: int, k: int) -> Inequality:
    """The measures if every point chose its k neighbours at random; `largest` is the N_k that one point in n reaches."""
    n = whole("n", n, 2, 10**9)
    k = whole("k", k, 1, min(n - 1, 1_000_000))
    chance = binomial(min(n - 1, 4 * k + 60), n, k)
    counts = torch.arange(len(chance), dtype=torch.float64)
    gap = counts - k
    variance = float(chance @ gap.square())
    tail = chance.flip(0).cumsum(0).flip(0)
    return Inequality(
        float(chance @ gap.pow(3)) / variance**1.5 if variance > 1e-9 else 0.0,
        float(chance @ gap.abs()) / (2 * k),
        float(chance[0]),
        float(chance[2 * k :] @ counts[2 * k :]) / k,
        _held_at_top(counts, chance, 0.2),
        int((tail * n >= 1).nonzero().max()),
    )


def histogram(counts: Tensor, k: int, bins: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Whole-number bins of N_k: left and right ends (left <= N < right), points in each, points expected at random.

    int32, int32, int32 and float64 [b]; single counts up to 3k (wider where there are more than `bins`), then growing by ratio.
    """
    found = _counts(counts)
    n = len(found)
    k, bins = whole("k", k, 1, max(1, n - 1)), whole("bins", bins, 2, 10_000)
    if n < 2 or found.min() < 0 or found.max() > MOST_COUNTS or (found % 1).any():
        raise Refusal("{parameter} must be N_k of two points or more: whole numbers from 0.", parameter="counts")
    top = int(found.max())
    edges = list(range(min(3 * k, top) + 2))
    if len(edges) > bins:
        edges = sorted(set(np.linspace(0, edges[-1], bins).astype(int).tolist()))
    while edges[-1] <= top:
        edges.append(max(edges[-1] + 1, round(edges[-1] * 1.15)))
    points = np.histogram(found.cpu(), edges)[0].astype(np.int32)
    import scipy.stats

    below = scipy.stats.binom.cdf(np.array(edges) - 1, n - 1, k / (n - 1))
    return np.array(edges[:-1], np.int32), np.array(edges[1:], np.int32), points, np.diff(below) * n


def ball_volume(dimension: Tensor) -> Tensor:
    """Volume of the unit ball in each dimension (above 0), pi^(d/2) / Gamma(d/2 + 1), float64."""
    half = _counts(dimension, "dimension") / 2
    if half.min() <= 0:
        raise Refusal("{parameter} must be above 0.", parameter="dimension")
    return (half * math.log(math.pi) - torch.lgamma(half + 1)).exp()
