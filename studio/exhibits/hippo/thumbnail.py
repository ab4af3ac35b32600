"""The small picture on the opening page, and those that signals and measures are chosen by."""

from __future__ import annotations

import math

import torch

from engines.hippo import density, reconstruct
from engines.hippo.signals import SIGNALS, load
from studio.exhibits.hippo.figures import TINT
from studio.figure import COLORS
from studio.thumbnails import HEIGHT, WIDTH, curve


def draw() -> str:
    """A chirp and what fifteen numbers remember of it."""
    t = torch.linspace(0, 1, 400, dtype=torch.float64)
    signal = torch.sin(2 * math.pi * (1.2 * t + 3.2 * t**2)) * (1 - 0.4 * t)
    remembered = reconstruct(signal, "legs", 15)[1][-1].flip(0)
    return curve(signal, "currentColor", -1.2, 1.2, 1.2, 0.45) + curve(remembered, COLORS[1], -1.2, 1.2, 2)


def _svg(inside: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}">{inside}</svg>'


def signals() -> dict[str, str]:
    """Each signal as a curve; a formula and the visitor's own as a sign."""
    icons = {}
    for name in SIGNALS:
        if name == "formula":
            inside = f'<text x="{WIDTH / 2:g}" y="76" font-size="64" font-style="italic" text-anchor="middle" fill="currentColor">f(t)</text>'
        elif name == "own":
            inside = f'<text x="{WIDTH / 2:g}" y="82" font-size="76" text-anchor="middle" fill="currentColor">✎</text>'
        else:
            values = torch.from_numpy(load(name, 192).values)
            top = float(values.abs().max()) * 1.1
            inside = curve(values, "currentColor", -top, top, 5)
        icons[name] = _svg(inside)
    return icons


def measures() -> dict[str, str]:
    """Each measure as the weight that it gives to the past, now at the right: two windows of it, or all the time gone by."""
    icons = {}
    for name, color in TINT.items():
        reach = 1.0 if name in ("legs", "fous") else 2.6
        age = torch.linspace(reach, 0, 261, dtype=torch.float64)
        weight = density(name, age)
        wave = 0.25 * torch.cos(40 * age) * weight if name.startswith("fou") else torch.zeros_like(age)
        weight = weight / weight.max()
        inside = curve(weight, color, -0.1, 1.15, 7)
        if wave.any():  # Fourier measures carry a wave
            inside += curve(0.35 + wave / wave.abs().max() * 0.2, color, -0.1, 1.15, 3, 0.7)
        icons[name] = _svg(inside)
    return icons
