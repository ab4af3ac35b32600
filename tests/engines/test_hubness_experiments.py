"""What the exhibit computes, and its sets of points."""

import math

import numpy as np
import pytest
import torch

from engines.hubness import (
    approximate,
    boundary,
    compare_reductions,
    concentration,
    hub_latents,
    k_occurrence,
    latent_filter,
    skewness_against_dimension,
    survey,
    top_share,
)
from engines.hubness.data import EMBEDDED, LAWS, draw_law, load_set
from engines.hubness.experiments import principal_plane
from engines.hubness.measures import at_random, ball_volume, histogram, inequality


def last(steps):
    final = list(steps)[-1]
    assert final.step == final.total
    return final.result


@pytest.mark.parametrize("law", LAWS)
def test_laws_have_the_intrinsic_dimension_asked_for(law):
    x = draw_law(law, 200, 30, 5, seed=1)
    assert x.shape == (200, 30)
    assert np.linalg.matrix_rank(x) == 5
    np.testing.assert_array_equal(x, draw_law(law, 200, 30, 5, seed=1))
    assert draw_law(law, 200, 30, 0).shape == draw_law(law, 200, 30, 90).shape


def test_the_sphere_is_a_sphere_whatever_it_is_embedded_in():
    np.testing.assert_allclose(np.linalg.norm(draw_law("sphere", 50, 20, 4), axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_sets_show_what_their_points_are(name):
    full, some = load_set(name, 5000), load_set(name, 100, seed=3)
    assert len(full.points) > 1400 and len(some.points) == 100
    shown = some.texts if name == "sentences" else some.pictures
    assert len(shown) == 100
    counts = k_occurrence(torch.from_numpy(full.points), 10)
    assert int(counts.sum()) == 10 * len(full.points)


def test_survey_of_the_published_case():
    result = survey("normal")
    assert result.unequal.skewness == pytest.approx(9.2966, abs=1e-4)
    assert result.bin_points.sum() == result.n == 2000
    assert (result.bin_left[1:] == result.bin_right[:-1]).all()
    assert result.bin_binomial.sum() == pytest.approx(2000, abs=1e-6)
    assert result.rank_correlation < -0.9
    assert result.counts[result.hubs[0]] == 508 and result.counts[result.antihubs].sum() == 0


@pytest.mark.parametrize("metric", ["cosine", "centred cosine", "inner product", "lp"])
@pytest.mark.parametrize("data", ["mixture", "emoji"])
def test_survey_takes_every_metric_and_set(metric, data):
    result = survey(data, dimension=5, points=60, k=3, metric=metric)
    assert result.counts.sum() == 180
    assert len(result.hub_pictures) == (12 if data == "emoji" else 0)


def test_intrinsic_dimension_decides_not_the_ambient_one():
    low, high = survey("normal", dimension=100, intrinsic=3), survey("normal", dimension=100)
    assert low.unequal.skewness < 0.3 < 5 < high.unequal.skewness


@pytest.mark.parametrize("largest", [1, 7, 300, 5000])
def test_histogram_bins_hold_every_point_once(largest):
    counts = torch.cat([torch.arange(20) % (largest + 1), torch.tensor([largest])])
    left, right, points, expected = histogram(counts, 5)
    assert points.sum() == 21 and left[0] == 0 and right[-1] > largest
    assert (right > left).all() and len(left) < 120
    assert expected.sum() <= 21 + 1e-9


def test_random_reference_is_what_random_neighbours_give():
    draws = torch.from_numpy(np.random.RandomState(0).binomial(1999, 10 / 1999, size=10**6))
    expected, found = at_random(2000, 10), inequality(draws, 10)
    assert expected.skewness == pytest.approx(found.skewness, abs=0.01)
    assert expected.robin_hood == pytest.approx(found.robin_hood, abs=1e-3)
    assert expected.hub_share == pytest.approx(found.hub_share, abs=1e-3)
    assert 20 < expected.largest < 25


def test_principal_plane_holds_the_most_variance():
    x = torch.from_numpy(draw_law("normal", 400, 6, 0, 0)) * torch.tensor([9.0, 5, 1, 1, 1, 1])
    plane = principal_plane(x)
    values = torch.linalg.svdvals(x - x.mean(0))[:2]
    torch.testing.assert_close(plane.norm(dim=0), values, rtol=1e-6, atol=0)


def test_skewness_grows_with_dimension_but_not_on_the_sphere():
    result = last(skewness_against_dimension(points=500, seeds=2))
    mean = result.skewness.mean(2)
    assert np.isfinite(result.skewness).all()
    assert mean[1, -1] > 3 > 0.4 > mean[1, 0]
    assert np.abs(mean[2]).max() < 0.7


def test_a_long_curve_can_be_stopped_after_every_set():
    reports = list(skewness_against_dimension(("normal", "sphere"), 100, seeds=2))
    assert len(reports) == reports[-1].total == 9 * 2 * 2
    assert [report.step for report in reports if report.result] == [*range(4, 37, 4)]


def test_every_reduction_evens_out_normal_points():
    result = last(compare_reductions("normal", 600))
    assert result.methods[0] == "none"
    assert (result.counts.sum(1) == 6000).all()
    assert all(u.robin_hood < 0.7 * result.unequal[0].robin_hood for u in result.unequal[1:])


def test_concentration_of_normal_points_follows_the_chi_law():
    result = concentration("normal", pairs=5000)
    euclid = result.spread[list(result.exponents).index(2.0)]
    d = result.dimensions.astype(float)
    ratio = np.array([math.exp(2 * (math.lgamma((n + 1) / 2) - math.lgamma(n / 2))) * 2 for n in d])
    exact = np.sqrt(d / ratio - 1)  # variance d - mean^2 of a chi variable, over its mean
    np.testing.assert_allclose(euclid, exact, rtol=0.04)  # 5,000 pairs: 1% is one standard error
    np.testing.assert_allclose(result.limit[-1], exact[-1], rtol=1e-3)


def test_ball_volumes():
    exact = [2, math.pi, 4 / 3 * math.pi, math.pi**2 / 2, 8 / 15 * math.pi**2]
    np.testing.assert_allclose(ball_volume(torch.arange(1, 6)), exact, rtol=1e-13)
    result = concentration(pairs=100)
    assert result.ball_share[9] == pytest.approx(math.pi**5 / 120 / 1024)
    assert result.ball_volume.argmax() == 4


def test_without_an_edge_there_is_no_hubness():
    result = last(boundary(points=600))
    skew = dict(zip(result.places, result.skewness, strict=True))
    assert min(skew["cube"][-1], skew["normal"][-1]) > 1.5
    assert np.abs(skew["glued cube"]).max() < 0.6 and np.abs(skew["sphere"]).max() < 0.6
    square, glued, gaussian = result.flat_robin_hood
    assert glued < square < gaussian


def test_hub_latents_are_short():
    result = last(latent_filter("none", 64, latents=1500))
    kept = result.norms[result.counts >= 15].mean()
    assert kept < result.norms.mean() == pytest.approx(result.chi_mean, rel=0.01)
    assert (np.diff(result.share_above) <= 0).all()
    at = list(result.thresholds).index(10)
    assert result.norm_above[at] == pytest.approx(result.norms[result.counts >= 10].mean())
    latents = torch.from_numpy(draw_law("normal", 300, 20, 0, 0))
    some, counts = hub_latents(latents, 5, 10)
    torch.testing.assert_close(some, latents[k_occurrence(latents, 5) >= 10])
    assert counts.sum() == 1500


def test_four_kinds_of_latents_are_denoised(monkeypatch):
    """With an untrained network in the model's place: which latents are taken, and that all four kinds come out."""
    from diffusers import DDPMScheduler, UNet2DModel

    from engines import models

    torch.manual_seed(0)
    network = UNet2DModel(
        8,
        3,
        3,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    monkeypatch.setattr(models, "load", lambda *_, **__: (network, DDPMScheduler()))
    asked = []
    network.register_forward_pre_hook(lambda _, arguments: asked.append(int(arguments[1])))
    steps = [step for step in latent_filter(latents=200, each=2, steps=3) if step.result is not None]
    result = steps[-1].result
    assert [s.result.step for s in steps] == [1, 2, 3] and steps[-1].step == steps[-1].total
    assert asked == [999, 666, 332]  # from the noisiest step, as the noise is
    assert result.pictures.shape == (4, 2, 8, 8, 3) and result.pictures.dtype == np.uint8
    counts, norms = result.group_counts, result.group_norms
    assert (counts[0] >= counts[1]).all() and (counts[3] <= counts[1]).all()
    assert norms[2].mean() == pytest.approx(norms[0].mean(), rel=1e-5)
    assert norms[0].mean() < norms[1].mean() < norms[3].mean()
    again = last(latent_filter(latents=200, each=2, steps=3))
    np.testing.assert_array_equal(result.pictures, again.pictures)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"sample_size": 128}, "larger than 64"), ({"sample_size": 8, "num_class_embeds": 3}, "unconditional")],
)
def test_a_generator_that_does_not_fit_is_refused(monkeypatch, settings, words):
    from types import SimpleNamespace

    from engines import models

    config = SimpleNamespace(**{"class_embed_type": None, "num_class_embeds": None} | settings)
    monkeypatch.setattr(models, "load", lambda *_, **__: (SimpleNamespace(config=config), None))
    with pytest.raises(ValueError, match=words):
        next(latent_filter(latents=100))


