"""What is shown of the family: numbers in, frozen arrays out."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engines import softmax as family
from engines.arguments import number, one_of, several_of, whole
from engines.progress import Progress
from engines.softmax.passage import PASSAGE
from engines.softmax.reference import entmax15_by_sorting, entmax_by_bisection, sparsemax_by_sorting

NAMES = tuple(family.MAPS)
DEFAULT_MAPS = NAMES[:6]
MOST_SCORES = 32
MOST_CHARACTERS = 1500  # a link that carries them twice is still one that servers take
MOST_SPEED_NUMBERS = 1 << 22
SPREAD_TEMPERATURES = tuple(np.logspace(-1.5, 1.5, 13).tolist())
SPREAD_SIZES = (2, 4, 16, 64, 256, 1024, 4096)


@dataclass(frozen=True)
class Comparison:
    """Maps applied to the same scores.

    maps: their names, [m]
    scores: as typed, [n]
    probabilities: [m, n]
    support: entries above 0, [m]
    entropy: Shannon's, nats, [m]
    shift: the greatest change of a probability when 1 is added to every score, [m]
    monotone: whether a larger score always has at least the probability of a smaller one here, [m]
    """

    maps: tuple[str, ...]
    scores: np.ndarray
    probabilities: np.ndarray
    support: np.ndarray
    entropy: np.ndarray
    shift: np.ndarray
    monotone: np.ndarray


def compare(
    scores: Sequence[float] = (1.5, 1.0, 0.6, 0.0, -3.0),
    maps: Sequence[str] = DEFAULT_MAPS,
    temperature: float = 1.0,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
) -> Comparison:
    """Each map on the same scores / temperature. margin: the first score is the target; perturb_max: uniform noise."""
    z = _scores(scores)
    names = tuple(several_of("maps", maps, NAMES, len(NAMES)))
    own = _own(alpha, k, order, margin)
    scaled = z / number("temperature", temperature, 0.01, 100)
    p = torch.stack([family.MAPS[name](scaled, **own.get(name, {})) for name in names])
    shifted = torch.stack([family.MAPS[name](scaled + 1, **own.get(name, {})) for name in names])
    rising = p[:, z.argsort(stable=True)]
    rising_z = z.sort().values
    distinct = rising_z[1:] > rising_z[:-1]
    return Comparison(
        names,
        z.numpy(),
        p.numpy(),
        family.support_size(p).numpy(),
        family.entropy(p).numpy(),
        (shifted - p).abs().amax(-1).numpy(),
        ((rising.diff(dim=-1) >= -1e-12) | ~distinct).all(-1).numpy(),
    )


@dataclass(frozen=True)
class Sparsity:
    """How wide the maps spread normal scores (mean over rows).

    maps: [m]
    n: number of scores of the temperature curves; temperature: that of the size curves
    temperatures: [t]
    support_by_temperature, entropy_by_temperature: [m, t]; entropy in nats
    sizes: numbers of scores, [s]
    support_by_size, entropy_by_size: [m, s]; NaN beyond the 64 scores perturb_max takes
    """

    maps: tuple[str, ...]
    n: int
    temperature: float
    temperatures: np.ndarray
    support_by_temperature: np.ndarray
    entropy_by_temperature: np.ndarray
    sizes: np.ndarray
    support_by_size: np.ndarray
    entropy_by_size: np.ndarray


def sparsity(
    maps: Sequence[str] = DEFAULT_MAPS,
    n: int = 32,
    temperature: float = 1.0,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
    seed: int = 0,
) -> Sparsity:
    """Mean support and entropy of maps of standard normal scores, over temperature and over the number of scores."""
    names = tuple(several_of("maps", maps, NAMES, len(NAMES)))
    n = whole("n", n, 2, 32)
    own = _own(alpha, k, order, margin)
    temperature = number("temperature", temperature, 0.01, 100)
    seed = whole("seed", seed, 0, 2**31 - 1)

    def spread(temperatures: tuple[float, ...], sizes: tuple[int, ...]) -> np.ndarray:
        """(support, entropy), each [m, temperatures, sizes]."""
        return np.stack([_spread(name, temperatures, sizes, seed, **own.get(name, {})) for name in names], 1)

    by_temperature, by_size = spread(SPREAD_TEMPERATURES, (n,)), spread((temperature,), SPREAD_SIZES)
    temperatures, sizes = np.array(SPREAD_TEMPERATURES), np.array(SPREAD_SIZES)
    return Sparsity(names, n, temperature, temperatures, *by_temperature[..., 0], sizes, *by_size[:, :, 0])


@lru_cache(64)  # a slider moves a curve or two; the others are as they were
def _spread(name: str, temperatures: tuple[float, ...], sizes: tuple[int, ...], seed: int, **own: float) -> np.ndarray:
    """(mean support, mean entropy) over 10 rows of normal scores, [2, temperatures, sizes]; NaN where the map ends."""
    rows = torch.randn(10, SPREAD_SIZES[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    means = np.full((2, len(temperatures), len(sizes)), np.nan)
    for i, size in enumerate(sizes):
        if name == "perturb_max" and size > family.MAX_PERTURBED:
            break
        fitting = {"k": min(own["k"], size)} if name == "top_k" else own
        p = family.MAPS[name](
            rows[:, :size] / torch.tensor(temperatures, dtype=torch.float64)[:, None, None], **fitting
        )
        means[:, :, i] = family.support_size(p).double().mean(-1), family.entropy(p).mean(-1)
    return means


@dataclass(frozen=True)
class SimplexMap:
    """What a map does to the plane of three scores.

    map: its name
    axis: coordinates across the plane of scores with sum 3 offset, [g]
    support: entries above 0 at (axis[i] up, axis[j] right), uint8 [g, g]
    share: share of the plane with support 1, 2 and 3, [3]
    lines: images of the lines of the plane's square grid in the simplex, [l, points, 3]
    """

    map: str
    axis: np.ndarray
    support: np.ndarray
    share: np.ndarray
    lines: np.ndarray


def simplex_map(
    map: str = "sparsemax",
    temperature: float = 1.0,
    offset: float = 0.0,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
) -> SimplexMap:
    """The plane of score triples that sum to 3 offset, 3 to each side, sent into the simplex by one map."""
    name = one_of("map", map, NAMES)
    own = _own(alpha, min(whole("k", k, 1, MOST_SCORES), 3), order, margin).get(name, {})
    offset = number("offset", offset, -10, 10)
    temperature = number("temperature", temperature, 0.01, 100)
    right = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64) / math.sqrt(2)
    up = torch.tensor([-1.0, -1.0, 2.0], dtype=torch.float64) / math.sqrt(6)

    def sent(x: Tensor, y: Tensor) -> Tensor:
        z = x[..., None] * right + y[..., None] * up + offset
        return family.MAPS[name](z / temperature, **own)

    axis = torch.linspace(-3, 3, 121, dtype=torch.float64)
    support = family.support_size(sent(axis[None, :].expand(121, -1), axis[:, None].expand(-1, 121)))
    ticks = torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None].expand(-1, 61)
    along = torch.linspace(-3, 3, 61, dtype=torch.float64).expand(25, -1)
    lines = torch.cat([sent(ticks, along), sent(along, ticks)])
    share = [float((support == size).double().mean()) for size in (1, 2, 3)]
    return SimplexMap(name, axis.numpy(), support.to(torch.uint8).numpy(), np.array(share), lines.numpy())


@dataclass(frozen=True)
class Sensitivity:
    """The Jacobians of the maps at the same scores.

    map: the one shown; scores: [n]
    jacobian: d p_i / d s_j of that map, [n, n]
    maps: all of them, [m]
    half_norm: half the sum of |d p_i / d s_j|, [m]
    zeros: share of the Jacobian's entries that are 0, [m]
    gradient_zeros: share of the entries of the gradient of <g, p> that are 0, for one random g, [m]
    law: what half_norm is in closed form: 1 - sum p^2 for softmax, |S| - 1 for sparsemax; NaN elsewhere, [m]
    """

    map: str
    scores: np.ndarray
    jacobian: np.ndarray
    maps: tuple[str, ...]
    half_norm: np.ndarray
    zeros: np.ndarray
    gradient_zeros: np.ndarray
    law: np.ndarray


def sensitivity(
    shown: str = "sparsemax",
    scores: Sequence[float] = (1.5, 1.0, 0.6, 0.0, -3.0),
    temperature: float = 1.0,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
) -> Sensitivity:
    """The Jacobian of one map (with respect to scores / temperature), and how sparse those of all are."""
    z = _scores(scores) / number("temperature", temperature, 0.01, 100)
    chosen = one_of("shown", shown, NAMES)
    own = _beside(chosen, len(z), alpha, k, order, margin)
    jacobians = {name: family.jacobian(f, z, **own.get(name, {})) for name, f in family.MAPS.items()}
    law = dict.fromkeys(NAMES, math.nan)
    law["softmax"] = float(1 - family.softmax(z).square().sum())
    law["sparsemax"] = float(family.support_size(family.sparsemax(z)) - 1)
    g = torch.randn(len(z), generator=torch.Generator().manual_seed(0), dtype=z.dtype)
    every = torch.stack(list(jacobians.values()))
    return Sensitivity(
        chosen,
        np.array([float(s) for s in scores]),
        jacobians[chosen].numpy(),
        NAMES,
        (every.abs().sum((-2, -1)) / 2).numpy(),
        (every == 0).double().mean((-2, -1)).numpy(),
        ((g @ every).abs() < 1e-15).double().mean(-1).numpy(),
        np.array([law[name] for name in NAMES]),
    )


@dataclass(frozen=True)
class Losses:
    """Losses of a classifier that gives its target the score t and every other class 0.

    t: [points]
    maps: [m]; cross_entropy: -log p(target), nats, inf where the map gives 0, [m, points]
    alphas: [a]; fenchel_young: [a, points]; slope: its derivative in t, p(target) - 1, [a, points]
    flat_from: where the Fenchel-Young loss becomes exactly 0, 1 / (alpha - 1), inf at alpha = 1, [a]
    classes: how many in all
    """

    t: np.ndarray
    maps: tuple[str, ...]
    cross_entropy: np.ndarray
    alphas: np.ndarray
    fenchel_young: np.ndarray
    slope: np.ndarray
    flat_from: np.ndarray
    classes: int


def losses(
    maps: Sequence[str] = DEFAULT_MAPS,
    classes: int = 3,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
) -> Losses:
    """Cross-entropy of each map and the Fenchel-Young losses for alpha = 1, 1.5, 2 and the given one, over the target's lead."""
    names = tuple(several_of("maps", maps, NAMES, len(NAMES)))
    classes = whole("classes", classes, 2, 32)
    own = _own(alpha, min(whole("k", k, 1, MOST_SCORES), classes), order, margin)
    t = torch.linspace(-5, 5, 201, dtype=torch.float64)
    z = torch.zeros(len(t), classes, dtype=torch.float64)
    z[:, 0] = t
    entropy = [-family.MAPS[name](z, **own.get(name, {}))[:, 0].log() for name in names]
    alphas = sorted({1.0, 1.5, 2.0, float(alpha)})
    target = torch.zeros(len(t), dtype=torch.long)
    return Losses(
        t.numpy(),
        names,
        torch.stack(entropy).numpy() + 0.0,
        np.array(alphas),
        torch.stack([family.fenchel_young_loss(z, target, a) for a in alphas]).numpy(),
        torch.stack([family.entmax(z, a)[:, 0] - 1 for a in alphas]).numpy(),
        np.array([1 / (a - 1) if a > 1 else math.inf for a in alphas]),
        classes,
    )


