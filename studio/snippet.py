"""The Python that makes a view's result without the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.exhibit import Control, Drawing, Upload, View


def in_python(view: View, settings: Mapping[str, Any]) -> str:
    """Python that calls the engine alone and leaves `result`, the same arrays as the view's."""
    name = view.compute.__name__
    lines = [f"    {setting}={_spelled(control, settings[setting])}," for setting, control in view.controls.items()]
    call = "\n".join([f"{name}(", *lines, ")"]) if lines else f"{name}()"
    head = f"from {view.compute.__module__} import {name}\n\n"
    if view.streams:
        return f"{head}for progress in {call}:\n    print(progress.step, progress.total)\nresult = progress.result\n"
    return f"{head}result = {call}\n"


def _spelled(control: Control, value: Any) -> str:
    # The reader has the file under its own name, not where the server put it.
    return repr(Path(value).name if isinstance(control, Upload | Drawing) and value else value)
