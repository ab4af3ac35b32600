"""The figures of transport."""

from __future__ import annotations

import numpy as np

from engines.digits import as_pictures
from engines.transport.critic_flow import CriticFlow, PlaneFlow
from engines.transport.descent import Descent
from engines.transport.downhill import Downhill
from engines.transport.downhill_plane import PlaneDownhill
from engines.transport.experiments import Critics, Distance, Generated, Minibatch, Trained
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    across,
    arrows,
    band,
    bars,
    contour,
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
from studio.panels import Pictures, Prose, Table

BLUE, ORANGE, GREEN, RED = COLORS[:4]
CRITICS = {
    "clip": "clipped weights",
    "gp_at_1": "penalty about 1",
    "gp_at_0": "penalty about 0",
    "one_sided": "one-sided penalty",
    "spectral": "spectral norm",
    "c_transform": "c-transform",
    "exact": "exact potential of one batch",
}
CRITIC_HUES = dict(zip(CRITICS, (COLORS[4], BLUE, ORANGE, COLORS[5], COLORS[6], GREEN, RED), strict=True))
GENERATORS = {
    "real": "real pictures",
    "wgan_gp": "WGAN-GP",
    "exact_16": "exact W₁, batch 16",
    "exact_64": "exact W₁, batch 64",
    "exact_512": "exact W₁, batch 512",
    "c_transform": "c-transform",
}
WAYS = {"exact": "exact W₁ of two batches", "wgan_gp": "WGAN-GP", "c_transform": "c-transform"}
KINDS = {"gp_at_1": "penalty about 1", "gp_at_0": "penalty about 0", "reflow": "ReFlow's critic"}
KIND_HUES = {"gp_at_1": BLUE, "gp_at_0": ORANGE, "reflow": GREEN}
STEPPERS = {
    "gradient": "gradient steps",
    "implicit": "implicit steps",
    "heavy_ball": "heavy ball",
    "nesterov": "Nesterov",
    "sign": "steepest in l∞ (sign)",
    "coordinate": "steepest in l₁ (coordinate)",
}
# where a figure has a title, its legend stands within
INSIDE = {"orientation": "v", "x": 0.98, "xanchor": "right", "y": 0.98, "yanchor": "top"}
LAWS = {
    "exact": "exact flow",
    "jko": "JKO",
    "forward": "explicit steps",
    "langevin": "Langevin",
    "svgd": "SVGD",
    "blob": "blob",
    "fisher_rao": "Fisher–Rao",
}
LAW_HUES = {"exact": INK, **dict(zip(list(LAWS)[1:], (BLUE, COLORS[6], ORANGE, COLORS[4], GREEN, RED), strict=True))}


def draw_distance(result: Distance, lines: bool = True) -> list:
    """The matching over the potential, the points on their way, and the numbers."""
    if len(result.labels_x):
        return draw_digits_distance(result)
    x, y, n = result.x, result.y, len(result.x)
    own = n <= 64
    drawing = figure(x="x", y="y", height=620, square=True)
    points(drawing, x[:, 0], x[:, 1], "on their way", INK, size=7 if own else 4)
    bar = "potential (distance)" if result.power == 1 else "potential (distance²)"
    heat(drawing, result.potential, result.grid_x, result.grid_y, bar=bar, opacity=0.75, hover="%{z:.3f}")
    if lines:
        ends = np.stack((x, y, np.full((n, 2), np.nan)), 1).reshape(-1, 2)
        line(drawing, ends[:, 0], ends[:, 1], "matching", GREY, width=1, hoverinfo="skip")
    points(drawing, y[:, 0], y[:, 1], "to", ORANGE, size=7 if own else 4)
    points(drawing, x[:, 0], x[:, 1], "from", BLUE, size=10 if own else 4)
    drag(drawing, len(drawing.data) - 1, x="points_x", y="points_y", item=True)
    shares = np.linspace(0, 1, 21)
    scrub(
        drawing,
        [[dict(zip("xy", ((1 - t) * x + t * y).T.round(4), strict=True))] for t in shares],
        [f"{t:.2f}" for t in shares],
        name="t",
        start=10,
    )
    drawing.data[0] |= dict(zip("xy", (x + y).T / 2, strict=True))
    span = [(grid[0], grid[-1]) for grid in (result.grid_x, result.grid_y)]
    drawing.x(range=list(span[0]))
    drawing.y(range=list(span[1]))
    drawing.alt = say("{name} is {value}.", name=distance_name(result), value=short(result.value))
    return [drawing, distance_table(result)]


