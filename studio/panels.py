"""What a draw function returns, and how it is packed for the browser."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from studio.figure import Figure, short
from studio.ghost import with_ghost
from studio.language import Said, drawn, say
from studio.markup import to_html


@dataclass(frozen=True)
class Pictures:
    """Panel: pictures in a row, or in a grid with headings.

    images: uint8 [n, h, w, 3] or [n, h, w]; captions: n short texts or none
    rows, columns: headings; the pictures then stand row by row
    size: width of one on the page, px
    """

    images: Any
    captions: Sequence[str] = ()
    title: str = ""
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    size: int = 160


@dataclass(frozen=True)
class Table:
    """Panel: a table. Cells are texts or numbers; numbers are shown to three significant digits, right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""


@dataclass(frozen=True)
class File:
    """Panel: a file to download. data: uint8 [bytes]; name: the one it is saved under; text: of the link."""

    name: str
    data: Any
    text: str


@dataclass(frozen=True)
class Prose:
    """Panel: a short text in Markdown, with $...$ for mathematics."""

    text: str


@dataclass(frozen=True)
class Piece:
    """A tile of text. color: one of COLORS; shade: 0..1, how strong; note: on hover."""

    text: str
    color: str = ""
    shade: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Writing:
    """Panel: text as tiles, line by line; more than one frame is scrubbed and played.

    frames: for each moment its lines, each a sequence of pieces; labels: a short text a frame
    large: a poem rather than a passage; start: the frame shown first
    once: played once when the text is first seen
    """

    frames: Sequence[Sequence[Sequence[Piece]]]
    labels: Sequence[str] = ()
    title: str = ""
    large: bool = False
    start: int = -1
    name: str = "step"
    once: bool = False


@dataclass(frozen=True)
class Folded:
    """Panel: others under a title, closed at first."""

    title: str
    panels: Sequence[Any]


def verbatim(text: str) -> str:
    """Somebody's text for a Prose, every letter as it is: a link must not write Markdown, HTML or formulas into a page."""
    return "".join(f"&#{ord(sign)};" if sign in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" else sign for sign in text)


def draw_panels(draw: Callable[..., Any], result: Any, looks: dict[str, Any]) -> list[Any]:
    """What a draw function makes of a result, as a list."""
    made = draw(result, **looks)
    return list(made) if isinstance(made, (list, tuple)) else [made]


def overlaid(panels: list[Any], pinned: list[Any]) -> list[Any]:
    """Panels with the pinned ones behind or beside them."""
    figures = iter([panel for panel in pinned if isinstance(panel, Figure)])
    both: list[Any] = []
    for panel in panels:
        ghost = next(figures, None) if isinstance(panel, Figure) else None
        both += [panel] if ghost is None else with_ghost(panel, ghost)
    beside = [panel for panel in pinned if isinstance(panel, Table | Pictures | Writing)]
    titled = [
        (panel, say("Pinned: {title}", title=drawn(panel.title)) if panel.title else say("Pinned")) for panel in beside
    ]
    return both + [dataclasses.replace(panel, title=title) for panel, title in titled]


def inside(panels: Iterable[Any]) -> Iterable[Any]:
    """All panels, those in folds too."""
    for panel in panels:
        yield from inside(panel.panels) if isinstance(panel, Folded) else (panel,)


def pack(panel: Any) -> str:
    """A panel as JSON for the browser, its texts in the visitor's language."""
    match panel:
        case Figure():
            return f'{{"kind":"plot","figure":{panel.as_json()}}}'
        case Folded(title, panels):
            return f'{{"kind":"folded","title":{json.dumps(drawn(title))},"panels":[{",".join(map(pack, panels))}]}}'
        case Table(columns, rows, title):
            body = [[_cell(cell) for cell in row] for row in rows]
            heads = [drawn(column) for column in columns]
            return json.dumps({"kind": "table", "title": drawn(title), "columns": heads, "rows": body})
        case File(name, data, text):
            content = base64.b64encode(np.asarray(data, np.uint8).tobytes()).decode()
            return json.dumps({"kind": "file", "name": name, "text": drawn(text), "data": content})
        case Prose(text):
            return json.dumps({"kind": "prose", "html": to_html(drawn(text))})
        case Writing():
            return json.dumps(_written(panel))
        case Pictures():
            return json.dumps(
                {
                    "kind": "pictures",
                    "title": drawn(panel.title),
                    "captions": [drawn(text) for text in panel.captions],
                    "rows": [drawn(text) for text in panel.rows],
                    "columns": [drawn(text) for text in panel.columns],
                    "width": panel.size,
                    "images": [png(picture) for picture in np.asarray(panel.images)],
                }
            )
    raise TypeError(f"{type(panel).__name__} is no panel")


def _written(panel: Writing) -> dict[str, Any]:
    frames = [
        [
            [[piece.text, piece.color, round(float(piece.shade), 3), drawn(piece.note)] for piece in line]
            for line in frame
        ]
        for frame in panel.frames
    ]
    return {
        "kind": "writing",
        "title": drawn(panel.title),
        "frames": frames,
        "labels": [str(text) for text in panel.labels],
        "name": drawn(panel.name),
        "large": panel.large,
        "start": panel.start % len(frames) if frames else 0,
    } | ({"once": True} if panel.once else {})


def _cell(cell: Any) -> Any:
    """[text, whether it is a number]"""
    if isinstance(cell, (bool, np.bool_)):
        return [say("yes") if cell else say("no"), False]
    if isinstance(cell, (int, float, np.integer, np.floating)):
        exact = isinstance(cell, (int, np.integer)) and abs(int(cell)) < 10**9
        return [f"{int(cell):,}".replace("-", "−") if exact else short(float(cell)), True]
    if isinstance(cell, Said):
        return [cell, False]
    return [drawn(str(cell)), False]


def png(picture: np.ndarray) -> str:
    """A picture as the address of a PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
