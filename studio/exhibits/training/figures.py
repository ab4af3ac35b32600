"""Figures of the training exhibit."""

from __future__ import annotations

import numpy as np

from engines.training.dropout import Child, Dropout
from engines.training.inside import Inside
from engines.training.ladder import LadderCosts
from engines.training.optimisers import Assumptions, Schedules
from engines.training.penalties import Penalties
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    SEQUENTIAL,
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
from studio.panels import Folded, Prose, Table

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, OLIVE, PINK = COLORS
RULE = {
    "sgd": "SGD",
    "adamw": "AdamW",
    "adamw-linear": "AdamW, linear decay",
    "lamb": "LAMB",
    "su": "Su's rule",
    "amos-scalar": "Amos, scalar slots",
    "amos-rows": "Amos, a slot a row",
    "amos-momentum": "Amos with momentum",
}
RULE_HUE = dict(zip(RULE, (OLIVE, BLUE, SKY, PURPLE, RED, PINK, ORANGE, GREEN), strict=True))
TUNING = {
    "plain": "plain Adam",
    "f": "ChildTuning-F",
    "d": "ChildTuning-D",
    "update": "dropped update",
    "smaller": "plain Adam, √p times the rate",
}
TUNING_HUE = dict(zip(TUNING, (GREY, BLUE, GREEN, PURPLE, RED), strict=True))
METHOD = {"full": "full tuning", "lora": "LoRA", "bitfit": "BitFit", "head": "head alone", "ladder": "ladder"}
METHOD_HUE = dict(zip(METHOD, (BLUE, ORANGE, GREEN, GREY, RED), strict=True))
AVERAGE = {"raw": "last weights", "ema": "EMA", "power": "power average", "uniform": "uniform average"}
AVERAGE_HUE = dict(zip(AVERAGE, (GREY, BLUE, RED, GREEN), strict=True))
LAW = {"steady": "steady: p stays", "slowing": "slowing: p falls like |ε|"}
# 97.5 % quantiles of Student's t for 1 to 31 degrees of freedom
STUDENT = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09,
    2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04, 2.04,
)  # fmt: skip


def apart(mean: float, error: float, count: int) -> int:
    """1 or -1 where the 95 % interval lies above or below 0, else 0."""
    if not np.isfinite(error) or count < 2:
        return 0
    half = STUDENT[min(count - 2, len(STUDENT) - 1)] * error
    return int(mean > half) - int(mean < -half)


def plus_minus(mean: float, error: float) -> str:
    return raw(short(mean, 3) + (f" ± {short(error, 2)}" if np.isfinite(error) else ""))


def listed(names: list[str]) -> str:
    return raw(" · ".join(names) or "–")


def with_band(drawing: Figure, x, y, error, name: str, color: str, **more) -> None:
    if np.isfinite(error).any():
        band(drawing, x, y - error, y + error, color=color)
    line(drawing, x, y, name, color, **more)


def draw_schedules(result: Schedules) -> list:
    """αₜ/α₀ of each law and schedule, and the weight decay."""
    own = say(LAW[result.law])
    drawing = figure(x="step t", y="αₜ/α₀", height=480)
    shade = {"fill": "tozeroy", "fillcolor": "rgba(204, 51, 17, 0.07)"}
    line(drawing, result.step, result.ratio, own, RED, width=3, hover="t = %{x:,}<br>%{y:.4~g}", **shade)
    line(
        drawing,
        result.step,
        result.other,
        say(LAW["steady" if result.law == "slowing" else "slowing"]),
        RED,
        dash="dot",
    )
    few = slice(None, None, 20)
    points(drawing, result.step[few], result.recursion[few], "difference equation", INK, size=6, symbol="x-thin-open")
    for values, name, color in ((result.linear, "linear decay", BLUE), (result.cosine, "cosine decay", PURPLE)):
        line(drawing, result.step, values, name, color, hover="t = %{x:,}<br>%{y:.4~g}")
    points(drawing, [result.steps], [result.ratio[-1]], "drag: steps", RED, size=13, legend=False)
    drag(drawing, len(drawing.data) - 1, x="steps")
    drawing.y(span=(0, 1.03))
    if result.half < result.steps:
        across(drawing, x=result.half, text=say("half at step {step}", step=round(result.half)))
    decay = figure(x="step t", y="weight decay a step, ρₜ", log="y", height=320)
    line(decay, result.step, result.rho, own, RED, width=3)
    line(decay, result.step, result.amos_rho, "Amos's dₜ γₜ/2", ORANGE)
    amos = figure(x="step t", y="over the first value", height=320)
    line(amos, result.step, result.amos_d, "Amos's dₜ", ORANGE)
    line(amos, result.step, result.amos_c, "Amos's cₜ", ORANGE, dash="dash")
    amos.y(range=[0, 1.03])
    drawing.alt = say("At the last step αₜ/α₀ is {ratio}.", ratio=short(result.ratio[-1]))
    off = np.max(np.abs(result.recursion / result.ratio - 1))
    facts = Prose(
        say(
            "The schedule is at one half after {half} steps. After {steps} steps the learning rate is {ratio} of the "
            "first. The closed form differs from the difference equation by at most {off} of its value.",
            half=short(result.half),
            steps=result.steps,
            ratio=short(result.ratio[-1]),
            off=short(off, 2),
        )
    )
    return [drawing, decay, amos, facts]