def test_the_followers_of_a_hub_are_those_that_have_it_as_a_neighbour():
    result = survey("normal", points=300, k=7, dimension=20)
    index = torch.from_numpy(draw_law("normal", 300, 20, 0, 0))
    from engines.hubness import neighbours

    nearest = neighbours(index, 7)[0]
    for hub, followers in zip(result.hubs, result.followers, strict=True):
        assert sorted(followers[followers >= 0]) == (nearest == int(hub)).any(1).nonzero().flatten().tolist()
        assert (followers >= 0).sum() == result.counts[hub]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: survey("stars"), "data must"),
        (lambda: survey(points=10**9), "points must"),
        (lambda: survey(points=20, k=30), "at least 31 points"),
        (lambda: survey(dimension=math.nan), "dimension must"),
        (lambda: survey(metric="torus"), "metric must"),
        (lambda: survey(metric="lp", p=math.nan), "p must"),
        (lambda: survey("normal", 5000, dimension=1000, metric="lp"), "too long"),
        (lambda: survey(k=-1), "k must"),
        (lambda: survey("normal", 5000, dimension=1000), "points: 5,000 in 1,000 dimensions take too long"),
        (lambda: survey("normal", dimension=1, metric="cosine"), "every angle"),
        (lambda: survey("file"), "upload a table"),
        (lambda: approximate(links=1), "links must"),
        (lambda: approximate(beam=0), "beam must"),
        (lambda: approximate("normal", points=5000, dimension=1000), "points: 5,000 in 1,000 dimensions take too long"),
        (lambda: approximate(points=20, k=30), "at least 31 points"),
        (lambda: last(skewness_against_dimension(laws=())), "laws must be a list"),
        (lambda: last(skewness_against_dimension(points=20)), "points must"),
        (lambda: last(compare_reductions(points=20, k=20)), "at least 21 points"),
        (
            lambda: last(compare_reductions("normal", 3000, dimension=1000)),
            "3,000 in 1,000 dimensions take too long.*2,000",
        ),
        (lambda: last(compare_reductions(methods=["magic"])), "methods must"),
        (lambda: last(boundary(share=0.0)), "share must"),
        (lambda: last(latent_filter(latents=10)), "latents must"),
    ],
)
def test_bad_settings_are_said_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_top_fifth_of_random_neighbours():
    draws = torch.from_numpy(np.random.RandomState(1).binomial(1999, 10 / 1999, size=10**6))
    assert at_random(2000, 10).top_fifth == pytest.approx(inequality(draws, 10).top_fifth, abs=1e-3)
    assert top_share(torch.full((7,), 3)) == pytest.approx(0.2) and top_share(
        torch.tensor([5, 0, 0]), 0.2
    ) == pytest.approx(0.6)


