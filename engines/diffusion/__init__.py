"""Diffusion samplers on exact scores, on images, and in few steps."""

from engines.diffusion.experiments import convergence, distances, few_steps, sampler_panels, vector_field
from engines.diffusion.images import SCHEDULERS, image_grid
from engines.diffusion.measures import energy_distance, fitted_order, sliced_wasserstein, straightness
from engines.diffusion.mixture import TARGETS, GaussianMixture, from_drawing, from_ink, from_letter, target_mixture
from engines.diffusion.paths import (
    GRIDS,
    PATHS,
    Path,
    append_zero,
    ddpm_sigmas,
    karras_sigmas,
    knot_sigmas,
    logsnr_sigmas,
    sigma_grid,
    time_sigmas,
)
from engines.diffusion.samplers import SAMPLERS, Sampler, evaluations, solve, steps_within, trajectory

__all__ = [
    "GRIDS",
    "PATHS",
    "SAMPLERS",
    "SCHEDULERS",
    "TARGETS",
    "GaussianMixture",
    "Path",
    "Sampler",
    "append_zero",
    "convergence",
    "ddpm_sigmas",
    "distances",
    "energy_distance",
    "evaluations",
    "few_steps",
    "fitted_order",
    "from_drawing",
    "from_ink",
    "from_letter",
    "image_grid",
    "karras_sigmas",
    "knot_sigmas",
    "logsnr_sigmas",
    "sampler_panels",
    "sigma_grid",
    "sliced_wasserstein",
    "solve",
    "steps_within",
    "straightness",
    "target_mixture",
    "time_sigmas",
    "trajectory",
    "vector_field",
]
