"""RoPE: how far a base reaches, and what stretching it does."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from engines.rope.bases import BLOG, LENGTHS, FeasibleBases, feasible_bases
from engines.rope.checks import CHECKS
from engines.rope.curves import SimilarityCurves, similarity_curves
from engines.rope.digits import Dials, dials
from engines.rope.extrapolation import TRAINED_BASES, Extrapolation, extrapolation
from engines.rope.frequencies import Wavelengths, wavelengths
from studio.exhibit import Choice, Exhibit, Numbers, Range, Story, Table, View
from studio.figure import COLORS, GREY, across, figure, label, scrubbed

HEAD_DIM = Range("Head dimension d", 2, 512, step=2, help="Turned in d/2 pairs; 128 in Llama.")
BASES = Numbers("Bases b", 1.01, 1e12, most=6, help="Up to six at once.")
DISTANCE = Range("Distance shown (tokens)", 16, 1 << 20, step=1, log=True)
BASE = Range("Base b", 2, 1e9, log=True, help="10,000 in RoFormer and Llama 2, 500,000 in Llama 3.")
SCALING = {
    "none": "none",
    "linear": "linear (position interpolation)",
    "ntk": "NTK-aware",
    "ntk_fixed": "NTK-RoPE-fixed (Su)",
    "ntk_mixed": "NTK-RoPE-mixed (Su)",
    "dynamic": "dynamic NTK, at kL tokens",
    "by_parts": "NTK-by-parts",
    "yarn": "YaRN",
    "llama3": "Llama 3",
    "longrope": "LongRoPE, given factors",
    "proportional": "proportional (p-RoPE)",
}
SCALINGS = Choice("Scalings", SCALING, several=True)
STRETCHED = {"scaling": [name for name in SCALING if name not in ("none", "longrope")]}
EXPONENT = Range(
    "NTK-mixed exponent",
    0,
    1,
    step=0.005,
    help="0 is linear, 1 is NTK-fixed; Su found 0.625.",
    when={"scalings": ["ntk_mixed"]},
)
CONTEXT = Range(
    "Training length L (tokens)", 128, 131_072, step=1, log=True, when={"scaling": ["dynamic", "by_parts", "yarn"]}
)
FACTOR = Range(
    "Stretch k", 1, 1024, log=True, help="The context to be read is k times the training length.", when=STRETCHED
)
LONGROPE = Numbers(
    "LongRoPE factors", 1, 1e4, most=128, help="Spread evenly over the pairs.", when={"scalings": ["longrope"]}
)
SHORT = {
    "none": "none",
    "linear": "linear",
    "ntk": "NTK-aware",
    "ntk_fixed": "NTK-fixed",
    "ntk_mixed": "NTK-mixed",
    "dynamic": "dynamic",
    "by_parts": "by parts",
    "yarn": "YaRN",
    "llama3": "Llama 3",
    "longrope": "LongRoPE",
    "proportional": "proportional",
}


NUMERAL = {
    "none": "n as it is",
    "linear": "n/k (interpolation)",
    "ntk_fixed": "n in a larger radix (NTK-fixed)",
    "ntk_mixed": "n in a mixed radix (NTK-mixed)",
}


def short(number: float) -> str:
    """A number as people say it: 10k, 500k, 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def printed(base: float) -> str:
    """A base as the tables print it: 2.7e4."""
    return f"{base:.1e}".replace("e+0", "e")


def ticks(low: float, high: float) -> dict:
    """Ticks of a log axis that people can read: 1, 2, 5 of each decade, or the decades alone where there are many."""
    steps = (1, 2, 5) if high / low < 300 else (1,)
    values = [
        step * 10.0**decade
        for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for step in steps
        if low <= step * 10.0**decade <= high * 1.0001
    ]
    return {"tickvals": values, "ticktext": [short(value) for value in values]}


