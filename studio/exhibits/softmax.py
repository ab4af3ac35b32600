"""Softmax and its alternatives: what a map from scores to probabilities may do."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from engines import softmax as family
from engines.softmax.checks import CHECKS
from engines.softmax.experiments import (
    MOST_CHARACTERS,
    MOST_SCORES,
    NAMES,
    Attention,
    Comparison,
    Losses,
    Perturbation,
    Sensitivity,
    SimplexMap,
    Sparsity,
    Speed,
    attention,
    compare,
    losses,
    perturb,
    sensitivity,
    simplex_map,
    sparsity,
    speed,
)
from studio.exhibit import Choice, Exhibit, Numbers, Range, Story, Table, Text, View
from studio.figure import COLORS, DIVERGING, GREY, SEQUENTIAL, figure, label

LABELS = {
    "softmax": "softmax",
    "entmax": "α-entmax",
    "sparsemax": "sparsemax",
    "top_k": "top-k softmax",
    "perturb_max": "perturb-max (uniform)",
    "taylor": "Taylor softmax",
    "sigmoid": "normalised sigmoid",
    "margin": "margin softmax",
}
COLOR = dict(zip(NAMES, COLORS, strict=True))
BAR = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 1.01,
    "yanchor": "bottom",
    "thickness": 10,
    "len": 0.7,
    "nticks": 5,
}
MAP = Choice("Map", LABELS)
MAPS = Choice("Maps", LABELS, several=True)
SCORES = Numbers("Scores", -10_000, 10_000, MOST_SCORES, least=2, help="Type your own, parted by commas.")
TEMPERATURE = Range("Temperature T", 0.05, 20, log=True, help="Every map is given score / T.")
ALPHA = Range("α of entmax", 1, 4, step=0.05, help="1 is softmax, 2 is sparsemax.", when={"maps": ["entmax"]})
TOP = Range(
    "k of top-k",
    1,
    MOST_SCORES,
    step=1,
    help="At most the number of scores.",
    when={"maps": ["top_k"]},
)
ORDER = Range("Order of Taylor", 2, family.MAX_ORDER, step=2, when={"maps": ["taylor"]})
MARGIN = Range(
    "Margin",
    0,
    5,
    step=0.1,
    help="Taken from the first score, the target's.",
    when={"maps": ["margin"]},
)
SEED = Range("Seed", 0, 999, step=1)
OWN = {"temperature": TEMPERATURE, "alpha": ALPHA, "k": TOP, "order": ORDER, "margin": MARGIN}


def number(value: float, digits: int = 3) -> float | str:
    """A rounded number for a table; a dash where there is none."""
    return "–" if math.isnan(value) else float(f"{value:.{digits}g}")


def draw_compare(result: Comparison) -> list:
    """Probabilities as grouped bars, one colour a map."""
    drawn = figure(x="score", y="probability", height=400, barmode="group", bargap=0.25)
    names = [f"{score:g}" for score in result.scores]
    for name, p in zip(result.maps, result.probabilities, strict=True):
        drawn.add_trace(
            go.Bar(
                x=np.arange(len(p), dtype=np.int16),
                y=p.astype(np.float32),
                name=LABELS[name],
                marker={"color": COLOR[name]},
                hovertemplate="%{y:.4f}<extra>" + LABELS[name] + "</extra>",
            )
        )
    drawn.update_xaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names)
    drawn.update_yaxes(range=[0, 1.02])
    rows = [
        [LABELS[name], int(size), number(h), "yes" if rising else "no", number(move) if move > 1e-9 else 0]
        for name, size, h, rising, move in zip(
            result.maps, result.support, result.entropy, result.monotone, result.shift, strict=True
        )
    ]
    return [drawn, Table(("map", "support", "entropy (nats)", "monotone", "moved by a shift of 1"), rows)]


def draw_sparsity(result: Sparsity) -> list:
    """Support above entropy, over temperature and over the number of scores."""
    panels = []
    settings = (
        ("temperature T", result.temperatures, result.support_by_temperature, result.entropy_by_temperature),
        ("number of scores n", result.sizes, result.support_by_size, result.entropy_by_size),
    )
    for x_title, x, support, entropy in settings:
        traces = [
            go.Scatter(
                x=x[np.isfinite(line)].astype(np.float32),
                y=line[np.isfinite(line)].astype(np.float32),
                yaxis=axis,
                mode="lines",
                name=LABELS[name],
                legendgroup=name,
                showlegend=axis == "y",  # the entropy's lines are the same
                line={"color": COLOR[name], "width": 2},
            )
            for axis, lines in (("y", support), ("y2", entropy))
            for name, line in zip(result.maps, lines, strict=True)
        ]
        panels.append(
            figure(
                traces,
                height=560,
                xaxis={"title": {"text": x_title}, "type": "log", "dtick": 1, "anchor": "y2"},
                yaxis={
                    "title": {"text": "support (entries > 0)"},
                    "type": "log",
                    "dtick": 1,
                    "domain": [0.53, 1],
                },
                yaxis2={"title": {"text": "entropy (nats)"}, "domain": [0, 0.47], "rangemode": "tozero"},
            )
        )
    return panels


def draw_simplex(result: SimplexMap) -> list:
    """Where the plane's grid lands in the triangle, and the support over the plane."""
    triangle = figure(height=430)
    color = COLOR[result.map]
    breaks = np.full((len(result.lines), 1, 3), np.nan)
    probabilities = result.lines @ result.corners.T + 1 / 3
    p1, p2, p3 = np.concatenate((probabilities, breaks), axis=1).reshape(-1, 3).T.astype(np.float32, order="C")
    triangle.add_trace(
        go.Scatterternary(
            a=p3,
            b=p1,
            c=p2,
            mode="lines",
            line={"color": color, "width": 1.2},
            name=LABELS[result.map],
            hovertemplate="p₁ %{b:.3f}<br>p₂ %{c:.3f}<br>p₃ %{a:.3f}<extra></extra>",
            showlegend=False,
        )
    )
    axis = {"ticks": "", "showticklabels": False, "showgrid": False, "linecolor": GREY}
    triangle.update_layout(
        ternary={
            "sum": 1,
            "bgcolor": "rgba(0,0,0,0)",
            "aaxis": {**axis, "title": {"text": "p₃"}},
            "baxis": {**axis, "title": {"text": "p₁"}},
            "caxis": {**axis, "title": {"text": "p₂"}},
        },
        xaxis={"visible": False},
        yaxis={"visible": False},
    )
    shades = ("#33a5d6", "#eebb66", "#cc5544")
    plane = figure(x="(s₁ − s₂) / √2", y="(2 s₃ − s₁ − s₂) / √6", height=430)
    plane.add_trace(
        go.Heatmap(
            x=result.axis.astype(np.float32),
            y=result.axis.astype(np.float32),
            z=result.support,
            zmin=0.5,
            zmax=3.5,
            colorscale=[(i / 3 + j / 3, shades[i]) for i in range(3) for j in range(2)],
            colorbar={**BAR, "tickvals": [1, 2, 3], "title": {"text": "entries above 0 "}},
            hovertemplate="support %{z}<extra></extra>",
        )
    )
    plane.update_layout(margin={"t": 64})
    plane.update_yaxes(scaleanchor="x", constrain="domain")
    plane.update_xaxes(constrain="domain")
    rows = [[size, f"{share:.1%}"] for size, share in zip((1, 2, 3), result.share, strict=True)]
    return [triangle, plane, Table(("entries above 0", "share of the square shown"), rows)]


