"""CAGrad's toy: two losses of two weights with steep walls above x2 = 0 and one valley below (Liu et al. 2021, appendix)."""

from __future__ import annotations

import numpy as np

STARTS = np.array([[-8.5, 7.5], [0.0, 0.0], [9.0, 9.0], [-7.5, -0.5], [9.0, -1.0]])
FLOOR = 5e-6


def toy_losses(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(losses [..., 2], gradients [..., 2 tasks, 2]) at weights x [..., 2].

    Where the logarithm's argument is cut its gradient is 0; at x2 = 0 the slopes of both switches count, as in the authors' code.
    """
    x1, x2 = x[..., 0], x[..., 1]
    t = np.tanh(x2)
    up, down = np.maximum(np.tanh(x2 / 2), 0), np.maximum(np.tanh(-x2 / 2), 0)
    slope = (1 - np.tanh(x2 / 2) ** 2) / 2
    far = 0.1 * (x2 + 8) ** 2
    losses, gradients = np.empty(x.shape), np.empty((*x.shape, 2))
    for task, (sign, centre) in enumerate(((1.0, 7.0), (-1.0, -7.0))):
        inner = -0.5 * x1 + sign * (t - 3.5)  # the logarithm's argument: it vanishes on a curve
        wall = np.log(np.maximum(np.abs(inner), FLOOR)) + 6
        steep = np.where(np.abs(inner) > FLOOR, 1 / np.where(inner == 0, 1, inner), 0)
        bowl = ((x1 - centre) ** 2 + far) / 10 - 20
        losses[..., task] = wall * up + bowl * down
        gradients[..., task, 0] = -0.5 * steep * up + (x1 - centre) / 5 * down
        gradients[..., task, 1] = (
            sign * (1 - t * t) * steep * up
            + np.where(x2 >= 0, wall * slope, 0)
            + 0.02 * (x2 + 8) * down
            - np.where(x2 <= 0, bowl * slope, 0)
        )
    return losses, gradients


def toy_front(points: int = 101) -> np.ndarray:
    """Weights [points, 2] of the Pareto front in the valley, from the second task's minimum to the first's.

    With weights w and 1 - w of the losses the first coordinate is 7 (2 w - 1) exactly; the second is a root, by bisection.
    """
    x1 = np.linspace(-7, 7, points)
    w = (x1 / 7 + 1) / 2
    mixed = (w * (x1 - 7) ** 2 + (1 - w) * (x1 + 7) ** 2) / 10 - 20

    def slope(x2: np.ndarray) -> np.ndarray:
        switch = np.tanh(-x2 / 2)
        return 0.02 * (x2 + 8) * switch - (mixed + 0.01 * (x2 + 8) ** 2) * (1 - switch**2) / 2

    low, high = np.full(points, -12.0), np.full(points, -4.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = np.where(slope(middle) < 0, middle, low), np.where(slope(middle) < 0, high, middle)
    return np.stack([x1, (low + high) / 2], -1)
