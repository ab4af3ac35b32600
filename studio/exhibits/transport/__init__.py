"""Transport: what Wasserstein distances measure, who measures them, and what goes downhill along them."""

from __future__ import annotations

from engines.transport.checks import CHECKS
from engines.transport.critic_flow import TARGETS as PLANE_TARGETS
from engines.transport.critic_flow import critic_flow
from engines.transport.descent import descent
from engines.transport.downhill import downhill
from engines.transport.downhill_plane import STARTS, PlaneDownhill
from engines.transport.experiments import critics, distance, generators, minibatch, train
from studio.exhibit import Choice, Drawing, Exhibit, Numbers, Range, Text, Toggle, View, each, read_stories
from studio.exhibits.transport import figures
from studio.exhibits.transport.figures import CRITICS, GENERATORS, KINDS, LAWS, STEPPERS, WAYS

TARGETS = {
    "ring": "ring of eight",
    "moons": "two moons",
    "spiral": "spiral",
    "checkerboard": "checkerboard",
    "two_scales": "two scales",
    "three": "three Gaussians",
    "gaussian": "Gaussian N(0, I)",
    "letter": "letters",
    "drawing": "your drawing",
}
SOURCES = (
    {"points": "points of your own"}
    | {name: text for name, text in TARGETS.items() if name != "drawing"}
    | {"digits": "digits onto digits"}
)
DRAWN = {"source": [name for name in SOURCES if name not in ("points", "digits")]}
PLANE = {"source": [name for name in SOURCES if name != "digits"]}
OWN = {"source": ["points"]}
SEED = Range("Seed", step=1)
ON_LINE = {"start": ["line"]}
PENALTY = Range("Penalty λ", log=True, help="Gulrajani et al. take 10.")

