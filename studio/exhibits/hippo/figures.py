"""What the views of HiPPO, S4 and RTF draw."""

from __future__ import annotations

import math

import numpy as np

from engines.hippo.experiments import MOST, Matrices, Memory, Orders, Steps
from engines.hippo.models import Kernels, Rational
from engines.hippo.selection import Copying
from engines.hippo.timescales import Forgetting, Timescales
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
    line,
    points,
    scrub,
    short,
)
from studio.language import drawn, raw, say
from studio.panels import Folded, Prose, Table

MEASURES = {
    "legs": "LegS",
    "legt": "LegT",
    "lmu": "LMU",
    "lagt": "LagT",
    "fout": "FouT 2/w",
    "fout_blog": "FouT 1/w",
    "foud": "FouD",
    "fous": "Fourier-LegS",
}
# a measure has its colour in every view
TINT = dict(zip(MEASURES, (COLORS[i] for i in (0, 1, 7, 6, 2, 3, 4, 5)), strict=True))
METHODS = {
    "zoh": "Zero-order hold (exact)",
    "bilinear": "Bilinear",
    "backward": "Backward Euler",
    "forward": "Forward Euler",
    "gbt": "Generalised bilinear",
}
MODELS = {
    "resonators": "Resonators",
    "memory": "A delay line (a = 0, how RTF starts)",
    "legs": "HiPPO-LegS, from (A, B, C)",
}


def finite(value: float) -> float:
    """A number, infinite where the engine has MOST for what overflowed."""
    return math.inf if value >= MOST else float(value)


def signed_heat(fig: Figure, values: np.ndarray, bar: str, hover: str, **axes) -> None:
    """A heat map of signed values, coloured by their square root, so that small ones show; one byte each."""
    most = max(float(np.abs(values).max()), 1e-30)
    scaled = values.astype(np.float64) / most
    level = np.round(127 * np.sign(scaled) * np.sqrt(np.abs(scaled))).astype(np.int8)
    trace = heat(fig, level, scale=DIVERGING, low=-127, high=127, bar=bar, hover=hover, **axes)
    trace["colorbar"] |= {"tickvals": [-127, 0, 127], "ticktext": [short(-most, 2), "0", short(most, 2)]}


def draw_memory(result: Memory) -> list:
    """The signal, what is recalled of it at each moment, and the N numbers over time."""
    low, high = float(result.values.min()), float(result.values.max())
    room = 0.35 * (high - low) or 1.0
    floor = low - room
    every = np.unique(np.linspace(0, len(result.weight) - 1, 40).round().astype(int))
    round_trip = np.concatenate([every, every[::-1]])  # along the weight, and back along the foot
    frames = []  # later frames carry only what changes: the browser keeps the rest
    for end, past, recalled in zip(result.ends, result.past, result.recalled, strict=True):
        seen = past >= 0
        curve = np.clip(recalled[seen], low - 20 * room, high + 20 * room)
        frames.append([{"x": past[seen], "y": curve}, {"x": np.array([end, end])}, {"x": past[round_trip]}])
    time = "time t (s)" if result.unit else "time t"
    fig = figure(x=time, y="u(t)", height=480)
    line(fig, frames[-1][0]["x"], frames[-1][0]["y"], "recalled", TINT[result.measure], width=3)
    line(fig, frames[-1][1]["x"], [floor, high + room], "now", GREY, width=1, hover="%{x:.4~g}", legend=False)
    height = np.concatenate([floor + 0.8 * room * result.weight[every], np.full(len(every), floor)])
    line(
        fig,
        frames[-1][2]["x"],
        height,
        "weight of the past",
        GREY,
        width=1,
        opacity=0.5,
        fill="toself",
        hover="%{x:.4~g}",
    )
    line(fig, result.time, result.values, "signal", INK, width=1, opacity=0.8)
    fig.x(range=[0, float(result.time[-1])]).y(range=[floor, high + room])
    scrub(fig, frames, [short(end) for end in result.ends], "t =", once=True)
    error, share = float(result.error[-1]), float(result.error[-1]) / max(result.scale, 1e-12)
    fig.alt = say(
        "{measure}: error at the end {share} % of the signal.",
        measure=MEASURES[result.measure],
        share=short(100 * share),
    )
    numbers = figure(x=time, y="coefficient n", height=320)
    signed_heat(
        numbers,
        result.coefficients,
        "x<sub>n</sub>",
        "n = %{y}, t = %{x:.3~g}",
        x=result.coefficient_time,
        y=np.arange(result.order),
    )
    text = say(
        "**{measure}, N = {order}, {method}.** At the end the root mean square error over the past that is covered is {error}: "
        "{share} % of the signal's root mean square.",
        measure=MEASURES[result.measure],
        order=result.order,
        method=drawn(METHODS[result.method]),
        error=short(error),
        share=short(100 * share),
    )
    return [fig, *map(Prose, (text, *source_notes(result), *growth_notes(result))), numbers]


