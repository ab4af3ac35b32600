"""Softmax and its alternatives: what a map from scores to probabilities may do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.softmax.checks import CHECKS
from engines.softmax.experiments import attention, compare, losses, perturb, sensitivity, simplex_map, sparsity, speed
from engines.softmax.learning import descend, relax, relu_family
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Text, Toggle, View, each, read_stories
from studio.exhibits.softmax.figures import (
    LABELS,
    NOISES,
    draw_attention,
    draw_compare,
    draw_jacobian,
    draw_losses,
    draw_perturb,
    draw_simplex,
    draw_sparsity,
    draw_speed,
)
from studio.exhibits.softmax.figures_learning import GRADIENTS, draw_descent, draw_family, draw_relaxed

MAP = Choice("Map", LABELS)
MAPS = Choice("Maps", LABELS, several=True)
SCORES = Numbers("Scores", help="Separated by commas; where there are grey bars, drag them.")
TEMPERATURE = Range("Temperature T", log=True, help="Every map is given s / T.")
SEED = Range("Seed", step=1)
PLANE = {"x": Range("(s₁ − s₂) / √2", step=0.01), "y": Range("(2 s₃ − s₁ − s₂) / √6", step=0.01)}


def only_for(name: str) -> dict:
    """Seen where that map is chosen."""
    return {"maps": [name], "map": [name]}


OWN = {
    "alpha": Range("α of entmax", step=0.05, help="1 is softmax, 2 is sparsemax.", when=only_for("entmax")),
    "k": Range("k of top-k", step=1, help="Above the number of scores it keeps them all.", when=only_for("top_k")),
    "order": Range("Order of Taylor", step=2, when=only_for("taylor")),
    "margin": Range("Margin", step=0.1, help="Taken from the first score, the target's.", when=only_for("margin")),
    "p": Range(
        "p of top-p", step=0.01, help="The fewest largest that hold this share are kept.", when=only_for("top_p")
    ),
}
# where a table holds all maps, whichever is drawn
ALWAYS = {name: replace(control, when={}) for name, control in OWN.items()}

VIEWS = (
    View(
        slug="compare",
        title="Probability maps side by side",
        caption="Grey bars are scores, coloured bars the probabilities that each map gives them; a 0 is exactly 0. Drag a score. Sparsemax, entmax, top-k, top-p and perturb-max give exactly 0, the others never. Taylor's polynomial grows again on the left, so a very low score can get more than a higher one. It and the normalised sigmoid change when a constant is added to every score.",
        compute=compare,
        controls={"scores": SCORES, "maps": MAPS, "temperature": TEMPERATURE, **OWN},
        draw=draw_compare,
        scalars={
            "support (entries > 0)": lambda r: each(r.maps, r.support),
            "entropy (nats)": lambda r: each(r.maps, r.entropy),
        },
        looks={"log": Toggle("Log axis", help="Shows probabilities down to 10⁻⁶.")},
    ),
    View(
        slug="family",
        title="From softmax to sparsemax",
        caption="$e^u$ is the limit of $(1+\\beta u)^{1/\\beta}$ as β → 0. Cut off where its base is negative, this power gives a family, $p_i=\\mathrm{relu}(1+\\beta(s_i-\\lambda))^{1/\\beta}$, with λ such that the sum is 1: entmax with α = 1 + β. Each curve is the probability of one score. One after the other becomes exactly 0, the last when the first leads the second by 1/β. Below: the powers, with the scores on the given one.",
        compute=relu_family,
        controls={"beta": Range("β = α − 1", step=0.05), "scores": SCORES},
        draw=draw_family,
        scalars={"support (entries > 0)": lambda r: (r.probabilities > 0).sum(), "threshold λ": "threshold"},
        seconds=0.2,
    ),
    View(
        slug="simplex",
        title="On the simplex",
        caption="Three scores are a point of the plane, three probabilities a point of the triangle, the simplex. Lines: where the map sends a square grid of scores. Drag the diamond, the scores; the disc is its image. Sparsemax is the projection: points of the triangle stay, others go to the nearest edge or corner, where probabilities are 0. Softmax bends the whole plane into the open triangle. The shade tells where one, two or all three probabilities are above 0.",
        compute=simplex_map,
        controls={
            "map": MAP,
            "temperature": TEMPERATURE,
            "alpha": OWN["alpha"],
            **PLANE,
            "offset": Range("Offset of all scores", step=0.5),
            **{name: control for name, control in OWN.items() if name != "alpha"},
        },
        draw=draw_simplex,
        scalars={
            "share of the square with support 1": lambda r: r.share[0],
            "share of the square with support 3": lambda r: r.share[2],
        },
    ),
    View(
        slug="jacobian",
        title="Jacobian",
        caption="Row i, column j: how fast probability i changes with score j. A row and column of zeros is a score that learns nothing. ½‖J‖₁, half the sum of absolute entries, is $1-\\sum_i p_i^2$ for softmax: it vanishes when one probability nears 1. For sparsemax it is $|S|-1$, $S$ being the support, however sure the map is.",
        compute=sensitivity,
        controls={"map": MAP, "scores": SCORES, "temperature": TEMPERATURE, **ALWAYS},
        draw=draw_jacobian,
        scalars={
            "half the sum of |J|": lambda r: each(r.maps, r.half_norm),
            "zeros in J, share": lambda r: each(r.maps, r.zeros),
        },
    ),
    View(
        slug="sparsity",
        title="Support and entropy",
        caption="Support (entries above 0) and entropy of standard normal scores, means over 10 rows, over the number of scores n and the temperature T. Softmax keeps every entry, and its entropy grows like log n. Sparsemax and entmax keep few, slowly more as n grows. Perturb-max is computed for up to 64 scores.",
        compute=sparsity,
        controls={
            "maps": MAPS,
            "temperature": TEMPERATURE,
            "n": Range("Number of scores n, for the curves over T", step=1),
            **OWN,
            "seed": SEED,
        },
        draw=draw_sparsity,
        scalars={
            "support (entries > 0) of 16 scores, mean": lambda r: each(
                r.maps, r.support_by_size[:, np.searchsorted(r.sizes, 16)]
            ),
            "entropy of 16 scores (nats), mean": lambda r: each(
                r.maps, r.entropy_by_size[:, np.searchsorted(r.sizes, 16)]
            ),
        },
        seconds=0.2,
    ),
    View(
        slug="losses",
        title="Losses",
        caption="A classifier gives its target the score t and every other class 0. First: cross-entropy; a curve that leaves at the top is infinite further left, where the map gives the target 0. Second: the Fenchel–Young loss of entmax. It is finite, its gradient is p − y, and it is exactly 0 once the target leads by 1/(α − 1) (dots).",
        compute=losses,
        controls={"maps": MAPS, "classes": Range("Classes", step=1), **OWN},
        draw=draw_losses,
        scalars={
            "Fenchel–Young loss of a target that scores 0": lambda r: each(
                (f"α = {alpha:g}" for alpha in r.alphas), r.fenchel_young[:, np.abs(r.t).argmin()]
            )
        },
    ),
    View(
        slug="descent",
        title="Gradients of three losses",
        caption="Gradient descent on the scores of a classifier whose target starts below the others, with three gradients. $-p$ is the error rate made smooth; under softmax its gradient is $p\\,(\\boldsymbol p-\\boldsymbol y)$, $p$ being the target's: nearly nothing where nothing is learned yet. $-\\log p$ takes that factor away, but has no gradient where a sparse map gives exactly 0. $\\boldsymbol p-\\boldsymbol y$ itself serves any map: it is the gradient of $\\langle\\boldsymbol s,\\boldsymbol p-\\boldsymbol y\\rangle$ with the second factor held constant (stop-gradient). Where the Jacobian is symmetric it is, away from jumps, the gradient of a loss besides, of entmax the Fenchel–Young loss; with Taylor and the normalised sigmoid of none.",
        compute=descend,
        controls={
            "map": Choice("Map", LABELS),
            "start": Range("Start: score of the target", step=0.1),
            "classes": Range("Number of classes", step=1),
            "rate": Range("Learning rate", log=True),
            "steps": Range("Steps", step=1, log=True),
            **OWN,
        },
        draw=draw_descent,
        scalars={
            "target's probability after the last step": lambda r: each(
                (GRADIENTS[kind] for kind in r.kinds), r.probability[:, -1]
            )
        },
        seconds=0.2,
    ),
    View(
        slug="perturb",
        title="Perturb-max: argmax of noisy scores",
        caption="Independent noise is added to every s / T. Bars: the probability that an entry then has the largest sum, in closed form and as shares of draws (error bars: two standard deviations), beside softmax. With Gumbel noise it is softmax exactly. With uniform noise on [0, 1] an entry 1 or more below the maximum never wins.",
        compute=perturb,
        controls={
            "scores": SCORES,
            "noise": Choice("Noise", NOISES),
            "temperature": TEMPERATURE,
            "samples": Range("Draws", step=1, log=True),
            "seed": SEED,
        },
        draw=draw_perturb,
        scalars={
            "greatest difference of draws and closed form": lambda r: np.abs(r.frequency - r.exact).max(),
            "total variation from softmax": lambda r: np.abs(r.exact - r.softmax).sum() / 2,
        },
    ),
    View(
        slug="relaxed",
        title="Gumbel-softmax",
        caption="A draw from softmax is the argmax of scores with Gumbel noise, which has no gradient. Gumbel-softmax puts softmax at temperature τ in its place: dots are draws. At small τ they lie near the corners, like true draws; at large τ near the middle. Their exact mean is not softmax, and neither is its gradient that of softmax: look how far the two discs lie apart. Below, of the gradient of $p_1$: bias falls with τ, and the spread of a single draw grows. The straight-through version, which takes the corner forward and this gradient backward, has the same bias for an objective linear in the draw.",
        compute=relax,
        controls={
            "tau": Range("Temperature τ", log=True),
            **PLANE,
            "draws": Range("Number of draws", step=1, log=True),
            "seed": SEED,
        },
        draw=draw_relaxed,
        scalars={
            "total variation of mean and softmax": lambda r: np.abs(r.mean - r.softmax).sum() / 2,
            "deviation of REINFORCE's gradient, relative": "score_function",
        },
        seconds=0.3,
    ),
    View(
        slug="attention",
        title="Attention weights",
        caption="24 successive words attend to each other; a row is one word's weights. Scores are inner products of 16-dimensional vectors, factored from the word co-occurrences of this very text, scaled to unit variance; no trained network is involved. The map decides how many words are attended to. A word is often, not always, most like itself: inner products favour long vectors.",
        compute=attention,
        controls={
            "map": MAP,
            "temperature": TEMPERATURE,
            "start": Range("First word", step=1),
            "text": Text("Text", lines=4, help="At least 24 words, or Chinese characters."),
            **ALWAYS,
        },
        draw=draw_attention,
        scalars={
            "support (entries > 0), mean": lambda r: each(r.maps, r.support),
            "entropy (nats), mean": lambda r: each(r.maps, r.entropy),
        },
    ),
    View(
        slug="speed",
        appendix=True,
        title="Appendix: speed",
        caption="Forward time on this server, measured when you press Run; grey: the published algorithms, which sort every row or bisect on all of it. Ours bounds the threshold by the maxima of a few columns and solves on the scores above the bound. The fewer these are, the more is gained; small scales and α near 1 keep all.",
        compute=speed,
        controls={
            "rows": Range("Rows", step=1, log=True),
            "columns": Range("Scores in a row", step=1, log=True),
            "scale": Range("Scale of the scores", log=True),
            "alpha": Range("α of the third pair", step=0.05),
        },
        draw=draw_speed,
        scalars={"time of a call (s)": lambda r: each((name.replace("_", " ") for name in r.methods), r.seconds)},
        live=False,
        seconds=5,
        brief={"rows": 4, "columns": 256},
    ),
)


EXHIBIT = Exhibit(
    slug="softmax",
    title="Softmax",
    summary="From scores to probabilities: softmax, and eight alternatives: sparse, with a margin, polynomial, by noise.",
    question="Can a probability be exactly zero and still be learned?",
    theme="attention",
    sources=(
        (
            "Su Jianlin, The road to probability distributions: softmax and its alternatives",
            "https://kexue.fm/archives/10145",
        ),
        ("Martins, Astudillo, From Softmax to Sparsemax (2016)", "https://arxiv.org/abs/1602.02068"),
        ("Peters, Niculae, Martins, Sparse Sequence-to-Sequence Models (2019)", "https://arxiv.org/abs/1905.05702"),
        ("Blondel, Martins, Niculae, Learning with Fenchel-Young Losses (2020)", "https://arxiv.org/abs/1901.02324"),
        ("Wang et al., Additive Margin Softmax for Face Verification (2018)", "https://arxiv.org/abs/1801.05599"),
        (
            "de Brébisson, Vincent, Softmax Alternatives of the Spherical Loss Family (2016)",
            "https://arxiv.org/abs/1511.05042",
        ),
        ("Sun et al., Sparse-softmax: A Simpler and Faster Alternative (2021)", "https://arxiv.org/abs/2112.12433"),
        (
            "Holtzman et al., The Curious Case of Neural Text Degeneration (2020)",
            "https://arxiv.org/abs/1904.09751",
        ),
        (
            "Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax (2017)",
            "https://arxiv.org/abs/1611.01144",
        ),
        ("Maddison, Mnih, Teh, The Concrete Distribution (2017)", "https://arxiv.org/abs/1611.00712"),
        ("Maddison, Tarlow, Minka, A* Sampling (2014)", "https://arxiv.org/abs/1411.0030"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "jacobian": Former("jacobian", {"shown": "map"}),
        "attention": Former("attention", {"shown": "map"}),
        "speed": Former("speed", {"general_alpha": "alpha"}),
    },
)
