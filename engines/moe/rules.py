"""Who is routed where: the rules by which tokens and experts are matched, and what each makes of the load.

Notation of Su Jianlin's "MoE环游记" (kexue.fm): ρ are the gated scores of n experts, a token takes the k best, F is the share of
all assignments that each expert receives, Q = 1/n the even share, b a bias that enters the choice but not the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engines.arguments import number, one_of, whole

GATES = ("none", "softmax", "sigmoid")
SHARED_GATES = GATES[1:]


class Violation(NamedTuple):
    """How far the load is from even, relative to the even share: (F − Q) / Q. 0 is balanced, −1 an expert never used.

    max: of the busiest expert; min: of the idlest; mean: of the absolute values over the experts
    """

    max: Tensor
    min: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Routing:
    """Which experts each token was given.

    indices: int64 [tokens, width], best first, −1 where a token has fewer than `width` experts
    weights: [tokens, width], the gated score ρ of each chosen expert, 0 where there is none
    bias: [experts], what the rule added to the scores for the choice (0 for rules without a bias)
    load: [experts], the share F of all assignments, summing to 1
    """

    indices: Tensor
    weights: Tensor
    bias: Tensor
    load: Tensor


def load(indices: Tensor, experts: int) -> Tensor:
    """The share of all assignments that each expert receives.

    indices: integer [..., tokens, k]; negative entries (padding, no expert) are left out. Returns [..., experts], summing to 1.
    """
    if experts < 1:
        raise ValueError(f"experts must be at least 1, not {experts}.")
    flat = indices.flatten(-2).long()
    if flat.numel() and int(flat.max()) >= experts:
        raise ValueError(f"indices name expert {int(flat.max())}, but there are only {experts} (0 to {experts - 1}).")
    counts = torch.zeros(*flat.shape[:-1], experts + 1, device=flat.device, dtype=torch.float64)
    # the last slot collects the −1s
    counts.scatter_add_(-1, torch.where(flat < 0, experts, flat), torch.ones_like(flat, dtype=torch.float64))
    counts = counts[..., :experts]
    return (counts / counts.sum(-1, keepdim=True).clamp_min(1)).float()


def violation(load: Tensor) -> Violation:
    """Max, min and mean violation of a load [..., experts] (shares or counts alike); MaxVio of Wang et al. 2024, arXiv:2408.15664."""
    relative = load / load.mean(-1, keepdim=True) - 1
    return Violation(relative.amax(-1), relative.amin(-1), relative.abs().mean(-1))


def gated(logits: Tensor, gate: str = "softmax") -> Tensor:
    """ρ = the gate of the router's logits [..., experts]: "softmax", "sigmoid", or "none" (the scores as they are)."""
    one_of("gate", gate, GATES)
    return {"none": lambda x: x, "softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}[gate](logits)


def load_balancing_loss(scores: Tensor, top_k: int) -> Tensor:
    """The auxiliary loss of Switch Transformers (Fedus et al. 2021, eq. 4–6) in the convention of transformers.

    scores: router logits [tokens, experts]. Returns a scalar, n·k·Σ F_i P_i with F the load of the top-k choice and P the
    mean softmax probability: k when both are even, n when all tokens agree on the same k experts with equal probability.
    Only P carries a gradient (blog part 2).
    """
    _, experts = _check(scores, top_k)
    probabilities = scores.softmax(-1)
    share = load(probabilities.topk(top_k, dim=-1).indices, experts).to(probabilities)
    return experts * top_k * (share * probabilities.mean(0)).sum()


@torch.no_grad()
def quantile_balance(scores: Tensor, top_k: int, rounds: int = 1, bias: Tensor | None = None) -> Tensor:
    """Quantile balancing: the bias b = −β [experts] such that the top-k of `scores` + b loads the experts evenly.

    Alternating minimisation of the dual of the balanced assignment problem (blog part 6): α_i, the 1 − k/n quantile of
    token i's s_ij − β_j, then β_j, the 1 − k/n quantile of expert j's s_ij − α_i. No step size.
    scores: [tokens, experts]; rounds: how many times both are renewed; bias: where to go on from (0 when left out).
    """
    _, experts = _check(scores, top_k)
    rounds = whole("rounds", rounds, 0, 10_000)
    scores = _single(scores.detach())
    quantile = 1 - top_k / experts
    by_expert = scores.T.contiguous()
    bias = torch.zeros_like(scores[0]) if bias is None else bias
    for _ in range(rounds):
        alpha = _quantile_(scores + bias, quantile)
        bias = -_quantile_(by_expert - alpha, quantile)
    return bias


def _sort_(values: Tensor) -> Tensor:
    """Rows sorted upwards, in place. On the CPU numpy's SIMD sort takes 7 ms for [20000, 64], torch.topk(8) 30 (one thread)."""
    if values.device.type == "cpu":
        values.numpy().sort(axis=-1)
        return values
    return values.sort(-1).values


def _quantile_(values: Tensor, q: float) -> Tensor:
    """The q < 1 quantile of each row, linear between neighbours like numpy.quantile; reorders `values`."""
    position = q * (values.shape[-1] - 1)
    low = math.floor(position)
    if values.device.type == "cpu" and values.shape[-1] > 1024:
        # selecting one place and the least beyond it: 3 ms for [64, 20000], sorting 9
        values.numpy().partition(low, axis=-1)
        below, above = values[..., low], values[..., low + 1 :].amin(-1)
    else:
        ordered = _sort_(values)
        below, above = ordered[..., low], ordered[..., min(low + 1, values.shape[-1] - 1)]
    return torch.lerp(below, above, position - low)


def _single(scores: Tensor) -> Tensor:
    """Scores of half precision as float32: numpy cannot sort them, and thresholds between them would be too coarse."""
    return scores.float() if scores.element_size() < 4 else scores


def _check(scores: Tensor, top_k: int) -> tuple[int, int]:
    if scores.ndim != 2 or not scores.is_floating_point() or scores.numel() == 0:
        raise ValueError("scores must be a non-empty floating-point matrix [tokens, experts].")
    tokens, experts = scores.shape
    whole("top_k", top_k, 1, experts)
    if not bool(torch.isfinite(scores.detach()).all()):
        raise ValueError("scores must be finite: they contain NaN or infinity.")
    return tokens, experts


# A rule chooses by ρ + b (by logits + b for the auxiliary loss, which teaches the router itself) and renews b from the
# load that choice made: step(scores, bias, share of tokens per expert, top_k, rate) -> bias.


def _aux_loss_step(scores: Tensor, bias: Tensor, share: Tensor, top_k: int, rate: float) -> Tensor:
    """Descend Σ F_i P_i in the router's offsets (blog part 2), with steps of RMS length `rate` as an Adam step has."""
    with torch.enable_grad():
        offset = bias.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((share * (scores + offset).softmax(-1).mean(0)).sum(), offset)
    return bias - rate * gradient / gradient.square().mean().sqrt().clamp_min(1e-12)


def _sign_step(scores: Tensor, bias: Tensor, share: Tensor, top_k: int, rate: float) -> Tensor:
    """b ← b − γ sign(F − Q): Wang et al. 2024, arXiv:2408.15664, algorithm 1; blog part 3."""
    return bias - rate * torch.sign(share - top_k / len(share))


def _rms_step(scores: Tensor, bias: Tensor, share: Tensor, top_k: int, rate: float) -> Tensor:
    """b ← b − γ (F − Q) / RMS(F − Q): blog part 3. Experts far off move more, experts nearly even barely."""
    excess = share - top_k / len(share)
    return bias - rate * excess / excess.square().mean().sqrt().clamp_min(1e-12)


def _quantile_step(scores: Tensor, bias: Tensor, share: Tensor, top_k: int, rate: float) -> Tensor:
    return quantile_balance(scores, top_k, 1, bias)


def _dynamic_quantile_step(scores: Tensor, bias: Tensor, share: Tensor, top_k: int, rate: float) -> Tensor:
    """β_j is expert j's 1 − k/n quantile: solved in one round (blog part 7)."""
    return -_quantile_(scores.T.clone(memory_format=torch.contiguous_format), 1 - top_k / scores.shape[1])


class Rule(NamedTuple):
    """label: as shown; picks: how a choice is made of scores + bias; step: how the bias is renewed, or None; rounds: usual number."""

    label: str
    picks: str
    step: Callable[[Tensor, Tensor, Tensor, int, float], Tensor] | None = None
    rounds: int = 0


RULES: dict[str, Rule] = {
    "top-k": Rule("Plain top-k", "top-k"),
    "aux-loss": Rule("Auxiliary loss", "top-k", _aux_loss_step, 200),
    "loss-free": Rule("Loss-free bias (sign)", "top-k", _sign_step, 200),
    "loss-free-rms": Rule("Loss-free bias (RMS)", "top-k", _rms_step, 200),
    "quantile": Rule("Quantile balancing", "top-k", _quantile_step, 5),
    "dynamic": Rule("Dynamic number (sign)", "threshold", _sign_step, 200),
    "dynamic-quantile": Rule("Dynamic number (quantile)", "threshold", _dynamic_quantile_step, 1),
    "expert-choice": Rule("Expert choice", "expert"),
    "hash": Rule("Hash of the token", "hash"),
}


@torch.no_grad()
def first_bias(scores: Tensor, top_k: int, rule: str) -> Tensor:
    """Where a rule's bias starts: 0, or for a dynamic number the one threshold that spends the budget of k per token."""
    if RULES[rule].picks != "threshold":
        return torch.zeros_like(scores[0])
    return -_quantile_(scores.flatten().clone(), 1 - top_k / scores.shape[1]).expand(scores.shape[1]).clone()


@torch.no_grad()
def choose(scores: Tensor, bias: Tensor, top_k: int, rule: str, ids: Tensor | None = None) -> Tensor:
    """The choice as a mask: bool [tokens, experts], given the scores the rule ranks by and its bias."""
    tokens, experts = scores.shape
    picks = RULES[rule].picks
    if picks == "threshold":
        return scores + bias > 0
    mask = torch.zeros(tokens, experts, dtype=torch.bool, device=scores.device)
    if picks == "top-k":
        ranked = scores + bias
        mask = ranked >= _sort_(ranked.clone())[:, experts - top_k, None]
        if int(torch.count_nonzero(mask)) == tokens * top_k:
            return mask
        # ties at the k-th place: let topk break them
        return torch.zeros_like(mask).scatter_(1, ranked.topk(top_k, dim=1).indices, True)
    if picks == "expert":
        capacity = max(1, round(tokens * top_k / experts))
        return mask.scatter_(0, scores.topk(min(capacity, tokens), dim=0).indices, True)
    ids = torch.arange(tokens, device=scores.device) if ids is None else ids
    start = (ids * 2_654_435_761 % 2**32) * experts // 2**32  # Knuth's multiplicative hash
    return mask.scatter_(1, (start[:, None] + torch.arange(top_k, device=scores.device)) % experts, True)


def route(
    scores: Tensor,
    top_k: int,
    rule: str = "top-k",
    gate: str = "none",
    rounds: int | None = None,
    rate: float = 0.01,
    ids: Tensor | None = None,
) -> Routing:
    """Route tokens to experts by one of the `RULES`.

    scores: the router's logits [tokens, experts]; top_k: experts per token (on average, where the number varies)
    gate: what makes ρ of the scores; rounds: how often the bias is renewed on these tokens (None: the rule's usual number)
    rate: γ, the length of a step of the bias, in units of the scores; unused by rules without one
    ids: integer [tokens], what the hash rule hashes (None: the token's place)

    Rules: top-k (Shazeer et al. 2017); aux-loss (Fedus et al. 2021); loss-free (Wang et al. 2024) and its RMS form; quantile
    (blog part 6); dynamic, where ρ + b > 0 (part 4), and its quantile form (part 7); expert-choice (Zhou et al. 2022,
    arXiv:2202.09368); hash (Roller et al. 2021, arXiv:2106.04426).
    """
    tokens, experts = _check(scores, top_k)
    one_of("rule", rule, RULES)
    rate = number("rate", rate, 1e-9, 1e9)
    rounds = RULES[rule].rounds if rounds is None else whole("rounds", rounds, 0, 10_000)
    if ids is not None and ids.shape != (tokens,):
        raise ValueError(f"ids must hold one integer for each of the {tokens} tokens, not shape {tuple(ids.shape)}.")
    rho = gated(_single(scores), gate)
    ranked = (_single(scores) if rule == "aux-loss" else rho).detach()
    bias = first_bias(ranked, top_k, rule)
    if RULES[rule].step:
        for _ in range(rounds):
            share = choose(ranked, bias, top_k, rule).to(ranked).mean(0)
            bias = RULES[rule].step(ranked, bias, share, top_k, rate)
    mask = choose(ranked, bias, top_k, rule, ids)
    width = top_k if RULES[rule].picks in ("top-k", "hash") else max(1, int(mask.sum(1).max()))
    order = (ranked + bias).masked_fill(~mask, -torch.inf).topk(width, dim=1)
    chosen = order.values > -torch.inf
    indices = torch.where(chosen, order.indices, -1)
    weights = torch.where(chosen, rho.gather(1, order.indices), 0)
    return Routing(indices, weights, bias, load(indices, experts))


def shared_expert_scale(
    experts: int,
    top_k: int,
    shared: int,
    gate: str = "softmax",
    renormalize: bool = False,
    samples: int = 4000,
    seed: int = 0,
) -> float:
    """The λ that gives routed and shared experts outputs of equal length at initialisation (blog part 5).

    λ = E[√s / √Σ p_i²] over the k − s best of n − s experts, p = gate of standard normal logits; the experts' outputs are
    taken as orthogonal vectors of one length. `experts` and `top_k` count the `shared` ones, as the blog does: (162, 8, 2)
    is DeepSeek-V2, whose configuration says 16. renormalize: p is divided by the sum of the chosen ones first.
    """
    experts = whole("experts", experts, 2, 1024)
    top_k = whole("top_k", top_k, 2, experts)
    shared, samples = whole("shared", shared, 1, top_k - 1), whole("samples", samples, 1, 20_000)
    one_of("gate", gate, SHARED_GATES)
    return float(_shared_scales(experts, top_k, shared, gate, renormalize, samples, seed)[:, -1].mean())


def _shared_scales(
    experts: int, top_k: int, shared: int, gate: str, renormalize: bool, samples: int, seed: int
) -> Tensor:
    """√s/√Σp² for each sample and each number 1 … k − s of routed experts: float64 [samples, k − s]."""
    logits = torch.randn(samples, experts - shared, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    best = gated(logits, gate).topk(top_k - shared, dim=1).values
    length = best.square().cumsum(1).sqrt()
    return math.sqrt(shared) * (best.cumsum(1) if renormalize else 1) / length
