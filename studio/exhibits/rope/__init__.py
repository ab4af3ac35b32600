"""RoPE: which base a context length needs, and what each scaling of the rotation does."""

from engines.rope.bases import feasible_bases
from engines.rope.checks import CHECKS
from engines.rope.curves import similarity_curves
from engines.rope.digits import dials
from engines.rope.extrapolation import extrapolation
from engines.rope.frequencies import wavelengths
from engines.rope.partial import partial_rotation
from engines.rope.passkey import retrieval
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Toggle, View, each, read_stories
from studio.exhibits.rope.figures import (
    NUMERAL,
    SCALING,
    draw_bases,
    draw_dials,
    draw_partial,
    draw_similarity,
    draw_wavelengths,
)
from studio.exhibits.rope.figures_decoders import (
    FORM,
    LOG_N,
    READER,
    WAY,
    curve_names,
    draw_extrapolation,
    draw_retrieval,
)
from studio.figure import short
from studio.language import say

HEAD_DIM = Range("Head dimension d", step=2, help="Rotated in d/2 pairs; 128 in Llama.")
SCALINGS = Choice("Scalings", SCALING, several=True)
EXPONENT = Range(
    "NTK-mixed exponent",
    step=0.005,
    help="0 is linear, 1 is NTK-fixed; Su chose 0.625.",
    when={"scalings": ["ntk_mixed"], "numerals": ["ntk_mixed"]},
)
CONTEXT = Range(
    "Training length L (tokens)", step=1, log=True, when={"scaling": ["dynamic", "by_parts", "yarn", "llama3"]}
)
FACTOR = Range(
    "Factor k",
    log=True,
    help="The context wanted is k times the training length.",
    when={"scaling": [name for name in SCALING if name not in ("none", "proportional", "longrope")]},
)
LONG_FACTORS = Numbers("LongRoPE's long factors", help="Spread evenly over the pairs.", when={"scalings": ["longrope"]})
BASE = Range("Base b", log=True, help="10,000 in RoFormer and Llama 2, 500,000 in Llama 3.")
LOG = Choice(
    "log n scaling", LOG_N, several=True, help="Logits times ln n / ln L where a byte sees n > L others; L = 128."
)
WINDOW = Range("Window w (bytes)", step=1, log=True, when={"scalings": list(FORM)})
ROTATED = Range(
    "Rotated part of the head", step=0.05, help="Partial rotary: the pairs beyond it are not rotated. 0.5 in GLM-4."
)

