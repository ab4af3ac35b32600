"""Routing statistics by counting, the geometric view by enumeration, and the tiny mixture trained live."""

import math
from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from engines.moe import statistics
from engines.moe.geometry import best_subsets, omission_error, subset_errors
from engines.moe.training import TRAINED, adam, train


def some_indices(layers=2, tokens=40, experts=6, top_k=2, seed=0):
    order = torch.rand(layers, tokens, experts, generator=torch.Generator().manual_seed(seed)).argsort(-1)
    indices = order[..., :top_k]
    indices[:, [3, 17]] = -1  # padding
    return indices


def test_co_activation_by_counting():
    indices = some_indices()
    found = statistics.co_activation(indices, 6)
    for layer in range(2):
        sets = [set(row.tolist()) for row in indices[layer] if row[0] >= 0]
        for i in range(6):
            using = [chosen for chosen in sets if i in chosen]
            for j in range(6):
                assert found[layer, i, j] == pytest.approx(sum(j in c for c in using) / max(1, len(using)))


def test_specialisation_by_counting():
    indices = some_indices()
    groups = torch.arange(40) % 3
    groups[5] = -1
    found = statistics.specialisation(indices, groups, 4, 6)
    for layer in range(2):
        for group in range(3):
            rows = [set(r.tolist()) for r, g in zip(indices[layer], groups, strict=True) if g == group and r[0] >= 0]
            for expert in range(6):
                assert found[layer, group, expert] == pytest.approx(sum(expert in row for row in rows) / len(rows))
    assert (found[:, 3] == 0).all()
    assert found[:, :3].sum(-1) == pytest.approx(np.full((2, 3), 2), rel=1e-6)


def test_flow_by_counting():
    indices = some_indices()
    counted = Counter((int(a[0]), int(b[0])) for a, b in zip(indices[0], indices[1], strict=True) if a[0] >= 0)
    found = statistics.flow(indices[0], indices[1], 6)
    assert found.sum() == 38
    assert all(found[pair] == count for pair, count in counted.items())


def test_repeats_by_counting():
    indices = some_indices()
    rate, chance = statistics.repeat_rate(indices, 6), statistics.repeat_chance_of_load(indices, 6)
    for layer in range(2):
        rows = indices[layer].tolist()
        near = [(a, b) for a, b in pairwise(rows) if a[0] >= 0 and b[0] >= 0]
        far = [(a, b) for a, b in combinations([row for row in rows if row[0] >= 0], 2)]
        for found, pairs in ((rate, near), (chance, far)):
            assert found.first[layer] == pytest.approx(np.mean([a[0] == b[0] for a, b in pairs]))
            assert found.any[layer] == pytest.approx(np.mean([bool(set(a) & set(b)) for a, b in pairs]))


def test_repeat_chance_by_enumeration():
    first, either = statistics.repeat_chance(8, 2)
    sets = [set(pair) for pair in combinations(range(8), 2)]
    assert (first, either) == pytest.approx((1 / 8, np.mean([bool(a & b) for a in sets for b in sets])))
    assert either == pytest.approx(0.4643, abs=5e-5)
    assert statistics.repeat_chance(8, 1) == pytest.approx((1 / 8, 1 / 8))
    assert statistics.repeat_chance(2, 2)[1] == 1


def test_random_routing_repeats_at_chance():
    indices = torch.rand(20_000, 8, generator=torch.Generator().manual_seed(5)).argsort(-1)[:, :2]
    rate = statistics.repeat_rate(indices, 8)
    expected = statistics.repeat_chance(8, 2)
    assert (float(rate.first), float(rate.any)) == pytest.approx(expected, abs=4 * 0.5 / math.sqrt(20_000))


def test_router_entropy_limits():
    assert statistics.router_entropy(torch.zeros(3, 16)) == pytest.approx(np.ones(3))
    assert statistics.router_entropy(torch.tensor([100.0, 0, 0])) == pytest.approx(0, abs=1e-6)


def test_router_entropy_in_half_precision_and_shifted():
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = statistics.router_entropy(logits)
    assert torch.allclose(statistics.router_entropy(logits + 2.0**20), exact, atol=1e-9)
    half = logits.half()
    assert torch.allclose(statistics.router_entropy(half).double(), statistics.router_entropy(half.double()), atol=1e-3)
    assert statistics.router_entropy(torch.zeros(3, 1)).tolist() == [0, 0, 0]


def test_statistics_of_no_tokens():
    none = torch.zeros(2, 0, 2, dtype=torch.long)
    assert (statistics.co_activation(none, 4) == 0).all() and (statistics.flow(none[0], none[1], 4) == 0).all()
    assert (statistics.specialisation(none, torch.zeros(0, dtype=torch.long), 3, 4) == 0).all()


def test_statistics_refuse_what_they_cannot_count():
    with pytest.raises(ValueError, match="indices"):
        statistics.assignments(torch.tensor([[8]]), 8)
    with pytest.raises(ValueError, match="indices"):
        statistics.repeat_rate(torch.tensor([[1, 2]]), 8)
    with pytest.raises(ValueError, match="top_k"):
        statistics.repeat_chance(8, 9)


def test_orthogonal_vectors_are_best_kept_by_norm():
    draw = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 20, 7, generator=draw, dtype=torch.float64)).Q.mT
    vectors = basis * torch.rand(5, 7, 1, generator=draw, dtype=torch.float64)
    ranks = vectors.norm(dim=-1).argsort(1, descending=True).argsort(1)
    best = best_subsets(vectors)
    for kept in range(8):
        assert omission_error(vectors, ranks < kept).numpy() == pytest.approx(best[:, kept].numpy(), abs=1e-12)


