"""How unequal the k-occurrences are: one number each, from N_k alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def skewness(counts: Tensor) -> float:
    """Third standardised moment of N_k with the biased variance, E[(N - mean)^3] / std^3; 0 where all are equal.

    Radovanović et al. 2010, equation (1).
    """
    centred = counts.double() - counts.double().mean()
    variance = float(centred.square().mean())
    return 0.0 if variance == 0 else float(centred.pow(3).mean()) / variance**1.5


def robin_hood(counts: Tensor, k: int) -> float:
    """Share of all n k neighbour slots that would have to change hands for every point to have k: sum |N - k| / (2 n k).

    Between 0 (all alike) and almost 1. Feldbauer, Leodolter, Plant and Flexer 2018, "Fast approximate hubness reduction".
    """
    return float((counts.double() - k).abs().sum()) / (2 * len(counts) * k)


def antihub_rate(counts: Tensor) -> float:
    """Share of the points that are nobody's neighbour (N_k = 0)."""
    return float((counts == 0).double().mean())


def hub_occurrence(counts: Tensor, k: int, size: float = 2.0) -> float:
    """Share of all n k neighbour slots held by hubs, the points with N_k >= size k."""
    return float(counts[counts >= size * k].sum()) / (len(counts) * k)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 0, equal values sharing their mean rank; float64 [n]."""
    _, inverse, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count + 1) / 2).double()[inverse]


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors [n]; 0 where one of them is constant."""
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return 0.0 if scale == 0 else float(a @ b) / scale


def binomial(most: int, n: int, k: int) -> Tensor:
    """P(N_k = 0 .. most) if neighbours were drawn at random, Binomial(n - 1, k / (n - 1)): float64 [most + 1].

    The limit for many points is Poisson(k).
    """
    trials, chance = n - 1, k / (n - 1)
    x = torch.arange(most + 1, dtype=torch.float64)
    if chance == 1:
        return (x == trials).double()
    inside = x <= trials
    y = torch.where(inside, x, 0)
    ways = math.lgamma(trials + 1) - torch.lgamma(y + 1) - torch.lgamma(trials - y + 1)
    return torch.where(inside, (ways + y * math.log(chance) + (trials - y) * math.log1p(-chance)).exp(), 0.0)
