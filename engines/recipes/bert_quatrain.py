"""A masked language model of classical Chinese quatrains, a character a token.

python -m engines.recipes.bert_quatrain --data DATA --out assets/models/bert-quatrain --minutes 180

DATA holds quatrains-7.txt and quatrains-5.txt, one quatrain a line with its punctuation.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from engines.recipes import masked
from engines.recipes.training import Run, arguments

BATCH = 64
PUNCTUATION = "，。"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_tokenizer(texts: Sequence[str]):
    """A BertTokenizer of the characters in the texts, the frequent ones first."""
    from collections import Counter

    from transformers import BertTokenizer

    counts = Counter("".join(texts))
    for mark in PUNCTUATION:
        counts.pop(mark, None)
    vocabulary = [*SPECIAL, *PUNCTUATION, *sorted(counts, key=lambda c: (-counts[c], c))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(vocabulary), encoding="utf-8")
        return BertTokenizer(str(path), do_lower_case=False)


def train(a: Namespace, **sizes) -> Run:
    """Train, measure and export; the finished run."""
    poems = {n: masked.lines(a.data / f"quatrains-{n}.txt") for n in (7, 5)}
    tokenizer = make_tokenizer([poem for kind in poems.values() for poem in kind])
    skip = [*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(list(PUNCTUATION))]
    ids = {n: np.array(tokenizer(kind)["input_ids"]) for n, kind in poems.items()}
    training = {n: rows[~masked.held_back(len(rows))] for n, rows in ids.items()}
    held = [p for kind in poems.values() for p, h in zip(kind, masked.held_back(len(kind)), strict=True) if h]
    counts = sum(np.bincount(rows.ravel(), minlength=len(tokenizer)) for rows in training.values())
    total = sum(len(rows) for rows in training.values())

    def draw(rng: np.random.Generator) -> np.ndarray:
        rows = training[7 if rng.random() < len(training[7]) / total else 5]
        return rows[rng.integers(len(rows), size=BATCH)]

    run, model = masked.train(a, tokenizer, draw, counts, skip, **{"length": 40} | sizes)
    data = f"""
{len(poems[7]):,} seven-character and {len(poems[5]):,} five-character quatrains in simplified characters
(chinese-poetry, MIT). The last tenth of each file is held back. The files name neither book nor poet and are in no order
of them: the held-back poems are of the same poets as those trained on."""
    limits = f"The marks {PUNCTUATION} were never masked in training, and the model does not predict them: give them."
    batch = f"{BATCH} quatrains"
    masked.export(a, run, model, tokenizer, held, counts, skip, "bert-quatrain", data, batch, samples, limits)
    return run


def samples(model, tokenizer, skip: Sequence[int]) -> str:
    """Four quatrains by Gibbs sampling from nothing, as they came."""
    blank = "[CLS]" + ("[MASK]" * 7 + "，" + "[MASK]" * 7 + "。") * 2 + "[SEP]"
    tokens = torch.tensor([tokenizer(blank, add_special_tokens=False)["input_ids"]] * 4)
    tokens = tokens.to(next(model.parameters()).device)
    free = (tokens[0] == tokenizer.mask_token_id).nonzero()[:, 0]
    drawn = masked.gibbs(model, tokenizer, tokens, free, sweeps=10, seed=0, skip=skip)
    texts = [tokenizer.decode(row, skip_special_tokens=True).replace(" ", "") for row in drawn.tolist()]
    return "Ten Gibbs sweeps at temperature 0.7 from nothing but the punctuation, as they came:\n\n" + "\n".join(
        f"- {poem}" for poem in texts
    )


def main(argv: list[str] | None = None) -> None:
    train(arguments(__doc__.splitlines()[0], 180, argv))


if __name__ == "__main__":
    main()
