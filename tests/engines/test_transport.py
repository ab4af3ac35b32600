"""Wasserstein distances, critics and descents against enumeration, scipy, closed forms and each other."""

import itertools
import math
import shutil
import types
from dataclasses import replace

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import torch
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

from engines import models
from engines.transport import (
    bures,
    checks,
    critic_plane,
    descent_decay,
    extend,
    gaussian_batch_distance,
    jko_gaussian,
    ornstein_uhlenbeck,
    steepest_slope,
    svgd_pair,
    two_point_critic,
    uniform_batch_distance,
    wasserstein,
)
from engines.transport import critic_flow as critic_flow_module
from engines.transport import critics as critics_module
from engines.transport import descent as descent_module
from engines.transport import downhill as laws
from engines.transport import generators as generators_module
from engines.transport.checks import CHECKS
from engines.transport.critic_flow import KINDS, critic_flow, differences, gaussian_w1, slope_of
from engines.transport.critics import CRITICS, Critic, c_transform_dual, slopes, train_critics
from engines.transport.data import geometric_median, halves, k_medians, plane_law
from engines.transport.descent import METHODS, descent, flow, landscape, walk
from engines.transport.downhill import METHODS as METHODS_OF_LAWS
from engines.transport.downhill_plane import OF_PLANE
from engines.transport.experiments import critics, distance, generators, minibatch, train
from engines.transport.generators import GENERATORS, WEIGHTS, load, matched_distance, pictures, train_generator


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("power", [1, 1.5, 2])
@pytest.mark.parametrize("seed", range(3))
def test_matching_is_the_best_of_all_permutations(power, seed):
    x, y = normal(6, 3, seed=seed), normal(6, 3, seed=seed + 50)
    cost = np.linalg.norm(x[:, None] - y, axis=-1) ** power
    best = min(np.mean([cost[i, j] for i, j in enumerate(order)]) for order in itertools.permutations(range(6)))
    found = wasserstein(x, y, power)
    assert abs(found.value - best) < 1e-12
    assert abs(np.mean(cost[np.arange(6), found.matching]) - best) < 1e-12


@pytest.mark.parametrize("n, d, power", [(1, 2, 1), (2, 1, 1), (40, 2, 1), (40, 2, 2), (130, 64, 1), (130, 64, 2)])
def test_potential_is_feasible_and_reaches_the_value(n, d, power):
    x, y = normal(n, d), normal(n, d, seed=1) + 0.3
    best = wasserstein(x, y, power)
    cost = np.linalg.norm(x[:, None] - y, axis=-1) ** power
    assert (best.potential[:n, None] - best.potential[n:] - cost).max() < 1e-11 * max(1, cost.max())
    assert abs(best.potential[:n].mean() - best.potential[n:].mean() - best.value) < 1e-12 * max(1, cost.max())
    if power == 1:
        both = np.concatenate((x, y))
        assert steepest_slope(both, best.potential) == pytest.approx(1, abs=1e-9)
        again = extend(both, y, best.potential[n:])
        np.testing.assert_allclose(again, best.potential, atol=1e-11)
        far = normal(200, d, seed=3) * 3
        assert steepest_slope(far, extend(far, y, best.potential[n:])) <= 1 + 1e-9


def test_agrees_with_scipy_on_a_line_and_in_the_plane():
    x, y = normal(50), normal(50, seed=1) * 2 + 1
    assert wasserstein(x, y).value == pytest.approx(wasserstein_distance(x, y), abs=1e-12)
    x, y = normal(8, 2), normal(8, 2, seed=1)
    assert wasserstein(x, y).value == pytest.approx(wasserstein_distance_nd(x, y), abs=1e-9)
    n = 7
    x, y = normal(n, 2), normal(n, 2, seed=1)
    cost = ((x[:, None] - y) ** 2).sum(-1)
    rows = [np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))]
    program = linprog(cost.ravel() / n, A_eq=np.concatenate(rows), b_eq=np.ones(2 * n))
    assert wasserstein(x, y, 2).value == pytest.approx(program.fun, abs=1e-9)


def test_equal_points_and_one_point():
    x = np.ones((5, 2))
    assert wasserstein(x, x).value == 0 and steepest_slope(x, np.zeros(5)) == 0
    assert wasserstein([[0, 0]], [[3, 4]]).value == 5
    y = normal(30, 4)
    assert wasserstein(y, y[::-1].copy()).value == 0
    assert sorted(wasserstein(y, y[::-1].copy()).matching) == list(range(30))
    assert wasserstein(torch.zeros(3, 2), np.ones((3, 2)), 2).value == pytest.approx(2)