@dataclass(frozen=True)
class Perturbed:
    """The argmax under noise: drawn, and in closed form.

    noise: its name; samples: how many draws
    scores: [n]
    exact: probability of winning, [n]
    drawn: share of the draws won, [n]
    error: standard deviation expected of `drawn`, [n]
    softmax: of the scores, [n]
    """

    noise: str
    samples: int
    scores: np.ndarray
    exact: np.ndarray
    drawn: np.ndarray
    error: np.ndarray
    softmax: np.ndarray


def perturbed(
    scores: Sequence[float] = (1.5, 1.0, 0.6, 0.0, -3.0),
    temperature: float = 1.0,
    noise: str = "uniform",
    samples: int = 1000,
    seed: int = 0,
) -> Perturbed:
    """How often each score wins when noise is added to (scores / temperature)."""
    if noise not in family.NOISES:
        raise ValueError(f"noise must be one of {', '.join(family.NOISES)}.")
    typed = _scores(scores)
    z = typed / number("temperature", temperature, 0.01, 100)
    samples = whole("samples", samples, 1, 100_000)
    exact = family.perturb_max(z, noise=noise)
    drawn = family.gumbel_max(z, noise=noise, samples=samples, seed=whole("seed", seed, 0, 2**31 - 1))
    error = (exact * (1 - exact) / samples).clamp_min(0).sqrt()
    return Perturbed(
        noise, samples, typed.numpy(), exact.numpy(), drawn.numpy(), error.numpy(), family.softmax(z).numpy()
    )


