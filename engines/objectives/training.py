"""Small networks trained on scikit-learn's digits: two overlapping ones read at once, and a few among many labels.

All rules (or losses), both settings and all seeds train side by side as one batched model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Refusal, SomeOf, checked
from engines.objectives import labels as family
from engines.objectives.gradients import pair_weights
from engines.progress import Progress

TWO_RULES = ("sum", "initial", "log", "normalised", "min_norm", "pcgrad", "cagrad")
HELD_BACK = 500
OFFSET = 2  # columns between two overlapping digits


@lru_cache(1)
def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 digits [n, 8, 8] in 0..1, and their classes [n], in a fixed random order; the last 500 are for tests."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.data))
    return torch.tensor(found.images[order] / 16, dtype=torch.float32), torch.tensor(found.target[order])


class Adam:
    """Adam (Kingma, Ba 2014) on a list of tensors, in place: torch.optim takes seconds to import."""

    def __init__(self, weights: list[Tensor]):
        self.weights, self.step = weights, 0
        self.moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]

    def update(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step."""
        self.step += 1
        for weight, gradient, (first, second) in zip(self.weights, gradients, self.moments, strict=True):
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            scale = (second / (1 - 0.999**self.step)).sqrt_().add_(1e-8)
            weight.addcdiv_(first, scale, value=-rate / (1 - 0.9**self.step))


@dataclass(frozen=True)
class TwoDigits:
    """Accuracy of a network that reads two overlapping digits, as the left loss changes its unit; r rules, n seeds, k moments.

    rules: their keys [r]
    step: int64 [k]
    accuracy: float64 [r, 2, n, k, 2]; on test pairs: at (1, 0) and at (scale, shift), of the left and the right digit
    cosine: float64 [r, 2, k]; between the tasks' gradients in the shared layer, mean over the seeds and the steps since the moment before
    conflict: float64 [r, 2]; share of the steps in which it is below 0
    images: uint8 [6, 8, 10]; examples of the canvas
    scale: float; of the left loss
    shift: float; added to it
    """

    rules: tuple[str, ...]
    step: np.ndarray
    accuracy: np.ndarray
    cosine: np.ndarray
    conflict: np.ndarray
    images: np.ndarray
    scale: float
    shift: float


