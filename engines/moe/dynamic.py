"""A number of experts that varies from token to token, batch after batch: blog parts 4 and 7.

An expert is used where ρ + b > 0. Each batch is routed with the bias made from those before it, and renews it after that: nothing
leaks from a token to its own choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked
from engines.moe.rules import GATES, check_scores, gated, quantiles, violation

UPDATES = ("sign", "budget", "at-most", "quantile", "average")
STARTS = ("zero", "normal", "quantile")


def first_threshold(experts: int, top_k: int, sigma: float = 1.0, gate: str = "none") -> float:
    """β that leaves k experts above it on average where logits are N(0, σ²): h(σΦ⁻¹(1 − k/n)) (blog part 7).

    For a softmax the denominator is put at its value for evenly spaced quantiles, as the post does: not exact.
    """
    if top_k >= experts:  # all experts, whatever their scores
        return -1.0 if gate != "none" else -torch.inf
    normal = torch.distributions.Normal(0.0, 1.0)
    value = sigma * normal.icdf(torch.tensor(1 - top_k / experts, dtype=torch.float64))
    if gate == "softmax":
        places = torch.arange(1, experts + 1, dtype=torch.float64) / (experts + 1)
        return float(value.exp() / (sigma * normal.icdf(places)).exp().sum())
    return float(value.sigmoid() if gate == "sigmoid" else value)


def batch_quantile(scores: Tensor, top_k: int, parts: int = 1) -> Tensor:
    """β [experts]: each expert's 1 − k/n quantile, as the mean over so many equal parts of the batch [tokens, experts]."""
    tokens, experts = check_scores("scores", scores, 2).shape
    if not 1 <= parts <= tokens:
        raise Refusal("{parameter} must be from 1 to the {tokens} tokens.", parameter="parts", tokens=tokens)
    cut = scores[: tokens // parts * parts].view(parts, -1, experts).mT.contiguous()
    return quantiles(cut, 1 - top_k / experts).mean(0)


def renew(
    bias: Tensor, scores: Tensor, top_k: int, update: str, rate: float, weight: float, decay: float, parts: int
) -> Tensor:
    """The bias after a batch, by one of UPDATES.

    sign: b − γ sign(F̃ − k/n) (part 4, simplified); budget: b − γ[sign(F − Q) − its mean + λ sign(|F̃| − k)] (part 4, where λ = 1);
    at-most: the same without a rise where |F̃| < k; quantile: −β of this batch; average: its exponential mean with
    decay (part 7)
    """
    experts = scores.shape[1]
    if update in ("quantile", "average"):
        fresh = -batch_quantile(scores, top_k, parts)
        return fresh if update == "quantile" else decay * bias + (1 - decay) * fresh
    share = (scores + bias > 0).to(scores).mean(0)  # F̃
    if update == "sign":
        return bias - rate * torch.sign(share - top_k / experts)
    spent = share.sum()
    uneven = torch.sign(share / spent.clamp_min(1e-12) - 1 / experts)
    over = torch.sign(spent - top_k)
    return bias - rate * (uneven - uneven.mean() + weight * (over if update == "budget" else over.clamp_min(0)))


@dataclass(frozen=True)
class DynamicNumber:
    """Batch after batch with each way of renewing the bias; U ways, T batches.

    updates: keys of the ways
    start: key of what the bias starts from
    spent: float32 [U, T]; experts of a token, mean over the batch, with the bias from before it
    max: float32 [U, T]; greatest violation (F − Q)/Q of the batch
    mean: float32 [U, T]; mean of the violation's absolute value
    load: float32 [U, T, experts]; share of a batch's tokens that use each expert, over the k/n of an even load within the budget; the
        experts in the order of their offsets, the most favoured last
    active: float32 [U, experts + 1]; share of tokens with 0, 1, … experts in the last batches
    first: float; the bias that all experts start from
    formula: float; −h(σΦ⁻¹(1 − k/n))
    floor: float; the mean violation that a batch has by chance, were the bias exact: √(2(1 − k/n)/(π·tokens·k/n))
    experts: int; n
    top_k: int; k, the budget
    tokens: int; of a batch
    """

    updates: tuple[str, ...]
    start: str
    spent: np.ndarray
    max: np.ndarray
    mean: np.ndarray
    load: np.ndarray
    active: np.ndarray
    first: float
    formula: float
    floor: float
    experts: int
    top_k: int
    tokens: int


@checked
def dynamic_number(
    updates: Annotated[Sequence[str], SomeOf(UPDATES)] = ("sign", "budget", "quantile", "average"),
    start: Annotated[str, OneOf(STARTS)] = "normal",
    rate: Annotated[float, Between(1e-4, 0.2)] = 0.01,
    weight: Annotated[float, Between(0, 8)] = 1.0,
    decay: Annotated[float, Between(0, 0.999)] = 0.9,
    parts: Annotated[int, Between(1, 16)] = 1,
    tokens: Annotated[int, Between(32, 4000)] = 512,
    batches: Annotated[int, Between(5, 300)] = 60,
    experts: Annotated[int, Between(2, 128)] = 32,
    top_k: Annotated[int, Between(1, 64)] = 4,
    offset: Annotated[float, Between(0, 2)] = 0.3,
    gate: Annotated[str, OneOf(GATES)] = "sigmoid",
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> DynamicNumber:
    """Experts of a token and load, batch by batch, where ρ + b > 0 chooses (blog parts 4 and 7).

    Logits are N(0, 1) plus an offset for each expert, N(0, offset²), which the first bias knows nothing of. start: of the bias, 0,
    −h(σΦ⁻¹(1 − k/n)) or the quantile of a first batch over all experts; rate: γ; weight: λ of the budget; decay: of the
    average; parts: in how many parts a batch's quantiles are taken and averaged.
    """
    if top_k > experts:
        raise Refusal(
            "{parameter} must be at most {experts}, the number of experts; it is {top_k}.",
            parameter="top_k",
            experts=experts,
            top_k=top_k,
        )
    if batches * tokens * experts > 1 << 25:
        raise Refusal(
            "{parameter} must be at most {most} for {experts} experts and {batches} batches.",
            parameter="tokens",
            most=(1 << 25) // (batches * experts),
            experts=experts,
            batches=batches,
        )
    random = torch.Generator().manual_seed(seed)
    offsets = offset * torch.randn(experts, generator=random)
    sigma = (1 + offset**2) ** 0.5

    def batch() -> Tensor:
        return gated(torch.randn(tokens, experts, generator=random) + offsets, gate)

    formula = -first_threshold(experts, top_k, sigma, gate)
    before = batch()
    firsts = {"zero": 0.0, "normal": formula, "quantile": -float(quantiles(before.flatten(), 1 - top_k / experts))}
    bias = [torch.full((experts,), firsts[start]) for _ in updates]
    spent, most, mean = (np.empty((len(updates), batches), np.float32) for _ in range(3))
    load, favour = np.empty((len(updates), batches, experts), np.float32), offsets.argsort()
    active = np.zeros((len(updates), experts + 1), np.float32)
    last = max(1, batches // 4)
    for t in range(batches):
        scores = batch()
        for u, update in enumerate(updates):
            chosen = scores + bias[u] > 0
            share = chosen.float().mean(0)
            off = violation(share)
            load[u, t] = share[favour] * experts / top_k
            spent[u, t], most[u, t], mean[u, t] = share.sum(), off.max, off.mean
            if t >= batches - last:
                active[u] += torch.bincount(chosen.sum(1), minlength=experts + 1).numpy() / (tokens * last)
            bias[u] = renew(bias[u], scores, top_k, update, rate, weight, decay, parts)
    return DynamicNumber(
        updates=tuple(updates),
        start=start,
        spent=spent,
        max=most,
        mean=mean,
        load=load,
        active=active,
        first=firsts[start],
        formula=formula,
        floor=(2 * (1 - top_k / experts) / (np.pi * tokens * top_k / experts)) ** 0.5,
        experts=experts,
        top_k=top_k,
        tokens=tokens,
    )
