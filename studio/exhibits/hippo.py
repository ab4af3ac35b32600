"""HiPPO, S4 and RTF: a function remembered by N numbers, and two fast ways to its kernel."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from engines.hippo.checks import CHECKS
from engines.hippo.experiments import (
    Forgetting,
    Kernels,
    Matrices,
    Memory,
    Orders,
    Rational,
    Steps,
    forgetting,
    kernels,
    matrices,
    memory,
    orders,
    rational,
    steps,
)
from studio.exhibit import Choice, Drawing, Exhibit, Prose, Range, Story, Table, Text, Upload, View
from studio.figure import COLORS, DIVERGING, GREY, across, figure, scrubbed

MEASURES = {
    "legs": "LegS: Legendre, all the past",
    "legt": "LegT: Legendre, a window",
    "lmu": "LMU: LegT in other units",
    "lagt": "LagT: Laguerre, fading",
    "fout": "FouT with 2/w: Fourier, a window",
    "fout_blog": "FouT with 1/w: the blog's first form",
    "foud": "FouD: Fourier, fading",
    "fous": "Fourier-LegS: Fourier, all the past",
}
METHODS = {
    "zoh": "Zero-order hold (exact)",
    "bilinear": "Bilinear",
    "backward": "Backward Euler",
    "forward": "Forward Euler",
    "gbt": "Generalised bilinear (α)",
}
PRESETS = {
    "waves": "Two sines",
    "chirp": "Chirp: ever faster",
    "square": "Square wave",
    "steps": "Random steps",
    "noise": "Smooth noise",
    "white": "White noise",
    "speech": "Speech-like",
    "formula": "Your formula",
    "own": "Your file or drawing",
}
MODELS = {
    "resonators": "Resonators",
    "memory": "A delay line (a = 0, how RTF starts)",
    "legs": "HiPPO-LegS, from (A, B, C)",
}
UPLOAD = Upload("A .wav or .csv file", (".wav", ".csv"), 64, when={"signal": ["own"]})
DRAWING = Drawing("Or draw a curve", 256, 160, when={"signal": ["own"]})
SIGNAL = Choice("Signal", PRESETS)
FORMULA = Text(
    "Formula in t",
    200,
    help="t runs from 0 to 6π. It knows sin, cos, exp, log, abs and piecewise(t < 9, sin(t), 0).",
    when={"signal": ["formula"]},
)
MEASURE = Choice("Measure", MEASURES)
SEVERAL = Choice("Measures", MEASURES, several=True)
ORDER = Range("Numbers kept, N", 2, 128, step=1)
METHOD = Choice("Discretisation", {name: label for name, label in METHODS.items() if name != "gbt"})
SAMPLES = Range("Samples", 64, 4096, step=64)
WINDOWED = [name for name in MEASURES if name not in ("legs", "fous")]
WINDOW = Range("Window, of the whole", 0.02, 1, step=0.01, when={"measure": WINDOWED, "measures": WINDOWED})
SEED = Range("Seed", 0, 99, step=1, when={"signal": ["steps", "noise", "white"]})


def short(label: str) -> str:
    """LegS of "LegS: Legendre, all the past"."""
    return label.split(":")[0]


def said(number: float) -> str:
    """A number in few characters: 0.0123, 3e+47; ∞ where there is none."""
    return "∞" if number >= 1e300 else f"{number:.3g}"


def names_of(result) -> list[str]:
    return [MEASURES[name] for name in result.measures]


def signed(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values as bytes for a heat map, 127.5 meaning 0, by square root so that small ones show; and the greatest size."""
    most = max(float(np.abs(values).max()), 1e-30)
    scaled = values.astype(np.float64) / most
    return np.round(127.5 + 127.5 * np.sign(scaled) * np.sqrt(np.abs(scaled))).astype(np.uint8), most


def heat(values: np.ndarray, *, x=None, y=None, of: str) -> go.Heatmap:
    """A heat map of signed values, by square root."""
    level, most = signed(values)
    return go.Heatmap(
        x=x,
        y=y,
        z=level,
        zmin=0,
        zmax=255,
        colorscale=DIVERGING,
        hoverinfo="skip",
        colorbar={
            "title": {"text": of},
            "tickvals": [0, 127.5, 255],
            "ticktext": [f"−{said(most)}", "0", said(most)],
            "thickness": 10,
        },
    )


