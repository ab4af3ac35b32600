"""The maps against the entmax package, published algorithms, closed forms, enumeration and finite differences."""

import itertools
import math

import entmax as package
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


def test_half_precision_and_empty_batch():
    z = normal(3, 100)
    torch.testing.assert_close(entmax(z.bfloat16()), entmax(z.bfloat16().double()).bfloat16(), rtol=0, atol=0.01)
    with pytest.raises(ValueError, match="scores"):
        entmax(torch.zeros(0, 5))


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


def test_softmax_becomes_the_hard_maximum():
    scores = torch.tensor([1.0, 2.0, -INF])
    for temperature in (1e-3, 1e-39, 5e-324):
        assert softmax(scores, temperature=temperature).tolist() == [0, 1, 0]


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
