"""HiPPO's figures: what moves and what is rounding."""

import numpy as np

from engines.hippo.experiments import memory
from engines.hippo.selection import copying
from studio.exhibits.hippo.figures import draw_copying, draw_memory


def test_the_weight_of_the_past_stands_on_the_foot_at_every_moment():
    drawing = draw_memory(memory(measure="legt", order=8, samples=256))[0]
    weight, floor = drawing.data[2], drawing.layout["yaxis"]["range"][0]
    x, y = np.array(weight["x"]), np.array(weight["y"])
    np.testing.assert_allclose(y[len(y) // 2 :], floor, atol=1e-6)
    np.testing.assert_array_equal(x, x[::-1])  # there, and back along the foot
    assert all(len(frame[2]["x"]) == len(y) for frame in drawing.frames)


def test_no_error_that_is_rounding_marks_the_edge_of_the_figure():
    drawing = draw_copying(copying())[0]
    low = 10 ** drawing.layout["yaxis"]["range"][0]
    errors = np.concatenate([np.array(trace["y"], float) for trace in drawing.data[:5]])
    assert not ((errors > 0.1 * low) & (errors < 3 * low)).any()
