"""Schedulers on images: models that know the truth, diffusers where it is right, and a tiny network made here."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import engines.models
from engines.diffusion import (
    SAMPLERS,
    GaussianMixture,
    append_zero,
    ddpm_sigmas,
    evaluations,
    karras_sigmas,
    solve,
)
from engines.diffusion.images import (
    CLASSES,
    SCHEDULERS,
    Condition,
    image_grid,
    sample_images,
    scheduler_for,
    to_pixels,
)

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
    torch.testing.assert_close(ends("ddim", steps), solve("ddim", BLOBS.denoise, start, levels), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("ddim", "DDIMScheduler"), ("dpmpp_2m", "DPMSolverMultistepScheduler")])
def test_diffusers_agrees_where_it_is_right(name, kind):
    """At 50 steps, which divide the thousand, on the linear schedule."""
    import diffusers

    more = {"set_alpha_to_one": True} if name == "ddim" else {"final_sigmas_type": "zero", "lower_order_final": False}
    theirs = getattr(diffusers, kind)(
        **{k: v for k, v in CONFIG.items() if k != "clip_sample"}, timestep_spacing="trailing", **more
    )
    if name == "ddim":
        theirs.register_to_config(clip_sample=False)
    theirs.set_timesteps(50)
    state = noise()
    for t in theirs.timesteps:
        state = theirs.step(exact(state, t).sample, t, state).prev_sample
    assert (state.reshape(32, -1) - ends(name, 50)).abs().max() < 1e-4


LINEAR, COSINE = CONFIG, CONFIG | {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


def exact_for(config: dict, mixture: GaussianMixture):
    """What a perfect network says of images drawn from a mixture, whole timesteps alone."""
    sigmas = scheduler_for("ddim", config).sigmas

    def model(x, t):
        sigma = float(sigmas[int(t)])
        flat = (x * math.hypot(1, sigma)).reshape(len(x), -1).double()
        clean = mixture.denoise(flat, sigma)
        output = (flat - clean) / sigma
        if config["prediction_type"] == "v_prediction":
            output = (output - sigma * clean) / math.hypot(1, sigma)
        return SimpleNamespace(sample=output.reshape(x.shape).to(x.dtype))

    return model


EMBEDDED = [name for name in engines.models.names("diffusion") if name in engines.models.EMBEDDED]


def test_the_embedded_models_have_one_schedule():
    tables = [
        scheduler_for("ddim", engines.models.load(name, "diffusion", "cpu").companion.config) for name in EMBEDDED
    ]
    assert len(tables) == 3
    for table in tables[1:]:
        np.testing.assert_array_equal(tables[0].sigmas, table.sigmas)
    assert tables[0].sigmas[-1] > 20_000 and {table.prediction for table in tables} == {"v_prediction"}


@pytest.mark.parametrize("model", [EMBEDDED[0], "linear"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_ends_at_the_only_picture_at_every_number_of_steps(name, model):
    config = LINEAR if model == "linear" else dict(engines.models.load(model, "diffusion", "cpu").companion.config)
    scheduler = scheduler_for(name, config | {"clip_sample": False})
    kept = 1 / (1 + scheduler.sigmas**2)
    prediction, calls = scheduler.prediction, []

    def knows(x, t):
        calls.append(int(t))
        signal, spread = kept[int(t)] ** 0.5, (1 - kept[int(t)]) ** 0.5
        noise = (x.double() - signal * 0.3) / spread
        return SimpleNamespace(sample=(noise if prediction == "epsilon" else signal * noise - spread * 0.3).float())

    start = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    for steps in range(1, 101):
        calls.clear()
        reports = list(sample_images(knows, scheduler, steps, start, steps))
        state = reports[-1][2]
        assert (state - 0.3).abs().max() < 2e-5, steps
        assert len(reports) == len(calls) == scheduler.calls(steps) == reports[0][1]
        assert calls[0] == 999 and min(calls) >= 0


@pytest.mark.parametrize("config", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", [n for n in SCHEDULERS if SAMPLERS[n].order])
def test_no_scheduler_is_much_worse_than_euler_at_few_steps(name, config):
    """On pictures that differ: where there is one alone, steps of any order are exact."""
    many = torch.rand(6, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 1.6 - 0.8
    mixture = GaussianMixture([1.0] * 6, many, [0.1] * 6)
    top = float(scheduler_for(name, config).sigmas[-1])
    start = noise().reshape(32, -1) * math.hypot(1, top)
    truth = solve("rk4", mixture.denoise, start, append_zero(karras_sigmas(200, 0.002, top)))

    def error(name: str, steps: int) -> float:
        *_, (_, _, state, _) = sample_images(exact_for(config, mixture), scheduler_for(name, config), steps, noise())
        return float((state.reshape(32, -1) - truth).abs().mean(1).median())

    for steps in (5, 10, 20):
        assert error(name, steps) < 1.1 * error("euler", steps)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_estimates_and_calls(name):
    calls = []

    def counted(x, t):
        calls.append(int(t))
        return exact(x, t)

    run = list(sample_images(counted, scheduler_for(name, CONFIG), 5, noise(), 1))
    assert [step for step, *_ in run] == list(range(1, len(calls) + 1)) and run[0][1] == len(calls)
    assert calls[0] == 999 and run[0][1] == evaluations(name, 5)
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

    asked = {"model": "tiny", "schedulers": ("ddim", "ddpm"), "steps": (2, 3), "count": 2, "seed": 5}
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
        ({"steps": (0,)}, "steps"),
        ({"steps": (10**9,)}, "steps"),
        ({"steps": ()}, "steps"),
        ({"schedulers": ("leapfrog",)}, "schedulers"),
        ({"schedulers": ()}, "schedulers"),
        ({"count": 10**6}, "count"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_answered_with_a_sentence(asked, words, tiny):
    with pytest.raises(ValueError, match=words):
        next(image_grid(**({"model": "tiny"} | asked)))


class Recorder:
    """A network of three classes (the last for none) that answers with its class, and remembers what it was given."""

    config = SimpleNamespace(num_class_embeds=3)

    def __init__(self):
        self.given = []

    def __call__(self, x, t, labels):
        self.given.append((int(t), labels.tolist()))
        return SimpleNamespace(sample=labels.to(x)[:, None, None, None].expand_as(x))


@pytest.mark.parametrize(
    ("label", "guidance", "inside"), [(0, 3.0, [0, 0, 2, 2]), (0, 1.0, [0, 0]), (None, 3.0, [2, 2])]
)
def test_guidance_takes_two_passes_within_its_interval_and_one_elsewhere(label, guidance, inside):
    scheduler = scheduler_for("ddim", COSINE)
    levels = scheduler.sigmas[scheduler.timesteps(10)]
    low, high = float(levels[7]), float(levels[3])  # the second belongs to it, the first does not
    net, asked = Recorder(), Condition(label, guidance, low, high)
    list(sample_images(net, scheduler, 10, torch.zeros(2, 3, 1, 1), 0, asked))
    within = [bool(low < scheduler.sigmas[t] <= high) for t, _ in net.given]
    assert within == [False] * 3 + [True] * 4 + [False] * 3
    outside = [2, 2] if label is None else [0, 0]
    assert [labels for _, labels in net.given] == [inside if w else outside for w in within]
    assert asked.passes == 10 + 4 * (len(inside) == 4)


def test_guidance_goes_from_none_through_the_class():
    asked = Condition(0, 2.5)
    output = asked.applied(
        lambda x, t, labels: labels.to(x)[:, None].expand_as(x), 3, torch.zeros(1, 1), torch.tensor(0), 1.0
    )
    assert output.item() == 2 + 2.5 * (0 - 2)


def test_images_of_a_class_and_classes_that_a_model_lacks():
    asked = {"schedulers": ("ddim",), "steps": (2,), "count": 1}
    plain, guided = (
        list(image_grid("ddpm-emoji-32-kinds", label=label, guidance=3.0, **asked))[-1].result
        for label in ("none", "face")
    )
    assert (plain.images != guided.images).any() and plain.nfe.item() == 2 and guided.nfe.item() == 4
    with pytest.raises(ValueError, match="no class cat: choose ddpm-cifar10-32"):
        next(image_grid("ddpm-emoji-32-kinds", label="cat"))
    for name, labels in CLASSES.items():
        assert engines.models.load(name, "diffusion", "cpu").model.labels == labels


def test_a_model_that_wants_classes_is_refused(tiny):
    tiny["tiny"].register_to_config(num_class_embeds=10)
    with pytest.raises(ValueError, match="unconditional"):
        next(image_grid("tiny"))


def test_other_kinds_of_model_are_refused():
    with pytest.raises(ValueError, match="pixel diffusion model"):
        next(image_grid("bert-quatrain"))


def test_labels_are_put_where_the_model_is(monkeypatch):
    """As on a card; here the other device is torch's "meta"."""
    from engines.recipes import ddpm_emoji

    seen = []

    def loss(model, scheduler, clean, noise, times, labels):
        seen.append({tensor.device.type for tensor in (clean, noise, times, labels)})
        return torch.zeros(len(clean))

    monkeypatch.setattr(ddpm_emoji, "v_loss", loss)
    model = ddpm_emoji.build((8, 16), 3).to("meta")
    images = np.zeros((2, 32, 32, 3), np.uint8)
    ddpm_emoji.measure(model, ddpm_emoji.make_scheduler(), images, 1, torch.tensor([0, 1]))
    assert seen == [{"meta"}]
