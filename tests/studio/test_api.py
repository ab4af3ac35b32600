"""The API as a notebook on another machine meets it."""

import base64
import hashlib
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from studio.api import returned
from studio.exhibit import Drawing, Upload
from studio.exhibits import EXHIBITS
from studio.results import arrays
from studio.tools import describe_view


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
    assert "head_dim=64" in told["link"] and len(said) < 20_000
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
