"""Signals to remember: presets, a typed formula, a file (.wav, .csv), a drawn curve.

A formula is read by this module's own walk over the syntax tree: names, numbers, + - * / **, comparisons and the functions
below; nothing is ever executed.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
import os
from dataclasses import dataclass

import numpy as np

from engines.arguments import one_of, whole

LENGTH = 6 * math.pi  # presets, formulas and drawings run over t in [0, 6 pi): three windows of 2 pi by default
MEGABYTES = 64
ROWS = 500_000

PRESETS = {
    "waves": "Two sines",
    "chirp": "Chirp: ever faster",
    "square": "Square wave",
    "steps": "Random steps",
    "noise": "Smooth noise",
    "white": "White noise",
    "speech": "Speech-like",
    "formula": "Your formula",
}


@dataclass(frozen=True)
class Signal:
    """values: [K] float64, sample k standing for the middle of its step; duration: the length of time they span, in `unit`;
    note: what was done to the user's data, or empty."""

    values: np.ndarray
    duration: float
    unit: str
    note: str


_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_CALLS = {"sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "abs": np.abs}
_HELP = "t, pi, e, numbers, + - * / **, < <= > >=, sin, cos, exp, log, abs, piecewise(condition, value, ..., otherwise)"


def formula(text: str, t: np.ndarray) -> np.ndarray:
    """The value of an expression in t at each t [K]; piecewise(c1, v1, c2, v2, ..., otherwise) takes the first c that holds.

    Raises ValueError with a sentence for anything but the names and operations listed, and where the value is not a finite number.
    """
    if not isinstance(text, str):
        raise ValueError("formula must be text.")
    text = text.strip()
    if not text or len(text) > 200:
        raise ValueError(f"formula must be 1 to 200 characters long, not {len(text)}.")
    if "^" in text:
        raise ValueError("formula: write powers as **, not ^.")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        raise ValueError(f"formula: {text!r} is not a complete expression; it may use {_HELP}.") from None
    divided = np.zeros(len(t), bool)

    def value(node: ast.expr):
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return np.float64(number)
            case ast.Name(id="t"):
                return t
            case ast.Name(id="pi" | "e" as name):
                return np.float64(getattr(math, name))
            case ast.Name(id=name):
                raise ValueError(f"formula: there is no name {name!r}; it may use {_HELP}.")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                return -value(operand) if isinstance(op, ast.USub) else value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                a, b = value(left), value(right)
                if isinstance(op, ast.Div):
                    divided[:] |= b == 0
                return _BINARY[type(op)](a, b)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return _COMPARE[type(op)](value(left), value(right)).astype(float)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _CALLS:
                return _CALLS[name](value(argument))
            case ast.Call(func=ast.Name(id="piecewise"), args=arguments, keywords=[]) if (
                len(arguments) >= 3 and len(arguments) % 2
            ):
                *pairs, result = [value(a) for a in arguments]
                for condition, chosen in reversed(list(zip(pairs[::2], pairs[1::2], strict=True))):
                    result = np.where(condition != 0, chosen, result)
                return result
            case ast.Call(func=ast.Name(id=name)) if name not in _CALLS and name != "piecewise":
                raise ValueError(f"formula: there is no function {name!r}; it may use {_HELP}.")
            case ast.Call(func=ast.Name()):
                raise ValueError(
                    "formula: functions take one number, piecewise(condition, value, ..., otherwise) an odd count from 3."
                )
            case _:
                raise ValueError(f"formula: {ast.unparse(node)!r} is not allowed; it may use {_HELP}.")

    try:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(value(tree), dtype=np.float64), t.shape).copy()
    except (OverflowError, RecursionError):
        raise ValueError("formula: a number in it is too large.") from None
    wrong = np.flatnonzero(~np.isfinite(values) | (np.abs(values) > 1e9))
    if len(wrong):
        at = wrong[0]
        why = "divides by zero" if divided[at] else "has no finite value below 1e9"
        raise ValueError(f"formula: it {why} at t = {t[at]:.4g}.")
    return values


