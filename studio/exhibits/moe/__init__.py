"""Mixtures of experts: who is routed where, and what balancing does to it."""

from __future__ import annotations

from engines.moe.balancing import balance, shared_scale
from engines.moe.checks import CHECKS
from engines.moe.geometry import subset_errors
from engines.moe.language import EMBEDDED, HUB, HUB_SIZES, route_text, route_text_on_hub
from engines.moe.rules import GATES, SHARED_GATES
from engines.moe.training import TRAINED, train
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Text, Toggle, View, read_stories
from studio.exhibits.moe.figures import (
    BALANCING,
    MEASURE,
    RULE,
    draw_balancing,
    draw_experts,
    draw_geometry,
    draw_models,
    draw_routing,
    draw_shared,
    draw_training,
)

MODEL = Choice(
    "Model, by its balancing",
    {name: BALANCING[rule] for name, rule in EMBEDDED.items()},
    help="Three byte-level decoders, 3 layers, 8 experts, top-2, alike but for how training balanced them.",
)
TEXTS = {"mixed": "mixed", "english": "English story", "poem": "Chinese poems", "python": "Python"}
PRESET = Choice(
    "Text",
    TEXTS | {"held-back": "held back", "own": "your own"},
    help="Held back: 36 sequences that were not trained on, from the same books and files.",
)
TYPED = Text("Your own text", lines=4, when={"preset": ["own"]})
BIAS = Numbers("Bias of the 8 experts", help="Added to the router's softmax when experts are chosen, in every layer.")
LAYER = Range("Layer", low=1, high=3, step=1)
DRAWN = {"source": ["uniform", "normal", "clusters"]}
SEED = Range("Seed", step=1, when=DRAWN)
READING = {"model": MODEL, "preset": PRESET, "text": TYPED, "bias": BIAS}

VIEWS = (
    View(
        slug="routing",
        title="A text, routed",
        caption=(
            "The text, each byte in the colour of its first expert: stronger for more weight, all weights on hover. Narrow tiles are the "
            "further bytes of the character before them. Watch the colours change with the language, and from a first byte to a later "
            "one. Drag a point of the bias: it is added to that expert's score in the choice, and tokens move at once. F is an "
            "expert's share of all assignments, Q = 1/n the even share."
        ),
        compute=route_text,
        controls=READING,
        draw=draw_routing,
        looks={"layer": LAYER},
    ),
    View(
        slug="experts",
        title="What experts do",
        caption=(
            "Rows are domains and kinds of byte; a cell is the share of a row that goes to an expert. Every byte goes to two of eight "
            "experts: a row adds up to 200 %, and 25 % is even. Where domains differ, experts are specialised in them, as OLMoE measured. "
            "The kinds of byte explain most of it: the bytes of a 汉字 are rare in English stories, where curly quotes, dashes and "
            "accents have them. Below: experts used together, the way from the first layer to the last, and how often neighbours repeat an expert. A "
            "solid line above its dotted one means that the order of the tokens matters."
        ),
        compute=route_text,
        controls=READING,
        draw=draw_experts,
        looks={"layer": LAYER},
        seconds=0.2,
    ),
    View(
        slug="balancing",
        title="Balancing rules",
        caption=(
            "The violation (F − Q)/Q of every rule on the same scores, round by round, down to one token more than even. F is an expert's "
            "share of all assignments, Q = 1/n the even share; balanced means at most 10 %. Quantile balancing has no step size. Steps by "
            "sign or RMS converge slowly, then oscillate by about their step. Hashing ignores the scores, which shows in the routed "
            "score: the sum of the chosen ρ against plain top-k's."
        ),
        compute=balance,
        controls={
            "rules": Choice("Rules", RULE, several=True),
            "source": Choice(
                "Scores",
                {
                    "uniform": "uniform + offsets, as in the post",
                    "normal": "normal + offsets",
                    "clusters": "16 kinds of token",
                    "model": "the embedded model's without balancing",
                },
            ),
            "rate": Range("Step γ (standard deviations)", log=True),
            "rounds": Range("Rounds", step=1),
            "experts": Range("Experts n", step=1, log=True, when=DRAWN),
            "top_k": Range("Experts of a token k", step=1, when=DRAWN),
            "tokens": Range("Tokens", step=1, log=True),
            "gate": Choice("Gate", GATES, help="Makes of scores the ρ that experts are weighed by.", when=DRAWN),
            "seed": SEED,
        },
        draw=draw_balancing,
        looks={"measure": Choice("Violation shown", MEASURE)},
        live=False,
        seconds=4,
        brief={"tokens": 500, "experts": 16, "top_k": 2, "rounds": 5},
    ),
    View(
        slug="training",
        title="Train one now",
        caption=(
            "The loss of a mixture of small experts that learns inputs of several kinds, each with a linear map of its own. All "
            "balancings start alike and see the same batches. Scrub the load: without balancing it gathers on some experts, which get the "
            "practice, and others fall out of use. Kinds then share an expert, and the loss stays higher. How many experts are lost "
            "depends on the seed; the table counts them."
        ),
        compute=train,
        controls={
            "rules": Choice("Balancing", {name: RULE[name] for name in TRAINED}, several=True),
            "experts": Range("Experts", step=1),
            "top_k": Range("Experts of a token", step=1),
            "kinds": Range("Kinds of input", step=1),
            "common": Range("Common part of the inputs", help="Gives some experts a head start."),
            "steps": Range("Steps", step=1),
            "aux_weight": Range("Weight of the auxiliary loss", log=True, when={"rules": ["aux-loss"]}),
            "bias_rate": Range("Step of the bias", log=True, when={"rules": ["loss-free", "loss-free-rms"]}),
            "learning_rate": Range("Learning rate", log=True),
            "seed": SEED,
        },
        draw=draw_training,
        live=False,
        seconds=7,
        brief={"steps": 20, "rules": ("top-k", "loss-free")},
    ),
    View(
        slug="geometry",
        title="The best k vectors",
        caption=(
            "Error of keeping $k$ of the $n$ vectors whose sum is a dense layer's output: the layer is cut into $n$ blocks. If the "
            "vectors were orthogonal, the best $k$ would be the longest; the best subset is found by trying all. Norms come close to it, "
            "the closer the more dimensions there are. A linear router that sees only the input keeps much of the gain: that is a "
            "mixture of experts."
        ),
        compute=subset_errors,
        controls={
            "dim": Range("Dimension", step=1, log=True),
            "blocks": Range("Blocks n", step=1),
            "units": Range("Hidden units of a block", step=1),
            "spread": Range("Inequality of the blocks"),
            "vectors": Choice("Vectors", {"ffn": "a random FFN's", "orthogonal": "made orthogonal"}),
            "seed": SEED,
        },
        draw=draw_geometry,
    ),
    View(
        slug="shared",
        title="Shared experts' λ",
        caption=(
            "The λ of $y=\\sum_{\\text{shared}}e_i+\\lambda\\sum_{\\text{routed}}\\rho_i e_i$ that makes both sums equally long on average, for "
            "random scores and orthogonal outputs. Without it routed experts, whose weights are below one, contribute little beside the "
            "shared ones at the start. Drag the point along the curve."
        ),
        compute=shared_scale,
        controls={
            "top_k": Range("Active, shared included", step=1),
            "experts": Range("Experts, shared included", step=1, log=True),
            "shared": Range("Shared", step=1),
            "gate": Choice("Gate of ρ", SHARED_GATES),
            "renormalize": Toggle("Active weights sum to 1"),
            "seed": SEED,
        },
        draw=draw_shared,
        scalars={"value": "λ (mean)"},
    ),
    View(
        slug="models",
        title="Large models",
        caption=(
            "The same text through published mixtures, fetched by name from the Hub when Run is pressed. That needs a network, and the "
            "memory that the table names; all but the first want a GPU. Without them, the embedded model answers here too."
        ),
        compute=route_text_on_hub,
        controls={
            "model": Choice(
                "Model",
                {"moe-loss-free": "embedded, loss-free (no network)"} | {name: name.split("/")[1] for name in HUB},
            ),
            "preset": Choice("Text", TEXTS | {"own": "your own"}),
            "text": TYPED,
        },
        draw=draw_models,
        looks={
            "layer": Range(
                "Layer", low=0, high=max(layers for layers, *_ in HUB_SIZES.values()), step=1, help="0: the last."
            )
        },
        live=False,
        seconds=1,
        gpu=True,
    ),
)


