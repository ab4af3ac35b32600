"""What the views of the Gibbs exhibit draw."""

from __future__ import annotations

import itertools
import math

import numpy as np

from engines.gibbs.annealing import Annealing
from engines.gibbs.cgmh import KeywordSentences
from engines.gibbs.experiments import EditLaws, ScanLaws, Weighing
from engines.gibbs.field import PairField
from engines.gibbs.kernels import OPERATIONS
from engines.gibbs.masked import MARK
from engines.gibbs.sampling import CHANGED, REJECTED, UNTOUCHED
from engines.gibbs.text import GibbsSample
from engines.gibbs.unmask import Decodings
from studio.figure import (
    COLORS,
    DIVERGING,
    GREY,
    Figure,
    across,
    band,
    bars,
    cells,
    drag,
    figure,
    heat,
    label,
    line,
    points,
    scrub,
    short,
)
from studio.language import Said, raw, say
from studio.panels import Folded, Piece, Prose, Table, Writing, verbatim

NEW, GONE, ADDED = COLORS[1], COLORS[3], COLORS[2]  # a word that changed; one rejected or taken out; one put in
KEYWORD = COLORS[0]
CHAINS = (COLORS[0], COLORS[4], COLORS[6], COLORS[7], COLORS[5])
MOST_TILES = 2500  # in all frames of a text
KERNELS = {
    "random": ("random scan", COLORS[2]),
    "sweep": ("left to right", COLORS[5]),
    "backwards": ("right to left", COLORS[6]),
    "joint blocks": ("joint blocks of 2", COLORS[4]),
    "blocks": ("blocks of 2 at once", COLORS[1]),
    "parallel": ("all at once", COLORS[3]),
    "metropolis": ("sweep with Metropolis correction", COLORS[7]),
}
EDITS = {"insert": "insertion", "delete": "deletion", "replace": "replacement"}


def some(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below count, evenly spaced, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, max(most, 2)))})


def chain_name(chain: int) -> Said:
    return say("chain {number}", number=chain + 1)


def lines_of(tokens: list[str], chinese: bool, tiles: list[tuple[str, str]]) -> list[list[Piece]]:
    """Tokens as lines of tiles, a poem by its verses; tiles: (color, note) of each token."""
    lines: list[list[Piece]] = [[]]
    for token, (color, note) in zip(tokens, tiles, strict=True):
        row = lines[-1]
        space = "" if chinese or not row or token.startswith("##") or token in set(",.;:!?’”)") else " "
        word = ("□" if chinese else "____") if token == MARK else token.removeprefix("##")
        if not chinese and row and not (color or note or row[-1].color or row[-1].note):
            row[-1] = Piece(row[-1].text + space + word)  # one tile: tiles stand apart
        else:
            row += [Piece(space)] * bool(space) + [Piece(word, color, 0.45 if color else 0.0, raw(note))]
        if chinese and token in set("，。！？；"):
            lines.append([])
    return [row for row in lines if row]


def text_at(result: GibbsSample, moment: int, chain: int) -> list[list[Piece]]:
    """The text of a chain after so many sweeps, what the last of them changed in colour."""
    tokens = result.tokens[moment, chain].tolist()
    tiles = [("", "")] * len(tokens)
    if moment:
        color = {CHANGED: NEW, REJECTED: GREY}
        moves, chances = result.moves[moment - 1, chain], np.exp(result.token_log_prob[moment - 1, chain])
        tiles = [(color.get(m, ""), f"p = {short(p)}" if p == p else "") for m, p in zip(moves, chances, strict=True)]
    return lines_of(tokens, result.chinese, tiles)


def first_sweep(result: GibbsSample, chain: int) -> list[list[list[Piece]]]:
    """The first sweep from left to right, word by word."""
    visited = np.flatnonzero(result.moves[0, chain] != UNTOUCHED)
    before, after = result.tokens[:2, chain].tolist()
    frames = []
    for place in visited[:-1]:
        tiles = [(NEW if i == place else "", "") for i in range(len(before))]
        frames.append(lines_of(after[: place + 1] + before[place + 1 :], result.chinese, tiles))
    return frames


