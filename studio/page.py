"""The page: the only place where exhibits meet gradio. Every tab is wired alike, from its declaration."""

from __future__ import annotations

import html
import inspect
import json
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import gradio as gr
import plotly
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from studio import link
from studio.checks import table
from studio.controls import build, given, held, shown_value
from studio.exhibit import Choice, Control, Drawing, Exhibit, Numbers, Range, Toggle, Upload, View
from studio.exhibits import EXHIBITS
from studio.present import as_json, is_direct, npz, present, refusal, run
from studio.theme import ASSETS, LATEX, theme

STAGE = """
<div class="stage">
  <div class="stage-status" role="status" hidden><progress></progress><span></span></div>
  <p class="stage-error" role="alert" hidden></p>
  <div class="stage-panels"></div>
  <div class="stage-tools" hidden>
    <span class="stage-seconds"></span>
    <button data-do="link" title="Copy the address that reproduces this">Copy link</button>
    <button data-do="npz" title="The arrays, for numpy">.npz</button>
    <button data-do="html" title="The figure as a page that works offline">.html</button>
    <button data-do="svg" title="The figure as a drawing">.svg</button>
    <button data-do="png" title="The figure as a picture">.png</button>
  </div>
  <details class="stage-code" hidden><summary>In Python</summary><pre><code></code></pre></details>
</div>"""

# Answers go past gradio's queue: more at once than there are cores would only slow each other down.
_ANSWERING = threading.Semaphore(os.cpu_count() or 1)

# Handlers of the page itself are no business of the API, and the stage shows its own progress.
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


