"""Exact W1 and W2² beside POT's, in one run: medians of interleaved pairs, time and value.

    python -m benchmarks.transport [--pairs N]

Needs POT (benchmarks/requirements.txt). Both sides find matching and potential: POT's `emd` with its log, which has the duals.
The greatest difference of the two values stands beside, and how far each pair of potentials is from feasible and from the value.
Ratios above 1 mean that ours is faster. The last line says whether exact W1 of 512 x 512 in 64 dimensions, with its potential,
takes at most 0.15 s.
"""

import argparse
import statistics
import time

import numpy as np
import ot
from scipy.spatial.distance import cdist

from engines.transport import wasserstein


def theirs(x: np.ndarray, y: np.ndarray, power: int) -> tuple[float, np.ndarray, np.ndarray]:
    """POT's value and duals."""
    cost = cdist(x, y, "euclidean" if power == 1 else "sqeuclidean")
    weights = np.full(len(x), 1 / len(x))
    _, log = ot.emd(weights, weights, cost, numItermax=10_000_000, log=True)
    return log["cost"], log["u"], log["v"]


def faults(x: np.ndarray, y: np.ndarray, power: int, u: np.ndarray, v: np.ndarray, value: float) -> tuple[float, float]:
    """How much u_i + v_j exceeds the cost at most, and how far their means are from the value."""
    cost = cdist(x, y, "euclidean" if power == 1 else "sqeuclidean")
    return float((u[:, None] + v - cost).max()), abs(float(u.mean() + v.mean()) - value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs, target = parser.parse_args().pairs, 0.0
    print("power    n    d   ours ms  theirs ms  ratio  |difference|  infeasible and gap: ours, theirs")
    for power in (1, 2):
        for n, d in ((64, 2), (256, 2), (512, 2), (1024, 2), (64, 64), (256, 64), (512, 64), (1024, 64)):
            x, y = np.random.default_rng(0).standard_normal((2, n, d))
            times = []
            for _ in range(pairs + 1):
                begun = time.perf_counter()
                mine = wasserstein(x, y, power)
                middle = time.perf_counter()
                value, u, v = theirs(x, y, power)
                times.append((middle - begun, time.perf_counter() - middle))
            ours, other = (statistics.median(column) * 1e3 for column in zip(*times[1:], strict=True))
            if (power, n, d) == (1, 512, 64):
                target = ours
            ratio = statistics.median(b / a for a, b in times[1:])
            own = faults(x, y, power, mine.potential[:n], -mine.potential[n:], mine.value)
            pots = faults(x, y, power, u, v, value)
            said = ", ".join(f"{excess:.0e} {gap:.0e}" for excess, gap in (own, pots))
            print(
                f"{power:5} {n:4} {d:4} {ours:9.1f} {other:10.1f} {ratio:6.2f} {abs(mine.value - value):13.1e}  {said}",
                flush=True,
            )
    print(f"W1 of 512 x 512 in 64 dimensions: {target:.0f} ms, {'at most' if target <= 150 else 'MORE THAN'} 150 ms")


if __name__ == "__main__":
    main()
