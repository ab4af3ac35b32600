"""What the views in the plane compute: how many blocks and orders it takes, what Tweedie's step mends, which head fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, checked
from engines.diffusion.measures import sliced_wasserstein
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.flow import plane, shipped
from engines.flow.heads import (
    bins_gap,
    codebook,
    codebook_gap,
    codebook_head,
    conditional,
    conditional_entropy,
    flow_matching_gap,
    flow_matching_law,
    gaussian_gap,
    leading,
    mixture_gap,
    mixture_head,
)
from engines.flow.plane import TARGETS, divergence, one_order_floor
from engines.progress import Progress

Target = Annotated[str, OneOf(TARGETS)]
Noise = Annotated[float, Between(plane.SIGMA_LOW, plane.SIGMA_HIGH)]
Seed = Annotated[int, Between(0, 9999)]
EXTENT, SIDE = 4.2, 90  # of the density's picture


def picture(mixture: GaussianMixture, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """(axis [SIDE], density [SIDE, SIDE], rows along x₂)."""
    axis = torch.linspace(-EXTENT, EXTENT, SIDE, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    points = torch.stack((x.ravel(), y.ravel()), 1)
    return axis.numpy(), mixture.log_density(points, sigma).exp().view(SIDE, SIDE).numpy()


def net_of_lines(each: int = 49, lines: int = 13, reach: float = 2.4) -> Tensor:
    """A square grid's lines one after another, [points, 2], separated by rows of NaN."""
    along, places = torch.linspace(-reach, reach, each), torch.linspace(-reach, reach, lines)
    gap = torch.full((1, 2), torch.nan)
    parts = []
    for place in places:
        fixed = torch.full_like(along, float(place))
        parts += [torch.stack((along, fixed), 1), gap, torch.stack((fixed, along), 1), gap]
    return torch.cat(parts)


@dataclass(frozen=True)
class Order:
    """From N(0, I) to the data, block by block.

    target: its name
    sigma: noise on the data
    stack: the flow, a key of `shipped.STACKS`
    axis: float64 [m]; of the density's picture
    density: float64 [m, m]; the exact density of the noised data, rows along x₂
    states: float32 [blocks + 1, n, 2]; particles from z to x
    lines: float32 [blocks + 1, k, 2]; a square grid, carried along; its lines are separated by NaN
    stacks: the keys of all flows of the target
    gaps: float64 [stacks], nats; KL(exact distribution ‖ flow), by quadrature
    entropy: nats; of the exact law
    floor: nats; the least KL of any number of blocks in one order
    """

    target: str
    sigma: float
    stack: str
    axis: np.ndarray
    density: np.ndarray
    states: np.ndarray
    lines: np.ndarray
    stacks: tuple[str, ...]
    gaps: np.ndarray
    entropy: float
    floor: float


@checked
def order(
    target: Target = "moons",
    stack: Annotated[str, OneOf(shipped.STACKS)] = "8",
    sigma: Noise = 0.15,
    particles: Annotated[int, Between(50, 2000)] = 600,
    seed: Seed = 0,
) -> Order:
    """The shipped flows of a target: particles and a grid block by block, and each flow's distance from the exact law."""
    mixture, flow = target_mixture(target), shipped.plane(target, stack)
    z = torch.randn(particles, 2, generator=torch.Generator().manual_seed(seed))
    net = net_of_lines()
    hidden = net.isnan()
    both = torch.cat((z, net.nan_to_num()))
    with torch.no_grad():
        states = torch.stack(list(flow.back(both, flow.told(len(both), sigma))))
    lines = states[:, particles:].masked_fill(hidden, torch.nan)
    exact = one_order_floor(mixture, sigma)
    gaps = [divergence(shipped.plane(target, name), mixture, sigma) for name in shipped.STACKS]
    return Order(
        target,
        sigma,
        stack,
        *picture(mixture, sigma),
        states[:, :particles].numpy(),
        lines.numpy(),
        shipped.STACKS,
        np.array(gaps),
        exact.entropy,
        exact.floor,
    )


@dataclass(frozen=True)
class Training:
    """A flow in the plane while it is trained.

    axis: float64 [m]; of the density's picture
    density: float64 [m, m]; the exact density of the noised data
    step: int64 [k]; of the losses
    nll: float64 [k], nats; mean −log q over the batches since the last
    entropy: nats; of the exact law, which no flow undercuts
    best_one_order: nats; the least −log q of any number of blocks in one order
    gap: nats; KL(exact law to flow) now, by quadrature
    samples: float32 [f, n, 2]; of the flow now, from the same z; with the last report at every step of `step`
    lines: float32 [f, k, 2]; a square grid of z, carried along; its lines are separated by NaN
    """

    axis: np.ndarray
    density: np.ndarray
    step: np.ndarray
    nll: np.ndarray
    entropy: float
    best_one_order: float
    gap: float
    samples: np.ndarray
    lines: np.ndarray


