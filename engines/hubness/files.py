"""A reader's own points, from the tables that people save: what was read, and as what, is told with them."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED

import numpy as np

from engines.arguments import Refusal, spelled, text
from engines.hubness.tables import Reading, read_text, too_many

TEXTS = (".csv", ".tsv", ".txt", ".vec")
KINDS = (".npy", ".npz", *TEXTS)
MOST_MEGABYTES = 200
MOST_ARRAYS = 1000
MOST_LABEL_BYTES = 20_000_000
LARGEST = 1e30  # distances between such numbers, and their squares, are drawn as float32


@dataclass(frozen=True)
class Table:
    """A table from a file.

    points: float64 [rows, columns]
    labels: tuple of `rows` texts, or ()
    reading: Reading; what was taken for what
    """

    points: np.ndarray
    labels: tuple[str, ...]
    reading: Reading

    @property
    def note(self) -> str:
        """What was read, in English."""
        return said_of(self.reading)


def sentences(reading: Reading) -> list[tuple[str, dict]]:
    """What was read and as what: sentences with named fields, and the fields of each."""
    said: list[tuple[str, dict]] = [
        ("Read {rows} points of {columns} coordinates.", {"rows": reading.rows, "columns": reading.columns})
    ]
    if reading.array:
        said.append(("Array: {name}.", {"name": reading.array}))
    if reading.others:
        said.append(("Arrays not read: {names}.", {"names": "; ".join(reading.others)[:200]}))
    if len(reading.shape) > 2:
        said.append(("Each row, {shape}, was flattened.", {"shape": " × ".join(map(str, reading.shape[1:]))}))
    if reading.announced:
        rows, columns = reading.announced
        said.append(("The first line announces {rows} rows of {columns} numbers.", {"rows": rows, "columns": columns}))
    if reading.heading:
        said.append(("The first line is a heading: {names}.", {"names": ", ".join(reading.heading)[:200]}))
    if reading.labels:
        said.append(
            (
                "Taken for labels, not for coordinates: array {names}."
                if reading.array
                else "Taken for labels, not for coordinates: column {names}.",
                {"names": ", ".join(reading.labels)[:200]},
            )
        )
    if reading.index:
        said.append(("Column {name} numbers the rows; it is no coordinate.", {"name": reading.index}))
    if reading.decimal_comma:
        said.append(("Decimal commas were read as points.", {}))
    if reading.blank or reading.comments:
        said.append(
            (
                "Lines without a point: {blank} blank, {comments} that begin with #.",
                {"blank": reading.blank, "comments": reading.comments},
            )
        )
    if reading.empty:
        said.append(("Columns without entries, left out: {empty}.", {"empty": reading.empty}))
    if reading.doubtful == "heading":
        said.append(("The first line was taken for a point. If it numbers the columns, delete it.", {}))
    if reading.doubtful == "index":
        said.append(("The first column was taken for a coordinate. If it numbers the rows, delete it.", {}))
    if reading.copies:
        said.append(
            (
                "{copies} rows are exact copies of others. Copies are each other's nearest neighbours at distance 0, and of equal "
                "distances the lower row counts as nearer: they inflate N.",
                {"copies": reading.copies},
            )
        )
    return said


def said_of(reading: Reading) -> str:
    """`sentences` in English, as one text."""
    return " ".join(
        template.format(**{name: spelled(value) for name, value in fields.items()})
        for template, fields in sentences(reading)
    )


def read_points(path: str, array: str = "") -> Table:
    """Points from a file, one a row: .npy, .npz, or a text table (.csv, .tsv, .txt, .vec; word2vec and GloVe too).

    array: which array of an .npz; "" for its largest table of fractions, or else of whole numbers

    A first line of names is a heading; so is one that numbers the columns (0, 1, 2, ...) over fractions. A column of texts
    labels the rows; a first column of row numbers is an index. Anything else that is no number is refused with its line.
    Nothing in the file is ever executed: pickles are refused. Raises Refusal for a file that is too big (over 200 MB, 100,000
    rows or 50 million numbers), of another kind, broken, ragged, or holding NaN or numbers beyond 1e30.
    """
    array = text("array", array, 200)
    if not isinstance(path, str | Path):
        raise Refusal("{parameter} must be the path of a file.", parameter="path")
    file = Path(path)
    kind = file.suffix.lower()
    if kind not in KINDS:
        raise Refusal(
            "{parameter}: the file must be one of {kinds}, one point a row.", parameter="path", kinds=", ".join(KINDS)
        )
    if "\0" in str(path) or not file.is_file():
        raise Refusal("{parameter}: there is no such file; upload it again.", parameter="path")
    if file.stat().st_size > MOST_MEGABYTES * 2**20:
        raise Refusal(
            "{parameter}: the file has {size} MB; at most {most} MB are read. Save a sample of its rows as float32.",
            parameter="path",
            size=math.ceil(file.stat().st_size / 2**20),
            most=MOST_MEGABYTES,
        )
    try:
        points, labels, reading = read_text(file) if kind in TEXTS else _read_arrays(file, kind, array)
    except Refusal:
        raise
    except Exception:  # what zipfile, zlib, csv, and numpy, which reads a header as Python, raise on damaged files
        raise Refusal("{parameter}: this is not a readable {kind} file.", parameter="path", kind=kind) from None
    if 0 in points.shape:
        raise Refusal("{parameter}: the table is empty.", parameter="path")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if len(bad):
        raise Refusal(
            "{parameter}: {bad} of {rows} rows hold NaN or infinity (rows {first}, counted from 0); remove or fill them.",
            parameter="path",
            bad=len(bad),
            rows=len(points),
            first=", ".join(map(str, bad[:3])) + (", ..." if len(bad) > 3 else ""),
        )
    largest = max(points.max(), -points.min())
    if largest > LARGEST:
        raise Refusal(
            "{parameter}: the table holds numbers as large as {largest}; at most {most} is taken. Divide all by the same number: "
            "it changes no neighbour.",
            parameter="path",
            largest=f"{largest:.0e}",
            most=f"{LARGEST:.0e}",
        )
    copies = len(points) - len({hashlib.blake2b(row + 0.0).digest() for row in points})  # -0.0 is 0.0
    return Table(points, labels, replace(reading, rows=len(points), columns=points.shape[1], copies=copies))


# Arrays


def _read_arrays(file: Path, kind: str, wanted: str) -> tuple[np.ndarray, tuple[str, ...], Reading]:
    if kind == ".npy":
        with file.open("rb") as opened:
            shape, number_type = _announced(opened)
            _numeric("", shape, number_type)
            opened.seek(0)
            return _flat(np.lib.format.read_array(opened, allow_pickle=False)), (), Reading(0, 0, shape=shape)
    with _Pieces(file) as pieces, zipfile.ZipFile(pieces) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ARRAYS or {entry.compress_type for entry in entries} - {ZIP_STORED, ZIP_DEFLATED}:
            raise zipfile.BadZipFile  # numpy's own are not like that
        found = {}
        for entry in archive.namelist():
            with archive.open(entry) as opened:
                found[entry.removesuffix(".npy")] = (entry, *_announced(opened))
        tables = {
            name: (shape, number_type)
            for name, (_, shape, number_type) in found.items()
            if len(shape) > 1 and 0 not in shape and not number_type.hasobject and number_type.kind in "fiub"
        }
        if wanted and wanted not in found:
            raise Refusal(
                "{parameter}: the .npz has no array {wanted}; it has {names}.",
                parameter="array",
                wanted=wanted,
                names=", ".join(found)[:200],
            )
        if not wanted and {"indptr", "indices", "data"} <= found.keys():
            raise Refusal(
                "{parameter}: the .npz is a sparse matrix of scipy; save it dense (toarray).", parameter="path"
            )
        if not wanted and not tables:
            for name, (_, shape, number_type) in found.items():
                if len(shape) > 1 or number_type.hasobject:
                    _numeric(name, shape, number_type)
            raise Refusal(
                "{parameter}: the .npz holds no table of numbers in two dimensions; it has {names}.",
                parameter="path",
                names=", ".join(found)[:200],
            )
        name = wanted or max(tables, key=lambda key: (tables[key][1].kind == "f", math.prod(tables[key][0])))
        _, shape, number_type = found[name]
        _numeric(name, shape, number_type)

        def load(key: str) -> np.ndarray:
            with archive.open(found[key][0]) as opened:
                return np.lib.format.read_array(opened, allow_pickle=False)

        # labels: a list as long as the table, of texts if there is one, else of whole numbers
        lists = [
            (kind_of.kind in "US", key)
            for key, (_, its_shape, kind_of) in found.items()
            if its_shape == shape[:1]
            and kind_of.kind in "USiu"
            and not kind_of.hasobject
            and math.prod(its_shape) * kind_of.itemsize <= MOST_LABEL_BYTES
        ]
        labelled = max(lists, key=lambda entry: entry[0])[1] if lists else ""
        labels = load(labelled) if labelled else ()
        named = tuple(x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x) for x in list(labels))
        others = tuple(
            f"{key} {'pickled' if kind_of.hasobject else list(its_shape)}"
            for key, (_, its_shape, kind_of) in found.items()
            if key not in (name, labelled)
        )
        reading = Reading(0, 0, array=name, labels=(labelled,) if labelled else (), others=others, shape=shape)
        return _flat(load(name)), named, reading


class _Pieces(io.FileIO):
    """A file that is read in pieces of at most a megabyte: an archive's list of entries would be held as a whole."""

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(2**20 + 1 if size is None or size < 0 else size)
        if len(piece) > 2**20:
            raise zipfile.BadZipFile
        return piece


def _announced(opened: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type in the header of an .npy file; nothing of the rest is held: a few compressed bytes can announce gigabytes."""
    head = io.BytesIO(opened.read(10_128))  # numpy takes no longer header, but would read one of 4 GB to its end first
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(head)
    return shape, kind


def _numeric(name: str, shape: tuple[int, ...], kind: np.dtype) -> None:
    if kind.hasobject:
        raise Refusal(
            "{parameter}: the file holds pickled Python objects, which are never opened. Save a plain numeric array with numpy.save.",
            parameter="path",
        )
    if kind.kind not in "fiub":
        raise Refusal(
            "{parameter}: the array {name} holds {kind}, not real numbers.", parameter="path", name=name, kind=kind.name
        )
    if len(shape) < 2:
        raise Refusal(
            "{parameter}: the array {name} is a single number or one row of them; points need a table, one row each.",
            parameter="path",
            name=name,
        )
    too_many(shape[0], math.prod(shape))


def _flat(table: np.ndarray) -> np.ndarray:
    if 0 in table.shape:
        return np.empty((0, 0))
    return np.ascontiguousarray(table.reshape(len(table), -1), np.float64)
