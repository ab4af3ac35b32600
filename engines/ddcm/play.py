"""More than compression: pictures from random codes, restoration by choosing atoms, and codes mixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import wholes
from engines.ddcm.codec import EMBEDDED, following, timesteps, to_pixels, to_tensor, towards, walk
from engines.ddcm.pictures import held_back, load_picture, source_picture
from engines.ddcm.plan import CodeError, size_bits, whole
from engines.ddcm.quality import psnr
from engines.ddcm.views import afford, page_model, page_plan
from engines.progress import Progress

# -- pictures from random codes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomCodes:
    """Pictures that random codes decode to.

    codebook_size: [B] int64, K; done: [B] bool
    pictures: [B, count, h, w, 3] uint8
    payload_bytes: [B] int64, of one code
    spread: [B] float64, mean root mean squared distance of two of the pictures, in grey levels
    real_spread: float, the same among as many held-back emoji
    steps: T; model: its name
    """

    codebook_size: np.ndarray
    done: np.ndarray
    pictures: np.ndarray
    payload_bytes: np.ndarray
    spread: np.ndarray
    real_spread: float
    steps: int
    model: str


def random_codes(
    generated_books: Sequence[int] = (1, 4, 8),
    count: int = 3,
    generated_steps: int = 50,
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Decode `count` random codes with books of each size, log2 K. Yields a Progress of RandomCodes a book.

    All start from the same noise and differ by their choices alone.
    """
    count, books = whole("count", count, 2, 8), sorted(set(wholes("generated_books", generated_books, 4, 1, 12)))
    plans = [page_plan(generated_steps, b, seed=seed) for b in books]
    afford(count * sum(plan.steps for plan in plans))
    net, total = page_model(model), sum(plan.steps for plan in plans)
    pictures = np.full((len(books), count, net.side, net.side, 3), 255, np.uint8)
    done, spent = np.zeros(len(books), bool), 0
    real = held_back()[np.linspace(0, len(held_back()) - 1, 16).round().astype(int)]
    for i, plan in enumerate(plans):
        told = np.random.default_rng([plan.seed, i]).integers(0, plan.codebook_size, (count, plan.steps - 1, 1))
        for moment in walk(net, plan, count, following(told, net.device)):
            spent += 1
            if moment.symbols is not None:
                yield Progress(spent, total, None)
        pictures[i], done[i] = to_pixels(moment.clean), True
        yield Progress(
            spent,
            total,
            RandomCodes(
                codebook_size=np.array([p.codebook_size for p in plans]),
                done=done.copy(),
                pictures=pictures.copy(),
                payload_bytes=np.array([-(-size_bits(p.steps, p.codebook_size) // 8) for p in plans]),
                spread=np.array([_spread(row) if d else np.nan for row, d in zip(pictures, done, strict=True)]),
                real_spread=_spread(real),
                steps=plan.steps,
                model=net.name,
            ),
        )


def _spread(pictures: np.ndarray) -> float:
    flat = pictures.reshape(len(pictures), -1).astype(float)
    apart = np.sqrt(((flat[:, None] - flat) ** 2).mean(-1))
    return float(apart.sum() / (len(flat) * (len(flat) - 1)))


# -- restoration ------------------------------------------------------------------------------------------------------

TASKS = {
    "inpaint": "fill what is hidden",
    "enlarge": "enlarge four times",
    "denoise": "take the noise off",
    "colour": "colour a grey picture",
}
NOISE = 0.4  # standard deviation of the noise to take off, pixels being from −1 to 1
FACTOR = 4


@dataclass(frozen=True)
class Restored:
    """A spoilt picture restored by choosing atoms that agree with what is left of it.

    original, spoilt: [h, w, 3] uint8
    restored: [R, h, w, 3] uint8, from the books of R seeds; done: [R] bool
    psnr: [R] float64, in dB against the original; spoilt_psnr: float
    agreement: [R] float64, in dB: how well what was measured is met
    payload_bytes: of each restored picture's code
    task: a key of TASKS; steps: T; codebook_size: K
    """

    original: np.ndarray
    spoilt: np.ndarray
    restored: np.ndarray
    done: np.ndarray
    psnr: np.ndarray
    spoilt_psnr: float
    agreement: np.ndarray
    payload_bytes: int
    task: str
    steps: int
    codebook_size: int


def measurement(task: str, hidden: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
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


def restore(
    task: str = "inpaint",
    emoji: int = 41,
    mask: str | None = None,
    restored_steps: int = 50,
    book_bits: int = 8,
    count: int = 3,
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Restore a spoilt emoji, `count` times with other books. Yields a Progress of Restored a time.

    mask: a drawing, black on white; what is black is hidden (without one: a square in the middle)
    The atom of each step is the one of largest ⟨z, P(y − x̂0)⟩; with noise in y, the choice is free once the state has less
    noise than y: y then has nothing left to say.
    """
    if not isinstance(task, str) or task not in TASKS:
        raise CodeError(f"task must be one of {', '.join(TASKS)}.")
    count, seed = whole("count", count, 1, 8), whole("seed", seed, 0, 2**31)
    plan, net = page_plan(restored_steps, book_bits), page_model(model)
    afford(plan.steps * count)
    original = source_picture("emoji", emoji, None, None, 32, net.side)
    hidden = np.zeros((net.side, net.side), bool)
    if mask is not None:
        hidden = load_picture(mask, net.side).mean(-1) < 128
    if not hidden.any():
        hidden[net.side // 4 : 3 * net.side // 4, net.side // 4 : 3 * net.side // 4] = True
    if hidden.all():
        raise CodeError("The mask hides everything: leave some of the picture to go by.")
    target = to_tensor(original[None], net.device)
    project, sigma = measurement(task, torch.from_numpy(hidden).to(net.device))
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)).to(net.device)
    measured = project(target) + sigma * noise
    spoilt = to_pixels(measured)[0]
    levels = np.sqrt((1 - net.kept) / net.kept)
    times = timesteps(plan.steps, len(net.kept))
    made, reached, agreed = [], [], []
    for i in range(count):
        own = page_plan(restored_steps, book_bits, seed=seed + i)
        free = torch.Generator().manual_seed(seed + i)

        def choose(step: int, clean: Tensor, page, own=own, free=free) -> Tensor:
            if levels[times[step]] < sigma:
                return torch.randint(own.codebook_size, (1, 1), generator=free).to(clean.device)
            return page.pick(project(measured - clean).flatten(1))

        for moment in walk(net, own, 1, choose):
            if moment.symbols is not None:
                yield Progress(i * plan.steps + moment.step + 1, count * plan.steps, None)
        made.append(to_pixels(moment.clean)[0])
        reached.append(psnr(original, made[-1]))
        error = project(target - moment.clean).square().sum() / max(project(torch.ones_like(target)).sum(), 1)
        agreed.append(10 * math.log10(4 / max(float(error), 1e-9)))
        blank = [np.full_like(original, 255)] * (count - len(made))
        yield Progress(
            (i + 1) * plan.steps,
            count * plan.steps,
            Restored(
                original=original,
                spoilt=spoilt,
                restored=np.stack(made + blank),
                done=np.arange(count) < len(made),
                psnr=np.array(reached + [np.nan] * len(blank)),
                spoilt_psnr=psnr(original, spoilt),
                agreement=np.array(agreed + [np.nan] * len(blank)),
                payload_bytes=-(-size_bits(plan.steps, plan.codebook_size) // 8),
                task=task,
                steps=plan.steps,
                codebook_size=plan.codebook_size,
            ),
        )


# -- codes mixed ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MixedCodes:
    """Two codes spliced, and their noises interpolated.

    one, other: [h, w, 3] uint8, the two pictures
    spliced: [N, h, w, 3] uint8: the first steps of the other's code, the rest of the one's; taken: [N] int64, how many
    blended: [N, h, w, 3] uint8, noise √(1 − w) z + √w z' scaled to its typical length, at weight w; weights: [N] float64
    splice_psnr, blend_psnr: [N, 2] float64, in dB against the two pictures as their whole codes decode
    steps: T; codebook_size: K
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


MIXES = 5


class _Blend:
    """A page that mixes the noise of two codes: symbols [n, 2], weights [n]."""

    def __init__(self, page, weights: Tensor):
        self.page, self.weights = page, weights

    def noise(self, symbols: Tensor) -> Tensor:
        one, other = (self.page.noise(symbols[:, i : i + 1]) for i in (0, 1))
        mixed = (1 - self.weights).sqrt() * one + self.weights.sqrt() * other
        return mixed * (one.norm(dim=1, keepdim=True) / mixed.norm(dim=1, keepdim=True))


def mix_codes(
    emoji: int = 41,
    other_emoji: int = 32,
    mixed_steps: int = 50,
    book_bits: int = 8,
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Encode two emoji; decode codes spliced of both, and noises between both. Yields a Progress of MixedCodes."""
    plan, net = page_plan(mixed_steps, book_bits, seed=seed), page_model(model)
    pictures = np.stack([source_picture("emoji", e, None, None, 32, net.side) for e in (emoji, other_emoji)])
    chosen, total = [], 3 * plan.steps
    for moment in walk(net, plan, 2, towards(to_tensor(pictures, net.device))):
        if moment.symbols is not None:
            chosen.append(moment.symbols)
        yield Progress(moment.step + 1, total, None)
    ends = to_pixels(moment.clean)
    codes = torch.stack(chosen, 1)
    taken = np.linspace(0, plan.steps - 1, MIXES + 2).round().astype(int)[1:-1]
    first = torch.arange(plan.steps - 1, device=codes.device) < torch.as_tensor(taken, device=codes.device)[:, None]
    spliced = torch.where(first[..., None], codes[1], codes[0])
    for moment in walk(net, plan, MIXES, following(spliced, net.device)):
        yield Progress(plan.steps + moment.step + 1, total, None)
    shown = to_pixels(moment.clean)
    weights = np.linspace(0, 1, MIXES + 2)[1:-1]
    both = torch.cat([codes[:1], codes[1:]], dim=2).repeat(MIXES, 1, 1)
    share = torch.tensor(weights, dtype=torch.float32, device=net.device)[:, None]
    for moment in walk(net, plan, MIXES, following(both, net.device), lambda page: _Blend(page, share)):
        if moment.symbols is not None:
            yield Progress(2 * plan.steps + moment.step + 1, total, None)
    blended = to_pixels(moment.clean)
    result = MixedCodes(
        one=ends[0],
        other=ends[1],
        spliced=shown,
        taken=taken,
        blended=blended,
        weights=weights,
        splice_psnr=_against(shown, ends),
        blend_psnr=_against(blended, ends),
        steps=plan.steps,
        codebook_size=plan.codebook_size,
    )
    yield Progress(total, total, result)


def _against(pictures: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.array([[min(psnr(end, picture), 99.0) for end in ends] for picture in pictures])
