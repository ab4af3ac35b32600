"""Every view as an endpoint: parameters in, the arrays of its result out as lists."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import gradio as gr

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
from studio.results import as_json, run


def add(exhibit: Exhibit) -> None:
    """The endpoints of an exhibit: one a view, and one for each view that former callers know."""
    for view in exhibit.views:
        _endpoint(exhibit, view, view.slug, exhibit.former.get(view.slug))
    for slug, former in exhibit.former.items():
        if slug not in {view.slug for view in exhibit.views}:
            _endpoint(exhibit, exhibit.view(former.view), slug, former)


def _endpoint(exhibit: Exhibit, view: View, slug: str, former: Former | None) -> None:
    """`slug` is the name that callers use; former names of parameters are taken beside the present ones.

    A file is no parameter here: a path sent by a stranger would be a path of this server.
    """
    offered = {name: control for name, control in view.controls.items() if not isinstance(control, Upload | Drawing)}
    defaults = {name: view.defaults[name] for name in offered}
    if former and slug != view.slug:
        defaults |= {name: value for name, value in former.values.items() if name in offered}
    renamed = {
        then: now for then, now in (former.names.items() if former else ()) if now in offered and then not in offered
    }

    def endpoint(*values: Any) -> dict:
        present, past = values[: len(offered)], values[len(offered) :]
        given = dict(zip(offered, present, strict=True))
        given |= {now: value for now, value in zip(renamed.values(), past, strict=True) if value is not None}
        try:
            wanted = {name: link.parse(control, given[name], view.defaults[name]) for name, control in offered.items()}
            for progress in run(exhibit, view, view.defaults | wanted):
                result = progress.result
        except ValueError as fault:
            raise gr.Error(sentence(fault, "en", exhibit.slug, labels(view)), print_exception=False) from None
        return as_json(result)

    # gradio reads the names, types and defaults of an endpoint from its signature and annotations.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    hints = {name: _hint(control, view.defaults[name]) for name, control in offered.items()}
    parameters = [
        inspect.Parameter(name, kind, default=_plain(defaults[name]), annotation=hints[name]) for name in offered
    ]
    parameters += [
        inspect.Parameter(then, kind, default=None, annotation=hints[now] | None) for then, now in renamed.items()
    ]
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=dict)
    endpoint.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": dict}
    endpoint.__name__ = f"{exhibit.slug}_{slug}".replace("-", "_")
    lines = [f"{name}: {describe(control, view.defaults[name])}" for name, control in offered.items()]
    lines += [f"{then}: former name of {now}." for then, now in renamed.items()]
    endpoint.__doc__ = "\n".join(
        [f"{exhibit.title}: {view.title}. {plain(view.caption)}", "", "Args:", *[f"    {line}" for line in lines]]
    )
    gr.api(endpoint, api_name=endpoint.__name__, concurrency_id="gpu", concurrency_limit=2)


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
        case Range() | Gallery():
            return int if isinstance(default, int) else float
        case _:
            return str


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
