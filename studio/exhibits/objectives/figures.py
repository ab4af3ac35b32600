"""Figures of several gradients and several labels; a rule, and a loss, has one colour everywhere."""

from __future__ import annotations

import numpy as np

from engines.objectives.experiments import Directions, Multilabel, Multiway, Valley
from engines.objectives.training import Imbalance, TwoDigits
from studio.figure import (
    COLORS,
    GREY,
    INK,
    Figure,
    across,
    band,
    bars,
    contour,
    drag,
    figure,
    label,
    line,
    points,
    scrub,
    short,
)
from studio.language import raw, say
from studio.panels import Folded, Pictures, Prose, Table

RULES = {
    "sum": "sum",
    "initial": "1/L₀ (initial loss)",
    "log": "1/L (sum of log L)",
    "normalised": "1/‖g‖",
    "min_norm": "min-norm (MGDA)",
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "imtl_g": "IMTL-G",
    "nash": "Nash-MTL",
    "upgrad": "UPGrad",
}
RULE_COLOR = dict(
    zip(
        RULES,
        (COLORS[3], GREY, COLORS[6], COLORS[0], COLORS[2], COLORS[1], COLORS[4], COLORS[5], COLORS[7], GREY),
        strict=True,
    )
)
LOSSES = {"zlpr": "ZLPR", "bce": "cross-entropy (BCE)", "focal": "focal loss", "circle": "circle loss"}
LOSS_COLOR = dict(zip(LOSSES, (COLORS[0], COLORS[3], COLORS[1], COLORS[4]), strict=True))
SOLVERS = {
    "average": "average of the worst (Su)",
    "frank-wolfe": "Frank–Wolfe",
    "softmax": "descent on softmax weights",
}
FORMS = {"form-1": "form 1 (cross-entropy)", "form-3": "form 3"}


def draw_directions(result: Directions) -> list:
    """Gradients whose tips are dragged, the cone of common descent, a direction a rule; how far each turns."""
    g, tips = result.gradients, [(result.vectors, 4.3), (result.moved, 4.3), (result.gradients, 0)]
    lowest = min(
        float((v[:, 1] * (far / np.maximum(np.linalg.norm(v, axis=1), 1e-12) if far else 1)).min()) for v, far in tips
    )
    floor = -1.2 if lowest > -0.7 else -5.2  # the half below the origin is shown where something points there
    drawn = figure(x="first weight", y="second weight", height=640, meta={"aspect": 10.4 / (5.2 - floor)})
    low, high = result.cone
    if np.isfinite(low):
        angles = np.linspace(low, high, 40)
        rim = 4.9 * np.stack([np.cos(angles), np.sin(angles)])
        edge = np.concatenate((np.zeros((2, 1)), rim, np.zeros((2, 1))), axis=1)
        line(
            drawn,
            *edge,
            "no task gets worse",
            GREY,
            width=0.5,
            fill="toself",
            fillcolor="rgba(136, 136, 136, 0.16)",
            hoverinfo="skip",
            legend=False,
        )
        middle = (low + high) / 2
        label(drawn, 4.95 * np.cos(middle), 4.95 * np.sin(middle), "no task gets worse", GREY, xanchor="center")
    hull = np.concatenate((g, g[:1]))
    line(drawn, *hull.T, "convex hull", GREY, dash="dot", width=1.5, hoverinfo="skip", legend=False)
    for tip in g:
        _arrow(drawn, tip, INK)
    for i, rule in enumerate(result.rules):
        for vector, dash in ((result.vectors[i], None), (result.moved[i], "dot")):
            length = np.linalg.norm(vector)
            if length > 0:
                _arrow(drawn, (4.3 - 0.22 * i) / length * vector, RULE_COLOR[rule], "" if dash else RULES[rule], dash)
    points(drawn, *result.nearest[:, None], "min-norm point", RULE_COLOR["min_norm"], size=10, symbol="x", legend=False)
    points(drawn, *g.T, "gradients (drag)", INK, size=13, hover="(%{x:.3~g}, %{y:.3~g})", legend=False)
    drag(drawn, len(drawn.data) - 1, x="x", y="y", item=True)
    for i, (x, y) in enumerate(g):
        label(drawn, x, y, f"g{'₁₂₃'[i]}", xshift=9, yshift=4)
    drawn.x(span=(-5.2, 5.2), constrain="domain").y(span=(floor, 5.2), scaleanchor="x", constrain="domain")
    named = [RULES[rule] for rule in result.rules]
    drawn.alt = "; ".join(
        say("{rule}: turned {degrees}° by the scale", rule=say(name), degrees=short(turn))
        for name, turn in zip(named, result.turned_by_scale, strict=True)
    )
    turned = figure(y="angle (degrees)", height=340, barmode="group", bargap=0.3)
    for values, name, color in (
        (result.turned_by_scale, "turned by the scale of L₁", COLORS[0]),
        (result.turned_by_shift, "turned by the shift of L₁", COLORS[1]),
    ):
        bars(turned, named, np.where(values < 1e-4, 0, values), name, color, hover="%{y:.3~g}°")
    turned.y(rangemode="tozero").x(tickangle=-25)
    gaps = figure(x="iterations", y="|u|² above its minimum / mean |g|²", height=340, log="y")
    for i, (solver, gap) in enumerate(zip(result.solvers, result.gap, strict=True)):
        line(gaps, result.iterations, np.where(gap > 1e-14, gap, np.nan), SOLVERS[solver], COLORS[i])
    heads = ("rule", *(say("cos(u, g{i})", i="₁₂₃"[i]) for i in range(len(g))))
    rows = [[name, *inner.tolist()] for name, inner in zip(named, result.inner, strict=True)]
    panels = [drawn, turned, Table(heads, rows, "Below 0: the task gets worse"), gaps]
    if not result.nearest.any():
        panels.insert(
            1,
            Prose(
                "No direction improves every task here: the min-norm vector is 0. Rules that need one have no arrow."
            ),
        )
    return panels


