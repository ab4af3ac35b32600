"""What a sweep costs beside its runs: python -m benchmarks.sweep [EXHIBIT/VIEW SETTING=VALUES ...] [--rounds N]

The same runs, in turn: a serial loop in a process of its own (which also packs each result), one worker and two workers, each with
one thread of torch. Seconds are those between the first run's end and the last one's, so that starting the workers (which is
printed, too) is left out. Every process is new: what engines remember helps none of them more than another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from studio.sweep import Processes, find, plan, work

THREADS = 1


def loop(name, runs):
    """When each run of a plain loop ended."""
    ends = []
    for run in runs:
        work(name, run.settings, THREADS)
        ends.append(time.perf_counter())
    return ends


def serial(name, runs):
    """Seconds from the first run's end to the last one's, and until the first run's end."""
    started = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        ends = pool.submit(loop, name, runs).result()
    return ends[-1] - ends[0], ends[0] - started


def shared(name, runs, count):
    """The same with that many workers, and the seconds until the first run's end. (All have started when the first `count` runs ended.)"""
    started = time.perf_counter()
    ends = [time.perf_counter() for _ in Processes(count, retries=0, threads=THREADS).outcomes(name, runs)]
    per_run = (ends[-1] - ends[count - 1]) / (len(ends) - count)
    return per_run * (len(ends) - 1), ends[0] - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("view", nargs="?", default="hubness/concentration")
    parser.add_argument("settings", nargs="*", default=["seed=0:23:24"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    exhibit, view = find(options.view)
    runs = plan(exhibit, view, options.settings)
    if len(runs) < 6:
        parser.error("give settings of at least 6 runs")
    ways = {
        "serial loop": lambda: serial(options.view, runs),
        "one worker": lambda: shared(options.view, runs, 1),
        "two workers": lambda: shared(options.view, runs, 2),
    }
    taken = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, measure in ways.items():
            taken[way].append(measure())
    alone = statistics.median(seconds for seconds, _ in taken["serial loop"])
    print(f"{options.view}, {len(runs)} runs, {THREADS} thread, median of {options.rounds} rounds")
    for way, measured in taken.items():
        seconds, first = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{way:12} {seconds:7.2f} s, {seconds / alone:5.2f} of the loop; first run after {first:5.2f} s")


if __name__ == "__main__":
    main()
