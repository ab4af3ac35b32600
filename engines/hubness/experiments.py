"""What the exhibit shows: each function takes plain numbers and names, and returns arrays ready to be drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, OneOf, Refusal, SomeOf, checked
from engines.hubness.data import LAWS, SETS, draw_law, load_set
from engines.hubness.files import Reading
from engines.hubness.measures import (
    Inequality,
    antihub_rate,
    at_random,
    ball_volume,
    histogram,
    inequality,
    robin_hood,
    skewness,
    spearman,
    top_share,
)
from engines.hubness.nearest import METRICS, as_points, check_points, k_occurrence, neighbour_blocks, prepare
from engines.hubness.reduction import METHODS, SCALING, reduced_k_occurrence
from engines.progress import Progress

DISTANCES = METRICS[:5]
SHOWN = 12  # hubs and antihubs that are shown
MOST_LIVE = 5e9  # n^2 (d + 100): about a second
MOST_REDUCED = 4e9  # n^2 d of all distances in float64: three seconds, and a method takes up to twice that
MOST_LP = 4e8  # n^2 d of an Lp distance: about as long


@dataclass(frozen=True)
class Survey:
    """N_k of one set of points.

    data: str; the set
    metric: str; the distance
    k: int; neighbours of a point
    n: int; number of points
    dimension: int; coordinates of a point
    counts: int32 [n]; N_k of each point
    unequal: Inequality; its measures
    random: Inequality; those of random neighbours
    bin_left, bin_right: int32 [b]; a bin holds left <= N_k < right
    bin_points: int32 [b]; points in it
    bin_binomial: float64 [b]; points expected in it if neighbours were chosen at random (nearly Poisson with mean k)
    from_mean: float64 [n]; Euclidean distance to the mean (cosine metrics: of the points scaled to length 1)
    rank_correlation: float; Spearman's, between from_mean and N_k
    plane: float64 [n, 2]; the points on their two leading principal directions
    hubs: int32 [m]; the points with the greatest N_k, greatest first
    antihubs: int32 [m]; those with the least, least first
    followers: int32 [m, f]; the points that have each hub among their k nearest, then -1
    hub_pictures, antihub_pictures: uint8 [m, h, w] or [m, h, w, 3]; what they look like, or [0]
    hub_texts, antihub_texts: tuples of m texts; what they say, or ()
    chosen: int32 [n]; the points' numbers in the whole set, from 0
    reading: Reading of a file, or None
    """

    data: str
    metric: str
    k: int
    n: int
    dimension: int
    counts: np.ndarray
    unequal: Inequality
    random: Inequality
    bin_left: np.ndarray
    bin_right: np.ndarray
    bin_points: np.ndarray
    bin_binomial: np.ndarray
    from_mean: np.ndarray
    rank_correlation: float
    plane: np.ndarray
    hubs: np.ndarray
    antihubs: np.ndarray
    followers: np.ndarray
    hub_pictures: np.ndarray
    antihub_pictures: np.ndarray
    hub_texts: tuple[str, ...]
    antihub_texts: tuple[str, ...]
    chosen: np.ndarray
    reading: Reading | None


def principal_plane(points: Tensor) -> Tensor:
    """The points [n, d], centred, on their two leading principal directions, float64 [n, 2] (subspace iteration, fixed start)."""
    points = as_points(points)
    centred = points - points.mean(0)
    if centred.shape[1] == 1:
        return torch.cat([centred, torch.zeros_like(centred)], dim=1)
    size = float(centred.abs().max()) or 1.0
    basis = torch.randn(centred.shape[1], 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(16):
        basis = torch.linalg.qr(basis).Q
        basis = (centred / size).T @ ((centred / size) @ basis)
    plane = (centred / size) @ torch.linalg.qr(basis).Q
    return size * (plane @ torch.linalg.svd(plane, full_matrices=False).Vh.T)


def distance_to_mean(points: Tensor, metric: str) -> Tensor:
    """Euclidean distance of each point to the mean of all, float64 [n]; under a cosine, of the points scaled to length 1."""
    if "cosine" in metric:
        points = prepare(points, metric)
    return (points - points.mean(0)).norm(dim=1)


@checked
def survey(
    data: Annotated[str, OneOf(SETS)] = "emoji",
    points: Annotated[int, Between(20, 5000)] = 2000,
    k: Annotated[int, Between(1, 49)] = 10,
    metric: Annotated[str, OneOf(DISTANCES)] = "euclidean",
    dimension: Annotated[int, Between(1, 1000)] = 100,
    intrinsic: Annotated[int, Between(0, 1000)] = 0,
    p: Annotated[float, Between(0.1, 10)] = 0.5,
    path: str | None = None,
    array: Annotated[str, Characters(200)] = "",
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Survey:
    """N_k of a set of points: its histogram and measures, hubs and antihubs (Radovanović et al. 2010, section 2).

    data: a distribution (uniform, normal, sphere, mixture) in `intrinsic` dimensions (0: all) turned into `dimension`; digits, emoji,
        sentences; or the file at `path` (`array` of an .npz), see `read_points`
    points: how many; of an embedded set or a file at most that many, chosen by the seed
    metric, p: as in `k_occurrence`
    """
    inner = min(intrinsic, dimension) or dimension
    if data in LAWS and "cosine" in metric and inner == 1:
        raise Refusal(
            "{parameter}: in one dimension every angle is 0° or 180°; choose another distance.", parameter="metric"
        )
    if data in LAWS:
        refuse_slow(metric, points, dimension)
    found = load_set(data, points, dimension, intrinsic, seed, path, array)
    cloud = torch.from_numpy(found.points)
    n, d = cloud.shape
    refuse_slow(metric, n, d)
    index = torch.cat([block.cpu() for _, block in neighbour_blocks(cloud, k, metric, p)])
    counts = torch.bincount(index.flatten(), minlength=n)
    from_mean = distance_to_mean(cloud, metric)
    left, right, held, expected = histogram(counts, k)
    order = counts.sort(stable=True, descending=True).indices
    most = min(SHOWN, n // 2)
    hubs, antihubs = order[:most], order.flip(0)[:most]
    following = [(index == hub).any(1).nonzero().flatten() for hub in hubs]
    followers = torch.nn.utils.rnn.pad_sequence(following, batch_first=True, padding_value=-1)
    none = np.zeros(0, np.uint8)
    return Survey(
        data=data,
        metric=metric,
        k=k,
        n=n,
        dimension=d,
        counts=counts.numpy().astype(np.int32),
        unequal=inequality(counts, k),
        random=at_random(n, k),
        bin_left=left,
        bin_right=right,
        bin_points=held,
        bin_binomial=expected,
        from_mean=from_mean.numpy(),
        rank_correlation=spearman(from_mean, counts),
        plane=principal_plane(cloud).numpy(),
        hubs=hubs.numpy().astype(np.int32),
        antihubs=antihubs.numpy().astype(np.int32),
        followers=followers.numpy().astype(np.int32),
        hub_pictures=none if found.pictures is None else found.pictures[hubs],
        antihub_pictures=none if found.pictures is None else found.pictures[antihubs],
        hub_texts=tuple(found.texts[i] for i in hubs) if found.texts else (),
        antihub_texts=tuple(found.texts[i] for i in antihubs) if found.texts else (),
        chosen=found.chosen,
        reading=found.reading,
    )


def refuse_slow(metric: str, n: int, d: int) -> None:
    """A Refusal of more points than are compared in about a second."""
    most = math.sqrt(MOST_LP / d if metric == "lp" else MOST_LIVE / (d + 100))
    if n > most:
        raise Refusal(
            "{parameter}: {n} in {d} dimensions take too long here; take at most {most}.",
            parameter="points",
            n=n,
            d=d,
            most=int(most),
        )


DIMENSIONS = (2, 3, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class SkewnessCurve:
    """How unequal N_k is against dimension.

    laws: tuple of keys of LAWS
    dimensions: int32 [j]
    points: int; points of a set
    k: int; neighbours of a point
    metric: str; the distance
    skewness: float64 [distributions, j, seeds]; nan where not computed yet
    robin_hood: float64 [distributions, j, seeds]; nan where not computed yet
    top_fifth: float64 [distributions, j, seeds]; share of the slots held by the fifth with the greatest N_k, likewise
    antihubs: float64 [distributions, j, seeds]; share of the points with N_k = 0, likewise
    """

    laws: tuple[str, ...]
    dimensions: np.ndarray
    points: int
    k: int
    metric: str
    skewness: np.ndarray
    robin_hood: np.ndarray
    top_fifth: np.ndarray
    antihubs: np.ndarray


@checked
def skewness_against_dimension(
    laws: Annotated[Sequence[str], SomeOf(LAWS)] = ("uniform", "normal", "sphere"),
    points: Annotated[int, Between(100, 10_000)] = 2000,
    k: Annotated[int, Between(1, 50)] = 5,
    seeds: Annotated[int, Between(1, 10)] = 3,
    metric: Annotated[str, OneOf(DISTANCES)] = "euclidean",
    p: Annotated[float, Between(0.1, 10)] = 0.5,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[SkewnessCurve]]:
    """Skewness and other measures of N_k as the dimension grows, for each distribution and seed; a report a set, the curve a dimension.

    seeds: sets drawn of each distribution, with seeds `seed`, `seed` + 1, ...
    After Radovanović, Nanopoulos and Ivanović 2009 (ICML) and 2010 (JMLR, section 2.1).
    """
    work = sum(DIMENSIONS) * len(laws) * seeds
    if metric == "lp" and points**2 * work > 100 * MOST_LP:
        raise Refusal(
            "{parameter}: an Lp distance among {n} points takes too long here; take at most {most}, or fewer seeds.",
            parameter="points",
            n=points,
            most=math.isqrt(int(100 * MOST_LP / work)),
        )
    measures = (skewness, lambda counts: robin_hood(counts, k), top_share, antihub_rate)
    found = np.full((len(measures), len(laws), len(DIMENSIONS), seeds), np.nan)
    sets = list(itertools.product(enumerate(DIMENSIONS), enumerate(laws), range(seeds)))
    for done, ((j, d), (i, law), s) in enumerate(sets, 1):
        counts = k_occurrence(torch.from_numpy(draw_law(law, points, d, 0, seed + s)), k, metric, p)
        found[:, i, j, s] = [measure(counts) for measure in measures]
        curve = None
        if done % (len(laws) * seeds) == 0:
            curve = SkewnessCurve(tuple(laws), np.array(DIMENSIONS, np.int32), points, k, metric, *found.copy())
        yield Progress(done, len(sets), curve)


@dataclass(frozen=True)
class Reductions:
    """N_k before and after hubness reductions.

    data: str; the set
    n: int; number of points
    dimension: int; coordinates of a point
    k: int; neighbours of a point
    methods: tuple of keys of METHODS; 'none' (plain Euclidean) first, those computed so far
    counts: int32 [methods, n]; N_k of each point under each
    unequal: tuple of Inequality; the measures of each
    """

    data: str
    n: int
    dimension: int
    k: int
    methods: tuple[str, ...]
    counts: np.ndarray
    unequal: tuple[Inequality, ...]


@checked
def compare_reductions(
    data: Annotated[str, OneOf(SETS)] = "emoji",
    points: Annotated[int, Between(20, 3000)] = 1000,
    k: Annotated[int, Between(1, 49)] = 10,
    methods: Annotated[Sequence[str], SomeOf(METHODS)] = (
        "mutual proximity",
        "local scaling",
        "nicdm",
        "dissimlocal",
        "csls",
        "centring",
        "cosine",
    ),
    dimension: Annotated[int, Between(1, 1000)] = 100,
    intrinsic: Annotated[int, Between(0, 1000)] = 0,
    path: str | None = None,
    array: Annotated[str, Characters(200)] = "",
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[Reductions]]:
    """N_k under each secondary dissimilarity of `reduce`, beside the plain Euclidean distance; a report a method.

    data, points, dimension, intrinsic, path, array: as in `survey`
    """
    methods = ("none", *(method for method in methods if method != "none"))
    found = load_set(data, points, dimension, intrinsic, seed, path, array)
    cloud = check_points(torch.from_numpy(found.points), k)
    n, d = cloud.shape
    if n * n * d > MOST_REDUCED:
        raise Refusal(
            "{parameter}: {n} in {d} dimensions take too long here; take at most {most}.",
            parameter="points",
            n=n,
            d=d,
            most=math.isqrt(int(MOST_REDUCED / d)),
        )
    plain = torch.cdist(cloud, cloud, compute_mode="donot_use_mm_for_euclid_dist")
    counts: list[Tensor] = []
    for method in methods:
        scaled = method in SCALING and method != "none"
        counts.append(
            reduced_k_occurrence(plain if scaled else cloud, k, method, "precomputed" if scaled else "euclidean")
        )
        result = Reductions(
            data,
            len(cloud),
            cloud.shape[1],
            k,
            methods[: len(counts)],
            torch.stack(counts).numpy().astype(np.int32),
            tuple(inequality(c, k) for c in counts),
        )
        yield Progress(len(counts), len(methods), result)


@dataclass(frozen=True)
class Concentration:
    """Distances and angles between independent points as the dimension grows, and the ball in its cube.

    law: str; key of LAWS
    pairs: int; distances a dimension
    dimensions: int32 [j]
    exponents: float64 [p]; of the norms, inf for the maximum
    spread: float64 [p, j]; standard deviation over mean of the distance of two points
    contrast: float64 [p, j]; (farthest - nearest) / nearest among `pairs` distances from one point
    bin_edges: float64 [b + 1]; distance over its mean
    bin_density: float64 [shown, b]; of Euclidean distances at the dimensions `shown`
    shown: int32 [shown]
    angle_edges: float64 [a + 1]; degrees, from the origin
    angle_density: float64 [shown, a]; of the angle of two points, per degree
    angle_law: float64 [shown, a]; its density for directions at random, sin^(d - 2), averaged over each bin; nan for d = 1
    cosine_spread: float64 [j]; standard deviation of the cosine of that angle
    angle_limit: float; degrees, where all angles tend to; nan for the mixture
    limit: float64 [j]; 1 / sqrt(2 d) for the normal distribution's Euclidean spread, nan elsewhere
    ball_dimension: int32 [m]
    ball_volume: float64 [m]; of the unit ball
    ball_share: float64 [m]; of the ball in its cube [-1, 1]^d
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
    angle_edges: np.ndarray
    angle_density: np.ndarray
    angle_law: np.ndarray
    cosine_spread: np.ndarray
    angle_limit: float
    limit: np.ndarray
    ball_dimension: np.ndarray
    ball_volume: np.ndarray
    ball_share: np.ndarray


