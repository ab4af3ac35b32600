"""From settings to what is seen: compute (or remember), draw in the visitor's language, and pack it for the browser."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from engines.progress import Progress
from studio import link
from studio.exhibit import Choice, Drawing, Exhibit, Upload, View
from studio.language import drawn, say, sentence, speaking
from studio.panels import draw_panels, overlaid, pack
from studio.results import key, known, run, scalars
from studio.snippet import in_python

_RUNS = itertools.count(1)


def panels(view: View, result: Any, settings: Mapping[str, Any], pinned: Any = None, behind: Any = None) -> list[Any]:
    """The panels of a result, with those of the pinned one behind or beside them.

    settings, behind: the settings of both (the looks among them count)
    """
    drawn = draw_panels(view.draw, result, {name: settings[name] for name in view.looks})
    if pinned is None:
        return drawn
    return overlaid(drawn, draw_panels(view.draw, pinned, {name: behind[name] for name in view.looks}))


def stage(
    exhibit: Exhibit,
    view: View,
    settings: Mapping[str, Any],
    pinned: Mapping[str, Any] | None = None,
    *,
    shown: list[Any] | None = None,
    packed: str | None = None,
    error: str = "",
    status: str = "",
    progress: Progress | None = None,
    seconds: float | None = None,
    followed: Mapping[str, Mapping[str, float | None]] | None = None,
    run: int = 0,
    waits: bool = False,
) -> str:
    """What the browser's stage draws, as JSON; without `shown` it keeps the figure that it has.

    packed: panels as JSON that were drawn beforehand, instead of `shown`
    run: which computation this is of, so that what comes late of a cancelled one is told apart
    waits: whether it wants a press of Run
    """
    said = {
        "exhibit": exhibit.slug,
        "view": view.slug,
        "address": link.write(exhibit, view, settings, pinned),
        "values": shown_values(exhibit, view, settings),
        "key": key(view, settings),
        "code": in_python(view, settings),
        "error": error,
        "status": status,
        "busy": progress is not None,
        "progress": progress.step / progress.total if progress and progress.total else None,
        "seconds": seconds,
        "scalars": followed or {},
        "run": run,
        "waits": waits,
        "prepared": packed is not None,
        "pinned": None if pinned is None else differences(exhibit, view, pinned),
    }
    if shown is not None:
        packed = "[" + ",".join(map(pack, shown)) + "]"
    return json.dumps(said)[:-1] + f', "panels": {packed or "null"}}}'


def shown_values(exhibit: Exhibit, view: View, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by the names that their controls have on the page; files stay where they are."""
    return {
        exhibit.controls[control]: list(settings[name]) if isinstance(settings[name], tuple) else settings[name]
        for name, control in view.settings.items()
        if not isinstance(control, Upload | Drawing)
    }


def differences(exhibit: Exhibit, view: View, settings: Mapping[str, Any]) -> list[list[str]]:
    """What differs from the defaults, as [label, value], for a reader."""
    return [
        [str(say(view.settings[name].label)), link.text(value)[:40]]
        for name, value in settings.items()
        if not isinstance(view.settings[name], Upload | Drawing) and link.text(value) != link.text(view.defaults[name])
    ]


def refusal(text: str, exhibit: Exhibit, view: View) -> str:
    """A stage of a view that only says what is wrong; address and figure stay as they are, if it is of that view."""
    return json.dumps(
        {"exhibit": exhibit.slug, "view": view.slug, "error": text, "status": "", "busy": False, "panels": None}
    )


def waiting(exhibit: Exhibit, view: View, ahead: int, language: str) -> str:
    """A stage of a view that waits for its turn; its figure stays."""
    with speaking(language, exhibit.slug):
        text = (
            say("Waiting for {ahead} runs before this one.", ahead=ahead)
            if ahead > 1
            else say("Waiting for one run before this one.")
        )
    said = {"exhibit": exhibit.slug, "view": view.slug, "error": "", "status": text, "busy": True, "progress": None}
    return json.dumps(said | {"panels": None})


def followed(view: View, result: Any) -> dict[str, dict[str, float | None]]:
    """What a sweep draws: for each label its numbers by name, as a visitor reads them; None where one is not finite."""
    options = {}
    for control in view.settings.values():
        options |= dict(control.options) if isinstance(control, Choice) and isinstance(control.options, Mapping) else {}
    made = {}
    for label, found in scalars(view, result).items():
        numbers = found if isinstance(found, dict) else {"": found}
        made[str(drawn(label))] = {
            str(drawn(options.get(name, name))): number if math.isfinite(number) else None
            for name, number in numbers.items()
        }
    return made


def labels(view: View) -> dict[str, str]:
    """Parameter -> the label that a visitor sees."""
    return {name: control.label for name, control in view.settings.items()}


def present(
    exhibit: Exhibit,
    view: View,
    settings: dict[str, Any],
    pinned: dict[str, Any] | None = None,
    *,
    compute: bool = True,
    language: str = "en",
) -> Iterator[str]:
    """Stages, one for each report of the engine that has something to show.

    compute: whether to compute what is not remembered; otherwise the stage asks for a press of Run
    """
    stages = _present(exhibit, view, settings, pinned, compute, language)
    while True:
        # a generator may go on in another thread: the language is set for each step anew
        with speaking(language, exhibit.slug):
            made = next(stages, None)
        if made is None:
            return
        yield made


def _present(
    exhibit: Exhibit, view: View, settings: dict[str, Any], pinned: dict[str, Any] | None, compute: bool, language: str
) -> Iterator[str]:
    number = next(_RUNS)

    def made(**more: Any) -> str:
        return stage(exhibit, view, settings, pinned, run=number, **more)

    is_known = all(known(view, wanted) for wanted in (settings, pinned) if wanted is not None)
    if not compute and not is_known:
        duration = say("{seconds} s", seconds=round(view.seconds)) if view.seconds >= 1 else say("a moment")
        yield made(status=say("Press Run to compute this (about {duration}).", duration=duration), waits=True)
        return
    try:
        if not is_known and not view.is_direct:
            yield made(status=say("Computing"), progress=Progress(0, 0, None))
        started = time.perf_counter()
        behind = None
        if pinned is not None:
            for progress in run(exhibit, view, pinned):
                behind = progress.result
                if progress.step < progress.total:
                    yield made(status=say("Computing the pinned result"), progress=progress)
        drawn_at = -math.inf
        for progress in run(exhibit, view, settings):
            seconds = time.perf_counter() - started
            last = progress.step >= progress.total and progress.result is not None
            if not last and time.perf_counter() - drawn_at < 0.2:
                continue  # a browser that draws five times a second is smooth enough, and the engine is not held up
            drawn_at = time.perf_counter()
            shown = None if progress.result is None else panels(view, progress.result, settings, behind, pinned)
            if last:
                yield made(shown=shown, seconds=seconds, followed=followed(view, progress.result))
            else:
                count = (
                    say("{step} of {total}", step=progress.step, total=progress.total)
                    if progress.total
                    else say("Fetching the model")
                )
                yield made(shown=shown, status=count, progress=progress)
    except ValueError as fault:
        yield made(error=sentence(fault, language, exhibit.slug, labels(view)))
    except Exception:
        logging.exception("%s/%s failed with %s", exhibit.slug, view.slug, settings)
        yield made(error=say("Internal error: please report the link of this page."))
