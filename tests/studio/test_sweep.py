"""Sweeps: which runs are meant, and that what comes out is what single runs give, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from studio import sweep
from studio.exhibit import Choice, each
from studio.figure import short
from studio.present import followed
from studio.results import arrays, scalars
from studio.sweep import Outcome, Processes, find, plan
from tests.conftest import ROOT

pq = pytest.importorskip("pyarrow.parquet")
NAME = "rope/similarity"
ROPE, VIEW = find(NAME)
ASKED = ["head_dim=32,64", "bases=1e4:1e6:3log"]


def test_all_combinations_are_run_each_once():
    runs = plan(ROPE, VIEW, ["head_dim=32,64,32", "bases=1e4:1e6:3log"])
    assert [(run.settings["head_dim"], *run.settings["bases"]) for run in runs] == [
        (32, 1e4), (32, 1e5), (32, 1e6), (64, 1e4), (64, 1e5), (64, 1e6),
    ]  # fmt: skip
    assert all(run.settings["distance"] == VIEW.defaults["distance"] for run in runs)
    assert len({run.key for run in runs}) == 6


def test_values_are_taken_together():
    runs = plan(ROPE, VIEW, ["head_dim=32,64", "bases=1e4;1e5 1e6"], is_zip=True)
    assert [(run.settings["head_dim"], [*run.settings["bases"]]) for run in runs] == [(32, [1e4]), (64, [1e5, 1e6])]


def test_whole_numbers_stay_whole():
    taken = [run.settings["distance"] for run in plan(ROPE, VIEW, ["distance=64:128:5"])]
    assert taken == [64, 80, 96, 112, 128] and {type(one) for one in taken} == {int}
    assert len(plan(ROPE, VIEW, ["head_dim=32:36:50"])) < 6  # those that fall together are one


def test_a_sweep_of_nothing_is_the_default_alone():
    (run,) = plan(ROPE, VIEW, [])
    assert run.settings == {name: VIEW.defaults[name] for name in VIEW.controls}


@pytest.mark.parametrize(
    "said, sentence",
    [
        (["head_dim"], "give SETTING=VALUES; settings are bases, head_dim"),
        (["nosuch=1"], "nosuch=1: give SETTING=VALUES"),
        (["head_dim=wide"], "is not a number"),
        (["head_dim=33"], "give one of"),
        (["head_dim=9999999"], "give a number from"),
        (["head_dim=32:64:x"], "LOW:HIGH:COUNT"),
        (["head_dim=32:64:1"], "LOW:HIGH:COUNT"),
        (["head_dim=32:64"], "is not a number"),
        (["scaling=nosuch"], "choose among"),
        (["head_dim=32", "head_dim=64"], "given twice"),
        (["head_dim=32:512:400", "distance=64:60000:4000", "bases=1e4:1e6:9log"], "more than 100,000 runs"),
    ],
)
def test_what_cannot_be_run_is_refused(said, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(ROPE, VIEW, said)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equally many"):
        plan(ROPE, VIEW, ["head_dim=32,64", "distance=128"], is_zip=True)


@pytest.mark.parametrize("name", ["rope", "nosuch/view", "rope/nosuch", ""])
def test_a_view_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match=r"There is no exhibit|has no view"):
        find(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished sweep of two processes."""
    place = tmp_path_factory.mktemp("runs")
    assert sweep.main([NAME, *ASKED, "--out", str(place), "--processes", "2"]) == 0
    return place


def test_arrays_are_those_of_a_single_run_bit_for_bit(folder):
    for run in plan(ROPE, VIEW, ASKED):
        ours = arrays(VIEW.compute(**run.settings))
        with np.load(folder / f"{run.key}.npz") as file:
            assert {*file} == ours.keys()
            for name, array in ours.items():
                assert file[name].dtype == array.dtype and file[name].tobytes() == array.tobytes()


def test_the_table_has_settings_scalars_seconds_and_errors(folder):
    rows = pq.read_table(folder / "runs.parquet").to_pylist()
    assert [(row["head_dim"], *row["bases"]) for row in rows] == [
        (head_dim, base) for head_dim in (32, 64) for base in (1e4, 1e5, 1e6)
    ]
    assert all(row["seconds"] > 0 and row["error"] == "" and row["tries"] == 1 for row in rows)
    assert all((folder / f"{row['run']}.npz").exists() for row in rows)
    for row in rows:  # what the view follows, by its label and the name
        assert (
            row[f"least f_b over the distances: b = {short(row['bases'][0])}"] == row_of(folder, row["run"])["lowest"]
        )


def row_of(folder, run):
    with np.load(folder / f"{run}.npz") as file:
        return {name: file[name].item() for name in file if file[name].size == 1}


def test_what_a_sweep_follows_is_named_and_what_is_not_finite_is_nothing():
    view = SimpleNamespace(
        scalars={"a": "x", "b": lambda r: each(("rk4", "own"), (r.x, np.inf))},
        settings={"way": Choice("Way", {"rk4": "RK4"})},
    )
    result = SimpleNamespace(x=np.float32(0.5))
    assert scalars(view, result) == {"a": 0.5, "b": {"rk4": 0.5, "own": np.inf}}
    assert followed(view, result) == {"a": {"": 0.5}, "b": {"RK4": 0.5, "own": None}}


