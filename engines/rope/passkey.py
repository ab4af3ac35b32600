"""Retrieval: how surely one head finds the key that is like its query, and whether the embedded decoders find a passkey.

The head is ideal: query and keys are Gaussian, and one key is the query again, with or without noise, m tokens back. Its score is
Σ |q_i|² cos(m'θ_i), in the mean 2σ²·f_b(m'), where m' is the distance that the head is shown; the other n − 1 scores are normal with
variance |q|². So what f_b is for (kexue.fm/archives/10122) becomes a chance of finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Refusal, SomeOf, checked
from engines.decoder import Decoder
from engines.rope.attention import FORMS, Window
from engines.rope.extrapolation import WAYS, position_logits
from engines.rope.frequencies import (
    Base,
    Factor,
    HeadDim,
    RotaryPart,
    TrainedLength,
    attention_factor,
    inverse_frequencies,
)

LEAD, KEY = b" The key is ", 5  # and the key: five random capitals
_QUERIES, _DISTANCES = 96, 160
Found = Annotated[Sequence[str], SomeOf([way for way in WAYS if way != "longrope"])]


@dataclass(frozen=True)
class Retrieval:
    """The chance that a head finds the like key, and the attention it pays to it; C curves, D distances.

    scalings: tuple [C]; scaling of each curve, or form of attention
    distance: int64 [D], tokens; m, and the context is the m + 1 tokens from the key to the query
    found: float64 [C, D]; chance that the like key has the greatest score of all
    attention: float64 [C, D]; its share of the attention, mean
    attention_log_n: float64 [C, D]; the same where the logits of more than L tokens are multiplied by ln n / ln L
    reach: int64 [C], tokens; the first distance at which found is below one half; −1 where there is none
    head_dim: int; d
    base: float; b
    context_length: int, tokens; L
    factor: float; k
    """

    scalings: tuple[str, ...]
    distance: np.ndarray
    found: np.ndarray
    attention: np.ndarray
    attention_log_n: np.ndarray
    reach: np.ndarray
    head_dim: int
    base: float
    context_length: int
    factor: float


def shown_distance(distance: np.ndarray, form: str, window: int, factor: float) -> np.ndarray:
    """The distance that the head is shown, float64; NaN where the key is out of its window."""
    m = np.asarray(distance, dtype=float)
    if form == "window":
        return np.where(m < window, m, np.nan)
    slow = {"rerope": 0.0, "leaky_rerope": 1 / factor}.get(form, 1.0)
    return np.minimum(m, window) + slow * np.maximum(m - window, 0) if form else m


@checked
def retrieval(
    scalings: Found = ("none", "linear", "ntk", "yarn", "rerope"),
    base: Base = 10_000.0,
    factor: Factor = 8.0,
    context_length: TrainedLength = 4096,
    distance: Annotated[int, Between(64, 1 << 20)] = 65_536,
    likeness: Annotated[float, Between(0.1, 1)] = 1.0,
    sharpness: Annotated[float, Between(0.1, 4)] = 1.0,
    window: Window = 128,
    partial_rotary_factor: RotaryPart = 0.5,
    head_dim: HeadDim = 128,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Retrieval:
    """How surely one head with RoPE finds the key like its query, over the distance (kexue.fm/archives/10122, 9708, 8823).

    likeness: ρ, the like key is ρq + √(1 − ρ²) times another Gaussian vector; sharpness: times √d of the usual logits q·k/√d,
    for the attention alone; partial_rotary_factor: of proportional. Averages over 96 queries; given a query all is exact but the
    attention, whose denominator is put at its mean.
    """
    draw = np.random.default_rng(seed)
    power = draw.standard_normal((_QUERIES, head_dim // 2, 2)) ** 2
    power = power.sum(-1)  # |q_i|² of each pair
    length = power.sum(1, keepdims=True)
    m = np.unique(np.geomspace(1, distance, _DISTANCES).astype(np.int64))
    others = m[None].astype(float)  # n − 1
    found, share = [], [[], []]
    noise = math.sqrt(1 - likeness**2)
    for way in scalings:
        form, kind = (way, "none") if way in FORMS else ("", way)
        k = 1.0 if kind == "proportional" else factor
        theta = inverse_frequencies(
            head_dim,
            base,
            kind,
            factor=k,
            context_length=context_length,
            length=int(factor * context_length),
            partial_rotary_factor=partial_rotary_factor if kind == "proportional" else 1.0,
        ).numpy()
        scale = attention_factor(kind, factor, context_length) ** 2
        shown = shown_distance(m, form, window, factor)
        seen = np.minimum(others, window - 1) if form == "window" else others
        mean = likeness * power @ np.cos(theta[:, None] * np.nan_to_num(shown))
        chance = _greatest(mean / np.sqrt(length), noise, seen)
        found.append(np.where(np.isnan(shown), 0, chance).mean(0))
        for row, stretch in zip(
            share, (np.ones(len(m)), np.maximum(1, np.log(seen[0] + 1) / math.log(context_length))), strict=True
        ):
            by = sharpness * scale * stretch / math.sqrt(head_dim)
            # of n − 1 log-normal terms the mean; the like key's own noise likewise
            own = by * mean + (by * noise) ** 2 * length / 2
            rest = np.log(np.maximum(seen, 1e-9)) + by**2 * length / 2
            row.append(np.where(np.isnan(shown), 0, 1 / (1 + np.exp(np.clip(rest - own, -60, 60)))).mean(0))
    found = np.stack(found)
    low = found < 0.5
    return Retrieval(
        scalings=tuple(scalings),
        distance=m,
        found=found,
        attention=np.stack(share[0]),
        attention_log_n=np.stack(share[1]),
        reach=np.where(low.any(1), m[low.argmax(1)], -1),
        head_dim=head_dim,
        base=base,
        context_length=context_length,
        factor=factor,
    )


def _greatest(mean: np.ndarray, noise: float, others: np.ndarray) -> np.ndarray:
    """Chance that N(mean, noise²) is above `others` standard normal draws: E Φ(mean + noise·z)^others."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31) if noise else (np.zeros(1), np.ones(1))
    total = np.zeros(np.broadcast_shapes(mean.shape, others.shape))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        tail = torch.special.log_ndtr(torch.from_numpy(mean + noise * node)).numpy()
        total += weight * np.exp(others * tail)
    return total


