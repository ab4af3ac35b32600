"""From a sampled signal to the N numbers and back.

Sample k is the value of the input throughout [k, k+1) (in steps), as in kexue.fm 10137; the state at time k has seen k samples.
LegS is never diagonalised: its eigenvectors have condition 1e17 at N = 24.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked, number, whole
from engines.hippo.measures import (
    MEASURES,
    METHODS,
    Order,
    _legendre,
    basis,
    blend,
    discretize,
    held_input,
    transition,
)
from engines.hippo.tensors import as_numbers, sized

LONGEST = 4096  # samples in one block
MOST_NUMBERS = 2**27  # in one table
FORMS = ("blog", "older")  # A/k before a step of LegS and A/(k+1) after it, or A/(k+1) on both sides

Measure = Annotated[str, OneOf(MEASURES)]
Method = Annotated[str, OneOf(METHODS)]
Stepwise = Annotated[str, OneOf([method for method in METHODS if method != "zoh"])]
Alpha = Annotated[float, Between(0, 1)]
Form = Annotated[str, OneOf(FORMS)]
Count = Annotated[int, Between(0, 2**53)]


def _scan(a: Tensor, b: Tensor) -> Tensor:
    """x_k = a_k x_(k-1) + b_k along the last dimension from x_-1 = 0, by pairwise doubling (a prefix sum in log2 K passes)."""
    x, reach, length = b, 1, b.shape[-1]
    while reach < length:
        x = torch.cat([x[..., :reach], torch.addcmul(x[..., reach:], a[..., reach:], x[..., :-reach])], -1)
        if 2 * reach < length:
            a = torch.cat([a[..., :reach], a[..., reach:] * a[..., :-reach]], -1)
        reach *= 2
    return x


def _shares(k: Any, alpha: Any, form: str) -> tuple[Any, Any, Any]:
    """The factors of A before and after the step k -> k+1, and that of B u."""
    start = k if form == "blog" else k + 1
    return (1 - alpha) / start, alpha / (k + 1), 1 / start


def _first(k: int, method: str, form: str) -> None:
    if k == 0 and (form == "blog" or method == "zoh"):
        raise Refusal("{parameter} must be 1 or more in this form, which divides by it.", parameter="k")


@checked
@sized
def legs_step_dense(
    x: Annotated[Tensor, "... N"],
    u: Annotated[Tensor, "..."],
    k: Count,
    method: Method = "bilinear",
    alpha: Alpha = 0.5,
    form: Form = "blog",
) -> Tensor:
    """One LegS step x_k -> x_(k+1) with the matrices written out, O(N^2) or more: the reference. x [..., N], u [...].

    A step from k = 0 has the older form only, which divides by k + 1.
    """
    _first(k, method, form)
    A, B = transition("legs", x.shape[-1])
    eye = torch.eye(x.shape[-1], dtype=torch.float64)
    if method == "zoh":
        E = torch.linalg.matrix_exp(A * math.log1p(1 / k))
        return x @ E.T + torch.linalg.solve(A, (E - eye) @ B) * u[..., None]
    before, after, weight = _shares(k, blend(method, alpha), form)
    known = x @ (eye + before * A).T + weight * B * u[..., None]
    return torch.linalg.solve_triangular(eye - after * A, known[..., None], upper=False)[..., 0]


@checked
@sized
def legs_step(
    x: Annotated[Tensor, "... N"],
    u: Annotated[Tensor, "..."],
    k: Count,
    method: Stepwise = "bilinear",
    alpha: Alpha = 0.5,
    form: Form = "blog",
) -> Tensor:
    """The same step in O(N) numbers: A x is a running sum, and the solve is one scalar recurrence (kexue.fm 10137, "efficiency").

    x [..., N], u [...]. All methods but zoh; a step from k = 0 has the older form only.
    """
    _first(k, method, form)
    n = torch.arange(x.shape[-1], dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    before, after, weight = _shares(k, blend(method, alpha), form)
    Ax = n * x - root * torch.cumsum(root * x, -1)
    known = x + before * Ax + weight * root * u[..., None]
    scale = 1 + after * (n + 1)
    total = _scan((1 - after * n) / scale, root * known / scale)  # the running sum of root * x_(k+1)
    below = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], -1)
    return (known - after * root * below) / scale


def _legs_by_orders(u: Tensor, order: int, alpha: float | Tensor, form: str = "blog") -> Tensor:
    """All states [..., K, N] of LegS under the generalised bilinear step: u [..., K], alpha a number or [..., 1].

    A is lower triangular, so coefficient n at all times follows from those below it by one scalar recurrence over time.
    """
    length, older = u.shape[-1], form == "older"
    k = torch.arange(0 if older else 1, length, dtype=torch.float64)
    before, after, weight = _shares(k, torch.as_tensor(alpha), form)
    driven = weight * u[..., length - len(k) :]
    nothing = torch.zeros_like(driven + before)
    below_old, below_new, states = nothing, nothing, []
    for n in range(order):
        root, scale = math.sqrt(2 * n + 1), 1 + after * (n + 1)
        gain = (1 - before * (n + 1)) / scale
        drive = root * (driven - before * below_old - after * below_new) / scale
        if not older:  # x_1 = u_0 e_0; the older form starts from x_0 = 0 instead
            first = (u[..., :1] if n == 0 else 0 * u[..., :1]).expand(*drive.shape[:-1], 1)
            gain, drive = torch.cat([torch.zeros_like(gain[..., :1]), gain], -1), torch.cat([first, drive], -1)
        x = _scan(gain, drive)
        states.append(x)
        new, old = (
            (x, torch.cat([x.new_zeros(*x.shape[:-1], 1), x[..., :-1]], -1)) if older else (x[..., 1:], x[..., :-1])
        )
        below_old, below_new = below_old + root * old, below_new + root * new
    return torch.stack(states, -1)


@lru_cache(maxsize=8)
def _held(length: int, order: int) -> Tensor:
    """[length, N]: the normalised Legendre coefficients on [0, 1] of each of `length` held samples, integrated exactly."""
    y = 2 * torch.arange(length + 1, dtype=torch.float64) / length - 1
    P = _legendre(y, order + 1)
    n = torch.arange(order, dtype=torch.float64)
    integral = torch.empty(order, length + 1, dtype=torch.float64)
    integral[0] = (y + 1) / 2
    integral[1:] = (P[2:] - P[:-2]) / (2 * torch.sqrt(2 * n[1:] + 1))[:, None]
    return integral.diff(dim=1).T.contiguous()


@lru_cache(maxsize=8)
def _gauss(order: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gauss nodes and weights on [0, 1], exact to degree 2N - 1, and the normalised Legendre basis there [node, N]."""
    node, weight = (torch.from_numpy(v) / 2 for v in np.polynomial.legendre.leggauss(order))
    node = node + 0.5
    root = torch.sqrt(2 * torch.arange(order, dtype=torch.float64) + 1)
    return node, weight, _legendre(2 * node - 1, order).T * root


