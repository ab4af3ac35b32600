"""What the transport engine must reproduce: enumeration, closed forms, and its own algorithms against them."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import torch

from engines.checks import Check
from engines.diffusion.fewstep import matching_loss
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.transport import downhill as laws
from engines.transport.closed_forms import (
    gaussian_batch_distance,
    jko_gaussian,
    ornstein_uhlenbeck,
    svgd_pair,
    two_point_critic,
    uniform_batch_distance,
)
from engines.transport.critic_flow import between_gaussians, differences, least_reflow_loss, reflow_terms
from engines.transport.critic_plane import plane_critics
from engines.transport.critics import Critic, penalty_at, slopes
from engines.transport.descent import descent_decay, flow, landscape, walk
from engines.transport.downhill_plane import SIGMA, law_at
from engines.transport.matching import steepest_slope, wasserstein

FIVE = ((0, 0), (1, 0), (0, 2), (3, 1), (2, 2))
OTHER = ((1, 1), (4, 0), (0, -1), (2, 3), (3, 3))


def by_enumeration(power: int) -> float:
    """Least mean |x − y|^power of the five points, over all 120 permutations."""
    return min(
        np.mean([math.dist(a, b) ** power for a, b in zip(FIVE, order, strict=True)]) for order in permutations(OTHER)
    )


def duality() -> tuple[float, float]:
    """What the potential of the five points misses of W1, and its greatest slope."""
    best = wasserstein(FIVE, OTHER)
    return best.potential[:5].mean() - best.potential[5:].mean() - best.value, steepest_slope(
        (*FIVE, *OTHER), best.potential
    )


def uniform_by_draws(n: int, draws: int = 40_000) -> float:
    """Mean W1 of pairs of batches on the line, by drawing; in standard errors from the closed form."""
    x, y = np.sort(np.random.default_rng(0).random((2, draws, n)), axis=-1)
    each = np.abs(x - y).mean(-1)
    return float((each.mean() - uniform_batch_distance(n)) / (each.std() / math.sqrt(draws)))


def without_time() -> float:
    """½E Var(E[x − y | z, t] | z): how much a field loses that does not know t; by quadrature in t and z."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t, weights = (nodes + 1)[:, None] / 2, weights[:, None] / 2
    z = np.linspace(-9, 11, 4001)
    variance = (1 - t) ** 2 + 0.36 * t**2
    density = weights * np.exp(-((z - 2 * t) ** 2) / (2 * variance)) / np.sqrt(2 * math.pi * variance)
    move = 2 + (0.36 * t - (1 - t)) / variance * (z - 2 * t)
    mean = (density * move).sum(0) / np.maximum(density.sum(0), 1e-300)
    return float((density * (move - mean) ** 2).sum() * (z[1] - z[0]) / 2)


def reflow_losses() -> tuple[float, float]:
    """ReFlow's least loss with t, and what its critic without t has above it."""
    square, move, _, constant = reflow_terms("gaussians", 2.0, 0.6, 10.0)[2]
    least = least_reflow_loss("gaussians", 0.6)
    return least, square - move + constant - least


def reflow_identity() -> float:
    """ReFlow's loss less zero-centred penalty loss and half the mean squared distance, for a critic drawn at random.

    ReFlow's is the diffusion engine's, with the critic's gradient for a velocity; the mean over t is taken by Gauss and
    Legendre's rule; what is left is rounding.
    """
    draws = torch.Generator().manual_seed(0)
    w, u, x, y = (
        torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((3, 16), (16,), (9, 3), (9, 3))
    )

    def value(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(z @ w) @ u

    def gradient(z: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(z @ w) * u) @ w.T

    reflow = penalty = 0.0
    for node, weight in zip(*np.polynomial.legendre.leggauss(120), strict=True):
        t = torch.full((9,), (node + 1) / 2, dtype=torch.float64)
        reflow += weight / 2 * float(matching_loss(gradient, y, x, t).mean()) / 2
        penalty += weight / 2 * float(penalty_at(slopes(value, torch.lerp(y, x, t[:, None])), "gp_at_0")) / 2
    return reflow - float(value(y).mean() - value(x).mean() + penalty + (x - y).square().sum(-1).mean() / 2)


def mean_moves() -> tuple[float, float]:
    """E[x − y] and E[z (x − y)] of two Gaussians, by way of E[x − y | z]."""
    z = np.linspace(-9, 11, 2001)
    density, move = between_gaussians(2.0, 0.6, z)
    return tuple(float((density * move * factor).sum() * (z[1] - z[0])) for factor in (1.0, z))


def learnt_difference(kind: str, seed: int = 0) -> float:
    """D(x1) − D(x0) of a trained critic of two points at distance 1 with λ = 10."""
    critic = Critic(kind, 1, penalty=10.0, rate=3e-3, seed=seed)
    x, y = torch.ones(64, 1), torch.zeros(64, 1)
    for i in range(400):
        for group in critic.optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - i / 400)
        critic.update(x, y, (torch.arange(64) + 0.5) / 64)
    return critic.estimate(x, y)