def above(values: np.ndarray, least: float) -> np.ndarray:
    """Values for a log axis; a gap where they are at most `least`, which is rounding."""
    return np.where(values > least, values, np.nan)


def distance_name(result: Distance) -> str:
    """W₁ or W₂, by the power of the distance."""
    return "W₁" if result.power == 1 else "W₂"


def distance_table(result: Distance, *more: list) -> Table:
    """The distance between its bounds, and what the potential proves."""
    name = distance_name(result)
    bound = "distance of the means, at most W₁" if result.power == 1 else "Gelbrich's bound, at most W₂"
    rows = [
        [say("{name}, exact", name=name), result.value],
        [say("pairs drawn at random"), result.random],
        [say(bound), result.bound],
        [say("potential less matching (mean cost)"), result.gap],
        [say("greatest slope of the potential among the points"), result.slope],
    ]
    return Table(("", say("n = {n}", n=len(result.x))), [*rows, *more])


def draw_digits_distance(result: Distance) -> list:
    """The nearest and the farthest pairs of the best matching, and every pair's distance beside random ones."""
    costs = np.linalg.norm(result.x - result.y, axis=1)
    random = np.linalg.norm(result.x - result.y[result.mixed], axis=1)
    order, few = np.argsort(costs), min(10, len(costs))
    spread = order[np.linspace(0, len(order) - 1, few).round().astype(int)]
    x, y = result.x[spread], result.y[spread]
    sheet = Pictures(
        np.concatenate([as_pictures(part) for part in (x, (x + y) / 2, y)]),
        title="Pairs of the best matching, from the nearest to the farthest",
        rows=("from", "halfway", "to"),
        columns=[short(float(cost)) for cost in costs[spread]],
        size=56,
    )
    drawing = figure(x="pairs, sorted", y="distance of a pair", height=420)
    rank = np.arange(1, len(costs) + 1)
    marks = 7 if len(costs) < 3 else 0
    line(drawing, rank, costs[order], "best matching", BLUE, marks=marks, hover="%{x}: %{y:.3f}")
    line(drawing, rank, np.sort(random), "pairs drawn at random", ORANGE, marks=marks, hover="%{x}: %{y:.3f}")
    drawing.y(rangemode="tozero")
    drawing.alt = say("{name} is {value}.", name=distance_name(result), value=short(result.value))
    same = [
        ["share of pairs of one label, best matching", float((result.labels_x == result.labels_y).mean())],
        ["share of pairs of one label, at random", float((result.labels_x == result.labels_y[result.mixed]).mean())],
    ]
    return [sheet, drawing, distance_table(result, *same)]


