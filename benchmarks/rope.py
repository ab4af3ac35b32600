"""The search for the least base: its times, and the grid search of kexue.fm/archives/10122 beside it in the same run.

python -m benchmarks.rope [longest context, default 65536]
"""

import statistics
import sys
import time

import torch

from engines.rope import inverse_frequencies, least_base, similarity, similarity_profile


def grid_search(length: int, rounds: int) -> float:
    """The post's bmin, in torch: cut [0, b] into 10, 100, … parts and take the first part whose end passes."""
    base, distance = 1000.0 * length, torch.arange(length)
    for k in range(1, rounds + 1):
        for part in range(1, 10**k + 1):
            candidate = base * part / 10**k
            if candidate > 1 and similarity(distance, 128, candidate).min() >= 0:
                base = candidate
                break
    return base


def timed(run) -> tuple[float, object]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main() -> None:
    longest = int(sys.argv[1]) if len(sys.argv) > 1 else 65_536
    least_base(256)  # warm
    print("least base, d = 128                  median of 3")
    length = 1024
    while length <= longest:
        runs = [timed(lambda n=length: least_base(n)) for _ in range(3 if length <= 65_536 else 1)]
        print(
            f"{length:>9,} tokens  b* = {runs[0][1]:>16,.3f}  {statistics.median(t for t, _ in runs):7.3f} s",
            flush=True,
        )
        length *= 2

    print("\nagainst the post's grid search (3 of its 5 rounds), 512 tokens, interleaved")
    pairs = [(timed(lambda: least_base(512)), timed(lambda: grid_search(512, 3))) for _ in range(3)]
    ours, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    print(f"search {ours:.3f} s, b* = {pairs[0][0][1]:,.4f}; grid {theirs:.3f} s, b = {pairs[0][1][1]:,.4f}")
    print(f"ratio {theirs / ours:.1f}")

    print("\nf_b at every distance below 65,536: two thin factors against one cosine each, interleaved")
    theta, distance = inverse_frequencies(128, 1e6), torch.arange(65_536)
    pairs = [
        (timed(lambda: similarity_profile(65_536, theta)), timed(lambda: similarity(distance, 128, 1e6)))
        for _ in range(5)
    ]
    ours, theirs = (statistics.median(pair[i][0] for pair in pairs) for i in (0, 1))
    print(f"profile {1e3 * ours:.2f} ms, direct {1e3 * theirs:.2f} ms, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
