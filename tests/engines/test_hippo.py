"""The measures, their matrices, and the recurrences: closed forms, exact projections, other libraries."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from engines.hippo import (
    MEASURES,
    basis,
    condition,
    density,
    discretize,
    legs_step,
    legs_step_dense,
    project,
    reconstruct,
    s4,
    states,
    transition,
)
from engines.hippo.signals import load

F64 = torch.float64


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def near(got, want, tolerance):
    assert (got - want).abs().max() <= tolerance


def smooth(count, seed=0):
    return torch.from_numpy(load("noise", count, seed=seed).values)


def test_legs_entries_and_spectrum():
    A, B = transition("legs", 40)
    for n in range(40):
        assert B[n].item() == pytest.approx(math.sqrt(2 * n + 1), rel=1e-15)
        for k in range(40):
            want = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1) if n == k else 0
            assert A[n, k].item() == pytest.approx(want, abs=1e-13)
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(A[:6, :6].numpy()).real), -np.arange(6.0, 0, -1), atol=1e-12)


@pytest.mark.parametrize("order", [1, 4, 64, 256])
def test_legs_is_skew_plus_rank_one(order):
    S, P = s4.skew(order)
    assert (S + S.T).abs().max() <= 1e-12
    assert torch.equal(P, torch.sqrt(torch.arange(order, dtype=F64) + 0.5))
    if order == 4:
        assert s4.dplr(4).Lambda.imag.max().item() == pytest.approx(4.603293, abs=5e-7)


def test_legs_contracts_because_its_symmetric_part_is_negative():
    A, _ = transition("legs", 50)
    assert torch.linalg.eigvalsh(A + A.T).max() <= -1 + 1e-10  # -(I + 2 P P^T)


@pytest.mark.parametrize("order", range(1, 7))
def test_oldest_point_of_legt_is_pade(order):
    """[N-1/N] of e^-s, coefficient by coefficient from the textbook formula (Baker and Graves-Morris)."""
    A, B = transition("legt", order)
    C = basis("legt", order, torch.tensor(1.0, dtype=F64))
    m, n, f = order - 1, order, math.factorial
    top = [Fraction(f(m + n - j) * f(m), f(m + n) * f(j) * f(m - j)) * (-1) ** j for j in range(m + 1)]
    bottom = [Fraction(f(m + n - j) * f(n), f(m + n) * f(j) * f(n - j)) for j in range(n + 1)]
    for s in (0.3, 1.0, 2.0 + 1.0j):
        want = sum(float(c) * s**j for j, c in enumerate(top)) / sum(float(c) * s**j for j, c in enumerate(bottom))
        eye = torch.eye(order, dtype=torch.complex128)
        got = C.to(eye.dtype) @ torch.linalg.solve(s * eye - A, B.to(eye.dtype))
        assert complex(got) == pytest.approx(want, abs=1e-12)


def test_lmu_is_legt_rescaled():
    A, B = transition("legt", 9)
    L, M = transition("lmu", 9)
    n = torch.arange(9, dtype=F64)
    scale = torch.sqrt(2 * n + 1) * (-1) ** n  # m = scale * x
    near(L, scale[:, None] * A / scale, 1e-12)
    near(M, scale * B, 1e-13)
    age = torch.linspace(0, 1, 5, dtype=F64)
    near(basis("lmu", 9, age) * scale, basis("legt", 9, age), 1e-12)


def test_lagt_entries():
    A, B = transition("lagt", 5)
    assert torch.equal(A, -torch.ones(5, 5, dtype=F64).tril()) and torch.equal(B, torch.ones(5, dtype=F64))


def test_fourier_matrices_are_the_complex_ones():
    """The blog's complex systems for |n| <= M, carried to the real basis by hand."""
    pairs, size = 3, 7
    n = np.arange(-pairs, pairs + 1)
    window = np.diag(2j * np.pi * n) - 1.0
    scaled = np.array([[1j * np.pi * a - 1 if a == b else -a / (a - b) for b in n] for a in n])
    turn = np.zeros((size, size), complex)
    turn[0, pairs] = 1
    for m in range(1, pairs + 1):
        turn[2 * m - 1, [pairs + m, pairs - m]] = math.sqrt(0.5)
        turn[2 * m, [pairs + m, pairs - m]] = 1j * math.sqrt(0.5), -1j * math.sqrt(0.5)
    for measure, complex_A in (("fout_blog", window), ("fous", scaled)):
        A, B = transition(measure, size)
        np.testing.assert_allclose(A.numpy(), turn @ complex_A @ turn.conj().T, atol=1e-12)
        np.testing.assert_allclose(B.numpy(), turn.sum(1), atol=1e-14)