def draw_minibatch(result: Minibatch) -> list:
    """W1 of two batches over their size, and the pictures that are nearer than real ones."""
    drawing = figure(x="batch size n", y="mean W₁ to a fresh batch", log="x", height=480)
    few = len(result.sizes) < 2
    for name, values, error, color in (
        ("real batch", result.real, result.real_error, BLUE),
        ("K-medians", result.centres, result.centres_error, GREEN),
    ):
        if np.isfinite(values).any():
            band(drawing, result.sizes, values - 2 * error, values + 2 * error, color=color)
            line(drawing, result.sizes, values, name, color, marks=7, hover="n = %{x}<br>W₁ = %{y:.3f}")
    line(
        drawing, result.sizes, result.copies, "n copies of the median", ORANGE, marks=7 if few else 0,
        hover="n = %{x}<br>W₁ = %{y:.3f}",
    )  # fmt: skip
    if np.isfinite(result.exact).any():
        points(
            drawing, result.sizes, result.exact, "closed form", RED, size=12, symbol="x-thin-open",
            hover="n = %{x}<br>W₁ = %{y:.4f}",
        )  # fmt: skip
    top = float(np.nanmax([np.nanmax(result.real + 2 * np.nan_to_num(result.real_error)), result.copies.max()]))
    drawing.x(tickvals=result.sizes.tolist(), ticktext=[f"{size:,}" for size in result.sizes])
    drawing.y(range=[0, 1.05 * top])
    if result.law != "digits":
        return [drawing]
    drawing.alt = say("At n = {n} the real batch is {real} away.", n=int(result.sizes[-1]), real=short(result.real[-1]))
    panels: list = [drawing]
    if result.pictures.shape[1]:
        count = min(result.pictures.shape[1], 8)
        distances = (result.real[-1], result.copies[-1], result.centres[-1])
        heads = [
            say("{name}: {distance}", name=say(name), distance=short(distance))
            for name, distance in zip(("real batch", "the median", "K-medians"), distances, strict=True)
        ]
        shown = result.pictures[:, :count].reshape(-1, 8, 8, 3)
        title = say("Some of each batch, and its W₁ at n = {n}", n=result.n)
        panels.append(Pictures(shown, title=title, rows=heads, columns=[""] * count, size=56))
    return panels


def draw_critics(result: Critics, shown: str = "gp_at_1") -> list:
    """What each critic says of fresh data beside what it is to be; the same over training steps; slopes."""
    names = [say(CRITICS[name]) for name in result.names]
    last = figure(x="estimate of W₁ on fresh data", height=460, showlegend=False)
    hues = [CRITIC_HUES[name] for name in result.names]
    bars(last, result.fresh[-1], names, "", hues, horizontal=True, hover="%{x:.3f}")
    for i, value in enumerate(result.fresh[-1]):
        label(last, max(value, 0), i, short(value), xshift=4, yanchor="middle")
    drawing = figure(x="training steps", y="estimate of W₁ on fresh data", log="x", height=440)
    for i, name in enumerate(result.names):
        line(
            drawing, result.steps, result.fresh[:, i], CRITICS[name], CRITIC_HUES[name],
            marks=5 if len(result.steps) < 3 else 0, hover="%{x} steps: %{y:.3f}",
        )  # fmt: skip
    lines = [(result.w1_batch, "exact W₁ of two batches"), (result.w1_known, "exact W₁ of all known data")]
    if np.isfinite(result.w1_law):
        lines.append((result.w1_law, "W₁ of the two distributions"))
    ends = [value for value, _ in lines] + [*result.fresh[-1]]
    if "exact" in result.names:
        own, name = result.own[-1, result.names.index("exact")], "the exact potential on its own batch"
        ends.append(own)
        points(drawing, [result.steps[-1]], [own], name, RED, size=13, symbol="diamond", hover="%{y:.3f}")
        place = [names[result.names.index("exact")]]
        points(last, [own], place, name, RED, size=13, symbol="diamond", hover="%{x:.3f}")
    for i, (value, text) in enumerate(lines):
        how = {"color": INK if i == 2 else GREY, "dash": "solid" if i == 2 else ("dash", "dot")[i]}
        across(drawing, y=value, **how)
        across(last, x=value, **how)
        words = say("{what}: {value}", what=say(text), value=short(value))
        label(drawing, result.steps[0], value, words, GREY)
        side = "left" if value < np.mean(ends) else "right"
        label(
            last,
            value,
            -0.62 - 0.34 * i,
            words,
            GREY,
            xanchor=side,
            yanchor="middle",
            xshift=4 if side == "left" else -4,
        )
    reach = max(ends) - min(0, *ends) or 1
    last.x(range=[min(0, *ends) - 0.03 * reach, max(ends) + 0.1 * reach])
    last.y(range=[len(names) - 0.4, -1.6], automargin=True)
    last.alt = say("Exact W₁ of two batches is {value}.", value=short(result.w1_batch))
    rows = [
        [
            say(CRITICS[name]),
            result.own[-1, i],
            result.fresh[-1, i],
            result.known[-1, i],
            result.slope[i],
            result.fresh[-1, i] / result.slope[i] if result.slope[i] > 1e-9 else np.nan,
        ]
        for i, name in enumerate(result.names)
    ]
    batch = result.own[-1, result.names.index("exact")] if "exact" in result.names else result.w1_batch
    rows.append([say("exact W₁ there"), batch, result.w1_fresh, result.w1_known, 1, result.w1_fresh])
    table = Table(("critic", "on its batch", "on fresh data", "on known data", "greatest slope", "fresh / slope"), rows)
    order = np.argsort(result.fresh[-1])
    said = Prose(
        say(
            "On fresh data {low} says least, {least}, and {high} says most, {most}; exact W₁ of two batches is {value}.",
            low=say(CRITICS[result.names[order[0]]]),
            least=short(result.fresh[-1, order[0]]),
            high=say(CRITICS[result.names[order[-1]]]),
            most=short(result.fresh[-1, order[-1]]),
            value=short(result.w1_batch),
        )
    )
    if not len(result.grid):
        return [last, drawing, table, said]
    panels: list = [last, drawing]
    for i, name in enumerate(result.names):
        if name == shown and np.ptp(result.level[i]) > 0:
            title = say("Critic: {name}", name=say(CRITICS[name]))
            plane = figure(x="x", y="y", height=440, square=True, title=title)
            contour(plane, result.level[i] - result.level[i].mean(), result.grid, result.grid, bar="D", levels=18)
            points(plane, *result.x.T, "first distribution", BLUE, size=4)
            points(plane, *result.y.T, "second distribution", ORANGE, size=4)
            panels.append(plane)
    return [*panels, table, said]