@dataclass(frozen=True)
class Attention:
    """A map as attention between the words of a text.

    map: its name
    words: those shown, [w]; vocabulary: how many different words the text has; counted: how many in all
    scores: similarity of two words' vectors, scaled to unit variance over the matrix, [w, w]
    attention: rows sum to 1, [w, w]
    maps: all of them, [m]; support, entropy: means over the rows, [m]; entropy in nats
    """

    map: str
    words: tuple[str, ...]
    vocabulary: int
    counted: int
    scores: np.ndarray
    attention: np.ndarray
    maps: tuple[str, ...]
    support: np.ndarray
    entropy: np.ndarray


def attention(
    shown: str = "sparsemax",
    text: str = PASSAGE,
    start: int = 0,
    temperature: float = 1.0,
    alpha: float = 1.5,
    k: int = 3,
    order: int = 2,
    margin: float = 1.0,
) -> Attention:
    """Attention between 24 successive words. Their scores are inner products of vectors made from this very text: positive pointwise
    mutual information of words at most 4 apart, factored into 16 dimensions (Levy, Goldberg, "Neural Word Embedding as
    Implicit Matrix Factorization", 2014). No trained network is involved, and queries and keys are the same vectors.
    margin and taylor: as elsewhere, the first word is the margin's target.
    """
    name = one_of("shown", shown, NAMES)
    own = _beside(name, 24, alpha, k, order, margin)
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
        raise ValueError(f"text must be at most {MOST_CHARACTERS} characters.")
    words = re.findall(r"[一-鿿]|[^\W\d_一-鿿]+(?:['’][^\W\d_]+)*", text.lower())
    if len(words) < 24:
        raise ValueError("text must have at least 24 words.")
    first = min(whole("start", start, 0, MOST_CHARACTERS), len(words) - 24)
    names = sorted(set(words))
    index_of = {word: i for i, word in enumerate(names)}
    row = torch.tensor([index_of[word] for word in words])
    vectors = _vectors(row, len(names))[row[first : first + 24]]
    scores = vectors @ vectors.T
    scores = scores / scores.std().clamp_min(1e-12)
    z = scores / number("temperature", temperature, 0.01, 100)
    every = torch.stack([family.MAPS[m](z, **own.get(m, {})) for m in NAMES])
    return Attention(
        name,
        tuple(words[first : first + 24]),
        len(names),
        len(words),
        scores.numpy(),
        every[NAMES.index(name)].numpy(),
        NAMES,
        family.support_size(every).double().mean(-1).numpy(),
        family.entropy(every).mean(-1).numpy(),
    )