def test_fourier_gains():
    A1, B1 = transition("fout_blog", 9)
    A2, B2 = transition("fout", 9)
    D, E = transition("foud", 9)
    assert torch.equal(B2, 2 * B1) and torch.equal(D, A1 / 2) and torch.equal(E, B1 / 2)
    near(A2 - A1, -torch.outer(B1, B1), 1e-13)


@pytest.mark.parametrize("measure", ["fout", "fout_blog", "foud", "fous"])
def test_even_fourier_order_leaves_its_last_coefficient_at_zero(measure):
    A, B = transition(measure, 8)
    odd_A, odd_B = transition(measure, 7)
    assert torch.equal(A[:7, :7], odd_A) and torch.equal(B[:7], odd_B)
    assert not A[7].any() and not A[:, 7].any() and B[7] == 0
    assert (states(smooth(60), measure, 8, window=20)[..., 7] == 0).all()


def test_every_eigenvalue_of_fourier_legs_has_real_part_minus_one():
    A, _ = transition("fous", 33)
    assert (torch.linalg.eigvals(A).real + 1).abs().max() < 1e-11


@pytest.mark.parametrize("measure", ["legs", "legt", "lmu", "lagt"])
def test_matrices_come_from_the_basis(measure):
    """A past that is a function of the basis moves on as that basis does: the coefficients' derivative, by differences."""
    order = 6
    A, B = transition(measure, order)
    age = torch.linspace(0, 1, 9, dtype=F64)
    table = basis(measure, order, age)
    h = 1e-5
    slope = (basis(measure, order, (age + h).clamp(max=1)) - basis(measure, order, (age - h).clamp(min=0))) / (
        (age + h).clamp(max=1) - (age - h).clamp(min=0)
    )[:, None]
    newest = basis(measure, order, torch.tensor(0.0, dtype=F64))
    # u(T - a) = f(a) moves as du/dT = -f'(a) (scaled: T du/dT = (1-a)(-f'(a))), while x = e_j
    move = -slope * ((1 - age)[:, None] if MEASURES[measure].scaled else 1)
    got = table @ (A + torch.outer(B, newest))
    inner = slice(1, -1)
    near(got[inner], move[inner], 2e-6)


@pytest.mark.parametrize("measure", [m for m in MEASURES if m != "lagt"])
def test_bases_are_orthogonal(measure):
    span = MEASURES[measure].span
    node, weight = np.polynomial.legendre.leggauss(80)
    age = torch.from_numpy((node + 1) / 2 * span)
    table = basis(measure, 9, age)
    gram = table.T @ (table * torch.from_numpy(weight / 2)[:, None])
    want = 1 / (2 * torch.arange(9, dtype=F64) + 1) if measure == "lmu" else torch.ones(9, dtype=F64)
    near(gram, torch.diag(want), 1e-12)


def test_laguerre_basis_is_orthonormal_under_its_weight():
    node, weight = np.polynomial.laguerre.laggauss(40)
    table = basis("lagt", 9, torch.from_numpy(node))
    near(table.T @ (table * torch.from_numpy(weight)[:, None]), torch.eye(9, dtype=F64), 1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_density_has_mass_one(measure):
    age = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000 * 40
    assert density(measure, age).mean() * 40 == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "method, name",
    [("forward", "euler"), ("backward", "backward_diff"), ("bilinear", "bilinear"), ("zoh", "zoh"), ("gbt", "gbt")],
)
@pytest.mark.parametrize("measure", ["legs", "legt", "fout"])
def test_discretisations_are_scipys(measure, method, name):
    A, B = transition(measure, 9)
    alpha = 0.3
    got_A, got_B = discretize(A, B, 0.01, method, alpha)
    want = scipy.signal.cont2discrete((A.numpy(), B.numpy()[:, None], np.eye(9), np.zeros((9, 1))), 0.01, name, alpha)
    np.testing.assert_allclose(got_A.numpy(), want[0], atol=1e-13)
    np.testing.assert_allclose(got_B.numpy(), want[1][:, 0], atol=1e-14)


