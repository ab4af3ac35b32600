"""A reader's own points, from the tables that people save: what was read, and as what, is told with them."""

from __future__ import annotations

import csv
import math
import re
import tokenize
import zipfile
import zlib
from array import array as numbers_of
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engines.arguments import Refusal, spelled, text

TEXTS = (".csv", ".tsv", ".txt", ".vec")
KINDS = (".npy", ".npz", *TEXTS)
MOST_MEGABYTES = 200
MOST_ROWS = 100_000
MOST_NUMBERS = 50_000_000
LARGEST = 1e30  # distances between such numbers, and their squares, are drawn as float32
SEPARATORS = {"tab": "\t", "semicolon": ";", "comma": ",", "space": " "}
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "--", "?", "#n/a"}
INDEX_NAMES = {"", "index", "unnamed: 0", "id", "row"}
LABEL_NAMES = {"word", "token", "term", "label", "name", "text", "title", "id", "key", "class", "item"}


@dataclass(frozen=True)
class Reading:
    """What was read from a file, and as what.

    rows, columns: int; points, and coordinates of each
    separator: key of SEPARATORS, or "" (one column, or no text file)
    heading: tuple of texts; the first line, where it was taken for names of columns, or ()
    announced: tuple of two ints; rows and columns in the first line of a word2vec file, or ()
    index: str; name (or number, from 1) of the column that was taken for row numbers, or ""
    labels: tuple of texts; columns (or the array of an .npz) that were taken for labels
    decimal_comma: bool; whether 1,5 was read as 1.5
    blank, comments: int; blank lines and lines that begin with #, which hold no point
    empty: int; columns without any entry, which were left out
    doubtful: "heading" or "index" where the first line or column may be one but was read as numbers, or ""
    array: str; name of the array of an .npz that was read, or ""
    others: tuple of texts; its other arrays, each with its shape, which were not read
    shape: tuple of ints; shape of the array before its rows were flattened
    copies: int; rows that are exact copies of others
    """

    rows: int
    columns: int
    separator: str = ""
    heading: tuple[str, ...] = ()
    announced: tuple[int, ...] = ()
    index: str = ""
    labels: tuple[str, ...] = ()
    decimal_comma: bool = False
    blank: int = 0
    comments: int = 0
    empty: int = 0
    doubtful: str = ""
    array: str = ""
    others: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    copies: int = 0


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
        said.append(("Arrays not read: {names}.", {"names": "; ".join(reading.others)}))
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
                {"names": ", ".join(reading.labels)},
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
        points, labels, reading = _read_text(file) if kind in TEXTS else _read_arrays(file, kind, array)
    except Refusal:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        tokenize.TokenError,
        SyntaxError,  # numpy reads a header as Python
        RuntimeError,
        csv.Error,
        NotImplementedError,
    ):
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
    largest = np.abs(points).max()
    if largest > LARGEST:
        raise Refusal(
            "{parameter}: the table holds numbers as large as {largest}; at most {most} is taken. Divide all by the same number: "
            "it changes no neighbour.",
            parameter="path",
            largest=f"{largest:.0e}",
            most=f"{LARGEST:.0e}",
        )
    copies = len(points) - len(np.unique(points, axis=0))
    return Table(points, labels, replace(reading, rows=len(points), columns=points.shape[1], copies=copies))


def _too_many(rows: int, numbers: int) -> None:
    if rows > MOST_ROWS:
        raise Refusal(
            "{parameter}: the table has {rows} rows; at most {most} are taken. Save a sample of them.",
            parameter="path",
            rows=rows,
            most=MOST_ROWS,
        )
    if numbers > MOST_NUMBERS:
        raise Refusal(
            "{parameter}: the table has {numbers} numbers; at most {most} are taken. Save fewer rows or columns.",
            parameter="path",
            numbers=numbers,
            most=MOST_NUMBERS,
        )


# Arrays


