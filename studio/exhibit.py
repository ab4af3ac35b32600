"""What an exhibit is. An exhibit declares; the page, the address, the API, the downloads and the tests are derived."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engines.arguments import Between, Characters, ListOf, OneOf, SomeOf, rules
from engines.checks import Check


@dataclass(frozen=True, eq=False)
class Control:
    """What a parameter is set with: one of the kinds below. It is shared by views that declare the same object.

    Bounds that are not given here are those of the engine's annotation (see `engines.arguments`).

    help: a line under it
    when: name of another parameter -> values of it: the control is seen where another of the view has one of these (or
        includes one), or where the view has none of the others; elsewhere it would change nothing
    """

    label: str
    help: str = field(default="", kw_only=True)
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict, kw_only=True)

    def bind(self, **bounds: Any) -> None:
        """Take bounds from an engine; a ValueError where another engine has given others."""
        taken = self.__dict__.setdefault("engine", {})
        for name, value in bounds.items():
            if taken.setdefault(name, value) != value:
                raise ValueError(f"{self.label}: {name} is {taken[name]} in one engine and {value} in another")
            object.__setattr__(self, name, value)  # once, while the exhibit is declared


@dataclass(frozen=True, eq=False)
class Range(Control):
    """A number from low to high. `log` spaces the slider by ratio; the default's type says whether it is an integer."""

    low: float = nan
    high: float = nan
    step: float | None = None
    log: bool = False


@dataclass(frozen=True, eq=False)
class Gallery(Control):
    """A whole number chosen by picture. images: () -> uint8 [n, h, w, 3]; names: () -> what each shows, in English."""

    images: Callable[[], Any]
    names: Callable[[], Sequence[str]] | None = None
    low: float = nan
    high: float = nan


@dataclass(frozen=True, eq=False)
class Choice(Control):
    """One of `options` (or several, with `several`: a list). A mapping gives each value its label.

    icons: () -> key -> uint8 [h, w, 3] or the text of an SVG: it is then chosen by picture
    """

    options: Sequence[str] | Mapping[str, str]
    several: bool = False
    icons: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True, eq=False)
class Toggle(Control):
    """Yes or no."""


@dataclass(frozen=True, eq=False)
class Numbers(Control):
    """A typed list of `least` to `most` numbers between low and high, separated by commas or spaces."""

    low: float = nan
    high: float = nan
    most: int = 0
    least: int = 1


@dataclass(frozen=True, eq=False)
class Text(Control):
    """Typed text of at most `most` characters."""

    most: int = 0
    lines: int = 1


@dataclass(frozen=True, eq=False)
class Upload(Control):
    """A file of the user's, at most `megabytes`; the engine gets its path, or None. A link cannot carry it."""

    accept: Sequence[str]
    megabytes: float


@dataclass(frozen=True, eq=False)
class Drawing(Control):
    """Something drawn by hand, black on white; the engine gets the path of a PNG, or None. A link cannot carry it.

    under: a gallery of the view whose picture is shown beneath the brush
    """

    width: int = 256
    height: int = 256
    under: Gallery | None = None


def each(names: Iterable[Any], numbers: Iterable[Any]) -> dict[str, Any]:
    """A number for each of these, such as the methods that a view compares."""
    return {str(name): number for name, number in zip(names, numbers, strict=True)}


