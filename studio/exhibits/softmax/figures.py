"""Figures of softmax and its alternatives; a map has one colour everywhere."""

from __future__ import annotations

import numpy as np

from engines.softmax.experiments import (
    NAMES,
    Attention,
    Comparison,
    Losses,
    Perturbation,
    Sensitivity,
    SimplexMap,
    Sparsity,
    Speed,
)
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    Figure,
    bars,
    contour,
    drag,
    figure,
    heat,
    label,
    line,
    points,
    short,
)
from studio.language import raw, say
from studio.panels import Piece, Prose, Table, Writing

LABELS = {
    "softmax": "softmax",
    "entmax": "α-entmax",
    "sparsemax": "sparsemax",
    "top_k": "top-k softmax",
    "perturb_max": "perturb-max (uniform noise)",
    "taylor": "Taylor softmax",
    "sigmoid": "normalised sigmoid",
    "margin": "margin softmax",
    "top_p": "top-p softmax",
}
COLOR = dict(zip(NAMES, (*COLORS[:5], COLORS[7], COLORS[5], COLORS[6], INK), strict=True))
NOISES = {"gumbel": "Gumbel", "uniform": "uniform on [0, 1]", "normal": "normal, variance 1"}


def with_scores(drawn: Figure, scores: np.ndarray) -> None:
    """The scores as bars below, which are dragged; their values are the ticks."""
    bars(drawn, np.arange(len(scores)), scores, "score", GREY, axis="2", hover="s = %{y:.4~g}", legend=False)
    drag(drawn, len(drawn.data) - 1, y="scores", item=True)
    drawn.y(domain=[0.37, 1])
    drawn.y2(domain=[0, 0.25], anchor="x", title="score s (drag)", zeroline=True)
    drawn.y2(span=(min(-3.5, 1.2 * scores.min()), max(3.5, 1.2 * scores.max())))
    drawn.x(tickvals=list(range(len(scores))), ticktext=[short(score) for score in scores], anchor="y2")


def draw_compare(result: Comparison, log: bool = False) -> list:
    """Probabilities as grouped bars, one colour a map."""
    drawn = figure(y="probability", height=520, barmode="group", bargap=0.25)
    for name, p in zip(result.maps, result.probabilities, strict=True):
        zeros = [
            "0" if value == 0 else "" for value in p
        ]  # where nothing stands, exactly 0 is told from too small to see
        font = {"color": COLOR[name], "size": 12}
        bars(drawn, np.arange(len(p)), p, LABELS[name], COLOR[name], text=zeros, textfont=font, hover="p = %{y:.4~g}")
    with_scores(drawn, result.scores)
    drawn.y(**({"type": "log", "span": (1e-6, 1.5)} if log else {"span": (0, 1.02)}))
    rows = [
        [LABELS[name], int(size), h, bool(rising), move if move > 1e-9 else 0]
        for name, size, h, rising, move in zip(
            result.maps, result.support, result.entropy, result.monotone, result.shift, strict=True
        )
    ]
    drawn.alt = "; ".join(
        say("{map}: {count} of {n} above 0", map=say(row[0]), count=row[1], n=len(result.scores)) for row in rows
    )
    heads = ("map", "support (entries > 0)", "entropy (nats)", "monotone", "change if 1 is added to all s / T")
    return [drawn, Table(heads, rows)]


