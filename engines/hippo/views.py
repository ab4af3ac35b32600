"""What the exhibit asks of the engine: each function takes plain numbers and texts and returns arrays ready to draw."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, several_of, whole
from engines.hippo import rtf, s4, signals
from engines.hippo.measures import MEASURES, METHODS, basis, condition, density, discretize, transition
from engines.hippo.recurrence import FORMS, legs_by_orders, project, states
from engines.hippo.signals import Signal, load
from engines.progress import Progress

ORDERS = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
SAMPLES = (64, 128, 256, 512, 1024)
FINE = 8192


def _odd(measure: str, order: int) -> int:
    """Fourier coefficients come in pairs beside the mean, so an even order is read as one less (and 2 as 1)."""
    return order - 1 + order % 2 if measure in ("fout", "fout_blog", "foud", "fous") else order


def _numpy(value: Tensor | np.ndarray, bound: float = math.inf) -> np.ndarray:
    """float32 for drawing; values that overflowed are held at the bound."""
    value = np.asarray(value, dtype=np.float64)
    if bound < math.inf:
        value = np.clip(np.nan_to_num(value, nan=bound, posinf=bound, neginf=-bound), -bound, bound)
    return value.astype(np.float32)


def _peak(x: Tensor) -> float:
    """The largest length of a state; 1e300 where it overflowed."""
    length = torch.linalg.vector_norm(x, dim=-1)
    return min(float(torch.nan_to_num(length, nan=1e300, posinf=1e300).max()), 1e300)


def _warning(u: Tensor, measure: str, order: int, method: str, window: float, alpha: float, form: str) -> str:
    """A sentence where the discretisation makes the state grow far beyond the signal, or an empty one."""
    size = max(float(u.abs().max()), 1e-12)
    head = u[: min(len(u), 4 * order + 16)]
    peak = (
        _peak(states(head, measure, order, method, window, torch.arange(1, len(head) + 1), alpha, form))
        if method != "zoh"
        else 0.0
    )
    name = METHODS[method]
    worth = f"(condition of the eigenvectors of A: {condition(transition(measure, order)[0]):.1e})"
    if MEASURES[measure].scaled:
        if peak > 100 * size:
            tail = "after N steps it heals" if measure == "legs" else "it takes long to fade"
            return f"{name} at N = {order} throws the state up to {peak:.0e} in the first steps; {tail} {worth}."
        return ""
    if method == "zoh":
        return ""
    A, B = transition(measure, order)
    Ad, _ = discretize(A / window, B / window, 1.0, method, alpha)
    growth = float(torch.linalg.eigvals(Ad).abs().max())
    if growth > 1 + 1e-9:
        return f"{name} is unstable here: each step multiplies by up to {growth:.3g}. Take a smaller N, more samples or another method {worth}."
    if peak > 100 * size:
        return f"{name} at N = {order} throws the state up to {peak:.0e} before it decays {worth}."
    return ""


@dataclass(frozen=True)
class Memory:
    """time, values: [K'] the signal (thinned to 2,048 points); ends: [F] the times at which memory is read;
    past: [F, P] the times it speaks of, from each end backwards; recalled: [F, P] what it says was there;
    error: [F] root mean square of recalled minus true (LagT: weighted by the measure); scale: that of the signal itself;
    share: [P] the measure's weight at each of those points, greatest 1; coefficients: [N, T] the N numbers over time;
    coefficient_time: [T]; label, method, order, unit: for titles; note: what was done to a file; warning: where a method grows."""

    time: np.ndarray
    values: np.ndarray
    ends: np.ndarray
    past: np.ndarray
    recalled: np.ndarray
    error: np.ndarray
    scale: float
    share: np.ndarray
    coefficients: np.ndarray
    coefficient_time: np.ndarray
    label: str
    method: str
    order: int
    unit: str
    note: str
    warning: str


def memory(
    signal: str = "waves",
    formula: str = "sin(2.3*t) + 0.5*cos(5.6*t)",
    measure: str = "legs",
    order: int = 32,
    method: str = "zoh",
    samples: int = 1536,
    window: float = 0.33,
    alpha: float = 0.5,
    form: str = "blog",
    seed: int = 0,
) -> Memory:
    """A signal read sample by sample, and what N numbers recall of its past at 40 moments.

    window: the length of a sliding window, in lengths of the whole signal; alpha: of the generalised bilinear step;
    form: how LegS spreads A/t over a step. Gu et al. 2020; kexue.fm 10114, 10137.
    """
    one_of("measure", measure, MEASURES)
    order = _odd(measure, whole("order", order, 1, 128))
    samples = whole("samples", samples, 64, 4096)
    source = load(signal, samples, formula, seed)
    return _memory(source, measure, order, method, window, alpha, form)


def own(
    upload: str | None = None,
    drawing: str | None = None,
    measure: str = "legs",
    order: int = 32,
    method: str = "zoh",
    samples: int = 1536,
    window: float = 0.33,
) -> Memory:
    """`memory` of the user's own signal: a .wav or .csv file, else a drawn curve, else a stand-in."""
    one_of("measure", measure, MEASURES)
    order = _odd(measure, whole("order", order, 1, 128))
    samples = whole("samples", samples, 64, 4096)
    source = signals.upload(upload, samples) if upload else signals.drawing(drawing, samples) if drawing else None
    if source is None:
        source = replace(load("steps", samples), note="A stand-in: choose a file or draw a curve to see your own.")
    elif upload and drawing:
        source = replace(source, note=f"{source.note} The file is shown; remove it to see the drawing.".strip())
    return _memory(source, measure, order, method, window, 0.5, "blog")


def _memory(source: Signal, measure: str, order: int, method: str, window: float, alpha: float, form: str) -> Memory:
    one_of("method", method, METHODS)
    window = number("window", window, 0.02, 1)
    alpha = number("alpha", alpha, 0, 1)
    one_of("form", form, FORMS)
    samples = len(source.values)
    u = torch.from_numpy(source.values)
    width = window * samples
    frames = torch.linspace(samples / 40, samples, 40).round().long().clamp(1, samples).unique()
    dense = torch.linspace(1, samples, 200).round().long().unique()
    times = torch.cat([frames, dense]).unique()
    x = states(u, measure, order, method, width, times, alpha, form)
    at_frame, at_dense = x[torch.searchsorted(times, frames)], x[torch.searchsorted(times, dense)]

    age = (torch.arange(200, dtype=torch.float64) + 0.5) / 200 * MEASURES[measure].span
    length = frames.double() if MEASURES[measure].scaled else torch.full((len(frames),), width, dtype=torch.float64)
    past = frames[:, None] - length[:, None] * age
    recalled = at_frame @ basis(measure, order, age).T
    index = past.floor().long().clamp(0, samples - 1)
    true = torch.where(past >= 0, u[index], 0.0)
    share = density(measure, age)
    weight = share if measure == "lagt" else torch.ones_like(share)
    bound = 1e3 * float(u.abs().max()) + 1e-9
    wrong = torch.nan_to_num(recalled - true, nan=bound, posinf=bound, neginf=-bound).clamp(-bound, bound)
    step = source.duration / samples
    thin = max(1, math.ceil(samples / 2048))
    return Memory(
        time=_numpy((np.arange(samples)[::thin] + 0.5) * step),
        values=_numpy(source.values[::thin]),
        ends=_numpy(frames * step),
        past=_numpy(past * step),
        recalled=_numpy(recalled, bound),
        error=_numpy(torch.sqrt((wrong**2 * weight).sum(1) / weight.sum())),
        scale=float(u.square().mean().sqrt()),
        share=_numpy(share / share.max()),
        coefficients=_numpy(at_dense.T, 1e30),
        coefficient_time=_numpy(dense * step),
        label=MEASURES[measure].label,
        method=METHODS[method],
        order=order,
        unit=source.unit,
        note=source.note,
        warning=_warning(u, measure, order, method, width, alpha, form),
    )


@dataclass(frozen=True)
class Orders:
    """orders: [J] as asked; error: [M, J] root mean square error at the end under the measure's weight (Fourier: over its period), over that of the
    signal there; floor: [M, J] the least that N numbers times the same N functions can reach; labels: M names; method: for titles."""

    orders: np.ndarray
    error: np.ndarray
    floor: np.ndarray
    labels: tuple[str, ...]
    method: str


def orders(
    signal: str = "waves",
    formula: str = "sin(2.3*t) + 0.5*cos(5.6*t)",
    measures: Sequence[str] = ("legs", "legt", "fout", "fout_blog"),
    method: str = "zoh",
    samples: int = 1536,
    window: float = 0.33,
    seed: int = 0,
) -> Orders:
    """The error at the end of the signal against N, and the best that each basis could do, by least squares.

    The online state has nothing but N numbers and the next sample; for LegS it is the best projection all the same.
    """
    chosen = several_of("measures", measures, MEASURES, len(MEASURES))
    one_of("method", method, METHODS)
    samples, window = whole("samples", samples, 64, 4096), number("window", window, 0.02, 1)
    source = load(signal, samples, formula, seed)
    u = torch.from_numpy(source.values)
    error, floor = np.empty((len(chosen), len(ORDERS))), np.empty((len(chosen), len(ORDERS)))
    for i, measure in enumerate(chosen):
        width = samples if MEASURES[measure].scaled else max(8, round(window * samples))
        best = project(u, measure, _odd(measure, ORDERS[-1]), width)
        # in an orthogonal basis the error splits (Parseval): what N functions must leave out, and what the state has got wrong
        norm = 1 / (2 * torch.arange(len(best)).double() + 1) if measure == "lmu" else torch.ones_like(best)
        if measure == "lagt":
            edge = torch.exp(-torch.arange(samples, -1, -1, dtype=torch.float64) / width)
            power = float((u.square() * edge.diff()).sum())
        else:
            reach = round(width * MEASURES[measure].span)
            power = float(u[-reach:].square().sum()) / reach
        for j, asked in enumerate(ORDERS):
            n = _odd(measure, asked)
            left = max(power - float((best[:n].square() * norm[:n]).sum()), 1e-14 * power)
            x = states(u, measure, n, method, width)[0]
            wrong = float(((x - best[:n]).square() * norm[:n]).sum().nan_to_num(nan=1e300, posinf=1e300))
            floor[i, j] = math.sqrt(left / (power + 1e-300))
            error[i, j] = math.sqrt((left + wrong) / (power + 1e-300))
    return Orders(
        orders=np.array(ORDERS),
        error=_numpy(error, 1e12),
        floor=_numpy(floor),
        labels=tuple(MEASURES[m].label for m in chosen),
        method=METHODS[method],
    )


@dataclass(frozen=True)
class Steps:
    """samples: [J] the number of steps; error: [M, J] |x - exact| / |exact| of the final state; methods: M names; transient_step: [S] steps gone by, and transient: [M, S] the length
    of the state there; label, order, condition (of the eigenvectors of A): for titles."""

    samples: np.ndarray
    error: np.ndarray
    methods: tuple[str, ...]
    transient_step: np.ndarray
    transient: np.ndarray
    label: str
    order: int
    condition: float


def steps(
    signal: str = "waves",
    formula: str = "sin(2.3*t) + 0.5*cos(5.6*t)",
    measure: str = "legs",
    order: int = 32,
    window: float = 0.33,
    alpha: float = 0.5,
    form: str = "blog",
    seed: int = 0,
) -> Steps:
    """The final state against step size for each discretisation, and how large the state grows on the way. kexue.fm 10137.

    Each sample is the signal's value in the middle of its step. Exact means zero-order hold with 8,192 steps.
    """
    one_of("measure", measure, MEASURES)
    order = _odd(measure, whole("order", order, 1, 128))
    window, alpha = number("window", window, 0.02, 1), number("alpha", alpha, 0, 1)
    one_of("form", form, FORMS)
    fine = load(signal, FINE, formula, seed)
    exact = states(torch.from_numpy(fine.values), measure, order, "zoh", window * FINE)[0]
    methods = ["zoh", "bilinear", "backward", "forward"] + (["gbt"] if alpha not in (0, 0.5, 1) else [])
    spots = torch.unique(torch.logspace(0, math.log10(1024), 160).round().long())
    error, transient = np.empty((len(methods), len(SAMPLES))), np.empty((len(methods), len(spots)))
    alphas = torch.tensor([0.5, 1, 0, alpha], dtype=torch.float64)[: len(methods) - 1, None]
    for j, count in enumerate(SAMPLES):
        u = torch.from_numpy(load(signal, count, formula, seed).values)
        wanted = spots if count == 1024 else torch.tensor([count])
        if measure == "legs":  # all but the exact one in one go
            rest = legs_by_orders(u, order, alphas, form)[:, wanted - 1]
            found = [states(u, "legs", order, times=wanted), *rest]
        else:
            found = [states(u, measure, order, method, window * count, wanted, alpha, form) for method in methods]
        for i, x in enumerate(found):
            error[i, j] = float(torch.nan_to_num((x[-1] - exact).norm(), nan=1e300, posinf=1e300)) / (
                float(exact.norm()) + 1e-300
            )
            if count == 1024:
                transient[i] = torch.nan_to_num(torch.linalg.vector_norm(x, dim=-1), nan=1e300, posinf=1e300)
    return Steps(
        samples=np.array(SAMPLES),
        error=np.clip(error, 1e-16, 1e300),
        methods=tuple(METHODS[m] if m != "gbt" else f"Generalised bilinear, α = {alpha:g}" for m in methods),
        transient_step=spots.numpy(),
        transient=np.clip(transient, 1e-16, 1e300),
        label=MEASURES[measure].label,
        order=order,
        condition=min(condition(transition(measure, order)[0]), 1e300),
    )


@dataclass(frozen=True)
class Matrices:
    """A: [N, N]; B: [N]; real, imag: [N] the eigenvalues of A, per window; time: [T] in windows (scaled measures: ln(T/t0) at time T, the impulse coming at t0);
    impulse: [R, T] what the first R coefficients make of an impulse at that time 0; age: [T'] and weight: [T'] the measure;
    condition: of the eigenvectors of A, 1e300 where there are too few; label, order: for titles; scaled: whether the window grows."""

    A: np.ndarray
    B: np.ndarray
    real: np.ndarray
    imag: np.ndarray
    time: np.ndarray
    impulse: np.ndarray
    age: np.ndarray
    weight: np.ndarray
    condition: float
    label: str
    order: int
    scaled: bool


def matrices(measure: str = "legs", order: int = 32) -> Matrices:
    """The system itself: A, its spectrum, its impulse response e^(tA) B, and the measure it stands for."""
    one_of("measure", measure, MEASURES)
    order = _odd(measure, whole("order", order, 1, 128))
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
        A=_numpy(A),
        B=_numpy(B),
        real=_numpy(poles.real),
        imag=_numpy(poles.imag),
        time=_numpy(np.linspace(0, length, count + 1)),
        impulse=_numpy(torch.stack(columns, 1)[: min(order, 6)]),
        age=_numpy(age),
        weight=_numpy(density(measure, age)),
        condition=min(condition(A), 1e300),
        label=MEASURES[measure].label,
        order=order,
        scaled=MEASURES[measure].scaled,
    )


