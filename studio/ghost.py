"""A pinned result behind the present one: faint and dashed in the same figure, or in one beside it."""

from __future__ import annotations

import copy
from typing import Any

from studio.figure import Figure, axes
from studio.language import say

_OVERLAID = {"scatter", "scattergl", "scatterternary", "bar"}


def with_ghost(now: Figure, pinned: Figure) -> list[Figure]:
    """The figure with the pinned one faint and dashed behind it; two figures where they cannot share their axes."""
    pinned_name = say("pinned")
    traces = (*now.data, *pinned.data)
    if any(trace["type"] not in _OVERLAID for trace in traces) or not _mean_the_same(now, pinned):
        beside = copy.deepcopy(pinned)
        beside.layout["title"] = {"text": str(say("Pinned")), "font": {"size": 13}, "x": 0.01, "xref": "paper"}
        return [now, beside]
    both = copy.copy(now)
    both.data, both.layout = list(now.data), copy.deepcopy(now.layout)
    for i, trace in enumerate(pinned.data):
        ghost = {**trace, "opacity": 0.4, "showlegend": i == 0}
        ghost["name"] = f"{pinned_name} · {trace['name']}" if trace.get("name") else str(pinned_name)
        ghost.pop("meta", None)
        if ghost["type"] in ("scatter", "scattergl"):
            ghost["line"] = {**ghost.get("line", {}), "dash": "dot"}
        if ghost["type"] == "scatter":
            ghost["zorder"] = -1
        both.data.append(ghost)
    for name, axis in axes(pinned).items():
        ours = both.layout.get(name, {})
        if axis.get("range") and ours.get("range"):
            ends = sorted((*ours["range"], *axis["range"]))
            ours["range"] = [ends[0], ends[-1]] if ours["range"][0] <= ours["range"][1] else [ends[-1], ends[0]]
    return [both]


def _mean_the_same(now: Figure, pinned: Figure) -> bool:
    """Whether a place on an axis has the same name in both, by the text of its tick or by what the traces say."""
    if axes(now).keys() != axes(pinned).keys():
        return False
    ours, theirs = _tick_texts(now), _tick_texts(pinned)
    if any(theirs.get(place, text) != text for place, text in ours.items()):
        return False
    return all(_categories(now, way) == _categories(pinned, way) for way in ("x", "y"))


def _tick_texts(drawing: Figure) -> dict[tuple[str, Any], str]:
    return {
        (name, place): text
        for name, axis in axes(drawing).items()
        if axis.get("ticktext") is not None
        for place, text in zip(axis["tickvals"], axis["ticktext"], strict=True)
    }


def _categories(drawing: Figure, way: str) -> set[str]:
    values = (trace.get(way) for trace in drawing.data)
    return {name for some in values if isinstance(some, list | tuple) for name in some if isinstance(name, str)}
