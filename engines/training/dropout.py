"""Dropped gradients: what they do to the update of one weight, and ChildTuning on few noisy labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked, whole
from engines.networks import accuracy, adam, cross_entropy, digits, forward, initial, stack, zero_moments
from engines.progress import Progress
from engines.training.formulas import dropout_moments

CHAINS = 64
TUNINGS = ("plain", "f", "d", "update", "smaller")


@dataclass(frozen=True)
class Dropout:
    """The stationary update of one weight whose gradient or update is kept with probability p.

    keep: float64 [G]; p along the curves
    mean: float64 [2, G]; closed form of the update's mean: gradient dropped, update dropped
    variance: float64 [2, G]; closed form of its variance
    simulated: float64 [K]; p of the simulations; the first is 1, the last one as asked for
    simulated_mean: float64 [K]; mean of the simulated updates
    mean_error: float64 [K]; its standard error over 64 chains
    simulated_variance: float64 [K]; variance of them
    variance_error: float64 [K]; its standard error
    edges: float64 [B + 1]; of the histogram's bins
    density: float64 [K, B]; histogram of each simulation
    p: float; drop: str; optimiser: str; as asked for
    """

    keep: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    simulated: np.ndarray
    simulated_mean: np.ndarray
    mean_error: np.ndarray
    simulated_variance: np.ndarray
    variance_error: np.ndarray
    edges: np.ndarray
    density: np.ndarray
    p: float
    drop: str
    optimiser: str


@checked
def dropout(
    p: Annotated[float, Between(0.05, 1)] = 0.3,
    optimiser: Annotated[str, OneOf(("sgd", "adam"))] = "adam",
    drop: Annotated[str, OneOf(("gradient", "update"))] = "gradient",
    mean: Annotated[float, Between(0, 3)] = 1.0,
    noise: Annotated[float, Between(0, 4)] = 1.0,
    beta1: Annotated[float, Between(0, 0.99)] = 0.9,
    beta2: Annotated[float, Between(0.9, 0.9999)] = 0.999,
    draws: Annotated[int, Between(1000, 100_000)] = 20_000,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Dropout:
    """Closed forms (β₂ → 1) beside simulated updates, for normal gradients of this mean and standard deviation `noise`."""
    if mean == 0 and noise == 0:
        raise Refusal("{parameter} must not be 0 where the mean is 0: every gradient is then 0.", parameter="noise")
    keep = np.linspace(0.05, 1, 96)
    closed = np.array(
        [[dropout_moments(mean, noise, k, optimiser, kind, beta1) for k in keep] for kind in ("gradient", "update")]
    )
    at = np.linspace(1, 0.1, 10)
    at = np.append(at[(np.abs(at - p) > 0.04) | (at == 1)], p)
    rng = np.random.default_rng(seed)
    updates = [simulate(mean, noise, k, optimiser, drop, beta1, beta2, draws, rng) for k in at]
    low, high = np.quantile(np.concatenate((updates[0], updates[-1]), axis=None), (0.002, 0.998))
    edges = np.linspace(low - 1e-3, high + 1e-3, 61)
    first, first_error, second, second_error = np.array([_moments(some) for some in updates]).T
    return Dropout(
        keep,
        closed[..., 0],
        closed[..., 1],
        at,
        first,
        first_error,
        second,
        second_error,
        edges,
        np.array([np.histogram(some, edges)[0] / some.size / np.diff(edges) for some in updates]),
        p,
        drop,
        optimiser,
    )


def simulate(mean, noise, p, optimiser, drop, beta1, beta2, draws, rng) -> np.ndarray:
    """Updates [64, draws / 64] of 64 chains once Adam's averages have run in; v starts at its mean."""
    from scipy.signal import lfilter

    warm = 0 if optimiser == "sgd" else int(min(12 / (1 - beta1) + 2 / (1 - beta2), 4000))
    shape = (CHAINS, warm + math.ceil(draws / CHAINS))
    kept = (rng.random(shape) < p) / p
    g = mean + noise * rng.standard_normal(shape)
    if optimiser == "sgd":
        return g * kept
    if drop == "gradient":
        g = g * kept
    square = (mean**2 + noise**2) / (p if drop == "gradient" else 1)
    first = lfilter([1 - beta1], [1, -beta1], g, zi=np.full((CHAINS, 1), beta1 * mean))[0]
    second = lfilter([1 - beta2], [1, -beta2], g**2, zi=np.full((CHAINS, 1), beta2 * square))[0]
    update = first / np.sqrt(np.maximum(second, 1e-300))
    return (update * kept if drop == "update" else update)[:, warm:]


