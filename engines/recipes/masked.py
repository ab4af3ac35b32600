"""What the two masked language models share: a small BERT, trained with 10 to 80 % of the tokens hidden."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engines.recipes.training import Run, card_table, descend, half, optimizers, save_weights, step_rng, write_card

RATE = 2e-3
SAMPLE = 80  # held-back texts that are shipped and measured
QUICK = 20  # of them, for the figure that the tests measure again


def build(tokenizer, width: int = 192, layers: int = 4, heads: int = 4, hidden: int = 512, length: int = 64):
    """A BertForMaskedLM of transformers, without dropout, for the tokenizer."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden,
        max_position_embeddings=length,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    return BertForMaskedLM(config)


def hidden_loss(model, tokens: Tensor, hide: Tensor, mask_id: int) -> Tensor:
    """Negative log-likelihoods [hidden tokens] of the tokens [batch, length] where `hide` is true.

    The vocabulary head, the most costly layer of so small a model, runs only there.
    """
    states = model.bert(input_ids=tokens.masked_fill(hide, mask_id)).last_hidden_state
    return F.cross_entropy(model.cls(states[hide]), tokens[hide], reduction="none")


@torch.no_grad()
def pseudo_likelihood(model, tokenizer, texts: Sequence[str], skip: Sequence[int]) -> dict[str, float]:
    """Hide each token of each text in turn, apart from the ids in `skip`: accuracy, and mean nats a token."""
    device = next(model.parameters()).device
    losses, right = [], []
    for line in texts:
        tokens = torch.tensor(tokenizer(line)["input_ids"], device=device)
        places = torch.tensor([i for i, t in enumerate(tokens.tolist()) if t not in skip], device=device)
        copies = tokens.repeat(len(places), 1)
        copies[range(len(places)), places] = tokenizer.mask_token_id
        states = model.bert(input_ids=copies).last_hidden_state[range(len(places)), places]
        logits = model.cls(states)
        losses.append(F.cross_entropy(logits, tokens[places], reduction="none"))
        right.append(logits.argmax(-1) == tokens[places])
    return {"pseudo_nll": torch.cat(losses).mean().item(), "accuracy": torch.cat(right).float().mean().item()}


def unigram(counts: np.ndarray, tokenizer, texts: Sequence[str], skip: Sequence[int]) -> dict[str, float]:
    """The same figures for guessing by frequency alone (counts of the training tokens, plus one)."""
    kept = [t for line in texts for t in tokenizer(line)["input_ids"] if t not in skip]
    counts = counts.astype(float) + 1
    counts[list(skip)] = 0
    return {
        "pseudo_nll": float(-np.log(counts[kept] / counts.sum()).mean()),
        "accuracy": float(np.mean(np.array(kept) == counts.argmax())),
    }


def train(
    a: Namespace,
    tokenizer,
    draw: Callable[[np.random.Generator], np.ndarray],
    counts: np.ndarray,
    skip: Sequence[int],
    **sizes,
) -> tuple[Run, object]:
    """Train on the batches that `draw` gives, never hiding the ids in `skip`; the run and the model."""
    torch.manual_seed(a.seed)
    model = build(tokenizer, **sizes)
    # it starts from the frequencies of the tokens instead of learning them first
    frequencies = torch.from_numpy(np.log((counts + 1) / (counts + 1).sum())).float()
    model.cls.predictions.bias.data.copy_(frequencies)
    model.to(a.device)
    steppers = optimizers(model, RATE)
    run = Run(a.out, {"model": model} | {f"optimizer {i}": o for i, o in enumerate(steppers)}, a, RATE)
    for step in run:
        rng = step_rng(a.seed, step)
        tokens = draw(rng)
        rate = rng.uniform(0.1, 0.8, (len(tokens), 1))
        hide = (rng.random(tokens.shape) < rate) & ~np.isin(tokens, skip)
        hide[0, int(np.flatnonzero(~np.isin(tokens[0], skip))[0])] = True  # never an empty loss
        losses = hidden_loss(
            model,
            torch.from_numpy(tokens).to(a.device),
            torch.from_numpy(hide).to(a.device),
            tokenizer.mask_token_id,
        )
        run.record(loss=descend(model, steppers, losses.mean(), run.rate))
    return run, model


