"""Text sampled by walking: Gibbs sampling and edits with masked language models, and chains whose law is known."""

from __future__ import annotations

import html
import math

import numpy as np
import plotly.graph_objects as go

from engines.gibbs import kernels
from engines.gibbs.cgmh import ANNEALING, KeywordSentences, write
from engines.gibbs.checks import CHECKS
from engines.gibbs.experiments import EditLaws, ScanLaws, Weighing, edit_laws, scan_laws, weigh
from engines.gibbs.field import PairField, random_field
from engines.gibbs.masked import join
from engines.gibbs.sampling import SCHEDULES
from engines.gibbs.text import GibbsSample, sample
from studio.exhibit import Choice, Exhibit, Prose, Range, Story, Table, Text, Toggle, View, verbatim
from studio.figure import COLORS, DIVERGING, GREY, across, figure, label, scrubbed

QUATRAIN = "_______，_______。_______，_______。"
NAMES = {
    "bert-quatrain": "Quatrains (ours)",
    "bert-storybook": "Story book (ours)",
    "google-bert/bert-base-chinese": "bert-base-chinese (Hub)",
    "google-bert/bert-base-uncased": "bert-base-uncased (Hub)",
}
SCANS = {
    "sweep": "left to right",
    "random": "random positions",
    "blocks": "blocks at once",
    "parallel": "all at once",
}
KERNELS = {
    "random": "random scan",
    "sweep": "left to right",
    "backwards": "right to left",
    "joint blocks": "blocks of 2, jointly",
    "blocks": "blocks of 2 at once",
    "parallel": "all at once",
    "metropolis": "sweep + Metropolis",
}
STARTS = {"masks": "all marks", "words": "random words"}
CONSTRAINTS = {"hard": "hard: every keyword stays", "soft": "soft: a missing keyword costs"}
PROPOSALS = {"uniform": "any letter alike", "conditional": "the true conditional"}
CHAINS = Range("Chains", 1, 16, step=1)
TEMPERATURE = Range("Temperature, first", 0.05, 3, step=0.05)
MODEL = Choice("Model", NAMES, help="Ours are small and at hand; those of the Hub are fetched on first use.")
SEED = Range("Seed", 0, 999, step=1)
DRAWS = Range("Draws", 100, 10_000, step=100, log=True)
COUPLING = Range("Coupling", -3, 3, step=0.1, help="How much neighbours like to be equal.")
FIELD = Range("Field", -2, 2, step=0.1, help="How much b is preferred, and c avoided.")
MOST_FRAMES = 48
WIDTH = 34  # characters of a line of English


def some(count: int, most: int = MOST_FRAMES) -> list[int]:
    """At most `most` of the numbers below count, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def colored(text: str, color: str) -> str:
    return f'<span style="color:{color}">{text}</span>'


def set_text(tokens: list[str], marked: list[bool], chinese: bool) -> str:
    """Tokens as lines of a figure's text, the marked ones coloured: a poem by its verses, prose broken where it is long."""
    lines, line, width = [], "", 0
    for token, mark in zip(tokens, marked, strict=True):
        spaced = "" if chinese or not line or token.startswith("##") or token in set(",.;:!?’”)") else " "
        word = html.escape(token.removeprefix("##"), quote=False)
        if not chinese and spaced and width + len(word) > WIDTH:
            lines.append(line)
            line, width, spaced = "", 0, ""
        line += spaced + (f"<b>{colored(word, COLORS[1])}</b>" if mark else word)
        width += len(spaced) + len(word)
        if chinese and (token in set("，。！？；") or width >= 16):
            lines.append(line)
            line, width = "", 0
    return "<br>".join([*lines, line] if line else lines)