def test_value_follows_shift_and_scale():
    x, y = normal(60, 5), normal(60, 5, seed=1)
    assert wasserstein(x, x + np.array([3, 4, 0, 0, 0])).value == pytest.approx(5)
    assert wasserstein(2 * x, 2 * y).value == pytest.approx(2 * wasserstein(x, y).value)


def test_batch_distance_of_the_uniform_law():
    for n in (1, 2, 3, 10, 400):
        exact = 4**n / (2 * (2 * n + 1) * math.comb(2 * n, n))
        assert uniform_batch_distance(n) == pytest.approx(exact, rel=1e-12)
    assert uniform_batch_distance(10**6) * 1000 == pytest.approx(math.sqrt(math.pi) / 4, rel=1e-5)


def test_batch_distance_of_a_gaussian_by_draws():
    x = normal(20_000, 2, 30)
    found = gaussian_batch_distance(30)
    for norms, value in (
        (np.linalg.norm(x[:, 0], axis=1), found.to_mean),
        (np.linalg.norm(x[:, 0] - x[:, 1], axis=1), found.to_each_other),
    ):
        assert abs(norms.mean() - value) < 4 * norms.std() / math.sqrt(len(norms))
    assert gaussian_batch_distance(1).to_mean == pytest.approx(math.sqrt(2 / math.pi))


def test_bures_of_diagonal_and_turned_covariances():
    turn, _ = np.linalg.qr(normal(3, 3))
    a, b = np.diag([1.0, 4, 9]), np.diag([4.0, 4, 1])
    exact = 5 + 1 + 0 + 4
    mean = np.array([1.0, 2, 0])
    assert bures(mean, a, np.zeros(3), b) == pytest.approx(exact)
    assert bures(turn @ mean, turn @ a @ turn.T, np.zeros(3), turn @ b @ turn.T) == pytest.approx(exact)
    one, other = normal(3, 3, seed=4), normal(3, 3, seed=5)
    one, other = one @ one.T, other @ other.T
    assert bures(mean, one, mean, other) == pytest.approx(bures(mean, other, mean, one))
    x, y = normal(300, 2), normal(300, 2, seed=1) * [1, 3] + 1
    bound = bures(x.mean(0), np.cov(x.T, bias=True), y.mean(0), np.cov(y.T, bias=True))
    assert 0 < bound <= wasserstein(x, y, 2).value


def test_relaxation_obeys_its_equations():
    """dKL/dt = −I, by difference quotients; at time 0 it is where it began."""
    assert ornstein_uhlenbeck(2, 0.25, 0)[:2] == (2, 0.25)
    h = 1e-5
    for time in (0.3, 1.0, 2.5):
        lost = (ornstein_uhlenbeck(2, 0.25, time - h).kl - ornstein_uhlenbeck(2, 0.25, time + h).kl) / (2 * h)
        assert lost == pytest.approx(ornstein_uhlenbeck(2, 0.25, time).fisher, rel=1e-7)


def test_a_jko_step_minimises_its_objective():
    mean, std = jko_gaussian(2, 0.5, 0.1, 1)

    def objective(m, s):
        return (s**2 + m**2 - 1) / 2 - math.log(s) + ((m - 2) ** 2 + (s - 0.5) ** 2) / 0.2

    for dm, ds in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert objective(mean + dm, std + ds) > objective(mean, std)
    assert jko_gaussian(2, 0.5, 1e-4, 10_000)[0] == pytest.approx(2 * math.exp(-1), rel=1e-4)
    assert jko_gaussian(0, 1, 5.0, 7) == (0, 1)


@pytest.mark.parametrize("h", [0.3, 1.0, 2.0])
def test_two_particles_rest_where_the_closed_form_says(h):
    x = np.array([-0.2, 0.7])
    for _ in range(6000):
        x = laws.svgd_step("gaussian", x, 0.1, h)
    np.testing.assert_allclose(x, [-svgd_pair(h), svgd_pair(h)], atol=1e-8)


def test_the_two_point_critic_is_the_best():
    for distance_, penalty, centre in ((1, 10, 1), (2, 0.5, 0), (0.3, 3, 1)):
        best = two_point_critic(distance_, penalty, centre)
        for slope in best.slope + np.linspace(-0.5, 0.5, 11):
            assert distance_ * slope - penalty * (abs(slope) - centre) ** 2 <= best.objective + 1e-12
    assert two_point_critic(3, 0.5, 0)[:2] == (3, 9)


