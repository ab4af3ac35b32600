"""From scores to probabilities: softmax and what may stand in its place.

The family of Su Jianlin's "The road to probability distributions: softmax and its alternatives" (kexue.fm 10145). Every map takes
(scores, dim=-1, ...) and returns probabilities of the same shape that sum to 1 along `dim`; `MAPS` names them all.
A score of -inf is masked: its probability is 0. NaN, +inf and rows with every score masked raise ValueError. Half
precisions are computed in float32 (perturb_max and gumbel_max in float64) and rounded at the end; no rows give no rows.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, one_of, whole
from engines.softmax.entmax import entmax, fenchel_young_loss, sparsemax, tsallis_entropy
from engines.softmax.scores import check_top, class_indices, distribution, floating, gaps, wide

__all__ = [
    "MAPS",
    "entmax",
    "entropy",
    "fenchel_young_loss",
    "gumbel_max",
    "jacobian",
    "margin_softmax",
    "perturb_max",
    "sigmoid_normalised",
    "softmax",
    "sparsemax",
    "support_size",
    "taylor_softmax",
    "top_k_softmax",
    "top_p_softmax",
    "tsallis_entropy",
]

NOISES = ("gumbel", "uniform", "normal")
MAX_PERTURBED = 64  # entries the closed form of perturb-max takes: its cost grows with their cube
MAX_ORDER = 10  # beyond it the polynomial cancels too much in float32
MAX_MARGIN = 1e30  # so that it is finite in float32
MAX_DRAWS = 1_000_000
MAX_JACOBIAN = 4096  # scores of a Jacobian: it takes n^2 numbers


def softmax(scores: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """exp(s_i / T) / sum_j exp(s_j / T): the hard maximum as T -> 0, uniform as T -> inf. T: any finite number above 0."""
    temperature = number("temperature", temperature)
    if temperature <= 0:
        raise Refusal("{parameter} must be above 0, not {given}.", parameter="temperature", given=temperature)
    z = gaps(scores, dim)
    if not 1e-30 < temperature < 1e30:  # what float32 cannot hold
        z = wide(z)
    return torch.softmax(z / temperature, dim).to(scores.dtype)


def margin_softmax(scores: Tensor, dim: int = -1, target: int | Tensor = 0, margin: float = 1.0) -> Tensor:
    """Softmax after the target's score has been lowered by `margin`: what a classifier is trained with, to leave a gap
    between the classes; it is used without the margin afterwards.

    target: one index for all rows, or indices of the shape of `scores` without `dim`; margin: at most 1e30 either way.
    The additive margin of Wang et al., "Additive Margin Softmax for Face Verification" (2018), eq. 6, without its scale s.
    """
    margin = number("margin", margin, -MAX_MARGIN, MAX_MARGIN)
    z = gaps(scores, dim)
    index = class_indices("target", target, scores, dim)
    lowered = z.scatter_add(dim, index, z.new_full(index.shape, -margin))
    return torch.softmax(lowered, dim).to(scores.dtype)


def taylor_softmax(scores: Tensor, dim: int = -1, order: int = 2) -> Tensor:
    """t(s_i) / sum_j t(s_j), t(x) = sum_{k <= order} x^k / k!: positive for every x when `order` is even.

    Neither monotone (t grows again for large negative scores) nor unchanged when a constant is added to the scores.
    de Brebisson, Vincent, "An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family" (2016), sec. 3.
    """
    order = whole("order", order, 2, MAX_ORDER)
    if order % 2:
        raise Refusal("{parameter} must be even: an odd polynomial turns negative.", parameter="order")
    z = _checked(scores, dim)
    masked = z == -torch.inf
    x = z.masked_fill(masked, 0)
    # both sides of the fraction are divided by scale^order
    scale = x.detach().abs().amax(dim, keepdim=True).clamp_min(1)
    y, value = x / scale, torch.full_like(x, 1 / math.factorial(order))
    for k in range(order - 1, -1, -1):
        value = value * y + scale ** (k - order) / math.factorial(k)
    value = value.masked_fill(masked, 0)
    return (value / value.sum(dim, keepdim=True)).to(scores.dtype)


def top_k_softmax(scores: Tensor, dim: int = -1, k: int = 5) -> Tensor:
    """Softmax among the k largest scores, 0 for the others (Su's "sparse softmax"; ties at the border: any k of them).

    Sun et al., "Sparse-softmax: A Simpler and Faster Alternative Softmax Transformation" (2021), eq. 3.
    """
    z = gaps(scores, dim)
    n = z.shape[dim]
    try:
        k = whole("k", k, 1, n)
    except Refusal:
        raise Refusal(
            "{parameter} must be a whole number from 1 to the number of scores, {n}; lower it, or give more scores.",
            parameter="k",
            n=n,
        ) from None
    values, index = z.topk(k, dim)
    return torch.zeros_like(z).scatter(dim, index, torch.softmax(values, dim)).to(scores.dtype)


def top_p_softmax(scores: Tensor, dim: int = -1, p: float = 0.9) -> Tensor:
    """Softmax among the fewest largest scores whose softmax sums to at least p, 0 for the others; p = 0 leaves one.

    Nucleus sampling: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020), sec. 3.1. It jumps where one drops out.
    """
    p = number("p", p, 0, 1)
    z = gaps(scores, dim).movedim(dim, -1)
    order = z.detach().argsort(dim=-1, descending=True, stable=True)
    q = torch.softmax(z.detach(), -1).gather(-1, order)
    kept = (q.cumsum(-1) - q < p) | (torch.arange(z.shape[-1], device=z.device) == 0)
    kept = torch.zeros_like(kept).scatter(-1, order, kept)
    return torch.softmax(z.masked_fill(~kept, -torch.inf), -1).movedim(-1, dim).to(scores.dtype)


def sigmoid_normalised(scores: Tensor, dim: int = -1) -> Tensor:
    """sigmoid(s_i) / sum_j sigmoid(s_j). Scores well above 0 all count alike, and adding a constant changes the result."""
    log_sigmoid = torch.nn.functional.logsigmoid(_checked(scores, dim))
    return torch.softmax(log_sigmoid, dim).to(scores.dtype)


def perturb_max(scores: Tensor, dim: int = -1, noise: str = "uniform") -> Tensor:
    """P(argmax_j (s_j + e_j) = i) for independent noise e: in closed form, computed in float64.

    "gumbel" is softmax exactly (Gumbel 1954; Maddison, Tarlow, Minka, "A* Sampling", 2014). "uniform" on [0, 1] is sparse: an
    entry 1 below the maximum never wins. Its integral is a polynomial between the points where a factor saturates, and
    Gauss-Legendre is exact there. "normal" (unit variance) is integrated by the trapezoid rule, to about 1e-12.
    Uniform and normal take at most 64 entries.
    """
    noise = one_of("noise", noise, NOISES)
    z = gaps(scores, dim)
    if noise == "gumbel" or not z.numel():
        return torch.softmax(z, dim).to(scores.dtype)
    n = z.shape[dim]
    if n > MAX_PERTURBED:
        raise Refusal(
            "{parameter} must be at most {most} numbers a row for {noise} noise.",
            parameter="scores",
            most=MAX_PERTURBED,
            noise=noise,
        )
    z = gaps(wide(scores), dim).movedim(dim, -1)
    wins, block = (_uniform_wins, 2**17 // n**3) if noise == "uniform" else (_normal_wins, 2**20 // n)
    # a few rows at a time stay in the processor's cache
    win = torch.cat([wins(rows) for rows in z.reshape(-1, n).split(max(1, block))]).view(z.shape)
    return (win / win.sum(-1, keepdim=True)).movedim(-1, dim).to(scores.dtype)


def _uniform_wins(z: Tensor) -> Tensor:
    """int f(x - z_i) prod_{j != i} F(x - z_j) dx for rows z [m, n] whose maximum is 0.

    The winner's value x lies above every z, and where z_j + 1 < x the factor is 1: the pieces between those points.
    """
    everyone = z
    z, index = z.topk(int((z > -1).sum(-1).max()))  # nobody else can win
    top = z[:, :1]
    own = (z + 1).clamp(min=top)
    ends, order = own.sort(-1)
    starts = torch.cat([top, ends[:, :-1]], -1)
    nodes, weights = (torch.from_numpy(a).to(z) for a in _gauss_legendre((z.shape[-1] + 1) // 2))
    x = starts[..., None] + (ends - starts)[..., None] * nodes  # [row, piece, node]
    tiny = torch.finfo(z.dtype).tiny  # a piece of no length counts for nothing: 0 / tiny
    factors = (x[:, None] - z[..., None, None]).clamp(tiny, 1)  # [row, entry, piece, node]
    all_below = factors.prod(1) * (ends - starts)[..., None] * weights
    wins = (all_below[:, None] / factors).sum(-1)  # [row, entry, piece]
    # An entry wins in the pieces up to its own end. By rank, not by value: a tie's empty piece has a slope.
    is_within = torch.arange(len(order[0]), device=z.device) <= order.argsort(-1)[..., None]
    return torch.zeros_like(everyone).scatter(-1, index, (wins * is_within).sum(-1))


def _normal_wins(z: Tensor) -> Tensor:
    """The same integral for normal noise: the winner is never far from the maximum, 0."""
    x = torch.linspace(-9, 9, 145, dtype=z.dtype, device=z.device)
    offset = (x - z[..., None]).clamp(max=1e4)
    log_below = torch.special.log_ndtr(offset)
    return torch.exp(log_below.sum(-2, keepdim=True) - log_below - offset.square() / 2).sum(-1)


@lru_cache(MAX_PERTURBED)
def _gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def gumbel_max(scores: Tensor, dim: int = -1, noise: str = "gumbel", samples: int = 1000, seed: int = 0) -> Tensor:
    """What perturb_max is the limit of: how often each entry wins among `samples` draws of noise (at most 1,000,000).

    Not differentiable. The error of a frequency p is about sqrt(p (1 - p) / samples).
    """
    noise = one_of("noise", noise, NOISES)
    samples = whole("samples", samples, 1, MAX_DRAWS)
    seed = whole("seed", seed, 0, 2**63 - 1)
    floating("scores", scores, dim)
    # in float64, and from the maximum: a noise of 1 is lost beside a half-precision score of 4,096
    z = gaps(wide(scores.detach()), dim).movedim(dim, -1)
    if not z.numel():
        return torch.zeros_like(scores)
    generator = torch.Generator(device=z.device).manual_seed(seed)
    counts = torch.zeros_like(z)
    block = max(1, 2_000_000 // z.numel())
    for start in range(0, samples, block):
        u = torch.rand(min(block, samples - start), *z.shape, generator=generator, dtype=z.dtype, device=z.device)
        u = u.clamp_min(torch.finfo(z.dtype).tiny)
        draws = {"gumbel": lambda u: -(-u.log()).log(), "uniform": lambda u: u, "normal": torch.special.ndtri}[noise](u)
        counts += torch.nn.functional.one_hot((z + draws).argmax(-1), z.shape[-1]).sum(0)
    return (counts / samples).movedim(-1, dim).to(scores.dtype)


MAPS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "entmax": entmax,
    "sparsemax": sparsemax,
    "top_k": top_k_softmax,
    "perturb_max": perturb_max,
    "taylor": taylor_softmax,
    "sigmoid": sigmoid_normalised,
    "margin": margin_softmax,
    "top_p": top_p_softmax,
}


def support_size(probabilities: Tensor, dim: int = -1) -> Tensor:
    """How many entries are above 0."""
    return (distribution(probabilities, dim) > 0).sum(dim)


def entropy(probabilities: Tensor, dim: int = -1) -> Tensor:
    """Shannon's entropy, in nats. The slope at an entry that is 0 is taken for 0, so that gradients stay finite."""
    return tsallis_entropy(probabilities, 1.0, dim)