VIEWS = (
    View(
        slug="distance",
        title="Exact distance",
        caption=(
            "Blue points are carried onto orange ones at least total cost; grey lines are the best matching, and the scrubber moves "
            "the points along them. Drag a blue point. Colours are Kantorovich's potential $f$: where it falls fastest, the mass "
            "goes. For W₁ no two places differ in $f$ by more than their distance, and along every line of the matching by exactly "
            "that. Then mean $f$(from) − mean $f$(to) is W₁, and no other matching can be cheaper: the potential is the proof. It is "
            "what the critic of a WGAN is meant to learn. Digits are points of 64 numbers: their matching is shown as pairs of pictures."
        ),
        compute=distance,
        controls={
            "source": Choice("From", SOURCES),
            "target": Choice("To", TARGETS, when=PLANE),
            "power": Range("Power of the distance", step=1, help="1 is W₁, 2 is W₂."),
            "n": Range("Points n", step=1, log=True, when={"source": [*DRAWN["source"], "digits"]}),
            "shift_x": Range("Shift of from, x", step=0.05, when=DRAWN),
            "shift_y": Range("Shift of from, y", step=0.05, when=DRAWN),
            "points_x": Numbers("Points of your own, x", help="They can be dragged.", when=OWN),
            "points_y": Numbers("Points of your own, y", when=OWN),
            "letter": Text("Letters", help="One to three.", when={"source": ["letter"], "target": ["letter"]}),
            "drawing": Drawing("Drawing", when={"target": ["drawing"]}),
            "seed": SEED,
        },
        draw=figures.draw_distance,
        scalars={
            "mean cost of the best matching": "value",
            "mean cost of random pairs": "random",
            "lower bound from the moments": "bound",
        },
        looks={"lines": Toggle("Lines of the matching", when=PLANE)},
        seconds=0.1,
    ),
    View(
        slug="critics",
        title="WGAN critics",
        caption=(
            "Critics are trained on batches of two distributions: what each says of fresh data at the end, and below, over the steps. Lines: exact W₁ of two "
            "batches, of all known data, and of the distributions where it is known. Two halves of the digits come from one "
            "distribution, so the truth is 0, yet two batches are far apart. The [[exact potential of one batch|exact potential]], the "
            "perfect critic, gives all of W₁ on its own batch (diamond); red is what is left on fresh data. The table divides "
            "each estimate by the critic's greatest slope between any two fresh points, and that is at most exact W₁ of these points. "
            "The c-transform's dual is such a bound without any slope."
        ),
        compute=critics,
        controls={
            "pair": Choice(
                "Distributions",
                {
                    "halves": "digits, half against half",
                    "digits_gaussian": "digits against their Gaussian",
                    "ring_gaussian": "ring against N(0, I)",
                    "shifted": "N(0, I) against itself, shifted",
                },
            ),
            "names": Choice("Critics", CRITICS, several=True),
            "batch": Range("Batch size", step=8, log=True),
            "steps": Range("Training steps", step=10, log=True),
            "penalty": Range("Penalty λ", log=True, when={"names": ["gp_at_1", "gp_at_0", "one_sided"]}),
            "clip": Range("Clip weights at", log=True, when={"names": ["clip"]}),
            "shift": Range("Shift", step=0.1, when={"pair": ["shifted"]}),
            "seed": SEED,
        },
        draw=figures.draw_critics,
        scalars={
            "estimate of W₁ on fresh data": lambda r: each(r.names, r.fresh[-1]),
            "exact W₁ of the fresh data": "w1_fresh",
        },
        looks={"shown": Choice("Level lines of", CRITICS, when={"pair": ["ring_gaussian", "shifted"]})},
        live=False,
        seconds=6,
        brief={"pair": "ring_gaussian", "names": ("clip", "gp_at_1", "exact"), "batch": 16, "steps": 10},
    ),
    View(
        slug="minibatch",
        title="Two batches",
        caption=(
            "W₁ between a fresh batch of n and another of the same distribution (blue) over n. In the limit it is 0, but in many "
            "dimensions it falls slowly. The orange line is n copies of one point, the distribution's median: where it lies below the "
            "blue one, one point is nearer than a real batch. K-medians (green) are n averages of digits, pictures that nobody drew. A "
            "generator that makes W₁ of its batches small is led to such averages. Bands are two standard errors."
        ),
        compute=minibatch,
        controls={
            "law": Choice(
                "Distribution",
                {"digits": "digits, 64 pixels", "gaussian": "Gaussian N(0, I)", "uniform": "uniform on [0, 1]"},
            ),
            "n": Range("Largest batch n", step=1, log=True),
            "dim": Range("Dimensions", step=1, log=True, when={"law": ["gaussian"]}),
            "repeats": Range("Pairs of batches", step=1, help="More pairs, smaller errors."),
            "seed": SEED,
        },
        draw=figures.draw_minibatch,
        scalars={
            "mean W₁ of two batches of size n": lambda r: r.real[list(r.sizes).index(r.n)],
            "mean W₁ of a batch to n copies of the median": lambda r: r.copies[list(r.sizes).index(r.n)],
        },
        live=False,
        seconds=2,
        brief={"n": 4, "repeats": 2},
    ),
    View(
        slug="generators",
        title="Small generators",
        caption=(
            "Digits by small generators that were trained to be near in W₁, beside real ones; distances are in ink, 0 on "
            "white and 1 on black. Compare the pictures, then the table: W₁ to fresh pictures (grey line: that of real ones), Fréchet distance, "
            "spread, and the mean step between neighbouring pixels, "
            "small where pictures are blurred. The distances need not rank generators alike, and a W₁ below that of real pictures is "
            "no sign of real pictures: an average is near to many."
        ),
        compute=generators,
        controls={
            "names": Choice("Trained by", {n: text for n, text in GENERATORS.items() if n != "real"}, several=True),
            "n": Range("Pictures compared", step=16),
            "seed": SEED,
        },
        draw=figures.draw_generators,
        scalars={
            "exact W₁ to fresh pictures (ink)": lambda r: each((GENERATORS[name] for name in r.names), r.w1),
            "Fréchet distance (ink²)": lambda r: each((GENERATORS[name] for name in r.names), r.frechet),
        },
        seconds=0.2,
    ),
    View(
        slug="train",
        title="Train a generator",
        caption=(
            "A small generator of digits while it is trained to be near in W₁: by exact W₁ of two batches, by a critic (WGAN-GP, three "
            "critic steps a step), or by the c-transform. Pictures of the same latents on the way, then W₁, Fréchet distance and the step "
            "between neighbouring pixels of 256 of them; dotted lines are real pictures. A W₁ near its "
            "dotted line with a pixel step far below its own means averages."
        ),
        compute=train,
        controls={
            "by": Choice("Trained by", WAYS),
            "batch": Range("Batch size", step=8, log=True),
            "steps": Range("Training steps", step=10, log=True),
            "seed": SEED,
        },
        draw=figures.draw_train,
        scalars={
            "exact W₁ to fresh pictures (ink)": lambda r: r.w1[-1],
            "Fréchet distance (ink²)": lambda r: r.frechet[-1],
        },
        live=False,
        seconds=6,
        brief={"batch": 16, "steps": 50},
    ),
    View(
        slug="critic_flow",
        title="From ReFlow to WGAN-GP",
        caption=(
            "The best critics of two distributions on the line, fake at 0 and real at a distance, exact. Drag the black dot, the real one. With "
            "the [[penalty about 1|penalty about 1]], WGAN-GP's, the slope is near 1 and the difference near W₁. "
            "[[penalty about 0|About 0]] it is a multiple of the mean move $E[x-y|z]$. [[ReFlow's critic|ReFlow's static critic]] has that "
            "move itself for a slope: it is the penalty about 0 with λ = ½, and measures a squared distance. A generator step along "
            "its slope carries two points onto each other at once. The bars expand ReFlow's loss: the term with the move is the "
            "difference of the ends, not nearly but exactly, for any D. What is given up is t: a field that knows it reaches the dotted "
            "line. In the plane the fake distribution is N(0, I): colours are the critic, arrows one step along its gradient, beside the "
            "exact transport. In few steps, WGAN-GP and the GAN as ReFlow are [trained there](?tab=diffusion&view=few&methods=exact,reflow,consistency_distillation,shortcut,sid&target=spiral)."
        ),
        compute=critic_flow,
        controls={
            "case": Choice(
                "Distributions", {"gaussians": "two Gaussians", "points": "two points", "plane": "in the plane"}
            ),
            "target": Choice(
                "Real distribution", {name: TARGETS[name] for name in PLANE_TARGETS}, when={"case": ["plane"]}
            ),
            "distance": Range("Distance", step=0.05, when={"case": ["gaussians", "points"]}),
            "penalty": PENALTY,
            "std": Range("Width of the real distribution", step=0.05, when={"case": ["gaussians"]}),
        },
        draw=figures.draw_critic_flow,
        scalars={
            "E D(x) − E D(y)": lambda r: each((KINDS[name] for name in r.kinds), r.now),
            "ReFlow's least loss": "least",
        },
        seconds=0.5,
    ),
    View(
        slug="descent",
        title="Descent in the plane",
        caption=(
            "Steps of several methods over the level lines of one function, and the gradient flow that a small enough step follows "
            "(dotted). Drag the start. Gradient steps diverge once h passes 2/λ, λ being the greatest curvature at the minimum; implicit steps, "
            "$\\mathrm{argmin}\\, f(x)+|x-x_t|^2/2h$, never do. Momentum is faster where curvatures differ, and no longer follows the flow: "
            "Nesterov's steps follow an ODE of second order on the clock $k\\sqrt h$. Another norm in place of $|x-x_t|$ gives another "
            "steepest descent."
        ),
        compute=descent,
        controls={
            "function": Choice(
                "Function", {"quadratic": "quadratic", "banana": "Rosenbrock's banana", "two_wells": "two wells"}
            ),
            "condition": Range("Greatest curvature κ", step=0.5, log=True),
            "step": Range("Step size h", log=True),
            "methods": Choice("Methods", STEPPERS, several=True),
            "momentum": Range("Momentum", step=0.01, when={"methods": ["heavy_ball"]}),
            "iterations": Range("Iterations", step=1, log=True),
            "x": Range("Start, x", step=0.05),
            "y": Range("Start, y", step=0.05),
        },
        draw=figures.draw_descent,
        scalars={"f − min f after the last step": lambda r: each(r.methods, r.value[:, -1])},
        looks={"log": Toggle("Log axis of the value")},
        seconds=0.1,
    ),
    View(
        slug="downhill",
        title="Gradient flows",
        caption=(
            "A distribution on its way to the least energy, by several methods on one clock. Scrub the time, drag the grey diamond. The exact "
            "flow of KL in the Wasserstein metric is Fokker and Planck's equation. JKO makes implicit steps of it, "
            "$\\mathrm{argmin}\\, F(p)+W_2^2(p,p_t)/2\\tau$; explicit steps go along $\\nabla\\log\\pi-\\nabla\\log p$; Langevin follows it with noisy particles; SVGD "
            "and blob with particles that push each other. Energy falls at the rate of the Fisher information, exactly, and in the end as "
            "$e^{-2\\lambda_1 t}$, $\\lambda_1$ being the spectral gap. Fisher–Rao is the same energy in another metric, where mass may vanish and "
            "appear: no barrier holds it up. Its clock is its own. In the plane there is one energy, KL to N(0, I): its flow is diffusion's forward process."
        ),
        compute=downhill,
        controls={
            "start": Choice("Start", {"line": "Gaussian on the line"} | {name: TARGETS[name] for name in STARTS}),
            "energy": Choice(
                "Energy",
                {"two_wells": "KL to two wells", "gaussian": "KL to N(0, 1)", "porous": "∫ p² (porous medium)"},
                when=ON_LINE,
            ),
            "methods": Choice("Methods", LAWS, several=True),
            "tau": Range("Step size τ", log=True, help="At most 1,000 steps, of all methods together."),
            "time": Range("Time", step=0.1),
            "mean": Range("Mean of the start", step=0.05, when=ON_LINE),
            "std": Range("Width of the start", step=0.05, when=ON_LINE),
            "particles": Range(
                "Particles",
                step=10,
                log=True,
                help="SVGD and blob have at most 200.",
                when={"methods": ["langevin", "svgd", "blob"]},
            ),
            "bandwidth": Range("Bandwidth h", step=0.05, when={"methods": ["svgd", "blob"]}),
            "seed": Range("Seed", step=1, when={"methods": ["langevin"]}),
        },
        draw=figures.draw_downhill,
        scalars={
            "W₁ to the exact flow at the end": lambda r: each(
                r.methods, r.away if isinstance(r, PlaneDownhill) else r.distance[:, -1]
            )
        },
        seconds=0.2,
    ),
)

