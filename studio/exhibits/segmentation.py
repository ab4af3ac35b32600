"""Random segmentation: a text cut into pieces, drawn from all the ways there are."""

from __future__ import annotations

import html
import math
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from engines.segmentation.checks import CHECKS
from engines.segmentation.experiments import (
    Comparison,
    LatticeView,
    Reading,
    Throughput,
    compare,
    lattice,
    read,
    throughput,
)
from studio.exhibit import Choice, Exhibit, Prose, Range, Story, Table, Text, View, verbatim
from studio.figure import COLORS, GREY, across, figure, label

ABABAB = "a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1"
WATCHING = "watch=1, ing=1, wat=1, ching=1, w=1, atching=1"
SHORT = {
    "viterbi": "Viterbi",
    "viterbi-sampling": "Viterbi Sampling",
    "perfect": "perfect",
    "ffbs": "FFBS",
    "n-best": "n-best",
}
PALE = "rgba(0,119,187,0.35)"  # of COLORS[0]; with an opacity instead, the legend would show the full colour
SYMBOLS = ("circle", "diamond", "square", "cross", "x")
VOCABULARY = Choice(
    "Vocabulary",
    {"english": "English (story book)", "chinese": "Chinese (quatrains)", "own": "your own pieces"},
    help="Two unigram vocabularies of 8,000 pieces, or the pieces written beside.",
)
PIECES = Text("Your own pieces", most=400, help="piece=probability, parted by commas.", when={"vocabulary": ["own"]})
ALPHA = Range(
    "α", 0, 3, step=0.05, help="0: all segmentations alike; 1: the unigram law; large: nearly always the best."
)
TEXT = Text("Text", most=40, help="A word or two. Chinese needs the Chinese vocabulary.")
SEED = Range("Seed", 0, 999, step=1)
NBEST = Range("n of n-best", 1, 64, step=1, when={"method": ["n-best"], "methods": ["n-best"]})
DRAWS = Range("Draws", step=1, log=True)


def dotted(text: str, cuts: np.ndarray) -> str:
    """A segmentation as shown: pieces separated by a middle dot."""
    return "·".join(text[i:j] for i, j in pairwise(np.flatnonzero(cuts).tolist()))


def draw_comparison(result: Comparison) -> list:
    """Exact probabilities as bars, the shares of each sampler as marks on them."""
    top = min(12, len(result.cuts))
    spelled = [dotted(result.text, row) for row in result.cuts]
    names = [html.escape(s, quote=False) for s in spelled[:top]]
    drawn = figure(x="probability", height=130 + 30 * top)
    drawn.add_trace(
        go.Bar(
            x=result.exact[:top].astype(np.float32),
            y=names,
            orientation="h",
            name="exact",
            marker={"color": PALE},
            hovertemplate="%{y}<br>exactly %{x:.4f}<extra></extra>",
        )
    )
    for i, method in enumerate(result.methods):
        drawn.add_trace(
            go.Scatter(
                x=result.frequency[i, :top].astype(np.float32),
                y=names,
                mode="markers",
                name=SHORT[method],
                marker={"color": COLORS[1 + i], "size": 10, "symbol": SYMBOLS[i], "line": {"width": 0}},
                hovertemplate="%{y}<br>%{x:.4f} of the draws<extra>" + SHORT[method] + "</extra>",
            )
        )
    drawn.update_yaxes(autorange="reversed", automargin=True, tickfont={"size": 12})
    drawn.update_xaxes(rangemode="tozero", automargin=True)
    drawn.update_layout(margin={"l": 10})
    rows = [[SHORT[m], f"{d:.4f}"] for m, d in zip(result.methods, result.distance, strict=True)]
    rows.append(["what chance alone gives to exact draws", f"{result.chance:.4f}"])
    said = (
        f"{verbatim(result.text)} has **{result.count:,}** segmentations; the {top} shown hold "
        f"{result.exact[:top].sum():.1%} of the probability. {result.n:,} draws of each method."
    )
    if "viterbi-sampling" in result.methods and np.isfinite(result.published).all():
        pairs = zip(spelled, result.exact, result.published, strict=True)
        worst = max(pairs, key=lambda row: abs(row[1] - row[2]))
        if abs(worst[1] - worst[2]) > 5e-4:
            said += (
                " Followed through all its comparisons, Viterbi Sampling as first published gives "
                f"{verbatim(worst[0])} {worst[2]:.3f} instead of {worst[1]:.3f}: no number of draws will cure that."
            )
    return [drawn, Table(("method", "total variation from the exact law"), rows), Prose(said)]


