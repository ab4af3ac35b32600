"""The geometric view of a mixture of experts: a dense layer is a sum of vectors, and k of them should come close to it.

Su Jianlin, "MoE环游记：1、从几何意义出发", kexue.fm/archives/10699: cut the hidden layer of an FFN into n blocks and the output is
y = Σ v_i. Keeping a subset S misses Σ over the rest; if the v_i are orthogonal the squared error is Σ ‖v_i‖² over the rest, so the
best k are those of greatest norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, whole


def omission_error(vectors: Tensor, kept: Tensor) -> Tensor:
    """‖Σ v_i over those not kept‖² / ‖Σ v_i‖²: vectors [..., n, d], kept bool [..., n] -> [...]."""
    left_out = torch.where(kept[..., None], 0, vectors).sum(-2)
    return left_out.square().sum(-1) / vectors.sum(-2).square().sum(-1)


def best_subsets(vectors: Tensor) -> Tensor:
    """The least `omission_error` over all subsets of each size: vectors [tokens, n, d] -> [tokens, n + 1], by enumeration (n ≤ 14)."""
    n = vectors.shape[1]
    if n > 14:
        raise ValueError(f"vectors must number at most 14 to enumerate all subsets, not {n}.")
    subsets = torch.tensor(list(product((0.0, 1.0), repeat=n)), dtype=vectors.dtype)
    gram = vectors @ vectors.mT
    error = torch.einsum("si,tij,sj->ts", 1 - subsets, gram, 1 - subsets) / gram.sum((1, 2))[:, None]
    size = subsets.sum(1).long().expand_as(error)
    best = torch.full((len(vectors), n + 1), torch.inf, dtype=vectors.dtype)
    return best.scatter_reduce_(1, size, error, "amin")


@dataclass(frozen=True)
class Subsets:
    """Error against the number of vectors kept.

    kept: int [blocks + 1], 0 … blocks
    best, norm, learned, random: float32 [blocks + 1], mean of ‖Σ left out‖² / ‖Σ all‖² over 96 tokens, when the k kept are the best of
        all subsets, those of greatest norm, those a linear router foresees from x, or any k (the exact mean over all subsets); tokens
        for which no hidden unit is active have no sum to miss, and are left out of everything
    orthogonal: float32 [blocks + 1], Σ of the n − k least ‖v‖² / Σ ‖v‖²: what norm routing would miss if the v_i were orthogonal
    norms: float32 [tokens shown, blocks], ‖v_i‖ of the first few tokens
    cosine: mean |cos| between two different v_i of a token
    agreement: float32 [blocks + 1], share of the k of greatest norm that the router picks too
    blocks, dim: as given
    """

    kept: np.ndarray
    best: np.ndarray
    norm: np.ndarray
    learned: np.ndarray
    random: np.ndarray
    orthogonal: np.ndarray
    norms: np.ndarray
    cosine: float
    agreement: np.ndarray
    blocks: int
    dim: int


def subset_errors(
    blocks: int = 10, dim: int = 24, units: int = 4, spread: float = 0.3, vectors: str = "ffn", seed: int = 0
) -> Subsets:
    """How well k of n vectors stand for their sum, by four ways of choosing them.

    blocks: n, into which the hidden layer is cut; dim: of x and y; units: hidden units (ReLU) per block; spread: how unequal the blocks
    are (the standard deviation of the logarithm of their scale); vectors: "ffn" (a random FFN of Gaussian weights) or "orthogonal"
    (the same, made orthogonal token by token, norms kept).
    """
    blocks, dim, units = whole("blocks", blocks, 2, 12), whole("dim", dim, 4, 256), whole("units", units, 1, 32)
    spread, seed = number("spread", spread, 0, 3), whole("seed", seed, 0, 2**32 - 1)
    one_of("vectors", vectors, ("ffn", "orthogonal"))
    if vectors == "orthogonal" and dim < blocks:
        raise ValueError(f"dim must be at least the {blocks} blocks for their vectors to be orthogonal, not {dim}.")
    random = torch.Generator().manual_seed(seed)
    into = torch.randn(blocks, dim, units, generator=random) / dim**0.5
    out = torch.randn(blocks, units, dim, generator=random) / units**0.5
    out *= torch.exp(spread * torch.randn(blocks, 1, 1, generator=random))
    x = torch.randn(1024 + 96, dim, generator=random)
    v = torch.einsum("tnb,nbd->tnd", torch.einsum("td,ndb->tnb", x, into).relu(), out)
    norms = v.norm(dim=-1)
    if vectors == "orthogonal":
        basis = torch.linalg.qr(torch.randn(len(x), dim, blocks, generator=random)).Q.mT
        v = basis * norms[..., None]

    # the router: ridge regression of the norms on x, from tokens that are not shown afterwards
    features = torch.cat([x, torch.ones(len(x), 1)], 1)
    train, test = slice(96, None), slice(0, 96)
    normal = features[train].T @ features[train] + torch.eye(dim + 1)
    router = torch.linalg.solve(normal, features[train].T @ norms[train])
    foreseen, v, norms = features[test] @ router, v[test], norms[test]
    active = norms.any(1)
    foreseen, v, norms = foreseen[active], v[active], norms[active]

    kept = torch.arange(blocks + 1)
    by_norm = norms.argsort(1, descending=True).argsort(1)  # rank of each vector
    by_router = foreseen.argsort(1, descending=True).argsort(1)
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
        norms=norms[:24].numpy(),
        cosine=float((cosine.sum() - cosine.diagonal(dim1=1, dim2=2).sum()) / (len(v) * blocks * (blocks - 1))),
        agreement=((keep_norm & keep_router).sum(2) / kept[:, None].clamp_min(1)).mean(1).numpy(),
        blocks=blocks,
        dim=dim,
    )
