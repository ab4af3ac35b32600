"""The measures of HiPPO: which past is remembered, in which basis, and the linear system x' = A x + B u that keeps the N numbers.

Time runs in units of the window w, and `age` = (T - t) / w is how long ago something happened; the scaled measures
(LegS, Fourier-LegS) take w = T, all the past there is, and their system is x' = (A x + B u) / t.

Gu, Dao, Ermon, Rudra, Re, "HiPPO: Recurrent Memory with Optimal Polynomial Projections", 2020 (appendix D);
Gu, Johnson, Timalsina, Rudra, Re, "How to Train Your HiPPO", 2022; Su Jianlin, kexue.fm 10114 and 10137.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked
from engines.hippo.tensors import sized


class Measure(NamedTuple):
    """What is remembered of the past.

    scaled: bool; whether the window is all the past and so grows with time
    span: float, windows; the greatest age that its reconstruction is drawn to
    """

    scaled: bool
    span: float


MEASURES = {
    "legs": Measure(True, 1.0),
    "legt": Measure(False, 1.0),
    "lmu": Measure(False, 1.0),
    "lagt": Measure(False, 3.0),
    "fout": Measure(False, 1.0),
    "fout_blog": Measure(False, 1.0),
    "foud": Measure(False, 2.0),
    "fous": Measure(True, 1.0),
}
FOURIER = ("fout", "fout_blog", "foud", "fous")
METHODS = ("zoh", "bilinear", "backward", "forward", "gbt")
MAX_ORDER = 1024

Order = Annotated[int, Between(1, MAX_ORDER)]
Step = Annotated[float, Between(1e-30, 1e30)]


def odd_order(measure: str, order: int) -> int:
    """Fourier coefficients come in pairs beside the mean, so an even order is read as one less (and 2 as 1)."""
    return order - 1 + order % 2 if measure in FOURIER else order


@checked
def transition(measure: Annotated[str, OneOf(MEASURES)], order: Order) -> tuple[Tensor, Tensor]:
    """A [N, N] and B [N] (float64) of x' = A x + B u for a window of 1; for a window w divide both by w (scaled measures: by t).

    legs: HiPPO eq. 3. legt: HiPPO eq. 1 (kexue.fm 10114 eq. 24). lmu: Voelker, Kajic, Eliasmith 2019, eq. 2, with theta = 1.
    lagt: HiPPO eq. 2 (alpha 0, beta 1: the weight e^-age). The Fourier measures use the real orthonormal basis
    1, sqrt2 cos 2 pi s, sqrt2 sin 2 pi s, sqrt2 cos 4 pi s, ..., so that an even order leaves its last coefficient unused, at zero.
    fout: u(T-w) taken from the mean that a Fourier series converges to at a jump, which gives 2/w ("How to Train Your HiPPO", FouT).
    fout_blog: u(T-w) taken from the series itself, which gives 1/w (kexue.fm 10114 eq. 12); it does not converge.
    foud: the decaying Fourier measure, whose basis has period 2; it is fout_blog at half the speed, exactly.
    fous: LegS over a Fourier basis (kexue.fm 10137, last section).
    """
    n = torch.arange(order, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    sign = (-1.0) ** n
    below = n[:, None] > n
    if measure == "legs":
        return -torch.outer(root, root) * below - torch.diag(n + 1), root
    if measure == "legt":
        return -torch.outer(root, root) * torch.where(n[:, None] >= n, 1.0, torch.outer(sign, sign)), root
    if measure == "lmu":
        A = torch.where(n[:, None] >= n, -torch.outer(sign, sign), -1.0)
        return (2 * n + 1)[:, None] * A, (2 * n + 1) * sign
    if measure == "lagt":
        return -torch.ones(order, order, dtype=torch.float64).tril(), torch.ones(order, dtype=torch.float64)
    if measure == "fous":
        return _fourier_scaled(order)
    gain = {"fout": 2.0, "fout_blog": 1.0, "foud": 1.0}[measure]
    A = torch.zeros(order, order, dtype=torch.float64)
    B = torch.zeros(order, dtype=torch.float64)
    pairs = (order - 1) // 2
    B[0] = 1
    for m in range(1, pairs + 1):
        B[2 * m - 1] = math.sqrt(2)
        A[2 * m - 1, 2 * m], A[2 * m, 2 * m - 1] = 2 * math.pi * m, -2 * math.pi * m
    A, B = A - gain * torch.outer(B, B), gain * B
    return (A / 2, B / 2) if measure == "foud" else (A, B)


def _fourier_scaled(order: int) -> tuple[Tensor, Tensor]:
    """Fourier-LegS: the blog's complex system for |n| <= M, carried to the real basis by the unitary R."""
    pairs = (order - 1) // 2
    n = torch.arange(-pairs, pairs + 1, dtype=torch.float64)
    difference = n[:, None] - n
    A = torch.where(difference == 0, 0.0, -n[:, None] / torch.where(difference == 0, 1.0, difference)).to(
        torch.complex128
    )
    A += torch.diag(torch.complex(torch.full_like(n, -1.0), math.pi * n))
    R = torch.zeros(2 * pairs + 1, 2 * pairs + 1, dtype=torch.complex128)
    R[0, pairs] = 1
    for m in range(1, pairs + 1):
        R[2 * m - 1, pairs + m] = R[2 * m - 1, pairs - m] = math.sqrt(0.5)
        R.imag[2 * m, pairs + m], R.imag[2 * m, pairs - m] = math.sqrt(0.5), -math.sqrt(0.5)
    real = torch.zeros(order, order, dtype=torch.float64)
    real[: 2 * pairs + 1, : 2 * pairs + 1] = (R @ A @ R.mH).real
    B = torch.zeros(order, dtype=torch.float64)
    B[: 2 * pairs + 1] = R.sum(1).real
    return real, B


