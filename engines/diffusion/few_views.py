"""What the page asks of the models of few steps: the shipped ones side by side, and one trained live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, several_of, whole
from engines.diffusion.fewstep import METHODS, SHIPPED, Training, exact_flow, load, train
from engines.diffusion.measures import sliced_wasserstein, straightness
from engines.diffusion.mixture import TARGETS, GaussianMixture, target_mixture
from engines.diffusion.views import EXTENT, density_picture
from engines.progress import Progress

STEPS = (1, 2, 4, 8)
PARTICLES, DRAWN, TRACED = 1000, 400, 16
EXACT = "exact"
ENTRIES = {EXACT: "exact flow (Euler)"} | {name: method.label for name, method in METHODS.items()}


@dataclass(frozen=True)
class FewSteps:
    """Models of few steps from the same noise.

    methods, labels: [M]; target: its name; steps: [4] int64
    samples: [M, 4, drawn, 2] float32, samples in 1, 2, 4 and 8 steps (a generator's are the same in all)
    ways: [M, 9, traced, 2] float32, the first particles in eight steps (a generator's: straight)
    distance: [M, 4] float64, sliced Wasserstein-1 distance of 1,000 samples to exact draws; floor: float, chance alone
    off_flow: [M, 4] float64, median distance from where the exact flow takes the same noise
    straightness: [M] float64, ∫ E|x_1 − x_0 − dx/dt|² dt over 32 steps, NaN where there is no velocity
    cost: [M] float64, E|x_1 − x_0|² of the coupling (in 8 steps)
    losses: M arrays [reports, 2] float64 of (training step, loss); empty for the exact flow
    density: [48, 48] uint8, √ density on [−extent, extent]², row 0 at the bottom; extent: float
    """

    methods: tuple[str, ...]
    labels: tuple[str, ...]
    target: str
    steps: np.ndarray
    samples: np.ndarray
    ways: np.ndarray
    distance: np.ndarray
    floor: float
    off_flow: np.ndarray
    straightness: np.ndarray
    cost: np.ndarray
    losses: tuple[np.ndarray, ...]
    density: np.ndarray
    extent: float


def _exact_states(mixture: GaussianMixture, z: Tensor, steps: int) -> Tensor:
    states = [z]
    for i in range(steps):
        states.append(states[-1] + mixture.velocity(states[-1], i / steps) / steps)
    return torch.stack(states)


def _compare(target: str, mixture: GaussianMixture, trained: dict[str, Training | None], seed: int) -> FewSteps:
    """The result for methods with their models (None for the exact flow)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(PARTICLES, 2, generator=generator)
    exact = mixture.sample(PARTICLES, seed + 2)
    ends = exact_flow(mixture, z.double(), 16)
    samples, ways, distance, off_flow, straight, cost, losses = [], [], [], [], [], [], []
    for name, training in trained.items():

        def states(steps: int, training=training) -> Tensor:
            if training is None:
                return _exact_states(mixture, z.double(), steps)
            return training.model.sample(z, steps, seed + 3).double()

        kind = "velocity" if training is None else METHODS[name].kind
        runs = [states(k) for k in STEPS]
        samples.append(np.stack([run[-1, :DRAWN].float().numpy() for run in runs]))
        way = runs[-1][:, :TRACED]
        if kind == "generator":
            way = torch.stack([torch.lerp(way[0], way[-1], i / 8) for i in range(9)])
        ways.append(way.float().numpy())
        distance.append([sliced_wasserstein(run[-1], exact) for run in runs])
        off_flow.append([float((run[-1] - ends).norm(dim=1).median()) for run in runs])
        straight.append(straightness(states(32)) if kind in ("velocity", "shortcut") else np.nan)
        cost.append(float((runs[-1][-1] - z).square().sum(-1).mean()))
        losses.append(np.array(training.losses if training else []).reshape(-1, 2))
    return FewSteps(
        methods=tuple(trained),
        labels=tuple(ENTRIES[name] for name in trained),
        target=target,
        steps=np.array(STEPS),
        samples=np.stack(samples),
        ways=np.stack(ways),
        distance=np.array(distance),
        floor=sliced_wasserstein(mixture.sample(PARTICLES, seed + 4), exact),
        off_flow=np.array(off_flow),
        straightness=np.array(straight),
        cost=np.array(cost),
        losses=tuple(losses),
        density=density_picture(mixture, 0.0, 1.0, 48),
        extent=EXTENT,
    )


def few_steps(
    few_target: str = "ring",
    methods: Sequence[str] = (EXACT, "reflow", "consistency_distillation", "shortcut", "sid"),
    seed: int = 0,
) -> FewSteps:
    """Up to six shipped models (or "exact", the exact flow by Euler) in 1, 2, 4 and 8 steps from the same noise."""
    one_of("few_target", few_target, SHIPPED)
    methods = several_of("methods", methods, ENTRIES, 6)
    seed = whole("seed", seed, 0, 2**31 - 1)
    trained = {name: None if name == EXACT else load(few_target, name) for name in methods}
    return _compare(few_target, TARGETS[few_target](), trained, seed)


def train_few_steps(
    method: str = "reflow",
    target: str = "ring",
    effort: float = 1.0,
    alpha: float = 1.0,
    seed: int = 0,
    letter: str = "S",
    drawing: str | None = None,
) -> Iterator[Progress]:
    """Train one method now, beside the exact flow. Yields at most sixty times a Progress of FewSteps, a few of them and the last with a result.

    effort: share of the method's full training, from 0.02 to 1; alpha: SiD's α. The shipped models were
    trained so, at effort 1 and seed 0, with the α of SHIPPED.
    """
    one_of("method", method, METHODS)
    effort, alpha = number("effort", effort, 0.02, 1.0), number("alpha", alpha, 0.0, 2.0)
    seed = whole("seed", seed, 0, 2**31 - 1)
    mixture = target_mixture(target, letter, drawing)
    steps = max(2, round(effort * METHODS[method].steps))
    for report, state in enumerate(train(method, mixture, steps, seed, alpha)):
        last = state.step == state.total
        # a comparison costs as much as many steps: make it at a few of the forty reports only
        result = _compare(target, mixture, {EXACT: None, method: state}, seed) if last or report in (7, 19) else None
        yield Progress(state.step, state.total, result)
