"""The rules by which tokens and experts are matched, and what each makes of the load.

Notation of Su Jianlin's "MoE环游记" (kexue.fm): ρ are the gated scores of n experts, a token takes the k best, F is the share of
all assignments that each expert receives, Q = 1/n the even share, b a bias that enters the choice but not the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engines.arguments import Refusal, number, one_of, quoted, whole

GATES = ("none", "softmax", "sigmoid")
SHARED_GATES = GATES[1:]


class Violation(NamedTuple):
    """How far the load is from even, relative to the even share: (F − Q) / Q. 0 is balanced, −1 an expert never used.

    max: [...], of the expert with the greatest load; MaxVio of Wang et al. 2024, arXiv:2408.15664
    min: [...], of the expert with the least load
    mean: [...], of the absolute values over the experts
    """

    max: Tensor
    min: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Routing:
    """Which experts each token was given.

    indices: int64 [tokens, width]; best first, −1 where a token has fewer than `width` experts
    weights: [tokens, width]; what each chosen expert's output is multiplied by, 0 where there is none
    bias: [experts]; what the rule added to the scores for the choice (0 for rules without a bias)
    load: float32 [experts]; the share F of all assignments, summing to 1 (0 of no tokens)
    """

    indices: Tensor
    weights: Tensor
    bias: Tensor
    load: Tensor


def check_scores(parameter: str, scores: Any, axes: int = 0) -> Tensor:
    """A tensor of finite floating-point numbers [..., experts], at least one expert, with `axes` axes (0: any number).

    Magnitudes stay below 1/16 of the greatest number of float32 (float64 of float64), so that sums of a few are finite.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise Refusal(
            "{parameter} must be a tensor of floating-point numbers, not {given}.",
            parameter=parameter,
            given=quoted(getattr(scores, "dtype", scores)),
        )
    if scores.ndim == 0 or scores.shape[-1] == 0 or axes not in (0, scores.ndim):
        raise Refusal(
            "{parameter} must have {axes} axes, the last of experts, at least one; this has the shape {shape}.",
            parameter=parameter,
            axes=axes or "one or more",
            shape=str(list(scores.shape)),
        )
    # half precision is computed with in float32 or better
    most = torch.finfo(scores.dtype if scores.element_size() >= 4 else torch.float32).max / 16
    if scores.numel() and not bool((scores.detach().abs().to(torch.float64) < most).all()):
        raise Refusal("{parameter} must be finite, and below {most} in magnitude.", parameter=parameter, most=most)
    return scores


def check_indices(parameter: str, indices: Any, experts: int) -> Tensor:
    """Indices of experts as int64 [..., tokens, k], negative where there is none."""
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.is_complex() or indices.ndim < 2:
        raise Refusal(
            "{parameter} must be a tensor of integers with two axes or more, the last two of tokens and choices.",
            parameter=parameter,
        )
    if indices.dtype == torch.bool or (indices.numel() and int(indices.max()) >= experts):
        raise Refusal(
            "{parameter} must be integers from 0 to {last}, or negative where there is no expert.",
            parameter=parameter,
            last=experts - 1,
        )
    return indices.long()


def load(indices: Tensor, experts: int) -> Tensor:
    """The share of all assignments that each expert receives: float32 [..., experts], summing to 1; 0 where there are none.

    indices: integer [..., tokens, k]; negative entries (padding, no expert) are left out.
    """
    experts = whole("experts", experts, 1, 1_000_000)
    flat = check_indices("indices", indices, experts).flatten(-2)
    counts = torch.zeros(*flat.shape[:-1], experts + 1, device=flat.device, dtype=torch.float64)
    # the last slot collects the −1s
    counts.scatter_add_(-1, torch.where(flat < 0, experts, flat), torch.ones_like(flat, dtype=torch.float64))
    counts = counts[..., :experts]
    return (counts / counts.sum(-1, keepdim=True).clamp_min(1)).float()


