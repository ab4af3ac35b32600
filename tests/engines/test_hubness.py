"""N_k, its measures and the reductions, against enumeration, scipy and published figures."""

import inspect
import itertools
import math
import re

import numpy as np
import pytest
import scipy.spatial.distance as ssd
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engines.hubness
from engines.hubness import (
    METHODS,
    antihub_rate,
    binomial,
    hub_occurrence,
    k_occurrence,
    k_occurrence_steps,
    nearest,
    neighbours,
    reduce,
    reduced_k_occurrence,
    robin_hood,
    skewness,
    spearman,
)
from engines.hubness.data import ASSETS, draw_law, load_set
from engines.hubness.experiments import principal_plane
from engines.hubness.measures import at_random, ball_volume, histogram, inequality

METRICS = ("euclidean", "cosine", "centred cosine", "inner product", "lp")


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).normal(size=(n, d)))


def dissimilarity(x: np.ndarray, metric: str, p: float = 0.5) -> np.ndarray:
    """All pairs, by scipy."""
    if metric == "centred cosine":
        return ssd.cdist(x - x.mean(0), x - x.mean(0), "cosine")
    if metric == "inner product":
        return -x @ x.T
    if metric == "lp":
        return ssd.cdist(x, x, "minkowski", p=p)
    return ssd.cdist(x, x, metric)


def counted(distance: np.ndarray, k: int) -> np.ndarray:
    """N_k by a stable full sort, the definition."""
    distance = distance.copy()
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.bincount(nearest.ravel(), minlength=len(distance))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "d", "k"), [(2, 1, 1), (11, 3, 10), (60, 4, 7), (600, 9, 5)])
def test_counts_match_a_full_sort(metric, n, d, k):
    if n == 2 and "cosine" in metric:
        pytest.skip("in one dimension all angles tie")
    x = normal(n, d, seed=3)
    np.testing.assert_array_equal(k_occurrence(x, k, metric), counted(dissimilarity(x.numpy(), metric), k))


@pytest.mark.parametrize("p", [0.3, 1.0, 3.0])
def test_lp_exponents(p):
    x = normal(80, 6)
    counts = k_occurrence(x, 4, "lp", p)
    np.testing.assert_array_equal(counts, counted(ssd.cdist(x, x, "minkowski", p=p), 4))


def test_torus_is_the_nearest_of_all_the_shifted_copies():
    x = torch.rand(70, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifts = itertools.product((-1, 0, 1), repeat=2)
    distance = np.min([ssd.cdist(x, x.numpy() + np.array(shift)) for shift in shifts], axis=0)
    np.testing.assert_array_equal(k_occurrence(x, 5, "torus"), counted(distance, 5))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 10_000), st.integers(1, 6))
def test_ties_go_to_the_lower_index_on_a_lattice(n, d, seed, k):
    """Small whole numbers: distances are exact and tie in droves."""
    k = min(k, n - 1)
    x = np.random.RandomState(seed).randint(0, 3, size=(n, d)).astype(float)
    np.testing.assert_array_equal(k_occurrence(torch.from_numpy(x), k), counted(ssd.cdist(x, x, "sqeuclidean"), k))


def test_ties_hold_where_columns_are_grouped_and_rows_come_in_blocks(monkeypatch):
    monkeypatch.setattr(nearest, "AREA", 2**19)
    x = np.random.RandomState(0).randint(0, 4, size=(1500, 3)).astype(float)
    np.testing.assert_array_equal(k_occurrence(torch.from_numpy(x), 6), counted(ssd.cdist(x, x, "sqeuclidean"), 6))


def test_far_from_the_origin_single_precision_is_not_trusted():
    """At 1e6 from the origin a float32 cannot tell these points apart at all; the counts are still exact."""
    x = normal(500, 8) + 1e6
    np.testing.assert_array_equal(k_occurrence(x, 5), counted(ssd.cdist(x, x), 5))


