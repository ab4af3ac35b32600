"""The API as a notebook on another machine meets it."""

import asyncio
import base64
import errno
import hashlib
import inspect
import io
import json
import re
import uuid
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio.context import LocalContext
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from starlette.requests import Request

from studio import api, tools
from studio.api import describe, returned
from studio.exhibit import Drawing, Numbers, Range, Upload
from studio.exhibits import EXHIBITS
from studio.results import arrays
from studio.tools import describe_view, run_view
from studio.uploads import Guarded


@pytest.fixture(scope="module")
def client(studio):
    return Client(studio, verbose=False)


def test_an_endpoint_returns_the_engine_s_arrays(client):
    rope = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
    engine = arrays(rope.views[0].compute(head_dim=64, bases=(10000.0, 500000.0)))
    told = client.predict(head_dim=64, bases=[10000, 500000], api_name="/rope_similarity")
    assert told.keys() == engine.keys()
    for name, array in engine.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(np.array(told[name], dtype=float), array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"head_dim": 10**9}, "Head dimension d: give a number from"),
        ({"bases": [0.5]}, "Bases b: give a number from"),
        ({"bases": ["x" * 1000]}, "is not a number"),
        ({"scaling": "__import__"}, "Scaling: choose among"),
    ],
)
def test_a_bad_argument_gets_a_sentence(client, settings, sentence):
    with pytest.raises(AppError) as fault:
        client.predict(**settings, api_name="/rope_similarity")
    assert sentence in str(fault.value) and "Traceback" not in str(fault.value)


def test_an_endpoint_takes_all_controls_files_last(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            endpoint = endpoints[f"/{exhibit.slug}_{view.slug}".replace("-", "_")]
            told = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
            wanted = sorted(view.controls, key=lambda name: isinstance(view.controls[name], Upload | Drawing))
            assert told[: len(wanted)] == wanted
            former = exhibit.former.get(view.slug)
            assert set(told[len(wanted) :]) <= set(former.names if former else ())


def test_views_and_their_former_names_are_all_that_is_offered(client):
    names = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    slugs = {(e.slug, slug) for e in EXHIBITS for slug in [*(v.slug for v in e.views), *e.former]}
    views = {f"/{exhibit}_{view}".replace("-", "_") for exhibit, view in slugs}
    assert set(names) == views | {"/list_views", "/describe_view", "/run_view"}


def test_a_long_run_is_answered_when_its_turn_comes(client):
    told = client.predict(budgets=[4], particles=200, api_name="/diffusion_distances")
    assert told


def test_any_view_is_found_described_and_run(client):
    views = json.loads(client.predict(api_name="/list_views"))
    assert {(exhibit, view) for exhibit, found in views.items() for view in found["views"]} == {
        (exhibit.slug, view.slug) for exhibit in EXHIBITS for view in exhibit.views
    }
    about = json.loads(client.predict(exhibit="rope", view="similarity", api_name="/describe_view"))
    assert about["settings"]["head_dim"]["default"] == 128 and "from 2 to 512" in about["settings"]["head_dim"]["about"]
    said = client.predict(
        exhibit="rope", view="similarity", settings={"head_dim": 64}, numbers=500, api_name="/run_view"
    )
    told = json.loads(said)
    assert told["link"].startswith("http://127.0.0.1:") and "/?tab=rope" in told["link"] and len(said) < 20_000
    assert "head_dim=64" in told["link"]
    assert sum(np.size(array["values"]) for array in told["arrays"].values()) <= 500


def test_an_answer_holds_the_pictures_of_a_view(client):
    brief = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "ddcm").view("mix").brief
    told = json.loads(client.predict(exhibit="ddcm", view="mix", settings=dict(brief), api_name="/run_view"))
    picture = Image.open(io.BytesIO(base64.b64decode(told["picture"])))
    assert picture.format == "PNG" and picture.width > 30


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"exhibit": "nosuch", "view": "x"}, "There is no exhibit 'nosuch'"),
        ({"exhibit": "rope", "view": "nosuch"}, "rope has no view 'nosuch'"),
        ({"exhibit": "rope", "view": "similarity", "settings": [{}]}, "settings are an object"),
        ({"exhibit": "rope", "view": "similarity", "settings": {"nosuch": 1}}, "is no setting of rope/similarity"),
        ({"exhibit": "ddcm", "view": "picture", "settings": {"upload": "/etc/passwd"}}, "no longer here"),
        ({"exhibit": "rope", "view": "similarity", "settings": {"head_dim": 1e9}}, "Head dimension d: give a number"),
    ],
)
def test_a_tool_says_what_is_wrong(client, asked, sentence):
    with pytest.raises(AppError) as fault:
        client.predict(**asked, api_name="/run_view")
    assert sentence in str(fault.value)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.slug)
