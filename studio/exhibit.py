"""What an exhibit is. An exhibit declares; the page, the address, the API, the downloads and the tests are derived."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines.checks import Check, Outcome  # noqa: F401 (until every exhibit takes them from there)


@dataclass(frozen=True)
class Control:
    """What a parameter is set with: one of the kinds below.

    help: a line under it
    when: name of another control -> values of it: the control is seen where another of the view has one of these (or
        includes one), or where the view has none of the others; elsewhere it would change nothing
    """

    label: str
    help: str = field(default="", kw_only=True)
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Range(Control):
    """A number from low to high. `log` spaces the slider by ratio; the default's type says whether it is an integer."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Choice(Control):
    """One of `options` (or several, with `several`: a list). A mapping gives each value its label."""

    options: Sequence[str] | Mapping[str, str]
    several: bool = False


@dataclass(frozen=True)
class Toggle(Control):
    """Yes or no."""


@dataclass(frozen=True)
class Numbers(Control):
    """A typed list of at most `most` numbers between low and high, parted by commas or spaces."""

    low: float
    high: float
    most: int
    least: int = 1


@dataclass(frozen=True)
class Text(Control):
    """Typed text of at most `most` characters."""

    most: int
    lines: int = 1


@dataclass(frozen=True)
class Upload(Control):
    """A file of the user's, at most `megabytes`; the engine gets its path, or None. A link cannot carry it."""

    accept: Sequence[str]
    megabytes: float


@dataclass(frozen=True)
class Drawing(Control):
    """Something drawn by hand, black on white; the engine gets the path of a PNG, or None. A link cannot carry it."""

    width: int = 256
    height: int = 256


@dataclass(frozen=True)
class Pictures:
    """Panel: a row of pictures. images: uint8 [n, h, w, 3] or [n, h, w]; captions: n short texts or none."""

    images: Any
    captions: Sequence[str] = ()
    title: str = ""
    scale: int = 3


@dataclass(frozen=True)
class Table:
    """Panel: a table. Cells are texts or numbers; numbers are right-aligned."""

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


def verbatim(text: str) -> str:
    """Somebody's text for a Prose, every letter as it is: a link must not write Markdown, HTML or formulas into a page."""
    # formulas are found after entities are read, so a dollar sign is given its wide twin
    return re.sub(r"[!-/:-@\[-`{-~]", lambda sign: f"&#{ord(sign[0])};", text.replace("$", "＄"))


@dataclass(frozen=True)
class View:
    """One question asked of a subject.

    compute: the engine function, or a generator function of `engines.progress.Progress`; its parameters are those of
        `controls`, all with defaults
    controls: parameter name -> control; controls of one exhibit that bear the same name are one control
    draw: result -> a panel or a list of panels (plotly Figure, Pictures, Table, File, Prose)
    live: redraw on each change; otherwise on a press of Run
    seconds: about how long one run takes on two cores
    brief: settings with which it takes a moment, for the tests of a view that takes long
    gpu: whether it is worth asking a shared GPU for
    """

    slug: str
    title: str
    caption: str
    compute: Callable[..., Any]
    controls: Mapping[str, Control]
    draw: Callable[[Any], Any]
    live: bool = True
    seconds: float = 0.1
    brief: Mapping[str, Any] = field(default_factory=dict)
    gpu: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of each control, as the engine's signature has it."""
        parameters = inspect.signature(self.compute).parameters
        return {name: parameters[name].default for name in self.controls}

    @property
    def streams(self) -> bool:
        """Whether compute yields progress."""
        return inspect.isgeneratorfunction(self.compute)


@dataclass(frozen=True)
class Story:
    """A named setting and two or three sentences that say what to see in it."""

    title: str
    text: str
    view: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exhibit:
    """A tab. `sources` are (name, address or empty) of the papers and posts it follows."""

    slug: str
    title: str
    summary: str
    sources: Sequence[tuple[str, str]]
    views: Sequence[View]
    stories: Sequence[Story] = ()
    checks: Sequence[Check] = ()
