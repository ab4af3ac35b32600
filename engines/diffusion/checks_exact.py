"""What the exact results on Gaussians must reproduce: `checks` lists these with its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engines.checks import Check
from engines.diffusion.brightness import SCHEDULES, ddim_gains, exact_gain, signal_levels
from engines.diffusion.consistency import over_counts, sampler_map, trained_levels
from engines.diffusion.identities import flow, held_gradient, runaway_std, true_gradient
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.diffusion.paths import spaced_timesteps
from engines.diffusion.variances import conditional_covariance, end_of, large_variance, step_variance

MEAN, STD, NOISE = 0.9, 0.6, 0.7


def quadrature_gradients() -> np.ndarray:
    """Gradients by m and τ of L1 to L5 with the fake model held, then of F with it following; by autograd, [6, 2]."""
    nodes, masses = map(torch.tensor, np.polynomial.hermite_e.hermegauss(6))
    z, noise = torch.cartesian_prod(nodes, nodes).T
    mass = torch.outer(masses, masses).flatten() / (2 * math.pi)

    def gradients(loss: str, held: bool) -> list[float]:
        mean, std = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (MEAN, STD))
        x = mean + std * z + NOISE * noise
        # the best fake model by least squares of the noise on (x, 1), not by its formula
        design = torch.stack([x, torch.ones_like(x)], 1)
        weights = torch.linalg.solve(design.T @ (mass[:, None] * design), design.T @ (mass * noise))
        fake = design @ (weights.detach() if held else weights)
        real = NOISE / (1 + NOISE**2) * x
        losses: dict[str, Tensor] = {
            "l1": (real - fake) ** 2,
            "l2": (real - fake) * (real - noise),
            "l3": real**2 - 2 * real * noise + fake * noise,
            "l4": real**2 - 2 * real * noise + 2 * fake * noise - fake**2,
            "l5": 2 * ((real - fake) * (real - noise) - (real - fake) ** 2),
        }
        found = torch.autograd.grad((mass * losses[loss]).sum(), (mean, std))
        return [float(value) for value in found]

    return np.array([*(gradients(loss, True) for loss in ("l1", "l2", "l3", "l4", "l5")), gradients("l1", False)])


def closed_gradients() -> np.ndarray:
    held = [held_gradient(loss, MEAN, STD, NOISE) for loss in ("l1", "l2", "l3", "l4", "l5")]
    return np.array([*held, true_gradient(MEAN, STD, NOISE)])


def width_after(loss: str, std: float, lam: float = 1.0) -> float:
    """τ at the end of a long flow from N(0, std²), at most 8."""
    path = flow(loss, 0.0, std, 0.5, lam, np.array([0.0, 100.0, 3000.0]))[-1, 1]
    return 8.0 if np.isnan(path) else float(path)


def trained_gain(levels: int, std: float) -> float:
    x, function, _ = trained_levels(levels, 0.0, std)
    return float(function[-20] / x[-20])


def product_gain(levels: int, std: float) -> float:
    """Of a Gaussian each level's best function is linear: the product of Cov(x_{k−1}, x_k)/Var(x_k)."""
    found = 1.0
    for k in range(1, levels + 1):
        t, s = k / levels, (k - 1) / levels
        found *= ((1 - t) * (1 - s) * std**2 + t * s) / ((1 - t) ** 2 * std**2 + t**2)
    return found


def field_gain(std: float) -> float:
    """Limit of many steps, by Richardson's extrapolation."""
    ends = [float(sampler_map(np.array([1.0]), n, 0.0, std, "consistency")[0]) for n in (500, 1000)]
    return 2 * ends[1] - ends[0]


def lost_less_residual() -> float:
    """The most over counts by which variance lost and squared residuals of two modes differ."""
    found = over_counts(1.2, 0.5)
    return float(np.abs(found["lost"] - found["residual"]).max())


def tweedie_covariance() -> tuple[float, float]:
    """Mean of tr Cov(data | x)/d on three Gaussians at σ = 0.8, less that by E|x − D|², over its standard error."""
    mixture = target_mixture("three")
    data = mixture.sample(200_000, 3)
    x = data + 0.8 * torch.randn(data.shape, dtype=data.dtype, generator=torch.Generator().manual_seed(4))
    gap = conditional_covariance(mixture, x, 0.8) - (data - mixture.denoise(x, 0.8)).square().mean(1)
    return float(gap.mean()), float(gap.std() / math.sqrt(len(gap)))


