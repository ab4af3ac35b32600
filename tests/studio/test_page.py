"""The page's own handlers, called as a browser or a stranger calls them."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest

from studio.controls import held, shown_value
from studio.exhibits import EXHIBITS
from studio.page import Turns, _answer
from studio.present import present

ROPE = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
VIEW = ROPE.views[0]


def values(**others):
    shown = {name: shown_value(control, VIEW.defaults[name]) for name, control in VIEW.controls.items()}
    return held(VIEW.controls, shown | others)


def answer(*asked):
    return json.loads(_answer(ROPE, *asked))


def test_a_live_view_is_answered_as_gradio_s_event_would():
    said = answer([VIEW.slug, values(head_dim=64)])
    *_, told = present(ROPE, VIEW, VIEW.defaults | {"head_dim": 64})
    same = ("id", "address", "key", "code", "panels", "prose", "direct")
    assert said["panels"] and [said[name] for name in same] == [json.loads(told)[name] for name in same]


def test_a_bad_setting_is_refused_by_name():
    assert "Head dimension d" in answer([VIEW.slug, values(head_dim="wide")])["error"]
    assert answer([VIEW.slug, None])["error"]


@pytest.mark.parametrize("asked", [None, 3, "similarity", [], ["similarity"], {}, [None, {}], [["similarity"], {}]])
def test_junk_is_refused(asked):
    assert answer(asked) == {"error": "This view waits for Run.", "panels": None}


def test_long_work_is_not_done_past_the_queue():
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            if view.streams or not view.live:
                assert "waits for Run" in _answer(exhibit, [view.slug, {}])


def test_what_was_overtaken_says_nothing_more():
    turns, visitor = Turns(), SimpleNamespace(session_hash="one")

    def stream():
        yield "first", "of two"
        yield "second", "of two"

    def overtaken():
        turns.at_once(lambda: "newer")(visitor)
        return "older"

    skip = gr.skip()
    assert [*turns(stream)(visitor)] == [("first", "of two"), ("second", "of two")]
    running = turns(stream)(visitor)
    assert next(running) == ("first", "of two")
    assert turns.at_once(lambda: "newer")(visitor) == "newer"
    assert [*running] == [(skip, skip)]
    assert turns.at_once(overtaken)(visitor) == skip
    turns.at_once(lambda: None)(SimpleNamespace(session_hash="two"))
    assert turns.at_once(lambda: "alone")(visitor) == "alone"
