"""Wasserstein gradient flow of KL to N(0, I) in the plane: the forward process of diffusion, and particles that follow it.

∂p = div(x p) + Δp is the Ornstein–Uhlenbeck process, the variance-preserving noising of diffusion models (Song et al. 2021,
arXiv 2011.13456): x_t = e^{−t} x_0 + √(1 − e^{−2t}) ε, so a mixture of Gaussians stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engines.diffusion.mixture import TARGETS, GaussianMixture
from engines.transport.matching import wasserstein

STARTS = tuple(TARGETS)
OF_PLANE = ("exact", "forward", "langevin", "svgd", "blob")
SIGMA = 0.15  # noise on the target, so that it has a density
SHOWN, DRAWS, SIDE = 200, 4000, 61


@dataclass(frozen=True)
class PlaneDownhill:
    """A target of the plane on its way to N(0, I), exact and by particles.

    methods: their names [m], of OF_PLANE
    tau: step size; times: float64 [f]; multiples of it
    axis: float64 [g]; of both coordinates
    density: float64 [f, g, g]; of the exact flow, rows along the second coordinate
    places: float64 [m, f, k, 2]; of at most 200 particles; of "exact" independent draws of the flow
    kl, fisher: float64 [f]; of the exact flow, in nats and nats per unit of time, means over 4,000 draws
    moment: float64 [f]; E|x|² of the exact flow, in closed form
    moments: float64 [m, f]; mean |x|² of all particles
    away: float64 [m]; exact W1 of the places at the last time to fresh draws of the exact flow
    """

    methods: tuple[str, ...]
    tau: float
    times: np.ndarray
    axis: np.ndarray
    density: np.ndarray
    places: np.ndarray
    kl: np.ndarray
    fisher: np.ndarray
    moment: np.ndarray
    moments: np.ndarray
    away: np.ndarray


def law_at(start: str, time: float) -> GaussianMixture:
    """The exact flow from a target with noise SIGMA, at a time."""
    law, left = TARGETS[start](), math.exp(-time)
    variances = left**2 * law.noised_variances(SIGMA) + 1 - left**2
    return GaussianMixture(law.weights, left * law.means, variances.sqrt())


def particle_step(method: str, x: np.ndarray, tau: float, bandwidth: float, rng: np.random.Generator) -> np.ndarray:
    """One step of langevin, svgd or blob for N(0, I) on particles [n, 2]; the kernels as on the line."""
    if method == "langevin":
        return x - tau * x + math.sqrt(2 * tau) * rng.standard_normal(x.shape)
    square = np.square(x).sum(1)
    kernel = np.exp((x @ x.T - (square[:, None] + square) / 2) / bandwidth**2)
    near, total = kernel @ x, kernel.sum(1)[:, None]
    if method == "svgd":
        return x + tau * (-near + (x * total - near) / bandwidth**2) / len(x)
    away = x * (1 + kernel @ (1 / total)) - near / total - kernel @ (x / total)
    return x + tau * (-x + away / bandwidth**2)


def explicit_step(start: str, x: np.ndarray, time: float, tau: float) -> np.ndarray:
    """An explicit step along −x − ∇ log p_t, with the score of the exact flow: Euler's, of the probability flow ODE."""
    law = law_at(start, time)
    weights, means, variances = (part.numpy() for part in (law.weights, law.means, law.noised_variances(0.0)))
    logs = (x @ means.T - (np.square(x).sum(1)[:, None] + np.square(means).sum(1)) / 2) / variances
    logs += np.log(weights / variances)
    share = np.exp(logs - logs.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True) * variances
    return x - tau * (x + share @ means - x * share.sum(1, keepdims=True))


def in_plane(
    start: str, methods: Sequence[str], tau: float, marks: np.ndarray, particles: int, bandwidth: float, seed: int
) -> PlaneDownhill:
    """The flow at the steps `marks`. SVGD and blob have at most 200 particles, explicit steps 1,000."""
    times, axis = marks * tau, np.linspace(-4, 4, SIDE)
    grid = torch.as_tensor(np.stack([part.ravel() for part in np.meshgrid(axis, axis)], 1))
    first, noise = (
        law_at(start, 0.0).sample(DRAWS, 900),
        torch.as_tensor(np.random.default_rng(901).standard_normal((DRAWS, 2))),
    )
    density, kl, fisher = [], [], []
    for time in times:
        law, left = law_at(start, time), math.exp(-time)
        x = left * first + math.sqrt(1 - left**2) * noise
        density.append(law.log_density(grid).exp().numpy().reshape(SIDE, SIDE))
        kl.append(float((law.log_density(x) + x.square().sum(1) / 2).mean()) + math.log(2 * math.pi))
        fisher.append(float((law.score(x) + x).square().sum(1).mean()))
    squares = float(
        (law_at(start, 0.0).means.square().sum(1) + 2 * law_at(start, 0.0).noised_variances(0.0))
        @ law_at(start, 0.0).weights
    )
    shown = min(particles, SHOWN)
    goal = law_at(start, times[-1]).sample(shown, seed + 2000).numpy()
    places, moments = [], []
    for method in methods:
        count = {"svgd": shown, "blob": shown, "forward": min(particles, 1000)}.get(method, particles)
        rng, x, kept = np.random.default_rng(seed), law_at(start, 0.0).sample(count, seed).numpy(), []
        if method == "exact":
            kept = [law_at(start, time).sample(count, seed + 1000 + i).numpy() for i, time in enumerate(times)]
        else:
            kept = [x]
            for step in range(1, int(marks[-1]) + 1):
                x = (
                    explicit_step(start, x, (step - 1) * tau, tau)
                    if method == "forward"
                    else particle_step(method, x, tau, bandwidth, rng)
                )
                kept += [x] * int((marks == step).sum())
        places.append(np.stack([part[:shown] for part in kept]))
        moments.append([np.square(part).sum(1).mean() for part in kept])
    return PlaneDownhill(
        tuple(methods),
        tau,
        times,
        axis,
        np.stack(density),
        np.stack(places),
        np.array(kl),
        np.array(fisher),
        2 + (squares - 2) * np.exp(-2 * times),
        np.array(moments),
        np.array([wasserstein(part[-1], goal).value for part in places]),
    )
