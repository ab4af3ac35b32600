"""RoPE read as a number system (kexue.fm/archives/9675 and 9706).

Digit m of n in radix β is ⌊n/β^(m−1)⌋ mod β: a clock that turns once in β^m. The m-th pair of RoPE turns by n/β^(m−1)
radians, β = b^(2/d): the same clock, but for the length of its turn, 2π instead of β, and the rounding down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engines.arguments import number, one_of, whole
from engines.rope.frequencies import MOST_FACTOR, MOST_LENGTH, inverse_frequencies

NUMERALS = ("none", "linear", "ntk_fixed", "ntk_mixed")
_FRAMES = 32


@dataclass(frozen=True)
class Dials:
    """The clocks of a number system and of RoPE, at a run of positions.

    position, radix, digits, trained_length, factor, numeral: as asked; the base is radix^digits, head_dim 2·digits
    positions: from 0 to factor × trained_length − 1, int64 [t], the asked one among them, at index `start`
    digit_turns: how far round its dial each digit is, in turns, float32 [t, digits], lowest digit first
    rotary_turns: the same for RoPE's pairs, nθ/2π mod 1
    digit_seen, rotary_seen: the part of each dial that training went over, in turns, float32 [digits]
    numerals: the ways of writing in the table below
    radices: the radix of each digit in each way, lowest digit first, float64 [w, digits]
    values: the asked position written in each way, float64 [w, digits]; only linear's lowest digit can be broken
    carried: what does not fit into the digits, float64 [w]
    """

    position: int
    radix: int
    digits: int
    trained_length: int
    factor: float
    numeral: str
    positions: np.ndarray
    start: int
    digit_turns: np.ndarray
    rotary_turns: np.ndarray
    digit_seen: np.ndarray
    rotary_seen: np.ndarray
    numerals: tuple[str, ...]
    radices: np.ndarray
    values: np.ndarray
    carried: np.ndarray


def dials(
    position: int = 1749,
    radix: int = 10,
    digits: int = 4,
    trained_length: int = 1000,
    factor: float = 8.0,
    numeral: str = "none",
    exponent: float = 0.625,
) -> Dials:
    """A position as digits and as RoPE's angles, under a way of reaching factor × trained_length.

    numeral: none (write n as it is), linear (write n/k), ntk_fixed (write n in radix βk^(1/digits)) or ntk_mixed (in a
    mixed radix, low digits stretched most: kexue.fm/archives/9706; exponent as in `inverse_frequencies`).
    """
    position = whole("position", position, 0, MOST_LENGTH)
    radix, digits = whole("radix", radix, 2, 64), whole("digits", digits, 2, 8)
    trained, k = whole("trained_length", trained_length, 2, MOST_LENGTH), number("factor", factor, 1, MOST_FACTOR)
    one_of("numeral", numeral, NUMERALS)

    def periods(scaling: str) -> np.ndarray:
        """Digit m turns once in radix / θ_m positions, the product of the radices up to its own."""
        theta = inverse_frequencies(2 * digits, float(radix) ** digits, scaling, factor=k, exponent=exponent)
        return _exact(radix / theta.numpy())

    plain, period = periods("none"), periods(numeral)
    reach = math.ceil(trained * k)
    positions = np.unique(np.append(np.linspace(0, reach - 1, _FRAMES).astype(np.int64), position))
    turns, seen = positions[:, None] / period, trained / plain
    written = []
    for way in NUMERALS:
        places = plain if way == "linear" else periods(way)  # linear just counts n/k
        rest, values = float(_exact(position / k)) if way == "linear" else float(position), np.empty(digits)
        carried, rest = divmod(rest, places[-1])
        for m in range(digits - 1, 0, -1):
            values[m], rest = divmod(rest, places[m - 1])
        values[0] = rest if way == "linear" else math.floor(rest)
        written.append((places / np.append(1.0, places[:-1]), values, carried))
    return Dials(
        position=position,
        radix=radix,
        digits=digits,
        trained_length=trained,
        factor=k,
        numeral=numeral,
        positions=positions,
        start=int(np.searchsorted(positions, position)),
        digit_turns=(turns % 1).astype(np.float32),
        rotary_turns=(turns * radix / (2 * np.pi) % 1).astype(np.float32),
        digit_seen=np.minimum(seen, 1).astype(np.float32),
        rotary_seen=np.minimum(seen * radix / (2 * np.pi), 1).astype(np.float32),
        numerals=NUMERALS,
        radices=np.stack([radices for radices, _, _ in written]),
        values=np.stack([values for _, values, _ in written]),
        carried=np.array([carried for _, _, carried in written]),
    )


def _exact(values: np.ndarray | float) -> np.ndarray:
    """Values that are whole but for rounding, whole: a place of 1000.0000000000001 would write 1000 as 9 · 9 · 9."""
    whole_ones = np.round(values)
    return np.where(np.abs(values - whole_ones) <= 1e-12 * whole_ones, whole_ones, values)
