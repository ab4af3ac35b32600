"""What is shown of the family's shape, of what a loss asks for, and of the relaxed draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines import softmax as family
from engines.arguments import Between, checked
from engines.softmax.experiments import (
    FIVE_SCORES,
    Alpha,
    Map,
    Margin,
    Mass,
    Order,
    Scores,
    Seed,
    Top,
    own_parameters,
)
from engines.softmax.relaxed import gumbel_softmax, gumbel_softmax_mean

MOST_BETA = 3.0
DRAWN_BETAS = (0.0, 0.5, 1.0, 2.0)
TAUS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
DESCENTS = ("cross_entropy", "probability", "stop_gradient")


@dataclass(frozen=True)
class ReluFamily:
    """p = relu(1 + beta (s - lambda))^(1 / beta), lambda such that the p sum to 1: softmax at 0, sparsemax at 1.

    scores: float64 [n]; as given
    beta: as given
    threshold: lambda at beta
    probabilities: float64 [n]; at beta
    betas: float64 [b]; from 0 to 3
    sweep: float64 [b, n]; the probabilities at each of them
    leaves: float64 [n]; the beta from which an entry is 0, inf where it is not below 1,000
    u: float64 [g]; s - lambda
    drawn: float64 [c]; the betas of the curves, `beta` among them
    curves: float64 [c, g]; relu(1 + beta u)^(1 / beta), exp(u) at 0
    """

    scores: np.ndarray
    beta: float
    threshold: float
    probabilities: np.ndarray
    betas: np.ndarray
    sweep: np.ndarray
    leaves: np.ndarray
    u: np.ndarray
    drawn: np.ndarray
    curves: np.ndarray


def relu_power(u: np.ndarray, beta: float) -> np.ndarray:
    """relu(1 + beta u)^(1 / beta), exp(u) at beta = 0."""
    return np.exp(u) if beta == 0 else np.maximum(1 + beta * u, 0) ** (1 / beta)


def leaves_at(scores: np.ndarray) -> np.ndarray:
    """The beta from which each of the scores [n] has probability 0: there those above it use up the sum,
    sum (beta (s_j - s_i))^(1 / beta) = 1; inf where that is not below 1,000."""
    import scipy.optimize  # a second to load

    def left(log_beta: float, gaps: np.ndarray) -> float:
        beta = math.exp(log_beta)
        return float(np.log(np.exp(np.log(beta * gaps) / beta).sum()))

    found = np.full(len(scores), np.inf)
    grid = np.linspace(math.log(1e-2), math.log(1e3), 231)
    for i, score in enumerate(scores):
        gaps = scores[scores > score] - score
        if not len(gaps):
            continue
        with np.errstate(over="ignore", divide="ignore"):
            values = np.array([left(x, gaps) for x in grid])
            first = np.flatnonzero(values >= 0)
            if len(first):
                at = first[0]
                found[i] = (
                    math.exp(scipy.optimize.brentq(left, grid[at - 1], grid[at], (gaps,), xtol=1e-14))
                    if at
                    else math.exp(grid[0])
                )
    return found


@checked
def relu_family(scores: Scores = FIVE_SCORES, beta: Annotated[float, Between(0, MOST_BETA)] = 0.5) -> ReluFamily:
    """The family between softmax and sparsemax and beyond, as Su Jianlin derives it from exp(x) = lim (1 + beta x)^(1 / beta)
    (kexue.fm 10145): alpha-entmax with alpha = 1 + beta."""
    z = torch.tensor(scores, dtype=torch.float64)
    betas = np.linspace(0, MOST_BETA, 61)
    p = family.entmax(z, alpha=1 + beta)
    top, at = float(p.max()), int(z.argmax())
    u = np.linspace(-4, 0.25, 171)
    drawn = np.array(sorted({*DRAWN_BETAS, beta}))
    return ReluFamily(
        scores=z.numpy(),
        beta=beta,
        threshold=float(z[at]) - (math.log(top) if beta == 0 else (top**beta - 1) / beta),
        probabilities=p.numpy(),
        betas=betas,
        sweep=np.stack([family.entmax(z, alpha=1 + b).numpy() for b in betas.tolist()]),
        leaves=leaves_at(z.numpy()),
        u=u,
        drawn=drawn,
        curves=np.stack([relu_power(u, b) for b in drawn.tolist()]),
    )


@dataclass(frozen=True)
class Descent:
    """A classifier's scores under gradient descent, from a target that is behind.

    map: its name
    kinds: DESCENTS: the gradient of -log p(target), of -p(target), and p - y, which is that of <s, stop(p - y)>
    probability: float64 [3, steps + 1]; of the target
    lead: float64 [3, steps + 1]; the target's score less the largest of the others
    leads: float64 [g]; of the target over the others, all 0
    size: float64 [3, g]; Euclidean length of each gradient there, nan where the loss is infinite
    maps: names of all [m]
    asymmetry: float64 [m]; greatest |J - J^T| at five different scores, of each map with its default parameters: 0 where p - y is, away from jumps, the gradient of a loss
    """

    map: str
    kinds: tuple[str, ...]
    probability: np.ndarray
    lead: np.ndarray
    leads: np.ndarray
    size: np.ndarray
    maps: tuple[str, ...]
    asymmetry: np.ndarray


def _gradients(f: Callable[..., Tensor], z: Tensor, **own: float) -> tuple[Tensor, Tensor]:
    """The three gradients [3, rows, n] of rows z [3, rows, n] whose target is the first, and its probabilities [3, rows]."""
    z = z.detach().requires_grad_()
    p = f(z, **own)
    target = p[..., 0]
    safe = torch.where(target > 0, target, 1)  # where it is 0, -log has no gradient
    (gradient,) = torch.autograd.grad(-safe[0].log().sum() - target[1].sum(), z)
    y = torch.nn.functional.one_hot(torch.tensor(0), z.shape[-1])
    gradient[2] = (p - y)[2].detach()
    return gradient, target.detach()


@checked
def descend(
    map: Map = "softmax",
    start: Annotated[float, Between(-8, 0)] = -3.0,
    classes: Annotated[int, Between(2, 32)] = 10,
    rate: Annotated[float, Between(0.01, 10)] = 1.0,
    steps: Annotated[int, Between(10, 1000)] = 200,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> Descent:
    """Gradient descent on the scores themselves, the target at `start` and all others at 0, with three gradients.

    The gradient of -p_t is p_t (p - y) under softmax: it vanishes where the target has no probability. The last gradient is that of the
    scores' inner product with p - y, held constant: any map can be trained with it (kexue.fm 10145).
    """
    f, own = family.MAPS[map], own_parameters(classes, alpha, k, order, margin, p).get(map, {})
    z = torch.zeros(3, 1, classes, dtype=torch.float64)
    z[..., 0] = start
    probability, lead = np.zeros((2, 3, steps + 1))
    for step in range(steps + 1):
        gradient, target = _gradients(f, z, **own)
        probability[:, step] = target[:, 0].numpy()
        lead[:, step] = (z[:, 0, 0] - z[:, 0, 1:].amax(-1)).numpy()
        z = z - rate * gradient
    leads = np.linspace(-8, 8, 129)
    rows = torch.zeros(3, len(leads), classes, dtype=torch.float64)
    rows[..., 0] = torch.from_numpy(leads)
    gradient, target = _gradients(f, rows, **own)
    size = gradient.norm(dim=-1).numpy()
    size[0, (target[0] == 0).numpy()] = np.nan
    five = torch.tensor(FIVE_SCORES, dtype=torch.float64)
    each = own_parameters(len(five), alpha=1.5, k=3, order=2, margin=1.0, p=0.9)
    jacobians = [family.jacobian(g, five, **each.get(name, {})) for name, g in family.MAPS.items()]
    return Descent(
        map=map,
        kinds=DESCENTS,
        probability=probability,
        lead=lead,
        leads=leads,
        size=size,
        maps=tuple(family.MAPS),
        asymmetry=np.array([float((j - j.T).abs().max()) for j in jacobians]),
    )


@dataclass(frozen=True)
class Relaxation:
    """Draws of Gumbel-softmax for three scores that sum to 0, in the plane of `SimplexMap`.

    tau: its temperature
    corners: float64 [3, 2]; x, y of the probabilities (1, 0, 0), (0, 1, 0), (0, 0, 1)
    draws: float64 [n, 2]; x, y of the draws
    scores, softmax, mean: float64 [3]; the scores, their softmax, and the exact mean of the draws
    points: float64 [3, 2]; x, y of these three
    taus: float64 [t]
    distance: float64 [t]; total variation between mean and softmax at each of them
    bias: float64 [t]; of the gradient of the mean of the first, from the true one, over its length
    deviation: float64 [t]; standard deviation of one draw's gradient, over the same length, from the draws
    score_function: the same of the score-function estimator (REINFORCE), which has no bias, in closed form
    """

    tau: float
    corners: np.ndarray
    draws: np.ndarray
    scores: np.ndarray
    softmax: np.ndarray
    mean: np.ndarray
    points: np.ndarray
    taus: np.ndarray
    distance: np.ndarray
    bias: np.ndarray
    deviation: np.ndarray
    score_function: float


@checked
def relax(
    tau: Annotated[float, Between(0.1, 5)] = 1.0,
    x: Annotated[float, Between(-1.2, 1.2)] = 0.9,
    y: Annotated[float, Between(-1.2, 1.2)] = 0.5,
    draws: Annotated[int, Between(10, 5000)] = 1000,
    seed: Seed = 0,
) -> Relaxation:
    """Draws softmax((s + g) / tau), their exact mean, and what their gradient is worth: bias against spread, over tau."""
    basis = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]], dtype=torch.float64)
    basis /= basis.norm(dim=-1, keepdim=True)
    s = torch.tensor([x, y], dtype=torch.float64) @ basis
    p = torch.softmax(s, -1)
    first = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    true = p[0] * (first - p)
    distance, bias, deviation = np.zeros((3, len(TAUS)))
    for i, each in enumerate(TAUS):
        leaf = s.clone().requires_grad_()
        mean = gumbel_softmax_mean(leaf, each)
        (gradient,) = torch.autograd.grad(mean[0], leaf)
        distance[i] = float((mean.detach() - p).abs().sum()) / 2
        bias[i] = float((gradient - true).norm() / true.norm())
        q = gumbel_softmax(s, each, draws, seed)
        one = q[:, :1] * (first - q) / each
        deviation[i] = float((one - one.mean(0)).square().sum(-1).mean().sqrt() / true.norm())
    mean = gumbel_softmax_mean(s, tau)
    return Relaxation(
        tau=tau,
        corners=basis.T.numpy().copy(),
        draws=(gumbel_softmax(s, tau, draws, seed) @ basis.T).numpy(),
        scores=s.numpy(),
        softmax=p.numpy(),
        mean=mean.numpy(),
        points=(torch.stack((s, p, mean)) @ basis.T).numpy(),
        taus=np.array(TAUS),
        distance=distance,
        bias=bias,
        deviation=deviation,
        score_function=float(((1 - p[0]) / p[0]).sqrt()),
    )
