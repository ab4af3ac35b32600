"""What a schedule's last noise level and the choice of timesteps do to brightness: exact on Gaussian pictures.

Pictures are greyscale with independent Gaussian coefficients in the discrete cosine basis: one for the mean grey, wide, and a
texture with a 1/frequency spectrum. The denoiser is then linear in each coefficient, so DDIM's samples have one gain a
coefficient. Training noises pictures to √ᾱ_T x + √(1 − ᾱ_T) ε with ᾱ_T over 0, sampling begins at N(0, I): the mean grey of a
large picture is still plain to see at T, and the start says that it is medium. Lin et al. 2023, arXiv 2305.08891.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, OneOf, checked, one_of
from engines.diffusion.paths import SPACINGS, spaced_timesteps

SCHEDULES = ("scaled_linear", "linear", "cosine")
TRAIN_STEPS = 1000
COUNTS = (5, 10, 20, 50, 100, 200, 500)
SHOWN, DARKEST = 8, 1.6


def signal_levels(schedule: str, zero_terminal: bool = False) -> np.ndarray:
    """√ᾱ_t of 1,000 timesteps, [1000].

    schedule: "linear" (Ho et al. 2020), "scaled_linear" (Stable Diffusion: even in √β, 0.00085 to 0.012), or "cosine" (Nichol &
    Dhariwal 2021, arXiv 2102.09672); zero_terminal: shifted and stretched so that the last is 0, by Algorithm 1 of Lin et al.
    """
    one_of("schedule", schedule, SCHEDULES)
    if schedule == "cosine":
        angles = (np.arange(TRAIN_STEPS + 1) / TRAIN_STEPS + 0.008) / 1.008 * math.pi / 2
        betas = np.minimum(1 - np.cos(angles[1:]) ** 2 / np.cos(angles[:-1]) ** 2, 0.999)
    elif schedule == "linear":
        betas = np.linspace(1e-4, 0.02, TRAIN_STEPS)
    else:
        betas = np.linspace(0.00085**0.5, 0.012**0.5, TRAIN_STEPS) ** 2
    levels = np.sqrt(np.cumprod(1 - betas))
    if zero_terminal:
        levels = (levels - levels[-1]) * levels[0] / (levels[0] - levels[-1])
    return levels


def ddim_gains(variances: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """By how much DDIM multiplies coefficients of N(0, 1) at the first of falling levels √ᾱ [n], down to the data; like variances.

    D = √ᾱ v/(ᾱ v + 1 − ᾱ) x for a coefficient of variance v; at ᾱ = 0 it is 0, the mean of the data.
    """
    gains = np.ones_like(variances)
    for signal, signal_next in zip(levels, [*levels[1:], 1.0], strict=True):
        spread, spread_next = 1 - signal**2, max(1 - signal_next**2, 0.0)
        kept = signal * variances / (signal**2 * variances + spread)
        gains *= signal_next * kept + math.sqrt(spread_next / spread) * (1 - signal * kept)
    return gains


def exact_gain(variance: float, signal: float) -> float:
    """The limit of many steps: √(v / (ᾱ v + 1 − ᾱ)), √v only where ᾱ = 0."""
    return math.sqrt(variance / (signal**2 * variance + 1 - signal**2))


@dataclass(frozen=True)
class Brightness:
    """Pictures from one noise by schedules and timesteps, and how far apart their greys stay.

    schedule, steps, side, spread: as asked
    rows: (zero_terminal, spacing) of each row of pictures after the first
    images: uint8 [1 + rows, shown, side, side]; data with these coefficients, then DDIM's samples of them
    brightness: float64 [1 + rows, shown]; mean grey, −1 black, 1 white
    kept: float64 [rows]; spread of the samples' brightness over that of the data
    first: int64 [rows]; the timestep at which sampling begins, of 0 to 999
    counts: int64 [c]; steps
    over_counts: float64 [rows, c]; as kept
    limit: float64 [2]; in the limit of many steps from T, as it is and with zero terminal SNR
    schedules: SCHEDULES; terminal: float64 [schedules]; √ᾱ_T
    """

    schedule: str
    steps: int
    side: int
    spread: float
    rows: tuple[tuple[bool, str], ...]
    images: np.ndarray
    brightness: np.ndarray
    kept: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    over_counts: np.ndarray
    limit: np.ndarray
    schedules: tuple[str, ...]
    terminal: np.ndarray


@checked
def terminal_brightness(
    schedule: Annotated[str, OneOf(SCHEDULES)] = "scaled_linear",
    steps: Annotated[int, Between(1, 500)] = 20,
    side: Annotated[int, Between(8, 96)] = 64,
    spread: Annotated[float, Between(0.05, 1)] = 0.5,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Brightness:
    """DDIM's samples of Gaussian pictures, side x side, with the schedule as it is and with zero terminal SNR, by spacing.

    spread: standard deviation of a picture's mean grey, on the scale from −1 (black) to 1 (white).
    """
    from scipy.fft import idctn

    frequencies = np.hypot(*np.indices((side, side)))
    frequencies[0, 0] = 1.0
    variances = frequencies**-2.0
    variances[0, 0] = 0.0
    variances *= (0.2 * side) ** 2 / variances.sum()  # texture of standard deviation 0.2
    variances[0, 0] = (side * spread) ** 2
    z = np.random.default_rng(seed).standard_normal((SHOWN, side, side))
    z[:, 0, 0] = np.linspace(-DARKEST, DARKEST, SHOWN)
    rows = tuple((zero, spacing) for zero in (False, True) for spacing in SPACINGS)
    levels = {zero: signal_levels(schedule, zero) for zero in (False, True)}
    gains = [np.sqrt(variances)]
    kept, first, over = [], [], []
    for zero, spacing in rows:
        steps_taken = spaced_timesteps(steps, spacing, TRAIN_STEPS)[::-1]
        gains.append(ddim_gains(variances, levels[zero][steps_taken]))
        kept.append(gains[-1][0, 0] / gains[0][0, 0])
        first.append(int(steps_taken[0]))
        grey = variances[:1, 0]
        over.append(
            [float(ddim_gains(grey, levels[zero][spaced_timesteps(n, spacing, TRAIN_STEPS)[::-1]])[0]) for n in COUNTS]
        )
    pictures = np.stack([idctn(gain * z, axes=(1, 2), norm="ortho") for gain in gains])
    return Brightness(
        schedule=schedule,
        steps=steps,
        side=side,
        spread=spread,
        rows=rows,
        images=np.clip(np.round((pictures + 1) * 127.5), 0, 255).astype(np.uint8),
        brightness=pictures.mean((2, 3)),
        kept=np.array(kept),
        first=np.array(first),
        counts=np.array(COUNTS),
        over_counts=np.array(over) / (side * spread),
        limit=np.array([exact_gain(variances[0, 0], levels[zero][-1]) for zero in (False, True)]) / (side * spread),
        schedules=SCHEDULES,
        terminal=np.array([signal_levels(name)[-1] for name in SCHEDULES]),
    )
