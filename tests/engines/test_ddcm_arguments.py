"""Every public function of the codec answers each wrong argument with a sentence."""

import inspect
import math

import numpy as np
import pytest
import torch

from engines.arguments import rules
from engines.ddcm import books, choices, codec, experiments, file, gaussian, generation, pictures, plan, quality
from engines.ddcm.gaussian import Normals, cosine_schedule

PICTURE = np.zeros((8, 8, 3), np.uint8)
ALPHAS = cosine_schedule()
PLAN = plan.Plan(3, 8)
MODEL = Normals(12, ALPHAS)
CODE = file.pack(file.Code(PLAN, "m", b"12345678", 8, 8, 1, bytes(1)))


def choose(number, denoised, codebook):
    return torch.zeros(len(denoised), 1, dtype=torch.int64)


# function -> arguments that it takes; each is replaced by each of WRONG
CALLS = {
    plan.size_bits: {"steps": 3, "codebook_size": 8, "atoms": 2, "coefficient_bits": 3, "variant": "turbo"},
    codec.open_model: {"model": MODEL},
    codec.timesteps: {"steps": 3, "levels": 1000},
    codec.walk: {"model": MODEL, "plan": PLAN, "batch": 2, "choose": choose},
    codec.encode: {"image": PICTURE, "model": "ddpm-emoji-32"},
    codec.decode: {"code": CODE, "model": "ddpm-emoji-32"},
    codec.encode_batch: {"images": [], "model": "ddpm-emoji-32", "plan": PLAN},
    codec.cut: {"picture": PICTURE, "side": 4},
    file.unpack: {"data": CODE},
    gaussian.expected_maximum: {"count": 2},
    gaussian.linear_schedule: {"levels": 10},
    gaussian.cosine_schedule: {"levels": 10},
    gaussian.code_normals: {"plan": PLAN, "size": 12, "alphas_cumprod": ALPHAS, "sources": 1},
    gaussian.predict_error: {"steps": 3, "size": 12, "alphas_cumprod": ALPHAS, "alignment": 2.0},
    quality.psnr: {"one": PICTURE, "other": PICTURE},
    quality.ssim: {"one": PICTURE, "other": PICTURE},
    quality.recode: {"picture": PICTURE, "kind": "jpeg", "quality": 50},
    quality.bare_bytes: {"file": b""},
    pictures.fit: {"picture": PICTURE, "height": 4, "width": 4},
    pictures.scale: {"picture": PICTURE, "side": 4},
    pictures.emoji_picture: {"emoji": 0, "side": 32},
    pictures.entropy: {"values": np.arange(3)},
    pictures.typical_entropy: {"draws": 3, "size": 4},
}
WRONG = (
    None,
    "no such thing",
    -1,
    1.5,
    math.nan,
    10**30,
    [],
    object(),
    np.zeros((3, 0, 3)),
    np.zeros(5, complex),
    b"no code",
)
EXPERIMENTS = (
    experiments.picture_code,
    experiments.rate_distortion,
    experiments.gaussian_rate,
    generation.generate,
    generation.restore,
    generation.mix_codes,
    choices.choice_law,
    books.book_distance,
    books.book_quality,
)


def refused(function, arguments):
    """Whether a call is refused with a sentence; anything but that and success fails."""
    try:
        result = function(**arguments)
        if inspect.isgenerator(result):
            next(result)
    except ValueError as fault:
        assert str(fault)[:1].isupper() or " " in str(fault), fault
        assert str(fault).rstrip().endswith((".", ")")) or "model" in str(fault), fault
        assert "broadcast" not in str(fault) and "array is ambiguous" not in str(fault), fault
        return True
    return False


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_each_wrong_argument_is_answered_with_a_sentence(function):
    right = CALLS[function]
    for name in right:
        count = sum(refused(function, right | {name: value}) for value in WRONG)
        assert count >= 6, (name, count)


@pytest.mark.parametrize("function", EXPERIMENTS, ids=lambda function: function.__name__)
def test_each_wrong_setting_is_answered_with_a_sentence(function):
    settings = [name for name in inspect.signature(function).parameters if name in rules(function)]
    assert settings
    for name in settings:
        for value in WRONG[2:]:
            if name == "seed" and isinstance(value, str):
                continue
            assert refused(function, {name: value}), (name, value)


def test_a_path_that_is_none_is_answered_with_a_sentence():
    for value in (5, object(), "no/such/file", "nul\0byte", b"\xff"):
        assert refused(experiments.picture_code, {"source": "upload", "upload": value})
        assert refused(experiments.picture_code, {"source": "file", "file": value})
        assert refused(generation.restore, {"mask": value, "steps": 2, "count": 1})
