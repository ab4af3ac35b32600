"""What the live views compute: numbers in, frozen arrays out. Trainings stand in training.py and validation.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, ListOf, OneOf, Refusal, SomeOf, checked
from engines.objectives import labels as family
from engines.objectives.gradients import RULES, min_norm, pair_weights
from engines.objectives.ratio import WEIGHTS, classify, density_ratio_gaussian, exact_log_ratio, weighted_mean
from engines.objectives.toy import STARTS, toy_front, toy_losses

SHOWN_RULES = ("sum", "normalised", "min_norm", "pcgrad", "cagrad")
PAIR_RULES = ("sum", "log", "normalised", "min_norm", "pcgrad", "cagrad")
VALLEY_RULES = ("sum", "normalised", "min_norm", "pcgrad", "cagrad")  # losses there are negative: no logarithm
SOLVERS = ("average", "frank-wolfe", "softmax")

Rules = Annotated[Sequence[str], SomeOf(tuple(RULES))]
Component = Annotated[Sequence[float], ListOf(-5, 5, most=3, least=3)]
Scale = Annotated[float, Between(0.01, 100)]
C = Annotated[float, Between(0, 0.95)]
Seed = Annotated[int, Between(0, 999)]


def degrees_between(u: np.ndarray, v: np.ndarray) -> float:
    """The angle between two vectors, degrees; NaN where one is 0 or not known."""
    lengths = np.linalg.norm(u), np.linalg.norm(v)
    if not all(length > 1e-12 for length in lengths):
        return math.nan
    u, v = u / lengths[0], v / lengths[1]
    return math.degrees(2 * math.atan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


@dataclass(frozen=True)
class Directions:
    """Where the rules point for gradients g of t tasks in the plane.

    gradients: float64 [t, 2]
    rules: their keys [r]
    vectors: float64 [r, 2]; NaN where a rule has no direction
    moved: float64 [r, 2]; the same after L1 -> scale L1 + shift
    inner: float64 [r, t]; <g_i, u> / (|g_i| |u|): above 0 the task gets better
    turned_by_scale: float64 [r], degrees; angle between the directions for L1 and scale L1
    turned_by_shift: float64 [r], degrees; for L1 and L1 + shift
    weights: float64 [t]; of the min-norm vector
    nearest: float64 [2]; the min-norm vector
    cone: float64 [2], radians; from where to where no task gets worse; NaN where only 0 does
    iterations: int64 [k]; of the approximate min-norm solvers
    solvers: their keys [s]: Su's average of the worst gradient, Frank-Wolfe with exact steps, gradient descent on softmax weights
    gap: float64 [s, k]; |u|^2 less its minimum, over the mean |g|^2
    """

    gradients: np.ndarray
    rules: tuple[str, ...]
    vectors: np.ndarray
    moved: np.ndarray
    inner: np.ndarray
    turned_by_scale: np.ndarray
    turned_by_shift: np.ndarray
    weights: np.ndarray
    nearest: np.ndarray
    cone: np.ndarray
    iterations: np.ndarray
    solvers: tuple[str, ...]
    gap: np.ndarray


@checked
def directions(
    x: Component = (3.0, -2.0, -0.5),
    y: Component = (1.0, 1.0, 1.5),
    tasks: Annotated[int, Between(2, 3)] = 2,
    losses: Annotated[Sequence[float], ListOf(0.01, 100, most=3, least=3)] = (2.0, 0.5, 1.0),
    rules: Rules = SHOWN_RULES,
    scale: Scale = 10.0,
    shift: Annotated[float, Between(0, 10)] = 5.0,
    c: C = 0.5,
) -> Directions:
    """The direction of each rule, before and after a change of the first loss's unit (scale) and zero (shift).

    x, y: components of the gradients; losses: their values, which only the rule log reads; the first `tasks` of each count
    """
    g = np.stack([x, y], -1)[:tasks]
    values = np.array(losses[:tasks])
    if not np.linalg.norm(g, axis=1).min():
        raise Refusal("{parameter}: a gradient must not vanish; move its tip away from 0.", parameter="x")
    stretch = np.where(np.arange(tasks) == 0, scale, 1.0)
    lift = np.where(np.arange(tasks) == 0, shift, 0.0)

    def found(rule: str, gradients: np.ndarray, at: np.ndarray) -> np.ndarray:
        try:
            vector = RULES[rule](torch.from_numpy(gradients), at.tolist(), c).numpy()
        except Refusal:
            return np.full(2, np.nan)
        return np.where(np.linalg.norm(vector) < 1e-9, 0.0, vector)

    vectors = np.stack([found(rule, g, values) for rule in rules])
    scaled = np.stack([found(rule, g * stretch[:, None], values * stretch) for rule in rules])
    shifted = np.stack([found(rule, g, values + lift) for rule in rules])
    moved = np.stack([found(rule, g * stretch[:, None], values * stretch + lift) for rule in rules])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) * np.linalg.norm(g, axis=1)
    inner = np.divide(vectors @ g.T, lengths, out=np.full(lengths.shape, np.nan), where=lengths > 0)
    weights, nearest = (part.numpy() for part in min_norm(g))
    iterations, gap = _solver_gaps(g)
    return Directions(
        g,
        tuple(rules),
        vectors,
        moved,
        inner,
        np.array([degrees_between(u, v) for u, v in zip(vectors, scaled, strict=True)]),
        np.array([degrees_between(u, v) for u, v in zip(vectors, shifted, strict=True)]),
        weights,
        np.where(np.linalg.norm(nearest) < 1e-9, 0.0, nearest),
        common_cone(g),
        iterations,
        SOLVERS,
        gap,
    )


def common_cone(g: np.ndarray) -> np.ndarray:
    """From where to where, in radians counterclockwise, a direction of the plane conflicts with none of g [tasks, 2]; else NaN."""
    angles = np.arctan2(g[:, 1], g[:, 0])
    edges = np.concatenate((angles - math.pi / 2, angles + math.pi / 2))
    units = g / np.linalg.norm(g, axis=1, keepdims=True)
    allowed = [a for a in edges if (units @ [math.cos(a), math.sin(a)] > -1e-12).all()]
    for start in allowed:
        width = max((a - start) % (2 * math.pi) for a in allowed)
        if 1e-9 < width < math.pi + 1e-9:
            middle = start + width / 2
            if (units @ [math.cos(middle), math.sin(middle)] > 0).all():
                return np.array([start, start + width])
    return np.full(2, np.nan)


def _solver_gaps(g: np.ndarray, steps: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """(iterations [k], gap [solvers, k]) of three approximations of the min-norm vector from equal weights."""
    tasks, gram = len(g), g @ g.T
    least, unit = float(min_norm(g)[1].square().sum()), np.trace(gram) / len(g)
    average, line, soft = (np.full(tasks, 1 / tasks) for _ in range(3))
    logits = np.zeros(tasks)
    gaps = np.empty((3, steps + 1))
    for n in range(steps + 1):
        gaps[:, n] = [w @ gram @ w - least for w in (average, line, soft)]
        worst = int(np.argmin(gram @ average))
        average = average + (np.eye(tasks)[worst] - average) / (n + 2)
        slope = gram @ line
        towards = np.eye(tasks)[int(np.argmin(slope))] - line
        curve = towards @ gram @ towards
        if curve > 0:
            line = line + np.clip(-(slope @ towards) / curve, 0, 1) * towards
        pull = gram @ soft / unit
        logits = logits - soft * (pull - soft @ pull)
        soft = np.exp(logits - logits.max())
        soft /= soft.sum()
    return np.arange(steps + 1), np.maximum(gaps, 0) / unit


@dataclass(frozen=True)
class Valley:
    """Descent of the rules through CAGrad's toy from five starts; r rules, s starts, f moments.

    rules: their keys [r]
    step: int64 [f]
    paths: float64 [r, s, f, 2]; weights, at L1's scale
    losses: float64 [r, s, f, 2]; of the unscaled losses
    ends: float64 [r, s, 2]; where the same steps end at scale 1
    moved: float64 [r, s]; how far the change of scale moves the end
    to_front: float64 [r, s]; how far the end is from the Pareto front of the valley
    axes: float64 [2, g]; x1 and x2 of the grid
    sum: float64 [g, g]; L1 + L2 on it, at (x2, x1)
    front: float64 [p, 2]; weights of the Pareto front in the valley
    front_losses: float64 [p, 2]
    scale: float; of L1
    """

    rules: tuple[str, ...]
    step: np.ndarray
    paths: np.ndarray
    losses: np.ndarray
    ends: np.ndarray
    moved: np.ndarray
    to_front: np.ndarray
    axes: np.ndarray
    sum: np.ndarray
    front: np.ndarray
    front_losses: np.ndarray
    scale: float


@checked
def valley(
    rules: Annotated[Sequence[str], SomeOf(VALLEY_RULES)] = VALLEY_RULES,
    scale: Scale = 0.1,
    optimiser: Annotated[str, OneOf(("adam", "sgd"))] = "adam",
    learning_rate: Annotated[float, Between(1e-3, 0.2)] = 0.02,
    steps: Annotated[int, Between(500, 20_000)] = 5000,
    c: C = 0.5,
) -> Valley:
    """Descend with u of each rule from the toy's five starts, with L1 multiplied by `scale` and as it is."""
    stretch = np.repeat([scale, 1.0], len(STARTS))
    start = np.tile(STARTS, (2, 1))
    x = np.tile(start, (len(rules), 1, 1))  # [r, both scales times s, 2]
    first, second = np.zeros_like(x), np.zeros_like(x)
    moments = np.unique(np.round(np.linspace(0, 1, 61) ** 2 * steps).astype(int))
    paths = np.empty((len(moments), *x.shape))
    keep = dict(zip(moments.tolist(), range(len(moments)), strict=True))
    for step in range(steps + 1):
        if step in keep:
            paths[keep[step]] = x
        _, g = toy_losses(x)
        g[..., 0, :] *= stretch[:, None]
        a, b = (g[..., 0, :] ** 2).sum(-1), (g[..., 1, :] ** 2).sum(-1)
        d = (g[..., 0, :] * g[..., 1, :]).sum(-1)
        u = np.empty_like(x)
        for row, rule in enumerate(rules):
            w1, w2 = pair_weights(rule, a[row], b[row], d[row], c=c)
            u[row] = w1[:, None] * g[row, :, 0] + w2[:, None] * g[row, :, 1]
        if optimiser == "adam":
            first += 0.1 * (u - first)
            second += 0.001 * (u * u - second)
            x = x - learning_rate * (first / (1 - 0.9 ** (step + 1))) / (
                np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
            )
        else:
            x = x - learning_rate * u
    paths = np.moveaxis(paths, 0, 2)
    count = len(STARTS)
    front = toy_front()
    ends = paths[:, count:, -1]
    here = paths[:, :count]
    axes = np.stack([np.linspace(-11, 11, 111), np.linspace(-11, 11, 111)])
    grid = np.stack(np.meshgrid(*axes), -1)
    return Valley(
        rules=tuple(rules),
        step=moments,
        paths=here,
        losses=toy_losses(here)[0],
        ends=ends,
        moved=np.linalg.norm(here[:, :, -1] - ends, axis=-1),
        to_front=np.linalg.norm(here[:, :, None, -1] - front, axis=-1).min(-1),
        axes=axes,
        sum=toy_losses(grid)[0].sum(-1),
        front=front,
        front_losses=toy_losses(front)[0],
        scale=scale,
    )


