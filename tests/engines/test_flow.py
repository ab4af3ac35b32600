"""The flows: exactness against brute force, what is exact in the plane, heads, codes, and wrong arguments."""

import json
import math

import numpy as np
import pytest
import torch

from engines import flow, models
from engines.arguments import Refusal
from engines.diffusion.mixture import GaussianMixture, target_mixture
from engines.flow import checks, codes, digits, experiments, heads, patch_heads, pictures, plane, shipped
from engines.flow.tarflow import TarFlow


def shaken(seed=1, **sizes):
    """A flow with random weights, in float64."""
    made = TarFlow(
        **{"tokens": 4, "token_dim": 2, "channels": 16, "blocks": 3, "layers": 2, "head_dim": 8} | sizes
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made.requires_grad_(False)


def test_log_prob_is_that_of_the_whole_jacobian():
    made, x = shaken(), torch.randn(1, 4, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: made(x)[0], x).view(8, 8)
    z = made(x)[0]
    expected = -0.5 * z.square().sum() - 4 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1]
    assert made.log_prob(x).item() == pytest.approx(expected.item(), abs=1e-10)


def test_inverse_takes_back_what_forward_does_with_and_without_labels():
    made, x = shaken(classes=3), torch.randn(5, 4, 2, dtype=torch.float64)
    for labels in (None, torch.tensor([0, 1, 2, 3, 0])):
        assert torch.allclose(made.inverse(made(x, labels)[0], labels), x, atol=1e-11)


def test_the_first_token_of_each_order_is_untouched():
    made, x = shaken(blocks=1), torch.randn(3, 4, 2, dtype=torch.float64)
    assert torch.equal(made(x)[0][:, 0], x[:, 0]) and not torch.allclose(made(x)[0][:, 1:], x[:, 1:])


def test_the_score_is_the_slope_of_log_prob():
    made, x = shaken(), torch.randn(2, 4, 2, dtype=torch.float64)
    step = torch.randn(x.shape, dtype=torch.float64)
    slope = (made.log_prob(x + 1e-5 * step) - made.log_prob(x - 1e-5 * step)) / 2e-5
    assert torch.allclose((made.score(x) * step).flatten(1).sum(1), slope, atol=1e-6)
    assert torch.allclose(made.denoise(x, 0.3), x + 0.09 * made.score(x))


def test_guidance_pushes_away_from_the_flow_that_is_told_nothing():
    made, z = shaken(classes=3, blocks=1, tokens=2), torch.randn(6, 2, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    told, untold = (made.blocks[0](z, y)[0][:, 1] for y in (labels, None))
    scale = made.blocks[0](z, labels)[1][:, 1]
    found = made.inverse(z, labels, guidance=1.5, guided=("shift",))
    assert torch.allclose(found[:, 1], z[:, 1] * scale.exp() + told + 1.5 * (told - untold))
    plain = made.inverse(z, labels)
    assert torch.equal(made.inverse(z, labels, guidance=0, temperature=1.3), plain)
    hot = made.inverse(z, labels, guidance=1.0, annealed=True)
    assert not torch.allclose(hot, plain)


def test_temperature_changes_the_branch_that_is_told_nothing():
    made, z = shaken(classes=3), torch.randn(4, 4, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0])
    sheets = [made.inverse(z, labels, guidance=1.0, temperature=t) for t in (1.0, 0.5)]
    assert not torch.allclose(*sheets)


@pytest.mark.parametrize("target", plane.TARGETS)
def test_shipped_flows_keep_one_orders_floor_and_go_below_it_with_two(target):
    exact = flow.one_order_floor(target, 0.15)
    gaps = experiments.order(target).gaps
    by_stack = dict(zip(shipped.STACKS, gaps, strict=True))
    assert exact.floor - 1e-4 < by_stack["1"] < exact.floor + 0.01
    assert exact.floor - 1e-4 < by_stack["8-one-order"] < exact.floor + 0.01
    assert by_stack["8"] < by_stack["4"] < by_stack["2"] and by_stack["8"] < 0.1 * exact.floor


