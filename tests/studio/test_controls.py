"""The controls as the browser sends them: junk, strangers' files, and what is declared."""

import json

import pytest

from studio.controls import build, given, shown_value
from studio.exhibit import Choice, Drawing, Numbers, Range, Text, Toggle, Upload
from studio.exhibits import EXHIBITS

TABLE = Upload("Table", (".csv",), 0.001)


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    """The folder into which gradio puts what browsers send."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


def value(raw):
    return {"shown": [], "values": {"path": raw}}


def test_a_file_that_was_sent_is_given(uploads):
    (uploads / "points.csv").write_text("1,2\n")
    path = str(uploads / "points.csv")
    assert given(TABLE, value(path), "path") == path
    assert given(TABLE, value(None), "path") is None
    assert given(TABLE, {}, "path") is None


@pytest.mark.parametrize(
    "raw", ["/etc/passwd", "../secret.csv", "no\0thing", "half \ud800", "x" * 5000, 7, ["a"], {"path": "a"}]
)
def test_other_files_of_this_machine_are_not(uploads, raw):
    with pytest.raises(ValueError, match="Table: the file is no longer here; send it again"):
        given(TABLE, value(raw), "path")


def test_a_way_out_of_the_folder_is_not_taken(uploads):
    (uploads.parent / "secret.csv").write_text("1\n")
    with pytest.raises(ValueError, match="no longer here"):
        given(TABLE, value(str(uploads / ".." / "secret.csv")), "path")
    (uploads / "way.csv").symlink_to(uploads.parent / "secret.csv")
    with pytest.raises(ValueError, match="no longer here"):
        given(TABLE, value(str(uploads / "way.csv")), "path")


def test_size_and_ending_are_bounded(uploads):
    (uploads / "long.csv").write_text("1\n" * 1000)
    with pytest.raises(ValueError, match=r"Table: the file is larger than 0.001 MB"):
        given(TABLE, value(str(uploads / "long.csv")), "path")
    (uploads / "points.pkl").write_text("1")
    with pytest.raises(ValueError, match=r"Table: choose a file ending in .csv."):
        given(TABLE, value(str(uploads / "points.pkl")), "path")
    (uploads / "drawing.png").write_bytes(b"1")
    assert given(Drawing("Curve"), value(str(uploads / "drawing.png")), "path").endswith("drawing.png")


@pytest.mark.parametrize("junk", [None, 3, "text", [], {"values": 3}, {"values": None, "shown": 1}])
def test_junk_is_nothing(junk):
    assert given(Range("n", 1, 2), junk, "n") is None


def test_what_is_declared_to_the_browser():
    controls = {
        "n": Range("n", 1, 10, log=True),
        "m": Choice("m", {"a": "A", "b": "B"}),
        "s": Choice("s", ("a", "b"), several=True),
        "t": Toggle("t"),
        "x": Numbers("x", 0, 1, most=3),
        "w": Text("w", most=10, lines=4),
        "d": Drawing("d"),
        "u": TABLE,
    }
    defaults = {"n": 2, "m": "a", "s": ("a",), "t": True, "x": (0.5, 1.0), "w": "hi", "d": None, "u": None}
    component = build(controls, defaults, ["n"], lambda asked: "{}")
    shown = {name: shown_value(control, defaults[name]) for name, control in controls.items()}
    assert component.value == {"shown": ["n"], "values": shown}
    assert shown["x"] == "0.5, 1" and shown["s"] == ["a"]
    declared = json.loads(component.js_on_load.split("trigger('input'), ")[1][:-1])
    assert [said["kind"] for said in declared] == [type(control).__name__ for control in controls.values()]
    assert declared[0]["integer"] and declared[0]["step"] == 1


def test_no_two_views_disagree_about_a_control():
    for exhibit in EXHIBITS:
        seen = {}
        for view in exhibit.views:
            for name, control in view.controls.items():
                assert type(seen.setdefault(name, control)) is type(control), f"{exhibit.slug}: {name}"
