"""The page's own handlers, called as a browser or a stranger calls them."""

import asyncio
import json
import re
import time
from dataclasses import replace

import pytest

from engines.arguments import Refusal
from engines.checks import Check
from studio import page, results
from studio.declared import declared
from studio.exhibit import Drawing, Upload
from studio.exhibits import EXHIBITS
from studio.figure import COLORS
from studio.present import present, shown_values
from studio.theme import ASSETS
from studio.uploads import sent_file

ROPE = page.BY_SLUG["rope"]
VIEW = ROPE.view("similarity")
TABLE = Upload("Table", (".csv",), 0.001)


def values(**others):
    return shown_values(ROPE, VIEW, VIEW.defaults) | others


def draw(*asked):
    return json.loads(page.draw(list(asked)))


def test_a_live_view_is_answered_at_once():
    said = draw("rope", "similarity", values(head_dim=64), None, "en")
    *_, told = present(ROPE, VIEW, VIEW.defaults | {"head_dim": 64})
    same = ("exhibit", "view", "address", "key", "code", "panels")
    assert said["panels"] and [said[name] for name in same] == [json.loads(told)[name] for name in same]


def test_a_notebook_is_given_or_refused_with_a_sentence():
    asked = ["rope", "similarity", values(head_dim=64), None, "en", "https://studio.example/?tab=rope"]
    made = json.loads(page.fetch_notebook(asked))
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "code", "code", "markdown"]
    assert "<https://studio.example/?tab=rope>" in made["cells"][0]["source"]
    assert "head_dim=64" in made["cells"][1]["source"]
    asked[2] = values(head_dim="wide")
    assert "Head dimension d" in json.loads(page.fetch_notebook(asked))["error"]
    for junk in (None, [], ["rope"] * 6, 3):
        assert "reload" in json.loads(page.fetch_notebook(junk))["error"]


def test_a_pin_is_drawn_and_said():
    said = draw("rope", "similarity", values(), values(head_dim=64), "en")
    assert said["pinned"] == [["Head dimension d", "64"]] and "pin.head_dim=64" in said["address"]


def test_a_bad_setting_is_refused_by_the_label_that_is_seen():
    assert "Head dimension d" in draw("rope", "similarity", values(head_dim="wide"), None, "en")["error"]
    assert "Head dimension d" not in draw("rope", "similarity", values(head_dim="wide"), None, "zh")["error"]


@pytest.mark.parametrize(
    "asked",
    [None, 3, "rope", [], ["rope"] * 5, {}, ["rope", "similarity", [], None, "en"], ["rope", "x", {}, None, "en"]],
)
def test_junk_is_refused(asked):
    said = json.loads(page.draw(asked))
    assert "reload" in said["error"] and said["panels"] is None
    assert [*page._run({"ask": asked})] == [page.draw(asked)]


def test_junk_values_mean_the_defaults_or_a_sentence():
    for junk in ({}, {"x": 1}, {"head_dim": None}, {"head_dim": [1]}, {"bases": {}}):
        said = draw("rope", "similarity", junk, None, "tlh")
        assert said["error"] or said["panels"]


def test_long_work_is_not_done_past_the_queue(monkeypatch):
    monkeypatch.setattr(page.firsts, "read", lambda *_: None)
    monkeypatch.setattr(results, "RESULTS", results.Cache(0))  # nor is it remembered from another test
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            if not view.is_direct:
                said = draw(exhibit.slug, view.slug, shown_values(exhibit, view, view.defaults), None, "en")
                assert said["panels"] is None and said["waits"]


@pytest.mark.parametrize("query", ["", "?", "?tab=", "?view=similarity"])
def test_no_address_is_the_opening_page(query):
    assert json.loads(page.arrive([query, "en"])) == {"exhibit": None, "notice": ""}


def test_what_an_address_names_wrongly_is_said():
    assert "nosuch" in json.loads(page.arrive(["?tab=nosuch", "en"]))["notice"]
    found = json.loads(page.arrive(["?tab=ROPE&view=nosuch", "en"]))
    assert found["exhibit"] == "rope" and "nosuch" in found["notice"]


