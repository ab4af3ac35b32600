"""Hubness reduction: secondary dissimilarities under which neighbours are shared out more evenly.

Compared in Feldbauer and Flexer, "A comprehensive empirical comparison of hubness reduction in high-dimensional spaces",
Knowledge and Information Systems 59, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from engines.arguments import Refusal, one_of
from engines.hubness.nearest import (
    as_points,
    between,
    centre,
    check_points,
    exponent_of,
    k_occurrence,
    neighbours,
    prepare,
    smallest,
    times_power,
)

METHODS = {
    "none": "the plain metric",
    "mutual proximity": "chance that both find others farther, each point's distances taken as Gaussian and independent",
    "mutual proximity empirical": "share of points that both find farther, counted",
    "local scaling": "distances in units of both points' k-th neighbour distance",
    "nicdm": "distances over the geometric mean of both points' mean distance to k neighbours",
    "dissimlocal": "squared distances less both points' squared distance to the centre of their k neighbours",
    "csls": "cosine, twice, less both points' mean cosine to k neighbours",
    "centring": "inner product after subtracting the mean",
    "cosine": "angle instead of distance",
}
SCALING = ("none", "mutual proximity", "mutual proximity empirical", "local scaling", "nicdm")  # of any distances
SATURATING = ("mutual proximity", "local scaling")
PLAIN = {"cosine": "cosine", "centring": "inner product"}  # metrics of their own; centring after the mean is subtracted
MOST_REDUCED = 8_000


def _normal_cdf(z: Tensor) -> Tensor:
    return torch.erfc(z * -math.sqrt(0.5)) / 2  # keeps its digits far out on the left, where neighbours are


def _rows(points: Tensor, k: int, method: str, metric: str, p: float) -> Callable[[int, int], Tensor]:
    """A function (start, stop) -> secondary dissimilarities [stop - start, n] of points of order one; statistics of each
    point are found once.

    Where the definition is 1 - exp(-x) (`SATURATING`) they are x, which ranks alike: 1 - exp(-x) is exactly 1 from x = 37.5 on,
    and all neighbours of an outlier would tie.
    """
    n = len(points)
    ready = prepare(points, metric) if "cosine" in metric else points

    def primary(start: int, stop: int) -> Tensor:
        if metric == "precomputed":
            return ready[start:stop].clone()
        distance = between(ready[start:stop], ready, metric, p)
        return distance.square() / 2 if "cosine" in metric else distance

    if method == "none":
        return primary
    if method == "mutual proximity":  # Schnitzer et al. 2012, section 3.2.1, with independence
        mean, std = ready.new_empty(n), ready.new_empty(n)
        for start, stop in _spans(n):
            distance = primary(start, stop)
            own = torch.arange(start, stop, device=ready.device)
            distance[own - start, own] = 0
            mean[start:stop] = distance.sum(1) / (n - 1)
            gap = distance - mean[start:stop, None]
            gap[own - start, own] = 0
            std[start:stop] = (gap.square().sum(1) / (n - 1)).sqrt()
        if (std <= 0).any():
            raise Refusal(
                "{parameter}: mutual proximity divides by the spread of each point's distances, which is 0 for {zero} points. "
                "Drop duplicate points or choose another method.",
                parameter="points",
                zero=int((std <= 0).sum()),
            )

        def rows(start: int, stop: int) -> Tensor:
            distance = primary(start, stop)
            a = _normal_cdf((distance - mean[start:stop, None]) / std[start:stop, None])
            b = _normal_cdf((distance - mean) / std)
            value = -torch.log1p(a * b - a - b)  # -log (1 - a)(1 - b)
            # 1 - a loses its digits as a nears 1. Only an outlier has neighbours there, and log_ndtr is slow.
            far = ((value < math.log(2)).sum(1) <= k).nonzero().flatten()
            if len(far):
                own, distance = start + far[:, None], distance[far]
                mine = torch.special.log_ndtr((mean[own] - distance) / std[own])
                value[far] = -mine - torch.special.log_ndtr((mean - distance) / std)
            return value

        return rows
    if method == "mutual proximity empirical":  # Schnitzer et al. 2012, equation (3)
        if n > MOST_REDUCED:
            raise Refusal(
                "{parameter}: empirical mutual proximity takes at most {most}; there are {n}.",
                parameter="points",
                most=MOST_REDUCED,
                n=n,
            )
        near = torch.cat([_nearer(primary(*span), span[0]) for span in _spans(n)])
        return lambda start, stop: 1 - _both_farther(near, start, stop, k).double() / n
    if method in ("local scaling", "nicdm"):
        _, distance = neighbours(points, k, metric, p, device=points.device)
        scale = distance[:, -1] if method == "local scaling" else distance.mean(1)
        if (scale <= 0).any():
            raise Refusal(
                "{parameter}: {method} divides by the distance to the k = {k} nearest neighbours, which is not above 0 for "
                "{zero} points. Drop duplicate points or raise k.",
                parameter="points",
                method=method,
                k=k,
                zero=int((scale <= 0).sum()),
            )
        if method == "nicdm":  # Jégou et al. 2007; as in Schnitzer et al. 2012, equation (2)
            return lambda start, stop: primary(start, stop) / (scale[start:stop, None] * scale).sqrt()
        # Zelnik-Manor and Perona 2004; as in Schnitzer et al. 2012, equation (1)
        return lambda start, stop: primary(start, stop).square() / (scale[start:stop, None] * scale)
    if (
        method == "dissimlocal"
    ):  # Hara et al. 2016, "Flattening the density gradient for eliminating spatial centrality"
        index, _ = neighbours(points, k, device=points.device)
        centred = centre(ready)  # far from the origin a mean of k points loses the digits that tell them apart
        spans = index.split(max(1, 2**20 // index.shape[1] // points.shape[1]))
        off = (centred - torch.cat([centred[some].mean(1) for some in spans])).square().sum(1)
        return lambda start, stop: primary(start, stop).square() - off[start:stop, None] - off
    # Conneau et al. 2018, "Word translation without parallel data", equation (3), one set of points. With squared chords
    # c = 2 - 2 cos it is c less both points' mean of c / 2, in which no 1 hides what is small.
    unit = centre(prepare(points, "cosine"))
    length = unit.square().sum(1)
    near = neighbours(points, k, "cosine", device=points.device)[1].mean(1)
    return lambda start, stop: (
        (length[start:stop] - near[start:stop])[:, None] + (length - near) - 2 * (unit[start:stop] @ unit.T)
    )


def _spans(n: int) -> list[tuple[int, int]]:
    block = max(1, 2**21 // n)
    return [(start, min(start + block, n)) for start in range(0, n, block)]


def _nearer(distance: Tensor, start: int) -> Tensor:
    """For each entry, how many of the row's points lie at most as far, int16 [b, n]; 0 for the point itself."""
    own = torch.arange(len(distance), device=distance.device)
    distance[own, own + start] = -math.inf
    return (torch.searchsorted(distance.sort(dim=1).values, distance, right=True) - 1).to(torch.int16)