@dataclass(frozen=True)
class Multilabel:
    """What each loss asks of n scores.

    scores: float64 [n]
    labels: float64 [n]
    losses: keys [l]
    value: float64 [l], nats
    pull: float64 [l, n]; minus the slope of the loss: where each score is pushed
    optimum: float64 [l, n]; the scores where the loss is least: infinite for a certain label, NaN where only differences count
    order: int64 [n + 1]
    on_terms: float64 [n + 1]; sums of e^-(s_i + ...) over sets of that many labels that are on, in the product of 1 + t_i e^-s_i
    off_terms: float64 [n + 1]; likewise of e^(s_i + ...) over labels that are off
    """

    scores: np.ndarray
    labels: np.ndarray
    losses: tuple[str, ...]
    value: np.ndarray
    pull: np.ndarray
    optimum: np.ndarray
    order: np.ndarray
    on_terms: np.ndarray
    off_terms: np.ndarray


@checked
def multilabel(
    scores: Annotated[Sequence[float], ListOf(-20, 20, most=16)] = (2.0, -1.0, 0.5, 1.0, -2.0),
    labels: Annotated[Sequence[float], ListOf(0, 1, most=16)] = (1.0, 0.0, 0.0, 0.9, 0.2),
    losses: Annotated[Sequence[str], SomeOf(tuple(family.LOSSES))] = ("zlpr", "bce", "focal"),
    gamma: Annotated[float, Between(0, 5)] = 2.0,
) -> Multilabel:
    """Value, pull on each score, and minimum of multi-label losses; gamma is the focal loss's."""
    if len(labels) != len(scores):
        raise Refusal(
            "{parameter} must hold {count} numbers, one for each score.", parameter="labels", count=len(scores)
        )
    if "circle" in losses and (max(labels) == 0 or min(labels) == 1):
        raise Refusal(
            "{parameter} must leave one label on and one off: the circle loss compares the two kinds.",
            parameter="labels",
        )
    s, t = torch.tensor(scores, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)
    values, pulls, optima = [], [], []
    for name in losses:
        own = {"gamma": gamma} if name == "focal" else {}
        at = s.clone().requires_grad_()
        value = family.LOSSES[name](at, t, **own)
        values.append(value.item())
        pulls.append(-torch.autograd.grad(value, at)[0].numpy())
        optima.append(_optimum(name, t, gamma))
    on, off = np.array(labels) * np.exp(-np.array(scores)), (1 - np.array(labels)) * np.exp(np.array(scores))
    return Multilabel(
        s.numpy(),
        t.numpy(),
        tuple(losses),
        np.array(values),
        np.array(pulls),
        np.array(optima),
        np.arange(len(scores) + 1),
        _symmetric(on),
        _symmetric(off),
    )


