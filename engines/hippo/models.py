"""Models with a constant A: S4's kernel and diagonal approximations of it, and rational functions (RTF)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, OneOf, Refusal, checked
from engines.hippo import rtf, s4
from engines.hippo.experiments import Length, Order, Seed
from engines.hippo.measures import basis, discretize, transition
from engines.hippo.tensors import least_squares, single

ORDERS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
POLES = ("legs", "inv", "lin")
FIRST, BOX = 8, 8  # numbers that are read; of 400 times, how many one smoothed value is the mean of


@dataclass(frozen=True)
class Kernels:
    """One kernel of S4, four ways, and how near diagonal models come to it.

    time: float32 [L]; k times the step
    recurrent, cauchy: float32 [L]; the kernel by the recurrence and by S4's Cauchy sums
    uncorrected: float32 [L]; with the low-rank term left out
    diagonal: float32 [L]; S4D: the same poles with B/2
    pole_imag, pole_weight: float32 [N]; Im Lambda and |C_n B_n|
    kernel_gap: float; the greatest |recurrent - cauchy|
    output_gap: float; the greatest difference of recurrence and convolution on noise
    skew_gap: float; the greatest entry of S + S^T
    orders: int64 [J]; N
    diagonal_gap: float64 [5, J]; root mean square difference from S4's kernel read with its first 8 numbers, over its root mean
        square: of S4D's with B/2 and the same C; of the same, both smoothed over 1/50 of the time; of the poles of POLES, C fitted
    order: int; length: int; step: float; delay: float; as computed with
    """

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
    orders: np.ndarray
    diagonal_gap: np.ndarray
    order: int
    length: int
    step: float
    delay: float


@checked
def kernels(
    order: Order = 32,
    length: Length = 1024,
    reach: Annotated[float, Between(0.1, 10)] = 3.0,
    delay: Annotated[float, Between(0, 5)] = 0.7,
    seed: Seed = 0,
) -> Kernels:
    """One kernel of S4 four ways. The model is LegS as S4 uses it, x' = A x + B u, read so as to recall the input `delay` ago.

    e^(tA) B is sqrt(2n+1) e^-t P_n(2 e^-t - 1) ("How to Train Your HiPPO", S4-LegS), so C_n = sqrt(2n+1) P_n(2 e^-delay - 1) makes a
    bump at t = delay. reach: the time that the kernel covers; seed: of the noise.
    """
    step = reach / length
    A, B = transition("legs", order)
    C = basis("legs", order, torch.tensor(1 - math.exp(-delay), dtype=torch.float64))
    d = s4.dplr(order)
    turned = C.to(d.V.dtype) @ d.V
    slow = s4.recurrent_kernel(A, B, C, step, length)
    fast = s4.kernel(d.Lambda, d.P, d.B, turned, step, length)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(256, generator=generator, dtype=torch.float64)
    gap = s4.recurrence(A, B, C, step, noise[:256]) - s4.convolve(
        fast[:256] if length >= 256 else torch.nn.functional.pad(fast, (0, 256 - length)), noise
    )
    return Kernels(
        time=single(torch.arange(length) * step),
        recurrent=single(slow / step),
        cauchy=single(fast / step),
        uncorrected=single(s4.diagonal_kernel(d.Lambda, d.B, turned, step, length) / step),
        diagonal=single(s4.diagonal_kernel(d.Lambda, d.B / 2, turned, step, length) / step),
        pole_imag=single(d.Lambda.imag),
        pole_weight=single((turned * d.B).abs()),
        kernel_gap=float((slow - fast).abs().max()),
        output_gap=float(gap[: min(256, length)].abs().max()),
        skew_gap=float((s4.skew(order)[0] + s4.skew(order)[0].T).abs().max()),
        orders=np.array(ORDERS),
        diagonal_gap=np.array([diagonal_gaps(n, reach, delay) for n in ORDERS]).T,
        order=order,
        length=length,
        step=step,
        delay=delay,
    )


def diagonal_gaps(order: int, reach: float, delay: float, count: int = 400) -> list[float]:
    """A column of `diagonal_gap`: kernels in continuous time, at `count` times of [0, reach]; order even.

    S4's is e^-t times the basis at age 1 - e^-t ("How to Train Your HiPPO"); S4D's poles come in pairs, each with two numbers.
    """
    t = (torch.arange(count, dtype=torch.float64) + 0.5) * reach / count
    C = basis("legs", order, torch.tensor(1 - math.exp(-delay), dtype=torch.float64))
    C[FIRST:] = 0
    wanted = torch.exp(-t) * (basis("legs", order, 1 - torch.exp(-t)) @ C)
    d = s4.dplr(order)
    weights = C.to(d.V.dtype) @ d.V * d.B / 2
    plain = (torch.exp(t[:, None] * d.Lambda) @ weights).real
    half = d.Lambda * reach * BOX / count / 2  # the mean of e^(lambda t) over a box of twice that
    middle = t.view(-1, BOX).mean(1)
    smooth = (torch.exp(middle[:, None] * d.Lambda) @ (weights * torch.sinh(half) / half)).real
    errors = [float((plain - wanted).square().sum())]
    errors.append(BOX * float((smooth - wanted.view(-1, BOX).mean(1)).square().sum()))
    for poles in POLES:
        Lambda = s4.diagonal(order, poles)
        waves = torch.exp(t[:, None] * Lambda[Lambda.imag.argsort(descending=True)][: order // 2])
        errors.append(float(least_squares(torch.cat([waves.real, waves.imag], 1), wanted[:, None])[1]))
    return [math.sqrt(error / float(wanted.square().sum())) for error in errors]


MODELS = ("resonators", "memory", "legs")  # memory: a = 0, how RTF starts


@dataclass(frozen=True)
class Rational:
    """A transfer function and its kernel.

    step: float32 [L]; k
    fft, recurrent: float32 [L]; the kernel by one FFT and by a recurrence (of the companion form, or of the model it was made from)
    pole_real, pole_imag: float32 [N]
    frequency: float32 [L/2+1], cycles a step; gain: float32 [L/2+1], decibels; |H| there
    input, output: float32 [L]; a sine of rising frequency and the state-free output
    kernel_gap, output_gap: float; the greatest differences from the recurrence
    radius: float; the greatest |pole|
    model: str; order: int; length: int; as asked
    """

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
    model: str
    order: int
    length: int


@checked
def rational(
    model: Annotated[str, OneOf(MODELS)] = "resonators",
    order: Order = 32,
    length: Length = 1024,
    damping: Annotated[float, Between(0.1, 0.999)] = 0.97,
    seed: Seed = 0,
) -> Rational:
    """A transfer function (a, b) and its kernel by one FFT; the companion form checks it. Parnichkun et al. 2024, kexue.fm 10180.

    damping: the greatest modulus of the resonators' poles.
    """
    if order >= length:
        raise Refusal(
            "{parameter} must be more than the order {order}, not {given}.",
            parameter="length",
            order=order,
            given=length,
        )
    random = torch.Generator().manual_seed(seed)
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
        step=single(k),
        fft=single(fft),
        recurrent=single(both[0]),
        pole_real=single(poles.real),
        pole_imag=single(poles.imag),
        frequency=single(torch.arange(length // 2 + 1) / length),
        gain=single(20 * torch.log10(gain.abs().clamp(min=1e-12))),
        input=single(sweep),
        output=single(output),
        kernel_gap=float((fft - both[0]).abs().max()),
        output_gap=float((output - both[1]).abs().max()),
        radius=float(poles.abs().max()),
        model=model,
        order=order,
        length=length,
    )
