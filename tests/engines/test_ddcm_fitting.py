"""Which model codes a picture, with the embedded ones."""

import numpy as np
import pytest
import torch

from engines.arguments import Refusal
from engines.ddcm import fitting, open_model
from engines.ddcm.codec import to_tensor, wrap
from engines.ddcm.experiments import picture_code
from engines.ddcm.fitting import choose_model
from engines.ddcm.pictures import held_back, photographs
from engines.recipes.ddpm_emoji import build, make_scheduler, v_loss


def last(reports):
    return list(reports)[-1].result


def test_a_photograph_is_coded_with_the_model_that_fits_it_and_decoded_with_the_one_its_file_names(tmp_path):
    result = last(picture_code(source="photograph", photograph=36, steps=2, codebook_bits=4))
    assert result.model == "ddpm-cifar10-32" and result.losses.argmin() == 1 and len(result.losses) == 2
    np.testing.assert_array_equal(result.original, photographs()[36])
    (tmp_path / "horse.ddcm").write_bytes(result.code.tobytes())
    again = last(picture_code(source="file", file=str(tmp_path / "horse.ddcm")))
    assert again.model == result.model and not again.losses.size
    np.testing.assert_array_equal(again.decoded, result.decoded)
    told = last(picture_code(source="photograph", photograph=36, steps=2, codebook_bits=4, model="ddpm-emoji-32"))
    assert told.model == "ddpm-emoji-32" and not told.losses.size


def test_each_models_own_pictures_fit_it():
    for number, pictures in enumerate((held_back(), photographs())):
        for tiles in (pictures[3:5], pictures[40:42]):
            assert choose_model(tiles)[1].argmin() == number


def test_the_loss_is_the_one_that_the_recipes_measure(monkeypatch):
    """Of v, where x̂0 stays within the range of pixels."""
    monkeypatch.setattr(fitting, "LEVELS", (0.1,))
    net, scheduler = build((8, 16)).eval().requires_grad_(False), make_scheduler()
    tiles = np.full((3, 32, 32, 3), 128, np.uint8)
    clean = to_tensor(tiles)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32))
    theirs = v_loss(net, scheduler, clean, noise, torch.full((3,), 100)).mean()
    ours = fitting.denoising_loss(wrap("small", b"12345678", net, scheduler), tiles)
    assert ours == pytest.approx(float(theirs), rel=1e-4)


def test_a_larger_model_affords_fewer_calls():
    small, large = open_model("ddpm-emoji-32"), open_model("ddpm-cifar10-32")
    fitting.afford(fitting.MOST_CALLS, small)
    with pytest.raises(Refusal, match=r"about 1 minutes .* at most 2,7\d\d are"):
        fitting.afford(fitting.MOST_CALLS // 4, large)