EXHIBIT = Exhibit(
    slug="transport",
    title="Transport",
    summary="What the Wasserstein distance measures, what critics make of it, and descent in parameters and in distributions.",
    question="Does a WGAN's critic measure a distance?",
    theme="generation",
    sources=(
        ("Su, WGAN and the Wasserstein distance", "https://kexue.fm/archives/8244"),
        ("Su, From ReFlow to WGAN-GP", "https://kexue.fm/archives/9668"),
        ("Su, Gradient flow", "https://kexue.fm/archives/9660"),
        ("Arjovsky et al., Wasserstein GAN", "https://arxiv.org/abs/1701.07875"),
        ("Gulrajani et al., WGAN-GP", "https://arxiv.org/abs/1704.00028"),
        ("Stanczuk et al., Wasserstein GANs Work Because They Fail", "https://arxiv.org/abs/2103.01678"),
        ("Mallasto et al., How Well Do WGANs Estimate the Wasserstein Metric?", "https://arxiv.org/abs/1910.03875"),
        ("Jordan, Kinderlehrer and Otto", "https://doi.org/10.1137/S0036141096303359"),
        ("Liu and Wang, SVGD", "https://arxiv.org/abs/1608.04471"),
        ("Su, Boyd and Candès, Nesterov's ODE", "https://arxiv.org/abs/1503.01243"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
)
