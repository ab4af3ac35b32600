"""ZeroGPU, with a stand-in for `spaces`: torch says that there is a card, none can be used, and errors cross by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPACES = """
import pickle, torch
torch.cuda.is_available = lambda: True
asked, refused = [], []

class error(Exception): pass

def GPU(duration):
    def decorate(function):
        def lent(*arguments):
            import gradio as gr
            asked.append(duration(*arguments))
            if refused:
                raise gr.Error(refused[0])
            made = function(*pickle.loads(pickle.dumps(arguments)))
            while True:
                try:
                    item = next(made)
                except StopIteration:
                    return
                except Exception as fault:  # as the real one does
                    raise gr.Error(type(fault).__name__)
                yield pickle.loads(pickle.dumps(item))
        return lent
    return decorate
"""
BEGIN = """
import warnings
import torch
from studio import gpu
import spaces
from studio.exhibits import EXHIBITS
from engines import models
from engines.arguments import Refusal
from engines.device import resolve
def the(exhibit, view):
    return next(v for e in EXHIBITS if e.slug == exhibit for v in e.views if v.slug == view)
def last(exhibit, view, **settings):
    view = the(exhibit, view)
    settings = view.defaults | dict(view.brief) | settings
    for progress in gpu.compute(exhibit, view, {name: settings[name] for name in view.controls}):
        pass
    return progress.result
"""
# a model of the Hub, by another name for an embedded one
HUB = """
fetched = []
models.HUB["a/b"] = ("diffusion", "0" * 40, 2.0)
models._download = lambda repository, revision: fetched.append(repository) or str(models.ASSETS / "ddpm-emoji-32")
"""


def zero(tmp_path, script):
    """Run a script as the main process of a ZeroGPU Space."""
    (tmp_path / "spaces.py").write_text(SPACES)
    environment = os.environ | {"SPACES_ZERO_GPU": "1", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_view_works_in_a_process_that_has_no_card(tmp_path):
    zero(
        tmp_path,
        """
assert resolve().type == "cpu"
for exhibit in EXHIBITS:
    for view in exhibit.views:
        if view.seconds < 1:
            last(exhibit.slug, view.slug)
assert spaces.asked == []
""",
    )


def test_a_model_of_the_hub_asks_for_a_card_after_its_weights_are_here(tmp_path):
    zero(
        tmp_path,
        HUB
        + """
images = last("diffusion", "images", model="a/b")
assert fetched and len(spaces.asked) == 1 and 12 <= spaces.asked[0] <= gpu.LONGEST, spaces.asked
assert type(images) is type(last("diffusion", "images"))
assert len(spaces.asked) == 1
""",
    )


def test_what_the_lent_card_cannot_hold_is_not_fetched_and_more_work_asks_for_longer(tmp_path):
    zero(
        tmp_path,
        HUB
        + """
view = the("diffusion", "images")
plain = view.defaults | {"model": "a/b"}
more = {"count": 9, "schedulers": (*view.defaults["schedulers"], "heun")}
asked = [gpu.lease("diffusion", "images", plain | dict([one])) for one in [("seed", 1), *more.items()]]
assert asked[0] < min(asked[1:]), asked
photographs = the("ddcm", "photographs").defaults | {"model": "a/b"}
assert gpu.lease("ddcm", "photographs", photographs | {"atom_counts": (1, 2, 3), "step_counts": (50, 100, 200)}) == 80 == gpu.LONGEST
models.HUB["a/b"] = ("diffusion", "0" * 40, 100.0)
try:
    last("diffusion", "images", model="a/b")
except Refusal as fault:
    assert "needs about 100 GB" in str(fault) and "70 GB" in str(fault), fault
else:
    raise SystemExit("not refused")
assert not fetched and not spaces.asked
""",
    )


def test_sentences_cross_as_they_are(tmp_path):
    zero(
        tmp_path,
        HUB
        + """
import torch
try:
    last("diffusion", "images", model="a/b", seed=-5)
except Refusal as fault:
    assert "seed must be a whole number" in str(fault) and fault.fields["parameter"] == "seed", fault
else:
    raise SystemExit("not refused")
assert spaces.asked
""",
    )


@pytest.mark.parametrize("reason", ["You have exceeded your GPU quota", "No GPU was available after 60 seconds"])
def test_without_a_card_the_cpu_serves_and_says_so(tmp_path, reason):
    zero(
        tmp_path,
        HUB
        + f"""
spaces.refused.append({reason!r})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert last("diffusion", "images", model="a/b") is not None
assert any({reason!r} in str(one.message) and "on the CPU" in str(one.message) for one in said), [str(s.message) for s in said]
""",
    )