def _fit(values: np.ndarray, count: int) -> np.ndarray:
    """`count` samples of as many or more, each the mean over its step (so nothing aliases), of fewer, by interpolation."""
    n = len(values)
    if n <= count:
        return np.interp((np.arange(count) + 0.5) / count, (np.arange(n) + 0.5) / n, values)
    edges = np.linspace(0, n, count + 1)
    area = np.interp(edges, np.arange(n + 1), np.concatenate([[0.0], np.cumsum(values)]))
    return np.diff(area) * count / n


def _size(path: str, what: str) -> None:
    if not os.path.isfile(path):
        raise ValueError(f"{what}: the file is no longer there; choose it again.")
    if os.path.getsize(path) > MEGABYTES * 2**20:
        raise ValueError(f"{what}: the file is larger than {MEGABYTES} MB; cut a shorter piece.")


def wav(path: str, count: int) -> Signal:
    """A sound file, its channels averaged, downsampled to `count` samples and scaled to a greatest value of 1."""
    from scipy.io import wavfile

    _size(path, "upload")
    try:
        rate, data = wavfile.read(path)
    except Exception:
        raise ValueError("upload: this .wav could not be read; save it as 16-bit PCM.") from None
    if len(data) == 0 or rate <= 0:
        raise ValueError("upload: this .wav holds no samples.")
    data = data.reshape(len(data), -1)
    middle = 128.0 if data.dtype == np.uint8 else 0.0
    # blocks, because the mean over channels of an hour of sound in float64 would be a gigabyte
    fine = min(len(data), 64 * count)
    edges = np.linspace(0, len(data), fine + 1).astype(np.int64)
    sums = np.add.reduceat(data[:, 0], edges[:-1], dtype=np.float64)
    for channel in range(1, data.shape[1]):
        sums += np.add.reduceat(data[:, channel], edges[:-1], dtype=np.float64)
    values = sums / (np.diff(edges) * data.shape[1]) - middle
    peak = np.abs(values).max()
    if not np.isfinite(peak):
        raise ValueError("upload: this .wav holds values that are not finite numbers.")
    values = _fit(values, count)
    peak = np.abs(values).max()
    seconds = len(data) / rate
    note = f"{seconds:.4g} s of sound at {rate} Hz"
    if len(data) > count:
        note += (
            f" averaged down to {count} samples ({seconds / count * 1e3:.3g} ms each); what is faster than that is gone"
        )
    return Signal(values / peak if peak > 0 else values, seconds, "s", note + ".")


def csv(path: str, count: int) -> Signal:
    """One column of numbers, or two (ascending time, value), parted by commas, semicolons, tabs or spaces; one heading line is allowed."""
    _size(path, "upload")
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in itertools.islice(file, ROWS + 2) if line.strip()]
    except UnicodeDecodeError:
        raise ValueError("upload: this file is not text; a .csv of numbers is needed.") from None
    if len(lines) > ROWS + 1 or any(len(line) > 1000 for line in lines):
        raise ValueError(f"upload: the .csv has more than {ROWS:,} rows, or a row of more than 1,000 characters.")
    rows = []
    for number, line in enumerate(lines):
        cells = line.replace(",", " ").replace(";", " ").split()
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            if number == 0:
                continue
            raise ValueError(f"upload: line {number + 1} of the .csv is not numbers: {line[:40]!r}.") from None
        if not 1 <= len(row) <= 2 or (rows and len(row) != len(rows[0])):
            raise ValueError(
                f"upload: line {number + 1} of the .csv has {len(row)} columns; one (values) or two (time, value) are needed."
            )
        rows.append(row)
    if len(rows) < 2:
        raise ValueError("upload: the .csv holds fewer than 2 rows of numbers.")
    table = np.array(rows)
    if not np.isfinite(table).all() or np.abs(table).max() > 1e12:
        raise ValueError("upload: the .csv holds a value that is missing, infinite or beyond 1e12.")
    duration, values = float(len(table)), table[:, -1]
    if table.shape[1] == 2:
        time = table[:, 0]
        if (np.diff(time) <= 0).any():
            raise ValueError("upload: the times in the first column of the .csv must ascend.")
        duration = float(time[-1] - time[0])
        even = max(count, min(len(time), 64 * count))
        values = np.interp(time[0] + (np.arange(even) + 0.5) / even * duration, time, values)
    note = f"{len(table)} rows brought to {count} samples." if len(table) != count else ""
    return Signal(_fit(values, count), duration, "", note)


