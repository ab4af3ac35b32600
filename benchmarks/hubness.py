"""How fast N_k is against faiss's flat index and scikit-learn's brute force, in one paired run.

    python -m benchmarks.hubness                   10,000 x 100, k = 10: medians of interleaved runs
    python -m benchmarks.hubness --large           100,000 x 100 in a process of its own: seconds and peak memory
    python -m benchmarks.hubness --device cuda     1,000,000 x 128 on a GPU

faiss is needed only here (pip install faiss-cpu).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from engines.hubness import k_occurrence, k_occurrence_steps

K = 10


def faiss_search(points: np.ndarray, threads: int):
    """A function that searches faiss's flat index, or None where faiss is not installed."""
    try:
        import faiss
    except ImportError:
        print("faiss is absent (pip install faiss-cpu); comparing with scikit-learn alone.")
        return None
    faiss.omp_set_num_threads(threads)

    def run() -> np.ndarray:
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(points)
        return index.search(points, K + 1)[1]

    return run


def sklearn_search(points: np.ndarray):
    from sklearn.neighbors import NearestNeighbors

    return lambda: NearestNeighbors(n_neighbors=K, algorithm="brute").fit(points).kneighbors(return_distance=False)


def product_alone(points: torch.Tensor):
    """All n² inner products and nothing else, in the fastest blocks found: the floor under any search by full products."""
    buffer = torch.empty(500, len(points))

    def run() -> None:
        for rows in points.split(500):
            torch.mm(rows, points.T, out=buffer[: len(rows)])

    return run


def paired(n: int, d: int, pairs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    points = np.random.RandomState(0).normal(size=(n, d)).astype(np.float32)
    tensor = torch.from_numpy(points)
    runs = {"ours": lambda: k_occurrence(tensor, K, device="cpu"), "faiss flat": faiss_search(points, threads)}
    runs |= {"scikit-learn brute": sklearn_search(points), "the product alone": product_alone(tensor)}
    runs = {name: run for name, run in runs.items() if run}
    counts = runs["ours"]().numpy()
    found = runs["scikit-learn brute"]()
    print(f"counts that differ from scikit-learn's: {(counts != np.bincount(found.ravel(), minlength=n)).sum()} of {n}")
    seconds = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(pairs):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    print(f"n = {n:,}, d = {d}, k = {K}, {threads} threads, {pairs} interleaved runs")
    print(f"{'':20}{'median s':>10}{'ours / it':>12}")
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["ours"], times, strict=True))
        print(f"{name:20}{statistics.median(times):10.3f}{ratio:12.2f}")
    floor = zip(seconds["the product alone"], seconds["scikit-learn brute"], strict=True)
    print(f"the product alone / scikit-learn brute: {statistics.median(a / b for a, b in floor):.2f}")


def large(n: int, d: int, device: str) -> None:
    """One run with progress; seconds and the peak memory of this process (and of the GPU)."""
    points = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    start, steps = time.perf_counter(), 0
    for progress in k_occurrence_steps(points, K, device=device):
        steps += 1
        print(f"\r{progress.step / progress.total:4.0%}", end="", flush=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gpu = f", GPU peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device == "cuda" else ""
    total = int(progress.result.sum())
    print(
        f"\rn = {n:,}, d = {d}: {seconds:.1f} s in {steps} reports, process peak {peak:.2f} GiB{gpu}, sum N = {total:,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        large(1_000_000, 128, "cuda")
    elif options.here:
        torch.set_num_threads(options.threads)
        large(100_000, 100, "cpu")
    elif options.large:  # a process of its own, so that its peak memory is its own
        subprocess.run(
            [sys.executable, "-m", "benchmarks.hubness", "--here", "--threads", str(options.threads)], check=True
        )
    else:
        paired(10_000, 100, options.pairs, options.threads)


if __name__ == "__main__":
    main()
