"""Figures as the studio draws them: a dozen visuals that every exhibit shares, through which all traces pass.

A figure is a plain dict of plotly's schema (tests hold it against the schema). Colours that change between light and dark
(INK, the two scales) are names here that the page replaces; so are fonts, grid lines and the background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from studio.language import Said, drawn
from studio.packing import as_array, to_json

# Told apart by people with any of the common colour blindnesses; each at least 3:1 on paper and on the dark ground.
COLORS = ("#0077bb", "#d9631e", "#009988", "#cc3311", "#8866cc", "#2b93c0", "#a07d00", "#d6438a")
GREY = "#888888"  # of what is beside the matter: reference lines, the past
INK = "ink"  # the page's own ink
SEQUENTIAL = "sequential"  # from the ground to the strongest colour
DIVERGING = "diverging"  # two colours that meet in the ground
SCALES = {
    SEQUENTIAL: ("#fffdf9", "#dcebe6", "#8fc4bd", "#3a928c", "#0b5a63", "#0a2f3d"),
    DIVERGING: ("#b35806", "#e08a3c", "#f4cfa4", "#fffdf9", "#a9cfe5", "#4a90c2", "#1c5a9c"),
}


def short(value: float, digits: int = 3) -> str:
    """A number for a reader: 12,300; 0.0123; 1.23×10⁻⁵; −0.5; ∞; – where there is none."""
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size.is_integer() and size < 1e7 and digits >= 3:
        return f"{sign}{size:,.0f}"
    exponent = math.floor(math.log10(float(f"{size:.{digits - 1}e}")))
    if -4 <= exponent < max(digits, 6):
        text = (
            f"{size:,.{max(digits - 1 - exponent, 0)}f}"
            if exponent < digits
            else f"{round(size, digits - 1 - exponent):,.0f}"
        )
        return sign + (text.rstrip("0").rstrip(".") if "." in text else text)
    mantissa = f"{size / 10.0**exponent:.{digits - 1}f}" if exponent > -300 else f"{size:.{digits - 1}e}".split("e")[0]
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = "".join("⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".index(sign_or_digit)] for sign_or_digit in str(exponent))
    return f"{sign}10{power}" if mantissa == "1" else f"{sign}{mantissa}×10{power}"


class Figure:
    """Traces, layout and frames as plotly takes them, and what the page adds: what is dragged, how frames are scrubbed.

    data, frames: lists of dicts; layout: a dict; extra: what the page's script reads beside them
    alt: key numbers for those who do not see the figure
    """

    def __init__(self, layout: dict[str, Any]):
        self.data: list[dict[str, Any]] = []
        self.layout = layout
        self.frames: list[list[dict[str, Any]]] = []
        self.extra: dict[str, Any] = {}
        self.alt = ""

    def add(self, trace: dict[str, Any], name: str = "") -> dict[str, Any]:
        """Append a trace of plotly's schema; its name is translated, and found by its English one."""
        if name:
            said = drawn(name)
            trace |= {"name": str(said), "meta": {"key": said.english}}
        self.data.append(trace)
        return trace

    def update(self, **layout: Any) -> Figure:
        """Merge into the layout."""
        _merge(self.layout, _spoken_titles(layout))
        return self

    def x(self, **axis: Any) -> Figure:
        """Merge into the x axis; `span=(low, high)` is its range in data units, on a log axis too."""
        return self._axis("xaxis", axis)

    def y(self, **axis: Any) -> Figure:
        """Merge into the y axis."""
        return self._axis("yaxis", axis)

    def y2(self, **axis: Any) -> Figure:
        """Merge into the second y axis."""
        return self._axis("yaxis2", axis)

    def _axis(self, which: str, axis: dict[str, Any]) -> Figure:
        ours = self.layout.setdefault(which, {})
        if isinstance(axis.get("title"), str):
            axis["title"] = {"text": axis["title"]}
        _merge(ours, _spoken_titles(axis))
        if "span" in ours:
            ends = ours.pop("span")
            ours["range"] = [math.log10(end) for end in ends] if ours.get("type") == "log" else [float(e) for e in ends]
        return self

    def is_log(self, which: str) -> bool:
        """Whether "x" or "y" is logarithmic."""
        return self.layout.get(f"{which}axis", {}).get("type") == "log"

    def as_dict(self) -> dict[str, Any]:
        """What the browser gets."""
        _tick(self)
        made = {"data": self.data, "layout": self.layout, "alt": self.alt, **self.extra}
        return made | ({"frames": self.frames} if self.frames else {})

    def as_json(self) -> str:
        """The same, packed: arrays typed and in base64, floats in single precision where that is enough."""
        return to_json(self.as_dict())

    def plotly(self) -> dict[str, Any]:
        """Data and layout for plotly itself, in the light colours, for files and the tests."""
        replaced = {
            INK: "#33302a",
            **{name: [[i / (len(s) - 1), c] for i, c in enumerate(s)] for name, s in SCALES.items()},
        }
        _tick(self)

        def paint(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: paint(item) for key, item in value.items()}
            if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], (int, float))):
                return [paint(item) for item in value]
            return replaced.get(value, value) if isinstance(value, str) else as_array(value)

        return {"data": paint(self.data), "layout": paint(self.layout)}


