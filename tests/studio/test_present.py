"""From settings to what the browser draws."""

import base64
import dataclasses
import html
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from engines.arguments import Refusal
from engines.checks import Check
from engines.progress import Progress
from studio.exhibit import Exhibit, Range, Toggle, View
from studio.figure import bars, figure, heat, line, scrub
from studio.ghost import with_ghost
from studio.markup import to_html
from studio.panels import File, Folded, Pictures, Piece, Prose, Table, Writing, pack, verbatim
from studio.present import present
from studio.results import Cache, arrays, as_json, key, npz


@dataclasses.dataclass(frozen=True)
class Result:
    values: np.ndarray
    name: str = "x"


def compute(size: int = 4):
    if size == 13:
        raise Refusal("{parameter} {size} is not accepted: take another.", parameter="size", size=size)
    if size == 14:
        raise RuntimeError("inner details that no visitor should see")
    return Result(np.arange(size, dtype=np.float32))


def stream(steps: int = 3):
    for step in range(steps):
        yield Progress(step, steps, None)
        time.sleep(0.25)
    yield Progress(steps, steps, Result(np.ones(steps)))


def draw(result, log=False):
    drawn = figure(log="y" if log else "")
    line(drawn, np.arange(len(result.values)), result.values, "values")
    return [drawn, Table(["a"], [[1.5]]), Prose("Look at **this**.")]


VIEW = View("v", "V", "", compute, {"size": Range("Size", 1, 20)}, draw, looks={"log": Toggle("Log axis")})
STREAM = View("s", "S", "", stream, {"steps": Range("Steps", 1, 9)}, draw, live=False, seconds=5)
TOY = Exhibit("toy", "Toy", "", (), (VIEW, STREAM))


@pytest.fixture(autouse=True)
def toy_exhibit(monkeypatch):
    monkeypatch.setattr("studio.exhibits.EXHIBITS", (TOY,))


def seen(view, settings, **more):
    settings = view.defaults | settings
    if more.get("pinned"):
        more["pinned"] = view.defaults | more["pinned"]
    return [json.loads(stage) for stage in present(TOY, view, settings, **more)]


def test_a_file_is_handed_over_whole():
    data = np.arange(256, dtype=np.uint8)
    panel = json.loads(pack(File("a.bin", data, "Download")))
    assert (panel["kind"], panel["name"], panel["text"]) == ("file", "a.bin", "Download")
    assert base64.b64decode(panel["data"]) == data.tobytes()


def test_a_view_is_drawn_with_prose_and_address():
    [said] = seen(VIEW, {"size": 5})
    assert [p["kind"] for p in said["panels"]] == ["plot", "table", "prose"]
    assert said["panels"][2]["html"] == "<p>Look at <strong>this</strong>.</p>"
    assert said["address"] == "?tab=toy&view=v&size=5" and said["values"] == {"size": 5, "log": False}
    assert "size=5" in said["code"] and "log" not in said["code"]


def test_a_look_changes_the_picture_and_not_the_result():
    [plain], [log] = seen(VIEW, {"size": 6}), seen(VIEW, {"size": 6, "log": True})
    assert plain["key"] == log["key"] and plain["panels"] != log["panels"]
    assert log["address"].endswith("&size=6&log=1")


def test_two_views_of_one_engine_share_a_result():
    other = dataclasses.replace(VIEW, slug="w", draw=lambda result: Prose("other"), looks={})
    assert key(VIEW, {"size": 5, "log": True}) == key(other, {"size": 5})


def test_a_bad_setting_gets_the_engine_s_sentence_with_the_label_that_is_seen():
    [said] = seen(VIEW, {"size": 13})
    assert said["error"] == "Size 13 is not accepted: take another." and said["panels"] is None


def test_a_fault_of_ours_gives_nothing_away(caplog):
    [said] = seen(VIEW, {"size": 14})
    assert "inner details" not in said["error"] and said["error"]
    assert "inner details" in caplog.text


