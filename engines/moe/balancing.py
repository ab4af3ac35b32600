"""The balancing rules side by side on the same scores, and the λ of shared experts: what the exhibit's views compute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, several_of, whole
from engines.moe.rules import GATES, RULES, SHARED_GATES, _shared_scales, choose, first_bias, gated, violation
from engines.progress import Progress

BALANCED = 0.1  # a load whose busiest expert has at most 10 % too much counts as balanced
SYNTHETIC = ("uniform", "normal", "clusters")
SOURCES = (*SYNTHETIC, "model")


@dataclass(frozen=True)
class Balancing:
    """What each rule makes of one set of scores, round by round; round 0 is before any step.

    rules, labels: names and labels of the rules, R of them
    load: float32 [R, rounds + 1, experts], each expert's share of the assignments (NaN: not there yet)
    max, min, mean: float32 [R, rounds + 1], violation of the load
    score: float32 [R, rounds + 1], Σ of the routed ρ per token, as a share of what plain top-k routes
    balanced: int [R], the first round from which the max violation stays within 0.1, or −1
    active: float32 [R, experts + 1], share of tokens with 0, 1, … experts at the last round
    steps: bool [R], whether the rule has anything to learn
    rounds: rounds done so far; experts, top_k, tokens: sizes; source: where the scores come from
    """

    rules: tuple[str, ...]
    labels: tuple[str, ...]
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


def synthetic_scores(source: str, tokens: int, experts: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unbalanced router logits [tokens, experts] and token ids [tokens].

    uniform: U(0, 1) for each pair plus a U(0, 1) offset for each expert, drawn by numpy's RandomState(seed) in this order (the test of
    blog part 6); normal: N(0, 1) plus an N(0, 1) offset; clusters: 16 kinds of token, each with its own favourites. The ids are
    words of a vocabulary of 5,000 with frequencies 1/rank, for the hash.
    """
    one_of("source", source, SYNTHETIC)
    if not 1 <= tokens * experts <= 2_000_000:
        raise ValueError(f"tokens × experts must be at most 2,000,000, not {tokens:,} × {experts:,}.")
    draw = np.random.RandomState(seed % 2**32)
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
    from engines.moe.language import held_back, send_through_decoder

    ids = torch.stack(list(held_back().values()), 1).flatten()[:tokens]
    return send_through_decoder(models.load("moe-none").model, ids).probabilities[-1].log(), ids


def compare_rules(
    scores: Tensor,
    top_k: int,
    rules: tuple[str, ...],
    rounds: int,
    gate: str = "none",
    rate: float = 0.01,
    ids: Tensor | None = None,
    source: str = "given",
) -> Iterator[Progress]:
    """Run the rules beside each other on scores [tokens, experts]; yields a Progress a round, with a `Balancing` for a result.

    rate: γ in standard deviations of the scores a rule ranks by. The rules of a round run on several threads.
    """
    tokens, experts = scores.shape
    rho = gated(scores, gate)
    best = rho.topk(top_k, dim=1).values.sum()
    ranked = {name: scores if name == "aux-loss" else rho for name in rules}
    bias = {name: first_bias(ranked[name], top_k, name) for name in rules}
    gamma = {name: rate * float(ranked[name].std()) for name in rules}
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
        mask = choose(ranked[name], bias[name], top_k, name, ids)
        marks = mask.to(rho)
        share = marks.mean(0)
        loads[row, now] = (share / share.sum()).cpu()
        spread[:, row, now] = torch.stack(violation(share)).cpu()
        score[row, now] = float(torch.dot(rho.flatten(), marks.flatten()) / best)
        if now == rounds or not steps[row]:
            active[row] = torch.bincount(mask.sum(1), minlength=experts + 1).cpu().numpy() / tokens
        if not steps[row]:
            done[name] = loads[row, now], spread[:, row, now], score[row, now]
        else:
            bias[name] = RULES[name].step(ranked[name], bias[name], share, top_k, gamma[name])

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for now in range(rounds + 1):
            list(pool.map(one_round, range(len(rules))))
            late = np.nan_to_num(spread[0, :, : now + 1], nan=np.inf) > BALANCED
            settled = np.where(late[:, -1], -1, now + 1 - np.argmin(late[:, ::-1].cumsum(1) == 0, 1))
            settled = np.where(late.any(1), settled, 0)
            labels = tuple(RULES[name].label for name in rules)
            result = Balancing(
                rules,
                labels,
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
            )
            yield Progress(now, rounds, result)


