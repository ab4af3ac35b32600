"""Gibbs sampling of a text with marks: chains of texts come out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Characters, OneOf, Refusal, checked, whole
from engines.arguments import text as checked_text
from engines.gibbs import diagnostics, models
from engines.gibbs.inputs import SEED
from engines.gibbs.masked import MARK, MaskedLM
from engines.gibbs.sampling import REJECTED, SCANS, SCHEDULES, UNTOUCHED, pseudo_log_likelihood, temperatures, walk
from engines.progress import Progress

STARTS = ("masks", "words")
MOST_CHARACTERS, MOST_FREE = 400, 64
TEMPERATURE = Between(0.05, 10)
PATIENCE = 0.4  # seconds between two looks at a sweep that is not finished
OWN = "own"  # stands for the name of a model that was given as an object


@dataclass(frozen=True)
class GibbsSample:
    """C chains of N tokens over T sweeps, the last perhaps unfinished.

    tokens: text [T + 1, C, N]; the state before and after each sweep, "_" for a mask
    moves: uint8 [T, C, N]; 0 fixed or not visited in this sweep, 1 the same word again, 2 changed, 3 proposed and rejected
    free: bool [N]; positions that move
    temperature: float64 [T]; of each sweep
    token_log_prob: float64 [T, C, N], nats; log-probability at temperature 1 of the word last drawn there in the sweep, given
        what it was drawn from; NaN where none was
    log_prob: float64 [T, C], nats a position; mean over the words drawn in the sweep
    pll: float64 [T + 1, C], nats a position; pseudo-log-likelihood of the state, NaN where it was not measured
    r_hat: float; split R-hat of log_prob after the burn-in, or NaN
    ess: float, draws; effective sample size of the same, of C * T draws, or NaN
    acceptance: float; share of Metropolis proposals accepted (1 without the correction)
    hamming: float64 [lags + 1]; autocorrelation of the free words at lags of 0, 1, ... sweeps
    self_bleu: float; BLEU-2 of the chains' last words against each other, the fixed ones left out; NaN with one chain
    texts: C texts; the last ones, set as a reader expects
    chinese: bool; whether tokens are set without spaces
    model: name of the model
    scan: as given
    burn_in: int, sweeps; as given
    """

    tokens: np.ndarray
    moves: np.ndarray
    free: np.ndarray
    temperature: np.ndarray
    token_log_prob: np.ndarray
    log_prob: np.ndarray
    pll: np.ndarray
    r_hat: float
    ess: float
    acceptance: float
    hamming: np.ndarray
    self_bleu: float
    texts: tuple[str, ...]
    chinese: bool
    model: str
    scan: str
    burn_in: int


def prompt(model: MaskedLM, text: str, length: int) -> list[int]:
    """The tokens of a text with marks, made up to `length` tokens with further marks where length is not 0."""
    if not isinstance(model, MaskedLM):
        raise Refusal("{parameter} must be a MaskedLM.", parameter="model")
    text, length = checked_text("text", text, MOST_CHARACTERS), whole("length", length, 0, 10_000)
    ids = model.encode(text)
    if not ids and not length:
        raise Refusal("{parameter} is empty: write some words, and a _ for each one to be found.", parameter="text")
    if length and length < len(ids):
        raise Refusal(
            "{parameter} is {length}, but the text already has {count} tokens: raise it, or set it to 0.",
            parameter="length",
            length=length,
            count=len(ids),
        )
    ids += [model.mask] * max(0, length - len(ids))
    count = ids.count(model.mask)
    if not 1 <= count <= MOST_FREE:
        raise Refusal(
            "{parameter} must have from 1 to {most} marks (_) for words to be found; it has {count}.",
            parameter="text",
            most=MOST_FREE,
            count=count,
        )
    if len(ids) + 2 > model.longest:
        raise Refusal(
            "{parameter} has {count} tokens; this model takes at most {most}.",
            parameter="text",
            count=len(ids),
            most=model.longest - 2,
        )
    return ids


def named(model: str | MaskedLM, names: tuple[str, ...] = models.NAMES) -> tuple[MaskedLM, str]:
    """The model, and its name."""
    if isinstance(model, MaskedLM):
        return model, OWN
    if not isinstance(model, str) or model not in names:
        raise Refusal(
            "{parameter} must be one of {options}, or a MaskedLM.", parameter="model", options=", ".join(names)
        )
    return models.load(model), model


@checked
def sample(
    model: str | MaskedLM = "bert-quatrain",
    text: Annotated[str, Characters(MOST_CHARACTERS)] = "_______，_______。_______，_______。",
    length: Annotated[int, Between(0, 128)] = 0,
    scan: Annotated[str, OneOf(SCANS)] = "sweep",
    block: Annotated[int, Between(1, MOST_FREE)] = 4,
    sweeps: Annotated[int, Between(1, 300)] = 24,
    chains: Annotated[int, Between(1, 16)] = 4,
    temperature: Annotated[float, TEMPERATURE] = 1.0,
    end_temperature: Annotated[float, TEMPERATURE] = 0.5,
    schedule: Annotated[str, OneOf(SCHEDULES)] = "geometric",
    top_k: Annotated[int, Between(0, 1000)] = 0,
    top_p: Annotated[float, Between(0.01, 1)] = 1.0,
    burn_in: Annotated[int, Between(0, 300)] = 6,
    metropolis: bool = False,
    start: Annotated[str, OneOf(STARTS)] = "masks",
    score_every: Annotated[int, Between(1, 300)] = 6,
    seed: Annotated[int, SEED] = 0,
) -> Iterator[Progress[GibbsSample]]:
    """Gibbs sampling of the marked words of a text, several chains at once: a stream of `GibbsSample`.

    model: a name of `engines.gibbs.models.NAMES`, or a MaskedLM
    text: words to keep, and a "_" for each token to be found
    length: 0, or the number of tokens that marks fill the text up to
    scan, block, top_k, top_p, metropolis: as `engines.gibbs.sampling.walk` takes them
    temperature, end_temperature, schedule: of the first and of the last sweep, and how it goes from one to the other (annealing)
    burn_in: sweeps before truncation and diagnostics begin
    start: "masks", or "words" drawn uniformly from the vocabulary
    score_every: sweeps between two measurements of the pseudo-log-likelihood, each about as costly as a sweep
    """
    yield Progress(0, 1, None)  # the model may have to be fetched
    model, name = named(model)
    ids = torch.tensor(prompt(model, text, length))
    state = model.frame(ids.repeat(chains, 1))
    free = (state[0] == model.mask).nonzero()[:, 0]
    if start == "words":
        words = (~model.forbidden.cpu()).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed)
        state[:, free] = words[torch.randint(len(words), (chains, len(free)), generator=generator)]
    heat = temperatures(temperature, end_temperature, schedule, sweeps)

    history = state.repeat(sweeps + 1, 1, 1)
    moves = np.full((sweeps, *state.shape), UNTOUCHED, np.uint8)
    each = np.full((sweeps, *state.shape), np.nan)
    total, drawn = np.zeros((sweeps, chains)), np.zeros((sweeps, 1))
    pll = np.full((sweeps + 1, chains), np.nan)
    proposed = rejected = 0
    shown = time.monotonic()
    rows = np.arange(chains)[:, None]

    def result(finished: int, complete: bool) -> GibbsSample:
        now = history[: finished + 1, :, 1:-1].tolist()
        tokens = [[[MARK if i == model.mask else model.tokens[i] for i in row] for row in chain] for chain in now]
        log_prob = total[:finished] / drawn[:finished]
        kept = log_prob[min(burn_in, max(0, finished - 4)) :]
        return GibbsSample(
            tokens=np.array(tokens, dtype=np.str_),
            moves=moves[:finished, :, 1:-1].copy(),
            free=np.isin(np.arange(1, len(ids) + 1), free.numpy()),
            temperature=np.array(heat[:finished]),
            token_log_prob=each[:finished, :, 1:-1].copy(),
            log_prob=log_prob,
            pll=pll[: finished + 1].copy(),
            r_hat=diagnostics.split_r_hat(kept) if complete else math.nan,
            ess=diagnostics.effective_sample_size(kept) if complete else math.nan,
            acceptance=1 - rejected / max(1, proposed),
            hamming=diagnostics.hamming_autocorrelation(history[1 : finished + 1, :, free].numpy(), 20),
            self_bleu=diagnostics.self_bleu([[row[i - 1] for i in free.tolist()] for row in tokens[-1]], 2)
            if complete
            else math.nan,
            texts=tuple(model.text(row) for row in now[-1]),
            chinese=model.chinese,
            model=name,
            scan=scan,
            burn_in=burn_in,
        )

    for step in walk(model, state, free, heat, scan, block, top_k, top_p, burn_in, metropolis, seed):
        at, sweep = step.at.numpy(), step.sweep
        moves[sweep, rows, at] = np.maximum(moves[sweep, rows, at], step.moves.numpy())
        each[sweep, rows, at] = step.log_probs.numpy()
        total[sweep] += step.log_probs.sum(-1).numpy()
        drawn[sweep] += at.shape[1]
        proposed += chains
        rejected += int((step.moves == REJECTED).any(1).sum())
        finished, complete = sweep + 1, step.visit == step.visits
        history[finished:] = step.ids
        if complete and step.pll is not None:
            pll[finished] = step.pll / len(free)
        elif complete and (finished % score_every == 0 or finished == sweeps):
            pll[finished] = pseudo_log_likelihood(model, step.ids, free) / len(free)
        if complete or time.monotonic() - shown >= PATIENCE:
            shown = time.monotonic()
            done = sweep * len(free) + step.visit * len(free) // step.visits
            yield Progress(done, sweeps * len(free), result(finished, complete))
