"""How far back a memory reaches: the error at each age, what an impulse leaves, the periods that are kept, and stretched time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, checked
from engines.hippo.experiments import MeasureName, MeasureNames, Order, Seed, Window
from engines.hippo.measures import MEASURES, basis, odd_order, transition
from engines.hippo.recurrence import states
from engines.hippo.tensors import single

OCTAVES, PER_OCTAVE = 28, 4  # of the time since an impulse, from 2^-7


@dataclass(frozen=True)
class Forgetting:
    """How well each moment of the past is recalled at the end, over random signals, and what is left of an impulse.

    age: float32 [P], lengths of the whole signal; how long ago
    error: float32 [M, P]; mean square error there over that of recalling nothing (0), each over 32 signals
    elapsed: float32 [S]; time since an impulse, over its own moment t0 (scaled measures) or over the window
    kept: float32 [M, S]; the length of what it leaves in the state, over that at once after it
    measures: M keys of MEASURES
    order: int; N as asked; window: float, lengths of the whole signal; detail: float, periods
    """

    age: np.ndarray
    error: np.ndarray
    elapsed: np.ndarray
    kept: np.ndarray
    measures: tuple[str, ...]
    order: int
    window: float
    detail: float


@checked
def forgetting(
    measures: MeasureNames = ("legs", "legt", "fout", "fout_blog"),
    order: Order = 32,
    window: Window = 0.33,
    detail: Annotated[float, Between(1, 100)] = 12.0,
    seed: Seed = 0,
) -> Forgetting:
    """How well each moment of the past is remembered at the end, over random signals of at most `detail` periods.

    1 is no better than recalling nothing; beyond its window a sliding measure recalls nothing, which is 1 exactly. What an
    impulse leaves falls as 1/t for LegS (Gu et al. 2020, proposition 6: gradients) and exponentially where A is constant.
    """
    count, many = 1024, 32
    generator = torch.Generator().manual_seed(seed)
    n = torch.arange(1, 25, dtype=torch.float64) / 24 * detail  # no whole number of periods: nothing repeats
    s = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    angle = 2 * math.pi * (n * s[:, None])
    parts = torch.randn(2, 24, many, generator=generator, dtype=torch.float64) / math.sqrt(24)
    u = (torch.sin(angle) @ parts[0] + torch.cos(angle) @ parts[1]).T
    cells = torch.arange(256, dtype=torch.float64)
    age = (cells + 0.5) / 256
    index = (count * (1 - age)).floor().long().clamp(0, count - 1)
    rows = []
    for measure in measures:
        size = odd_order(measure, order)
        x = states(u, measure, size, "zoh", window * count)[:, 0]
        local = age if MEASURES[measure].scaled else age / window
        recalled = torch.where(local <= MEASURES[measure].span, x @ basis(measure, size, local).T, 0.0)
        rows.append((recalled - u[:, index]).square().mean(0) / u[:, index].square().mean(0))
    elapsed = 2.0 ** (torch.arange(OCTAVES * PER_OCTAVE, dtype=torch.float64) / PER_OCTAVE - 7)
    return Forgetting(
        age=single(age),
        error=single(torch.stack(rows).clamp(1e-12, 1e3)),
        elapsed=single(elapsed),
        kept=single(torch.stack([left_of_impulse(measure, order, elapsed) for measure in measures]).clamp(1e-30)),
        measures=tuple(measures),
        order=order,
        window=window,
        detail=detail,
    )


def left_of_impulse(measure: str, order: int, elapsed: Tensor) -> Tensor:
    """The length of the state [S] at `elapsed` [S] after an impulse, over that at once after it, in the function's own norm.

    Time is in windows; scaled measures: the impulse comes at t = 1. LegS has 1/t times the Legendre functions at age 1 - 1/t, LagT
    e^-t times the Laguerre polynomials; others e^(At) B, by squaring from octave to octave (`elapsed`: PER_OCTAVE an octave).
    """
    order = odd_order(measure, order)
    A, B = transition(measure, order)
    scale = 1 / torch.sqrt(2 * torch.arange(order, dtype=torch.float64) + 1) if measure == "lmu" else 1.0
    if measure == "legs":
        state = basis("legs", order, 1 - 1 / (1 + elapsed)) / (1 + elapsed)[:, None]
    elif measure == "lagt":
        state = basis("lagt", order, elapsed) * torch.exp(-elapsed)[:, None]
    elif measure == "fous":
        poles, V = torch.linalg.eig(A)
        state = ((1 + elapsed)[:, None] ** poles * torch.linalg.solve(V, B.to(V.dtype))) @ V.T
    else:
        move, parts = torch.linalg.matrix_exp(elapsed[:PER_OCTAVE, None, None] * A), []
        for _ in range(0, len(elapsed), PER_OCTAVE):
            parts.append(move @ B)
            move = move @ move
        state = torch.cat(parts)[: len(elapsed)]
    return torch.linalg.vector_norm(state * scale, dim=-1) / torch.linalg.vector_norm(B * scale)


LENGTH, MOMENTS = 512, (8, 16, 32, 64, 128, 256, 512)
PERIODS = 2.0 ** (np.arange(34) / 4 + 2)  # samples; from 4 to 1,218
STRETCH = (0.25, 0.5, 1.0, 2.0, 4.0)
STRETCHED = ("legs", "legt", "lagt", "fout", "fout_blog", "fous")
VALUES, HOLD = 32, 16  # of the signal that is stretched: values, and samples that each is held for


@dataclass(frozen=True)
class Timescales:
    """Which periods are recalled at which age, and what a state keeps of itself when time is stretched.

    moment: int64 [F], samples; at which the memory is read
    age: float32 [P], samples
    period: float32 [Q], samples
    error: float32 [F, Q, P]; mean square error of recalling a sine of that period and any phase, over its mean square; NaN where
        the age is greater than the moment
    finest: float64 [F], samples; the period with pi numbers a wave (Fourier: two)
    stretch: float64 [R]; by which time is stretched
    change: float64 [M, R]; |x - x'| / |x'| of the final state, x' that without stretching; at least 1e-16
    measures: M names: STRETCHED by zero-order hold, last "bilinear": LegS by the bilinear method
    measure: str; order: int; as asked (of a Fourier measure the odd order)
    window: float, samples
    """

    moment: np.ndarray
    age: np.ndarray
    period: np.ndarray
    error: np.ndarray
    finest: np.ndarray
    stretch: np.ndarray
    change: np.ndarray
    measures: tuple[str, ...]
    measure: str
    order: int
    window: float


@checked
def timescales(measure: MeasureName = "legs", order: Order = 32, window: Window = 0.25, seed: Seed = 0) -> Timescales:
    """Which periods are recalled at which age, as the past grows; and the state of a signal whose time is stretched.

    The sines are sampled 512 times. The stretched signal has 32 random values, each held for 4 to 64 samples. LegS gives the
    same state however long each is held: x(t) depends on u(t s), 0 < s < 1, alone (Gu et al. 2020, proposition 3).
    window: over the 512 samples.
    """
    order, width = odd_order(measure, order), window * LENGTH
    scaled, span = MEASURES[measure]
    wave = 2j * math.pi / torch.from_numpy(PERIODS)
    sines = torch.exp(wave[:, None] * (torch.arange(LENGTH) + 0.5))
    both = states(torch.stack([sines.real, sines.imag]), measure, order, "zoh", width, MOMENTS)
    x = torch.complex(both[0], both[1])  # [Q, F, N]
    age = torch.from_numpy(np.unique((2.0 ** (np.arange(0, 37) / 4)).astype(int)[:-1])) + 0.5
    error = np.full((len(MOMENTS), len(PERIODS), len(age)), np.nan)
    for i, moment in enumerate(MOMENTS):
        local = age / (moment if scaled else width)
        recalled = torch.where(local <= span, x[:, i] @ basis(measure, order, local).T.to(x.dtype), 0)
        true = torch.exp(wave[:, None] * (moment - age))
        error[i] = torch.where(age < moment, (recalled - true).abs().square(), math.nan)
    waves = 2.0 if measure.startswith("fou") else math.pi
    base = torch.randn(VALUES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    names = (*STRETCHED, "bilinear")
    change = np.zeros((len(names), len(STRETCH)))
    for i, name in enumerate(names):
        kind, method = ("legs", "bilinear") if name == "bilinear" else (name, "zoh")
        size = odd_order(kind, order)
        found = [states(base.repeat_interleave(round(HOLD * r)), kind, size, method, width)[0] for r in STRETCH]
        once = found[STRETCH.index(1.0)]
        change[i] = [float((x - once).norm() / once.norm()) for x in found]
    return Timescales(
        moment=np.array(MOMENTS),
        age=single(age),
        period=single(PERIODS),
        error=single(np.clip(error, 1e-12, 1e3)),
        finest=np.array([waves * (moment if scaled else width) / order for moment in MOMENTS]),
        stretch=np.array(STRETCH),
        change=np.maximum(change, 1e-16),
        measures=names,
        measure=measure,
        order=order,
        window=width,
    )
