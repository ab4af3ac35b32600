"""The best that a head of an autoregressive model can do on x₂ given x₁, by quadrature over the exact law."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, whole
from engines.diffusion.mixture import GaussianMixture
from engines.flow.plane import conditional_moments, entropy, grid, marginal_entropy, mixture_of


def conditional(mixture: GaussianMixture, x1: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """p(x₂ | x₁), a mixture: (its weights [n, K] at x₁ [n], its means [K], its variances [K]); equal parts are one."""
    variances = mixture.noised_variances(sigma)
    logits = mixture.weights.log() - 0.5 * variances.log()
    weights = torch.softmax(logits - 0.5 * (x1[:, None] - mixture.means[:, 0]).square() / variances, 1)
    laws, which = torch.stack((mixture.means[:, 1], variances), 1).unique(dim=0, return_inverse=True)
    return weights.new_zeros(len(x1), len(laws)).index_add_(1, which, weights), *laws.T


@lru_cache(256)
def conditional_entropy(target: str | GaussianMixture, sigma: float, given: int = 0) -> float:
    """H(x₂ | x₁) of target + σ ε, nats, by quadrature; given=1: H(x₁ | x₂)."""
    mixture = mixture_of(target)
    return entropy(mixture, sigma) - marginal_entropy(mixture, sigma, given)


def gaussian_gap(target: str | GaussianMixture, sigma: float, given: int = 0) -> float:
    """Excess of the best Gaussian head: E[log(2πe Var(x₂ | x₁))]/2 − H(x₂ | x₁), nats. given=1: of x₁ from x₂."""
    mixture, sigma = mixture_of(target), number("sigma", sigma, 0, 1e3)
    given = whole("given", given, 0, 1)
    _, axis, cell = grid(mixture, sigma, most=4001, finest=8.0)
    log_p, _, variance = conditional_moments(mixture, axis, sigma, given)
    best = float((log_p.exp() * 0.5 * (2 * math.pi * math.e * variance).log()).sum()) * math.sqrt(cell)
    return best - conditional_entropy(target, sigma, given)


PLACES = 1.5  # of x₁ for means over it, to the least standard deviation


def places(mixture: GaussianMixture, sigma: float) -> tuple[Tensor, Tensor]:
    """(x₁ [m], its probability [m]) for means over the distribution of x₁."""
    _, axis, _ = grid(mixture, sigma, most=4001, finest=PLACES)
    log_p, _, _ = conditional_moments(mixture, axis, sigma)
    share = log_p.exp()
    kept = share > 1e-4 * share.max()
    return axis[kept], share[kept] / share[kept].sum()


def bins_gap(target: str | GaussianMixture, sigma: float, bins: int, extent: float = 4.2) -> float:
    """Excess of the best histogram head with equal bins over [−extent, extent], nats; mass outside goes to the last bins."""
    mixture, sigma, bins = mixture_of(target), number("sigma", sigma, 0, 1e3), whole("bins", bins, 2, 4096)
    extent = number("extent", extent, 1e-3, 1e3)
    axis, share = places(mixture, sigma)
    weights, means, variances = conditional(mixture, axis, sigma)
    edges = torch.linspace(-extent, extent, bins + 1, dtype=torch.float64)
    inner = torch.special.ndtr((edges[1:-1, None] - means) / variances.sqrt()) @ weights.T
    filled = torch.cat((inner.new_zeros(1, len(axis)), inner, inner.new_ones(1, len(axis)))).diff(dim=0).clamp(min=0)
    cost = -torch.special.xlogy(filled, filled).sum(0) + math.log(2 * extent / bins)
    return float(share @ cost) - conditional_entropy(target, sigma)


def mixture_head(laws: Tensor, x: Tensor, components: int, rounds: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """The mixtures that EM fits to laws [n, g] over x [g] from their quantiles: weights, means, deviations, [n, components]."""
    components, rounds = whole("components", components, 1, 64), whole("rounds", rounds, 1, 10_000)
    if not isinstance(laws, Tensor) or laws.ndim != 2 or x.shape != laws.shape[1:] or not (laws.sum(1) > 0).all():
        raise Refusal("{parameter} must be densities [n, points] over x [points].", parameter="laws")
    laws = laws / laws.sum(1, keepdim=True)
    climbed = laws.cumsum(1)
    levels = (torch.arange(components, dtype=laws.dtype) + 0.5) / components
    means = x[(climbed[:, None] < levels[:, None]).sum(2).clamp(max=len(x) - 1)]
    centre = laws @ x
    spread = (laws @ x.square() - centre.square()).clamp(min=1e-9).sqrt()
    deviations = (spread / components)[:, None].expand_as(means)
    weights = torch.full_like(means, 1 / components)
    least = float(x[1] - x[0])
    powers = torch.stack((torch.ones_like(x), x, x.square()))
    for _ in range(rounds):
        # of a component: log weight + log density, as c + b x + a x²
        a = -0.5 / deviations.square()
        c = weights.clamp(min=1e-30).log() - deviations.log() + a * means.square()
        logits = torch.stack((c, -2 * a * means, a), 2) @ powers  # [n, components, g]
        shares = torch.softmax(logits, 1) * laws[:, None]
        weights, first, second = (shares @ powers.T).unbind(2)
        safe = weights.clamp(min=1e-12)
        means = first / safe
        deviations = (second / safe - means.square()).clamp(min=least**2).sqrt()
    return weights, means, deviations


def mixture_gap(target: str | GaussianMixture, sigma: float, components: int) -> float:
    """Excess of a mixture head fitted by EM, nats: a bound from above on the best one's."""
    mixture, sigma = mixture_of(target), number("sigma", sigma, 0, 1e3)
    axis, share = places(mixture, sigma)
    weights, means, variances = conditional(mixture, axis, sigma)
    spread = variances.sqrt()
    low, high = float((means - 5 * spread).min()), float((means + 5 * spread).max())
    x = torch.linspace(low, high, min(401, int(2 * (high - low) / float(spread.min())) + 2), dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x[:, None] - means).square() / variances) / (2 * math.pi * variances).sqrt()
    laws = weights @ kernel.T
    w, m, s = mixture_head(laws, x, components, rounds=30)
    fitted = ((w / s)[..., None] * torch.exp(-0.5 * ((x - m[..., None]) / s[..., None]).square())).sum(1) / math.sqrt(
        2 * math.pi
    )
    step = float(x[1] - x[0])
    loss = (torch.special.xlogy(laws, laws) - laws * fitted.clamp(min=1e-300).log()).sum(1) * step
    return float(share @ loss)


