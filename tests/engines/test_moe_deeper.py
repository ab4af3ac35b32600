"""Targets, truncation, numbers that vary, sequences, devices: what the later posts add."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from engines.moe.auxiliary import auxiliary_loss, straight_through
from engines.moe.balancing import balance, synthetic_scores
from engines.moe.checks import CHECKS
from engines.moe.devices import device_limits, devices_by_chance
from engines.moe.dynamic import STARTS, UPDATES, batch_quantile, dynamic_number, first_threshold, renew
from engines.moe.geometry import greedy, omission_error, subset_errors
from engines.moe.rules import quantile_balance, violation
from engines.moe.sequences import moving_thresholds, sequence_balance
from engines.moe.training import train


@lru_cache
def balanced(**settings):
    *_, last = balance(tokens=2000, experts=16, top_k=4, **settings)
    return last.result


@pytest.mark.parametrize("check", CHECKS[11:], ids=lambda check: check.claim[:30])
def test_what_the_later_posts_say_holds(check):
    assert check.outcome().holds


def test_every_rule_with_a_bias_follows_a_target_that_is_not_even():
    rules = ("aux-loss", "loss-free", "quantile", "dynamic-quantile", "expert-choice")
    result = balanced(rules=rules, tilt=4.0, rounds=150)
    assert result.target[0] == pytest.approx(4 * result.target[-1]) and result.target.sum() == pytest.approx(1)
    np.testing.assert_allclose(result.load[:, -1], np.tile(result.target, (5, 1)), rtol=0.15)


def test_truncated_quantiles_leave_the_poor_behind():
    result = balanced(rules=("quantile", "bip"), rounds=5)
    assert result.min[0, -1] > -0.1 > -0.5 > result.min[1, -1]
    assert not (quantile_balance(synthetic_scores("normal", 500, 8, 0)[0], 2, 4, truncate=True) > 0).any()


def test_a_step_behind_a_sigmoid_balances_where_it_is_too_long_behind_a_softmax():
    shared = {"source": "normal", "unit": "score", "rate": 0.01, "rules": ("loss-free",), "rounds": 100}
    soft = balanced(gate="softmax", **shared)
    other = balanced(gate="sigmoid", weight_gate="softmax", **shared)
    assert other.max[0, -20:].max() < soft.max[0, -20:].max()
    # before any step both choose the same experts, and the softmax weighs them
    assert other.score[0, 0] == soft.score[0, 0] == pytest.approx(1)


def test_the_straight_through_gradient_points_to_the_target_and_the_plain_product_to_the_even_load():
    even, more = auxiliary_loss(), auxiliary_loss(wanted=2.0)
    np.testing.assert_allclose(even.through, even.product_slope, atol=1e-12)
    assert abs(more.zero - more.best) < 0.2 and more.zero > 0.4 > abs(more.product_zero)
    assert straight_through(synthetic_scores("normal", 50, 4)[0], 1).item() >= 0


def test_a_bias_is_renewed_as_the_posts_write_it():
    scores, bias = torch.rand(400, 6, generator=torch.Generator().manual_seed(0)), torch.full((6,), -0.5)
    share = (scores + bias > 0).double().mean(0)
    uneven = torch.sign(share / share.sum() - 1 / 6)
    budget = renew(bias, scores, 2, "budget", 0.01, 1.0, 0.9, 1)
    np.testing.assert_allclose(budget, bias - 0.01 * (uneven - uneven.mean() + torch.sign(share.sum() - 2)), rtol=1e-6)
    quantile = np.quantile(scores.numpy(), 1 - 2 / 6, axis=0)
    np.testing.assert_allclose(batch_quantile(scores, 2), quantile, rtol=1e-5)
    average = renew(bias, scores, 2, "average", 0.01, 1.0, 0.9, 1)
    np.testing.assert_allclose(average, 0.9 * bias.numpy() - 0.1 * quantile, rtol=1e-5)
    parts = np.mean([np.quantile(part.numpy(), 1 - 2 / 6, axis=0) for part in scores.split(100)], axis=0)
    np.testing.assert_allclose(batch_quantile(scores, 2, 4), parts, rtol=1e-5)


def test_the_normal_start_spends_the_budget_and_averages_come_down_to_chance():
    starts = {start: dynamic_number(start=start, batches=20, updates=UPDATES) for start in STARTS}
    assert starts["zero"].spent[0, 0] == 32 and abs(starts["normal"].spent[0, 0] - 4) < 0.5
    late = dynamic_number(updates=("quantile", "average"), batches=80)
    assert late.mean[0, 40:].mean() > 1.2 * late.mean[1, 40:].mean()
    assert late.mean[1, 40:].mean() == pytest.approx(late.floor, rel=0.1)
    assert first_threshold(8, 8, 1.0, "sigmoid") < 0


def test_moving_thresholds_see_no_later_token_and_balance_within_sequences():
    scores = torch.rand(2, 60, 4, generator=torch.Generator().manual_seed(0))
    for estimate in ("histogram", "mean"):
        whole = moving_thresholds(scores, 1, estimate)
        torch.testing.assert_close(whole[:, :30], moving_thresholds(scores[:, :30], 1, estimate))
    result = sequence_balance(strengths=(1.0,), sequences=2, bins=20)
    assert result.within[0, 1] < 0.5 * result.within[0, 0] and result.loss[0, 1] > result.loss[0, 0]
    assert result.chance == pytest.approx(0.24, abs=0.02)
    for share in (result.share, result.moved):  # of each sequence; three domains of two
        assert share.shape == (6, 8)
        np.testing.assert_allclose(share.sum(1), 1)
    assert result.moved.max() < result.share.max()


def test_the_most_favoured_expert_has_most_before_the_bias_is_renewed():
    result = dynamic_number(updates=("quantile",), batches=5, experts=8, top_k=2, offset=1.0)
    np.testing.assert_allclose(result.load.mean(-1), result.spent / 2, rtol=1e-5)
    first, last = result.load[0, 0], result.load[0, -1]
    assert first.argmax() >= 6 and first.argmin() <= 1 and np.ptp(last) < 0.5 * np.ptp(first)


def test_a_limit_on_devices_costs_less_the_more_there_are():
    result = device_limits(experts=32, top_k=4, devices=8, tokens=500)
    assert (np.diff(result.score) >= -1e-12).all() and result.score[-1] == result.same[-1] == 1
    assert (result.touched <= result.limit + 1e-12).all() and result.limit[0] == 1
    assert devices_by_chance(8, 8, 4) == 4 and devices_by_chance(8, 1, 4) == 1


def test_finer_blocks_of_one_layer_are_at_least_as_good():
    result = subset_errors()
    assert result.grain.tolist() == [5, 10, 20, 40] and result.grain_kept.tolist() == [1, 2, 4, 8]
    assert result.grain_best[1] <= result.grain_best[0] and (np.diff(result.grain_greedy) < 0).all()
    np.testing.assert_allclose(10 ** result.combinations[:2], [5, 45])
    assert not len(subset_errors(vectors="orthogonal").grain)
    vectors = torch.randn(5, 6, 8, generator=torch.Generator().manual_seed(0))
    one = torch.eye(6, dtype=torch.bool).expand(5, 6, 6).unbind(1)
    best = torch.stack([omission_error(vectors, kept) for kept in one]).amin(0)
    torch.testing.assert_close(greedy(vectors, 1), best)


def test_the_z_loss_holds_the_logits_down():
    ends = []
    for weight in (0.0, 0.01):
        *_, last = train(z_weight=weight, rules=("top-k",), steps=60)
        ends.append(last.result.log_z[0, -1])
    assert ends[1] < 0.9 * ends[0]


def test_violation_is_relative_to_its_target():
    target = torch.tensor([0.5, 0.25, 0.25])
    assert violation(torch.tensor([2.0, 1.0, 1.0]), target).mean.item() == pytest.approx(0)
    assert violation(torch.tensor([1.0, 1.0, 1.0]), target).max.item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: dynamic_number(top_k=33), "top_k"),
        (lambda: dynamic_number(tokens=4000, batches=300, experts=128), "tokens"),
        (lambda: auxiliary_loss(experts=2, top_k=1, wanted=4.0), "wanted"),
        (lambda: auxiliary_loss(top_k=8), "top_k"),
        (lambda: device_limits(devices=7), "devices"),
        (lambda: device_limits(512, devices=32, tokens=3100), "tokens: 3,100 .* at most 3,051"),
        (lambda: subset_errors(12, 105, 32), "dim: 12 blocks .* at most 104"),
        (lambda: device_limits(experts=16, devices=8, scored_by=4, top_k=2), "scored_by"),
        (lambda: moving_thresholds(torch.tensor([[2.0, 0.0]]), 1), "scores"),
        (lambda: quantile_balance(torch.rand(4, 2), 1, target=torch.tensor([0.0, 1.0])), "target"),
        (lambda: batch_quantile(torch.rand(4, 2), 1, 5), "parts"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
