"""The laws that are compared: the digits in two halves, and targets in the plane."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engines.arguments import whole
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.digits import split

HALF = 898  # of 1,797


def halves() -> tuple[np.ndarray, np.ndarray]:
    """The pictures in two halves, float64 [898, 64] and [899, 64]: what is learnt from, and fresh ones of the same law."""
    known, fresh = split(HALF)
    return known.pictures, fresh.pictures


def spread(a: np.ndarray) -> float:
    """E|x − x'| of different rows of a set [n, d]."""
    from scipy.spatial.distance import pdist

    return float(pdist(a).mean()) if len(a) > 1 else 0.0


def gaussian_of(points: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n draws [n, d] of the Gaussian with the mean and covariance of points."""
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(points.mean(0), np.cov(points.T), n, method="eigh")


def geometric_median(points: Tensor, steps: int = 60) -> Tensor:
    """The point [d] with least mean distance to points [n, d], by Weiszfeld's iteration from the mean."""
    centre = points.mean(0)
    for _ in range(steps):
        weight = 1 / (points - centre).norm(dim=1).clamp_min(1e-9)
        centre = weight @ points / weight.sum()
    return centre


def k_medians(points: np.ndarray, k: int, seed: int = 0, rounds: int = 12) -> np.ndarray:
    """k centres [k, d] that make the mean distance of points [n, d] to the nearest small.

    Lloyd's rounds with geometric medians, from K-means' centres. With k rows, W1 to many fresh points of the law is what it
    makes small, but for unequal shares.
    """
    from sklearn.cluster import KMeans

    k = whole("k", k, 1, len(points))
    x = torch.as_tensor(points)
    centres = torch.as_tensor(KMeans(k, n_init=1, random_state=seed).fit(points).cluster_centers_).to(x)
    for _ in range(rounds):
        owner = torch.cdist(x, centres).argmin(1)
        centres = torch.stack(
            [geometric_median(x[owner == i], 20) if (owner == i).any() else centres[i] for i in range(k)]
        )
    return centres.numpy()


def plane_law(name: str, letter: str = "S", drawing: str | None = None) -> GaussianMixture:
    """A law of the plane: a target of the diffusion exhibit, or "gaussian", N(0, I)."""
    if name == "gaussian":
        return GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    return target_mixture(name, letter, drawing)
