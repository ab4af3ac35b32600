"""Training: paths of weights over the loss, of optimisers and of averages."""

from __future__ import annotations

import numpy as np

from engines.training.averaging import Averaging
from engines.training.optimisers import Optimisers
from engines.training.plane import Plane
from studio.exhibits.training.figures import (
    AVERAGE,
    AVERAGE_HUE,
    BLUE,
    GREEN,
    PURPLE,
    RED,
    RULE,
    RULE_HUE,
    apart,
    listed,
    plus_minus,
    with_band,
)
from studio.figure import INK, Figure, across, contour, drag, figure, label, line, points, scrub, short
from studio.language import raw, say
from studio.panels import Folded, Prose, Table


def _landscape(seen: Plane, what: str, x: str, y: str) -> Figure:
    """The loss over a plane as ground, on a logarithmic scale of colours; as high as the plane's own shape asks."""
    drawing = figure(x=x, y=y, height=600, title=what, meta={"aspect": float(np.ptp(seen.x) / np.ptp(seen.y))})
    height = np.log10(seen.loss)
    ends = 10.0 ** np.array([height.min(), height.max()])
    ticks = _round_numbers(*ends)
    contour(drawing, height, seen.x, seen.y, levels=18, bar=" ", opacity=0.75)
    drawing.data[-1]["colorbar"] |= {"tickvals": np.log10(ticks), "ticktext": [short(tick) for tick in ticks]}
    drawing.y(scaleanchor="x", constrain="domain").x(constrain="domain")
    for axis, ends in (("x", seen.x), ("y", seen.y)):
        getattr(drawing, axis)(range=[ends[0], ends[-1]], showgrid=False, zeroline=False)
    return drawing


