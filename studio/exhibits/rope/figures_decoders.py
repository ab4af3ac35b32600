"""Figures of the embedded decoders, loss over position, and of one ideal head that looks for a key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.rope.extrapolation import Extrapolation
from engines.rope.passkey import Retrieval
from studio.exhibits.rope.figures import DASH, HUE, SCALING
from studio.figure import COLORS, GREY, INK, Figure, across, band, figure, line
from studio.language import Said, say
from studio.panels import Table

FORM = {"rerope": "ReRoPE", "leaky_rerope": "Leaky ReRoPE", "window": "window attention"}
WAY = SCALING | FORM
COLOR = HUE | {"rerope": COLORS[4], "leaky_rerope": COLORS[7], "window": GREY}
STROKE = DASH | {"rerope": "longdash", "leaky_rerope": "longdash"}
READER = {f"{10**i}": f"{10**i:,}" for i in range(2, 7)}
FIRST = 32  # bytes; before it every model guesses, and the noise would fill the figure
LOG_N = {"off": "without", "on": "with"}
_STROKES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def curves(models: Sequence[str], ways: Sequence[str], logs: Sequence[str]) -> list[tuple[Said, str, str | None]]:
    """Name, colour and dash of each curve: what differs between them is named."""
    kinds = [list(dict.fromkeys(names)) for names in (models, ways, logs)]
    found = []
    for model, way, log in zip(models, ways, logs, strict=True):
        place = kinds[0].index(model)
        of_model, of_way = say("b = {base}", base=say(READER[model])), say(WAY[way])
        name = of_way if len(kinds[0]) == 1 else of_model
        if len(kinds[0]) > 1 and len(kinds[1]) > 1:
            name = say("{base}, {scaling}", base=of_model, scaling=of_way)
        if log == "on" and len(kinds[2]) > 1:
            name = say("{name}, log n", name=name)
        color = COLORS[place] if len(kinds[0]) > 1 and len(kinds[1]) == 1 else COLOR[way]
        dash = _STROKES[place] if len(kinds[1]) > 1 and len(kinds[0]) > 1 else STROKE.get(way)
        if log == "on" and len(kinds[2]) > 1:
            dash = "dot"
        found.append((name, color, dash))
    return found


def curve_names(result: Extrapolation) -> list[str]:
    return [name for name, *_ in curves(result.models, result.scalings, result.log_n)]


def draw_extrapolation(result: Extrapolation) -> list:
    """What context beyond the trained length costs the embedded models, and their loss itself."""
    excess = _over_position(result, result.excess, "excess loss (nats a byte)", 500)
    across(excess, y=0, dash="solid", width=1)
    loss = _over_position(result, result.loss, "loss (nats a byte)", 340, title="The loss itself", showlegend=False)
    rows = [
        [say(READER[model]), say(WAY[way]), say(LOG_N[log]), inside, beyond, beyond - inside, 100 * accuracy]
        for model, way, log, inside, beyond, accuracy in zip(
            result.models, result.scalings, result.log_n, result.inside, result.beyond, result.accuracy, strict=True
        )
    ]
    trained, length = result.context_length, result.length
    spans = [
        say("bytes {first} to {last}", first=first, last=last)
        for first, last in ((trained // 2, trained), (length // 2, length))
    ]
    columns = ("base b", "scaling", "log n", *spans, "change", say("right from byte {first}, %", first=length // 2))
    return [excess, loss, Table(columns, rows, "Loss (nats a byte)")]


def _over_position(result: Extrapolation, values: np.ndarray, named: str, height: int, **layout) -> Figure:
    drawing = figure(x="position (bytes)", y=named, log="x", height=height, **layout)
    named_curves, limits = curves(result.models, result.scalings, result.log_n), []
    for c, (name, color, dash) in enumerate(named_curves):
        x, y, error = result.position[1:], values[c, 1:], result.error[c, 1:]
        if len(named_curves) <= 6 and values is result.excess and error.any():
            band(drawing, x, y - error, y + error, color=GREY if color == INK else color)
        limits += [(y - error)[x >= FIRST], (y + error)[x >= FIRST]]
        hover = "%{x:,.0f}: %{y:.3f} ± %{customdata:.3f}"
        line(drawing, x, y, name, color, dash=dash, customdata=error, hover=hover)
    across(drawing, x=result.context_length, text=say("trained on {length}", length=result.context_length))
    octaves = [FIRST << i for i in range(9) if FIRST << i <= result.length]
    low, high = float(np.min(limits)), float(np.max(limits))
    drawing.x(tickvals=octaves, ticktext=[f"{n:,}" for n in octaves], span=(FIRST, result.length))
    drawing.y(range=[low - 0.06 * (high - low), high + 0.06 * (high - low)])
    return drawing


def near(values: np.ndarray, reach: int = 4) -> np.ndarray:
    """The mean of each value and its neighbours, as many on both sides: at most `reach`, fewer at the ends."""
    reaches = np.minimum(reach, np.minimum(np.arange(len(values)), np.arange(len(values))[::-1]))
    return np.array([values[i - r : i + r + 1].mean() for i, r in enumerate(reaches)])


def draw_retrieval(result: Retrieval) -> list:
    """The chance of finding the like key over its distance, and the attention it gets, with and without log n."""
    found = figure(x="distance m (tokens)", y="chance that the similar key scores highest (%)", log="x", height=480)
    share = figure(
        x="distance m (tokens)",
        y="attention to it (%)",
        log="xy",
        height=360,
        title="Its share of the attention; dotted: with log n",
    )
    rows = []
    for c, way in enumerate(result.scalings):
        name, color, dash = WAY[way], COLOR[way], STROKE.get(way)
        hover = "m = %{x:,}<br>%{y:.3~g} %"
        chance, kept = 100 * result.found[c], {"group": str(name), "hover": hover}
        line(found, result.distance, chance, name, color, width=1, opacity=0.3, legend=False, **kept)
        line(found, result.distance, near(chance), name, color, width=2.5, dash=dash, **kept)
        for values, stroke in ((result.attention, dash), (result.attention_log_n, "dot")):
            shown = np.where(values[c] > 1e-7, 100 * values[c], np.nan)
            line(share, result.distance, shown, name, color, dash=stroke, legend=False, hover=hover)
        reach = int(result.reach[c])
        far = say("none up to {distance}", distance=int(result.distance[-1])) if reach < 0 else reach
        rows.append([say(name), far, 100 * result.found[c, -1], 100 * result.attention[c, -1]])
    across(found, y=50)
    across(found, x=result.context_length, text=say("L = {length}", length=result.context_length))
    found.y(span=(-3, 103))
    share.y(span=(1e-3, 150))
    last = int(result.distance[-1])
    columns = (
        "scaling",
        "below one half from",
        say("found at {distance}, %", distance=last),
        say("attention there, %"),
    )
    return [found, share, Table(columns, rows)]
