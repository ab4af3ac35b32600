"""The components that set a view's parameters."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from studio.exhibit import Choice, Control, Drawing, Numbers, Range, Text, Toggle, Upload

_PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


def _slider(control: Range, value: float) -> gr.HTML:
    """A slider with a box for the exact number. Own, because gradio's has no logarithmic scale."""
    label = html.escape(control.label, quote=True)
    note = f"<small>{html.escape(control.help)}</small>" if control.help else ""
    integer = isinstance(value, int)
    scale = {
        "low": control.low,
        "high": control.high,
        "step": control.step or (1 if integer else (control.high - control.low) / 200),
        "log": control.log,
        "integer": integer,
    }
    return gr.HTML(
        value,
        html_template=(
            f'<div class="slider"><span>{label}</span><input type="number" step="any" aria-label="{label}">'
            f'<input type="range" aria-label="{label}, slider">{note}</div>'
        ),
        js_on_load=f"studio.slider(element, props, watch, () => trigger('release'), {json.dumps(scale)})",
        apply_default_css=False,
        visible=False,
    )


def build(control: Control, value: Any) -> gr.components.Component:
    """The component of a control at its default value; out of sight until a view asks for it."""
    hidden = {"label": control.label, "visible": False}
    labelled = {"info": control.help or None, **hidden}
    match control:
        case Range():
            return _slider(control, value)
        case Choice(several=True):
            return gr.CheckboxGroup(_choices(control), value=list(value), **labelled)
        case Choice():
            kind = gr.Radio if len(control.options) <= 4 else gr.Dropdown
            return kind(_choices(control), value=value, **labelled)
        case Toggle():
            return gr.Checkbox(value=value, **labelled)
        case Numbers() | Text():
            lines = getattr(control, "lines", 1)
            return gr.Textbox(component_value(control, value), lines=lines, max_lines=max(lines, 8), **labelled)
        case Drawing():
            return gr.Sketchpad(
                type="filepath",
                canvas_size=(control.width, control.height),
                brush=gr.Brush(default_size=max(3, control.width // 24), colors=["#000000"], color_mode="fixed"),
                layers=False,
                **hidden,
            )
        case Upload() if set(control.accept) <= _PICTURES:
            return gr.Image(type="filepath", sources=["upload", "webcam", "clipboard"], **hidden)
        case Upload():
            return gr.File(file_types=list(control.accept), type="filepath", **hidden)


def changed(control: Control, component: gr.components.Component) -> list[Callable]:
    """The events by which a person, not the program, has set the component."""
    match control:
        case Range():
            return [component.release]
        case Numbers() | Text():
            return [component.submit, component.blur]
        case Drawing():
            return [component.change]
        case Upload() if isinstance(component, gr.Image):
            return [component.input]
        case Upload():
            return [component.upload, component.clear]
        case _:
            return [component.input]


def component_value(control: Control, value: Any) -> Any:
    """A setting as its component shows it."""
    match control:
        case Numbers():
            return ", ".join(f"{number:.12g}" for number in value)
        case Choice(several=True):
            return list(value)
        case _:
            return value


def given(control: Control, raw: Any) -> Any:
    """What a component holds, as a setting's raw value; a sentence (ValueError) where a file is too large."""
    if isinstance(control, Drawing):
        return raw.get("composite") if isinstance(raw, dict) else None
    if isinstance(control, Upload) and raw is not None and Path(raw).stat().st_size > control.megabytes * 1e6:
        raise ValueError(f"{control.label}: the file is larger than {control.megabytes:g} MB; choose a smaller one.")
    return raw


def _choices(control: Choice) -> list[tuple[str, str]]:
    options = control.options
    return [(options[key] if isinstance(options, dict) else key, key) for key in options]
