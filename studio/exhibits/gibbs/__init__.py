"""Gibbs sampling and edits with masked language models, and chains whose distribution is known."""

from __future__ import annotations

from engines.gibbs.annealing import anneal
from engines.gibbs.cgmh import write
from engines.gibbs.checks import CHECKS
from engines.gibbs.experiments import edit_laws, scan_laws, weigh
from engines.gibbs.field import random_field
from engines.gibbs.text import sample
from engines.gibbs.unmask import decode
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Text, Toggle, View, each, read_stories
from studio.exhibits.gibbs.figures import (
    DECODERS,
    KERNELS,
    draw_anneal,
    draw_edits,
    draw_field,
    draw_sample,
    draw_scans,
    draw_unmask,
    draw_weigh,
    draw_write,
)

NAMES = {
    "bert-quatrain": "Quatrains (ours)",
    "bert-storybook": "Story book (ours)",
    "google-bert/bert-base-chinese": "bert-base-chinese (Hub)",
    "google-bert/bert-base-uncased": "bert-base-uncased (Hub)",
    "FacebookAI/roberta-base": "roberta-base (Hub)",
    "answerdotai/ModernBERT-base": "ModernBERT-base (Hub)",
}
ENGLISH = {name: label for name, label in NAMES.items() if name in ("bert-storybook", "google-bert/bert-base-uncased")}
SCANS = {"sweep": "left to right", "random": "random positions", "blocks": "blocks at once", "parallel": "all at once"}
SCHEDULES = {"constant": "constant", "linear": "linear", "geometric": "geometric"}
CONSTRAINTS = {
    "hard": "hard: every keyword stays",
    "soft": "soft: a missing keyword costs",
    "similar": "similar: a word like it will do",
}
PROPOSALS = {"uniform": "uniformly", "conditional": "from the true conditional"}
ANNEALED = {"schedule": ["linear", "geometric"]}
MODEL = Choice("Model", NAMES, help="Ours ship with the studio; those of the Hub are fetched on first use.")
CHAINS = Range("Chains", step=1)
SEED = Range("Seed", step=1)
TEXT = Text("Text", lines=2, help="Write the words to keep, and _ for each one to be found.")
DRAWS = Range("Draws", step=1, log=True)
CHAIN = Range("Chain shown large", 1, 16, step=1)

SAMPLE = View(
    slug="sample",
    title="Text by Gibbs sampling",
    caption=(
        "A text is written by Gibbs sampling: each step masks one word, asks BERT for its distribution given all the "
        "others, and draws a new one. Play the sweeps: words that changed in a sweep are coloured, and the probability "
        "with which each was drawn is shown on hover. Under Diagnostics, an R̂ far from 1 means that the chains still "
        "depend on where they began, or, where the temperature changes on the way, that their distribution does."
    ),
    compute=sample,
    controls={
        "model": MODEL,
        "text": TEXT,
        "temperature": Range("Temperature, first", step=0.05, log=True),
        "end_temperature": Range("Temperature, last", step=0.05, log=True, when=ANNEALED),
        "sweeps": Range("Sweeps", step=1),
        "scan": Choice("Scan", SCANS),
        "block": Range("Block", step=1, help="Positions masked together.", when={"scan": ["blocks"]}),
        "chains": CHAINS,
        "schedule": Choice("Annealing", SCHEDULES),
        "length": Range("Length (tokens)", step=1, help="0: as long as the text. Otherwise marks fill it up."),
        "top_k": Range("Top k after burn-in", step=1, help="0: all words."),
        "top_p": Range("Top p after burn-in", step=0.05),
        "burn_in": Range("Burn-in (sweeps)", step=1),
        "metropolis": Toggle(
            "Metropolis correction", help="Samples exp(pseudo-log-likelihood). Costly: scores each step."
        ),
        "start": Choice("Begin with", {"masks": "all marks", "words": "random words"}),
        "score_every": Range("Sweeps between scores", step=1, help="A pseudo-log-likelihood costs as much as a sweep."),
        "seed": SEED,
    },
    draw=draw_sample,
    scalars={
        "pseudo-log-likelihood (nats a position)": lambda r: r.pll[-1].mean(),
        "acceptance rate": "acceptance",
        "BLEU-2 of the chains against each other": "self_bleu",
    },
    looks={"chain": CHAIN},
    live=False,
    seconds=8,
    brief={"sweeps": 3, "chains": 2, "burn_in": 1, "score_every": 2},
)

