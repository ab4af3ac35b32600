"""Exact nearest neighbours and the k-occurrence N_k, by blocks of distance products.

N_k(x) is the number of points that have x among their k nearest neighbours (Radovanović, Nanopoulos and Ivanović, "Hubs
in Space", JMLR 11, 2010, section 2). A point is never its own neighbour; equal distances are settled by index.

Euclidean, cosine and inner-product neighbours are screened with single-precision matrix products. A row whose k-th and
(k+1)-th candidates lie closer together than the rounding of that product could reach is measured again, pair by pair,
in double precision: the neighbours are those of exact arithmetic on the float64 points, at the speed of the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, one_of, quoted, whole
from engines.device import resolve
from engines.progress import Progress

METRICS = ("euclidean", "cosine", "centred cosine", "inner product", "lp", "torus", "precomputed")
MOST_POINTS = 2_000_000
MOST_PRECOMPUTED = 20_000
AREA = 2**23  # scores held at a time on a CPU (32 MB); sixteen times as many on a GPU
SQUARE = 2**23  # dissimilarities that may be held all at once (64 MB)
_ROUNDING = 2.0**-24  # unit roundoff of float32
GROUP = 32  # on a card: points of which the best score alone is kept,
SPARE = 4  # groups looked into beyond the k + 1 best, so that those left out are farther away than rounding can reach,
ROWS = 4096  # and rows at a time


def as_points(points: Tensor) -> Tensor:
    """A table of real numbers, float64 [n, d], of a tensor, array or nested list of any type; Refusal for anything else."""
    if not isinstance(points, Tensor):
        try:
            array = np.asarray(points)
        except (TypeError, ValueError, RuntimeError):
            array = np.empty(0, object)
        if array.dtype.kind not in "biuf":
            raise Refusal("{parameter} must be a table of real numbers, one point a row.", parameter="points")
        points = torch.from_numpy(np.ascontiguousarray(array, np.float64))
    if points.is_complex():
        raise Refusal("{parameter} must be real numbers; these are complex.", parameter="points")
    if points.ndim != 2 or 0 in points.shape:
        raise Refusal(
            "{parameter} must be a table [n, d], one point a row; this has shape {shape}.",
            parameter="points",
            shape=tuple(points.shape),
        )
    return points.detach().to_dense().to(torch.float64)


def check_points(points: Tensor, k: int, metric: str = "euclidean", p: float = 0.5) -> Tensor:
    """The points as float64, or a Refusal that says what is wrong with them (or with k, metric, p)."""
    one_of("metric", metric, METRICS)
    points = as_points(points)
    n, d = points.shape
    k = whole("k", k, 1, MOST_POINTS)
    if n < k + 1:
        raise Refusal(
            "{parameter} = {k} neighbours need at least {least} points; there are {n}. Lower it or add points.",
            parameter="k",
            k=k,
            least=k + 1,
            n=n,
        )
    most = MOST_PRECOMPUTED if metric == "precomputed" else MOST_POINTS
    if n > most:
        raise Refusal(
            "{parameter} may have at most {most} rows here; there are {n}.", parameter="points", most=most, n=n
        )
    if metric == "precomputed" and d != n:
        raise Refusal(
            "{parameter} must be a square matrix of distances for 'precomputed'; this is {n} x {d}.",
            parameter="points",
            n=n,
            d=d,
        )
    if metric == "lp":
        number("p", p, 0.05, 32)
    bad = (~torch.isfinite(points)).any(1).nonzero().flatten()
    if len(bad):
        raise Refusal(
            "{parameter}: {bad} of {n} rows hold NaN or infinity (rows {first}, counted from 0); remove or fill them.",
            parameter="points",
            bad=len(bad),
            n=n,
            first=", ".join(str(int(i)) for i in bad[:3]) + (", ..." if len(bad) > 3 else ""),
        )
    if metric == "torus" and (points.min() < 0 or points.max() > 1):
        raise Refusal("{parameter} must lie in the unit cube, 0 to 1, for 'torus'.", parameter="points")
    return points


def exponent_of(points: Tensor) -> int:
    """The exponent of the power of two next above the largest magnitude (0 where all are zero)."""
    low, high = points.aminmax()
    return math.frexp(max(float(high), -float(low)))[1]


def times_power(values: Tensor, exponent: int) -> Tensor:
    """values 2^exponent, in two factors: one of them alone may be no float64."""
    half = exponent // 2
    return values * 2.0**half * 2.0 ** (exponent - half)


def centre(points: Tensor) -> Tensor:
    """The points less their mean; twice, as the mean of points far from the origin is rounded."""
    points = points - points.mean(0)
    return points - points.mean(0)


def prepare(points: Tensor, metric: str) -> Tensor:
    """Float64 points as the metric sees them: of order one (scaled by a power of two, which moves no tie), and of
    length 1 for the cosines. Distances given and points of a torus are left alone."""
    if metric in ("torus", "precomputed"):
        return points
    points = times_power(points, -exponent_of(points))
    if metric in ("cosine", "centred cosine"):
        if metric == "centred cosine":
            points = centre(points)
        largest = points.abs().amax(1, keepdim=True)
        zero = int((largest == 0).sum())
        if zero:
            raise Refusal(
                "{parameter}: {zero} rows have length zero, so they have no cosine; remove them or use euclidean.",
                parameter="points",
                zero=zero,
            )
        points = points / largest  # squares of a row that is tiny beside another would be lost
        points = points / torch.linalg.vector_norm(points, dim=1, keepdim=True)
    return points


def between(rows: Tensor, others: Tensor, metric: str, p: float) -> Tensor:
    """Dissimilarities [b, n] measured directly, coordinate by coordinate, in float64: equal points tie exactly."""
    if metric == "inner product":
        return -(rows @ others.T)
    if metric in ("lp", "torus"):
        total = rows.new_zeros(len(rows), len(others))
        # of a high power of a small gap nothing is left: gaps are measured in units of the largest
        unit = torch.cdist(rows, others, p=math.inf) if metric == "lp" and p > 2 else None
        if unit is not None:
            unit[unit == 0] = 1
        for a, b in zip(rows.T, others.T, strict=True):
            gap = (a[:, None] - b).abs_()
            if metric == "torus":
                total += torch.minimum(gap, 1 - gap).square_()
            else:
                gap = gap if unit is None else gap.div_(unit)
                total += (
                    gap.sqrt_() if p == 0.5 else gap.pow_(p) if float(p).is_integer() else gap.log_().mul_(p).exp_()
                )
        total.pow_(1 / p if metric == "lp" else 0.5)
        return total if unit is None else total.mul_(unit)
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")


def pair_distance(points: Tensor, first: Tensor, second: Tensor, metric: str, p: float = 0.5) -> Tensor:
    """Dissimilarity of points[first] and points[second] (index tensors that broadcast), float64, points as prepared."""
    if metric == "precomputed":
        return points[first, second]
    a, b = points[first], points[second]
    if metric == "inner product":
        return -(a * b).sum(-1)
    gap = (a - b).abs()
    if metric == "torus":
        gap = torch.minimum(gap, 1 - gap)
    # In units of a power of two next to the largest gap: squares neither vanish nor overflow, and ties stay ties.
    exponent = torch.frexp(gap.amax(-1, keepdim=True)).exponent.long()
    unit = (exponent.clamp(-1021, 1023) + 1022 << 52).view(torch.float64)
    return torch.linalg.vector_norm(gap / unit, ord=p if metric == "lp" else 2, dim=-1) * unit[..., 0]


def smallest(values: Tensor, k: int) -> Tensor:
    """Indices [b, k] of the k smallest of each row of values [b, n], n > k; equal values go to the lower index."""
    value, index = values.topk(k + 1, dim=1, largest=False)
    tied = value[:, k] == value[:, k - 1]
    if tied.any():
        index[tied, :k] = values[tied].sort(dim=1, stable=True).indices[:, :k]
    return index[:, :k]


def _largest_scores(scores: Tensor, k: int, groups: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, with indices. The k largest lie in the k columns (of `groups` rows each) whose maxima are
    largest, and one vectorised maximum is far cheaper than a selection among all n."""
    if groups == 1:
        return scores.topk(k, dim=1)
    b, n = scores.shape
    stride = n // groups
    column = scores.view(b, groups, stride).amax(1).topk(k, dim=1, sorted=False).indices
    step = stride * torch.arange(groups, device=scores.device)
    candidates = (column[:, None, :] + step[None, :, None]).reshape(b, -1)
    value, place = scores.gather(1, candidates).topk(k, dim=1)
    return value, candidates.gather(1, place)


