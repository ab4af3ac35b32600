"""What DDCM's figures say is what the results hold."""

import base64
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from engines.ddcm.experiments import gaussian_rate, picture_code
from studio.exhibits.ddcm.figures import compare_at_equal_rate, draw_code, film_figure
from studio.exhibits.ddcm.figures_photographs import of_the_model
from studio.hub import LATENT
from studio.panels import Writing, pack


@pytest.fixture(scope="module")
def coded():
    *_, last = picture_code(emoji=6, steps=6, codebook_bits=4)
    return last.result


def test_the_letters_are_the_payload(coded):
    writing = next(panel for panel in draw_code(coded) if isinstance(panel, Writing))
    letters = "".join(piece.text for piece in writing.frames[0][0])
    assert base64.b64decode(letters) == coded.code.tobytes()[-4 - coded.payload_bytes : -4]


@pytest.mark.parametrize("side", [96, 512])
def test_a_film_of_a_large_picture_is_a_small_figure(coded, side):
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    frames = 25 if side == 96 else 8
    film = np.stack([np.roll(picture, i, 0) for i in range(frames)])
    large = dataclasses.replace(
        coded,
        original=picture,
        decoded=film[-1],
        film=film,
        film_steps=np.arange(frames),
        film_bytes=np.arange(frames),
        film_psnr=np.arange(frames) + 1.0,
    )
    figure = draw_code(large)[0]
    assert len(pack(figure)) < 300_000
    assert 2 <= len(figure.frames) == len(figure.extra["scrub"]["labels"])
    assert json.loads(pack(figure))["figure"]["data"][0]["source"] == figure.frames[-1][0]["source"]


def test_a_code_is_compared_with_itself_at_equal_rates():
    result = gaussian_rate((5, 20), (3,), 64, 1)
    same = dataclasses.replace(result, pursuit_rate=result.rate.repeat(3, 0), pursuit=result.shuffled.repeat(3, 0))
    gaps, calls = compare_at_equal_rate(same)
    assert len(gaps) == 2 and np.allclose(gaps, 0) and calls == pytest.approx(1)
    worse = dataclasses.replace(same, pursuit=10 * same.pursuit)
    assert np.allclose(compare_at_equal_rate(worse)[0], 10)


def test_the_size_stands_above_a_curve_that_ends_near_the_right_edge(coded):
    names = ("decoded", "original", "film", "film_bytes", "film_psnr")
    shown = SimpleNamespace(**{name: getattr(coded, name) for name in names}, film_steps=coded.film_bytes)
    [size] = [note for note in film_figure(shown, "").layout["annotations"] if "bytes" in note["text"]]
    assert size["yanchor"] == "bottom" and size["yshift"] > 0 and size["xanchor"] == "right"


def test_only_models_of_the_hub_are_said_to_work_in_latents():
    said = {name: of_the_model(SimpleNamespace(model=name)) for name in ("ddpm-cifar10-32", list(LATENT)[1])}
    assert ["latents" in text for text in said.values()] == [False, True]
