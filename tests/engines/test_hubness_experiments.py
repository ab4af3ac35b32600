"""What the exhibit asks: views, files, embedded sets."""

import io
import math
import zipfile

import numpy as np
import pytest
import torch

from engines.hubness import (
    boundary,
    compare_reductions,
    concentration,
    hub_latents,
    k_occurrence,
    latent_filter,
    skewness_against_dimension,
    survey,
    survey_file,
)
from engines.hubness import latents as samples
from engines.hubness.data import EMBEDDED, LAWS, draw_law, load_set
from engines.hubness.experiments import principal_plane
from engines.hubness.files import read_points
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
    result = survey()
    assert result.unequal.skewness == pytest.approx(9.2966, abs=1e-4)
    assert result.bin_points.sum() == result.n == 2000
    assert (result.bin_left[1:] == result.bin_right[:-1]).all()
    assert result.bin_binomial.sum() == pytest.approx(2000, abs=1e-6)
    assert result.rank_correlation < -0.9
    assert result.counts[result.hubs[0]] == 508 and result.counts[result.antihubs].sum() == 0


@pytest.mark.parametrize("metric", ["cosine", "centred cosine", "inner product", "lp"])
@pytest.mark.parametrize("data", ["mixture", "emoji"])
def test_survey_takes_every_metric_and_set(metric, data):
    result = survey(data, 5, points=60, k=3, metric=metric)
    assert result.counts.sum() == 180
    assert len(result.hub_pictures) == (12 if data == "emoji" else 0)


def test_intrinsic_dimension_decides_not_the_ambient_one():
    low, high = survey(dimension=100, intrinsic=3), survey(dimension=100)
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
    result = last(skewness_against_dimension(sample=500, seeds=2))
    mean = result.skewness.mean(2)
    assert np.isfinite(result.skewness).all()
    assert mean[1, -1] > 3 > 0.4 > mean[1, 0]
    assert np.abs(mean[2]).max() < 0.7


def test_every_reduction_evens_out_normal_points():
    result = compare_reductions(few_points=600)
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
    result = concentration(pairs=100, rim=0.5)
    assert result.ball_share[9] == pytest.approx(math.pi**5 / 120 / 1024)
    assert result.shell[1] == 0.75
    assert result.ball_volume.argmax() == 4


def test_without_an_edge_there_is_no_hubness():
    result = last(boundary(few_points=600))
    skew = dict(zip(result.places, result.skewness, strict=True))
    assert min(skew["cube"][-1], skew["normal"][-1]) > 1.5
    assert np.abs(skew["glued cube"]).max() < 0.6 and np.abs(skew["sphere"]).max() < 0.6
    square, glued, gaussian = result.flat_robin_hood
    assert glued < square < gaussian


def test_latent_filter_keeps_short_latents():
    result = latent_filter(latent_dimension=64, latents=1500, threshold=15)
    assert result.kept.sum() == (result.counts >= 15).sum() == result.bin_kept.sum()
    assert result.norm_kept < result.norm_all == pytest.approx(result.chi_mean, rel=0.01)
    assert (np.diff(result.share_above) <= 0).all()
    latents = torch.from_numpy(draw_law("normal", 300, 20, 0, 0))
    kept, counts = hub_latents(latents, 5, 10)
    torch.testing.assert_close(kept, latents[k_occurrence(latents, 5) >= 10])
    assert counts.sum() == 1500


def test_latent_filter_that_keeps_none_says_so():
    result = latent_filter(latents=200, threshold=1000)
    assert result.kept_share == 0 and math.isnan(result.norm_kept)


def test_samples_of_hub_latents(monkeypatch):
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
    steps = list(samples.latent_samples(latents=200, each=2, steps=3))
    result = steps[-1].result
    assert [s.result.step for s in steps] == [1, 2, 3]
    assert asked == [999, 666, 332]  # from the noisiest step, as the noise is
    assert result.pictures.shape == (4, 2, 8, 8, 3) and result.pictures.dtype == np.uint8
    assert (result.counts[0] >= result.counts[1]).all() and (result.counts[3] <= result.counts[1]).all()
    assert result.norms[2].mean() == pytest.approx(result.norms[0].mean(), rel=1e-5)
    assert result.norms[0].mean() < result.norms[1].mean() < result.norms[3].mean()
    again = list(samples.latent_samples(latents=200, each=2, steps=3))[-1].result
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
        next(samples.latent_samples(latents=100))


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", "heading.csv", ";.csv", ".NPY"])
def test_files_of_points_are_read(tmp_path, kind):
    table = np.random.RandomState(0).normal(size=(30, 4)).round(6)
    path = tmp_path / f"points{kind[-4:]}"
    if kind.lower() == ".npy":
        with path.open("wb") as file:
            np.save(file, table)
    elif kind == ".npz":
        np.savez(path, label=np.arange(3), table=table)
    else:
        separator = ";" if kind.startswith(";") else ","
        np.savetxt(path, table, delimiter=separator, header="a,b,c,d" if "heading" in kind else "", comments="")
    np.testing.assert_allclose(read_points(str(path)).points, table)
    result = last(survey_file(str(path), k=3))
    assert result.counts.sum() == 90 and result.reading.copies == 0


