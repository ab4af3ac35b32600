"""Three tools for all views, of MCP and of the API: list, describe, run. Answers are JSON, short enough for a model to read."""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any

import gradio as gr
import numpy as np
from gradio.context import LocalContext
from PIL import Image

from studio import link
from studio.api import compute, describe, in_words, returned, unpacked
from studio.exhibit import Choice, Exhibit, View
from studio.exhibits import EXHIBITS
from studio.gate import public
from studio.markup import plain
from studio.panels import Pictures
from studio.present import panels
from studio.results import arrays, as_json
from studio.turns import SHORT, inside

MOST = 2_000  # numbers in an answer, unless more are asked for


def add() -> None:
    """The endpoints that MCP offers as tools."""
    for tool in (list_views, describe_view, run_view):
        gr.api(tool, api_name=tool.__name__, concurrency_limit=None)


def list_views() -> str:
    """All exhibits of the studio, and the views of each, as JSON: exhibit -> {"about", "views": {view: title}}."""
    return json.dumps(
        {
            exhibit.slug: {
                "about": f"{exhibit.title}. {plain(exhibit.summary)}",
                "views": {view.slug: view.title for view in exhibit.views},
            }
            for exhibit in EXHIBITS
        },
        ensure_ascii=False,
    )


def describe_view(exhibit: str, view: str) -> str:
    """What a view shows, takes and returns, as JSON: {"title", "about", "seconds", "settings": {name: {"about", "default", "options"}}, "returns": {array: words}}.

    Args:
        exhibit: name of an exhibit, as list_views tells.
        view: name of one of its views.
    """
    _, found = _named(exhibit, view)
    settings = {}
    for name, control in found.settings.items():
        told = {"about": describe(control, found.defaults[name]), "default": unpacked(found.defaults[name])}
        if isinstance(control, Choice):
            told["options"] = list(control.options)
        settings[name] = told
    said = {"title": found.title, "about": plain(found.caption), "seconds": found.seconds, "settings": settings}
    said["returns"] = returned(found)
    return json.dumps(said, ensure_ascii=False)


async def run_view(exhibit: str, view: str, settings: dict | None = None, numbers: int = MOST) -> str:
    """Compute a view, as JSON: {"link", "arrays": {name: {"shape", "every", "values"}}, "picture"}.

    Long arrays are thinned along their longest axes: "every" says how; long texts are cut. "picture" is a PNG in base64 where the view makes
    pictures. "link" opens the studio with these settings.

    Args:
        exhibit: name of an exhibit, as list_views tells.
        view: name of one of its views.
        settings: name -> value, as describe_view tells; what is missing has its default. A file is {"path": where gradio's upload put it}.
        numbers: at most how many numbers to answer with in all, from 1 to 100,000 (2,000 for anything else).
    """
    one, found = _named(exhibit, view)
    given = settings or {}
    if not isinstance(given, dict):
        raise gr.Error("settings are an object: name -> value.", print_exception=False)
    most = numbers if isinstance(numbers, int | float) and 1 <= numbers <= 100_000 else MOST
    unknown = [name for name in given if name not in found.settings]
    if unknown:
        raise gr.Error(
            f"{unknown[0]!r:.60} is no setting of {exhibit}/{view}. It takes {', '.join(found.settings)}.",
            print_exception=False,
        )
    with in_words(one, found):
        wanted, result = await compute(one, found, given)
        return await inside(SHORT, _told, one, found, wanted, result, int(most), _base())


def _named(exhibit: str, view: str) -> tuple[Exhibit, View]:
    one = next((one for one in EXHIBITS if one.slug == exhibit), None)
    if one is None:
        raise gr.Error(
            f"There is no exhibit {exhibit!r:.60}. There are {', '.join(one.slug for one in EXHIBITS)}.",
            print_exception=False,
        )
    found = next((found for found in one.views if found.slug == view), None)
    if found is None:
        raise gr.Error(
            f"{exhibit} has no view {view!r:.60}. It has {', '.join(found.slug for found in one.views)}.",
            print_exception=False,
        )
    return one, found


def _base() -> str:
    """The studio's own address, as the caller knows it; "" where that is not told."""
    if os.environ.get("SPACE_ID"):
        return f"https://huggingface.co/spaces/{os.environ['SPACE_ID']}"
    request = getattr(LocalContext.request.get(), "request", None)  # starlette's, in gradio's
    return public(request.headers, request.url.scheme, request.scope.get("root_path", "")) + "/" if request else ""


def _told(exhibit: Exhibit, view: View, settings: dict[str, Any], result: Any, most: int, base: str) -> str:
    whole = arrays(result)
    share = most // max(len(whole), 1)
    told = {}
    for name, array in whole.items():
        every = [1] * array.ndim
        while np.prod([-(-size // step) for size, step in zip(array.shape, every, strict=True)]) > max(share, 1):
            longest = max(range(array.ndim), key=lambda axis: -(-array.shape[axis] // every[axis]))
            every[longest] *= 2
        thin = array[tuple(slice(None, None, step) for step in every)]
        if thin.dtype.kind == "f":
            thin = np.vectorize(lambda value: float(f"{value:.4g}"), otypes=[float])(thin) if thin.size else thin
        if thin.dtype.kind == "U":
            thin = thin.astype(f"U{max(4 * share // max(thin.size, 1), 20)}")
        told[name] = {"shape": list(array.shape), "values": as_json({name: thin})[name]}
        if max(every, default=1) > 1:
            told[name]["every"] = every
    said = {"link": base + link.write(exhibit, view, settings), "arrays": told}
    picture = _picture(panels(view, result, settings))
    return json.dumps(said | ({"picture": picture} if picture else {}), ensure_ascii=False)


def _picture(drawn: list[Any]) -> str | None:
    """The pictures of a view's first gallery side by side, at most eight, as a PNG in base64."""
    for panel in drawn:
        if isinstance(panel, Pictures) and len(panel.images):
            images = np.asarray(panel.images)[:8].astype(np.uint8)
            gap = [(0, 2 if axis == 2 else 0) for axis in range(images.ndim)]
            row = np.concatenate([*np.pad(images, gap, constant_values=255)], axis=1)
            file = io.BytesIO()
            Image.fromarray(row).save(file, "png")
            return base64.b64encode(file.getvalue()).decode()
    return None
