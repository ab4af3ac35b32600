"""Samplers that add noise: of the reverse SDE, ancestral, and EDM's; generators as `samplers` explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, lerp

from engines.arguments import Between, OneOf, checked
from engines.diffusion.ode import VE, Denoiser, Steps, geometric_mean, runge_kutta_step, weighted_sum
from engines.diffusion.paths import Path

Noise = Callable[[Tensor], Tensor]
Share = Annotated[float, Between(0, 1)]
VARIANCES = ("fixed_small", "fixed_large", "optimal")


def ancestral_levels(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up): the level to step down to and the noise to add, so that together they make sigma_next.

    σ_up² = η² σ_next² (1 − σ_next²/σ²). The rest is written without a difference of near numbers: in float32
    diffusers takes the root of a rounded negative, and its ancestral samplers return NaN.
    """
    ratio = (sigma_next / sigma) ** 2
    return sigma_next * math.sqrt(1 - eta**2 + eta**2 * ratio), sigma_next * eta * math.sqrt(1 - ratio)


@checked
def edm_churn(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    s_churn: Annotated[float, Between(0, 1000)] = 40.0,
    s_tmin: Annotated[float, Between(0, 1e6)] = 0.05,
    s_tmax: Annotated[float, Between(0, 1e6)] = 50.0,
    s_noise: Annotated[float, Between(0, 10)] = 1.003,
    path: Path = VE,
) -> Steps:
    """EDM's stochastic sampler: noise is added before each of Heun's steps. Stochastic, 2 calls a step.

    s_churn: how much noise in all; before a step σ is raised to sigma_hat = σ (1 + γ), γ = min(s_churn / steps, √2 − 1)
    s_tmin, s_tmax: only steps that begin within these levels are raised
    s_noise: the standard deviation of the added noise, a little over 1 against detail that the network loses
    Karras et al. 2022, arXiv 2206.00364, Algorithm 2; the defaults are near those of its Table 5.
    """
    gamma = min(s_churn / (len(sigmas) - 1), math.sqrt(2) - 1)
    for sigma, sigma_next in pairwise(sigmas):
        sigma_hat = sigma * (1 + (gamma if s_tmin <= sigma <= s_tmax else 0.0))
        if sigma_hat > sigma:
            x = x.add(noise(x), alpha=s_noise * math.sqrt(sigma_hat**2 - sigma**2))
        x, denoised = runge_kutta_step(denoise, path, "heun", x, sigma_hat, sigma_next)
        yield x, denoised