def test_best_subsets_by_enumeration():
    vectors = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    best = best_subsets(vectors)
    for kept in range(6):
        errors = []
        for subset in combinations(range(5), kept):
            mask = torch.zeros(3, 5, dtype=torch.bool)
            mask[:, list(subset)] = True
            errors.append(omission_error(vectors, mask))
        assert torch.stack(errors).amin(0).numpy() == pytest.approx(best[:, kept].numpy(), abs=1e-12)


def test_random_choice_is_the_mean_over_all_subsets():
    result = subset_errors(blocks=4, dim=6, units=3)
    assert result.random[0] == pytest.approx(1) and result.random[-1] == pytest.approx(0, abs=1e-6)
    draw = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    squares, total = draw.square().sum(), draw.sum(1).square().sum()
    masks = torch.tensor([[i in s for i in range(4)] for s in combinations(range(4), 2)])
    mean = omission_error(draw.expand(6, 4, 6), masks).mean()
    p, q = 2 / 4, 2 / 4 * 1 / 3
    assert mean == pytest.approx(float((p - q) * squares / total + q))


@pytest.mark.parametrize("vectors", ["ffn", "orthogonal"])
def test_tokens_that_no_unit_answers_are_left_out(vectors):
    result = subset_errors(blocks=2, units=1, vectors=vectors)
    for curve in (result.best, result.norm, result.learned, result.random, result.orthogonal):
        assert np.isfinite(curve).all() and curve[0] == pytest.approx(1)


def test_the_path_of_sums_ends_at_y_and_is_as_far_from_it_as_is_missed():
    result = subset_errors(blocks=6, dim=16, units=2)
    missed = np.linalg.norm(result.paths - np.array([1.0, 0.0]), axis=-1) ** 2
    np.testing.assert_allclose(missed[..., 0], 1, atol=1e-5)
    np.testing.assert_allclose(missed[..., -1], 0, atol=1e-5)
    greatest, best, router, any_order = missed.mean(1)
    assert best[3] < min(greatest[3], router[3], any_order[3]) and greatest[3] < any_order[3]


@pytest.mark.parametrize("vectors", ["ffn", "orthogonal"])
def test_subset_errors_are_ordered(vectors):
    result = subset_errors(vectors=vectors)
    for curve in (result.best, result.norm, result.learned, result.random):
        assert curve[0] == pytest.approx(1, abs=1e-5) and curve[-1] == pytest.approx(0, abs=1e-5)
    inner = slice(1, -1)
    assert (result.best <= result.norm + 1e-6).all()
    assert (result.norm < result.learned)[inner].all() and (result.learned < result.random)[inner].all()
    if vectors == "orthogonal":
        assert result.norm == pytest.approx(result.best, abs=1e-5)
        assert result.norm == pytest.approx(result.orthogonal, abs=1e-5)
        assert result.cosine == pytest.approx(0, abs=1e-5)


def test_orthogonal_vectors_need_room():
    with pytest.raises(ValueError, match="dim must be at least 10, the number of blocks"):
        subset_errors(vectors="orthogonal", blocks=10, dim=8)


@pytest.mark.parametrize("power", [-500, 500])
def test_errors_of_vectors_of_any_magnitude(power):
    vectors = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = torch.arange(6) < 2
    assert torch.allclose(omission_error(vectors * 2.0**power, kept), omission_error(vectors, kept))
    assert torch.allclose(best_subsets(vectors * 2.0**power), best_subsets(vectors))
    half = vectors.half()
    assert torch.allclose(best_subsets(half * 2.0**12).double(), best_subsets(half.double()), rtol=1e-2, atol=1e-3)


def test_a_sum_of_zero_has_no_relative_error():
    with pytest.raises(ValueError, match="vectors must not sum to 0"):
        omission_error(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), torch.tensor([True, False]))


def test_training_learns_and_balancing_balances():
    reports = list(train(steps=100))
    assert reports[-1].step == reports[-1].total == 100 and len(reports) <= 60
    result = reports[-1].result
    assert result.loss.shape == (len(TRAINED), len(result.step))
    assert (result.loss[:, -1] < 0.9 * result.loss[:, 0]).all()
    assert np.allclose(result.load.sum(-1), 1, atol=1e-5)
    assert np.allclose(result.kinds.sum(-1), 1, atol=1e-5)
    violated = dict(zip(result.rules, result.violation[:, -1], strict=True))
    assert violated["loss-free"] < violated["top-k"] / 2 and violated["quantile"] < violated["top-k"] / 2


def test_training_is_deterministic_and_rules_do_not_meet():
    *_, both = train(steps=20, rules=["top-k", "loss-free"])
    *_, again = train(steps=20, rules=["top-k", "loss-free"])
    *_, alone = train(steps=20, rules=["top-k"])
    assert np.array_equal(both.result.loss, again.result.loss)
    assert both.result.loss[0] == pytest.approx(alone.result.loss[0], rel=1e-4)


def test_a_token_cannot_use_more_experts_than_there_are():
    with pytest.raises(ValueError, match="top_k must be at most 6, the number of experts; it is 8"):
        next(train(experts=6, top_k=8))


def test_adam_is_torchs():
    weight = torch.randn(5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    other = weight.detach().clone().requires_grad_()
    peer, moments = torch.optim.Adam([other], lr=0.05), [(torch.zeros(5), torch.zeros(5))]
    for step in range(1, 6):
        adam([weight], torch.autograd.grad(weight.pow(4).sum(), [weight]), moments, step, 0.05)
        peer.zero_grad()
        other.pow(4).sum().backward()
        peer.step()
    assert torch.allclose(weight, other, atol=1e-6)