KEYWORDS = View(
    slug="keywords",
    title="Keywords to a sentence",
    caption=(
        "A sentence grows from its keywords by edits: a word is inserted, deleted or replaced. BERT proposes the word, "
        "a causal model of bytes scores the sentence, and the edit is accepted with the full Metropolis–Hastings ratio "
        "(CGMH). Keywords are blue, green words put in, red ones taken out; a rejected edit is grey. Where a similar word will do, "
        "give a whole sentence: the chain looks for others of similar meaning, as for paraphrase and correction. The "
        "published code runs another chain (see Edits with a known distribution), and reports the most probable "
        "sentence that it saw."
    ),
    compute=write,
    controls={
        "keywords": Text("Keywords", help="Up to twelve words, or a sentence to be said otherwise."),
        "reward": Range("Reward of a word (nats)", step=0.5, help="Without it the shortest sentence wins."),
        "constraint": Choice("Constraint", CONSTRAINTS),
        "penalty": Range("Cost of a missing keyword (nats)", step=0.5, when={"constraint": ["soft", "similar"]}),
        "annealing": Choice("Simulated annealing (3 → 0.3)", {"off": "off", "on": "on"}),
        "steps": Range("Edits", step=10),
        "max_length": Range("Longest (tokens)", step=1),
        "chains": CHAINS,
        "model": Choice("Model that proposes", ENGLISH),
        "seed": SEED,
    },
    draw=draw_write,
    scalars={
        "greatest log π (nats)": "best_log_target",
        "share of edits accepted": lambda r: r.accepted.mean(),
        "keywords missing in the end, mean of the chains": lambda r: r.missing.mean(),
    },
    looks={
        "edits": Choice("Edits shown", {"accepted": "accepted ones", "all": "all that were proposed"}),
        "chain": CHAIN,
    },
    live=False,
    seconds=8,
    brief={"steps": 10, "chains": 2},
)

UNMASK = View(
    slug="unmask",
    title="Parallel unmasking",
    caption=(
        "The same text found from masks by several samplers, each with the same number of passes through BERT; words just drawn are "
        "coloured. Gibbs draws from left to right; masked diffusion in a random order, several words a pass; remasking takes some "
        "back; the confident sampler, as in MaskGIT and LLaDA, draws all words and keeps the most probable; "
        "mask-predict takes the likeliest and has one text only. Look where words repeat: in the texts that the model finds likeliest. "
        "Below, bands: two standard errors over the texts. In the last figure the truth is known: with exact conditionals one word a pass is exact, and the samplers whose "
        "texts score best are farthest from the true distribution. They trade variety for likelihood."
    ),
    compute=decode,
    controls={
        "model": MODEL,
        "text": TEXT,
        "samplers": Choice("Samplers", {name: label for name, (label, *_) in DECODERS.items()}, several=True),
        "budgets": Numbers("Forward passes"),
        "temperature": Range("Temperature of the draws", step=0.05, log=True),
        "remasked": Range("Words masked again in a pass", step=1, when={"samplers": ["remask"]}),
        "chains": Range("Texts by each", step=1),
        "seed": SEED,
    },
    draw=draw_unmask,
    scalars={
        "pseudo-log-likelihood at the most passes (nats a position)": lambda r: each(
            (DECODERS[name][0] for name in r.samplers), r.pll[:, -1].mean(1)
        ),
        "BLEU-2 of the chains, at the most passes": lambda r: each(
            (DECODERS[name][0] for name in r.samplers), r.self_bleu[:, -1]
        ),
    },
    looks={
        "shown": Choice("Text shown", {name: label for name, (label, *_) in DECODERS.items()}),
        "passes": Range("Passes of the text shown", 1, 200, step=1, log=True),
    },
    live=False,
    seconds=8,
    brief={"budgets": (2, 4), "chains": 2, "text": "明月__，清风__。"},
)

