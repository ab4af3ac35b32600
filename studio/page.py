"""The page: one component whose browser half (assets/studio/) builds everything from what the exhibits declare.

What draws at once is asked past gradio's queue (`server_functions`); what streams is gradio's event `submit`, whose
answers come through a second component, the wire.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import brotli
import gradio as gr
from gradio.context import LocalContext
from starlette.responses import Response

from engines.arguments import Refusal
from studio import api, firsts, link, tools
from studio.declared import art, checks_table
from studio.exhibit import Drawing, Exhibit, Upload, View
from studio.exhibits import EXHIBITS
from studio.language import LANGUAGES, sentence, translate
from studio.notebook import notebook
from studio.present import labels, present, refusal, shown_values, waiting
from studio.results import npz
from studio.turns import SHORT, TURNS, inside, stand_back
from studio.uploads import KEPT, Guarded, sent_file

# Handlers of the page itself are no business of the API, and the stage shows its own progress.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
BY_SLUG = {exhibit.slug: exhibit for exhibit in EXHIBITS}
CHECKS = ThreadPoolExecutor(1, "checks", stand_back)  # those of an exhibit take up to a minute
_measured: dict[str, asyncio.Future] = {}  # exhibit -> its checks, while they are measured


def page() -> gr.Blocks:
    """The whole studio, wired and ready to launch."""
    with Guarded(
        title="Scientific Spaces Studio",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(min(KEPT, 3600), KEPT),
    ) as blocks:
        desk = gr.HTML(
            {},
            html_template='<div class="studio"></div>',
            js_on_load="studioReady.then((studio) => studio.mount(element, props, trigger, upload, server))",
            server_functions=[*map(_short, (arrive, draw, fetch_npz, fetch_notebook, fetch_art)), run_checks],
            apply_default_css=False,
            elem_classes="desk",
        )
        wire = gr.HTML(
            "",
            html_template="<span></span>",
            js_on_load="studioReady.then((studio) => studio.wire(props, watch))",
            apply_default_css=False,
            elem_classes="wire",
        )
        running = desk.submit(_in_turn, desk, wire, concurrency_limit=None, **PRIVATE)
        desk.stop(None, None, None, cancels=[running], **PRIVATE)
        for exhibit in EXHIBITS:
            api.add(exhibit)
        tools.add()
    return blocks


def _short(answer: Callable) -> Callable:
    """The handler of a server function, which answers past gradio's queue."""

    @functools.wraps(answer)
    async def handler(asked: Any) -> Response | str:
        try:
            return await inside(SHORT, lambda: _packed(answer(asked)))
        except Refusal as fault:  # too many wait
            language = next((one for one in asked if _language(one) == one), "en") if isinstance(asked, list) else "en"
            said = sentence(fault, language, "", {})
            return json.dumps({"error": said, "notice": said, "exhibit": None, "panels": None, "data": None})
        except Exception as fault:  # not the caller's, as the server would take a KeyError to be
            raise RuntimeError(f"{answer.__name__} failed") from fault

    return handler


def _packed(said: str) -> Response | str:
    """What is said, compressed if the browser that asked reads brotli: of arrays in base64 gzip makes no less, in many times the time."""
    request = LocalContext.request.get()
    if request is None or "br" not in request.headers.get("accept-encoding", ""):
        return said
    body = brotli.compress(json.dumps(said).encode(), quality=3)
    return Response(body, media_type="application/json", headers={"Content-Encoding": "br", "Vary": "Accept-Encoding"})


def arrive(asked: Any) -> str:
    """What an address shows: [query, language] -> the exhibit, the view, its settings and the stage, as JSON."""
    query, language = asked if isinstance(asked, list) and len(asked) == 2 else ("", "en")
    query, language = str(query)[:60_000], _language(language)
    pairs = dict(link.parse_qsl(query.lstrip("?"), keep_blank_values=True))
    named = pairs.get("tab", "").lower()
    exhibit = BY_SLUG.get(named)
    if exhibit is None:
        notice = translate("There is no exhibit called {name}: choose one below.", language).format(name=named[:40])
        return json.dumps({"exhibit": None, "notice": notice if named else ""})
    view, settings, pinned = link.read(exhibit, query)
    story = _story(exhibit, pairs.get("story", ""))
    if story and "view" not in pairs:
        number, step = story
        view = exhibit.view(exhibit.stories[number].view)
        settings = exhibit.stories[number].settings(view, step)
    notice = ""
    if pairs.get("view") and pairs["view"].lower() not in {v.slug for v in exhibit.views} | exhibit.former.keys():
        notice = translate("There is no view called {name} here: this is the first one.", language).format(
            name=pairs["view"][:40]
        )
    return json.dumps(
        {
            "exhibit": exhibit.slug,
            "view": view.slug,
            "values": shown_values(exhibit, view, settings),
            "pinned": None if pinned is None else shown_values(exhibit, view, pinned),
            "story": story,
            "notice": notice,
            "stage": _stage(exhibit, view, settings, pinned, language),
        }
    )


def draw(asked: Any) -> str:
    """The stage of a view at these settings: [exhibit, view, values, pinned values or None, language].

    With a sixth entry, true, the first figure that was prepared may stand for what would be computed.
    """
    opens = isinstance(asked, list) and len(asked) == 6 and asked[5] is True
    try:
        exhibit, view, values, pinned, language = _read(asked[:5] if opens else asked)
    except LookupError:  # nothing that the page itself asks
        return json.dumps({"error": "This view is not known here: reload the page.", "panels": None})
    try:
        settings = _settings(exhibit, view, values)
        behind = None if pinned is None else _settings(exhibit, view, pinned)
    except ValueError as fault:
        return refusal(sentence(fault, language, exhibit.slug, labels(view)), exhibit, view)
    return _stage(exhibit, view, settings, behind, language, opens)


