"""What the views of objectives compute: the claims of captions and stories, over several seeds where they differ by seed."""

import math

import numpy as np
import pytest

from engines.objectives.experiments import directions, multilabel, multiway_descent, shift, valley
from engines.objectives.gradients import RULES
from engines.objectives.training import imbalance, two_digits
from engines.objectives.validation import DATA, biased_split, data_set, validation


def last(stream):
    *_, progress = stream
    return progress.result


def test_three_rules_are_one_for_two_tasks_and_part_for_three():
    two = directions(rules=("normalised", "imtl_g", "nash", "pcgrad", "upgrad"))
    unit = two.vectors / np.linalg.norm(two.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit[1:3], unit[[0, 0]], atol=1e-12)
    np.testing.assert_allclose(unit[4], unit[3], atol=1e-12)
    three = directions(tasks=3, rules=("normalised", "nash", "imtl_g"))
    assert np.degrees(np.arccos(np.clip(three.inner, -1, 1)))[0, 0] != pytest.approx(
        np.degrees(np.arccos(np.clip(three.inner, -1, 1)))[1, 0], abs=1
    )
    assert not three.vectors[2].any()  # no direction of the plane has three equal inner products


def test_degrees_that_the_story_states():
    result = directions(rules=("sum", "normalised", "min_norm", "log"), scale=10, shift=5)
    np.testing.assert_allclose(result.turned_by_scale, (41.987, 0, 15.709, 0), atol=0.001)
    np.testing.assert_allclose(result.turned_by_shift, (0, 0, 0, 14.036), atol=0.001)


def test_opposed_gradients_leave_no_direction():
    result = directions(x=(1, -1, 1), y=(0, 0, 0), rules=tuple(RULES))
    assert np.isnan(result.cone).all() and not result.nearest.any()
    assert np.isnan(result.vectors[result.rules.index("nash")]).all()


def test_su_average_is_slower_than_frank_wolfe_for_two_tasks():
    result = directions()
    average, frank, _ = result.gap
    assert frank[1] < 1e-12 < average[100]


def test_only_the_rule_blind_to_units_ends_where_it_ended():
    result = valley(steps=2000)
    moved = dict(zip(result.rules, result.moved.max(1), strict=True))
    assert moved.pop("normalised") < 1e-6
    assert min(moved.values()) > 1
    same = valley(steps=500, scale=1.0)
    assert not same.moved.any()


def test_pulls_and_minima():
    result = multilabel(losses=("zlpr", "bce", "focal"))
    for i in (3, 4):  # the uncertain labels
        t = result.labels[i]
        half = math.log(t / (1 - t)) / 2
        np.testing.assert_allclose(result.optimum[:2, i], (half, 2 * half), atol=1e-12)
    assert multilabel(scores=(0.0,) * 16, labels=(1.0,) + (0.0,) * 15).pull[0, 1:].sum() > -1
    # orders 0 and 1 are what ZLPR keeps
    hard = multilabel(scores=(2, -1, 0.5), labels=(1, 0, 0), losses=("zlpr", "bce"))
    kept = math.log(hard.on_terms[:2].sum()) + math.log(hard.off_terms[:2].sum())
    whole = math.log(hard.on_terms.sum()) + math.log(hard.off_terms.sum())
    np.testing.assert_allclose(hard.value, (kept, whole), atol=1e-12)


def test_form_three_ends_wrong_where_starts_are_wide():
    shares = [multiway_descent(spread=8.0, seed=seed).right[:, -1] for seed in range(3)]
    assert np.min(shares, 0)[0] == 1 and np.max(shares, 0)[1] < 0.25
    wide = multiway_descent(spread=8.0)
    assert wide.loss[:, -1].max() < 0.003
    assert multiway_descent(classes=3, spread=2.0).right[:, -1].min() == 1


@pytest.mark.parametrize("features", ["linear", "quadratic"])
def test_learned_ratio_is_the_exact_one_where_it_can_be(features):
    same = shift(samples=10_000, features=features)
    assert np.abs(same.learned - same.log_ratio)[np.abs(same.x) < 2].max() < 0.25
    narrow = shift(samples=10_000, features=features, std=0.5)
    far = np.abs(narrow.learned - narrow.log_ratio)[np.abs(narrow.x - 1) < 1.2].max()
    assert (far < 0.5) == (features == "quadratic")


def test_estimates_tend_to_their_limits():
    found = np.array([shift(samples=10_000, seed=seed).estimate for seed in range(20)])
    result = shift(samples=10_000)
    error = found.std(0, ddof=1) / math.sqrt(20)
    assert (np.abs(found.mean(0) - result.limit) < 5 * error).all()
    assert result.limit[0] == pytest.approx(result.truth) and abs(result.limit[1] - result.truth) > 0.5
    assert 0.5 < result.error[0] / found.std(0, ddof=1)[0] < 2


def test_two_digits_rows_that_must_not_move():
    result = last(two_digits(scale=64.0, steps=100, seeds=2))
    row = dict(zip(result.rules, result.accuracy, strict=True))
    for rule in ("normalised", "log", "initial"):
        assert np.abs(row[rule][1] - row[rule][0]).max() < 0.02
    assert np.abs(row["sum"][1] - row["sum"][0]).max() > 0.1
    shifted = last(two_digits(scale=1.0, shift=10.0, steps=100, seeds=1))
    row = dict(zip(shifted.rules, shifted.accuracy, strict=True))
    for rule in ("sum", "normalised", "min_norm", "pcgrad", "cagrad"):
        np.testing.assert_array_equal(row[rule][1], row[rule][0])


def test_pulls_at_the_start():
    result = last(imbalance(tiles=6, wanted=2, steps=100, seeds=1, losses=("zlpr", "bce")))
    k, n = 2, 60
    np.testing.assert_allclose(result.pull, [[k / (1 + k), (n - k) / (1 + n - k)], [k / 2, (n - k) / 2]], rtol=1e-6)
    assert result.labels == n and result.at_zero[0].max() > result.at_zero[1].max()
    assert (result.at_zero >= 0).all() and (result.at_best <= 1).all()


@pytest.mark.parametrize("data", DATA)
def test_splits_are_biased_and_disjoint(data):
    x, y, _ = data_set(data)
    train, held, test = biased_split(x, 2.0, np.random.default_rng(0))
    assert sorted(np.concatenate((train, held, test))) == list(range(len(y)))
    axis = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]
    assert (x[test] @ axis).mean() > (x[train] @ axis).mean()
    assert abs((x[held] @ axis).mean() - (x[train] @ axis).mean()) < (x @ axis).std() / 2


def test_weights_come_nearer_on_digits_and_not_on_diabetes():
    """At strength 4, over 24 splits: what the caption says."""
    for data, nearer in (("digits", True), ("diabetes", False)):
        result = last(validation(data=data, strength=4.0, splits=24))
        miss = np.abs(result.validation - result.test[:, None])
        gain = miss[:, 0] - miss[:, 2]  # [s, models]
        bound = gain.mean(0) + 2 * gain.std(0, ddof=1) / math.sqrt(24)
        assert (bound < 0).all() if nearer else (bound > 0).all()
