"""S4, S4D and RTF: the fast kernels against the plain recurrences and closed forms."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from engines.hippo import discretize, rtf, s4, transition

F64 = torch.float64


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def model(order):
    A, B = transition("legs", order)
    d = s4.dplr(order)
    C = noise(order)
    return A, B, C, d, C.to(d.V.dtype) @ d.V


@pytest.mark.parametrize("order", [1, 2, 7, 64])
def test_dplr_is_legs(order):
    A, B, _, d, _ = model(order)
    again = d.V @ (torch.diag(d.Lambda) - torch.outer(d.P, d.P.conj())) @ d.V.mH
    assert (again - A).abs().max() < 1e-12 * order**2
    assert (d.V.mH @ d.V - torch.eye(order)).abs().max() < 1e-13 * max(order, 3)
    assert (d.V @ d.B - B).abs().max() < 1e-12
    assert (d.Lambda.real == -0.5).all()


@pytest.mark.parametrize("length", [1, 2, 15, 1024])
@pytest.mark.parametrize("order", [1, 8, 64])
def test_kernel_is_the_recurrence(order, length):
    A, B, C, d, turned = model(order)
    for step in (1e-3, 0.05):
        got = s4.kernel(d.Lambda, d.P, d.B, turned, step, length)
        assert (got - s4.recurrent_kernel(A, B, C, step, length)).abs().max() <= 1e-12


RATIONAL = [("bilinear", 0.5), ("backward", 0.5), ("forward", 0.5), ("gbt", 0.7)]


@pytest.mark.parametrize("length", [1, 3, 15, 64, 129, 1001])
@pytest.mark.parametrize("method, alpha", [*RATIONAL, ("zoh", 0.5)])
def test_kernels_of_every_discretisation_at_odd_and_even_lengths(method, alpha, length):
    A, B, C, d, turned = model(7)
    poles, weights = s4.diagonal(6, "lin"), noise(6, seed=3)
    b = torch.complex(noise(6, seed=4), noise(6, seed=5))
    for step in (1e-3, 0.05):
        Ad, Bd = discretize(A, B, step, method, alpha)
        want, x = [], Bd
        for _ in range(length):
            want.append(C @ x)
            x = Ad @ x
        want = torch.stack(want)
        near = 1e-12 * want.abs().max()
        assert (s4.recurrent_kernel(A, B, C, step, length, method, alpha) - want).abs().max() <= near
        if method != "zoh":
            got = s4.kernel(d.Lambda, d.P, d.B, turned, step, length, method, alpha)
            assert got.shape == (length,) and (got - want).abs().max() <= near
        u = noise(length, seed=8)
        got = s4.recurrence(A, B, C, step, u, method, alpha)
        assert (got - s4.convolve(want, u)).abs().max() <= 1e-12 * got.abs().max()
        Ad, Bd = discretize(torch.diag(poles), b, step, method, alpha)
        want, x = [], Bd
        for _ in range(length):
            want.append((weights.to(x.dtype) @ x).real)
            x = Ad @ x
        want = torch.stack(want)
        got = s4.diagonal_kernel(poles, b, weights, step, length, method, alpha)
        # torch's exponential of a small matrix is good to 1e-14, which a thousand products multiply
        assert (got - want).abs().max() <= (1e-10 if method == "zoh" else 1e-12) * want.abs().max()


@pytest.mark.parametrize("length", [1, 7, 8, 100])
def test_poles_at_zero(length):
    """Integrators: x' = u is a kernel of ones, its double the numbers that count up."""
    zero, one, step = torch.zeros(2, dtype=torch.complex128), torch.ones(2, dtype=torch.complex128), 0.1
    for method in ("zoh", "bilinear", "backward", "forward", "gbt"):
        got = s4.diagonal_kernel(zero, one, one / 2, step, length, method)
        assert (got - step).abs().max() < 1e-14
        if method != "zoh":
            assert (s4.kernel(zero, 0 * one, one, one / 2, step, length, method) - step).abs().max() < 1e-14
    # one pole at 0 that a low-rank term moves to -1/2, and one that it does not
    Lambda, P = torch.tensor([0.0, -1.0], dtype=torch.complex128), torch.tensor([0.7, 0.3], dtype=torch.complex128)
    A = (torch.diag(Lambda) - torch.outer(P, P)).real
    got = s4.kernel(Lambda, P, one, one, step, length)
    assert (got - s4.recurrent_kernel(A, one.real, one.real, step, length)).abs().max() < 1e-13
    A, B = torch.tensor([[0.0, 1], [0, 0]], dtype=F64), torch.tensor([0.0, 1], dtype=F64)
    Ad, Bd = discretize(A, B, step, "zoh")
    assert torch.allclose(Ad, torch.tensor([[1, step], [0, 1]], dtype=F64)) and torch.allclose(
        Bd, torch.tensor([step**2 / 2, step], dtype=F64)
    )


