"""RoPE's figures."""

from __future__ import annotations

import numpy as np

from engines.rope.bases import COSINE_INTEGRAL_ZERO, FeasibleBases
from engines.rope.curves import SimilarityCurves
from engines.rope.digits import Dials
from engines.rope.frequencies import Wavelengths
from engines.rope.partial import PartialRotation
from studio.figure import COLORS, GREY, INK, across, band, drag, figure, label, line, points, scrub, short
from studio.language import raw, say
from studio.panels import Folded, Prose, Table

BLUE, ORANGE, GREEN, RED = COLORS[:4]
SCALING = {
    "none": "no scaling",
    "linear": "linear (position interpolation)",
    "ntk": "NTK-aware",
    "ntk_fixed": "NTK-RoPE-fixed",
    "ntk_mixed": "NTK-RoPE-mixed",
    "dynamic": "dynamic NTK",
    "by_parts": "NTK-by-parts",
    "yarn": "YaRN",
    "llama3": "Llama 3",
    "longrope": "LongRoPE, given factors",
    "proportional": "proportional (p-RoPE)",
}
# one colour and dash for a scaling, in every figure
HUE = dict(zip(SCALING, (INK, BLUE, ORANGE, GREEN, *COLORS[5:8], RED, COLORS[4], GREEN, BLUE), strict=True))
DASH = {"longrope": "dash", "proportional": "dash"}
NUMERAL = {
    "none": "n as it is",
    "linear": "n/k (interpolation)",
    "ntk_fixed": "n in a larger radix (NTK-fixed)",
    "ntk_mixed": "n in a mixed radix (NTK-mixed)",
}
POWERS = "⁰¹²³⁴⁵⁶⁷"


def draw_similarity(result: SimilarityCurves, integral: bool = False) -> list:
    """f_b over distance with its first negative value, Su's integral in its place, and the decay bound."""
    drawing = figure(x="distance m (tokens)", y="similarity f<sub>b</sub>(m)", log="x", height=500)
    decay = figure(
        x="distance m (tokens)", y="mean |S<sub>j</sub>|", log="x", height=340, title="RoFormer's decay bound"
    )
    size, rows, firsts = result.head_dim, [], []
    bottom = -size * (0.28 + 0.045 * len(result.bases))  # room for the numbers, and for a line under them
    band(drawing, [1, result.distance], [bottom] * 2, [0, 0], color=RED, opacity=0.06)
    label(drawing, 1, bottom, "below 0: a random key scores higher on average", RED, xshift=6, yshift=2)
    for i, base in enumerate(result.bases):
        color, name = COLORS[i % len(COLORS)], say("b = {base}", base=short(base))
        x, low, high = result.bin_distance[1:], result.low[i, 1:], result.high[i, 1:]
        band(drawing, x, low, high, color=color, opacity=0.35)
        hover = "m = %{x:,}<br>f: %{y:.2f} … %{customdata:.2f}"
        line(drawing, x, low, name, color, width=1, customdata=high, hover=hover)
        if integral:
            line(
                drawing, x, result.integral[i, 1:], color=INK, width=1.5, dash="dash", hover="m = %{x:,}<br>∫: %{y:.2f}"
            )
        x, bound = result.bound_distance[1:], result.bound[i, 1:]
        line(decay, x, bound, name, color, width=1.5, legend=False, hover="m = %{x:,}<br>|S|: %{y:.2f}")
        first = int(result.first_negative[i])
        if first >= 0:
            # the labels hang below the bands, where nothing covers them
            below = -size * (0.2 + 0.045 * i)
            hover = say("first negative at distance {first}", first=first)
            line(drawing, [first, first], [0, below], color=color, width=1, dash="dot", hover=hover)
            points(drawing, [first], [0], name, color, size=11, symbol="x", hover=hover, legend=False)
            label(drawing, first, below, raw(f"{first:,}"), color, xanchor="right", yanchor="middle", xshift=-5)
        firsts.append(say("{base}: {first}", base=name, first=first if first >= 0 else "–"))
        none = say("none up to {distance}", distance=result.distance)
        rows.append([float(base), first if first >= 0 else none, result.lowest[i], int(result.lowest_distance[i])])
    across(drawing, y=0, dash="solid", width=1)
    drawing.x(span=(1, result.distance))
    drawing.y(range=[bottom, size * 0.52])
    decay.y(rangemode="tozero")
    drawing.alt = say("First negative distance, by base: {firsts}.", firsts="; ".join(firsts))
    columns = ("base b", "first distance with f < 0", "least f", "at distance")
    return [drawing, *(draw_integral(result) if integral else []), decay, Table(columns, rows)]