def test_critics_on_the_line():
    """At every place the slope maximises m s − λ (|s| − c)², by search; two Gaussians apart by their means alone have W1."""
    moves, candidates = np.array([-1.3, 0.4, 2.0]), np.linspace(-4, 4, 80_001)
    for kind, centre, penalty in (("gp_at_1", 1, 10.0), ("gp_at_0", 0, 0.7), ("reflow", 0, 0.5)):
        best = candidates[(moves[:, None] * candidates - penalty * (np.abs(candidates) - centre) ** 2).argmax(1)]
        np.testing.assert_allclose(slope_of(kind, moves, penalty), best, atol=2e-4)
    for std in (0.5, 1.0, 1.7):
        quantile = np.sort(normal(400_000))
        assert gaussian_w1(1.2, std) == pytest.approx(np.abs(1.2 + (std - 1) * quantile).mean(), abs=5e-3)
    made, w1, _ = differences("gaussians", 3.0, 1.0, 1e6)
    assert made[0] == pytest.approx(w1, abs=1e-4)


def test_the_differences_of_critics_are_means_over_draws():
    result = critic_flow("gaussians", 2.0, 10.0, 0.6)
    y, x = normal(200_000), 2 + 0.6 * normal(200_000, seed=1)
    for i, _ in enumerate(KINDS):
        drawn = np.interp(x, result.z, result.critic[i]) - np.interp(y, result.z, result.critic[i])
        assert abs(drawn.mean() - result.now[i]) < 5 * drawn.std() / math.sqrt(len(drawn)) + 5e-3


def test_critics_of_the_plane_solve_their_equations_over_draws():
    """Of the best D, E φ(x) − E φ(y) is E ∇D·∇φ (ReFlow) and 2λ E (|∇D| − 1) ∇D/|∇D|·∇φ (about 1), whatever φ is."""
    law, n, penalty = plane_law("three"), 40_000, 2.0
    made = critic_plane.plane_critics(law, penalty)
    x, y, t = law.sample(n, 0, critic_plane.SIGMA).numpy(), normal(n, 2), np.random.default_rng(1).random((n, 1))
    slope = dict(zip(KINDS, made.slope(t * x + (1 - t) * y), strict=True))
    length = np.linalg.norm(slope["gp_at_1"], axis=1, keepdims=True)
    forces = slope["reflow"], 2 * penalty * slope["gp_at_0"], 2 * penalty * (1 - 1 / length) * slope["gp_at_1"]
    for along in np.array([[1.0, 0.5], [-0.4, 1.2]]):
        between = (t * x + (1 - t) * y) @ along
        ends = np.sin(x @ along) - np.sin(y @ along)
        for force in forces:
            off = force @ along * np.cos(between) - ends
            assert abs(off.mean()) < 5 * off.std() / math.sqrt(n)


def test_a_step_in_the_plane_comes_nearer_and_reflow_is_the_penalty_about_0():
    found = critic_flow("plane", penalty=0.5)
    reflow, about_0 = found.kinds.index("reflow"), found.kinds.index("gp_at_0")
    np.testing.assert_allclose(found.critic[reflow], found.critic[about_0], atol=1e-9)
    assert found.chance < found.after[reflow] < 0.8 * found.w1
    assert np.square(found.x - found.y).sum(1).mean() == pytest.approx(found.w2_squared)
    assert critic_flow("plane", penalty=10.0).after[about_0] > 0.9 * found.w1


def test_critics_hold_their_constraints():
    x, y = (torch.as_tensor(normal(64, 2, seed=s) + s, dtype=torch.float32) for s in (0, 1))
    t = torch.rand(64, generator=torch.Generator().manual_seed(0))
    made = {name: Critic(name, 2, seed=3) for name in CRITICS}
    for critic in made.values():
        for _ in range(60):
            critic.update(x, y, t)
    assert max(float(p.detach().abs().max()) for p in made["clip"].net.parameters()) <= 0.01
    assert made["spectral"].steepest(x, y) < 1.1
    exact = wasserstein(x, y).value
    assert made["exact"].estimate(x, y) == pytest.approx(exact, abs=1e-5)
    assert 0 < made["c_transform"].estimate(x, y) <= exact + 1e-5
    assert made["clip"].estimate(x, y) < 0.02 < made["gp_at_1"].estimate(x, y)
    assert made["gp_at_0"].estimate(x, y) < made["gp_at_1"].estimate(x, y)


def test_c_transform_of_the_potential_is_w1():
    x, y = normal(40, 3), normal(40, 3, seed=1)
    best = wasserstein(x, y)
    a, b, at_y = (torch.as_tensor(part) for part in (x, y, best.potential[40:]))
    assert float(c_transform_dual(lambda _: at_y, a, b)) == pytest.approx(best.value, abs=1e-12)
    assert float(c_transform_dual(lambda z: z[:, :1], a, b)) < best.value


