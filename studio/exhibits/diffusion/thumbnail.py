"""Diffusion's picture on the opening page."""

from __future__ import annotations

import torch

from engines.diffusion import append_zero, karras_sigmas, target_mixture, trajectory
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, dots


def draw() -> str:
    """Particles of a ring and the trajectories that they came on."""
    mixture = target_mixture("ring")
    start = torch.randn(90, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 4
    path, _ = trajectory("heun", mixture.denoise, start, append_zero(karras_sigmas(24, 0.01, 4.0, 7.0)))
    path = path * 21 + torch.tensor([WIDTH / 2, HEIGHT / 2])
    lines = "".join(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in path[:, i].tolist())}"/>' for i in range(0, 90, 3)
    )
    return (
        f'<g fill="none" stroke="currentColor" stroke-width="0.7" opacity="0.28">{lines}</g>'
        + dots(path[0], "currentColor", 1.1, 0.3)
        + dots(path[-1], COLORS[0], 1.9, 0.9)
    )
