"""The experiments of the page and the command line, with a model that is one multiplication."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from engines.arguments import Refusal
from engines.ddcm import CodeError, Plan, __main__, decode, encode, fitting, psnr, unpack
from engines.ddcm.codec import PixelModel
from engines.ddcm.experiments import gaussian_rate, picture_code, rate_distortion, usual_codecs
from engines.ddcm.gaussian import cosine_schedule
from engines.ddcm.generation import TASKS, generate, measurement, mix_codes, restore
from engines.ddcm.pictures import entropy, held_back, typical_entropy


class Shrink(torch.nn.Module):
    """The best denoiser of independent standard normals."""

    def __init__(self):
        super().__init__()
        self.alphas_cumprod = torch.nn.Parameter(torch.from_numpy(cosine_schedule()).float(), requires_grad=False)

    def forward(self, x, t):
        return SimpleNamespace(sample=self.alphas_cumprod[t].sqrt() * x)


MODEL = PixelModel("shrink", b"shrink32", Shrink(), cosine_schedule(), "sample", 32)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fitting, "open_model", lambda name: MODEL)
    monkeypatch.setattr(__main__, "open_model", lambda name: MODEL)


def last(reports):
    reports = list(reports)
    assert [r.step for r in reports] == sorted(r.step for r in reports)
    assert reports[-1].step == reports[-1].total and reports[-1].result is not None
    return reports[-1].result


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    ramp = np.linspace(0, 255, 50 * 80 * 3).reshape(50, 80, 3).astype(np.uint8)
    Image.fromarray(ramp).save(path)
    return str(path)


@pytest.mark.parametrize("variant", ["shuffled", "reference", "turbo"])
def test_picture_code(variant):
    result = last(picture_code(emoji=6, steps=12, codebook_bits=6, atoms=2, variant=variant, seed=1))
    assert result.done and result.tiles == 1 and result.psnr > 5.5
    np.testing.assert_array_equal(decode(result.code.tobytes(), MODEL), result.decoded)
    np.testing.assert_array_equal(result.film[-1], result.decoded)
    told = unpack(result.code.tobytes())
    assert told.plan == Plan(12, 64, 2, 3, variant, 1) and len(told.payload) == result.payload_bytes
    assert result.indices.shape == (1, 11, 2) and result.alignment.shape == (11, 1)
    assert result.film_steps[-1] == 11 and np.isfinite(result.film_psnr).all()
    assert (np.diff(result.noise_level) < 0).all()


def test_partial_results_come_before_the_last():
    seen = [r.result for r in picture_code(steps=12) if r.result is not None]
    assert len(seen) > 3 and not seen[0].done and len(seen[0].film) < len(seen[-1].film)


def test_an_upload_is_coded_in_tiles(photo):
    result = last(picture_code(source="upload", upload=photo, pixels=64, steps=5))
    assert result.original.shape == (40, 64, 3) and result.tiles == 4
    np.testing.assert_array_equal(decode(result.code.tobytes(), MODEL), result.decoded)
    drawn = last(picture_code(source="drawing", drawing=photo, pixels=40, steps=4))
    assert drawn.decoded.shape == (25, 40, 3) and drawn.tiles == 2


def test_rate_distortion():
    result = last(
        rate_distortion(count=2, step_counts=(4, 9), codebook_bits=(4, 6), atom_counts=(1, 2), variants=("turbo",))
    )
    assert len(result.psnr) == 8 and result.done.all() and np.isfinite(result.ssim).all()
    assert (result.file_bytes > result.payload_bytes).all() and result.pictures.shape == (9, 32, 32, 3)
    assert (result.usual_bare < result.usual_file).all()


def test_usual_codecs_by_hand():
    picture = held_back()[5]
    table = usual_codecs([picture], ("jpeg",))
    from engines.ddcm.quality import QUALITIES, recode

    file, seen = recode(picture, "jpeg", QUALITIES[3])
    assert table[0, 3, 0] == len(file) and table[0, 3, 2] == pytest.approx(psnr(picture, seen))


def test_no_code_beats_shannon():
    result = gaussian_rate((5, 20, 60), (1, 6), size=256, sources=8)
    for rate, error in (
        (result.rate, result.shuffled),
        (result.rate, result.reference),
        (result.pursuit_rate, result.pursuit),
    ):
        assert (error > 0.8 * 4.0**-rate).all()  # a source of 256 numbers has a variance of its own
    np.testing.assert_allclose(result.alignment, result.expected, rtol=0.15)
    assert (np.diff(result.predicted, axis=0) < 0).all()  # larger books are better


def test_a_file_is_decoded_and_damaged(tmp_path):
    code = encode(held_back()[3], MODEL, steps=9, codebook_size=32)
    path = tmp_path / "some.ddcm"
    path.write_bytes(code)
    result = last(picture_code("file", file=str(path), flips=2))
    np.testing.assert_array_equal(result.decoded, decode(code, MODEL))
    assert (result.steps, result.codebook_size) == (9, 32) and result.code.tobytes() == code
    assert np.isnan(result.psnr) and result.original.size == 0
    assert result.damaged.shape == (8, 32, 32, 3) and (result.damaged_psnr < 99).any()
    path.write_bytes(code[:-1])
    with pytest.raises(CodeError, match="checksum"):
        list(picture_code("file", file=str(path)))
    path.write_bytes(bytes(2_000_000))
    with pytest.raises(CodeError, match="larger than 1 MB"):
        list(picture_code("file", file=str(path)))


def test_a_file_that_would_take_hours_is_refused(tmp_path):
    path = tmp_path / "long.ddcm"
    path.write_bytes(encode(np.zeros((8, 450, 3), np.uint8), MODEL, steps=1000, codebook_size=2))
    with pytest.raises(Refusal, match="at most 12,800"):
        list(picture_code("file", file=str(path)))


def test_a_file_of_tiles_and_of_turbo(tmp_path):
    path = tmp_path / "tiles.ddcm"
    image = np.tile(held_back()[3], (2, 2, 1))[:50, :40]
    path.write_bytes(encode(image, MODEL, steps=6, codebook_size=16, atoms=3, variant="turbo"))
    result = last(picture_code("file", file=str(path), flips=1))
    assert result.tiles == 4 and result.decoded.shape == (50, 40, 3)
    assert (result.damaged[:, 32:] == result.decoded[32:]).all()  # only the first tile is damaged


def test_a_code_is_damaged_as_it_is_made():
    whole, damaged = (last(picture_code(emoji=6, steps=8, flips=flips)) for flips in (0, 3))
    np.testing.assert_array_equal(whole.decoded, damaged.decoded)
    assert whole.damaged.shape == (0, 32, 32, 3) and damaged.damaged.shape == (7, 32, 32, 3)
    assert damaged.damaged_psnr[0] < 40


def test_random_codes():
    one, other = (last(generate("any", codebook_bits=(1, 5), count=3, steps=6, seed=seed)) for seed in (0, 1))
    assert one.done.all() and one.pictures.shape == (2, 3, 32, 32, 3) and np.isnan(one.classified).all()
    assert (one.pictures != other.pictures).any() and (one.distance > 1).all()
    again = last(generate("any", codebook_bits=(1, 5), count=3, steps=6, seed=0))
    np.testing.assert_array_equal(again.pictures, one.pictures)
    assert one.payload_bytes.tolist() == [1, 4] and one.compared.tolist() == [1, 1]


@pytest.mark.parametrize("task", TASKS)
def test_a_measurement_is_a_projection(task):
    hidden = torch.zeros(8, 8, dtype=torch.bool)
    hidden[2:5, 1:4] = True
    project, _ = measurement(task, hidden)
    a, b = torch.randn(2, 1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(project(a)), project(a))
    torch.testing.assert_close((project(a) * b).sum(), (a * project(b)).sum())


@pytest.mark.parametrize("task", [t for t in TASKS if t != "denoise"])
def test_restoration_meets_what_was_measured(task):
    """Better with larger books: there is more to choose from."""
    small, large = (
        last(restore(task, 6, steps=60, codebook_bits=bits, atoms=1, count=1)).agreement[0] for bits in (1, 9)
    )
    assert large > small + 1.5


def test_a_mask_is_drawn(tmp_path):
    path = tmp_path / "mask.png"
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, :20] = 0
    Image.fromarray(mask).save(path)
    result = last(restore("inpaint", 6, str(path), 4, count=1))
    grey = (result.degraded == 128).all(-1)
    assert grey[:, :9].all() and not grey[:, 12:].any()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    with pytest.raises(Refusal, match="hides everything"):
        list(restore("inpaint", 6, str(path)))


def test_denoising_listens_only_while_there_is_something_to_hear():
    """With noise of standard deviation 0.4 the choices of the last steps are not asked of the measurement."""
    result = last(restore("denoise", 6, steps=40, count=2))
    assert result.degraded_psnr < 20 and np.isfinite(result.psnr).all() and len(set(result.psnr)) == 2


def test_mixtures_go_from_one_to_the_other():
    result = last(mix_codes(6, 40, 40, 8))
    assert (np.diff(result.taken) > 0).all() and result.spliced.shape == result.blended.shape == (5, 32, 32, 3)
    for quality in (result.splice_psnr, result.blend_psnr):
        assert quality[0, 0] > quality[-1, 0] and quality[-1, 1] > quality[0, 1]


def test_entropies():
    assert entropy(np.repeat(np.arange(8), 5)) == pytest.approx(3)
    rng = np.random.default_rng(0)
    drawn = np.mean([entropy(rng.integers(0, 64, 50)) for _ in range(400)])
    assert typical_entropy(50, 64) == pytest.approx(drawn, abs=0.03)
    assert typical_entropy(0, 64) == 0 and typical_entropy(200_000, 2) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("view", "asked", "words"),
    [
        (picture_code, {"steps": 10**9}, "steps"),
        (picture_code, {"codebook_bits": 40}, "codebook_bits"),
        (picture_code, {"emoji": 64}, "emoji"),
        (picture_code, {"source": "thin air"}, "source"),
        (picture_code, {"source": "upload"}, "choose a file"),
        (picture_code, {"source": "drawing"}, "draw something"),
        (picture_code, {"variant": "best"}, "variant"),
        (picture_code, {"pixels": 10**6}, "pixels"),
        (rate_distortion, {"step_counts": ()}, "step_counts"),
        (rate_distortion, {"step_counts": (200, 199, 198), "count": 16}, "at most 12,800"),
        (rate_distortion, {"variants": ()}, "variants"),
        (gaussian_rate, {"step_counts": (math.nan,)}, "step_counts"),
        (gaussian_rate, {"step_counts": (1000, 999, 998), "codebook_bits": (10, 9), "size": 1024}, "too much to draw"),
        (gaussian_rate, {"schedule": "none"}, "schedule"),
        (generate, {"codebook_bits": (99,)}, "codebook_bits"),
        (generate, {"count": 10**6}, "count"),
        (restore, {"task": "everything"}, "task"),
        (mix_codes, {"other_emoji": -1}, "emoji"),
        (picture_code, {"flips": 100}, "flips"),
        (picture_code, {"source": "file"}, "no code yet"),
    ],
)
def test_bad_arguments_get_a_sentence(view, asked, words):
    with pytest.raises(Refusal, match=words):
        list(view(**asked))


def test_a_file_that_is_no_picture(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(Refusal, match="cannot be read as a picture"):
        list(picture_code(source="upload", upload=str(path)))
