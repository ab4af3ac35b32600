"""What the exhibit shows of random segmentation: plain arguments in, arrays out."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, Characters, OneOf, Refusal, SomeOf, checked
from engines.segmentation.bpe import BytePairs, bpe_law, draw_bpe, merges_of, words_of
from engines.segmentation.files import VOCABULARIES, load_vocabulary
from engines.segmentation.lattice import Lattice, posteriors, sweep, unique_chunks
from engines.segmentation.sampling import METHODS, MOST_NBEST, all_paths, best_paths, draw, published_law
from engines.segmentation.vocabulary import UNKNOWN, Prepared, Vocabulary

MOST_WORD, MOST_PASSAGE = 60, 600  # characters
MOST_SEGMENTATIONS = 20_000
MOST_LISTED, MOST_TIES, MOST_SHOWN = 16, 4, 12
SWEEP = 41
OWN_PIECES = "a=0.2, b=0.2, ab=0.25, ba=0.15, aba=0.1, bab=0.1"
SAMPLERS = (*METHODS, "bpe-dropout")
EXACT = ("perfect", "ffbs")
TIMED_BEST = 5_000  # characters of which the n best are timed
LAW_OF_WORD = 16  # characters of a word whose distribution under BPE-dropout is followed in a passage

Text = Annotated[str, Characters(MOST_WORD)]
Name = Annotated[str, OneOf(VOCABULARIES)]
Pieces = Annotated[str, Characters(1000)]
Alpha = Annotated[float, Between(0, 10)]
Unknown = Annotated[str, OneOf(UNKNOWN)]
Draws = Annotated[int, Between(1, 10_000)]
Nbest = Annotated[int, Between(1, 64)]
Dropout = Annotated[float, Between(0, 1)]
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
    """The lattice of a text with the probability of every piece (forward-backward), the best segmentation, and how the distribution
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
    sweep_z, sweep_entropy, sweep_pieces = sweep(grid, alphas, np.ones(1))
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
        sweep_entropy=sweep_entropy,
        sweep_pieces=sweep_pieces,
        sweep_best=np.exp(alphas * scores[0] - sweep_z),
    )