def upload(path: str, count: int) -> Signal:
    """A .wav or .csv file in `count` steps."""
    kind = os.path.splitext(path)[1].lower()
    if kind not in (".wav", ".csv"):
        raise ValueError(f"upload: a .wav or .csv file is needed, not {kind or 'a file without an ending'}.")
    return (wav if kind == ".wav" else csv)(path, count)


def drawing(path: str, count: int) -> Signal | None:
    """A curve drawn dark on light: in each column the middle of the ink, between -1 at the bottom and 1 at the top; None if blank."""
    from PIL import Image

    _size(path, "drawing")
    try:
        with Image.open(path) as image:
            large = image.width * image.height > 4096**2
            image = image.convert("RGBA") if not large else None
    except Exception:
        raise ValueError("drawing: this is not a picture.") from None
    if large:
        raise ValueError("drawing: the picture is larger than 4096 x 4096.")
    paper = Image.new("RGBA", image.size, "white")
    grey = np.asarray(Image.alpha_composite(paper, image).convert("L"))
    ink = grey < 128
    columns = np.flatnonzero(ink.any(0))
    if len(columns) == 0:
        return None
    height = (np.arange(ink.shape[0])[:, None] * ink).sum(0)[columns] / ink.sum(0)[columns]
    level = 1 - 2 * height / max(1, ink.shape[0] - 1)
    return Signal(_fit(np.interp(np.arange(ink.shape[1]), columns, level), count), LENGTH, "", "")


def _preset(name: str, t: np.ndarray, seed: int) -> np.ndarray:
    s = t / LENGTH
    random = np.random.default_rng(seed)
    match name:
        case "waves":
            return np.sin(2.3 * t) + 0.5 * np.cos(5.6 * t)
        case "chirp":
            return np.sin(2 * math.pi * (1.5 * s + 10 * s**2))
        case "square":
            return np.sign(np.sin(2 * math.pi * 5 * s + 1e-9))
        case "steps":
            levels = random.uniform(-1, 1, 12)
            return levels[np.searchsorted(np.sort(random.uniform(0, 1, 11)), s)]
        case "noise":
            n = np.arange(1, 25)
            parts = random.standard_normal((2, len(n))) / np.sqrt(len(n))
            angle = 2 * math.pi * s[:, None] * (n + random.uniform(-0.4, 0.4, len(n)))
            return np.sin(angle) @ parts[0] + np.cos(angle) @ parts[1]
        case "white":
            return 0.5 * _fit(random.standard_normal(2048), len(t))
        case (
            _
        ):  # speech: a glottal buzz of falling pitch whose harmonics two moving formants pick out, under four syllables
            pitch = 2 * math.pi * (14 * s - 3 * s**2)
            n = np.arange(1, 9)
            bright = sum(
                np.exp(-(((n - f[:, None]) / 1.2) ** 2)) for f in (2.5 + 1.5 * np.sin(9 * s), 6 + 2 * np.cos(7 * s))
            )
            loud = np.maximum(0, np.sin(2 * math.pi * 2 * s) ** 2 - 0.05)
            return loud * ((0.2 + bright) * np.sin(np.outer(pitch, n)) / n).sum(1)


def load(
    signal: str = "waves", samples: int = 1536, expression: str = "sin(2.3*t) + 0.5*cos(5.6*t)", seed: int = 0
) -> Signal:
    """A preset, or the formula `expression`, in `samples` steps over 6 pi of time."""
    one_of("signal", signal, PRESETS)
    seed = whole("seed", seed, 0, 2**31 - 1)
    t = (np.arange(samples) + 0.5) * LENGTH / samples
    return Signal(formula(expression, t) if signal == "formula" else _preset(signal, t, seed), LENGTH, "", "")
