"""What is shown of the family: numbers in, frozen arrays out."""

from __future__ import annotations

import math
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines import softmax as family
from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked
from engines.objectives.labels import zlpr
from engines.progress import Progress
from engines.softmax.passage import PASSAGE
from engines.softmax.reference import entmax15_by_sorting, entmax_by_bisection, sparsemax_by_sorting

NAMES = tuple(family.MAPS)
DEFAULT_MAPS = NAMES[:6]
FIVE_SCORES = (1.5, 1.0, 0.6, 0.0, -3.0)
MOST_SCORES = 32
MOST_CHARACTERS = 1500  # a link that carries them twice is still one that servers take
MOST_SPEED_NUMBERS = 1 << 22
SPREAD_TEMPERATURES = tuple(np.logspace(-1.5, 1.5, 13).tolist())
SPREAD_SIZES = (2, 4, 16, 64, 256, 1024, 4096)
SHOWN_WORDS = 24

Maps = Annotated[Sequence[str], SomeOf(NAMES)]
Map = Annotated[str, OneOf(NAMES)]
Scores = Annotated[Sequence[float], ListOf(-1e4, 1e4, most=MOST_SCORES, least=2)]
Temperature = Annotated[float, Between(0.01, 100)]
Alpha = Annotated[float, Between(1, 4)]
Top = Annotated[int, Between(1, MOST_SCORES)]
Order = Annotated[int, Between(2, family.MAX_ORDER)]
Margin = Annotated[float, Between(0, 10)]
Mass = Annotated[float, Between(0.01, 1)]
Seed = Annotated[int, Between(0, 999)]


@dataclass(frozen=True)
class Comparison:
    """Maps applied to the same scores.

    maps: their names [m]
    scores: float64 [n]; as given
    probabilities: float64 [m, n]
    support: int64 [m]; entries above 0
    entropy: float64 [m], nats; Shannon's
    shift: float64 [m]; the greatest change of a probability when 1 is added to every score / temperature
    monotone: bool [m]; whether a larger score always has at least the probability of a smaller one here
    """

    maps: tuple[str, ...]
    scores: np.ndarray
    probabilities: np.ndarray
    support: np.ndarray
    entropy: np.ndarray
    shift: np.ndarray
    monotone: np.ndarray