def draw_valley(result: Valley) -> list:
    """Paths over the level lines of the two losses' sum; the plane of the losses."""
    plane = figure(x="x₁", y="x₂", height=620, square=True)
    here = figure(x="L₁ (unscaled)", y="L₂", height=420)
    heads = [[], []]
    for i, rule in enumerate(result.rules):
        start = result.paths[i, :, -1].T
        points(plane, *start, "", RULE_COLOR[rule], size=9, hover="(%{x:.3~g}, %{y:.3~g})")
        heads[0].append(result.paths[i])
    contour(plane, np.clip(result.sum, -32, 40), *result.axes, levels=30, color=GREY, opacity=0.45)
    for i, rule in enumerate(result.rules):
        for drawing, values in ((plane, result.paths[i]), (here, result.losses[i])):
            gap = np.full((len(values), 1, 2), np.nan)
            joined = np.concatenate((values, gap), axis=1).reshape(-1, 2)
            line(drawing, *joined.T, RULES[rule], RULE_COLOR[rule], width=1.6, hoverinfo="skip")
        points(
            plane,
            *result.ends[i].T,
            "",
            RULE_COLOR[rule],
            size=11,
            symbol="circle-open",
            hover="end at scale 1: (%{x:.3~g}, %{y:.3~g})",
        )
    line(plane, *result.front.T, "Pareto front", INK, width=4, opacity=0.5, hoverinfo="skip")
    line(here, *result.front_losses.T, "Pareto front", INK, width=4, opacity=0.5, hover="(%{x:.3~g}, %{y:.3~g})")
    points(here, *result.losses[:, :, -1].reshape(-1, 2).T, "ends", INK, size=7, hover="(%{x:.3~g}, %{y:.3~g})")
    starts = result.paths[0, :, 0]
    points(plane, *starts.T, "starts", INK, size=9, symbol="diamond", hover="(%{x:.3~g}, %{y:.3~g})")
    plane.x(span=(-11, 11)).y(span=(-11, 11))
    frames = [[{"x": path[:, k, 0], "y": path[:, k, 1]} for path in result.paths] for k in range(len(result.step))]
    scrub(plane, frames, [short(step) for step in result.step], "step")
    mean = [[RULES[r], m.mean(), f.mean()] for r, m, f in zip(result.rules, result.moved, result.to_front, strict=True)]
    plane.alt = "; ".join(say("{rule}: ends move by {far}", rule=say(name), far=short(far)) for name, far, _ in mean)
    columns = ("rule", "the end moves by", "distance from the Pareto front")
    title = say("Means over five starts; L₁ multiplied by {scale} against L₁ as it is", scale=short(result.scale))
    return [plane, here, Table(columns, mean, title)]


