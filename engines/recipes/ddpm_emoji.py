"""A diffusion model of 32 x 32 emoji: diffusers' UNet2DModel, v-prediction, cosine schedule, averaged weights.

python -m engines.recipes.ddpm_emoji --data DATA --out assets/models/ddpm-emoji-32 --minutes 180

DATA holds emoji-32.npz (uint8 images [n, 32, 32, 3] on white).
"""

import copy
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engines.recipes.training import (
    Run,
    arguments,
    compiled,
    descend,
    half,
    optimizers,
    save_weights,
    step_rng,
    write_card,
)

CHANNELS = (16, 48, 128)
RATE = 2e-3
BATCH = 16
AVERAGE = 0.995  # decay of the weights' moving average
SAMPLE = 64  # held-back images that are shipped and measured
STEPS = 100  # of the samples on the card
QUICK = 16  # of them, for the figure that the tests measure again
AT_ONCE = 500  # images that are measured at once


def split(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(training, held back): every tenth image is held back."""
    held = np.arange(len(images)) % 10 == 9
    return images[~held], images[held]


def to_model(images: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def make_scheduler():
    """1,000 steps, cosine, v-prediction."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(1_000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=True)


def build(channels: tuple[int, ...], classes: int | None = None, attentive: int = 1):
    """One layer a block; attention at the `attentive` coarsest sizes. With classes, one is added to the time's embedding."""
    from diffusers import UNet2DModel

    plain = len(channels) - attentive
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=channels,
        norm_num_groups=8,
        num_class_embeds=classes,
        attention_head_dim=min(32, channels[-1]),
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attentive,
        up_block_types=("AttnUpBlock2D",) * attentive + ("UpBlock2D",) * plain,
    )


def sampled(held: int) -> np.ndarray:
    """Which of the held-back images are shipped."""
    return np.linspace(0, held - 1, min(SAMPLE, held)).round().astype(int)


