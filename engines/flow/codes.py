"""What a codebook throws away: Lloyd-Max quantisers of a Gaussian, codebooks of patches of the digits or of one picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import torch

from engines.arguments import Between, OneOf, Refusal, checked, whole
from engines.flow import digits


class Quantiser(NamedTuple):
    """points: float64 [levels]; mean_squared_error; entropy_bits: of the code, bits."""

    points: np.ndarray
    mean_squared_error: float
    entropy_bits: float


def lloyd_max(levels: int) -> Quantiser:
    """The quantiser of N(0, 1) with the least mean squared error (Lloyd 1957/1982, Max 1960).

    Lloyd's iteration: each point is the mean of its cell, each border halfway. The density is log-concave, so that the fixed
    point is the only one (Fleischer 1964).
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


SOURCES = ("digits", "upload")
SIDES = ("32", "64", "128")
Patch = Annotated[str, OneOf(("1", "2", "4", "8"))]
Levels = Annotated[int, Between(2, 1024)]
Seed = Annotated[int, Between(0, 9999)]


@dataclass(frozen=True)
class Codes:
    """Pictures through a codebook of patches.

    source: one of SOURCES
    original: uint8 [n, side, side, 3]; test digits, or the one picture
    kept: uint8 [n, side, side, 3]; what their codes say
    shown: uint8 [n, side, side, 3]; with the residual drawn from its Gaussian, if there is one; else as kept
    codebook: uint8 [levels, patch, patch, 3]
    bits_code: bits a picture; the plug-in entropy of the codes times the patches
    bits_fixed: bits a picture; log2 K times the patches
    bits_exact: bits a picture; the plug-in entropy of whole patches times the patches: a lossless code of them alone
    bits_book: bits; of the codebook of one picture, 8 a channel; NaN for digits, whose codebook is learnt from others
    bits_raw: bits a picture; log2 17 a pixel for digits, 8 a channel for one picture
    bits_png: bits; of one picture as PNG, without loss; NaN for digits
    psnr: dB; of kept
    accuracy_kept: share of kept pictures that the judge takes for their label; NaN for one picture
    accuracy_shown: likewise of shown
    accuracy_real: likewise of the originals
    rate: float64 [m], bits; of Lloyd-Max quantisers of N(0, 1) with 2, 3, ... levels: log2 levels
    coded: float64 [m], bits; the entropy of their codes
    distortion: float64 [m]; their mean squared error
    """

    source: str
    original: np.ndarray
    kept: np.ndarray
    shown: np.ndarray
    codebook: np.ndarray
    bits_code: float
    bits_fixed: float
    bits_exact: float
    bits_book: float
    bits_raw: float
    bits_png: float
    psnr: float
    accuracy_kept: float
    accuracy_shown: float
    accuracy_real: float
    rate: np.ndarray
    coded: np.ndarray
    distortion: np.ndarray


def plug_in(counts: np.ndarray) -> float:
    """Entropy in bits of the shares of counts."""
    share = counts[counts > 0] / counts.sum()
    return -float((share * np.log2(share)).sum())


def decibels(error: float) -> float:
    """PSNR of a mean squared error on a scale from 0 to 1; 120 at most."""
    return -10 * math.log10(max(error, 1e-12))


@lru_cache(1)
def lloyd_max_curve() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate, entropy of the code and mean squared error of Lloyd-Max quantisers with a few numbers of levels."""
    quantisers = [(k, lloyd_max(k)) for k in (2, 3, 4, 6, 8, 12, 16)]
    return (
        np.log2([k for k, _ in quantisers]),
        np.array([q.entropy_bits for _, q in quantisers]),
        np.array([q.mean_squared_error for _, q in quantisers]),
    )


def deviations(patches: torch.Tensor, book: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Root mean square of what each entry of a codebook [k, d] misses of its patches [n, d], [k]; 0 where it has none."""
    left = (patches - book[codes]).square().mean(1)
    return (torch.bincount(codes, left, len(book)) / torch.bincount(codes, minlength=len(book)).clamp(min=1)).sqrt()