def draw_two_digits(result: TwoDigits) -> list:
    """Accuracy of either digit, before and after the change of the left loss."""
    names = [RULES[rule] for rule in result.rules]
    seeds = result.accuracy.shape[2]
    last = 100 * result.accuracy[:, :, :, -1]  # [r, 2, seeds, 2]
    drawn = figure(y="test accuracy (%)", height=480, barmode="group", bargap=0.25)
    changed = f"{short(result.scale)} L" + (f" + {short(result.shift)}" if result.shift else "")
    for task, side in enumerate(("left", "right")):
        for setting, opacity in ((0, 0.4), (1, 1.0)):
            name = (
                {"left": "left digit, L as it is", "right": "right digit, L as it is"}[side]
                if not setting
                else {
                    "left": say("left digit, {loss}", loss=raw(changed)),
                    "right": say("right digit, left loss {loss}", loss=raw(changed)),
                }[side]
            )
            values = last[:, setting, :, task]
            bars(
                drawn,
                names,
                values.mean(1),
                name,
                COLORS[task],
                opacity=opacity,
                error=_error(values) if seeds > 1 else None,
                hover="%{y:.1f} %",
            )
    broken = [raw(str(say(name)).replace(" (", "<br>(").replace("（", "<br>（")) for name in names]
    drawn.y(span=(0, 100)).x(tickangle=0, tickvals=list(range(len(names))), ticktext=broken)
    drawn.update(meta={"phone": {"xaxis": {"tickangle": -30}}})
    over = figure(x="step", y="mean test accuracy (%)", height=380)
    for i, rule in enumerate(result.rules):
        line(over, result.step, 100 * result.accuracy[i, 1].mean((0, 2)), RULES[rule], RULE_COLOR[rule], marks=4)
    rows = []
    for i, name in enumerate(names):
        mean = last[i].mean(-1)  # [2, seeds]
        change = mean[1] - mean[0]
        error = float(_error(change)) if seeds > 1 else np.nan
        rows.append([name, mean[0].mean(), mean[1].mean(), change.mean(), error, 100 * result.conflict[i, 1]])
    drawn.alt = "; ".join(
        say("{rule}: {before} % and {after} %", rule=say(r[0]), before=short(r[1]), after=short(r[2])) for r in rows
    )
    columns = (
        "rule",
        "mean accuracy (%)",
        "after the change (%)",
        "difference",
        "standard error",
        "steps in conflict (%)",
    )
    title = say("{seeds} seeds; the difference is taken seed by seed", seeds=seeds)
    return [
        drawn,
        Table(columns, rows, title),
        over,
        Folded("The canvas", [Pictures(np.repeat(result.images[..., None], 3, -1))]),
    ]


def draw_multilabel(result: Multilabel) -> list:
    """The pull of each loss on each score; the scores and the minimum below; labels; the terms that ZLPR drops."""
    n = len(result.scores)
    at = np.arange(n)
    drawn = figure(y="pull on the score", height=540, barmode="group", bargap=0.25)
    for name, pull in zip(result.losses, result.pull, strict=True):
        bars(drawn, at, pull, LOSSES[name], LOSS_COLOR[name], hover="%{y:.4~g}")
    bars(drawn, at, result.scores, "score", GREY, axis="2", legend=False, hover="s = %{y:.4~g}")
    drag(drawn, len(drawn.data) - 1, y="scores", item=True)
    for name, optimum in zip(result.losses, result.optimum, strict=True):
        finite = np.isfinite(optimum)
        if finite.any():
            points(
                drawn,
                at[finite],
                optimum[finite],
                say("minimum: {loss}", loss=say(LOSSES[name])),
                LOSS_COLOR[name],
                axis="2",
                symbol="diamond",
                size=9,
                legend=False,
                hover="s = %{y:.3~g}",
            )
    reach = max(3.5, 1.2 * np.abs(result.scores).max())
    drawn.y(domain=[0.47, 1], zeroline=True)
    drawn.y2(domain=[0, 0.36], anchor="x", title="score s (drag)", span=(-reach, reach), zeroline=True)
    drawn.x(tickvals=at, ticktext=[f"t = {short(t)}" for t in result.labels], anchor="y2")
    drawn.alt = "; ".join(
        say("{loss}: {value} nats", loss=say(LOSSES[name]), value=short(v))
        for name, v in zip(result.losses, result.value, strict=True)
    )
    wanted = figure(y="label t (drag)", height=300)
    bars(wanted, at, result.labels, "", COLORS[2], hover="t = %{y:.3~g}")
    drag(wanted, 0, y="labels", item=True)
    wanted.y(span=(0, 1.05)).x(tickvals=at, ticktext=[f"s = {short(s)}" for s in result.scores])
    terms = figure(x="labels in a term", y="sum of the terms", height=340, log="y", barmode="group")
    bars(terms, result.order, np.where(result.on_terms > 0, result.on_terms, np.nan), "labels that are on", COLORS[0])
    bars(
        terms, result.order, np.where(result.off_terms > 0, result.off_terms, np.nan), "labels that are off", COLORS[1]
    )
    across(terms, x=1.5, text="ZLPR drops these")
    terms.x(dtick=1)
    rows = [
        [LOSSES[name], value, *optimum.tolist()]
        for name, value, optimum in zip(result.losses, result.value, result.optimum, strict=True)
    ]
    heads = ("loss", "value (nats)", *(say("minimum at s{i} =", i=i + 1) for i in range(n)))
    return [drawn, wanted, terms, Table(heads, rows)]


