"""RoPE's figures: what is drawn stands where the numbers say."""

import numpy as np
import pytest

from engines.rope.bases import feasible_bases
from engines.rope.curves import similarity_curves
from engines.rope.digits import dials
from engines.rope.partial import partial_rotation
from studio.exhibits.rope.figures import draw_bases, draw_dials, draw_partial, draw_similarity
from studio.exhibits.rope.figures_decoders import near
from studio.panels import Folded, Table


@pytest.mark.parametrize(("ways", "digits"), [(4, 4), (2, 8), (1, 2)])
def test_every_bead_lies_on_a_ring_of_its_dial(ways, digits):
    result = dials(digits=digits, numerals=("none", "linear", "ntk_fixed", "ntk_mixed")[:ways])
    drawing = draw_dials(result)[0]
    inner, outer, texts, rings, seen = drawing.data
    assert len(texts["x"]) == ways * digits
    for trace in (rings, seen):
        x, y = (np.array(trace[axis]).reshape(2, ways * digits, 50)[:, :, :49] for axis in "xy")
        radius = np.hypot(x - np.array(texts["x"])[:, None], y - np.array(texts["y"])[:, None])
        np.testing.assert_allclose(radius, np.broadcast_to([[[0.6]], [[1.0]]], radius.shape))
    for beads, radius in ((inner, 0.6), (outer, 1.0)):
        away = np.hypot(np.subtract(beads["x"], texts["x"]), np.subtract(beads["y"], texts["y"]))
        np.testing.assert_allclose(away, radius, atol=2e-3)
    assert drawing.frames[result.start][2]["text"] == texts["text"]


def test_a_dial_shows_the_digits_of_the_table():
    result = dials()
    shown = np.array(draw_dials(result)[0].frames[result.start][2]["text"], dtype=int).reshape(4, 4)
    np.testing.assert_array_equal(shown, np.floor(result.values))


def test_the_cross_stands_where_the_similarity_is_first_negative():
    drawing = draw_similarity(similarity_curves(bases=(10_000.0,)))[0]
    crosses = [trace for trace in drawing.data if trace.get("marker", {}).get("symbol") == "x"]
    assert [list(cross["x"]) for cross in crosses] == [[1707]]


def test_the_words_below_0_have_a_line_of_their_own():
    drawing = draw_similarity(similarity_curves(bases=(100.0, 10_000.0)))[0]
    words, *numbers = (note["y"] for note in drawing.layout["annotations"])
    low, high = drawing.layout["yaxis"]["range"]
    assert words == low and min(numbers) - low > 0.1 * (high - low)


def test_the_point_that_is_dragged_lies_on_its_curve():
    curve, point = draw_partial(partial_rotation(base=3000.0, lengths=(512,), head_dim=16))[0].data[:2]
    assert (point["x"][0], point["y"][0]) in set(zip(curve["x"], curve["y"], strict=True))
    assert list(curve["x"]) == sorted(curve["x"])


def test_the_mean_of_neighbours_keeps_a_straight_line_and_spreads_a_peak():
    np.testing.assert_allclose(near(np.arange(20.0)), np.arange(20))
    np.testing.assert_allclose(near(np.eye(20)[10])[6:15], 1 / 9)


def test_published_bases_are_beside_the_least_ones_for_heads_of_128_alone():
    *_, folded = draw_bases(feasible_bases(1024))
    assert isinstance(folded, Folded) and len(folded.panels[0].rows) == 11
    assert "2k, 16k, 128k, 256k, 512k, 1024k" in folded.panels[1].text
    *_, table = draw_bases(feasible_bases(1024, head_dim=64))
    assert isinstance(table, Table) and len(table.rows) == 1
