"""From scores to probabilities: softmax and what may stand in its place.

The family of Su Jianlin's "The road to probability distributions: softmax and its alternatives" (kexue.fm 10145). Every map takes
(scores, dim=-1, ...) and returns probabilities of the same shape that sum to 1 along `dim`; `MAPS` names them all.
A score of -inf is masked: its probability is 0. NaN, +inf and rows with every score masked raise ValueError.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.softmax.entmax import _check_top, _floating, entmax, fenchel_young_loss, sparsemax, tsallis_entropy

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
    "tsallis_entropy",
]

NOISES = ("gumbel", "uniform", "normal")
MAX_PERTURBED = 64  # entries the closed form of perturb-max takes: its cost grows with their cube
MAX_ORDER = 10  # beyond it the polynomial cancels too much in float32


def softmax(scores: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """exp(s_i / T) / sum_j exp(s_j / T): the hard maximum as T -> 0, uniform as T -> inf."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError("temperature must be a finite number above 0.")
    # the largest taken off first: divided by a tiny T it would overflow
    gaps = _checked(scores, dim) - scores.detach().amax(dim, keepdim=True)
    return torch.softmax(gaps / max(temperature, torch.finfo(gaps.dtype).tiny), dim)


def margin_softmax(scores: Tensor, dim: int = -1, target: int | Tensor = 0, margin: float = 1.0) -> Tensor:
    """Softmax after the target's score has been lowered by `margin`: what a classifier is trained with, to leave a gap between
    the classes; it is used without the margin afterwards.

    target: one index for all rows, or indices of the shape of `scores` without `dim`.
    The additive margin of Wang et al., "Additive Margin Softmax for Face Verification" (2018), eq. 6, here without its scale s.
    """
    _checked(scores, dim)
    if not math.isfinite(margin):
        raise ValueError("margin must be a finite number.")
    index = torch.as_tensor(target, device=scores.device)
    if index.is_floating_point() or bool(((index < 0) | (index >= scores.shape[dim])).any()):
        raise ValueError(f"target must be from 0 to {scores.shape[dim] - 1}, one of the entries.")
    shape = list(scores.shape)
    shape[dim] = 1
    index = index.expand(shape) if index.dim() == 0 else index.unsqueeze(dim)
    lowered = scores.scatter_add(
        dim, index, torch.full(shape, -float(margin), dtype=scores.dtype, device=scores.device)
    )
    return torch.softmax(lowered, dim)


def taylor_softmax(scores: Tensor, dim: int = -1, order: int = 2) -> Tensor:
    """t(s_i) / sum_j t(s_j), t(x) = sum_{k <= order} x^k / k!: positive for every x when `order` is even.

    Neither monotone (t grows again for large negative scores) nor unchanged when a constant is added to the scores.
    de Brebisson, Vincent, "An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family" (2016), sec. 3.
    """
    if order not in range(2, MAX_ORDER + 1, 2):
        raise ValueError(f"order must be an even number from 2 to {MAX_ORDER}: an odd polynomial turns negative.")
    masked = _checked(scores, dim) == -torch.inf
    x = scores.masked_fill(masked, 0)
    scale = (
        x.detach().abs().amax(dim, keepdim=True).clamp_min(1)
    )  # both sides of the fraction are divided by scale^order
    y, value = x / scale, torch.full_like(x, 1 / math.factorial(order))
    for k in range(order - 1, -1, -1):
        value = value * y + scale ** (k - order) / math.factorial(k)
    value = value.masked_fill(masked, 0)
    return value / value.sum(dim, keepdim=True)


def top_k_softmax(scores: Tensor, dim: int = -1, k: int = 5) -> Tensor:
    """Softmax among the k largest scores, 0 for the others (Su's "sparse softmax"; ties at the border: any k of them).

    Sun et al., "Sparse-softmax: A Simpler and Faster Alternative Softmax Transformation" (2021), eq. 3.
    """
    n = _checked(scores, dim).shape[dim]
    if k not in range(1, n + 1):
        raise ValueError(
            f"k must be a whole number from 1 to the number of scores, {n}; lower it, or give more scores."
        )
    values, index = scores.topk(k, dim)
    return torch.zeros_like(scores).scatter(dim, index, torch.softmax(values, dim))


def sigmoid_normalised(scores: Tensor, dim: int = -1) -> Tensor:
    """sigmoid(s_i) / sum_j sigmoid(s_j). Scores well above 0 all count alike, and adding a constant changes the result."""
    return torch.softmax(torch.nn.functional.logsigmoid(_checked(scores, dim)), dim)