def _optimum(name: str, t: torch.Tensor, gamma: float) -> np.ndarray:
    """Scores where the loss of labels t is least."""
    if name == "circle":
        return np.full(len(t), np.nan)
    if name != "focal" or gamma == 0:
        return (family.zlpr_optimum(t) * (1 if name == "zlpr" else 2)).numpy()
    grid = torch.linspace(-12, 12, 24_001, dtype=torch.float64)  # the labels are apart: each score by itself
    each = family.focal(grid[:, None, None].expand(-1, len(t), 1), t[:, None].expand(len(grid), -1, 1), gamma)
    best = grid[each.argmin(0)]
    return torch.where(t == 0, -torch.inf, torch.where(t == 1, torch.inf, best)).numpy()


def _symmetric(terms: np.ndarray) -> np.ndarray:
    """Coefficients of prod (1 + terms_i x), by power."""
    made = np.zeros(len(terms) + 1)
    made[0] = 1
    for term in terms:
        made[1:] += term * made[:-1]
    return made


@dataclass(frozen=True)
class Multiway:
    """Descent of forms of the m-way loss on free scores from random starts; f forms, k moments.

    forms: keys [f]
    step: int64 [k]
    loss: float64 [f, k], nats; median over the starts
    right: float64 [f, k]; share of the starts whose largest score is the right class
    example: float64 [f, m]; scores of the first start in the end, the right class first
    some: int64 [e]; a few of the steps, at which each of the n starts is kept
    losses: float64 [f, e, n], nats; of each start
    lead: float64 [f, e, n]; the right score less the largest other
    """

    forms: tuple[str, ...]
    step: np.ndarray
    loss: np.ndarray
    right: np.ndarray
    example: np.ndarray
    some: np.ndarray
    losses: np.ndarray
    lead: np.ndarray


