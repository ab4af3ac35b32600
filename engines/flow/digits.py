"""scikit-learn's 8 x 8 digits as tokens, their training, and what is measured of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines import digits
from engines.arguments import Refusal, number, one_of, whole
from engines.digits import SIDE
from engines.flow.tarflow import TarFlow, descend

LEVELS, TRAIN = 17, 1500
CLASSES = 10
PATCHES = ("2", "4")


class Split(NamedTuple):
    """Pictures [n, 64] in [-1, 1], float32, and labels [n], in a fixed random order: 1,500 to train on, 297 to test."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@cache
def split() -> Split:
    """The digits, cut once with seed 0."""
    parts = digits.split(TRAIN)
    return Split(*(torch.from_numpy(x) for ink, labels in parts for x in ((2 * ink - 1).astype(np.float32), labels)))


def of_each_label(rows: int = 1) -> Tensor:
    """Test pictures [10 rows, 64], a row of ten labels after another."""
    parts = split()
    found = torch.stack([parts.test[parts.test_labels == label][:rows] for label in range(CLASSES)])
    return found.transpose(0, 1).reshape(-1, SIDE * SIDE)


def to_tokens(pictures: Tensor, patch: int) -> Tensor:
    """[n, 64] -> [n, tokens, patch²]: the patches row by row."""
    side = whole("patch", patch, 1, SIDE)
    if SIDE % side:
        raise Refusal("{parameter} must divide {side}.", parameter="patch", side=SIDE)
    cut = pictures.reshape(-1, SIDE // side, side, SIDE // side, side)
    return cut.permute(0, 1, 3, 2, 4).reshape(len(pictures), -1, side * side)


def to_pictures(tokens: Tensor, patch: int) -> Tensor:
    """The inverse of `to_tokens`."""
    across = SIDE // patch
    cut = tokens.reshape(-1, across, across, patch, patch)
    return cut.permute(0, 1, 3, 2, 4).reshape(len(tokens), SIDE * SIDE)


def ink(pictures: Tensor) -> np.ndarray:
    """Pictures in [-1, 1] as ink, from 0 (white) to 1, float64."""
    return ((pictures.double() + 1) / 2).numpy()


def to_grey(pictures: Tensor, enlarge: int = 1) -> np.ndarray:
    """Pictures [n, 64] in [-1, 1] as uint8 [n, 8, 8, 3], dark on white; `enlarge` repeats each pixel."""
    return digits.as_pictures(ink(pictures), enlarge=enlarge)


def noised(pictures: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Pictures [n, 64] with Gaussian noise; at noise 0 with uniform noise as wide as a grey level (dequantisation)."""
    if noise:
        return pictures + noise * torch.randn(pictures.shape, generator=generator)
    return pictures + (torch.rand(pictures.shape, generator=generator) - 0.5) / 8


@cache
def real_recognised() -> float:
    """Share of the test pictures that the judge takes for their label."""
    return recognised(split().test, split().test_labels)


@cache
def judge():
    """A support vector machine that has learnt the training pictures: the independent judge of samples."""
    from sklearn.svm import SVC

    data = split()
    return SVC(gamma=0.02, C=10).fit(data.train.numpy(), data.train_labels.numpy())


def recognised(pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures [n, 64] that the judge takes for their label [n]."""
    return float((judge().predict(pictures.clamp(-1, 1).numpy()) == labels.numpy()).mean())


@cache
def test_law() -> digits.Normal:
    """The Gaussian of the test pictures, in ink."""
    return digits.normal(ink(split().test))


def frechet(pictures: Tensor) -> float:
    """Fréchet distance of pictures [n, 64] to the test pictures, in squared ink."""
    return digits.frechet(ink(pictures), test_law())


def nearest(pictures: Tensor) -> float:
    """Mean distance to the nearest training picture, in ink."""
    return float(torch.cdist(pictures, split().train).amin(1).mean() / 2)


def gaussian_nll(noise: float) -> float:
    """Nats a pixel of the noised test pictures under the Gaussian of the noised training pictures (one, no classes)."""
    data = split()
    variance = noise**2 if noise else 1 / 768
    train, test = data.train.double(), data.test.double()
    covariance = torch.cov(train.T, correction=0) + variance * torch.eye(64, dtype=torch.float64)
    centred = test - train.mean(0)
    inverse = torch.linalg.inv(covariance)
    square = ((centred @ inverse) * centred).sum(1).mean() + variance * inverse.trace()  # over the noise, exactly
    return float(0.5 * (square + torch.logdet(covariance) + 64 * math.log(2 * math.pi)) / 64)


def memory_nll(noise: float, seed: int = 0) -> float:
    """Nats a pixel of noised test pictures under the noised training set as a law; NaN without Gaussian noise."""
    if not noise:
        return math.nan
    data = split()
    x = noised(data.test, noise, torch.Generator().manual_seed(seed)).double()
    squares = torch.cdist(x, data.train.double()).square() / (2 * noise**2)
    log_q = torch.logsumexp(-squares, 1) - math.log(TRAIN) - 32 * math.log(2 * math.pi * noise**2)
    return float(-log_q.mean() / 64)


def noise_entropy(noise: float) -> float:
    """Nats a pixel of the noise alone: no density of noised pictures costs less."""
    return 0.5 * math.log(2 * math.pi * math.e * noise**2) if noise else -math.log(8)


def bits(nats: float) -> float:
    """Bits a pixel of 17 grey levels from nats a pixel over [-1, 1], under uniform dequantisation."""
    return (nats + math.log(8)) / math.log(2)


def make(patch: str = "4", channels: int = 96, blocks: int = 6, classes: int = CLASSES, seed: int = 0) -> TarFlow:
    """An untrained TARFLOW of the digits."""
    size = int(one_of("patch", patch, PATCHES))
    torch.manual_seed(seed)
    return TarFlow((SIDE // size) ** 2, size * size, channels, blocks, classes=classes)


def train(
    flow: TarFlow, patch: int, noise: float, steps: int, batch: int = 64, rate: float = 3e-3, seed: int = 0
) -> Iterator[tuple[int, float]]:
    """Fit the flow to the noised training pictures in place; yields (step, nats a pixel of the batch).

    One label in ten is withheld, so that the flow also learns pictures without one.
    Refusal if the loss or its gradient is no number; the weights are then those of the last good step.
    """
    number("noise", noise, 0, 10)
    data, generator = split(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-2)
    for step in range(steps):
        picks = torch.randint(TRAIN, (batch,), generator=generator)
        x = to_tokens(noised(data.train[picks], noise, generator), patch)
        labels = None
        if flow.classes:
            hidden = torch.rand(batch, generator=generator) < 0.1
            labels = torch.where(hidden, CLASSES, data.train_labels[picks])
        loss = -flow.log_prob(x, labels).mean() / 64
        now = rate * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        descend(flow, optimizer, loss, step + 1, now)
        yield step + 1, loss.item()


@torch.no_grad()
def test_nll(flow: TarFlow, patch: int, noise: float, told: bool = True, seed: int = 0) -> float:
    """Nats a pixel of the noised test pictures, told their labels or not."""
    data = split()
    x = to_tokens(noised(data.test, noise, torch.Generator().manual_seed(seed)), patch)
    return float(-flow.log_prob(x, data.test_labels if told and flow.classes else None).mean() / 64)


def sample(flow: TarFlow, patch: int, labels: Tensor, seed: int = 0, **how) -> Tensor:
    """A picture [n, 64] for each label, still noised."""
    z = torch.randn(len(labels), *flow.shape, generator=torch.Generator().manual_seed(seed))
    return to_pictures(flow.inverse(z, labels if flow.classes else None, **how), patch)


def denoised(flow: TarFlow, patch: int, pictures: Tensor, noise: float, labels: Tensor | None) -> Tensor:
    """Tweedie's step on pictures [n, 64]; without Gaussian noise they stay as they are."""
    if not noise:
        return pictures
    x = to_tokens(pictures, patch)
    return to_pictures(flow.denoise(x, noise, labels if flow.classes else None), patch)