def draw_generators(result: Generated) -> list:
    """Pictures by each, and the distances that rank them differently."""
    drawing = figure(x="exact W₁ to fresh pictures (ink)", y="Fréchet distance (ink²)", height=420)
    for i, name in enumerate(result.names):
        color = INK if name == "real" else COLORS[i - 1]
        hover = "W₁ = %{x:.3f}<br>%{y:.3f}"
        points(drawing, [result.w1[i]], [result.frechet[i]], GENERATORS[name], color, size=13, hover=hover)
    across(drawing, x=float(result.w1[0]))
    drawing.y(rangemode="tozero")
    count = min(result.pictures.shape[1], 10)
    shown = result.pictures[:, :count].reshape(-1, *result.pictures.shape[2:])
    heads = [say(GENERATORS[name]) for name in result.names]
    rows = [
        [
            say(GENERATORS[name]),
            *(float(values[i]) for values in (result.w1, result.frechet, result.spread, result.sharp)),
        ]
        for i, name in enumerate(result.names)
    ]
    drawing.alt = say("Real pictures have W₁ {value}.", value=short(result.w1[0]))
    columns = (
        "trained by",
        "W₁ to fresh pictures (ink)",
        "Fréchet distance (ink²)",
        "spread E|x − x′| (ink)",
        "step between pixels",
    )
    pictures = Pictures(shown, title="Pictures by each", rows=heads, columns=[""] * count, size=48)
    nearer, flatter = (
        ", ".join(str(head) for head, value in zip(heads, values, strict=True) if value < values[0]) or say("none")
        for values in (result.w1, result.sharp)
    )
    said = say(
        "Nearer in W₁ than real pictures: {nearer}. Flatter than real pictures, pixel by pixel: {flatter}.",
        nearer=nearer,
        flatter=flatter,
    )
    return [pictures, drawing, Table(columns, rows), Prose(said)]


