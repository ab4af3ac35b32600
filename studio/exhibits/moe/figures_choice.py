"""Figures of how experts are chosen: the auxiliary loss, a number that varies, sequences, devices."""

from __future__ import annotations

import numpy as np

from engines.moe.auxiliary import Auxiliary
from engines.moe.devices import DeviceLimits
from engines.moe.dynamic import DynamicNumber
from engines.moe.sequences import SequenceBalance
from studio.exhibits.moe.figures import DOMAIN
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    INK,
    Figure,
    across,
    band,
    bars,
    cells,
    figure,
    heat,
    label,
    line,
    points,
    short,
)
from studio.language import raw, say
from studio.panels import Prose, Table

UPDATE = {
    "sign": "sign, load and number at once",
    "budget": "sign with a budget",
    "at-most": "sign, at most k",
    "quantile": "quantile of the last batch",
    "average": "quantiles, averaged",
}
UPDATE_COLOR = dict(zip(UPDATE, (COLORS[5], COLORS[1], COLORS[6], COLORS[4], COLORS[2]), strict=True))
START = {"zero": "0", "normal": "−h(σΦ⁻¹(1 − k/n))", "quantile": "quantile of a first batch"}
ESTIMATE = {"histogram": "moving quantile (MQB)", "mean": "centring (moving mean)"}