def test_near_ties_below_single_precision_are_settled_in_double():
    """Neighbours on a ray, their distances apart by 1e-12."""
    random = np.random.RandomState(1)
    x = np.concatenate([np.zeros((1, 5)), 1 + 1e-12 * random.permutation(400)[:, None] + np.zeros((400, 5))])
    np.testing.assert_array_equal(k_occurrence(torch.from_numpy(x), 7), counted(ssd.cdist(x, x), 7))


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_scale_does_not_matter(scale):
    x = normal(200, 6)
    torch.testing.assert_close(k_occurrence(x * scale, 5), k_occurrence(x, 5), rtol=0, atol=0)
    torch.testing.assert_close(neighbours(x * scale, 5)[1], neighbours(x, 5)[1] * scale, rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_come_with_their_distances_in_order(metric):
    x = normal(400, 5)
    index, distance = neighbours(x, 6, metric)
    full = dissimilarity(x.numpy(), metric)
    np.testing.assert_allclose(distance, np.take_along_axis(full, index.numpy(), 1), rtol=1e-9, atol=1e-12)
    assert (distance.diff(dim=1) >= 0).all()
    assert (index != torch.arange(400)[:, None]).all()


def test_progress_adds_up(monkeypatch):
    monkeypatch.setattr(nearest, "AREA", 2**20)
    x = normal(3000, 2)
    steps = list(k_occurrence_steps(x, 3))
    assert [s.step for s in steps] == sorted(s.step for s in steps)
    assert len(steps) > 1 and steps[-1].step == steps[-1].total == 3000
    assert int(steps[-1].result.sum()) == 9000
    torch.testing.assert_close(steps[-1].result, k_occurrence(x, 3))


def test_single_precision_points_and_integers_are_taken():
    x = torch.randint(0, 9, (50, 4), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(k_occurrence(x, 3), k_occurrence(x.float(), 3))


def test_five_points_from_their_distances():
    """The example of the hub toolbox's tests."""
    square = ssd.squareform([0.2, 0.1, 0.8, 0.4, 0.3, 0.5, 0.7, 1, 0.6, 0.9])
    counts = k_occurrence(torch.from_numpy(square), 2, "precomputed")
    assert counts.tolist() == [4, 3, 3, 0, 0]
    assert skewness(counts) == pytest.approx(-0.2561204163, abs=5e-11)
    assert robin_hood(counts, 2) == pytest.approx(0.4)
    assert antihub_rate(counts) == 0.4
    assert hub_occurrence(counts, 2) == 0.4


@pytest.mark.parametrize(
    ("law", "d", "expected"), [("uniform", 3, (0.105, 0.115, 0, 21)), ("normal", 100, (9.297, 0.536, 0.203, 508))]
)
def test_published_figures(law, d, expected):
    random = np.random.RandomState(0)
    x = random.uniform(size=(2000, 3)) if law == "uniform" else random.normal(size=(2000, 100))
    counts = k_occurrence(torch.from_numpy(x), 10)
    found = (skewness(counts), robin_hood(counts, 10), antihub_rate(counts), int(counts.max()))
    assert found == pytest.approx(expected, abs=6e-4)


REDUCED = {
    "cosine": (0.345, 0.120),
    "mutual proximity": (0.541, 0.245),
    "local scaling": (1.887, 0.284),
    "dissimlocal": (1.347, 0.168),
    "csls": (0.465, 0.084),
}


@pytest.mark.parametrize("method", REDUCED)
def test_published_reductions(method):
    counts = reduced_k_occurrence(normal(2000, 100), 10, method)
    assert (skewness(counts), robin_hood(counts, 10)) == pytest.approx(REDUCED[method], abs=6e-4)


def by_definition(x: np.ndarray, k: int, method: str) -> np.ndarray:
    """Secondary dissimilarities as the papers write them, pair by pair where that is clearest."""
    n = len(x)
    distance = ssd.cdist(x, x)
    ordered = np.sort(distance + np.diag(np.full(n, np.inf)), axis=1)[:, :k]
    index = np.argsort(distance + np.diag(np.full(n, np.inf)), axis=1)[:, :k]
    cosine = 1 - ssd.cdist(x, x, "cosine")
    others = ~np.eye(n, dtype=bool)
    if method == "none":
        return distance
    if method == "mutual proximity":
        mean = np.array([distance[i][others[i]].mean() for i in range(n)])
        std = np.array([distance[i][others[i]].std() for i in range(n)])
        survive = scipy.stats.norm.sf(distance, mean[:, None], std[:, None])
        return 1 - survive * scipy.stats.norm.sf(distance, mean, std)
    if method == "mutual proximity empirical":
        farther = [
            [np.sum((distance[i] > distance[i, j]) & (distance[j] > distance[i, j])) for j in range(n)]
            for i in range(n)
        ]
        return 1 - np.array(farther) / n
    if method == "local scaling":
        return 1 - np.exp(-(distance**2) / np.outer(ordered[:, -1], ordered[:, -1]))
    if method == "nicdm":
        mean = ordered.mean(1)
        return distance / np.sqrt(np.outer(mean, mean))
    if method == "dissimlocal":
        off = ((x - x[index].mean(1)) ** 2).sum(1)
        return distance**2 - off[:, None] - off
    if method == "csls":
        near = np.sort(cosine - 2 * np.eye(n), axis=1)[:, -k:].mean(1)
        return near[:, None] + near - 2 * cosine
    if method == "centring":
        return -(x - x.mean(0)) @ (x - x.mean(0)).T
    return 1 - cosine


@pytest.mark.parametrize("method", METHODS)
def test_reductions_match_their_definitions(method):
    x, k = normal(120, 9, seed=5), 6
    expected, found = by_definition(x.numpy(), k, method), reduce(x, k, method).numpy()
    off = ~np.eye(120, dtype=bool)
    if method == "mutual proximity empirical":  # only what can be among the k nearest is counted
        off &= found < 1
        assert (
            np.sort(np.where(off, found, 1), axis=1)[:, :k]
            == np.sort(np.where(~np.eye(120, dtype=bool), expected, 9), axis=1)[:, :k]
        ).all()
    np.testing.assert_allclose(found[off], expected[off], rtol=1e-10, atol=1e-12)
    counts = k_occurrence(torch.from_numpy(found), k, "precomputed")
    torch.testing.assert_close(counts, reduced_k_occurrence(x, k, method))
    if method not in ("mutual proximity empirical",):
        np.testing.assert_array_equal(counts, counted(expected, k))


@pytest.mark.parametrize("method", ["mutual proximity", "local scaling"])
def test_outliers_rank_their_neighbours_where_the_definition_rounds_to_one(method):
    x, k = np.concatenate([normal(300, 5).numpy(), 200 + 20 * normal(3, 5, seed=1).numpy()]), 10
    distance, others = ssd.cdist(x, x), ~np.eye(303, dtype=bool)
    if method == "local scaling":
        scale = np.sort(distance, axis=1)[:, k]
        exact = distance**2 / np.outer(scale, scale)
    else:
        mean = np.array([row[keep].mean() for row, keep in zip(distance, others, strict=True)])
        std = np.array([row[keep].std() for row, keep in zip(distance, others, strict=True)])
        exact = -scipy.stats.norm.logsf(distance, mean[:, None], std[:, None])
        exact -= scipy.stats.norm.logsf(distance, mean, std)
    assert (np.sort(-np.expm1(-exact[-3:]), axis=1)[:, k] == 1).all()
    np.testing.assert_array_equal(reduced_k_occurrence(torch.from_numpy(x), k, method), counted(exact, k))


@pytest.mark.parametrize("metric", ["cosine", "lp", "precomputed"])
@pytest.mark.parametrize("method", ["mutual proximity", "local scaling", "nicdm"])
def test_scalings_act_on_any_metric(metric, method):
    x = normal(90, 5)
    plain = torch.from_numpy(dissimilarity(x.numpy(), "cosine" if metric == "precomputed" else metric))
    expected = reduce(plain, 5, method, "precomputed")
    found = reduce(plain if metric == "precomputed" else x, 5, method, metric)
    off = ~torch.eye(90, dtype=torch.bool)
    torch.testing.assert_close(found[off], expected[off], rtol=1e-8, atol=1e-12)


def test_measures_against_scipy():
    random = np.random.RandomState(2)
    counts = random.poisson(4, size=300)
    assert skewness(torch.from_numpy(counts)) == pytest.approx(scipy.stats.skew(counts), rel=1e-12)
    assert skewness(torch.full((9,), 3)) == 0
    a, b = random.randint(0, 9, 200), random.normal(size=200)
    expected = scipy.stats.spearmanr(a, b).statistic
    assert spearman(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-12)
    assert spearman(torch.ones(4), torch.arange(4.0)) == 0
    pmf = binomial(60, 50, 10)
    np.testing.assert_allclose(pmf, scipy.stats.binom.pmf(np.arange(61), 49, 10 / 49), rtol=1e-10, atol=1e-300)
    assert binomial(3, 3, 2).tolist() == [0, 0, 1, 0]


def test_robin_hood_is_the_share_to_be_moved():
    assert robin_hood(torch.tensor([2, 2, 2]), 2) == 0
    assert robin_hood(torch.tensor([4, 0]), 2) == 0.5
    assert math.isclose(robin_hood(torch.tensor([30] + [0] * 9), 3), 0.9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: k_occurrence(torch.tensor([[0.0], [math.nan], [1.0]]), 1), "NaN.*rows 1"),
        (lambda: k_occurrence(torch.zeros(5, 2), 5), "at least 6 points"),
        (lambda: k_occurrence(torch.zeros(5), 1), "table"),
        (lambda: k_occurrence(torch.zeros(5, 2), 0), "k must"),
        (lambda: k_occurrence(torch.zeros(5, 2), 1, "chebyshev"), "metric must"),
        (lambda: k_occurrence(torch.zeros(5, 2), 1, "cosine"), "no cosine"),
        (lambda: k_occurrence(torch.ones(5, 2), 1, "centred cosine"), "no cosine"),
        (lambda: k_occurrence(torch.ones(5, 2), 1, "lp", 0.0), "p must"),
        (lambda: k_occurrence(torch.ones(5, 2), 1, "precomputed"), "square"),
        (lambda: k_occurrence(torch.ones(5, 2, dtype=torch.complex64), 1), "real"),
        (lambda: reduce(torch.ones(9, 2), 2, "local scaling"), "duplicate"),
        (lambda: reduce(torch.ones(9, 2), 2, "nicdm"), "duplicate"),
        (lambda: reduce(torch.ones(9, 2), 2, "mutual proximity"), "duplicate"),
        (lambda: reduce(torch.rand(9, 2), 2, "magic"), "method must"),
        (lambda: reduce(torch.rand(9, 2), 2, "csls", "cosine"), "euclidean"),
        (lambda: reduce(torch.rand(9, 2), 2, "nicdm", "inner product"), "distances"),
        (lambda: reduce(torch.zeros(9000, 1), 2), "at most 8,000"),
    ],
)
def test_bad_input_is_said_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_duplicates_are_each_others_neighbours_lowest_index_first():
    x = torch.zeros(6, 2)
    x[4:] = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert k_occurrence(x, 2).tolist() == [5, 5, 2, 0, 0, 0]


