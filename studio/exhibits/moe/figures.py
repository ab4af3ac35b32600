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
    cells,
    drag,
    figure,
    heat,
    label,
    line,
    points,
    scrub,
    short,
)
from studio.language import drawn, raw, say
from studio.panels import Folded, Piece, Prose, Table, Writing

RULE = {
    "top-k": "Top-k, no balancing",
    "aux-loss": "Auxiliary loss",
    "loss-free": "Loss-free bias, sign",
    "loss-free-rms": "Loss-free bias, RMS",
    "quantile": "Quantile balancing",
    "bip": "Quantiles truncated at 0 (BIP)",
    "dynamic": "Dynamic number, sign",
    "dynamic-quantile": "Dynamic number, quantile",
    "expert-choice": "Expert choice",
    "hash": "Hash of the token",
}
# a rule keeps its colour in every figure
COLOR = dict(zip([rule for rule in RULES if rule != "bip"], (*COLORS, GREY), strict=True)) | {"bip": INK}
BALANCING = {"none": "no balancing", "auxiliary": "auxiliary loss", "loss-free": "loss-free bias"}
DOMAIN = {"story": "English stories", "quatrain": "Chinese quatrains", "python": "Python", "own": "your text"}
CLASS = {
    "lower": "lower case",
    "capital": "capitals",
    "digit": "digits",
    "space": "space",
    "newline": "newline",
    "other": "other ASCII",
    "lead": "first byte of a 汉字",
    "continuation": "later bytes of it",
}
MEASURE = {"max": "maximum", "mean": "mean of absolute values", "min": "minimum, sign reversed"}
UNIT = {"deviation": "standard deviations of the scores", "score": "the scores themselves"}
WEIGHT_GATE = {"same": "the gate itself", "none": "none", "softmax": "softmax", "sigmoid": "sigmoid"}
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


