"""A small mixture of experts trained live, once per balancing rule, on a task whose right division of labour is known.

Each input belongs to one of several kinds, and each kind has a linear rule of its own: an expert can master a kind or two,
not all of them. All rules train side by side from the same start on the same batches, as one batched model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked
from engines.moe.rules import RULES, SHARED_GATES, choose, gated, violation
from engines.progress import Progress

WEIGHTS = ("same", *SHARED_GATES)
TRAINED = ("top-k", "aux-loss", "loss-free", "loss-free-rms", "quantile")


@dataclass(frozen=True)
class Training:
    """What each rule made of the same model; R rules, T moments.

    rules: keys of the rules; "top-k" trains without balancing
    step: int64 [T]; steps done at each moment
    loss: float32 [R, T]; mean squared error over the variance of the target, mean since the moment before
    violation: float32 [R, T]; max violation (F − Q)/Q of the load of those batches
    load: float32 [R, T, experts]; each expert's share of the assignments of those batches
    log_z: float32 [R, T]; root mean square of log Σ exp(logits), what the z-loss holds down
    used: int64 [R]; experts with at least a tenth of the even share at the last moment
    kinds: float32 [R, kinds, experts]; share of each kind's tokens routed to each expert at the end (rows sum to k; 0 until then)
    experts: int; n
    top_k: int; k
    """

    rules: tuple[str, ...]
    step: np.ndarray
    loss: np.ndarray
    violation: np.ndarray
    load: np.ndarray
    log_z: np.ndarray
    used: np.ndarray
    kinds: np.ndarray
    experts: int
    top_k: int


@checked
def train(
    experts: Annotated[int, Between(2, 32)] = 8,
    top_k: Annotated[int, Between(1, 8)] = 1,
    kinds: Annotated[int, Between(1, 32)] = 8,
    rules: Annotated[Sequence[str], SomeOf(TRAINED)] = TRAINED,
    steps: Annotated[int, Between(20, 1500)] = 600,
    learning_rate: Annotated[float, Between(1e-4, 0.1)] = 0.01,
    common: Annotated[float, Between(0, 4)] = 1.5,
    aux_weight: Annotated[float, Between(1e-4, 1)] = 0.1,
    bias_rate: Annotated[float, Between(1e-4, 0.1)] = 0.01,
    gate: Annotated[str, OneOf(SHARED_GATES)] = "softmax",
    weight_gate: Annotated[str, OneOf(WEIGHTS)] = "same",
    z_weight: Annotated[float, Between(0, 0.1)] = 0.0,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Training]]:
    """Train y = Σ_{i chosen} ρ_i e_i(x) with each rule; yields a `Training` as it grows, at most 60 times.

    kinds: how many kinds of input, each with its own linear map; common: length of what all inputs have in common, which gives
    some experts a head start; aux_weight: of n Σ F_i P_i in the loss (rule aux-loss); bias_rate: γ of the loss-free rules.
    gate: makes ρ of the logits, and the choice is the top k of ρ + b; weight_gate: makes the weights of the experts' outputs, where
    that is not the gate (blog part 3); z_weight: of the mean of (log Σ exp(logits))² in the loss (ST-MoE, arXiv:2202.08906, eq. 5).
    Under quantile balancing b is averaged over the batches with weight 1/10.
    """
    if top_k > experts:
        raise Refusal(
            "{parameter} must be at most {experts}, the number of experts; it is {top_k}.",
            parameter="top_k",
            experts=experts,
            top_k=top_k,
        )
    rules = tuple(rules)
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

    def forward(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ρ and the choice [R, batch, experts], the output [R, batch, dim], and the logits."""
        logits = torch.einsum("bd,rdn->rbn", x, router)
        rho = gated(logits, gate)
        weight = rho if weight_gate == "same" else gated(logits, weight_gate)
        each = zip(rho.detach(), bias, logits.detach(), strict=True)
        chosen = torch.stack([choose(p, b, top_k, "top-k", order=order) for p, b, order in each])
        active = torch.einsum("bd,rndh->rbnh", x, into).relu() * (weight * chosen)[..., None]
        return rho, chosen, torch.einsum("rbnh,rnhd->rbd", active, out), logits

    every = math.ceil(steps / 60)
    variance = float(torch.cat([sample()[2] for _ in range(16)]).var())
    recorded: list[tuple[int, Tensor, Tensor, Tensor]] = []
    loss_sum, load_sum, z_sum = torch.zeros(count), torch.zeros(count, experts), torch.zeros(count)
    for step in range(1, steps + 1):
        _, x, y = sample()
        rho, chosen, output, logits = forward(x)
        share = chosen.float().mean(1)  # [R, experts], sums to k
        error = (output - y).square().mean((1, 2)) / variance
        z = logits.logsumexp(-1).square().mean(1)
        total = error.sum() + (z_weight * z.sum() if z_weight else 0)
        for row, name in enumerate(rules):
            if name == "aux-loss":
                total = total + aux_weight * experts * (share[row] / top_k * logits[row].softmax(-1).mean(0)).sum()
            elif name == "quantile":
                bias[row].lerp_(RULES[name].step(rho[row].detach(), bias[row], share[row], top_k, 0), 0.1)
            elif name != "top-k":
                bias[row] = RULES[name].step(rho[row].detach(), bias[row], share[row], top_k, bias_rate)
        adam(weights, torch.autograd.grad(total, weights), moments, step, learning_rate)
        loss_sum += error.detach()
        load_sum += share / top_k
        z_sum += z.detach()
        if step % every and step != steps:
            continue
        since = step - (recorded[-1][0] if recorded else 0)
        recorded.append((step, loss_sum / since, load_sum / since, (z_sum / since).sqrt()))
        loss_sum, load_sum, z_sum = torch.zeros(count), torch.zeros(count, experts), torch.zeros(count)
        at, losses, loads, zs = zip(*recorded, strict=True)
        yield Progress(
            step, steps, _result(rules, at, losses, loads, zs, sample, forward, kinds, experts, top_k, step == steps)
        )


@torch.no_grad()
def adam(weights: list[Tensor], gradients: tuple[Tensor, ...], moments: list, step: int, rate: float) -> None:
    """One step of Adam (Kingma & Ba 2014, algorithm 1), in place: torch.optim takes 2.3 s to import before its first step."""
    for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
        first.lerp_(gradient, 0.1)
        second.lerp_(gradient.square(), 0.001)
        weight -= rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)


def _result(rules, at, losses, loads, zs, sample, forward, kinds, experts, top_k, last) -> Training:
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
        np.array(at),
        torch.stack(losses, 1).numpy(),
        violation(load).max.numpy(),
        load.numpy(),
        torch.stack(zs, 1).numpy(),
        (load[:, -1] * experts > 0.1).sum(1).numpy(),
        by_kind.numpy(),
        experts,
        top_k,
    )
