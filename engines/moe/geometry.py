"""The geometric view of a mixture of experts: a dense layer is a sum of vectors, and k of them should come close to it.

Su Jianlin, "MoE环游记：1、从几何意义出发", kexue.fm/archives/10699: cut the hidden layer of an FFN into n blocks and the output is
y = Σ v_i. Keeping a subset S misses Σ over the rest; if the v_i are orthogonal the squared error is Σ ‖v_i‖² over the rest, so the
best k are those of greatest norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked
from engines.moe.rules import check_scores

VECTORS = ("ffn", "orthogonal")
MOST_NUMBERS = 40_000  # hidden units times dimensions: two seconds
SHOWN, FITTED = 96, 1024  # tokens that the curves are means of, and tokens that the router learns from


def omission_error(vectors: Tensor, kept: Tensor) -> Tensor:
    """‖Σ v_i over those not kept‖² / ‖Σ v_i‖²: vectors [..., n, d], kept bool [..., n] -> [...].

    Refuses vectors whose sum is 0: there is no relative error.
    """
    vectors, scaled = check_vectors(vectors)
    if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape[-1:] != vectors.shape[-2:-1]:
        raise Refusal("{parameter} must be a tensor of true and false [..., n], one for each vector.", parameter="kept")
    left_out = torch.where(kept[..., None], 0, scaled).sum(-2)
    return (left_out.square().sum(-1) / scaled.sum(-2).square().sum(-1)).to(vectors.dtype)


def best_subsets(vectors: Tensor) -> Tensor:
    """The least `omission_error` over all subsets of each size: vectors [tokens, n, d] -> [tokens, n + 1], by enumeration (n ≤ 14)."""
    vectors, scaled = check_vectors(vectors)
    n = vectors.shape[-2]
    if n > 14 or vectors.ndim != 3:
        raise Refusal(
            "{parameter} must be [tokens, n, d] with at most 14 vectors a token, whose subsets are all tried; n is {n}.",
            parameter="vectors",
            n=n,
        )
    subsets = torch.tensor(list(product((0.0, 1.0), repeat=n)), dtype=torch.float64, device=vectors.device)
    gram = scaled @ scaled.mT
    error = torch.einsum("si,tij,sj->ts", 1 - subsets, gram, 1 - subsets) / gram.sum((1, 2))[:, None]
    size = subsets.sum(1).long().expand_as(error)
    best = torch.full((len(vectors), n + 1), torch.inf, dtype=torch.float64, device=vectors.device)
    return best.scatter_reduce_(1, size, error, "amin").to(vectors.dtype)


def check_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors [..., n, d], and in float64 of magnitude 1, so that squares neither overflow nor vanish."""
    if check_scores("vectors", vectors).ndim < 2:
        raise Refusal("{parameter} must have two axes or more, the last two n and d.", parameter="vectors")
    scaled = vectors.double()
    scaled = scaled / scaled.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(scaled.dtype).tiny)
    if not bool(scaled.sum(-2).any(-1).all()):
        raise Refusal("{parameter} must not sum to 0: there is no error relative to 0.", parameter="vectors")
    return vectors, scaled


@dataclass(frozen=True)
class Subsets:
    """Error ‖Σ left out‖² / ‖Σ all‖² against the number k of vectors kept, mean over up to 96 tokens.

    Tokens for which no hidden unit is active have no sum to miss, and are left out of everything.

    kept: int64 [blocks + 1]; k = 0 … blocks
    best: float32 [blocks + 1]; the k that are best of all subsets
    norm: float32 [blocks + 1]; the k of greatest norm
    learned: float32 [blocks + 1]; the k of which a linear router expects the greatest norm, from x alone
    random: float32 [blocks + 1]; any k, the exact mean over all subsets
    orthogonal: float32 [blocks + 1]; Σ of the n − k least ‖v‖² / Σ ‖v‖²: what norms would miss if the v_i were orthogonal
    paths: float32 [4, tokens, blocks + 1, 2]; where the sum of the first k vectors of a token stands, in units of ‖y‖, along y and
        off it: its distance from (1, 0) is the root of the error. Of up to 24 tokens; longest first, one after the other where each
        leaves the least error, as the router orders them, as the blocks lie
    cosine: float; mean |cos| between two different v_i of a token
    agreement: float32 [blocks + 1]; share of the k of greatest norm that the router picks too
    blocks: int; n
    dim: int; of x and y
    grain: int64 [G]; in how many blocks the same hidden layer is cut, the same share of it kept each time (blog part 5); none
        of vectors that were made orthogonal
    grain_kept: int64 [G]; how many of them are kept
    grain_norm: float32 [G]; error of keeping those of greatest norm
    grain_best: float32 [G]; of the best subset, where the blocks are few enough to try all; NaN beyond
    grain_greedy: float32 [G]; of adding, one after the other, the block that leaves the least error
    combinations: float64 [G]; log₁₀ C(n, k)
    """

    kept: np.ndarray
    best: np.ndarray
    norm: np.ndarray
    learned: np.ndarray
    random: np.ndarray
    orthogonal: np.ndarray
    paths: np.ndarray
    cosine: float
    agreement: np.ndarray
    blocks: int
    dim: int
    grain: np.ndarray
    grain_kept: np.ndarray
    grain_norm: np.ndarray
    grain_best: np.ndarray
    grain_greedy: np.ndarray
    combinations: np.ndarray


