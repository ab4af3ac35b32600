"""Guided generation: which noise to take so that a picture of a wanted class comes out.

Where a model has classes, ε_cond − ε_uncond points away from the pictures of a class, and x̂0(x, class) − x̂0(x) towards
them. Each step goes by the estimate without a class; of some atoms of the codebook it takes the one that points best
towards the class: DDCM's "compressed classifier-free guidance" (arXiv 2502.01189). So all guidance is in the choices, and
what comes out is a code that is decoded without a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.ddcm.codebook import StepCodebook
from engines.ddcm.codec import Step, walk
from engines.ddcm.plan import Plan

CLASSIFIED_AT = np.linspace(0.15, 0.85, 8)  # noise levels, as fractions of the timesteps


class WithDirection:
    """A model with classes that, at each estimate, keeps the direction towards one: `direction` [n, size]."""

    def __init__(self, model: Any, label: int):
        self.model, self.label = model, label
        self.alphas_cumprod, self.shape, self.device = model.alphas_cumprod, model.shape, model.device

    def denoise(self, x: Tensor, t: int) -> Tensor:
        denoised = self.model.denoise(x, t)
        self.direction = (self.model.denoise(x, t, self.label) - denoised).flatten(1)
        return denoised


def guide(model: Any, plan: Plan, count: int, label: int, compared: int, seed: int = 0) -> Iterator[Step]:
    """`count` pictures towards a class, by the best of `compared` random atoms a step (1: unguided). As `walk`.

    model: a PixelModel with classes, or what has its `denoise(x, t, label)`
    """
    model = WithDirection(model, label)

    def choose(step: int, _: Tensor, codebook: StepCodebook) -> Tensor:
        rng = np.random.default_rng([seed, step])
        some = np.argsort(rng.random((count, plan.codebook_size)), axis=1)[:, :compared]
        indices = torch.from_numpy(some).to(model.device, non_blocking=True)
        best = codebook.inner_products(model.direction).gather(1, indices).argmax(1, keepdim=True)
        return indices.gather(1, best)

    return walk(model, plan, count, choose)


@torch.inference_mode()
def classify(model: Any, pictures: Tensor, seed: int = 0) -> Tensor:
    """The class under which the model denoises each picture [n, *shape] best, int64 [n].

    A diffusion classifier (Li et al. 2023, arXiv 2303.16203): the same noise at a few levels for every class.
    """
    rng, classes = np.random.default_rng(seed), len(model.labels)
    errors = torch.zeros(classes, len(pictures))
    for level in CLASSIFIED_AT:
        t = int(level * len(model.alphas_cumprod))
        signal, sigma = float(model.alphas_cumprod[t]) ** 0.5, float(1 - model.alphas_cumprod[t]) ** 0.5
        noise = torch.from_numpy(rng.standard_normal(pictures.shape, dtype=np.float32)).to(pictures.device)
        for label in range(classes):
            denoised = model.denoise(signal * pictures + sigma * noise, t, label)
            errors[label] += ((denoised - pictures) / sigma).square().flatten(1).mean(1).cpu()
    return errors.argmin(0)
