"""Which model codes a picture: the embedded one that denoises its tiles best; and what a page can compute with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engines.arguments import Refusal
from engines.ddcm.codec import PixelModel, open_model, to_tensor

AUTO = "auto"
CANDIDATES = ("ddpm-emoji-32", "ddpm-cifar10-32")
SIDE = 32  # of the tiles of both
LEVELS = (0.2, 0.4, 0.6, 0.8)  # fractions of the timesteps
MOST_TILES = 8  # that are tried, spread over the picture
# of what the page computes: 512 x 512 pixels at T = 50, about a minute. A denoiser call of one tile takes 7 ms of processor
# time among 16, and 14 ms alone
MOST_CALLS = 12_800
CALL_SECONDS = 0.005  # on two cores, of the emoji model
EMBEDDED_WEIGHTS = 2_400_000


@torch.inference_mode()
def denoising_loss(model: Any, tiles: np.ndarray, seed: int = 0) -> float:
    """Mean of |x̂0 − x0|² / (1 − ᾱ) over pixels, tiles uint8 [n, side, side, 3] and LEVELS, noise from the seed.

    With x̂0 within the range of pixels: without that, the squared error of v that the models are trained for.
    """
    clean = to_tensor(tiles, model.device)
    noise = np.random.default_rng(seed).standard_normal((len(LEVELS), *clean.shape), dtype=np.float32)
    losses = []
    for level, drawn in zip(LEVELS, torch.from_numpy(noise).to(model.device), strict=True):
        t = int(level * len(model.alphas_cumprod))
        kept = float(model.alphas_cumprod[t])
        denoised = model.denoise(kept**0.5 * clean + (1 - kept) ** 0.5 * drawn, t)
        losses.append((denoised - clean).square().mean() / (1 - kept))
    return float(torch.stack(losses).mean())


def choose_model(tiles: np.ndarray) -> tuple[PixelModel, np.ndarray]:
    """The candidate of least loss on tiles uint8 [n, 32, 32, 3], and the losses of all, float64 [candidates]."""
    some = tiles[np.linspace(0, len(tiles) - 1, min(len(tiles), MOST_TILES)).round().astype(int)]
    models = [open_model(name) for name in CANDIDATES]
    losses = np.array([denoising_loss(model, some) for model in models])
    return models[int(losses.argmin())], losses


def small_model(model: str | PixelModel) -> PixelModel:
    """A model small enough for the page."""
    model = open_model(model)
    if model.side > 64:
        raise Refusal(
            "Model {name} makes pictures larger than {most} pixels, too slow for this page: choose another {parameter}.",
            parameter="model",
            name=model.name,
            most=64,
        )
    return model


def afford(calls: int, model: PixelModel) -> None:
    """A Refusal where a view would take too long; calls: tiles (or pictures) times denoiser calls."""
    # a call takes as long as there are weights: 9.4 ms a tile with the emoji model, 40 with the one of photographs
    most = max(1, round(MOST_CALLS / max(1.0, weights(model.net) / EMBEDDED_WEIGHTS)))
    if calls > most:
        raise Refusal(
            "{calls} tiles times steps take about {minutes} minutes on two processor cores; at most {most} are computed "
            "here: take fewer pixels, pictures or steps.",
            calls=calls,
            minutes=max(1, round(calls * CALL_SECONDS * MOST_CALLS / most / 60)),
            most=most,
        )


def weights(net: Any) -> int:
    """How many numbers a network has; of what has none, the embedded one's."""
    return sum(p.numel() for p in net.parameters()) if isinstance(net, torch.nn.Module) else EMBEDDED_WEIGHTS