def cells(edges: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """∫ (1, x, x²) N(x; m, v) dx between neighbouring edges [K − 1] and beyond the last ones, [3, K, components]."""
    spread = variances.sqrt()
    at = torch.cat((edges.new_full((1,), -math.inf), edges, edges.new_full((1,), math.inf)))[:, None]
    u = (at - means) / spread
    height = torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)
    mass, lost = torch.special.ndtr(u).diff(dim=0), -height.diff(dim=0)
    tilt = -(u.nan_to_num(0, 0, 0) * height).diff(dim=0)
    first = means * mass + spread * lost
    return torch.stack((mass, first, means.square() * mass + 2 * means * spread * lost + variances * (mass + tilt)))


def codebook(mixture: GaussianMixture, sigma: float, entries: int, rounds: int = 15) -> Tensor:
    """Edges [entries − 1] between the entries of a codebook of x₂: Lloyd's rounds from shares of equal mass, exact integrals."""
    laws, which = torch.stack((mixture.means[:, 1], mixture.noised_variances(sigma)), 1).unique(
        dim=0, return_inverse=True
    )
    weights, (means, variances) = torch.zeros(len(laws), dtype=laws.dtype).index_add_(0, which, mixture.weights), laws.T
    reach = float((means.abs() + 7 * variances.sqrt()).max())
    axis = torch.linspace(-reach, reach, 2001, dtype=torch.float64)
    climbed = torch.special.ndtr((axis[:, None] - means) / variances.sqrt()) @ weights
    edges = torch.from_numpy(np.interp(np.arange(1, entries) / entries, climbed.numpy(), axis.numpy()))
    for _ in range(rounds):
        mass, first, _ = cells(edges, means, variances) @ weights
        points = first / mass.clamp(min=1e-12)
        edges = (points[1:] + points[:-1]) / 2
    return edges


