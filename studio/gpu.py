"""Where a view is computed: here, or on a card that a ZeroGPU Space lends for a stated time.

On ZeroGPU no kernel can run in the main process, though `spaces` makes torch say otherwise there: it is told that there
is no card, and computes on the CPU. A card is asked for where a model of the Hub is to run; its weights are fetched first.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch

from engines import models
from engines.arguments import Refusal
from engines.device import give_back, is_memory
from engines.latents import KNOWN
from engines.progress import Progress
from studio.exhibit import View
from studio.language import say

# seconds: half as much again is held against what is left of a visitor's day, two minutes without an account
LONGEST = 80
# the settings that a view's time grows with: the sum of its step counts, the number of what else is compared
STEPS, COMPARED = ("steps", "step_counts"), ("schedulers", "atom_counts", "count")


def compute(exhibit: str, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    """Progress of the view's engine; the last one carries the result."""
    try:
        yield from _placed(exhibit, view, settings)
    except (MemoryError, RuntimeError, OSError) as fault:
        if not is_memory(fault):
            raise
        give_back(fault)
        raise Refusal("There is not enough memory here for these settings: ask for less.") from None


def _placed(exhibit: str, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    named = hub_models(settings)
    if _on_card is None or not view.gpu or not named:
        yield from _compute(exhibit, view.slug, settings)
        return
    for name in named:
        yield from models.arriving(name, "cuda")
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
    """The names of the models of the Hub that these settings ask for; beside an included one there is none."""
    named = [settings.get("model"), settings.get("beside")]
    found = [name for name in named if isinstance(name, str) and "/" in name]
    return found if found[:1] == named[:1] else []


def lease(exhibit: str, slug: str, settings: dict[str, Any]) -> int:
    """Seconds of a card to ask for: a second a gigabyte of weights, and the view's time at these settings."""
    view = _view(exhibit, slug)
    work = math.prod(
        max(_amount(name, settings[name]) / _amount(name, view.defaults[name]), 1)
        for name in (*STEPS, *COMPARED)
        if name in settings and name in view.defaults
    )
    weights = sum(models.HUB.get(name, ("", "", 5))[2] for name in hub_models(settings))
    return math.ceil(min(10 + weights + view.seconds * work, LONGEST))


def _amount(name: str, value: float | tuple) -> float:
    """How much work a setting stands for."""
    if not isinstance(value, tuple):
        return value
    return sum(value) if name in STEPS else len(value)


def _view(exhibit: str, slug: str) -> View:
    # Named, not passed: on ZeroGPU the arguments cross into another process, and a view's functions do not pickle.
    from studio.exhibits import EXHIBITS

    return next(view for one in EXHIBITS if one.slug == exhibit for view in one.views if view.slug == slug)


def _compute(exhibit: str, slug: str, settings: dict[str, Any]) -> Iterator[Progress]:
    view = _view(exhibit, slug)
    running = iter(view.compute(**settings)) if view.streams else None
    for name in hub_models(settings):
        if running and name in KNOWN:
            yield next(running)  # many gigabytes come after all else that can be refused
        yield from models.arriving(name)
    if running:
        yield from running
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
