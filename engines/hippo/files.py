"""A visitor's own signal: a sound (.wav), a table (.csv) or a drawn curve, brought to a number of samples.

What was read is handed on as numbers (`Signal.facts`), so that the page can say it.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import struct
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

import numpy as np

from engines.arguments import Refusal, quoted, whole
from engines.pictures import read_drawing

LENGTH = 6 * math.pi  # a drawing, like a formula, runs over t in [0, 6 pi): three windows of 2 pi by default
MEGABYTES = 64
ROWS = 250_000
LONGEST_ROW = 1000
MOST_CHUNKS = 1000  # of a .wav
MOST_VALUE = 1e12
ENDINGS = (".wav", ".csv")


@dataclass(frozen=True)
class Signal:
    """A signal in equal steps.

    values: float64 [K]; each the value throughout its step
    duration: float, `unit`; the time that they span
    unit: str; "s" or empty
    kind: str; where it comes from: "preset", "formula", "sound", "table", "drawing" or "none" (nothing was given: a stand-in)
    facts: str -> number; what was read. sound: samples, rate (a second), channels, bits, unclosed (1 if the header's size of
        the sound was wrong and the file was read to its end). table: rows, columns, headings (lines passed over), dated (1 if
        times are dates, in s)
    """

    values: np.ndarray
    duration: float
    unit: str = ""
    kind: str = "preset"
    facts: dict[str, float] = field(default_factory=dict)


def fit(values: np.ndarray, count: int) -> np.ndarray:
    """`count` samples of as many or more, each the mean over its step (so nothing aliases), of fewer, by interpolation."""
    n = len(values)
    if n <= count:
        return np.interp((np.arange(count) + 0.5) / count, (np.arange(n) + 0.5) / n, values)
    edges = np.linspace(0, n, count + 1)
    area = np.interp(edges, np.arange(n + 1), np.concatenate([[0.0], np.cumsum(values)]))
    return np.diff(area) * count / n


def _bytes(name: str, path: str) -> bytes:
    if not isinstance(path, str | os.PathLike):
        raise Refusal("{parameter} must be the path of a file, not {given}.", parameter=name, given=quoted(path))
    if not os.path.isfile(path):
        raise Refusal("{parameter}: the file is no longer there; choose it again.", parameter=name)
    if os.path.getsize(path) > MEGABYTES * 2**20:
        raise Refusal(
            "{parameter}: the file is larger than {most} MB; cut a shorter piece.", parameter=name, most=MEGABYTES
        )
    with open(path, "rb") as file:
        return file.read()


def _closed(data: bytes) -> tuple[bytes, bool]:
    """A .wav whose header has the size of its sound, and whether it had not.

    A recorder that is killed, or that writes to a pipe, leaves 0 or the greatest number there; the sound then goes on to the
    end of the file. scipy reads nothing of the one and refuses the other.
    """
    order = {b"RIFF": "<", b"RIFX": ">"}.get(data[:4])
    if order is None or data[8:12] != b"WAVE":
        return data, False
    at, frame = 12, 1
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = data[at : at + 4], struct.unpack(order + "I", data[at + 4 : at + 8])[0]
        rest = len(data) - at - 8
        if name == b"fmt " and size >= 16 and rest >= 16:
            frame = max(1, struct.unpack(order + "H", data[at + 20 : at + 22])[0])
        if name == b"data":
            # a sound of no length may be followed by other chunks; they then fill the file exactly
            if 0 < size <= rest or (size == 0 and _chunks_fill(data[at + 8 :], order)):
                return data, False
            rest -= rest % frame
            head = (
                data[:4] + struct.pack(order + "I", at + rest) + data[8:at] + b"data" + struct.pack(order + "I", rest)
            )
            return head + data[at + 8 : at + 8 + rest], True
        at += 8 + size + size % 2
    return data, False


def _chunks_fill(data: bytes, order: str) -> bool:
    at = 0
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data) or not data[at : at + 4].isalnum():
            break
        size = struct.unpack(order + "I", data[at + 4 : at + 8])[0]
        at += 8 + size + size % 2
    return at == len(data)


class _Sparing(io.BytesIO):
    """A .wav that ends early for a reader who asks too often: 64 MB can hold eight million chunks."""

    asked = 0

    def read(self, size: int | None = -1) -> bytes:
        self.asked += 1
        return super().read(size) if self.asked < 4 * MOST_CHUNKS else b""


def wav(path: str, count: int) -> Signal:
    """A sound file, its channels averaged, downsampled to `count` samples and scaled to a greatest value of 1.

    PCM of 8 to 64 bits and floats, plain or extensible; a header left unfinished is mended (see `Signal.facts`).
    """
    from scipy.io import wavfile

    count = whole("count", count, 2, 2**20)
    content, unclosed = _closed(_bytes("upload", path))
    try:
        rate, data = wavfile.read(_Sparing(content))
    except Exception:
        raise Refusal(
            "{parameter}: this .wav could not be read; save it as PCM or float, uncompressed.", parameter="upload"
        ) from None
    if len(data) == 0 or rate <= 0:
        raise Refusal("{parameter}: this .wav holds no samples.", parameter="upload")
    bits = data.dtype.itemsize * 8
    at = content.find(b"fmt ")
    if at >= 0 and len(content) >= at + 24:
        bits = struct.unpack((">" if content[:4] == b"RIFX" else "<") + "H", content[at + 22 : at + 24])[0]
    data = data.reshape(len(data), -1)
    middle = 128.0 if data.dtype == np.uint8 else 0.0
    # blocks, because the mean over channels of an hour of sound in float64 would be a gigabyte
    fine = min(len(data), 64 * count)
    edges = np.linspace(0, len(data), fine + 1).astype(np.int64)
    sums = np.add.reduceat(data[:, 0], edges[:-1], dtype=np.float64)
    for channel in range(1, data.shape[1]):
        sums += np.add.reduceat(data[:, channel], edges[:-1], dtype=np.float64)
    values = sums / (np.diff(edges) * data.shape[1]) - middle
    if not np.isfinite(values).all():
        raise Refusal("{parameter}: this .wav holds values that are not finite numbers.", parameter="upload")
    values = fit(values, count)
    peak = np.abs(values).max()
    facts = {"samples": len(data), "rate": rate, "channels": data.shape[1], "bits": bits, "unclosed": float(unclosed)}
    return Signal(values / peak if peak > 0 else values, len(data) / rate, "s", "sound", facts)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of a table: separated by semicolons, tabs, commas or blanks, quoted or not, decimal commas or points."""
    lines = [(i + 1, line.strip()) for i, line in enumerate(itertools.islice(io.StringIO(text), ROWS + 100))]
    lines = [(i, line) for i, line in lines if line]
    if len(lines) > ROWS + 1 or any(len(line) > LONGEST_ROW for _, line in lines):
        raise Refusal(
            "{parameter}: the .csv has more than {rows} rows, or a row of more than {most} characters.",
            parameter="upload",
            rows=ROWS,
            most=LONGEST_ROW,
        )
    body = lines[-1][1] if lines else ""
    mark = next((sign for sign in ";\t," if sign in body), None)
    cells = csv.reader((line for _, line in lines), delimiter=mark) if mark else (line.split() for _, line in lines)
    try:
        rows = [(i, [cell.strip() for cell in row]) for (i, _), row in zip(lines, cells, strict=False)]
    except csv.Error:  # a quoted cell that goes on for lines
        raise Refusal(
            "{parameter}: a cell of the .csv is too long; is a quote left open?", parameter="upload"
        ) from None
    if mark in (";", "\t") or (mark is None and "," not in body):
        rows = [(i, [cell.replace(",", ".") if cell.count(",") == 1 else cell for cell in row]) for i, row in rows]
    return rows


