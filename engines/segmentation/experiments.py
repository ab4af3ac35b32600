"""What the exhibit shows of random segmentation: plain arguments in, arrays out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, Characters, OneOf, Refusal, SomeOf, checked
from engines.segmentation.bpe import BytePairs, draw_bpe
from engines.segmentation.files import VOCABULARIES, load_vocabulary
from engines.segmentation.lattice import Lattice, posteriors
from engines.segmentation.sampling import METHODS, all_paths, best_paths, draw, published_law
from engines.segmentation.vocabulary import UNKNOWN, Prepared, Vocabulary

MOST_WORD, MOST_PASSAGE = 60, 600  # characters
MOST_SEGMENTATIONS = 20_000
MOST_LISTED, MOST_TIES, MOST_SHOWN = 16, 4, 12
SWEEP = 41
OWN_PIECES = "a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1"
SAMPLERS = (*METHODS, "bpe-dropout")

Text = Annotated[str, Characters(MOST_WORD)]
Name = Annotated[str, OneOf(VOCABULARIES)]
Pieces = Annotated[str, Characters(1000)]
Alpha = Annotated[float, Between(0, 10)]
Unknown = Annotated[str, OneOf(UNKNOWN)]
Draws = Annotated[int, Between(1, 10_000)]
Nbest = Annotated[int, Between(1, 64)]
Seed = Annotated[int, Between(0, 999)]


def _prepared(
    text: str, vocabulary: str, pieces: str, file: str | None, unknown: str, most: int = MOST_WORD
) -> tuple[Prepared, Vocabulary]:
    table = load_vocabulary(vocabulary, pieces, file)
    if isinstance(table, BytePairs):
        raise Refusal(
            "{parameter} holds merges (BPE), which have no probabilities: they are for BPE-dropout of a passage.",
            parameter="file",
        )
    return table.prepare(text, unknown, most), table


@dataclass(frozen=True)
class LatticeView:
    """The lattice of a text, E edges over its N characters.

    text: the prepared text
    source: int [E]; place (0 to N) where each piece starts
    target: int [E]; place where it ends
    posterior: float64 [E]; probability that a random segmentation uses the piece
    best: bool [E]; whether a most probable segmentation does
    cut: float64 [N + 1]; probability of a cut before each character and at the end
    best_cuts: bool [b, N + 1]; the most probable segmentation; where several tie, up to 4 of them
    ties: how many tie
    log_z: nats
    log_count: natural logarithm of the number of segmentations
    entropy: nats
    pieces: expected number of pieces
    best_probability: of a most probable segmentation
    alpha: as given
    alphas: float64 [41]; from 0 to alpha_max
    sweep_entropy: float64 [41], nats; the entropy at each of them
    sweep_pieces: float64 [41]; expected number of pieces
    sweep_best: float64 [41]; probability of a most probable segmentation
    """

    text: str
    source: np.ndarray
    target: np.ndarray
    posterior: np.ndarray
    best: np.ndarray
    cut: np.ndarray
    best_cuts: np.ndarray
    ties: int
    log_z: float
    log_count: float
    entropy: float
    pieces: float
    best_probability: float
    alpha: float
    alphas: np.ndarray
    sweep_entropy: np.ndarray
    sweep_pieces: np.ndarray
    sweep_best: np.ndarray


@checked
def lattice(
    text: Text = "unbelievable",
    vocabulary: Name = "english",
    pieces: Pieces = OWN_PIECES,
    file: str | None = None,
    unknown: Unknown = "refuse",
    alpha: Alpha = 0.3,
    alpha_max: Annotated[float, Between(0.01, 10)] = 2.0,
) -> LatticeView:
    """The lattice of a text with the probability of every piece (forward-backward), the best segmentation, and how the law
    changes from all segmentations alike (alpha = 0) towards the best one alone.

    Here and below: vocabulary "own" reads `pieces`, "file" the tokenizer's file `file`; unknown: see `Vocabulary.prepare`.
    """
    prepared, table = _prepared(text, vocabulary, pieces, file, unknown)
    size = len(prepared.text)
    grid = Lattice.of(prepared, table)
    posterior, log_z, entropy = posteriors(grid, alpha)
    to, onward = grid.forward(grid.log_probs, np.maximum), grid.backward(grid.log_probs, np.maximum)
    rounding = 1e-13 * size * float(np.abs(grid.log_probs).max())
    best = to[grid.source] + grid.log_probs + onward[grid.target] >= to[-1] - rounding
    ties = round(math.exp(grid.forward(np.where(best, 0, -np.inf))[-1]))  # every path of best edges is a best one
    paths, scores = best_paths(prepared, table, min(ties, MOST_TIES))
    cut = np.bincount(grid.target, posterior, size + 1)
    cut[0] = 1
    alphas = np.linspace(0, alpha_max, SWEEP)
    sweep = [posteriors(grid, float(value)) for value in alphas]
    return LatticeView(
        text=prepared.text,
        source=grid.source,
        target=grid.target,
        posterior=posterior,
        best=best,
        cut=cut,
        best_cuts=paths,
        ties=ties,
        log_z=log_z,
        log_count=float(grid.forward(0 * grid.log_probs)[-1]),
        entropy=entropy,
        pieces=float(posterior.sum()),
        best_probability=math.exp(alpha * float(scores[0]) - log_z),
        alpha=alpha,
        alphas=alphas,
        sweep_entropy=np.array([nats for _, _, nats in sweep]),
        sweep_pieces=np.array([edges.sum() for edges, _, _ in sweep]),
        sweep_best=np.array([math.exp(a * scores[0] - z) for a, (_, z, _) in zip(alphas, sweep, strict=True)]),
    )


@dataclass(frozen=True)
class Comparison:
    """The exact law of a text's segmentations beside the draws of M methods; the K most probable are listed.

    text: the prepared text, N characters
    cuts: bool [K, N + 1]; the segmentations, the most probable first
    exact: float64 [K]; their probabilities
    methods: M names from METHODS
    frequency: float64 [M, K]; shares among the n draws
    published: float64 [K]; the exact law of Viterbi Sampling as first published, NaN where too long to follow
    distance: float64 [M]; total variation between all draws and the exact law
    published_distance: the same of the published law itself, NaN likewise
    chance: the distance to expect from n exact draws
    count: number of segmentations
    n: draws of each method
    alpha: as given
    nbest: as given
    """

    text: str
    cuts: np.ndarray
    exact: np.ndarray
    methods: tuple[str, ...]
    frequency: np.ndarray
    published: np.ndarray
    distance: np.ndarray
    published_distance: float
    chance: float
    count: int
    n: int
    alpha: float
    nbest: int


@checked
def compare(
    text: Text = "unbelievable",
    vocabulary: Name = "english",
    pieces: Pieces = OWN_PIECES,
    file: str | None = None,
    unknown: Unknown = "refuse",
    methods: Annotated[Sequence[str], SomeOf(METHODS)] = ("viterbi-sampling", "perfect", "ffbs"),
    alpha: Alpha = 0.3,
    n: Draws = 5000,
    nbest: Nbest = 4,
    seed: Seed = 0,
) -> Comparison:
    """The exact law of the segmentations, enumerated, beside the shares among n draws of each method."""
    prepared, table = _prepared(text, vocabulary, pieces, file, unknown)
    paths, scores = all_paths(prepared, table, MOST_SEGMENTATIONS)
    law = np.exp(alpha * (scores - scores[0]))
    law /= law.sum()
    index = {row.tobytes(): k for k, row in enumerate(paths)}

    def by_path(cuts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount([index[row.tobytes()] for row in cuts], weights, len(paths))

    frequency = np.array([by_path(draw(prepared, table, m, alpha, n, seed, nbest)) / n for m in methods])
    try:
        published = by_path(*published_law(prepared, table, alpha))
    except Refusal:
        published = np.full(len(paths), np.nan)
    top = slice(MOST_LISTED)
    return Comparison(
        text=prepared.text,
        cuts=paths[top],
        exact=law[top],
        methods=tuple(methods),
        frequency=frequency[:, top],
        published=published[top],
        distance=np.abs(frequency - law).sum(1) / 2,
        published_distance=float(np.abs(published - law).sum() / 2),
        chance=float(np.sqrt(2 / np.pi * law * (1 - law) / n).sum() / 2),
        count=len(paths),
        n=n,
        alpha=alpha,
        nbest=nbest,
    )


@dataclass(frozen=True)
class Reading:
    """Random segmentations of a passage.

    text: the prepared text, N characters
    cuts: bool [rows, N + 1]; the first draws, at most 12
    frequency: float64 [N + 1]; share of all draws with a cut at each place
    exact: float64 [N + 1]; the probability of it; NaN for BPE-dropout, whose law is not worked out
    distinct: different segmentations among the draws
    entropy: bits, of the exact law; NaN likewise
    log10_count: decimal logarithm of the number of segmentations; NaN likewise
    method: as given
    alpha: as given
    dropout: as given
    n: draws
    byte_level: whether the text is in letters for bytes (see `readable`)
    """

    text: str
    cuts: np.ndarray
    frequency: np.ndarray
    exact: np.ndarray
    distinct: int
    entropy: float
    log10_count: float
    method: str
    alpha: float
    dropout: float
    n: int
    byte_level: bool


@checked
def read(
    text: Annotated[str, Characters(MOST_PASSAGE)] = (
        "Once upon a time there was a miller who was uncommonly quarrelsome."
    ),
    vocabulary: Name = "english",
    pieces: Pieces = OWN_PIECES,
    file: str | None = None,
    unknown: Unknown = "refuse",
    method: Annotated[str, OneOf(SAMPLERS)] = "perfect",
    alpha: Alpha = 0.3,
    dropout: Annotated[float, Between(0, 1)] = 0.1,
    n: Draws = 5000,
    nbest: Nbest = 4,
    seed: Seed = 0,
) -> Reading:
    """A passage `text` cut n times, and how often each place is cut beside how often it should be.

    method: of METHODS for a unigram vocabulary; "bpe-dropout", with its probability `dropout`, for a file of BPE.
    """
    table = load_vocabulary(vocabulary, pieces, file)
    prepared = table.prepare(text, unknown, MOST_PASSAGE)
    exact, entropy, log_count = np.full(len(prepared.text) + 1, np.nan), math.nan, math.nan
    if isinstance(table, BytePairs) != (method == "bpe-dropout"):
        if method == "bpe-dropout":
            raise Refusal("{parameter} bpe-dropout needs the file of a BPE tokenizer.", parameter="method")
        raise Refusal(
            "{parameter} must be bpe-dropout: this file holds merges (BPE), which have no probabilities.",
            parameter="method",
        )
    if isinstance(table, BytePairs):
        cuts = draw_bpe(prepared, table, dropout, n, seed)
    else:
        cuts = draw(prepared, table, method, alpha, n, seed, nbest)
        grid = Lattice.of(prepared, table)
        posterior, _, entropy = posteriors(grid, alpha)
        exact = np.bincount(grid.target, posterior, len(exact))
        exact[0] = 1
        log_count = float(grid.forward(0 * grid.log_probs)[-1])
    return Reading(
        text=prepared.text,
        cuts=cuts[:MOST_SHOWN],
        frequency=cuts.mean(0),
        exact=exact,
        distinct=len({row.tobytes() for row in np.packbits(cuts, axis=1)}),
        entropy=entropy / math.log(2),
        log10_count=log_count / math.log(10),
        method=method,
        alpha=alpha,
        dropout=dropout,
        n=n,
        byte_level=isinstance(table, BytePairs) and table.byte_level,
    )


@dataclass(frozen=True)
class Throughput:
    """Speed on a text whose pieces were drawn from the vocabulary itself.

    methods: M names from METHODS
    seconds: float64 [M]; time to cut the text once
    pieces: int [M]; pieces that each cut it into
    size: bytes of the text in UTF-8
    chunks: parts between forced cuts
    distinct: how many of these differ
    start: the first 60 characters
    """

    methods: tuple[str, ...]
    seconds: np.ndarray
    pieces: np.ndarray
    size: int
    chunks: int
    distinct: int
    start: str


@checked
def throughput(
    vocabulary: Name = "english",
    pieces: Pieces = OWN_PIECES,
    file: str | None = None,
    kilobytes: Annotated[int, Between(1, 500)] = 100,
    alpha: Alpha = 0.3,
    seed: Seed = 0,
) -> Throughput:
    """How fast each method cuts a long text, one after the other in this process."""
    _, table = _prepared("a", vocabulary, pieces, file, "piece")
    law = np.exp(table.log_probs - table.log_probs.max())
    mean = float((law / law.sum()) @ [len(piece.encode()) for piece in table.pieces])
    count = math.ceil(1000 * kilobytes / mean)
    drawn = np.random.default_rng(seed).choice(len(table.pieces), count, p=law / law.sum())
    text = "".join(table.pieces[i] for i in drawn)
    prepared = table.prepare(text.replace("▁", " ") if "▁" in table.characters else text)
    chunks, _ = table.chunks(prepared)
    methods = tuple(method for method in METHODS if method != "n-best")
    seconds, found = [], []
    for method in methods:
        started = time.perf_counter()
        found.append(int(draw(prepared, table, method, alpha, 1, seed, 1).sum()) - 1)
        seconds.append(time.perf_counter() - started)
    return Throughput(
        methods=methods,
        seconds=np.array(seconds),
        pieces=np.array(found),
        size=len(prepared.text.encode()),
        chunks=len(chunks),
        distinct=len(set(chunks)),
        start=prepared.text[:60],
    )
