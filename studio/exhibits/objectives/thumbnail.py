"""The thumbnail: two gradients that conflict, the cone between them, and the directions of three rules."""

import math

import torch

from engines.objectives import min_norm, normalised_sum, total
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH


def draw() -> str:
    """The SVG's inside."""
    g = torch.tensor([[3.0, 1.0], [-2.0, 1.0]], dtype=torch.float64)
    x, y = WIDTH / 2 - 10, HEIGHT - 14

    def arrow(vector: torch.Tensor, length: float, color: str, width: float) -> str:
        u, v = (vector / vector.norm() * length).tolist()
        tip, angle = (x + u, y - v), math.atan2(-v, u)
        head = " ".join(
            f"{tip[0] - 9 * math.cos(angle + s):.1f},{tip[1] - 9 * math.sin(angle + s):.1f}" for s in (0.4, -0.4)
        )
        first, last = head.split()
        return (
            f'<path d="M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}" stroke="{color}" stroke-width="{width}" fill="none"/>'
            f'<polyline points="{first} {tip[0]:.1f},{tip[1]:.1f} {last}" stroke="{color}" stroke-width="{width}" fill="none"/>'
        )

    rim = [(-1.0, 3.0), (1.0, 2.0)]  # perpendicular to the gradients
    ends = [(x + 86 * a / math.hypot(a, b), y - 86 * b / math.hypot(a, b)) for a, b in rim]
    cone = f'<path d="M{x} {y}L{ends[0][0]:.1f} {ends[0][1]:.1f}A86 86 0 0 1 {ends[1][0]:.1f} {ends[1][1]:.1f}Z" fill="currentColor" opacity="0.12"/>'
    rules = ((total(g), COLORS[3]), (normalised_sum(g), COLORS[0]), (min_norm(g)[1], COLORS[2]))
    return (
        cone
        + arrow(g[0], 100, "currentColor", 2)
        + arrow(g[1], 72, "currentColor", 2)
        + "".join(arrow(vector, 84, color, 2.4) for vector, color in rules)
    )
