"""Why BERT is no Markov random field: two of its words, drawn in turn, have a law for each order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from engines.arguments import number, one_of, whole
from engines.gibbs import kernels, models
from engines.gibbs.masked import MARK, MaskedLM
from engines.gibbs.sampling import tempered
from engines.gibbs.text import HEAT, prompt
from engines.progress import Progress


@dataclass(frozen=True)
class PairField:
    """Two marked words x and y of a text, each kept to K candidates.

    text: as set, with its marks; x_words, y_words: K tokens each, the most probable with both masked
    x_given_y, y_given_x: float64 [K, K], indexed (x, y): columns of the first sum to 1, rows of the second
    x_last, y_last: float64 [K, K] (x, y), the law that Gibbs sampling keeps when x is drawn last in each sweep, or y
    distance: total variation between the two
    mismatch: standard deviation (nats, under the mean of both laws) of log p(x|y) / p(y|x) about the best sum f(x) + g(y):
        0 for the conditionals of one joint
    covered: probability that both masked give to the candidates, of x and of y
    model: as given
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


def mismatch(x_given_y: np.ndarray, y_given_x: np.ndarray, weights: np.ndarray) -> float:
    """How far two tables [x, y] are from the conditionals of one joint, for which log p(x|y) / p(y|x) = f(x) + g(y)
    (Arnold & Press 1989): the weighted standard deviation of what the best f + g leaves, in nats."""
    ratio = np.log(x_given_y) - np.log(y_given_x)
    rows, columns = ratio.shape
    x, y = np.divmod(np.arange(rows * columns), columns)
    root = np.sqrt(weights.ravel() / weights.sum())
    design = np.concatenate((np.eye(rows)[x], np.eye(columns)[y]), axis=1) * root[:, None]
    fitted = design @ np.linalg.lstsq(design, ratio.ravel() * root, rcond=None)[0]
    return float(np.sqrt(((ratio.ravel() * root - fitted) ** 2).sum()))


def random_field(
    model: str | MaskedLM = "bert-quatrain",
    pair: str = "春风又绿江南岸，明月何时照__还。",
    candidates: int = 24,
    pair_temperature: float = 1.0,
) -> Iterator[Progress]:
    """The two marked words of a text as a Markov chain over their most probable values: one `PairField`."""
    candidates = whole("candidates", candidates, 2, 64)
    pair_temperature = number("pair_temperature", pair_temperature, *HEAT)
    name = model if isinstance(model, str) else "a model of your own"
    if isinstance(model, str):
        one_of("model", model, models.NAMES)
        model = models.load(model)
    ids = torch.tensor([prompt(model, pair, 0)])
    ids = model.frame(ids)
    marks = (ids[0] == model.mask).nonzero()[:, 0]
    if len(marks) != 2:
        raise ValueError(f"pair must hold exactly two marks ({MARK}); it has {len(marks)}")
    both = tempered(model.logits(ids, marks[None])[0].double(), pair_temperature).cpu()
    count = min(candidates, int((~model.forbidden).sum()))
    words = both.topk(count).indices  # [2, count]
    tables = []
    for moving, given in ((0, 1), (1, 0)):
        rows = ids.repeat(count, 1)
        rows[:, marks[given]] = words[given]
        logits = model.logits(rows, marks[moving].expand(count, 1))[:, 0].cpu().double()
        tables.append(tempered(logits[:, words[moving]], pair_temperature).exp().numpy())
    x_given_y, y_given_x = tables[0].T, tables[1]
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
        mismatch=mismatch(x_given_y, y_given_x, (x_last + y_last) / 2),
        covered=tuple(float(both[i, words[i]].exp().sum()) for i in range(2)),
        model=name,
    )
    yield Progress(1, 1, found)