def page() -> gr.Blocks:
    """The whole studio, wired and ready to launch."""
    with gr.Blocks(
        title="Scientific Spaces Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as blocks:
        with gr.Tabs(elem_id="studio-tabs") as tabs:
            with gr.Tab("Studio", id="home") as home:
                cards = gr.HTML(
                    "",
                    html_template=_cards(),
                    js_on_load="studio.picks(element, 'tab', () => trigger('open'))",
                    apply_default_css=False,
                )
            for exhibit in EXHIBITS:
                with gr.Tab(exhibit.title, id=exhibit.slug) as tab:
                    _tab(exhibit, tab)
        home.select(None, js="() => studio.home()", **PRIVATE)
        # In the browser alone: an answer of the server could come after the visitor has gone elsewhere.
        for event in (cards.open, blocks.load):
            event(None, None, tabs, js="() => studio.chosen()", **PRIVATE)
        for exhibit in EXHIBITS:
            for view in exhibit.views:
                _endpoint(exhibit, view)
    return blocks


def _cards() -> str:
    cards = "".join(
        f'<a class="card" href="?tab={exhibit.slug}" data-tab="{exhibit.slug}">{_thumbnail(exhibit)}'
        f"<h3>{html.escape(exhibit.title)}</h3><p>{html.escape(exhibit.summary)}</p></a>"
        for exhibit in EXHIBITS
    )
    return (
        '<header class="masthead"><h1>Scientific Spaces Studio</h1>'
        "<p>The mathematics of Su Jianlin's blog 科学空间, to be explored by hand: every approximation beside its exact "
        "truth, published numbers recomputed while you watch, and a link, the Python and the data for all that you see."
        f'</p></header><nav class="cards">{cards}</nav>'
    )


def _thumbnail(exhibit: Exhibit) -> str:
    drawing = ASSETS / "thumbnails" / f"{exhibit.slug}.svg"
    return drawing.read_text() if drawing.exists() else ""


def _head(exhibit: Exhibit) -> str:
    stories = "".join(
        f'<button class="story" data-story="{html.escape(story.title)}">{html.escape(story.title)}</button>'
        for story in exhibit.stories
    )
    return (
        f"<h2>{html.escape(exhibit.title)}</h2><p>{html.escape(exhibit.summary)}</p>"
        f'<nav class="stories" aria-label="Stories">{stories}</nav>'
    )


def _settings(view: View, values: Any) -> dict[str, Any]:
    """The settings of a view that the controls hold; ValueError with a sentence where one is none."""
    return {
        name: link.parse(control, given(control, values, name), view.defaults[name])
        for name, control in view.controls.items()
    }


def _drawn(exhibit: Exhibit, view: View, values: Any, pin: dict | None, compute: bool) -> Iterator[str]:
    try:
        settings = _settings(view, values)
    except ValueError as fault:
        yield refusal(str(fault), exhibit, view, _behind(pin, view))
    else:
        yield from _seen(exhibit, view, settings, pin, compute)


def _seen(exhibit: Exhibit, view: View, settings: dict, pin: dict | None, compute: bool) -> Iterator[str]:
    return present(exhibit, view, settings, _behind(pin, view), compute=compute)


def _behind(pin: dict | None, view: View) -> dict | None:
    """The settings that are pinned behind this view, if any."""
    return pin["settings"] if pin and pin["view"] == view.slug else None


def _answer(exhibit: Exhibit, asked: Any) -> str:
    """The stage after a control was set, past gradio's events: `asked` is [view, what the controls hold]."""
    slug, values = asked if isinstance(asked, list) and len(asked) == 2 else (None, None)
    view = next((view for view in exhibit.views if view.slug == slug and is_direct(view)), None)
    if view is None:  # nothing that the page itself asks
        return json.dumps({"error": "This view waits for Run.", "panels": None})
    with _ANSWERING:
        *_, said = _drawn(exhibit, view, values, None, True)
    return said


def _tab(exhibit: Exhibit, tab: gr.Tab) -> None:
    """Build one exhibit's tab and wire it."""
    controls: dict[str, Control] = {}
    defaults: dict[str, Any] = {}
    for view in exhibit.views:
        for name, control in view.controls.items():
            controls.setdefault(name, control)
            defaults.setdefault(name, view.defaults[name])
    first = exhibit.views[0]

    def answer(asked: Any) -> str:
        return _answer(exhibit, asked)

    with gr.Column(elem_classes="exhibit"):
        head = gr.HTML(
            "",
            html_template=_head(exhibit),
            js_on_load="studio.picks(element, 'story', () => trigger('tell'))",
            apply_default_css=False,
            elem_classes="exhibit-head",
        )
        told = gr.Markdown("", latex_delimiters=LATEX, elem_classes="told", visible=False)
        chosen = gr.Radio(
            [(view.title, view.slug) for view in exhibit.views],
            value=first.slug,
            show_label=False,
            container=False,
            elem_classes="views",
        )
        caption = gr.Markdown(first.caption, latex_delimiters=LATEX, elem_classes="caption")
        with gr.Row(elem_classes="bench"):
            with gr.Column(scale=1, min_width=260, elem_classes="controls"):
                panel = build(controls, defaults, first.controls, answer)
                with gr.Row(elem_classes="actions"):
                    go = gr.Button("Run", variant="primary", size="sm", visible=_pressed(first))
                    stop = gr.Button("Cancel", size="sm", visible=_pressed(first))
                    pin_button = gr.Button("Pin", size="sm")
            with gr.Column(scale=3, min_width=320):
                figure = gr.HTML(
                    "",
                    html_template=STAGE,
                    js_on_load="studio.stage(element, props, watch, server, () => trigger('prose'))",
                    server_functions=[npz],
                    apply_default_css=False,
                    elem_classes="stage-holder",
                )
                notes = gr.Markdown("", latex_delimiters=LATEX, elem_classes="notes")
        _checks(exhibit)
        gr.HTML(_sources(exhibit), elem_classes="sources")
    pinned = gr.State(None)
    said = gr.Textbox(visible=False)  # by the browser: the address it came with, the story that was picked

    drawn, seen = partial(_drawn, exhibit), partial(_seen, exhibit)

    def view_of(slug: str) -> View:
        return next(view for view in exhibit.views if view.slug == slug)

    def dressed(view: View, settings: dict | None, pin: dict | None, story: str = "") -> list:
        """Everything round the figure, as it must look for this view; with settings, the controls are set to them."""
        return [
            view.slug,
            gr.Markdown(story, visible=bool(story)),
            view.caption,
            pin,
            gr.Button("Pin" if _behind(pin, view) is None else "Unpin"),
            gr.Button(visible=_pressed(view)),
            gr.Button(visible=_pressed(view)),
            held(
                view.controls,
                {
                    name: shown_value(controls[name], setting)
                    for name, setting in (settings or {}).items()
                    if not isinstance(controls[name], Upload | Drawing)
                },
            ),
        ]

    def framed(updates: list, drawings: Iterator[str]) -> Iterator[tuple]:
        yield (*updates, gr.skip())  # at once, so that nobody sets a control of the view that is left
        for drawing in drawings:
            yield (*[gr.skip()] * len(updates), drawing)

    def arrive(query: str, slug: str, pin: dict | None, values: Any) -> Iterator[tuple]:
        """The tab was opened, by hand or by a link."""
        if query:
            view, settings, behind = link.read(exhibit, query)
            pin = None if behind is None else {"view": view.slug, "settings": behind}
            yield from framed(dressed(view, settings, pin), seen(view, settings, pin, _at_once(view)))
        else:
            yield from switch(slug, pin, values)

    def switch(slug: str, pin: dict | None, values: Any) -> Iterator[tuple]:
        """Another view was chosen; the controls keep what they hold."""
        view = view_of(slug)
        yield from framed(dressed(view, None, pin), drawn(view, values, pin, _at_once(view)))

    def tell(title: str, _: str, pin: dict | None, values: Any) -> Iterator[tuple]:
        story = next(story for story in exhibit.stories if story.title == title)
        view = view_of(story.view)
        settings = view.defaults | dict(story.settings)
        updates = dressed(view, settings, pin, story.text)
        yield from framed(updates, seen(view, settings, pin, _at_once(view)))

    def redraw(slug: str, pin: dict | None, values: Any) -> str:
        """A control was set where `answer` does not serve: with a pin, or where the figure waits for Run."""
        *_, answer = drawn(view_of(slug), values, pin, view_of(slug).live)
        return answer

    def press(slug: str, pin: dict | None, values: Any) -> Iterator[str]:
        yield from drawn(view_of(slug), values, pin, True)

    def toggle_pin(slug: str, pin: dict | None, values: Any) -> Iterator[tuple]:
        view = view_of(slug)
        try:
            pin = {"view": slug, "settings": _settings(view, values)} if _behind(pin, view) is None else None
        except ValueError as fault:
            yield pin, gr.skip(), refusal(str(fault), exhibit, view, _behind(pin, view))
        else:
            yield from framed([pin, gr.Button("Unpin" if pin else "Pin")], drawn(view, values, pin, view.live))

    state = [chosen, pinned, panel]
    everything = [chosen, told, caption, pinned, pin_button, go, stop, panel, figure]
    alone = Turns()
    runs = [go.click(alone(press), state, figure, concurrency_id="gpu", concurrency_limit=2, **PRIVATE)]
    panel.input(alone.at_once(redraw), state, figure, trigger_mode="always_last", queue=False, **PRIVATE)
    link_first = f"(_, ...rest) => [studio.link('{exhibit.slug}'), ...rest]"
    runs.append(tab.select(alone(arrive), [said, *state], everything, js=link_first, **PRIVATE))
    runs.append(chosen.input(alone(switch), state, everything, **PRIVATE))
    story_first = "(_, ...rest) => [studio.picked.story, ...rest]"
    runs.append(head.tell(alone(tell), [said, *state], everything, js=story_first, **PRIVATE))
    runs.append(pin_button.click(alone(toggle_pin), state, [pinned, pin_button, figure], **PRIVATE))
    figure.prose(None, None, notes, js="() => studio.told", **PRIVATE)
    stop.click(None, None, None, cancels=runs, js="() => studio.stopped()", **PRIVATE)


class Turns:
    """One drawing by gradio's events at a time for each visitor of a tab: a later one ends an earlier one that still streams."""

    def __init__(self, visitors: int = 10_000):
        self._visitors, self._latest = visitors, OrderedDict()

    def __call__(self, handler: Callable[..., Iterator]) -> Callable[..., Iterator]:
        """A handler that streams until a later event of the same visitor."""

        def handle(request: gr.Request, *values: Any) -> Iterator:
            turn = self._take(request.session_hash)
            for seen in handler(*values):
                if self._latest.get(request.session_hash) is not turn:
                    # gradio sends what came last once more at the end: let that be nothing
                    yield tuple(gr.skip() for _ in seen) if isinstance(seen, tuple) else gr.skip()
                    return
                yield seen

        return handle

    def at_once(self, handler: Callable) -> Callable:
        """A handler that answers once, if nothing came later, and ends what still streams."""

        def handle(request: gr.Request, *values: Any) -> Any:
            turn = self._take(request.session_hash)
            seen = handler(*values)
            return seen if self._latest.get(request.session_hash) is turn else gr.skip()

        return handle

    def _take(self, visitor: str | None) -> object:
        turn = self._latest[visitor] = object()
        self._latest.move_to_end(visitor)
        while len(self._latest) > self._visitors:
            self._latest.popitem(last=False)
        return turn


def _at_once(view: View) -> bool:
    """Whether a view that is opened is computed unasked: a link shows what it names, unless that takes long."""
    return view.live or view.seconds <= 10


def _pressed(view: View) -> bool:
    return not view.live or view.streams


def _checks(exhibit: Exhibit) -> None:
    if not exhibit.checks:
        return
    with gr.Accordion(f"Checked against {len(exhibit.checks)} known results", open=False, elem_classes="checks"):
        shown = gr.HTML(table(exhibit.checks, []), elem_classes="check-table")
        again = gr.Button("Recompute them now", size="sm")

    def recompute() -> Iterator[str]:
        outcomes = []
        for check in exhibit.checks:
            outcomes.append(check.outcome())
            yield table(exhibit.checks, outcomes)

    again.click(recompute, None, shown, concurrency_id="gpu", **PRIVATE)


def _sources(exhibit: Exhibit) -> str:
    def source(name: str, address: str) -> str:
        name = html.escape(name)
        return f'<a href="{html.escape(address)}" target="_blank" rel="noopener">{name}</a>' if address else name

    return "<p>After " + " · ".join(source(*entry) for entry in exhibit.sources) + "</p>"


_TYPES = {Range: float, Toggle: bool, Choice: str, Numbers: list[float]}


def _endpoint(exhibit: Exhibit, view: View) -> None:
    """The view as an API endpoint: the engine's parameter names, the controls' bounds, the arrays as lists.

    A file is no parameter here: a path sent by a stranger would be a path of this server.
    """
    offered = {name: c for name, c in view.controls.items() if not isinstance(c, Upload | Drawing)}

    def endpoint(*values: Any) -> dict:
        try:
            wanted = {
                name: link.parse(control, value, view.defaults[name])
                for (name, control), value in zip(offered.items(), values, strict=True)
            }
            for progress in run(exhibit, view, view.defaults | wanted):
                result = progress.result
        except ValueError as fault:
            raise gr.Error(str(fault), print_exception=False) from None
        return as_json(result)

    def hint(name: str) -> Any:
        control = offered[name]
        if isinstance(control, Choice) and control.several:
            return list[str]
        default = view.defaults[name]
        return int if isinstance(default, int) and not isinstance(default, bool) else _TYPES.get(type(control), str)

    # gradio reads the names, types and defaults of an endpoint from its signature and annotations.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given_as = {name: list(d) if isinstance(d := view.defaults[name], tuple) else d for name in offered}
    endpoint.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind, default=given_as[name], annotation=hint(name)) for name in offered],
        return_annotation=dict,
    )
    endpoint.__annotations__ = {name: hint(name) for name in offered} | {"return": dict}
    endpoint.__name__ = f"{exhibit.slug}_{view.slug}".replace("-", "_")
    lines = [f"{name}: {control.label}. {control.help}".rstrip() for name, control in offered.items()]
    endpoint.__doc__ = "\n".join(
        [f"{exhibit.title}: {view.title}. {view.caption}", "", "Args:", *[f"    {line}" for line in lines]]
    )
    gr.api(endpoint, api_name=endpoint.__name__, concurrency_id="gpu", concurrency_limit=2)


