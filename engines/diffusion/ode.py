"""Samplers of the probability flow ODE dx/dσ = (x − D(x; σ))/σ; generators with the signature that `samplers` explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from torch import Tensor, lerp

from engines.arguments import Between, checked
from engines.diffusion.paths import PATHS, Path

Denoiser = Callable[[Tensor, float], Tensor]
Middle = Callable[[float, float], float]
Steps = Iterator[tuple[Tensor, Tensor]]
VE = PATHS["ve"]


def weighted_sum(*terms: tuple[float, Tensor]) -> Tensor:
    """Σ weight · tensor, into one new tensor: beside a cheap denoiser, fresh memory is what a step costs most."""
    (weight, tensor), *others = terms
    total = tensor * weight
    for weight, tensor in others:
        total.add_(tensor, alpha=weight)
    return total


def geometric_mean(sigma: float, sigma_next: float) -> float:
    """The middle of a step in log σ."""
    return math.sqrt(sigma * sigma_next)


# -- in the path's own time -------------------------------------------------------------------------------------------


def velocity(denoise: Denoiser, path: Path, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """(dy/dτ, D) at the scaled state y = s x."""
    denoised = denoise(y if path is VE else y / path.scale(sigma), sigma)
    a, b = path.flow(sigma)
    return ((y - denoised).mul_(a) if a == b else weighted_sum((a, y), (-b, denoised))), denoised


# rows of the Butcher tableau below the first, then the weights; a row sums to the stage's place in the step
TABLEAUS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": ((), (1.0,)),
    "midpoint": (((1 / 2,),), (0.0, 1.0)),
    "heun": (((1.0,),), (1 / 2, 1 / 2)),
    "rk4": (((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def runge_kutta_step(
    denoise: Denoiser, path: Path, name: str, x: Tensor, sigma: float, sigma_next: float
) -> tuple[Tensor, Tensor]:
    """(x at sigma_next, D at sigma) by one explicit Runge–Kutta step of TABLEAUS; Euler's where the step ends at 0."""
    rows, weights = TABLEAUS[name if sigma_next > 0 else "euler"]
    start, end = path.time(sigma), path.time(sigma_next)
    y = x if path is VE else x * path.scale(sigma)
    slope, denoised = velocity(denoise, path, y, sigma)
    slopes = [slope]
    for row in rows:
        stage = weighted_sum((1.0, y), *((w * (end - start), k) for w, k in zip(row, slopes, strict=True) if w))
        time = start + sum(row) * (end - start)
        slopes.append(velocity(denoise, path, stage, sigma_next if time == end else path.sigma(time))[0])
    y = weighted_sum((1.0, y), *((w * (end - start), k) for w, k in zip(weights, slopes, strict=True) if w))
    return (y if path is VE else y / path.scale(sigma_next)), denoised


def runge_kutta(name: str, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], path: Path) -> Steps:
    """Steps of one Runge–Kutta method of TABLEAUS."""
    for sigma, sigma_next in pairwise(sigmas):
        x, denoised = runge_kutta_step(denoise, path, name, x, sigma, sigma_next)
        yield x, denoised


def euler(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, path: Path = VE) -> Steps:
    """Euler's method. Order 1, 1 call a step.

    On the paths "ve" and "rf" it is DDIM at η = 0; Karras et al. 2022, arXiv 2206.00364, Section 3.
    """
    return runge_kutta("euler", denoise, x, sigmas, path)


def heun(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, path: Path = VE) -> Steps:
    """Heun's method, also called the explicit trapezoid rule. Order 2, 2 calls a step.

    On the path "ve" it is EDM's deterministic sampler: Karras et al. 2022, arXiv 2206.00364, Algorithm 1.
    """
    return runge_kutta("heun", denoise, x, sigmas, path)


def midpoint(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, path: Path = VE) -> Steps:
    """The explicit midpoint method in the path's time. Order 2, 2 calls a step; `dpm_2` has its midpoint in log σ."""
    return runge_kutta("midpoint", denoise, x, sigmas, path)


def rk4(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, path: Path = VE) -> Steps:
    """The classical Runge–Kutta method. Order 4, 4 calls a step."""
    return runge_kutta("rk4", denoise, x, sigmas, path)


GAUSS_POINTS, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(24)


