"""What the figures of the Gibbs exhibit leave out where there is nothing to show."""

import pytest

from engines.gibbs.experiments import weigh
from studio.exhibit import Table
from studio.exhibits.gibbs import draw_weigh


@pytest.mark.parametrize(("sd", "panels", "unknown"), [(2.0, 4, 0), (0.8, 4, 4), (0.3, 3, 5)])
def test_what_cannot_be_accepted_or_weighed_is_not_drawn(sd, panels, unknown):
    result = weigh(sd=sd)
    drawn = draw_weigh(result)
    cells = [cell for panel in drawn if isinstance(panel, Table) for row in panel.rows for cell in row]
    assert len(drawn) == panels and cells.count("–") == unknown and "nan" not in cells
    assert drawn[0].layout.yaxis.range[1] > max(result.proposal.max(), result.weighted.max())
