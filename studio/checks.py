"""The table "Checked against" of an exhibit."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from studio.exhibit import Check, Outcome


def table(checks: Sequence[Check], outcomes: Sequence[Outcome]) -> str:
    """The checks as HTML; the first ones with what was measured just now."""
    rows = "".join(_row(check, outcomes[i] if i < len(outcomes) else None) for i, check in enumerate(checks))
    return (
        "<table><thead><tr><th>Claim</th><th>Source</th><th>Expected</th><th>Measured</th><th>Error</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _row(check: Check, outcome: Outcome | None) -> str:
    bound = f"{'relative ' if check.relative else ''}≤ {check.tolerance:.2g}"
    measured = error = "—"
    mark = ""
    if outcome is not None:
        measured, error = _value(outcome.measured), f"{outcome.error:.2g}"
        mark = "<b class='holds'>✓</b> " if outcome.holds else "<b class='fails'>✗</b> "
    claim, source = html.escape(check.claim), html.escape(check.source)
    return (
        f"<tr><td>{mark}{claim}</td><td>{source}</td><td class='number'>{_value(check.expected)}</td>"
        f"<td class='number'>{measured}</td><td class='number'>{error} <small>({bound})</small></td></tr>"
    )


def _value(value: Any) -> str:
    numbers = np.asarray(value, dtype=float).ravel()
    said = ", ".join(f"{number:.10g}" for number in numbers[:6])
    return said + (f", … ({numbers.size} numbers)" if numbers.size > 6 else "")