@checked
def euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    eta: Share = 1.0,
    s_noise: Annotated[float, Between(0, 10)] = 1.0,
) -> Steps:
    """Euler's step down to sigma_down, then noise up to sigma_next: k-diffusion's. Stochastic, 1 call a step.

    eta: share of the posterior's standard deviation that is added; s_noise: the added noise's standard deviation
    DDIM's σ_η (Song et al. 2020, arXiv 2010.02502, Eq. 16), written in these coordinates, is exactly this sigma_up, so
    DDIM at any η is this function; at η = 1 it is DDPM with the small variance, at η = 0 it is Euler.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral_levels(sigma, sigma_next, eta)
        x = lerp(denoised, x, sigma_down / sigma)
        if sigma_up > 0:
            x.add_(noise(x), alpha=s_noise * sigma_up)
        yield x, denoised


@checked
def ddim(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: Share = 0.0) -> Steps:
    """DDIM. Order 1 at η = 0, else stochastic; 1 call a step.

    eta: η, from 0 (no noise, Euler's step) to 1 (DDPM with the small variance); see `euler_ancestral`
    Song et al. 2020, arXiv 2010.02502, Eq. 12 and 16.
    """
    return euler_ancestral(denoise, x, sigmas, noise=noise, eta=eta)


@checked
def ddpm(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    variance: Annotated[str, OneOf(VARIANCES)] = "fixed_small",
    covariance: Callable[[float], float] = lambda sigma: 0.0,
) -> Steps:
    """DDPM's ancestral sampling, without noise in the last step. Stochastic, 1 call a step.

    variance: of the added noise, the posterior's ("fixed_small"), the forward step's β ("fixed_large"), or the best one
        ("optimal")
    covariance: σ -> mean variance of the data given x, a dimension, which the best variance needs (`variances`); 0 is
        that of one point
    Ho et al. 2020, arXiv 2006.11239, Eq. 7 and Section 3.2; Bao et al. 2022, arXiv 2201.06503, Theorem 1.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        x = lerp(denoised, x, (sigma_next / sigma) ** 2)
        if sigma_next > 0:
            spread = (sigma_next / sigma) ** 2 * (sigma**2 - sigma_next**2)
            if variance == "fixed_large":  # β/ᾱ', as x here is the path's divided by √ᾱ'
                spread = (1 + sigma_next**2) * (sigma**2 - sigma_next**2) / (1 + sigma**2)
            elif variance == "optimal":
                spread += (1 - (sigma_next / sigma) ** 2) ** 2 * covariance(sigma)
            x.add_(noise(x), alpha=math.sqrt(spread))
        yield x, denoised


@checked
def dpm_2_ancestral(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: Share = 1.0) -> Steps:
    """DPM-Solver-2's step down to sigma_down, then noise up to sigma_next: k-diffusion's. Stochastic, 2 calls a step.

    eta: as in `euler_ancestral`; at 1 the second call is at √(σ σ_down) = sigma_next
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral_levels(sigma, sigma_next, eta)
        if sigma_next > 0:
            sigma_mid = geometric_mean(sigma, sigma_down)
            inner = lerp(denoised, x, sigma_mid / sigma)
            slope = (inner - denoise(inner, sigma_mid)).div_(sigma_mid)
            x = x.add(slope, alpha=sigma_down - sigma).add_(noise(x), alpha=sigma_up)
        else:
            x = denoised
        yield x, denoised


@checked
def euler_maruyama(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, path: Path = VE) -> Steps:
    """Euler–Maruyama on the reverse SDE in the path's time, without noise in a last step to 0. Stochastic, 1 call a step.

    Song et al. 2020, arXiv 2011.13456, Eq. 6. With q = σ'/σ the drift is (a + q) y − 2 b D and g² = 2 s² σ² q.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        a, b = path.flow(sigma)
        scale = path.scale(sigma)
        q, step = b / scale, path.time(sigma_next) - path.time(sigma)
        x = weighted_sum((scale * (1 + (a + q) * step), x), (-2 * b * step, denoised))
        if sigma_next > 0:
            x.add_(noise(x), alpha=scale * sigma * math.sqrt(-2 * q * step))
        x.div_(path.scale(sigma_next))
        yield x, denoised


@checked
def dpmpp_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: Share = 1.0) -> Steps:
    """DPM-Solver++ (SDE), singlestep with r = 1/2: k-diffusion's dpmpp_sde. Stochastic, 2 calls a step.

    eta: share of the reverse SDE's noise; 0 is an ODE. After Lu et al. 2022, arXiv 2211.01095, Section 5.
    The noise of the whole step contains that of its first half, as increments of one Brownian motion in σ.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = latest = denoise(x, sigma)
        if sigma_next > 0:
            sigma_mid = geometric_mean(sigma, sigma_next)
            sigma_down, sigma_up = ancestral_levels(sigma, sigma_mid, eta)
            first = noise(x)
            inner = lerp(denoised, x, sigma_down / sigma).add_(first, alpha=sigma_up)
            latest = denoise(inner, sigma_mid)
            share = (sigma - sigma_mid) / (sigma - sigma_next)
            sigma_down, sigma_up = ancestral_levels(sigma, sigma_next, eta)
            x = lerp(latest, x, sigma_down / sigma)
            x.add_(first, alpha=sigma_up * math.sqrt(share)).add_(noise(x), alpha=sigma_up * math.sqrt(1 - share))
        else:
            x = denoised
        yield x, denoised


@checked
def dpmpp_2m_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, eta: Share = 1.0) -> Steps:
    """DPM-Solver++(2M) SDE, the multistep method in its midpoint form. Stochastic, 1 call a step; begins at order 1.

    eta: share of the reverse SDE's noise; 0 is DPM-Solver++(2M). Lu et al. 2022, arXiv 2211.01095, Section 5.
    """
    earlier, last_h = None, 0.0
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            decay = (sigma_next / sigma) * math.exp(-eta * h)
            x = lerp(denoised, x, decay)
            if earlier is not None:
                x.add_(denoised - earlier, alpha=0.5 * (1 - decay) * h / last_h)
            if eta:
                x.add_(noise(x), alpha=sigma_next * math.sqrt(-math.expm1(-2 * eta * h)))
            last_h = h
        else:
            x = denoised
        earlier = denoised
        yield x, denoised


@checked
def predictor_corrector(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    snr: Annotated[float, Between(0, 10)] = 0.16,
    corrections: Annotated[int, Between(0, 10)] = 1,
) -> Steps:
    """A reverse diffusion step, then Langevin steps at the new level; none in a last step to 0. Stochastic.

    corrections: Langevin steps, so that a step makes 1 + corrections calls
    snr: r of their step size 2 (r ‖z‖/‖score‖)², norms averaged over the particles
    Song et al. 2020, arXiv 2011.13456, Algorithms 2 and 4.
    """
    for sigma, sigma_next in pairwise(sigmas):
        denoised = denoise(x, sigma)
        if sigma_next > 0:
            x = lerp(denoised, x, (sigma_next / sigma) ** 2)
            x.add_(noise(x), alpha=math.sqrt(sigma**2 - sigma_next**2))
            for _ in range(corrections):
                score, z = (denoise(x, sigma_next) - x).div_(sigma_next**2), noise(x)
                ratio = z.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean()
                step = 2 * (snr * ratio) ** 2
                x = torch.addcmul(x, score, step).addcmul_(z, (2 * step).sqrt())
        else:
            x = denoised
        yield x, denoised