def test_orders_of_convergence():
    """One unit of time with a constant input: Euler's methods are of order 1, bilinear of 2, zero-order hold exact."""
    A, B = transition("legt", 5)
    exact = torch.linalg.solve(A, (torch.linalg.matrix_exp(A) - torch.eye(5, dtype=F64)) @ B)
    for method, order in (("forward", 1), ("backward", 1), ("bilinear", 2), ("zoh", None)):
        error = []
        for count in (800, 1600):
            Ad, Bd = discretize(A, B, 1 / count, method)
            x = torch.zeros(5, dtype=F64)
            for _ in range(count):
                x = Ad @ x + Bd
            error.append((x - exact).norm().item())
        if order is None:
            assert error[1] < 1e-12
        else:
            assert math.log2(error[0] / error[1]) == pytest.approx(order, abs=0.05)


# LegS


def legs_by_hand(u, order, method, form):
    x, start = torch.zeros(*u.shape[:-1], order, dtype=F64), 0
    if form == "blog" or method == "zoh":
        x[..., 0], start = u[..., 0], 1  # x_1 = u_0 e_0
    for k in range(start, u.shape[-1]):
        x = legs_step_dense(x, u[..., k], k, method, 0.3, form)
    return x


def test_blogs_step_as_written():
    """x_(k+1) = (I - A/(2(k+1)))^-1 [(I + A/(2k)) x_k + B u_k / k], kexue.fm 10137."""
    A, B = transition("legs", 6)
    x, u, k, eye = noise(6), 0.7, 5, torch.eye(6, dtype=F64)
    want = torch.linalg.inv(eye - A / 12) @ ((eye + A / 10) @ x + B * u / 5)
    near(legs_step_dense(x, torch.tensor(u, dtype=F64), k), want, 1e-14)
    older = torch.linalg.inv(eye - A / 12) @ ((eye + A / 12) @ x + B * u / 6)
    got = legs_step_dense(x, torch.tensor(u, dtype=F64), k, form="older")
    near(got, older, 1e-14)


@pytest.mark.parametrize("form", ["blog", "older"])
@pytest.mark.parametrize("method", ["bilinear", "backward", "forward", "gbt"])
def test_structured_step_is_the_dense_one(method, form):
    x, u = noise(3, 200), noise(3, seed=1)
    for k in (1, 2, 17, 99, 1000):
        want = legs_step_dense(x, u, k, method, 0.3, form)
        got = legs_step(x, u, k, method, 0.3, form)
        assert (got - want).abs().max() <= 1e-13 * max(1, want.abs().max())


@pytest.mark.parametrize("form", ["blog", "older"])
@pytest.mark.parametrize("method", ["zoh", "bilinear", "backward", "gbt"])
def test_legs_states_are_the_steps(method, form):
    u = noise(2, 150)
    got = states(u, "legs", 16, method, alpha=0.3 if method == "gbt" else 0.5, form=form)[..., 0, :]
    want = legs_by_hand(u, 16, method, form)
    assert (got - want).abs().max() <= (1e-6 if method == "gbt" else 3e-13)  # alpha 0.3 first grows a millionfold


def test_zero_order_hold_is_the_exact_projection():
    """By direct quadrature of every Legendre polynomial over every sample, at many times, in an uneven pattern."""
    u = noise(700)
    times = torch.tensor([1, 2, 3, 10, 64, 65, 400, 699, 700])
    got = states(u, "legs", 48, times=times)
    node, weight = np.polynomial.legendre.leggauss(24)
    for row, k in zip(got, times.tolist(), strict=True):
        s = ((np.arange(k)[:, None] + (node + 1) / 2) / k).ravel()
        table = np.polynomial.legendre.legvander(2 * s - 1, 47) * np.sqrt(2 * np.arange(48) + 1)
        held = np.repeat(u[:k].numpy(), 24) * np.tile(weight / 2, k) / k
        np.testing.assert_allclose(row.numpy(), table.T @ held, atol=1e-12)


