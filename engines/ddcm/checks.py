"""What a correct codec must reproduce."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from engines.checks import Check
from engines.ddcm.codec import decode, encode, encode_batch
from engines.ddcm.file import unpack
from engines.ddcm.gaussian import code_normals, expected_maximum, linear_schedule, predict_error
from engines.ddcm.pictures import held_back
from engines.ddcm.plan import CodeError, Plan, size_bits
from engines.ddcm.quality import psnr


@cache
def gaussian(variant: str = "shuffled", steps: int = 1000, atoms: int = 1, bits: int = 3) -> tuple[float, float]:
    """Mean squared error and alignment on N(0, I) in 1,024 dimensions, K = 64, linear schedule."""
    error, alignment = code_normals(Plan(steps, 64, atoms, bits, variant), 1024, linear_schedule(), 4)
    return float(error.mean()), float(alignment.mean())


def pixels_that_differ() -> int:
    """Between an encoder's picture and its decoder's."""
    (coded,) = encode_batch([held_back()[6]], plan=Plan(5, 16))
    return int((decode(coded.code) != coded.picture).sum())


def unnoticed_flips() -> int:
    """Of all flips of one bit of a file, how many are read without complaint."""
    code = encode(held_back()[6], steps=3, codebook_size=16)
    unnoticed = 0
    for i in range(8 * len(code)):
        flipped = bytearray(code)
        flipped[i // 8] ^= 1 << i % 8
        try:
            unpack(bytes(flipped))
            unnoticed += 1
        except CodeError:
            pass
    return unnoticed


CHECKS = (
    Check(
        "Bits of a 512 x 512 picture, T = 1,000, K = 256",
        "(T − 1) M log2 K; arXiv 2502.01189, section 3.3",
        7992,
        0,
        lambda: size_bits(1000, 256),
    ),
    Check(
        "Bits with 17 atoms of 8,192 and C = 3, T = 1,000",
        "999 (17 · 13 + 16 · 3)",
        268731,
        0,
        lambda: size_bits(1000, 8192, 17, 3),
    ),
    Check(
        "Bits a pixel with one of 256 atoms, T = 1,000",
        "999 bytes",
        0.030487,
        5e-7,
        lambda: size_bits(1000, 256) / 512**2,
    ),
    Check("Bits of a 28 x 28 picture, T = 100, K = 256", "99 bytes", 792, 0, lambda: size_bits(100, 256)),
    Check("E of the maximum of 2 normals", "1/√π", 1 / math.sqrt(math.pi), 1e-10, lambda: expected_maximum(2)),
    Check("E of the maximum of 64 normals", "tables of order statistics", 2.3437, 5e-5, lambda: expected_maximum(64)),
    Check("⟨z, r⟩/‖r‖ over 1,000 steps, K = 64", "E[max of 64 normals]", 2.3437, 0.04, lambda: gaussian()[1]),
    Check(
        "N(0, I) in 1,024 dimensions, K = 64, T = 1,000: mean squared error",
        "an independent implementation",
        0.080,
        0.006,
        lambda: gaussian()[0],
    ),
    Check(
        "The same, against the recursion of two moments",
        "closed recursion, exact in many dimensions",
        predict_error(1000, 1024, linear_schedule(), expected_maximum(64)),
        0.006,
        lambda: gaussian()[0],
    ),
    Check(
        "One shuffled codebook to fresh codebooks: ratio of the errors, T = 200",
        "the same law, atom by atom",
        1.0,
        0.06,
        lambda: gaussian("shuffled", 200)[0] / gaussian("reference", 200)[0],
    ),
    Check(
        "Three atoms with C = 1 to one atom: ratio of the errors, T = 200",
        "the only coefficient is 1",
        1.0,
        0.03,
        lambda: gaussian("shuffled", 200, 3, 1)[0] / gaussian("shuffled", 200)[0],
    ),
    Check("Decoder's picture against the encoder's: pixels that differ", "the same steps", 0, 0, pixels_that_differ),
    Check("Flipped bits of a file that go unnoticed", "CRC-32", 0, 0, unnoticed_flips),
    Check(
        "PSNR of a picture off by 5 everywhere, dB",
        "20 log10(255/5)",
        20 * math.log10(51),
        1e-12,
        lambda: psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 5, np.uint8)),
    ),
)