def figure(
    *,
    x: str = "",
    y: str = "",
    height: int = 420,
    log: str = "",
    square: bool = False,
    title: str = "",
    **layout: Any,
) -> Figure:
    """An empty house figure.

    x, y: axis titles with units; height: px; log: which axes are logarithmic ("x", "y", "xy"); square: equal scales in a
    square; title: a short one above; the rest is plotly's layout, merged in
    """
    made = Figure(
        {
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 44 if title else 24, "b": 52},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
            "xaxis": {"title": {"text": str(drawn(x))}},
            "yaxis": {"title": {"text": str(drawn(y))}},
        }
    )
    for which in log:
        made.layout[f"{which}axis"]["type"] = "log"
    if title:
        made.layout["title"] = {"text": str(drawn(title)), "font": {"size": 13}, "x": 0.01, "xref": "paper"}
    if square:
        made.layout["xaxis"] |= {"constrain": "domain"}
        made.layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
        made.extra["square"] = True
    return made.update(**layout)


def line(
    drawing: Figure,
    x: Any,
    y: Any,
    name: str = "",
    color: str | None = None,
    *,
    width: float = 2,
    dash: str | None = None,
    opacity: float = 1,
    marks: float = 0,
    shape: str | None = None,
    fill: str | None = None,
    hover: str = "",
    axis: str = "",
    legend: bool = True,
    group: str = "",
    **more: Any,
) -> dict[str, Any]:
    """A line, with marks of that size where it is not 0; `axis="2"` is the second y axis."""
    stroke = {"color": color or _next(drawing), "width": width}
    trace = _scatter(drawing, x, y, "lines+markers" if marks else "lines", opacity, hover, axis, legend, group, name)
    trace["line"] = stroke | ({"dash": dash} if dash else {}) | ({"shape": shape} if shape else {})
    if marks:
        trace["marker"] = {"size": marks, "color": stroke["color"]}
    if fill:
        trace["fill"] = fill
    return drawing.add(trace | more, name)


