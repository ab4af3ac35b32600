"""What thumbnails are drawn with: SVG in the page's own ink, so that they turn with light and dark.

Each exhibit draws its own (`studio/exhibits/<subject>/thumbnail.py`); `python -m studio.pictures` writes them.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch

from studio.panels import png

WIDTH, HEIGHT = 240.0, 110.0


def curve(values: torch.Tensor, color: str, low: float, high: float, width: float = 1.6, opacity: float = 1.0) -> str:
    """A line through values [n] over the whole width, `low` at the bottom and `high` at the top."""
    x = torch.linspace(2, WIDTH - 2, len(values))
    y = HEIGHT - 4 - (values - low) / (high - low) * (HEIGHT - 8)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" opacity="{opacity}"/>'


def dots(points: torch.Tensor, color: str, radius: float, opacity: float = 0.7) -> str:
    """Points [n, 2] in pixels."""
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>' for x, y in points.tolist())
    return f'<g fill="{color}" opacity="{opacity}">{circles}</g>'


def bars(values: torch.Tensor, color: str, opacity: float = 1.0) -> str:
    """Bars [n] side by side, the highest as high as the picture."""
    step = WIDTH / len(values)
    heights = values / values.max() * (HEIGHT - 10)
    made = "".join(
        f'<rect x="{i * step + 1:.1f}" y="{HEIGHT - 4 - h:.1f}" width="{step - 2:.1f}" height="{max(h, 0.6):.1f}"/>'
        for i, h in enumerate(heights.tolist())
    )
    return f'<g fill="{color}" opacity="{opacity}">{made}</g>'


def cells(values: torch.Tensor, color: str) -> str:
    """A heat map [rows, columns] of values in 0..1."""
    rows, columns = values.shape
    w, h = WIDTH / columns, (HEIGHT - 4) / rows
    made = "".join(
        f'<rect x="{j * w:.1f}" y="{2 + i * h:.1f}" width="{w - 1:.1f}" height="{h - 1:.1f}" opacity="{value:.2f}"/>'
        for i, row in enumerate(values.tolist())
        for j, value in enumerate(row)
        if value > 0.04
    )
    return f'<g fill="{color}">{made}</g>'


def image(picture: np.ndarray, x: float, y: float, size: float) -> str:
    """A square picture [h, w, 3 or 4] at (x, y), its pixels seen as they are."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{size:g}" height="{size:g}"'
    return f'<image {place} style="image-rendering:pixelated" href="{png(picture)}"/>'


def writing(lines: list[str], size: float, accent: str) -> str:
    """Lines of characters on a grid; those after a `*` in the accent."""
    made = ""
    for i, line in enumerate(lines):
        marked, column = False, 0
        left = (WIDTH - size * 1.5 * len(line.replace("*", ""))) / 2
        for character in line:
            if character == "*":
                marked = True
                continue
            fill = accent if marked else "currentColor"
            made += f'<text x="{left + column * size * 1.5:.0f}" y="{24 + i * 25}" font-size="{size}" fill="{fill}">{character}</text>'
            marked, column = False, column + 1
    return made


def drawn(slug: str) -> str:
    """The thumbnail of an exhibit as SVG, made by its own `thumbnail.draw`."""
    draw = importlib.import_module(f"studio.exhibits.{slug}.thumbnail").draw
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="xMidYMid meet" aria-hidden="true">{draw()}</svg>\n'
