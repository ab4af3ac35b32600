"""Gumbel-softmax, the relaxation of a draw: its mean, which is not softmax.

Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax" (2017); Maddison, Mnih, Teh, "The Concrete Distribution" (2017).
"""

import torch
from torch import Tensor

from engines.arguments import Refusal, number
from engines.softmax.scores import floating, gaps

LEAST_TAU, MOST_TAU = 0.05, 5.0
STEP = 0.2


def gumbel_softmax_mean(scores: Tensor, tau: float) -> Tensor:
    """E softmax((s + g) / tau) of scores [n], g independent Gumbel noise: float64 [n], differentiable; to about 1e-9.

    As tau -> 0 it is softmax(s). With X_i = exp((s_i + g_i) / tau), E X_i / sum X = int E[X_i exp(-u sum X)] du, and independence
    makes that a product of transforms E exp(-u X_j), each one integral; both by the trapezoid rule.
    tau: 0.05 to 5
    """
    tau = number("tau", tau, LEAST_TAU, MOST_TAU)
    floating("scores", scores, -1)
    if scores.dim() != 1:
        raise Refusal("{parameter} must be one row.", parameter="scores")
    s = gaps(scores.double(), -1)
    wide = max(1.0, tau)
    step = STEP / wide
    z = torch.arange(-30, 4, step, dtype=torch.float64)
    weight = torch.exp(z - z.exp()) * step
    u = torch.arange(-36 * wide, 8 * wide + 30, STEP * wide, dtype=torch.float64)
    # what lies far below the maximum: no draw comes there
    a = (u[:, None, None] + s.clamp_min(-30)[None, :, None] - tau * z).clamp(max=40)
    below = a.exp()
    transform = torch.exp(-below) @ weight  # [u, n]
    slope = (below * torch.exp(-below)) @ weight
    return torch.stack(
        [
            (slope[:, i] * transform[:, [j for j in range(len(s)) if j != i]].prod(-1)).sum() * STEP * wide
            for i in range(len(s))
        ]
    )


def gumbel_softmax(scores: Tensor, tau: float, draws: int, seed: int) -> Tensor:
    """Draws of softmax((s + g) / tau) of scores [n], float64 [draws, n]."""
    u = torch.rand(draws, len(scores), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = -(-u.clamp_min(torch.finfo(u.dtype).tiny).log()).log()
    return torch.softmax((scores.double() + noise) / tau, -1)
