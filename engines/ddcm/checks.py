"""What a correct codec must reproduce."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise, product

import numpy as np

from engines.checks import Check
from engines.ddcm.books import coefficients, frechet, kernel_distance
from engines.ddcm.choices import choice_law, least_bits
from engines.ddcm.codec import decode, decoder, encode, encode_batch, timesteps, walk
from engines.ddcm.file import unpack
from engines.ddcm.fitting import choose_model
from engines.ddcm.gaussian import (
    Normals,
    code_normals,
    cosine_schedule,
    expected_maximum,
    linear_schedule,
    predict_error,
)
from engines.ddcm.pictures import held_back, photographs
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


def law() -> list[float]:
    """Importance sampling from 1,024 noises, in one dimension: the distance to DDPM (median of the steps) over that of as many draws;
    for K = 1 the distance of the last state, over that of a number that knows nothing of the source."""
    found, alphas = choice_law(), cosine_schedule()
    alphas = alphas[timesteps(found.steps, 1000)]
    variance = 1.0
    for t, s in pairwise(alphas):  # DDPM's own law: the best denoiser, and the variance of its step
        beta = 1 - t / s
        gain = math.sqrt(s * t) * beta / (1 - t) + math.sqrt(t / s) * (1 - s) / (1 - t)
        variance = gain**2 * variance + beta * (1 - s) / (1 - t)
    blind = math.sqrt((variance + s) / (1 - s)) - 1
    return [float(np.median(found.distance[1, -1])) / found.chance, found.distance[1, 0, -1] / blind]


def least() -> float:
    """Σ KL of DDPM's steps in bits as in its variational bound: ½ (SNR_s − SNR_t) E‖x0 − x̂0‖²."""
    alphas = cosine_schedule()[timesteps(20, 1000)]
    ratio = alphas / (1 - alphas)
    return float((0.5 * np.diff(ratio) * (1 - alphas[:-1])).sum() / math.log(2))


def enumerated_codes() -> list[float]:
    """All 8 codes of K = 2, T = 4 on N(0, I) in 3 dimensions, decoded by the codec: mean and covariance less those of the books."""
    plan, size = Plan(4, 2, variant="reference", seed=3), 3
    codes = np.array(list(product((0, 1), repeat=3)))[..., None]
    noises = []
    for step in walk(Normals(size, cosine_schedule()), plan, 8, decoder(codes)):
        if step.noise is not None:
            noises.append(step.noise.double().numpy())
    decoded = step.denoised.double().numpy()
    weighted = np.einsum("t,tnd->nd", coefficients(4, "cosine"), np.array(noises))
    centred = decoded - weighted  # what the first state leaves is the same for all
    books = sum(c**2 * np.cov(z.T, bias=True) for c, z in zip(coefficients(4, "cosine"), noises, strict=True))
    return [float(np.ptp(centred, axis=0).max()), float(np.abs(np.cov(decoded.T, bias=True) - books).max())]


def frechet_gap() -> float:
    """The Fréchet distance against a matrix square root."""
    from scipy.linalg import sqrtm

    a = np.random.default_rng(0).standard_normal((5, 5))
    cov, mean = a @ a.T, a[0]
    slow = mean @ mean + np.trace(cov + 0.7 * np.eye(5) - 2 * np.real(sqrtm(0.7 * cov)))
    return abs(float(slow) - frechet(mean, cov, 0.7))


def kernel_gap() -> float:
    """The kernel distance against its definition, pair by pair."""
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)) + 1

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        same = a is b
        values = [(x @ y / 3 + 1) ** 3 for i, x in enumerate(a) for j, y in enumerate(b) if not (same and i == j)]
        return sum(values) / len(values)

    slow = mean(one, one) + mean(other, other) - 2 * mean(one, other)
    return abs(slow - kernel_distance(one, other)[0])


def fitting_models() -> tuple[int, int]:
    """Which candidate denoises eight held-back emoji best, and which eight photographs."""
    return tuple(int(choose_model(pictures[::8])[1].argmin()) for pictures in (held_back(), photographs()))


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
        "the same distribution, atom by atom",
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
    Check(
        "the embedded model (0 emoji, 1 photographs) of least denoising loss on eight held-back emoji, and on eight photographs",
        "each was trained on its own kind",
        (0, 1),
        0,
        fitting_models,
    ),
    Check("Flipped bits of a file that go unnoticed", "CRC-32", 0, 0, unnoticed_flips),
    Check(
        "PSNR of a picture off by 5 everywhere, dB",
        "20 log10(255/5)",
        20 * math.log10(51),
        1e-12,
        lambda: psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 5, np.uint8)),
    ),
    Check(
        "Importance sampling, K = 1,024, one dimension: distance to DDPM's distribution over that of as many draws; K = 1 against a blind choice",
        "DDPM's forward process; recursion of the variance",
        [1, 1],
        0.3,
        law,
    ),
    Check(
        "Bits of DDPM's steps on N(0, 1), T = 20",
        "variational bound: ½ (SNR_s − SNR_t) E‖x0 − x̂0‖²",
        least(),
        1e-9,
        lambda: float(least_bits(1, 20, "cosine").sum()),
    ),
    Check(
        "All 8 codes of K = 2, T = 4: decoded vectors less Σ c z (spread), and their covariance less Σ c² S",
        "enumeration with the codec",
        [0, 0],
        2e-6,
        enumerated_codes,
    ),
    Check("Fréchet distance in 5 dimensions", "scipy's matrix square root", 0, 1e-9, frechet_gap),
    Check("Kernel distance of 5 and 4 vectors", "its definition, pair by pair", 0, 1e-10, kernel_gap),
)
