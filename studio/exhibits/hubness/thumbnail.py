"""The small picture on the opening page, and those that sets of points are chosen by."""

from __future__ import annotations

import torch

from engines.hubness import k_occurrence
from engines.hubness.data import LAWS, draw_law, load_set
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, bars, dots

MOON = 99  # of the emoji, the first hub


def draw() -> str:
    """How often a point is a neighbour: few points are very often."""
    points = torch.randn(1500, 60, generator=torch.Generator().manual_seed(0))
    counts = k_occurrence(points, 10).float()
    return bars(torch.histc(counts.clamp(max=90), 31, 0, 90) ** 0.5, COLORS[4])


def sets() -> dict:
    """Each law as points in the plane, the others as one of their own."""
    icons = {}
    for law in LAWS:
        points = torch.from_numpy(draw_law(law, 90, 2, 0, 1))
        points = points - (points.amin(0) + points.amax(0)) / 2
        points = points / points.abs().max() * 0.46 * HEIGHT
        icons[law] = _svg(dots(points + torch.tensor([WIDTH / 2, HEIGHT / 2]), "currentColor", 3.2, 0.9))
    for name, number in (("digits", 3), ("emoji", MOON)):
        picture = load_set(name, 9999).pictures[number]
        icons[name] = picture if picture.ndim == 3 else picture[..., None].repeat(3, 2)
    for name, sign in (("sentences", "Aa"), ("file", "⇪")):
        text = f'<text x="{WIDTH / 2:g}" y="82" font-size="76" text-anchor="middle" fill="currentColor">{sign}</text>'
        icons[name] = _svg(text)
    return icons


def _svg(inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">{inside}</svg>'
