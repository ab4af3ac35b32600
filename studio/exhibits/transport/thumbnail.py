"""The thumbnail: points on their way from a cloud to a ring."""

import numpy as np
import torch

from engines.transport import wasserstein
from engines.transport.data import plane_law
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, dots


def draw() -> str:
    """The inside of the SVG."""
    x = plane_law("gaussian").sample(60, 1).numpy() * np.array([0.5, 0.8]) - np.array([3.6, 0.0])
    y = plane_law("ring").sample(60, 2).numpy() + np.array([2.6, 0.0])
    y = y[wasserstein(x, y, 2).matching]
    x, y = (
        torch.as_tensor(np.clip(part * np.array([21, -21]) + np.array([WIDTH / 2 + 8, HEIGHT / 2]), 3, None))
        for part in (x, y)
    )
    ends = zip(x.tolist(), y.tolist(), strict=True)
    ways = "".join(f'<path d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"/>' for (a, b), (c, d) in ends)
    lines = f'<g fill="none" stroke="currentColor" stroke-width="0.7" opacity="0.3">{ways}</g>'
    return lines + dots(x, COLORS[0], 2) + dots(y, COLORS[1], 2)