def text_figure(frames: list[list[str]], labels: list[str], name: str, columns: int, size: int) -> go.Figure:
    """Texts on a grid, scrubbed; frames[moment][chain] is already set in lines."""
    count = len(frames[0])
    rows = math.ceil(count / columns)
    lines = max(text.count("<br>") + 1 for frame in frames for text in frame)
    x = np.arange(count) % columns
    y = np.arange(count) // columns

    def trace(texts: list[str]) -> go.Scatter:
        return go.Scatter(
            x=x,
            y=y,
            text=texts,
            mode="text",
            textfont={"size": size},
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
        )

    drawn = figure([trace(frames[-1])], height=130 + rows * round(lines * size * 1.45 + 18))
    drawn.update_xaxes(visible=False, range=[-0.5, columns - 0.5], fixedrange=True)
    drawn.update_yaxes(visible=False, range=[rows - 0.5, -0.5], fixedrange=True)
    drawn.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8})
    return scrubbed(drawn, [[trace(texts)] for texts in frames], labels, name, len(frames) - 1)


def draw_sample(result: GibbsSample) -> list:
    """The texts at every sweep, what moved where, the likelihood, and how far the chains can be trusted."""
    sweeps, chains, _ = result.moves.shape
    moments = some(sweeps + 1)
    shown = range(min(chains, 4))
    frames = []
    for moment in moments:
        marks = result.moves[moment - 1] == 2 if moment else np.zeros(result.tokens.shape[1:], bool)
        frames.append([set_text(result.tokens[moment, c].tolist(), marks[c].tolist(), result.chinese) for c in shown])
    texts = text_figure(
        frames,
        [str(m) for m in moments],
        "sweep",
        2 if result.chinese and chains > 1 else 1,
        19 if result.chinese else 15,
    )

    free = np.flatnonzero(result.free)
    columns = some(sweeps, 120)
    rows, words = [], []
    for chain in range(chains):
        rows += [*result.moves[columns, chain][:, free].T, np.zeros(len(columns), np.uint8)]
        words += [*result.tokens[1:][columns, chain][:, free].T, np.full(len(columns), "")]
    grid, words = np.array(rows[:-1]), np.array(words[:-1])
    heat = figure(x="sweep", y="position, chain under chain", height=min(620, 160 + 4 * len(grid)))
    scale = [[0, "rgba(128,128,128,0.08)"], [0.25, "rgba(128,128,128,0.08)"]]
    for low, high, color in ((0.25, 0.5, "#9db7c9"), (0.5, 0.75, COLORS[1]), (0.75, 1, COLORS[3])):
        scale += [[low, color], [high, color]]
    heat.add_trace(
        go.Heatmap(
            x=np.array(columns) + 1,
            z=grid.astype(np.uint8),
            zmin=-0.5,
            zmax=3.5,
            colorscale=scale,
            text=words.tolist() if words.size <= 6000 else None,
            hovertemplate="sweep %{x}<br>%{text}<extra></extra>" if words.size <= 6000 else "sweep %{x}<extra></extra>",
            colorbar={
                "tickvals": [0, 1, 2, 3],
                "ticktext": ["–", "same", "new", "rejected"],
                "thickness": 12,
                "len": 0.9,
            },
        )
    )
    ticks = np.arange(chains) * (len(free) + 1) + (len(free) - 1) / 2
    heat.update_xaxes(tickformat="d", dtick=1 if sweeps < 12 else None)
    heat.update_yaxes(autorange="reversed", tickvals=ticks, ticktext=[str(c + 1) for c in range(chains)], ticks="")
    heat.update_layout(yaxis_title_text="chain, its positions downwards")

    trace = figure(x="sweep", y="nats per position", height=360)
    trace.update_xaxes(tickformat="d", dtick=1 if sweeps < 12 else None)
    x = np.arange(1, sweeps + 1)
    for chain in range(chains):
        color = COLORS[chain % len(COLORS)]
        trace.add_trace(
            go.Scatter(
                x=x,
                y=result.log_prob[:, chain].astype(np.float32),
                mode="lines",
                line={"color": color, "width": 1.5},
                name=f"chain {chain + 1}",
                showlegend=chain < len(COLORS),
                hovertemplate=f"chain {chain + 1}, sweep %{{x}}<br>%{{y:.3f}} as drawn<extra></extra>",
            )
        )
        known = np.flatnonzero(np.isfinite(result.pll[:, chain]))
        if len(known):
            trace.add_trace(
                go.Scatter(
                    x=known,
                    y=result.pll[known, chain].astype(np.float32),
                    mode="markers",
                    marker={"color": color, "size": 8, "symbol": "circle"},
                    showlegend=False,
                    hovertemplate=f"chain {chain + 1}, sweep %{{x}}<br>pseudo-log-likelihood %{{y:.3f}}<extra></extra>",
                )
            )
    if 0 < result.burn_in < sweeps:
        across(trace, x=result.burn_in + 0.5, line={"dash": "dot", "width": 1, "color": GREY})
    alike = figure(x="lag (sweeps)", y="Hamming autocorrelation", height=280)
    alike.update_xaxes(tickformat="d", dtick=1 if len(result.hamming) < 12 else None)
    alike.add_trace(
        go.Scatter(
            x=np.arange(len(result.hamming)),
            y=result.hamming.astype(np.float32),
            mode="lines+markers",
            line={"color": COLORS[2]},
            showlegend=False,
        )
    )
    across(alike, y=0, line={"width": 1, "color": GREY})

    def number(value: float, digits: int = 2) -> str:
        return "–" if math.isnan(value) else f"{value:.{digits}f}"

    facts = [
        ["split R̂ of the trace", number(result.r_hat)],
        ["effective sample size", f"{number(result.ess, 1)} of {chains * sweeps}"],
        ["accepted", f"{result.acceptance:.1%}"],
        ["self-BLEU-2 of the chains", number(result.self_bleu)],
        ["temperature now", f"{result.temperature[-1]:.2f}"],
    ]
    last = [[i + 1, text] for i, text in enumerate(result.texts)]
    return [texts, heat, trace, alike, Table(("of the run", ""), facts), Table(("chain", "text now"), last)]