def matrix(
    z: Any, rows: Any, n: int, hover: str, *, x: str = "expert", y: str = "", digits: int | None = None, **more: Any
) -> Figure:
    """A matrix with a column for each of n experts and rows from the top; `digits`: of numbers in its cells."""
    limits = {key: more.pop(key) for key in ("low", "high", "scale", "bar") if key in more}
    drawn = figure(x=x, y=y, **more)
    cells = {} if digits is None else {"texttemplate": f"%{{z:.{digits}f}}"}
    heat(drawn, z, np.arange(1, n + 1), rows, hover=hover, **({"bar": "%", "low": 0} | limits | cells))
    return drawn.x(tickvals=list(range(1, n + 1, max(1, n // 8))), tickangle=0).y(autorange="reversed", automargin=True)


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
    n, share = result.experts, 100 * result.load[layer]
    title = say("Load, layer {layer}", layer=layer + 1)
    drawn = figure(x="expert", y="share of assignments (%)", height=300, title=title, margin={"r": 48})
    bars(drawn, np.arange(1, n + 1), share, "load", expert_colors(n), hover="expert %{x}: %{y:.1f} %", legend=False)
    across(drawn, y=100 / n)
    label(drawn, 1, 100 / n, "even", GREY, xref="x domain", xshift=3, yanchor="middle")
    drawn.alt = say("From {low} % to {high} %.", low=short(share.min()), high=short(share.max()))
    return drawn.x(dtick=max(1, n // 8))


def draw_bias(result: TextRouting) -> Figure:
    n, experts = result.experts, np.arange(1, result.experts + 1)
    drawn = figure(x="expert", y="added to its score in the choice", height=300, title="Bias: drag a point")
    points(drawn, experts, result.bias, "bias", expert_colors(n), size=14, legend=False, hover="expert %{x}: %{y:+.2f}")
    across(drawn, y=0, dash="solid")
    return drag(drawn, 0, y="bias", item=True).x(dtick=1).y(span=(-1.1, 1.1))


def draw_history(result: TextRouting, layer: int) -> Figure:
    drawn = figure(x="training (%)", y=say("maximum violation, layer {layer}", layer=layer + 1), height=300)
    moments = np.linspace(0, 100, result.history.shape[1])
    for rule, violation, dash in zip(result.history_rules, result.history, ("dot", "dash", "solid"), strict=True):
        color = GREY if rule == "none" else INK
        line(drawn, moments, violation[:, layer], BALANCING[rule], color, dash=dash, hover="%{x:.0f} %: %{y:.2f}")
    return drawn.y(rangemode="tozero")


def draw_routing(result: TextRouting, layer: int = 3) -> list:
    at, count = shown_layer(result, layer), len(result.tokens)
    told = [say("The model predicts this text with a mean loss of {loss} nats a byte.", loss=short(result.loss))]
    if count > MOST_TILES:
        told.append(
            say("The first {some} of {all} bytes are shown; the figures count all.", some=MOST_TILES, all=count)
        )
    columns = ("layer", "maximum", "minimum", "mean, absolute", "router's entropy, % of log n")
    numbers = zip(result.max, result.min, result.mean, 100 * result.entropy.mean(1), strict=True)
    return [
        draw_text(result, at),
        draw_load(result, at),
        draw_bias(result),
        *map(Prose, told),
        Table(columns, [[i, *row] for i, row in enumerate(numbers, 1)], "Violation (F − Q)/Q"),
        Folded("Violation while the three models were trained", [draw_history(result, at)]),
    ]


def draw_specialisation(result: TextRouting, layer: int) -> Figure:
    """Domains and kinds of byte against experts."""
    there = result.class_count > 0
    names = [DOMAIN[key] for key in result.domains]
    names += [CLASS[key] for key, is_there in zip(result.classes, there, strict=True) if is_there]
    share = 100 * np.concatenate((result.domain_share[layer], result.class_share[layer][there]))
    x, hover = say("expert of layer {layer}", layer=layer + 1), "%{y}: %{z:.0f} % go to expert %{x}"
    drawn = matrix(share, names, result.experts, hover, x=x, digits=0, high=100, height=120 + 34 * len(names))
    drawn.alt = say("The even share is {even} %.", even=short(100 * result.top_k / result.experts))
    return drawn


def draw_pairs(result: TextRouting, layer: int) -> list[Figure]:
    """Experts that a token uses together, and the way from the first layer to the last."""
    n, layers, square = result.experts, len(result.load), {"height": 420, "square": True}
    share, digits = 100 * result.co_activation[layer], 0 if result.experts <= 8 else None
    share[range(n), range(n)] = np.nan
    x, hover = say("expert of layer {layer}", layer=layer + 1), "of the tokens of expert %{y}, %{z:.0f} % also use %{x}"
    title = "Co-activation: of the tokens of one expert, those that also use another"
    together = matrix(share, np.arange(1, n + 1), n, hover, x=x, y="expert", digits=digits, title=title, **square)
    x, hover = say("first expert in layer {layer}", layer=layers), "from expert %{y} to %{x}: %{z} tokens"
    more = {"y": "first expert in layer 1", "bar": "tokens", "title": "From the first layer to the last", **square}
    return [together, matrix(result.flow, np.arange(1, n + 1), n, hover, x=x, digits=digits, **more)]


def draw_repeats(result: TextRouting) -> Figure:
    layers, hover = np.arange(1, len(result.load) + 1), "layer %{x}: %{y:.1f} %"
    drawn = figure(x="layer", y="pairs that repeat an expert (%)", height=340)
    names = ("first choice", "first choice, any two tokens"), ("first or second", "first or second, any two tokens")
    for kind, ((near, any_two), color) in enumerate(zip(names, COLORS, strict=False)):
        line(drawn, layers, 100 * result.repeat[kind], near, color, width=3, marks=8, hover=hover)
        line(drawn, layers, 100 * result.repeat_load[kind], any_two, color, dash="dot", marks=5, hover=hover)
        chance = say("even chance {chance} %", chance=short(100 * result.repeat_chance[kind]))
        across(drawn, y=100 * result.repeat_chance[kind], text=chance, color=color, dash="dash", width=1)
    return drawn.x(dtick=max(1, len(layers) // 8)).y(rangemode="tozero")


def draw_experts(result: TextRouting, layer: int = 3) -> list:
    at = shown_layer(result, layer)
    rows = [
        [i, raw(", ".join(f"{token} {100 * share:.0f} %" for token, share in zip(tokens, shares, strict=False)))]
        for i, (tokens, shares) in enumerate(zip(result.top_tokens[at], result.top_share[at], strict=True), 1)
    ]
    often = say("bytes most often sent here, of those seen {often} times or more", often=result.often)
    apart = ", ".join(f"{100 * value:.0f} %" for value in result.apart)
    told = say("Total variation between the load of a domain and their mean, layer by layer: {apart}.", apart=apart)
    panels = [draw_specialisation(result, at), *([Prose(told)] if len(result.domains) > 1 else [])]
    return [*panels, *draw_pairs(result, at), draw_repeats(result), Table(("expert", often), rows)]


def draw_models(result: TextRouting, layer: int = 0) -> list:
    at, (layers, n) = shown_layer(result, layer), result.load.shape
    hover = "layer %{y}, expert %{x}<br>%{z:.2f} times the even share"
    colors = {"scale": DIVERGING, "high": 2, "bar": "÷ even share"}
    height = 150 + max(16, 44 - layers) * layers
    loads = matrix(
        n * result.load, np.arange(1, layers + 1), n, hover, y="layer", height=height, title="Load", **colors
    )
    rows = [[raw(name), *sizes, models.HUB[name][2]] for name, sizes in HUB_SIZES.items()]
    needs = Table(("model", "layers", "routed experts", "of a token", "GB of weights"), rows, "What each model needs")
    return [draw_text(result, at), needs, loads, draw_load(result, at), *draw_pairs(result, at), draw_repeats(result)]


def draw_loads(result: Balancing) -> Figure:
    """The load of every expert, a square a rule, scrubbed over the rounds."""
    n, even, rounds = result.experts, np.ptp(result.target) < 1e-12, result.rounds
    order = result.load[result.rules.index("top-k") if "top-k" in result.rules else 0, 0].argsort()[::-1]
    order = order if even else np.arange(n)
    load = (n * result.load[:, :, order]).astype(np.float32)
    moments = sorted({round(m) for m in np.geomspace(1, rounds + 1, 14 if n <= 128 else 6) - 1})
    high = 1.05 * float(np.nanmax(load[:, : rounds + 1]))
    titles = []
    for rule, first, violation in zip(result.rules, result.balanced, result.max, strict=True):
        within = int((violation[: rounds + 1] <= BALANCED).sum())
        held = (
            "never balanced" if not within else say("balanced in {some} rounds of {all}", some=within, all=rounds + 1)
        )
        held = held if first < 0 else say("balanced from round {round}", round=int(first))
        titles.append(raw(f"<b>{say(RULE[rule])}</b><br>{drawn(held)}"))
    shares = np.arange(1, n + 1)
    ends = [0.5, n + 0.5]
    made, places = cells(titles, ends, [0, high])
    for i, rule in enumerate(result.rules):
        hover = "%{y:.2f} times the even share"
        bars(made, shares, load[i, moments[-1]], RULE[rule], COLOR[rule], hover=hover, legend=False, **places[i])
    for at in places:
        wanted = n * result.target[order] if not even else np.ones(2)
        line(
            made,
            ends if even else shares,
            wanted,
            "even share" if even else "target Q",
            INK,
            width=1.5,
            dash="dot",
            legend=False,
            hoverinfo="skip",
            **at,
        )
    made.alt = "; ".join(
        f"{say(RULE[rule])}: {short(load[i, moments[-1]].max())}" for i, rule in enumerate(result.rules)
    )
    return scrub(
        made,
        [[{"y": values} for values in load[:, m]] for m in moments],
        [say("round {number}", number=m) for m in moments],
        name="",
        once=True,
    )


def draw_balancing(result: Balancing, measure: str = "max") -> list:
    n, rounds = result.experts, np.arange(result.rounds + 1)
    y = {
        "max": "maximum violation (F − Q)/Q",
        "mean": "mean |F − Q|/Q",
        "min": "−minimum violation (1: an expert without tokens)",
    }
    over = figure(x="round", y=y[measure], height=440, log="y")
    token = n / (result.tokens * result.top_k)
    for i, rule in enumerate(result.rules):
        shared = RULE[rule], COLOR[rule]
        dash = "solid" if result.steps[i] else "dash"
        values = getattr(result, measure)[i, : result.rounds + 1]
        values = np.maximum(-values if measure == "min" else values, token)
        line(over, rounds, values, *shared, dash=dash, hover="%{x}: %{y:.3f}")
    if measure == "max":
        across(over, y=BALANCED)
        label(over, 0, BALANCED, "balanced", GREY, xshift=4, yanchor="top")

    rows, spreads = [], [np.flatnonzero(active) for active in result.active]
    for i, rule in enumerate(result.rules):
        numbers = [values[i, result.rounds] for values in (result.max, result.min, result.mean)]
        held = say("never") if result.balanced[i] < 0 else int(result.balanced[i])
        spread = "–".join(map(str, sorted({spreads[i][0], spreads[i][-1]}))) if len(spreads[i]) else "…"
        rows.append([RULE[rule], *numbers, held, 100 * result.score[i, result.rounds], raw(spread)])
    columns = (
        "rule",
        "maximum",
        "minimum",
        "mean, absolute",
        "balanced from round",
        "routed score, %",
        "experts of a token",
    )
    return [draw_loads(result), over, Table(columns, rows, "Violation (F − Q)/Q at the end")]


def draw_training(result: Training) -> list:
    loss = figure(x="step", y="loss ÷ variance of the target", height=340, log="y")
    violation = figure(x="step", y="maximum violation (F − Q)/Q", height=300)
    z = figure(x="step", y="log Z, root mean square", height=300)
    for i, rule in enumerate(result.rules):
        line(z, result.step, result.log_z[i], RULE[rule], COLOR[rule], legend=False, hover="step %{x}: %{y:.2f}")
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
    z.y(rangemode="tozero")

    n, names = result.experts, [RULE[rule] for rule in result.rules]
    moments = sorted(set(np.linspace(0, len(result.step) - 1, 20).round().astype(int).tolist()))
    percent, hover = np.round(100 * result.load).astype(np.int8), "%{y}: expert %{x} has %{z} % of the load"
    shown = {"digits": 0 if n <= 16 else None, "high": min(100, 300 / n), "height": 200 + 44 * len(names)}
    loads = matrix(percent[:, moments[-1]], names, n, hover, title="Load, % of the assignments", **shown)
    if len(moments) > 1:
        labels = [say("step {number}", number=int(result.step[m])) for m in moments]
        scrub(loads, [[{"z": percent[:, m]}] for m in moments], labels, name="", once=True)
    used, first = (
        say("experts in use, of {all}", all=n),
        say("violation, first {steps} steps", steps=int(result.step[0])),
    )
    rows = [
        [RULE[rule], result.loss[i, -1], int(result.used[i]), result.violation[i, 0], result.violation[i, -1]]
        for i, rule in enumerate(result.rules)
    ]
    table = Table(("balancing", "loss", used, first, "at the end"), rows)
    # last: it comes at the end of the run, and takes no other figure's place
    return [loads, loss, violation, z, table, *([draw_kinds(result)] if result.kinds.any() else [])]


def draw_kinds(result: Training) -> Figure:
    """Which experts each kind of input goes to at the end, a block of rows for each rule."""
    count, kinds, n = result.kinds.shape
    blocks = np.pad(100 * result.kinds, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, n)[:-1]
    kind = [(i % (kinds + 1) + 1,) * n for i in range(len(blocks))]
    hover = "kind %{customdata}: %{z:.0f} % go to expert %{x}"
    drawn = matrix(
        blocks, np.arange(len(blocks)), n, hover, height=420, title="Where each kind of input goes", high=100
    )
    drawn.data[0]["customdata"] = kind
    middles = [i * (kinds + 1) + (kinds - 1) / 2 for i in range(count)]
    return drawn.y(tickvals=middles, ticktext=[RULE[rule] for rule in result.rules])


# the orders in which vectors are added, as their paths and their errors are named
ORDERS = (
    ("greatest norms", COLORS[0]),
    ("one after the other, each the best", COLORS[3]),
    ("linear router", COLORS[2]),
)


def draw_paths(result: Subsets) -> Figure:
    """The vectors of a token added tip to tail in several orders, along their sum and off it; scrubbed over the tokens."""
    far = min(float(np.abs(result.paths[..., 1]).max()), 1.5)
    drawn = figure(
        x="along y, in units of ‖y‖", y="off y", height=560, yaxis={"scaleanchor": "x"}, meta={"aspect": 1.75}
    )
    named = (*ORDERS, ("any order", COLORS[1]))
    for i in reversed(range(len(named))):  # the best on top
        x, y = result.paths[i, 0].T
        hover = "%{customdata} vectors: %{x:.2f} along y, %{y:.2f} off it"
        path = line(drawn, x, y, *named[i], width=2.5, marks=7, hover=hover, customdata=result.kept)
        path["marker"] |= {"size": np.where(result.kept == result.blocks // 2, 14, 6), "opacity": 1}
    turn = np.linspace(0, np.pi, 61)
    for radius in (0.25, 0.5, 0.75, 1.0):
        circle = 1 - radius * np.cos(turn), radius * np.sin(turn)
        line(drawn, *circle, "", GREY, width=1, dash="dot", hoverinfo="skip")
        if radius < 0.6:  # beside the paths, which come from the left
            place = 1 + radius * np.cos(0.95), radius * np.sin(0.95)
            label(drawn, *place, say("{share} % missed", share=short(100 * radius**2, 2)), GREY, xshift=4)
    points(drawn, [0], [0], "", INK, size=9, hover="0: nothing kept")
    points(drawn, [1], [0], "y, the sum of all", INK, size=16, symbol="star", hover="y")
    drawn.x(span=(-0.1, 1.65), zeroline=False).y(span=(-0.06, max(0.8, 1.05 * far)), zeroline=False, constrain="domain")
    frames = [
        [{"x": path[:, 0], "y": path[:, 1]} for path in result.paths[::-1, t]] for t in range(len(result.paths[0]))
    ]
    return scrub(drawn, frames, [str(t + 1) for t in range(len(frames))], "token", start=0)


def draw_geometry(result: Subsets) -> list:
    drawn = figure(x=say("vectors kept, k of {all}", all=result.blocks), y="squared error ÷ ‖y‖²", height=400, log="y")
    for name, curve, color, dash in (
        ("any k (mean)", result.random, COLORS[1], "solid"),
        ("linear router", result.learned, COLORS[2], "solid"),
        ("greatest norms", result.norm, COLORS[0], "solid"),
        ("best subset", result.best, COLORS[3], "solid"),
        ("greatest norms, if orthogonal", result.orthogonal, GREY, "dot"),
    ):
        line(drawn, result.kept[:-1], curve[:-1], name, color, marks=6, dash=dash, hover="k = %{x}: %{y:.3f}")
    drawn.x(dtick=1).y(span=(1e-3, 1.3))
    quarter = max(1, result.blocks // 4)
    told = say(
        "Two vectors of a token have a mean |cos| of {cosine}. Of the {count} longest, the linear router, which sees only $x$, "
        "names {share} %.",
        cosine=short(result.cosine, 2),
        count=quarter,
        share=round(100 * float(result.agreement[quarter])),
    )
    return [draw_paths(result), Prose(told), drawn, *(draw_grain(result) if len(result.grain) else [])]


def draw_grain(result: Subsets) -> list:
    """The same layer cut ever finer, the same share of it kept."""
    share = say("{kept} of {all}", kept=int(result.grain_kept[0]), all=int(result.grain[0]))
    title = say("Finer experts: {share} of the layer kept, cut into more blocks", share=share)
    drawn = figure(x="blocks n", y="squared error ÷ ‖y‖²", height=360, log="xy", title=title)
    for name, curve, color in (
        ("greatest norms", result.grain_norm, COLORS[0]),
        ("one after the other, each the best", result.grain_greedy, COLORS[2]),
        ("best subset", result.grain_best, COLORS[3]),
    ):
        line(drawn, result.grain, curve, name, color, marks=7, hover="n = %{x}: %{y:.3f}")
    drawn.x(tickvals=result.grain.tolist(), ticktext=[str(n) for n in result.grain])
    columns = ("blocks n", "kept k", "C(n, k), power of ten", "greatest norms", "one after the other", "best subset")
    rows = zip(
        result.grain,
        result.grain_kept,
        result.combinations,
        result.grain_norm,
        result.grain_greedy,
        result.grain_best,
        strict=True,
    )
    return [drawn, Table(columns, [list(row) for row in rows], "Ways to choose, and error")]


def draw_shared(result: SharedScale) -> list:
    drawn = figure(x="experts active, shared included", y="λ", height=440, log="y")
    hover = "%{x} active: λ = %{y:.2f}"
    band(drawn, result.active, result.low, result.high, "90 % of tokens", COLORS[0], legend=True)
    line(drawn, result.active, result.scale, "λ (mean)", COLORS[0], hover=hover)
    points(drawn, [result.top_k], [result.value], "here", COLORS[1], size=15, hover=hover)
    drag(drawn, 2, x="top_k")
    label(drawn, result.top_k, result.value, f"λ = {short(result.value)}", COLORS[1], xshift=10, yshift=6)
    drawn.alt = f"λ = {short(result.value)}."
    ticks = [digit * ten for ten in (0.1, 1, 10, 100, 1000) for digit in (1, 1.5, 2, 3, 5, 7)]
    drawn.y(tickvals=ticks, ticktext=[short(tick) for tick in ticks])
    rows = [
        [raw(name), *setting[:3], raw(setting[3]), setting[4], computed, published]
        for name, setting, computed, published in zip(
            result.models, result.settings, result.computed, result.published, strict=True
        )
    ]
    columns = ("model", "experts", "active", "shared", "gate", "renormalised", "λ computed", "λ in its configuration")
    return [drawn, Table(columns, rows, "Published models")]
