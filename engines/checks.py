"""What a correct engine must reproduce: python -m engines.checks [subject ...] measures now and prints the table.

Each subject's own stand in engines/<subject>/checks.py as CHECKS; its page shows the same ones live.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import engines


class Outcome(NamedTuple):
    """What a check measured: the value, its greatest error (relative, if the check says so), and whether it holds."""

    measured: np.ndarray
    error: float
    holds: bool


@dataclass(frozen=True)
class Check:
    """What a correct implementation must reproduce.

    measure: () -> a number, or an array, computed by the engine now; `expected` likewise
    tolerance: the greatest |measured - expected| allowed, or relative to |expected| with `relative`
    """

    claim: str
    source: str
    expected: Any
    tolerance: float
    measure: Callable[[], Any]
    relative: bool = False

    def outcome(self) -> Outcome:
        """Measure now and compare."""
        measured = np.asarray(self.measure(), dtype=float)
        expected = np.asarray(self.expected, dtype=float)
        if measured.shape != expected.shape:
            return Outcome(measured, float("inf"), False)
        scale = np.abs(expected) if self.relative else 1.0
        error = float(np.max(np.abs(measured - expected) / scale, initial=0.0))
        return Outcome(measured, error, error <= self.tolerance)


def subjects() -> list[str]:
    """The engines that have checks, by name."""
    found = (module.name for module in pkgutil.iter_modules(engines.__path__) if module.ispkg)
    return [name for name in found if any(m.name == "checks" for m in _inside(name))]


def of(subject: str) -> tuple[Check, ...]:
    """The checks of a subject."""
    return tuple(importlib.import_module(f"engines.{subject}.checks").CHECKS)


def _inside(subject: str) -> list[pkgutil.ModuleInfo]:
    return list(pkgutil.iter_modules([f"{path}/{subject}" for path in engines.__path__]))


def main(wanted: list[str]) -> int:
    """Print a line for each check; the number of those that fail."""
    unknown = [name for name in wanted if name not in subjects()]
    if unknown:
        print(f"No checks for {', '.join(unknown)}; there are {', '.join(subjects())}.")
        return 2
    failed = total = 0
    for subject in wanted or subjects():
        print(f"\n{subject}")
        for check in of(subject):
            outcome = check.outcome()
            total += 1
            failed += not outcome.holds
            bound = f"{check.tolerance:.2g}{' relative' if check.relative else ''}"
            print(
                f"  {'ok  ' if outcome.holds else 'FAIL'} {check.claim} [{check.source}]: {outcome.error:.2g} of {bound}"
            )
    print(f"\n{total - failed} of {total} checks hold")
    return 1 if failed else 0


if __name__ == "__main__":
    # as the package's own module, whose Check the subjects have
    sys.exit(importlib.import_module("engines.checks").main(sys.argv[1:]))
