"""Figures of what may be chosen: by importance sampling, from one book or many, and the quality that comes of it."""

from __future__ import annotations

import numpy as np

from engines.ddcm.books import BookDistance, BookQuality
from engines.ddcm.choices import SIZES, ChoiceLaw
from studio.figure import COLORS, GREY, across, band, bars, figure, line, short
from studio.language import raw, say
from studio.panels import Folded, Pictures, Prose, Table

RULES = {"largest": ("largest inner product", COLORS[1]), "sampled": ("importance sampling", COLORS[0])}
BOOKS = {
    "fresh": ("fresh codebooks", COLORS[0]),
    "shuffled": ("one codebook, shuffled", COLORS[2]),
    "one": ("one codebook", COLORS[1]),
}
ROWS = {"fresh": "fresh", "shuffled": "shuffled", "one": "one"}
SHOWN = {str(k): raw(f"K = {k:,}") for k in SIZES[1:]}


def draw_choices(result: ChoiceLaw, codebook: str = "1024") -> list:
    """The distance of both rules' distributions to DDPM's over K, the distribution itself, and the bits."""
    shown = SIZES.index(int(codebook))
    drawn = figure(x="codebook size K", y="distance of the distribution to DDPM's", height=360, log="xy")
    law = figure(x="noise ε in the last state", y="density", height=460)
    bits = figure(x="codebook size K", y="bits a source", height=360, log="x")
    middle = (result.edges[1:] + result.edges[:-1]) / 2
    line(law, middle, np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi), "DDPM: N(0, 1)", GREY, dash="dash")
    for i, (name, color) in enumerate(RULES.values()):
        mean = result.distance[i].mean(1)
        line(drawn, result.codebook_size, mean, name, color, marks=6, hover="K = %{x}: %{y:.3~g}")
        line(law, middle, result.density[i, shown], name, color, shape="hvh")
    across(drawn, y=result.chance, text="as many draws from DDPM's distribution")
    ticks = {"tickvals": list(SIZES), "ticktext": [short(k) for k in SIZES]}
    drawn.x(**ticks)
    line(bits, result.codebook_size, result.uniform_bits, "log₂ K a choice", COLORS[1], marks=6)
    line(bits, result.codebook_size, result.coded_bits, "ordered and entropy-coded", COLORS[0], marks=6)
    across(bits, y=result.least_bits, text="KL divergence")
    bits.x(**ticks).y(rangemode="tozero")
    text = say(
        "K = {size}: distance {largest} for the largest, {sampled} for importance sampling; {chance} is what as many "
        "draws from DDPM's distribution have. Choices of equal length take {uniform} bits, ordered and entropy-coded "
        "ones {coded}. The KL divergence, which no code of this distribution goes below, is {least} bits, {last} of "
        "them in the last step.",
        size=short(SIZES[-1]),
        largest=short(result.distance[0, -1].mean()),
        sampled=short(result.distance[1, -1].mean()),
        chance=short(result.chance),
        uniform=short(result.uniform_bits[-1]),
        coded=short(result.coded_bits[-1]),
        least=short(result.least_bits),
        last=short(result.step_bits[-1]),
    )
    steps = figure(x="step", y="distance of the distribution to DDPM's", height=320, log="y")
    place = np.arange(1, result.steps)
    for i, (name, color) in enumerate(RULES.values()):
        line(steps, place, result.distance[i, shown], name, color, marks=4)
    line(steps, place, result.step_bits, "KL divergence (bits)", GREY, dash="dot", marks=4)
    rows = list(zip(result.codebook_size, *result.error, *result.distance.mean(2), strict=True))
    columns = ("K", "mean squared error, largest", "the same, sampled", "distance, largest", "distance, sampled")
    return [law, drawn, Prose(text), bits, steps, Folded("All numbers", [Table(columns, rows)])]


def draw_books(result: BookDistance) -> list:
    """The Fréchet distance over K for the three kinds of codebook."""
    drawn = figure(x="codebook size K", y="Fréchet distance to DDPM, relative", height=480, log="xy")
    for i, (name, color) in enumerate(BOOKS.values()):
        low, high = result.distance[i] - result.spread[i], result.distance[i] + result.spread[i]
        band(drawn, result.codebook_size, np.maximum(low, 1e-6), high, color=color)
        line(drawn, result.codebook_size, result.distance[i], name, color, marks=5, hover="K = %{x}: %{y:.3~g}")
        if i != 1:
            text = say("{name}: from the mean alone", name=say(name))
            line(drawn, result.codebook_size, result.offset[i], text, color, width=1, dash="dot")
    ticks = [2, 16, 128, 1024, 8192]
    drawn.x(tickvals=ticks, ticktext=[short(k) for k in ticks])
    aim = float(result.distance[0, 5])
    enough = np.exp(np.interp(-np.log(aim), -np.log(result.distance[2]), np.log(result.codebook_size)))
    reached = result.distance[2, -1] <= aim
    text = say(
        "Fresh codebooks of 64 have the distance {aim}. One codebook for all steps has it from K = {enough} on. For as small an "
        "error of the mean it must be {factor} times larger: (Σ c)² / Σ c² with the factors c of the {steps} noises.",
        aim=short(aim),
        enough=short(round(float(enough), -1))
        if reached
        else say("more than {size}", size=short(result.codebook_size[-1])),
        factor=short(result.factor),
        steps=result.steps - 1,
    )
    weights = figure(x="step", y="factor c of its noise", height=300)
    bars(weights, np.arange(1, result.steps), result.coefficients, "c", COLORS[0], legend=False)
    return [drawn, Prose(text), weights]


def draw_quality(result: BookQuality) -> list:
    """The distance of the pictures' features to those of emoji over K, and some of the pictures."""
    drawn = figure(x="codebook size K", y="kernel distance to emoji", height=360, log="x")
    kinds, done = np.array(result.book), result.done
    for book, (name, color) in BOOKS.items():
        mine = np.flatnonzero((kinds == book) & done)
        if len(mine):
            error = {"array": result.error[mine], "thickness": 1.2, "width": 4}
            line(drawn, result.codebook_size[mine], result.distance[mine], name, color, marks=7, error_y=error)
    last = np.flatnonzero(kinds == "ddpm")[0]
    if done[last]:
        across(drawn, y=float(result.distance[last]), text=raw("DDPM"), color=COLORS[6])
        sizes = result.codebook_size[result.codebook_size > 0]
        low, high = (np.full(2, result.distance[last] + sign * result.error[last]) for sign in (-1, 1))
        band(drawn, [sizes.min(), sizes.max()], low, high, color=COLORS[6])
    ticks = sorted(set(result.codebook_size[result.codebook_size > 0].tolist()))
    drawn.x(tickvals=ticks, ticktext=[short(k) for k in ticks]).y(rangemode="tozero")
    rows = np.flatnonzero(done)
    heads = [
        raw("DDPM")
        if kinds[i] == "ddpm"
        else say("{name}, K = {size}", name=say(ROWS[kinds[i]]), size=short(result.codebook_size[i]))
        for i in rows
    ]
    shown = Pictures(
        result.pictures[rows].reshape(-1, *result.pictures.shape[2:]),
        rows=heads,
        columns=[raw(str(j + 1)) for j in range(result.pictures.shape[1])],
        size=80,
    )
    table = Table(
        ("codebook", "kernel distance", "standard error"),
        list(zip(heads, result.distance[rows], result.error[rows], strict=True)),
    )
    return [shown, drawn, Folded("All numbers", [table])]
