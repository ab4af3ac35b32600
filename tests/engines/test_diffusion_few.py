"""Models of few steps: losses at their closed-form minima, and what training of a moment already learns."""

import math

import numpy as np
import pytest
import torch

from engines.diffusion import GaussianMixture, sliced_wasserstein, target_mixture
from engines.diffusion.experiments import EXACT, few_steps
from engines.diffusion.fewstep import (
    METHODS,
    SHIPPED,
    WEIGHTS,
    Model,
    Net,
    consistency_loss,
    exact_flow,
    exact_velocity,
    identity_loss,
    load,
    matching_loss,
    save,
    shortcut_loss,
    train,
)

HALF = GaussianMixture([1.0], [[0.0, 0.0]], [0.5])
THREE = target_mixture("three")


def draws(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spread(t) -> torch.Tensor:
    """Standard deviation of x_t on N(0, ½²)."""
    return (0.25 * t**2 + (1 - t) ** 2) ** 0.5


def flow_map(x, t, u):
    """The exact flow of N(0, ½²) from t to u."""
    return x * (spread(u) / spread(t))[:, None]


def test_velocity_with_a_time_each_agrees_with_one_time():
    x = draws(6)
    for t in (0.0, 0.4, 1.0):
        torch.testing.assert_close(exact_velocity(THREE, x, torch.full((6,), t, dtype=x.dtype)), THREE.velocity(x, t))


def test_the_exact_flow_halves_the_noise():
    """To N(0, ½²) the flow is x -> x/2: what an ideal reflow makes in one straight step, s(x, 0, 1) = −x/2."""
    x = draws(5)
    torch.testing.assert_close(exact_flow(HALF, x, 64), x / 2, rtol=0, atol=1e-8)
    torch.testing.assert_close(exact_flow(HALF, exact_flow(HALF, x, 64, 0, 0.3), 64, 0.3), x / 2)


def test_reflow_of_the_ideal_pairs_is_straight():
    """Pairs (x, x/2) meet no other at any time: v = −x/2 / (1 − t/2) fits them without a rest, and one step is exact."""
    x0, t = draws(100), torch.rand(100, dtype=torch.float64)

    def velocity(x, t):
        return -0.5 * x / (1 - 0.5 * t)[:, None]

    assert matching_loss(velocity, x0, x0 / 2, t).max() < 1e-25
    torch.testing.assert_close(x0 + velocity(x0, torch.zeros(100, dtype=torch.float64)), x0 / 2)


def test_flow_matching_is_least_at_the_exact_velocity():
    x0, x1, t = draws(20_000), HALF.sample(20_000, 1), torch.rand(20_000, dtype=torch.float64)
    losses = [
        matching_loss(lambda x, t, k=k: k * exact_velocity(HALF, x, t), x0, x1, t).mean() for k in (0.9, 1.0, 1.1)
    ]
    assert losses[1] < losses[0] and losses[1] < losses[2]


def test_the_exact_consistency_function_has_no_loss():
    t = torch.rand(50, dtype=torch.float64)
    s = t + 0.3 * (1 - t)
    x_t = draws(50) * spread(t)[:, None]

    def exact(x, t):
        return flow_map(x, t, torch.ones_like(t))

    assert consistency_loss(exact, x_t, t, flow_map(x_t, t, s), s).max() < 1e-14
    assert consistency_loss(lambda x, t: x, x_t, t, flow_map(x_t, t, s), s).mean() > 0.01


def test_the_exact_shortcut_has_no_loss():
    d = 2.0 ** -torch.randint(1, 5, (50,)).double()
    t = (torch.rand(50, dtype=torch.float64) / (2 * d)).floor() * 2 * d
    x = draws(50)

    def exact(x, t, d):
        return (flow_map(x, t, (t + d).clamp(max=1)) - x) / d[:, None]

    assert shortcut_loss(exact, x, t, d).max() < 1e-24
    assert shortcut_loss(lambda x, t, d: exact_velocity(HALF, x, t), x, t, d).mean() > 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.2])
