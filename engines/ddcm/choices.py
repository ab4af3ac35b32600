"""Which noise of a codebook to take: the one of largest inner product, or one drawn by importance sampling.

K noises come from DDPM's own step p(x_s | x_t); DDPM's forward process, run backwards from the picture x0, is q(x_s | x_t, x0).
Both are normal with the same variance and differ in the mean by δ standard deviations along the residual r = x0 − x̂0, so the
weight q/p of a noise z is e^(δ ⟨z, r⟩/‖r‖) up to a constant. A noise drawn with a probability proportional to it has, as K grows,
the distribution of q (sampling importance resampling); the one of largest weight, which DDCM takes, has another.

The source is N(0, I), whose best denoiser is known. Only the K inner products of a step matter, so they are drawn instead of noises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import numpy as np
import torch

from engines.arguments import Between, OneOf, checked
from engines.ddcm.codec import timesteps
from engines.ddcm.experiments import Seed
from engines.ddcm.gaussian import SCHEDULES

RULES = ("largest", "sampled")
SIZES = (1, 4, 16, 64, 256, 1024)
VALUES, SOURCES = 1024, 256  # of the states, at least, that their distribution is taken from; of the vectors, at least
EDGES = np.linspace(-5, 5, 51)


class Move(NamedTuple):
    """One step of the walk for N(0, I): x_s = gain x_t + pull r + spread z.

    gain, spread: of the state and of the noise; pull: of the residual in the mean of q; before, after: ᾱ of x_t and of x_s
    """

    gain: float
    spread: float
    pull: float
    before: float
    after: float


def moves(steps: int, schedule: str) -> list[Move]:
    """The T − 1 steps that take a noise."""
    alphas_cumprod = SCHEDULES[schedule]()
    found = []
    for alpha_t, alpha_s in pairwise(alphas_cumprod[timesteps(steps, len(alphas_cumprod))]):
        beta = 1 - alpha_t / alpha_s
        pull = math.sqrt(alpha_s) * beta / (1 - alpha_t)
        gain = pull * math.sqrt(alpha_t) + math.sqrt(alpha_t / alpha_s) * (1 - alpha_s) / (1 - alpha_t)
        found.append(Move(gain, math.sqrt(beta * (1 - alpha_s) / (1 - alpha_t)), pull, float(alpha_t), float(alpha_s)))
    return found


@dataclass(frozen=True)
class ChoiceLaw:
    """What is decoded where the noise is the best of K, and where it is drawn by importance sampling.

    codebook_size: int64 [B]; K
    distance: float64 [2, B, T − 1]; Wasserstein distance of the distribution of ε = (x − √ᾱ x0)/√(1 − ᾱ), a number of the state after each
        choice, to N(0, 1), its distribution in DDPM's forward process; for each of RULES
    chance: float; the same distance for as many draws from N(0, 1): what counts as none
    error: float64 [2, B]; mean squared error of the decoded vector, a number
    uniform_bits: float64 [B]; bits of a code with an index of log2 K bits for each choice
    coded_bits: float64 [B]; the same distribution with the noises in an order by which small indices are likelier, and a code for that
    least_bits: float, bits; Σ KL(q, p) over the steps of DDPM's forward process
    step_bits: float64 [T − 1], bits; its terms
    edges: float64 [51]; of a histogram's bins
    density: float64 [2, B, 50]; of ε in the last state
    noise_level: float64 [T − 1]; √(1 − ᾱ) of the states
    variance: float; ᾱ of the last state
    size: int; numbers of a source
    steps: int; T
    """

    codebook_size: np.ndarray
    distance: np.ndarray
    chance: float
    error: np.ndarray
    uniform_bits: np.ndarray
    coded_bits: np.ndarray
    least_bits: float
    step_bits: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    noise_level: np.ndarray
    variance: float
    size: int
    steps: int


@checked
def choice_law(
    size: Annotated[int, Between(1, 256)] = 1,
    steps: Annotated[int, Between(3, 50)] = 20,
    schedule: Annotated[str, OneOf(tuple(SCHEDULES))] = "cosine",
    seed: Seed = 0,
) -> ChoiceLaw:
    """Encode draws from N(0, I) with fresh noises at each step and K from 1 to 1,024, by both rules.

    coded_bits: ordered random coding (Theis and Yosri 2022, "Algorithms for the communication of samples", arXiv 2110.12805): the
    i-th of the noises is matched with the i-th of K ascending exponential variables; the least variable over weight is taken, which
    draws by weight. Its index is coded by a power law with exponent 1 + 1/(KL + log2(e)/e + 1) (Li and El Gamal 2018).
    """
    path = moves(steps, schedule)
    rng = np.random.default_rng(seed)
    count = max(-(-VALUES // size), SOURCES)
    source = rng.standard_normal((count, size))
    x = np.broadcast_to(rng.standard_normal((count, size)), (2, len(SIZES), count, size)).copy()
    coded, distance = np.zeros(len(SIZES)), np.zeros((2, len(SIZES), steps - 1))
    for i, move in enumerate(path):
        along = rng.standard_normal((count, SIZES[-1]), np.float32)
        waits = rng.standard_exponential((count, SIZES[-1]), np.float32)
        noise = rng.standard_normal((count, size))
        residual = source - math.sqrt(move.before) * x
        length = np.maximum(np.linalg.norm(residual, axis=-1, keepdims=True), 1e-30)
        delta = move.pull * length[..., 0] / move.spread
        direction = residual / length
        chosen = np.empty((2, len(SIZES), count))
        for j, k in enumerate(SIZES):
            chosen[0, j] = along[:, :k].max(1)
            ascending = np.cumsum(waits[:, :k] / np.arange(k, 0, -1, dtype=np.float32), axis=1)
            index = np.argmin(np.log(ascending) - delta[1, j, :, None].astype(np.float32) * along[:, :k], axis=1)
            chosen[1, j] = along[np.arange(count), index]
            coded[j] += power_law_bits(index + 1, k, float((delta[1, j] ** 2).mean()) / 2 / math.log(2))
        across = noise - (noise * direction).sum(-1, keepdims=True) * direction
        x = move.gain * x + move.spread * (across + chosen[..., None] * direction)
        noise = (x - math.sqrt(move.after) * source) / math.sqrt(1 - move.after)
        distance[..., i] = [[to_normal(values.ravel()) for values in rule] for rule in noise]
    step_bits = least_bits(size, steps, schedule)
    width = EDGES[1] - EDGES[0]
    return ChoiceLaw(
        codebook_size=np.array(SIZES),
        distance=distance,
        chance=float(np.mean([to_normal(rng.standard_normal(count * size)) for _ in range(8)])),
        error=((math.sqrt(move.after) * x - source) ** 2).mean((-2, -1)),
        uniform_bits=(steps - 1) * np.log2(SIZES),
        coded_bits=coded,
        least_bits=float(step_bits.sum()),
        step_bits=step_bits,
        edges=EDGES,
        density=np.array(
            [[np.histogram(values, EDGES)[0] / (values.size * width) for values in rule] for rule in noise]
        ),
        noise_level=np.sqrt([1 - move.after for move in path]),
        variance=move.after,
        size=size,
        steps=steps,
    )


def least_bits(size: int, steps: int, schedule: str) -> np.ndarray:
    """KL(q, p) of each step [T − 1], in bits, on average: ‖r‖² has the mean size (1 − ᾱ_t) under DDPM's forward process."""
    return np.array(
        [
            size * (1 - move.before) * (move.pull / move.spread) ** 2 / (2 * math.log(2))
            for move in moves(steps, schedule)
        ]
    )


def power_law_bits(index: np.ndarray, size: int, bits: float) -> float:
    """Mean bits of indices from 1 to `size`, by a code for the distribution that is proportional to index^−(1 + 1/(bits + log2(e)/e + 1))."""
    exponent = 1 + 1 / (bits + 1 / (math.e * math.log(2)) + 1)
    total = (np.arange(1, size + 1) ** -exponent).sum()
    return float(exponent * np.log2(index).mean() + math.log2(total))


def to_normal(values: np.ndarray) -> float:
    """The Wasserstein distance W2 of values [n] to N(0, 1): sorted values against its quantiles."""
    middle = (torch.arange(len(values), dtype=torch.float64) + 0.5) / len(values)
    return float(np.sqrt(((np.sort(values) - torch.special.ndtri(middle).numpy()) ** 2).mean()))
