"""Downhill in the space of laws on the line: one flow, and the methods that follow it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked
from engines.transport.downhill_plane import OF_PLANE, STARTS, PlaneDownhill, in_plane

ENERGIES = ("gaussian", "two_wells", "porous")
METHODS = ("exact", "jko", "forward", "langevin", "svgd", "blob", "fisher_rao")
# explicit steps have a closed form for Gaussians alone; the porous medium has no target, which the last four need or shift to
ADMITTED = {
    "gaussian": METHODS,
    "two_wells": tuple(name for name in METHODS if name != "forward"),
    "porous": ("exact", "jko", "blob"),
}
MOST_STEPS = 1000  # of all methods together
CLOSED = ("exact", "forward", "fisher_rao")  # on the line: no steps to wait for
WELLS = {"gaussian": ((1.0, 0.0, 1.0),), "two_wells": ((0.3, -1.2, 0.6), (0.7, 1.2, 0.6))}  # weight, mean, std
GRID = np.linspace(-12, 12, 961)  # N(-3, 2²), the widest start, has 7 × 10⁻⁶ of its mass beyond
QUANTILES = 400
FRAMES = 25
_C = (3 / (4 * math.sqrt(12))) ** (2 / 3)  # of Barenblatt's profile of mass 1


def log_target(energy: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log π, (log π)' and (log π)'' at x; of the porous medium, which has no target, zeros."""
    if energy == "porous":
        return np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    weight, mean, std = (part.reshape(-1, *[1] * np.ndim(x)) for part in np.array(WELLS[energy]).T)
    away = (x - mean) / std**2
    logs = np.log(weight / (std * math.sqrt(2 * math.pi))) - away**2 * std**2 / 2
    top = logs.max(0)
    share = np.exp(logs - top)
    total = share.sum(0)
    share = share / total
    slope = -(share * away).sum(0)
    return top + np.log(total), slope, (share * (away**2 - 1 / std**2)).sum(0) - slope**2


def barenblatt(x: np.ndarray, time: float) -> np.ndarray:
    """The solution of ∂p = (p²)'' of mass 1 that begins as a point: t^{−1/3} (C − x²/(12 t^{2/3}))₊, density at x.

    Barenblatt 1952; Vázquez, The Porous Medium Equation, Section 1.1.
    """
    return time ** (-1 / 3) * np.clip(_C - x**2 / (12 * time ** (2 / 3)), 0, None)


def barenblatt_age(std: float) -> float:
    """The time at which Barenblatt's solution has that standard deviation, its radius over √5."""
    return (5 * std**2 / (12 * _C)) ** 1.5