def test_a_stream_reports_and_ends_with_the_result():
    said = seen(STREAM, {"steps": 3})
    assert said[0]["busy"] and said[0]["progress"] is None and said[0]["status"] == "Computing"
    assert said[1]["progress"] == 0 and said[1]["status"] == "0 of 3"
    assert said[-1]["panels"] and not said[-1]["status"] and not said[-1]["busy"]


def test_what_takes_long_waits_for_run_unless_remembered():
    [said] = seen(STREAM, {"steps": 2}, compute=False)
    assert "Run" in said["status"] and said["panels"] is None
    seen(STREAM, {"steps": 2})
    [said] = seen(STREAM, {"steps": 2}, compute=False)
    assert said["panels"]


def test_the_pinned_result_is_a_ghost():
    [said] = seen(VIEW, {"size": 5}, pinned={"size": 6})
    assert said["address"].endswith("&pin=1&pin.size=6")
    plot = said["panels"][0]["figure"]["data"]
    assert len(plot) == 2 and plot[1]["opacity"] == 0.4 and plot[1]["line"]["dash"] == "dot"
    assert [p["kind"] for p in said["panels"]] == ["plot", "table", "prose", "table"]


def lines(*values, **axes):
    drawn = figure(**axes)
    for some in values:
        line(drawn, range(len(some)), some)
    return drawn


def test_what_cannot_lie_behind_stands_beside():
    one, other = figure(), figure()
    heat(one, [[1]])
    heat(other, [[2]])
    drawn = with_ghost(one, other)
    assert len(drawn) == 2 and drawn[1].layout["title"]["text"] == "Pinned"


def test_places_with_other_names_stand_beside_each_other():
    def named(*names):
        drawn = figure()
        bars(drawn, [0, 1], [1, 2])
        return drawn.x(tickvals=[0, 1], ticktext=list(names))

    def categories(name):
        drawn = figure()
        bars(drawn, [name], [1])
        return drawn

    assert len(with_ghost(named("a", "b"), named("a", "b"))) == 1
    assert len(with_ghost(named("a", "b"), named("a", "c"))) == 2
    assert len(with_ghost(categories("a"), categories("b"))) == 2


def test_a_fixed_range_widens_for_the_ghost():
    def spanning(*ends):
        return lines([1, 2]).x(span=ends).y(span=(0, 1))

    [both] = with_ghost(spanning(-1, 63), spanning(0, 127))
    assert both.layout["xaxis"]["range"] == [-1, 127] and both.layout["yaxis"]["range"] == [0, 1]
    [turned] = with_ghost(spanning(63, -1), spanning(0, 127))
    assert turned.layout["xaxis"]["range"] == [127, -1]
    assert "range" not in with_ghost(lines([1, 2]), spanning(0, 127))[0].layout["xaxis"]


def test_a_span_is_in_data_units_on_a_log_axis_too():
    assert lines([1, 2], log="y").y(span=(0.1, 100)).layout["yaxis"]["range"] == [-1, 2]


def test_a_stranger_s_text_is_verbatim():
    asked = "![](//evil.te/a) <img src=x> [a](http://b) $x$ **b** `c` www.d.e &amp; 明月"
    made = to_html(f"It says {verbatim(asked)}.")
    assert html.unescape(re.sub(r"<[^>]*>", "", made)) == f"It says {asked}."
    assert not re.findall(r"<(?!/?p>)", made)


def test_formulas_become_mathml_and_marks_name_traces():
    made = to_html("The [[exact one|exact *curve*]] of $\\sigma_k$ <b>costs</b> 5$ only.")
    assert '<span class="mark" data-mark="exact one">exact *curve*</span>' in made
    assert "<math" in made and "<msub>" in made and "<b>" not in made and "5$ only" in made


def test_frames_leave_the_ghost_alone():
    drawn = scrub(lines([1]), [[{"y": [1]}], [{"y": [2]}]], ["0", "1"])
    [both] = with_ghost(drawn, lines([3]))
    assert len(both.data) == 2 and all(len(moment) == 1 for moment in both.frames)
    assert both.as_dict()["scrub"]["start"] == 1


