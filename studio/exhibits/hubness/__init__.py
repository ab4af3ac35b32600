"""Hubness: in high dimension some points are a nearest neighbour of very many others, and many of none."""

from __future__ import annotations

from engines.hubness.approximate import approximate
from engines.hubness.checks import CHECKS
from engines.hubness.data import LAWS as DRAWN
from engines.hubness.experiments import boundary, compare_reductions, concentration, skewness_against_dimension, survey
from engines.hubness.files import KINDS
from engines.hubness.latents import latent_filter
from engines.hubness.reduction import METHODS
from studio.exhibit import Choice, Exhibit, Former, Range, Text, Toggle, Upload, View, each, read_stories
from studio.exhibits.hubness import thumbnail
from studio.exhibits.hubness.figures import (
    LAWS,
    MEASURES,
    NORMS,
    PLACES,
    REDUCTIONS,
    draw_approximate,
    draw_boundary,
    draw_concentration,
    draw_curve,
    draw_latent,
    draw_reductions,
    draw_survey,
)

METRICS = {
    "euclidean": "Euclidean",
    "cosine": "cosine",
    "centred cosine": "centred cosine",
    "inner product": "inner product",
    "lp": "Lp",
}
DATA = Choice(
    "Points",
    {
        "uniform": "cube",
        "normal": "normal",
        "sphere": "sphere",
        "mixture": "mixture",
        "digits": "digits",
        "emoji": "emoji",
        "sentences": "sentences",
        "file": "your file",
    },
    icons=thumbnail.sets,
)
OF_LAWS = {"data": list(DRAWN)}
DIMENSION = Range("Dimension d", log=True, when=OF_LAWS)
INTRINSIC = Range(
    "Intrinsic dimension", help="Dimensions that the points really fill; 0 means all of them.", when=OF_LAWS
)
FILE = Upload(
    "Table of points",
    KINDS,
    200,
    help="One point a row: numpy's .npy or .npz, a table with commas, semicolons or tabs, word2vec or GloVe text (up to 50 MB).",
    when={"data": ["file"]},
)
ARRAY = Text("Array of the .npz", help="Empty: the largest table of fractions.", when={"data": ["file"]})
SET = {"data": DATA, "path": FILE, "array": ARRAY}
K = Range("Neighbours k", log=True)
FIVE = Range("Neighbours k", step=1, help="The papers quoted here take 5.")
METRIC = Choice("Distance", METRICS)
P = Range("Exponent p of Lp", log=True, when={"metric": ["lp"]})
LAW = Choice("Distribution", LAWS)
SEED = Range("Seed", step=1)

