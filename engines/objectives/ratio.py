"""Ratios of two densities: of a test set q = N(mean, std^2) and a training set p = N(0, 1), where everything is known exactly.

A classifier that tells test examples from training ones, D, gives the ratio as D / (1 - D): adversarial validation (Su, kexue.fm 7805).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engines.arguments import Refusal, number, one_of

WEIGHTS = ("ratio", "d", "none")


def exact_log_ratio(x: Any, mean: float, std: float) -> np.ndarray:
    """log q(x) / p(x), of x's shape."""
    mean, std = _shift(mean, std)
    x = np.asarray(x, dtype=float)
    return x**2 / 2 - ((x - mean) / std) ** 2 / 2 - math.log(std)


def density_ratio_gaussian(mean: float, std: float) -> tuple[float, float]:
    """(AUC of the exact ratio, effective share) of N(0, 1) against N(mean, std^2).

    The AUC is the probability that a test example has the larger ratio, ties counting half. The effective share is
    1 / E_p[(q / p)^2], the limit of (sum w)^2 / (n sum w^2); 0 from std = sqrt 2 on, where that mean is infinite.
    """
    mean, std = _shift(mean, std)
    room = 1 - std**2 / 2
    share = 0.0
    if room > 1e-12:
        share = std * math.sqrt(2 - std**2) * math.exp(-(mean**2) / (2 - std**2))
    if std == 1:
        return _normal(mean / math.sqrt(2)), share
    from scipy.integrate import quad

    centre = -mean / (std**2 - 1)  # the ratio depends on |x - centre| alone

    def nearer(x: float) -> float:
        """q's density at x times the share of p that is nearer to the centre."""
        reach = abs(x - centre)
        inside = _normal(centre + reach) - _normal(centre - reach)
        return inside * math.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))

    ends = mean - 12 * std, mean + 12 * std
    kinks = [centre] if ends[0] < centre < ends[1] else None
    auc = quad(nearer, *ends, epsabs=1e-13, epsrel=1e-13, limit=400, points=kinks)[0]
    return (auc if std > 1 else 1 - auc), share


def weighted_mean(mean: float, std: float, weight: str = "ratio", power: int = 1) -> float:
    """E_p[w x^power] / E_p[w] over the training density: w = q / p (ratio), D = q / (p + q) (d), or 1 (none).

    Under the ratio it is the mean over the test density. By quadrature.
    """
    from scipy.integrate import quad

    mean, std = _shift(mean, std)
    weight = one_of("weight", weight, WEIGHTS)
    power = int(number("power", power, 0, 8))

    def density(x: float) -> float:
        p = math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        q = math.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
        return {"ratio": q, "d": p * q / (p + q) if p and q else 0.0, "none": p}[weight]

    ends = min(-12.0, mean - 12 * std), max(12.0, mean + 12 * std)
    inner = sorted({0.0, mean})
    top = quad(lambda x: x**power * density(x), *ends, epsabs=1e-13, limit=400, points=inner)[0]
    return top / quad(density, *ends, epsabs=1e-13, limit=400, points=inner)[0]


def classify(train: np.ndarray, test: np.ndarray, ridge: float = 1e-4) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression of test [m, d] against training examples [n, d]: a function from examples [k, d] to log D / (1 - D) [k].

    D is as if both sets were equally large. Coordinates are standardised; ridge / 2 times their squared weights is added to the
    mean loss. Newton's method, to 1e-10.
    """
    both = np.vstack([train, test])
    centre, width = both.mean(0), both.std(0)
    width = np.where(width > 1e-12, width, 1)

    def seen(examples: np.ndarray) -> np.ndarray:
        return np.hstack([(examples - centre) / width, np.ones((len(examples), 1))])

    x, is_test = seen(both), np.repeat([0.0, 1.0], [len(train), len(test)])
    share = np.repeat([0.5 / len(train), 0.5 / len(test)], [len(train), len(test)])
    penalty = np.append(np.full(x.shape[1] - 1, ridge), 1e-9)
    weights = np.zeros(x.shape[1])

    def objective(w: np.ndarray) -> float:
        margin = x @ w
        return float(share @ (np.logaddexp(0, margin) - is_test * margin) + penalty @ w**2 / 2)

    for _ in range(100):
        d = 1 / (1 + np.exp(-np.clip(x @ weights, -500, 500)))
        slope = x.T @ (share * (d - is_test)) + penalty * weights
        step = np.linalg.solve((x * (share * d * (1 - d))[:, None]).T @ x + np.diag(penalty), -slope)
        size, before = 1.0, objective(weights)
        while size > 1e-6 and objective(weights + size * step) > before - 1e-4 * size * float(-slope @ step):
            size /= 2
        weights = weights + size * step
        if np.abs(step).max() < 1e-10 or size <= 1e-6:
            break
    return lambda examples: seen(np.asarray(examples, dtype=float)) @ weights


def _normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def _shift(mean: float, std: float) -> tuple[float, float]:
    mean, std = number("mean", mean, -10, 10), number("std", std, 0, 10)
    if std < 0.05:
        raise Refusal(
            "{parameter} must be at least {least}: a density of width 0 has no ratio.", parameter="std", least=0.05
        )
    return mean, std