def _round_numbers(low: float, high: float, most: int = 7) -> list[float]:
    """At most so many round numbers between two positive ones, about evenly spread on a log axis."""
    for digits in (
        (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8),
        (1, 1.5, 2, 3, 5, 7),
        (1, 2, 5),
        (1, 3),
        (1,),
    ):
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) <= most:
            break
    return found[:: -(-len(found) // most) or 1] or [float(np.sqrt(low * high))]


def _paths_of_rules(result: Optimisers, seen: Plane) -> Figure:
    """Where each rule goes over the loss, stored as it is and scaled; a bead on each is scrubbed over the steps."""
    drawing = _landscape(
        seen, "Colour: the test loss (nats)", "weights, first principal axis", "weights, second principal axis"
    )
    plain, scaled = seen.paths[::2], seen.paths[1::2]
    hues = [RULE_HUE[key] for key in result.rules]
    for paths, symbol in ((plain, "circle"), (scaled, "circle-open")):
        points(drawing, *paths[:, -1].T, color=hues, size=12, symbol=symbol, legend=False, hoverinfo="skip", zorder=3)
    for i, key in enumerate(result.rules):
        hover = raw(f"{say(RULE[key])}<extra></extra>")
        line(drawing, *plain[i].T, RULE[key], hues[i], width=3, hover=hover)
        line(drawing, *scaled[i].T, color=hues[i], dash="dash", width=2, hover=hover)
    points(drawing, *plain[0, :1].T, "start", INK, size=12, symbol="x", legend=False, zorder=3)
    label(drawing, *plain[0, 0], "start", INK, xshift=8, yshift=4)
    moments = range(plain.shape[1])
    ways = [[{}, *({"x": paths[:, m, 0], "y": paths[:, m, 1]} for paths in (plain, scaled))] for m in moments]
    return scrub(drawing, ways, [f"{step:,}" for step in result.step], "step", once=True)


def draw_optimisers(result: Optimisers) -> list:
    """The paths over the loss; test loss under each rule for both storages; a table of costs and differences."""
    drawing = figure(x="step", y="test loss (nats)", log="y", height=500)
    rows, better, worse, same, fewer = [], [], [], [], []
    for i, key in enumerate(result.rules):
        name, color = say(RULE[key]), RULE_HUE[key]
        with_band(drawing, result.step, result.loss[i, 0], result.error[i, 0], name, color, hover="%{x:,}: %{y:.4f}")
        line(drawing, result.step, result.loss[i, 1], color=color, dash="dash", width=1.5, hover="%{x:,}: %{y:.4f}")
        rows.append(
            [
                name,
                plus_minus(result.loss[i, 0, -1], result.error[i, 0, -1]),
                float(result.loss[i, 1, -1]),
                float(result.train[i, 0, -1]),
                float(result.train[i, 1, -1]),
                float(result.difference[i]),
                int(result.slots[i]),
                plus_minus(result.behind[i], result.behind_error[i]),
                float(result.reach[i]),
            ]
        )
    count = result.seeds
    for i, key in enumerate(result.rules):
        if key == result.reference:
            continue
        verdict = apart(result.behind[i], result.behind_error[i], count)
        (same, worse, better)[verdict].append(say(RULE[key]))
    for i, key in enumerate(result.rules):
        if "adamw" in result.rules and key.startswith(("adamw", "amos")):
            fewer.append(raw(f"{say(RULE[key])}: {short(result.reach[i])}"))
    columns = (
        "rule",
        "test loss",
        say("stored times {scale}", scale=short(result.stored_scale)),
        "training loss",
        say("training loss, stored times {scale}", scale=short(result.stored_scale)),
        "greatest difference of storages",
        "bytes of slots",
        say("test loss minus that of {rule}", rule=say(RULE[result.reference])),
        "steps to AdamW's last loss",
    )
    last = int(result.step[-1])
    said = [
        say(
            "Beside {rule} at the end, by 95 % intervals of the paired differences over {seeds} seeds: lower "
            "{better}; higher {worse}; no difference shown {same}. The network itself takes {bytes} bytes.",
            rule=say(RULE[result.reference]),
            seeds=count,
            better=listed(better),
            worse=listed(worse),
            same=listed(same),
            bytes=result.weights,
        )
    ]
    if fewer:
        said.append(
            say(
                "Steps until the mean test loss is first as low as AdamW's after {steps} steps (– where it never is): "
                "{found}.",
                steps=last,
                found=listed(fewer),
            )
        )
    drawing.alt = said[0]
    panels = [drawing, Prose(raw(" ".join(said))), Table(columns, rows)]
    if not result.plane:
        return panels
    told = say(
        "On the plane lies {share} % of the paths' squared distances to their mean; of one seed.",
        share=short(100 * result.plane.share),
    )
    return [_paths_of_rules(result, result.plane), Prose(told), *panels]


def _around_the_minimum(result: Averaging) -> Figure:
    """The last weights' way about the minimum, and where the averages are; scrubbed over the last part of training."""
    digits = result.source == "digits"
    what = "Colour: the test loss (nats)" if digits else "Colour: the loss ½h x²"
    names = (
        ("weights, first principal axis", "weights, second principal axis")
        if digits
        else ("first coordinate", "second coordinate")
    )
    drawing = _landscape(result.plane, what, *names)
    last, averages = result.plane.paths[0], result.plane.paths[1:]
    hues = [AVERAGE_HUE[key] for key in result.averages[1:]]
    line(drawing, *last.T, AVERAGE["raw"], INK, width=1, opacity=0.55, marks=4, hoverinfo="skip")
    points(drawing, *last[-1:].T, color=INK, size=12, legend=False, hoverinfo="skip", zorder=3)
    for name, hue, path in zip(result.averages[1:], hues, averages, strict=True):
        line(drawing, *path.T, color=hue, width=2.5, hoverinfo="skip")
        points(drawing, *path[-1:].T, AVERAGE[name], hue, size=15, hoverinfo="skip", zorder=3)
    frames = []
    for m in range(len(last)):
        beads: list[dict] = [
            {},
            {"x": last[: m + 1, 0], "y": last[: m + 1, 1]},
            {"x": last[m : m + 1, 0], "y": last[m : m + 1, 1]},
        ]
        for path in averages:
            beads += [
                {"x": path[: m + 1, 0], "y": path[: m + 1, 1]},
                {"x": path[m : m + 1, 0], "y": path[m : m + 1, 1]},
            ]
        frames.append(beads)
    return scrub(drawing, frames, [f"{step:,}" for step in result.plane_step], "step", once=True)


def draw_averaging(result: Averaging) -> list:
    """Loss of the averages over training, of those made afterwards, and how they weigh the steps."""
    what = "test loss (nats)" if result.source == "digits" else "loss ½h x²"
    drawing = figure(x="step", y=what, log="y", height=460)
    for i, key in enumerate(result.averages):
        with_band(
            drawing,
            result.step,
            result.loss[i],
            result.error[i],
            AVERAGE[key],
            AVERAGE_HUE[key],
            hover="%{x:,}: %{y:.4~g}",
        )
    if result.source == "quadratic":
        for i, key in enumerate(result.averages):
            points(
                drawing,
                result.step,
                result.exact[i],
                "exact" if not i else "",
                AVERAGE_HUE[key],
                size=7,
                symbol="x-thin-open",
            )
    seen = _around_the_minimum(result)
    # the first steps are far above all that is compared
    lowest, end = float(result.loss.min()), float(result.loss[:, -1].max())
    drawing.y(span=(0.85 * lowest, max(2.5 * end, 4 * lowest)))
    after = figure(x="relative width σ_rel", y=what, log="x", height=340)
    line(after, result.sigma, result.direct, "averaged during training", RED, marks=6)
    line(after, result.sigma, result.post_hoc, "made afterwards", PURPLE, dash="dash", marks=6)
    at = float(np.interp(np.log(result.sigma_rel), np.log(result.sigma), result.direct))
    points(after, [result.sigma_rel], [at], "drag: σ_rel", RED, size=13, legend=False)
    drag(after, len(after.data) - 1, x="sigma_rel")
    across(after, y=float(result.loss[0, -1]), text="last weights")
    after.x(tickvals=list(result.sigma), ticktext=[short(s) for s in result.sigma], span=(0.027, 0.33))
    weigh = figure(x="step over all steps", y="weight, times the steps", height=320)
    for values, name, color in zip(
        result.profile,
        ("EMA", "power average", "uniform average", "made afterwards"),
        (BLUE, RED, GREEN, PURPLE),
        strict=True,
    ):
        line(weigh, result.moment, values, name, color, dash="dash" if name == "made afterwards" else None)
    seeds, rows, lower, higher, same = 3, [], [], [], []
    for i, key in enumerate(result.averages):
        mean, error = result.against[:, i]
        if i:
            (same, higher, lower)[apart(mean, error, seeds)].append(say(AVERAGE[key]))
        rows.append(
            [
                say(AVERAGE[key]),
                plus_minus(result.loss[i, -1], result.error[i, -1]),
                plus_minus(mean, error) if i else raw("–"),
            ]
        )
    facts = say(
        "At the end, by 95 % intervals over {seeds} seeds: lower loss than the last weights {lower}; higher {higher}; "
        "no difference shown {same}.",
        seeds=seeds,
        lower=listed(lower),
        higher=listed(higher),
        same=listed(same),
    )
    drawing.alt = facts
    made = Table(
        ("σ_rel", "averaged during training", "made afterwards", "distance of the two over that to the last weights"),
        list(zip(result.sigma, result.direct, result.post_hoc, result.distance, strict=True)),
        say("From {count} snapshots of two averages", count=result.snapshots),
    )
    return [
        seen, drawing, after, weigh, Prose(facts), Table(("weights", "loss", "minus the last weights"), rows), Folded("Averages made afterwards", [made]),
    ]  # fmt: skip