def source_notes(result: Memory) -> list[str]:
    """What was read of a visitor's file."""
    facts = result.facts
    if result.kind == "none":
        return [say("This is a stand-in: choose a file or draw a curve to see your own.")]
    if result.kind == "sound":
        sound = say(
            "Read: {seconds} s of sound, {rate} samples per second, {bits} bits, channels: {channels} (averaged).",
            **facts | {"seconds": short(facts["samples"] / facts["rate"])},
        )
        unclosed = say("The file's header has no true length, as when a recorder is killed; it was read to its end.")
        return [sound, unclosed] if facts["unclosed"] else [sound]
    if result.kind == "table":
        template = (
            "Read: {rows} rows of one column, taken for values at equal distances; heading lines: {headings}."
            if facts["columns"] == 1
            else "Read: {rows} rows of times and values, brought to equal distances; times count from the first; heading lines: {headings}."
        )
        return [say(template, **facts)]
    return []


def growth_notes(result: Memory) -> list[str]:
    """What the discretisation does to the state, where it grows."""
    if result.growth > 1 + 1e-9:
        template = (
            "This method is unstable here: each step multiplies by up to {growth}. Take a smaller N, more samples or another "
            "method. (Condition number of the eigenvectors of A: {condition}.)"
        )
    elif result.peak > 100:
        template = "In the first steps the state grows to {peak} times the signal. (Condition number of the eigenvectors of A: {condition}.)"
    else:
        return []
    values = {"growth": result.growth, "peak": result.peak, "condition": result.condition}
    return [say(template, **{name: short(finite(value), 3) for name, value in values.items()})]


def draw_orders(result: Orders) -> list:
    """Error against N, with the best each basis could do."""
    fig = figure(x="numbers kept, N", y="RMSE / RMS of the signal", height=480, log="xy")
    alike = [np.flatnonzero(np.isclose(result.floor, floor, rtol=1e-4).all(1)).tolist() for floor in result.floor]
    for i, same in enumerate(alike):
        if i == same[0]:  # one floor of several measures is drawn once, in nobody's colour
            names = raw(", ".join(MEASURES[result.measures[j]] for j in same))
            color = TINT[result.measures[i]] if len(same) == 1 else GREY
            name = say("least possible: {names}", names=names)
            line(fig, result.orders, result.floor[i], name, color, width=6, opacity=0.3, legend=len(same) > 1)
    for measure, error in zip(result.measures, result.error, strict=True):
        line(fig, result.orders, error, raw(MEASURES[measure]), TINT[measure], marks=5, hover="N = %{x}: %{y:.3~g}")
    fig.x(tickvals=[2, 4, 8, 16, 32, 64, 96], ticktext=["2", "4", "8", "16", "32", "64", "96"])
    top = max(1.0, min(10.0, float(result.error.max())))
    fig.y(span=(max(float(result.floor.min()), 1e-8) / 1.6, 1.3 * top))
    last = ", ".join(f"{MEASURES[m]} {short(e[-1])}" for m, e in zip(result.measures, result.error, strict=True))
    fig.alt = say("At N = {order}: {errors}.", order=int(result.orders[-1]), errors=last)
    shown = (2, 6, 9)
    rows = [
        [raw(MEASURES[m]), *(float(e[j]) for j in shown), float(f[-1])]
        for m, e, f in zip(result.measures, result.error, result.floor, strict=True)
    ]
    columns = [
        "measure",
        *(f"N = {result.orders[j]}" for j in shown),
        say("least possible, N = {order}", order=int(result.orders[-1])),
    ]
    return [fig, Table(columns, rows, say("RMSE / RMS of the signal, {method}", method=drawn(METHODS[result.method])))]