def draw_integral(result: SimilarityCurves) -> list:
    """The error of the integral, and of the trapezoids that are its first correction."""
    if np.isnan(result.integral).all():
        return [Prose("The integral is that of the plain frequencies: choose no scaling to see it.")]
    title = "Error of the integral: the greatest near m"
    drawing = figure(x="distance m (tokens)", y="|f<sub>b</sub> − integral|", log="xy", height=340, title=title)
    x = result.bin_distance[1:]
    for i, base in enumerate(result.bases):
        name, color = say("b = {base}", base=short(base)), COLORS[i % len(COLORS)]
        line(drawing, x, result.integral_error[i, 1:], name, color, width=1.5, hover="m = %{x:,}<br>%{y:.3f}")
        named = say("{base}, trapezoids", base=name)
        hover = "m = %{x:,}<br>%{y:.3f}"
        line(drawing, x, result.trapezoid_error[i, 1:], named, color, width=1.5, dash="dot", hover=hover)
    drawing.x(span=(1, result.distance)).y(span=(1e-3, result.head_dim / 2))
    rows = []
    for i, base in enumerate(result.bases):
        first = np.pi / (1 - base ** (-2 / result.head_dim))
        rows.append([float(base), result.integral_error[i].max(), result.trapezoid_error[i].max(), first])
    columns = ("base b", "greatest error", "of trapezoids", "first pairs turn apart by half a circle from m =")
    return [drawing, Table(columns, rows)]


def draw_partial(result: PartialRotation) -> list:
    """The least unrotated part against the base, and how low f falls with less."""
    pairs = result.head_dim // 2
    drawing = figure(x="base b", y="least unrotated part of the head (%)", log="x", height=480)
    lowest = figure(
        x="pairs left unrotated",
        y=say("least f at b = {base}", base=short(result.base)),
        height=360,
        title="With less than that",
    )
    place = np.searchsorted(result.bases, result.base)
    bases = np.insert(result.bases, place, result.base)  # the point that is dragged lies on its curve
    for i, length in enumerate(result.lengths):
        name, color = say("L = {length}", length=int(length)), COLORS[i]
        least = np.insert(result.least[i], place, result.at_base[i])
        hover = "b = %{x:,.4~g}<br>%{customdata} pairs"
        line(drawing, bases, 100 * least / pairs, name, color, marks=5, customdata=least, hover=hover)
        points(
            drawing, [result.base], [100 * result.at_base[i] / pairs], name, color, size=12, legend=False, hover=name
        )
        drag(drawing, len(drawing.data) - 1, x="base")
        line(lowest, result.unrotated, result.lowest[i], name, color, marks=4, legend=False, hover="%{x}: %{y:.2f}")
        points(lowest, [result.at_base[i]], [0], name, color, size=11, legend=False, hover="%{x}")
    across(drawing, y=50)
    label(drawing, result.bases[0], 50, say("half: enough at every base and length"), GREY, xshift=4, yanchor="bottom")
    line(lowest, [0, pairs], [-pairs, pairs], "2u − d/2: it cannot be lower", GREY, dash="dot", hover="%{x}: %{y}")
    across(lowest, y=0, dash="solid")
    drawing.y(span=(-2, 58))
    lowest.y(span=(1.1 * result.lowest.min(), pairs / 2))
    found = "; ".join(f"{length:,}: {least}" for length, least in zip(result.lengths, result.at_base, strict=True))
    drawing.alt = say(
        "Least number of unrotated pairs at b = {base}, by length: {found}.", base=short(result.base), found=found
    )
    return [drawing, lowest]