def _both_farther(near: Tensor, start: int, stop: int, k: int) -> Tensor:
    """How many points both x and y find farther than each other, int32 [stop - start, n], where it can matter.

    By inclusion and exclusion n - 2 - near(x, y) - near(y, x) + overlap, where the overlap is among the near(x, y) points
    nearest to x. The count is at most n - 1 - max(near(x, y), near(y, x)); entries whose bound falls below the k best found
    are left at 0.
    """
    n = len(near)
    count = torch.zeros(stop - start, n, dtype=torch.int32, device=near.device)
    for x in range(start, stop):
        mine, theirs = near[x], near[:, x]
        order = mine.argsort()
        both = mine.int() + theirs.int()
        both[x] = 4 * n
        row = count[x - start]

        def fill(y: Tensor, mine=mine, theirs=theirs, order=order, both=both, row=row) -> None:
            z = order[: int(mine[y].max()) + 1]
            overlap = (mine[z] <= mine[y, None]) & (near[y[:, None], z] <= theirs[y, None])
            row[y] = n - 2 - both[y] + overlap.sum(1, dtype=torch.int32)

        likely = both.topk(min(4 * k, n - 1), largest=False).indices
        fill(likely)
        worth = n - 1 - torch.maximum(mine, theirs).int() >= row[likely].topk(k).values[-1]
        worth[x] = False
        worth[likely] = False
        rest = worth.nonzero().flatten()
        if len(rest):
            fill(rest)
    return count


