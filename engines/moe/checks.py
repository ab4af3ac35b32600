"""What the engine of the mixtures must reproduce."""

from __future__ import annotations

import numpy as np
import torch

from engines.checks import Check
from engines.moe.auxiliary import straight_through
from engines.moe.balancing import balance, synthetic_scores
from engines.moe.devices import device_limits, devices_by_chance
from engines.moe.dynamic import first_threshold
from engines.moe.geometry import best_subsets, omission_error
from engines.moe.rules import gated, load, load_balancing_loss, quantile_balance, route, shared_expert_scale, violation
from engines.moe.sequences import moving_thresholds
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


def through_and_product() -> list[float]:
    """Greatest difference of the straight-through gradient from Σ (F − Q)∂P written out, for an uneven and an even target."""
    scores = synthetic_scores("normal", 200, 6, 3)[0].double().requires_grad_()
    p = scores.detach().softmax(-1).numpy()
    share = load(scores.detach().topk(2, dim=1).indices, 6).double().numpy()
    found = []
    for target in (torch.arange(1.0, 7.0, dtype=torch.float64), None):
        (gradient,) = torch.autograd.grad(straight_through(scores, 2, target), scores)
        # for the even target the product ΣFP alone
        weight = share - (0 if target is None else (target / target.sum()).numpy())
        written = p * (weight - (p * weight).sum(1, keepdims=True)) / len(p)
        found.append(float(np.abs(gradient.numpy() - written).max()))
    return found


def truncation() -> list[float]:
    """The post's own lines with BIP's clips: greatest difference from it, and the least violation after 20 rounds."""
    scores = blog_scores()[:4000].numpy().astype(float)
    beta = np.zeros((1, 64))
    for _ in range(20):
        alpha = np.quantile(scores - beta, 1 - 8 / 64, axis=1, keepdims=True).clip(0, np.inf)
        beta = np.quantile(scores - alpha, 1 - 8 / 64, axis=0, keepdims=True).clip(0, np.inf)
    bias = quantile_balance(torch.from_numpy(scores), 8, 20, truncate=True)
    return [float(np.abs(bias.numpy() + beta[0]).max()), float((bias > 0).sum())]


def uneven_target() -> float:
    """Greatest violation of a target of 4 to 1 after 20 rounds."""
    scores, target = blog_scores()[:4000], 4.0 ** -torch.linspace(0, 1, 64, dtype=torch.float64)
    bias = quantile_balance(scores, 8, 20, target=target)
    counts = np.bincount((scores + bias).topk(8, sorted=False).indices.flatten().numpy(), minlength=64)
    return float(np.abs(counts / counts.sum() / (target / target.sum()).numpy() - 1).max())


def normal_start() -> list[float]:
    """Experts above the first threshold, of 256 for a budget of 8: behind no gate, a sigmoid, a softmax."""
    logits = torch.randn(20_000, 256, generator=torch.Generator().manual_seed(0))
    return [
        float((gated(logits, gate) > first_threshold(256, 8, 1.0, gate)).sum(1).double().mean())
        for gate in ("none", "sigmoid", "softmax")
    ]


def histogram_error() -> float:
    """Greatest distance, in bins, of the quantile of a histogram without forgetting from numpy's quantile."""
    scores = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    beta = moving_thresholds(scores, 1, decay=1.0, bins=50).numpy()
    exact = [np.quantile(scores[: i + 1].numpy(), 2 / 3, axis=0, method="inverted_cdf") for i in range(200)]
    return float(np.abs(beta - np.array(exact)).max() * 50)


def devices_reached() -> list[float]:
    return [float(device_limits(tokens=8000).touched[-1]), devices_by_chance(4, 2, 2)]


def finer_is_better() -> float:
    """How much the best 2k of 2n blocks are worse than the best k of n, cut from the same units: 0 if never."""
    units = torch.randn(64, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coarse = best_subsets(units.unflatten(1, (6, 2)).sum(2))
    return float((best_subsets(units)[:, ::2] - coarse).clamp_min(0).max())


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
    Check(
        "Straight-through gradient minus Σ (F − Q)∂P: uneven target; even, where it is Σ F∂P",
        "MoE环游记 2, written out",
        [0, 0],
        1e-9,
        through_and_product,
    ),
    Check(
        "Truncated quantiles minus the post's lines with BIP's clips; biases above 0",
        "MoE环游记 6 in numpy, arXiv 2502.15451",
        [0, 0],
        1e-6,
        truncation,
    ),
    Check("Quantile balancing to a target of 4 to 1: greatest violation", "F = Q", 0, 0.02, uneven_target),
    Check(
        "First bias of the normal quantile, 8 of 256: experts taken behind no gate, sigmoid, softmax",
        "MoE环游记 7: 8, 8, about 7.5",
        [8, 8, 7.5],
        0.05,
        normal_start,
    ),
    Check(
        "Quantile read off a histogram of all so far: distance from numpy's, in bins",
        "half a bin at most",
        0.25,
        0.2501,
        histogram_error,
    ),
    Check(
        "Devices of 6 of 160 experts on 8; of 2 of 4 on 2",
        "drawn without replacement: D(1 − C(n − n/D, k)/C(n, k))",
        [4.4586, 5 / 3],
        0.03,
        devices_reached,
    ),
    Check("Best 2k of 2n blocks: how much worse than the best k of n", "it contains them", 0, 1e-12, finer_is_better),
)
