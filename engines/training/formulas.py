"""What a step does, in closed form: schedules, dropped gradients, averages, bytes kept for the backward pass."""

from __future__ import annotations

import math

import numpy as np

from engines.arguments import Refusal, number, one_of, whole

LAWS = ("steady", "slowing")
METHODS = ("full", "lora", "bitfit", "head", "ladder")


def su_schedule(alpha0: float, p: float, q: float, steps: int, law: str = "slowing") -> tuple[np.ndarray, np.ndarray]:
    """α_t/α_0 and ρ_t, float64 [steps + 1] each, from step 0 to `steps`.

    Su's strategy (kexue.fm/archives/9344): the learning rate shrinks with the square of the error, and the weight decay
    cancels the noise of the step alone, 2ρ_t θ·ε = α_t²|u|².

    alpha0: relative learning rate, |α_0 u|/|ε_0|; p: cos(u_t, ε_t) at the start; q: θ·ε = q|ε|²
    law: "steady", p stays: 1/(1 + α_0 p t)²; "slowing", p falls like |ε_t|: 1/(1 + 2α_0 p t). ρ_t = α_0²/(2q) times that.
    """
    alpha0, p, q, steps, law = _schedule(alpha0, p, q, steps, law)
    t = np.arange(steps + 1)
    ratio = (1 + alpha0 * p * t) ** -2.0 if law == "steady" else 1 / (1 + 2 * alpha0 * p * t)
    return ratio, alpha0**2 / (2 * q) * ratio


def su_recursion(alpha0: float, p: float, steps: int, law: str = "slowing") -> np.ndarray:
    """The same α_t/α_0 from the difference equation S ← S + α_0 p e^{-S} (steady) or e^{-2S} (slowing); e^{-2S} each step."""
    alpha0, p, _, steps, law = _schedule(alpha0, p, 1.0, steps, law)
    power = 1 if law == "steady" else 2
    rate, s, found = alpha0 * p, 0.0, np.empty(steps + 1)
    for t in range(steps + 1):
        found[t] = s
        s += rate * math.exp(-power * s)
    return np.exp(-2 * found)


def _schedule(alpha0: float, p: float, q: float, steps: int, law: str) -> tuple[float, float, float, int, str]:
    return (
        number("alpha0", alpha0, 1e-12, 1e3),
        number("p", p, 0, 1e3),
        number("q", q, 1e-6, 1e6),
        whole("steps", steps, 1, 10**7),
        one_of("law", law, LAWS),
    )


def dropout_moments(
    mean: float, std: float, p: float, optimiser: str = "adam", drop: str = "gradient", beta1: float = 0.9
) -> tuple[float, float]:
    """(mean, variance) of the stationary update u of one weight, for independent gradients and β₂ → 1.

    mean, std: of the gradient; p: probability that it is kept (and then divided by p)
    optimiser: "sgd", u = g; "adam", u = m/√v with first decay rate beta1
    drop: what is dropped, the "gradient" (ChildTuning-F) or the "update" u itself. For sgd they are one.
    Adam: gradient, mean √p μ/√(μ²+σ²) and variance (1-β₁)/(1+β₁)·(1 - pμ²/(μ²+σ²)).
    """
    mean, std, p = number("mean", mean, -1e6, 1e6), number("std", std, 0, 1e6), number("p", p, 1e-9, 1)
    beta1 = number("beta1", beta1, 0, 0.999999)
    one_of("optimiser", optimiser, ("sgd", "adam"))
    one_of("drop", drop, ("gradient", "update"))
    square = mean**2 + std**2
    if optimiser == "sgd":
        return mean, square / p - mean**2
    if square == 0:
        raise Refusal("{parameter} must not be 0 where the mean is 0: Adam then divides 0 by 0.", parameter="std")
    share, smooth = mean**2 / square, (1 - beta1) / (1 + beta1)
    kept = p if drop == "gradient" else 1.0
    first, variance = math.copysign(math.sqrt(kept * share), mean), smooth * (1 - kept * share)
    if drop == "update":
        variance = (variance + first**2) / p - first**2
    return first, variance


def ema_variance_factor(decay: float, rate: float) -> float:
    """Variance of an exponential moving average of x over the variance of x, both stationary.

    x ← (1 - rate) x + noise (gradient descent on a quadratic; rate: learning rate times curvature),
    y ← decay y + (1 - decay) x. With φ = 1 - rate: (1-β)(1+βφ) / ((1+β)(1-βφ)).
    """
    decay, rate = number("decay", decay, 0, 1), number("rate", rate, 1e-12, 1.999999)
    phi = 1 - rate
    return (1 - decay) * (1 + decay * phi) / ((1 + decay) * (1 - decay * phi))


def power_ema_gamma(sigma_rel: float) -> float:
    """γ of the power average with weights ∝ t^γ whose relative width is σ_rel (Karras et al. 2023, appendix C).

    σ_rel² = (γ+1) / ((γ+2)²(γ+3)), the decay at step t is (1 - 1/t)^{γ+1}. The plain mean, γ = 0, has 1/√12 = 0.289; no γ
    has more than 0.3003. Of two the larger γ is given.
    """
    sigma = number("sigma_rel", sigma_rel, 1e-4, 0.3)
    # (γ+2)²(γ+3) - (γ+1)/σ² = 0, the largest real root
    inverse = sigma**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    gamma = float(roots.real.max())
    for _ in range(3):  # polish: np.roots is good to about 1e-10
        value = (gamma + 2) ** 2 * (gamma + 3) - (gamma + 1) * inverse
        slope = 2 * (gamma + 2) * (gamma + 3) + (gamma + 2) ** 2 - inverse
        gamma -= value / slope if abs(slope) > 1e-9 else 0
    return gamma


def kept_bytes(method: str, layers: int, width: int, batch: int, reduced: int = 4) -> int:
    """Bytes that the backward pass of `layers` x (Linear, ReLU) and a head keeps, weights aside, in 4-byte floats.

    method: "full", "lora" (rank `reduced`), "bitfit" (biases alone), "head", "ladder" (a side network of width `reduced`)
    A linear layer keeps its input for the gradient of its weight; a ReLU keeps its output, which is the next input.
    """
    one_of("method", method, METHODS)
    layers, width = whole("layers", layers, 1, 1000), whole("width", width, 1, 10**6)
    batch, reduced = whole("batch", batch, 1, 10**6), whole("reduced", reduced, 1, 10**6)
    activations = {"full": layers + 1, "lora": layers + 1, "bitfit": layers, "head": 1, "ladder": layers + 1}[method]
    side = {"lora": layers, "ladder": layers + 1}.get(method, 0)
    return 4 * batch * (width * activations + reduced * side)
