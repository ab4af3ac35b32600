"""Hub latents: what the draws that many others have as a neighbour are like, and what a generator makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import whole
from engines.diffusion.images import pixel_model, sample_images, scheduler_for, to_pixels
from engines.hubness.data import draw_law
from engines.hubness.nearest import k_occurrence
from engines.progress import Progress


@dataclass(frozen=True)
class LatentFilter:
    """The hub latents among standard normal draws.

    dimension, latents, k, threshold: as asked
    counts: int32 [latents], N_k; norms: float32 [latents], Euclidean length
    kept: bool [latents], N_k >= threshold; kept_share: float; norm_all, norm_kept: mean lengths (nan if none is kept)
    truncation: float, the factor psi that would shrink the mean length as much
    bin_edges: float64 [b + 1], length; bin_all, bin_kept: int32 [b], latents in each
    thresholds: int32 [t]; share_above, norm_above: float64 [t], share kept at each and their mean length (nan if none)
    chi_mean: float, the mean length under the law, sqrt(2) Gamma((d + 1) / 2) / Gamma(d / 2)
    """

    dimension: int
    latents: int
    k: int
    threshold: int
    counts: np.ndarray
    norms: np.ndarray
    kept: np.ndarray
    kept_share: float
    norm_all: float
    norm_kept: float
    truncation: float
    bin_edges: np.ndarray
    bin_all: np.ndarray
    bin_kept: np.ndarray
    thresholds: np.ndarray
    share_above: np.ndarray
    norm_above: np.ndarray
    chi_mean: float


def hub_latents(latents: Tensor, k: int = 5, threshold: int = 50) -> tuple[Tensor, Tensor]:
    """The latents [m, d] with N_k >= threshold among themselves, and N_k of all, int64 [n].

    Liang, Wu, Lai and Qin 2022, "Exploring and Exploiting Hubness Priors for High-Quality GAN Latent Sampling", algorithm 1
    (there 10,000 latents, k = 5, threshold 50).
    """
    counts = k_occurrence(latents, k)
    return latents[counts >= threshold], counts


def latent_filter(
    latent_dimension: int = 128, latents: int = 3000, neighbours: int = 5, threshold: int = 30, seed: int = 0
) -> LatentFilter:
    """Keep the latents with N_k >= threshold: how many remain, and how much shorter they are.

    Liang, Wu, Lai and Qin 2022 (see `hub_latents`); Su Jianlin, kexue.fm/archives/9147.
    latent_dimension: 1 .. 1,024; latents: 100 .. 10,000; neighbours: k, 1 .. 99; threshold: 0 .. 1,000
    """
    d, n = whole("latent_dimension", latent_dimension, 1, 1024), whole("latents", latents, 100, 10_000)
    k, threshold = whole("neighbours", neighbours, 1, 99), whole("threshold", threshold, 0, 1000)
    drawn = torch.from_numpy(draw_law("normal", n, d, 0, whole("seed", seed, 0, 2**31 - 1)))
    _, counts = hub_latents(drawn, k, threshold)
    norms, kept = drawn.norm(dim=1), counts >= threshold
    edges = np.linspace(float(norms.min()), float(norms.max()), 61)
    steps = np.unique(np.concatenate([np.arange(11), np.geomspace(10, max(11, int(counts.max())), 40).astype(int)]))
    above = [norms[counts >= t] for t in steps.tolist()]
    mean = float(norms.mean())
    mean_kept = float(norms[kept].mean()) if kept.any() else math.nan
    return LatentFilter(
        dimension=d,
        latents=n,
        k=k,
        threshold=threshold,
        counts=counts.numpy().astype(np.int32),
        norms=norms.numpy().astype(np.float32),
        kept=kept.numpy(),
        kept_share=float(kept.double().mean()),
        norm_all=mean,
        norm_kept=mean_kept,
        truncation=mean_kept / mean,
        bin_edges=edges,
        bin_all=np.histogram(norms.numpy(), edges)[0].astype(np.int32),
        bin_kept=np.histogram(norms[kept].numpy(), edges)[0].astype(np.int32),
        thresholds=steps.astype(np.int32),
        share_above=np.array([len(a) / n for a in above]),
        norm_above=np.array([float(a.mean()) if len(a) else math.nan for a in above]),
        chi_mean=math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2)),
    )


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
