"""The controls of an exhibit: one component, whose browser half is in assets/studio.js.

Gradio's own components would be some forty a tab, each mounted when the page opens and asked at every redraw; and its
slider has no logarithmic scale. The component's value is {"shown": names, "values": name -> value}; what it is sent
says which values to set, the others stay as the visitor has them by then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from studio.exhibit import Choice, Control, Drawing, Numbers, Range, Text, Upload


def build(
    controls: Mapping[str, Control], defaults: Mapping[str, Any], shown: Iterable[str], answer: Callable[[Any], str]
) -> gr.HTML:
    """The component for an exhibit's controls, those in `shown` to be seen.

    A change asks `answer([view, value])` for the stage to draw where the present stage is direct; elsewhere it is the
    event `input`.
    """
    declared = json.dumps([_declared(name, control, defaults[name]) for name, control in controls.items()])
    return gr.HTML(
        held(shown, {name: shown_value(control, defaults[name]) for name, control in controls.items()}),
        html_template='<div class="controls-list"></div>',
        js_on_load=f"studio.controls(element, props, watch, upload, server, () => trigger('input'), {declared})",
        server_functions=[answer],
        apply_default_css=False,
    )


def _declared(name: str, control: Control, default: Any) -> dict[str, Any]:
    said = {
        "name": name,
        "kind": type(control).__name__,
        "label": control.label,
        "help": control.help,
        "when": control.when,
    }
    match control:
        case Range():
            integer = isinstance(default, int)
            step = control.step or (1 if integer else (control.high - control.low) / 200)
            return said | {
                "low": control.low,
                "high": control.high,
                "step": step,
                "log": control.log,
                "integer": integer,
            }
        case Choice():
            options = control.options
            pairs = [[key, options[key] if isinstance(options, dict) else key] for key in options]
            return said | {"options": pairs, "several": control.several}
        case Text():
            return said | {"lines": control.lines}
        case Drawing():
            return said | {"width": control.width, "height": control.height}
        case Upload():
            return said | {"accept": list(control.accept), "megabytes": control.megabytes}
        case _:
            return said


def held(shown: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the component is sent: the controls to be seen, and the values to set."""
    return {"shown": list(shown), "values": dict(values)}


def shown_value(control: Control, value: Any) -> Any:
    """A setting as the browser shows it."""
    match control:
        case Numbers():
            return ", ".join(f"{number:.12g}" for number in value)
        case Choice(several=True):
            return list(value)
        case _:
            return value


def given(control: Control, value: Any, name: str) -> Any:
    """What the component holds for a control; a sentence (ValueError) where a file is none that was sent to us."""
    raw = value["values"].get(name) if isinstance(value, dict) and isinstance(value.get("values"), dict) else None
    if not isinstance(control, Drawing | Upload) or raw is None:
        return raw
    try:
        path = Path(raw).resolve() if isinstance(raw, str) and len(raw) < 1_000 else None
    except ValueError:  # no path can have a null or half a surrogate pair in it
        path = None
    # the browser says which file it sent: it must not name another of this machine
    if path is None or not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise ValueError(f"{control.label}: the file is no longer here; send it again.")
    if isinstance(control, Upload):
        if path.suffix.lower() not in control.accept:
            raise ValueError(f"{control.label}: choose a file ending in {', '.join(control.accept)}.")
        if path.stat().st_size > control.megabytes * 1e6:
            raise ValueError(
                f"{control.label}: the file is larger than {control.megabytes:g} MB; choose a smaller one."
            )
    return str(path)
