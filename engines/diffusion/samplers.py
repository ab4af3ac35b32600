"""Samplers of the probability flow ODE and of the reverse SDE, in the dtype of x: `solve` runs one of SAMPLERS by name.

Every sampler is a generator with one signature, (denoise, x, sigmas, ...): it takes the state x = data + σ ε at
sigmas[0] and yields (x, denoised) after each step, denoised being the estimate of the data that the step began with.
`denoise(x, sigma)` is D(x; σ) = E[data | x]; `sigmas` are plain floats that fall, the last of which may be 0.
A step to 0 makes one call, Euler's, as in Karras et al. 2022, Algorithm 1.

In these coordinates the flow is dx/dσ = (x − D)/σ whatever the path (Karras et al. 2022, Eq. 3 and 81). Samplers that
take a `path` step in its time and scale instead; all others come out the same on every path.

diffusers' schedulers keep their tables in float32, where errors stop falling near 1e-4; orders need float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from engines.arguments import Refusal, items, number, one_of, whole
from engines.diffusion import ode, sde
from engines.diffusion.ode import Denoiser, Steps
from engines.diffusion.paths import MAX_STEPS, PATHS
from engines.diffusion.sde import Noise

Callback = Callable[[Tensor, int, float, Tensor], None]


@dataclass(frozen=True)
class Sampler:
    """A sampler of `solve`.

    run: the generator, whose docstring says what its options mean
    stages: int; denoiser calls a step
    order: int; of convergence in theory, None where stochastic
    """

    run: Callable[..., Steps]
    stages: int
    order: int | None

    @property
    def stochastic(self) -> bool:
        """Whether it adds noise with its default options."""
        return self.order is None

    @property
    def options(self) -> set[str]:
        """What `solve` passes on to it."""
        return set(inspect.signature(self.run).parameters) - {"denoise", "x", "sigmas", "noise", "path"}


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(ode.euler, 1, 1),
    "heun": Sampler(ode.heun, 2, 2),
    "midpoint": Sampler(ode.midpoint, 2, 2),
    "rk4": Sampler(ode.rk4, 4, 4),
    "lms": Sampler(ode.lms, 1, 4),
    "dpm_2": Sampler(ode.dpm_2, 2, 2),
    "dpm_3": Sampler(ode.dpm_3, 3, 3),
    "dpmpp_2s": Sampler(ode.dpmpp_2s, 2, 2),
    "dpmpp_2m": Sampler(ode.dpmpp_2m, 1, 2),
    "dpmpp_3m": Sampler(ode.dpmpp_3m, 1, 3),
    "dpmpp_3m_doubled": Sampler(ode.dpmpp_3m_doubled, 1, 3),
    "deis": Sampler(ode.deis, 1, 3),
    "unipc": Sampler(ode.unipc, 1, 4),
    "ddim": Sampler(sde.ddim, 1, 1),
    "ddpm": Sampler(sde.ddpm, 1, None),
    "euler_ancestral": Sampler(sde.euler_ancestral, 1, None),
    "dpm_2_ancestral": Sampler(sde.dpm_2_ancestral, 2, None),
    "euler_maruyama": Sampler(sde.euler_maruyama, 1, None),
    "dpmpp_sde": Sampler(sde.dpmpp_sde, 2, None),
    "dpmpp_2m_sde": Sampler(sde.dpmpp_2m_sde, 1, None),
    "predictor_corrector": Sampler(sde.predictor_corrector, 2, None),
    "edm_churn": Sampler(sde.edm_churn, 2, None),
}


def noise_levels(sigmas: Tensor | Sequence[float]) -> list[float]:
    """Plain floats; Refusal unless they fall from a finite level to data."""
    levels = sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas
    levels = [number("sigmas", level) for level in items("sigmas", levels, MAX_STEPS + 1, 2)]
    if not (levels[-1] >= 0 and all(a > b for a, b in pairwise(levels))):
        raise Refusal("{parameter} must fall from noise to data; only the last may be 0.", parameter="sigmas")
    return levels


def sampler_steps(
    sampler: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: list[float],
    path: str,
    seed: int,
    noise: Noise | None,
    options: dict[str, Any],
) -> Steps:
    """(state, denoised) after each step of a sampler by name; the arguments are those of `solve`."""
    entry = SAMPLERS[one_of("sampler", sampler, SAMPLERS)]
    one_of("path", path, PATHS)
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim):
        raise Refusal("{parameter} must be a tensor of floating-point numbers, a row a sample.", parameter="x")
    callables = {name: options.get(name, len) for name in ("middle", "covariance")}
    for name, function in {"denoise": denoise, "noise": noise, **callables}.items():
        if not (callable(function) or (name == "noise" and function is None)):
            raise Refusal("{parameter} must be a function.", parameter=name)
    unknown = sorted(set(options) - entry.options)
    if unknown:
        has = ", ".join(sorted(entry.options)) or "none"
        raise Refusal(
            "{sampler} has no option {parameter}; its options: {has}.", sampler=sampler, parameter=unknown[0], has=has
        )
    takes = inspect.signature(entry.run).parameters
    if "path" in takes:
        options = {**options, "path": PATHS[path]}
    if "noise" in takes:
        options = {**options, "noise": noise or standard_normal(x.device, seed)}
    return entry.run(denoise, x, sigmas, **options)


def standard_normal(device: torch.device, seed: int) -> Noise:
    """(like) -> standard normal draws of that shape, from one generator."""
    generator = torch.Generator(device).manual_seed(whole("seed", seed, 0, 2**31 - 1))

    def noise(like: Tensor) -> Tensor:
        # in single precision: several times as fast, and its grain is far below what chance leaves
        return torch.randn(like.shape, generator=generator, dtype=torch.float32, device=like.device).to(like.dtype)

    return noise


def solve(
    sampler: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    path: str = "ve",
    seed: int = 0,
    noise: Noise | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Tensor:
    """Samples: x (at noise level sigmas[0]; x = data + σ ε, unscaled) brought to sigmas[-1]. Same shape as x.

    sampler: a name of SAMPLERS
    denoise: (x, sigma) -> E[data | x], of the shape of x
    path: a name of PATHS, the time and scale in which Runge–Kutta, LMS and Euler–Maruyama step
    seed: of the noise of stochastic samplers; noise: (like) -> standard normal draws, instead
    callback: called as (x, i, sigma, denoised) with the state at the beginning of each step
    options: the sampler's own (eta, order, variance, s_churn, ...; its docstring explains them)
    Raises ValueError for unknown names and for levels that do not fall.
    """
    levels = noise_levels(sigmas)
    if not (callback is None or callable(callback)):
        raise Refusal("{parameter} must be a function.", parameter="callback")
    for i, (x_next, denoised) in enumerate(sampler_steps(sampler, denoise, x, levels, path, seed, noise, options)):
        if callback is not None:
            callback(x, i, levels[i], denoised)
        x = x_next
    return x


def trajectory(
    sampler: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    path: str = "ve",
    seed: int = 0,
    noise: Noise | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Every state, [steps + 1, *x.shape], and every denoised estimate, [steps, *x.shape]. Arguments as for `solve`."""
    states, estimates = [x], []
    for state, denoised in sampler_steps(sampler, denoise, x, noise_levels(sigmas), path, seed, noise, options):
        states.append(state)
        estimates.append(denoised)
    return torch.stack(states), torch.stack(estimates)


def evaluations(sampler: str, steps: int, corrections: int = 1) -> int:
    """Denoiser calls (NFE) for that many steps on a grid that ends at 0, where the last step makes one."""
    stages = SAMPLERS[one_of("sampler", sampler, SAMPLERS)].stages
    if sampler == "predictor_corrector":
        stages = 1 + whole("corrections", corrections, 0, 10)
    return stages * (whole("steps", steps, 1, MAX_STEPS) - 1) + 1


def steps_within(sampler: str, calls: int) -> int:
    """The most steps, at least 1, that make no more than `calls` denoiser calls on a grid that ends at 0."""
    stages = SAMPLERS[one_of("sampler", sampler, SAMPLERS)].stages
    return (whole("calls", calls, 1, MAX_STEPS) - 1) // stages + 1
