"""Figures of random segmentation; a sampler has one colour everywhere."""

from __future__ import annotations

import html
import math
from itertools import pairwise

import numpy as np

from engines.segmentation.bpe import readable
from engines.segmentation.experiments import Comparison, LatticeView, Reading, Throughput
from studio.figure import COLORS, INK, across, bars, drag, figure, label, line, points, short
from studio.language import raw, say
from studio.panels import Folded, Piece, Prose, Table, Writing, verbatim

SAMPLERS = {
    "viterbi": "Viterbi (the best, always)",
    "viterbi-sampling": "Viterbi Sampling, as first published",
    "perfect": "perfect sampler",
    "ffbs": "forward filtering, backward sampling",
    "n-best": "from the n best",
    "bpe-dropout": "BPE-dropout",
}
COLOR = dict(zip(SAMPLERS, (COLORS[4], COLORS[3], COLORS[2], COLORS[7], COLORS[6], COLORS[1]), strict=True))
SYMBOLS = dict(zip(SAMPLERS, ("x", "diamond", "circle", "square", "cross", "circle"), strict=True))
EXACT, BEST = COLORS[0], COLORS[1]
SHOWN = 12


def pieces_of(text: str, cuts: np.ndarray) -> list[str]:
    """The pieces between cuts."""
    return [text[i:j] for i, j in pairwise(np.flatnonzero(cuts).tolist())]


def tiles(pieces: list[str], color: str = EXACT) -> list[Piece]:
    """Pieces as tiles, the longer the stronger."""
    return [Piece(raw(piece), color, min(0.08 + 0.08 * len(piece), 0.6)) for piece in pieces]


def shown(text: str) -> str:
    """Somebody's text within a figure, where plotly reads tags."""
    return raw(html.escape(text, quote=False))


def draw_law(result: Comparison) -> list:
    """Exact probabilities as bars, the shares of each sampler as marks on them."""
    names = ["·".join(pieces_of(result.text, row)) for row in result.cuts]
    top = min(SHOWN, len(names))
    y = np.arange(top)
    drawn = figure(x="probability, and share of the draws", height=130 + 34 * top)
    bars(drawn, result.exact[:top], y, "exact", EXACT, horizontal=True, opacity=0.4, hover="p = %{x:.4~g}")
    for method, frequency in zip(result.methods, result.frequency, strict=True):
        points(
            drawn,
            frequency[:top],
            y,
            SAMPLERS[method],
            COLOR[method],
            size=11,
            symbol=SYMBOLS[method],
            hover="%{x:.4~g}",
        )
    for method, name, law, symbol in (
        ("viterbi-sampling", "distribution of Viterbi Sampling", result.published, "diamond-open"),
        ("bpe-dropout", "distribution of BPE-dropout", result.bpe, "circle-open"),
    ):
        if method in result.methods and np.isfinite(law).all():
            points(drawn, law[:top], y, name, COLOR[method], size=17, symbol=symbol, hover="p = %{x:.4~g}")
    drawn.y(autorange="reversed", tickvals=y, ticktext=[shown(name) for name in names[:top]], automargin=True)
    drawn.x(rangemode="tozero")
    columns = (result.methods, result.distance, result.own_distance)
    rows = [[SAMPLERS[method], far, own] for method, far, own in zip(*columns, strict=True)]
    rows.append(["expected of exact draws", result.chance, result.chance])
    said = say(
        "**{count}** segmentations; the {top} shown hold {share} % of the probability.",
        count=result.count,
        top=top,
        share=short(100 * result.exact[:top].sum()),
    )
    if "viterbi-sampling" in result.methods and result.published_distance > 5e-4:
        worst = int(np.abs(result.published - result.exact).argmax())
        said += " " + say(
            "Followed through all its comparisons, Viterbi Sampling has a distribution of its own, {distance} away in "
            "total variation: it gives {pieces} {published} instead of {exact}, however many draws are made.",
            distance=short(result.published_distance),
            pieces=verbatim(names[worst]),
            published=short(result.published[worst]),
            exact=short(result.exact[worst]),
        )
        likeliest = result.published_best
        if 0 < likeliest < len(names) and result.exact[0] - result.exact[likeliest] > 1e-9:
            said += " " + say(
                "The most probable segmentation is {best}; Viterbi Sampling draws {other} most often.",
                best=verbatim(names[0]),
                other=verbatim(names[likeliest]),
            )
    drawn.alt = say("{count} segmentations", count=result.count)
    heads = ("sampler", "total variation from the exact distribution", "from its own distribution")
    return [drawn, Prose(raw(said)), Table(heads, rows)]