def _legs_exact(u: Tensor, order: int, times: Tensor) -> Tensor:
    """LegS with ZOH at the wanted times: [..., len(times), N], by blocks rather than samples.

    ZOH is exact, so the state at T is the Legendre projection of the held input on [0, T]. A block between two wanted
    times is first projected on its own interval, a matrix product for all blocks of one length; that loses nothing, because
    the first N Legendre polynomials of [0, T] are of degree below N on the block too. Then old state and block are
    projected on [0, T] by N-point Gauss quadrature, exact for such products. Every factor is at most 1: nothing can grow.
    """
    ends = times.tolist()
    starts = [0, *ends[:-1]]
    lengths = times.diff(prepend=times.new_zeros(1))
    blocks = u.new_empty(*u.shape[:-1], len(ends), order)
    for length in lengths.unique().tolist():
        chosen = torch.nonzero(lengths == length)[:, 0]
        for part in chosen.split(max(1, 2**22 // length)):
            index = torch.tensor([starts[j] for j in part.tolist()])[:, None] + torch.arange(length)
            blocks[..., part, :] = u[..., index] @ _held(length, order)
    node, weight, values = _gauss(order)
    root = torch.sqrt(2 * torch.arange(order, dtype=torch.float64) + 1)
    blocks = blocks @ values.T * weight
    ratio = torch.tensor([a / b for a, b in zip(starts, ends, strict=True)], dtype=torch.float64)
    x, out = torch.zeros_like(u[..., :1]).expand(*u.shape[:-1], order), []
    space = torch.empty(
        order, 16, 2 * order, dtype=torch.float64
    )  # one table for all: fresh memory would cost more than the arithmetic
    for first in range(0, len(ends), 16):
        r = ratio[first : first + 16, None]
        table = _legendre(
            2 * torch.cat([r * node, r + (1 - r) * node], 1) - 1, order, space[:, : len(r)]
        )  # [N, block, 2 N nodes]
        for j, share in enumerate(r[:, 0].tolist()):
            both = torch.cat([share * (x @ values.T * weight), (1 - share) * blocks[..., first + j, :]], -1)
            x = both @ table[:, j].T * root
            out.append(x)
    return torch.stack(out, -2)


def _marks(times: Tensor) -> Tensor:
    """The wanted times, and enough others that no block between two is longer than LONGEST."""
    ends = times.tolist()
    return torch.tensor(
        [mark for a, b in zip([0, *ends], ends, strict=False) for mark in (*range(a + LONGEST, b, LONGEST), b)]
    )


def _invariant(u: Tensor, Ad: Tensor, Bd: Tensor, times: Tensor) -> Tensor:
    """States [..., len(times), N] of x <- Ad x + Bd u, by blocks: the columns Ad^j Bd come from doubling."""
    lengths = times.diff(prepend=times.new_zeros(1))
    longest = int(lengths.max())
    columns, power = Bd[:, None], Ad
    while columns.shape[1] < longest:
        columns = torch.cat([columns, power @ columns], 1)
        power = power @ power
    moves = {n: torch.linalg.matrix_power(Ad, n) for n in lengths.unique().tolist()}
    x, out, start = torch.zeros(*u.shape[:-1], Ad.shape[0], dtype=u.dtype), [], 0
    for length in lengths.tolist():
        x = x @ moves[length].T + u[..., start : start + length].flip(-1) @ columns[:, :length].T
        start += length
        out.append(x)
    return torch.stack(out, -2)


def _fourier_scaled(u: Tensor, A: Tensor, B: Tensor, method: str, alpha: float, form: str, times: Tensor) -> Tensor:
    """States of x' = (A x + B u) / t for Fourier-LegS: its eigenvectors, unlike those of LegS, are well conditioned (2 to 12
    for N from 5 to 257), so each eigenvalue is one scalar recurrence over time."""
    poles, V = torch.linalg.eig(A)
    Vinv = torch.linalg.inv(V)
    length, older = u.shape[-1], form == "older" and method != "zoh"
    k = torch.arange(0 if older else 1, length, dtype=torch.float64)
    if method == "zoh":
        time = torch.log1p(1 / k)
        gain, share = torch.exp(time * poles[:, None]), time * held_input(time * poles[:, None])
    else:
        before, after, weight = _shares(k, blend(method, alpha), form)
        gain = (1 + before * poles[:, None]) / (1 - after * poles[:, None])
        share = weight / (1 - after * poles[:, None])
    drive = share * (Vinv @ B.to(V.dtype))[:, None] * u[..., None, length - len(k) :]
    if older:
        gain[:, 0] = 0
    else:
        gain = torch.cat([torch.zeros_like(gain[:, :1]), gain], 1)
        drive = torch.cat([Vinv[:, :1] * u[..., None, :1], drive], -1)  # x_1 = u_0 e_0
    return (_scan(gain, drive)[..., times - 1].movedim(-1, -2) @ V.T).real


def _signal(signal: Tensor) -> Tensor:
    u = as_numbers("signal", signal)
    if u.is_complex() or u.ndim == 0 or u.numel() == 0 or not bool(torch.isfinite(u).all()):
        raise Refusal("{parameter} must hold at least one sample, and finite real numbers only.", parameter="signal")
    return u.to("cpu", torch.float64)


def _times(times: Sequence[int] | Tensor | None, length: int) -> Tensor:
    wanted = torch.tensor([length]) if times is None else as_numbers("times", times)
    if (
        wanted.is_complex()
        or wanted.ndim != 1
        or len(wanted) == 0
        or bool((wanted != wanted.trunc()).any())
        or wanted[0] < 1
        or wanted[-1] > length
        or bool((wanted.diff() <= 0).any())
    ):
        raise Refusal(
            "{parameter} must be whole numbers that ascend from 1 or more to at most {length}, the number of samples.",
            parameter="times",
            length=length,
        )
    return wanted.cpu().long()


def _width(window: float | None, length: int, measure: str) -> float:
    """The window in samples; the whole signal by default. The scaled measures have none."""
    if window is None or MEASURES[measure].scaled:
        return float(length)
    return number("window", window, 1, 1e12)


@checked
def states(
    signal: Tensor,
    measure: Measure = "legs",
    order: Order = 64,
    method: Method = "zoh",
    window: float | None = None,
    times: Sequence[int] | Tensor | None = None,
    alpha: Alpha = 0.5,
    form: Form = "blog",
) -> Tensor:
    """The N coefficients after each of `times` samples: signal [..., K] -> [..., len(times), N], float64, differentiable in the signal.

    window: the length of the window in samples, at least 1 (default K); the scaled measures have none
    times: ascending counts of samples between 1 and K (default: K alone)
    form: how LegS spreads A/t over a step, "blog" (x_1 = u_0 e_0, then A/k and A/(k+1)) or "older" (x_0 = 0, A/(k+1) on both sides);
        zoh knows no such choice
    A method that is unstable for these steps may overflow to infinity.
    """
    u = _signal(signal)
    length = u.shape[-1]
    times = _times(times, length)
    A, B = transition(measure, order)
    if not MEASURES[measure].scaled:
        window = _width(window, length, measure)
        marks = _marks(times)
        Ad, Bd = discretize(A / window, B / window, 1.0, method, alpha)
        x = _invariant(u, Ad, Bd, marks)
        return x[..., torch.searchsorted(marks, times), :]
    if measure == "legs" and method == "zoh":
        marks = _marks(times)
        return _legs_exact(u, order, marks)[..., torch.searchsorted(marks, times), :]
    if u.numel() * order > MOST_NUMBERS:
        raise Refusal(
            "{parameter} is too long: this method keeps all {samples} x {order} states. Shorten it, or take LegS with "
            "zero-order hold.",
            parameter="signal",
            samples=u.numel(),
            order=order,
        )
    if measure == "legs":
        return _legs_by_orders(u, order, blend(method, alpha), form)[..., times - 1, :]
    return _fourier_scaled(u, A, B, method, alpha, form, times)


@checked
def project(signal: Tensor, measure: Measure = "legs", order: Order = 64, window: int | None = None) -> Tensor:
    """The best N coefficients [..., N] for the held signal [..., K] over the window at its end: what `states` aims at.

    Least squares under the measure's weight (Fourier: the mean over the period), every sample integrated exactly over its step;
    before its first sample the signal is 0. window: in samples, whole; the scaled measures take all of the signal.
    """
    u = _signal(signal)
    scaled, span = MEASURES[measure].scaled, int(MEASURES[measure].span)
    width = u.shape[-1] if scaled or window is None else whole("window", window, 1, 10**12)
    reach = width * span if measure != "lagt" else u.shape[-1]
    if reach * order > MOST_NUMBERS:
        raise Refusal(
            "{parameter}: {samples} samples times {order} functions are too many; take fewer of either.",
            parameter="window",
            samples=reach,
            order=order,
        )
    past = u[..., -reach:]
    past = torch.cat([past.new_zeros(*past.shape[:-1], reach - past.shape[-1]), past], -1)
    n = torch.arange(order, dtype=torch.float64)
    if measure in ("legs", "legt", "lmu"):
        x = past @ _held(reach, order)
        return x if measure != "lmu" else x * torch.sqrt(2 * n + 1) * (-1) ** n
    if measure == "lagt":  # the integral of e^-a L_n from a to infinity is e^-a (L_n - L_(n-1))
        age = torch.arange(reach, -1, -1, dtype=torch.float64) / width
        table = basis("lagt", order, age)
        table = (table - torch.cat([torch.zeros_like(table[:, :1]), table[:, :-1]], 1)) * torch.exp(-age)[:, None]
        return past @ table.diff(dim=0)
    middle = (torch.arange(reach, 0, -1, dtype=torch.float64) - 0.5) / width
    blur = torch.sinc(
        (n + 1).div(2, rounding_mode="floor") / reach
    )  # the mean of a sine over a step, against its middle
    return past @ basis(measure, order, middle) * blur / reach


@checked
def reconstruct(
    signal: Tensor,
    measure: Measure = "legs",
    order: Order = 64,
    method: Method = "zoh",
    window: float | None = None,
    times: Sequence[int] | Tensor | None = None,
    points: Annotated[int, Between(2, 2**20)] = 256,
    alpha: Alpha = 0.5,
    form: Form = "blog",
) -> tuple[Tensor, Tensor]:
    """The past that the N numbers give back: ages [points] and values [..., len(times), points].

    The ages run from 0 (now) to the measure's span, evenly, in windows (scaled measures: in units of the time gone by);
    the other parameters are those of `states`. u(T - w age) is about values[..., age].
    """
    x = states(signal, measure, order, method, window, times, alpha, form)
    if x[..., 0].numel() * points > MOST_NUMBERS or points * order > MOST_NUMBERS:
        raise Refusal(
            "{parameter} is too large for {count} states; take fewer.", parameter="points", count=x[..., 0].numel()
        )
    age = torch.linspace(0, MEASURES[measure].span, points, dtype=torch.float64)
    return age, x @ basis(measure, order, age).T
