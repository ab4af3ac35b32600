"""The view of the Gibbs sampler: a text with marks goes in, chains of texts come out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from engines.arguments import number, one_of, whole
from engines.gibbs import diagnostics, models
from engines.gibbs.masked import MARK, MaskedLM
from engines.gibbs.sampling import SCANS, SCHEDULES, UNTOUCHED, pseudo_log_likelihood, temperatures, walk
from engines.progress import Progress

STARTS = {"masks": "all marks", "words": "random words"}
MOST_CHARACTERS, MOST_FREE, MOST_CHAINS, MOST_SWEEPS = 400, 64, 16, 300
HEAT = (0.05, 10)  # temperatures: at 0 or below there is no law to draw from
PATIENCE = 0.4  # seconds between two looks at a sweep that is not finished


@dataclass(frozen=True)
class GibbsSample:
    """Chains of texts: C chains of N tokens over T sweeps, the last perhaps unfinished.

    tokens: text [T + 1, C, N], the state before and after each sweep; "_" is a mask
    moves: uint8 [T, C, N]: 0 fixed or not visited in this sweep, 1 the same word again, 2 changed, 3 proposed and rejected
    free: bool [N], positions that move
    temperature: float64 [T]
    drawn: float64 [T, C], nats a position: mean log-probability of the words as they were drawn during the sweep
    pseudo: float64 [T + 1, C], pseudo-log-likelihood of the state, nats a position; NaN where it was not measured
    r_hat: split R-hat of `drawn` after the burn-in; effective: effective sample size of the same, of C * T draws; or NaN
    acceptance: share of Metropolis proposals accepted (1 without the correction)
    hamming: float64 [lags + 1], autocorrelation of the texts at lags of 0, 1, ... sweeps
    self_bleu: of the chains' last texts, BLEU-2; NaN with one chain
    texts: C last texts, set as a reader expects
    chinese: whether tokens are set without spaces
    model, scan: as given; burn_in: sweeps
    stage: "loading", "sampling" or "done"
    """

    tokens: np.ndarray
    moves: np.ndarray
    free: np.ndarray
    temperature: np.ndarray
    drawn: np.ndarray
    pseudo: np.ndarray
    r_hat: float
    effective: float
    acceptance: float
    hamming: np.ndarray
    self_bleu: float
    texts: tuple[str, ...]
    chinese: bool
    model: str
    scan: str
    burn_in: int
    stage: str


def prompt(model: MaskedLM, text: str, length: int) -> list[int]:
    """The tokens of a text with marks, made up to `length` tokens with further marks where length is not 0."""
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise ValueError(f"text must have at most {MOST_CHARACTERS} characters")
    if not text.strip() and not length:
        raise ValueError(f"text is empty: write some words and a {MARK} for each one to be found, or give a length")
    ids = model.encode(text.strip())
    if length and length < len(ids):
        raise ValueError(f"length is {length}, but the text already has {len(ids)} tokens: raise it, or set it to 0")
    ids += [model.mask] * max(0, length - len(ids))
    count = ids.count(model.mask)
    if not 1 <= count <= MOST_FREE:
        raise ValueError(f"text must have from 1 to {MOST_FREE} marks ({MARK}) for words to be found; it has {count}")
    if len(ids) + 2 > model.longest:
        raise ValueError(f"text has {len(ids)} tokens; this model takes at most {model.longest - 2}")
    return ids


def sample(
    model: str | MaskedLM = "bert-quatrain",
    text: str = "_______，_______。_______，_______。",
    length: int = 0,
    scan: str = "sweep",
    block: int = 4,
    sweeps: int = 24,
    chains: int = 4,
    temperature: float = 1.0,
    end_temperature: float = 0.5,
    schedule: str = "geometric",
    top_k: int = 0,
    top_p: float = 1.0,
    burn_in: int = 6,
    metropolis: bool = False,
    start: str = "masks",
    score_every: int = 6,
    seed: int = 0,
) -> Iterator[Progress]:
    """Gibbs sampling of the marked words of a text, several chains at once: a stream of `GibbsSample`.

    model: a name of `engines.gibbs.models.NAMES`, or a MaskedLM
    text: words to keep, and a "_" for each token to be found
    length: 0, or the number of tokens that marks fill the text up to
    scan, block, top_k, top_p, metropolis: as `engines.gibbs.sampling.walk` takes them
    temperature, end_temperature, schedule: of the first and of the last sweep, and the way between (annealing)
    burn_in: sweeps before truncation and diagnostics begin
    start: "masks", or "words" drawn uniformly from the vocabulary
    score_every: sweeps between two measurements of the pseudo-log-likelihood, each about as dear as a sweep
    """
    one_of("scan", scan, SCANS)
    one_of("schedule", schedule, SCHEDULES)
    one_of("start", start, STARTS)
    length = whole("length", length, 0, 128)
    block = whole("block", block, 1, MOST_FREE)
    sweeps = whole("sweeps", sweeps, 1, MOST_SWEEPS)
    chains = whole("chains", chains, 1, MOST_CHAINS)
    temperature = number("temperature", temperature, *HEAT)
    end_temperature = number("end_temperature", end_temperature, *HEAT)
    top_k = whole("top_k", top_k, 0, 100_000)
    top_p = number("top_p", top_p, 0.01, 1)
    burn_in = whole("burn_in", burn_in, 0, MOST_SWEEPS)
    score_every = whole("score_every", score_every, 1, MOST_SWEEPS)
    seed = whole("seed", seed, 0, 2**63 - 1)
    if isinstance(model, str):
        one_of("model", model, models.NAMES)
        name = model
        yield Progress(0, 1, _loading(name, scan, burn_in))
        model = models.load(name)
    else:
        name = "a model of your own"
    ids = torch.tensor(prompt(model, text, length))
    state = model.frame(ids.repeat(chains, 1))
    free = (state[0] == model.mask).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    if start == "words":
        words = (~model.forbidden.cpu()).nonzero()[:, 0]
        state[:, free] = words[torch.randint(len(words), (chains, len(free)), generator=generator)]
    heat = temperatures(temperature, end_temperature, schedule, sweeps)

    history = state.repeat(sweeps + 1, 1, 1)
    moves = np.full((sweeps, *state.shape), UNTOUCHED, np.uint8)
    drawn, visited = np.zeros((sweeps, chains)), 0
    pseudo = np.full((sweeps + 1, chains), np.nan)
    proposed = rejected = 0
    shown = time.monotonic()
    rows = np.arange(chains)[:, None]

    def result(finished: int, complete: bool, stage: str) -> GibbsSample:
        now = history[: finished + 1, :, 1:-1].tolist()
        trace = drawn[:finished].copy()
        trace[-1] /= visited or 1
        keep = slice(min(burn_in, max(0, finished - 4)), finished)
        tokens = [[[MARK if i == model.mask else model.tokens[i] for i in row] for row in chain] for chain in now]
        tokens = np.array(tokens, dtype=np.str_)
        last = tokens[-1]
        return GibbsSample(
            tokens=tokens,
            moves=moves[:finished, :, 1:-1].copy(),
            free=np.isin(np.arange(1, len(ids) + 1), free.numpy()),
            temperature=np.array(heat[:finished]),
            drawn=trace,
            pseudo=pseudo[: finished + 1].copy(),
            r_hat=diagnostics.split_r_hat(drawn[keep]) if complete else math.nan,
            effective=diagnostics.effective_sample_size(drawn[keep]) if complete else math.nan,
            acceptance=1 - rejected / max(1, proposed),
            hamming=diagnostics.hamming_autocorrelation(tokens[1:, :, free.numpy() - 1], 20),
            self_bleu=diagnostics.self_bleu(last.tolist(), 2) if complete else math.nan,
            texts=tuple(model.text(row) for row in now[-1]),
            chinese=model.chinese,
            model=name,
            scan=scan,
            burn_in=burn_in,
            stage=stage,
        )

    for step in walk(model, state, free, heat, scan, block, top_k, top_p, burn_in, metropolis, seed):
        at = step.at.numpy()
        moves[step.sweep, rows, at] = np.maximum(moves[step.sweep, rows, at], step.moves.numpy())
        drawn[step.sweep] += step.log_probs.numpy()
        visited += at.shape[1]
        proposed += chains
        rejected += int((step.moves == 3).any(1).sum())
        history[step.sweep + 1 :] = step.ids
        finished = step.sweep + 1
        if step.done == 1:
            drawn[step.sweep] /= visited
            visited = 0
            if step.pseudo is not None:
                pseudo[finished] = step.pseudo / len(free)
            elif finished % score_every == 0 or finished == sweeps:
                pseudo[finished] = pseudo_log_likelihood(model, step.ids, free) / len(free)
        elif time.monotonic() - shown < PATIENCE:
            continue
        shown = time.monotonic()
        at_all = round((step.sweep + step.done) * len(free))
        stage = "done" if finished == sweeps and step.done == 1 else "sampling"
        yield Progress(at_all, sweeps * len(free), result(finished, step.done == 1, stage))


def _loading(name: str, scan: str, burn_in: int) -> GibbsSample:
    """What there is to show while the model is being read."""
    none = np.zeros((0, 0))
    return GibbsSample(
        tokens=np.zeros((0, 0, 0), np.str_),
        moves=np.zeros((0, 0, 0), np.uint8),
        free=np.zeros(0, bool),
        temperature=np.zeros(0),
        drawn=none,
        pseudo=none,
        r_hat=math.nan,
        effective=math.nan,
        acceptance=math.nan,
        hamming=np.zeros(0),
        self_bleu=math.nan,
        texts=(),
        chinese=False,
        model=name,
        scan=scan,
        burn_in=burn_in,
        stage="loading",
    )
