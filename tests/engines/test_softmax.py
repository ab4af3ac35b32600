"""The maps against the entmax package, published algorithms, closed forms, enumeration and finite differences."""

import itertools
import math

import entmax as package
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from engines import softmax as family
from engines.softmax import MAPS, entmax, fenchel_young_loss, gumbel_max, jacobian, perturb_max, softmax, sparsemax
from engines.softmax.reference import entmax15_by_sorting, entmax_by_bisection, sparsemax_by_sorting

INF = math.inf
ALPHAS = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def inputs(dtype):
    """Random, wide enough to be packed, tied, huge, masked, and all in the support."""
    masked = normal(6, 300, seed=3)
    masked[normal(6, 300, seed=4) > 0.5] = -INF
    masked[:, 7] = 1.0
    return {
        "random": normal(7, 40),
        "wide": normal(9, 2000, seed=1) * 2,
        "ragged": normal(5, 1000, seed=6) * torch.tensor([[0.001], [0.1], [1], [10], [100]]),
        "tied": normal(8, 300, seed=2).mul(2).round() / 2,
        "equal": torch.full((3, 500), 2.5, dtype=torch.float64),
        "huge": normal(4, 200, seed=5) * 1e4,
        "masked": masked,
        "flat": normal(3, 400, seed=7) * 1e-3,
        "one": torch.tensor([[3.0]], dtype=torch.float64),
    } | ({"gap": torch.tensor([[1e4, 1e4 - 1, -1e4, 0.0]], dtype=torch.float64)} if dtype == torch.float64 else {})


def paired(ours, theirs, z, dtype):
    z = z.to(dtype)
    g = normal(*z.shape, seed=9, dtype=dtype)
    results = []
    for f in (ours, theirs):
        x = z.clone().requires_grad_()
        p = f(x)
        p.backward(g)
        results.append((p.detach(), x.grad))
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", inputs(torch.float64))
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_agrees_with_the_entmax_package(alpha, case, dtype):
    if case not in inputs(dtype):
        pytest.skip("not representable")
    theirs = {1.5: package.entmax15, 2.0: package.sparsemax}[alpha]
    (p, dp), (q, dq) = paired(lambda z: entmax(z, alpha), theirs, inputs(dtype)[case], dtype)
    torch.testing.assert_close(p, q, rtol=0, atol=1e-6)
    same = ((p > 0) == (q > 0)).all(-1)  # a support that differs by a rounding has another gradient
    assert same.double().mean() >= (1 if dtype == torch.float64 else 0.75)
    torch.testing.assert_close(dp[same], dq[same].nan_to_num(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.1, 1.25, 1.75, 2.5, 3.0])
