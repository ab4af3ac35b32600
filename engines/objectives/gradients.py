"""From the gradients of several tasks to one direction u; the weights step by -u.

A rule takes gradients [tasks, d] (2 to 8 tasks) and gives a vector [d] that is a combination of them. All depend on the
inner products alone, so they are solved in the coordinates of a QR decomposition, with as many dimensions as tasks.
Arguments may be tensors, arrays or lists; they are computed, and returned, in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number

MOST_TASKS = 8


def min_norm(gradients: Any) -> tuple[Tensor, Tensor]:
    """The shortest vector of the gradients' convex hull: (weights [tasks], vector [d]).

    It is 0 exactly where no direction improves all tasks (Pareto stationary), and else has the same inner product |u|^2 with every
    gradient of positive weight, and a larger one with the others. Found by a finite active-set method (Lawson, Hanson 1974,
    ch. 23), not by iterations that stop early. Désidéri 2012; Sener, Koltun 2018.
    """
    g = _gradients(gradients)
    norms = g.norm(dim=1)
    if not norms.min():
        weights = (norms == 0).double()
        return weights / weights.sum(), torch.zeros_like(g[0])
    short = _coordinates(g / norms.min())
    found = _active_set(np.vstack([short.T, np.ones(len(short))]))
    return _combined(found / found.sum(), g)


def total(gradients: Any) -> Tensor:
    """The sum of the gradients: the losses are added."""
    return _gradients(gradients).sum(0)


def log_sum(gradients: Any, losses: Sequence[float]) -> Tensor:
    """The sum of g_i / L_i: the gradient of the sum of log L_i, blind to each loss's unit (Su, kexue.fm 8870).

    At the first step it is also the sum of the losses over their initial values.
    """
    g = _gradients(gradients)
    values = torch.as_tensor(losses, dtype=torch.float64) if _is_list(losses) else torch.zeros(0)
    if values.shape != g.shape[:1] or not (values > 0).all() or not values.isfinite().all():
        raise Refusal("{parameter} must hold {count} positive numbers, one a task.", parameter="losses", count=len(g))
    return (g / values[:, None]).sum(0)


def normalised_sum(gradients: Any) -> Tensor:
    """The sum of g_i / |g_i|: blind to the unit and to the zero of each loss (Su, kexue.fm 8870)."""
    g = _gradients(gradients)
    return (g / _lengths(g)[:, None]).sum(0)


def pcgrad(gradients: Any) -> Tensor:
    """Each gradient is projected onto the plane of each other one that it conflicts with; the mean over the tasks.

    The result depends on the order of the projections where there are three tasks or more: this is the mean over all
    orders. The authors' code draws one at random and adds where this averages. Yu et al. 2020, algorithm 1.
    """
    g = _gradients(gradients)
    r = _coordinates(g)
    gram, tasks = r @ r.T, len(r)
    weights = np.zeros(tasks)
    for task in range(tasks):
        orders = np.array(list(itertools.permutations([j for j in range(tasks) if j != task])))
        mine = np.tile(np.eye(tasks)[task], (len(orders), 1))
        rows = np.arange(len(orders))
        for j in orders.T:
            inner = (mine * gram[j]).sum(-1)
            mine[rows, j] -= np.where(inner < 0, inner / np.where(gram[j, j] > 0, gram[j, j], 1), 0)
        weights += mine.mean(0) / tasks
    return _combined(weights, g)[1]


def cagrad(gradients: Any, c: float = 0.5) -> Tensor:
    """The u with the largest smallest inner product with the gradients among |u - m| <= c |m|, m being their mean.

    No rescaling afterwards (the authors' code divides by 1 + c^2 in places, others by 1 + c). c from 0, the mean, to below 1.
    Liu et al. 2021, eq. 4. Solved as projections onto {u: <g_i, u> >= t}, with t found where the ball is reached.
    """
    from scipy.optimize import brentq

    g, c = _gradients(gradients), number("c", c, 0, 1)
    r = _coordinates(g)
    mean = r.mean(0)
    radius = c * math.sqrt(mean @ mean)
    if radius <= 1e-15 * np.linalg.norm(r):
        return g.mean(0)

    def reach(t: float) -> tuple[np.ndarray, float]:
        """Weights of the step away from the mean that brings every inner product to t, and its length."""
        weights = _projection(r, t - r @ mean)
        return weights, float(np.linalg.norm(weights @ r))

    low = float((r @ mean).min())
    high = float(min_norm(r)[1].norm()) * (radius + radius / c)
    if high > low and reach(high)[1] > radius:
        high = brentq(lambda t: min(reach(t)[1], 1e3 * radius) - radius, low, high, xtol=1e-300, rtol=1e-14)
    weights, _ = reach(max(low, high))
    return _combined(weights + 1 / len(r), g)[1]


def imtl_g(gradients: Any) -> Tensor:
    """The combination with weights of sum 1 whose inner products with all g_i / |g_i| are equal. Liu et al. 2021 (IMTL), eq. 5.

    Weights may be negative. Refusal where there is no such combination, or no unique one.
    """
    g = _gradients(gradients)
    r, lengths = _coordinates(g), _lengths(g).numpy()
    unit = r / lengths[:, None]
    system = np.vstack([np.ones(len(r)), (unit[0] - unit[1:]) @ r.T / lengths.max()])
    if np.linalg.cond(system) > 1e12:
        raise Refusal(
            "{parameter} have no direction with equal inner products: some point the same way, or oppose exactly.",
            parameter="gradients",
        )
    return _combined(np.linalg.solve(system, np.eye(len(r))[0]), g)[1]


def nash(gradients: Any) -> Tensor:
    """The sum of a_i g_i with a_i <g_i, u> = 1 for every task: Nash's bargain. Navon et al. 2022, eq. 3.

    It is the minimum of |u|^2 / 2 - sum log a_i, found by Newton's method. Refusal where no direction improves all tasks.
    """
    g = _gradients(gradients)
    lengths = _lengths(g).numpy()
    unit = _coordinates(g) / lengths[:, None]
    if float(min_norm(unit)[1].norm()) < 1e-7:
        raise Refusal(
            "{parameter} oppose each other: no direction improves every task, and there is no bargain.",
            parameter="gradients",
        )
    gram, a = unit @ unit.T, np.ones(len(unit))
    for _ in range(200):
        slope = gram @ a - 1 / a
        step = np.linalg.solve(gram + np.diag(a**-2.0), -slope)
        a = a + step / (1 + math.sqrt(max(-slope @ step, 0)))  # damped: the function is self-concordant
        if np.abs(a * (gram @ a) - 1).max() < 1e-14:
            break
    return _combined(a / lengths, g)[1]


def upgrad(gradients: Any) -> Tensor:
    """Each gradient's projection onto the cone of the u that conflict with none of them; the mean. Quinton, Rey 2024, eq. 4."""
    g = _gradients(gradients)
    r = _coordinates(g)
    lengths = np.linalg.norm(r, axis=1)
    alive = lengths > 0
    unit = r[alive] / lengths[alive, None]
    weights = np.zeros(len(r))
    for own, length in zip(unit, lengths[alive], strict=True):
        weights[alive] += _projection(unit, -unit @ own) * length / lengths[alive]
    return _combined((weights + 1) / len(r), g)[1]


RULES: dict[str, Callable[[Tensor, Sequence[float], float], Tensor]] = {
    "sum": lambda g, losses, c: total(g),
    "log": lambda g, losses, c: log_sum(g, losses),
    "normalised": lambda g, losses, c: normalised_sum(g),
    "min_norm": lambda g, losses, c: min_norm(g)[1],
    "pcgrad": lambda g, losses, c: pcgrad(g),
    "cagrad": lambda g, losses, c: cagrad(g, c),
    "imtl_g": lambda g, losses, c: imtl_g(g),
    "nash": lambda g, losses, c: nash(g),
    "upgrad": lambda g, losses, c: upgrad(g),
}


def pair_weights(rule: str, a: Any, b: Any, d: Any, losses: Any = None, c: float = 0.5) -> tuple[Any, Any]:
    """The same rules for two tasks, in closed form and batched: weights w with u = w1 g1 + w2 g2.

    a, b: |g1|^2 and |g2|^2; d: <g1, g2>; losses: a pair (rule log). Arrays of one shape. Vanishing gradients get finite weights.
    """
    a, b, d = (np.asarray(value, dtype=float) for value in (a, b, d))
    tiny = 1e-300
    one = np.ones_like(d)
    match rule:
        case "sum":
            return one, one
        case "log":
            return 1 / np.maximum(losses[0], 1e-12), 1 / np.maximum(losses[1], 1e-12)
        case "normalised" | "nash" | "imtl_g":  # one direction for two tasks; the length is that of the first
            return 1 / np.sqrt(np.maximum(a, tiny)), 1 / np.sqrt(np.maximum(b, tiny))
        case "min_norm":
            first = np.clip((b - d) / np.maximum(a + b - 2 * d, tiny), 0, 1)
            return first, 1 - first
        case "pcgrad" | "upgrad":  # one rule for two tasks
            conflict = np.minimum(d, 0)
            return 0.5 * (1 - conflict / np.maximum(a, tiny)), 0.5 * (1 - conflict / np.maximum(b, tiny))
        case "cagrad":
            radius = c * np.sqrt(np.maximum(a + b + 2 * d, 0)) / 2
            across = np.maximum(a + b - 2 * d, tiny)  # |g1 - g2|^2
            slope = (a - b) / 2  # <g1 - g2, mean>
            foot = (b - d) / across  # where the line through both is nearest to 0
            height = np.sqrt(np.maximum(b - (b - d) ** 2 / across, 0))
            room = radius**2 * across - slope**2
            shift = -slope * height / np.sqrt(across) / np.sqrt(np.maximum(room, tiny))
            first = np.clip(np.where(room > 0, foot + shift, np.where(slope > 0, 0.0, 1.0)), 0, 1)
            length = np.sqrt(np.maximum(first**2 * a + (1 - first) ** 2 * b + 2 * first * (1 - first) * d, tiny))
            return 0.5 + radius / length * first, 0.5 + radius / length * (1 - first)
    raise Refusal(
        "{parameter} must be one of {options}, not {given}.", parameter="rule", options=", ".join(RULES), given=rule
    )


def _is_list(values: Any) -> bool:
    try:
        torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _gradients(gradients: Any) -> Tensor:
    """The gradients as float64 [tasks, d]."""
    g = torch.as_tensor(gradients, dtype=torch.float64).detach() if _is_list(gradients) else torch.zeros(0)
    if g.dim() != 2 or not 2 <= g.shape[0] <= MOST_TASKS or not g.shape[1] or not g.isfinite().all():
        raise Refusal(
            "{parameter} must hold the gradients of 2 to {most} tasks as rows of finite numbers.",
            parameter="gradients",
            most=MOST_TASKS,
        )
    return g


def _lengths(g: Tensor) -> Tensor:
    lengths = g.norm(dim=1)
    if not lengths.min():
        raise Refusal("{parameter} must not vanish: a gradient of length 0 has no direction.", parameter="gradients")
    return lengths


def _coordinates(g: Tensor) -> np.ndarray:
    """Rows with the same inner products, in at most as many dimensions as tasks."""
    return torch.linalg.qr(g.T).R.T.numpy() if g.shape[1] > g.shape[0] else g.numpy()


def _active_set(matrix: np.ndarray) -> np.ndarray:
    """The v >= 0 that brings matrix @ v nearest to the last unit vector."""
    from scipy.optimize import nnls

    return nnls(matrix, np.eye(len(matrix))[-1])[0]


def _projection(g: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Weights of the shortest e with g @ e >= least: e = weights @ g. Large where there is none."""
    matrix = np.vstack([g.T, least])
    found = _active_set(matrix)
    return found / max(1 - matrix[-1] @ found, 1e-300)


def _combined(weights: np.ndarray, g: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.as_tensor(weights, dtype=torch.float64)
    return weights, weights @ g
