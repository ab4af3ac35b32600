"""Mixtures of experts: who is routed where, and what balancing does to it."""

from __future__ import annotations

import colorsys

import numpy as np
import plotly.graph_objects as go
import torch

from engines.moe import (
    GATES,
    RULES,
    load,
    load_balancing_loss,
    quantile_balance,
    route,
    shared_expert_scale,
    violation,
)
from engines.moe.balancing import BALANCED, Balancing, SharedScale, balance, shared_scale, synthetic_scores
from engines.moe.geometry import Subsets, best_subsets, omission_error, subset_errors
from engines.moe.language import (
    HUB,
    LONGEST,
    Domains,
    TextRouting,
    domain_routing,
    route_text,
    route_text_on_hub,
)
from engines.moe.statistics import repeat_chance
from engines.moe.training import TRAINED, Training, train
from studio.exhibit import Check, Choice, Exhibit, Prose, Range, Story, Table, Text, Toggle, View
from studio.figure import COLORS, GREY, SEQUENTIAL, across, figure, label, scrubbed

MODEL = Choice(
    "Model",
    {"moe-none": "no balancing", "moe-auxiliary": "auxiliary loss", "moe-loss-free": "loss-free bias"},
    help="Three byte-level decoders, 8 experts, top-2, alike but for how training balanced them.",
)
PRESET = Choice(
    "Text",
    {"mixed": "mixed", "english": "English story", "poem": "Chinese poems", "python": "Python", "own": "your own"},
)
DRAWN = {"source": ["uniform", "normal", "clusters"]}
TYPED = Text("Your own text", LONGEST, lines=4, when={"preset": ["own"]})
LAYER = Range("Layer", 0, 3, step=1, help="0: all layers; a figure with room for one shows the last.")
SEED = Range("Seed", 0, 9999, step=1, when=DRAWN)
BALANCING = {"none": "no balancing", "auxiliary": "auxiliary loss", "loss-free": "loss-free bias"}
DOMAIN = {"story": "English stories", "quatrain": "Chinese quatrains", "python": "Python"}
# a rule keeps its colour in every figure
COLOR = dict(zip(RULES, (*COLORS, GREY), strict=True))
CLEAR = ((0.0, "rgba(0,119,187,0)"), (0.1, "rgba(0,119,187,0.25)"), (1.0, "rgba(0,119,187,1)"))


def _expert_colors(n: int) -> list[str]:
    """A colour for each expert: the house's for up to eight, evenly spaced hues beyond."""
    if n <= len(COLORS):
        return list(COLORS[:n])
    hues = (colorsys.hls_to_rgb(i / n, 0.45 + 0.15 * (i % 2), 0.6) for i in range(n))
    return [f"rgb({', '.join(str(round(255 * part)) for part in rgb)})" for rgb in hues]


def _percent(values: np.ndarray) -> np.ndarray:
    """Shares as whole percents: a byte each, and readable on hover."""
    return np.clip(np.round(100 * values), 0, 255).astype(np.uint8)


def _columns(result: TextRouting) -> list[str]:
    return [f"{i} {token}" for i, token in enumerate(result.tokens, 1)]


def _shown_layer(result: TextRouting) -> int:
    return (result.layer or len(result.load)) - 1


