"""Train the Chinese unigram vocabulary of the segmentation exhibit.

    python assets/segmentation/train.py --data PATH/quatrains-7.txt

The text is cut at punctuation first, so a piece is at most one line of a poem; tokenizers' UnigramTrainer (Kudo 2018,
expectation-maximisation and pruning) does the rest and is deterministic. About two minutes on one core.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

PIECES = 8000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="quatrains, one a line")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("quatrain-unigram.json"))
    options = parser.parse_args()

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[，。\n]"), "isolated")
    trainer = trainers.UnigramTrainer(
        vocab_size=PIECES, max_piece_length=4, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator((line.strip() for line in options.data.open(encoding="utf-8")), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    rows = [[piece, round(score, 5)] for piece, score in model["vocab"] if piece != "<unk>"]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    options.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(rows)} pieces, {sum(len(piece) > 1 for piece, _ in rows)} of more than one character")


if __name__ == "__main__":
    main()
