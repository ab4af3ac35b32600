"""How the mixtures of experts are drawn."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from engines import models
from engines.moe.balancing import BALANCED, Balancing, SharedScale
from engines.moe.geometry import Subsets
from engines.moe.language import HUB_SIZES, TextRouting
from engines.moe.rules import RULES
from engines.moe.training import Training
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    Figure,
    across,
    band,
    bars,
    drag,
    figure,
    heat,
    label,
    line,
    points,
    scrub,
    short,
)
from studio.language import raw, say
from studio.panels import Folded, Piece, Prose, Table, Writing

RULE = {
    "top-k": "Top-k, no balancing",
    "aux-loss": "Auxiliary loss",
    "loss-free": "Loss-free bias, sign",
    "loss-free-rms": "Loss-free bias, RMS",
    "quantile": "Quantile balancing",
    "dynamic": "Dynamic number, sign",
    "dynamic-quantile": "Dynamic number, quantile",
    "expert-choice": "Expert choice",
    "hash": "Hash of the token",
}
COLOR = dict(zip(RULES, (*COLORS, GREY), strict=True))  # a rule keeps its colour in every figure
BALANCING = {"none": "no balancing", "auxiliary": "auxiliary loss", "loss-free": "loss-free bias"}
DOMAIN = {"story": "English stories", "quatrain": "Chinese quatrains", "python": "Python", "own": "your text"}
CLASS = {
    "lower": "lower case",
    "capital": "capitals",
    "digit": "digits",
    "space": "space",
    "newline": "newline",
    "other": "other ASCII",
    "lead": "first byte of a 汉字, or of a curly quote",
    "continuation": "its later bytes",
}
MEASURE = {"max": "maximum", "mean": "mean of absolute values"}
MOST_TILES = 1152  # tokens of one text shown as tiles


def expert_colors(n: int) -> list[str]:
    """A colour for each expert: the house's for up to eight, evenly spaced hues beyond."""
    if n <= len(COLORS):
        return list(COLORS[:n])
    hues = (colorsys.hls_to_rgb(i / n, 0.42 + 0.12 * (i % 2), 0.55) for i in range(n))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in rgb) for rgb in hues]


def shown_layer(result: TextRouting, layer: int) -> int:
    """The layer to show, from 0: the last where 0 was asked for, or one that the model does not have."""
    layers = len(result.load)
    return (layer if 1 <= layer <= layers else layers) - 1


