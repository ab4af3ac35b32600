"""Diffusion: how its results are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.diffusion.experiments import Convergence, Distances, FewSteps, Field, SamplerPanels
from engines.diffusion.images import NONE, ImageGrid
from studio.figure import COLORS, GREY, Figure, band, drag, figure, heat, label, line, points, scrub, short
from studio.language import drawn, say
from studio.panels import Folded, Pictures, Prose, Table

SAMPLERS = {
    "euler": "Euler",
    "heun": "Heun (EDM)",
    "midpoint": "midpoint",
    "rk4": "RK4",
    "lms": "LMS (Adams–Bashforth)",
    "dpm_2": "DPM-Solver-2",
    "dpm_3": "DPM-Solver-3",
    "dpmpp_2s": "DPM-Solver++ 2S",
    "dpmpp_2m": "DPM-Solver++ 2M",
    "dpmpp_3m": "DPM-Solver++ 3M (as published)",
    "dpmpp_3m_doubled": "DPM-Solver++ 3M (last term doubled)",
    "deis": "DEIS",
    "unipc": "UniPC",
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "euler_ancestral": "Euler ancestral",
    "dpm_2_ancestral": "DPM-Solver-2 ancestral",
    "euler_maruyama": "Euler–Maruyama",
    "dpmpp_sde": "DPM-Solver++ SDE",
    "dpmpp_2m_sde": "DPM-Solver++ 2M SDE",
    "predictor_corrector": "predictor–corrector",
    "edm_churn": "EDM with churn",
}
METHODS = {
    "exact": "exact flow (Euler)",
    "rectified": "rectified flow",
    "reflow": "reflow",
    "reflow_twice": "reflow, twice",
    "consistency_distillation": "consistency distillation",
    "consistency_training": "consistency training",
    "shortcut": "shortcut",
    "sid": "SiD",
    "fgm": "FGM",
    "wgan_gp": "WGAN-GP",
    "gan_reflow": "GAN as ReFlow",
}
UNITS = 1000  # particles travel as int16 thousandths of the target's unit: half the bytes of float32
TRACE = "rgba(128,128,128,0.55)"
SILENT = {"legend": False, "hoverinfo": "skip", "hovertemplate": ""}


def thousandths(values: np.ndarray) -> np.ndarray:
    """Coordinates as int16."""
    return np.clip(np.round(values * UNITS), -32_000, 32_000).astype(np.int16)


def squares(titles: Sequence[str], columns: int, extent: float) -> tuple[Figure, list[dict]]:
    """Titled squares of the plane in so many columns (0: whatever makes them largest), and for each the axes of its traces."""
    made = figure(height=560, showlegend=False, meta={"cells": [len(titles), columns]})
    side = {"range": [-extent * UNITS, extent * UNITS], "showgrid": False, "zeroline": False, "ticks": ""}
    side |= {"showticklabels": False, "constrain": "domain", "showline": True, "mirror": True, "linecolor": TRACE}
    axes = []
    wide = columns or min(2, len(titles))
    high = -(-len(titles) // wide)
    for cell, title in enumerate(titles):
        number = str(cell + 1) if cell else ""
        axes.append({"xaxis": f"x{number}", "yaxis": f"y{number}"})
        # (the page lays them out anew, by its room)
        left, top = cell % wide / wide, 1 - (cell // wide + 0.09) / high
        x = {**side, "domain": [left, left + 0.96 / wide], "anchor": f"y{number}"}
        y = {**side, "domain": [top - 0.9 / high, top], "anchor": f"x{number}", "scaleanchor": f"x{number}"}
        made.update(**{f"xaxis{number}": x, f"yaxis{number}": y})
        label(made, left, top, title, xref="paper", yref="paper", align="left")
    return made, axes


def ground(made: Figure, density: np.ndarray, extent: float, unit: float = UNITS, **more) -> None:
    """The density beneath the particles, in seven bits: an int8 is half of an int16."""
    side = density.shape[0]
    middles = ((np.arange(side) + 0.5) / side * 2 - 1) * extent * unit
    heat(made, density // 2, middles, middles, low=0, high=127, opacity=0.6, showscale=False, hoverinfo="skip",
         hovertemplate="", zsmooth="best", **more)  # fmt: skip


def trajectories(made: Figure, traces: np.ndarray, **axes) -> None:
    """Trajectories [steps, n, 2] as one grey line with gaps."""
    gaps = np.full((1, *traces.shape[1:]), np.nan, np.float32)
    x, y = (np.concatenate([traces, gaps]).transpose(2, 1, 0).reshape(2, -1) * UNITS).round()
    line(made, x, y, "trajectories", TRACE, width=1, **SILENT, **axes)


def cloud(made: Figure, places: np.ndarray, name: str, color: str, size: float, **axes) -> None:
    """Particles [n, 2] as points."""
    x, y = thousandths(places).T
    points(made, x, y, name, color, size=size, opacity=0.8, **SILENT, **axes)


def sampler_names(samplers: Sequence[str], ddim_eta: float = 0.0, ddpm_variance: str = "", lms_order: int = 4) -> list:
    """What samplers with these settings are called."""
    names: list[str] = [SAMPLERS[name] for name in samplers]
    for i, name in enumerate(samplers):
        if name == "ddim" and ddim_eta:
            names[i] = say("DDIM, η = {eta}", eta=short(ddim_eta))
        if name == "ddpm" and ddpm_variance == "fixed_large":
            names[i] = "DDPM, large variance"
        if name == "ddpm" and ddpm_variance == "optimal":
            names[i] = "DDPM, optimal variance"
        if name == "lms" and lms_order != 4:
            names[i] = say("LMS, order {order}", order=lms_order)
    return names


def draw_panels(result: SamplerPanels) -> list:
    """A square a sampler: particles, scrubbed over the exact density, and the trajectories of a few."""
    names = sampler_names(result.samplers, result.ddim_eta, result.ddpm_variance)
    cells = [
        say(
            "<b>{sampler}</b>  {nfe} NFE<br>W₁ {distance} (chance {floor})",
            sampler=drawn(name),
            nfe=n,
            distance=short(w, 2),
            floor=short(result.floor, 2),
        )
        for name, n, w in zip(names, result.nfe, result.distance, strict=True)
    ]
    made, axes = squares(cells, 0, result.extent)
    for i, name in enumerate(names):
        cloud(made, result.positions[i, -1], name, COLORS[i + 1], 3.5, **axes[i])
    kept = np.unique(np.linspace(0, result.traces.shape[1] - 1, 30).round().astype(int))
    for i in range(len(names)):
        ground(made, result.density, result.extent, **axes[i])
        trajectories(made, result.traces[i, kept], **axes[i])
    frames = [
        [dict(zip("xy", thousandths(result.positions[i, f]).T, strict=True)) for i in range(len(names))]
        for f in range(len(result.frames))
    ]
    scrub(made, frames, [str(n) for n in result.frames], "step" if result.match == "steps" else "NFE", once=True)
    made.alt = "; ".join(f"{SAMPLERS[s]}: W₁ {short(w)}" for s, w in zip(result.samplers, result.distance, strict=True))
    table = Table(
        ("sampler", "steps", "NFE", "W₁ to the target"),
        [
            *([name, *row] for name, *row in zip(names, result.steps, result.nfe, result.distance, strict=True)),
            ["two exact sets (chance level)", "", "", result.floor],
        ],
    )
    return [made, table]


def draw_field(result: Field) -> list:
    """Arrows over the noised density, scrubbed from noise to data, with particles of the exact flow and one to drag."""
    made = figure(height=620, square=True, showlegend=False, margin={"l": 28, "r": 10, "t": 12, "b": 28})
    axis = {"range": [-result.extent, result.extent], "showgrid": False, "zeroline": False, "tickvals": [-2, 0, 2]}
    made.x(**axis).y(**axis)
    reach = 2 * result.extent / (round(len(result.places) ** 0.5) + 1)

    def field(frame: int) -> dict[str, np.ndarray]:
        """Tail, tip and a gap for each arrow."""
        ends = result.places + reach * result.arrows[frame]
        parts = np.stack([result.places, ends, np.full_like(ends, np.nan)], 1).reshape(-1, 2)
        return dict(zip("xy", parts.T.astype(np.float32), strict=True))

    frames = [
        [
            field(f),
            dict(zip("xy", result.particles[f].T, strict=True)),
            {"z": result.density[f] // 2},
            dict(zip("xy", result.traced[f : f + 1].T, strict=True)),
        ]
        for f in range(len(result.sigma))
    ]
    heads = {
        "symbol": "arrow",
        "angleref": "previous",
        "size": [0, 7, 0] * len(result.places),
        "color": GREY,
        "line": {"width": 0},
    }
    line(made, **field(0), name="field", color=GREY, width=1.3, **SILENT,
         mode="lines+markers", marker=heads)  # fmt: skip
    points(made, *result.particles[0].T, "particles", COLORS[1], size=4, **SILENT)
    ground(made, result.density[0], result.extent, 1)
    points(made, *result.traced[:1].T, "your particle", COLORS[3], size=11, **SILENT)
    line(made, *result.traced.T, "trajectory", COLORS[3], width=2, legend=False, hover="%{x:.2f}, %{y:.2f}")
    x, y = result.traced[:1].T
    points(made, x, y, "start", COLORS[3], size=13, symbol="diamond", legend=False, hover="drag me")
    drag(made, 5, x="x", y="y")
    if len(result.centres):
        points(made, *result.centres.T, "centres of the target", COLORS[0], size=13, symbol="square", legend=False,
               hover="drag me")  # fmt: skip
        drag(made, 6, x="centres_x", y="centres_y", item=True)
    is_ve = result.diffusion_path == "ve"
    stamps = [short(stamp) for stamp in (result.sigma if is_ve else result.time)]
    scrub(made, frames, stamps, "σ =" if is_ve else "t =", start=4 * len(stamps) // 5)
    made.alt = say(
        "the dragged particle ends at ({x}, {y})", x=short(result.traced[-1, 0]), y=short(result.traced[-1, 1])
    )
    return [made]


def draw_convergence(result: Convergence) -> list:
    """Error over NFE, log-log, each line with its fitted order beside the one in theory."""
    made = figure(x="denoiser calls (NFE)", y="median endpoint error (units of the target)", height=520, log="xy")
    names = sampler_names(result.samplers, lms_order=result.lms_order)
    done = [i for i in range(len(names)) if not np.isnan(result.error[i]).all()]
    for i in done:
        name = say("{sampler}: {fitted}", sampler=drawn(names[i]), fitted=f"{result.fitted[i]:.2f}")
        hover = "%{x} NFE<br>error %{y:.2e}"
        line(
            made,
            result.nfe[i],
            result.error[i],
            name,
            COLORS[i % 8],
            marks=7,
            hover=hover,
            dash="dot" * (i > 7) or None,
        )
    rows = [[names[i], int(result.theory[i]), result.fitted[i], result.error[i, -1]] for i in done]
    last = say("error at {steps} steps", steps=int(result.steps[-1]))
    made.alt = "; ".join(f"{SAMPLERS[result.samplers[i]]}: {short(result.fitted[i])}" for i in done)
    return [made, Table(("sampler", "order in theory", "order fitted", last), rows)]


def draw_distances(result: Distances) -> list:
    """Both distances over NFE, with the band that exact samples themselves fill."""
    panels = []
    names = sampler_names(result.samplers, result.ddim_eta, result.ddpm_variance)
    for title, values, floor in (
        ("sliced W₁ distance (units of the target)", result.wasserstein, result.wasserstein_floor),
        ("energy distance (units of the target)", result.energy, result.energy_floor),
    ):
        made = figure(x="denoiser calls (NFE)", y=title, height=460, log="xy")
        # an unbiased estimate may lie below 0, where chance rules
        least = max(floor[0], floor[2] / 5) / 1.3
        ends = np.array([result.nfe.min(), result.nfe.max()])
        band(made, ends, [least] * 2, [floor[2]] * 2, "exact samples", GREY, opacity=0.25)
        label(made, ends[0], least, "exact samples (chance level)", GREY, xshift=4, yshift=2)  # where few lines come
        for i, name in enumerate(names):
            if np.isnan(values[i]).all():
                continue
            low = values[i] < least
            marker = {
                "size": 8,
                "color": COLORS[i],
                "symbol": ["triangle-down" if is_low else "circle" for is_low in low],
            }
            hover = "%{x} NFE<br>%{customdata:.3g}"
            line(made, result.nfe[i], np.where(low, least, values[i]), name, COLORS[i], marks=8, hover=hover,
                 customdata=values[i], marker=marker)  # fmt: skip
        if (values < least).any():
            label(made, ends[1], least, "▽ below this", GREY, xanchor="right", yanchor="top")
        made.x(tickvals=result.budgets, ticktext=[str(n) for n in result.budgets])
        panels.append(made)
    return panels


def draw_few_steps(result: FewSteps) -> list:
    """A row a model, a column a number of steps; what each costs; and the losses."""
    steps = ["1 step", *(say("{steps} steps", steps=int(n)) for n in result.steps[1:])]
    names = [METHODS[name] for name in result.methods]
    titles = [
        title
        for name in names
        for title in (say("<b>{model}</b><br>{steps}", model=drawn(name), steps=drawn(steps[0])), *steps[1:])
    ]
    made, axes = squares(titles, len(steps), result.extent)
    for i, name in enumerate(names):
        for j in range(len(steps)):
            ground(made, result.density, result.extent, **axes[i * len(steps) + j])
            cloud(made, result.samples[i, j], name, COLORS[1], 2.5, **axes[i * len(steps) + j])
        trajectories(made, result.traces[i].astype(np.float32), **axes[(i + 1) * len(steps) - 1])
    floor = ["two exact sets (chance level)", *[result.floor] * len(steps)]
    to_target = Table(
        ("model", *steps),
        [*([name, *row] for name, row in zip(names, result.distance, strict=True)), floor],
        "W₁ to the target",
    )
    others = zip(names, result.flow_distance[:, 0], result.straightness, result.cost, strict=True)
    heads = ("model", "distance to the exact flow, 1 step", "deviation from straight lines", "E|x₁ − x₀|²")
    meaning = (
        "W₁ is the sliced distance to the target. *Distance to the exact flow*: the median distance of a sample from "
        "where the exact flow takes the same noise. *Deviation from straight lines*: "
        "$\\int E|x_1 - x_0 - \\dot x_t|^2 dt$. The last column is the mean squared distance of noise and sample. "
        "A consistency model noises its estimate again before each later step, so its samples leave the flow's; a "
        "generator knows one step, and its row repeats it."
    )
    panels = [made, to_target, Table(heads, list(others)), Prose(meaning)]
    if "sid" in result.methods:
        panels.append(Prose(say("SiD's $\\alpha$ here: {alpha}.", alpha=short(np.nanmax(result.alpha)))))
    losses = []
    for name, curve in zip(names, result.losses, strict=True):
        if len(curve):
            losses.append(figure(x="training step", y="loss", height=230, title=name))
            line(losses[-1], *curve.astype(np.float32).T, name, COLORS[0], legend=False)
    return [*panels, Folded("Training losses", losses)] if losses else panels


def sheet(images: np.ndarray) -> np.ndarray:
    """Pictures [n, h, w, 3] as one, in rows that make it nearly square."""
    count, side = images.shape[:2]
    columns = int(np.ceil(np.sqrt(count)))
    blank = np.full((-count % columns, *images.shape[1:]), 255, np.uint8)
    tiles = np.concatenate([images, blank]).reshape(-1, columns, side, side, 3)
    return tiles.transpose(0, 2, 1, 3, 4).reshape(-1, columns * side, 3)


def draw_images(result: ImageGrid) -> list:
    """Pictures, schedulers x steps, and how x̂0 of the first image comes about."""
    names = [SAMPLERS[name] for name in result.schedulers]
    turned = result.images.swapaxes(0, 1)  # a column a scheduler: there are as many as the page is wide
    sheets = np.stack([sheet(cell) for row in turned for cell in row])
    captions = [
        say("{nfe} NFE, {seconds} s", nfe=int(n), seconds=short(s, 2)) if done else ""
        for n, s, done in zip(result.nfe.T.flat, result.seconds.T.flat, result.done.T.flat, strict=True)
    ]
    rows = ["1 step" if n == 1 else say("{steps} steps", steps=int(n)) for n in result.steps]
    size = max(160, 84 * (sheets.shape[2] // result.images.shape[4]))
    title = (
        ""
        if result.label == NONE
        else say("Class {label}, guidance {guidance}", label=say(result.label), guidance=short(result.guidance))
    )
    panels: list = [Pictures(sheets, captions, title, rows, names, size)]
    film = [i for i in range(len(names)) if result.film_calls[i].any()]
    if film:
        calls = [say("call {call}", call=int(call)) for i in film for call in result.film_calls[i]]
        title = say("The estimate x̂₀ of the first image on its way, {steps} steps", steps=int(result.steps[-1]))
        moments = [f"{i}/{result.film.shape[1]}" for i in range(1, result.film.shape[1] + 1)]
        panels.append(Pictures(np.concatenate(result.film[film]), calls, title, [names[i] for i in film], moments, 96))
    return panels