def test_a_file_of_pictures_is_flattened(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((7, 4, 5), np.uint8))
    assert read_points(str(tmp_path / "p.npy")).points.shape == (7, 20)


def test_duplicates_are_pointed_out(tmp_path):
    table = np.repeat(np.arange(10.0)[:, None], 2, axis=1)
    np.save(tmp_path / "p.npy", np.concatenate([table, table[:4]]))
    assert last(survey_file(str(tmp_path / "p.npy"), k=2)).reading.copies == 4


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def pickled(path):
    np.save(path / "p.npy", np.array([Trap(), 1], dtype=object), allow_pickle=True)
    return path / "p.npy"


def pickled_npz(path):
    np.savez(path / "p.npz", a=np.array([Trap()], dtype=object))
    return path / "p.npz"


def huge(path):
    with (path / "p.npy").open("wb") as file:
        file.truncate(2 * 2**30)  # sparse
    return path / "p.npy"


def announced(path):
    """An .npz of a few bytes whose header promises 60 million of one byte each."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 60)})
    with zipfile.ZipFile(path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.npy", header.getvalue() + bytes(60 * 10**6))
    return path / "p.npz"


def written(name, content):
    def write(path):
        (path / name).write_bytes(content)
        return path / name

    return write


def saved(table):
    def save(path):
        np.save(path / "p.npy", table)
        return path / "p.npy"

    return save


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickled, "pickled Python objects"),
        (pickled_npz, "pickled Python objects"),
        (huge, "2,048 MB; at most 200 MB"),
        (saved(np.array([[1, 2], [np.nan, 1], [3, 4.0]])), "1 of 3 rows hold NaN.*rows 1"),
        (announced, "1,000,000 rows; at most 100,000"),
        (saved(np.zeros(5)), "a single number or one row"),
        (saved(np.array(5.0)), "a single number or one row"),
        (saved(np.zeros((0, 5))), "empty"),
        (saved(np.zeros((0, 3, 4))), "empty"),
        (saved(np.array([[1e155, 0], [0, 1.0], [2, 3]])), r"as large as 1e\+155; at most 1e\+30"),
        (saved(np.zeros((3, 2), complex)), "complex128"),
        (saved(np.zeros((200_000, 1), np.uint8)), "200,000 rows"),
        (saved(np.zeros((60_000, 1000), np.uint8)), "60,000,000 numbers; at most 50,000,000"),
        (written("p.npy", b"not an array"), "not a readable .npy"),
        (written("p.npy", b"\x93NUMPY\x01\x00\x04\x00((( "), "not a readable .npy"),
        (written("p.npz", b"PK not a zip"), "not a readable .npz"),
        (written("p.csv", b"1,2\n3\n"), "same number"),
        (written("p.csv", b"\xff\xfe\x00"), "not in UTF-8"),
        (written("p.csv", b""), "empty"),
        (written("p.doc", b"1,2"), "must be one of .npy, .npz"),
        (lambda path: path / "none.npy", "no such file"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path, make, words):
    with pytest.raises(ValueError, match=words):
        last(survey_file(str(make(tmp_path)), k=1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: survey("stars"), "data must"),
        (lambda: survey(points=10**9), "points must"),
        (lambda: survey(points=20, k=30), "at least 31 points"),
        (lambda: survey(dimension=math.nan), "dimension must"),
        (lambda: survey(metric="torus"), "metric must"),
        (lambda: survey(metric="lp", p=math.nan), "p must"),
        (lambda: survey(points=5000, dimension=1000, metric="lp"), "too slow"),
        (lambda: last(survey_file(k=-1)), "k must"),
        (lambda: last(skewness_against_dimension(laws=())), "laws must be a list"),
        (lambda: last(skewness_against_dimension(sample=20, neighbours=20)), "sample must"),
        (lambda: compare_reductions(few_points=20, k=20), "at least 21 points"),
        (lambda: compare_reductions(methods=["magic"]), "methods must"),
        (lambda: concentration(rim=2.0), "rim must"),
        (lambda: last(boundary(share=0.0)), "share must"),
        (lambda: latent_filter(threshold=-1), "threshold must"),
    ],
)
def test_bad_settings_are_said_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