def violation(load: Tensor, target: Tensor | None = None) -> Violation:
    """Max, min and mean violation of a load [..., experts], shares or counts alike; 0 where nothing was assigned.

    target: Q [experts], summing to 1 (None: even)
    """
    if not isinstance(load, Tensor) or load.is_complex() or load.ndim == 0 or load.shape[-1] == 0:
        raise Refusal("{parameter} must be a tensor of shares or counts [..., experts].", parameter="load")
    load = load if load.is_floating_point() and load.element_size() >= 4 else load.double()
    if not bool((torch.isfinite(load) & (load >= 0)).all()):
        raise Refusal("{parameter} must be finite and not negative.", parameter="load")
    share = load / load.amax(-1, keepdim=True).clamp_min(torch.finfo(load.dtype).tiny)  # sums stay finite
    mean = share.mean(-1, keepdim=True)
    even = 1 if target is None else target.to(share) * load.shape[-1]
    relative = torch.where(mean > 0, share / mean / even - 1, 0)
    return Violation(relative.amax(-1), relative.amin(-1), relative.abs().mean(-1))


def gated(logits: Tensor, gate: str = "softmax") -> Tensor:
    """ρ = the gate of the router's logits [..., experts]: "softmax", "sigmoid", or "none" (the scores as they are)."""
    one_of("gate", gate, GATES)
    check_scores("logits", logits)
    return {"none": lambda x: x, "softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}[gate](logits)


def gate_order(logits: Tensor, gate: str) -> Tensor:
    """What orders tokens and experts as the gate does, also where the gate has saturated: log-odds [..., experts].

    For a softmax log p_i / (1 − p_i) = logit_i − log Σ of the others; otherwise the logits themselves.
    """
    if gate != "softmax" or not logits.numel() or logits.shape[-1] == 1:
        return logits
    best = logits.argmax(-1, keepdim=True)
    total = logits.logsumexp(-1, keepdim=True)
    others = total + torch.log1p(-(logits - total).scatter(-1, best, -torch.inf).exp())
    without = logits.scatter(-1, best, -torch.inf).logsumexp(-1, keepdim=True)
    return logits - others.scatter(-1, best, without)


def choice_order(logits: Tensor, gate: str, rule: str) -> Tensor:
    """What decides between equal ρ [tokens, experts]: within a token the logits, among tokens the log-odds."""
    return logits if RULES[rule].picks == "top-k" else gate_order(logits, gate)


def load_balancing_loss(scores: Tensor, top_k: int, mask: Tensor | None = None) -> Tensor:
    """The auxiliary loss of Switch Transformers (Fedus et al. 2021, eq. 4–6) in the convention of transformers.

    scores: router logits [tokens, experts]; mask: [tokens], 0 for padding, which counts neither in F nor in P. Returns a scalar,
    n·k·Σ F_i P_i with F the load of the top-k choice and P the mean softmax probability: k when both are even, n when all
    tokens agree on the same k experts with equal probability, 0 without tokens. Only P carries a gradient (blog part 2).
    """
    tokens, experts = check_scores("scores", scores, 2).shape
    top_k = whole("top_k", top_k, 1, experts)
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != (tokens,)):
        raise Refusal(
            "{parameter} must be a tensor of one number for each of the {tokens} tokens.",
            parameter="mask",
            tokens=tokens,
        )
    probabilities = (scores if scores.element_size() >= 4 else scores.float()).softmax(-1)
    indices = scores.topk(top_k, dim=-1).indices
    present = torch.ones_like(probabilities[:, 0]) if mask is None else (mask != 0).to(probabilities)
    share = load(torch.where(present[:, None] > 0, indices, -1), experts).to(probabilities)
    mean = (present[:, None] * probabilities).sum(0) / present.sum().clamp_min(1)
    return (experts * top_k * (share * mean).sum()).to(scores.dtype)


