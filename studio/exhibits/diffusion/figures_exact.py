"""Diffusion: how the exact results on Gaussians are drawn."""

from __future__ import annotations

import numpy as np

from engines.diffusion.brightness import Brightness
from engines.diffusion.consistency import Consistency
from engines.diffusion.identities import Identities
from engines.diffusion.variances import StepVariances
from studio.figure import COLORS, GREY, across, bars, contour, drag, figure, line, points, short
from studio.language import drawn, say
from studio.panels import Pictures, Prose, Table

LOSSES = {
    "l1": "L₁",
    "l2": "L₂",
    "l3": "L₃",
    "l4": "L₄ = 2L₂ − L₁",
    "l5": "L₅ = 2(L₂ − L₁)",
    "mixed": "L₂ − λL₁",
}
LOSS_HUES = dict(zip(LOSSES, (COLORS[3], COLORS[0], COLORS[4], COLORS[2], COLORS[5], COLORS[1]), strict=True))
FAMILY = {
    "ddim": "DDIM, none",
    "small": "DDPM, small",
    "optimal": "optimal at η",
    "large": "DDPM, large",
}
FAMILY_HUES = {"ddim": GREY, "small": COLORS[0], "optimal": COLORS[2], "large": COLORS[1]}
SCHEDULES = {"scaled_linear": "Stable Diffusion", "linear": "DDPM, linear β", "cosine": "cosine"}
SPACING_HUES = {"leading": COLORS[0], "trailing": COLORS[1], "linspace": COLORS[2]}


def end_of(path: np.ndarray) -> str:
    """What became of a generator at the end of its flow."""
    mean, std = path[-1]
    if np.isnan(mean):
        return "diverges"
    if std < 0.02:
        return "collapses to a point"
    return "reaches the data" if abs(mean) < 0.05 and abs(std - 1) < 0.05 else "still on its way"


def draw_identities(result: Identities) -> list:
    """The flows in the plane of mean and width, the gradients at their start, and the width over time."""
    made = figure(x="generator's mean m", y="generator's standard deviation τ", height=560)
    contour(made, result.landscape.round(3), result.means, result.stds, color=GREY, levels=14, opacity=0.5, hover="log₁₀ F = %{z:.2f}")  # fmt: skip
    for i, loss in enumerate(result.losses):
        wide = loss in ("l4", "l5")
        dash = {"mixed": "dash", "l1": "dot", "l3": "dot"}.get(loss)
        line(made, *result.paths[i].T, LOSSES[loss], LOSS_HUES[loss], width=5 if wide else 2.5, dash=dash,
             opacity=0.55 if wide else 1, hover="m %{x:.3f}, τ %{y:.3f}")  # fmt: skip
    points(made, [0], [1], "data", COLORS[7], size=12, symbol="x", hover="N(0, 1)")
    points(
        made, [result.mean], [result.std], "start", COLORS[7], size=14, symbol="diamond", legend=False, hover="drag me"
    )
    drag(made, len(made.data) - 1, x="mean", y="std")
    if "mixed" in result.losses and result.runaway < result.stds[-1]:
        across(made, y=result.runaway, text="above it L₂ − λL₁ widens for ever", color=LOSS_HUES["mixed"])
    made.x(range=[result.means[0], result.means[-1]]).y(range=[0, result.stds[-1]])
    made.alt = "; ".join(
        f"{LOSSES[loss]}: {drawn(end_of(path))}" for loss, path in zip(result.losses, result.paths, strict=True)
    )

    names = [LOSSES[loss].split(" = ")[0] for loss in result.losses]
    held = figure(x="", y="derivative at the start, fake model held", height=360, barmode="group")
    every = np.concatenate([result.held, [result.fisher_gradient, result.plus_gradient]])
    for k, (text, color) in enumerate((("by the mean m", COLORS[0]), ("by the width τ", COLORS[1]))):
        bars(held, [*names, "F", "F⁺"], every[:, k], text, color)
    width = figure(
        x="time of the gradient flow", y="standard deviation τ", log="x", height=360, title="Width of the generator"
    )
    for i, loss in enumerate(result.losses):
        line(width, result.times[1:], result.paths[i, 1:, 1], LOSSES[loss], LOSS_HUES[loss], legend=False)
    across(width, y=1, text="data")
    width.y(range=[0, result.stds[-1]])
    rows = [
        [name, round(float(value), 12), *gradient, end_of(path)]
        for name, value, gradient, path in zip(names, result.value, result.held, result.paths, strict=True)
    ]
    rows += [["F", result.fisher, *result.fisher_gradient, ""], ["F⁺", result.fisher, *result.plus_gradient, ""]]
    heads = ("loss", "value", "∂/∂m", "∂/∂τ", "where its flow ends")
    return [made, held, width, Table(heads, rows, "At the start")]


