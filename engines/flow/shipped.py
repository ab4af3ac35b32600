"""The flows that ship with the studio (`engines.recipes.flow_weights` makes them)."""

from __future__ import annotations

import json
from functools import cache

from engines import models
from engines.arguments import one_of
from engines.flow.plane import TARGETS, PlaneFlow
from engines.flow.tarflow import TarFlow

FOLDER = models.ASSETS / "flow"
STACKS = ("1", "2", "4", "8", "8-one-order")  # blocks of a flow in the plane, and whether they keep one order
NOISES = ("0.1", "0.3")  # of the digits
PATCH = 4


@cache
def plane(target: str = "moons", stack: str = "8") -> PlaneFlow:
    """The flow of a target in the plane, for every noise from 0.05 to 0.6. Shared: do not change."""
    from safetensors import safe_open

    start = f"{one_of('target', target, TARGETS)}-{one_of('stack', stack, STACKS)}/"
    models._checked(FOLDER / "plane.safetensors")
    with safe_open(FOLDER / "plane.safetensors", "pt") as file:
        state = {key.removeprefix(start): file.get_tensor(key) for key in file.keys() if key.startswith(start)}  # noqa: SIM118
    flow = PlaneFlow(int(stack.split("-")[0]), "one-order" not in stack)
    flow.load_state_dict(state)
    return flow.eval().requires_grad_(False)


@cache
def digits(noise: str = "0.3") -> TarFlow:
    """The flow of the digits at that noise, told a label or none. Shared: do not change."""
    from safetensors import safe_open

    path = FOLDER / f"digits-{one_of('noise', noise, NOISES)}.safetensors"
    models._checked(path)
    with safe_open(path, "pt") as file:
        flow = TarFlow(**json.loads(file.metadata()["config"]))
        flow.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return flow.eval().requires_grad_(False)
