"""A diffusion model of CIFAR-10's photographs, with their ten classes and, as an eleventh, none.

python -m engines.recipes.ddpm_cifar10 --data DATA --out assets/models/ddpm-cifar10-32 --minutes 6

DATA holds cifar10-train-jpeg.tar.xz (a folder of JPEGs for each class). Made for a GPU; on a CPU it is some hundred times
slower. With `--start FOLDER` training goes on from the weights of a model that this recipe has written.
"""

import io
import json
import platform
import tarfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

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
)
from engines.recipes.judge import fit_judge, frechet, look
from engines.recipes.training import Run, arguments, card_table, half, save_weights, write_card

ARCHIVE = "cifar10-train-jpeg.tar.xz"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHANNELS = (64, 128, 256)
ATTENTIVE = 2  # of the three sizes
NONE = 0.15  # share of the images that are shown without their class
RATE = 2e-3
BATCH = 512
AVERAGE = 0.999
GUIDANCE = (1.0, 1.5)  # at which samples are judged
JUDGED = 2_000  # samples for each
SAMPLER_STEPS = 50  # of them
MEASURED = 2_500  # images of each figure on a card


def read(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images [n, 32, 32, 3], labels [n]), sorted by folder and file, so that every tenth of each class can be held back."""
    from PIL import Image

    with tarfile.open(data / ARCHIVE) as archive:
        files = ((m.name, archive.extractfile(m)) for m in archive if m.isfile() and m.name.endswith(".jpg"))
        found = sorted((name, file.read()) for name, file in files if file is not None)
    images = [np.asarray(Image.open(io.BytesIO(body)).convert("RGB")) for _, body in found]
    return np.stack(images), np.array([CLASSES.index(name.split("/")[-2]) for name, _ in found])


def held_back(count: int) -> np.ndarray:
    """bool [count]: every tenth image."""
    return np.arange(count) % 10 == 9


def spread(count: int, most: int) -> np.ndarray:
    """At most so many places of `count`, evenly."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def train(a: Namespace, channels: tuple[int, ...] = CHANNELS) -> Run:
    """Train, measure and export; the finished run."""
    images, labels = read(a.data)
    held = held_back(len(images))
    torch.manual_seed(a.seed)
    model, before = build(channels, len(CLASSES) + 1, ATTENTIVE), []
    if a.start is not None:
        weights = load_file(a.start / "unet/diffusion_pytorch_model.safetensors")
        model.load_state_dict({name: value.float() for name, value in weights.items()})
        before = json.loads((a.start / "figures.json").read_text())["trained"]
    given = torch.from_numpy(labels[~held])
    run, average = fit(a, model, images[~held], RATE, given, NONE, BATCH, AVERAGE, flips=True)
    on_card = torch.device(a.device).type == "cuda"
    stretch = {
        "machine": torch.cuda.get_device_name(a.device) if on_card else f"CPU ({platform.machine()})",
        "command": command(a),
        "said": run.sentence(),
        "steps": run.step,
        "loss": run.recent("loss"),
    }
    half(average)
    judged = judge(average, images, labels, a) if on_card else {}
    export(a.out, average, images, labels, [*before, stretch], judged, MEASURED if on_card else 4 * QUICK, a.seed)
    return run


def command(a: Namespace) -> str:
    """What was typed, without names of folders."""
    start = " --start FORMER" if a.start is not None else ""
    aim = f"--steps {a.steps}" if a.steps else f"--minutes {a.minutes:g}"
    return f"python -m engines.recipes.ddpm_cifar10 --data DATA --out OUT{start} --seed {a.seed} {aim}"


@torch.no_grad()
def judge(model, images: np.ndarray, labels: np.ndarray, a: Namespace, **options: int) -> dict:
    """What a classifier, trained on the same images, makes of held-back images and of the model's samples.

    With `--start`, of the former model's samples too: only one judge's figures can be compared.
    """
    held = held_back(len(images))
    with torch.enable_grad():
        seer = fit_judge(images[~held], labels[~held], a.device, **options)
    named, real = look(seer, images[held])
    seen = look(seer, images[~held][spread(int((~held).sum()), int(held.sum()))])[1]
    found = {"right on held-back images": float((named == labels[held]).mean()), "training images": frechet(seen, real)}
    models = {"": model}
    if a.start is not None:
        former = build(tuple(model.config.block_out_channels), len(CLASSES) + 1, ATTENTIVE)
        former.load_state_dict(load_file(a.start / "unet/diffusion_pytorch_model.safetensors"))
        models["former "] = former.to(a.device, memory_format=torch.channels_last).eval()
    asked = torch.arange(JUDGED) % len(CLASSES)
    for whose, net in models.items():
        for guidance in GUIDANCE:
            with torch.autocast(torch.device(a.device).type, torch.bfloat16, enabled=a.device.startswith("cuda")):
                parts = [
                    draw_samples(net, len(part), SAMPLER_STEPS, a.seed + i, part, guidance)
                    for i, part in enumerate(asked.split(1_000))
                ]
            named, features = look(seer, np.concatenate(parts))
            found[f"{whose}{guidance:g}"] = [float((named == asked.numpy()).mean()), frechet(features, real)]
    return found