def draw_sensitivity(result: Sensitivity) -> list:
    """The Jacobian as a heat map; every map's sparsity beside it."""
    largest = max(float(np.abs(result.jacobian).max()), 1e-6)
    names = [f"{i + 1}: {score:g}" for i, score in enumerate(result.scores)]
    drawn = figure(x="score s<sub>j</sub>", y="probability p<sub>i</sub>", height=430)
    drawn.add_trace(
        go.Heatmap(
            z=result.jacobian.astype(np.float32),
            x=names,
            y=[str(i + 1) for i in range(len(names))],
            zmin=-largest,
            zmax=largest,
            colorscale=[list(stop) for stop in DIVERGING],
            colorbar={**BAR, "title": {"text": "∂p/∂s "}},
            hovertemplate="∂p<sub>%{y}</sub>/∂s<sub>%{x}</sub> = %{z:.4f}<extra></extra>",
        )
    )
    drawn.update_layout(margin={"t": 64})
    drawn.update_yaxes(autorange="reversed", type="category")
    drawn.update_xaxes(type="category")
    rows = [
        [LABELS[name], number(half), number(law), f"{zeros:.0%}", f"{flat:.0%}"]
        for name, half, law, zeros, flat in zip(
            result.maps, result.half_norm, result.law, result.zeros, result.gradient_zeros, strict=True
        )
    ]
    return [drawn, Table(("map", "½‖J‖₁", "in closed form", "zeros in J", "zeros in a gradient"), rows)]


