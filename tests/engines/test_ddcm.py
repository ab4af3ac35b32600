"""The codec: sizes, books, round trips with a tiny network that the tests make themselves, damage of every kind."""

import dataclasses
import itertools
import math
import random
import struct
import tracemalloc
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.arguments import Refusal
from engines.ddcm import CodeError, Plan, decode, encode, encode_batch, psnr, size_bits, ssim, unpack
from engines.ddcm.codebook import Codebook, make_table, normals
from engines.ddcm.codec import PixelModel, cut, decoder, encoder, join, timesteps, to_tensor, walk, wrap
from engines.ddcm.file import HEADER, Code, pack, payload, symbols
from engines.ddcm.gaussian import (
    Normals,
    code_normals,
    cosine_schedule,
    expected_maximum,
    linear_schedule,
    predict_error,
)
from engines.ddcm.plan import VARIANTS, rank, unrank
from engines.ddcm.quality import bare_bytes, recode

SETTINGS = [
    {"atoms": 1},
    {"atoms": 3, "coefficient_bits": 2},
    {"atoms": 2, "coefficient_bits": 1},
]
PLANS = [
    pytest.param(Plan(steps=5, codebook_size=32, variant=variant, seed=3, **more), id=f"{variant}-{more['atoms']}")
    for variant, more in itertools.product(VARIANTS, SETTINGS)
]


