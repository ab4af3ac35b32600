"""Diffusion: pictures of a prompt."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from engines.diffusion.prompt import PromptGrid
from engines.latents import KNOWN
from studio.exhibits.diffusion.figures import SAMPLERS, squares
from studio.figure import scrub, short
from studio.hub import LATENT, needs
from studio.language import drawn, raw, say
from studio.panels import Prose, Table

SAMPLERS_HERE = SAMPLERS | {"lcm": "LCM"}
INCLUDED = (
    "Made with what is included: {model} knows ten classes (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck) and "
    "reads no text but the name of one, in pixels instead of latents. Choose a model for pictures of a whole prompt."
)
BYTES = 1_000_000  # of all frames together, about, and of the last ones


def draw_prompt(result: PromptGrid) -> list:
    """The pictures, scrubbed over x̂0 on the way, and what each took; of the embedded model, what others need."""
    rows, columns = result.done.shape
    moments, first = result.film.shape[2], result.models[0]
    names = [
        str(drawn(SAMPLERS_HERE[key])) if model == first else f"{LATENT.get(model, model)}, {drawn(SAMPLERS_HERE[key])}"
        for key, model in zip(result.schedulers, result.models, strict=True)
    ]
    titles = [_title(result, i, j, name if j == 0 else "") for i, name in enumerate(names) for j in range(columns)]
    made, axes = squares(titles, columns, 0.5)
    cells = [(i, j) for i in range(rows) for j in range(columns) if result.done[i, j]]
    # a picture of q² pixels is about q²/6 bytes of WebP
    most = int(np.clip(math.sqrt(6 * BYTES / max(len(cells) * moments, 1)), 96, 512))
    last = int(np.clip(math.sqrt(6 * BYTES / max(len(cells), 1)), 256, 512))
    frames = [
        [
            _image(result.film[cell][k], most) if k < moments - 1 else _image(result.pictures[cell], last)
            for cell in cells
        ]
        for k in range(moments)
    ]
    for (i, j), image in zip(cells, frames[-1], strict=True):
        made.add({"type": "image", "hoverinfo": "skip", **image, **axes[i * columns + j]})
        made.update(**{"yaxis" + axes[i * columns + j]["yaxis"][1:]: {"range": [500, -500]}})
    parts = [raw(f"{k}/{moments}") for k in range(1, moments + 1)]
    scrub(made, frames, parts, "estimate x̂₀ on the way")
    made.alt = "; ".join(f"{name}: {short(time, 2)} s" for name, time in zip(names, result.seconds[:, -1], strict=True))
    table = [
        [raw(names[i]), *(values[i, j] for values in (np.tile(result.steps, (rows, 1)), result.calls, result.passes, result.seconds)),
         result.seconds[i, j] / max(result.passes[i, j], 1) * 1000, float(result.guidance[i])]
        for i, j in cells
    ]  # fmt: skip
    heads = ("scheduler", "steps", "denoiser calls", "passes of the network", "seconds", "ms a pass", "guidance")
    return [made, *notes(result), Table(heads, table), *([needs()] if result.label else [])]


def _title(result: PromptGrid, i: int, j: int, name: str) -> str:
    took = (
        say("{steps} steps, {seconds} s", steps=int(result.steps[j]), seconds=short(result.seconds[i, j], 2))
        if result.done[i, j]
        else "…"
    )
    return raw(f"<b>{name}</b><br>{took}" if name else str(took))


def notes(result: PromptGrid) -> list:
    said = []
    if result.label:
        said.append(say(INCLUDED, model=raw(result.models[0])))
        told = (
            "It is asked for {label}, with guidance {guidance}."
            if result.label != "none"
            else "The prompt names none: any picture may come."
        )
        said.append(say(told, label=say(result.label), guidance=short(result.guidance[0])))
    if result.tokens > result.read:
        said.append(
            say(
                "The prompt has {tokens} tokens; the model reads the first {read}.",
                tokens=result.tokens,
                read=result.read,
            )
        )
    if not result.label:
        said.append(
            say(
                "The sampler works on latents, 4 or 16 numbers for each 8 x 8 pixels, and a decoder makes pixels of them at the end."
            )
        )
    if len(set(result.models)) > 1:
        said.append(say("The few-step model of the last row was distilled to need neither many steps nor guidance."))
    if not result.label and (result.guidance == 1).any():
        said.append(say("Where guidance is 1 the network runs once a call, without the negative prompt."))
    side = result.pictures.shape[2]
    for name in dict.fromkeys(result.models):
        if name in KNOWN and KNOWN[name].side != side:
            said.append(
                say(
                    "{model} was trained on pictures of {own} pixels a side; these have {side}.",
                    model=raw(LATENT[name]),
                    own=KNOWN[name].side,
                    side=side,
                )
            )
    if not result.label and result.device == "cpu":
        said.append(say("Computed on the processor, in single precision."))
    return [Prose(raw(" ".join(said)))] if said else []


def _image(picture: np.ndarray, most: int) -> dict:
    """A picture of at most `most` pixels a side, in a square of 1,000 around 0."""
    file, image, side = io.BytesIO(), Image.fromarray(picture), min(most, picture.shape[0])
    if side != picture.shape[0]:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    image.save(file, "webp", **({"lossless": True} if side <= 64 else {"quality": 82}))
    source = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    begin, step = -500 + 500 / side, 1000 / side
    return {"source": source, "x0": begin, "y0": begin, "dx": step, "dy": step}
