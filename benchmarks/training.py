"""Rules for the gradients of several tasks beside TorchJD's: what they reach, and how long they take.

    python -m benchmarks.training [--problems N] [--tasks T] [--dimensions D]

Random gradients, with equal lengths and with lengths spread over 10^-1.5..10^1.5; both in float64, at their defaults. Min-norm:
|u|^2 above ours (which the tests hold against all faces of the simplex), and whether u conflicts with a task. PCGrad: TorchJD draws one
order and adds, ours is the mean over all orders; the mean of its draws should be ours times the number of tasks. CAGrad: the smallest
inner product with a gradient, over ours; larger is better.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from torchjd.aggregation import MGDA, CAGrad, PCGrad

from engines.objectives import cagrad, min_norm, pcgrad


def timed(function, problems):
    """Results, and the median of the milliseconds."""
    function(problems[0])
    results, spent = [], []
    for g in problems:
        begun = time.perf_counter()
        results.append(function(g))
        spent.append(1e3 * (time.perf_counter() - begun))
    return results, statistics.median(spent)


def excess(u, best):
    return float(u @ u) / best - 1


def compare(problems, draws=400):
    tasks = len(problems[0])
    ours, our_time = timed(lambda g: min_norm(g)[1], problems)
    best = [float(u @ u) for u in ours]
    for name, solver in (("100 steps (default)", MGDA()), ("10,000 steps", MGDA(epsilon=1e-12, max_iters=10_000))):
        theirs, their_time = timed(solver, problems[:20] if "10,000" in name else problems)
        off = [excess(u, b) for u, b in zip(theirs, best, strict=False)]
        conflicts = sum(float((g @ u).min()) < -1e-9 for g, u in zip(problems, theirs, strict=False))
        print(
            f"  min-norm  ours {our_time:.3f} ms, conflicts {sum(float((g @ u).min()) < -1e-9 for g, u in zip(problems, ours, strict=True))}; "
            f"TorchJD {name}: {their_time:.3f} ms, |u|^2 too large by {100 * statistics.median(off):.2g} % (median), "
            f"{100 * max(off):.3g} % (most), conflicts {conflicts} of {len(theirs)}"
        )
    ours, our_time = timed(pcgrad, problems)
    theirs, their_time = timed(PCGrad(), problems)
    g = problems[0]
    drawn = torch.stack([PCGrad()(g) for _ in range(draws)]) / tasks
    error = drawn.std(0) / draws**0.5
    deviation = float(((drawn.mean(0) - ours[0]).abs() / error.clamp_min(1e-12)).max())
    print(
        f"  PCGrad    ours (all orders) {our_time:.3f} ms; TorchJD (one order) {their_time:.3f} ms; mean of {draws} of its draws "
        f"is off by {deviation:.1f} standard errors at most"
    )
    few = problems[:40]
    ours, our_time = timed(lambda g: cagrad(g, 0.5), few)
    theirs, their_time = timed(CAGrad(c=0.5), few)
    reached = [float((g @ u).min()) for g, u in zip(few, ours, strict=True)]
    gap = [
        (float((g @ u).min()) - r) / float(g.mean(0).norm() ** 2) for g, u, r in zip(few, theirs, reached, strict=True)
    ]
    radius = max(float((u - g.mean(0)).norm() / g.mean(0).norm()) for g, u in zip(few, theirs, strict=True))
    print(
        f"  CAGrad    ours {our_time:.3f} ms; TorchJD {their_time:.3f} ms, smallest inner product less ours, over |mean|^2: "
        f"{min(gap):.2g} to {max(gap):.2g}; its radius up to {radius:.4f} of c = 0.5"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--dimensions", type=int, default=8)
    arguments = parser.parse_args()
    for spread in (0.0, 1.5):
        random = np.random.default_rng(0)
        shape = (arguments.problems, arguments.tasks, arguments.dimensions)
        lengths = 10 ** random.uniform(-spread, spread, (*shape[:2], 1))
        problems = list(torch.from_numpy(random.normal(size=shape) * lengths))
        print(f"{shape[0]} problems of {shape[1]} tasks in {shape[2]} dimensions, lengths 10^±{spread:g}")
        compare(problems)


if __name__ == "__main__":
    main()
