"""Samplers on images: one pixel model, the same noise, its own timesteps."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked, one_of, whole
from engines.diffusion.samplers import evaluations, sampler_steps
from engines.graphs import network
from engines.models import CLASSES
from engines.progress import Progress

# Those of SAMPLERS that call the network at levels of its own timesteps, with the path in whose time they step. In σ
# itself, as diffusers has it, the first of Heun's five steps on the cosine schedule multiplies the change of x̂0 by a
# thousand: on mixtures of twelve pixels it ended 1.7 a pixel off the exact flow, where Euler was 0.065 and this is 0.057.
SCHEDULERS: dict[str, str] = {
    "ddim": "ve",
    "ddpm": "ve",
    "euler": "ve",
    "euler_ancestral": "ve",
    "heun": "rf",
    "dpmpp_2s": "ve",
    "dpmpp_2m": "ve",
    "dpmpp_2m_sde": "ve",
    "deis": "ve",
    "unipc": "ve",
    "lms": "ve",
    "dpm_2": "ve",
    "dpm_2_ancestral": "ve",
}
EMBEDDED = "ddpm-emoji-32"
NONE = "none"
LABELS = (NONE, *(label for labels in CLASSES.values() for label in labels))
HIGHEST = 100_000.0  # above every noise level of a schedule
FILM = 8
MOST_STEPS = 100


@dataclass(frozen=True)
class Scheduler:
    """A sampler of SCHEDULERS on the timesteps of one model.

    sampler: its name
    sigmas: float64 [T]; noise level √(1/ᾱ − 1) of each timestep, rising
    prediction: what the model gives: epsilon, sample or v_prediction
    clip: float; x̂0 is held to ± this, infinity where the model's configuration does not ask for it
    """

    sampler: str
    sigmas: np.ndarray
    prediction: str
    clip: float

    def timesteps(self, steps: int) -> np.ndarray:
        """Trailing timesteps, int64 [steps], falling from the noisiest: Lin et al. 2023, arXiv 2305.08891, Table 2."""
        count = len(self.sigmas)
        steps = whole("steps", steps, 1, min(MOST_STEPS, count))
        return np.round(count - np.arange(steps) * count / steps).astype(np.int64) - 1

    def nearest(self, sigma: float) -> int:
        """The timestep whose level is nearest in log σ."""
        right = min(max(int(np.searchsorted(self.sigmas, sigma)), 1), len(self.sigmas) - 1)
        return right - int(sigma**2 < self.sigmas[right - 1] * self.sigmas[right])

    def middle(self, sigma: float, sigma_next: float) -> float:
        """The level of the timestep nearest to the middle of a step, of those after its beginning."""
        t = self.nearest(math.sqrt(sigma * sigma_next))
        return float(self.sigmas[min(t, self.nearest(sigma) - 1)])

    def calls(self, steps: int) -> int:
        """Calls of the model that so many steps make."""
        return evaluations(self.sampler, steps)


def scheduler_for(name: str, config: Mapping[str, Any]) -> Scheduler:
    """The scheduler of that name for a model whose scheduler has this diffusers configuration."""
    from diffusers import DDPMScheduler

    one_of("schedulers", name, SCHEDULERS)
    if not isinstance(config, Mapping):
        raise Refusal("{parameter} must be the configuration of a scheduler of diffusers.", parameter="config")
    # what is asked of it is the table of ᾱ alone; a variance that a network has learned is for its own sampler
    theirs = DDPMScheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    prediction = one_of("prediction_type", theirs.config.prediction_type, ("epsilon", "sample", "v_prediction"))
    kept = theirs.alphas_cumprod.double().clamp_min(1e-12).numpy()
    clip = theirs.config.clip_sample_range if theirs.config.clip_sample else math.inf
    return Scheduler(name, np.sqrt(1 / kept - 1), prediction, clip)


@dataclass
class Condition:
    """The class that a model with classes is given, and how strongly.

    label: its number; None for the class that stands for none, the model's last
    guidance: w of D_none + w (D_class − D_none), D being the model's output (Ho and Salimans 2022, arXiv 2207.12598); 1 is the
        class alone
    low, high: noise levels between which w counts; elsewhere it is 1 (Kynkäänniemi et al. 2024, arXiv 2404.07724, eq. 6)
    passes: of the network so far; a guided call takes two
    """

    label: int | None
    guidance: float = 1.0
    low: float = 0.0
    high: float = HIGHEST
    passes: int = 0

    def applied(self, net: Callable[..., Tensor], classes: int, x: Tensor, t: Tensor, sigma: float) -> Tensor:
        """The network's output for states x [n, 3, h, w] at timestep t."""
        none = torch.full((len(x),), classes - 1, device=x.device)
        given = none if self.label is None else torch.full_like(none, self.label)
        if self.label is None or self.guidance == 1 or not self.low < sigma <= self.high:
            self.passes += 1
            return net(x, t, given)
        self.passes += 2
        with_class, without = net(torch.cat([x, x]), t, torch.cat([given, none])).chunk(2)
        return torch.lerp(without, with_class, self.guidance)


