"""What the functions of this package take: numbers as float64, distributions, kernels and token numbers, or a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Refusal

SEED = Between(0, 9999)  # of the experiments, which a page shows
ANY_SEED = Between(0, 2**63 - 1)
POSITIVE = Between(1e-300, 1e300)


def floats(name: str, values: Any, axes: int | None = None, finite: bool = True) -> np.ndarray:
    """Numbers of any kind and precision (numpy, torch, lists) as float64, with so many axes."""
    try:
        if isinstance(values, Tensor):  # numpy has no bfloat16
            values = values.detach().cpu().double().numpy()
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise Refusal("{parameter} must be an array of numbers.", parameter=name) from None
    if axes is not None and found.ndim != axes:
        raise Refusal(
            "{parameter} must be an array with {axes} axes; this has {given}.",
            parameter=name,
            axes=axes,
            given=found.ndim,
        )
    if not np.isfinite(found).all() if finite else np.isnan(found).any():
        raise Refusal("{parameter} must hold finite numbers only.", parameter=name)
    return found


def law(name: str, values: Any, size: int | None = None) -> np.ndarray:
    """Probabilities as float64, made to sum to 1 (any positive multiple of a distribution is the same distribution)."""
    found = floats(name, values)
    if found.ndim == 0 or (size is not None and found.size != size):
        raise Refusal("{parameter} must give a probability for each state.", parameter=name)
    if found.size == 0 or found.min() < 0 or found.max() <= 0:
        raise Refusal("{parameter} must hold probabilities: none negative, and not all 0.", parameter=name)
    found = found / found.max()
    return found / found.sum()


def kernel(name: str, values: Any) -> np.ndarray:
    """A row-stochastic matrix [states, states], float64."""
    found = floats(name, values, 2)
    if found.shape[0] != found.shape[1] or not found.size:
        raise Refusal("{parameter} must be a square matrix.", parameter=name)
    if found.min() < -1e-12 or np.abs(found.sum(1) - 1).max() > 1e-9:
        raise Refusal(
            "{parameter} must be a matrix of probabilities of which each row sums to 1.",
            parameter=name,
        )
    return found.clip(min=0)


def whole_tensor(name: str, values: Any, low: int, high: int, axes: int) -> Tensor:
    """Whole numbers from low to high as an int64 tensor with so many axes, where it is."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(())
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool or found.ndim != axes:
        raise Refusal("{parameter} must be whole numbers in an array with {axes} axes.", parameter=name, axes=axes)
    found = found.long()
    if found.numel() and not low <= int(found.min()) <= int(found.max()) <= high:
        raise Refusal("{parameter} must lie between {low} and {high}.", parameter=name, low=low, high=high)
    return found


def whole_list(name: str, values: Any, low: int, high: int) -> list[int]:
    """Whole numbers from low to high as a list, which may be empty."""
    if isinstance(values, list | tuple) and not values:
        return []
    return whole_tensor(name, values, low, high, 1).tolist()
