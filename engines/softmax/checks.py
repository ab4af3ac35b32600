"""Known results that the maps must reproduce: python -m engines.checks softmax."""

from __future__ import annotations

import math

import numpy as np
import torch

from engines import softmax as family
from engines.checks import Check
from engines.softmax.learning import descend, leaves_at, relu_power
from engines.softmax.relaxed import gumbel_softmax_mean


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


FIVE = f64(2, 1, 0.5, 0, -3)
THREE = f64(-2, 0, 0.5)
ENTMAX = "Peters, Niculae, Martins 2019, eq. 10"
SPARSEMAX = "Martins, Astudillo 2016, eq. 2"
BLOG = "Su, kexue.fm 10145"


def loss_gradient() -> torch.Tensor:
    """Of the 1.5-Fenchel-Young loss at FIVE, target 1."""
    z = FIVE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(family.fenchel_young_loss(z, torch.tensor(1)), z)
    return gradient


def by_root(beta: float) -> np.ndarray:
    """The family at FIVE, its threshold found by scipy."""
    import scipy.optimize

    s = FIVE.numpy()
    threshold = scipy.optimize.brentq(
        lambda t: relu_power(s - t, beta).sum() - 1, s.max() - 1 / beta, s.max() + 1 / beta, xtol=1e-15
    )
    return relu_power(s - threshold, beta)


def relaxed_by_quadrature(tau: float) -> float:
    """E sigmoid((1 + l) / tau), l logistic: the difference of two Gumbel noises."""
    import scipy.integrate

    def value(x: float) -> float:
        return 0.25 / math.cosh(x / 2) ** 2 * (1 + math.tanh((1 + x) / (2 * tau))) / 2

    return scipy.integrate.quad(value, -60, 60, points=[-1], epsabs=1e-12, limit=400)[0]


def vanishing() -> np.ndarray:
    """|gradient of -p| over |gradient of -log p| less the target's probability, ten classes."""
    result = descend()
    at = [int(np.abs(result.leads - lead).argmin()) for lead in (-4, 0, 2)]
    p = 1 / (1 + 9 * np.exp(-result.leads[at]))
    return result.size[1, at] / result.size[0, at] / p


def symmetric() -> list[bool]:
    """Of some maps, whether their Jacobian is."""
    result = descend()
    names = ("softmax", "entmax", "sparsemax", "perturb_max", "taylor", "sigmoid")
    return [bool(result.asymmetry[result.maps.index(name)] < 1e-12) for name in names]