def draw_lattice(result: LatticeView) -> list:
    """Places on a line, pieces as arcs over them, as heavy as they are probable; the distribution over alpha."""
    size, top = len(result.text), float((result.target - result.source).max()) ** 0.8
    drawn = figure(height=460, margin={"l": 16, "r": 16, "b": 40})
    angle = np.linspace(0, math.pi, 33)
    for edge in np.argsort(result.posterior, kind="stable"):
        i, j, p = int(result.source[edge]), int(result.target[edge]), float(result.posterior[edge])
        best, piece = bool(result.best[edge]), shown(result.text[i:j])
        line(
            drawn,
            (i + j) / 2 - (j - i) / 2 * np.cos(angle),
            (j - i) ** 0.8 * np.sin(angle),
            "",
            BEST if best else EXACT,
            width=1 + 7 * p,
            opacity=0.25 + 0.75 * p,
            hover=raw(f"{piece}: p = {short(p)}"),
        )
        if (best and size <= 24) or p > 0.4:
            text = raw(f"{piece}<br>{short(p, 2)}")
            label(drawn, (i + j) / 2, (j - i) ** 0.8, text, xanchor="center", font={"size": 11})
    places = np.arange(size + 1)
    sizes = 4 + 10 * result.cut
    points(drawn, places, 0 * places, "", INK, size=sizes, customdata=result.cut, hover="cut: p = %{customdata:.3~g}")
    drawn.x(tickvals=places[:-1] + 0.5, ticktext=[shown(sign) for sign in result.text], tickfont={"size": 16})
    drawn.x(showgrid=False, zeroline=False).y(visible=False, span=(-0.05 * top, 1.16 * top))
    drawn.alt = say("entropy {bits} bits", bits=short(result.entropy / math.log(2)))

    here = np.array([result.alpha])
    entropy = figure(x="α", y="entropy (bits)", height=340)
    line(entropy, result.alphas, result.sweep_entropy / math.log(2), "", EXACT, width=3)
    points(entropy, here, [result.entropy / math.log(2)], "", EXACT, size=13, hover="α = %{x:.3~g}: %{y:.3~g}")
    drag(entropy, 1, x="alpha")
    most = result.log_count / math.log(2)
    count = short(math.exp(result.log_count))
    across(entropy, y=most, text=say("all {count} equally probable", count=count))
    entropy.y(span=(-0.03 * most, 1.15 * most + 0.1))
    best = figure(x="α", y="probability of the best", height=340)
    line(best, result.alphas, result.sweep_best, "", BEST, width=3)
    points(best, here, [result.best_probability], "", BEST, size=13, hover="α = %{x:.3~g}: %{y:.3~g}")
    drag(best, 1, x="alpha")
    best.y(span=(0, 1.03))
    pieces = figure(x="α", y="expected number of pieces", height=340)
    line(pieces, result.alphas, result.sweep_pieces, "", EXACT, width=3)
    points(pieces, here, [result.pieces], "", EXACT, size=13, hover="α = %{x:.3~g}: %{y:.3~g}")
    drag(pieces, 1, x="alpha")
    counted = result.best_cuts.sum(1) - 1
    if result.ties == 1:
        across(pieces, y=int(counted[0]), text="pieces of the best")
    low, high = min(result.sweep_pieces.min(), counted.min()), result.sweep_pieces.max()
    pieces.y(span=(low - 0.12 * (high - low) - 0.05, high + 0.12 * (high - low) + 0.05))
    rows = [
        ["segmentations", math.exp(result.log_count)],
        ["log Z (nats)", result.log_z],
        ["entropy (bits)", result.entropy / math.log(2)],
        ["expected number of pieces", result.pieces],
        ["probability of the best", result.best_probability],
    ]
    title = (
        say("The best of {ties} that tie", ties=result.ties) if result.ties > 1 else "The most probable segmentation"
    )
    listed = [tiles(pieces_of(result.text, row), BEST) for row in result.best_cuts]
    found = Table(("of this text", say("at α = {alpha}", alpha=short(result.alpha))), rows)
    return [drawn, entropy, best, pieces, found, Writing([listed], title=title)]