def draw_steps(result: Steps) -> list:
    """Error against the number of steps, and the size of the state on the way."""
    fig = figure(x="number of steps K", y="relative error of the final state", height=440, log="xy")
    size = figure(x="step k of K = 1,024", y="length of the state |x<sub>k</sub>|", height=360, log="xy")
    step = np.arange(1, result.size.shape[1] + 1)
    rows = []
    for method, error, lengths, color in zip(result.methods, result.error, result.size, COLORS, strict=False):
        name = METHODS[method].split(" (")[0]
        line(fig, result.samples, error, name, color, marks=6, hover="K = %{x}: %{y:.3~g}")
        line(size, step, np.where(lengths < MOST, lengths, np.nan), name, color, hover="k = %{x}: %{y:.3~g}")
        rows.append([name, float(error[-1]), finite(lengths.max())])
    counts = [int(count) for count in result.samples]
    fig.x(tickvals=counts, ticktext=[short(count) for count in counts])
    fig.y(span=(max(float(result.error.min()), 1e-8) / 2, min(max(2.0, float(result.error.max())), 100.0)))
    across(size, y=result.scale, text="greatest |u|")
    columns = ("discretisation", "error at K = 1,024", "greatest |xₖ|")
    text = say(
        "{measure}, N = {order}. The eigenvectors of A have the condition number {condition}.",
        measure=MEASURES[result.measure],
        order=result.order,
        condition=short(finite(result.condition), 2),
    )
    return [fig, Prose(text), size, Table(columns, rows)]


def draw_matrices(result: Matrices) -> list:
    """A, its spectrum, its impulse response, and the measure."""
    tint = TINT[result.measure]
    matrix = figure(x="column k", y="row n", height=520, square=True)
    signed_heat(matrix, result.A, "A<sub>nk</sub>", "n = %{y}, k = %{x}: %{customdata:.4~g}", customdata=result.A)
    matrix.y(autorange="reversed")
    spectrum = figure(x="Re λ", y="Im λ", height=360)
    points(spectrum, result.real, result.imag, "eigenvalues", tint, size=7, legend=False)
    impulse = figure(
        x="ln(T / t₀)" if result.scaled else "time since the impulse (windows)", y="state after an impulse", height=360
    )
    for n, (row, color) in enumerate(zip(result.impulse, COLORS, strict=False)):
        line(impulse, result.time, row, f"x<sub>{n}</sub>", color)
    weight = figure(
        x="age, of the time gone by" if result.scaled else "age (windows)", y="weight of the past", height=360
    )
    band(weight, result.age, np.zeros_like(result.weight), result.weight, color=tint)
    line(weight, result.age, result.weight, "weight of the past", tint, legend=False)
    condition = finite(result.condition)
    fields = {"measure": MEASURES[result.measure], "order": result.order, "condition": short(condition, 2)}
    if math.isinf(condition):
        text = say(
            "**{measure}, N = {order}.** All eigenvalues are one, with one eigenvector: A cannot be diagonalised.",
            **fields,
        )
    elif condition > 1e12:
        text = say(
            "**{measure}, N = {order}.** The eigenvectors have the condition number {condition}: what is computed through them in "
            "double precision is noise.",
            **fields,
        )
    else:
        text = say("**{measure}, N = {order}.** The eigenvectors have the condition number {condition}.", **fields)
    return [matrix, Prose(text), spectrum, weight, impulse]


