"""Where a view is computed: here, or on a shared GPU of a ZeroGPU Space, which lends one for a stated time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from engines.progress import Progress
from studio.exhibit import View


def _compute(exhibit: str, view: str, settings: dict[str, Any]) -> Iterator[Progress]:
    # Named, not passed: on ZeroGPU the arguments cross into another process, and a view's functions do not pickle.
    from studio.exhibits import EXHIBITS

    found = next(v for e in EXHIBITS if e.slug == exhibit for v in e.views if v.slug == view)
    if found.streams:
        yield from found.compute(**settings)
    else:
        yield Progress(1, 1, found.compute(**settings))


if os.environ.get("SPACES_ZERO_GPU"):
    import spaces

    _on_gpu = spaces.GPU(duration=120)(_compute)
else:
    _on_gpu = _compute


def compute(exhibit: str, view: View, settings: dict[str, Any]) -> Iterator[Progress]:
    """Progress of the view's engine; the last one carries the result. Only a view that says it gains asks for a GPU."""
    return (_on_gpu if view.gpu else _compute)(exhibit, view.slug, settings)