@pytest.fixture(scope="module")
def tiny():
    """An untrained UNet2DModel of 8 x 8 pixels."""
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    net = UNet2DModel(sample_size=8, layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    return wrap("tiny", b"12345678", net.eval().requires_grad_(False), scheduler)


class Nothing(torch.nn.Module):
    """A network that sees grey everywhere: the quickest there is."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, t):
        return type("Output", (), {"sample": torch.zeros_like(x)})


GREY = PixelModel("grey", b"greygrey", Nothing(), cosine_schedule(), "sample", 8)


def picture(height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# -- sizes and numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "bits"),
    [
        ((1000, 256), 7992),  # 999 bytes; at 512 x 512 pixels 0.030487 bits each
        ((100, 256), 792),  # 99 bytes
        ((1000, 64, 1), 5994),
        ((1000, 8192, 6, 1), 999 * (6 * 13 + 5)),
        ((50, 256, 2, 3), 49 * (16 + 3)),
        ((1000, 8192, 17, 3), 268_731),
        ((20, 8192, 150, 3, "turbo"), 19 * (math.ceil(math.log2(math.comb(8192, 150))) + 150)),
        ((100, 256, 3, 3, "turbo"), 99 * (math.ceil(math.log2(math.comb(256, 3))) + 3)),
    ],
)
def test_sizes(asked, bits):
    assert size_bits(*asked) == bits


def test_bits_per_pixel_of_the_paper():
    assert size_bits(1000, 256) / 512**2 == pytest.approx(0.030487, abs=5e-7)


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))])
def test_expected_maximum_in_closed_form(count, expected):
    assert expected_maximum(count) == pytest.approx(expected, abs=1e-10)


def test_sets_are_numbered():
    assert [rank(list(c)) for c in sorted(itertools.combinations(range(6), 3), key=lambda c: c[::-1])] == list(
        range(20)
    )
    for number in (0, 1, 12345, math.comb(256, 5) - 1):
        assert rank(unrank(number, 256, 5)) == number
    draws = random.Random(0)
    for size, count in ((8192, 150), (8192, 8), (16384, 1), (1000, 40), (256, 12), (9, 9), (8, 3)):
        sets = math.comb(size, count)
        chosen = [rank(sorted(draws.sample(range(size), count))) for _ in range(3)]
        for number in (0, sets - 1, min(7, sets - 1), draws.randrange(sets), *chosen):
            assert unrank(number, size, count) == by_bisection(number, size, count)


def by_bisection(number, size, count):
    """The set of a rank, with a new binomial at every question."""
    indices, high = [], size
    for i in range(count, 0, -1):
        low = i - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if math.comb(middle, i) <= number else (low, middle)
        indices.append(low)
        number -= math.comb(low, i)
        high = low
    return indices[::-1]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_words_hold_their_symbols(data):
    size = 1 << data.draw(st.integers(1, 14))
    atoms = data.draw(st.integers(1, min(150, size)))
    plan = Plan(2, size, atoms, data.draw(st.integers(1, 6)), data.draw(st.sampled_from(sorted(VARIANTS))))
    if plan.variant == "turbo":
        chosen = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=atoms, max_size=atoms)))
        told = chosen + data.draw(st.lists(st.integers(0, 1), min_size=atoms, max_size=atoms))
    else:
        told = [data.draw(st.integers(0, limit - 1)) for limit in plan.symbol_limits]
    assert plan.symbols(plan.word(told)) == told and plan.word(told) < 1 << plan.step_bits


# -- books ------------------------------------------------------------------------------------------------------------


PINNED = (
    [0.059911035001277924, 0.015559634193778038, -1.1644384860992432],
    [0.642376720905304, -1.2540171146392822, -0.4457673132419586, -1.651780605316162],
    [-0.4457673132419586, -1.651780605316162, -1.2540171146392822, -0.642376720905304],
)


def test_codebooks_are_pinned():
    """If these change, every code ever made decodes to noise."""
    np.testing.assert_allclose(normals(0, 0, 0, 0, (3,)), PINNED[0], rtol=2e-7)
    np.testing.assert_allclose(make_table(Plan(seed=7), 4)[17], PINNED[1], rtol=2e-7)
    page = Codebook(Plan(seed=7), 4, torch.device("cpu")).at(2)
    np.testing.assert_allclose(page.noise(torch.tensor([[17]]))[0], PINNED[2], rtol=2e-7)


@pytest.mark.parametrize("variant", ["shuffled", "reference"])
def test_atoms_are_distributed_as_normals(variant):
    """Moments of one atom over 400 steps, and its correlation from step to step."""
    codebook = Codebook(Plan(codebook_size=2, variant=variant), 256, torch.device("cpu"))
    drawn = torch.cat([codebook.at(step).noise(torch.tensor([[1]])) for step in range(400)]).double()
    chance = 1 / math.sqrt(drawn.numel())
    assert abs(drawn.mean()) < 4 * chance and abs((drawn**4).mean() - 3) < 40 * chance + 0.6 * (variant == "shuffled")
    assert abs((drawn[1:] * drawn[:-1]).mean()) < 4 * chance
    neighbours = (drawn[:, 1:] * drawn[:, :-1]).mean()
    assert abs(neighbours) < 4 * chance


@pytest.mark.parametrize("plan", PLANS)
def test_what_is_picked_agrees_with_the_residual(plan):
    """One atom: the best of all, by looking at each; more atoms: at least as good."""
    page = Codebook(plan, 48, torch.device("cpu")).at(1)
    residual = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    reached = (page.noise(page.choose(residual)) * residual).sum(1)
    one = Codebook(dataclasses.replace(plan, atoms=1), 48, torch.device("cpu")).at(1)
    every = torch.arange(32)[:, None]
    if plan.variant == "turbo":
        every = torch.cat([torch.cat([every, torch.full_like(every, s)], 1) for s in (0, 1)])
    best = (residual @ one.noise(every).T).max(1).values
    if plan.atoms == 1:
        torch.testing.assert_close(reached, best)
    elif plan.variant == "turbo":  # a combination is scaled to a typical norm, the atom alone is not
        assert (reached > best).float().mean() >= 0.6
    else:
        assert (reached > best - 1e-4).all()


def test_pursuit_tries_every_atom_and_coefficient():
    """The second atom and its coefficient are the best of all K (2^C − 1), by trying each."""
    plan = Plan(steps=2, codebook_size=16, atoms=2, coefficient_bits=3)
    page = Codebook(plan, 40, torch.device("cpu")).at(0)
    residual = torch.randn(6, 40, generator=torch.Generator().manual_seed(1))
    picked = page.choose(residual)
    for row, chosen in zip(residual, picked, strict=True):
        tried = torch.tensor([[chosen[0], k, j] for k in range(16) for j in range(8)])
        assert page.noise(chosen[None])[0] @ row == pytest.approx((page.noise(tried) @ row).max().item(), rel=1e-5)


def test_one_bit_of_coefficient_makes_atoms_useless():
    plan = Plan(steps=5, codebook_size=32, atoms=4, coefficient_bits=1)
    page = Codebook(plan, 48, torch.device("cpu")).at(1)
    residual = torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
    single = Codebook(Plan(steps=5, codebook_size=32), 48, torch.device("cpu")).at(1)
    one, four = single.noise(single.choose(residual)), page.noise(page.choose(residual))
    assert torch.nn.functional.cosine_similarity(one, four).min() > 1 - 1e-5  # only its length may change


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
def test_round_trip(plan, tiny):
    for height, width in ((8, 8), (5, 19)):
        image = picture(height, width)
        (coded,) = encode_batch([image], tiny, plan)
        told = unpack(coded.code)
        assert (told.plan, told.model, told.height, told.width) == (plan, "tiny", height, width)
        count = told.tiles(8)
        assert len(told.payload) == math.ceil(
            count * size_bits(5, 32, plan.atoms, plan.coefficient_bits, plan.variant) / 8
        )
        np.testing.assert_array_equal(decode(coded.code, tiny), coded.picture)
        assert coded.picture.shape == image.shape
        assert symbols(told, 8).shape == (count, 4, plan.width)
        assert payload(plan, symbols(told, 8)) == told.payload


def test_a_code_of_a_batch_is_decoded_alone_bit_for_bit(tiny):
    images = [picture(8, 8 + 9 * i, i) for i in range(5)]  # 19 tiles
    for image, coded in zip(images, encode_batch(images, tiny, Plan(6, 16)), strict=True):
        assert unpack(coded.code).batch == 16
        np.testing.assert_array_equal(decode(coded.code, tiny), coded.picture)
        assert coded.picture.shape == image.shape


def test_public_names_agree(tiny):
    image, told = picture(), []
    code = encode(image, tiny, steps=4, codebook_size=8, atoms=2, coefficient_bits=2, variant="turbo", seed=9)
    assert code == encode_batch([image], tiny, Plan(4, 8, 2, 2, "turbo", 9))[0].code
    decode(code, tiny, watch=lambda done, total: told.append((done, total)))
    assert told == [(i, 4) for i in range(1, 5)]
    assert encode_batch([], tiny) == []


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 17)])
def test_tiles(size):
    image = picture(*size)
    np.testing.assert_array_equal(join(cut(image, 8), *size), image)


def test_posterior_step():
    """Each step is a draw from q(x_s | x_t, x̂0), by Bayes from q(x_t | x_s) and q(x_s | x̂0), with the noise of the book."""
    kept, plan = linear_schedule(), Plan(20, 4)
    model, seen = Normals(12, kept), []

    def denoise(x, t):
        seen.append((x.double(), t))
        return model.denoise(x, t)

    watched = SimpleNamespace(alphas_cumprod=kept, shape=model.shape, device=model.device, denoise=denoise)
    moments = list(walk(watched, plan, 1, lambda step, denoised, page: torch.tensor([[step % 4]])))
    for moment, (x, t), (after, s) in zip(moments, seen, seen[1:], strict=False):
        prior, ratio = 1 - kept[s], kept[t] / kept[s]
        variance = 1 / (1 / prior + ratio / (1 - ratio))
        mean = variance * (kept[s] ** 0.5 * moment.denoised.double() / prior + ratio**0.5 * x / (1 - ratio))
        torch.testing.assert_close(after, mean + variance**0.5 * moment.noise.double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [2, 3, 7, 50, 100, 333, 500, 999, 1000])
def test_timesteps_fall_from_the_noisiest(steps):
    times = timesteps(steps, 1000)
    assert len(times) == steps and times[0] == 999 and (np.diff(times) < 0).all() and times[-1] >= 0
    with pytest.raises(Refusal, match="at most 1,"):
        timesteps(steps, 1)


def test_memory_does_not_grow_with_the_steps():
    tracemalloc.start()
    encode(picture(), GREY, steps=120, codebook_size=256, variant="reference")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    book = 256 * 192 * 4  # bytes; all steps' books together would be 119 of them
    assert peak < 4 * book


# -- the toy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [linear_schedule(), cosine_schedule()])
def test_error_on_normals_is_the_predicted_one(kept):
    error, alignment = code_normals(Plan(300, 64, seed=5), 4096, kept, 4)
    assert error.mean() == pytest.approx(predict_error(300, 4096, kept, expected_maximum(64)), rel=0.03)
    assert alignment.mean() == pytest.approx(expected_maximum(64), abs=0.04)


def test_both_codebooks_are_equally_good_on_normals():
    shuffled, reference = (
        code_normals(Plan(200, 16, variant=variant), 512, cosine_schedule(), 24)[0]
        for variant in ("shuffled", "reference")
    )
    error = math.sqrt((shuffled.var() + reference.var()) / 24)
    assert abs(shuffled.mean() - reference.mean()) < 4 * error and error < 0.03 * reference.mean()


def test_more_atoms_say_more():
    errors = [
        code_normals(Plan(200, 64, atoms, bits, variant), 512, cosine_schedule(), 8)[0].mean()
        for atoms, bits, variant in ((1, 3, "shuffled"), (3, 1, "shuffled"), (3, 3, "shuffled"), (3, 3, "turbo"))
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.06)  # C = 1: three atoms for nothing
    assert errors[3] < errors[2] < 0.6 * errors[0]


def test_150_atoms_of_a_large_codebook():
    """Turbo-DDCM's largest setting, there and back."""
    plan = Plan(3, 8192, 150, 3, "turbo")
    model = PixelModel("grey", b"greygrey", Nothing(), cosine_schedule(), "sample", 8)
    (coded,) = encode_batch([picture()], model, plan)
    assert len(unpack(coded.code).payload) == math.ceil(size_bits(3, 8192, 150, 3, "turbo") / 8)
    np.testing.assert_array_equal(decode(coded.code, model), coded.picture)


def test_a_code_too_large_for_a_file_is_refused_before_it_is_made():
    with pytest.raises(Refusal, match="more than the 4 MB of a file"):
        encode(np.zeros((1024, 1024, 3), np.uint8), GREY, steps=1000, codebook_size=16, atoms=3)


# -- damage -----------------------------------------------------------------------------------------------------------


def repaired(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(data)
    match rng.integers(6):
        case 0:
            made[rng.integers(len(made))] ^= 1 << rng.integers(8)
        case 1:
            made = made[: rng.integers(len(made))]
        case 2:
            made[int(at := rng.integers(len(made))) : at + 4] = rng.bytes(4)
        case 3:
            made += rng.bytes(int(rng.integers(1, 40)))
        case 4:
            made[rng.integers(4, HEADER.size)] = rng.integers(256)
        case 5:
            at = int(rng.integers(len(made)))
            del made[at : at + int(rng.integers(1, 9))]
    return bytes(made)


def test_fuzzed_files_raise_nothing_else():
    """12,000 mutated files, two thirds of them with a corrected checksum; none may allocate much or crash."""
    rng = np.random.default_rng(0)
    plans = [Plan(4, 32), Plan(3, 8, 3, 2), Plan(4, 16, 3, 3, "turbo"), Plan(3, 16, 2, 2, "reference")]
    files = [encode(picture(8, 12), GREY, **dataclasses.asdict(plan)) for plan in plans]
    read, quick = 0, PixelModel("grey", b"greygrey", Nothing(), cosine_schedule(), "sample", 8)
    for i in range(12_000):
        data = mutated(files[i % len(files)], rng)
        data = repaired(data) if i % 3 and len(data) > 4 else data
        try:
            told = unpack(data)
            symbols(told, 8)
            read += 1
            if read % 20 == 0 and told.plan.steps * told.batch < 500 and told.plan.codebook_size < 300:
                assert decode(data, quick).shape == (told.height, told.width, 3)
        except CodeError as fault:
            assert str(fault).endswith(".") and len(str(fault)) < 250
    assert read > 200  # the deep checks are reached


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_junk_is_refused(junk):
    with pytest.raises(CodeError):
        decode(junk, GREY)
    with pytest.raises(CodeError):
        decode(repaired(b"DDCM\x01" + junk + b"0000"), GREY)


def header(**changed) -> bytes:
    names = ("magic", "version", "variant", "log_size", "atoms", "bits", "steps", "seed", "height", "width", "batch")
    told = HEADER.unpack_from(encode(picture(), GREY, steps=4, codebook_size=8))
    fields = dict(zip((*names, "fingerprint", "length"), told, strict=True))
    return repaired(HEADER.pack(*(fields | changed).values()) + b"grey" + bytes(2) + bytes(4))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": 10**9}, "steps cannot be 1000000000"),
        ({"steps": 1000}, "asks for 375"),
        ({"log_size": 200}, "no such variant or codebook"),
        ({"log_size": 20}, "codebook_size cannot be 1048576"),
        ({"variant": 9}, "no such variant"),
        ({"atoms": 200}, "atoms cannot be 200"),
        ({"atoms": 0}, "atoms cannot be 0"),
        ({"bits": 60}, "coefficient_bits cannot be 60"),
        ({"height": 0}, "height cannot be 0"),
        ({"width": 60_000}, "width cannot be 60000"),
        ({"width": 4000, "height": 4000}, "250,000 tiles of 8; at most 16,384"),
        ({"batch": 0}, "batch cannot be 0"),
        ({"length": 250}, "name of its model is incomplete"),
        ({"version": 3}, "version 3"),
        ({"magic": b"RIFF"}, "no .ddcm file"),
        ({"fingerprint": b"otherone"}, "other weights of grey"),
    ],
)
def test_what_a_header_claims_is_checked(changed, words):
    data = header(**changed)
    tracemalloc.start()
    with pytest.raises(CodeError, match=words):
        decode(data, GREY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_each_flipped_bit_is_noticed():
    code = encode(picture(), GREY, steps=4, codebook_size=8)
    for i in range(len(code) * 8):
        flipped = bytearray(code)
        flipped[i // 8] ^= 1 << i % 8
        with pytest.raises(CodeError):
            unpack(bytes(flipped))
    for length in range(len(code)):
        with pytest.raises(CodeError):
            unpack(code[:length])


def test_bits_after_the_end_are_noticed():
    told = unpack(encode(picture(), GREY, steps=4, codebook_size=8))
    with pytest.raises(CodeError, match="bits after its end"):
        decode(pack(dataclasses.replace(told, payload=b"\x00\x01")), GREY)


def test_another_model_is_refused(tiny):
    code = encode(picture(), GREY, steps=4, codebook_size=8)
    with pytest.raises(CodeError, match="made with the model grey"):
        decode(code, tiny)
    with pytest.raises(CodeError, match="other weights"):
        decode(code, dataclasses.replace(GREY, fingerprint=b"retraine"))
    with pytest.raises(CodeError, match="larger than 4 MB"):
        decode(bytes(5 << 20), GREY)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"steps": 10**9}, "steps"),
        ({"steps": math.nan}, "steps"),
        ({"codebook_size": 100}, "power of two"),
        ({"codebook_size": 2**40}, "codebook_size"),
        ({"atoms": 151}, "atoms"),
        ({"coefficient_bits": 0}, "coefficient_bits"),
        ({"variant": "best"}, "variant"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_bad_settings_get_a_sentence(asked, words):
    with pytest.raises(Refusal, match=words):
        encode(picture(), GREY, **asked)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8)), np.zeros((8, 8, 3)), "photo.png", np.zeros((9000, 2, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(Refusal, match=r"image|height"):
        encode(image, GREY)


def test_a_model_that_must_be_told_a_class_is_refused(tiny):
    import copy

    net = copy.deepcopy(tiny.net)
    net.register_to_config(num_class_embeds=10)
    with pytest.raises(Refusal, match="none that means any"):
        wrap("classes", b"12345678", net, None)


def test_codebooks_are_bounded():
    with pytest.raises(Refusal, match="codebook_size is too large"):
        Codebook(Plan(codebook_size=1 << 14), 256 * 256 * 3, torch.device("cpu"))


# -- measures ---------------------------------------------------------------------------------------------------------


def test_psnr_in_closed_form():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(5)) == pytest.approx(20 * math.log10(51))


def test_ssim_in_closed_form():
    """Of two constants a and b it is (2ab + C1) / (a² + b² + C1); of a picture and its negative about 128 it is known."""
    one, other = (np.full((9, 11, 3), value, np.uint8) for value in (100, 130))
    c1 = (0.01 * 255) ** 2
    assert ssim(one, other) == pytest.approx((2 * 100 * 130 + c1) / (100**2 + 130**2 + c1), rel=1e-12)
    image = picture(16, 16)
    assert ssim(image, image) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_usual_codecs(kind):
    image = np.kron(picture(8, 8), np.ones((4, 4, 1), np.uint8))
    files = [recode(image, kind, quality) for quality in (5, 50, 95)]
    assert [len(f) for f, _ in files] == sorted(len(f) for f, _ in files)
    assert psnr(image, files[2][1]) > psnr(image, files[0][1])
    for file, _ in files:
        assert 0 < bare_bytes(file) < len(file)


def test_a_hand_made_code_decodes():
    """Whatever symbols: a code of random choices is a picture."""
    plan = Plan(5, 16, 2, 2)
    told = np.random.default_rng(0).integers(0, plan.symbol_limits, (1, 4, plan.width))
    code = pack(Code(plan, GREY.name, GREY.fingerprint, 8, 8, 1, payload(plan, told)))
    *_, last = walk(GREY, plan, 1, decoder(told))
    assert decode(code, GREY).shape == (8, 8, 3) and last.denoised.shape == (1, 3, 8, 8)


def test_a_larger_codebook_comes_nearer():
    image = to_tensor(picture()[None])
    errors = []
    for size in (2, 256):
        *_, last = walk(Normals(192, cosine_schedule()), Plan(100, size), 1, encoder(image.flatten(1)))
        errors.append(((last.denoised - image.flatten(1)) ** 2).mean().item())
    assert errors[1] < 0.5 * errors[0]
