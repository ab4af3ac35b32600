"""Settings to address and back: what a person typed gets a sentence, what a link says is bent to what is possible."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from studio import link
from studio.declared import declared
from studio.exhibit import Choice, Exhibit, Former, Numbers, Range, Text, Toggle, View
from studio.exhibits import EXHIBITS

BASE = Range("Base", 1.5, 1e9, log=True)
DIM = Range("Head dimension", 2, 512)


@pytest.mark.parametrize(
    "control, raw, default, sentence",
    [
        (BASE, "ten", 1e4, "Base: 'ten' is not a number."),
        (BASE, "1", 1e4, "Base: give a number from 1.5 to 1,000,000,000."),
        (BASE, "nan", 1e4, "Base: 'nan' is not a number."),
        (DIM, 1e30, 64, "Head dimension: give a number from 2 to 512."),
        (DIM, None, 64, "is not a number"),
        (Numbers("Bases", 1, 10, most=2), "1, 2, 3", (1.0,), "Bases: give 1 to 2 numbers"),
        (Numbers("Bases", 1, 10, most=2), "", (1.0,), "Bases: give 1 to 2 numbers"),
        (Choice("Map", ("a", "b")), "c", "a", "Map: choose among a, b."),
        (Choice("Maps", ("a", "b"), several=True), ["a", "c"], ("a",), "Maps: choose among a, b."),
        (Toggle("Log"), "maybe", True, "Log: answer 1 or 0."),
        (Text("Words", most=3), "abcd", "", "Words: at most 3 characters, this has 4."),
    ],
)
def test_what_cannot_be_read_is_said(control, raw, default, sentence):
    with pytest.raises(ValueError) as fault:
        link.parse(control, raw, default)
    assert sentence in str(fault.value)


def test_numbers_take_commas_spaces_and_brackets():
    control = Numbers("Scores", -10, 10, most=5)
    assert link.parse(control, "(2, 1 0.5;-3)", (0.0,)) == (2.0, 1.0, 0.5, -3.0)
    assert link.parse(control, "2 3", (1, 2)) == (2, 3)


def test_a_link_is_clamped():
    assert link.parse(DIM, "1e30", 64, clamp=True) == 512
    assert link.parse(BASE, "-5", 1e4, clamp=True) == 1.5
    assert link.parse(Numbers("Bases", 1, 10, most=2), "1,2,30,4", (1.0,), clamp=True) == (1.0, 2.0)


def test_a_link_is_bent_onto_steps_and_a_call_off_them_is_refused():
    even = Range("Order", 2, 12, step=2)
    assert [link.parse(even, raw, 2, clamp=True) for raw in (2, 3.2, 5, "11.9")] == [2, 4, 6, 12]
    assert link.parse(Range("Samples", 64, 4096, step=64), 1000, 64, clamp=True) == 1024
    for raw in (3, 2.5, "5", True):
        with pytest.raises(ValueError, match="Order: "):
            link.parse(even, raw, 2)


@pytest.mark.parametrize("raw", [[1.0, None], [True], [[1.0]], {"a": 1}, 3.0, None])
def test_a_list_with_something_else_in_it_is_refused(raw):
    with pytest.raises(ValueError, match="Scores: give a list"):
        link.parse(Numbers("Scores", -10, 10, most=5), raw, (0.0,))


def draw(result, log=False):
    return []


def survey(points=500, k=10):
    return points, k


TOY = Exhibit(
    "toy",
    "Toy",
    "",
    (),
    (
        View(
            "survey",
            "Survey",
            "",
            survey,
            {"points": Range("Points", 10, 900), "k": Range("k", 1, 99)},
            draw,
            looks={"log": Toggle("Log")},
        ),
    ),
    former={
        "survey": Former("survey", names={"few_points": "points"}, values={"k": 5}),
        "mine": Former("survey", names={"n": "points"}, values={"points": 100}),
    },
)


@pytest.mark.parametrize(
    "query, settings",
    [
        ("?tab=toy", {"points": 500, "k": 10, "log": False}),
        ("?tab=toy&view=survey", {"points": 500, "k": 5, "log": False}),
        ("?tab=toy&view=survey&few_points=700&log=1", {"points": 700, "k": 5, "log": True}),
        ("?tab=toy&view=MINE", {"points": 100, "k": 10, "log": False}),
        ("?tab=toy&view=mine&n=30&k=3", {"points": 30, "k": 3, "log": False}),
    ],
)
def test_a_former_link_means_what_it_meant(query, settings):
    view, found, pinned = link.read(TOY, query)
    assert view.slug == "survey" and found == settings and pinned is None
    assert link.read(TOY, link.write(TOY, view, found)) == (view, found, None)


FORMER_LINKS = (Path(__file__).parent / "former_links.txt").read_text().split()


@pytest.mark.parametrize("address", FORMER_LINKS)
def test_links_made_before_the_renewal_open(address):
    """Each of them was written by the studio of 26 November 2026, one for each of its 68 views."""
    pairs = dict(parse_qsl(address.lstrip("?")))
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == pairs["tab"])
    former = exhibit.former.get(pairs["view"])
    assert former or pairs["view"] in {view.slug for view in exhibit.views}
    view, settings, _ = link.read(exhibit, address)
    assert view.slug == (former.view if former else pairs["view"])
    for name, text in pairs.items():
        if name in ("tab", "view"):
            continue
        now = former.names.get(name, name) if former else name
        assert now in settings, f"{name} has no successor in {exhibit.slug}/{view.slug}"
        said = link.text(settings[now])
        # a whole number between two steps of its slider opened at one of them then, too (head_dim=195 at 194)
        step = getattr(view.settings[now], "step", None) or 1
        near = isinstance(settings[now], int) and abs(float(said) - float(text)) < step
        assert sorted(said.split(",")) == sorted(text.split(",")) or near or float(said) == float(text), (
            f"{name}={text} became {said}"
        )


def test_half_a_surrogate_pair_is_no_text():
    assert link.parse(Text("Words", most=9), "a\ud800b", "") == "a?b"


def test_numbers_are_written_as_a_person_would():
    assert link.text(10000.0) == "10000"
    assert link.text(0.1) == "0.1"
    assert link.text((1e4, 2.5)) == "10000,2.5"
    assert link.text(True) == "1"


def test_every_link_of_the_texts_says_all_that_it_means():
    # (of some views a link that says nothing more is a former one, and opens the former defaults)
    exhibits = {exhibit.slug: exhibit for exhibit in EXHIBITS}
    texts = [path.read_text() for path in Path("studio/exhibits").rglob("*.py")]
    links = re.findall(r"\]\((\?tab=[^)]*)\)", "".join(texts))
    links += [link.write(exhibit, view, view.defaults) for exhibit in EXHIBITS for view in exhibit.views]
    for query in links:
        exhibit = exhibits[dict(parse_qsl(query[1:]))["tab"]]
        view, settings, pinned = link.read(exhibit, query)
        assert link.write(exhibit, view, settings, pinned) == query and pinned is None
    declarations = json.loads(declared("en"))["exhibits"]
    assert {view["query"] for exhibit in declarations for view in exhibit["views"]} <= set(links)
