"""Make the two embedded sets of the hubness exhibit.

    python -m engines.recipes.hubness_sets --data FOLDER

FOLDER holds emoji-32.npz (images uint8 [1600, 32, 32, 3]) and storybook.txt (one paragraph a line). Needs Pillow and
scikit-learn; about ten seconds.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from engines.recipes.training import alone

ASSETS = Path(__file__).parents[2] / "assets" / "hubness"


def emoji(data: Path) -> None:
    """100 principal components of the 32 x 32 pixels, and 24 x 24 thumbnails in a palette of 256 colours."""
    from PIL import Image

    images = np.load(data / "emoji-32.npz", allow_pickle=False)["images"]
    n = len(images)
    pixels = images.reshape(n, -1) / 255.0
    pixels -= pixels.mean(0)
    u, s, _ = np.linalg.svd(pixels, full_matrices=False)
    features = (u[:, :100] * s[:100]).astype(np.float16)
    small = [np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.LANCZOS)) for image in images]
    sheet = Image.fromarray(np.concatenate(small)).quantize(256)
    np.savez_compressed(
        ASSETS / "emoji.npz",
        features=features,
        thumbnails=np.asarray(sheet).reshape(n, 24, 24),
        palette=np.asarray(sheet.getpalette(), np.uint8).reshape(-1, 3),
    )
    print(f"emoji: {n}, {(s[:100] ** 2).sum() / (s**2).sum():.1%} of the variance kept")


def sentences(data: Path) -> None:
    """1,500 sentences of 50 to 110 characters as 100 latent-semantic components (TF-IDF, then a truncated SVD)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    text = (data / "storybook.txt").read_text(encoding="utf-8")
    found = (s.strip() for line in text.split("\n") for s in re.findall(r"[A-Z][^.!?“”]*[.!?]", line))
    found = list(dict.fromkeys(s for s in found if 50 <= len(s) <= 110))
    chosen = [found[i] for i in np.sort(np.random.RandomState(0).permutation(len(found))[:1500])]
    counts = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(chosen)
    features = TruncatedSVD(100, random_state=0).fit_transform(counts)
    np.savez_compressed(ASSETS / "sentences.npz", features=features.astype(np.float16), text=np.array(chosen))
    print(f"sentences: {len(chosen)} of {len(found)}, {counts.shape[1]} words")


def main() -> None:
    alone()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    emoji(data)
    sentences(data)


if __name__ == "__main__":
    main()