@dataclass(frozen=True)
class View:
    """One question asked of a subject.

    compute: the engine function, or a generator function of `engines.progress.Progress`; its parameters are those of
        `controls`, all with defaults
    controls: parameter of compute -> control, the most important first (six are shown, the rest under "More")
    draw: (result, **looks) -> a panel or a list of panels (studio/panels.py), the first the largest
    looks: parameter of draw -> control, for what changes the picture alone
    live: redraw on each change; otherwise on a press of Run
    seconds: about how long one run takes on two cores
    brief: settings with which it takes a moment, for the tests of a view that takes long
    gpu: whether it is worth asking a shared GPU for
    appendix: drawn in the menu at the row's end, for those who want more
    scalars: label, with the unit, -> a number of the result: what a sweep follows, as a curve and in its table. Its dotted name,
        or a function of the result, which may give several numbers by name (`each`)
    """

    slug: str
    title: str
    caption: str
    compute: Callable[..., Any]
    controls: Mapping[str, Control]
    draw: Callable[..., Any]
    looks: Mapping[str, Control] = field(default_factory=dict)
    live: bool = True
    seconds: float = 0.1
    brief: Mapping[str, Any] = field(default_factory=dict)
    gpu: bool = False
    appendix: bool = False
    scalars: Mapping[str, str | Callable[[Any], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (_, rule) in rules(self.compute).items():
            control = self.controls.get(name)
            match control, rule:
                case (Range() | Gallery(), Between(low, high)):
                    control.bind(low=low, high=high)
                case Numbers(), ListOf(low, high, most, least):
                    control.bind(low=low, high=high, most=most, least=least)
                case Text(), Characters(most):
                    control.bind(most=most)
                case Choice(options=options), OneOf(allowed) | SomeOf(allowed):
                    unknown = [option for option in options if option not in allowed]
                    if unknown:
                        raise ValueError(f"{self.slug}, {name}: the engine has no {', '.join(unknown)}")
        for name, control in self.settings.items():
            missing = [f.name for f in fields(control) if f.name in ("low", "high") and isnan(getattr(control, f.name))]
            missing += [f.name for f in fields(control) if f.name == "most" and not getattr(control, f.name)]
            if missing:
                raise ValueError(f"{self.slug}, {name}: nobody says {', '.join(missing)}")

    @cached_property
    def settings(self) -> dict[str, Control]:
        """Every control by its parameter: compute's, then draw's."""
        return {**self.controls, **self.looks}

    @cached_property
    def defaults(self) -> MappingProxyType[str, Any]:
        """The default of each setting, as the engine's signature (or draw's) has it."""
        parameters = {
            **inspect.signature(self.draw).parameters,
            **inspect.signature(self.compute).parameters,
        }
        return MappingProxyType({name: parameters[name].default for name in self.settings})

    @property
    def streams(self) -> bool:
        """Whether compute yields progress."""
        return inspect.isgeneratorfunction(inspect.unwrap(self.compute))

    @property
    def is_direct(self) -> bool:
        """Whether a change of a control draws at once, and as one answer."""
        return self.live and not self.streams


@dataclass(frozen=True)
class Step:
    """One step of a story.

    text: a few sentences; [[trace|words]] colours words like a trace (by its English name)
    settings: what is set, over the view's defaults and the story's earlier steps
    control: the parameter to point at; mark: the English name of the trace to highlight
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Story:
    """A walk of a few steps through one view."""

    title: str
    view: str
    steps: Sequence[Step]

    def settings(self, view: View, step: int) -> dict[str, Any]:
        """What is set at a step (from 0)."""
        found = dict(view.defaults)
        for taken in self.steps[: step + 1]:
            found |= dict(taken.settings)
        return found


def read_stories(declaration: str) -> tuple[Story, ...]:
    """The stories that stand as data beside an exhibit's declaration (its __file__), in stories.json."""
    told = json.loads((Path(declaration).parent / "stories.json").read_text(encoding="utf-8"))
    return tuple(Story(one["title"], one["view"], tuple(_step(**step) for step in one["steps"])) for one in told)


def _step(settings: Mapping[str, Any] | None = None, **more: str) -> Step:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in (settings or {}).items()}
    return Step(settings=plain, **more)


@dataclass(frozen=True)
class Former:
    """What an address made before a change meant.

    view: the slug of the view that answers now
    names: former parameter -> the present one
    values: present parameter -> what such an address meant where it says nothing
    """

    view: str
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


THEMES = {
    "generation": "Generation",
    "sequences": "Sequences",
    "attention": "Attention and routing",
    "geometry": "Geometry",
    "text": "Text",
    "training": "Training",
}


@dataclass(frozen=True)
class Exhibit:
    """A tab.

    question: what it answers, for its card; theme: a key of THEMES
    sources: (name, address) of the papers and posts it follows
    former: slug of a view in former addresses -> what it meant
    """

    slug: str
    title: str
    summary: str
    sources: Sequence[tuple[str, str]]
    views: Sequence[View]
    stories: Sequence[Story] = ()
    checks: Sequence[Check] = ()
    question: str = ""
    theme: str = "generation"
    former: Mapping[str, Former] = field(default_factory=dict)

    def view(self, slug: str) -> View:
        """The view of that slug; KeyError where there is none."""
        return {view.slug: view for view in self.views}[slug]

    @cached_property
    def controls(self) -> dict[Control, str]:
        """Every control, each once, and its name on the page: its parameter's, with a number where two would share it."""
        named: dict[Control, str] = {}
        for view in self.views:
            for name, control in view.settings.items():
                taken = set(named.values())
                unique = (
                    name
                    if name not in taken
                    else next(f"{name}-{i}" for i in range(2, 99) if f"{name}-{i}" not in taken)
                )
                named.setdefault(control, unique)
        return named