def test_the_top_fifth_holds_more_the_higher_the_dimension():
    """Means of three sets of 500 for k = 10; the last dimension is 500."""
    result = last(skewness_against_dimension(laws=("normal", "sphere"), points=500, k=10, seeds=3))
    normal, sphere = result.top_fifth.mean(2)
    assert result.dimensions.tolist()[-1] == 500
    assert 0.25 < normal[1] < 0.31 and 0.5 < normal[4] < 0.6 and normal[-1] > 0.7
    assert sphere == pytest.approx(at_random(500, 10).top_fifth, abs=0.04)
    assert (result.antihubs[1] < 0.01).all()


def test_angles_follow_their_density():
    result = concentration("sphere", pairs=5000)
    np.testing.assert_allclose(result.angle_law[1], np.diff(-np.cos(np.radians(result.angle_edges))) / 4, atol=1e-12)
    np.testing.assert_allclose(result.cosine_spread[1:] * np.sqrt(result.dimensions[1:]), 1, atol=0.05)
    cube = concentration("uniform", pairs=5000)
    peak = cube.angle_edges[cube.angle_density[-1].argmax()]
    assert peak <= cube.angle_limit <= peak + 2 and cube.angle_limit == pytest.approx(41.41, abs=0.01)


def test_a_graph_loses_antihubs_first():
    found = approximate("normal", links=8, points=1000)
    at = found.beams.tolist().index(found.beam)
    assert found.found_share[at, 0] < 0.7 < 0.95 < found.found_share[at, 3]
    assert np.isnan(found.neighbour_share[:, 0]).all() and found.sizes.sum() == 1000
    assert found.incoming[found.counts == 0].mean() < 0.3 * found.incoming[found.counts >= 20].mean()
    assert not found.found[found.lost].any() and found.counts[found.lost].max() == 0
    weights = np.bincount(
        np.select([found.counts == 0, found.counts < 10, found.counts < 20], [0, 1, 2], 3), found.counts
    )
    held = np.nan_to_num(found.neighbour_share) @ weights / weights.sum()
    np.testing.assert_allclose(held, found.recall, atol=1e-12)
    assert approximate("emoji", beam=8, points=300).lost_pictures.shape[1:] == (24, 24, 3)