def test_what_is_returned_is_described(exhibit):
    for view in exhibit.views:
        said = returned(view)
        assert said and all(said.values()), view.slug
    assert json.loads(describe_view(exhibit.slug, view.slug))["returns"] == said


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.slug)
def test_descriptions_are_plain_and_name_the_bounds(exhibit):
    for view in exhibit.views:
        said = {name: describe(control, view.defaults[name]) for name, control in view.settings.items()}
        for name, text in [
            *said.items(),
            *returned(view).items(),
            ("", json.loads(describe_view(exhibit.slug, view.slug))["about"]),
        ]:
            assert not re.search(r"[$\\]|\*\*", text), (view.slug, name, text)
        for name, control in view.settings.items():
            if isinstance(control, Range | Numbers):
                assert f"from {control.low:,g} to {control.high:,g}." in said[name], (view.slug, name)


def asked_from(**headers):
    scope = {"type": "http", "path": "/", "scheme": "http", "query_string": b"", "client": ("10.0.0.1", 9)}
    scope["headers"] = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return gr.Request(request=Request(scope), session_hash=uuid.uuid4().hex)


def test_calls_without_a_session_are_one_visitor_by_their_address(monkeypatch):
    visitors = []

    async def stream(visitor, items):
        visitors.append(visitor)
        return
        yield

    monkeypatch.setattr(api.TURNS, "stream", stream)
    monkeypatch.setattr(api, "_alive", lambda: lambda: True)
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "diffusion")
    for headers in ({}, {}, {"x_forwarded_for": "1.2.3.4, 10.0.0.1"}, {"x_forwarded_for": "1.2.3.4"}):
        held = LocalContext.request.set(asked_from(**headers))
        asyncio.run(api.compute(exhibit, exhibit.view("few"), {"seed": 77}))
        LocalContext.request.reset(held)
    assert visitors == ["10.0.0.1"] * 2 + ["1.2.3.4"] * 2


@pytest.mark.parametrize("place", ["studio.api.run", "studio.api.as_json", "studio.tools._told"])
def test_a_fault_of_an_engine_or_of_an_answer_is_said(monkeypatch, place):
    def broken(*_):
        raise RuntimeError("an index of ours")

    monkeypatch.setattr(place, broken)
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
    made = []
    monkeypatch.setattr(gr, "api", lambda endpoint, **_: made.append(endpoint))
    api._endpoint(exhibit, exhibit.view("similarity"), "similarity", None)
    given = [one.default for one in inspect.signature(made[0]).parameters.values()]
    asked = run_view("rope", "similarity") if place.startswith("studio.tools") else made[0](*given)
    with pytest.raises(gr.Error, match=r"Internal error: please report this call of rope/similarity\.") as fault:
        asyncio.run(asked)
    assert not fault.value.print_exception


