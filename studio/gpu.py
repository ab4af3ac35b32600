"""Where a view is computed: here, or on a card that a ZeroGPU Space lends for a stated time.

On ZeroGPU no kernel can run in the main process, though `spaces` makes torch say otherwise there: it is told that there
is no card, and computes on the CPU. A card is asked for where a model of the Hub is to run; its weights are fetched first.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch

from engines import models
from engines.arguments import Refusal
from engines.progress import Progress
from studio.exhibit import View
from studio.language import say

LONGEST = 120  # seconds; a visitor without an account has two minutes a day


def compute(exhibit: str, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    """Progress of the view's engine; the last one carries the result."""
    try:
        yield from _placed(exhibit, view, settings)
    except (MemoryError, RuntimeError) as fault:
        # torch's own of a CPU is a bare RuntimeError; "an illegal memory access" is another matter
        if isinstance(fault, RuntimeError) and not re.search("out of memory|(not enough|allocate) memory", str(fault)):
            raise
        torch.cuda.empty_cache()
        raise Refusal("There is not enough memory here for these settings: ask for less.") from None


def _placed(exhibit: str, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    named = hub_models(settings)
    if _on_card is None or not view.gpu or not named:
        yield from _compute(exhibit, view.slug, settings)
        return
    for name in named:
        models.fetch(name)
    has_begun = False
    try:
        for made in _on_card(exhibit, view.slug, settings):
            has_begun = True
            if isinstance(made, ValueError):
                raise made
            yield made
        return
    except (gr.Error, RuntimeError) as fault:  # of `spaces`: quota, queue, worker
        reason = " ".join(str(getattr(fault, "message", fault)).split())[:200]
        if has_begun:
            raise Refusal("The lent GPU stopped before the end ({reason}). Run it again.", reason=reason) from None
    gr.Warning(say("No GPU was lent ({reason}): computed on the CPU instead, which takes longer.", reason=reason))
    yield from _compute(exhibit, view.slug, settings)


def hub_models(settings: dict[str, Any]) -> list[str]:
    """The names of the models of the Hub that these settings ask for."""
    named = (settings.get("model"), settings.get("beside"))
    return [name for name in named if isinstance(name, str) and "/" in name]


def lease(exhibit: str, slug: str, settings: dict[str, Any]) -> int:
    """Seconds of a card to ask for: a second a gigabyte of weights, and the view's time at these settings."""
    view = _view(exhibit, slug)
    asked = "step_counts" if "step_counts" in settings else "steps"
    steps = _total(settings.get(asked, 1)) / _total(view.defaults.get(asked, 1))
    weights = sum(models.HUB.get(name, ("", "", 5))[2] for name in hub_models(settings))
    return math.ceil(min(10 + weights + view.seconds * max(steps, 1), LONGEST))


def _total(steps: float | tuple) -> float:
    return sum(steps) if isinstance(steps, tuple) else steps


def _view(exhibit: str, slug: str) -> View:
    # Named, not passed: on ZeroGPU the arguments cross into another process, and a view's functions do not pickle.
    from studio.exhibits import EXHIBITS

    return next(view for one in EXHIBITS if one.slug == exhibit for view in one.views if view.slug == slug)


def _compute(exhibit: str, slug: str, settings: dict[str, Any]) -> Iterator[Progress]:
    view = _view(exhibit, slug)
    if view.streams:
        yield from view.compute(**settings)
    else:
        yield Progress(1, 1, view.compute(**settings))


def _lent(exhibit: str, slug: str, settings: dict[str, Any]) -> Iterator[Progress | ValueError]:
    """What `_compute` yields, off the card; a ValueError that ends it is yielded: raised, it would cross as a bare name."""
    try:
        for progress in _compute(exhibit, slug, settings):
            yield progress._replace(result=_off_card(progress.result))
    except ValueError as fault:
        yield fault


def _off_card(value: Any) -> Any:
    """A result with its tensors in the machine's own memory."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _off_card(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, dict):
        return {key: _off_card(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_off_card(item) for item in value)  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
    return value


_on_card = None
if os.environ.get("SPACES_ZERO_GPU"):
    import spaces

    torch.cuda.is_available = lambda: False  # `spaces` puts the true one back in the process that has the card
    _on_card = spaces.GPU(duration=lease)(_lent)
