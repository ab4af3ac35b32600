"""A state space model given by its rational transfer function; its kernel costs three FFTs whatever the order.

H(z) = (b_1 + b_2 z + ... + b_N z^(N-1)) / (1 + a_1 z + ... + a_N z^N), with z the delay of one step. Parnichkun et al.,
"State-Free Inference of State-Space Models: The Transfer Function Approach", 2024 (RTF; the blog writes RFT), kexue.fm 10180.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from engines.arguments import Refusal, checked
from engines.hippo.s4 import Length, convolve
from engines.hippo.tensors import sized

Coefficients = Annotated[Tensor, "... N"]
Vector = Annotated[Tensor, "N"]


@checked
@sized
def kernel(a: Coefficients, b: Coefficients, length: Length) -> Tensor:
    """The kernel [..., L] of the transfer function cut at length L: irfft(rfft(b) / rfft(1, a)). a, b [..., N], N < L.

    On the L-th roots of 1 the powers beyond L fold back upon the first L, so b has to be that of the cut function,
    as RTF trains it; `truncate` makes it from the b of the endless one. kexue.fm 10180, "an unexpected surprise".
    """
    if not a.shape[-1] < length:
        raise Refusal(
            "{parameter} must be more than the order {order}, not {given}.",
            parameter="length",
            order=a.shape[-1],
            given=length,
        )
    below = torch.fft.rfft(torch.cat([torch.ones_like(a[..., :1]), a], -1), n=length)
    if bool((below.abs() <= 2.3e-16 * (1 + a.abs().sum(-1, keepdim=True))).any()):
        raise Refusal(
            "{parameter} has a pole at an L-th root of 1, where the cut kernel is not defined; take another length.",
            parameter="a",
        )
    try:
        return torch.fft.irfft(torch.fft.rfft(b, n=length) / below, n=length)
    except RuntimeError:
        raise Refusal("{parameter} and b must have leading sizes that go together.", parameter="a") from None


@sized
def companion(a: Vector, b: Vector) -> tuple[Tensor, Tensor, Tensor]:
    """A [N, N], B [N], C [N] with C A^k B the series of b / (1, a): the first row -a, ones below the diagonal, B = e_0, C = b."""
    A = torch.diag(torch.ones(len(a) - 1, dtype=a.dtype), -1)
    A[0] = -a
    B = torch.zeros_like(a)
    B[0] = 1
    return A, B, b


@checked
@sized
def truncate(a: Vector, b: Vector, length: Length) -> Tensor:
    """The b of the function cut at length L from that of the endless one: b (I - A^L) with the companion matrix A."""
    A, _, _ = companion(a, b)
    return b - b @ torch.linalg.matrix_power(A, length)


@checked
@sized
def untruncate(a: Vector, b: Vector, length: Length) -> Tensor:
    """The inverse of `truncate`: from trained (a, b) to the C of the recurrence (kexue.fm 10180, "companion matrix")."""
    A, _, _ = companion(a, b)
    whole = torch.eye(len(a), dtype=a.dtype) - torch.linalg.matrix_power(A, length)
    c, singular = torch.linalg.solve_ex(whole.T, b)
    if int(singular) or not bool(torch.isfinite(c).all()):
        raise Refusal(
            "{parameter} has a pole at an L-th root of 1, where the cut kernel is not defined; take another length.",
            parameter="a",
        )
    return c


@sized
def inference(a: Vector, b: Vector, u: Annotated[Tensor, "... L"]) -> Tensor:
    """State-free: y = kernel * u [..., L] from the cut (a, b), with no state anywhere."""
    return convolve(kernel(a, b, u.shape[-1]), u)


@sized
def recurrence(a: Vector, b: Vector, u: Annotated[Tensor, "... L"]) -> Tensor:
    """The companion form run step by step, O(N) a step: u [..., L] -> y [..., L]; a, b [N] of the endless function."""
    x, out = torch.zeros(*u.shape[:-1], len(a), dtype=u.dtype), []
    for k in range(u.shape[-1]):
        head = u[..., k] - x @ a
        x = torch.cat([head[..., None], x[..., :-1]], -1)
        out.append(x @ b)
    return torch.stack(out, -1)


@sized
def polynomial(roots: Annotated[Tensor, "N", complex]) -> Tensor:
    """The coefficients a_1 ... a_N [N] of the monic polynomial with these roots, complex ones in conjugate pairs.

    By its values on the (N+1)-th roots of 1 and one FFT, since multiplying the factors out loses the small coefficients.
    """
    angle = -2 * math.pi * torch.arange(len(roots) + 1, dtype=torch.float64) / (len(roots) + 1)
    z = torch.polar(torch.ones_like(angle), angle)
    return torch.fft.ifft(torch.prod(1 - roots.to(z.dtype) * z[:, None], 1)).real[1:]


@sized
def radius(a: Vector) -> float:
    """The largest modulus among the roots of z^N + a_1 z^(N-1) + ... + a_N: the recurrence is stable below 1."""
    return float(torch.linalg.eigvals(companion(a, a)[0]).abs().max())


@checked
@sized
def from_state_space(A: Annotated[Tensor, "N N"], B: Vector, C: Vector, length: Length) -> tuple[Tensor, Tensor]:
    """(a, b) of the discrete model (A, B, C), cut at `length`, from two characteristic polynomials (kexue.fm 10180, eq. 7).

    Polynomials in floating point forget roots that lie close together, as those of HiPPO do after a small bilinear step: LegS is lost
    near N = 7 at step 0.001, N = 11 at step 0.01, and its recurrence then overflows to NaN. This raises instead.
    """
    cut = C - C @ torch.linalg.matrix_power(A, length)
    if not bool(torch.isfinite(cut).all()):
        raise Refusal("{parameter} makes the state grow beyond any number within this length.", parameter="A")
    a = polynomial(torch.linalg.eigvals(A))
    b = polynomial(torch.linalg.eigvals(A - torch.outer(B, cut))) - a
    if not (bool(torch.isfinite(a).all()) and radius(a) < 1):
        raise Refusal(
            "The characteristic polynomial of this model of order {order} is not stable in floating point; lower the order, "
            "or give the transfer function (a, b) itself.",
            order=len(B),
        )
    return a, b