def draw_plane_critics(result: PlaneFlow) -> list:
    """Each critic's level lines with a step along it, and the exact transport."""
    few = slice(0, 90)
    near = np.abs(result.axis) < 2.8  # beyond it neither distribution has much mass, and D falls without bound
    panels: list = []
    for kind in ("reflow", "gp_at_1", "gp_at_0", ""):
        first = not panels
        title = say(KINDS[kind]) if kind else say("exact transport, W₂")
        plane = figure(x="x", y="y", height=540 if first else 440, square=True, title=title, showlegend=first)
        move = result.x - result.y
        if kind:
            row = result.kinds.index(kind)
            level, move = result.critic[row], result.move[row]
            most = float(np.abs(level[np.ix_(near, near)]).max())
            contour(
                plane, np.clip(level, -most, most), result.axis, result.axis, scale=DIVERGING, low=-most, high=most,
                levels=20, opacity=0.7,
            )  # fmt: skip
        points(plane, *result.x.T, "real", ORANGE, size=4)
        arrows(plane, *result.y[few].T, *move[few].T, "step of the fake points", INK)
        plane.x(range=[-3.4, 3.4]).y(range=[-3.4, 3.4]).update(legend=INSIDE)
        panels.append(plane)
    panels[0].alt = say("W₁ is {w1}, W₂² is {w2}.", w1=short(result.w1), w2=short(result.w2_squared))
    rows = [
        [say(KINDS[kind]), float(result.difference[i]), float(result.after[i])] for i, kind in enumerate(result.kinds)
    ]
    rows += [
        [say("W₁ before a step"), "", result.w1],
        [raw("W₂²"), result.w2_squared, ""],
        [say("two sets of real points"), "", result.chance],
    ]
    return [*panels, Table(("", "E D(x) − E D(y)", "W₁ to real points after y ← y + ∇D(y)"), rows)]


def draw_critic_flow(result: CriticFlow | PlaneFlow) -> list:
    """Slope and critic along the line, and what the difference measures over the distance; or the plane's."""
    if isinstance(result, PlaneFlow):
        return draw_plane_critics(result)
    slope = figure(x="z", y="slope dD/dz", height=440)
    critic = figure(x="z", y="critic D(z)", height=340, title="The critics themselves", showlegend=False)
    measure = figure(
        x="distance of the two distributions",
        y="E D(x) − E D(y)",
        log="y",
        height=440,
        title="What the difference measures",
        legend=INSIDE,
    )
    for i, kind in enumerate(result.kinds):
        color, name = KIND_HUES[kind], KINDS[kind]
        line(slope, result.z, result.slope[i], name, color, hover="z = %{x:.2f}<br>%{y:.3f}")
        line(critic, result.z, result.critic[i], name, color, legend=False)
        line(measure, result.distances, result.difference[i], name, color, legend=False, hover="%{x:.2f}: %{y:.3f}")
        points(measure, [result.distance], [result.now[i]], color=color, size=9, hover="%{y:.4f}")
    line(measure, result.distances, result.w1, "W₁", INK, dash="dot")
    line(measure, result.distances, result.w2_squared, "W₂²", INK, dash="dash")
    if result.case == "gaussians":
        low = -0.9
        for density, name, color in (
            (result.density_y, "density of y (fake)", GREY),
            (result.density_x, "density of x (real)", INK),
        ):
            line(slope, result.z, np.full_like(result.z, low), "", color, width=0, hoverinfo="skip")
            shade = {"fill": "tonexty", "fillcolor": "rgba(136, 136, 136, 0.2)"}
            line(slope, result.z, low + density, name, color, width=1, hoverinfo="skip", **shade)
    low = -0.9 if result.case == "gaussians" else 0.0
    points(slope, [0], [low], color=GREY, size=8, hoverinfo="skip")
    points(slope, [result.distance], [low], color=INK, size=13, hover="z = %{x:.2f}")
    drag(slope, len(slope.data) - 1, x="distance")
    across(slope, y=1)
    label(slope, result.z[0], 1, "slope 1, that of a potential", GREY, yanchor="top", xshift=4)
    shown = result.slope[:, np.abs(result.z - result.distance / 2) < result.distance + 1.5]
    slope.y(range=[min(low - 0.15, float(shown.min()) - 0.2), max(1.3, float(shown.max()) + 0.2)])
    slope.update(legend={"traceorder": "normal"})  # (plotly would turn it round where an area lies between two lines)
    slope.alt = say("W₁ is {w1}, W₂² is {w2}.", w1=short(result.w1_now), w2=short(result.w2_squared_now))
    rows = [[say(KINDS[kind]), result.now[i], result.moved[i]] for i, kind in enumerate(result.kinds)]
    rows += [
        [raw("W₁"), result.w1_now, ""],
        [raw("W₂²"), result.w2_squared_now, ""],
        [say("mean of x"), "", result.distance],
    ]
    columns = ("", "E D(x) − E D(y)", "mean of y after y ← y + D′(y)")
    return [slope, measure, critic, Table(columns, rows), *reflow_loss(result)]


