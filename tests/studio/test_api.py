"""The API as a notebook on another machine meets it."""

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

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
    assert set(names) == {f"/{exhibit}_{view}".replace("-", "_") for exhibit, view in slugs}
