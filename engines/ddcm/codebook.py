"""The codebooks of noise. They come from numpy's Philox, a counter-based generator, on the CPU: every machine makes the same.

The reference has K fresh atoms at each step. The default has one codebook for all, and shows each step the same atoms
with their entries in another order and with other signs: each atom is distributed as a fresh one, and the inner
products of all atoms with a residual are one matrix product of the fixed codebook with the residual shuffled back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal
from engines.ddcm.plan import Plan
from engines.graphs import Captured

BLOCK = 16  # atoms of one counter: the reference decoder makes a block, not the codebook, to have one atom
# numbers of a codebook, in single precision; 1,024 atoms of SD3's latents of 768 x 768 pixels are 150 million
MOST_NUMBERS, MOST_ON_A_CARD = 3 << 26, 1 << 29
MOST_KEPT = 1 << 24  # numbers of a table that is kept from one code to the next: 64 MB
TOGETHER = 16  # steps whose shuffles are made and sent to the device at once
_START, _CODEBOOK, _SHUFFLE = range(3)


def _philox(seed: int, purpose: int, step: int = 0, block: int = 0) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, step], np.uint64), counter=[0, 0, block, purpose])


def normals(seed: int, purpose: int, step: int, block: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals, float32, the same for the same arguments."""
    return np.random.Generator(_philox(seed, purpose, step, block)).standard_normal(shape, np.float32)