def test_zero_order_hold_is_the_matrix_exponential():
    u, order = noise(300), 40
    A, _ = transition("legs", order)
    e0 = torch.eye(order, dtype=F64)[0]
    x = u[0] * e0
    for k in range(1, 300):  # A^-1 B = -e_0
        E = torch.from_numpy(scipy.linalg.expm(A.numpy() * math.log((k + 1) / k)))
        x = E @ (x - u[k] * e0) + u[k] * e0
    assert (states(u, "legs", order)[0] - x).abs().max() <= 1e-10


def test_blocks_do_not_matter():
    u = smooth(1000)
    every = states(u, "legs", 64, times=torch.arange(1, 1001))
    some = states(u, "legs", 64, times=torch.tensor([3, 500, 1000]))
    assert (
        every[[2, 499, 999]] - some
    ).abs().max() < 1.5e-11  # a thousand projections one after another, against three


def test_long_gaps_are_bridged():
    u = smooth(9000)
    for measure in ("legs", "legt"):
        got = states(u, measure, 16, times=torch.tensor([50, 9000]), window=5000)
        want = states(u, measure, 16, times=torch.arange(50, 9001, 50), window=5000)
        assert (got - want[[0, -1]]).abs().max() < 1e-12
    assert (states(u, "legs", 16)[0] - project(u, "legs", 16)).abs().max() < 1e-12


def test_legs_remembers_polynomials_and_keeps_a_constant():
    t = (torch.arange(2000, dtype=F64) + 0.5) / 2000
    age, recalled = reconstruct(t**3 - 0.4 * t, "legs", 8, points=50)
    s = 1 - age
    assert (recalled[0] - (s**3 - 0.4 * s)).abs().max() < 1e-5  # the staircase of 2,000 samples
    x = states(torch.full((100,), 0.3, dtype=F64), "legs", 16, times=torch.arange(1, 101))
    assert (x - 0.3 * torch.eye(16, dtype=F64)[0]).abs().max() < 1e-14


def test_legs_does_not_know_the_step():
    """Timescale equivariance: each sample twice, the same state."""
    u = noise(90)
    assert (states(u, "legs", 20) - states(u.repeat_interleave(2), "legs", 20)).abs().max() < 1e-13


def test_forward_euler_grows_and_what_is_left_of_it():
    u = torch.sin(torch.arange(400, dtype=F64) * 0.05)
    length = states(u, "legs", 64, "forward", times=torch.arange(1, 401)).norm(dim=-1)
    assert 43.5 < math.log10(length.max()) < 44.5 and 30 < int(length.argmax()) < 64
    assert length[70] > 1e9 and length[-1] < 1  # rounding errors of 1e44
    # the factors of the first N steps multiply to zero, in whole numbers: A ~ -(tril of 2k+1, diagonal n+1), over j
    order = 6
    product = [[Fraction(int(i == j)) for j in range(order)] for i in range(order)]
    for j in range(1, order + 1):
        factor = [
            [Fraction(int(n == k)) - Fraction(2 * k + 1 if n > k else n + 1 if n == k else 0, j) for k in range(order)]
            for n in range(order)
        ]
        product = [
            [sum(factor[n][m] * product[m][k] for m in range(order)) for k in range(order)] for n in range(order)
        ]
    assert not any(any(row) for row in product)


def test_what_rounding_leaves_of_forward_euler():
    """N = 64, 1,024 steps, against 100 digits: rounding keeps the state above 10 until step 94 and is gone at the end."""
    mpmath = pytest.importorskip("mpmath")
    u, order = load("waves", 1024).values, 64
    doubles = states(torch.from_numpy(u), "legs", order, "forward", times=torch.arange(1, 1025))
    with mpmath.workdps(100):
        root = [mpmath.sqrt(2 * n + 1) for n in range(order)]
        x, exact = [mpmath.mpf(float(u[0]))] + [mpmath.mpf(0)] * (order - 1), {}
        for k in range(1, 1024):
            total, after = mpmath.mpf(0), []
            for n in range(order):
                total += root[n] * x[n]
                after.append(x[n] + (n * x[n] - root[n] * (total - float(u[k]))) / k)
            x = after
            if k + 1 in (70, 94, 1024):
                exact[k + 1] = torch.tensor([float(value) for value in x], dtype=F64)
    assert exact[70].norm() == pytest.approx(0.77, abs=0.01) and doubles[69].norm() == pytest.approx(7.1e10, rel=0.05)
    assert exact[94].norm() < 1 and doubles[93].norm() > 10 > doubles[94].norm()
    assert (exact[1024] - doubles[1023]).norm() < 1e-12
    best = states(torch.from_numpy(u), "legs", order)[0]
    assert (exact[1024] - best).norm() / best.norm() == pytest.approx(0.868, abs=0.001)


