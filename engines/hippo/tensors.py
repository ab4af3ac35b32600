"""Tensors as arguments: their sizes stand in the signature, and whatever the precision, the arithmetic is in double.

`A: Annotated[Tensor, "N N"], B: Annotated[Tensor, "N"]`: a letter is a size that must be the same wherever it stands in one
call, `...` is any number of leading sizes. A third entry, `complex`, allows complex numbers.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, quoted


def sized(function: Callable) -> Callable:
    """The function with its annotated tensors held to their sizes, finite, and in double precision on the CPU.

    Its tensors come back in the widest precision that came in, on the device of the first. Arrays and lists of numbers count as
    tensors, whole numbers as double precision.
    """
    signature = inspect.signature(function)
    patterns: dict[str, tuple] = {}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not patterns:
            hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
            notes = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
            patterns.update({name: note for name, note in notes.items() if note and isinstance(note[0], str)})
        bound = signature.bind(*args, **kwargs)
        known: dict[str, tuple[int, str]] = {}
        kinds, device = [], None
        for name, (pattern, *kind) in patterns.items():
            if name in bound.arguments:
                value = as_numbers(name, bound.arguments[name])
                if value.is_complex() and complex not in kind:
                    raise Refusal("{parameter} must hold real numbers, not complex ones.", parameter=name)
                device = device or value.device
                kinds.append(value.real.dtype if value.is_floating_point() or value.is_complex() else torch.float64)
                value = value.to("cpu", torch.complex128 if value.is_complex() else torch.float64)
                if not bool(torch.isfinite(value).all()):
                    raise Refusal("{parameter} must hold finite numbers.", parameter=name)
                _fit(name, value, pattern, known)
                bound.arguments[name] = value
        kind = functools.reduce(torch.promote_types, kinds)
        return _narrow(function(*bound.args, **bound.kwargs), kind, device)

    return wrapper


def as_numbers(name: str, value: Any) -> Tensor:
    """A tensor of numbers, from one, an array, a list or a number."""
    try:
        tensor = torch.as_tensor(value)
        assert tensor.dtype != torch.bool
        return tensor
    except Exception:
        raise Refusal(
            "{parameter} must be an array of numbers, not {given}.", parameter=name, given=quoted(value)
        ) from None


def single(value: Tensor | np.ndarray, bound: float = math.inf) -> np.ndarray:
    """float32 for drawing; values that overflowed are held at the bound."""
    value = np.asarray(value, dtype=np.float64)
    if bound < math.inf:
        value = np.clip(np.nan_to_num(value, nan=bound, posinf=bound, neginf=-bound), -bound, bound)
    return value.astype(np.float32)


def least_squares(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [N, m] and squared residuals [m] of wanted [n, m] by states [n, N], whose columns are first scaled to length 1.

    Directions of the states below 1e-13 of the greatest are rounding, and left out.
    """
    lengths = torch.linalg.vector_norm(states, dim=0)
    lengths = torch.where(lengths == 0, 1.0, lengths)
    U, size, Vt = torch.linalg.svd(states / lengths, full_matrices=False)
    kept = size > 1e-13 * size[0]
    along = U[:, kept].T @ wanted
    weights = Vt[kept].T @ (along / size[kept, None]) / lengths[:, None]
    return weights, (wanted - U[:, kept] @ along).square().sum(0)


def _fit(name: str, value: Tensor, pattern: str, known: dict[str, tuple[int, str]]) -> None:
    """Hold a tensor to a pattern of sizes; `known` has those of the tensors before it."""
    letters = pattern.split()
    free = letters[:1] == ["..."]
    letters = letters[free:]
    if value.ndim < len(letters) or (value.ndim > len(letters) and not free):
        raise Refusal(
            "{parameter} must have the sizes [{pattern}]; this has {count} dimensions.",
            parameter=name,
            pattern=", ".join(pattern.split()),
            count=value.ndim,
        )
    for letter, size in zip(letters, value.shape[value.ndim - len(letters) :], strict=True):
        if size == 0:
            raise Refusal("{parameter} must not be empty.", parameter=name)
        expected, other = known.setdefault(letter, (size, name))
        if size != expected:
            raise Refusal(
                "{parameter} has {size} entries where {other} has {expected}; the sizes [{pattern}] must agree.",
                parameter=name,
                size=size,
                other=other,
                expected=expected,
                pattern=", ".join(pattern.split()),
            )


def _narrow(result: Any, kind: torch.dtype, device: Any) -> Any:
    """The tensors of a result in a real precision (complex ones in the complex type of it) and on a device."""
    if isinstance(result, tuple):
        return tuple(_narrow(item, kind, device) for item in result)
    if not isinstance(result, Tensor):
        return result
    if result.is_complex():
        kind = torch.complex128 if kind == torch.float64 else torch.complex64
    return result.to(device, kind)
