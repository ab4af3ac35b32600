"""A view as a notebook: the engine's call, its figures through plotly, and the sources. It runs in the studio's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from studio.exhibit import Exhibit, View
from studio.language import drawn, speaking, translate
from studio.markup import plain
from studio.panels import Pictures, Table, draw_panels, inside, png
from studio.snippet import in_python


def notebook(
    exhibit: Exhibit, view: View, settings: Mapping[str, Any], language: str = "en", address: str = ""
) -> dict[str, Any]:
    """The notebook as its file's JSON. address: where the same is seen on the page."""

    def say(text: str) -> str:
        return translate(text, language, exhibit.slug)

    def cell(kind: str, text: str) -> dict[str, Any]:
        made = {"cell_type": kind, "id": f"cell-{len(cells) + 1}", "metadata": {}, "source": text}
        return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})

    shown = [repr(exhibit.slug), repr(view.slug), "result"]
    shown += [f"{name}={settings[name]!r}" for name in view.looks]
    shown += [f"language={language!r}"] if language != "en" else []
    cells: list[dict[str, Any]] = []
    head = f"# {say(exhibit.title)}: {say(view.title)}\n\n{plain(say(view.caption))}"
    cells.append(cell("markdown", head + (f"\n\n<{address}>" if address.startswith("http") else "")))
    cells.append(cell("code", in_python(view, settings).rstrip()))
    lines = [
        "from studio.notebook import figures",
        "",
        f"for figure in figures({', '.join(shown)}):",
        "    figure.show()",
    ]
    cells.append(cell("code", "\n".join(lines)))
    sources = [f"- [{say(name)}]({link})" if link else f"- {say(name)}" for name, link in exhibit.sources]
    cells.append(cell("markdown", "\n".join([f"## {say('Sources')}", "", *sources])))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def figures(exhibit: str, view: str, result: Any, *, language: str = "en", **looks: Any) -> list[Any]:
    """What the page shows of a result, as figures of plotly: figures with their frames, tables, pictures.

    exhibit, view: slugs; looks: those settings of the view that change its picture alone
    """
    import plotly.graph_objects as go

    from studio.exhibits import EXHIBITS
    from studio.figure import Figure

    found = next(e for e in EXHIBITS if e.slug == exhibit).view(view)
    made = []
    with speaking(language, exhibit):
        for panel in inside(draw_panels(found.draw, result, looks)):
            match panel:
                case Figure():
                    made.append(_moving(go.Figure(panel.plotly()), panel))
                case Table(columns, rows, title):
                    heads = [drawn(column) for column in columns]
                    cells = [
                        [drawn(cell) if isinstance(cell, str) else cell for cell in column]
                        for column in zip(*rows, strict=True)
                    ]
                    made.append(
                        go.Figure(go.Table(header={"values": heads}, cells={"values": cells})).update_layout(
                            title=drawn(title)
                        )
                    )
                case Pictures():
                    made.append(_gallery(panel))
    return [figure.update_layout(template="plotly_white") for figure in made]


def _moving(figure: Any, panel: Any) -> Any:
    """The figure with the frames that the page scrubs, under a slider of plotly's."""
    if not panel.frames:
        return figure
    said = panel.extra["scrub"]
    figure.frames = [
        {
            "name": str(i),
            "data": [{"type": trace["type"]} | change for change, trace in zip(moment, panel.data, strict=False)],
        }
        for i, moment in enumerate(panel.frames)
    ]
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    steps = [{"label": label, "method": "animate", "args": [[str(i)], now]} for i, label in enumerate(said["labels"])]
    return figure.update_layout(
        sliders=[{"steps": steps, "active": said["start"], "currentvalue": {"prefix": f"{said['name']} "}}]
    )


def _gallery(panel: Pictures) -> Any:
    """Pictures row by row, each a picture of plotly's."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    images = np.asarray(panel.images)
    wide = len(panel.columns) or (-(-len(images) // len(panel.rows)) if panel.rows else min(len(images), 8)) or 1
    high = max(-(-len(images) // wide), 1)
    titles = [drawn(text) for text in panel.captions] or [drawn(text) for text in panel.columns]
    figure = make_subplots(high, wide, subplot_titles=titles or None, row_titles=[drawn(t) for t in panel.rows] or None)
    for i, image in enumerate(images):
        figure.add_trace(go.Image(source=png(image)), row=i // wide + 1, col=i % wide + 1)
    return (
        figure.update_xaxes(visible=False)
        .update_yaxes(visible=False)
        .update_layout(title=drawn(panel.title), height=120 + 160 * high, width=120 + 160 * wide)
    )
