"""Paths from data to noise, and the grids of noise levels along them.

A path is x = s(τ) (data + σ(τ) ε). Samplers keep their state in the unscaled coordinates x/s (those of Karras et al.
2022), in which every path is x = data + σ ε; a path then says two things: in which time τ a step is a straight line,
and how the state is scaled meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, items, number, one_of, whole

MAX_STEPS = 5000
SPACINGS = ("leading", "trailing", "linspace")
# the published knots for Stable Diffusion 1.5 (Sabour et al. 2024, arXiv 2404.14507, quickstart table)
AYS_KNOTS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)


@dataclass(frozen=True)
class Path:
    """One path. All functions take and give plain floats.

    time: σ -> τ, which is 0 at σ = 0
    sigma: τ -> σ
    scale: σ -> s
    flow: σ -> (a, b) of the probability flow dy/dτ = a y − b D in scaled coordinates y = s x (Karras et al. 2022,
        Eq. 4 and 81: a = σ'/σ + s'/s, b = s σ'/σ)
    high: float; the σ at which the path begins, where it is noise for every practical purpose
    """

    time: Callable[[float], float]
    sigma: Callable[[float], float]
    scale: Callable[[float], float]
    flow: Callable[[float], tuple[float, float]]
    high: float


def variance_preserving(
    time: Callable[[float], float], sigma: Callable[[float], float], beta: Callable[[float], float], high: float
) -> Path:
    """dy = −β/2 y dτ + √β dW: s = 1/√(1 + σ²); Song et al. 2020, arXiv 2011.13456, Eq. 11."""

    def flow(level):
        a = 0.5 * beta(time(level)) / level**2
        return a, a * math.sqrt(1 + level**2)

    return Path(time, sigma, lambda level: 1 / math.sqrt(1 + level**2), flow, high)


BETA_LOW, BETA_HIGH = 0.1, 20.0
OFFSET = 0.008
ANGLE = math.pi / 2 / (1 + OFFSET)
COS0 = math.cos(OFFSET * ANGLE)


def linear_time(sigma: float) -> float:
    total = math.log1p(sigma**2)  # = β_low t + (β_high − β_low) t²/2
    return 2 * total / (BETA_LOW + math.sqrt(BETA_LOW**2 + 2 * (BETA_HIGH - BETA_LOW) * total))


def linear_sigma(time: float) -> float:
    return math.sqrt(math.expm1(BETA_LOW * time + 0.5 * (BETA_HIGH - BETA_LOW) * time**2))


def cosine_time(sigma: float) -> float:
    return math.acos(COS0 / math.sqrt(1 + sigma**2)) / ANGLE - OFFSET if sigma else 0.0


def cosine_sigma(time: float) -> float:
    return math.sqrt(max((COS0 / math.cos((time + OFFSET) * ANGLE)) ** 2 - 1, 0.0))


PATHS: dict[str, Path] = {
    "ve": Path(float, float, lambda s: 1.0, lambda s: (1 / s, 1 / s), 80.0),
    "vp_linear": variance_preserving(
        linear_time,
        linear_sigma,
        lambda t: BETA_LOW + (BETA_HIGH - BETA_LOW) * t,
        linear_sigma(1.0),
    ),
    "vp_cosine": variance_preserving(
        cosine_time,
        cosine_sigma,
        lambda t: 2 * ANGLE * math.tan((t + OFFSET) * ANGLE),
        cosine_sigma(0.999),
    ),
    # τ = 1 − t runs from noise (1) to data (0). It begins at t = 1e-9, where float64 still holds D to 1e-9.
    "rf": Path(
        lambda s: s / (1 + s),
        lambda t: t / (1 - t),
        lambda s: 1 / (1 + s),
        lambda s: ((1 + s) / s, (1 + s) / s),
        1e9,
    ),
}


def check_levels(low: float, high: float) -> None:
    """Refusal unless 0 < low < high."""
    if not 0 < number("low", low) < number("high", high):
        raise Refusal("{parameter} must be over 0 and below high; this is {given}.", parameter="low", given=low)


def append_zero(sigmas: Tensor) -> Tensor:
    """The grid [n], then 0: the last step ends at the denoised data. [n + 1]."""
    if not isinstance(sigmas, Tensor) or sigmas.ndim != 1:
        raise Refusal("{parameter} must be a tensor of noise levels.", parameter="sigmas")
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def karras_sigmas(n: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """n noise levels from high down to low, even in σ^(1/ρ); without the final 0 (`append_zero` adds it). [n] float64.

    Karras et al. 2022, arXiv 2206.00364, Eq. 5.
    """
    n = whole("n", n, 1, MAX_STEPS)
    check_levels(low, high)
    rho = number("rho", rho, 0.01, 100)
    if n == 1:
        return torch.tensor([high], dtype=torch.float64)
    return torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=torch.float64) ** rho


def logsnr_sigmas(n: int, low: float = 0.002, high: float = 80.0) -> Tensor:
    """n levels from high to low, even in log σ, which is even in log-SNR: −2 log σ. [n] float64.

    Lu et al. 2022, arXiv 2206.00927, Section 3.3.
    """
    n = whole("n", n, 1, MAX_STEPS)
    check_levels(low, high)
    return torch.linspace(math.log(high), math.log(low), n, dtype=torch.float64).exp()


def time_sigmas(n: int, path: str = "vp_linear", power: float = 1.0, high: float | None = None) -> Tensor:
    """n + 1 levels, the last 0, even in τ^(1/power) of the path's own time: 1 is uniform, 2 quadratic. float64.

    The quadratic grid is that of DDIM (Song et al. 2020, arXiv 2010.02502, Appendix D.2).
    """
    n = whole("n", n, 1, MAX_STEPS)
    chosen = PATHS[one_of("path", path, PATHS)]
    high = chosen.high if high is None else number("high", high, 1e-12, 1e12)
    times = chosen.time(high) * (1 - np.arange(n + 1) / n) ** number("power", power, 0.1, 10)
    levels = [chosen.sigma(float(t)) for t in times]
    levels[0], levels[-1] = high, 0.0
    return torch.tensor(levels, dtype=torch.float64)


def knot_sigmas(n: int, knots: Sequence[float] = AYS_KNOTS, low: float = 0.002, high: float = 80.0) -> Tensor:
    """n levels through given knots, interpolated and stretched to [low, high] in log σ: Align Your Steps. float64.

    Sabour et al. 2024, arXiv 2404.14507, Section 3.3 (log-linear interpolation of a ten-step schedule).
    """
    n = whole("n", n, 1, MAX_STEPS)
    check_levels(low, high)
    values = np.array([number("knots", knot, 1e-12, 1e12) for knot in items("knots", knots, 64, 2)])
    if not (np.diff(values) < 0).all():
        raise Refusal("{parameter} must fall from noise to data, as in 80, 5, 1, 0.2, 0.002.", parameter="knots")
    logs = np.interp(np.linspace(0, len(values) - 1, n), np.arange(len(values)), np.log(values))
    unit = (logs - math.log(values[-1])) / math.log(values[0] / values[-1])
    return torch.as_tensor(np.exp(math.log(low) + unit * math.log(high / low)))


def spaced_timesteps(n: int, spacing: str = "leading", train_steps: int = 1000) -> np.ndarray:
    """n of the timesteps 0 to train_steps − 1, rising, as diffusers names them. int64 [n].

    spacing: leading (0, k, 2k, ...), trailing (... T − 1), or linspace (both ends)
    Lin et al. 2023, arXiv 2305.08891, Table 2.
    """
    train_steps = whole("train_steps", train_steps, 1, 100_000)
    n = whole("n", n, 1, train_steps)
    if one_of("spacing", spacing, SPACINGS) == "leading":
        return np.arange(n) * (train_steps // n)
    if spacing == "trailing":
        return np.round(train_steps - np.arange(n)[::-1] * train_steps / n).astype(int) - 1
    return np.round(np.linspace(0, train_steps - 1, n)).astype(int)


def ddpm_sigmas(n: int, spacing: str = "leading", train_steps: int = 1000) -> Tensor:
    """The levels √(1/ᾱ − 1) of DDPM's 1,000 linear βs (1e-4 to 0.02) at n timesteps, then 0. [n + 1] float64.

    Ho et al. 2020, arXiv 2006.11239, Section 4.
    """
    steps = spaced_timesteps(n, spacing, train_steps)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, train_steps))
    return append_zero(torch.as_tensor(np.sqrt(1 / kept[steps[::-1]] - 1)))


GRIDS = ("karras", "time", "quadratic", "logsnr", "ays")


def sigma_grid(
    grid: str,
    steps: int,
    path: str = "ve",
    low: float = 0.002,
    high: float = 80.0,
    rho: float = 7.0,
    knots: Sequence[float] = AYS_KNOTS,
) -> Tensor:
    """steps + 1 noise levels by the name of GRIDS, the last one 0. [steps + 1] float64.

    The grids in a path's time run over that path's own range; the others from `high` to `low`, then 0.
    """
    steps = whole("steps", steps, 1, MAX_STEPS)
    one_of("path", path, PATHS)
    one_of("grid", grid, GRIDS)
    if grid == "karras":
        return append_zero(karras_sigmas(steps, low, high, rho))
    if grid == "logsnr":
        return append_zero(logsnr_sigmas(steps, low, high))
    if grid == "ays":
        return append_zero(knot_sigmas(steps, knots, low, high))
    return time_sigmas(steps, path, 1.0 if grid == "time" else 2.0)
