"""What the browser is told of the exhibits, in one language: texts, views, controls, stories, sources."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from engines.checks import Check, Outcome
from studio import link
from studio.errata import declared_errata
from studio.exhibit import (
    THEMES,
    Choice,
    Control,
    Drawing,
    Exhibit,
    Gallery,
    Numbers,
    Range,
    Story,
    Text,
    Upload,
    View,
)
from studio.exhibits import EXHIBITS
from studio.figure import short
from studio.language import LANGUAGES, translate
from studio.markup import inline, plain, to_html
from studio.panels import png
from studio.present import shown_values
from studio.theme import ASSETS

# Every text of the page's own script, by its English: assets/studio/*.js look them up with t("...").
UI = json.loads((ASSETS / "studio" / "texts.json").read_text(encoding="utf-8"))


@cache
def declared(language: str) -> str:
    """All that the page shows before anything is computed, as JSON."""
    said = {
        "language": language,
        "languages": LANGUAGES,
        "ui": {text: translate(text, language) for text in UI},
        "themes": {theme: translate(title, language) for theme, title in THEMES.items()},
        "exhibits": [_exhibit(exhibit, language) for exhibit in EXHIBITS],
        "errata": declared_errata(language),
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def _exhibit(exhibit: Exhibit, language: str) -> dict[str, Any]:
    def say(text: str) -> str:
        return translate(text, language, exhibit.slug)

    thumbnail = ASSETS / "thumbnails" / f"{exhibit.slug}.svg"
    defaults = {
        exhibit.controls[control]: value
        for view in reversed(exhibit.views)
        for control, value in zip(view.settings.values(), _plain(view.defaults).values(), strict=True)
    }
    return {
        "slug": exhibit.slug,
        "title": say(exhibit.title),
        "summary": inline(say(exhibit.summary)),
        "question": say(exhibit.question or exhibit.summary),
        "theme": exhibit.theme,
        "thumbnail": thumbnail.read_text(encoding="utf-8") if thumbnail.exists() else "",
        "sources": [[say(name), address] for name, address in exhibit.sources],
        "controls": {name: _control(control, say) for control, name in exhibit.controls.items()},
        "defaults": defaults,
        "whole": [name for name, value in defaults.items() if isinstance(value, int) and not isinstance(value, bool)]
        + [
            name
            for c, name in exhibit.controls.items()
            if isinstance(c, Numbers) and all(isinstance(v, int) for v in defaults[name])
        ],
        "hasArt": any(isinstance(c, Gallery) or (isinstance(c, Choice) and c.icons) for c in exhibit.controls),
        "views": [_view(exhibit, view, say) for view in exhibit.views],
        "stories": [_story(exhibit, story, say) for story in exhibit.stories],
        "checks": len(exhibit.checks),
        # what it is called in every language, for the search
        "terms": sorted(
            {translate(text, other, exhibit.slug) for text in (exhibit.title, exhibit.question) for other in LANGUAGES}
        ),
    }


def _view(exhibit: Exhibit, view: View, say: Any) -> dict[str, Any]:
    def named(name: str) -> str:
        return exhibit.controls[view.settings[name]]

    caption = say(view.caption)
    return {
        "slug": view.slug,
        "query": link.write(exhibit, view, view.defaults),
        "title": say(view.title),
        "caption": to_html(caption),
        "alt": plain(caption).split("。")[0].split(". ")[0].rstrip(".。"),
        "terms": [view.title, translate(view.title, "zh", exhibit.slug)],
        "controls": [
            {
                "name": named(name),
                "parameter": name,
                "when": {
                    named(other): list(values) for other, values in control.when.items() if other in view.settings
                },
            }
            for name, control in view.settings.items()
        ],
        "defaults": shown_values(exhibit, view, view.defaults),
        "direct": view.is_direct,
        "appendix": view.appendix,
        "seconds": view.seconds,
        "pressed": not view.live or view.streams,
        "auto": view.live or view.seconds <= 10,
    }


def _story(exhibit: Exhibit, story: Story, say: Any) -> dict[str, Any]:
    view = exhibit.view(story.view)
    steps = []
    for i, step in enumerate(story.steps):
        settings = story.settings(view, i)
        steps.append(
            {
                "html": to_html(say(step.text)),
                "values": shown_values(exhibit, view, settings),
                "control": exhibit.controls[view.settings[step.control]] if step.control else "",
                "mark": step.mark,
                "said": say(step.mark),
            }
        )
    return {
        "title": say(story.title),
        "terms": [story.title, translate(story.title, "zh", exhibit.slug)],
        "view": story.view,
        "steps": steps,
    }


def _control(control: Control, say: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "kind": type(control).__name__,
        "label": say(control.label),
        "help": inline(say(control.help)),
    }
    match control:
        case Range():
            return said | {"low": control.low, "high": control.high, "step": control.step, "log": control.log}
        case Gallery():
            names = [say(name) for name in control.names()] if control.names else []
            return said | {"low": control.low, "high": control.high, "names": names}
        case Choice(options=options):
            labels = options if isinstance(options, dict) else {key: key for key in options}
            pairs = [[key, say(label)] for key, label in labels.items()]
            return said | {"options": pairs, "several": control.several, "art": control.icons is not None}
        case Numbers():
            return said | {"low": control.low, "high": control.high, "least": control.least, "most": control.most}
        case Text():
            return said | {"lines": control.lines, "most": control.most}
        case Drawing():
            return said | {"width": control.width, "height": control.height, "under": None}
        case Upload():
            return said | {"accept": list(control.accept), "megabytes": control.megabytes}
        case _:
            return said


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


@cache
def art(slug: str) -> str:
    """The pictures that an exhibit's controls are chosen by, as JSON: control -> option -> picture."""
    found: dict[str, Any] = {}
    for exhibit, control, name in ((e, c, n) for e in EXHIBITS if e.slug == slug for c, n in e.controls.items()):
        if isinstance(control, Gallery):
            images = control.images()
            found[name] = {str(i + int(control.low)): png(image) for i, image in enumerate(images)}
        elif isinstance(control, Choice) and control.icons:
            found[name] = {key: icon if isinstance(icon, str) else png(icon) for key, icon in control.icons().items()}
        elif isinstance(control, Drawing) and control.under:
            found[name] = {"under": exhibit.controls[control.under]}
    return json.dumps(found)