class _Plotly:
    """plotly's own bundle, compressed once; gradio would compress it anew, and more loosely, for every visitor."""

    address = f"studio/plotly-{plotly.__version__}.js"

    def __init__(self) -> None:
        self._body: Future[bytes] = Future()
        threading.Thread(target=self._compress, daemon=True).start()

    def _compress(self) -> None:
        bundle = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        self._body.set_result(brotli.compress(bundle.read_bytes(), quality=5))

    def serve(self, request: Request) -> Response:
        """The bundle, to be kept by the browser for good: its address names its version."""
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        if "br" in request.headers.get("accept-encoding", ""):
            return Response(
                self._body.result(), media_type="text/javascript", headers={"Content-Encoding": "br", **kept}
            )
        return Response(brotli.decompress(self._body.result()), media_type="text/javascript", headers=kept)


def launch(host: str | None, port: int | None, share: bool | None, mcp: bool | None) -> None:
    """Serve the studio until it is stopped; None leaves a setting to gradio's environment variables."""
    script = (ASSETS / "studio.js").read_text().replace("__PLOTLY__", _Plotly.address)
    views = (view for exhibit in EXHIBITS for view in exhibit.views)
    uploads = [control for view in views for control in view.controls.values() if isinstance(control, Upload)]
    page().queue(max_size=64, default_concurrency_limit=8).launch(
        server_name=host,
        server_port=port,
        share=share,
        mcp_server=mcp,
        inbrowser=sys.stdout.isatty(),
        theme=theme(),
        css_paths=[ASSETS / "studio.css"],
        head=f"<script>{script}</script>",
        footer_links=["api", "settings"],
        # gradio compresses files by their ending and leaves the page itself, a megabyte of configuration, as it is.
        app_kwargs={
            "routes": [Route(f"/{_Plotly.address}", _Plotly().serve)],
            "middleware": [Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5)],
        },
        max_file_size=int(1e6 * max(upload.megabytes for upload in uploads)),
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
    )
