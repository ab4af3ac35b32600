"""The balancing rules side by side on the same scores, and the λ of shared experts: what the exhibit's views compute."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked, number, one_of, several_of, whole
from engines.moe.rules import (
    GATES,
    RULES,
    SHARED_GATES,
    check_ids,
    check_scores,
    check_target,
    choice_order,
    choose,
    first_bias,
    gated,
    shared_scales,
    violation,
)
from engines.progress import Progress

BALANCED = 0.1  # a load counts as balanced when its max violation is at most 10 %
SYNTHETIC = ("uniform", "normal", "clusters")
SOURCES = (*SYNTHETIC, "model")
MOST_SCORES = 2_000_000
WEIGHT_GATES = ("same", *GATES)
UNITS = ("deviation", "score")


@dataclass(frozen=True)
class Balancing:
    """What each rule makes of one set of scores, round by round; round 0 is before any step. R rules.

    rules: keys of the rules
    load: float32 [R, rounds + 1, experts]; each expert's share of the assignments (NaN: not there yet)
    max: float32 [R, rounds + 1]; greatest violation (F − Q)/Q of the load
    min: float32 [R, rounds + 1]; least violation
    mean: float32 [R, rounds + 1]; mean of the violation's absolute value
    score: float32 [R, rounds + 1]; Σ of the routed weights, as a share of what plain top-k routes (NaN where that is not positive)
    balanced: int64 [R]; the first round from which the max violation stays within 0.1, or −1
    active: float32 [R, experts + 1]; share of tokens with 0, 1, … experts at the last round
    steps: bool [R]; whether the rule has anything to learn
    rounds: int; rounds done so far
    experts: int; n
    top_k: int; k
    tokens: int
    source: str; where the scores come from
    target: float64 [experts]; Q, each expert's share as wanted
    """

    rules: tuple[str, ...]
    load: np.ndarray
    max: np.ndarray
    min: np.ndarray
    mean: np.ndarray
    score: np.ndarray
    balanced: np.ndarray
    active: np.ndarray
    steps: np.ndarray
    rounds: int
    experts: int
    top_k: int
    tokens: int
    source: str
    target: np.ndarray


def synthetic_scores(source: str, tokens: int, experts: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unbalanced router logits [tokens, experts] and token ids [tokens].

    uniform: U(0, 1) for each pair plus a U(0, 1) offset for each expert, drawn by numpy's RandomState(seed) in this order (as the
    demonstration code of blog part 6 draws them, without a seed); normal: N(0, 1) plus an N(0, 1) offset; clusters: 16 kinds of
    token, each with its own favourites. The ids are words of a vocabulary of 5,000 with frequencies 1/rank, for the hash.
    """
    one_of("source", source, SYNTHETIC)
    tokens, experts = whole("tokens", tokens, 1, MOST_SCORES), whole("experts", experts, 1, MOST_SCORES)
    if tokens * experts > MOST_SCORES:
        raise Refusal(
            "Tokens times experts must be at most {most}, not {tokens} × {experts}.",
            most=MOST_SCORES,
            tokens=tokens,
            experts=experts,
        )
    draw = np.random.RandomState(whole("seed", seed, 0, 2**32 - 1))
    if source == "uniform":
        scores = draw.rand(tokens, experts) + draw.rand(experts)
    elif source == "normal":
        scores = draw.randn(tokens, experts) + draw.randn(experts)
    else:
        centres = 1.5 * draw.randn(16, experts)
        scores = centres[draw.choice(16, tokens, p=(w := 1 / np.arange(1, 17)) / w.sum())] + draw.randn(tokens, experts)
    frequency = 1 / np.arange(1, 5001)
    ids = draw.choice(5000, tokens, p=frequency / frequency.sum())
    return torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(ids)


def model_scores(tokens: int) -> tuple[Tensor, Tensor]:
    """Log probabilities [tokens, 8] of the last router of `moe-none` on held-back text, and the bytes; the three domains in turn."""
    from engines import models
    from engines.moe.language import read_bytes, send_through_decoder

    ids = read_bytes("held-back", "").ids[: whole("tokens", tokens, 1, MOST_SCORES)]
    return send_through_decoder(models.load("moe-none", device="cpu").model, ids).probabilities[-1].log(), ids


