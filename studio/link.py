"""A readable address for everything that is seen: settings to query and back.

`?tab=rope&view=similarity&head_dim=64&pin=1&pin.head_dim=128` names the exhibit, the view, the settings that differ
from the defaults, and those of the pinned result. What cannot be read is ignored, what is out of bounds is clamped: an
old or mistyped link still opens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from studio.exhibit import Choice, Control, Drawing, Exhibit, Numbers, Range, Text, Toggle, Upload, View

Settings = dict[str, Any]


def parse(control: Control, raw: Any, default: Any, clamp: bool = False) -> Any:
    """The value of a control from a text or a component's value.

    Raises ValueError with a sentence that names the control, unless `clamp`, which brings numbers into bounds.
    """
    match control:
        case Range():
            return _number(control, raw, integer=_is_integer(default), clamp=clamp)
        case Numbers():
            parts = re.split(r"[,;\s]+", raw.strip(" ,;()[]\n\t")) if isinstance(raw, str) else _items(raw)
            integer = all(map(_is_integer, default))
            values = [_number(control, part, integer, clamp) for part in parts[: control.most + 1] if part != ""]
            if clamp:
                values = values[: control.most]
            if not control.least <= len(values) <= control.most:
                raise ValueError(f"{control.label}: give {control.least} to {control.most} numbers, parted by commas.")
            return tuple(values)
        case Choice(several=True):
            parts = (raw.split(",") if raw else []) if isinstance(raw, str) else _items(raw)
            known = tuple(option for option in control.options if option in parts)
            if len(known) < len(set(parts)) and not clamp:
                raise ValueError(f"{control.label}: choose among {', '.join(control.options)}.")
            if parts and not known:
                raise ValueError(f"{control.label}: none of these is offered.")
            return known
        case Choice():
            if not isinstance(raw, str) or raw not in control.options:
                raise ValueError(f"{control.label}: choose one of {', '.join(control.options)}.")
            return raw
        case Toggle():
            if raw not in (True, False, "0", "1"):
                raise ValueError(f"{control.label}: answer 1 or 0.")
            return raw in (True, "1")
        case Text():
            # half a surrogate pair, which JSON can carry, is no text
            text = raw.encode(errors="replace").decode() if isinstance(raw, str) else ""
            if len(text) > control.most and not clamp:
                raise ValueError(f"{control.label}: at most {control.most:,} characters, this has {len(text):,}.")
            return text[: control.most]
        case Upload() | Drawing():
            return raw


def text(value: Any) -> str:
    """A setting as it stands in an address."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, (tuple, list)):
        return ",".join(map(text, value))
    return str(value)


def write(exhibit: Exhibit, view: View, settings: Mapping[str, Any], pinned: Mapping[str, Any] | None = None) -> str:
    """The query, from its question mark on, that reproduces a view."""
    query = [("tab", exhibit.slug), ("view", view.slug), *_changed(view, settings)]
    if pinned is not None:
        query += [("pin", "1"), *((f"pin.{name}", value) for name, value in _changed(view, pinned))]
    return "?" + urlencode(query, safe=",:")


def read(exhibit: Exhibit, query: str) -> tuple[View, Settings, Settings | None]:
    """The view, its settings and the pinned ones (or None) of an address' query; junk is ignored."""
    pairs = dict(parse_qsl(query.lstrip("?"), keep_blank_values=True)) if len(query) < 50_000 else {}
    view = next((view for view in exhibit.views if view.slug == pairs.get("view")), exhibit.views[0])
    pinned = _settings(view, pairs, "pin.") if pairs.get("pin") == "1" else None
    return view, _settings(view, pairs, ""), pinned


def _changed(view: View, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, text(settings[name]))
        for name, default in view.defaults.items()
        if not isinstance(view.controls[name], Upload | Drawing) and text(settings[name]) != text(default)
    ]


def _settings(view: View, pairs: Mapping[str, str], prefix: str) -> Settings:
    settings = view.defaults
    for name, control in view.controls.items():
        raw = pairs.get(prefix + name)
        if raw is not None and not isinstance(control, Upload | Drawing):
            try:
                settings[name] = parse(control, raw, settings[name], clamp=True)
            except ValueError:
                continue
    return settings


def _items(raw: Any) -> list:
    return [item for item in raw if isinstance(item, (str, int, float))] if isinstance(raw, (list, tuple)) else []


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(control: Range | Numbers, raw: Any, integer: bool, clamp: bool) -> float | int:
    try:
        value = float(raw)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{control.label}: {str(raw)[:40]!r} is not a number.") from None
    if math.isnan(value) or not (clamp or control.low <= value <= control.high):
        raise ValueError(f"{control.label}: give a number from {control.low:g} to {control.high:g}.")
    value = min(max(value, control.low), control.high)
    if not integer:
        return value
    step = (isinstance(control, Range) and control.step) or 1
    return round(control.low + step * round((value - control.low) / step))
