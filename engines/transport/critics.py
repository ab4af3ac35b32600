"""Seven critics of two laws, as published, trained side by side.

A critic D is to have slope at most 1 and to make E D(x) − E D(y) large: the largest is W1. What differs is how the slope is
held: clipped weights (Arjovsky et al. 2017), penalties on it (Gulrajani et al. 2017, Petzka et al. 2018, kexue.fm 9668),
spectral norms (Miyato et al. 2018), or not at all: c-transform (Mallasto et al. 2019), exact potential of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engines.arguments import Refusal, number, one_of, whole
from engines.transport.matching import extend, steepest_slope, wasserstein

CRITICS = ("clip", "gp_at_1", "gp_at_0", "one_sided", "spectral", "c_transform", "exact")
WIDTH = 128


def network(columns: int, width: int = WIDTH) -> nn.Sequential:
    """Two hidden layers: [n, columns] -> [n, 1]."""
    return nn.Sequential(
        nn.Linear(columns, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
    )


def slopes(critic: Callable[[Tensor], Tensor], at: Tensor, graph: bool = False) -> Tensor:
    """|∇D| at points [n, d], [n]."""
    at = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=graph)
    return slope.norm(dim=1)


def penalty_at(slope: Tensor, kind: str) -> Tensor:
    """Mean penalty of slopes [n]: (s − 1)², s², or (s − 1)₊²."""
    if kind == "one_sided":
        return (slope - 1).clamp_min(0).square().mean()
    return (slope - float(kind == "gp_at_1")).square().mean()


def c_transform_dual(critic: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """mean_i min_j (|x_i − y_j| + D(y_j)) − mean_j D(y_j): at most W1 of the two batches, whatever D is."""
    at_y = critic(y).flatten()
    return (torch.cdist(x, y) + at_y).min(1).values.mean() - at_y.mean()


def step_if_finite(optimizer: torch.optim.Optimizer, loss: Tensor) -> bool:
    """One step down the loss, unless it or the norm of its gradient is not finite: then nothing changes, and False."""
    optimizer.zero_grad()
    if not torch.isfinite(loss):
        return False
    loss.backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    if not torch.isfinite(torch.stack([weight.grad.norm() for weight in weights]).norm()):
        return False
    optimizer.step()
    return True


class Critic:
    """One critic in training.

    kind: one of CRITICS; columns: of the data; penalty: λ of the three penalties; clip: greatest size of a clipped weight
    """

    def __init__(
        self, kind: str, columns: int, penalty: float = 10.0, clip: float = 0.01, rate: float = 1e-3, seed: int = 0
    ):
        self.kind = one_of("kind", kind, CRITICS)
        self.penalty, self.clip = number("penalty", penalty, 1e-6, 1e6), number("clip", clip, 1e-6, 10)
        self.learnt: tuple[np.ndarray, np.ndarray] | None = None  # the exact critic's batch y and its potential there
        self.batch: tuple[Tensor, Tensor] | None = None  # what it has seen last; the exact critic's one batch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(whole("seed", seed, 0, 2**31 - 1))
            self.net = network(whole("columns", columns, 1, 4096))
        if kind == "spectral":
            for layer in self.net:
                if isinstance(layer, nn.Linear):
                    nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=1)
        # momentum is what an adversary goes without: Gulrajani et al. 2017, Algorithm 1
        self.optimizer = torch.optim.Adam(self.net.parameters(), number("rate", rate, 1e-7, 1), betas=(0.0, 0.9))

    def __call__(self, points: Tensor) -> Tensor:
        """D at points [n, d], [n]."""
        if self.kind != "exact":
            return self.net(points).flatten()
        if self.learnt is None:
            raise Refusal("{parameter} must be learnt from a batch first: call update.", parameter="exact")
        return torch.as_tensor(extend(points, *self.learnt)).to(points)

    def update(self, x: Tensor, y: Tensor, t: Tensor) -> float:
        """One training step on two batches [n, d] with places t [n] between them; D(x) − D(y) before it.

        NaN, and no step, where the loss with its penalty or the gradient is not finite.
        """
        if self.kind == "exact":  # one batch tells it all it will ever know
            if self.learnt is None:
                best = wasserstein(x, y)
                self.learnt, self.batch = (y.double().numpy(), best.potential[len(x) :]), (x, y)
            return float(self(x).mean() - self(y).mean())
        self.batch = x, y
        if self.kind == "c_transform":
            gain = c_transform_dual(self.net, x, y)
        else:
            gain = self.net(x).mean() - self.net(y).mean()
        loss = -gain
        if self.kind in ("gp_at_1", "gp_at_0", "one_sided"):
            between = torch.lerp(y, x, t[:, None])
            loss = loss + self.penalty * penalty_at(slopes(self.net, between, graph=True), self.kind)
        if not step_if_finite(self.optimizer, loss):
            return float("nan")
        if self.kind == "clip":
            with torch.no_grad():
                for weight in self.net.parameters():
                    weight.clamp_(-self.clip, self.clip)
        return float(gain.detach())

    @torch.no_grad()
    def estimate(self, x: Tensor, y: Tensor) -> float:
        """What the critic says of two sets: E D(x) − E D(y); the c-transform's own dual."""
        if self.kind == "c_transform":
            return float(c_transform_dual(self.net, x, y))
        return float(self(x).mean() - self(y).mean())

    def steepest(self, x: Tensor, y: Tensor) -> float:
        """The greatest |D(a) − D(b)| / |a − b| of any two points of two sets, whose W1 is at least the estimate over it.

        NaN of the c-transform, whose dual is a bound itself.
        """
        if self.kind == "c_transform":
            return float("nan")
        both = torch.cat((x, y))
        with torch.no_grad():
            return steepest_slope(both, self(both))