CHECKS = (
    Check("sparsemax(2, 1, 0.5, 0, −3)", SPARSEMAX, (1, 0, 0, 0, 0), 0, lambda: family.sparsemax(FIVE)),
    Check(
        "sparsemax(0.3, 0.1, −0.2) = (17, 11, 2)/30",
        SPARSEMAX,
        (17 / 30, 11 / 30, 2 / 30),
        1e-15,
        lambda: family.sparsemax(f64(0.3, 0.1, -0.2)),
    ),
    Check("a lead of 1 or more takes all: sparsemax(2, 0)", BLOG, (1, 0), 0, lambda: family.sparsemax(f64(2, 0))),
    Check("sparsemax(−2, 0, 0.5)", SPARSEMAX, (0, 0.25, 0.75), 1e-15, lambda: family.sparsemax(THREE)),
    Check(
        "1.5-entmax(−2, 0, 0.5)",
        ENTMAX,
        (0, 0.3260073637, 0.6739926363),
        1e-10,
        lambda: family.entmax(THREE),
    ),
    Check(
        "1.25-entmax(−2, 0, 0.5)",
        ENTMAX,
        (0.0053394178, 0.352109786, 0.6425507962),
        3e-10,
        lambda: family.entmax(THREE, 1.25),
    ),
    Check("1.5-entmax sums to 1", ENTMAX, 1, 1e-15, lambda: family.entmax(FIVE).sum()),
    Check(
        "support of α-entmax(2, 1, 0.5, 0, −3), α = 1, 1.25, 1.5, 2: it shrinks",
        ENTMAX,
        (5, 4, 3, 1),
        0,
        lambda: [int(family.support_size(family.entmax(FIVE, alpha))) for alpha in (1, 1.25, 1.5, 2)],
    ),
    Check(
        "softmax's closed form",
        BLOG,
        [math.exp(s) / sum(math.exp(t) for t in FIVE.tolist()) for s in FIVE.tolist()],
        1e-15,
        lambda: family.softmax(FIVE),
    ),
    Check(
        "½‖J‖₁ − (1 − Σp²) of softmax",
        BLOG,
        0,
        1e-15,
        lambda: family.jacobian(family.softmax, FIVE).abs().sum() / 2 - 1 + family.softmax(FIVE).square().sum(),
    ),
    Check(
        "½‖J‖₁ of sparsemax at (0.3, 0.1, −0.2, −1.5): |S| − 1",
        "Martins, Astudillo 2016, eq. 9",
        2,
        1e-15,
        lambda: family.jacobian(family.sparsemax, f64(0.3, 0.1, -0.2, -1.5)).abs().sum() / 2,
    ),
    Check(
        "perturb-max with Gumbel noise, 200,000 draws, is softmax (4 standard deviations)",
        "Gumbel 1954; " + BLOG,
        family.softmax(FIVE).tolist(),
        4 * math.sqrt(0.25 / 200_000),
        lambda: family.gumbel_max(FIVE, samples=200_000),
    ),
    Check(
        "perturb-max with uniform noise, lead 0.3: 1 − 0.7²/2",
        BLOG,
        (0.755, 0.245),
        1e-14,
        lambda: family.perturb_max(f64(0.3, 0)),
    ),
    Check(
        "uniform noise is sparse: (1.5, 0.5, 0.4)",
        BLOG,
        (1, 0, 0),
        0,
        lambda: family.perturb_max(f64(1.5, 0.5, 0.4)),
    ),
    Check(
        "Taylor softmax is not monotone: of (0, −3) it prefers −3",
        "de Brébisson, Vincent 2016, sec. 3",
        (2 / 7, 5 / 7),
        1e-15,
        lambda: family.taylor_softmax(f64(0, -3)),
    ),
    Check(
        "the gradient of the 1.5-Fenchel–Young loss is p − y",
        "Blondel, Martins, Niculae 2020, prop. 2",
        [0.0] * 5,
        1e-15,
        lambda: loss_gradient() - family.entmax(FIVE) + f64(0, 1, 0, 0, 0),
    ),
    Check(
        "the sparsemax loss is 0 from a lead of 1 on; at 0.9 it is 0.1²/4",
        "Martins, Astudillo 2016, eq. 17 (two classes)",
        (0, 0.0025),
        1e-15,
        lambda: family.fenchel_young_loss(torch.stack((f64(1, 0), f64(0.9, 0))), torch.tensor([0, 0]), 2.0),
    ),
    Check(
        "top-p of (0.5, 0.3, 0.15, 0.05) at p = 0.8: (5, 3, 0, 0)/8",
        "Holtzman et al. 2020, sec. 3.1",
        (5 / 8, 3 / 8, 0, 0),
        1e-15,
        lambda: family.top_p_softmax(f64(0.5, 0.3, 0.15, 0.05).log(), p=0.79999),
    ),
    Check(
        "of two scores that differ by 0.8, 2 and 5 the lower is 0 from β = 1/0.8, 1/2 and 1/5 on",
        BLOG,
        (1 / 0.8, 1 / 2, 1 / 5),
        1e-12,
        lambda: [leaves_at(np.array([gap, 0.0]))[1] for gap in (0.8, 2.0, 5.0)],
    ),
    Check(
        "relu(1 + β(s − λ))^(1/β) with λ by root finding less entmax, β = 0.3, 1 and 2.5",
        "scipy's root of Σ = 1",
        (0, 0, 0),
        1e-12,
        lambda: [np.abs(by_root(b) - family.entmax(FIVE, 1 + b).numpy()).max() for b in (0.3, 1.0, 2.5)],
    ),
    Check(
        "the gradient of −p over that of −log p under softmax is p, at leads −4, 0 and 2",
        "chain rule",
        (1, 1, 1),
        1e-12,
        vanishing,
    ),
    Check(
        "|J − Jᵀ| is 0 of softmax, entmax, sparsemax and perturb-max, and is not of Taylor and the sigmoid",
        BLOG,
        (1, 1, 1, 1, 0, 0),
        0,
        symmetric,
    ),
    Check(
        "the mean of Gumbel-softmax of (1, 0) at τ = 0.1, 0.5 and 2, less that of σ((1 + logistic noise)/τ)",
        "scipy's quadrature",
        (0, 0, 0),
        1e-9,
        lambda: [float(gumbel_softmax_mean(f64(1, 0), t)[0]) - relaxed_by_quadrature(t) for t in (0.1, 0.5, 2.0)],
    ),
)