# Ranges of numbers: float64's answer whatever the type and the size.


@pytest.mark.parametrize("exponent", [-1000, -500, 500, 1000])
def test_scale_changes_no_neighbour_and_no_reduced_one(exponent):
    x, half = normal(90, 6), exponent // 2
    scaled = x * 2.0**half * 2.0 ** (exponent - half)
    for metric in METRICS:
        assert torch.equal(k_occurrence(scaled, 5, metric), k_occurrence(x, 5, metric)), metric
    for method in METHODS:
        assert torch.equal(reduced_k_occurrence(scaled, 5, method), reduced_k_occurrence(x, 5, method)), method
    plain = torch.cdist(x, x)
    for method in ("none", "mutual proximity", "mutual proximity empirical", "local scaling", "nicdm"):
        found = reduced_k_occurrence(plain * 2.0**half * 2.0 ** (exponent - half), 5, method, "precomputed")
        assert torch.equal(found, reduced_k_occurrence(plain, 5, method, "precomputed")), method


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("cosine", "csls")])
@pytest.mark.parametrize("shift", [2.0**20, 2.0**44])
def test_shift_changes_nothing_where_the_method_knows_no_origin(method, shift):
    """Whole numbers, so that the shifted points are exact."""
    x = torch.from_numpy(np.random.RandomState(1).randint(0, 2**8, size=(120, 6)).astype(float))
    assert torch.equal(k_occurrence(x + shift, 5), k_occurrence(x, 5))
    assert torch.equal(reduced_k_occurrence(x + shift, 5, method), reduced_k_occurrence(x, 5, method))
    torch.testing.assert_close(reduce(x + shift, 5, method), reduce(x, 5, method), rtol=1e-9, atol=1e-9)