def unit_difference() -> float:
    """On N(0, 1) the best variance at η = 1 is DDPM's large one, on one point its small one: the most they differ."""
    unit = GaussianMixture([1.0], [[0.0]], [1.0])
    c = float(conditional_covariance(unit, unit.sample(10, 0, 3.0), 3.0).mean())
    return max(
        abs(step_variance("optimal", 3.0, 1.0, 1.0, c) - large_variance(3.0, 1.0)),
        abs(step_variance("optimal", 3.0, 1.0, 1.0, 0.0) - step_variance("small", 3.0, 1.0, 1.0, 0.0)),
    )


def ddim_limit(schedule: str) -> float:
    """The gain of a thousand steps over that of the exact flow, for the mean grey of 16 x 16 pictures."""
    levels, variance = signal_levels(schedule), (16 * 0.5) ** 2
    return float(ddim_gains(np.array([variance]), levels[::-1])[0]) / exact_gain(variance, levels[-1])


CHECKS = (
    Check(
        "gradients of L₁ to L₅ by mean and width with the fake model held, and of F, less those by automatic differentiation",
        "Gauss–Hermite quadrature, the fake model by least squares",
        0.0,
        1e-12,
        lambda: np.abs(closed_gradients() - quadrature_gradients()).max(),
    ),
    Check(
        "where L₁'s and L₃'s flows take a width of 0.9, and L₂'s",
        "L₁'s derivative is never negative; L₃'s is 2a²τ",
        (0.0, 0.0, 1.0),
        0.05,
        lambda: (width_after("l1", 0.9), width_after("l3", 0.9), width_after("l2", 0.9)),
    ),
    Check(
        "L₂ − 1.5 L₁ from just below and just above its border",
        "to the data, and away",
        (1.0, 8.0),
        1e-3,
        lambda: tuple(width_after("mixed", share * runaway_std(0.5, 1.5), 1.5) for share in (0.999, 1.001)),
    ),
    Check(
        "gain of consistency training on N(0, ½²) with 1, 4 and 32 levels",
        "product of regression slopes",
        tuple(product_gain(n, 0.5) for n in (1, 4, 32)),
        1e-9,
        lambda: tuple(trained_gain(n, 0.5) for n in (1, 4, 32)),
    ),
    Check(
        "an exact consistency function of N(0, std²) as an ODE's field: spread over the data's, std ½ and 1.3",
        "closed form: 2",
        (2.0, 2.0),
        1e-3,
        lambda: (field_gain(0.5) / 0.5, field_gain(1.3) / 1.3),
    ),
    Check(
        "variance lost in consistency training less the squared residuals, two modes",
        "projection: 0",
        0.0,
        2e-3,
        lost_less_residual,
    ),
    Check(
        "E Cov(data | x) a dimension, three Gaussians, σ = 0.8, less E|data − D|², in standard errors",
        "0, chance up to 3",
        0.0,
        3.0,
        lambda: tweedie_covariance()[0] / tweedie_covariance()[1],
    ),
    Check(
        "best variance of a DDPM step less the large one on N(0, 1), less the small one on one point",
        "Bao et al. 2022, Theorem 2: its bounds",
        0.0,
        1e-12,
        unit_difference,
    ),
    Check(
        "spread of N(0, ½²) by the best variance at η = 0, ½ and 1 in four steps, over the data's",
        "no step loses any: 1",
        (1.0, 1.0, 1.0),
        1e-4,
        lambda: tuple(end_of("optimal", (80.0, 20.0, 3.0, 0.002, 0.0), eta, 0.5) / 0.5 for eta in (0.0, 0.5, 1.0)),
    ),
    Check(
        "√ᾱ at the last timestep: Stable Diffusion, linear, cosine; ten leading timesteps begin at",
        "Lin et al. 2023, Tables 1 and 2",
        (0.068265, 0.006353, 4.928e-5, 900),
        1e-6,
        lambda: (*(signal_levels(name)[-1] for name in SCHEDULES), spaced_timesteps(10, "leading")[-1]),
    ),
    Check(
        "DDIM's gain in a thousand steps over the exact flow's, three schedules",
        "closed form",
        (1.0, 1.0, 1.0),
        0.02,
        lambda: tuple(ddim_limit(name) for name in SCHEDULES),
    ),
)