def _since(cells: list[str], lines: list[int]) -> tuple[np.ndarray, bool]:
    """Times from the first one, exactly (nanoseconds since 1970 have more digits than a float64), and whether they are dates."""
    try:
        exact = [Decimal(cell.replace("−", "-")) for cell in cells]
        return np.array([float(time - exact[0]) for time in exact]), False
    except ArithmeticError:  # no number, or one that Decimal cannot subtract
        pass
    found = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            found.append(np.datetime64(cell.replace("/", "-").removesuffix("Z"), "ns"))
        except ValueError:
            raise _no_number(line, cell) from None
    return (np.array(found) - found[0]).astype(np.int64) / 1e9, True


def _no_number(line: int, cell: str) -> Refusal:
    return Refusal(
        "{parameter}: line {line} of the .csv is not numbers: {cell}.", parameter="upload", line=line, cell=quoted(cell)
    )


def _value(cell: str) -> float | None:
    try:
        return float(cell.replace("−", "-"))
    except ValueError:
        return None


def table(path: str, count: int) -> Signal:
    """One column of numbers, or two (ascending times and values), with or without a heading; times may be dates.

    Times count from the first: seconds, milliseconds or nanoseconds since 1970 are all read to their last digit.
    """
    count = whole("count", count, 2, 2**20)
    is_file = isinstance(path, str | os.PathLike) and os.path.isfile(path)
    values, time, facts = _table(str(path), os.stat(path).st_mtime_ns if is_file else 0)
    duration = float(len(values))
    if time is not None:
        duration = float(time[-1])
        even = max(count, min(len(time), 64 * count))
        values = np.interp((np.arange(even) + 0.5) / even * duration, time, values)
    return Signal(fit(values, count), duration, "s" if facts["dated"] else "", "table", dict(facts))