def test_angles_keep_their_digits_far_from_the_origin():
    """All angles are within 1e-12 of each other: 1 - cos in float64 would be all zeros."""
    x = torch.from_numpy(np.random.RandomState(1).normal(size=(80, 4)))
    far = x + torch.tensor([1e6, 0, 0, 0], dtype=torch.float64)
    exact = ssd.cdist(*[(far / far.norm(dim=1, keepdim=True)).numpy()] * 2, "sqeuclidean")
    np.testing.assert_array_equal(k_occurrence(far, 5, "cosine"), counted(exact, 5))
    near = np.sort(exact + np.diag(np.full(80, np.inf)), axis=1)[:, :5].mean(1) / 2
    np.testing.assert_array_equal(reduced_k_occurrence(far, 5, "csls"), counted(exact - near[:, None] - near, 5))


def test_an_outlier_does_not_hide_what_the_others_are_like():
    x = normal(60, 3)
    with_outlier = torch.cat([x * 1e-100, torch.full((1, 3), 1e100, dtype=torch.float64)])
    index, distance = neighbours(with_outlier, 4)
    ours, theirs = neighbours(x, 4)
    assert torch.equal(index[:-1], ours)
    torch.testing.assert_close(distance[:-1], theirs * 1e-100, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.int16, torch.uint8])
