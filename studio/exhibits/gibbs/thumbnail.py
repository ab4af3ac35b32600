"""The exhibit's small picture."""

from studio.figure import COLORS
from studio.thumbnails import writing


def draw() -> str:
    """A quatrain in the making: a sketch, not a sample."""
    return writing(["悠悠*流水白云间", "千里*青山独自闲", "□□□□□□□", "□□□□□□□"], 17, COLORS[3])
