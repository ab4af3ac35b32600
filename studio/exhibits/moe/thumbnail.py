"""The exhibit's small picture."""

from __future__ import annotations

import torch

from engines.moe import route
from studio.figure import COLORS
from studio.thumbnails import cells


def draw() -> str:
    """Which of eight experts each token is given."""
    scores = torch.rand(30, 8, generator=torch.Generator().manual_seed(3)).softmax(-1)
    routing = route(scores, 2)
    weight = torch.zeros(30, 8).scatter_(1, routing.indices, 1.0)
    shades = weight * (scores - scores.min()) / (scores.max() - scores.min())
    return cells(shades.T.contiguous(), COLORS[2])