@dataclass(frozen=True)
class Forgetting:
    """age: [P] how long ago, in lengths of the whole signal; error: [M, P] mean square error there over that of recalling nothing (0),
    each over 32 random signals; labels: M names; order, window, detail: for titles."""

    age: np.ndarray
    error: np.ndarray
    labels: tuple[str, ...]
    order: int
    window: float
    detail: float


def forgetting(
    measures: Sequence[str] = ("legs", "legt", "fout", "fout_blog"),
    order: int = 32,
    window: float = 0.33,
    detail: float = 12.0,
    seed: int = 0,
) -> Forgetting:
    """How well each moment of the past is remembered at the end, over random signals of at most `detail` periods.

    1 is no better than recalling nothing; beyond its window a sliding measure recalls nothing, which is 1 exactly.
    """
    chosen = several_of("measures", measures, MEASURES, len(MEASURES))
    order = whole("order", order, 1, 128)
    window = number("window", window, 0.02, 1)
    detail = number("detail", detail, 1, 100)
    count, many = 1024, 32
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    n = torch.arange(1, 25, dtype=torch.float64) / 24 * detail  # no whole number of periods: nothing repeats
    s = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    angle = 2 * math.pi * (n * s[:, None])
    parts = torch.randn(2, 24, many, generator=generator, dtype=torch.float64) / math.sqrt(24)
    u = (torch.sin(angle) @ parts[0] + torch.cos(angle) @ parts[1]).T
    cells = torch.arange(256, dtype=torch.float64)
    age = (cells + 0.5) / 256
    index = (count * (1 - age)).floor().long().clamp(0, count - 1)
    rows = []
    for measure in chosen:
        size = _odd(measure, order)
        x = states(u, measure, size, "zoh", window * count)[:, 0]
        local = age if MEASURES[measure].scaled else age / window
        recalled = torch.where(local <= MEASURES[measure].span, x @ basis(measure, size, local).T, 0.0)
        rows.append((recalled - u[:, index]).square().mean(0) / u[:, index].square().mean(0))
    return Forgetting(
        age=_numpy(age),
        error=_numpy(torch.stack(rows).clamp(1e-12, 1e3)),
        labels=tuple(MEASURES[m].label for m in chosen),
        order=order,
        window=window,
        detail=detail,
    )


