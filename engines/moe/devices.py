"""Device-limited routing: a token may use the experts of few devices only (DeepSeek-V2, arXiv:2405.04434, §2.2.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, OneOf, Refusal, checked, whole
from engines.moe.rules import SHARED_GATES, Groups, choose, gated, violation

MOST_SCORES = 50_000_000  # experts times tokens, for each limit: two or three seconds


def devices_by_chance(experts: int, top_k: int, devices: int) -> float:
    """Devices that k experts, drawn evenly at random, lie on: D(1 − C(n − n/D, k)/C(n, k)), the mean."""
    experts, top_k = whole("experts", experts, 1, 100_000), whole("top_k", top_k, 1, experts)
    size = experts // whole("devices", devices, 1, experts)
    return devices * (1 - math.comb(experts - size, top_k) / math.comb(experts, top_k))


@dataclass(frozen=True)
class DeviceLimits:
    """What it costs to limit a token to M devices; M = 1 … D where k experts find room.

    limit: int64 [M]
    score: float64 [M]; routed score Σρ, over that of plain top-k
    same: float64 [M]; share of plain top-k's choices that are kept
    touched: float64 [M]; devices that a token's experts lie on, mean
    imbalance: float64 [M]; greatest violation (F − Q)/Q over the devices
    spread: float64 [D]; share of tokens whose plain top-k lies on 1 … D devices
    chance: float64; devices that k random experts lie on
    experts: int; n
    top_k: int; k
    devices: int; D
    """

    limit: np.ndarray
    score: np.ndarray
    same: np.ndarray
    touched: np.ndarray
    imbalance: np.ndarray
    spread: np.ndarray
    chance: float
    experts: int
    top_k: int
    devices: int


@checked
def device_limits(
    experts: Annotated[int, Between(4, 512)] = 160,
    top_k: Annotated[int, Between(1, 32)] = 6,
    devices: Annotated[int, Between(2, 32)] = 8,
    scored_by: Annotated[int, Between(1, 8)] = 1,
    together: Annotated[float, Between(0, 3)] = 0.0,
    gate: Annotated[str, OneOf(SHARED_GATES)] = "softmax",
    tokens: Annotated[int, Between(100, 8000)] = 1000,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> DeviceLimits:
    """Routed score, devices reached and balance of the devices, for each limit M on the devices of a token.

    Logits are N(0, 1) for each token and expert, plus N(0, together²) for each token and device: experts of one device wanted
    together. A device's score is the sum of its `scored_by` greatest: 1 in DeepSeek-V2, 2 in V3.
    """
    if experts % devices:
        raise Refusal(
            "{parameter} must divide the {experts} experts: {count} does not.",
            parameter="devices",
            experts=experts,
            count=devices,
        )
    size = experts // devices
    if top_k > experts or scored_by > size:
        raise Refusal(
            "{parameter} must be at most {most} for {experts} experts on {devices} devices.",
            parameter="top_k" if top_k > experts else "scored_by",
            most=experts if top_k > experts else size,
            experts=experts,
            devices=devices,
        )
    if experts * devices * tokens > MOST_SCORES:
        raise Refusal(
            "{parameter}: {tokens} among {experts} experts on {devices} devices take too long here; take at most {most}.",
            parameter="tokens",
            tokens=tokens,
            experts=experts,
            devices=devices,
            most=MOST_SCORES // (experts * devices),
        )
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, experts, generator=random)
    logits += together * torch.randn(tokens, devices, generator=random).repeat_interleave(size, 1)
    rho, none = gated(logits, gate), torch.zeros(experts)
    plain = choose(rho, none, top_k, "top-k", order=logits)
    best = float((rho * plain).sum())
    limit = np.arange(math.ceil(top_k / size), devices + 1)
    score, same, touched, imbalance = (np.empty(len(limit)) for _ in range(4))
    for i, most in enumerate(limit):
        groups = Groups(devices, int(most), scored_by)
        mask = choose(rho, none, top_k, "top-k", order=logits, groups=groups)
        each = mask.view(tokens, devices, size).sum(-1)
        score[i], same[i] = float((rho * mask).sum()) / best, float((mask & plain).sum()) / (tokens * top_k)
        touched[i] = float((each > 0).sum(1).double().mean())
        imbalance[i] = float(violation(each.double().mean(0)).max)
    on = (plain.view(tokens, devices, size).sum(-1) > 0).sum(1)
    return DeviceLimits(
        limit=limit,
        score=score,
        same=same,
        touched=touched,
        imbalance=imbalance,
        spread=torch.bincount(on, minlength=devices + 1)[1:].double().numpy() / tokens,
        chance=devices_by_chance(experts, top_k, devices),
        experts=experts,
        top_k=top_k,
        devices=devices,
    )