def test_an_answer_cuts_long_texts_and_its_link_is_whole(monkeypatch):
    monkeypatch.setattr(tools, "panels", lambda *_: [])
    exhibit = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
    view = exhibit.view("similarity")
    result = {"text": "x" * 1_000_000, "names": ["short", "y" * 50_000], "numbers": np.arange(9.0)}
    monkeypatch.setenv("SPACE_ID", "someone/studio")
    said = json.loads(tools._told(exhibit, view, view.defaults, result, 2_000, tools._base()))
    assert len(json.dumps(said)) < 10_000 and said["arrays"]["names"]["values"][0] == "short"
    assert said["link"].startswith("https://huggingface.co/spaces/someone/studio?tab=rope")
    monkeypatch.delenv("SPACE_ID")
    held = LocalContext.request.set(asked_from(host="a.example", x_forwarded_proto="https"))
    assert tools._base() == "https://a.example/"
    LocalContext.request.reset(held)


def test_a_full_disk_is_said_of_a_file_that_was_named(monkeypatch):
    async def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gr.Blocks, "preprocess_data", full)
    with Guarded() as blocks, pytest.raises(gr.Error, match="disk is full"):
        asyncio.run(blocks.preprocess_data(SimpleNamespace(inputs=[1]), [{"path": "/x"}]))


def test_a_file_that_was_sent_is_taken_by_an_endpoint_and_by_a_tool(client, tmp_path):
    points = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "points.npy", points)
    file = handle_file(str(tmp_path / "points.npy"))
    told = client.predict(data="file", path=file, k=3, api_name="/hubness_occurrence")
    assert told["n"] == 40 and told["dimension"] == 3 and len(told["counts"]) == 40
    settings = {"data": "file", "path": file, "k": 3}
    said = json.loads(client.predict("hubness", "occurrence", settings, 500, api_name="/run_view"))
    assert said["arrays"]["n"]["values"] == 40


@pytest.mark.parametrize("path", ["/etc/passwd", "points.csv", "http://127.0.0.1:1/points.csv", "9" * 400])
def test_a_file_that_was_not_sent_is_refused(studio, path):
    for name in ("hubness_occurrence", "run_view"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = (
            {"path": file}
            if name != "run_view"
            else {"exhibit": "hubness", "view": "occurrence", "settings": {"path": file}}
        )
        sent = httpx.post(f"{studio}/gradio_api/call/v2/{name}", json=body, timeout=60).json()
        answer = httpx.get(f"{studio}/gradio_api/call/{name}/{sent['event_id']}", timeout=60).text
        assert "none that was sent here" in answer


def test_too_few_values_get_a_sentence(studio):
    sent = httpx.post(f"{studio}/gradio_api/call/rope_similarity", json={"data": [64]}, timeout=60).json()
    assert (
        "send all of them" in httpx.get(f"{studio}/gradio_api/call/rope_similarity/{sent['event_id']}", timeout=60).text
    )


def test_a_visitor_cannot_guess_what_another_sent(studio):
    content = b"1,2\n3,4\n5,6\n"
    mine, theirs = (
        httpx.post(f"{studio}/gradio_api/upload", files={"files": (name, content)}, timeout=60).json()[0]
        for name in ("mine.csv", "theirs.csv")
    )
    assert httpx.get(f"{studio}/gradio_api/file={mine}", timeout=60).content == content
    folder = Path(theirs).parent
    assert len(folder.name) == 64 and folder.name != hashlib.sha256(content).hexdigest()  # it has a secret in it
    guesses = [
        folder,
        folder.parent,
        f"{folder.parent}/{hashlib.sha256(content).hexdigest()}/theirs.csv",
        f"{folder.parent}/theirs.csv",
    ]
    for guess in guesses:
        assert httpx.get(f"{studio}/gradio_api/file={guess}", timeout=60).status_code in (403, 404), guess
    # a result is asked for by a digest of all its settings; there is no list of those
    config = httpx.get(f"{studio}/config", timeout=60).json()
    desk = next(c["id"] for c in config["components"] if "fetch_npz" in str(c["props"]))
    for key in ("", "*", "0" * 32, "../" * 4):
        asked = {"data": key, "fn_name": "fetch_npz", "component_id": desk, "session_hash": "another"}
        answer = httpx.post(f"{studio}/gradio_api/component_server", json=asked, timeout=60)
        assert json.loads(answer.json()) == {"data": None}