def draw_forgetting(result: Forgetting, axes: str = "xy") -> list:
    """Error at each age, and what is left of an impulse."""
    fig = figure(
        x="age (fraction of the signal)", y="mean square error / that of recalling nothing", height=480, log="y"
    )
    for measure, error in zip(result.measures, result.error, strict=True):
        line(fig, result.age, error, raw(MEASURES[measure]), TINT[measure], hover="%{x:.2f}: %{y:.3~g}")
    across(fig, y=1, text="nothing recalled")
    fig.x(range=[0, 1]).y(span=(max(1e-8, float(result.error.min()) / 2), 2.5 * max(1.0, float(result.error.max()))))
    if any(measure not in ("legs", "fous") for measure in result.measures):
        points(fig, [result.window], [1], "window w: drag", INK, size=13, symbol="diamond", hover="w = %{x:.2f}")
        drag(fig, len(fig.data) - 1, x="window")
    left = figure(x="time since the impulse", y="what is left of it", height=400, log=axes)
    for measure, kept in zip(result.measures, result.kept, strict=True):
        line(left, result.elapsed, kept, raw(MEASURES[measure]), TINT[measure], hover="%{x:.3~g}: %{y:.3~g}")
    left.y(span=(1e-8, 1.5))
    if axes == "xy":
        line(left, result.elapsed, 1 / (1 + result.elapsed), "1/t", GREY, width=1, dash="dot")
    else:
        left.x(range=[0, 64])
    after = [
        raw(
            f"{MEASURES[m]} {short(result.elapsed[np.flatnonzero(k < 1e-6)[0]], 2)}"
            if (k < 1e-6).any()
            else f"{MEASURES[m]} > 10⁶"
        )
        for m, k in zip(result.measures, result.kept, strict=True)
    ]
    text = say("Less than a millionth is left after so many units of time: {after}.", after=raw(", ".join(after)))
    return [fig, left, Prose(text)]


def draw_timescales(result: Timescales) -> list:
    """Periods over ages, and the state under stretched time."""
    fig = figure(x="age (samples)", y="period (samples)", height=500, log="xy")
    shown = np.log10(np.clip(result.error, 1e-4, 1))
    ages = result.age.astype(float)
    heat(
        fig,
        shown[-1],
        ages,
        result.period,
        low=-4,
        high=0,
        bar="log₁₀ of the error",
        hover="%{x:.0f}, %{y:.0f}: 10^%{z:.2f}",
        reversescale=True,
    )
    line(
        fig,
        [ages[0], result.moment[-1]],
        [result.finest[-1]] * 2,
        "finest period",
        COLORS[1],
        dash="dash",
        hover="%{y:.3~g}",
    )
    line(
        fig,
        [result.moment[-1]] * 2,
        [result.period[0], result.period[-1]],
        "first sample",
        INK,
        width=1,
        hover="%{x:.0f}",
    )
    frames = [
        [{"z": z}, {"x": [ages[0], moment], "y": [finest] * 2}, {"x": [moment, moment]}]
        for z, moment, finest in zip(shown, result.moment, result.finest, strict=True)
    ]
    fig.x(span=(1.4, 560)).y(span=(float(result.period[0]), float(result.period[-1])))
    scrub(fig, frames, [short(moment) for moment in result.moment], "samples read:")
    stretched = figure(x="stretch of time", y="relative change of the state", height=380, log="xy")
    other = result.stretch != 1
    for name, change in zip(result.measures, result.change[:, other], strict=True):
        if name == "bilinear":
            line(stretched, result.stretch[other], change, "LegS, bilinear", TINT["legs"], dash="dot", marks=5)
        else:
            line(stretched, result.stretch[other], change, raw(MEASURES[name]), TINT[name], marks=5)
    ticks = [short(r) if r >= 1 else f"1/{round(1 / r)}" for r in result.stretch]
    stretched.x(tickvals=result.stretch.tolist(), ticktext=ticks).y(span=(1e-16, 10))
    worst = float(result.change[result.measures.index("legs"), other].max())
    text = say(
        "**{measure}, N = {order}.** Finest period {finest} samples after {moment}. Under stretched time the state of LegS changes by "
        "{change} at most: rounding.",
        measure=MEASURES[result.measure],
        order=result.order,
        finest=short(result.finest[-1]),
        moment=short(int(result.moment[-1])),
        change=short(worst, 2),
    )
    return [fig, Prose(text), stretched]