def test_the_card_says_what_the_shipped_flows_do():
    told = json.loads((models.ASSETS / "flow" / "figures.json").read_text())
    assert flow.divergence(shipped.plane("moons"), target_mixture("moons"), 0.15) == pytest.approx(
        told["moons-8"], abs=1e-4
    )
    assert digits.test_nll(shipped.digits("0.3"), 4, 0.3) == pytest.approx(told["digits-0.3"], abs=1e-4)


def test_one_order_has_no_floor_on_a_gaussian_that_is_normal_in_its_first_coordinate():
    exact = flow.one_order_floor(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), 0)
    assert exact.floor == pytest.approx(0, abs=1e-6) and exact.entropy == pytest.approx(
        math.log(2 * math.pi * math.e), abs=1e-6
    )


def test_divergence_is_that_of_two_gaussians():
    made = flow.gaussian_flow([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    mixture = GaussianMixture([1.0], [[0.5, 0.0]], [0.8])
    expected = 0.5 * (2 * 0.64 + 0.25 - 2 - 2 * math.log(0.64))
    assert flow.divergence(made, mixture, 0.0) == pytest.approx(expected, abs=1e-4)


def test_heads_lose_nothing_where_they_fit():
    one = GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    assert heads.gaussian_gap(one, 0.1) == pytest.approx(0, abs=1e-6)
    assert heads.mixture_gap(one, 0.1, 1) == pytest.approx(0, abs=1e-5)
    away = GaussianMixture([1.0], [[0.0, 10.0]], [1.0])
    assert heads.mixture_gap(away, 0.1, 1) == pytest.approx(0, abs=1e-5)
    assert heads.mixture_gap("moons", 0.05, 2) < 0.2 * heads.gaussian_gap("moons", 0.05)
    losses = [heads.bins_gap("moons", 0.15, bins) for bins in (8, 16, 64)]
    assert losses[0] > losses[1] > losses[2] > 0


def test_means_over_x1_are_taken_at_places_enough(monkeypatch):
    gaps = [[heads.bins_gap("ring", 0, 16), heads.mixture_gap("ring", 0, 3), heads.flow_matching_gap("ring", 0, 8)]]
    monkeypatch.setattr(heads, "PLACES", 4 * heads.PLACES)
    gaps.append([heads.bins_gap("ring", 0, 16), heads.mixture_gap("ring", 0, 3), heads.flow_matching_gap("ring", 0, 8)])
    assert np.allclose(*gaps, atol=2e-3), gaps


def test_equal_parts_of_a_conditional_are_one_without_changing_it():
    mixture, x1 = target_mixture("checkerboard"), torch.tensor([0.3, -1.0], dtype=torch.float64)
    weights, means, variances = heads.conditional(mixture, x1, 0.1)
    assert len(means) < len(mixture.weights)
    _, mean, variance = plane.conditional_moments(mixture, x1, 0.1)
    assert torch.allclose(weights @ means, mean)
    assert torch.allclose(weights @ (variances + means.square()) - mean.square(), variance)


@pytest.mark.parametrize("steps", [4, 9, 32])
def test_euler_steps_of_flow_matching_lose_what_the_closed_form_says(steps):
    mean, variance = 0.5, 0.8**2 + 0.1**2
    slope, place = 1.0, 0.0  # one Gaussian is moved by straight lines: each step is z -> slope z + place
    for i in range(steps):
        t = i / steps
        lean = (t * variance - (1 - t)) / (t**2 * variance + (1 - t) ** 2)
        slope, place = slope * (1 + lean / steps), place + (mean + lean * (place - t * mean)) / steps
    ratio = variance / slope**2
    expected = 0.5 * (ratio + ((mean - place) / slope) ** 2 - 1 - math.log(ratio))
    one = GaussianMixture([1.0], [[0.0, mean]], [0.8])
    assert heads.flow_matching_gap(one, 0.1, steps) == pytest.approx(expected, rel=1e-5)


def test_tails_that_few_euler_steps_leave_empty_are_paid_for(monkeypatch):
    """At four steps the exact law has mass where z is beyond 8: a reach twice as wide changes nothing."""
    found = heads.flow_matching_gap("moons", 0, 4)
    monkeypatch.setattr(heads, "tail_slope", lambda *given: tail_slope(*given) / 2)
    assert heads.flow_matching_gap("moons", 0, 4) == pytest.approx(found, abs=5e-3) and found > 0.8


tail_slope = heads.tail_slope


def test_a_codebook_of_many_entries_still_pays_for_its_gaussian():
    one = GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    assert heads.codebook_gap(one, 0, 512) == pytest.approx(0.5 * math.log(math.pi * math.e / 6), abs=1e-3)
    assert heads.codebook_gap("moons", 0.15, 4) < heads.gaussian_gap("moons", 0.15)


@pytest.mark.parametrize("name", patch_heads.HEADS)
def test_a_patch_heads_nats_are_a_density_and_its_draws_follow_it(name):
    """∫ q = 1 by draws of a wide Gaussian; E g/q = 1 over draws of q, g within its support. The codebook pays for pairs."""
    n = 4000
    draws = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = patch_heads.make_head(name, 0.1, 0.5 * torch.randn(500, 4, generator=draws))
    h = torch.randn(1, patch_heads.CHANNELS, generator=draws).expand(n, -1)
    with torch.no_grad():
        wide, zero = torch.randn(n, 4, generator=draws), torch.zeros(1)
        ratio = (patch_heads.normal_nats(wide, zero, zero) - head.nats(h, wide)).exp()
        if name == "bins":  # beyond them no density
            ratio = ratio * (wide.abs() < head.reach).all(1)
        x = head.draw(h, draws)
        mean, log_scale = x.mean(0), (0.5 * x.std(0)).log()
        back = (head.nats(h, x) - patch_heads.normal_nats(x, mean, log_scale)).exp()
    off = abs(ratio.mean() - 1) / (ratio.std() / math.sqrt(n))
    if name == "codebook":
        assert ratio.mean() < 0.9
    else:
        assert off < 4 and abs(back.mean() - 1) < 4 * back.std() / math.sqrt(n) + 1e-3


def test_patches_are_read_from_the_first_to_the_last_alone():
    torch.manual_seed(0)
    reader = patch_heads.Reader(patch_heads.make_head("gaussian", 0.1, torch.zeros(0, 4)))
    x, labels = torch.randn(2, 15, 4), torch.tensor([3, 7])
    other = x.clone()
    other[:, 9:] += 1
    a, b = (reader.read(part, labels).view(2, 16, -1) for part in (x, other))
    assert torch.equal(a[:, :10], b[:, :10]) and not torch.allclose(a[:, 10:], b[:, 10:])


def test_heads_on_digits_are_trained_and_measured(monkeypatch):
    monkeypatch.setattr(patch_heads, "REPORTS", 2)
    monkeypatch.setattr(patch_heads, "ODE_STEPS", 2)
    reports = [report.result for report in patch_heads.patch_heads(("mixture", "flow_matching"), effort=0.01)]
    first, last = reports[0], reports[-1]
    assert first.heads == ("mixture",) and last.heads == ("mixture", "flow_matching")
    assert last.nats.shape == (2, 2) and np.isfinite(last.nats).all() and last.pictures.shape[:2] == (2, 10)
    assert (last.nats[:, 1] < last.nats[:, 0]).all() and (last.nats > last.noise_alone).all()


def test_a_training_in_the_plane_is_kept_for_scrubbing():
    reports = [report.result for report in experiments.train(effort=0.02)]
    last = reports[-1]
    assert len(last.samples) == len(last.lines) == len(last.step) and all(len(r.samples) == 1 for r in reports[:-1])
    assert np.array_equal(last.samples[0], reports[0].samples[0]) and not np.array_equal(*last.samples[[0, -1]])


def test_arrows_are_tweedies_steps():
    found = experiments.denoise("moons", 0.3)
    exact = 0.09 * target_mixture("moons").score(torch.from_numpy(found.places), 0.3).numpy()
    assert np.allclose(found.exact_steps, exact) and 50 < len(found.places) < 625
    assert np.square(found.flow_steps - exact).sum() < 0.2 * np.square(exact).sum()


def test_the_laws_of_the_heads_are_densities():
    found = experiments.heads(x1=0.4)
    step = found.x2[1] - found.x2[0]
    for law in (found.exact, *found.laws):
        assert law.sum() * step == pytest.approx(1, abs=0.02)
    by_head = dict(zip(found.heads, found.here, strict=True))
    assert by_head["gaussian"] > by_head["bins"] > by_head["mixture"] > -1e-3


def test_denoising_halves_the_distance_to_clean_digits():
    parts, labels = digits.split(), torch.arange(300) % 10
    made = shipped.digits("0.3")
    raw = digits.sample(made, 4, labels)
    clean = digits.denoised(made, 4, raw, 0.3, labels)
    assert digits.frechet(clean) < 0.5 * digits.frechet(raw)
    assert digits.recognised(clean, labels) >= 0.97
    assert digits.frechet(parts.test) == pytest.approx(0, abs=1e-7)


def test_tokens_and_pictures_are_one_another_back():
    x = digits.split().test[:3]
    for patch in (1, 2, 4, 8):
        assert torch.equal(digits.to_pictures(digits.to_tokens(x, patch), patch), x)
    assert torch.equal(digits.to_tokens(x, 4)[0, 0], x[0].view(8, 8)[:4, :4].ravel())


def test_the_nats_of_blocks_and_patches_sum_to_the_likelihood():
    found = pictures.likelihood(5)
    assert found.sum_of_costs == pytest.approx(found.brute_force, abs=1e-4)
    assert found.sum_of_costs == pytest.approx(-found.log_q.max(), abs=1e-4)
    assert found.posterior.sum() == pytest.approx(1) and found.posterior.argmax() == found.label


def test_the_density_is_a_classifier():
    parts = digits.split()
    x = digits.to_tokens(digits.noised(parts.test, 0.1, torch.Generator().manual_seed(0)), 4)
    with torch.no_grad():
        log_q = torch.stack([shipped.digits("0.1").log_prob(x, torch.full((len(x),), label)) for label in range(10)])
    assert (log_q.argmax(0) == parts.test_labels).float().mean() > 0.95


def test_drawn_digits_are_read(tmp_path):
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(picture).line([(112, 30), (112, 190)], fill="black", width=30)
    picture.save(tmp_path / "one.png")
    found = pictures.likelihood(drawing=str(tmp_path / "one.png"))
    assert found.label == -1 and np.isfinite(found.log_q).all()
    Image.new("RGB", (50, 50), "white").save(tmp_path / "empty.png")
    with pytest.raises(Refusal, match="no ink"):
        pictures.likelihood(drawing=str(tmp_path / "empty.png"))
    with pytest.raises(Refusal, match="no file that can be read"):
        pictures.likelihood(drawing=str(tmp_path / "none.png"))


def test_training_is_repeatable_and_goes_below_one_order():
    runs = [list(experiments.train(effort=0.1))[-1].result for _ in range(2)]
    assert np.array_equal(runs[0].samples, runs[1].samples)
    assert runs[0].entropy + runs[0].gap < runs[0].best_one_order


def test_training_stops_where_the_loss_is_no_number():
    made = plane.PlaneFlow(2)
    with torch.no_grad():
        made.blocks[0].out.bias[0] = math.nan
    with pytest.raises(Refusal, match="step 1 the loss"):
        list(plane.train(target_mixture("moons"), made, 3))


@pytest.mark.parametrize("kind", ["plane", "digits"])
def test_a_gradient_that_is_no_number_leaves_the_weights_as_they_were(kind):
    if kind == "plane":
        made = plane.PlaneFlow(2)
        run = plane.train(target_mixture("moons"), made, 5)
    else:
        made = digits.make("4", 32, 2)
        run = digits.train(made, 4, 0.3, 5, batch=4)
    next(run)
    next(run)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    next(made.parameters()).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Refusal, match="step 3 the loss or its gradient"):
        next(run)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_a_shipped_sheet_at_weight_0_is_the_same_however_it_would_be_guided():
    found = [pictures.guide(0.0, guided=guided, temperature=t) for guided, t in ((("shift",), 0.7), (("scale",), 1.0))]
    assert found[0].frechet_here == found[1].frechet_here == found[0].frechet[0]
    on_curve = pictures.guide(2.0, guided=("scale", "shift"))
    assert on_curve.frechet_here == on_curve.frechet[3] and on_curve.frechet_here > found[0].frechet_here
    assert np.array_equal(on_curve.compared[3], on_curve.compared[-1])  # the same row where the weights are the same
    assert np.array_equal(on_curve.compared[0], found[0].pictures[:10])
    assert on_curve.frechet_real == digits.frechet(digits.split().train[: pictures.SAMPLES])


def test_digits_know_two_costs_of_the_test_pictures():
    *_, last = pictures.digits(effort=0.02, channels=32, blocks=2)
    found = last.result
    assert found.test.shape == found.test_unlabelled.shape == found.step.shape
    assert not np.array_equal(found.test, found.test_unlabelled)
    assert digits.test_nll(shipped.digits("0.3"), 4, 0.3) < digits.test_nll(shipped.digits("0.3"), 4, 0.3, told=False)


def test_codes_of_every_patch_are_lossless():
    found = codes.codes(patch="1", levels=512)
    assert found.psnr > 60 and found.accuracy_kept == found.accuracy_real
    assert codes.codes(patch="1", levels=8).psnr > 29  # seldom grey levels count less than frequent ones, but are seen
    rough = codes.codes(patch="2", levels=4)
    assert rough.psnr < codes.codes(patch="2", levels=64).psnr and rough.bits_code <= rough.bits_fixed


def test_a_visitors_picture_is_coded_and_its_codebook_paid_for(tmp_path):
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "own.png")
    found = codes.codes("upload", str(tmp_path / "own.png"), "32", "2", 16)
    assert found.original.shape == found.kept.shape == (1, 32, 32, 3) and np.array_equal(found.kept, found.shown)
    assert found.bits_fixed == 4 * 256 and found.bits_book == 16 * 12 * 8 and found.bits_code <= found.bits_fixed
    assert found.bits_png > 0.9 * found.bits_raw  # nothing is to be gained on noise
    whole = codes.codes("upload", str(tmp_path / "own.png"), "32", "4", 512, residual=True)
    assert np.array_equal(whole.kept, whole.original) and np.array_equal(whole.shown, whole.original)
    with pytest.raises(Refusal, match="upload is missing"):
        codes.codes("upload")
    with pytest.raises(Refusal, match="cannot be read"):
        (tmp_path / "text.png").write_text("no picture")
        codes.codes("upload", str(tmp_path / "text.png"))