def recall(
    model: Decoder,
    texts: torch.Tensor,
    scaling: str = "none",
    length: int = 128,
    places: int = 8,
    trials: int = 4,
    seed: int = 0,
    factor: float = 8.0,
    log_n: bool = False,
    window: int = 64,
) -> np.ndarray:
    """Share of a passkey's five letters that a decoder finds likeliest among all bytes, float64 [places, trials].

    " The key is QXWZR." stands at evenly spaced places of the text, and " The key is QXWZR" at its end; each letter is asked for with
    those before it given (arXiv 2305.16300, §4.2, in bytes). texts: integers [n, at least length], taken in turn
    """
    asked = len(LEAD) + KEY
    if length < 2 * asked + 2 or texts.shape[1] < length:
        raise Refusal(
            "{parameter} must be at least {least}, and no more than a text has.",
            parameter="length",
            least=2 * asked + 2,
        )
    rng, found = np.random.default_rng(seed), np.empty((places, trials))
    for p, start in enumerate(np.linspace(0, length - 2 * asked - 1, places).round().astype(int)):
        rows = texts[np.arange(trials) % len(texts), :length].numpy().astype(np.int64)
        keys = rng.integers(ord("A"), ord("Z"), size=(trials, KEY), endpoint=True)
        told = np.concatenate((np.tile(np.frombuffer(LEAD, np.uint8), (trials, 1)), keys), 1)
        rows[:, start : start + asked], rows[:, start + asked], rows[:, -asked:] = told, ord("."), told
        logits = position_logits(model, torch.from_numpy(rows), scaling, factor, None, log_n, window)
        found[p] = (logits[:, -KEY - 1 : -1].argmax(-1).numpy() == keys).mean(1)
    return found
