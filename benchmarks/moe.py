"""How fast the mixtures' exhibit is: python -m benchmarks.moe

Balancing rounds a second on 20,000 x 64 scores (target: at least 10, all default rules), routing statistics against a loop over
tokens, quantile balancing against numpy.quantile, and a text of 512 tokens to its drawn figures (target: at most 0.5 s).
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from engines.moe import quantile_balance
from engines.moe.balancing import balance, synthetic_scores
from engines.moe.language import route_text
from engines.moe.statistics import co_activation, repeat_rate
from engines.moe.training import train
from studio.exhibits.moe.figures import draw_experts, draw_routing
from studio.panels import pack


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def versus(name: str, ours: Callable[[], object], peer_name: str, peer: Callable[[], object], pairs: int = 5) -> None:
    """Medians of interleaved pairs, after one of each unmeasured."""
    ours(), peer()
    times = [(seconds(ours), seconds(peer)) for _ in range(pairs)]
    ratio = statistics.median(theirs / mine for mine, theirs in times)
    mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:44} {1e3 * mine:8.1f} ms   {peer_name}: {1e3 * theirs:.1f} ms   {ratio:.1f} x")


def rounds_a_second(rounds: int = 30) -> float:
    stream = balance(tokens=20_000, experts=64, top_k=8, rounds=rounds)
    next(stream)
    return rounds / seconds(lambda: list(stream))


def numpy_quantile_balance(scores: np.ndarray, top_k: int, rounds: int) -> np.ndarray:
    quantile, beta = 1 - top_k / scores.shape[1], np.zeros(scores.shape[1], np.float32)
    for _ in range(rounds):
        alpha = np.quantile(scores - beta, quantile, axis=1, keepdims=True)
        beta = np.quantile(scores - alpha, quantile, axis=0)
    return -beta


def loop_statistics(indices: np.ndarray) -> tuple[Counter, int]:
    """Co-activation and repeats, token by token."""
    together, repeats = Counter(), 0
    for layer in indices.tolist():
        for chosen in layer:
            together.update((i, j) for i in chosen for j in chosen)
        repeats += sum(bool(set(a[:2]) & set(b[:2])) for a, b in pairwise(layer))
    return together, repeats


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    scores, _ = synthetic_scores("uniform", 20_000, 64)
    by_numpy = numpy_quantile_balance(scores.numpy(), 8, 2)
    assert np.abs(quantile_balance(scores, 8, 2).numpy() - by_numpy).max() < 1e-5
    versus(
        "quantile balancing, a round, 20,000 x 64",
        lambda: quantile_balance(scores, 8, 1),
        "numpy.quantile",
        lambda: numpy_quantile_balance(scores.numpy(), 8, 1),
    )
    order = torch.rand(16, 512, 64, generator=torch.Generator().manual_seed(0)).argsort(-1)[..., :8]
    versus(
        "co-activation and repeats, 16 x 512 x 8",
        lambda: (co_activation(order, 64), repeat_rate(order, 64)),
        "loop over tokens",
        lambda: loop_statistics(order.numpy()),
    )
    text = ("The old man said: x = [1, 2]\n" * 20)[:512]
    route_text(preset="own", text=text)
    for name, draw in (("text and heat maps", draw_routing), ("statistics", draw_experts)):
        times = [
            seconds(lambda draw=draw: [pack(p) for p in draw(route_text(preset="own", text=text))]) for _ in range(5)
        ]
        print(f"{'512 tokens to ' + name:44} {1e3 * statistics.median(times):8.1f} ms   (at most 500)")
    speeds = [rounds_a_second() for _ in range(3)]
    print(
        f"{'balancing, 20,000 x 64, default rules':44} {statistics.median(speeds):8.1f} rounds a second   (at least 10)"
    )
    print(f"{'tiny mixture, defaults':44} {seconds(lambda: list(train())):8.1f} s   (at most 20)")


if __name__ == "__main__":
    main()
