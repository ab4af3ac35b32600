"""Three mixture-of-experts decoders alike but for how their load is balanced: not at all, by a loss, by a bias.

python -m engines.recipes.moe_decoders --data DATA --out assets/models/moe-decoders --minutes 60

DATA holds storybook.txt and quatrains-7.txt; the third domain is the source of the running interpreter's library.
"""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.decoder import Decoder, DecoderConfig, Routing, token_losses
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
    team,
    write_card,
)

RULES = ("none", "auxiliary", "loss-free")
DOMAINS = ("story", "quatrain", "python")
SIZES = {"width": 128, "heads": 4, "hidden": 96, "layers": 3, "experts": 8, "top_k": 2}
RATE = 3e-3
BATCH = 9  # three sequences of each domain
AUXILIARY = 0.01  # weight of the auxiliary loss
BIAS_STEP = 0.002  # of the loss-free bias


def loads(routing: tuple[Routing, ...]) -> Tensor:
    """Share of the routed places that each expert of each layer got, [layers, experts]; rows sum to 1."""
    experts = routing[0].scores.shape[-1]
    return torch.stack([torch.bincount(r.indices.flatten(), minlength=experts) / r.indices.numel() for r in routing])


def balancing_loss(routing: tuple[Routing, ...]) -> Tensor:
    """Switch's loss n Σ F_i P_i, mean over layers: 1 when balanced (arXiv 2101.03961, eq. 4)."""
    means = torch.stack([r.scores.flatten(0, -2).mean(0) for r in routing])
    return means.shape[-1] * (loads(routing) * means).sum(-1).mean()


def read(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """domain -> (training, held-back) blocks of bytes."""
    source = {
        "story": (data / "storybook.txt").read_bytes(),
        "quatrain": (data / "quatrains-7.txt").read_bytes(),
        "python": text.python_source(),
    }
    return {domain: text.split(source[domain]) for domain in DOMAINS}


def train(a: Namespace, **sizes) -> Run:
    """Train, measure and export; the finished run."""
    blocks = read(a.data)
    models, parts, steppers = {}, {}, {}
    for rule in RULES:
        torch.manual_seed(a.seed)
        model = Decoder(DecoderConfig(**SIZES | sizes)).to(a.device)
        models[rule], steppers[rule] = model, optimizers(model, RATE)
        parts[f"model {rule}"] = model
        parts |= {f"optimizer {rule} {i}": o for i, o in enumerate(steppers[rule])}

    run = Run(a.out, parts, a, RATE)
    length = models["none"].config.context
    for step in run:
        rng = step_rng(a.seed, step)
        drawn = [text.windows(blocks[domain][0], BATCH // 3, length, rng) for domain in DOMAINS]
        batch = torch.from_numpy(np.concatenate(drawn)).to(a.device)
        for rule, model in models.items():
            output = model(batch)
            loss = token_losses(output.logits, batch).mean()
            run.record(**{f"loss {rule}": loss.item(), f"load {rule}": loads(output.routing).tolist()})
            descend(
                model,
                steppers[rule],
                loss + AUXILIARY * balancing_loss(output.routing) if rule == "auxiliary" else loss,
                run.rate,
            )
            if rule == "loss-free":
                for block, load in zip(model.blocks, team().mean(loads(output.routing)), strict=True):
                    block.feed.bias -= BIAS_STEP * torch.sign(load - load.mean())
    export(models, blocks, run, a)
    return run


@torch.no_grad()
def measure(model: Decoder, tokens: Tensor) -> tuple[float, Tensor]:
    """Mean loss in nats a byte on tokens [n, length], and the load [layers, experts]."""
    output = model(tokens.to(next(model.parameters()).device).long())
    return token_losses(output.logits, tokens.to(output.logits.device).long()).mean().item(), loads(
        output.routing
    ).cpu()


def export(models: dict[str, Decoder], blocks: dict, run: Run, a: Namespace) -> None:
    rng = np.random.default_rng(a.seed)
    context = models["none"].config.context
    held = {d: torch.from_numpy(text.windows(blocks[d][1], 32, context, rng).astype(np.uint8)) for d in DOMAINS}
    save_weights(held, a.out / "held-back.safetensors")
    # load over training: at most 200 moments, each the mean over the steps since the last
    history = {}
    for rule in RULES:
        moments = np.array_split(np.array(run.history[f"load {rule}"], np.float32), min(200, run.step))
        history[rule] = torch.from_numpy(np.stack([m.mean(0) for m in moments]))
    save_weights(history, a.out / "load-history.safetensors", {"steps": run.step})

    figures, rows = {}, []
    for rule, model in models.items():
        name = f"moe-{rule}"
        save_weights(model.state_dict(), a.out / f"{name}.safetensors", {"config": model.config.to_dict()})
        measured = {domain: measure(half(model), held[domain]) for domain in DOMAINS}
        figures[name] = {f"loss_{domain}": loss for domain, (loss, _) in measured.items()}
        experts = model.config.experts
        load = torch.stack([load for _, load in measured.values()])
        violation = (load.mean(0) * experts).max(-1).values - 1
        # how far the domains part ways: total variation between a domain's load and the mean of all three
        apart = (load - load.mean(0)).abs().sum(-1).mean() / 2
        cells = [f"{loss:.3f}" for loss, _ in measured.values()]
        rows.append([rule, f"{run.recent(f'loss {rule}'):.3f}", *cells, f"{violation.mean():.2f}", f"{apart:.2f}"])
    columns = ["rule", "training loss", *(f"held back, {d}" for d in DOMAINS), "max load / mean - 1", "domains apart"]
    config = models["none"].config
    sections = {
        "What it is": f"""
Three byte-level decoders (`engines.decoder.Decoder`; {config.layers} layers x {config.width}, {config.experts} experts
of hidden size {config.hidden}, top-{config.top_k}, {sum(p.numel() for p in model.parameters()):,} parameters), alike in
seed, data and order of batches. Balancing: `none`; `auxiliary` (Switch's loss n Σ F P, weight {AUXILIARY});
`loss-free` (a selection bias, moved by {BIAS_STEP} x sign a step). `load-history.safetensors`: for each rule
[moments, layers, experts], the share of the routed places each expert had over training.""",
        "Data": f"""
A third each: storybook.txt (Standard Ebooks, CC0 / public domain), quatrains-7.txt (chinese-poetry, MIT), and the
standard library's source of Python {sys.version.split()[0]} (PSF licence). The last tenth of each is held back:
books and modules of which nothing is trained on, but for the one in which it begins, and poems (in no order of poets);
`held-back.safetensors` holds 32 sequences of {context} bytes of each domain, on which the figures were measured.""",
        "Training": f"""
`python -m engines.recipes.moe_decoders --data DATA --out OUT --seed {a.seed} --minutes {a.minutes:g}`;
{run.sentence()} for all three, {BATCH} x {context} bytes a step. Muon and Adam, float32; weights stored in float16.""",
        "Measured": f"""
Loss in nats a byte. Load over the held-back sequences, mean over layers; "domains apart" is the total variation
between a domain's load and the mean of the three.

{card_table(columns, rows)}""",
        "Limits": "Trained for minutes, to show where tokens go; not to write well.",
        "Licence": "Apache-2.0 for the weights.",
    }
    write_card(a.out, "moe-decoders", sections, figures)


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 60, argv))


if __name__ == "__main__":
    main()
