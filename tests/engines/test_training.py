"""The training engine against closed forms, torch.optim and direct sums."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from engines import training
from engines.networks import adam, cross_entropy, digits, forward, initial, stack, zero_moments
from engines.training.averaging import averaging, exact_loss, post_hoc_weights, power_decay
from engines.training.checks import CHECKS
from engines.training.dropout import TUNINGS, child, dropout, fisher
from engines.training.inside import TENSORS, eager, inside, record
from engines.training.ladder import METHODS, Tuned, auc, examples, fragments, ladder, saved_bytes, stack_bytes
from engines.training.optimisers import assumptions, optimise, schedules
from engines.training.penalties import gradient_penalty_sides, penalties
from engines.training.plane import plane
from engines.training.rules import RULES, Rule


def last(generator):
    *_, progress = generator
    return progress.result


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.claim)
def test_check_holds(check):
    assert check.outcome().holds


# ---- rules


def test_adam_is_that_of_torch():
    random = torch.Generator().manual_seed(0)
    ours = [torch.randn(2, 5, 3, generator=random), torch.randn(2, 3, generator=random)]
    theirs = [w.clone().requires_grad_() for w in ours]
    optimiser, moments = torch.optim.Adam(theirs, lr=0.01), zero_moments(ours)
    for step in range(1, 8):
        gradients = [torch.randn(w.shape, generator=random) for w in ours]
        for w, g in zip(theirs, gradients, strict=True):
            w.grad = g.clone()
        optimiser.step()
        adam(ours, gradients, moments, step, 0.01)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.detach(), atol=1e-6, rtol=1e-5)


def test_adamw_of_the_rules_is_that_of_torch():
    random = torch.Generator().manual_seed(1)
    ours = [torch.randn(1, 5, 3, generator=random)]
    theirs = ours[0].clone().requires_grad_()
    optimiser = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.01)
    rule = Rule("adamw", ours, [torch.ones(1, 1, 1)], 0.01, 10)
    for _ in range(6):
        gradient = torch.randn(ours[0].shape, generator=random)
        theirs.grad = gradient.clone()
        optimiser.step()
        ours = rule(ours, [gradient])
    torch.testing.assert_close(ours[0], theirs.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_descends_and_keeps_what_slot_count_says(rule):
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(2, 6, 4, generator=random)]
    rate = {"sgd": 0.1, "lamb": 0.05, "su": 0.05}.get(rule, 0.05)
    made = Rule(rule, weights, [torch.ones(2, 1, 1)], rate, 60)
    begun = weights[0].square().sum()
    for _ in range(60):
        weights = made(weights, [weights[0].clone()])  # gradient of half the square
    assert weights[0].square().sum() < 0.7 * begun
    kept = sum(tensor[0].numel() for tensor in made.slots[0].values())
    assert kept == training.slot_count("adamw" if rule == "adamw-linear" else rule, (4, 6))


def test_slot_counts_are_those_of_the_papers():
    shape = (512, 128)
    counts = {
        rule: training.slot_count(rule, shape) for rule in ("sgd", "adamw", "amos-scalar", "amos-rows", "adafactor")
    }
    assert counts == {"sgd": 0, "adamw": 2 * 512 * 128, "amos-scalar": 2, "amos-rows": 1024, "adafactor": 640}
    assert training.slot_count("amos-momentum", shape) == 1024 + 512 * 128
    assert training.slot_count("adafactor", (7,)) == 7 and training.slot_count("amos-rows", (7,)) == 2


def test_amos_with_zero_gradient_leaves_the_weight():
    weight, slots = torch.ones(3, dtype=torch.float64), {}
    assert torch.equal(training.amos(weight, torch.zeros_like(weight), slots, 1, 0.1), weight)


def test_amos_factors_part_where_rate_and_size_are_not_one():
    # by hand, one entry, two steps: c has √ξ, d has √(ξη)
    xi, eta, beta, x, v, b = 0.04, 0.25, 0.999, 2.0, 0.0, 0.0
    weight, slots = torch.tensor([x], dtype=torch.float64), {}
    for step, g in ((1, 3.0), (2, -1.0)):
        v = beta * v + (1 - beta) * g * g
        inverse = (1 - beta**step) / v
        gamma = (1 + 0.25 * xi**0.5 * b) ** -0.5 * xi**2 * inverse * g * g
        x -= (xi * eta * inverse**0.5 * g + 0.5 * gamma * x) / (1 + 0.25 * (xi * eta) ** 0.5 * b)
        b += gamma * (1 + b)
        weight = training.amos(weight, torch.tensor([g], dtype=torch.float64), slots, step, xi, eta)
    assert weight.item() == pytest.approx(x, abs=1e-13) and slots["b"].item() == pytest.approx(b, abs=1e-15)


@pytest.mark.parametrize("exponent", [-4, 1, 4])
def test_only_adamw_notices_the_storage(exponent):
    found = last(optimise(rules=("adamw", "su", "amos-rows"), scale_exponent=exponent, steps=100, seeds=1))
    adamw, su, amos = found.difference
    assert su == 0 and amos < 0.05 < adamw
    assert np.isnan(found.error).all() and (found.loss[:, 0, -1] < found.loss[:, 0, 0] / 3).all()


def test_loss_of_side_by_side_networks_is_that_of_each():
    data, random = digits(), torch.Generator().manual_seed(0)
    networks = [initial((64, 8, 10), random) for _ in range(3)]
    together = cross_entropy(forward(stack(networks), data.x[:20], "relu"), data.y[:20])
    for loss, (a, b, c, d) in zip(together, networks, strict=True):
        scores = (data.x[:20] @ a + b).relu() @ c + d
        torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, data.y[:20]))


def test_schedules_solve_their_equations():
    for law, power in (("steady", 1), ("slowing", 2)):
        ratio, rho = training.su_schedule(2e-3, 0.8, 2, 5000, law)
        assert len(ratio) == 5001 and ratio[0] == 1
        assert np.allclose(rho, 2e-3**2 / 4 * ratio, rtol=1e-12)
        shrink = np.sqrt(ratio)  # |ε_t|/|ε_0|; d ln|ε|/dt = -α0 p e^{-power S}
        assert np.allclose(np.diff(np.log(shrink)), -2e-3 * 0.8 * shrink[:-1] ** power, rtol=4e-3)
        assert np.abs(training.su_recursion(2e-3, 0.8, 5000, law) / ratio - 1).max() < 2e-3
    found = schedules(alpha0=0.01, p=0.5, law="steady", steps=1000)
    assert np.interp(found.half, found.step, found.ratio) == pytest.approx(0.5, abs=1e-4)


# ---- dropped gradients


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("drop", ["gradient", "update"])
def test_simulated_updates_have_the_closed_moments(optimiser, drop):
    found = dropout(p=0.3, optimiser=optimiser, drop=drop, beta2=0.9995, draws=100_000)
    for p, mean, error, variance, spread in zip(
        found.simulated,
        found.simulated_mean,
        found.mean_error,
        found.simulated_variance,
        found.variance_error,
        strict=True,
    ):
        exact = training.dropout_moments(1, 1, p, optimiser, drop)
        assert abs(mean - exact[0]) < 5 * error and abs(variance - exact[1]) < 5 * spread + 0.03 * exact[1]


def test_adam_shrinks_the_mean_by_the_root_and_raises_the_variance():
    (plain, quiet), (mean, loud) = (training.dropout_moments(0.7, 1.3, p) for p in (1, 0.2))
    assert mean / plain == pytest.approx(math.sqrt(0.2), abs=1e-12) and loud > quiet


def test_fisher_is_the_mean_of_squared_gradients():
    random = torch.Generator().manual_seed(0)
    weights = [w.requires_grad_() for w in stack([initial((4, 5, 3), random) for _ in range(2)])]
    x, y = torch.randn(2, 6, 4, generator=random), torch.randint(3, (2, 6), generator=random)
    expected = [torch.zeros_like(w) for w in weights]
    for i in range(6):
        loss = cross_entropy(forward(weights, x[:, i : i + 1]), y[:, i : i + 1]).sum()
        for total, gradient in zip(expected, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.square() / 6
    for ours, theirs in zip(fisher(weights, x, y), expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach())


def test_with_everything_kept_all_ways_are_plain():
    found = last(child(p=1.0, steps=50, episodes=4, labels=20))
    assert found.tunings == TUNINGS and np.abs(found.last[[1, 2, 4]]).max() == 0  # f, d, smaller
    assert np.abs(found.last[3]).max() < 0.02  # the update is taken apart and put together again


# ---- ladder


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", [(1, 8, 3, 2), (5, 32, 16, 4)])
def test_kept_bytes_are_counted_right(method, sizes):
    assert stack_bytes(method, *sizes) == training.kept_bytes(method, *sizes)


def test_saved_bytes_counts_a_memory_once():
    x, w = torch.randn(10, 4), torch.randn(4, 4, requires_grad=True)
    assert saved_bytes(lambda: (x @ w, x[:5] @ w), [w]) == 160
    assert saved_bytes(lambda: x @ w.detach()) == 0


def test_each_way_tunes_what_it_says():
    shares = {}
    for method in METHODS:
        network = Tuned(method, 8, 4, False)
        shares[method] = sum(w.numel() for w in network.trained())
        ids = torch.tensor([[2, 50, 60, 3, 0], [2, 70, 3, 0, 0]])
        alone = network(ids[1:, :3])
        torch.testing.assert_close(network(ids)[1:], alone, atol=1e-5, rtol=1e-4)  # padding changes nothing
    assert shares["head"] < shares["bitfit"] < shares["lora"] < shares["ladder"] < shares["full"] / 20


def test_ladder_keeps_less_on_the_model_and_more_on_a_stack():
    found = last(ladder(methods=("full", "ladder"), batch=4, length=32))
    assert found.kept[1] < found.kept[0] / 3 and found.stack[1] > found.stack[0]
    assert np.array_equal(found.stack, found.stack_closed)


def test_fragments_and_tasks():
    assert len(fragments()) == len(set(fragments())) == 2000
    ids, labels = examples("swapped", 420, 64, 0)
    assert ids.shape == labels.shape and set(labels.unique().tolist()) == {-100, 0, 1}
    assert (labels[::2] != 1).all() and ((labels[1::2] == 1).sum(1) >= 2).all()
    assert auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])) == 0.75


# ---- penalties, averages, tensors


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_sides_are_those_of_autograd_and_in_order(activation):
    rng = np.random.default_rng(0)
    for _ in range(5):
        shapes = list(itertools.pairwise((5, 7, 6, 4)))
        weights, biases = [rng.normal(size=(o, i)) for i, o in shapes], [rng.normal(size=o) for _, o in shapes]
        x, readout = rng.normal(size=5), rng.normal(size=4)
        left, right = gradient_penalty_sides(weights, biases, activation, x, readout)
        leaves = [torch.tensor(w, requires_grad=True) for w in (*weights, *biases)]
        h = torch.tensor(x)
        for w, b in zip(leaves[:3], leaves[3:], strict=True):
            h = w @ h + b
            h = h.tanh() if activation == "tanh" else h.relu()
        exact = sum(g.square().sum() for g in torch.autograd.grad(h @ torch.tensor(readout), leaves))
        assert right == pytest.approx(exact.item(), rel=1e-10) and left <= right * (1 + 1e-12)


def test_no_example_breaks_the_inequality_in_training():
    for settings in ({"activation": "relu", "widths": (20,)}, {"widths": (8, 1, 8)}):
        found = last(penalties(steps=100, **settings))
        assert (found.example_left <= found.example_right * (1 + 1e-9)).all() and found.greatest.max() > 0.05


def test_exact_loss_agrees_with_the_run():
    found = last(averaging(source="quadratic", steps=400))
    late = found.step > 100
    assert (np.abs(found.loss - found.exact)[:, late] < 6 * np.maximum(found.error, 0.02 * found.exact)[:, late]).all()


def test_stationary_factor_is_the_recursion_s_limit():
    ema, raw = (exact_loss([d] * 3000, [0.3] * 3000)[-1] for d in (0.9, 0.0))
    assert ema / raw == pytest.approx(training.ema_variance_factor(0.9, 0.3), rel=1e-9)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.15, 0.25, 0.3])
def test_gamma_has_the_width(sigma):
    gamma = training.power_ema_gamma(sigma)
    assert math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) == pytest.approx(sigma, rel=1e-9)


def test_power_average_weighs_steps_by_a_power():
    weights = np.zeros(500)
    for step in range(1, 501):
        beta = power_decay(3.0, step)
        weights *= beta
        weights[step - 1] = 1 - beta
    late = np.arange(100, 501)
    assert np.allclose(weights[99:] / (4 * (late / 500) ** 3 / 500), 1, atol=0.02)


def test_a_stored_average_is_made_of_itself():
    times, gammas = [50, 50, 100, 100], [16.97, 6.94, 16.97, 6.94]
    assert np.allclose(post_hoc_weights(times, gammas, 100, 6.94), [0, 0, 0, 1], atol=1e-9)


def test_tensors_follow_from_each_other():
    model, tokenizer = eager("bert-storybook")
    ids = tokenizer("a fox and a crow", return_tensors="pt")["input_ids"]
    made = dict(zip(TENSORS, (call[-1] for call in record(model, ids)), strict=True))
    torch.testing.assert_close(made["layer 2 softmax"], made["layer 2 scaled products"].softmax(-1))
    torch.testing.assert_close(
        made["layer 1 products"], made["layer 1 query heads"] @ made["layer 1 key heads"].transpose(-1, -2)
    )
    torch.testing.assert_close(
        made["layer 3 feed-forward sum"], made["layer 3 feed-forward out"] + made["layer 3 attention norm"]
    )
    torch.testing.assert_close(made["layer 0 context heads"], made["layer 0 softmax"] @ made["layer 0 value heads"])
    torch.testing.assert_close(made["logits"], model(input_ids=ids).logits)
    found = inside("a fox and a crow", tensor="layer 2 softmax")
    assert len(found.names) == 127 and found.difference.max() == 0 and np.abs(found.row_sums - 1).max() < 1e-6
    np.testing.assert_array_equal(found.value, made["layer 2 softmax"][0].numpy())


def test_the_chinese_model_has_the_same_tensors():
    assert inside("床前明月光", tensor="layer 3 softmax", model="bert-quatrain").value.shape[0] == 4


def test_assumptions_end_where_they_are_measured_from():
    found = last(assumptions(steps=500, weight_decay=0.5))
    assert found.p.shape == found.q.shape == (3, len(found.step)) and (found.shrink[:, 0] == 1).all()
    assert (np.abs(found.p) <= 1).all() and found.accuracy > 0.9


# ---- planes


def test_a_plane_holds_what_lies_in_it_and_its_loss_is_that_of_the_weights():
    random = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(7, 2, generator=random))[0].T
    paths = torch.randn(3, 5, 2, generator=random) @ axes + torch.ones(7)
    found = plane(paths, lambda some: some.square().sum(1))
    assert found.share == pytest.approx(1, abs=1e-6)
    flat = torch.from_numpy(found.paths).flatten(0, 1).float()
    torch.testing.assert_close(torch.cdist(flat, flat), torch.cdist(paths.flatten(0, 1), paths.flatten(0, 1)))
    flat_rest = found.loss - found.x[None] ** 2 - found.y[:, None] ** 2  # |mean + x u + y v|² less x² + y² is linear
    assert max(np.abs(np.diff(flat_rest, 2, axis)).max() for axis in (0, 1)) < 1e-4


# ---- wrong arguments

WEIGHT = torch.ones(2, 3)
JUNK = (object(), "junk", math.nan, {}, 1j, None, -(10**9), [[1.0], [2.0, 3.0]])
CALLS = {
    training.amos: ({"weight": WEIGHT, "gradient": WEIGHT, "slots": {}, "step": 1}, {"slots": 1}),
    training.su_schedule: ({"alpha0": 1e-3, "p": 1, "q": 1, "steps": 10, "law": "steady"}, {}),
    training.su_recursion: ({"alpha0": 1e-3, "p": 1, "steps": 10, "law": "steady"}, {}),
    training.slot_count: ({"rule": "sgd", "shape": (3, 4)}, {}),
    training.dropout_moments: (
        {"mean": 1, "std": 1, "p": 0.5, "optimiser": "adam", "drop": "gradient", "beta1": 0.9},
        {},
    ),
    training.ema_variance_factor: ({"decay": 0.9, "rate": 0.1}, {}),
    training.power_ema_gamma: ({"sigma_rel": 0.1}, {}),
    training.kept_bytes: ({"method": "full", "layers": 1, "width": 8, "batch": 2, "reduced": 2}, {}),
    stack_bytes: ({"method": "full", "layers": 1, "width": 8, "batch": 2, "reduced": 2}, {}),
    gradient_penalty_sides: (
        {"weights": [[[1.0]]], "biases": [[0.0]], "activation": "tanh", "x": [1.0], "readout": [1.0]},
        {},
    ),
    exact_loss: ({"decays": [0.9], "rates": [0.1]}, {}),
    post_hoc_weights: ({"times": [1.0], "gammas": [5.0], "time": 1.0, "gamma": 5.0}, {}),
    schedules: ({"alpha0": 1e-3, "p": 0.5, "law": "steady", "steps": 100, "q": 1.0}, {}),
    dropout: ({"p": 0.3, "optimiser": "adam", "drop": "gradient", "mean": 1.0, "noise": 1.0, "draws": 1000}, {}),
    inside: ({"tensor": "logits", "model": "bert-storybook"}, {}),
}
PAIRS = [(function, name) for function, (call, _) in CALLS.items() for name in call]


@pytest.mark.parametrize(("function", "name"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_argument_is_answered_with_a_sentence(function, name):
    refused = 0
    for value in JUNK:
        try:
            function(**(CALLS[function][0] | {name: value}))
        except ValueError as error:
            refused += 1
            assert str(error).endswith(".") and " " in str(error), (value, error)
    assert refused >= len(JUNK) - 3  # some take an empty dict, or None for the default


@pytest.mark.parametrize(
    "call",
    [
        lambda: training.dropout_moments(0, 0, 0.5),
        lambda: dropout(mean=0, noise=0),
        lambda: gradient_penalty_sides([[[1.0, 2.0]]], [[0.0]], "tanh", [1.0], [1.0]),
        lambda: gradient_penalty_sides([[[1.0]]], [[0.0]], "tanh", [1.0], [1.0, 2.0]),
        lambda: gradient_penalty_sides([[[1.0]]], [], "tanh", [1.0], [1.0]),
        lambda: exact_loss([0.9, 0.9], [0.1]),
        lambda: post_hoc_weights([1, 2], [5], 1, 1),
        lambda: inside("   "),
        lambda: next(optimise(rules=())),
        lambda: next(ladder(reduction=1)),
        lambda: next(penalties(widths=(0,))),
        lambda: fisher([], torch.zeros(2, 3), torch.zeros(2)),
    ],
)
def test_what_does_not_go_together_is_answered_with_a_sentence(call):
    with pytest.raises(ValueError, match=r" .*\.$"):
        call()


def test_results_say_every_field():
    for result in (schedules(steps=100), dropout(draws=1000), inside()):
        for field in dataclasses.fields(result):
            assert f"{field.name}:" in type(result).__doc__


# ---- the checks fail on a wrong engine

WRONG = {
    "αₜ/α₀ after": (
        "su_recursion",
        lambda *a: training.su_schedule(a[0], a[1], 1, a[2])[0],
    ),  # the closed form for it
    "first ρ": ("su_schedule", lambda a, p, q, n, law="slowing": training.su_schedule(a, p, q / 2, n, law)),
    "Amos, ten": ("amos", lambda w, g, s, t, r, e: training.amos(w, g, s, t, r, e, beta=0.99)),
    "loss under Su's rule": ("optimise", lambda rules, **k: optimise(rules=("adamw",), **k)),
    "variance of SGD's": ("dropout_moments", lambda m, s, p, o="sgd": (m, (m * m + s * s) / p)),  # the mean forgotten
    "variance of Adam's": ("dropout_moments", lambda m, s, p: training.dropout_moments(m, s, p, drop="update")),
    "Fisher information": ("fisher", lambda w, x, y, batch=1: fisher(w, x, y)),  # batches ignored
    "inequality of": ("gradient_penalty_sides", lambda w, b, a, x, r: gradient_penalty_sides(w, b, "relu", x, r)),
    "variance of an EMA": ("exact_loss", lambda d, r: exact_loss([v**0.5 for v in d], r)),
    "γ of the power": ("power_ema_gamma", lambda s: training.power_ema_gamma(s) + 1),  # the other convention
    "bytes kept": ("stack_bytes", lambda m: stack_bytes(m, layers=7)),
    "rows of the first": ("inside", lambda: inside(tensor="layer 0 scaled products")),
}


@pytest.mark.parametrize("claim", WRONG)
def test_a_check_fails_on_a_wrong_engine(claim, monkeypatch):
    from engines.training import checks

    name, wrong = WRONG[claim]
    monkeypatch.setattr(checks, name, wrong)
    (check,) = (check for check in CHECKS if check.claim.startswith(claim))
    assert not check.outcome().holds
