"""What the number and the kind of codebooks do to pictures of random codes: exactly for N(0, I), and for a model by features.

With N(0, I) as source the sampler is linear, so the vector that a random code decodes to is Σ c_i z_i with known c_i and z_i drawn
from the codebook of step i. Over all codes of given books its mean is Σ c_i m_i and its covariance Σ c_i² S_i, with m_i and S_i those
of the K atoms. If all steps share one book, the mean is (Σ c_i) m: its error adds up where that of fresh books averages out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, ListOf, OneOf, Refusal, SomeOf, checked
from engines.ddcm.choices import moves
from engines.ddcm.codebook import StepCodebook
from engines.ddcm.codec import EMBEDDED, Step, decoder, to_pixels, to_tensor, walk
from engines.ddcm.experiments import Model, Seed
from engines.ddcm.fitting import afford, small_model
from engines.ddcm.gaussian import SCHEDULES
from engines.ddcm.pictures import held_back
from engines.ddcm.plan import Plan
from engines.progress import Progress

BOOKS = ("fresh", "shuffled", "one")
MOST_BITS = 14


def coefficients(steps: int, schedule: str) -> np.ndarray:
    """c [T − 1] of the noises in the decoded vector Σ c_i z_i + (a multiple of the first state)."""
    path = moves(steps, schedule)
    after = np.cumprod([1.0, *(move.gain for move in reversed(path[1:]))])[::-1]
    return math.sqrt(path[-1].after) * after * np.array([move.spread for move in path])


@dataclass(frozen=True)
class BookDistance:
    """Fréchet distance of vectors of random codes to DDPM's, a number and relative to its variance, over K.

    codebook_size: int64 [B]; K
    distance: float64 [3, B]; for each of BOOKS, mean over draws of the books
    spread: float64 [3, B]; standard deviation over those draws
    offset: float64 [3, B]; the part of it that comes from the mean, expected: 1/K, or with one book (Σ c)²/Σ c² / K
    factor: float; (Σ c)²/Σ c², how many times larger one book must be for as small an offset
    coefficients: float64 [T − 1]; c
    draws: int; of the books
    size: int; numbers of a vector
    steps: int; T
    """

    codebook_size: np.ndarray
    distance: np.ndarray
    spread: np.ndarray
    offset: np.ndarray
    factor: float
    coefficients: np.ndarray
    draws: int
    size: int
    steps: int


@checked
def book_distance(
    size: Annotated[int, Between(2, 64)] = 32,
    steps: Annotated[int, Between(3, 200)] = 100,
    schedule: Annotated[str, OneOf(tuple(SCHEDULES))] = "cosine",
    seed: Seed = 0,
) -> BookDistance:
    """Vectors that random codes decode to, with fresh books, one shuffled book and one book for all steps, K from 2 to 16,384.

    Fréchet distance (W2² of two normal distributions, as in FID): ‖m‖² + tr(S + v I − 2 (v S)^½), over v and the size; v I is DDPM's
    covariance with the same first state. Means and covariances are exact over all K^(T−1) codes; the books are drawn.
    """
    c = coefficients(steps, schedule)
    variance, draws = float((c**2).sum()), 3
    sizes = 2 ** np.arange(1, MOST_BITS + 1)
    rng = np.random.default_rng(seed)
    found = np.empty((draws, len(BOOKS), len(sizes)))
    for i in range(draws):
        for b, k in enumerate(sizes.tolist()):
            mean, cov = atoms(rng, k, size)
            fresh_mean, fresh_cov, moved_mean, moved_cov = (np.zeros(s) for s in 2 * ((size,), (size, size)))
            for weight in c:
                m, s = atoms(rng, k, size)
                fresh_mean, fresh_cov = fresh_mean + weight * m, fresh_cov + weight**2 * s
                order, sign = rng.permutation(size), rng.choice([-1.0, 1.0], size)
                moved_mean += weight * mean[order] * sign
                moved_cov += weight**2 * cov[np.ix_(order, order)] * np.outer(sign, sign)
            laws = ((fresh_mean, fresh_cov), (moved_mean, moved_cov), (c.sum() * mean, variance * cov))
            found[i, :, b] = [frechet(m, s, variance) / (variance * size) for m, s in laws]
    factor = float(c.sum() ** 2 / variance)
    return BookDistance(
        codebook_size=sizes,
        distance=found.mean(0),
        spread=found.std(0, ddof=1),
        offset=np.array([1.0, 1.0, factor])[:, None] / sizes,
        factor=factor,
        coefficients=c,
        draws=draws,
        size=size,
        steps=steps,
    )


def atoms(rng: np.random.Generator, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [size] and covariance [size, size] of `count` atoms of N(0, I), by their laws: N(0, I/K), and Wishart by Bartlett."""
    mean = rng.standard_normal(size) / math.sqrt(count)
    if count - 1 < size:
        x = rng.standard_normal((count - 1, size))
        return mean, x.T @ x / count
    lower = np.tril(rng.standard_normal((size, size)), -1)
    np.fill_diagonal(lower, np.sqrt(rng.chisquare(count - 1 - np.arange(size))))
    return mean, lower @ lower.T / count


def frechet(mean: np.ndarray, cov: np.ndarray, variance: float) -> float:
    """W2² of N(mean, cov) to N(0, variance I)."""
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(cov), 0, None))
    return float(mean @ mean + ((roots - math.sqrt(variance)) ** 2).sum())


# -- with a model -----------------------------------------------------------------------------------------------------

BLOCK = 4  # pixels; a side of the blocks whose means and deviations are the features
SHOWN = 5  # pictures of a row