@checked
def multiway_descent(
    forms: Annotated[Sequence[str], SomeOf(("form-1", "form-3"))] = ("form-1", "form-3"),
    classes: Annotated[int, Between(2, 50)] = 10,
    spread: Annotated[float, Between(0, 10)] = 4.0,
    rate: Annotated[float, Between(0.05, 2)] = 0.5,
    steps: Annotated[int, Between(10, 2000)] = 1000,
    seed: Seed = 0,
) -> Multiway:
    """Gradient descent on the free scores of one item from 400 normal starts of that spread; the right class is the first.

    For one item form 1 is the cross-entropy, and so is form 2.
    """
    starts = 400
    begin = spread * np.random.default_rng(seed).standard_normal((starts, classes))
    moments = np.unique(np.round(np.geomspace(1, steps + 1, 60)).astype(int)) - 1
    some = moments[np.unique(np.linspace(0, len(moments) - 1, 16).round().astype(int))]
    loss, right, example, kept = [], [], [], []
    for form in forms:
        s, seen = begin.copy(), []
        for step in range(steps + 1):
            if form == "form-1":
                e = np.exp(s - s.max(1, keepdims=True))
                p = e / e.sum(1, keepdims=True)
                slope, value = p.copy(), -np.log(np.maximum(p[:, 0], 1e-300))
                slope[:, 0] -= 1
            else:
                lead = s[:, 0] - s.mean(1)
                pull = 1 / (1 + np.exp(np.minimum(lead, 700)))
                slope = np.repeat(pull[:, None] / classes, classes, 1)
                slope[:, 0] -= pull
                value = np.logaddexp(0, -lead)
            if step in moments:
                seen.append((np.median(value), (s.argmax(1) == 0).mean()))
            if step in some:
                kept.append((value, s[:, 0] - s[:, 1:].max(1)))
            if step < steps:
                s -= rate * slope
        loss.append([a for a, _ in seen])
        right.append([b for _, b in seen])
        example.append(s[0])
    losses, lead = np.moveaxis(np.array(kept).reshape(len(forms), len(some), 2, starts), 2, 0)
    return Multiway(tuple(forms), moments, np.array(loss), np.array(right), np.array(example), some, losses, lead)