def draw_field(result: PairField) -> list:
    """Where the laws of the two scan orders differ, word by word."""
    count = min(16, len(result.x_words))
    percent = 200 * (result.x_last - result.y_last) / (result.x_last + result.y_last)
    change = percent[:count, :count]
    most = max(1.0, float(np.abs(change).max()))
    drawn = figure(x="second word", y="first word", height=480)
    drawn.add_trace(
        go.Heatmap(
            x=list(range(count)),
            y=list(range(count)),
            z=change.astype(np.float32),
            zmin=-most,
            zmax=most,
            colorscale=[list(stop) for stop in DIVERGING],
            colorbar={"thickness": 12, "ticksuffix": "%"},
            hovertemplate="%{z:+.2f}% if the first word is drawn last<extra></extra>",
        )
    )
    places = list(range(count))
    across = 0 if max(map(len, result.y_words[:count])) == 1 else -90
    drawn.update_xaxes(tickvals=places, ticktext=list(result.y_words[:count]), tickangle=across, automargin=True)
    drawn.update_yaxes(tickvals=places, ticktext=list(result.x_words[:count]), automargin=True, autorange="reversed")
    order = np.argsort(-(result.x_last + result.y_last), axis=None)[:8]
    rows = []
    for i, j in zip(*np.unravel_index(order, result.x_last.shape), strict=True):
        words = f"{result.x_words[i]} {result.y_words[j]}"
        rows.append([words, f"{result.x_last[i, j]:.4f}", f"{result.y_last[i, j]:.4f}", f"{percent[i, j]:+.2f}%"])
    said = (
        f"“{verbatim(result.text)}”: over {len(result.x_words)} candidates each (which hold {result.covered[0]:.0%} and "
        f"{result.covered[1]:.0%} of the model's law) the two orders differ by **{result.distance:.3f}** in total variation. "
        f"log p(x|y) − log p(y|x) misses the form f(x) + g(y), which one joint would give it, by {result.mismatch:.3f} nats."
    )
    return [drawn, Table(("words", "first drawn last", "second drawn last", "change"), rows), Prose(said)]


