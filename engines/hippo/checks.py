"""What the engine must reproduce: python -m engines.checks hippo."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import torch

from engines.checks import Check
from engines.hippo import basis, discretize, legs_step, legs_step_dense, project, rtf, s4, states, transition
from engines.hippo.measures import condition
from engines.hippo.models import diagonal_gaps, rational
from engines.hippo.selection import fixed_bound, readout
from engines.hippo.signals import load
from engines.hippo.timescales import left_of_impulse, timescales


def legs_entries() -> list[float]:
    A, _ = transition("legs", 3)
    return A.flatten().tolist()


def legt_series() -> list[float]:
    """The oldest endpoint's transfer function of LegT at N = 2, at s = 1 and 2: (6 - 2s) / (s^2 + 4s + 6)."""
    A, B = transition("legt", 2)
    C = basis("legt", 2, torch.tensor(1.0, dtype=torch.float64))
    eye = torch.eye(2, dtype=torch.float64)
    return [float(C @ torch.linalg.solve(s * eye - A, B)) for s in (1.0, 2.0)]


def fourier_errors(measure: str) -> list[float]:
    """Mean square error over the last 2 pi of sin 2.3t + cos(5.6t)/2 at t = 6 pi, for |n| <= 8, 32, 128."""
    u, width = torch.from_numpy(load("waves", 3072).values), 1024
    age = (torch.arange(width, dtype=torch.float64).flip(0) + 0.5) / width
    found = []
    for most in (8, 32, 128):
        x = states(u, measure, 2 * most + 1, "zoh", width)[0]
        found.append(float((basis(measure, 2 * most + 1, age) @ x - u[-width:]).square().mean()))
    return found


def legs_projection() -> float:
    u = torch.from_numpy(load("noise", 500).values)
    exact = torch.tensor([1, 7, 100, 333, 500])
    x = states(u, "legs", 32, "zoh", times=exact)
    return float((x - torch.stack([project(u[:k], "legs", 32) for k in exact.tolist()])).abs().max())


def legs_dense() -> float:
    """ZOH by matrix exponentials, sample by sample, against the blocks."""
    u = torch.from_numpy(load("noise", 100).values)
    x = torch.zeros(24, dtype=torch.float64)
    x[0] = u[0]
    for k in range(1, 100):
        x = legs_step_dense(x, u[k], k, "zoh")
    return float((states(u, "legs", 24)[0] - x).abs().max())


def structured() -> float:
    x = torch.sin(torch.arange(256, dtype=torch.float64))
    u = torch.tensor(0.7, dtype=torch.float64)
    return float(max((legs_step(x, u, k) - legs_step_dense(x, u, k)).abs().max() for k in (1, 40, 1000)))


def s4_gap() -> float:
    A, B = transition("legs", 64)
    d = s4.dplr(64)
    C = torch.cos(torch.arange(64, dtype=torch.float64))
    fast = s4.kernel(d.Lambda, d.P, d.B, C.to(d.V.dtype) @ d.V, 1e-3, 1024)
    return float((fast - s4.recurrent_kernel(A, B, C, 1e-3, 1024)).abs().max())


def minus_one() -> float:
    """The generating function at z = -1 over its limit (step/2) C B."""
    d = s4.dplr(16)
    C = torch.ones(16, dtype=torch.complex128)
    value = s4.generating(torch.tensor([-1.0 + 0j], dtype=torch.complex128), d.Lambda, d.P, d.B, C, 0.01)[0]
    return float((value / (0.005 * (C @ d.B)) - 1).abs())


def rtf_gap() -> float:
    result = rational(order=64, length=1024)
    return max(result.kernel_gap, result.output_gap)


def forward_peak() -> float:
    u = torch.from_numpy(load("waves", 1536).values)
    return math.log10(float(states(u, "legs", 64, "forward", times=torch.arange(1, 200)).norm(dim=-1).max()))


def foud() -> float:
    return float(
        max((a - b / 2).abs().max() for a, b in zip(transition("foud", 33), transition("fout_blog", 33), strict=True))
    )


