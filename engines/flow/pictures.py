"""What the views of digits compute: training, guidance, and the density asked about one picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, SomeOf, checked
from engines.flow import digits as data
from engines.flow import shipped
from engines.flow.tarflow import GUIDED
from engines.pictures import read_drawing
from engines.progress import Progress

Seed = Annotated[int, Between(0, 9999)]


@dataclass(frozen=True)
class Digits:
    """A TARFLOW of the digits while it is trained; pictures and measures come with the last report.

    step: int64 [k]
    train: float64 [k], nats a pixel; mean over the batches since the last
    test: float64 [k], nats a pixel; of the noised test pictures with their labels
    test_unlabelled: float64 [k], nats a pixel; of the same without labels, as the three distributions below are
    noise: the noise's standard deviation; 0: uniform dequantisation
    noise_alone: nats a pixel; entropy of the noise
    gaussian: nats a pixel; one Gaussian on the test pictures
    memory: nats a pixel; the noised training set as a law; NaN at noise 0
    bits: bits a pixel of the last test figure under uniform dequantisation; NaN otherwise
    raw: uint8 [n, 8, 8, 3]; samples, a row of ten labels after another
    denoised: uint8 [n, 8, 8, 3]; the same after Tweedie's step
    real: uint8 [n, 8, 8, 3]; test pictures
    recognised: float64 [3]; share that the judge takes for their label: raw, denoised, test pictures
    frechet: float64 [3], squared ink; to the test pictures: raw, denoised, as many training pictures
    nearest: float64 [3], ink; mean distance to the nearest training picture: raw, denoised, test pictures
    """

    step: np.ndarray
    train: np.ndarray
    test: np.ndarray
    test_unlabelled: np.ndarray
    noise: float
    noise_alone: float
    gaussian: float
    memory: float
    bits: float
    raw: np.ndarray
    denoised: np.ndarray
    real: np.ndarray
    recognised: np.ndarray
    frechet: np.ndarray
    nearest: np.ndarray


@checked
def digits(
    patch: Annotated[str, OneOf(data.PATCHES)] = "4",
    channels: Annotated[int, Between(32, 128)] = 96,
    blocks: Annotated[int, Between(2, 8)] = 6,
    noise: Annotated[float, Between(0, 0.4)] = 0.3,
    effort: Annotated[float, Between(0.02, 1)] = 0.5,
    seed: Seed = 0,
) -> Iterator[Progress[Digits]]:
    """Train a TARFLOW on 1,500 digits; yields a Progress of Digits. effort 1 is 2,000 steps of 64 pictures.

    channels: rounded down to a multiple of 32
    """
    flow, size = data.make(patch, channels // 32 * 32, blocks, seed=seed), int(patch)
    steps, parts = max(20, int(2000 * effort)), data.split()
    each, losses, at, train, test, free = max(10, steps // 20), [], [], [], [], []
    fixed = (data.noise_entropy(noise), data.gaussian_nll(noise), data.memory_nll(noise))
    none, nothing = np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0)

    def result(pictures: Sequence = (none,) * 3, measures: Sequence = (nothing,) * 3) -> Digits:
        bits = data.bits(test[-1]) if noise == 0 else float("nan")
        return Digits(
            np.array(at), np.array(train), np.array(test), np.array(free), noise, *fixed, bits, *pictures, *measures
        )

    for step, loss in data.train(flow, size, noise, steps, seed=seed):
        losses.append(loss)
        if step % each == 0 or step == steps:
            at.append(step)
            train.append(float(np.mean(losses)))
            test.append(data.test_nll(flow, size, noise))
            free.append(data.test_nll(flow, size, noise, told=False))
            losses = []
            if step < steps:
                yield Progress(step, steps + 1, result())
    labels = torch.arange(300) % data.CLASSES
    raw = data.sample(flow, size, labels, seed)
    clean = data.denoised(flow, size, raw, noise, labels)
    sets = (raw, clean, parts.test)
    measures = (
        np.array([data.recognised(x, y) for x, y in zip(sets, (labels, labels, parts.test_labels), strict=True)]),
        np.array([data.frechet(x) for x in (raw, clean, parts.train[: len(parts.test)])]),
        np.array([data.nearest(x) for x in sets]),
    )
    shown = (raw[:30], clean[:30], data.of_each_label(3))
    yield Progress(steps + 1, steps + 1, result([data.to_grey(x) for x in shown], measures))


@dataclass(frozen=True)
class Guide:
    """Samples of the shipped flow of digits under guidance.

    guidance: the weight shown
    pictures: uint8 [50, 8, 8, 3]; five rows of ten labels
    compared: uint8 [k + 1, 10, 8, 8, 3]; the first row at each weight of the curves, then at the weight shown, from the same z
    real: uint8 [10, 8, 8, 3]; test pictures
    weights: float64 [k]; of the curves
    recognised: float64 [k]; share that the judge takes for their label
    frechet: float64 [k], squared ink; to the test pictures
    recognised_here: at the weight shown
    frechet_here: likewise
    recognised_real: of the test pictures
    frechet_real: of as many training pictures as there are samples
    """

    guidance: float
    pictures: np.ndarray
    compared: np.ndarray
    real: np.ndarray
    weights: np.ndarray
    recognised: np.ndarray
    frechet: np.ndarray
    recognised_here: float
    frechet_here: float
    recognised_real: float
    frechet_real: float


class Sheet(NamedTuple):
    """Samples at one weight. pictures: uint8 [50, 8, 8, 3]; recognised: share; frechet: squared ink, to the test pictures."""

    pictures: np.ndarray
    recognised: float
    frechet: float


SAMPLES = 150  # of a sheet
PLAIN = (GUIDED, False, 1.0)  # at weight 0 nothing is guided, whatever is asked


@lru_cache(256)
def sheet(
    weight: float, guided: Sequence[str], annealed: bool, temperature: float, noise: str, denoised: bool, seed: int
) -> Sheet:
    """Samples of the shipped flow, a label after another, and what is measured of them."""
    flow, labels = shipped.digits(noise), torch.arange(SAMPLES) % data.CLASSES
    how = {"guidance": weight, "guided": guided, "annealed": annealed, "temperature": temperature}
    made = data.sample(flow, shipped.PATCH, labels, seed, **how)
    if denoised:
        made = data.denoised(flow, shipped.PATCH, made, float(noise), labels)
    return Sheet(data.to_grey(made[:50]), data.recognised(made, labels), data.frechet(made))


@checked
def guide(
    guidance: Annotated[float, Between(0, 3)] = 1.0,
    guided: Annotated[Sequence[str], SomeOf(GUIDED)] = GUIDED,
    annealed: bool = False,
    temperature: Annotated[float, Between(0.5, 1.5)] = 1.0,
    noise: Annotated[str, OneOf(shipped.NOISES)] = "0.3",
    denoised: bool = True,
    seed: Seed = 0,
) -> Guide:
    """Sample the labels' digits at several weights of the guidance, and measure each sheet."""
    how = (tuple(sorted(guided)), bool(annealed), temperature)
    weights = (0.0, 0.5, 1.0, 2.0, 3.0)
    *curve, here = (sheet(w, *(how if w else PLAIN), noise, bool(denoised), seed) for w in (*weights, guidance))
    return Guide(
        guidance,
        here.pictures,
        np.stack([made.pictures[:10] for made in (*curve, here)]),
        data.to_grey(data.of_each_label()),
        np.array(weights),
        np.array([made.recognised for made in curve]),
        np.array([made.frechet for made in curve]),
        here.recognised,
        here.frechet,
        data.real_recognised(),
        data.frechet(data.split().train[:SAMPLES]),
    )