@dataclass(frozen=True)
class BookQuality:
    """Pictures of random codes, and how far their features are from those of emoji, over K.

    book: str [R]; of each row: one of BOOKS, or "ddpm": a fresh normal noise at each step
    codebook_size: int64 [R]; K, 0 for "ddpm"
    done: bool [R]; which rows are computed
    distance: float64 [R]; kernel distance of the features to those of 64 held-back emoji (KID), NaN until done
    error: float64 [R]; its standard error, by the jackknife over the pictures of the row
    pictures: uint8 [R, 5, h, w, 3]; the first of each row
    count: int; pictures a row
    steps: int; T
    model: str; its name
    """

    book: tuple[str, ...]
    codebook_size: np.ndarray
    done: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    pictures: np.ndarray
    count: int
    steps: int
    model: str


class _SameBook:
    """A step's view of the one codebook as it is: unshuffled, so that all steps have the same atoms."""

    def __init__(self, codebook: StepCodebook):
        self.codebook = codebook

    def noise(self, symbols: Tensor) -> Tensor:
        return self.codebook.codebook.table[symbols[:, 0]]


class _Normal:
    """A step's codebook without end: fresh normal noise, which is DDPM."""

    def __init__(self, codebook: StepCodebook):
        self.size, self.seed, self.device = (
            codebook.codebook.size,
            [codebook.plan.seed, codebook.step],
            codebook.codebook.device,
        )

    def noise(self, symbols: Tensor) -> Tensor:
        drawn = np.random.default_rng(self.seed).standard_normal((len(symbols), self.size), np.float32)
        return torch.from_numpy(drawn).to(self.device)


VIEWS = {"one": _SameBook, "ddpm": _Normal}


@checked
def book_quality(
    books: Annotated[Sequence[str], SomeOf(BOOKS)] = ("fresh", "one"),
    codebook_bits: Annotated[Sequence[int], ListOf(1, 12, most=6)] = (1, 4, 8),
    count: Annotated[int, Between(8, 64)] = 32,
    steps: Annotated[int, Between(3, 100)] = 20,
    model: Model = EMBEDDED,
    seed: Seed = 0,
) -> Iterator[Progress[BookQuality]]:
    """Draw `count` pictures of random codes for each kind of book and log2 K, and DDPM's own. Yields a Progress a row.

    The distance is that of KID (Binkowski et al. 2018): the unbiased squared maximum mean discrepancy with the kernel (f·g/D + 1)³.
    The features are the mean and the standard deviation of each colour in blocks of 4 x 4 pixels; colours run from −1 to 1.
    """
    net, emoji = small_model(model), held_back()
    if net.side != emoji.shape[1]:
        raise Refusal(
            "The emoji have {pixels} pixels, model {name} makes {side}: choose another {parameter}.",
            parameter="model",
            pixels=emoji.shape[1],
            name=net.name,
            side=net.side,
        )
    rows = [(book, 1 << bits) for book in books for bits in sorted(set(codebook_bits))] + [("ddpm", 2)]
    afford(len(rows) * count * steps, net)
    real = features(to_tensor(emoji))
    pictures = np.full((len(rows), SHOWN, net.side, net.side, 3), 255, np.uint8)
    found, done = np.full((2, len(rows)), np.nan), np.zeros(len(rows), bool)
    for i, (book, size) in enumerate(rows):
        for step in draw_row(net, book, size, count, steps, seed, i):
            if step.symbols is not None:
                yield Progress(i * steps + step.number + 1, len(rows) * steps, None)
        pictures[i], done[i] = to_pixels(step.denoised[:SHOWN]), True
        found[:, i] = kernel_distance(features(step.denoised), real)
        yield Progress(
            (i + 1) * steps,
            len(rows) * steps,
            BookQuality(
                book=tuple(kind for kind, _ in rows),
                codebook_size=np.array([0 if kind == "ddpm" else k for kind, k in rows]),
                done=done.copy(),
                distance=found[0].copy(),
                error=found[1].copy(),
                pictures=pictures.copy(),
                count=count,
                steps=steps,
                model=net.name,
            ),
        )


def draw_row(net: Any, book: str, size: int, count: int, steps: int, seed: int, row: int) -> Iterator[Step]:
    """`count` pictures of random codes, all from the same first noise."""
    plan = Plan(steps, size, variant="reference" if book == "fresh" else "shuffled", seed=seed)
    symbols = np.random.default_rng([seed, row]).integers(0, size, (count, steps - 1, 1))
    choose = decoder(symbols, net.device)
    return walk(net, plan, count, choose, VIEWS[book]) if book in VIEWS else walk(net, plan, count, choose)


def features(pictures: Tensor) -> np.ndarray:
    """float64 [n, D] of pictures [n, 3, h, w]: mean and standard deviation of each colour in blocks of 4 x 4 pixels."""
    blocks = pictures.double().cpu().clamp(-1, 1).unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(4)
    return torch.cat([blocks.mean(-1), blocks.std(-1, correction=0)], 1).flatten(1).numpy()


def kernel_distance(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """KID of features [n, D] and [m, D], unbiased, and its standard error by the jackknife over the rows of `one`."""
    within, across, rest = ((a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((one, one), (one, other), (other, other)))
    n, m = len(one), len(other)
    fixed = (rest.sum() - np.trace(rest)) / (m * (m - 1))
    np.fill_diagonal(within, 0)
    total, each, mean = within.sum(), within.sum(1), across.mean(1)
    value = total / (n * (n - 1)) + fixed - 2 * mean.mean()
    left_out = (total - 2 * each) / ((n - 1) * (n - 2)) + fixed - 2 * (mean.sum() - mean) / (n - 1)
    return float(value), float(math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