def draw_consistency(result: Consistency) -> list:
    """Maps from noise to data, their distributions, their distances, and the bound."""
    names = (
        say("consistency training, n = {levels}", levels=result.levels),
        say("(x − f)/t as a field, n = {steps}", steps=result.steps),
        say("exact velocity, n = {steps}", steps=result.steps),
    )
    hues = (COLORS[1], COLORS[3], COLORS[0])
    made = figure(x="noise x₁", y="data f(x₁, 1)", height=480)
    line(made, result.x, result.exact, "exact flow", COLORS[2], width=7, opacity=0.4)
    for values, name, color in zip((result.trained, result.as_field, result.euler), names, hues, strict=True):
        line(made, result.x, values, name, color, width=2.5)
    made.alt = say("W₂ of one level: {distance}.", distance=short(result.distance[0, 0]))

    laws = figure(x="data", y="density of what N(0, 1) becomes", height=380)
    line(laws, result.places, result.density, "data", COLORS[2], width=7, opacity=0.4)
    top = 2.2 * float(result.density.max())
    for values, name, color in zip(result.densities, names, hues, strict=True):
        line(laws, result.places, np.minimum(values, 3 * top), name, color, legend=False)
    points(laws, [result.gap], [0], "mode", COLORS[2], size=13, symbol="diamond", legend=False, hover="drag me")
    drag(laws, len(laws.data) - 1, x="gap")
    laws.y(range=[-0.04 * top, top])

    away = figure(x="levels or steps", y="W₂ to the data", log="x", height=380)
    short_names = ("levels of training", "steps along (x − f)/t", "steps along the exact velocity")
    for values, name, color in zip(result.distance, short_names, hues, strict=True):
        line(away, result.counts, values, name, color, marks=6)
    away.x(tickvals=result.counts, ticktext=[str(n) for n in result.counts]).y(rangemode="tozero")

    bound = figure(x="levels n", y="bound, error (units of the data)", log="x", height=380)
    for values, name, color in (
        (result.bound, "bound Σ √E|fₖ − fₖ₋₁|²", COLORS[4]),
        (result.error, "error √E|fₙ(x₁) − x₀|²", COLORS[5]),
        (result.lost, "variance lost", COLORS[1]),
    ):
        line(bound, result.counts, values, name, color, marks=6)
    points(bound, result.counts, result.residual, "Σ E|fₖ − fₖ₋₁|²", COLORS[7], size=11, symbol="circle-open")
    bound.x(tickvals=result.counts, ticktext=[str(n) for n in result.counts]).y(rangemode="tozero")
    return [made, laws, away, bound]


def draw_variances(result: StepVariances) -> list:
    """The noise of each step, and how wide the samples of a Gaussian become."""
    made = figure(x="noise level σ' that the step goes to", y="variance added / variance removed", log="x", height=480)
    for name, share in zip(result.family, result.share, strict=True):
        line(made, result.sigma, share, FAMILY[name], FAMILY_HUES[name], width=4 if name == "optimal" else 2, marks=6)
    made.x(autorange="reversed").y(range=[-0.03, 1.08])
    best = result.share[result.family.index("optimal")]
    made.alt = say("The optimal share is {low} to {high}.", low=short(best.min()), high=short(best.max()))
    wide = figure(x="steps", y="spread of the samples / of the data", log="x", height=400, title=say("Data N(0, {std}²)", std=short(result.std)))  # fmt: skip
    for name, values in zip(result.family, result.spread, strict=True):
        line(wide, result.counts, values, FAMILY[name], FAMILY_HUES[name], width=4 if name == "optimal" else 2, marks=6, legend=False)  # fmt: skip
    across(wide, y=1, text="data")
    wide.x(tickvals=result.counts, ticktext=[str(n) for n in result.counts])
    return [made, wide]


STATES = ("as it is", "zero terminal SNR")


def brightness_rows(result: Brightness) -> list[str]:
    return [say("{state}, {spacing}", state=drawn(STATES[zero]), spacing=spacing) for zero, spacing in result.rows]


def draw_brightness(result: Brightness) -> list:
    """Pictures of one noise in rows, how much of the spread of brightness is kept, and where schedules end."""
    names = brightness_rows(result)
    heads = [short(grey, 2) for grey in result.brightness[0]]
    side = result.images.shape[-1]
    pictures = Pictures(
        result.images.reshape(-1, side, side), rows=["data", *names], columns=heads, size=76,
        title=say("From dark to bright: mean grey of the data above each column, {steps} steps", steps=result.steps),
    )  # fmt: skip
    kept = figure(x="steps", y="spread of brightness kept", log="x", height=420)
    for (zero, spacing), values, name in zip(result.rows, result.over_counts, names, strict=True):
        line(kept, result.counts, values, name, SPACING_HUES[spacing], dash=None if zero else "dot", marks=6)
    for zero, limit in enumerate(result.limit):
        across(kept, y=limit, text=say("{state}, many steps", state=drawn(STATES[zero])))
    kept.y(range=[0, 1.12])
    rows = [
        [name, start, share, *greys]
        for name, start, share, greys in zip(
            names, result.first, result.kept, result.brightness[1:, [0, -1]], strict=True
        )
    ]
    columns = ("schedule, timesteps", "first timestep", "spread kept", "darkest grey", "brightest grey")
    levels = [[SCHEDULES[name], root, root**2 / (1 - root**2)] for name, root in zip(result.schedules, result.terminal, strict=True)]  # fmt: skip
    text = say(
        "A picture of {pixels} pixels has its mean grey averaged over as many noises: at the last timestep of {schedule} signal "
        "over noise is {ratio} for the mean grey, and {one} for a pixel.",
        pixels=side**2, schedule=drawn(SCHEDULES[result.schedule]),
        ratio=short(result.terminal[result.schedules.index(result.schedule)] * side * result.spread),
        one=short(result.terminal[result.schedules.index(result.schedule)] * result.spread),
    )  # fmt: skip
    return [
        pictures,
        kept,
        Table(columns, rows),
        Table(("schedule", "√ᾱ at the last timestep", "SNR there"), levels),
        Prose(text),
    ]
