"""Directions of several gradients against brute force and their own defining conditions; losses of several labels."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from engines import objectives as family
from engines.objectives.experiments import common_cone, degrees_between
from engines.objectives.toy import toy_losses

PLAIN = ("sum", "normalised", "min_norm", "pcgrad", "cagrad", "imtl_g", "nash", "upgrad")


def gradients(tasks, d, seed, spread=0.0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=(tasks, d)) * 10 ** random.uniform(-spread, spread, (tasks, 1)))


def shortest_by_faces(g):
    """|u|^2 of the min-norm vector: the least over all faces of the simplex whose stationary weights are not negative."""
    found = []
    for count in range(1, len(g) + 1):
        for face in itertools.combinations(range(len(g)), count):
            gram = (g[list(face)] @ g[list(face)].T).numpy()
            system = np.block([[gram, -np.ones((count, 1))], [np.ones((1, count)), np.zeros((1, 1))]])
            weights = np.linalg.lstsq(system, np.eye(count + 1)[-1], rcond=None)[0][:count]
            if (weights >= -1e-12).all():
                found.append(weights @ gram @ weights)
    return min(found)


@pytest.mark.parametrize("seed", range(12))
def test_min_norm_is_the_least_over_all_faces_and_conflicts_with_no_task(seed):
    g = gradients(2 + seed % 5, 8, seed, spread=1.5)
    weights, u = family.min_norm(g)
    assert abs(float(weights.sum()) - 1) < 1e-12 and weights.min() >= 0
    torch.testing.assert_close(weights @ g, u)
    assert abs(float(u @ u) / shortest_by_faces(g) - 1) < 1e-9
    assert (g @ u).min() > float(u @ u) * (1 - 1e-9)


def test_min_norm_of_gradients_around_zero_is_zero():
    g = torch.tensor([[1.0, 0], [-0.5, 0.9], [-0.5, -0.9]], dtype=torch.float64)
    weights, u = family.min_norm(g)
    assert u.norm() < 1e-14
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.5, 0.5]).double() / 1.5)
    assert family.min_norm([[0.0, 0], [1, 1]])[1].norm() == 0


@pytest.mark.parametrize("rule", PLAIN)
def test_two_tasks_have_the_direction_of_the_closed_form(rule):
    for seed in range(25):
        g = gradients(2, 5, seed, spread=1.5)
        a, b, d = float(g[0] @ g[0]), float(g[1] @ g[1]), float(g[0] @ g[1])
        c = (seed % 10) / 10
        w1, w2 = family.pair_weights(rule, a, b, d, c=c)
        u, v = (float(w1) * g[0] + float(w2) * g[1]).numpy(), family.RULES[rule](g, (1.0, 1.0), c).numpy()
        assert degrees_between(u, v) < 1e-5


def test_cagrad_is_the_best_of_its_ball():
    g = gradients(3, 6, 1)
    mean = g.mean(0)
    random = np.random.default_rng(0)
    for c in (0.2, 0.5, 0.9):
        u = family.cagrad(g, c)
        assert abs(float((u - mean).norm() / mean.norm()) - c) < 1e-9
        e = torch.from_numpy(random.normal(size=(5000, 6)))
        others = mean + c * mean.norm() * e / e.norm(dim=1, keepdim=True)
        assert (others @ g.T).amin(1).max() <= float((g @ u).min()) + 1e-9
    torch.testing.assert_close(family.cagrad(g, 0), mean)


def test_rules_meet_the_equations_that_define_them():
    g = gradients(4, 7, 3)
    unit = g / g.norm(dim=1, keepdim=True)
    u = family.imtl_g(g)
    assert (unit @ u).std() < 1e-10
    u = family.nash(g)
    a = torch.linalg.lstsq(g.T, u[:, None]).solution[:, 0]
    torch.testing.assert_close(a * (g @ u), torch.ones(4).double())
    u = family.upgrad(g)
    assert (g @ u).min() > -1e-12
    # each projection by itself, by descent on the dual
    projected = []
    for own in g:
        v = torch.zeros(4, dtype=torch.float64)
        for _ in range(20_000):
            v = (v - 0.05 * (g @ (own + v @ g))).clamp_min(0)
        projected.append(own + v @ g)
    torch.testing.assert_close(torch.stack(projected).mean(0), u, atol=1e-8, rtol=0)


def test_pcgrad_of_three_tasks_is_the_mean_over_all_orders():
    g = gradients(3, 3, 8)
    made = []
    for task in range(3):
        for order in itertools.permutations([j for j in range(3) if j != task]):
            u = g[task].clone()
            for j in order:
                inner = u @ g[j]
                if inner < 0:
                    u = u - inner / (g[j] @ g[j]) * g[j]
            made.append(u)
    torch.testing.assert_close(torch.stack(made).mean(0), family.pcgrad(g))


def test_a_rule_depends_on_inner_products_alone():
    g = gradients(3, 5, 2)
    turn = torch.linalg.qr(gradients(9, 5, 4)).Q
    for rule in PLAIN:
        torch.testing.assert_close(
            family.RULES[rule](g @ turn.T, (1,) * 3, 0.5), turn @ family.RULES[rule](g, (1,) * 3, 0.5)
        )


def test_which_rules_a_change_of_units_turns():
    g = gradients(2, 4, 5)
    scaled = g * torch.tensor([[7.0], [1.0]])
    for rule in PLAIN:
        before, after = (family.RULES[rule](x, (1, 1), 0.5).numpy() for x in (g, scaled))
        assert (degrees_between(before, after) < 1e-5) == (rule in ("normalised", "imtl_g", "nash"))
    before, after = family.log_sum(g, (2, 1)).numpy(), family.log_sum(scaled, (14, 1)).numpy()
    assert degrees_between(before, after) < 1e-5 < degrees_between(before, family.log_sum(g, (5, 1)).numpy())


def test_cone_of_the_plane_by_sampling():
    random = np.random.default_rng(0)
    angles = np.linspace(-math.pi, math.pi, 20_001)
    for _ in range(50):
        g = random.normal(size=(3, 2))
        allowed = (g @ np.stack([np.cos(angles), np.sin(angles)]) > 0).all(0)
        low, high = common_cone(g)
        share = 0.0 if np.isnan(low) else (high - low) / (2 * math.pi)
        assert abs(allowed.mean() - share) < 2e-4


def test_gradients_of_the_toy_are_those_of_its_losses():
    x = np.random.default_rng(1).uniform(-9, 9, (400, 2))
    x[:, 1] += np.where(np.abs(x[:, 1]) < 0.01, 0.1, 0)
    for k in range(2):
        h = 1e-6 * np.eye(2)[k]
        numeric = (toy_losses(x + h)[0] - toy_losses(x - h)[0]) / 2e-6
        np.testing.assert_allclose(toy_losses(x)[1][..., k], numeric, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", family.LOSSES.values(), ids=family.LOSSES)
def test_losses_bear_large_scores_and_full_or_empty_labels(loss):
    for labels in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
        s = torch.tensor([500.0, -500.0, 0.3], requires_grad=True)
        value = loss(s, labels)
        slope = torch.autograd.grad(value, s)[0]
        assert value.isfinite() and slope.isfinite().all()


def test_zlpr_is_least_at_half_the_logit():
    t = torch.tensor([0.9, 0.2, 0.5, 0.01], dtype=torch.float64)
    s = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([s], max_iter=500, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        optimiser.zero_grad()
        value = family.zlpr(s, t)
        value.backward()
        return value

    optimiser.step(closure)
    torch.testing.assert_close(s.detach(), family.zlpr_optimum(t), atol=1e-6, rtol=0)
    assert family.zlpr(torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)).shape == (2, 3)


def test_forms_of_the_m_way_loss():
    s = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.tensor([0, 1, 1, 0, 1, 0])
    torch.testing.assert_close(family.multiway(s, target, 2), family.zlpr(s[:, 1] - s[:, 0], target))
    one = torch.randn(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    crossed = torch.nn.functional.cross_entropy(one, torch.tensor(2))
    for form in (1, 2):
        torch.testing.assert_close(family.multiway(one, 2, form), crossed)
    # the soft optimum of form 3 is the softmax: the mixture of its losses is stationary at log p
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    at = p.log().requires_grad_()
    inner = sum(q * (family.multiway(at, j, 3).exp() - 1) for j, q in enumerate(p))
    assert torch.autograd.grad(inner.log1p(), at)[0].abs().max() < 1e-12


@pytest.mark.parametrize("mean, std", [(1, 1), (1, 0.5), (0, 1.3), (3, 0.3), (0.5, 2)])
def test_density_ratio_against_quadrature_and_draws(mean, std):
    auc, share = family.density_ratio_gaussian(mean, std)
    random = np.random.default_rng(0)
    p, q = random.normal(size=200_000), mean + std * random.normal(size=200_000)
    wins = family.exact_log_ratio(q, mean, std) > family.exact_log_ratio(p, mean, std)
    assert abs(wins.mean() - auc) < 4 * math.sqrt(0.25 / 200_000)
    if std < math.sqrt(2):
        square = quad(
            lambda x: math.exp(2 * float(family.exact_log_ratio(x, mean, std)) - x * x / 2) / math.sqrt(2 * math.pi),
            -40,
            40,
            limit=400,
        )[0]
        assert abs(1 / square / share - 1) < 1e-8
    else:
        assert share == 0
    assert abs(family.weighted_mean(mean, std, "ratio", 2) - mean**2 - std**2) < 1e-9
