"""What the figures of the Gibbs exhibit show, and what they leave out where there is nothing to show."""

import math

import numpy as np
import pytest

from engines.gibbs.cgmh import write
from engines.gibbs.experiments import weigh
from engines.gibbs.text import sample
from studio.exhibits.gibbs.figures import ADDED, GONE, NEW, draw_sample, draw_weigh, draw_write
from studio.panels import Table, Writing


@pytest.mark.parametrize(("sd", "panels", "unknown"), [(2.0, 4, 0), (0.8, 4, 4), (0.3, 3, 5)])
def test_what_cannot_be_accepted_or_weighed_is_not_drawn(sd, panels, unknown):
    result = weigh(sd=sd)
    drawn = draw_weigh(result)
    cells = [cell for panel in drawn if isinstance(panel, Table) for row in panel.rows for cell in row[1:]]
    assert len(drawn) == panels and sum(map(math.isnan, cells)) == unknown
    assert drawn[0].layout["yaxis"]["range"][1] > max(result.proposal.max(), result.weighted.max())


def said(frame):
    return ["".join(piece.text for piece in line) for line in frame]


@pytest.mark.parametrize("scan", ["sweep", "random"])
def test_the_poem_is_written_word_by_word_where_the_order_is_known(scan):
    *_, last = sample(text="明月__，清风__。", sweeps=3, chains=2, scan=scan, burn_in=1)
    result = last.result
    first, second = (next(p for p in draw_sample(result, chain=c) if isinstance(p, Writing)) for c in (1, 9))
    assert said(first.frames[0]) == ["明月□□，", "清风□□。"]
    assert "".join(said(first.frames[-1])) == result.texts[0].replace("_", "□") and "".join(
        said(second.frames[-1])
    ) == result.texts[1].replace("_", "□")
    assert len(first.frames) == (4 if scan == "random" else 7)
    changed = [piece.color == NEW for line in first.frames[-1] for piece in line]
    assert changed == (result.moves[-1, 0] == 2).tolist()
    if scan == "sweep":
        assert [sum("□" in piece.text for line in frame for piece in line) for frame in first.frames[:5]] == [
            4,
            3,
            2,
            1,
            0,
        ]


def test_edits_are_shown_as_they_happened():
    *_, last = write(steps=60, chains=2)
    result = last.result
    for edits in ("accepted", "all"):
        writing = draw_write(result, 2, edits)[0]
        assert len(writing.frames) == 1 + (result.accepted[:, 1].sum() if edits == "accepted" else 60)
        for frame, label in zip(writing.frames[1:], writing.labels[1:], strict=True):
            step = int(label.split()[1]) - 1
            colors = {piece.color for piece in frame[0]} & {ADDED, GONE}
            expected = {ADDED} if result.new[step, 1] else set()
            expected |= {GONE} if result.old[step, 1] else set()
            assert colors == (expected if result.accepted[step, 1] else set())
    assert np.isfinite(result.log_target).all()
