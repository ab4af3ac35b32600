"""The small picture on the opening page."""

from __future__ import annotations

import torch

from engines.hubness import k_occurrence
from studio.figure import COLORS
from studio.thumbnails import bars


def draw() -> str:
    """How often a point is a neighbour: few points are very often."""
    points = torch.randn(1500, 60, generator=torch.Generator().manual_seed(0))
    counts = k_occurrence(points, 10).float()
    return bars(torch.histc(counts.clamp(max=90), 31, 0, 90) ** 0.5, COLORS[4])