def draw_losses(result: Losses) -> list:
    """Cross-entropy where it is finite, and Fenchel-Young losses with the point from which they are 0."""
    cross = figure(x="the target's score t (others 0)", y="cross-entropy −log p (nats)", height=380)
    infinite = 0
    for name, values in zip(result.maps, result.cross_entropy, strict=True):
        finite = np.isfinite(values)
        cross.add_trace(
            go.Scatter(
                x=result.t[finite].astype(np.float32),
                y=values[finite].astype(np.float32),
                mode="lines",
                name=LABELS[name],
                line={"color": COLOR[name], "width": 2, "dash": "dash" if name == "top_k" else "solid"},
            )
        )
        if not finite.all() and finite.any():
            first = int(np.argmax(finite))
            infinite += 1
            label(cross, result.t[first], 7 - 0.7 * infinite, "∞ ←", COLOR[name], xanchor="right")
    cross.update_yaxes(range=[-0.15, 7])
    cross.update_xaxes(range=[-5, 5])
    young = figure(x="the target's score t (others 0)", y="Fenchel–Young loss", height=380)
    shades = {1.0: COLOR["softmax"], 2.0: COLOR["sparsemax"]}
    flat = []
    for i, (alpha, values) in enumerate(zip(result.alphas, result.fenchel_young, strict=True)):
        color = shades.get(float(alpha), (COLOR["entmax"], COLORS[6])[i % 2])
        named = {1.0: "α = 1: cross-entropy", 2.0: "α = 2: sparsemax loss"}.get(float(alpha), f"α = {alpha:g}")
        young.add_trace(
            go.Scatter(
                x=result.t.astype(np.float32),
                y=values.astype(np.float32),
                mode="lines",
                name=named,
                line={"color": color, "width": 2},
            )
        )
        if np.isfinite(result.flat_from[i]) and result.flat_from[i] <= 5:
            flat.append((float(result.flat_from[i]), color))
    if flat:
        leads, colors = zip(*flat, strict=True)
        young.add_trace(
            go.Scatter(
                x=leads,
                y=[0.0] * len(flat),
                mode="markers",
                marker={"color": colors, "size": 9},
                showlegend=False,
                hovertemplate="0 from a lead of %{x:.3g}<extra></extra>",
            )
        )
    young.update_yaxes(range=[-0.15, 7])
    young.update_xaxes(range=[-5, 5])
    return [cross, young]