def edited(result: KeywordSentences, step: int, chain: int) -> str:
    """The sentence before a step with its edit shown: taken out struck in grey, put in bold."""
    if step < 0:
        return html.escape(str(result.history[0, chain]), quote=False)
    words = result.before[step, chain].split()
    operation, place = str(result.operation[step, chain]), int(result.place[step, chain])
    if not operation:
        return html.escape(join(words, False), quote=False)
    old, new = str(result.old[step, chain]), str(result.new[step, chain])
    accepted = bool(result.accepted[step, chain])
    shown = [html.escape(word, quote=False) for word in words]
    gone = colored(f"[−{html.escape(old, quote=False)}]", COLORS[3] if accepted else GREY) if old else ""
    come = colored(f"[+{html.escape(new, quote=False)}]", COLORS[2] if accepted else GREY) if new else ""
    shown[place : place + bool(old)] = [part for part in (gone, come) if part]
    lines, line, width = [], "", 0
    for word, plain in zip(shown, [*words, "", ""][: len(shown)], strict=True):
        if line and width > WIDTH + 6:
            lines.append(line)
            line, width = "", 0
        line += (" " if line else "") + word
        width += len(plain) + 2
    return "<br>".join([*lines, line]).replace(" ##", "")


def draw_write(result: KeywordSentences) -> list:
    """The sentences, edit by edit, and the target they climb."""
    steps, chains = result.operation.shape
    moments = some(steps, 60)
    frames = [[edited(result, step, chain) for chain in range(min(chains, 4))] for step in moments]
    texts = text_figure(frames, [str(m + 1) for m in moments], "edit", 1, 15)
    trace = figure(x="edits proposed", y="log π (nats)", height=340)
    columns = some(steps + 1, 400)
    for chain in range(chains):
        trace.add_trace(
            go.Scatter(
                x=np.array(columns),
                y=result.log_target[columns, chain].astype(np.float32),
                mode="lines",
                line={"width": 1.5, "color": COLORS[chain % len(COLORS)]},
                name=f"chain {chain + 1}",
                showlegend=chain < len(COLORS),
                hovertemplate=f"chain {chain + 1}, edit %{{x}}<br>log π = %{{y:.1f}}<extra></extra>",
            )
        )
    rows = [
        [i + 1, text, f"{result.log_target[-1, i]:.1f}", int(result.missing[i])]
        for i, text in enumerate(result.sentences)
    ]
    tried = []
    for operation in kernels.OPERATIONS:
        of = result.operation == operation
        tried.append([operation, int(of.sum()), f"{result.accepted[of].mean():.1%}" if of.any() else "–"])
    said = f"The best sentence met (log π = {result.best_log_target:.1f}): {verbatim(str(result.best))}"
    return [
        texts,
        Table(("chain", "sentence now", "log π", "keywords missing"), rows),
        trace,
        Table(("edit", "proposed", "accepted"), tried),
        Prose(said),
    ]


