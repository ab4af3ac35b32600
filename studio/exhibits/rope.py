"""RoPE: how far a base reaches, and what stretching it does."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from engines.rope import first_negative, inverse_frequencies, similarity, yarn_ramp
from engines.rope.curves import SimilarityCurves, similarity_curves
from engines.rope.frequencies import Wavelengths, wavelengths
from studio.exhibit import Check, Choice, Exhibit, Numbers, Range, Story, Table, View
from studio.figure import COLORS, figure, label

HEAD_DIM = Range("Head dimension d", 2, 256, step=2, help="Turned in d/2 pairs; 128 in Llama.")
BASE = Range("Base b", 2, 1e9, log=True, help="10,000 in RoFormer and Llama 2, 500,000 in Llama 3.")
CONTEXT = Range("Training length L (tokens)", 128, 131_072, step=1, log=True)
FACTOR = Range("Stretch k", 1, 64, log=True, help="The context to be read is k times the training length.")
SCALING = {
    "none": "none",
    "linear": "linear (position interpolation)",
    "ntk": "NTK-aware",
    "ntk_fixed": "NTK-RoPE-fixed (Su)",
    "ntk_mixed": "NTK-RoPE-mixed (Su)",
    "dynamic": "dynamic NTK, at kL tokens",
    "by_parts": "NTK-by-parts",
    "yarn": "YaRN",
    "longrope": "LongRoPE, given factors",
}
SHORT = {
    "none": "none",
    "linear": "linear",
    "ntk": "NTK-aware",
    "ntk_fixed": "NTK-fixed",
    "ntk_mixed": "NTK-mixed",
    "dynamic": "dynamic",
    "by_parts": "by parts",
    "yarn": "YaRN",
    "longrope": "LongRoPE",
}


def short(number: float) -> str:
    """A number as people say it: 10k, 500k, 1.2M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def draw_similarity(result: SimilarityCurves) -> list:
    """f_b over distance: the range of each bin, and where it first turns negative."""
    drawn = figure(x="distance m (tokens)", y="similarity f<sub>b</sub>(m)", height=460, hovermode="closest")
    x = np.maximum(result.bin_distance, 0.7).astype(np.float32)
    for i, base in enumerate(result.bases):
        color = COLORS[i % len(COLORS)]
        outline = np.concatenate((result.high[i], result.low[i][::-1])).astype(np.float32)
        drawn.add_trace(
            go.Scatter(
                x=np.concatenate((x, x[::-1])),
                y=outline,
                fill="toself",
                mode="lines",
                line={"color": color, "width": 1},
                opacity=0.8,
                name=f"b = {short(base)}",
                hoverinfo="skip",
            )
        )
        first = int(result.first_negative[i])
        if first >= 0:
            drawn.add_trace(
                go.Scatter(
                    x=[first],
                    y=[0.0],
                    mode="markers",
                    marker={"color": color, "size": 11, "symbol": "x"},
                    showlegend=False,
                    name=f"b = {short(base)}",
                    hovertemplate=f"b = {base:,.6g}<br>first negative at {first:,}<extra></extra>",
                )
            )
            label(drawn, math.log10(first), 0, f"{first:,}", color, yshift=10 + 14 * i, xanchor="center")
    drawn.add_hline(y=0, line={"width": 1, "color": "#888888"})
    drawn.update_xaxes(type="log", range=[math.log10(0.7), math.log10(result.distance)])
    drawn.update_yaxes(range=[-result.head_dim * 0.24, result.head_dim * 0.52])
    rows = [
        [f"{base:,.6g}", f"{first:,}" if first >= 0 else f"none up to {result.distance:,}", low, int(where)]
        for base, first, low, where in zip(
            result.bases, result.first_negative, result.lowest, result.lowest_distance, strict=True
        )
    ]
    return [drawn, Table(("base", "first m with f < 0", "lowest f", "at m"), rows)]


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
        drawn.add_hline(y=tokens, line={"width": 1, "dash": "dash", "color": "#888888"})
        label(drawn, 0, math.log10(tokens), f"{text}: {short(tokens)}")
    drawn.update_yaxes(type="log", exponentformat="power", dtick=1)
    rows = [
        [SCALING[name], short(wave[-1]), int(partial), int(unseen.sum()), attention]
        for name, wave, partial, unseen, attention in zip(
            result.scalings, result.wavelength, result.partial, result.unseen, result.attention, strict=True
        )
    ]
    columns = (
        "scaling",
        "longest wavelength",
        "pairs with no full turn in L",
        "pairs with unseen angles",
        "cos, sin ×",
    )
    return [drawn, Table(columns, rows)]


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
                "bases": Numbers("Bases b", 1.01, 1e12, most=6, help="Up to six."),
                "head_dim": HEAD_DIM,
                "distance": Range("Distance shown (tokens)", 16, 1 << 20, step=1, log=True),
                "scaling": Choice("Scaling", {k: v for k, v in SCALING.items() if k != "longrope"}),
                "factor": FACTOR,
                "context_length": CONTEXT,
            },
            draw=draw_similarity,
        ),
        View(
            slug="wavelengths",
            title="Wavelengths and scalings",
            caption=(
                "Pair $i$ makes a full turn every $2\\pi/\\theta_i$ tokens. Pairs above the training length "
                "never complete one, so part of their circle stays unseen; open circles are pairs that would meet "
                "new angles before $kL$ tokens. Each scaling is another answer to which pairs to slow down."
            ),
            compute=wavelengths,
            controls={
                "head_dim": HEAD_DIM,
                "base": BASE,
                "context_length": CONTEXT,
                "factor": FACTOR,
                "scalings": Choice("Scalings", SCALING, several=True),
                "exponent": Range(
                    "NTK-mixed exponent", 0, 1, step=0.005, help="0 is linear, 1 is NTK-fixed; Su: 0.625."
                ),
                "longrope_factors": Numbers("LongRoPE factors", 1, 1e4, most=128, help="Spread evenly over the pairs."),
            },
            draw=draw_wavelengths,
        ),
    ),
    stories=(
        Story(
            "Why base 10,000 fails at 32k",
            "With base 10,000 the similarity first turns negative at distance 1,707: from there on a random key may "
            "outbid a matching one. A base of 500,000, Llama 3's, holds ten times as far, to 18,438 tokens.",
            "similarity",
            {"bases": (10_000.0, 500_000.0), "distance": 32_768},
        ),
    ),
    checks=(
        Check(
            "θ of the last pair, d = 128, b = 10,000",
            "RoFormer §3.2.2",
            1.1548e-4,
            1e-4,
            lambda: inverse_frequencies(128, 10_000.0)[-1].item(),
            relative=True,
        ),
        Check("f(1), b = 10,000", "closed form", 62.093684, 1e-6, lambda: similarity(1, 128, 10_000.0).item()),
        Check(
            "first negative distance, b = 10,000",
            "arXiv 2405.14591",
            1707,
            0,
            lambda: first_negative(128, 10_000.0),
        ),
        Check("YaRN's ramp, L = 4,096", "its code", (20, 46), 0, lambda: yarn_ramp(128, 10_000.0, 4096)),
    ),
)