def export(
    a: Namespace,
    run: Run,
    model,
    tokenizer,
    held: Sequence[str],
    counts: np.ndarray,
    skip: Sequence[int],
    name: str,
    data: str,
    batch: str,
    samples: Callable[[object, object, Sequence[int]], str],
    limits: str = "",
) -> None:
    """Write model, tokenizer, held-back sample and card in the format of transformers.

    data, limits: what its card says of the texts, and of what the model has never seen
    """
    picked = np.linspace(0, len(held) - 1, min(SAMPLE, len(held))).round().astype(int)
    texts = [held[i] for i in picked]
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "held-back.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    half(model).config.architectures = ["BertForMaskedLM"]
    model.config.save_pretrained(a.out)
    tokenizer.save_pretrained(a.out)
    # the head is tied to the embedding: transformers ties it again on loading
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    save_weights({k: v for k, v in model.state_dict().items() if k not in tied}, a.out / "model.safetensors")

    measured = pseudo_likelihood(model, tokenizer, texts, skip)
    guessed = unigram(counts, tokenizer, texts, skip)
    quick = pseudo_likelihood(model, tokenizer, texts[:QUICK], skip)["pseudo_nll"]
    rows = [
        [who, f"{100 * f['accuracy']:.1f} %", f"{f['pseudo_nll']:.3f}", f"{np.exp(f['pseudo_nll']):.1f}"]
        for who, f in (("this model", measured), ("unigram", guessed))
    ]
    c = model.config
    sections = {
        "What it is": f"""
A masked language model (transformers' BertForMaskedLM: {c.num_hidden_layers} layers x {c.hidden_size}, {c.num_attention_heads}
heads, {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens) with its tokenizer.""",
        "Data": data,
        "Training": f"""
`python -m engines.recipes.{name.replace("-", "_")} --data DATA --out OUT --seed {a.seed} --minutes {a.minutes:g}`;
{run.sentence()}, {batch} a step, 10 to 80 % of the tokens hidden. Muon and Adam, float32; weights stored in float16.
Final loss (mean of the last 100 steps, at all masking rates): {run.recent("loss"):.3f} nats.""",
        "Measured": f"""
On {len(texts)} held-back texts (`held-back.txt`), hiding one token at a time:

{card_table(["", "right", "nats a token", "pseudo-perplexity"], rows)}""",
        "Samples": samples(model, tokenizer, skip),
        "Limits": f"""
Small, and trained briefly (see Training): good for watching a sampler, not for writing. {limits}""",
        "Licence": "Apache-2.0 for the weights.",
    }
    figures = measured | {f"pseudo_nll_first_{QUICK}": quick, "unigram_nll": guessed["pseudo_nll"]}
    write_card(a.out, name, sections, figures)


@torch.no_grad()
def gibbs(model, tokenizer, tokens: Tensor, free: Tensor, sweeps: int, seed: int, skip: Sequence[int]) -> Tensor:
    """Resample each free place in turn, `sweeps` times, never to an id of `skip`. tokens [batch, length]."""
    generator = torch.Generator().manual_seed(seed)
    tokens = tokens.clone()
    for _ in range(sweeps):
        for place in free[torch.randperm(len(free), generator=generator)].tolist():
            tokens[:, place] = tokenizer.mask_token_id
            logits = model.cls(model.bert(input_ids=tokens).last_hidden_state[:, place]).cpu()
            logits[:, list(skip)] = -torch.inf
            chosen = torch.multinomial((logits / 0.7).softmax(-1), 1, generator=generator)[:, 0]
            tokens[:, place] = chosen.to(tokens.device)
    return tokens


def held_back(count: int) -> np.ndarray:
    """Which of `count` texts are held back, bool [count]: the last tenth. Where one book follows another, nothing of its
    books is trained on, but for the book in which it begins."""
    return np.arange(count) >= count - max(1, count // 10)


def lines(path: Path) -> list[str]:
    """The non-empty lines of a text file."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
