"""The exhibit's small picture: the lattice of a short word, a sketch."""

import torch

from studio.figure import COLORS
from studio.thumbnails import dots


def draw() -> str:
    """The SVG's inside."""
    letters = "ababab"
    x = [21 + 33 * i for i in range(len(letters) + 1)]
    edges = [
        (0, 1, 0),
        (1, 2, 1),
        (2, 3, 0),
        (3, 4, 1),
        (4, 5, 0),
        (5, 6, 1),
        (0, 2, 2),
        (2, 4, 2),
        (4, 6, 2),
        (1, 4, 5),
        (3, 6, 5),
    ]
    arcs = "".join(
        f'<path d="M{x[a]} 78Q{(x[a] + x[b]) / 2} {78 - 30 * (b - a)} {x[b]} 78" stroke="{COLORS[c]}"/>'
        for a, b, c in edges
    )
    text = "".join(
        f'<text x="{x[i] + 11}" y="100" font-size="15" fill="currentColor">{c}</text>' for i, c in enumerate(letters)
    )
    nodes = dots(torch.tensor([[float(v), 78.0] for v in x]), "currentColor", 2.6, 0.9)
    return f'<g fill="none" stroke-width="1.6">{arcs}</g>{nodes}{text}'
