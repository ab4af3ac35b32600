"""Text-to-image models are held to diffusers' own pipelines, on tiny ones saved as the Hub has them."""

import shutil
import time
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from engines import latents, models
from engines.ddcm import photographs
from engines.diffusion import prompt as prompts
from engines.diffusion.prompt import FLOW, PINNED, SCHEDULERS, prompt_grid, sample_latents, scheduler_for
from engines.latents import KNOWN, wanted
from engines.models import HUB, ModelError
from tests.engines.tiny_pipelines import KINDS, SIDE, save

NAMES = dict(
    zip(
        KINDS,
        (
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "Manojb/stable-diffusion-2-1-base",
            "stabilityai/sd-turbo",
            "stabilityai/stable-diffusion-xl-base-1.0",
            "stabilityai/sdxl-turbo",
            "SimianLuo/LCM_Dreamshaper_v7",
            "stabilityai/stable-diffusion-3-medium-diffusers",
        ),
        strict=True,
    )
)
TINY_VAE = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1}
TINY_VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
ASKED = {"prompt": "a cat 山 and a dog", "negative_prompt": "grey"}


FOLDER = TemporaryDirectory(prefix="tiny")  # goes with the process


@lru_cache
def saved(kind):
    """A pipeline in a folder, and the pipeline."""
    folder = Path(FOLDER.name) / kind
    return folder, save(kind, folder)


@pytest.fixture
def hub(monkeypatch):
    """A Hub that sends the tiny pipeline of each pinned name; models are loaded on the CPU."""
    kinds = {name: kind for kind, name in NAMES.items()}
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    monkeypatch.setattr(models, "_download", lambda repository, revision: str(saved(kinds[repository])[0]))
    monkeypatch.setattr(models, "_memory", lambda device: 64e9)
    for module in (latents, models, prompts, photographs):
        monkeypatch.setattr(module, "resolve", lambda device=None: torch.device("cpu"))


def theirs(kind, scheduler, steps, guidance=5.0, **more):
    """What diffusers' pipeline makes, [h, w, 3] from 0 to 1."""
    import diffusers

    _, pipe = saved(kind)
    asked = ASKED
    if isinstance(scheduler, diffusers.LCMScheduler) and kind == "lcm":
        asked = {"prompt": ASKED["prompt"]}
    elif kind == "lcm":  # its own pipeline takes its own scheduler alone
        pipe = diffusers.StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler
    generator = torch.Generator().manual_seed(3)
    made = pipe(
        **asked, num_inference_steps=steps, guidance_scale=guidance, generator=generator, output_type="np", **more
    )
    return made.images[0]


