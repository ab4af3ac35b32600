"""A tiny mixture of experts trained while you watch, once per balancing rule, on a task whose right division of labour is known.

Each input belongs to one of several kinds, and each kind has a linear rule of its own: an expert can master a kind or two,
not all of them. All rules train side by side from the same start on the same batches, as one batched model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, several_of, whole
from engines.moe.rules import RULES, choose, violation
from engines.progress import Progress

TRAINED = ("top-k", "aux-loss", "loss-free", "loss-free-rms", "quantile")


@dataclass(frozen=True)
class Training:
    """What each rule made of the same tiny model.

    rules, labels: names and labels, R of them; "top-k" trains without balancing
    step: int [T], the steps recorded
    loss: float32 [R, T], mean squared error over the variance of the target, mean since the step before
    violation: float32 [R, T], max violation of the load of those batches
    load: float32 [R, T, experts], each expert's share of the assignments of those batches
    used: int [R], experts with at least a tenth of the even share at the end
    kinds: float32 [R, kinds, experts], share of each kind's tokens routed to each expert at the end (rows sum to k)
    experts, top_k: as given
    """

    rules: tuple[str, ...]
    labels: tuple[str, ...]
    step: np.ndarray
    loss: np.ndarray
    violation: np.ndarray
    load: np.ndarray
    used: np.ndarray
    kinds: np.ndarray
    experts: int
    top_k: int


def train(
    num_experts: int = 8,
    experts_per_token: int = 1,
    kinds: int = 8,
    trained: list[str] = TRAINED,
    steps: int = 600,
    learning_rate: float = 0.01,
    common: float = 1.5,
    aux_weight: float = 0.1,
    bias_rate: float = 0.01,
    seed: int = 0,
) -> Iterator[Progress]:
    """Train y = Σ_{i chosen} ρ_i e_i(x) with each rule; yields a `Training` as it grows, at most 60 times.

    trained: the rules; kinds: how many kinds of input; common: size of what all inputs have in common, which gives some experts a head start; aux_weight: of n Σ F_i P_i in the loss (rule aux-loss); bias_rate: γ of the loss-free rules.
    The gate is a softmax, the choice the top k of ρ + b; under quantile balancing b is averaged over the batches with weight 1/10.
    """
    experts = whole("num_experts", num_experts, 2, 32)
    top_k = whole("experts_per_token", experts_per_token, 1, experts)
    kinds, steps = whole("kinds", kinds, 1, 32), whole("steps", steps, 20, 2000)
    learning_rate = number("learning_rate", learning_rate, 1e-6, 1)
    aux_weight, bias_rate = number("aux_weight", aux_weight, 1e-6, 1), number("bias_rate", bias_rate, 1e-6, 1)
    common, seed = number("common", common, 0, 4), whole("seed", seed, 0, 2**32 - 1)
    rules = tuple(several_of("trained", trained, TRAINED, len(TRAINED)))
    dim, hidden, batch, count = 16, 16, 256, len(rules)

    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    centres = 1.5 * normal(kinds, dim) + common * normal(dim)
    maps = normal(kinds, dim, dim) / dim**0.5
    start = (
        normal(dim, experts) / dim**0.5,
        normal(experts, dim, hidden) / dim**0.5,
        normal(experts, hidden, dim) / hidden**0.5,
    )
    weights = [w.expand(count, *w.shape).clone().requires_grad_() for w in start]
    router, into, out = weights
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    bias = torch.zeros(count, experts)

    def sample() -> tuple[Tensor, Tensor, Tensor]:
        kind = torch.randint(kinds, (batch,), generator=random)
        own = normal(batch, dim)
        return kind, centres[kind] + own, torch.einsum("bd,bde->be", own, maps[kind])

    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ρ and the choice [R, batch, experts], and the output [R, batch, dim]."""
        rho = torch.einsum("bd,rdn->rbn", x, router).softmax(-1)
        chosen = torch.stack([choose(p.detach(), b, top_k, "top-k") for p, b in zip(rho, bias, strict=True)])
        active = torch.einsum("bd,rndh->rbnh", x, into).relu() * (rho * chosen)[..., None]
        return rho, chosen, torch.einsum("rbnh,rnhd->rbd", active, out)

    every = math.ceil(steps / 60)
    variance = float(torch.cat([sample()[2] for _ in range(16)]).var())
    recorded: list[tuple[int, Tensor, Tensor]] = []
    loss_sum, load_sum = torch.zeros(count), torch.zeros(count, experts)
    for step in range(1, steps + 1):
        _, x, y = sample()
        rho, chosen, output = forward(x)
        share = chosen.float().mean(1)  # [R, experts], sums to k
        error = (output - y).square().mean((1, 2)) / variance
        total = error.sum()
        for row, name in enumerate(rules):
            if name == "aux-loss":
                total = total + aux_weight * experts * (share[row] / top_k * rho[row].mean(0)).sum()
            elif name == "quantile":
                bias[row].lerp_(RULES[name].step(rho[row].detach(), bias[row], share[row], top_k, 0), 0.1)
            elif name != "top-k":
                bias[row] = RULES[name].step(rho[row].detach(), bias[row], share[row], top_k, bias_rate)
        adam(weights, torch.autograd.grad(total, weights), moments, step, learning_rate)
        loss_sum += error.detach()
        load_sum += share / top_k
        if step % every and step != steps:
            continue
        since = step - (recorded[-1][0] if recorded else 0)
        recorded.append((step, loss_sum / since, load_sum / since))
        loss_sum, load_sum = torch.zeros(count), torch.zeros(count, experts)
        at, losses, loads = zip(*recorded, strict=True)
        yield Progress(
            step, steps, _result(rules, at, losses, loads, sample, forward, kinds, experts, top_k, step == steps)
        )


@torch.no_grad()
def adam(weights: list[Tensor], gradients: tuple[Tensor, ...], moments: list, step: int, rate: float) -> None:
    """One step of Adam (Kingma & Ba 2014, algorithm 1), in place: torch.optim takes 2.3 s to import before its first step."""
    for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.001)
        weight -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)


def _result(rules, at, losses, loads, sample, forward, kinds, experts, top_k, last) -> Training:
    load = torch.stack(loads, 1)
    by_kind = torch.zeros(len(rules), kinds, experts)
    if last:
        with torch.no_grad():
            samples = [sample() for _ in range(16)]
            kind, x = torch.cat([s[0] for s in samples]), torch.cat([s[1] for s in samples])
            chosen = forward(x)[1].float()
        members = torch.nn.functional.one_hot(kind, kinds).float()
        by_kind = torch.einsum("bk,rbn->rkn", members, chosen) / members.sum(0)[:, None].clamp_min(1)
    return Training(
        rules,
        tuple("No balancing" if name == "top-k" else RULES[name].label for name in rules),
        np.array(at),
        torch.stack(losses, 1).numpy(),
        violation(load).max.numpy(),
        load.numpy(),
        (load[:, -1] * experts > 0.1).sum(1).numpy(),
        by_kind.numpy(),
        experts,
        top_k,
    )
