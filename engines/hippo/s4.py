"""S4: the convolution kernel of a LegS state space model without its powers, and S4D, its diagonal cousin.

Gu, Goel, Re, "Efficiently Modeling Long Sequences with Structured State Spaces", 2022 (algorithm 1, appendix C);
Gu, Gupta, Goel, Re, "On the Parameterization and Initialization of Diagonal State Space Models", 2022; kexue.fm 10162.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked
from engines.hippo.measures import METHODS, Order, Step, blend, discretize, held_input, transition
from engines.hippo.tensors import sized

MAX_LENGTH = 2**20
MOST_NUMBERS = 2**27  # in one table
INITS = ("legs", "inv", "lin")

Length = Annotated[int, Between(1, MAX_LENGTH)]
Method = Annotated[str, OneOf(METHODS)]
Rational = Annotated[
    str, OneOf([method for method in METHODS if method != "zoh"])
]  # of the methods, those rational in A
Alpha = Annotated[float, Between(0, 1)]
Vector = Annotated[Tensor, "N", complex]
Vectors = Annotated[Tensor, "... N", complex]
Square = Annotated[Tensor, "N N", complex]


class DPLR(NamedTuple):
    """LegS as V (diag(Lambda) - P P*) V*.

    Lambda: complex128 [N]; the eigenvalues of the normal part S - I/2
    P: complex128 [N]; the vector of the low-rank term in the basis V
    B: complex128 [N]; V* B
    V: complex128 [N, N], unitary; the eigenvectors of S
    """

    Lambda: Tensor
    P: Tensor
    B: Tensor
    V: Tensor


@checked
def skew(order: Order) -> tuple[Tensor, Tensor]:
    """S [N, N] and P [N] with A = S - I/2 - P P^T for LegS: P_n = sqrt(n + 1/2), S skew-symmetric (S4, appendix C.1)."""
    A, _ = transition("legs", order)
    P = torch.sqrt(torch.arange(order, dtype=torch.float64) + 0.5)
    return A + torch.outer(P, P) + 0.5 * torch.eye(order, dtype=torch.float64), P


@checked
def dplr(order: Order) -> DPLR:
    """LegS in the basis that diagonalises its normal part S - I/2: i S is Hermitian, so V is unitary and perfectly conditioned."""
    S, P = skew(order)
    frequency, V = torch.linalg.eigh(-1j * S)
    B = transition("legs", order)[1].to(V.dtype)
    return DPLR(torch.complex(torch.full_like(frequency, -0.5), frequency), V.mH @ P.to(V.dtype), V.mH @ B, V)


@checked
@sized
def truncated(
    Lambda: Vector,
    P: Vector,
    C: Vectors,
    step: Step,
    length: Length,
    method: Rational = "bilinear",
    alpha: Alpha = 0.5,
    radius: Annotated[float, Between(0, 1)] = 1.0,
) -> Tensor:
    """C (I - (radius Ad)^L) [..., N]: what makes the sum of all powers stop after L on a circle of that radius (S4, eq. 4)."""
    Ad, _ = discretize(torch.diag(Lambda) - torch.outer(P, P.conj()), P, step, method, alpha)
    kind = torch.promote_types(Ad.dtype, C.dtype)
    C, Ad = C.to(kind), Ad.to(kind)
    return C - C @ torch.linalg.matrix_power(radius * Ad, length)


@checked
@sized
def generating(
    z: Annotated[Tensor, "Z", complex],
    Lambda: Vector,
    P: Vector,
    B: Vector,
    C: Vectors,
    step: Step,
    method: Rational = "bilinear",
    alpha: Alpha = 0.5,
) -> Tensor:
    """C (I - z Ad)^-1 Bd at z [Z] of A = diag(Lambda) - P P*, by four Cauchy sums and Woodbury (S4, lemma C.3): C [..., N] -> [..., Z].

    With g = alpha + (1 - alpha) z and r = 1 / ((1-z)/step - g Lambda) it is C r B - g (C r P)(P* r B) / (1 + g P* r P). S4 has it for
    the bilinear step (alpha = 1/2) and divides by g; here nothing is divided, so that z = -1, where g = 0, is no exception.
    """
    kind = torch.complex128
    z, Lambda, P, B, rows = (v.to(kind) for v in (z, Lambda, P, B, C.reshape(-1, len(Lambda))))
    if (len(rows) + 1) * len(z) > MOST_NUMBERS:
        raise Refusal("{parameter} holds too many rows for {count} points; take fewer.", parameter="C", count=len(z))
    weight = blend(method, alpha)
    left = torch.cat([rows, P.conj()[None]])  # C and P* on the left, B and P on the right
    sums = torch.stack([left * B, left * P], -1).permute(1, 0, 2).reshape(len(Lambda), -1)
    # one Cauchy matrix for all parts, unless a gradient needs each: fresh memory would cost more than the arithmetic
    keep = torch.is_grad_enabled() and any(v.requires_grad for v in (z, Lambda, P, B, rows))
    space, out = torch.empty(0 if keep else min(len(z), 4096), len(Lambda), dtype=kind), []
    for part in z.split(4096):
        g = weight + (1 - weight) * part
        r = torch.outer(g, -Lambda, out=None if keep else space[: len(part)])
        r = r.add_((1 - part)[:, None] / step).reciprocal_()
        s = (r @ sums).reshape(len(part), len(left), 2)
        g = g[:, None]
        out.append(s[:, :-1, 0] - g * s[:, :-1, 1] * s[:, -1:, 0] / (1 + g * s[:, -1:, 1]))
    values = torch.cat(out).T
    if not bool(torch.isfinite(values).all()):
        raise Refusal("{parameter} holds the inverse of a pole of this model, where it has no value.", parameter="z")
    return values.reshape(*C.shape[:-1], len(z))


@checked
@sized
def kernel(
    Lambda: Vector,
    P: Vector,
    B: Vector,
    C: Vectors,
    step: Step,
    length: Length,
    method: Rational = "bilinear",
    alpha: Alpha = 0.5,
) -> Tensor:
    """The convolution kernel C Ad^k Bd, k < L, of A = diag(Lambda) - P P*: [..., L] real. S4, algorithm 1; O(N L + L log L).

    Lambda, P, B [N] and C [..., N] stem from a real model (see `dplr`; C = C_real @ V): then the generating function on the upper
    half of a circle is enough. S4 takes the L-th roots of 1. Here they lie on a circle of radius e^(-1/L), and coefficient k is
    multiplied by e^(k/L): poles at 0, whose resolvent is infinite at z = 1, are then no exception.
    """
    radius = math.exp(-1 / length)
    angle = -2 * math.pi * torch.arange(length // 2 + 1, dtype=torch.float64) / length
    z = torch.polar(torch.full_like(angle, radius), angle)
    cut = truncated(Lambda, P, C, step, length, method, alpha, radius)
    if not bool(torch.isfinite(cut).all()):
        raise Refusal("{parameter} is too long: this step makes the state grow beyond any number.", parameter="length")
    values = generating(z, Lambda, P, B, cut, step, method, alpha)
    k = torch.arange(length, dtype=torch.float64)
    return torch.fft.irfft(values, n=length) * torch.exp(k / length)


@checked
@sized
def recurrent_kernel(
    A: Square, B: Vector, C: Vector, step: Step, length: Length, method: Method = "bilinear", alpha: Alpha = 0.5
) -> Tensor:
    """The same kernel [L], its real part, by running the recurrence on an impulse: the reference."""
    Ad, x = discretize(A, B, step, method, alpha)
    kind = torch.promote_types(Ad.dtype, C.dtype)
    Ad, x, C, out = Ad.to(kind), x.to(kind), C.to(kind), []
    for _ in range(length):
        out.append((C @ x).real)
        x = Ad @ x
    return torch.stack(out)


@checked
@sized
def recurrence(
    A: Annotated[Tensor, "N N"],
    B: Annotated[Tensor, "N"],
    C: Annotated[Tensor, "N"],
    step: Step,
    u: Annotated[Tensor, "... L"],
    method: Method = "bilinear",
    alpha: Alpha = 0.5,
) -> Tensor:
    """y_k = C x_(k+1), x_(k+1) = Ad x_k + Bd u_k: u [..., L] -> y [..., L]."""
    Ad, Bd = discretize(A, B, step, method, alpha)
    x, out = torch.zeros(*u.shape[:-1], len(B), dtype=torch.float64), []
    for k in range(u.shape[-1]):
        x = x @ Ad.T + u[..., k, None] * Bd
        out.append(x @ C)
    return torch.stack(out, -1)


@sized
def convolve(k: Annotated[Tensor, "... L"], u: Annotated[Tensor, "... L"]) -> Tensor:
    """The causal convolution of a kernel [..., L] with u [..., L], by FFT with zero padding; leading sizes as they broadcast."""
    length = u.shape[-1]
    try:
        torch.broadcast_shapes(k.shape, u.shape)
    except RuntimeError:
        raise Refusal("{parameter} and u must have leading sizes that go together.", parameter="k") from None
    return torch.fft.irfft(torch.fft.rfft(k, n=2 * length) * torch.fft.rfft(u, n=2 * length), n=2 * length)[
        ..., :length
    ]


@checked
def diagonal(order: Order, init: Annotated[str, OneOf(INITS)] = "legs") -> Tensor:
    """The N poles of S4D: legs (the normal part of S4's matrix), inv and lin (S4D eq. 9 and 10, with their conjugates; N even)."""
    if init == "legs":
        return dplr(order).Lambda
    if order % 2:
        raise Refusal(
            "{parameter} must be even for the poles inv and lin, not {given}.", parameter="order", given=order
        )
    n = torch.arange(order // 2, dtype=torch.float64)
    imag = math.pi * n if init == "lin" else order / math.pi * (order / (2 * n + 1) - 1)
    half = torch.complex(torch.full_like(n, -0.5), imag)
    return torch.cat([half, half.conj()])


@checked
@sized
def diagonal_kernel(
    Lambda: Vector,
    B: Vector,
    C: Vectors,
    step: Step,
    length: Length,
    method: Method = "bilinear",
    alpha: Alpha = 0.5,
) -> Tensor:
    """S4D's kernel Re sum_n C_n Bd_n Ad_n^k: a Vandermonde product [..., L], by any of the methods (S4D, eq. 6, for two)."""
    Lambda = Lambda.to(torch.complex128)
    if method == "zoh":
        logarithm, Bd = Lambda * step, step * held_input(Lambda * step)
        alive = torch.ones_like(Lambda.real, dtype=torch.bool)
    else:
        weight = blend(method, alpha)
        below = 1 - weight * step * Lambda
        if bool((below == 0).any()):
            raise Refusal(
                "{parameter} is the inverse of a pole, where this method divides by zero; change it.", parameter="step"
            )
        Ad, Bd = (1 + (1 - weight) * step * Lambda) / below, step / below
        alive = Ad != 0  # a pole that one step forgets: its power 0 is 1, the others are 0
        logarithm = torch.log(torch.where(alive, Ad, 1))
    weights = (C * (B * Bd)).to(torch.complex128)
    k = torch.arange(length, dtype=torch.float64)
    parts = [torch.exp(logarithm[:, None] * part) * (alive[:, None] | (part == 0)) for part in k.split(8192)]
    return torch.cat([(weights @ powers).real for powers in parts], -1)