def compare_rules(
    scores: Tensor,
    top_k: int,
    rules: Sequence[str],
    rounds: int,
    gate: str = "none",
    rate: float = 0.01,
    ids: Tensor | None = None,
    source: str = "given",
    weight_gate: str = "same",
    unit: str = "deviation",
    target: Tensor | None = None,
) -> Iterator[Progress]:
    """Run the rules beside each other on scores [tokens, experts]; yields a Progress a round, with a `Balancing` for a result.

    rate: γ, by `unit` in standard deviations of the scores a rule ranks by ("deviation") or in these scores ("score"); gate: what
    makes ρ of the scores for the choice, where the bias is added; weight_gate: what makes the weights of them, "same" or one
    of GATES (blog part 3); target: Q [experts] (None: even). The rules of a round run on several threads.
    """
    tokens, experts = check_scores("scores", scores, 2).shape
    top_k, rounds = whole("top_k", top_k, 1, experts), whole("rounds", rounds, 1, 500)
    rules = tuple(several_of("rules", rules, RULES, len(RULES)))
    one_of("gate", gate, GATES)
    one_of("weight_gate", weight_gate, WEIGHT_GATES)
    one_of("unit", unit, UNITS)
    target = check_target(target, top_k, experts)
    wanted = torch.full((experts,), 1 / experts, dtype=torch.float64) if target is None else target
    rate = number("rate", rate, 1e-6, 1)
    check_ids(ids, tokens)
    if not 1 <= tokens <= MOST_SCORES / experts:
        raise Refusal(
            "{parameter} must be of at least one token, and at most {most} numbers; this has the shape {shape}.",
            parameter="scores",
            most=MOST_SCORES,
            shape=str(list(scores.shape)),
        )
    scores = scores if scores.element_size() >= 4 else scores.float()
    rho, order = gated(scores, gate), {name: choice_order(scores, gate, name) for name in rules}
    weights = rho if weight_gate == "same" else gated(scores, weight_gate)
    best = float(weights.topk(top_k, dim=1).values.sum())
    ranked = {name: scores if name == "aux-loss" else rho for name in rules}
    bias = {name: first_bias(ranked[name], top_k, name) for name in rules}
    gamma = {name: rate * (float(ranked[name].std()) if unit == "deviation" else 1) for name in rules}
    steps = np.array([RULES[name].step is not None for name in rules])
    loads = np.full((len(rules), rounds + 1, experts), np.nan, np.float32)
    spread = np.full((3, len(rules), rounds + 1), np.nan, np.float32)
    score = np.full((len(rules), rounds + 1), np.nan, np.float32)
    active = np.zeros((len(rules), experts + 1), np.float32)
    done = {}

    def one_round(row: int) -> None:
        name = rules[row]
        if name in done:
            loads[row, now], spread[:, row, now], score[row, now] = done[name]
            return
        mask = choose(ranked[name], bias[name], top_k, name, ids, order[name], target=target)
        marks = mask.to(rho)
        share = marks.mean(0)
        loads[row, now] = (share / share.sum()).cpu()
        spread[:, row, now] = torch.stack(violation(share, target)).cpu()
        score[row, now] = float(torch.dot(weights.flatten(), marks.flatten())) / best if best > 0 else np.nan
        if now == rounds or not steps[row]:
            active[row] = torch.bincount(mask.sum(1), minlength=experts + 1).cpu().numpy() / tokens
        if not steps[row]:
            done[name] = loads[row, now], spread[:, row, now], score[row, now]
        else:
            bias[name] = RULES[name].step(ranked[name], bias[name], share, top_k, gamma[name], target)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for now in range(rounds + 1):
            list(pool.map(one_round, range(len(rules))))
            late = np.nan_to_num(spread[0, :, : now + 1], nan=np.inf) > BALANCED
            settled = np.where(late[:, -1], -1, now + 1 - np.argmin(late[:, ::-1].cumsum(1) == 0, 1))
            settled = np.where(late.any(1), settled, 0)
            result = Balancing(
                rules,
                loads.copy(),
                *spread.copy(),
                score.copy(),
                settled,
                active.copy(),
                steps,
                now,
                experts,
                top_k,
                tokens,
                source,
                wanted.cpu().numpy(),
            )
            yield Progress(now, rounds, result)