def read(result: Memory) -> str:
    """What was read of a file."""
    facts = result.facts
    if result.kind == "none":
        return "A stand-in: choose a file or draw a curve to see your own."
    if result.kind == "sound":
        text = f"{facts['samples'] / facts['rate']:.4g} s of sound at {facts['rate']} Hz, {facts['bits']:g} bits, {facts['channels']:g} channels."
        return text + (" Its header did not say how long it is; it was read to the end." if facts["unclosed"] else "")
    if result.kind == "table":
        return f"{facts['rows']:,} rows of {facts['columns']:g} columns were read."
    return ""


def grown(result: Memory) -> str:
    """What the discretisation does to the state, where it grows."""
    worth = f"(condition of the eigenvectors of A: {result.condition:.1e})"
    if result.growth > 1 + 1e-9:
        return f"Unstable: each step multiplies by up to {result.growth:.3g}. Take a smaller N, more samples or another method {worth}."
    if result.peak > 100:
        return f"In the first steps the state grows to {result.peak:.0e} times the signal {worth}."
    return ""


def draw_memory(result: Memory) -> list:
    """The signal, what is recalled of it at each moment, and the N numbers over time."""
    low, high = float(result.values.min()), float(result.values.max())
    room = 0.35 * (high - low) or 1.0
    floor = low - room
    every = np.unique(np.linspace(0, len(result.weight) - 1, 40).round().astype(int))
    height = (floor + 0.8 * room * result.weight[every]).astype(np.float32)
    frames = []  # later frames carry only what changes: the browser keeps the rest, and building them is most of the work
    for end, past, recalled in zip(result.ends, result.past, result.recalled, strict=True):
        seen = past >= 0
        line = np.clip(recalled[seen], low - 20 * room, high + 20 * room)
        now = np.array([end, end])
        frames.append([{"x": past[seen], "y": line}, {"x": now}, {"x": past[every]}])
    start = len(frames) - 1
    unit = f" ({result.unit})" if result.unit else ""
    shown = (
        go.Scatter(frames[start][0], mode="lines", line={"color": COLORS[1], "width": 2.5}, name="recalled"),
        go.Scatter(
            frames[start][1], y=[floor, high + room], mode="lines", line={"color": GREY, "width": 1}, name="now"
        ),
        go.Scatter(
            frames[start][2], y=height, mode="lines", line={"color": COLORS[2]}, name="weight", hoverinfo="skip"
        ),
        go.Scatter(
            x=result.time,
            y=result.values,
            mode="lines",
            line={"color": COLORS[0], "width": 1},
            opacity=0.75,
            name="signal",
        ),
    )
    drawn = figure(shown, x=f"time t{unit}", y="u(t)", height=460)
    drawn.update_xaxes(range=[0, float(result.time[-1])])
    drawn.update_yaxes(range=[floor, high + room])
    scrubbed(drawn, frames, [f"{end:.3g}" for end in result.ends], "t =", start)
    drawn.layout.sliders[0].currentvalue.xanchor = "right"
    numbers = figure(
        [heat(result.coefficients, x=result.coefficient_time, y=np.arange(result.order), of="x<sub>n</sub>")],
        x=f"time t{unit}",
        y="coefficient n",
        height=320,
    )
    share = float(result.error[-1]) / max(result.scale, 1e-12)
    text = (
        f"**{short(MEASURES[result.measure])}, N = {result.order}, {METHODS[result.method]}.** At the end the memory is off by {said(float(result.error[-1]))} "
        f"(root mean square over the past it covers), {said(100 * share)}% of the signal's own size."
    )
    return [drawn, numbers, Prose(" ".join(filter(None, [text, read(result), grown(result)])))]