def test_a_story_is_a_place():
    story = ROPE.stories[0]
    found = json.loads(page.arrive(["?tab=rope&story=1.2", "en"]))
    assert found["story"] == [0, 1] and found["view"] == story.view
    for said in ("", "0.1", "1.99", "99.1", "x", "1.x", "1" * 50):
        assert json.loads(page.arrive([f"?tab=rope&story={said}", "en"]))["story"] is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_declared_is_whole(language):
    told = json.loads(declared(language))
    assert [exhibit["slug"] for exhibit in told["exhibits"]] == [exhibit.slug for exhibit in EXHIBITS]
    for exhibit in told["exhibits"]:
        for view in exhibit["views"]:
            names = [control["name"] for control in view["controls"]]
            assert set(names) <= exhibit["controls"].keys() and len(set(names)) == len(names)
            assert view["defaults"].keys() <= exhibit["defaults"].keys()


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """The folder into which gradio puts what browsers send."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def test_the_page_has_the_colours_of_the_figures():
    found = re.search(r"const COLORS = (\[.*?\]);", (ASSETS / "studio" / "look.js").read_text())
    assert found and json.loads(found[1]) == list(COLORS)


def test_a_file_that_was_sent_is_given(uploads):
    (uploads / "points.csv").write_text("1,2\n")
    path = str(uploads / "points.csv")
    assert sent_file(TABLE, path) == path


@pytest.mark.parametrize(
    "raw", ["/etc/passwd", "../secret.csv", "no\0thing", "half \ud800", "x" * 5000, 7, ["a"], {"path": "a"}]
)
def test_other_files_of_this_machine_are_not(uploads, raw):
    with pytest.raises(ValueError, match="Table: the file is no longer here; send it again"):
        sent_file(TABLE, raw)


def test_a_way_out_of_the_folder_is_not_taken(uploads):
    (uploads.parent / "secret.csv").write_text("1\n")
    with pytest.raises(ValueError, match="no longer here"):
        sent_file(TABLE, str(uploads / ".." / "secret.csv"))
    (uploads / "way.csv").symlink_to(uploads.parent / "secret.csv")
    with pytest.raises(ValueError, match="no longer here"):
        sent_file(TABLE, str(uploads / "way.csv"))


def test_size_and_ending_are_bounded(uploads):
    (uploads / "long.csv").write_text("1\n" * 1000)
    with pytest.raises(ValueError, match=r"Table: the file is larger than 0.001 MB"):
        sent_file(TABLE, str(uploads / "long.csv"))
    (uploads / "points.pkl").write_text("1")
    with pytest.raises(ValueError, match=r"Table: choose a file ending in .csv."):
        sent_file(TABLE, str(uploads / "points.pkl"))
    (uploads / "drawing.png").write_bytes(b"1")
    assert sent_file(Drawing("Curve"), str(uploads / "drawing.png")).endswith("drawing.png")


def test_checks_are_measured_once_for_all_who_wait(monkeypatch):
    measured = []

    def slow():
        measured.append(1)
        time.sleep(0.05)
        return 1.0

    exhibit = replace(ROPE, checks=(Check("One", "", 1.0, 0.1, slow),))
    monkeypatch.setitem(page.BY_SLUG, "rope", exhibit)

    async def ask(times):
        return await asyncio.gather(*(page.run_checks(["rope", "en"]) for _ in range(times)))

    tables = asyncio.run(ask(8))
    assert len(measured) == 1 and len(set(tables)) == 1 and "holds" in tables[0]
    asyncio.run(ask(1))
    assert len(measured) == 2  # and again when it is asked for again


def test_too_many_short_answers_are_told_so_and_a_fault_of_ours_is_no_wrong_question(monkeypatch):
    async def busy(*_):
        raise Refusal("The studio is busy: {count} runs are waiting. Try again in a few minutes.", count=200)

    monkeypatch.setattr(page, "inside", busy)
    said = json.loads(asyncio.run(page._short(page.draw)(["rope", "similarity", {}, None, "zh"])))
    assert "200" in said["error"] and "排队" in said["error"] and said["panels"] is None

    async def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(page, "inside", broken)
    with pytest.raises(RuntimeError, match="arrive"):
        asyncio.run(page._short(page.arrive)(["", "en"]))
