"""What a parameter may be, said once: in the signature, by `Annotated[int, Between(1, 100)]` and its like.

`checked` holds a function's arguments to its annotations before it runs; the page takes its sliders' ends, the API its
descriptions from the same place. What is refused is refused with a sentence to act on (`Refusal`).
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class Refusal(ValueError):
    """A sentence that says what to change.

    template: the sentence with named fields, the same whatever the values are (so that it can be translated)
    fields: their values; a number is spelled with separators, a field called `parameter` names an argument
    """

    def __init__(self, template: str, **fields: Any):
        self.template, self.fields = template, fields
        super().__init__(template.format(**{name: spelled(value) for name, value in fields.items()}))

    def __reduce__(self) -> tuple:
        return functools.partial(type(self), self.template, **self.fields), ()


def spelled(value: Any) -> str:
    """A value within a sentence: 12,000; 0.05; text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(value) < 10**15 else f"{float(value):.3g}" if abs(value) < 10**300 else "∞"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


@dataclass(frozen=True)
class Between:
    """A number from low to high; of a parameter annotated `int` a whole one (3.0 counts as 3)."""

    low: float
    high: float


@dataclass(frozen=True)
class OneOf:
    """One of the options."""

    options: Collection[str]


@dataclass(frozen=True)
class SomeOf:
    """`least` to `most` (all, if 0) different options, in the order given."""

    options: Collection[str]
    most: int = 0
    least: int = 1


@dataclass(frozen=True)
class ListOf:
    """`least` to `most` numbers from low to high; whole ones where the parameter is a sequence of `int`."""

    low: float
    high: float
    most: int
    least: int = 1


@dataclass(frozen=True)
class Characters:
    """A text of at most `most` characters."""

    most: int


Rule = Between | OneOf | SomeOf | ListOf | Characters


def rules(function: Callable) -> dict[str, tuple[Any, Rule]]:
    """Parameter -> (its plain type, what it may be), of those that are annotated with a rule."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    found = {}
    for name, hint in hints.items():
        rule = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Rule)), None)
        if rule is not None:
            found[name] = (hint.__origin__, rule)
    return found


def checked(function: Callable) -> Callable:
    """The function with its arguments held to its annotations first; a generator function stays one."""
    signature = inspect.signature(function)
    known: dict[str, tuple[Any, Rule]] = {}

    def bind(args: tuple, kwargs: dict) -> inspect.BoundArguments:
        if not known:
            known.update(rules(function))
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name in known and not (value is None and signature.parameters[name].default is None):
                bound.arguments[name] = held(name, value, *known[name])
        return bound

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            bound = bind(args, kwargs)
            yield from function(*bound.args, **bound.kwargs)

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            bound = bind(args, kwargs)
            return function(*bound.args, **bound.kwargs)

    return wrapper


def held(name: str, value: Any, kind: Any, rule: Rule) -> Any:
    """The value as a plain number, text, or tuple of them; Refusal where the rule does not allow it."""
    match rule:
        case Between(low, high):
            return whole(name, value, low, high) if kind is int else number(name, value, low, high)
        case OneOf(options):
            return one_of(name, value, options)
        case SomeOf(options, most, least):
            return tuple(several_of(name, value, options, most or len(options), least))
        case ListOf(low, high, most, least):
            one = whole if int in typing.get_args(kind) else number
            return tuple(one(name, item, low, high) for item in items(name, value, most, least))
        case Characters(most):
            return text(name, value, most)


def whole(name: str, value: int, low: float, high: float) -> int:
    """A whole number from low to high; 3.0 counts as 3."""
    value = _plain(value)
    if not _real(value) or not low <= value <= high or value % 1:
        raise Refusal(
            "{parameter} must be a whole number from {low} to {high}, not {given}.",
            parameter=name,
            low=low,
            high=high,
            given=quoted(value),
        )
    return int(value)


def number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A number from low to high; without bounds, a finite one."""
    value = _plain(value)
    if not _real(value) or not low <= value <= high or (math.isinf(high) and not _finite(value)):
        if math.isinf(high):
            raise Refusal("{parameter} must be a finite number, not {given}.", parameter=name, given=quoted(value))
        raise Refusal(
            "{parameter} must be a number from {low} to {high}, not {given}.",
            parameter=name,
            low=low,
            high=high,
            given=quoted(value),
        )
    return float(value)


def one_of(name: str, value: str, options: Collection[str]) -> str:
    """One of the options."""
    if not isinstance(value, str) or value not in options:
        raise Refusal(
            "{parameter} must be one of {options}, not {given}.",
            parameter=name,
            options=", ".join(options),
            given=quoted(value),
        )
    return value


def text(name: str, value: str, most: int) -> str:
    """A text of at most `most` characters, none of them half a surrogate pair (JSON can carry one, no encoding can)."""
    if not isinstance(value, str):
        raise Refusal("{parameter} must be a text, not {given}.", parameter=name, given=quoted(value))
    if len(value) > most:
        raise Refusal(
            "{parameter} may have at most {most} characters; this has {length}.",
            parameter=name,
            most=most,
            length=len(value),
        )
    return unbroken(name, value)


def unbroken(name: str, value: str) -> str:
    """A text without half surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal("{parameter} holds half a character (a lone surrogate): take it out.", parameter=name) from None
    return value


def several_of(name: str, values: Sequence[str], options: Collection[str], most: int, least: int = 1) -> list[str]:
    """`least` to `most` different options, in the order given."""
    values = [values] if isinstance(values, str) else items(name, values, most, least)
    if len(set(map(str, values))) < len(values):
        raise Refusal("{parameter} must name different entries, each once.", parameter=name)
    return [one_of(name, value, options) for value in values]


def wholes(name: str, values: Sequence[int], most: int, low: int, high: int) -> list[int]:
    """One to `most` whole numbers from low to high."""
    return [whole(name, value, low, high) for value in items(name, values, most)]


def items(name: str, values: Sequence, most: int, least: int = 1) -> list:
    """A list of `least` to `most` entries, whatever they are."""
    listed = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) and getattr(values, "ndim", 1)
    if not listed or not least <= len(values) <= most:
        raise Refusal(
            "{parameter} must be a list of {least} to {most} entries.", parameter=name, least=least, most=most
        )
    return list(values)


def quoted(value: Any) -> str:
    """A wrong value within a sentence, shortened."""
    try:
        return repr(value)[:40]
    except Exception:
        return f"a {type(value).__name__}"


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _plain(value: Any) -> Any:
    """A number of numpy as Python's: a float32 compared with 1e300 would make that infinite, and warn."""
    return value.item() if isinstance(value, np.number) else value


def _real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.bool_)
