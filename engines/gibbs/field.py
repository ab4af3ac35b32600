"""Why BERT is no Markov random field: two of its words, drawn in turn, have a distribution for each order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Characters, Refusal, checked
from engines.gibbs import inputs, kernels
from engines.gibbs.masked import MaskedLM
from engines.gibbs.sampling import tempered
from engines.gibbs.text import MOST_CHARACTERS, TEMPERATURE, named, prompt
from engines.progress import Progress


@dataclass(frozen=True)
class PairField:
    """Two marked words x and y of a text, each kept to K candidates.

    text: the text as set, with its marks
    x_words: K tokens; the most probable for the first mark with both masked
    y_words: K tokens; likewise for the second
    x_given_y: float64 [K, K] (x, y); columns sum to 1
    y_given_x: float64 [K, K] (x, y); rows sum to 1
    x_last: float64 [K, K] (x, y); the distribution that Gibbs sampling keeps when x is drawn last in each sweep
    y_last: float64 [K, K] (x, y); the distribution that it keeps when y is
    distance: float; total variation between the two
    mismatch: float, nats; standard deviation, under the mean of both distributions, of log p(x|y) / p(y|x) about the best sum f(x) + g(y):
        0 for the conditionals of one joint
    covered: two floats; probability that both masked give to the candidates, of x and of y
    model: name of the model
    """

    text: str
    x_words: tuple[str, ...]
    y_words: tuple[str, ...]
    x_given_y: np.ndarray
    y_given_x: np.ndarray
    x_last: np.ndarray
    y_last: np.ndarray
    distance: float
    mismatch: float
    covered: tuple[float, float]
    model: str


def mismatch(log_x_given_y: np.ndarray, log_y_given_x: np.ndarray, weights: np.ndarray) -> float:
    """How far two tables [x, y] of log-probabilities are from the conditionals of one joint, for which
    log p(x|y) / p(y|x) = f(x) + g(y) (Arnold & Press 1989): the standard deviation, under `weights`, of what the best
    f + g leaves, in nats."""
    ratio = inputs.floats("log_x_given_y", log_x_given_y, 2) - inputs.floats("log_y_given_x", log_y_given_x, 2)
    rows, columns = ratio.shape
    root = np.sqrt(inputs.law("weights", weights, ratio.size).ravel())
    x, y = np.divmod(np.arange(rows * columns), columns)
    design = np.concatenate((np.eye(rows)[x], np.eye(columns)[y]), axis=1) * root[:, None]
    fitted = design @ np.linalg.lstsq(design, ratio.ravel() * root, rcond=None)[0]
    return float(np.sqrt(((ratio.ravel() * root - fitted) ** 2).sum()))


@checked
def random_field(
    model: str | MaskedLM = "bert-quatrain",
    text: Annotated[str, Characters(MOST_CHARACTERS)] = "春风又绿江南岸，明月何时照__还。",
    candidates: Annotated[int, Between(2, 64)] = 24,
    temperature: Annotated[float, TEMPERATURE] = 1.0,
) -> Iterator[Progress[PairField]]:
    """The two marked words of a text as a Markov chain over their `candidates` most probable values: one `PairField`."""
    yield Progress(0, 1, None)  # the model may have to be fetched
    model, name = named(model)
    ids = model.frame(torch.tensor([prompt(model, text, 0)]))
    marks = (ids[0] == model.mask).nonzero()[:, 0]
    if len(marks) != 2:
        raise Refusal(
            "{parameter} must hold exactly two marks (_); it has {count}.", parameter="text", count=len(marks)
        )
    both = tempered(model.logits(ids, marks[None])[0], temperature).cpu()
    count = min(candidates, int((~model.forbidden).sum()))
    words = both.topk(count).indices  # [2, count]
    tables = []
    for moving, given in ((0, 1), (1, 0)):
        rows = ids.repeat(count, 1)
        rows[:, marks[given]] = words[given]
        logits = model.logits(rows, marks[moving].expand(count, 1))[:, 0].cpu()
        tables.append(tempered(logits[:, words[moving]], temperature).numpy())
    logs = tables[0].T, tables[1]
    x_given_y, y_given_x = map(np.exp, logs)
    x_law = kernels.stationary(y_given_x @ x_given_y.T)  # x, then y given x, then x given y
    y_law = kernels.stationary(x_given_y.T @ y_given_x)
    y_last, x_last = x_law[:, None] * y_given_x, x_given_y * y_law[None]
    found = PairField(
        text=model.text(ids[0, 1:-1].tolist()),
        x_words=tuple(model.tokens[i] for i in words[0]),
        y_words=tuple(model.tokens[i] for i in words[1]),
        x_given_y=x_given_y,
        y_given_x=y_given_x,
        x_last=x_last,
        y_last=y_last,
        distance=kernels.total_variation(x_last, y_last),
        mismatch=mismatch(*logs, (x_last + y_last) / 2),
        covered=tuple(float(both[i, words[i]].exp().sum()) for i in range(2)),
        model=name,
    )
    yield Progress(1, 1, found)