def blend(method: str, alpha: float) -> float:
    """How much of A x is taken at the end of a step: the alpha of the generalised bilinear method (zoh has none)."""
    return {"forward": 0.0, "bilinear": 0.5, "backward": 1.0}.get(method, alpha)


def held_input(x: Tensor) -> Tensor:
    """(e^x - 1) / x, what a held input of 1 leaves after a step: 1 at x = 0."""
    return torch.where(x == 0, 1, torch.expm1(x) / torch.where(x == 0, 1, x))


@checked
@sized
def discretize(
    A: Annotated[Tensor, "N N", complex],
    B: Annotated[Tensor, "N", complex],
    step: Step,
    method: Annotated[str, OneOf(METHODS)] = "bilinear",
    alpha: Annotated[float, Between(0, 1)] = 0.5,
) -> tuple[Tensor, Tensor]:
    """The step x <- Ad x + Bd u of x' = A x + B u with u constant over `step`: Ad [N, N], Bd [N], real or complex.

    forward, backward, bilinear and gbt are (I - alpha step A)^-1 (I + (1 - alpha) step A) with alpha = 0, 1, 1/2 and `alpha`
    (Zhang, Chen, Chen 2007), of order 1, 1, 2 and 1; zoh is e^(step A), exact for such an input, by the exponential of the
    bordered matrix, so that A may be singular. kexue.fm 10137, "discretisation".
    """
    kind, size = torch.promote_types(A.dtype, B.dtype), A.shape[-1]
    A, B = A.to(kind), B.to(kind)
    if method == "zoh":
        bordered = torch.zeros(size + 1, size + 1, dtype=kind)
        bordered[:size, :size], bordered[:size, size] = A * step, B * step
        E = torch.linalg.matrix_exp(bordered)
        return E[:size, :size], E[:size, size]
    alpha = blend(method, alpha)
    eye = torch.eye(size, dtype=kind)
    right = torch.cat([eye + (1 - alpha) * step * A, step * B[:, None]], 1)
    both, singular = torch.linalg.solve_ex(eye - alpha * step * A, right)
    if int(singular) or not bool(torch.isfinite(both).all()):
        raise Refusal(
            "{parameter} is the inverse of a pole, where this method divides by zero; change it.", parameter="step"
        )
    return both[:, :size], both[:, size]


def _legendre(y: Tensor, order: int, out: Tensor | None = None) -> Tensor:
    """P_0 ... P_(order-1) at y [...]: [order, ...], by the three-term recurrence (stable on [-1, 1]), into `out` if given."""
    table = torch.empty(order, *y.shape, dtype=y.dtype) if out is None else out
    rows = table.unbind(0)
    rows[0].fill_(1)
    if order > 1:
        rows[1].copy_(y)
    # (n+1) P_(n+1) = (2n+1) y P_n - n P_(n-1) with P_n = scale_n row_n such that row_(n+1) = row_(n-1) + c y row_n: one pass a row
    scale = [1.0, 1.0]
    for n in range(1, order - 1):
        scale.append(-n / (n + 1) * scale[n - 1])
        torch.addcmul(rows[n - 1], y, rows[n], value=(2 * n + 1) / (n + 1) * scale[n] / scale[n + 1], out=rows[n + 1])
    return table.mul_(torch.tensor(scale[:order], dtype=y.dtype).view(-1, *[1] * y.ndim))