def _read_arrays(file: Path, kind: str, wanted: str) -> tuple[np.ndarray, tuple[str, ...], Reading]:
    if kind == ".npy":
        with file.open("rb") as opened:
            shape, number_type = _announced(opened)
            _numeric("", shape, number_type)
            opened.seek(0)
            return _flat(np.lib.format.read_array(opened, allow_pickle=False)), (), Reading(0, 0, shape=shape)
    with zipfile.ZipFile(file) as archive:
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
                names=", ".join(found),
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
                names=", ".join(found),
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
            and math.prod(its_shape) <= MOST_ROWS
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


def _announced(opened: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type in the header of an .npy file; nothing of the rest is held: a few compressed bytes can announce gigabytes."""
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(opened)
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
    _too_many(shape[0], math.prod(shape))


def _flat(table: np.ndarray) -> np.ndarray:
    if 0 in table.shape:
        return np.empty((0, 0))
    return np.ascontiguousarray(table.reshape(len(table), -1), np.float64)


# Text tables

Row = tuple[int, list[str]]  # line number and cells


def _read_text(file: Path) -> tuple[np.ndarray, tuple[str, ...], Reading]:
    raw = file.read_bytes()
    try:
        written = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("{parameter}: the text is not in UTF-8; save it so.", parameter="path") from None
    if "\0" in written:
        raise Refusal("{parameter}: this is not a text table.", parameter="path")
    lines = list(enumerate(written.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n"), 1))
    kept = [(number, line) for number, line in lines if line.strip(" \t,;")]
    comments = 0
    while comments < len(kept) and _comment(kept[comments][1]):
        comments += 1
    kept, blank = kept[comments:], len(lines) - len(kept)
    if not kept:
        raise Refusal("{parameter}: the table is empty.", parameter="path")
    _too_many(len(kept) - 2, 0)  # a heading and word2vec's line aside
    # What the columns are is judged by the first rows; if a later one is against it, by all.
    found = _table(kept, kept[:1000]) or _table(kept, kept)
    assert found is not None
    points, labels, reading = found
    return points, labels, replace(reading, blank=blank, comments=comments)


def _table(
    lines: list[tuple[int, str]], sample: list[tuple[int, str]]
) -> tuple[np.ndarray, tuple[str, ...], Reading] | None:
    """The table as it looks in the sample, or None if another line does not fit."""
    separator = _separator([line for _, line in sample[:100]])
    rows = list(_rows(sample, separator))
    announced: tuple[int, ...] = ()
    first = rows[0][1]
    if separator == "space" and len(rows) > 1 and len(first) == 2 < len(rows[1][1]) and all(map(_counts, first)):
        announced, rows, lines = (int(first[0]), int(first[1])), rows[1:], lines[1:]
        if announced[0] != len(lines):
            raise Refusal(
                "{parameter}: the first line announces {announced} rows, the file has {rows}. Correct the line or delete it.",
                parameter="path",
                announced=announced[0],
                rows=len(lines),
            )
    lengths = [len(cells) for _, cells in rows]
    width = announced[1] + 1 if announced else max(set(lengths), key=lengths.count)
    if lengths[0] == width - 1 and len(rows) > 1 and all(_number(cell) is None for cell in rows[0][1]):
        rows[0][1].insert(0, "")  # R names no column of row names
    fitted = [_fitted(row, width, separator) for row in rows]
    texts = _texts(fitted)
    empty = [column for column in range(width) if not any(cells[column] for _, cells in fitted)]
    heading, doubtful = _heading(fitted, texts, empty)
    body = fitted[1:] if heading else fitted
    if not body:
        raise Refusal("{parameter}: the table has a heading and no rows.", parameter="path")
    names = heading or ("",) * width
    index, maybe = _index(body, heading, texts)
    coordinates = [c for c in range(width) if c not in texts and c not in empty and c != index]
    if not coordinates:
        raise Refusal("{parameter}: the table holds texts, no numbers.", parameter="path")
    lines = lines[1:] if heading else lines
    _too_many(len(lines), len(lines) * len(coordinates))
    numbers, labels, order = numbers_of("d"), [], []
    commas, thousands = False, True
    for line, cells in _rows(lines, separator) if len(lines) > len(body) else body:
        cells = _fitted((line, cells), width, separator)[1]
        if any(cells[column] for column in empty):
            return None
        labels.append(" · ".join(cells[column] for column in texts))
        if index is not None:
            order.append(cells[index])
        held = [cells[column] for column in coordinates]
        whole = "".join(held)
        if whole.isascii() and "_" not in whole and "," not in whole:
            try:
                numbers.extend(map(float, held))
                continue
            except ValueError:
                del numbers[len(numbers) // len(coordinates) * len(coordinates) :]
        for column, cell in zip(coordinates, held, strict=True):
            value = _number(cell)
            if value is None:
                raise Refusal(
                    "{parameter}: “{cell}” in line {line}, column {column}, is no number.",
                    parameter="path",
                    cell=cell[:40],
                    line=line,
                    column=names[column] or column + 1,
                )
            if "," in cell:
                commas, thousands = True, thousands and bool(re.fullmatch(r"[+\-−]?[1-9]\d{0,2},\d{3}", cell))
            numbers.append(value)
    if index is not None and not (heading and not heading[0]) and not _counted(order):
        return None
    if commas and thousands:
        raise Refusal(
            "{parameter}: a cell such as 1,234 can be a thousand or a little more than one. Write thousands without a separator, "
            "or fractions with a point.",
            parameter="path",
        )
    points = np.frombuffer(numbers, np.float64).reshape(-1, len(coordinates)).copy()
    reading = Reading(
        rows=len(points),
        columns=len(coordinates),
        separator="" if width == 1 else separator,
        heading=heading,
        announced=announced,
        index="" if index is None else names[index] or "1",
        labels=tuple(names[column] or str(column + 1) for column in texts),
        decimal_comma=commas,
        empty=len(empty),
        doubtful=doubtful or maybe,
    )
    return points, tuple(labels if texts else order), reading


def _comment(line: str) -> bool:
    """Whether a line begins with # and is no row whose label is that sign."""
    cells = re.split(r"[\s,;]+", line.strip())
    return cells[0].startswith("#") and (cells[0] != "#" or any(_number(cell) is None for cell in cells[1:]))


def _number(cell: str) -> float | None:
    """A cell as a number, None if it is none: Unicode's minus and a decimal comma are taken, Python's 1_000 is not."""
    cell = cell.strip().replace("−", "-")
    if re.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?", cell, re.ASCII):
        return float(cell.replace(",", "."))
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def _counts(cell: str) -> bool:
    return bool(re.fullmatch(r"\d{1,15}", cell, re.ASCII))


def _counted(cells: list[str]) -> bool:
    """Whether the cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    start = cells[0] if cells and cells[0] in ("0", "1") else "x"
    return start != "x" and all(cell == str(i) for i, cell in enumerate(cells, int(start)))


def _fractions(rows: list[Row], columns: list[int]) -> bool:
    return any(re.search(r"[.,eE]", cells[column]) for _, cells in rows for column in columns)


def _separator(lines: list[str]) -> str:
    """The separator under which most cells of the first lines are numbers, in rows of one length."""

    def merit(separator: str) -> tuple:
        rows = [cells for _, cells in _rows(list(enumerate(lines)), separator)]
        lengths = [len(row) for row in rows]
        usual = max(set(lengths), key=lengths.count)
        # what is no number counts against a separator; so does, a little, what only a decimal comma makes one
        worth = sum(
            (-1 if _number(cell) is None else 0.9 if "," in cell else 1) for row in rows for cell in row if cell
        )
        return usual > 1 and 2 * lengths.count(usual) > len(rows), worth / sum(lengths), lengths.count(usual)

    tabs = any("\t" in line for line in lines)
    return max((name for name in SEPARATORS if not (tabs and name == "space")), key=merit)


def _rows(lines: list[tuple[int, str]], separator: str) -> Iterator[Row]:
    """The cells of each row; a quoted cell may hold separators and go on over lines."""
    quoted = all(line.lstrip().startswith('"') for _, line in lines[1:1000])
    if separator == "space" and not (quoted and len(lines) > 1):
        for number, line in lines:
            yield number, line.split() if "  " in line.strip() or "\t" in line else line.strip().split(" ")
        return

    def reader(some: list[tuple[int, str]], quoting: int) -> Any:
        written = (line.strip(" ") + "\n" for _, line in some)
        return csv.reader(written, delimiter=SEPARATORS[separator], skipinitialspace=True, quoting=quoting)

    def even(quoting: int) -> bool:
        try:
            return len({len(cells) for cells in list(reader(lines[:1000], quoting))[1:]}) <= 1
        except csv.Error:
            return False

    alone = not even(csv.QUOTE_MINIMAL) and even(csv.QUOTE_NONE)  # a " that stands alone is a word
    found = reader(lines, csv.QUOTE_NONE if alone else csv.QUOTE_MINIMAL)
    last = 0
    for cells in found:
        yield lines[last][0], [cell.strip() for cell in cells]
        last = found.line_num


def _fitted(row: Row, width: int, separator: str) -> Row:
    """The row if it has as many cells as the others. In an embedding separated by spaces a word may hold some itself."""
    line, cells = row
    if len(cells) > width > 1 and separator == "space" and None not in map(_number, cells[1 - width :]):
        cells = [" ".join(cells[: 1 - width]), *cells[1 - width :]]
    if len(cells) != width:
        raise Refusal(
            "{parameter}: line {line} has {found} cells where most have {usual}. Every line needs the same number of cells.",
            parameter="path",
            line=line,
            found=len(cells),
            usual=width,
        )
    return line, cells


def _texts(rows: list[Row]) -> list[int]:
    """Columns of labels: below the first row, more than half of the cells are texts."""
    body = [cells for _, cells in rows[1:] or rows]

    def is_text(cell: str) -> bool:
        return _number(cell) is None and cell.lower() not in MISSING

    return [column for column in range(len(body[0])) if 2 * sum(is_text(row[column]) for row in body) > len(body)]


def _heading(rows: list[Row], texts: list[int], empty: list[int]) -> tuple[tuple[str, ...], str]:
    """The first row if it names or numbers the columns, else (); and "heading" if it might."""
    first, body = rows[0][1], rows[1:]
    over = [column for column in range(len(first)) if column not in texts and column not in empty]
    if not body or not over:
        return (), ""

    def name_all(columns: list[int]) -> bool:
        return all(_number(first[c]) is None and first[c].lower() not in MISSING for c in columns)

    # pandas leaves the name of its index empty
    unnamed = over[0] == 0 and first[0].lower() in INDEX_NAMES
    rest = over[1:] if unnamed else over
    if not rest or name_all(over) or (unnamed and name_all(rest)):
        return tuple(first) if rest else (), ""
    given = [first[column] for column in rest]
    distinct = len(set(given)) == len(given) and all(map(_counts, given))
    if distinct and unnamed and _counted([cells[0] for _, cells in body]):
        return tuple(first), ""
    if distinct and texts and (first[texts[0]].lower() in LABEL_NAMES or (first[texts[0]] == "" and _counted(given))):
        return tuple(first), ""
    if len(rest) < 2 or not _counted(given):
        return (), ""
    if unnamed or (len(rest) > 2 and _fractions(body, rest)):
        return tuple(first), ""
    return (), "heading"


def _index(body: list[Row], heading: tuple[str, ...], texts: list[int]) -> tuple[int | None, str]:
    """The first column if it numbers the rows and not the points, else None; and "index" if it might."""
    column = [cells[0] for _, cells in body]
    width = len(body[0][1])
    if 0 in texts or width < 2 or not all(map(_counts, column)):
        return None, ""
    if heading:
        name = heading[0].lower()
        return (0, "") if name == "" or (name in INDEX_NAMES and _counted(column)) else (None, "")
    if len(column) < 3 or not _counted(column):
        return None, ""
    others = [c for c in range(1, width) if c not in texts]
    return (0, "") if others and _fractions(body, others) else (None, "index")
