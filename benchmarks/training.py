"""Rules for the gradients of several tasks beside TorchJD's, averages of weights beside ema-pytorch's, and what it costs to record
every tensor of a forward pass.

    python -m benchmarks.training [--problems N] [--tasks T] [--dimensions D]

Random gradients, with equal lengths and with lengths spread over 10^-1.5..10^1.5; both in float64, at their defaults. Min-norm:
|u|^2 above ours (which the tests hold against all faces of the simplex), and whether u conflicts with a task. PCGrad: TorchJD draws one
order and adds, ours is the mean over all orders; the mean of its draws should be ours times the number of tasks. CAGrad: the smallest
inner product with a gradient, over ours; larger is better. Power average: ema-pytorch counts the weights before training as the first
step, and so do we here.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from ema_pytorch.post_hoc_ema import KarrasEMA
from torchjd.aggregation import MGDA, CAGrad, PCGrad

from engines.objectives import cagrad, min_norm, pcgrad
from engines.training import power_ema_gamma
from engines.training.averaging import power_decay
from engines.training.inside import eager, record


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


def averages(steps=400, sizes=((64, 64), (64,), (64, 10), (10,))):
    """A power average of one network's weights beside ema-pytorch's KarrasEMA: how far they part, and milliseconds a step."""
    random = torch.Generator().manual_seed(0)
    network = torch.nn.ParameterList([torch.randn(size, generator=random) for size in sizes])
    network.requires_grad_(False)
    theirs = KarrasEMA(network, sigma_rel=0.1, update_every=1)
    gamma, mine = power_ema_gamma(0.1), torch.cat([w.flatten() for w in network])
    spent = ([], [])
    for step in range(1, steps + 1):
        for w in network:
            w += 0.1 * torch.randn(w.shape, generator=random)
        begun = time.perf_counter()
        mine.lerp_(torch.cat([w.flatten() for w in network]), 1 - power_decay(gamma, step + 1))
        between = time.perf_counter()
        theirs.update()
        spent[0].append(1e3 * (between - begun))
        spent[1].append(1e3 * (time.perf_counter() - between))
    other = torch.cat([w.flatten() for w in theirs.ema_model])
    apart = float((other - mine).norm() / (mine - torch.cat([w.flatten() for w in network])).norm())
    ours, its = (statistics.median(times) for times in spent)
    print(
        f"  power EMA, sigma_rel 0.1: ours {ours:.3f} ms a step, ema-pytorch {its:.3f} ms; gamma {gamma:.6f} and "
        f"{float(theirs.gamma):.6f}; the two are apart by {apart:.2g} of the distance to the last weights"
    )


def recorder(passes=60):
    """A forward pass of bert-storybook, 32 tokens, whose tensors are recorded, over a plain one, interleaved."""
    model, tokenizer = eager("bert-storybook")
    ids = tokenizer("word " * 30, return_tensors="pt")["input_ids"]

    def plain():
        with torch.no_grad():
            model(input_ids=ids)

    pairs = []
    for _ in range(passes + 5):
        times = []
        for run in (plain, lambda: record(model, ids)):
            begun = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begun))
        pairs.append(times)
    plain_time, recorded = (statistics.median(column) for column in zip(*pairs[5:], strict=True))
    ratio = statistics.median(b / a for a, b in pairs[5:])
    print(f"  127 tensors recorded: {recorded:.2f} ms, plain forward {plain_time:.2f} ms, ratio {ratio:.3f}")


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
    print("averages of weights, and recording")
    averages()
    recorder()


if __name__ == "__main__":
    main()