def draw_assumptions(result: Assumptions, layer: str = "1") -> list:
    """p, q and the error of one kernel over training, beside what the derivation assumes."""
    i = int(layer)
    drawing = figure(x="step", y="pₜ = cos(uₜ, εₜ)", height=400)
    with_band(drawing, result.step, result.p[i], result.p_error[i], "measured p", BLUE, marks=4)
    line(drawing, result.step, np.full(len(result.step), result.p[i, 0]), "p stays", GREY, dash="dash")
    line(drawing, result.step, result.p[i, 0] * result.shrink[i], "p falls like |ε|", GREY, dash="dot")
    across(drawing, y=0, dash="solid", width=1)
    quotient = figure(x="step", y="qₜ = θ·ε/|ε|²", height=340)
    with_band(quotient, result.step, result.q[i], result.q_error[i], "measured q", RED, marks=4)
    across(quotient, y=1, text="assumed: q = 1")
    across(quotient, y=0, dash="solid", width=1)
    size = figure(x="step", y="|εₜ|/|ε₀|", log="y", height=300)
    for k, color in enumerate((SKY, GREEN, PURPLE)):
        line(size, result.step, result.shrink[k], say("layer {number}", number=k + 1), color)
    rows = [
        [k + 1, result.relative[k], result.cosine[k], result.p[k, 0], result.p[k, -1], result.q[k, 0], result.q[k, -1]]
        for k in range(len(result.relative))
    ]
    columns = ("layer", "|ε₀|/|θ₀|", "cos(θ₀, θ*)", "first p", "last p", "first q", "last q")
    facts = say(
        "Layer {number}: q goes from {first} to {last}, p from {p_first} to {p_last}; |ε₀|/|θ₀| is {relative}; for "
        "unrelated vectors of one length it is √2 = 1.41. The network ends at {accuracy} % right answers.",
        number=i + 1,
        first=short(result.q[i, 0], 2),
        last=short(result.q[i, -1], 2),
        p_first=short(result.p[i, 0], 2),
        p_last=short(result.p[i, -1], 2),
        relative=short(result.relative[i], 2),
        accuracy=short(100 * result.accuracy, 3),
    )
    drawing.alt = facts
    return [drawing, quotient, size, Prose(facts), Table(columns, rows, "All layers, mean of four runs")]