def draw_perturbed(result: Perturbation) -> list:
    """Closed form, draws with two standard deviations, and softmax."""
    drawn = figure(x="score", y="probability of the largest sum", height=400, barmode="group", bargap=0.3)
    x = np.arange(len(result.scores), dtype=np.int16)
    for name, values, color, error in (
        ("closed form", result.exact, COLORS[0], None),
        (f"{result.samples:,} draws", result.frequency, COLORS[1], result.deviation),
        ("softmax", result.softmax, GREY, None),
    ):
        bars = go.Bar(x=x, y=values.astype(np.float32), name=name, marker={"color": color})
        if error is not None:
            bars.error_y = {"array": (2 * error).astype(np.float32), "thickness": 1.2, "width": 3, "color": GREY}
        drawn.add_trace(bars)
    drawn.update_xaxes(tickmode="array", tickvals=x.tolist(), ticktext=[f"{score:g}" for score in result.scores])
    rows = [
        [float(score), number(exact, 4), number(share, 4), number(soft, 4)]
        for score, exact, share, soft in zip(result.scores, result.exact, result.frequency, result.softmax, strict=True)
    ]
    return [drawn, Table(("score", f"{result.noise} noise, closed form", "drawn", "softmax"), rows)]


def draw_attention(result: Attention) -> list:
    """The attention matrix with its words, and how wide each map would spread."""
    words = [f"{word}{'​' * i}" for i, word in enumerate(result.words)]  # zero-width spaces keep equal words apart
    drawn = figure(x="attended word", y="attending word", height=600)
    drawn.add_trace(
        go.Heatmap(
            x=words,
            y=words,
            z=result.attention.astype(np.float32),
            zmin=0,
            colorscale=SEQUENTIAL,
            colorbar={**BAR, "title": {"text": "weight "}},
            hovertemplate="%{y} → %{x}: %{z:.3f}<extra></extra>",
        )
    )
    drawn.update_yaxes(autorange="reversed", tickfont={"size": 10}, title={"standoff": 4}, dtick=1)
    drawn.update_xaxes(tickangle=-90, tickfont={"size": 10}, dtick=1)
    drawn.update_layout(margin={"l": 84, "b": 90, "t": 64})
    rows = [
        [LABELS[name], number(size), number(h)]
        for name, size, h in zip(result.maps, result.support, result.entropy, strict=True)
    ]
    return [drawn, Table(("map", "words attended to (mean)", "entropy (mean, nats)"), rows)]


def draw_speed(result: Speed) -> list:
    """Median times as bars on a log axis, and what each gains on the published algorithm."""
    ms = result.seconds * 1e3
    drawn = figure(x="milliseconds (forward, median)", height=360)
    names = [name.replace("_", " ") for name in result.methods]
    published = ["_by_" in name for name in result.methods]
    drawn.add_trace(
        go.Bar(
            y=names,
            x=ms.astype(np.float32),
            orientation="h",
            marker={"color": [GREY if old else COLORS[0] for old in published]},
            text=[f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in ms],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3g} ms<extra></extra>",
        )
    )
    drawn.update_yaxes(autorange="reversed", automargin=True)
    drawn.update_xaxes(type="log", dtick=1, range=[math.log10(ms.min() / 2), math.log10(ms.max() * 6)])
    rows = [
        [name, number(ms[i]), "–" if peer == i else f"× {ms[peer] / ms[i]:.1f}"]
        for i, (name, peer) in enumerate(zip(names, result.peers, strict=True))
    ]
    said = f"{result.rows:,} × {result.n:,} float32, {result.threads} thread{'s' if result.threads > 1 else ''}"
    return [drawn, Table((said, "ms", "faster than published"), rows)]


