"""Where the auxiliary loss comes from: ½‖F − Q‖² with its gradient passed straight through the choice (blog part 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Refusal, checked
from engines.moe.balancing import synthetic_scores
from engines.moe.rules import check_scores, check_target, load


def straight_through(scores: Tensor, top_k: int, target: Tensor | None = None) -> Tensor:
    """½‖P + sg[F − P] − Q‖² of logits [tokens, experts], a scalar: the value is that of F, the gradient goes by P.

    F: the load of the top k; P: the mean softmax; sg: no gradient; target: Q, even when left out. Its gradient is that of
    Σ (F_i − Q_i) P_i, and for an even Q that of Σ F_i P_i, because Σ P_i = 1.
    """
    experts = check_scores("scores", scores, 2).shape[1]
    given = check_target(target, top_k, experts)
    wanted = torch.full((experts,), 1 / experts, dtype=torch.float64) if given is None else given
    smooth = scores.softmax(-1).mean(0)
    share = load(scores.detach().topk(top_k, dim=1).indices, experts).to(smooth)
    return 0.5 * (smooth + (share - smooth).detach() - wanted.to(smooth)).square().sum()


@dataclass(frozen=True)
class Auxiliary:
    """The loss and its stand-ins, as one expert's offset moves; T offsets.

    offset: float64 [T]; added to the logits of the last expert
    share: float64 [T]; F of that expert
    smooth: float64 [T]; P of it
    loss: float64 [T]; ½‖F − Q‖²
    product: float64 [T]; Σ F_i P_i, whose gradient is used where Q is even
    slope: float64 [T]; d/d offset of ½‖F − Q‖², by differences
    through: float64 [T]; the slope with the gradient passed straight through: Σ (F_i − Q_i) dP_i
    product_slope: float64 [T]; Σ F_i dP_i
    wanted: float64; Q of that expert
    best: float64; the offset of the least loss
    zero: float64; the offset where the straight-through slope changes its sign, NaN if nowhere
    product_zero: float64; the same for Σ F_i dP_i
    experts: int; n
    top_k: int; k
    """

    offset: np.ndarray
    share: np.ndarray
    smooth: np.ndarray
    loss: np.ndarray
    product: np.ndarray
    slope: np.ndarray
    through: np.ndarray
    product_slope: np.ndarray
    wanted: float
    best: float
    zero: float
    product_zero: float
    experts: int
    top_k: int


@checked
def auxiliary_loss(
    experts: Annotated[int, Between(2, 32)] = 8,
    top_k: Annotated[int, Between(1, 8)] = 2,
    wanted: Annotated[float, Between(0.2, 4)] = 1.0,
    sharpness: Annotated[float, Between(0.25, 4)] = 1.0,
    tokens: Annotated[int, Between(200, 20_000)] = 2000,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Auxiliary:
    """½‖F − Q‖², its slope, and the slope that is passed straight through, against the offset of one expert's logits.

    wanted: Q of that expert over the even share 1/n, the others sharing the rest evenly; sharpness: times the logits, whose
    softmax P follows F the more closely the sharper it is
    """
    if top_k >= experts:
        raise Refusal(
            "{parameter} must be below {experts}, the number of experts; it is {top_k}.",
            parameter="top_k",
            experts=experts,
            top_k=top_k,
        )
    mine = wanted / experts
    if mine * top_k >= 1 or (1 - mine) / (experts - 1) * top_k > 1:
        raise Refusal(
            "{parameter} is too far from even: an expert would need more than all tokens.", parameter="wanted"
        )
    target = torch.full((experts,), (1 - mine) / (experts - 1), dtype=torch.float64)
    target[-1] = mine
    logits = synthetic_scores("normal", tokens, experts, seed)[0].double()
    logits = logits - logits.mean(0)  # so that only the one offset is uneven
    offset = torch.linspace(-3, 3, 61, dtype=torch.float64)
    rest = torch.zeros(experts, dtype=torch.float64)
    share, smooth, slopes = (torch.empty(len(offset), experts, dtype=torch.float64) for _ in range(3))
    for t, value in enumerate(offset):
        rest[-1] = value
        p = (sharpness * (logits + rest)).softmax(-1)
        share[t] = load((logits + rest).topk(top_k, dim=1).indices, experts)
        smooth[t] = p.mean(0)
        # d softmax_i / d z_last, times the sharpness
        slopes[t] = sharpness * (p * ((torch.arange(experts) == experts - 1).double() - p[:, -1:])).mean(0)
    loss = 0.5 * (share - target).square().sum(1)
    product = (share * smooth).sum(1)
    through, product_slope = ((share - target) * slopes).sum(1), (share * slopes).sum(1)
    # smoothed over three: F moves by single tokens
    slope = np.gradient(np.convolve(np.pad(loss.numpy(), 1, mode="edge"), np.ones(3) / 3, "valid"), offset.numpy())
    return Auxiliary(
        offset=offset.numpy(),
        share=share[:, -1].numpy(),
        smooth=smooth[:, -1].numpy(),
        loss=loss.numpy(),
        product=product.numpy(),
        slope=slope,
        through=through.numpy(),
        product_slope=product_slope.numpy(),
        wanted=mine,
        best=float(offset[loss.argmin()]),
        zero=_crossing(offset, through),
        product_zero=_crossing(offset, product_slope),
        experts=experts,
        top_k=top_k,
    )


def _crossing(x: Tensor, y: Tensor) -> float:
    """Where y goes from below 0 to above it, between two points; NaN if nowhere."""
    at = torch.nonzero((y[:-1] < 0) & (y[1:] >= 0)).flatten()
    if not len(at):
        return float("nan")
    i = int(at[0])
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
