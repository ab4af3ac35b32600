"""How many pairs must be left unrotated for f never to be negative (kexue.fm/archives/10122, "partial rotation").

With u of N = d/2 pairs left as they are, f(m) = u + Σ cos(mθ_i) over the other N − u, whose frequencies spread over the
rotated part. It is at least u − (N − u): half of the pairs are enough at any base and any distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, ListOf, Refusal, checked
from engines.rope.curves import one_thread, passing_length, similarity_profile
from engines.rope.frequencies import Base, inverse_frequencies

_BASES = 33


@dataclass(frozen=True)
class PartialRotation:
    """How much of a head must stay unrotated, against the base and the context length.

    head_dim: int; dimensions of a head, 2N
    base: float; the one looked at closely
    lengths: int64 [l], tokens; context lengths L
    bases: float64 [n]; evenly spaced by ratio
    least: int64 [l, n], pairs; so many unrotated, and any number more, keep f from being negative before L
    at_base: int64 [l], pairs; the same for `base`
    unrotated: int64 [N], pairs; 0 … N − 1
    lowest: float64 [l, N]; the least f before L at `base`, with so many unrotated
    """

    head_dim: int
    base: float
    lengths: np.ndarray
    bases: np.ndarray
    least: np.ndarray
    at_base: np.ndarray
    unrotated: np.ndarray
    lowest: np.ndarray


def frequencies(head_dim: int, base: float, unrotated: int) -> torch.Tensor:
    """θ with so many pairs at 0, float64 [head_dim/2]; the others spread over the rotated part of the head."""
    pairs = head_dim // 2
    # half a pair more than the part says: a product that rounds down would lose one
    part = (pairs - unrotated + 0.5) / pairs if unrotated else 1.0
    return inverse_frequencies(head_dim, base, partial_rotary_factor=part)


@one_thread()
def least_unrotated(bases: Sequence[float], length: int, head_dim: int = 128) -> np.ndarray:
    """The least u for which u pairs unrotated, and any number more, keep f at 0 or above at every m < length, int64 [n]."""
    bases, pairs = np.asarray(bases, dtype=float), head_dim // 2
    least = np.zeros(len(bases), dtype=np.int64)
    holding = np.arange(len(bases))
    for u in range((pairs + 1) // 2 - 1, -1, -1):  # half is enough: go down until it fails
        theta = torch.stack([frequencies(head_dim, float(b), u) for b in bases[holding]])
        holds = passing_length(theta, length).numpy() >= length
        least[holding[~holds]] = u + 1
        holding = holding[holds]
        if not len(holding):
            break
    return least


@checked
def partial_rotation(
    lengths: Annotated[Sequence[float], ListOf(16, 131_072, most=3)] = (4096.0, 16_384.0),
    base: Base = 10_000.0,
    head_dim: Annotated[int, Between(8, 256)] = 128,
    base_low: Base = 10.0,
    base_high: Base = 1e8,
) -> PartialRotation:
    """The least unrotated part for each base and context length, and how low f falls with less."""
    if base_high <= base_low:
        raise Refusal("{parameter} must be above {low}, the lowest base.", parameter="base_high", low=base_low)
    whole_lengths = np.array([int(n) for n in lengths])
    if sum(whole_lengths) * head_dim > 1 << 24:
        raise Refusal(
            "{parameter} may add up to {most} at most for {head_dim} dimensions.",
            parameter="lengths",
            most=(1 << 24) // head_dim,
            head_dim=head_dim,
        )
    bases, pairs = np.geomspace(base_low, base_high, _BASES), head_dim // 2
    least = np.stack([least_unrotated(np.append(bases, base), int(n), head_dim) for n in whole_lengths])
    theta = torch.stack([frequencies(head_dim, base, u) for u in range(pairs)])
    longest, lowest = int(whole_lengths.max()), np.empty((len(lengths), pairs))
    for u, row in enumerate(theta):
        values = similarity_profile(longest, row, torch.float32)
        lowest[:, u] = [float(values[:n].min()) for n in whole_lengths]
    return PartialRotation(
        head_dim=head_dim,
        base=base,
        lengths=whole_lengths,
        bases=bases,
        least=least[:, :-1],
        at_base=least[:, -1],
        unrotated=np.arange(pairs),
        lowest=lowest,
    )
