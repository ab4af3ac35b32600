"""RoPE read as a number system (kexue.fm/archives/9675 and 9706).

Digit m of n in radix β is ⌊n/β^(m−1)⌋ mod β: a dial that turns once in β^m. The m-th pair of RoPE turns by n/β^(m−1)
radians, β = b^(2/d): the same dial, but for the length of its turn, 2π instead of β, and the rounding down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, SomeOf, checked
from engines.rope.frequencies import Exponent, Factor, inverse_frequencies

NUMERALS = ("none", "linear", "ntk_fixed", "ntk_mixed")
_FRAMES = 32


@dataclass(frozen=True)
class Dials:
    """The dials of a number system and of RoPE at a run of positions, for several ways of writing them.

    position: int, tokens; n, the one asked for
    radix: int; β; the base of RoPE is radix^digits
    digits: int; digits of a number, and pairs of RoPE's head
    context_length: int, tokens; positions trained on, L
    factor: float; k: positions to kL are shown
    numerals: tuple [w]; the ways of writing
    positions: int64 [t], tokens; from 0 to kL − 1, the one asked for among them
    start: int; where it stands in `positions`
    digit_turns: float32 [t, w, digits], turns; how far round its dial each digit is, lowest digit first
    rotary_turns: float32 [t, w, digits], turns; the same for RoPE's pairs, nθ/2π mod 1
    rotary_period: float64 [w, digits], tokens; a full turn of each pair
    digit_seen: float32 [digits], turns; the part of each digit's dial that training went over
    rotary_seen: float32 [digits], turns; the part of each pair's
    radices: float64 [w, digits]; the radix of each digit, lowest digit first
    values: float64 [w, digits]; the digits of the position asked for, ⌊n/β_1…β_{m−1}⌋ mod β_m; linear's lowest is n/k mod β,
        which need not be whole. Digits of a radix that is not whole need not add up to n
    carried: float64 [w]; what does not fit into the digits
    """

    position: int
    radix: int
    digits: int
    context_length: int
    factor: float
    numerals: tuple[str, ...]
    positions: np.ndarray
    start: int
    digit_turns: np.ndarray
    rotary_turns: np.ndarray
    rotary_period: np.ndarray
    digit_seen: np.ndarray
    rotary_seen: np.ndarray
    radices: np.ndarray
    values: np.ndarray
    carried: np.ndarray


@checked
def dials(
    position: Annotated[int, Between(0, 100_000)] = 1749,
    radix: Annotated[int, Between(2, 64)] = 10,
    digits: Annotated[int, Between(2, 8)] = 4,
    context_length: Annotated[int, Between(2, 100_000)] = 1000,
    factor: Factor = 8.0,
    numerals: Annotated[Sequence[str], SomeOf(NUMERALS)] = NUMERALS,
    exponent: Exponent = 0.625,
) -> Dials:
    """A position as digits and as RoPE's angles, under ways of reaching factor × context_length positions.

    numerals: none (write n as it is), linear (write n/k), ntk_fixed (write n in radix βk^(1/digits)) or ntk_mixed (in a
    mixed radix, low digits stretched most: kexue.fm/archives/9706; exponent as in `inverse_frequencies`).
    """

    def periods(scaling: str) -> np.ndarray:
        """Digit m turns once in radix / θ_m positions, the product of the radices up to its own."""
        theta = inverse_frequencies(2 * digits, float(radix) ** digits, scaling, factor=factor, exponent=exponent)
        return _exact(radix / theta.numpy())

    plain = periods("none")
    period = np.stack([periods(numeral) for numeral in numerals])
    reach = math.ceil(context_length * factor)
    positions = np.unique(np.append(np.linspace(0, reach - 1, _FRAMES).astype(np.int64), position))
    turns, seen = positions[:, None, None] / period, context_length / plain
    radices, values, carried = [], [], []
    for way in numerals:
        places = plain if way == "linear" else periods(way)  # linear just counts n/k
        radix_of = places / np.append(1.0, places[:-1])
        number = position / factor if way == "linear" else position
        written = _exact(number / np.append(1.0, places[:-1])) % radix_of
        written[1:] = np.floor(written[1:])
        radices.append(radix_of)
        values.append(written if way == "linear" else np.floor(written))
        carried.append(np.floor(_exact(number / places[-1])))
    return Dials(
        position=position,
        radix=radix,
        digits=digits,
        context_length=context_length,
        factor=factor,
        numerals=tuple(numerals),
        positions=positions,
        start=int(np.searchsorted(positions, position)),
        digit_turns=(turns % 1).astype(np.float32),
        rotary_turns=(turns * radix / (2 * np.pi) % 1).astype(np.float32),
        rotary_period=2 * np.pi / radix * period,
        digit_seen=np.minimum(seen, 1).astype(np.float32),
        rotary_seen=np.minimum(seen * radix / (2 * np.pi), 1).astype(np.float32),
        radices=np.stack(radices),
        values=np.stack(values),
        carried=np.array(carried),
    )


def _exact(values: np.ndarray | float) -> np.ndarray:
    """Values that are whole but for rounding, whole: a place of 1000.0000000000001 would write 1000 as 9 · 9 · 9."""
    whole_ones = np.round(values)
    return np.where(np.abs(values - whole_ones) <= 1e-12 * whole_ones, whole_ones, values)