def ours(kind, name, steps, guidance=5.0, side=SIDE, spacing="trailing"):
    model = latents.open_model(NAMES[kind], side)
    seen = model.prompted(ASKED["prompt"], ASKED["negative_prompt"], guidance, side, side)
    *_, (_, _, state, clean) = sample_latents(seen, scheduler_for(name, model, spacing), steps, 3)
    decoded = (model.decode(state)[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).numpy()
    return decoded, state, clean


def of_diffusers(kind, name, spacing):
    """Their scheduler, made by them of the pipeline's own."""
    import diffusers

    folder, pipe = saved(kind)
    # Stable Diffusion's own file says so too, beside what its class takes
    own = {**type(pipe.scheduler).load_config(folder / "scheduler"), "clip_sample": False}
    if kind == "sd3":
        made, more = FLOW[name]
        shifted = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
        return getattr(diffusers, made).from_config(own, **more, **({} if made.startswith("Flow") else shifted))
    made, more = SCHEDULERS[name]
    return getattr(diffusers, made).from_config(own, timestep_spacing=spacing, **more)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels_as_diffusers_with_every_scheduler(kind, spacing, hub):
    few = ("euler", "euler_ancestral", "lcm")  # with every scheduler for each prediction; here the network is another
    if kind == "sd3" and spacing == "leading":  # its steps are its own
        return
    for name in FLOW if kind == "sd3" else SCHEDULERS if kind in ("sd15", "sd21") else few:
        expected = theirs(kind, of_diffusers(kind, name, spacing), 3)
        np.testing.assert_allclose(ours(kind, name, 3, spacing=spacing)[0], expected, atol=1e-4, err_msg=name)
        assert expected.std() > 0.05


def test_guidance_and_the_prompt_change_the_picture(hub):
    plain, strong = ours("sd15", "euler", 3, 1.0)[0], ours("sd15", "euler", 3, 12.0)[0]
    np.testing.assert_allclose(
        plain,
        theirs("sd15", prompts.scheduler_for("euler", latents.open_model(NAMES["sd15"], SIDE)), 3, 1.0),
        atol=1e-4,
    )
    assert np.abs(plain - strong).mean() > 0.01
    model = latents.open_model(NAMES["sd15"], SIDE)
    x = torch.randn(1, 4, 16, 16)
    made = [model.prompted(text, "", 1, SIDE, SIDE)(x, 500).sample for text in ("a cat", "a dog", "a cat")]
    assert torch.equal(made[0], made[2]) and not torch.allclose(made[0], made[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sd3"])
def test_the_last_estimate_is_the_picture(kind, hub):
    """Euler's last step is to the estimate itself: x0 of the network's answer is what the scheduler takes it for."""
    _, state, clean = ours(kind, "euler", 5)
    torch.testing.assert_close(state, clean, atol=2e-4, rtol=1e-4)


def test_the_same_denoiser_serves_the_samplers_of_pixels(hub):
    """DDIM of this studio, which knows models of pixels, makes of a latent model what diffusers' DDIM does."""
    from engines.diffusion.images import sample_images
    from engines.diffusion.images import scheduler_for as of_pixels

    for kind in ("sd15", "sd21"):
        model = latents.open_model(NAMES[kind], SIDE)
        seen = model.prompted(ASKED["prompt"], ASKED["negative_prompt"], 5.0, SIDE, SIDE)
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
        config = {**model.config, "clip_sample": False}
        *_, (_, _, state, _) = sample_images(seen, of_pixels("ddim", config), 5, noise)
        scheduler = prompts.scheduler_for("ddim", model)
        scheduler.final_alpha_cumprod = torch.tensor(1.0)
        *_, (_, _, expected, _) = sample_latents(seen, scheduler, 5, 3)
        torch.testing.assert_close(state, expected, atol=1e-3, rtol=1e-3)


def test_noise_levels_of_flow_matching(hub):
    """A straight path of a known network: the denoiser in x = √ᾱ x0 + √(1 − ᾱ) ε finds x0 at every level."""
    model = latents.open_model(NAMES["sd3"], SIDE)
    seen = model.prompted("a cat", "", 1.0, SIDE, SIDE)
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 1, 16, 16, 16)
    seen.model.net.forward = lambda **given: (noise - clean,)
    try:
        assert (np.diff(seen.alphas_cumprod) < 0).all() and seen.alphas_cumprod[-1] == 0
        for t in (0, 400, 998, 999):
            level = float(seen.alphas_cumprod[t])
            x = level**0.5 * clean + (1 - level) ** 0.5 * noise
            torch.testing.assert_close(seen.denoise(x, t), clean, atol=1e-4, rtol=1e-4)
    finally:
        del seen.model.net.forward


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "sd3"])
def test_latents_go_in_and_out_as_in_diffusers(kind, hub):
    model, (_, pipe) = latents.open_model(NAMES[kind], SIDE), saved(kind)
    torch.manual_seed(1)
    picture = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    mean = pipe.vae.encode(picture).latent_dist.mode()
    shift = pipe.vae.config.shift_factor or 0
    torch.testing.assert_close(
        model.encode(picture), (mean - shift) * pipe.vae.config.scaling_factor, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(model.decode(model.encode(picture)), pipe.vae.decode(mean).sample, atol=1e-4, rtol=1e-4)


def test_a_large_picture_is_worked_through_in_tiles(hub):
    model = latents.open_model(NAMES["sd15"], SIDE)
    seen = []
    first = model.vae.decoder.conv_in
    handle = first.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    model.decode(torch.randn(2, 4, 64, 64))
    handle.remove()
    assert len(seen) > 2 and max(max(shape[2:]) for shape in seen) <= 16 and {shape[0] for shape in seen} == {1}


def test_pinned_models_are_described_and_pinned():
    assert set(KNOWN) == set(PINNED) == set(NAMES.values())
    assert all(len(HUB[name][1]) == 40 for name in PINNED)


def test_what_is_fetched():
    files = [
        "model_index.json", "README.md", "v1-5-pruned.safetensors", "safety_checker/model.safetensors",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder_3/model-00001-of-00002.safetensors",
        "tokenizer/vocab.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json", "unet/model.onnx",
    ]  # fmt: skip
    assert set(wanted(files)) == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
        "tokenizer/vocab.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json",
    }  # fmt: skip
    assert wanted(["config.json", "model.safetensors"]) is None