def reflow_loss(result: CriticFlow) -> list:
    """ReFlow's loss of each critic, term by term, as stacked bars and in a table."""
    names = [*(say(KINDS[kind]) for kind in result.kinds), "D = sin 2z"]
    square, move, ends, constant = result.terms.T
    made = figure(x="", y="ReFlow's loss ½E|D′(z) − (x − y)|²", height=440, barmode="relative")
    bars(made, names, square, "½E D′²", COLORS[4], hover="%{y:.4f}")
    bars(made, names, constant, "½E|x − y|²", COLORS[5], hover="%{y:.4f}")
    bars(made, names, -ends, "−[E D(x) − E D(y)]", ORANGE, hover="%{y:.4f}")
    points(
        made, names, square - move + constant, "their sum, the loss", INK, size=10, symbol="diamond", hover="%{y:.4f}"
    )
    line(made, names, [result.least] * len(names), "least with t", INK, dash="dot", width=2, hover="%{y:.4f}")
    rows = [
        [name, *map(float, row), float(row[0] - row[1] + row[3])] for name, row in zip(names, result.terms, strict=True)
    ]
    head = ("D", "½E D′²", "E D′(z)(x − y)", "E D(x) − E D(y)", "½E|x − y|²", "ReFlow's loss")
    return [made, Table(head, rows)]


def draw_descent(result: Descent, log: bool = True) -> list:
    """Paths on the level lines, the value over steps, the error over step sizes."""
    drawing = figure(x="x", y="y", height=520)
    surface = -np.log10(
        result.surface + 1e-3
    )  # the minimum has the strongest colour, on a light page and on a dark one
    contour(drawing, surface, result.x, result.y, levels=22, opacity=0.75)
    line(drawing, *result.flow.T, "gradient flow", INK, width=2, dash="dot", hover="flow: %{x:.3f}, %{y:.3f}")
    for i, name in enumerate(result.methods):
        color = COLORS[list(STEPPERS).index(name)]
        line(drawing, *result.paths[i].T, STEPPERS[name], color, width=1.5, marks=4, hover="%{x:.3f}, %{y:.3f}")
    points(drawing, [result.start[0]], [result.start[1]], "start", INK, size=13, symbol="diamond", legend=False)
    drag(drawing, len(drawing.data) - 1, x="x", y="y")
    drawing.x(range=[result.x[0], result.x[-1]])
    drawing.y(range=[result.y[0], result.y[-1]])
    value = figure(
        x="iteration k", y="f − min f", log="y" if log else "", height=400, title="Value over iterations", legend=INSIDE
    )
    k = np.arange(result.paths.shape[1])
    floor = 1e-16
    line(value, k, above(result.flow_value, floor), "gradient flow at t = kh", INK, dash="dot")
    if "nesterov" in result.methods and np.isfinite(result.nesterov_value).all():
        line(value, k, above(result.nesterov_value, floor), "Nesterov's ODE at t = k√h", GREY, dash="dash")
    for i, name in enumerate(result.methods):
        color = COLORS[list(STEPPERS).index(name)]
        line(value, k, above(result.value[i], floor), STEPPERS[name], color, legend=False)
    if log:
        most = min(float(np.nanmax(result.value)), 1e4)
        value.y(span=(max(1e-16, float(np.nanmin(result.value)) / 2, most * 1e-14), most * 2))
    error = figure(
        x="step size h", y="distance from the flow at t = 1", log="xy", height=360, title="Error over step size"
    )
    for values, name, color in zip(result.error, ("gradient", "implicit"), COLORS, strict=False):
        line(error, result.sizes, values, STEPPERS[name], color, marks=6, legend=False)
    across(error, x=result.limit, text=say("h = 2/λ = {limit}", limit=short(result.limit)))
    rows = [
        [say(STEPPERS[name]), final_value(result.value[i]), result.contraction[i]]
        for i, name in enumerate(result.methods)
    ]
    rows.append([say("gradient flow"), result.flow_value[-1], np.nan])
    drawing.alt = say("Gradient steps diverge from h = {limit} on.", limit=short(result.limit))
    columns = ("method", say("f − min f after {k} steps", k=len(k) - 1), "error kept per step")
    return [drawing, value, error, Table(columns, rows)]


