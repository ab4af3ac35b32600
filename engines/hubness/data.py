"""Point sets: laws with a chosen intrinsic dimension, embedded sets with pictures or texts, and a reader's own file."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

LAWS = ("uniform", "normal", "sphere", "mixture")
EMBEDDED = ("digits", "emoji", "sentences")
SETS = LAWS + EMBEDDED
ASSETS = Path(__file__).parents[2] / "assets" / "hubness"
MOST_MEGABYTES = 200
MOST_ROWS = 100_000
MOST_NUMBERS = 50_000_000
LARGEST = 1e30  # distances between such numbers, and their squares' sums, stay far from overflow, even as float32


@dataclass(frozen=True)
class PointSet:
    """Points, and what they look like.

    points: float64 [n, d]
    pictures: uint8 [n, h, w] or [n, h, w, 3], or None
    texts: n texts, or ()
    note: what a reader should know about the set (duplicates), or ""
    """

    points: np.ndarray
    pictures: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    note: str = ""


def draw_law(law: str, n: int, dimension: int, intrinsic: int = 0, seed: int = 0) -> np.ndarray:
    """n points, float64 [n, dimension], of a law in `intrinsic` dimensions (0: all), turned into the ambient space.

    uniform: on the unit cube; normal: standard; sphere: uniform on the unit sphere; mixture: eight equal standard normals
    whose centres are drawn with standard deviation 4. Drawn by numpy's RandomState(seed).
    """
    if law not in LAWS:
        raise ValueError(f"data must be one of {', '.join(LAWS)}; got {law!r}.")
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
    if name in LAWS:
        return PointSet(draw_law(name, n, dimension, intrinsic, seed))
    if name not in SETS:
        raise ValueError(f"data must be one of {', '.join(SETS)}; got {name!r}.")
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


def read_points(path: str) -> PointSet:
    """A reader's own points from a .npy, .npz (its first table) or .csv file (a heading line is skipped).

    Nothing in the file is ever executed: pickles are refused. Raises ValueError, in a sentence, for a file that is too big
    (over 200 MB, 100,000 rows or 50 million numbers), of another kind, broken, or holding NaN or numbers beyond 1e30.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind not in (".npy", ".npz", ".csv"):
        raise ValueError("path: the file must be a .npy, .npz or .csv table, one point a row.")
    if not file.is_file():
        raise ValueError("path: there is no such file; upload it again.")
    if file.stat().st_size > MOST_MEGABYTES * 2**20:
        raise ValueError(
            f"path: the file has {file.stat().st_size / 2**20:,.0f} MB; at most {MOST_MEGABYTES} MB are read. Save a sample of its rows as float32."
        )
    try:
        table = _read_csv(file) if kind == ".csv" else _read_npy(file, kind)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, tokenize.TokenError, RuntimeError, UnicodeDecodeError):
        raise ValueError(f"path: this is not a readable {kind} file.") from None
    if table.ndim < 2:
        raise ValueError("path: the array is a single number or one row of them; points need a table, one row each.")
    if 0 in table.shape:
        raise ValueError("path: the table is empty.")
    table = table.reshape(len(table), -1)
    if len(table) > MOST_ROWS:
        raise ValueError(
            f"path: the table has {len(table):,} rows; at most {MOST_ROWS:,} are taken. Save a sample of them."
        )
    table = table.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(table).all(1))
    if len(bad):
        rows = ", ".join(map(str, bad[:3])) + (", ..." if len(bad) > 3 else "")
        raise ValueError(
            f"path: {len(bad):,} of {len(table):,} rows hold NaN or infinity (rows {rows}, counted from 0); remove or fill them."
        )
    largest = np.abs(table).max()
    if largest > LARGEST:
        raise ValueError(
            f"path: the table holds numbers as large as {largest:.0e}; at most {LARGEST:.0e} is taken. Divide all by the same number: it changes no neighbour."
        )
    copies = len(table) - len(np.unique(table, axis=0))
    note = ""
    if copies:
        note = (
            f"{copies:,} of the {len(table):,} rows are exact copies of others. Copies are each other's nearest neighbours at "
            "distance zero and ties go to the lower row, so they inflate the counts: drop them unless you mean them."
        )
    return PointSet(table, note=note)


def _read_npy(file: Path, kind: str) -> np.ndarray:
    try:
        if kind == ".npy":
            with file.open("rb") as opened:
                return _array(opened)
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as opened:
                    table = _array(opened, least=2)
                if table is not None:
                    return table
    except ValueError as error:
        if str(error).startswith("path:"):
            raise
        raise ValueError(f"path: this is not a readable {kind} file.") from None
    raise ValueError("path: the .npz holds no table of two dimensions.")


def _array(opened: BinaryIO, least: int = 0) -> np.ndarray | None:
    """The array of an open .npy file, or None if it has fewer than `least` dimensions.

    What its header announces is looked at before anything is held: a few compressed bytes can announce gigabytes.
    """
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(opened)
    if kind.hasobject:
        raise ValueError(
            "path: the file holds pickled Python objects, which are never opened. Save a plain numeric array with numpy.save."
        )
    if len(shape) < least:
        return None
    if kind.kind not in "fiub":
        raise ValueError(f"path: the array holds {kind.name}, not real numbers.")
    _refuse_size(math.prod(shape))
    opened.seek(0)
    return np.lib.format.read_array(opened, allow_pickle=False)


def _refuse_size(numbers: int) -> None:
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"path: the table has {numbers:,} numbers; at most {MOST_NUMBERS:,} are taken. Save fewer rows or columns."
        )


def _read_csv(file: Path) -> np.ndarray:
    with file.open(encoding="utf-8-sig") as lines:
        first = lines.readline()
    if not first.strip():
        raise ValueError("path: the .csv is empty, or its first line is.")
    try:
        [float(cell) for cell in first.replace(";", ",").split(",")]
        heading = 0
    except ValueError:
        heading = 1
    separator = ";" if first.count(";") > first.count(",") else ","
    try:
        table = np.loadtxt(file, delimiter=separator, skiprows=heading, ndmin=2, encoding="utf-8-sig", comments=None)
    except ValueError:
        raise ValueError(
            "path: the .csv is not a table of numbers: every line needs the same number of numeric cells, after at most one heading line."
        ) from None
    _refuse_size(table.size)
    return table