def draw_bases(result: FeasibleBases) -> list:
    """The map of bases and lengths, the least base for one length, and the published tables."""
    base, length = result.base, result.length
    drawing = figure(x="base b", y="context length L (tokens)", log="xy", height=520)
    area = {"fill": "tozeroy", "fillcolor": "rgba(0,153,136,0.25)", "hover": "b = %{x:,.6~g}<br>L ≤ %{y:,}"}
    line(drawing, result.bases, result.lengths, "longest feasible context", GREEN, width=1.5, **area)
    record = np.maximum.accumulate(result.lengths)
    line(drawing, result.bases, record, "longest for any base up to b", BLUE, width=1.5, dash="dot", hover="L ≤ %{y:,}")
    inside = (result.table_lengths <= result.limit) & np.isfinite(result.blog)
    if inside.any():
        at = result.table_lengths[inside]
        hover = "b = %{x:,}<br>L = %{y:,}"
        points(drawing, result.blog[inside], at, "Su's table", ORANGE, size=10, symbol="circle-open", hover=hover)
        points(drawing, result.paper[inside], at, "the paper's table", INK, size=9, symbol="x-thin-open", hover=hover)
    points(drawing, [base], [length], "least base b*", RED, size=13, hover="b* = %{x:,.8~g}<br>L = %{y:,}")
    drag(drawing, len(drawing.data) - 1, y="length")
    across(drawing, y=length, color=RED)
    label(drawing, base, length, raw(f"b* = {base:,.0f}"), RED, xanchor="right", xshift=-8)
    left, right = min(result.bases[0], base) / 1.1, max(result.bases[-1], base) * 1.1
    drawing.x(span=(left, right), **(_ticks(left, right) if right / left < 100 else {}))
    low, high = max(1, min(int(result.lengths.min()), length) / 2), max(result.limit, length) * 1.3
    octaves = [2**i for i in range(21) if low <= 2**i <= high]
    drawing.y(span=(low, high), tickvals=octaves, ticktext=[f"{n:,}" for n in octaves])
    drawing.alt = say("The least base for {length} tokens is {base}.", length=length, base=f"{base:,.1f}")

    tokens = say("min f over m < {length}", length=length)
    around = figure(x="base b", y=tokens, log="x", height=340, title="Lowest similarity in the context")
    near = figure(x="b − b*", y=tokens, height=340, title="The first feasible stretch, close up")
    for drawn, x, y, where in (
        (around, result.around, result.around_lowest, "b: %{x:,.6~g}"),
        (near, result.near - base, result.near_lowest, "b − b*: %{x:,.4~g}"),
    ):
        band(drawn, x, np.zeros(len(x)), np.maximum(y, 0), color=GREEN, opacity=0.35)
        line(drawn, x, y, color=BLUE, hover=where + "<br>f: %{y:.3f}")
        across(drawn, y=0, dash="solid", width=1)
    around.x(**_ticks(result.around[0], result.around[-1]))
    points(around, [base], [0], color=RED, size=10, hover="b* = %{x:,.8~g}")
    facts = [
        [say("least base b*"), raw(f"{base:,.4f}")],
        [say("f is 0 at distance"), result.touching],
        [say("b* is feasible with at most this added"), result.fails_again - base],
        [say("estimate for d → ∞, L/0.6165"), result.estimate],
    ]
    summary = Table(("", say("L = {length}, d = {head_dim}", length=length, head_dim=result.head_dim)), facts)
    return [drawing, around, near, summary, *_published(result)]


def _ticks(low: float, high: float) -> dict:
    """1, 2 and 5 of each decade, written out."""
    steps = [decade * step for decade in 10.0 ** np.arange(-1, 13) for step in (1, 2, 5)]
    steps = [step for step in steps if low < step < 0.95 * high]
    return {"tickvals": steps, "ticktext": [short(step) for step in steps]}