@dataclass(frozen=True)
class Shift:
    """Training examples from N(0, 1), test examples from N(mean, std^2) in the first of d coordinates; a classifier D between them.

    x: float64 [g]; the first coordinate
    train, test: float64 [g]; their densities
    log_ratio: float64 [g]; of the densities, exact
    learned: float64 [g]; log D / (1 - D) with the other coordinates at 0
    auc: float64 [2]; exact, and of D on fresh examples
    share: float64 [2]; effective share of the training examples under the exact ratio (the limit), and under D / (1 - D) here
    weights: keys [w]: ratio is D / (1 - D), d is D, none is 1
    reweighted: float64 [w, g]; density of the training examples under the exact weight
    estimate: float64 [w]; weighted mean over the training examples of the loss x^2
    error: float64 [w]; its standard error
    limit: float64 [w]; what it tends to with the exact D
    truth: float; mean of x^2 over the test density
    """

    x: np.ndarray
    train: np.ndarray
    test: np.ndarray
    log_ratio: np.ndarray
    learned: np.ndarray
    auc: np.ndarray
    share: np.ndarray
    weights: tuple[str, ...]
    reweighted: np.ndarray
    estimate: np.ndarray
    error: np.ndarray
    limit: np.ndarray
    truth: float


@checked
def shift(
    mean: Annotated[float, Between(0, 3)] = 1.0,
    std: Annotated[float, Between(0.3, 2)] = 1.0,
    samples: Annotated[int, Between(50, 10_000)] = 1000,
    dimensions: Annotated[int, Between(1, 20)] = 1,
    features: Annotated[str, OneOf(("linear", "quadratic"))] = "linear",
    seed: Seed = 0,
) -> Shift:
    """Tell test from training examples with logistic regression, and weigh the training examples by what it says.

    The loss whose test mean is wanted is x^2, of a model that is right at 0. Only the first coordinate is shifted; the others are
    standard normal in both sets. features: what the regression sees, x or x and x^2 of every coordinate
    """
    random = np.random.default_rng(seed)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        train, test = random.standard_normal((2, count, dimensions))
        test[:, 0] = mean + std * test[:, 0]
        return train, test

    def seen(examples: np.ndarray) -> np.ndarray:
        return np.hstack([examples, examples**2]) if features == "quadratic" else examples

    train, test = draw(samples)
    log_odds = classify(seen(train), seen(test))
    grid = np.linspace(min(-4, mean - 4 * std), max(4, mean + 4 * std), 161)
    plane = np.zeros((len(grid), dimensions))
    plane[:, 0] = grid
    fresh = [log_odds(seen(part)) for part in draw(4000)]
    order = np.concatenate(fresh).argsort().argsort()
    auc = (order[4000:].sum() - 4000 * 3999 / 2) / 4000**2
    odds = np.exp(np.clip(log_odds(seen(train)), -50, 50))
    loss = train[:, 0] ** 2
    p = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    ratio = exact_log_ratio(grid, mean, std)
    q = p * np.exp(ratio)
    estimates, errors, densities = [], [], []
    for name in WEIGHTS:
        w = {"ratio": odds, "d": odds / (1 + odds), "none": np.ones(samples)}[name]
        estimate = float(w @ loss / w.sum())
        estimates.append(estimate)
        errors.append(math.sqrt(float((w**2) @ (loss - estimate) ** 2)) / float(w.sum()))
        density = {"ratio": q, "d": p * q / (p + q), "none": p}[name]
        densities.append(density / (density.sum() * (grid[1] - grid[0])))
    exact_auc, exact_share = density_ratio_gaussian(mean, std)
    return Shift(
        grid,
        p,
        q,
        ratio,
        log_odds(seen(plane)),
        np.array([exact_auc, auc]),
        np.array([exact_share, odds.sum() ** 2 / (samples * (odds**2).sum())]),
        WEIGHTS,
        np.stack(densities),
        np.array(estimates),
        np.array(errors),
        np.array([weighted_mean(mean, std, name, 2) for name in WEIGHTS]),
        mean**2 + std**2,
    )