def draw_copying(result: Copying) -> list:
    """The error against the step of a blank, one sequence, and its states."""
    fig = figure(x="a blank's step over a token's", y="mean square error of a token", height=460, log="xy")
    ratios = np.where(result.ratios == 0, 3e-5, result.ratios)
    for size, error, color in zip(result.sizes.tolist(), result.error, COLORS, strict=False):
        shown = np.where(error > 3e-12, error, 1e-14)  # what is rounding lies below the figure
        line(fig, ratios, shown, raw(f"N = {size}"), color, marks=4, hover="%{x:.2~g}: %{y:.3~g}")
    bound = float(result.bound.mean())
    line(fig, [ratios[0], 1], [bound, bound], "least of any fixed step", GREY, width=1.5, dash="dot")
    points(
        fig,
        [max(result.ratio, 3e-5)],
        [max(result.here, 1e-12)],
        say("N = {order}: drag", order=result.order),
        INK,
        size=13,
        symbol="diamond",
    )
    drag(fig, len(fig.data) - 1, x="ratio")
    ticks = [1e-4, 1e-3, 1e-2, 0.1, 1]
    fig.x(tickvals=[3e-5, *ticks], ticktext=["0", *map(short, ticks)], span=(2.2e-5, 1.4)).y(span=(1e-12, 3))
    read = figure(x="token", y="value", height=320)
    place, truth = np.arange(1, result.tokens + 1), result.sequence[result.place]
    for values, name, color, shift in (
        (truth, "token", GREY, -0.25),
        (result.read[0], "read, selective", COLORS[0], 0),
        (result.read[1], "read, fixed step", COLORS[1], 0.25),
    ):
        bars(read, place + shift, values, name, color, width=0.23)
    read.x(tickvals=place.tolist())
    both = []
    for states, title in zip(
        result.state, ("States over time, selective", "States over time, fixed step"), strict=True
    ):
        drawn_states = figure(x="place in the sequence", y="number n", height=300, title=title)
        signed_heat(drawn_states, states.T, "x<sub>n</sub>", "n = %{y}, k = %{x}")
        both.append(drawn_states)
    text = say(
        "N = {order}, ratio {ratio}: error {here}. At a fixed step as many numbers have {fixed}; no fixed step and no N gets below {bound}. "
        "There are {ways} sets of places.",
        order=result.order,
        ratio=short(result.ratio),
        here=short(result.here),
        fixed=short(float(result.by_token[1].mean())),
        bound=short(bound),
        ways=short(math.comb(result.length, result.tokens)),
    )
    columns = ("token", "error, selective", "error, fixed step", "least of any fixed step")
    rows = list(zip(place.tolist(), *result.by_token, result.bound, strict=True))
    return [fig, Prose(text), read, *both, Folded("Each token", [Table(columns, rows)])]