VIEWS = (
    View(
        slug="similarity",
        title="Similarity and decay",
        caption=(
            "$f_b(m)=\\sum_i\\cos(m\\,b^{-2i/d})$ over the distance $m$, for several bases $b$: how much more "
            "attention a key like the query gets than a random one. Each band spans the least and the greatest value "
            "near $m$. The cross marks the first distance where $f_b$ is negative: from there on, similarity may count "
            "against a key. The second figure is RoFormer's bound on the attention score: up to a factor it is the "
            "mean of $|S_j|$, $S_j=\\sum_{i\\lt j}e^{\\mathrm{i}m\\theta_i}$. A bound says what a far token can count "
            "for, not what it does."
        ),
        compute=similarity_curves,
        controls={
            "bases": Numbers("Bases b", help="Up to six at once."),
            "head_dim": HEAD_DIM,
            "distance": Range("Distance shown (tokens)", step=1, log=True),
            "scaling": Choice("Scaling", {name: text for name, text in SCALING.items() if name != "longrope"}),
            "factor": FACTOR,
            "partial_rotary_factor": ROTATED,
            "context_length": CONTEXT,
        },
        draw=draw_similarity,
        scalars={
            "least f_b over the distances": lambda r: each(
                (say("b = {base}", base=short(base)) for base in r.bases), r.lowest
            ),
            "distance of the least f_b (tokens)": lambda r: each(
                (say("b = {base}", base=short(base)) for base in r.bases), r.lowest_distance
            ),
        },
        looks={
            "integral": Toggle("Su's integral (Ci) beside it", help="An integral in place of the sum over the pairs.")
        },
    ),
    View(
        slug="partial",
        title="Partial rotation",
        caption=(
            "How much of a head must stay unrotated so that $f_b$ is not negative anywhere in the context. A pair left as "
            "it is adds 1 at every distance, a rotated one never less than $-1$: half of them are enough at any base, as "
            "Su notes. Within a given context less is enough, and at a large base none. Drag the point: below is how low "
            "$f_b$ falls with less."
        ),
        compute=partial_rotation,
        controls={
            "base": BASE,
            "lengths": Numbers("Context lengths L (tokens)", help="Up to three."),
            "head_dim": Range("Head dimension d", step=2),
            "base_low": Range("Bases from", log=True),
            "base_high": Range("Bases to", log=True),
        },
        draw=draw_partial,
        scalars={
            "pairs that must stay unrotated": lambda r: each(
                (say("L = {length}", length=int(length)) for length in r.lengths), r.at_base
            )
        },
        seconds=0.5,
    ),
    View(
        slug="retrieval",
        title="Finding a similar key",
        caption=(
            "One ideal head looks for the key that is like its query, $m$ tokens back, among all the random keys since: the "
            "chance that it scores highest (pale), and the mean of nine neighbouring distances. Its score is on average $2f_b$ of the distance shown to the head, so this "
            "is what the sign and size of $f_b$ are worth. Watch where each way loses the key. Below, the softmax "
            "spreads over more and more tokens; log n scaling sharpens it again."
        ),
        compute=retrieval,
        controls={
            "scalings": Choice("Scalings", {way: text for way, text in WAY.items() if way != "longrope"}, several=True),
            "base": BASE,
            "factor": FACTOR,
            "window": Range("Window w (tokens)", step=1, log=True, when={"scalings": list(FORM)}),
            "context_length": CONTEXT,
            "distance": Range("Distance shown (tokens)", step=1, log=True),
            "likeness": Range(
                "Similarity of the key", step=0.05, help="Correlation with the query; 1: the query again."
            ),
            "sharpness": Range("Sharpness of the softmax", log=True, help="Times the logits q·k/√d."),
            "partial_rotary_factor": Range("Part that p-RoPE rotates", step=0.05, when={"scalings": ["proportional"]}),
            "head_dim": HEAD_DIM,
            "seed": Range("Seed", step=1),
        },
        draw=draw_retrieval,
        scalars={
            "chance to find the key at the greatest distance": lambda r: each(r.scalings, r.found[:, -1]),
            "its share of the attention there": lambda r: each(r.scalings, r.attention[:, -1]),
        },
    ),
    View(
        slug="feasible-bases",
        title="Feasible bases",
        caption=(
            "The longest context in which each base keeps $f_b$ from turning negative. Read along a horizontal line, "
            "feasible and infeasible bases alternate: a larger base can fail where a smaller one does not, so "
            "bisection gives wrong answers. The search here moves up only through bases that are proved to fail. The "
            "red point is the least base $b^*$ for $L$ tokens; drag it up or down. The map has 320 bases: peaks "
            "thinner than their spacing are missed, except those of the published lengths."
        ),
        compute=feasible_bases,
        controls={
            "length": Range("Context length L (tokens)", step=1, log=True),
            "head_dim": HEAD_DIM,
            "base_low": Range("Bases from", log=True),
            "base_high": Range("Bases to", log=True),
            "limit": Range("Lengths up to (tokens)", step=1, log=True),
        },
        draw=draw_bases,
        scalars={"least base b*": "base", "distance at which f is 0 (tokens)": "touching"},
        seconds=0.2,
    ),
    View(
        slug="wavelengths",
        title="Wavelengths and scalings",
        caption=(
            "How many tokens each pair takes for a full turn, $2\\pi/\\theta_i$. Pairs above the training length "
            "complete no turn in training, so part of their circle is never seen. Open circles are pairs that meet "
            "new angles before $kL$ tokens. Each scaling is another choice of which pairs to slow down."
        ),
        compute=wavelengths,
        controls={
            "scalings": SCALINGS,
            "factor": FACTOR,
            "context_length": CONTEXT,
            "base": BASE,
            "head_dim": HEAD_DIM,
            "partial_rotary_factor": ROTATED,
            "exponent": EXPONENT,
            "longrope_factors": LONG_FACTORS,
        },
        draw=draw_wavelengths,
        scalars={
            "pairs that meet unseen angles": lambda r: each(r.scalings, r.unseen.sum(1)),
            "factor on cos and sin": lambda r: each(r.scalings, r.attention),
        },
    ),
    View(
        slug="dials",
        title="Digits and pairs",
        caption=(
            "The digits of a position $n$ in radix $\\beta$ (inner rings) and RoPE's pairs (outer rings), a row for "
            "each way of writing $n$. Each dial turns $\\beta$ times slower than the one to its right; a digit's goes "
            "round in $\\beta$ steps, a pair's in $2\\pi$. The green arc is what training went over; a bead is red "
            "where training never was. Drag an outer bead, or play the position."
        ),
        compute=dials,
        controls={
            "position": Range("Position n", step=1),
            "factor": FACTOR,
            "context_length": Range("Positions trained on", step=1, log=True),
            "radix": Range("Radix β", step=1),
            "digits": Range("Digits (d/2)", step=1),
            "numerals": Choice("Ways of writing", NUMERAL, several=True),
            "exponent": EXPONENT,
        },
        draw=draw_dials,
        scalars={
            "least part of a pair's dial seen in training": lambda r: r.rotary_seen.min(),
            "least part of a digit's dial seen in training": lambda r: r.digit_seen.min(),
        },
    ),
    View(
        slug="extrapolation",
        title="Measured extrapolation",
        caption=(
            "Loss of small byte-level models, alike but for their base, trained on 128 bytes and read far beyond. They "
            "read texts that were held back from the same books. The large figure compares with the same model when it "
            "sees only the last 64 to 127 bytes: above 0 the longer context does harm, below 0 it helps. Each scaling is "
            "put on the trained weights as they are; ReRoPE and windows change which distance the attention is shown. "
            "Repeat the first bytes for Su's repeated test: only what looks back falls below 0. Bands are one standard "
            "error over the texts."
        ),
        compute=extrapolation,
        controls={
            "trained_bases": Choice("Trained with base", READER, several=True),
            "scalings": Choice("Scalings", WAY, several=True),
            "factor": FACTOR,
            "repeat": Range(
                "Repeat the first bytes", step=1, help="0: the text itself. Su's repeated test: the trained length."
            ),
            "log_n": LOG,
            "length": Range("Bytes read", step=1, log=True),
            "window": WINDOW,
            "texts": Range("Texts read", step=1, help="More texts, smaller errors."),
            "attention": Range(
                "Attention factor",
                step=0.05,
                help="Multiplies cos and sin; 0 leaves it to the scaling.",
                when={"scalings": ["yarn", "longrope"]},
            ),
            "longrope_factors": LONG_FACTORS,
            "longrope_short_factors": Numbers(
                "LongRoPE's short factors", help="Used up to the training length.", when={"scalings": ["longrope"]}
            ),
            "partial_rotary_factor": Range("Part that p-RoPE rotates", step=0.05, when={"scalings": ["proportional"]}),
            "exponent": EXPONENT,
        },
        draw=draw_extrapolation,
        scalars={
            "loss in the second half of the whole length (nats a byte)": lambda r: each(curve_names(r), r.beyond),
            "loss in the second half of the trained length (nats a byte)": lambda r: each(curve_names(r), r.inside),
            "share of bytes right in the second half of the whole length": lambda r: each(curve_names(r), r.accuracy),
        },
        live=False,
        seconds=3,
        brief={"scalings": ("none",), "length": 256, "texts": 1},
    ),
)


