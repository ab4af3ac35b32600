"""Text tables as people save them: which columns are labels, an index, or coordinates, and where the heading is."""

from __future__ import annotations

import csv
import math
import re
from array import array as numbers_of
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path

import numpy as np

from engines.arguments import Refusal

MOST_ROWS = 100_000
MOST_NUMBERS = 50_000_000
MOST_LINE = 2_000_000  # bytes
SAMPLE = 4_000_000  # characters of the first rows, by which the columns are judged
WHOLE = 10_000_000  # of a table that can be judged by all its rows
MOST_BYTES = 50_000_000  # of a text, and
MOST_CELLS = 10_000_000  # numbers in it: two or three seconds
SEPARATORS = {"tab": "\t", "semicolon": ";", "comma": ",", "space": " "}
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "--", "?", "#n/a"}
INDEX_NAMES = {"", "index", "unnamed: 0", "id", "row"}
DECIMAL = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
DECIMALS = re.compile(rf"{DECIMAL.pattern}(;{DECIMAL.pattern})*", re.ASCII)  # cells of a row
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


def too_many(rows: int, numbers: int, most: int = MOST_NUMBERS) -> None:
    if rows > MOST_ROWS:
        raise Refusal(
            "{parameter}: the table has {rows} rows; at most {most} are taken. Save a sample of them.",
            parameter="path",
            rows=rows,
            most=MOST_ROWS,
        )
    if numbers > most:
        raise Refusal(
            "{parameter}: the table has {numbers} numbers; at most {most} are taken. Save fewer rows or columns.",
            parameter="path",
            numbers=numbers,
            most=most,
        )


Row = tuple[int, list[str]]  # line number and cells


def read_text(file: Path) -> tuple[np.ndarray, tuple[str, ...], Reading]:
    """The points, the labels and what was taken for what, of a text table."""
    if (size := file.stat().st_size) > MOST_BYTES:
        raise Refusal(
            "{parameter}: the text has {size} MB; at most {most} MB of text are read. Save the table with numpy.save, as .npy.",
            parameter="path",
            size=math.ceil(size / 1e6),
            most=MOST_BYTES // 10**6,
        )
    raw = file.read_bytes()
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raw = raw.decode("utf-16").encode()
        # a line at a time: one sign of four bytes would make a text of the whole file four times its size
        lines = [(number, line.decode()) for number, line in enumerate(_lines(raw.removeprefix(b"\xef\xbb\xbf")), 1)]
    except UnicodeDecodeError:
        raise Refusal("{parameter}: the text is not in UTF-8; save it so.", parameter="path") from None
    kept = [(number, line) for number, line in lines if line.strip(" \t,;")]
    comments = 0
    while comments < len(kept) and _comment(kept[comments][1]):
        comments += 1
    kept, blank = kept[comments:], len(lines) - len(kept)
    if not kept:
        raise Refusal("{parameter}: the table is empty.", parameter="path")
    too_many(len(kept) - 2, 0)  # a heading and word2vec's line aside
    # What the columns are is judged by the first rows; if a later one is against it, by all.
    found = _table(kept, _first(kept, 1000, SAMPLE))
    if found is None and len(raw) > WHOLE:
        raise Refusal(
            "{parameter}: in the first rows a column is empty or numbers the rows, in later ones it holds something else. "
            "In a file of more than {most} MB delete that column.",
            parameter="path",
            most=WHOLE // 10**6,
        )
    found = found or _table(kept, kept)
    assert found is not None
    points, labels, reading = found
    return points, labels, replace(reading, blank=blank, comments=comments)


def _lines(raw: bytes) -> list[bytes]:
    """The lines of a file, unless there are more, or longer ones, than a table has that is taken."""
    if b"\0" in raw:
        raise Refusal("{parameter}: this is not a text table.", parameter="path")
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n")
    if (count := raw.count(b"\n")) > 2 * MOST_ROWS + 10_000:  # every second one may be blank
        too_many(count, 0)
    lines = raw.split(b"\n")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > MOST_LINE:
        raise Refusal(
            "{parameter}: line {line} has more than {most} characters; so many columns are not taken.",
            parameter="path",
            line=longest + 1,
            most=MOST_LINE,
        )
    return lines