def test_identity_loss_with_the_optimal_fake(alpha):
    """SiD: its mean is (1 − α)|Δ|² once the fake denoiser is the generator's own."""
    made, sigma = GaussianMixture([1.0], [[0.7, 0.0]], [0.3]), 0.6
    truth = made.sample(100_000, 0)
    x = truth + sigma * draws(100_000, 1)
    real, fake = HALF.denoise(x, sigma), made.denoise(x, sigma)
    square = (real - fake).square().sum(-1).mean().item()
    assert identity_loss(real, fake, truth, alpha).mean().item() == pytest.approx(
        (1 - alpha) * square, abs=0.01 * square
    )


def test_a_consistency_model_leaves_the_data_alone():
    model, x = Model("consistency_training", Net(1)), torch.randn(9, 2)
    assert torch.equal(model.consistency(x, torch.ones(9)), x)


@pytest.mark.parametrize("method", METHODS)
def test_training_repeats_itself_and_stays_finite(method):
    runs = [list(train(method, THREE, 4, seed=3, reports=2)) for _ in range(2)]
    assert [state.step for state in runs[0]][-1] == 4 == runs[0][-1].total
    for one, other in zip(*(run[-1].model.net.parameters() for run in runs), strict=True):
        assert torch.equal(one, other) and one.isfinite().all()
    assert runs[0][-1].losses == runs[1][-1].losses
    states = runs[0][-1].model.sample(torch.randn(7, 2), 4)
    assert states.shape == ((2 if METHODS[method].kind == "generator" else 5), 7, 2)


def test_reflow_of_120_steps_samples_near_the_ring():
    *_, state = train("reflow", target_mixture("ring"), 120)
    z = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    ends = state.model.sample(z, 1)[-1].double()
    assert sliced_wasserstein(ends, target_mixture("ring").sample(1000, 1)) < 0.4  # noise itself is 0.7 away


def test_weights_come_back_as_they_were_saved(tmp_path):
    *_, state = train("shortcut", THREE, 3, reports=3)
    save({("three", "shortcut"): state}, tmp_path / "few.safetensors")
    back = load("three", "shortcut", tmp_path / "few.safetensors")
    z = torch.randn(5, 2)
    torch.testing.assert_close(back.model.sample(z, 2), state.model.sample(z, 2), rtol=0, atol=5e-3)
    assert [step for step, _ in back.losses] == [step for step, _ in state.losses]


def test_shipped_weights_are_small_and_whole():
    assert WEIGHTS.stat().st_size < 3_000_000
    for target in SHIPPED:
        for method, spec in METHODS.items():
            assert load(target, method).step == spec.steps


def test_few_steps_compares_from_the_same_noise():
    asked = "ring", (EXACT, "reflow", "consistency_distillation", "sid")
    (_, _, result), (_, _, again) = next(few_steps(*asked)), next(few_steps(*asked))
    np.testing.assert_array_equal(result.samples, again.samples)
    exact, reflow, consistency, sid = range(4)
    np.testing.assert_array_equal(result.traces[exact, 0], result.traces[reflow, 0])
    # in one step the exact flow's Euler lands on the mean, where the students already lie on the ring
    assert result.distance[exact, 0] > 1.0 > 3 * result.distance[[reflow, consistency, sid], 0].max()
    assert result.straightness[reflow] < 0.1 * result.straightness[exact] and math.isnan(result.straightness[sid])
    # a reflowed pair is the flow's own, a generator's is not
    assert result.flow_distance[reflow, 0] < 0.5 * result.flow_distance[sid, 0]
    assert not result.losses[exact].size and len(result.losses[reflow]) == 40


