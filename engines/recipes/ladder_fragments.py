"""Make the fragments of the training exhibit's ladder view: python -m engines.recipes.ladder_fragments --data FOLDER

FOLDER holds storybook.txt (one paragraph a line). A fragment is the first 10 to 16 words of a sentence, from the runs of 50
paragraphs that the shipped bert-storybook was not trained on (every tenth run); two seconds.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from engines.recipes.training import alone

ASSETS = Path(__file__).parents[2] / "assets" / "training"
COUNT = 2000


def fragments(paragraphs: list[str]) -> list[str]:
    """2,000 different ones, in order of appearance."""
    held = [text for i, text in enumerate(paragraphs) if i // 50 % 10 == 9]
    sentences = (s for text in held for s in re.findall(r"[A-Z][^.!?;:“”‘—]*[.!?;]", text))
    found = [" ".join(words[:16]) for s in sentences if len(words := s.rstrip(".!?;").split()) >= 10]
    found = list(dict.fromkeys(text.rstrip(",") for text in found))
    return [found[i] for i in np.sort(np.random.RandomState(0).permutation(len(found))[:COUNT])]


def main() -> None:
    alone()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    text = (parser.parse_args().data / "storybook.txt").read_text(encoding="utf-8")
    chosen = fragments([line.strip() for line in text.splitlines() if line.strip()])
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "fragments.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    print(f"{len(chosen)} fragments")


if __name__ == "__main__":
    main()