def flow_on_grid() -> tuple[float, float]:
    """KL and Fisher information of N(2, 0.25) after time 1, by Fokker and Planck's equation on a grid."""
    start = np.exp(laws.normal_log_density(laws.GRID, 2.0, 0.5))
    density = laws.fokker_planck("gaussian", start, np.array([1.0]))
    return float(laws.free_energy("gaussian", density)[0]), float(laws.dissipation("gaussian", density)[0])


def jko_by_quantiles() -> tuple[float, float]:
    """Mean and standard deviation after ten numerical JKO steps of N(2, 0.25), τ = 0.1, on 400 quantiles."""
    x = laws.start_quantiles("gaussian", 2.0, 0.5, 400)
    for _ in range(10):
        x = laws.jko_step("gaussian", x, 0.1)
    return float(x.mean()), float(x.std())


def two_particles() -> float:
    """Where two particles of SVGD come to rest."""
    x = np.array([-0.4, 0.9])
    for _ in range(4000):
        x = laws.svgd_step("gaussian", x, 0.1, 1.0)
    return float(x[1])


def langevin_variance(tau: float) -> float:
    """Variance at rest of Langevin steps for N(0, 1), from the linear recursion that the steps are."""
    x = np.array([1.0, -1.0])
    kept = laws.particle_run("langevin", "gaussian", np.repeat(x, 20_000), tau, np.arange(150, 250), 1.0, 0)
    return float(kept.var(1).mean())


def porous_by_jko() -> float:
    """Standard deviation of the porous medium's law after time 1, from 0.5, by 100 JKO steps."""
    x = laws.start_quantiles("porous", 0.0, 0.5, 400)
    for _ in range(100):
        x = laws.jko_step("porous", x, 0.01)
    return float(x.std())


def barenblatt_std(time: float) -> float:
    """Standard deviation of Barenblatt's solution that had 0.5 a time before: its radius √(12 C) t^{1/3} over √5."""
    age = laws.barenblatt_age(0.5)
    return 0.5 * ((age + time) / age) ** (1 / 3)


def nesterov_by_steps() -> float:
    """x/x(0) of Nesterov's iteration on x²/2 at t = k√h = 3, with h = 10⁻⁶."""
    return float(walk(landscape("quadratic", 1.0), "nesterov", np.array([1.0, 0.0]), 1e-6, 3000, 0.0)[-1, 0])


def paths_at_one() -> tuple[float, float, float]:
    """y at t = 1 on the quadratic of condition 10 from y = 1, by gradient steps of 0.05, the flow, implicit steps."""
    land, start = landscape("quadratic", 10.0), np.array([0.0, 1.0])
    ends = [walk(land, method, start, 0.05, 20, 0.0)[-1, 1] for method in ("gradient", "implicit")]
    return float(ends[0]), float(flow(land, start, np.array([0.0, 1.0]))[-1, 1]), float(ends[1])


def radial_critics() -> tuple[float, ...]:
    """Differences of the critic about 1 and of ReFlow's, then their slopes outwards at radius 1.5, for N(0, I) and N(0, 0.36 I)."""
    made = plane_critics(GaussianMixture([1.0], [[0.0, 0.0]], [1e-9]), 2.0, 0.6)
    slope = made.slope(np.array([[0.9, 1.2]]))[:, 0] @ np.array([0.6, 0.8])
    return made.difference[0], made.difference[2], slope[0], slope[2]


