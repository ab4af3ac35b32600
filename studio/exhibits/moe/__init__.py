"""Mixtures of experts: who is routed where, and what balancing does to it."""

from __future__ import annotations

from engines.moe.auxiliary import auxiliary_loss
from engines.moe.balancing import balance, shared_scale
from engines.moe.checks import CHECKS
from engines.moe.devices import device_limits
from engines.moe.dynamic import dynamic_number
from engines.moe.geometry import subset_errors
from engines.moe.language import EMBEDDED, HUB, HUB_SIZES, route_text, route_text_on_hub
from engines.moe.rules import GATES, SHARED_GATES
from engines.moe.sequences import sequence_balance
from engines.moe.training import TRAINED, WEIGHTS, train
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Text, Toggle, View, each, read_stories
from studio.exhibits.moe.figures import (
    BALANCING,
    MEASURE,
    RULE,
    UNIT,
    WEIGHT_GATE,
    draw_balancing,
    draw_experts,
    draw_geometry,
    draw_models,
    draw_routing,
    draw_shared,
    draw_training,
)
from studio.exhibits.moe.figures_choice import (
    ESTIMATE,
    START,
    UPDATE,
    draw_auxiliary,
    draw_devices,
    draw_dynamic,
    draw_sequences,
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
        title="Routing of a text",
        caption=(
            "The text, each byte in the colour of its first expert: stronger for more weight, all weights on hover. Narrow tiles are the "
            "further bytes of the character before them. Watch the colours change with the language, and from a first byte to a later "
            "one. Drag a point of the bias: it is added to that expert's score in the choice, and tokens move at once. F is an "
            "expert's share of all assignments, Q = 1/n the even share."
        ),
        compute=route_text,
        controls=READING,
        draw=draw_routing,
        scalars={
            "mean loss (nats a token)": "loss",
            "maximum violation (F − Q)/Q, mean of the layers": lambda r: r.max.mean(),
            "router's entropy / log n": lambda r: r.entropy.mean(),
        },
        looks={"layer": LAYER},
    ),
    View(
        slug="experts",
        title="Expert specialisation",
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
        scalars={
            "mean loss (nats a token)": "loss",
            "maximum violation (F − Q)/Q, mean of the layers": lambda r: r.max.mean(),
            "router's entropy / log n": lambda r: r.entropy.mean(),
        },
        looks={"layer": LAYER},
        seconds=0.2,
    ),
    View(
        slug="balancing",
        title="Balancing rules",
        caption=(
            "The load of every expert, a square a rule, all on the same scores; the dotted line is the even share. "
            "Play the rounds: some rules level it at once, some slowly, some never. Below, the violation (F − Q)/Q "
            "round by round, down to one token more than even. F is an expert's share of all assignments, Q = 1/n the "
            "even share; balanced means at most 10 %. Quantile balancing has no step size. Steps by sign or RMS "
            "converge slowly, then oscillate by about their step. Hashing ignores the scores, which shows in the "
            "routed score: the sum of the chosen weights against plain top-k's. The target need not be even, and the "
            "gate of the choice, where the bias is added, not that of the weights."
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
            "rate": Range("Step γ", log=True),
            "rounds": Range("Rounds", step=1),
            "tilt": Range(
                "Target of the first expert over the last's", log=True, help="1: even. Spaced by ratio between."
            ),
            "experts": Range("Experts n", step=1, log=True, when=DRAWN),
            "top_k": Range("Experts of a token k", step=1, when=DRAWN),
            "tokens": Range("Tokens", step=1, log=True),
            "gate": Choice(
                "Gate of the choice", GATES, help="Makes of scores the ρ to which the bias is added.", when=DRAWN
            ),
            "weight_gate": Choice("Gate of the weights", WEIGHT_GATE, help="Weighs the experts chosen."),
            "unit": Choice("Unit of γ", UNIT),
            "seed": SEED,
        },
        draw=draw_balancing,
        scalars={
            "maximum violation (F − Q)/Q at the last round": lambda r: each(r.rules, r.max[:, -1]),
            "routed score at the last round, over plain top-k's": lambda r: each(r.rules, r.score[:, -1]),
        },
        looks={"measure": Choice("Violation shown", MEASURE)},
        live=False,
        seconds=4,
        brief={"tokens": 500, "experts": 16, "top_k": 2, "rounds": 5},
    ),
    View(
        slug="dynamic",
        title="Dynamic number of experts",
        caption=(
            "The load of every expert, from left to right batch after batch, a field a way of renewing the bias: rows are experts, the most "
            "favoured at the top; white is even within the budget of k experts a token, blue more, orange less. A token takes all experts with "
            "ρ + b > 0, with the bias made from the batches before. Look how soon the stripes fade, and how many experts a token gets: "
            "from b = 0 behind a sigmoid it takes all. The normal quantile starts near k at once. A bias renewed by the last batch's "
            "quantile follows its noise; an average of quantiles comes down to what chance alone leaves."
        ),
        compute=dynamic_number,
        controls={
            "updates": Choice("Bias renewed by", UPDATE, several=True),
            "start": Choice("First bias", START),
            "rate": Range("Step γ", log=True, when={"updates": ["sign", "budget", "at-most"]}),
            "weight": Range("Weight λ of the budget", when={"updates": ["budget", "at-most"]}),
            "decay": Range("Decay of the average", when={"updates": ["average"]}),
            "parts": Range(
                "Parts of a batch",
                step=1,
                help="Quantiles of the parts, averaged.",
                when={"updates": ["quantile", "average"]},
            ),
            "top_k": Range("Experts of a token k, mean", step=1),
            "experts": Range("Experts n", step=1, log=True),
            "tokens": Range("Tokens of a batch", step=1, log=True),
            "batches": Range("Batches", step=1),
            "offset": Range("Inequality of the experts"),
            "gate": Choice("Gate", GATES),
            "seed": Range("Seed", step=1),
        },
        draw=draw_dynamic,
        scalars={
            "experts of a token, last quarter of the batches": lambda r: each(
                r.updates, r.spent[:, 3 * r.spent.shape[1] // 4 :].mean(1)
            ),
            "mean |F − Q|/Q, last quarter of the batches": lambda r: each(
                r.updates, r.mean[:, 3 * r.mean.shape[1] // 4 :].mean(1)
            ),
            "mean |F − Q|/Q by chance": "floor",
        },
        seconds=0.3,
    ),
    View(
        slug="auxiliary",
        appendix=True,
        title="Auxiliary loss by straight-through",
        caption=(
            "½‖F − Q‖² counts tokens, so its slope is 0 almost everywhere. Passed straight through, F is counted and P, the mean "
            "softmax, is differentiated: Σ(F − Q)∂P. It changes its sign where the loss is least. For an even target ΣF∂P is the same, "
            "since ΣP = 1: that is the auxiliary loss in use. Ask for more or less of one expert, and only the first still "
            "points to the target."
        ),
        compute=auxiliary_loss,
        controls={
            "wanted": Range("Target of the expert ÷ even share", log=True),
            "sharpness": Range("Sharpness of the softmax", log=True),
            "experts": Range("Experts", step=1),
            "top_k": Range("Experts of a token", step=1),
            "tokens": Range("Tokens", step=1, log=True),
            "seed": Range("Seed", step=1),
        },
        draw=draw_auxiliary,
        scalars={"offset of the least loss": "best"},
        seconds=0.2,
    ),
    View(
        slug="sequences",
        title="Sequence-level balance",
        caption=(
            "The load of the last layer's experts in each sequence of 128 bytes, a row a sequence: white is even, blue more, orange less. "
            "Left, the model as it is: experts know their domain, and each sequence uses few. Right, each byte has a bias of its own, −λβ: "
            "β is the 1 − k/n quantile of its sequence's scores so far, read off a histogram with exponential memory. The rows are "
            "paler, and the domains alike: that knowledge is lost. Below, the strength λ against balance and loss: a little balance is "
            "nearly free, full balance costs much, for a model that was not trained so."
        ),
        compute=sequence_balance,
        controls={
            "model": Choice("Model, by its balancing", {name: BALANCING[rule] for name, rule in EMBEDDED.items()}),
            "estimates": Choice("Bias of a byte", ESTIMATE, several=True),
            "strengths": Numbers("Strengths λ"),
            "decay": Range("Decay of the histogram"),
            "bins": Range("Bins of the histogram", step=1, when={"estimates": ["histogram"]}),
            "sequences": Range("Sequences of each domain", step=1),
        },
        draw=draw_sequences,
        scalars={
            "maximum violation in a sequence, greatest λ": lambda r: each(r.estimates, r.within[:, -1]),
            "loss at the greatest λ (nats a byte)": lambda r: each(r.estimates, r.loss[:, -1]),
        },
        live=False,
        seconds=1,
        brief={"strengths": (1.0,), "sequences": 2, "bins": 20},
    ),
    View(
        slug="training",
        title="Training",
        caption=(
            "The load of small experts that learn inputs of several kinds, each with a linear map of its own, under "
            "each balancing. All balancings start alike and see the same batches. Play the steps: without balancing "
            "the load gathers on some experts, which get the practice, and others fall out of use. Kinds then share "
            "an expert, and the loss below stays higher. How many experts are lost depends on the seed; the table "
            "counts them. The z-loss holds log Z down, and with it the logits."
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
            "gate": Choice("Gate of the choice", SHARED_GATES),
            "weight_gate": Choice("Gate of the weights", {key: WEIGHT_GATE[key] for key in WEIGHTS}),
            "z_weight": Range(
                "Weight of the z-loss", step=0.0005, help="Times the mean of (log Z)², Z = Σ exp(logits)."
            ),
            "learning_rate": Range("Learning rate", log=True),
            "seed": SEED,
        },
        draw=draw_training,
        scalars={
            "loss ÷ variance of the target": lambda r: each(r.rules, r.loss[:, -1]),
            "maximum violation (F − Q)/Q": lambda r: each(r.rules, r.violation[:, -1]),
            "experts in use": lambda r: each(r.rules, r.used),
        },
        live=False,
        seconds=7,
        brief={"steps": 20, "rules": ("top-k", "loss-free")},
    ),
    View(
        slug="geometry",
        title="The best k vectors",
        caption=(
            "A dense layer is cut into $n$ blocks, whose vectors add up to its output $y$. Each path adds those of one token, tip to tail, in "
            "another order; how far its $k$-th mark is from the star is exactly what the first $k$ of them miss; the large marks are at "
            "half of them. Scrub the tokens: with the longest first the sum comes close to $y$ soon. Below, the mean over tokens. If the vectors were orthogonal, the "
            "best $k$ would be the longest; the best subset is found by trying all. Norms come close to it, the closer the more "
            "dimensions there are. A linear router that sees only the input keeps much of the gain: that is a mixture of experts. Last, "
            "the same layer cut finer with the same share kept: every choice of coarse blocks is also one of fine ones, so the best "
            "can only get better."
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
        scalars={
            "squared error ÷ ‖y‖², half of the vectors kept": lambda r: each(
                ("best subset", "greatest norms", "linear router", "any k (mean)"),
                (curve[r.blocks // 2] for curve in (r.best, r.norm, r.learned, r.random)),
            ),
            "mean |cos| of two vectors": "cosine",
        },
    ),
    View(
        slug="shared",
        appendix=True,
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
        scalars={"λ (mean)": "value"},
    ),
    View(
        slug="devices",
        appendix=True,
        title="Device-limited routing",
        caption=(
            "Experts lie on D devices, and a token may use those of its M best devices only: what is left of the routed score, and of "
            "the choices. Each device more costs communication. Look how soon the score comes back. The bars show how "
            "many devices plain top-k reaches without a limit."
        ),
        compute=device_limits,
        controls={
            "devices": Range("Devices D", step=1),
            "experts": Range("Experts n", step=1),
            "top_k": Range("Experts of a token k", step=1),
            "scored_by": Range("A device is scored by its best", step=1, help="1 in DeepSeek-V2, 2 in V3."),
            "together": Range(
                "Wanted together", help="How much the experts of one device are wanted by the same tokens."
            ),
            "gate": Choice("Gate", SHARED_GATES),
            "tokens": Range("Tokens", step=1, log=True),
            "seed": Range("Seed", step=1),
        },
        draw=draw_devices,
        scalars={
            "routed score at the fewest devices, over plain top-k's": lambda r: r.score[0],
            "devices of a token without a limit": lambda r: r.touched[-1],
        },
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
        scalars={
            "maximum violation (F − Q)/Q, mean of the layers": lambda r: r.max.mean(),
            "router's entropy / log n": lambda r: r.entropy.mean(),
        },
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
    question="Which expert reads which byte, and how is the load kept even?",
    theme="attention",
    sources=(
        ("Su, MoE环游记 1: geometric meaning", "https://kexue.fm/archives/10699"),
        ("Su, MoE环游记 2: not scarcity but inequality", "https://kexue.fm/archives/10735"),
        ("Su, MoE环游记 3: another way to assign (loss-free)", "https://kexue.fm/archives/10757"),
        ("Su, MoE环游记 4: invest more where it is hard (dynamic number)", "https://kexue.fm/archives/10815"),
        ("Su, MoE环游记 5: uniform distribution reconsidered (shared experts)", "https://kexue.fm/archives/10945"),
        ("Su, MoE环游记 6: balance by optimal assignment (quantile balancing)", "https://kexue.fm/archives/11619"),
        ("Su, MoE环游记 7: dynamic activation by quantiles", "https://kexue.fm/archives/11626"),
        ("Su, MoE环游记 8: sequence-level balance enforced", "https://kexue.fm/archives/11760"),
        ("Fedus et al., Switch Transformers", "https://arxiv.org/abs/2101.03961"),
        ("Wang et al., Auxiliary-Loss-Free Load Balancing", "https://arxiv.org/abs/2408.15664"),
        (
            "Sun et al., Binary-Integer-Programming Based Expert Load Balancing (BIP)",
            "https://arxiv.org/abs/2502.15451",
        ),
        ("Zoph et al., ST-MoE (z-loss)", "https://arxiv.org/abs/2202.08906"),
        ("Dai et al., DeepSeekMoE (fine-grained experts)", "https://arxiv.org/abs/2401.06066"),
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
