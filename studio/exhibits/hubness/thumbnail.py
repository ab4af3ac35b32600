"""The small picture on the opening page, and those that sets of points are chosen by."""

from __future__ import annotations

import numpy as np
import torch

from engines.hubness.data import LAWS, draw_law, load_set
from engines.hubness.experiments import survey
from studio.exhibits.hubness.figures import cut_out
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, dots, image

MOON = 99  # of the emoji, the first hub
SHOWN = 26  # followers with their pictures


def draw() -> str:
    """The greatest hub of the emoji, and lines from it to those that have it among their neighbours."""
    found, pictures = survey(), load_set("emoji").pictures
    hub = found.hubs[0]
    followers = found.followers[0][found.followers[0] >= 0]
    followers = followers[np.argsort(np.linalg.norm(found.plane[followers] - found.plane[hub], axis=1))]
    # by rank along each direction: as wide as the picture, and no two in one place
    room = np.array([WIDTH - 20, HEIGHT - 18])
    rank = found.plane[followers].argsort(0).argsort(0) / max(len(followers) - 1, 1)
    places = rank * room + np.array([10, 9])
    here = (found.plane[followers] < found.plane[hub]).mean(0) * room + np.array([10, 9])
    ways = "".join(f'<path d="M{here[0]:.0f} {here[1]:.0f}L{x:.0f} {y:.0f}"/>' for x, y in places)
    made = f'<g stroke="{COLORS[1]}" stroke-width="0.8" opacity="0.55">{ways}</g>'
    made += dots(torch.from_numpy(places), "currentColor", 1.3, 0.5)
    for i in np.unique(np.linspace(0, len(followers) - 1, SHOWN).round().astype(int)):
        made += image(cut_out(pictures[followers[i]]), places[i, 0] - 8, places[i, 1] - 8, 16)
    return made + image(cut_out(pictures[hub]), here[0] - 18, here[1] - 18, 36)


def sets() -> dict:
    """Each distribution as points in the plane, the others as one of their own."""
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