def final_value(values: np.ndarray) -> float:
    """The last value of a path; infinity where it has diverged."""
    return float(values[-1]) if np.isfinite(values[-1]) else np.inf


def draw_downhill(result: Downhill | PlaneDownhill) -> list:
    """Densities in time, their energy, and their distance from the exact flow; or the plane's."""
    if isinstance(result, PlaneDownhill):
        return draw_plane_downhill(result)
    drawing = figure(x="x", y="density", height=500)
    near = np.flatnonzero(np.abs(result.x) <= 5)[::2]  # half of the grid, which no eye misses
    x, density, target = result.x[near], result.density[:, :, near], result.target[near]
    moments = [[{"y": law[frame].round(4)} for law in density] for frame in range(len(result.times))]
    for i, name in enumerate(result.methods):
        width = 3 if name == "exact" else 2
        line(drawing, x, density[i, -1], LAWS[name], LAW_HUES[name], width=width, hover="%{x:.2f}: %{y:.3f}")
    if np.isfinite(target).all():
        line(drawing, x, target, "target π", GREY, dash="dot", width=2)
    start = float(result.mean[0, 0])
    line(drawing, x, density[0, 0], "start", GREY, width=1, legend=False)
    points(drawing, [start], [0], "mean of the start", GREY, size=13, symbol="diamond", hover="%{x:.2f}", legend=False)
    drag(drawing, len(drawing.data) - 1, x="mean")
    scrub(drawing, moments, [short(time) for time in result.times], name="time")
    drawing.x(range=[-5, 5])
    later = density[:, max(1, len(result.times) // 6) :]
    drawing.y(range=[-0.02, 1.15 * float(np.nanmax(np.append(later.max(), np.nan_to_num(target))))])
    kl = result.energy != "porous"
    unit = "KL (nats)" if kl else "∫ p²"
    energy = figure(x="time t", y=unit, log="y", height=380, title="Energy, and what it loses", legend=INSIDE)
    for i, name in enumerate(result.methods):
        if np.isfinite(result.energies[i]).all():
            line(energy, result.times, above(result.energies[i], 1e-8), LAWS[name], LAW_HUES[name], legend=False)
    line(
        energy, result.times, above(result.rate, 1e-8),
        "Fisher information of the exact flow" if kl else "dissipation of the exact flow", GREY, dash="dash",
    )  # fmt: skip
    if "exact" in result.methods and len(result.times) > 2:
        own = result.energies[result.methods.index("exact")]
        middle, lost = (result.times[1:] + result.times[:-1]) / 2, -np.diff(own) / np.diff(result.times)
        points(energy, middle, above(lost, 1e-8), "−ΔF/Δt", INK, size=5)
        if np.isfinite(result.gap) and own[-1] > 1e-8:
            decay = own[-1] * np.exp(-2 * result.gap * (result.times - result.times[-1]))
            line(energy, result.times, decay, say("e^(−2λ₁t), λ₁ = {gap}", gap=short(result.gap)), GREY, dash="dot")
            energy.y(span=(float(np.nanmin(above(own, 1e-8))) / 2, 4 * float(max(result.rate.max(), own.max()))))
    away = figure(
        x="time t", y="W₁ to the exact flow", height=340, title="Distance from the exact flow", showlegend=False
    )
    right = figure(x="time t", y="mass right of 0", height=340, title="Mass that has crossed", showlegend=False)
    for i, name in enumerate(result.methods):
        if name != "exact":
            line(away, result.times, result.distance[i], LAWS[name], LAW_HUES[name], legend=False)
        line(right, result.times, result.right[i], LAWS[name], LAW_HUES[name], legend=False)
    away.y(rangemode="tozero")
    right.y(rangemode="tozero")
    rows = [
        [
            say(LAWS[name]),
            *(float(values[i, -1]) for values in (result.mean, result.std, result.right, result.distance)),
        ]
        for i, name in enumerate(result.methods)
    ]
    head = ("method", "mean", "standard deviation", "mass right of 0", "W₁ to the exact flow")
    drawing.alt = say("At time {time}.", time=short(result.times[-1]))
    table = Table(head, rows, say("At time {time}", time=short(result.times[-1])))
    return [drawing, energy, away, right, table]


def draw_plane_downhill(result: PlaneDownhill) -> list:
    """The exact density with particles over it, scrubbed in time; energy and its rate; second moments."""
    drawing = figure(x="x", y="y", height=560, square=True)
    heat(drawing, result.density[-1], result.axis, result.axis, opacity=0.6, hoverinfo="skip", showscale=False)
    for i, name in enumerate(result.methods):
        points(drawing, *result.places[i, -1].T, LAWS[name], LAW_HUES[name], size=4, hoverinfo="skip")
    moments = [
        [
            {"z": result.density[f].round(4)},
            *(dict(zip("xy", place[f].T.round(3), strict=True)) for place in result.places),
        ]
        for f in range(len(result.times))
    ]
    scrub(drawing, moments, [short(time) for time in result.times], name="time")
    drawing.x(range=[-4, 4]).y(range=[-4, 4])
    energy = figure(x="time t", y="KL (nats)", log="y", height=380, title="Energy, and what it loses", legend=INSIDE)
    line(energy, result.times, above(result.kl, 1e-4), LAWS["exact"], INK, legend=False)
    line(energy, result.times, above(result.fisher, 1e-4), "Fisher information of the exact flow", GREY, dash="dash")
    if len(result.times) > 2:
        middle = (result.times[1:] + result.times[:-1]) / 2
        points(energy, middle, above(-np.diff(result.kl) / np.diff(result.times), 1e-4), "−ΔF/Δt", INK, size=5)
    second = figure(x="time t", y="E|x|²", height=380, title="Second moment", showlegend=False)
    line(second, result.times, result.moment, "closed form", GREY, dash="dot", width=3)
    for i, name in enumerate(result.methods):
        line(second, result.times, result.moments[i], LAWS[name], LAW_HUES[name])
    rows = [
        [say(LAWS[name]), float(result.moments[i, -1]), float(result.away[i])] for i, name in enumerate(result.methods)
    ]
    rows.append([say("closed form"), float(result.moment[-1]), ""])
    drawing.alt = say("At time {time}.", time=short(result.times[-1]))
    head = ("method", "E|x|²", "W₁ to draws of the exact flow")
    return [drawing, energy, second, Table(head, rows, say("At time {time}", time=short(result.times[-1])))]


def draw_train(result: Trained) -> list:
    """A generator's pictures over its training beside real ones, and the distances on the way."""
    rows = np.unique(np.linspace(0, len(result.steps) - 1, min(4, len(result.steps))).round().astype(int))
    shown = np.concatenate((result.real[None], result.pictures[rows])).reshape(-1, *result.real.shape[1:])
    heads = [say("real pictures"), *(say("step {step}", step=int(result.steps[row])) for row in rows)]
    sheet = Pictures(shown, title="Pictures of the same latents", rows=heads, columns=[""] * len(result.real), size=48)
    made: list = [sheet]
    marks = 7 if len(result.steps) < 3 else 0
    for values, what in (
        (result.w1, "exact W₁ to fresh pictures (ink)"),
        (result.frechet, "Fréchet distance (ink²)"),
        (result.sharp, "step between pixels"),
    ):
        drawing = figure(x="training steps", y=what, height=420 if len(made) < 2 else 340, showlegend=False)
        line(drawing, result.steps, values[1:], WAYS[result.by], BLUE, marks=marks, hover="%{x} steps: %{y:.3f}")
        across(drawing, y=float(values[0]), text=say("real pictures: {value}", value=short(values[0])))
        drawing.y(rangemode="tozero")
        made.append(drawing)
    made[1].alt = say("Real pictures have W₁ {value}.", value=short(result.w1[0]))
    return made