def _vectors(row: Tensor, n: int) -> Tensor:
    """A vector [n, <= 16] for each word, from the sequence `row` of word numbers."""
    from scipy.linalg import eigh  # torch finds all n eigenvectors, in four times the time

    together = torch.zeros(n, n, dtype=torch.float64)
    for distance in range(1, 5):
        together.index_put_(
            (row[:-distance], row[distance:]), torch.tensor(1 / distance, dtype=torch.float64), accumulate=True
        )
    together = together + together.T
    count = together.sum(-1)
    information = (together * together.sum() / (count[:, None] * count)).clamp_min(1).log()
    values, vectors = eigh(information.numpy(), subset_by_index=[max(0, n - 16), n - 1])
    return torch.from_numpy(vectors * np.sqrt(values.clip(0)))


@dataclass(frozen=True)
class Speed:
    """Forward times on this machine, median of interleaved runs.

    names: what was timed, [m]
    peers: for each the index of what it is compared with, itself where there is none, [m]
    seconds: [m]
    rows, n: of the float32 scores; threads: of torch
    """

    names: tuple[str, ...]
    peers: tuple[int, ...]
    seconds: np.ndarray
    rows: int
    n: int
    threads: int


def speed(rows: int = 128, columns: int = 4096, scale: float = 1.0, general_alpha: float = 1.25) -> Iterator[Progress]:
    """Time the maps and the published algorithms they replace on normal float32 scores times `scale`, taking turns."""
    rows, columns = whole("rows", rows, 1, 4096), whole("columns", columns, 2, 32_768)
    if rows * columns > MOST_SPEED_NUMBERS:
        raise ValueError(f"rows times columns must be at most {MOST_SPEED_NUMBERS:,}.")
    alpha = number("general_alpha", general_alpha, 1, 4)
    z = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) * number("scale", scale, 1e-3, 1e3)
    timed: list[tuple[str, int, Callable[[Tensor], Tensor]]] = [
        ("softmax", 0, family.softmax),
        ("sparsemax", 2, family.sparsemax),
        ("sparsemax, sorting", 2, sparsemax_by_sorting),
        ("1.5-entmax", 4, family.entmax),
        ("1.5-entmax, sorting", 4, entmax15_by_sorting),
    ]
    if alpha > 1:
        timed += [
            (f"{alpha:g}-entmax", 6, lambda z: family.entmax(z, alpha)),
            (f"{alpha:g}-entmax, bisection", 6, lambda z: entmax_by_bisection(z, alpha)),
        ]
    turns = 5
    seconds = np.zeros((turns, len(timed)))
    for turn in range(turns):
        for i, (_, _, f) in enumerate(timed):
            begun = time.perf_counter()
            f(z)
            seconds[turn, i] = time.perf_counter() - begun
        names, peers, _ = zip(*timed, strict=True)
        median = np.median(seconds[min(turn, 1) : turn + 1], axis=0)  # the first turn only warms up
        yield Progress(turn + 1, turns, Speed(names, peers, median, rows, columns, torch.get_num_threads()))