def stretched() -> float:
    """The state of LegS after samples that are each held 1, 3 and 7 times as long."""
    u = torch.from_numpy(load("noise", 90).values)
    x, *rest = (states(u.repeat_interleave(n), "legs", 24)[0] for n in (1, 3, 7))
    return float(max((other - x).abs().max() for other in rest))


def impulse(measure: str) -> float:
    """What is left of an impulse, at four times, against one matrix exponential each."""
    time = 2.0 ** (torch.arange(40, dtype=torch.float64) / 4 - 7)
    found = left_of_impulse(measure, 8, time)
    A, B = transition(measure, 8)
    gaps = []
    for j in (0, 13, 26, 30):
        reach = math.log1p(float(time[j])) if measure == "legs" else float(time[j])
        gaps.append(abs(float((torch.linalg.matrix_exp(A * reach) @ B).norm() / B.norm() - found[j])))
    return max(gaps)


def copying_by_enumeration(length: int = 6, tokens: int = 2, order: int = 4, ratio: float = 0.1) -> list[float]:
    """Errors of the best readout, less those over all places and signs of the tokens, each sequence run step by step."""
    poles = torch.complex(
        torch.full((2,), -0.5, dtype=torch.float64), math.pi * torch.arange(1, 3, dtype=torch.float64)
    )
    final, wanted = [], []
    for places in combinations(range(length), tokens):
        for signs in product((-1.0, 1.0), repeat=tokens):
            x = torch.zeros(2, dtype=torch.complex128)
            for k in range(length):
                step = 2 / (order + 1) * (1 if k in places else ratio)
                x = torch.exp(step * poles) * x
                if k in places:
                    x = x + (torch.exp(step * poles) - 1) / poles * signs[places.index(k)]
            final.append(torch.cat([x.real, x.imag]))
            wanted.append(torch.tensor(signs, dtype=torch.float64))
    final, wanted = torch.stack(final), torch.stack(wanted)
    best = torch.linalg.lstsq(final, wanted, driver="gelsd").solution
    error = (final @ best - wanted).square().mean(0).numpy()
    return (readout("lin", order, length, tokens, ratio)[1] - error).tolist()


def weak_limit(order: int) -> float:
    """The Laplace transform at s = 1 of S4D's first four functions (B/2), less that of LegS's: largest difference."""
    A, B = transition("legs", order)
    d = s4.dplr(order)
    ours = torch.linalg.solve(torch.eye(order, dtype=torch.float64) - A, B)[:4]
    return float((d.V @ (d.B / 2 / (1 - d.Lambda))).real[:4].sub(ours).abs().max())


def finest(factor: float) -> float:
    """Root mean square error of LegS, N = 64, at half the age, for a sine of `factor` times the finest period."""
    found = timescales("legs", 64)
    row = found.error[-1, np.abs(np.log(found.period / found.finest[-1] / factor)).argmin()]
    return float(np.sqrt(row[(found.age > 150) & (found.age < 350)].mean()))


