"""The dearest call of each view: every range at its highest, every list at its longest; seconds of processor and memory on one thread.

`python -m benchmarks.dearest [--seconds N] [exhibit[/view] ...]`. Where the engine refuses that product of settings, half of the ranges
(several draws) are at their highest and the others at their defaults. A call is given up after N seconds (60).
"""

import argparse
import multiprocessing
import random
import resource
import time
from collections.abc import Iterator
from typing import Any

import torch

from studio.exhibit import Choice, Drawing, Gallery, Numbers, Range, Text, Upload, View
from studio.exhibits import EXHIBITS


def highest(control: Any, default: Any) -> Any:
    """The largest value of a control; of a choice, a toggle and a file the default."""
    match control:
        case Range(high=high) | Gallery(high=high):
            return type(default)(high)
        case Numbers(low=low, high=high, most=most):
            whole = isinstance(default[0], int)
            step = (high - low) / most
            values = [high - i * step for i in range(most)]
            return tuple(sorted({max(round(value), low) for value in values}) if whole else values)
        case Choice(options=options, several=True):
            return tuple(options)
        case Text(most=most) if len(default.split()) > 3:
            return (default + " ") * (most // (len(default) + 1)) or default
        case _:
            return default


def trials(view: View) -> Iterator[dict[str, Any]]:
    """Settings to try, the largest first, then each other option of each choice."""
    largest = {name: highest(control, view.defaults[name]) for name, control in view.controls.items()}
    yield largest
    for name, control in view.controls.items():
        if isinstance(control, Choice) and not control.several:
            yield from (largest | {name: option} for option in control.options if option != view.defaults[name])
    draw = random.Random(0)
    names = [name for name, control in view.controls.items() if not isinstance(control, Upload | Drawing)]
    for _ in range(6):
        chosen = set(draw.sample(names, (len(names) + 1) // 2))
        yield {name: largest[name] if name in chosen else view.defaults[name] for name in view.controls}


def measure(view: View, settings: dict[str, Any], most: float) -> tuple[float, float, float, str]:
    """Seconds, gigabytes beyond those before the call, the longest rest between two reports, and what was refused."""

    def call(answer: Any) -> None:
        torch.set_num_threads(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = last = time.process_time()
        rest, said = 0.0, ""
        try:
            for _ in view.compute(**settings) if view.streams else [view.compute(**settings)]:
                now = time.process_time()
                rest, last = max(rest, now - last), now
                if now - began > most:
                    said = "given up"
                    break
        except ValueError as fault:
            said = str(fault)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        answer.put((time.process_time() - began, grown, rest, said))

    fork = multiprocessing.get_context("fork")
    answer = fork.SimpleQueue()
    process = fork.Process(target=call, args=(answer,), daemon=True)
    process.start()
    process.join(8 * most)  # of a machine that others use too
    if process.is_alive():
        process.kill()
        return 8 * most, float("nan"), float("nan"), "given up"
    return answer.get() if process.exitcode == 0 else (0.0, float("nan"), 0.0, f"died with {process.exitcode}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("views", nargs="*")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| view | seconds | GB | longest rest, s | streams | settings |\n|---|---|---|---|---|---|")
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            place = f"{exhibit.slug}/{view.slug}"
            if options.views and not any(place.startswith(named) for named in options.views):
                continue
            worst, refused = None, 0
            for number, settings in enumerate(trials(view)):
                if number > 0 and refused == 0 and (worst[0] > 10 or number > 12):
                    break
                seconds, grown, rest, said = measure(view, settings, options.seconds)
                if said and said != "given up" and not said.startswith("died"):
                    refused += 1
                elif worst is None or seconds > worst[0]:
                    worst = (seconds, grown, rest, settings, said)
                    refused = 0 if number == 0 else refused
            if worst is None:
                print(f"| {place} | all of {refused} refused: {said} |", flush=True)
                continue
            seconds, grown, rest, settings, said = worst
            changed = {name: str(value)[:30] for name, value in settings.items() if value != view.defaults[name]}
            print(
                f"| {place} | {seconds:.2g}{' ' + said if said else ''} | {grown:.2f} | {rest:.2g} | {view.streams} | {changed} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