@checked
def balance(
    source: Annotated[str, OneOf(SOURCES)] = "uniform",
    tokens: Annotated[int, Between(16, 20_000)] = 4000,
    experts: Annotated[int, Between(2, 256)] = 64,
    top_k: Annotated[int, Between(1, 64)] = 8,
    gate: Annotated[str, OneOf(GATES)] = "none",
    rules: Annotated[Sequence[str], SomeOf(RULES)] = (
        "top-k",
        "aux-loss",
        "loss-free",
        "loss-free-rms",
        "quantile",
        "dynamic",
        "hash",
    ),
    rate: Annotated[float, Between(1e-4, 1)] = 0.02,
    rounds: Annotated[int, Between(1, 300)] = 100,
    seed: Annotated[int, Between(0, 9999)] = 0,
    tilt: Annotated[float, Between(1, 16)] = 1.0,
    weight_gate: Annotated[str, OneOf(WEIGHT_GATES)] = "same",
    unit: Annotated[str, OneOf(UNITS)] = "deviation",
) -> Iterator[Progress[Balancing]]:
    """Balancing rules side by side on unbalanced scores: load and violation over the rounds, and the routed score they cost.

    source: uniform, normal or clusters (`synthetic_scores`), or model: the last router of the embedded model trained without
    balancing, on text held back (its 8 experts, top-2 and softmax, whatever `experts`, `top_k` and `gate` are); rate: the bias
    step γ, in standard deviations of the scores or in the scores themselves (unit); tilt: the target share of the first expert over
    that of the last, evenly spaced by ratio between (1: even); weight_gate: what weighs the experts, where it is not the gate
    that chooses them
    """
    if source == "model":
        experts, top_k, gate = 8, 2, "softmax"
    if top_k > experts:
        raise Refusal(
            "{parameter} must be at most {experts}, the number of experts; it is {top_k}.",
            parameter="top_k",
            experts=experts,
            top_k=top_k,
        )
    if source == "model":
        scores, ids = model_scores(tokens)
    else:
        scores, ids = synthetic_scores(source, tokens, experts, seed)
    target = None if tilt == 1 else tilt ** -torch.linspace(0, 1, experts, dtype=torch.float64)
    yield from compare_rules(scores, top_k, tuple(rules), rounds, gate, rate, ids, source, weight_gate, unit, target)


@dataclass(frozen=True)
class SharedScale:
    """The λ of shared experts; R numbers of active experts, M published models.

    active: int64 [R]; experts active, shared included: s + 1 … the most, `top_k` among them
    scale: float32 [R]; λ for each
    low: float32 [R]; 5th percentile of √s/√Σp² over single tokens
    high: float32 [R]; 95th percentile
    value: float; λ at `top_k`
    models: names of the published models; one stands twice where its shared experts can be counted in two ways
    settings: for each (experts, active, shared, gate, renormalised), shared experts included
    computed: float32 [M]; λ computed here
    published: float32 [M]; routed_scaling_factor in the model's configuration
    experts: int; n, shared included
    top_k: int; k, shared included
    shared: int; s
    """

    active: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    value: float
    models: tuple[str, ...]
    settings: tuple[tuple[int, int, int, str, bool], ...]
    computed: np.ndarray
    published: np.ndarray
    experts: int
    top_k: int
    shared: int


# each configuration's routed_scaling_factor; Moonlight's 2.446 was computed (arXiv:2502.16982) with its two shared experts as one
PUBLISHED = (
    ("DeepSeek-V2", (162, 8, 2, "softmax", False), 16.0),
    ("DeepSeek-V3", (257, 9, 1, "sigmoid", True), 2.5),
    ("Moonlight-16B-A3B", (66, 8, 2, "sigmoid", True), 2.446),
    ("Moonlight-16B-A3B", (65, 7, 1, "sigmoid", True), 2.446),
)


@checked
def shared_scale(
    experts: Annotated[int, Between(3, 512)] = 162,
    top_k: Annotated[int, Between(2, 64)] = 8,
    shared: Annotated[int, Between(1, 8)] = 2,
    gate: Annotated[str, OneOf(SHARED_GATES)] = "softmax",
    renormalize: bool = False,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> SharedScale:
    """λ against the number of active experts, and beside the values that published models use (blog part 5).

    experts and top_k count the shared ones; gate: of the routed experts' weights; renormalize: these sum to 1.
    """
    if not shared < top_k <= experts:
        raise Refusal(
            "{parameter} must be more than the {shared} shared experts and at most all {experts}; it is {top_k}.",
            parameter="top_k",
            shared=shared,
            experts=experts,
            top_k=top_k,
        )
    most = min(experts, 64)
    scales = shared_scales(experts, most, shared, gate, renormalize, 4000, seed)
    low, high = torch.quantile(scales, torch.tensor([0.05, 0.95], dtype=scales.dtype), dim=0)
    settings = tuple(setting for _, setting, _ in PUBLISHED)
    return SharedScale(
        active=np.arange(shared + 1, most + 1),
        scale=scales.mean(0).float().numpy(),
        low=low.float().numpy(),
        high=high.float().numpy(),
        value=float(scales[:, top_k - shared - 1].mean()),
        models=tuple(name for name, _, _ in PUBLISHED),
        settings=settings,
        computed=np.array(_published_scales(), np.float32),
        published=np.array([used for _, _, used in PUBLISHED], np.float32),
        experts=experts,
        top_k=top_k,
        shared=shared,
    )


@lru_cache(maxsize=1)
def _published_scales() -> tuple[float, ...]:
    return tuple(float(shared_scales(*setting, 4000, 0)[:, -1].mean()) for _, setting, _ in PUBLISHED)
