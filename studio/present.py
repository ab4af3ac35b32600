"""From settings to what is seen: compute (or remember), draw, and pack it for the browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import json
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image

from engines.progress import Progress
from studio import gpu, link
from studio.exhibit import Control, Drawing, Exhibit, File, Pictures, Prose, Table, Upload, View
from studio.figure import with_ghost


class Cache:
    """The latest results, at most `limit` bytes of arrays together; safe between threads."""

    def __init__(self, limit: int):
        self._limit, self._held, self._lock = limit, 0, threading.Lock()
        self._entries: OrderedDict[str, tuple[int, Any]] = OrderedDict()

    def get(self, key: str) -> Any:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][1]

    def put(self, key: str, result: Any) -> None:
        size = 1024 + sum(array.nbytes for array in arrays(result).values())
        with self._lock:
            self._held += size - self._entries.pop(key, (0, None))[0]
            self._entries[key] = (size, result)
            while self._held > self._limit:
                self._held -= self._entries.popitem(last=False)[1][0]


RESULTS = Cache(256 << 20)
_RUNS = itertools.count(1)


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
        array = result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
        # A field that is None, or any object that is no number and no text, has no place in a file without pickle.
        return {} if array.dtype == object else {name or "result": array}
    found: dict[str, np.ndarray] = {}
    for key, value in parts:
        found |= arrays(value, f"{name}.{key}" if name else key)
    return found


def key(exhibit: Exhibit, view: View, settings: Mapping[str, Any]) -> str:
    """The name of a result: the same for the same view and settings."""
    said = json.dumps([exhibit.slug, view.slug, {name: settings[name] for name in view.controls}], default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def run(exhibit: Exhibit, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    """Progress of the engine, or the remembered result at once."""
    name = key(exhibit, view, settings)
    result = RESULTS.get(name)
    if result is not None:
        yield Progress(1, 1, result)
        return
    for progress in gpu.compute(exhibit.slug, view, settings):
        result = progress.result
        yield progress
    RESULTS.put(name, result)


def npz(name: str) -> dict[str, str]:
    """The remembered result of that key as a compressed .npz in base64, or a sentence that says why not."""
    result = RESULTS.get(str(name))
    if result is None:
        return {"error": "The data are no longer held here: draw the figure again, then download."}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays(result))
    return {"data": base64.b64encode(file.getvalue()).decode()}


def in_python(view: View, settings: Mapping[str, Any]) -> str:
    """Python that calls the engine alone and leaves `result`, the same arrays as the view's."""
    name = view.compute.__name__
    lines = [f"    {setting}={_spelled(control, settings[setting])}," for setting, control in view.controls.items()]
    call = "\n".join([f"{name}(", *lines, ")"]) if lines else f"{name}()"
    head = f"from {view.compute.__module__} import {name}\n\n"
    if view.streams:
        return f"{head}for progress in {call}:\n    print(progress.step, progress.total)\nresult = progress.result\n"
    return f"{head}result = {call}\n"


def _spelled(control: Control, value: Any) -> str:
    # The reader has the file under its own name, not where the server put it.
    return repr(Path(value).name if isinstance(control, Upload | Drawing) and value else value)


def panels(view: View, result: Any, pinned: Any = None) -> tuple[list[Any], str]:
    """The panels of a result (with the pinned one behind or beside them), and its prose in Markdown."""
    drawn = _drawn(view, result)
    shown = [panel for panel in drawn if not isinstance(panel, Prose)]
    prose = "\n\n".join(panel.text for panel in drawn if isinstance(panel, Prose))
    if pinned is not None:
        ghosts = _drawn(view, pinned)
        figures = (panel for panel in ghosts if isinstance(panel, go.Figure))
        overlaid = []
        for panel in shown:
            ghost = next(figures, None) if isinstance(panel, go.Figure) else None
            overlaid += [panel] if ghost is None else with_ghost(panel, ghost)
        beside = (panel for panel in ghosts if isinstance(panel, (Table, Pictures)))
        shown = overlaid + [dataclasses.replace(panel, title=f"Pinned: {panel.title}".rstrip(": ")) for panel in beside]
    return shown, prose


def _drawn(view: View, result: Any) -> list[Any]:
    drawn = view.draw(result)
    return list(drawn) if isinstance(drawn, (list, tuple)) else [drawn]


def _packed(panel: Any) -> str:
    if isinstance(panel, go.Figure):
        return f'{{"kind":"plot","figure":{panel.to_json(validate=False)}}}'
    if isinstance(panel, Table):
        rows = [[_cell(cell) for cell in row] for row in panel.rows]
        return json.dumps({"kind": "table", "title": panel.title, "columns": list(panel.columns), "rows": rows})
    if isinstance(panel, File):
        data = base64.b64encode(np.asarray(panel.data, np.uint8).tobytes()).decode()
        return json.dumps({"kind": "file", "name": panel.name, "text": panel.text, "data": data})
    pictures = np.asarray(panel.images)
    return json.dumps(
        {
            "kind": "pictures",
            "title": panel.title,
            "captions": list(panel.captions),
            "width": int(pictures.shape[2]) * panel.scale,
            "images": [_png(picture) for picture in pictures],
        }
    )