def draw_tokens(result: TextRouting) -> go.Figure:
    """The text itself, each token in the colour of its first expert."""
    layer, n = _shown_layer(result), result.experts
    width = max(6, min(32, 96 // max(map(len, result.tokens))))
    rows = -(-len(result.tokens) // width)
    first = np.full(rows * width, np.nan, np.float32)
    first[: len(result.tokens)] = result.indices[layer, :, 0]
    written = np.full(rows * width, "", object)
    written[: len(result.tokens)] = result.tokens
    said = np.full(rows * width, "", object)
    for i, (chosen, weights) in enumerate(zip(result.indices[layer], result.weights[layer], strict=True)):
        said[i] = ", ".join(f"{e + 1}: {w:.0%}" for e, w in zip(chosen, weights, strict=True) if e >= 0)
    palette = _expert_colors(n)
    steps = [(edge, palette[i]) for i in range(n) for edge in (i / n, (i + 1) / n)]
    heat = go.Heatmap(
        z=first.reshape(rows, width),
        text=written.reshape(rows, width).tolist(),
        customdata=said.reshape(rows, width).tolist(),
        texttemplate="%{text}",
        textfont={"size": 11, "color": "#ffffff"},  # the cells are coloured, whatever the theme
        hovertemplate="%{text}<br>expert and weight: %{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=steps,
        zmin=-0.5,
        zmax=n - 0.5,
        xgap=1,
        ygap=1,
        colorbar={
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "thickness": 10,
            "title": {"text": f"first expert, layer {layer + 1}", "side": "top"},
            "tickvals": list(range(0, n, max(1, n // 8))),
            "ticktext": [str(i + 1) for i in range(0, n, max(1, n // 8))],
        },
    )
    drawn = figure([heat], height=110 + 20 * rows, margin={"l": 8, "r": 8, "t": 70, "b": 8})
    drawn.update_xaxes(visible=False)
    drawn.update_yaxes(visible=False, autorange="reversed")
    return drawn


def draw_heat(result: TextRouting) -> go.Figure:
    """Tokens across, experts down; all layers stacked, or one; where all are too many, the first expert of each layer."""
    layers, tokens, _ = result.indices.shape
    n = result.experts
    x = _columns(result)
    if result.layer == 0 and layers * n * tokens > 150_000:
        heat = go.Heatmap(
            z=np.where(result.indices[..., 0] < 0, 0, result.indices[..., 0] + 1).astype(np.uint8),
            x=x,
            y=[f"layer {i}" for i in range(1, layers + 1)],
            colorscale=[(i / n, color) for i, color in enumerate(["rgba(0,0,0,0)", *_expert_colors(n)])],
            zmin=0,
            zmax=n,
            showscale=False,
            hovertemplate="%{x}<br>%{y}: first expert %{z}<extra></extra>",
        )
        drawn = figure([heat], x="token", height=90 + 16 * layers, margin={"l": 64, "r": 12, "t": 20, "b": 40})
    else:
        shown = range(layers) if result.layer == 0 else [result.layer - 1]
        weight = np.zeros((len(shown), n, tokens), np.float32)
        for row, layer in enumerate(shown):
            token, place = np.nonzero(result.indices[layer] >= 0)
            weight[row, result.indices[layer][token, place], token] = result.weights[layer][token, place]
        heat = go.Heatmap(
            z=_percent(weight.reshape(-1, tokens)),
            x=x,
            y=[f"{layer + 1}·{expert}" for layer in shown for expert in range(1, n + 1)],
            colorscale=CLEAR,
            zmin=0,
            zmax=100,
            showscale=False,
            hovertemplate="token %{x}<br>layer·expert %{y}<br>weight %{z}%<extra></extra>",
        )
        pitch = 12 if len(shown) * n <= 32 else max(3, 400 // (len(shown) * n))
        drawn = figure(
            [heat], x="token", height=110 + max(8, pitch) * len(shown) * n, margin={"l": 64, "r": 12, "t": 20, "b": 40}
        )
        for row, layer in enumerate(shown):
            label(
                drawn,
                0,
                row * n + n / 2 - 0.5,
                f"layer {layer + 1}",
                xref="paper",
                xanchor="right",
                yanchor="middle",
                xshift=-6,
            )
            if row:
                across(drawn, y=row * n - 0.5, line={"width": 1, "color": GREY})
        drawn.update_yaxes(showticklabels=False)
    marks = np.linspace(0, tokens - 1, min(5, tokens)).round().astype(int)
    drawn.update_xaxes(
        type="category", tickvals=[x[i] for i in marks], ticktext=[str(i + 1) for i in marks], tickangle=0
    )
    drawn.update_yaxes(autorange="reversed", type="category")
    return drawn


def draw_load(result: TextRouting) -> go.Figure:
    """Load of each expert against the even share."""
    layers, n = result.load.shape
    shown = range(layers) if result.layer == 0 else [result.layer - 1]
    drawn = figure(x="expert", y="share of assignments (%)", height=300)
    if len(shown) > 4:
        drawn.add_trace(
            go.Heatmap(
                z=(n * result.load).astype(np.float32),
                x=np.arange(1, n + 1),
                y=np.arange(1, layers + 1),
                colorscale="RdBu",
                zmid=1,
                colorbar={"title": {"text": "× even"}, "thickness": 10},
                hovertemplate="layer %{y}, expert %{x}<br>%{z:.2f} × the even share<extra></extra>",
            )
        )
        drawn.update_yaxes(title={"text": "layer"})
        return drawn
    for layer in shown:
        drawn.add_trace(
            go.Bar(
                x=np.arange(1, n + 1),
                y=(100 * result.load[layer]).astype(np.float32),
                name=f"layer {layer + 1}",
                marker={"color": COLORS[layer % len(COLORS)]},
                hovertemplate="expert %{x}: %{y:.1f}%",
            )
        )
    across(drawn, y=100 / n, line={"width": 1.5, "dash": "dash", "color": GREY})
    label(drawn, 1, 100 / n, "even", GREY, xref="paper", xanchor="right")
    drawn.update_layout(barmode="group")
    drawn.update_xaxes(tickvals=list(range(1, n + 1, max(1, n // 8))))
    return drawn


def draw_routing(result: TextRouting) -> list:
    rows = [
        [i, f"{high:+.2f}", f"{low:+.2f}", f"{mean:.2f}", f"{100 * entropy:.0f}%"]
        for i, (high, low, mean, entropy) in enumerate(
            zip(result.max, result.min, result.mean, result.entropy.mean(1), strict=True), 1
        )
    ]
    columns = ("layer", "busiest: (F−Q)/Q", "idlest", "mean of |·|", "router entropy / log n")
    return [draw_tokens(result), draw_heat(result), draw_load(result), Table(columns, rows)]


def _co_activation(result: TextRouting) -> go.Figure:
    layer, n = _shown_layer(result), result.experts
    share = 100 * result.co_activation[layer].astype(np.float32)
    np.fill_diagonal(share, np.nan)
    heat = go.Heatmap(
        z=np.round(share, 1),
        x=np.arange(1, n + 1),
        y=np.arange(1, n + 1),
        colorscale=SEQUENTIAL,
        zmin=0,
        colorbar={"title": {"text": "%"}, "thickness": 10},
        hoverongaps=False,
        hovertemplate="of the tokens of expert %{y}, %{z:.0f}% also use %{x}<extra></extra>",
    )
    if n <= 8:
        heat.texttemplate = "%{z:.0f}"
    drawn = figure([heat], x=f"also uses expert (layer {layer + 1})", y="a token of expert", height=380)
    ticks = list(range(1, n + 1, max(1, n // 8)))
    drawn.update_xaxes(tickvals=ticks)
    drawn.update_yaxes(tickvals=ticks, autorange="reversed")
    return drawn


def _flow(result: TextRouting) -> go.Figure:
    n, layers = result.experts, len(result.load)
    if n > 16:
        heat = go.Heatmap(
            z=result.flow,
            x=np.arange(1, n + 1),
            y=np.arange(1, n + 1),
            colorscale=CLEAR,
            showscale=False,
            hovertemplate=f"expert %{{y}} in layer 1, %{{x}} in layer {layers}: %{{z:.0f}} tokens<extra></extra>",
        )
        drawn = figure([heat], x=f"first expert in layer {layers}", y="first expert in layer 1", height=400)
        drawn.update_yaxes(autorange="reversed")
        return drawn
    start, end = np.nonzero(result.flow)
    palette = _expert_colors(n)
    faint = [f"rgba({int(c[1:3], 16)},{int(c[3:5], 16)},{int(c[5:7], 16)},0.45)" if c[0] == "#" else c for c in palette]
    sankey = go.Sankey(
        node={
            "label": [f"{i}" for i in range(1, n + 1)] * 2,
            "color": palette * 2,
            "pad": 10,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": "expert %{label}: %{value:.0f} tokens<extra></extra>",
        },
        link={
            "source": start.tolist(),
            "target": (end + n).tolist(),
            "value": result.flow[start, end].astype(np.float32),
            "color": [faint[i] for i in start],
            "hovertemplate": "from %{source.label} to %{target.label}: %{value:.0f} tokens<extra></extra>",
        },
    )
    drawn = figure([sankey], height=380, margin={"l": 20, "r": 20, "t": 40, "b": 16})
    label(drawn, 0, 1, "first expert in layer 1", xref="paper", yref="paper", yshift=8)
    label(drawn, 1, 1, f"in layer {layers}", xref="paper", yref="paper", xanchor="right", yshift=8)
    return drawn


def _repeats(result: TextRouting) -> go.Figure:
    layers = np.arange(1, len(result.load) + 1)
    drawn = figure(x="layer", y="neighbours that repeat (%)", height=340)
    for kind, (name, color) in enumerate((("first choice", COLORS[0]), ("first or second", COLORS[1]))):
        for rate, dash, what in (
            (result.repeat, "solid", name),
            (result.repeat_load, "dot", f"{name}, any two tokens"),
        ):
            drawn.add_trace(
                go.Scatter(
                    x=layers,
                    y=(100 * rate[kind]).astype(np.float32),
                    name=what,
                    mode="lines+markers",
                    line={"color": color, "dash": dash, "width": 3 if dash == "solid" else 2},
                    hovertemplate="layer %{x}: %{y:.1f}%<extra>" + what + "</extra>",
                )
            )
        chance = 100 * float(result.repeat_chance[kind])
        across(drawn, y=chance, line={"width": 1, "dash": "dash", "color": color})
        label(drawn, 0.5, chance, f"even chance {chance:.1f}%", color, xref="paper", xanchor="center", yanchor="top")
    drawn.update_xaxes(dtick=max(1, len(layers) // 8))
    drawn.update_yaxes(rangemode="tozero")
    return drawn


def _entropy(result: TextRouting) -> go.Figure:
    x = _columns(result)
    layers = len(result.load)
    heat = go.Heatmap(
        z=_percent(result.entropy),
        x=x,
        y=[f"layer {i}" for i in range(1, layers + 1)],
        colorscale="Cividis",
        zmin=0,
        zmax=100,
        colorbar={"title": {"text": "%"}, "thickness": 10},
        hovertemplate="%{x}<br>%{y}: entropy %{z}% of log n<extra></extra>",
    )
    drawn = figure([heat], x="token (colour: entropy of its router)", height=120 + 22 * layers)
    marks = np.linspace(0, len(x) - 1, min(5, len(x))).round().astype(int)
    drawn.update_xaxes(
        type="category", tickvals=[x[i] for i in marks], ticktext=[str(i + 1) for i in marks], tickangle=0
    )
    drawn.update_yaxes(autorange="reversed")
    return drawn


def _history(result: TextRouting) -> list:
    if not result.history.size:
        return []
    where = f"layer {result.layer}" if result.layer else "mean of the layers"
    drawn = figure(x="training (%)", y=f"max violation, {where}", height=320)
    moments = np.linspace(0, 100, result.history.shape[1], dtype=np.float32)
    for i, (rule, violated) in enumerate(zip(result.history_rules, result.history, strict=True)):
        drawn.add_trace(
            go.Scatter(x=moments, y=violated, mode="lines", name=BALANCING[rule], line={"color": COLORS[i], "width": 2})
        )
    drawn.update_yaxes(rangemode="tozero")
    return [drawn]


def draw_experts(result: TextRouting) -> list:
    return [_co_activation(result), _flow(result), _repeats(result), _entropy(result), *_history(result)]


def draw_hub(result: TextRouting) -> list:
    return [*draw_routing(result), *draw_experts(result)]


def draw_domains(result: Domains) -> list:
    experts = np.arange(1, result.experts + 1)
    drawn = figure(x=f"expert of layer {result.layer}", y="share of the domain's tokens (%)", height=360)
    for i, domain in enumerate(result.domains):
        drawn.add_trace(
            go.Bar(
                x=experts,
                y=(100 * result.share[i]).astype(np.float32),
                name=DOMAIN[domain],
                marker={"color": COLORS[i]},
                hovertemplate="expert %{x}: %{y:.0f}%",
            )
        )
    across(drawn, y=100 * result.even, line={"width": 1.5, "dash": "dash", "color": GREY})
    label(drawn, 1, 100 * result.even, "even", GREY, xref="paper", xanchor="right")
    drawn.update_layout(barmode="group")
    drawn.update_xaxes(dtick=1)

    there = result.class_count > 0
    kinds = figure(
        [
            go.Heatmap(
                z=_percent(result.class_share[there]),
                x=experts,
                y=[name for name, is_there in zip(result.classes, there, strict=True) if is_there],
                colorscale=SEQUENTIAL,
                zmin=0,
                zmax=100,
                texttemplate="%{z}",
                showscale=False,
                hovertemplate="%{y}: %{z}% go to expert %{x}<extra></extra>",
            )
        ],
        x=f"expert of layer {result.layer} (% of that kind)",
        height=320,
        margin={"l": 130, "r": 12, "t": 20, "b": 48},
    )
    kinds.update_xaxes(dtick=1)
    kinds.update_yaxes(autorange="reversed")
    rows = [
        [i, ", ".join(f"{token} {100 * share:.0f}%" for token, share in zip(tokens, shares, strict=False))]
        for i, (tokens, shares) in enumerate(zip(result.top_tokens, result.top_share, strict=True), 1)
    ]
    apart = ", ".join(f"{100 * value:.0f}% in layer {i}" for i, value in enumerate(result.apart, 1))
    return [
        drawn,
        kinds,
        Table(("expert", f"bytes most often sent here, of those seen at least {result.often} times"), rows),
        Prose(f"The loads of the three domains part from their mean by {apart} (total variation)."),
    ]


def draw_balancing(result: Balancing) -> list:
    rounds = np.arange(result.rounds + 1)
    over = figure(x="round", y="max violation (F − Q) / Q", height=420)
    for i, rule in enumerate(result.rules):
        violated = result.max[i, : result.rounds + 1]
        over.add_trace(
            go.Scatter(
                x=rounds,
                y=np.maximum(violated, 1e-4),
                name=result.labels[i],
                mode="lines",
                line={"color": COLOR[rule], "width": 2, "dash": "solid" if result.steps[i] else "dash"},
                hovertemplate="round %{x}: %{y:.3f}<extra>" + result.labels[i] + "</extra>",
            )
        )
    across(over, y=BALANCED, line={"width": 1, "dash": "dot", "color": GREY})
    label(over, 0.12, np.log10(BALANCED), "balanced", GREY, xref="paper")
    over.update_yaxes(type="log", exponentformat="power", dtick=1)

    first = 0 if "top-k" not in result.rules else result.rules.index("top-k")
    order = result.load[first, 0].argsort()[::-1]
    moments = sorted({round(m) for m in np.geomspace(1, result.rounds + 1, 10 if result.experts <= 128 else 6) - 1})

    def traces(moment: int) -> list:
        return [
            go.Scatter(
                x=np.arange(1, result.experts + 1),
                y=(result.experts * result.load[i, moment, order]).astype(np.float32),
                name=result.labels[i],
                mode="lines",
                line={"color": COLOR[rule], "width": 2, "dash": "solid" if result.steps[i] else "dash"},
                hovertemplate="%{y:.2f} × even<extra>" + result.labels[i] + "</extra>",
            )
            for i, rule in enumerate(result.rules)
        ]

    loads = figure(traces(moments[-1]), x="expert (sorted by its load at the start)", y="load / even share", height=420)
    loads = scrubbed(loads, [traces(m) for m in moments], [str(m) for m in moments], "round", len(moments) - 1)
    top = float(np.nanmax(result.load[:, : result.rounds + 1])) * result.experts
    loads.update_yaxes(range=[0, 1.05 * top])

    last = result.rounds
    counts = np.arange(result.experts + 1)
    per_token = result.active @ counts
    rows = []
    for i, name in enumerate(result.labels):
        there = np.flatnonzero(result.active[i] > 0)
        spread = f"{there[0]}–{there[-1]}" if len(there) and there[0] != there[-1] else f"{per_token[i]:.0f}"
        since = result.balanced[i]
        rows.append(
            [
                name,
                f"{result.max[i, last]:+.3f}",
                f"{result.min[i, last]:+.3f}",
                f"{result.mean[i, last]:.3f}",
                "never" if since < 0 else ("at once" if since == 0 else str(since)),
                f"{100 * result.score[i, last]:.1f}%",
                spread if len(there) else "…",
            ]
        )
    columns = (
        "rule",
        "busiest",
        "idlest",
        "mean of |·|",
        "stays balanced from round",
        "routed score",
        "experts a token",
    )
    panels = [over, loads, Table(columns, rows)]
    varying = [i for i, share in enumerate(result.active) if (share > 0).sum() > 1]
    if varying:
        most = max(int(np.flatnonzero(result.active[i] > 0)[-1]) for i in varying)
        number = figure(x="experts a token gets", y="share of tokens (%)", height=300, barmode="group", showlegend=True)
        for i in varying:
            number.add_trace(
                go.Bar(
                    x=counts[: most + 1],
                    y=100 * result.active[i, : most + 1],
                    name=result.labels[i],
                    marker={"color": COLOR[result.rules[i]]},
                    hovertemplate="%{x} experts: %{y:.1f}%",
                )
            )
        panels.insert(2, number)
    return panels


def draw_training(result: Training) -> list:
    loss = figure(x="step", y="loss / variance of the target", height=340)
    violated = figure(x="step", y="max violation (F − Q) / Q", height=300)
    for i, rule in enumerate(result.rules):
        for drawn, values in ((loss, result.loss[i]), (violated, result.violation[i])):
            drawn.add_trace(
                go.Scatter(
                    x=result.step,
                    y=values,
                    name=result.labels[i],
                    mode="lines",
                    line={"color": COLOR[rule], "width": 2},
                    hovertemplate="step %{x}: %{y:.3f}<extra>" + result.labels[i] + "</extra>",
                )
            )
    ticks = [float(f"{digit}e{power}") for power in range(-4, 3) for digit in (1, 2, 5)]
    loss.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    violated.update_yaxes(rangemode="tozero")
    violated.update_layout(showlegend=False)

    def heat(moment: int) -> go.Heatmap:
        return go.Heatmap(
            z=_percent(result.load[:, moment]),
            x=np.arange(1, result.experts + 1),
            y=list(result.labels),
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=min(100, 300 / result.experts),
            texttemplate="%{z}" if result.experts <= 16 else None,
            showscale=False,
            hovertemplate="%{y}: expert %{x} has %{z}% of the load<extra></extra>",
        )

    moments = sorted(set(np.linspace(0, len(result.step) - 1, 20).round().astype(int).tolist()))
    loads = figure(
        [heat(moments[-1])],
        x=f"expert (% of the load; even: {100 / result.experts:.3g})",
        height=230 + 26 * len(result.rules),
        margin={"l": 150, "r": 12, "t": 20, "b": 48},
    )
    loads.update_yaxes(autorange="reversed")
    if len(moments) > 1:
        names = [str(result.step[m]) for m in moments]
        loads = scrubbed(loads, [[heat(m)] for m in moments], names, "step", len(moments) - 1)
    rows = [
        [name, f"{loss_now:.3f}", int(used), f"{over:+.2f}"]
        for name, loss_now, used, over in zip(
            result.labels, result.loss[:, -1], result.used, result.violation[:, -1], strict=True
        )
    ]
    panels = [loss, violated, loads]
    if result.kinds.any():
        panels.append(_kinds(result))
    return [*panels, Table(("balancing", "loss", f"experts in use, of {result.experts}", "busiest: (F−Q)/Q"), rows)]


def _kinds(result: Training) -> go.Figure:
    """Which experts each kind of input goes to at the end, a block for each rule."""
    count, kinds, n = result.kinds.shape
    blocks = np.full((kinds, count * (n + 1) - 1), np.nan, np.float32)
    for i in range(count):
        blocks[:, i * (n + 1) : i * (n + 1) + n] = np.round(100 * result.kinds[i])
    heat = go.Heatmap(
        z=blocks,
        y=np.arange(1, kinds + 1),
        colorscale=CLEAR,
        zmin=0,
        zmax=100,
        showscale=False,
        hoverongaps=False,
        hovertemplate="kind %{y}: %{z}% here<extra></extra>",
    )
    drawn = figure([heat], x="experts, under each balancing", y="kind of input", height=320)
    drawn.update_xaxes(
        tickvals=[i * (n + 1) + (n - 1) / 2 for i in range(count)],
        ticktext=[name.replace(" (", "<br>(").replace(" b", "<br>b") for name in result.labels],
        tickangle=0,
        tickfont={"size": 10},
    )
    drawn.update_yaxes(autorange="reversed", dtick=max(1, kinds // 8))
    return drawn


def draw_geometry(result: Subsets) -> list:
    kept = result.kept[:-1]
    drawn = figure(x=f"vectors kept, k of {result.blocks}", y="squared error / ‖y‖²", height=420)
    for i, (name, curve, dash) in enumerate(
        (
            ("any k (mean)", result.random, "solid"),
            ("linear router", result.learned, "solid"),
            ("greatest norms", result.norm, "solid"),
            ("best subset", result.best, "solid"),
            ("norms, were they orthogonal", result.orthogonal, "dot"),
        )
    ):
        drawn.add_trace(
            go.Scatter(
                x=kept,
                y=np.maximum(curve[:-1], 1e-6),
                name=name,
                mode="lines+markers",
                line={"color": (COLORS[1], COLORS[2], COLORS[0], COLORS[3], GREY)[i], "dash": dash, "width": 2},
                hovertemplate="k = %{x}: %{y:.3f}<extra>" + name + "</extra>",
            )
        )
    drawn.update_yaxes(type="log", dtick=1, exponentformat="power", range=[-3, 0.1])
    drawn.update_xaxes(dtick=1)
    norms = figure(
        [
            go.Heatmap(
                z=np.round(result.norms.T, 3),
                y=np.arange(1, result.blocks + 1),
                x=np.arange(1, len(result.norms) + 1),
                colorscale=CLEAR,
                zmin=0,
                colorbar={"title": {"text": "‖v‖"}, "thickness": 10},
                hovertemplate="token %{x}, block %{y}: ‖v‖ = %{z:.2f}<extra></extra>",
            )
        ],
        x="token",
        y="block of the FFN",
        height=300,
    )
    agree = result.agreement[max(1, result.blocks // 4)]
    return [
        drawn,
        norms,
        Prose(
            f"Two vectors of a token have a mean |cos| of {result.cosine:.2f}. Of the {max(1, result.blocks // 4)} longest, the "
            f"linear router, which sees only $x$, names {100 * agree:.0f}%."
        ),
    ]


def draw_shared(result: SharedScale) -> list:
    drawn = figure(x="routed experts active, k − s", y="λ", height=380)
    drawn.add_trace(
        go.Scatter(
            x=np.concatenate((result.routed, result.routed[::-1])),
            y=np.concatenate((result.high, result.low[::-1])),
            fill="toself",
            mode="none",
            fillcolor="rgba(0,119,187,0.2)",
            name="90% of tokens",
            hoverinfo="skip",
        )
    )
    drawn.add_trace(
        go.Scatter(
            x=result.routed,
            y=result.scale,
            mode="lines+markers",
            name="λ (mean)",
            line={"color": COLORS[0], "width": 2},
            hovertemplate="%{x} routed experts: λ = %{y:.2f}<extra></extra>",
        )
    )
    label(
        drawn,
        int(result.routed[-1]),
        float(result.scale[-1]),
        f"λ = {result.value:.2f}",
        COLORS[0],
        xanchor="right",
        yshift=8,
    )
    drawn.update_yaxes(rangemode="tozero")
    drawn.update_xaxes(dtick=max(1, len(result.routed) // 8))
    rows = [
        [name, *setting[:3], setting[3], "yes" if setting[4] else "no", f"{computed:.2f}", f"{used:g}"]
        for name, setting, computed, used in zip(
            result.known_names, result.known_settings, result.known_computed, result.known_used, strict=True
        )
    ]
    columns = ("model", "experts", "active", "shared", "gate", "renormalised", "λ here", "λ in its configuration")
    return [drawn, Table(columns, rows)]


def _blog_scores() -> torch.Tensor:
    return synthetic_scores("uniform", 20_000, 64, 0)[0]


def _violations(bias: torch.Tensor | float = 0.0) -> list[float]:
    chosen = (_blog_scores() + bias).topk(8, sorted=False).indices
    return [float(value) for value in violation(load(chosen, 64))]


def _balanced_loss(experts: int, top_k: int) -> list[float]:
    shift = (torch.arange(experts)[:, None] + torch.arange(experts)) % experts
    collapsed = torch.where(torch.arange(experts) < top_k, 40.0, 0.0).expand(experts, experts)
    return [float(load_balancing_loss(1e-4 * shift.float(), top_k)), float(load_balancing_loss(collapsed, top_k))]


def _norms_are_best() -> float:
    basis = torch.linalg.qr(
        torch.randn(16, 24, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q.mT
    vectors = basis * torch.linspace(0.1, 2, 10, dtype=torch.float64)[:, None]
    ranks = vectors.norm(dim=-1).argsort(1, descending=True).argsort(1)
    best = best_subsets(vectors)
    return max(float((omission_error(vectors, ranks < k) - best[:, k]).abs().max()) for k in range(11))


READING = {"model": MODEL, "preset": PRESET, "text": TYPED, "layer": LAYER}

EXHIBIT = Exhibit(
    slug="moe",
    title="Mixture of experts",
    summary="Who is routed where in a mixture of experts, and what balancing does to it.",
    sources=(
        ("Su, MoE环游记 1: geometric meaning", "https://kexue.fm/archives/10699"),
        ("Su, MoE环游记 2: not scarcity but inequality", "https://kexue.fm/archives/10735"),
        ("Su, MoE环游记 3: another way to allot (loss-free)", "https://kexue.fm/archives/10757"),
        ("Su, MoE环游记 4: more for what is hard", "https://kexue.fm/archives/10815"),
        ("Su, MoE环游记 5: on uniform distribution", "https://kexue.fm/archives/10945"),
        ("Su, MoE环游记 6–7: balance by optimal assignment", "https://kexue.fm/archives/11626"),
        ("Fedus et al., Switch Transformers", "https://arxiv.org/abs/2101.03961"),
        ("Wang et al., Auxiliary-Loss-Free Load Balancing", "https://arxiv.org/abs/2408.15664"),
        ("Zhou et al., Expert Choice Routing", "https://arxiv.org/abs/2202.09368"),
        ("Roller et al., Hash Layers", "https://arxiv.org/abs/2106.04426"),
        ("Jiang et al., Mixtral of Experts", "https://arxiv.org/abs/2401.04088"),
        ("Muennighoff et al., OLMoE", "https://arxiv.org/abs/2409.02060"),
    ),
    views=(
        View(
            slug="routing",
            title="A text, routed",
            caption=(
                "Each byte of the text wears the colour of its first expert; hover for the weights. A dot is a further byte of the "
                "character before it. Below, every layer at once: tokens across, experts down, stronger for more weight. Switch the "
                "model: without balancing a few experts take most of the work. Shown is where tokens really went, selection bias "
                "included. In the table F is an expert's share of all assignments and Q = 1/n the even share."
            ),
            compute=route_text,
            controls=READING,
            draw=draw_routing,
            seconds=0.1,
        ),
        View(
            slug="experts",
            title="How experts share the work",
            caption=(
                "Which experts work together, how tokens flow from first to last layer, and how often neighbours repeat an "
                "expert. Dotted is the same for any two tokens of the text, so a solid line above it means that *order* "
                "matters; the dashed line is pure chance ($1-\\binom{6}{2}/\\binom{8}{2}=46.4\\,\\%$ for two of eight)."
            ),
            compute=route_text,
            controls=READING,
            draw=draw_experts,
            seconds=0.1,
        ),
        View(
            slug="domains",
            title="What experts specialise in",
            caption=(
                "Held-back stories, quatrains and Python through one layer (0 is the last). Every byte goes to two experts, so the "
                "shares of a domain, or of a kind of byte, add up to 200%. Bars that part are experts with a taste for a domain, as "
                "OLMoE measured; the map and the table go down to kinds of byte and single bytes, which usually explain the "
                "domains: a Chinese character is bytes no English text has."
            ),
            compute=domain_routing,
            controls={"model": MODEL, "layer": LAYER},
            draw=draw_domains,
            seconds=0.2,
        ),
        View(
            slug="balancing",
            title="Balancing rules side by side",
            caption=(
                "The same scores under every rule. Violation is (F − Q)/Q, with F an expert's share of all assignments and Q = 1/n the "
                "even share; a load counts as balanced when its busiest expert has at most 10% too much. "
                "Quantile balancing needs two or three rounds and no step size; sign steps walk there and then tremble; "
                "hashing ignores the scores and pays for it (routed score, against plain top-k)."
            ),
            compute=balance,
            controls={
                "source": Choice(
                    "Scores",
                    {
                        "uniform": "uniform + offsets, as in the blog's test",
                        "normal": "normal + offsets",
                        "clusters": "16 kinds of token",
                        "model": "the unbalanced embedded model's",
                    },
                ),
                "rules": Choice("Rules", {name: rule.label for name, rule in RULES.items()}, several=True),
                "gate": Choice(
                    "Gate",
                    {gate: gate for gate in GATES},
                    help="Turns scores into the ρ that experts are chosen and weighed by.",
                    when=DRAWN,
                ),
                "experts": Range("Experts n", 2, 256, step=1, log=True, when=DRAWN),
                "top_k": Range("Experts a token k", 1, 32, step=1, when=DRAWN),
                "tokens": Range("Tokens", 100, 20_000, step=1, log=True, help="20,000 in the blog's test."),
                "rate": Range("Step γ (standard deviations)", 0.001, 0.5, log=True),
                "rounds": Range("Rounds", 5, 300, step=1),
                "seed": SEED,
            },
            draw=draw_balancing,
            live=False,
            seconds=4,
            brief={"tokens": 500, "experts": 16, "top_k": 2, "rounds": 5},
        ),
        View(
            slug="training",
            title="Train one now",
            caption=(
                "A mixture of small experts learns inputs of several kinds, each with a linear rule of its own; all rules start "
                "alike and see the same batches. Without balancing the experts with a head start get all the practice and "
                "others are never used: kinds must share, and the loss stays higher. F is an expert's share of all assignments, "
                "Q = 1/n the even share."
            ),
            compute=train,
            controls={
                "num_experts": Range("Experts", 2, 32, step=1),
                "experts_per_token": Range("Experts a token", 1, 4, step=1),
                "kinds": Range("Kinds of input", 1, 32, step=1),
                "trained": Choice(
                    "Balancing",
                    {name: "no balancing" if name == "top-k" else RULES[name].label for name in TRAINED},
                    several=True,
                ),
                "common": Range("Common part of the inputs", 0, 4, help="Gives some experts a head start."),
                "aux_weight": Range("Weight of the auxiliary loss", 0.001, 1, log=True, when={"trained": ["aux-loss"]}),
                "bias_rate": Range(
                    "Step of the bias", 0.001, 0.1, log=True, when={"trained": ["loss-free", "loss-free-rms"]}
                ),
                "learning_rate": Range("Learning rate", 0.001, 0.1, log=True),
                "steps": Range("Steps", 20, 1500, step=1),
                "seed": SEED,
            },
            draw=draw_training,
            live=False,
            seconds=7,
            brief={"steps": 20, "trained": ("top-k", "loss-free")},
        ),
        View(
            slug="geometry",
            title="The best k vectors",
            caption=(
                "Cut a dense layer into $n$ blocks and its output is a sum of $n$ vectors. If they were orthogonal, the best $k$ "
                "would be the longest; here the best subset is found by trying all. Norms come close to it, and a linear router that sees "
                "only the input keeps much of the gain: this is a mixture of experts. More dimensions: more nearly orthogonal."
            ),
            compute=subset_errors,
            controls={
                "blocks": Range("Blocks n", 2, 12, step=1),
                "dim": Range("Dimension", 4, 256, step=1, log=True),
                "units": Range("Hidden units a block", 1, 32, step=1),
                "spread": Range("Inequality of the blocks", 0, 3),
                "vectors": Choice("Vectors", {"ffn": "a random FFN's", "orthogonal": "made orthogonal"}),
                "seed": SEED,
            },
            draw=draw_geometry,
        ),
        View(
            slug="shared",
            title="Shared experts' λ",
            caption=(
                "$y=\\sum_{\\text{shared}}e_i+\\lambda\\sum_{\\text{routed}}\\rho_i e_i$: routed experts come with weights below one, "
                "so at the start they whisper beside the shared ones. λ makes both sums equally long on average, for random scores and "
                "orthogonal outputs. It explains the 16 of DeepSeek-V2 and the 2.446 of Moonlight."
            ),
            compute=shared_scale,
            controls={
                "total_experts": Range("Experts, shared included", 3, 512, step=1, log=True),
                "active_experts": Range("Active, shared included", 2, 64, step=1),
                "shared_experts": Range("Shared", 1, 8, step=1),
                "activation": Choice("Gate of ρ", {"softmax": "softmax", "sigmoid": "sigmoid"}),
                "renormalize": Toggle("Active weights sum to 1"),
                "seed": SEED,
            },
            draw=draw_shared,
        ),
        View(
            slug="hub",
            title="Large models",
            caption=(
                "The same for published mixtures, loaded by name from the Hub: needs a network, and a GPU for all but the first. "
                "Layer 0 shows the first expert of every layer at once; choose a layer for all of its experts."
            ),
            compute=route_text_on_hub,
            controls={
                "hub_model": Choice(
                    "Model of the Hub",
                    {name: name.split("/")[1] for name in HUB} | {"moe-loss-free": "embedded, loss-free (no network)"},
                ),
                "preset": PRESET,
                "text": TYPED,
                "hub_layer": Range("Layer", 0, 32, step=1, help="0: all of them at once."),
            },
            draw=draw_hub,
            live=False,
            seconds=60,
            brief={"hub_model": "moe-loss-free"},
            gpu=True,
        ),
    ),
    stories=(
        Story(
            "Two rounds are enough",
            "As in the blog's test, with fewer tokens: uniform scores, some experts favoured. Plain top-k leaves experts unused and gives others four times "
            "their share. Quantile balancing sets each expert's threshold from quantiles and is within a few per cent after two "
            "rounds; the sign rule needs dozens, and keeps trembling by about its step.",
            "balancing",
            {"rules": ("top-k", "loss-free", "loss-free-rms", "quantile"), "rounds": 80},
        ),
        Story(
            "Balanced is not well routed",
            "Hashing needs no training and sends every word to the same experts, yet the frequent words make it uneven, and it routes "
            "less than two thirds of the score that top-k does. Expert choice is balanced by construction, and a token gets from none "
            "to nearly twenty experts; thresholds from quantiles choose the very same pairs, but a new token needs no others to be routed.",
            "balancing",
            {"rules": ("top-k", "quantile", "dynamic-quantile", "expert-choice", "hash"), "rounds": 10},
        ),
        Story(
            "The rich get richer",
            "All inputs have something in common, so at the start a few experts get nearly all of them, and with them all the "
            "practice. Scrub the load: without balancing, some experts never wake. The kinds of input that should have been theirs "
            "are shared by the busy ones, and the loss shows it.",
            "training",
            {"common": 1.5, "trained": ("top-k", "aux-loss", "loss-free")},
        ),
        Story(
            "Longest is best, if orthogonal",
            "In 12 dimensions ten vectors of a random FFN overlap, and choosing by norm is visibly worse than the best of all subsets. "
            "Raise the dimension and the two curves meet: that is the blog's argument for routing by norm.",
            "geometry",
            {"dim": 12, "units": 8},
        ),
        Story(
            "A model that reads three languages",
            "The mixed text changes from English to Chinese to Python. Watch the colours change with it, and within the Chinese part "
            "how the first byte of a character goes elsewhere than its last.",
            "routing",
            {"preset": "mixed", "model": "moe-loss-free"},
        ),
    ),
    checks=(
        Check(
            "Load-balancing loss, (8, 2): k when balanced, n when collapsed",
            "Switch Transformers eq. 4, in transformers' convention",
            [2, 8],
            1e-3,
            lambda: _balanced_loss(8, 2),
        ),
        Check("The same for (64, 8)", "Switch Transformers eq. 4", [8, 64], 1e-2, lambda: _balanced_loss(64, 8)),
        Check(
            "Plain top-k on the blog's scores: max, min, mean violation",
            "MoE环游记 6, its test",
            [2.284, -1, 1.121],
            6e-4,
            _violations,
        ),
        Check(
            "Quantile balancing after 1 round",
            "MoE环游记 6, its test",
            [0.147, -0.101, 0.084],
            6e-4,
            lambda: _violations(quantile_balance(_blog_scores(), 8, 1)),
        ),
        Check(
            "Quantile balancing after 5 rounds: max violation",
            "MoE环游记 6, its test",
            0.0056,
            0.002,
            lambda: _violations(quantile_balance(_blog_scores(), 8, 5))[0],
        ),
        Check(
            "Dynamic number by quantiles: balanced in one round, 8 experts a token on average",
            "MoE环游记 7",
            [0, 8],
            0.01,
            lambda: (lambda routing: [float(violation(routing.load).max), float((routing.indices >= 0).sum()) / 4000])(
                route(_blog_scores()[:4000], 8, "dynamic-quantile")
            ),
        ),
        Check(
            "λ for 162 experts, 8 active, 2 shared, softmax",
            "MoE环游记 5; DeepSeek-V2's configuration has 16",
            16.0,
            0.2,
            lambda: shared_expert_scale(162, 8, 2),
        ),
        Check(
            "λ for 64 routed experts, 6 active, sigmoid, renormalised, one shared",
            "Moonlight's configuration",
            2.446,
            0.005,
            lambda: shared_expert_scale(65, 7, 1, "sigmoid", True),
        ),
        Check(
            "Chance that neighbours repeat: 8 experts, top-2; first, first or second (%)",
            "Mixtral, table 5",
            [12.5, 46.43],
            0.005,
            lambda: [100 * chance for chance in repeat_chance(8, 2)],
        ),
        Check(
            "Orthogonal vectors: the k longest err no more than the best of all subsets",
            "MoE环游记 1",
            0.0,
            1e-12,
            _norms_are_best,
        ),
    ),
)