def draw_dropout(result: Dropout) -> list:
    """How the update is spread at each p, with its mean on top; mean and variance over p."""
    own = 0 if result.drop == "gradient" else 1
    adam = result.optimiser == "adam"
    names = ("gradient dropped", "update dropped") if adam else ("SGD", "SGD")
    hover = "p = %{x:.3~g}: %{y:.4~g}"
    spread = figure(x="probability p that it is kept", y="update", height=500)
    middle = 0.5 * (result.edges[1:] + result.edges[:-1])
    for name, chosen, color, opacity in (
        ("how often each update is made", slice(0, -1), GREY, 0.35),
        (say("p = {p}", p=short(result.p)), slice(-1, None), RED, 0.45),
    ):
        wide = 0.042 * result.density[chosen] / result.density[chosen].max(1, keepdims=True)
        outline = [
            np.concatenate((k - w, (k + w)[::-1], [np.nan]))
            for k, w in zip(result.simulated[chosen], wide, strict=True)
        ]
        high = np.concatenate((middle, middle[::-1], [np.nan]))
        line(
            spread,
            np.concatenate(outline),
            np.tile(high, len(outline)),
            name,
            color,
            width=1,
            fill="toself",
            opacity=opacity,
            hoverinfo="skip",
        )
    figures = [spread]
    for values, simulated, error, axis in (
        (result.mean, result.simulated_mean, result.mean_error, "mean of the update"),
        (result.variance, result.simulated_variance, result.variance_error, "variance of the update"),
    ):
        drawn = figure(x="probability p that it is kept", y=axis, height=340)
        figures.append(drawn)
        at = np.interp(result.p, result.keep, values[own])
        for where in figures if len(figures) == 2 else [drawn]:
            for k in (own, 1 - own) if adam else (own,):
                line(
                    where,
                    result.keep,
                    values[k],
                    names[k],
                    (BLUE, ORANGE)[k],
                    dash=None if k == own else "dash",
                    legend=where is figures[0],
                )
            if where is not spread:
                bar = {"type": "data", "array": 2 * error, "thickness": 1.2, "width": 3, "color": GREY}
                points(where, result.simulated, simulated, "simulated", INK, size=6, error_y=bar, hover=hover)
            points(where, [result.p], [at], "drag: p", RED, size=14, legend=False, hover=hover)
            drag(where, len(where.data) - 1, x="p")
        drawn.y(range=[min(0, 1.1 * values[own].min()), max(1.1 * values[own].max(), 1e-9)])
    spread.x(range=[0, 1.08])
    mean, variance = (np.interp(result.p, result.keep, values[own]) for values in (result.mean, result.variance))
    plain = result.mean[own, -1], result.variance[own, -1]
    facts = say(
        "At p = {p} the mean of the update is {mean} of the undropped one (√p is {root}); its variance is {variance} "
        "of the undropped "
        "one.",
        p=short(result.p),
        mean=short(mean / plain[0]) if plain[0] else raw("–"),
        root=short(result.p**0.5),
        variance=short(variance / plain[1]) if plain[1] else raw("–"),
    )
    spread.alt = facts
    return [*figures, Prose(facts)]


def draw_child(result: Child) -> list:
    """Paired gain over plain fine-tuning, and ChildTuning-F against the smaller rate, episode by episode."""
    drawing = figure(x="step", y="accuracy minus plain Adam's", height=460)
    rows, gains, losses, unclear = [], [], [], []
    for i, key in enumerate(result.tunings):
        name = say(TUNING[key])
        if key != "plain":
            with_band(
                drawing,
                result.step,
                result.gain[i],
                result.gain_error[i],
                name,
                TUNING_HUE[key],
                hover="%{x:,}: %{y:+.4f}",
            )
            verdict = apart(result.gain[i, -1], result.gain_error[i, -1], result.episodes)
            (unclear, gains, losses)[verdict].append(name)
        difference = plus_minus(result.gain[i, -1], result.gain_error[i, -1]) if key != "plain" else raw("–")
        rows.append([name, float(result.accuracy[i, -1]), difference])
    across(drawing, y=0, dash="solid", width=1)
    f, smaller = (result.last[result.tunings.index(key)] for key in ("f", "smaller"))
    each = figure(x="gain of √p times the rate", y="gain of ChildTuning-F", height=380, square=True)
    low, high = min(f.min(), smaller.min()) - 0.01, max(f.max(), smaller.max()) + 0.01
    line(each, [low, high], [low, high], "equal", GREY, dash="dot")
    points(each, smaller, f, "an episode", RED, size=8, hover="√p: %{x:+.3f}<br>F: %{y:+.3f}")
    mean, error, correlation = result.twins
    facts = say(
        "After the last step, by 95 % intervals over {episodes} episodes: better than plain Adam {gains}; worse "
        "{losses}; no difference shown {unclear}. ChildTuning-F minus the smaller rate: {twins}; their gains "
        "correlate by {correlation}.",
        episodes=result.episodes,
        gains=listed(gains),
        losses=listed(losses),
        unclear=listed(unclear),
        twins=plus_minus(mean, error),
        correlation=short(correlation, 2),
    )
    drawing.alt = facts
    return [drawing, each, Prose(facts), Table(("way", "accuracy", "difference"), rows)]


