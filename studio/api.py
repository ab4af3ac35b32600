"""Every view as an endpoint: parameters in, the arrays of its result out as lists."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_type_hints

import gradio as gr
from gradio import FileData
from gradio.context import LocalContext

from studio import link
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
from studio.language import sentence
from studio.markup import plain
from studio.present import labels
from studio.results import as_json, known, run
from studio.turns import SHORT, TURNS, inside
from studio.uploads import sent_file


def add(exhibit: Exhibit) -> None:
    """The endpoints of an exhibit: one a view, and one for each view that former callers know."""
    for view in exhibit.views:
        _endpoint(exhibit, view, view.slug, exhibit.former.get(view.slug))
    for slug, former in exhibit.former.items():
        if slug not in {view.slug for view in exhibit.views}:
            _endpoint(exhibit, exhibit.view(former.view), slug, former)


def _endpoint(exhibit: Exhibit, view: View, slug: str, former: Former | None) -> None:
    """`slug` is the name that callers use; former names of parameters are taken beside the present ones.

    Files come last: one that gradio's upload has brought here (`handle_file` of its client).
    """
    offered = dict(sorted(view.controls.items(), key=lambda one: isinstance(one[1], Upload | Drawing)))
    defaults = {name: view.defaults[name] for name in offered}
    if former and slug != view.slug:
        defaults |= {name: value for name, value in former.values.items() if name in offered}
    renamed = {
        then: now for then, now in (former.names.items() if former else ()) if now in offered and then not in offered
    }

    async def endpoint(*values: Any) -> dict:
        present, past = values[: len(offered)], values[len(offered) :]
        given = dict(zip(offered, present, strict=True))
        given |= {now: value for now, value in zip(renamed.values(), past, strict=True) if value is not None}
        with in_words(exhibit, view):
            _, result = await compute(exhibit, view, given)
            return await inside(SHORT, as_json, result)

    # gradio reads the names, types and defaults of an endpoint from its signature and annotations.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    hints = {name: _hint(control, view.defaults[name]) for name, control in offered.items()}
    parameters = [
        inspect.Parameter(name, kind, default=unpacked(defaults[name]), annotation=hints[name]) for name in offered
    ]
    parameters += [
        inspect.Parameter(then, kind, default=None, annotation=hints[now] | None) for then, now in renamed.items()
    ]
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=dict)
    endpoint.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": dict}
    endpoint.__name__ = f"{exhibit.slug}_{slug}".replace("-", "_")
    lines = [f"{name}: {describe(control, view.defaults[name])}" for name, control in offered.items()]
    lines += [f"{then}: former name of {now}." for then, now in renamed.items()]
    # describe_view and llms.txt tell what each is: here it would make the page that opens a third heavier
    about = f"{exhibit.title}: {view.title}. {plain(view.caption)} Returns the arrays of its result by name (describe_view tells them)."
    endpoint.__doc__ = "\n".join([about, "", "Args:", *[f"    {line}" for line in lines]])
    endpoint._mcp_type = "view"  # none of gradio's kinds: MCP has the tools of studio/tools.py for all views
    gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)


async def compute(exhibit: Exhibit, view: View, given: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The settings of a view, the others at their defaults, and its result: at once, or when it is the caller's turn."""
    settings = dict(view.defaults) | {
        name: _parsed(view.settings[name], value, view.defaults[name]) for name, value in given.items()
    }
    progress = run(exhibit, view, settings)
    if view.is_direct or known(view, settings):
        return settings, await inside(SHORT, _last, progress)
    alive, result = _alive(), None
    # whoever calls is known by the address: gradio gives each call without a session one of its own, and MCP one to all
    async with aclosing(TURNS.stream(address_of(LocalContext.request.get()), progress)) as running:  # pyright: ignore[reportArgumentType]
        async for made in running:
            if not alive():
                raise gr.Error("The caller is gone.", print_exception=False)
            result = result if made is None else made.result
    return settings, result


