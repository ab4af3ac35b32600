"""Similarity and decay over distance.

f_b(m) = Σ_i cos(m θ_i) is, up to a factor, how much more attention a key like the query gets than a random one at
distance m (Men et al., "Base of RoPE Bounds Context Length", arXiv 2405.14591; kexue.fm/archives/10122). While it is
not negative, likeness counts for something at that distance. The phases are float64: at half a million tokens float32
ones move f_b by 0.07.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from engines.arguments import items, number, whole
from engines.rope.frequencies import (
    MOST_FACTOR,
    MOST_LENGTH,
    check_base,
    check_head_dim,
    exponents,
    inverse_frequencies,
)

MOST_DISTANCE = 1 << 20
MOST_CURVES = 6
_BINS = 700
# Float32, at half the price or less, moves f_b by less than a quarter of this for each pair.
SINGLE = 2e-6


@contextmanager
def one_thread() -> Iterator[None]:
    """Work here comes in pieces of a millisecond: threads that wait for each other cost more than they bring.

    On a busy machine of two cores the search took thirty times as long with two threads as with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def similarity(distance, head_dim: int, base) -> torch.Tensor:
    """f_b(m) = Σ_i cos(m·b^(−2i/d)), float64 of the broadcast shape of distance and base.

    distance: tokens, a number or tensor; base: above 1, a number or tensor. Differentiable in both.
    Raises ValueError for a base of 1 or less, a value that is not finite, or an odd head_dim.
    """
    distance = torch.as_tensor(distance, dtype=torch.float64)
    base = torch.as_tensor(base, dtype=torch.float64, device=distance.device)
    if not bool(((base > 1) & base.isfinite()).all()):
        raise ValueError("base must be finite and above 1.")
    if not bool(distance.isfinite().all()):
        raise ValueError("distance must be finite.")
    # One pair at a time: a million distances need 8 MB instead of 512.
    return sum(torch.cos(distance * base**-s) for s in exponents(head_dim).tolist())