VIEWS = (
    View(
        slug="compare",
        title="The same scores, many maps",
        caption="Softmax never gives exactly 0; sparsemax and entmax do. Of the scores 1.5, 1, 0.6, 0, −3 Taylor softmax of order 2 likes "
        "−3 better than 0.6: its polynomial grows again on the left. It and the normalised sigmoid also change when every score gains the same "
        "constant, which the others do not notice.",
        compute=compare,
        controls={"scores": SCORES, "maps": MAPS, **OWN},
        draw=draw_compare,
    ),
    View(
        slug="sparsity",
        title="How wide they spread",
        caption="Standard normal scores, mean of 10 rows. Softmax's support is always everything, and its entropy grows with the "
        "logarithm of n; the sparse maps keep a few entries alive, and hardly more as n grows. Perturb-max is "
        "shown up to 64 scores.",
        compute=sparsity,
        controls={
            "maps": MAPS,
            "n": Range("Number of scores n (temperature curves)", 2, 32, step=1),
            **OWN,
            "seed": SEED,
        },
        draw=draw_sparsity,
        seconds=0.2,
    ),
    View(
        slug="simplex",
        title="On the simplex",
        caption="A square grid of score triples, and where the map sends it. Softmax bends the whole plane into the open triangle; "
        "sparsemax lays the middle down flat and presses the rest onto edges and corners. The offset is added to all three "
        "scores: only Taylor softmax and the normalised sigmoid move.",
        compute=simplex_map,
        controls={"map": MAP, "offset": Range("Offset of all scores", -10, 10, step=0.5), **OWN},
        draw=draw_simplex,
    ),
    View(
        slug="jacobian",
        title="Jacobian",
        caption="How each probability answers to each score. ½‖J‖₁ is 1 − Σp² for softmax, so it vanishes when softmax is sure "
        "of itself; for sparsemax it is |S| − 1, S being the support. Zeros in the Jacobian are scores that learn nothing.",
        compute=sensitivity,
        controls={"map": MAP, "scores": SCORES, **OWN},
        draw=draw_sensitivity,
    ),
    View(
        slug="losses",
        title="Losses",
        caption="The target has score t, the other classes 0. Cross-entropy is infinite wherever a sparse map gives the target "
        "nothing; the Fenchel–Young loss of the same map is finite, has the gradient p − y, and is exactly 0 once the "
        "target leads by 1/(α − 1) (dots). Margin softmax still asks for more when softmax is content.",
        compute=losses,
        controls={
            "maps": MAPS,
            "classes": Range("Classes", 2, 32, step=1),
            **{name: control for name, control in OWN.items() if name != "temperature"},
        },
        draw=draw_losses,
    ),
    View(
        slug="perturb",
        title="The maximum under noise",
        caption="Add independent noise to every score and count which sum is largest. With Gumbel noise the frequencies tend to "
        "softmax exactly; with uniform noise on [0, 1] an entry $T$ below the maximum can never win, so the result is sparse. "
        "Error bars: two standard deviations of the draws.",
        compute=perturb,
        controls={
            "scores": SCORES,
            "temperature": TEMPERATURE,
            "noise": Choice(
                "Noise", {"gumbel": "Gumbel", "uniform": "uniform on [0, 1]", "normal": "normal, unit variance"}
            ),
            "samples": Range("Draws", 10, 100_000, step=1, log=True),
            "seed": SEED,
        },
        draw=draw_perturbed,
    ),
    View(
        slug="attention",
        title="As attention",
        caption="24 successive words attend to each other. The scores are real but modest: inner products of 16-dimensional "
        "vectors factored from the word co-occurrences of this very text (the opening of Alice in Wonderland, or yours), scaled "
        "to unit variance; no trained network is involved, and a word is often, not always, most like itself: inner products favour long vectors. The map decides how many "
        "words are looked at.",
        compute=attention,
        controls={
            "map": MAP,
            "text": Text("Text", MOST_CHARACTERS, lines=4, help="At least 24 words, or characters of Chinese."),
            "start": Range("First word", 0, 250, step=1),
            **OWN,
        },
        draw=draw_attention,
    ),
    View(
        slug="speed",
        title="Speed",
        caption="Timed on this server when you press Run. The published algorithms (grey) sort every row or bisect on all of it. "
        "Ours bounds the threshold with the maxima of a few columns, keeps the scores above the bound and solves on those: "
        "the fewer entries survive, the more is gained. Small scales or α near 1 keep everything alive.",
        compute=speed,
        controls={
            "rows": Range("Rows", 1, 1024, step=1, log=True),
            "columns": Range("Scores in a row", 16, 32_768, step=1, log=True),
            "scale": Range("Scale of the scores", 0.01, 100, log=True),
        },
        draw=draw_speed,
        live=False,
        seconds=5,
        brief={"rows": 4, "columns": 256},
    ),
)

