"""Text to image: the schedulers of diffusers side by side on one prompt, from the same latent noise."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines import models
from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked, one_of, whole
from engines.device import Timed, resolve
from engines.diffusion.images import Condition, pixel_model, sample_images, to_pixels
from engines.diffusion.images import scheduler_for as pixel_scheduler
from engines.latents import (
    KNOWN,
    WORKING,
    Guidance,
    LatentModel,
    Prompt,
    Prompted,
    check_prompted,
    open_model,
    within_memory,
)
from engines.progress import Progress

# sampler -> diffusers' class for a model of noise levels, and what it is told; beside it the same of flow matching. Those of
# them that lose a picture which they know (see engines.diffusion.images) are not here.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
FLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
SPACINGS = ("trailing", "leading")
NONE = "none"
INCLUDED, ITS_GUIDANCE = "ddpm-cifar10-32", 1.5  # what draws where no model is chosen: ten classes, and no text
PINNED = tuple(name for name in models.names("latent") if name in models.HUB)
FEW = tuple(name for name in PINNED if KNOWN[name].few)
SIDES = ("own", "512", "768", "1024")
FILM, THUMB = 8, 256  # moments of a run, and the most pixels of one's side
MOST_STEPS = 100
MOST_LCM = 50  # steps, of the noise levels that consistency models were distilled at
# what a few-step model is sampled with
OWN_SAMPLER = {"SimianLuo/LCM_Dreamshaper_v7": "lcm", "stabilityai/sdxl-turbo": "euler_ancestral"}


def scheduler_for(name: str, model: LatentModel, spacing: str = "trailing") -> Any:
    """diffusers' scheduler of that name, with the configuration of the model's own.

    spacing: which timesteps n steps are taken at (arXiv 2305.08891, Table 2); LCM's and those of flow matching are their own
    """
    import diffusers

    one_of("schedulers", name, SCHEDULERS)
    one_of("spacing", spacing, SPACINGS)
    _check_scheduler(name, 1, MOST_LCM, model.is_flow)
    kind, more = (FLOW if model.is_flow else SCHEDULERS)[name]
    made = getattr(diffusers, kind)
    known = inspect.signature(made).parameters
    config = {key: value for key, value in model.config.items() if key in known}
    config |= {"clip_sample": False} if "clip_sample" in known else {}  # latents are not held to ±1
    if not model.is_flow:
        more = more | {"timestep_spacing": spacing}
    elif not kind.startswith("FlowMatch"):
        shift = model.config.get("shift", 1.0)
        more = more | {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
    return made.from_config(config, **more)


def _check_scheduler(name: str, steps: int, most: int, is_flow: bool) -> None:
    """A Refusal where a model has no such scheduler, or it does not take so many steps."""
    if is_flow and name not in FLOW:
        raise Refusal(
            "A model of flow matching has no {scheduler}; for {parameter} choose of {options}.",
            parameter="schedulers",
            scheduler=name,
            options=", ".join(FLOW),
        )
    if name == "lcm" and steps > most:
        raise Refusal(
            "The scheduler of consistency models takes at most {most} {parameter}.", parameter="steps", most=most
        )


def sample_latents(
    model: Prompted, scheduler: Any, steps: int, seed: int = 0
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Run a scheduler; yields (call, calls in all, state, x̂0) for each call, as diffusers' own pipeline steps.

    The noise, and what a stochastic scheduler adds, come from one generator on the CPU, as with a pipeline that is given it:
    the same on every device. States and x̂0 are float32 [1, *model.shape].
    """
    check_prompted(model)
    steps = whole("steps", steps, 1, MOST_STEPS)
    if hasattr(scheduler.config, "original_inference_steps"):
        _check_scheduler("lcm", steps, scheduler.config.original_inference_steps, False)
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    scheduler.set_timesteps(steps, device=model.device)
    x = torch.randn((1, *model.shape), generator=generator).to(model.device)
    if not model.model.is_flow:
        x = x * scheduler.init_noise_sigma
    more = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    calls = len(scheduler.timesteps)
    for i, t in enumerate(scheduler.timesteps):
        given = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        output = model(given, t).sample
        clean = model.clean(given, float(t), output)
        x = scheduler.step(output, t, x, return_dict=False, **more)[0]
        yield i + 1, calls, x, clean