@checked
def train(
    target: Target = "moons",
    blocks: Annotated[int, Between(1, 12)] = 8,
    alternate: bool = True,
    sigma: Annotated[float, Between(0, 0.6)] = 0.15,
    effort: Annotated[float, Between(0.02, 1)] = 0.4,
    seed: Seed = 0,
) -> Iterator[Progress[Training]]:
    """Train a flow at one noise level; yields a Progress of Training. effort 1 is 4,000 steps of 256 points."""
    mixture = target_mixture(target)
    torch.manual_seed(seed)
    flow, steps = plane.PlaneFlow(blocks, bool(alternate)), max(20, int(4000 * effort))
    exact = one_order_floor(mixture, sigma)
    shown = picture(mixture, sigma)
    z, net = torch.randn(400, 2, generator=torch.Generator().manual_seed(seed)), net_of_lines(25, 9)
    both, hidden = torch.cat((z, net.nan_to_num())), net.isnan()
    each, losses, at, means, seen = max(10, steps // 40), [], [], [], []
    for step, loss in plane.train(mixture, flow, steps, sigma=sigma, seed=seed):
        losses.append(loss)
        if step % each and step < steps:
            continue
        at.append(step)
        means.append(float(np.mean(losses)))
        losses = []
        gap = divergence(flow, mixture, sigma)
        seen.append(flow.inverse(both, flow.told(len(both), sigma)))
        frames = torch.stack(seen if step == steps else seen[-1:])
        lines = frames[:, len(z) :].masked_fill(hidden, torch.nan).numpy()
        result = Training(
            *shown,
            np.array(at),
            np.array(means),
            exact.entropy,
            exact.best_nll,
            gap,
            frames[:, : len(z)].numpy(),
            lines,
        )
        yield Progress(step, steps, result)


@dataclass(frozen=True)
class Denoise:
    """Samples of a flow of noised data, and the same after Tweedie's step.

    target: its name
    sigma: noise on the data
    axis: float64 [m]; of the density's picture
    density: float64 [m, m]; the exact density of the clean data
    samples: float32 [n, 2]; of the flow
    by_flow: float32 [n, 2]; after x + rate σ² ∇ log q(x)
    by_exact: float32 [n, 2]; the same samples after the exact score's step
    real: float32 [n, 2]; clean data
    places: float64 [k, 2]; of the arrows, where the noised data are
    exact_steps: float64 [k, 2]; σ² ∇ log p there, of the exact noised distribution
    flow_steps: float64 [k, 2]; σ² ∇ log q there, of the flow
    score_error: E|s_q − s_p|² / E|s_p|² over noised data
    gap: nats; KL(noised data to flow), by quadrature
    cost: float64 [4], nats; mean −log p of the clean law: samples, by_flow, by_exact, real
    distance: float64 [4]; sliced W1 to fresh clean data, of the same four
    """

    target: str
    sigma: float
    axis: np.ndarray
    density: np.ndarray
    samples: np.ndarray
    by_flow: np.ndarray
    by_exact: np.ndarray
    real: np.ndarray
    places: np.ndarray
    exact_steps: np.ndarray
    flow_steps: np.ndarray
    score_error: float
    gap: float
    cost: np.ndarray
    distance: np.ndarray


@checked
def denoise(
    target: Target = "moons",
    sigma: Noise = 0.3,
    rate: Annotated[float, Between(0, 2)] = 1.0,
    points: Annotated[int, Between(100, 2000)] = 600,
    seed: Seed = 0,
) -> Denoise:
    """The shipped flow's samples at a noise level, denoised with its own score and with the exact one."""
    mixture, flow = target_mixture(target), shipped.plane(target)
    told = flow.told(points, sigma)
    z = torch.randn(points, 2, generator=torch.Generator().manual_seed(seed))
    samples = flow.inverse(z, told)
    wide = samples.double()
    by_flow = samples + rate * sigma**2 * flow.score(samples, told)
    by_exact = (wide + rate * sigma**2 * mixture.score(wide, sigma)).float()
    real, fresh = (mixture.sample(points, s).float() for s in (seed, seed + 10_000))
    noised = mixture.sample(2000, seed + 20_000, sigma)
    exact = mixture.score(noised, sigma)
    learned = flow.score(noised.float(), flow.told(2000, sigma)).double()
    error = float((learned - exact).square().sum() / exact.square().sum())
    axis = torch.linspace(-3.2, 3.2, 25, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    places = places[mixture.log_density(places, sigma) > -6]
    steps = [
        sigma**2 * score
        for score in (mixture.score(places, sigma), flow.score(places.float(), flow.told(len(places), sigma)))
    ]
    sets = (samples, by_flow, by_exact, real)
    cost = [-float(mixture.log_density(points.double()).clamp(min=-1e4).mean()) for points in sets]
    return Denoise(
        target,
        sigma,
        *picture(mixture, 0.0),
        *(points.numpy() for points in sets),
        places.numpy(),
        *(step.double().numpy() for step in steps),
        error,
        divergence(flow, mixture, sigma),
        np.array(cost),
        np.array([sliced_wasserstein(points, fresh) for points in sets]),
    )


HEADS = ("gaussian", "mixture", "bins", "codebook", "flow_matching", "other_order")
_gaussian_gap, _mixture_gap, _bins_gap, _codebook_gap, _flow_gap = (
    lru_cache(512)(gaussian_gap),
    lru_cache(512)(mixture_gap),
    lru_cache(512)(bins_gap),
    lru_cache(512)(codebook_gap),
    lru_cache(512)(flow_matching_gap),
)


def excesses(target: str, noise: float, components: int, bins: int, steps: int) -> list[float]:
    """What each of HEADS loses, nats; kept, since x₁ does not matter."""
    return [
        _gaussian_gap(target, noise),
        _mixture_gap(target, noise, components),
        _bins_gap(target, noise, bins),
        _codebook_gap(target, noise, bins),
        _flow_gap(target, noise, steps),
        _gaussian_gap(target, noise, 1),
    ]


@dataclass(frozen=True)
class Heads:
    """The law of x₂ given x₁, and the best that each head can make of it.

    x1: where it is shown
    axis: float64 [m]; of the density's picture
    density: float64 [m, m]; the exact density of the noised data
    x2: float64 [g]
    exact: float64 [g]; p(x₂ | x₁)
    heads: keys, in the order of the arrays below
    laws: float64 [heads, g]; each head's best at x₁ (other_order: what it implies there)
    sigma: the noise
    noise: float64 [k]; the noise levels of the curves
    gaps: float64 [heads, k], nats; mean excess of −log q at each noise level
    here: float64 [heads], nats; at sigma
    entropy: nats; H(x₂ | x₁) at sigma
    """

    x1: float
    axis: np.ndarray
    density: np.ndarray
    x2: np.ndarray
    exact: np.ndarray
    heads: tuple[str, ...]
    laws: np.ndarray
    sigma: float
    noise: np.ndarray
    gaps: np.ndarray
    here: np.ndarray
    entropy: float


@checked
def heads(
    target: Target = "moons",
    x1: Annotated[float, Between(-3, 3)] = 0.4,
    sigma: Annotated[float, Between(0, 1.2)] = 0.15,
    components: Annotated[int, Between(1, 8)] = 3,
    bins: Annotated[int, Between(2, 64)] = 16,
    steps: Annotated[int, Between(4, 16)] = 8,
) -> Heads:
    """Ways to write p(x₂ | x₁), each at its optimum: one Gaussian, a mixture (by EM), equal bins, a codebook with a Gaussian residual, flow
    matching, the other order.

    bins: and entries of the codebook; steps: Euler's, of the flow-matching head
    """
    mixture = target_mixture(target)
    x2 = torch.linspace(-EXTENT, EXTENT, 421, dtype=torch.float64)
    place = torch.tensor([x1], dtype=torch.float64)
    shares, means, variances = given = conditional(mixture, place, sigma)

    def normal(mean: Tensor, variance: Tensor) -> Tensor:
        return torch.exp(-0.5 * (x2[:, None] - mean).square() / variance) / (2 * math.pi * variance).sqrt()

    exact = normal(means, variances) @ shares[0]
    _, mean, variance = plane.conditional_moments(mixture, place, sigma)
    weights, centres, spreads = (part[0] for part in mixture_head(exact[None], x2, components))
    edges = torch.linspace(-EXTENT, EXTENT, bins + 1, dtype=torch.float64)
    filled = torch.special.ndtr((edges[:, None] - means) / variances.sqrt()) @ shares[0]
    which = torch.bucketize(x2, edges[1:-1])
    coded, middles, widths = (part[0] for part in codebook_head(*given, codebook(mixture, sigma, bins)))
    ends, _, log_q = flow_matching_law(*leading(*given), steps, torch.linspace(-9, 9, 2001, dtype=x2.dtype))
    log_p2, mean1, variance1 = plane.conditional_moments(mixture, x2, sigma, given=1)
    other = torch.exp(log_p2 - 0.5 * (x1 - mean1).square() / variance1) / variance1.sqrt()
    laws = (
        normal(mean, variance)[:, 0],
        normal(centres, spreads.square()) @ weights,
        filled.diff()[which] / (edges[1] - edges[0]),
        normal(middles, widths.square()) @ coded,
        torch.from_numpy(np.interp(x2, ends[0], log_q[0].exp(), left=0, right=0)),
        other / (other.sum() * (x2[1] - x2[0])),
    )
    noise = np.array([0.0, 0.1, 0.2, 0.35, 0.6, 1.2])
    return Heads(
        x1,
        *picture(mixture, sigma),
        x2.numpy(),
        exact.numpy(),
        HEADS,
        torch.stack(laws).numpy(),
        sigma,
        noise,
        np.array([excesses(target, level, components, bins, steps) for level in noise.tolist()]).T,
        np.array(excesses(target, sigma, components, bins, steps)),
        conditional_entropy(target, sigma),
    )
