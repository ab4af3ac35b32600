"""Transport: what Wasserstein distances measure, who measures them, and what goes downhill along them."""

from __future__ import annotations

from engines.transport.checks import CHECKS
from engines.transport.critic_flow import TARGETS as PLANE_LAWS
from engines.transport.critic_flow import critic_flow
from engines.transport.descent import descent
from engines.transport.downhill import downhill
from engines.transport.experiments import critics, distance, generators, minibatch
from studio.exhibit import Choice, Drawing, Exhibit, Numbers, Range, Step, Story, Text, Toggle, View
from studio.exhibits.transport import figures
from studio.exhibits.transport.figures import CRITICS, GENERATORS, LAWS, STEPPERS

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
LAW = {"source": [name for name in SOURCES if name not in ("points", "digits")]}
PLANE = {"source": [name for name in SOURCES if name != "digits"]}
OWN = {"source": ["points"]}
SEED = Range("Seed", step=1)
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
            "n": Range("Points n", step=1, log=True, when={"source": [*LAW["source"], "digits"]}),
            "shift_x": Range("Shift of from, x", step=0.05, when=LAW),
            "shift_y": Range("Shift of from, y", step=0.05, when=LAW),
            "points_x": Numbers("Points of your own, x", help="They can be dragged.", when=OWN),
            "points_y": Numbers("Points of your own, y", when=OWN),
            "letter": Text("Letters", help="One to three.", when={"source": ["letter"], "target": ["letter"]}),
            "drawing": Drawing("Drawing", when={"target": ["drawing"]}),
            "seed": SEED,
        },
        draw=figures.draw_distance,
        looks={"lines": Toggle("Lines of the matching", when=PLANE)},
        seconds=0.1,
        scalars={"value": "mean cost of the best matching"},
    ),
    View(
        slug="critics",
        title="What a critic measures",
        caption=(
            "Critics are trained on batches of two laws; the curves are what each says of fresh data. Lines: exact W₁ of two batches, "
            "of all known data, and of the laws themselves where it is known. Two halves of the digits are one law, so the truth is 0, "
            "yet two batches are far apart. Clipped weights measure nothing. Penalties and spectral norms fall short of the batch. The "
            "c-transform does follow the batch, and so is wrong about the law. The exact potential of one batch, the perfect critic, "
            "knows that batch by heart and nothing else. An estimate divided by the greatest slope is at most W₁."
        ),
        compute=critics,
        controls={
            "pair": Choice(
                "Laws",
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
        looks={"shown": Choice("Level lines of", CRITICS, when={"pair": ["ring_gaussian", "shifted"]})},
        live=False,
        seconds=6,
        brief={"pair": "ring_gaussian", "names": ("clip", "gp_at_1", "exact"), "batch": 16, "steps": 10},
    ),
    View(
        slug="minibatch",
        title="Two batches of one law",
        caption=(
            "W₁ between a fresh batch of n and another of the same law (blue) over n. In the limit it is 0, but in many dimensions it "
            "falls slowly. The orange line is n copies of one point, the law's median: for small batches it is nearer than a real "
            "batch is. K-medians (green), n pictures that nobody drew, stay nearer far longer. A generator that makes W₁ of its "
            "batches small is led to such averages. Bands are two standard errors."
        ),
        compute=minibatch,
        controls={
            "law": Choice(
                "Law", {"digits": "digits, 64 pixels", "gaussian": "Gaussian N(0, I)", "uniform": "uniform on [0, 1]"}
            ),
            "n": Range("Largest batch n", step=1, log=True),
            "dim": Range("Dimensions", step=1, log=True, when={"law": ["gaussian"]}),
            "repeats": Range("Pairs of batches", step=1, help="More pairs, smaller errors."),
            "seed": SEED,
        },
        draw=figures.draw_minibatch,
        live=False,
        seconds=2,
        brief={"n": 4, "repeats": 2},
    ),
    View(
        slug="generators",
        title="Nearer, and worse",
        caption=(
            "Digits by small generators that were trained to be near in W₁, beside real ones; distances are in ink, "
            "0 on white and 1 on black. Compare the pictures, then the table. The generator that lowers exact W₁ of small batches can be nearer to fresh pictures than real pictures are (grey line), "
            "while its pictures are blurred and alike: its Fréchet distance is larger, its spread smaller. WGAN-GP is farther in W₁ and "
            "looks better. What makes a WGAN work is not that it measures W₁."
        ),
        compute=generators,
        controls={
            "names": Choice("Trained by", {n: text for n, text in GENERATORS.items() if n != "real"}, several=True),
            "n": Range("Pictures compared", step=16),
            "seed": SEED,
        },
        draw=figures.draw_generators,
        seconds=0.2,
    ),
    View(
        slug="critic_flow",
        title="From ReFlow to WGAN-GP",
        caption=(
            "The best critics of two laws on the line, fake at 0 and real at a distance, exact. Drag the black dot, the real law. With "
            "the [[penalty about 1|penalty about 1]], WGAN-GP's, the slope is near 1 and the difference near W₁. "
            "[[penalty about 0|About 0]] it is a multiple of the mean move $E[x-y|z]$. [[ReFlow's critic|ReFlow's static critic]] has that "
            "move itself for a slope: it is the penalty about 0 with λ = ½, and measures a squared distance. A generator step along "
            "its slope carries two points onto each other at once. The bars expand ReFlow's loss: the term with the move is the "
            "difference of the ends, not nearly but exactly, for any D. What is given up is t: a field that knows it reaches the dotted "
            "line. In the plane the fake law is N(0, I): arrows are one step along each critic's gradient, beside the exact transport. In few "
            "steps, WGAN-GP and the GAN as ReFlow are [trained there](?tab=diffusion&view=few&methods=exact,reflow,consistency_distillation,shortcut,sid&target=spiral)."
        ),
        compute=critic_flow,
        controls={
            "case": Choice("Laws", {"gaussians": "two Gaussians", "points": "two points", "plane": "in the plane"}),
            "target": Choice("Real law", {name: TARGETS[name] for name in PLANE_LAWS}, when={"case": ["plane"]}),
            "distance": Range("Distance", step=0.05, when={"case": ["gaussians", "points"]}),
            "penalty": PENALTY,
            "std": Range("Width of the real law", step=0.05, when={"case": ["gaussians"]}),
        },
        draw=figures.draw_critic_flow,
        seconds=0.5,
    ),
    View(
        slug="descent",
        title="Downhill in the plane",
        caption=(
            "Steps of several methods over the level lines of one function, and the gradient flow that a small enough step follows "
            "(dotted). Drag the start. Gradient steps diverge once h passes 2/λ, λ being the greatest curvature; implicit steps, "
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
        looks={"log": Toggle("Log axis of the value")},
        seconds=0.1,
    ),
    View(
        slug="downhill",
        title="Downhill among laws",
        caption=(
            "A law on its way to the least energy, by several methods on one clock. Scrub the time, drag the grey diamond. The exact flow "
            "of KL in the Wasserstein metric is Fokker and Planck's equation. JKO makes implicit steps of it, "
            "$\\mathrm{argmin}\\, F(p)+W_2^2(p,p_t)/2\\tau$; Langevin follows it with noisy particles; SVGD and blob with particles that push "
            "each other. Energy falls at the rate of the Fisher information, exactly. Fisher–Rao is the same energy in another metric, where "
            "mass may vanish and appear: no barrier holds it up. Its clock is its own."
        ),
        compute=downhill,
        controls={
            "energy": Choice(
                "Energy",
                {"two_wells": "KL to two wells", "gaussian": "KL to N(0, 1)", "porous": "∫ p² (porous medium)"},
            ),
            "methods": Choice("Methods", LAWS, several=True),
            "tau": Range("Step size τ", log=True),
            "time": Range("Time", step=0.1),
            "mean": Range("Mean of the start", step=0.05),
            "std": Range("Width of the start", step=0.05),
            "particles": Range("Particles", step=10, log=True, when={"methods": ["langevin", "svgd", "blob"]}),
            "bandwidth": Range("Bandwidth h", step=0.05, when={"methods": ["svgd", "blob"]}),
            "seed": Range("Seed", step=1, when={"methods": ["langevin"]}),
        },
        draw=figures.draw_downhill,
        seconds=0.2,
    ),
)

STORIES = (
    Story(
        "A matching and its proof",
        "distance",
        (
            Step(
                "Twelve points go to a [[to|ring]]. Their best matching has a mean distance of 1.75; pairs drawn at random are 4.31 apart.",
                {"source": "points", "target": "ring", "power": 1},
                mark="matching",
            ),
            Step(
                "The potential beneath has slope at most 1. Its mean over blue points less its mean over orange ones is 1.75 again, to the "
                "last digit: no matching can be cheaper. Drag a [[from|blue point]] and see both numbers move together.",
                mark="from",
            ),
            Step(
                "With squared distances, W₂ between two moons and the ring is 1.10, and W₁ is 0.95. The potential may be steeper now: "
                "half its gradient says how far each point is to go.",
                {"source": "moons", "power": 2, "n": 64},
                "power",
            ),
        ),
    ),
    Story(
        "The perfect critic knows its batch by heart",
        "critics",
        (
            Step(
                "Two halves of the digits are one law: W₁ is 0. Batches of 128 are 1.6 apart. The "
                "[[exact potential of one batch|exact potential]] of one pair of batches gives all of that there, and about 0 on fresh pictures.",
                {"pair": "halves", "names": ("exact", "c_transform", "gp_at_1", "clip"), "batch": 128, "steps": 300},
                "names",
            ),
            Step(
                "The [[c-transform|c-transform]] gives over 1.2 on fresh batches, for it asks how far these batches are. The "
                "[[penalty about 1|penalty]] is near 0 on fresh pictures, like the exact potential. The most exact estimate of "
                "the batches is the worst of the laws.",
                mark="c-transform",
            ),
            Step(
                "In the plane there is less to learn by heart: for a ring against N(0, I) penalty and exact potential agree within a few "
                "hundredths. [[clipped weights|Clipped weights]] still measure nothing.",
                {"pair": "ring_gaussian"},
                "pair",
                "clipped weights",
            ),
        ),
    ),
    Story(
        "A picture that nobody drew is nearest",
        "minibatch",
        (
            Step(
                "At n = 16 a fresh batch of digits is 2.28 from a [[real batch|real batch]], and 2.16 from 16 copies of the "
                "[[n copies of the median|median picture]].",
                {"law": "digits", "n": 16, "repeats": 8},
                "n",
            ),
            Step(
                "At n = 64 the real batch has overtaken the median, with 1.80. But 64 [[K-medians|K-medians]], each an average, are at 1.53.",
                {"n": 64},
                "n",
                "K-medians",
            ),
            Step(
                "For N(0, I) in 64 dimensions the zero vector is 7.97 away, by a closed form, and real batches of 512 are still farther.",
                {"law": "gaussian", "dim": 64, "n": 512},
                "law",
            ),
        ),
    ),
    Story(
        "One step carries a point onto another",
        "critic_flow",
        (
            Step(
                "Two points at distance 2, λ = 10. With the [[penalty about 1|penalty about 1]] the slope is 1.1 and the difference 2.2, near W₁ = 2.",
                {"case": "points", "distance": 2.0, "penalty": 10.0},
                mark="penalty about 1",
            ),
            Step(
                "[[ReFlow's critic|ReFlow's static critic]] has slope 2, the way itself, and its difference is 4: W₂², not W₁. A generator "
                "step along it arrives at once; along the slope of WGAN-GP it goes 1.1.",
                mark="ReFlow's critic",
            ),
            Step(
                "With λ = ½ the [[penalty about 0|penalty about 0]] is the same critic: the two curves are one.",
                {"penalty": 0.5},
                "penalty",
                "penalty about 0",
            ),
        ),
    ),
    Story(
        "2/λ and no further",
        "descent",
        (
            Step(
                "The greatest curvature is 10. With h = 0.25, over 2/λ = 0.2, [[gradient steps|gradient steps]] diverge; "
                "[[implicit steps|implicit steps]] arrive.",
                {"function": "quadratic", "condition": 10.0, "step": 0.25, "methods": ("gradient", "implicit")},
                "step",
            ),
            Step(
                "Curvatures 1 and 100, h = 0.01: after 200 [[gradient steps|gradient steps]] f is 0.056, with Nesterov's momentum 4 × 10⁻⁵, "
                "with the [[heavy ball|heavy ball]] 10⁻¹².",
                {
                    "condition": 100.0,
                    "step": 0.01,
                    "iterations": 200,
                    "methods": ("gradient", "heavy_ball", "nesterov"),
                    "momentum": 0.8,
                },
                "methods",
                "heavy ball",
            ),
        ),
    ),
    Story(
        "Only Langevin's step is biased",
        "downhill",
        (
            Step(
                "The law starts at its target N(0, 1), and steps are long: τ = 0.5. [[JKO|JKO]] stays. [[Langevin|Langevin]] goes away, to a "
                "variance of 1/(1 − τ/2) = 4/3.",
                {
                    "energy": "gaussian",
                    "methods": ("exact", "jko", "langevin"),
                    "mean": 0.0,
                    "std": 1.0,
                    "tau": 0.5,
                    "time": 5.0,
                    "particles": 5000,
                },
                "tau",
                "Langevin",
            ),
            Step(
                "At τ = 0.05 the bias is 1/0.975, under three per cent.",
                {"tau": 0.05},
                "tau",
            ),
        ),
    ),
    Story(
        "A barrier, and a metric without one",
        "downhill",
        (
            Step(
                "Seven tenths of the target lie right of 0. After time 1 the [[exact flow|exact flow]] has carried 13 % of its mass across "
                "the barrier, and [[Fisher–Rao|Fisher–Rao]] almost none: it can only grow what is there.",
                {"energy": "two_wells", "methods": ("exact", "fisher_rao"), "mean": -2.0, "std": 0.4, "time": 1.0},
                "time",
            ),
            Step(
                "After time 5 it is ahead, with 65 % against 55 %. Its error falls like $e^{-t}$ whatever the barrier.",
                {"time": 5.0},
                "time",
                "Fisher–Rao",
            ),
        ),
    ),
)

EXHIBIT = Exhibit(
    slug="transport",
    title="Transport",
    summary="What the Wasserstein distance measures, what critics make of it, and descent in parameters and in laws.",
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
    stories=STORIES,
    checks=CHECKS,
)
