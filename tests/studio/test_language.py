"""Every text has its Chinese, and no entry is left over."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from engines.arguments import Refusal
from studio import declared
from studio.exhibit import Choice, Control, Gallery
from studio.exhibits import EXHIBITS
from studio.language import PAGE, drawn, listening, needs_entry, raw, say, sentence, speaking, table, translate
from studio.panels import pack
from studio.present import panels
from studio.results import run
from studio.theme import ASSETS

ROOT = Path(__file__).parents[2]
SUBJECTS = [exhibit.slug for exhibit in EXHIBITS]
LOCALE = ASSETS / "locale" / "zh"


def constants(folder, *functions):
    """The first arguments, where they are constant texts, of calls to these functions in a folder or file."""
    found = set()
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in functions and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def of_control(control: Control):
    yield control.label
    yield control.help
    if isinstance(control, Choice) and isinstance(control.options, dict):
        yield from control.options.values()
    if isinstance(control, Gallery) and control.names:
        yield from control.names()


def declared_texts(exhibit):
    """All that an exhibit declares to be read."""
    yield from (exhibit.title, exhibit.summary, exhibit.question)
    for control in exhibit.controls:
        yield from of_control(control)
    for view in exhibit.views:
        yield from (view.title, view.caption, *view.scalars)
    for story in exhibit.stories:
        yield story.title
        for step in story.steps:
            yield step.text
    for check in exhibit.checks:
        yield check.claim


def drawn_texts(exhibit):
    """All that is looked up while the exhibit's views are drawn at their defaults."""
    with listening() as asked, speaking("zh", exhibit.slug):
        for view in exhibit.views:
            settings = view.defaults | dict(view.brief)
            *_, last = run(exhibit, view, settings)
            for panel in panels(view, last.result, settings):
                pack(panel)
    return {text for _, text in asked}


@pytest.fixture(scope="module", params=EXHIBITS, ids=lambda exhibit: exhibit.slug)
def subject(request):
    """An exhibit with the texts that need an entry: those that are declared or drawn, and those that may be."""
    exhibit = request.param
    engine = ROOT / "engines" / exhibit.slug
    figures = ROOT / "studio" / "exhibits" / exhibit.slug
    needed = {text for text in declared_texts(exhibit) if needs_entry(text)}
    needed |= {text for text in drawn_texts(exhibit) if needs_entry(text)}
    needed |= {
        text for text in constants(engine, "Refusal") | constants(figures, "say", "Refusal") if needs_entry(text)
    }
    return exhibit.slug, needed


def known(slug):
    return table("zh", slug).keys() | table("zh", PAGE).keys()


def test_every_text_has_its_chinese(subject):
    slug, needed = subject
    missing = sorted(needed - known(slug))
    assert not missing, f"{len(missing)} texts of {slug} have no entry in assets/locale/zh/{slug}.json: {missing[:20]}"


def test_no_entry_is_left_over(subject):
    slug, needed = subject
    source = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "studio" / "exhibits" / slug).rglob("*.py")))
    source += "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "engines" / slug).rglob("*.py")))
    # texts that are drawn at other settings only are still constants of the code
    texts = {
        node.value
        for node in ast.walk(ast.parse(source.replace("from __future__ import annotations", "")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    stale = sorted(table("zh", slug).keys() - needed - texts)
    assert not stale, f"{len(stale)} entries of {slug} belong to no text: {stale[:20]}"


def marks(text):
    return Counter(re.findall(r"\[\[([^|\]]+)\|", text))


def fields(text):
    return set(re.findall(r"\{(\w+)\}", text))


def formulas(text):
    return Counter(re.findall(r"\$[^$]+\$", text))


def digits(text):
    # 10,000 and 1万 are one number in two languages: numbers with a unit of ten thousands are not compared
    plain = re.sub(r"\$[^$]*\$|\{\w+\}|\[\[[^|\]]*\||\d+(\.\d+)?[万亿]", " ", text.replace(",", "").replace("，", " "))
    return Counter(re.findall(r"\d+(?:\.\d+)?", plain))


@pytest.mark.parametrize("file", sorted(LOCALE.glob("*.json")), ids=lambda file: file.stem)
def test_both_sides_agree(file):
    entries = json.loads(file.read_text(encoding="utf-8"))
    for english, chinese in entries.items():
        assert chinese.strip(), english
        assert fields(english) == fields(chinese), f"{english!r}: {{fields}} differ"
        assert formulas(english) == formulas(chinese), f"{english!r}: formulas differ"
        assert marks(english) == marks(chinese), f"{english!r}: marks differ"
        if not re.search(r"\d[万亿]", chinese):
            assert digits(english) == digits(chinese), f"{english!r}: digits differ in {chinese!r}"


def test_the_pages_own_texts_have_their_chinese():
    python = set().union(
        *(constants(file, "say", "translate", "Refusal") for file in sorted((ROOT / "studio").glob("*.py")))
    )
    shared = set().union(
        *(constants(file, "Refusal", "ModelError") for file in sorted((ROOT / "engines").glob("*.py")))
    )
    needed = {text for text in python | shared | set(declared.UI) if needs_entry(text)}
    missing = sorted(needed - table("zh", PAGE).keys())
    assert not missing, missing


def test_the_script_says_no_text_that_is_not_declared():
    script = "".join(file.read_text(encoding="utf-8") for file in sorted((ASSETS / "studio").glob("*.js")))
    asked = {json.loads(f'"{text}"') for text in re.findall(r'\bt\("((?:[^"\\]|\\.)*)"', script)}
    assert asked <= set(declared.UI)
    assert not [text for text in declared.UI if json.dumps(text, ensure_ascii=False) not in script]


def test_texts_with_values_are_filled_in_the_visitors_language():
    with speaking("zh", "studio"):
        said = say("{step} of {total}", step=3, total=12_000)
        assert said == "3 / 12,000" and said.english == "3 of 12,000"
        assert drawn(said) is said and drawn(raw("yes")) == "yes" and drawn("yes") != "yes"
    assert say("{step} of {total}", step=3, total=4) == "3 of 4"


def test_a_refusal_speaks_of_the_label_that_is_seen():
    fault = Refusal(
        "{parameter} must be a whole number from {low} to {high}, not {given}.", parameter="k", low=1, high=9, given="x"
    )
    assert str(fault) == "k must be a whole number from 1 to 9, not x."
    assert sentence(fault, "en", "studio", {"k": "Neighbours"}).startswith("Neighbours must be")
    assert "Neighbours" in sentence(fault, "zh", "studio", {"k": "Neighbours"})
    assert translate("Nobody wrote this.", "zh") == "Nobody wrote this."
