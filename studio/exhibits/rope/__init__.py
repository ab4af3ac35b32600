"""RoPE: which base a context length needs, and what each scaling of the rotation does."""

from engines.rope.bases import feasible_bases
from engines.rope.checks import CHECKS
from engines.rope.curves import similarity_curves
from engines.rope.digits import dials
from engines.rope.extrapolation import TRAINED_BASES, extrapolation
from engines.rope.frequencies import wavelengths
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Step, Story, View
from studio.exhibits.rope.figures import (
    NUMERAL,
    SCALING,
    draw_bases,
    draw_dials,
    draw_extrapolation,
    draw_similarity,
    draw_wavelengths,
)

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
            "near $m$. The cross marks the first distance where $f_b$ is negative: from there on, likeness may count "
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
            "base": Range("Base b", log=True, help="10,000 in RoFormer and Llama 2, 500,000 in Llama 3."),
            "head_dim": HEAD_DIM,
            "partial_rotary_factor": ROTATED,
            "exponent": EXPONENT,
            "longrope_factors": LONG_FACTORS,
        },
        draw=draw_wavelengths,
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
    ),
    View(
        slug="extrapolation",
        title="Measured extrapolation",
        caption=(
            "Loss of five small byte-level models, alike but for their base, trained on 128 bytes and read far "
            "beyond. They read texts that were held back from the same books. The large figure compares with the same "
            "model when it sees only the last 64 to 127 bytes: above 0 the longer context does harm, below 0 it "
            "helps. Each scaling is put on the trained weights as they are. Bands are one standard error over the "
            "texts."
        ),
        compute=extrapolation,
        controls={
            "trained_bases": Choice(
                "Trained with base", {base: f"{int(base):,}" for base in TRAINED_BASES}, several=True
            ),
            "scalings": SCALINGS,
            "factor": FACTOR,
            "length": Range("Bytes read", step=1, log=True),
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
        live=False,
        seconds=3,
        brief={"scalings": ("none",), "length": 256, "texts": 1},
    ),
)

