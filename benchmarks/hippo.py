"""How fast: python -m benchmarks.hippo

LegS in blocks against the dense step at every sample, S4's kernel against the recurrence, RTF against itself at other orders. Medians of interleaved pairs, double precision, as many threads as torch takes.
"""

import statistics
import time

import torch

from engines.hippo import rtf, s4, states, transition


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def pairs(ours, theirs, count: int) -> tuple[float, float, float]:
    """Median times of both, taken in turn, and the median of their ratios."""
    ours()
    taken = [(seconds(ours), seconds(theirs)) for _ in range(count)]
    return (
        statistics.median(a for a, _ in taken),
        statistics.median(b for _, b in taken),
        statistics.median(b / a for a, b in taken),
    )


def legs() -> None:
    order, samples, few = 256, 10**6, 2000
    u = torch.randn(samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.linspace(samples / 512, samples, 512).round().long()

    A, B = transition("legs", order)
    eye = torch.eye(order, dtype=torch.float64)

    def dense() -> None:  # the blog's bilinear step: a product and a triangular solve, A and B made beforehand
        x = u[0] * eye[0]
        for k in range(1, few):
            known = torch.addmv(x, A, x, alpha=0.5 / k) + u[k] / k * B
            x = torch.linalg.solve_triangular(eye - 0.5 / (k + 1) * A, known[:, None], upper=False)[:, 0]

    ours, theirs, ratio = pairs(lambda: states(u, "legs", order, times=times), dense, 3)
    print(f"LegS, N = {order}, {samples:,} samples, 512 states wanted")
    print(f"  blocks      {ours:8.3f} s   {samples / ours:12,.0f} samples a second")
    print(f"  dense step  {theirs:8.3f} s   {few / theirs:12,.0f} samples a second (over {few})")
    print(f"  ratio       {ratio * samples / few:8.0f}")


def kernels() -> None:
    order, length = 64, 65536
    A, B = transition("legs", order)
    C = torch.randn(order, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    d = s4.dplr(order)
    turned = C.to(d.V.dtype) @ d.V
    ours, theirs, ratio = pairs(
        lambda: s4.kernel(d.Lambda, d.P, d.B, turned, 1e-3, length),
        lambda: s4.recurrent_kernel(A, B, C, 1e-3, length),
        5,
    )
    print(f"S4's kernel, N = {order}, L = {length:,}: {ours:.3f} s; recurrence {theirs:.3f} s, ratio {ratio:.0f}")


def rational() -> None:
    length = 65536
    print(f"RTF's kernel, L = {length:,}, against N = 16 in the same round:")
    runs = {}
    for order in (16, 64, 256, 1024):
        a, b = (
            torch.randn(order, generator=torch.Generator().manual_seed(s), dtype=torch.float64) / order**2
            for s in (0, 1)
        )
        runs[order] = lambda a=a, b=b: rtf.kernel(a, b, length)
    for run in runs.values():
        run()
    rounds = [{order: seconds(run) for order, run in runs.items()} for _ in range(15)]
    for order in runs:
        middle = statistics.median(r[order] for r in rounds)
        ratio = statistics.median(r[order] / r[16] for r in rounds)
        print(f"  N = {order:5}   {1e3 * middle:7.2f} ms   x {ratio:.2f}")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    legs()
    kernels()
    rational()
