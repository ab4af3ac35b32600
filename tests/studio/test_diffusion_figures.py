"""What diffusion's figures of pictures say."""

from types import SimpleNamespace

import numpy as np

from studio.exhibits.diffusion.figures import draw_images, sheet
from studio.exhibits.diffusion.figures_prompt import notes
from studio.hub import LATENT


def test_each_picture_stands_in_the_column_of_its_scheduler_and_the_row_of_its_steps():
    images = np.arange(2 * 3, dtype=np.uint8).reshape(2, 3, 1, 1, 1, 1) * np.ones((2, 3, 1, 4, 4, 3), np.uint8)
    nfe = np.array([[5, 10, 20], [6, 11, 21]])
    result = SimpleNamespace(
        schedulers=("ddim", "heun"), steps=np.array([5, 10, 20]), images=images, nfe=nfe, seconds=nfe / 10.0,
        done=nfe > 0, label="none", film_calls=np.zeros((2, 0), int),
    )  # fmt: skip
    [shown] = draw_images(result)
    assert list(shown.columns) == ["DDIM", "Heun (EDM)"] and len(shown.rows) == 3
    np.testing.assert_array_equal(shown.images[3], sheet(images[1, 1]))
    assert shown.captions[3].startswith("11 NFE")


def test_only_models_of_the_hub_are_said_to_sample_latents():
    own = {"tokens": 0, "read": 0, "device": "cpu", "pictures": np.zeros((1, 1, 32, 32, 3), np.uint8)}
    included = SimpleNamespace(models=("ddpm-cifar10-32",), label="horse", guidance=np.array([1.5]), **own)
    of_the_hub = SimpleNamespace(models=(list(LATENT)[1], list(LATENT)[4]), label="", guidance=np.ones(2), **own)
    said = [notes(result)[0].text for result in (included, of_the_hub)]
    assert ["latents, 4 or 16" in text for text in said] == [False, True]
    assert ["few-step model" in text for text in said] == [False, True]
