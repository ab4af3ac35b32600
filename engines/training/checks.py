"""What the training engine must reproduce: closed forms, Amos's published recursion, the two storages of one network."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from engines.checks import Check
from engines.training.averaging import exact_loss
from engines.training.dropout import fisher
from engines.training.formulas import (
    METHODS,
    dropout_moments,
    ema_variance_factor,
    power_ema_gamma,
    su_recursion,
    su_schedule,
)
from engines.training.inside import inside
from engines.training.ladder import stack_bytes
from engines.training.optimisers import optimise
from engines.training.penalties import gradient_penalty_sides
from engines.training.rules import amos

X = torch.tensor([[[1.0, 2], [2, -1], [-1, 0.5], [3, 1]]])
Y = torch.tensor([[1, 0, 1, 0]])


def amos_steps() -> list[float]:
    """Where ten steps of Amos lead on Σ(x - (1, -1, 1))², and b."""
    x, goal = (torch.tensor(values, dtype=torch.float64) for values in ([-1.0, 10, 1], [1.0, -1, 1]))
    slots: dict[str, torch.Tensor] = {}
    for step in range(1, 11):
        x = amos(x, 2 * (x - goal), slots, step, 1.0, 1.0)
    return [*x.tolist(), slots["b"].item()]


def two_storages() -> float:
    """Greatest difference of a batch's loss under Su's rule when every kernel is stored times 8."""
    *_, last = optimise(rules=("su",), scale_exponent=3, steps=100, seeds=1)
    return last.result.difference[0]


def fisher_twice() -> list[float]:
    """Fisher of a logistic regression at 0: of single examples, then of pairs."""
    zero = [torch.zeros(1, 2, 2), torch.zeros(1, 2)]
    return [value for batch in (1, 2) for value in fisher(zero, X, Y, batch)[0][0, :, 0].tolist()]


def network_sides(*widths: int) -> tuple[float, float]:
    """Both sides for a network whose weights are sines."""
    shapes = list(itertools.pairwise(widths))
    weights = [
        np.sin(
            1.7 * np.outer(np.arange(1, out + 1), np.arange(1, inn + 1)) + 0.3 * np.arange(1, out + 1)[:, None] + 7 * t
        )
        / inn**0.5
        for t, (inn, out) in enumerate(shapes)
    ]
    biases = [0.1 * np.cos(np.arange(out) + t) for t, (_, out) in enumerate(shapes)]
    x, readout = np.array([1, -0.5, 0.25, 2])[: widths[0]], np.array([0.5, 1, 1.5])[: widths[-1]]
    return gradient_penalty_sides(weights, biases, "tanh", x, readout)


def moving_average() -> float:
    """EMA of 1 to 50 with decay 0.9, from 0."""
    y = torch.zeros((), dtype=torch.float64)
    for value in range(1, 51):
        y.lerp_(torch.tensor(float(value), dtype=torch.float64), 0.1)
    return y.item()


def long_run() -> float:
    """Variance of an EMA over that of x after 20,000 steps of the recursion."""
    steps = 20_000
    ema, raw = (exact_loss([decay] * steps, [0.1] * steps)[-1] for decay in (0.997, 0.0))
    return ema / raw


def softmax_again() -> tuple[float, float]:
    """Least and greatest row sum of the first layer's softmax, and nothing lost in recomputing any tensor."""
    found = inside()
    return found.row_sums[0], found.row_sums[1] + found.difference.max()


CHECKS = (
    Check(
        "αₜ/α₀ after 1,000 steps of the difference equation, α₀ p = 0.005",
        "kexue.fm/archives/9344; the closed form has 1/11",
        0.090809941741,
        1e-11,
        lambda: su_recursion(1e-3, 5, 1000)[-1],
    ),
    Check(
        "first ρ at α_0 = 0.001, q = 1; the steady schedule halves where α_0 p t = √2 - 1",
        "kexue.fm/archives/9344",
        (5e-7, 0.5),
        1e-15,
        lambda: (su_schedule(1e-3, 0.5, 1, 10)[1][0], su_schedule((2**0.5 - 1) / 1000, 1, 1, 1000, "steady")[0][-1]),
    ),
    Check(
        "Amos, ten steps on a quadratic with scalar slots: x and b",
        "google-research/jestimator, amos.py",
        (0.79944844, -0.49152874, 0.86787504, 3.736525290),
        1e-7,
        amos_steps,
    ),
    Check("loss under Su's rule, kernels stored times 8: greatest difference", "invariance to storage", 0, 0, two_storages),
    Check(
        "variance of SGD's update, mean 1, variance 4, p = 0.3",
        "(μ² + σ²)/p - μ²",
        15.6666667,
        1e-7,
        lambda: dropout_moments(1, 2, 0.3, "sgd")[1],
    ),
    Check(
        "variance of Adam's update, μ = σ = 1, p = 1 and 0.3: it rises",
        "(1-β₁)/(1+β₁)·(1 - pμ²/(μ²+σ²))",
        (0.5 / 19, 0.85 / 19),
        1e-12,
        lambda: [dropout_moments(1, 1, p)[1] for p in (1, 0.3)],
    ),
    Check(
        "Fisher information of four examples: each alone, in pairs",
        "ChildTuning's code squares gradients of batches",
        (0.9375, 0.390625, 0.53125, 0.2890625),
        1e-7,
        fisher_twice,
    ),
    Check(
        "inequality of gradients, widths 4, 8, 8, 3: left, right",
        "arXiv 2111.15090; kexue.fm/archives/8796",
        (1.9660228963, 10.2586679015),
        1e-9,
        lambda: network_sides(4, 8, 8, 3),
        relative=True,
    ),
    Check(
        "left over right where every layer is one wide",
        "all bounds are equalities",
        1,
        1e-12,
        lambda: np.divide(*network_sides(1, 1, 1, 1)),
    ),
    Check("EMA with decay 0.9, from 0, of 1 to 50", "direct sum", 41.046383976866, 1e-10, moving_average),
    Check(
        "variance of an EMA over that of x, decay 0.997, rate 0.1",
        "(1-β)(1+βφ) / ((1+β)(1-βφ)), φ = 0.9",
        ema_variance_factor(0.997, 0.1),
        1e-10,
        long_run,
    ),
    Check(
        "γ of the power average, σ_rel = 0.05 and 0.1",
        "arXiv 2312.02696, appendix C",
        (16.97219860, 6.93720394),
        1e-8,
        lambda: [power_ema_gamma(sigma) for sigma in (0.05, 0.1)],
        relative=True,
    ),
    Check(
        "bytes kept by six layers of 256, batch 128: full, LoRA 4, BitFit, head, ladder 4",
        "counted by hand",
        (917_504, 929_792, 786_432, 131_072, 931_840),
        0,
        lambda: [stack_bytes(method) for method in METHODS],
    ),
    Check(
        "rows of the first layer's softmax sum to 1; every tensor recomputed is the same",
        "one forward pass of bert-storybook",
        (1, 1),
        1e-5,
        softmax_again,
    ),
)  # fmt: skip
