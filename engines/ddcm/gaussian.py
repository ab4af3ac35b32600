"""The codec where everything is known: a source of independent standard normals, whose best denoiser is a product."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.ddcm.codec import timesteps, towards, walk
from engines.ddcm.plan import Plan


def expected_maximum(count: int) -> float:
    """E of the greatest of `count` standard normals, ∫ x n φ(x) Φ(x)^(n−1) dx, by quadrature; error below 1e-10."""
    x = np.linspace(-12, 12, 4801)
    log_cdf = torch.special.log_ndtr(torch.from_numpy(x)).numpy()
    density = count / math.sqrt(2 * math.pi) * np.exp(-0.5 * x * x + (count - 1) * log_cdf)
    return float((x * density).sum() * (x[1] - x[0]))  # the trapezium rule is exact to rounding for such a function


def linear_kept(levels: int = 1000) -> np.ndarray:
    """[levels] float64, ᾱ of DDPM's linear schedule, β from 1e-4 to 0.02 (Ho et al. 2020)."""
    return np.cumprod(1 - np.linspace(1e-4, 0.02, levels))


def cosine_kept(levels: int = 1000) -> np.ndarray:
    """[levels] float64, ᾱ of the cosine schedule, β at most 0.999 (Nichol and Dhariwal 2021)."""
    bar = np.cos((np.arange(levels + 1) / levels + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - bar[1:] / bar[:-1], 0.999))


SCHEDULES = {"linear": linear_kept, "cosine": cosine_kept}


@dataclass(frozen=True)
class Normals:
    """N(0, I) in `size` dimensions as a model for `walk`: E[x0 | x_t] = √ᾱ_t x_t."""

    size: int
    kept: np.ndarray

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    def denoise(self, x: Tensor, t: int) -> Tensor:
        return float(self.kept[t]) ** 0.5 * x


def code_normals(plan: Plan, size: int, kept: np.ndarray, sources: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Encode draws from N(0, I): mean squared error [sources], and alignment ⟨z, r⟩/‖r‖ [T − 1, sources]."""
    source = torch.randn(sources, size, generator=torch.Generator().manual_seed(plan.seed + 1))
    alignment = []
    for moment in walk(Normals(size, kept), plan, sources, towards(source)):
        if moment.noise is not None:
            residual = source - moment.clean
            alignment.append((moment.noise * residual).sum(1) / residual.norm(dim=1))
    return ((source - moment.clean) ** 2).mean(1).double().numpy(), torch.stack(alignment).double().numpy()


def predicted_error(steps: int, size: int, kept: np.ndarray, alignment: float) -> float:
    """Mean squared error where each noise has ⟨z, r⟩/‖r‖ = `alignment` and is otherwise typical.

    Follows the two numbers that matter, c = ⟨x, x0⟩/size and v = ‖x‖²/size; exact as size grows.
    """
    times = timesteps(steps, len(kept))
    c, v, pull = 0.0, 1.0, alignment / math.sqrt(size)
    for i, t in enumerate(times):
        now = float(kept[t])
        error = 1 - 2 * math.sqrt(now) * c + now * v
        if i + 1 == len(times):
            return error
        then = float(kept[times[i + 1]])
        fresh = 1 - now / then
        gain = math.sqrt(then) * fresh / (1 - now) * math.sqrt(now) + math.sqrt(now / then) * (1 - then) / (1 - now)
        spread = math.sqrt(fresh * (1 - then) / (1 - now))
        towards_x, towards_source = (
            (c - math.sqrt(now) * v) / math.sqrt(error),
            (1 - math.sqrt(now) * c) / math.sqrt(error),
        )
        c, v = (
            gain * c + spread * pull * towards_source,
            gain * gain * v + 2 * gain * spread * pull * towards_x + spread**2,
        )
    raise AssertionError
