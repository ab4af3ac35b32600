"""Whether a chain has converged: split R-hat, effective sample size, Hamming autocorrelation, self-BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from engines.arguments import Between, Refusal, checked, items
from engines.gibbs.inputs import floats


def split_r_hat(trace: np.ndarray) -> float:
    """Potential scale reduction of a trace [draws, chains], each chain split in halves (Gelman et al., Bayesian Data
    Analysis 3, section 11.4). Near 1: the chains agree. NaN under four draws or without any variance within."""
    halves = _halves(trace)
    if len(halves) < 2:
        return math.nan
    draws = len(halves)
    within = halves.var(axis=0, ddof=1).mean()
    between = draws * halves.mean(axis=0).var(ddof=1)
    return float(np.sqrt((draws - 1) / draws + between / within / draws)) if within > 0 else math.nan


def effective_sample_size(trace: np.ndarray) -> float:
    """Independent draws that the mean of a trace [draws, chains] is worth: Geyer's initial monotone sequence over all
    chains, each split in halves (Vehtari et al., arXiv 1903.08008, section 3.2). Chains that swing about their mean may
    be worth more than their draws. NaN under four draws or for a constant trace."""
    halves = _halves(trace)
    draws, chains = halves.shape
    if draws < 2 or not chains:
        return math.nan
    size = 2 ** math.ceil(math.log2(2 * draws))
    spectrum = np.fft.rfft(halves - halves.mean(axis=0), size, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[:draws].mean(axis=1) / draws
    within = covariance[0] * draws / (draws - 1)
    total = covariance[0] + halves.mean(axis=0).var(ddof=1)
    if not within > 0:
        return math.nan
    correlation = 1 - (within - covariance) / total
    correlation[0] = 1
    count = 1 + max(0, draws - 3) // 2
    pairs = correlation[: 2 * count].reshape(-1, 2).sum(axis=1)
    last = max(1, int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else count - 1)
    # of the pair that ends the sequence the even lag counts, unless negative, as in Stan: less noise for swinging chains
    beyond = correlation[2 * last : 2 * last + 1].sum()
    if last < count and pairs[last] <= 0:
        beyond = max(0.0, beyond)
    time = 2 * np.minimum.accumulate(pairs[:last]).sum() - 1 + beyond
    return float(draws * chains / max(time, 1 / math.log10(draws * chains)))


def _halves(trace: Any) -> np.ndarray:
    """[draws // 2, 2 chains], each chain less its first value and all divided by the greatest: no square overflows, and a
    constant chain is exactly 0."""
    trace = floats("trace", trace, 2)
    half = len(trace) // 2
    if not trace.size or half < 1:
        return np.zeros((0, 0))
    with np.errstate(over="ignore"):
        moved = trace - trace.flat[0]
    most = np.abs(moved).max() if np.isfinite(moved).all() else math.inf
    moved = trace / np.abs(trace).max() if math.isinf(most) else moved / (most or 1)
    return np.concatenate((moved[:half], moved[len(moved) - half :]), axis=1)


@checked
def hamming_autocorrelation(states: np.ndarray, lags: Annotated[int, Between(0, 10_000)]) -> np.ndarray:
    """How alike a text is to itself some sweeps earlier, lags 0 ... `lags`: states [draws, chains, positions].

    The share of positions that agree, less that between different chains (or, with one chain, nothing), scaled so that lag
    0 gives 1 and independence 0.
    """
    states = np.asarray(states)
    if states.ndim != 3 or not states.size or states.dtype == object:
        raise Refusal("{parameter} must be an array of draws, chains and positions.", parameter="states")
    draws, chains, _ = states.shape
    lags = min(lags, draws - 1)
    floor = 0.0
    if chains > 1:
        same = (states[:, :, None] == states[:, None]).mean(axis=(0, 3))
        floor = (same.sum() - chains) / (chains * (chains - 1))
    agree = np.array([(states[lag:] == states[: draws - lag]).mean() for lag in range(lags + 1)])
    return (agree - floor) / (1 - floor) if floor < 1 else np.ones(lags + 1)


@checked
def bleu(
    candidate: Sequence[str], references: Sequence[Sequence[str]], order: Annotated[int, Between(1, 16)] = 4
) -> float:
    """Sentence BLEU with uniform weights (Papineni et al. 2002); an order without a match counts 0.1 matches, as in
    Chen & Cherry's method 1, which self-BLEU (Zhu et al., arXiv 1802.01886) is computed with."""
    candidate = _words("candidate", candidate)
    references = [_words("references", reference) for reference in items("references", references, 10_000)]
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


@checked
def self_bleu(texts: Sequence[Sequence[str]], order: Annotated[int, Between(1, 16)] = 4) -> float:
    """Mean BLEU of each text against all the others: 1 where all are alike. NaN for a single text."""
    texts = [_words("texts", text) for text in items("texts", texts, 10_000)]
    if len(texts) < 2:
        return math.nan
    return float(np.mean([bleu(text, texts[:i] + texts[i + 1 :], order) for i, text in enumerate(texts)]))


def _words(name: str, text: Any) -> list[str]:
    if (
        not isinstance(text, list | tuple | np.ndarray)
        or getattr(text, "ndim", 1) != 1
        or any(not isinstance(word, str) for word in text)
    ):
        raise Refusal("{parameter} must be lists of words.", parameter=name)
    return list(text)