VIEWS = (
    View(
        slug="occurrence",
        title="k-occurrence",
        caption=(
            "The points on their two principal directions; lines join one hub to the points that have it among their $k$ nearest. "
            "$N_k(x)$, the k-occurrence, counts those points; its mean is always $k$ (drag it in the histogram). If neighbours were "
            "chosen at random $N_k$ would follow the dashed binomial. Look how far its tail runs beyond that: a few points are "
            "neighbours of very many (hubs), others of none (antihubs)."
        ),
        compute=survey,
        controls={
            **SET,
            "k": K,
            "metric": METRIC,
            "p": P,
            "dimension": DIMENSION,
            "intrinsic": INTRINSIC,
            "points": Range("Number of points n", log=True, help="Of a set or file, at most that many of its points."),
            "seed": SEED,
        },
        looks={
            "hub": Range("Hub shown", low=1, high=12, step=1, help="1 has the greatest N."),
            "log_counts": Toggle("Log axes of the histogram"),
        },
        draw=draw_survey,
        scalars={
            "skewness of N": "unequal.skewness",
            "Robin Hood index": "unequal.robin_hood",
            "share of antihubs, N = 0": "unequal.antihubs",
            "rank correlation of N and distance to the mean": "rank_correlation",
        },
    ),
    View(
        slug="dimension",
        title="Hubness against dimension",
        caption=(
            "A measure of $N_k$ for sets of growing dimension; bands span the seeds, the dotted line is what random neighbours "
            "give. Inequality grows where some places are more central than others. On the sphere, where none is, it stays near the "
            "dotted line. As a share: the fifth of the points that are neighbours most often hold ever more of all neighbour slots."
        ),
        compute=skewness_against_dimension,
        controls={
            "laws": Choice("Distributions", LAWS, several=True),
            "points": Range("Points of a set", step=1),
            "k": FIVE,
            "metric": METRIC,
            "p": P,
            "seeds": Range("Sets of each distribution", step=1),
            "seed": SEED,
        },
        looks={"measure": Choice("Measure", MEASURES)},
        draw=draw_curve,
        scalars={
            "skewness of N in the last dimension, mean of the sets": lambda r: each(r.laws, r.skewness[:, -1].mean(1)),
            "Robin Hood index in the last dimension, mean of the sets": lambda r: each(
                r.laws, r.robin_hood[:, -1].mean(1)
            ),
        },
        live=False,
        seconds=6,
        brief={"points": 200, "seeds": 1},
    ),
    View(
        slug="reduction",
        title="Hubness reduction",
        caption=(
            "Lorenz curves: the points stand in order of $N_k$, and the curve adds up the neighbour slots that they hold. The further "
            "it lies below the diagonal, the fewer points hold most of them; its greatest distance is the Robin Hood index, the share "
            "of slots that would have to move for equality. Grey is the Euclidean distance; the others are dissimilarities made from "
            "it, or other metrics."
        ),
        compute=compare_reductions,
        controls={
            **SET,
            "methods": Choice(
                "Reductions", {name: REDUCTIONS[name] for name in METHODS if name != "none"}, several=True
            ),
            "k": K,
            "dimension": DIMENSION,
            "intrinsic": INTRINSIC,
            "points": Range("Number of points n", log=True, help="Of a set or file, at most that many of its points."),
            "seed": SEED,
        },
        draw=draw_reductions,
        scalars={
            "skewness of N": lambda r: each((REDUCTIONS[name] for name in r.methods), (u.skewness for u in r.unequal)),
            "Robin Hood index": lambda r: each(
                (REDUCTIONS[name] for name in r.methods), (u.robin_hood for u in r.unequal)
            ),
        },
        live=False,
        seconds=2,
        brief={"points": 200},
    ),
    View(
        slug="concentration",
        title="Concentration of distances and angles",
        caption=(
            "Distances between two random points, by dimension, over their mean: the more dimensions, the narrower. Beside it, "
            "their standard deviation over their mean, in four norms. Under the first three distributions it falls like $1/\\sqrt d$ in each $L_p$ norm with finite $p$: all distances become "
            "alike. Of the mixture two groups of distances remain, within a component and between two, so there it "
            "does not vanish. Angles concentrate too: two directions at random have density $\\sin^{d-2}$ (dashed) "
            "and are nearly perpendicular; seen from a corner of the cube, where all coordinates are positive, the "
            "angle tends to 41.4°, whose cosine is ¾. Last, the ball in its cube: its share "
            "$\\pi^{d/2}/(2^d\\,\\Gamma(d/2+1))$ vanishes, and nearly all of it lies near its surface (drag the rim)."
        ),
        compute=concentration,
        controls={"law": LAW, "pairs": Range("Pairs per dimension", step=1), "seed": SEED},
        looks={"rim": Range("Rim, share of the radius", low=0.001, high=0.9)},
        draw=draw_concentration,
        scalars={
            "standard deviation / mean of a distance, last dimension": lambda r: each(
                (NORMS[p] for p in r.exponents.tolist()), r.spread[:, -1]
            ),
            "(farthest − nearest) / nearest, last dimension": lambda r: each(
                (NORMS[p] for p in r.exponents.tolist()), r.contrast[:, -1]
            ),
        },
    ),
    View(
        slug="approximate",
        title="Approximate search (HNSW)",
        caption=(
            "Large collections are searched by a graph (HNSW, here by faiss): from point to nearer point along links, keeping a beam "
            "of candidates. Each point is searched for itself: how many of them are found, by how often they are neighbours. "
            "Antihubs are lost first: points that are near to no other get few links, some none, and of these hardly "
            "one is found, however wide the beam. The dashed curve, the share of neighbours found, hides it, since "
            "antihubs are no point's neighbour. More links help."
        ),
        compute=approximate,
        controls={
            **SET,
            "links": Range("Links M of a point", step=1, help="Twice as many on the ground layer."),
            "beam": Range("Beam ef of a search", step=1, log=True),
            "k": K,
            "dimension": DIMENSION,
            "intrinsic": INTRINSIC,
            "points": Range("Number of points n", log=True, help="Of a set or file, at most that many of its points."),
            "seed": SEED,
        },
        draw=draw_approximate,
        scalars={
            "share of the neighbours found": lambda r: r.recall[list(r.beams).index(r.beam)],
            "share of the points that find themselves": lambda r: r.found.mean(),
        },
        seconds=0.5,
    ),
    View(
        slug="artefact",
        title="Hubness and boundaries",
        caption=(
            "Points of a plane, the stronger in colour the greater their $N_k$, with a large $k$: two dimensions are enough for hubs where "
            "there is a middle. Glue opposite sides, and the same points have neither edge nor middle: $N_k$ differs little from point to point. Low "
            "and colleagues hold that hubs need a gradient of density, which an edge makes, and not dimension as such. Below, the "
            "skewness of $N_k$ over dimension, in places without an edge (solid) and in places with a middle (dashed): in the cube with "
            "glued faces and on the sphere it stays near that of random neighbours (dotted)."
        ),
        compute=boundary,
        controls={
            "points": Range("Number of points n", step=1),
            "k": K,
            "share": Range("k in the planes, share of n"),
            "seed": SEED,
        },
        draw=draw_boundary,
        scalars={
            "skewness of N in the last dimension": lambda r: each(
                (PLACES[place] for place in r.places), r.skewness[:, -1]
            )
        },
        live=False,
        seconds=5,
        brief={"points": 100},
    ),
    View(
        slug="latent",
        title="Hub latents of a generator",
        caption=(
            "Gaussian latents: how long those with many neighbours are and, where there is a generator, the pictures that DDIM makes of "
            "a diffusion model's initial noise: of the hubs among many draws, of draws with $N_k$ near "
            "$k$, of the same shortened to the hubs' length, and of antihubs. Compare the first row with the third: what shortening "
            "alone explains is truncation, not hubness. Liang and colleagues keep only latents with $N_k \\ge t$ and see better "
            "pictures of GANs. The kept ones are short, and the higher $t$, the fewer they are. A diffusion model rescales its noise, "
            "so expect less here."
        ),
        compute=latent_filter,
        controls={
            "model": Choice(
                "Generator",
                {
                    "none": "none: latents alone",
                    "ddpm-emoji-32": "emoji, 32 × 32",
                    "google/ddpm-cifar10-32": "CIFAR-10, from the Hub",
                },
            ),
            "latents": Range("Latents drawn", step=1),
            "k": FIVE,
            "dimension": Range("Dimension of a latent", log=True, when={"model": ["none"]}),
            "each": Range("Pictures of a kind", step=1, when={"model": ["ddpm-emoji-32", "google/ddpm-cifar10-32"]}),
            "steps": Range("Denoising steps", step=1, when={"model": ["ddpm-emoji-32", "google/ddpm-cifar10-32"]}),
            "seed": SEED,
        },
        looks={"threshold": Range("Threshold t", low=0, high=300, step=1)},
        draw=draw_latent,
        scalars={"greatest N": lambda r: r.counts.max(), "mean length of the hubs / of all latents": "shortening"},
        live=False,
        seconds=8,
        brief={"latents": 100, "each": 1, "steps": 2},
        gpu=True,
    ),
)