ANNEAL = View(
    slug="annealing",
    title="Simulated annealing",
    caption=(
        "Strings of a, b, c on a landscape of two hills: a broad one of a's and a steep, narrow one of b's, whose top is the most "
        "probable string. A square holds all strings, by how many a's they have (to the right) and b's (up); the stronger the colour, the "
        "more probable. Play the sweeps: Gibbs sampling keeps $p^{1/T}$; as $T$ falls that distribution gathers at the top (right), "
        "and the chain follows while it can still cross the valley (left). Cold from the start, it stays on the hill where it began. "
        "Everything is exact. In the last figure, greedy search with restarts mostly wins on strings so short: its chance falls with "
        "the length."
    ),
    compute=anneal,
    controls={
        "sweeps": Range("Sweeps", step=1, log=True),
        "last": Range("Temperature, last", step=0.01, log=True),
        "first": Range("Temperature, first", step=0.05, log=True),
        "schedule": Choice("Annealing", {"geometric": "geometric", "linear": "linear", "logarithmic": "logarithmic"}),
        "slope": Range("Slope of the narrow hill", step=0.1),
        "lead": Range("Lead of its top (nats)", step=0.1),
        "length": Range("Letters", step=1),
    },
    draw=draw_anneal,
    scalars={
        "chance to end at the most probable string": lambda r: r.annealed[-1],
        "chance to end on the other hill": "trapped",
    },
    seconds=0.3,
)

PAIR = View(
    slug="field",
    title="No Markov random field",
    caption=(
        "For each pair of words at the two marks, how much more probable it is when Gibbs sampling draws the first "
        "word last than when it draws the second last, in percent of the mean of both. If BERT's conditionals were "
        "those of one joint distribution, every cell would be 0: the chain would keep that joint in either order."
    ),
    compute=random_field,
    controls={
        "text": Text("Text with two marks", lines=2, help="Write _ for each of the two words."),
        "model": MODEL,
        "candidates": Range("Candidates a word", step=1),
        "temperature": Range("Temperature", step=0.1, log=True),
    },
    draw=draw_field,
    scalars={"total variation of the two orders": "distance", "mismatch of the conditionals (nats)": "mismatch"},
    live=False,
    seconds=2,
)

LAWS = View(
    slug="scans",
    title="Stationary distributions of scans",
    caption=(
        "The bars are $p\\propto\\exp(J\\sum_i\\mathbf 1[x_i=x_{i+1}]+\\sum_i h(x_i))$, the marks the stationary "
        "distributions of scans. Sweeps and the random scan keep $p$. Positions drawn at once from their marginals do "
        "not, and the Metropolis correction keeps $\\prod_i p(x_i\\mid x_{-i})$ normalised. Conditionals of two "
        "joints, as a masked language model may have them, leave no joint to keep: each order has its own stationary "
        "distribution, and the bars are the random scan's."
    ),
    compute=scan_laws,
    controls={
        "conditionals": Choice("Conditionals", {"joint": "of one joint", "mixed": "of two joints"}),
        "coupling": Range("Coupling J", step=0.1, help="How much neighbours prefer to be equal."),
        "other_coupling": Range("Coupling of positions 2 and 4", step=0.1, when={"conditionals": ["mixed"]}),
        "field": Range("Field h", step=0.1, help="How much b is preferred, and c avoided."),
        "positions": Range("Positions", step=1),
    },
    draw=draw_scans,
    scalars={"total variation from the joint": lambda r: each((KERNELS[name][0] for name in r.scans), r.distance)},
)