def test_slopes_are_those_of_a_plane():
    plane = torch.tensor([[3.0], [4.0]])
    torch.testing.assert_close(slopes(lambda z: z @ plane, torch.zeros(5, 2)), torch.full((5,), 5.0))


def test_training_stops_with_a_sentence_where_numbers_end():
    bad = Critic("gp_at_1", 1, penalty=1e6, rate=1.0)
    for p in bad.net.parameters():
        p.data.fill_(1e30)
    known = normal(16, 1), normal(16, 1, seed=1)
    with pytest.raises(ValueError, match="gp_at_1 left the finite numbers at step"):
        list(train_critics([bad], known, known, 8, 5))


def test_the_perfect_critic_knows_its_batch_alone():
    *_, last = critics("halves", ("exact", "c_transform"), batch=128, steps=10)
    found = last.result
    assert found.w1_law == 0 and found.w1_batch > 1.4
    assert abs(found.fresh[-1, 0]) < 0.15  # the exact potential on fresh pictures
    x, y = (torch.as_tensor(part[:128], dtype=torch.float32) for part in halves())
    critic = Critic("exact", 64)
    critic.update(x, y, torch.zeros(128))
    assert critic.estimate(x, y) == pytest.approx(wasserstein(x, y).value, abs=1e-4)


def test_gradient_steps_diverge_from_two_over_lambda_on():
    land, start = landscape("quadratic", 10.0), np.array([1.0, 1.0])
    assert np.isnan(walk(land, "gradient", start, 0.201, 4000, 0.0)[-1]).all()
    assert np.abs(walk(land, "gradient", start, 0.199, 4000, 0.0)[-1]).max() < 1e-6
    assert np.abs(walk(land, "implicit", start, 5.0, 40, 0.0)[-1]).max() < 1e-12
    found = descent_decay(10, 0.05, 1)
    assert found.gradient == 0.5**20 and found.implicit == pytest.approx(1.5**-20)


@pytest.mark.parametrize("function", ["quadratic", "banana", "two_wells"])
def test_landscapes_have_their_derivatives(function):
    land, at, h = landscape(function, 7.0), np.array([0.3, -0.6]), 1e-5
    steps = h * np.eye(2)
    np.testing.assert_allclose(
        land.gradient(at), [(land.value(at + s) - land.value(at - s)) / (2 * h) for s in steps], atol=1e-8
    )
    np.testing.assert_allclose(
        land.hessian(at), [(land.gradient(at + s) - land.gradient(at - s)) / (2 * h) for s in steps], atol=1e-7
    )
    assert land.value(land.minimum) == 0 and not land.gradient(land.minimum).any()


def test_small_steps_follow_the_flow_with_order_one():
    land, start = landscape("banana", 3.0), np.array([-1.0, 1.5])
    goal = flow(land, start, np.array([0.0, 1.0]))[-1]
    for method in ("gradient", "implicit"):
        coarse, fine = (np.linalg.norm(walk(land, method, start, 1 / n, n, 0.0)[-1] - goal) for n in (400, 800))
        assert 1.9 < coarse / fine < 2.1


def test_steepest_descent_in_other_norms():
    """A step of sign and coordinate minimises g·d + |d|²/2h in l∞ and l1, against many random moves."""
    land, at, step = landscape("quadratic", 4.0), np.array([1.0, -0.7]), 0.1
    slope = land.gradient(at)
    for method, norm in (("sign", np.inf), ("coordinate", 1)):
        move = walk(land, method, at, step, 1, 0.0)[1] - at
        best = slope @ move + np.linalg.norm(move, norm) ** 2 / (2 * step)
        others = 0.5 * normal(2000, 2)
        assert best <= (others @ slope + np.linalg.norm(others, norm, axis=1) ** 2 / (2 * step)).min() + 1e-12


def test_paths_go_down():
    for function in ("quadratic", "banana", "two_wells"):
        found = descent(function, step=0.01, methods=METHODS, iterations=300)
        for i, name in enumerate(METHODS):
            assert np.isnan(found.value[i, -1]) or found.value[i, -1] < found.value[i, 0], (function, name)
        assert (np.diff(found.flow_value) <= 1e-9).all()


