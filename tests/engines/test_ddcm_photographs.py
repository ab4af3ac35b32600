"""Codes of photographs in latents: what is encoded is decoded, bit for bit, by all that the file says."""

import dataclasses
import math
import zlib

import numpy as np
import pytest
import torch

from engines import latents, models
from engines.ddcm import photographs
from engines.ddcm.file import CodeError, LatentCode, pack, unpack
from engines.ddcm.gaussian import expected_maximum, predict_error
from engines.ddcm.photographs import code_photograph, decode_photograph, encode_photograph, header
from engines.ddcm.plan import Plan, size_bits
from engines.ddcm.quality import MODERN, psnr, recode
from tests.engines.test_latents import NAMES, hub, saved  # noqa: F401

SIDE = 32
PLANS = [
    Plan(6, 64, 3, 3, "shuffled", 1),
    Plan(4, 256, 150, 3, "turbo", 2),
    Plan(4, 32, 2, 2, "reference", 3),
]


def picture(side=SIDE):
    rows, columns = np.mgrid[:side, :side] / side
    return (255 * np.stack([rows, columns, (rows + columns) / 2], -1)).astype(np.uint8)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.variant)
@pytest.mark.parametrize("kind", ["sd15", "sd21", "sd3", "sdxl", "lcm"])
def test_what_is_encoded_is_decoded_bit_for_bit(kind, plan, hub):  # noqa: F811
    model = latents.open_model(NAMES[kind], SIDE)
    code = header(model, NAMES[kind], plan, SIDE, "a cat 山", "grey", 3.3)
    file, decoded = encode_photograph(picture(), model, code)
    assert (decode_photograph(file) == decoded).all()
    said = unpack(file)
    assert said == dataclasses.replace(code, payload=said.payload) and said.revision == models.HUB[NAMES[kind]][1]
    assert len(said.payload) == -(-plan.tile_bits // 8)
    assert decoded.std() > 5


def test_the_error_in_latents_is_the_one_predicted_for_normal_numbers(hub):  # noqa: F811
    """The best denoiser of N(0, I), in place of the network: the error is that of the recursion of two moments."""
    model = latents.open_model(NAMES["sd15"], SIDE)
    noise = torch.from_numpy(np.sqrt(1 - model.levels)).float()
    model.net.forward = lambda x, t, **more: (x * noise[t],)
    target = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    try:
        for steps in (10, 60):
            code = header(model, NAMES["sd15"], Plan(steps, 1024), 64)
            *_, last = photographs.follow(photographs.conditioned(model, code), code.plan, photographs.encoder(target))
            error = float((last.latents - target).square().mean())
            assert error == pytest.approx(predict_error(steps, 4096, model.levels, expected_maximum(1024)), rel=0.05)
    finally:
        del model.net.forward


def test_the_published_rates():
    assert size_bits(1000, 8192, 17, 3) == 268_731
    sets = (math.lgamma(8193) - math.lgamma(151) - math.lgamma(8043)) / math.log(2)
    assert size_bits(1000, 8192, 150, 3, "turbo") == 999 * (math.ceil(sets) + 150)


def test_a_file_of_latents_is_checked(hub):  # noqa: F811
    model = latents.open_model(NAMES["sd15"], SIDE)
    code = header(model, NAMES["sd15"], Plan(3, 16), SIDE, "猫", "", 2.0)
    file, _ = encode_photograph(picture(), model, code)

    def resealed(data):
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")

    for i in range(0, len(file), 7):
        with pytest.raises(CodeError):
            unpack(file[:i] + bytes([file[i] ^ 1]) + file[i + 1 :])
    for cut in range(5, len(file), 11):
        with pytest.raises(CodeError):
            decode_photograph(resealed(file[: len(file) - cut]))
    old = dataclasses.replace(unpack(file), revision="0" * 40)
    with pytest.raises(CodeError, match="made with commit 000000000000"):
        decode_photograph(pack(old))
    with pytest.raises(CodeError, match="have this shape"):
        decode_photograph(pack(dataclasses.replace(unpack(file), shape=(4, 16, 17))))
    assert isinstance(unpack(file), LatentCode)


def test_the_codecs_of_today():
    sizes = [len(recode(picture(128), kind, 50)[0]) for kind in MODERN]
    assert all(100 < size < 20_000 for size in sizes)
    assert all(psnr(picture(128), recode(picture(128), kind, 90)[1]) > 35 for kind in MODERN)


def test_a_picture_beside_the_usual_codecs_and_its_file_again(hub, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(photographs, "SIDES", ("64",))
    settings = {"model": NAMES["sd15"], "step_counts": (3, 5), "atom_counts": (2,), "codebook_bits": 6, "side": "64"}
    run = photographs.code_photograph.__wrapped__  # 512 pixels take too long here
    said = list(run(**settings, prompt="a cat"))
    result = said[-1].result
    assert said[-1].step == said[-1].total == 8 and result.done.all()
    assert result.psnr.shape == (2,) and np.isfinite(result.ssim).all() and np.isfinite(result.through_psnr)
    assert result.usual == MODERN and (np.diff(result.usual_bytes[1]) > 0).all()
    assert (result.film[-1] == result.pictures[-1]).all() and result.film_bytes[-1] == result.payload_bytes[-1]
    place = tmp_path / "a.ddcm"
    place.write_bytes(result.code.tobytes())
    with pytest.raises(ValueError, match="was made with stable-diffusion-v1-5/stable-diffusion-v1-5: choose it"):
        list(run(model=NAMES["turbo"], source="file", file=str(place)))
    turbo = latents.open_model(NAMES["turbo"], SIDE)
    with pytest.raises(CodeError, match="choose it"):
        decode_photograph(place.read_bytes(), turbo)
    *_, again = run(model=NAMES["sd15"], source="file", file=str(place))
    assert again.result.model == NAMES["sd15"] and again.result.prompt == "a cat"
    assert (again.result.pictures[0] == result.pictures[-1]).all()


def test_without_a_model_nothing_is_fetched_and_no_file_read(monkeypatch):
    monkeypatch.setattr(models, "load", None)
    for source in ("emoji", "upload", "file"):
        (said,) = code_photograph(source=source)
        assert len(said.result.done) == 0


def test_what_cannot_be_is_a_sentence(hub, tmp_path):  # noqa: F811
    (tmp_path / "x.ddcm").write_bytes(b"DDCM")
    for settings, says in (
        ({"source": "upload"}, "There is no picture yet"),
        ({"source": "file"}, "There is no code yet"),
        ({"source": "file", "file": str(tmp_path / "x.ddcm")}, "cut short"),
        ({"step_counts": (1000,), "atom_counts": (1,)}, "more than the 400"),
        ({"model": "nonsense"}, "There is no model named"),
        ({"atom_counts": (64,), "codebook_bits": 5}, "atoms must be a whole number from 1 to 32"),
        ({"guidance": 0.5}, "guidance must be a number from 1"),
    ):
        with pytest.raises(ValueError, match=says):
            list(code_photograph(**{"model": NAMES["sd15"], **settings}))


def test_a_lost_device_is_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="lost"), latents.within_memory("x"):
        raise RuntimeError("the device was lost")
    with pytest.raises(ValueError, match="does not suffice"), latents.within_memory("x"):
        raise torch.OutOfMemoryError("CUDA out of memory")