def third(bias: float) -> tuple[float, ...]:
    """A bias for the third expert alone."""
    return (0.0, 0.0, bias, *[0.0] * 5)


EXHIBIT = Exhibit(
    slug="moe",
    title="Mixture of experts",
    summary="Who is routed where in a mixture of experts, and what balancing does to it.",
    question="Which expert reads which letter, and who sees to it that all have work?",
    theme="attention",
    sources=(
        ("Su, MoE环游记 1: geometric meaning", "https://kexue.fm/archives/10699"),
        ("Su, MoE环游记 2: not scarcity but inequality", "https://kexue.fm/archives/10735"),
        ("Su, MoE环游记 3: another way to assign (loss-free)", "https://kexue.fm/archives/10757"),
        ("Su, MoE环游记 4: invest more where it is hard (dynamic number)", "https://kexue.fm/archives/10815"),
        ("Su, MoE环游记 5: uniform distribution reconsidered (shared experts)", "https://kexue.fm/archives/10945"),
        ("Su, MoE环游记 6: balance by optimal assignment (quantile balancing)", "https://kexue.fm/archives/11619"),
        ("Su, MoE环游记 7: dynamic activation by quantiles", "https://kexue.fm/archives/11626"),
        ("Fedus et al., Switch Transformers", "https://arxiv.org/abs/2101.03961"),
        ("Wang et al., Auxiliary-Loss-Free Load Balancing", "https://arxiv.org/abs/2408.15664"),
        ("Zhou et al., Expert Choice Routing", "https://arxiv.org/abs/2202.09368"),
        ("Roller et al., Hash Layers", "https://arxiv.org/abs/2106.04426"),
        ("DeepSeek-AI, DeepSeek-V2", "https://arxiv.org/abs/2405.04434"),
        ("DeepSeek-AI, DeepSeek-V3", "https://arxiv.org/abs/2412.19437"),
        ("Liu et al., Muon is Scalable for LLM Training (Moonlight)", "https://arxiv.org/abs/2502.16982"),
        ("Jiang et al., Mixtral of Experts", "https://arxiv.org/abs/2401.04088"),
        ("Muennighoff et al., OLMoE", "https://arxiv.org/abs/2409.02060"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "domains": Former("experts", values={"preset": "held-back"}),
        "training": Former("training", {"num_experts": "experts", "experts_per_token": "top_k", "trained": "rules"}),
        "shared": Former(
            "shared",
            {"total_experts": "experts", "active_experts": "top_k", "shared_experts": "shared", "activation": "gate"},
        ),
        "hub": Former("models", {"hub_model": "model", "hub_layer": "layer"}, {"model": HUB[0]}),
    },
)
