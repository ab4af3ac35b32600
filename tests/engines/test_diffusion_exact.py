"""The exact two-dimensional part: closed forms, gains, orders, and diffusers as an independent implementation."""

import inspect
import itertools
import math

import numpy as np
import pytest
import torch

from engines import diffusion
from engines.diffusion import (
    GRIDS,
    PATHS,
    SAMPLERS,
    TARGETS,
    GaussianMixture,
    append_zero,
    ddpm_sigmas,
    energy_distance,
    evaluations,
    fitted_order,
    from_drawing,
    from_ink,
    from_letter,
    karras_sigmas,
    knot_sigmas,
    sigma_grid,
    sliced_wasserstein,
    solve,
    steps_within,
    straightness,
    target_mixture,
    time_sigmas,
    trajectory,
)
from engines.diffusion.experiments import exact_endpoints
from engines.diffusion.sde import ancestral_levels

THREE = TARGETS["three"]()
ONE = torch.ones(1, 1, dtype=torch.float64)
ODE = [name for name, sampler in SAMPLERS.items() if sampler.order]
SDE = [name for name, sampler in SAMPLERS.items() if sampler.stochastic]


def gaussian(scale: float) -> GaussianMixture:
    return GaussianMixture([1.0], [[0.0]], [scale])


# -- the mixture ------------------------------------------------------------------------------------------------------


def test_the_denoiser_is_tweedies_formula_of_the_log_density():
    x = THREE.sample(50, 1, 0.7).requires_grad_()
    (score,) = torch.autograd.grad(THREE.log_density(x, 0.7).sum(), x)
    x = x.detach()
    torch.testing.assert_close(THREE.score(x, 0.7), score, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(THREE.denoise(x, 0.7), x + 0.49 * score, rtol=1e-12, atol=1e-12)


def test_the_denoiser_is_bayes_rule_on_a_fine_lattice():
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    lattice = torch.cartesian_prod(axis, axis)
    x, sigma = torch.tensor([[0.3, -1.1]], dtype=torch.float64), 0.9
    prior = THREE.log_density(lattice).exp()
    share = prior * torch.exp(-(lattice - x).square().sum(-1) / (2 * sigma**2))
    expected = (share / share.sum()) @ lattice
    torch.testing.assert_close(THREE.denoise(x, sigma)[0], expected, rtol=1e-9, atol=1e-9)


def test_one_level_a_particle_agrees_with_one_level_for_all():
    x, levels = THREE.sample(5, 0, 1.0), torch.tensor([0.1, 0.5, 1.0, 3.0, 20.0], dtype=torch.float64)
    together = THREE.denoise(x, levels)
    apart = torch.cat([THREE.denoise(x[i : i + 1], float(levels[i])) for i in range(5)])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9, 1.0])
def test_rectified_velocity_follows_from_the_denoiser(t):
    y = THREE.sample(20, 2) * t + (1 - t) * torch.randn(20, 2, dtype=torch.float64)
    velocity = THREE.velocity(y, t)
    if t == 0:
        torch.testing.assert_close(velocity, THREE.mean - y)
    elif t < 1:
        torch.testing.assert_close(velocity, (THREE.denoise(y / t, (1 - t) / t) - y) / (1 - t), rtol=1e-10, atol=1e-10)
    assert torch.isfinite(velocity).all()


@pytest.mark.parametrize("name", TARGETS)
def test_sampling_agrees_with_the_moments(name):
    target = TARGETS[name]()
    draws = target.sample(40_000, 3, 0.5)
    spread = (target.covariance + 0.25 * torch.eye(2)).diag().sqrt()
    assert ((draws.mean(0) - target.mean).abs() < 5 * spread / 200).all()  # five standard errors
    torch.testing.assert_close(draws.T.cov(), target.covariance + 0.25 * torch.eye(2), rtol=0, atol=0.08)
    assert draws.abs().max() < 8


def test_a_letter_looks_like_itself():
    letter = from_letter("L")
    draws = letter.sample(4000, 0)
    corner = ((draws[:, 0] > 0.3) & (draws[:, 1] > 0)).double().mean()
    assert corner < 0.01  # the upper right of an L is empty
    assert 20 < len(letter.weights) <= 160


