"""Known results of random segmentation: python -m engines.checks segmentation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from engines.checks import Check
from engines.segmentation import (
    Lattice,
    edge_posteriors,
    enumerate_segmentations,
    log_partition,
    parse_pieces,
    sample,
    viterbi_sampling_law,
)
from engines.segmentation.bpe import merges_of
from engines.segmentation.lattice import sweep

ABABAB = "a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1"
WATCHING = "watch=1, ing=1, wat=1, ching=1, w=1, atching=1"


def sampled_distance(method: str, n: int = 20_000) -> float:
    """Total variation between n draws of "ababab" and the exact distribution."""
    pieces, law = enumerate_segmentations("ababab", parse_pieces(ABABAB))
    counts = Counter(map(tuple, sample("ababab", parse_pieces(ABABAB), method, 1.0, n, seed=0)))
    return sum(abs(counts[tuple(p)] / n - q) for p, q in zip(pieces, law, strict=True)) / 2


def published_distance() -> float:
    """Total variation of Viterbi Sampling's own distribution on "ababab" from the exact one."""
    pieces, law = enumerate_segmentations("ababab", parse_pieces(ABABAB))
    published, own = viterbi_sampling_law("ababab", parse_pieces(ABABAB))
    share = dict(zip(map(tuple, published), own, strict=True))
    return sum(abs(share.get(tuple(path), 0.0) - q) for path, q in zip(pieces, law, strict=True)) / 2


def merged_distance(n: int = 20_000) -> float:
    """Total variation between n draws of "ababab" by BPE-dropout and the distribution that follows its states."""
    merges = merges_of(parse_pieces(ABABAB))
    cuts, law = merges.law("ababab", 0.3)
    counts = Counter(row.tobytes() for row in merges.draw("ababab", 0.3, n, np.random.default_rng(0)))
    return sum(abs(counts[row.tobytes()] / n - q) for row, q in zip(cuts, law, strict=True)) / 2


def merged_law(dropout: float = 0.3) -> list[float]:
    """Of abc in pieces: abc, ab|c, a|bc, a|b|c."""
    cuts, law = merges_of(parse_pieces("a=1, b=1, c=1, ab=0.3, bc=0.2, abc=0.1")).law("abc", dropout)
    found = {tuple(row[1:3]): chance for row, chance in zip(cuts, law, strict=True)}
    return [found[places] for places in ((False, False), (False, True), (True, False), (True, True))]


def mean_pieces() -> tuple[float, float]:
    """Of the segmentations of "ababab", by the lattice at alpha = 0, less those of the list; and at alpha = 2."""
    lattice = Lattice(["ababab"], parse_pieces(ABABAB))
    _, _, expected = sweep(lattice, np.array([0.0, 2.0]), np.ones(1))
    listed = [enumerate_segmentations("ababab", parse_pieces(ABABAB), alpha) for alpha in (0.0, 2.0)]
    return tuple(
        e - sum(len(p) * q for p, q in zip(*found, strict=True)) for e, found in zip(expected, listed, strict=True)
    )


def last_posteriors() -> float:
    """Summed probability of the pieces that end a line of seven characters."""
    _, target, posterior = edge_posteriors("人间万事何须问", "chinese", 0.3)
    return float(posterior[target == 7].sum())


CHECKS = (
    Check(
        "ababab: number of segmentations",
        "enumeration",
        24,
        0,
        lambda: len(enumerate_segmentations("ababab", parse_pieces(ABABAB))[0]),
    ),
    Check(
        "ababab: log Z at α = 1",
        "forward recursion",
        -2.688704,
        5e-7,
        lambda: log_partition("ababab", parse_pieces(ABABAB)),
    ),
    Check(
        "ababab: log Z at α = 0 is ln 24",
        "closed form",
        math.log(24),
        1e-13,
        lambda: log_partition("ababab", parse_pieces(ABABAB), 0.0),
    ),
    Check(
        "watching: three segmentations, each with probability 1/3",
        "closed form",
        (1 / 3, 1 / 3, 1 / 3),
        1e-14,
        lambda: enumerate_segmentations("watching", parse_pieces(WATCHING))[1],
    ),
    Check(
        "watching: Viterbi Sampling as first published gives 1/4, 1/4, 1/2",
        "kexue.fm 9811",
        (0.25, 0.25, 0.5),
        1e-14,
        lambda: sorted(viterbi_sampling_law("watching", parse_pieces(WATCHING))[1]),
    ),
    Check(
        "ababab: total variation of 20,000 draws of the perfect sampler from the exact distribution (0.011 expected)",
        "exact distribution",
        0.0,
        0.025,
        lambda: sampled_distance("perfect"),
    ),
    Check(
        "ababab: total variation of 20,000 draws of FFBS from the exact distribution (0.011 expected)",
        "exact distribution",
        0.0,
        0.025,
        lambda: sampled_distance("ffbs"),
    ),
    Check(
        "ababab: total variation of the distribution of Viterbi Sampling from the exact distribution",
        "all outcomes of its 9 comparisons",
        0.238851,
        1e-6,
        published_distance,
    ),
    Check(
        "Viterbi Sampling on three ways 0.40, 0.31, 0.29, compared in turn: the best is not the likeliest",
        "three coin tosses",
        (0.4 / 0.71 * 0.29 / 0.69 + 0.31 / 0.71 * 0.29 / 0.60, 0.4 / 0.71 * 0.4 / 0.69, 0.31 / 0.71 * 0.31 / 0.60),
        1e-14,
        lambda: viterbi_sampling_law("abc", parse_pieces("abc=0.4, a=1, bc=0.31, ab=0.29, c=1"))[1],
    ),
    Check(
        "abc with merges ab before bc, and abc: the distribution of BPE-dropout at p = 0.3",
        "closed form, p = 0.3",
        (0.7 * (1 - 0.3**2), 0.7 * 0.3, 0.7 * 0.3**2, 0.3**2),
        1e-14,
        merged_law,
    ),
    Check(
        "ababab: total variation of 20,000 draws of BPE-dropout from its exact distribution (0.007 expected)",
        "the chain of its states",
        0.0,
        0.02,
        merged_distance,
    ),
    Check(
        "ababab: expected number of pieces at α = 0 and 2 less the mean over all segmentations",
        "enumeration",
        (0.0, 0.0),
        1e-12,
        mean_pieces,
    ),
    Check(
        "posteriors of the pieces that end a text sum to 1",
        "every segmentation ends there",
        1.0,
        1e-12,
        last_posteriors,
    ),
)