def draw_sample(result: GibbsSample, chain: int = 1) -> list:
    """One chain large and in motion, the others beside it, whether they agree folded away."""
    sweeps, chains, size = result.moves.shape
    shown = min(chain, chains) - 1
    moments = some(sweeps + 1, MOST_TILES // size)
    frames = [text_at(result, moment, shown) for moment in moments]
    labels = [say("sweep {number}", number=moment) for moment in moments]
    if result.scan == "sweep" and result.free.sum() * size <= MOST_TILES:
        words = first_sweep(result, shown)
        frames[1:1] = words
        labels[1:1] = [say("sweep 1, word {number}", number=i + 1) for i in range(len(words))]
    panels: list = [Writing(frames, labels, large=True, name="", once=True)]
    others = [c for c in range(chains) if c != shown]
    if others:
        moments = some(sweeps + 1, MOST_TILES // (size * len(others)))
        frames = [[[*itertools.chain(*text_at(result, moment, c))] for c in others] for moment in moments]
        labels = [say("sweep {number}", number=moment) for moment in moments]
        panels.append(Writing(frames, labels, "The other chains", name=""))
    facts = [
        [say("split R̂ of the log-probability"), result.r_hat],
        [say("effective sample size, of {count} draws", count=chains * sweeps), result.ess],
        [say("proposals accepted"), result.acceptance],
        [say("self-BLEU-2 of the words drawn"), result.self_bleu],
        [say("temperature of the last sweep"), result.temperature[-1]],
    ]
    diagnostics = [probabilities(result), autocorrelation(result), Table(("last sweep", ""), facts)]
    return [*panels, Folded("Diagnostics", diagnostics)]


def probabilities(result: GibbsSample) -> Figure:
    """Log-probabilities of each chain over the sweeps."""
    drawn = figure(x="sweep", y="log-probability (nats a position)", height=360)
    sweeps, chains = result.log_prob.shape
    for chain in range(chains):
        color, name = CHAINS[chain % len(CHAINS)], chain_name(chain)
        hover = say("{chain}, sweep %{{x}}: %{{y:.3f}} as drawn", chain=name)
        few = chain < len(CHAINS)
        line(
            drawn, np.arange(1, sweeps + 1), result.log_prob[:, chain], name, color, width=1.5, hover=hover, legend=few
        )
        known = np.flatnonzero(np.isfinite(result.pll[:, chain]))
        if len(known):
            hover = say("{chain}, sweep %{{x}}: pseudo-log-likelihood %{{y:.3f}}", chain=name)
            points(drawn, known, result.pll[known, chain], color=color, size=8, hover=hover, legend=False)
    if 0 < result.burn_in < sweeps:
        across(drawn, x=result.burn_in + 0.5, text="end of burn-in")
    return drawn.x(tickformat="d", dtick=1 if sweeps < 12 else None)


def autocorrelation(result: GibbsSample) -> Figure:
    """How alike a text is to itself some sweeps earlier."""
    drawn = figure(x="lag (sweeps)", y="Hamming autocorrelation", height=300)
    lags = np.arange(len(result.hamming))
    line(drawn, lags, result.hamming, color=COLORS[2], marks=6, hover=say("lag %{{x}}: %{{y:.3f}}"))
    across(drawn, y=0, dash="solid")
    return drawn.x(tickformat="d", dtick=1 if len(lags) < 12 else None)


def draw_write(result: KeywordSentences, chain: int = 1, edits: str = "accepted") -> list:
    """One chain edit by edit, the sentences of all, and the target they climb."""
    steps, chains = result.operation.shape
    shown = min(chain, chains) - 1
    chosen = np.flatnonzero(result.accepted[:, shown] if edits == "accepted" else np.ones(steps, bool))
    chosen = chosen[some(len(chosen), 80)] if len(chosen) else chosen
    start = str(result.history[0, shown]).split()
    frames = [lines_of(start, False, marked(result, start))]
    frames += [edited(result, step, shown) for step in chosen]
    labels = [say("edit {number}", number=step + 1) for step in (-1, *chosen)]
    drawn = figure(x="edits proposed", y="log π (nats)", height=360)
    columns = some(steps + 1, 400)
    for c in range(chains):
        hover = say("{chain}, edit %{{x}}: log π = %{{y:.1f}}", chain=chain_name(c))
        level = result.log_target[columns, c]
        line(
            drawn,
            columns,
            level,
            chain_name(c),
            CHAINS[c % len(CHAINS)],
            width=1.5,
            hover=hover,
            legend=c < len(CHAINS),
        )
    rows = [
        [i + 1, raw(text), result.log_target[-1, i], int(result.missing[i])] for i, text in enumerate(result.sentences)
    ]
    kinds = [result.operation == operation for operation in OPERATIONS]
    shares = [result.accepted[kind].mean() if kind.any() else math.nan for kind in kinds]
    counts = [[EDITS[o], int(kind.sum()), s] for o, kind, s in zip(OPERATIONS, kinds, shares, strict=True)]
    best = say(
        "The best sentence seen, log π = {level}: {text}",
        level=short(result.best_log_target),
        text=verbatim(result.best),
    )
    pairs = zip(result.keywords, result.counterpart[shown], result.match[shown], strict=True)
    near = [[raw(word), raw(other.removeprefix("##")), match] for word, other, match in pairs]
    likes = [Table(("word given", "nearest word now", "cosine"), near, chain_name(shown))]
    return [
        Writing(frames, labels, large=True, name=""),
        Table(("chain", "sentence now", "log π", "keywords missing"), rows),
        *(likes if result.constraint == "similar" else []),
        Prose(best),
        Folded("Diagnostics", [drawn, Table(("edit", "proposed", "share accepted"), counts)]),
    ]


def marked(result: KeywordSentences, words: list[str]) -> list[tuple[str, str]]:
    """Tiles of words, keywords in colour."""
    return [(KEYWORD if word in result.keywords else "", "") for word in words]


def edited(result: KeywordSentences, step: int, chain: int) -> list[list[Piece]]:
    """The sentence before a step with its edit shown: −out, +in; grey where it was rejected."""
    words, place = str(result.before[step, chain]).split(), int(result.place[step, chain])
    old, new = str(result.old[step, chain]), str(result.new[step, chain])
    accepted = result.accepted[step, chain]
    changes = [(f"−{old}", GONE if accepted else GREY)] * bool(old) + [(f"+{new}", ADDED if accepted else GREY)] * bool(
        new
    )
    tiles = marked(result, words)
    words[place : place + bool(old)] = [word for word, _ in changes]
    tiles[place : place + bool(old)] = [(color, "") for _, color in changes]
    return lines_of(words, False, tiles)


def draw_field(result: PairField) -> list:
    """How the probability of each pair of words depends on which is drawn last."""
    count = min(16, len(result.x_words))
    percent = 200 * (result.x_last - result.y_last) / np.maximum(result.x_last + result.y_last, 1e-300)
    change = percent[:count, :count]
    most = max(1.0, float(np.abs(change).max()))
    drawn = figure(x="second word", y="first word", height=560, square=True)
    places = list(range(count))
    hover = say("%{{customdata}}: %{{z:+.2f}} % if the first word is drawn last")
    pairs = [[f"{x} {y}" for y in result.y_words[:count]] for x in result.x_words[:count]]
    heat(
        drawn,
        change,
        places,
        places,
        scale=DIVERGING,
        low=-most,
        high=most,
        bar="difference (%)",
        hover=hover,
        customdata=pairs,
    )
    turned = 0 if max(map(len, result.y_words[:count])) == 1 else -90
    names = [[raw(word) for word in words[:count]] for words in (result.y_words, result.x_words)]
    drawn.x(tickvals=places, ticktext=names[0], tickangle=turned, automargin=True)
    drawn.y(tickvals=places, ticktext=names[1], automargin=True, autorange="reversed")
    order = np.argsort(-(result.x_last + result.y_last), axis=None)[:8]
    rows = [
        [raw(f"{result.x_words[i]} {result.y_words[j]}"), result.x_last[i, j], result.y_last[i, j], percent[i, j]]
        for i, j in zip(*np.unravel_index(order, result.x_last.shape), strict=True)
    ]
    text = say(
        "“{text}”, {count} candidates each, which hold {first} and {second} of the model's probability: the "
        "stationary distributions of the two orders differ by **{distance}** in total variation. $\\log p(x\\mid "
        "y)-\\log p(y\\mid x)$ departs from the form $f(x)+g(y)$, which one joint would give it, by {mismatch} nats "
        "(standard deviation).",
        text=verbatim(result.text),
        count=len(result.x_words),
        first=f"{result.covered[0]:.0%}",
        second=f"{result.covered[1]:.0%}",
        distance=short(result.distance),
        mismatch=short(result.mismatch),
    )
    heads = ("words", "p, first drawn last", "p, second drawn last", "difference (%)")
    return [drawn, Prose(text), Table(heads, rows, "The most probable pairs")]


def draw_scans(result: ScanLaws) -> list:
    """The distribution that each scan keeps, and how fast it is reached."""
    order = np.argsort(-result.law, kind="stable")[:27]
    names = [raw(result.states[i]) for i in order]
    drawn = figure(x="state", y="probability", height=440)
    reference = "the joint p" if result.conditionals == "joint" else "random scan"
    bars(drawn, names, result.law[order], reference, COLORS[0], opacity=0.35)
    agree = [k for k, d in enumerate(result.distance) if d <= 1e-9 and result.scans[k] != "random"]
    if agree:
        spelled = [say(KERNELS[result.scans[k]][0]) for k in agree] + [say("random scan")] * (
            result.conditionals == "joint"
        )
        points(drawn, names, result.stationary[agree[0], order], raw(", ".join(spelled)), COLORS[2], size=8)
    marks = iter(("diamond", "x", "square", "cross"))
    for k, distance in enumerate(result.distance):
        if distance > 1e-9:
            name, color = KERNELS[result.scans[k]]
            points(drawn, names, result.stationary[k, order], name, color, size=9, symbol=next(marks))
    drawn.x(type="category", tickangle=-90, tickfont={"size": 11}).y(rangemode="tozero")
    soon = figure(x="sweeps", y="total variation", height=380, log="y")
    for k, scan in enumerate(result.scans):
        name, color = KERNELS[scan]
        far = result.distance[k] > 1e-9
        line(soon, np.arange(result.approach.shape[1]), result.approach[k], name, color, dash="dash" if far else None)
    soon.y(span=(1e-6, 1.2))
    rows = [
        [KERNELS[scan][0], distance if distance > 1e-9 else 0, balance if balance > 1e-12 else 0]
        for scan, distance, balance in zip(result.scans, result.distance, result.balance, strict=True)
    ]
    heads = ("scan", "total variation", "greatest |πᵢ kᵢⱼ − πⱼ kⱼᵢ|")
    text = say(
        "The stationary distributions of left to right and right to left differ by **{distance}** in total variation.",
        distance=short(result.orders if result.orders > 1e-9 else 0),
    )
    return [drawn, soon, Table(heads, rows), Prose(text)]


DECODERS = {
    "gibbs": ("Gibbs, left to right", COLORS[0], "circle"),
    "diffusion": ("masked diffusion", COLORS[2], "square"),
    "remask": ("masked diffusion, remasking", COLORS[4], "diamond"),
    "confident": ("the most confident words stay", COLORS[1], "triangle-up"),
    "mask-predict": ("mask-predict", COLORS[3], "x"),
}


def draw_unmask(result: Decodings, shown: str = "confident", passes: int = 14) -> list:
    """Quality and variety against passes, a text in the making, and the same samplers on exact conditionals."""
    quality = figure(x="forward passes", y="pseudo-log-likelihood (nats a position)", log="x", height=440)
    variety = figure(x="forward passes", y="self-BLEU-2 of the chains", log="x", height=340)
    exact = figure(x="forward passes", y="total variation", height=340, title="Four positions, exact conditionals")
    chains = result.pll.shape[2]
    for i, sampler in enumerate(result.samplers):
        name, color, symbol = DECODERS[sampler]
        known = np.flatnonzero(np.isfinite(result.pll[i]).all(-1))
        at, level = result.forwards[i, known], result.pll[i, known]
        mean, error = level.mean(-1), 2 * level.std(-1, ddof=int(chains > 1)) / math.sqrt(chains)
        band(quality, at, mean - error, mean + error, color=color)
        hover = say("%{{x}} passes: %{{y:.2f}} nats a position")
        line(quality, at, mean, name, color, marks=8, hover=hover)["marker"]["symbol"] = symbol
        if chains > 1:
            hover = say("%{{x}} passes: %{{y:.3f}}")
            line(variety, at, result.self_bleu[i, known], name, color, marks=7, hover=hover, legend=False)
        steps = np.arange(1, result.toy.shape[1] + 1)
        line(exact, steps, result.toy[i], name, color, marks=6, hover=say("%{{x}} passes: %{{y:.3f}}"), legend=False)
    for drawn in (quality, variety):
        drawn.x(tickvals=list(result.budgets), ticktext=[raw(n) for n in result.budgets])
    variety.y(rangemode="tozero")
    exact.x(dtick=1).y(rangemode="tozero")
    i = result.samplers.index(shown) if shown in result.samplers else 0
    j = int(np.abs(np.log(result.budgets / passes)).argmin())
    panels: list = [*([draw_samplers(result, j)] if result.forwards[:, j].any() else []), quality]
    if result.forwards[i, j]:
        states = result.history[i, j, : result.forwards[i, j] + 1]
        frames = []
        for step, state in enumerate(states.tolist()):
            before = states[max(step - 1, 0)].tolist()
            tiles = [(NEW if new != old and new != MARK else "", "") for new, old in zip(state, before, strict=True)]
            frames.append(lines_of(state, result.chinese, tiles))
        labels = [say("pass {number}", number=step) for step in range(len(frames))]
        title = say("{sampler}, {count} passes", sampler=say(DECODERS[result.samplers[i]][0]), count=len(frames) - 1)
        panels.append(Writing(frames, labels, title, large=True, name=""))
    columns = sorted({0, len(result.budgets) - 1})
    rows = [[DECODERS[s][0], *(raw(result.texts[k, b, 0]) for b in columns)] for k, s in enumerate(result.samplers)]
    heads = [say("{count} passes", count=int(result.budgets[b])) for b in columns]
    texts = Folded("Texts", [Table(("sampler", *heads), rows)])
    return [*panels, *([variety] if chains > 1 else []), exact, texts]


def draw_samplers(result: Decodings, budget: int) -> Writing:
    """The first text of every sampler, pass by pass beside each other."""
    most = int(result.forwards[:, budget].max())
    frames: list[list[list[Piece]]] = [[] for _ in range(most + 1)]
    for sampler, history, used, level in zip(
        result.samplers, result.history[:, budget], result.forwards[:, budget], result.pll[:, budget], strict=True
    ):
        if not used:
            continue
        name, color, _ = DECODERS[sampler]
        scored = say("{name}: {level} nats a position", name=say(name), level=short(level[0]))
        states = [history[min(step, used)].tolist() for step in range(most + 1)]
        for step, (before, state) in enumerate(zip([states[0], *states], states, strict=False)):
            fresh = [(color if new != old and new != MARK else "", "") for new, old in zip(state, before, strict=True)]
            text = itertools.chain(*lines_of(state, result.chinese, fresh))
            frames[step] += [[Piece(scored if step == most else say(name), color, 0.2)], [*text]]
    labels = [say("pass {number} of {count}", number=step, count=most) for step in range(most + 1)]
    return Writing(frames, labels, name="", once=True)


def draw_hills(result: Annealing) -> Figure:
    """Where three distributions stand on the two hills, by how many a's and b's, sweep by sweep."""
    size = result.mass.shape[-1]
    ends = result.annealed[-1], result.cold[-1], result.resting[-1]
    named = ("annealed", "always at the last temperature", "p^(1/T) itself")
    titles = []
    for name, end in zip(named, ends, strict=True):
        told = say("ends at the best string with {chance}", chance=short(end))
        titles.append(raw(f"<b>{say(name)}</b><br>{told}"))
    made, places = cells(titles, [-0.5, size - 0.5], [-0.5, size - 0.5])
    hover = say("%{{x}} a, %{{y}} b: %{{z:.3f}}")
    for mass, at in zip(result.mass, places, strict=True):
        heat(made, mass[-1], np.arange(size), np.arange(size), low=0, high=0.6, hover=hover, showscale=False, **at)
        axes = {"xref": at["xaxis"], "yref": at["yaxis"]}
        label(made, size - 0.6, 0.6, "all a: the broad hill", xanchor="right", **axes)
        label(made, 0.6, size - 1, "all b: the best string", yanchor="middle", **axes)
    made.alt = say("The annealed chain ends at the best string with {chance}.", chance=short(ends[0]))
    labels = [
        say("sweep {number}, T = {temperature}", number=int(m), temperature=short(result.temperature[max(m - 1, 0)], 2))
        for m in result.moments
    ]
    return scrub(made, [[{"z": z} for z in frame] for frame in result.mass.swapaxes(0, 1)], labels, name="", once=True)


def draw_anneal(result: Annealing) -> list:
    """The chance to stand at the best string, sweep by sweep, and after whole runs of any length."""
    drawn = figure(x="sweeps", y="chance to stand at the best string", height=440)
    x = np.arange(len(result.annealed))
    hover = say("sweep %{{x}}: %{{y:.3f}}")
    line(drawn, x[1:], result.resting, "p^(1/T) itself", GREY, width=1.5, dash="dash", hover=hover)
    curves = (
        ("annealed", result.annealed, COLORS[2], 3.0, None),
        ("always at the last temperature", result.cold, COLORS[0], 2.5, None),
        ("always at the first temperature", result.hot, COLORS[1], 2.0, None),
        ("greedy: T = 0", result.greedy, COLORS[3], 2.0, "dot"),  # the coldest chain's curve may lie under it
    )
    for name, chance, color, width, dash in curves:
        line(drawn, x, chance, name, color, width=width, dash=dash, hover=hover)
    drawn.y(range=[0, 1.03])
    whole = figure(x="sweeps of the whole run", y="chance at its end", log="x", height=380)
    for name, chance, color in (
        ("annealed", result.by_annealing, COLORS[2]),
        ("always at the last temperature", result.by_cold, COLORS[0]),
        ("greedy, restarted every two sweeps", result.by_restarts, COLORS[3]),
    ):
        own = color == COLORS[3]  # the others are named in the first figure
        line(whole, result.budgets, chance, name, color, marks=6, hover=say("%{{x}} sweeps: %{{y:.3f}}"), legend=own)
    points(whole, [len(x) - 1], result.annealed[-1:], "this run", COLORS[2], size=13, symbol="diamond", legend=False)
    drag(whole, len(whole.data) - 1, x="sweeps")
    whole.x(tickvals=list(result.budgets), ticktext=[raw(n) for n in result.budgets]).y(range=[0, 1.03])
    text = say(
        "Under $p$ the best string has probability {best}, the top of the other hill {second}. The annealed chain ends at the "
        "best with **{annealed}**, on the other hill with {trapped}.",
        best=short(result.best),
        second=short(result.second),
        annealed=short(result.annealed[-1]),
        trapped=short(result.trapped),
    )
    return [draw_hills(result), Prose(text), drawn, whole]


def draw_edits(result: EditLaws) -> list:
    """π beside what the chains keep with the whole acceptance and with a part of it."""
    names = [raw(s or "∅") for s in result.states]
    drawn = figure(x="string", y="probability", height=440)
    bars(drawn, names, result.law, "π", COLORS[0], opacity=0.35)
    points(drawn, names, result.sampled, say("sampled, true acceptance"), COLORS[2], size=9)
    points(drawn, names, result.without_ratio, "letters' probability left out", COLORS[3], size=9, symbol="x")
    points(drawn, names, result.published, "CGMH's published code", COLORS[1], size=9, symbol="diamond")
    drawn.x(type="category", tickangle=-90 if len(names) > 15 else None).y(rangemode="tozero")
    rows = [
        [say("true acceptance, exact"), result.distance[0] if result.distance[0] > 1e-12 else 0],
        [say("true acceptance, {count} steps sampled", count=result.n), result.distance[2]],
        [say("letters' probability left out, exact"), result.distance[1]],
        [say("CGMH's published code, exact, strings that are not empty"), result.distance[3]],
    ]
    text = say("{share} of the sampled steps changed the string.", share=f"{result.moved:.0%}")
    return [drawn, Table(("chain", "total variation from π"), rows), Prose(text)]


def draw_weigh(result: Weighing) -> list:
    """Densities and draws in one dimension, and what is left of the draws in many."""
    drawn = figure(x="x", y="density", height=440)
    middle = (result.edges[:-1] + result.edges[1:]) / 2
    bounded, weighable = math.isfinite(result.log_bound), math.isfinite(result.log_efficiencies[0])
    line(drawn, result.x, result.target, "target p", COLORS[2], width=2.5)
    line(drawn, result.x, result.proposal, "proposal q", COLORS[4], width=2.5)
    bars(drawn, middle, result.weighted, "weighted draws", COLORS[0], opacity=0.3)
    if bounded:
        points(drawn, middle, result.accepted, "accepted draws", COLORS[1])
        line(drawn, result.x, np.where(result.envelope < 1e30, result.envelope, np.nan), "M q", GREY, dash="dot")
    height = 1 / result.sd / math.sqrt(2 * math.pi)
    points(drawn, [result.mean], [height], "mean of q", COLORS[4], size=13, symbol="diamond", legend=False)
    drag(drawn, len(drawn.data) - 1, x="mean")
    # without M q, which may be any number of times higher
    top = max(float(y.max()) for y in (result.target, result.proposal, result.weighted, result.accepted))
    drawn.x(range=[-6, 6]).y(range=[0, max(0.6, 1.08 * top)])
    rate = (result.rate, result.expected_rate) if bounded else (math.nan, math.nan)
    rows = [
        [say("share accepted"), *rate],
        [say("effective share of the weighted draws"), result.efficiency, result.expected_efficiency or math.nan],
        [say("variance of the accepted draws"), result.variance[0], 1 if bounded else math.nan],
        [say("variance of the weighted draws"), result.variance[1], 1],
    ]
    at = int(np.flatnonzero(result.dimensions == 28)[0])
    accepted = say(
        "M = sup p/q = {bound}: in 28 dimensions rejection accepts {share} of the draws.",
        bound=power(result.log_bound),
        share=power(result.log_rates[at]),
    )
    worth = say(
        "In 28 dimensions the weighted draws are worth {share} of their number.",
        share=power(result.log_efficiencies[at]),
    )
    text = [
        accepted if bounded else say("p/q has no bound, so rejection is impossible."),
        worth if weighable else say("The weights have no variance, so no effective share is expected."),
    ]
    panels: list = [drawn, Table(("", "drawn", "expected"), rows), Prose(raw(" ".join(text)))]
    if weighable:
        many = figure(x="dimensions", y="share of the draws that count", height=360, log="y")
        curves = (("accepted", result.log_rates, COLORS[1]), ("effective", result.log_efficiencies, COLORS[0]))
        shown = [curve for curve in curves if math.isfinite(curve[1][0])]
        for name, logs, color in shown:
            line(many, result.dimensions, np.exp(logs), name, color, width=3, hover="%{x}: %{y:.2e}")
        across(many, x=28, text="28: a quatrain")
        panels.append(many.y(span=(math.exp(max(min(logs[-1] for _, logs, _ in shown), -69)) / 2, 1.5)))
    return panels


def power(log: float) -> str:
    """exp(log) for a reader, however small or great."""
    if abs(log) < 690:
        return short(math.exp(log))
    return "0" if log == -math.inf else f"exp({short(log)})"