def draw_sparsity(result: Sparsity) -> list:
    """Support and entropy over the number of scores, then over temperature."""
    panels = []
    support, entropy = "support (entries > 0), mean", "entropy (nats), mean"
    for x_title, x, lines, y_title in (
        ("number of scores n", result.sizes, result.support_by_size, support),
        ("number of scores n", result.sizes, result.entropy_by_size, entropy),
        ("temperature T", result.temperatures, result.support_by_temperature, support),
        ("temperature T", result.temperatures, result.entropy_by_temperature, entropy),
    ):
        drawn = figure(x=x_title, y=y_title, height=460 if not panels else 340, log="xy" if y_title == support else "x")
        for i, (name, values) in enumerate(zip(result.maps, lines, strict=True)):
            under = any(
                np.allclose(values, other, equal_nan=True) for other in lines[:i]
            )  # a curve that this one would hide
            dash, hover = "dash" if under else None, "%{x:.3~g}: %{y:.3~g}"
            line(drawn, x, values, LABELS[name], COLOR[name], marks=5, dash=dash, hover=hover, legend=not panels)
        panels.append(drawn)
    small, large = (int(np.flatnonzero(result.sizes == size)[0]) for size in (16, 4096))
    rows = [
        [LABELS[name], size[small], size[large], h[small], h[large]]
        for name, size, h in zip(result.maps, result.support_by_size, result.entropy_by_size, strict=True)
    ]
    heads = ("map", "support, n = 16", "support, n = 4,096", "entropy, n = 16", "entropy, n = 4,096")
    return [*panels, Table(heads, rows, say("At T = {temperature}", temperature=short(result.temperature)))]


def draw_simplex(result: SimplexMap) -> list:
    """The simplex in the plane of scores, shaded by the support; the image of a grid and of one point."""
    color, (x, y) = COLOR[result.map], result.point.T
    drawn = figure(x="(s₁ − s₂) / √2", y="(2 s₃ − s₁ − s₂) / √6", height=600, square=True)
    steps = {"start": 1.5, "end": 2.5, "size": 1}
    hover = "%{z} above 0"
    shades = contour(
        drawn, result.support, result.axis, result.axis, contours=steps, opacity=0.35, bar="entries > 0", hover=hover
    )
    shades["line"] = {"width": 0, "smoothing": 0}
    shades["colorbar"] |= {"tickvals": [1, 2, 3]}
    grid = np.concatenate((result.lines, np.full((len(result.lines), 1, 2), np.nan)), axis=1).reshape(-1, 2)
    line(drawn, grid[:, 0], grid[:, 1], "image of a square grid", color, width=1, opacity=0.55, hoverinfo="skip")
    triangle = result.corners[[0, 1, 2, 0]]
    line(drawn, triangle[:, 0], triangle[:, 1], "simplex", GREY, width=1.5, hoverinfo="skip")
    line(drawn, x, y, "", GREY, dash="dot", width=1.5, hoverinfo="skip")
    said = ", ".join(f"{p:.3f}" for p in result.probabilities)
    points(drawn, x[1:], y[1:], "probabilities p", color, size=14, hover=f"p = ({said})")
    typed = ", ".join(map(short, result.scores))
    points(drawn, x[:1], y[:1], "scores s (drag)", INK, size=12, symbol="diamond", hover=f"s = ({typed})")
    drag(drawn, len(drawn.data) - 1, x="x", y="y")
    for i, (anchor, corner) in enumerate(zip(("right", "left", "center"), result.corners[[1, 0, 2]], strict=True)):
        place = "top" if i < 2 else "bottom"
        label(drawn, corner[0], corner[1], f"p{'₂₁₃'[i]} = 1", GREY, xanchor=anchor, yanchor=place)
    drawn.x(span=(-1.3, 1.3), zeroline=False).y(span=(-1.25, 1.35), zeroline=False)
    drawn.alt = say("p = ({p})", p=said)
    own = Table(
        ("", "1", "2", "3"), [["score s", *result.scores.tolist()], ["probability p", *result.probabilities.tolist()]]
    )
    share = Table(("entries > 0", "share of the square"), list(zip((1, 2, 3), result.share.tolist(), strict=True)))
    return [drawn, own, share]


