"""Training text as bytes, part of it held back by a fixed rule."""

import sysconfig
from pathlib import Path

import numpy as np

BLOCK = 16_384  # bytes


def split(text: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(training, held back) uint8 blocks of 16 KiB; short texts use shorter ones. The last tenth is held back: where one
    book follows another, nothing of its books is trained on, but for the book in which it begins."""
    block = min(BLOCK, max(1, len(text) // 20))
    blocks = np.frombuffer(text[: len(text) // block * block], np.uint8).reshape(-1, block)
    held = np.arange(len(blocks)) >= len(blocks) - max(1, len(blocks) // 10)
    return blocks[~held], blocks[held]


def windows(blocks: np.ndarray, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """`count` windows [count, length] of int64 drawn at random, none across the border of a block."""
    row = rng.integers(len(blocks), size=count)
    start = rng.integers(blocks.shape[1] - length + 1, size=count)
    return blocks[row[:, None], start[:, None] + np.arange(length)].astype(np.int64)


def python_source(limit: int = 8_000_000) -> bytes:
    """Source of the running interpreter's standard library, without its tests, files in order of path."""
    root = Path(sysconfig.get_path("stdlib"))
    texts, size = [], 0
    for path in sorted(root.glob("*.py")) + sorted(root.glob("[a-z]*/*.py")):
        if {"test", "tests", "idlelib", "lib2to3", "site-packages"} & set(path.relative_to(root).parts):
            continue
        texts.append(path.read_bytes())
        size += len(texts[-1])
        if size > limit:
            break
    return b"\n".join(texts)