def draw_scans(result: ScanLaws) -> list:
    """The law each scan keeps, and how soon it gets there."""
    order = np.argsort(-result.law, kind="stable")[:27]
    names = [result.states[i] for i in order]
    drawn = figure(x="state", y="probability", height=400)
    drawn.add_trace(
        go.Bar(
            x=names,
            y=result.law[order].astype(np.float32),
            name="the joint",
            marker={"color": COLORS[0]},
            opacity=0.35,
        )
    )
    wrong = [k for k, d in enumerate(result.distance) if d > 1e-9]
    right = [k for k, d in enumerate(result.distance) if d <= 1e-9]
    for mark, k in enumerate([*right[:1], *wrong]):
        drawn.add_trace(
            go.Scatter(
                x=names,
                y=result.stationary[k, order].astype(np.float32),
                mode="markers",
                marker={
                    "color": COLORS[k if k in wrong else 2],
                    "size": 8,
                    "symbol": ("circle", "diamond", "x", "square", "cross")[mark % 5],
                },
                name=KERNELS[result.scans[k]] if k in wrong else "the joint's: random, sweeps, joint blocks",
            )
        )
    drawn.update_xaxes(tickangle=-90, tickfont={"size": 11})
    drawn.update_yaxes(rangemode="tozero")
    soon = figure(x="sweeps", y="total variation from the joint", height=360)
    steps = np.arange(result.approach.shape[1])
    for k, name in enumerate(map(KERNELS.get, result.scans)):
        soon.add_trace(
            go.Scatter(
                x=steps,
                y=np.maximum(result.approach[k], 1e-9).astype(np.float32),
                mode="lines",
                line={"width": 2.5, "color": COLORS[k % len(COLORS)], "dash": "solid" if k in right else "dash"},
                name=name,
            )
        )
    soon.update_yaxes(type="log", exponentformat="power", range=[-6, 0.1])
    rows = [
        [KERNELS[name], f"{d:.6f}", f"{b:.1e}"]
        for name, d, b in zip(result.scans, result.distance, result.balance, strict=True)
    ]
    return [
        drawn,
        soon,
        Table(
            ("scan", "total variation from the joint", "greatest imbalance of a pair of states, |πᵢ kᵢⱼ − πⱼ kⱼᵢ|"),
            rows,
        ),
    ]


def draw_edits(result: EditLaws) -> list:
    """π beside what the faithful and the careless chain keep."""
    names = [s or "∅" for s in result.states]
    drawn = figure(x="string", y="probability", height=400)
    drawn.add_trace(
        go.Bar(x=names, y=result.law.astype(np.float32), name="π", marker={"color": COLORS[0]}, opacity=0.35)
    )
    for name, law, color, symbol in (
        (f"{result.n:,} true edits", result.sampled, COLORS[2], "circle"),
        ("without the letters' probability", result.without_ratio, COLORS[3], "x"),
    ):
        drawn.add_trace(
            go.Scatter(
                x=names,
                y=law.astype(np.float32),
                mode="markers",
                name=name,
                marker={"color": color, "symbol": symbol, "size": 9},
            )
        )
    drawn.update_xaxes(type="category", tickangle=-90 if len(names) > 15 else None)
    drawn.update_yaxes(rangemode="tozero")
    rows = [
        ["true ratio, exactly", f"{result.distance[0]:.1e}"],
        [f"true ratio, {result.n:,} steps drawn", f"{result.distance[2]:.4f}"],
        ["letters' probability left out, exactly", f"{result.distance[1]:.4f}"],
    ]
    said = f"Detailed balance holds to {result.balance:.1e}; {result.moved:.1%} of the steps moved."
    return [drawn, Table(("chain", "total variation from π"), rows), Prose(said)]


