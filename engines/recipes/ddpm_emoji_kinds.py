"""The emoji model taught what it draws: a class for each kind of emoji and one for none, for guided generation.

python -m engines.recipes.ddpm_emoji_kinds --data DATA --out assets/models/ddpm-emoji-32-kinds --minutes 30

DATA holds emoji-32.npz (uint8 images [n, 32, 32, 3] on white, and their code points). Training starts from the embedded
ddpm-emoji-32.
"""

import json
from argparse import Namespace

import numpy as np
import torch

from engines.models import load
from engines.recipes.ddpm_emoji import (
    QUICK,
    STEPS,
    build,
    draw_samples,
    fit,
    make_scheduler,
    measure,
    sampled,
    save_grid,
    save_pipeline,
    split,
)
from engines.recipes.training import Run, arguments, save_weights, write_card

RATE = 2e-3
NONE = 0.3  # share of the images that are shown without their kind
# Kinds of emoji by the Unicode blocks of their first code point: the first that fits.
KINDS = {
    "person": (
        (0x1F385, 0x1F385),
        (0x1F3C2, 0x1F3C4),
        (0x1F3CA, 0x1F3CC),
        (0x1F466, 0x1F487),
        (0x1F574, 0x1F575),
        (0x1F57A, 0x1F57A),
        (0x1F645, 0x1F64F),
        (0x1F6B4, 0x1F6B6),
        (0x1F926, 0x1F926),
        (0x1F930, 0x1F93E),
        (0x1F9B8, 0x1F9BB),
        (0x1F9CD, 0x1F9CF),
        (0x1F9D1, 0x1F9DF),
        (0x1FAC3, 0x1FAC5),
    ),
    "face": (
        (0x2639, 0x263A),
        (0x1F600, 0x1F644),
        (0x1F910, 0x1F917),
        (0x1F920, 0x1F92F),
        (0x1F970, 0x1F97A),
        (0x1F9D0, 0x1F9D0),
        (0x1FAE0, 0x1FAE8),
    ),
    "animal": ((0x1F400, 0x1F43F), (0x1F980, 0x1F9AE), (0x1FAB0, 0x1FABD)),
    "food": ((0x1F32D, 0x1F32F), (0x1F345, 0x1F37F), (0x1F950, 0x1F96F), (0x1F9C0, 0x1F9CB), (0x1FAD0, 0x1FADB)),
    "sign": ((0x23, 0x2638), (0x263B, 0x3299), (0x1F170, 0x1F251), (0x1F500, 0x1F524), (0x1F52F, 0x1F567)),
    "thing": ((0, 0x10FFFF),),
}


def kind(codepoints: str) -> int:
    """The index of an emoji's kind; code points in hexadecimal, separated by underscores."""
    first = int(codepoints.split("_")[0], 16)
    return next(i for i, blocks in enumerate(KINDS.values()) if any(low <= first <= high for low, high in blocks))


def train(a: Namespace, start=None) -> Run:
    """Train, measure and export; the finished run. start: a model without classes, the embedded one by default."""
    data = np.load(a.data / "emoji-32.npz", allow_pickle=False)
    images, held = split(data["images"])
    labels, held_labels = map(torch.from_numpy, split(np.array([kind(str(c)) for c in data["codepoints"]])))
    torch.manual_seed(a.seed)
    start = load("ddpm-emoji-32").model if start is None else start
    model = build(tuple(start.config.block_out_channels), len(KINDS) + 1)
    model.load_state_dict(start.state_dict(), strict=False)
    # without a class it draws as before; from zero, at half this rate, the kinds were not separate after 18 minutes
    torch.nn.init.normal_(model.class_embedding.weight, std=0.5)
    torch.nn.init.zeros_(model.class_embedding.weight[-1])
    run, average = fit(a, model, images, RATE, labels, NONE)
    export(a, run, average, held, held_labels)
    return run


@torch.no_grad()
def export(a: Namespace, run: Run, model, held: np.ndarray, labels: torch.Tensor) -> None:
    """Write the averaged model as a diffusers pipeline with the names of its classes, samples of each, and the card."""
    scheduler = make_scheduler()
    save_pipeline(a.out, model, scheduler)
    names = {"id2label": dict(enumerate(KINDS))}  # as diffusers' DiT pipeline has it; the class after them is "none"
    (a.out / "model_index.json").write_text(json.dumps(names, indent=1) + "\n")
    classes = torch.arange(len(KINDS)).repeat_interleave(8)
    save_grid(draw_samples(model, len(classes), STEPS, a.seed, classes), 8, a.out / "samples.png")
    none, sample = torch.full_like(labels, len(KINDS)), sampled(len(held))
    save_weights({"labels": labels[sample]}, a.out / "held-back.safetensors")  # of the images that ddpm-emoji-32 ships
    first = sample[:QUICK]
    figures = {
        "loss": measure(model, scheduler, held, 4, labels),
        "loss_untold": measure(model, scheduler, held, 4, none),
        f"loss_first_{QUICK}": measure(model, scheduler, held[first], 2, labels[first]),
    }
    counts = ", ".join(f"{int((labels == i).sum())} {name}" for i, name in enumerate(KINDS))
    sections = {
        "What it is": f"""
ddpm-emoji-32 with a class for each kind of emoji ({", ".join(KINDS)}) and, as class {len(KINDS)}, none: diffusers' UNet2DModel,
{sum(p.numel() for p in model.parameters()):,} parameters, cosine schedule, v-prediction. For guided generation.""",
        "Data": f"""
emoji-32.npz: Noto emoji (Google, Apache-2.0) on white, sorted by the Unicode block of their first code point. Every tenth
is held back: {counts}.""",
        "Training": f"""
`python -m engines.recipes.ddpm_emoji_kinds --data DATA --out OUT --seed {a.seed} --minutes {a.minutes:g}`, from the embedded
ddpm-emoji-32; {run.sentence()}. {NONE:.0%} of the images were shown without their kind. Weights stored in float16. Final loss
(mean of the last 100 steps): {run.recent("loss"):.4f}.""",
        "Measured": f"""
Mean squared error of v on the held-back images, averaged over evenly spaced times: {figures["loss"]:.4f} where it is given the
kind, {figures["loss_untold"]:.4f} where it is not.""",
        "Samples": f"![samples](samples.png)\n\nA row a kind, DDIM with η = 1, {STEPS} steps, not chosen.",
        "Limits": "As small as ddpm-emoji-32; the kinds are coarse, and some emoji sit in blocks of another kind.",
        "Licence": "Apache-2.0 for the weights.",
    }
    write_card(a.out, "ddpm-emoji-32-kinds", sections, figures)


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 30, argv))


if __name__ == "__main__":
    main()
