"""Gibbs sampling of quatrains: beside its own bare forward passes, and beside transformers' forward with the whole head.

    python -m benchmarks.gibbs [--model bert-quatrain] [--chains 8] [--sweeps 2]

Everything on the threads torch has (OMP_NUM_THREADS); medians of interleaved runs. The last line is the time from calling
`engines.gibbs.sample`, its model loaded, to the first text.
"""

import argparse
import statistics
import time

import torch

from engines import models as all_models
from engines.gibbs import models, sample
from engines.gibbs.sampling import draw, tempered, walk

TEXT = "_______，_______。_______，_______。"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="bert-quatrain")
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--sweeps", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    model = models.load(options.model)
    theirs, _ = all_models.load(options.model, "masked")
    start = model.frame(torch.tensor([model.encode(TEXT)] * options.chains))
    free = (start[0] == model.mask).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)

    def sampled() -> None:
        for _ in walk(model, start, free, [1.0] * options.sweeps):
            pass

    def bare() -> None:
        for _ in range(options.sweeps):
            for place in free:
                model.logits(start, place.expand(options.chains, 1))

    @torch.inference_mode()
    def naive() -> None:
        state = start.to(model.device, copy=True)
        for _ in range(options.sweeps):
            for place in free.tolist():
                state[:, place] = model.mask
                logits = theirs(state).logits[:, place].masked_fill(model.forbidden, -torch.inf)
                state[:, place] = draw(tempered(logits, 1.0), generator)

    runs = {"sampling": sampled, "bare forwards": bare, "transformers, whole head": naive}
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(options.pairs):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    steps = options.sweeps * len(free)
    print(f"{options.model}, {options.chains} chains, {len(free)} positions, {torch.get_num_threads()} threads")
    print(f"{'':28}{'ms a step':>10}{'sweeps/s':>10}")
    for name, found in times.items():
        seconds = statistics.median(found)
        print(f"{name:28}{1000 * seconds / steps:10.2f}{options.sweeps / seconds:10.2f}")
    ratios = [a / b for a, b in zip(times["sampling"], times["bare forwards"], strict=True)]
    print(f"sampling / bare forwards: {statistics.median(ratios):.3f} (median of {len(ratios)} pairs)")
    ratios = [a / b for a, b in zip(times["transformers, whole head"], times["sampling"], strict=True)]
    print(f"transformers / sampling: {statistics.median(ratios):.2f}")

    waits = []
    for seed in range(3):
        started = time.perf_counter()
        for progress in sample(options.model, chains=options.chains, sweeps=2, seed=seed):
            if progress.result is not None:
                break
        waits.append(time.perf_counter() - started)
    print(f"first text after {statistics.median(waits):.2f} s")


if __name__ == "__main__":
    main()