def test_lloyd_max_is_above_shannons_bound():
    for levels in (1, 2, 8):
        points, error, bits = flow.lloyd_max(levels)
        assert np.allclose(points, -points[::-1], atol=1e-9) and error >= 4.0**-bits - 1e-12
    assert flow.lloyd_max(2).mean_squared_error == pytest.approx(1 - 2 / math.pi)


def wrong(name, monkeypatch):
    """Break the engine in one place."""
    tarflow = checks.TarFlow
    if name == "determinant":
        original = tarflow.forward
        monkeypatch.setattr(
            tarflow, "forward", lambda self, x, c=None: (original(self, x, c)[0], -original(self, x, c)[1])
        )
    elif name == "inverse":
        original = tarflow.inverse
        monkeypatch.setattr(tarflow, "inverse", lambda self, z: original(self, z.flip(1)))
    elif name == "causal":
        import torch.nn.functional as F

        plain = F.scaled_dot_product_attention
        monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, is_causal: plain(q, k, v))
    elif name == "tweedie":
        monkeypatch.setattr(plane.PlaneFlow, "denoise", lambda self, x, sigma: x + sigma * self.score(x))
    elif name == "floor":
        monkeypatch.setattr(
            plane, "conditional_moments", lambda m, x, s, given=0: conditional_moments(m, x, s, 1 - given)
        )
    elif name == "head":
        monkeypatch.setattr(checks, "gaussian_gap", lambda t, s: heads.gaussian_gap(t, s, given=1))
    elif name == "conditional":
        monkeypatch.setattr(heads, "marginal_entropy", lambda m, s, given: plane.marginal_entropy(m, s, 1 - given))
        heads.conditional_entropy.cache_clear()
    elif name == "levels":
        monkeypatch.setattr(checks, "lloyd_max", lambda k: flow.lloyd_max(k + 1))
    elif name == "patches":
        monkeypatch.setattr(checks, "patch_entropy", lambda side: codes.patch_entropy(4))
    elif name == "bits":
        monkeypatch.setattr(codes, "plug_in", lambda counts: float(np.log2(len(counts))))
    elif name == "codebook":
        cells = heads.cells
        monkeypatch.setattr(heads, "cells", lambda *given: cells(*given) * torch.tensor([1, 1, 1.01])[:, None, None])
    elif name == "ode":
        rise = patch_heads.rise
        monkeypatch.setattr(patch_heads, "rise", lambda *given: (rise(*given)[0], -rise(*given)[1]))