def balance(
    source: str = "uniform",
    tokens: int = 4000,
    experts: int = 64,
    top_k: int = 8,
    gate: str = "none",
    rules: list[str] = ("top-k", "aux-loss", "loss-free", "loss-free-rms", "quantile", "dynamic", "hash"),
    rate: float = 0.02,
    rounds: int = 100,
    seed: int = 0,
) -> Iterator[Progress]:
    """Balancing rules side by side on unbalanced scores: load and violation over the rounds, and the routed score they cost.

    source: uniform, normal or clusters (`synthetic_scores`), or model: what the last router of the embedded model trained without balancing
    says of text held back (its 8 experts, top-2 and softmax, whatever `experts`, `top_k` and `gate` are); rate: the bias step γ in
    standard deviations of the scores
    """
    if one_of("source", source, SOURCES) == "model":
        experts, top_k, gate = 8, 2, "softmax"
    tokens, experts = whole("tokens", tokens, 16, 20_000), whole("experts", experts, 2, 256)
    top_k, rounds = whole("top_k", top_k, 1, experts), whole("rounds", rounds, 1, 500)
    rate, seed = number("rate", rate, 1e-6, 1), whole("seed", seed, 0, 2**32 - 1)
    one_of("gate", gate, GATES)
    rules = several_of("rules", rules, RULES, len(RULES))
    if source == "model":
        scores, ids = model_scores(tokens)
    else:
        scores, ids = synthetic_scores(source, tokens, experts, seed)
    yield from compare_rules(scores, top_k, tuple(rules), rounds, gate, rate, ids, source)


@dataclass(frozen=True)
class SharedScale:
    """The λ of shared experts.

    routed: int [R], number of routed experts active, 1 … k − s
    scale: float32 [R], λ for each
    low, high: float32 [R], 5th and 95th percentile of √s/√Σp² over single tokens
    value: λ at k − s
    known_names, known_settings, known_computed, known_used: published models: name, (experts, active, shared, gate, renormalised), λ
        computed here, λ in the model's configuration
    experts, top_k, shared: as given
    """

    routed: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    value: float
    known_names: tuple[str, ...]
    known_settings: tuple[tuple[int, int, int, str, bool], ...]
    known_computed: np.ndarray
    known_used: np.ndarray
    experts: int
    top_k: int
    shared: int


# routed_scaling_factor of each published configuration; Moonlight's two shared experts are counted as one of double width
KNOWN = {
    "DeepSeek-V2": ((162, 8, 2, "softmax", False), 16.0),
    "DeepSeek-V3": ((257, 9, 1, "sigmoid", True), 2.5),
    "Moonlight-16B-A3B": ((65, 7, 1, "sigmoid", True), 2.446),
}


def shared_scale(
    total_experts: int = 162,
    active_experts: int = 8,
    shared_experts: int = 2,
    activation: str = "softmax",
    renormalize: bool = False,
    seed: int = 0,
) -> SharedScale:
    """λ against the number of active experts, and beside the values that published models use (blog part 5).

    total_experts and active_experts count the shared ones; activation: the gate; renormalize: the active routed weights to sum 1.
    """
    experts = whole("total_experts", total_experts, 2, 1024)
    top_k = whole("active_experts", active_experts, 2, experts)
    shared = whole("shared_experts", shared_experts, 1, top_k - 1)
    gate = one_of("activation", activation, SHARED_GATES)
    seed = whole("seed", seed, 0, 2**32 - 1)
    scales = _shared_scales(experts, top_k, shared, gate, renormalize, 4000, seed)
    low, high = torch.quantile(scales, torch.tensor([0.05, 0.95], dtype=scales.dtype), dim=0)
    settings = tuple(setting for setting, _ in KNOWN.values())
    computed = [float(_shared_scales(*setting, 4000, 0)[:, -1].mean()) for setting in settings]
    return SharedScale(
        np.arange(1, top_k - shared + 1),
        scales.mean(0).float().numpy(),
        low.float().numpy(),
        high.float().numpy(),
        float(scales[:, -1].mean()),
        tuple(KNOWN),
        settings,
        np.array(computed, np.float32),
        np.array([used for _, used in KNOWN.values()], np.float32),
        experts,
        top_k,
        shared,
    )