def test_arrays_travel_typed_and_no_wider_than_they_must():
    drawn = lines(np.array([0.1, np.nan, 3.0]), np.array([1.7e9, 1.7e9 + 1, 1.7e9 + 2]))
    traces = json.loads(drawn.as_json())["data"]
    assert [trace["y"]["dtype"] for trace in traces] == ["f4", "f8"] and traces[0]["x"]["dtype"] == "i1"
    kept = np.frombuffer(base64.b64decode(traces[0]["y"]["bdata"]), np.float32)
    np.testing.assert_array_equal(kept, np.array([0.1, np.nan, 3.0], np.float32))


def test_text_is_written_in_tiles_and_folds_hold_panels():
    writing = Writing([[[Piece("明", "#0077bb", 0.5, "new")]], [[Piece("月")]]], labels=("1", "2"))
    packed = json.loads(pack(Folded("Details", [writing])))
    assert packed["title"] == "Details" and packed["panels"][0]["frames"][0] == [[["明", "#0077bb", 0.5, "new"]]]
    assert packed["panels"][0]["start"] == 1


def test_the_cache_is_bounded_in_bytes():
    cache = Cache(10_000)
    for i in range(10):
        cache.put(str(i), Result(np.zeros(500)))
    assert cache.get("0") is None and cache.get("9") is not None
    for i in range(10):
        cache.put(f"live {i}", Result(np.zeros(1)), is_live=True)
    assert cache.get("live 9") is None and cache.get("9") is not None  # redraws push no long run's result out
    cache = Cache(160_000)
    for i in range(10):
        cache.put(str(i), Result(np.zeros(500)), is_live=True)
    assert cache.get("0") is None and cache.get("9") is not None


def test_data_come_back_as_arrays():
    [said] = seen(VIEW, {"size": 7})
    loaded = np.load(io.BytesIO(base64.b64decode(npz(said["key"]))), allow_pickle=False)
    np.testing.assert_array_equal(loaded["values"], np.arange(7))
    assert npz("no such key") is None


def test_arrays_of_nested_results():
    nested = {"a": [Result(np.ones(2)), Result(np.zeros(1))], "b": torch.tensor([1.0]), "c": None, "d": (1, 2)}
    assert set(arrays(nested)) == {"a.0.values", "a.0.name", "a.1.values", "a.1.name", "b", "d"}
    assert as_json({"x": np.array([1.0, np.nan, np.inf])}) == {"x": [1.0, None, None]}


def test_pictures_travel_as_png():
    packed = json.loads(pack(Pictures(np.zeros((2, 4, 3, 3), np.uint8), ["a", "b"], columns=("x", "y"), size=99)))
    assert packed["width"] == 99 and all(image.startswith("data:image/png;base64,") for image in packed["images"])
    assert packed["columns"] == ["x", "y"]


def test_numbers_of_a_table_have_three_digits():
    packed = json.loads(pack(Table(("a",), [[1.23456e-5], [12_345], [-0.5], [True], ["x"], [float("nan")]])))
    assert [row[0] for row in packed["rows"]] == [
        ["1.23×10⁻⁵", True],
        ["12,345", True],
        ["−0.5", True],
        ["yes", False],
        ["x", False],
        ["–", True],
    ]


def test_a_check_can_fail():
    def check(expected, measured, **more):
        return Check("", "", expected, 0.1, lambda: measured, **more).outcome().holds

    assert check(1.0, 1.05) and not check(1.0, 1.2) and not check(1.0, float("nan"))
    assert check(100.0, 105.0, relative=True) and not check([1, 2], [1, 2, 3])


def test_starting_the_page_imports_no_heavy_library():
    code = "import sys, studio.serve; studio.serve.options(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert sorted({"diffusers", "transformers", "tokenizers", "scipy", "sklearn"} & set(loaded)) == []
