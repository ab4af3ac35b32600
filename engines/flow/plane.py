"""Flows in the plane: two tokens of one number each, so a block is a perceptron that reads one coordinate.

One network serves every noise level: it is told log σ. Also what is exact there: entropy of the noised target, and the
least cross-entropy of any number of blocks in one order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engines.arguments import Refusal, number, whole
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.flow.tarflow import BOUND, Flow, bounded, descend

TARGETS = ("moons", "ring", "spiral", "checkerboard", "three")
FREQUENCIES = (0.5, 1.0, 2.0, 4.0, 8.0)
SIGMA_LOW, SIGMA_HIGH = 0.05, 0.6  # noise levels that the networks are trained for
CENTRE = 1.8  # added to log σ: about the middle of these levels


class PlaneBlock(nn.Module):
    """Shift and log-scale of the second coordinate from the first and log σ, by a perceptron of two hidden layers."""

    def __init__(self, width: int, backward: bool):
        super().__init__()
        self.backward = backward
        self.register_buffer("frequencies", torch.tensor(FREQUENCIES), persistent=False)
        features = 2 + 2 * len(FREQUENCIES)
        self.inner = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.out = nn.Linear(width + features, 2)  # sees the features too: what is linear in them is exact
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def read(self, first: Tensor, log_sigma: Tensor | None) -> tuple[Tensor, Tensor]:
        """(shift, log_scale), [n, 1] each, from first [n, 1]."""
        told = torch.zeros_like(first) if log_sigma is None else log_sigma[:, None] + CENTRE
        waves = first * self.frequencies
        features = torch.cat((first, told, waves.sin(), waves.cos()), 1)
        shift, raw = self.out(torch.cat((self.inner(features), features), 1)).chunk(2, 1)
        return shift, bounded(raw)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(shift, log_scale), [n, 2] each; 0 for the first coordinate."""
        shift, log_scale = self.read(x[:, :1], condition)
        none = torch.zeros_like(shift)
        return torch.cat((none, shift), 1), torch.cat((none, log_scale), 1)

    def invert(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """x of z, [n, 2]."""
        shift, log_scale = self.read(z[:, :1], condition)
        return torch.cat((z[:, :1], z[:, 1:] * torch.exp(log_scale) + shift), 1)


class PlaneFlow(Flow):
    """A flow of points [n, 2]; its condition is log σ [n], or None.

    alternate: whether every second block reads the second coordinate first
    """

    shape = (2,)

    def __init__(self, blocks: int = 8, alternate: bool = True, width: int = 64):
        super().__init__()
        blocks, width = whole("blocks", blocks, 1, 64), whole("width", width, 1, 4096)
        self.config = {"blocks": blocks, "alternate": bool(alternate), "width": width}
        self.blocks = nn.ModuleList(PlaneBlock(width, bool(alternate) and b % 2 == 1) for b in range(blocks))

    def told(self, n: int, sigma: float) -> Tensor:
        """log σ for n points; at σ = 0 the number that the perceptrons read as 0."""
        weight = next(self.parameters())
        sigma = number("sigma", sigma, 0, 1e6)
        return torch.full((n,), math.log(sigma) if sigma else -CENTRE, dtype=weight.dtype, device=weight.device)


def gaussian_flow(mean: Tensor, covariance: Tensor) -> PlaneFlow:
    """The two opposite blocks whose law is exactly N(mean [2], covariance [2, 2]), in float64."""
    try:
        mean, covariance = (torch.as_tensor(values, dtype=torch.float64) for values in (mean, covariance))
    except (TypeError, ValueError, RuntimeError):
        raise Refusal("{parameter} must be 2 numbers, with a covariance of 2 x 2.", parameter="mean") from None
    if mean.shape != (2,) or covariance.shape != (2, 2) or not mean.isfinite().all():
        raise Refusal("{parameter} must be 2 numbers, with a covariance of 2 x 2.", parameter="mean")
    slope = covariance[0, 1] / covariance[0, 0]
    spreads = torch.stack((covariance[1, 1] - slope * covariance[0, 1], covariance[0, 0])).sqrt().log()
    if not (spreads.abs() < BOUND).all() or covariance[0, 1] != covariance[1, 0]:
        raise Refusal(
            "{parameter} must be symmetric and positive, with conditional standard deviations between {low} and {high}.",
            parameter="covariance",
            low=round(math.exp(-BOUND), 3),
            high=round(math.exp(BOUND), 3),
        )
    flow = PlaneFlow(2).double()
    raw = BOUND * torch.atanh(spreads / BOUND)
    with torch.no_grad():
        flow.blocks[0].out.weight[0, 64] = slope  # of the coordinate itself
        flow.blocks[0].out.bias.copy_(torch.stack((mean[1] - slope * mean[0], raw[0])))
        flow.blocks[1].out.bias.copy_(torch.stack((mean[0], raw[1])))
    return flow.requires_grad_(False)


def train(
    mixture: GaussianMixture,
    flow: PlaneFlow,
    steps: int,
    sigma: float | None = None,
    batch: int = 256,
    rate: float = 4e-3,
    seed: int = 0,
) -> Iterator[tuple[int, float]]:
    """Fit the flow to mixture + σ ε in place; yields (step, mean −log q of the batch) after each.

    sigma: None: drawn for each point, even in log σ from SIGMA_LOW to SIGMA_HIGH, and told to the flow
    Refusal if the loss or its gradient is no number; the weights are then those of the last good step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-4)
    means, scales = mixture.means.float(), mixture.scales.float()
    for step in range(steps):
        picks = torch.multinomial(mixture.weights, batch, replacement=True, generator=generator)
        if sigma is None:
            low, high = math.log(SIGMA_LOW), math.log(SIGMA_HIGH)
            log_sigma = low + (high - low) * torch.rand(batch, generator=generator)
        else:
            log_sigma = flow.told(batch, sigma)
        spread = (scales[picks].square() + (log_sigma.exp().square() if sigma != 0 else 0)).sqrt()
        x = means[picks] + spread[:, None] * torch.randn(batch, 2, generator=generator)
        loss = -flow.log_prob(x, log_sigma).mean()
        share = step / steps
        now = rate * min(1.0, 20 * (share + 1 / steps)) * 0.5 * (1 + math.cos(math.pi * share))
        descend(flow, optimizer, loss, step + 1, now)
        yield step + 1, loss.item()


class Floor(NamedTuple):
    """entropy: of the noised target, nats; best_nll: least E[−log q] of blocks in the order (x₁, x₂); floor: their difference."""

    entropy: float
    best_nll: float
    floor: float


def mixture_of(target: str | GaussianMixture) -> GaussianMixture:
    """A mixture in the plane, by its name or as it is."""
    mixture = target if isinstance(target, GaussianMixture) else target_mixture(target)
    if mixture.means.shape[1] != 2:
        raise Refusal("{parameter} must be a distribution in the plane.", parameter="target")
    return mixture


def grid(mixture: GaussianMixture, sigma: float, most: int = 501, finest: float = 3.0) -> tuple[Tensor, Tensor, float]:
    """A square grid over the noised mixture: (points [side, side, 2] (x₁ along the columns), axis [side], cell area).

    Its step is the least scale / `finest`, with at most `most` points a side.
    """
    spread = mixture.noised_variances(sigma).sqrt()
    if not spread.min() > 0:
        raise Refusal("{parameter} must be positive where the target has points of no width.", parameter="sigma")
    reach = float((mixture.means.abs().amax(1) + 7 * spread).max())
    side = min(most, int(2 * reach / (float(spread.min()) / finest)) | 1)
    axis = torch.linspace(-reach, reach, side, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    return torch.stack((x, y), -1), axis, float(axis[1] - axis[0]) ** 2


def entropy(mixture: GaussianMixture, sigma: float) -> float:
    """Differential entropy of mixture + σ ε, nats, by quadrature."""
    points, _, cell = grid(mixture, sigma)
    log_p = mixture.log_density(points.reshape(-1, 2), sigma)
    return -float((log_p.exp() * log_p).sum()) * cell


def conditional_moments(
    mixture: GaussianMixture, x: Tensor, sigma: float, given: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Of coordinate `given` at x [n]: its log density, and mean and variance of the other one there, [n] each."""
    variances = mixture.noised_variances(sigma)
    logits = (
        mixture.weights.log()
        - 0.5 * (2 * math.pi * variances).log()
        - 0.5 * (x[:, None] - mixture.means[:, given]).square() / variances
    )
    log_density = torch.logsumexp(logits, 1)
    shares = torch.softmax(logits, 1)
    other = mixture.means[:, 1 - given]
    mean = shares @ other
    return log_density, mean, shares @ (variances + other.square()) - mean.square()


def marginal_entropy(mixture: GaussianMixture, sigma: float, given: int = 0) -> float:
    """Differential entropy of one coordinate of mixture + σ ε, nats, by quadrature."""
    _, axis, cell = grid(mixture, sigma, most=4001, finest=8.0)
    log_p, _, _ = conditional_moments(mixture, axis, sigma, given)
    return -float((log_p.exp() * log_p).sum()) * math.sqrt(cell)


def one_order_floor(target: str | GaussianMixture, sigma: float) -> Floor:
    """What any number of blocks in the one order (x₁, x₂) can reach on target + σ ε.

    x₁ stays as it is, and x₂ is mapped by an affine map at each x₁: −log q is least with N(0, 1) for x₁ and the Gaussian of
    the exact conditional mean and variance for x₂.
    """
    mixture = mixture_of(target)
    sigma = number("sigma", sigma, 0, 1e3)
    _, axis, cell = grid(mixture, sigma, most=4001, finest=8.0)
    log_p, _, variance = conditional_moments(mixture, axis, sigma)
    cost = 0.5 * axis.square() + 0.5 * math.log(2 * math.pi) + 0.5 * (2 * math.pi * math.e * variance).log()
    best = float((log_p.exp() * cost).sum()) * math.sqrt(cell)
    exact = entropy(mixture, sigma)
    return Floor(exact, best, best - exact)


@torch.no_grad()
def divergence(flow: PlaneFlow, mixture: GaussianMixture, sigma: float, side: int = 121) -> float:
    """KL(p_σ ‖ q), nats, by quadrature on a grid of at most side x side points."""
    points, _, cell = grid(mixture, sigma, most=side)
    points = points.reshape(-1, 2)
    log_p = mixture.log_density(points, sigma)
    seen = log_p > -18
    points, log_p = points[seen], log_p[seen]
    told = flow.told(len(points), sigma)
    log_q = flow.log_prob(points.to(told.dtype), told).double()
    return float((log_p.exp() * (log_p - log_q)).sum()) * cell