@checked
@sized
def basis(measure: Annotated[str, OneOf(MEASURES)], order: Order, age: Annotated[Tensor, "..."]) -> Tensor:
    """What multiplies the N coefficients: u(T - w age) is about basis(age) @ x. age [...] -> [..., N]; 0 where the window ends.

    LegS and Fourier-LegS: age is relative to T. FouD: its period is 2. LagT: Laguerre polynomials without the weight.
    """
    n = torch.arange(order, dtype=torch.float64)
    if measure in ("legs", "legt"):
        values = _legendre(1 - 2 * age, order).movedim(0, -1) * torch.sqrt(2 * n + 1)
    elif measure == "lmu":
        values = _legendre(2 * age - 1, order).movedim(0, -1)
    elif measure == "lagt":
        return torch.special.laguerre_polynomial_l(age[..., None], n.long())
    else:
        period = 2.0 if measure == "foud" else 1.0
        m = (n + 1).div(2, rounding_mode="floor")
        angle = 2 * math.pi * m * (1 - age[..., None] / period)
        values = torch.where(n % 2 == 1, torch.cos(angle), torch.sin(angle)) * math.sqrt(2)
        values[..., 0] = 1
        values[..., (order - 1) // 2 * 2 + 1 :] = 0
    return torch.where(((age >= 0) & (age <= MEASURES[measure].span))[..., None], values, 0.0)


@checked
@sized
def density(measure: Annotated[str, OneOf(MEASURES)], age: Annotated[Tensor, "..."]) -> Tensor:
    """The weight that the measure gives to each age (in windows), of total mass 1. FouD, and FouT with 1/w, fade by thirds.

    In the limit of many coefficients a Fourier memory of gain g is a ring that overwrites: each turn keeps (2-g)/(2+g) of what was
    there. g = 2 keeps nothing (FouT), g = 1 keeps a third: the weight 2/3, 2/9, 2/27, ... of one period after another.
    """
    if measure == "lagt":
        weight = torch.exp(-age)
    elif measure in ("fout_blog", "foud"):
        period = 2.0 if measure == "foud" else 1.0
        weight = 2 / 3 * 3.0 ** -torch.floor(age / period) / period
    else:
        weight = (age <= 1).double()
    return torch.where(age >= 0, weight, 0.0)


@sized
def condition(A: Annotated[Tensor, "N N", complex]) -> float:
    """The condition number of the eigenvectors of A, each of length 1; infinite for LagT, which has one eigenvector only.

    LegS (A within 1e-6 of it, entry by entry) has closed forms, used because no floating-point eigensolver gets there: its
    eigen-coordinates are the moments of s^j, j = 0 ... N-1, so the number squared is that of a Hilbert matrix with unit diagonal.
    """
    size = A.shape[-1]
    if torch.allclose(A, transition("legs", size)[0].to(A.dtype), rtol=1e-6, atol=0):
        n = torch.arange(size, dtype=torch.float64)
        root = torch.sqrt(2 * n + 1)
        gap, total = n[:, None] - n, n[:, None] + n
        lower = gap >= 0
        g = torch.lgamma
        # logs of sqrt(2i+1) C(i, j) C(i+j, j) and of sqrt(2j+1) (i!)^2 / ((i-j)! (i+j+1)!), by which sizes 10^200 apart stay finite
        right = g(total + 1) - g(gap.clamp(min=0) + 1) - 2 * g(n + 1) + root.log()[:, None]
        left = 2 * g(n[:, None] + 1) - g(gap.clamp(min=0) + 1) - g(total + 2) + root.log()
        length = torch.where(lower, 2 * right, -math.inf).logsumexp(0) / 2
        right = torch.where(lower, (right - length).exp() * (-1.0) ** gap, 0.0)
        left = torch.where(lower, (left + length[:, None]).exp(), 0.0)
        return float(torch.linalg.matrix_norm(right, 2) * torch.linalg.matrix_norm(left, 2))
    if size > 1 and torch.equal(A, transition("lagt", size)[0].to(A.dtype)):
        return math.inf
    return float(torch.linalg.cond(torch.linalg.eig(A)[1]))
