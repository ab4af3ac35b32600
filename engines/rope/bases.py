"""The least base for a context length: b* = inf {b > 1 : f_b(m) ≥ 0 for m = 0 … L−1} (kexue.fm/archives/10122).

A base that passes may have failing ones above it, so bisection is wrong, and a grid may step over a passing interval (the
first one for half a million tokens is a few millionths of the base wide). The search here steps over none: from a
base that fails at distance m it moves up only through bases that are proved to fail at that same m.

With x = ln b and h(x) = f_b(m), u_i = m·b^(−s_i), s_i = 2i/d:
    h′ = Σ s_i u_i sin u_i   and   |h″| ≤ M = Σ s_i² (u_i + u_i²),
and M only falls as x grows. So while h + h′r + M r²/2 < 0, every base from e^x to e^(x+r) fails at m.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Refusal, checked, whole
from engines.rope.curves import SINGLE, cos_sin, one_thread, passing_length, similarity_profile
from engines.rope.frequencies import HeadDim, check_base, check_head_dim, exponents

# ln b is known to this; a passing interval narrower than that, relatively, would be missed.
RESOLUTION = 1e-12
MOST_SEARCHED = 1e12
MOST_TOKENS = 1 << 20
MOST_MAPPED = 1 << 24  # length times head dimension of a map, where the least bases are searched: three seconds
# The first zero of the cosine integral Ci.
COSINE_INTEGRAL_ZERO = 0.6165054856207162
LENGTHS = tuple(1024 << i for i in range(11))
# arXiv 2405.14591, table 2, and the corrected table of kexue.fm/archives/10122, for head dimension 128.
PAPER = (4.3e3, 1.6e4, 2.7e4, 8.4e4, 3.1e5, 6.4e5, 2.1e6, 7.8e6, 3.6e7, 6.4e7, 5.1e8)
BLOG = (4.3e3, 1.2e4, 2.7e4, 8.4e4, 2.3e5, 6.3e5, 2.1e6, 4.9e6, 2.4e7, 5.8e7, 6.5e7)

# What the search finds for them, rounded up by less than 1e-9 of the base; the passing intervals there are wider.
LEAST = (
    4293.43757,
    11_587.24431,
    26_952.33923,
    83_763.84102,
    231_643.64681,
    629_978.26286,
    2_090_179.67406,
    4_869_104.37054,
    23_662_397.037,
    58_496_173.8023,
    65_374_955.1442,
)


def least_base(context_length: int, head_dim: int = 128) -> float:
    """The least base above 1 with f_b(m) ≥ 0 at every m < context_length, to 11 digits; 1.0 for lengths of 1 and 2.

    About a second at 65,536 tokens on one core (benchmarks/rope.py). Raises Refusal where no base up to 1e12 is enough.
    """
    return _search(whole("context_length", context_length, 1, MOST_TOKENS), head_dim)


@one_thread()
def passes(base: float, context_length: int, head_dim: int = 128) -> bool:
    """Whether f_b(m) ≥ 0 at every m < context_length."""
    frequencies = check_base(base) ** -exponents(head_dim)
    length = whole("context_length", context_length, 1, MOST_TOKENS)
    return bool((similarity_profile(length, frequencies) >= 0).all())


def _search(length: int, head_dim: int, start: float = 1.0) -> float:
    """The least base for `length` tokens, given that none below `start` passes."""
    if check_head_dim(head_dim) < 4:
        raise Refusal(
            "{parameter} must be at least 4: a single pair turns by one radian whatever the base is.",
            parameter="head_dim",
        )
    s, x = exponents(head_dim), math.log(start)
    while len(failing := _failing(torch.exp(-x * s), length)):
        x = _leap(x, failing, s)
        if x > math.log(MOST_SEARCHED):
            raise Refusal(
                "{parameter} = {head_dim} has no feasible base up to 10¹² for {length} tokens: take a wider head or a "
                "shorter context.",
                parameter="head_dim",
                head_dim=head_dim,
                length=length,
            )
    base = math.exp(x) if x > 0 else 1.0
    while x > 0 and not passes(base, length, head_dim):  # its own rounding may tip a value that is 0 there
        base *= 1 + RESOLUTION
    return base


@one_thread()
def _failing(frequencies: torch.Tensor, length: int) -> torch.Tensor:
    """Distances m < length with f_b(m) < 0, float64; where they are many, those that promise the longest leaps."""
    # Float32 finds most of them in less time; that there are none is for float64 to say.
    for dtype, margin in ((torch.float32, SINGLE * len(frequencies)), (torch.float64, 0.0)):
        values = similarity_profile(length, frequencies, dtype)
        failing = (values < -margin).nonzero()[:, 0]
        if len(failing):
            break
    most = max(64, 2 * math.isqrt(length) // 3)
    if len(failing) > most:
        failing = failing[(values[failing] / failing.square()).topk(most, largest=False).indices]
    return failing.double()


@one_thread()
def _leap(x: float, failing: torch.Tensor, s: torch.Tensor) -> float:
    """The farthest x' such that every base from e^x to e^x' is proved to fail at one of these distances."""
    start, longest = x, 0.0
    frequencies = torch.exp(-x * s)
    curvature = failing * (s.square() @ frequencies) + failing.square() * (s.square() @ frequencies.square())
    while True:
        frequencies = torch.exp(-x * s)
        cos, sin = cos_sin(failing, frequencies)
        value = cos.sum(1)
        slope = failing * (sin @ (s * frequencies))
        # the positive root of value + slope r + curvature r²/2
        roots = (torch.addcmul(slope.square(), curvature, value, value=-2).clamp_min_(0).sqrt_() - slope) / curvature
        leap = (roots * (value < 0)).max().item()
        # Once leaps are short, other distances than these will do better.
        if leap <= RESOLUTION or leap < 0.2 * longest:
            break
        longest = max(longest, leap)
        x += leap
    return x if x > start else x + RESOLUTION


@dataclass(frozen=True)
class FeasibleBases:
    """Which bases pass for which context lengths, and the least one for one length.

    head_dim: int; dimensions of a head
    length: int, tokens; the context length wanted, L
    base: float; the least base for it, b*
    touching: int, tokens; the distance at which f_b* is least, there 0 to rounding
    fails_again: float; a base above b* that fails again: the first passing stretch ends there or before. inf where none
        is met up to a hundred times b*
    estimate: float; L / 0.6165, the estimate for an infinitely wide head (kexue.fm/archives/10122, from the first zero of
        the cosine integral)
    limit: int, tokens; up to which lengths are followed
    bases: float64 [n]; evenly spaced by ratio; for head dimension 128 the least bases of LENGTHS as well
    lengths: int64 [n], tokens; the longest context each passes for, its first distance with f_b < 0; `limit` where there
        is none below it
    around: float64 [k]; bases from b*/3 to 6 b*, evenly spaced by ratio, and those of the close-up
    around_lowest: float32 [k]; min over m < L of f_b(m) at each; a base passes where it is not negative
    near: float64 [j]; bases evenly spaced around the first passing stretch
    near_lowest: float32 [j]; min over m < L of f_b(m) at each
    table_lengths: int64 [t], tokens; 1,024 doubled again and again, for head dimension 128 to 2^20, else to L
    table_bases: float64 [t]; the least base for each
    paper: float64 [t]; that in table 2 of arXiv 2405.14591, NaN unless head_dim is 128
    blog: float64 [t]; that in the corrected table of kexue.fm/archives/10122, NaN unless head_dim is 128
    paper_passes: int64 [t]; whether the published base, as printed to two digits, passes: 1, 0, or −1 for not known
    blog_passes: int64 [t]; likewise
    """

    head_dim: int
    length: int
    base: float
    touching: int
    fails_again: float
    estimate: float
    limit: int
    bases: np.ndarray
    lengths: np.ndarray
    around: np.ndarray
    around_lowest: np.ndarray
    near: np.ndarray
    near_lowest: np.ndarray
    table_lengths: np.ndarray
    table_bases: np.ndarray
    paper: np.ndarray
    blog: np.ndarray
    paper_passes: np.ndarray
    blog_passes: np.ndarray


@checked
@one_thread()
def feasible_bases(
    length: Annotated[int, Between(3, 65_536)] = 8192,
    head_dim: HeadDim = 128,
    base_low: Annotated[float, Between(10, 1e7)] = 1000.0,
    base_high: Annotated[float, Between(100, 1e9)] = 1e7,
    limit: Annotated[int, Between(256, 65_536)] = 65_536,
) -> FeasibleBases:
    """The map of bases and the context lengths they pass for (arXiv 2405.14591, §5), with the least base for `length`
    (kexue.fm/archives/10122) and the published tables."""
    if base_high <= base_low:
        raise Refusal("{parameter} must be above {low}, the lowest base.", parameter="base_high", low=base_low)
    if head_dim != 128 and length * head_dim > MOST_MAPPED:  # for 128 the least bases are known
        raise Refusal(
            "{parameter}: {length} distances in {head_dim} dimensions take too long here; take at most {most}.",
            parameter="length",
            length=length,
            head_dim=head_dim,
            most=MOST_MAPPED // head_dim,
        )
    s, shorter = exponents(head_dim), [n for n in LENGTHS if n <= length]
    if head_dim == 128:
        base = _search(length, head_dim, LEAST[len(shorter) - 1] if shorter else 1.0)
        table_lengths, table_bases, published = LENGTHS, LEAST, (PAPER, BLOG, *printed_verdicts())
    else:
        base, found = 1.0, []
        for n in shorter:
            found.append(base := _search(n, head_dim, base))
        base = _search(length, head_dim, base)
        unknown = [math.nan] * len(shorter), [-1] * len(shorter)
        table_lengths, table_bases, published = shorter, found, [unknown[0], unknown[0], unknown[1], unknown[1]]
    paper, blog, paper_passes, blog_passes = map(np.array, published)

    def lowest(bases: np.ndarray) -> np.ndarray:
        # a few at a time: all the distances of all the bases would be 36 MB
        few = torch.from_numpy(bases)[:, None].pow(-s).split(max(1, (1 << 17) // length))
        return torch.cat([similarity_profile(length, each, torch.float32).amin(-1) for each in few]).numpy()

    bases = np.geomspace(base_low, base_high, 320)
    if head_dim == 128:  # the intervals that begin at the least bases lie between those
        bases = np.union1d(bases, [b for b, n in zip(LEAST, LENGTHS, strict=True) if base_low <= b <= base_high])
    few = torch.from_numpy(bases)[:, None].pow(-s).split(32)
    fails_again = _fails_again(base, length, head_dim)
    near = base + (min(fails_again, 1.05 * base) - base) * np.arange(-10, 31) / 10  # b* itself among them
    # the close-up's are drawn in the wide view too, else its curve would pass below the first stretch
    around = np.union1d(base * np.geomspace(1 / 3, 6, 100), near)
    around_lowest = lowest(around)
    return FeasibleBases(
        head_dim=head_dim,
        length=length,
        base=base,
        touching=int(similarity_profile(length, base**-s).argmin()),
        fails_again=fails_again,
        estimate=length / COSINE_INTEGRAL_ZERO,
        limit=limit,
        bases=bases,
        lengths=torch.cat([passing_length(each, limit) for each in few]).numpy(),
        around=around,
        around_lowest=around_lowest,
        near=near,
        near_lowest=around_lowest[np.searchsorted(around, near)],
        table_lengths=np.array(table_lengths, dtype=np.int64),
        table_bases=np.array(table_bases, dtype=float),
        paper=paper.astype(float),
        blog=blog.astype(float),
        paper_passes=paper_passes.astype(np.int64),
        blog_passes=blog_passes.astype(np.int64),
    )


@functools.cache
def printed_verdicts() -> tuple[list[int], list[int]]:
    """Whether the bases of PAPER and BLOG pass, as they are printed."""
    paper, blog = ([int(passes(b, n)) for b, n in zip(table, LENGTHS, strict=True)] for table in (PAPER, BLOG))
    return paper, blog


def _fails_again(base: float, length: int, head_dim: int) -> float:
    """The end of the stretch of passing bases that starts at `base`, or of one after it; inf if there seems to be none."""
    low, step = base, 1e-7 * base
    while passes(high := base + step, length, head_dim):
        low, step = high, 1.5 * step
        if step > 99 * base:
            return math.inf
    while high - low > 1e-9 * base:
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle, length, head_dim) else (low, middle)
    return high