def draw_orders(result: Orders) -> list:
    """Error against N, with the best each basis could do."""
    drawn = figure(x="numbers kept, N", y="root mean square error ÷ signal's", height=460)
    alike = [np.isclose(result.floor, floor, rtol=1e-4).all(1).nonzero()[0].tolist() for floor in result.floor]
    for i, same in enumerate(alike):
        if i > same[0]:
            continue  # one floor of several measures is drawn once, in nobody's colour
        names = " and ".join(short(names_of(result)[j]) for j in same)
        drawn.add_trace(
            go.Scatter(
                x=result.orders,
                y=result.floor[i],
                mode="lines",
                line={"color": COLORS[i % len(COLORS)] if len(same) == 1 else GREY, "width": 5},
                opacity=0.3,
                name=f"best for {names}",
                showlegend=len(same) > 1,
            )
        )
    for i, name in enumerate(names_of(result)):
        color = COLORS[i % len(COLORS)]
        drawn.add_trace(
            go.Scatter(
                x=result.orders,
                y=result.error[i],
                mode="lines+markers",
                line={"color": color, "width": 2},
                marker={"size": 5},
                name=short(name),
            )
        )
    drawn.update_xaxes(type="log", tickvals=[2, 4, 8, 16, 32, 64, 96])
    top = min(10.0, float(result.error.max()))
    drawn.update_yaxes(
        type="log",
        dtick=1,
        exponentformat="power",
        range=[math.log10(max(result.floor.min(), 1e-8)) - 0.2, math.log10(max(top, 1)) + 0.1],
    )
    rows = [
        [short(name), *(said(float(result.error[i, j])) for j in (2, 6, 9)), said(float(result.floor[i, 9]))]
        for i, name in enumerate(names_of(result))
    ]
    columns = ("measure", *(f"N = {result.orders[j]}" for j in (2, 6, 9)), f"best at {result.orders[9]}")
    return [drawn, Table(columns, rows, f"Error of the memory, {METHODS[result.method]}")]


def draw_steps(result: Steps) -> list:
    """Error against the number of steps, and the size of the state on the way."""
    drawn = figure(x="steps K over the whole signal", y="error of the state", height=400)
    transient = figure(x="step k (of 1,024)", y="length of the state |x<sub>k</sub>|", height=360)
    for i, name in enumerate(METHODS[method] for method in result.methods):
        line = {"color": COLORS[i % len(COLORS)], "width": 2}
        brief = name.split(" (")[0]
        drawn.add_trace(
            go.Scatter(
                x=result.samples, y=result.error[i], mode="lines+markers", line=line, marker={"size": 6}, name=brief
            )
        )
        transient.add_trace(go.Scatter(x=np.arange(1, 1025), y=result.size[i], mode="lines", line=line, name=brief))
    drawn.update_xaxes(type="log", tickvals=list(result.samples))
    drawn.update_yaxes(
        type="log", exponentformat="power", dtick=1, range=[math.log10(max(result.error.min(), 1e-8)) - 0.3, 2]
    )
    transient.update_xaxes(type="log", dtick=1)
    transient.update_yaxes(type="log", exponentformat="power")
    rows = [
        [name, said(float(result.error[i, -1])), said(float(result.size[i].max()))]
        for i, name in enumerate(result.methods)
    ]
    text = (
        f"{short(MEASURES[result.measure])} at N = {result.order}; the eigenvectors of A have condition number {said(result.condition)}, "
        "so nothing here diagonalises A."
    )
    if short(MEASURES[result.measure]) == "Fourier-LegS":
        text = (
            f"Fourier-LegS at N = {result.order}; the eigenvectors of A have condition number {said(result.condition)}."
        )
    return [drawn, transient, Table(("discretisation", "error at K = 1,024", "largest state"), rows), Prose(text)]


