"""Samplers on images: one pixel model, the same noise, diffusers' own schedulers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import several_of, whole, wholes
from engines.progress import Progress

# name -> (label, class in diffusers, settings). All use trailing timesteps: they begin at the noisiest one, as the
# noise does, whatever the number of steps (Lin et al. 2023, arXiv 2305.08891, Table 2).
SCHEDULERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddim": ("DDIM", "DDIMScheduler", {"set_alpha_to_one": True}),
    "ddpm": ("DDPM", "DDPMScheduler", {}),
    "euler": ("Euler", "EulerDiscreteScheduler", {}),
    "euler_ancestral": ("Euler ancestral", "EulerAncestralDiscreteScheduler", {}),
    "heun": ("Heun", "HeunDiscreteScheduler", {}),
    "dpmpp_2s": ("DPM-Solver++ 2S", "DPMSolverSinglestepScheduler", {"lower_order_final": True}),
    "dpmpp_2m": ("DPM-Solver++ 2M", "DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "deis": ("DEIS", "DEISMultistepScheduler", {}),
    "unipc": ("UniPC", "UniPCMultistepScheduler", {}),
    "lms": ("LMS", "LMSDiscreteScheduler", {}),
    "dpm_2": ("DPM-Solver-2 (Karras)", "KDPM2DiscreteScheduler", {}),
    "dpm_2_ancestral": ("DPM-Solver-2 ancestral", "KDPM2AncestralDiscreteScheduler", {}),
}
EMBEDDED = "ddpm-emoji-32"
FILM = 8


def scheduler_for(name: str, config: Any) -> Any:
    """A diffusers scheduler of SCHEDULERS for a model with that scheduler configuration."""
    import diffusers

    if name not in SCHEDULERS:
        raise ValueError(f"schedulers must be among {', '.join(SCHEDULERS)}.")
    _, kind, settings = SCHEDULERS[name]
    if not hasattr(diffusers, kind):
        raise ValueError(
            f"schedulers: {name} needs {kind}, which the installed diffusers {diffusers.__version__} lacks."
        )
    # a model's own choice of variance and of spacing is for its own sampler
    given = {k: v for k, v in dict(config).items() if not k.startswith("_")}
    given |= {"timestep_spacing": "trailing"} | settings
    if given.get("variance_type") not in (None, "fixed_small", "fixed_large"):
        given.pop("variance_type")
    return getattr(diffusers, kind).from_config(given)


def _denoised(sample: Tensor, output: Tensor, kept: float, prediction: str) -> Tensor:
    """x̂0 from the model's output at ᾱ = kept, the state being √ᾱ x0 + √(1 − ᾱ) ε."""
    signal, noise = math.sqrt(kept), math.sqrt(1 - kept)
    if prediction == "sample":
        return output
    if prediction == "v_prediction":
        return (signal * sample).sub_(output, alpha=noise)
    return sample.sub(output, alpha=noise).div_(signal)


def sample_images(
    model: Any, scheduler: Any, steps: int, noise: Tensor, seed: int = 0
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Run one scheduler on a UNet2DModel; yields (step, steps in all, state, x̂0) after each model call.

    noise: [n, 3, h, w] standard normal, on the model's device; seed: of the noise that a stochastic scheduler adds.
    States and x̂0 are [n, 3, h, w], the pixels of the last state from −1 to 1.

    diffusers' DDIM takes the timestep before t to be t − T // steps, which the rounded trailing timesteps are not when
    steps does not divide T (the error was 0.05 and did not fall, in 0.42): here it is told each true gap.
    """
    from diffusers import DDIMScheduler

    scheduler.set_timesteps(steps, device=noise.device)
    state = noise * scheduler.init_noise_sigma
    # plain numbers: reading them from a GPU at each step would wait for it
    times = scheduler.timesteps.tolist()
    kept = np.interp(times, np.arange(len(scheduler.alphas_cumprod)), scheduler.alphas_cumprod).tolist()
    prediction, ddim = scheduler.config.prediction_type, isinstance(scheduler, DDIMScheduler)
    extra = {"generator": torch.Generator("cpu").manual_seed(seed)}
    takes = type(scheduler).step.__code__.co_varnames[: type(scheduler).step.__code__.co_argcount]
    extra = extra if "generator" in takes else {}
    for i, t in enumerate(scheduler.timesteps):
        if ddim:
            gap = times[i] - (times[i + 1] if i + 1 < len(times) else -1)
            scheduler.num_inference_steps = Fraction(scheduler.config.num_train_timesteps, gap)
        with torch.inference_mode():
            seen = scheduler.scale_model_input(state, t)
            output = model(seen, t).sample
            state = scheduler.step(output, t, state, **extra).prev_sample
            denoised = _denoised(seen, output, kept[i], prediction)
        yield i + 1, len(times), state, denoised


def to_pixels(x: Tensor) -> np.ndarray:
    """[n, 3, h, w] from −1 to 1 as uint8 [n, h, w, 3]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True)
