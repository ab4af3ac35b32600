"""Small networks side by side: every weight has a leading axis of rows (rules, seeds, episodes); and the digits they learn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TEST = 500  # images that are never trained on


class Digits(NamedTuple):
    """scikit-learn's 1,797 digits, shuffled once and cut. Shared: do not change.

    x: float32 [1297, 64]; grey levels of the training images, 0 to 1
    y: int64 [1297]; their digits
    test_x: float32 [500, 64]
    test_y: int64 [500]
    """

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@cache
def digits() -> Digits:
    """The digits (UCI optical recognition, 8 x 8 pixels), which come with scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.RandomState(0).permutation(len(found.target))
    x = torch.from_numpy(found.data[order] / 16).float()
    y = torch.from_numpy(found.target[order]).long()
    return Digits(x[TEST:], y[TEST:], x[:TEST], y[:TEST])


def initial(widths: Sequence[int], random: torch.Generator) -> list[Tensor]:
    """Kernel [in, out] and bias [out] of each layer: normal of variance 1/in, and 0."""
    made: list[Tensor] = []
    for inner, outer in itertools.pairwise(widths):
        made += [torch.randn(inner, outer, generator=random) / inner**0.5, torch.zeros(outer)]
    return made


def stack(networks: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Networks side by side: each weight [rows, ...]."""
    return [torch.stack(tensors) for tensors in zip(*networks, strict=True)]


def forward(weights: Sequence[Tensor], x: Tensor, activation: str = "tanh") -> Tensor:
    """Scores [rows, batch, out] of weights with a leading axis of rows, for x [batch, in] or [rows, batch, in].

    activation: "tanh" or "relu", after each layer but the last
    """
    rows = weights[0].shape[0]
    h = x.expand(rows, *x.shape[-2:])
    last = len(weights) - 2
    for i in range(0, len(weights), 2):
        h = torch.baddbmm(weights[i + 1][:, None], h, weights[i])
        if i < last:
            h = h.tanh() if activation == "tanh" else h.relu()
    return h


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """Mean loss of each row, [rows], for scores [rows, batch, classes] and targets [batch] or [rows, batch]."""
    rows, batch, classes = scores.shape
    target = target.expand(rows, batch).reshape(-1)
    return F.cross_entropy(scores.reshape(-1, classes), target, reduction="none").view(rows, batch).mean(1)


def accuracy(scores: Tensor, target: Tensor) -> Tensor:
    """Share of right answers of each row, [rows]."""
    return (scores.argmax(-1) == target).float().mean(-1)


@torch.no_grad()
def adam(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: list[tuple[Tensor, Tensor]],
    step: int,
    rate: float | Tensor,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> None:
    """One step of Adam (Kingma & Ba 2014, algorithm 1), in place; step from 1. torch.optim takes 2.3 s to import.

    moments: (first, second) of each weight; rate: of all rows, or [rows]
    """
    for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
        first.lerp_(gradient, 1 - beta1)
        second.lerp_(gradient.square(), 1 - beta2)
        size = rate if not isinstance(rate, Tensor) else rate.view(-1, *[1] * (weight.dim() - 1))
        weight -= size * (first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + epsilon)


def zero_moments(weights: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Adam's two moments of each weight before the first step."""
    return [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