def draw_multiway(result: Multiway) -> list:
    """Each start by its loss and by how far the right class leads, scrubbed; shares and medians; the scores of one start."""
    color = dict(zip(FORMS, (COLORS[0], COLORS[3]), strict=True))
    every = figure(x="loss (nats)", y="right score less the best other", height=520, log="x")
    losses = np.maximum(result.losses, 1e-6)
    for form, x, y in zip(result.forms, losses, result.lead, strict=True):
        points(every, x[-1], y[-1], FORMS[form], color[form], size=6, opacity=0.55, hover="%{x:.3~g} nats, %{y:.3~g}")
    moments = range(len(result.some))
    frames = [[{"x": x[k], "y": y[k]} for x, y in zip(losses, result.lead, strict=True)] for k in moments]
    scrub(every, frames, [f"{step:,}" for step in result.some], "step", once=True)
    low, high = losses.min(), losses.max()
    least, most = result.lead.min(), result.lead.max()
    every.x(span=(low / 1.5, 1.5 * high)).y(span=(least - 1, most + 1))
    across(every, y=0, color=INK, dash="dash")
    label(every, 1.4 * high, 0, "below: another class is on top", GREY, xanchor="right", yanchor="top")
    right = figure(x="descent steps + 1", y="starts with the right class on top (%)", height=380, log="x")
    loss = figure(x="descent steps + 1", y="loss (nats), median", height=380, log="xy")
    for form, share, value in zip(result.forms, result.right, result.loss, strict=True):
        line(right, result.step + 1, 100 * share, FORMS[form], color[form], hover="%{y:.1f} %")
        line(loss, result.step + 1, value, FORMS[form], color[form])
    right.y(span=(0, 103))
    end = figure(x="class (0 is right)", y="score in the end", height=380, barmode="group")
    for form, scores in zip(result.forms, result.example, strict=True):
        bars(end, np.arange(len(scores)), scores, FORMS[form], color[form])
    rows = [[FORMS[f], v[-1], 100 * r[-1]] for f, v, r in zip(result.forms, result.loss, result.right, strict=True)]
    every.alt = "; ".join(say("{form}: {share} % right", form=say(row[0]), share=short(row[2])) for row in rows)
    return [every, right, loss, end, Table(("form", "loss, median (nats)", "right class on top (%)"), rows)]


def draw_imbalance(result: Imbalance) -> list:
    """Micro-F1 over training at threshold 0, and at the best threshold; pulls at the start."""
    drawn = figure(x="step", y="micro-F1 on test canvases", height=480)
    rows = []
    for i, name in enumerate(result.losses):
        zero, best = result.at_zero[i], result.at_best[i]
        band(drawn, result.step, zero.min(0), zero.max(0), "", LOSS_COLOR[name])
        line(drawn, result.step, zero.mean(0), LOSSES[name], LOSS_COLOR[name], marks=5)
        best_name = say("{loss}, best threshold", loss=say(LOSSES[name]))
        line(drawn, result.step, best.mean(0), best_name, LOSS_COLOR[name], dash="dot", width=1.5, legend=False)
        on, off = result.pull[i]
        rows.append(
            [LOSSES[name], zero[:, -1].mean(), best[:, -1].mean(), result.threshold[i, :, -1].mean(), on, off, off / on]
        )
    line(drawn, [None], [None], "dotted: with the best threshold", GREY, dash="dot", width=1.5)
    drawn.y(span=(0, 1))
    drawn.alt = "; ".join(say("{loss}: {f1} at threshold 0", loss=say(row[0]), f1=short(row[1])) for row in rows)
    heads = (
        "loss",
        "F1 at threshold 0",
        "F1 at the best",
        "best threshold",
        "pull up at the start",
        "pull down",
        "ratio",
    )
    title = say(
        "{labels} labels, {on} of them on; means over {seeds} seeds",
        labels=result.labels,
        on=result.on,
        seeds=result.at_zero.shape[1],
    )
    return [
        drawn,
        Table(heads, rows, title),
        Pictures(np.repeat(result.images[..., None], 3, -1), title="Canvases", size=220),
    ]


def _arrow(drawn: Figure, tip: np.ndarray, color: str, name: str = "", dash: str | None = None) -> None:
    head = {"size": [0, 13], "symbol": "arrow", "angleref": "previous", "color": color}
    width = 1.5 if dash else 2.5
    line(
        drawn,
        [0, tip[0]],
        [0, tip[1]],
        name,
        color,
        width=width,
        dash=dash,
        marker=head,
        mode="lines+markers",
        hoverinfo="skip",
    )


def _error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean over the last axis."""
    return values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
