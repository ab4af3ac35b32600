"""Figures as JSON: arrays typed and in base64, as plotly reads them, no wider than they must be."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_json(value: Any) -> str:
    """Dicts and lists that hold arrays, numbers and texts, as JSON; what is not finite outside of arrays becomes null."""
    return json.dumps(_packed(value), allow_nan=False, separators=(",", ":"))


def as_array(values: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _packed(value: Any) -> Any:
    value = as_array(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size:
        return _typed(value)
    if isinstance(value, np.ndarray):
        return _packed(value.tolist())
    if isinstance(value, Mapping):
        return {key: _packed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _typed(array: np.ndarray) -> dict[str, Any]:
    """plotly's own form of an array; in single precision unless neighbours would fall together."""
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        span = float(np.ptp(finite)) if finite.size else 0.0
        largest = float(np.abs(finite).max(initial=0.0))
        is_enough = largest < 3e38 and (span == 0 or largest * 6e-8 < 1e-4 * span)
        array = array.astype(np.float32 if is_enough else np.float64)
    else:
        kinds = (np.int8, np.int16, np.int32)
        low, high = int(array.min()), int(array.max())
        kind = next((k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max), np.float64)
        array = array.astype(kind)
    made = {"dtype": f"{array.dtype.kind}{array.dtype.itemsize}", "bdata": base64.b64encode(array.tobytes()).decode()}
    return made if array.ndim == 1 else made | {"shape": ", ".join(map(str, array.shape))}