def make_table(plan: Plan, size: int, step: int = 0) -> np.ndarray:
    """Atoms [K, size] float32: of the one codebook (step 0) or, for the reference, of a step's own (from 1)."""
    table = np.empty((plan.codebook_size, size), np.float32)
    for block in range(0, plan.codebook_size, BLOCK):
        rows = table[block : block + BLOCK]
        rows[:] = normals(plan.seed, _CODEBOOK, step, block // BLOCK, rows.shape)
    return table


def make_shuffle(seed: int, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(order int64 [size], signs float32 [size]) in which step `step` sees the entries of all atoms."""
    bits = _philox(seed, _SHUFFLE, step).random_raw(size)
    return bits.argsort(kind="stable"), 1 - 2 * (bits & np.uint64(1)).astype(np.float32)


@lru_cache(maxsize=16)
def _kept_shuffles(seed: int, block: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Orders, the orders that undo them (int32) and signs of TOGETHER steps, each [TOGETHER, size]."""
    made = [make_shuffle(seed, step, size) for step in range(block * TOGETHER, (block + 1) * TOGETHER)]
    order, signs = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return order.int().to(device), order.argsort(1).int().to(device), signs.to(device)


@lru_cache(maxsize=1)
def _kept_table(seed: int, codebook_size: int, size: int, device: torch.device) -> Tensor:
    return torch.from_numpy(make_table(Plan(codebook_size=codebook_size, seed=seed), size)).to(device)


def check_table(plan: Plan, size: int, device: torch.device) -> None:
    """A Refusal where a codebook for `size` numbers is too large for a device: before anything is fetched or made."""
    most = MOST_ON_A_CARD if device.type == "cuda" else MOST_NUMBERS
    if plan.codebook_size * size > most:
        raise Refusal(
            "{parameter} is too large for pictures of {size} numbers: at most {most}.",
            parameter="codebook_size",
            size=size,
            most=most // size,
        )


class Codebook:
    """What all steps share: the first noise and, unless each step has its own, the table of atoms."""

    def __init__(self, plan: Plan, size: int, device: torch.device):
        check_table(plan, size, device)
        self.plan, self.size, self.device = plan, size, device

    @property
    def start(self) -> Tensor:
        """[size], the state that every code begins from."""
        return torch.from_numpy(normals(self.plan.seed, _START, 0, 0, (self.size,))).to(self.device)

    @cached_property
    def table(self) -> Tensor:
        """[K, size], the one codebook."""
        make = _kept_table if self._is_kept else _kept_table.__wrapped__
        return make(self.plan.seed, self.plan.codebook_size, self.size, self.device)

    @cached_property
    def parts(self) -> tuple[Captured, Captured]:
        """What the shuffled codebook does at each step."""
        if self._is_kept:
            return _kept_parts(replace(self.plan, steps=2), self.size, self.device)
        return _parts(self.plan, self.table)

    @property
    def _is_kept(self) -> bool:
        return self.plan.codebook_size * self.size <= MOST_KEPT

    def shuffle(self, step: int) -> list[Tensor]:
        """A step's order, the order that undoes it, and signs, each [size]."""
        block, place = divmod(step, TOGETHER)
        return [part[place] for part in _kept_shuffles(self.plan.seed, block, self.size, self.device)]

    def at(self, step: int) -> StepCodebook:
        """The codebook as step `step` (from 0) sees it."""
        return (FreshCodebook if self.plan.variant == "reference" else ShuffledCodebook)(self, step)


class StepCodebook:
    """A codebook at one step. Residuals and noises are [n, size]; symbols [n, width] int64, as `Plan.word` takes them."""

    def __init__(self, codebook: Codebook, step: int):
        self.codebook, self.plan, self.step = codebook, codebook.plan, step

    def choose(self, residual: Tensor) -> Tensor:
        """The symbols whose noise has the largest inner product with the residual."""
        raise NotImplementedError

    def inner_products(self, residual: Tensor) -> Tensor:
        """The inner products of the residual with all atoms, [n, K]."""
        raise NotImplementedError

    def noise(self, symbols: Tensor) -> Tensor:
        """The noise of given symbols. With one atom it is the atom itself; a combination is scaled to norm √size."""
        raise NotImplementedError


class FreshCodebook(StepCodebook):
    """K atoms of this step's own."""

    def choose(self, residual: Tensor) -> Tensor:
        return _choose(self.plan, residual, self._table())

    def inner_products(self, residual: Tensor) -> Tensor:
        return _products(residual, self._table())

    def noise(self, symbols: Tensor) -> Tensor:
        return _combine(self.plan, symbols, self._atoms)

    def _table(self) -> Tensor:
        return torch.from_numpy(make_table(self.plan, self.codebook.size, self.step + 1)).to(self.codebook.device)

    def _atoms(self, indices: Tensor) -> Tensor:
        rows, shape = [], (min(BLOCK, self.plan.codebook_size), self.codebook.size)
        blocks: dict[int, np.ndarray] = {}
        for k in indices.tolist():
            block, row = divmod(k, BLOCK)
            if block not in blocks:
                blocks[block] = normals(self.plan.seed, _CODEBOOK, self.step + 1, block, shape)
            rows.append(blocks[block][row])
        return torch.from_numpy(np.stack(rows)).to(self.codebook.device)


class ShuffledCodebook(StepCodebook):
    """The one codebook, its columns in an order and with signs of this step's own."""

    def __init__(self, codebook: Codebook, step: int):
        super().__init__(codebook, step)
        self._order, self._inverse, self._signs = codebook.shuffle(step)

    def choose(self, residual: Tensor) -> Tensor:
        return self.codebook.parts[0](residual, self._inverse, self._signs)

    def inner_products(self, residual: Tensor) -> Tensor:
        return _products((residual * self._signs).index_select(1, self._inverse), self.codebook.table)

    def noise(self, symbols: Tensor) -> Tensor:
        return self.codebook.parts[1](symbols, self._order, self._signs)


def _parts(plan: Plan, table: Tensor) -> tuple[Captured, Captured]:
    """Choice (residual, order that undoes a step's, signs -> symbols) and noise (symbols, order, signs) of the one codebook:
    a dozen small kernels each, some twenty more for each further atom of a pursuit, which a card is asked for at once."""
    squares = table.square().sum(1) if plan.atoms > 1 and plan.variant != "turbo" else None

    def choose(residual: Tensor, inverse: Tensor, signs: Tensor) -> Tensor:
        return _choose(plan, (residual * signs).index_select(1, inverse), table, squares)

    def noise(symbols: Tensor, order: Tensor, signs: Tensor) -> Tensor:
        made = _combine(plan, symbols, lambda indices: table.index_select(0, indices))
        return made.index_select(1, order) * signs

    return Captured(choose, most=2), Captured(noise, most=2)


@lru_cache(maxsize=2)
def _kept_parts(plan: Plan, size: int, device: torch.device) -> tuple[Captured, Captured]:
    return _parts(plan, Codebook(plan, size, device).table)


def _choose(plan: Plan, residual: Tensor, table: Tensor, squares: Tensor | None = None) -> Tensor:
    """The symbols of a residual [n, size]; squares: of the norms of all atoms [K], if they are known."""
    if plan.variant == "turbo":
        return _largest(_products(residual, table), plan.atoms)
    return _matching_pursuit(residual, table, plan, squares)


def _combine(plan: Plan, symbols: Tensor, atoms_of: Callable[[Tensor], Tensor]) -> Tensor:
    """The noise [n, size] of symbols; atoms_of: indices [m] -> atoms [m, size]."""
    atoms, rest = symbols[:, : plan.atoms], symbols[:, plan.atoms :]
    if plan.variant == "turbo":
        chosen = atoms_of(atoms.flatten()).unflatten(0, atoms.shape)
        noise = torch.bmm((1 - 2 * rest.float()).unsqueeze(1), chosen)[:, 0]
        return noise if plan.atoms == 1 else _normalise(noise)
    noise = atoms_of(atoms[:, 0])
    for m in range(1, plan.atoms):
        level = rest[:, m - 1 : m]
        gamma = level.float() / ((1 << plan.coefficient_bits) - 1)
        combined = _normalise(gamma.sqrt() * noise + (1 - gamma).sqrt() * atoms_of(atoms[:, m]))
        noise = torch.where(level > 0, combined, noise)
    return noise


def _products(residual: Tensor, table: Tensor) -> Tensor:
    """residual [n, size] times all atoms [K, size], [n, K]; on two cores 16 times 1,024 took 2.3 ms this way round, and 4.0 the other."""
    return (table @ residual.T).T


def _normalise(noise: Tensor) -> Tensor:
    """Scaled to norm √size, that of a typical normal vector."""
    return noise * (math.sqrt(noise.shape[1]) / noise.norm(dim=1, keepdim=True))


def _largest(products: Tensor, atoms: int) -> Tensor:
    """Turbo (Vaisman et al. 2025): the atoms of largest |inner product| [n, K], ascending, then a 1 for each minus."""
    indices = products.abs().topk(atoms, sorted=False).indices.sort(dim=1).values
    return torch.cat([indices, products.gather(1, indices) < 0], dim=1)


@lru_cache(maxsize=16)
def _mixtures(bits: int, device: torch.device) -> tuple[Tensor, ...]:
    """√γ, √(1 − γ), γ, 2 √(γ (1 − γ)), 1 − γ of all γ above 0, float32 [2^bits − 1, 1, 1]. Made on the CPU, as some cards
    have no double precision."""
    top = (1 << bits) - 1
    gammas = torch.arange(1, top + 1, dtype=torch.float64) / top
    made = (gammas.sqrt(), (1 - gammas).sqrt(), gammas, 2 * (gammas * (1 - gammas)).sqrt(), 1 - gammas)
    return tuple(x[:, None, None].float().to(device) for x in made)


def _matching_pursuit(residual: Tensor, table: Tensor, plan: Plan, squares: Tensor | None) -> Tensor:
    """Matching pursuit as DDCM has it: z ← √γ z + √(1 − γ) c, scaled, with the atom c and the γ of largest inner
    product with the residual; where none improves on z the coefficient is 0 and z stays."""
    products = _products(residual, table)
    best, index = products.max(1)
    if plan.atoms == 1:
        return index[:, None]
    noise, indices, levels = table[index], [index], []
    squares = table.square().sum(1) if squares is None else squares
    length = math.sqrt(table.shape[1])
    top = (1 << plan.coefficient_bits) - 1
    a, b, aa, ab, bb = _mixtures(plan.coefficient_bits, table.device)
    for _ in range(plan.atoms - 1):
        overlap, square = _products(noise, table), noise.square().sum(1, keepdim=True)
        product = (noise * residual).sum(1, keepdim=True)
        norm = (aa * square + ab * overlap + bb * squares).sqrt()
        values, found = ((a * product + b * products) * (length / norm)).transpose(0, 1).flatten(1).max(1)
        better = values > best
        best = torch.where(better, values, best)
        level, index = (found // len(table) + 1) * better, found % len(table) * better
        gamma = level[:, None] / top
        combined = _normalise(gamma.sqrt() * noise + (1 - gamma).sqrt() * table[index])
        noise = torch.where(level[:, None] > 0, combined, noise)
        indices.append(index)
        levels.append(level)
    return torch.stack(indices + levels, dim=1)