@checked
def concentration(
    law: Annotated[str, OneOf(LAWS)] = "uniform",
    pairs: Annotated[int, Between(100, 5000)] = 2000,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Concentration:
    """How distances concentrate, in four norms, and angles; and how the ball vanishes from its cube.

    Two directions at random in d dimensions enclose an angle of density sin^(d - 2); the cosine has variance 1 / d.

    Beyer, Goldstein, Ramakrishnan and Shaft 1999 for the contrast; Aggarwal, Hinneburg and Keim 2001 for fractional norms;
    Su Jianlin, kexue.fm/archives/9147, for the ball: V_d = pi^(d/2) / Gamma(d/2 + 1) against 2^d.
    """
    dimensions = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
    shown = (1, 3, 10, 100, 500)
    exponents = (0.5, 1.0, 2.0, math.inf)
    spread, contrast = np.zeros((2, len(exponents), len(dimensions)))
    edges = np.linspace(0, 2.5, 51)
    density = np.zeros((len(shown), len(edges) - 1))
    angle_edges = np.linspace(0, 180, 91)
    angle_density, cosine_spread = np.zeros((len(shown), len(angle_edges) - 1)), np.zeros(len(dimensions))
    for j, d in enumerate(dimensions):
        a, b = torch.from_numpy(draw_law(law, 2 * pairs, d, 0, seed)).chunk(2)
        cosine = torch.nn.functional.cosine_similarity(a, b)
        cosine_spread[j] = cosine.std()
        if d in shown:
            degrees = cosine.clamp(-1, 1).arccos().rad2deg().numpy()
            angle_density[shown.index(d)] = np.histogram(degrees, angle_edges)[0] / (pairs * np.diff(angle_edges))
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
        angle_edges=angle_edges,
        angle_density=angle_density,
        angle_law=np.stack([_angle_law(d, angle_edges) for d in shown]),
        cosine_spread=cosine_spread,
        angle_limit={"uniform": math.degrees(math.acos(3 / 4)), "mixture": math.nan}.get(law, 90.0),
        limit=1 / np.sqrt(2 * every) if law == "normal" else np.full(len(every), np.nan),
        ball_dimension=size.numpy().astype(np.int32),
        ball_volume=volume.numpy(),
        ball_share=(volume / 2.0**size).numpy(),
    )