def draw_matrices(result: Matrices) -> list:
    """A, its spectrum, its impulse response, and the measure."""
    matrix = figure([heat(result.A, of="A<sub>nk</sub>")], x="k", y="n", height=380)
    matrix.update_yaxes(autorange="reversed")
    time = "ln(T/t<sub>0</sub>), impulse at t<sub>0</sub>" if result.scaled else "time (windows)"
    spectrum = figure(
        [go.Scatter(x=result.real, y=result.imag, mode="markers", marker={"color": COLORS[0], "size": 7}, name="λ")],
        x="Re λ",
        y="Im λ",
        height=340,
    )
    impulse = figure(x=time, y="state after an impulse", height=340)
    for n, row in enumerate(result.impulse):
        impulse.add_trace(
            go.Scatter(
                x=result.time, y=row, mode="lines", line={"color": COLORS[n % len(COLORS)]}, name=f"x<sub>{n}</sub>"
            )
        )
    weight = figure(
        [
            go.Scatter(
                x=result.age, y=result.weight, mode="lines", fill="tozeroy", line={"color": COLORS[2]}, name="weight"
            )
        ],
        x="age, of the time gone by" if result.scaled else "age (windows)",
        y="weight of the past",
        height=260,
    )
    text = (
        f"**{MEASURES[result.measure]}, N = {result.order}.** The eigenvectors of A have condition number {said(result.condition)}"
        + (": A is not diagonalisable at all." if result.condition >= 1e300 else ".")
    )
    if 1e12 < result.condition < 1e300:
        text += (
            " Whatever is computed through them in double precision is noise; the eigenvalues themselves are drawn "
            + (
                "from the diagonal of the triangle."
                if short(MEASURES[result.measure]) == "LegS"
                else "as they come, and are as uncertain."
            )
        )
    return [weight, matrix, spectrum, impulse, Prose(text)]


def draw_forgetting(result: Forgetting) -> list:
    """Error at each age."""
    drawn = figure(x="age, of the whole signal", y="mean square error ÷ that of recalling nothing", height=460)
    for i, name in enumerate(names_of(result)):
        drawn.add_trace(
            go.Scatter(
                x=result.age,
                y=result.error[i],
                mode="lines",
                line={"color": COLORS[i % len(COLORS)], "width": 2},
                name=short(name),
            )
        )
    across(drawn, y=1, line={"width": 1, "dash": "dot", "color": GREY})
    drawn.update_yaxes(
        type="log", exponentformat="power", dtick=1, range=[max(-8, math.log10(result.error.min()) - 0.3), 1]
    )
    drawn.update_xaxes(range=[0, 1])
    return [drawn]


def draw_kernels(result: Kernels) -> list:
    """S4's kernel with and without its low-rank term, beside S4D."""
    drawn = figure(x="time t", y="kernel K(t)", height=440)
    lines = (
        (result.recurrent, "recurrence", {"color": COLORS[0], "width": 5}, 0.35),
        (result.cauchy, "S4: Cauchy sums", {"color": COLORS[0], "width": 1.5}, 1),
        (result.uncorrected, "no low-rank term", {"color": COLORS[3], "width": 1.5, "dash": "dot"}, 1),
        (result.diagonal, "S4D: B/2", {"color": COLORS[1], "width": 1.5, "dash": "dash"}, 1),
    )
    for values, name, line, opacity in lines:
        drawn.add_trace(go.Scatter(x=result.time, y=values, mode="lines", line=line, opacity=opacity, name=name))
    poles = figure(
        [
            go.Scatter(
                x=result.pole_imag,
                y=result.pole_weight,
                mode="markers",
                marker={"color": COLORS[0], "size": 6},
                name="λ = −½ + iω",
            )
        ],
        x="ω, where λ = −½ + iω",
        y="|C<sub>n</sub> B<sub>n</sub>|",
        height=280,
    )
    rows = [
        ["kernel: recurrence − Cauchy sums", f"{result.kernel_gap:.1e}"],
        ["output on noise: recurrence − convolution", f"{result.output_gap:.1e}"],
        ["S + Sᵀ, largest entry", f"{result.skew_gap:.1e}"],
    ]
    title = f"N = {result.order}, L = {result.length:,}, Δ = {said(result.step)}"
    return [drawn, poles, Table(("difference", "largest"), rows, title)]