def normal_log_density(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    """log N(x; mean, std²) at x, of any shape."""
    return -(((x - mean) / std) ** 2) / 2 - math.log(std * math.sqrt(2 * math.pi))


def rates(energy: str) -> tuple[np.ndarray, np.ndarray]:
    """Of jumps to the right and to the left between neighbours of GRID, [grid − 1] each, that have π at rest exactly."""
    rise = np.diff(log_target(energy, GRID)[0]) / 2
    return np.exp(rise) / (GRID[1] - GRID[0]) ** 2, np.exp(-rise) / (GRID[1] - GRID[0]) ** 2


@cache
def spectral_gap(energy: str) -> float:
    """λ1 of the Fokker–Planck equation with target π: in the end KL falls as e^{−2 λ1 t}. NaN of the porous medium."""
    from scipy.linalg import eigh_tridiagonal

    if energy == "porous":
        return math.nan
    right, left = rates(energy)
    out = np.append(right, 0) + np.append(0, left)
    found = eigh_tridiagonal(out, -np.sqrt(right * left), eigvals_only=True, select="i", select_range=(0, 1))
    return float(found[1])


def fokker_planck(energy: str, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """∂p = (p (−log π)')' + p'' from a density on GRID, at rising times [f]; [f, grid].

    Between neighbours mass jumps at the `rates`, second order in dx; in time by an implicit method of variable order (LSODA).
    A sum over eigenfunctions would be no better than ∫p²/π is finite, and a start wider than √2 times the target's has none.
    """
    from scipy.integrate import solve_ivp

    right, left = rates(energy)
    band = np.stack((np.append(0, left), -(np.append(right, 0) + np.append(0, left)), np.append(right, 0)))

    def change(_: float, p: np.ndarray) -> np.ndarray:
        made = band[1] * p
        made[1:] += right * p[:-1]
        made[:-1] += left * p[1:]
        return made

    solved = solve_ivp(
        change, (0, max(float(times[-1]), 1e-12)), start, "LSODA", np.minimum(times, times[-1]), rtol=1e-8, atol=1e-11, lband=1, uband=1,
        jac=lambda *_: band,
    )  # fmt: skip
    density = np.clip(solved.y.T, 0, None)
    return density / (density.sum(1, keepdims=True) * (GRID[1] - GRID[0]))


def exact_law(energy: str, mean: float, std: float, times: np.ndarray) -> np.ndarray:
    """The law of the flow at times [f] as densities on GRID, [f, grid]: closed forms, and for two wells the equation on the grid."""
    if energy == "porous":
        age = barenblatt_age(std)
        return np.stack([barenblatt(GRID - mean, age + time) for time in times])
    if energy == "gaussian":
        return np.stack(
            [
                np.exp(normal_log_density(GRID, mean * math.exp(-t), math.sqrt(1 + (std**2 - 1) * math.exp(-2 * t))))
                for t in times
            ]
        )
    return fokker_planck(energy, np.exp(normal_log_density(GRID, mean, std)), times)


def quantiles(density: np.ndarray, count: int) -> np.ndarray:
    """Places of the shares (i + ½)/count of densities [f, grid] on GRID, [f, count]."""
    dx = GRID[1] - GRID[0]
    mass = np.concatenate((np.zeros((len(density), 1)), np.cumsum((density[:, 1:] + density[:, :-1]) / 2, 1) * dx), 1)
    wanted = (np.arange(count) + 0.5) / count
    return np.stack([np.interp(wanted * row[-1], row, GRID) for row in mass])


def start_quantiles(energy: str, mean: float, std: float, count: int) -> np.ndarray:
    """The law that the flow begins with, as its quantiles [count]."""
    from scipy.special import ndtri

    if energy == "porous":
        return quantiles(barenblatt(GRID - mean, barenblatt_age(std))[None], count)[0]
    return mean + std * ndtri((np.arange(count) + 0.5) / count)


def jko_step(energy: str, former: np.ndarray, tau: float, guess: np.ndarray | None = None) -> np.ndarray:
    """One step of Jordan, Kinderlehrer and Otto's scheme on n quantiles of equal mass, [n], by damped Newton.

    On the line W2² is the mean squared shift of the quantiles; between neighbours the density is 1/(n gap).
    guess: where Newton begins, if it rises; else at `former`
    """
    from scipy.linalg import solveh_banded

    n = len(former)

    def parts(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, bool]:
        """The objective, its slope, its Hessian's two bands, and whether the diagonal is as it is."""
        gap = np.diff(x)
        if gap.min() <= 0:
            return math.inf, x, x, gap, False
        log_pi, score, curvature = log_target(energy, x)
        if energy == "porous":
            inner, first, second = (1 / (n * gap)).sum(), -1 / (n * gap**2), 2 / (n * gap**3)
        else:
            inner, first, second = -np.log(gap).sum(), -1 / gap, 1 / gap**2
        slope = (x - former) / tau - score + np.append(0, first) - np.append(first, 0)
        # the concave part of a barrier is held above 0, so that every move goes down
        own = 1 / tau - curvature
        diagonal = np.maximum(own, 0.1 / tau) + np.append(0, second) + np.append(second, 0)
        value = float(np.square(x - former).sum() / (2 * tau) - log_pi.sum() + inner)
        return value, slope, diagonal, second, bool(own.min() >= 0.1 / tau)

    x = former if guess is None or np.diff(guess).min() <= 0 else guess
    value, slope, diagonal, second, true = parts(x)
    for _ in range(60):
        move = solveh_banded(np.stack((np.append(0, -second), diagonal)), -slope)
        falls = float(-slope @ move)
        if falls < 1e-18 * n:
            break
        share, tried = 1.0, parts(x + move)
        while share > 1e-10 and tried[0] > value - 1e-4 * share * falls + 1e-13 * abs(value):
            share /= 2
            tried = parts(x + share * move)
        if share <= 1e-10:
            break
        last = true and share == 1 and falls < 1e-11 * n  # a full step of Newton's squares what is left
        x, (value, slope, diagonal, second, true) = x + share * move, tried
        if last:
            break
    return x


def jko_run(energy: str, start: np.ndarray, tau: float, marks: np.ndarray) -> np.ndarray:
    """Quantiles [f, n] after `marks` steps; short steps, whose objective is convex, begin where the last one points."""
    here, guess, kept = start, None, [start]
    for step in range(1, int(marks[-1]) + 1):
        moved = jko_step(energy, here, tau, guess)
        guess, here = 2 * moved - here if tau < 0.1 else None, moved
        kept += [here] * int((marks == step).sum())
    return np.stack(kept)


def forward_gaussian(mean: float, std: float, tau: float, steps: int) -> np.ndarray:
    """Mean and standard deviation [steps + 1, 2] of explicit steps x − τ(x + (log p)') from N(mean, std²), target N(0, 1).

    Each is an affine map, so the law stays a Gaussian: m' = (1 − τ) m, s' = (1 − τ) s + τ/s.
    """
    rows = [(mean, std)]
    for _ in range(steps):
        mean, std = (1 - tau) * mean, (1 - tau) * std + tau / std
        rows.append((mean, std))
    return np.array(rows)


def svgd_step(energy: str, x: np.ndarray, tau: float, bandwidth: float) -> np.ndarray:
    """Liu and Wang 2016, arXiv 1608.04471, Eq. 8, with the kernel exp(−r²/2h²)."""
    kernel = np.exp(-((x[:, None] - x) ** 2) / (2 * bandwidth**2))
    away = x * kernel.sum(1) - kernel @ x
    return x + tau * (kernel @ log_target(energy, x)[1] + away / bandwidth**2) / len(x)


def blob_step(energy: str, x: np.ndarray, tau: float, bandwidth: float) -> np.ndarray:
    """An explicit step of the particle method of Carrillo, Craig and Patacchini 2019, arXiv 1709.09195, Section 2.

    The density is smoothed by a Gaussian of that bandwidth inside the energy, so its gradient at particles exists.
    """
    kernel = np.exp(-((x[:, None] - x) ** 2) / (2 * bandwidth**2)) / (bandwidth * math.sqrt(2 * math.pi) * len(x))
    smooth = kernel.sum(1)
    slope = -(x * smooth - kernel @ x) / bandwidth**2
    if energy == "porous":
        return x - 2 * tau * slope
    others = -(x * (kernel @ (1 / smooth)) - kernel @ (x / smooth)) / bandwidth**2
    return x + tau * (log_target(energy, x)[1] - slope / smooth - others)


def fisher_rao_law(energy: str, mean: float, std: float, times: np.ndarray) -> np.ndarray:
    """The gradient flow of KL in the Fisher–Rao metric, where mass may be made and unmade in place: [f, grid].

    p_t ∝ p_0^{e^{−t}} π^{1 − e^{−t}}: no barrier matters. Lu, Slepčev, Wang 2023, arXiv 2209.11305 (pure birth and death).
    """
    left = np.exp(-times)[:, None]
    logs = left * normal_log_density(GRID, mean, std) + (1 - left) * log_target(energy, GRID)[0]
    density = np.exp(logs - logs.max(1, keepdims=True))
    return density / (density.sum(1, keepdims=True) * (GRID[1] - GRID[0]))


def free_energy(energy: str, density: np.ndarray) -> np.ndarray:
    """KL to the target in nats, or ∫p² of the porous medium, of densities [f, grid]; [f]."""
    dx = GRID[1] - GRID[0]
    if energy == "porous":
        return np.square(density).sum(1) * dx
    safe = np.maximum(density, 1e-300)
    return (density * (np.log(safe) - log_target(energy, GRID)[0])).sum(1) * dx


def dissipation(energy: str, density: np.ndarray) -> np.ndarray:
    """The rate at which the flow loses energy, ∫ p |∇ δF/δp|², of densities [f, grid]; Fisher information for KL; [f]."""
    dx = GRID[1] - GRID[0]
    first = 2 * density if energy == "porous" else np.log(np.maximum(density, 1e-300)) - log_target(energy, GRID)[0]
    between = (density[:, 1:] + density[:, :-1]) / 2
    return np.where(between > 1e-14, between * (np.diff(first) / dx) ** 2, 0.0).sum(1) * dx


def quantile_energy(energy: str, x: np.ndarray) -> np.ndarray:
    """The same energy of laws given by quantiles [f, n], which is what the JKO steps lower; [f]."""
    n, gap = x.shape[1], np.diff(x)
    if energy == "porous":
        return (1 / (n * gap)).sum(1) / n
    return -log_target(energy, x)[0].mean(1) - np.log(n * gap).sum(1) / n


def smooth_density(x: np.ndarray) -> np.ndarray:
    """Kernel estimate on GRID of particles [f, n], half of Silverman's bandwidth, for there may be two modes; [f, grid]."""
    made = []
    for row in x:
        width = max(0.53 * row.std() * len(row) ** -0.2, 0.04)
        counts, _ = np.histogram(row, np.append(GRID - 0.0125, GRID[-1] + 0.0125))
        kernel = np.exp(-((GRID / width) ** 2) / 2)
        made.append(np.convolve(counts, kernel / kernel.sum(), "same") / (len(row) * (GRID[1] - GRID[0])))
    return np.stack(made)


def gap_density(x: np.ndarray) -> np.ndarray:
    """Density on GRID of laws given by quantiles [f, n]: 1/(n gap) between neighbours; [f, grid]."""
    n = x.shape[1]
    made = [np.interp(GRID, (row[1:] + row[:-1]) / 2, 1 / (n * np.diff(row)), 0, 0) for row in x]
    return np.stack(made)


def particle_run(
    method: str, energy: str, start: np.ndarray, tau: float, marks: np.ndarray, bandwidth: float, seed: int
) -> np.ndarray:
    """Places [f, n] at the steps `marks` of langevin, svgd or blob; Refusal that says the step where one leaves the grid."""
    rng, x, kept = np.random.default_rng(seed), start, [start]
    for step in range(1, int(marks[-1]) + 1):
        if method == "langevin":
            x = x + tau * log_target(energy, x)[1] + math.sqrt(2 * tau) * rng.standard_normal(len(x))
        else:
            x = (svgd_step if method == "svgd" else blob_step)(energy, x, tau, bandwidth)
        if not np.abs(x).max() < 1e3:
            raise Refusal(
                "The particles of {method} left the line at step {step}: take a smaller {parameter}.",
                parameter="tau",
                method=method,
                step=step,
            )
        kept += [x] * int((marks == step).sum())
    return np.stack(kept)


@dataclass(frozen=True)
class Downhill:
    """Laws on their way down, by several methods on one clock.

    energy: one of ENERGIES; tau: step size
    methods: their names [m]; those that the energy does not admit are left out
    times: float64 [f]; multiples of the step size
    x: float64 [g]; a grid
    density: float64 [m, f, g]; of langevin, svgd and blob smoothed for the eye
    target: float64 [g]; where KL leads; NaN for the porous medium
    energies: float64 [m, f]; KL in nats, or ∫p²; NaN of particles, which have no density
    gap: float; λ1, KL falls as e^{−2 λ1 t} in the end; NaN of the porous medium
    rate: float64 [f]; what the exact law loses per unit of time, Fisher information for KL
    distance: float64 [m, f]; W1 to the exact law at the same time
    mean, std, right: float64 [m, f]; of each law: mean, standard deviation, mass right of 0
    """

    energy: str
    tau: float
    methods: tuple[str, ...]
    times: np.ndarray
    x: np.ndarray
    density: np.ndarray
    target: np.ndarray
    energies: np.ndarray
    gap: float
    rate: np.ndarray
    distance: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    right: np.ndarray


@checked
def downhill(
    energy: Annotated[str, OneOf(ENERGIES)] = "two_wells",
    methods: Annotated[Sequence[str], SomeOf(METHODS)] = ("exact", "jko", "langevin", "fisher_rao"),
    mean: Annotated[float, Between(-3, 3)] = -2.0,
    std: Annotated[float, Between(0.1, 2)] = 0.4,
    tau: Annotated[float, Between(0.001, 0.5)] = 0.05,
    time: Annotated[float, Between(0.1, 5)] = 2.0,
    particles: Annotated[int, Between(10, 5000)] = 2000,
    bandwidth: Annotated[float, Between(0.05, 2)] = 0.3,
    seed: Annotated[int, Between(0, 999)] = 0,
    start: Annotated[str, OneOf(("line", *STARTS))] = "line",
) -> Downhill | PlaneDownhill:
    """The same descent in the space of laws by each method, in steps of tau.

    mean, std: of the law that it begins with, a Gaussian (for the porous medium Barenblatt's profile)
    particles: of Langevin; SVGD and blob, whose work grows with their square, have at most 200
    bandwidth: h of the kernels of SVGD and blob
    start: "line", or a target of the plane, whose energy is KL to N(0, I) whatever `energy` says
    """
    admitted = ADMITTED[energy] if start == "line" else OF_PLANE
    chosen = tuple(name for name in methods if name in admitted)
    if not chosen:
        raise Refusal(
            "{parameter}: this descent is followed by {known} alone.", parameter="methods", known=", ".join(admitted)
        )
    steps = max(1, round(time / tau))
    stepping = [name for name in chosen if name not in (CLOSED if start == "line" else ("exact",))]
    if steps * max(1, len(stepping)) > MOST_STEPS:
        raise Refusal(
            "{parameter} gives {steps} steps, of all methods at most {most}: make it larger, the time shorter, or the methods fewer.",
            parameter="tau",
            steps=steps * max(1, len(stepping)),
            most=MOST_STEPS,
        )
    marks = np.unique(np.round(np.linspace(0, steps, min(FRAMES, steps + 1))).astype(int))
    if start != "line":
        return in_plane(start, chosen, tau, marks, particles, bandwidth, seed)
    times = marks * tau
    truth = exact_law(energy, mean, std, times)
    dx = GRID[1] - GRID[0]
    rows = []
    for name in chosen:
        if name in ("exact", "fisher_rao"):
            density = truth if name == "exact" else fisher_rao_law(energy, mean, std, times)
            places = quantiles(density, QUANTILES)
            total, lost = density.sum(1) * dx, free_energy(energy, density)
            middle = density @ GRID * dx / total
            wide = np.sqrt(np.maximum(density @ GRID**2 * dx / total - middle**2, 0))
            right = (density[:, GRID > 0].sum(1) + density[:, GRID == 0].sum(1) / 2) * dx / total
        else:
            if name == "jko":
                places = jko_run(energy, start_quantiles(energy, mean, std, QUANTILES), tau, marks)
                density = gap_density(places)
                lost = quantile_energy(energy, places)
            elif name == "forward":
                gaussians = forward_gaussian(mean, std, tau, steps)[marks]
                places = np.stack([start_quantiles(energy, m, s, QUANTILES) for m, s in gaussians])
                density = np.stack([np.exp(normal_log_density(GRID, m, s)) for m, s in gaussians])
                lost = (gaussians[:, 0] ** 2 + gaussians[:, 1] ** 2 - 1) / 2 - np.log(gaussians[:, 1])
            else:
                count = particles if name == "langevin" else min(particles, 200)
                begin = start_quantiles(energy, mean, std, count)
                places = np.sort(particle_run(name, energy, begin, tau, marks, bandwidth, seed), 1)
                density, lost = smooth_density(places), np.full(len(times), np.nan)
            middle, wide, right = places.mean(1), places.std(1), (places > 0).mean(1)
        away = np.abs(places - quantiles(truth, places.shape[1])).mean(1)
        rows.append((density, lost, away, middle, wide, right))
    density, lost, away, middle, wide, right = (np.stack(column) for column in zip(*rows, strict=True))
    target = np.full(len(GRID), np.nan) if energy == "porous" else np.exp(log_target(energy, GRID)[0])
    rate = dissipation(energy, truth)
    gap = spectral_gap(energy)
    return Downhill(energy, tau, chosen, times, GRID, density, target, lost, gap, rate, away, middle, wide, right)
