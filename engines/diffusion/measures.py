"""Distances between sets of samples, and slopes of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, whole


def check_samples(name: str, samples: Tensor, ndim: int = 2, least: int = 1) -> None:
    """Refusal unless samples are a tensor of floating-point numbers of that many axes, the first at least `least` long."""
    good = isinstance(samples, Tensor) and samples.is_floating_point() and samples.ndim == ndim
    if not good or len(samples) < least:
        raise Refusal(
            "{parameter} must be a tensor of floating-point numbers with {ndim} axes and at least {least} rows.",
            parameter=name,
            ndim=ndim,
            least=least,
        )


def sliced_wasserstein(a: Tensor, b: Tensor, projections: int = 64) -> float:
    """Mean over directions of the W1 distance of the projections of two equally large sets [n, d].

    In the plane the directions are evenly spaced; otherwise drawn with seed 0. Bonneel et al. 2015, Section 3.
    """
    projections = whole("projections", projections, 1, 100_000)
    check_samples("a", a)
    check_samples("b", b)
    if a.shape != b.shape or a.dtype != b.dtype:
        raise Refusal("{parameter} must have the shape and the precision of a.", parameter="b")
    if a.shape[1] == 2:
        angles = math.pi * (torch.arange(projections, dtype=a.dtype, device=a.device) + 0.5) / projections
        directions = torch.stack([angles.cos(), angles.sin()])
    else:
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(a.shape[1], projections, generator=generator, dtype=a.dtype).to(a.device)
        directions = directions / directions.norm(dim=0)
    # numpy's sort is several times as fast as torch's on a CPU
    a, b = (np.sort((directions.T @ c.T).cpu().numpy()) for c in (a, b))
    return float(np.abs(a - b).mean())


def energy_distance(a: Tensor, b: Tensor) -> float:
    """E|a − b| − E|a − a'|/2 − E|b − b'|/2 of two sets [n, d], without the pairs of a sample with itself.

    Half of Székely & Rizzo's ε (2013, J. Stat. Plan. Inference, Eq. 2.1); unbiased, so it may be a little below 0.
    """
    check_samples("a", a, least=2)
    check_samples("b", b, least=2)
    if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
        raise Refusal("{parameter} must have the columns and the precision of a.", parameter="b")

    def within(c: Tensor) -> Tensor:
        return torch.cdist(c, c).sum() / (len(c) * (len(c) - 1))

    return float(torch.cdist(a, b).mean() - (within(a) + within(b)) / 2)


def fitted_order(evaluations: Sequence[float], errors: Sequence[float]) -> float:
    """The slope −d log(error) / d log(NFE) by least squares; NaN with fewer than two usable points."""
    try:
        evaluations, errors = np.asarray(evaluations, float), np.asarray(errors, float)
    except (TypeError, ValueError):
        raise Refusal("{parameter} must be numbers, as many as the other.", parameter="evaluations") from None
    if evaluations.ndim != 1 or evaluations.shape != errors.shape or not (evaluations > 0).all():
        raise Refusal("{parameter} must be as many numbers over 0 as there are errors.", parameter="evaluations")
    usable = np.isfinite(errors) & (errors > 0)
    if usable.sum() < 2:
        return math.nan
    return float(-np.polyfit(np.log(evaluations[usable]), np.log(errors[usable]), 1)[0])


def straightness(states: Tensor) -> float:
    """∫ E|(x_1 − x_0) − dx/dt|² dt of paths [steps + 1, n, d] at even times: 0 where every path is a straight line.

    Liu et al. 2022, arXiv 2209.03003, Eq. 5.
    """
    check_samples("states", states, 3, 2)
    steps = len(states) - 1
    moves = (states[1:] - states[:-1]) * steps
    return float((moves - (states[-1] - states[0])).square().sum(-1).mean())