CHECKS = (
    Check(
        "LegS, N = 3: A = −√((2n+1)(2k+1)) below, −(n+1) on, 0 above the diagonal",
        "HiPPO, eq. 3",
        [-1, 0, 0, -math.sqrt(3), -2, 0, -math.sqrt(5), -math.sqrt(15), -3],
        1e-14,
        legs_entries,
    ),
    Check(
        "LegS: A + PPᵀ + I/2 is skew, N = 128 (largest entry of S + Sᵀ)",
        "S4, appendix C.1",
        0,
        1e-12,
        lambda: float((s4.skew(128)[0] + s4.skew(128)[0].T).abs().max()),
    ),
    Check(
        "LegS: the greatest frequency of S, N = 4",
        "closed form",
        4.603293,
        5e-7,
        lambda: float(s4.dplr(4).Lambda.imag.max()),
    ),
    Check(
        "LegT, N = 2: the oldest point is the Padé approximant (6−2s)/(s²+4s+6) of e⁻ˢ, at s = 1, 2",
        "LMU; Padé",
        [4 / 11, 2 / 18],
        1e-14,
        legt_series,
    ),
    Check("LegS by blocks is the best polynomial at every time", "kexue.fm 10137", 0, 1e-12, legs_projection),
    Check("LegS by blocks equals e^(A ln((k+1)/k)) sample by sample", "kexue.fm 10137", 0, 1e-12, legs_dense),
    Check("the O(N) step equals the dense bilinear step, N = 256", "kexue.fm 10137", 0, 1e-13, structured),
    Check(
        "FouT with 1/w: mean square error for |n| ≤ 8, 32, 128",
        "kexue.fm 10114, measured",
        [0.177, 0.166, 0.167],
        6e-4,
        lambda: fourier_errors("fout_blog"),
    ),
    Check(
        "FouT with 2/w: mean square error for |n| ≤ 8, 32, 128",
        "How to Train Your HiPPO, measured",
        [0.0433, 0.00221, 0.000135],
        5e-5,
        lambda: fourier_errors("fout"),
    ),
    Check("FouD is FouT with 1/w at half the speed, N = 33", "both definitions", 0, 0, foud),
    Check(
        "log₁₀ of the condition of LegS's eigenvectors, N = 24",
        "Hilbert matrix",
        17.0,
        0.05,
        lambda: math.log10(condition(transition("legs", 24)[0])),
    ),
    Check("log₁₀ of forward Euler's largest state, N = 64", "measured", 44, 0.5, forward_peak),
    Check("S4: DPLR kernel equals the recurrence, N = 64, L = 1,024", "S4, algorithm 1", 0, 1e-12, s4_gap),
    Check("S4: the generating function at z = −1 is (Δ/2) C B", "limit", 0, 1e-12, minus_one),
    Check("RTF: one FFT and state-free output equal the companion recurrence, N = 64", "RTF", 0, 1e-12, rtf_gap),
    Check(
        "bilinear at step 0.1 keeps e₀ of LegS: (1 − 0.05)/(1 + 0.05)",
        "closed form",
        0.95 / 1.05,
        1e-14,
        lambda: float(discretize(*transition("legs", 8), 0.1)[0][0, 0]),
    ),
    Check(
        "a polynomial from roots ±i/2: a = (0, ¼)",
        "closed form",
        [0, 0.25],
        1e-15,
        lambda: rtf.polynomial(torch.tensor([0.5j, -0.5j])).tolist(),
    ),
    Check("LegS: samples held 3 and 7 times as long leave the same state", "HiPPO, proposition 3", 0, 1e-12, stretched),
    Check("LegS: what is left of an impulse is e^(A ln t) B", "matrix exponential", 0, 1e-12, lambda: impulse("legs")),
    Check("LegT: what is left of an impulse is e^(At) B", "matrix exponential", 0, 1e-12, lambda: impulse("legt")),
    Check(
        "LegS: t times what is left of an impulse, at t = 10⁶",
        "closed form: |Pₙ(−1)| = 1",
        1,
        1e-3,
        lambda: float(1e6 * left_of_impulse("legs", 32, torch.tensor([1e6 - 1], dtype=torch.float64))[0]),
    ),
    Check(
        "LegS, N = 64: a sine of 1.4 and of 0.7 times π T/N, recalled at half the age: RMS error",
        "π numbers a wave",
        [0, 1],
        0.1,
        lambda: [finest(1.4), finest(0.7)],
    ),
    Check(
        "selective copying, L = 6, M = 2: errors against all 60 sequences, run step by step",
        "enumeration",
        [0, 0],
        1e-12,
        copying_by_enumeration,
    ),
    Check(
        "copying at a fixed step with more numbers than places: the error of the whole input's best readout",
        "1 − Σ p² L/M",
        fixed_bound(8, 3).tolist(),
        1e-6,
        lambda: readout("lin", 20, 8, 3, 1.0)[1].tolist(),
    ),
    Check(
        "S4D with B/2: Laplace transform of its first functions less LegS's, N = 256",
        "S4D, theorem 3",
        0,
        1e-4,
        lambda: weak_limit(256),
    ),
    Check(
        "S4D with B/2: RMS difference from S4's kernel, N = 32 and 128: it does not fall",
        "measured at 4,000 times, N to 1,024",
        [0.65, 0.65],
        0.02,
        lambda: [diagonal_gaps(n, 3.0, 0.7)[0] for n in (32, 128)],
    ),
)
