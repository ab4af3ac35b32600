"""What the views compute, and how they refuse."""

import math

import numpy as np
import pytest

from engines.softmax import views
from engines.softmax.views import (
    NAMES,
    attention,
    compare,
    losses,
    perturbed,
    sensitivity,
    simplex_map,
    sparsity,
    speed,
)


def test_compare_tells_the_maps_apart():
    result = compare(maps=NAMES)
    said = dict(zip(result.maps, zip(result.monotone, result.shift > 1e-9, strict=True), strict=True))
    assert [name for name in NAMES if said[name][1]] == ["taylor", "sigmoid"]
    assert [name for name in NAMES if not said[name][0]] == ["taylor", "margin"]
    np.testing.assert_allclose(result.probabilities.sum(-1), 1, atol=1e-14)
    assert result.support.tolist() == [5, 4, 2, 3, 3, 5, 5, 5]


def test_sparsity_curves():
    result = sparsity(maps=NAMES, n=16, k=3)
    row = {name: i for i, name in enumerate(result.maps)}
    assert (result.support_by_temperature[row["softmax"]] == 16).all()
    assert (result.support_by_size[row["top_k"]] == np.minimum(result.sizes, 3)).all()
    np.testing.assert_allclose(result.entropy_by_temperature[row["softmax"], -1], math.log(16), rtol=1e-3)
    assert np.isnan(result.support_by_size[row["perturb_max"]][result.sizes > 64]).all()
    for name in ("sparsemax", "entmax", "softmax"):
        assert (np.diff(result.entropy_by_temperature[row[name]]) > -1e-12).all()
    assert result.support_by_size[row["sparsemax"], -1] < 10
    again = sparsity(maps=NAMES, n=16, k=3)
    np.testing.assert_array_equal(result.entropy_by_size, again.entropy_by_size)


def test_simplex():
    """Sparsemax's one-entry share of the plane, by counting; its middle is an isometry; offsets move only Taylor and sigmoid."""
    result = simplex_map()
    assert abs(result.share.sum() - 1) < 1e-12 and result.share[0] > 0.5
    np.testing.assert_allclose(result.lines.sum(-1), 1, atol=1e-14)
    centre = result.lines[12, 29:32]  # around the origin, steps of 0.1
    np.testing.assert_allclose(np.linalg.norm(np.diff(centre, axis=0), axis=-1), 0.1, atol=1e-12)
    for name in NAMES:
        moved = np.abs(simplex_map(map=name, offset=2).lines - simplex_map(map=name).lines).max()
        assert (moved > 1e-6) == (name in ("taylor", "sigmoid"))


def test_sensitivity_laws():
    result = sensitivity(scores=(0.3, 0.1, -0.2, -1.5))
    known = ~np.isnan(result.law)
    assert known.sum() == 2
    np.testing.assert_allclose(result.half_norm[known], result.law[known], atol=1e-14)
    assert result.zeros[NAMES.index("sparsemax")] == 7 / 16
    np.testing.assert_allclose(result.jacobian.sum(0), 0, atol=1e-15)


def test_losses():
    result = losses(maps=("softmax", "sparsemax", "margin"), classes=3)
    soft, sparse, margin = result.cross_entropy
    np.testing.assert_allclose(soft, np.log(np.exp(result.t) + 2) - result.t, atol=1e-12)
    np.testing.assert_allclose(margin, np.log(np.exp(result.t - 1) + 2) - result.t + 1, atol=1e-12)
    assert np.isinf(sparse[result.t < -0.51]).all()
    np.testing.assert_allclose(result.fenchel_young[0], soft, atol=1e-12)
    for young, slope, flat in zip(result.fenchel_young, result.slope, result.flat_from, strict=True):
        np.testing.assert_allclose(np.gradient(young, result.t)[1:-1], slope[1:-1], atol=0.03)
        assert (young[result.t > flat + 1e-9] < 1e-14).all() and (young[result.t < min(flat, 5) - 0.01] > 0).all()


def test_perturbed():
    result = perturbed(samples=5000)
    assert (np.abs(result.drawn - result.exact) <= 4 * result.error + 1e-12).all()
    assert perturbed(noise="gumbel").exact.tolist() == perturbed(noise="gumbel").softmax.tolist()


def test_attention_of_a_text():
    result = attention()
    np.testing.assert_allclose(result.attention.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(result.scores, result.scores.T, atol=1e-12)
    assert result.words[:3] == ("alice", "was", "beginning") and result.counted > 250
    chinese = attention(text="天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏", start=999)
    assert len(chinese.words) == 24 and chinese.words[-1] == "藏"


def test_only_the_chosen_map_is_refused():
    assert np.isfinite(attention("sparsemax", k=30, order=3).attention).all()
    assert np.isfinite(sensitivity("sparsemax", k=30, order=3).jacobian).all()
    for bad in ({"shown": "top_k", "k": 30}, {"shown": "taylor", "order": 3}):
        with pytest.raises(ValueError, match=r"^(k|order) must be"):
            attention(**bad)


def test_a_text_of_different_words_only():
    result = attention(text="".join(map(chr, range(0x4E00, 0x4E00 + 1500))))
    assert result.counted == 1500 and np.isfinite(result.scores).all()


def test_speed_streams():
    *_, last = speed(rows=2, columns=64)
    assert last.step == last.total and (last.result.seconds > 0).all()
    assert last.result.names[last.result.peers[1]].startswith("sparsemax,")
    *_, last = speed(rows=2, columns=64, general_alpha=1.0)
    assert len(last.result.names) == 5


@pytest.mark.parametrize(
    "named, call",
    [
        ("scores", lambda: compare(scores=(1.0, math.nan))),
        ("scores", lambda: compare(scores=(1.0, math.inf))),
        ("scores", lambda: compare(scores=(1.0,))),
        ("scores", lambda: compare(scores=tuple(range(33)))),
        ("scores", lambda: compare(scores=("a", "b"))),
        ("k must", lambda: compare(k=6)),
        ("k must", lambda: sensitivity("top_k", k=6)),
        ("alpha", lambda: compare(alpha=0.5)),
        ("alpha", lambda: losses(alpha=math.nan)),
        ("order", lambda: compare(order=3)),
        ("margin", lambda: losses(margin=math.inf)),
        ("temperature", lambda: simplex_map(temperature=0)),
        ("temperature", lambda: sparsity(temperature=math.nan)),
        ("maps", lambda: compare(maps=())),
        ("maps", lambda: compare(maps=("softmax", "hardmax"))),
        ("maps", lambda: compare(maps="hardmax")),
        ("map must", lambda: simplex_map(map="hardmax")),
        ("n must", lambda: sparsity(n=10**9)),
        ("classes", lambda: losses(classes=1)),
        ("noise", lambda: perturbed(noise="pink")),
        ("samples", lambda: perturbed(samples=10**9)),
        ("seed", lambda: perturbed(seed=-1)),
        ("text", lambda: attention(text="too short")),
        ("text", lambda: attention(text="a " * views.MOST_CHARACTERS)),
        ("start", lambda: attention(start=-1)),
        ("offset", lambda: simplex_map(offset=1e9)),
        ("rows times columns", lambda: list(speed(rows=4096, columns=32_768))),
        ("general_alpha", lambda: list(speed(general_alpha=5))),
        ("scale", lambda: list(speed(scale=0))),
    ],
)
def test_refusals_name_the_parameter(named, call):
    with pytest.raises(ValueError, match=named):
        call()