@lru_cache(maxsize=2)  # one view asks for several lengths, and a slider that is dragged for the same again
def _table(path: str, changed: int) -> tuple[np.ndarray, np.ndarray | None, dict[str, float]]:
    """The values, their times where there are any, and the facts."""
    content = _bytes("upload", path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        text = content.decode("utf-8-sig", errors="replace")
    if "\0" in text or text.count("\ufffd") > 0.1 * len(text) + 1:
        raise Refusal("{parameter}: this file is not text; a .csv of numbers is needed.", parameter="upload")
    rows = _rows(text)
    headings = 1 if rows and not any(_value(cell) is not None for cell in rows[0][1]) and len(rows) > 1 else 0
    if headings and any(any(sign.isdigit() for sign in cell) and "-" in cell for cell in rows[0][1][:1]):
        headings = 0  # a date
    rows = rows[headings:]
    if len(rows) < 2:
        raise Refusal("{parameter}: the .csv holds fewer than 2 rows of numbers.", parameter="upload")
    width = len(rows[0][1])
    for line, cells in rows:
        if width > 2 or len(cells) != width:
            raise Refusal(
                "{parameter}: line {line} of the .csv has {columns} columns; one (values) or two (time, value) are needed.",
                parameter="upload",
                line=line,
                columns=len(cells),
            )
    numbers = []
    for line, cells in rows:
        value = _value(cells[-1])
        if value is None and cells[-1]:
            raise _no_number(line, cells[-1])
        if value is None or not abs(value) <= MOST_VALUE:
            raise Refusal(
                "{parameter}: line {line} of the .csv holds a value that is missing, infinite or beyond {most}.",
                parameter="upload",
                line=line,
                most=MOST_VALUE,
            )
        numbers.append(value)
    time, dated = None, False
    if width == 2:
        time, dated = _since([cells[0] for _, cells in rows], [line for line, _ in rows])
        if not np.isfinite(time).all() or (np.diff(time) <= 0).any():
            raise Refusal("{parameter}: the times in the first column of the .csv must ascend.", parameter="upload")
    return (
        np.array(numbers),
        time,
        {"rows": len(rows), "columns": width, "headings": headings, "dated": float(dated)},
    )


def upload(path: str, count: int) -> Signal:
    """A .wav or .csv file in `count` steps."""
    if not isinstance(path, str | os.PathLike):
        raise Refusal("{parameter} must be the path of a file, not {given}.", parameter="upload", given=quoted(path))
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        raise Refusal(
            "{parameter}: a .wav or .csv file is needed, not {given}.", parameter="upload", given=ending or "…"
        )
    return (wav if ending == ".wav" else table)(path, count)


def drawing(path: str, count: int) -> Signal | None:
    """A curve drawn dark on light: in each column the middle of the ink, between -1 at the bottom and 1 at the top; None if blank."""
    count = whole("count", count, 2, 2**20)
    ink = read_drawing(path) > 0.5
    columns = np.flatnonzero(ink.any(0))
    if len(columns) == 0:
        return None
    height = (np.arange(ink.shape[0])[:, None] * ink).sum(0)[columns] / ink.sum(0)[columns]
    level = 1 - 2 * height / max(1, ink.shape[0] - 1)
    return Signal(fit(np.interp(np.arange(ink.shape[1]), columns, level), count), LENGTH, "", "drawing")
