"""Annealing as search: a chain that keeps p^(1/T) while T falls, its distribution followed exactly on a landscape with two hills.

The second of kexue.fm's "searched text" posts (archives/8084) turns sampling into search: p^α, α = 1/T, gathers at the most probable
text as T falls (Kirkpatrick et al. 1983; Geman & Geman 1984). Whether the chain gathers there too depends on how fast T falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from engines.arguments import Between, OneOf, Refusal, checked, number
from engines.gibbs import inputs

SCHEDULES = ("geometric", "linear", "logarithmic")
BUDGETS = tuple(2**i for i in range(9))  # sweeps of the runs that are compared
GREEDY_SWEEPS = 2  # after which a greedy run has stopped, or nearly
SIZE = Between(2, 6)


@checked
def two_hills(
    length: Annotated[int, SIZE] = 6,
    lead: Annotated[float, Between(0, 5)] = 2.0,
    slope: Annotated[float, Between(1, 5)] = 2.0,
) -> np.ndarray:
    """log p of all strings of `length` letters a, b, c, up to a constant: float64 (3,) * length.

    The greater of two hills: one gains 1 for each a; the other `slope` for each b, and its top, b in all places, stands
    `lead` above the first one's. The steeper it is, the fewer strings lie on it.
    """
    letters = np.indices((3,) * length)
    ones, others = (letters == 0).sum(0), (letters == 1).sum(0)
    return np.maximum(ones, lead + length - slope * (length - others)).astype(np.float64)


def cool(law: np.ndarray, log_p: np.ndarray, temperature: float) -> np.ndarray:
    """The distribution after one sweep from left to right, each letter drawn from p^(1/T) given the others; at T = 0 from its maxima."""
    law, log_p = inputs.floats("law", law), inputs.floats("log_p", log_p)
    temperature = number("temperature", temperature, 0, 1e300)
    if law.shape != log_p.shape or not law.ndim or not law.size:
        raise Refusal("{parameter} must be an array of the joint's shape.", parameter="law")
    for axis in range(law.ndim):
        below = log_p - log_p.max(axis=axis, keepdims=True)
        share = np.exp(below / temperature) if temperature > 0 else (below > -1e-12).astype(np.float64)
        law = law.sum(axis=axis, keepdims=True) * (share / share.sum(axis=axis, keepdims=True))
    return law


@checked
def cooling(
    first: Annotated[float, Between(0.01, 100)],
    last: Annotated[float, Between(0.01, 100)],
    schedule: Annotated[str, OneOf(SCHEDULES)],
    sweeps: Annotated[int, Between(1, 1000)],
) -> np.ndarray:
    """T of each sweep, float64 [sweeps], from `first` to `last`; "logarithmic": 1/T grows with log t (Geman & Geman)."""
    share = np.linspace(0, 1, sweeps) if sweeps > 1 else np.ones(1)
    if schedule == "geometric":
        return first * (last / first) ** share
    if schedule == "linear":
        return first + (last - first) * share
    share = np.log1p(np.arange(sweeps)) / math.log(sweeps) if sweeps > 1 else np.ones(1)
    return 1 / (1 / first + (1 / last - 1 / first) * share)


@dataclass(frozen=True)
class Annealing:
    """Chances to stand at the most probable of the 3^L strings, exact.

    temperature: float64 [S]; of each sweep
    annealed: float64 [S + 1]; chance after 0, 1, ... sweeps of the annealed chain
    resting: float64 [S]; the probability that p^(1/T) itself gives that string at each of its temperatures
    hot, cold, greedy: float64 [S + 1]; chance of the chains that stay at the first, at the last temperature, and at 0
    budgets: int64 [B]; sweeps of a whole run
    by_annealing: float64 [B]; chance at its end
    by_cold: float64 [B]; of a chain that stays at the last temperature
    by_restarts: float64 [B]; that the best of as many greedy runs of two sweeps is that string
    best, second: probabilities under p of the most probable string and of the top of the other hill
    trapped: float; chance that the annealed chain ends at the top of the other hill
    moments: int64 [M]; sweeps after which the mass is given
    mass: float32 [3, M, L + 1, L + 1]; probability of so many b's (rows) and a's, NaN where they are more than letters: of the
        annealed chain, of the one at the last temperature, of p^(1/T) itself (uniform before the first sweep)
    """

    temperature: np.ndarray
    annealed: np.ndarray
    resting: np.ndarray
    hot: np.ndarray
    cold: np.ndarray
    greedy: np.ndarray
    budgets: np.ndarray
    by_annealing: np.ndarray
    by_cold: np.ndarray
    by_restarts: np.ndarray
    best: float
    second: float
    trapped: float
    moments: np.ndarray
    mass: np.ndarray


@checked
def anneal(
    sweeps: Annotated[int, Between(2, 256)] = 64,
    first: Annotated[float, Between(0.1, 10)] = 2.0,
    last: Annotated[float, Between(0.05, 10)] = 0.2,
    schedule: Annotated[str, OneOf(SCHEDULES)] = "geometric",
    length: Annotated[int, SIZE] = 6,
    lead: Annotated[float, Between(0.1, 5)] = 2.0,
    slope: Annotated[float, Between(1, 5)] = 2.0,
) -> Annealing:
    """Gibbs sweeps from a uniform start on `two_hills`, their distribution followed exactly: annealed, at constant temperatures, greedy.

    first, last, schedule: of the temperature, see `cooling`
    """
    log_p = two_hills(length, lead, slope)
    top, other = (1,) * length, (0,) * length
    uniform = np.full(log_p.shape, 1 / log_p.size)

    moments = np.unique(np.linspace(0, sweeps, 21).round().astype(int))
    letters = np.indices(log_p.shape)
    place = ((letters == 1).sum(0) * (length + 1) + (letters == 0).sum(0)).ravel()
    never = np.add.outer(np.arange(length + 1), np.arange(length + 1)) > length

    def gathered(law: np.ndarray) -> np.ndarray:
        counted = np.bincount(place, law.ravel(), (length + 1) ** 2).reshape(length + 1, length + 1)
        return np.where(never, np.nan, counted)

    def follow(temperatures: np.ndarray, kept: list[np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
        law, chance = uniform, [uniform[top]]
        for sweep, temperature in enumerate(temperatures, 1):
            law = cool(law, log_p, temperature)
            chance.append(law[top])
            if kept is not None and sweep in moments:
                kept.append(gathered(law))
        return np.array(chance), law

    temperature = cooling(first, last, schedule, sweeps)
    masses = [[gathered(uniform)] for _ in range(3)]
    annealed, law = follow(temperature, masses[0])
    cold, _ = follow(np.full(sweeps, last), masses[1])
    hot, greedy = (follow(np.full(sweeps, t))[0] for t in (first, 0.0))
    for t in temperature[moments[1:] - 1]:
        itself = np.exp((log_p - log_p.max()) / t)
        masses[2].append(gathered(itself / itself.sum()))
    runs = [follow(cooling(first, last, schedule, n))[0][-1] for n in BUDGETS]
    longest, tries = follow(np.full(BUDGETS[-1], last))[0], follow(np.zeros(GREEDY_SWEEPS))[0][-1]
    p = np.exp(log_p - log_p.max())
    rest = np.exp((log_p - log_p.max())[..., None] / temperature).reshape(-1, sweeps).sum(0)
    budgets = np.array(BUDGETS)
    return Annealing(
        temperature=temperature,
        annealed=annealed,
        resting=1 / rest,
        hot=hot,
        cold=cold,
        greedy=greedy,
        budgets=budgets,
        by_annealing=np.array(runs),
        by_cold=longest[budgets],
        by_restarts=1 - (1 - tries) ** (budgets // GREEDY_SWEEPS),
        best=float(p[top] / p.sum()),
        second=float(p[other] / p.sum()),
        trapped=float(law[other]),
        moments=moments,
        mass=np.array(masses, np.float32),
    )
