"""Flows: what a map may do whose determinant must be a product, and what knowing log q buys."""

from engines.flow.checks import CHECKS
from engines.flow.codes import SIDES, codes
from engines.flow.experiments import denoise, heads, order, train
from engines.flow.patch_heads import patch_heads
from engines.flow.pictures import digits, guide, likelihood, test_names, test_pictures
from engines.pictures import ENDINGS
from studio.exhibit import Choice, Drawing, Exhibit, Gallery, Range, Toggle, Upload, View, each, read_stories
from studio.exhibits.flow.figures import (
    HEADS,
    PATCH_HEADS,
    STACKS,
    draw_codes,
    draw_denoise,
    draw_digits,
    draw_guide,
    draw_heads,
    draw_likelihood,
    draw_order,
    draw_patch_heads,
    draw_train,
)

TARGET = Choice(
    "Target",
    {
        "moons": "Two moons",
        "ring": "Ring of eight",
        "spiral": "Spiral",
        "checkerboard": "Checkerboard",
        "three": "Three unequal Gaussians",
    },
)
SEED = Range("Seed", step=1)
NOISE = Choice("Noise σ", ("0.1", "0.3"), help="Each has its own trained flow.")
DIGIT = Gallery("Digit", test_pictures, test_names)

VIEWS = (
    View(
        slug="order",
        title="Order and blocks",
        caption=(
            "A block keeps its first coordinate and maps the second by a shift and a scale that depend on the first: "
            "$z_2=(x_2-\\mu(x_1))\\,e^{-a(x_1)}$. Samples start as $N(0,I)$ and the blocks are undone one after "
            "another; scrub to follow particles and grid over the exact density. In one order any number of blocks is "
            "still one such map, with a floor that can be computed (red line). Blocks in alternating order are not "
            "bound by it."
        ),
        compute=order,
        controls={
            "target": TARGET,
            "stack": Choice("Flow", STACKS),
            "sigma": Range("Noise on the data σ", step=0.01),
            "particles": Range("Particles", step=50),
            "seed": SEED,
        },
        draw=draw_order,
        scalars={
            "KL(exact distribution ‖ flow) (nats)": lambda r: r.gaps[list(r.stacks).index(r.stack)],
            "least KL in one order (nats)": "floor",
        },
        seconds=0.2,
    ),
    View(
        slug="train",
        title="Training",
        caption=(
            "Samples of a flow in the plane over the exact density, while it is trained. At the end scrub the steps: the "
            "same $z$ and the same grid, carried by the flow as it was then. Below, the loss $-\\log q$ between two exact "
            "numbers: the entropy, which no flow undercuts, and the least that blocks in one order can reach. A flow that "
            "changes its order every block goes below the second line; one that does not stops there."
        ),
        compute=train,
        controls={
            "target": TARGET,
            "blocks": Range("Blocks", step=1),
            "alternate": Toggle("Alternate the order"),
            "sigma": Range("Noise on the data σ", step=0.01),
            "effort": Range("Training", step=0.02, help="1 is 4,000 steps of 256 points."),
            "seed": SEED,
        },
        draw=draw_train,
        scalars={
            "KL(exact distribution ‖ flow) (nats)": "gap",
            "−log q of the last batches (nats)": lambda r: r.nll[-1],
        },
        live=False,
        seconds=15,
        brief={"effort": 0.02},
    ),
    View(
        slug="denoise",
        title="Denoising by Tweedie",
        caption=(
            "A flow is trained on data with noise, so its samples are noised as well. It also knows their density, and "
            "Tweedie's formula turns that into a denoiser: $x+\\sigma^2\\nabla\\log q(x)$. The first figure takes "
            "this step with the flow's own score, the second with the exact one, from the same samples. The table "
            "compares both with clean data; between two clean sets the distance is what chance leaves. In the third figure "
            "the arrows are that step on a grid: where they part, the flow's density is not yet that of the data."
        ),
        compute=denoise,
        controls={
            "target": TARGET,
            "sigma": Range("Noise σ of the flow", step=0.01),
            "rate": Range("Step, times σ²", step=0.05, help="Tweedie's formula says 1."),
            "points": Range("Samples", step=50),
            "seed": SEED,
        },
        draw=draw_denoise,
        scalars={
            "sliced W₁ to clean data": lambda r: each(
                ("samples", "by the flow", "by the exact score", "clean data"), r.distance
            ),
            "relative error of the score": "score_error",
            "KL(noised distribution ‖ flow) (nats)": "gap",
        },
        seconds=0.2,
    ),
    View(
        slug="digits",
        title="TARFLOW on digits",
        caption=(
            "What a TARFLOW draws after training on 1,500 digits of 8 x 8 pixels, two rows of each kind beside test pictures: "
            "samples are drawn token by token, then denoised in one step with the flow's own score. Patches are the "
            "tokens, causal transformers the blocks, every second one reads backwards. The curves are $-\\log q$ on "
            "training and test pictures with noise; the dotted lines know no labels, so the curve without labels is the "
            "one to compare with them. The red line is a distribution that holds the training pictures and nothing else."
        ),
        compute=digits,
        controls={
            "noise": Range("Noise σ", step=0.05, help="0 stands for uniform noise as wide as a grey level."),
            "patch": Choice("Patch side (pixels)", ("2", "4")),
            "blocks": Range("Blocks", step=1),
            "channels": Range("Width", step=32),
            "effort": Range("Training", step=0.02, help="1 is 2,000 steps of 64 pictures."),
            "seed": SEED,
        },
        draw=draw_digits,
        scalars={
            "−log q of the test pictures (nats a pixel)": lambda r: r.test[-1],
            "share recognised": lambda r: r.recognised[1],
            "Fréchet distance (ink²)": lambda r: r.frechet[1],
        },
        live=False,
        seconds=45,
        brief={"effort": 0.02, "channels": 32, "blocks": 2},
    ),
    View(
        slug="guide",
        title="Guidance",
        caption=(
            "Each row draws the same ten $z$ with another weight $w$ of the guidance: each token's shift and scale are pushed "
            "away from those of the same flow without a label, $\\mu+w(\\mu-\\mu_\\varnothing)$. With a larger $w$ the samples no "
            "longer follow the distribution of the data: their Fréchet distance to test pictures, in ink (0 on white, 1 on "
            "black), says by how much. Drag the point on its curve to set $w$."
        ),
        compute=guide,
        controls={
            "guidance": Range("Guidance w", step=0.1),
            "guided": Choice("Guided", {"shift": "Shift", "scale": "Scale"}, several=True),
            "annealed": Toggle("Grow over the tokens", help="From 0 at the first to w at the last."),
            "temperature": Range(
                "Attention temperature",
                step=0.05,
                help="In the branch without a label; matters where w is not 0.",
            ),
            "noise": NOISE,
            "denoised": Toggle("Take Tweedie's step"),
            "seed": SEED,
        },
        draw=draw_guide,
        scalars={"Fréchet distance (ink²)": "frechet_here", "recognised": "recognised_here"},
        seconds=0.5,
    ),
    View(
        slug="likelihood",
        title="Exact likelihood",
        caption=(
            "The exact $\\log q$ of one picture under each of the ten labels: with Bayes' rule a classifier nobody "
            "trained as one. The map splits $-\\log q$ for the likeliest label: what each block adds at each patch, "
            "and the prior of $z$. Nothing is approximate: the sum equals what the determinant of the whole Jacobian "
            "gives. Move the picture by a pixel, or draw your own."
        ),
        compute=likelihood,
        controls={
            "digit": DIGIT,
            "drawing": Drawing("Your digit", 224, 224, help="Used instead of the picture, if there is one."),
            "shift": Range("Move right (pixels)", step=1),
            "noise": NOISE,
            "seed": SEED,
        },
        draw=draw_likelihood,
        scalars={
            "log q without a label (nats)": "without",
            "greatest posterior of a label": lambda r: r.posterior.max(),
        },
        seconds=0.2,
    ),
    View(
        slug="heads",
        title="Output heads",
        caption=(
            "One token after another, of two numbers: drag the red point to choose $x_1$, and see beside the plane the "
            "distribution of $x_2$ there (grey) with the best each head can do. A Gaussian head fails where that "
            "distribution has several peaks. The figure below is what each loses in nats, over all $x_1$: with more noise on the data the "
            "Gaussian's loss falls to 0. The mixture is fitted by EM, so its curve is a bound from above. A codebook "
            "pays for the entry and for a Gaussian of what is left: with many entries $\\frac12\\log(\\pi e/6)$ = 0.176 nats "
            "remain, the price of a Gaussian where the truth is flat. Flow matching has learnt its velocity exactly; what "
            "it loses is due to Euler's steps alone, and vanishes with their number."
        ),
        compute=heads,
        controls={
            "target": TARGET,
            "x1": Range("x₁ given", step=0.05),
            "sigma": Range("Noise on the data σ", step=0.05),
            "components": Range("Gaussians in the mixture", step=1),
            "bins": Range("Bins, codebook entries", step=1, help="Bins have equal width, from −4.2 to 4.2."),
            "steps": Range("Euler's steps of flow matching", step=1),
        },
        draw=draw_heads,
        scalars={
            "excess of −log q (nats)": lambda r: each((HEADS[name][0] for name in r.heads), r.here),
            "entropy of x₂ given x₁ (nats)": "entropy",
        },
        seconds=0.5,
    ),
    View(
        slug="patch_heads",
        title="Heads on digits",
        caption=(
            "Digits drawn by one causal transformer over their 16 patches of 2 x 2 pixels, told the label, trained anew with "
            "each head; the curves are what noised test pictures cost, so all heads count in the same nats. A mixture has 8 "
            "Gaussians; bins take one pixel of the patch after another, 32 each; the codebook has 64 entries and a "
            "Gaussian for what they leave. Flow matching is the idea of MAR, a small diffusion as the head: its density "
            "comes from its ODE, and what it is trained by, a squared error, is no number of nats. Fewer nats need not "
            "mean better samples: compare the last columns. The grey line is one Gaussian that knows no label; entropy "
            "of the noise alone is the bound for all."
        ),
        compute=patch_heads,
        controls={
            "heads": Choice("Heads", {key: name for key, (name, _) in PATCH_HEADS.items()}, several=True),
            "noise": Range("Noise σ", step=0.05),
            "effort": Range("Training", step=0.01, help="1 is 2,000 steps of 64 pictures for each head."),
            "seed": SEED,
        },
        draw=draw_patch_heads,
        scalars={"−log q (nats a pixel)": lambda r: each((PATCH_HEADS[name][0] for name in r.heads), r.nats[:, -1])},
        live=False,
        seconds=40,
        brief={"heads": ("gaussian", "flow_matching"), "effort": 0.01},
    ),
    View(
        slug="codes",
        title="Vector quantisation",
        caption=(
            "Digits, or a picture of your own, cut into patches; of each only the number of the nearest codebook "
            "entry is kept. The table has the bits that are kept and those that were there, and how many digits a "
            "classifier still recognises. A codebook learnt from your picture alone has to be counted too, and PNG "
            "keeps all of it without loss. A Gaussian residual gives the codes a density again, but the noise it "
            "draws is not what was lost. On a Gaussian source the exact bound is Shannon's; one number at a time does "
            "not reach it."
        ),
        compute=codes,
        controls={
            "source": Choice("Pictures", {"digits": "digits", "upload": "your picture"}),
            "upload": Upload("Your picture", ENDINGS, 20, help="Cut to a square.", when={"source": ["upload"]}),
            "side": Choice("Scaled to (pixels)", SIDES, when={"source": ["upload"]}),
            "patch": Choice("Patch side (pixels)", ("1", "2", "4", "8")),
            "levels": Range("Codebook entries K", step=1, log=True),
            "residual": Toggle("Draw a Gaussian residual"),
            "seed": SEED,
        },
        draw=draw_codes,
        scalars={"bits a picture, entropy of the codes": "bits_code", "PSNR of the codes alone (dB)": "psnr"},
        seconds=0.5,
    ),
)

EXHIBIT = Exhibit(
    slug="flow",
    title="Flows",
    summary="Exact likelihood token by token: what order, noise and heads cost, in nats beside the exact optimum.",
    question="What does a model know that knows its own density?",
    theme="generation",
    sources=(
        ("Su, TARFLOW", "https://kexue.fm/archives/10667"),
        ("Su, Autoregression over continuous patches", "https://kexue.fm/archives/10197"),
        ("Zhai et al., Normalizing Flows are Capable Generative Models", "https://arxiv.org/abs/2412.06329"),
        ("Papamakarios et al., Masked Autoregressive Flow", "https://arxiv.org/abs/1705.07057"),
        ("Li et al., Autoregressive Image Generation without Vector Quantization", "https://arxiv.org/abs/2406.11838"),
        ("Max, Quantizing for Minimum Distortion", "https://doi.org/10.1109/TIT.1960.1057548"),
    ),
    views=VIEWS,
    stories=read_stories(__file__),
    checks=CHECKS,
)
