"""What a figure must show at first sight."""

import numpy as np
import pytest

from engines.flow.experiments import heads
from engines.objectives.experiments import directions, multiway_descent, shift
from engines.training.optimisers import schedules
from engines.transport.experiments import critics, minibatch
from studio.exhibits.flow.figures import draw_heads
from studio.exhibits.objectives.figures import draw_directions, draw_multiway
from studio.exhibits.objectives.figures_shift import draw_shift
from studio.exhibits.training.figures import draw_schedules
from studio.exhibits.training.figures_paths import _round_numbers
from studio.exhibits.transport.figures import draw_critics, draw_minibatch


def test_the_plane_of_gradients_has_no_empty_half():
    for y, floor in (((1, 1, -1.5), -1.2), ((1, -2, -1.5), -5.2)):
        drawing = draw_directions(directions(y=y))[0]
        assert drawing.layout["yaxis"]["range"] == [floor, 5.2]


def test_the_weight_that_is_right_is_drawn_beside_the_one_asked_for():
    result = shift(samples=100)
    for weight in ("d", "none", "ratio"):
        drawn = [trace["y"] for trace in draw_shift(result, weight)[0].data]
        assert any(np.array_equal(y, result.reweighted[result.weights.index("ratio")]) for y in drawn)


def test_the_distribution_that_the_heads_miss_stands_beside_the_plane():
    result = heads(components=1)
    drawing = draw_heads(result)[0]
    beside = [trace for trace in drawing.data if trace.get("xaxis") == "x2"]
    assert len(beside) == 1 + len(result.heads) and np.array_equal(beside[0]["x"], result.exact)


def test_schedules_end_within_the_figure():
    low, high = draw_schedules(schedules(steps=1000))[0].layout["yaxis"]["range"]
    assert low == 0 and high > 1


def test_a_band_is_not_cut_off():
    *_, last = minibatch("uniform", n=4, repeats=3)
    drawing = draw_minibatch(last.result)[0]
    assert max(np.nanmax(trace["y"]) for trace in drawing.data) <= drawing.layout["yaxis"]["range"][1]


@pytest.mark.parametrize(("low", "high"), [(0.104, 0.166), (0.11, 2.2), (1e-7, 40), (0.101, 0.102)])
def test_ticks_of_colours_are_few_round_and_inside(low, high):
    ticks = _round_numbers(low, high)
    assert 1 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks)
    assert len(ticks) > 1 or high / low < 1.1


def test_starts_that_end_wrong_lie_below_the_line_with_little_loss():
    result = multiway_descent(spread=8.0)
    drawing = draw_multiway(result)[0]
    for trace, right in zip(drawing.data, result.right, strict=True):
        assert (trace["y"] > 0).mean() == pytest.approx(right[-1])
    wrong = drawing.data[1]["y"] < 0
    assert wrong.mean() > 0.7 and np.median(drawing.data[1]["x"][wrong]) < 0.01


def test_each_critic_is_a_bar_beside_what_it_is_to_say():
    *_, last = critics("ring_gaussian", names=("clip", "exact"), batch=16, steps=10)
    drawing = draw_critics(last.result)[0]
    assert np.array_equal(drawing.data[0]["x"], last.result.fresh[-1]) and len(drawing.layout["shapes"]) >= 2
    low, high = drawing.layout["xaxis"]["range"]
    assert all(low < value < high for value in (*last.result.fresh[-1], last.result.w1_batch, last.result.w1_known))