class Here:
    """Workers that count; a run fails or not as `fails` says."""

    def __init__(self, fails=lambda run: ""):
        self.ran, self.fails = [], fails

    def outcomes(self, name, runs):
        for run in runs:
            self.ran.append(run.key)
            fault = self.fails(run)
            yield run, Outcome(b"" if fault else b"npz", {"most": 1.5, "head_dim": 7}, 0.1, fault), 1


def test_only_what_is_missing_or_failed_is_run_again(tmp_path):
    runs = plan(ROPE, VIEW, ASKED)
    first = Here(lambda run: "no" if run == runs[2] else "")
    rows = sweep.sweep(NAME, runs[:4], tmp_path, first)
    assert len(first.ran) == 4 and [row["error"] for row in rows] == ["", "", "no", ""]
    assert rows[0]["most"] == 1.5 and rows[0]["result.head_dim"] == 7 and rows[0]["head_dim"] == 32
    (tmp_path / f"{runs[3].key}.npz").unlink()
    with (tmp_path / "runs.jsonl").open("a") as log:
        log.write('{"run": "half a li')  # as a kill leaves it
    again = Here()
    rows = sweep.sweep(NAME, runs, tmp_path, again)
    assert again.ran == [runs[i].key for i in (2, 3, 4, 5)] and not any(row["error"] for row in rows)
    last = Here()
    sweep.sweep(NAME, runs, tmp_path, last)
    assert not last.ran
    assert len(pq.read_table(tmp_path / "runs.parquet")) == 6


def test_what_the_engine_refuses_is_a_sentence_of_the_table():
    outcome = sweep.work(NAME, {"head_dim": "wide"}, 1)
    assert outcome.file == b"" and "Head dimension d" in outcome.error
    assert sweep.work("rope/similarity", {"nosuch": 1}, 1).error.startswith("TypeError: ")


class Doomed(str):
    """A view's name that ends the worker which reads it, as long as its file is there."""

    def __reduce__(self):
        return _die, (str(self),)


def _die(path):
    os.kill(os.getpid(), signal.SIGINT)  # a Ctrl-C reaches all processes of a terminal, and is for the first of them
    if os.path.exists(path):
        os.remove(path)
        os.kill(os.getpid(), signal.SIGKILL)
    return 64


def test_a_worker_that_dies_is_replaced_and_its_run_tried_again(tmp_path):
    mine = tmp_path / "once"
    mine.touch()
    runs = plan(ROPE, VIEW, ["head_dim=32,64"])
    doomed = [runs[0], runs[1]._replace(settings=runs[1].settings | {"head_dim": Doomed(mine)})]
    found = {run.key: (outcome, tries) for run, outcome, tries in Processes(1, 2, 1).outcomes(NAME, doomed)}
    assert found[runs[0].key][1] == 1 and found[runs[1].key][1] == 2
    assert not any(outcome.error for outcome, _ in found.values())
    mine.touch()
    (only,) = Processes(1, 0, 1).outcomes(NAME, doomed[1:])
    assert only[1].error == sweep.DIED and only[2] == 1


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    asked = [NAME, "head_dim=32:512:121", "distance=60000", "--out", str(tmp_path), "--processes", "1"]
    process = subprocess.Popen([sys.executable, "-m", "studio.sweep", *asked], cwd=ROOT, stderr=subprocess.DEVNULL)
    log = tmp_path / "runs.jsonl"
    until = time.monotonic() + 400  # on a loaded machine a process starts slowly
    while time.monotonic() < until and not (log.exists() and log.read_text().count("\n") > 3):
        time.sleep(0.01)
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [int(pid) for pid in tasks.read_text().split()] if tasks.exists() else []
    process.kill()
    process.wait()
    before = log.read_text().count("\n")
    assert 3 < before < 121 and not (tmp_path / "runs.parquet").exists()
    assert sweep.main(asked) == 0
    rows = [json.loads(line) for line in log.read_text().splitlines() if line]
    assert len({row["run"] for row in rows}) == 121 and len(rows) <= 122  # one may have ended unheard
    assert len(pq.read_table(tmp_path / "runs.parquet")) == 121
    until = time.monotonic() + 60
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, f"{alive} outlive the sweep that started them"
        time.sleep(0.1)


def test_runs_that_failed_are_named_by_their_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "Processes", lambda *_: Here(lambda run: "no" if run.settings["head_dim"] < 80 else ""))
    assert sweep.main([NAME, "head_dim=32:96:33", "distance=60000", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "head_dim=32, distance=60000: no\n" in said and "and 19 more" in said


def test_a_folder_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "Processes", lambda *_: Here())
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        sweep.main([NAME, "--out", str(tmp_path / "file")])
    assert end.value.code == 2 and "file" in capsys.readouterr().err
