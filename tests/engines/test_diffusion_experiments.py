"""Experiments on the exact targets: same particles, honest budgets, refusals."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from engines.diffusion import convergence, distances, sampler_panels, solve, target_mixture, vector_field
from engines.diffusion.experiments import density_picture


def test_panels_start_from_the_same_particles_and_repeat():
    asked = {"samplers": ("euler", "ddpm"), "steps": 6, "particles": 300}
    result, again = sampler_panels(**asked), sampler_panels(**asked)
    np.testing.assert_array_equal(result.positions[0, 0], result.positions[1, 0])
    for field in dataclasses.fields(result):
        np.testing.assert_array_equal(getattr(result, field.name), getattr(again, field.name))
    assert (sampler_panels(**asked, seed=1).positions != result.positions).any()
    assert np.isfinite(result.positions).all() and np.abs(result.positions).max() < 30


def test_equal_calls_are_equal():
    result = sampler_panels(samplers=("euler", "heun", "rk4"), match="nfe", steps=21, particles=100)
    assert result.nfe.tolist() == [21, 21, 21] and result.steps.tolist() == [21, 11, 6]
    assert result.frames[0] == 0 and result.frames[-1] == 21
    assert (result.spent <= result.frames).all() and (result.spent[:, -1] == 21).all()
    assert (np.diff(result.sigma) <= 0).all() and (result.sigma[:, -1] == 0).all()


@pytest.mark.parametrize("path", ["ve", "vp_linear", "vp_cosine", "rf"])
@pytest.mark.parametrize("grid", ["karras", "time", "logsnr"])
def test_every_path_and_grid_draws_near_the_target(path, grid):
    result = sampler_panels(samplers=("dpmpp_2s",), path=path, grid=grid, steps=30, particles=400)
    assert np.isfinite(result.positions).all()
    assert result.distance[0] < (0.25 if (path, grid) != ("ve", "time") else 2)  # steps even in σ leap at the data


def test_more_steps_come_nearer():
    far, near = (sampler_panels(samplers=("euler",), steps=n, particles=1000).distance[0] for n in (4, 60))
    assert near < 0.5 * far


def test_variants_of_the_samplers():
    asked = {"samplers": ("ddim", "ddpm", "euler"), "steps": 10, "particles": 100, "rho": 3.0}
    result = sampler_panels(**asked, ddim_eta=1.0, ddpm_variance="fixed_large")
    assert (result.ddim_eta, result.ddpm_variance) == (1.0, "fixed_large")
    ddim, ddpm, euler = result.positions
    np.testing.assert_array_equal(sampler_panels(**asked).positions[2], euler)
    plain = sampler_panels(**asked)
    np.testing.assert_allclose(plain.positions[0], euler, atol=1e-6)  # η = 0 is Euler here
    np.testing.assert_allclose(plain.positions[1], ddim, atol=1e-6)  # η = 1 is DDPM of the small variance
    assert (np.abs(ddpm - plain.positions[1]).max(axis=(1, 2))[1:] > 1e-3).any()
    assert (sampler_panels(**(asked | {"rho": 7.0})).sigma[2, 5] != result.sigma[2, 5]).all()
    *_, last = convergence(samplers=("lms",), steps=(80, 160), lms_order=2)
    assert last.result.theory.tolist() == [2] and last.result.fitted[0] == pytest.approx(2, abs=0.3)


def test_letters_and_drawings_are_targets(tmp_path):
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(page).line([(20, 20), (180, 180)], fill="black", width=9)
    page.save(tmp_path / "line.png")
    drawn = sampler_panels("drawing", ("heun",), particles=500, drawing=str(tmp_path / "line.png"))
    x, y = drawn.positions[0, -1].T
    assert np.corrcoef(x, y)[0, 1] < -0.95  # downwards to the right
    assert sampler_panels("letter", ("heun",), particles=100, letter="Ab").distance[0] < 0.5
    Image.new("RGB", (200, 200), "white").save(tmp_path / "empty.png")
    with pytest.raises(ValueError, match="no ink"):
        sampler_panels("drawing", drawing=str(tmp_path / "empty.png"))


@pytest.mark.parametrize("field", ["velocity", "score", "denoised"])
@pytest.mark.parametrize("path", ["ve", "rf"])
def test_arrows_far_out_point_to_the_target(field, path):
    result = vector_field("three", path, field)
    assert np.linalg.norm(result.arrows, axis=2).max(1) == pytest.approx(np.ones(len(result.sigma)), abs=1e-6)
    corner = result.places.sum(1).argmax()
    # from far up right every arrow points down left; near the data rectified flow's t x_1 grows, and points outwards
    assert (result.arrows[:8, corner] < 0).all()
    assert np.isfinite(result.particles).all() and result.density.dtype == np.uint8


def test_rectified_velocity_is_drawn_in_its_own_units():
    result, target = vector_field("three", "rf", "velocity"), target_mixture("three")

    frame = 10
    velocity = target.velocity(torch.as_tensor(result.places, dtype=torch.float64), result.time[frame])
    np.testing.assert_allclose(result.arrows[frame] * result.longest[frame], velocity, rtol=0, atol=1e-5)


def test_the_traced_particle_begins_where_it_is_put_and_follows_the_flow():
    result = vector_field("three", "rf", x=0.4, y=-0.9)
    np.testing.assert_allclose(result.traced[0], (0.4, -0.9), rtol=1e-6)
    start = torch.tensor([[0.4, -0.9]], dtype=torch.float64) * (1 + result.sigma[0])
    levels = torch.logspace(math.log10(result.sigma[0]), math.log10(result.sigma[-1]), 200, dtype=torch.float64)
    levels[[0, -1]] = torch.tensor(result.sigma[[0, -1]])
    end = solve("rk4", target_mixture("three").denoise, start, levels) / (1 + result.sigma[-1])
    np.testing.assert_allclose(result.traced[-1], end[0], atol=2e-3)
    other = vector_field("three", "rf", x=-1.0, y=-0.9)
    np.testing.assert_array_equal(other.particles, result.particles)


def test_density_picture_stands_upright():
    picture = density_picture(target_mixture("three"), 0.0, 1.0, 40)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    extent = 3.4
    assert ((column + 0.5) / 40 * 2 - 1) * extent == pytest.approx(-2.0, abs=0.3)  # the heaviest mode is at (−2, 0)
    assert ((row + 0.5) / 40 * 2 - 1) * extent == pytest.approx(0.0, abs=0.3)


def test_convergence_reports_sampler_by_sampler():
    reports = list(convergence(samplers=("euler", "heun"), steps=(40, 20)))
    assert [r.step for r in reports] == [60, 180] and reports[-1].total == 180
    assert np.isnan(reports[0].result.error[1]).all() and np.isfinite(reports[1].result.error).all()
    assert reports[1].result.nfe.tolist() == [[20, 40], [40, 80]]
    assert reports[1].result.fitted == pytest.approx([1, 2.1], abs=0.25)


def test_distances_fall_to_chance_level():
    *_, last = distances("ring", ("heun",), budgets=(4, 60), particles=600)
    result = last.result
    assert result.wasserstein[0, 0] > result.wasserstein_floor[2] > result.wasserstein_floor[0] > 0
    assert result.wasserstein[0, 1] < 1.5 * result.wasserstein_floor[2]
    assert abs(result.energy[0, 1]) < 3 * np.abs(result.energy_floor).max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sampler_panels(steps=0), "steps"),
        (lambda: sampler_panels(steps=2.5), "steps"),
        (lambda: sampler_panels(steps=math.nan), "steps"),
        (lambda: sampler_panels(steps=math.inf), "steps"),
        (lambda: sampler_panels(particles=10**9), "particles"),
        (lambda: sampler_panels(samplers=()), "samplers"),
        (lambda: sampler_panels(samplers=("euler", "euler")), "samplers"),
        (lambda: sampler_panels(samplers=("leapfrog",)), "samplers"),
        (lambda: sampler_panels(samplers=("euler", "heun", "rk4", "lms", "ddim")), "samplers"),
        (lambda: sampler_panels(target="torus"), "target"),
        (lambda: sampler_panels(path="arc"), "path"),
        (lambda: sampler_panels(grid="even"), "grid"),
        (lambda: sampler_panels(match="time"), "match"),
        (lambda: sampler_panels(seed=-1), "seed"),
        (lambda: sampler_panels(rho=0), "rho"),
        (lambda: sampler_panels(ddim_eta=2), "ddim_eta"),
        (lambda: sampler_panels(ddpm_variance="learned"), "ddpm_variance"),
        (lambda: sampler_panels(grid="ays", knots=(1.0, math.nan)), "knots"),
        (lambda: sampler_panels(target="letter", letter="long word"), "letter"),
        (lambda: sampler_panels(target="drawing"), "none yet"),
        (lambda: vector_field(field="wind"), "field"),
        (lambda: next(convergence(target="letter")), "target"),
        (lambda: next(convergence(samplers=("ddpm",))), "samplers"),
        (lambda: next(convergence(steps=(10**9,))), "steps"),
        (lambda: next(convergence(lms_order=5)), "lms_order"),
        (lambda: next(distances(budgets=())), "budgets"),
        (lambda: next(distances(particles=10**9)), "particles"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_dragged_centres_move_the_density_of_the_field_and_only_of_three_gaussians():
    there = (-2.0, 2.5, 0.0), (0.0, -1.0, 2.5)
    moved = vector_field("three", "rf", centres_x=there[0], centres_y=there[1])
    np.testing.assert_array_equal(moved.centres, np.transpose(there))
    side = moved.density.shape[1]
    for x, y in moved.centres:  # brighter at each centre than where no Gaussian is
        column, row = (int((place / moved.extent + 1) / 2 * side) for place in (x, y))
        assert moved.density[-1, row, column] > 60 > moved.density[-1, side - 2, 1]
    ring = vector_field("ring", centres_x=there[0], centres_y=there[1])
    assert not len(ring.centres)
    np.testing.assert_array_equal(ring.density, vector_field("ring").density)
