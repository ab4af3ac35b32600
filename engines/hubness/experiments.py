"""What the exhibit shows: each function takes plain numbers and names, and returns arrays ready to be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, one_of, several_of, whole
from engines.hubness.data import LAWS, SETS, PointSet, draw_law, load_set
from engines.hubness.files import MOST_ROWS, Reading, read_points
from engines.hubness.measures import (
    Inequality,
    at_random,
    ball_volume,
    histogram,
    inequality,
    robin_hood,
    skewness,
    spearman,
)
from engines.hubness.nearest import METRICS, check_points, k_occurrence, k_occurrence_steps
from engines.hubness.reduction import METHODS, SCALING, reduced_k_occurrence
from engines.progress import Progress

DISTANCES = METRICS[:5]
MOST_SHOWN = 5_000
MOST_WORK = 4_000_000_000  # n^2 d of a fractional distance: some twenty seconds


def _refuse_slow(metric: str, n: int, d: int) -> None:
    if metric == "lp" and n * n * d > MOST_WORK:
        raise Refusal(
            "{parameter}: an Lp distance among {n} points in {d} dimensions is too slow here; take at most {most} points.",
            parameter="points",
            n=n,
            d=d,
            most=math.isqrt(MOST_WORK // d),
        )


@dataclass(frozen=True)
class Survey:
    """N_k of one set of points.

    data, metric, k, n, dimension: what was looked at; log_counts: whether to draw logarithmic counts
    counts: int32 [n], N_k of each point; unequal: its measures; random: those of random neighbours
    bin_left, bin_right: int32 [b], each bin holds left <= N_k < right; bin_points: int32 [b], points in it
    bin_binomial: float64 [b], points expected in it if neighbours were drawn at random (nearly Poisson with mean k)
    from_mean: float32 [n], Euclidean distance to the mean (cosine metrics: of the points scaled to length 1)
    rank_correlation: Spearman's, between from_mean and N_k
    cloud: float32 [n, 2], the points on their two leading principal directions
    hubs, antihubs: int32 [m], the most and least often chosen points, in order; hub_counts, antihub_counts: int32 [m], their
    N_k; hub_pictures, antihub_pictures: uint8
    [m, h, w] or [m, h, w, 3], or [0] without pictures; hub_texts, antihub_texts: m texts, or ()
    reading: Reading of the file, or None
    """

    data: str
    metric: str
    k: int
    n: int
    dimension: int
    log_counts: bool
    counts: np.ndarray
    unequal: Inequality
    random: Inequality
    bin_left: np.ndarray
    bin_right: np.ndarray
    bin_points: np.ndarray
    bin_binomial: np.ndarray
    from_mean: np.ndarray
    rank_correlation: float
    cloud: np.ndarray
    hubs: np.ndarray
    antihubs: np.ndarray
    hub_counts: np.ndarray
    antihub_counts: np.ndarray
    hub_pictures: np.ndarray
    antihub_pictures: np.ndarray
    hub_texts: tuple[str, ...]
    antihub_texts: tuple[str, ...]
    reading: Reading | None


def principal_plane(points: Tensor) -> Tensor:
    """The points, centred, on their two leading principal directions, float64 [n, 2] (subspace iteration, fixed start)."""
    centred = points - points.mean(0)
    if centred.shape[1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], dim=1)
    start = torch.randn(centred.shape[1], 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(start).Q
    for _ in range(16):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    plane = centred @ basis
    turn = torch.linalg.svd(plane, full_matrices=False).Vh
    return plane @ turn.T


def _describe(
    found: PointSet,
    counts: Tensor,
    data: str,
    k: int,
    metric: str,
    log_counts: bool,
    reading: Reading | None = None,
    most: int = 12,
) -> Survey:
    points = torch.from_numpy(found.points)
    seen = (
        points / points.norm(dim=1, keepdim=True).clamp_min(1e-300) if metric == "cosine" else points - points.mean(0)
    )
    if metric == "centred cosine":
        seen = seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-300)
    from_mean = (seen - seen.mean(0)).norm(dim=1)
    left, right, held, expected = histogram(counts, k)
    order = counts.sort(stable=True, descending=True).indices
    most = min(most, len(counts) // 2)
    hubs, antihubs = order[:most].numpy(), order.flip(0)[:most].numpy()
    pictures, texts = found.pictures, found.texts
    none = np.zeros(0, np.uint8)
    shown = np.arange(len(counts))
    if len(counts) > MOST_SHOWN:  # a cloud that a browser can hold, hubs included
        shown = np.union1d(np.random.RandomState(0).permutation(len(counts))[:MOST_SHOWN], hubs)
    return Survey(
        data=data,
        metric=metric,
        k=k,
        n=len(counts),
        dimension=points.shape[1],
        log_counts=log_counts,
        counts=counts.numpy()[shown].astype(np.int32),
        unequal=inequality(counts, k),
        random=at_random(len(counts), k),
        bin_left=left,
        bin_right=right,
        bin_points=held,
        bin_binomial=expected,
        from_mean=from_mean.numpy()[shown].astype(np.float32),
        rank_correlation=spearman(from_mean, counts),
        cloud=principal_plane(points).numpy()[shown].astype(np.float32),
        hubs=hubs.astype(np.int32),
        antihubs=antihubs.astype(np.int32),
        hub_counts=counts.numpy()[hubs].astype(np.int32),
        antihub_counts=counts.numpy()[antihubs].astype(np.int32),
        hub_pictures=none if pictures is None else pictures[hubs],
        antihub_pictures=none if pictures is None else pictures[antihubs],
        hub_texts=tuple(texts[i] for i in hubs) if texts else (),
        antihub_texts=tuple(texts[i] for i in antihubs) if texts else (),
        reading=reading,
    )


def survey(
    data: str = "normal",
    dimension: int = 100,
    intrinsic: int = 0,
    points: int = 2000,
    k: int = 10,
    metric: str = "euclidean",
    p: float = 0.5,
    log_counts: bool = True,
    seed: int = 0,
) -> Survey:
    """N_k of a set of points: its histogram, measures, hubs and antihubs (Radovanović et al. 2010, section 2).

    data: uniform, normal, sphere, mixture (with `dimension`, and `intrinsic` dimensions, 0 for all), digits, emoji, sentences
    points: how many, 20 .. 5,000; k: 1 .. 100; metric, p: as in `k_occurrence`; log_counts: for the drawing
    """
    one_of("data", data, SETS)
    n, k = whole("points", points, 20, MOST_SHOWN), whole("k", k, 1, 100)
    d = whole("dimension", dimension, 1, 1000)
    m = whole("intrinsic", intrinsic, 0, 1000)
    one_of("metric", metric, DISTANCES)
    found = load_set(data, n, d, m, whole("seed", seed, 0, 2**31 - 1))
    p = number("p", p, 0.1, 10)
    _refuse_slow(metric, *found.points.shape)
    counts = k_occurrence(torch.from_numpy(found.points), k, metric, p)
    return _describe(found, counts, data, k, metric, bool(log_counts))


def survey_file(
    path: str | None = None, k: int = 10, metric: str = "euclidean", p: float = 0.5, log_counts: bool = True
) -> Iterator[Progress]:
    """N_k of a reader's own points, with progress: as `survey`, on a .npy, .npz or .csv of up to 100,000 rows.

    path: the file, or None for the built-in sentences. `counts`, `from_mean` and `cloud` of more than 5,000 points are a
    random 5,000 of them and the hubs; all measures are over all points.
    """
    k = whole("k", k, 1, 100)
    one_of("metric", metric, DISTANCES)
    p = number("p", p, 0.1, 10)
    table = None if path is None else read_points(path)
    found = load_set("sentences", MOST_ROWS) if table is None else PointSet(table.points, texts=table.labels)
    reading = None if table is None else table.reading
    n, d = found.points.shape
    _refuse_slow(metric, n, d)
    points = torch.from_numpy(found.points)
    data = "sentences" if path is None else "your file"
    for step in k_occurrence_steps(points, k, metric, p):
        last = step.step == n
        yield step._replace(
            result=_describe(found, step.result, data, k, metric, bool(log_counts), reading) if last else None
        )


@dataclass(frozen=True)
class SkewnessCurve:
    """Skewness of N_k against dimension.

    laws: the laws; dimensions: int32 [j]; points, k, metric: as asked
    skewness, robin_hood: float64 [laws, j, seeds]; nan where not computed yet
    """

    laws: tuple[str, ...]
    dimensions: np.ndarray
    points: int
    k: int
    metric: str
    skewness: np.ndarray
    robin_hood: np.ndarray


DIMENSIONS = (2, 3, 5, 10, 20, 50, 100, 200)


def skewness_against_dimension(
    laws: Sequence[str] = ("uniform", "normal", "sphere"),
    metric: str = "euclidean",
    p: float = 0.5,
    sample: int = 2000,
    neighbours: int = 5,
    seeds: int = 3,
    seed: int = 0,
) -> Iterator[Progress]:
    """Skewness of N_k as the dimension grows, for each law and seed; one report a dimension.

    laws: of uniform, normal, sphere, mixture; seeds: 1 .. 10 sets a law; sample: 20 .. 10,000 points each; neighbours: k
    After Radovanović, Nanopoulos and Ivanović 2009 (ICML) and 2010 (JMLR, section 2.1).
    """
    laws = tuple(several_of("laws", laws, LAWS, len(LAWS)))
    k = whole("neighbours", neighbours, 1, 100)
    n = whole("sample", sample, k + 1, 10_000)
    seeds, seed = whole("seeds", seeds, 1, 10), whole("seed", seed, 0, 2**31 - 1001)
    one_of("metric", metric, DISTANCES)
    p = number("p", p, 0.1, 10)
    _refuse_slow(metric, n, 400 * len(laws) * seeds)  # the dimensions add up to about 400
    skew = np.full((len(laws), len(DIMENSIONS), seeds), np.nan)
    robin = skew.copy()

    def state() -> SkewnessCurve:
        return SkewnessCurve(
            laws,
            np.array(DIMENSIONS, np.int32),
            n,
            k,
            metric,
            skew.copy(),
            robin.copy(),
        )

    for j, d in enumerate(DIMENSIONS):
        for i, law in enumerate(laws):
            for s in range(seeds):
                counts = k_occurrence(torch.from_numpy(draw_law(law, n, d, 0, seed + s)), k, metric, p)
                skew[i, j, s], robin[i, j, s] = skewness(counts), robin_hood(counts, k)
        yield Progress(j + 1, len(DIMENSIONS), state())


@dataclass(frozen=True)
class Reductions:
    """N_k before and after hubness reductions.

    data, n, dimension, k: what was looked at; methods: the reductions, 'none' (plain Euclidean) first
    counts: int32 [methods, n]; unequal: one set of measures a method
    """

    data: str
    n: int
    dimension: int
    k: int
    methods: tuple[str, ...]
    counts: np.ndarray
    unequal: tuple[Inequality, ...]


def compare_reductions(
    data: str = "normal",
    dimension: int = 100,
    intrinsic: int = 0,
    few_points: int = 1000,
    k: int = 10,
    methods: Sequence[str] = (
        "mutual proximity",
        "local scaling",
        "nicdm",
        "dissimlocal",
        "csls",
        "centring",
        "cosine",
    ),
    seed: int = 0,
) -> Reductions:
    """N_k under each secondary dissimilarity of `reduce`, beside the plain Euclidean distance.

    data, dimension, intrinsic: as in `survey`; few_points: 20 .. 3,000; methods: keys of METHODS
    """
    one_of("data", data, SETS)
    methods = ("none", *(m for m in several_of("methods", methods, METHODS, len(METHODS)) if m != "none"))
    n, k = whole("few_points", few_points, 20, 3000), whole("k", k, 1, 100)
    d, m = whole("dimension", dimension, 1, 1000), whole("intrinsic", intrinsic, 0, 1000)
    found = load_set(data, n, d, m, whole("seed", seed, 0, 2**31 - 1))
    cloud = torch.from_numpy(found.points)
    n = len(cloud)
    check_points(cloud, k)
    plain = torch.cdist(cloud, cloud, compute_mode="donot_use_mm_for_euclid_dist")
    counts = [
        reduced_k_occurrence(plain, k, method, "precomputed")
        if method in SCALING
        else reduced_k_occurrence(cloud, k, method)
        for method in methods
    ]
    return Reductions(
        data,
        n,
        cloud.shape[1],
        k,
        methods,
        torch.stack(counts).numpy().astype(np.int32),
        tuple(inequality(c, k) for c in counts),
    )


@dataclass(frozen=True)
class Concentration:
    """Distances between independent points as the dimension grows, and the ball in its cube.

    law, pairs: as asked; dimensions: int32 [j]; exponents: float64 [p], inf for the maximum norm
    spread: float64 [p, j], standard deviation over mean of the distance of two points
    contrast: float64 [p, j], (farthest - nearest) / nearest among `pairs` distances from one point
    bin_edges: float64 [b + 1], distance over its mean; bin_density: float64 [shown, b], Euclidean distances at `shown` dimensions
    shown: int32 [shown]
    limit: float64 [j], 1 / sqrt(2 d) for the normal law's Euclidean spread, nan elsewhere
    ball_dimension: int32 [m]; ball_volume: float64 [m], of the unit ball; ball_share: float64 [m], of its cube [-1, 1]^d
    shell: float64 [m], share of the ball's volume within `rim` of its surface; rim: float
    """

    law: str
    pairs: int
    dimensions: np.ndarray
    exponents: np.ndarray
    spread: np.ndarray
    contrast: np.ndarray
    bin_edges: np.ndarray
    bin_density: np.ndarray
    shown: np.ndarray
    limit: np.ndarray
    ball_dimension: np.ndarray
    ball_volume: np.ndarray
    ball_share: np.ndarray
    shell: np.ndarray
    rim: float


def concentration(law: str = "uniform", pairs: int = 2000, rim: float = 0.1, seed: int = 0) -> Concentration:
    """How distances concentrate, in four norms, and how the ball vanishes from its cube.

    Beyer, Goldstein, Ramakrishnan and Shaft 1999 for the contrast; Aggarwal, Hinneburg and Keim 2001 for fractional norms;
    Su Jianlin, kexue.fm/archives/9147, for the ball: V_d = pi^(d/2) / Gamma(d/2 + 1) against 2^d.

    pairs: 100 .. 5,000 distances a dimension; rim: 0.001 .. 0.9 of the radius
    """
    one_of("law", law, LAWS)
    pairs, seed = whole("pairs", pairs, 100, 5000), whole("seed", seed, 0, 2**31 - 1)
    rim = number("rim", rim, 0.001, 0.9)
    dimensions = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
    shown = (1, 3, 10, 100, 500)
    exponents = (0.5, 1.0, 2.0, math.inf)
    spread, contrast = np.zeros((2, len(exponents), len(dimensions)))
    edges = np.linspace(0, 2.5, 51)
    density = np.zeros((len(shown), len(edges) - 1))
    for j, d in enumerate(dimensions):
        a, b = torch.from_numpy(draw_law(law, 2 * pairs, d, 0, seed)).chunk(2)
        for i, power in enumerate(exponents):
            distance = torch.linalg.vector_norm(a - b, ord=power, dim=1)
            spread[i, j] = distance.std() / distance.mean()
            # From the first point; two draws that coincide would make the nearest zero.
            around = torch.linalg.vector_norm(b - a[0], ord=power, dim=1)
            contrast[i, j] = (around.max() - around.min()) / around.min().clamp_min(1e-12)
            if power == 2 and d in shown:
                scaled = (distance / distance.mean()).numpy()
                density[shown.index(d)] = np.histogram(scaled, edges)[0] / (pairs * np.diff(edges))
    size = torch.arange(1, 51)
    volume = ball_volume(size)
    every = np.array(dimensions)
    return Concentration(
        law=law,
        pairs=pairs,
        dimensions=every.astype(np.int32),
        exponents=np.array(exponents),
        spread=spread,
        contrast=contrast,
        bin_edges=edges,
        bin_density=density,
        shown=np.array(shown, np.int32),
        limit=1 / np.sqrt(2 * every) if law == "normal" else np.full(len(every), np.nan),
        ball_dimension=size.numpy().astype(np.int32),
        ball_volume=volume.numpy(),
        ball_share=(volume / 2.0**size).numpy(),
        shell=1 - (1 - rim) ** size.numpy().astype(float),
        rim=rim,
    )


@dataclass(frozen=True)
class Boundary:
    """Hubness with and without a density gradient.

    places: where the points live, dimensions: int32 [j], skewness: float64 [places, j], nan where not computed yet; k, points
    share: float, neighbours over points in the flat pictures; flat_k: that many
    flat: float32 [3, points, 2], a square, the same square with its opposite sides glued, a Gaussian
    flat_counts: int32 [3, points], N_k there with k = flat_k; flat_robin_hood: float64 [3]
    """

    places: tuple[str, ...]
    dimensions: np.ndarray
    skewness: np.ndarray
    k: int
    points: int
    share: float
    flat: np.ndarray
    flat_counts: np.ndarray
    flat_robin_hood: np.ndarray
    flat_k: int


PLACES = ("cube", "glued cube", "sphere", "ball", "normal")
FLAT = ("square", "glued square", "normal")


def _place(place: str, n: int, d: int, seed: int) -> np.ndarray:
    if place in ("cube", "glued cube"):
        return draw_law("uniform", n, d, 0, seed)
    if place == "sphere":  # of d dimensions, in d + 1
        return draw_law("sphere", n, d + 1, 0, seed)
    if place == "ball":
        radius = np.random.RandomState(seed + 1).uniform(size=(n, 1)) ** (1 / d)
        return draw_law("sphere", n, d, 0, seed) * radius
    return draw_law("normal", n, d, 0, seed)


def boundary(few_points: int = 1000, k: int = 10, share: float = 0.3, seed: int = 0) -> Iterator[Progress]:
    """Is hubness a fact of high dimension, or of edges and density gradients? Skewness by dimension, with and without edges.

    Low, Borgelt, Stober and Nürnberger 2013, "The Hubness Phenomenon: Fact or Artifact?": points spread evenly on a space
    without edges (a cube with opposite faces glued, a sphere) have no central place, and no hubs in any dimension; and with k
    comparable to the number of points, a square in the plane has them.

    few_points: 50 .. 2,000; share: 0.01 .. 0.9, k over points in the flat pictures
    """
    n, k = whole("few_points", few_points, 50, 2000), whole("k", k, 1, 49)
    share, seed = number("share", share, 0.01, 0.9), whole("seed", seed, 0, 2**31 - 2)
    dimensions = (2, 3, 5, 10, 20, 50, 100)
    flat_k = max(1, min(n - 1, round(share * n)))
    flat = np.stack([_place(place, n, 2, seed) for place in ("cube", "glued cube", "normal")])
    flat_counts = torch.stack(
        [k_occurrence(torch.from_numpy(x), flat_k, "torus" if i == 1 else "euclidean") for i, x in enumerate(flat)]
    )
    skew = np.full((len(PLACES), len(dimensions)), np.nan)
    for j, d in enumerate(dimensions):
        for i, place in enumerate(PLACES):
            metric = "torus" if place == "glued cube" else "euclidean"
            skew[i, j] = skewness(k_occurrence(torch.from_numpy(_place(place, n, d, seed)), k, metric))
        yield Progress(
            j + 1,
            len(dimensions),
            Boundary(
                PLACES,
                np.array(dimensions, np.int32),
                skew.copy(),
                k,
                n,
                share,
                flat.astype(np.float32),
                flat_counts.numpy().astype(np.int32),
                np.array([robin_hood(c, flat_k) for c in flat_counts]),
                flat_k,
            ),
        )