@dataclass(frozen=True)
class Likelihood:
    """One picture before the shipped flow of digits.

    picture: uint8 [1, 8, 8, 3]; as it is
    noised: uint8 [1, 8, 8, 3]; as the flow sees it
    latent: uint8 [1, 8, 8, 3]; z, told the likeliest label: grey is 0, black and white are ±3
    label: the true one, or −1
    log_q: float64 [10], nats; log q(picture | label)
    without: nats; log q(picture), told no label
    posterior: float64 [10]; over equal labels
    costs: float64 [blocks + 1, tokens], nats; what −log q sums to, told the likeliest label: Σ a of each block, then the prior of z
    sum_of_costs: nats
    brute_force: nats; −log q from the determinant of the whole Jacobian, 64 x 64, in float64
    """

    picture: np.ndarray
    noised: np.ndarray
    latent: np.ndarray
    label: int
    log_q: np.ndarray
    without: float
    posterior: np.ndarray
    costs: np.ndarray
    sum_of_costs: float
    brute_force: float


def test_pictures() -> np.ndarray:
    """The 297 test pictures, four times their size, uint8 [297, 32, 32, 3]."""
    return data.to_grey(data.split().test, 4)


def test_names() -> list[str]:
    """What each test picture shows, and which of them it is."""
    return [f"{label}, № {place}" for place, label in enumerate(data.split().test_labels.tolist())]


