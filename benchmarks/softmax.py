"""The sparse maps against the `entmax` package, in one run: medians of interleaved pairs.

    python -m benchmarks.softmax [--threads N] [--pairs N]

Ratios above 1 mean that ours is faster. The package's `k` is the partial sort it offers (its default sorts in full); its
bisection is given the fewest steps with which it is as near as ours or 1e-6, whichever is the looser, to a float64 solution.
"""

import argparse
import statistics
import time

import entmax as package
import torch

from engines.softmax import entmax, sparsemax


def once(f, z, gradient):
    """Seconds of one forward (and backward, with a gradient)."""
    z = z.detach().requires_grad_(gradient is not None)
    begun = time.perf_counter()
    p = f(z)
    if gradient is not None:
        p.backward(gradient)
    return time.perf_counter() - begun


def ratio(ours, theirs, z, gradient, pairs):
    for f in (ours, theirs):
        once(f, z, gradient)
    times = [(once(ours, z, gradient), once(theirs, z, gradient)) for _ in range(pairs)]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return mine, other, statistics.median(b / a for a, b in times)


def bisection(z, alpha):
    """The package's bisection with just enough steps, and how many."""
    exact = entmax(z.double(), alpha)
    wanted = max(1e-6, float((entmax(z, alpha) - exact).abs().max()))
    for steps in range(8, 40):
        error = float((package.entmax_bisect(z, alpha, n_iter=steps) - exact).abs().max())
        if error <= wanted:
            break
    return steps, error


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--alphas", type=float, nargs="*", default=[1.1, 1.25, 1.75, 2.5, 3.0])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, float32 normal scores; ms ours / ms theirs = ratio")
    for shape in ((4096, 1024), (256, 32_000)):
        generator = torch.Generator().manual_seed(0)
        z, g = (torch.randn(shape, generator=generator) for _ in range(2))
        cases = [
            ("sparsemax", sparsemax, "sorting", package.sparsemax),
            ("sparsemax", sparsemax, "k=100", lambda z: package.sparsemax(z, k=100)),
            ("1.5-entmax", entmax, "sorting", package.entmax15),
            ("1.5-entmax", entmax, "k=100", lambda z: package.entmax15(z, k=100)),
            *[
                (f"{alpha:g}-entmax", lambda z, alpha=alpha: entmax(z, alpha), alpha, None)
                for alpha in arguments.alphas
            ],
        ]
        for name, ours, peer, theirs in cases:
            if theirs is None:
                steps, error = bisection(z[:64], peer)
                theirs = lambda z, alpha=peer, steps=steps: package.entmax_bisect(z, alpha, n_iter=steps)  # noqa: E731
                peer = f"{steps} steps ({error:.0e})"
            said = [f"{list(shape)!s:>13} {name:>12} vs {peer:<18}"]
            for direction, gradient in (("forward", None), ("both", g)):
                mine, other, times = ratio(ours, theirs, z, gradient, arguments.pairs)
                said.append(f"{direction} {mine * 1e3:6.1f} / {other * 1e3:6.1f} = {times:5.1f}")
            print("  ".join(said), flush=True)


if __name__ == "__main__":
    main()