def test_the_grid_agrees_with_the_closed_form_and_keeps_the_target():
    times = np.array([0.0, 0.2, 1.0, 3.0])
    exact = laws.exact_law("gaussian", 1.5, 0.6, times)
    found = laws.fokker_planck("gaussian", exact[0], times)
    assert np.abs(found - exact).max() < 3e-4
    target = np.exp(laws.log_target("two_wells", laws.GRID)[0])
    assert np.abs(laws.fokker_planck("two_wells", target, np.array([2.0]))[0] - target).max() < 1e-8


def test_the_target_has_its_derivatives():
    x, h = np.linspace(-4, 4, 41), 1e-4
    for energy in ("gaussian", "two_wells"):
        value, first, second = laws.log_target(energy, x)
        up, down = laws.log_target(energy, x + h), laws.log_target(energy, x - h)
        np.testing.assert_allclose(first, (up[0] - down[0]) / (2 * h), atol=1e-5)
        np.testing.assert_allclose(second, (up[1] - down[1]) / (2 * h), atol=1e-5)
        assert np.exp(laws.log_target(energy, laws.GRID)[0]).sum() * 0.025 == pytest.approx(1, abs=1e-6)
    assert value.shape == x.shape


def test_barenblatt_solves_the_porous_medium():
    age, h = laws.barenblatt_age(0.7), 1e-4
    p = laws.barenblatt(laws.GRID, age)
    assert p.sum() * 0.025 == pytest.approx(1, abs=1e-3)
    assert math.sqrt((p * laws.GRID**2).sum() * 0.025) == pytest.approx(0.7, abs=2e-3)
    change = (laws.barenblatt(laws.GRID, age + h) - laws.barenblatt(laws.GRID, age - h)) / (2 * h)
    inside = p > 0.05
    second = np.gradient(np.gradient(p**2, 0.025), 0.025)
    assert np.abs(change - second)[inside].max() < 0.02 * np.abs(change)[inside].max()


def test_energy_falls_at_the_rate_of_fishers_information():
    times = np.linspace(0.5, 1.5, 101)
    for energy in ("gaussian", "two_wells", "porous"):
        density = laws.exact_law(energy, -1.0, 0.7, times)
        lost = -np.gradient(laws.free_energy(energy, density), times)
        np.testing.assert_allclose(lost[1:-1], laws.dissipation(energy, density)[1:-1], rtol=0.02)


def test_fisher_rao_solves_its_equation():
    """∂p = −p (log p/π − its mean), by difference quotients."""
    times = np.array([0.7 - 1e-4, 0.7, 0.7 + 1e-4])
    before, p, after = laws.fisher_rao_law("two_wells", -1.5, 0.5, times)
    first = np.log(p) - laws.log_target("two_wells", laws.GRID)[0]
    np.testing.assert_allclose((after - before) / 2e-4, -p * (first - (p * first).sum() * 0.025), atol=1e-5)


def test_methods_stay_near_the_exact_flow():
    found = laws.downhill("two_wells", ("exact", "jko", "langevin", "blob"), -2.0, 0.4, 0.0125, 2.0, 5000, 0.1)
    assert found.distance[0].max() == 0
    assert found.distance[1].max() < 0.02 and found.distance[2].max() < 0.12 and found.distance[3].max() < 0.12
    assert abs(found.right[1, -1] - found.right[0, -1]) < 0.005
    shorter = laws.downhill("gaussian", ("jko",), -2.0, 0.4, 0.2, 2.0).distance.max()
    assert laws.downhill("gaussian", ("jko",), -2.0, 0.4, 0.05, 2.0).distance.max() < shorter / 2


def test_medians_are_best():
    points = torch.as_tensor(normal(200, 3) ** 3)
    centre = geometric_median(points, 300)
    least = (points - centre).norm(dim=1).mean()
    for move in torch.eye(3, dtype=torch.float64) * 1e-2:
        assert (points - centre - move).norm(dim=1).mean() > least < (points - centre + move).norm(dim=1).mean()
    known, _ = halves()
    near = [np.linalg.norm(known[:, None] - k_medians(known, k), axis=-1).min(1).mean() for k in (1, 4, 16)]
    assert near == sorted(near, reverse=True)


def test_small_batches_are_beaten_by_one_point():
    *_, last = minibatch("digits", 16, repeats=8)
    found = last.result
    assert found.sizes.tolist() == [1, 2, 4, 8, 16]
    assert (found.copies < found.real).all() and (found.centres < found.copies).all()
    assert found.pictures.shape == (3, 16, 8, 8, 3)
    *_, last = minibatch("uniform", 20, repeats=50)
    assert (np.abs(last.result.real - last.result.exact) < 4 * last.result.real_error + 1e-12).all()