def _first(lines: list[tuple[int, str]], count: int, most: int) -> list[tuple[int, str]]:
    """The first `count` lines, fewer (but two) where they have more than `most` characters."""
    lengths = accumulate(len(line) for _, line in lines[:count])
    return lines[: max(2, sum(length <= most for length in lengths))]


def _table(
    lines: list[tuple[int, str]], sample: list[tuple[int, str]]
) -> tuple[np.ndarray, tuple[str, ...], Reading] | None:
    """The table as it looks in the sample, or None if another line does not fit."""
    separator = _separator([line for _, line in _first(sample, 100, SAMPLE // 4)])
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
    coordinates = sorted({*range(width)} - {*texts, *empty, index})
    if not coordinates:
        raise Refusal("{parameter}: the table holds texts, no numbers.", parameter="path")
    lines = lines[1:] if heading else lines
    too_many(len(lines), len(lines) * len(coordinates), MOST_CELLS)
    numbers, labels, order = numbers_of("d"), [], []
    commas, thousands = False, True
    in_a_row = coordinates == [*range(coordinates[0], width)]
    for line, cells in _rows(lines, separator) if len(lines) > len(body) else body:
        cells = _fitted((line, cells), width, separator)[1]
        if any(cells[column] for column in empty):
            return None
        if texts:
            labels.append(" · ".join([cells[column] for column in texts]))
        if index is not None:
            order.append(cells[index])
        held = cells[coordinates[0] :] if in_a_row else [cells[column] for column in coordinates]
        whole = ";".join(held)
        if commas and not thousands and DECIMALS.fullmatch(whole):
            numbers.extend(map(float, whole.replace(",", ".").split(";")))
            continue
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
    points = np.frombuffer(numbers, np.float64).reshape(-1, len(coordinates))
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
    if DECIMAL.fullmatch(cell):
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
        try:
            rows = [cells for _, cells in _rows(list(enumerate(lines)), separator)]
        except csv.Error:  # a long line that it does not separate is a cell longer than Python takes
            return False, 0.0, 0
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
    if not any('"' in line or len(line) > csv.field_size_limit() for _, line in lines):  # many times as fast as csv
        blank = re.compile(r"[^\S\t]" if separator == "tab" else r"\s")
        for number, line in lines:
            cells = line.split(SEPARATORS[separator])
            yield number, [cell.strip() for cell in cells] if blank.search(line) else cells
        return

    def reader(some: list[tuple[int, str]], quoting: int) -> Iterator[Row]:
        last = length = 0

        def written() -> Iterator[str]:
            nonlocal length
            for _, line in some:
                length += len(line)
                if length > 2 * MOST_LINE:  # of one row, by quotes that go on and on
                    raise csv.Error
                yield line.strip(" ") + "\n"

        found = csv.reader(written(), delimiter=SEPARATORS[separator], skipinitialspace=True, quoting=quoting)
        for cells in found:
            yield some[last][0], [cell.strip() for cell in cells]
            last, length = found.line_num, 0

    def even(quoting: int) -> bool:
        try:
            return len({len(cells) for _, cells in islice(reader(_first(lines, 1000, SAMPLE), quoting), 1, None)}) <= 1
        except csv.Error:
            return False

    alone = not even(csv.QUOTE_MINIMAL) and even(csv.QUOTE_NONE)  # a " that stands alone is a word
    yield from reader(lines, csv.QUOTE_NONE if alone else csv.QUOTE_MINIMAL)


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
    over = sorted({*range(len(first))} - {*texts, *empty})
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
    others = sorted({*range(1, width)} - {*texts})
    return (0, "") if others and _fractions(body, others) else (None, "index")
