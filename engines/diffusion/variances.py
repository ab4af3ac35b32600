"""The variance of a step's noise between DDIM and DDPM, with the best one for each step: Analytic-DPM, exact.

In unscaled coordinates x = data + σ ε a step to σ' puts x' at D + (σ_down/σ)(x − D) plus noise of variance σ_up², where
σ_down² + σ_up² = σ'². Given x the data are not D but vary about it, with mean covariance C a dimension; the distribution of x' that is
closest in KL among Gaussians with this mean has the variance σ_up² + (1 − σ_down/σ)² C (Bao et al. 2022, arXiv 2201.06503,
Theorem 1). For data that are one point it is σ_up²; at η = 1 that is DDPM's small variance. For N(0, I) it is the large one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, OneOf, checked
from engines.diffusion.mixture import ANY_TARGET, GaussianMixture, target_mixture
from engines.diffusion.paths import GRIDS, sigma_grid
from engines.diffusion.sde import ancestral_levels

FAMILY = ("ddim", "small", "optimal", "large")
DRAWS = 1000
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def large_variance(sigma: float, sigma_next: float) -> float:
    """DDPM's β over ᾱ', the forward step's variance in these coordinates: Ho et al. 2020, arXiv 2006.11239, Section 3.2."""
    return (1 + sigma_next**2) * (sigma**2 - sigma_next**2) / (1 + sigma**2)


def best_variance(sigma: float, sigma_next: float, eta: float, covariance: float) -> float:
    """σ_up² + (1 − σ_down/σ)² C; covariance: C, the mean over particles and dimensions of the data's variance given x."""
    down, up = ancestral_levels(sigma, sigma_next, eta)
    return up**2 + (1 - down / sigma) ** 2 * covariance


def step_variance(name: str, sigma: float, sigma_next: float, eta: float, covariance: float) -> float:
    """The variance of FAMILY's noise; "small" at η = 1, "large" with the mean of η = 1, "optimal" with that of η."""
    if name == "ddim":
        return 0.0
    if name == "small":
        return ancestral_levels(sigma, sigma_next, 1.0)[1] ** 2
    return large_variance(sigma, sigma_next) if name == "large" else best_variance(sigma, sigma_next, eta, covariance)


def conditional_covariance(mixture: GaussianMixture, x: Tensor, sigma: float) -> Tensor:
    """tr Cov(data | data + σ ε = x) / d at places [n, d], [n]."""
    variances = mixture.noised_variances(sigma)
    shares = torch.softmax(mixture.logits(x, variances), -1)
    kept, dim = mixture.scales.square() / variances, x.shape[1]
    mean = mixture.denoise(x, sigma)
    # Σ r |m|², m = kept x + (1 − kept) μ the mean of the data that come from one Gaussian
    squares = kept.square() * x.square().sum(-1, keepdim=True) + (1 - kept).square() * mixture.means.square().sum(-1)
    squares += 2 * kept * (1 - kept) * (x @ mixture.means.T)
    return shares @ (kept * sigma**2) + ((shares * squares).sum(-1) - mean.square().sum(-1)).clamp_min(0) / dim


def mean_covariance(mixture: GaussianMixture, sigma: float) -> float:
    """C: its mean over 1,000 draws of the noised mixture."""
    return float(conditional_covariance(mixture, mixture.sample(DRAWS, 0, sigma), sigma).mean())


def end_of(name: str, levels: Sequence[float], eta: float, std: float) -> float:
    """Standard deviation of what the sampler makes of N(0, std²), exact: its steps are linear. No noise in the last step."""
    variance = std**2 + levels[0] ** 2
    for sigma, sigma_next in pairwise(levels):
        kept = std**2 / (std**2 + sigma**2)
        chosen = {"ddim": 0.0, "optimal": eta}.get(name, 1.0)
        down = ancestral_levels(sigma, sigma_next, chosen)[0]
        variance *= (kept + down / sigma * (1 - kept)) ** 2
        if sigma_next > 0:
            variance += step_variance(name, sigma, sigma_next, eta, std**2 * sigma**2 / (std**2 + sigma**2))
    return math.sqrt(variance)


@dataclass(frozen=True)
class StepVariances:
    """Variance of each step's noise, over that of the noise it removes; and how wide the samples of N(0, std²) become.

    family: FAMILY
    eta, std: as asked
    sigma: float64 [n − 1]; the levels σ' that the steps go to, but the last, which adds no noise
    share: float64 [family, n − 1]; variance over σ² − σ'²
    lost: float64 [n − 1]; C over σ², how much of the noise's variance the data keep given x; 0 for one point, 1 before it is known
    counts: int64 [c]; steps
    spread: float64 [family, c]; standard deviation of the samples over that of the data
    """

    family: tuple[str, ...]
    eta: float
    std: float
    sigma: np.ndarray
    share: np.ndarray
    lost: np.ndarray
    counts: np.ndarray
    spread: np.ndarray


@lru_cache(maxsize=16)
def grid_covariances(target: str, letter: str, drawing: str | None, levels: tuple[float, ...]) -> list[float]:
    """C of a target at each level."""
    mixture = target_mixture(target, letter, drawing)
    return [mean_covariance(mixture, sigma) for sigma in levels]


@checked
def step_variances(
    target: Annotated[str, OneOf(ANY_TARGET)] = "spiral",
    eta: Annotated[float, Between(0, 1)] = 1.0,
    steps: Annotated[int, Between(2, 50)] = 20,
    std: Annotated[float, Between(0.05, 3)] = 0.5,
    grid: Annotated[str, OneOf(GRIDS)] = "karras",
    letter: Annotated[str, Characters(3)] = "S",
    drawing: str | None = None,
) -> StepVariances:
    """The variances of a grid's steps on a target, and the samplers' ends on N(0, std²).

    eta: η of the mean that the best variance goes with. C is a mean over 1,000 draws of the noised target.
    """
    levels = sigma_grid(grid, steps).tolist()
    covariances = grid_covariances(target, letter, drawing if target == "drawing" else None, tuple(levels[:-2]))
    share = [
        [
            step_variance(name, sigma, below, eta, c) / (sigma**2 - below**2)
            for (sigma, below), c in zip(pairwise(levels[:-1]), covariances, strict=True)
        ]
        for name in FAMILY
    ]
    grids = [sigma_grid(grid, n).tolist() for n in COUNTS]
    spread = [[end_of(name, own, eta, std) / std for own in grids] for name in FAMILY]
    return StepVariances(
        family=FAMILY,
        eta=eta,
        std=std,
        sigma=np.array(levels[1:-1]),
        share=np.array(share),
        lost=np.array(covariances) / np.array(levels[:-2]) ** 2,
        counts=np.array(COUNTS),
        spread=np.array(spread),
    )
