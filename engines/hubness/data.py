"""Point sets: distributions with a chosen intrinsic dimension, embedded sets with pictures or texts, and a file of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.arguments import Refusal, one_of, whole
from engines.hubness.files import Reading, read_points

LAWS = ("uniform", "normal", "sphere", "mixture")
EMBEDDED = ("digits", "emoji", "sentences")
SETS = (*LAWS, *EMBEDDED, "file")
MOST_KEPT = 2**25  # bytes of the points of a file that are kept
_latest: tuple = (None, None)  # what was asked of a file, and its points: a slider that is dragged asks for them again
ASSETS = Path(__file__).parents[2] / "assets" / "hubness"


@dataclass(frozen=True)
class PointSet:
    """Points, and what they look like.

    points: float64 [n, d]
    pictures: uint8 [n, h, w] or [n, h, w, 3], or None
    texts: tuple of n texts, or ()
    chosen: int32 [n], their numbers in the whole set, from 0
    reading: Reading of a file, or None
    """

    points: np.ndarray
    pictures: np.ndarray | None
    texts: tuple[str, ...]
    chosen: np.ndarray
    reading: Reading | None = None


def draw_law(law: str, n: int, dimension: int, intrinsic: int = 0, seed: int = 0) -> np.ndarray:
    """n points, float64 [n, dimension], of a distribution in `intrinsic` dimensions (0: all), turned into the ambient space.

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


def load_set(
    name: str,
    n: int = 2000,
    dimension: int = 100,
    intrinsic: int = 0,
    seed: int = 0,
    path: str | None = None,
    array: str = "",
) -> PointSet:
    """A point set by name: a distribution of LAWS, or an embedded set or a file, then at most n of its points, chosen by the seed.

    digits: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; emoji and sentences: see assets/hubness; file: the table at
    `path` (`array` of an .npz), as `read_points` takes it
    """
    one_of("data", name, SETS)
    n, seed = whole("points", n, 1, 10_000_000), whole("seed", seed, 0, 2**32 - 1)
    if name in LAWS:
        return PointSet(draw_law(name, n, dimension, intrinsic, seed), None, (), np.arange(n, dtype=np.int32))
    global _latest
    texts: np.ndarray | None = None
    pictures: np.ndarray | None = None
    reading = None
    asked = None
    if name == "file":
        if path is None:
            raise Refusal("{parameter}: upload a table, or choose another set.", parameter="path")
        if isinstance(path, str) and Path(path).is_file():
            asked = (path, Path(path).stat().st_mtime_ns, array, n, seed)
        known, kept = _latest
        if asked and asked == known:
            return kept
        table = read_points(path, array)
        points, reading = table.points, table.reading
        texts = np.array(table.labels, dtype=object) if table.labels else None
    elif name == "digits":
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
    chosen = np.arange(len(points), dtype=np.int32)
    if n < len(points):
        chosen = np.sort(np.random.RandomState(seed).permutation(len(points))[:n]).astype(np.int32)
        points = points[chosen]
        pictures = None if pictures is None else pictures[chosen]
        texts = None if texts is None else texts[chosen]
    found = PointSet(points, pictures, () if texts is None else tuple(map(str, texts)), chosen, reading)
    if asked and points.nbytes <= MOST_KEPT:
        _latest = asked, found
    return found