def from_drawing(path: str) -> Tensor:
    """A drawing, black on white, as a digit [1, 64]: its ink, cut out and shrunk to 8 x 8 as the data are."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise Refusal("{parameter} must be the path of a picture.", parameter="drawing")
    ink = read_drawing(path)
    rows, columns = np.nonzero(ink > 0.25)
    if len(rows) < 4:
        raise Refusal("{parameter} has no ink: draw a digit in black first.", parameter="drawing")
    cut = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(cut.shape)
    square = np.zeros((side, side))
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    small = torch.nn.functional.interpolate(torch.from_numpy(square)[None, None].float(), (8, 8), mode="area")
    small = small / small.max().clamp(min=1e-6)
    return (2 * small.reshape(1, 64) - 1).clamp(-1, 1)


@checked
def likelihood(
    digit: Annotated[int, Between(0, 296)] = 0,
    drawing: str | None = None,
    noise: Annotated[str, OneOf(shipped.NOISES)] = "0.3",
    shift: Annotated[int, Between(-2, 2)] = 0,
    seed: Seed = 0,
) -> Likelihood:
    """log q of a test picture (or of a drawing, if there is one) under each label, and where the nats come from.

    shift: pixels to the right
    """
    flow, parts = shipped.digits(noise), data.split()
    picture = from_drawing(drawing) if drawing else parts.test[digit : digit + 1]
    if shift:
        grid = torch.full((8, 8 + 2 * abs(shift)), -1.0)
        start = abs(shift) + shift
        grid[:, start : start + 8] = picture.view(8, 8)
        picture = grid[:, abs(shift) : abs(shift) + 8].reshape(1, 64)
    seen = data.noised(picture, float(noise), torch.Generator().manual_seed(seed))
    x = data.to_tokens(seen, shipped.PATCH)
    with torch.no_grad():
        log_q = flow.log_prob(x.expand(10, -1, -1), torch.arange(10)).double()
        without = float(flow.log_prob(x))
        best = log_q.argmax()[None]
        states = list(flow.states(x, best))
    z = states[-1][0][0].double()
    prior = 0.5 * z.square().sum(1) + 0.5 * z.shape[1] * np.log(2 * np.pi)
    costs = torch.stack([log_scale[0].double().sum(1) for _, log_scale, _ in states[1:]] + [prior])
    exact, wide = type(flow)(**flow.config).double(), x.double()
    exact.load_state_dict(flow.state_dict())
    jacobian = torch.autograd.functional.jacobian(lambda x: exact(x, best)[0], wide).view(64, 64)
    latent = exact(wide, best)[0].detach()
    brute = 0.5 * latent.square().sum() + 32 * np.log(2 * np.pi) - torch.linalg.slogdet(jacobian)[1]
    return Likelihood(
        data.to_grey(picture),
        data.to_grey(seen),
        data.to_grey(data.to_pictures(latent.float() / 3, shipped.PATCH)),
        -1 if drawing else int(parts.test_labels[digit]),
        log_q.numpy(),
        without,
        torch.softmax(log_q, 0).numpy(),
        costs.numpy(),
        float(costs.sum()),
        float(brute),
    )