def draw_ladder(result: LadderCosts) -> list:
    """Bytes and times of each way, and what it reaches."""
    names, hue = [say(METHOD[m]) for m in result.methods], [METHOD_HUE[m] for m in result.methods]
    mebibytes = result.kept / 2**20
    drawing = figure(x="MiB kept for the backward pass", height=110 + 56 * len(names), showlegend=False)
    bars(
        drawing, mebibytes, names, color=hue, horizontal=True, text=[short(v) for v in mebibytes], hover="%{x:.4~g} MiB"
    )
    drawing.y(autorange="reversed", automargin=True)
    drawing.x(range=[0, 1.15 * mebibytes.max()])
    times = figure(x="milliseconds a batch", height=110 + 46 * len(names), barmode="stack")
    bars(times, 1e3 * result.forward_seconds, names, "forward", SKY, horizontal=True, hover="%{x:.3~g} ms")
    bars(times, 1e3 * result.backward_seconds, names, "backward", ORANGE, horizontal=True, hover="%{x:.3~g} ms")
    times.y(autorange="reversed", automargin=True)
    panels: list = [drawing, times]
    if result.task != "none":
        curve = figure(x="step", y="training loss (nats)", height=320)
        for i, name in enumerate(names):
            line(curve, result.step, result.loss[i], name, hue[i])
        score = (
            "accuracy, 400 held-back fragments"
            if result.task == "shuffled"
            else "AUC by token, 400 held-back fragments"
        )
        reached = figure(x=score, height=110 + 46 * len(names), showlegend=False)
        bars(reached, result.score, names, color=hue, horizontal=True, error=2 * result.score_error, hover="%{x:.3f}")
        across(reached, x=0.5, text="chance")
        reached.y(autorange="reversed", automargin=True)
        reached.x(range=[0.4, 1])
        panels += [reached, curve]
    rows = [
        [
            name, mebibytes[i], 1e3 * result.forward_seconds[i], 1e3 * result.backward_seconds[i],
            raw(f"{short(100 * result.trained[i])} %"), int(result.stack[i]), int(result.stack_closed[i]),
        ]
        for i, name in enumerate(names)
    ]  # fmt: skip
    columns = (
        "way", "MiB kept", "forward ms", "backward ms", "weights tuned", "bytes on a plain stack", "the same in closed form",
    )  # fmt: skip
    if {"full", "ladder"} <= set(result.methods):
        f, s = result.methods.index("full"), result.methods.index("ladder")
        panels.append(
            Prose(
                say(
                    "On the model the ladder keeps {share} % of what full tuning keeps. On a plain stack of linear "
                    "layers and ReLUs it "
                    "keeps {stack} %.",
                    share=short(100 * result.kept[s] / result.kept[f]),
                    stack=short(100 * result.stack[s] / result.stack[f]),
                )
            )
        )
    drawing.alt = "; ".join(f"{name}: {short(v)} MiB" for name, v in zip(names, mebibytes, strict=True))
    return [*panels, Table(columns, rows)]


def draw_penalties(result: Penalties) -> list:
    """Both sides of every example, over training; medians; how tight each layer's bound is."""
    drawing = figure(
        x="left side: input gradient, weighed",
        y="right side: parameter gradient, |∇θ|²",
        log="xy",
        height=560,
        square=True,
    )
    alive = (result.example_left > 1e-300) & (result.example_right > 1e-300)
    left = np.where(alive, result.example_left, np.nan)
    right = np.where(alive, result.example_right, np.nan)
    low, high = np.nanmin((left, right)) / 2, np.nanmax((left, right)) * 2
    points(
        drawing,
        left[-1],
        right[-1],
        "a test image",
        BLUE,
        size=5,
        opacity=0.7,
        hover="left %{x:.3~g}<br>right %{y:.3~g}",
    )
    line(drawing, [low, high], [low, high], "left = right", GREY, dash="dot")
    drawing.x(span=(low, high)).y(span=(low, high))
    frames = [[{"x": a.astype(np.float32), "y": b.astype(np.float32)}] for a, b in zip(left, right, strict=True)]
    scrub(drawing, frames, [f"{step:,}" for step in result.step], name="step")
    course = figure(x="step", y="nats²" if result.gradient == "mean" else "median (nats²)", log="y", height=340)
    line(course, result.step, result.left, "left side", RED, marks=5)
    line(course, result.step, result.right, "right side", BLUE, marks=5)
    tight = figure(x="step", y="share of the layer's bound", height=320)
    for i, values in enumerate(result.tightness):
        line(tight, result.step, values, say("layer {number}", number=i + 1), COLORS[2 + i], marks=5)
    tight.y(range=[0, 1.05])
    if result.gradient == "mean":
        facts = say(
            "With the gradient of the mean loss the left side is {ratio} times the right one at the end, from {first} "
            "times at the start: "
            "nothing proves it smaller than 1. Accuracy {accuracy} %.",
            ratio=short(result.ratio[-1]),
            first=short(result.ratio[0]),
            accuracy=short(100 * result.accuracy[-1]),
        )
    else:
        facts = say(
            "Left over right: median {ratio} at the end, {first} at the start; the greatest of any image and moment "
            "is {most}. The logs "
            "of the two sides correlate by {correlation} at the end. Accuracy {accuracy} %.",
            ratio=short(result.ratio[-1]),
            first=short(result.ratio[0]),
            most=short(result.greatest.max(), 4),
            correlation=short(result.correlation[-1]),
            accuracy=short(100 * result.accuracy[-1]),
        )
    drawing.alt = facts
    rows = [
        [i + 1, norm[0], norm[-1], tightness[-1]]
        for i, (norm, tightness) in enumerate(zip(result.norms, result.tightness, strict=True))
    ]
    table = Table(("layer", "spectral norm at the start", "at the end", "share of the bound at the end"), rows)
    return [drawing, course, tight, Prose(facts), Folded("Spectral norms", [table])]