def draw_kernels(result: Kernels) -> list:
    """S4's kernel with and without its low-rank term, beside S4D."""
    fig = figure(x="time t", y="kernel K(t)", height=480)
    # the wrong one lies beneath, pale: it swings the most
    line(fig, result.time, result.uncorrected, "without the low-rank term", COLORS[3], width=1, opacity=0.3)
    line(fig, result.time, result.diagonal, "S4D: B/2", COLORS[1], width=1.3)
    line(fig, result.time, result.recurrent, "recurrence", COLORS[0], width=8, opacity=0.35)
    line(fig, result.time, result.cauchy, "S4: Cauchy sums", COLORS[0], width=2.5)
    nearest = int(np.abs(result.time - result.delay).argmin())
    height = float(result.cauchy[nearest])
    points(fig, [result.delay], [height], "delay: drag", INK, size=13, symbol="diamond", hover="%{x:.2f}")
    drag(fig, len(fig.data) - 1, x="delay")
    fig.x(range=[0, float(result.time[-1])])
    poles = figure(x="ω, where λ = −½ + iω", y="|C<sub>n</sub> B<sub>n</sub>|", height=320)
    points(poles, result.pole_imag, result.pole_weight, "λ = −½ + iω", COLORS[0], legend=False)
    fig.alt = say("Recurrence and Cauchy sums differ by at most {gap}.", gap=short(result.kernel_gap, 2))
    n, length = result.order, result.length
    rows = [
        ["kernel: recurrence − Cauchy sums", result.kernel_gap],
        ["output on noise: recurrence − convolution", result.output_gap],
        ["S + Sᵀ, greatest entry", result.skew_gap],
    ]
    title = say("N = {order}, L = {length}, Δ = {step}", order=n, length=length, step=short(result.step))
    powers, per_length = float(length * n**3), length * math.log2(length)
    costs = [
        ["powers of A, one by one", raw("N³ L"), powers, length],
        ["recurrence, step by step", raw("N² L"), float(length * n**2), length],
        ["S4: Cauchy sums", raw("N L + L log₂ L"), n * length + per_length, 1],
        ["RTF: FFTs", raw("L log₂ L"), per_length, 1],
    ]
    cost = Table(("way to one kernel", "order of the cost", "here", "steps one after another"), costs)
    note = Prose("`python -m benchmarks.hippo` measures the times.")
    near = figure(x="numbers kept, N", y="RMS difference, relative", height=360, log="xy")
    names = (
        "S4D: B/2",
        "the same, smoothed",
        "S4D-LegS poles, C fitted",
        "S4D-Inv poles, C fitted",
        "S4D-Lin poles, C fitted",
    )
    for gap, name, color, dash in zip(
        result.diagonal_gap,
        names,
        (*COLORS[1:2] * 2, *COLORS[2:3], *COLORS[4:6]),
        (None, "dot", None, None, None),
        strict=True,
    ):
        line(near, result.orders, gap, name, color, dash=dash, marks=5, hover="N = %{x}: %{y:.3~g}")
    near.x(tickvals=result.orders.tolist()).y(span=(1e-8, 3))
    checked = Table(("difference", "greatest"), rows, title)
    return [
        fig,
        near,
        poles,
        Folded("Differences that are rounding", [checked]),
        Folded("Cost against length", [cost, note]),
    ]


def draw_rational(result: Rational) -> list:
    """RTF's kernel by one FFT and by the companion recurrence; poles and gain."""
    fig = figure(x="step k", y="kernel K<sub>k</sub>", height=440)
    line(fig, result.step, result.recurrent, "recurrence", COLORS[0], width=6, opacity=0.3)
    line(fig, result.step, result.fft, "one FFT each way", COLORS[0], width=1.6)
    last = int(np.flatnonzero(np.abs(result.fft) > 1e-3 * np.abs(result.fft).max())[-1])
    fig.x(range=[0, min(result.length, 1.2 * last + 8)])
    fig.alt = say("FFT and recurrence differ by at most {gap}.", gap=short(result.kernel_gap, 2))
    plane = figure(x="Re λ", y="Im λ", height=420, square=True)
    turn = np.linspace(0, 2 * math.pi, 121)
    line(plane, np.cos(turn), np.sin(turn), "|λ| = 1", GREY, width=1)
    points(plane, result.pole_real, result.pole_imag, "poles", COLORS[1], size=7)
    if result.model == "resonators":
        points(plane, [result.radius], [0], "greatest |λ|: drag", INK, size=13, symbol="diamond", hover="%{x:.3f}")
        drag(plane, len(plane.data) - 1, x="damping")
    plane.x(range=[-1.1, 1.1]).y(range=[-1.1, 1.1])
    gain = figure(x="frequency (cycles per step)", y="gain |H| (dB)", height=320)
    line(gain, result.frequency, result.gain, "|H|", COLORS[2], legend=False)
    rows = [
        ["kernel: FFT − recurrence", result.kernel_gap],
        ["output: state-free − companion form", result.output_gap],
        ["greatest |pole|", result.radius],
    ]
    title = say(
        "{model}, N = {order}, L = {length}",
        model=drawn(MODELS[result.model]),
        order=result.order,
        length=result.length,
    )
    return [fig, plane, gain, Table(("", "measured"), rows, title)]
