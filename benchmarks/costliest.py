"""The costliest call of each view: every range at its highest, every list at its longest, every file at its limits; seconds of
processor and memory on one thread.

`python -m benchmarks.costliest [--seconds N] [--trials N] [--view N] [exhibit[/view] ...]`, into benchmarks/costliest.md where
all views are asked for. Where the engine refuses that product of settings, they go halfway to the defaults, up to three times,
and half of the ranges (several draws) are at their highest and the others at their defaults; what a refusal costs counts, too. A call is given up after N seconds (60), and no
further settings of a view are tried after N (120).
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engines.ddcm.file import Code, pack
from engines.ddcm.fitting import MOST_CALLS, small_model
from engines.ddcm.plan import Plan
from studio.exhibit import Choice, Drawing, Gallery, Numbers, Range, Text, Upload, View
from studio.exhibits import EXHIBITS

FOLDER = tempfile.TemporaryDirectory()


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


def halfway(control: Any, value: Any, default: Any) -> Any:
    """A value between that and the default; of a list its first half."""
    match control:
        case Range():
            middle = (value + default) / 2
            return round(middle / (control.step or 1)) * (control.step or 1) if isinstance(default, int) else middle
        case Numbers():
            return value[: max(len(value) // 2, len(default))]
        case _:
            return value


@cache
def largest_file(ending: str, subject: str) -> str | None:
    """A file of that kind as large as it is taken, or None where another kind of the same control stands for it."""
    path, noise = Path(FOLDER.name, f"{subject}{ending}"), np.random.default_rng(0)
    match ending, subject:
        case ".npy", _:
            np.save(path, noise.normal(size=(100_000, 500)).astype(np.float32))
        case ".csv", "hubness":
            rows = noise.integers(100_000, 1_000_000, (1000, 100))
            path.write_text("\n".join(",".join(map(str, row)) for row in rows))
            path.write_bytes((path.read_bytes() + b"\n") * 71)
        case ".csv", _:
            path.write_text("".join(f"{i},{value:.6f}\n" for i, value in enumerate(noise.normal(size=250_000))))
        case ".wav", _:
            with wave.open(str(path), "wb") as out:
                out.setparams((2, 2, 44_100, 0, "NONE", "none"))
                out.writeframes(noise.bytes(66_000_000))
        case ((".png" | ".jpg"), _):
            ramp = np.add.outer(np.arange(7000) % 256, np.arange(7000) % 256).astype(np.uint8)
            layers = [ramp, ramp, ramp] if ending == ".jpg" else [ramp, ramp, ramp, ramp | 128]
            Image.merge("RGB" if ending == ".jpg" else "RGBA", [*map(Image.fromarray, layers)]).save(path)
        case ".ddcm", _:
            model = small_model("ddpm-emoji-32")
            plan = Plan(1000, 1 << 10, 4)
            code = Code(plan, model.name, model.fingerprint, 32, 32 * (MOST_CALLS // 1000), 16, b"")
            path.write_bytes(pack(code.filled(bytes(code.payload_bytes(model.side)))))
        case ".json", _:
            pieces = {"".join(chr(97 + i // 26**k % 26) for k in range(4)): -float(i % 97) for i in range(299_000)}
            vocabulary = [["<unk>", 0.0], *pieces.items()]
            path.write_text(json.dumps({"model": {"type": "Unigram", "unk_id": 0, "vocab": vocabulary}}))
        case _:
            return None
    return str(path)


@cache
def large_drawing() -> str:
    """A drawing of 4096 x 4096 pixels, a circle and a line."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, 4096)] * 2)
    ink = (np.abs(np.hypot(x, y) - 0.6) < 0.02) | (np.abs(y) < 0.01)
    path = Path(FOLDER.name, "drawing.png")
    Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).save(path)
    return str(path)


def trials(view: View, subject: str) -> Iterator[dict[str, Any]]:
    """Settings to try: the largest, with each file and drawing, with each other option of a choice, and some of them."""
    largest = {name: highest(control, view.defaults[name]) for name, control in view.controls.items()}
    yield largest
    for name, control in view.controls.items():
        given = {other: values[0] for other, values in control.when.items() if other in largest}
        if isinstance(control, Drawing):
            yield largest | given | {name: large_drawing()}
        if isinstance(control, Upload):
            files = (largest_file(ending, subject) for ending in control.accept)
            yield from (largest | given | {name: file} for file in files if file)
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
        times = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        process.kill()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"), 0.0, 0.0, "given up"
    return answer.get() if process.exitcode == 0 else (0.0, float("nan"), 0.0, f"died with {process.exitcode}")


def main() -> None:
    """Write the table as it grows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("views", nargs="*")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--trials", type=int, default=12, help="of a view, beyond those with files and those refused")
    parser.add_argument(
        "--view", type=float, default=120, help="seconds of a view after which no more settings are tried"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = None if options.views else Path(__file__).with_suffix(".md").open("w", encoding="utf-8")

    def write(text: str) -> None:
        for place in (sys.stdout, table):
            if place:
                print(text, file=place, flush=True)

    write(
        "# The costliest call of every view\n\n"
        "Settings at their highest, files at their limits; seconds of processor on one thread, memory beyond what the process "
        "held before, and the longest time between two reports of a view that streams (only between reports can a run be "
        f"stopped). `python -m benchmarks.costliest`, {date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} "
        "cores that others used too.\n"
    )
    write(
        "| view | live | streams | seconds | GB | longest rest, s | settings beside the defaults |\n|---|---|---|---|---|---|---|"
    )
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            place = f"{exhibit.slug}/{view.slug}"
            if options.views and not any(place.startswith(named) for named in options.views):
                continue
            worst, most, others, began = None, 0.0, 0, time.monotonic()
            for settings in trials(view, exhibit.slug):
                has_file = any(str(value).startswith(FOLDER.name) for value in settings.values())
                if worst and (time.monotonic() - began > options.view or (not has_file and others >= options.trials)):
                    break
                for _ in range(4):
                    seconds, grown, rest, said = measure(view, settings, options.seconds)
                    if not said or said == "given up" or said.startswith("died"):
                        break
                    said = "refused"
                    settings = {
                        name: halfway(control, settings[name], view.defaults[name])
                        for name, control in view.controls.items()
                    }
                others += not has_file and said != "refused"
                most = max(most, grown)
                if worst is None or seconds > worst[0]:
                    worst = (seconds, rest, settings, said)
            assert worst
            seconds, rest, settings, said = worst
            changed = [
                f"{name} {Path(value).name if str(value).startswith(FOLDER.name) else str(value)[:24]}"
                for name, value in settings.items()
                if value != view.defaults[name]
            ]
            kinds = " | ".join("yes" if kind else "" for kind in (view.live, view.streams))
            rests = f"{rest:.2g}" if view.streams and rest else ""
            told = f"{seconds:.2g}{' ' + said if said else ''} | {most:.2f} | {rests}"
            write(f"| {place} | {kinds} | {told} | {', '.join(changed)} |")


if __name__ == "__main__":
    main()
