"""Hub latents: what the draws that many others have as a neighbour are like, and what a generator makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, checked, whole
from engines.diffusion.images import pixel_model, sample_images, scheduler_for, to_pixels
from engines.hubness.data import draw_law
from engines.hubness.nearest import as_points, k_occurrence, k_occurrence_steps
from engines.progress import Progress

MODELS = ("none", "ddpm-emoji-32", "google/ddpm-cifar10-32")
GROUPS = ("hubs", "ordinary", "ordinary, shortened", "antihubs")


@dataclass(frozen=True)
class LatentFilter:
    """The hub latents among standard normal draws, and what a diffusion model makes of four kinds of them.

    model: str; of MODELS
    dimension: int; of a latent
    latents: int; how many were drawn
    k: int; neighbours of a latent
    counts: int32 [latents]; N_k
    norms: float32 [latents]; Euclidean length
    thresholds: int32 [t]
    share_above: float64 [t]; share of the latents with N_k >= threshold
    norm_above: float64 [t]; their mean length, nan if there are none
    chi_mean: float; the mean length under the distribution, sqrt(2) Gamma((d + 1) / 2) / Gamma(d / 2)
    groups: GROUPS
    group_counts: int32 [4, each]; N_k of the latents shown (of the shortened ones, before)
    group_norms: float32 [4, each]; their lengths
    shortening: float; the factor on the shortened ones, which brings them to the hubs' mean length
    pictures: uint8 [4, each, h, w, 3]; as far as they are denoised, or [0] without a model
    step, steps: int; denoising steps done, of all (one more than asked where the trailing timesteps round so)
    """

    model: str
    dimension: int
    latents: int
    k: int
    counts: np.ndarray
    norms: np.ndarray
    thresholds: np.ndarray
    share_above: np.ndarray
    norm_above: np.ndarray
    chi_mean: float
    groups: tuple[str, ...]
    group_counts: np.ndarray
    group_norms: np.ndarray
    shortening: float
    pictures: np.ndarray
    step: int
    steps: int


def hub_latents(latents: Tensor, k: int = 5, threshold: int = 50) -> tuple[Tensor, Tensor]:
    """The latents [m, d] with N_k >= threshold among themselves, and N_k of all, int64 [n].

    Liang, Wu, Lai and Qin 2022, "Exploring and Exploiting Hubness Priors for High-Quality GAN Latent Sampling", algorithm 1
    (there 10,000 latents, k = 5, threshold 50).
    """
    threshold = whole("threshold", threshold, 0, 10**9)
    counts = k_occurrence(latents, k)
    latents = latents if isinstance(latents, Tensor) else as_points(latents)
    return latents[counts >= threshold], counts


@checked
def latent_filter(
    model: Annotated[str, OneOf(MODELS)] = "ddpm-emoji-32",
    dimension: Annotated[int, Between(1, 1000)] = 128,
    latents: Annotated[int, Between(100, 10_000)] = 3000,
    k: Annotated[int, Between(1, 50)] = 5,
    each: Annotated[int, Between(1, 10)] = 6,
    steps: Annotated[int, Between(2, 100)] = 12,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[LatentFilter]]:
    """N_k and lengths of Gaussian latents; hubs, ordinary latents at both lengths, and antihubs, denoised.

    After Liang, Wu, Lai and Qin 2022, with the initial noise of a diffusion model, taken to its picture by DDIM (Song, Meng and
    Ermon 2021, equation 12 without noise), in place of a GAN's latent.

    model: a model without classes, whose noise are the latents; 'none' for latents of `dimension` and no pictures
    each: pictures of a kind; steps: denoising steps, one report each
    """
    if model == "none":
        drawn = torch.from_numpy(draw_law("normal", latents, dimension, 0, seed))
    else:
        network, config = pixel_model(model)
        size = network.config.sample_size
        drawn = torch.randn(latents, 3 * size * size, generator=torch.Generator().manual_seed(seed))
    total = latents if model == "none" else 2 * latents
    for progress in k_occurrence_steps(drawn, k):
        counts = progress.result
        if progress.step < latents:
            yield Progress(progress.step, total, None)
    result, noise = _described(model, drawn, counts, k, each)
    if model == "none":
        yield Progress(total, total, result)
        return
    start = noise.view(-1, 3, size, size).to(network.device)
    for step, of, x, _ in sample_images(network, scheduler_for("ddim", config), steps, start):
        pictures = to_pixels(x).reshape(4, each, size, size, 3)
        yield Progress(latents + latents * step // of, total, replace(result, pictures=pictures, step=step, steps=of))


def _described(model: str, drawn: Tensor, counts: Tensor, k: int, each: int) -> tuple[LatentFilter, Tensor]:
    """The result without pictures, and the noise [4, each, d] that they are made of."""
    norms = drawn.norm(dim=1)
    order = counts.sort(stable=True, descending=True).indices
    ordinary = (counts - k).abs().sort(stable=True).indices[:each]
    chosen = torch.stack([order[:each], ordinary, ordinary, order.flip(0)[:each]])
    scale = float(norms[chosen[0]].mean() / norms[chosen[1]].mean())
    noise = drawn[chosen]
    noise[2] *= scale
    steps = np.unique(np.concatenate([np.arange(11), np.geomspace(10, max(11, int(counts.max())), 40).astype(int)]))
    above = [norms[counts >= t] for t in steps.tolist()]
    n, d = drawn.shape
    result = LatentFilter(
        model=model,
        dimension=d,
        latents=n,
        k=k,
        counts=counts.numpy().astype(np.int32),
        norms=norms.numpy().astype(np.float32),
        thresholds=steps.astype(np.int32),
        share_above=np.array([len(a) / n for a in above]),
        norm_above=np.array([float(a.mean()) if len(a) else math.nan for a in above]),
        chi_mean=math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2)),
        groups=GROUPS,
        group_counts=counts[chosen].numpy().astype(np.int32),
        group_norms=noise.norm(dim=2).numpy().astype(np.float32),
        shortening=scale,
        pictures=np.zeros(0, np.uint8),
        step=0,
        steps=0,
    )
    return result, noise
