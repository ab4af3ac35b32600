"""What a correct implementation of the samplers and of the losses of few steps must reproduce."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from engines.checks import Check
from engines.diffusion import checks_exact
from engines.diffusion.experiments import convergence
from engines.diffusion.fewstep import exact_flow, identity_loss, load, matching_loss, shortcut_loss
from engines.diffusion.images import SCHEDULERS, Condition, sample_images, scheduler_for
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.diffusion.paths import append_zero, ddpm_sigmas, karras_sigmas, time_sigmas
from engines.diffusion.samplers import solve


def one_particle(value: float = 1.0) -> torch.Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def gaussian(scale: float) -> GaussianMixture:
    return GaussianMixture([1.0], [[0.0]], [scale])


def gain(sampler: str) -> float:
    exact = 0.5 / math.sqrt(0.25 + 80**2)
    return solve(sampler, gaussian(0.5).denoise, one_particle(), append_zero(karras_sigmas(18))).item() / exact


def ddim_gain() -> float:
    levels = ddpm_sigmas(10, "leading")
    return solve("ddim", gaussian(1.0).denoise, one_particle(math.sqrt(1 + float(levels[0]) ** 2)), levels).item()


def ddpm_variance(steps: int, variance: str) -> float:
    """Exactly: the sampler is linear on a Gaussian, so each particle carries one of its independent draws."""
    levels, turn = ddpm_sigmas(steps), iter(range(1, steps + 1))
    start = torch.eye(steps, 1, dtype=torch.float64) * math.sqrt(1 + float(levels[0]) ** 2)

    def impulse(x):
        drawn = torch.zeros_like(x)
        drawn[next(turn)] = 1
        return drawn

    ends = solve("ddpm", gaussian(1.0).denoise, start, levels, noise=impulse, variance=variance)
    return ends.square().sum().item()


def flow_endpoint() -> np.ndarray:
    start = torch.tensor([[40.0, -24.0]], dtype=torch.float64)
    return solve("rk4", target_mixture("three").denoise, start, karras_sigmas(400)).numpy()[0]


def measured_order(sampler: str) -> float:
    (progress,) = convergence(samplers=(sampler,), steps=(160, 320))
    return progress.result.fitted[0]


def boundary_error() -> float:
    model = load("ring", "consistency_distillation").model
    x = torch.linspace(-3, 3, 20).reshape(10, 2)
    return float((model.consistency(x, torch.ones(10)) - x).abs().max())


def least(loss: Callable[[float], Tensor]) -> float:
    """Where a loss that is quadratic in one number is least."""
    below, here, above = (float(loss(k).mean()) for k in (-1.0, 0.0, 1.0))
    return (below - above) / (2 * (below + above - 2 * here))


def reflow_gain(steps: int) -> float:
    """Euler's gain along the velocity k(t) x that has the least reflow loss on pairs of the exact flow to N(0, ½²)."""
    x0 = gaussian(1.0).sample(50, 0)
    x1, gain = exact_flow(gaussian(0.5), x0, 64), 1.0
    for i in range(steps):
        t = torch.full((50,), i / steps, dtype=torch.float64)
        gain *= 1 + least(lambda k, t=t: matching_loss(lambda x, _: k * x, x0, x1, t)) / steps
    return gain


