"""The page's languages: English stands in the code, Chinese in assets/locale/zh/<subject>.json, English -> Chinese.

Declared texts are looked up when the page is rendered. Texts of a figure are looked up while it is drawn, in the language
that `speaking` sets around a draw function; results and the cache of results know no language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from engines.arguments import Refusal, spelled
from studio.theme import ASSETS

LANGUAGES = {"en": "English", "zh": "中文"}
PAGE = "studio"  # the subject of texts that every page has
_WORDS = re.compile(r"[A-Za-z]{2,}")

_spoken: ContextVar[tuple[str, str]] = ContextVar("spoken", default=("en", PAGE))
_asked: ContextVar[set[tuple[str, str]] | None] = ContextVar("asked", default=None)


class Said(str):
    """A text in the visitor's language that needs no translation any more; `english` is what it was."""

    english: str

    def __new__(cls, text: str, english: str) -> Said:
        """Keep both."""
        said = super().__new__(cls, text)
        said.english = english
        return said

    def __getnewargs__(self) -> tuple[str, str]:
        """A copy is made of both."""
        return str(self), self.english


@cache
def table(language: str, subject: str) -> dict[str, str]:
    """The entries of a subject in a language; of English, and of a subject without a file, none."""
    file = ASSETS / "locale" / language / f"{subject}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def translate(text: str, language: str, subject: str = PAGE) -> str:
    """A declared text in a language; the text itself where there is no entry."""
    asked = _asked.get()
    if asked is not None and needs_entry(text):
        asked.add((subject, text))
    if language == "en":
        return text
    return table(language, subject).get(text) or table(language, PAGE).get(text) or text


def needs_entry(text: str) -> bool:
    """Whether a text holds words (two Latin letters in a row, formulas and HTML tags aside)."""
    return bool(_WORDS.search(re.sub(r"\$[^$]*\$|<[^>]*>|\{[^}]*\}", " ", text)))


@contextmanager
def speaking(language: str, subject: str) -> Iterator[None]:
    """Texts drawn inside are in this language, looked up among those of the subject first."""
    token = _spoken.set((language, subject))
    try:
        yield
    finally:
        _spoken.reset(token)


@contextmanager
def listening() -> Iterator[set[tuple[str, str]]]:
    """The (subject, text) of all that is looked up inside, for the tests."""
    asked: set[tuple[str, str]] = set()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def say(template: str, **fields: Any) -> Said:
    """A drawn text with values: `say("b = {base}", base=short(b))`. Numbers are spelled with separators."""
    language, subject = _spoken.get()
    values = {name: spelled(value) for name, value in fields.items()}
    return Said(translate(template, language, subject).format(**values), template.format(**values))


def raw(text: Any) -> Said:
    """A drawn text that is data: a token, a file's name, a method's own name."""
    return Said(str(text), str(text))


def drawn(text: str) -> Said:
    """A text on its way into a figure: looked up, unless it has been."""
    if isinstance(text, Said):
        return text
    return Said(translate(text, *_spoken.get()), text)


def sentence(fault: ValueError, language: str, subject: str, labels: dict[str, str]) -> str:
    """What a refusal says to a visitor, who sees labels and not parameters (labels: parameter -> English label)."""
    if not isinstance(fault, Refusal):
        return str(fault)
    fields = {name: spelled(value) for name, value in fault.fields.items()}
    if "parameter" in fields:
        fields["parameter"] = translate(labels.get(fields["parameter"], fields["parameter"]), language, subject)
    return translate(fault.template, language, subject).format(**fields)
