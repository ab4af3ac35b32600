"""The exhibit's small picture: softmax of some scores, and the few that sparsemax keeps."""

import torch

from engines.softmax import softmax, sparsemax
from studio.figure import COLORS
from studio.thumbnails import bars


def draw() -> str:
    """The SVG's inside."""
    scores = torch.tensor([0.1, 0.5, 0.95, 1.4, 1.75, 1.5, 1.05, 0.6, 0.2, -0.2])
    return bars(sparsemax(scores), COLORS[3], 0.9) + bars(softmax(scores), "currentColor", 0.3)