def test_ink_becomes_a_mixture_centred_on_it(tmp_path):
    from PIL import Image

    page = np.full((200, 300), 255, np.uint8)
    page[40:160, 100:120] = 0
    Image.fromarray(page).save(tmp_path / "bar.png")
    bar = from_drawing(str(tmp_path / "bar.png"))
    spread = bar.covariance.diag().sqrt()
    assert bar.mean.abs().max() < 5 / 103  # a pixel of the shrunken picture
    assert spread[1] / spread[0] == pytest.approx(6, rel=0.12)  # a bar of 20 x 120 pixels


def test_a_thin_line_is_ink_enough():
    line = from_ink(np.eye(256))
    assert len(line.weights) > 20
    assert line.means.double().T.corrcoef()[0, 1] < -0.999  # rows count downwards


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: from_ink(np.zeros((20, 20))), "no ink"),
        (lambda: from_letter("é"), "Latin"),
        (lambda: from_letter(""), "one to three"),
        (lambda: from_drawing(None), "none yet"),
        (lambda: from_drawing(__file__), "cannot be read"),
        (lambda: target_mixture("torus"), "target must be"),
        (lambda: GaussianMixture([1.0], [[0.0]], [-1.0]), "scales"),
        (lambda: GaussianMixture([1.0, 1.0], [[0.0]], [1.0]), "one positive number"),
        (lambda: GaussianMixture([math.nan], [[0.0]], [1.0]), "weights"),
        (lambda: karras_sigmas(0), "n must"),
        (lambda: karras_sigmas(10**9), "n must"),
        (lambda: karras_sigmas(5, 2.0, 1.0), "below high"),
        (lambda: knot_sigmas(5, [1.0, 2.0]), "fall"),
        (lambda: sigma_grid("fibonacci", 5), "grid must be"),
        (lambda: ddpm_sigmas(5, "middle"), "spacing"),
        (lambda: solve("eulerian", THREE.denoise, THREE.sample(1), [1.0, 0.0]), "sampler must be"),
        (lambda: solve("euler", THREE.denoise, THREE.sample(1), [1.0]), "2 to 5,001 entries"),
        (lambda: solve("euler", THREE.denoise, THREE.sample(1), [0.1, 1.0]), "fall"),
        (lambda: solve("euler", THREE.denoise, THREE.sample(1), [1.0, 0.0], eta=1.0), "no option eta"),
        (lambda: solve("lms", THREE.denoise, THREE.sample(1), [1.0, 0.0], order=9), "order"),
        (lambda: solve("ddpm", THREE.denoise, THREE.sample(1), [1.0, 0.0], variance="learned"), "variance"),
        (lambda: solve("euler", THREE.denoise, THREE.sample(1), [1.0, 0.0], path="arc"), "path must be"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


WRONG = (None, "x", math.nan, -1.0, 10**30, (), object(), np.zeros((0, 3)), torch.full((2, 2), math.nan))
GOOD = {
    "GaussianMixture": {"weights": [1.0], "means": [[0.0]], "scales": [1.0]},
    "append_zero": {"sigmas": karras_sigmas(3)},
    "convergence": {"steps": (2, 3), "samplers": ("euler",)},
    "ddpm_sigmas": {"n": 3},
    "distances": {"particles": 100, "budgets": (2,), "samplers": ("euler",)},
    "energy_distance": {"a": THREE.sample(9), "b": THREE.sample(9, 1)},
    "evaluations": {"sampler": "predictor_corrector", "steps": 3},
    "few_steps": {"methods": ("exact",)},
    "fitted_order": {"evaluations": [1, 2], "errors": [1.0, 0.5]},
    "from_drawing": {"path": ""},
    "from_ink": {"ink": np.eye(20)},
    "from_letter": {"letter": "S"},
    "image_grid": {"steps": (1,), "schedulers": ("ddim",), "count": 1},
    "karras_sigmas": {"n": 3},
    "knot_sigmas": {"n": 3},
    "logsnr_sigmas": {"n": 3},
    "sampler_panels": {"particles": 100, "steps": 2},
    "sigma_grid": {"grid": "karras", "steps": 3},
    "sliced_wasserstein": {"a": THREE.sample(9), "b": THREE.sample(9, 1)},
    "solve": {"sampler": "euler", "denoise": THREE.denoise, "x": THREE.sample(3), "sigmas": [1.0, 0.0]},
    "steps_within": {"sampler": "euler", "calls": 9},
    "straightness": {"states": torch.zeros(3, 2, 2)},
    "target_mixture": {},
    "time_sigmas": {"n": 3},
    "trajectory": {"sampler": "euler", "denoise": THREE.denoise, "x": THREE.sample(3), "sigmas": [1.0, 0.0]},
    "vector_field": {},
}
FUNCTIONS = [name for name in diffusion.__all__ if name in GOOD or inspect.isfunction(getattr(diffusion, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_argument_is_answered_or_refused_with_a_sentence(name):
    function, good = getattr(diffusion, name), GOOD[name]
    refused = 0
    for parameter, wrong in itertools.product(inspect.signature(function).parameters, WRONG):
        if parameter == "options" or (name == "image_grid" and parameter == "model" and wrong is None):
            continue
        try:
            outcome = function(**(good | {parameter: wrong}))
            if inspect.isgenerator(outcome):
                next(outcome)
        except ValueError as fault:
            assert len(str(fault)) > 20 and " " in str(fault), str(fault)
            refused += 1
    assert refused >= len(WRONG) - 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_wrong_option_of_a_sampler_is_refused_with_a_sentence(name):
    for option in SAMPLERS[name].options:
        for wrong in (None, "x", math.nan, -1.0, 10**30, ()):
            with pytest.raises(ValueError, match=option):
                solve(name, THREE.denoise, THREE.sample(3), [1.0, 0.5, 0.0], **{option: wrong})


# -- grids and paths --------------------------------------------------------------------------------------------------


def test_karras_grid():
    grid = karras_sigmas(18, 0.002, 80, 7)
    assert grid[1].item() == pytest.approx(57.5859847212, rel=1e-11)
    assert grid[10].item() == pytest.approx(1.0881706365, rel=1e-10)
    assert len(grid) == 18 and grid[0].item() == pytest.approx(80) and grid[-1].item() == pytest.approx(0.002)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_every_grid_falls_to_zero(grid, path, steps):
    levels = sigma_grid(grid, steps, path)
    assert levels.shape == (steps + 1,) and levels[-1] == 0 and (levels.diff() < 0).all() and levels.isfinite().all()


def test_knots_are_kept():
    knots = [80.0, 5.0, 1.0, 0.2, 0.002]
    np.testing.assert_allclose(knot_sigmas(5, knots), knots, rtol=1e-12)
    np.testing.assert_allclose(knot_sigmas(9, knots)[1::2], np.sqrt(np.multiply(knots[1:], knots[:-1])), rtol=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_the_flow_of_a_path_is_its_derivative(name):
    path = PATHS[name]
    for sigma in (0.01, 0.7, 5.0, 60.0):
        tau = path.time(sigma)
        assert path.sigma(tau) == pytest.approx(sigma, rel=1e-9)
        step = 1e-6 * tau
        above, below = path.sigma(tau + step), path.sigma(tau - step)
        rise = (above - below) / (2 * step)
        growth = (math.log(path.scale(above)) - math.log(path.scale(below))) / (2 * step)
        a, b = path.flow(sigma)
        assert a == pytest.approx(rise / sigma + growth, rel=1e-5, abs=1e-6 * rise / sigma)  # the sum cancels
        assert b == pytest.approx(path.scale(sigma) * rise / sigma, rel=1e-5)


def test_linear_path_is_the_limit_of_ddpms_thousand_steps():
    assert ddpm_sigmas(1000)[0].item() == pytest.approx(PATHS["vp_linear"].high, rel=0.06)


# -- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gain"), [("euler", 0.8460793973), ("heun", 1.0552698841)])
def test_gain_on_a_narrow_gaussian(name, gain):
    exact = 0.5 / math.sqrt(0.25 + 80**2)
    assert exact == pytest.approx(0.006249877933, rel=1e-9)
    out = solve(name, gaussian(0.5).denoise, ONE, append_zero(karras_sigmas(18)))
    assert out.item() / exact == pytest.approx(gain, rel=1e-10)


def test_ddim_gain_with_leading_timesteps():
    levels = ddpm_sigmas(10, "leading")
    start = ONE * math.sqrt(1 + levels[0].item() ** 2)  # the path's own state is x / √(1 + σ²)
    assert solve("ddim", gaussian(1.0).denoise, start, levels).item() == pytest.approx(0.8316958769, rel=1e-9)


def ddpm_variance(steps: int, variance: str) -> float:
    """Exact output variance on N(0, 1): the sampler is linear, so one particle carries each independent draw."""
    levels, turn = ddpm_sigmas(steps), iter(range(1, steps + 1))
    start = torch.eye(steps, 1, dtype=torch.float64) * math.sqrt(1 + levels[0].item() ** 2)

    def impulse(x):
        drawn = torch.zeros_like(x)
        drawn[next(turn)] = 1
        return drawn

    return solve("ddpm", gaussian(1.0).denoise, start, levels, noise=impulse, variance=variance).square().sum().item()


def test_ddpm_variances():
    for steps in (1, 5, 10, 50):
        assert ddpm_variance(steps, "fixed_large") == pytest.approx(0.9999, abs=1e-12)
    assert ddpm_variance(10, "fixed_small") == pytest.approx(0.54821, abs=5e-6)


def test_ancestral_levels_make_the_next_one():
    for sigma, sigma_next, eta in [(80.0, 3.0, 1.0), (2.0, 1.9999999, 1.0), (20_291.0, 640.0, 0.3), (1.0, 0.5, 0.0)]:
        sigma_down, sigma_up = ancestral_levels(sigma, sigma_next, eta)
        assert math.hypot(sigma_down, sigma_up) == pytest.approx(sigma_next, rel=1e-14)
        assert sigma_up == pytest.approx(eta * sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2), rel=1e-14)
    assert ancestral_levels(80.0, 3.0, 1.0)[0] == pytest.approx(9 / 80, rel=1e-14)


@pytest.mark.parametrize("name", ["dpm_2", "dpmpp_2s"])
def test_second_calls_need_not_be_in_the_middle(name, endpoints):
    start, exact = endpoints
    errors = []
    for n in (160, 320):
        grid = karras_sigmas(n + 1)
        ends = solve(name, THREE.denoise, start, grid, middle=lambda a, b: a**0.3 * b**0.7)
        errors.append((ends - exact).norm(dim=1).median())
    assert fitted_order([160, 320], errors) == pytest.approx(2, abs=0.15)


def test_ancestral_ddim_and_ddpm_are_one_sampler():
    x, levels = THREE.sample(20, 0, 80.0), karras_sigmas(12)
    a = solve("euler_ancestral", THREE.denoise, x, levels, seed=4)
    torch.testing.assert_close(solve("ddim", THREE.denoise, x, levels, seed=4, eta=1.0), a, rtol=0, atol=0)
    torch.testing.assert_close(solve("ddpm", THREE.denoise, x, levels, seed=4), a, rtol=1e-10, atol=1e-10)
    euler = solve("euler", THREE.denoise, x, levels)
    torch.testing.assert_close(solve("ddim", THREE.denoise, x, levels), euler, rtol=1e-10, atol=1e-10)


def test_the_endpoint_of_the_exact_flow():
    start = torch.tensor([[40.0, -24.0]], dtype=torch.float64)
    end = solve("rk4", THREE.denoise, start, karras_sigmas(500))
    np.testing.assert_allclose(end[0], (0.2701704575, -1.2371257339), rtol=0, atol=5e-8)


@pytest.fixture(scope="module")
def endpoints():
    start = THREE.sample(256, 0, 80.0)
    return start, exact_endpoints(THREE, start)


ORDERS = {"euler": 1, "heun": 2, "midpoint": 2, "dpm_2": 2, "dpmpp_2s": 2, "dpmpp_2m": 2, "dpm_3": 3, "deis": 3}
ORDERS |= {"lms": 3.9, "rk4": 4, "dpmpp_3m": 1.86, "dpmpp_3m_doubled": 3.08, "ddim": 1, "unipc": 3.83}


@pytest.mark.parametrize("name", ODE)
def test_fitted_orders(name, endpoints):
    start, exact = endpoints
    errors = [
        (solve(name, THREE.denoise, start, karras_sigmas(n + 1)) - exact).norm(dim=1).median() for n in (160, 320)
    ]
    assert fitted_order([160, 320], errors) == pytest.approx(ORDERS[name], abs=0.15)


@pytest.mark.parametrize(
    ("name", "path"), [("heun", "vp_linear"), ("heun", "vp_cosine"), ("euler", "rf"), ("rk4", "rf")]
)
def test_orders_hold_in_every_paths_time(name, path, endpoints):
    start, exact = endpoints
    errors = [
        (solve(name, THREE.denoise, start, karras_sigmas(n + 1), path=path) - exact).norm(dim=1).median()
        for n in (160, 320)
    ]
    assert fitted_order([160, 320], errors) == pytest.approx(SAMPLERS[name].order, abs=0.15)


@pytest.mark.parametrize("path", ["vp_linear", "vp_cosine", "rf"])
def test_a_first_order_step_in_data_and_noise_is_ddim(path):
    """Rectified flow's Euler step is DDIM's, though the variance preserving time's is not."""
    x, levels = THREE.sample(20, 0, 50.0), torch.tensor([50.0, 3.0, 0.5, 0.05])
    euler = solve("euler", THREE.denoise, x, levels, path=path)
    same = torch.allclose(euler, solve("ddim", THREE.denoise, x, levels), rtol=1e-9, atol=1e-9)
    assert same == (path == "rf")


@pytest.mark.parametrize(("steps", "gain"), [(1, 0.0), (2, 0.2)])
def test_rectified_gains(steps, gain):
    levels = time_sigmas(steps, "rf")
    out = solve("euler", gaussian(0.5).denoise, ONE * levels[0], levels, path="rf")
    assert out.item() == pytest.approx(gain, abs=1e-8)


def test_rectified_gain_tends_to_the_scale():
    gains = []
    for steps in (500, 1000):
        levels = time_sigmas(steps, "rf")
        gains.append(solve("euler", gaussian(0.5).denoise, ONE * levels[0], levels, path="rf").item())
    assert 2 * gains[1] - gains[0] == pytest.approx(0.5, abs=2e-5)  # Richardson


@pytest.mark.parametrize("name", SDE)
def test_stochastic_samplers_reach_the_target(name):
    start, exact = THREE.sample(1500, 5, 80.0), THREE.sample(1500, 6)
    steps = 200 if name == "euler_maruyama" else 60
    levels = append_zero(karras_sigmas(steps))
    out = solve(name, THREE.denoise, start, levels, seed=7)
    assert (
        sliced_wasserstein(out, exact) < 0.25
    )  # two exact sets are 0.08 apart; ancestral steps still narrow it by 0.1

    torch.testing.assert_close(out, solve(name, THREE.denoise, start, levels, seed=7), rtol=0, atol=0)
    assert not torch.equal(out, solve(name, THREE.denoise, start, levels, seed=8))


@pytest.mark.parametrize("path", PATHS)
def test_the_reverse_sde_on_every_path(path):
    levels = sigma_grid("logsnr", 150, path)
    out = solve("euler_maruyama", THREE.denoise, THREE.sample(1500, 5, 80.0), levels, path=path)
    assert sliced_wasserstein(out, THREE.sample(1500, 6)) < 0.12


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_are_counted_and_callbacks_called(name):
    calls, seen = [], []

    def denoise(x, sigma):
        calls.append(sigma)
        return THREE.denoise(x, sigma)

    start, levels = THREE.sample(8, 0, 80.0), append_zero(karras_sigmas(6))
    out = solve(name, denoise, start, levels, callback=lambda x, i, sigma, d: seen.append((x, i, sigma, d)))
    assert len(calls) == evaluations(name, 6) and min(calls) > 0
    assert [(i, sigma) for _, i, sigma, _ in seen] == list(enumerate(levels[:-1].tolist()))
    states, estimates = trajectory(name, THREE.denoise, start, levels)
    assert torch.equal(states[-1], out) and torch.equal(states[3], seen[3][0]) and torch.equal(estimates[3], seen[3][3])
    assert evaluations(name, steps_within(name, 21)) <= 21 < evaluations(name, steps_within(name, 21) + 1)


def test_samplers_keep_the_precision_they_are_given():
    single = THREE.to(dtype=torch.float32)
    assert solve("heun", single.denoise, single.sample(4, 0, 80.0), karras_sigmas(5)).dtype == torch.float32


# -- diffusers as the witness -----------------------------------------------------------------------------------------

VP = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def witness(scheduler, steps: int, start: torch.Tensor, generator=None) -> tuple[torch.Tensor, list[float]]:
    """Run a diffusers scheduler on the exact noise prediction; its levels as σ, and the samples."""
    scheduler.set_timesteps(steps)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    levels = [math.sqrt(1 / kept[int(t)] - 1) for t in scheduler.timesteps]
    y = start / math.sqrt(1 + levels[0] ** 2)
    for sigma, t in zip(levels, scheduler.timesteps, strict=True):
        x = y * math.sqrt(1 + sigma**2)
        noise = (x - THREE.denoise(x, sigma)) / sigma
        extra = {"generator": generator} if generator is not None else {}
        y = scheduler.step(noise, t, y, **extra).prev_sample
    end = float(getattr(scheduler, "sigmas", [0.0])[-1])  # DEIS ends at the σ of timestep 0, the others at 0
    return y * math.sqrt(1 + end**2), [*levels, end]


def test_diffusers_agrees_on_the_multistep_samplers():
    diffusers = pytest.importorskip("diffusers")
    start = THREE.sample(64, 0, ddpm_sigmas(50, "leading")[0].item())
    schedulers = {
        "ddim": diffusers.DDIMScheduler(**VP, clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading"),
        "dpmpp_2m": diffusers.DPMSolverMultistepScheduler(
            **VP, final_sigmas_type="zero", lower_order_final=False, timestep_spacing="leading"
        ),
        "unipc": diffusers.UniPCMultistepScheduler(
            **VP, solver_order=3, final_sigmas_type="zero", timestep_spacing="leading", lower_order_final=True
        ),
        "deis": diffusers.DEISMultistepScheduler(
            **VP, solver_order=3, lower_order_final=False, timestep_spacing="leading"
        ),
    }
    for name, scheduler in schedulers.items():
        theirs, levels = witness(scheduler, 50, start)
        ours = solve(name, THREE.denoise, start, levels)
        # float32 tables; DEIS' closed form of the weights cancels in them besides
        assert (ours - theirs).norm(dim=1).median() < (3e-4 if name == "deis" else 1e-6), name


# -- measures ---------------------------------------------------------------------------------------------------------


def test_sliced_wasserstein_of_a_shift():
    """A shift by v costs |v| times the mean |cos|, 2/π."""
    a = THREE.sample(500, 0)
    assert sliced_wasserstein(a, a) == 0
    moved = sliced_wasserstein(a, a + torch.tensor([3.0, 4.0]))
    assert moved == pytest.approx(5 * 2 / math.pi, rel=1e-3)


def test_energy_distance_of_two_gaussians():
    """In one dimension E|N(0, v)| = √(2v/π): between unit Gaussians a distance m apart it has a closed form."""
    a = torch.randn(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = torch.randn(2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 2
    across = 2 / math.sqrt(math.pi) * math.exp(-1) + 2 * math.erf(1)  # E|N(2, 2)|
    assert energy_distance(a, b) == pytest.approx(across - 2 / math.sqrt(math.pi), abs=0.06)
    assert abs(energy_distance(a, b - 2)) < 0.01


def test_straight_paths_are_straight():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None, None]
    ends = torch.randn(2, 7, 2, dtype=torch.float64)
    assert straightness((1 - t) * ends[0] + t * ends[1]) < 1e-25
    assert straightness((1 - t) * ends[0] + t**2 * ends[1]) > 0.01


def test_fitted_order_of_a_power():
    assert fitted_order([10, 20, 40], [1e-1, 2.5e-2, 6.25e-3]) == pytest.approx(2)
    assert math.isnan(fitted_order([10], [1.0]))