@dataclass(frozen=True)
class PromptGrid:
    """Pictures of a prompt, a row a scheduler (and one of a few-step model), a column a number of steps.

    schedulers: [R] keys of SCHEDULERS
    models: [R] names; the model of each row
    steps: int64 [N]
    pictures: uint8 [R, N, h, w, 3]
    film: uint8 [R, N, 8, t, t, 3]; x̂0 of each, decoded, at 8 moments of its run
    film_calls: int64 [R, N, 8]; the calls after which they were taken
    done: bool [R, N]; which are computed
    calls: int64 [R, N]; denoiser calls
    passes: int64 [R, N]; of the network: guidance takes two a call
    seconds: float64 [R, N], s; of the network and the scheduler, without the decoding
    tokens: int; of the prompt
    read: int; how many tokens the model reads at most
    guidance: float64 [R]; 1 where there is none
    device: str; where it ran: "cpu" or "cuda"
    label: str; of the embedded model, the class that the prompt names, or "none"; empty for a model that reads the prompt
    """

    schedulers: tuple[str, ...]
    models: tuple[str, ...]
    steps: np.ndarray
    pictures: np.ndarray
    film: np.ndarray
    film_calls: np.ndarray
    done: np.ndarray
    calls: np.ndarray
    passes: np.ndarray
    seconds: np.ndarray
    tokens: int
    read: int
    guidance: np.ndarray
    device: str
    label: str


def side_of(model: str, side: str) -> int:
    """Pixels of a choice of SIDES; "own" is what a pinned model was trained on."""
    return int(side) if side != "own" else KNOWN[model].side if model in KNOWN else 512


def fits(names: Sequence[str], side: int) -> None:
    """A ModelError where pinned models cannot be held together beside a picture: before anything is fetched."""
    device = resolve()
    together = sum(models.needed(name, device) for name in names if name in models.HUB)
    models.check_room(" + ".join(names), together + WORKING * (side / 512) ** 2, device)