@dataclass(frozen=True)
class Comparison:
    """The exact distribution of a text's segmentations beside the draws of M methods; the K most probable are listed.

    text: the prepared text, N characters
    cuts: bool [K, N + 1]; the segmentations, the most probable first
    exact: float64 [K]; their probabilities
    methods: M names from SAMPLERS
    frequency: float64 [M, K]; shares among the n draws
    published: float64 [K]; the exact distribution of Viterbi Sampling as first published, NaN where too long to follow
    published_best: the place in the list of all segmentations of the one that this distribution gives most, -1 where too long
    bpe: float64 [K]; the exact distribution of BPE-dropout with the same pieces, NaN where it is not asked for
    distance: float64 [M]; total variation between all draws and the exact distribution
    own_distance: float64 [M]; between all draws and the method's own distribution, NaN where that is not known
    published_distance: of the published distribution itself from the exact one, NaN likewise
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
    published_best: int
    bpe: np.ndarray
    distance: np.ndarray
    own_distance: np.ndarray
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
    methods: Annotated[Sequence[str], SomeOf(SAMPLERS)] = ("viterbi-sampling", "perfect", "ffbs"),
    alpha: Alpha = 0.3,
    n: Draws = 5000,
    nbest: Nbest = 4,
    dropout: Dropout = 0.1,
    seed: Seed = 0,
) -> Comparison:
    """The exact distribution of the segmentations, enumerated, beside the shares among n draws of each method.

    methods: "bpe-dropout" merges the same pieces, the most probable first, and leaves out each merge with probability `dropout`
    """
    prepared, table = _prepared(text, vocabulary, pieces, file, unknown)
    paths, scores = all_paths(prepared, table, MOST_SEGMENTATIONS)
    law = np.exp(alpha * (scores - scores[0]))
    law /= law.sum()
    index = {row.tobytes(): k for k, row in enumerate(paths)}

    def by_path(cuts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount([index[row.tobytes()] for row in cuts], weights, len(paths))

    def drawn(method: str) -> np.ndarray:
        if method == "bpe-dropout":
            return draw_bpe(prepared, merges_of(table), dropout, n, seed)
        return draw(prepared, table, method, alpha, n, seed, nbest)

    published = bpe = np.full(len(paths), np.nan)
    if "bpe-dropout" in methods:
        lacking = set(prepared.text) - set(table.pieces)
        if lacking and unknown == "refuse":
            raise Refusal(
                "{parameter}: BPE-dropout begins with single characters, and {characters} is none of the pieces.",
                parameter="methods",
                characters=min(lacking, key=prepared.text.index),
            )
        bpe = by_path(*bpe_law(prepared, merges_of(table), dropout))
    frequency = np.array([by_path(drawn(method)) / n for method in methods])
    with contextlib.suppress(Refusal):  # too many comparisons
        published = by_path(*published_law(prepared, table, alpha))
    own = {"viterbi-sampling": published, "bpe-dropout": bpe, **dict.fromkeys(EXACT, law)}
    top = slice(MOST_LISTED)
    return Comparison(
        text=prepared.text,
        cuts=paths[top],
        exact=law[top],
        methods=tuple(methods),
        frequency=frequency[:, top],
        published=published[top],
        published_best=-1 if np.isnan(published[0]) else int(published.argmax()),
        bpe=bpe[top],
        distance=np.abs(frequency - law).sum(1) / 2,
        own_distance=np.array(
            [np.abs(share - own.get(m, np.nan)).sum() / 2 for m, share in zip(methods, frequency, strict=True)]
        ),
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
    exact: float64 [N + 1]; the probability of it; NaN for BPE-dropout where a word is longer than 16 characters
    distinct: different segmentations among the draws
    size: bytes of the text in UTF-8, a space being one
    pieces: mean number of pieces in a draw
    alphas: float64 [21]; from 0 to 2, or to alpha
    sweep_pieces: float64 [21]; expected number of pieces at each of them; NaN for BPE-dropout
    best_pieces: number of pieces of a most probable segmentation; 0 for BPE-dropout
    entropy: bits, of the exact distribution; NaN for BPE-dropout
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
    size: int
    pieces: float
    alphas: np.ndarray
    sweep_pieces: np.ndarray
    best_pieces: int
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
    dropout: Dropout = 0.1,
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
    alphas = np.linspace(0, max(2, alpha), 21)
    sweep_pieces, best_pieces = np.full(len(alphas), np.nan), 0
    if isinstance(table, BytePairs):
        cuts = draw_bpe(prepared, table, dropout, n, seed)
        words = words_of(prepared)
        if max(map(len, words)) <= LAW_OF_WORD:
            with contextlib.suppress(Refusal):  # too many states
                laws = {word: table.law(word, dropout) for word in set(words)}
                exact = np.concatenate(([1.0], *(chances @ rows[:, 1:] for rows, chances in map(laws.get, words))))
    else:
        cuts = draw(prepared, table, method, alpha, n, seed, nbest)
        distinct, which = unique_chunks(table.chunks(prepared)[0], table, unknown != "refuse")
        sweep_pieces = sweep(distinct, alphas, np.bincount(which).astype(float))[2]
        best_pieces = int(draw(prepared, table, "viterbi", alpha, 1, seed, 1).sum()) - 1
        grid = Lattice.of(prepared, table)
        posterior, _, entropy = posteriors(grid, alpha)
        exact = np.bincount(grid.target, posterior, len(exact))
        exact[0] = 1
        log_count = float(grid.forward(0 * grid.log_probs)[-1])
    spells_bytes = isinstance(table, BytePairs) and table.byte_level
    return Reading(
        text=prepared.text,
        cuts=cuts[:MOST_SHOWN],
        frequency=cuts.mean(0),
        exact=exact,
        distinct=len({row.tobytes() for row in np.packbits(cuts, axis=1)}),
        size=len(prepared.text if spells_bytes else prepared.text.replace("▁", " ").encode()),
        pieces=float(cuts.sum(1).mean()) - 1,
        alphas=alphas,
        sweep_pieces=sweep_pieces,
        best_pieces=best_pieces,
        entropy=entropy / math.log(2),
        log10_count=log_count / math.log(10),
        method=method,
        alpha=alpha,
        dropout=dropout,
        n=n,
        byte_level=spells_bytes,
    )


@dataclass(frozen=True)
class Throughput:
    """Speed on a text whose pieces were drawn from the vocabulary itself.

    methods: M names from METHODS
    seconds: float64 [M]; time to cut its text once
    pieces: int [M]; pieces that each cut it into
    sizes: int [M]; bytes of its text in UTF-8: all of it, or its beginning for "n-best"
    size: bytes of the whole text
    chunks: parts between forced cuts
    distinct: how many of these differ
    start: the first 60 characters
    """

    methods: tuple[str, ...]
    seconds: np.ndarray
    pieces: np.ndarray
    sizes: np.ndarray
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
    nbest: Nbest = 4,
    seed: Seed = 0,
) -> Throughput:
    """How fast each method cuts a long text, one after the other in this process; "n-best" only its first 5,000 characters or
    fewer, as the n best of a text are not made of those of its words."""
    _, table = _prepared("a", vocabulary, pieces, file, "piece")
    law = np.exp(table.log_probs - table.log_probs.max())
    mean = float((law / law.sum()) @ [len(piece.encode()) for piece in table.pieces])
    count = math.ceil(1000 * kilobytes / mean)
    drawn = [table.pieces[i] for i in np.random.default_rng(seed).choice(len(table.pieces), count, p=law / law.sum())]

    def prepared(pieces: list[str]) -> Prepared:
        text = "".join(pieces)
        return table.prepare(text.replace("▁", " ") if "▁" in table.characters else text)

    whole = prepared(drawn)
    few = np.searchsorted(np.cumsum([len(piece) for piece in drawn]), min(TIMED_BEST, MOST_NBEST // nbest - 100))
    texts = [prepared(drawn[: max(1, int(few))]) if method == "n-best" else whole for method in METHODS]
    chunks, _ = table.chunks(whole)
    seconds, found = [], []
    for method, text in zip(METHODS, texts, strict=True):
        started = time.perf_counter()
        found.append(int(draw(text, table, method, alpha, 1, seed, nbest).sum()) - 1)
        seconds.append(time.perf_counter() - started)
    return Throughput(
        methods=METHODS,
        seconds=np.array(seconds),
        pieces=np.array(found),
        sizes=np.array([len(text.text.encode()) for text in texts]),
        size=len(whole.text.encode()),
        chunks=len(chunks),
        distinct=len(set(chunks)),
        start=whole.text[:60],
    )