def test_every_kind_of_number_gives_the_answer_of_float64(kind):
    x = (normal(90, 6).abs() * 20).to(kind)
    for metric in METRICS:
        assert torch.equal(k_occurrence(x, 5, metric), k_occurrence(x.double(), 5, metric)), metric
    for method in METHODS:
        assert torch.equal(reduced_k_occurrence(x, 5, method), reduced_k_occurrence(x.double(), 5, method)), method
    counts = k_occurrence(x, 5).to(kind)
    assert skewness(counts) == skewness(counts.double())
    assert hub_occurrence(counts, 5) == hub_occurrence(counts.double(), 5)
    assert robin_hood(counts, 5) == robin_hood(counts.double(), 5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [">f8", "<f4", ">i4", "float16"])
def test_arrays_of_numpy_are_taken_as_they_are(order, kind):
    x = np.asarray((normal(50, 4).numpy() * 9).astype(kind), order=order)
    assert torch.equal(k_occurrence(x, np.int64(3)), k_occurrence(torch.from_numpy(x.astype(float)), 3))
    assert torch.equal(k_occurrence(x[::-1], 3), k_occurrence(torch.from_numpy(x[::-1].astype(float)), 3))


@pytest.mark.parametrize("power", [-500, 500])
def test_skewness_knows_no_scale(power):
    counts = torch.tensor([1.0, 2, 3, 50, 4])
    assert skewness(counts.double() * 2.0**power) == pytest.approx(scipy.stats.skew(counts.double()), rel=1e-12)
    assert skewness(torch.full((7,), 0.1)) == 0


def test_powers_of_small_gaps_do_not_vanish():
    """A gap of 1e-20 to the power 20 is below the smallest float64."""
    x = torch.tensor([[0.0], [1e-20], [3e-20], [1.0]], dtype=torch.float64)
    index, distance = neighbours(x, 1, "lp", 20.0)
    assert index.flatten().tolist() == [1, 0, 1, 0]  # from 1 all three are 1 away, in float64
    torch.testing.assert_close(distance.flatten(), torch.tensor([1e-20, 1e-20, 2e-20, 1.0], dtype=torch.float64))


def test_where_every_row_is_doubtful_double_precision_decides():
    """A line in 300 dimensions: single precision settles no row."""
    line = torch.from_numpy(np.random.RandomState(0).normal(size=(700, 1)) * 1e-4 + 1)
    x = line * torch.linspace(1, 2, 300, dtype=torch.float64)
    np.testing.assert_array_equal(k_occurrence(x, 6), counted(ssd.cdist(line, line), 6))


CARD = {
    "normal": normal(500, 9),
    "far": normal(300, 8) + 1e6,
    "lattice": torch.from_numpy(np.random.RandomState(0).randint(1, 5, size=(400, 3)).astype(float)),
    "line": torch.linspace(1, 2, 60, dtype=torch.float64) * (1 + 1e-4 * normal(300, 1)),
    "clusters": normal(40, 6).repeat(15, 1) + 1e-7 * normal(600, 6, 1),
    "outlier": torch.cat([1e-9 * normal(200, 4), torch.full((1, 4), 1e9, dtype=torch.float64)]),
    "few": normal(7, 3),
}


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("name", CARD)
def test_the_way_of_a_card_finds_the_same_neighbours(name, split, monkeypatch):
    """In small tiles, groups and rows; ties to the lower index, and rows that its screening leaves open."""
    monkeypatch.setattr(nearest, "GROUP", 8)
    monkeypatch.setattr(nearest, "ROWS", 128)
    monkeypatch.setattr(nearest, "AREA", 2**12)
    points = CARD[name]
    for metric in ("euclidean", "cosine", "inner product"):
        for k in (1, 6):
            ready = nearest.prepare(nearest.check_points(points, k, metric), metric)
            expected = torch.cat([block for _, block in nearest._screened(ready, k, metric)]).sort(1).values
            blocks = list(nearest._grouped(ready, k, metric, split))
            assert [start for start, _ in blocks] == list(range(0, len(points), 128))
            assert torch.equal(torch.cat([block for _, block in blocks]).sort(1).values, expected), (metric, k)


