"""The thumbnail: similarity over distance for two bases."""

import torch

from engines.rope import similarity
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, curve


def draw() -> str:
    """The inside of the SVG."""
    distance = torch.logspace(0, 4.3, 260, dtype=torch.float64)
    curves = "".join(
        curve(similarity(distance, 128, base), color, -22, 66) for base, color in ((1e4, COLORS[1]), (5e5, COLORS[0]))
    )
    zero = HEIGHT - 4 - 22 / 88 * (HEIGHT - 8)
    return f'<path d="M0 {zero:.1f}H{WIDTH:g}" stroke="currentColor" opacity="0.35"/>' + curves
