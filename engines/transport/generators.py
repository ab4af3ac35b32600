"""Small generators of digits, trained to be near in W1 by three ways of measuring it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engines import models
from engines.arguments import Refusal, one_of, whole
from engines.transport.critics import c_transform_dual, network, penalty_at, slopes, step_if_finite
from engines.transport.data import halves

LATENT, WIDTH, PIXELS = 16, 128, 64
CRITIC_STEPS, PENALTY = 3, 10.0
WAYS = ("exact", "wgan_gp", "c_transform")
WEIGHTS = models.ASSETS / "transport" / "generators.safetensors"


class Recipe(NamedTuple):
    """How a generator is trained. by: what measures W1; batch: pictures a step; steps: training steps."""

    by: str
    batch: int
    steps: int


GENERATORS: dict[str, Recipe] = {
    "wgan_gp": Recipe("wgan_gp", 64, 4000),
    "exact_16": Recipe("exact", 16, 8000),
    "exact_64": Recipe("exact", 64, 24_000),
    "exact_512": Recipe("exact", 512, 3000),
    "c_transform": Recipe("c_transform", 64, 5000),
}


def generator_network() -> nn.Sequential:
    """[n, 16] normal numbers -> [n, 64] ink from 0 to 1."""
    return nn.Sequential(
        nn.Linear(LATENT, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, PIXELS), nn.Sigmoid()
    )


def matched_distance(fake: Tensor, real: Tensor) -> Tensor:
    """W1 of two batches [n, d], exact, with its gradient: the mean distance over the best matching."""
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        _, matching = linear_sum_assignment(torch.cdist(fake, real).double().numpy())
    return (fake - real[torch.as_tensor(matching)]).norm(dim=1).mean()


@dataclass
class Training:
    """A generator so far. step, total: int; net: the network; distance: float; its loss at this step."""

    net: nn.Sequential
    step: int
    total: int
    distance: float


def train_generator(by: str, batch: int, steps: int, seed: int = 0, reports: int = 20) -> Iterator[Training]:
    """Train on the first half of the digits; by: "exact" (W1 of two batches), "wgan_gp" or "c_transform".

    Yields about `reports` times; stops with a Refusal before the step whose loss or gradient is not finite. WGAN-GP makes three
    critic steps a step, λ = 10 about slope 1 (Gulrajani et al. 2017 make five). Deterministic for a seed on one machine.
    """
    one_of("by", by, WAYS)
    batch, steps = whole("batch", batch, 2, 512), whole("steps", steps, 1, 1_000_000)
    reports = whole("reports", reports, 1, 1000)
    known = torch.as_tensor(halves()[0], dtype=torch.float32)
    draws = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, critic = generator_network(), network(PIXELS)
    betas = (0.9, 0.99) if by == "exact" else (0.0, 0.9)
    ours, theirs = (torch.optim.Adam(part.parameters(), 1e-3, betas) for part in (net, critic))
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(ours, steps)

    def descend(optimizer: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
        if not step_if_finite(optimizer, loss):
            raise Refusal(
                "The training left the finite numbers at step {step}: take a larger {parameter}.",
                parameter="batch",
                step=step,
            )

    def real() -> Tensor:
        return known[torch.randperm(len(known), generator=draws)[:batch]]

    def fake() -> Tensor:
        return net(torch.randn(batch, LATENT, generator=draws))

    for step in range(1, steps + 1):
        for _ in range(CRITIC_STEPS if by != "exact" else 0):
            x, y = real(), fake().detach()
            if by == "c_transform":
                loss = -c_transform_dual(critic, x, y)
            else:
                between = torch.lerp(y, x, torch.rand(batch, 1, generator=draws))
                penalty = penalty_at(slopes(critic, between, graph=True), "gp_at_1")
                loss = critic(y).mean() - critic(x).mean() + PENALTY * penalty
            descend(theirs, loss, step)
        if by == "exact":
            loss = matched_distance(fake(), real())
        elif by == "c_transform":
            loss = c_transform_dual(critic, real(), fake())
        else:
            loss = -critic(fake()).mean()
        descend(ours, loss, step)
        plan.step()
        if step % max(1, steps // reports) == 0 or step == steps:
            yield Training(net, step, steps, float(loss.detach()))


def save(name: str, net: nn.Module, path: Path = WEIGHTS) -> None:
    """Write a generator's weights as float16 beside what the file holds already."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path) if path.exists() else {}
    tensors |= {f"{name}/{key}": value.half().contiguous() for key, value in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


@lru_cache(maxsize=16)
def load(name: str, path: Path = WEIGHTS) -> nn.Sequential:
    """The shipped generator of that name in GENERATORS."""
    from safetensors import safe_open

    start = f"{one_of('name', name, GENERATORS)}/"
    models._checked(path)
    with safe_open(path, "pt") as file:
        tensors = {key[len(start) :]: file.get_tensor(key).float() for key in file.keys() if key.startswith(start)}  # noqa: SIM118
    if not tensors:
        raise Refusal("{parameter} {name} has no shipped weights: train it.", parameter="name", name=name)
    net = generator_network()
    net.load_state_dict(tensors)
    return net.requires_grad_(False).eval()


def pictures(name: str, n: int, seed: int = 0) -> np.ndarray:
    """n pictures of a shipped generator, float64 [n, 64]."""
    draws = torch.Generator().manual_seed(whole("seed", seed, 0, 2**31 - 1))
    return (
        load(one_of("name", name, GENERATORS))(torch.randn(whole("n", n, 1, 10_000), LATENT, generator=draws))
        .double()
        .numpy()
    )
