"""What the engine of the mixtures must reproduce."""

from __future__ import annotations

import torch

from engines.checks import Check
from engines.moe.balancing import balance, synthetic_scores
from engines.moe.geometry import best_subsets, omission_error
from engines.moe.rules import load, load_balancing_loss, quantile_balance, route, shared_expert_scale, violation
from engines.moe.statistics import repeat_chance


def blog_scores() -> torch.Tensor:
    return synthetic_scores("uniform", 20_000, 64, 0)[0]


def violations(bias: torch.Tensor | float = 0.0) -> list[float]:
    chosen = (blog_scores() + bias).topk(8, sorted=False).indices
    return [float(value) for value in violation(load(chosen, 64))]


def dynamic_quantile() -> list[float]:
    routing = route(blog_scores()[:4000], 8, "dynamic-quantile")
    return [float(violation(routing.load).max), float((routing.indices >= 0).sum()) / 4000]


def balanced_loss(experts: int, top_k: int) -> list[float]:
    shift = (torch.arange(experts)[:, None] + torch.arange(experts)) % experts
    collapsed = torch.where(torch.arange(experts) < top_k, 40.0, 0.0).expand(experts, experts)
    return [float(load_balancing_loss(1e-4 * shift.float(), top_k)), float(load_balancing_loss(collapsed, top_k))]


def sign_and_rms() -> list[float]:
    """Max violation, then mean violation, of the loss-free rules by sign and by RMS: mean over the rounds 100 to 200."""
    *_, last = balance(rules=("loss-free", "loss-free-rms"), rounds=200)
    return [float(row[100:].mean()) for found in (last.result.max, last.result.mean) for row in found]


def excess_of_norms() -> float:
    basis = torch.linalg.qr(
        torch.randn(16, 24, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q.mT
    vectors = basis * torch.linspace(0.1, 2, 10, dtype=torch.float64)[:, None]
    ranks = vectors.norm(dim=-1).argsort(1, descending=True).argsort(1)
    best = best_subsets(vectors)
    return max(float((omission_error(vectors, ranks < k) - best[:, k]).abs().max()) for k in range(11))


# the post gives the code of the test on uniform scores, without a seed and without results: the numbers are numpy's, at seed 0
CHECKS = (
    Check(
        "Load-balancing loss, (8, 2): k when balanced, n when collapsed",
        "Switch Transformers eq. 4, in transformers' convention",
        [2, 8],
        1e-3,
        lambda: balanced_loss(8, 2),
    ),
    Check("The same for (64, 8)", "Switch Transformers eq. 4", [8, 64], 1e-2, lambda: balanced_loss(64, 8)),
    Check(
        "Top-k on 20,000 × 64 uniform scores with offsets: max, min, mean violation",
        "the code of MoE环游记 6 in numpy, seed 0",
        [2.284, -1, 1.121],
        6e-4,
        violations,
    ),
    Check(
        "Quantile balancing of them, 1 round",
        "the code of MoE环游记 6 in numpy, seed 0",
        [0.147, -0.101, 0.084],
        6e-4,
        lambda: violations(quantile_balance(blog_scores(), 8, 1)),
    ),
    Check(
        "Quantile balancing, 5 rounds: max violation",
        "the code of MoE环游记 6 in numpy, seed 0",
        0.0056,
        0.002,
        lambda: violations(quantile_balance(blog_scores(), 8, 5))[0],
    ),
    Check(
        "Loss-free rules on uniform scores, rounds 100 to 200: max violation by sign and by RMS, mean violation likewise",
        "measured; MoE环游记 3 finds RMS often better",
        [0.067, 0.101, 0.0335, 0.0284],
        1e-3,
        sign_and_rms,
    ),
    Check(
        "Dynamic number by quantiles: balanced in one round, 8 experts a token on average",
        "MoE环游记 7",
        [0, 8],
        0.01,
        dynamic_quantile,
    ),
    Check(
        "λ for 162 experts, 8 active, 2 shared, softmax",
        "MoE环游记 5; DeepSeek-V2's configuration has 16",
        16.0,
        0.2,
        lambda: shared_expert_scale(162, 8, 2),
    ),
    Check(
        "λ for 257 experts, 9 active, 1 shared, sigmoid, renormalised",
        "MoE环游记 5 (DeepSeek-V3's configuration has 2.5)",
        2.83,
        0.005,
        lambda: shared_expert_scale(257, 9, 1, "sigmoid", True),
    ),
    Check(
        "λ for 64 routed experts, 6 active, sigmoid, renormalised, one shared",
        "Moonlight's configuration, its two shared experts counted as one",
        2.446,
        0.005,
        lambda: shared_expert_scale(65, 7, 1, "sigmoid", True),
    ),
    Check(
        "Chance that neighbours repeat: 8 experts, top-2; first, first or second (%)",
        "Mixtral, table 5",
        [12.5, 46.43],
        0.005,
        lambda: [100 * chance for chance in repeat_chance(8, 2)],
    ),
    Check(
        "Orthogonal vectors: error of the k longest minus that of the best subset",
        "MoE环游记 1",
        0.0,
        1e-12,
        excess_of_norms,
    ),
)
