"""The best critics of N(0, I) and a law of the plane, on a grid: `critic_flow` in two dimensions.

At a place z = t x + (1 − t) y between independent pairs, with t uniform, z has a density ρ, a mixture of Gaussians at each t.
ReFlow's critic minimises ½E|∇D(z) − (x − y)|², which is ½∫ρ|∇D|² − [E D(x) − E D(y)] and a constant: −div(ρ∇D) = p_x − p_y, a
linear equation. The penalty λ s² about 0 has 1/(2λ) of its solution. λ(s − 1)² is not convex in D; it is lowered step by step
with its majorant λ|∇D − u|², u the direction of the slope before: one such equation a step. Triangles with linear D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.arguments import number
from engines.diffusion.mixture import GaussianMixture

SIDE = 101
REACH = 4.4
NODES = 16
STEPS = 40
SIGMA = 0.15  # noise on the law of the plane, so that it has a density


@dataclass(frozen=True)
class PlaneCritics:
    """The best critics on a grid: penalty about 1, penalty about 0, ReFlow's.

    axis: float64 [g]; of both coordinates
    critic: float64 [3, g, g]; rows along the second coordinate; mean 0 over p_y
    difference: float64 [3]; E D(x) − E D(y)
    """

    axis: np.ndarray
    critic: np.ndarray
    difference: np.ndarray

    def slope(self, points: np.ndarray) -> np.ndarray:
        """∇D at points [n, 2], [3, n, 2]: central differences on the grid, linear between its places."""
        from scipy.interpolate import RegularGridInterpolator

        both = np.stack(np.gradient(self.critic, self.axis, self.axis, axis=(2, 1)), -1)  # [3, g, g, 2]
        inner = np.clip(points[:, ::-1], self.axis[0], self.axis[-1])
        return np.stack([RegularGridInterpolator((self.axis, self.axis), field)(inner) for field in both])


def densities(law: GaussianMixture, sigma: float, axis: np.ndarray) -> list[np.ndarray]:
    """ρ of the places between, p_y of N(0, I), p_x of the law with noise sigma: [g, g] each."""
    weights, means = law.weights.numpy(), law.means.numpy()
    variances = law.noised_variances(sigma).numpy()

    def at(t: float) -> np.ndarray:
        variance = (1 - t) ** 2 + t**2 * variances
        x, y = (np.exp(-((axis[:, None] - t * means[:, k]) ** 2) / (2 * variance)) for k in (0, 1))
        return (y * (weights / (2 * np.pi * variance))) @ x.T

    nodes, shares = np.polynomial.legendre.leggauss(NODES)
    between = np.sum([share / 2 * at((node + 1) / 2) for node, share in zip(nodes, shares, strict=True)], 0)
    return [between, at(0.0), at(1.0)]


def plane_critics(law: GaussianMixture, penalty: float = 10.0, sigma: float = SIGMA) -> PlaneCritics:
    """The best critics of y ~ N(0, I), fake, and x of the law with noise sigma, real. penalty: λ of both penalties."""
    from scipy.sparse import csr_matrix, diags, vstack
    from scipy.sparse.linalg import splu

    penalty, sigma = number("penalty", penalty, 1e-3, 1e6), number("sigma", sigma, 1e-3, 10)
    axis = np.linspace(-REACH, REACH, SIDE)
    step = axis[1] - axis[0]
    rho, y, x = densities(law, sigma, axis)
    y, x = y / y.sum(), x / x.sum()
    rho = np.maximum(rho * step**2, 1e-12)
    places = np.arange(SIDE**2).reshape(SIDE, SIDE)
    low, right, up, high = (
        part.ravel() for part in (places[:-1, :-1], places[:-1, 1:], places[1:, :-1], places[1:, 1:])
    )
    corners = np.concatenate((low, high)), np.concatenate((right, up)), np.concatenate((up, right))
    mass = np.mean([rho.ravel()[part] for part in corners], 0) / 2  # of each triangle
    sign = np.repeat((1.0, -1.0), len(low)) / step
    rows = np.arange(len(mass))
    along = [
        csr_matrix(
            (np.concatenate((-sign, sign)), (np.tile(rows, 2), np.concatenate((corners[0], other)))),
            (len(rows), SIDE**2),
        )
        for other in corners[1:]
    ]
    slope = vstack(along).tocsr()
    flow = (slope.T @ diags(np.tile(mass, 2))).tocsr()
    solve = splu((flow @ slope + 1e-14 * diags(np.ones(SIDE**2))).tocsc()).solve
    pull = (x - y).ravel()
    reflow = solve(pull)
    about_1 = reflow
    for _ in range(STEPS):
        now = (slope @ about_1).reshape(2, -1)
        about_1 = solve(pull / (2 * penalty) + flow @ (now / np.maximum(np.hypot(*now), 1e-9)).ravel())
    critic = np.stack((about_1, reflow / (2 * penalty), reflow)).reshape(3, SIDE, SIDE)
    critic -= (critic * y).sum((1, 2), keepdims=True)
    return PlaneCritics(axis, critic, (critic * (x - y)).sum((1, 2)))
