"""scikit-learn's digits, and how far two sets of pictures are apart: shared by the flows and by transport.

A pixel's ink goes from 0 (white) to 1; the data have 17 levels of it. Distances are in units of ink, Fréchet's in their square.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engines.arguments import Refusal

SIDE = 8


class Digits(NamedTuple):
    """Pictures and labels. pictures: float64 [n, 64], ink; labels: int64 [n]."""

    pictures: np.ndarray
    labels: np.ndarray


@cache
def load() -> Digits:
    """The 1,797 handwritten digits of 8 x 8 pixels (UCI), in an order drawn once with seed 0."""
    # the file alone: the page names the digits when it starts, and scikit-learn itself takes a second to import
    spec: Any = find_spec("sklearn")
    rows = np.loadtxt(Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return Digits(rows[:, :-1] / 16, rows[:, -1].astype(np.int64))


def split(first: int) -> tuple[Digits, Digits]:
    """The `first` digits in that order, to learn from, and the others."""
    pictures, labels = load()
    return Digits(pictures[:first], labels[:first]), Digits(pictures[first:], labels[first:])


class Normal(NamedTuple):
    """The Gaussian with a set's mean and covariance. mean: float64 [d]; covariance, root (of the covariance): [d, d]."""

    mean: np.ndarray
    covariance: np.ndarray
    root: np.ndarray


def normal(pictures: np.ndarray) -> Normal:
    """That of pictures [n, d]."""
    pictures = np.asarray(pictures, dtype=np.float64)
    if pictures.ndim != 2 or len(pictures) < 2 or not np.isfinite(pictures).all():
        raise Refusal("{parameter} must be at least two rows of finite numbers.", parameter="pictures")
    covariance = np.atleast_2d(np.cov(pictures.T))
    values, vectors = np.linalg.eigh(covariance)
    return Normal(pictures.mean(0), covariance, (vectors * np.sqrt(values.clip(0))) @ vectors.T)


def frechet(a: np.ndarray | Normal, b: np.ndarray | Normal) -> float:
    """Fréchet distance of two sets [n, d], [m, d]: W2² of the Gaussians with their means and covariances, in squared units.

    |m − m'|² + tr(A + B − 2 (A^½ B A^½)^½). A set that is compared often is given as its `normal`.
    """
    (mean_a, a_covariance, _), (mean_b, b_covariance, root) = (
        x if isinstance(x, Normal) else normal(x) for x in (a, b)
    )
    if mean_a.shape != mean_b.shape:
        raise Refusal("{parameter} must have as many columns as a.", parameter="b")
    cross = np.sqrt(np.linalg.eigvalsh(root @ a_covariance @ root).clip(0)).sum()
    return max(0.0, float(np.square(mean_a - mean_b).sum() + a_covariance.trace() + b_covariance.trace() - 2 * cross))


def as_pictures(ink: np.ndarray, side: int = SIDE, enlarge: int = 1) -> np.ndarray:
    """Ink [n, side²] as uint8 [n, side, side, 3], dark on white; `enlarge` repeats each pixel."""
    grey = np.clip((1 - np.asarray(ink)) * 255, 0, 255).round().astype(np.uint8).reshape(-1, side, side, 1)
    return np.repeat(grey.repeat(enlarge, 1).repeat(enlarge, 2), 3, -1)
