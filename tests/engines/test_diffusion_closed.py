"""What is exact on Gaussians: SiD's losses, consistency training, the best variance of a step, brightness."""

import warnings

import numpy as np
import pytest
import torch

from engines.diffusion import SAMPLERS, karras_sigmas, solve
from engines.diffusion.brightness import ddim_gains, signal_levels, terminal_brightness
from engines.diffusion.checks_exact import CHECKS
from engines.diffusion.consistency import consistency, exact_consistency, trained_levels
from engines.diffusion.identities import LOSSES, held_gradient, identities
from engines.diffusion.mixture import GaussianMixture
from engines.diffusion.paths import append_zero, spaced_timesteps
from engines.diffusion.variances import end_of, mean_covariance, step_variances


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.claim[:40])
def test_what_is_known_is_reproduced(check):
    outcome = check.outcome()
    assert outcome.holds, f"{check.claim}: {outcome.measured}, off by {outcome.error}"


def test_half_and_one_are_the_fourth_and_the_fifth_loss():
    for std in (0.3, 1.0, 2.5):
        half, one = (held_gradient("mixed", 1.2, std, 0.6, lam) for lam in (0.5, 1.0))
        np.testing.assert_allclose(np.multiply(2, half), held_gradient("l4", 1.2, std, 0.6), atol=1e-14)
        np.testing.assert_allclose(np.multiply(2, one), held_gradient("l5", 1.2, std, 0.6), atol=1e-14)


def test_the_first_four_losses_have_one_value():
    result = identities(mean=-0.7, std=1.6, noise=0.4)
    np.testing.assert_allclose(result.value[:4], result.fisher, rtol=1e-12)
    assert abs(result.value[LOSSES.index("l5")]) < 1e-12
    ends = result.paths[:, -1]
    np.testing.assert_allclose(ends[[1, 3, 4]], np.tile([0.0, 1.0], (3, 1)), atol=1e-3)


def test_consistency_training_loses_what_its_residuals_say():
    result = consistency(1.0, 0.6, 16, 16)
    np.testing.assert_allclose(result.lost, result.residual, atol=1e-3)
    assert (result.bound >= result.error - 1e-3).all() and (np.diff(result.error) > 0).all()
    assert (np.diff(result.distance[0]) < 0).all() and (np.diff(result.distance[1]) > 0).all()
    _, one, _ = trained_levels(1, 1.0, 0.6)
    assert np.abs(one).max() < 1e-9  # with one level every noise goes to the mean


def test_the_exact_consistency_function_keeps_the_law():
    mixture = GaussianMixture([1, 1], [[-1.0], [1.0]], [0.6, 0.6])
    data = mixture.sample(200_000, 1)[:, 0].numpy()
    at = 0.7 * np.random.default_rng(2).standard_normal(len(data)) + 0.3 * data
    ends = exact_consistency(at, 0.7, 1.0, 0.6)
    assert ends.std() == pytest.approx(np.sqrt(1.36), rel=0.01)
    assert np.mean(ends**4) == pytest.approx(np.mean(data**4), rel=0.02)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "optimal"])
def test_the_samplers_variance_is_that_of_the_closed_form(variance):
    levels = append_zero(karras_sigmas(4, 0.02, 20.0))
    gaussian = GaussianMixture([1.0], [[0.0]], [0.5])
    start, known = gaussian.sample(100_000, 0, 20.0), {"covariance": lambda sigma: mean_covariance(gaussian, sigma)}
    ends = solve("ddpm", gaussian.denoise, start, levels, variance=variance, **known)
    name = variance.removeprefix("fixed_")
    assert float(ends.std()) == pytest.approx(end_of(name, levels.tolist(), 1.0, 0.5), rel=0.01)
    assert "variance" in SAMPLERS["ddpm"].options


def test_the_best_variance_lies_where_theory_puts_it():
    one = step_variances("three", eta=1.0)
    assert (one.share[one.family.index("optimal")] >= one.share[one.family.index("small")] - 1e-12).all()
    none = step_variances("three", eta=0.0)
    assert (none.share[none.family.index("optimal")] > 0).all()  # DDIM's best variance is not none
    assert ((one.lost >= 0) & (one.lost <= 1)).all()


def test_schedules_and_steps_are_those_of_diffusers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    for zero in (False, True):
        theirs = DDIMScheduler(
            1000, **betas, rescale_betas_zero_snr=zero, timestep_spacing="trailing", prediction_type="v_prediction",
            clip_sample=False, set_alpha_to_one=True,
        )  # fmt: skip
        np.testing.assert_allclose(theirs.alphas_cumprod.sqrt(), signal_levels("scaled_linear", zero), atol=2e-4)
        theirs.set_timesteps(10)
        times = spaced_timesteps(10, "trailing")[::-1]
        assert theirs.timesteps.tolist() == times.tolist()
        levels, x, variance = theirs.alphas_cumprod.sqrt().double().numpy(), torch.ones(1, dtype=torch.float64), 9.0
        for t in theirs.timesteps:
            signal = float(levels[t])
            denoised = signal * variance / (signal**2 * variance + 1 - signal**2) * x
            noise = (x - signal * denoised) / np.sqrt(1 - signal**2)
            x = theirs.step(signal * noise - np.sqrt(1 - signal**2) * denoised, t, x).prev_sample
        assert float(x) == pytest.approx(float(ddim_gains(np.array([variance]), levels[times])[0]), rel=1e-4)


def test_brightness_comes_back_with_zero_terminal_snr_and_steps():
    result = terminal_brightness(side=32)
    kept = dict(zip(result.rows, result.over_counts[:, -1], strict=True))
    assert kept[True, "trailing"] > 0.97 > 0.7 > kept[False, "trailing"]
    np.testing.assert_allclose(result.brightness[1:, -1] / result.brightness[0, -1], result.kept, rtol=1e-9)
    assert terminal_brightness(side=8).limit[0] > 0.95 > result.limit[0]