def draw_jacobian(result: Sensitivity) -> list:
    """The Jacobian as a square; every map's sparsity beside it."""
    n, largest = len(result.scores), max(float(np.abs(result.jacobian).max()), 1e-6)
    drawn = figure(x="score s", y="probability p", height=600, square=True)
    heat(
        drawn,
        result.jacobian,
        scale=DIVERGING,
        low=-largest,
        high=largest,
        bar="∂p / ∂s",
        text=[[short(v, 2) for v in row] for row in result.jacobian] if n <= 8 else None,
        customdata=[[f"∂p<sub>{i + 1}</sub>/∂s<sub>{j + 1}</sub>" for j in range(n)] for i in range(n)],
        hover="%{customdata} = %{z:.4~g}",
    )
    places = list(range(n))
    ticks = [f"s<sub>{i + 1}</sub> = {short(s)}" for i, s in enumerate(result.scores)]
    drawn.x(tickvals=places, ticktext=ticks if n <= 8 else [short(s) for s in result.scores])
    drawn.y(tickvals=places, ticktext=[f"{short(p, 2)}" for p in result.probabilities], autorange="reversed")
    rows = [
        [LABELS[name], half, law, zeros, flat]
        for name, half, law, zeros, flat in zip(
            result.maps, result.half_norm, result.law, result.zeros, result.gradient_zeros, strict=True
        )
    ]
    at = result.maps.index(result.map)
    drawn.alt = say("½‖J‖₁ = {norm}", norm=short(result.half_norm[at]))
    heads = ("map", "½‖J‖₁", "in closed form", "zeros in J, share", "zeros in a gradient, share")
    return [drawn, Table(heads, rows)]


def draw_losses(result: Losses) -> list:
    """Cross-entropy and Fenchel-Young losses; a curve that leaves at the top is infinite from there to the left."""
    cross = figure(x="score t of the target (others: 0)", y="cross-entropy −log p (nats)", height=480)
    rows = []
    for name, values in zip(result.maps, result.cross_entropy, strict=True):
        infinite = np.flatnonzero(np.isinf(values) & (result.t < 0))
        last = infinite[-1] if len(infinite) else 0
        # the asymptote: straight up where it becomes infinite
        t, y = np.r_[[result.t[last]] * len(infinite[-1:]), result.t], np.r_[[99.0] * len(infinite[-1:]), values]
        line(
            cross,
            t,
            y,
            LABELS[name],
            COLOR[name],
            dash="dash" if name == "top_k" else None,
            hover="t = %{x:.3~g}: %{y:.3~g}",
        )
        rows.append([LABELS[name], result.t[last] if len(infinite) else say("never"), values[120]])
    young = figure(x="score t of the target (others: 0)", y="Fenchel–Young loss", height=480)
    given = max(set(result.alphas.tolist()) - {1.0, 2.0}, key=lambda alpha: (alpha != 1.5, alpha))
    colors = {1.0: COLOR["softmax"], 2.0: COLOR["sparsemax"], given: COLOR["entmax"]}
    names = {1.0: "α = 1: cross-entropy", 2.0: "α = 2: sparsemax loss"}
    for alpha, values, flat in zip(result.alphas.tolist(), result.fenchel_young, result.flat_from, strict=True):
        named, color = names.get(alpha, f"α = {short(alpha)}"), colors.get(alpha, GREY)
        line(young, result.t, values, named, color, hover="t = %{x:.3~g}: %{y:.3~g}")
        if flat <= 5:
            points(young, [flat], [0.0], "", color, size=9, hover=say("0 from t = {t} on", t=short(flat)))
    line(
        young,
        result.t,
        result.zlpr,
        "ZLPR, a loss of several labels",
        INK,
        dash="dash",
        hover="t = %{x:.3~g}: %{y:.3~g}",
    )
    for drawn in (cross, young):
        drawn.y(span=(-0.15, 7)).x(span=(-5, 5))
    several = Prose(
        "ZLPR asks each score to be on its side of 0, so that scores at 0 keep it above log n. More on [losses of several labels](?tab=objectives&view=multilabel)."
    )
    return [cross, young, Table(("map", "−log p infinite up to t =", "−log p at t = 1"), rows), several]