@checked
def prompt_grid(
    model: Annotated[str, Characters(150)] = NONE,
    prompt: Prompt = "a photograph of a horse on the grass",
    negative: Prompt = "",
    guidance: Guidance = 7.5,
    schedulers: Annotated[Sequence[str], SomeOf(SCHEDULERS, 4)] = ("euler", "dpmpp_2m", "unipc"),
    steps: Annotated[Sequence[int], ListOf(1, MOST_STEPS, 4)] = (4, 10, 25),
    beside: Annotated[str, OneOf((NONE, *FEW))] = NONE,
    side: Annotated[str, OneOf(SIDES)] = "own",
    spacing: Annotated[str, OneOf(SPACINGS)] = "trailing",
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[PromptGrid]]:
    """Schedulers x step counts from the same latent noise. Yields a Progress of PromptGrid after every picture.

    model: a text-to-image model of the Hub, or "none": nothing is fetched, and the embedded model of ten classes makes pictures of
        32 x 32 pixels, of the class that the prompt names
    beside: a few-step model for a last row, with its own sampler; turbo models take no guidance
    """
    counts = sorted(set(steps))
    included = model == NONE
    chosen = [(INCLUDED if included else model, name) for name in schedulers]
    if beside != NONE and not included:
        chosen.append((beside, OWN_SAMPLER.get(beside, "euler")))
    pixels = 32 if included else side_of(model, side)
    if included and "lcm" in schedulers:
        raise Refusal(
            "The model that is included was not distilled for LCM: choose other {parameter}.", parameter="schedulers"
        )
    for name, sampler in chosen:
        _check_scheduler(sampler, counts[-1], MOST_LCM, name in KNOWN and KNOWN[name].is_flow)
    if not included:
        fits(list(dict.fromkeys(name for name, _ in chosen)), pixels)
    thumb, shape = min(pixels, THUMB), (len(chosen), len(counts))
    pictures = np.full((*shape, pixels, pixels, 3), 255, np.uint8)
    film = np.full((*shape, FILM, thumb, thumb, 3), 255, np.uint8)
    film_calls, done = np.zeros((*shape, FILM), int), np.zeros(shape, bool)
    calls, passes, seconds = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)
    guided, read = np.ones(len(chosen)), (0, 0)

    def result() -> PromptGrid:
        return PromptGrid(
            schedulers=tuple(name for _, name in chosen),
            models=tuple(name for name, _ in chosen),
            steps=np.array(counts),
            pictures=pictures.copy(),
            film=film.copy(),
            film_calls=film_calls.copy(),
            done=done.copy(),
            calls=calls.copy(),
            passes=passes.copy(),
            seconds=seconds.copy(),
            tokens=read[0],
            read=read[1],
            guidance=guided.copy(),
            device=resolve().type,
            label=label,
        )

    total, spent, label = len(chosen) * sum(counts), 0, ""
    if included:
        net, config = pixel_model(INCLUDED, classes=True)
        label = named_class(prompt, net.labels)
        noise = torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed)).to(net.device)
        guided[:] = 1.0 if label == NONE else ITS_GUIDANCE
    else:
        yield Progress(0, total, None)  # all is checked: the models may have to be fetched
    for i, (name, sampler) in enumerate(chosen):
        if not included:
            with within_memory(name):
                loaded = open_model(name, pixels)
                few = name in KNOWN and KNOWN[name].guidance == 1
                guided[i] = 1.0 if few else guidance
                seen = loaded.prompted(prompt, negative, float(guided[i]), pixels, pixels, name)
                if i == 0:
                    read = loaded.tokens(prompt)
                runs = [scheduler_for(sampler, loaded, spacing) for _ in counts]
        for j, count in enumerate(counts):
            if included:
                asked = Condition(None if label == NONE else net.labels.index(label), ITS_GUIDANCE)
                run = sample_images(net, pixel_scheduler(sampler, config), count, noise, seed + 1, asked)
            else:
                run = sample_latents(seen, runs[j], count, seed)
            with within_memory(name):
                estimates, last = [], torch.empty(0)
                steps_made = Timed(run, resolve() if included else loaded.device)
                for call, of, state, clean in steps_made:
                    last = state
                    estimates.append(clean)
                    yield Progress(min(spent + call * count // of, total - 1), total, None)
                seconds[i, j] = steps_made.seconds
                decode = (lambda pictures: pictures) if included else loaded.decode
                pictures[i, j] = to_pixels(decode(last))[0]
                taken = np.linspace(0, len(estimates) - 1, FILM).round().astype(int)
                frames = {k: _thumb(to_pixels(decode(estimates[k]))[0], thumb) for k in dict.fromkeys(taken[:-1])}
                # the last is the picture itself
                film[i, j] = np.stack([*(frames[k] for k in taken[:-1]), _thumb(pictures[i, j], thumb)])
            film_calls[i, j], calls[i, j], done[i, j] = taken + 1, len(estimates), True
            passes[i, j] = asked.passes if included else len(estimates) * (1 + seen.is_guided)
            spent += count
            yield Progress(spent if spent < total else total, total, result())


def named_class(prompt: str, labels: Sequence[str]) -> str:
    """The first word of a prompt that is one of the classes (or its plural); "none" where none is."""
    words = re.findall(r"[a-z]+", prompt.lower())
    return next((label for word in words for label in labels if word in (label, label + "s")), NONE)


def _thumb(picture: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    if picture.shape[0] == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