STORIES = (
    Story(
        "Why base 10,000 fails at 32k",
        "similarity",
        (
            Step(
                "[[b = 10,000|Base 10,000]] is that of RoFormer and Llama 2. Its similarity starts at 64, the number "
                "of pairs, and falls. At distance 1,707 it is negative for the first time: from there on a random key "
                "may get more attention than a matching one.",
                {"bases": (10_000.0,), "distance": 32_768},
                mark="b = 10,000",
            ),
            Step(
                "[[b = 500,000|Base 500,000]], Llama 3's, reaches about ten times as far, to 18,438 tokens. That is "
                "still short of 32,768.",
                {"bases": (10_000.0, 500_000.0)},
                "bases",
                "b = 500,000",
            ),
            Step(
                "[[b = 629,979|Base 629,979]] has no negative value before 32,768; to within 1 it is the least such "
                "base. A larger one is not always better: 1,000,000 fails again.",
                {"bases": (10_000.0, 500_000.0, 629_979.0)},
                "bases",
                "b = 629,979",
            ),
        ),
    ),
    Story(
        "Interpolation widens the window",
        "similarity",
        (
            Step(
                "With base 10,000 and no scaling the similarity is negative first at distance 1,707.",
                {"bases": (10_000.0,)},
            ),
            Step(
                "Divide positions by 8 and it is negative first at 13,649, almost eight times as far. This is Su's "
                "reading of why interpolation works: not a larger base, but smaller steps.",
                {"scaling": "linear", "factor": 8.0},
                "scaling",
            ),
            Step(
                "YaRN leaves the fast pairs as they are, and its window is narrower: negative first at 8,886.",
                {"scaling": "yarn"},
                "scaling",
            ),
        ),
    ),
    Story(
        "Pairs that are not rotated",
        "similarity",
        (
            Step(
                "Some models rotate only a part of each head. A pair that is not rotated adds 1 to the similarity at "
                "every distance. With three quarters rotated, base 10,000 is negative first at 18,607 instead of "
                "1,707.",
                {"bases": (10_000.0,), "partial_rotary_factor": 0.75},
                "partial_rotary_factor",
            ),
            Step(
                "With one half rotated the similarity cannot be negative: 32 pairs give at least −32, the other 32 "
                "give 32. The price: those pairs carry no position.",
                {"partial_rotary_factor": 0.5},
                "partial_rotary_factor",
            ),
        ),
    ),
    Story(
        "The decay RoFormer promised",
        "similarity",
        (
            Step(
                "RoFormer motivates its base with decay (the lower figure). At base 10,000 the bound falls from 32.5 "
                "to less than a third of it within a hundred tokens.",
                {"bases": (10_000.0,)},
            ),
            Step(
                "Raise the base to reach farther and the decay goes: with a base of 10⁸ nearly two thirds are left at "
                "a hundred tokens. A base that reaches far favours near tokens less.",
                {"bases": (10_000.0, 500_000.0, 100_000_000.0)},
                "bases",
            ),
        ),
    ),
    Story(
        "A larger base can be worse",
        "feasible-bases",
        (
            Step(
                "For 8,192 tokens the [[least base b*|least base]] is 83,764. Follow the red line to the right: the "
                "green area ends and begins again.",
                {"length": 8192},
                "length",
                "least base b*",
            ),
            Step(
                "Base 100,000 lies in a gap: it fails within 8,192 tokens. Su, too, began with bisection and had to "
                "give it up.",
                {"base_low": 50_000.0, "base_high": 500_000.0, "limit": 16_384},
                "base_high",
                "longest feasible context",
            ),
        ),
    ),
    Story(
        "What a grid of bases misses",
        "feasible-bases",
        (
            Step(
                "The paper tried bases on a grid and reports 16,000 for 2,048 tokens. Su's finer search finds 12,000. "
                "The exact value is 11,587.2.",
                {"length": 2048},
                "length",
            ),
            Step(
                "The stretch of feasible bases that begins there is narrow (third figure), which is why a grid steps "
                "over it. At 1,048,576 tokens the paper's 5.1e8 is nearly eight times too large: open the published "
                "tables below.",
                {},
                mark="the paper's table",
            ),
            Step(
                "From 1,024 to 1,048,576 tokens, 1,024 times the length, the least base grows 15,227-fold. Su's estimate for an infinitely wide head, L/0.6165, grows only 1,024-fold.",
                mark="longest for any base up to b",
            ),
        ),
    ),
    Story(
        "Eighteen pairs that complete no turn",
        "wavelengths",
        (
            Step(
                "At base 10,000 and 4,096 tokens, 18 of 64 pairs complete no turn. Read eight times as far without "
                "scaling, all 18 meet new angles (open circles).",
                {"scalings": ("none",), "base": 10_000.0, "context_length": 4096, "factor": 8.0},
                mark="no scaling",
            ),
            Step(
                "[[linear (position interpolation)|Linear interpolation]] keeps all of them within known angles, and "
                "slows every fast pair as well.",
                {"scalings": ("none", "linear")},
                "scalings",
                "linear (position interpolation)",
            ),
            Step(
                "[[NTK-aware|NTK-aware scaling]] keeps the fast pairs, but 17 of the 18 slow ones still meet new "
                "angles: all but the last, which alone is slowed by the full factor.",
                {"scalings": ("none", "linear", "ntk")},
                "scalings",
                "NTK-aware",
            ),
            Step(
                "[[YaRN|YaRN]] keeps the pairs of many turns and interpolates all of the 18. [[Llama 3|Llama 3]] does "
                "the same with a shorter ramp.",
                {"scalings": ("none", "linear", "ntk", "yarn", "llama3")},
                "scalings",
                "YaRN",
            ),
        ),
    ),
    Story(
        "Low digits first",
        "wavelengths",
        (
            Step(
                "In radix β the position has d/2 digits. [[NTK-RoPE-fixed|NTK-fixed]] stretches the radix of each by "
                "the same factor, [[linear (position interpolation)|interpolation]] puts the whole stretch on the "
                "lowest.",
                {"scalings": ("linear", "ntk_fixed")},
                "scalings",
            ),
            Step(
                "[[NTK-RoPE-mixed|Su's mixed radix]] stretches low digits more, as high digits are trained least. "
                "With exponent 0.625 it lies between the two.",
                {"scalings": ("linear", "ntk_fixed", "ntk_mixed"), "exponent": 0.625},
                "exponent",
                "NTK-RoPE-mixed",
            ),
        ),
    ),
    Story(
        "1,749 on four dials",
        "dials",
        (
            Step(
                "A model trained on numbers below 1,000 has seen the fourth digit only as 0, and a sixth of a turn of "
                "its pair. At 1,749, written as it is, both beads of the highest dial are red.",
                {"position": 1749, "numerals": ("none",)},
                "position",
            ),
            Step(
                "Write n/8 instead and they fall back onto the arc. The price: the lowest digit now moves in eighths.",
                {"numerals": ("none", "linear")},
                "numerals",
            ),
            Step(
                "Or write n in radix 16.8, or in a mixed radix: the digits stay whole, and again the highest beads "
                "are on the arc.",
                {"numerals": ("none", "linear", "ntk_fixed", "ntk_mixed")},
                "numerals",
            ),
        ),
    ),
    Story(
        "Trained on 128, read on 2,048",
        "extrapolation",
        (
            Step(
                "Without scaling all five models do worse with the whole text in view than with its last hundred "
                "bytes: every curve rises above 0 after 128 bytes.",
                {"trained_bases": TRAINED_BASES, "scalings": ("none",), "texts": 8},
            ),
            Step(
                "[[b = 100|The smallest base]] suffers least. [[b = 1,000,000|The largest]] and 100,000 end worst.",
                {},
                "trained_bases",
                "b = 1,000,000",
            ),
        ),
    ),
    Story(
        "What interpolation costs without retraining",
        "extrapolation",
        (
            Step(
                "[[linear (position interpolation)|Linear interpolation]] is flat, but more than two nats worse from "
                "the first bytes on: neighbours stand closer than the model ever saw.",
                {"trained_bases": ("100",), "scalings": ("none", "linear"), "factor": 8.0, "texts": 8},
                mark="linear (position interpolation)",
            ),
            Step(
                "[[YaRN|YaRN]] leaves the fast pairs alone. Stretched eightfold it costs less than a quarter of a nat "
                "out to 1,024 bytes, eight times the trained length, and climbs after.",
                {"scalings": ("none", "linear", "yarn")},
                "scalings",
                "YaRN",
            ),
        ),
    ),
    Story(
        "Which pairs fail first",
        "extrapolation",
        (
            Step(
                "At base 1,000,000 the slowest half of the pairs hardly moves within 128 bytes. [[proportional "
                "(p-RoPE)|p-RoPE]] stops them altogether: the loss stays what it was, within the trained length and "
                "beyond.",
                {
                    "trained_bases": ("1000000",),
                    "scalings": ("none", "proportional"),
                    "texts": 8,
                    "partial_rotary_factor": 0.5,
                },
                mark="proportional (p-RoPE)",
            ),
            Step(
                "So the slowest pairs are not what fails beyond 128 bytes: faster ones are. Stop three quarters of "
                "the pairs and the model does worse within the trained length, too.",
                {"partial_rotary_factor": 0.25},
                "partial_rotary_factor",
            ),
        ),
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
        ("Su, Choosing RoPE's base", "https://kexue.fm/archives/10122"),
        ("Men et al., Base of RoPE Bounds Context Length", "https://arxiv.org/abs/2405.14591"),
        ("Chen et al., Position Interpolation", "https://arxiv.org/abs/2306.15595"),
        ("Peng et al., YaRN", "https://arxiv.org/abs/2309.00071"),
        ("Ding et al., LongRoPE", "https://arxiv.org/abs/2402.13753"),
        ("Llama Team, The Llama 3 Herd of Models", "https://arxiv.org/abs/2407.21783"),
        ("Barbero et al., p-RoPE", "https://arxiv.org/abs/2410.06205"),
    ),
    views=VIEWS,
    stories=STORIES,
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
