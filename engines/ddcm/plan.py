"""What a code is made of: its settings, their bounds, and how the choices of one step become bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from engines.arguments import Refusal, one_of, whole

VARIANTS = ("shuffled", "reference", "turbo")
MOST_STEPS = 1000
MOST_CODEBOOK = 1 << 14
MOST_ATOMS = 150
MOST_COEFFICIENT_BITS = 6
LEAP = 64


class CodeError(Refusal):
    """A file that cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Plan:
    """The settings of a code.

    steps: T, denoiser calls, 2 to 1,000; a choice is made after all but the last
    codebook_size: K, atoms in the codebook of each step, a power of two up to 16,384
    atoms: M, atoms that are combined at each step, up to 150 and to K
    coefficient_bits: C, bits of each of the M − 1 coefficients of matching pursuit, up to 6. Of the 2^C values the first
        means "no further atom" and the last, 1, keeps what there is: C = 1 makes further atoms useless (as in the
        published code, whose default it is)
    variant: "shuffled" (one codebook, its entries shuffled at each step) or "reference" (a fresh codebook each step), both
        by matching pursuit; "turbo": the M atoms of largest |inner product| at once, of the shuffled codebook
    seed: of the codebooks and of the first noise
    """

    steps: int = 100
    codebook_size: int = 256
    atoms: int = 1
    coefficient_bits: int = 3
    variant: str = "shuffled"
    seed: int = 0

    def __post_init__(self):
        def check(name: str, low: int, high: int) -> None:
            object.__setattr__(self, name, whole(name, getattr(self, name), low, high))

        check("steps", 2, MOST_STEPS)
        check("codebook_size", 2, MOST_CODEBOOK)
        if self.codebook_size & (self.codebook_size - 1):
            raise Refusal("{parameter} must be a power of two.", parameter="codebook_size")
        check("atoms", 1, min(MOST_ATOMS, self.codebook_size))
        check("coefficient_bits", 1, MOST_COEFFICIENT_BITS)
        one_of("variant", self.variant, VARIANTS)
        check("seed", 0, 2**32 - 1)

    @property
    def index_bits(self) -> int:
        """log2 K."""
        return self.codebook_size.bit_length() - 1

    @cached_property
    def sets(self) -> int:
        """In how many ways Turbo can choose its M atoms."""
        return math.comb(self.codebook_size, self.atoms)

    @cached_property
    def step_bits(self) -> int:
        """Bits of the choices of one step."""
        if self.variant == "turbo":
            return (self.sets - 1).bit_length() + self.atoms
        return self.atoms * self.index_bits + (self.atoms - 1) * self.coefficient_bits

    @property
    def tile_bits(self) -> int:
        """Bits of the choices of all steps, for one tile."""
        return (self.steps - 1) * self.step_bits

    @property
    def width(self) -> int:
        """Symbols of one step: M indices, then M − 1 coefficients or (Turbo) M signs."""
        return 2 * self.atoms - (self.variant != "turbo")

    @property
    def symbol_limits(self) -> list[int]:
        """How many values each symbol of a step has."""
        rest = [2] * self.atoms if self.variant == "turbo" else [1 << self.coefficient_bits] * (self.atoms - 1)
        return [self.codebook_size] * self.atoms + rest

    def word(self, symbols: list[int]) -> int:
        """The symbols of one step as a number of `step_bits` bits. Turbo's indices, ascending, become their rank."""
        if self.variant == "turbo":
            word, rest = rank(symbols[: self.atoms]), symbols[self.atoms :]
            for sign in rest:
                word = word << 1 | sign
            return word
        word = 0
        for i, symbol in enumerate(symbols):
            word = word << (self.index_bits if i < self.atoms else self.coefficient_bits) | symbol
        return word

    def symbols(self, word: int) -> list[int]:
        """The inverse of `word`."""
        if self.variant == "turbo":
            number, signs = word >> self.atoms, word & ((1 << self.atoms) - 1)
            if number >= self.sets:
                raise CodeError("The payload is damaged: a step names a set of atoms that does not exist.")
            return unrank(number, self.codebook_size, self.atoms) + [
                signs >> i & 1 for i in reversed(range(self.atoms))
            ]
        symbols = []
        for i in reversed(range(self.width)):
            bits = self.index_bits if i < self.atoms else self.coefficient_bits
            symbols.append(word & ((1 << bits) - 1))
            word >>= bits
        return symbols[::-1]


def rank(indices: list[int]) -> int:
    """The number of an ascending set among all sets of its size: Σ C(c_i, i + 1), the combinatorial number system."""
    return sum(math.comb(c, i + 1) for i, c in enumerate(indices))


def unrank(number: int, size: int, count: int) -> list[int]:
    """The ascending set of `count` of 0..size − 1 with that rank.

    C(c, i) is followed from one c to the next: at K = 8,192 and M = 150 a new one costs as much as fifty of these steps.
    """
    indices, c, binomial = [], size - 1, math.comb(size - 1, count)
    for i in range(count, 0, -1):  # each time the largest c with C(c, i) <= number
        if binomial > number:
            # C(c, i) grows about as (c − (i − 1) / 2)^i: where that is far below, it is begun there
            middle = (i - 1) / 2
            near = max(i, round(middle + (c - middle) * (number / binomial) ** (1 / i)))
            if c - near > LEAP:
                c, binomial = near, math.comb(near, i)
        while binomial > number:
            binomial = binomial * (c - i) // c
            c -= 1
        while c >= i and (above := binomial * (c + 1) // (c + 1 - i)) <= number:  # begun too low
            c, binomial = c + 1, above
        indices.append(c)
        number -= binomial
        if c:
            c, binomial = c - 1, binomial * i // c
    return indices[::-1]


def size_bits(
    steps: int, codebook_size: int, atoms: int = 1, coefficient_bits: int = 3, variant: str = "shuffled"
) -> int:
    """Bits of the payload of one picture (or tile): (T − 1)(M log2 K + (M − 1) C) by matching pursuit (DDCM, arXiv
    2502.01189, section 3.3), (T − 1)(⌈log2 C(K, M)⌉ + M) with Turbo. The settings are those of `Plan`."""
    return Plan(steps, codebook_size, atoms, coefficient_bits, variant).tile_bits
