"""The thumbnail: a loss that jumps about, and the average of the weights that does not."""

import torch

from studio.figure import COLORS
from studio.thumbnails import curve


def draw() -> str:
    """The inside of the SVG."""
    random = torch.Generator().manual_seed(3)
    x, mean, raw, average = 3.0, 3.0, [], []
    for step, noise in enumerate(torch.randn(160, generator=random).tolist(), 1):
        x = 0.93 * x + 0.32 * noise
        mean += (x - mean) * min(1.0, 8 / (step + 8))
        raw.append(abs(x))
        average.append(abs(mean))
    return curve(torch.tensor(raw), "currentColor", 0, 3, 1, 0.45) + curve(torch.tensor(average), COLORS[0], 0, 3, 2)