def _angle_law(d: int, edges: np.ndarray) -> np.ndarray:
    """Density per degree of the angle of two directions at random, mean over each bin."""
    if d == 1:
        return np.full(len(edges) - 1, np.nan)
    import scipy.special  # a second to load

    # (1 - cos) / 2 of the angle has a beta distribution
    below = scipy.special.betainc((d - 1) / 2, (d - 1) / 2, (1 - np.cos(np.radians(edges))) / 2)
    return np.diff(below) / np.diff(edges)


PLACES = ("cube", "glued cube", "sphere", "ball", "normal")
FLAT = ("square", "glued square", "normal")


@dataclass(frozen=True)
class Boundary:
    """Hubness with and without a density gradient.

    places: PLACES; where the points live
    dimensions: int32 [j]
    skewness: float64 [places, j]; nan where not computed yet
    k: int; neighbours of a point
    points: int; points of a set
    share: float; neighbours over points in the planes
    flat: float64 [3, points, 2]; a square, the same square with its opposite sides glued, a Gaussian (FLAT)
    flat_counts: int32 [3, points]; N_k there with k = flat_k
    flat_robin_hood: float64 [3]
    flat_k: int; neighbours of a point there
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


def _place(place: str, n: int, d: int, seed: int) -> np.ndarray:
    if place in ("cube", "glued cube"):
        return draw_law("uniform", n, d, 0, seed)
    if place == "sphere":  # of d dimensions, in d + 1
        return draw_law("sphere", n, d + 1, 0, seed)
    if place == "ball":
        radius = np.random.RandomState(seed + 1).uniform(size=(n, 1)) ** (1 / d)
        return draw_law("sphere", n, d, 0, seed) * radius
    return draw_law("normal", n, d, 0, seed)


@checked
def boundary(
    points: Annotated[int, Between(50, 2000)] = 1000,
    k: Annotated[int, Between(1, 49)] = 10,
    share: Annotated[float, Between(0.01, 0.9)] = 0.3,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[Boundary]]:
    """Skewness of N_k by dimension, in places with and without an edge; a report a dimension.

    Low, Borgelt, Stober and Nürnberger 2013, "The Hubness Phenomenon: Fact or Artifact?": points spread evenly on a space
    without edges (a cube with opposite faces glued, a sphere) have no central place, and no hubs in any dimension; and with k
    comparable to the number of points, a square in the plane has them.

    share: k over points in the planes
    """
    dimensions = (2, 3, 5, 10, 20, 50, 100)
    flat_k = max(1, min(points - 1, round(share * points)))
    flat = np.stack([_place(place, points, 2, seed) for place in ("cube", "glued cube", "normal")])
    flat_counts = torch.stack(
        [k_occurrence(torch.from_numpy(x), flat_k, "torus" if i == 1 else "euclidean") for i, x in enumerate(flat)]
    )
    skew = np.full((len(PLACES), len(dimensions)), np.nan)
    for j, d in enumerate(dimensions):
        for i, place in enumerate(PLACES):
            metric = "torus" if place == "glued cube" else "euclidean"
            skew[i, j] = skewness(k_occurrence(torch.from_numpy(_place(place, points, d, seed)), k, metric))
        result = Boundary(
            PLACES,
            np.array(dimensions, np.int32),
            skew.copy(),
            k,
            points,
            share,
            flat,
            flat_counts.numpy().astype(np.int32),
            np.array([robin_hood(c, flat_k) for c in flat_counts]),
            flat_k,
        )
        yield Progress(j + 1, len(dimensions), result)