def test_condition_of_legs():
    """Against eigenvectors where doubles can have them, against exact arithmetic where they cannot."""
    mpmath = pytest.importorskip("mpmath")
    for order in (3, 6, 9):
        A, _ = transition("legs", order)
        want = np.linalg.cond(np.linalg.eig(A.numpy())[1])
        assert condition(A) == pytest.approx(want, rel=1e-5)
    assert math.log10(condition(transition("legs", 24)[0])) == pytest.approx(17, abs=0.05)
    with mpmath.workdps(60):
        order = 16
        rows = [
            [
                mpmath.sqrt(2 * n + 1)
                * mpmath.factorial(j) ** 2
                / mpmath.factorial(j - n)
                / mpmath.factorial(j + n + 1)
                if n <= j
                else 0
                for n in range(order)
            ]
            for j in range(order)
        ]
        V = mpmath.matrix(rows) ** -1
        for j in range(order):
            size = mpmath.norm(V[:, j])
            for n in range(order):
                V[n, j] /= size
        singular = mpmath.svd_r(V, compute_uv=False)
        want = float(max(singular) / min(singular))
    assert condition(transition("legs", 16)[0]) == pytest.approx(want, rel=1e-6)
    assert condition(transition("lagt", 8)[0]) == math.inf
    assert condition(transition("fous", 5)[0]) == pytest.approx(1.97, abs=0.01)
    assert condition(transition("fous", 257)[0]) == pytest.approx(11.39, abs=0.01)


# windows


@pytest.mark.parametrize("method", ["zoh", "bilinear", "backward", "gbt"])
@pytest.mark.parametrize("measure", [m for m in MEASURES if not MEASURES[m].scaled])
def test_window_states_are_the_steps(measure, method):
    u, A, B = noise(2, 90), *transition(measure, 7)
    Ad, Bd = discretize(A / 30, B / 30, 1.0, method, 0.6)
    x = torch.zeros(2, 7, dtype=F64)
    found = []
    for k in range(90):
        x = x @ Ad.T + u[:, k, None] * Bd
        found.append(x)
    times = torch.tensor([1, 5, 6, 40, 90])
    got = states(u, measure, 7, method, window=30, times=times, alpha=0.6)
    assert (got - torch.stack(found, 1)[:, times - 1]).abs().max() < 1e-12


@pytest.mark.parametrize("form", ["blog", "older"])
@pytest.mark.parametrize("method", ["zoh", "bilinear", "backward"])
def test_fourier_legs_states_are_the_steps(method, form):
    u, A, B = noise(120), *transition("fous", 9)
    eye, x = torch.eye(9, dtype=F64), torch.zeros(9, dtype=F64)
    first = 0 if form == "older" and method != "zoh" else 1
    if first:
        x[0] = u[0]
    for k in range(first, 120):
        if method == "zoh":
            Ad, Bd = discretize(A, B, math.log((k + 1) / k), "zoh")
            x = Ad @ x + Bd * u[k]
        else:
            alpha, start = 0.5 if method == "bilinear" else 1.0, k if form == "blog" else k + 1
            right = x + ((1 - alpha) / start * (A @ x) if alpha < 1 else 0) + B * u[k] / start
            x = torch.linalg.solve(eye - alpha / (k + 1) * A, right)
    assert (states(u, "fous", 9, method, form=form)[0] - x).abs().max() < 1e-13


