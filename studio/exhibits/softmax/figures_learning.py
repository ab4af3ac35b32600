"""Figures of the family's shape, of descent from behind, and of Gumbel-softmax."""

from __future__ import annotations

import math

import numpy as np

from engines.softmax.learning import Descent, Relaxation, ReluFamily
from studio.exhibits.softmax.figures import COLOR, LABELS
from studio.figure import COLORS, GREY, INK, across, drag, figure, label, line, points, short
from studio.language import raw, say
from studio.panels import Table

GRADIENTS = {
    "cross_entropy": "of −log p",
    "probability": "of −p",
    "stop_gradient": "p − y: ⟨s, stop(p − y)⟩",
}
ASKED = dict(zip(GRADIENTS, (COLORS[0], COLORS[3], COLORS[1]), strict=True))


def draw_family(result: ReluFamily) -> list:
    """Probabilities over beta, with the places where they become 0; the functions they are values of."""
    drawn = figure(x="β", y="probability", height=520)
    for i, (score, values) in enumerate(zip(result.scores, result.sweep.T, strict=True)):
        color = COLORS[i % len(COLORS)]
        line(drawn, result.betas, values, raw(f"s = {short(score)}"), color, width=3, hover="β = %{x:.3~g}: %{y:.4~g}")
        if result.leaves[i] <= result.betas[-1]:
            said = say("0 from β = {beta} on", beta=short(result.leaves[i]))
            points(drawn, [result.leaves[i]], [0.0], "", color, size=9, hover=said)
    here = np.full(len(result.scores), result.beta)
    points(drawn, here, result.probabilities, "β (drag)", INK, size=9, symbol="diamond", hover="%{y:.4~g}")
    drag(drawn, len(drawn.data) - 1, x="beta")
    for beta, name in ((0, "softmax"), (1, "sparsemax")):
        across(drawn, x=beta, text=name)
    drawn.x(span=(-0.03, 3.03)).y(span=(-0.03, 1.08))
    drawn.alt = say("{count} of {n} above 0", count=int((result.probabilities > 0).sum()), n=len(result.scores))

    shape = figure(x="u = s − λ", y="probability", height=400)
    colors = {0.0: COLOR["softmax"], 0.5: COLOR["entmax"], 1.0: COLOR["sparsemax"], 2.0: COLORS[6]}
    for beta, values in zip(result.drawn.tolist(), result.curves, strict=True):
        name = raw("exp u") if beta == 0 else raw(f"β = {short(beta)}")
        is_given = beta == result.beta
        color = colors.get(beta, INK)
        line(shape, result.u, values, name, color, width=4 if is_given else 1.5, hover="u = %{x:.3~g}: %{y:.3~g}")
    points(
        shape, result.scores - result.threshold, result.probabilities, "the scores", INK, size=9, hover="p = %{y:.4~g}"
    )
    shape.x(span=(-4, 0.3)).y(span=(-0.03, 1.15))
    columns = (result.scores, result.probabilities, result.leaves)
    rows = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    title = say("At β = {beta}: λ = {threshold}", beta=short(result.beta), threshold=short(result.threshold))
    return [drawn, shape, Table(("score s", "probability p", "0 from β ="), rows, title=title)]