def points(
    drawing: Figure,
    x: Any,
    y: Any,
    name: str = "",
    color: str | Sequence[str] | None = None,
    *,
    size: Any = 6,
    opacity: float = 1,
    symbol: Any = None,
    text: Sequence[str] | None = None,
    hover: str = "",
    axis: str = "",
    legend: bool = True,
    group: str = "",
    values: Any = None,
    scale: str = SEQUENTIAL,
    low: float | None = None,
    high: float | None = None,
    bar: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Points of one colour (or a colour each), or coloured by `values` on a scale whose bar is titled `bar`."""
    marker: dict[str, Any] = {"size": size, "color": color or _next(drawing)}
    if values is not None:
        marker |= {"color": values, "colorscale": scale} | _limits("c", low, high)
        marker |= {"colorbar": _bar(bar)} if bar else {}
    if symbol is not None:
        marker["symbol"] = symbol
    trace = _scatter(drawing, x, y, "markers", opacity, hover, axis, legend, group, name)
    trace["marker"] = marker
    if text is not None:
        trace |= {"text": list(text)} if hover else {"text": list(text), "hoverinfo": "text"}
    return drawing.add(trace | more, name)


def band(
    drawing: Figure,
    x: Any,
    low: Any,
    high: Any,
    name: str = "",
    color: str | None = None,
    *,
    opacity: float = 0.18,
    legend: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """The area between two curves over the same x."""
    x, low, high = (np.asarray(as_array(values), dtype=float) for values in (x, low, high))
    keep = np.isfinite(low) & np.isfinite(high)
    x, low, high = x[keep], low[keep], high[keep]
    trace = {
        "type": "scatter",
        "x": np.concatenate((x, x[::-1])),
        "y": np.concatenate((high, low[::-1])),
        "mode": "lines",
        "line": {"width": 0, "color": color or _next(drawing)},
        "fill": "toself",
        "fillcolor": _rgba(color or _next(drawing), opacity),
        "hoverinfo": "skip",
        "showlegend": legend,
    }
    return drawing.add(trace | more, name)


def bars(
    drawing: Figure,
    x: Any,
    y: Any,
    name: str = "",
    color: str | Sequence[str] | None = None,
    *,
    horizontal: bool = False,
    width: float | None = None,
    error: Any = None,
    text: Sequence[str] | None = None,
    hover: str = "",
    opacity: float = 1,
    legend: bool = True,
    axis: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Bars y over x (`horizontal`: bars as long as x beside y), with error bars of that half length."""
    trace: dict[str, Any] = {
        "type": "bar",
        "x": _values(x),
        "y": _values(y),
        "marker": {"color": color or _next(drawing)},
        "opacity": opacity,
        "showlegend": bool(name) and legend,
        "hovertemplate": _hover(hover or ("%{x:.4~g}" if horizontal else "%{y:.4~g}"), name),
    }
    if horizontal:
        trace["orientation"] = "h"
    if width is not None:
        trace["width"] = width
    if error is not None:
        trace["error_x" if horizontal else "error_y"] = {"array": error, "thickness": 1.2, "width": 3, "color": GREY}
    if text is not None:
        trace |= {"text": list(text), "textposition": "outside", "cliponaxis": False}
    if axis:
        trace["yaxis"] = f"y{axis}"
    return drawing.add(trace | more, name)


def heat(
    drawing: Figure,
    z: Any,
    x: Any = None,
    y: Any = None,
    *,
    scale: str = SEQUENTIAL,
    low: float | None = None,
    high: float | None = None,
    bar: str = "",
    hover: str = "",
    text: Any = None,
    **more: Any,
) -> dict[str, Any]:
    """A matrix z [rows, columns] as colours; `bar` titles the colour bar."""
    trace: dict[str, Any] = {"type": "heatmap", "z": z, "colorscale": scale, "colorbar": _bar(bar)}
    trace |= _limits("z", low, high) | {"hovertemplate": _hover(hover or "%{z:.4~g}", "")}
    trace |= {key: _values(value) for key, value in (("x", x), ("y", y)) if value is not None}
    if text is not None:
        trace |= {"text": text, "texttemplate": "%{text}"}
    return drawing.add(trace | more)


def contour(
    drawing: Figure,
    z: Any,
    x: Any,
    y: Any,
    *,
    scale: str = SEQUENTIAL,
    low: float | None = None,
    high: float | None = None,
    levels: int | None = None,
    color: str | None = None,
    bar: str = "",
    hover: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Level lines of z over x and y: filled by the scale, or lines of one colour."""
    trace: dict[str, Any] = {"type": "contour", "z": z, "x": x, "y": y, "showscale": bool(bar)}
    if color:
        trace |= {"colorscale": [[0, color], [1, color]], "contours": {"coloring": "lines"}}
    else:
        trace |= {"colorscale": scale, "colorbar": _bar(bar), "line": {"width": 0.5}}
    if levels:
        trace["ncontours"] = levels
    trace |= _limits("z", low, high)
    trace |= {"hovertemplate": _hover(hover, "")} if hover else {"hoverinfo": "skip"}
    return drawing.add(trace | more)


def arrows(
    drawing: Figure,
    x: Any,
    y: Any,
    u: Any,
    v: Any,
    name: str = "",
    color: str | None = None,
    *,
    scale: float = 1,
    **more: Any,
) -> dict[str, Any]:
    """Arrows from (x, y) by (u, v) times `scale`, as one line with heads."""
    x, y, u, v = (np.asarray(as_array(values), dtype=float).ravel() for values in (x, y, u, v))
    u, v = u * scale, v * scale
    tip = x + u, y + v
    wings = [(tip[0] - 0.28 * u + s * 0.14 * v, tip[1] - 0.28 * v - s * 0.14 * u) for s in (1, -1)]
    gap = np.full_like(x, np.nan)
    xs = np.stack((x, tip[0], wings[0][0], tip[0], wings[1][0], gap), 1).ravel()
    ys = np.stack((y, tip[1], wings[0][1], tip[1], wings[1][1], gap), 1).ravel()
    return line(drawing, xs, ys, name, color, **{"width": 1.3, "hoverinfo": "skip", **more})


def across(
    drawing: Figure,
    *,
    x: float | None = None,
    y: float | None = None,
    text: str = "",
    color: str = GREY,
    dash: str = "dot",
    width: float = 1.2,
) -> None:
    """A line across the whole figure at one place of an axis (data units), with a label at its end."""
    at = x if x is not None else y
    if at is None or not math.isfinite(at):
        return
    ends = (
        {"xref": "x", "x0": at, "x1": at, "yref": "y domain", "y0": 0, "y1": 1}
        if x is not None
        else {"xref": "x domain", "x0": 0, "x1": 1, "yref": "y", "y0": at, "y1": at}
    )
    stroke = {"color": color, "dash": dash, "width": width}
    drawing.layout.setdefault("shapes", []).append({"type": "line", "line": stroke, "layer": "below", **ends})
    if text:
        which = "x" if x is not None else "y"
        place = math.log10(at) if drawing.is_log(which) else at
        here = (
            {"x": place, "y": 1, "yref": "y domain", "xanchor": "left", "yanchor": "top", "xshift": 3}
            if x is not None
            else {"y": place, "x": 1, "xref": "x domain", "xanchor": "right", "yanchor": "bottom"}
        )
        _note(drawing, drawn(text), color, here)


def label(drawing: Figure, x: float, y: float, text: str, color: str | None = None, **more: Any) -> None:
    """A direct label at a point in data units, on log axes too."""
    place = [
        math.log10(value)
        if isinstance(value, (int, float, np.number)) and drawing.is_log(which) and value > 0
        else value
        for which, value in (("x", x), ("y", y))
    ]
    _note(drawing, drawn(text), color, {"x": place[0], "y": place[1], "xanchor": "left", "yanchor": "bottom", **more})


def scrub(
    drawing: Figure,
    frames: Sequence[Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    name: str = "step",
    start: int = -1,
    once: bool = False,
) -> Figure:
    """Give a figure frames that the reader scrubs and plays in the browser.

    frames: for each moment, in order, what changes in the first traces; `drawing` itself shows frame `start`
    labels: a short text a frame; name: what is scrubbed ("step", "time")
    once: played once when the figure is first seen
    """
    drawing.frames = [[dict(change) for change in moment] for moment in frames]
    drawing.extra["scrub"] = {
        "labels": [str(text) for text in labels],
        "name": str(drawn(name)),
        "start": start % len(drawing.frames) if drawing.frames else 0,
        "once": once,
    }
    return drawing


def cells(
    titles: Sequence[str], x: Sequence[float], y: Sequence[float], wide: bool = False
) -> tuple[Figure, list[dict[str, str]]]:
    """A figure with a square for each title, laid out by the page, and the axes of each as its traces name them.

    x, y: their ranges; wide: they fill the width, and are squares no more
    """
    made = figure(height=560, showlegend=False, bargap=0, meta={"cells": [len(titles), 0, wide]})
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "showline": True}
    places = []
    for i, title in enumerate(titles):
        number, left = str(i + 1) if i else "", i / len(titles)  # (the page lays them out anew, by its room)
        places.append({"xaxis": f"x{number}", "yaxis": f"y{number}"})
        placed = {"range": x, "domain": [left, left + 0.9 / len(titles)], "anchor": f"y{number}"}
        made.update(
            **{f"xaxis{number}": hidden | placed, f"yaxis{number}": hidden | {"range": y, "anchor": f"x{number}"}}
        )
        label(made, left, 1, title, xref="paper", yref="paper", align="left")
    return made, places


def drag(
    drawing: Figure, trace: int, *, x: str = "", y: str = "", item: bool = False, turn: Mapping[str, Any] | None = None
) -> Figure:
    """Let the points of a trace be dragged: along x they set parameter `x`, along y parameter `y`.

    item: the parameter is a list, and the point's number says which entry is set
    turn: for points on circles. "set": the parameter; "x", "y": each point's centre; "period": what a full turn clockwise
        adds to the parameter; "values": the parameter at each frame
    """
    handle = {"trace": trace, "x": x, "y": y, "item": item} | ({"turn": dict(turn)} if turn else {})
    drawing.extra.setdefault("drag", []).append(handle)
    return drawing


def _scatter(
    drawing: Figure,
    x: Any,
    y: Any,
    mode: str,
    opacity: float,
    hover: str,
    axis: str,
    legend: bool,
    group: str,
    name: str,
) -> dict[str, Any]:
    trace: dict[str, Any] = {"type": "scatter", "x": _values(x), "y": _values(y), "mode": mode}
    trace |= {"showlegend": bool(name) and legend, "hovertemplate": _hover(hover or "%{x:.4~g}, %{y:.4~g}", name)}
    if opacity != 1:
        trace["opacity"] = opacity
    if axis:
        trace["yaxis"] = f"y{axis}"
    if group:
        trace["legendgroup"] = group
    return trace


def _hover(template: str, name: str) -> str:
    said = str(drawn(template))
    return said if "<extra>" in said else f"{said}<extra>{drawn(name) if name else ''}</extra>"


def _next(drawing: Figure) -> str:
    return COLORS[len(drawing.data) % len(COLORS)]


def _limits(kind: str, low: float | None, high: float | None) -> dict[str, float]:
    return {f"{kind}{end}": float(value) for end, value in (("min", low), ("max", high)) if value is not None}


def _bar(title: str) -> dict[str, Any]:
    return {"thickness": 12, "outlinewidth": 0, "title": {"text": str(drawn(title)), "side": "right"}}


def _note(drawing: Figure, text: Said, color: str | None, place: dict[str, Any]) -> None:
    note = {"text": str(text), "showarrow": False, "font": {"color": color} if color else {}, **place}
    drawing.layout.setdefault("annotations", []).append(note)


def _rgba(color: str, opacity: float) -> str:
    if not color.startswith("#"):
        return color
    return f"rgba({', '.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))}, {opacity:g})"


def _merge(ours: dict[str, Any], theirs: Mapping[str, Any]) -> None:
    for key, value in theirs.items():
        if isinstance(value, Mapping) and isinstance(ours.get(key), dict):
            _merge(ours[key], value)
        else:
            ours[key] = value


def _spoken_titles(layout: Any) -> Any:
    """The same, with each `text` and `ticktext` in it in the visitor's language."""
    if isinstance(layout, Mapping):
        return {
            key: str(drawn(value))
            if key == "text" and isinstance(value, str)
            else [str(drawn(item)) for item in value]
            if key == "ticktext"
            else _spoken_titles(value)
            for key, value in layout.items()
        }
    if isinstance(layout, (list, tuple)) and any(isinstance(item, Mapping) for item in layout):
        return [_spoken_titles(item) for item in layout]
    return layout


def _values(values: Any) -> Any:
    """Numbers as an array, names as a list of texts in the visitor's language."""
    values = as_array(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    values = list(values)
    if values and all(isinstance(value, (int, float, np.number)) for value in values):
        return np.asarray(values)
    return [str(drawn(value)) if isinstance(value, str) else value for value in values]


def axes(drawing: Figure) -> dict[str, dict]:
    """The axes of a figure's plane, by plotly's names."""
    return {name: axis for name, axis in drawing.layout.items() if name.startswith(("xaxis", "yaxis"))}


def _tick(drawing: Figure) -> None:
    """Log axes get a tick each power of ten, each second or third where they are many, and 2 and 5 where they are few."""
    for name, axis in axes(drawing).items():
        if axis.get("type") != "log" or {"dtick", "tickvals", "nticks"} & axis.keys():
            continue
        if axis.get("range"):
            low, high = sorted(axis["range"])
        else:
            which, number = name[0], name[5:]
            found = [
                as_array(trace[which])
                for trace in drawing.data
                if which in trace and trace.get(f"{which}axis", which)[1:] == number
            ]
            numbers = [np.asarray(values, dtype=float).ravel() for values in found if not isinstance(values, list)]
            numbers = [values[np.isfinite(values) & (values > 0)] for values in numbers]
            numbers = [values for values in numbers if len(values)]
            if not numbers:
                continue
            low = math.log10(min(values.min() for values in numbers))
            high = math.log10(max(values.max() for values in numbers))
        axis["dtick"] = "D2" if high - low < 1.3 else math.ceil((high - low) / 8)