EXHIBIT = Exhibit(
    slug="hubness",
    title="Hubness",
    summary=(
        "Take the ten nearest neighbours of every point. In high dimension a few points are a neighbour of hundreds and many of none: "
        "why that is, whether dimension is to blame, and what reduces it."
    ),
    question="Why do hundreds of points have the same neighbour?",
    theme="geometry",
    sources=(
        ("Su Jianlin, “维度灾难”之Hubness现象浅析 (2022)", "https://kexue.fm/archives/9147"),
        (
            "Radovanović, Nanopoulos, Ivanović, Hubs in Space, JMLR 11 (2010)",
            "https://www.jmlr.org/papers/v11/radovanovic10a.html",
        ),
        (
            "Low, Borgelt, Stober, Nürnberger, The Hubness Phenomenon: Fact or Artifact? (2013)",
            "https://doi.org/10.1007/978-3-642-30278-7_21",
        ),
        (
            "Feldbauer, Flexer, A comprehensive empirical comparison of hubness reduction (2019)",
            "https://doi.org/10.1007/s10115-018-1205-y",
        ),
        (
            "Schnitzer, Flexer, Schedl, Widmer, Local and Global Scaling Reduce Hubs in Space, JMLR 13 (2012)",
            "https://jmlr.org/papers/v13/schnitzer12a.html",
        ),
        (
            "Malkov, Yashunin, Hierarchical Navigable Small World graphs (2016)",
            "https://arxiv.org/abs/1603.09320",
        ),
        (
            "Munyampirwa, Lakshman, Coleman, Down with the Hierarchy: The ‘H’ in HNSW Stands for “Hubs” (2024)",
            "https://arxiv.org/abs/2412.01940",
        ),
        (
            "Liang, Wu, Lai, Qin, Exploring and Exploiting Hubness Priors for High-Quality GAN Latent Sampling (2022)",
            "https://arxiv.org/abs/2206.06014",
        ),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "occurrence": Former("occurrence", values={"data": "normal"}),
        "yours": Former("occurrence", values={"data": "sentences"}),
        "dimension": Former("dimension", names={"sample": "points", "neighbours": "k"}),
        "reduction": Former("reduction", names={"few_points": "points"}, values={"data": "normal"}),
        "artefact": Former("artefact", names={"few_points": "points"}),
        "latent": Former(
            "latent", names={"latent_dimension": "dimension", "neighbours": "k"}, values={"model": "none"}
        ),
        "samples": Former("latent", names={"neighbours": "k"}, values={"model": "ddpm-emoji-32"}),
    },
)