def _own(alpha: float, k: int, order: int, margin: float) -> dict[str, dict[str, float]]:
    """Each map's own parameters, checked as far as they can be without scores."""
    return {
        "entmax": {"alpha": number("alpha", alpha, 1, 4)},
        "top_k": {"k": whole("k", k, 1, MOST_SCORES)},
        "taylor": {"order": whole("order", order, 2, family.MAX_ORDER)},
        "margin": {"margin": number("margin", margin, -100, 100)},
    }


def _beside(chosen: str, n: int, alpha: float, k: int, order: int, margin: float) -> dict[str, dict[str, float]]:
    """The same for all maps of n scores, of which only the chosen one may be refused: the others stand beside it."""
    k, order = whole("k", k, 1, MOST_SCORES), whole("order", order, 2, family.MAX_ORDER)
    return _own(
        alpha, k if chosen == "top_k" else min(k, n), order if chosen == "taylor" else order - order % 2, margin
    )


def _scores(scores: Sequence[float]) -> Tensor:
    try:
        z = torch.tensor([float(s) for s in scores], dtype=torch.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("scores must be a list of numbers.") from None
    if not 2 <= len(z) <= MOST_SCORES:
        raise ValueError(f"scores must be 2 to {MOST_SCORES} numbers.")
    if not bool((z.abs() <= 1e6).all()):
        raise ValueError("scores must be numbers between -1,000,000 and 1,000,000 (no NaN, no infinity).")
    return z
