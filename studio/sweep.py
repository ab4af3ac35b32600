"""A view at many settings: python -m studio.sweep EXHIBIT/VIEW SETTING=VALUES ... --out FOLDER

    python -m studio.sweep rope/similarity head_dim=32,64,128 bases=1e4:1e6:9log --out runs/

VALUES are a list, 32,64,128 (of settings that are lists or texts themselves: "32,64;128"), or so many numbers from one to
another, 0:1:11 evenly spaced or 1e4:1e6:9log by ratio. All combinations are run, or with --zip the first values together, the
second ones, and so on. In FOLDER: KEY.npz with the arrays of each run, the very ones that a single run gives;
runs.jsonl, a line for each run as it ends; and runs.parquet, the table of it (settings, scalars of the result, seconds,
error, tries). The same command again, after a kill too, runs only what is missing or failed.

Runs are shared among processes of this machine, or with --ray ADDRESS among the machines of a Ray cluster
(requirements-ray.txt). A worker that dies is replaced, and its run tried again.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engines.cluster import connect
from studio import link
from studio.exhibit import Choice, Control, Drawing, Exhibit, Gallery, Numbers, Range, Text, Upload, View
from studio.exhibits import EXHIBITS
from studio.language import sentence
from studio.present import labels
from studio.results import arrays, key, scalars

MOST = 100_000  # runs of one sweep


class Run(NamedTuple):
    """What is to be run. key: its name, the same for the same engine function and arguments; settings: all of them."""

    key: str
    settings: dict[str, Any]


class Outcome(NamedTuple):
    """How a run ended.

    file: the .npz, b"" where there is no result
    scalars: numbers and texts of the result by dotted name, and what its view follows (View.scalars) by label
    seconds: of the engine alone
    error: a sentence, or ""
    """

    file: bytes
    scalars: dict[str, Any]
    seconds: float
    error: str


def values(name: str, control: Control, default: Any, said: str) -> list[Any]:
    """The values that a setting takes, as the command line says them; a ValueError where one is not permitted."""
    parts = said.split(":")
    if isinstance(control, Range | Gallery | Numbers) and len(parts) == 3:
        low, high = (_first(link.parse(control, part, default)) for part in parts[:2])
        is_log, count = parts[2].endswith("log"), parts[2].removesuffix("log")
        if not count.isdigit() or not 2 <= int(count) <= MOST:
            raise ValueError(f"{name}: {said} must be LOW:HIGH:COUNT or LOW:HIGH:COUNTlog.")
        if is_log and min(low, high) <= 0:
            raise ValueError(f"{name}: numbers spaced by ratio must be above 0.")
        spaced = (np.geomspace if is_log else np.linspace)(low, high, int(count)).tolist()
        spaced = [link.parse(control, repr(value), default, clamp=True) for value in spaced]
        return list({repr(value): value for value in spaced}.values())  # whole numbers may fall together
    is_one_list = isinstance(control, Numbers | Text) or (isinstance(control, Choice) and control.several)
    return [link.parse(control, part, default) for part in said.split(";" if is_one_list else ",")]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) else value


def plan(exhibit: Exhibit, view: View, said: Sequence[str], is_zip: bool = False) -> list[Run]:
    """The runs that "name=values" texts ask for, each once, in order; a ValueError where they cannot be."""
    asked: dict[str, list[Any]] = {}
    former = exhibit.former[view.slug].names if view.slug in exhibit.former else {}
    for text in said:
        name, equals, given = text.partition("=")
        name = former.get(name, name)
        if name in asked:
            raise ValueError(f"{text}: {name} is given twice; give its values in one list.")
        control = view.controls.get(name)
        if not equals or control is None or isinstance(control, Upload | Drawing):
            known = [n for n, c in view.controls.items() if not isinstance(c, Upload | Drawing)]
            raise ValueError(f"{text}: give SETTING=VALUES; settings are {', '.join(known)}.")
        asked[name] = values(name, control, view.defaults[name], given)
    lengths = {name: len(taken) for name, taken in asked.items()}
    if is_zip and len(set(lengths.values())) > 1:
        raise ValueError(f"With --zip all settings need equally many values; these have {lengths}.")
    if not is_zip and np.prod([float(length) for length in lengths.values()]) > MOST:
        raise ValueError(f"That is more than {MOST:,} runs: give fewer values.")
    rows = zip(*asked.values(), strict=True) if is_zip else itertools.product(*asked.values())
    wanted = [view.defaults | dict(zip(asked, row, strict=True)) for row in (rows if asked else [()])]
    runs = [Run(key(view, settings), {name: settings[name] for name in view.controls}) for settings in wanted]
    return list({run.key: run for run in runs}.values())


def find(name: str) -> tuple[Exhibit, View]:
    """The exhibit and view of "exhibit/view"; a ValueError that names those there are."""
    slug, _, view = name.partition("/")
    exhibit = next((exhibit for exhibit in EXHIBITS if exhibit.slug == slug), None)
    if exhibit is None:
        raise ValueError(f"There is no exhibit {slug}; there are {_list(EXHIBITS)}.")
    if view not in {v.slug for v in exhibit.views}:
        raise ValueError(f"{slug} has no view {view}; it has {_list(exhibit.views)}.")
    return exhibit, exhibit.view(view)


def _list(named: Iterable[Any]) -> str:
    return ", ".join(one.slug for one in named)


def work(name: str, settings: Mapping[str, Any], threads: int) -> Outcome:
    """Compute one run, in whichever process this is. threads: of torch; more or fewer may change a last digit."""
    exhibit, view = find(name)
    torch.set_num_threads(threads)
    started = time.perf_counter()
    try:
        made = view.compute(**settings)
        if view.streams:
            for progress in made:
                result = progress.result
        else:
            result = made
    except Exception as fault:  # what one run does wrong must not stop the others
        seconds = time.perf_counter() - started
        known = isinstance(fault, ValueError)
        said = sentence(fault, "en", exhibit.slug, labels(view)) if known else f"{type(fault).__name__}: {fault}"
        return Outcome(b"", {}, seconds, said or type(fault).__name__)
    seconds = time.perf_counter() - started
    found = arrays(result)
    file = io.BytesIO()
    np.savez_compressed(file, **found)  # pyright: ignore[reportArgumentType]
    said = {name: array.item() for name, array in found.items() if array.ndim == 0 and array.dtype.kind in "biufU"}
    for label, number in scalars(view, result).items():
        if isinstance(number, dict):
            said |= {f"{label}: {name}": one for name, one in number.items()}
        elif view.scalars[label] not in said:
            said[label] = number
    return Outcome(file.getvalue(), said, seconds, "")


@dataclass
class Processes:
    """Workers on this machine.

    Each is an executor of one process, so that one which dies is known by its run.
    """

    count: int
    retries: int
    threads: int

    def outcomes(self, name: str, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome, int]]:
        """Each run as it ends, with its outcome and how often it was tried."""
        waiting = [(run, 1) for run in reversed(runs)]
        idle = [self._start() for _ in range(min(self.count, len(runs)))]
        busy: dict[Any, tuple[ProcessPoolExecutor, Run, int]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    worker, (run, tries) = idle.pop(), waiting.pop()
                    with _uninterrupted():
                        busy[worker.submit(work, name, run.settings, self.threads)] = worker, run, tries
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    worker, run, tries = busy.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool:
                        worker.shutdown(wait=False)
                        idle.append(self._start())
                        if tries <= self.retries:
                            waiting.append((run, tries + 1))
                            continue
                        outcome = Outcome(b"", {}, float("nan"), DIED)
                    else:
                        idle.append(worker)
                    yield run, outcome, tries
        finally:
            for worker in [*idle, *(worker for worker, *_ in busy.values())]:
                for process in list((worker._processes or {}).values()):
                    process.terminate()  # what still runs is not waited for
                worker.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        # (torch does not survive a fork)
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_follow)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A Ctrl-C comes after this, and a process that is started in it never hears of any: it is for the one that started it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield  # Windows
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow() -> None:
    """A worker ends with the process that started it, however that ends."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


