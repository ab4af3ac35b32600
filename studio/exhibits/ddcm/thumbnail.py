"""DDCM's thumbnail."""

from __future__ import annotations

from engines.ddcm.experiments import picture_code
from studio.thumbnails import HEIGHT, WIDTH, image

SMALL, LARGE = 30, 70


def draw() -> str:
    """A picture, three moments of its decoding, and what its code holds, each with its bytes."""
    *_, last = picture_code()
    code = last.result
    moments = [code.film[int(share * (len(code.film) - 1))] for share in (0.03, 0.15, 0.4)]
    made, x = "", 1.0
    for picture, size in ((code.original, LARGE), *((moment, SMALL) for moment in moments), (code.decoded, LARGE)):
        made += image(picture, x, 6 + (LARGE - size) / 2, size)
        x += size + 2
    for place, count in ((1 + LARGE / 2, code.original.size), (WIDTH - 1 - LARGE / 2, code.payload_bytes)):
        made += f'<text x="{place:g}" y="{HEIGHT - 12:g}" font-size="15" text-anchor="middle" fill="currentColor">{count:,} B</text>'
    return made