def _moments(updates: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, its standard error, variance, its standard error, from chains [64, T]."""
    centre = updates.mean()
    spread = ((updates - centre) ** 2).mean(1)
    root = math.sqrt(len(updates))
    return centre, updates.mean(1).std(ddof=1) / root, spread.mean(), spread.std(ddof=1) / root


def fisher(weights: Sequence[Tensor], x: Tensor, y: Tensor, batch: int = 1) -> list[Tensor]:
    """Mean squared gradients of the cross-entropy, like the weights [rows, ...]: the diagonal of the empirical Fisher matrix.

    x: [rows, n, in]; y: int64 [rows, n]; batch: the gradients that are squared are means over this many examples in turn (1 is
    Fisher's; ChildTuning's own code squares those of batches)
    """
    if not isinstance(x, Tensor) or x.dim() != 3 or not isinstance(y, Tensor) or y.shape != x.shape[:2]:
        raise Refusal("{parameter} must be a tensor [rows, n, inputs] with a target each in y.", parameter="x")
    batch = whole("batch", batch, 1, x.shape[1])
    h, inputs, sums = x, [], []
    for i in range(0, len(weights), 2):
        inputs.append(h)
        sums.append(torch.baddbmm(weights[i + 1][:, None], h, weights[i]).requires_grad_())
        h = sums[-1].tanh()
    # the chain again, so that the gradient at each layer's sum is that of the loss through all later ones
    delta = sums[-1].detach().softmax(-1) - torch.nn.functional.one_hot(y, sums[-1].shape[-1])
    found: list[Tensor] = []
    for i in range(len(inputs) - 1, -1, -1):
        shape = (x.shape[1] // batch, batch)  # as many whole batches as there are
        inner, outer = (tensor[:, : shape[0] * batch].unflatten(1, shape) for tensor in (inputs[i].detach(), delta))
        kernel = torch.einsum("rgbi,rgbo->rgio", inner, outer) / batch
        bias = outer.mean(2)
        found = [kernel.square().mean(1), bias.square().mean(1), *found]
        if i:
            delta = delta @ weights[2 * i].detach().mT * (1 - inputs[i].detach().square())
    return found


@dataclass(frozen=True)
class Child:
    """Fine-tuning under M ways, E episodes side by side, T moments.

    tunings: plain; f and d, ChildTuning's random and fixed masks; update, dropped updates; smaller, plain with √p times the rate
    step: int64 [T]
    accuracy: float64 [M, T]; share of right answers on held-back images, mean over the episodes
    gain: float64 [M, T]; paired difference to plain fine-tuning
    gain_error: float64 [M, T]; its standard error over the episodes
    last: float64 [M, E]; paired difference of each episode at the end
    twins: float64 [3]; f minus smaller at the end: mean, standard error; correlation over the episodes
    episodes: int; labels: int; wrong: float; p: float; as asked for
    """

    tunings: tuple[str, ...]
    step: np.ndarray
    accuracy: np.ndarray
    gain: np.ndarray
    gain_error: np.ndarray
    last: np.ndarray
    twins: np.ndarray
    episodes: int
    labels: int
    wrong: float
    p: float


@cache
def pretrained() -> tuple[Tensor, ...]:
    """A 64-64-64-5 network after 300 steps of Adam on the digits 0 to 4."""
    data, random = digits(), torch.Generator().manual_seed(0)
    weights, few = stack([initial((64, 64, 64, 5), random)]), data.y < 5
    x, y, moments = data.x[few], data.y[few], zero_moments(weights)
    for step in range(1, 301):
        chosen = torch.randint(len(x), (64,), generator=random)
        leaves = [w.requires_grad_() for w in weights]
        gradients = torch.autograd.grad(cross_entropy(forward(leaves, x[chosen]), y[chosen]).sum(), leaves)
        weights = [w.detach() for w in leaves]
        adam(weights, gradients, moments, step, 3e-3)
    return tuple(w[0] for w in weights)


@checked
def child(
    labels: Annotated[int, Between(10, 300)] = 100,
    wrong: Annotated[float, Between(0, 0.5)] = 0.3,
    p: Annotated[float, Between(0.05, 1)] = 0.3,
    learning_rate: Annotated[float, Between(1e-4, 0.03)] = 3e-3,
    steps: Annotated[int, Between(50, 500)] = 200,
    episodes: Annotated[int, Between(4, 32)] = 12,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Child]]:
    """Fine-tune a network that knows the digits 0 to 4 on a few labels of 5 to 9, some of them wrong; yields a `Child`.

    ChildTuning (Xu et al., arXiv 2109.05687): f multiplies each gradient by e/p, e = 1 with probability p; d keeps the share p of
    the entries with the largest Fisher information, undivided. update divides and drops Adam's update instead. smaller is
    plain Adam at √p times the rate. All ways of an episode see the same labels, batches and new head.
    """
    data, random = digits(), torch.Generator().manual_seed(seed)
    later, ways = data.y >= 5, len(TUNINGS)
    pool_x, pool_y = data.x[later], data.y[later] - 5
    known = data.test_y >= 5
    test_x, test_y = data.test_x[known], data.test_y[known] - 5
    x, y, networks = [], [], []
    for _ in range(episodes):
        chosen = torch.randperm(len(pool_x), generator=random)[:labels]
        target = pool_y[chosen].clone()
        flipped = torch.randperm(labels, generator=random)[: round(wrong * labels)]
        target[flipped] = (target[flipped] + torch.randint(1, 5, (len(flipped),), generator=random)) % 5
        x.append(pool_x[chosen])
        y.append(target)
        networks.append([*pretrained()[:4], *initial((64, 5), random)])
    x, y, own = torch.stack(x), torch.stack(y), stack(networks)
    masks = _largest(fisher(own, x, y), p)
    weights = [w.repeat(ways, *[1] * (w.dim() - 1)) for w in own]  # way by way
    part = {name: slice(i * episodes, (i + 1) * episodes) for i, name in enumerate(TUNINGS)}
    rate = torch.full((ways * episodes,), learning_rate)
    rate[part["smaller"]] *= math.sqrt(p)
    moments, batch = zero_moments(weights), min(32, labels)
    every, at, right = max(1, math.ceil(steps / 20)), [], []
    row = torch.arange(episodes)[:, None]
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                at.append(step)
                right.append(accuracy(forward(weights, test_x), test_y).view(ways, episodes).double())
            if step and step < steps and len(at) % 4 == 0:
                yield Progress(step, steps, _child(at, right, episodes, labels, wrong, p))
        if step == steps:
            break
        chosen = torch.randint(labels, (episodes, batch), generator=random)
        leaves = [w.requires_grad_() for w in weights]
        scores = forward(leaves, x[row, chosen].repeat(ways, 1, 1))
        gradients = torch.autograd.grad(cross_entropy(scores, y[row, chosen].repeat(ways, 1)).sum(), leaves)
        weights, gradients = [w.detach() for w in leaves], list(gradients)
        before = [w[part["update"]].clone() for w in weights]
        for gradient, mask in zip(gradients, masks, strict=True):
            kept = torch.rand(mask.shape, generator=random) < p
            gradient[part["f"]] *= kept / p
            gradient[part["d"]] *= mask
        adam(weights, gradients, moments, step + 1, rate)
        for weight, old in zip(weights, before, strict=True):
            kept = torch.rand(old.shape, generator=random) < p
            weight[part["update"]] = old + (weight[part["update"]] - old) * kept / p
    yield Progress(steps, steps, _child(at, right, episodes, labels, wrong, p))


def _largest(information: list[Tensor], p: float) -> list[Tensor]:
    """Which entries of each row's network are among the share p with the largest information, bool like it."""
    flat = torch.cat([tensor.flatten(1) for tensor in information], 1)
    count = max(1, round(p * flat.shape[1]))
    least = flat.topk(count, 1).values[:, -1]
    return [tensor >= least.view(-1, *[1] * (tensor.dim() - 1)) for tensor in information]


def _child(at, right, episodes, labels, wrong, p) -> Child:
    found = torch.stack(right, -1)  # [M, E, T]
    paired = found - found[:1]
    error = paired.std(1) / math.sqrt(episodes)
    last = paired[..., -1]
    f, smaller = last[TUNINGS.index("f")], last[TUNINGS.index("smaller")]
    apart = f - smaller
    together = torch.stack((f, smaller))
    correlation = torch.corrcoef(together)[0, 1] if (together.std(1) > 0).all() else torch.tensor(math.nan)
    twins = np.array([apart.mean(), apart.std() / math.sqrt(episodes), correlation])
    return Child(
        TUNINGS, np.array(at), found.mean(1).numpy(), paired.mean(1).numpy(), error.numpy(), last.numpy(), twins,
        episodes, labels, wrong, p,
    )  # fmt: skip
