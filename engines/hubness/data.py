"""Point sets: laws with a chosen intrinsic dimension, and embedded sets with pictures or texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.arguments import one_of, whole
from engines.hubness.files import read_points  # noqa: F401 (a set of one's own)

LAWS = ("uniform", "normal", "sphere", "mixture")
EMBEDDED = ("digits", "emoji", "sentences")
SETS = LAWS + EMBEDDED
ASSETS = Path(__file__).parents[2] / "assets" / "hubness"


@dataclass(frozen=True)
class PointSet:
    """Points, and what they look like.

    points: float64 [n, d]
    pictures: uint8 [n, h, w] or [n, h, w, 3], or None
    texts: tuple of n texts, or ()
    """

    points: np.ndarray
    pictures: np.ndarray | None = None
    texts: tuple[str, ...] = ()


def draw_law(law: str, n: int, dimension: int, intrinsic: int = 0, seed: int = 0) -> np.ndarray:
    """n points, float64 [n, dimension], of a law in `intrinsic` dimensions (0: all), turned into the ambient space.

    uniform: on the unit cube; normal: standard; sphere: uniform on the unit sphere; mixture: eight equal standard normals
    whose centres are drawn with standard deviation 4. Drawn by numpy's RandomState(seed).
    """
    one_of("law", law, LAWS)
    n, dimension = whole("n", n, 1, 10_000_000), whole("dimension", dimension, 1, 100_000)
    intrinsic, seed = whole("intrinsic", intrinsic, 0, 100_000), whole("seed", seed, 0, 2**32 - 1)
    random = np.random.RandomState(seed)
    m = min(intrinsic, dimension) or dimension
    points = random.uniform(size=(n, m)) if law == "uniform" else random.normal(size=(n, m))
    if law == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    elif law == "mixture":
        points += (4 * random.normal(size=(8, m)))[random.randint(8, size=n)]
    if m < dimension:
        basis, _ = np.linalg.qr(random.normal(size=(dimension, m)))
        points = points @ basis.T
    return points


def load_set(name: str, n: int = 2000, dimension: int = 100, intrinsic: int = 0, seed: int = 0) -> PointSet:
    """A point set by name: a law of LAWS, or an embedded set (then at most n of its points, chosen by the seed).

    digits: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; emoji and sentences: see assets/hubness.
    """
    one_of("name", name, SETS)
    if name in LAWS:
        return PointSet(draw_law(name, n, dimension, intrinsic, seed))
    n, seed = whole("n", n, 1, 10_000_000), whole("seed", seed, 0, 2**32 - 1)
    texts: np.ndarray | None = None
    pictures: np.ndarray | None = None
    if name == "digits":
        from sklearn.datasets import load_digits

        points = load_digits().data
        pictures = (255 - points.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    else:
        with np.load(ASSETS / f"{name}.npz", allow_pickle=False) as file:
            points = file["features"].astype(np.float64)
            if name == "emoji":
                pictures = file["palette"][file["thumbnails"]]
            else:
                texts = file["text"]
    if n < len(points):
        chosen = np.sort(np.random.RandomState(seed).permutation(len(points))[:n])
        points = points[chosen]
        pictures = None if pictures is None else pictures[chosen]
        texts = None if texts is None else texts[chosen]
    return PointSet(points, pictures, () if texts is None else tuple(map(str, texts)))
