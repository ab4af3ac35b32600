"""A plane through the space of a network's weights: paths of training on it, and the loss all over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SIDE = 37  # points of the grid along each axis
FLATTEST = 0.6  # the shorter side of the grid over the longer
AT_ONCE = 64  # networks that are evaluated together


@dataclass(frozen=True)
class Plane:
    """The plane in which points of a space vary most, and the loss on a grid of it.

    x: float64 [37]; y: float64 [37]; of the grid, along the first and the second principal axis, from the mean of the points
    loss: float64 [37, 37]; rows by y
    paths: float64 [n, T, 2]; the points, seen on the plane
    share: float; of the squared distances of the points to their mean, what lies in the plane
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    paths: np.ndarray
    share: float


@torch.no_grad()
def plane(paths: Tensor, loss: Callable[[Tensor], Tensor], axes: Tensor | None = None) -> Plane:
    """paths: [n, T, P] weights; loss: [m, P] -> [m]; axes: orthonormal [2, P], through 0 (None: the principal ones, through the mean).

    The grid covers the paths and some more on each side; distances along both axes are in units of the weights.
    """
    points = paths.flatten(0, 1).double()
    mean = points.mean(0) if axes is None else torch.zeros_like(points[0])
    apart = points - mean
    if axes is None:
        _, vectors = torch.linalg.eigh(apart @ apart.T)  # fewer points than weights
        axes = torch.nn.functional.normalize(vectors[:, [-1, -2]].T @ apart, dim=1)
    axes = axes.double()
    seen = apart @ axes.T
    low, high = seen.min(0).values, seen.max(0).values
    half = (high - low) / 2
    half = torch.maximum(1.1 * half + 0.1 * half.max(), FLATTEST * 1.2 * half.max())
    x, y = (
        torch.linspace(float(c - h), float(c + h), SIDE).double() for c, h in zip((low + high) / 2, half, strict=True)
    )
    grid = torch.cartesian_prod(y, x).flip(1) @ axes + mean
    found = torch.cat([loss(some.to(paths.dtype)).double() for some in grid.split(AT_ONCE)])
    share = float(seen.square().sum() / apart.square().sum().clamp_min(1e-30))
    on_plane = seen.view(*paths.shape[:2], 2)
    return Plane(x.numpy(), y.numpy(), found.view(SIDE, SIDE).numpy(), on_plane.numpy(), share)