def jacobian(probability_map: Callable[..., Tensor], scores: Tensor, **parameters: Any) -> Tensor:
    """d p_i / d s_j [n, n] of a map of the family at scores [n]: one backward pass through n copies.

    parameters: the map's own. At most 4,096 scores.
    """
    if not callable(probability_map):
        raise Refusal("{parameter} must be a map from scores to probabilities.", parameter="probability_map")
    floating("scores", scores, -1)
    if scores.dim() != 1 or len(scores) > MAX_JACOBIAN:
        raise Refusal("{parameter} must be one row of at most {most}.", parameter="scores", most=MAX_JACOBIAN)
    copies = scores.detach().expand(len(scores), -1).clone().requires_grad_()
    p = probability_map(copies, **parameters)
    if not isinstance(p, Tensor) or p.shape != copies.shape or not p.requires_grad:
        raise Refusal(
            "{parameter} must be differentiable, and give as many numbers as it gets.", parameter="probability_map"
        )
    (slopes,) = torch.autograd.grad(p.diagonal().sum(), copies)
    return slopes


def _checked(scores: Tensor, dim: int) -> Tensor:
    """The scores in the precision to compute in, for the maps that a shift changes."""
    z = floating("scores", scores, dim)
    check_top(z.detach().amax(dim))
    return z