def expert_axis(n: int) -> dict[str, Any]:
    return {"tickvals": list(range(1, n + 1, max(1, n // 8)))}


def draw_text(result: TextRouting, layer: int) -> Writing:
    """The text as tiles, each token in the colour of its first expert."""
    palette, lines = expert_colors(result.experts), [[]]
    rows = zip(result.tokens[:MOST_TILES], result.indices[layer], result.weights[layer], strict=False)
    for token, chosen, weights in rows:
        note = ", ".join(f"{e + 1}: {100 * w:.0f} %" for e, w in zip(chosen, weights, strict=True) if e >= 0)
        text = token.replace("␣", " ").replace("⇥", "  ").replace("·", "\u2009")
        shade = 0.3 + 0.6 * float(weights[0]) if chosen[0] >= 0 else 0.0
        lines[-1].append(Piece(text, palette[chosen[0]] if chosen[0] >= 0 else "", shade, f"{token} → {note}"))
        if token.endswith("⏎"):
            lines.append([])
    title = say("First expert of every token, layer {layer}", layer=layer + 1)
    return Writing([[row for row in lines if row]], title=title)


def draw_load(result: TextRouting, layer: int) -> Figure:
    n = result.experts
    title = say("Load, layer {layer}", layer=layer + 1)
    drawn = figure(x="expert", y="share of assignments (%)", height=300, title=title)
    share = 100 * result.load[layer]
    bars(drawn, np.arange(1, n + 1), share, "load", expert_colors(n), hover="expert %{x}: %{y:.1f} %", legend=False)
    across(drawn, y=100 / n, text="even")
    drawn.alt = say("From {low} % to {high} %.", low=short(share.min()), high=short(share.max()))
    return drawn.x(**expert_axis(n))


def draw_bias(result: TextRouting) -> Figure:
    n = result.experts
    drawn = figure(x="expert", y="added to its score in the choice", height=300, title="Bias: drag a point")
    experts = np.arange(1, n + 1)
    stems = np.stack((experts, experts, np.full(n, np.nan)), 1).ravel(), np.zeros(3 * n)
    stems[1][1::3] = result.bias
    line(drawn, *stems, "stems", GREY, width=1.5, legend=False, hoverinfo="skip")
    color = expert_colors(n)
    points(drawn, experts, result.bias, "bias", color, size=14, legend=False, hover="expert %{x}: %{y:+.2f}")
    across(drawn, y=0, dash="solid")
    drag(drawn, 1, y="bias", item=True)
    return drawn.x(**expert_axis(n)).y(span=(-1.1, 1.1))


def draw_loads(result: TextRouting) -> Figure:
    """Load of every expert of every layer."""
    layers, n = result.load.shape
    even = n * result.load
    drawn = figure(x="expert", y="layer", height=150 + max(16, 44 - layers) * layers, title="Load of every layer")
    heat(
        drawn,
        even,
        np.arange(1, n + 1),
        np.arange(1, layers + 1),
        scale=DIVERGING,
        low=0,
        high=2,
        bar="÷ even share",
        hover="layer %{y}, expert %{x}<br>%{z:.2f} times the even share",
        text=np.round(even, 1) if layers * n <= 64 else None,
    )
    return drawn.x(**expert_axis(n)).y(autorange="reversed", dtick=max(1, layers // 8))


def draw_weights(result: TextRouting, layer: int) -> list[Figure]:
    """Weights of the experts of the layer, and the router's entropy in all layers, token by token."""
    layers, tokens, _ = result.indices.shape
    weight = np.zeros((result.experts, tokens), np.float32)
    token, place = np.nonzero(result.indices[layer] >= 0)
    weight[result.indices[layer][token, place], token] = result.weights[layer][token, place]
    where, number = say("expert of layer {layer}", layer=layer + 1), np.arange(1, tokens + 1)
    weights = figure(x="token", y=where, height=120 + 14 * result.experts, title="Weights")
    percent = np.round(100 * weight).clip(0, 127).astype(np.int8)
    shared = {"low": 0, "high": 100, "bar": "%"}
    experts = np.arange(1, result.experts + 1)
    heat(weights, percent, number, experts, **shared, hover="token %{x}, expert %{y}<br>weight %{z} %")
    entropy = figure(x="token", y="layer", height=150 + 20 * layers, title="Entropy of the router, % of log n")
    percent = np.round(100 * result.entropy).clip(0, 100).astype(np.int8)
    heat(
        entropy, percent, number, np.arange(1, layers + 1), **shared, hover="token %{x}, layer %{y}<br>%{z} % of log n"
    )
    for drawn in (weights, entropy):
        drawn.y(autorange="reversed", dtick=max(1, len(drawn.data[0]["z"]) // 8))
    return [weights, entropy]


def draw_history(result: TextRouting, layer: int) -> list[Figure]:
    if not result.history.size:
        return []
    where = say("maximum violation, layer {layer}", layer=layer + 1)
    drawn = figure(x="training (%)", y=where, height=300, title="While the three models were trained")
    moments = np.linspace(0, 100, result.history.shape[1])
    for rule, violation, dash in zip(result.history_rules, result.history, ("dot", "dash", "solid"), strict=True):
        color = GREY if rule == "none" else INK
        line(drawn, moments, violation[:, layer], BALANCING[rule], color, dash=dash, hover="%{x:.0f} %: %{y:.2f}")
    return [drawn.y(rangemode="tozero")]


def draw_routing(result: TextRouting, layer: int = 3) -> list:
    at = shown_layer(result, layer)
    entropy = 100 * result.entropy.mean(1)
    rows = [
        [i, *numbers] for i, numbers in enumerate(zip(result.max, result.min, result.mean, entropy, strict=True), 1)
    ]
    columns = ("layer", "maximum violation", "minimum", "mean of absolute values", "router's entropy, % of log n")
    panels = [draw_text(result, at), draw_load(result, at)]
    if np.isfinite(result.loss):
        prose = say("The model predicts this text with a mean loss of {loss} nats a byte.", loss=short(result.loss))
        panels += [draw_bias(result), Prose(prose)]
    if len(result.tokens) > MOST_TILES:
        some = say(
            "Shown are the first {some} of {all} tokens; the figures count all.",
            some=MOST_TILES,
            all=len(result.tokens),
        )
        panels.append(Prose(some))
    details = [*draw_weights(result, at), *draw_history(result, at)]
    return [*panels, draw_loads(result), Table(columns, rows, "Violation (F − Q)/Q"), Folded("Token by token", details)]


def draw_specialisation(result: TextRouting, layer: int) -> Figure:
    """Domains and kinds of byte against experts."""
    there = result.class_count > 0
    names = [DOMAIN[key] for key in result.domains]
    names += [CLASS[key] for key, is_there in zip(result.classes, there, strict=True) if is_there]
    share = 100 * np.concatenate((result.domain_share[layer], result.class_share[layer][there]))
    n = result.experts
    drawn = figure(x=say("expert of layer {layer}", layer=layer + 1), height=120 + 34 * len(names))
    heat(
        drawn,
        np.round(share).astype(np.int16),
        np.arange(1, n + 1),
        names,
        low=0,
        high=100,
        bar="%",
        hover="%{y}: %{z} % go to expert %{x}",
        text=np.round(share).astype(np.int16),
    )
    across(drawn, y=len(result.domains) - 0.5, dash="solid")
    drawn.alt = say("The even share is {even} %.", even=short(100 * result.top_k / n))
    return drawn.x(**expert_axis(n)).y(autorange="reversed", automargin=True)


def draw_pairs(result: TextRouting, layer: int) -> list[Figure]:
    """Experts that a token uses together, and the way from the first layer to the last."""
    n, layers = result.experts, len(result.load)
    share = 100 * result.co_activation[layer]
    np.fill_diagonal(share := share.copy(), np.nan)
    experts = np.arange(1, n + 1)
    together = figure(
        x=say("also use expert, layer {layer}", layer=layer + 1),
        y="of the tokens of expert",
        height=420,
        square=True,
        title="Co-activation",
    )
    hover = "of the tokens of expert %{y}, %{z:.0f} % also use %{x}"
    heat(together, share, experts, experts, low=0, bar="%", hover=hover, text=np.round(share) if n <= 8 else None)
    flow = figure(
        x=say("first expert in layer {layer}", layer=layers),
        y="first expert in layer 1",
        height=420,
        square=True,
        title="From the first layer to the last",
    )
    hover = say("expert {y} in layer 1, {x} in layer {layer}: {z} tokens", y="%{y}", x="%{x}", z="%{z}", layer=layers)
    heat(flow, result.flow, experts, experts, low=0, bar="tokens", hover=hover, text=result.flow if n <= 8 else None)
    for drawn in (together, flow):
        drawn.x(**expert_axis(n)).y(autorange="reversed", **expert_axis(n))
    return [together, flow]


def draw_repeats(result: TextRouting) -> Figure:
    layers = np.arange(1, len(result.load) + 1)
    drawn = figure(x="layer", y="pairs that repeat an expert (%)", height=340, title="Repeats")
    for kind, (name, color) in enumerate((("first choice", COLORS[0]), ("first or second", COLORS[1]))):
        hover = "layer %{x}: %{y:.1f} %"
        line(drawn, layers, 100 * result.repeat[kind], name, color, width=3, marks=8, hover=hover)
        any_two = say("{kind}, any two tokens", kind=str(say(name)))
        line(drawn, layers, 100 * result.repeat_load[kind], any_two, color, dash="dot", marks=5, hover=hover)
        chance = 100 * float(result.repeat_chance[kind])
        across(
            drawn, y=chance, text=say("even chance {chance} %", chance=short(chance)), color=color, dash="dash", width=1
        )
    return drawn.x(dtick=max(1, len(layers) // 8)).y(rangemode="tozero")


def draw_experts(result: TextRouting, layer: int = 3) -> list:
    at = shown_layer(result, layer)
    rows = [
        [i, raw(", ".join(f"{token} {100 * share:.0f} %" for token, share in zip(tokens, shares, strict=False)))]
        for i, (tokens, shares) in enumerate(zip(result.top_tokens[at], result.top_share[at], strict=True), 1)
    ]
    often = say("bytes most often sent here, of those seen {often} times or more", often=result.often)
    panels = [draw_specialisation(result, at)]
    if len(result.domains) > 1:
        apart = ", ".join(f"{100 * value:.0f} %" for value in result.apart)
        prose = say(
            "Total variation between the load of a domain and their mean, layer by layer: {apart}.", apart=apart
        )
        panels.append(Prose(prose))
    return [*panels, *draw_pairs(result, at), draw_repeats(result), Table(("expert", often), rows)]


def draw_hub(result: TextRouting, layer: int = 0) -> list:
    at = shown_layer(result, layer)
    rows = [[raw(name), *sizes, models.HUB[name][2]] for name, sizes in HUB_SIZES.items()]
    needs = Table(("model", "layers", "routed experts", "of a token", "GB of weights"), rows, "What each model needs")
    pairs = draw_pairs(result, at)
    return [draw_text(result, at), draw_load(result, at), draw_loads(result), *pairs, draw_repeats(result), needs]


def draw_balancing(result: Balancing, measure: str = "max") -> list:
    rounds = np.arange(result.rounds + 1)
    token = result.experts / (result.tokens * result.top_k)
    y = "maximum violation (F − Q)/Q" if measure == "max" else "mean |F − Q|/Q"
    over = figure(x="round", y=y, height=420, log="y")
    dashes = ["solid" if learns else "dash" for learns in result.steps]
    for rule, values, dash in zip(result.rules, getattr(result, measure), dashes, strict=True):
        shown = np.maximum(values[: result.rounds + 1], token)
        line(over, rounds, shown, RULE[rule], COLOR[rule], dash=dash, hover="%{x}: %{y:.3f}")
    if measure == "max":
        across(over, y=BALANCED, text="balanced")
    over.alt = say("After {rounds} rounds.", rounds=result.rounds)

    first = result.rules.index("top-k") if "top-k" in result.rules else 0
    order = result.load[first, 0].argsort()[::-1]
    moments = sorted({round(m) for m in np.geomspace(1, result.rounds + 1, 10 if result.experts <= 128 else 6) - 1})
    loads = figure(x="expert, sorted by its load at the start", y="load ÷ even share", height=420, title="Load")
    load = (result.experts * result.load[:, :, order]).astype(np.float32)
    for i, (rule, dash) in enumerate(zip(result.rules, dashes, strict=True)):
        hover = "%{y:.2f} times the even share"
        line(
            loads,
            np.arange(1, result.experts + 1),
            load[i, moments[-1]],
            RULE[rule],
            COLOR[rule],
            dash=dash,
            hover=hover,
        )
    loads.y(span=(0, 1.05 * float(np.nanmax(load[:, : result.rounds + 1]))))
    scrub(loads, [[{"y": values} for values in load[:, m]] for m in moments], list(map(str, moments)), "round")

    last, counts = result.rounds, np.arange(result.experts + 1)
    rows, varying = [], []
    for i, rule in enumerate(result.rules):
        there = np.flatnonzero(result.active[i] > 0)
        spread = "…" if not len(there) else str(there[0]) if there[0] == there[-1] else f"{there[0]}–{there[-1]}"
        since = result.balanced[i]
        held = say("never") if since < 0 else int(since)
        score = 100 * float(result.score[i, last])
        numbers = (result.max[i, last], result.min[i, last], result.mean[i, last])
        rows.append([RULE[rule], *numbers, held, score, raw(spread)])
        varying += [i] if len(there) > 1 else []
    columns = (
        "rule",
        "maximum violation",
        "minimum",
        "mean of absolute values",
        "balanced from round",
        "routed score, % of top-k",
        "experts of a token",
    )
    panels = [over, loads]
    if varying:
        most = max(int(np.flatnonzero(result.active[i])[-1]) for i in varying)
        number = figure(x="experts of a token", y="share of tokens (%)", height=300, barmode="group")
        for i in varying:
            rule = result.rules[i]
            share = 100 * result.active[i, : most + 1]
            bars(number, counts[: most + 1], share, RULE[rule], COLOR[rule], hover="%{x}: %{y:.1f} %")
        panels.append(number)
    return [*panels, Table(columns, rows)]


def draw_training(result: Training) -> list:
    loss = figure(x="step", y="loss ÷ variance of the target", height=400, log="y")
    violation = figure(x="step", y="maximum violation (F − Q)/Q", height=300)
    for i, rule in enumerate(result.rules):
        line(loss, result.step, result.loss[i], RULE[rule], COLOR[rule], hover="step %{x}: %{y:.3f}")
        line(
            violation,
            result.step,
            result.violation[i],
            RULE[rule],
            COLOR[rule],
            legend=False,
            hover="step %{x}: %{y:.2f}",
        )
    violation.y(rangemode="tozero")

    names, experts = [RULE[rule] for rule in result.rules], np.arange(1, result.experts + 1)
    moments = sorted(set(np.linspace(0, len(result.step) - 1, 20).round().astype(int).tolist()))
    percent = np.round(100 * result.load).astype(np.int8)
    loads = figure(x="expert", height=170 + 30 * len(names), title="Load, % of the assignments")
    shared = {"low": 0, "high": min(100, 300 / result.experts), "bar": "%"}
    hover = "%{y}: expert %{x} has %{z} % of the load"
    few = result.experts <= 16
    heat(
        loads,
        percent[:, moments[-1]],
        experts,
        names,
        **shared,
        hover=hover,
        **({"texttemplate": "%{z}"} if few else {}),
    )
    loads.x(**expert_axis(result.experts)).y(autorange="reversed", automargin=True)
    if len(moments) > 1:
        scrub(loads, [[{"z": percent[:, m]}] for m in moments], [str(result.step[m]) for m in moments], "step")
    panels = [loss, loads, violation]
    if result.kinds.any():
        panels.insert(2, draw_kinds(result))
    even = 1 / result.experts
    rows = [
        [RULE[rule], result.loss[i, -1], int(result.used[i]), *(result.load[i, m].max() / even - 1 for m in (0, -1))]
        for i, rule in enumerate(result.rules)
    ]
    used = say("experts in use, of {all}", all=result.experts)
    first = say("maximum violation, first {steps} steps", steps=int(result.step[0]))
    return [*panels, Table(("balancing", "loss", used, first, "at the end"), rows)]


def draw_kinds(result: Training) -> Figure:
    """Which experts each kind of input goes to at the end, a block for each rule."""
    count, kinds, n = result.kinds.shape
    blocks = np.full((kinds, count * (n + 1) - 1), np.nan, np.float32)
    for i in range(count):
        blocks[:, i * (n + 1) : i * (n + 1) + n] = np.round(100 * result.kinds[i])
    drawn = figure(x="experts, a block for each balancing", y="kind of input", height=340, title="Who takes which kind")
    heat(drawn, blocks, None, np.arange(1, kinds + 1), low=0, high=100, bar="%", hover="kind %{y}: %{z} %")
    middles = [i * (n + 1) + (n - 1) / 2 for i in range(count)]
    drawn.x(tickvals=middles, ticktext=[RULE[rule] for rule in result.rules], tickangle=0, tickfont={"size": 10})
    return drawn.y(autorange="reversed", dtick=max(1, kinds // 8))


def draw_geometry(result: Subsets) -> list:
    kept = result.kept[:-1]
    drawn = figure(x=say("vectors kept, k of {all}", all=result.blocks), y="squared error ÷ ‖y‖²", height=440, log="y")
    for name, curve, color, dash in (
        ("any k (mean)", result.random, COLORS[1], "solid"),
        ("linear router", result.learned, COLORS[2], "solid"),
        ("greatest norms", result.norm, COLORS[0], "solid"),
        ("best subset", result.best, COLORS[3], "solid"),
        ("greatest norms, if orthogonal", result.orthogonal, GREY, "dot"),
    ):
        line(drawn, kept, curve[:-1], name, color, marks=6, dash=dash, hover="k = %{x}: %{y:.3f}")
    drawn.x(dtick=1).y(span=(1e-3, 1.3))
    norms = figure(x="token", y="block", height=300, title="Norms ‖v‖")
    tokens, blocks = np.arange(1, len(result.norms) + 1), np.arange(1, result.blocks + 1)
    heat(norms, result.norms.T, tokens, blocks, low=0, bar="‖v‖", hover="token %{x}, block %{y}: ‖v‖ = %{z:.2f}")
    quarter = max(1, result.blocks // 4)
    prose = say(
        "Two vectors of a token have a mean |cos| of {cosine}. Of the {count} longest, the linear router, which sees only $x$, "
        "names {share} %.",
        cosine=short(result.cosine, 2),
        count=quarter,
        share=round(100 * float(result.agreement[quarter])),
    )
    return [drawn, Prose(prose), norms]


def draw_shared(result: SharedScale) -> list:
    drawn = figure(x="experts active, shared included", y="λ", height=440, log="y")
    band(drawn, result.active, result.low, result.high, "90 % of tokens", COLORS[0], legend=True)
    line(drawn, result.active, result.scale, "λ (mean)", COLORS[0], hover="%{x} active: λ = %{y:.2f}")
    points(drawn, [result.top_k], [result.value], "here", COLORS[1], size=15, hover="%{x} active: λ = %{y:.2f}")
    drag(drawn, 2, x="top_k")
    label(drawn, result.top_k, result.value, f"λ = {short(result.value)}", COLORS[1], xshift=10, yshift=6)
    drawn.alt = f"λ = {short(result.value)}."
    rows = [
        [raw(name), *setting[:3], raw(setting[3]), setting[4], computed, published]
        for name, setting, computed, published in zip(
            result.models, result.settings, result.computed, result.published, strict=True
        )
    ]
    columns = ("model", "experts", "active", "shared", "gate", "renormalised", "λ computed", "λ in its configuration")
    return [drawn, Table(columns, rows, "Published models")]