DIED = "The worker died."


@dataclass
class Cluster:
    """Workers of a Ray cluster. gpu: share of a card that a view which gains from one asks for."""

    address: str
    retries: int
    threads: int
    gpu: float = 0.25

    def outcomes(self, name: str, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome, None]]:
        """Each run as it ends, with its outcome and None: Ray itself tries again what a worker or a machine takes along."""
        import ray

        connect(self.address)
        has_cards = find(name)[1].gpu and ray.cluster_resources().get("GPU", 0) > 0
        remote = ray.remote(num_cpus=1, num_gpus=self.gpu if has_cards else 0, max_retries=self.retries)(work)
        waiting, running = list(reversed(runs)), {}
        while waiting or running:
            most = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
            while waiting and len(running) < most:
                run = waiting.pop()
                running[remote.remote(name, run.settings, self.threads)] = run
            (done, *_), _ = ray.wait(list(running))
            run = running.pop(done)
            try:
                outcome = Outcome(*ray.get(done))
            except ray.exceptions.RayError as fault:
                died = isinstance(fault, ray.exceptions.WorkerCrashedError | ray.exceptions.ObjectLostError)
                outcome = Outcome(b"", {}, float("nan"), DIED if died else f"{type(fault).__name__}: {fault}")
            yield run, outcome, None