def draw_weigh(result: Weighing) -> list:
    """Densities and draws in one dimension, and what is left of them in many."""
    drawn = figure(x="x", y="density", height=360)
    middle = (result.edges[:-1] + result.edges[1:]) / 2
    drawn.add_trace(
        go.Bar(
            x=middle,
            y=result.weighted.astype(np.float32),
            name="weighted draws",
            marker={"color": COLORS[0]},
            opacity=0.3,
        )
    )
    if math.isfinite(result.log_bound):
        drawn.add_trace(
            go.Scatter(
                x=middle,
                y=result.accepted.astype(np.float32),
                mode="markers",
                name="accepted draws",
                marker={"color": COLORS[1], "size": 6},
            )
        )
        drawn.add_trace(
            go.Scatter(
                x=result.x,
                y=result.envelope.astype(np.float32),
                mode="lines",
                name="M q",
                line={"dash": "dot", "color": GREY},
            )
        )
    for name, y, color in (("target p", result.target, COLORS[2]), ("proposal q", result.proposal, COLORS[4])):
        drawn.add_trace(
            go.Scatter(x=result.x, y=y.astype(np.float32), mode="lines", name=name, line={"color": color, "width": 2.5})
        )
    # without M q, which may be any number of times higher
    top = max(float(y.max()) for y in (result.target, result.proposal, result.weighted, result.accepted))
    drawn.update_yaxes(range=[0, max(0.6, 1.05 * top)])
    possible = math.isfinite(result.log_bound)
    said = f"M = sup p/q = exp({result.log_bound:.4g})."
    if not possible:
        said = "p/q has no bound here, so rejection is impossible"
        if result.expected_efficiency:
            said += "."
        else:
            said += " and the weights have no variance: their effective size means nothing."

    def known(value: float) -> str:
        return f"{value:.4f}" if value > 0 else "–"

    rows = [
        ["share accepted", f"{result.rate:.4f}" if possible else "–", known(result.expected_rate)],
        ["effective share, by weights", known(result.efficiency), known(result.expected_efficiency)],
        ["variance of the accepted", known(result.variance[0]), "1" if possible else "–"],
        ["variance of the weighted", known(result.variance[1]), "1"],
    ]
    panels = [drawn, Table(("", "drawn", "expected"), rows), Prose(said)]
    if not result.expected_efficiency:  # nothing to multiply
        return panels
    many = figure(x="dimensions", y="share of the draws that count", height=340)
    for name, share, color in (
        ("accepted", result.log_rates, COLORS[1]),
        ("effective", result.log_efficiencies, COLORS[0]),
    ):
        if np.isfinite(share[0]):
            many.add_trace(
                go.Scatter(
                    x=result.dimensions,
                    y=np.exp(np.maximum(share, -69)).astype(np.float32),
                    mode="lines",
                    line={"width": 3, "color": color},
                    name=name,
                )
            )
    across(many, x=28, line={"dash": "dot", "width": 1, "color": GREY})
    label(many, 28, 0, "a quatrain: 28", xanchor="right", yanchor="bottom")
    many.update_yaxes(type="log", exponentformat="power")
    return [*panels, many]


