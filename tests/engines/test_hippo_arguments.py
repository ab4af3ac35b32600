"""Every public function of engines.hippo with each argument wrong: an answer, or a ValueError with a sentence."""

import inspect
import types
from typing import Annotated

import numpy as np
import pytest
import torch

from engines.hippo import experiments, files, measures, models, recurrence, rtf, s4, selection, signals, timescales
from engines.hippo.tensors import as_numbers, sized

F64 = torch.float64
A, V = -torch.eye(3, dtype=F64), torch.ones(3, dtype=F64)
SMALL = torch.full((3,), 0.1, dtype=F64)
GOOD = {
    "transition": ("legs", 4),
    "blend": ("gbt", 0.5),
    "held_input": (V,),
    "discretize": (A, V, 0.1, "gbt", 0.3),
    "basis": ("legs", 4, V / 2),
    "density": ("legs", V / 2),
    "condition": (A,),
    "legs_step_dense": (V, torch.tensor(1.0), 3, "gbt", 0.3, "older"),
    "legs_step": (V, torch.tensor(1.0), 3, "gbt", 0.3, "older"),
    "states": (torch.ones(20), "legt", 4, "gbt", 5.0, [3, 20], 0.5, "blog"),
    "project": (torch.ones(20), "legt", 4, 5),
    "reconstruct": (torch.ones(20), "legt", 4, "gbt", 5.0, [3, 20], 8, 0.5, "blog"),
    "skew": (4,),
    "dplr": (4,),
    "truncated": (-V, V, V, 0.1, 8, "gbt", 0.5, 0.9),
    "generating": (0.5 * V, -V, V, V, V, 0.1, "gbt", 0.5),
    "s4.kernel": (-V, V, V, V, 0.1, 8, "gbt", 0.5),
    "recurrent_kernel": (A, V, V, 0.1, 8, "gbt", 0.5),
    "s4.recurrence": (A, V, V, 0.1, torch.ones(5), "gbt", 0.5),
    "convolve": (V, V),
    "diagonal": (4, "lin"),
    "diagonal_kernel": (-V, V, V, 0.1, 8, "gbt", 0.5),
    "rtf.kernel": (SMALL, V, 8),
    "companion": (SMALL, V),
    "truncate": (SMALL, V, 8),
    "untruncate": (SMALL, V, 8),
    "inference": (SMALL, V, torch.ones(8)),
    "rtf.recurrence": (SMALL, V, torch.ones(8)),
    "polynomial": (SMALL,),
    "radius": (SMALL,),
    "from_state_space": (A / 2, V, V, 8),
    "evaluate": ("t", np.arange(4.0)),
    "load": ("own", 64, "t", None, None, 0),
    "fit": (np.ones(5), 3),
    "wav": ("gone.wav", 64),
    "table": ("gone.csv", 64),
    "upload": ("gone.csv", 64),
    "drawing": ("gone.png", 64),
    "memory": ("own", "t", None, None, "legt", 4, "bilinear", 64, 0.5, 0),
    "orders": ("own", "t", None, None, ("legt",), "bilinear", 64, 0.5, 0),
    "steps": ("own", "t", None, None, "legt", 4, 0.5, 0.3, "blog", 0),
    "matrices": ("legt", 4),
    "forgetting": (("legt",), 4, 0.5, 3.0, 0),
    "kernels": (4, 64, 1.0, 0.5, 0),
    "rational": ("memory", 4, 64, 0.9, 0),
    "timescales": ("legt", 4, 0.5, 0),
    "copying": (2, 6, 4, 0.1, "real", 0),
    "readout": ("lin", 4, 6, 2, 0.1),
    "fixed_bound": (6, 2),
    "odd_order": ("fout", 4),
    "left_of_impulse": ("legt", 4, V),
    "diagonal_gaps": (4, 1.0, 0.5),
    "system": ("lin", 4, 2),
    "run": (A, V, np.ones(3), 0.1),
}
INNER = {
    "blend",
    "held_input",
    "fit",
    "odd_order",
    "left_of_impulse",
    "diagonal_gaps",
    "system",
    "places",
    "run",
}  # of one module for another; their arguments were held before
WRONG = [
    "nonsense",
    None,
    object(),
    float("nan"),
    float("inf"),
    -(10.0**9),
    10**30,
    [],
    [[1.0], [1.0, 2.0]],
    {},
    True,
    2.5,
    0,
    torch.ones(2, 2, 7),
    torch.tensor([float("nan")] * 3),
    torch.ones(3, dtype=torch.complex64),
    b"\0",
]


def public():
    for module in (measures, recurrence, s4, rtf, signals, files, experiments, timescales, models, selection):
        for name, function in vars(module).items():
            if (
                isinstance(function, types.FunctionType)
                and not name.startswith("_")
                and function.__module__ == module.__name__
            ):
                known = name if name in GOOD else f"{module.__name__.split('.')[-1]}.{name}"
                yield known, function


FUNCTIONS = dict(public())


def test_every_public_function_is_in_the_list():
    assert FUNCTIONS.keys() == GOOD.keys()


@pytest.mark.parametrize("name", [name for name in GOOD if name not in INNER])
def test_each_argument_wrong_is_answered_with_a_sentence(name):
    function, good = FUNCTIONS[name], GOOD[name]
    parameters = list(inspect.signature(function).parameters)
    assert len(good) == len(parameters)
    if not str(good[0]).startswith("gone"):
        function(*good)
    for i, parameter in enumerate(parameters):
        refused = 0
        for wrong in WRONG:
            try:
                function(*good[:i], wrong, *good[i + 1 :])
            except ValueError as fault:
                refused += 1
                sentence = str(fault)
                assert sentence[0] != "[" and sentence.endswith((".", "].")) and " " in sentence, (parameter, sentence)
        assert refused >= 5, parameter


def test_sizes_that_do_not_agree_are_named():
    with pytest.raises(ValueError, match="B has 4 entries where A has 3"):
        measures.discretize(A, torch.ones(4), 0.1)
    with pytest.raises(ValueError, match=r"\[N, N\]"):
        measures.discretize(V, V, 0.1)
    with pytest.raises(ValueError, match="real numbers"):
        rtf.kernel(SMALL, V.to(torch.complex128), 8)
    with pytest.raises(ValueError, match="array of numbers"):
        as_numbers("x", [True])


def test_leading_sizes_are_free_and_arrays_and_lists_are_tensors():
    @sized
    def total(x: Annotated[torch.Tensor, "... N"], y: Annotated[torch.Tensor, "N"]):
        return (x * y).sum(-1)

    assert total(np.ones((2, 3, 4)), [1, 2, 3, 4]).tolist() == [[10.0] * 3] * 2
    assert total(np.ones(4, dtype=np.float32), torch.ones(4).half()).dtype == torch.float32
    assert total(np.ones(4, dtype=int), [1, 1, 1, 1]).dtype == F64
