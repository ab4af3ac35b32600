"""Schedules from Su's account of Amos, optimisers on one network stored in two ways, and whether the assumptions hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, OneOf, SomeOf, checked
from engines.networks import accuracy, cross_entropy, digits, forward, initial, stack
from engines.progress import Progress
from engines.training.formulas import LAWS, su_recursion, su_schedule
from engines.training.plane import Plane, plane
from engines.training.rules import RULES, Rule, slot_count

WIDTHS = (64, 64, 64, 10)
BATCH = 64


@dataclass(frozen=True)
class Schedules:
    """Schedules over T steps.

    step: int64 [T]; where the curves are drawn
    ratio: float64 [T]; α_t/α_0 of the law that is asked for, in closed form
    recursion: float64 [T]; the same from its difference equation
    other: float64 [T]; closed form of the other law
    linear: float64 [T]; linear decay to 0
    cosine: float64 [T]; cosine decay to 0
    amos_c: float64 [T]; Amos's c_t where every squared gradient is its mean
    amos_d: float64 [T]; Amos's d_t, its learning rate over the first
    rho: float64 [T]; weight decay of the law a step
    amos_rho: float64 [T]; Amos's, d_t γ_t/2
    half: float64; step at which the law is 1/2
    alpha0: float; p: float; q: float; steps: int; law: str; as asked for
    """

    step: np.ndarray
    ratio: np.ndarray
    recursion: np.ndarray
    other: np.ndarray
    linear: np.ndarray
    cosine: np.ndarray
    amos_c: np.ndarray
    amos_d: np.ndarray
    rho: np.ndarray
    amos_rho: np.ndarray
    half: float
    alpha0: float
    p: float
    q: float
    steps: int
    law: str


@checked
def schedules(
    alpha0: Annotated[float, Between(1e-4, 0.1)] = 1e-3,
    p: Annotated[float, Between(0.01, 1)] = 0.5,
    law: Annotated[str, OneOf(LAWS)] = "slowing",
    steps: Annotated[int, Between(100, 100_000)] = 10_000,
    q: Annotated[float, Between(0.1, 4)] = 1.0,
) -> Schedules:
    """Su's two schedules (kexue.fm/archives/9344) beside linear and cosine decay and Amos's own factors (ξ = α_0, η = 1)."""
    ratio, rho = su_schedule(alpha0, p, q, steps, law)
    other, _ = su_schedule(alpha0, p, q, steps, LAWS[law == "steady"])
    b, root, factors = 0.0, 0.25 * math.sqrt(alpha0), np.empty((3, steps + 1))
    for t in range(steps + 1):
        c, d = (1 + root * b) ** -0.5, 1 / (1 + root * b)
        gamma = c * alpha0**2
        factors[:, t] = c, d, 0.5 * d * gamma
        b += gamma * (1 + b)
    shown = np.unique(np.linspace(0, steps, 400).astype(np.int64))
    done = shown / steps
    half = (math.sqrt(2) - 1 if law == "steady" else 0.5) / (alpha0 * p)
    return Schedules(
        shown, ratio[shown], su_recursion(alpha0, p, steps, law)[shown], other[shown], 1 - done,
        0.5 + 0.5 * np.cos(np.pi * done), factors[0, shown], factors[1, shown], rho[shown], factors[2, shown],
        half, alpha0, p, q, steps, law,
    )  # fmt: skip


@dataclass(frozen=True)
class Optimisers:
    """The same network under R rules, each stored as it is and with kernels times `stored_scale`; T moments, S seeds.

    rules: keys of the rules
    step: int64 [T]
    loss: float64 [R, 2, T]; mean test loss over the seeds, nats; first stored as it is, then scaled
    error: float64 [R, 2, T]; its standard error over the seeds (NaN for one seed)
    train: float64 [R, 2, T]; mean training loss of the latest batches
    accuracy: float64 [R, 2]; share of right answers on the test images, at the last moment
    difference: float64 [R]; greatest difference of a batch's loss between the two storages, so far, over all seeds
    behind: float64 [R]; final test loss minus that of AdamW with linear decay (the first rule, if it is not among them)
    behind_error: float64 [R]; standard error of that paired difference (NaN for one seed)
    reach: float64 [R]; steps until the mean test loss is as low as the first AdamW's at its end (NaN: never)
    slots: int64 [R]; bytes of what the rule keeps, 4 a number
    weights: int; bytes of the weights
    reference: str; the rule that `behind` compares with
    seeds: int; as asked for
    stored_scale: float; as asked for
    plane: Plane of the first seed's weights as they are used, 2 R paths over T moments: each rule stored as it is and scaled; test
        loss. None until training has ended
    """

    rules: tuple[str, ...]
    step: np.ndarray
    loss: np.ndarray
    error: np.ndarray
    train: np.ndarray
    accuracy: np.ndarray
    difference: np.ndarray
    behind: np.ndarray
    behind_error: np.ndarray
    reach: np.ndarray
    slots: np.ndarray
    weights: int
    reference: str
    seeds: int
    stored_scale: float
    plane: Plane | None


@checked
def optimise(
    rules: Annotated[Sequence[str], SomeOf(RULES)] = ("adamw", "adamw-linear", "su", "amos-rows", "amos-momentum"),
    scale_exponent: Annotated[int, Between(-4, 4)] = 3,
    steps: Annotated[int, Between(100, 2000)] = 600,
    seeds: Annotated[int, Between(1, 8)] = 3,
    adam_rate: Annotated[float, Between(1e-4, 0.1)] = 3e-3,
    relative_rate: Annotated[float, Between(1e-3, 0.2)] = 0.03,
    amos_rate: Annotated[float, Between(1e-3, 0.2)] = 0.02,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Optimisers]]:
    """Train a 64-64-64-10 network on digits with each rule; yields an `Optimisers` about 20 times.

    scale_exponent: kernels are stored times 2^k and used divided by it, which changes the network in no way.
    adam_rate: learning rate of SGD and AdamW; relative_rate: α_0 of LAMB and Su's rule; amos_rate: ξ.
    """
    rules, count = tuple(rules), len(rules)
    data, scale = digits(), 2.0**scale_exponent
    randoms = [torch.Generator().manual_seed(100_003 * seed + i) for i in range(seeds)]
    networks = [initial(WIDTHS, random) for random in randoms]
    start = stack([*networks, *[[w * scale if w.dim() == 2 else w for w in network] for network in networks]])
    unit = torch.tensor([1.0] * seeds + [scale] * seeds).repeat(count)  # [rows]
    rows = 2 * seeds
    weights = [w.repeat(count, *[1] * (w.dim() - 1)) for w in start]
    rates = {"sgd": 10 * adam_rate, "lamb": relative_rate, "su": relative_rate}
    sizes = [
        (w[:rows].flatten(1).square().mean(1).sqrt() if w.dim() == 3 else w.new_full((rows,), 0.5)).view(
            -1, *[1] * (w.dim() - 1)
        )
        for w in weights
    ]
    made = [
        Rule(name, [w[:rows] for w in weights], sizes, amos_rate if name.startswith("amos") else rates.get(name, adam_rate), steps)
        for name in rules
    ]  # fmt: skip
    moments, every = [], max(1, steps // 25)
    curve, batch_losses, places = [], [], []

    def used(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return [w / unit[:, None, None] if w.dim() == 3 else w for w in tensors]

    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                scores = forward(used(weights), data.test_x)
                moments.append(step)
                losses = cross_entropy(scores, data.test_y).view(count, 2, seeds)
                curve.append(losses.double())
                first = [w[::seeds].flatten(1) for w in used(weights)]  # of the first seed: [2 R, ...]
                places.append(torch.cat(first, 1))
        if step == steps:
            break
        chosen = torch.stack([torch.randint(len(data.x), (BATCH,), generator=random) for random in randoms])
        x, y = data.x[chosen].repeat(2 * count, 1, 1), data.y[chosen].repeat(2 * count, 1)
        leaves = [w.requires_grad_() for w in weights]
        loss = cross_entropy(forward(used(leaves), x), y)
        gradients = torch.autograd.grad(loss.sum(), leaves)
        batch_losses.append(loss.detach().double().view(count, 2, seeds))
        with torch.no_grad():
            parts = [
                rule([w.detach()[i * rows : (i + 1) * rows] for w in leaves], [g[i * rows : (i + 1) * rows] for g in gradients])
                for i, rule in enumerate(made)
            ]  # fmt: skip
            weights = [torch.cat(same) for same in zip(*parts, strict=True)]
        if (step + 1) % max(every, steps // 12) == 0 and step + 1 < steps:
            yield Progress(
                step + 1,
                steps,
                None if len(curve) < 3 else _optimisers(rules, moments, curve, batch_losses, scores, scale),
            )
    shapes = [w.shape[1:] for w in weights]

    def test_loss(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([math.prod(shape) for shape in shapes], 1)
        weights = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
        return cross_entropy(forward(weights, data.test_x), data.test_y)

    seen = plane(torch.stack(places, 1), test_loss)
    yield Progress(steps, steps, _optimisers(rules, moments, curve, batch_losses, scores, scale, seen))


def _optimisers(rules, moments, curve, batch_losses, scores, scale, seen=None) -> Optimisers:
    loss, batches = torch.stack(curve, -1), torch.stack(batch_losses, -1)  # [R, 2, S, T], [R, 2, S, steps]
    seeds = loss.shape[2]
    deviation = loss.std(2) / math.sqrt(seeds) if seeds > 1 else torch.full_like(loss[:, :, 0], math.nan)
    reference = "adamw-linear" if "adamw-linear" in rules else rules[0]
    paired = loss[:, 0, :, -1] - loss[rules.index(reference), 0, :, -1]
    error = paired.std(1) / math.sqrt(seeds) if seeds > 1 else torch.full((len(rules),), math.nan)
    mean = loss[:, 0].mean(1)
    goal = mean[rules.index("adamw") if "adamw" in rules else 0, -1]
    below = mean <= goal
    step = np.array(moments)
    reach = np.where(below.any(1), step[below.int().argmax(1).numpy()], np.nan)
    since = np.minimum(np.maximum(step, 1), batches.shape[-1])
    train = torch.stack([batches[..., max(0, end - 25) : end].mean((2, 3)) for end in since.tolist()], -1)
    right = accuracy(scores, digits().test_y).view(len(rules), 2, seeds).mean(2)
    shapes = [(o, i) for i, o in itertools.pairwise(WIDTHS)] + [(o,) for o in WIDTHS[1:]]
    return Optimisers(
        rules,
        step,
        loss.mean(2).numpy(),
        deviation.numpy(),
        train.numpy(),
        right.double().numpy(),
        (batches[:, 0] - batches[:, 1]).abs().amax((1, 2)).numpy(),
        paired.mean(1).numpy(),
        error.double().numpy(),
        reach,
        np.array([4 * sum(slot_count(rule, shape) for shape in shapes) for rule in rules]),
        4 * sum(math.prod(shape) for shape in shapes),
        reference,
        seeds,
        scale,
        seen,
    )


@dataclass(frozen=True)
class Assumptions:
    """What Su's derivation assumes, measured in a training run; L kernels, T moments, means over the seeds.

    step: int64 [T]
    p: float64 [L, T]; cos(u_t, ε_t), u_t Adam's update direction and ε_t = θ_t - θ*
    p_error: float64 [L, T]; standard error over the seeds
    q: float64 [L, T]; θ_t·ε_t/|ε_t|²
    q_error: float64 [L, T]; standard error
    shrink: float64 [L, T]; |ε_t|/|ε_0|
    relative: float64 [L]; |ε_0|/|θ_0|
    cosine: float64 [L]; cos(θ_0, θ*)
    accuracy: float64; share of right answers of the last weights, mean over the seeds
    seeds: int
    weight_decay: float; as asked for
    """

    step: np.ndarray
    p: np.ndarray
    p_error: np.ndarray
    q: np.ndarray
    q_error: np.ndarray
    shrink: np.ndarray
    relative: np.ndarray
    cosine: np.ndarray
    accuracy: float
    seeds: int
    weight_decay: float


@checked
def assumptions(
    weight_decay: Annotated[float, Between(0, 1)] = 0.0,
    learning_rate: Annotated[float, Between(1e-4, 0.03)] = 3e-3,
    schedule: Annotated[str, OneOf(("constant", "linear"))] = "linear",
    steps: Annotated[int, Between(500, 4000)] = 1500,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Assumptions]]:
    """Train four 64-64-64-10 networks with AdamW and compare each kernel with where it ends, θ*; yields an `Assumptions`.

    ε_t is known only at the end: what is yielded before it is None. The last tenth of the steps is not shown: there ε_t is mostly
    the noise of the last steps.
    """
    seeds, data = 4, digits()
    random = torch.Generator().manual_seed(seed)
    weights = stack([initial(WIDTHS, random) for _ in range(seeds)])
    slots = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    every = max(1, steps // 60)
    moments, places, updates = [], [], []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(data.x), (seeds, BATCH), generator=random)
        leaves = [w.requires_grad_() for w in weights]
        loss = cross_entropy(forward(leaves, data.x[chosen]), data.y[chosen])
        gradients = torch.autograd.grad(loss.sum(), leaves)
        rate = learning_rate * (1 - (step - 1) / steps if schedule == "linear" else 1)
        kept = (step - 1) % every == 0 and step <= 0.9 * steps
        with torch.no_grad():
            following, directions = [], []
            for weight, gradient, (first, second) in zip(leaves, gradients, slots, strict=True):
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.001)
                update = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
                directions.append(update)
                following.append(weight.detach() - rate * (update + weight_decay * weight.detach()))
            if kept:
                moments.append(step - 1)
                places.append([w.detach().clone() for w in weights[::2]])
                updates.append([u.clone() for u in directions[::2]])
            weights = following
        if step % max(1, steps // 10) == 0 and step < steps:
            yield Progress(step, steps, None)
    with torch.no_grad():
        right = accuracy(forward(weights, data.test_x), data.test_y).mean().item()
    found = {name: [] for name in ("p", "q", "shrink", "relative", "cosine")}
    for layer, end in enumerate(weights[::2]):
        end = end.flatten(1).double()
        theta = torch.stack([place[layer].flatten(1).double() for place in places])  # [T, seeds, n]
        u = torch.stack([update[layer].flatten(1).double() for update in updates])
        eps = theta - end
        length = eps.norm(dim=-1)
        found["p"].append((u * eps).sum(-1) / (u.norm(dim=-1) * length))
        found["q"].append((theta * eps).sum(-1) / length**2)
        found["shrink"].append(length / length[0])
        found["relative"].append(length[0] / theta[0].norm(dim=-1))
        found["cosine"].append(torch.cosine_similarity(theta[0], end, -1))
    arrays = {name: torch.stack(values) for name, values in found.items()}  # [L, T, seeds] or [L, seeds]
    yield Progress(
        steps,
        steps,
        Assumptions(
            np.array(moments),
            *(f(arrays[name]).numpy() for name in ("p", "q") for f in (lambda a: a.mean(-1), lambda a: a.std(-1) / seeds**0.5)),
            *(arrays[name].mean(-1).numpy() for name in ("shrink", "relative", "cosine")),
            right,
            seeds,
            weight_decay,
        ),
    )  # fmt: skip