def draw_inside(result: Inside, head: str = "1") -> list:
    """One tensor as a map, and all tensors of the pass."""
    slices = len(result.value)
    index = min(int(head), slices) - 1
    value = result.value[index]
    place = result.names.index(result.tensor)
    square = value.shape[0] == value.shape[1] == len(result.tokens)
    tokens = [raw(f"{i} {token}") for i, token in enumerate(result.tokens)]
    rows = tokens if value.shape[0] == len(tokens) else [raw(str(i)) for i in range(len(value))]
    columns = (
        tokens
        if square
        else [raw(f"{c} {w}") for c, w in zip(result.columns, result.words, strict=True)]
        if result.words
        else result.columns
    )
    limit = float(np.abs(value).max()) or 1.0
    signed = value.min() < 0
    title = say("{tensor}, {shape}", tensor=raw(result.tensor), shape=raw(result.shapes[place]))
    if slices > 1:
        title = say(
            "{tensor}, {shape}, head {head}", tensor=raw(result.tensor), shape=raw(result.shapes[place]), head=index + 1
        )
    drawing = figure(x="attended token" if square else "entry", y="token", height=560 if square else 480, title=title)
    heat(
        drawing,
        value,
        columns,
        rows,
        scale=DIVERGING if signed else SEQUENTIAL,
        low=-limit if signed else 0,
        high=limit,
        hover="%{y} → %{x}: %{z:.4~g}" if square else "%{y}, %{x}: %{z:.4~g}",
    )
    drawing.y(autorange="reversed", automargin=True)
    drawing.x(automargin=True, tickangle=-60 if square or result.words else 0)
    course = figure(x="number of the tensor", y="root mean square", log="y", height=320)
    number = np.arange(1, len(result.names) + 1)
    hover = [f"{n}: {name}, {shape}" for n, name, shape in zip(number, result.names, result.shapes, strict=True)]
    line(
        course, number, result.root_mean_square, color=BLUE, width=1, marks=4, text=hover, hover="%{text}<br>%{y:.4~g}"
    )
    points(course, [number[place]], [result.root_mean_square[place]], color=RED, size=11, hover="%{y:.4~g}")
    label(course, number[place], result.root_mean_square[place], raw(result.tensor), RED, yshift=8)
    facts = say(
        "Tensor {number} of {total}, made by `{function}`. Its rows sum to between {least} and {most}. Each of the "
        "{total} tensors was "
        "computed again from those it is made of; the greatest difference is {difference}.",
        number=place + 1,
        total=len(result.names),
        function=raw(result.made_by[place]),
        least=short(result.row_sums[0], 6),
        most=short(result.row_sums[1], 6),
        difference=short(result.difference.max()),
    )
    table = [
        [int(n), raw(name), raw(shape), raw(function), mean, size]
        for n, name, shape, function, mean, size in zip(
            number, result.names, result.shapes, result.made_by, result.mean, result.root_mean_square, strict=True
        )
    ]
    heads = ("number", "tensor", "shape", "made by", "mean", "root mean square")
    drawing.alt = facts
    return [drawing, course, Prose(facts), Folded("All tensors", [Table(heads, table)])]
