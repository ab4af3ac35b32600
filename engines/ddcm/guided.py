"""Guided generation: which noise to take so that a picture of a wanted kind comes out.

Where a model has classes, ε_cond − ε_uncond points away from the pictures of a class, and x̂0(x, class) − x̂0(x) towards
them. The estimate that each step goes by stays the unconditional one; of some atoms drawn from the book the step takes the
one that points best towards the class: DDCM's "compressed classifier-free guidance" (arXiv 2502.01189). So all guidance is
in the choices, and what comes out is a code that is decoded without knowing of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import wholes
from engines.ddcm.books import Page
from engines.ddcm.codec import Moment, to_pixels, to_tensor, walk
from engines.ddcm.plan import CodeError, Plan, size_bits, whole
from engines.ddcm.views import afford, page_model, page_plan
from engines.progress import Progress

KINDS = "ddpm-emoji-32-kinds"
_ASKED = 8  # noise levels at which a picture's kind is asked for


class Pulled:
    """A model with classes that, while it denoises, keeps where one class would have the picture: `pull` [n, size]."""

    def __init__(self, model: Any, label: int):
        self.model, self.label = model, label
        self.kept, self.shape, self.device = model.kept, model.shape, model.device

    def denoise(self, x: Tensor, t: int) -> Tensor:
        clean = self.model.denoise(x, t)
        self.pull = (self.model.denoise(x, t, self.label) - clean).flatten(1)
        return clean


def guide(model: Any, plan: Plan, count: int, label: int, compared: int, seed: int = 0) -> Iterator[Moment]:
    """`count` pictures towards a class, by the best of `compared` random atoms a step (1: unguided). As `walk`."""
    pulled = Pulled(model, label)

    def choose(step: int, _: Tensor, page: Page) -> Tensor:
        rng = np.random.default_rng([seed, step])
        some = np.argsort(rng.random((count, plan.codebook_size)), axis=1)[:, :compared]
        few = torch.from_numpy(some).to(model.device)
        return few.gather(1, page.agreement(pulled.pull).gather(1, few).argmax(1, keepdim=True))

    return walk(pulled, plan, count, choose)


@torch.inference_mode()
def recognise(model: Any, pictures: Tensor, seed: int = 0) -> Tensor:
    """The class under which the model denoises each picture [n, *shape] best, [n].

    A diffusion classifier (Li et al. 2023, arXiv 2303.16203): the same noise at a few levels for every class.
    """
    rng, classes = np.random.default_rng(seed), len(model.labels)
    errors = torch.zeros(classes, len(pictures))
    for level in np.linspace(0.15, 0.85, _ASKED):
        t = int(level * len(model.kept))
        signal, noise = float(model.kept[t]) ** 0.5, float(1 - model.kept[t]) ** 0.5
        drawn = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32)).to(pictures.device)
        for label in range(classes):
            clean = model.denoise(signal * pictures + noise * drawn, t, label)
            errors[label] += ((clean - pictures) / noise).square().flatten(1).mean(1).cpu()
    return errors.argmin(0)


@dataclass(frozen=True)
class Guided:
    """Pictures towards a kind, the more of the book is compared the harder.

    kind: which; compared: [G] int64, atoms compared at each step, of codebook_size; done: [G] bool
    pictures: [G, count, h, w, 3] uint8
    recognised: [G] float64, share of them that the model itself takes for that kind; NaN while not done
    payload_bytes: of each picture's code; steps: T; model: its name
    """

    kind: str
    compared: np.ndarray
    done: np.ndarray
    pictures: np.ndarray
    recognised: np.ndarray
    codebook_size: int
    payload_bytes: int
    steps: int
    model: str


def guided(
    kind: str = "face",
    compared: Sequence[int] = (1, 4, 64),
    count: int = 3,
    guided_steps: int = 50,
    model: str = KINDS,
    seed: int = 0,
) -> Iterator[Progress]:
    """Draw `count` pictures towards a kind at each strength. Yields a Progress of Guided a strength."""
    plan = page_plan(guided_steps, seed=seed)
    compared = sorted(set(wholes("compared", compared, 4, 1, plan.codebook_size)))
    count = whole("count", count, 2, 8)
    net = page_model(model)
    if not net.labels:
        raise CodeError(f"Model {model} has no classes to be guided by; take {KINDS}.")
    if kind not in net.labels:
        raise CodeError(f"kind must be one of {', '.join(net.labels)}.")
    # in steps of two estimates; telling a picture's kind takes one for each class and level
    round_steps = plan.steps + _ASKED * len(net.labels) // 2
    afford(2 * round_steps * count * len(compared))
    label, total = net.labels.index(kind), round_steps * len(compared)
    pictures = np.full((len(compared), count, net.side, net.side, 3), 255, np.uint8)
    recognised = np.full(len(compared), np.nan)
    for i, many in enumerate(compared):
        for moment in guide(net, plan, count, label, many, plan.seed):
            spent = i * round_steps + moment.step + 1
            if moment.symbols is not None:
                yield Progress(spent, total, None)
        pictures[i] = to_pixels(moment.clean)
        recognised[i] = float((recognise(net, to_tensor(pictures[i], net.device)) == label).double().mean())
        yield Progress(
            (i + 1) * round_steps,
            total,
            Guided(
                kind=kind,
                compared=np.array(compared),
                done=np.arange(len(compared)) <= i,
                pictures=pictures.copy(),
                recognised=recognised.copy(),
                codebook_size=plan.codebook_size,
                payload_bytes=-(-size_bits(plan.steps, plan.codebook_size) // 8),
                steps=plan.steps,
                model=net.name,
            ),
        )