def draw_similarity(result: SimilarityCurves) -> list:
    """f_b over distance: the range of each bin, and where it first turns negative."""
    drawn = figure(x="distance m (tokens)", y="similarity f<sub>b</sub>(m)", height=460)
    x = result.bin_distance[1:].astype(np.float32)
    for i, base in enumerate(result.bases):
        color, name = COLORS[i % len(COLORS)], f"b = {short(base)}"
        drawn.add_trace(
            go.Scatter(
                x=np.concatenate((x, x[::-1])),
                y=np.concatenate((result.high[i, 1:], result.low[i, :0:-1])).astype(np.float32),
                fill="toself",
                mode="lines",
                line={"color": color, "width": 0.6},
                name=name,
                hoverinfo="skip",
            )
        )
        first = int(result.first_negative[i])
        if first >= 0:
            # Labels hang below the bands, where nothing covers them.
            low = -result.head_dim * (0.2 + 0.035 * i)
            drawn.add_trace(
                go.Scatter(
                    x=[first, first],
                    y=[0.0, low],
                    mode="lines+markers",
                    marker={"color": color, "size": [11, 0.1], "symbol": "x"},
                    line={"color": color, "width": 1, "dash": "dot"},
                    showlegend=False,
                    name=name,
                    hovertemplate=f"b = {base:,.6g}<br>first negative at {first:,}<extra></extra>",
                )
            )
            label(drawn, math.log10(first), low, f"{first:,}", color, xanchor="right", yanchor="middle", xshift=-4)
    across(drawn, y=0, line={"width": 1, "color": GREY})
    drawn.update_xaxes(type="log", range=[0, math.log10(result.distance)], **ticks(1, result.distance))
    drawn.update_yaxes(range=[-result.head_dim * (0.21 + 0.035 * len(result.bases)), result.head_dim * 0.52])
    rows = [
        [f"{base:,.6g}", f"{first:,}" if first >= 0 else f"none up to {result.distance:,}", low, int(where)]
        for base, first, low, where in zip(
            result.bases, result.first_negative, result.lowest, result.lowest_distance, strict=True
        )
    ]
    return [drawn, draw_decay(result), Table(("base", "first m with f < 0", "lowest f", "at m"), rows)]


def draw_least_base(result: FeasibleBases) -> list:
    """min f_b around the least base, and the first stretch of passing bases close up."""
    tokens = f"min f over m < {result.length:,}"
    drawn = _crossing(result.around, result.around_lowest, x="base b", y=tokens, height=340)
    drawn.add_trace(
        go.Scatter(
            x=[result.base],
            y=[0.0],
            mode="markers",
            marker={"color": COLORS[3], "size": 11},
            name="least base",
            hovertemplate=f"b* = {result.base:,.4f}<extra></extra>",
        )
    )
    label(drawn, math.log10(result.base), 0, f"b* = {result.base:,.0f}", COLORS[3], xanchor="right", xshift=-6)
    drawn.update_xaxes(type="log", **ticks(result.around[0], result.around[-1]))
    close = _crossing(
        result.near - result.base, result.near_lowest, x="b − b*: the first passing stretch", y=tokens, height=300
    )
    close.update_layout(showlegend=False)
    rows = [
        ["least base b*", f"{result.base:,.4f}"],
        ["where f is 0 at distance", f"{result.touching:,}"],
        ["it passes for at most another", f"{result.fails_again - result.base:,.5g}"],
        ["estimate for d → ∞, L/0.6165", f"{result.estimate:,.0f}"],
    ]
    return [
        draw_passing(result),
        drawn,
        close,
        draw_table(result),
        Table(("", f"L = {result.length:,}, d = {result.head_dim}"), rows),
    ]


def _crossing(bases: np.ndarray, worst: np.ndarray, **layout) -> go.Figure:
    drawn = figure(**layout)
    drawn.add_trace(
        go.Scatter(
            x=bases,
            y=np.maximum(worst, 0),
            mode="none",
            fill="tozeroy",
            fillcolor="rgba(0,153,136,0.35)",
            name="passes",
            hoverinfo="skip",
        )
    )
    drawn.add_trace(
        go.Scatter(
            x=bases,
            y=worst,
            mode="lines",
            line={"color": COLORS[0], "width": 2},
            name="lowest similarity",
            hovertemplate="%{x:,.6s}<br>min f = %{y:.3f}<extra></extra>",
        )
    )
    across(drawn, y=0, line={"width": 1, "color": GREY})
    return drawn


