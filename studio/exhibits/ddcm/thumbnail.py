"""DDCM's thumbnail."""

from __future__ import annotations

import torch

from engines.ddcm import Plan, walk
from engines.ddcm.codec import encoder
from engines.ddcm.gaussian import Normals, cosine_schedule
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, dots


def draw() -> str:
    """The atoms that a code of random normals takes, step by step, and how often each part of the codebook was."""
    source = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    steps = walk(Normals(64, cosine_schedule()), Plan(120), 1, encoder(source))
    taken = torch.cat([step.symbols for step in steps if step.symbols is not None]).flatten()
    x = torch.linspace(6, WIDTH - 62, len(taken))
    height = 6 + (255 - taken) / 255 * (HEIGHT - 12)
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(x.tolist(), height.tolist(), strict=True))
    counts = torch.histc(taken.float(), 16, 0, 255).flip(0)
    row = (HEIGHT - 8) / 16
    beside = "".join(
        f'<rect x="{WIDTH - 50:g}" y="{4 + i * row:.1f}" width="{n * 3.4:.1f}" height="{row - 1:.1f}"/>'
        for i, n in enumerate(counts.tolist())
    )
    return (
        f'<polyline points="{way}" fill="none" stroke="currentColor" stroke-width="0.6" opacity="0.25"/>'
        + dots(torch.stack([x, height], 1), COLORS[0], 1.9, 0.9)
        + f'<g fill="{COLORS[1]}" opacity="0.85">{beside}</g>'
    )