def _published(result: FeasibleBases) -> list:
    """The least bases of 1,024 tokens doubled again and again, beside those in print."""
    lengths = [raw(f"{length >> 10}k") for length in result.table_lengths]
    least = [raw(f"{base:,.1f}") for base in result.table_bases]
    columns = {"L": lengths, "least base": least, "L/0.6165": result.table_lengths / COSINE_INTEGRAL_ZERO}
    if np.isnan(result.blog).any() or not lengths:
        return [Table(tuple(columns), list(zip(*columns.values(), strict=True)))] if lengths else []
    off = []
    for who, table, passes in (("Su", result.blog, result.blog_passes), ("paper", result.paper, result.paper_passes)):
        ratio = table / result.table_bases
        columns[who] = [
            raw(f"{base:.1e}".replace("e+0", "e") + ("" if fits else " ✗"))
            for base, fits in zip(table, passes, strict=True)
        ]
        columns[f"{who} / least"] = ratio
        off.append(", ".join(np.array(lengths)[abs(ratio - 1) > 0.05]) or "–")
    verdict = say(
        "Su's table is more than 5 % off at: {su}. The paper's: {paper}. Feasible bases come in narrow stretches, so a least "
        "base that is rounded to two digits may already lie outside the first one: ✗ marks bases that fail as printed.",
        su=off[0],
        paper=off[1],
    )
    table = Table(tuple(columns), list(zip(*columns.values(), strict=True)))
    return [Folded("Published tables, recomputed", [table, Prose(verdict)])]


def draw_wavelengths(result: Wavelengths) -> list:
    """Wavelength of each pair under each scaling, against the training length."""
    drawing = figure(x="pair i", y="wavelength 2π/θ (tokens)", log="y", height=520)
    rows = []
    new = "pair %{x} meets angles that training never showed"
    for i, key in enumerate(result.scalings):
        name, color, wave, unseen = SCALING[key], HUE[key], result.wavelength[i], result.unseen[i]
        line(drawing, result.pair, wave, name, color, dash=DASH.get(key), hover="i = %{x}<br>2π/θ = %{y:,.4~g}")
        if unseen.any():
            x, y = result.pair[unseen], wave[unseen]
            points(drawing, x, y, name, color, size=7, symbol="circle-open", legend=False, hover=new)
        longest, counts = wave[np.isfinite(wave)][-1], (int(result.incomplete[i]), int(unseen.sum()))
        rows.append([say(name), longest, *counts, result.attention[i]])
    trained, wanted = result.context_length, result.factor * result.context_length
    for tokens, text in (
        (trained, say("training length L = {length}", length=trained)),
        (wanted, say("wanted: kL = {length}", length=short(wanted))),
    ):
        across(drawing, y=tokens)
        label(drawing, 1.5, tokens, text, GREY)
    points(drawing, [0], [trained], "training length L", GREY, size=11, hover="L = %{y:,}", legend=False)
    drag(drawing, len(drawing.data) - 1, y="context_length")
    finite = result.wavelength[np.isfinite(result.wavelength)]
    bottom, top = finite.min() / 1.3, max(finite.max(), wanted) * 1.5
    band(drawing, [result.pair[0], result.pair[-1]], [trained] * 2, [top] * 2, color=RED, opacity=0.06)
    label(drawing, 1.5, top, "no full turn in training", RED, yanchor="top")
    drawing.y(span=(bottom, top))
    columns = ("scaling", "longest wavelength", "no full turn in L", "unseen angles", "cos and sin times")
    return [drawing, Table(columns, rows, "Pairs")]


