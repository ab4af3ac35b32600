"""What goes wrong around the studio: a killed load, a full disk, a Hub that hangs, no memory, a visitor who is gone. The next call works."""

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import torch
from starlette.testclient import TestClient

from engines import models
from engines.models import ModelError, load
from studio import gpu, page, serve
from studio.exhibits import EXHIBITS
from studio.results import RESULTS, Cache

COMMIT = "1" * 40
NAME = f"owner/model@{COMMIT}"


def digest(name):
    return uuid.uuid5(uuid.NAMESPACE_URL, name).hex


class Hub(ThreadingHTTPServer):
    """A stand-in of the Hub with one model. What it does with a file is told by `mood`: "well", "silent" or "half"."""

    daemon_threads = True
    mood = "well"

    def __init__(self, folder):
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        self.halted = threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    """The stand-in's answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        file = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if self.server.mood == "silent":
            self.server.halted.wait(30)
            return
        body = self.server.files.get(file)
        if body is None:
            files = [
                {"type": "file", "path": name, "rfilename": name, "size": len(data), "oid": digest(name)}
                for name, data in self.server.files.items()
            ]
            told = {"id": "owner/model", "modelId": "owner/model", "sha": COMMIT, "siblings": files}
            body = json.dumps(files if "/tree/" in self.path else told).encode()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{digest(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.mood == "half" and file.endswith(".safetensors"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.halted.set()
            time.sleep(3)
        self.wfile.write(body)

    do_HEAD = do_GET

    def handle(self):
        with contextlib.suppress(ConnectionError):  # the other side was killed
            super().handle()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(models.ASSETS / "ddpm-emoji-32")
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{hub.server_port}"
    for name in ("ENDPOINT", "_HF_DEFAULT_ENDPOINT"):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", 1)
    monkeypatch.setattr(models, "PATIENCE", 0.3)
    monkeypatch.setenv(models.ALLOW, "1")
    yield hub
    hub.shutdown()
    hub.server_close()


def test_a_download_that_was_killed_is_finished_by_the_next(hub, monkeypatch):
    hub.mood = "half"
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=models.fetch, args=(NAME,), daemon=True)
    killed.start()
    assert hub.halted.wait(20)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: 1 / 0)
        with pytest.raises(ModelError, match="could not be fetched"):  # half a model is none
            models.fetch(NAME)
    hub.mood = "well"
    assert models._is_whole(models.fetch(NAME))


def test_a_hub_that_hangs_is_left_and_holds_up_no_other_model(hub):
    hub.mood = "silent"
    said = []

    def ask():
        try:
            load(NAME, "diffusion", "cpu")
        except ModelError as fault:
            said.append(str(fault))

    asking = threading.Thread(target=ask)
    asking.start()
    load("moe-none", device="cpu")
    asking.join(20)
    hub.halted.set()
    assert "cannot be reached" in said[0]
    hub.mood = "well"
    assert models._is_whole(models.fetch(NAME))


def test_a_load_that_breaks_off_is_no_model_and_the_next_works(monkeypatch):
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    whole = models._load_embedded

    def once(*arguments):
        monkeypatch.setattr(models, "_load_embedded", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_load_embedded", once)
    with pytest.raises(KeyboardInterrupt):
        load("moe-none", device="cpu")
    assert load("moe-none", device="cpu").model is not None


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_of_a_download(hub, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", full)
        with pytest.raises(ModelError, match="its disk is full"):
            models.fetch(NAME)
    assert models._is_whole(models.fetch(NAME))


def test_a_full_disk_is_said_of_an_upload(monkeypatch):
    with TestClient(serve.app()) as client:

        def send():
            return client.post("/gradio_api/upload", files={"files": ("points.csv", b"1,2\n")})

        with monkeypatch.context() as patch:
            patch.setattr("gradio.route_utils.GradioUploadFile.write", full)
            refused = send()
        assert refused.status_code == 507 and refused.json()["detail"] == "The studio's disk is full: try again later."
        assert send().status_code == 200
        # and what no page asks is no fault of the server
        for path, body in (
            ("component_server", {"data": 1, "fn_name": "draw", "component_id": 99_999}),
            ("call/v2/nosuch", {}),
        ):
            assert client.post(f"/gradio_api/{path}", json=body | {"session_hash": "a"}).status_code == 400


@pytest.mark.parametrize(
    "fault",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes."),
        MemoryError(),
    ],
)
def test_no_memory_in_the_middle_of_a_run_is_said_and_the_next_works(monkeypatch, fault):
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
    view, whole = exhibit.view("extrapolation"), gpu._compute
    monkeypatch.setattr("studio.results.RESULTS", Cache(1 << 20))

    def breaks(*arguments):
        yield next(whole(*arguments))
        raise fault

    def ask():
        values = {exhibit.controls[view.settings[name]]: value for name, value in view.brief.items()}
        return [json.loads(stage) for stage in page._run({"ask": ["rope", view.slug, values, None, "en"]})]

    with monkeypatch.context() as patch:
        patch.setattr(gpu, "_compute", breaks)
        assert ask()[-1]["error"] == "There is not enough memory here for these settings: ask for less."
    assert ask()[-1]["panels"] and RESULTS is not None


def test_a_fault_of_the_card_is_no_lack_of_memory(monkeypatch):
    def breaks(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
        yield

    monkeypatch.setattr(gpu, "_compute", breaks)
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
    with pytest.raises(RuntimeError, match="illegal"):
        list(gpu.compute("rope", exhibit.view("extrapolation"), {}))


def test_a_browser_that_closes_its_stream_frees_the_device(studio):
    with httpx.Client(base_url=f"{studio}/gradio_api", timeout=60) as client:
        config = client.get(f"{studio}/config").json()
        submit = next(d["id"] for d in config["dependencies"] if any(t[1] == "submit" for t in d["targets"]))
        asked = {"ask": ["flow", "digits", {}, None, "en"]}
        client.post("/queue/join", json={"data": [asked], "fn_index": submit, "session_hash": "leaves"})
        with client.stream("GET", "/queue/data", params={"session_hash": "leaves"}) as lines:
            next(line for line in lines.iter_lines() if "process_generating" in line)
        began = time.monotonic()
        sent = client.post("/call/run_view", json={"data": ["rope", "extrapolation", {"lengths": [64]}, 10]}).json()
        said = client.get(f"/call/run_view/{sent['event_id']}").text
        assert "complete" in said or "error" in said
        assert time.monotonic() - began < 20  # the other run would have gone on for 45 s