def draw_descent(result: Descent) -> list:
    """The target's probability step by step; how long each gradient is; which maps have a symmetric Jacobian."""
    drawn = figure(x="step", y="probability of the target", height=520, log="x")
    steps = np.arange(1, result.probability.shape[1])
    for kind, values in zip(result.kinds, result.probability, strict=True):
        dash = "dash" if kind == "stop_gradient" else None
        line(drawn, steps, values[1:], GRADIENTS[kind], ASKED[kind], dash=dash, width=3, hover="%{x}: %{y:.4~g}")
    drawn.y(span=(-0.03, 1.05))
    drawn.alt = "; ".join(
        f"{say(GRADIENTS[kind])}: {short(p[-1])}" for kind, p in zip(result.kinds, result.probability, strict=True)
    )
    size = figure(x="score of the target (others: 0)", y="length of the gradient", height=400, log="y")
    for kind, values in zip(result.kinds, result.size, strict=True):
        dash = "dash" if kind == "stop_gradient" else None
        heights = np.where(values > 0, values, np.nan)
        line(
            size, result.leads, heights, GRADIENTS[kind], ASKED[kind], dash=dash, width=3, hover="%{x:.3~g}: %{y:.3~g}"
        )
    start = float(result.lead[0, 0])
    points(size, [start], [1.6e-4], "start (drag)", INK, size=13, symbol="diamond", hover="%{x:.3~g}")
    drag(size, len(size.data) - 1, x="start")
    size.y(span=(1e-4, 3)).x(span=(-8, 8))
    rows = [
        [LABELS[name], odd if odd > 1e-9 else 0, say("yes") if odd < 1e-9 else say("no")]
        for name, odd in zip(result.maps, result.asymmetry, strict=True)
    ]
    heads = ("map", "greatest |J − Jᵀ| at five scores", "symmetric")
    return [drawn, size, Table(heads, rows)]


def draw_relaxed(result: Relaxation) -> list:
    """Draws on the simplex, their mean and softmax; bias and spread of the gradient over tau."""
    drawn = figure(x="(s₁ − s₂) / √2", y="(2 s₃ − s₁ − s₂) / √6", height=600, square=True)
    triangle = result.corners[[0, 1, 2, 0]]
    points(drawn, *result.draws.T, "draws", COLORS[5], size=5, opacity=0.35, hoverinfo="skip")
    line(drawn, *triangle.T, "simplex", GREY, width=1.5, hoverinfo="skip")
    scores, soft, mean = result.points
    said = [", ".join(f"{p:.3f}" for p in values) for values in (result.softmax, result.mean)]
    points(drawn, *soft[:, None], "softmax", COLOR["softmax"], size=13, hover=f"p = ({said[0]})")
    points(drawn, *mean[:, None], "exact mean of the draws", COLORS[1], size=13, hover=f"p = ({said[1]})")
    typed = ", ".join(map(short, result.scores))
    points(drawn, *scores[:, None], "scores s (drag)", INK, size=12, symbol="diamond", hover=f"s = ({typed})")
    drag(drawn, len(drawn.data) - 1, x="x", y="y")
    for i, (anchor, corner) in enumerate(zip(("right", "left", "center"), result.corners[[1, 0, 2]], strict=True)):
        place = "top" if i < 2 else "bottom"
        label(drawn, corner[0], corner[1], f"p{'₂₁₃'[i]} = 1", GREY, xanchor=anchor, yanchor=place)
    drawn.x(span=(-1.3, 1.3), zeroline=False).y(span=(-1.25, 1.35), zeroline=False)
    distance = float(np.abs(result.mean - result.softmax).sum()) / 2
    drawn.alt = say("mean ({mean}), softmax ({softmax})", mean=said[1], softmax=said[0])

    worth = figure(x="temperature τ", y="relative to the true gradient’s length", height=420, log="xy")
    for name, values, color in (
        ("bias of the gradient", result.bias, COLORS[3]),
        ("its standard deviation, one draw", result.deviation, COLORS[0]),
    ):
        line(worth, result.taus, values, name, color, marks=6, width=3, hover="τ = %{x:.3~g}: %{y:.3~g}")
    across(worth, y=result.score_function, text="score function: no bias")
    here = math.exp(np.interp(math.log(result.tau), np.log(result.taus), np.log(result.bias)))
    points(worth, [result.tau], [here], "τ (drag)", INK, size=13, symbol="diamond", hover="%{x:.3~g}")
    drag(worth, 2, x="tau")
    rows = [["softmax", *result.softmax], ["exact mean of the draws", *result.mean]]
    title = say("At τ = {tau}: total variation {distance}", tau=short(result.tau), distance=short(distance))
    return [drawn, worth, Table(("", "p₁", "p₂", "p₃"), rows, title=title)]