@torch.no_grad()
def export(
    out: Path,
    model,
    images: np.ndarray,
    labels: np.ndarray,
    trained: Sequence[dict],
    judged: dict,
    measured: int,
    seed: int,
) -> None:
    """Write the averaged model as a diffusers pipeline with the names of its classes, samples of each, and the card."""
    scheduler, held = make_scheduler(), held_back(len(images))
    save_pipeline(out, model, scheduler)
    names = {"id2label": dict(enumerate(CLASSES))}  # as diffusers' DiT pipeline has it; the class after them is "none"
    (out / "model_index.json").write_text(json.dumps(names, indent=1) + "\n")
    sample = sampled(int(held.sum()))
    shipped = torch.from_numpy(images[held][sample]), torch.from_numpy(labels[held][sample])
    save_weights({"images": shipped[0], "labels": shipped[1]}, out / "held-back.safetensors")
    asked = torch.arange(len(CLASSES)).repeat_interleave(8)
    save_grid(draw_samples(model, len(asked), STEPS, seed, asked), 8, out / "samples.png")
    save_grid(draw_samples(model, len(asked), STEPS, seed, asked, 2.0), 8, out / "samples-guided.png")

    told = torch.from_numpy(labels)
    none = torch.full_like(told, len(CLASSES))
    some, seen = (np.flatnonzero(which)[spread(int(which.sum()), measured)] for which in (held, ~held))
    first = np.flatnonzero(held)[sample[:QUICK]]
    figures = {
        "trained": list(trained),
        "measured": measured,
        "loss": measure(model, scheduler, images[some], 1, told[some]),
        "loss_untold": measure(model, scheduler, images[some], 1, none[some]),
        "loss_seen": measure(model, scheduler, images[seen], 1, told[seen]),
        f"loss_first_{QUICK}": measure(model, scheduler, images[first], 2, told[first]),
        f"loss_untold_first_{QUICK}": measure(model, scheduler, images[first], 2, none[first]),
        "judged": judged,
    }
    write(out, model, int(held.sum()), len(images), figures)


def write(out: Path, model, held: int, count: int, figures: dict) -> None:
    """The card."""
    stretches = [
        f"- `{s['command']}`: {s['said']} on {s['machine']}, {BATCH} images a step; final training loss {s['loss']:.4f}."
        for s in figures["trained"]
    ]
    passes = sum(s["steps"] for s in figures["trained"]) * BATCH / (count - held)
    sections = {
        "What it is": f"""
A diffusion model of 32 x 32 photographs with ten classes ({", ".join(CLASSES)}) and, as class {len(CLASSES)}, none: diffusers'
UNet2DModel with block_out_channels {tuple(model.config.block_out_channels)}, {sum(p.numel() for p in model.parameters()):,} parameters; 1,000 steps, cosine
schedule (squaredcos_cap_v2), v-prediction; moving average of the weights (decay {AVERAGE}).""",
        "Data": f"""
The {count:,} training images of CIFAR-10 (Krizhevsky 2009), for research. Sorted by class and file, every tenth is held back,
{held:,} in all; `held-back.safetensors` holds {min(held, 64)} of them with their classes. Half of the images are shown mirrored.""",
        "Training": "\n".join(stretches)
        + f"\n\nMuon and Adam in bfloat16 on a card; {NONE:.0%} of the images without their class; {passes:.0f} passes over the"
        " images in all. Weights stored in float16.",
        "Measured": f"""
Mean squared error of v over evenly spaced times, {figures["measured"]:,} images each: {figures["loss"]:.4f} on held-back images that
are given their class, {figures["loss_untold"]:.4f} without it; {figures["loss_seen"]:.4f} on images of the training set with it.

{judgement(figures["judged"])}""",
        "Samples": f"""
![samples](samples.png)

A row a class, DDIM with η = 1, {STEPS} steps, not chosen. With guidance 2 (`samples-guided.png`):

![guided samples](samples-guided.png)""",
        "Limits": """
Small and briefly trained: without guidance many samples cannot be named.""",
        "Licence": "Apache-2.0 for the weights; the images are CIFAR-10's, for research.",
    }
    write_card(out, "ddpm-cifar10-32", sections, figures)


def judgement(judged: dict) -> str:
    """The judge's table."""
    if not judged:
        return "No classifier has judged its samples: that takes a card."
    rows = [
        (
            ("former weights, " if key.startswith("former") else "") + f"guidance {key.split()[-1]}",
            f"{right:.1%}",
            f"{far:.2f}",
        )
        for key, value in judged.items()
        if isinstance(value, list)
        for right, far in [value]
    ]
    rows.append(("training images", "", f"{judged['training images']:.2f}"))
    return f"""A classifier (`engines/recipes/judge.py`) that names {judged["right on held-back images"]:.1%} of held-back images rightly looked at {JUDGED:,}
samples of each kind ({SAMPLER_STEPS} DDIM steps, η = 1, in bfloat16); the Fréchet distance is that of its features to the held-back images'.

{card_table(("", "named as asked", "Fréchet distance"), rows)}"""


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 6, argv, start="folder of a model to go on from"))


if __name__ == "__main__":
    main()
