"""Samplers of the probability flow ODE and of the reverse SDE, in the dtype of x.

Every sampler is a generator with one signature, (denoise, x, sigmas, ...): it takes the state x = data + σ ε at
sigmas[0] and yields (x, denoised) after each step, denoised being the estimate of the data that the step began with.
`denoise(x, sigma)` is E[data | x]; `sigmas` are plain floats that fall, the last of which may be 0.
A step to 0 that would need the denoiser at 0 is a plain Euler step, as in Karras et al. 2022, Algorithm 1.

In these coordinates the flow is dx/dσ = (x − D)/σ whatever the path (Karras et al. 2022, Eq. 3 and 81). Samplers that
take a `path` step in its time and scale instead; all others come out the same on every path.

diffusers' schedulers keep their tables in float32, where errors stop falling near 1e-4; orders need float64.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from engines.diffusion.paths import MAX_STEPS, PATHS, Path

Denoiser = Callable[[Tensor, float], Tensor]
Noise = Callable[[Tensor], Tensor]
Steps = Iterator[tuple[Tensor, Tensor]]
VE = PATHS["ve"]


def _sum(*terms: tuple[float, Tensor]) -> Tensor:
    """Σ weight · tensor, into one new tensor: beside a cheap denoiser, fresh memory is what a step costs most."""
    (weight, tensor), *others = terms
    total = tensor * weight
    for weight, tensor in others:
        total.add_(tensor, alpha=weight)
    return total


# -- ODE: steps in the path's own time ------------------------------------------------------------------------------


def _velocity(denoise: Denoiser, path: Path, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """(dy/dτ, D) at the scaled state y = s x."""
    denoised = denoise(y if path is VE else y / path.scale(sigma), sigma)
    a, b = path.flow(sigma)
    return ((y - denoised).mul_(a) if a == b else _sum((a, y), (-b, denoised))), denoised


# rows of the Butcher tableau below the first, then the weights; a row sums to the stage's place in the step
TABLEAUS = {
    "euler": ((), (1.0,)),
    "midpoint": (((1 / 2,),), (0.0, 1.0)),
    "heun": (((1.0,),), (1 / 2, 1 / 2)),
    "rk4": (((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def _runge_kutta_step(denoise, path, name, x, sigma, following):
    """One explicit Runge–Kutta step; Euler where the step ends at 0."""
    rows, weights = TABLEAUS[name if following > 0 else "euler"]
    start, end = path.time(sigma), path.time(following)
    y = x if path is VE else x * path.scale(sigma)
    slope, denoised = _velocity(denoise, path, y, sigma)
    slopes = [slope]
    for row in rows:
        stage = _sum((1.0, y), *((w * (end - start), k) for w, k in zip(row, slopes, strict=True) if w))
        time = start + sum(row) * (end - start)
        slopes.append(_velocity(denoise, path, stage, following if time == end else path.sigma(time))[0])
    y = _sum((1.0, y), *((w * (end - start), k) for w, k in zip(weights, slopes, strict=True) if w))
    return (y if path is VE else y / path.scale(following)), denoised


def _runge_kutta(name: str):
    def sample(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, path: Path = VE) -> Steps:
        for sigma, following in pairwise(sigmas):
            x, denoised = _runge_kutta_step(denoise, path, name, x, sigma, following)
            yield x, denoised

    return sample


def edm_churn(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    s_churn: float = 40.0,
    s_tmin: float = 0.05,
    s_tmax: float = 50.0,
    s_noise: float = 1.003,
    path: Path = VE,
) -> Steps:
    """Heun with noise added before each step between s_tmin and s_tmax: Karras et al. 2022, Algorithm 2."""
    most = min(s_churn / (len(sigmas) - 1), math.sqrt(2) - 1)
    for sigma, following in pairwise(sigmas):
        raised = sigma * (1 + (most if s_tmin <= sigma <= s_tmax else 0.0))
        if raised > sigma:
            x = x.add(noise(x), alpha=s_noise * math.sqrt(raised**2 - sigma**2))
        x, denoised = _runge_kutta_step(denoise, path, "heun", x, raised, following)
        yield x, denoised


_GAUSS = np.polynomial.legendre.leggauss(24)


def _lagrange_integrals(nodes: Sequence[float], start: float, end: float, weight=np.ones_like) -> list[float]:
    """∫ L_j(u) weight(u) du from start to end for each Lagrange polynomial on `nodes`, by 24 Gauss points."""
    points, masses = _GAUSS
    u = start + (end - start) * (points + 1) / 2
    masses = masses * (end - start) / 2 * weight(u)
    nodes = np.asarray(nodes)
    basis = [np.prod([(u - m) / (n - m) for m in np.delete(nodes, j)], axis=0) for j, n in enumerate(nodes)]
    return [float(np.sum(masses * values)) for values in basis]


def lms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: int = 4, path: Path = VE) -> Steps:
    """Linear multistep (Adams–Bashforth on an uneven grid), orders 1 to 4; Liu et al. 2022, arXiv 2202.09778 (PNDM)."""
    _check_order(order, 4)
    times, slopes = [], []
    for sigma, following in pairwise(sigmas):
        y = x if path is VE else x * path.scale(sigma)
        slope, denoised = _velocity(denoise, path, y, sigma)
        times, slopes = [path.time(sigma), *times][:order], [slope, *slopes][:order]
        weights = _lagrange_integrals(times, times[0], path.time(following))
        y = _sum((1.0, y), *zip(weights, slopes, strict=True))
        x = y if path is VE else y / path.scale(following)
        yield x, denoised


def _check_order(order: int, most: int) -> None:
    if order not in range(1, most + 1):
        raise ValueError(f"order must be a whole number from 1 to {most}.")


# -- ODE: exponential integrators in log-SNR, the same on every path -------------------------------------------------


def deis(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: int = 3) -> Steps:
    """tAB-DEIS with polynomials in log σ, orders 1 to 4: Zhang & Chen 2022, arXiv 2204.13902, Eq. 15."""
    _check_order(order, 4)
    logs, slopes = [], []
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        logs, slopes = [math.log(sigma), *logs][:order], [(x - denoised).div_(sigma), *slopes][:order]
        if following > 0:
            weights = _lagrange_integrals(logs, logs[0], math.log(following), np.exp)
            x = _sum((1.0, x), *zip(weights, slopes, strict=True))
        else:
            x = denoised
        yield x, denoised


def dpm_2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver-2, the midpoint in log σ: Lu et al. 2022, arXiv 2206.00927, Algorithm 1."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        slope = (x - denoised).div_(sigma)
        if following > 0:
            middle = math.sqrt(sigma * following)
            inner = x.add(slope, alpha=middle - sigma)
            slope = (inner - denoise(inner, middle)).div_(middle)
        x = x.add(slope, alpha=following - sigma)
        yield x, denoised


def dpm_3(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver-3, r = 1/3 and 2/3: Lu et al. 2022, arXiv 2206.00927, Algorithm 2."""
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        slope = (x - denoised).div_(sigma)
        if following > 0:
            h = math.log(sigma / following)
            near, far = sigma * math.exp(-h / 3), sigma * math.exp(-2 * h / 3)
            inner = x.add(slope, alpha=near - sigma)
            change = (inner - denoise(inner, near)).div_(near).sub_(slope)
            bent = 2 * far * (math.expm1(2 * h / 3) / (2 * h / 3) - 1)
            inner = x.add(slope, alpha=far - sigma).sub_(change, alpha=bent)
            change = (inner - denoise(inner, far)).div_(far).sub_(slope)
            x = x.sub(change, alpha=1.5 * following * (math.expm1(h) / h - 1))
        x = x.add(slope, alpha=following - sigma)
        yield x, denoised