@dataclass(frozen=True)
class CriticStep:
    """What a training's critics say after a number of steps.

    step: int
    fresh: float64 [critics]; estimates on the fresh sets
    known: float64 [critics]; on the sets that batches are drawn from
    own: float64 [critics]; on the batch that each has seen last, which for the exact potential is its only one
    """

    step: int
    fresh: np.ndarray
    known: np.ndarray
    own: np.ndarray


def train_critics(
    critics: list[Critic],
    known: tuple[np.ndarray, np.ndarray],
    fresh: tuple[np.ndarray, np.ndarray],
    batch: int,
    steps: int,
    seed: int = 0,
    reports: int = 30,
) -> Iterator[CriticStep]:
    """Train critics on the same batches drawn from two known sets [n, d]; yields about `reports` times.

    Stops before the step whose loss or gradient is not finite, with a Refusal that names it and the critic.
    """
    steps, batch = whole("steps", steps, 1, 100_000), whole("batch", batch, 1, min(map(len, known)))
    generator = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    x, y = (torch.as_tensor(side, dtype=torch.float32) for side in known)
    fresh_x, fresh_y = (torch.as_tensor(side, dtype=torch.float32) for side in fresh)
    marks = {max(1, round(steps * (i / reports) ** 2)) for i in range(1, reports + 1)}
    for step in range(1, steps + 1):
        a, b = (side[torch.randperm(len(side), generator=generator)[:batch]] for side in (x, y))
        t = torch.rand(batch, generator=generator)
        for critic in critics:
            if not np.isfinite(critic.update(a, b, t)):
                raise Refusal(
                    "The critic {critic} left the finite numbers at step {step}: lower {parameter}.",
                    parameter="penalty",
                    critic=critic.kind,
                    step=step,
                )
        if step in marks:
            yield CriticStep(
                step,
                np.array([critic.estimate(fresh_x, fresh_y) for critic in critics]),
                np.array([critic.estimate(x, y) for critic in critics]),
                np.array([critic.estimate(*critic.batch) for critic in critics if critic.batch]),
            )
