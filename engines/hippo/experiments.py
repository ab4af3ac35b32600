"""The experiments of the page: each function takes plain numbers and texts and returns arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, OneOf, SomeOf, checked
from engines.hippo.measures import MEASURES, METHODS, basis, condition, density, discretize, odd_order, transition
from engines.hippo.recurrence import FORMS, _legs_by_orders, project, states
from engines.hippo.signals import FORMULA, SIGNALS, load
from engines.hippo.tensors import single

ORDERS = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
SAMPLES = (64, 128, 256, 512, 1024)
FINE = 8192
SCHEMES = tuple(method for method in METHODS if method != "gbt")
MOST = 1e300  # stands for what overflowed

SignalName = Annotated[str, OneOf(SIGNALS)]
Formula = Annotated[str, Characters(200)]
MeasureName = Annotated[str, OneOf(MEASURES)]
MeasureNames = Annotated[Sequence[str], SomeOf(MEASURES)]
Order = Annotated[int, Between(2, 128)]
Scheme = Annotated[str, OneOf(SCHEMES)]
Samples = Annotated[int, Between(64, 4096)]
Window = Annotated[float, Between(0.02, 1)]
Length = Annotated[int, Between(64, 4096)]
Seed = Annotated[int, Between(0, 999)]


def _lengths(x: Tensor) -> Tensor:
    """The lengths of states [..., N]; MOST where one overflowed."""
    return torch.nan_to_num(torch.linalg.vector_norm(x, dim=-1), nan=MOST, posinf=MOST).clamp(max=MOST)


@dataclass(frozen=True)
class Memory:
    """A signal and what N numbers give back of its past, moment by moment.

    time: float32 [K'], `unit`; of the signal, thinned to 2,048 points
    values: float32 [K']; the signal there
    ends: float32 [F], `unit`; the moments at which the memory is read
    past: float32 [F, P], `unit`; the times that it speaks of, from each end backwards (negative before the signal began)
    recalled: float32 [F, P]; the values that it gives there
    error: float32 [F]; root mean square of recalled minus true (LagT: weighted by the measure)
    scale: float; root mean square of the signal
    weight: float32 [P]; the measure at each of those ages, its greatest 1
    coefficients: float32 [N, T]; the N numbers over time
    coefficient_time: float32 [T], `unit`
    measure, method: str; as asked
    order: int; N (of a Fourier measure the odd one)
    unit: str; of time: "s" or empty
    kind: str; where the signal comes from, facts: what was read of a file (see `engines.hippo.files.Signal`)
    growth: float; the greatest modulus of an eigenvalue of one step (0 for zero-order hold and for scaled measures)
    peak: float; the greatest length of a state in the first 4 N + 16 steps, over the greatest |u| (0 for zero-order hold)
    condition: float; of the eigenvectors of A where the state grows (growth > 1 or peak > 100), else 0
    """

    time: np.ndarray
    values: np.ndarray
    ends: np.ndarray
    past: np.ndarray
    recalled: np.ndarray
    error: np.ndarray
    scale: float
    weight: np.ndarray
    coefficients: np.ndarray
    coefficient_time: np.ndarray
    measure: str
    method: str
    order: int
    unit: str
    kind: str
    facts: dict[str, float]
    growth: float
    peak: float
    condition: float


@checked
def memory(
    signal: SignalName = "waves",
    formula: Formula = FORMULA,
    upload: str | None = None,
    drawing: str | None = None,
    measure: MeasureName = "legs",
    order: Order = 32,
    method: Scheme = "zoh",
    samples: Samples = 1536,
    window: Window = 0.33,
    seed: Seed = 0,
) -> Memory:
    """A signal read sample by sample, and what N numbers recall of its past at 40 moments.

    window: the length of a sliding window, as a fraction of the whole signal. Gu et al. 2020; kexue.fm 10114, 10137.
    """
    order = odd_order(measure, order)
    source = load(signal, samples, formula, upload, drawing, seed)
    u = torch.from_numpy(source.values)
    width = window * samples
    frames = torch.linspace(samples / 40, samples, 40).round().long().clamp(1, samples).unique()
    dense = torch.linspace(1, samples, 200).round().long().unique()
    times = torch.cat([frames, dense]).unique()
    x = states(u, measure, order, method, width, times)
    at_frame, at_dense = x[torch.searchsorted(times, frames)], x[torch.searchsorted(times, dense)]

    age = (torch.arange(200, dtype=torch.float64) + 0.5) / 200 * MEASURES[measure].span
    length = frames.double() if MEASURES[measure].scaled else torch.full((len(frames),), width, dtype=torch.float64)
    past = frames[:, None] - length[:, None] * age
    recalled = at_frame @ basis(measure, order, age).T
    index = past.floor().long().clamp(0, samples - 1)
    true = torch.where(past >= 0, u[index], 0.0)
    weight = density(measure, age)
    counted = weight if measure == "lagt" else torch.ones_like(weight)
    bound = 1e3 * float(u.abs().max()) + 1e-9
    wrong = torch.nan_to_num(recalled - true, nan=bound, posinf=bound, neginf=-bound).clamp(-bound, bound)
    step = source.duration / samples
    thin = max(1, math.ceil(samples / 2048))
    growth, peak = _growth(u, measure, order, method, width)
    return Memory(
        time=single((np.arange(samples)[::thin] + 0.5) * step),
        values=single(source.values[::thin]),
        ends=single(frames * step),
        past=single(past * step),
        recalled=single(recalled, bound),
        error=single(torch.sqrt((wrong**2 * counted).sum(1) / counted.sum())),
        scale=float(u.square().mean().sqrt()),
        weight=single(weight / weight.max()),
        coefficients=single(at_dense.T, 1e30),
        coefficient_time=single(dense * step),
        measure=measure,
        method=method,
        order=order,
        unit=source.unit,
        kind=source.kind,
        facts=dict(source.facts),
        growth=growth,
        peak=peak,
        condition=min(condition(transition(measure, order)[0]), MOST) if growth > 1 + 1e-9 or peak > 100 else 0.0,
    )


def _growth(u: Tensor, measure: str, order: int, method: str, window: float) -> tuple[float, float]:
    """`growth` and `peak` of a Memory."""
    if method == "zoh":
        return 0.0, 0.0
    head = u[: min(len(u), 4 * order + 16)]
    x = states(head, measure, order, method, window, torch.arange(1, len(head) + 1))
    peak = min(float(_lengths(x).max()) / max(float(u.abs().max()), 1e-12), MOST)
    if MEASURES[measure].scaled:
        return 0.0, peak
    A, B = transition(measure, order)
    Ad, _ = discretize(A / window, B / window, 1.0, method)
    return float(torch.linalg.eigvals(Ad).abs().max()), peak


@dataclass(frozen=True)
class Orders:
    """The error of the memory at the end of a signal, against N.

    orders: int64 [J]; N as asked
    error: float32 [M, J]; root mean square error under the measure's weight (Fourier: over its period), over the signal's there
    floor: float32 [M, J]; the least error that N numbers times the same N functions can reach
    measures: M keys of MEASURES
    method: str; the discretisation
    """

    orders: np.ndarray
    error: np.ndarray
    floor: np.ndarray
    measures: tuple[str, ...]
    method: str


@checked
def orders(
    signal: SignalName = "waves",
    formula: Formula = FORMULA,
    upload: str | None = None,
    drawing: str | None = None,
    measures: MeasureNames = ("legs", "legt", "fout", "fout_blog"),
    method: Scheme = "zoh",
    samples: Samples = 1536,
    window: Window = 0.33,
    seed: Seed = 0,
) -> Orders:
    """The error at the end of the signal against N, and the best that each basis could do, by least squares.

    The online state has nothing but N numbers and the next sample; for LegS it is the best projection all the same.
    """
    u = torch.from_numpy(load(signal, samples, formula, upload, drawing, seed).values)
    error, floor = np.empty((len(measures), len(ORDERS))), np.empty((len(measures), len(ORDERS)))
    for i, measure in enumerate(measures):
        width = samples if MEASURES[measure].scaled else max(8, round(window * samples))
        best = project(u, measure, odd_order(measure, ORDERS[-1]), width)
        # in an orthogonal basis the error splits (Parseval): what N functions must leave out, and what the state has got wrong
        norm = 1 / (2 * torch.arange(len(best)).double() + 1) if measure == "lmu" else torch.ones_like(best)
        if measure == "lagt":
            edge = torch.exp(-torch.arange(samples, -1, -1, dtype=torch.float64) / width)
            power = float((u.square() * edge.diff()).sum())
        else:
            reach = round(width * MEASURES[measure].span)
            power = float(u[-reach:].square().sum()) / reach
        for j, asked in enumerate(ORDERS):
            n = odd_order(measure, asked)
            left = max(power - float((best[:n].square() * norm[:n]).sum()), 1e-14 * power)
            x = states(u, measure, n, method, width)[0]
            wrong = float(((x - best[:n]).square() * norm[:n]).sum().nan_to_num(nan=MOST, posinf=MOST))
            floor[i, j] = math.sqrt(left / (power + 1e-300))
            error[i, j] = math.sqrt((left + wrong) / (power + 1e-300))
    return Orders(
        orders=np.array(ORDERS),
        error=single(error, 1e12),
        floor=single(floor),
        measures=tuple(measures),
        method=method,
    )


@dataclass(frozen=True)
class Steps:
    """The final state against step size, and the size of the state on the way, for each discretisation.

    samples: int64 [J]; the number of steps K over the whole signal
    error: float64 [M, J]; |x - exact| / |exact| of the final state
    methods: M keys of METHODS
    size: float64 [M, S]; |x_k| after k = 1 ... S steps of the S = 1,024
    scale: float; the greatest |u|
    measure: str; order: int; as asked (of a Fourier measure the odd order)
    condition: float; of the eigenvectors of A, MOST where there are too few
    """

    samples: np.ndarray
    error: np.ndarray
    methods: tuple[str, ...]
    size: np.ndarray
    scale: float
    measure: str
    order: int
    condition: float


@checked
def steps(
    signal: SignalName = "waves",
    formula: Formula = FORMULA,
    upload: str | None = None,
    drawing: str | None = None,
    measure: MeasureName = "legs",
    order: Order = 32,
    window: Window = 0.33,
    alpha: Annotated[float, Between(0, 1)] = 0.5,
    form: Annotated[str, OneOf(FORMS)] = "blog",
    seed: Seed = 0,
) -> Steps:
    """The final state against step size for each discretisation, and how large the state grows on the way. kexue.fm 10137.

    Each sample is the signal's value in the middle of its step. Exact means zero-order hold with 8,192 steps.
    alpha: of the generalised bilinear method, which is computed where it differs from the others; form: how LegS spreads A/t.
    """
    order = odd_order(measure, order)
    fine = load(signal, FINE, formula, upload, drawing, seed).values
    exact = states(torch.from_numpy(fine), measure, order, "zoh", window * FINE)[0]
    methods = SCHEMES + (("gbt",) if alpha not in (0, 0.5, 1) else ())
    error, size = np.empty((len(methods), len(SAMPLES))), np.empty((len(methods), SAMPLES[-1]))
    alphas = torch.tensor([0.5, 1, 0, alpha], dtype=torch.float64)[: len(methods) - 1, None]
    for j, count in enumerate(SAMPLES):
        u = torch.from_numpy(load(signal, count, formula, upload, drawing, seed).values)
        wanted = torch.arange(1, count + 1) if count == SAMPLES[-1] else torch.tensor([count])
        if measure == "legs":  # all but the exact one in one go
            rest = _legs_by_orders(u, order, alphas, form)[:, wanted - 1]
            found = [states(u, "legs", order, times=wanted), *rest]
        else:
            found = [states(u, measure, order, method, window * count, wanted, alpha, form) for method in methods]
        for i, x in enumerate(found):
            error[i, j] = float(_lengths(x[-1] - exact)) / (float(exact.norm()) + 1e-300)
            if count == SAMPLES[-1]:
                size[i] = _lengths(x)
    return Steps(
        samples=np.array(SAMPLES),
        error=np.clip(error, 1e-16, MOST),
        methods=methods,
        size=np.clip(size, 1e-16, MOST),
        scale=float(np.abs(fine).max()),
        measure=measure,
        order=order,
        condition=min(condition(transition(measure, order)[0]), MOST),
    )


@dataclass(frozen=True)
class Matrices:
    """The system x' = A x + B u of a measure, per window (of a scaled measure t x' = A x + B u).

    A: float32 [N, N]; B: float32 [N]
    real, imag: float32 [N]; the eigenvalues of A
    time: float32 [T], windows (scaled measures: ln(T/t0) at time T); since an impulse (at t0)
    impulse: float32 [R, T]; what it leaves in the first R coefficients
    age: float32 [T'], windows; weight: float32 [T']; the measure
    condition: float; of the eigenvectors of A, MOST where there are too few
    measure: str; order: int; as asked (of a Fourier measure the odd order)
    scaled: bool; whether the window grows
    """

    A: np.ndarray
    B: np.ndarray
    real: np.ndarray
    imag: np.ndarray
    time: np.ndarray
    impulse: np.ndarray
    age: np.ndarray
    weight: np.ndarray
    condition: float
    measure: str
    order: int
    scaled: bool


@checked
def matrices(measure: MeasureName = "legs", order: Order = 32) -> Matrices:
    """The system itself: A, its spectrum, its impulse response e^(tA) B, and the measure it stands for."""
    order = odd_order(measure, order)
    A, B = transition(measure, order)
    poles = A.diagonal().to(torch.complex128) if measure in ("legs", "lagt") else torch.linalg.eigvals(A)
    length = 4.0 if MEASURES[measure].scaled or measure == "lagt" else 2 * MEASURES[measure].span
    count = 300
    move, x = torch.linalg.matrix_exp(A * length / count), B
    columns = [B]
    for _ in range(count):
        x = move @ x
        columns.append(x)
    age = torch.linspace(0, 1.5 if MEASURES[measure].scaled else 3, 301, dtype=torch.float64)
    return Matrices(
        A=single(A),
        B=single(B),
        real=single(poles.real),
        imag=single(poles.imag),
        time=single(np.linspace(0, length, count + 1)),
        impulse=single(torch.stack(columns, 1)[: min(order, 6)]),
        age=single(age),
        weight=single(density(measure, age)),
        condition=min(condition(A), MOST),
        measure=measure,
        order=order,
        scaled=MEASURES[measure].scaled,
    )
