"""The books of noise. They come from numpy's Philox, a counter-based generator, on the CPU: every machine makes the same.

The reference draws K fresh atoms at each step. The default draws one book, once, and shows each step the same atoms
with their entries in another order and with other signs: each atom has the same law as a fresh one, and the inner
products of all atoms with a residual are one matrix product of the fixed book with the residual shuffled back.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engines.ddcm.plan import CodeError, Plan

BLOCK = 16  # atoms drawn from one counter: the reference decoder draws a block, not the book, to have one atom
MOST_NUMBERS = 1 << 26  # of a book
_START, _BOOK, _SHUFFLE = range(3)


def _philox(seed: int, purpose: int, step: int = 0, block: int = 0) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, step], np.uint64), counter=[0, 0, block, purpose])


def normals(seed: int, purpose: int, step: int, block: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals, float32, the same for the same arguments."""
    return np.random.Generator(_philox(seed, purpose, step, block)).standard_normal(shape, np.float32)


def draw_book(plan: Plan, size: int, step: int = 0) -> np.ndarray:
    """[K, size] float32: the one book (step 0) or, for the reference, that of a step (from 1)."""
    table = np.empty((plan.codebook_size, size), np.float32)
    for block in range(0, plan.codebook_size, BLOCK):
        rows = table[block : block + BLOCK]
        rows[:] = normals(plan.seed, _BOOK, step, block // BLOCK, rows.shape)
    return table


class Book:
    """What all steps share: the first noise and, unless each step has its own, the table of atoms."""

    def __init__(self, plan: Plan, size: int, device: torch.device):
        if plan.codebook_size * size > MOST_NUMBERS:
            raise CodeError(
                f"codebook_size is too large for pictures of {size:,} numbers: at most {MOST_NUMBERS // size:,}."
            )
        self.plan, self.size, self.device = plan, size, device
        self._table = None

    @property
    def start(self) -> Tensor:
        """[size], the state that every code begins from."""
        return torch.from_numpy(normals(self.plan.seed, _START, 0, 0, (self.size,))).to(self.device)

    @property
    def table(self) -> Tensor:
        """[K, size], the one book."""
        if self._table is None:
            self._table = torch.from_numpy(draw_book(self.plan, self.size)).to(self.device)
        return self._table

    def page(self, step: int) -> Page:
        """The book as step `step` (from 0) sees it."""
        if self.plan.variant == "reference":
            return FreshPage(self, step)
        return ShuffledPage(self, step)


class Page:
    """A book at one step. Residuals and noises are [n, size]; symbols [n, width] int64, as `Plan.word` takes them."""

    def __init__(self, book: Book, step: int):
        self.book, self.plan, self.step = book, book.plan, step

    def pick(self, residual: Tensor) -> Tensor:
        """The symbols whose noise agrees best with the residual."""
        if self.plan.variant == "turbo":
            return _best_at_once(self.agreement(residual), self.plan.atoms)
        return _pursue(self._into_book(residual), self._whole(), self.plan)

    def agreement(self, residual: Tensor) -> Tensor:
        """The inner products of the residual with all atoms, [n, K]."""
        return _products(self._into_book(residual), self._whole())

    def noise(self, symbols: Tensor) -> Tensor:
        """The noise of given symbols. With one atom it is the atom itself; a combination is scaled to norm √size."""
        atoms, rest = symbols[:, : self.plan.atoms], symbols[:, self.plan.atoms :]
        made = self._atoms(atoms[:, 0])
        if self.plan.variant == "turbo":
            made = made * (1 - 2 * rest[:, :1])
            for m in range(1, self.plan.atoms):
                made = made + self._atoms(atoms[:, m]) * (1 - 2 * rest[:, m : m + 1])
            return self._out_of_book(made if self.plan.atoms == 1 else _to_length(made))
        for m in range(1, self.plan.atoms):
            level = rest[:, m - 1 : m]
            share = level.float() / ((1 << self.plan.coefficient_bits) - 1)
            more = _to_length(share.sqrt() * made + (1 - share).sqrt() * self._atoms(atoms[:, m]))
            made = torch.where(level > 0, more, made)
        return self._out_of_book(made)


class FreshPage(Page):
    """K atoms of this step's own."""

    def _whole(self) -> Tensor:
        return torch.from_numpy(draw_book(self.plan, self.book.size, self.step + 1)).to(self.book.device)

    def _atoms(self, index: Tensor) -> Tensor:
        rows, shape = [], (min(BLOCK, self.plan.codebook_size), self.book.size)
        blocks: dict[int, np.ndarray] = {}
        for k in index.tolist():
            block, row = divmod(k, BLOCK)
            if block not in blocks:
                blocks[block] = normals(self.plan.seed, _BOOK, self.step + 1, block, shape)
            rows.append(blocks[block][row])
        return torch.from_numpy(np.stack(rows)).to(self.book.device)

    def _into_book(self, residual: Tensor) -> Tensor:
        return residual

    def _out_of_book(self, made: Tensor) -> Tensor:
        return made


class ShuffledPage(Page):
    """The one book, its columns in an order and with signs of this step's own."""

    def __init__(self, book: Book, step: int):
        super().__init__(book, step)
        bits = _philox(book.plan.seed, _SHUFFLE, step).random_raw(book.size)
        order, signs = bits.argsort(kind="stable"), 1 - 2 * (bits & np.uint64(1)).astype(np.float32)
        self._order = torch.from_numpy(order).to(book.device)
        self._signs = torch.from_numpy(signs).to(book.device)

    def _whole(self) -> Tensor:
        return self.book.table

    def _atoms(self, index: Tensor) -> Tensor:
        return self.book.table[index]

    def _into_book(self, residual: Tensor) -> Tensor:
        seen = torch.empty_like(residual)
        seen[:, self._order] = residual * self._signs
        return seen

    def _out_of_book(self, made: Tensor) -> Tensor:
        return made[:, self._order] * self._signs


def _products(few: Tensor, table: Tensor) -> Tensor:
    """few [n, size] times all atoms [K, size], [n, K]; on two cores 16 times 1,024 took 2.3 ms this way round, and 4.0 the other."""
    return (table @ few.T).T


def _to_length(noise: Tensor) -> Tensor:
    """Scaled to the norm √size of a typical draw."""
    return noise * (math.sqrt(noise.shape[1]) / noise.norm(dim=1, keepdim=True))


def _best_at_once(scores: Tensor, atoms: int) -> Tensor:
    """Turbo (Vaisman et al. 2025): the atoms of largest |inner product| [n, K], ascending, then a 1 for each minus."""
    chosen = scores.abs().topk(atoms).indices.sort(dim=1).values
    return torch.cat([chosen, (scores.gather(1, chosen) < 0).long()], dim=1)


def _pursue(residual: Tensor, table: Tensor, plan: Plan) -> Tensor:
    """Matching pursuit as DDCM has it: z ← √γ z + √(1 − γ) c, scaled, with the atom c and the γ that agree best with
    the residual; where none improves on z the coefficient is 0 and z stays."""
    scores = _products(residual, table)
    best, index = scores.max(1)
    if plan.atoms == 1:
        return index[:, None]
    made, indices, levels = table[index], [index], []
    lengths, length = table.square().sum(1), math.sqrt(table.shape[1])
    top = (1 << plan.coefficient_bits) - 1
    for _ in range(plan.atoms - 1):
        overlap, own = _products(made, table), made.square().sum(1, keepdim=True)
        agreed = (made * residual).sum(1, keepdim=True)
        index, level = torch.zeros_like(index), torch.zeros_like(index)
        for j in range(1, top + 1):
            a, b = math.sqrt(j / top), math.sqrt(1 - j / top)
            norm = (a * a * own + 2 * a * b * overlap + b * b * lengths).sqrt()
            reached, candidate = ((a * agreed + b * scores) * (length / norm)).max(1)
            better = reached > best
            best, index = torch.where(better, reached, best), torch.where(better, candidate, index)
            level = torch.where(better, j, level)
        share = level[:, None] / top
        more = _to_length(share.sqrt() * made + (1 - share).sqrt() * table[index])
        made = torch.where(level[:, None] > 0, more, made)
        indices.append(index)
        levels.append(level)
    return torch.stack(indices + levels, dim=1)