EDITS = View(
    slug="edits",
    title="Edits with a known distribution",
    caption=(
        "Strings of a and b are edited by insertion, deletion and replacement. The bars are the target "
        "$\\pi\\propto\\exp(-c\\cdot\\text{length}+g\\cdot\\text{changes})$; the circles, sampled with the true "
        "acceptance, agree with it. An insertion and the deletion that undoes it choose among equally many places, so "
        "the places cancel in the acceptance. The probability of the proposed letter does not: leave it out (crosses), "
        "and with uniform letters the chain keeps $\\pi/2^{\\text{length}}$. CGMH's published code (diamonds) walks from left to "
        "right, refuses edits that halve the probability in half of its steps, and weighs insertions: its stationary "
        "distribution is another one."
    ),
    compute=edit_laws,
    controls={
        "cost": Range("Cost of a letter c", step=0.1),
        "gain": Range("Gain of a change g", step=0.1, help="A change: two neighbours that differ."),
        "proposal": Choice("Letters are proposed", PROPOSALS),
        "max_length": Range("Longest string", step=1),
        "n": DRAWS,
        "seed": SEED,
    },
    draw=draw_edits,
    scalars={
        "share of steps that change the string": "moved",
        "total variation from π": lambda r: {
            "without the ratio": float(r.distance[1]),
            "sampled": float(r.distance[2]),
        },
    },
)

WEIGHING = View(
    slug="weighing",
    title="Importance and rejection sampling",
    caption=(
        "Independent draws from the proposal $q$ are accepted with probability $p/(Mq)$, or weighted by $p/q$. Drag the "
        "diamond to move $q$. Every dimension multiplies the share of draws that count by the same factor, and a quatrain "
        "has 28 positions. That is why text is sampled by Markov chains."
    ),
    compute=weigh,
    controls={
        "mean": Range("Mean of q", step=0.1),
        "sd": Range("Standard deviation of q", step=0.1),
        "n": DRAWS,
        "seed": SEED,
    },
    draw=draw_weigh,
    scalars={"share accepted": "rate", "effective share of the weighted draws": "efficiency"},
)

EXHIBIT = Exhibit(
    slug="gibbs",
    title="BERT Gibbs sampling",
    summary=(
        "Text sampled one word at a time from a masked language model, sentences grown from keywords by edits, and "
        "chains so small that their distributions are known exactly."
    ),
    question="Can a model that only fills gaps write a poem?",
    theme="text",
    sources=(
        ("Su, Searched text 1: from search to sampling", "https://kexue.fm/archives/8062"),
        ("Su, Searched text 2: MCMC and simulated annealing", "https://kexue.fm/archives/8084"),
        ("Su, Searched text 3: BERT and Gibbs sampling", "https://kexue.fm/archives/8119"),
        ("Su, Searched text 4: CGMH by inserting, deleting, replacing", "https://kexue.fm/archives/8194"),
        ("Wang & Cho, BERT has a Mouth, and It Must Speak", "https://arxiv.org/abs/1902.04094"),
        ("Goyal et al., Exposing the Implicit Energy Networks behind Masked LMs", "https://arxiv.org/abs/2106.02736"),
        ("Miao et al., CGMH", "https://arxiv.org/abs/1811.10996"),
        ("Ghazvininejad et al., Mask-Predict", "https://arxiv.org/abs/1904.09324"),
        ("Sahoo et al., Masked diffusion language models", "https://arxiv.org/abs/2406.07524"),
        ("Wang et al., Remasking discrete diffusion", "https://arxiv.org/abs/2503.00307"),
        ("Chang et al., MaskGIT", "https://arxiv.org/abs/2202.04200"),
        ("Nie et al., LLaDA", "https://arxiv.org/abs/2502.09992"),
        ("Salazar et al., Masked Language Model Scoring", "https://arxiv.org/abs/1910.14659"),
        ("Geman & Geman 1984", "https://doi.org/10.1109/TPAMI.1984.4767596"),
    ),
    views=(SAMPLE, UNMASK, KEYWORDS, ANNEAL, PAIR, LAWS, EDITS, WEIGHING),
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "keywords": Former("keywords", {"english_model": "model", "longest": "max_length", "edit_chains": "chains"}),
        "field": Former("field", {"pair": "text", "pair_temperature": "temperature"}),
        "incompatible": Former("scans", {"other": "other_coupling"}, {"conditionals": "mixed", "positions": 2}),
        "edits": Former("edits", {"letters": "max_length"}),
    },
)