def dpmpp_2s(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver++(2S), r = 1/2: Lu et al. 2022, arXiv 2211.01095, Algorithm 1."""
    for sigma, following in pairwise(sigmas):
        denoised = latest = denoise(x, sigma)
        if following > 0:
            middle = math.sqrt(sigma * following)
            latest = denoise(torch.lerp(denoised, x, middle / sigma), middle)
        x = torch.lerp(latest, x, following / sigma)
        yield x, denoised


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
    """DPM-Solver++(2M): Lu et al. 2022, arXiv 2211.01095, Algorithm 2."""
    earlier, last_h = None, 0.0
    for sigma, following in pairwise(sigmas):
        denoised = blend = denoise(x, sigma)
        if following > 0:
            h = math.log(sigma / following)
            if earlier is not None:
                blend = torch.lerp(earlier, denoised, 1 + h / (2 * last_h))
            last_h = h
        x, earlier = torch.lerp(blend, x, following / sigma), denoised
        yield x, denoised


def _third_order_multistep(doubled: bool):
    def sample(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Steps:
        past, steps = [], []  # newest first: denoised estimates, and the log-σ lengths of the steps between them
        for sigma, following in pairwise(sigmas):
            denoised = denoise(x, sigma)
            past = [denoised, *past][:3]
            x = torch.lerp(denoised, x, following / sigma)
            if following > 0:
                h = math.log(sigma / following)
                phi_2 = math.expm1(-h) / h + 1
                phi_3 = phi_2 / h - 0.5
                slopes = [(past[i] - past[i + 1]).mul_(h / steps[i]) for i in range(len(past) - 1)]
                if len(slopes) == 2:
                    bend = (slopes[0] - slopes[1]).mul_(h / (steps[0] + steps[1]))
                    x.add_(bend, alpha=phi_2 * steps[0] / h - phi_3 * (2 if doubled else 1))
                if slopes:
                    x.add_(slopes[0], alpha=phi_2)
                steps = [h, *steps][:2]
            yield x, denoised

    return sample


def unipc(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, order: int = 3) -> Steps:
    """UniPC-p with B(h) = e^h − 1 and its free corrector, orders 1 to 4: Zhao et al. 2023, arXiv 2302.04867, Alg. 5–6.

    The published shortcut of 1/2 for the coefficients of UniP-2 and UniC-1 is kept. Starts and ends at lower order.
    """
    _check_order(order, 4)

    def coefficients(ratios: list[float], h: float) -> list[float]:
        if len(ratios) == 1:
            return [0.5]
        phi, moments = math.expm1(-h) / -h - 1, []
        for power in range(1, len(ratios) + 1):
            moments.append(phi * math.factorial(power) / math.expm1(-h))
            phi = phi / -h - 1 / math.factorial(power + 1)
        return np.linalg.solve(np.vander(ratios, increasing=True).T, moments).tolist()

    def moved(x: Tensor, base: Tensor, others: list[Tensor], ratios, weights, h: float) -> Tensor:
        """e^−h x + (1 − e^−h) (base + Σ weight (other − base)/ratio)."""
        shares = [-math.expm1(-h) * w / r for w, r in zip(weights, ratios, strict=True)]
        kept = (math.exp(-h), x), (-math.expm1(-h) - sum(shares), base)
        return _sum(*kept, *zip(shares, others, strict=True))

    past: list[tuple[float, Tensor]] = []  # (log σ, denoised), newest first
    before, step = None, 0.0  # the state that the last step began with, and its length
    sigmas = list(sigmas)
    for i, (sigma, following) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if before is not None:  # correct the state that this estimate was made at, at no cost
            base = past[0]
            ratios = [(base[0] - log) / step for log, _ in past[1:]]
            ratios.append(1.0)
            weights = coefficients(ratios, step)
            x = moved(before, base[1], [*(d for _, d in past[1:]), denoised], ratios, weights, step)
        past = [(math.log(sigma), denoised), *past][: min(order, len(sigmas) - 1 - i)]
        if following > 0:
            before, step = x, math.log(sigma / following)
            ratios = [(past[0][0] - log) / step for log, _ in past[1:]]
            weights = coefficients(ratios, step) if ratios else []
            x = moved(x, denoised, [d for _, d in past[1:]], ratios, weights, step)
        else:
            x = denoised
        yield x, denoised


# -- stochastic -----------------------------------------------------------------------------------------------------


def _ancestral(sigma: float, following: float, eta: float) -> tuple[float, float]:
    """(the level to step down to, the noise to add) so that together they make `following`."""
    up = min(following, eta * following * math.sqrt(sigma**2 - following**2) / sigma)
    return math.sqrt(following**2 - up**2), up


def euler_ancestral(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: float = 1.0, s_noise: float = 1.0
) -> Steps:
    """Euler to a lower level, then noise up to the next: k-diffusion's ancestral step.

    DDIM's σ_η (Song et al. 2020, arXiv 2010.02502, Eq. 16), written in these coordinates, is exactly this up-step, so
    DDIM at any η is this function; at η = 1 it is DDPM with the small variance, at η = 0 it is Euler.
    """
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        down, up = _ancestral(sigma, following, eta)
        x = torch.lerp(denoised, x, down / sigma)
        if up > 0:
            x.add_(noise(x), alpha=s_noise * up)
        yield x, denoised


def ddim(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: float = 0.0) -> Steps:
    """DDIM: Song et al. 2020, arXiv 2010.02502, Eq. 12 and 16; see `euler_ancestral`."""
    return euler_ancestral(denoise, x, sigmas, noise=noise, eta=eta)


def ddpm(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, variance: str = "fixed_small"
) -> Steps:
    """Ancestral sampling with the posterior variance ("fixed_small") or β ("fixed_large"); none in the last step.

    Ho et al. 2020, arXiv 2006.11239, Eq. 7 and Section 3.2.
    """
    if variance not in ("fixed_small", "fixed_large"):
        raise ValueError("variance must be fixed_small or fixed_large.")
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        x = torch.lerp(denoised, x, (following / sigma) ** 2)
        if following > 0:
            removed = (sigma**2 - following**2) / sigma**2
            spread = following**2 * removed
            if variance == "fixed_large":  # β/ᾱ', as x here is the path's divided by √ᾱ'
                spread = (1 + following**2) * (sigma**2 - following**2) / (1 + sigma**2)
            x.add_(noise(x), alpha=math.sqrt(spread))
        yield x, denoised


def euler_maruyama(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, path: Path = VE) -> Steps:
    """Euler–Maruyama on the reverse SDE in the path's time; no noise in a last step to 0.

    Song et al. 2020, arXiv 2011.13456, Eq. 6. With q = σ'/σ the drift is (a + q) y − 2 b D and g² = 2 s² σ² q.
    """
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        a, b = path.flow(sigma)
        scale = path.scale(sigma)
        q, step = b / scale, path.time(following) - path.time(sigma)
        x = _sum((scale * (1 + (a + q) * step), x), (-2 * b * step, denoised))
        if following > 0:
            x.add_(noise(x), alpha=scale * sigma * math.sqrt(-2 * q * step))
        x.div_(path.scale(following))
        yield x, denoised


def dpmpp_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: float = 1.0) -> Steps:
    """DPM-Solver++ (SDE), two stages, r = 1/2: the singlestep SDE sampler of k-diffusion, after Lu et al. 2022.

    The noise of the whole step contains that of its first half, as increments of one Brownian motion in σ.
    """
    for sigma, following in pairwise(sigmas):
        denoised = latest = denoise(x, sigma)
        if following > 0:
            middle = math.sqrt(sigma * following)
            down, up = _ancestral(sigma, middle, eta)
            first = noise(x)
            inner = torch.lerp(denoised, x, down / sigma).add_(first, alpha=up)
            latest = denoise(inner, middle)
            share = (sigma - middle) / (sigma - following)
            down, up = _ancestral(sigma, following, eta)
            x = torch.lerp(latest, x, down / sigma)
            x.add_(first, alpha=up * math.sqrt(share)).add_(noise(x), alpha=up * math.sqrt(1 - share))
        else:
            x = denoised
        yield x, denoised


def dpmpp_2m_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: float = 1.0) -> Steps:
    """DPM-Solver++(2M) SDE, midpoint form: Lu et al. 2022, arXiv 2211.01095, Section 5."""
    earlier, last_h = None, 0.0
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        if following > 0:
            h = math.log(sigma / following)
            decay = (following / sigma) * math.exp(-eta * h)
            x = torch.lerp(denoised, x, decay)
            if earlier is not None:
                x.add_(denoised - earlier, alpha=0.5 * (1 - decay) * h / last_h)
            if eta:
                x.add_(noise(x), alpha=following * math.sqrt(-math.expm1(-2 * eta * h)))
            last_h = h
        else:
            x = denoised
        earlier = denoised
        yield x, denoised


def predictor_corrector(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, snr: float = 0.16, corrections: int = 1
) -> Steps:
    """Reverse diffusion, then Langevin steps at the new level; none in a last step to 0.

    Song et al. 2020, arXiv 2011.13456, Algorithms 2 and 4: step 2 (snr ‖z‖/‖score‖)², norms averaged over particles.
    """
    if corrections not in range(11):
        raise ValueError("corrections must be a whole number from 0 to 10.")
    for sigma, following in pairwise(sigmas):
        denoised = denoise(x, sigma)
        if following > 0:
            x = torch.lerp(denoised, x, (following / sigma) ** 2)
            x.add_(noise(x), alpha=math.sqrt(sigma**2 - following**2))
            for _ in range(corrections):
                score, z = (denoise(x, following) - x).div_(following**2), noise(x)
                ratio = z.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean()
                step = 2 * (snr * ratio) ** 2
                x = torch.addcmul(x, score, step).addcmul_(z, (2 * step).sqrt())
        else:
            x = denoised
        yield x, denoised


# -- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampler:
    """run: the generator; stages: denoiser calls a step; order: of convergence in theory, None where stochastic."""

    label: str
    run: Callable[..., Steps]
    stages: int
    order: int | None

    @property
    def stochastic(self) -> bool:
        return "noise" in inspect.signature(self.run).parameters and self.run is not ddim

    @property
    def options(self) -> set[str]:
        """What `solve` passes on to it."""
        return set(inspect.signature(self.run).parameters) - {"denoise", "x", "sigmas", "noise", "path"}


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler("Euler", _runge_kutta("euler"), 1, 1),
    "heun": Sampler("Heun (EDM)", _runge_kutta("heun"), 2, 2),
    "midpoint": Sampler("midpoint", _runge_kutta("midpoint"), 2, 2),
    "rk4": Sampler("RK4", _runge_kutta("rk4"), 4, 4),
    "lms": Sampler("LMS (Adams–Bashforth)", lms, 1, 4),
    "dpm_2": Sampler("DPM-Solver-2", dpm_2, 2, 2),
    "dpm_3": Sampler("DPM-Solver-3", dpm_3, 3, 3),
    "dpmpp_2s": Sampler("DPM-Solver++ 2S", dpmpp_2s, 2, 2),
    "dpmpp_2m": Sampler("DPM-Solver++ 2M", dpmpp_2m, 1, 2),
    # Lu et al. 2022b leave the third order to the code; as published there its last term is half of Taylor's
    "dpmpp_3m": Sampler("DPM-Solver++ 3M (as published)", _third_order_multistep(doubled=False), 1, 3),
    "dpmpp_3m_doubled": Sampler("DPM-Solver++ 3M (term doubled)", _third_order_multistep(doubled=True), 1, 3),
    "deis": Sampler("DEIS", deis, 1, 3),
    "unipc": Sampler("UniPC", unipc, 1, 4),
    "ddim": Sampler("DDIM", ddim, 1, 1),
    "ddpm": Sampler("DDPM ancestral", ddpm, 1, None),
    "euler_ancestral": Sampler("Euler ancestral", euler_ancestral, 1, None),
    "euler_maruyama": Sampler("Euler–Maruyama (SDE)", euler_maruyama, 1, None),
    "dpmpp_sde": Sampler("DPM-Solver++ SDE", dpmpp_sde, 2, None),
    "dpmpp_2m_sde": Sampler("DPM-Solver++ 2M SDE", dpmpp_2m_sde, 1, None),
    "predictor_corrector": Sampler("predictor–corrector", predictor_corrector, 2, None),
    "edm_churn": Sampler("EDM with churn", edm_churn, 2, None),
}


def _steps(sampler, denoise, x, sigmas, path, seed, noise, options) -> Steps:
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}.")
    if path not in PATHS:
        raise ValueError(f"path must be one of {', '.join(PATHS)}.")
    levels = [float(s) for s in (sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas)]
    if not 2 <= len(levels) <= MAX_STEPS + 1:
        raise ValueError(f"sigmas must hold 2 to {MAX_STEPS + 1} noise levels: at least one step.")
    if not (math.isfinite(levels[0]) and levels[-1] >= 0 and all(a > b for a, b in pairwise(levels))):
        raise ValueError("sigmas must be finite and fall from noise to data; only the last may be 0.")
    entry = SAMPLERS[sampler]
    unknown = set(options) - entry.options
    if unknown:
        has = ", ".join(sorted(entry.options)) or "none"
        raise ValueError(f"{sampler} has no option {', '.join(sorted(unknown))}; its options: {has}.")
    parameters = inspect.signature(entry.run).parameters
    if "path" in parameters:
        options = {**options, "path": PATHS[path]}
    if "noise" in parameters:
        if noise is None:
            generator = torch.Generator(x.device).manual_seed(seed)

            def noise(like):
                # drawn in single precision: several times as fast, and its grain is far below what chance leaves
                drawn = torch.randn(like.shape, generator=generator, dtype=torch.float32, device=like.device)
                return drawn.to(like.dtype)

        options = {**options, "noise": noise}
    return entry.run(denoise, x, levels, **options)


def solve(
    sampler: str,
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    path: str = "ve",
    seed: int = 0,
    noise: Noise | None = None,
    callback: Callable[[Tensor, int, float, Tensor], None] | None = None,
    **options,
) -> Tensor:
    """Samples: x (at noise level sigmas[0]; x = data + σ ε, unscaled) brought to sigmas[-1]. Same shape as x.

    sampler: a name of SAMPLERS; path: a name of PATHS, the time and scale in which Runge–Kutta, LMS and
    Euler–Maruyama step; seed: of the noise of stochastic samplers; noise: (like) -> standard normal draws instead;
    callback: called as (x, i, sigma, denoised) with the state at the beginning of each step; options: the sampler's
    own (eta, order, variance, s_churn, ...). Raises ValueError for unknown names or levels that do not fall.
    """
    levels = sigmas.tolist() if isinstance(sigmas, Tensor) else list(sigmas)
    for i, (following, denoised) in enumerate(_steps(sampler, denoise, x, levels, path, seed, noise, options)):
        if callback is not None:
            callback(x, i, levels[i], denoised)
        x = following
    return x


def trajectory(
    sampler: str, denoise: Denoiser, x: Tensor, sigmas: Tensor | Sequence[float], **options
) -> tuple[Tensor, Tensor]:
    """Every state, [steps + 1, *x.shape], and every denoised estimate, [steps, *x.shape]. Arguments as for `solve`."""
    states, estimates = [x], []
    keywords = {name: options.pop(name) for name in ("path", "seed", "noise") if name in options}
    defaults = {"path": "ve", "seed": 0, "noise": None} | keywords
    for state, denoised in _steps(sampler, denoise, x, sigmas, **defaults, options=options):
        states.append(state)
        estimates.append(denoised)
    return torch.stack(states), torch.stack(estimates)


def evaluations(sampler: str, steps: int, corrections: int = 1) -> int:
    """Denoiser calls (NFE) for that many steps on a grid that ends at 0, where the last step costs one."""
    stages = 1 + corrections if sampler == "predictor_corrector" else SAMPLERS[sampler].stages
    return stages * (steps - 1) + 1


def steps_within(sampler: str, calls: int) -> int:
    """The most steps, at least 1, that spend no more than `calls` denoiser calls on a grid that ends at 0."""
    return max(1, (calls - 1) // SAMPLERS[sampler].stages + 1)