def similarity_profile(length: int, frequencies: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Σ_i cos(m θ_i) at every distance m = 0 … length−1, [..., length], for frequencies θ [..., pairs] in float64.

    With m = aK + k, cos(mθ) = cos(aKθ)cos(kθ) − sin(aKθ)sin(kθ): a product of two thin matrices, which needs some
    2√length cosines a pair instead of length. `dtype` is that of cosines and product; phases are always float64.
    """
    columns = 1 << max(0, math.ceil(math.log2(max(length, 1)) / 2))
    left = torch.cat(
        cos_sin(torch.arange(-(-length // columns), dtype=torch.float64) * columns, frequencies, dtype), -1
    )
    cos, sin = cos_sin(torch.arange(columns, dtype=torch.float64), frequencies, dtype)
    right = torch.cat((cos, -sin), -1)
    return (left @ right.mT).flatten(-2)[..., :length]


def cos_sin(
    distance: torch.Tensor, frequencies: torch.Tensor, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos mθ_i and sin mθ_i for distances m [n] and frequencies θ [..., pairs], `dtype` [..., n, pairs] each."""
    turns = distance[:, None] * (frequencies / (2 * math.pi))[..., None, :]
    # Whole turns are taken off in float64: beyond 15 radians torch's own cosine takes three times as long.
    phase = turns.sub_(turns.round()).mul_(2 * math.pi).to(dtype)
    return phase.cos(), phase.sin()


def first_negative(head_dim: int, base: float, limit: int = MOST_DISTANCE) -> int | None:
    """The least distance m < limit with f_b(m) < 0, or None."""
    frequencies = inverse_frequencies(head_dim, base)
    return first_failing(frequencies, whole("limit", limit, 1, MOST_DISTANCE))


def first_failing(frequencies: torch.Tensor, limit: int) -> int | None:
    """The least distance m < limit with Σ_i cos(m θ_i) < 0 for frequencies θ [pairs], or None."""
    first = int(passing_length(frequencies[None], limit))
    return first if first < limit else None


@one_thread()
def passing_length(frequencies: torch.Tensor, limit: int) -> torch.Tensor:
    """The least distance m < limit with Σ_i cos(m θ_i) < 0, or `limit`, int64 [n], for frequencies θ [n, pairs]."""
    side = 64  # blocks of side² distances, as in `similarity_profile`, so that an early one costs little
    margin = SINGLE * frequencies.shape[-1]
    within = torch.arange(side, dtype=torch.float64)

    def block(start: int, frequencies: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        rows = torch.arange(start, min(start + side * side, limit), side, dtype=torch.float64)
        left = torch.cat(cos_sin(rows, frequencies, dtype), -1)
        cos, sin = cos_sin(within, frequencies, dtype)
        return (left @ torch.cat((cos, -sin), -1).mT).flatten(1)

    length = torch.full((len(frequencies),), limit)
    passing = torch.arange(len(frequencies))
    for start in range(0, limit, side * side):
        values = block(start, frequencies[passing], torch.float32)
        first = (values < margin).int().argmax(1, keepdim=True)
        value, first = values.gather(1, first)[:, 0], first[:, 0]
        fails = value < -margin
        unsure = value.abs() <= margin
        if bool(unsure.any()):
            negative = block(start, frequencies[passing[unsure]], torch.float64) < 0
            fails[unsure], first[unsure] = negative.any(1), negative.int().argmax(1)
        length[passing[fails]] = (start + first[fails]).clamp_max(limit)
        passing = passing[~fails]
        if not len(passing):
            break
    return length


def decay_bound(distance, head_dim: int, base: float) -> torch.Tensor:
    """The mean of |S_1| … |S_{d/2}|, S_j = Σ_{i<j} e^{imθ_i}, float64 of distance's shape (RoFormer §3.4.3, eq. 35–37).

    By Abel's summation an attention score at distance m is at most that times (d/2)·max_i |h_{i+1} − h_i|, where
    h_i is the product of the i-th pairs of query and key. At distance 0 it is (d/2 + 1)/2.
    """
    distance = torch.as_tensor(distance, dtype=torch.float64)
    real = imaginary = total = torch.zeros_like(distance)
    for theta in inverse_frequencies(head_dim, base).tolist():
        real = real + torch.cos(distance * theta)
        imaginary = imaginary + torch.sin(distance * theta)
        total = total + torch.hypot(real, imaginary)
    return total / (head_dim // 2)


@dataclass(frozen=True)
class SimilarityCurves:
    """f_b over distance for several bases, as the lowest and highest value in each bin of distances.

    bases: float64 [b]; head_dim; distance: the last distance
    scaling, factor: how the frequencies were stretched
    bin_distance: the first distance of each bin, int64 [n]; the bins widen by ratio, and hold one distance at first
    low, high: least and greatest f_b within each bin, float64 [b, n]
    lowest_distance: where the least value of all lies, int64 [b]; lowest: that value, float64 [b]
    first_negative: the first distance with f_b < 0, int64 [b]; −1 where there is none up to `distance`
    """

    bases: np.ndarray
    head_dim: int
    distance: int
    scaling: str
    factor: float
    bin_distance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lowest_distance: np.ndarray
    lowest: np.ndarray
    first_negative: np.ndarray


@one_thread()
def similarity_curves(
    bases: Sequence[float] = (10_000.0, 100_000.0, 500_000.0),
    head_dim: int = 128,
    distance: int = 32_768,
    scaling: str = "none",
    factor: float = 8.0,
    context_length: int = 4096,
) -> SimilarityCurves:
    """f_b at every distance up to `distance`, for up to six bases at once (arXiv 2405.14591, figure 4).

    scaling, factor, context_length: as in `inverse_frequencies`; "longrope" needs factors and is not offered here.
    """
    head_dim, reach = check_head_dim(head_dim), whole("distance", distance, 16, MOST_DISTANCE)
    bases, factor = _several(bases), number("factor", factor, 1, MOST_FACTOR)
    trained = whole("context_length", context_length, 1, MOST_LENGTH)
    if scaling == "longrope":
        raise ValueError("scaling must be another one here: longrope needs its factors.")
    edges = np.unique(np.concatenate(([0], np.geomspace(1, reach, _BINS).astype(np.int64))))
    low, high, where, first = [], [], [], []
    for base in bases:
        theta = inverse_frequencies(
            head_dim, base, scaling, factor=factor, context_length=trained, length=int(factor * trained)
        )
        values = similarity_profile(reach + 1, theta).numpy()
        low.append(np.minimum.reduceat(values, edges))
        high.append(np.maximum.reduceat(values, edges))
        where.append(values.argmin())
        negative = values < 0
        first.append(negative.argmax() if negative.any() else -1)
    return SimilarityCurves(
        bases=np.array(bases),
        head_dim=head_dim,
        distance=reach,
        scaling=scaling,
        factor=factor,
        bin_distance=edges,
        low=np.stack(low),
        high=np.stack(high),
        lowest_distance=np.array(where),
        lowest=np.array([values.min() for values in low]),
        first_negative=np.array(first),
    )


@dataclass(frozen=True)
class DecayCurves:
    """The mean |S_j| over distance for several bases.

    bases: float64 [b]; head_dim; distance: int64 [n], every one up to about 300, then spaced by ratio
    bound: the mean of |S_1| … |S_{d/2}|, float32 [b, n]
    """

    bases: np.ndarray
    head_dim: int
    distance: np.ndarray
    bound: np.ndarray


def decay_curves(
    bases: Sequence[float] = (10_000.0, 100_000.0, 500_000.0), head_dim: int = 128, distance: int = 32_768
) -> DecayCurves:
    """RoFormer's long-term decay (arXiv 2104.09864, §3.4.3, figure 2) for up to six bases, to `distance` tokens."""
    head_dim, reach = check_head_dim(head_dim), whole("distance", distance, 16, MOST_DISTANCE)
    bases = _several(bases)
    spread = np.geomspace(1, reach, 900).astype(np.int64)
    shown = np.unique(np.concatenate((np.arange(min(300, reach + 1)), spread)))
    bound = [decay_bound(shown, head_dim, base).numpy().astype(np.float32) for base in bases]
    return DecayCurves(np.array(bases), head_dim, shown, np.stack(bound))


def _several(bases: Sequence[float]) -> tuple[float, ...]:
    return tuple(check_base(base, "bases") for base in items("bases", bases, MOST_CURVES))