@torch.no_grad()
def quantile_balance(
    scores: Tensor,
    top_k: int,
    rounds: int = 1,
    bias: Tensor | None = None,
    target: Tensor | None = None,
    truncate: bool = False,
) -> Tensor:
    """Quantile balancing: the bias b = −β [experts] such that the top-k of `scores` + b loads the experts evenly.

    Alternating minimisation of the dual of the balanced assignment problem (blog part 6): α_i, the 1 − k/n quantile of
    token i's s_ij − β_j, then β_j, the 1 − k/n quantile of expert j's s_ij − α_i. No step size.
    scores: [tokens, experts]; rounds: how many times both are renewed; bias: where to go on from (0 when left out);
    target: Q [experts], the shares wanted (even when left out): β_j is then the 1 − kQ_j quantile; truncate: α and β are
    held at 0 or above, as BIP does (arXiv:2502.15451), whose constraints are inequalities.
    """
    tokens, experts = check_scores("scores", scores, 2).shape
    top_k = whole("top_k", top_k, 1, experts)
    rounds = whole("rounds", rounds, 0, 10_000)
    target = check_target(target, top_k, experts)
    scores = _single(scores.detach())
    if bias is None:
        bias = scores.new_zeros(experts)
    elif check_scores("bias", bias, 1).shape != (experts,):
        raise Refusal("{parameter} must hold {experts} numbers, one an expert.", parameter="bias", experts=experts)
    by_expert = scores.T.contiguous()
    for _ in range(rounds if tokens else 0):
        alpha = quantiles(scores + bias, 1 - top_k / experts)
        alpha = alpha.clamp_min(0) if truncate else alpha
        beta = _target_quantiles(by_expert - alpha, top_k, target)
        bias = -(beta.clamp_min(0) if truncate else beta)
    return bias


def check_target(target: Tensor | None, top_k: int, experts: int) -> Tensor | None:
    """Q as float64 [experts] that sums to 1, none above 1/k: an expert takes a token once; None stands for the even one."""
    if target is None:
        return None
    given = check_scores("target", target, 1).double()
    if given.shape != (experts,) or not bool((given > 0).all()):
        raise Refusal(
            "{parameter} must hold {experts} positive numbers, one an expert.", parameter="target", experts=experts
        )
    given = given / given.sum()
    if float(given.max()) * top_k > 1:
        raise Refusal(
            "{parameter} gives an expert more than all tokens: no share may exceed 1/k = {most}.",
            parameter="target",
            most=1 / top_k,
        )
    return given


def _target_quantiles(by_expert: Tensor, top_k: int, target: Tensor | None) -> Tensor:
    """Each expert's 1 − kQ_j quantile of its row, [experts]; reorders the rows."""
    experts, tokens = by_expert.shape
    if target is None:
        return quantiles(by_expert, 1 - top_k / experts)
    place = (1 - top_k * target.to(by_expert)).clamp(0, 1) * (tokens - 1)
    ordered, low = _sort_(by_expert), place.floor().long().clamp_max(max(tokens - 2, 0))
    below, above = (ordered.gather(1, at.clamp_max(tokens - 1)[:, None])[:, 0] for at in (low, low + 1))
    return torch.lerp(below, above, place - low)


def _sort_(values: Tensor) -> Tensor:
    """Rows sorted upwards, in place. On the CPU numpy's SIMD sort takes 7 ms for [20000, 64], torch.topk(8) 30 (one thread)."""
    if values.device.type == "cpu":
        values.numpy().sort(axis=-1)
        return values
    return values.sort(-1).values


def quantiles(values: Tensor, q: float) -> Tensor:
    """The q ≤ 1 quantile of each row, linear between neighbours like numpy.quantile; reorders `values`."""
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