def test_half_precision_weights_are_read_from_their_own_files(tmp_path):
    _, pipe = saved("sd15")
    pipe.save_pretrained(tmp_path, safe_serialization=True, variant="fp16")
    model = latents.from_folder(tmp_path, torch.device("cpu"))
    assert torch.equal(model.net.conv_in.weight, pipe.unet.conv_in.weight)


def grid(**settings):
    return list(prompt_grid(**({"model": NAMES["sd15"], "steps": (1, 3), "schedulers": ("euler", "heun")} | settings)))


def test_a_grid_of_schedulers_and_a_few_step_model_beside(hub, monkeypatch):
    monkeypatch.setattr(prompts, "KNOWN", {name: known._replace(side=SIDE) for name, known in KNOWN.items()})
    said = grid(beside=NAMES["lcm"], guidance=4.0)
    result = said[-1].result
    assert said[-1].step == said[-1].total and all(one.step < one.total for one in said[:-1])
    assert result.schedulers == ("euler", "heun", "lcm") and result.models[-1] == NAMES["lcm"]
    assert result.calls.tolist() == [[1, 3], [1, 5], [1, 3]]
    assert result.passes.tolist() == [[2, 6], [2, 10], [1, 3]]
    assert result.done.all() and (result.seconds > 0).all() and result.film_calls[1, 1].tolist()[-1] == 5
    assert (result.film[:, :, -1] == result.pictures).all()
    assert (result.pictures[0, 0] == result.pictures[1, 0]).all()  # one step is Euler's, from the same noise
    again = grid(beside=NAMES["lcm"], guidance=4.0)[-1].result
    assert (again.pictures == result.pictures).all()
    turbo = grid(model=NAMES["turbo"], guidance=9.0)[-1].result
    assert turbo.guidance.tolist() == [1, 1] and (turbo.passes == turbo.calls).all()


def test_without_a_model_nothing_is_fetched(monkeypatch):
    monkeypatch.setattr(models, "fetch", None)
    for prompt, label in (("two Ships at sea", "ship"), ("a shipment of foxes", "none")):
        *_, said = prompt_grid(prompt=prompt, steps=(1,), schedulers=("euler",), beside="stabilityai/sd-turbo")
        result = said.result
        assert result.label == label and result.done.all() and result.pictures.shape == (1, 1, 32, 32, 3)
        assert result.passes.tolist() == [[1 if label == "none" else 2]] and said.step == said.total == 1


def test_prompts_of_any_length_and_script(hub, monkeypatch):
    monkeypatch.setattr(prompts, "KNOWN", {name: known._replace(side=SIDE) for name, known in KNOWN.items()})
    for text in ("", "猫 " * 300, "🦊\x00\n\t", "a" * 1000):
        result = grid(prompt=text, steps=(1,))[-1].result
        assert result.done.all() and result.read == 75
    assert result.tokens > 75