@pytest.mark.parametrize("split", [True, False])
def test_products_err_by_less_than_their_bound(split):
    """Against float64, on factors of mixed sizes; and by more than a hundredth of it somewhere, so it is not empty."""
    x = normal(400, 40) * 2.0 ** torch.from_numpy(np.random.RandomState(1).randint(-6, 7, size=(400, 40)))
    products = (nearest._split_products if split else nearest._plain_products)(x.float(), x.float())
    error = (products(slice(0, 400), slice(0, 400)).double() - x @ x.T).abs()
    norm = x.norm(dim=1)
    unit = 3.1 * 2.0**-16 + 4 * (3 * 40 + 8) * 2.0**-24 if split else 48 * 2.0**-24
    share = (error / (unit * norm[:, None] * norm)).max()
    assert 0.003 < share < 1


def test_a_row_is_settled_without_double_precision_over_all_points(monkeypatch):
    """Of normal points none goes the long way."""
    monkeypatch.setattr(nearest, "_measured_again", lambda *a: pytest.fail("measured again"))
    blocks = nearest._grouped(nearest.prepare(normal(3000, 16), "euclidean"), 5, "euclidean", True)
    assert sum(len(block) for _, block in blocks) == 3000


# Wrong arguments: a sentence, whatever they are.

WRONG = (
    None,
    "text",
    b"bytes",
    object(),
    [],
    [[]],
    [["a"]],
    {},
    -1,
    0,
    2.5,
    math.nan,
    math.inf,
    10**30,
    True,
    1j,
    [math.nan],
)
GOOD = {
    "points": normal(9, 2),
    "latents": normal(9, 2),
    "counts": torch.arange(9),
    "dimension": [2, 3],
    "a": torch.arange(9),
    "b": torch.arange(9),
    "k": 2,
    "n": 9,
    "most": 3,
    "path": str(ASSETS / "emoji.npz"),
}
PUBLIC = [getattr(engines.hubness, name) for name in engines.hubness.__all__ if name not in ("METHODS", "METRICS")]
MORE = [histogram, at_random, inequality, ball_volume, draw_law, load_set, principal_plane]


def exhausted(function, arguments):
    """Call it, and take all that it yields."""
    result = function(**arguments)
    if inspect.isgenerator(result):
        for _ in itertools.islice(result, 2):
            pass


@pytest.mark.parametrize("function", [*PUBLIC, *MORE], ids=lambda function: function.__name__)
def test_every_wrong_argument_is_answered_with_a_sentence(function):
    quick = {"latent_filter": {"model": "none", "latents": 100}, "boundary": {"points": 50}}
    quick |= {"compare_reductions": {"points": 20}, "skewness_against_dimension": {"points": 100, "seeds": 1}}
    quick |= {"concentration": {"pairs": 100}, "draw_law": {"law": "normal", "n": 5, "dimension": 2}}
    quick |= {"load_set": {"name": "normal", "n": 5, "dimension": 2}, "survey": {"points": 60, "data": "digits"}}
    quick |= {"approximate": {"points": 60, "data": "digits"}}
    parameters = inspect.signature(function).parameters
    good = {name: value for name, value in GOOD.items() if name in parameters} | quick.get(function.__name__, {})
    if function.__name__ == "draw_law":
        good["dimension"] = 2
    for name in parameters:
        for wrong in WRONG:
            try:
                exhausted(function, good | {name: wrong})
            except ValueError as fault:
                assert re.search(r"\w+ \w+.*[.]$", str(fault)), f"{name}={wrong!r}: {fault}"
            except Exception as fault:
                pytest.fail(f"{name}={wrong!r}: {type(fault).__name__}: {fault}")
