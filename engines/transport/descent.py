"""Downhill in the plane: gradient flow and the methods that follow it, or do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked, number

FUNCTIONS = ("quadratic", "banana", "two_wells")
METHODS = ("gradient", "implicit", "heavy_ball", "nesterov", "sign", "coordinate")
FAR = 1e6  # a path that leaves this square has diverged
WINDOW = {"quadratic": (-3.2, 3.2, -2.2, 2.2), "banana": (-2.2, 2.2, -1.4, 3.2), "two_wells": (-2.2, 2.2, -1.6, 1.6)}


class Landscape(NamedTuple):
    """A function of the plane. value: [..., 2] -> [...]; gradient: [2] -> [2]; hessian: [2] -> [2, 2]; minimum: [2]."""

    value: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    hessian: Callable[[np.ndarray], np.ndarray]
    minimum: np.ndarray


def landscape(function: str, condition: float) -> Landscape:
    """(x² + κ y²)/2; Rosenbrock's ((1 − x)² + κ (y − x²)²)/2; (x² − 1)²/4 + κ y²/2, κ the condition."""
    k = condition
    if function == "quadratic":
        scale = np.array([1.0, k])
        return Landscape(lambda p: (p**2 @ scale) / 2, lambda p: scale * p, lambda p: np.diag(scale), np.zeros(2))
    if function == "banana":
        return Landscape(
            lambda p: ((1 - p[..., 0]) ** 2 + k * (p[..., 1] - p[..., 0] ** 2) ** 2) / 2,
            lambda p: np.array([p[0] - 1 - 2 * k * p[0] * (p[1] - p[0] ** 2), k * (p[1] - p[0] ** 2)]),
            lambda p: np.array([[1 - 2 * k * (p[1] - 3 * p[0] ** 2), -2 * k * p[0]], [-2 * k * p[0], k]]),
            np.ones(2),
        )
    return Landscape(
        lambda p: (p[..., 0] ** 2 - 1) ** 2 / 4 + k * p[..., 1] ** 2 / 2,
        lambda p: np.array([p[0] * (p[0] ** 2 - 1), k * p[1]]),
        lambda p: np.diag([3 * p[0] ** 2 - 1, k]),
        np.array([1.0, 0.0]),
    )


def implicit_step(land: Landscape, start: np.ndarray, step: float) -> np.ndarray:
    """A local minimiser of |x − start|²/(2 step) + f(x), by damped Newton from the start."""

    def objective(x: np.ndarray) -> float:
        return float(np.square(x - start).sum() / (2 * step) + land.value(x))

    x, now = start, objective(start)
    for _ in range(60):
        slope = (x - start) / step + land.gradient(x)
        if np.abs(slope).max() < 1e-12 * (1 + np.abs(x).max() / step):
            break
        values, vectors = np.linalg.eigh(land.hessian(x) + np.eye(2) / step)
        move = -vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), 1e-3))
        share = 1.0
        while share > 1e-12 and objective(x + share * move) > now - 1e-4 * share * float(-slope @ move):
            share /= 2
        if share <= 1e-12:
            break
        x = x + share * move
        now = objective(x)
    return x


def walk(land: Landscape, method: str, start: np.ndarray, step: float, iterations: int, momentum: float) -> np.ndarray:
    """Path [iterations + 1, 2]; NaN from where it left the square of side 10⁶.

    heavy_ball: Polyak 1964; nesterov: momentum (k − 1)/(k + 2), 1983; sign and coordinate are steepest descent in the norms
    l∞ and l1: −step ‖g‖₁ sign(g), and −step ‖g‖∞ along the greatest entry alone.
    """
    path = np.full((iterations + 1, 2), np.nan)
    path[0] = x = before = start
    for k in range(1, iterations + 1):
        ahead = x + (k - 1) / (k + 2) * (x - before) if method == "nesterov" else x
        if method == "implicit":
            following = implicit_step(land, x, step)
        else:
            slope = land.gradient(ahead)
            if method == "sign":
                slope = np.abs(slope).sum() * np.sign(slope)
            elif method == "coordinate":
                slope = np.where(np.arange(2) == np.abs(slope).argmax(), slope, 0.0)
            following = ahead - step * slope + (momentum * (x - before) if method == "heavy_ball" else 0.0)
        x, before = following, x
        if not np.abs(x).max() < FAR:
            break
        path[k] = x
    return path


