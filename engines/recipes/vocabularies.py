"""Train the two unigram vocabularies of the segmentation exhibit.

    python -m engines.recipes.vocabularies --data DATA

DATA holds storybook.txt and quatrains-7.txt. English is cut into words, with the space before each written "▁", Chinese at
its punctuation; tokenizers' UnigramTrainer (Kudo 2018, expectation-maximisation and pruning) does the rest and is
deterministic. English takes half a minute of one core, Chinese four.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from engines.recipes.training import alone
from engines.segmentation.vocabulary import ASSETS

PIECES = 8000
KINDS = {
    "storybook": ("storybook.txt", pre_tokenizers.Metaspace(), 16),
    "quatrain": ("quatrains-7.txt", pre_tokenizers.Split(Regex("[，。\n]"), "isolated"), 4),
}


def train(data: Path, out: Path, name: str) -> None:
    file, cut, longest = KINDS[name]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = cut
    trainer = trainers.UnigramTrainer(
        vocab_size=PIECES, max_piece_length=longest, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator((line.strip() for line in (data / file).open(encoding="utf-8")), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    rows = [[piece, round(score, 5)] for piece, score in model["vocab"] if piece != "<unk>"]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (out / f"{name}-unigram.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{name}: {len(rows)} pieces, {sum(len(piece) > 1 for piece, _ in rows)} of more than one character")


def main() -> None:
    alone()
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    for name in [options.only] if options.only else KINDS:
        train(options.data, options.out, name)


if __name__ == "__main__":
    main()