def test_what_cannot_be_is_a_sentence(hub, monkeypatch, tmp_path):
    def cut(repository, revision):
        raise ModelError("The Hub cannot be reached.")

    with pytest.raises(ValueError, match="has no ddim"):
        grid(model=NAMES["sd3"], schedulers=("ddim",), side="512")
    with pytest.raises(ValueError, match="text-to-image model of latents"):
        latents.open_model("ddpm-emoji-32")
    with pytest.raises(ValueError, match="multiple of 2"):
        latents.open_model(NAMES["sd15"], SIDE).prompted(height=33)
    with pytest.raises(ValueError, match="at most 50"):
        grid(model=NAMES["lcm"], schedulers=("lcm",), steps=(60,), side="512")
    with pytest.raises(ValueError, match="prompt may have at most"):
        grid(prompt="x" * 1001)
    with pytest.raises(ValueError, match="There is no model named"):
        grid(model="nonsense")
    wide = tmp_path / "wide"
    shutil.copytree(saved("sd15")[0], wide)
    saved("sd15")[1].vae.__class__(latent_channels=8, **TINY_VAE).save_pretrained(wide / "vae")
    with pytest.raises(ModelError, match="takes 4 channels where its latents have 8"):
        latents.from_folder(wide, torch.device("cpu"))
    half = tmp_path / "half"
    shutil.copytree(saved("sd15")[0], half)
    (half / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    monkeypatch.setattr(models, "_download", lambda *_: str(half))
    with pytest.raises(ValueError, match=r"missing here \(unet\): its download was cut short"):
        grid()
    monkeypatch.setattr(models, "_download", cut)
    monkeypatch.setattr(models, "_cache", type(models._cache)())
    with pytest.raises(ValueError, match="cannot be reached"):
        grid()
    # a card too small is told before anything is fetched
    monkeypatch.setattr(models, "_memory", lambda device: 4e9)
    with pytest.raises(ValueError, match=r"needs about 6.1 GB; the cpu device here has 4 GB"):
        grid()


def test_what_cannot_be_is_refused_before_a_model_is_loaded(hub, monkeypatch):
    monkeypatch.setattr(models, "load", None)
    with pytest.raises(ValueError, match="at most 50"):
        grid(beside=NAMES["lcm"], steps=(10, 60))
    with pytest.raises(ValueError, match="has no ddim"):
        grid(model=NAMES["sd3"], schedulers=("euler", "ddim"))


def test_seconds_do_not_count_what_the_page_does(hub, monkeypatch):
    monkeypatch.setattr(prompts, "KNOWN", {name: known._replace(side=SIDE) for name, known in KNOWN.items()})
    for progress in prompt_grid(model=NAMES["sd15"], steps=(4,), schedulers=("euler",)):
        time.sleep(0.5)
        made = progress
    assert 0 < made.result.seconds[0, 0] < 1.5


def test_latents_that_are_not_finite_are_no_picture(hub, monkeypatch):
    model = latents.open_model(NAMES["sd15"], SIDE)
    with pytest.raises(ValueError, match="stable-diffusion-v1-5 are not finite"):
        model.decode(torch.full((1, 4, 16, 16), torch.nan))
    monkeypatch.setattr(model.net, "forward", lambda x, *_, **__: (x * torch.inf,))
    with pytest.raises(ValueError, match="not finite"):
        grid(side="512", steps=(1,))


def test_memory_that_ends_in_the_middle_is_a_sentence_and_the_model_lives(hub, monkeypatch):
    monkeypatch.setattr(prompts, "KNOWN", {name: known._replace(side=SIDE) for name, known in KNOWN.items()})
    model = latents.open_model(NAMES["sd15"], SIDE)
    calls = []

    def full(*given, **more):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return type(model.net).forward(model.net, *given, **more)

    monkeypatch.setattr(model.net, "forward", full)
    with pytest.raises(ValueError, match="memory of this machine does not suffice"):
        grid()
    assert grid()[-1].result.done.all()


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "lcm", "sd3"])
def test_half_precision_stays_in_the_network(kind, hub):
    """As on a card: network and text encoders in half precision, states and autoencoder in single; nothing is mixed."""
    model = latents.from_folder(saved(kind)[0], torch.device("cpu")).eval()
    model.net.to(torch.bfloat16)
    model.encoders.to(torch.bfloat16)
    seen = model.prompted("a cat", "grey", 2.0, SIDE, SIDE)
    assert seen.embedding.dtype == torch.bfloat16
    *_, (_, _, state, clean) = sample_latents(seen, scheduler_for("euler", model), 3)
    assert state.dtype == clean.dtype == seen.denoise(state, 10).dtype == torch.float32
    single = latents.open_model(NAMES[kind], SIDE).prompted("a cat", "grey", 2.0, SIDE, SIDE)
    x = torch.randn(1, *seen.shape)
    near, exact = seen.denoise(x, 300), single.denoise(x, 300)
    assert 0 < float((near - exact).abs().mean()) < 0.1 * float(exact.abs().mean())
    assert torch.isfinite(model.decode(state)).all()


def test_the_grid_is_drawn(hub, monkeypatch):
    """A scrubbed figure whose last moment is the pictures themselves; without a model those of the embedded one, and a table."""
    from studio.exhibits.diffusion.figures_prompt import draw_prompt
    from studio.panels import pack

    monkeypatch.setattr(prompts, "KNOWN", {name: known._replace(side=SIDE) for name, known in KNOWN.items()})
    *_, last = prompt_grid(steps=(1,), schedulers=("euler",))
    included, *_, needs = draw_prompt(last.result)
    assert len(included.data) == 1 and len(needs.panels[-1].rows) == len(PINNED)
    said = grid(prompt="a cat " * 90)
    drawn, notes, table = draw_prompt(said[-1].result)
    assert len(drawn.data) == 4 and len(drawn.frames) == 8 and all(len(moment) == 4 for moment in drawn.frames)
    assert "trained on pictures of 512 pixels a side; these have 32" in notes.text
    assert "first 75" in notes.text and len(table.rows) == 4 and len(pack(drawn)) < 300_000
    partial = next(one.result for one in said if one.result is not None)
    assert len(draw_prompt(partial)[0].data) == 1
