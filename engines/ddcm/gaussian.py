"""The codec where everything is known: a source of independent standard normals, whose best denoiser is a product."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Refusal, checked
from engines.ddcm.codec import check_kind, encoder, timesteps, walk
from engines.ddcm.plan import MOST_STEPS, Plan

Levels = Annotated[int, Between(2, 100_000)]
Size = Annotated[int, Between(1, 1 << 20)]


@checked
def expected_maximum(count: Annotated[int, Between(1, 1 << 24)]) -> float:
    """E of the maximum of `count` standard normals, ∫ x n φ(x) Φ(x)^(n−1) dx, by quadrature; error below 1e-10."""
    x = np.linspace(-12, 12, 4801)
    log_cdf = torch.special.log_ndtr(torch.from_numpy(x)).numpy()
    density = count / math.sqrt(2 * math.pi) * np.exp(-0.5 * x * x + (count - 1) * log_cdf)
    return float((x * density).sum() * (x[1] - x[0]))  # the trapezium rule is exact to rounding for such a function


@checked
def linear_schedule(levels: Levels = 1000) -> np.ndarray:
    """ᾱ [levels] float64 of DDPM's linear schedule, β from 1e-4 to 0.02 (Ho et al. 2020)."""
    return np.cumprod(1 - np.linspace(1e-4, 0.02, levels))


@checked
def cosine_schedule(levels: Levels = 1000) -> np.ndarray:
    """ᾱ [levels] float64 of the cosine schedule, β at most 0.999 (Nichol and Dhariwal 2021)."""
    bar = np.cos((np.arange(levels + 1) / levels + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - bar[1:] / bar[:-1], 0.999))


def check_schedule(alphas_cumprod: Any) -> None:
    """A Refusal unless it is an array of numbers within (0, 1), falling."""
    if (
        not isinstance(alphas_cumprod, np.ndarray)
        or alphas_cumprod.ndim != 1
        or alphas_cumprod.dtype.kind != "f"
        or not ((alphas_cumprod > 0) & (alphas_cumprod < 1)).all()
        or not (np.diff(alphas_cumprod) < 0).all()
    ):
        raise Refusal("{parameter} must be an array of falling numbers between 0 and 1.", parameter="alphas_cumprod")


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}


@dataclass(frozen=True)
class Normals:
    """N(0, I) as a model for `walk`: E[x0 | x_t] = √ᾱ_t x_t.

    size: dimensions
    alphas_cumprod: float64 [N]; ᾱ of the noise levels
    """

    size: int
    alphas_cumprod: np.ndarray

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    def denoise(self, x: Tensor, t: int) -> Tensor:
        return float(self.alphas_cumprod[t]) ** 0.5 * x


@checked
def code_normals(
    plan: Plan, size: Size, alphas_cumprod: np.ndarray, sources: Annotated[int, Between(1, 4096)] = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Encode draws from N(0, I): mean squared error [sources], and alignment ⟨z, r⟩/‖r‖ [T − 1, sources], float64."""
    check_kind("plan", plan, Plan)
    check_schedule(alphas_cumprod)
    source = torch.randn(sources, size, generator=torch.Generator().manual_seed(plan.seed + 1))
    alignment = []
    for step in walk(Normals(size, alphas_cumprod), plan, sources, encoder(source)):
        if step.noise is not None:
            residual = source - step.denoised
            alignment.append((step.noise * residual).sum(1) / residual.norm(dim=1))
    return ((source - step.denoised) ** 2).mean(1).double().numpy(), torch.stack(alignment).double().numpy()


@checked
def predict_error(
    steps: Annotated[int, Between(2, MOST_STEPS)],
    size: Size,
    alphas_cumprod: np.ndarray,
    alignment: Annotated[float, Between(0, 1000)],
) -> float:
    """Mean squared error where each noise has ⟨z, r⟩/‖r‖ = `alignment` and is otherwise typical.

    Follows the two numbers that matter, c = ⟨x, x0⟩/size and v = ‖x‖²/size; exact as size grows.
    """
    check_schedule(alphas_cumprod)
    alphas = alphas_cumprod[timesteps(steps, len(alphas_cumprod))]
    c, v, pull = 0.0, 1.0, alignment / math.sqrt(size)
    for alpha_t, alpha_s in itertools.pairwise(alphas):
        error = 1 - 2 * math.sqrt(alpha_t) * c + alpha_t * v
        beta = 1 - alpha_t / alpha_s
        gain = math.sqrt(alpha_s) * beta / (1 - alpha_t) * math.sqrt(alpha_t) + math.sqrt(alpha_t / alpha_s) * (
            1 - alpha_s
        ) / (1 - alpha_t)
        spread = math.sqrt(beta * (1 - alpha_s) / (1 - alpha_t))
        along_x = (c - math.sqrt(alpha_t) * v) / math.sqrt(error)
        along_source = (1 - math.sqrt(alpha_t) * c) / math.sqrt(error)
        c, v = (
            gain * c + spread * pull * along_source,
            gain * gain * v + 2 * gain * spread * pull * along_x + spread**2,
        )
    return float(1 - 2 * math.sqrt(alphas[-1]) * c + alphas[-1] * v)
