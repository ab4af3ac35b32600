"""The published algorithms of the sparse maps, as they were published: what ours is compared with. No gradients.

Each takes scores [..., n] and works along the last dimension, from the row's maximum.
"""

import torch
from torch import Tensor

from engines.arguments import Refusal, number, whole
from engines.softmax.scores import gaps


def sparsemax_by_sorting(scores: Tensor) -> Tensor:
    """Martins, Astudillo 2016, algorithm 1."""
    z = gaps(scores, -1)
    ordered = z.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    size = (k * ordered > excess).sum(-1, keepdim=True)
    return torch.relu(z - excess.gather(-1, size - 1) / size).to(scores.dtype)


def entmax15_by_sorting(scores: Tensor) -> Tensor:
    """Peters, Niculae, Martins 2019, algorithm 2 (alpha = 1.5)."""
    z = gaps(scores, -1) / 2
    ordered = z.sort(-1, descending=True).values
    k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    mean, mean_square = ordered.cumsum(-1) / k, ordered.square().cumsum(-1) / k
    threshold = mean - ((1 - k * (mean_square - mean.square())) / k).clamp_min(0).sqrt()
    size = (threshold <= ordered).sum(-1, keepdim=True)
    return torch.relu(z - threshold.gather(-1, size - 1)).square().to(scores.dtype)


def entmax_by_bisection(scores: Tensor, alpha: float, steps: int = 30) -> Tensor:
    """Peters, Niculae, Martins 2019, algorithm 1 (1 < alpha <= 4), with `steps` (at most 1,000) halvings."""
    alpha, steps = number("alpha", alpha, 1, 4), whole("steps", steps, 1, 1000)
    if alpha == 1:
        raise Refusal("{parameter} must be above 1: softmax has no threshold to bisect for.", parameter="alpha")
    z = (alpha - 1) * gaps(scores, -1)
    low = torch.full_like(z[..., :1], -1.0)
    width = 1 - z.shape[-1] ** (1 - alpha)
    for _ in range(steps):
        width /= 2
        middle = low + width
        p = torch.relu(z - middle) ** (1 / (alpha - 1))
        low = torch.where(p.sum(-1, keepdim=True) >= 1, middle, low)
    return (p / p.sum(-1, keepdim=True)).to(scores.dtype)
