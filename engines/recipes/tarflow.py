"""TARFLOW on pictures of 32 x 32 in patches of 4 x 4.

    python -m engines.recipes.tarflow --data DATA --out OUT --minutes 6

DATA holds an .npz with `images`, uint8 [n, 32, 32, 3] (`--file`, emoji-32.npz unless told). Resumes from OUT/checkpoints.
On a CPU take fewer channels and a small batch.
"""

import argparse
import copy
from argparse import Namespace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engines.flow.tarflow import TarFlow
from engines.recipes.training import Run, arguments, descend, half, save_weights, step_rng, team, write_card

SIDE, PATCH = 32, 4
RATE, DECAY = 5e-4, 0.999


def to_tokens(images: Tensor) -> Tensor:
    """[n, 32, 32, 3] -> [n, 64, 48], patches row by row."""
    across = SIDE // PATCH
    return images.reshape(-1, across, PATCH, across, PATCH, 3).transpose(2, 3).reshape(len(images), across**2, -1)


def to_images(tokens: Tensor) -> Tensor:
    """The inverse of `to_tokens`."""
    across = SIDE // PATCH
    return tokens.reshape(-1, across, across, PATCH, PATCH, 3).transpose(2, 3).reshape(-1, SIDE, SIDE, 3)


def draw(flow: TarFlow, count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """(samples as drawn, the same after Tweedie's step), [count, 32, 32, 3] in [-1, 1]."""
    device = next(flow.parameters()).device
    z = torch.randn(count, *flow.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    raw = flow.inverse(z)
    return to_images(raw).cpu(), to_images(flow.denoise(raw, noise)).detach().cpu()


def save_sheet(images: Tensor, path, columns: int = 16) -> None:
    """Pictures in [-1, 1], in rows of `columns`, twice their size."""
    rows = [torch.cat(list(images[i : i + columns]), 1) for i in range(0, len(images) - columns + 1, columns)]
    pixels = ((torch.cat(rows) + 1) * 127.5).clamp(0, 255).byte().numpy()
    Image.fromarray(pixels).resize((2 * pixels.shape[1], 2 * pixels.shape[0]), Image.Resampling.NEAREST).save(path)


def train(a: Namespace) -> Run:
    """Train, draw and export; the finished run."""
    images = np.load(a.data / a.file, allow_pickle=False)["images"]
    held = np.arange(len(images)) % 10 == 9
    clean, test = (
        to_tokens(torch.from_numpy(part).float() / 127.5 - 1).to(a.device) for part in (images[~held], images[held])
    )
    torch.manual_seed(a.seed)
    flow = TarFlow(clean.shape[1], clean.shape[2], a.channels, a.blocks, layers=a.layers, head_dim=32).to(a.device)
    average = copy.deepcopy(flow).requires_grad_(False)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=1e-2)
    run = Run(a.out, {"flow": flow, "average": average, "optimizer": optimizer}, a, RATE)
    cuda = torch.device(a.device).type == "cuda"
    for step in run:
        generator = torch.Generator(a.device).manual_seed(int(step_rng(a.seed, step).integers(2**62)))
        picks = torch.randint(len(clean), (a.batch,), generator=generator, device=a.device)
        x = clean[picks] + a.noise * torch.randn(a.batch, *flow.shape, generator=generator, device=a.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            loss = -flow.log_prob(x).mean() / clean[0].numel()
        if step % 50 == 0 and not team().mean(loss.detach()).isfinite():  # reading it waits for the card
            raise SystemExit(f"The loss of step {step} is no number; the last checkpoint is good.")
        run.record(loss=descend(flow, [optimizer], loss, run.rate))
        torch._foreach_lerp_(
            list(average.parameters()), list(flow.parameters()), 1 - min(DECAY, (step + 1) / (step + 10))
        )
    half(average)
    raw, denoised = draw(average, a.samples, a.noise, a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    save_sheet(raw, a.out / "samples-raw.png", min(16, a.samples))
    save_sheet(denoised, a.out / "samples.png", min(16, a.samples))
    with torch.no_grad():
        noise = torch.randn(test.shape, generator=torch.Generator().manual_seed(0)).to(a.device)
        costs = torch.cat([average.log_prob(part) for part in (test + a.noise * noise).split(64)])
    figures = {"test_nats": -float(costs.mean()) / test[0].numel(), "train_nats": run.recent("loss"), "steps": run.step}
    save_weights(average.state_dict(), a.out / "tarflow.safetensors", {"config": flow.config})
    sizes = " ".join(f"--{name} {getattr(a, name)}" for name in ("channels", "blocks", "layers", "batch", "noise"))
    command = f"python -m engines.recipes.tarflow --data DATA --out OUT --file {a.file} --seed {a.seed} {sizes}"
    sections = {
        "What it is": f"TARFLOW, {sum(p.numel() for p in flow.parameters()):,} parameters: {a.blocks} blocks of {a.layers} layers, width {a.channels}.",
        "Data": f"{a.file}: {len(clean):,} pictures to train on, {len(test):,} held back; noise {a.noise}.",
        "Training": f"`{command}`; {run.sentence()}. The average of the weights is kept, in float16, and measured.",
        "Measured": f"Nats a dimension: {figures['train_nats']:.4f} in training, {figures['test_nats']:.4f} held back.",
        "Samples": "![samples](samples.png)",
        "Licence": "Apache-2.0 for the weights.",
    }
    write_card(a.out, "tarflow", sections, figures)
    return run


def main(argv: list[str] | None = None) -> Run:
    """The finished run of these options."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--file", default="emoji-32.npz", help="name of the .npz in DATA")
    own.add_argument("--channels", type=int, default=192)
    own.add_argument("--blocks", type=int, default=8)
    own.add_argument("--layers", type=int, default=2)
    own.add_argument("--batch", type=int, default=256)
    own.add_argument("--noise", type=float, default=0.1)
    own.add_argument("--samples", type=int, default=64)
    mine, rest = own.parse_known_args(argv)
    a = arguments(__doc__.splitlines()[0], 6, rest)
    return train(Namespace(**vars(a), **vars(mine)))


if __name__ == "__main__":
    main()