def draw_reading(result: Reading) -> list:
    """One draw after the other as tiles, and the cut frequencies beside their probabilities."""
    spell = readable if result.byte_level else str
    frames = [[tiles([spell(piece) for piece in pieces_of(result.text, row)])] for row in result.cuts]
    numbers = [say("draw {number}", number=i + 1) for i in range(len(frames))]
    writing = Writing(frames, numbers, large=len(result.text) <= 80, start=0, name="")
    free = np.flatnonzero(np.where(np.isnan(result.exact), result.frequency, result.exact) < 1 - 1e-9)
    around = [shown(f"{result.text[max(0, i - 6) : i]}|{result.text[i : i + 6]}") for i in free]
    drawn = figure(x="place in the text", y="probability of a cut", height=340)
    if np.isfinite(result.exact).all():
        bars(
            drawn,
            free,
            result.exact[free],
            "exact",
            EXACT,
            opacity=0.4,
            customdata=around,
            hover="%{customdata}: %{y:.3~g}",
        )
    points(
        drawn,
        free,
        result.frequency[free],
        say("{count} draws", count=result.n),
        COLOR[result.method],
        size=7,
        customdata=around,
        hover="%{customdata}: %{y:.3~g}",
    )
    if len(result.text) <= 48:
        drawn.x(tickvals=np.arange(len(result.text)) + 0.5, ticktext=[shown(s) for s in result.text], showgrid=False)
    said = say("{draws} draws gave {distinct} different segmentations.", draws=result.n, distinct=result.distinct)
    if np.isfinite(result.exact).all():
        said += " " + say(
            "There are about {count} in all, with an entropy of {bits} bits. The greatest error of a cut's share is {error}.",
            count=short(10**result.log10_count if result.log10_count < 300 else math.inf, 2),
            bits=short(result.entropy),
            error=short(float(np.abs(result.frequency - result.exact).max()), 2),
        )
    return [
        writing,
        drawn,
        *compression(result),
        Prose(raw(said)),
        Folded("All draws shown", [Writing([[frame[0] for frame in frames]])]),
    ]


def compression(result: Reading) -> list:
    """Bytes a piece holds, over alpha; BPE-dropout has no alpha."""
    if not result.best_pieces:
        return []
    drawn = figure(x="α", y="bytes per piece", height=340)
    held = result.size / result.sweep_pieces
    here = float(np.interp(result.alpha, result.alphas, held))
    line(drawn, result.alphas, held, "exact", EXACT, width=3, hover="α = %{x:.3~g}: %{y:.3~g}")
    points(drawn, [result.alpha], [here], "", EXACT, size=13, hover="α = %{x:.3~g}: %{y:.3~g}")
    drag(drawn, 1, x="alpha")
    count = say("{count} draws", count=result.n)
    points(drawn, [result.alpha], [result.size / result.pieces], count, COLOR[result.method], size=9, hover="%{y:.3~g}")
    best = result.size / result.best_pieces
    across(drawn, y=best, text=say("the best: {bytes}", bytes=short(best)))
    low, high = min(held.min(), best), max(held.max(), best)
    drawn.y(span=(low - 0.1 * (high - low) - 0.02, high + 0.15 * (high - low) + 0.02))
    return [drawn]


def draw_throughput(result: Throughput) -> list:
    """Megabytes a second of each method."""
    speed = result.sizes / result.seconds / 1e6
    names = [SAMPLERS[method] for method in result.methods]
    drawn = figure(x="MB/s", height=340, log="x")
    colors = [COLOR[method] for method in result.methods]
    bars(drawn, speed, names, "", colors, horizontal=True, text=[short(s, 2) for s in speed], hover="%{x:.3~g} MB/s")
    drawn.y(autorange="reversed", automargin=True).x(span=(speed.min() / 2, speed.max() * 4))
    title = say(
        "{kilobytes} kB in {chunks} parts between forced cuts, {distinct} of them different",
        kilobytes=round(result.size / 1000),
        chunks=result.chunks,
        distinct=result.distinct,
    )
    columns = (result.sizes / 1000, result.seconds, result.pieces)
    rows = [list(row) for row in zip(names, *(column.tolist() for column in columns), strict=True)]
    return [drawn, Table(("sampler", "kB", "seconds", "pieces"), rows, title)]