def lagrange_integrals(nodes: Sequence[float], start: float, end: float, weight=np.ones_like) -> list[float]:
    """∫ L_j(u) weight(u) du from start to end for each Lagrange polynomial on `nodes`, by 24 Gauss points."""
    u = start + (end - start) * (GAUSS_POINTS + 1) / 2
    masses = GAUSS_WEIGHTS * (end - start) / 2 * weight(u)
    nodes = np.asarray(nodes)
    basis = [np.prod([(u - m) / (n - m) for m in np.delete(nodes, j)], axis=0) for j, n in enumerate(nodes)]
    return [float(np.sum(masses * values)) for values in basis]


@checked
def lms(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: Annotated[int, Between(1, 4)] = 4, path: Path = VE
) -> Steps:
    """Linear multistep: Adams–Bashforth on an uneven grid. Order `order`, 1 call a step; begins at lower orders.

    Also called PLMS; the linear multistep part of PNDM (Liu et al. 2022, arXiv 2202.09778), whose grid is even.
    """
    times, slopes = [], []
    for sigma, sigma_next in pairwise(sigmas):
        y = x if path is VE else x * path.scale(sigma)
        slope, denoised = velocity(denoise, path, y, sigma)
        times, slopes = [path.time(sigma), *times][:order], [slope, *slopes][:order]
        weights = lagrange_integrals(times, times[0], path.time(sigma_next))
        y = weighted_sum((1.0, y), *zip(weights, slopes, strict=True))
        x = y if path is VE else y / path.scale(sigma_next)
        yield x, denoised


# -- exponential integrators in log σ, the same on every path ---------------------------------------------------------


@checked
def deis(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: Annotated[int, Between(1, 4)] = 3) -> Steps:
    """tAB-DEIS with polynomials in log σ. Order `order`, 1 call a step; begins at lower orders.

    A multistep method on the noise, (x − D)/σ: Zhang & Chen 2022, arXiv 2204.13902, Eq. 15.
    """
    logs, slopes = [], []
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        logs, slopes = [math.log(sigma), *logs][:order], [(x - denoised).div_(sigma), *slopes][:order]
        if sigma_next > 0:
            weights = lagrange_integrals(logs, logs[0], math.log(sigma_next), np.exp)
            x = weighted_sum((1.0, x), *zip(weights, slopes, strict=True))
        else:
            x = denoised
        yield x, denoised


def dpm_2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, middle: Middle = geometric_mean) -> Steps:
    """DPM-Solver-2, a singlestep method on the noise. Order 2, 2 calls a step.

    middle: (σ, σ_next) -> the level of the second call, by default the midpoint in log σ (r = 1/2)
    Lu et al. 2022, arXiv 2206.00927, Algorithm 1; k-diffusion's dpm_2, diffusers' KDPM2.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        slope = (x - denoised).div_(sigma)
        if sigma_next > 0:
            sigma_mid = middle(sigma, sigma_next)
            inner = x.add(slope, alpha=sigma_mid - sigma)
            slope = lerp(
                slope, (inner - denoise(inner, sigma_mid)).div_(sigma_mid), reach(sigma, sigma_mid, sigma_next)
            )
        x = x.add(slope, alpha=sigma_next - sigma)
        yield x, denoised


def reach(sigma: float, sigma_mid: float, sigma_next: float) -> float:
    """1/(2r), the weight of a second call at sigma_mid, where r is its place in the step in log σ; 1 in the middle."""
    return math.log(sigma / sigma_next) / (2 * math.log(sigma / sigma_mid))


def dpm_3(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver-3, a singlestep method on the noise, r = 1/3 and 2/3. Order 3, 3 calls a step.

    Lu et al. 2022, arXiv 2206.00927, Algorithm 2.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        slope = (x - denoised).div_(sigma)
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            near, far = sigma * math.exp(-h / 3), sigma * math.exp(-2 * h / 3)
            inner = x.add(slope, alpha=near - sigma)
            change = (inner - denoise(inner, near)).div_(near).sub_(slope)
            curvature = 2 * far * (math.expm1(2 * h / 3) / (2 * h / 3) - 1)
            inner = x.add(slope, alpha=far - sigma).sub_(change, alpha=curvature)
            change = (inner - denoise(inner, far)).div_(far).sub_(slope)
            x = x.sub(change, alpha=1.5 * sigma_next * (math.expm1(h) / h - 1))
        x = x.add(slope, alpha=sigma_next - sigma)
        yield x, denoised


def dpmpp_2s(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, middle: Middle = geometric_mean) -> Steps:
    """DPM-Solver++(2S), a singlestep method on the data. Order 2, 2 calls a step.

    middle: (σ, σ_next) -> the level of the second call, by default the midpoint in log σ (r = 1/2).
    Lu et al. 2022, arXiv 2211.01095, Algorithm 1.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = blend = denoise(x, sigma)
        if sigma_next > 0:
            sigma_mid = middle(sigma, sigma_next)
            inner = denoise(lerp(denoised, x, sigma_mid / sigma), sigma_mid)
            blend = lerp(denoised, inner, reach(sigma, sigma_mid, sigma_next))
        x = lerp(blend, x, sigma_next / sigma)
        yield x, denoised


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver++(2M), a multistep method on the data. Order 2, 1 call a step; begins at order 1.

    Lu et al. 2022, arXiv 2211.01095, Algorithm 2.
    """
    earlier, last_h = None, 0.0
    for sigma, sigma_next in pairwise(sigmas):
        denoised = blend = denoise(x, sigma)
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            if earlier is not None:
                blend = lerp(earlier, denoised, 1 + h / (2 * last_h))
            last_h = h
        x, earlier = lerp(blend, x, sigma_next / sigma), denoised
        yield x, denoised


def third_order_multistep(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], last_term: float) -> Steps:
    """DPM-Solver++(3M) with a factor of its last term."""
    past, steps = [], []  # newest first: denoised estimates, and the log-σ lengths of the steps between them
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        past = [denoised, *past][:3]
        x = lerp(denoised, x, sigma_next / sigma)
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            phi_2 = math.expm1(-h) / h + 1
            phi_3 = phi_2 / h - 0.5
            slopes = [(past[i] - past[i + 1]).mul_(h / steps[i]) for i in range(len(past) - 1)]
            if len(slopes) == 2:
                curvature = (slopes[0] - slopes[1]).mul_(h / (steps[0] + steps[1]))
                x.add_(curvature, alpha=phi_2 * steps[0] / h - phi_3 * last_term)
            if slopes:
                x.add_(slopes[0], alpha=phi_2)
            steps = [h, *steps][:2]
        yield x, denoised


def dpmpp_3m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver++(3M) as its authors' code, k-diffusion and diffusers have it. Order measured 1.9, 1 call a step.

    Lu et al. 2022, arXiv 2211.01095, leave the third order to the code, whose last term is half of Taylor's.
    """
    return third_order_multistep(denoise, x, sigmas, 1.0)


