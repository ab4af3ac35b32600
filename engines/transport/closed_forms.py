"""Closed forms that everything else in this folder is held against."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engines.arguments import Refusal, number, whole
from engines.transport.matching import cloud


def uniform_batch_distance(n: int) -> float:
    """E W1 of two independent batches of n from the uniform law on [0, 1]: 4^n / (2 (2n + 1) C(2n, n)).

    On the line W1 = ∫ |F − G|; at one place F − G is the difference of two binomials. About 0.443/√n for large n.
    """
    k = np.arange(1, whole("n", n, 1, 10**6) + 1)
    return float(np.prod(2 * k / (2 * k + 1)) / 2)


class GaussianDistance(NamedTuple):
    """Of N(0, I) in some dimension: E|x| (every point replaced by the mean), and E|x − x'| (batches of one)."""

    to_mean: float
    to_each_other: float


def gaussian_batch_distance(dim: int) -> GaussianDistance:
    """E|x| = √2 Γ((d + 1)/2) / Γ(d/2), and E|x − x'| = √2 E|x|: W1 of a batch to copies of the mean, and of batches of one."""
    dim = whole("dim", dim, 1, 10**6)
    norm = math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))
    return GaussianDistance(norm, math.sqrt(2) * norm)


def covariance_root(name: str, matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance; Refusal where it is none."""
    if matrix.shape[0] != matrix.shape[1] or np.abs(matrix - matrix.T).max() > 1e-9 * (1 + np.abs(matrix).max()):
        raise Refusal("{parameter} must be a symmetric matrix.", parameter=name)
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-9 * max(values[-1], 1e-300):
        raise Refusal("{parameter} must be a covariance: no eigenvalue below 0.", parameter=name)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def bures(mean0: Any, cov0: Any, mean1: Any, cov1: Any) -> float:
    """W2² of two Gaussians: |m0 − m1|² + tr(A + B − 2 (A^½ B A^½)^½); means [d], covariances [d, d].

    By Gelbrich (1990) never more than W2² of any two laws with these means and covariances.
    """
    named = {"mean0": mean0, "mean1": mean1, "cov0": cov0, "cov1": cov1}
    parts = {
        name: cloud(name, np.atleast_1d(value) if isinstance(value, int | float) else value)
        for name, value in named.items()
    }
    dim = len(parts["mean0"])
    for name, part in parts.items():
        wanted = (dim, 1) if name.startswith("mean") else (dim, dim)
        if part.shape != wanted:
            raise Refusal("{parameter} must be of {dim} dimensions, as mean0 is.", parameter=name, dim=dim)
    root = covariance_root("cov0", parts["cov0"])
    covariance_root("cov1", parts["cov1"])
    middle = np.linalg.eigvalsh(root @ parts["cov1"] @ root)
    spread = np.trace(parts["cov0"]) + np.trace(parts["cov1"]) - 2 * np.sqrt(np.clip(middle, 0, None)).sum()
    return float(np.square(parts["mean0"] - parts["mean1"]).sum() + max(spread, 0.0))


class Relaxation(NamedTuple):
    """A Gaussian on its way to N(0, 1): mean and variance, KL to N(0, 1) in nats, and relative Fisher information."""

    mean: float
    variance: float
    kl: float
    fisher: float


def ornstein_uhlenbeck(mean: float, variance: float, time: float) -> Relaxation:
    """N(mean, variance) after `time` of the Wasserstein gradient flow of KL to N(0, 1), ∂p = (x p)' + p''.

    The mean decays by e^{−t}, the variance goes to 1 by e^{−2t}; Fisher information E|∇ log p/π|² is −dKL/dt.
    """
    mean, variance = number("mean", mean, -1e6, 1e6), number("variance", variance, 1e-12, 1e12)
    time = number("time", time, 0, 1e6)
    mean, variance = mean * math.exp(-time), 1 + (variance - 1) * math.exp(-2 * time)
    kl = (variance + mean**2 - 1 - math.log(variance)) / 2
    return Relaxation(mean, variance, kl, mean**2 + (variance - 1) ** 2 / variance)


class MeanAndStd(NamedTuple):
    """Of a Gaussian on the line."""

    mean: float
    std: float


def jko_gaussian(mean: float, std: float, tau: float, steps: int) -> MeanAndStd:
    """N(mean, std²) after steps of Jordan, Kinderlehrer and Otto's scheme for KL to N(0, 1), exact.

    Each minimises KL(p) + W2²(p, former)/(2τ): m' = m/(1 + τ), s' = (s + √(s² + 4τ(1 + τ))) / (2(1 + τ)); 1 stays 1,
    however long the step. (1998, doi 10.1137/S0036141096303359)
    """
    mean, std = number("mean", mean, -1e6, 1e6), number("std", std, 0, 1e6)
    tau = number("tau", tau, 1e-9, 1e6)
    for _ in range(whole("steps", steps, 0, 1_000_000)):
        mean, std = mean / (1 + tau), (std + math.sqrt(std**2 + 4 * tau * (1 + tau))) / (2 * (1 + tau))
    return MeanAndStd(mean, std)


def svgd_pair(bandwidth: float) -> float:
    """Where two particles of SVGD for N(0, 1) come to rest: at ±a, a = h √(log(1 + 2/h²)/2), kernel exp(−r²/2h²).

    The drift k(0)(−a) + k(2a) a and the repulsion 2a k(2a)/h² cancel there. Two true draws have variance 1, these a².
    """
    h = number("bandwidth", bandwidth, 1e-6, 1e6)
    return h * math.sqrt(math.log1p(2 / h**2) / 2)


class TwoPointCritic(NamedTuple):
    """The best critic of two points: its slope from one to the other, D(x1) − D(x0), and the objective reached."""

    slope: float
    difference: float
    objective: float


def two_point_critic(distance: float, penalty: float, centre: float) -> TwoPointCritic:
    """The critic that maximises D(x1) − D(x0) − penalty (|slope| − centre)² for two points at a distance.

    Slope centre + distance/(2 penalty). Centre 1 is WGAN-GP (Gulrajani et al. 2017); centre 0 with penalty ½ is what ReFlow's
    static critic becomes (kexue.fm 9668), its slope is the distance itself, its difference W2² and not W1.
    """
    distance, penalty = number("distance", distance, 0, 1e6), number("penalty", penalty, 1e-9, 1e9)
    centre = number("centre", centre, 0, 1e6)
    slope = centre + distance / (2 * penalty)
    return TwoPointCritic(slope, distance * slope, distance * slope - penalty * (slope - centre) ** 2)
