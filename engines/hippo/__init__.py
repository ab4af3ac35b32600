"""HiPPO: a function remembered by N numbers; then S4 and rational transfer functions."""

from engines.hippo import rtf, s4
from engines.hippo.measures import MEASURES, METHODS, basis, condition, density, discretize, transition
from engines.hippo.recurrence import FORMS, legs_step, legs_step_dense, project, reconstruct, states

__all__ = [
    "FORMS",
    "MEASURES",
    "METHODS",
    "basis",
    "condition",
    "density",
    "discretize",
    "legs_step",
    "legs_step_dense",
    "project",
    "reconstruct",
    "rtf",
    "s4",
    "states",
    "transition",
]
