"""What the views compute, and how they refuse."""

import inspect
import math

import numpy as np
import pytest
import torch

from engines import softmax as family
from engines.arguments import rules
from engines.softmax import experiments
from engines.softmax.experiments import (
    NAMES,
    attention,
    compare,
    losses,
    perturb,
    sensitivity,
    simplex_map,
    sparsity,
    speed,
)
from engines.softmax.learning import descend, relax, relu_family, relu_power
from engines.softmax.relaxed import gumbel_softmax, gumbel_softmax_mean

EXPERIMENTS = (
    attention,
    compare,
    descend,
    losses,
    perturb,
    relax,
    relu_family,
    sensitivity,
    simplex_map,
    sparsity,
    speed,
)


def test_maps_differ_in_support_monotony_and_shift_invariance():
    result = compare(maps=NAMES)
    properties = dict(zip(result.maps, zip(result.monotone, result.shift > 1e-9, strict=True), strict=True))
    assert [name for name in NAMES if properties[name][1]] == ["taylor", "sigmoid"]
    assert [name for name in NAMES if not properties[name][0]] == ["taylor", "margin"]
    np.testing.assert_allclose(result.probabilities.sum(-1), 1, atol=1e-14)
    assert result.support.tolist() == [5, 4, 2, 3, 3, 5, 5, 5, 4]


def test_top_k_keeps_all_scores_when_k_exceeds_their_number():
    result = compare(maps=("softmax", "top_k"), k=6)
    np.testing.assert_allclose(result.probabilities[1], result.probabilities[0], atol=1e-15)
    assert losses(maps=("top_k",), classes=2, k=30).cross_entropy.max() < 6


def test_sparsity_curves():
    result = sparsity(maps=NAMES, n=16, k=3)
    row = {name: i for i, name in enumerate(result.maps)}
    assert (result.support_by_temperature[row["softmax"]] == 16).all()
    assert (result.support_by_size[row["top_k"]] == np.minimum(result.sizes, 3)).all()
    np.testing.assert_allclose(result.entropy_by_temperature[row["softmax"], -1], math.log(16), rtol=1e-3)
    assert np.isnan(result.support_by_size[row["perturb_max"]][result.sizes > 64]).all()
    for name in ("sparsemax", "entmax", "softmax"):
        assert (np.diff(result.entropy_by_temperature[row[name]]) > -1e-12).all()
    again = sparsity(maps=NAMES, n=16, k=3)
    np.testing.assert_array_equal(result.entropy_by_size, again.entropy_by_size)


def test_growth_of_the_support_with_n_that_the_story_states():
    """From 16 to 4,096 scores, by seed: sparsemax under 2.1 times as many, 1.5-entmax 3 to 5 times as many, softmax 256 times."""
    growth = []
    for seed in range(8):
        result = sparsity(maps=("softmax", "entmax", "sparsemax"), seed=seed)
        small, large = result.support_by_size[:, result.sizes == 16], result.support_by_size[:, result.sizes == 4096]
        growth.append((large / small)[:, 0])
    softmax, entmax, sparsemax = np.array(growth).T
    assert (softmax == 256).all()
    assert entmax.min() > 2.8 and entmax.max() < 5
    assert sparsemax.min() > 1.2 and sparsemax.max() < 2.4


def test_simplex_of_three_scores():
    """Sparsemax is the projection: an isometry in the middle, the identity on the triangle; offsets move only Taylor and sigmoid."""
    result = simplex_map()
    assert abs(result.share.sum() - 1) < 1e-12 and result.share[0] > 0.5
    centre = result.lines[12, 29:32]  # around the origin, steps of 0.1
    np.testing.assert_allclose(np.linalg.norm(np.diff(centre, axis=0), axis=-1), 0.1, atol=1e-12)
    for name in NAMES[:-1]:  # of equal scores top-p drops the one that rounding leaves smaller
        moved = np.abs(simplex_map(map=name, offset=2).lines - simplex_map(map=name).lines).max()
        assert (moved > 1e-6) == (name in ("taylor", "sigmoid"))
    np.testing.assert_allclose(result.probabilities @ result.corners, result.point[1], atol=1e-14)
    inside = simplex_map(x=0.1, y=-0.2)
    np.testing.assert_allclose(inside.point[1], (0.1, -0.2), atol=1e-14)
    assert abs(inside.scores.sum()) < 1e-14 and abs(simplex_map(offset=1.5).scores.sum() - 4.5) < 1e-14


def test_closed_forms_of_the_jacobian_norm():
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


def test_frequencies_of_the_perturbed_argmax():
    result = perturb(samples=5000)
    assert (np.abs(result.frequency - result.exact) <= 4 * result.deviation + 1e-12).all()
    np.testing.assert_array_equal(perturb(noise="gumbel").exact, perturb(noise="gumbel").softmax)


