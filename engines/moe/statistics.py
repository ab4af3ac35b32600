"""What routed indices say: one pass of matrix products over all layers, no loop over tokens.

Indices are integers [..., tokens, k], best expert first, −1 where a token is padding or has fewer experts; every function leaves
those out. Leading axes (layers) are kept. Definitions after OLMoE (Muennighoff et al. 2024, arXiv:2409.02060, section 5) and
Mixtral (Jiang et al. 2024, arXiv:2401.04088, section 5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from engines.arguments import Refusal, whole
from engines.moe.rules import check_indices, check_scores

MOST_EXPERTS = 100_000


def assignments(indices: Tensor, experts: int) -> Tensor:
    """1 where a token is routed to an expert, else 0: float32 [..., tokens, experts]."""
    experts = whole("experts", experts, 1, MOST_EXPERTS)
    indices = check_indices("indices", indices, experts)
    marks = torch.zeros(*indices.shape[:-1], experts + 1, device=indices.device)
    return marks.scatter_(-1, torch.where(indices < 0, experts, indices), 1.0)[..., :experts]


def co_activation(indices: Tensor, experts: int) -> Tensor:
    """Of the tokens that use expert i, the share that also uses j: [..., i, j]; 1 on the diagonal, 0 in the row of an unused i."""
    marks = assignments(indices, experts)
    counts = marks.mT @ marks
    return counts / counts.diagonal(dim1=-2, dim2=-1)[..., None].clamp_min(1)


def specialisation(indices: Tensor, groups: Tensor, count: int, experts: int) -> Tensor:
    """Of the tokens in group g, the share routed to expert e: [..., g, e].

    groups: integer [tokens], 0 … count − 1, or negative to leave a token out: domains, or the vocabulary itself. The even share is
    k / n; a row sums to k. A group without tokens has a row of zeros.
    """
    marks = assignments(indices, experts)
    count = whole("count", count, 1, MOST_EXPERTS)
    if not isinstance(groups, Tensor) or groups.shape != indices.shape[-2:-1]:
        raise Refusal(
            "{parameter} must be a tensor of one integer for each of the {tokens} tokens.",
            parameter="groups",
            tokens=indices.shape[-2],
        )
    belongs = assignments(check_indices("groups", groups[:, None], count), count)
    present = (indices[..., 0] >= 0).to(marks)
    counts = belongs.T @ marks
    return counts / (present @ belongs)[..., None].clamp_min(1)


def flow(first: Tensor, last: Tensor, experts: int) -> Tensor:
    """How many tokens have first choice i in one layer and j in another: [i, j], from two index arrays [tokens, k]."""
    before = assignments(check_indices("first", first, whole("experts", experts, 1, MOST_EXPERTS))[..., :1], experts)
    after = assignments(check_indices("last", last, experts)[..., :1], experts)
    if before.shape != after.shape or before.ndim != 2:
        raise Refusal("{parameter} must be of the same tokens as first, [tokens, k].", parameter="last")
    return before.T @ after


def router_entropy(logits: Tensor) -> Tensor:
    """Entropy of the router's softmax over experts, in units of log n: 1 undecided, 0 certain. [..., experts] -> [...]"""
    check_scores("logits", logits)
    log_p = (logits if logits.element_size() >= 4 else logits.float()).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1) / math.log(max(2, logits.shape[-1]))


class Repeats(NamedTuple):
    """How often pairs of tokens share experts.

    first: [...]; share of the pairs with the same first choice
    any: [...]; share of the pairs with an expert in common among the first two
    """

    first: Tensor
    any: Tensor


def _first_two(indices: Tensor, experts: int) -> Tensor:
    return check_indices("indices", indices, whole("experts", experts, 1, MOST_EXPERTS))[..., :2]


def repeat_rate(indices: Tensor, experts: int) -> Repeats:
    """The share of neighbouring pairs that repeat an expert (Mixtral, table 5), [...] each; a pair with padding does not count."""
    marks = assignments(_first_two(indices, experts), experts)
    if indices.shape[-2] < 2:
        raise Refusal("{parameter} must hold at least 2 tokens to have neighbours.", parameter="indices")
    present = indices[..., 0] >= 0
    pairs = (present[..., 1:] & present[..., :-1]).float()
    first = (indices[..., 1:, 0] == indices[..., :-1, 0]).float()
    common = ((marks[..., 1:, :] * marks[..., :-1, :]).sum(-1) > 0).float()
    total = pairs.sum(-1).clamp_min(1)
    return Repeats((first * pairs).sum(-1) / total, (common * pairs).sum(-1) / total)


def repeat_chance(experts: int, top_k: int = 2) -> tuple[float, float]:
    """What `repeat_rate` would be if every token drew its experts evenly at random: (first, first or second).

    1/n, and 1 − C(n − c, c)/C(n, c) with c = min(k, 2) the choices looked at: 46.43 % for 8 experts, top-2.
    """
    experts = whole("experts", experts, 1, MOST_EXPERTS)
    looked = min(whole("top_k", top_k, 1, experts), 2)
    return 1 / experts, 1 - math.comb(experts - looked, looked) / math.comb(experts, looked)


def repeat_chance_of_load(indices: Tensor, experts: int) -> Repeats:
    """`repeat_rate` over all pairs of different tokens instead of neighbours: what the load alone explains, whatever the order.

    An expert with much load repeats often by chance; this is the level to hold the rate against where the load is uneven.
    """
    # pairs of tokens by the set of their first two experts: inclusion–exclusion over experts i and pairs of experts (i, j)
    marks = assignments(_first_two(indices, experts), experts).double()
    present = (indices[..., 0] >= 0).double().sum(-1)
    pairs = (present * (present - 1)).clamp_min(1)
    counts = assignments(indices[..., :1], experts).double().sum(-2)
    first = (counts * (counts - 1)).sum(-1) / pairs
    both = marks.mT @ marks
    each = both.diagonal(dim1=-2, dim2=-1)
    shares_one = (each * (each - 1)).sum(-1)
    shares_two = (both * (both - 1)).triu(1).sum((-2, -1))
    return Repeats(first.float(), ((shares_one - shares_two) / pairs).float())