def k_means(points: torch.Tensor, counts: torch.Tensor | None, levels: int, seed: int) -> torch.Tensor:
    """Lloyd's rounds over points [n, d], that many times each, from `levels` of them drawn at random: float32 [levels, d].

    3 to 30 rounds, fewer of larger problems. On the digits' patches of 2 x 2 with 1,024 entries they come to 29.3 dB, where
    scikit-learn's batches took twice as long to 26.9.
    """
    x = points.float()
    weight = torch.ones(len(x)) if counts is None else counts.float()
    book = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:levels]]
    for _ in range(max(3, min(30, 40_000_000 // (len(x) * levels)))):
        codes = torch.addmm(-0.5 * book.square().sum(1), x, book.T).argmax(1)
        mass = torch.zeros(len(book)).index_add_(0, codes, weight)
        sums = torch.zeros_like(book).index_add_(0, codes, x * weight[:, None])
        book = torch.where(mass[:, None] > 0, sums / mass.clamp(min=1)[:, None], book)
    return book


@checked
def picture_codes(
    pixels: np.ndarray, patch: Patch = "2", levels: Levels = 64, residual: bool = False, seed: Seed = 0
) -> Codes:
    """One picture uint8 [h, w, 3] through a codebook learnt from its own patches, which is part of the bill.

    h and w must be multiples of patch. The codebook is k-means', rounded to whole levels; with as many entries as there are
    different patches it is those.
    """
    from PIL import Image

    size = int(patch)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise Refusal("{parameter} must be uint8 [h, w, 3].", parameter="pixels")
    height, width = pixels.shape[:2]
    if not pixels.size or height % size or width % size or pixels.size > 3 << 16:
        raise Refusal(
            "{parameter} must have sides that are multiples of {patch}, and at most {most} pixels.",
            parameter="pixels",
            patch=size,
            most=1 << 16,
        )
    rows, columns = height // size, width // size
    cut = pixels.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    distinct, counts = np.unique(cut, axis=0, return_counts=True)
    if levels >= len(distinct):
        book = distinct
    else:
        means = k_means(torch.from_numpy(distinct), torch.from_numpy(counts), levels, seed)
        book = np.unique(means.round().to(torch.uint8).numpy(), axis=0)
    wide, entries = torch.from_numpy(cut).float(), torch.from_numpy(book).float()
    codes = torch.cdist(wide, entries).argmin(1)  # squares of whole numbers are exact in float32
    kept = entries[codes]
    shown = kept
    if residual:
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(seed))
        shown = kept + deviations(wide, entries, codes)[codes][:, None] * noise

    def whole_picture(patches: torch.Tensor) -> np.ndarray:
        cells = patches.clamp(0, 255).round().to(torch.uint8).numpy().reshape(rows, columns, size, size, 3)
        return cells.transpose(0, 2, 1, 3, 4).reshape(1, height, width, 3)

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    each = len(cut)
    return Codes(
        "upload",
        pixels[None],
        whole_picture(kept),
        whole_picture(shown),
        book[:64].reshape(-1, size, size, 3),
        plug_in(np.bincount(codes.numpy())) * each,
        math.log2(len(book)) * each,
        plug_in(counts) * each,
        8.0 * book.size,
        8.0 * pixels.size,
        8.0 * file.tell(),
        decibels(float((kept - wide).double().square().mean()) / 255**2),
        *(math.nan,) * 3,
        *lloyd_max_curve(),
    )


@cache
def patch_entropy(patch: int) -> tuple[int, float]:
    """(distinct patches among all of the digits, their plug-in entropy in bits)."""
    from sklearn.datasets import load_digits

    pictures = torch.from_numpy(load_digits().data)
    cut = digits.to_tokens(pictures, patch).reshape(-1, patch * patch).numpy().astype(np.uint8)
    _, counts = np.unique(cut, axis=0, return_counts=True)
    return len(counts), plug_in(counts)


@cache
def training_patches(patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches of the training digits: (all [n, patch²], the distinct ones [m, patch²], how often each is there [m])."""
    tokens = digits.to_tokens(digits.split().train, patch).reshape(-1, patch * patch).numpy()
    return tokens, *np.unique(tokens, axis=0, return_counts=True)


@lru_cache(64)
def codebook(patch: int, levels: int, seed: int) -> torch.Tensor:
    """float32 [levels, patch²] of k-means on the training patches; the distinct ones where these are no more."""
    _, distinct, counts = training_patches(patch)
    if levels >= len(distinct):
        return torch.from_numpy(distinct)
    return k_means(torch.from_numpy(distinct), torch.from_numpy(counts), levels, seed)


@checked
def codes(
    source: Annotated[str, OneOf(SOURCES)] = "digits",
    upload: str | None = None,
    side: Annotated[str, OneOf(SIDES)] = "64",
    patch: Patch = "2",
    levels: Levels = 64,
    residual: bool = False,
    seed: Seed = 0,
) -> Codes:
    """Cut pictures into patches, keep of each the nearest of `levels` learnt ones, and see what is left.

    source: the digits, with the codebook of k-means on the training pictures; or the picture in the file `upload`, cut to a
    square and scaled to `side` x `side` pixels, as `picture_codes` has it
    residual: a Gaussian of the code's own mean square is drawn on top
    """
    if source == "upload":
        from engines.ddcm.pictures import fit
        from engines.pictures import read_picture

        if not upload:
            raise Refusal("{parameter} is missing: send a picture.", parameter="upload")
        return picture_codes(fit(read_picture(upload), int(side), int(side)), patch, levels, residual, seed)
    size, data = int(patch), digits.split()
    train = training_patches(size)[0]
    test = digits.to_tokens(data.test, size).reshape(-1, size * size).numpy()
    book = codebook(size, levels, seed)
    levels = len(book)

    def code(patches: np.ndarray) -> torch.Tensor:
        return torch.cdist(torch.from_numpy(patches).float(), book).argmin(1)

    of_test = code(test)
    kept = book[of_test]
    shown = kept
    if residual:
        spread = deviations(torch.from_numpy(train).float(), book, code(train))
        shown = kept + spread[of_test][:, None] * torch.randn(kept.shape, generator=torch.Generator().manual_seed(seed))
    tokens = (digits.SIDE // size) ** 2
    kept, shown = (digits.to_pictures(part.reshape(-1, tokens, size * size), size) for part in (kept, shown))
    few = 20
    blocks = (255 * (1 - (book.clamp(-1, 1) + 1) / 2)).round().to(torch.uint8).reshape(-1, size, size)[:64]
    return Codes(
        "digits",
        digits.to_grey(data.test[:few]),
        digits.to_grey(kept[:few]),
        digits.to_grey(shown[:few]),
        blocks[..., None].expand(-1, -1, -1, 3).contiguous().numpy(),
        plug_in(torch.bincount(of_test, minlength=levels).numpy()) * tokens,
        math.log2(levels) * tokens,
        patch_entropy(size)[1] * tokens,
        math.nan,
        64 * math.log2(digits.LEVELS),
        math.nan,
        decibels(float((kept - data.test).square().mean()) / 4),  # on a scale from 0 to 1
        known := digits.recognised(kept, data.test_labels),
        digits.recognised(shown, data.test_labels) if residual else known,
        digits.real_recognised(),
        *lloyd_max_curve(),
    )