@dataclass(frozen=True)
class Kernels:
    """time: [L] k step; recurrent, cauchy: [L] the kernel by the recurrence and by S4's Cauchy sums; uncorrected: [L] with the
    low-rank term left out; diagonal: [L] S4D (the same poles with B/2); pole_imag, pole_weight: [N] Im Lambda and |C_n B_n|;
    kernel_gap: largest |recurrent - cauchy|; output_gap: largest difference of recurrence and convolution on noise;
    skew_gap: largest entry of S + S^T; order, length, step, delay: for titles."""

    time: np.ndarray
    recurrent: np.ndarray
    cauchy: np.ndarray
    uncorrected: np.ndarray
    diagonal: np.ndarray
    pole_imag: np.ndarray
    pole_weight: np.ndarray
    kernel_gap: float
    output_gap: float
    skew_gap: float
    order: int
    length: int
    step: float
    delay: float


def kernels(order: int = 32, length: int = 1024, reach: float = 3.0, delay: float = 0.7, seed: int = 0) -> Kernels:
    """One kernel of S4 four ways. The model is LegS as S4 uses it, x' = A x + B u, read so as to recall the input `delay` ago.

    e^(tA) B is sqrt(2n+1) e^-t P_n(2 e^-t - 1) ("How to Train Your HiPPO", S4-LegS), so C_n = sqrt(2n+1) P_n(2 e^-delay - 1) makes a
    bump at t = delay. reach: the time the kernel covers.
    """
    order, length = whole("order", order, 1, 128), whole("length", length, 64, 4096)
    reach, delay = number("reach", reach, 0.1, 10), number("delay", delay, 0, 5)
    step = reach / length
    A, B = transition("legs", order)
    C = basis("legs", order, torch.tensor(1 - math.exp(-delay), dtype=torch.float64))
    d = s4.dplr(order)
    turned = C.to(d.V.dtype) @ d.V
    slow = s4.recurrent_kernel(A, B, C, step, length)
    fast = s4.kernel(d.Lambda, d.P, d.B, turned, step, length)
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    noise = torch.randn(256, generator=generator, dtype=torch.float64)
    gap = s4.recurrence(A, B, C, step, noise[:256]) - s4.convolve(
        fast[:256] if length >= 256 else torch.nn.functional.pad(fast, (0, 256 - length)), noise
    )
    return Kernels(
        time=_numpy(torch.arange(length) * step),
        recurrent=_numpy(slow / step),
        cauchy=_numpy(fast / step),
        uncorrected=_numpy(s4.diagonal_kernel(d.Lambda, d.B, turned, step, length) / step),
        diagonal=_numpy(s4.diagonal_kernel(d.Lambda, d.B / 2, turned, step, length) / step),
        pole_imag=_numpy(d.Lambda.imag),
        pole_weight=_numpy((turned * d.B).abs()),
        kernel_gap=float((slow - fast).abs().max()),
        output_gap=float(gap[: min(256, length)].abs().max()),
        skew_gap=float((s4.skew(order)[0] + s4.skew(order)[0].T).abs().max()),
        order=order,
        length=length,
        step=step,
        delay=delay,
    )