def draw_rational(result: Rational) -> list:
    """RTF's kernel by one FFT and by the companion recurrence; poles and gain."""
    drawn = figure(
        [
            go.Scatter(
                x=result.step,
                y=result.recurrent,
                mode="lines",
                line={"color": COLORS[0], "width": 5},
                opacity=0.35,
                name="recurrence",
            ),
            go.Scatter(
                x=result.step, y=result.fft, mode="lines", line={"color": COLORS[0], "width": 1.5}, name="one FFT"
            ),
        ],
        x="step k",
        y="kernel K<sub>k</sub>",
        height=340,
    )
    last = int(np.flatnonzero(np.abs(result.fft) > 1e-3 * np.abs(result.fft).max())[-1])
    drawn.update_xaxes(range=[0, min(result.length, 1.2 * last + 8)])
    turn = np.linspace(0, 2 * math.pi, 121)
    poles = figure(
        [
            go.Scatter(
                x=np.cos(turn).astype(np.float32),
                y=np.sin(turn).astype(np.float32),
                mode="lines",
                line={"color": GREY, "width": 1},
                name="|λ| = 1",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=result.pole_real,
                y=result.pole_imag,
                mode="markers",
                marker={"color": COLORS[1], "size": 7},
                name="poles",
            ),
        ],
        x="Re λ",
        y="Im λ",
        height=380,
    )
    poles.update_yaxes(scaleanchor="x", range=[-1.1, 1.1])
    poles.update_xaxes(range=[-1.1, 1.1], constrain="domain")
    gain = figure(
        [go.Scatter(x=result.frequency, y=result.gain, mode="lines", line={"color": COLORS[2]}, name="|H|")],
        x="frequency (cycles a step)",
        y="gain |H| (dB)",
        height=280,
    )
    rows = [
        ["kernel: one FFT − recurrence", f"{result.kernel_gap:.1e}"],
        ["output: state-free − companion form", f"{result.output_gap:.1e}"],
        ["largest |pole|", f"{result.radius:.6f}"],
    ]
    return [
        drawn,
        poles,
        gain,
        Table(("", "measured"), rows, f"{MODELS[result.model]}, N = {result.order}, L = {result.length:,}"),
    ]


