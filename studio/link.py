"""A readable address for everything that is seen: settings to query and back.

`?tab=rope&view=similarity&head_dim=64&pin=1&pin.head_dim=128` names the exhibit, the view, the settings that differ
from the defaults, and those of the pinned result. What cannot be read is ignored, what is out of bounds is clamped: an
old or mistyped link still opens. An address made before a view or a parameter changed is read by `Exhibit.former`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from engines.arguments import Refusal, quoted
from studio.exhibit import (
    Choice,
    Control,
    Drawing,
    Exhibit,
    Former,
    Gallery,
    Numbers,
    Range,
    Text,
    Toggle,
    Upload,
    View,
)

Settings = dict[str, Any]


def parse(control: Control, raw: Any, default: Any, clamp: bool = False) -> Any:
    """The value of a control from a text or a component's value.

    Refuses with a sentence that names the control, unless `clamp`, which brings numbers into bounds and onto steps.
    """
    label = control.label
    match control:
        case Range() | Gallery():
            return _number(control, raw, _is_integer(default), clamp)
        case Numbers():
            parts = (
                re.split(r"[,;，；、\s]+", raw.strip(" ,;()[]，；、\n\t"))
                if isinstance(raw, str)
                else _items(label, raw)
            )
            integer = all(map(_is_integer, default))
            values = [_number(control, part, integer, clamp) for part in parts[: control.most + 1] if part != ""]
            if clamp:
                values = values[: control.most] or list(default)
            if not control.least <= len(values) <= control.most:
                raise Refusal(
                    "{parameter}: give {least} to {most} numbers, separated by commas.",
                    parameter=label,
                    least=control.least,
                    most=control.most,
                )
            return tuple(values)
        case Choice(several=True):
            parts = (raw.split(",") if raw else []) if isinstance(raw, str) else _items(label, raw)
            known = tuple(option for option in control.options if option in parts)
            if len(known) < len(set(map(str, parts))) and not clamp:
                raise _not_offered(control)
            if not known:
                if clamp:
                    return tuple(default)
                raise Refusal("{parameter}: choose at least one.", parameter=label)
            return known
        case Choice():
            if not isinstance(raw, str) or raw not in control.options:
                raise _not_offered(control)
            return raw
        case Toggle():
            if raw not in (True, False, "0", "1"):
                raise Refusal("{parameter}: answer 1 or 0.", parameter=label)
            return raw in (True, "1")
        case Text():
            if not isinstance(raw, str) and not clamp and raw is not None:
                raise Refusal("{parameter}: give a text, not {given}.", parameter=label, given=quoted(raw))
            # half a surrogate pair, which JSON can carry, is no text
            text = raw.encode(errors="replace").decode() if isinstance(raw, str) else ""
            if len(text) > control.most and not clamp:
                raise Refusal(
                    "{parameter}: at most {most} characters, this has {length}.",
                    parameter=label,
                    most=control.most,
                    length=len(text),
                )
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
    query = [("tab", exhibit.slug), ("view", view.slug), *_changed(exhibit, view, settings)]
    if pinned is not None:
        query += [("pin", "1"), *((f"pin.{name}", value) for name, value in _changed(exhibit, view, pinned))]
    return "?" + urlencode(query, safe=",:")


def read(exhibit: Exhibit, query: str) -> tuple[View, Settings, Settings | None]:
    """The view, its settings and the pinned ones (or None) of an address' query; junk is ignored."""
    pairs = dict(parse_qsl(query.lstrip("?"), keep_blank_values=True)) if len(query) < 50_000 else {}
    slug = pairs.get("view", "").lower()
    former = exhibit.former.get(slug)
    views = {view.slug: view for view in exhibit.views}
    view = views[former.view] if former else views.get(slug, exhibit.views[0])
    pinned = _settings(view, pairs, "pin.", former) if pairs.get("pin") == "1" else None
    return view, _settings(view, pairs, "", former), pinned


def _changed(exhibit: Exhibit, view: View, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    # what a former address of this very view meant by silence must be said today
    said = exhibit.former[view.slug].values if view.slug in exhibit.former else {}
    return [
        (name, text(settings[name]))
        for name, default in view.defaults.items()
        if not isinstance(view.settings[name], Upload | Drawing)
        and (name in said or text(settings[name]) != text(default))
    ]


def _settings(view: View, pairs: Mapping[str, str], prefix: str, former: Former | None) -> Settings:
    settings = view.defaults | (dict(former.values) if former else {})
    present = former.names if former else {}
    given = {present.get(name, name): value for name, value in _own(pairs, prefix).items()}
    for name, control in view.settings.items():
        raw = given.get(name)
        if raw is not None and not isinstance(control, Upload | Drawing):
            try:
                settings[name] = parse(control, raw, settings[name], clamp=True)
            except ValueError:
                continue
    return settings


def _own(pairs: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name[len(prefix) :]: value for name, value in pairs.items() if name.startswith(prefix)}


def _items(label: str, raw: Any) -> list:
    if not isinstance(raw, list | tuple) or any(
        isinstance(i, bool) or not isinstance(i, str | int | float) for i in raw
    ):
        raise Refusal("{parameter}: give a list of plain entries, none of them empty.", parameter=label)
    return list(raw)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_offered(control: Choice) -> Refusal:
    names = list(control.options)
    if len(names) > 20:
        names = [*names[:10], "…", *names[-3:]]
    return Refusal("{parameter}: choose among {options}.", parameter=control.label, options=", ".join(names))


def _number(control: Range | Gallery | Numbers, raw: Any, integer: bool, clamp: bool) -> float | int:
    try:
        value = float(raw.replace("−", "-") if isinstance(raw, str) else raw)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(raw, bool) or math.isnan(value):
        raise Refusal("{parameter}: {given} is not a number.", parameter=control.label, given=quoted(raw))
    if not (clamp or control.low <= value <= control.high):
        raise Refusal(
            "{parameter}: give a number from {low} to {high}.",
            parameter=control.label,
            low=control.low,
            high=control.high,
        )
    value = min(max(value, control.low), control.high)
    if not integer:
        return value
    step = (isinstance(control, Range) and control.step) or 1
    nearest = round(control.low + step * round((value - control.low) / step))
    if nearest != value and not clamp:
        raise Refusal(
            "{parameter}: give one of {low}, {next}, … {high}.",
            parameter=control.label,
            low=control.low,
            next=control.low + step,
            high=control.high,
        )
    return nearest
