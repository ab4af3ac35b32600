"""Pictures from codes that are not of a picture: random and guided ones, restorations, mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines import models
from engines.arguments import Between, ListOf, OneOf, Refusal, checked
from engines.ddcm.codebook import StepCodebook
from engines.ddcm.codec import EMBEDDED, Step, decoder, encoder, timesteps, to_pixels, to_tensor, walk
from engines.ddcm.experiments import (
    EQUAL,
    Atoms,
    CodebookBits,
    Model,
    Seed,
    Steps,
    Variant,
)
from engines.ddcm.fitting import afford, small_model
from engines.ddcm.guidance import CLASSIFIED_AT, classify, guide
from engines.ddcm.pictures import Emoji, emoji_picture, fit, held_back
from engines.ddcm.plan import Plan
from engines.ddcm.quality import psnr
from engines.pictures import read_picture
from engines.progress import Progress

# -- pictures from random and from guided codes -----------------------------------------------------------------------

WITH_CLASSES = "ddpm-emoji-32-kinds"
CLASSES = ("any", *(label for labels in models.CLASSES.values() for label in labels))


@dataclass(frozen=True)
class Generated:
    """Pictures that random or guided codes decode to, a row for each setting.

    label: str; class that the codes are guided to, or "any": the choices are random
    codebook_size: int64 [R]; K of each row
    compared: int64 [R]; atoms compared at each step, of which the best is taken: 1 is a random choice
    done: bool [R]; which rows are computed
    pictures: uint8 [R, count, h, w, 3]
    payload_bytes: int64 [R], bytes; of each picture's code
    distance: float64 [R], grey levels; mean RMS distance of two pictures of a row, NaN until done
    real_distance: float, grey levels; the same among 16 pictures held back from the model
    classified: float64 [R]; fraction of the pictures that the model itself takes for the class; NaN for "any" and until done
    steps: int; T
    model: str; its name
    """

    label: str
    codebook_size: np.ndarray
    compared: np.ndarray
    done: np.ndarray
    pictures: np.ndarray
    payload_bytes: np.ndarray
    distance: np.ndarray
    real_distance: float
    classified: np.ndarray
    steps: int
    model: str


@checked
def generate(
    label: Annotated[str, OneOf(CLASSES)] = "face",
    compared: Annotated[Sequence[int], ListOf(1, 256, most=4)] = (1, 4, 64),
    codebook_bits: Annotated[Sequence[int], ListOf(1, 12, most=4)] = (1, 4, 8),
    count: Annotated[int, Between(2, 8)] = 5,
    steps: Steps = 40,
    model: Model = WITH_CLASSES,
    seed: Seed = 0,
) -> Iterator[Progress[Generated]]:
    """Draw `count` pictures for each setting. Yields a Progress of Generated a row. All start from the same noise.

    label "any": random codes, with the codebook sizes of `codebook_bits` (log2 K). A class: K = 256, and at each step the
    atom that points best to the class, of as many random ones as `compared` says.
    """
    guided, net = label != "any", small_model(model)
    if guided and label not in net.labels:
        raise Refusal(
            "Model {name} has no class {label}: choose {other} for the {parameter}, or no class.",
            parameter="model",
            name=net.name,
            label=label,
            other=next(name for name, labels in models.CLASSES.items() if label in labels),
        )
    rows = [(256, n) for n in sorted(set(compared))] if guided else [(1 << b, 1) for b in sorted(set(codebook_bits))]
    plans = [Plan(steps, size, seed=seed) for size, _ in rows]
    # in calls: guidance takes two a step, and telling a picture's class one for each class and level
    row_calls = 2 * steps + len(CLASSIFIED_AT) * len(net.labels) if guided else steps
    afford(row_calls * count * len(rows), net)
    pictures = np.full((len(rows), count, net.side, net.side, 3), 255, np.uint8)
    classified, done = np.full(len(rows), np.nan), np.zeros(len(rows), bool)
    real = held_back(net.name)
    real = real[np.linspace(0, len(real) - 1, 16).round().astype(int)]
    total = row_calls * len(rows)
    for i, (plan, (_, best_of)) in enumerate(zip(plans, rows, strict=True)):
        for step in _draw(net, plan, count, label, best_of, i):
            if step.symbols is not None:
                yield Progress(i * row_calls + (1 + guided) * (step.number + 1), total, None)
        pictures[i], done[i] = to_pixels(step.denoised), True
        if guided:
            same = classify(net, to_tensor(pictures[i], net.device)) == net.labels.index(label)
            classified[i] = float(same.double().mean())
        yield Progress(
            (i + 1) * row_calls,
            total,
            Generated(
                label=label,
                codebook_size=np.array([size for size, _ in rows]),
                compared=np.array([n for _, n in rows]),
                done=done.copy(),
                pictures=pictures.copy(),
                payload_bytes=np.array([-(-p.tile_bits // 8) for p in plans]),
                distance=np.array([_distance(row) if d else np.nan for row, d in zip(pictures, done, strict=True)]),
                real_distance=_distance(real),
                classified=classified.copy(),
                steps=steps,
                model=net.name,
            ),
        )


def _draw(net: Any, plan: Plan, count: int, label: str, compared: int, row: int) -> Iterator[Step]:
    if label != "any":
        return guide(net, plan, count, net.labels.index(label), compared, plan.seed)
    shape = (count, plan.steps - 1, 1)
    symbols = np.random.default_rng([plan.seed, row]).integers(0, plan.codebook_size, shape)
    return walk(net, plan, count, decoder(symbols, net.device))


def _distance(pictures: np.ndarray) -> float:
    """Mean root mean squared distance of two of the pictures, in grey levels."""
    flat = pictures.reshape(len(pictures), -1).astype(float)
    distances = np.sqrt(((flat[:, None] - flat) ** 2).mean(-1))
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))


# -- restoration ------------------------------------------------------------------------------------------------------

TASKS = ("inpaint", "enlarge", "denoise", "colour")
NOISE = 0.4  # standard deviation of the noise to take off, pixels being from −1 to 1
FACTOR = 4


@dataclass(frozen=True)
class Restored:
    """A degraded picture restored by choosing atoms that agree with what was measured of it.

    original: uint8 [h, w, 3]
    degraded: uint8 [h, w, 3]; the measurement, written as a picture
    restored: uint8 [R, h, w, 3]; with the codebooks of R seeds
    done: bool [R]; which of them are computed
    psnr: float64 [R], dB; against the original, NaN until done
    degraded_psnr: float, dB; of the degraded picture
    agreement: float64 [R], dB; PSNR within what was measured, against its noiseless value
    payload_bytes: int, bytes; of each restored picture's code
    task: str; a key of TASKS
    steps: int; T
    codebook_size: int; K
    atoms: int; M
    """

    original: np.ndarray
    degraded: np.ndarray
    restored: np.ndarray
    done: np.ndarray
    psnr: np.ndarray
    degraded_psnr: float
    agreement: np.ndarray
    payload_bytes: int
    task: str
    steps: int
    codebook_size: int
    atoms: int


@checked
def measurement(task: Annotated[str, OneOf(TASKS)], hidden: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
    """(P, σ): P x is what of a picture [n, 3, h, w] is measured, written as a picture; σ is the measurement's noise.

    P is an orthogonal projection, so P(y − x̂0) is the direction in which x̂0 can be brought nearer.
    hidden: [h, w] bool, for "inpaint"
    """
    if task == "inpaint":
        return lambda x: torch.where(hidden, 0.0, x), 0.0
    if task == "enlarge":
        shrink = torch.nn.AvgPool2d(FACTOR)
        return lambda x: torch.nn.functional.interpolate(shrink(x), scale_factor=FACTOR, mode="nearest"), 0.0
    if task == "denoise":
        return lambda x: x, NOISE
    return lambda x: x.mean(1, keepdim=True).expand_as(x), 0.0


@checked
def restore(
    task: Annotated[str, OneOf(TASKS)] = "inpaint",
    emoji: Emoji = 41,
    mask: str | None = None,
    steps: Steps = 50,
    codebook_bits: CodebookBits = 8,
    atoms: Atoms = 8,
    variant: Variant = "turbo",
    count: Annotated[int, Between(1, 8)] = 8,
    model: Model = EMBEDDED,
    seed: Seed = 0,
) -> Iterator[Progress[Restored]]:
    """Restore a degraded emoji, `count` times with other codebooks. Yields a Progress of Restored each time.

    mask: path of a drawing, black on white; what is black is hidden (without one: a square in the middle)
    Each step takes the symbols of largest ⟨z, P(y − x̂0)⟩; with noise in y, the choice is random once the state has less
    noise than y, which then says nothing more. At these defaults the PSNR rises above that of the degraded picture for 30 of
    32 held-back emoji when filling in, all 32 when enlarging or removing noise, but only 20 of 30 when colouring: there a
    grey picture can be nearer than a good guess.
    """
    net = small_model(model)
    plans = [Plan(steps, 1 << codebook_bits, atoms, 3, variant, seed + i) for i in range(count)]
    afford(steps * count, net)
    original = emoji_picture(emoji, net.side)
    hidden = _hidden(mask, net.side)
    target = to_tensor(original[None], net.device)
    project, sigma = measurement(task, torch.from_numpy(hidden).to(net.device))
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)).to(net.device)
    measured = project(target) + sigma * noise
    degraded = to_pixels(measured)[0]
    levels = np.sqrt((1 - net.alphas_cumprod) / net.alphas_cumprod)[timesteps(steps, len(net.alphas_cumprod))]
    pictures, quality, agreement = [], [], []
    for i, plan in enumerate(plans):
        generator = torch.Generator().manual_seed(seed + i)

        def choose(number: int, denoised: Tensor, codebook: StepCodebook, generator=generator) -> Tensor:
            if levels[number] < sigma:
                return codebook.choose(torch.randn(1, target[0].numel(), generator=generator).to(net.device))
            return codebook.choose(project(measured - denoised).flatten(1))

        for step in walk(net, plan, 1, choose):
            if step.symbols is not None:
                yield Progress(i * steps + step.number + 1, count * steps, None)
        pictures.append(to_pixels(step.denoised)[0])
        quality.append(psnr(original, pictures[-1]))
        error = project(target - step.denoised).square().sum() / max(project(torch.ones_like(target)).sum(), 1)
        agreement.append(10 * math.log10(4 / max(float(error), 1e-9)))
        blank = [np.full_like(original, 255)] * (count - len(pictures))
        yield Progress(
            (i + 1) * steps,
            count * steps,
            Restored(
                original=original,
                degraded=degraded,
                restored=np.stack(pictures + blank),
                done=np.arange(count) < len(pictures),
                psnr=np.array(quality + [np.nan] * len(blank)),
                degraded_psnr=psnr(original, degraded),
                agreement=np.array(agreement + [np.nan] * len(blank)),
                payload_bytes=-(-plan.tile_bits // 8),
                task=task,
                steps=steps,
                codebook_size=plan.codebook_size,
                atoms=plan.atoms,
            ),
        )


@checked
def degrade(task: Annotated[str, OneOf(TASKS)], emoji: Emoji = 41, seed: Seed = 0) -> np.ndarray:
    """What a task leaves of an emoji, written as a picture: uint8 [32, 32, 3]."""
    original = emoji_picture(emoji, 32)
    project, sigma = measurement(task, torch.from_numpy(_hidden(None, 32)))
    target = to_tensor(original[None])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    return to_pixels(project(target) + sigma * noise)[0]


def _hidden(mask: str | None, side: int) -> np.ndarray:
    """bool [side, side]; what is hidden."""
    hidden = np.zeros((side, side), bool)
    if mask is not None:
        hidden = fit(read_picture(mask), side, side).mean(-1) < 128
    if hidden.all():
        raise Refusal("{parameter} hides everything: leave some of the picture.", parameter="mask")
    if not hidden.any():
        hidden[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    return hidden


# -- codes mixed ------------------------------------------------------------------------------------------------------

MIXES = 5


@dataclass(frozen=True)
class MixedCodes:
    """Two codes spliced, and their noises interpolated.

    one: uint8 [h, w, 3]; the first picture as its whole code decodes
    other: uint8 [h, w, 3]; the second likewise
    spliced: uint8 [N, h, w, 3]; the first steps of the other's code, the rest of the one's
    taken: int64 [N]; how many steps are the other's
    blended: uint8 [N, h, w, 3]; from noise √(1 − w) z + √w z', scaled to the norm of z
    weights: float64 [N]; w
    splice_psnr: float64 [N, 2], dB; against the one and the other, 99 where equal
    blend_psnr: float64 [N, 2], dB; likewise
    steps: int; T
    codebook_size: int; K
    """

    one: np.ndarray
    other: np.ndarray
    spliced: np.ndarray
    taken: np.ndarray
    blended: np.ndarray
    weights: np.ndarray
    splice_psnr: np.ndarray
    blend_psnr: np.ndarray
    steps: int
    codebook_size: int


class _Blend:
    """A step's codebook that mixes the noise of two codes: symbols [n, 2], weights [n]."""

    def __init__(self, codebook: StepCodebook, weights: Tensor):
        self.codebook, self.weights = codebook, weights

    def noise(self, symbols: Tensor) -> Tensor:
        one, other = (self.codebook.noise(symbols[:, i : i + 1]) for i in (0, 1))
        mixed = (1 - self.weights).sqrt() * one + self.weights.sqrt() * other
        return mixed * (one.norm(dim=1, keepdim=True) / mixed.norm(dim=1, keepdim=True))