def test_distance_of_points_of_ones_own():
    found = distance("points", "gaussian", 1, points_x=(0.0, 1.0), points_y=(0.0, 1.0))
    assert found.x.tolist() == [[0, 0], [1, 1]] and found.slope == pytest.approx(1)
    assert found.bound <= found.value <= found.random + 1e-12
    shifted = distance("gaussian", "gaussian", 2, n=200, shift_x=3.0)
    assert shifted.value > 2.5 and shifted.bound <= shifted.value


def test_digits_and_their_measures():
    known, fresh = halves()
    assert len(known) + len(fresh) == 1797 and known.min() == 0 and fresh.max() == 1
    assert plane_law("gaussian").sample(5).shape == (5, 2)


def test_matched_distance_has_the_gradient_of_the_matching():
    fake = torch.as_tensor(normal(9, 3)).requires_grad_()
    real = torch.as_tensor(normal(9, 3, seed=1))
    value = matched_distance(fake, real)
    assert float(value.detach()) == pytest.approx(wasserstein(fake, real).value, abs=1e-12)
    value.backward()
    torch.testing.assert_close(fake.grad.norm(dim=1), torch.full((9,), 1 / 9, dtype=torch.float64))


@pytest.mark.parametrize("by", ["exact", "wgan_gp", "c_transform"])
def test_a_generator_trains_again_to_the_same(by):
    first, second = (list(train_generator(by, 16, 6, seed=4))[-1] for _ in range(2))
    assert first.step == 6 and first.distance == second.distance
    assert all(torch.equal(a, b) for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True))


def test_shipped_generators_are_as_their_table_says():
    assert WEIGHTS.stat().st_size < 1_000_000
    found = generators(tuple(GENERATORS), 512)
    columns = found.w1, found.frechet, found.spread, found.sharp
    told = [
        line.split("|")[1:-1]
        for line in (WEIGHTS.parent / "README.md").read_text().splitlines()
        if "`" in line and line.count("|") == 6
    ]
    assert [row[0].strip(" `") for row in told] == list(found.names)
    np.testing.assert_allclose([[float(value) for value in row[1:]] for row in told], np.array(columns).T, atol=2e-3)
    w1, far, wide, sharp = (dict(zip(found.names, values, strict=True)) for values in columns)
    # nearer than real pictures in W1, and blurred
    assert w1["exact_64"] < w1["real"] and sharp["exact_64"] < sharp["wgan_gp"] < sharp["real"]
    assert all(p.dtype == torch.float32 for p in load("wgan_gp").parameters())
    # the minimiser of W1 is nearer than WGAN-GP in W1, farther in Fréchet, and its pictures are more alike
    assert w1["exact_64"] < w1["wgan_gp"] and far["exact_64"] > far["wgan_gp"] > far["real"]
    assert wide["exact_16"] < wide["exact_64"] < wide["wgan_gp"] and wide["wgan_gp"] > 0.9 * wide["real"]
    assert pictures("wgan_gp", 3).min() >= 0 and pictures("wgan_gp", 3).max() <= 1


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.claim)
def test_check_holds(check):
    assert check.outcome().holds, check.outcome()


def test_digits_are_matched_as_scipy_prices_them():
    found = distance("digits", n=40)
    assert found.value == pytest.approx(wasserstein_distance_nd(found.x, found.y), abs=1e-6)
    assert np.linalg.norm(found.x - found.y, axis=1).mean() == pytest.approx(found.value, abs=1e-12)
    mixed = np.linalg.norm(found.x - found.y[found.mixed], axis=1).mean()
    assert mixed == pytest.approx(found.random) and sorted(found.mixed) == list(range(40))
    assert found.bound < found.value < found.random and found.slope == pytest.approx(1) and abs(found.gap) < 1e-12
    assert (found.labels_x == found.labels_y).mean() > (found.labels_x == found.labels_y[found.mixed]).mean()
    assert distance("digits", n=40, power=2).bound < distance("digits", n=40, power=2).value


def scaled(plain):
    """The same rates of jumps, two per cent too fast."""
    return lambda *given: tuple(1.02 * part for part in plain(*given))


