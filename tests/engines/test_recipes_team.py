"""A recipe on several cards: two processes take the steps of one with both their batches.

(accelerate launches several processes on cards alone; on a CPU torch does, and the rest is the same.)
"""

import os
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch

STEPS = 4
SCRIPT = """
import sys
from argparse import Namespace
import torch
from engines.recipes.training import Run, descend, step_rng, team

torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
stepper = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
run = Run(sys.argv[1], {"model": model}, Namespace(minutes=1, steps=4, device="cpu"), 0.1)
for step in run:
    x = torch.from_numpy(step_rng(0, step).standard_normal((5, 3), dtype="float32"))
    run.record(loss=descend(model, [stepper], model(x).square().mean(), run.rate))
descend(model, [stepper], model(x).square().mean(), 0.1)  # as a judge of the samples does: there is nobody to average with
print("first:", team().number, team().count)
"""


def test_two_processes_take_the_steps_of_both_batches(tmp_path):
    pytest.importorskip("accelerate")
    root = Path(__file__).parents[2]
    script = tmp_path / "recipe.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {
        "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run([*launch, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("first: 0 1") == 1  # the other has ended with the steps
    trained = torch.load(tmp_path / "checkpoints/state.pt", weights_only=True)["parts"]["model"]

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    start = model.weight.clone()
    stepper = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(STEPS):
        draws = [
            np.random.default_rng(key).standard_normal((5, 3), dtype="float32") for key in ([0, step], [0, step, 1])
        ]
        model(torch.from_numpy(np.concatenate(draws))).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        stepper.param_groups[0]["lr"] = 0.1 * min(1.0, (step + 1) / 20) * max(0.01, 1 - step / STEPS)
        stepper.step()
        stepper.zero_grad()
    assert (model.weight - start).abs().max() > 1e-3
    torch.testing.assert_close(trained["weight"], model.weight.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "name", ["few_steps", "flow_weights", "hubness_sets", "ladder_fragments", "transport_generators", "vocabularies"]
)
def test_what_is_one_process_is_no_team(name, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="one process"):
        main = import_module(f"engines.recipes.{name}").main
        main(*[[]] * (len(signature(main).parameters)))
