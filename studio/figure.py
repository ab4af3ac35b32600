"""Figures as the studio draws them: one palette, no fixed background (the page sets light or dark), zoom kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import plotly.graph_objects as go

# Told apart by people with any of the common colour blindnesses, and legible on paper and on ink.
COLORS = ("#0077bb", "#ee7733", "#009988", "#cc3311", "#8866cc", "#33a5d6", "#aa8500", "#d6438a")
GREY = "#888888"  # of what is beside the matter: reference lines, the past
SEQUENTIAL = "Cividis"
DIVERGING = (
    (0.0, "#b35806"),
    (0.25, "#f1a340"),
    (0.5, "#e8e6e1"),
    (0.75, "#67a9cf"),
    (1.0, "#2166ac"),
)
_OVERLAID = {"scatter", "scattergl", "scatterternary", "bar"}


def figure(data: Sequence = (), *, x: str = "", y: str = "", height: int = 420, **layout) -> go.Figure:
    """A house figure of `data`: axis titles `x` and `y` (with units), height in px, anything of plotly's layout."""
    house = {
        "template": {},  # the page has its own, light and dark
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 24, "b": 52},
        "colorway": list(COLORS),
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        "xaxis": {"title": {"text": x}},
        "yaxis": {"title": {"text": y}},
    }
    # merged here: plotly would check the layout twice
    for name, value in layout.items():
        house[name] = {**house.get(name, {}), **value} if isinstance(value, dict) else value
    # A trace is checked when it is made. Plotly would check it again as it joins the figure, and the layout again at each
    # change: 30 of the 44 ms that two figures of twelve lines took.
    drawn = go.Figure(list(data), layout=house, _validate=False)
    checked = drawn._data_validator
    checked.validate_coerce = partial(checked.validate_coerce, _validate=False)
    return drawn


def label(drawn: go.Figure, x: float, y: float, text: str, color: str | None = None, **more) -> None:
    """A direct label at a point in data units (log axes: give log10, as plotly has it)."""
    font = {"color": color} if color else {}
    drawn.add_annotation(
        **{
            "x": x,
            "y": y,
            "text": text,
            "showarrow": False,
            "font": font,
            "xanchor": "left",
            "yanchor": "bottom",
            **more,
        }
    )


def across(drawn: go.Figure, *, line: dict, x: float | None = None, y: float | None = None) -> None:
    """A line across the whole figure at one place of an axis (as plotly's add_hline and add_vline, which take ten times as long)."""
    if y is not None:
        ends = {"xref": "x domain", "x0": 0, "x1": 1, "yref": "y", "y0": y, "y1": y}
    else:
        ends = {"xref": "x", "x0": x, "x1": x, "yref": "y domain", "y0": 0, "y1": 1}
    drawn.update_layout(shapes=[*drawn.layout.shapes, {"type": "line", "line": line, **ends}])


def scrubbed(
    drawn: go.Figure, frames: Sequence[Sequence], labels: Sequence[str], name: str = "", start: int = 0
) -> go.Figure:
    """Give a figure frames that the reader scrubs in the browser.

    frames: for each moment what becomes of the first traces, in order (traces, or dicts of what changes in them);
        `drawn` itself shows frame `start`
    labels: a short text a frame; name: what is scrubbed ("step", "time")
    """
    # What is in them is ours. Plotly's own setter copies and checks every frame, a third of the time it took to draw.
    drawn._frame_objs = tuple(
        go.Frame(
            data=[trace if isinstance(trace, dict) else trace.to_plotly_json() for trace in traces],
            name=str(i),
            traces=list(range(len(traces))),
            _validate=False,
        )
        for i, traces in enumerate(frames)
    )
    immediately = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [
        {"method": "animate", "label": str(text), "args": [[str(i)], immediately]} for i, text in enumerate(labels)
    ]
    drawn.update_layout(
        sliders=[
            {
                "active": start,
                "steps": steps,
                "currentvalue": {"prefix": f"{name} " if name else "", "xanchor": "right"},
                "pad": {"t": 48, "b": 4},
                "x": 0.1,
                "len": 0.9,
                "ticklen": 0,
                "font": {"size": 11},
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                "x": 0,
                "y": 0,
                "xanchor": "left",
                "yanchor": "top",
                "pad": {"t": 56, "r": 8},
                "buttons": [
                    {
                        "label": "▶",
                        "method": "animate",
                        "args": [
                            None,
                            {
                                "fromcurrent": True,
                                "frame": {"duration": 90, "redraw": True},
                                "transition": {"duration": 0},
                            },
                        ],
                    },
                    {"label": "❚❚", "method": "animate", "args": [[None], immediately]},
                ],
            }
        ],
    )
    drawn.update_layout(margin={**drawn.layout.margin.to_plotly_json(), "b": 110})
    return drawn


def with_ghost(drawn: go.Figure, pinned: go.Figure) -> list[go.Figure]:
    """The figure with the pinned one faint and dashed behind it; two figures where they cannot share their axes."""
    traces = (*drawn.data, *pinned.data)
    if any((trace.type or "scatter") not in _OVERLAID for trace in traces) or not _mean_the_same(drawn, pinned):
        beside = go.Figure(pinned)
        beside.update_layout(title={"text": "Pinned", "font": {"size": 13}, "x": 0.01})
        return [drawn, beside]
    both = go.Figure(drawn)
    for i, trace in enumerate(pinned.data):
        ghost = copy.deepcopy(trace)
        ghost.opacity = 0.4
        ghost.showlegend = i == 0
        ghost.name = f"pinned {trace.name}" if trace.name else "pinned"
        if ghost.type in ("scatter", "scattergl"):
            ghost.line.dash = "dot"
        if ghost.type == "scatter":
            ghost.zorder = -1
        both.add_trace(ghost)
    ours = _axes(both)
    for name, axis in _axes(pinned).items():
        if axis.range and ours[name].range:
            ours[name].range = _spanning(ours[name].range, axis.range)
    return [both]


def _spanning(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The least range that holds both, in our direction."""
    ends = sorted((*ours, *theirs))
    return [ends[0], ends[-1]] if ours[0] <= ours[1] else [ends[-1], ends[0]]


def _mean_the_same(drawn: go.Figure, pinned: go.Figure) -> bool:
    """Whether a place on an axis has the same name in both, by the text of its tick or by what the traces say."""
    if _axes(drawn).keys() != _axes(pinned).keys():
        return False
    ours, theirs = _tick_texts(drawn), _tick_texts(pinned)
    if any(theirs.get(place, text) != text for place, text in ours.items()):
        return False
    return all(_categories(drawn, way) == _categories(pinned, way) for way in ("x", "y"))


def _axes(drawn: go.Figure) -> dict[str, Any]:
    return {axis.plotly_name: axis for axis in (*drawn.select_xaxes(), *drawn.select_yaxes())}


def _tick_texts(drawn: go.Figure) -> dict[tuple[str, Any], str]:
    return {
        (name, place): text
        for name, axis in _axes(drawn).items()
        if axis.ticktext is not None
        for place, text in zip(axis.tickvals, axis.ticktext, strict=True)
    }


def _categories(drawn: go.Figure, way: str) -> set[str]:
    values = (getattr(trace, way, None) for trace in drawn.data)
    return {name for some in values if some is not None for name in some if isinstance(name, str)}