def flow(land: Landscape, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The gradient flow dx/dt = −∇f at rising times from 0, [n, 2], to about nine digits."""
    from scipy.integrate import solve_ivp

    if times[-1] == 0:
        return np.broadcast_to(start, (len(times), 2)).copy()
    solved = solve_ivp(
        lambda _, x: -land.gradient(x), (0, times[-1]), start, "LSODA", times, rtol=1e-9, atol=1e-12,
        jac=lambda _, x: -land.hessian(x),
    )  # fmt: skip
    if not solved.success:
        raise Refusal(
            "The gradient flow could not be followed to the end from here: take another start {parameter}.",
            parameter="x",
        )
    return solved.y.T


class Decay(NamedTuple):
    """What is left of a coordinate of f = rate x²/2 that began at 1: by gradient steps, the flow, and implicit steps."""

    gradient: float
    flow: float
    implicit: float


def descent_decay(rate: float, step: float, time: float) -> Decay:
    """(1 − λh)^n, e^{−λt} and (1 + λh)^{−n} with n = t/h; gradient steps diverge from λh = 2 on."""
    rate, step = number("rate", rate, 0, 1e6), number("step", step, 1e-9, 1e6)
    time = number("time", time, 0, 1e6)
    steps = round(time / step)
    return Decay((1 - rate * step) ** steps, math.exp(-rate * time), (1 + rate * step) ** -steps)


def nesterov_limit(rate: float, time: np.ndarray) -> np.ndarray:
    """x(t)/x(0) of x'' + 3x'/t + λx = 0: 2 J₁(t√λ)/(t√λ); Su, Boyd, Candès 2014, arXiv 1503.01243, Section 3.2."""
    from scipy.special import j1

    at = np.sqrt(number("rate", rate, 0, 1e6)) * np.asarray(time, dtype=float)
    return np.divide(2 * j1(at), at, out=np.ones_like(at), where=at > 0)


def contraction(method: str, condition: float, step: float, momentum: float) -> float:
    """The factor by which a step shortens the longest-lived error on the quadratic; NaN where there is no one such factor."""
    rates = np.array([1.0, condition])
    if method == "gradient":
        return float(np.abs(1 - step * rates).max())
    if method == "implicit":
        return float((1 / (1 + step * rates)).max())
    if method == "heavy_ball":
        return max(
            float(np.abs(np.linalg.eigvals([[1 + momentum - step * rate, -momentum], [1.0, 0.0]])).max())
            for rate in rates
        )
    return math.nan


@dataclass(frozen=True)
class Descent:
    """Paths of several methods on one function.

    function: one of FUNCTIONS; condition: κ
    methods: their names [m]
    step: step size h
    start: float64 [2]
    paths: float64 [m, k + 1, 2]; NaN once a path has diverged
    value: float64 [m, k + 1]; f − min f along it
    flow: float64 [k + 1, 2]; the gradient flow at t = 0, h, 2h, ...
    flow_value: float64 [k + 1]; f − min f along the flow
    nesterov_value: float64 [k + 1]; of Nesterov's ODE at t = k √h; NaN unless quadratic
    contraction: float64 [m]; error kept per step on the quadratic, NaN elsewhere and where there is no one factor
    sizes: float64 [s]; step sizes 1, 1/2, ...
    error: float64 [2, s]; distance from the flow at t = 1 of gradient steps and of implicit ones; NaN if diverged
    limit: float; the step size from which gradient steps diverge near the minimum, 2/λ
    x, y: float64 [g], [h]; a grid
    surface: float64 [h, g]; f − min f on it
    """

    function: str
    condition: float
    methods: tuple[str, ...]
    step: float
    start: np.ndarray
    paths: np.ndarray
    value: np.ndarray
    flow: np.ndarray
    flow_value: np.ndarray
    nesterov_value: np.ndarray
    contraction: np.ndarray
    sizes: np.ndarray
    error: np.ndarray
    limit: float
    x: np.ndarray
    y: np.ndarray
    surface: np.ndarray


@checked
def descent(
    function: Annotated[str, OneOf(FUNCTIONS)] = "quadratic",
    condition: Annotated[float, Between(1, 100)] = 10.0,
    step: Annotated[float, Between(0.001, 1)] = 0.05,
    methods: Annotated[Sequence[str], SomeOf(METHODS)] = ("gradient", "implicit", "heavy_ball", "nesterov"),
    momentum: Annotated[float, Between(0, 0.99)] = 0.8,
    iterations: Annotated[int, Between(1, 400)] = 80,
    x: Annotated[float, Between(-3, 3)] = -2.5,
    y: Annotated[float, Between(-2, 3)] = 1.5,
) -> Descent:
    """Walk down from (x, y) with each method; the exact flow beside them.

    condition: κ, the larger curvature; momentum: the heavy ball's.
    """
    land, start = landscape(function, condition), np.array([x, y])
    path = np.stack([walk(land, method, start, step, iterations, momentum) for method in methods])
    exact = flow(land, start, step * np.arange(iterations + 1))
    k = np.arange(iterations + 1)
    if function == "quadratic":
        parts = [
            rate * (at * nesterov_limit(rate, k * math.sqrt(step))) ** 2 / 2 for rate, at in ((1.0, x), (condition, y))
        ]
        nesterov, factors = parts[0] + parts[1], [contraction(m, condition, step, momentum) for m in methods]
    else:
        nesterov, factors = np.full(iterations + 1, np.nan), [math.nan] * len(methods)
    counts = 2 ** np.arange(8)
    goal = flow(land, start, np.array([0.0, 1.0]))[-1]
    error = np.array(
        [
            [np.linalg.norm(walk(land, method, start, 1 / n, int(n), 0.0)[-1] - goal) for n in counts]
            for method in ("gradient", "implicit")
        ]
    )
    low_x, high_x, low_y, high_y = WINDOW[function]
    grid_x, grid_y = np.linspace(low_x, high_x, 91), np.linspace(low_y, high_y, 81)
    surface = land.value(np.stack(np.meshgrid(grid_x, grid_y), -1))
    return Descent(
        function,
        condition,
        tuple(methods),
        step,
        start,
        path,
        land.value(path),
        exact,
        land.value(exact),
        nesterov,
        np.array(factors),
        1 / counts,
        error,
        2 / float(np.linalg.eigvalsh(land.hessian(land.minimum))[-1]),
        grid_x,
        grid_y,
        surface,
    )
