"""Each check fails where what it measures is built wrong; each public function refuses with a sentence."""

import inspect
import math

import numpy as np
import pytest
import torch

from engines import objectives as family
from engines.arguments import Refusal, rules
from engines.objectives import checks, experiments, training, validation


def unscaled(function):
    return lambda *args, **kwargs: 1.02 * function(*args, **kwargs)


def few_frank_wolfe_steps(gradients):
    """Min-norm as solvers that stop early have it."""
    g = torch.as_tensor(gradients, dtype=torch.float64)
    w = torch.full((len(g),), 1 / len(g), dtype=torch.float64)
    for n in range(20):
        worst = int((g @ (w @ g)).argmin())
        w = w + (torch.eye(len(g), dtype=torch.float64)[worst] - w) / (n + 2)
    return w, w @ g


def pcgrad_sum(gradients):
    return 2 * family.gradients.pcgrad(gradients)


def cagrad_rescaled(gradients, c=0.5):
    return family.gradients.cagrad(gradients, c) / (1 + c * c)


def zlpr_without_ones(scores, labels):
    t = torch.as_tensor(labels, dtype=torch.float64)
    return (t.log() - scores).logsumexp(-1) + ((1 - t).log() + scores).logsumexp(-1)


WRONG = {
    "min_norm": few_frank_wolfe_steps,
    "pcgrad": pcgrad_sum,
    "cagrad": cagrad_rescaled,
    "normalised_sum": lambda g: torch.as_tensor(g, dtype=torch.float64).sum(0),
    "nash": lambda g: 2 * family.gradients.nash(g),
    "zlpr": zlpr_without_ones,
    "bce": unscaled(family.bce),
    "multiway": lambda s, t, form: family.labels.multiway(s, t, 1 if form == 3 else 2) + (0.1 if form == 1 else 0),
    "density_ratio_gaussian": lambda mean, std: (0.5 + mean / 4, math.exp(-mean)),
    "weighted_mean": lambda mean, std, weight="ratio", power=1: mean,
}
AFFECTED = {
    "min_norm": (0, 1, 6, 7),
    "pcgrad": (2,),
    "cagrad": (3, 4),
    "normalised_sum": (5, 10),
    "nash": (10,),
    "zlpr": (12, 13),
    "bce": (15,),
    "multiway": (16, 17),
    "density_ratio_gaussian": (18,),
    "weighted_mean": (19,),
}


@pytest.mark.parametrize("name", WRONG)
def test_checks_fail_against_a_wrong_build(name, monkeypatch):
    monkeypatch.setattr(family, name, WRONG[name])
    for index in AFFECTED[name]:
        outcome = checks.CHECKS[index].outcome()
        assert not outcome.holds, checks.CHECKS[index].claim


def test_checks_of_rules_front_and_soft_labels_fail_against_wrong_ones(monkeypatch):
    monkeypatch.setitem(family.RULES, "cagrad", lambda g, losses, c: family.normalised_sum(g))
    assert not checks.CHECKS[8].outcome().holds
    monkeypatch.setitem(family.RULES, "log", lambda g, losses, c: family.total(g))
    assert not checks.CHECKS[9].outcome().holds
    monkeypatch.setattr(family, "zlpr", family.bce)
    assert not checks.CHECKS[14].outcome().holds
    monkeypatch.setattr(checks, "toy_front", lambda: np.stack([np.linspace(-7, 7, 101), np.full(101, -8.0)], -1))
    assert not checks.CHECKS[11].outcome().holds


def test_every_check_was_seen_to_fail():
    seen = {index for indices in AFFECTED.values() for index in indices} | {8, 9, 11, 14}
    assert seen == set(range(len(checks.CHECKS)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: family.min_norm([[1.0, 2]]),
        lambda: family.min_norm("abc"),
        lambda: family.min_norm(np.full((2, 2), np.nan)),
        lambda: family.min_norm(np.ones((9, 2))),
        lambda: family.min_norm(None),
        lambda: family.pcgrad([1.0, 2]),
        lambda: family.cagrad([[1.0, 0], [0, 1]], 2),
        lambda: family.cagrad([[1.0, 0], [0, 1]], "x"),
        lambda: family.normalised_sum([[1.0, 0], [0, 0]]),
        lambda: family.nash([[1.0, 0], [-1, 0]]),
        lambda: family.nash([[1.0, 0], [0, 0]]),
        lambda: family.imtl_g([[1.0, 0], [2, 0], [3, 0]]),
        lambda: family.log_sum([[1.0, 0], [0, 1]], (0, 1)),
        lambda: family.log_sum([[1.0, 0], [0, 1]], "ab"),
        lambda: family.total([]),
        lambda: family.upgrad([[], []]),
        lambda: family.pair_weights("best", 1, 1, 0),
        lambda: family.zlpr([1.0, 2], [1.0]),
        lambda: family.zlpr([1.0, 2], [1.0, 2]),
        lambda: family.zlpr([1.0, math.inf], [1, 0]),
        lambda: family.zlpr(["a"], [1]),
        lambda: family.zlpr_optimum([2.0]),
        lambda: family.bce([], []),
        lambda: family.circle(1.0, 1),
        lambda: family.focal([1.0], [1], gamma=-1),
        lambda: family.multiway([1.0, 2], 5),
        lambda: family.multiway([1.0, 2], 0.5),
        lambda: family.multiway([1.0, 2], [0, 1]),
        lambda: family.multiway([1.0, 2], 1, form=4),
        lambda: family.multiway([1.0], 0),
        lambda: family.density_ratio_gaussian(1, 0),
        lambda: family.density_ratio_gaussian("x", 1),
        lambda: family.exact_log_ratio(0.0, 1, 0),
        lambda: family.weighted_mean(1, 1, "half"),
        lambda: experiments.directions(x=(0, 1, 1), y=(0, 1, 1)),
        lambda: experiments.multilabel(scores=(1, 2), labels=(1,)),
        lambda: experiments.multilabel(scores=(1, 2), labels=(1, 1), losses=("circle",)),
        lambda: list(training.imbalance(tiles=2, wanted=3)),
        lambda: list(training.two_digits(scale=0)),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(call):
    with pytest.raises(Refusal) as caught:
        call()
    assert str(caught.value).endswith(".")


EXPERIMENTS = (
    experiments.directions,
    experiments.valley,
    experiments.multilabel,
    experiments.multiway_descent,
    experiments.shift,
    training.two_digits,
    training.imbalance,
    validation.validation,
)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda f: f.__name__)
def test_experiments_hold_every_argument_to_its_bounds(experiment):
    assert set(rules(experiment)) == set(inspect.signature(experiment).parameters)
    for name in inspect.signature(experiment).parameters:
        for wrong in (math.nan, "nothing", -1e9, (), None):
            with pytest.raises(Refusal):
                result = experiment(**{name: wrong})
                next(iter(result))
