"""Routing rules, load and balancing, against enumeration, closed forms, transformers, scipy and published figures."""

import math

import numpy as np
import pytest
import torch

from engines.moe import (
    RULES,
    load,
    load_balancing_loss,
    quantile_balance,
    route,
    shared_expert_scale,
    violation,
)
from engines.moe.balancing import SYNTHETIC, balance, compare_rules, shared_scale, synthetic_scores


def blog_scores():
    draw = np.random.RandomState(0)
    return torch.from_numpy((draw.rand(20000, 64) + draw.rand(64)).astype(np.float32))


def three(violated):
    return [float(value) for value in violated]


def test_load_is_a_share_and_leaves_padding_out():
    indices = torch.tensor([[0, 1], [0, 2], [-1, -1], [0, -1]])
    assert load(indices, 4).tolist() == pytest.approx([3 / 5, 1 / 5, 1 / 5, 0])
    layers = torch.stack([indices, indices.flip(0)])
    assert torch.equal(load(layers, 4)[0], load(layers, 4)[1])


def test_load_agrees_with_bincount():
    indices = torch.randint(0, 16, (500, 3), generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(indices.flatten(), minlength=16) / 1500
    assert torch.allclose(load(indices, 16), counts.float())


def test_violation_of_a_known_load():
    assert three(violation(torch.tensor([0.5, 0.25, 0.25, 0.0]))) == pytest.approx([1, -1, 0.5])


def test_plain_top_k_on_the_blogs_scores():
    assert three(violation(route(blog_scores(), 8, "top-k").load)) == pytest.approx([2.284, -1, 1.121], abs=6e-4)


def test_quantile_balancing_on_the_blogs_scores():
    scores = blog_scores()
    for rounds, expected, tolerance in ((1, [0.147, -0.101, 0.084], 6e-4), (5, [0.0056, -0.0136, 0.0040], 3e-4)):
        chosen = (scores + quantile_balance(scores, 8, rounds)).topk(8).indices
        assert three(violation(load(chosen, 64))) == pytest.approx(expected, abs=tolerance)
    assert torch.equal(route(scores, 8, "quantile").bias, quantile_balance(scores, 8, 5))


def test_quantile_balance_goes_on_from_a_bias():
    scores = blog_scores()[:500]
    assert torch.equal(quantile_balance(scores, 8, 2, quantile_balance(scores, 8, 3)), quantile_balance(scores, 8, 5))


def test_quantile_balancing_approaches_the_best_balanced_assignment():
    """The optimum is an assignment problem: an expert as k·m/n places, a token as one row (k = 1)."""
    from scipy.optimize import linear_sum_assignment

    draw = np.random.RandomState(3)
    scores = draw.rand(240, 8) + draw.rand(8)
    rows, places = linear_sum_assignment(-np.repeat(scores, 30, axis=1))
    best = np.repeat(scores, 30, axis=1)[rows, places].sum()
    found = route(torch.from_numpy(scores), 1, "quantile", rounds=60)
    assert float(violation(found.load).max) < 0.1
    # the dual value at the bias found bounds the optimum from above
    bias = found.bias.numpy()
    assert (scores + bias).max(1).sum() - 30 * bias.sum() == pytest.approx(best, rel=2e-3)


def test_dynamic_quantile_is_balanced_in_one_round():
    routing = route(blog_scores(), 8, "dynamic-quantile")
    assert violation(routing.load).max < 1e-3
    assert (routing.indices >= 0).sum() / 20000 == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gate", ["none", "softmax", "sigmoid"])
def test_every_rule_routes(rule, gate):
    scores = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    routing = route(scores, 3, rule, gate, rate=0.01)
    rho = {"none": scores, "softmax": scores.softmax(1), "sigmoid": scores.sigmoid()}[gate]
    chosen = routing.indices >= 0
    assert torch.equal(routing.weights[chosen], rho.gather(1, routing.indices.clamp_min(0))[chosen])
    assert (routing.weights[~chosen] == 0).all()
    assert routing.load.sum() == pytest.approx(1)
    for row in routing.indices:
        kept = row[row >= 0].tolist()
        assert len(set(kept)) == len(kept)
    if RULES[rule].picks in ("top-k", "hash"):
        assert chosen.all() and routing.indices.shape == (300, 3)
    again = route(scores, 3, rule, gate, rate=0.01)
    assert torch.equal(again.indices, routing.indices)


def test_the_bias_enters_the_choice_but_not_the_weights():
    scores = blog_scores()[:2000]
    routing = route(scores, 8, "loss-free")
    assert torch.equal(routing.indices, (scores + routing.bias).topk(8).indices)
    assert not torch.equal(routing.indices.sort().values, scores.topk(8).indices.sort().values)
    assert torch.equal(routing.weights, scores.gather(1, routing.indices))


@pytest.mark.parametrize("rule", ["aux-loss", "loss-free", "loss-free-rms", "dynamic"])
def test_step_rules_balance(rule):
    scores = blog_scores()[:2000]
    before = violation(route(scores, 8, rule, rounds=0).load).max
    assert violation(route(scores, 8, rule, rounds=150).load).max < before / 4


def test_expert_choice_fills_every_expert():
    scores = torch.randn(96, 8, generator=torch.Generator().manual_seed(2))
    routing = route(scores, 2, "expert-choice")
    counts = torch.bincount(routing.indices[routing.indices >= 0], minlength=8)
    assert counts.tolist() == [24] * 8
    expert = 5
    best = scores[:, expert].topk(24).indices
    assert set(best.tolist()) == set(torch.where((routing.indices == expert).any(1))[0].tolist())


def test_expert_choice_is_the_dynamic_quantile_rule_on_the_same_tokens():
    scores = torch.randn(960, 12, generator=torch.Generator().manual_seed(2))
    by_expert, by_threshold = (route(scores, 3, rule) for rule in ("expert-choice", "dynamic-quantile"))
    assert torch.equal(by_expert.indices.sort().values, by_threshold.indices.sort().values)  # each ranks in its own way


def test_hash_depends_on_the_token_alone():
    ids = torch.tensor([7, 3, 7, 7, 3])
    first = route(torch.randn(5, 8), 2, "hash", ids=ids).indices.sort().values
    assert torch.equal(first[0], first[2]) and torch.equal(first[1], first[4])


@pytest.mark.parametrize("rule", RULES)
def test_weights_carry_the_gradient(rule):
    scores = torch.randn(30, 6, generator=torch.Generator().manual_seed(3), requires_grad=True)
    routing = route(scores, 2, rule, "sigmoid", rounds=3)
    routing.weights.sum().backward()
    chosen = torch.zeros(30, 7, dtype=torch.bool).scatter_(1, routing.indices % 7, True)[:, :6]
    slope = (scores.sigmoid() * (1 - scores.sigmoid())).detach()
    assert torch.allclose(scores.grad, torch.where(chosen, slope, 0.0))


def test_half_precision_is_routed():
    scores = torch.randn(64, 8, generator=torch.Generator().manual_seed(3)).bfloat16()
    assert torch.equal(route(scores, 2, "quantile").indices, route(scores.float(), 2, "quantile").indices)


def test_ties_still_give_k_experts():
    routing = route(torch.zeros(50, 8), 2)
    assert routing.indices.shape == (50, 2) and (routing.indices >= 0).all()


@pytest.mark.parametrize(("experts", "top_k"), [(8, 2), (64, 8)])
def test_load_balancing_loss_even_and_collapsed(experts, top_k):
    places = torch.arange(experts)
    even = 1e-4 * torch.stack([torch.cos(2 * math.pi * (places - shift) / experts) for shift in range(experts)])
    assert load_balancing_loss(even, top_k) == pytest.approx(top_k, rel=1e-5)
    collapsed = torch.where(places < top_k, 40.0, 0.0).expand(experts, experts)
    assert load_balancing_loss(collapsed, top_k) == pytest.approx(experts, rel=1e-5)


def test_load_balancing_loss_agrees_with_transformers():
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = torch.randn(200, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    ours, theirs = load_balancing_loss(logits, 2), load_balancing_loss_func((logits,), 8, 2)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    (our_gradient,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (their_gradient,) = torch.autograd.grad(theirs, logits)
    assert torch.allclose(our_gradient, their_gradient, atol=1e-8)


def test_shared_expert_scale_of_published_models():
    assert shared_expert_scale(162, 8, 2) == pytest.approx(16.0, abs=0.2)  # DeepSeek-V2
    assert shared_expert_scale(65, 7, 1, "sigmoid", True) == pytest.approx(2.446, abs=0.005)  # Moonlight
    # one routed expert and all others alike: λ = √s / p exactly
    assert shared_expert_scale(3, 3, 1, "sigmoid", True) > 1
    assert shared_expert_scale(3, 2, 1, "sigmoid", True) == pytest.approx(1)


def test_synthetic_scores_are_numpys():
    scores, ids = synthetic_scores("uniform", 20000, 64, 0)
    assert torch.equal(scores, blog_scores())
    assert ids.shape == (20000,)


def test_balance_streams_and_repeats():
    reports = list(balance(tokens=400, experts=16, top_k=2, rounds=12, rules=tuple(RULES)))
    assert [report.step for report in reports] == list(range(13))
    for now, report in enumerate(reports):  # what was handed out stays as it was
        assert np.isfinite(report.result.load[:, now]).all() and np.isnan(report.result.load[:, now + 1 :]).all()
    result = reports[-1].result
    assert result.load.shape == (len(RULES), 13, 16)
    assert np.allclose(result.load.sum(-1), 1, atol=1e-5)
    assert result.score[result.rules.index("top-k"), -1] == pytest.approx(1)
    assert np.allclose(result.active.sum(1), 1)
    again = list(balance(tokens=400, experts=16, top_k=2, rounds=12, rules=tuple(RULES)))[-1].result
    for name in ("load", "max", "score", "active", "balanced"):
        assert np.array_equal(getattr(result, name), getattr(again, name))


def test_balance_agrees_with_route():
    scores, ids = synthetic_scores("normal", 500, 16, 4)
    *_, last = compare_rules(scores, 4, ("loss-free", "quantile", "hash"), 6, rate=0.1, ids=ids)
    rate = 0.1 * float(scores.std())
    for row, rule in enumerate(last.result.rules):
        routing = route(scores, 4, rule, rounds=6, rate=rate, ids=ids)
        assert np.allclose(last.result.load[row, -1], routing.load, atol=1e-6)
        share = routing.weights.sum() / scores.topk(4).values.sum()
        assert last.result.score[row, -1] == pytest.approx(float(share), rel=1e-5)


def test_balanced_is_the_round_from_which_it_stays():
    *_, last = balance(tokens=1000, rules=("loss-free", "quantile", "top-k"), rounds=90)
    result = last.result
    for row, since in enumerate(result.balanced):
        late = result.max[row] > 0.1
        assert since == (-1 if late[-1] else 0 if not late.any() else np.flatnonzero(late)[-1] + 1)
    assert result.balanced[1] <= 3 < result.balanced[0]


def test_shared_scale_view():
    result = shared_scale()
    assert result.value == pytest.approx(result.scale[-1])
    assert (np.diff(result.scale) < 0).all()
    assert (result.low <= result.scale).all() and (result.scale <= result.high).all()
    assert result.known_computed == pytest.approx([16, 2.83, 2.446], rel=0.01)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: route(torch.randn(4, 3), 4), "top_k"),
        (lambda: route(torch.randn(4, 3), 0), "top_k"),
        (lambda: route(torch.tensor([[math.nan, 1.0]]), 1), "scores"),
        (lambda: route(torch.zeros(0, 3), 1), "scores"),
        (lambda: route(torch.randn(4, 3), 1, "nonsense"), "rule"),
        (lambda: route(torch.randn(4, 3), 1, gate="tanh"), "gate"),
        (lambda: route(torch.randn(4, 3), 1, "loss-free", rate=math.nan), "rate"),
        (lambda: route(torch.randn(4, 3), 1, "loss-free", rounds=10**9), "rounds"),
        (lambda: route(torch.randn(4, 3), 1, "hash", ids=torch.zeros(3)), "ids"),
        (lambda: quantile_balance(torch.randn(4, 3), 1, 10**9), "rounds"),
        (lambda: load_balancing_loss(torch.randn(4, 3), 5), "top_k"),
        (lambda: load(torch.tensor([[9]]), 8), "indices"),
        (lambda: shared_expert_scale(8, 2, 2), "shared"),
        (lambda: shared_expert_scale(8, 9, 2), "top_k"),
        (lambda: shared_scale(total_experts=10**9), "total_experts"),
        (lambda: shared_scale(shared_experts=8), "shared_experts"),
        (lambda: next(balance(tokens=100.5)), "tokens"),
        (lambda: next(balance(tokens="x")), "tokens"),
        (lambda: next(balance(top_k=65)), "top_k"),
        (lambda: next(balance(tokens=10**12)), "tokens"),
        (lambda: next(balance(source="?")), "source"),
        (lambda: next(balance(rules=["?"])), "rules"),
        (lambda: next(balance(rules=[])), "rules"),
        (lambda: next(balance(rate=math.nan)), "rate"),
        (lambda: next(balance(seed=-1)), "seed"),
        (lambda: next(balance(rounds=0)), "rounds"),
        (lambda: next(balance(gate="?")), "gate"),
    ],
)
def test_bad_arguments_name_themselves(call, names):
    with pytest.raises(ValueError, match=names):
        call()


@pytest.mark.parametrize("source", SYNTHETIC)
def test_every_source_is_unbalanced(source):
    scores, _ = synthetic_scores(source, 2000, 32)
    assert violation(route(scores, 4).load).max > 0.5


def test_balance_on_the_embedded_model():
    *_, last = balance(source="model", rules=("top-k", "quantile", "hash"), rounds=8, tokens=3000)
    result = last.result
    assert (result.experts, result.top_k, result.tokens) == (8, 2, 3000)
    assert result.max[1, -1] < 0.05 < result.max[0, -1]