@checked
def mix_codes(
    emoji: Emoji = 41,
    other_emoji: Emoji = 32,
    steps: Steps = 50,
    codebook_bits: CodebookBits = 8,
    model: Model = EMBEDDED,
    seed: Seed = 0,
) -> Iterator[Progress[MixedCodes]]:
    """Encode two emoji; decode codes spliced of both, and noises between both. Yields a Progress of MixedCodes."""
    plan, net = Plan(steps, 1 << codebook_bits, seed=seed), small_model(model)
    pictures = np.stack([emoji_picture(e, net.side) for e in (emoji, other_emoji)])
    chosen, total = [], 3 * steps
    for step in walk(net, plan, 2, encoder(to_tensor(pictures, net.device))):
        if step.symbols is not None:
            chosen.append(step.symbols)
        yield Progress(step.number + 1, total, None)
    ends = to_pixels(step.denoised)
    codes = torch.stack(chosen, 1)
    taken = np.linspace(0, steps - 1, MIXES + 2).round().astype(int)[1:-1]
    first = torch.arange(steps - 1, device=codes.device) < torch.as_tensor(taken, device=codes.device)[:, None]
    for step in walk(net, plan, MIXES, decoder(torch.where(first[..., None], codes[1], codes[0]), net.device)):
        yield Progress(steps + step.number + 1, total, None)
    spliced = to_pixels(step.denoised)
    weights = np.linspace(0, 1, MIXES + 2)[1:-1]
    both = torch.cat([codes[:1], codes[1:]], dim=2).repeat(MIXES, 1, 1)
    w = torch.tensor(weights, dtype=torch.float32, device=net.device)[:, None]
    for step in walk(net, plan, MIXES, decoder(both, net.device), lambda codebook: _Blend(codebook, w)):
        if step.symbols is not None:
            yield Progress(2 * steps + step.number + 1, total, None)
    blended = to_pixels(step.denoised)
    result = MixedCodes(
        one=ends[0],
        other=ends[1],
        spliced=spliced,
        taken=taken,
        blended=blended,
        weights=weights,
        splice_psnr=_against(spliced, ends),
        blend_psnr=_against(blended, ends),
        steps=steps,
        codebook_size=plan.codebook_size,
    )
    yield Progress(total, total, result)


def _against(pictures: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.array([[min(psnr(end, picture), EQUAL) for end in ends] for picture in pictures])
