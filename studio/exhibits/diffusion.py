"""Diffusion: samplers side by side on exact scores, on images, and in few steps."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import torch

from engines.diffusion import (
    GRIDS,
    PATHS,
    SAMPLERS,
    SCHEDULERS,
    GaussianMixture,
    append_zero,
    convergence,
    ddpm_sigmas,
    distances,
    few_steps,
    image_grid,
    karras_sigmas,
    sampler_panels,
    solve,
    target_mixture,
    time_sigmas,
    train_few_steps,
    vector_field,
)
from engines.diffusion.few_views import ENTRIES, FewSteps
from engines.diffusion.fewstep import METHODS, SHIPPED, exact_flow, identity_loss, load
from engines.diffusion.images import ImageGrid
from engines.diffusion.views import Convergence, Distances, Field, SamplerPanels
from studio.exhibit import Check, Choice, Drawing, Exhibit, Numbers, Pictures, Prose, Range, Story, Table, Text, View
from studio.figure import COLORS, figure, label, scrubbed

TARGET = Choice(
    "Target",
    {
        "ring": "ring of eight",
        "moons": "two moons",
        "spiral": "spiral",
        "checkerboard": "checkerboard",
        "two_scales": "two scales",
        "three": "three Gaussians",
        "letter": "letters",
        "drawing": "your drawing",
    },
)
PATH = Choice("Path", {name: path.label for name, path in PATHS.items()}, help="The time a step is straight in.")
LETTER = Text("Letters", 3, help="One to three.", when={"target": ["letter"]})
DRAWING = Drawing("Drawing", when={"target": ["drawing"]})
SEED = Range("Seed", 0, 9999, step=1)
ETA = Range(
    "DDIM's η", 0, 1, step=0.05, help="0 is an ODE, 1 is DDPM.", when={"samplers": ["ddim"], "any_samplers": ["ddim"]}
)
VARIANCE = Choice(
    "DDPM's variance",
    {"fixed_small": "small (the posterior's)", "fixed_large": "large (β)"},
    when={"samplers": ["ddpm"], "any_samplers": ["ddpm"]},
)
NAMES = {name: sampler.label for name, sampler in SAMPLERS.items()}
UNITS = 1000  # particles travel as int16 thousandths of the target's unit: half the bytes of float32
GROUND = ((0.0, "rgba(0,119,187,0)"), (1.0, "rgba(0,119,187,0.55)"))


def _milli(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values * UNITS), -32_000, 32_000).astype(np.int16)


def _ground(density: np.ndarray, extent: float, **more) -> go.Heatmap:
    side = density.shape[0]
    step = 2 * extent * UNITS / side
    return go.Heatmap(
        z=density,
        x0=-extent * UNITS + step / 2,
        dx=step,
        y0=-extent * UNITS + step / 2,
        dy=step,
        zmin=0,
        zmax=255,
        colorscale=GROUND,
        showscale=False,
        hoverinfo="skip",
        **more,
    )


def _square(extent: float, **more) -> dict:
    ticks = (-2, 0, 2)
    return {
        "range": (-extent * UNITS, extent * UNITS),
        "tickvals": [t * UNITS for t in ticks],
        "ticktext": [str(t).replace("-", "−") for t in ticks],
        "showgrid": False,
        "zeroline": False,
        "constrain": "domain",
        **more,
    }


def _with_gaps(ways: np.ndarray) -> np.ndarray:
    """Ways [steps, n, 2] as one line [n (steps + 1), 2] with NaN between them."""
    gap = np.full((1, *ways.shape[1:]), np.nan, np.float32)
    return np.concatenate([ways, gap]).transpose(1, 0, 2).reshape(-1, 2) * np.float32(UNITS)


def draw_panels(result: SamplerPanels) -> list:
    """A panel a sampler: particles scrubbed over the exact density, and the ways of a few."""
    count = len(result.samplers)
    columns = 1 if count == 1 else 2
    rows = math.ceil(count / columns)
    drawn = figure(height=90 + (420 if count == 1 else 340 * rows), showlegend=False)
    axes = []
    for i in range(count):
        row, column = divmod(i, columns)
        axes.append({"xaxis": f"x{i + 1}".replace("x1", "x"), "yaxis": f"y{i + 1}".replace("y1", "y")})
        wide, high = 1 / columns, 1 / rows
        across = (column * wide + 0.02, (column + 1) * wide - 0.02)
        up = (1 - (row + 1) * high + 0.05, 1 - row * high - 0.06)
        number = str(i + 1) if i else ""
        drawn.update_layout(
            {
                f"xaxis{number}": _square(result.extent, domain=across, anchor=f"y{number}", title=None),
                f"yaxis{number}": _square(
                    result.extent,
                    domain=up,
                    anchor=f"x{number}",
                    scaleanchor=f"x{number}",
                    constraintoward="top",
                ),
            }
        )
        drawn.add_annotation(
            x=sum(across) / 2,
            y=up[1],
            xref="paper",
            yref="paper",
            showarrow=False,
            xanchor="center",
            yanchor="bottom",
            text=f"<b>{result.labels[i].split(' (')[0]}</b><br>{result.nfe[i]} NFE, W₁ {result.distance[i]:.3f}",
            font={"size": 12},
        )

    def particles(frame: int) -> list[go.Scatter]:
        return [
            go.Scatter(
                x=_milli(result.positions[i, frame, :, 0]),
                y=_milli(result.positions[i, frame, :, 1]),
                mode="markers",
                marker={"size": 3, "color": COLORS[1], "opacity": 0.75},
                hoverinfo="skip",
                **axes[i],
            )
            for i in range(count)
        ]

    last = len(result.moments) - 1
    drawn.add_traces(particles(last))
    for i in range(count):
        drawn.add_trace(_ground(result.density, result.extent, **axes[i]))
        ways = _with_gaps(result.traces[i])
        drawn.add_trace(
            go.Scatter(
                x=ways[:, 0],
                y=ways[:, 1],
                mode="lines",
                line={"width": 1, "color": "rgba(128,128,128,0.55)"},
                hoverinfo="skip",
                **axes[i],
            )
        )
    scrubbed(drawn, [particles(f) for f in range(last + 1)], result.moments, start=last)
    drawn.update_layout(margin={"l": 28, "r": 10, "t": 12, "b": 110})
    table = Table(
        ("sampler", "steps", "NFE", "distance to the target (sliced W₁)"),
        [
            *zip(result.labels, result.steps, result.nfe, result.distance.round(4), strict=True),
            ("two exact sets (chance alone)", "", "", round(result.floor, 4)),
        ],
    )
    return [drawn, table]


def draw_field(result: Field) -> go.Figure:
    """Arrows over the noised density, scrubbed from noise to data, with the particles of the exact flow."""
    places = result.places * np.float32(UNITS)
    reach = 2 * result.extent / 17 * UNITS

    def moment(frame: int) -> list:
        arrows = result.arrows[frame]
        return [
            go.Quiver(
                x=places[:, 0],
                y=places[:, 1],
                u=(arrows[:, 0] * reach).astype(np.float32),
                v=(arrows[:, 1] * reach).astype(np.float32),
                lengthmode="raw",
                lengthfactor=1.0,
                marker={"color": "#808080"},
                hoverinfo="skip",
            ),
            go.Scatter(
                x=_milli(result.particles[frame, :, 0]),
                y=_milli(result.particles[frame, :, 1]),
                mode="markers",
                marker={"size": 4, "color": COLORS[1]},
                hoverinfo="skip",
            ),
            _ground(result.density[frame], result.extent),
        ]

    last = len(result.sigma) - 1
    drawn = figure(moment(0), height=620, showlegend=False)
    drawn.update_xaxes(**_square(result.extent))
    drawn.update_yaxes(**_square(result.extent, scaleanchor="x"))
    name = {"ve": "σ"}.get(result.diffusion_path, "t")
    stamps = result.sigma if result.diffusion_path == "ve" else result.time
    scrubbed(drawn, [moment(f) for f in range(last + 1)], [f"{t:.3g}" for t in stamps], name=f"{name} =")
    drawn.update_layout(margin={"l": 28, "r": 10, "t": 12, "b": 110})
    return drawn


def draw_convergence(result: Convergence) -> list:
    """Error over NFE, log-log, each line with its fitted order beside the theoretical one."""
    drawn = figure(x="denoiser calls (NFE)", y="median endpoint error", height=520)
    done = [i for i in range(len(result.labels)) if not np.isnan(result.error[i]).all()]
    for i in done:
        color, text = COLORS[i % len(COLORS)], result.labels[i]
        name = text.replace("DPM-Solver", "DPM").split(" (EDM")[0].split(" (Adams")[0]
        drawn.add_trace(
            go.Scatter(
                x=result.nfe[i],
                y=result.error[i],
                mode="lines+markers",
                line={"color": color, "width": 2, "dash": "solid" if i < len(COLORS) else "dot"},
                name=f"{name}: {result.fitted[i]:.2f} ({result.theory[i]})",
                hovertemplate="%{x} NFE<br>error %{y:.2e}<extra>" + text + "</extra>",
            )
        )
    drawn.update_xaxes(type="log", dtick=1)
    drawn.update_yaxes(type="log", dtick=1, exponentformat="power")
    rows = [
        [text, theory, f"{fitted:.2f}", f"{error[-1]:.1e}"]
        for text, theory, fitted, error in zip(result.labels, result.theory, result.fitted, result.error, strict=True)
        if not np.isnan(error).all()
    ]
    columns = ("sampler", "order in theory", "order fitted", f"error at {result.steps[-1]} steps")
    return [drawn, Table(columns, rows)]


def draw_distances(result: Distances) -> list:
    """Both distances over NFE, with the band that exact samples themselves fill."""
    panels = []
    for name, values, floor in (
        ("sliced W₁ distance", result.wasserstein, result.wasserstein_floor),
        ("energy distance", result.energy, result.energy_floor),
    ):
        drawn = figure(x="denoiser calls (NFE)", y=name, height=430)
        # estimates may fall below 0, where chance rules: they are drawn at the foot of the band
        least = max(floor[0], floor[2] / 5)
        drawn.add_hrect(y0=least / 1.3, y1=floor[2], fillcolor="rgba(128,128,128,0.25)", line_width=0, layer="below")
        label(drawn, math.log10(result.nfe.min()), math.log10(floor[2]), "exact samples (chance alone)")
        for i, text in enumerate(result.labels):
            if np.isnan(values[i]).all():
                continue
            drawn.add_trace(
                go.Scatter(
                    x=result.nfe[i],
                    y=np.maximum(values[i], least),
                    customdata=values[i],
                    mode="lines+markers",
                    line={"color": COLORS[i], "width": 2},
                    name=text,
                    hovertemplate="%{x} NFE<br>%{customdata:.3g}<extra>" + text + "</extra>",
                )
            )
        drawn.update_xaxes(type="log", tickvals=result.nfe[-1])
        drawn.update_yaxes(type="log", dtick=1, exponentformat="power")
        panels.append(drawn)
    return panels


def draw_few_steps(result: FewSteps) -> list:
    """A row a model, a column a number of steps; what each costs; and the losses."""
    rows, columns = len(result.methods), len(result.steps)
    drawn = figure(height=60 + 190 * rows, showlegend=False, meta={"squares": [rows, columns, 34]})
    for i in range(rows):
        for j in range(columns):
            number = str(i * columns + j + 1) if i + j else ""
            axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
            across = (j / columns + 0.01, (j + 1) / columns - 0.01)
            up = (1 - (i + 1) / rows + 0.01, 1 - i / rows - 34 / (190 * rows))
            bare = {"showticklabels": False, "ticks": "", "title": None, "showline": True, "mirror": True}
            bare |= {"linecolor": "rgba(128,128,128,0.4)"}
            drawn.update_layout(
                {
                    f"xaxis{number}": _square(
                        result.extent, domain=across, anchor=f"y{number}", constraintoward="left", **bare
                    ),
                    f"yaxis{number}": _square(
                        result.extent,
                        domain=up,
                        anchor=f"x{number}",
                        scaleanchor=f"x{number}",
                        constraintoward="top",
                        **bare,
                    ),
                }
            )
            drawn.add_trace(_ground(result.density, result.extent, **axes))
            drawn.add_trace(
                go.Scatter(
                    x=_milli(result.samples[i, j, :, 0]),
                    y=_milli(result.samples[i, j, :, 1]),
                    mode="markers",
                    marker={"size": 2.5, "color": COLORS[1], "opacity": 0.8},
                    hoverinfo="skip",
                    **axes,
                )
            )
            if j == columns - 1:
                ways = _with_gaps(result.ways[i].astype(np.float32))
                drawn.add_trace(
                    go.Scatter(
                        x=ways[:, 0],
                        y=ways[:, 1],
                        mode="lines",
                        line={"width": 1, "color": "rgba(128,128,128,0.6)"},
                        hoverinfo="skip",
                        **axes,
                    )
                )
            steps = int(result.steps[j])
            drawn.add_annotation(
                x=across[0],
                y=up[1],
                xref="paper",
                yref="paper",
                showarrow=False,
                xanchor="left",
                yanchor="bottom",
                align="left",
                text=(f"<b>{result.labels[i]}</b><br>" if j == 0 else "") + f"{steps} step{'s' * (steps > 1)}",
                font={"size": 11},
            )
    drawn.update_layout(margin={"l": 8, "r": 8, "t": 14, "b": 8})
    columns = (
        "model",
        *(f"W₁ in {k}" for k in result.steps),
        "off the flow",
        "bend",
        "E|x₁ − x₀|²",
    )
    table = Table(
        columns,
        [
            *(
                [
                    label_,
                    *(f"{d:.3f}" for d in distance),
                    f"{off[0]:.3f}",
                    "–" if np.isnan(bend) else f"{bend:.4f}",
                    f"{cost:.2f}",
                ]
                for label_, distance, off, bend, cost in zip(
                    result.labels, result.distance, result.off_flow, result.straightness, result.cost, strict=True
                )
            ),
            ["chance alone", *[f"{result.floor:.3f}"] * len(result.steps), "", "", ""],
        ],
    )
    said = (
        "W₁ is the sliced distance to the target. *Off the flow* is the median distance of a one-step sample from where the "
        "exact flow takes the same noise, *bend* how far the ways are from straight, the last column how far noise and "
        "sample lie apart in the mean square. Consistency models noise their estimate anew before each later step, hence "
        "their leaps; generators know one step, so their rows repeat it. SiD's $\\alpha$ is 1; on the two scales, where it "
        "diverges so, 0.75."
    )
    return [drawn, table, *_losses(result), Prose(said)]


def _losses(result: FewSteps) -> list:
    """Each method's loss on an axis of its own: they differ in kind."""
    trained = [i for i, curve in enumerate(result.losses) if len(curve)]
    drawn = figure(height=60 + 96 * len(trained), showlegend=False)
    for row, i in enumerate(trained):
        number = str(row + 1) if row else ""
        low, high = 1 - (row + 1) / len(trained), 1 - row / len(trained)
        last = row == len(trained) - 1
        drawn.update_layout(
            {
                f"xaxis{number}": {
                    "anchor": f"y{number}",
                    "matches": "x" if row else None,
                    "showticklabels": last,
                    "title": {"text": "training step" if last else ""},
                },
                f"yaxis{number}": {
                    "anchor": f"x{number}",
                    "domain": (low + 0.05 / len(trained), high - 0.22 / len(trained)),
                    "nticks": 4,
                    "title": {"text": ""},
                },
            }
        )
        curve = result.losses[i].astype(np.float32)
        drawn.add_trace(
            go.Scatter(
                x=curve[:, 0],
                y=curve[:, 1],
                mode="lines",
                line={"color": COLORS[i % len(COLORS)], "width": 2},
                name=result.labels[i],
                xaxis=f"x{number}",
                yaxis=f"y{number}",
            )
        )
        label(
            drawn, 0, high, f"loss of {result.labels[i]}", xref="paper", yref="paper", yanchor="top", font={"size": 11}
        )
    return [drawn] if trained else []