class ImageGrid:
    """Images of several schedulers at several step counts, from the same noise.

    schedulers, labels: [S]; steps: [N] int64
    images: [S, N, count, h, w, 3] uint8; done: [S, N] bool, which of them are computed
    film: [S, 8, h, w, 3] uint8, x̂0 of the first image at 8 moments of the longest run
    film_steps: [S, 8] int64, the model calls after which they were taken
    nfe: [S, N] int64, model calls; seconds: [S, N] float64, wall time of the run
    model: its name
    """

    schedulers: tuple[str, ...]
    labels: tuple[str, ...]
    steps: np.ndarray
    images: np.ndarray
    done: np.ndarray
    film: np.ndarray
    film_steps: np.ndarray
    nfe: np.ndarray
    seconds: np.ndarray
    model: str


def pixel_model(name: str) -> tuple[Any, Any]:
    """A model of pixels without classes, at most 64 x 64, and its scheduler's configuration; ValueError for any other."""
    from engines.models import load

    model, scheduler = load(name, family="diffusion")
    if model.config.class_embed_type or model.config.num_class_embeds:
        raise ValueError(f"model {name} wants a class for each image: choose an unconditional one.")
    size = model.config.sample_size
    if not isinstance(size, int) or size > 64:
        raise ValueError(f"model {name} makes images larger than 64 pixels, too slow for this page.")
    return model, scheduler.config


def image_grid(
    model: str = EMBEDDED,
    schedulers: Sequence[str] = ("ddim", "ddpm", "dpmpp_2m", "unipc"),
    image_steps: Sequence[int] = (5, 10, 20),
    count: int = 4,
    seed: int = 0,
) -> Iterator[Progress]:
    """Schedulers x step counts from the same noise. Yields a Progress of ImageGrid after every model call."""
    schedulers = several_of("schedulers", schedulers, SCHEDULERS, 4)
    counts = sorted(set(wholes("image_steps", image_steps, 4, 1, 100)))
    count, seed = whole("count", count, 1, 9), whole("seed", seed, 0, 2**31 - 1)
    net, config = pixel_model(model)
    side = net.config.sample_size
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(net.device)
    shape = (len(schedulers), len(counts))
    images = np.full((*shape, count, side, side, 3), 255, np.uint8)
    film = np.full((len(schedulers), FILM, side, side, 3), 255, np.uint8)
    film_steps = np.zeros((len(schedulers), FILM), int)
    nfe, seconds, done = np.zeros(shape, int), np.zeros(shape), np.zeros(shape, bool)
    planned = [[_calls(name, config, n) for n in counts] for name in schedulers]
    spent, total = 0, int(np.sum(planned))

    def result() -> ImageGrid:
        return ImageGrid(
            schedulers=tuple(schedulers),
            labels=tuple(SCHEDULERS[name][0] for name in schedulers),
            steps=np.array(counts),
            images=images.copy(),
            done=done.copy(),
            film=film.copy(),
            film_steps=film_steps.copy(),
            nfe=nfe.copy(),
            seconds=seconds.copy(),
            model=model,
        )

    for j, steps in enumerate(counts):
        for i, name in enumerate(schedulers):
            scheduler, estimates, started = scheduler_for(name, config), [], time.perf_counter()
            for _, _, state, denoised in sample_images(net, scheduler, steps, noise, seed + 1):
                made, spent = state, spent + 1
                estimates.append(denoised[:1])
                yield Progress(min(spent, total - 1), total, None)
            images[i, j], nfe[i, j], done[i, j] = to_pixels(made), len(estimates), True
            seconds[i, j] = time.perf_counter() - started
            if steps == counts[-1]:
                taken = np.linspace(0, len(estimates) - 1, FILM).round().astype(int)
                film[i], film_steps[i] = to_pixels(torch.cat([estimates[k] for k in taken])), taken + 1
            yield Progress(total if spent == total else min(spent, total - 1), total, result())


def _calls(name: str, config: Any, steps: int) -> int:
    scheduler = scheduler_for(name, config)
    scheduler.set_timesteps(steps)
    return len(scheduler.timesteps)
