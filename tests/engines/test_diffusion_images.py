"""Images through diffusers' schedulers, with a tiny network that the tests make themselves."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import engines.models
from engines.diffusion import GaussianMixture, append_zero, ddpm_sigmas, karras_sigmas, solve
from engines.diffusion.images import SCHEDULERS, image_grid, sample_images, scheduler_for, to_pixels

CONFIG = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
CONFIG |= {"clip_sample": False, "prediction_type": "epsilon"}
BLOBS = GaussianMixture([0.5, 0.5], torch.tensor([[0.6] * 12, [-0.5] * 12]), [0.2, 0.3])
KEPT = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def exact(x, t):
    """What a perfect network says of images of 3 x 2 x 2 pixels drawn from BLOBS."""
    sigma = math.sqrt(1 / KEPT[int(t)] - 1)
    flat = (x / math.sqrt(KEPT[int(t)])).reshape(len(x), -1).double()
    noise = (flat - BLOBS.denoise(flat, sigma)) / sigma
    return SimpleNamespace(sample=noise.reshape(x.shape).to(x.dtype))


def noise(n: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def ends(name: str, steps: int, model=exact, seed: int = 0) -> torch.Tensor:
    *_, (_, _, state, _) = sample_images(model, scheduler_for(name, CONFIG), steps, noise(), seed)
    return state.reshape(len(state), -1)


@pytest.mark.parametrize("steps", [7, 10, 64])
def test_ddim_follows_trailing_timesteps_that_do_not_divide_the_thousand(steps):
    levels = ddpm_sigmas(steps, "trailing")
    start = noise().reshape(32, -1) * math.sqrt(1 + levels[0].item() ** 2)
    torch.testing.assert_close(ends("ddim", steps), solve("ddim", BLOBS.denoise, start, levels), rtol=0, atol=3e-6)


def test_diffusers_alone_would_err():
    """Without the gaps told, DDIM in 0.42 misses at 300 steps what the corrected run reaches."""
    from diffusers import DDIMScheduler

    plain = DDIMScheduler(**CONFIG, timestep_spacing="trailing", set_alpha_to_one=True)
    plain.set_timesteps(300)
    state = noise()
    for t in plain.timesteps:
        state = plain.step(exact(state, t).sample, t, state).prev_sample
    levels = ddpm_sigmas(300, "trailing")
    start = noise().reshape(32, -1) * math.sqrt(1 + levels[0].item() ** 2)
    truth = solve("ddim", BLOBS.denoise, start, levels)
    wrong, right = ((e - truth).abs().max() for e in (state.reshape(32, -1), ends("ddim", 300)))
    assert wrong > 0.01 > 1e3 * right


@pytest.mark.parametrize(
    "name", [n for n in SCHEDULERS if n not in ("ddpm", "euler_ancestral", "dpm_2_ancestral", "dpmpp_2m_sde")]
)
def test_deterministic_schedulers_approach_the_exact_flow(name):
    start = noise().reshape(32, -1) * math.sqrt(1 / KEPT[-1])
    truth = solve("rk4", BLOBS.denoise, start, append_zero(karras_sigmas(150, 0.002, math.sqrt(1 / KEPT[-1] - 1))))
    errors = [(ends(name, n) - truth).norm(dim=1).median() for n in (10, 40)]
    assert errors[1] < 0.35 * errors[0] and errors[1] < 0.12


@pytest.mark.parametrize("name", SCHEDULERS)
def test_estimates_and_calls(name):
    calls = []

    def counted(x, t):
        calls.append(int(t))
        return exact(x, t)

    run = list(sample_images(counted, scheduler_for(name, CONFIG), 5, noise(), 1))
    assert [step for step, *_ in run] == list(range(1, len(calls) + 1)) and run[0][1] == len(calls)
    assert calls[0] == 999
    first = noise().reshape(32, -1) / math.sqrt(KEPT[999])
    expected = BLOBS.denoise(first, math.sqrt(1 / KEPT[999] - 1)).reshape(-1, 3, 2, 2)
    torch.testing.assert_close(run[0][3], expected, rtol=0, atol=2e-3)  # float32 tables, divided by √ᾱ = 0.006
    assert torch.equal(ends(name, 5, seed=1), ends(name, 5, seed=1))


def test_pixels():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0])[:, None, None, None].expand(4, 3, 1, 1)
    assert to_pixels(x)[:, 0, 0, 0].tolist() == [0, 0, 128, 255]


@pytest.fixture
def tiny(monkeypatch):
    """A saved and reloaded UNet2DModel of 8 pixels behind engines.models.load."""
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    net = UNet2DModel(sample_size=8, layers_per_block=1, norm_num_groups=4, **blocks).eval()
    served = {"tiny": net}

    def load(name, family=None, device=None):
        assert family == "diffusion"
        if name not in served:
            raise ValueError(f"there is no model named {name!r}")
        return served[name], DDPMScheduler(**CONFIG)

    monkeypatch.setattr(engines.models, "load", load)
    return served


def test_a_saved_model_makes_the_same_picture_again(tiny, tmp_path):
    from diffusers import UNet2DModel

    asked = {"model": "tiny", "schedulers": ("ddim", "ddpm"), "image_steps": (2, 3), "count": 2, "seed": 5}
    reports = list(image_grid(**asked))
    assert [r.step for r in reports] == sorted(r.step for r in reports)
    assert reports[-1].step == reports[-1].total == 10 and sum(r.result is not None for r in reports) == 4
    result = reports[-1].result
    assert result.images.shape == (2, 2, 2, 8, 8, 3) and result.done.all()
    assert result.nfe.tolist() == [[2, 3], [2, 3]] and result.film.shape == (2, 8, 8, 8, 3)
    tiny["tiny"].save_pretrained(tmp_path, safe_serialization=True)
    tiny["tiny"] = UNet2DModel.from_pretrained(tmp_path, use_safetensors=True).eval()
    *_, last = image_grid(**asked)
    np.testing.assert_array_equal(last.result.images, result.images)
    *_, other = image_grid(**(asked | {"seed": 6}))
    assert (other.result.images != result.images).any()
    assert dataclasses.is_dataclass(result)


def test_a_run_can_be_left_halfway(tiny):
    run = image_grid("tiny", ("ddim",), (50,), 1)
    assert next(run).step == 1
    run.close()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "nobody/nothing"}, "no model named"),
        ({"image_steps": (0,)}, "image_steps"),
        ({"image_steps": (10**9,)}, "image_steps"),
        ({"image_steps": ()}, "image_steps"),
        ({"schedulers": ("leapfrog",)}, "schedulers"),
        ({"schedulers": ()}, "schedulers"),
        ({"count": 10**6}, "count"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(asked, words, tiny):
    with pytest.raises(ValueError, match=words):
        next(image_grid(**({"model": "tiny"} | asked)))


def test_a_model_that_wants_classes_is_refused(tiny):
    tiny["tiny"].register_to_config(num_class_embeds=10)
    with pytest.raises(ValueError, match="unconditional"):
        next(image_grid("tiny"))


def test_other_kinds_of_model_are_refused():
    with pytest.raises(ValueError, match="pixel diffusion model"):
        next(image_grid("bert-quatrain"))
