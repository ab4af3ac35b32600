"""A validation set nearer to the test set: weighing it by a classifier between the two (Su, kexue.fm 7805), on real data.

The test set is drawn from a data set with a bias, so that the true test error is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from engines.arguments import Between, OneOf, checked
from engines.objectives.ratio import WEIGHTS, classify
from engines.progress import Progress

DATA = ("digits", "wine", "cancer", "diabetes", "synthetic")
MODELS = ("ridge", "neighbours", "tree")


@dataclass(frozen=True)
class Validation:
    """How far validation errors are from the test error on biased splits; s splits, w weights, m models.

    data: its key
    model: the one that is asked for
    models: keys [m]
    weights: keys [w]: ratio is D / (1 - D), d is D, none is 1
    test: float64 [s, m]; error on the test set: share of wrong classes, or the root of the mean squared error
    validation: float64 [s, w, m]; weighted error on the validation set
    miss: float64 [s, w]; |validation - test| of the model asked for
    share: float64 [s, w]; effective share of the validation examples, (sum w)^2 / (n sum w^2)
    regret: float64 [s, w]; test error of the model with the least validation error, less the least test error
    auc: float64 [s]; of the classifier, on validation and test examples that it has not seen
    sizes: int64 [3]; examples for training, validation and test
    """

    data: str
    model: str
    models: tuple[str, ...]
    weights: tuple[str, ...]
    test: np.ndarray
    validation: np.ndarray
    miss: np.ndarray
    share: np.ndarray
    regret: np.ndarray
    auc: np.ndarray
    sizes: np.ndarray


@lru_cache(5)
def data_set(name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """(features [n, d], standardised; targets [n]; whether these are classes)."""
    if name == "synthetic":
        random = np.random.default_rng(0)
        x = random.standard_normal((1200, 4))
        return x, np.sin(2 * x[:, 0]) + 0.5 * x[:, 1] ** 2 + 0.2 * random.standard_normal(1200), False
    from sklearn import datasets

    load = {"digits": "load_digits", "wine": "load_wine", "cancer": "load_breast_cancer", "diabetes": "load_diabetes"}
    found: Any = getattr(datasets, load[name])()
    x = found.data.astype(float)
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-9), found.target, name != "diabetes"


def biased_split(x: np.ndarray, strength: float, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Indices for training, validation and test. Test examples lie far along the first principal direction.

    An example is in the test set with probability sigmoid(strength (z - median)), z being its standardised first principal
    component; of the others two thirds are for training.
    """
    axis = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]
    z = x @ axis
    z = (z - np.median(z)) / z.std()
    is_test = random.random(len(x)) < 1 / (1 + np.exp(-strength * z - math.log(0.5)))
    rest = random.permutation(np.flatnonzero(~is_test))
    cut = 2 * len(rest) // 3
    return rest[:cut], rest[cut:], np.flatnonzero(is_test)


@checked
def validation(
    data: Annotated[str, OneOf(DATA)] = "digits",
    strength: Annotated[float, Between(0, 4)] = 2.0,
    model: Annotated[str, OneOf(MODELS)] = "neighbours",
    splits: Annotated[int, Between(4, 24)] = 12,
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Iterator[Progress[Validation]]:
    """Train models on biased splits and compare validation errors, plain and weighted, with the test error.

    D is logistic regression on at most 10 principal components between training and test examples, and weighs the validation
    examples, which it has not seen. Yields a `Validation` as it grows.
    """
    x, y, classes = data_set(data)
    random = np.random.default_rng(seed)
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:10]
    kept: dict[str, list] = {name: [] for name in ("test", "validation", "share", "auc")}
    sizes = []
    for split in range(splits):
        train, held, test = biased_split(x, strength, random)
        half = random.permutation(len(test))
        seen, unseen = test[half[::2]], test[half[1::2]]
        log_odds = classify(x[train] @ axes.T, x[seen] @ axes.T, 1e-2)
        odds = np.exp(np.clip(log_odds(x[held] @ axes.T), -30, 30))
        order = np.concatenate((log_odds(x[held] @ axes.T), log_odds(x[unseen] @ axes.T))).argsort().argsort()
        ranks = order[len(held) :].sum() - len(unseen) * (len(unseen) - 1) / 2
        kept["auc"].append(ranks / (len(held) * len(unseen)))
        weights = [{"ratio": odds, "d": odds / (1 + odds), "none": np.ones(len(held))}[name] for name in WEIGHTS]
        kept["share"].append([w.sum() ** 2 / (len(w) * (w**2).sum()) for w in weights])
        errors, tested = [], []
        for name in MODELS:
            fitted = _model(name, classes, split).fit(x[train], y[train])
            loss = [
                (fitted.predict(x[part]) != y[part]).astype(float)
                if classes
                else (fitted.predict(x[part]) - y[part]) ** 2
                for part in (held, test)
            ]
            mean = [w @ loss[0] / w.sum() for w in weights]
            errors.append(mean if classes else np.sqrt(mean))
            tested.append(loss[1].mean() if classes else math.sqrt(loss[1].mean()))
        kept["test"].append(tested)
        kept["validation"].append(np.array(errors).T)
        sizes.append([len(train), len(held), len(test)])
        if not split:
            continue  # one split has no spread
        found = {name: np.array(values, dtype=float) for name, values in kept.items()}
        best = found["validation"].argmin(-1)  # [s, w]
        chosen = np.take_along_axis(found["test"], best, 1)
        at = MODELS.index(model)
        result = Validation(
            data=data,
            model=model,
            models=MODELS,
            weights=WEIGHTS,
            miss=np.abs(found["validation"][:, :, at] - found["test"][:, at, None]),
            regret=chosen - found["test"].min(1, keepdims=True),
            sizes=np.round(np.mean(sizes, 0)).astype(int),
            **found,
        )
        yield Progress(split + 1, splits, result)


def _model(name: str, classes: bool, seed: int) -> Any:
    from sklearn import linear_model, neighbors, tree

    match name:
        case "ridge":
            return linear_model.RidgeClassifier() if classes else linear_model.Ridge()
        case "neighbours":
            return neighbors.KNeighborsClassifier(5) if classes else neighbors.KNeighborsRegressor(5)
    kind = tree.DecisionTreeClassifier if classes else tree.DecisionTreeRegressor
    return kind(max_depth=6, random_state=seed)