def dpmpp_3m_doubled(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver++(3M) with its last term doubled, as Taylor's formula has it. Order 3, 1 call a step."""
    return third_order_multistep(denoise, x, sigmas, 2.0)


@checked
def unipc(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: Annotated[int, Between(1, 4)] = 3) -> Steps:
    """UniPC with B(h) = e^h − 1 and its corrector, which costs no call. Order `order` + 1, 1 call a step.

    Begins and ends at lower orders. Zhao et al. 2023, arXiv 2302.04867, Algorithms 5 and 6, with their shortcut of 1/2
    for the coefficients of UniP-2 and UniC-1.
    """

    def coefficients(ratios: list[float], h: float) -> list[float]:
        if len(ratios) == 1:
            return [0.5]
        phi, moments = math.expm1(-h) / -h - 1, []
        for power in range(1, len(ratios) + 1):
            moments.append(phi * math.factorial(power) / math.expm1(-h))
            phi = phi / -h - 1 / math.factorial(power + 1)
        return np.linalg.solve(np.vander(ratios, increasing=True).T, moments).tolist()

    def move(x: Tensor, base: Tensor, others: list[Tensor], ratios: list[float], h: float) -> Tensor:
        """e^−h x + (1 − e^−h) (base + Σ weight (other − base)/ratio)."""
        weights = coefficients(ratios, h) if ratios else []
        shares = [-math.expm1(-h) * w / r for w, r in zip(weights, ratios, strict=True)]
        kept = (math.exp(-h), x), (-math.expm1(-h) - sum(shares), base)
        return weighted_sum(*kept, *zip(shares, others, strict=True))

    past: list[tuple[float, Tensor]] = []  # (log σ, denoised), newest first
    before, h = None, 0.0  # the state that the last step began with, and its length in log σ
    sigmas = list(sigmas)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if before is not None:  # correct the state that this estimate was made at
            (base_log, base), *earlier = past
            ratios = [*((base_log - log) / h for log, _ in earlier), 1.0]
            x = move(before, base, [*(d for _, d in earlier), denoised], ratios, h)
        past = [(math.log(sigma), denoised), *past][: min(order, len(sigmas) - 1 - i)]
        if sigma_next > 0:
            before, h = x, math.log(sigma / sigma_next)
            ratios = [(past[0][0] - log) / h for log, _ in past[1:]]
            x = move(x, denoised, [d for _, d in past[1:]], ratios, h)
        else:
            x = denoised
        yield x, denoised
