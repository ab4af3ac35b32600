"""A masked language model of classic English stories, with a WordPiece vocabulary of 8,000 trained on them.

python -m engines.recipes.bert_storybook --data DATA --out assets/models/bert-storybook --minutes 180

DATA holds storybook.txt, a paragraph a line.
"""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engines.recipes import masked
from engines.recipes.training import Run, arguments

BATCH = 32
LENGTH = 64  # tokens, with [CLS] and [SEP]
PIECES = 8_000


def make_tokenizer(texts: Sequence[str], pieces: int, kept: Path):
    """A BertTokenizer of lower-case WordPieces trained on the texts, or of those kept when the run began.

    The trainer breaks ties otherwise each time: a resumed run would read some pieces as others.
    """
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertTokenizer

    if not kept.exists():
        trainer = BertWordPieceTokenizer(lowercase=True)
        trainer.train_from_iterator(texts, vocab_size=pieces, min_frequency=2, show_progress=False)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(trainer.get_vocab()), encoding="utf-8")
    return BertTokenizer(vocab=json.loads(kept.read_text(encoding="utf-8")), do_lower_case=True)


def train(a: Namespace, pieces: int = PIECES, **sizes) -> Run:
    """Train, measure and export; the finished run."""
    paragraphs = masked.lines(a.data / "storybook.txt")
    is_held = masked.held_back(len(paragraphs))
    training = [p for p, h in zip(paragraphs, is_held, strict=True) if not h]
    tokenizer = make_tokenizer(training, pieces, a.out / "checkpoints" / "vocabulary.json")
    skip = tokenizer.all_special_ids
    cls, sep, inner = tokenizer.cls_token_id, tokenizer.sep_token_id, LENGTH - 2

    ids = tokenizer(training, add_special_tokens=False)["input_ids"]
    stream = np.concatenate([np.array(row) for row in ids])
    starts = np.cumsum([0] + [len(row) for row in ids])
    starts = starts[starts < len(stream) - inner]
    counts = np.bincount(stream, minlength=len(tokenizer))

    def draw(rng: np.random.Generator) -> np.ndarray:
        # half of the windows open a paragraph, so that a sample knows how to begin
        opening = starts[rng.integers(len(starts), size=BATCH)]
        start = np.where(rng.random(BATCH) < 0.5, opening, rng.integers(len(stream) - inner, size=BATCH))
        return np.pad(stream[start[:, None] + np.arange(inner)], ((0, 0), (1, 1)), constant_values=((0, 0), (cls, sep)))

    run, model = masked.train(a, tokenizer, draw, counts, skip, **{"length": LENGTH} | sizes)
    held = []
    for p, h in zip(paragraphs, is_held, strict=True):
        if h and len(row := tokenizer(p, add_special_tokens=False)["input_ids"]) >= 20:
            held.append(tokenizer.decode(row[:30]))
    data = f"""
storybook.txt: {len(paragraphs):,} paragraphs of classic English stories (Standard Ebooks), CC0 / public domain, book
after book. The last tenth is held back: books that were not trained on, but for the one in which it begins.
`held-back.txt` shows the first 30 tokens of some of its paragraphs."""
    batch = f"{BATCH} x {LENGTH} tokens"
    masked.export(a, run, model, tokenizer, held, counts, skip, "bert-storybook", data, batch, samples)
    return run


def samples(model, tokenizer, skip: Sequence[int]) -> str:
    """Three continuations by Gibbs sampling, as they came."""
    opening = "[CLS] once upon a time" + " [MASK]" * 20 + " . [SEP]"
    tokens = torch.tensor([tokenizer(opening, add_special_tokens=False)["input_ids"]] * 3)
    tokens = tokens.to(next(model.parameters()).device)
    free = (tokens[0] == tokenizer.mask_token_id).nonzero()[:, 0]
    drawn = masked.gibbs(model, tokenizer, tokens, free, sweeps=10, seed=0, skip=skip)
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in drawn.tolist()]
    return "Ten Gibbs sweeps at temperature 0.7 over twenty blanks after the opening, as they came:\n\n" + "\n".join(
        f"- {story}" for story in texts
    )


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 180, argv))


if __name__ == "__main__":
    main()