def draw_images(result: ImageGrid) -> list:
    """Contact sheets, schedulers x steps, and how x̂0 of the first image came about."""
    count, side = result.images.shape[2:4]
    columns = math.ceil(math.sqrt(count))
    sheets, captions = [], []
    for j, steps in enumerate(result.steps):
        for i, text in enumerate(result.labels):
            if not result.done[i, j]:
                continue
            blank = np.full((columns * math.ceil(count / columns) - count, side, side, 3), 255, np.uint8)
            tiles = np.concatenate([result.images[i, j], blank]).reshape(-1, columns, side, side, 3)
            sheets.append(tiles.transpose(0, 2, 1, 3, 4).reshape(-1, columns * side, 3))
            captions.append(f"{text}, {steps} steps: {result.nfe[i, j]} NFE, {result.seconds[i, j]:.2f} s")
    scale = max(1, 128 // (columns * side))
    panels = [Pictures(np.stack(sheets), captions, "The same noise, each scheduler and number of steps", scale)]
    filmed = [i for i in range(len(result.labels)) if result.film_steps[i].any()]
    if filmed:
        strips = np.stack([result.film[i].transpose(1, 0, 2, 3).reshape(side, -1, 3) for i in filmed])
        said = [f"{result.labels[i]}: x̂₀ after call {', '.join(map(str, result.film_steps[i]))}" for i in filmed]
        panels.append(
            Pictures(strips, said, f"The estimate of the first image on its way, {result.steps[-1]} steps", 1)
        )
    return panels


# -- checks -----------------------------------------------------------------------------------------------------------


def _one(value: float = 1.0) -> torch.Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def _gaussian(scale: float) -> GaussianMixture:
    return GaussianMixture([1.0], [[0.0]], [scale])


def _gain(sampler: str) -> float:
    exact = 0.5 / math.sqrt(0.25 + 80**2)
    return solve(sampler, _gaussian(0.5).denoise, _one(), append_zero(karras_sigmas(18))).item() / exact


def _ddim_gain() -> float:
    levels = ddpm_sigmas(10, "leading")
    return solve("ddim", _gaussian(1.0).denoise, _one(math.sqrt(1 + float(levels[0]) ** 2)), levels).item()


def _ddpm_variance(steps: int, variance: str) -> float:
    """Exactly: the sampler is linear on a Gaussian, so each particle carries one of its independent draws."""
    levels, turn = ddpm_sigmas(steps), iter(range(1, steps + 1))
    start = torch.eye(steps, 1, dtype=torch.float64) * math.sqrt(1 + float(levels[0]) ** 2)

    def impulse(x):
        drawn = torch.zeros_like(x)
        drawn[next(turn)] = 1
        return drawn

    ends = solve("ddpm", _gaussian(1.0).denoise, start, levels, noise=impulse, variance=variance)
    return ends.square().sum().item()


def _endpoint() -> np.ndarray:
    start = torch.tensor([[40.0, -24.0]], dtype=torch.float64)
    return solve("rk4", target_mixture("three").denoise, start, karras_sigmas(400)).numpy()[0]


def _order(sampler: str) -> float:
    (progress,) = convergence(ode_samplers=(sampler,), step_counts=(160, 320))
    return progress.result.fitted[0]


def _exact_gaussian_map() -> float:
    """The gain of the exact rectified flow to N(0, ½²), whose one straight step an ideal reflow learns."""
    return exact_flow(_gaussian(0.5), _one(), 64).item()


def _boundary() -> float:
    model = load("ring", "consistency_distillation").model
    x = torch.linspace(-3, 3, 20).reshape(10, 2)
    return float((model.consistency(x, torch.ones(10)) - x).abs().max())


def _sid_identity() -> float:
    """SiD's loss over |Δ|² for a generator whose law is known, so that the fake denoiser is the optimal one."""
    real, made, sigma, alpha = _gaussian(0.5), GaussianMixture([1.0], [[0.7]], [0.3]), 0.6, 0.8
    truth = made.sample(200_000, 0)
    noise = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = truth + sigma * noise
    ours, theirs = made.denoise(x, sigma), real.denoise(x, sigma)
    return float(identity_loss(theirs, ours, truth, alpha).mean() / (theirs - ours).square().sum(-1).mean())


def _rectified_gain(steps: int) -> float:
    levels = time_sigmas(steps, "rf")
    return solve("euler", _gaussian(0.5).denoise, _one(float(levels[0])), levels, path="rf").item()


ORDERS = {
    "euler": 1,
    "heun": 2,
    "dpm_2": 2,
    "dpmpp_2s": 2,
    "dpmpp_2m": 2,
    "dpm_3": 3,
    "lms": 3.9,
    "rk4": 4,
    "dpmpp_3m": 1.86,
    "dpmpp_3m_doubled": 3.08,
}

CHECKS = (
    Check(
        "Karras grid, n = 18, 0.002 to 80, ρ = 7: σ₁ and σ₁₀",
        "Karras et al. 2022, Eq. 5",
        (57.5859847212, 1.0881706365),
        1e-8,
        lambda: karras_sigmas(18)[[1, 10]].numpy(),
        relative=True,
    ),
    Check(
        "Euler's gain over the exact on N(0, ½²), 18 Karras levels, then 0",
        "closed form",
        0.8460793973,
        1e-8,
        lambda: _gain("euler"),
    ),
    Check("Heun's gain over the exact, likewise", "closed form", 1.0552698841, 1e-8, lambda: _gain("heun")),
    Check("DDIM's gain on N(0, 1), linear β, leading, 10 steps", "closed form", 0.8316958769, 1e-8, _ddim_gain),
    Check(
        "DDPM's variance on N(0, 1), fixed large, 5 and 50 steps",
        "closed form: 1 − β₁",
        (0.9999, 0.9999),
        1e-9,
        lambda: (_ddpm_variance(5, "fixed_large"), _ddpm_variance(50, "fixed_large")),
    ),
    Check(
        "DDPM's variance on N(0, 1), fixed small, 10 steps",
        "closed form",
        0.54821,
        1e-5,
        lambda: _ddpm_variance(10, "fixed_small"),
    ),
    Check(
        "where the exact flow takes (40, −24) from σ = 80 to 0.002",
        "three Gaussians, RK4 and DOP853",
        (0.2701704575, -1.2371257339),
        1e-6,
        _endpoint,
    ),
    *(
        Check(
            f"fitted order of {NAMES[name]}, 160 to 320 steps",
            f"measured; theory {SAMPLERS[name].order}",
            order,
            0.15,
            lambda name=name: _order(name),
        )
        for name, order in ORDERS.items()
    ),
    Check(
        "rectified flow to N(0, ½²): Euler's gain in 1 and 2 steps",
        "closed form",
        (0.0, 0.2),
        1e-8,
        lambda: (_rectified_gain(1), _rectified_gain(2)),
    ),
    Check("and its limit", "closed form", 0.5, 2e-5, lambda: 2 * _rectified_gain(400) - _rectified_gain(200)),
    Check(
        "the exact flow's map to N(0, ½²), which after ideal reflow one step makes",
        "closed form",
        0.5,
        1e-8,
        _exact_gaussian_map,
    ),
    Check(
        "the ideal shortcut s(x, 0, 1) over x, likewise", "closed form", -0.5, 1e-8, lambda: _exact_gaussian_map() - 1
    ),
    Check(
        "a consistency model at the data: the most that f(x, 1) is off x", "Song et al. 2023, Eq. 5", 0.0, 0, _boundary
    ),
    Check("SiD's loss with the optimal fake denoiser over |Δ|², α = 0.8", "1 − α", 0.2, 0.01, _sid_identity),
)

EXHIBIT = Exhibit(
    slug="diffusion",
    title="Diffusion",
    summary="Samplers side by side, where the exact score leaves them no one else to blame.",
    sources=(
        ("Ho et al., DDPM", "https://arxiv.org/abs/2006.11239"),
        ("Song et al., DDIM", "https://arxiv.org/abs/2010.02502"),
        ("Song et al., Score-based generative modelling through SDEs", "https://arxiv.org/abs/2011.13456"),
        ("Karras et al., EDM", "https://arxiv.org/abs/2206.00364"),
        ("Lu et al., DPM-Solver", "https://arxiv.org/abs/2206.00927"),
        ("Lu et al., DPM-Solver++", "https://arxiv.org/abs/2211.01095"),
        ("Zhang & Chen, DEIS", "https://arxiv.org/abs/2204.13902"),
        ("Zhao et al., UniPC", "https://arxiv.org/abs/2302.04867"),
        ("Liu et al., Rectified flow", "https://arxiv.org/abs/2209.03003"),
        ("Sabour et al., Align Your Steps", "https://arxiv.org/abs/2404.14507"),
        ("Song et al., Consistency models", "https://arxiv.org/abs/2303.01469"),
        ("Frans et al., Shortcut models", "https://arxiv.org/abs/2410.12557"),
        ("Zhou et al., SiD", "https://arxiv.org/abs/2404.04057"),
        ("Huang et al., FGM", "https://arxiv.org/abs/2410.19310"),
        ("Gulrajani et al., WGAN-GP", "https://arxiv.org/abs/1704.00028"),
        ("苏剑林, 生成扩散模型漫谈（一）: DDPM", "https://kexue.fm/archives/9119"),
        ("（五）: SDE", "https://kexue.fm/archives/9209"),
        ("（二十）: ReFlow, WGAN-GP", "https://kexue.fm/archives/9668"),
        ("（二十五）: SiD", "https://kexue.fm/archives/10085"),
        ("（二十六）: FGM", "https://kexue.fm/archives/10567"),
        ("（二十七）: Shortcut", ""),
        ("（二十八）: consistency", "https://kexue.fm/archives/10633"),
    ),
    views=(
        View(
            slug="samplers",
            title="Samplers side by side",
            caption=(
                "The target is a mixture of Gaussians, so the denoiser is a formula and every error is the sampler's. "
                "All panels start from the same particles and the same noise: scrub to watch them fall onto the blue "
                "density; grey lines are whole ways of a few. With **equal NFE** each sampler may call the denoiser "
                "equally often, so that Heun takes half of Euler's steps. Particles are drawn scaled by the path, as "
                "$x/\\sqrt{1+\\sigma^2}$ where it explodes."
            ),
            compute=sampler_panels,
            controls={
                "target": TARGET,
                "letter": LETTER,
                "drawing": DRAWING,
                "samplers": Choice("Samplers (up to 4)", NAMES, several=True),
                "path": PATH,
                "grid": Choice("Noise levels", GRIDS),
                "rho": Range(
                    "Karras' ρ",
                    0.5,
                    20,
                    step=0.5,
                    help="7 is usual; more puts more steps near the data.",
                    when={"grid": ["karras"]},
                ),
                "knots": Numbers("Knots σ", 1e-3, 1e3, most=24, least=2, help="Falling.", when={"grid": ["ays"]}),
                "steps": Range("Steps (or NFE)", 1, 100, step=1),
                "match": Choice("Compare at equal", {"steps": "steps", "nfe": "denoiser calls (NFE)"}),
                "particles": Range("Particles", 100, 10_000, step=1, log=True),
                "seed": SEED,
                "ddim_eta": ETA,
                "ddpm_variance": VARIANCE,
            },
            draw=draw_panels,
            seconds=0.2,
        ),
        View(
            slug="field",
            title="The field",
            caption=(
                "What a perfectly trained network would say at every place, from pure noise to data: scrub the time. "
                "Far out at high noise all arrows point at the target's mean; as the noise falls they choose a mode. "
                "Blue is the density at that time, orange the particles that the exact flow carries. Arrows are "
                "scaled so that the longest of each moment is as long as their spacing."
            ),
            compute=vector_field,
            controls={
                "target": TARGET,
                "letter": LETTER,
                "drawing": DRAWING,
                "path": PATH,
                "field": Choice(
                    "Field",
                    {"velocity": "velocity towards the data", "score": "score ∇ log p", "denoised": "way to D(x)"},
                ),
                "seed": SEED,
            },
            draw=draw_field,
            seconds=0.2,
        ),
        View(
            slug="orders",
            title="Orders of convergence",
            caption=(
                "How fast the endpoint of the flow from σ = 80 to 0.002 is approached, against an exact solution: on "
                "log-log axes a method of order $p$ falls with slope $-p$. Beside each name stands the slope "
                "fitted to the three largest step counts, with the order in theory in brackets. The published third-order DPM-Solver++ falls short of its order: "
                "its last term is half of Taylor's; doubled, it falls like a third."
            ),
            compute=convergence,
            controls={
                "order_target": Choice(
                    "Target", {k: v for k, v in TARGET.options.items() if k not in ("letter", "drawing")}
                ),
                "ode_samplers": Choice("Samplers", {n: s.label for n, s in SAMPLERS.items() if s.order}, several=True),
                "path": PATH,
                "step_counts": Numbers("Steps", 1, 640, most=8, least=2),
                "lms_order": Range("Order of LMS", 1, 4, step=1, when={"ode_samplers": ["lms"]}),
                "seed": SEED,
            },
            draw=draw_convergence,
            live=False,
            seconds=4,
            brief={"ode_samplers": ("euler", "dpmpp_2m"), "step_counts": (10, 20)},
        ),
        View(
            slug="distances",
            title="Stochastic samplers",
            caption=(
                "A sampler that adds noise has no endpoint to miss: what counts is the distance between its 2,000 "
                "samples and the target. The grey band is what 2,000 exact samples measure themselves; inside it "
                "nothing can be told apart. Noise heals earlier errors, so the slow starters often end lower."
            ),
            compute=distances,
            controls={
                "target": TARGET,
                "letter": LETTER,
                "drawing": DRAWING,
                "any_samplers": Choice("Samplers (up to 8)", NAMES, several=True),
                "path": PATH,
                "budgets": Numbers("NFE", 1, 512, most=8),
                "seed": SEED,
                "ddim_eta": ETA,
                "ddpm_variance": VARIANCE,
            },
            draw=draw_distances,
            live=False,
            seconds=3,
            brief={"any_samplers": ("ddpm",), "budgets": (8, 16)},
        ),
        View(
            slug="few",
            title="Few steps",
            caption=(
                "Small networks, trained once and shipped, asked for samples in 1, 2, 4 and 8 steps from the same "
                "noise, below the exact flow in as few Euler steps; grey lines are the ways of a few particles. Reflow "
                "straightens the ways, consistency and shortcut models learn to jump along them, SiD and FGM forget "
                "them and match only the law. What lies between the modes is the network's: a small smooth map of the "
                "plane has to stretch over the gaps that it cannot tear."
            ),
            compute=few_steps,
            controls={
                "few_target": Choice("Target", {name: TARGET.options[name] for name in SHIPPED}),
                "methods": Choice("Models (up to 6)", ENTRIES, several=True),
                "seed": SEED,
            },
            draw=draw_few_steps,
            seconds=0.3,
        ),
        View(
            slug="train",
            title="Train one now",
            caption=(
                "Train a model of few steps on any target, in at most 20 seconds on two cores; its teacher, where it "
                "has one, is the exact velocity. The panels come twice on the way and once at the end, beside the "
                "exact flow in as few Euler steps."
            ),
            compute=train_few_steps,
            controls={
                "method": Choice("Method", {name: method.label for name, method in METHODS.items()}),
                "target": TARGET,
                "letter": LETTER,
                "drawing": DRAWING,
                "effort": Range("Share of the full training", 0.02, 1, step=0.02),
                "alpha": Range(
                    "SiD's α",
                    0,
                    2,
                    step=0.05,
                    help="1 − α weighs the plain loss |Δ|²; 1 is usual.",
                    when={"method": ["sid"]},
                ),
                "seed": SEED,
            },
            draw=draw_few_steps,
            live=False,
            seconds=15,
            brief={"effort": 0.02},
        ),
        View(
            slug="images",
            title="On images",
            caption=(
                "The same contest on pixels, run by diffusers' schedulers on a trained network: each picture of a "
                "sheet starts from the same noise as its neighbours. A call to the network (NFE) is all the cost. "
                "Timesteps are trailing, so that every run begins at the noisiest; diffusers 0.42's DDIM then steps "
                "to wrong timesteps when their number does not divide 1,000 (an error of 0.05 that no number of steps "
                "heals), so it is told each gap here."
            ),
            compute=image_grid,
            controls={
                "model": Text(
                    "Model", 150, help="ddpm-emoji-32 ships with the page; google/ddpm-cifar10-32 comes from the Hub."
                ),
                "schedulers": Choice(
                    "Schedulers (up to 4)", {n: row[0] for n, row in SCHEDULERS.items()}, several=True
                ),
                "image_steps": Numbers("Steps", 1, 100, most=4),
                "count": Range("Images", 1, 9, step=1),
                "seed": SEED,
            },
            draw=draw_images,
            live=False,
            seconds=10,
            brief={"schedulers": ("ddim", "dpmpp_2m"), "image_steps": (2,), "count": 2},
            gpu=True,
        ),
    ),
    stories=(
        Story(
            "Twenty calls, four ways",
            "At twenty denoiser calls Euler has blurred the spiral, while the second-order multistep method already "
            "lies on it. Heun pays two calls a step, so it is left with half the steps.",
            "samplers",
            {"target": "spiral", "match": "nfe", "steps": 20},
        ),
        Story(
            "A straight line through the wrong time",
            "Steps uniform in σ spend nearly all of their effort where everything is noise, and leap from σ = 4 to the "
            "data. Set the noise levels back to Karras': the same samplers at the same cost find every cluster.",
            "samplers",
            {"target": "two_scales", "grid": "time", "path": "ve"},
        ),
        Story(
            "Third order that was second",
            "DPM-Solver++ 3M, as its reference codes have it, measures an order of 1.8, not 3. Doubling its second "
            "difference, as Taylor's formula asks, gives 3.1: compare the two last lines.",
            "orders",
            {"ode_samplers": ("dpmpp_2m", "dpmpp_3m", "dpmpp_3m_doubled")},
        ),
        Story(
            "When a particle makes up its mind",
            "At the noisy end every arrow points at the common mean, and no particle is for one mode or another. Scrub: "
            "the plane splits into three basins, and whoever sits on a watershed is undecided longest.",
            "field",
            {"target": "three", "path": "rf"},
        ),
        Story(
            "Noise heals",
            "Heun reaches the floor in a few dozen calls, then stays there. The stochastic samplers also forget earlier "
            "errors at each step: with calls to spare they all arrive in the band that exact samples fill.",
            "distances",
            {"target": "two_scales"},
        ),
        Story(
            "Straight ways, one step",
            "Euler's single step along the exact flow lands everyone on the mean. Reflow learns from the flow's own pairs, "
            "whose ways never cross: they straighten (see the bend), and one step reaches the ring.",
            "few",
            {"methods": ("exact", "rectified", "reflow", "reflow_twice")},
        ),
        Story(
            "Law without the way",
            "SiD and FGM never learn where a given noise should go, only that the law be right; so do the critics of "
            "WGAN-GP, and of its reading as ReFlow. All sample in one step, and all end off the exact flow.",
            "few",
            {"methods": ("sid", "fgm", "wgan_gp", "gan_reflow")},
        ),
        Story(
            "Write your name",
            "Any letters become a mixture of up to 160 small Gaussians, and the exact score with them. Choose your "
            "drawing as the target to have your own line sampled.",
            "samplers",
            {"target": "letter", "letter": "ODE", "samplers": ("euler", "dpmpp_2m")},
        ),
    ),
    checks=CHECKS,
)
