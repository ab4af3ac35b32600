"""Published numbers and claims that came out otherwise here: assets/errata.json, each held by checks of its engine.

An entry has `claim` (what is published), `where` and `address` (its source), `truth` (what is computed), `checks` (claims of the
checks of that exhibit whose expected values hold the truth: `{0}`, `{1}`, ... in `truth` are their numbers, in order) and
`show` (the query of a view that shows it). Nothing is computed to show the page: the tests measure the checks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from studio.exhibit import Exhibit
from studio.exhibits import EXHIBITS
from studio.figure import short
from studio.language import translate
from studio.markup import inline
from studio.theme import ASSETS

SUBJECT = "errata"  # of its texts' Chinese, and its name in an address


@dataclass(frozen=True)
class Erratum:
    """An entry; the fields are those of the file, `exhibit` the slug of the exhibit that shows it."""

    exhibit: str
    claim: str
    where: str
    address: str
    truth: str
    checks: tuple[str, ...]
    show: str

    @property
    def numbers(self) -> list[str]:
        """The expected values of its checks as the page says them."""
        by_claim = {
            check.claim: check for exhibit in EXHIBITS if exhibit.slug == self.exhibit for check in exhibit.checks
        }
        found = [np.asarray(by_claim[claim].expected, dtype=float).ravel() for claim in self.checks]
        return [short(value) for value in np.concatenate(found)]

    def told(self, language: str) -> str:
        """What is true, with its numbers."""
        return translate(self.truth, language, SUBJECT).format(*self.numbers)


@cache
def entries() -> tuple[Erratum, ...]:
    """All of them, in the order of the exhibits."""
    told = json.loads((ASSETS / "errata.json").read_text(encoding="utf-8"))
    order = [exhibit.slug for exhibit in EXHIBITS]
    read = [Erratum(**one | {"checks": tuple(one["checks"])}) for one in told]
    return tuple(sorted(read, key=lambda one: order.index(one.exhibit)))


def declared_errata(language: str) -> list[dict[str, Any]]:
    """The page in a language: exhibit by exhibit, its entries."""
    return [
        {"exhibit": exhibit.slug, "entries": [_entry(one, language) for one in found]}
        for exhibit in EXHIBITS
        if (found := [one for one in entries() if one.exhibit == exhibit.slug])
    ]


def _entry(one: Erratum, language: str) -> dict[str, Any]:
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == one.exhibit)
    return {
        "claim": inline(translate(one.claim, language, SUBJECT)),
        "where": translate(one.where, language, SUBJECT),
        "address": one.address,
        "truth": inline(one.told(language)),
        "show": one.show,
        "view": _view_title(exhibit, one.show, language),
    }


def _view_title(exhibit: Exhibit, show: str, language: str) -> str:
    slug = dict(pair.split("=", 1) for pair in show.lstrip("?").split("&"))["view"]
    return translate(exhibit.view(slug).title, language, exhibit.slug)