def sample_images(
    model: Callable,
    scheduler: Scheduler,
    steps: int,
    noise: Tensor,
    seed: int = 0,
    condition: Condition | None = None,
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Run one scheduler on a UNet2DModel; yields (call, calls in all, state, x̂0) for each call of the model.

    noise: [n, 3, h, w] standard normal, on the model's device; seed: of the noise that a stochastic scheduler adds
    condition: for a model with classes
    States and x̂0 are [n, 3, h, w], the pixels of the last state from −1 to 1. Two calls of one step share its state.
    The model is called at whole timesteps alone, whose noise level is exact: a second call is at the one nearest to the
    middle of its step. The steps are this engine's, and diffusers serves the table of ᾱ alone: of its own schedulers (0.42),
    on the cosine and the linear schedule in 1 to 100 steps, DEIS missed the only picture of a model that knows it at
    nearly every count (its last level is not 0), DPM-Solver-2 ancestral at seven and Euler ancestral at one (NaN), DDIM and
    DDPM at 61 (a timestep too many).
    """
    if not (isinstance(noise, Tensor) and noise.is_floating_point() and noise.ndim == 4):
        raise Refusal("{parameter} must be a tensor [n, 3, h, w] of floating-point numbers.", parameter="noise")
    if not isinstance(scheduler, Scheduler):
        raise Refusal("{parameter} must come from scheduler_for.", parameter="scheduler")
    if not callable(model):
        raise Refusal("{parameter} must be a function of pictures and a timestep.", parameter="model")
    levels = [float(level) for level in scheduler.sigmas[scheduler.timesteps(steps)]] + [0.0]
    estimates: deque[Tensor] = deque()
    net = network(model)
    classes = model.config.num_class_embeds if condition is not None else 0
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))

    def denoise(x: Tensor, sigma: float) -> Tensor:
        signal = 1 / math.sqrt(1 + sigma**2)
        t = torch.full((), scheduler.nearest(sigma), device=x.device)  # filled there: a copy would wait for the card
        with torch.no_grad():
            given = (x * signal).to(noise.dtype)
            output = net(given, t) if condition is None else condition.applied(net, classes, given, t, sigma)
            output = output.to(x.dtype)
        if scheduler.prediction == "v_prediction":
            output = (x * signal**2).sub_(output, alpha=sigma * signal)
        elif scheduler.prediction == "epsilon":
            output = x.sub(output, alpha=sigma)
        estimates.append(output.clamp(-scheduler.clip, scheduler.clip))
        return estimates[-1]

    def added(like: Tensor) -> Tensor:
        """Drawn on the CPU, so that every device makes the same picture."""
        return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)

    # σ reaches thousands: in single precision a state would hold the picture to no more than a grey level
    precise = torch.float32 if noise.device.type == "mps" else torch.float64
    x = noise.to(precise) * math.sqrt(1 + levels[0] ** 2)
    options = {"middle": scheduler.middle} if scheduler.sampler in ("dpm_2", "dpmpp_2s") else {}
    path, calls, done = SCHEDULERS[scheduler.sampler], scheduler.calls(steps), 0
    for state, _ in sampler_steps(scheduler.sampler, denoise, x, levels, path, seed, added, options):
        while estimates:
            done += 1
            yield done, calls, state.to(noise.dtype), estimates.popleft().to(noise.dtype)


def to_pixels(x: Tensor) -> np.ndarray:
    """[n, 3, h, w] from −1 to 1 as uint8 [n, h, w, 3]."""
    if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim == 4):
        raise Refusal("{parameter} must be a tensor [n, 3, h, w] of floating-point numbers.", parameter="x")
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@dataclass(frozen=True)
class ImageGrid:
    """Images of several schedulers at several step counts, from the same noise.

    schedulers: [S] names
    steps: int64 [N]
    images: uint8 [S, N, count, h, w, 3]
    done: bool [S, N]; which of them are computed
    film: uint8 [S, 8, h, w, 3]; x̂0 of the first image at 8 moments of the longest run
    film_calls: int64 [S, 8]; the model calls after which they were taken
    nfe: int64 [S, N]; passes of the network: one a call, two where guidance counts
    seconds: float64 [S, N]; wall time of the run
    model: its name
    label: the class asked for, or "none"
    guidance: float; w
    """

    schedulers: tuple[str, ...]
    steps: np.ndarray
    images: np.ndarray
    done: np.ndarray
    film: np.ndarray
    film_calls: np.ndarray
    nfe: np.ndarray
    seconds: np.ndarray
    model: str
    label: str
    guidance: float


def pixel_model(name: str, classes: bool = False) -> tuple[Any, Any]:
    """A model of pixels, at most 64 x 64, and its scheduler's configuration; Refusal for any other.

    classes: whether it may have classes, one of which must then stand for none
    """
    from engines.models import load

    model, scheduler = load(name, family="diffusion")
    has_none = classes and model.config.num_class_embeds == len(getattr(model, "labels", ())) + 1
    if model.config.class_embed_type or (model.config.num_class_embeds and not has_none):
        raise Refusal(
            "{parameter}: {name} needs a class for each image; choose an unconditional one.",
            parameter="model",
            name=name,
        )
    size = model.config.sample_size
    if not isinstance(size, int) or size > 64:
        raise Refusal(
            "{parameter}: {name} makes images larger than 64 pixels, too slow for this page.",
            parameter="model",
            name=name,
        )
    return model, scheduler.config


@checked
def image_grid(
    model: Annotated[str, Characters(150)] = EMBEDDED,
    schedulers: Annotated[Sequence[str], SomeOf(SCHEDULERS, 4)] = ("ddim", "ddpm", "dpmpp_2m", "unipc"),
    steps: Annotated[Sequence[int], ListOf(1, MOST_STEPS, 4)] = (5, 10, 20),
    count: Annotated[int, Between(1, 9)] = 4,
    seed: Annotated[int, Between(0, 9999)] = 0,
    label: Annotated[str, OneOf(LABELS)] = NONE,
    guidance: Annotated[float, Between(0, 8)] = 1.5,
    low: Annotated[float, Between(0.001, HIGHEST)] = 0.001,
    high: Annotated[float, Between(0.001, HIGHEST)] = HIGHEST,
) -> Iterator[Progress[ImageGrid]]:
    """Schedulers x step counts from the same noise. Yields a Progress of ImageGrid after every model call.

    label: a class of a model that has it, or "none"; of no account to a model without classes; guidance, low, high: as `Condition` has them
    """
    counts = sorted(set(steps))
    net, config = pixel_model(model, classes=True)
    label = label if net.config.num_class_embeds else NONE
    if label != NONE and label not in net.labels:
        raise Refusal(
            "Model {name} has no class {label}: choose {other} for the {parameter}, or no class.",
            parameter="model",
            name=model,
            label=label,
            other=next(name for name, labels in CLASSES.items() if label in labels),
        )
    number = None if label == NONE else net.labels.index(label)
    side = net.config.sample_size
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(net.device)
    shape = (len(schedulers), len(counts))
    images = np.full((*shape, count, side, side, 3), 255, np.uint8)
    film = np.full((len(schedulers), FILM, side, side, 3), 255, np.uint8)
    film_calls = np.zeros((len(schedulers), FILM), int)
    nfe, seconds, done = np.zeros(shape, int), np.zeros(shape), np.zeros(shape, bool)
    runs = [scheduler_for(name, config) for name in schedulers]
    spent, total = 0, sum(scheduler.calls(n) for scheduler in runs for n in counts)

    def result() -> ImageGrid:
        return ImageGrid(
            schedulers=tuple(schedulers),
            steps=np.array(counts),
            images=images.copy(),
            done=done.copy(),
            film=film.copy(),
            film_calls=film_calls.copy(),
            nfe=nfe.copy(),
            seconds=seconds.copy(),
            model=model,
            label=label,
            guidance=guidance,
        )

    for j, length in enumerate(counts):
        for i, scheduler in enumerate(runs):
            estimates, started = [], time.perf_counter()
            asked = Condition(number, guidance, low, high) if net.config.num_class_embeds else None
            for _, _, state, denoised in sample_images(net, scheduler, length, noise, seed + 1, asked):
                made, spent = state, spent + 1
                estimates.append(denoised[:1])
                yield Progress(min(spent, total - 1), total, None)
            passes = len(estimates) if asked is None else asked.passes
            images[i, j], nfe[i, j], done[i, j] = to_pixels(made), passes, True
            seconds[i, j] = time.perf_counter() - started
            if length == counts[-1]:
                taken = np.linspace(0, len(estimates) - 1, FILM).round().astype(int)
                film[i], film_calls[i] = to_pixels(torch.cat([estimates[k] for k in taken])), taken + 1
            yield Progress(total if spent == total else min(spent, total - 1), total, result())