def sweep(name: str, runs: Sequence[Run], folder: Path, workers: Processes | Cluster) -> list[dict[str, Any]]:
    """Run what is not there yet, and write the table; the table's rows, in the order of `runs`."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "runs.jsonl"
    done = {row["run"]: row for row in _rows(log)}
    missing = [
        run for run in runs if done.get(run.key, {"error": "?"})["error"] or not (folder / f"{run.key}.npz").exists()
    ]
    bar = Bar(len(runs), len(runs) - len(missing))
    with log.open("a", encoding="utf-8") as lines:
        lines.write("\n" * bool(done))  # what a kill left of a line must not take the next one along
        for run, outcome, tries in workers.outcomes(name, missing):
            if outcome.file:
                part = folder / f"{run.key}.part"
                part.write_bytes(outcome.file)
                os.replace(part, folder / f"{run.key}.npz")  # a file that is there is whole
            row = {
                "run": run.key,
                "settings": run.settings,
                "scalars": outcome.scalars,
                "seconds": outcome.seconds,
                "error": outcome.error,
                "tries": tries,
            }
            done[run.key] = row
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            lines.flush()
            bar.step(bool(outcome.error))
    rows = [_flat(done[run.key]) for run in runs]
    _write_table(folder / "runs.parquet", rows)
    return rows


def _rows(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue  # half a line, of a kill


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table. A scalar of the result named like a setting is told apart; one that repeats it is left out."""
    own = {"run": row["run"], **row["settings"]}
    last = {name: row[name] for name in ("seconds", "error", "tries")}
    scalars = {n: value for n, value in row["scalars"].items() if n not in own or own[n] != value}
    return own | {f"result.{n}" if n in own | last else n: value for n, value in scalars.items()} | last


def _write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("seconds", "error", "tries")))
    columns = {name: [row.get(name) for row in rows] for name in [*names, "seconds", "error", "tries"]}
    parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), file)


class Bar:
    """Progress on standard error: a bar in a terminal, else a line for each tenth."""

    def __init__(self, total: int, done: int):
        self.total, self.done, self.failed, self.first, self.started = total, done, 0, done, time.perf_counter()
        if done:
            print(f"{done:,} of {total:,} runs are there.", file=sys.stderr, flush=True)

    def step(self, failed: bool) -> None:
        """One run more."""
        self.done, self.failed = self.done + 1, self.failed + failed
        left = (time.perf_counter() - self.started) / (self.done - self.first) * (self.total - self.done)
        said = f"{self.done:,}/{self.total:,}, {self.failed:,} failed, {left:,.0f} s left"
        if sys.stderr.isatty():
            filled = 30 * self.done // self.total
            end = "\r" if self.done < self.total else "\n"
            print(f"\033[K[{'#' * filled:<30}] {said}", end=end, file=sys.stderr, flush=True)
        elif 10 * self.done // self.total > 10 * (self.done - 1) // self.total:
            print(said, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep; 1 where a run failed, 2 where the command line is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studio.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("view", metavar="EXHIBIT/VIEW")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUES")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--zip", action="store_true", help="take the values together, not all combinations")
    parser.add_argument("--processes", type=int, help="workers here (default: as many as have a core for each thread)")
    parser.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster instead (auto: the one found here)")
    parser.add_argument("--retries", type=int, default=2, help="how often a run is tried again whose worker died")
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of torch in a worker (default: as in a single run, whose arrays are then the same bit for bit; 1 gets most done)",
    )
    options = parser.parse_args(arguments)
    cores = os.cpu_count() or 1
    processes = max(cores // max(options.threads, 1), 1) if options.processes is None else options.processes
    if options.threads < 1 or processes < 1 or options.retries < 0:
        parser.error("--processes and --threads must be at least 1, --retries at least 0")
    for module, file in [
        ("pyarrow", "requirements-sweep.txt"),
        *([("ray", "requirements-ray.txt")] * bool(options.ray)),
    ]:
        try:
            __import__(module)
        except ImportError:
            parser.error(f"{module} is not installed: pip install -r {file}")
    try:
        runs = plan(*find(options.view), options.settings, options.zip)
    except ValueError as fault:
        parser.error(str(fault))
    if options.ray:
        workers: Processes | Cluster = Cluster(options.ray, options.retries, options.threads)
    else:
        workers = Processes(processes, options.retries, options.threads)
    try:
        rows = sweep(options.view, runs, options.out, workers)
    except (ValueError, OSError) as fault:  # no cluster there, or no folder
        parser.error(str(fault))
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    failed = [row for row in rows if row["error"]]
    names = [said.partition("=")[0] for said in options.settings]
    for row in failed[:5]:
        at = ", ".join(f"{name}={link.text(row[name])}" for name in names if name in row)
        print(f"{at or row['run']}: {row['error']}", file=sys.stderr)
    if failed[5:]:
        print(f"and {len(failed) - 5:,} more: see the column error of the table", file=sys.stderr)
    print(f"{len(rows):,} runs, {len(failed):,} failed: {options.out / 'runs.parquet'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
