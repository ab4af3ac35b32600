"""A state space model given by its rational transfer function; its kernel costs one FFT whatever the order.

H(z) = (b_1 + b_2 z + ... + b_N z^(N-1)) / (1 + a_1 z + ... + a_N z^N), with z the delay of one step. Parnichkun et al.,
"State-Free Inference of State-Space Models: The Transfer Function Approach", 2024 (RTF; the blog writes RFT), kexue.fm 10180.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engines.hippo.s4 import MAX_LENGTH, convolve


def _sizes(a: Tensor, b: Tensor, length: int) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"a and b must be equally long, not {a.shape[-1]} and {b.shape[-1]}.")
    if not a.shape[-1] < length <= MAX_LENGTH:
        raise ValueError(f"length must be more than the order {a.shape[-1]} and at most {MAX_LENGTH}, not {length}.")


def kernel(a: Tensor, b: Tensor, length: int) -> Tensor:
    """The kernel [..., L] of the transfer function cut at length L: irfft(rfft(b) / rfft(1, a)). a, b [..., N].

    On the L-th roots of 1 the powers beyond L fold back upon the first L, so b has to be that of the cut function,
    as RTF trains it; `truncate` makes it from the b of the endless one. kexue.fm 10180, "an unexpected surprise".
    """
    _sizes(a, b, length)
    denominator = torch.cat([torch.ones_like(a[..., :1]), a], -1)
    return torch.fft.irfft(torch.fft.rfft(b, n=length) / torch.fft.rfft(denominator, n=length), n=length)


def companion(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A [N, N], B [N], C [N] with C A^k B the series of b / (1, a): the first row -a, ones below the diagonal, B = e_0, C = b."""
    A = torch.diag(torch.ones(len(a) - 1, dtype=a.dtype), -1)
    A[0] = -a
    B = torch.zeros_like(a)
    B[0] = 1
    return A, B, b


def truncate(a: Tensor, b: Tensor, length: int) -> Tensor:
    """The b of the function cut at length L from that of the endless one: b (I - A^L) with the companion matrix A."""
    A, _, _ = companion(a, b)
    return b - b @ torch.linalg.matrix_power(A, length)


def untruncate(a: Tensor, b: Tensor, length: int) -> Tensor:
    """The inverse of `truncate`: from trained (a, b) to the C of the recurrence (kexue.fm 10180, "companion matrix")."""
    A, _, _ = companion(a, b)
    return torch.linalg.solve((torch.eye(len(a), dtype=a.dtype) - torch.linalg.matrix_power(A, length)).T, b)


def inference(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """State-free: y = kernel * u [..., L] from the cut (a, b), with no state anywhere."""
    return convolve(kernel(a, b, u.shape[-1]), u)


def recurrence(a: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """The companion form run step by step, O(N) a step: u [..., L] -> y [..., L]; a, b [N] of the endless function."""
    x, out = torch.zeros(*u.shape[:-1], len(a), dtype=u.dtype), []
    for k in range(u.shape[-1]):
        head = u[..., k] - x @ a
        x = torch.cat([head[..., None], x[..., :-1]], -1)
        out.append(x @ b)
    return torch.stack(out, -1)


def polynomial(roots: Tensor) -> Tensor:
    """The coefficients a_1 ... a_N [N] of the monic polynomial with these roots, complex ones in conjugate pairs.

    By its values on the (N+1)-th roots of 1 and one FFT, since multiplying the factors out loses the small coefficients.
    """
    angle = -2 * math.pi * torch.arange(len(roots) + 1, dtype=torch.float64) / (len(roots) + 1)
    z = torch.polar(torch.ones_like(angle), angle)
    return torch.fft.ifft(torch.prod(1 - roots.to(z.dtype) * z[:, None], 1)).real[1:]


def radius(a: Tensor) -> float:
    """The largest modulus among the roots of z^N + a_1 z^(N-1) + ... + a_N: the recurrence is stable below 1."""
    return float(torch.linalg.eigvals(companion(a, a)[0]).abs().max())


def from_state_space(A: Tensor, B: Tensor, C: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(a, b) of the discrete model (A, B, C), cut at `length`, from two characteristic polynomials (kexue.fm 10180, eq. 7).

    Polynomials in floating point forget roots that lie close together, as those of HiPPO do after a small bilinear step: LegS is lost
    near N = 7 at step 0.001, N = 11 at step 0.01, and its recurrence then overflows to NaN. This raises instead.
    """
    cut = C - C @ torch.linalg.matrix_power(A, length)
    a = polynomial(torch.linalg.eigvals(A))
    b = polynomial(torch.linalg.eigvals(A - torch.outer(B, cut))) - a
    if not (bool(torch.isfinite(a).all()) and radius(a) < 1):
        raise ValueError(
            f"The characteristic polynomial of this model of order {len(B)} is not stable in floating point; "
            "lower the order, or give the transfer function (a, b) itself."
        )
    return a, b