EXHIBIT = Exhibit(
    slug="hippo",
    title="HiPPO, S4, RTF",
    summary="A whole past kept in N numbers, updated sample by sample, and the two tricks that made such memories fast.",
    sources=(
        ("Su, Revisiting SSM (1): linear systems and HiPPO", "https://kexue.fm/archives/10114"),
        ("Su, Revisiting SSM (2): what HiPPO left open", "https://kexue.fm/archives/10137"),
        ("Su, Revisiting SSM (3): computing S4", "https://kexue.fm/archives/10162"),
        ("Su, Revisiting SSM (4): rational generating functions", "https://kexue.fm/archives/10180"),
        ("Gu et al., HiPPO", "https://arxiv.org/abs/2008.07669"),
        ("Gu, Goel, Ré, S4", "https://arxiv.org/abs/2111.00396"),
        ("Gu et al., How to Train Your HiPPO", "https://arxiv.org/abs/2206.12037"),
        ("Gu et al., S4D", "https://arxiv.org/abs/2206.11893"),
        ("Parnichkun et al., RTF", "https://arxiv.org/abs/2405.06147"),
        ("Voelker, Kajić, Eliasmith, Legendre Memory Units", ""),
    ),
    views=(
        View(
            slug="memory",
            title="A past in N numbers",
            caption=(
                "The blue signal is read once, from left to right, and only $N$ numbers are kept. Orange is what they still say "
                "about the past at the moment “now”; green is how much the measure cares about each part of it. Drag the slider: "
                "LegS stretches one polynomial over everything so far, the others slide a window along or let the past fade. "
                "Below, the numbers themselves over time (colour by square root, so that small ones show)."
            ),
            compute=memory,
            controls={
                "signal": SIGNAL,
                "formula": FORMULA,
                "upload": UPLOAD,
                "drawing": DRAWING,
                "measure": MEASURE,
                "order": ORDER,
                "method": METHOD,
                "samples": SAMPLES,
                "window": WINDOW,
                "seed": SEED,
            },
            draw=draw_memory,
        ),
        View(
            slug="orders",
            title="Error against N",
            caption=(
                "Thin lines: the error of the memory at the end of the signal. Broad pale lines: the least that any $N$ numbers "
                "could reach with the same functions, by least squares (grey where two measures share it). Those of the polynomials flatten at the "
                "stairs of the samples, each held for a step: at 0.011 for two sines in 1,536 samples, at 0.004 in 4,096. With zero-order hold "
                "LegS lies on its own floor: read sample by sample, it is still the best polynomial of degree $N-1$. The windows must guess what leaves them: LegT guesses well, a Fourier series with $2/w$ slowly better, "
                "with $1/w$ never."
            ),
            compute=orders,
            controls={
                "signal": SIGNAL,
                "formula": FORMULA,
                "upload": UPLOAD,
                "drawing": DRAWING,
                "measures": SEVERAL,
                "method": METHOD,
                "samples": SAMPLES,
                "window": WINDOW,
            },
            draw=draw_orders,
            seconds=0.3,
        ),
        View(
            slug="steps",
            title="Error against step size",
            caption=(
                "Above, how far the final state is from the exact one as the same signal is cut into more steps; below, how long the state "
                "vector gets on the way. Zero-order hold is exact for an input that is held over each step, so its error is only that of cutting the signal "
                "into steps. For LegS, forward Euler's first steps are far too long for $A/t$, and the state is thrown up, the higher the "
                "larger $N$ (the table says how far). In exact arithmetic its factors $I + A/j$, $j = 1 \\dots N$, multiply to zero (Cayley and Hamilton), and nothing of the start is left; in double precision rounding errors of that growth remain for a while. The final error is the method's own."
            ),
            compute=steps,
            controls={
                "signal": SIGNAL,
                "formula": FORMULA,
                "upload": UPLOAD,
                "drawing": DRAWING,
                "measure": MEASURE,
                "order": ORDER,
                "window": WINDOW,
                "form": Choice(
                    "How LegS spreads A/t",
                    {"blog": "Blog: A/k before the step, A/(k+1) after", "older": "Older: A/(k+1) on both sides"},
                    when={"measure": ["legs"]},
                ),
                "alpha": Range(
                    "α of the generalised bilinear", 0, 1, step=0.05, help="Drawn where it is not 0, ½ or 1."
                ),
            },
            draw=draw_steps,
            seconds=0.3,
        ),
        View(
            slug="matrices",
            title="The system itself",
            caption=(
                "$x' = Ax + Bu$ (for LegS $tx' = Ax + Bu$): the measure it stands for, $A$, its eigenvalues and what an impulse leaves "
                "in the first six numbers. Where the window is all the past, that depends on $\\ln(T/t_0)$ alone: by what factor time has "
                "grown since the impulse came at $t_0$. The eigenvalues of LegS are $-1 \\dots -N$, and the condition of its eigenvectors grows exponentially with $N$; LagT has one eigenvector only; the Fourier systems have "
                "eigenvectors that are well conditioned."
            ),
            compute=matrices,
            controls={"measure": MEASURE, "order": ORDER},
            draw=draw_matrices,
        ),
        View(
            slug="forgetting",
            title="Forgetting",
            caption=(
                "How well each moment of the past is recalled at the end, over 32 random signals: the mean square error there, divided by that of recalling "
                "nothing (1, dotted). "
                "A window is sharp inside and blank outside, which is 1 exactly; LegS spreads its $N$ numbers over everything, best at the very ends."
            ),
            compute=forgetting,
            controls={
                "measures": SEVERAL,
                "order": ORDER,
                "window": WINDOW,
                "detail": Range("Periods in the signal, at most", 1, 100, step=1),
                "seed": SEED,
            },
            draw=draw_forgetting,
        ),
        View(
            slug="s4",
            title="S4's kernel",
            caption=(
                "S4 runs LegS without the $1/t$, here read so as to recall the input a fixed delay ago: a bump in the kernel. "
                "$A = S - \\frac12 - PP^\\top$ with $S$ skew, so in the eigenvectors of $S$ the whole kernel is four Cauchy sums and an FFT, equal to "
                "the recurrence to rounding. Leave $PP^\\top$ out and the kernel is another; halve $B$ too, and S4D's kernel follows, ringing."
            ),
            compute=kernels,
            controls={
                "order": ORDER,
                "length": Range("Length L", 64, 4096, step=64),
                "reach": Range("Time covered", 0.1, 10, step=0.1),
                "delay": Range("Delay recalled", 0, 5, step=0.05),
            },
            draw=draw_kernels,
        ),
        View(
            slug="rtf",
            title="RTF: a rational function",
            caption=(
                "Any such model is a ratio of two polynomials, $b(z)/a(z)$. Give it as $(a, b)$ and the kernel is one division of FFTs, whatever "
                "$N$; the companion matrix runs it step by step. From a given $(A, B, C)$ it works only while the characteristic polynomial "
                "survives floating point: for HiPPO in 1,024 steps up to $N = 7$."
            ),
            compute=rational,
            controls={
                "model": Choice("Model", MODELS),
                "order": ORDER,
                "length": Range("Length L", 64, 4096, step=64),
                "damping": Range(
                    "Largest |pole|",
                    0.1,
                    0.999,
                    step=0.001,
                    help="Below 10^(−16/N) the last coefficients are lost to rounding, and the poles with them.",
                    when={"model": ["resonators"]},
                ),
                "seed": SEED,
            },
            draw=draw_rational,
        ),
    ),
    stories=(
        Story(
            "Everything, in 32 numbers",
            "LegS keeps one polynomial of degree 31 and stretches it over all that has happened. Drag “now” to the left: early on it is nearly exact; as "
            "the past grows the same 32 numbers have to cover more, and the fine wiggles go first, in the middle before the ends.",
            "memory",
            {"signal": "waves", "measure": "legs", "order": 32},
        ),
        Story(
            "A window that slides",
            "LegT keeps the last third only, and keeps it well. What leaves the window has to be guessed from the numbers themselves, and its guess is "
            "the Padé approximant of a pure delay.",
            "memory",
            {"signal": "chirp", "measure": "legt", "order": 32},
        ),
        Story(
            "1/w or 2/w: the blog's first example",
            "To let go of u(T−w) one needs its value, and the series at its own end seems to give it. But a Fourier series at a jump converges to the mean of "
            "both sides; taking that into account turns 1/w into 2/w, and an error that stays at 0.48 of the signal into one that has "
            "fallen to 0.04 at N = 96.",
            "orders",
            {"signal": "waves", "measures": ("fout", "fout_blog"), "window": 0.33},
        ),
        Story(
            "A mistake that is a measure",
            "The form with 1/w is no failed window: it is a ring that keeps a third of what it overwrites, so the past fades by thirds, period by period. "
            "At half the speed it is exactly FouD, the decaying Fourier measure.",
            "matrices",
            {"measure": "foud", "order": 33},
        ),
        Story(
            "Forward Euler: 10⁴⁴ and back",
            "At N = 64 the first steps of forward Euler throw the state up to about 10⁴⁴. In exact arithmetic nothing of that is left two steps after N; in double precision rounding keeps the state above 10 until step 94. The final state is 87 % off, by the method's own error. "
            "Bilinear and zero-order hold never leave the scale of the signal.",
            "steps",
            {"signal": "waves", "measure": "legs", "order": 64},
        ),
        Story(
            "What the low-rank term does",
            "S4's matrix is normal but for one outer product. Without it the poles are the same distance from the axis and the kernel's bump comes at "
            "the right place, yet twice as large and rough; S4D's B/2 makes up for most of that.",
            "s4",
            {"order": 64, "delay": 0.7},
        ),
        Story(
            "Polynomials forget their roots",
            "Going from HiPPO to a transfer function means writing down a polynomial whose roots lie close together, and each further N costs about two digits: "
            "6e-14 off at N = 2, 5e-6 at N = 6, 0.001 at N = 7; from N = 8 on it is not even stable. Training a and b directly, as RTF does, never meets the problem.",
            "rtf",
            {"model": "legs", "order": 6},
        ),
    ),
    checks=CHECKS,
)
