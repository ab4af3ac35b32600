"""Routing rules, load and balancing, against enumeration, closed forms, transformers, scipy and published figures."""

import math

import numpy as np
import pytest
import torch

from engines.moe import (
    GATES,
    RULES,
    Groups,
    gated,
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


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gate", GATES)
def test_lower_precision_is_routed_as_float64(rule, gate, kind):
    scores = (5 * torch.randn(64, 8, generator=torch.Generator().manual_seed(3))).to(kind)
    # few rounds: on a load that is even to one token the sign of the rest is a matter of the last bit
    one, exact = (route(s, 2, rule, gate, rounds=3) for s in (scores, scores.double()))
    differ = (one.indices.sort().values != exact.indices.sort().values).any(1)
    assert differ.float().mean() <= (0.05 if RULES[rule].step and gate != "none" else 0)
    assert torch.allclose(one.weights[~differ].double(), exact.weights[~differ], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("power", [-500, 500])
@pytest.mark.parametrize("rule", ["top-k", "quantile", "dynamic-quantile", "expert-choice", "hash"])
def test_scores_of_any_magnitude_are_routed_alike(rule, power):
    scores = torch.randn(200, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain, scaled = route(scores, 3, rule), route(scores * 2.0**power, 3, rule)
    assert torch.equal(plain.indices, scaled.indices)
    assert torch.equal(plain.weights * 2.0**power, scaled.weights) and torch.equal(plain.bias * 2.0**power, scaled.bias)


@pytest.mark.parametrize("rule", ["top-k", "loss-free", "quantile"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shift", [30.0, 1e4, -1e4])
def test_saturated_gates_keep_the_order_of_the_logits(rule, gate, shift):
    logits = 300 * torch.randn(40, 8, generator=torch.Generator().manual_seed(1)) + shift
    rounds = 0 if rule != "top-k" else None
    assert torch.equal(route(logits, 3, rule, gate, rounds).indices, logits.topk(3).indices)
    whole = route(logits, 3, rule, gate, rounds, renormalize=True)
    assert torch.isfinite(whole.weights).all() and torch.allclose(whole.weights.sum(1), torch.ones(40))


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_logits_one_step_apart_keep_their_order(gate):
    low = 3 * torch.randn(500, 7, generator=torch.Generator().manual_seed(2))
    best = low.amax(1, keepdim=True)
    logits = torch.cat((low, torch.nextafter(best, best + 1)), 1)
    assert (route(logits, 1, gate=gate).indices == 7).all()
    assert (gated(logits, gate).topk(1).indices == 7).float().mean() < 1  # which the rounded scores alone do not tell


def test_saturated_experts_choose_by_the_odds():
    logits = torch.tensor(
        [[50.0, 0.0], [80.0, 0.0], [60.0, 0.0], [40.0, 0.0]]
    )  # softmax and sigmoid of the first column: 1.0
    for gate in ("softmax", "sigmoid"):
        for rule in ("expert-choice", "dynamic-quantile"):
            chosen = (route(logits, 1, rule, gate).indices == 0).any(1)
            assert chosen.tolist() == [False, True, True, False], (gate, rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gate", GATES)
def test_no_tokens_are_routed_nowhere(rule, gate):
    routing = route(torch.zeros(0, 8), 2, rule, gate)
    assert routing.indices.shape[0] == routing.weights.shape[0] == 0 and (routing.load == 0).all()
    assert three(violation(routing.load)) == [0, 0, 0]


def test_the_loss_and_balancing_of_no_tokens():
    logits = torch.zeros(0, 8, requires_grad=True)
    loss = load_balancing_loss(logits, 2)
    loss.backward()
    assert loss == 0 and (quantile_balance(torch.zeros(0, 8), 2, 3) == 0).all()


def test_violation_in_every_precision():
    counts = torch.tensor([40_000, 20_000, 20_000, 0])
    for load_given in (counts, counts.half(), counts.double() * 2.0**1000, counts.double() * 2.0**-1000):
        assert three(violation(load_given)) == pytest.approx([1, -1, 0.5], rel=1e-3)


def test_group_limited_and_renormalised_choice_agrees_with_deepseek_v3():
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

    config = DeepseekV3Config(
        hidden_size=16, num_local_experts=16, n_routed_experts=16, num_experts_per_tok=3, n_group=4, topk_group=2
    )
    router, scale = DeepseekV3TopkRouter(config), config.routed_scaling_factor
    torch.manual_seed(0)
    with torch.no_grad():
        router.weight.normal_()
        logits, weights, indices = router(torch.randn(200, 16))
    ours = route(logits, 3, gate="sigmoid", renormalize=True, groups=Groups(4, 2, 2))
    theirs = torch.zeros(200, 16).scatter_(1, indices, weights / scale)
    assert torch.allclose(torch.zeros(200, 16).scatter_(1, ours.indices, ours.weights), theirs, atol=1e-6)
    assert not torch.equal(ours.indices.sort().values, route(logits, 3, gate="sigmoid").indices.sort().values)


def test_group_limited_choice_agrees_with_deepseek_v2():
    from transformers import DeepseekV2Config
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter

    config = DeepseekV2Config(
        hidden_size=16,
        num_attention_heads=2,
        n_routed_experts=16,
        num_experts_per_tok=4,
        n_group=4,
        topk_group=2,
        topk_method="group_limited_greedy",
    )
    router = DeepseekV2TopkRouter(config)
    torch.manual_seed(0)
    with torch.no_grad():
        router.weight.normal_()
        logits, weights, indices = router(torch.randn(200, 16))
    ours = route(logits, 4, gate="softmax", groups=Groups(4, 2))
    theirs = torch.zeros(200, 16).scatter_(1, indices, weights / config.routed_scaling_factor)
    assert torch.allclose(torch.zeros(200, 16).scatter_(1, ours.indices, ours.weights), theirs, atol=1e-6)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_renormalised_choice_agrees_with_transformers(family):
    import transformers
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
    from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter

    kind, config = {
        "mixtral": (MixtralTopKRouter, transformers.MixtralConfig),
        "gpt_oss": (GptOssTopKRouter, transformers.GptOssConfig),
    }[family]
    router = kind(config(hidden_size=16, num_local_experts=8, num_experts_per_tok=2))
    torch.manual_seed(0)
    with torch.no_grad():
        router.weight.normal_()
        logits, weights, indices = router(torch.randn(100, 16))
    ours = route(logits, 2, gate="softmax", renormalize=True)
    assert torch.equal(ours.indices, indices) and torch.allclose(ours.weights, weights, atol=1e-6)


def test_a_group_is_never_left_for_want_of_ties():
    routing = route(torch.full((20, 8), 30.0), 2, gate="sigmoid", groups=Groups(4, 1, 2))
    assert (routing.indices.sort().values[:, 0] // 2 == routing.indices.sort().values[:, 1] // 2).all()


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


def test_padding_is_left_out_of_the_loss_as_in_transformers():
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = torch.randn(60, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = (torch.arange(60) % 7 < 4).long()
    ours, theirs = load_balancing_loss(logits, 2, mask), load_balancing_loss_func((logits,), 8, 2, mask.view(2, 30))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert ours.item() == pytest.approx(load_balancing_loss(logits[mask > 0], 2).item(), rel=1e-6)
    ours.backward()
    assert (logits.grad[mask == 0] == 0).all() and (logits.grad[mask == 1] != 0).any(1).all()
    assert load_balancing_loss(logits, 2, torch.zeros(60)) == 0


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_loss_in_half_precision(kind):
    logits = (20 * torch.randn(500, 16, generator=torch.Generator().manual_seed(0))).to(kind).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    load_balancing_loss(logits, 2).backward()
    load_balancing_loss(exact, 2).backward()
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=0.02, atol=1e-5)


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
    assert 0 < result.balanced[1] <= 3 < result.balanced[0]


def test_shared_scale_view():
    result = shared_scale()
    assert result.active[0] == 3 and result.active[-1] == 64
    assert result.value == pytest.approx(result.scale[result.active == 8][0]) == pytest.approx(16, abs=0.2)
    assert (np.diff(result.scale) < 0).all()
    assert (result.low <= result.scale).all() and (result.scale <= result.high).all()


def test_lambda_of_published_models_and_where_it_is_not_theirs():
    result = shared_scale()
    assert result.computed == pytest.approx([16, 2.83, 2.446 * math.sqrt(2), 2.446], rel=0.01)
    assert result.published == pytest.approx([16, 2.5, 2.446, 2.446])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: route(torch.randn(4, 3), 4), "top_k must be a whole number from 1 to 3"),
        (lambda: route(torch.tensor([[math.nan, 1.0]]), 1), "scores must be finite"),
        (lambda: route(torch.full((2, 2), 3e38), 1), "scores must be finite, and below"),
        (lambda: route(torch.ones(2, 2, dtype=torch.long), 1), "scores must be a tensor of floating-point"),
        (lambda: route(torch.randn(4, 3), 1, "hash", ids=torch.zeros(3)), "ids must"),
        (lambda: route(torch.randn(4, 3), 1, renormalize=True), "renormalize needs the gate"),
        (lambda: route(torch.randn(4, 6), 1, groups=Groups(4, 1)), "groups.count must divide the 6 experts"),
        (lambda: route(torch.randn(4, 6), 4, groups=Groups(3, 1)), "groups.kept must be a whole number from 2"),
        (lambda: route(torch.randn(4, 6), 1, "hash", groups=Groups(3, 1)), "groups limit rules"),
        (lambda: route(torch.full((50, 8), 40.0), 2, "dynamic", "sigmoid"), "400 of 400 scores are equal"),
        (lambda: load_balancing_loss(torch.randn(4, 3), 1, torch.ones(3)), "mask must be"),
        (lambda: load(torch.tensor([[9]]), 8), "indices must be integers from 0 to 7"),
        (lambda: violation(torch.tensor([-1.0, 2.0])), "load must be finite and not negative"),
        (lambda: shared_expert_scale(8, 2, 2), "shared must be"),
        (lambda: shared_scale(shared=8), "top_k must be more than the 8 shared experts"),
        (lambda: next(balance(experts=32, top_k=64)), "top_k must be at most 32"),
        (lambda: next(balance(tokens=20_000, experts=256)), "at most 2,000,000, not 20,000 × 256"),
        (lambda: next(compare_rules(torch.randn(4, 3), 4, ("top-k",), 3)), "top_k must be"),
    ],
)
def test_what_a_refusal_says(call, says):
    with pytest.raises(ValueError, match=says):
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