def fetch_npz(key: Any) -> str:
    """The arrays of a result that is still remembered, as JSON: {"data": base64} or {"data": null}."""
    return json.dumps({"data": npz(str(key)[:64])})


def fetch_notebook(asked: Any) -> str:
    """A view as a notebook: [exhibit, view, values, pinned values or None, language, address] -> its JSON, or {"error"}."""
    *asked, address = asked if isinstance(asked, list) and asked else [None]
    try:
        exhibit, view, values, _, language = _read(asked)
        settings = _settings(exhibit, view, values)
    except LookupError:
        return json.dumps({"error": "This view is not known here: reload the page."})
    except ValueError as fault:
        return json.dumps({"error": sentence(fault, language, exhibit.slug, labels(view))})
    return json.dumps(notebook(exhibit, view, settings, language, str(address)[:60_000]), ensure_ascii=False)


def fetch_art(slug: Any) -> str:
    """The pictures that an exhibit's controls are chosen by, as JSON."""
    return art(str(slug)[:64])


async def run_checks(asked: Any) -> str:
    """The table of an exhibit's checks, measured now, once for all who wait for it: [exhibit, language] -> HTML."""
    slug, language = asked if isinstance(asked, list) and len(asked) == 2 else (None, None)
    exhibit = BY_SLUG.get(str(slug))
    if exhibit is None:
        return ""
    measuring = _measured.get(exhibit.slug)
    if measuring is None:
        measuring = asyncio.ensure_future(inside(CHECKS, lambda: [check.outcome() for check in exhibit.checks]))
        _measured[exhibit.slug] = measuring
        measuring.add_done_callback(lambda _: _measured.pop(exhibit.slug))
    return checks_table(exhibit, await asyncio.shield(measuring), _language(language))


def _stage(exhibit: Exhibit, view: View, settings: dict, pinned: dict | None, language: str, opens: bool = True) -> str:
    ready = firsts.prepared(exhibit, view, settings, language) if opens and pinned is None else None
    if ready:
        return ready
    *_, stage = present(exhibit, view, settings, pinned, compute=view.is_direct, language=language)
    return stage


async def _in_turn(asked: Any, request: gr.Request) -> AsyncIterator:
    """`_run` when it is this visitor's turn; a visitor's later run ends an earlier one."""
    stages, visitor = _run(asked), request.session_hash or ""
    try:
        exhibit, view, _, _, language = _read(asked["ask"])
    except (LookupError, TypeError):
        yield next(stages)  # a sentence
        return
    try:
        async with aclosing(
            TURNS.stream(  # pyright: ignore[reportArgumentType]
                visitor,
                stages,
                lambda ahead: waiting(exhibit, view, ahead, language),
                only=True,
                address=api.address_of(request),
            )
        ) as running:
            async for stage in running:
                yield stage
    except Refusal as fault:
        yield refusal(sentence(fault, language, exhibit.slug, {}), exhibit, view)
    yield gr.skip()  # gradio sends what came last once more at the end: let that be nothing


def _run(asked: Any) -> Iterator[str]:
    """Stages of a run, as the engine goes on; asked as in `draw`."""
    try:
        exhibit, view, values, pinned, language = _read(asked.get("ask") if isinstance(asked, dict) else None)
    except LookupError:
        yield json.dumps({"error": "This view is not known here: reload the page.", "panels": None})
        return
    try:
        settings = _settings(exhibit, view, values)
        behind = None if pinned is None else _settings(exhibit, view, pinned)
    except ValueError as fault:
        yield refusal(sentence(fault, language, exhibit.slug, labels(view)), exhibit, view)
        return
    yield from present(exhibit, view, settings, behind, language=language)


def _read(asked: Any) -> tuple[Exhibit, View, dict, dict | None, str]:
    """What the browser asked; LookupError where it is nothing that a page of ours asks."""
    if not isinstance(asked, list) or len(asked) != 5:
        raise LookupError
    slug, view, values, pinned, language = asked
    exhibit = BY_SLUG[str(slug)]
    if not isinstance(values, dict) or not isinstance(pinned, dict | None):
        raise LookupError
    return exhibit, exhibit.view(str(view)), values, pinned, _language(language)


def _settings(exhibit: Exhibit, view: View, values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a view that the page holds by the names of its controls; a Refusal where one is none."""
    found = {}
    for name, control in view.settings.items():
        raw = values.get(exhibit.controls[control], view.defaults[name])
        if isinstance(control, Drawing | Upload) and raw is not None:
            raw = sent_file(control, raw)
        found[name] = link.parse(control, raw, view.defaults[name])
    return found


def _language(language: Any) -> str:
    return language if isinstance(language, str) and language in LANGUAGES else "en"


def _story(exhibit: Exhibit, said: str) -> list[int] | None:
    """ "2.3" -> [1, 2], the third step of the second story; None where there is none."""
    number, _, step = said.partition(".")
    if not (number.isdigit() and len(number) < 4 and (step == "" or (step.isdigit() and len(step) < 4))):
        return None
    at, place = int(number) - 1, int(step or 1) - 1
    return [at, place] if 0 <= at < len(exhibit.stories) and 0 <= place < len(exhibit.stories[at].steps) else None