def draw_table(result: FeasibleBases) -> Table:
    """The least bases beside the published ones."""
    cells = zip(
        result.table_lengths,
        result.table_bases,
        result.blog,
        result.paper,
        result.blog_passes,
        result.paper_passes,
        strict=True,
    )
    rows = [
        [f"{length >> 10}k", f"{base:,.1f}", *_said(base, blog, ok), *_said(base, paper, fit)]
        for length, base, blog, paper, ok, fit in cells
    ]
    return Table(("L", "least base", "Su", "Su / least", "paper", "paper / least"), rows)


def _said(base: float, published: float, passes: int) -> tuple[str, str]:
    if math.isnan(published):
        return "-", "-"
    return printed(published), f"{published / base:.3f}{' ✗' if passes == 0 else ''}"


def draw_passing(result: FeasibleBases) -> go.Figure:
    """The longest context each base passes for."""
    drawn = figure(x="base b", y="passes up to L (tokens)", height=440)
    drawn.add_trace(
        go.Scatter(
            x=result.bases.astype(np.float32),
            y=result.lengths.astype(np.float32),
            mode="lines",
            line={"color": COLORS[2], "width": 1.5},
            fill="tozeroy",
            fillcolor="rgba(0,153,136,0.25)",
            name="passes below this line",
            hovertemplate="b = %{x:,.5s}<br>passes up to %{y:,.0f} tokens<extra></extra>",
        )
    )
    drawn.add_trace(
        go.Scatter(
            x=result.bases.astype(np.float32),
            y=np.maximum.accumulate(result.lengths).astype(np.float32),
            mode="lines",
            line={"color": COLORS[0], "width": 1.5, "dash": "dot"},
            name="best base so far",
            hoverinfo="skip",
        )
    )
    inside = [
        (base, length)
        for base, length in zip(BLOG, LENGTHS, strict=True)
        if result.head_dim == 128 and result.bases[0] <= base <= result.bases[-1] and length <= result.limit
    ]
    if inside:
        drawn.add_trace(
            go.Scatter(
                x=[base for base, _ in inside],
                y=[length for _, length in inside],
                mode="markers",
                marker={"color": COLORS[1], "size": 10, "symbol": "circle-open", "line": {"width": 2}},
                name="Su's table",
            )
        )
    low = max(1, int(result.lengths.min()) // 2)
    drawn.update_xaxes(type="log", **ticks(result.bases[0], result.bases[-1]))
    drawn.update_yaxes(type="log", **ticks(low, result.limit), range=[math.log10(low), math.log10(result.limit * 1.3)])
    return drawn


def draw_wavelengths(result: Wavelengths) -> list:
    """Wavelength of each pair, under each scaling, against the training length."""
    drawn = figure(x="pair i", y="wavelength 2π/θ (tokens)", height=460)
    for i, name in enumerate(result.scalings):
        color = COLORS[i % len(COLORS)]
        wave = result.wavelength[i].astype(np.float32)
        drawn.add_trace(
            go.Scatter(
                x=result.pair,
                y=wave,
                mode="lines",
                line={"color": color, "width": 2},
                name=SHORT[name],
                hovertemplate="pair %{x}<br>%{y:,.4s} tokens<extra>" + SHORT[name] + "</extra>",
            )
        )
        unseen = result.unseen[i]
        if unseen.any():
            drawn.add_trace(
                go.Scatter(
                    x=result.pair[unseen],
                    y=wave[unseen],
                    mode="markers",
                    marker={"color": color, "size": 6, "symbol": "circle-open"},
                    showlegend=False,
                    name=f"{SHORT[name]}, unseen angles",
                    hovertemplate="pair %{x} meets angles never seen in training<extra>" + SHORT[name] + "</extra>",
                )
            )
    reach = result.factor * result.context_length
    for tokens, text in ((result.context_length, "trained"), (reach, "wanted")):
        across(drawn, y=tokens, line={"width": 1, "dash": "dash", "color": GREY})
        label(drawn, 0, math.log10(tokens), f"{text}: {tokens:,.0f}")
    drawn.update_yaxes(
        type="log",
        **ticks(result.wavelength.min(), max(result.wavelength[np.isfinite(result.wavelength)].max(), reach)),
    )
    rows = [
        [SCALING[name], short(wave[-1]), int(partial), int(unseen.sum()), attention]
        for name, wave, partial, unseen, attention in zip(
            result.scalings, result.wavelength, result.incomplete, result.unseen, result.attention, strict=True
        )
    ]
    columns = (
        "scaling",
        "longest wavelength",
        "no full turn in L",
        "unseen angles",
        "cos, sin ×",
    )
    return [drawn, Table(columns, rows)]


def draw_dials(result: Dials) -> list:
    """A ring for each digit and each pair, with a bead that turns as the position grows."""
    drawn = figure(height=380, showlegend=False)
    circle = np.linspace(0, 1, 61)
    spots = [(result.digits - 1 - m) * 2.6 for m in range(result.digits)]
    rows = (("digits", 3.0), ("RoPE pairs", 0.0))
    turns = np.stack([result.digit_turns[:, 0], result.rotary_turns[:, 0]], axis=1)  # [moment, row, dial]
    seen = np.stack([result.digit_seen, result.rotary_seen])

    def at(turns: np.ndarray, spot: np.ndarray | float, height: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        return spot + np.sin(2 * np.pi * turns), height + np.cos(2 * np.pi * turns)

    x, y = (way.round(3) for way in at(turns, np.array(spots), np.array([[height] for _, height in rows])))
    color = np.where(turns <= seen + 1e-6, COLORS[0], COLORS[3])
    digit, degree = (turns[:, 0] * result.radix + 1e-5).astype(int), 360 * turns[:, 1]

    def moment(t: int) -> list[dict]:
        """What moves."""
        text = [*map(str, digit[t]), *(f"{angle:.0f}°" for angle in degree[t])]
        beads = {"x": x[t].ravel().tolist(), "y": y[t].ravel().tolist()}
        return [{**beads, "marker": {"color": color[t].ravel().tolist(), "size": 15}}, {"text": text}]

    beads, texts = moment(result.start)
    heights = [height for _, height in rows for _ in spots]
    drawn.add_traces(
        [
            go.Scatter(**beads, mode="markers", hoverinfo="skip"),
            go.Scatter(**texts, x=spots * 2, y=heights, mode="text", textfont={"size": 14}, hoverinfo="skip"),
        ]
    )
    places = [(spot, height) for _, height in rows for spot in spots]
    whole = [at(circle, *place) for place in places]
    known = [at(circle * share, *place) for share, place in zip(seen.ravel(), places, strict=True)]
    smooth = {"simplify": False}  # else plotly makes polygons of them
    for arcs, line in ((whole, {"color": GREY, "width": 1, "dash": "dot"}), (known, {"color": COLORS[2], "width": 4})):
        ring = [np.concatenate([np.append(arc[axis], np.nan) for arc in arcs]).astype(np.float32) for axis in (0, 1)]
        drawn.add_trace(go.Scatter(x=ring[0], y=ring[1], mode="lines", line=line | smooth, hoverinfo="skip"))
    for name, height in rows:
        label(drawn, -1.2, height + 1.25, name)
    hidden = {"visible": False, "fixedrange": True}
    drawn.update_xaxes(**hidden)
    drawn.update_yaxes(**hidden, scaleanchor="x", range=[-1.2, 4.9])
    drawn.update_layout(margin={"l": 10, "r": 10, "t": 10})
    scrubbed(
        drawn,
        [moment(t) for t in range(len(result.positions))],
        [f"{position:,}" for position in result.positions],
        name="position",
        start=result.start,
    )
    written = [
        [
            NUMERAL[way],
            " · ".join(f"{radix:.4g}" for radix in radices[::-1]),
            " · ".join(f"{value:g}" for value in values[::-1].round(3)),
            int(carried) or "-",
        ]
        for way, radices, values, carried in zip(
            result.numerals, result.radices, result.values, result.carried, strict=True
        )
    ]
    columns = ("way of writing", "radices", f"digits of {result.position:,}", "left over")
    return [drawn, Table(columns, written)]


def draw_decay(result: SimilarityCurves) -> go.Figure:
    """The mean |S_j| over distance."""
    drawn = figure(x="distance m (tokens)", y="mean |S<sub>j</sub>|", height=420)
    for i, (base, bound) in enumerate(zip(result.bases, result.bound, strict=True)):
        drawn.add_trace(
            go.Scatter(
                x=result.bound_distance[1:].astype(np.float32),
                y=bound[1:],
                mode="lines",
                line={"color": COLORS[i % len(COLORS)], "width": 1.5},
                name=f"b = {short(base)}",
                hovertemplate="m = %{x:,.0f}<br>%{y:.2f}<extra>b = " + short(base) + "</extra>",
            )
        )
    drawn.update_xaxes(type="log", **ticks(1, result.distance))
    drawn.update_yaxes(rangemode="tozero")
    return drawn


def draw_extrapolation(result: Extrapolation) -> list:
    """What context beyond the trained length costs the embedded models, and their loss itself."""
    excess = _over_position(result, result.excess, "excess loss (nats a byte)", 420)
    drawn = _over_position(result, result.loss, "loss (nats a byte)", 320)
    across(excess, y=0, line={"width": 1, "color": GREY})
    drawn.update_layout(showlegend=False)
    rows = [
        [short(base), SHORT[scaling], *(round(float(v), 3) for v in (inside, beyond, beyond - inside))]
        for base, scaling, inside, beyond in zip(
            result.bases, result.scalings, result.inside, result.beyond, strict=True
        )
    ]
    trained, length = result.context_length, result.length
    columns = ("base", "scaling", f"bytes {trained // 2}–{trained}", f"bytes {length // 2:,}–{length:,}", "change")
    return [excess, drawn, Table(columns, rows)]


def _over_position(result: Extrapolation, values: np.ndarray, y: str, height: int) -> go.Figure:
    drawn = figure(x="position (bytes)", y=y, height=height)
    bases, scalings = list(dict.fromkeys(result.bases.tolist())), list(dict.fromkeys(result.scalings))
    for c, (base, scaling) in enumerate(zip(result.bases, result.scalings, strict=True)):
        place, hue = bases.index(base), scalings.index(scaling)
        said = [f"b = {short(base)}"] * (len(bases) > 1) + [SHORT[scaling]] * (len(scalings) > 1 or len(bases) == 1)
        name = ", ".join(said)
        drawn.add_trace(
            go.Scatter(
                x=result.position[1:].astype(np.float32),
                y=values[c, 1:].astype(np.float32),
                mode="lines",
                line={
                    "color": COLORS[(hue if len(scalings) > 1 else place) % len(COLORS)],
                    "width": 2,
                    "dash": ("solid", "dash", "dot", "dashdot", "longdash")[place] if len(scalings) > 1 else "solid",
                },
                name=name,
                customdata=result.error[c, 1:].astype(np.float32),
                hovertemplate="byte %{x:,.0f}<br>%{y:.3f} ± %{customdata:.3f}<extra>" + name + "</extra>",
            )
        )
    across(drawn, x=result.context_length, line={"width": 1, "dash": "dash", "color": GREY})
    label(drawn, math.log10(result.context_length), 1, " trained", yref="paper", yanchor="top")
    octaves = [8 << i for i in range(9) if 8 << i <= result.length]
    drawn.update_xaxes(type="log", tickvals=octaves, ticktext=[f"{n:,}" for n in octaves])
    return drawn


EXHIBIT = Exhibit(
    slug="rope",
    title="RoPE",
    summary="How far a rotary embedding's base reaches, and what each way of stretching it does.",
    sources=(
        ("Su et al., RoFormer", "https://arxiv.org/abs/2104.09864"),
        ("Su, RoPE is a β-base encoding", "https://kexue.fm/archives/9675"),
        ("Su, Taking β-base positions to the end", "https://kexue.fm/archives/9706"),
        ("Su, Choosing RoPE's base", "https://kexue.fm/archives/10122"),
        ("Men et al., Base of RoPE Bounds Context Length", "https://arxiv.org/abs/2405.14591"),
        ("Chen et al., Position Interpolation", "https://arxiv.org/abs/2306.15595"),
        ("Peng et al., YaRN", "https://arxiv.org/abs/2309.00071"),
        ("Ding et al., LongRoPE", "https://arxiv.org/abs/2402.13753"),
    ),
    views=(
        View(
            slug="similarity",
            title="Similarity over distance",
            caption=(
                "$f_b(m)=\\sum_i\\cos(m\\,b^{-2i/d})$ says how much more attention a key like the query gets than a "
                "random one at distance $m$. It sinks, wavering; the cross marks where it first turns negative: from "
                "there on likeness may count against a key. Each band spans the least and greatest value of its bin, "
                "so no dip is hidden."
            ),
            compute=similarity_curves,
            controls={
                "bases": BASES,
                "head_dim": HEAD_DIM,
                "distance": DISTANCE,
                "scaling": Choice("Scaling", {name: text for name, text in SCALING.items() if name != "longrope"}),
                "factor": FACTOR,
                "context_length": CONTEXT,
            },
            draw=draw_similarity,
        ),
        View(
            slug="least-base",
            title="The least base for a length",
            caption=(
                "The worst similarity in a context of $L$ tokens, for bases around $b^*$, the least one that keeps it from "
                "turning negative. It crosses zero again and again: a larger base can fail where a smaller one "
                "passes, so bisection gives wrong answers. This search moves up only through bases proved to fail. Below, "
                "the first passing stretch close up: it can be narrower than a thousandth of the base."
            ),
            compute=feasible_bases,
            controls={
                "length": Range("Context length wanted L (tokens)", 3, 65_536, step=1, log=True),
                "head_dim": HEAD_DIM,
                "base_low": Range("Bases from", 10, 1e7, log=True),
                "base_high": Range("Bases to", 100, 1e9, log=True),
                "limit": Range("Lengths up to (tokens)", 256, 65_536, step=1, log=True),
            },
            draw=draw_least_base,
            seconds=0.3,
        ),
        View(
            slug="wavelengths",
            title="Wavelengths and scalings",
            caption=(
                "Pair $i$ makes a full turn every $2\\pi/\\theta_i$ tokens. Pairs above the training length never "
                "complete one, so part of their circle stays unseen; open circles are pairs that would meet new angles "
                "before $kL$ tokens. Each scaling is another answer to which pairs to slow down."
            ),
            compute=wavelengths,
            controls={
                "head_dim": HEAD_DIM,
                "base": BASE,
                "context_length": CONTEXT,
                "factor": FACTOR,
                "scalings": SCALINGS,
                "exponent": EXPONENT,
                "longrope_factors": LONGROPE,
            },
            draw=draw_wavelengths,
        ),
        View(
            slug="digits",
            title="A number system on dials",
            caption=(
                "Digits and RoPE's pairs are the same clocks: each turns $\\beta$ times slower than the one to its right. "
                "A digit's dial goes round in $\\beta$ steps of its place, a pair's in $2\\pi$. The green arc is what "
                "training went over; a red bead stands where it never did. Scrub the position, and change how it is "
                "written to bring the beads back."
            ),
            compute=dials,
            controls={
                "position": Range("Position n", 0, 100_000, step=1),
                "numerals": Choice("Written as", NUMERAL, several=True),
                "factor": FACTOR,
                "radix": Range("Radix β", 2, 64, step=1),
                "digits": Range("Digits (d/2)", 2, 8, step=1),
                "context_length": Range("Positions trained on", 2, 100_000, step=1, log=True),
                "exponent": EXPONENT,
            },
            draw=draw_dials,
        ),
        View(
            slug="extrapolation",
            title="Measured beyond the trained length",
            caption=(
                "Five tiny byte-level models, alike in everything but their base, were trained on 128 bytes and now read "
                "texts they have not seen. The upper figure compares with the same model when it sees only the last 64 "
                "to 127 bytes: 0 means that the longer context does no harm, below 0 that it helps. Each scaling is put on "
                "the trained weights as they are. Colour tells the scaling, and the dash the base."
            ),
            compute=extrapolation,
            controls={
                "trained_bases": Choice(
                    "Trained with base", {base: short(float(base)) for base in TRAINED_BASES}, several=True
                ),
                "scalings": SCALINGS,
                "factor": FACTOR,
                "length": Range("Bytes read", 256, 2048, step=1, log=True),
                "texts": Range("Texts read", 1, 16, step=1, help="More texts, less noise."),
                "longrope_factors": LONGROPE,
            },
            draw=draw_extrapolation,
            live=False,
            seconds=3,
            brief={"scalings": ("none",), "length": 256, "texts": 1},
        ),
    ),
    stories=(
        Story(
            "Why base 10,000 fails at 32k",
            "With base 10,000 the similarity first turns negative at distance 1,707: from there on a random key may "
            "outbid a matching one. A base of 500,000, Llama 3's, holds ten times as far, to 18,438 tokens. Both cross "
            "long before 32k.",
            "similarity",
            {"bases": (10_000.0, 500_000.0), "distance": 32_768},
        ),
        Story(
            "Interpolation widens the window",
            "Squeeze positions eightfold and base 10,000 keeps its similarity from turning negative eight times as far. "
            "That is Su's reading of why interpolation works: instead of a base that reaches farther, smaller steps.",
            "similarity",
            {"bases": (10_000.0,), "scaling": "linear", "factor": 8.0},
        ),
        Story(
            "A larger base can be worse",
            "For 8,192 tokens base 83,764 passes, and 100,000 fails. The blue line dips below zero several times after "
            "its first touch; Su, too, began with bisection and had to give it up.",
            "least-base",
            {"length": 8192},
        ),
        Story(
            "What a grid of bases misses",
            "The paper tried bases on a grid and reports 16,000 for 2k tokens; Su's finer search finds 12,000, and the "
            "exact one 11,587.2. At 1M the paper's 5.1e8 is nearly eight times too large: raise the limit and press Run, "
            "if you have some minutes.",
            "least-base",
            {"length": 32_768},
        ),
        Story(
            "The jagged frontier",
            "Read this map along a horizontal line: passing and failing bases alternate. The ridge of least bases rises "
            "faster than in proportion: from 1k to 1M tokens, 1,024 times the length, it takes 15,000 times the base.",
            "least-base",
            {},
        ),
        Story(
            "Eighteen pairs that never turn",
            "At base 10,000 and 4,096 tokens, 18 of 64 pairs never complete a turn. Read eight times as far without "
            "scaling, they meet new angles. Linear interpolation spares them and crowds every fast pair; NTK-aware "
            "leaves the fast ones be, but some middle pairs overshoot; YaRN does neither.",
            "wavelengths",
            {"scalings": ("none", "linear", "ntk", "yarn")},
        ),
        Story(
            "Low digits first",
            "Su's mixed radix stretches low digits more than high ones, as high digits are trained least. With exponent 1 "
            "every digit is stretched alike, with 0 it is position interpolation; 0.625 lies between, on the side of "
            "NTK-fixed.",
            "wavelengths",
            {"scalings": ("linear", "ntk_fixed", "ntk_mixed"), "exponent": 0.625},
        ),
        Story(
            "1,749 on four dials",
            "A model trained on numbers below 1,000 has seen the fourth digit only as 0, and a sixth of a turn of its "
            "pair. At 1,749 both beads are red. Write n/8 instead, or write it in radix 16.8, and they fall back "
            "onto the arc; interpolation pays with a lowest digit that moves in eighths.",
            "digits",
            {"position": 1749},
        ),
        Story(
            "The decay RoFormer promised",
            "At base 10,000 the bound falls to a third within a hundred tokens. Raise the base to reach farther, and "
            "the decay that was meant to favour near tokens fades.",
            "similarity",
            {"bases": (10_000.0, 500_000.0, 100_000_000.0)},
        ),
        Story(
            "Trained on 128, read on 2,048",
            "As they were trained, all five models fare worse with the whole text in view than with its last hundred bytes. "
            "The largest base, whose slow pairs had hardly moved by byte 128, falls first and ends worst.",
            "extrapolation",
            {"trained_bases": TRAINED_BASES, "scalings": ("none",), "texts": 8},
        ),
        Story(
            "What interpolation costs without retraining",
            "Linear interpolation is flat, but two and a half nats worse from the first bytes on: neighbours crowd "
            "together, which no one taught the model to read. YaRN leaves the fast pairs alone: stretched eightfold it "
            "costs one or two tenths of a nat out to 1,024 bytes, eight times the trained length, and climbs after.",
            "extrapolation",
            {"trained_bases": ("100",), "scalings": ("none", "linear", "yarn"), "factor": 8.0},
        ),
    ),
    checks=CHECKS,
)
