"""Codes of photographs in latents: what is encoded is decoded, bit for bit, by all that the file says."""

import dataclasses
import math
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from engines import latents, models
from engines.ddcm import photographs
from engines.ddcm.__main__ import main
from engines.ddcm.codec import decode
from engines.ddcm.file import CodeError, LatentCode, pack, unpack
from engines.ddcm.gaussian import expected_maximum, predict_error
from engines.ddcm.photographs import code_photograph, decode_photograph, encode_photograph, header
from engines.ddcm.pictures import fit
from engines.ddcm.plan import Plan, size_bits
from engines.ddcm.quality import MODERN, psnr, recode
from engines.progress import Progress
from studio.exhibits.ddcm.figures_photographs import draw_photograph
from studio.figure import Figure
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

    for made in (result, again.result):
        *shown, folded = draw_photograph(made)
        assert len(folded.panels if hasattr(folded, "panels") else folded.inner) == 2
        assert any(type(panel).__name__ == "File" for panel in shown)
    assert len(draw_photograph(result)) == len(draw_photograph(again.result)) + 2  # the original is known
    quality = next(panel for panel in draw_photograph(result, "ssim")[1:] if isinstance(panel, Figure))
    assert sum(len(trace["x"]) for trace in quality.data if "x" in trace) > 0


def test_without_a_model_the_included_one_codes_a_photograph_in_pixels(monkeypatch):
    monkeypatch.setattr(models, "fetch", None)
    *_, last = code_photograph(step_counts=(3,), atom_counts=(1,), codebook_bits=4, prompt="unread")
    result = last.result
    assert result.model == "ddpm-cifar10-32" and not result.prompt and not result.through.size
    assert (decode(result.code.tobytes(), result.model) == result.pictures[-1]).all()
    shown = draw_photograph(result)
    assert len(shown[0].data) == 5 and "ddpm-cifar10-32" in shown[2].text  # the film, and what made it
    with pytest.raises(ValueError, match="Choose the model"):  # before the file is read
        list(code_photograph(source="file", file="any"))


def run_small(monkeypatch, **settings):
    """The last result of a run at 64 pixels."""
    monkeypatch.setattr(photographs, "SIDES", ("64",))
    given = {"model": NAMES["sd15"], "step_counts": (2,), "atom_counts": (1,), "codebook_bits": 3, "side": "64"}
    *_, last = photographs.code_photograph.__wrapped__(**given | settings)
    return last.result


def test_an_upload_is_scaled_once(hub, monkeypatch, tmp_path):  # noqa: F811
    stripes = np.zeros((128, 256, 3), np.uint8)
    stripes[:, (np.arange(256) // 2) % 2 == 0] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    result = run_small(monkeypatch, source="upload", upload=str(tmp_path / "stripes.png"))
    assert (result.original == fit(stripes, 64, 64)).all() and result.original.std() > 80


def test_a_file_may_be_of_any_shape(hub, monkeypatch, tmp_path):  # noqa: F811
    model = latents.open_model(NAMES["sd15"], SIDE)
    code = dataclasses.replace(header(model, NAMES["sd15"], Plan(3, 16), SIDE), width=48, shape=(4, 16, 24))
    file, decoded = encode_photograph(picture(48)[:SIDE], model, code)
    (tmp_path / "wide.ddcm").write_bytes(file)
    result = run_small(monkeypatch, source="file", file=str(tmp_path / "wide.ddcm"))
    assert result.pictures.shape == (1, SIDE, 48, 3) and (result.pictures[0] == decoded).all()
    assert draw_photograph(result)


def test_a_codebook_too_large_is_refused_before_anything_is_fetched(hub, monkeypatch):  # noqa: F811
    monkeypatch.setattr(models, "_download", None)
    asked = {"model": NAMES["sd3"], "side": "768", "step_counts": (5,), "atom_counts": (1,)}
    with pytest.raises(ValueError, match="codebook_size is too large"):
        list(code_photograph(**asked, codebook_bits=14))
    assert next(code_photograph(**asked)) == Progress(0, 5, None)  # the default is not


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sd3"])
def test_another_machine_decodes_within_a_grey_level(kind, hub):  # noqa: F811
    """As far as tiny models tell: with as many threads as it may have, and weights moved by the last bit."""
    model = latents.open_model(NAMES[kind], SIDE)
    file, decoded = encode_photograph(picture(), model, header(model, NAMES[kind], Plan(6, 64, 3), SIDE, "a cat"))
    other = latents.from_folder(saved(kind)[0], torch.device("cpu")).eval().requires_grad_(False)
    moved, generator = 0, torch.Generator().manual_seed(0)
    for weight in other.net.parameters():
        near = weight * (1 + 1e-7 * torch.randn(weight.shape, generator=generator))
        moved += int((near != weight).sum())
        weight.data.copy_(near)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if threads != 3 else 2)
    try:
        found = decode_photograph(file, other)
    finally:
        torch.set_num_threads(threads)
    assert moved > 1000 and np.abs(found.astype(int) - decoded).max() <= 1


def test_a_folder_goes_on_after_a_picture_that_cannot_be(hub, monkeypatch, tmp_path, capsys):  # noqa: F811
    for name, shape in (("a", (8, 4097)), ("b", (32, 32)), ("c", (32, 32))):
        Image.new("RGB", shape, "red").save(tmp_path / f"{name}.png")
    told = ["--steps", "2", "--codebook-size", "8"]
    (tmp_path / "c.ddcm").mkdir()
    assert main(["encode", str(tmp_path), *told, "--overwrite"]) == 1  # c.ddcm cannot be written over
    assert (tmp_path / "b.ddcm").is_file() and not (tmp_path / "a.ddcm").exists()
    (tmp_path / "b.png").write_bytes(b"no picture any more")
    model = latents.open_model(NAMES["sd15"], SIDE)
    file, decoded = encode_photograph(picture(), model, header(model, NAMES["sd15"], Plan(3, 16), SIDE))
    (tmp_path / "d.ddcm").write_bytes(file)
    (tmp_path / "e.ddcm").write_bytes(file)
    (tmp_path / "e.decoded.png").mkdir()
    capsys.readouterr()
    assert main(["decode", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert (tmp_path / "b.decoded.png").exists() and f"{NAMES['sd15']} decodes it" in said
    assert main(["decode", str(tmp_path), "--model", NAMES["sd15"], "--overwrite"]) == 1  # e cannot be written
    assert (np.asarray(Image.open(tmp_path / "d.decoded.png")) == decoded).all()
    assert "This code is of pixels" in capsys.readouterr().out


def test_codecs_that_pillow_lacks_are_left_out(hub, monkeypatch):  # noqa: F811
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    result = run_small(monkeypatch)
    assert result.usual == ("webp", "jpeg") and len(result.usual_pictures) == 2


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