@contextmanager
def in_words(exhibit: Exhibit, view: View) -> Iterator[None]:
    """What goes wrong with a call is told as gr.Error, whose words the caller gets: of any other gradio tells nothing."""
    try:
        yield
    except gr.Error:
        raise
    except ValueError as fault:
        raise gr.Error(sentence(fault, "en", exhibit.slug, labels(view)), print_exception=False) from None
    except Exception:
        logging.exception("%s/%s failed", exhibit.slug, view.slug)
        said = f"Internal error: please report this call of {exhibit.slug}/{view.slug}."
        raise gr.Error(said, print_exception=False) from None


def address_of(request: gr.Request | None) -> str:
    """The address that a request comes from, as the first proxy tells it; "" where nobody knows."""
    if request is None:
        return ""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return forwarded or getattr(request.client, "host", "")


def _parsed(control: Control, value: Any, default: Any) -> Any:
    if isinstance(control, Upload | Drawing) and value is not None:
        value = sent_file(control, value.get("path") if isinstance(value, dict) else value)
    return link.parse(control, value, default)


def _last(progress: Iterator) -> Any:
    for made in progress:
        result = made.result
    return result


def _alive() -> Callable[[], bool]:
    """Whether the caller still listens: gradio ends only generators of callers that are gone."""
    blocks, name = LocalContext.blocks.get(), LocalContext.event_id.get()
    event = blocks._queue.event_ids_to_events.get(name) if blocks and name else None
    return lambda: event is None or event.alive


def returned(view: View) -> dict[str, str]:
    """Field of the view's result -> what it is, with shape and unit, as the docstring of its class says."""
    hint = get_type_hints(inspect.unwrap(view.compute))["return"]
    for _ in range(2 if view.streams else 0):  # Iterator[Progress[its class]]
        (hint, *_) = get_args(hint) or (None,)
    told: dict[str, str] = {}
    for made in get_args(hint) if isinstance(hint, UnionType) else [hint] if hint else []:
        names = [field.name for field in fields(made)]
        one = rf"(?:{'|'.join(names)})"
        pieces = re.split(rf"(?:^ {{4}}|[;,] )({one}(?:, {one})*): ", made.__doc__ or "", flags=re.M)
        said = dict.fromkeys((name for name in names if name in view.controls), "as asked for")
        for listed, words in zip(pieces[1::2], pieces[2::2], strict=True):
            said |= dict.fromkeys(listed.split(", "), plain(" ".join(words.split())))
        told = {name: said.get(name, "") for name in names} | told
    return told


def describe(control: Control, default: Any) -> str:
    """A parameter in words: what it is, and what it may be."""
    said = plain(f"{control.label}. {control.help}".rstrip(". ") + ".")
    match control:
        case Range(low=low, high=high) | Gallery(low=low, high=high):
            whole = "a whole number" if isinstance(default, int) else "a number"
            return f"{said} {whole} from {low:,g} to {high:,g}."
        case Numbers(low=low, high=high, least=least, most=most):
            return f"{said} {least} to {most} numbers from {low:,g} to {high:,g}."
        case Text(most=most):
            return f"{said} At most {most:,} characters."
        case Choice(several=True):
            return f"{said} One or more of the options."
        case Upload(accept=accept, megabytes=megabytes):
            return f"{said} A file that was sent before, ending in {', '.join(accept)}, of at most {megabytes} MB; or none."
        case Drawing(width=width, height=height):
            return f"{said} A picture that was sent before, best of {width} x {height} pixels; or none."
        case _:
            return said


def _hint(control: Control, default: Any) -> Any:
    match control:
        case Choice(options=options, several=True):
            return list[Literal[tuple(options)]]
        case Choice(options=options):
            return Literal[tuple(options)]
        case Toggle():
            return bool
        case Numbers():
            return list[float]
        case Upload() | Drawing():
            return FileData | None
        case Range() | Gallery():
            return int if isinstance(default, int) else float
        case _:
            return str


def unpacked(value: Any) -> Any:
    """A value as JSON knows it."""
    return list(value) if isinstance(value, tuple) else value