def draw_dials(result: Dials) -> list:
    """A matrix of dials: a row for each way of writing, a column for each digit and its pair."""
    ways, digits = len(result.numerals), result.digits
    step = 2.5
    spots = np.arange(digits)[::-1] * step  # the lowest digit stands on the right
    heights = np.arange(ways)[::-1] * (step + 0.4)
    radii = (0.6, 1.0)  # of the digits' rings, of the pairs'
    circle = np.linspace(0, 1, 49)
    seen = (result.digit_seen, result.rotary_seen)
    turns = (result.digit_turns, result.rotary_turns)

    def at(turn: np.ndarray, radius: float, spot: np.ndarray | float, height: np.ndarray | float) -> list[np.ndarray]:
        return [spot + radius * np.sin(2 * np.pi * turn), height + radius * np.cos(2 * np.pi * turn)]

    def moment(t: int) -> list[dict]:
        """What moves: the beads of both rings, and the digits."""
        beads = []
        for turn, radius, known, size in zip(turns, radii, seen, (9, 12), strict=True):
            x, y = at(turn[t], radius, spots, heights[:, None])
            color = np.where(turn[t] <= known + 1e-6, BLUE, RED).ravel().tolist()
            beads.append(
                {
                    "x": x.ravel().round(3).tolist(),
                    "y": y.ravel().round(3).tolist(),
                    "marker": {"color": color, "size": size},
                }
            )
        digit = np.floor(result.digit_turns[t] * result.radices + 1e-5).astype(int)
        return [*beads, {"text": digit.ravel().astype(str).tolist()}]

    drawing = figure(height=600 if ways > 2 else 260 * ways, square=ways > 2, showlegend=False)
    places = [(float(spot), float(height)) for height in heights for spot in spots]
    x, y = map(list, zip(*places, strict=True))
    inner, outer, texts = moment(result.start)
    for name, beads in (("digits", inner), ("RoPE's pairs", outer)):
        points(drawing, beads["x"], beads["y"], name, hoverinfo="skip", marker=beads["marker"], zorder=1)
    points(drawing, x, y, text=texts["text"], mode="text", textfont={"size": 17}, hoverinfo="skip")
    for share, color, width, dash in ((np.ones((2, digits)), GREY, 1, "dot"), (np.stack(seen), GREEN, 4, None)):
        turn, radius = circle * share[:, None, :, None], np.array(radii)[:, None, None, None]
        rings = np.broadcast_arrays(
            *at(turn, radius, spots[:, None], heights[:, None, None])
        )  # [kind, way, digit, point] each
        gaps = [np.pad(ring, [(0, 0)] * 3 + [(0, 1)], constant_values=np.nan).ravel() for ring in rings]
        style = {"color": color, "width": width, "dash": dash, "simplify": False}  # else plotly makes polygons of them
        line(drawing, *gaps, color=color, hoverinfo="skip", line=style)
    for numeral, height in zip(result.numerals, heights, strict=True):
        label(drawing, -1.2, height + 1.15, say(NUMERAL[numeral]))
    for m, spot in enumerate(spots):
        label(drawing, spot, -1.2, raw(f"{result.radix}{POWERS[m]}"), GREY, xanchor="center", yanchor="top")
    for axis, low, high in ((drawing.x, -1.3, spots[0] + 1.3), (drawing.y, -1.9, heights[0] + 1.9)):
        axis(visible=False, fixedrange=True, range=[low, high])
    drawing.y(scaleanchor="x")
    drawing.update(margin={"l": 10, "r": 10, "t": 10, "b": 10})
    period, values = result.rotary_period.ravel().tolist(), result.positions.tolist()
    drag(drawing, 1, turn={"set": "position", "x": x, "y": y, "period": period, "values": values})
    scrub(
        drawing,
        [moment(t) for t in range(len(result.positions))],
        [f"{position:,}" for position in result.positions],
        name="position",
        start=result.start,
    )
    rows = [
        [
            say(NUMERAL[way]),
            raw(" · ".join(f"{radix:.4g}" for radix in radices[::-1])),
            raw(" · ".join(f"{value:g}" for value in values[::-1].round(3))),
            int(carried),
        ]
        for way, radices, values, carried in zip(
            result.numerals, result.radices, result.values, result.carried, strict=True
        )
    ]
    columns = ("way of writing", "radices", say("digits of {position}", position=result.position), "carried over")
    drawing.alt = say("Digits of {position} as it is: {digits}.", position=result.position, digits=rows[0][2])
    return [drawing, Table(columns, rows)]