MODELS = {
    "resonators": "Resonators",
    "memory": "A delay line (a = 0, how RTF starts)",
    "legs": "HiPPO-LegS, from (A, B, C)",
}


@dataclass(frozen=True)
class Rational:
    """step: [L] k; fft, recurrent: [L] the kernel by one FFT and by a recurrence (of the companion form, or of the model it was made from); pole_real, pole_imag: [N];
    frequency: [L/2+1] in cycles a step, gain: |H| there in decibels; input, output: [L] a test signal and the state-free output;
    kernel_gap, output_gap: largest differences from the recurrence; radius: largest |pole|; label, order, length: for titles."""

    step: np.ndarray
    fft: np.ndarray
    recurrent: np.ndarray
    pole_real: np.ndarray
    pole_imag: np.ndarray
    frequency: np.ndarray
    gain: np.ndarray
    input: np.ndarray
    output: np.ndarray
    kernel_gap: float
    output_gap: float
    radius: float
    label: str
    order: int
    length: int


def rational(
    model: str = "resonators", order: int = 32, length: int = 1024, damping: float = 0.97, seed: int = 0
) -> Rational:
    """A transfer function (a, b) and its kernel by one FFT; the companion form checks it. Parnichkun et al. 2024, kexue.fm 10180.

    damping: the largest modulus of the resonators' poles.
    """
    one_of("model", model, MODELS)
    order, length = whole("order", order, 1, 128), whole("length", length, 64, 4096)
    damping = number("damping", damping, 0.1, 0.999)
    if order >= length:
        raise ValueError(f"length must be more than the order {order}, not {length}.")
    random = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    if model == "legs":
        A, B = transition("legs", order)
        Ad, Bd = discretize(A, B, 4 / length)
        a, cut = rtf.from_state_space(Ad, Bd, torch.ones(order, dtype=torch.float64), length)
        b = rtf.untruncate(a, cut, length)
    else:
        a = torch.zeros(order, dtype=torch.float64)
        if model == "resonators":
            pairs = order // 2
            angle = math.pi * (torch.arange(pairs, dtype=torch.float64) + 0.5) / max(1, pairs)
            size = 1 - 0.1 * torch.rand(pairs + order % 2, generator=random, dtype=torch.float64)
            size *= damping / size.max()
            half, real = torch.polar(size[:pairs], angle), size[pairs:].to(torch.complex128)
            a = rtf.polynomial(torch.cat([torch.stack([half, half.conj()], 1).reshape(-1), real]))
        b = torch.randn(order, generator=random, dtype=torch.float64) / math.sqrt(order)
        cut = rtf.truncate(a, b, length)
    impulse = torch.zeros(length, dtype=torch.float64)
    impulse[0] = 1
    k = torch.arange(length, dtype=torch.float64)
    sweep = torch.sin(math.pi * 0.5 * k**2 / length)
    both = rtf.recurrence(a, b, torch.stack([impulse, sweep]))
    if model == "legs":
        both[0] = s4.recurrent_kernel(A, B, torch.ones(order, dtype=torch.float64), 4 / length, length)
    fft = rtf.kernel(a, cut, length)
    output = rtf.inference(a, cut, sweep)
    poles = torch.linalg.eigvals(rtf.companion(a, b)[0])
    gain = torch.fft.rfft(b, n=length) / torch.fft.rfft(torch.cat([torch.ones(1, dtype=torch.float64), a]), n=length)
    return Rational(
        step=_numpy(k),
        fft=_numpy(fft),
        recurrent=_numpy(both[0]),
        pole_real=_numpy(poles.real),
        pole_imag=_numpy(poles.imag),
        frequency=_numpy(torch.arange(length // 2 + 1) / length),
        gain=_numpy(20 * torch.log10(gain.abs().clamp(min=1e-12))),
        input=_numpy(sweep),
        output=_numpy(output),
        kernel_gap=float((fft - both[0]).abs().max()),
        output_gap=float((output - both[1]).abs().max()),
        radius=float(poles.abs().max()),
        label=MODELS[model],
        order=order,
        length=length,
    )


WAYS = ("Powers of A, one by one", "Recurrence, step by step", "S4: Cauchy sums", "RTF: one FFT")


@dataclass(frozen=True)
class Timing:
    """lengths: [J] the lengths L; seconds: M rows of J measured times (median of 3), 0 where it was not run; ways: M names;
    order: N. The times are this machine's, now, and no two runs agree."""

    lengths: np.ndarray
    seconds: tuple[tuple[float, ...], ...]
    ways: tuple[str, ...]
    order: int


def _seconds(way: int, order: int, length: int) -> float:
    """The median time of 3 kernels of that length; 0 for those that would take over a second or so."""
    if length > (2048, 16384, 2**18, 2**18)[way] or (way == 0 and length * order**3 > 2**30):
        return 0.0
    A, B = transition("legs", order)
    C = torch.ones(order, dtype=torch.float64)
    step = 1 / length
    d = s4.dplr(order)
    turned = C.to(d.V.dtype) @ d.V
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(order, generator=generator, dtype=torch.float64) / order**2

    def powers() -> None:
        Ad, Bd = discretize(A, B, step)
        power = torch.eye(order, dtype=torch.float64)
        for _ in range(length):
            C @ (power @ Bd)
            power = power @ Ad

    run = (
        powers,
        lambda: s4.recurrent_kernel(A, B, C, step, length),
        lambda: s4.kernel(d.Lambda, d.P, d.B, turned, step, length),
        lambda: rtf.kernel(a, a, length),
    )[way]
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[1]


def timing(order: int = 32, longest: int = 65536) -> Iterator[Progress]:
    """The time one kernel takes against its length L, four ways, measured on this machine."""
    order, longest = whole("order", order, 1, 128), whole("longest", longest, 1024, 2**18)
    lengths = [n for n in (2**e for e in range(8, 19, 2)) if n <= longest and n > order]
    rows = [[0.0] * len(lengths) for _ in WAYS]
    for j, length in enumerate(lengths):
        for i in range(len(WAYS)):
            rows[i][j] = _seconds(i, order, length)
        yield Progress(j + 1, len(lengths), Timing(np.array(lengths), tuple(map(tuple, rows)), WAYS, order))
