"""S4: the convolution kernel of a LegS state space model without its powers, and S4D, its diagonal cousin.

Gu, Goel, Re, "Efficiently Modeling Long Sequences with Structured State Spaces", 2022 (algorithm 1, appendix C);
Gu, Gupta, Goel, Re, "On the Parameterization and Initialization of Diagonal State Space Models", 2022; kexue.fm 10162.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from engines.hippo.measures import discretize, transition

MAX_LENGTH = 2**20


class DPLR(NamedTuple):
    """LegS as V (diag(Lambda) - P P*) V*: Lambda [N], P [N], B [N] = V* B (complex128), and the unitary V [N, N]."""

    Lambda: Tensor
    P: Tensor
    B: Tensor
    V: Tensor


def skew(order: int) -> tuple[Tensor, Tensor]:
    """S [N, N] and P [N] with A = S - I/2 - P P^T for LegS: P_n = sqrt(n + 1/2), S skew-symmetric (S4, appendix C.1)."""
    A, _ = transition("legs", order)
    P = torch.sqrt(torch.arange(order, dtype=torch.float64) + 0.5)
    return A + torch.outer(P, P) + 0.5 * torch.eye(order, dtype=torch.float64), P


def dplr(order: int) -> DPLR:
    """LegS in the basis that diagonalises its normal part S - I/2: i S is Hermitian, so V is unitary and perfectly conditioned."""
    S, P = skew(order)
    frequency, V = torch.linalg.eigh(-1j * S)
    B = transition("legs", order)[1].to(V.dtype)
    return DPLR(torch.complex(torch.full_like(frequency, -0.5), frequency), V.mH @ P.to(V.dtype), V.mH @ B, V)


def _length(length: int) -> None:
    if not 1 <= length <= MAX_LENGTH:
        raise ValueError(f"length must be between 1 and {MAX_LENGTH}, not {length}.")


def truncated(Lambda: Tensor, P: Tensor, C: Tensor, step: float, length: int) -> Tensor:
    """C (I - Ad^L) [..., N] of the bilinear step: what makes the sum of all powers stop after L (S4, eq. 4)."""
    Ad, _ = discretize(torch.diag(Lambda) - torch.outer(P, P.conj()), P, step, "bilinear")
    return C - C @ torch.linalg.matrix_power(Ad, length)


def generating(z: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, step: float) -> Tensor:
    """C (I - z Ad)^-1 Bd of the bilinear step at z [Z], by four Cauchy sums and Woodbury (S4, lemma C.3): C [N] or [R, N] -> [R, Z].

    The usual form multiplies by 2/(1+z) and breaks at z = -1. Taking (1+z) into each pole, r = 1 / (2 (1-z)/step - Lambda (1+z)),
    leaves 2 [C r B - (1+z) (C r P)(P* r B) / (1 + (1+z) P* r P)], regular everywhere, and its limit (step/2) C B at z = -1.
    """
    C = torch.atleast_2d(C)
    left = torch.cat([C, P.conj()[None]])  # C and P* on the left, B and P on the right
    sums = torch.stack([left * B, left * P], -1).permute(1, 0, 2).reshape(len(Lambda), -1)
    # one Cauchy matrix for all parts, unless a gradient needs each: fresh memory would cost more than the arithmetic
    keep = torch.is_grad_enabled() and any(v.requires_grad for v in (Lambda, P, B, C))
    space, out = None if keep else torch.empty(min(len(z), 4096), len(Lambda), dtype=Lambda.dtype), []
    for part in z.split(4096):
        one = 1 + part
        r = torch.outer(one, -Lambda, out=None if keep else space[: len(part)])
        r = r.add_(2 * (1 - part)[:, None] / step).reciprocal_()
        s = (r @ sums).reshape(len(part), len(left), 2)
        one = one[:, None]
        out.append(2 * (s[:, :-1, 0] - one * s[:, :-1, 1] * s[:, -1:, 0] / (1 + one * s[:, -1:, 1])))
    return torch.cat(out).T


def kernel(Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, step: float, length: int) -> Tensor:
    """The convolution kernel C Ad^k Bd, k < L, of A = diag(Lambda) - P P* under the bilinear step: [..., L] real.

    Lambda, P, B [N] and C [..., N] are complex and stem from a real model (see `dplr`; C = C_real @ V): then the generating
    function on the upper half of the L-th roots of 1 is enough. S4, algorithm 1; O(N L + L log L).
    """
    _length(length)
    angle = -2 * math.pi * torch.arange(length // 2 + 1, dtype=torch.float64) / length
    z = torch.polar(torch.ones_like(angle), angle)
    values = generating(z, Lambda, P, B, truncated(Lambda, P, C, step, length).reshape(-1, len(Lambda)), step)
    return torch.fft.irfft(values, n=length).reshape(*C.shape[:-1], length)


def recurrent_kernel(A: Tensor, B: Tensor, C: Tensor, step: float, length: int, method: str = "bilinear") -> Tensor:
    """The same kernel [L] by running the recurrence on an impulse: the reference."""
    _length(length)
    Ad, x = discretize(A, B, step, method)
    out = torch.empty(length, dtype=torch.float64)
    for k in range(length):
        out[k] = (C @ x).real
        x = Ad @ x
    return out


def recurrence(A: Tensor, B: Tensor, C: Tensor, step: float, u: Tensor) -> Tensor:
    """y_k = C x_(k+1), x_(k+1) = Ad x_k + Bd u_k under the bilinear step: u [..., L] -> y [..., L]."""
    Ad, Bd = discretize(A, B, step, "bilinear")
    x, out = torch.zeros(*u.shape[:-1], len(B), dtype=torch.float64), []
    for k in range(u.shape[-1]):
        x = x @ Ad.T + u[..., k, None] * Bd
        out.append(x @ C)
    return torch.stack(out, -1)


def convolve(k: Tensor, u: Tensor) -> Tensor:
    """The causal convolution of a kernel [..., L] with u [..., L], by FFT with zero padding."""
    length = u.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(k, n=2 * length) * torch.fft.rfft(u, n=2 * length), n=2 * length)[
        ..., :length
    ]


def diagonal(order: int, init: str = "legs") -> Tensor:
    """The N poles of S4D: legs (the normal part of S4's matrix), inv and lin (S4D eq. 9 and 10, with their conjugates)."""
    if init == "legs":
        return dplr(order).Lambda
    if init not in ("inv", "lin") or order % 2:
        raise ValueError(
            f"init must be legs, inv or lin (the latter two with an even order), not {init!r} with order {order}."
        )
    n = torch.arange(order // 2, dtype=torch.float64)
    imag = math.pi * n if init == "lin" else order / math.pi * (order / (2 * n + 1) - 1)
    half = torch.complex(torch.full_like(n, -0.5), imag)
    return torch.cat([half, half.conj()])


def diagonal_kernel(Lambda: Tensor, B: Tensor, C: Tensor, step: float, length: int, method: str = "bilinear") -> Tensor:
    """S4D's kernel Re sum_n C_n Bd_n Ad_n^k: a Vandermonde product [..., L]; method bilinear or zoh (S4D, eq. 6)."""
    _length(length)
    if method not in ("bilinear", "zoh"):
        raise ValueError(f"method must be bilinear or zoh, not {method!r}.")
    half = Lambda * step / 2
    Ad = torch.exp(Lambda * step) if method == "zoh" else (1 + half) / (1 - half)
    Bd = B * ((Ad - 1) / Lambda if method == "zoh" else step / (1 - half))
    k = torch.arange(length, dtype=torch.float64)
    weights = C * Bd
    return torch.cat([(weights @ torch.exp(torch.log(Ad)[:, None] * part)).real for part in k.split(8192)], -1)
