"""From settings to what the browser draws."""

import base64
import dataclasses
import html
import io
import json
import re
import string
import subprocess
import sys
import time

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from engines.progress import Progress
from studio.exhibit import Check, Exhibit, File, Pictures, Prose, Range, Table, View, verbatim
from studio.figure import figure, scrubbed, with_ghost
from studio.present import Cache, arrays, as_json, npz, panels, present, stage


@dataclasses.dataclass(frozen=True)
class Result:
    values: np.ndarray
    name: str = "x"


def compute(size: int = 4):
    if size == 13:
        raise ValueError("size: thirteen brings bad luck, take another.")
    if size == 14:
        raise RuntimeError("inner details that no visitor should see")
    return Result(np.arange(size, dtype=np.float32))


def stream(steps: int = 3):
    for step in range(steps):
        yield Progress(step, steps, None)
        time.sleep(0.25)
    yield Progress(steps, steps, Result(np.ones(steps)))


def draw(result):
    return [figure([go.Scatter(y=result.values)]), Table(["a"], [[1.5]]), Prose("Look at **this**.")]


VIEW = View("v", "V", "", compute, {"size": Range("Size", 1, 20)}, draw)
STREAM = View("s", "S", "", stream, {"steps": Range("Steps", 1, 9)}, draw, live=False, seconds=5)
TOY = Exhibit("toy", "Toy", "", (), (VIEW, STREAM))


@pytest.fixture(autouse=True)
def toy_exhibit(monkeypatch):
    monkeypatch.setattr("studio.exhibits.EXHIBITS", (TOY,))


def seen(view, settings, **more):
    return [json.loads(stage) for stage in present(TOY, view, settings, **more)]


def test_a_file_is_handed_over_whole():
    data = np.arange(256, dtype=np.uint8)
    view = View("v", "V", "", compute, {}, lambda _: File("a.bin", data, "Download"))
    (panel,) = json.loads(stage(TOY, view, {}, shown=panels(view, None)[0]))["panels"]
    assert (panel["kind"], panel["name"], panel["text"]) == ("file", "a.bin", "Download")
    assert base64.b64decode(panel["data"]) == data.tobytes()


def test_a_view_is_drawn_with_prose_and_address():
    [said] = seen(VIEW, {"size": 5})
    assert said["prose"] == "Look at **this**." and [p["kind"] for p in said["panels"]] == ["plot", "table"]
    assert said["address"] == "?tab=toy&view=v&size=5"
    assert "size=5" in said["code"]


def test_a_bad_setting_gets_the_engine_s_sentence():
    [said] = seen(VIEW, {"size": 13})
    assert said["error"].startswith("size: thirteen") and said["panels"] is None


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
    assert [p["kind"] for p in said["panels"]] == ["plot", "table", "table"]


def test_what_cannot_lie_behind_stands_beside():
    drawn = with_ghost(figure([go.Heatmap(z=[[1]])]), figure([go.Heatmap(z=[[2]])]))
    assert len(drawn) == 2 and drawn[1].layout.title.text == "Pinned"


def test_places_with_other_names_stand_beside_each_other():
    def bars(*names):
        drawn = figure([go.Bar(x=[0, 1], y=[1, 2])])
        drawn.update_xaxes(tickvals=[0, 1], ticktext=list(names))
        return drawn

    assert len(with_ghost(bars("a", "b"), bars("a", "b"))) == 1
    assert len(with_ghost(bars("a", "b"), bars("a", "c"))) == 2
    assert len(with_ghost(figure([go.Bar(x=["a"], y=[1])]), figure([go.Bar(x=["b"], y=[1])]))) == 2


def test_a_fixed_range_widens_for_the_ghost():
    def line(*ends):
        return figure([go.Scatter(y=[1, 2])], xaxis={"range": list(ends)}, yaxis={"range": [0, 1]})

    [both] = with_ghost(line(-1, 63), line(0, 127))
    assert tuple(both.layout.xaxis.range) == (-1, 127)
    assert tuple(both.layout.yaxis.range) == (0, 1)
    [turned] = with_ghost(line(63, -1), line(0, 127))
    assert tuple(turned.layout.xaxis.range) == (127, -1)
    free = figure([go.Scatter(y=[1, 2])])
    assert with_ghost(free, line(0, 127))[0].layout.xaxis.range is None


def test_a_stranger_s_text_is_verbatim():
    asked = "![](//evil.te/a) <img src=x> [a](http://b) $x$ **b** `c` www.d.e &amp; 明月"
    said = verbatim(asked)
    assert html.unescape(said) == asked.replace("$", "＄")
    assert not set(re.sub(r"&#\d+;", "", said)) & set(string.punctuation)


def test_frames_leave_the_ghost_alone():
    drawn = scrubbed(figure([go.Scatter(y=[1])]), [[go.Scatter(y=[1])], [go.Scatter(y=[2])]], ["0", "1"])
    [both] = with_ghost(drawn, figure([go.Scatter(y=[3])]))
    assert len(both.data) == 2 and all(frame.traces == (0,) for frame in both.frames)


def test_the_cache_is_bounded_in_bytes():
    cache = Cache(10_000)
    for i in range(10):
        cache.put(str(i), Result(np.zeros(500)))
    assert cache.get("0") is None and cache.get("9") is not None
    assert cache._held <= 10_000


def test_data_come_back_as_arrays():
    [said] = seen(VIEW, {"size": 7})
    loaded = np.load(io.BytesIO(base64.b64decode(npz(said["key"])["data"])), allow_pickle=False)
    np.testing.assert_array_equal(loaded["values"], np.arange(7))
    assert "draw the figure again" in npz("no such key")["error"]


def test_arrays_of_nested_results():
    nested = {"a": [Result(np.ones(2)), Result(np.zeros(1))], "b": torch.tensor([1.0]), "c": None, "d": (1, 2)}
    assert set(arrays(nested)) == {"a.0.values", "a.0.name", "a.1.values", "a.1.name", "b", "d"}
    assert as_json({"x": np.array([1.0, np.nan, np.inf])}) == {"x": [1.0, None, None]}


def test_pictures_travel_as_png():
    view = dataclasses.replace(VIEW, draw=lambda result: Pictures(np.zeros((2, 4, 3, 3), np.uint8), ["a", "b"]))
    shown, _ = panels(view, compute())
    packed = json.loads(stage(TOY, view, {"size": 4}, shown=shown))["panels"][0]
    assert packed["width"] == 9 and all(image.startswith("data:image/png;base64,") for image in packed["images"])


def test_a_check_can_fail():
    def check(expected, measured, **more):
        return Check("", "", expected, 0.1, lambda: measured, **more).outcome().holds

    assert check(1.0, 1.05) and not check(1.0, 1.2) and not check(1.0, float("nan"))
    assert check(100.0, 105.0, relative=True) and not check([1, 2], [1, 2, 3])


def test_starting_the_page_imports_no_heavy_library():
    code = "import sys, studio.page; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"diffusers", "transformers", "tokenizers", "scipy", "sklearn"} & set(loaded)
