"""Arguments that may come from anywhere: each check returns the value, or raises ValueError with a sentence to act on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def whole(name: str, value: int, low: int, high: int) -> int:
    """A whole number from low to high; 3.0 counts as 3."""
    if not _real(value) or not low <= value <= high or value % 1:
        raise ValueError(f"{name} must be a whole number from {low:,} to {high:,}, not {repr(value)[:40]}.")
    return int(value)


def number(name: str, value: float, low: float, high: float) -> float:
    """A number from low to high."""
    if not _real(value) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {repr(value)[:40]}.")
    return float(value)


def one_of(name: str, value: str, options: Collection[str]) -> str:
    """One of the options."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, not {repr(value)[:40]}.")
    return value


def unbroken(name: str, text: str) -> str:
    """A text without half surrogate pairs, which JSON can carry but no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a character (a lone surrogate): take it out.") from None
    return text


def several_of(name: str, values: Sequence[str], options: Collection[str], most: int) -> list[str]:
    """One to `most` different options, in the order given."""
    values = [values] if isinstance(values, str) else items(name, values, most)
    if len(set(map(str, values))) < len(values):
        raise ValueError(f"{name} must name different entries, each once.")
    return [one_of(name, value, options) for value in values]


def wholes(name: str, values: Sequence[int], most: int, low: int, high: int) -> list[int]:
    """One to `most` whole numbers from low to high."""
    return [whole(name, value, low, high) for value in items(name, values, most)]


def items(name: str, values: Sequence, most: int) -> list:
    """A list of 1 to `most` entries, whatever they are."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not 1 <= len(values) <= most:
        raise ValueError(f"{name} must be a list of 1 to {most} entries.")
    return list(values)


def _real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