def draw_perturb(result: Perturbation) -> list:
    """The closed form, draws with two standard deviations, and softmax."""
    drawn = figure(y="probability of the largest sum", height=520, barmode="group", bargap=0.3)
    draws = say("{count} draws", count=result.samples)
    x = np.arange(len(result.scores))
    bars(drawn, x, result.exact, "closed form", COLOR["perturb_max"], hover="p = %{y:.4~g}")
    bars(drawn, x, result.frequency, draws, COLOR["perturb_max"], opacity=0.5, error=2 * result.deviation)
    bars(drawn, x, result.softmax, "softmax", COLOR["softmax"], hover="p = %{y:.4~g}")
    with_scores(drawn, result.scores)
    columns = (result.scores, result.exact, result.frequency, result.deviation, result.softmax)
    rows = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    heads = ("score", "closed form", "share of the draws", "standard deviation", "softmax")
    return [drawn, Table(heads, rows, say("Noise: {noise}", noise=say(NOISES[result.noise])))]


def draw_attention(result: Attention) -> list:
    """The attention matrix; each word's weights on the text itself; how wide each map spreads."""
    words, n = result.words, len(result.words)
    drawn = figure(x="attended word", y="attending word", height=640, square=True)
    # categories, told apart by blanks of no width: where there is no room for every name, plotly then leaves some out
    places = [raw(word + "\u200b" * i) for i, word in enumerate(words)]
    heat(
        drawn,
        result.attention,
        places,
        places,
        low=0,
        bar="weight",
        customdata=[[f"{a} → {b}" for b in words] for a in words],
        hover="%{customdata}: %{z:.3~g}",
    )
    drawn.x(tickangle=-90, type="category", tickfont={"size": 11})
    drawn.y(autorange="reversed", type="category", tickfont={"size": 11})
    frames = [
        [
            [
                Piece(f"{word} ", COLOR[result.map], float(w / row.max()) if w else 0, raw(short(w)))
                for word, w in zip(words, row, strict=True)
            ]
        ]
        for row in result.attention
    ]
    spread = [
        [LABELS[name], size, h] for name, size, h in zip(result.maps, result.support, result.entropy, strict=True)
    ]
    said = say(
        "{shown} of {count} words, {different} of them different.",
        shown=n,
        count=result.counted,
        different=result.vocabulary,
    )
    return [
        drawn,
        Writing(frames, words, "Weights of one attending word", start=0, name="word"),
        Table(("map", "words attended to, mean", "entropy (nats), mean"), spread),
        Prose(said),
    ]


def draw_speed(result: Speed) -> list:
    """Median times on a log axis, and what each gains on the published algorithm."""
    ms, alpha = result.seconds * 1e3, short(result.alpha)
    names = {
        "softmax": "softmax",
        "sparsemax": "sparsemax",
        "sparsemax_by_sorting": "sparsemax by sorting",
        "entmax15": "1.5-entmax",
        "entmax15_by_sorting": "1.5-entmax by sorting",
        "entmax": say("{alpha}-entmax", alpha=alpha),
        "entmax_by_bisection": say("{alpha}-entmax by bisection", alpha=alpha),
    }
    spelled = [names[method] for method in result.methods]
    drawn = figure(x="milliseconds (forward, median)", height=380, log="x")
    colors = [GREY if "_by_" in method else COLORS[0] for method in result.methods]
    bars(drawn, ms, spelled, "", colors, horizontal=True, text=[short(value) for value in ms], hover="%{x:.3~g} ms")
    drawn.y(autorange="reversed", automargin=True).x(span=(ms.min() / 2, ms.max() * 6))
    rows = [[spelled[i], ms[i], ms[peer] / ms[i] if peer != i else np.nan] for i, peer in enumerate(result.peers)]
    title = say(
        "{rows} × {columns} float32 scores, threads: {threads}",
        rows=result.rows,
        columns=result.n,
        threads=result.threads,
    )
    return [drawn, Table(("method", "ms", "times as fast as the published one"), rows, title)]
