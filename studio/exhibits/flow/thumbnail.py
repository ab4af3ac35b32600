"""The thumbnail: a grid that a flow has bent onto two moons."""

import numpy as np

from engines.flow.experiments import order
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH


def draw() -> str:
    """The inside of the SVG."""
    found = order(particles=150)
    scale = HEIGHT / 5.2

    def at(points: np.ndarray) -> np.ndarray:
        return np.stack([WIDTH / 2 + scale * points[:, 0], HEIGHT / 2 - scale * points[:, 1]], 1)

    path, pen = "", "M"
    for x, y in at(found.lines[-1])[::2]:
        path += "" if np.isnan(x) else f"{pen}{x:.0f} {y:.0f}"
        pen = "M" if np.isnan(x) else "L"
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="1.6"/>' for x, y in at(found.states[-1]))
    return (
        f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="0.6" opacity="0.35"/>'
        f'<g fill="{COLORS[0]}">{dots}</g>'
    )