def v_loss(model, scheduler, clean: Tensor, noise: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
    """Mean squared error of v [batch] at the given times [batch], with the classes [batch] of a model that has them."""
    noisy = scheduler.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
    target = scheduler.get_velocity(clean, noise, times)
    return F.mse_loss(model(noisy, times, labels).sample, target, reduction="none").mean((1, 2, 3))


@torch.no_grad()
def measure(model, scheduler, images: np.ndarray, rounds: int, labels: Tensor | None = None) -> float:
    """Mean loss over the images at evenly spaced times, with noise from a fixed seed."""
    device = next(model.parameters()).device
    clean, rng = to_model(images), np.random.default_rng(0)
    losses = []
    for r in range(rounds):
        times = torch.from_numpy((np.arange(len(clean)) * rounds + r) * 1_000 // (len(clean) * rounds))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        for part in torch.arange(len(clean)).split(AT_ONCE):
            told = None if labels is None else labels[part].to(device)
            there = (x[part].to(device) for x in (clean, noise, times))
            losses.append(v_loss(model, scheduler, *there, told))
    return torch.cat(losses).mean().item()


def train(a: Namespace, channels: tuple[int, ...] = CHANNELS) -> Run:
    """Train, measure and export; the finished run."""
    images, held = split(np.load(a.data / "emoji-32.npz", allow_pickle=False)["images"])
    torch.manual_seed(a.seed)
    run, average = fit(a, build(channels), images, RATE)
    export(a, run, average, make_scheduler(), images, held)
    return run


def fit(
    a: Namespace,
    model,
    images: np.ndarray,
    rate: float,
    labels: Tensor | None = None,
    none: float = 0.0,
    batch: int | None = None,
    decay: float = AVERAGE,
    flips: bool = False,
):
    """(the finished run, the averaged model).

    images: uint8 [n, 32, 32, 3]; labels: [n], hidden as the last class for a share `none` of them
    batch: images a step (BATCH); decay: of the moving average; flips: whether half of the images are shown mirrored
    """
    device, batch = torch.device(a.device), min(BATCH if batch is None else batch, len(images))
    scheduler = make_scheduler()
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(device)
    model = model.to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    steppers = optimizers(model, rate)
    parts = {"model": model, "average": average} | {f"optimizer {i}": o for i, o in enumerate(steppers)}
    run = Run(a.out, parts, a, rate)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    labels = None if labels is None else labels.to(device)
    # bfloat16 pays only where the processor has the instructions for it: elsewhere it is emulated, and 10 times slower
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    narrow = torch.autocast(device.type, torch.bfloat16, enabled=fast)
    generator = torch.Generator(device)
    like = torch.zeros(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    whole = torch.zeros(batch, dtype=torch.int64, device=device)
    network = None

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    for step in run:
        if network is None:  # within the minutes that were asked for: of two on an H200 it left 109 steps
            with narrow:
                network = compiled(model, like, whole, None if labels is None else whole)
        generator.manual_seed(int(step_rng(a.seed, step).integers(2**62)))
        picked = torch.randint(len(pixels), (batch,), generator=generator, device=device)
        clean = pixels[picked].float() / 127.5 - 1
        if flips:
            clean = torch.where(random(batch, 1, 1, 1) < 0.5, clean.flip(-1), clean)
        noise = torch.randn(clean.shape, generator=generator, device=device)
        # one time from each of `batch` equal strata: the same distribution, less noise in the gradient
        times = ((torch.arange(batch, device=device) + random(batch)) * (1_000 / batch)).long().clamp_max(999)
        told = None
        if labels is not None:
            told = labels[picked].masked_fill(random(batch) < none, model.config.num_class_embeds - 1)
        with narrow:
            loss = v_loss(network, scheduler, clean, noise, times, told).mean()
        run.record(loss=descend(model, steppers, loss, run.rate))
        weight = 1 - min(decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
    return run, average


@torch.no_grad()
def draw_samples(
    model, count: int, steps: int, seed: int, labels: Tensor | None = None, guidance: float = 1.0
) -> np.ndarray:
    """uint8 images [count, 32, 32, 3] by DDIM with η = 1: fresh noise mends some of a step's errors (EDM, section 4).

    steps: a divisor of 1,000; with others diffusers 0.42's DDIM goes to wrong timesteps
    labels: classes [count] of a model that has them, the last of which is none
    guidance: w of v = v_none + w (v_class − v_none) (Ho and Salimans 2022, arXiv 2207.12598)
    """
    from diffusers import DDIMScheduler

    device = next(model.parameters()).device
    labels = None if labels is None else labels.to(device)
    ddim = DDIMScheduler.from_config(make_scheduler().config, timestep_spacing="trailing")
    ddim.set_timesteps(steps)
    rng = torch.Generator(device).manual_seed(seed)
    x = torch.randn(count, 3, 32, 32, generator=rng, device=device)
    for t in ddim.timesteps:
        v = model(x, t.to(device), labels).sample.float()
        if labels is not None and guidance != 1:
            none = torch.full_like(labels, model.config.num_class_embeds - 1)
            v = torch.lerp(model(x, t.to(device), none).sample.float(), v, guidance)
        x = ddim.step(v, t, x, eta=1.0, generator=rng).prev_sample
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save_pipeline(out: Path, model, scheduler) -> None:
    """The model, rounded as it is stored, and its scheduler in the format of diffusers."""
    half(model).save_config(out / "unet")
    scheduler.save_config(out / "scheduler")
    save_weights(model.state_dict(), out / "unet/diffusion_pytorch_model.safetensors")


def save_grid(pictures: np.ndarray, columns: int, path: Path) -> None:
    """uint8 pictures [n, 32, 32, 3] in rows of `columns`, twice as large."""
    from PIL import Image

    rows = len(pictures) // columns
    grid = pictures.reshape(rows, columns, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(32 * rows, 32 * columns, 3)
    Image.fromarray(grid).resize((64 * columns, 64 * rows), Image.Resampling.NEAREST).save(path, optimize=True)


def export(a: Namespace, run: Run, model, scheduler, images: np.ndarray, held: np.ndarray) -> None:
    """Write the averaged model as a diffusers pipeline (unet/ and scheduler/), held-back images, samples and card."""
    sample = held[sampled(len(held))]
    save_pipeline(a.out, model, scheduler)
    save_weights({"images": torch.from_numpy(sample)}, a.out / "held-back.safetensors")
    save_grid(draw_samples(model, 40, STEPS, a.seed), 8, a.out / "samples.png")

    loss, seen = measure(model, scheduler, held, 4), measure(model, scheduler, images[:: len(images) // len(held)], 4)
    parameters = sum(p.numel() for p in model.parameters())
    sections = {
        "What it is": f"""
An unconditional diffusion model of 32 x 32 RGB emoji in the format of diffusers: UNet2DModel with
block_out_channels {tuple(model.config.block_out_channels)}, {parameters:,} parameters; 1,000 steps, cosine schedule
(squaredcos_cap_v2), v-prediction; moving average of the weights (decay {AVERAGE}).""",
        "Data": f"""
emoji-32.npz: {len(images) + len(held):,} Noto emoji (Google, Apache-2.0) on white. Every tenth image, {len(held)} in all, is held
back; `held-back.safetensors` holds {len(sample)} of them. No flips: letters, digits and arrows have a side.""",
        "Training": f"""
`python -m engines.recipes.ddpm_emoji --data DATA --out OUT --seed {a.seed} --minutes {a.minutes:g}`;
{run.sentence()}, {BATCH} images a step ({run.step * BATCH / len(images):.0f} passes over the images). Muon and Adam; weights
stored in float16. Final loss (mean of the last 100 steps): {run.recent("loss"):.4f}.""",
        "Measured": f"""
Mean squared error of v, averaged over evenly spaced times: {loss:.4f} on the held-back images, {seen:.4f} on as many
images of the training set.""",
        "Samples": f"![samples](samples.png)\n\n40 samples, DDIM with η = 1, {STEPS} steps, not chosen.",
        "Limits": f"""
Small, and trained on few pictures: what it loses on held-back ones is {loss / seen:.2f} times what it loses on those it has
seen, so it knows these in part by heart. Not every sample can be named.""",
        "Licence": "Apache-2.0 for the weights.",
    }
    figures = {"loss": loss, f"loss_first_{QUICK}": measure(model, scheduler, sample[:QUICK], 2)}
    write_card(a.out, "ddpm-emoji-32", sections, figures)


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 180, argv))


if __name__ == "__main__":
    main()