@pytest.mark.parametrize("case", inputs(torch.float64))
def test_general_alpha_agrees_with_bisection(alpha, case):
    z = inputs(torch.float64)[case]
    (p, dp), (q, dq) = paired(
        lambda x: entmax(x, alpha), lambda x: package.entmax_bisect(x, alpha, n_iter=70), z, torch.float64
    )
    torch.testing.assert_close(p, q, rtol=0, atol=1e-9)
    if alpha < 2:
        torch.testing.assert_close(dp, dq.nan_to_num(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("case", inputs(torch.float64))
def test_float32_is_accurate(alpha, case):
    z = inputs(torch.float32).get(case)
    if z is None:
        pytest.skip("not representable")
    z = z.float()
    assert (entmax(z, alpha) - entmax(z.double(), alpha)).abs().max() < 5e-7
    assert (entmax(z, alpha).sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("alpha", [a for a in ALPHAS if a > 1])
@pytest.mark.parametrize("case", inputs(torch.float64))
def test_optimality_conditions(alpha, case):
    """p^(alpha - 1) - (alpha - 1) z is one constant on the support, and (alpha - 1) z is no larger than it off it."""
    z = inputs(torch.float64)[case]
    p = entmax(z, alpha)
    residual = (alpha - 1) * (z - z.amax(-1, keepdim=True)) - p ** (alpha - 1)
    inside = torch.where(p > 0, residual, torch.nan)
    threshold = inside.nan_to_num(-INF).amax(-1, keepdim=True)
    assert (torch.where(p > 0, threshold - residual, 0)).max() < 1e-12
    assert (torch.where(p == 0, residual - threshold, -1)).max() < 1e-12
    assert (p.sum(-1) - 1).abs().max() < 1e-13 * z.shape[-1]


def test_published_values():
    x = torch.tensor([-2, 0, 0.5], dtype=torch.float64)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(sparsemax(x), x.new_tensor([0, 0.25, 0.75]), **close)
    torch.testing.assert_close(entmax(x), x.new_tensor([0, 0.3260073637, 0.6739926363]), **close)
    torch.testing.assert_close(
        entmax(x, 1.25), x.new_tensor([0.0053394178, 0.352109786, 0.6425507962]), rtol=0, atol=5e-10
    )
    torch.testing.assert_close(
        sparsemax(torch.tensor([0.3, 0.1, -0.2])), torch.tensor([0.5667, 0.3667, 0.0667]), rtol=0, atol=5e-5
    )
    assert sparsemax(torch.tensor([2.0, 0.0])).tolist() == [1, 0]
    z = torch.tensor([2, 1, 0.5, 0, -3], dtype=torch.float64)
    assert sparsemax(z).tolist() == [1, 0, 0, 0, 0]
    supports = [int((entmax(z, alpha) > 0).sum()) for alpha in ALPHAS]
    assert supports == sorted(supports, reverse=True) and supports[0] == 5 and supports[-1] == 1
    assert abs(entmax(z).sum() - 1) < 1e-14


@pytest.mark.parametrize("alpha", ALPHAS)
def test_continuous_in_alpha(alpha):
    z = normal(4, 100)
    near = 1 + 1e-9 if alpha == 1 else alpha - 1e-9
    torch.testing.assert_close(entmax(z, alpha), entmax(z, near), rtol=0, atol=1e-7)


@pytest.mark.parametrize("alpha", [1.0, 1.25, 1.5, 1.75, 2.0, 3.0])
def test_entmax_derivatives(alpha):
    x = (normal(2, 5) / 2).requires_grad_()
    assert gradcheck(lambda z: entmax(z, alpha), x)
    assert gradgradcheck(lambda z: entmax(z, alpha), x, atol=1e-4, fast_mode=True)
    wide = (normal(1, 70, seed=2) * 3).requires_grad_()  # packed
    assert gradcheck(lambda z: entmax(z, alpha), wide, fast_mode=True)
    assert gradgradcheck(lambda z: entmax(z, alpha), wide, fast_mode=True, atol=1e-4)
    y = torch.tensor([1, 0])
    assert gradcheck(lambda z: fenchel_young_loss(z, y, alpha), x)
    assert gradgradcheck(lambda z: fenchel_young_loss(z, y, alpha), x, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", MAPS)
def test_every_map_is_a_distribution_and_differentiable(name):
    f = MAPS[name]
    own = {"k": 2} if name == "top_k" else {}
    x = normal(3, 6, seed=11).requires_grad_()
    p = f(x, **own)
    assert p.shape == x.shape and (p >= 0).all() and (p.sum(-1) - 1).abs().max() < 1e-12
    torch.testing.assert_close(f(x.T, dim=0, **own).T, p)
    assert gradcheck(lambda z: f(z, **own), x)
    huge = f(x.detach() * 1e4, **own)
    assert huge.isfinite().all() and (huge.sum(-1) - 1).abs().max() < 1e-12
    masked = f(torch.tensor([1.0, -INF, 1.0, 0.9], dtype=torch.float64), **own)
    assert masked[1] == 0 and abs(masked.sum() - 1) < 1e-12
    assert f(x.detach().half().float(), **own).dtype == torch.float32


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("bad", [[1.0, math.nan], [INF, 1.0], [-INF, -INF]])
def test_bad_scores(name, bad):
    with pytest.raises(ValueError, match="scores"):
        MAPS[name](torch.tensor(bad), **({"k": 1} if name == "top_k" else {}))


@pytest.mark.parametrize(
    "named, call",
    [
        ("alpha", lambda z: entmax(z, 0.9)),
        ("alpha", lambda z: entmax(z, math.nan)),
        ("k", lambda z: family.top_k_softmax(z, k=6)),
        ("k", lambda z: family.top_k_softmax(z, k=0)),
        ("order", lambda z: family.taylor_softmax(z, order=3)),
        ("temperature", lambda z: softmax(z, temperature=0)),
        ("target", lambda z: family.margin_softmax(z, target=5)),
        ("noise", lambda z: perturb_max(z, noise="pink")),
        ("scores", lambda z: perturb_max(torch.zeros(65))),
        ("samples", lambda z: gumbel_max(z, samples=0)),
        ("scores", lambda z: sparsemax(torch.tensor([1, 2]))),
    ],
)
def test_bad_arguments(named, call):
    with pytest.raises(ValueError, match=named):
        call(torch.zeros(5))


SHIFT_INVARIANT = [name for name in MAPS if name not in ("taylor", "sigmoid")]
LOSSES = {f"fenchel_young {alpha}": alpha for alpha in (1.0, 1.3, 1.5, 2.0, 3.0)}


def call(name, z, alpha=1.5, noise="uniform"):
    """A map or loss by name at scores [..., 5]."""
    if name in LOSSES:
        return fenchel_young_loss(z, torch.zeros(z.shape[:-1], dtype=torch.long), LOSSES[name])
    own = {"top_k": {"k": 3}, "entmax": {"alpha": alpha}, "perturb_max": {"noise": noise}}.get(name, {})
    return MAPS[name](z, **own)


CALLS = [(name, {}) for name in (*MAPS, *LOSSES)]
CALLS += [("entmax", {"alpha": alpha}) for alpha in ALPHAS]
CALLS += [("perturb_max", {"noise": noise}) for noise in family.NOISES]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name, own", CALLS)
def test_low_precision_gives_the_float64_answer_and_gradient(name, own, dtype):
    """To the precision of the type: of the value, and of the gradient measured by its largest entry."""
    eps = torch.finfo(dtype).eps
    for z in (
        normal(6, 5),
        normal(6, 5, seed=1) * 30,
        normal(6, 5, seed=2) * 1e-3,
        torch.tensor([[0.333, 0, -1, -2, -3]]),
    ):
        z = z.to(dtype)
        results = []
        for x in (z.clone(), z.double()):
            x.requires_grad_()
            value = call(name, x, **own)
            value.backward(normal(*value.shape, seed=3).to(value.dtype))
            assert value.dtype == x.dtype and x.grad.isfinite().all()
            results.append((value.detach().double(), x.grad.double()))
        (value, gradient), (exact, exact_gradient) = results
        assert ((value - exact).abs() <= 2 * eps * exact.abs().clamp_min(1)).all()
        largest = exact_gradient.abs().amax().clamp_min(1)
        assert ((gradient - exact_gradient).abs() <= 60 * eps * largest).all()


@pytest.mark.parametrize("alpha, gap", [(4.0, 0.33), (4.0, 0.333), (3.9, 0.331), (3.0, 0.4999), (2.5, 0.6666)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradient_where_an_entry_is_about_to_leave_the_support(alpha, gap, dtype):
    """Beyond alpha = 2 the slope of a tiny p is enormous; of two entries both answer alike, to within the type."""
    z = torch.tensor([gap, 0.0], dtype=dtype, requires_grad=True)
    p = entmax(z, alpha)
    p[0].backward()
    exact = (2 - alpha) * p.detach().double().log()  # log s, J = s1 s2 / (s1 + s2)
    expected = torch.exp(-torch.logsumexp(-exact, 0)) if (p > 0).all() else torch.tensor(0.0)
    assert z.grad.isfinite().all() and abs(z.grad.sum()) <= 4 * torch.finfo(dtype).eps
    if dtype in (torch.float32, torch.float64):
        assert abs(float(z.grad[0]) - float(expected)) < 1e-5


@pytest.mark.parametrize("name", (*SHIFT_INVARIANT, *LOSSES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_constant_added_to_all_scores_changes_nothing(name, dtype):
    """As far as the scores can hold it: whole numbers of the last place of a large constant."""
    steps = torch.tensor([0.0, -1, -2, -1, -5], dtype=torch.float64)
    for power in (10, 20, 24, 25, 100, 127, 500, 1000):
        if 2.0**power > torch.finfo(dtype).max / 2:
            break
        for unit in (torch.finfo(dtype).eps * 2.0**power, 0.25 * 2.0**power):
            z = (2.0**power + steps * unit).to(dtype)
            relative = z.double() - z.double().max()
            for scores in (z, -z):
                relative = (scores.double() - scores.double().max()).requires_grad_()
                scores = scores.clone().requires_grad_()
                value, exact = call(name, scores), call(name, relative)
                assert ((value.double() - exact) / exact.clamp_min(1)).abs().max() < 4 * torch.finfo(dtype).eps
                value.sum().backward() if name in LOSSES else value[0].backward()
                exact.sum().backward() if name in LOSSES else exact[0].backward()
                assert (scores.grad.double() - relative.grad).abs().max() < 30 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name, own", CALLS)
def test_scores_of_any_size(name, own):
    """Scaled by 2^-500 all count alike, by 2^500 and up to the largest number only the largest counts (Taylor's: powers)."""
    steps = torch.tensor([3.0, -1, 2, 0, -4], dtype=torch.float64)
    for z in (steps * 2.0**-500, steps * 5e-324, steps * 2.0**500, steps * 4e307, -steps * 4e307):
        z = z.clone().requires_grad_()
        value = call(name, z, **own)
        (value.sum() if name in LOSSES else value[0]).backward()
        assert not value.isnan().any() and z.grad.isfinite().all()
        if name in LOSSES:
            expected = call(name, torch.zeros(5).double()) if z.abs().max() < 1 else (z.max() - z[0]) * torch.ones(())
            assert value.isinf() or abs(value - expected) <= 1e-12 * (1 + abs(expected))
        elif name == "taylor":
            expected = z.detach().abs() / z.detach().abs().max()
            expected = torch.full((5,), 0.2, dtype=z.dtype) if z.abs().max() < 1 else expected**2 / (expected**2).sum()
            assert (value - expected).abs().max() < 1e-12
        elif name == "sigmoid" or z.abs().max() < 1:
            lowest = z.abs().max() < 1 or bool(z.max() > 0)
            assert abs(value.sum() - 1) < 1e-12 and lowest
        else:
            assert value.tolist() == [float(x == z.max()) for x in z]


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-39, 1e38, 1e300])
def test_softmax_at_any_temperature(temperature):
    z = torch.tensor([1.0, 1 - 2.0**-24, -INF, 1e-40], requires_grad=True)
    p = softmax(z, temperature=temperature)
    p[0].backward()
    expected = [1.0, 0.0, 0.0, 0.0] if temperature < 1 else [1 / 3, 1 / 3, 0.0, 1 / 3]
    assert p.tolist() == pytest.approx(expected) and z.grad.isfinite().all()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_no_rows_give_no_rows(name, shape):
    z = torch.zeros(shape, requires_grad=True)
    p = call(name, z)
    assert p.shape == shape and p.dtype == z.dtype
    p.sum().backward()
    assert gumbel_max(z).shape == shape and family.entropy(p).shape == shape[:-1]
    assert fenchel_young_loss(z, torch.zeros(shape[:-1], dtype=torch.long)).shape == shape[:-1]


def test_gradient_of_the_entropy_at_the_border_of_the_simplex():
    """Entries that are 0 have no share in it: the entropy of softmax, flat at a corner, of sparsemax as finite differences say."""
    z = torch.tensor([0.0, -2000.0], dtype=torch.float64, requires_grad=True)
    family.entropy(softmax(z)).backward()
    assert z.grad.tolist() == [0, 0]
    z = torch.tensor([0.3, 0.1, -0.2, -1.5], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: family.entropy(sparsemax(x)), z)


def test_small_losses_are_not_lost():
    """-log p(target) of a sure classifier: exp(-lead) for two classes, also in float32."""
    for lead in (20.0, 50.0, 80.0):
        loss = fenchel_young_loss(torch.tensor([[lead, 0.0]]), torch.tensor([0]), 1.0)
        assert float(loss) == pytest.approx(math.log1p(math.exp(-lead)), rel=1e-6)


def test_draws_of_half_precision_scores():
    """2,048 + 1 is 2,048 in half precision, and counts end there: neither is met."""
    for dtype in (torch.float16, torch.bfloat16):
        for noise in family.NOISES:
            z = torch.tensor([2048.0, 2048.0, 0.0], dtype=dtype)
            share = gumbel_max(z, noise=noise, samples=100_000, seed=np.int64(3))
            assert share.dtype == dtype and (share.double() - torch.tensor([0.5, 0.5, 0])).abs().max() < 0.01


WRONG = [
    None,
    "x",
    math.nan,
    INF,
    -1,
    10**400,
    object(),
    [],
    True,
    2.5,
    [0.5, "a"],
    torch.zeros(2, 3),
    np.float64(-0.5),
]


@pytest.mark.parametrize(
    "function, right",
    [
        *[(f, {"scores": torch.zeros(4, 5), "dim": -1}) for f in (sparsemax, family.sigmoid_normalised)],
        (softmax, {"scores": torch.zeros(4, 5), "dim": -1, "temperature": 1.0}),
        (entmax, {"scores": torch.zeros(4, 5), "dim": -1, "alpha": 1.5}),
        (family.margin_softmax, {"scores": torch.zeros(4, 5), "dim": -1, "target": 0, "margin": 1.0}),
        (family.taylor_softmax, {"scores": torch.zeros(4, 5), "dim": -1, "order": 2}),
        (family.top_k_softmax, {"scores": torch.zeros(4, 5), "dim": -1, "k": 2}),
        (family.top_p_softmax, {"scores": torch.zeros(4, 5), "dim": -1, "p": 0.7}),
        (perturb_max, {"scores": torch.zeros(4, 5), "dim": -1, "noise": "normal"}),
        (gumbel_max, {"scores": torch.zeros(4, 5), "dim": -1, "noise": "normal", "samples": 3, "seed": 0}),
        (fenchel_young_loss, {"scores": torch.zeros(4, 5), "target": 0, "dim": -1, "alpha": 1.5}),
        (family.tsallis_entropy, {"probabilities": torch.ones(4, 5), "dim": -1, "alpha": 1.5}),
        (family.entropy, {"probabilities": torch.ones(4, 5), "dim": -1}),
        (family.support_size, {"probabilities": torch.ones(4, 5), "dim": -1}),
        (jacobian, {"probability_map": softmax, "scores": torch.zeros(5)}),
        (sparsemax_by_sorting, {"scores": torch.zeros(4, 5)}),
        (entmax15_by_sorting, {"scores": torch.zeros(4, 5)}),
        (entmax_by_bisection, {"scores": torch.zeros(4, 5), "alpha": 1.5, "steps": 30}),
    ],
)
def test_each_argument_wrong_in_turn_is_refused_with_a_sentence(function, right):
    """Only ValueError, of a sentence that names the argument; what is taken after all (a number that fits) gives a result."""
    assert isinstance(function(**right), torch.Tensor)
    tensors = [
        torch.tensor(1.0),
        torch.zeros(4, 0),
        torch.zeros(4, 5).long(),
        torch.full((4, 5), math.nan),
        torch.zeros(5, 5) + 0j,
    ]
    for name in right:
        refused = 0
        for wrong in [*WRONG, *tensors]:
            try:
                function(**{**right, name: wrong})
            except ValueError as refusal:
                refused += 1
                assert str(refusal).startswith(name) and str(refusal).endswith("."), str(refusal)
        assert refused >= 10, name


def test_margin_lowers_the_target():
    z = normal(3, 5)
    target = torch.tensor([4, 0, 2])
    lowered = z.clone()
    lowered[torch.arange(3), target] -= 0.7
    torch.testing.assert_close(family.margin_softmax(z, target=target, margin=0.7), softmax(lowered))


@pytest.mark.parametrize("order", [2, 4, 6, 8, 10])
def test_taylor_polynomial(order):
    z = normal(3, 5) * 3
    value = sum(z**k / math.factorial(k) for k in range(order + 1))
    torch.testing.assert_close(family.taylor_softmax(z, order=order), value / value.sum(-1, keepdim=True))
    assert (family.taylor_softmax(normal(1, 9, dtype=torch.float32) * 20, order=order) > 0).all()


def test_taylor_is_neither_monotone_nor_shift_invariant():
    z = torch.tensor([2.0, 1.0, 0.5, 0.0, -3.0])
    p = family.taylor_softmax(z)
    assert p[4] > p[3]
    assert (family.taylor_softmax(z + 1) - p).abs().max() > 0.1


def test_jacobian_laws():
    z = normal(12)
    p = softmax(z)
    torch.testing.assert_close(jacobian(softmax, z).abs().sum() / 2, 1 - p.square().sum())
    torch.testing.assert_close(jacobian(softmax, z), p.diag() - torch.outer(p, p))
    support = (sparsemax(z) > 0).sum()
    torch.testing.assert_close(jacobian(sparsemax, z).abs().sum() / 2, (support - 1).double())


@pytest.mark.parametrize("alpha", [1.0, 1.3, 1.5, 2.0, 3.0])
def test_fenchel_young(alpha):
    """The package's loss, the gradient p - y, 0 from a lead of 1 / (alpha - 1) on, huge and masked scores."""
    z = normal(4, 6).requires_grad_()
    y = torch.tensor([0, 3, 5, 1])
    loss = fenchel_young_loss(z, y, alpha)
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(gradient, entmax(z, alpha) - torch.nn.functional.one_hot(y, 6))
    if alpha == 1:
        torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(z, y, reduction="none"))
    else:
        theirs = package.entmax_bisect_loss(z, y, alpha, 70)
        torch.testing.assert_close(loss, theirs, rtol=0, atol=1e-9)
        lead = torch.tensor([[1 / (alpha - 1) + 1e-9, 0, -INF]], dtype=torch.float64)
        assert fenchel_young_loss(lead, torch.tensor([0]), alpha).abs() < 1e-15
        assert fenchel_young_loss(lead - 1e-2 * torch.tensor([1, 0, 0]), torch.tensor([0]), alpha) > 0
    huge = torch.tensor([[1e4, 0, -1e4]])
    torch.testing.assert_close(
        fenchel_young_loss(huge, torch.tensor([2]), alpha), torch.tensor([2e4]), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("alpha", [1.00001, 1.0001, 1.001, 1.1, 2.0])
def test_fenchel_young_in_float32_is_accurate_near_alpha_1(alpha):
    z, y = normal(200, 6), torch.arange(200) % 6
    exact, single = fenchel_young_loss(z, y, alpha), fenchel_young_loss(z.float(), y, alpha)
    assert (single - exact).abs().max() < 2e-6 and single.min() >= 0


def test_uniform_perturbation_by_enumeration():
    """Two scores: 1 - (1 - d)^2 / 2. Three: noise on a grid of 60 steps, counted."""
    for d in (0.0, 0.3, 0.99, 1.0, 3.0):
        expected = 1 - max(1 - d, 0) ** 2 / 2
        assert abs(perturb_max(torch.tensor([d, 0], dtype=torch.float64))[0] - expected) < 1e-14
    steps = torch.tensor([24, 12, -6])  # of 1/60
    values = steps + torch.tensor(list(itertools.product(range(60), repeat=3)))
    best = (values == values.amax(-1, keepdim=True)).double()
    share = (best / best.sum(-1, keepdim=True)).mean(0)
    assert (perturb_max(steps / 60.0).double() - share).abs().max() < 3e-4
    assert torch.equal(perturb_max(torch.tensor([1.5, 0.5, 0.4]))[1:], torch.zeros(2))


def test_uniform_perturbation_of_ties_and_many():
    torch.testing.assert_close(perturb_max(torch.zeros(64, dtype=torch.float64)), torch.full((64,), 1 / 64.0).double())
    p = perturb_max(normal(3, 64) / 2)
    assert (p.sum(-1) - 1).abs().max() < 1e-13 and (p >= 0).all()


@pytest.mark.parametrize("noise", family.NOISES)
def test_drawn_frequencies_tend_to_the_closed_form(noise):
    z = normal(5, seed=3)
    exact = perturb_max(z, noise=noise)
    drawn = gumbel_max(z, noise=noise, samples=40_000, seed=1)
    sigma = (exact * (1 - exact) / 40_000).sqrt()
    assert ((drawn - exact).abs() <= 4.5 * sigma + 1e-12).all()
    assert torch.equal(drawn, gumbel_max(z, noise=noise, samples=40_000, seed=1))


def test_uniform_perturbation_has_a_slope_at_ties():
    """Of n equal scores one that rises by t wins with probability 1/n + t - t^n/n: slope 1."""
    for n in (2, 3, 5):
        z = torch.zeros(n, dtype=torch.float64, requires_grad=True)
        slope = torch.autograd.grad(perturb_max(z)[0], z)[0]
        assert slope.tolist() == pytest.approx([1] + [-1 / (n - 1)] * (n - 1), abs=1e-12)


def test_normal_perturbation_of_two():
    d = torch.tensor([0.7, 0.0], dtype=torch.float64)
    assert abs(perturb_max(d, noise="normal")[0] - torch.special.ndtr(d[0] / math.sqrt(2))) < 1e-13


def test_published_algorithms():
    z = normal(5, 60)
    torch.testing.assert_close(sparsemax_by_sorting(z), sparsemax(z))
    torch.testing.assert_close(entmax15_by_sorting(z), entmax(z))
    torch.testing.assert_close(entmax_by_bisection(z, 1.3, 60), entmax(z, 1.3))
