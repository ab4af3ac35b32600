"""The exact Wasserstein distance of two equally large clouds of points, with its matching and its potential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.arguments import Refusal, number

MOST_POINTS = 2048
MOST_COLUMNS = 4096


@dataclass(frozen=True)
class Wasserstein:
    """How one cloud is carried onto another at least cost.

    value: float; mean of |x − y|^power over the pairs of the best matching (W_power to that power)
    matching: int64 [n]; row of y that row i of x is carried to
    potential: float64 [2n]; Kantorovich's, at the rows of x, then at those of y: mean(potential[:n]) − mean(potential[n:]) is
        the value, and potential at x minus potential at y is nowhere above |x − y|^power
    """

    value: float
    matching: np.ndarray
    potential: np.ndarray


def cloud(name: str, points: Any, most: int = MOST_POINTS) -> np.ndarray:
    """Points as float64 [n, d]; a list of numbers is a cloud on the line."""
    try:
        array = np.asarray(points.detach().cpu() if hasattr(points, "detach") else points, dtype=np.float64)
    except (TypeError, ValueError, AttributeError, RuntimeError):
        array = np.empty(())
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not len(array) or not array.shape[1]:
        raise Refusal("{parameter} must be points [n, dimensions], at least one.", parameter=name)
    if len(array) > most or array.shape[1] > MOST_COLUMNS:
        raise Refusal(
            "{parameter} may have at most {most} points of {dimensions} numbers.",
            parameter=name,
            most=most,
            dimensions=MOST_COLUMNS,
        )
    if not np.isfinite(array).all() or np.abs(array).max() > 1e100:
        raise Refusal("{parameter} must be finite numbers of a size below 1e100.", parameter=name)
    return array


def two_clouds(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds of the same shape."""
    x, y = cloud("x", x), cloud("y", y)
    if x.shape != y.shape:
        raise Refusal(
            "{parameter} must have as many points, of as many numbers, as x: {rows} x {columns}.",
            parameter="y",
            rows=x.shape[0],
            columns=x.shape[1],
        )
    return x, y


def costs(x: np.ndarray, y: np.ndarray, power: float) -> np.ndarray:
    """|x_i − y_j|^power, [n, m], from the differences themselves: nothing cancels."""
    from scipy.spatial.distance import cdist

    if power == 1:
        return cdist(x, y)
    with np.errstate(over="ignore"):
        cost = cdist(x, y, "sqeuclidean") if power == 2 else cdist(x, y) ** power
    if not np.isfinite(cost).all():
        raise Refusal("{parameter} makes distances of that power too large for a number: lower it.", parameter="power")
    return cost


def wasserstein(x: Any, y: Any, power: float = 1) -> Wasserstein:
    """The best matching of two clouds [n, d] for the cost |x − y|^power, with the potential that proves it best.

    The matching is scipy's (Crouse 2016, doi 10.1109/TAES.2016.140952), which hands out no potential: that is the shortest
    path over the edges i -> j of length c_ij − c_ii, pairs numbered alike, none of which closes a negative cycle.
    """
    from scipy.optimize import linear_sum_assignment

    x, y = two_clouds(x, y)
    power = number("power", power, 1, 16)
    cost = costs(x, y, power)
    _, matching = linear_sum_assignment(cost)
    paired = cost[:, matching]
    value = np.diagonal(paired)
    below = paired - value[:, None]
    reach = np.zeros(len(x))
    tiny = 1e-15 * max(float(paired.max()), 1e-300)
    for _ in range(len(x)):
        shorter = np.minimum(reach, (reach[:, None] + below).min(0))
        if (reach - shorter).max() <= tiny:
            break
        reach = shorter
    at_y = np.empty(len(x))
    at_y[matching] = -reach
    return Wasserstein(float(value.mean()), matching, np.concatenate((value - reach, at_y)))


def extend(z: Any, y: Any, potential_y: Any, power: float = 1) -> np.ndarray:
    """The potential elsewhere, [m]: min_j potential(y_j) + |z − y_j|^power.

    The c-transform; for power 1 it is McShane's extension, of slope at most 1 everywhere.
    """
    z, y = cloud("z", z, 1 << 16), cloud("y", y)
    if z.shape[1] != y.shape[1]:
        raise Refusal("{parameter} must have as many columns as z.", parameter="y")
    values = cloud("potential_y", potential_y)[:, 0]
    if len(values) != len(y):
        raise Refusal("{parameter} must be one number for each row of y.", parameter="potential_y")
    return (costs(z, y, number("power", power, 1, 16)) + values).min(1)


def steepest_slope(points: Any, values: Any) -> float:
    """The greatest |f(a) − f(b)| / |a − b| of any two different points; 0 where there are none."""
    points, values = cloud("points", points), cloud("values", values)[:, 0]
    if len(values) != len(points):
        raise Refusal("{parameter} must be one number for each point.", parameter="values")
    distance = costs(points, points, 1)
    rise = np.abs(values[:, None] - values)
    return float(np.divide(rise, distance, out=np.zeros_like(rise), where=distance > 1e-12).max())
