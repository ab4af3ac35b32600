"""Known results that the rules and losses must reproduce: python -m engines.checks objectives."""

from __future__ import annotations

import math

import numpy as np
import torch

from engines import objectives as family
from engines.checks import Check
from engines.objectives.experiments import degrees_between
from engines.objectives.toy import toy_front, toy_losses

PAIR = np.array([[3.0, 1.0], [-2.0, 1.0]])
THREE = np.array([[1, 0, 0.1], [-0.8, 0.6, 0.1], [-0.8, -0.6, 0.1]])
CAGRAD = "Liu et al. 2021, eq. 4"
MGDA = "Désidéri 2012"
PCGRAD = "Yu et al. 2020, alg. 1"
BLOG_TASKS = "Su, kexue.fm 8870"
BLOG_LABELS = "Su, kexue.fm 7359"
BLOG_WAYS = "Su, kexue.fm 9158"
BLOG_VALIDATION = "Su, kexue.fm 7805"
TURNED = ("sum", "log", "normalised", "min_norm", "pcgrad", "cagrad")


def turned(scale: float, shift: float) -> list[float]:
    """Degrees by which each rule's direction turns when L1 = 2 becomes scale L1 + shift, L2 = 0.5."""
    changed = PAIR * [[scale], [1.0]]
    return [
        degrees_between(
            family.RULES[rule](torch.from_numpy(PAIR), (2.0, 0.5), 0.5).numpy(),
            family.RULES[rule](torch.from_numpy(changed), (2 * scale + shift, 0.5), 0.5).numpy(),
        )
        for rule in TURNED
    ]


def zlpr_slope(labels: list[float], scores: list[float]) -> torch.Tensor:
    at = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(family.zlpr(at, labels), at)[0]


def front_slope() -> float:
    """The longest combination w grad L1 + (1 - w) grad L2 over the front of the toy."""
    front = toy_front()
    w = (front[:, 0] / 7 + 1) / 2
    g = toy_losses(front)[1]
    return float(np.abs(w[:, None] * g[:, 0] + (1 - w)[:, None] * g[:, 1]).max())


SEVEN = [1.3, -0.4, 0.2, 2.0, -1.1, 0.6, -2.0]
ON = [1, 0, 1, 0, 0, 1, 0]

CHECKS = (
    Check("min-norm of (3, 1) and (−2, 1): (0, 1)", MGDA, (0, 1), 1e-12, lambda: family.min_norm(PAIR)[1]),
    Check("its weights: 0.4 and 0.6", MGDA, (0.4, 0.6), 1e-12, lambda: family.min_norm(PAIR)[0]),
    Check("PCGrad of the same, mean: (0.25, 1.75)", PCGRAD, (0.25, 1.75), 1e-12, lambda: family.pcgrad(PAIR)),
    Check("CAGrad, c = 0.5: (0, 1.25)", CAGRAD, (0, 1.25), 1e-10, lambda: family.cagrad(PAIR, 0.5)),
    Check(
        "CAGrad, c = 0.9: (0, 1 + √0.7625)",
        CAGRAD,
        (0, 1 + math.sqrt(0.7625)),
        1e-10,
        lambda: family.cagrad(PAIR, 0.9),
    ),
    Check(
        "three tasks, sum of g/|g|: it makes the first worse",
        BLOG_TASKS,
        (-0.5671712, 0.5074690, 0.5074690),
        1e-6,
        lambda: THREE @ family.normalised_sum(THREE).numpy(),
    ),
    Check("three tasks, min-norm: (0, 0, 0.1)", MGDA, (0, 0, 0.1), 1e-12, lambda: family.min_norm(THREE)[1]),
    Check("its weights: 4/9, 5/18, 5/18", MGDA, (4 / 9, 5 / 18, 5 / 18), 1e-12, lambda: family.min_norm(THREE)[0]),
    Check(
        "degrees turned by L₁ × 10: sum, log, 1/‖g‖, min-norm, PCGrad, CAGrad",
        "arithmetic; " + BLOG_TASKS,
        (41.987212, 0, 0, 15.708638, 15.708638, 39.371827),
        1e-5,
        lambda: turned(10, 0),
    ),
    Check(
        "degrees turned by L₁ + 5: the logarithm alone",
        "arithmetic; " + BLOG_TASKS,
        (0, 14.036243, 0, 0, 0, 0),
        1e-5,
        lambda: turned(1, 5),
    ),
    Check(
        "Nash: aᵢ⟨gᵢ, u⟩ = 1, for two tasks u = (g₁/|g₁| + g₂/|g₂|)/√(1 + cos)",
        "Navon et al. 2022, eq. 3",
        0,
        1e-12,
        lambda: (family.nash(PAIR) - family.normalised_sum(PAIR) / math.sqrt(1 - 5 / math.sqrt(50))).norm(),
    ),
    Check(
        "on the Pareto front of CAGrad's toy the weighted gradients cancel",
        "Liu et al. 2021, app.",
        0,
        1e-12,
        front_slope,
    ),
    Check(
        "ZLPR of scores (2, −1, 0.5), first label on",
        BLOG_LABELS,
        1.231058616380,
        1e-11,
        lambda: family.zlpr(torch.tensor([2, -1, 0.5], dtype=torch.float64), [1, 0, 0]),
    ),
    Check(
        "its gradient",
        BLOG_LABELS,
        (-0.11920292, 0.12195165, 0.54654939),
        1e-8,
        lambda: zlpr_slope([1, 0, 0], [2, -1, 0.5]),
    ),
    Check(
        "soft labels: ZLPR is stationary at logit(t)/2",
        "Su, kexue.fm 9064",
        (0, 0, 0),
        1e-15,
        lambda: zlpr_slope([0.9, 0.2, 0.5], [math.log(3), -math.log(2), 0]),
    ),
    Check(
        "the exponential of cross-entropy is the product that ZLPR cuts after first order",
        BLOG_LABELS,
        math.prod(1 + math.exp(-s if t else s) for s, t in zip(SEVEN, ON, strict=True)),
        1e-10,
        lambda: family.bce(torch.tensor(SEVEN, dtype=torch.float64), ON).exp(),
    ),
    Check(
        "m-way, scores (10, 5, −5), second class right: form 1 is cross-entropy",
        BLOG_WAYS,
        5.006715652344,
        1e-10,
        lambda: family.multiway(np.array([10.0, 5, -5]), 1, 1),
    ),
    Check(
        "the same in form 3: 0.17, with the wrong class on top",
        BLOG_WAYS,
        0.173007988886,
        1e-10,
        lambda: family.multiway(np.array([10.0, 5, -5]), 1, 3),
    ),
    Check(
        "N(0, 1) against N(1, 1): AUC Φ(1/√2), effective share 1/e",
        "in closed form",
        (0.7602499389, math.exp(-1)),
        1e-10,
        lambda: family.density_ratio_gaussian(1, 1),
    ),
    Check(
        "mean of x over N(0, 1), weighed by D/(1 − D): 1; by D: ½",
        BLOG_VALIDATION,
        (1, 0.5),
        1e-8,
        lambda: (family.weighted_mean(1, 1, "ratio"), family.weighted_mean(1, 1, "d")),
    ),
)