EXHIBIT = Exhibit(
    slug="rope",
    title="RoPE",
    summary="Which base a context length needs, and what each scaling of the rotation does.",
    question="How far does a base of 10,000 reach?",
    theme="attention",
    sources=(
        ("Su et al., RoFormer", "https://arxiv.org/abs/2104.09864"),
        ("Su, RoPE is a β-base encoding", "https://kexue.fm/archives/9675"),
        ("Su, Taking β-base positions to the end", "https://kexue.fm/archives/9706"),
        ("Su, ReRoPE", "https://kexue.fm/archives/9708"),
        ("Su, log n scaling", "https://kexue.fm/archives/8823"),
        ("Su, Choosing RoPE's base", "https://kexue.fm/archives/10122"),
        ("Men et al., Base of RoPE Bounds Context Length", "https://arxiv.org/abs/2405.14591"),
        ("Chen et al., Position Interpolation", "https://arxiv.org/abs/2306.15595"),
        ("Peng et al., YaRN", "https://arxiv.org/abs/2309.00071"),
        ("Ding et al., LongRoPE", "https://arxiv.org/abs/2402.13753"),
        ("Llama Team, The Llama 3 Herd of Models", "https://arxiv.org/abs/2407.21783"),
        ("Barbero et al., p-RoPE", "https://arxiv.org/abs/2410.06205"),
        ("Mohtashami and Jaggi, Landmark Attention (passkey)", "https://arxiv.org/abs/2305.16300"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "least-base": Former("feasible-bases", values={"length": 4096}),
        "table": Former("feasible-bases", {"longest": "length"}, {"length": 16_384}),
        "map": Former("feasible-bases", values={"length": 4096, "base_high": 1e6, "limit": 32_768}),
        "decay": Former("similarity"),
        "digits": Former("dials", {"numeral": "numerals", "trained_length": "context_length"}, {"numerals": ("none",)}),
        "extrapolation": Former("extrapolation", {"bytes_read": "length"}),
    },
)