def draw_lattice(result: LatticeView) -> list:
    """Places on a line, pieces as arcs over them, as heavy as they are probable."""
    size = len(result.text)
    drawn = figure(height=380)
    angle = np.linspace(0, math.pi, 33)
    order = np.argsort(result.posterior, kind="stable")
    for edge in order:
        i, j, p = int(result.source[edge]), int(result.target[edge]), float(result.posterior[edge])
        best = bool(result.best[edge])
        piece = html.escape(result.text[i:j], quote=False)
        drawn.add_trace(
            go.Scatter(
                x=((i + j) / 2 - (j - i) / 2 * np.cos(angle)).astype(np.float32),
                y=((j - i) ** 0.8 * np.sin(angle)).astype(np.float32),
                mode="lines",
                line={"color": COLORS[1] if best else COLORS[0], "width": 1 + 7 * p, "simplify": False},
                opacity=0.25 + 0.75 * p,
                showlegend=False,
                text=[f"{piece}<br>used with probability {p:.4f}"] * len(angle),
                hovertemplate="%{text}<extra></extra>",
            )
        )
        if (best and size <= 24) or p > 0.4:
            drawn.add_annotation(
                x=(i + j) / 2,
                y=(j - i) ** 0.8,
                text=f"{piece}<br>{p:.2g}",
                showarrow=False,
                yanchor="bottom",
                font={"size": 10},
            )
    drawn.add_trace(
        go.Scatter(
            x=np.arange(size + 1),
            y=np.zeros(size + 1, np.float32),
            mode="markers",
            marker={"color": COLORS[2], "size": (4 + 10 * result.cut).astype(np.float32)},
            text=[f"cut here with probability {c:.4f}" for c in result.cut],
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    )
    drawn.update_xaxes(
        tickvals=np.arange(size) + 0.5,
        ticktext=[html.escape(sign, quote=False) for sign in result.text],
        showgrid=False,
        zeroline=False,
        tickfont={"size": 16},
    )
    top = float((result.target - result.source).max()) ** 0.8
    drawn.update_yaxes(visible=False, range=[-0.05 * top, 1.13 * top])  # the dots below, the labels above, unclipped
    drawn.update_layout(margin={"l": 16, "r": 16, "b": 40})
    best = ", ".join(dotted(result.text, row) for row in result.best_cuts) + ", …" * (
        result.ties > len(result.best_cuts)
    )
    rows = [
        ["segmentations", f"{math.exp(result.log_count):,.0f}"],
        ["log Z (nats)", result.log_z],
        ["entropy (bits)", result.entropy / math.log(2)],
        ["expected pieces", result.pieces],
        ["the best one" if result.ties == 1 else f"the best, {result.ties:,} alike", best],
        ["its probability" if result.ties == 1 else "the probability of each", result.best_probability],
    ]
    return [drawn, Table(("of this text", f"at α = {result.alpha:g}"), rows)]


def draw_sweep(result: LatticeView) -> list:
    """Entropy against alpha, and how many pieces to expect."""
    alphas = result.alphas.astype(np.float32)
    most = result.log_count / math.log(2)
    entropy = figure(x="α", y="entropy (bits)", height=340)
    entropy.add_trace(
        go.Scatter(
            x=alphas,
            y=(result.sweep_entropy / math.log(2)).astype(np.float32),
            mode="lines",
            line={"width": 3},
            showlegend=False,
        )
    )
    across(entropy, y=most, line={"dash": "dash", "width": 1, "color": GREY})
    label(entropy, float(alphas[-1]), most, f"all {2**most:,.0f} alike", xanchor="right")
    entropy.update_yaxes(rangemode="tozero", range=[0, 1.15 * most + 0.1])
    other = figure(x="α", y="pieces", height=340)
    other.add_trace(
        go.Scatter(
            x=alphas,
            y=result.sweep_pieces.astype(np.float32),
            mode="lines",
            line={"width": 3, "color": COLORS[2]},
            name="expected pieces",
            showlegend=False,
        )
    )
    across(other, y=int(result.best_cuts[0].sum()) - 1, line={"dash": "dash", "width": 1, "color": GREY})
    label(other, float(alphas[-1]), int(result.best_cuts[0].sum()) - 1, "pieces of the best one", xanchor="right")
    halfway = np.flatnonzero(result.sweep_best >= 0.5)
    said = f"The best segmentation alone has probability {result.sweep_best[-1]:.3f} at α = {alphas[-1]:g}"
    said += f", and reaches one half at α ≈ {alphas[halfway[0]]:.2f}." if len(halfway) else ", less than one half."
    return [entropy, other, Prose(said)]


def draw_reading(result: Reading) -> list:
    """The first draws as lines, and the cut frequencies beside their probabilities."""
    spelled = []
    for row in result.cuts:
        spelled.append(dotted(result.text, row).replace("·▁", " ").replace("▁", " ").strip())
    places = np.flatnonzero(result.exact < 1 - 1e-9)
    around = [html.escape(f"{result.text[max(0, i - 6) : i]}|{result.text[i : i + 6]}", quote=False) for i in places]
    drawn = figure(x="place in the text", y="probability of a cut", height=320)
    drawn.add_trace(
        go.Bar(
            x=places,
            y=result.exact[places].astype(np.float32),
            name="exact",
            marker={"color": PALE},
            text=around,
            textposition="none",
            hovertemplate="%{text}<br>exactly %{y:.3f}<extra></extra>",
        )
    )
    drawn.add_trace(
        go.Scatter(
            x=places,
            y=result.frequency[places].astype(np.float32),
            mode="markers",
            name=f"{SHORT[result.method]}, {result.n:,} draws",
            marker={"color": COLORS[1], "size": 6},
            text=around,
            hovertemplate="%{text}<br>%{y:.3f} of the draws<extra></extra>",
        )
    )
    if len(result.text) <= 48:
        drawn.update_xaxes(
            tickvals=np.arange(len(result.text)) + 0.5,
            ticktext=[html.escape(sign, quote=False) for sign in result.text],
            showgrid=False,
        )
    error = float(np.abs(result.frequency - result.exact).max())
    said = (
        f"10^{result.log10_count:.1f} segmentations, an entropy of {result.entropy:.1f} bits; {result.n:,} draws gave "
        f"{result.distinct:,} different ones. The greatest error of a cut's share is {error:.3f}."
    )
    rows = [[i + 1, text] for i, text in enumerate(spelled)]
    return [Table(("draw", "cut into"), rows), drawn, Prose(said)]


def draw_throughput(result: Throughput) -> list:
    """Megabytes a second of each method."""
    speed = result.size / result.seconds / 1e6
    drawn = figure(x="MB/s, here and now", height=300)
    drawn.add_trace(
        go.Bar(
            x=speed.astype(np.float32),
            y=[SHORT[m] for m in result.methods],
            orientation="h",
            text=[f"{s:.2g}" for s in speed],
            marker={"color": COLORS[0]},
            showlegend=False,
        )
    )
    drawn.update_yaxes(autorange="reversed", automargin=True)
    drawn.update_layout(margin={"l": 10})
    said = (
        f"{result.size / 1000:,.0f} kB that begin “{result.start}…”, in {result.chunks:,} chunks between forced cuts, "
        f"of which {result.distinct:,} differ."
    )
    rows = [[SHORT[m], float(s), int(p)] for m, s, p in zip(result.methods, result.seconds, result.pieces, strict=True)]
    return [drawn, Table(("method", "seconds", "pieces"), rows), Prose(said)]


EXHIBIT = Exhibit(
    slug="segmentation",
    title="Random segmentation",
    summary="Words cut at random: all the ways to spell a text in pieces, and samplers that draw them rightly or not.",
    sources=(
        ("Su, Viterbi Sampling, a first look at random segmentation", "https://kexue.fm/archives/9768"),
        ("Su, From Viterbi Sampling to the perfect sampler", "https://kexue.fm/archives/9811"),
        ("Su, BytePiece", "https://kexue.fm/archives/9752"),
        ("Kudo, Subword Regularization", "https://arxiv.org/abs/1804.10959"),
        ("Kudo & Richardson, SentencePiece", "https://arxiv.org/abs/1808.06226"),
    ),
    views=(
        View(
            slug="law",
            title="Drawn against exact",
            caption=(
                "A unigram vocabulary gives a segmentation $w_1\\dots w_m$ a probability proportional to "
                "$(p(w_1)\\cdots p(w_m))^\\alpha$. Bars are the exact law, every segmentation listed and weighed; marks are "
                "the shares among the draws. Perfect sampling and forward filtering, backward sampling (FFBS) lie on the "
                "bars up to chance. Viterbi Sampling, which tosses a coin wherever Viterbi's algorithm compares two paths, "
                "does not: late comers get too much. Drawing from the n best can never give what it left out. In English "
                "“▁” stands for the space before a word."
            ),
            compute=compare,
            controls={
                "text": TEXT,
                "vocabulary": VOCABULARY,
                "pieces": PIECES,
                "methods": Choice("Samplers", SHORT, several=True),
                "alpha": ALPHA,
                "n": DRAWS,
                "nbest": NBEST,
                "seed": SEED,
            },
            draw=draw_comparison,
        ),
        View(
            slug="lattice",
            title="The lattice",
            caption=(
                "Every piece of the vocabulary that occurs in the text is an arc; a segmentation is a path from the left end "
                "to the right. An arc is as heavy as the probability that a random segmentation uses it, found by one pass "
                "forward and one back; orange is the best path, or all of them where several tie. Dots grow with the "
                "probability of a cut. In English “▁” stands for the space before a word."
            ),
            compute=lattice,
            controls={"text": TEXT, "vocabulary": VOCABULARY, "pieces": PIECES, "alpha": ALPHA},
            draw=draw_lattice,
        ),
        View(
            slug="alpha",
            title="What α does",
            caption=(
                "At $\\alpha=0$ all segmentations are alike and the entropy is the logarithm of their number; as $\\alpha$ "
                "grows the best one takes everything. Useful noise for training lies between."
            ),
            compute=lattice,
            controls={
                "text": TEXT,
                "vocabulary": VOCABULARY,
                "pieces": PIECES,
                "alpha_max": Range("Greatest α", 0.5, 5, step=0.5),
            },
            draw=draw_sweep,
        ),
        View(
            slug="passage",
            title="A passage, cut again and again",
            caption=(
                "What a language model that trains with random segmentation would read: the same words, never spelled "
                "quite the same way. Below, how often each place was cut, against the probability that it should be (cuts that "
                "every segmentation has are left out)."
            ),
            compute=read,
            controls={
                "passage": Text("Passage", most=400, lines=3),
                "vocabulary": VOCABULARY,
                "pieces": PIECES,
                "method": Choice("Sampler", SHORT),
                "alpha": ALPHA,
                "n": DRAWS,
                "nbest": NBEST,
                "seed": SEED,
            },
            draw=draw_reading,
        ),
        View(
            slug="speed",
            title="Throughput",
            caption=(
                "A long text falls apart at forced cuts (before every space in English), and equal words have equal laws. "
                "So FFBS runs its forward pass once for each different word and draws all words together. The perfect "
                "sampler draws at every node and cannot share that work; that is the price of its single pass. On half a "
                "megabyte of English and one thread, FFBS was 1.1 times as fast as SentencePiece's own sampling, the "
                "perfect sampler 0.4 times (benchmarks/segmentation.py)."
            ),
            compute=throughput,
            controls={
                "vocabulary": VOCABULARY,
                "pieces": PIECES,
                "kilobytes": Range("Kilobytes", step=1, log=True),
                "alpha": ALPHA,
                "seed": SEED,
            },
            draw=draw_throughput,
            live=False,
            seconds=2,
            brief={"kilobytes": 10},
        ),
    ),
    stories=(
        Story(
            "Three equal ways, one gets half",
            "Six pieces spell “watching” in three ways, all equally probable. Viterbi Sampling as first published keeps "
            "each new way with probability one half against whatever survived so far: the last to arrive gets ½, the "
            "others ¼. The perfect sampler weighs the newcomer against all that came before, and gives each its third.",
            "law",
            {"text": "watching", "vocabulary": "own", "pieces": WATCHING, "alpha": 1.0, "n": 5000},
        ),
        Story(
            "Twenty-four ways to spell ababab",
            "The bias is no artefact of ties: with six pieces of different weight, “ababab” has 24 segmentations, and the "
            "first sampler is off by 0.24 in total variation however long it draws. The perfect one and FFBS differ from "
            "the bars by chance only.",
            "law",
            {"text": "ababab", "vocabulary": "own", "pieces": ABABAB, "alpha": 1.0, "n": 10_000},
        ),
        Story(
            "What the n best leave out",
            "Drawing from the n best segmentations is one of the ways that SentencePiece offers. At α = 0.05 the four best "
            "of the 52 ways to cut “unkindest” hold 22 % of the probability: drawn from alone they get all of it, four and a "
            "half times their share, and the other 48 nothing.",
            "law",
            {"text": "unkindest", "methods": ("n-best", "perfect"), "alpha": 0.05, "nbest": 4, "n": 5000},
        ),
        Story(
            "Where a Chinese line may be cut",
            "The first line of a quatrain in the lattice of a Chinese vocabulary: 人间万事 may be one piece, two, three or "
            "four. Raise α and the arcs settle on the best path; lower it and single characters come back.",
            "lattice",
            {"text": "人间万事何须问", "vocabulary": "chinese", "alpha": 0.3},
        ),
        Story(
            "A poem with trembling seams",
            "The same lines cut a thousand times at α = 0.3. 人间万事 mostly holds together (its seams are cut with "
            "probability 0.04, 0.23 and 0.05), and so does 流水 (0.21); 明月 comes apart about as often as not (0.48). Commas "
            "and stops always stand alone, for no piece of this vocabulary crosses them.",
            "passage",
            {"passage": "人间万事何须问，不知天上有人间，明月照流水。", "vocabulary": "chinese", "alpha": 0.3},
        ),
    ),
    checks=CHECKS,
)