def draw_dynamic(result: DynamicNumber) -> list:
    batches = np.arange(len(result.spent[0]))
    number = figure(x="batch", y="experts of a token, mean", height=360)
    uneven = figure(x="batch", y="mean |F − Q|/Q", height=320, log="y", title="Load of each batch")
    spread = figure(x="experts of a token", y="share of tokens (%)", height=300, title="Last quarter of the batches")
    rows, late = [], slice(3 * len(batches) // 4, None)
    for u, update in enumerate(result.updates):
        shared = UPDATE[update], UPDATE_COLOR[update]
        line(number, batches, result.spent[u], *shared, hover="%{x}: %{y:.2f}")
        line(uneven, batches, result.mean[u], *shared, legend=False, hover="%{x}: %{y:.3f}")
        line(
            spread,
            np.arange(result.experts + 1),
            100 * result.active[u],
            *shared,
            legend=False,
            hover="%{x}: %{y:.1f} %",
        )
        spent = result.spent[u, late]
        rows.append(
            [
                UPDATE[update],
                result.spent[u, 0],
                spent.mean(),
                spent.std(),
                result.mean[u, late].mean(),
                result.max[u, late].mean(),
            ]
        )
    budget = np.full(2, result.top_k)
    line(number, batches[[0, -1]], budget, say("budget k = {k}", k=result.top_k), GREY, width=1.5, dash="dot")
    across(uneven, y=result.floor, text="chance alone")
    uneven.y(span=(max(1e-3, float(result.mean[result.mean > 0].min(initial=1))), float(result.mean.max(initial=1))))
    most = int(np.flatnonzero(result.active.max(0) > 1e-3).max(initial=1))
    spread.x(range=[-0.5, most + 0.5])
    told = say(
        "First bias {first}; the formula gives {formula}.",
        first=short(result.first, 4),
        formula=short(result.formula, 4),
    )
    columns = ("bias renewed by", "first batch", "last quarter", "its deviation", "mean |F − Q|/Q", "maximum (F − Q)/Q")
    loads = draw_batches(result, late)
    return [loads, number, uneven, spread, Table(columns, rows, "Experts of a token, and load"), Prose(told)]


def draw_batches(result: DynamicNumber, late: slice) -> Figure:
    """The load of every expert batch after batch, a square a way of renewing the bias."""
    titles = []
    for update, spent in zip(result.updates, result.spent, strict=True):
        said = say(
            "{first} experts a token, then {mean} ± {deviation}",
            first=short(spent[0], 2),
            mean=short(spent[late].mean()),
            deviation=short(spent[late].std(), 1),
        )
        titles.append(raw(f"<b>{say(UPDATE[update])}</b><br>{said}"))
    batches = result.spent.shape[1]
    every = -(-batches // 100)  # as many columns as are told apart
    made, places = cells(titles, [-0.5, batches - 0.5], [0.5, result.experts + 0.5], wide=True)
    hover = "batch %{x}, expert %{y} by its offset: %{z} % of the even share"
    for load, at in zip(result.load, places, strict=True):
        shades = {"scale": DIVERGING, "low": 0, "high": 200, "showscale": False}
        percent = np.round(100 * load[::every].T).astype(np.int16)
        heat(made, percent, np.arange(0, batches, every), np.arange(1, result.experts + 1), hover=hover, **shades, **at)
    made.alt = say(
        "The greatest load of the first batch is {high} times the even share.", high=short(result.load[:, 0].max(), 2)
    )
    return made


def draw_sequences(result: SequenceBalance) -> list:
    within = figure(x="strength λ", y="maximum violation (F − Q)/Q", height=440)
    loss = figure(x="strength λ", y="loss (nats a byte)", height=340, title="What the choice costs this model")
    rows = []
    for e, estimate in enumerate(result.estimates):
        color, dash = COLORS[e], None
        line(
            within,
            result.strength,
            result.within[e],
            say("in a sequence, {way}", way=say(ESTIMATE[estimate])),
            color,
            marks=7,
        )
        named = say("over all tokens, {way}", way=say(ESTIMATE[estimate]))
        line(within, result.strength, result.over_all[e], named, color, marks=5, dash="dot")
        low, high = result.loss[e] - result.error[e], result.loss[e] + result.error[e]
        band(loss, result.strength, low, high, color=color)
        line(
            loss,
            result.strength,
            result.loss[e],
            ESTIMATE[estimate],
            color,
            marks=7,
            dash=dash,
            hover="λ = %{x}: %{y:.3f}",
        )
        rows += [
            [ESTIMATE[estimate], float(value), inside, everywhere, mean - result.loss[e, 0], error]
            for value, inside, everywhere, mean, error in zip(
                result.strength, result.within[e], result.over_all[e], result.loss[e], result.error[e], strict=True
            )
        ]
    across(within, y=result.chance)
    label(within, 1, result.chance, "chance alone", GREY, xref="x domain", xanchor="right", yanchor="top")
    within.y(rangemode="tozero")
    columns = ("bias of a token", "λ", "in a sequence", "over all tokens", "loss added", "standard error")
    told = say(
        "In the last layer the most loaded expert of a sequence has {before} times the even share at λ = 0 and {after} times at "
        "λ = {strength}, mean over the sequences.",
        before=short(result.share.max(1).mean() * result.share.shape[1]),
        after=short(result.moved.max(1).mean() * result.moved.shape[1]),
        strength=short(result.strength.max()),
    )
    table = Table(columns, rows, "Maximum violation, and loss in nats a byte")
    return [draw_each(result), Prose(told), within, loss, table]


def draw_each(result: SequenceBalance) -> Figure:
    """The load of every sequence in the last layer, at λ = 0 and at the greatest λ beside it."""
    (rows, n), each = result.share.shape, result.sequences // len(result.domains)
    times = np.full((rows, 2 * n + 1), np.nan)
    times[:, :n], times[:, n + 1 :] = n * result.share, n * result.moved
    blocks = np.insert(times, np.arange(each, rows, each), np.nan, axis=0)
    drawn = figure(x="expert of the last layer", height=520, margin={"t": 40})
    more = {"scale": DIVERGING, "low": 0, "high": 2, "bar": "÷ even share", "xgap": 1, "ygap": 1}
    heat(drawn, blocks, hover="%{z:.2f} times the even share", **more)
    for at, strength in ((0, 0.0), (n + 1, result.strength.max())):
        label(drawn, at - 0.5, 1, f"<b>λ = {short(strength)}</b>", yref="y domain", yshift=2)
    middles = [d * (each + 1) + (each - 1) / 2 for d in range(len(result.domains))]
    experts = [*range(n), *range(n + 1, 2 * n + 1)]
    drawn.x(tickvals=experts, ticktext=[str(at % (n + 1) + 1) for at in experts], range=[-0.5, 2 * n + 0.5])
    drawn.x(showgrid=False, tickangle=0, zeroline=False)
    names = [DOMAIN[key] for key in result.domains]
    return drawn.y(
        tickvals=middles, ticktext=names, autorange="reversed", automargin=True, showgrid=False, zeroline=False
    )


def draw_auxiliary(result: Auxiliary) -> list:
    slopes = figure(x="offset of the expert's logits", y="slope", height=460)
    values = figure(
        x="offset of the expert's logits", y="share of assignments (%)", height=320, title="Load F and its smooth P"
    )
    loss = figure(x="offset of the expert's logits", y="loss", height=320, title="The loss, and ΣFP in its place")
    x = result.offset
    line(slopes, x, result.slope, "of ½‖F − Q‖², by differences", INK, width=1.5, dash="dot")
    line(slopes, x, result.through, "straight through: Σ(F − Q)∂P", COLORS[2], width=3)
    line(slopes, x, result.product_slope, "of ΣFP: ΣF∂P", COLORS[1], dash="dash")
    across(slopes, y=0, dash="solid")
    across(slopes, x=result.best, text="least loss")
    if np.isfinite(result.zero):
        points(slopes, [result.zero], [0], "straight through: Σ(F − Q)∂P", COLORS[2], size=11, legend=False)
    if np.isfinite(result.product_zero):
        points(slopes, [result.product_zero], [0], "of ΣFP: ΣF∂P", COLORS[1], size=9, legend=False)
    line(values, x, 100 * result.share, "F, of the top k", INK, shape="hv", hover="%{y:.1f} %")
    line(values, x, 100 * result.smooth, "P, mean softmax", COLORS[0], hover="%{y:.1f} %")
    across(values, y=100 * result.wanted, text="Q")
    line(loss, x, result.loss, "½‖F − Q‖²", INK)
    line(loss, x, result.product, "ΣFP", COLORS[1], dash="dash")
    columns = ("offset", "of least loss", "straight-through slope 0", "slope of ΣFP 0")
    rows = [[say("of the expert"), *(round(float(at), 9) for at in (result.best, result.zero, result.product_zero))]]
    return [slopes, values, loss, Table(columns, rows)]


def draw_devices(result: DeviceLimits) -> list:
    kept = figure(x="devices that a token may use, M", y="% of plain top-k", height=440)
    line(
        kept,
        result.limit,
        100 * result.score,
        "routed score",
        COLORS[0],
        width=3,
        marks=8,
        hover="M = %{x}: %{y:.1f} %",
    )
    line(kept, result.limit, 100 * result.same, "choices that stay", COLORS[1], marks=6, hover="M = %{x}: %{y:.1f} %")
    kept.x(dtick=1).y(span=(0, 105))
    spread = figure(x="devices of a token without a limit", y="share of tokens (%)", height=300)
    bars(
        spread,
        np.arange(1, result.devices + 1),
        100 * result.spread,
        color=COLORS[2],
        legend=False,
        hover="%{x}: %{y:.1f} %",
    )
    across(spread, x=result.chance, text="mean at random")
    spread.x(dtick=1)
    half = int(np.abs(result.limit - result.devices / 2).argmin())
    told = say(
        "Drawn at random, {k} of {n} experts lie on {chance} of {devices} devices on average; here on {touched}. "
        "A token that may use {limit} devices keeps {score} % of the routed score.",
        k=result.top_k,
        n=result.experts,
        chance=short(result.chance),
        devices=result.devices,
        touched=short(result.touched[-1]),
        limit=int(result.limit[half]),
        score=short(100 * result.score[half]),
    )
    columns = ("M", "routed score, %", "choices that stay, %", "devices of a token", "maximum violation of the devices")
    rows = list(zip(result.limit, 100 * result.score, 100 * result.same, result.touched, result.imbalance, strict=True))
    return [kept, spread, Prose(told), Table(columns, [list(row) for row in rows])]