def radial_closed() -> tuple[float, ...]:
    """The same by Gauss's theorem: ρ m 2πr is what N(0, I) has less within r, and |slope| is 1 + |m|/2λ."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    variance = (1 - (nodes + 1) / 2) ** 2 + 0.36 * ((nodes + 1) / 2) ** 2
    r = np.append(np.arange(1, 1601) * 5e-3, 1.5)
    ring = r * (np.exp(-(r[:, None] ** 2) / (2 * variance)) / variance @ weights) / 2
    move = (np.exp(-(r**2) / 0.72) - np.exp(-(r**2) / 2)) / ring
    slopes = np.sign(move) * (1 + np.abs(move) / 4), move
    ends = [float((ring * move * slope)[:-1].sum() * 5e-3) for slope in slopes]
    return (*ends, *(float(slope[-1]) for slope in slopes))


def ring_moment(time: float) -> float:
    """E|x|² of the ring with noise after a time."""
    law = target_mixture("ring")
    first = float(law.mean.square().sum() + law.covariance.trace()) + 2 * SIGMA**2
    return first * math.exp(-2 * time) + 2 * (1 - math.exp(-2 * time))


CHECKS = (
    Check(
        "W₁ and W₂² of five points and five others",
        "all 120 permutations",
        (by_enumeration(1), by_enumeration(2)),
        1e-12,
        lambda: (wasserstein(FIVE, OTHER).value, wasserstein(FIVE, OTHER, 2).value),
    ),
    Check(
        "their potential: what it misses of W₁, and its greatest slope", "Kantorovich's duality", (0, 1), 1e-12, duality
    ),
    Check(
        "mean W₁ of two uniform batches of 1, 2, 3",
        "4ⁿ/(2(2n + 1) C(2n, n))",
        (1 / 3, 4 / 15, 8 / 35),
        1e-12,
        lambda: [uniform_batch_distance(n) for n in (1, 2, 3)],
    ),
    Check(
        "the same for batches of 7, by 40,000 draws, in standard errors",
        "closed form",
        0,
        4,
        lambda: uniform_by_draws(7),
    ),
    Check(
        "N(0, I) in 64 dimensions: E|x|, and mean W₁ of two batches of one",
        "√2 Γ((d + 1)/2)/Γ(d/2)",
        (7.9688122220, 11.2696023204),
        1e-9,
        lambda: gaussian_batch_distance(64),
    ),
    Check(
        "best critic of two points at distance 1, penalty 10 about 1: slope, difference, objective",
        "1 + D/2λ",
        (1.05, 1.05, 1.025),
        1e-9,
        lambda: two_point_critic(1, 10, 1),
    ),
    Check(
        "the same, learnt by gradient steps: difference with the penalty about 1",
        "1 + D/2λ",
        1.05,
        0.005,
        lambda: learnt_difference("gp_at_1"),
    ),
    Check(
        "the same from a start that slopes the other way: it stays there, and the estimate is negative",
        "D/2λ − 1, the other valley of (|slope| − 1)²",
        -0.95,
        0.005,
        lambda: learnt_difference("gp_at_1", 1),
    ),
    Check("the same, learnt with the penalty about 0", "D/2λ", 0.05, 0.002, lambda: learnt_difference("gp_at_0")),
    Check(
        "best critic of two points at distance 1, penalty ½ about 0: slope and difference are W₂²",
        "ReFlow's static critic",
        (1, 1),
        1e-9,
        lambda: two_point_critic(1, 0.5, 0)[:2],
    ),
    Check(
        "ReFlow's loss of a random critic less that of WGAN with the penalty about 0",
        "fundamental theorem of calculus",
        0,
        1e-12,
        reflow_identity,
    ),
    Check(
        "N(0, 1) and N(1, 1): difference of the critic with penalty 10 about 1, less that about 0, is W₁",
        "sign of E[x − y | z]",
        1,
        1e-6,
        lambda: differences("gaussians", 1.0, 1.0, 10.0)[0][0] - differences("gaussians", 1.0, 1.0, 10.0)[0][1],
    ),
    Check(
        "E D'(z)(x − y) and E D(x) − E D(y) of D = sin 2z, N(0, 1) and N(2, 0.36)",
        "E sin of a Gaussian",
        (math.exp(-0.72) * math.sin(4),) * 2,
        1e-5,
        lambda: reflow_terms("gaussians", 2.0, 0.6, 10.0)[-1, 1:3],
    ),
    Check(
        "ReFlow's least loss with t, and without less with, N(0, 1) and N(2, 0.36)",
        "π s/4; ½E Var(E[x − y | z, t] | z) by quadrature in t",
        (0.15 * math.pi, without_time()),
        1e-5,
        reflow_losses,
    ),
    Check(
        "E[x − y | z] of N(0, 1) and N(2, 0.36): its mean, and that of z times it",
        "means: D, (s² + D² − 1)/2",
        (2, 1.68),
        1e-9,
        mean_moves,
    ),
    Check(
        "flow of KL from N(2, 0.25) at t = 1: mean, variance, KL, Fisher information",
        "Ornstein–Uhlenbeck",
        (0.735758882343, 0.898498537573, 0.273434935455, 0.552807536557),
        1e-10,
        lambda: ornstein_uhlenbeck(2, 0.25, 1),
    ),
    Check(
        "the same KL and Fisher information, by Fokker and Planck's equation on a grid",
        "Ornstein–Uhlenbeck",
        ornstein_uhlenbeck(2, 0.25, 1)[2:],
        2e-4,
        flow_on_grid,
    ),
    Check(
        "ten JKO steps of 0.1: mean and variance",
        "closed form of a step",
        (0.771086578859, 0.872709002974),
        1e-9,
        lambda: (jko_gaussian(2, 0.5, 0.1, 10).mean, jko_gaussian(2, 0.5, 0.1, 10).std ** 2),
    ),
    Check(
        "the same steps on 400 quantiles: mean and standard deviation",
        "closed form of a step",
        tuple(jko_gaussian(2, 0.5, 0.1, 10)),
        2e-3,
        jko_by_quantiles,
    ),
    Check("two particles of SVGD for N(0, 1), h = 1", "h √(log(1 + 2/h²)/2)", svgd_pair(1.0), 1e-8, two_particles),
    Check("variance at rest of Langevin's steps of 0.5", "1/(1 − τ/2)", 4 / 3, 0.01, lambda: langevin_variance(0.5)),
    Check(
        "porous medium, standard deviation 0.5 after time 1, by 100 JKO steps",
        "Barenblatt",
        barenblatt_std(1.0),
        5e-3,
        porous_by_jko,
    ),
    Check(
        "λ = 10, steps of 0.05, at t = 1: gradient, flow, implicit",
        "(1 − λh)ⁿ, e^{−λt}, (1 + λh)^{−n}",
        tuple(descent_decay(10, 0.05, 1)),
        1e-5,
        paths_at_one,
        relative=True,
    ),
    Check(
        "Nesterov's iteration at t = k√h = 3",
        "2 J₁(t)/t",
        2 * 0.33905895852593646 / 3,  # J₁(3), from its table: scipy would take a second to load
        1e-3,
        nesterov_by_steps,
    ),
    Check(
        "N(0, I) and N(0, 0.36 I), penalty 2: differences of the critics about 1 and of ReFlow, and both slopes at radius 1.5, "
        "on the grid",
        "Gauss's theorem, radial",
        radial_closed(),
        1e-2,
        radial_critics,
    ),
    Check(
        "spectral gap of the flow of KL to N(0, 1)",
        "Ornstein–Uhlenbeck",
        1,
        2e-4,
        lambda: laws.spectral_gap("gaussian"),
    ),
    Check(
        "a ring with noise 0.15 after time 0.7 of the flow of KL to N(0, I): E|x|², by 200,000 draws",
        "e^{−2t} E|x₀|² + 2(1 − e^{−2t})",
        ring_moment(0.7),
        0.03,
        lambda: float(law_at("ring", 0.7).sample(200_000, 3).square().sum(1).mean()),
    ),
)