# of each check: what is broken, and how
MUTATIONS = [
    (0, scipy.optimize, "linear_sum_assignment", lambda plain: lambda cost: (np.arange(len(cost)), np.arange(len(cost)))),
    (1, checks, "wasserstein", lambda plain: lambda x, y: replace(plain(x, y), potential=-plain(x, y).potential)),
    (2, checks, "uniform_batch_distance", lambda plain: lambda n: plain(n + 1)),
    (3, checks, "uniform_batch_distance", lambda plain: lambda n: plain(n + 1)),
    (4, checks, "gaussian_batch_distance", lambda plain: lambda dim: plain(dim + 1)),
    (5, checks, "two_point_critic", lambda plain: lambda distance, penalty, centre: plain(distance, 2 * penalty, centre)),
    (6, critics_module, "penalty_at", lambda plain: lambda slope, kind: plain(slope, kind) / 2),
    (7, critics_module, "penalty_at", lambda plain: lambda slope, kind: plain(slope, kind) / 2),
    (8, critics_module, "penalty_at", lambda plain: lambda slope, kind: plain(slope, kind) / 2),
    (9, checks, "two_point_critic", lambda plain: lambda distance, penalty, centre: plain(distance, 2 * penalty, centre)),
    (10, checks, "penalty_at", lambda plain: lambda slope, kind: plain(slope, kind) / 2),
    (11, critic_flow_module, "slope_of", lambda plain: lambda kind, move, penalty: plain(kind, move, penalty) * (1 + (kind == "gp_at_1"))),
    (12, critic_flow_module, "between_gaussians", lambda plain: lambda *given: (plain(*given)[0], -plain(*given)[1])),
    (13, checks, "least_reflow_loss", lambda plain: lambda case, std: plain(case, std**2)),
    (14, checks, "between_gaussians", lambda plain: lambda *given: (plain(*given)[0], -plain(*given)[1])),
    (15, checks, "ornstein_uhlenbeck", lambda plain: lambda mean, variance, time: plain(mean, variance, 2 * time)),
    (16, laws, "rates", scaled),
    (17, checks, "jko_gaussian", lambda plain: lambda mean, std, tau, steps: plain(mean, std, tau, steps + 1)),
    (18, laws, "jko_step", lambda plain: lambda energy, x, tau: plain(energy, x, 1.1 * tau)),
    (19, laws, "svgd_step", lambda plain: lambda energy, x, tau, h: plain(energy, x, tau, 1.1 * h)),
    (20, laws, "particle_run", lambda plain: lambda method, energy, x, tau, *more: plain(method, energy, x, tau / 2, *more)),
    (21, laws, "jko_step", lambda plain: lambda energy, x, tau: plain(energy, x, 1.1 * tau)),
    (22, descent_module, "implicit_step", lambda plain: lambda land, start, step: start - step * land.gradient(start)),
    (23, checks, "walk", lambda plain: lambda land, method, *more: plain(land, "gradient", *more)),
    (24, critic_plane, "densities", lambda plain: lambda *given: [sum(plain(*given)[1:]) / 2, *plain(*given)[1:]]),
    (25, laws, "rates", scaled),
    (26, checks, "law_at", lambda plain: lambda start, time: plain(start, time / 2)),
]  # fmt: skip


def test_every_check_has_its_mutation():
    assert [number for number, *_ in MUTATIONS] == list(range(len(CHECKS)))


@pytest.mark.parametrize("number, module, name, broken", MUTATIONS, ids=[f"{row[0]}-{row[2]}" for row in MUTATIONS])
def test_a_check_fails_on_a_wrong_engine(number, module, name, broken, monkeypatch):
    monkeypatch.setattr(laws, "spectral_gap", laws.spectral_gap.__wrapped__)  # no memory of the right one
    monkeypatch.setattr(module, name, broken(getattr(module, name)))
    assert not CHECKS[number].outcome().holds


def test_a_critic_takes_no_step_where_its_penalised_loss_is_not_finite():
    """D itself is finite here; the square of its slope is not."""
    critic = Critic("gp_at_1", 1)
    for weight in critic.net.parameters():
        weight.data.fill_(1e11)
    before = [weight.detach().clone() for weight in critic.net.parameters()]
    x, y, t = torch.ones(8, 1), torch.zeros(8, 1), torch.full((8,), 0.5)
    assert math.isfinite(critic.estimate(x, y)) and math.isnan(critic.update(x, y, t))
    assert all(torch.equal(a, b) for a, b in zip(before, critic.net.parameters(), strict=True))


def test_a_training_of_generators_stops_with_the_last_good_state(monkeypatch):
    calls = itertools.count(1)

    def third_is_nan(fake, real):
        return fake.mean() * (math.nan if next(calls) == 3 else 1.0)

    monkeypatch.setattr(generators_module, "matched_distance", third_is_nan)
    training, state = train_generator("exact", 4, 10, reports=10), None
    with pytest.raises(ValueError, match="at step 3"):
        for now in training:
            state = now
    assert state.step == 2 and all(weight.isfinite().all() for weight in state.net.parameters())


