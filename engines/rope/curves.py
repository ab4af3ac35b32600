"""Similarity and decay over distance.

f_b(m) = Σ_i cos(m θ_i) is, up to a factor, how much more attention a key like the query gets than a random one at
distance m (Men et al., "Base of RoPE Bounds Context Length", arXiv 2405.14591; kexue.fm/archives/10122). While it is
not negative, a key like the query is preferred at that distance. The phases are float64: at half a million tokens float32
ones move f_b by 0.07.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from engines.arguments import Between, ListOf, OneOf, Refusal, checked, whole
from engines.rope.frequencies import (
    SCALINGS,
    Factor,
    HeadDim,
    RotaryPart,
    TrainedLength,
    check_base,
    exponents,
    finite,
    inverse_frequencies,
)

MOST_DISTANCE = 1 << 20
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


def similarity(distance: Any, head_dim: int, base: Any) -> torch.Tensor:
    """f_b(m) = Σ_i cos(m·b^(−2i/d)), float64 of the broadcast shape of distance and base.

    distance: tokens, a number or tensor; base: above 1, a number or tensor. Differentiable in both.
    Raises Refusal for a base of 1 or less, a value that is not finite, or an odd head_dim.
    """
    distance = finite("distance", distance)
    base = finite("base", base).to(distance.device)
    if not bool((base > 1).all()):
        raise Refusal("{parameter} must be finite and above 1.", parameter="base")
    try:
        torch.broadcast_shapes(distance.shape, base.shape)
    except RuntimeError:
        raise Refusal("{parameter} must have a shape that goes with that of base.", parameter="distance") from None
    # One pair at a time: a million distances need 8 MB instead of 512.
    return sum(torch.cos(distance * base**-s) for s in exponents(head_dim).tolist())


def similarity_profile(length: int, frequencies: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Σ_i cos(m θ_i) at every distance m = 0 … length−1, [..., length], for frequencies θ [..., pairs] in float64.

    With m = aK + k, cos(mθ) = cos(aKθ)cos(kθ) − sin(aKθ)sin(kθ): a product of two thin matrices, which needs some
    2√length cosines a pair instead of length. `dtype` (float32 or float64) is that of cosines and product; phases are
    always float64.
    """
    length, frequencies = whole("length", length, 1, MOST_DISTANCE + 1), _frequencies(frequencies)
    if dtype not in (torch.float32, torch.float64):
        raise Refusal("{parameter} must be torch.float32 or torch.float64.", parameter="dtype")
    if frequencies[..., 0].numel() * length > 1 << 27:
        raise Refusal(
            "{parameter} must hold fewer rows for {length} distances.", parameter="frequencies", length=length
        )
    columns = 1 << max(0, math.ceil(math.log2(length) / 2))
    left = torch.cat(
        cos_sin(torch.arange(-(-length // columns), dtype=torch.float64) * columns, frequencies, dtype), -1
    )
    cos, sin = cos_sin(torch.arange(columns, dtype=torch.float64), frequencies, dtype)
    right = torch.cat((cos, -sin), -1)
    return (left @ right.mT).flatten(-2)[..., :length]


def _frequencies(frequencies: Any) -> torch.Tensor:
    tensor = finite("frequencies", frequencies)
    if not tensor.dim() or not tensor.shape[-1]:
        raise Refusal("{parameter} must hold at least one number for each pair.", parameter="frequencies")
    return tensor


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
    limit = whole("limit", limit, 1, MOST_DISTANCE)
    first = int(passing_length(inverse_frequencies(head_dim, base)[None], limit))
    return first if first < limit else None


@one_thread()
def passing_length(frequencies: torch.Tensor, limit: int) -> torch.Tensor:
    """The least distance m < limit with Σ_i cos(m θ_i) < 0, or `limit`, int64 [n], for frequencies θ [n, pairs]."""
    frequencies, limit = _frequencies(frequencies), whole("limit", limit, 1, MOST_DISTANCE)
    if frequencies.dim() != 2:
        raise Refusal("{parameter} must be a matrix [n, pairs].", parameter="frequencies")
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


def decay_bound(distance: Any, head_dim: int, base: float) -> torch.Tensor:
    """The mean of |S_1| … |S_{d/2}|, S_j = Σ_{i<j} e^{imθ_i}, float64 of distance's shape (RoFormer §3.4.3, eq. 35–37).

    By Abel's summation an attention score at distance m is at most that times (d/2)·max_i |h_{i+1} − h_i|, where
    h_i is the product of the i-th pairs of query and key. At distance 0 it is (d/2 + 1)/2.
    """
    return _mean_partial_sum(finite("distance", distance), inverse_frequencies(head_dim, base))


def _mean_partial_sum(distance: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    # some at a time: a million distances need no more memory than a thousand
    parts = [
        torch.hypot(*(part.cumsum(1) for part in cos_sin(some, frequencies))).mean(1)
        for some in distance.flatten().split(4096)
    ]
    return torch.cat(parts).reshape(distance.shape)


def similarity_integral(distance: Any, pairs: int, base: float) -> np.ndarray:
    """pairs·∫₀¹ cos(m b^(−s)) ds = pairs·(Ci(m) − Ci(m/b))/ln b, float64 of distance's shape (kexue.fm/archives/10122).

    The sum over the pairs is this integral's left Riemann sum. Trapezoids add (cos m − cos(m/b))/2 to it, the first term
    of Euler and Maclaurin; what is left is due to cosines that turn by more than half a circle from one pair to the next.
    """
    from scipy.special import sici  # here: the page starts without it

    m = finite("distance", distance).numpy()
    pairs, base = whole("pairs", pairs, 1, MOST_DISTANCE), check_base(base)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = pairs * (sici(np.abs(m))[1] - sici(np.abs(m) / base)[1]) / math.log(base)
    return np.where(m == 0, float(pairs), value)


@dataclass(frozen=True)
class SimilarityCurves:
    """f_b over distance for several bases, as its range in each bin of distances, and the decay bound.

    bases: float64 [b]
    head_dim: int; dimensions of a head
    distance: int, tokens; the last distance
    scaling: str; how the frequencies are scaled
    factor: float; k of the scaling
    bin_distance: int64 [n], tokens; the first distance of each bin; the bins widen by ratio, and hold one distance at
        first
    low: float64 [b, n]; least f_b in each bin
    high: float64 [b, n]; greatest f_b in each bin
    lowest_distance: int64 [b], tokens; where the least f_b of all lies
    lowest: float64 [b]; that value
    first_negative: int64 [b], tokens; the first distance with f_b < 0; −1 where there is none up to `distance`
    bound_distance: int64 [k], tokens; every distance up to about 300, then spaced by ratio
    bound: float32 [b, k]; the mean of |S_1| … |S_{d/2}| there
    integral: float64 [b, n]; Su's integral in place of the sum (`similarity_integral`), at the first distance of each
        bin; NaN under a scaling
    integral_error: float64 [b, n]; the greatest |f − integral| in each bin
    trapezoid_error: float64 [b, n]; the same with half of the first cosine added and half of the last one taken off
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
    bound_distance: np.ndarray
    bound: np.ndarray
    integral: np.ndarray
    integral_error: np.ndarray
    trapezoid_error: np.ndarray


@checked
@one_thread()
def similarity_curves(
    bases: Annotated[Sequence[float], ListOf(1.01, 1e12, most=6)] = (10_000.0, 100_000.0, 500_000.0),
    head_dim: HeadDim = 128,
    distance: Annotated[int, Between(16, MOST_DISTANCE)] = 32_768,
    scaling: Annotated[str, OneOf([name for name in SCALINGS if name != "longrope"])] = "none",
    factor: Factor = 8.0,
    context_length: TrainedLength = 4096,
    partial_rotary_factor: RotaryPart = 1.0,
) -> SimilarityCurves:
    """f_b at every distance up to `distance`, for up to six bases at once (arXiv 2405.14591, figure 4), and RoFormer's
    long-term decay (arXiv 2104.09864, §3.4.3, figure 2).

    The settings of the scaling are those of `inverse_frequencies`; longrope needs factors and is not offered, and
    proportional has a factor of 1. A pair that is not rotated adds cos 0 = 1 at every distance.
    """
    edges = np.unique(np.concatenate(([0], np.geomspace(1, distance, _BINS).astype(np.int64))))
    spread = np.geomspace(1, distance, 900).astype(np.int64)
    bound_distance = np.unique(np.concatenate((np.arange(min(300, distance + 1)), spread)))
    low, high, where, first, bound = [], [], [], [], []
    integral, errors = [], []
    every = np.arange(distance + 1)
    for base in bases:
        theta = inverse_frequencies(
            head_dim,
            base,
            scaling,
            factor=1.0 if scaling == "proportional" else factor,
            context_length=context_length,
            length=int(factor * context_length),
            partial_rotary_factor=partial_rotary_factor,
        )
        values = similarity_profile(distance + 1, theta).numpy()
        low.append(np.minimum.reduceat(values, edges))
        high.append(np.maximum.reduceat(values, edges))
        where.append(values.argmin())
        negative = values < 0
        first.append(negative.argmax() if negative.any() else -1)
        if scaling == "none":
            rotated = int((theta > 0).sum())
            smooth = head_dim // 2 - rotated + similarity_integral(every, rotated, base)
            ends = (np.cos(every) - np.cos(every / base)) / 2
            integral.append(smooth[edges])
            errors.append([np.maximum.reduceat(abs(values - part), edges) for part in (smooth, smooth + ends)])
        else:
            integral.append(np.full(len(edges), np.nan))
            errors.append(np.full((2, len(edges)), np.nan))
        bound.append(_mean_partial_sum(torch.from_numpy(bound_distance).double(), theta).numpy())
    return SimilarityCurves(
        bases=np.array(bases),
        head_dim=head_dim,
        distance=distance,
        scaling=scaling,
        factor=factor,
        bin_distance=edges,
        low=np.stack(low),
        high=np.stack(high),
        lowest_distance=np.array(where),
        lowest=np.array([values.min() for values in low]),
        first_negative=np.array(first),
        bound_distance=bound_distance,
        bound=np.stack(bound).astype(np.float32),
        integral=np.stack(integral),
        integral_error=np.array(errors)[:, 0],
        trapezoid_error=np.array(errors)[:, 1],
    )
