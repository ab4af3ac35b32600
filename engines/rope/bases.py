"""The least base for a context length: b* = inf {b > 1 : f_b(m) ≥ 0 for m = 0 … L−1} (kexue.fm/archives/10122).

A base that passes may have failing ones above it, so bisection is wrong, and a grid may step over a passing sliver (the
first one for half a million tokens is a few millionths of the base wide). The search here steps over nothing: from a
base that fails at distance m it moves up only through bases that are proved to fail at that same m.

With x = ln b and h(x) = f_b(m), u_i = m·b^(−s_i), s_i = 2i/d:
    h′ = Σ s_i u_i sin u_i   and   |h″| ≤ M = Σ s_i² (u_i + u_i²),
and M only falls as x grows. So while h + h′r + M r²/2 < 0, every base from e^x to e^(x+r) fails at m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engines.arguments import whole
from engines.progress import Progress
from engines.rope.curves import SINGLE, cos_sin, one_thread, passing_length, similarity_profile
from engines.rope.frequencies import check_base, check_head_dim, exponents

# ln b is known to this; a passing sliver narrower than that, relatively, would be missed.
RESOLUTION = 1e-12
MOST_SEARCHED = 1e12
MOST_TOKENS = 1 << 20
# The first zero of the cosine integral Ci.
COSINE_INTEGRAL_ZERO = 0.6165054856207162
LENGTHS = tuple(1024 << i for i in range(11))
# arXiv 2405.14591, table 2, and the corrected table of kexue.fm/archives/10122, for head dimension 128.
PAPER = (4.3e3, 1.6e4, 2.7e4, 8.4e4, 3.1e5, 6.4e5, 2.1e6, 7.8e6, 3.6e7, 6.4e7, 5.1e8)
BLOG = (4.3e3, 1.2e4, 2.7e4, 8.4e4, 2.3e5, 6.3e5, 2.1e6, 4.9e6, 2.4e7, 5.8e7, 6.5e7)

# What the search finds, rounded up by less than 1e-9 of the base; the passing slivers there are wider than 3e-4.
LEAST = (4293.43757, 11_587.24431, 26_952.33923, 83_763.84102, 231_643.64681, 629_978.26286, 2_090_179.67406)


def least_base(context_length: int, head_dim: int = 128) -> float:
    """The least base above 1 with f_b(m) ≥ 0 at every m < context_length, to 11 digits; 1.0 for lengths of 1 and 2.

    1.6 s at 65,536 tokens on one core (benchmarks/rope.py). Raises ValueError where no base up to 1e12 is enough.
    """
    length = whole("context_length", context_length, 1, MOST_TOKENS)
    *_, (_, found) = _search((length,), head_dim)
    return found[0]


@one_thread()
def passes(base: float, context_length: int, head_dim: int = 128) -> bool:
    """Whether f_b(m) ≥ 0 at every m < context_length."""
    frequencies = check_base(base) ** -exponents(head_dim)
    length = whole("context_length", context_length, 1, MOST_TOKENS)
    return bool((similarity_profile(length, frequencies) >= 0).all())


def _search(lengths: Sequence[int], head_dim: int) -> Iterator[tuple[int, list[float]]]:
    """(a distance that still fails, the least bases found so far) for ascending lengths, until all are found."""
    head_dim = check_head_dim(head_dim)
    if head_dim < 4:
        raise ValueError("head_dim must be at least 4 here: a single pair turns by one radian whatever the base is.")
    s = exponents(head_dim)
    x, found = 0.0, []
    for length in lengths:
        while len(failing := _failing(torch.exp(-x * s), length)):
            yield int(failing.min()), list(found)
            x = _leap(x, failing, s)
            if x > math.log(MOST_SEARCHED):
                raise ValueError(
                    f"head_dim = {head_dim} has no base up to {MOST_SEARCHED:.0e} for {length:,} tokens: "
                    "take a wider head or a shorter context."
                )
        base = math.exp(x) if x > 0 else 1.0
        while x > 0 and not passes(base, length, head_dim):  # its own rounding may tip a value that is 0 there
            base *= 1 + RESOLUTION
        found.append(base)
    yield lengths[-1], found


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
class LeastBase:
    """The least base for one length, and the neighbourhood that shows why it had to be searched for.

    length: tokens; head_dim; base: the least base b*
    touching: the distance at which f_b*(m) is least, there 0 to rounding
    fails_again: where, above b*, a base that fails was met again; the first passing stretch ends there or before. inf
        where none was met up to a hundred times b*
    estimate: length / 0.6165, the estimate for an infinitely wide head (kexue.fm/archives/10122, from the first zero
        of the cosine integral)
    bases: float64 [n], evenly spaced by ratio around b*, and the near ones below
    worst: min over m < length of f_b(m) at each of them, float32 [n]; such a base passes where it is not negative
    near_bases, near_worst: those of them evenly spaced around the first passing stretch, float64 and float32 [k]
    paper, blog: the published bases for this length (d = 128), NaN where it is not in their tables
    """

    length: int
    head_dim: int
    base: float
    touching: int
    fails_again: float
    estimate: float
    bases: np.ndarray
    worst: np.ndarray
    near_bases: np.ndarray
    near_worst: np.ndarray
    paper: float
    blog: float


@one_thread()
def least_base_near(length: int = 4096, head_dim: int = 128) -> LeastBase:
    """The least base for `length` tokens (3 to 65,536) and min f_b around it (kexue.fm/archives/10122)."""
    length, head_dim = whole("length", length, 3, 1 << 16), check_head_dim(head_dim)
    base = least_base(length, head_dim)
    s = exponents(head_dim)

    def worst(bases: np.ndarray) -> np.ndarray:
        # a few at a time: all the distances of all the bases would be 36 MB
        few = torch.from_numpy(bases)[:, None].pow(-s).split(max(1, (1 << 17) // length))
        return torch.cat([similarity_profile(length, each, torch.float32).amin(-1) for each in few]).numpy()

    fails_again = _fails_again(base, length, head_dim)
    width = min(fails_again, 1.05 * base) - base
    near = base + width * np.arange(-10, 31) / 10  # b* itself among them
    # the close-up's are drawn in the wide view too, else its curve would pass below the first stretch
    bases = np.union1d(base * np.geomspace(1 / 3, 6, 100), near)
    lowest = worst(bases)
    published = LENGTHS.index(length) if length in LENGTHS and head_dim == 128 else None
    return LeastBase(
        length=length,
        head_dim=head_dim,
        base=base,
        touching=int(similarity_profile(length, base**-s).argmin()),
        fails_again=fails_again,
        estimate=length / COSINE_INTEGRAL_ZERO,
        bases=bases,
        worst=lowest,
        near_bases=near,
        near_worst=lowest[np.searchsorted(bases, near)],
        paper=math.nan if published is None else PAPER[published],
        blog=math.nan if published is None else BLOG[published],
    )


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


@dataclass(frozen=True)
class LeastBases:
    """Least bases for a range of lengths, beside the published ones.

    head_dim; lengths: tokens, int64 [n], 1,024 doubled again and again
    bases: the least base for each, float64 [n]; NaN while not yet found
    paper, blog: the tables of arXiv 2405.14591 and of kexue.fm/archives/10122, float64 [n]; NaN unless head_dim is 128
    paper_passes, blog_passes: whether the published base, as printed to two digits, passes: 1, 0, or −1 for not known
    estimate: length / 0.6165, float64 [n], the estimate for an infinitely wide head
    """

    head_dim: int
    lengths: np.ndarray
    bases: np.ndarray
    paper: np.ndarray
    blog: np.ndarray
    paper_passes: np.ndarray
    blog_passes: np.ndarray
    estimate: np.ndarray


def least_bases(longest: int = 16_384, head_dim: int = 128) -> Iterator[Progress]:
    """Progress with LeastBases: the table of kexue.fm/archives/10122 recomputed, up to `longest` (1,024 to 2^20) tokens.

    Steps are tokens: the length of context that the present base is known to fail near.
    """
    longest = whole("longest", longest, 1024, MOST_TOKENS)
    lengths = tuple(length for length in LENGTHS if length <= longest)
    known = head_dim == 128

    def table(found: list[float]) -> LeastBases:
        rest = [math.nan] * (len(lengths) - len(found))
        columns = [np.array(column[: len(lengths)] if known else [math.nan] * len(lengths)) for column in (PAPER, BLOG)]
        verdicts = [
            np.array([int(passes(b, n, head_dim)) if known else -1 for b, n in zip(column, done, strict=False)])
            for column in columns
        ]
        return LeastBases(
            head_dim=head_dim,
            lengths=np.array(lengths),
            bases=np.array(found + rest),
            paper=columns[0],
            blog=columns[1],
            paper_passes=np.pad(verdicts[0], (0, len(rest)), constant_values=-1),
            blog_passes=np.pad(verdicts[1], (0, len(rest)), constant_values=-1),
            estimate=np.array(lengths) / COSINE_INTEGRAL_ZERO,
        )

    shown, reached, count = None, 0, -1
    for failing, found in _search(lengths, head_dim):
        reached = max(reached, min(failing, lengths[-1] - 1))
        if len(found) > count:
            count = len(found)
            done = lengths[:count]
            shown = table(found)
        yield Progress(lengths[-1] if count == len(lengths) else reached, lengths[-1], shown)


@dataclass(frozen=True)
class PassingLengths:
    """How long a context each base carries.

    head_dim; limit: lengths are followed up to this many tokens
    bases: float64 [n], evenly spaced by ratio; for head dimension 128 the least bases for 1,024, 2,048 … tokens as well
    length: the longest context each passes for, which is its first distance with f_b < 0, int64 [n]; `limit` where
        there is none below it
    envelope: the longest context any of the bases so far passes for, int64 [n]
    """

    head_dim: int
    limit: int
    bases: np.ndarray
    length: np.ndarray
    envelope: np.ndarray


@one_thread()
def passing_lengths(
    head_dim: int = 128, base_low: float = 1000.0, base_high: float = 1e6, limit: int = 32_768
) -> PassingLengths:
    """The map of passing bases: (b, L) passes where L is at most the length returned (arXiv 2405.14591, §5)."""
    head_dim, limit = check_head_dim(head_dim), whole("limit", limit, 16, 1 << 16)
    if not check_base(base_low, "base_low") < check_base(base_high, "base_high"):
        raise ValueError("base_high must be above base_low.")
    bases = np.geomspace(base_low, base_high, 320)
    if head_dim == 128:  # the slivers that begin at the least bases lie between those
        known = [b for b, n in zip(LEAST, LENGTHS, strict=False) if base_low <= b <= base_high and n <= limit]
        bases = np.union1d(bases, known)
    few = torch.from_numpy(bases)[:, None].pow(-exponents(head_dim)).split(32)
    length = torch.cat([passing_length(each, limit) for each in few]).numpy()
    return PassingLengths(head_dim, limit, bases, length, np.maximum.accumulate(length))
