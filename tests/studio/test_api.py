"""The API as a notebook on another machine meets it."""

import base64
import io
import json

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from studio.exhibit import Drawing, Upload
from studio.exhibits import EXHIBITS
from studio.results import arrays


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


def test_an_endpoint_takes_all_controls_but_files(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for exhibit in EXHIBITS:
        for view in exhibit.views:
            endpoint = endpoints[f"/{exhibit.slug}_{view.slug}".replace("-", "_")]
            told = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
            wanted = [n for n, control in view.controls.items() if not isinstance(control, Upload | Drawing)]
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
        ({"exhibit": "rope", "view": "similarity", "settings": {"nosuch": 1}}, "is no setting of rope/similarity"),
        ({"exhibit": "ddcm", "view": "picture", "settings": {"upload": "/etc/passwd"}}, "is no setting of"),
        ({"exhibit": "rope", "view": "similarity", "settings": {"head_dim": 1e9}}, "Head dimension d: give a number"),
    ],
)
def test_a_tool_says_what_is_wrong(client, asked, sentence):
    with pytest.raises(AppError) as fault:
        client.predict(**asked, api_name="/run_view")
    assert sentence in str(fault.value)
