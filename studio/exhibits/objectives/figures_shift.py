"""Figures of a test set unlike the training set; a weight has one colour."""

from __future__ import annotations

import numpy as np

from engines.objectives.experiments import Shift
from engines.objectives.validation import Validation
from studio.figure import COLORS, GREY, INK, across, bars, figure, line, points, short
from studio.language import raw, say
from studio.panels import Prose, Table

WEIGHTS = {"ratio": "weight D / (1 − D)", "d": "weight D", "none": "no weight"}
WEIGHT_COLOR = dict(zip(WEIGHTS, (COLORS[0], COLORS[1], GREY), strict=True))
MODELS = {"ridge": "linear (ridge)", "neighbours": "5 nearest neighbours", "tree": "decision tree"}


def draw_shift(result: Shift, weight: str = "d") -> list:
    """Densities; the logarithm of their ratio, learned and exact; estimates of the test loss."""
    drawn = figure(x="x₁", y="density", height=440)
    line(drawn, result.x, result.train, "training set", GREY, fill="tozeroy", fillcolor="rgba(136, 136, 136, 0.18)")
    line(drawn, result.x, result.test, "test set", COLORS[2])
    by_ratio, chosen = (result.reweighted[result.weights.index(name)] for name in ("ratio", weight))
    color = WEIGHT_COLOR[weight] if weight != "none" else INK
    line(drawn, result.x, chosen, "training set, reweighted", color, dash="dash")
    if weight != "ratio":
        line(drawn, result.x, by_ratio, "reweighted by D/(1 − D)", WEIGHT_COLOR["ratio"], width=4, dash="dot")
    ratio = figure(x="x₁", y="log of the density ratio", height=360)
    line(ratio, result.x, result.log_ratio, "exact", INK)
    line(ratio, result.x, result.learned, "learned, log D/(1 − D)", COLORS[0], dash="dash")
    estimates = figure(y="estimate of the test mean of x²", height=360)
    names = [WEIGHTS[name] for name in result.weights]
    colors = [WEIGHT_COLOR[name] for name in result.weights]
    bars(estimates, names, result.estimate, "", colors, error=2 * result.error, hover="%{y:.4~g}")
    across(estimates, y=result.truth, text="test set, exact", color=COLORS[2])
    estimates.y(rangemode="tozero")
    rows = [
        [name, value, error, limit]
        for name, value, error, limit in zip(names, result.estimate, result.error, result.limit, strict=True)
    ]
    drawn.alt = say(
        "test mean of x² {truth}; with weight D/(1 − D) {ratio}, with D {d}",
        truth=short(result.truth),
        ratio=short(result.estimate[0]),
        d=short(result.estimate[1]),
    )
    own = [["AUC of D", *result.auc.tolist()], ["effective share of the examples", *result.share.tolist()]]
    heads = ("", "exact ratio", "learned D")
    first = Table(
        ("weight", "estimate", "standard error", "with the exact D and endless data"),
        rows,
        say("The test mean of x² is {truth}", truth=short(result.truth)),
    )
    return [drawn, ratio, estimates, first, Table(heads, own)]


def draw_validation(result: Validation) -> list:
    """Errors split by split; how far each validation error misses; which model each would choose."""
    at = result.models.index(result.model)
    order = result.test[:, at].argsort()
    splits = np.arange(1, len(order) + 1)
    unit = "root mean squared error" if result.data in ("diabetes", "synthetic") else "share of wrong classes"
    drawn = figure(x="split, by test error", y=unit, height=460)
    line(drawn, splits, result.test[order, at], "test set", COLORS[2], width=3, marks=6)
    for w, name in reversed(list(enumerate(result.weights))):
        points(drawn, splits, result.validation[order, w, at], WEIGHTS[name], WEIGHT_COLOR[name], size=9)
    drawn.y(rangemode="tozero").x(dtick=max(1, len(splits) // 12))
    plain = result.miss[:, result.weights.index("none")]
    count = np.sqrt(len(splits))
    miss = figure(y="|validation error − test error|, mean", height=360)
    bars(
        miss,
        [WEIGHTS[n] for n in result.weights],
        result.miss.mean(0),
        "",
        [WEIGHT_COLOR[n] for n in result.weights],
        error=2 * result.miss.std(0, ddof=1) / count,
    )
    rows, said = [], []
    for w, name in enumerate(result.weights):
        gain = result.miss[:, w] - plain
        error = gain.std(ddof=1) / count
        rows.append(
            [
                WEIGHTS[name],
                result.miss[:, w].mean(),
                gain.mean(),
                error,
                result.share[:, w].mean(),
                result.regret[:, w].mean(),
            ]
        )
        if name != "none":
            ends = {
                "weight": say(WEIGHTS[name]),
                "low": short(gain.mean() - 2 * error),
                "high": short(gain.mean() + 2 * error),
            }
            if gain.mean() + 2 * error < 0:
                said.append(
                    say(
                        "{weight} comes nearer to the test error than no weight: the deviation changes by {low} to {high}.",
                        **ends,
                    )
                )
            elif gain.mean() - 2 * error > 0:
                said.append(
                    say(
                        "{weight} is farther from the test error than no weight: the deviation changes by {low} to {high}.",
                        **ends,
                    )
                )
            else:
                said.append(
                    say(
                        "{weight}: no difference shown; the deviation changes by {low} to {high}, "
                        "an interval that contains 0.",
                        **ends,
                    )
                )
    drawn.alt = raw(" ".join(said))
    heads = (
        "weight",
        "mean deviation",
        "against no weight",
        "standard error",
        "effective share",
        "regret of the model chosen",
    )
    title = say(
        "{model}; {train} examples for training, {held} for validation, {test} in the test set; AUC of D {auc}",
        model=say(MODELS[result.model]),
        train=int(result.sizes[0]),
        held=int(result.sizes[1]),
        test=int(result.sizes[2]),
        auc=short(result.auc.mean()),
    )
    return [drawn, miss, Table(heads, rows, title), Prose(raw(" ".join(said)))]