def test_a_pole_that_one_step_forgets():
    """At -2/step the bilinear step has Ad = 0: the kernel is one number and then zeros; at +2/step it does not exist."""
    one = torch.ones(1, dtype=torch.complex128)
    got = s4.diagonal_kernel(-20 * one, one, one, 0.1, 5)
    assert torch.allclose(got, torch.tensor([0.05, 0, 0, 0, 0], dtype=F64))
    for call in (
        lambda: s4.diagonal_kernel(20 * one, one, one, 0.1, 5),
        lambda: discretize(20 * torch.eye(1), torch.ones(1), 0.1),
        lambda: s4.kernel(20 * one, 0 * one, one, one, 0.1, 5),
    ):
        with pytest.raises(ValueError, match="step is the inverse of a pole"):
            call()


@pytest.mark.parametrize("kind, small", [(torch.float32, 2e-6), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_lower_precision_gives_the_double_answer_to_its_precision(kind, small):
    A, B, C, d, turned = model(8)
    a, b = resonators(6)
    u, paired = noise(33, seed=4), torch.complex64 if kind == torch.float32 else torch.complex128
    calls = {
        "discretize": lambda v: discretize(v(A), v(B), 0.05, "zoh")[0],
        "kernel": lambda v: s4.kernel(v(d.Lambda), v(d.P), v(d.B), v(turned), 0.05, 33),
        "recurrent": lambda v: s4.recurrent_kernel(v(A), v(B), v(C), 0.05, 33),
        "recurrence": lambda v: s4.recurrence(v(A), v(B), v(C), 0.05, v(u)),
        "diagonal": lambda v: s4.diagonal_kernel(v(d.Lambda), v(d.B), v(turned), 0.05, 33, "zoh"),
        "convolve": lambda v: s4.convolve(v(u), v(u)),
        "rtf": lambda v: rtf.kernel(v(a), v(rtf.truncate(a, b, 33)), 33),
        "companion": lambda v: rtf.recurrence(v(a), v(b), v(u)),
        "inference": lambda v: rtf.inference(v(a), v(b), v(u)),
        "untruncate": lambda v: rtf.untruncate(v(a), v(b), 33),
    }
    for name, call in calls.items():
        want = call(lambda v: v)
        got = call(lambda v: v.to(paired if v.is_complex() else kind))
        if kind == torch.float32 or name not in ("kernel", "diagonal"):  # half has no complex numbers here
            assert got.dtype == kind, name
        assert (got.double() - want).abs().max() <= small * max(1, want.abs().max()), name
    # mixed ones take the wider
    assert s4.recurrent_kernel(A, B.float(), C.half(), 0.05, 5).dtype == F64


def test_rtf_at_a_root_of_one_says_so():
    integrator, b = torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    turning = torch.tensor([0.0, 1.0], dtype=F64)  # poles at +-i, fourth roots of 1
    for call in (
        lambda: rtf.kernel(integrator, b, 16),
        lambda: rtf.untruncate(integrator, b, 16),
        lambda: rtf.kernel(turning, torch.ones(2, dtype=F64), 16),
    ):
        with pytest.raises(ValueError, match="root of 1"):
            call()
    b = torch.tensor([1.0, 2], dtype=F64)
    got = rtf.kernel(turning, rtf.truncate(turning, b, 15), 15)  # an odd length has none of them
    impulse = torch.eye(15, dtype=F64)[0]
    assert (got - rtf.recurrence(turning, b, impulse)).abs().max() < 1e-13


def test_generating_function_is_the_resolvent():
    """C (I - z Ad)^-1 Bd by dense inversion, at any z, -1 among them, where it is (step/2) C B."""
    A, B, C, d, turned = model(12)
    Ad, Bd = discretize(A, B, 0.02)
    z = torch.tensor([-1.0, 1.0, 0.3 - 0.4j, np.exp(2j), 0], dtype=torch.complex128)
    got = s4.generating(z, d.Lambda, d.P, d.B, turned, 0.02)
    for point, value in zip(z, got, strict=True):
        want = C.to(z.dtype) @ torch.linalg.solve(torch.eye(12) - point * Ad.to(z.dtype), Bd.to(z.dtype))
        assert abs(value - want) < 1e-12
    assert abs(got[0] - 0.01 * (C @ B)) < 1e-13


def test_many_readouts_at_once_and_gradients():
    _, _, _, d, _ = model(6)
    C = torch.randn(2, 3, 6, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    C = C.real.to(torch.complex128) @ d.V
    got = s4.kernel(d.Lambda, d.P, d.B, C.reshape(6, 6), 0.01, 50)
    assert torch.equal(s4.kernel(d.Lambda, d.P, d.B, C, 0.01, 50), got.reshape(2, 3, 50))
    for row, c in zip(got, C.reshape(6, 6), strict=True):
        assert (row - s4.kernel(d.Lambda, d.P, d.B, c, 0.01, 50)).abs().max() < 1e-14
    c = C[0, 0].clone().requires_grad_()
    s4.kernel(d.Lambda, d.P, d.B, c, 0.01, 9000).square().sum().backward()
    h = torch.zeros(6, dtype=torch.complex128)
    h[2] = 1e-6
    up, down = (s4.kernel(d.Lambda, d.P, d.B, C[0, 0] + e * h, 0.01, 9000).square().sum() for e in (1, -1))
    assert c.grad[2].real.item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-6)


def test_convolution_is_recurrence_and_scipys():
    A, B, C, d, turned = model(16)
    u = noise(3, 200)
    kernel = s4.kernel(d.Lambda, d.P, d.B, turned, 0.01, 200)
    by_state = s4.recurrence(A, B, C, 0.01, u)
    assert (s4.convolve(kernel, u) - by_state).abs().max() < 1e-13
    Ad, Bd = (v.numpy() for v in discretize(A, B, 0.01))
    _, y, _ = scipy.signal.dlsim((Ad, Bd[:, None], C[None].numpy() @ Ad, [[C.numpy() @ Bd]], 0.01), u[0].numpy())
    np.testing.assert_allclose(by_state[0].numpy(), y[:, 0], atol=1e-12)


def test_state_of_s4_is_the_warped_legendre_polynomial():
    """e^(tA) B = sqrt(2n+1) e^-t P_n(2 e^-t - 1), "How to Train Your HiPPO"."""
    A, B = transition("legs", 12)
    for t in (0.0, 0.4, 2.0):
        want = [
            math.sqrt(2 * n + 1) * math.exp(-t) * np.polynomial.legendre.Legendre.basis(n)(2 * math.exp(-t) - 1)
            for n in range(12)
        ]
        np.testing.assert_allclose((torch.linalg.matrix_exp(t * A) @ B).numpy(), want, atol=1e-11)


def test_diagonal_kernel_is_the_sum_of_its_poles():
    poles = s4.diagonal(8, "lin")
    assert sorted(poles.imag.tolist()) == pytest.approx(sorted(s * math.pi * n for n in range(4) for s in (1, -1)))
    inverse = s4.diagonal(8, "inv")
    assert inverse.imag[0].item() == pytest.approx(8 / math.pi * 7)
    assert torch.equal(s4.diagonal(8), s4.dplr(8).Lambda)
    C, B = noise(8), noise(8, seed=2)
    for method in ("zoh", "bilinear"):
        Ad, Bd = discretize(torch.diag(poles), B.to(poles.dtype), 0.01, method)
        x, want = Bd, []
        for _ in range(300):
            want.append((C.to(poles.dtype) @ x).real)
            x = Ad @ x
        assert (s4.diagonal_kernel(poles, B, C, 0.01, 300, method) - torch.stack(want)).abs().max() < 1e-13


def test_low_rank_term_tends_to_half_of_the_input():
    """S4D's theorem 3. B = sqrt2 P, so by Woodbury (s - A)^-1 B is R B / (1 + P* R P) with R = (s - Lambda)^-1; P* R P tends to 1,
    at s = 1/2 with (P* R P - 1) / (P* R P + 1) = (-1)^N / (4 N^2 - 1)."""
    for order in (1, 16, 64, 256):
        A, B, _, d, _ = model(order)
        R = 1 / (0.5 - d.Lambda)
        share = (d.P.conj() * R * d.P).sum()
        full = torch.linalg.solve(0.5 * torch.eye(order, dtype=F64) - A, B)
        assert ((d.V @ (R * d.B)) / (1 + share) - full).abs().max() < 1e-11
        assert ((share - 1) / (share + 1)).real.item() == pytest.approx((-1) ** order / (4 * order**2 - 1), abs=1e-12)


# RTF


def resonators(order, size=0.95):
    angle = math.pi * (torch.arange(order // 2, dtype=F64) + 0.5) / (order // 2)
    half = torch.polar(torch.full_like(angle, size), angle)
    return rtf.polynomial(torch.cat([half, half.conj()])), noise(order)


@pytest.mark.parametrize("order, length", [(2, 5), (16, 64), (64, 1024)])
def test_one_fft_is_the_companion_recurrence(order, length):
    a, b = resonators(order)
    impulse = torch.zeros(length, dtype=F64)
    impulse[0] = 1
    series = rtf.recurrence(a, b, impulse)
    cut = rtf.truncate(a, b, length)
    assert (rtf.kernel(a, cut, length) - series).abs().max() < 1e-13 * 20
    want = scipy.signal.lfilter(b.numpy(), np.concatenate([[1], a.numpy()]), impulse.numpy())
    np.testing.assert_allclose(series.numpy(), want, atol=1e-12)
    u = noise(2, length, seed=3)
    assert (rtf.inference(a, cut, u) - rtf.recurrence(a, b, u)).abs().max() < 1e-12
    assert (rtf.untruncate(a, cut, length) - b).abs().max() < 1e-12


def test_uncut_numerator_folds_the_tail_back():
    a, b = resonators(4, 0.9)
    long = rtf.kernel(a, rtf.truncate(a, b, 4096), 4096)
    folded = long.reshape(-1, 32).sum(0)
    assert (rtf.kernel(a, b, 32) - folded).abs().max() < 1e-13


def test_companion_matrix():
    a, b = noise(6), noise(6, seed=1)
    A, B, C = rtf.companion(a, b)
    np.testing.assert_allclose(np.poly(A.numpy())[1:], a.numpy(), atol=1e-12)
    assert torch.equal(B, torch.eye(6, dtype=F64)[0]) and torch.equal(C, b)


def test_zero_a_is_a_delay_line():
    b = noise(8)
    k = rtf.kernel(torch.zeros(8, dtype=F64), b, 32)
    assert (k[:8] - b).abs().max() < 1e-14 and k[8:].abs().max() < 1e-14


def test_small_coefficients_are_stable():
    """kexue.fm 10180: |a_1| + ... + |a_N| < 1 puts every root inside the unit circle."""
    for seed in range(20):
        a = noise(12, seed=seed)
        assert rtf.radius(a / a.abs().sum() * 0.999) < 1


def test_from_state_space_where_polynomials_hold_and_a_sentence_where_they_do_not():
    A, B = transition("legs", 6)
    Ad, Bd = discretize(A, B, 0.1)
    C = noise(6)
    a, b = rtf.from_state_space(Ad, Bd, C, 256)
    assert (rtf.kernel(a, b, 256) - s4.recurrent_kernel(A, B, C, 0.1, 256)).abs().max() < 1e-11
    for order in (16, 32, 64):
        A, B = transition("legs", order)
        Ad, Bd = discretize(A, B, 0.01)
        with pytest.raises(ValueError, match="not stable"):
            rtf.from_state_space(Ad, Bd, torch.ones(order, dtype=F64), 256)


def test_rtf_has_gradients():
    a, b = (v.requires_grad_() for v in resonators(4, 0.8))
    rtf.kernel(a, b, 16).square().sum().backward()
    h = torch.eye(4, dtype=F64)[1] * 1e-6
    for v, up, down in ((a, (a + h, b), (a - h, b)), (b, (a, b + h), (a, b - h))):
        with torch.no_grad():
            slope = (rtf.kernel(*up, 16).square().sum() - rtf.kernel(*down, 16).square().sum()) / 2e-6
        assert v.grad[1].item() == pytest.approx(slope.item(), rel=1e-7)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: s4.kernel(*s4.dplr(4)[:3], s4.dplr(4).P, 0.1, 0), "length"),
        (lambda: s4.kernel(*s4.dplr(4)[:3], s4.dplr(4).P, 0.1, 2**30), "length"),
        (lambda: s4.diagonal(7, "lin"), "order"),
        (lambda: s4.diagonal(8, "random"), "init"),
        (lambda: s4.diagonal_kernel(s4.diagonal(4), noise(4), noise(4), 0.1, 9, "euler"), "method"),
        (lambda: rtf.kernel(noise(4), noise(5), 64), "b has 5 entries where a has 4"),
        (lambda: rtf.kernel(noise(4), noise(4), 4), "length"),
    ],
)
def test_bad_arguments_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