@checked
def two_digits(
    scale: Annotated[float, Between(1e-3, 1e3)] = 100.0,
    shift: Annotated[float, Between(0, 30)] = 0.0,
    rules: Annotated[Sequence[str], SomeOf(TWO_RULES)] = TWO_RULES,
    steps: Annotated[int, Between(100, 2000)] = 800,
    seeds: Annotated[int, Between(1, 5)] = 3,
    rate: Annotated[float, Between(1e-4, 0.03)] = 0.003,
    c: Annotated[float, Between(0, 0.95)] = 0.5,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[TwoDigits]]:
    """Train with L_left and with scale L_left + shift, once a rule and seed; yields a `TwoDigits` as it grows.

    A canvas of 8 x 10 pixels holds two digits that share six columns, the brighter pixel of both; 32 shared hidden units, a
    linear reader for each digit, Adam. initial weighs by 1 / the loss of the first step; each rule's weights act on the readers
    as on the shared layer, and its inner products are those of the shared layer.
    """
    rules = tuple(rules)
    images, classes = digits()
    count, hidden, batch = len(rules), 32, 64
    models = count * 2 * seeds
    random = torch.Generator().manual_seed(seed)

    def pairs(chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Canvases [..., 80] and classes [..., 2] of pairs [..., 2] of digits."""
        canvas = torch.zeros(*chosen.shape[:-1], 8, 8 + OFFSET)
        canvas[..., :8] = images[chosen[..., 0]]
        canvas[..., OFFSET:] = torch.maximum(canvas[..., OFFSET:], images[chosen[..., 1]])
        return canvas.flatten(-2), classes[chosen]

    def normal(*shape: int) -> Tensor:
        """The same start for every rule and setting: [rules * 2 * seeds, ...]."""
        drawn = torch.randn(seeds, *shape, generator=random) * (2 / shape[0]) ** 0.5
        return drawn.repeat(count * 2, *[1] * len(shape))

    into, left, right = normal(64 + 8 * OFFSET, hidden), normal(hidden, 10) / 2, normal(hidden, 10) / 2
    weights = [
        into,
        torch.zeros(models, 1, hidden),
        left,
        torch.zeros(models, 1, 10),
        right,
        torch.zeros(models, 1, 10),
    ]
    adam = Adam(weights)
    edge = len(images) - HELD_BACK
    tested, truth = pairs(torch.randint(edge, len(images), (600, 2), generator=random))
    stretch = torch.tensor([1.0, scale]).repeat_interleave(seeds).repeat(count)
    lift = torch.tensor([0.0, shift]).repeat_interleave(seeds).repeat(count)
    moments = sorted({round(steps * i / 12) for i in range(1, 13)})
    initial = None
    accuracy, cosines, cosine_sum, below, since = [], [], 0, torch.zeros(models), 0
    for step in range(1, steps + 1):
        x, y = pairs(torch.randint(edge, (seeds, batch, 2), generator=random))
        x, y = x.repeat(count * 2, 1, 1), y.repeat(count * 2, 1, 1)
        h = torch.baddbmm(weights[1], x, weights[0]).relu_()
        own, losses, parts = [], [], []  # of each task: gradient in the shared layer, loss, gradients of its reader
        for task in (0, 1):
            reader, bias = weights[2 + 2 * task], weights[3 + 2 * task]
            logits = torch.baddbmm(bias, h, reader).log_softmax(-1)
            target = y[..., task, None]
            losses.append(-logits.gather(-1, target)[..., 0].mean(-1))
            slope = logits.exp().scatter_add_(-1, target, -torch.ones_like(target, dtype=torch.float32)) / batch
            back = torch.bmm(slope, reader.transpose(1, 2)) * (h > 0)
            own.append(torch.cat([torch.bmm(x.transpose(1, 2), back), back.sum(1, keepdim=True)], 1))
            parts.append((torch.bmm(h.transpose(1, 2), slope), slope.sum(1, keepdim=True)))
        own[0] = own[0] * stretch[:, None, None]
        losses[0] = losses[0] * stretch + lift
        a, b, d = ((own[i] * own[j]).sum((1, 2)).double().numpy() for i, j in ((0, 0), (1, 1), (0, 1)))
        values = [value.double().numpy() for value in losses]
        initial = initial or values
        w = np.empty((2, models))
        for row, rule in enumerate(rules):
            here = slice(row * 2 * seeds, (row + 1) * 2 * seeds)
            at = initial if rule == "initial" else values
            key = "log" if rule == "initial" else rule
            w[:, here] = pair_weights(key, a[here], b[here], d[here], [value[here] for value in at], c)
        first, second = (torch.from_numpy(side).float()[:, None, None] for side in w)
        shared = first * own[0] + second * own[1]
        first = first * stretch[:, None, None]
        readers = [part * weight for task, weight in ((0, first), (1, second)) for part in parts[task]]
        adam.update([shared[:, :-1], shared[:, -1:], *readers], rate)
        cosine = torch.from_numpy(d / np.sqrt(np.maximum(a * b, 1e-300)))
        cosine_sum, below, since = cosine_sum + cosine, below + (cosine < 0), since + 1
        if step not in moments:
            continue
        h = torch.baddbmm(weights[1], tested.expand(models, -1, -1), weights[0]).relu_()
        right_ones = [
            (torch.baddbmm(weights[3 + 2 * t], h, weights[2 + 2 * t]).argmax(-1) == truth[:, t]).double().mean(-1)
            for t in (0, 1)
        ]
        accuracy.append(torch.stack(right_ones, -1).reshape(count, 2, seeds, 2))
        cosines.append((cosine_sum / since).reshape(count, 2, seeds).mean(-1))
        cosine_sum, since = 0, 0
        done = TwoDigits(
            rules,
            np.array(moments[: len(accuracy)]),
            torch.stack(accuracy, 3).numpy(),
            torch.stack(cosines, -1).numpy(),
            (below / step).reshape(count, 2, seeds).mean(-1).numpy(),
            (255 - 255 * tested[:6].reshape(6, 8, 8 + OFFSET)).to(torch.uint8).numpy(),
            scale,
            shift,
        )
        yield Progress(step, steps, done)


@dataclass(frozen=True)
class Imbalance:
    """Which of 10 digits is in which tile of a canvas: few labels of many are on; l losses, n seeds, k moments.

    losses: their keys [l]
    step: int64 [k]
    at_zero: float64 [l, n, k]; micro-F1 on test canvases with threshold 0
    at_best: float64 [l, n, k]; with the best threshold for that loss, chosen on other test canvases
    threshold: float64 [l, n, k]; that threshold
    pull: float64 [l, 2]; sum of the pulls on the labels that are on, and on the others, at the start (scores 0)
    labels: int; how many in all
    on: int; how many are on
    images: uint8 [4, h, w]; examples of the canvas
    """

    losses: tuple[str, ...]
    step: np.ndarray
    at_zero: np.ndarray
    at_best: np.ndarray
    threshold: np.ndarray
    pull: np.ndarray
    labels: int
    on: int
    images: np.ndarray


@checked
def imbalance(
    tiles: Annotated[int, Between(2, 24)] = 16,
    wanted: Annotated[int, Between(1, 4)] = 2,
    losses: Annotated[Sequence[str], SomeOf(tuple(family.LOSSES))] = ("zlpr", "bce", "focal"),
    steps: Annotated[int, Between(100, 2000)] = 600,
    seeds: Annotated[int, Between(1, 5)] = 3,
    rate: Annotated[float, Between(1e-4, 0.03)] = 0.003,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[Imbalance]]:
    """Train a network of 64 hidden units on canvases of `tiles` tiles, `wanted` of them with a digit, once a loss and seed.

    A label is a pair (tile, digit). Scores start at 0. Yields an `Imbalance` as it grows.
    """
    if wanted > tiles:
        raise Refusal("{parameter} must be at most {tiles}, the number of tiles.", parameter="wanted", tiles=tiles)
    losses = tuple(losses)
    images, classes = digits()
    count, hidden, batch, n = len(losses), 64, 64, tiles * 10
    edge = len(images) - HELD_BACK
    random = torch.Generator().manual_seed(seed)

    def canvases(sets: int, size: int, low: int, high: int) -> tuple[Tensor, Tensor]:
        """Canvases [sets, size, tiles * 64] and their labels [sets, size, n]."""
        place = torch.rand(sets, size, tiles, generator=random).argsort(-1)[..., :wanted]
        which = torch.randint(low, high, place.shape, generator=random)
        canvas = torch.zeros(sets, size, tiles, 64)
        canvas.scatter_(2, place[..., None].expand(-1, -1, -1, 64), images[which].flatten(-2))
        label = torch.zeros(sets, size, n).scatter_(2, place * 10 + classes[which], 1.0)
        return canvas.flatten(-2), label

    models = count * seeds
    into = torch.randn(seeds, tiles * 64, hidden, generator=random) * (2 / (64 * wanted)) ** 0.5 / 2
    weights = [
        into.repeat(count, 1, 1),
        torch.zeros(models, 1, hidden),
        torch.zeros(models, hidden, n),
        torch.zeros(models, 1, n),
    ]
    adam = Adam(weights)
    chosen, chosen_labels = canvases(1, 400, edge, len(images))
    tested, tested_labels = canvases(1, 600, edge, len(images))
    zeros, one = torch.zeros(1, n), torch.zeros(1, n)
    one[0, :wanted] = 1
    pulls = []
    for name in losses:
        at = zeros.clone().requires_grad_()
        pull = torch.autograd.grad(family.LOSSES[name](at, one).sum(), at)[0].abs()
        pulls.append([float((pull * one).sum()), float((pull * (1 - one)).sum())])

    def scores(x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.baddbmm(weights[1], x, weights[0]).relu()
        return h, torch.baddbmm(weights[3], h, weights[2])

    moments = sorted({round(steps * i / 12) for i in range(1, 13)})
    zero, best, thresholds = [], [], []
    for step in range(1, steps + 1):
        x, t = canvases(seeds, batch, 0, edge)
        x, t = x.repeat(count, 1, 1), t.repeat(count, 1, 1)
        h, s = scores(x)
        s.requires_grad_()
        total = sum(
            family.LOSSES[name](s[i * seeds : (i + 1) * seeds], t[i * seeds : (i + 1) * seeds]).sum()
            for i, name in enumerate(losses)
        )
        slope = torch.autograd.grad(total, s)[0] / batch
        back = torch.bmm(slope, weights[2].transpose(1, 2)) * (h > 0)
        gradients = [
            torch.bmm(x.transpose(1, 2), back),
            back.sum(1, keepdim=True),
            torch.bmm(h.transpose(1, 2), slope),
            slope.sum(1, keepdim=True),
        ]
        adam.update(gradients, rate)
        if step not in moments:
            continue
        found = scores(chosen.expand(models, -1, -1))[1].flatten(1)
        level = torch.stack([_best_threshold(row, chosen_labels.flatten()) for row in found])
        s = scores(tested.expand(models, -1, -1))[1]
        zero.append(_micro_f1(s > 0, tested_labels).reshape(count, seeds))
        best.append(_micro_f1(s > level[:, None, None], tested_labels).reshape(count, seeds))
        thresholds.append(level.reshape(count, seeds))
        shown = 1 - tested[0, :4].reshape(4, tiles, 8, 8)
        columns = min(tiles, 8)
        rows = -(-tiles // columns)
        padded = torch.cat([shown, torch.full((4, rows * columns - tiles, 8, 8), 0.75)], 1)
        padded[:, :, 0, :] = padded[:, :, 0, :].clamp(max=0.85)
        padded[:, :, :, 0] = padded[:, :, :, 0].clamp(max=0.85)
        picture = padded.reshape(4, rows, columns, 8, 8).permute(0, 1, 3, 2, 4).reshape(4, rows * 8, columns * 8)
        done = Imbalance(
            losses,
            np.array(moments[: len(zero)]),
            *(torch.stack(kept, -1).double().numpy() for kept in (zero, best, thresholds)),
            np.array(pulls),
            n,
            wanted,
            (255 * picture).to(torch.uint8).numpy(),
        )
        yield Progress(step, steps, done)


def _micro_f1(said: Tensor, labels: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN) over all labels of said [models, ...]."""
    hits = (said * labels).flatten(1).sum(1)
    return 2 * hits / (said.float().flatten(1).sum(1) + labels.sum()).clamp_min(1)


def _best_threshold(scores: Tensor, labels: Tensor) -> Tensor:
    """The threshold with the highest micro-F1 of scores [m]: midway between two scores."""
    order = scores.argsort(descending=True)
    hits = labels[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + labels.sum())
    at = int(f1.argmax())
    after = scores[order[min(at + 1, len(order) - 1)]]
    return (scores[order[at]] + after) / 2