EXHIBIT = Exhibit(
    slug="gibbs",
    title="BERT Gibbs sampling",
    summary="BERT has something to say: texts sampled word by word, keywords grown into sentences, and toy chains that tell when to believe them.",
    sources=(
        ("Su, Searched text 1: from search to sampling", "https://kexue.fm/archives/8062"),
        ("Su, Searched text 2: MCMC and simulated annealing", "https://kexue.fm/archives/8084"),
        ("Su, Searched text 3: BERT and Gibbs sampling", "https://kexue.fm/archives/8119"),
        ("Su, Searched text 4: CGMH by inserting, deleting, replacing", "https://kexue.fm/archives/8194"),
        ("Wang & Cho, BERT has a Mouth, and It Must Speak", "https://arxiv.org/abs/1902.04094"),
        ("Goyal et al., Exposing the Implicit Energy Networks behind Masked LMs", "https://arxiv.org/abs/2106.02736"),
        ("Miao et al., CGMH", "https://arxiv.org/abs/1811.10996"),
        ("Salazar et al., Masked Language Model Scoring", "https://arxiv.org/abs/1910.14659"),
        ("Geman & Geman 1984", "https://doi.org/10.1109/TPAMI.1984.4767596"),
    ),
    views=(
        View(
            slug="sample",
            title="BERT writes",
            caption=(
                "Each step hides one word, asks BERT for its law given the rest, and draws. Scrub the slider to watch a text "
                "come out of nothing; words that changed in a sweep are orange. The lines, a colour for each chain, are the "
                "log-probability of the words as they were drawn, the dots the pseudo-log-likelihood, both per position. An R̂ far from 1 says that the chains "
                "still remember where they began, or, where the temperature changes on the way, that their law does."
            ),
            compute=sample,
            controls={
                "model": MODEL,
                "text": Text(
                    "Text", most=400, lines=2, help="Write the words to keep, and _ for each one to be found."
                ),
                "length": Range(
                    "Length (tokens)", 0, 64, step=1, help="0: as long as the text. Otherwise marks fill it up."
                ),
                "scan": Choice("Scan", SCANS),
                "block": Range("Block", 1, 16, step=1, help="Positions hidden together.", when={"scan": ["blocks"]}),
                "sweeps": Range("Sweeps", 1, 120, step=1),
                "chains": CHAINS,
                "temperature": TEMPERATURE,
                "schedule": Choice("Annealing", SCHEDULES),
                "end_temperature": Range(
                    "Temperature, last", 0.05, 3, step=0.05, when={"schedule": ["linear", "geometric"]}
                ),
                "top_k": Range("Top k after burn-in", 0, 200, step=1, help="0: all words."),
                "top_p": Range("Top p after burn-in", 0.05, 1, step=0.05),
                "burn_in": Range("Burn-in (sweeps)", 0, 60, step=1),
                "metropolis": Toggle(
                    "Metropolis correction", help="Towards exp(pseudo-log-likelihood). Dear: each step scores a text."
                ),
                "start": Choice("Begin with", STARTS),
                "score_every": Range("Score every … sweeps", 1, 60, step=1),
                "seed": SEED,
            },
            draw=draw_sample,
            live=False,
            seconds=8,
            brief={"sweeps": 3, "chains": 2, "burn_in": 1, "score_every": 2},
        ),
        View(
            slug="keywords",
            title="Keywords grow sentences",
            caption=(
                "CGMH begins with the keywords alone and proposes to insert, delete or replace a word, which BERT picks. A "
                "causal model of bytes scores the sentence, keywords constrain it, and every edit is accepted with the full "
                "Metropolis–Hastings ratio: green comes, red goes, grey was refused. The published code is another chain: it "
                "walks the places from left to right, takes any replacement above a threshold that switches between 0 and "
                "½, and reports the best sentence it met."
            ),
            compute=write,
            controls={
                "keywords": Text("Keywords", most=120, help="Up to eight words, parted by commas."),
                "constraint": Choice("Constraint", CONSTRAINTS),
                "penalty": Range("Cost of a missing keyword (nats)", 0, 30, step=0.5, when={"constraint": ["soft"]}),
                "reward": Range(
                    "Reward of a word (nats)", -2, 8, step=0.5, help="A language model alone likes it short."
                ),
                "max_length": Range("Longest (tokens)", 2, 30, step=1),
                "steps": Range("Edits", 10, 600, step=10),
                "chains": CHAINS,
                "annealing": Choice("Simulated annealing (3 → 0.3)", ANNEALING),
                "seed": SEED,
            },
            draw=draw_write,
            live=False,
            seconds=8,
            brief={"steps": 10, "chains": 2},
        ),
        View(
            slug="field",
            title="No Markov random field",
            caption=(
                "Were BERT's conditionals those of one joint law, Gibbs sampling would keep it whatever the order. Two marked "
                "words make it plain: how much more probable each pair is when the first is drawn last than when the second "
                "is, in percent of the mean of both. All would be zero for a Markov random field."
            ),
            compute=random_field,
            controls={
                "model": MODEL,
                "candidates": Range("Candidates a word", 2, 64, step=1),
                "temperature": TEMPERATURE,
            },
            draw=draw_field,
            live=False,
            seconds=2,
        ),
        View(
            slug="scans",
            title="Scans of a known joint",
            caption=(
                "On $p\\propto\\exp(J\\sum_i\\mathbf 1[x_i=x_{i+1}]+\\sum_i h(x_i))$ everything can be computed. Random scan, "
                "sweep and blocks drawn from their joint conditional keep $p$. Drawing several positions at once from their "
                "marginals does not, and the Metropolis correction keeps another law, $\\prod_i p(x_i\\mid x_{-i})$ made to sum to 1."
            ),
            compute=scan_laws,
            controls={
                "conditionals": Choice("Conditionals", {"joint": "of one joint", "mixed": "of two joints"}),
                "coupling": COUPLING,
                "other_coupling": Range(
                    "Coupling of every second one", -3, 3, step=0.1, when={"conditionals": ["mixed"]}
                ),
                "field": FIELD,
                "positions": Range("Positions", 2, 4, step=1),
            },
            draw=draw_scans,
        ),
        View(
            slug="edits",
            title="Edits of a known law",
            caption=(
                "Strings of a and b with $\\pi\\propto\\exp(-c\\cdot\\text{length}+g\\cdot\\text{changes})$, walked by inserting, "
                "deleting, replacing. The acceptance needs the probability with which a letter was proposed: leave it out and "
                "the chain keeps another law (crosses)."
            ),
            compute=edit_laws,
            controls={
                "cost": Range("Cost of a letter c", -1, 2, step=0.1),
                "gain": Range("Gain of a change g", -2, 2, step=0.1),
                "proposal": Choice("Letters are proposed from", PROPOSALS),
                "n": DRAWS,
                "seed": SEED,
            },
            draw=draw_edits,
        ),
        View(
            slug="weighing",
            title="Importance and rejection",
            caption=(
                "The oldest ways: draw from $q$, then accept with $p/(Mq)$, or weigh with $p/q$. Fine in one dimension; each "
                "further one multiplies the loss, and a quatrain has 28 positions. That is why text is sampled by walking."
            ),
            compute=weigh,
            controls={
                "mean": Range("Mean of q", -3, 3, step=0.1),
                "sd": Range("Standard deviation of q", 0.3, 4, step=0.1),
                "n": DRAWS,
                "seed": SEED,
            },
            draw=draw_weigh,
        ),
    ),
    stories=(
        Story(
            "A quatrain out of nothing",
            "Twenty-eight marks and the punctuation, four chains, the temperature falling from 1 to 0.5. The first sweep "
            "writes each word knowing only those before it; later sweeps mend. Watch the orange thin out as it cools.",
            "sample",
            {},
        ),
        Story(
            "Finish the poem",
            "The first line and the rhyme are given, the rest is marked. Fixed words never move, and the free ones arrange "
            "themselves round them.",
            "sample",
            {"text": "明月松间照此心，_______。_______，_____人__。", "sweeps": 20},
        ),
        Story(
            "Once upon a time",
            "The same sampler on English stories. The vocabulary is of whole words and word pieces; prose is freer than a "
            "quatrain.",
            "sample",
            {"model": "bert-storybook", "text": "once upon a time there was a _ who _ _ _ _ _ _ _ _ _ .", "sweeps": 20},
        ),
        Story(
            "All at once is too much",
            "In the parallel scan every word is redrawn from the others as they were. On a known joint this misses the law "
            "by 0.23 in total variation; on text the words never agree with one another.",
            "sample",
            {"scan": "parallel", "end_temperature": 1.0, "sweeps": 16},
        ),
        Story(
            "Keywords to a sentence",
            "From “king, forest” alone, by edits. Raise the reward of a word to get longer sentences; switch annealing on and "
            "the chain turns from sampling to searching.",
            "keywords",
            {"annealing": "on"},
        ),
        Story(
            "A sweep cannot be run backwards",
            "Random scan and sweep keep the same joint, yet of these two only the first is reversible; the table shows the "
            "imbalance. Drawing all positions at once is reversible too, but for another law, off by 0.231208.",
            "scans",
            {},
        ),
        Story(
            "Why every draw of text cannot be independent",
            "From N(0, 4) rejection keeps half the draws of N(0, 1), and weighing is worth two thirds. In 28 dimensions the "
            "same leaves four in a thousand million, and one in a hundred thousand.",
            "weighing",
            {},
        ),
    ),
    checks=CHECKS,
)