def perturb_max(scores: Tensor, dim: int = -1, noise: str = "uniform") -> Tensor:
    """P(argmax_j (s_j + e_j) = i) for independent noise e: in closed form.

    "gumbel" is softmax exactly (Gumbel 1954; Maddison, Tarlow, Minka, "A* Sampling", 2014). "uniform" on [0, 1] is sparse: an
    entry 1 below the maximum never wins. Its integral is a polynomial between the points where a factor saturates, and
    Gauss-Legendre is exact there. "normal" (unit variance) is integrated by the trapezoid rule, to about 1e-12.
    Uniform and normal take at most 64 entries.
    """
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}.")
    z = _checked(scores, dim).movedim(dim, -1)
    n = z.shape[-1]
    if noise == "gumbel":
        return torch.softmax(scores, dim)
    if n > MAX_PERTURBED:
        raise ValueError(f"scores must be at most {MAX_PERTURBED} numbers for {noise} noise.")
    if noise == "normal":
        win = _normal_wins(z)
    else:  # a few rows at a time stay in the processor's cache
        win = torch.cat([_uniform_wins(rows) for rows in z.reshape(-1, n).split(max(1, 2**17 // n**3))]).view(z.shape)
    return (win / win.sum(-1, keepdim=True)).movedim(-1, dim)


def _uniform_wins(z: Tensor) -> Tensor:
    """int f(x - z_i) prod_{j != i} F(x - z_j) dx for rows z [m, n].

    The winner's value x lies above every z, and where z_j + 1 < x the factor is 1: the pieces between those points.
    """
    everyone = z
    z, index = z.topk(int((z > z.amax(-1, keepdim=True) - 1).sum(-1).max()))  # nobody else can win
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
    top = z.detach().amax(-1, keepdim=True)
    x = top + torch.linspace(-9, 9, 145, dtype=z.dtype, device=z.device)  # the winner is never far below the maximum
    offset = (x[..., None, :] - z[..., :, None]).clamp(max=1e4)
    log_below = torch.special.log_ndtr(offset)
    return torch.exp(log_below.sum(-2, keepdim=True) - log_below - offset.square() / 2).sum(-1)


@lru_cache(MAX_PERTURBED)
def _gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def gumbel_max(scores: Tensor, dim: int = -1, noise: str = "gumbel", samples: int = 1000, seed: int = 0) -> Tensor:
    """What perturb_max is the limit of: how often each entry wins among `samples` draws of noise. Not differentiable.

    The error of a frequency p is about sqrt(p (1 - p) / samples).
    """
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}.")
    if samples not in range(1, 1_000_001):
        raise ValueError("samples must be a whole number from 1 to 1,000,000.")
    z = _checked(scores, dim).detach().movedim(dim, -1)
    generator = torch.Generator(device=z.device).manual_seed(seed)
    counts = torch.zeros_like(z)
    block = max(1, 2_000_000 // z.numel())
    for start in range(0, samples, block):
        u = torch.rand(min(block, samples - start), *z.shape, generator=generator, dtype=z.dtype, device=z.device)
        u = u.clamp_min(torch.finfo(z.dtype).tiny)
        drawn = {"gumbel": lambda u: -(-u.log()).log(), "uniform": lambda u: u, "normal": torch.special.ndtri}[noise](u)
        counts += torch.nn.functional.one_hot((z + drawn).argmax(-1), z.shape[-1]).sum(0)
    return (counts / samples).movedim(-1, dim)


MAPS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "entmax": entmax,
    "sparsemax": sparsemax,
    "top_k": top_k_softmax,
    "perturb_max": perturb_max,
    "taylor": taylor_softmax,
    "sigmoid": sigmoid_normalised,
    "margin": margin_softmax,
}


def support_size(probabilities: Tensor, dim: int = -1) -> Tensor:
    """How many entries are above 0."""
    return (probabilities > 0).sum(dim)


def entropy(probabilities: Tensor, dim: int = -1) -> Tensor:
    """Shannon's entropy, in nats."""
    return torch.special.entr(probabilities).sum(dim)


def jacobian(probability_map: Callable[..., Tensor], scores: Tensor, **parameters: Any) -> Tensor:
    """d p_i / d s_j [n, n] of a map of the family at scores [n]: one backward pass through n copies."""
    if scores.dim() != 1:
        raise ValueError("scores must be one row.")
    copies = scores.detach().expand(len(scores), -1).clone().requires_grad_()
    probability_map(copies, **parameters).diagonal().sum().backward()
    return copies.grad


def _checked(scores: Tensor, dim: int) -> Tensor:
    _check_top(scores, _floating(scores).amax(dim))
    return scores