def _ready(points: Tensor, k: int, method: str, metric: str, p: float) -> tuple[Tensor, str]:
    """The points of order one and the metric under which their neighbours or statistics are found."""
    one_of("method", method, METHODS)
    if metric == "inner product" and method != "none":
        raise Refusal(
            "{parameter}: reductions need distances; 'inner product' is none. Use euclidean or a cosine.",
            parameter="metric",
        )
    points = check_points(points, k, metric, p)
    if method not in SCALING and metric != "euclidean":
        raise Refusal(
            "{parameter}: {method} is defined on the points themselves; leave it at euclidean.",
            parameter="metric",
            method=method,
        )
    points = points if metric == "torus" else times_power(points, -exponent_of(points))
    return centre(points) if method == "centring" else points, PLAIN.get(method, metric)


def reduce(
    points: Tensor, k: int = 10, method: str = "mutual proximity", metric: str = "euclidean", p: float = 0.5
) -> Tensor:
    """Secondary dissimilarities [n, n], float64, smaller is nearer: feed them to `k_occurrence(..., metric="precomputed")`.

    points: [n, d] (or [n, n] dissimilarities for 'precomputed'), n <= 8,000 since the result has n^2 entries
    k: neighbourhood of the local methods
    method: a key of METHODS; the scalings act on any metric, the others on the points
    The diagonal is set to the least entry. 'mutual proximity empirical' counts only the entries that can be among a row's
    k smallest and leaves the rest at 1.

    Raises Refusal as `k_occurrence`, and where duplicates make a local scale zero.
    """
    given = points
    points, metric = _ready(points, k, method, metric, p)
    n, k = len(points), int(k)
    if n > MOST_REDUCED:
        raise Refusal(
            "{parameter}: reduce holds n x n numbers, so at most {most} points; there are {n}. reduced_k_occurrence takes more.",
            parameter="points",
            most=MOST_REDUCED,
            n=n,
        )
    rows = _rows(points, k, "none" if method in PLAIN else method, metric, p)
    result = torch.cat([rows(*span) for span in _spans(n)])
    if method in SATURATING:
        result = -torch.expm1(-result)
    squared = metric == "inner product" or method == "dissimlocal"
    if squared or (
        method == "none" and metric in ("euclidean", "lp", "precomputed")
    ):  # in the units of the points given
        result = times_power(result, exponent_of(as_points(given)) * (2 if squared else 1))
    return result.fill_diagonal_(float(result.min()))


def reduced_k_occurrence(
    points: Tensor, k: int = 10, method: str = "mutual proximity", metric: str = "euclidean", p: float = 0.5
) -> Tensor:
    """N_k, int64 [n], under the secondary dissimilarity of `reduce`, block by block without holding n x n.

    It ranks before `reduce` rounds: an outlier's neighbours, whose dissimilarities there may all be 1, are told apart here.
    """
    points, metric = _ready(points, k, method, metric, p)
    k = int(k)
    if method == "none" or method in PLAIN:
        return k_occurrence(points, k, metric, p, points.device)
    rows = _rows(points, k, method, metric, p)
    counts = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for start, stop in _spans(len(points)):
        value = rows(start, stop)
        value[:, start:stop].fill_diagonal_(math.inf)
        counts += torch.bincount(smallest(value, k).flatten(), minlength=len(points))
    return counts
