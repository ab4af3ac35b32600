"""Averages of weights: exponential, power and uniform, exact on a quadratic, measured on digits; and averages made afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked, items, number
from engines.networks import adam, cross_entropy, digits, forward, initial, stack
from engines.progress import Progress
from engines.training.formulas import power_ema_gamma
from engines.training.plane import Plane, plane

AVERAGES = ("raw", "ema", "power", "uniform")
GRID = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3)  # relative widths that are averaged directly
STORED = (0.05, 0.1)  # relative widths that are kept for averages made afterwards
SEEDS = 3
CURVATURE, NOISE, FAR, CHAINS = 10.0, 10.0, 3.0, 1000  # of the quadratic: h, noise of a gradient, start, coordinates
WIDTHS = (64, 64, 64, 10)


def power_decay(gamma: float, step: int) -> float:
    """β_t = (1 - 1/t)^{γ+1}: averages with it weigh step τ like τ^γ."""
    return (1 - 1 / step) ** (gamma + 1)


def exact_loss(decays: Sequence[float], rates: Sequence[float]) -> np.ndarray:
    """Expected ½h y_t² of an average y of x on the quadratic, float64 [steps + 1], by recursion of the second moments.

    x ← (1 - rate) x + noise, y ← β_t y + (1 - β_t) x with the decays β_t, both starting at 3; rates: learning rate times
    curvature at each step.
    """
    decays, rates = items("decays", decays, 10**6), items("rates", rates, 10**6)
    if len(decays) != len(rates):
        raise Refusal("{parameter} must have as many entries as there are decays.", parameter="rates")
    xx = xy = yy = FAR**2
    found = [yy]
    for beta, rate in zip(decays, rates, strict=True):
        beta, rate = number("decays", beta, 0, 1), number("rates", rate, 0, 2)
        phi, step_noise = 1 - rate, (rate / CURVATURE * NOISE) ** 2
        moved = phi * xy  # E[x_t y_{t-1}]
        xx = phi**2 * xx + step_noise
        yy = beta**2 * yy + 2 * beta * (1 - beta) * moved + (1 - beta) ** 2 * xx
        xy = beta * moved + (1 - beta) * xx
        found.append(yy)
    return 0.5 * CURVATURE * np.array(found)


def post_hoc_weights(times: Sequence[float], gammas: Sequence[float], time: float, gamma: float) -> np.ndarray:
    """Weights float64 [n] of n stored power averages that come nearest to the one of `gamma` at `time` (Karras et al. 2023,
    appendix C.2): least squares between their profiles, p(τ) = (γ+1) τ^γ / t^{γ+1} up to t.
    """
    t = np.array([number("times", value, 1e-9, 1e12) for value in items("times", times, 1000)])
    if len(items("gammas", gammas, 1000)) != len(t):
        raise Refusal("{parameter} must have an entry for each time.", parameter="gammas")
    g = np.array([number("gammas", value, -0.5, 1e6) for value in gammas])
    time, gamma = number("time", time, 1e-9, 1e12), number("gamma", gamma, -0.5, 1e6)

    def overlap(ta, ga, tb, gb):
        # ∫ p_a p_b, the powers taken of ratios so that nothing overflows
        low = np.minimum(ta, tb)
        return (ga + 1) * (gb + 1) / (ga + gb + 1) * (low / ta) ** ga * (low / tb) ** gb * low / (ta * tb)

    gram = overlap(t[:, None], g[:, None], t, g)
    return np.linalg.lstsq(gram, overlap(t, g, time, gamma), rcond=1e-12)[0]


@dataclass(frozen=True)
class Averaging:
    """Averages over training; A averages (raw, ema, power, uniform), T moments, G relative widths.

    averages: keys of the averages
    step: int64 [T]
    loss: float64 [A, T]; test loss (quadratic: ½h x²), mean of three seeds
    error: float64 [A, T]; standard error over the seeds
    exact: float64 [A, T]; expected loss in closed form (quadratic; NaN for digits)
    sigma: float64 [G]; relative widths σ_rel
    direct: float64 [G]; loss of the power average of each, made during training
    post_hoc: float64 [G]; loss of the one made afterwards from the stored averages
    distance: float64 [G]; |post-hoc - direct| / |last weights - direct|
    moment: float64 [P]; step over all steps
    profile: float64 [4, P]; weight of each step in the ema, power, uniform and post-hoc average, times the steps
    against: float64 [2, A]; each average's last loss minus that of the last weights: mean, standard error
    plane: Plane of the first seed's weights, A paths (raw, ema, power, uniform) over the last part of training; of the quadratic, the
        plane of its first two coordinates
    plane_step: int64 [M]; the M steps of these paths
    sigma_rel: float; source: str; snapshots: int; as asked for
    """

    averages: tuple[str, ...]
    step: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    sigma: np.ndarray
    direct: np.ndarray
    post_hoc: np.ndarray
    distance: np.ndarray
    moment: np.ndarray
    profile: np.ndarray
    against: np.ndarray
    plane: Plane
    plane_step: np.ndarray
    sigma_rel: float
    source: str
    snapshots: int


@checked
def averaging(
    source: Annotated[str, OneOf(("digits", "quadratic"))] = "digits",
    schedule: Annotated[str, OneOf(("constant", "linear"))] = "constant",
    decay: Annotated[float, Between(0.9, 0.9999)] = 0.997,
    sigma_rel: Annotated[float, Between(0.03, 0.3)] = 0.15,
    snapshots: Annotated[int, Between(2, 16)] = 8,
    learning_rate: Annotated[float, Between(1e-3, 0.1)] = 0.01,
    optimiser: Annotated[str, OneOf(("adam", "sgd"))] = "adam",
    batch: Annotated[int, Between(8, 256)] = 64,
    steps: Annotated[int, Between(100, 2000)] = 1000,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Averaging]]:
    """Average the weights of one run in several ways; yields an `Averaging`.

    digits: a 64-64-64-10 network, with 20 times the learning rate for sgd. quadratic: sgd on ½h x² with h = 10, noise of
    standard deviation 10 in the gradient, from 3, a thousand coordinates.
    """
    random, data = torch.Generator().manual_seed(seed), digits()
    gamma = power_ema_gamma(sigma_rel)
    gammas = [power_ema_gamma(s) for s in (*GRID, *STORED)]
    if source == "digits":
        start = stack([initial(WIDTHS, random) for _ in range(SEEDS)])
        shapes = [w.shape[1:] for w in start]
        theta = torch.cat([w.flatten(1) for w in start], 1)
    else:
        shapes, theta = [(CHAINS,)], torch.full((SEEDS, CHAINS), FAR)
    sizes = [math.prod(shape) for shape in shapes]

    def losses(flat: Tensor) -> Tensor:
        """[S] of weights [S, P]."""
        if source == "quadratic":
            return 0.5 * CURVATURE * flat.double().square().mean(1)
        weights = [w.unflatten(1, shape) for w, shape in zip(flat.split(sizes, 1), shapes, strict=True)]
        return cross_entropy(forward(weights, data.test_x), data.test_y).double()

    mean = theta.expand(3 + len(gammas), *theta.shape).clone()  # ema, power, uniform, then the grid and the stored
    moments = [(torch.zeros_like(theta), torch.zeros_like(theta))]
    every, at, curve, stored, decays = max(1, steps // 25), [], [], [], []
    walked, places = [], []  # the last part of it is drawn: before, all is far away
    kept = {round(steps * (i + 1) / snapshots) for i in range(snapshots)}
    rates = [learning_rate * (1 - t / steps if schedule == "linear" else 1) for t in range(steps)]
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                at.append(step)
                curve.append(torch.stack([losses(flat) for flat in (theta, *mean[:3])]))
        if step == steps:
            break
        if source == "digits":
            chosen = torch.randint(len(data.x), (SEEDS, batch), generator=random)
            leaf = theta.requires_grad_()
            weights = [w.unflatten(1, shape) for w, shape in zip(leaf.split(sizes, 1), shapes, strict=True)]
            (gradient,) = torch.autograd.grad(
                cross_entropy(forward(weights, data.x[chosen]), data.y[chosen]).sum(), leaf
            )
            theta = leaf.detach()
        else:
            gradient = CURVATURE * theta + NOISE * torch.randn(theta.shape, generator=random)
        with torch.no_grad():
            if source == "digits" and optimiser == "adam":
                adam([theta], [gradient], moments, step + 1, rates[step])
            else:
                theta = theta - rates[step] * (20 if source == "digits" else 1) * gradient
            beta = [decay, *(power_decay(g, step + 1) for g in (gamma, 0.0, *gammas))]
            decays.append(beta[:3])
            mean.lerp_(theta.expand_as(mean), 1 - torch.tensor(beta).view(-1, 1, 1))
            if step + 1 > 0.4 * steps and (step + 1 - steps) % max(1, steps // 100) == 0:
                walked.append(step + 1)
                places.append(torch.stack([theta[0], *mean[:3, 0]]))
            if step + 1 in kept:
                stored.append((step + 1, mean[-2:].clone()))
        if source == "digits" and (step + 1) % max(1, steps // 8) == 0 and step + 1 < steps:
            yield Progress(step + 1, steps, None)

    axes = None if source == "digits" else torch.eye(2, theta.shape[1])

    def plane_loss(flat: Tensor) -> Tensor:
        return losses(flat) if axes is None else 0.5 * CURVATURE * flat[:, :2].square().mean(1)

    seen = plane(torch.stack(places, 1), plane_loss, axes)
    with torch.no_grad():
        loss = torch.stack(curve, -1)  # [A, S, T]
        times = np.repeat([t for t, _ in stored], 2).astype(float)
        kinds = np.tile(gammas[-2:], len(stored))
        pile = torch.cat([pair for _, pair in stored]).double()  # [2 K, S, P]
        made = []
        for g, direct in zip(gammas[: len(GRID)], mean[3 : 3 + len(GRID)], strict=True):
            share = torch.from_numpy(post_hoc_weights(times, kinds, steps, g))
            afterwards = torch.einsum("k,ksp->sp", share, pile).float()
            apart = (afterwards - direct).norm(dim=1) / (theta - direct).norm(dim=1).clamp_min(1e-12)
            made.append([losses(direct).mean().item(), losses(afterwards).mean().item(), apart.mean().item()])
    exact = np.full((len(AVERAGES), len(at)), np.nan)
    if source == "quadratic":
        columns = np.array(decays).T
        scaled = [rate * CURVATURE for rate in rates]
        exact = np.stack([exact_loss(column, scaled)[at] for column in (np.zeros(steps), *columns)])
    moment = np.linspace(0.002, 1, 250)
    share = post_hoc_weights(times, kinds, steps, gamma)
    ends = times / steps
    after = sum(
        w * np.where(moment <= end, (k + 1) * moment**k / end ** (k + 1), 0)
        for w, end, k in zip(share, ends, kinds, strict=True)
    )
    profile = np.stack(
        [
            steps * (1 - decay) * decay ** (steps * (1 - moment)),
            (gamma + 1) * moment**gamma,
            np.ones_like(moment),
            after,
        ]
    )
    paired = loss[..., -1] - loss[:1, :, -1]
    root = math.sqrt(SEEDS)
    yield Progress(
        steps,
        steps,
        Averaging(
            AVERAGES, np.array(at), loss.mean(1).numpy(), (loss.std(1) / root).numpy(), exact, np.array(GRID),
            *np.array(made).T, moment, profile, np.stack([paired.mean(1).numpy(), (paired.std(1) / root).numpy()]),
            seen, np.array(walked), sigma_rel, source, snapshots,
        ),
    )  # fmt: skip
