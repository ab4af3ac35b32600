"""What is shown of the exact distance, of batches, of critics and of generators: numbers in, frozen arrays out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked
from engines.diffusion.mixture import ANY_TARGET
from engines.digits import as_pictures, frechet, load
from engines.progress import Progress
from engines.transport import generators as trained
from engines.transport.closed_forms import bures, gaussian_batch_distance, uniform_batch_distance
from engines.transport.critics import CRITICS, Critic, train_critics
from engines.transport.data import (
    HALF,
    gaussian_of,
    geometric_median,
    halves,
    k_medians,
    plane_law,
    spread,
)
from engines.transport.matching import Wasserstein, extend, steepest_slope, wasserstein

LAWS = (*ANY_TARGET, "gaussian")
SOURCES = ("points", *LAWS, "digits")
TWELVE = (-2.6, -1.9, -1.2, -0.5, 0.2, 0.9, 1.6, 2.3, -2.2, -1.0, 1.2, 2.4)
HEIGHTS = (2.4, 2.8, 2.1, 2.6, 2.9, 2.2, 2.7, 2.3, -2.4, -2.8, -2.3, -2.7)
BATCH_LAWS = ("digits", "gaussian", "uniform")
PAIRS = ("halves", "digits_gaussian", "ring_gaussian", "shifted")
FRESH = 512

Seed = Annotated[int, Between(0, 999)]


@dataclass(frozen=True)
class Distance:
    """One cloud of the plane, or of digits, carried onto another.

    x, y: float64 [n, 2], of digits [n, 64] with ink from 0 to 1; from and to, row i of x onto row i of y
    labels_x, labels_y: int64 [n]; of the digits; [0] in the plane
    mixed: int64 [n]; row of y that row i of x has in the pairs drawn at random
    power: int; 1 or 2
    value: float; W_power
    random: float; the same mean cost, rooted, of pairs drawn at random
    bound: float; what means alone (power 1) or means and covariances (power 2, Gelbrich's bound) say at least
    gap: float; value of the potential less that of the matching, in the units of the mean cost
    slope: float; greatest |f(a) − f(b)| / |a − b| of the potential among all 2n points
    grid_x, grid_y: float64 [g]; places; [0] for digits
    potential: float64 [g, g]; Kantorovich's potential there, 0 at its lowest; in units of distance^power
    """

    x: np.ndarray
    y: np.ndarray
    labels_x: np.ndarray
    labels_y: np.ndarray
    mixed: np.ndarray
    power: int
    value: float
    random: float
    bound: float
    gap: float
    slope: float
    grid_x: np.ndarray
    grid_y: np.ndarray
    potential: np.ndarray


def matched(
    x: np.ndarray,
    y: np.ndarray,
    labels_x: np.ndarray,
    labels_y: np.ndarray,
    best: Wasserstein,
    power: int,
    seed: int,
    *ground: np.ndarray,
) -> Distance:
    """Two clouds with their best matching, and what bounds its value from both sides."""
    mixed = np.random.default_rng(seed).permutation(len(y))
    random = float(np.mean(np.linalg.norm(x - y[mixed], axis=1) ** power) ** (1 / power))
    if power == 1 or len(x) == 1:
        bound = float(np.linalg.norm(x.mean(0) - y.mean(0)))
    else:
        bound = math.sqrt(bures(x.mean(0), np.cov(x.T, bias=True), y.mean(0), np.cov(y.T, bias=True)))
    gap = best.potential[: len(x)].mean() - best.potential[len(x) :].mean() - best.value
    return Distance(
        x,
        y[best.matching],
        labels_x,
        labels_y[best.matching] if len(labels_y) else labels_y,
        np.argsort(best.matching)[mixed],
        power,
        best.value ** (1 / power),
        random,
        bound,
        float(gap),
        steepest_slope(np.concatenate((x, y)), best.potential),
        *ground,
    )


def digits_distance(power: int, n: int, seed: int) -> Distance:
    """n digits of one half of the data carried onto n of the other."""
    rng, (pictures, labels) = np.random.default_rng(seed), load()
    rows = rng.choice(HALF, n, replace=False), HALF + rng.choice(HALF, n, replace=False)
    x, y = (pictures[part] for part in rows)
    best = wasserstein(x, y, power)
    return matched(x, y, *(labels[part] for part in rows), best, power, seed, *(np.zeros(0),) * 2, np.zeros((0, 0)))


@checked
def distance(
    source: Annotated[str, OneOf(SOURCES)] = "points",
    target: Annotated[str, OneOf(LAWS)] = "ring",
    power: Annotated[int, Between(1, 2)] = 1,
    n: Annotated[int, Between(1, 512)] = 64,
    shift_x: Annotated[float, Between(-4, 4)] = 0.0,
    shift_y: Annotated[float, Between(-4, 4)] = 0.0,
    points_x: Annotated[Sequence[float], ListOf(-6, 6, most=64)] = TWELVE,
    points_y: Annotated[Sequence[float], ListOf(-6, 6, most=64)] = HEIGHTS,
    letter: Annotated[str, Characters(3)] = "S",
    drawing: str | None = None,
    seed: Seed = 0,
) -> Distance:
    """W1 or W2 of n points of two laws, exact, with matching and potential.

    source: "points" are those of points_x and points_y, as many as both have; n is then theirs. "digits" are carried onto other
        digits, whatever the target: pictures of 64 numbers each, of two halves of the data
    shift_x, shift_y: added to the source when it is drawn from a law
    """
    if source == "digits":
        return digits_distance(power, n, seed)
    goal = plane_law(target, letter, drawing)
    if source == "points":
        if len(points_x) != len(points_y):
            raise Refusal(
                "{parameter} must have as many numbers as there are of the other coordinate: {count}.",
                parameter="points_y",
                count=len(points_x),
            )
        x = np.stack((points_x, points_y), 1)
    else:
        x = plane_law(source, letter, drawing).sample(n, seed).numpy() + np.array([shift_x, shift_y])
    y = goal.sample(len(x), seed + 1000).numpy()
    best = wasserstein(x, y, power)
    both = np.concatenate((x, y))
    middle, side = (both.max(0) + both.min(0)) / 2, max(float(np.ptp(both, axis=0).max()), 1.0) * 0.56
    axes = [np.linspace(m - side, m + side, 81) for m in middle]
    places = np.stack([part.ravel() for part in np.meshgrid(*axes)], 1)
    potential = extend(places, y, best.potential[len(x) :], power).reshape(81, 81)
    none = np.zeros(0, np.int64)
    return matched(x, y, none, none, best, power, seed, *axes, potential - potential.min())


@dataclass(frozen=True)
class Minibatch:
    """How far two batches of one law are from each other, by their size.

    law: one of BATCH_LAWS; dim: numbers a point
    sizes: int64 [s]
    real: float64 [s]; mean W1 of two batches of the law
    real_error: float64 [s]; its standard error
    exact: float64 [s]; the closed form of that mean (uniform; a Gaussian's at n = 1), NaN where there is none
    copies: float64 [s]; mean W1 of a batch to n copies of one point, the law's median
    centres: float64 [s]; mean W1 of a batch of digits to n K-medians of other digits; NaN for other laws
    centres_error: float64 [s]; its standard error
    pictures: uint8 [3, k, 8, 8, 3]; a real batch, copies of the median, K-medians; k = 0 for other laws
    n: int; the size of those batches
    """

    law: str
    dim: int
    sizes: np.ndarray
    real: np.ndarray
    real_error: np.ndarray
    exact: np.ndarray
    copies: np.ndarray
    centres: np.ndarray
    centres_error: np.ndarray
    pictures: np.ndarray
    n: int


@checked
def minibatch(
    law: Annotated[str, OneOf(BATCH_LAWS)] = "digits",
    n: Annotated[int, Between(1, 512)] = 64,
    dim: Annotated[int, Between(1, 3072)] = 64,
    repeats: Annotated[int, Between(2, 50)] = 8,
    seed: Seed = 0,
) -> Iterator[Progress[Minibatch]]:
    """Mean W1 of two independent batches, for sizes 1, 2, 4, ... up to n; and of a batch to points that are no draws.

    dim: of the Gaussian N(0, I). Digits: batches of known pictures against batches of fresh ones, and K-medians learnt from
    the known; up to 512 of the 898 and 899.
    """
    sizes = sorted({min(2**k, n) for k in range(10)} | {n})
    if law == "gaussian" and dim * n > 1 << 19:
        raise Refusal(
            "{parameter} times the batch size may be at most {most}: take fewer dimensions or smaller batches.",
            parameter="dim",
            most=1 << 19,
        )
    rng = np.random.default_rng(seed)
    known, fresh = halves()
    dim = {"uniform": 1, "digits": known.shape[1]}.get(law, dim)
    median = geometric_median(torch.as_tensor(known)).numpy()
    far = {
        "uniform": 0.25,
        "gaussian": gaussian_batch_distance(dim).to_mean,
        "digits": float(np.linalg.norm(fresh - median, axis=1).mean()),
    }[law]

    def draw(points: np.ndarray, size: int) -> np.ndarray:
        if law == "digits":
            return points[rng.choice(len(points), size, replace=False)]
        return rng.random((size, 1)) if law == "uniform" else rng.standard_normal((size, dim))

    rows, shown = [], np.zeros((3, 0, 8, 8, 3), np.uint8)
    for done, size in enumerate(sizes, 1):
        targets = [draw(fresh, size) for _ in range(repeats)]
        real = np.array([wasserstein(target, draw(known, size)).value for target in targets])
        medians = np.full(repeats, np.nan)
        if law == "digits":
            centres = k_medians(known, size, seed)
            medians = np.array([wasserstein(target, centres).value for target in targets])
            if size == n:
                side = min(size, 16)
                shown = np.stack(
                    [as_pictures(part[:side]) for part in (draw(known, size), np.tile(median, (side, 1)), centres)]
                )
        exact = uniform_batch_distance(size) if law == "uniform" else math.nan
        if law == "gaussian" and size == 1:
            exact = gaussian_batch_distance(dim).to_each_other
        error = [values.std(ddof=1) / math.sqrt(repeats) for values in (real, medians)]
        rows.append((real.mean(), error[0], exact, far, medians.mean(), error[1]))
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        yield Progress(done, len(sizes), Minibatch(law, dim, np.array(sizes[:done]), *columns, shown, n))


@dataclass(frozen=True)
class Critics:
    """What critics say of two laws while they are trained.

    pair: one of PAIRS; batch: pictures or points a batch
    names: of the critics [c], of CRITICS
    steps: int64 [r]; training steps at each report
    fresh: float64 [r, c]; estimates on fresh data
    known: float64 [r, c]; on the data that batches are drawn from
    own: float64 [r, c]; on the batch seen last; the exact potential's is its only one
    slope: float64 [c]; the greatest slope between any two fresh points; NaN of the c-transform
    w1_law: float; the distance of the two laws where it is known, else NaN
    w1_fresh: float; exact W1 of the two fresh sets, which no estimate over its slope exceeds
    w1_known: float; exact W1 of the two sets that batches are drawn from
    w1_batch: float; exact W1 of two batches, mean of eight
    x, y: float64 [k, 2]; fresh points of the two laws, in the plane only (k = 0 elsewhere)
    grid: float64 [g]; places of both axes, in the plane
    level: float64 [c, g, g]; each critic there, at the last report; empty elsewhere
    """

    pair: str
    batch: int
    names: tuple[str, ...]
    steps: np.ndarray
    fresh: np.ndarray
    known: np.ndarray
    own: np.ndarray
    slope: np.ndarray
    w1_law: float
    w1_fresh: float
    w1_known: float
    w1_batch: float
    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    level: np.ndarray


def pair_of(pair: str, shift: float, seed: int) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Known sets [x, y], fresh sets [x, y], and W1 of the laws (NaN where it is not known)."""
    first, second = halves()
    if pair == "halves":
        rng = np.random.default_rng(seed)
        whole = rng.permutation(np.concatenate((first, second)))
        a, b = whole[:898], whole[898:1796]
        return [a[:512], b[:512]], [a[512:], b[512:]], 0.0
    if pair == "digits_gaussian":
        made = gaussian_of(np.concatenate((first, second)), 898, seed)
        return [first[:512], made[:512]], [second[:386], made[512:]], math.nan
    one, other = plane_law("ring" if pair == "ring_gaussian" else "gaussian"), plane_law("gaussian")
    x, y = one.sample(1024, seed).numpy(), other.sample(1024, seed + 1000).numpy()
    if pair == "shifted":
        x = x + np.array([shift, 0.0])
    return [x[:512], y[:512]], [x[512:], y[512:]], shift if pair == "shifted" else math.nan


@checked
def critics(
    pair: Annotated[str, OneOf(PAIRS)] = "halves",
    names: Annotated[Sequence[str], SomeOf(CRITICS)] = CRITICS,
    batch: Annotated[int, Between(8, 512)] = 128,
    steps: Annotated[int, Between(10, 2000)] = 300,
    penalty: Annotated[float, Between(0.1, 100)] = 10.0,
    clip: Annotated[float, Between(0.001, 0.1)] = 0.01,
    shift: Annotated[float, Between(0, 4)] = 1.0,
    seed: Seed = 0,
) -> Iterator[Progress[Critics]]:
    """Train critics on batches of two laws, and ask them about fresh data.

    pair: digits half against half (one law, so 0), digits against the Gaussian of their mean and covariance, a ring against
    N(0, I), N(0, I) against itself shifted; 512 of each are known, the rest is fresh. The exact potential is that of the
    first batch. penalty: λ of the three penalties; clip: greatest size of a clipped weight; shift: of the shifted Gaussian
    """
    known, fresh, law = pair_of(pair, shift, seed)
    columns = known[0].shape[1]
    trainees = [Critic(name, columns, penalty, clip, seed=seed) for name in names]
    rng = np.random.default_rng(seed)
    w1_known, w1_fresh = wasserstein(*known).value, wasserstein(*fresh).value
    w1_batch = float(
        np.mean([wasserstein(*(side[rng.choice(512, batch, replace=False)] for side in known)).value for _ in range(8)])
    )
    plane, axis = columns == 2, np.linspace(-3.6, 3.6 + (shift if pair == "shifted" else 0), 49 if columns == 2 else 0)
    places = torch.as_tensor(np.stack([part.ravel() for part in np.meshgrid(axis, axis)], 1), dtype=torch.float32)
    fresh_t = [torch.as_tensor(side, dtype=torch.float32) for side in fresh]
    reports = []
    for said in train_critics(trainees, (known[0], known[1]), (fresh[0], fresh[1]), batch, steps, seed):
        reports.append(said)
        slope, level = np.full(len(names), np.nan), np.zeros((len(names), len(axis), len(axis)))
        if said.step == steps:
            slope = np.array([critic.steepest(*fresh_t) for critic in trainees])
            if plane:
                with torch.no_grad():
                    level = np.stack([critic(places).double().numpy().reshape(level.shape[1:]) for critic in trainees])
        result = Critics(
            pair,
            batch,
            tuple(names),
            np.array([report.step for report in reports]),
            np.stack([report.fresh for report in reports]),
            np.stack([report.known for report in reports]),
            np.stack([report.own for report in reports]),
            slope,
            law,
            w1_fresh,
            w1_known,
            w1_batch,
            *(side[: 200 if plane else 0, :2] for side in fresh),
            axis,
            level,
        )
        yield Progress(said.step, steps, result)


@dataclass(frozen=True)
class Generated:
    """Pictures of generators, and what distances say of them.

    names: "real", then generators [g]; real are known pictures, measured against the same fresh ones
    pictures: uint8 [g, k, 8, 8, 3]
    w1: float64 [g]; exact W1 of n pictures to n fresh real ones
    frechet: float64 [g]; squared ink; Fréchet distance of n pictures to all fresh real ones
    spread: float64 [g]; E|x − x'|
    sharp: float64 [g]; mean |difference| of neighbouring pixels, ink from 0 to 1
    n: int
    """

    names: tuple[str, ...]
    pictures: np.ndarray
    w1: np.ndarray
    frechet: np.ndarray
    spread: np.ndarray
    sharp: np.ndarray
    n: int


def sharpness(a: np.ndarray) -> float:
    """Mean |difference| of neighbouring pixels of digits [n, 64]."""
    square = a.reshape(-1, 8, 8)
    return float((np.abs(np.diff(square, axis=1)).mean() + np.abs(np.diff(square, axis=2)).mean()) / 2)


@checked
def generators(
    names: Annotated[Sequence[str], SomeOf(trained.GENERATORS)] = ("wgan_gp", "exact_64", "exact_512"),
    n: Annotated[int, Between(16, 512)] = 512,
    seed: Seed = 0,
) -> Generated:
    """Pictures of the shipped generators beside real ones, with W1 to n fresh pictures, Fréchet distance, spread, sharpness."""
    known, fresh = halves()
    rng = np.random.default_rng(seed)
    goal = fresh[rng.choice(len(fresh), n, replace=False)]
    sets = [known[rng.choice(len(known), n, replace=False)], *(trained.pictures(name, n, seed) for name in names)]

    return Generated(
        ("real", *names),
        np.stack([as_pictures(part[:16]) for part in sets]),
        np.array([wasserstein(part, goal).value for part in sets]),
        np.array([frechet(part, fresh) for part in sets]),
        np.array([spread(part) for part in sets]),
        np.array([sharpness(part) for part in sets]),
        n,
    )


@dataclass(frozen=True)
class Trained:
    """A generator while it is trained, beside real pictures.

    by: what measures W1; batch: pictures a step
    steps: int64 [r]; training steps at each report
    w1, frechet, spread, sharp: float64 [r + 1]; as in Generated, of 256 pictures; of known real ones first
    pictures: uint8 [r, 10, 8, 8, 3]; of the same latents at each report
    real: uint8 [10, 8, 8, 3]
    """

    by: str
    batch: int
    steps: np.ndarray
    w1: np.ndarray
    frechet: np.ndarray
    spread: np.ndarray
    sharp: np.ndarray
    pictures: np.ndarray
    real: np.ndarray


@checked
def train(
    by: Annotated[str, OneOf(trained.WAYS)] = "exact",
    batch: Annotated[int, Between(16, 512)] = 64,
    steps: Annotated[int, Between(50, 4000)] = 2000,
    seed: Seed = 0,
) -> Iterator[Progress[Trained]]:
    """Train a generator of digits; 256 of its pictures, of the same latents each time, are measured against 256 fresh ones.

    by: exact W1 of two batches, a critic with penalty (WGAN-GP), or the c-transform
    """
    (known, fresh), rng = halves(), np.random.default_rng(seed)
    goal, real = (side[rng.choice(len(side), 256, replace=False)] for side in (fresh, known))
    latents = torch.as_tensor(rng.standard_normal((256, trained.LATENT)), dtype=torch.float32)

    def measured(a: np.ndarray) -> tuple[float, float, float, float]:
        return wasserstein(a, goal).value, frechet(a, fresh), spread(a), sharpness(a)

    rows, shown, marks = [measured(real)], [], []
    for state in trained.train_generator(by, batch, steps, seed):
        with torch.no_grad():
            made = state.net(latents).double().numpy()
        rows.append(measured(made))
        shown.append(as_pictures(made[:10]))
        marks.append(state.step)
        columns = np.array(rows).T
        yield Progress(
            state.step, steps, Trained(by, batch, np.array(marks), *columns, np.stack(shown), as_pictures(real[:10]))
        )
