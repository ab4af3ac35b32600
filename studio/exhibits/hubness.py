"""Hubness: some points are everyone's neighbour, and most are nobody's."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engines.hubness import (
    METHODS,
    boundary,
    compare_reductions,
    concentration,
    latent_filter,
    latent_samples,
    skewness_against_dimension,
    survey,
    survey_file,
)
from engines.hubness.checks import CHECKS
from engines.hubness.experiments import Boundary, Concentration, Reductions, SkewnessCurve, Survey
from engines.hubness.files import TEXTS, said_of
from engines.hubness.latents import LatentFilter, LatentSamples
from engines.hubness.measures import at_random
from studio.exhibit import Choice, Exhibit, Pictures, Prose, Range, Story, Table, Toggle, Upload, View, verbatim
from studio.figure import COLORS, GREY, SEQUENTIAL, across, figure, label

CLOUD = 1500  # points a scatter plot shows, hubs among them
ORDINARY, HUB, CHANCE = COLORS[0], COLORS[1], COLORS[2]

LAWS = {
    "uniform": "uniform on the cube",
    "normal": "standard normal",
    "sphere": "uniform on the sphere",
    "mixture": "mixture of eight normals",
}
SETS = LAWS | {
    "digits": "handwritten digits (1,797)",
    "emoji": "emoji, as pixels (1,600)",
    "sentences": "sentences of stories (1,500)",
}
METRICS = {
    "euclidean": "Euclidean",
    "cosine": "cosine",
    "centred cosine": "centred cosine",
    "inner product": "inner product",
    "lp": "Lp, exponent p below",
}
REDUCTIONS = {
    "none": "plain Euclidean",
    "mutual proximity": "mutual proximity, Gaussian",
    "mutual proximity empirical": "mutual proximity, counted",
    "local scaling": "local scaling",
    "nicdm": "NICDM",
    "dissimlocal": "DisSimLocal",
    "csls": "CSLS",
    "centring": "centred inner product",
    "cosine": "cosine",
}

METHOD_COLORS = dict(zip(REDUCTIONS, (GREY, *COLORS), strict=True))

DATA = Choice("Points", SETS)
LAWS_DRAWN = {"data": list(LAWS)}
DIMENSION = Range("Dimension d", 1, 1000, log=True, when=LAWS_DRAWN)
INTRINSIC = Range(
    "Intrinsic dimension", 0, 1000, help="Dimensions the points really fill; 0 means all of them.", when=LAWS_DRAWN
)
POINTS = Range("Number of points n", 50, 5000, step=50)
FEW_POINTS = Range("Number of points n", 50, 2000, step=50)
K = Range("Neighbours k", 1, 49, log=True)
METRIC = Choice("Distance", METRICS)
P = Range("Exponent p of Lp", 0.1, 10, log=True, when={"metric": ["lp"]})
LOG = Toggle("Log axes", help="Of the histogram.")
LATENTS = Range("Latents drawn", 100, 10_000, step=100)
NEIGHBOURS = Range("List length k", 1, 50, step=1, help="5 in the papers quoted here.")
SEED = Range("Seed", 0, 999, step=1)


def _ticks(top: float) -> dict:
    """A log axis of N_k, with 0 drawn at one half."""
    values = [v for v in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if v <= top * 1.3]
    return {
        "type": "log",
        "tickvals": [0.5, *values],
        "ticktext": ["0", *map(str, values)],
        "range": [-0.4, math.log10(max(top, 2) * 1.3)],
    }


def draw_survey(result: Survey) -> list:
    """The histogram, N_k against the distance to the mean, the cloud, the hubs and the antihubs."""
    return [
        _histogram(result),
        Table(
            ("", "found", "if neighbours were random"),
            [
                ["skewness of Nₖ", round(result.unequal.skewness, 3), round(result.random.skewness, 3)],
                ["Robin Hood index", round(result.unequal.robin_hood, 3), round(result.random.robin_hood, 3)],
                ["antihubs (nobody's neighbour)", f"{result.unequal.antihubs:.1%}", f"{result.random.antihubs:.1%}"],
                ["slots held by hubs (Nₖ ≥ 2k)", f"{result.unequal.hub_share:.1%}", f"{result.random.hub_share:.1%}"],
                ["most chosen point, Nₖ", result.unequal.largest, result.random.largest],
                ["rank correlation of Nₖ with distance to the mean", round(result.rank_correlation, 3), 0],
            ],
            title=f"{result.n:,} points, {result.dimension:,} dimensions, k = {result.k}",
        ),
        *_gallery(result),
        _against_mean(result),
        _cloud(result),
        *([Prose(verbatim(said_of(result.reading)))] if result.reading else []),
    ]


def _histogram(result: Survey) -> go.Figure:
    width = (result.bin_right - result.bin_left).astype(np.float32)
    edges = np.append(result.bin_left, result.bin_right[-1]).astype(np.float32)
    drawn = figure(
        x=f"N<sub>{result.k}</sub>, times among others' {result.k} nearest", y="points per unit of N", height=400
    )
    floor = 0.4 * float((result.bin_points / width)[result.bin_points > 0].min())
    if result.log_counts:
        edges[0] = 0.5
    for name, points, color in (
        ("found", result.bin_points, ORDINARY),
        ("binomial (random)", result.bin_binomial, CHANCE),
    ):
        height = (points / width).astype(np.float32)
        if result.log_counts:
            height = np.maximum(height, floor)
        drawn.add_trace(
            go.Scatter(
                x=edges,
                y=np.append(height, height[-1]),
                mode="lines",
                line={"shape": "hv", "color": color, "width": 2, "dash": "solid" if color == ORDINARY else "dash"},
                fill="tozeroy" if color == ORDINARY else None,
                name=name,
                hovertemplate="N = %{x:.0f}: %{y:.3g} points<extra>" + name + "</extra>",
            )
        )
    if result.log_counts:
        drawn.update_xaxes(**_ticks(float(edges[-1])))
        highest = float(max((result.bin_points / width).max(), (result.bin_binomial / width).max()))
        drawn.update_yaxes(type="log", dtick=1, range=[math.log10(floor), math.log10(highest * 1.6)])
    else:
        drawn.update_yaxes(rangemode="tozero")
    return drawn


def _shown(counts: np.ndarray) -> np.ndarray:
    """Which points to draw, least chosen first so that hubs lie on top."""
    order = np.argsort(counts, kind="stable")
    if len(order) <= CLOUD:
        return order
    hubs = order[-100:]
    return np.concatenate([order[:-100][:: math.ceil(len(order) / CLOUD)], hubs])


def _marker(counts: np.ndarray, k: int) -> dict:
    top = max(float(counts.max()), 2 * k)
    ticks = [v for v in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if v <= top]
    return {
        "color": np.log10(counts + 1).astype(np.float32),
        "colorscale": SEQUENTIAL,
        "cmin": 0,
        "cmax": math.log10(top + 1),
        "size": np.clip(3 + 1.2 * np.sqrt(counts), 3, 22).astype(np.float32),
        "opacity": 0.85,
        "line": {"width": 0.5, "color": GREY},
        "colorbar": {
            "title": {"text": "N"},
            "tickvals": [math.log10(v + 1) for v in ticks],
            "ticktext": [str(v) for v in ticks],
            "thickness": 10,
        },
    }


def _against_mean(result: Survey) -> go.Figure:
    chosen = _shown(result.counts)
    counts = result.counts[chosen]
    drawn = figure(x="distance to the mean", y=f"N<sub>{result.k}</sub>", height=380)
    drawn.add_trace(
        go.Scatter(
            x=result.from_mean[chosen],
            y=np.maximum(counts, 0.5).astype(np.float32),
            mode="markers",
            marker={"color": ORDINARY, "size": 5, "opacity": 0.5},
            customdata=counts,
            hovertemplate="N = %{customdata}, %{x:.3g} from the mean<extra></extra>",
            showlegend=False,
        )
    )
    across(drawn, y=result.k, line={"width": 1, "dash": "dash", "color": GREY})
    axis = _ticks(float(result.counts.max()))
    drawn.update_yaxes(**axis)
    drawn.add_annotation(
        text=f"Spearman ρ = {result.rank_correlation:+.2f}",
        x=0.98,
        y=0.98,
        xref="paper",
        yref="paper",
        showarrow=False,
        xanchor="right",
        yanchor="top",
    )
    return drawn


def _cloud(result: Survey) -> go.Figure:
    chosen = _shown(result.counts)
    counts = result.counts[chosen]
    drawn = figure(x="first principal direction", y="second principal direction", height=440)
    drawn.add_trace(
        go.Scatter(
            x=result.cloud[chosen, 0],
            y=result.cloud[chosen, 1],
            mode="markers",
            marker=_marker(counts, result.k),
            customdata=counts,
            hovertemplate="N = %{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    drawn.update_yaxes(scaleanchor="x")
    return drawn


def _gallery(result: Survey) -> list:
    if len(result.hub_pictures):
        seen = [f"N = {n:,}" for n in result.hub_counts]
        unseen = [f"N = {n:,}" for n in result.antihub_counts]
        return [
            Pictures(result.hub_pictures, seen, title="Everyone's neighbours"),
            Pictures(result.antihub_pictures, unseen, title="The least chosen"),
        ]
    if result.hub_texts:
        hubs = zip(result.hub_counts[:6].tolist(), result.hub_texts[:6], strict=True)
        antihubs = zip(result.antihub_counts[:6].tolist(), result.antihub_texts[:6], strict=True)
        rows = [[n, text] for n, text in (*hubs, *antihubs)]
        return [Table(("N", "sentence"), rows, title="The six most chosen, then the six least")]
    return []


def _lottery(drawn: go.Figure, n: int, k: int) -> None:
    """The skewness that N_k has if neighbours are drawn by lot."""
    skew = at_random(n, k).skewness
    across(drawn, y=skew, line={"width": 1, "dash": "dot", "color": GREY})
    drawn.add_annotation(
        text=f"by lot: {skew:.2f}", x=0.0, y=skew, xref="paper", showarrow=False, xanchor="left", yanchor="bottom"
    )


def draw_curve(result: SkewnessCurve) -> list:
    """Skewness over dimension, with the spread of the seeds."""
    drawn = figure(x="dimension d", y=f"skewness of N<sub>{result.k}</sub>", height=440)
    done = np.isfinite(result.skewness).all((0, 2))
    d = result.dimensions[done].astype(np.float32)
    for i, law in enumerate(result.laws):
        found, color = result.skewness[i, done], COLORS[list(LAWS).index(law)]
        low, high = found.min(1), found.max(1)
        drawn.add_trace(
            go.Scatter(
                x=np.concatenate((d, d[::-1])),
                y=np.concatenate((high, low[::-1])).astype(np.float32),
                fill="toself",
                mode="lines",
                line={"width": 0, "color": color},
                showlegend=False,
                hoverinfo="skip",
                name=f"{LAWS[law]}, seeds",
            )
        )
        drawn.add_trace(
            go.Scatter(
                x=d,
                y=found.mean(1).astype(np.float32),
                mode="lines+markers",
                line={"color": color, "width": 2},
                name=LAWS[law],
            )
        )
    _lottery(drawn, result.points, result.k)
    ticks = [2, 5, 10, 20, 50, 100, 200]
    drawn.update_xaxes(
        type="log", tickvals=ticks, ticktext=[str(t) for t in ticks], range=[math.log10(1.8), math.log10(220)]
    )
    rows = [
        [LAWS[law], *[round(float(v), 2) for v in result.skewness[i, done].mean(1)]]
        for i, law in enumerate(result.laws)
    ]
    columns = ("mean skewness, d =", *[str(int(v)) for v in result.dimensions[done]])
    return [drawn, Table(columns, rows)]


def draw_reductions(result: Reductions) -> list:
    """Lorenz curves of the neighbour slots, and the measures before and after."""
    drawn = figure(x="share of the points, least chosen first", y="share of all neighbour slots they hold", height=480)
    share = np.linspace(0, 1, 81).astype(np.float32)
    for method, counts in zip(result.methods, result.counts, strict=True):
        held = np.concatenate(([0], np.sort(counts).cumsum())) / counts.sum()
        drawn.add_trace(
            go.Scatter(
                x=share,
                y=np.interp(share, np.linspace(0, 1, len(held)), held).astype(np.float32),
                mode="lines",
                line={"color": METHOD_COLORS[method], "width": 4 if method == "none" else 2},
                name=REDUCTIONS[method],
                hovertemplate="the least chosen %{x:.0%} hold %{y:.1%}<extra>" + REDUCTIONS[method] + "</extra>",
            )
        )
    drawn.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "width": 1, "dash": "dot"}, name="all alike")
    )
    for axis in (drawn.update_xaxes, drawn.update_yaxes):
        axis(tickformat=".0%", range=[0, 1], nticks=6)
    rows = [
        [
            REDUCTIONS[method],
            round(u.skewness, 3),
            round(u.robin_hood, 3),
            f"{u.antihubs:.1%}",
            f"{u.hub_share:.1%}",
            u.largest,
        ]
        for method, u in zip(result.methods, result.unequal, strict=True)
    ]
    title = f"{result.n:,} points, {result.dimension:,} dimensions, k = {result.k}"
    return [drawn, Table(("", "skewness", "Robin Hood", "antihubs", "held by hubs", "largest N"), rows, title=title)]


def draw_concentration(result: Concentration) -> list:
    """Spread of distances over dimension, their histograms, and the ball in its cube."""
    names = ("L½", "L1", "L2 (Euclidean)", "L∞")
    ticks = [1, 3, 10, 30, 100, 300]
    spread = figure(x="dimension d", y="std ÷ mean of the distance of two points", height=400)
    for i, name in enumerate(names):
        spread.add_trace(
            go.Scatter(
                x=result.dimensions,
                y=result.spread[i].astype(np.float32),
                mode="lines+markers",
                line={"color": COLORS[i], "width": 2},
                name=name,
            )
        )
    if np.isfinite(result.limit).any():
        spread.add_trace(
            go.Scatter(
                x=result.dimensions,
                y=result.limit.astype(np.float32),
                mode="lines",
                line={"color": GREY, "dash": "dot"},
                name="1/√(2d)",
            )
        )
    spread.update_xaxes(type="log", tickvals=ticks, ticktext=[str(t) for t in ticks])
    parts = (0.02, 0.05, 0.1, 0.2, 0.5)
    spread.update_yaxes(type="log", tickvals=parts, ticktext=[str(part) for part in parts])
    contrast = Table(
        ("(farthest − nearest) ÷ nearest, d =", *[str(int(d)) for d in result.dimensions[1:]]),
        [[name, *[f"{v:.3g}" for v in row[1:]]] for name, row in zip(names, result.contrast, strict=True)],
        title=f"Contrast among {result.pairs:,} distances from one point",
    )
    shape = figure(x="Euclidean distance ÷ its mean", y="density", height=380)
    middle = ((result.bin_edges[1:] + result.bin_edges[:-1]) / 2).astype(np.float32)
    for i, d in enumerate(result.shown):
        shape.add_trace(
            go.Scatter(
                x=middle,
                y=result.bin_density[i].astype(np.float32),
                mode="lines",
                line={"color": COLORS[i], "width": 2, "shape": "hvh"},
                name=f"d = {d}",
            )
        )
    ball = figure(x="dimension d", y="share of the volume", height=400)
    ball.add_trace(
        go.Scatter(
            x=result.ball_dimension,
            y=result.ball_share,
            mode="lines+markers",
            line={"color": COLORS[0]},
            marker={"size": 4},
            name="ball ÷ its cube, V<sub>d</sub>/2<sup>d</sup>",
        )
    )
    ball.add_trace(
        go.Scatter(
            x=result.ball_dimension,
            y=result.shell,
            mode="lines",
            line={"color": COLORS[1], "width": 2},
            name=f"of the ball, in its outer {result.rim:.0%}",
        )
    )
    ball.update_xaxes(range=[0.5, 30.5])
    ball.update_yaxes(type="log", range=[-14, 0.4], dtick=2, exponentformat="power")
    return [spread, contrast, shape, ball]


def draw_boundary(result: Boundary) -> list:
    """Skewness with and without an edge, and hubs in the plane."""
    names = {
        "cube": "cube",
        "glued cube": "cube, opposite faces glued",
        "sphere": "sphere",
        "ball": "ball",
        "normal": "normal",
    }
    drawn = figure(x="dimension d", y=f"skewness of N<sub>{result.k}</sub>", height=420)
    done = np.isfinite(result.skewness).all(0)
    edgeless = ("glued cube", "sphere")
    for i, place in enumerate(result.places):
        drawn.add_trace(
            go.Scatter(
                x=result.dimensions[done],
                y=result.skewness[i, done].astype(np.float32),
                mode="lines+markers",
                line={"color": COLORS[i], "width": 2, "dash": "solid" if place in edgeless else "dash"},
                name=names[place],
            )
        )
    _lottery(drawn, result.points, result.k)
    ticks = [2, 5, 10, 20, 50, 100]
    drawn.update_xaxes(type="log", tickvals=ticks, ticktext=[str(t) for t in ticks])
    flat = make_subplots(1, 3, horizontal_spacing=0.04)
    top = max(float(result.flat_counts.max()), 1.0)
    captions = ("square", "square, sides glued", "normal")
    every = math.ceil(result.points / 700)
    for i, (points, counts) in enumerate(zip(result.flat, result.flat_counts, strict=True)):
        marker = {
            "color": counts[::every],
            "colorscale": SEQUENTIAL,
            "cmin": 0,
            "cmax": top,
            "size": 5,
            "showscale": i == 2,
        }
        if i == 2:
            marker["colorbar"] = {
                "title": {"text": "N", "side": "bottom"},
                "orientation": "h",
                "y": -0.02,
                "yanchor": "top",
                "thickness": 9,
                "len": 0.7,
            }
        flat.add_trace(
            go.Scatter(
                x=points[::every, 0],
                y=points[::every, 1],
                mode="markers",
                marker=marker,
                hovertemplate="N = %{marker.color}<extra></extra>",
                showlegend=False,
            ),
            1,
            i + 1,
        )
        flat.update_xaxes(visible=False, row=1, col=i + 1)
        flat.update_yaxes(visible=False, scaleanchor="x" if i == 0 else f"x{i + 1}", row=1, col=i + 1)
        flat.add_annotation(
            text=f"{captions[i]}<br>Robin Hood {result.flat_robin_hood[i]:.2f}",
            xref="x domain" if i == 0 else f"x{i + 1} domain",
            yref="paper",
            x=0.5,
            y=1.0,
            showarrow=False,
            yanchor="bottom",
        )
    house = figure(height=320)
    flat.update_layout(
        template="none", height=house.layout.height, margin={"l": 10, "r": 10, "t": 60, "b": 56}, hovermode="closest"
    )
    note = (
        f"In the plane, with k = {result.flat_k:,}, {result.share:.0%} of the {result.points:,} points: the colour is N. "
        "Where there is a middle, it is everyone's neighbour; glue the sides and no place is special."
    )
    return [drawn, flat, Prose(note)]


def draw_latent(result: LatentFilter) -> list:
    """Lengths of the kept latents among all, N_k against length, and what each threshold leaves."""
    middle = ((result.bin_edges[1:] + result.bin_edges[:-1]) / 2).astype(np.float32)
    lengths = figure(x="length ‖z‖ of the latent", y="latents", height=380, barmode="overlay")
    kept = f"kept, N ≥ {result.threshold} ({result.kept_share:.1%})"
    lengths.add_trace(go.Bar(x=middle, y=result.bin_all, marker={"color": ORDINARY}, opacity=0.5, name="all"))
    lengths.add_trace(go.Bar(x=middle, y=result.bin_kept, marker={"color": HUB}, name=kept))
    lengths.update_layout(bargap=0)
    across(lengths, x=result.chi_mean, line={"width": 1, "dash": "dash", "color": GREY})
    label(lengths, result.chi_mean, float(result.bin_all.max()), f" mean of χ: {result.chi_mean:.2f}")
    scatter = figure(x="length ‖z‖ of the latent", y=f"N<sub>{result.k}</sub>", height=380)
    chosen = _shown(result.counts)
    for name, part, color in (("all", ~result.kept[chosen], ORDINARY), (kept, result.kept[chosen], HUB)):
        some = chosen[part]
        scatter.add_trace(
            go.Scatter(
                x=result.norms[some],
                y=np.maximum(result.counts[some], 0.5).astype(np.float32),
                mode="markers",
                marker={"color": color, "size": 5, "opacity": 0.6},
                name=name,
                customdata=result.counts[some],
                hovertemplate="N = %{customdata}, length %{x:.2f}<extra></extra>",
            )
        )
    scatter.update_yaxes(**_ticks(float(result.counts.max())))
    leaves = figure(x="threshold t", y="mean length of what N ≥ t keeps", height=360)
    leaves.add_trace(
        go.Scatter(
            x=np.maximum(result.thresholds, 0.5).astype(np.float32),
            y=result.norm_above.astype(np.float32),
            mode="lines",
            line={"color": HUB, "width": 2},
            customdata=result.share_above.astype(np.float32),
            hovertemplate="N ≥ %{x:.0f} keeps %{customdata:.2%}, mean length %{y:.2f}<extra></extra>",
            showlegend=False,
        )
    )
    for share in (0.5, 0.1, 0.01):
        reached = np.flatnonzero(result.share_above <= share)
        if len(reached) and np.isfinite(result.norm_above[reached[0]]):
            i = reached[0]
            label(
                leaves,
                math.log10(max(result.thresholds[i], 0.5)),
                float(result.norm_above[i]),
                f"{result.share_above[i]:.2g} kept".replace("0.", "."),
            )
    leaves.update_xaxes(**_ticks(float(result.thresholds[-1])))
    said = f"Of {result.latents:,} latents in {result.dimension:,} dimensions {result.kept_share:.2%} are kept. " + (
        "None is left: lower the threshold."
        if math.isnan(result.norm_kept)
        else f"Their mean length is {result.norm_kept:.2f} against {result.norm_all:.2f}: the truncation trick would need ψ = {result.truncation:.3f} to shorten as much."
    )
    return [lengths, Prose(said), scatter, leaves]


def draw_samples(result: LatentSamples) -> list:
    """A row of pictures a kind of latent, and how long and how popular the latents are."""
    told = {
        "hubs": "Hubs: the latents on most lists",
        "ordinary": f"Ordinary latents: on about {result.k} lists, as many as the mean",
        "ordinary, shortened": f"The same latents, shortened to the hubs' length (× {result.shortening:.3f})",
        "antihubs": "Antihubs: on no list",
    }
    rows = [
        Pictures(
            pictures,
            # N of a shortened latent is not that of the latent it was
            [
                f"‖z‖ = {norm:.1f}" if "shortened" in group else f"N = {n}, ‖z‖ = {norm:.1f}"
                for n, norm in zip(counts, norms, strict=True)
            ],
            title=told[group],
        )
        for group, pictures, counts, norms in zip(
            result.groups, result.pictures, result.counts, result.norms, strict=True
        )
    ]
    said = (
        f"Step {result.step} of {result.steps}. {result.latents:,} latents in {result.dimension:,} dimensions, mean length "
        f"{result.norm_all:.2f}; the {len(result.norms[0])} hubs are {1 - result.shortening:.1%} shorter than ordinary ones."
    )
    return [*rows, Prose(said)]


EXHIBIT = Exhibit(
    slug="hubness",
    title="Hubness",
    summary="Ask every point for its ten nearest. In high dimension a few points are on hundreds of lists and many on none: why that is, whether it must be, and what undoes it.",
    sources=(
        ("Su Jianlin, “维度灾难”之Hubness现象浅析 (2022)", "https://kexue.fm/archives/9147"),
        (
            "Radovanović, Nanopoulos, Ivanović, Hubs in Space, JMLR 11 (2010)",
            "https://www.jmlr.org/papers/v11/radovanovic10a.html",
        ),
        (
            "Low, Borgelt, Stober, Nürnberger, The Hubness Phenomenon: Fact or Artifact? (2013)",
            "https://doi.org/10.1007/978-3-642-30278-7_21",
        ),
        (
            "Feldbauer, Flexer, A comprehensive empirical comparison of hubness reduction (2019)",
            "https://doi.org/10.1007/s10115-018-1205-y",
        ),
        (
            "Schnitzer, Flexer, Schedl, Widmer, Local and Global Scaling Reduce Hubs in Space, JMLR 13 (2012)",
            "https://jmlr.org/papers/v13/schnitzer12a.html",
        ),
        (
            "Liang, Wu, Lai, Qin, Exploring and Exploiting Hubness Priors for High-Quality GAN Latent Sampling (2022)",
            "https://arxiv.org/abs/2206.06014",
        ),
    ),
    views=(
        View(
            slug="occurrence",
            title="Who is on whose list",
            caption=(
                "Every point names its $k$ nearest; $N_k(x)$ counts the lists that $x$ is on. The mean is always $k$. "
                "If lists were drawn by lot, $N_k$ would follow the dashed binomial (all but a Poisson of mean $k$); "
                "in high dimension the tail runs far to the right, and the points nearest to the mean fill it."
            ),
            compute=survey,
            controls={
                "data": DATA,
                "dimension": DIMENSION,
                "intrinsic": INTRINSIC,
                "points": POINTS,
                "k": K,
                "metric": METRIC,
                "p": P,
                "log_counts": LOG,
                "seed": SEED,
            },
            draw=draw_survey,
        ),
        View(
            slug="dimension",
            title="Skewness grows with dimension",
            caption=(
                "The skewness of $N_k$ for point sets of growing dimension; bands span the seeds. On the sphere, "
                "where no place is more central than another, nothing grows beyond what a lottery would give "
                "(dotted)."
            ),
            compute=skewness_against_dimension,
            controls={
                "laws": Choice("Laws", LAWS, several=True),
                "metric": METRIC,
                "p": P,
                "sample": Range("Points per set", 100, 10_000, step=100),
                "neighbours": NEIGHBOURS,
                "seeds": Range("Seeds", 1, 10, step=1),
                "seed": SEED,
            },
            draw=draw_curve,
            live=False,
            seconds=4,
            brief={"sample": 200, "seeds": 1},
        ),
        View(
            slug="reduction",
            title="Sharing neighbours out again",
            caption=(
                "Line the points up from the least to the most chosen, and add up the slots they hold: a Lorenz "
                "curve. The further it sags below the diagonal, the fewer points hold everything; its greatest sag is "
                "the Robin Hood index, the share of slots that would have to change hands. The grey curve is the "
                "plain distance; the others are secondary distances made from it, or other measures of likeness."
            ),
            compute=compare_reductions,
            controls={
                "data": DATA,
                "dimension": DIMENSION,
                "intrinsic": INTRINSIC,
                "few_points": FEW_POINTS,
                "k": K,
                "methods": Choice(
                    "Reductions", {name: REDUCTIONS[name] for name in METHODS if name != "none"}, several=True
                ),
                "seed": SEED,
            },
            draw=draw_reductions,
            live=False,
            seconds=2,
            brief={"few_points": 200},
        ),
        View(
            slug="concentration",
            title="Distances agree, balls vanish",
            caption=(
                "Two reasons behind the curse. Distances between random points concentrate: their spread falls like "
                "$1/\\sqrt d$ against their mean, in every $L_p$ norm with finite $p$. And the ball in its cube is a "
                "vanishing part of it, $V_d/2^d = \\pi^{d/2}/(2^d\\,\\Gamma(d/2+1))$, with nearly all of its own "
                "volume at the rim: hardly any point lies near the centre, and whichever comes closest is near to "
                "all."
            ),
            compute=concentration,
            controls={
                "law": Choice("Law", LAWS),
                "pairs": Range("Pairs per dimension", 100, 5000, step=100),
                "rim": Range("Outer shell, share of the radius", 0.001, 0.9),
                "seed": SEED,
            },
            draw=draw_concentration,
        ),
        View(
            slug="artefact",
            title="Fact or artefact",
            caption=(
                "Low and colleagues hold that dimension is not the cause: hubs need a density gradient, and an edge "
                "makes one. Solid lines are spaces without an edge, evenly filled, and they stay near what a "
                "lottery would give (dotted) in every dimension; dashed ones have a middle. Below, hubs in the plane: with "
                "lists of 30% of the set, as at first, the middle of a square is on nearly half of them, that of a normal on more."
            ),
            compute=boundary,
            controls={
                "few_points": FEW_POINTS,
                "k": K,
                "share": Range("List length in the plane, share of n", 0.01, 0.9),
                "seed": SEED,
            },
            draw=draw_boundary,
            live=False,
            seconds=5,
            brief={"few_points": 100},
        ),
        View(
            slug="latent",
            title="Hub latents of a generator",
            caption=(
                "A generator draws its latent from a standard normal. Liang and colleagues keep only the draws with "
                "$N_k \\ge t$ among many, and see better pictures. The kept ones are the short ones: the filter is a "
                "truncation that lets the neighbours decide, and the price is how few remain."
            ),
            compute=latent_filter,
            controls={
                "latent_dimension": Range("Dimension d", 1, 1000, log=True),
                "latents": LATENTS,
                "neighbours": NEIGHBOURS,
                "threshold": Range("Threshold t", 0, 300, step=1),
                "seed": SEED,
            },
            draw=draw_latent,
        ),
        View(
            slug="samples",
            title="What hub latents become",
            caption=(
                "The same filter on a real generator: the initial noise of a small diffusion model of emoji, taken to "
                "its picture by DDIM. Compare hubs with antihubs, and with ordinary noise shortened to the hubs' "
                "length: whatever the shortening alone explains is truncation, not hubness. A diffusion model scales "
                "its noise as it goes, so expect less than the paper sees on GANs."
            ),
            compute=latent_samples,
            controls={
                "model": Choice("Generator", ("ddpm-emoji-32", "google/ddpm-cifar10-32")),
                "latents": LATENTS,
                "neighbours": NEIGHBOURS,
                "each": Range("Pictures of each kind", 1, 10, step=1),
                "steps": Range("Denoising steps", 2, 100, step=1),
                "seed": SEED,
            },
            draw=draw_samples,
            live=False,
            seconds=8,
            brief={"latents": 100, "each": 1, "steps": 2},
            gpu=True,
        ),
        View(
            slug="yours",
            title="Your own points",
            caption=(
                "Embeddings from your own work: a .npy, .npz or text table (CSV, TSV, word2vec, GloVe), one point a row, up to 100,000 of them. "
                "Counts are exact and the file is only ever read as numbers; without a file you see the built-in "
                "sentences."
            ),
            compute=survey_file,
            controls={
                "path": Upload("Table of points", (".npy", ".npz", *TEXTS), 200),
                "k": K,
                "metric": METRIC,
                "p": P,
                "log_counts": LOG,
            },
            draw=draw_survey,
            live=False,
            seconds=1,
        ),
    ),
    stories=(
        Story(
            "Three dimensions: a fair world",
            (
                "Two thousand points in a three-dimensional cube. Hardly anyone is on more than twenty lists and "
                "nobody is on none: $N_{10}$ hugs the binomial that a lottery would give."
            ),
            "occurrence",
            {"data": "uniform", "dimension": 3},
        ),
        Story(
            "A hundred dimensions: celebrities",
            (
                "The same number of normal points in a hundred dimensions. One of them is among the ten nearest of "
                "508 others, and a fifth of all points are on no list at all. The rank correlation says who the "
                "celebrities are: those closest to the mean."
            ),
            "occurrence",
            {"data": "normal", "dimension": 100},
        ),
        Story(
            "Only the intrinsic dimension counts",
            (
                "A hundred coordinates again, but the points fill only three directions of them. The hubs are gone: "
                "what counts is how many dimensions the data really has, as Radovanović and colleagues found on real "
                "sets."
            ),
            "occurrence",
            {"data": "normal", "dimension": 100, "intrinsic": 3},
        ),
        Story(
            "The emoji everyone resembles",
            (
                "Sixteen hundred emoji as points, their pixels summed up in a hundred numbers. Look at the hubs: "
                "average shapes in average colours, near the middle of everything. The antihubs are the ones with a "
                "look of their own."
            ),
            "occurrence",
            {"data": "emoji"},
        ),
        Story(
            "A change of angle",
            (
                "Sentences as latent-semantic vectors: by Euclidean distance the hubs are the shortest vectors, "
                "sentences of rare words that say little the model knows. Measure the angle instead and most of the "
                "inequality goes with the lengths."
            ),
            "occurrence",
            {"data": "sentences", "metric": "cosine"},
        ),
        Story(
            "The setting of the paper",
            (
                "Ten thousand points and lists of five, as in the first figure of Radovanović and colleagues (who "
                "took 3, 20 and 100 dimensions). In three dimensions nobody stands out: the lists fall more evenly "
                "than a lottery would have them. By twenty the tail is there, and by a hundred its length hangs on a "
                "few points, so that another seed moves the skewness by a tenth."
            ),
            "dimension",
            {"laws": ("uniform", "normal"), "sample": 10_000, "neighbours": 5, "seeds": 1},
        ),
        Story(
            "Eight ways to share",
            (
                "Scalings judge a distance by what is usual for both its ends, so a celebrity must be unusually near "
                "to count; DisSimLocal and CSLS subtract each point's own popularity; the angle ignores lengths "
                "altogether. All of them lift the curve towards the diagonal."
            ),
            "reduction",
            {"few_points": 1000, "methods": tuple(name for name in METHODS if name != "none")},
        ),
        Story(
            "Take away the edge",
            (
                "Compare the two cubes. With faces, skewness climbs with dimension; with opposite faces glued the "
                "same points show no more than a lottery would, up to a hundred dimensions. The skewness was never "
                "dimension's own: it measures how much more central some places are than others, which dimension only "
                "magnifies."
            ),
            "artefact",
            {"few_points": 1000, "k": 10, "share": 0.3},
        ),
        Story(
            "Truncation, chosen by neighbours",
            (
                "Three thousand latents in 128 dimensions, kept if they are on 30 lists or more. The kept ones all "
                "come from the short end of a narrow distribution: filtering by hubness imitates the truncation "
                "trick, without shortening any single latent."
            ),
            "latent",
            {"latent_dimension": 128, "latents": 3000, "neighbours": 5, "threshold": 30},
        ),
    ),
    checks=CHECKS,
)