@pytest.mark.parametrize("pair", ["ring_gaussian", "halves"])
def test_an_estimate_over_its_slope_is_at_most_w1_of_the_fresh_sets(pair):
    *_, last = critics(pair, batch=32, steps=40)
    found = last.result
    for name, said, slope in zip(found.names, found.fresh[-1], found.slope, strict=True):
        if name == "c_transform":
            assert math.isnan(slope) and said <= found.w1_fresh + 1e-4
        else:
            assert said / slope <= found.w1_fresh + 1e-6, name


def test_the_exact_potential_says_w1_of_its_own_batch_alone():
    *_, last = critics("halves", ("exact", "gp_at_1"), batch=128, steps=10)
    own, fresh = last.result.own[-1, 0], last.result.fresh[-1, 0]
    assert own == pytest.approx(last.result.w1_batch, abs=0.1) and own > fresh + 1.2


def test_costs_that_no_number_holds_are_refused():
    with pytest.raises(ValueError, match="power makes distances"):
        wasserstein([[1e100]], [[-1e100]], 16)


def test_the_grid_holds_the_widest_start():
    start = np.exp(laws.normal_log_density(laws.GRID, -3.0, 2.0))
    assert start.sum() * 0.025 > 1 - 1e-5
    soon = laws.fokker_planck("two_wells", start, np.array([0.0, 1e-4]))
    assert np.abs(soon - start).max() < 1e-3


def test_kl_falls_at_twice_the_spectral_gap_in_the_end():
    times = np.array([12.0, 13.0])
    lost = np.log(laws.free_energy("two_wells", laws.exact_law("two_wells", -2.0, 0.4, times)))
    assert lost[0] - lost[1] == pytest.approx(2 * laws.spectral_gap("two_wells"), rel=5e-3)


def test_a_flow_that_cannot_be_solved_is_refused(monkeypatch):
    monkeypatch.setattr(
        scipy.integrate, "solve_ivp", lambda *given, **more: types.SimpleNamespace(success=False, y=np.zeros((2, 2)))
    )
    with pytest.raises(ValueError, match="could not be followed"):
        flow(landscape("quadratic", 1.0), np.ones(2), np.array([0.0, 1.0]))


def test_explicit_steps_of_a_gaussian():
    """Their particles, by the affine map that a step is, keep the closed form; short steps follow the exact flow."""
    x = 1.0 + 0.5 * normal(50)
    mean, std = x.mean(), x.std()
    closed = laws.forward_gaussian(mean, std, 0.1, 5)
    for row in closed[1:]:
        x = x - 0.1 * (x - (x - x.mean()) / x.var())
        np.testing.assert_allclose([x.mean(), x.std()], row, rtol=1e-12)
    exact = ornstein_uhlenbeck(2, 0.25, 1)
    np.testing.assert_allclose(
        laws.forward_gaussian(2, 0.5, 1e-4, 10_000)[-1], [exact.mean, math.sqrt(exact.variance)], rtol=1e-3
    )


def test_the_plane_flows_as_its_draws_do():
    found = laws.downhill(start="moons", methods=METHODS_OF_LAWS, tau=0.01, time=0.5, particles=5000)
    assert found.methods == OF_PLANE
    exact, forward, langevin, *_ = found.moments[:, -1]
    for moment in (
        exact,
        forward,
        langevin,
    ):  # over six seeds at most 0.035 off, of which 0.028 is one standard error of 1,000 draws
        assert moment == pytest.approx(found.moment[-1], rel=0.04)
    assert (found.away[[0, 2]] < 0.35).all() and found.away[0] < found.away[3]
    assert (np.diff(found.kl) < 0).all()
    lost = -np.diff(found.kl) / np.diff(found.times)
    assert ((lost < found.fisher[:-1] * 1.02) & (lost > found.fisher[1:] * 0.98)).all()
    side = found.axis[1] - found.axis[0]
    assert found.density[-1].sum() * side**2 == pytest.approx(1, abs=0.01)


def test_a_generator_is_seen_while_it_trains():
    seen = [progress.result for progress in train("exact", 16, 200, seed=3)]
    assert len(seen) == 20 and seen[-1].steps[-1] == 200 and seen[-1].w1.shape == (21,)
    assert seen[-1].w1[-1] < seen[0].w1[1] and seen[-1].w1[0] < seen[-1].w1[-1]


def test_altered_weights_are_refused(tmp_path, monkeypatch):
    folder = shutil.copytree(WEIGHTS.parent, tmp_path / "transport")
    path = folder / WEIGHTS.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(models, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match="cut short or altered"):
        load("wgan_gp", path)