@pytest.mark.parametrize("measure", MEASURES)
def test_best_projection(measure):
    """Every sample cut into 64, midpoints: the coefficients by plain quadrature."""
    u, order, width, fine = smooth(300), 9, 100, 64
    reach = 300 if MEASURES[measure].scaled or measure == "lagt" else int(width * MEASURES[measure].span)
    scale = 300 if MEASURES[measure].scaled else width
    age = (torch.arange(reach * fine, dtype=F64).flip(0) + 0.5) / fine / scale
    weight = torch.exp(-age) / fine / scale if measure == "lagt" else torch.full_like(age, 1 / (reach * fine))
    want = basis(measure, order, age).T @ (weight * u[-reach:].repeat_interleave(fine))
    if measure == "lmu":
        want *= 2 * torch.arange(order) + 1
    assert (project(u, measure, order, width) - want).abs().max() < 1e-5


@pytest.mark.parametrize("measure", ["legs", "lagt"])
def test_triangular_measures_are_best_projections(measure):
    """Nothing has to be guessed where A is triangular: the state is the best projection, at every order."""
    u = smooth(400)
    for order in (1, 5, 30):
        x = states(u, measure, order, window=90)[0]
        assert (x - project(u, measure, order, 90)).abs().max() < 1e-12


@pytest.mark.parametrize(
    "measure, want, tolerance",
    [("fout_blog", (0.177, 0.166, 0.167), 6e-4), ("fout", (0.0433, 0.00221, 0.000135), 3e-5)],
)
def test_one_over_w_does_not_converge_and_two_over_w_does(measure, want, tolerance):
    u, width = torch.from_numpy(load("waves", 3072).values), 1024  # [0, 6 pi], the last 2 pi
    age = (torch.arange(width, dtype=F64).flip(0) + 0.5) / width
    for most, error in zip((8, 32, 128), want, strict=True):
        x = states(u, measure, 2 * most + 1, window=width)[0]
        got = (basis(measure, 2 * most + 1, age) @ x - u[-width:]).square().mean()
        assert got == pytest.approx(error, abs=tolerance)


def test_foud_fades_by_thirds():
    """A pulse one and two periods old is recalled at 2/9 and 2/27 of its size, and at 2/3 while new."""
    width, order = 300, 201  # the period is 2 windows
    u = torch.zeros(6 * width, dtype=F64)
    u[100:300] = 1
    middle = basis("foud", order, torch.tensor(1 + 100 / width, dtype=F64))
    for turn, want in enumerate((2 / 3, 2 / 9)):
        end = 2 * width * (turn + 1)
        x = states(u[:end], "foud", order, window=width)[0]
        assert middle @ x == pytest.approx(want, abs=0.01)


def test_gradients_reach_the_signal():
    u = noise(40).requires_grad_()
    for measure, method in (("legs", "zoh"), ("legs", "bilinear"), ("legt", "zoh"), ("fous", "bilinear")):
        x = states(u, measure, 6, method, window=20)[0]
        (grad,) = torch.autograd.grad(x[2], u)
        h = torch.zeros(40, dtype=F64)
        h[7] = 1
        slope = states(u.detach() + h, measure, 6, method, window=20)[0, 2] - x[2]  # linear in u
        assert grad[7].item() == pytest.approx(slope.item(), abs=1e-13)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: transition("legx", 4), "measure"),
        (lambda: transition("legs", 0), "order"),
        (lambda: transition("legs", 10**6), "order"),
        (lambda: transition("legs", 2.5), "order"),
        (lambda: discretize(*transition("legs", 4), 0.1, "euler"), "method"),
        (lambda: discretize(*transition("legs", 4), math.nan), "step"),
        (lambda: discretize(*transition("legs", 4), 0.1, "gbt", 2), "alpha"),
        (lambda: states(torch.zeros(0)), "signal"),
        (lambda: states(torch.zeros(9), times=torch.tensor([3, 3])), "times"),
        (lambda: states(torch.zeros(9), times=torch.tensor([10])), "times"),
        (lambda: states(torch.zeros(9), "legt", window=-1), "window"),
        (lambda: states(torch.zeros(9), form="new"), "form"),
        (lambda: states(torch.zeros(9), alpha=2), "alpha"),
        (lambda: states(torch.zeros(2**21), "legs", 256, "bilinear"), "signal is too long"),
        (lambda: legs_step(torch.zeros(4, dtype=F64), torch.tensor(0.0), 1, "zoh"), "method"),
        (lambda: legs_step(torch.zeros(4, dtype=F64), torch.tensor(0.0), 0), "k must"),
    ],
)
def test_bad_arguments_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
