"""What the bases and scalings do to a real model: loss against position, far beyond the length it was trained on.

The five embedded decoders differ in nothing but their base; each scaling is applied as they stand, without retraining.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engines import models
from engines.arguments import number, several_of, whole
from engines.decoder import Decoder, token_losses
from engines.progress import Progress
from engines.rope.frequencies import (
    MOST_FACTOR,
    SCALINGS,
    attention_factor,
    inverse_frequencies,
    longrope_knots,
    spread_factors,
)

TRAINED_BASES = ("100", "1000", "10000", "100000", "1000000")
LONGEST = 2_048
MOST_TEXTS = 16


@dataclass(frozen=True)
class Extrapolation:
    """Held-back loss over position, a curve for each base and scaling.

    head_dim; context_length: bytes the models were trained on; factor: what the scalings stretch for; texts: how many
    were read, each of `length` bytes
    bases: float64 [c]; scalings: their names, [c], of the curves
    position: bytes that stand before the one foretold, geometric mean of each bin, float64 [n]
    loss: mean negative log-likelihood in each bin, nats a byte, float64 [c, n]
    excess: loss less that of the same bytes read by the same model, unscaled, with only the 64 to 127 bytes before them
        in view: what the context beyond the trained length costs, freed of how hard each passage is, float64 [c, n]
    error: standard error of the excess over the texts, float64 [c, n] (0 for a single text)
    inside: mean loss over the second half of the trained length, float64 [c]
    beyond: mean loss over the second half of the whole length, float64 [c]
    """

    head_dim: int
    context_length: int
    factor: float
    texts: int
    length: int
    bases: np.ndarray
    scalings: tuple[str, ...]
    position: np.ndarray
    loss: np.ndarray
    excess: np.ndarray
    error: np.ndarray
    inside: np.ndarray
    beyond: np.ndarray


def extrapolation(
    trained_bases: Sequence[str] = ("10000",),
    scalings: Sequence[str] = ("none", "linear", "ntk", "yarn"),
    factor: float = 8.0,
    bytes_read: int = LONGEST,
    texts: int = 4,
    longrope_factors: Sequence[float] = (1.0, 1.0, 2.0, 8.0),
) -> Iterator[Progress]:
    """Progress with Extrapolation: loss over position of the embedded decoders, as in YaRN's figures (arXiv 2309.00071).

    trained_bases: of TRAINED_BASES; scalings: of SCALINGS. dynamic is what it is in use: the frequencies at position n
    are those for n bytes (here for n rounded up to 128 times a power of two). bytes_read: of each text.
    longrope_factors are spread over the pairs as in `wavelengths`.
    """
    bases = several_of("trained_bases", trained_bases, TRAINED_BASES, len(TRAINED_BASES))
    names = several_of("scalings", scalings, SCALINGS, len(SCALINGS))
    factor = number("factor", factor, 1, MOST_FACTOR)
    length = whole("bytes_read", bytes_read, 256, LONGEST)
    texts = whole("texts", texts, 1, MOST_TEXTS)
    knots = longrope_knots(longrope_factors, 128)

    tokens = held_back()[:texts, :length]
    curves = [(base, name) for base in bases for name in names]
    losses, near = [], {}
    for base, name in curves:
        model = models.load(f"rope-base-{base}", "decoder").model
        losses.append(position_losses(model, tokens, name, factor, knots))
        if base not in near:
            near[base] = near_losses(model, tokens)
        done = curves[: len(losses)]
        reference = np.stack([near[base] for base, _ in done])
        yield Progress(len(losses), len(curves), _result(model, done, np.stack(losses), reference, factor))


def held_back() -> torch.Tensor:
    """The texts that the models were not trained on, uint8 [16, 2048]."""
    from safetensors.torch import load_file

    return load_file(models.ASSETS / "rope-decoders" / "held-back.safetensors")["tokens"]


@torch.no_grad()
def position_losses(
    model: Decoder, tokens: torch.Tensor, scaling: str, factor: float = 1.0, longrope_factors: Sequence[float] = (1.0,)
) -> np.ndarray:
    """Loss in nats of each byte given those before it, float64 [texts, length − 1], under a scaling of the rotation."""
    trained, head_dim = model.config.context, model.config.head_dim
    tokens = tokens.to(next(model.parameters()).device).long()
    length = tokens.shape[1]
    factors = spread_factors(longrope_factors, head_dim // 2).tolist()
    scale = attention_factor(scaling, factor, trained)

    def read(prefix: int) -> torch.Tensor:
        frequencies = inverse_frequencies(
            head_dim,
            model.config.rope_base,
            scaling,
            factor=factor,
            context_length=trained,
            length=prefix,
            factors=factors,
        )
        # a text at a time: its attention fits the cache of the processor
        rows = [row[None, :prefix] for row in tokens]
        return torch.cat([token_losses(model(row, frequencies, scale).logits, row) for row in rows])

    if scaling != "dynamic":
        return read(length).cpu().double().numpy()
    losses, end = [], 0
    for doubling in range(math.ceil(math.log2(length / trained)) + 1):
        prefix = min(trained << doubling, length)
        losses.append(read(prefix)[:, end:])
        end = prefix - 1
    return torch.cat(losses, dim=1).cpu().double().numpy()


@torch.no_grad()
def near_losses(model: Decoder, tokens: torch.Tensor) -> np.ndarray:
    """Loss of each byte given no more than the trained length, and no less than half of it where there is as much.

    float64 [texts, length − 1]: the text is read in windows of the trained length that overlap by half.
    """
    trained, half = model.config.context, model.config.context // 2
    tokens = tokens.to(next(model.parameters()).device).long()
    length = tokens.shape[1]
    losses = torch.empty(len(tokens), length - 1, dtype=torch.float64)
    for row, found in zip(tokens, losses, strict=True):
        count = max(0, math.ceil((length - trained) / half)) + 1
        starts = [min(i * half, max(0, length - trained)) for i in range(count)]
        windows = torch.stack([row[start : start + trained] for start in starts])
        read = token_losses(model(windows).logits, windows).cpu().double()
        # later windows overwrite only where they have half the trained length in view
        for start, window in zip(starts, read, strict=True):
            new = half - 1 if start else 0
            found[start + new : start + len(window)] = window[new:]
    return losses.numpy()


def _result(
    model: Decoder, curves: Sequence[tuple[str, str]], losses: np.ndarray, near: np.ndarray, factor: float
) -> Extrapolation:
    """Bin the losses [c, texts, length − 1] by position, four bins an octave after the first eight bytes."""
    texts, count = losses.shape[1:]
    trained = model.config.context
    edges = np.r_[1, np.round(2 ** np.arange(3, math.log2(count) - 0.1, 1 / 4)).astype(int), count + 1]

    def binned(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, edges[:-1] - 1, axis=-1) / np.diff(edges)

    excess = binned(losses - near)
    spread = excess.std(axis=1, ddof=1) / math.sqrt(texts) if texts > 1 else np.zeros_like(excess[:, 0])
    return Extrapolation(
        head_dim=model.config.head_dim,
        context_length=trained,
        factor=factor,
        texts=texts,
        length=count + 1,
        bases=np.array([float(base) for base, _ in curves]),
        scalings=tuple(name for _, name in curves),
        position=np.exp(binned(np.log(np.arange(1, count + 1)))),
        loss=binned(losses).mean(axis=1),
        excess=excess.mean(axis=1),
        error=spread,
        inside=losses[:, :, trained // 2 : trained - 1].mean((1, 2)),
        beyond=losses[:, :, count // 2 :].mean((1, 2)),
    )
