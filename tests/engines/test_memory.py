"""Memory that ends, room that is made for models, and files that are fetched while a page waits."""

import errno
import threading
import time
import weakref

import pytest
import torch

from engines import latents, models
from engines.device import Timed, is_memory
from engines.models import ModelError, load
from engines.progress import Progress

NAME = "Qwen/Qwen2.5-0.5B"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    monkeypatch.setattr(models, "_fetches", {})
    monkeypatch.setattr(models, "_memory", lambda device: 1e12)


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("MPS backend out of memory"),
    ],
    ids=lambda fault: str(fault)[:40],
)
def test_no_memory_is_known_and_what_its_frames_held_is_given_back(fault):
    assert is_memory(fault)
    held = []

    def work():
        large = torch.zeros(10)
        held.append(weakref.ref(large))
        raise fault

    with pytest.raises(ValueError, match="does not suffice") as told, latents.within_memory("x"):
        work()
    assert told.value.__context__ is fault and held[0]() is None


def test_other_faults_are_not_taken_for_it():
    for fault in (
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("the device was lost"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ):
        assert not is_memory(fault)


def test_room_is_made_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr(models, "CACHE_BYTES", 3e6)
    load("moe-none", device="cpu")
    held, whole = [], models._load_embedded
    monkeypatch.setattr(models, "_load_embedded", lambda *a: held.append(len(models._cache)) or whole(*a))
    load("moe-loss-free", device="cpu")
    assert held == [0]


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (AssertionError(), ModelError, "does not load: AssertionError"),
        (MemoryError("no"), MemoryError, "no"),
        (RuntimeError("CUDA out of memory"), RuntimeError, "out of memory"),
    ],
)
def test_what_breaks_a_load_is_said(fault, kind, says, monkeypatch):
    def fails(*_):
        raise fault

    monkeypatch.setattr(models, "_from_folder", fails)
    with pytest.raises(kind, match=says):
        models._load_hub("a/b", None, torch.device("cpu"), models.ASSETS / "ddpm-emoji-32")


def test_a_model_that_is_loaded_waits_for_no_other_load():
    load("moe-none", device="cpu")
    asking = threading.Thread(target=load, args=("moe-none", None, "cpu"), daemon=True)
    with models._loading["library"], models._loading["decoder"]:
        asking.start()
        asking.join(5)
        assert not asking.is_alive()


def test_a_fetch_reports_each_second_and_can_be_left(monkeypatch):
    go, asked = threading.Event(), []
    monkeypatch.setattr(models, "_download", lambda *_: asked.append(1) or (go.wait(20) and "folder"))
    left = models.arriving(NAME, "cpu")
    assert next(left) == Progress(0, 0, None)
    left.close()
    waits = models.arriving(NAME, "cpu")
    assert next(waits).total == 0
    go.set()
    assert len(list(waits)) < 2 and asked == [1]  # both wait for one

    def fails(*_):
        raise ModelError("The Hub is gone.")

    monkeypatch.setattr(models, "_download", fails)
    with pytest.raises(ModelError, match="is gone"):
        list(models.arriving(NAME, "cpu"))
    monkeypatch.setattr(models, "_memory", lambda device: 1e9)
    with pytest.raises(ModelError, match="needs about"):
        list(models.arriving(NAME, "cpu"))
    assert not list(models.arriving("moe-none", "cpu"))


def test_a_long_run_that_fetches_lets_the_page_be_told_and_stopped(monkeypatch):
    from studio import gpu
    from studio.exhibits import EXHIBITS

    go = threading.Event()
    monkeypatch.setattr(models, "_download", lambda *_: go.wait(20) and "folder")
    view = next(view for one in EXHIBITS if one.slug == "diffusion" for view in one.views if view.slug == "prompt")
    model = "stabilityai/sd-turbo"
    settings = {name: view.defaults[name] for name in view.controls} | {"model": model}
    made = gpu.compute("diffusion", view, settings)
    assert next(made).total > 0 and next(made) == Progress(0, 0, None)
    made.close()
    go.set()


def test_seconds_are_those_of_the_items():
    def items():
        for i in range(3):
            time.sleep(0.01)
            yield i

    timed = Timed(items(), torch.device("cpu"))
    for _ in timed:
        time.sleep(0.2)
    assert 0.03 <= timed.seconds < 0.4