def checks_table(exhibit: Exhibit, outcomes: list[Outcome], language: str) -> str:
    """The checks as HTML; the first ones with what was measured just now."""
    heads = [
        translate("Claim", language),
        translate("Source", language),
        translate("Expected", language),
        translate("Measured", language),
        translate("Error (allowed)", language),
    ]
    rows = "".join(
        _row(check, outcomes[i] if i < len(outcomes) else None, exhibit.slug, language)
        for i, check in enumerate(exhibit.checks)
    )
    return (
        f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(check: Check, outcome: Outcome | None, subject: str, language: str) -> str:
    relative = translate("relative", language) + " " if check.relative else ""
    measured = error = "…"
    mark = ""
    if outcome is not None:
        measured, error = _value(outcome.measured, check.tolerance), short(outcome.error, 2)
        mark = "<b class='holds'>✓</b> " if outcome.holds else "<b class='fails'>✗</b> "
    claim, source = (html.escape(translate(text, language, subject)) for text in (check.claim, check.source))
    return (
        f"<tr><td>{mark}{claim}</td><td>{source}</td><td class='number'>{_value(check.expected, check.tolerance)}</td>"
        f"<td class='number'>{measured}</td><td class='number'>{error} <small>({relative}≤ {short(check.tolerance, 2)})</small></td></tr>"
    )


def _value(value: Any, tolerance: float) -> str:
    """Up to six numbers with the digits that the tolerance lets count."""
    numbers = np.asarray(value, dtype=float).ravel()
    said = ", ".join("0" if abs(number) < tolerance else short(number, 7) for number in numbers[:6])
    return said + (f", … ({numbers.size})" if numbers.size > 6 else "")
