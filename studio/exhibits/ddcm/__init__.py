"""DDCM: a picture as the noise that a diffusion model is to take."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from engines.ddcm.books import book_distance, book_quality
from engines.ddcm.checks import CHECKS
from engines.ddcm.choices import choice_law
from engines.ddcm.experiments import gaussian_rate, picture_code, rate_distortion
from engines.ddcm.gaussian import SCHEDULES
from engines.ddcm.generation import CLASSES, degrade, generate, mix_codes, restore
from engines.ddcm.photographs import SIDES, code_photograph
from engines.ddcm.pictures import EMOJI_NAMES, held_back, photograph_names, photographs
from engines.pictures import ENDINGS
from studio.exhibit import (
    Choice,
    Drawing,
    Exhibit,
    Former,
    Gallery,
    Numbers,
    Range,
    Text,
    Upload,
    View,
    each,
    read_stories,
)
from studio.exhibits.ddcm.figures import draw_code, draw_gaussian, draw_generated, draw_mixed, draw_rate, draw_restored
from studio.exhibits.ddcm.figures_choices import BOOKS, RULES, SHOWN, draw_books, draw_choices, draw_quality
from studio.exhibits.ddcm.figures_photographs import draw_photograph
from studio.hub import LATENT

TASKS = {
    "inpaint": "fill in what is hidden",
    "enlarge": "enlarge four times",
    "denoise": "remove noise",
    "colour": "colour a grey picture",
}
KNOWN = ["emoji", "photograph", "upload", "drawing"]
SHOWN_PICTURES = ["photograph", "emoji", "upload"]
OF_THE_HUB = {"model": [name for name in LATENT if name != "none"]}  # the included model reads no text and has one size


@cache
def _examples() -> dict[str, np.ndarray]:
    """What each task begins from."""
    return {task: degrade(task) for task in TASKS}


VARIANTS = {
    "shuffled": "one codebook, shuffled at each step",
    "reference": "a fresh codebook at each step",
    "turbo": "Turbo-DDCM: the best atoms at once",
}
SLOW: dict[str, Any] = {"live": False, "gpu": True}
# `when` counts only in a view that has the other control
EMOJI = Gallery("Emoji", held_back, lambda: EMOJI_NAMES, when={"source": ["emoji"]})
PHOTOGRAPH = Gallery("Photograph", photographs, photograph_names, when={"source": ["photograph"]})
BITS = Range("Codebook size, log₂ K", step=1, when={"source": KNOWN})
SEED = Range("Seed", step=1)
SCHEDULE = Choice("Schedule", {name: name for name in SCHEDULES})
MEASURE = Choice("Quality", {"psnr": "PSNR", "ssim": "SSIM"})
MODEL = Text(
    "Model",
    help="ddpm-emoji-32 and ddpm-cifar10-32 are included; google/ddpm-cifar10-32 comes from the Hugging Face Hub.",
)
GOOGLE = "google/ddpm-cifar10-32"
PHOTOGRAPHS = "photographs of ten classes"
COEFFICIENTS = Range(
    "Bits of a coefficient, C",
    step=1,
    help="Of matching pursuit with several atoms. With C = 1 the only coefficient is 1.",
)

EXHIBIT = Exhibit(
    slug="ddcm",
    title="DDCM",
    summary="A picture as about a hundred bytes: which noise a diffusion model takes at each of its steps.",
    question="Can 99 bytes hold a picture?",
    theme="generation",
    sources=(
        (
            "Su, Generative diffusion models (29): pictures as discrete codes, by means of DDPM",
            "https://kexue.fm/archives/10711",
        ),
        ("Ohayon, Manor, Michaeli, Elad, DDCM", "https://arxiv.org/abs/2502.01189"),
        ("Vaisman et al., Turbo-DDCM", "https://arxiv.org/abs/2511.06424"),
        ("Theis, Yosri, Algorithms for the communication of samples", "https://arxiv.org/abs/2110.12805"),
        ("Kong, gDDCM", "https://arxiv.org/abs/2511.13387"),
    ),
    views=(
        View(
            slug="picture",
            title="Code of a picture",
            caption=(
                "A picture, the model's estimate $\\hat x_0$ of it while it is coded, their difference, and the "
                "quality over the bytes so far: drag its red end to another number of steps. Play the decoding: "
                "colours and large forms come first, outlines later. DDPM adds noise at each step. Here it may only "
                "take one of $K$ fixed noises, so the choices alone determine the picture. The encoder takes the "
                "noise $z$ of largest inner product with the residual $r = x_0 - \\hat x_0$; its mean, relative to "
                "$\\|r\\|$, is that of the maximum of $K$ normals. A photograph is coded with a model of photographs: "
                "unless you choose one, the model that denoises the tiles best."
            ),
            compute=picture_code,
            controls={
                "source": Choice(
                    "Picture",
                    {
                        "emoji": "an emoji",
                        "photograph": "a photograph",
                        "upload": "your picture",
                        "drawing": "your drawing",
                        "file": "a .ddcm file",
                    },
                ),
                "emoji": EMOJI,
                "photograph": PHOTOGRAPH,
                "upload": Upload(
                    "Your picture", ENDINGS, 20, help="The first frame, on white.", when={"source": ["upload"]}
                ),
                "drawing": Drawing("Your drawing", when={"source": ["drawing"]}),
                "file": Upload("A .ddcm file", (".ddcm",), 1, when={"source": ["file"]}),
                "pixels": Range(
                    "Longer side (pixels)",
                    step=4,
                    help="Coded in tiles of 32 x 32, 16 at once: 256 x 256 at T = 100 in about half a minute on two processor cores.",
                    when={"source": ["upload", "drawing"]},
                ),
                "steps": Range("Steps T", step=1, log=True, when={"source": KNOWN}),
                "codebook_bits": BITS,
                "model": Choice(
                    "Model",
                    {
                        "auto": "the one that fits the picture",
                        "ddpm-emoji-32": "emoji",
                        "ddpm-cifar10-32": PHOTOGRAPHS,
                        GOOGLE: "photographs, google/ddpm-cifar10-32",
                    },
                    help="The last one comes from the Hugging Face Hub.",
                ),
                "atoms": Range("Atoms a step, M", step=1, log=True, when={"source": KNOWN}),
                "flips": Range(
                    "Flipped bits",
                    step=1,
                    help="In the choice of one step, at eight steps in turn, to see what becomes of it.",
                ),
                "variant": Choice("Variant", VARIANTS, when={"source": KNOWN}),
                "coefficient_bits": COEFFICIENTS,
                "seed": SEED,
            },
            draw=draw_code,
            scalars={
                "PSNR (dB)": "psnr",
                "SSIM": "ssim",
                "bytes of the choices": "payload_bytes",
                "entropy of the indices (bits)": "entropy",
            },
            seconds=4,
            brief={"steps": 6, "flips": 1},
            **SLOW,
        ),
        View(
            slug="rate",
            title="Rate and distortion",
            caption=(
                "Quality over bytes for held-back emoji (with ddpm-cifar10-32, photographs): DDCM beside WebP and JPEG. Solid lines are whole files, dotted ones "
                "the coded picture without headers and tables. Compare at equal bytes. A codec that knows emoji needs few "
                "bytes for one, but the model itself takes megabytes, and more quality takes more steps, each a call of it."
            ),
            compute=rate_distortion,
            controls={
                "step_counts": Numbers("Steps T"),
                "variants": Choice("Variants", VARIANTS, several=True),
                "atom_counts": Numbers("Atoms a step, M"),
                "codebook_bits": Numbers("Codebook sizes, log₂ K"),
                "count": Range("Pictures", step=1),
                "coefficient_bits": COEFFICIENTS,
                "model": MODEL,
                "seed": SEED,
            },
            looks={"measure": MEASURE},
            draw=draw_rate,
            scalars={
                "greatest PSNR of our codes (dB)": lambda r: r.psnr.max(),
                "greatest SSIM of our codes": lambda r: r.ssim.max(),
                "largest file (bytes)": lambda r: r.file_bytes.max(),
            },
            seconds=20,
            brief={"count": 2, "step_counts": (3, 5), "atom_counts": (1,), "variants": ("turbo",)},
            **SLOW,
        ),
        View(
            slug="photographs",
            title="Photographs",
            caption=(
                "A photograph while it is coded, the original, their difference, and the quality over the bytes so far. Below, "
                "compare files of one size: JPEG falls apart into blocks, the model invents what it has no bits for, and looks "
                "sharp where PSNR is low. DDCM was published for text-to-image models: choose one for photographs of 512 pixels "
                "and more, in the latents of an autoencoder."
            ),
            compute=code_photograph,
            controls={
                "model": Choice(
                    "Model", LATENT, help="From the Hugging Face Hub, at a pinned commit, when you press Run."
                ),
                "source": Choice(
                    "Picture",
                    {
                        "photograph": "a photograph",
                        "emoji": "an emoji, enlarged",
                        "upload": "your picture",
                        "file": "a .ddcm file",
                    },
                ),
                "photograph": PHOTOGRAPH,
                "emoji": EMOJI,
                "upload": Upload("Your picture", ENDINGS, 20, help="Cut to a square.", when={"source": ["upload"]}),
                "file": Upload("A .ddcm file", (".ddcm",), 1, when={"source": ["file"]}),
                "prompt": Text("Prompt", lines=2, help="Empty: none.", when=OF_THE_HUB),
                "step_counts": Numbers("Steps T", when={"source": SHOWN_PICTURES}),
                "atom_counts": Numbers("Atoms a step, M", when={"source": SHOWN_PICTURES}),
                "codebook_bits": Range("Codebook size, log₂ K", step=1, when={"source": SHOWN_PICTURES}),
                "guidance": Range("Guidance", step=0.5, help="1: none, one pass a call.", when=OF_THE_HUB),
                "side": Choice("Side (pixels)", {name: name for name in SIDES}, when=OF_THE_HUB),
                "variant": Choice("Variant", VARIANTS, when={"source": SHOWN_PICTURES}),
                "negative": Text("Negative prompt", lines=2, when=OF_THE_HUB),
                "coefficient_bits": COEFFICIENTS,
                "seed": SEED,
            },
            looks={"measure": MEASURE},
            draw=draw_photograph,
            seconds=40,  # what a card is asked for with a model of the Hub; never measured with one
            brief={"step_counts": (3,), "atom_counts": (1,), "codebook_bits": 4},
            **SLOW,
        ),
        View(
            slug="gaussian",
            title="Gaussian source",
            caption=(
                "Mean squared error over rate for numbers from $N(0, I)$ instead of pixels. Their best denoiser is known, so "
                "there is no training error. Lines are predicted from the expected maximum of $K$ normals; dots are measured "
                "with one shuffled codebook, crosses with fresh ones. No code lies below the Shannon bound. An error above 1 is "
                "worse than sending nothing: with few steps a codebook of two adds more noise than information. With $C = 1$ "
                "further atoms cost bits and change nothing. In the second figure, drag a dot to change its number of steps."
            ),
            compute=gaussian_rate,
            controls={
                "step_counts": Numbers("Steps T"),
                "codebook_bits": Numbers("Codebook sizes, log₂ K"),
                "size": Range("Dimensions", step=1),
                "schedule": SCHEDULE,
                "sources": Range("Source vectors", step=1),
                "seed": SEED,
            },
            draw=draw_gaussian,
            scalars={
                "mean squared error, longest code with the largest K": lambda r: {
                    "one codebook, shuffled": r.shuffled[-1, -1],
                    "fresh codebooks": r.reference[-1, -1],
                    "predicted": r.predicted[-1, -1],
                }
            },
            seconds=1.5,
            brief={"step_counts": (5, 20), "codebook_bits": (2, 4)},
        ),
        View(
            slug="choices",
            appendix=True,
            title="Importance sampling",
            caption=(
                "Where an encoder's last noise lies, beside DDPM's own, and below it how far the states are from those of DDPM, "
                "over $K$. The encoder has $K$ noises of DDPM's own step and knows the picture. If it draws one with probability "
                "proportional to $q(x_s|x_t,x_0)/p(x_s|x_t)$, its states have the distribution of DDPM's forward process as $K$ "
                "grows. The largest, which DDCM takes, drifts away from it, though its error may be smaller. Importance sampling "
                "needs $K$ above $2^{\\mathrm{KL}}$ at each step, so K must grow exponentially with the KL. Its choices carry "
                "less than $\\log_2 K$ bits: with the noises in a shared random order, small indices are likelier, and an entropy "
                "code gains. The index of the largest is uniform: there is nothing to gain."
            ),
            compute=choice_law,
            controls={
                "size": Range("Dimensions", step=1, log=True),
                "steps": Range("Steps T", step=1),
                "schedule": SCHEDULE,
                "seed": SEED,
            },
            looks={"codebook": Choice("K of the density", SHOWN)},
            draw=draw_choices,
            scalars={
                "squared error at the largest K": lambda r: each((RULES[name][0] for name in RULES), r.error[:, -1]),
                "least bits of a source": "least_bits",
            },
            seconds=0.6,
            brief={"size": 2, "steps": 4},
        ),
        View(
            slug="books",
            appendix=True,
            title="Shared and fresh codebooks",
            caption=(
                "Random codes decode to random vectors; the curves are the Fréchet distance (that of FID) of their "
                "distribution to DDPM's, exact over all codes, for a source $N(0, I)$. Compare at equal heights: one "
                "codebook for all steps needs about as many times more atoms as there are steps. Its $K$ atoms have a "
                "mean that is not zero, and the same error is added at every step, where fresh ones average out. So "
                "small fresh codebooks suffice, and one shared codebook needs thousands; shuffling its entries, as "
                "the codec here does, makes it as good as fresh ones."
            ),
            compute=book_distance,
            controls={
                "steps": Range("Steps T", step=1, log=True),
                "size": Range("Dimensions", step=1),
                "schedule": SCHEDULE,
                "seed": SEED,
            },
            draw=draw_books,
            scalars={
                "Fréchet distance at the largest K, relative": lambda r: each(
                    (name for name, _ in BOOKS.values()), r.distance[:, -1]
                )
            },
            seconds=0.5,
            brief={"size": 4, "steps": 5},
        ),
        View(
            slug="quality",
            appendix=True,
            title="Quality over K",
            caption=(
                "Pictures that random codes decode to with the emoji model, a row a codebook, and those of DDPM. Compare the "
                "rows: fresh codebooks come to DDPM with few atoms. One codebook of two makes noise, the same in every picture: "
                "the mean of the atoms. The figure is the kernel distance (that of KID) of their features to those of 64 "
                "held-back emoji. Features are the mean and the standard deviation of each colour in blocks of 4 x 4 pixels; "
                "bars are standard errors. Differences within the bars are none."
            ),
            compute=book_quality,
            controls={
                "books": Choice("Codebooks", {book: name for book, (name, _) in BOOKS.items()}, several=True),
                "codebook_bits": Numbers("Codebook sizes, log₂ K"),
                "count": Range("Pictures a row", step=1),
                "steps": Range("Steps T", step=1, log=True),
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_quality,
            scalars={
                "least kernel distance of the books": lambda r: min(
                    d for d, book in zip(r.distance, r.book, strict=True) if book != "ddpm"
                ),
                "kernel distance of DDPM": lambda r: r.distance[list(r.book).index("ddpm")],
            },
            seconds=25,
            brief={"steps": 3, "count": 8, "codebook_bits": (2,)},
            **SLOW,
        ),
        View(
            slug="generate",
            title="Generation",
            caption=(
                "Pictures that codes decode to though nobody encoded them. Random choices give the model's own samples, and a "
                "few noises to choose from are enough. With a class, the atom is taken that points best from the estimate "
                "without class to the estimate with it; the step itself goes by the estimate without. Compare the rows: the "
                "more atoms are compared, the more pictures keep to the class; with many they become alike. The judge is "
                "the model itself; that of emoji mistakes the class of more than half of those that it has not seen."
            ),
            compute=generate,
            controls={
                "label": Choice("Class", {"any": "none: random codes"} | {label: label for label in CLASSES[1:]}),
                "model": Choice(
                    "Model",
                    {
                        "ddpm-emoji-32-kinds": "emoji of six classes",
                        "ddpm-cifar10-32": PHOTOGRAPHS,
                        "ddpm-emoji-32": "emoji",
                        GOOGLE: "photographs, google/ddpm-cifar10-32",
                    },
                    help="The first six classes are of emoji, the others of photographs. The model of photographs takes four times as long.",
                ),
                "compared": Numbers("Atoms compared", when={"label": CLASSES[1:]}),
                "codebook_bits": Numbers("Codebook sizes, log₂ K", when={"label": ["any"]}),
                "count": Range("Pictures a row", step=1),
                "steps": Range("Steps T", step=1, log=True),
                "seed": SEED,
            },
            draw=draw_generated,
            scalars={
                "mean distance of two pictures (grey levels)": lambda r: r.distance[-1],
                "taken for the class, last row": lambda r: r.classified[-1],
            },
            seconds=25,
            brief={"steps": 3, "count": 2, "compared": (2,)},
            **SLOW,
        ),
        View(
            slug="restore",
            title="Restoration",
            caption=(
                "A picture, what is left of it, and restorations with different codebooks. The noise is chosen that agrees best "
                "with what is left; where nothing is left the model invents. Each restoration is a code too. PSNR punishes "
                "invention: a grey patch can score higher than a good guess, and a grey picture often does. Several atoms a "
                "step bring the measurement into the picture within fewer steps."
            ),
            compute=restore,
            controls={
                "task": Choice("Task", TASKS, icons=_examples),
                "emoji": EMOJI,
                "mask": Drawing(
                    "What to hide", under=EMOJI, help="Empty: a square in the middle.", when={"task": ["inpaint"]}
                ),
                "steps": Range("Steps T", step=1, log=True),
                "atoms": Range("Atoms a step, M", step=1, log=True),
                "count": Range("Restorations", step=1),
                "codebook_bits": BITS,
                "variant": Choice("Variant", VARIANTS),
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_restored,
            scalars={
                "PSNR of the restored picture (dB), mean of the seeds": lambda r: r.psnr.mean(),
                "PSNR within what was measured (dB), mean of the seeds": lambda r: r.agreement.mean(),
                "bytes of the choices": "payload_bytes",
            },
            seconds=16,
            brief={"steps": 5, "count": 2},
            **SLOW,
        ),
        View(
            slug="mix",
            title="Mixed codes",
            caption=(
                "Two codes of equal length, mixed in two ways. Above, the first steps are the second picture's and the others "
                "the first's: the early choices settle colours and large forms, the late ones only touch up. Below, the two "
                "noises are mixed at every step: the change is more even, through pictures that are neither."
            ),
            compute=mix_codes,
            controls={
                "emoji": EMOJI,
                "other_emoji": Gallery("Second emoji", held_back, lambda: EMOJI_NAMES),
                "steps": Range("Steps T", step=1, log=True),
                "codebook_bits": BITS,
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_mixed,
            scalars={
                "PSNR of the half splice (dB)": lambda r: each(
                    ("to the first", "to the second"), r.splice_psnr[len(r.taken) // 2]
                ),
                "PSNR of the half blend (dB)": lambda r: each(
                    ("to the first", "to the second"), r.blend_psnr[len(r.weights) // 2]
                ),
            },
            seconds=9,
            brief={"steps": 9},
            **SLOW,
        ),
    ),
    stories=read_stories(__file__),
    checks=CHECKS,
    former={
        "picture": Former("picture", names={"book_bits": "codebook_bits"}),
        "rate": Former("rate", names={"books": "codebook_bits"}),
        "gaussian": Former("gaussian", names={"toy_steps": "step_counts", "toy_books": "codebook_bits"}),
        "generate": Former(
            "generate",
            names={"generated_books": "codebook_bits", "generated_steps": "steps"},
            values={"label": "any", "model": "ddpm-emoji-32", "count": 3, "steps": 50},
        ),
        "guide": Former("generate", names={"kind": "label", "guided_steps": "steps"}, values={"count": 3, "steps": 50}),
        "restore": Former(
            "restore",
            names={"restored_steps": "steps", "book_bits": "codebook_bits"},
            values={"atoms": 1, "variant": "shuffled", "count": 3},
        ),
        "mix": Former("mix", names={"mixed_steps": "steps", "book_bits": "codebook_bits"}),
        "open": Former("picture", names={"book_bits": "codebook_bits"}, values={"flips": 1}),
    },
)