def best_places(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Places of the `count` greatest of each row by `first`, ties by `second`, then by place: int64 [..., count], best first."""
    order = second.argsort(dim=-1, descending=True, stable=True)
    again = first.gather(-1, order).argsort(dim=-1, descending=True, stable=True)
    return order.gather(-1, again[..., :count])


# A rule chooses by ρ + b (by logits + b for the auxiliary loss, which teaches the router itself) and renews b from the
# load that choice made: step(scores, bias, share of tokens per expert, top_k, rate, target) -> bias.


def _unit_rms(vector: Tensor) -> Tensor:
    """The vector divided by its root mean square, whatever its magnitude; 0 stays 0."""
    vector = vector / vector.abs().max().clamp_min(torch.finfo(vector.dtype).tiny)
    return vector / vector.square().mean().sqrt().clamp_min(1e-12)


def _excess(share: Tensor, top_k: int, target: Tensor | None) -> Tensor:
    """k(F − Q)."""
    return share - (top_k / len(share) if target is None else (top_k * target).to(share))


def _aux_loss_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    """Descend Σ (F_i − Q_i) P_i in the router's offsets (blog part 2), with steps of RMS length `rate` as an Adam step has."""
    with torch.enable_grad():
        offset = bias.detach().requires_grad_()
        smooth = (scores + offset).softmax(-1).mean(0)
        (gradient,) = torch.autograd.grad((_excess(share, top_k, target) * smooth).sum(), offset)
    return bias - rate * _unit_rms(gradient)


def _sign_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    """b ← b − γ sign(F − Q): Wang et al. 2024, arXiv:2408.15664, algorithm 1; blog part 3."""
    return bias - rate * torch.sign(_excess(share, top_k, target))


def _rms_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    """b ← b − γ (F − Q) / RMS(F − Q): blog part 3. Experts far off move more, experts nearly even hardly."""
    return bias - rate * _unit_rms(_excess(share, top_k, target))


def _quantile_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    return quantile_balance(scores, top_k, 1, bias, target)


def _bip_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    return quantile_balance(scores, top_k, 1, bias, target, truncate=True)


def _dynamic_quantile_step(scores, bias, share, top_k, rate, target=None) -> Tensor:
    """β_j is expert j's 1 − kQ_j quantile: solved in one round (blog part 7)."""
    return -_target_quantiles(scores.T.clone(memory_format=torch.contiguous_format), top_k, target)


class Rule(NamedTuple):
    """How a rule chooses.

    picks: what it takes of scores + bias: "top-k", what lies above a "threshold", the tokens of an "expert", or a "hash"
    step: how the bias is renewed, or None
    rounds: usual number of renewals
    """

    picks: str
    step: Callable[..., Tensor] | None = None
    rounds: int = 0


RULES: dict[str, Rule] = {
    "top-k": Rule("top-k"),
    "aux-loss": Rule("top-k", _aux_loss_step, 200),
    "loss-free": Rule("top-k", _sign_step, 200),
    "loss-free-rms": Rule("top-k", _rms_step, 200),
    "quantile": Rule("top-k", _quantile_step, 5),
    "bip": Rule("top-k", _bip_step, 5),
    "dynamic": Rule("threshold", _sign_step, 200),
    "dynamic-quantile": Rule("threshold", _dynamic_quantile_step, 1),
    "expert-choice": Rule("expert"),
    "hash": Rule("hash"),
}


class Groups(NamedTuple):
    """A choice limited to groups of neighbouring experts.

    count: number of groups, of equal size
    kept: how many groups a token may use
    scored_by: a group's score is the sum of so many of its greatest scores: 1 in DeepSeek-V2 (arXiv:2405.04434), 2 in V3
    """

    count: int
    kept: int
    scored_by: int = 1


def limit_to_groups(scores: Tensor, groups: Groups, order: Tensor | None = None) -> Tensor:
    """Scores [tokens, experts] with −∞ outside the best `kept` groups of each token; ties go by `order`."""
    size = scores.shape[1] // groups.count

    def group_scores(values: Tensor) -> Tensor:
        return values.view(-1, groups.count, size).topk(groups.scored_by, dim=-1).values.sum(-1)

    kept = best_places(group_scores(scores), group_scores(scores if order is None else order), groups.kept)
    allowed = torch.zeros_like(scores[:, : groups.count], dtype=torch.bool).scatter_(1, kept, True)
    return scores.masked_fill(~allowed.repeat_interleave(size, 1), -torch.inf)


@torch.no_grad()
def first_bias(scores: Tensor, top_k: int, rule: str) -> Tensor:
    """Where a rule's bias starts: 0, or for a dynamic number the one threshold that spends the budget of k per token."""
    if RULES[rule].picks != "threshold" or not len(scores):
        return scores.new_zeros(scores.shape[1])
    threshold = quantiles(scores.flatten().clone(), 1 - top_k / scores.shape[1])
    equal = int((scores == threshold).sum())
    if rule == "dynamic" and equal > max(1, scores.numel() // 100):
        raise Refusal(
            "{count} of {all} scores are equal behind the gate, which no threshold tells apart: make the scores smaller.",
            count=equal,
            all=scores.numel(),
        )
    return -threshold.expand(scores.shape[1]).clone()


@torch.no_grad()
def choose(
    scores: Tensor,
    bias: Tensor,
    top_k: int,
    rule: str,
    ids: Tensor | None = None,
    order: Tensor | None = None,
    groups: Groups | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """The choice as a mask: bool [tokens, experts], given the scores a rule ranks by and its bias.

    order: what decides between equal scores, as those of a saturated gate are (`choice_order`; None: the scores)
    target: Q [experts], the shares that experts choose by (None: even)
    """
    tokens, experts = scores.shape
    order = scores if order is None else order
    picks = RULES[rule].picks
    if picks == "threshold":
        above = scores + bias
        mask = above > 0
        if rule == "dynamic-quantile" and bool((tied := above == 0).any()):
            room = _capacity(tokens, top_k, experts, target, scores) - mask.sum(0)
            place = order.masked_fill(~tied, -torch.inf).argsort(dim=0, descending=True, stable=True).argsort(0)
            mask |= tied & (place < room)
        return mask
    mask = torch.zeros(tokens, experts, dtype=torch.bool, device=scores.device)
    if not tokens:
        return mask
    if picks == "top-k":
        ranked = scores + bias
        if groups is not None:
            ranked = limit_to_groups(ranked, groups, order)
        found = ranked >= _sort_(ranked.clone())[:, experts - top_k, None]
        tied = torch.nonzero(found.sum(1) > top_k).squeeze(1)
        if len(tied):  # equal at the k-th place
            found[tied] = mask[tied].scatter_(1, best_places(ranked[tied], order[tied], top_k), True)
        return found
    if picks == "expert":
        capacity = _capacity(tokens, top_k, experts, target, scores).clamp(1, tokens)
        places = best_places(scores.T, order.T, int(capacity.max())).T
        kept = torch.arange(len(places), device=scores.device)[:, None] < capacity
        return mask.scatter_(0, places, kept)
    ids = torch.arange(tokens, device=scores.device) if ids is None else ids
    start = (ids.long() * 2_654_435_761 % 2**32) * experts // 2**32  # Knuth's multiplicative hash
    return mask.scatter_(1, (start[:, None] + torch.arange(top_k, device=scores.device)) % experts, True)


def _capacity(tokens: int, top_k: int, experts: int, target: Tensor | None, like: Tensor) -> Tensor:
    """How many tokens each expert takes: int64 [experts]."""
    share = torch.full((experts,), 1 / experts, dtype=torch.float64) if target is None else target.double()
    return (tokens * top_k * share).round().long().to(like.device)


def route(
    scores: Tensor,
    top_k: int,
    rule: str = "top-k",
    gate: str = "none",
    rounds: int | None = None,
    rate: float = 0.01,
    ids: Tensor | None = None,
    renormalize: bool = False,
    groups: Groups | None = None,
) -> Routing:
    """Route tokens to experts by one of the `RULES`.

    scores: the router's logits [tokens, experts], also no tokens at all
    top_k: experts per token (on average, where the number varies)
    gate: what makes ρ of the scores; where it saturates (a sigmoid that rounds to 1, a softmax that underflows), equal ρ go by
        the logits
    rounds: how often the bias is renewed on these tokens (None: the rule's usual number)
    rate: γ, the length of a step of the bias, in units of the scores; unused by rules without one
    ids: integer [tokens], what the hash rule hashes (None: the token's place)
    renormalize: the weights of a token's experts are divided by their sum, as in Mixtral, DeepSeek-V3 and GPT-OSS; needs a gate
    groups: the choice of top-k rules limited to some groups of experts, as in DeepSeek-V2 and V3

    Rules: top-k (Shazeer et al. 2017); aux-loss (Fedus et al. 2021); loss-free (Wang et al. 2024) and its RMS form; quantile
    (blog part 6), and as BIP truncates it; dynamic, where ρ + b > 0 (part 4), and its quantile form (part 7); expert-choice (Zhou et al. 2022,
    arXiv:2202.09368); hash (Roller et al. 2021, arXiv:2106.04426).
    """
    tokens, experts = check_scores("scores", scores, 2).shape
    top_k = whole("top_k", top_k, 1, experts)
    picks = RULES[one_of("rule", rule, RULES)].picks
    one_of("gate", gate, GATES)
    rate = number("rate", rate, 1e-9, 1e9)
    rounds = RULES[rule].rounds if rounds is None else whole("rounds", rounds, 0, 10_000)
    check_ids(ids, tokens)
    groups = None if groups is None else check_groups(groups, experts, top_k, picks)
    if renormalize and gate == "none":
        raise Refusal(
            "{parameter} needs the gate softmax or sigmoid: its weights are positive.", parameter="renormalize"
        )
    logits = _single(scores)
    rho, order = gated(logits, gate), choice_order(logits.detach(), gate, rule)
    ranked = (logits if rule == "aux-loss" else rho).detach()
    bias = first_bias(ranked, top_k, rule)
    if RULES[rule].step and tokens:
        for _ in range(rounds):
            share = choose(ranked, bias, top_k, rule, None, order, groups).to(ranked).mean(0)
            bias = RULES[rule].step(ranked, bias, share, top_k, rate)
    mask = choose(ranked, bias, top_k, rule, ids, order, groups)
    width = top_k if picks in ("top-k", "hash") else max(1, int(mask.sum(1).max()) if tokens else 1)
    indices = best_places((ranked + bias).masked_fill(~mask, -torch.inf), order.masked_fill(~mask, -torch.inf), width)
    chosen = mask.gather(1, indices)
    if renormalize:
        # in logarithms: ρ may underflow for all of a token's experts
        log_rho = logits.log_softmax(-1) if gate == "softmax" else torch.nn.functional.logsigmoid(logits)
        kept = log_rho.gather(1, indices).masked_fill(~chosen, torch.finfo(log_rho.dtype).min)
        weights = torch.where(chosen, kept.softmax(-1), 0)
    else:
        weights = torch.where(chosen, rho.gather(1, indices), 0)
    indices = torch.where(chosen, indices, -1)
    return Routing(indices, weights, bias, load(indices, experts))


def check_ids(ids: Any, tokens: int) -> None:
    """Refuse ids that are not one integer a token."""
    if ids is not None and (not isinstance(ids, Tensor) or ids.is_floating_point() or ids.shape != (tokens,)):
        raise Refusal(
            "{parameter} must be a tensor of one integer for each of the {tokens} tokens.",
            parameter="ids",
            tokens=tokens,
        )


def check_groups(groups: Any, experts: int, top_k: int, picks: str) -> Groups:
    """Groups that divide the experts and leave a token k of them."""
    if not isinstance(groups, tuple) or not 2 <= len(groups) <= 3:
        raise Refusal("{parameter} must be Groups: their count, how many are kept, scored by.", parameter="groups")
    groups = Groups(*groups)
    if picks != "top-k":
        raise Refusal("{parameter} limit rules that pick the top k, not this one.", parameter="groups")
    count = whole("groups.count", groups.count, 1, experts)
    if experts % count:
        raise Refusal(
            "{parameter} must divide the {experts} experts: {count} does not.",
            parameter="groups.count",
            experts=experts,
            count=count,
        )
    kept = whole("groups.kept", groups.kept, math.ceil(top_k * count / experts), count)
    return Groups(count, kept, whole("groups.scored_by", groups.scored_by, 1, experts // count))


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
    return float(shared_scales(experts, top_k, shared, gate, renormalize, samples, seed)[:, -1].mean())


def shared_scales(
    experts: int, top_k: int, shared: int, gate: str, renormalize: bool, samples: int, seed: int
) -> Tensor:
    """√s/√Σp² for each sample and each number 1 … k − s of routed experts: float64 [samples, k − s]."""
    draw = torch.Generator().manual_seed(whole("seed", seed, 0, 2**63 - 1))
    logits = torch.randn(samples, experts - shared, generator=draw, dtype=torch.float64)
    best = gated(logits, gate).topk(top_k - shared, dim=1).values
    length = best.square().cumsum(1).sqrt()
    return math.sqrt(shared) * (best.cumsum(1) if renormalize else 1) / length