def codebook_head(weights: Tensor, means: Tensor, variances: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of mixtures [n, components] in cells: share, mean, standard deviation, [n, K] each."""
    mass, first, second = (part @ weights.T for part in cells(edges, means, variances))
    safe = mass.clamp(min=1e-12)
    mean = first / safe
    return mass.T, mean.T, (second / safe - mean.square()).clamp(min=1e-12).sqrt().T


def codebook_gap(target: str | GaussianMixture, sigma: float, entries: int) -> float:
    """Excess of the best head that says a code, then a Gaussian of x₂ which reads the code, nats.

    It pays for the pair (code, x₂): −log P(code | x₁) − log N(x₂), least with the cell's own share, mean and variance at x₁.
    """
    mixture, sigma, entries = mixture_of(target), number("sigma", sigma, 0, 1e3), whole("entries", entries, 2, 4096)
    axis, share = places(mixture, sigma)
    laws = conditional(mixture, axis, sigma)
    mass, _, spread = codebook_head(*laws, codebook(mixture, sigma, entries))
    cost = mass * (0.5 * math.log(2 * math.pi * math.e) + spread.log()) - torch.special.xlogy(mass, mass)
    return float(share @ cost.sum(1)) - conditional_entropy(target, sigma)


def leading(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mixtures [n, K] without the parts that weigh less than 10⁻¹² in every one: [n, k] each, the heaviest first."""
    kept, which = weights.topk(int((weights > 1e-12).sum(1).max()), dim=1)
    return kept, means[which], variances[which]


def flow_matching_law(
    weights: Tensor, means: Tensor, variances: Tensor, steps: int, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Euler's steps along the exact velocity of a flow-matching head, for mixtures in one dimension, all [n, K].

    On x_t = t x + (1 − t) z, z ~ N(0, 1), a component N(m, v) is N(t m, t² v + (1 − t)²), so that the velocity
    E[x − z | x_t] has a closed form, as has its derivative; each step is monotone, so the density of where z [g] ends too.
    (where z ends [n, g], the slope there [n, g], log density there [n, g])
    """
    steps = whole("steps", steps, 2, 1024)  # a single one sends every z to the mean
    x = z.expand(len(weights), -1)
    log_slope, dt, log_weights = torch.zeros_like(x), 1 / steps, weights.log()
    for i in range(steps):
        t = i * dt
        spread = t * t * variances + (1 - t) ** 2
        lean = (t * variances - (1 - t)) / spread
        # of a component: log share c + b x + a x², velocity at x u + lean x, slope of the log share b + 2 a x
        a, b, u = -0.5 / spread, t * means / spread, means * (1 - t * lean)
        c = log_weights - 0.5 * (spread.log() + t * means * b)
        powers = torch.stack((torch.ones_like(x), x, x.square()), 2)
        shares = torch.softmax(powers @ torch.stack((c, b, a), 1), 2)
        moments = shares @ torch.stack((u, lean, b, 2 * a, u * b, lean * b + 2 * a * u, 2 * a * lean), 2)
        u, lean, b, a, *products = moments.unbind(2)
        velocity = u + lean * x
        change = lean + (powers * torch.stack(products, 2)).sum(2) - velocity * (b + a * x)
        x, log_slope = x + dt * velocity, log_slope + (1 + dt * change).clamp(min=1e-12).log()
    return x, log_slope.exp(), -0.5 * z.square() - 0.5 * math.log(2 * math.pi) - log_slope


def tail_slope(variance: float, steps: int) -> float:
    """How much Euler's steps shrink z where one Gaussian of that variance is all there is."""
    slope = 1.0
    for i in range(steps):
        t = i / steps
        slope *= 1 + (t * variance - (1 - t)) / (t * t * variance + (1 - t) ** 2) / steps
    return slope


def flow_matching_gap(target: str | GaussianMixture, sigma: float, steps: int) -> float:
    """Excess of a flow-matching head that has learnt its velocity exactly and is sampled in `steps` Euler steps, nats.

    The idea is MAR's (Li et al. 2024, a small diffusion as the head), the excess KL(p ‖ law of the samples).
    """
    mixture, sigma = mixture_of(target), number("sigma", sigma, 0, 1e3)
    axis, share = places(mixture, sigma)
    weights, means, variances = leading(*conditional(mixture, axis, sigma))
    # few steps make the samples' Gaussians too narrow: the exact law's tails come from z far out
    narrow = float(variances.min())
    reach = max(8.0, 7 * math.sqrt(narrow) / tail_slope(narrow, steps))
    z = torch.linspace(-reach, reach, int(14 * reach) | 1, dtype=torch.float64)
    x, slope, log_q = flow_matching_law(weights, means, variances, steps, z)
    # log p as c + b x + a x² of each part
    a = -0.5 / variances
    parts = torch.stack(
        (weights.log() - 0.5 * (2 * math.pi * variances).log() + a * means.square(), -2 * a * means, a), 1
    )
    log_p = torch.logsumexp(torch.stack((torch.ones_like(x), x, x.square()), 2) @ parts, 2)
    return float(share @ (log_p.exp() * (log_p - log_q) * slope).sum(1)) * float(z[1] - z[0])
