"""A wrong argument of any public function of transport's engine is answered with a sentence."""

import inspect
import math

import numpy as np
import pytest

from engines import transport
from engines.transport import critic_flow, critics, data, descent, downhill, experiments, generators, matching

X, Y = [[0.0, 1.0], [2.0, 3.0]], [[1.0, 1.0], [0.0, 3.0]]
EYE = [[1.0, 0.0], [0.0, 1.0]]
JUNK = (object(), "junk", math.nan, {}, [[1.0], [2.0, 3.0]], 1j, None, -(10**9), np.array([math.inf]))
CALLS = {
    transport.wasserstein: {"x": X, "y": Y, "power": 1},
    transport.extend: {"z": X, "y": Y, "potential_y": [0.0, 1.0], "power": 1},
    transport.steepest_slope: {"points": X, "values": [0.0, 1.0]},
    transport.uniform_batch_distance: {"n": 3},
    transport.gaussian_batch_distance: {"dim": 3},
    transport.bures: {"mean0": [0.0, 1.0], "cov0": EYE, "mean1": [1.0, 1.0], "cov1": EYE},
    transport.ornstein_uhlenbeck: {"mean": 1.0, "variance": 2.0, "time": 1.0},
    transport.jko_gaussian: {"mean": 1.0, "std": 1.0, "tau": 0.1, "steps": 2},
    transport.svgd_pair: {"bandwidth": 1.0},
    transport.two_point_critic: {"distance": 1.0, "penalty": 10.0, "centre": 1.0},
    transport.descent_decay: {"rate": 1.0, "step": 0.1, "time": 1.0},
    critics.Critic: {"kind": "clip", "columns": 2, "penalty": 1.0, "clip": 0.1, "rate": 1e-3, "seed": 0},
    generators.train_generator: {"by": "exact", "batch": 4, "steps": 1, "seed": 0, "reports": 1},
    generators.pictures: {"name": "wgan_gp", "n": 2, "seed": 0},
    experiments.distance: {},
    experiments.minibatch: {"law": "uniform", "n": 2, "repeats": 2},
    experiments.critics: {"pair": "shifted", "names": ("clip",), "batch": 8, "steps": 10},
    experiments.generators: {"names": ("wgan_gp",), "n": 16},
    experiments.train: {"by": "exact", "batch": 16, "steps": 50},
    critic_flow.critic_flow: {"case": "points"},
    descent.descent: {"iterations": 2},
    downhill.downhill: {"methods": ("exact",)},
}
FREE = {"letter", "drawing"}  # read for the one law alone that they make
PAIRS = [(function, name) for function in CALLS for name in inspect.signature(function).parameters if name not in FREE]


def call(function, /, **arguments):
    result = function(**arguments)
    return next(result) if inspect.isgenerator(result) else result


@pytest.mark.parametrize("function", CALLS, ids=lambda value: value.__qualname__)
def test_the_call_itself_works(function):
    assert call(function, **CALLS[function]) is not None


@pytest.mark.parametrize(("function", "name"), PAIRS, ids=lambda value: getattr(value, "__qualname__", value))
def test_a_wrong_argument_is_answered_with_a_sentence(function, name):
    refused = 0
    for value in JUNK:
        try:
            call(function, **{**CALLS[function], name: value})
        except ValueError as error:
            refused += 1
            assert str(error).endswith(".") and " " in str(error), (value, error)
            assert name in str(error) or "points_y" in str(error), (value, error)
    assert refused >= len(JUNK) - 2


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([[1.0]], [[1.0], [2.0]]), ([[1.0, 2.0]], [[1.0]]), ([[math.nan]], [[1.0]]), (np.zeros((3000, 1)), np.zeros((3000, 1)))],
)  # fmt: skip
def test_clouds_that_cannot_be_matched(x, y):
    with pytest.raises(ValueError, match=r"must|may have at most"):
        transport.wasserstein(x, y)


def test_what_is_no_covariance():
    for wrong in ([[1.0, 2.0], [0.0, 1.0]], [[1.0, 3.0], [3.0, 1.0]], [[1.0]]):
        with pytest.raises(ValueError, match="cov1 must"):
            transport.bures([0.0, 0.0], EYE, [0.0, 0.0], wrong)


def test_settings_that_ask_too_much_or_have_no_meaning():
    with pytest.raises(ValueError, match="dimensions"):
        next(experiments.minibatch("gaussian", 512, 3072))
    for energy, method in (("porous", "langevin"), ("two_wells", "forward")):
        with pytest.raises(ValueError, match="followed by exact, jko"):
            downhill.downhill(energy, (method,))
    with pytest.raises(ValueError, match="at most 1,000"):
        downhill.downhill(tau=0.001, time=5.0)
    with pytest.raises(ValueError, match="1,600 steps, of all methods at most 1,000"):
        downhill.downhill(methods=("exact", "jko", "langevin"), tau=0.005, time=4.0)
    with pytest.raises(ValueError, match="drawing"):
        experiments.distance("ring", "drawing")
    with pytest.raises(ValueError, match="points_y"):
        experiments.distance("points", points_x=(1.0, 2.0), points_y=(1.0,))
    with pytest.raises(ValueError, match="learnt"):
        critics.Critic("exact", 2)(data.torch.zeros(2, 2))
    assert matching.cloud("x", [1.0, 2.0]).shape == (2, 1)