STORIES = (
    Story(
        "Exactly zero",
        "Five scores, the largest 2. Softmax leaves 0.4% to the −3; entmax keeps three entries, and sparsemax gives all to "
        "the winner, because it leads by 1. Move α from 1 to 2 and watch the entries die one by one.",
        "compare",
        {"maps": ("softmax", "entmax", "sparsemax"), "scores": (2.0, 1.0, 0.5, 0.0, -3.0)},
    ),
    Story(
        "A polynomial is no exponential",
        "Second-order Taylor softmax gives the score −3 more than the score 0, since 1 + x + x²/2 is symmetric about −1. "
        "Raise the order and the fault moves further left; it never disappears.",
        "compare",
        {"maps": ("softmax", "taylor"), "order": 2},
    ),
    Story(
        "Attention that does not thin out",
        "As n grows, softmax spreads over ever more entries: its entropy rises with log n. Between 16 and 4,096 scores "
        "sparsemax goes from three entries to fewer than five, and 1.5-entmax from six to twenty-three.",
        "sparsity",
        {"maps": ("softmax", "entmax", "sparsemax", "top_k")},
    ),
    Story(
        "Why a sparse map needs its own loss",
        "Where sparsemax gives the target 0, its cross-entropy is infinite and its gradient nothing. The Fenchel–Young loss of "
        "sparsemax joins a straight line to a parabola there and stops exactly at a lead of 1.",
        "losses",
        {"maps": ("softmax", "sparsemax", "margin")},
    ),
    Story(
        "Gumbel's exact trick",
        "Gumbel noise and an argmax are a draw from softmax, not an approximation to one. Compare with uniform noise, "
        "whose closed form is a piecewise polynomial and gives 0 to all but the nearest rivals.",
        "perturb",
        {"noise": "gumbel", "samples": 20_000, "scores": (1.0, 0.6, 0.2, -0.5)},
    ),
    Story(
        "Where learning stops",
        "At high confidence softmax's Jacobian fades away, ½‖J‖₁ = 1 − Σp². Sparsemax keeps it whole inside the support, "
        "|S| − 1, and cuts it to exactly 0 outside.",
        "jacobian",
        {"map": "sparsemax", "scores": (0.3, 0.1, -0.2, -1.5)},
    ),
)


EXHIBIT = Exhibit(
    slug="softmax",
    title="Softmax",
    summary="From scores to probabilities: softmax, and seven alternatives: sparse, with a margin, polynomial, by noise.",
    sources=(
        (
            "Su Jianlin, The road to probability distributions: softmax and its alternatives",
            "https://kexue.fm/archives/10145",
        ),
        ("Martins, Astudillo, From Softmax to Sparsemax (2016)", "https://arxiv.org/abs/1602.02068"),
        ("Peters, Niculae, Martins, Sparse Sequence-to-Sequence Models (2019)", "https://arxiv.org/abs/1905.05702"),
        ("Blondel, Martins, Niculae, Learning with Fenchel-Young Losses (2020)", "https://arxiv.org/abs/1901.02324"),
        ("Wang et al., Additive Margin Softmax for Face Verification (2018)", "https://arxiv.org/abs/1801.05599"),
        (
            "de Brébisson, Vincent, Softmax Alternatives of the Spherical Loss Family (2016)",
            "https://arxiv.org/abs/1511.05042",
        ),
        ("Sun et al., Sparse-softmax: A Simpler and Faster Alternative (2021)", "https://arxiv.org/abs/2112.12433"),
        ("Maddison, Tarlow, Minka, A* Sampling (2014)", "https://arxiv.org/abs/1411.0030"),
    ),
    views=VIEWS,
    stories=STORIES,
    checks=CHECKS,
)
