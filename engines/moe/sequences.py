"""Balance within each sequence and not only over all of them: moving quantile balancing (blog part 8).

A bias for all tokens balances the batch; a sequence of one kind may still use few experts. Here each token has a bias of its own,
made from the scores of its sequence up to it. A quantile cannot be renewed token by token, but a histogram can: it is an exponential
mean, a linear recurrence, and the quantile is read off it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines import models
from engines.arguments import Between, ListOf, OneOf, Refusal, SomeOf, checked, number, one_of, whole
from engines.decoder import token_losses
from engines.moe.language import EMBEDDED, held_back
from engines.moe.rules import check_scores, violation

ESTIMATES = ("histogram", "mean")


def moving_thresholds(
    scores: Tensor, top_k: int, estimate: str = "histogram", decay: float = 0.99, bins: int = 100
) -> Tensor:
    """β [..., length, experts] of scores in [0, 1], from the scores of the same sequence up to and with each token.

    histogram: the 1 − k/n quantile of an exponential mean of one-hot histograms of so many bins, at the middle of its bin (moving
    quantile balancing); mean: the exponential mean of the scores themselves (centring). The weights of a mean sum to 1.
    """
    experts = check_scores("scores", scores).shape[-1]
    top_k, bins = whole("top_k", top_k, 1, experts), whole("bins", bins, 2, 1000)
    one_of("estimate", estimate, ESTIMATES)
    decay = number("decay", decay, 0, 1)
    if scores.ndim < 2 or float(scores.min()) < 0 or float(scores.max()) > 1:
        raise Refusal("{parameter} must be [..., length, experts], from 0 to 1.", parameter="scores")
    steps = scores.float().unbind(-2)
    found, weight = [], 0.0
    state = torch.zeros(*scores.shape[:-2], experts, *((bins,) if estimate == "histogram" else ()))
    for now in steps:
        weight = decay * weight + 1  # 1 + γ + γ² + …
        state = state * decay
        if estimate == "mean":
            state = state + now
            found.append(state / weight)
            continue
        place = (now * bins).long().clamp_max(bins - 1)[..., None]
        state = state.scatter_add(-1, place, torch.ones_like(now)[..., None])
        # a hair below, or rounding moves a share that is reached exactly by a bin
        reached = state.cumsum(-1) >= (1 - top_k / experts) * weight * (1 - 1e-6)
        found.append((reached.int().argmax(-1) + 0.5) / bins)
    return torch.stack(found, dim=-2)


@dataclass(frozen=True)
class SequenceBalance:
    """Balance of sequences, and what it costs, against its strength λ; E estimates, S strengths.

    estimates: keys of the ways to make β
    strength: float64 [S]; λ, the first of them 0
    within: float64 [E, S]; greatest violation (F − Q)/Q in a sequence, mean over sequences and layers
    over_all: float64 [E, S]; greatest violation over all tokens, mean over layers
    loss: float64 [E, S], nats a byte; of the model, with its choices moved
    error: float64 [E, S], nats a byte; standard error over the sequences of the loss less that at λ = 0
    share: float64 [sequences, experts]; load of each sequence in the last layer at λ = 0, one domain after the other
    moved: float64 [sequences, experts]; the same with the first estimate at the greatest λ
    chance: float64; what `within` would be if every token drew its experts evenly at random
    domains: keys of the domains
    sequences: int
    length: int, bytes; of each
    """

    estimates: tuple[str, ...]
    strength: np.ndarray
    within: np.ndarray
    over_all: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    share: np.ndarray
    moved: np.ndarray
    chance: float
    domains: tuple[str, ...]
    sequences: int
    length: int


@checked
def sequence_balance(
    model: Annotated[str, OneOf(EMBEDDED)] = "moe-none",
    estimates: Annotated[Sequence[str], SomeOf(ESTIMATES)] = ("histogram",),
    strengths: Annotated[Sequence[float], ListOf(0, 1, most=8)] = (0.15, 0.3, 0.5, 0.75, 1.0),
    decay: Annotated[float, Between(0.5, 1)] = 0.99,
    bins: Annotated[int, Between(4, 200)] = 100,
    sequences: Annotated[int, Between(2, 12)] = 4,
) -> SequenceBalance:
    """The embedded mixtures on held-back text, each choice made by score + (1 − λ)b − λβ with β of `moving_thresholds`.

    The model's own bias b (0 but for loss-free) gives way as β comes in. Only the choice moves, not the weights, and nothing is
    trained again. sequences: of each of the three domains, 128 bytes each.
    """
    shipped = models.load(model, "decoder", "cpu").model
    texts = {name: rows[:sequences] for name, rows in held_back().items()}
    tokens = torch.cat(list(texts.values())).long()
    experts, top_k = shipped.config.experts, shipped.config.top_k
    strength = (0.0, *(value for value in strengths if value > 0))
    within, over_all, loss, error = (np.empty((len(estimates), len(strength))) for _ in range(4))
    shares: dict[float, Tensor] = {}

    def measure(estimate: str, value: float) -> tuple[float, float, Tensor, Tensor]:
        reader = copy.deepcopy(shipped)  # the loaded one is shared
        for block in reader.blocks:
            block.feed.register_forward_pre_hook(_shifting(block.feed.bias.clone(), estimate, value, decay, bins))
        with torch.no_grad():
            output = reader(tokens)
        counts = torch.stack([_counts(layer.indices, experts) for layer in output.routing])  # [layer, sequence, expert]
        losses = token_losses(output.logits, tokens).double().mean(1)
        return (
            float(violation(counts).max.mean()),
            float(violation(counts.sum(1)).max.mean()),
            losses,
            counts[-1] / counts[-1].sum(1, keepdim=True),
        )

    plain = measure(estimates[0], 0.0)
    for e, estimate in enumerate(estimates):
        for i, value in enumerate(strength):
            within[e, i], over_all[e, i], losses, share = measure(estimate, value) if value else plain
            loss[e, i] = losses.mean()
            error[e, i] = (losses - plain[2]).std() / len(losses) ** 0.5
            if e == 0:
                shares[value] = share
    return SequenceBalance(
        estimates=tuple(estimates),
        strength=np.array(strength),
        within=within,
        over_all=over_all,
        loss=loss,
        error=error,
        share=plain[3].numpy(),
        moved=shares[max(strength)].numpy(),
        chance=_chance(experts, top_k, tokens.shape[1]),
        domains=tuple(texts),
        sequences=len(tokens),
        length=tokens.shape[1],
    )


def _counts(indices: Tensor, experts: int) -> Tensor:
    """How often each expert is used in each sequence: float64 [sequences, experts] of indices [sequences, length, k]."""
    flat = indices.flatten(1)
    return torch.zeros(len(flat), experts, dtype=torch.float64).scatter_add_(1, flat, torch.ones(flat.shape).double())


def _shifting(bias: Tensor, estimate: str, strength: float, decay: float, bins: int):
    """Before a mixture routes: (1 − λ)b − λβ for each token."""

    def shift(mixture, args):
        if strength:
            scores = mixture.router(args[0]).float().softmax(-1)
            mixture.bias = (1 - strength) * bias - strength * moving_thresholds(
                scores, mixture.top_k, estimate, decay, bins
            )

    return shift


@lru_cache(maxsize=16)
def _chance(experts: int, top_k: int, length: int) -> float:
    draws = torch.rand(400, length, experts, generator=torch.Generator().manual_seed(0)).topk(top_k, dim=-1).indices
    return float(violation(_counts(draws.flatten(1)[..., None], experts)).max.mean())