def _screened(points: Tensor, k: int, metric: str) -> Iterator[tuple[int, Tensor]]:
    """Blocks (start, indices [b, k]) by certified single-precision products."""
    n, d = points.shape
    device = points.device
    if metric == "inner product":
        centred, half = points, points.new_zeros(n)
    else:  # |x - y|^2 / 2 = |x|^2 / 2 - (x.y - |y|^2 / 2); centring leaves distances alone and spares digits
        centred = points - points.mean(0)
        half = centred.square().sum(1) / 2
    # The bias -|y|^2 / 2 rides along as one more coordinate. Columns are padded, to a multiple of `groups`, with points
    # that no one can choose.
    groups = 10 if n >= 40 * (k + 1) else 1
    width = -(-n // groups) * groups
    left = torch.ones(n, d + 1, device=device)
    left[:, :d] = centred
    right = torch.zeros(width, d + 1, device=device)
    right[:n, :d] = centred
    right[:n, d] = -half
    right[n:, d] = -1e30
    norm = torch.linalg.vector_norm(centred, dim=1)
    # A dot product of d + 1 terms whose factors were rounded to float32, whatever the order of the sum.
    error = (_ROUNDING * (d + 4) * (norm * norm.max() + half.max())).float()
    block = max(1, min(n, (16 if device.type == "cuda" else 1) * AREA // width))
    buffer = torch.empty(block, width, device=device)
    for start in range(0, n, block):
        stop = min(start + block, n)
        scores = torch.mm(left[start:stop], right.T, out=buffer[: stop - start])
        scores[:, start:stop].fill_diagonal_(-math.inf)
        value, index = _largest_scores(scores, k + 1, groups)
        index = index[:, :k]
        # The k chosen are right if the next candidate is worse by more than both roundings together.
        doubtful = (value[:, k - 1] - value[:, k] <= 2 * error[start:stop]).nonzero().flatten()
        for rows in doubtful.split(max(1, AREA // (4 * width))):
            lowest = value[rows, k - 1] - 2 * error[start + rows]
            candidate = scores[rows, :n] >= lowest[:, None]
            index[rows] = _measured_again(points, centred, half, norm, start + rows, candidate, k, metric)
        yield start, index


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """float32 as h + l of two bfloat16, all but 2^-16 of it."""
    high = values.bfloat16()
    return high, (values - high.float()).bfloat16()


def _split_products(left: Tensor, right: Tensor) -> Callable[[Tensor | slice, slice], Tensor]:
    """(rows, columns) -> products of rows of both [n, e], float32, as one of bfloat16: x y ≈ h h' + h l' + l h'."""
    (high, low), (others, lower) = _halves(left), _halves(right)
    wide, tall = torch.cat([high, high, low], 1), torch.cat([others, lower, others], 1)
    if wide.device.type == "cuda":
        return lambda rows, columns: torch.mm(wide[rows], tall[columns].T, out_dtype=torch.float32)
    return lambda rows, columns: wide[rows].float() @ tall[columns].float().T  # each product is exact there too


def _plain_products(left: Tensor, right: Tensor) -> Callable[[Tensor | slice, slice], Tensor]:
    """The same in float32."""
    return lambda rows, columns: left[rows] @ right[columns].T


def _grouped(points: Tensor, k: int, metric: str, split: bool) -> Iterator[tuple[int, Tensor]]:
    """Blocks (start, indices [b, k]) as `_screened`, for a card, where n² scores cost less than writing them down and reading
    them.

    Of a row's scores with each `GROUP` points the largest alone is kept. The points of the k + 1 + SPARE best groups are scored
    again in float64. Let ŝ be a score of the screening, with |ŝ − s| <= e for all points of the row, and m the largest among the
    groups left out: no point there has s > m + e. So where the k-th best of the points scored again has s > m + e, by more than
    the rounding of float64, and the next best is lower by more than that too, the k are right. For any other row, let t be the
    k-th largest ŝ: k points have s >= t − e, so all of the k best have, and ŝ >= t − 2 e: these go to `_measured_again`.

    e, with u = 2^-24 and N = |x| max |y| + max |y|² / 2, above any sum of the moduli of a score's products:
    - in float32 (d + 8) u N, in whatever order the sum is taken (Higham, Accuracy and Stability, 2002, section 3.1), the rounding
      of the factors included;
    - split, |x − h| <= 2^-8 |x| and |x − h − l| <= 2^-16 |x|. What is left out of x y is l l' and what the halves lose of either, below
      3.1 · 2^-16 |x y|. The products are exact. Tensor cores truncate where others round, each of the 3 e terms of a sum by
      2 u of the largest partial sum at most (Fasi et al. 2021, PeerJ CS 7:e330): counted twice, 4 (3 e + 8) u N.
    """
    n, d = points.shape
    device = points.device
    if metric == "inner product":
        centred, half = points, points.new_zeros(n)
    else:
        centred = points - points.mean(0)
        half = centred.square().sum(1) / 2
    # coordinates and columns are filled up to what products like; no one can choose a column that is none
    tile = GROUP * max(1, min(16 * AREA // (ROWS * GROUP), -(-n // GROUP)))
    depth, width = -(-(d + 1) // 8) * 8, -(-n // tile) * tile
    left, right = torch.zeros(n, depth, device=device), torch.zeros(width, depth, device=device)
    left[:, :d], left[:, d] = centred, 1
    right[:n, :d], right[:n, d] = centred, -half
    right[n:, d] = -1e30
    products = (_split_products if split else _plain_products)(left, right)
    norm = torch.linalg.vector_norm(centred, dim=1)
    bound = norm * norm.max() + half.max()
    screen = bound * (3.1 * 2.0**-16 + 4 * (3 * depth + 8) * _ROUNDING if split else (d + 8) * _rounding(device))
    exact = bound * (4 * (d + 8) * 2.0**-53)
    per, groups = tile // GROUP, width // GROUP
    kept = min(k + 1 + SPARE, groups)
    for start in range(0, n, ROWS):
        rows = torch.arange(start, min(start + ROWS, n), device=device)
        best = torch.empty(len(rows), groups, device=device)
        for place, column in enumerate(range(0, width, tile)):
            scores = products(slice(start, start + len(rows)), slice(column, column + tile))
            torch.amax(scores.view(-1, GROUP, per), 1, out=best[:, place * per : (place + 1) * per])
        value, group = best.topk(min(kept + 1, groups), dim=1)
        limit = value[:, kept].double() if groups > kept else torch.full_like(bound[rows], -math.inf)
        limit += screen[rows] + exact[rows]
        members = group[:, :kept, None] // per * tile + group[:, :kept, None] % per
        members = (members + per * torch.arange(GROUP, device=device)).flatten(1)
        chosen, sure = [], []
        for part in torch.arange(len(rows), device=device).split(max(1, 2**25 // (members.shape[1] * d))):
            index, value = _best_members(centred, half, rows[part], members[part], k)
            chosen.append(index)
            last, following = value[:, k - 1], value[:, k]
            sure.append((last > limit[part]) & (last - following > 2 * exact[rows[part]]))
        chosen, doubtful = torch.cat(chosen), (~torch.cat(sure)).nonzero().flatten()
        for some in doubtful.split(max(1, 4 * AREA // width)) if len(doubtful) else ():
            scores = torch.cat([products(rows[some], slice(c, c + tile)) for c in range(0, width, tile)], 1)[:, :n]
            scores.scatter_(1, rows[some, None], -math.inf)
            lowest = scores.topk(k, dim=1).values[:, k - 1] - 2 * screen[rows[some]]
            candidate = scores >= lowest[:, None]
            chosen[some] = _measured_again(points, centred, half, norm, rows[some], candidate, k, metric)
        yield start, chosen


def _best_members(centred: Tensor, half: Tensor, rows: Tensor, members: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of the points `members` [b, m] of each row: the k best [b, k], and the k + 1 largest scores, float64."""
    real = (members < len(centred)) & (members != rows[:, None])
    members = members.clamp_max(len(centred) - 1)
    score = torch.bmm(centred[members], centred[rows][:, :, None])[:, :, 0] - half[members]
    value, place = score.masked_fill_(~real, -math.inf).topk(k + 1, dim=1)
    return members.gather(1, place[:, :k]), value


def _rounding(device: torch.device) -> float:
    """Unit roundoff of a float32 product's factors there: on a card the host may have allowed TF32 or bfloat16."""
    allowed = {"highest": _ROUNDING, "high": 2.0**-11, "medium": 2.0**-8}
    return allowed[torch.get_float32_matmul_precision()] if device.type == "cuda" else _ROUNDING


def _measured_again(
    points: Tensor, centred: Tensor, half: Tensor, norm: Tensor, rows: Tensor, candidate: Tensor, k: int, metric: str
) -> Tensor:
    """The k nearest [f, k] of `rows` among their candidates (bool [f, n]), in float64, ties by index.

    A product in double precision settles most rows of many candidates; what it leaves open is measured pair by pair.
    """
    d = points.shape[1]
    if int(candidate.sum()) > 2 * (k + 1) * len(rows):
        score = (centred[rows] @ centred.T - half).masked_fill_(~candidate, -math.inf)
        error = 2 * 2.0**-52 * (d + 4) * (norm[rows] * norm.max() + half.max())
        value, index = score.topk(k + 1, dim=1)
        open_rows = (value[:, k - 1] - value[:, k] <= error).nonzero().flatten()
        index = index[:, :k]
        if len(open_rows):
            near = score[open_rows] >= (value[open_rows, k - 1] - error[open_rows])[:, None]
            index[open_rows] = _pair_by_pair(points, rows[open_rows], near, k, metric)
        return index
    return _pair_by_pair(points, rows, candidate, k, metric)


def _pair_by_pair(points: Tensor, rows: Tensor, candidate: Tensor, k: int, metric: str) -> Tensor:
    value = torch.full(candidate.shape, math.inf, dtype=torch.float64, device=points.device)
    row, column = candidate.nonzero(as_tuple=True)
    for r, c in zip(*(places.split(max(1, 2**20 // points.shape[1])) for places in (row, column)), strict=True):
        value[r, c] = pair_distance(points, rows[r], c, metric)
    return smallest(value, k)


def _square(points: Tensor, metric: str, p: float) -> Tensor:
    """All dissimilarities [n, n], each pair measured once: they are the same both ways, to the last bit."""
    n = len(points)
    found = points.new_empty(n, n)
    for start in range(0, n, 128):
        part = between(points[start : start + 128], points[start:], metric, p)
        found[start : start + 128, start:] = part
        found[start:, start : start + 128] = part.T
    return found


def _measured(points: Tensor, k: int, metric: str, p: float) -> Iterator[tuple[int, Tensor]]:
    """Blocks (start, indices [b, k]) by direct measurement in float64."""
    n = len(points)
    if metric != "precomputed" and n * n <= SQUARE:
        points, metric = _square(points, metric, p), "precomputed"
    block = max(1, min(n, 2**21 // n))
    for start in range(0, n, block):
        rows = points[start : start + block]
        value = rows.clone() if metric == "precomputed" else between(rows, points, metric, p)
        value[:, start : start + len(rows)].fill_diagonal_(math.inf)
        yield start, smallest(value, k)


def neighbour_blocks(
    points: Tensor, k: int, metric: str = "euclidean", p: float = 0.5, device: str | torch.device | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, indices): the k nearest neighbours [b, k] of points start .. start + b, as sets (in no order).

    Holds a few rows of distances at a time, never n x n. Arguments as in `k_occurrence`.
    """
    points = check_points(points, k, metric, p)
    k, points = int(k), prepare(points.to(_device(device)), metric)
    if metric not in ("euclidean", "cosine", "centred cosine", "inner product"):
        yield from _measured(points, k, metric, p)
    elif points.device.type == "cuda" and len(points) > 4 * ROWS:
        yield from _grouped(points, k, metric, split=torch.cuda.get_device_capability(points.device) >= (8, 0))
    else:
        yield from _screened(points, k, metric)


def _device(device: str | torch.device | None) -> torch.device:
    try:
        found = resolve(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, ValueError):
        raise Refusal(
            "{parameter} {given} is not there; leave it out for the best one present.",
            parameter="device",
            given=quoted(device),
        ) from None
    return torch.device("cpu") if found.type == "mps" else found  # no float64 on mps


def neighbours(
    points: Tensor, k: int, metric: str = "euclidean", p: float = 0.5, device: str | torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Indices int64 [n, k] and dissimilarities float64 [n, k] of the k nearest neighbours, nearest first, ties by index.

    The cosine metrics give 1 - cos, the inner product its negative. Arguments as in `k_occurrence`.
    """
    checked = check_points(points, k, metric, p)
    ready = prepare(checked, metric)
    indices, distances = [], []
    for start, block in neighbour_blocks(checked, k, metric, p, device):
        row = torch.arange(start, start + len(block), device=ready.device)[:, None]
        rows = max(1, 2**20 // (block.shape[1] * ready.shape[1]))  # whose gaps are held at a time
        for mine, index in zip(row.split(rows), block.to(ready.device).sort(dim=1).values.split(rows), strict=True):
            value = pair_distance(ready, mine, index, metric, p)
            order = value.sort(dim=1, stable=True).indices
            indices.append(index.gather(1, order))
            distances.append(value.gather(1, order))
    distance = torch.cat(distances)
    if metric in ("cosine", "centred cosine"):
        distance = distance.square() / 2
    elif metric in ("euclidean", "lp", "inner product"):
        distance = times_power(distance, exponent_of(checked))
        distance = times_power(distance, exponent_of(checked)) if metric == "inner product" else distance
    return torch.cat(indices), distance


def k_occurrence_steps(
    points: Tensor, k: int = 10, metric: str = "euclidean", p: float = 0.5, device: str | torch.device | None = None
) -> Iterator[Progress]:
    """`k_occurrence` with progress: step and total in points, the counts so far as the result."""
    points = as_points(points)
    counts = None
    for start, index in neighbour_blocks(points, k, metric, p, device):
        if counts is None:
            counts = torch.zeros(len(points), dtype=torch.int64, device=index.device)
        counts += torch.bincount(index.flatten(), minlength=len(points))
        yield Progress(start + len(index), len(points), counts.to(points.device))


def k_occurrence(
    points: Tensor,
    k: int = 10,
    metric: str = "euclidean",
    p: float = 0.5,
    device: str | torch.device | None = None,
) -> Tensor:
    """N_k of each point: how many others have it among their k nearest neighbours. int64 [n], summing to n k.

    points: [n, d], one point a row; for 'precomputed' the [n, n] dissimilarities (row i: from i to the others)
    k: neighbours a point has, 1 <= k < n
    metric: 'euclidean', 'cosine', 'centred cosine' (the mean subtracted first), 'inner product' (largest is nearest),
        'lp' with exponent p (fractional p too), 'torus' (Euclidean on the unit cube with opposite faces glued), 'precomputed'
    device: where to compute; None for the best one present

    Any real type and any finite magnitude: half precision, integers, everything scaled by 2^500. Raises Refusal on NaN or
    infinite rows, fewer than k + 1 points, unknown metrics, zero rows under a cosine, points outside the torus.
    """
    for progress in k_occurrence_steps(points, k, metric, p, device):
        counts = progress.result
    return counts
