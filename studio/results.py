"""From settings to a result: computed, or remembered. A result is known by the engine function and its arguments."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from engines.progress import Progress
from studio import gpu
from studio.exhibit import Exhibit, View


class Cache:
    """The latest results, at most `limit` bytes of arrays together; of live views a sixteenth of that, for they are soon
    computed again, and come by the thousand. Safe between threads."""

    def __init__(self, limit: int):
        self._lock = threading.Lock()
        self._limits, self._held = {False: limit, True: limit // 16}, {False: 0, True: 0}
        self._entries: dict[bool, OrderedDict[str, tuple[int, Any]]] = {False: OrderedDict(), True: OrderedDict()}

    def get(self, key: str) -> Any:
        """The result of that key, or None."""
        with self._lock:
            for entries in self._entries.values():
                if key in entries:
                    entries.move_to_end(key)
                    return entries[key][1]
        return None

    def put(self, key: str, result: Any, is_live: bool = False) -> None:
        """Remember a result, and forget the oldest where it becomes too much."""
        size = 1024 + sum(200 + array.nbytes for array in arrays(result).values())
        with self._lock:
            entries = self._entries[is_live]
            self._held[is_live] += size - entries.pop(key, (0, None))[0]
            entries[key] = (size, result)
            while self._held[is_live] > self._limits[is_live]:
                self._held[is_live] -= entries.popitem(last=False)[1][0]


RESULTS = Cache(256 << 20)


def arrays(result: Any, name: str = "") -> dict[str, np.ndarray]:
    """A result's fields as arrays by dotted name, for the .npz, the API and the tests."""
    if dataclasses.is_dataclass(result):
        parts = ((field.name, getattr(result, field.name)) for field in dataclasses.fields(result))
    elif isinstance(result, Mapping):
        parts = ((str(key), value) for key, value in result.items())
    elif isinstance(result, (list, tuple)) and any(
        isinstance(item, (np.ndarray, torch.Tensor, Mapping, list, tuple)) or dataclasses.is_dataclass(item)
        for item in result
    ):
        parts = ((str(i), item) for i, item in enumerate(result))
    else:
        array = result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)  # pyright: ignore[reportAttributeAccessIssue]
        # A field that is None, or any object that is no number and no text, has no place in a file without pickle.
        return {} if array.dtype == object else {name or "result": array}
    found: dict[str, np.ndarray] = {}
    for key, value in parts:
        found |= arrays(value, f"{name}.{key}" if name else key)
    return found


def scalars(view: View, result: Any) -> dict[str, float | dict[str, float]]:
    """The numbers of a result that a sweep follows, by label; where there are several of a label, by name."""
    found = {
        label: attrgetter(wanted)(result) if isinstance(wanted, str) else wanted(result)
        for label, wanted in view.scalars.items()
    }
    return {
        label: {name: float(one) for name, one in number.items()} if isinstance(number, dict) else float(number)
        for label, number in found.items()
    }


def key(view: View, settings: Mapping[str, Any]) -> str:
    """The name of a result: the same for the same engine function and arguments, whichever view asks."""
    called = f"{view.compute.__module__}.{view.compute.__qualname__}"
    arguments = {name: settings[name] for name in sorted(view.controls)}
    return hashlib.sha256(json.dumps([called, arguments], default=str).encode()).hexdigest()[:32]


def known(view: View, settings: Mapping[str, Any]) -> bool:
    """Whether the result is remembered."""
    return RESULTS.get(key(view, settings)) is not None


def run(exhibit: Exhibit, view: View, settings: Mapping[str, Any]) -> Iterator[Progress]:
    """Progress of the engine, or the remembered result at once."""
    name = key(view, settings)
    result = RESULTS.get(name)
    if result is not None:
        yield Progress(1, 1, result)
        return
    for progress in gpu.compute(exhibit.slug, view, {name: settings[name] for name in view.controls}):
        result = progress.result
        yield progress
    RESULTS.put(name, result, view.live)


def npz(name: str) -> str | None:
    """The remembered result of that key as a compressed .npz in base64, or None."""
    result = RESULTS.get(str(name))
    if result is None:
        return None
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays(result))
    return base64.b64encode(file.getvalue()).decode()


def as_json(result: Any) -> dict[str, Any]:
    """A result's arrays as nested lists by dotted name; what is not finite becomes None."""
    return {name: _listed(array) for name, array in arrays(result).items()}


def _listed(array: np.ndarray) -> Any:
    if array.dtype.kind == "c":
        return {"real": _listed(array.real), "imag": _listed(array.imag)}  # pyright: ignore[reportAttributeAccessIssue]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        held = array.astype(object)
        held[~np.isfinite(array)] = None
        return held.tolist()
    return array.tolist()
