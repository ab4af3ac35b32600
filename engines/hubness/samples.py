"""Pictures that a diffusion model makes of hub latents, ordinary ones and antihubs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import whole
from engines.diffusion.images import pixel_model, sample_images, scheduler_for, to_pixels
from engines.hubness.nearest import k_occurrence
from engines.progress import Progress

GROUPS = ("hubs", "ordinary", "ordinary, shortened", "antihubs")


@dataclass(frozen=True)
class LatentSamples:
    """What a diffusion model makes of four kinds of initial noise.

    groups: the kinds; pictures: uint8 [4, each, h, w, 3], as far as they are denoised
    counts: int32 [4, each], N_k among all the latents drawn; norms: float32 [4, each], their lengths
    norm_all: mean length of all; shortening: the factor on the shortened ones, which brings them to the hubs' mean length
    step, steps: denoising steps done, of all (one more than asked where the trailing timesteps round so); latents, dimension, k: as asked
    """

    groups: tuple[str, ...]
    pictures: np.ndarray
    counts: np.ndarray
    norms: np.ndarray
    norm_all: float
    shortening: float
    step: int
    steps: int
    latents: int
    dimension: int
    k: int


def latent_samples(
    model: str = "ddpm-emoji-32",
    latents: int = 3000,
    neighbours: int = 5,
    each: int = 6,
    steps: int = 12,
    seed: int = 0,
) -> Iterator[Progress]:
    """Denoise the most and least popular of many Gaussian latents, and ordinary ones at both lengths.

    After Liang, Wu, Lai and Qin 2022, with the initial noise of a diffusion model, taken to its picture by DDIM (Song, Meng and
    Ermon 2021, equation 12 without noise), in place of a GAN's latent.

    model: a name of `engines.models.names("diffusion")`, of a model without classes; latents: 100 .. 10,000 draws to count neighbours among
    neighbours: k, 1 .. 50; each: pictures of a kind, 1 .. 10; steps: 2 .. 100, one report each
    """
    n, k = whole("latents", latents, 100, 10_000), whole("neighbours", neighbours, 1, 50)
    each, steps = whole("each", each, 1, 10), whole("steps", steps, 2, 100)
    seed = whole("seed", seed, 0, 2**31 - 1)
    network, config = pixel_model(model)
    size = network.config.sample_size
    drawn = torch.randn(n, 3 * size * size, generator=torch.Generator().manual_seed(seed))
    counts = k_occurrence(drawn, k)
    norms = drawn.norm(dim=1)
    order = counts.sort(stable=True, descending=True).indices
    ordinary = (counts - k).abs().sort(stable=True).indices[:each]
    chosen = torch.stack([order[:each], ordinary, ordinary, order.flip(0)[:each]])
    scale = float(norms[chosen[0]].mean() / norms[chosen[1]].mean())
    noise = drawn[chosen]
    noise[2] *= scale

    def state(x: Tensor, step: int, steps: int) -> LatentSamples:
        return LatentSamples(
            groups=GROUPS,
            pictures=to_pixels(x).reshape(4, each, size, size, 3),
            counts=counts[chosen].numpy().astype(np.int32),
            norms=noise.norm(dim=2).numpy().astype(np.float32),
            norm_all=float(norms.mean()),
            shortening=scale,
            step=step,
            steps=steps,
            latents=n,
            dimension=drawn.shape[1],
            k=k,
        )

    start = noise.view(-1, 3, size, size).to(network.device)
    for step, total, x, _ in sample_images(network, scheduler_for("ddim", config), steps, start):
        yield Progress(step, total, state(x, step, total))