def test_training_now_reports_and_ends_with_a_comparison():
    reports = list(few_steps("three", (EXACT, "fgm", "reflow"), effort=0.02))
    assert [r.step for r in reports] == sorted({r.step for r in reports}) and reports[-1].step == reports[-1].total
    assert reports[-1].total == 26 + 100
    assert reports[-1].result.methods == (EXACT, "fgm", "reflow")
    assert reports[-1].result.samples.shape == (3, 4, 400, 2)
    first = next(r.result for r in reports if r.result is not None)
    assert first.methods == (EXACT, "fgm")


def test_trained_now_is_what_was_trained_before():
    """The shipped weights are those of effort 1 and seed 0, as float16."""
    (_, _, shipped), *_ = few_steps("ring", ("wgan_gp",))
    assert len(shipped.losses[0]) == 40 and shipped.losses[0][-1, 0] == METHODS["wgan_gp"].steps


@pytest.mark.parametrize(("alpha", "through_law", "through_fake"), [(0.0, 1, 0.5), (0.5, 0.5, 0.5), (1.0, 0, 0.5)])
def test_gradient_of_the_identity_loss(alpha, through_law, through_fake):
    """(1 − α) ∇₁F + ½ ∇₂F by the generator's mean, F = E|Δ|² of two Gaussians, by quadrature."""
    nodes, masses = map(torch.tensor, np.polynomial.hermite_e.hermegauss(5))
    z, e = torch.cartesian_prod(nodes, nodes).T[:, :, None]
    mass, sigma, scale = torch.outer(masses, masses).flatten() / (2 * math.pi), 0.8, 0.4
    real = GaussianMixture([1.0], [[0.0]], [0.5])

    def at(mean: float) -> GaussianMixture:
        return GaussianMixture([1.0], [[mean]], [scale])

    def square(law: float, fake: float) -> float:
        x = law + scale * z + sigma * e
        return float((mass * (real.denoise(x, sigma) - at(fake).denoise(x, sigma)).square().sum(-1)).sum())

    mean = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    made = mean + scale * z
    x = made + sigma * e
    loss = (mass * identity_loss(real.denoise(x, sigma), at(0.9).denoise(x, sigma), made, alpha)).sum()
    (gradient,) = torch.autograd.grad(loss, mean)
    h = 1e-4
    by_law = (square(0.9 + h, 0.9) - square(0.9 - h, 0.9)) / (2 * h)
    by_fake = (square(0.9, 0.9 + h) - square(0.9, 0.9 - h)) / (2 * h)
    assert float(gradient) == pytest.approx(through_law * by_law + through_fake * by_fake, rel=1e-7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: next(few_steps("torus")), "target"),
        (lambda: next(few_steps("three")), "the ring, the moons"),
        (lambda: next(few_steps(methods=())), "methods"),
        (lambda: next(few_steps(methods=("magic",))), "methods"),
        (lambda: next(few_steps(seed=-1)), "seed"),
        (lambda: next(few_steps(effort=math.nan)), "effort"),
        (lambda: next(few_steps(effort=5)), "effort"),
        (lambda: next(few_steps(alpha=9)), "alpha"),
        (lambda: next(few_steps("drawing", effort=0.1)), "none yet"),
        (lambda: next(train("magic", THREE, 5)), "method"),
        (lambda: next(train("reflow", THREE, 0)), "steps"),
        (lambda: next(train("reflow", GaussianMixture([1.0], [[0.0]], [1.0]), 5)), "plane"),
        (lambda: load("torus", "reflow"), "target"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_critics_penalty_is_the_one_asked_for():
    """Of a critic that has not moved yet: the loss is the difference of means plus λ times the excess, so linear in λ."""
    losses = [next(train("wgan_gp", THREE, 1, seed=3, penalty=lam)).losses[-1][1] for lam in (0.0, 1.0, 10.0)]
    assert losses[0] < losses[1] < losses[2]
    reflow = [next(train("gan_reflow", THREE, 1, seed=3, penalty=lam)).losses[-1][1] for lam in (0.1, 10.0)]
    assert reflow[0] == reflow[1]
