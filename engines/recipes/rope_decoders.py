"""Five decoders alike but for the base of their rotary positions, trained side by side on the same batches.

    python -m engines.recipes.rope_decoders --data DATA --out assets/models/rope-decoders --minutes 60

DATA holds storybook.txt. Bytes, length 128.
"""

from argparse import Namespace

import numpy as np
import torch

from engines.decoder import Decoder, DecoderConfig, token_losses
from engines.recipes import text
from engines.recipes.training import (
    Run,
    arguments,
    card_table,
    descend,
    half,
    optimizers,
    save_weights,
    step_rng,
    write_card,
)

BASES = (100, 1_000, 10_000, 100_000, 1_000_000)
SIZES = {"width": 192, "heads": 6, "hidden": 320, "layers": 3}
RATE = 3e-3
BATCH = 8
LONG = 2_048  # bytes of a held-back sequence: sixteen times the length trained on


def train(a: Namespace, **sizes) -> Run:
    """Train, measure and export; the finished run."""
    story = (a.data / "storybook.txt").read_bytes()
    train_blocks, held_blocks = text.split(story)
    models, parts, steppers = {}, {}, {}
    for base in BASES:
        torch.manual_seed(a.seed)  # the same start for every base
        model = Decoder(DecoderConfig(**SIZES | sizes, rope_base=float(base))).to(a.device)
        models[base], steppers[base] = model, optimizers(model, RATE)
        parts[f"model {base}"] = model
        parts |= {f"optimizer {base} {i}": o for i, o in enumerate(steppers[base])}

    run = Run(a.out, parts, a, RATE)
    length = models[BASES[0]].config.context
    for step in run:
        rng = step_rng(a.seed, step)
        batch = torch.from_numpy(text.windows(train_blocks, BATCH, length, rng)).to(a.device)
        for base, model in models.items():
            loss = token_losses(model(batch).logits, batch).mean()
            run.record(**{f"loss {base}": descend(model, steppers[base], loss, run.rate)})
    export(models, held_blocks, run, a)
    return run


@torch.no_grad()
def measure(model: Decoder, tokens: torch.Tensor) -> np.ndarray:
    """Mean held-back loss in nats at each position [length - 1], a sequence at a time."""
    device = next(model.parameters()).device
    losses = [token_losses(model(row[None].to(device).long()).logits, row[None].to(device).long()) for row in tokens]
    return torch.cat(losses).double().mean(0).cpu().numpy()


def export(models: dict[int, Decoder], held_blocks: np.ndarray, run: Run, a: Namespace) -> None:
    length = min(LONG, held_blocks.shape[1])
    picked = np.linspace(0, len(held_blocks) - 1, 16).round().astype(int)
    held = torch.from_numpy(held_blocks[picked, :length].copy())
    save_weights({"tokens": held}, a.out / "held-back.safetensors")
    ends = [p for p in (128, 256, 512, 1024, 2048) if p <= length]
    figures, rows = {}, []
    for base, model in models.items():
        name = f"rope-base-{base}"
        save_weights(model.state_dict(), a.out / f"{name}.safetensors", {"config": model.config.to_dict()})
        loss = measure(half(model), held)
        inside = float(loss[: model.config.context - 1].mean())
        figures[name] = {"loss_within_128": inside}
        cells = [f"{run.recent(f'loss {base}'):.4f}", f"{inside:.4f}"]
        rows.append([f"{base:,}", *cells, *(f"{loss[p - 65 : p - 1].mean():.3f}" for p in ends)])
    columns = ["base", "training loss, last 100 steps", "held back, first 128 bytes"]
    columns += [f"bytes up to {p:,}" for p in ends]
    config = models[BASES[0]].config
    sections = {
        "What it is": f"""
Five byte-level decoders (`engines.decoder.Decoder`: RMSNorm, rotary attention, SwiGLU, tied embeddings;
{config.layers} layers x {config.width}, {config.heads} heads of {config.head_dim},
{sum(p.numel() for p in model.parameters()):,} parameters), alike in seed, data and order of batches, trained at length
{config.context}, with rotary bases {", ".join(f"{b:,}" for b in BASES)}.""",
        "Data": f"""
storybook.txt: classic English stories (Standard Ebooks), CC0 / public domain. The last tenth is held back: books
of which nothing is trained on, but for the one in which it begins.
`held-back.safetensors` holds {len(held)} held-back sequences of {length:,} bytes, on which the figures
were measured.""",
        "Training": f"""
`python -m engines.recipes.rope_decoders --data DATA --out OUT --seed {a.seed} --minutes {a.minutes:g}`;
{run.sentence()} for all five, {BATCH} x {config.context} bytes a step. Muon and Adam, float32; weights stored in
float16.""",
        "Measured": f"""
Loss in nats a byte, without any scaling; the right-hand columns are means over the 64 bytes before.

{card_table(columns, rows)}""",
        "Limits": "Trained for minutes, to show what the base does; not to write well.",
        "Licence": "Apache-2.0 for the weights.",
    }
    write_card(a.out, "rope-decoders", sections, figures)


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 60, argv))


if __name__ == "__main__":
    main()