@checked
def subset_errors(
    blocks: Annotated[int, Between(2, 12)] = 10,
    dim: Annotated[int, Between(4, 256)] = 24,
    units: Annotated[int, Between(1, 32)] = 4,
    spread: Annotated[float, Between(0, 3)] = 0.3,
    vectors: Annotated[str, OneOf(VECTORS)] = "ffn",
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Subsets:
    """How well k of n vectors stand for their sum, by four ways of choosing them (blog part 1).

    blocks: n, into which the hidden layer is cut; dim: of x and y; units: hidden units (ReLU) per block; spread: how unequal the blocks
    are (the standard deviation of the logarithm of their scale); vectors: "ffn" (a random FFN of Gaussian weights) or "orthogonal"
    (the same, made orthogonal token by token, norms kept).
    """
    if vectors == "orthogonal" and dim < blocks:
        raise Refusal(
            "{parameter} must be at least {blocks}, the number of blocks, for their vectors to be orthogonal; it is {dim}.",
            parameter="dim",
            blocks=blocks,
            dim=dim,
        )
    if blocks * units * dim > MOST_NUMBERS:
        raise Refusal(
            "{parameter}: {blocks} blocks of {units} hidden units in {dim} dimensions take too long here; take at most {most}.",
            parameter="dim",
            blocks=blocks,
            units=units,
            dim=dim,
            most=MOST_NUMBERS // (blocks * units),
        )
    random = torch.Generator().manual_seed(seed)
    into = torch.randn(blocks, dim, units, generator=random) / dim**0.5
    out = torch.randn(blocks, units, dim, generator=random) / units**0.5
    out *= torch.exp(spread * torch.randn(blocks, 1, 1, generator=random))
    x = torch.randn(FITTED + SHOWN, dim, generator=random)
    hidden = torch.einsum("td,ndb->tnb", x, into).relu()
    v = torch.einsum("tnb,nbd->tnd", hidden, out)
    norms = v.norm(dim=-1)
    if vectors == "orthogonal":
        basis = torch.linalg.qr(torch.randn(len(x), dim, blocks, generator=random)).Q.mT
        v = basis * norms[..., None]

    # the router: ridge regression of the norms on x, from other tokens
    features = torch.cat([x, torch.ones(len(x), 1)], 1)
    train, test = slice(SHOWN, None), slice(0, SHOWN)
    normal = features[train].T @ features[train] + torch.eye(dim + 1)
    router = torch.linalg.solve(normal, features[train].T @ norms[train])
    expected, v, norms = features[test] @ router, v[test], norms[test]
    active = norms.any(1)
    expected, v, norms = expected[active], v[active], norms[active]
    each = torch.einsum("tnb,nbd->tnbd", hidden[test][active], out).flatten(1, 2)  # of the single hidden units
    grains = _finer(each, blocks) if vectors == "ffn" else np.empty((6, 0))

    kept = torch.arange(blocks + 1)
    by_norm = norms.argsort(1, descending=True).argsort(1)  # rank of each vector
    by_router = expected.argsort(1, descending=True).argsort(1)
    keep_norm, keep_router = by_norm < kept[:, None, None], by_router < kept[:, None, None]
    total = v.sum(1).square().sum(1)
    squares = norms.square().sum(1)
    # a random subset of n − k left out: Σ‖v_i‖² with chance p, each pair with chance q
    p = (blocks - kept) / blocks
    q = p * (blocks - kept - 1) / (blocks - 1)
    unit = v / norms[..., None].clamp_min(1e-12)
    cosine = (unit @ unit.mT).abs()
    return Subsets(
        kept=kept.numpy(),
        best=best_subsets(v).mean(0).numpy(),
        norm=omission_error(v, keep_norm).mean(1).numpy(),
        learned=omission_error(v, keep_router).mean(1).numpy(),
        random=((p[:, None] - q[:, None]) * squares / total + q[:, None]).mean(1).numpy(),
        orthogonal=((norms.square() * ~keep_norm).sum(2) / squares).mean(1).numpy(),
        paths=torch.stack(
            [
                _path(v[:24], order[:24])
                for order in (
                    norms.argsort(1, descending=True),
                    _greedy_order(v[:24].double(), blocks),
                    expected.argsort(1, descending=True),
                    torch.arange(blocks).expand(len(v), -1),
                )
            ]
        ).numpy(),
        cosine=float((cosine.sum() - cosine.diagonal(dim1=1, dim2=2).sum()) / (len(v) * blocks * (blocks - 1))),
        agreement=((keep_norm & keep_router).sum(2) / kept[:, None].clamp_min(1)).mean(1).numpy(),
        blocks=blocks,
        dim=dim,
        grain=grains[0].astype(np.int64),
        grain_kept=grains[1].astype(np.int64),
        grain_norm=grains[2].astype(np.float32),
        grain_best=grains[3].astype(np.float32),
        grain_greedy=grains[4].astype(np.float32),
        combinations=grains[5],
    )


def _finer(units: Tensor, blocks: int) -> np.ndarray:
    """Errors of keeping one and the same share of a hidden layer [tokens, units, d] cut ever finer: float64 [6, G].

    The coarsest cut is into the least divisor of `blocks` from 4 on, of which one is kept. Neighbouring units stay together, so each
    cut refines the ones that divide it.
    """
    count = units.shape[1]
    coarsest = next((n for n in range(4, blocks + 1) if blocks % n == 0), blocks)
    rows = []
    for n in (coarsest * factor for factor in range(1, count // coarsest + 1)):
        if count % n:
            continue
        kept, v = n // coarsest, units.unflatten(1, (n, -1)).sum(2)
        ranks = v.norm(dim=-1).argsort(1, descending=True).argsort(1)
        best = float(best_subsets(v).mean(0)[kept]) if n <= 12 else np.nan
        by_norm = float(omission_error(v, ranks < kept).mean())
        rows.append([n, kept, by_norm, best, float(greedy(v, kept).mean()), log_combinations(n, kept)])
    return np.array(rows).T


def greedy(vectors: Tensor, kept: int) -> Tensor:
    """`omission_error` of so many vectors, each added where it leaves the least: vectors [tokens, n, d] -> [tokens]."""
    vectors, scaled = check_vectors(vectors)
    chosen = torch.zeros(vectors.shape[:-1], dtype=torch.bool, device=vectors.device)
    return omission_error(vectors, chosen.scatter_(-1, _greedy_order(scaled, kept), True))


def _greedy_order(vectors: Tensor, kept: int) -> Tensor:
    """Which vector leaves the least error after those before it: [..., n, d] -> int64 [..., kept]."""
    chosen = torch.zeros(vectors.shape[:-1], dtype=torch.bool, device=vectors.device)
    rest, order = vectors.sum(-2), []
    for _ in range(kept):
        left = (rest[..., None, :] - vectors).square().sum(-1).masked_fill(chosen, torch.inf)
        order.append(left.argmin(-1, keepdim=True))
        chosen.scatter_(-1, order[-1], True)
        rest = rest - vectors.gather(-2, order[-1][..., None].expand(*order[-1].shape, vectors.shape[-1]))[..., 0, :]
    return torch.cat(order, -1) if order else chosen.new_empty((*chosen.shape[:-1], 0), dtype=torch.long)


def _path(vectors: Tensor, order: Tensor) -> Tensor:
    """The partial sums of vectors [tokens, n, d] taken in this order [tokens, n], along y and off it: [tokens, n + 1, 2]."""
    sums = vectors.gather(1, order[..., None].expand_as(vectors)).cumsum(1)
    sums = torch.cat((torch.zeros_like(sums[:, :1]), sums), 1)
    length = sums[:, -1].norm(dim=-1)[:, None, None]
    y = sums[:, -1:] / length
    along = (sums * y).sum(-1, keepdim=True)
    return torch.cat((along, (sums - along * y).norm(dim=-1, keepdim=True)), -1) / length


def log_combinations(n: int, k: int) -> float:
    """log₁₀ C(n, k)."""
    return math.log10(math.comb(n, k))