@checked
def compare(
    scores: Scores = FIVE_SCORES,
    maps: Maps = DEFAULT_MAPS,
    temperature: Temperature = 1.0,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> Comparison:
    """Each map on the same scores / temperature.

    Here and below: alpha is entmax's; k top-k's, which keeps all scores where k exceeds their number; order Taylor's, even;
    margin is taken from the first score, the target; p is top-p's; perturb_max has uniform noise.
    """
    z = torch.tensor(scores, dtype=torch.float64)
    own = own_parameters(len(z), alpha, k, order, margin, p)
    scaled = z / temperature
    found = torch.stack([family.MAPS[name](scaled, **own.get(name, {})) for name in maps])
    shifted = torch.stack([family.MAPS[name](scaled + 1, **own.get(name, {})) for name in maps])
    rising = found[:, z.argsort(stable=True)]
    distinct = z.sort().values.diff() > 0
    return Comparison(
        tuple(maps),
        z.numpy(),
        found.numpy(),
        family.support_size(found).numpy(),
        family.entropy(found).numpy(),
        (shifted - found).abs().amax(-1).numpy(),
        ((rising.diff(dim=-1) >= -1e-12) | ~distinct).all(-1).numpy(),
    )


@dataclass(frozen=True)
class Sparsity:
    """How wide the maps spread standard normal scores, means over 10 rows.

    maps: their names [m]
    n: number of scores of the temperature curves
    temperature: that of the size curves
    temperatures: float64 [t]
    support_by_temperature: float64 [m, t]; entries above 0
    entropy_by_temperature: float64 [m, t], nats
    sizes: int64 [s]; numbers of scores
    support_by_size: float64 [m, s]; NaN beyond the 64 scores that perturb_max takes
    entropy_by_size: float64 [m, s], nats; NaN likewise
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


@checked
def sparsity(
    maps: Maps = DEFAULT_MAPS,
    n: Annotated[int, Between(2, 32)] = 32,
    temperature: Temperature = 1.0,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
    seed: Seed = 0,
) -> Sparsity:
    """Mean support and entropy of maps of standard normal scores, over temperature and over the number of scores."""

    def spread(temperatures: tuple[float, ...], sizes: tuple[int, ...]) -> np.ndarray:
        """(support, entropy), each [m, temperatures, sizes]."""
        own = own_parameters(MOST_SCORES, alpha, k, order, margin, p)
        return np.stack([_spread(name, temperatures, sizes, seed, **own.get(name, {})) for name in maps], 1)

    by_temperature, by_size = spread(SPREAD_TEMPERATURES, (n,)), spread((temperature,), SPREAD_SIZES)
    return Sparsity(
        maps=tuple(maps),
        n=n,
        temperature=temperature,
        temperatures=np.array(SPREAD_TEMPERATURES),
        support_by_temperature=by_temperature[0, ..., 0],
        entropy_by_temperature=by_temperature[1, ..., 0],
        sizes=np.array(SPREAD_SIZES),
        support_by_size=by_size[0, :, 0],
        entropy_by_size=by_size[1, :, 0],
    )


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
    """What a map does to the plane of three scores (s1, s2, s3) with sum 3 offset.

    The plane's coordinates are x = (s1 - s2) / sqrt 2 and y = (2 s3 - s1 - s2) / sqrt 6: an isometry, and probabilities have the
    same ones, so that the simplex is a triangle of side sqrt 2 around (0, 0).

    map: its name
    axis: float64 [g]; x and y of the grid of `support`, 1.35 to each side
    support: uint8 [g, g]; entries above 0 at (y = axis[i], x = axis[j])
    share: float64 [3]; share of the plane's square, 3 to each side, with support 1, 2 and 3
    lines: float64 [l, points, 2]; images (x, y) of the lines of a square grid of the plane
    corners: float64 [3, 2]; x, y of the probabilities (1, 0, 0), (0, 1, 0), (0, 0, 1)
    scores: float64 [3]; of the point (x, y)
    probabilities: float64 [3]; what the map gives it
    point: float64 [2, 2]; x, y of the scores, and of the probabilities
    """

    map: str
    axis: np.ndarray
    support: np.ndarray
    share: np.ndarray
    lines: np.ndarray
    corners: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    point: np.ndarray


@checked
def simplex_map(
    map: Map = "sparsemax",
    x: Annotated[float, Between(-1.2, 1.2)] = 0.9,
    y: Annotated[float, Between(-1.2, 1.2)] = 0.5,
    temperature: Temperature = 1.0,
    offset: Annotated[float, Between(-10, 10)] = 0.0,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> SimplexMap:
    """The plane of score triples that sum to 3 offset, 3 to each side, sent into the simplex by one map; and one point of it."""
    own = own_parameters(3, alpha, k, order, margin, p).get(map, {})
    basis = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]], dtype=torch.float64)
    basis /= basis.norm(dim=-1, keepdim=True)

    def image(x: Tensor, y: Tensor) -> Tensor:
        return family.MAPS[map]((x[..., None] * basis[0] + y[..., None] * basis[1] + offset) / temperature, **own)

    def supports(axis: Tensor) -> Tensor:
        return family.support_size(image(axis.expand(len(axis), -1), axis[:, None].expand(-1, len(axis))))

    axis = torch.linspace(-1.35, 1.35, 109, dtype=torch.float64)
    whole = supports(torch.linspace(-3, 3, 121, dtype=torch.float64))
    ticks = torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None].expand(-1, 61)
    along = torch.linspace(-3, 3, 61, dtype=torch.float64).expand(25, -1)
    lines = torch.cat([image(ticks, along), image(along, ticks)]) @ basis.T
    at = torch.tensor([x, y], dtype=torch.float64)
    probabilities = image(at[0], at[1])
    return SimplexMap(
        map=map,
        axis=axis.numpy(),
        support=supports(axis).to(torch.uint8).numpy(),
        share=np.array([float((whole == size).double().mean()) for size in (1, 2, 3)]),
        lines=lines.numpy(),
        corners=basis.T.numpy().copy(),
        scores=(at @ basis + offset).numpy(),
        probabilities=probabilities.numpy(),
        point=torch.stack([at, probabilities @ basis.T]).numpy(),
    )


@dataclass(frozen=True)
class Sensitivity:
    """The Jacobians of the maps at the same scores.

    map: the one whose Jacobian is given
    scores: float64 [n]
    probabilities: float64 [n]; what that map gives
    jacobian: float64 [n, n]; d p_i / d s_j of that map, s being scores / temperature
    maps: names of all [m]
    half_norm: float64 [m]; half the sum of |d p_i / d s_j|
    zeros: float64 [m]; share of the Jacobian's entries that are 0
    gradient_zeros: float64 [m]; share of the entries of the gradient of <g, p> that are 0, for one random g
    law: float64 [m]; half_norm in closed form: 1 - sum p^2 for softmax, |S| - 1 for sparsemax; NaN elsewhere
    """

    map: str
    scores: np.ndarray
    probabilities: np.ndarray
    jacobian: np.ndarray
    maps: tuple[str, ...]
    half_norm: np.ndarray
    zeros: np.ndarray
    gradient_zeros: np.ndarray
    law: np.ndarray


@checked
def sensitivity(
    map: Map = "sparsemax",
    scores: Scores = FIVE_SCORES,
    temperature: Temperature = 1.0,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> Sensitivity:
    """The Jacobian of one map (with respect to scores / temperature), and how sparse those of all are."""
    z = torch.tensor(scores, dtype=torch.float64) / temperature
    own = own_parameters(len(z), alpha, k, order, margin, p)
    every = torch.stack([family.jacobian(f, z, **own.get(name, {})) for name, f in family.MAPS.items()])
    law = dict.fromkeys(NAMES, math.nan)
    law["softmax"] = float(1 - family.softmax(z).square().sum())
    law["sparsemax"] = float(family.support_size(family.sparsemax(z)) - 1)
    g = torch.randn(len(z), generator=torch.Generator().manual_seed(0), dtype=z.dtype)
    return Sensitivity(
        map=map,
        scores=np.array(scores),
        probabilities=family.MAPS[map](z, **own.get(map, {})).numpy(),
        jacobian=every[NAMES.index(map)].numpy(),
        maps=NAMES,
        half_norm=(every.abs().sum((-2, -1)) / 2).numpy(),
        zeros=(every == 0).double().mean((-2, -1)).numpy(),
        gradient_zeros=((g @ every).abs() < 1e-15).double().mean(-1).numpy(),
        law=np.array([law[name] for name in NAMES]),
    )


@dataclass(frozen=True)
class Losses:
    """Losses of a classifier that gives its target the score t and every other class 0.

    t: float64 [points]
    maps: their names [m]
    cross_entropy: float64 [m, points], nats; -log p(target), inf where the map gives 0
    alphas: float64 [a]; of the Fenchel-Young losses
    fenchel_young: float64 [a, points]; nats at alpha = 1
    slope: float64 [a, points]; its derivative in t, p(target) - 1
    flat_from: float64 [a]; the t from which it is exactly 0, 1 / (alpha - 1), inf at alpha = 1
    zlpr: float64 [points], nats; the multi-label loss ZLPR with the target as the one label that is on
    classes: how many in all
    """

    t: np.ndarray
    maps: tuple[str, ...]
    cross_entropy: np.ndarray
    alphas: np.ndarray
    fenchel_young: np.ndarray
    slope: np.ndarray
    flat_from: np.ndarray
    zlpr: np.ndarray
    classes: int


@checked
def losses(
    maps: Maps = DEFAULT_MAPS,
    classes: Annotated[int, Between(2, 32)] = 3,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> Losses:
    """Cross-entropy of each map and the Fenchel-Young losses for alpha = 1, 1.5, 2 and the given one, over the target's lead."""
    own = own_parameters(classes, alpha, k, order, margin, p)
    t = torch.linspace(-5, 5, 201, dtype=torch.float64)
    z = torch.zeros(len(t), classes, dtype=torch.float64)
    z[:, 0] = t
    entropy = [-family.MAPS[name](z, **own.get(name, {}))[:, 0].log() for name in maps]
    alphas = sorted({1.0, 1.5, 2.0, alpha})
    target = torch.zeros(len(t), dtype=torch.long)
    return Losses(
        t=t.numpy(),
        maps=tuple(maps),
        cross_entropy=torch.stack(entropy).numpy() + 0.0,
        alphas=np.array(alphas),
        fenchel_young=torch.stack([family.fenchel_young_loss(z, target, a) for a in alphas]).numpy(),
        slope=torch.stack([family.entmax(z, a)[:, 0] - 1 for a in alphas]).numpy(),
        flat_from=np.array([1 / (a - 1) if a > 1 else math.inf for a in alphas]),
        zlpr=zlpr(z, torch.nn.functional.one_hot(target, classes)).numpy(),
        classes=classes,
    )


@dataclass(frozen=True)
class Perturbation:
    """The argmax under noise: by draws, and in closed form.

    noise: its name
    samples: how many draws
    scores: float64 [n]
    exact: float64 [n]; probability that the entry is the argmax
    frequency: float64 [n]; share of the draws in which it is
    deviation: float64 [n]; standard deviation to expect of `frequency`
    softmax: float64 [n]; of scores / temperature
    """

    noise: str
    samples: int
    scores: np.ndarray
    exact: np.ndarray
    frequency: np.ndarray
    deviation: np.ndarray
    softmax: np.ndarray


@checked
def perturb(
    scores: Scores = FIVE_SCORES,
    temperature: Temperature = 1.0,
    noise: Annotated[str, OneOf(family.NOISES)] = "uniform",
    samples: Annotated[int, Between(1, 100_000)] = 1000,
    seed: Seed = 0,
) -> Perturbation:
    """How often each entry is the argmax when noise is added to scores / temperature."""
    z = torch.tensor(scores, dtype=torch.float64) / temperature
    exact = family.perturb_max(z, noise=noise)
    return Perturbation(
        noise=noise,
        samples=samples,
        scores=np.array(scores),
        exact=exact.numpy(),
        frequency=family.gumbel_max(z, noise=noise, samples=samples, seed=seed).numpy(),
        deviation=(exact * (1 - exact) / samples).clamp_min(0).sqrt().numpy(),
        softmax=family.softmax(z).numpy(),
    )


@dataclass(frozen=True)
class Attention:
    """A map as attention between the words of a text.

    map: its name
    words: the w that attend to each other
    vocabulary: how many different words the text has
    counted: how many words the text has in all
    scores: float64 [w, w]; inner products of the words' vectors, scaled to unit variance over the matrix
    attention: float64 [w, w]; rows sum to 1
    maps: names of all [m]
    support: float64 [m]; entries above 0, mean over the rows
    entropy: float64 [m], nats; mean over the rows
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


@checked
def attention(
    map: Map = "sparsemax",
    text: Annotated[str, Characters(MOST_CHARACTERS)] = PASSAGE,
    start: Annotated[int, Between(0, 250)] = 0,
    temperature: Temperature = 1.0,
    alpha: Alpha = 1.5,
    k: Top = 3,
    order: Order = 2,
    margin: Margin = 1.0,
    p: Mass = 0.9,
) -> Attention:
    """Attention between 24 successive words. Their scores are inner products of vectors made from this very text: positive pointwise
    mutual information of words at most 4 apart, factored into 16 dimensions (Levy, Goldberg, "Neural Word Embedding as
    Implicit Matrix Factorization", 2014). No trained network is involved, and queries and keys are the same vectors.
    start: the first of the 24 words, counted from 0; a Chinese character is a word.
    """
    own = own_parameters(SHOWN_WORDS, alpha, k, order, margin, p)
    composed = unicodedata.normalize("NFC", text).lower()
    words = re.findall(r"[一-鿿]|[^\W\d_一-鿿]+(?:['’][^\W\d_]+)*", composed)
    if len(words) < SHOWN_WORDS:
        raise Refusal("{parameter} must have at least {least} words.", parameter="text", least=SHOWN_WORDS)
    if start > len(words) - SHOWN_WORDS:
        raise Refusal(
            "{parameter} must be at most {most}: the text has {count} words, of which {words} are shown.",
            parameter="start",
            most=len(words) - SHOWN_WORDS,
            count=len(words),
            words=SHOWN_WORDS,
        )
    names = sorted(set(words))
    index_of = {word: i for i, word in enumerate(names)}
    row = torch.tensor([index_of[word] for word in words])
    vectors = _vectors(row, len(names))[row[start : start + SHOWN_WORDS]]
    scores = vectors @ vectors.T
    scores = scores / scores.std().clamp_min(1e-12)
    every = torch.stack([family.MAPS[m](scores / temperature, **own.get(m, {})) for m in NAMES])
    return Attention(
        map=map,
        words=tuple(words[start : start + SHOWN_WORDS]),
        vocabulary=len(names),
        counted=len(words),
        scores=scores.numpy(),
        attention=every[NAMES.index(map)].numpy(),
        maps=NAMES,
        support=family.support_size(every).double().mean(-1).numpy(),
        entropy=family.entropy(every).mean(-1).numpy(),
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
    """Forward times on this machine, medians of interleaved runs.

    methods: what was timed [m]: the maps softmax, sparsemax, entmax15, entmax and, as <map>_by_<algorithm>, the published algorithms
    peers: [m]; the index of the published algorithm of the same map, its own where there is none
    seconds: float64 [m]
    rows: of the float32 scores
    n: scores in a row
    alpha: of entmax
    threads: of torch
    """

    methods: tuple[str, ...]
    peers: tuple[int, ...]
    seconds: np.ndarray
    rows: int
    n: int
    alpha: float
    threads: int


@checked
def speed(
    rows: Annotated[int, Between(1, 4096)] = 128,
    columns: Annotated[int, Between(2, 32_768)] = 4096,
    scale: Annotated[float, Between(1e-3, 1e3)] = 1.0,
    alpha: Alpha = 1.25,
) -> Iterator[Progress[Speed]]:
    """Time the maps and the published algorithms they replace on normal float32 scores times `scale`, taking turns."""
    if rows * columns > MOST_SPEED_NUMBERS:
        raise Refusal(
            "{parameter} times columns must be at most {most}: lower one of them.",
            parameter="rows",
            most=MOST_SPEED_NUMBERS,
        )
    z = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)) * scale
    timed: list[tuple[str, int, Callable[[Tensor], Tensor]]] = [
        ("softmax", 0, family.softmax),
        ("sparsemax", 2, family.sparsemax),
        ("sparsemax_by_sorting", 2, sparsemax_by_sorting),
        ("entmax15", 4, family.entmax),
        ("entmax15_by_sorting", 4, entmax15_by_sorting),
    ]
    if alpha > 1:
        timed += [
            ("entmax", 6, lambda z: family.entmax(z, alpha)),
            ("entmax_by_bisection", 6, lambda z: entmax_by_bisection(z, alpha)),
        ]
    turns = 5
    seconds = np.zeros((turns, len(timed)))
    methods, peers, functions = zip(*timed, strict=True)
    for turn in range(turns):
        for i, f in enumerate(functions):
            begun = time.perf_counter()
            f(z)
            seconds[turn, i] = time.perf_counter() - begun
        median = np.median(seconds[min(turn, 1) : turn + 1], axis=0)  # the first turn only warms up
        yield Progress(turn + 1, turns, Speed(methods, peers, median, rows, columns, alpha, torch.get_num_threads()))


def own_parameters(n: int, alpha: float, k: int, order: int, margin: float, p: float) -> dict[str, dict[str, float]]:
    """Each map's own parameters, for n scores."""
    return {
        "entmax": {"alpha": alpha},
        "top_k": {"k": min(k, n)},
        "taylor": {"order": order},
        "margin": {"margin": margin},
        "top_p": {"p": p},
    }