def test_attention_of_a_text():
    result = attention()
    np.testing.assert_allclose(result.attention.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(result.scores, result.scores.T, atol=1e-12)
    assert result.words[:3] == ("alice", "was", "beginning") and result.counted - 24 >= 250
    chinese = attention(text="天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")
    assert len(chinese.words) == 24 and chinese.words[-1] == "藏"
    decomposed = attention(text="cafe\u0301 " * 24)
    assert set(decomposed.words) == {"café"}


def test_attention_of_a_text_of_different_words_only():
    result = attention(text="".join(map(chr, range(0x4E00, 0x4E00 + 1500))))
    assert result.counted == 1500 and np.isfinite(result.scores).all()


def test_speed_yields_a_time_for_each_method():
    *_, last = speed(rows=2, columns=64)
    assert last.step == last.total and (last.result.seconds > 0).all()
    assert [last.result.methods[i] for i in last.result.peers[1::2]] == [
        "sparsemax_by_sorting",
        "entmax15_by_sorting",
        "entmax_by_bisection",
    ]
    *_, last = speed(rows=2, columns=64, alpha=1.0)
    assert len(last.result.methods) == 5


@pytest.mark.parametrize("function", EXPERIMENTS, ids=lambda function: function.__name__)
def test_every_parameter_refuses_what_it_cannot_take(function):
    """Every parameter has a rule, and each wrong value of it a sentence that names it."""
    assert set(rules(function)) == set(inspect.signature(function).parameters)
    for name in rules(function):
        for wrong in (
            object(),
            math.nan,
            math.inf,
            "",
            "junk",
            10**400,
            -(10**9),
            True,
            (),
            (math.nan, 1.0),
            [[1], [2]],
        ):
            if wrong == "junk" and name == "text":
                continue  # refused for its length below
            with pytest.raises(ValueError, match=rf"^{name}\b.*\.$"):
                result = function(**{name: wrong})
                list(result) if inspect.isgenerator(result) else None


@pytest.mark.parametrize(
    "named, call",
    [
        ("scores", lambda: compare(scores=(1.0,))),
        ("scores", lambda: compare(scores=tuple(range(33)))),
        ("order", lambda: compare(order=3)),
        ("maps", lambda: compare(maps=("softmax", "softmax"))),
        ("text", lambda: attention(text="too short")),
        ("text", lambda: attention(text="a " * experiments.MOST_CHARACTERS)),
        ("start", lambda: attention(text="a " * 30, start=7)),
        ("rows times columns", lambda: list(speed(rows=4096, columns=32_768))),
    ],
)
def test_refusals_name_the_parameter(named, call):
    with pytest.raises(ValueError, match=named):
        call()


def test_numpy_numbers_are_numbers():
    plain = compare(k=2, order=4, temperature=0.5)
    typed = compare(
        scores=np.float32([1.5, 1, 0.6, 0, -3]), k=np.int64(2), order=np.int8(4), temperature=np.float32(0.5)
    )
    np.testing.assert_allclose(typed.probabilities, plain.probabilities, atol=1e-7)


def test_zlpr_of_one_label_among_zeros():
    """log(1 + e^-t) + log n: never below log n, however far the target leads."""
    result = losses(classes=5)
    np.testing.assert_allclose(result.zlpr, np.log1p(np.exp(-result.t)) + math.log(5), atol=1e-12)


def test_the_family_between_softmax_and_sparsemax():
    for beta in (0.0, 0.3, 1.0, 2.2):
        result = relu_family(beta=beta)
        np.testing.assert_allclose(relu_power(result.scores - result.threshold, beta), result.probabilities, atol=1e-12)
        assert ((result.probabilities == 0) == (result.leaves <= beta)).all()
    gone = result.sweep[:, 1:] == 0
    assert (np.diff(gone.astype(int), axis=0) >= 0).all()  # what has left does not come back
    first = result.betas[gone.argmax(0)]
    assert (first >= result.leaves[1:]).all() and (first - result.leaves[1:] <= 0.05).all()
    assert np.isinf(relu_family((1.0, 1.0)).leaves).all()


def test_top_p_keeps_the_fewest_that_hold_p():
    z = torch.randn(50, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    for p in (0.01, 0.3, 0.9, 0.99):
        found, soft = family.top_p_softmax(z, p=p), torch.softmax(z, -1)
        held = (soft * (found > 0)).sum(-1)
        least = torch.where(found > 0, soft, torch.inf).amin(-1)
        assert (held >= p).all() and (held - least < p).all()
        np.testing.assert_allclose((soft * (found > 0) / held[:, None]).numpy(), found.numpy(), atol=1e-14)
    assert torch.equal(family.top_p_softmax(z, p=0) > 0, z == z.amax(-1, keepdim=True))


def test_descent_with_three_gradients():
    """Softmax: p - y is the gradient of -log p. Sparse maps: only p - y moves a target outside the support."""
    soft = descend()
    np.testing.assert_allclose(soft.probability[0], soft.probability[2], atol=1e-12)
    assert soft.probability[1, 20] < 0.01 < 0.8 < soft.probability[0, 20]
    for name in ("sparsemax", "entmax", "top_k", "top_p", "perturb_max"):
        stuck = descend(map=name, steps=30)
        assert (stuck.probability[:2] == 0).all() and stuck.probability[2, -1] > 0.9
        assert np.isnan(stuck.size[0, 0]) and stuck.size[1, 0] == 0 and stuck.size[2, 0] > 1


def test_the_mean_of_relaxed_draws_and_its_gradient():
    result = relax(tau=0.7, draws=5000)
    drawn = gumbel_softmax(torch.from_numpy(result.scores), 0.7, 100_000, 1).mean(0).numpy()
    np.testing.assert_allclose(result.mean, drawn, atol=4 * 0.35 / math.sqrt(100_000))
    assert (
        (np.diff(result.bias) > 0).all()
        and (np.diff(result.distance) > 0).all()
        and (np.diff(result.deviation) < 0).all()
    )
    s = torch.tensor([1.0, 0.2, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: gumbel_softmax_mean(s, 0.7), s)
    assert result.score_function == pytest.approx(math.sqrt(1 / result.softmax[0] - 1))