conditional_moments = plane.conditional_moments


@pytest.mark.parametrize(
    "name, number",
    [
        ("floor", 0),
        ("determinant", 1),
        ("inverse", 2),
        ("causal", 3),
        ("tweedie", 4),
        ("conditional", 5),
        ("head", 6),
        ("levels", 7),
        ("patches", 8),
        ("bits", 9),
        ("codebook", 10),
        ("ode", 11),
    ],
)
def test_a_check_fails_on_a_wrong_engine(name, number, monkeypatch):
    assert checks.CHECKS[number].outcome().holds
    wrong(name, monkeypatch)
    assert not checks.CHECKS[number].outcome().holds
    heads.conditional_entropy.cache_clear()


GOOD, X = shaken(), torch.zeros(2, 4, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    "call",
    [
        lambda: TarFlow(1, 2, 16, 2),
        lambda: TarFlow(4, "2", 16, 2),
        lambda: TarFlow(4, 2, 16.5, 2),
        lambda: TarFlow(4, 2, 16, 0),
        lambda: TarFlow(4, 2, 100, 2),
        lambda: GOOD(X.float()),
        lambda: GOOD(X[:, :2]),
        lambda: GOOD("x"),
        lambda: GOOD.inverse(X[:0]),
        lambda: GOOD.inverse(X, guidance=math.nan),
        lambda: GOOD.inverse(X, guided=("mean",)),
        lambda: GOOD.inverse(X, temperature=0),
        lambda: GOOD.log_prob(X, torch.zeros(2, dtype=torch.long)),
        lambda: GOOD.log_prob(X, "seven"),
        lambda: GOOD.denoise(X, 0),
        lambda: GOOD.denoise(X, -1),
        lambda: flow.lloyd_max(0),
        lambda: flow.lloyd_max("four"),
        lambda: flow.one_order_floor("circle", 0.1),
        lambda: flow.one_order_floor("moons", -0.1),
        lambda: flow.one_order_floor(GaussianMixture([1.0], [[0.0, 0.0, 0.0]], [1.0]), 0.1),
        lambda: flow.one_order_floor(GaussianMixture([1.0], [[0.0, 0.0]], [0.0]), 0),
        lambda: flow.gaussian_flow([0, 0], [[1, 2], [2, 1]]),
        lambda: flow.gaussian_flow("mean", None),
        lambda: flow.gaussian_gap("moons", "loud"),
        lambda: flow.gaussian_gap("moons", 0.1, given=2),
        lambda: flow.mixture_gap("moons", 0.1, 0),
        lambda: flow.bins_gap("moons", 0.1, 1),
        lambda: flow.codebook_gap("moons", 0.1, 1),
        lambda: experiments.heads(steps=3),
        lambda: list(patch_heads.patch_heads(noise=0)),
        lambda: list(patch_heads.patch_heads(heads=())),
        lambda: plane.PlaneFlow(0),
        lambda: shipped.plane("letter"),
        lambda: shipped.digits("0.2"),
        lambda: digits.to_tokens(digits.split().test[:1], 3),
        lambda: experiments.order(stack="3"),
        lambda: experiments.denoise(points=1),
        lambda: list(experiments.train(blocks=0)),
        lambda: list(pictures.digits(noise=math.nan)),
        lambda: pictures.guide(guided=()),
        lambda: pictures.likelihood(digit=297),
        lambda: pictures.likelihood(drawing="nothing.png"),
        lambda: codes.codes(patch="3"),
    ],
)
def test_wrong_arguments_get_a_sentence(call):
    with pytest.raises(ValueError, match=r"[a-z].*\.$"):
        call()