def _cell(cell: Any) -> Any:
    if isinstance(cell, (bool, np.bool_)):
        return "yes" if cell else "no"
    if isinstance(cell, (int, np.integer)):
        return int(cell)
    if isinstance(cell, (float, np.floating)):
        said = f"{float(cell):.5g}"
        return f"−{said[1:]}" if said.startswith("-") else said
    return str(cell)


def _png(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def stage(
    exhibit: Exhibit,
    view: View,
    settings: Mapping[str, Any],
    pinned: Mapping[str, Any] | None = None,
    *,
    shown: list[Any] | None = None,
    error: str = "",
    status: str = "",
    progress: Progress | None = None,
    seconds: float | None = None,
    prose: str | None = None,
    run: int = 0,
) -> str:
    """What the browser's stage draws, as JSON; without `shown` and `prose` it keeps those it has.

    run: which computation this is of, so that what comes late of a cancelled one is told apart
    """
    said = {
        "id": f"{exhibit.slug}/{view.slug}",
        "address": link.write(exhibit, view, settings, pinned),
        "key": key(exhibit, view, settings),
        "code": in_python(view, settings),
        "error": error,
        "status": status,
        "busy": progress is not None,
        "progress": progress.step / progress.total if progress and progress.total else None,
        "seconds": seconds,
        "prose": prose,
        "run": run,
        "direct": is_direct(view) and pinned is None,
    }
    body = "null" if shown is None else "[" + ",".join(map(_packed, shown)) + "]"
    return json.dumps(said)[:-1] + f', "panels": {body}}}'


def is_direct(view: View) -> bool:
    """Whether a change of a control draws at once, and as one answer."""
    return view.live and not view.streams


def refusal(sentence: str, exhibit: Exhibit, view: View, pinned: Mapping[str, Any] | None) -> str:
    """A stage of a view that only says what is wrong; address and figure stay as they are, if it is of that view."""
    said = {"id": f"{exhibit.slug}/{view.slug}", "direct": is_direct(view) and pinned is None}
    return json.dumps(said | {"error": sentence, "panels": None})


def as_json(result: Any) -> dict[str, Any]:
    """A result's arrays as nested lists by dotted name; what is not finite becomes None."""
    return {name: _listed(array) for name, array in arrays(result).items()}


def _listed(array: np.ndarray) -> Any:
    if array.dtype.kind == "c":
        return {"real": _listed(array.real), "imag": _listed(array.imag)}
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.where(np.isfinite(array), array.astype(object), None).tolist()
    return array.tolist()


def present(
    exhibit: Exhibit,
    view: View,
    settings: dict[str, Any],
    pinned: dict[str, Any] | None = None,
    *,
    compute: bool = True,
) -> Iterator[str]:
    """Stages, one for each report of the engine that has something to show.

    compute: whether to compute what is not remembered; otherwise the stage asks for a press of Run
    """

    number = next(_RUNS)

    def say(**more: Any) -> str:
        return stage(exhibit, view, settings, pinned, run=number, **more)

    known = [RESULTS.get(key(exhibit, view, wanted)) is not None for wanted in (settings, pinned) if wanted is not None]
    if not compute and not all(known):
        yield say(status=f"Press Run to compute this (about {_duration(view.seconds)}).")
        return
    try:
        if not all(known) and not is_direct(view):
            yield say(status="Computing", progress=Progress(0, 0, None))
        started = time.perf_counter()
        behind = None
        if pinned is not None:
            for progress in run(exhibit, view, pinned):
                behind = progress.result
                if progress.step < progress.total:
                    yield say(status="Computing the pinned result", progress=progress)
        drawn_at = -math.inf
        for progress in run(exhibit, view, settings):
            seconds = time.perf_counter() - started
            last = progress.step >= progress.total and progress.result is not None
            if not last and time.perf_counter() - drawn_at < 0.2:
                continue  # a browser that draws five times a second is smooth enough, and the engine is not held up
            drawn_at = time.perf_counter()
            shown, prose = (None, None) if progress.result is None else panels(view, progress.result, behind)
            if last:
                yield say(shown=shown, prose=prose, seconds=seconds)
            else:
                count = f"{progress.step:,} of {progress.total:,}"
                yield say(shown=shown, prose=prose, status=count, progress=progress)
    except ValueError as fault:
        yield say(error=str(fault))
    except Exception:
        logging.exception("%s/%s failed with %s", exhibit.slug, view.slug, settings)
        yield say(error="The studio failed at this, and that is its own fault: please report the address above.")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "a moment"
