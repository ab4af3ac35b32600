"""Signals to remember: presets, a typed formula, or the visitor's own (see `engines.hippo.files`).

A formula is read by this module's own walk over the syntax tree: names, numbers, + - * / **, comparisons and the functions
below; nothing is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import replace
from typing import Annotated

import numpy as np

from engines.arguments import Between, Characters, OneOf, Refusal, checked, quoted
from engines.hippo.files import LENGTH, Signal, fit
from engines.hippo.files import drawing as _curve
from engines.hippo.files import upload as _file
from engines.hippo.tensors import as_numbers

SIGNALS = ("waves", "chirp", "square", "steps", "noise", "white", "speech", "formula", "own")
FORMULA = "sin(2.3*t) + 0.5*cos(5.6*t)"

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_CALLS = {"sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "abs": np.abs}


@checked
def evaluate(formula: Annotated[str, Characters(200)], t: np.ndarray) -> np.ndarray:
    """The value of an expression in t at each t [K]; piecewise(c1, v1, c2, v2, ..., otherwise) takes the first c that holds.

    Raises a sentence for anything but the names and operations listed, and where the value is not a finite number below 1e9.
    """
    times = as_numbers("t", t)
    if times.is_complex() or times.ndim != 1:
        raise Refusal("{parameter} must be a list of real numbers.", parameter="t")
    t = times.double().numpy()
    text = formula.strip()
    if not text:
        raise _unreadable(text)
    if "^" in text:
        raise Refusal("{parameter}: write powers as **, not ^.", parameter="formula")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        raise _unreadable(text) from None
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
                raise _unreadable(name)
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
                raise _unreadable(name)
            case ast.Call(func=ast.Name()):
                raise Refusal(
                    "{parameter}: functions take one number, piecewise(condition, value, ..., otherwise) an odd count from 3.",
                    parameter="formula",
                )
            case _:
                raise _unreadable(ast.unparse(node))

    try:
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(value(tree), dtype=np.float64), t.shape).copy()
    except (OverflowError, RecursionError):
        raise Refusal("{parameter}: a number in it is too large.", parameter="formula") from None
    wrong = np.flatnonzero(~np.isfinite(values) | (np.abs(values) > 1e9))
    if len(wrong):
        at = wrong[0]
        if divided[at]:
            raise Refusal("{parameter}: it divides by zero at t = {t}.", parameter="formula", t=float(t[at]))
        raise Refusal("{parameter}: it has no finite value below 1e9 at t = {t}.", parameter="formula", t=float(t[at]))
    return values


def _unreadable(part: str) -> Refusal:
    return Refusal(
        "{parameter}: {given} cannot be read; it may use t, pi, e, numbers, + - * / **, < <= > >=, sin, cos, exp, log, abs "
        "and piecewise(condition, value, ..., otherwise).",
        parameter="formula",
        given=quoted(part),
    )


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
            return 0.5 * fit(random.standard_normal(2048), len(t))
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


@checked
def load(
    signal: Annotated[str, OneOf(SIGNALS)] = "waves",
    samples: Annotated[int, Between(2, 2**20)] = 1536,
    formula: Annotated[str, Characters(200)] = FORMULA,
    upload: str | None = None,
    drawing: str | None = None,
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0,
) -> Signal:
    """A signal in `samples` steps: a preset, a formula in t, or the visitor's own.

    Presets, formulas and drawings run over 6 pi of time. own: the file `upload`, else the curve `drawing` (paths), else a stand-in.
    """
    if signal == "own":
        if upload is not None:
            return _file(upload, samples)
        curve = None if drawing is None else _curve(drawing, samples)
        return curve or replace(load("steps", samples), kind="none")
    t = (np.arange(samples) + 0.5) * LENGTH / samples
    if signal == "formula":
        return Signal(evaluate(formula, t), LENGTH, "", "formula")
    return Signal(_preset(signal, t, seed), LENGTH)
