"""Whether a chain has got anywhere: split R-hat, effective sample size, Hamming autocorrelation, self-BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


def split_r_hat(trace: np.ndarray) -> float:
    """Potential scale reduction of a trace [draws, chains], each chain split in halves (Gelman et al., Bayesian Data
    Analysis 3, section 11.4). Near 1: the chains agree. NaN under four draws or without any variance within."""
    half = len(trace) // 2
    if half < 2:
        return math.nan
    parts = np.concatenate((trace[:half], trace[len(trace) - half :]), axis=1)
    within = parts.var(axis=0, ddof=1).mean()
    between = half * parts.mean(axis=0).var(ddof=1)
    return float(np.sqrt((half - 1) / half + between / within / half)) if within > 0 else math.nan


def effective_sample_size(trace: np.ndarray) -> float:
    """Independent draws that a trace [draws, chains] is worth, by Geyer's initial positive sequence over all chains
    (Bayesian Data Analysis 3, section 11.5). NaN under four draws or for a constant trace."""
    draws, chains = trace.shape
    if draws < 4:
        return math.nan
    centred = trace - trace.mean(axis=0)
    size = 2 ** math.ceil(math.log2(2 * draws))
    spectrum = np.fft.rfft(centred, size, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[:draws].mean(axis=1) / draws
    within = covariance[0] * draws / (draws - 1)
    between = trace.mean(axis=0).var(ddof=1) if chains > 1 else 0.0
    total = within * (draws - 1) / draws + between
    if not total > 0:
        return math.nan
    correlation = 1 - (within - covariance) / total
    correlation[0] = 1
    pairs = correlation[: draws // 2 * 2].reshape(-1, 2).sum(axis=1)
    positive = pairs[: int(np.argmax(pairs <= 0))] if (pairs <= 0).any() else pairs
    time = 2 * np.minimum.accumulate(positive).sum() - 1
    return float(min(draws * chains, draws * chains / max(time, 1 / math.log10(draws * chains))))


def hamming_autocorrelation(states: np.ndarray, lags: int) -> np.ndarray:
    """How alike a text is to itself some sweeps earlier, lags 0 ... `lags`: states [draws, chains, positions].

    The share of positions that agree, less that between different chains (or, with one chain, nothing), scaled so that lag
    0 gives 1 and independence 0.
    """
    draws, chains, _ = states.shape
    lags = min(lags, draws - 1)
    floor = 0.0
    if chains > 1:
        same = (states[:, :, None] == states[:, None]).mean(axis=(0, 3))
        floor = (same.sum() - chains) / (chains * (chains - 1))
    agree = np.array([(states[lag:] == states[: draws - lag]).mean() for lag in range(lags + 1)])
    return (agree - floor) / (1 - floor) if floor < 1 else np.ones(lags + 1)


def bleu(candidate: Sequence[str], references: Sequence[Sequence[str]], order: int = 4) -> float:
    """Sentence BLEU with uniform weights (Papineni et al. 2002); an order without a match counts 0.1 matches, as in
    Chen & Cherry's method 1, which self-BLEU (Zhu et al., arXiv 1802.01886) is computed with."""
    logs = 0.0
    for n in range(1, order + 1):
        grams = Counter(zip(*(candidate[i:] for i in range(n)), strict=False))
        most: Counter = Counter()
        for reference in references:
            most |= Counter(zip(*(reference[i:] for i in range(n)), strict=False))
        matches = sum(min(count, most[gram]) for gram, count in grams.items())
        total = max(1, sum(grams.values()))
        if n == 1 and not matches:
            return 0.0
        logs += math.log((matches or 0.1) / total) / order
    nearest = min((abs(len(r) - len(candidate)), len(r)) for r in references)[1]
    return math.exp(min(0.0, 1 - nearest / len(candidate)) + logs)


def self_bleu(texts: Sequence[Sequence[str]], order: int = 4) -> float:
    """Mean BLEU of each text against all the others: 1 where all are alike. NaN for a single text."""
    if len(texts) < 2:
        return math.nan
    texts = [list(text) for text in texts]
    return float(np.mean([bleu(text, texts[:i] + texts[i + 1 :], order) for i, text in enumerate(texts)]))
