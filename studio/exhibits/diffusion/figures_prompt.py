"""Diffusion: pictures of a prompt."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from engines.diffusion.prompt import PromptGrid
from studio.exhibits.diffusion.figures import SAMPLERS, squares
from studio.figure import scrub, short
from studio.hub import LATENT, needs
from studio.language import drawn, raw, say
from studio.panels import Prose, Table

SAMPLERS_HERE = SAMPLERS | {"lcm": "LCM"}
BYTES = 1_500_000  # of all frames together, about


def draw_prompt(result: PromptGrid) -> list:
    """The pictures, scrubbed over x̂0 on the way, and what each took; without a model, what is needed."""
    rows, columns = result.done.shape
    if not rows:
        return needs()
    moments, first = result.film.shape[2], result.models[0]
    names = [
        str(drawn(SAMPLERS_HERE[key])) if model == first else f"{LATENT.get(model, model)}, {drawn(SAMPLERS_HERE[key])}"
        for key, model in zip(result.schedulers, result.models, strict=True)
    ]
    titles = [
        [
            say(
                "<b>{scheduler}</b><br>{steps} steps: {calls} calls, {seconds} s",
                scheduler=name,
                steps=int(result.steps[j]),
                calls=int(result.calls[i, j]),
                seconds=short(result.seconds[i, j], 2),
            )
            if result.done[i, j]
            else raw(f"<b>{name}</b><br>…")
            for j in range(columns)
        ]
        for i, name in enumerate(names)
    ]
    made, axes = squares(titles, 0.5, 40, 380)
    count = int(result.done.sum()) * moments
    # a picture of q² pixels is about q²/6 bytes of WebP
    side = int(np.clip(math.sqrt(6 * BYTES / max(count, 1)), 96, result.film.shape[3]))
    cells = [(i, j) for i in range(rows) for j in range(columns) if result.done[i, j]]
    sources = {cell: [_webp(picture, side) for picture in result.film[cell]] for cell in cells}
    for i, j in cells:
        place = {"x0": -500 + 500 / side, "y0": -500 + 500 / side, "dx": 1000 / side, "dy": 1000 / side}
        made.add({"type": "image", "source": sources[i, j][-1], "hoverinfo": "skip", **place, **axes[i][j]})
        made.update(**{"yaxis" + axes[i][j]["yaxis"][1:]: {"range": [500, -500]}})
    frames = [[{"source": sources[cell][k]} for cell in cells] for k in range(moments)]
    parts = [raw(f"{k}/{moments}") for k in range(1, moments + 1)]
    scrub(made, frames, parts, "estimate x̂₀ on the way")
    made.alt = "; ".join(f"{name}: {short(time, 2)} s" for name, time in zip(names, result.seconds[:, -1], strict=True))
    table = [
        [raw(names[i]), *(values[i, j] for values in (np.tile(result.steps, (rows, 1)), result.calls, result.passes, result.seconds)),
         result.seconds[i, j] / max(result.passes[i, j], 1) * 1000, float(result.guidance[i])]
        for i, j in cells
    ]  # fmt: skip
    heads = ("scheduler", "steps", "denoiser calls", "passes of the network", "seconds", "ms a pass", "guidance")
    return [made, *_notes(result), Table(heads, table)]


def _notes(result: PromptGrid) -> list:
    said = []
    if result.tokens > result.read:
        said.append(
            say(
                "The prompt has {tokens} tokens; the model reads the first {read}.",
                tokens=result.tokens,
                read=result.read,
            )
        )
    if (result.guidance == 1).any():
        said.append(say("Where guidance is 1 the network runs once a call, without the negative prompt."))
    if result.device == "cpu":
        said.append(say("Computed on the processor, in single precision."))
    return [Prose(raw(" ".join(said)))] if said else []


def _webp(picture: np.ndarray, side: int) -> str:
    file, image = io.BytesIO(), Image.fromarray(picture)
    if side != picture.shape[0]:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    image.save(file, "webp", quality=82)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