def shortcut_slope(steps: int = 8) -> float:
    """s(x, 0, 1)/x with the least shortcut loss, from the exact s of steps of 1/8 by doubling them."""
    x, half = gaussian(1.0).sample(50, 0), gaussian(0.5)
    slopes = [float(exact_flow(half, one_particle(), 16, i / steps, (i + 1) / steps) - 1) * steps for i in range(steps)]
    while len(slopes) > 1:
        d = 1 / len(slopes)

        def loss(k: float, i: int, known=slopes, d=d) -> Tensor:
            """Of the step that is twice as long and begins at 2 i d."""

            def jump(x: Tensor, t: Tensor, length: Tensor) -> Tensor:
                return x * (k if length[0] > d else known[round(float(t[0]) / d)])

            return shortcut_loss(jump, x, *(torch.full((50,), value, dtype=torch.float64) for value in (2 * i * d, d)))

        slopes = [least(lambda k, i=i, loss=loss: loss(k, i)) for i in range(len(slopes) // 2)]
    return slopes[0]


MADE, SCALE, NOISE = 0.7, 0.3, 0.6  # a generator N(0.7, 0.3²), and the level at which it is compared


def sid_value() -> float:
    """SiD's loss over |Δ|² for a generator whose distribution is known, so that the fake denoiser is the optimal one."""
    real, made = gaussian(0.5), GaussianMixture([1.0], [[MADE]], [SCALE])
    truth = made.sample(200_000, 0)
    noise = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = truth + NOISE * noise
    ours, theirs = made.denoise(x, NOISE), real.denoise(x, NOISE)
    return float(identity_loss(theirs, ours, truth, 0.8).mean() / (theirs - ours).square().sum(-1).mean())


def identity_gradient(alpha: float) -> float:
    """Its derivative by the generator's mean with the fake denoiser held, by Gauss–Hermite quadrature (exact here)."""
    nodes, masses = map(torch.tensor, np.polynomial.hermite_e.hermegauss(4))
    z, noise = torch.cartesian_prod(nodes, nodes).T[:, :, None]
    mass = torch.outer(masses, masses).flatten() / (2 * math.pi)
    mean = torch.tensor(MADE, dtype=torch.float64, requires_grad=True)
    made = mean + SCALE * z
    x = made + NOISE * noise
    real, fake = gaussian(0.5).denoise(x, NOISE), GaussianMixture([1.0], [[MADE]], [SCALE]).denoise(x, NOISE)
    (gradient,) = torch.autograd.grad((mass * identity_loss(real, fake, made, alpha)).sum(), mean)
    return float(gradient)


# With D = ρ x of the data and κ x + (1 − κ) m of the generator, F = (ρ − κ)² (s² + σ²) + (1 − ρ)² m²:
# ½ dF/dm = (1 − ρ)² m, and its part through the fake denoiser alone is (1 − ρ) (1 − κ) m.
RHO, KAPPA = 0.25 / (0.25 + NOISE**2), SCALE**2 / (SCALE**2 + NOISE**2)


def picture_error() -> float:
    """The most that any scheduler ends off the only picture of a model that knows it, in 1 to 17 steps."""
    errors = []
    for schedule, prediction in (("linear", "epsilon"), ("squaredcos_cap_v2", "v_prediction")):
        config = {"beta_schedule": schedule, "prediction_type": prediction, "clip_sample": False}
        start = torch.randn(2, 3, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for name in SCHEDULERS:
            scheduler = scheduler_for(name, config)

            def model(x: Tensor, t: Tensor, prediction=prediction, sigmas=scheduler.sigmas) -> SimpleNamespace:
                signal, spread = 1 / math.hypot(1, sigmas[t]), sigmas[t] / math.hypot(1, sigmas[t])
                noise = (x - 0.3 * signal) / spread
                return SimpleNamespace(sample=noise if prediction == "epsilon" else signal * noise - 0.3 * spread)

            for steps in (1, 2, 3, 7, 17):
                *_, (_, _, state, _) = sample_images(model, scheduler, steps, start)
                errors.append(float((state - 0.3).abs().max()))
    return float(np.max(errors))  # NaN where one is


def rectified_gain(steps: int) -> float:
    levels = time_sigmas(steps, "rf")
    return solve("euler", gaussian(0.5).denoise, one_particle(float(levels[0])), levels, path="rf").item()


# measured; a sampler's order in theory stands in SAMPLERS
ORDERS = {
    "euler": ("fitted order of Euler, 160 to 320 steps", "theory 1", 1),
    "heun": ("fitted order of Heun, 160 to 320 steps", "theory 2", 2),
    "dpm_2": ("fitted order of DPM-Solver-2, 160 to 320 steps", "theory 2", 2),
    "dpmpp_2s": ("fitted order of DPM-Solver++ 2S, 160 to 320 steps", "theory 2", 2),
    "dpmpp_2m": ("fitted order of DPM-Solver++ 2M, 160 to 320 steps", "theory 2", 2),
    "dpm_3": ("fitted order of DPM-Solver-3, 160 to 320 steps", "theory 3", 3),
    "lms": ("fitted order of LMS, 160 to 320 steps", "theory 4", 3.9),
    "rk4": ("fitted order of RK4, 160 to 320 steps", "theory 4", 4),
    "dpmpp_3m": ("fitted order of DPM-Solver++ 3M as published, 160 to 320 steps", "theory 3; measured", 1.86),
    "dpmpp_3m_doubled": ("fitted order of DPM-Solver++ 3M, last term doubled, 160 to 320 steps", "theory 3", 3.08),
}


class TwoClasses:
    """A network that knows N(MEAN, SPREAD²) as its class 0 and N(0, SPREAD²) as none, of v on the cosine schedule."""

    MEAN, SPREAD = 0.1, 0.3
    config = SimpleNamespace(num_class_embeds=2)

    def __init__(self, sigmas: np.ndarray):
        self.sigmas = sigmas

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> SimpleNamespace:
        sigma = float(self.sigmas[int(t)])
        mean = torch.where(labels == 0, self.MEAN, 0.0)[:, None, None, None]
        noisy = x.double() * math.hypot(1, sigma)
        clean = mean + self.SPREAD**2 / (self.SPREAD**2 + sigma**2) * (noisy - mean)
        return SimpleNamespace(sample=(noisy - (1 + sigma**2) * clean) / (sigma * math.hypot(1, sigma)))


def guided_end(low: float, high: float) -> tuple[float, float]:
    """Where guidance 3 between two noise levels takes a state 0 and a state 1, in 100 steps of Heun."""
    config = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    scheduler = scheduler_for("heun", config | {"clip_sample": False})
    noise = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    asked = Condition(0, 3.0, low, high)
    *_, (_, _, state, _) = sample_images(TwoClasses(scheduler.sigmas), scheduler, 100, noise, 0, asked)
    return float(state[0, 0, 0, 0]), float(state[1, 0, 0, 0])


def guided_exactly(low: float, high: float) -> tuple[float, float]:
    """The same of the flow. D_none + 3 (D_class − D_none) is the denoiser of N(3 MEAN, SPREAD²), and from σ to σ' the flow of
    N(m, s²) takes x to m + (x − m) √((s² + σ'²) / (s² + σ²)); its parts follow each other."""
    # the cosine schedule's last step but one reaches ᾱ = f(0.999)/f(0); the last β is capped at 0.999
    cosine = [math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0.0, 0.999)]
    top = math.sqrt(1000 * cosine[0] / cosine[1] - 1)
    ends = []
    for start in (0.0, 1.0):
        x = start * math.hypot(1, top)
        levels = [top, min(high, top), low, 0.0]
        for (sigma, after), weight in zip(itertools.pairwise(levels), (1, 3, 1), strict=True):
            mean, spread = weight * TwoClasses.MEAN, TwoClasses.SPREAD
            x = mean + (x - mean) * math.sqrt((spread**2 + after**2) / (spread**2 + sigma**2))
        ends.append(x)
    return ends[0], ends[1]


CHECKS = (
    Check(
        "Karras grid, n = 18, 0.002 to 80, ρ = 7: σ₁ and σ₁₀",
        "Karras et al. 2022, Eq. 5",
        (57.5859847212, 1.0881706365),
        1e-8,
        lambda: karras_sigmas(18)[[1, 10]].numpy(),
        relative=True,
    ),
    Check(
        "Euler's gain over the exact on N(0, ½²), 18 Karras levels, then 0",
        "closed form",
        0.8460793973,
        1e-8,
        lambda: gain("euler"),
    ),
    Check("Heun's gain over the exact, likewise", "closed form", 1.0552698841, 1e-8, lambda: gain("heun")),
    Check("DDIM's gain on N(0, 1), linear β, leading, 10 steps", "closed form", 0.8316958769, 1e-8, ddim_gain),
    Check(
        "DDPM's variance on N(0, 1), fixed large, 5 and 50 steps",
        "closed form: 1 − β₁",
        (0.9999, 0.9999),
        1e-9,
        lambda: (ddpm_variance(5, "fixed_large"), ddpm_variance(50, "fixed_large")),
    ),
    Check(
        "DDPM's variance on N(0, 1), fixed small, 10 steps",
        "closed form",
        0.54821,
        1e-5,
        lambda: ddpm_variance(10, "fixed_small"),
    ),
    Check(
        "where the exact flow takes (40, −24) from σ = 80 to 0.002",
        "three Gaussians, RK4 and DOP853",
        (0.2701704575, -1.2371257339),
        1e-6,
        flow_endpoint,
    ),
    *(
        Check(claim, source, order, 0.15, lambda name=name: measured_order(name))
        for name, (claim, source, order) in ORDERS.items()
    ),
    Check(
        "rectified flow to N(0, ½²): Euler's gain in 1 and 2 steps",
        "closed form",
        (0.0, 0.2),
        1e-8,
        lambda: (rectified_gain(1), rectified_gain(2)),
    ),
    Check("and its limit", "closed form", 0.5, 2e-5, lambda: 2 * rectified_gain(400) - rectified_gain(200)),
    Check(
        "reflow on pairs of the exact flow to N(0, ½²), at the least loss: Euler's gain in 1 and 8 steps",
        "closed form: straight",
        (0.5, 0.5),
        1e-7,
        lambda: (reflow_gain(1), reflow_gain(8)),
    ),
    Check(
        "shortcut s(x, 0, 1) over x at the least loss, doubled up from steps of 1/8",
        "closed form",
        -0.5,
        1e-7,
        shortcut_slope,
    ),
    Check(
        "a consistency model at the data: the most that f(x, 1) differs from x",
        "Song et al. 2023, Eq. 5",
        0.0,
        0,
        boundary_error,
    ),
    Check("SiD's loss with the optimal fake denoiser over |Δ|², α = 0.8", "1 − α", 0.2, 0.01, sid_value),
    Check(
        "the gradient of that loss by a generator's mean, α = ½ and α = 1",
        "closed form: ½ ∇F, and its part through the fake denoiser",
        ((1 - RHO) ** 2 * MADE, (1 - RHO) * (1 - KAPPA) * MADE),
        1e-12,
        lambda: (identity_gradient(0.5), identity_gradient(1.0)),
    ),
    Check(
        "a model that knows one picture: the most that any scheduler ends off it, 1 to 17 steps",
        "x̂₀ is that picture at every call",
        0.0,
        1e-6,
        picture_error,
    ),
    Check(
        "guidance 3 at all noise levels, and between 0.2 and 2 alone: where a state ends, for two Gaussian classes",
        "closed form: the flow of N(3 m, s²) inside, of N(m, s²) outside",
        (*guided_exactly(0.0, 1e5), *guided_exactly(0.2, 2.0)),
        0.005,
        lambda: (*guided_end(0.0, 1e5), *guided_end(0.2, 2.0)),
    ),
    *checks_exact.CHECKS,
)
