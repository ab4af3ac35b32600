"""What a codebook throws away: Lloyd-Max quantisers of a Gaussian, and codebooks of patches of the digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch

from engines.arguments import Between, OneOf, checked, whole
from engines.flow import digits


class Quantiser(NamedTuple):
    """points: float64 [levels]; mean_squared_error; entropy_bits: of the code, bits."""

    points: np.ndarray
    mean_squared_error: float
    entropy_bits: float


def lloyd_max(levels: int) -> Quantiser:
    """The quantiser of N(0, 1) with the least mean squared error (Lloyd 1957/1982, Max 1960).

    Lloyd's iteration: each point is the mean of its cell, each border halfway; Newton's method on the same conditions is not
    needed, since the density is log-concave and the fixed point therefore the only one (Fleischer 1964).
    """
    from scipy.special import ndtr, ndtri

    levels = whole("levels", levels, 1, 256)
    # an equal-mass start with the asymptotically best density, that of N(0, 3)
    points = math.sqrt(3) * ndtri((np.arange(levels) + 0.5) / levels)
    for _ in range(200_000):
        edges = np.concatenate(([-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]))
        heights = np.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
        mass = np.diff(ndtr(edges))
        moved = -np.diff(heights) / mass
        done = np.abs(moved - points).max() < 1e-13
        points = moved
        if done:
            break
    bits = -float((mass * np.log2(mass)).sum())
    return Quantiser(points, 1 - float((mass * points**2).sum()), bits)


@dataclass(frozen=True)
class Codes:
    """Digits through a codebook of patches.

    original: uint8 [n, 8, 8, 3]; test pictures
    kept: uint8 [n, 8, 8, 3]; what their codes say
    shown: uint8 [n, 8, 8, 3]; with the residual drawn from its Gaussian, if there is one; else as kept
    codebook: uint8 [levels, patch, patch, 3]
    bits_code: bits a picture; the plug-in entropy of the codes times the patches
    bits_fixed: bits a picture; log2 K times the patches
    bits_exact: bits a picture; the plug-in entropy of whole patches times the patches: a lossless code of them alone
    psnr: dB; of kept, over the test pictures
    accuracy_kept: share of kept pictures that the judge takes for their label
    accuracy_shown: likewise of shown
    accuracy_real: likewise of the originals
    rate: float64 [m], bits; of Lloyd-Max quantisers of N(0, 1) with 2, 3, ... levels: log2 levels
    coded: float64 [m], bits; the entropy of their codes
    distortion: float64 [m]; their mean squared error
    """

    original: np.ndarray
    kept: np.ndarray
    shown: np.ndarray
    codebook: np.ndarray
    bits_code: float
    bits_fixed: float
    bits_exact: float
    psnr: float
    accuracy_kept: float
    accuracy_shown: float
    accuracy_real: float
    rate: np.ndarray
    coded: np.ndarray
    distortion: np.ndarray


def patch_entropy(patch: int) -> tuple[int, float]:
    """(distinct patches among all of the digits, their plug-in entropy in bits)."""
    from sklearn.datasets import load_digits

    pictures = torch.from_numpy(load_digits().data)
    cut = digits.to_tokens(pictures, patch).reshape(-1, patch * patch).numpy().astype(np.uint8)
    _, counts = np.unique(cut, axis=0, return_counts=True)
    share = counts / counts.sum()
    return len(counts), -float((share * np.log2(share)).sum())


@checked
def codes(
    patch: Annotated[str, OneOf(("1", "2", "4", "8"))] = "2",
    levels: Annotated[int, Between(2, 512)] = 64,
    residual: bool = False,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Codes:
    """Cut the digits into patches, keep of each the nearest of `levels` learnt ones, and see what is left.

    The codebook is that of k-means on the training pictures. residual: a Gaussian of the code's own mean square is drawn on top.
    """
    from sklearn.cluster import MiniBatchKMeans

    size, data = int(patch), digits.split()
    train, test = (
        digits.to_tokens(pictures, size).reshape(-1, size * size).numpy() for pictures in (data.train, data.test)
    )
    distinct = np.unique(train, axis=0)
    levels = min(levels, len(distinct))
    if levels == len(distinct):
        book = distinct
    else:
        fitted = MiniBatchKMeans(levels, n_init=1, batch_size=2048, max_iter=30, random_state=seed).fit(train)
        book = fitted.cluster_centers_
    book = torch.from_numpy(book).float()

    def code(patches: np.ndarray) -> torch.Tensor:
        return torch.cdist(torch.from_numpy(patches).float(), book).argmin(1)

    of_train, of_test = code(train), code(test)
    kept = book[of_test]
    shown = kept
    if residual:
        left = (torch.from_numpy(train).float() - book[of_train]).square().mean(1)
        spread = (
            torch.bincount(of_train, left, levels) / torch.bincount(of_train, minlength=levels).clamp(min=1)
        ).sqrt()
        shown = kept + spread[of_test][:, None] * torch.randn(kept.shape, generator=torch.Generator().manual_seed(seed))
    tokens = (digits.SIDE // size) ** 2
    kept, shown = (digits.to_pictures(part.reshape(-1, tokens, size * size), size) for part in (kept, shown))
    share = torch.bincount(of_test, minlength=levels).double()
    share = share[share > 0] / share.sum()
    error = float((kept - data.test).square().mean()) / 4  # on a scale from 0 to 1
    quantisers = [(k, lloyd_max(k)) for k in (2, 3, 4, 6, 8, 12, 16)]
    few = 20
    blocks = (255 * (1 - (book.clamp(-1, 1) + 1) / 2)).round().to(torch.uint8).reshape(-1, size, size)[:64]
    return Codes(
        digits.to_grey(data.test[:few]),
        digits.to_grey(kept[:few]),
        digits.to_grey(shown[:few]),
        blocks[..., None].expand(-1, -1, -1, 3).contiguous().numpy(),
        -float((share * share.log2()).sum()) * tokens,
        math.log2(levels) * tokens,
        patch_entropy(size)[1] * tokens,
        -10 * math.log10(max(error, 1e-12)),
        digits.recognised(kept, data.test_labels),
        digits.recognised(shown, data.test_labels),
        digits.recognised(data.test, data.test_labels),
        np.log2([k for k, _ in quantisers]),
        np.array([q.entropy_bits for _, q in quantisers]),
        np.array([q.mean_squared_error for _, q in quantisers]),
    )
