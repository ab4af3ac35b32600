"""Autoregression over the patches of the digits with one head or another, each in nats of the same data.

kexue.fm/archives/10197. A causal transformer reads the patches so far and the label; its head writes the density of the next
patch. The flow-matching head is MAR's idea (Li et al. 2024, arXiv 2406.11838: a small diffusion), with a density by its ODE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.arguments import Between, SomeOf, checked
from engines.flow import digits
from engines.flow.codes import k_means
from engines.flow.tarflow import Layer, descend
from engines.progress import Progress

PATCH, TOKENS, DIM, CHANNELS = 2, 16, 4, 64
ODE_STEPS = 6  # of Runge and Kutta; many more change the nats a pixel by less than 10⁻³
BINS, COMPONENTS, ENTRIES, REPORTS = 32, 8, 64, 5


def normal_nats(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """−log N(x; mean, exp(log_scale)²), summed over the last axis."""
    return (0.5 * ((x - mean) * torch.exp(-log_scale)).square() + log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)


def scale_of(raw: Tensor) -> Tensor:
    """A log standard deviation, between those of 0.05 and 2.7."""
    return 2 * torch.tanh(raw / 2) - 1


def picked(logits: Tensor, generator: torch.Generator) -> Tensor:
    """One index of each row of logits [n, k], drawn."""
    return torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]


class Head(nn.Module):
    """Writes the density of x [n, DIM] from h [n, CHANNELS]. draw(h, generator) -> x."""

    def nats(self, h: Tensor, x: Tensor) -> Tensor:
        """−log q(x | h), [n]."""
        raise NotImplementedError

    def loss(self, h: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """What it is trained by, [n]."""
        return self.nats(h, x)


class Mixture(Head):
    """Gaussians with axes along the pixels; one of them is the Gaussian head."""

    def __init__(self, components: int):
        super().__init__()
        self.components = components
        self.out = nn.Linear(CHANNELS, components * (1 + 2 * DIM))
        with torch.no_grad():  # means apart, so that the parts can learn to differ
            self.out.bias[components : components * (1 + DIM)].uniform_(-1, 1)

    def parts(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [n, K], means and log standard deviations [n, K, DIM]."""
        logits, means, raw = self.out(h).split([self.components, *[self.components * DIM] * 2], 1)
        shape = (len(h), self.components, DIM)
        return logits, means.view(shape), scale_of(raw.view(shape))

    def nats(self, h: Tensor, x: Tensor) -> Tensor:
        """−log q(x | h), [n]."""
        logits, means, log_scales = self.parts(h)
        return -torch.logsumexp(F.log_softmax(logits, 1) - normal_nats(x[:, None], means, log_scales), 1)

    def draw(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """x [n, DIM]."""
        logits, means, log_scales = self.parts(h)
        at = torch.arange(len(h)), picked(logits, generator)
        return means[at] + log_scales[at].exp() * torch.randn(len(h), DIM, generator=generator)


class Bins(Head):
    """Equal bins of each pixel, a pixel of the patch after another: the pixels before it are read as they are."""

    def __init__(self, bins: int, reach: float):
        super().__init__()
        self.bins, self.width, self.reach = bins, 2 * reach / bins, reach
        self.inner = nn.ModuleList(nn.Linear(CHANNELS + i, 2 * CHANNELS) for i in range(DIM))
        self.out = nn.ModuleList(nn.Linear(2 * CHANNELS, bins) for _ in range(DIM))

    def logits(self, h: Tensor, before: Tensor) -> Tensor:
        """Of the pixel after `before` [n, i]; [n, bins]."""
        i = before.shape[1]
        return self.out[i](F.silu(self.inner[i](torch.cat((h, before), 1))))

    def nats(self, h: Tensor, x: Tensor) -> Tensor:
        """−log q(x | h), [n]; what lies beyond the bins counts to the last."""
        which = ((x + self.reach) / self.width).long().clamp(0, self.bins - 1)
        cost = [F.cross_entropy(self.logits(h, x[:, :i]), which[:, i], reduction="none") for i in range(DIM)]
        return torch.stack(cost).sum(0) + DIM * math.log(self.width)

    def draw(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """x [n, DIM]."""
        x = h[:, :0]
        for _ in range(DIM):
            place = picked(self.logits(h, x), generator) + torch.rand(len(h), generator=generator)
            x = torch.cat((x, (place * self.width - self.reach)[:, None]), 1)
        return x


class Codebook(Head):
    """The number of the nearest entry of a codebook, then a Gaussian for what is left, which reads that number.

    Its cost, −log P(code) − log N(x − entry), is at least −log q(x): the Gaussians of other entries reach there too.
    """

    def __init__(self, entries: int, patches: Tensor, seed: int):
        super().__init__()
        self.register_buffer("book", k_means(patches, None, entries, seed))
        self.out, self.code = nn.Linear(CHANNELS, entries), nn.Embedding(entries, CHANNELS)
        self.left = nn.Sequential(nn.Linear(2 * CHANNELS, CHANNELS), nn.SiLU(), nn.Linear(CHANNELS, 2 * DIM))

    def residual(self, h: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation [n, DIM] of x, told its code."""
        move, raw = self.left(torch.cat((h, self.code(code)), 1)).chunk(2, 1)
        return self.book[code] + move, scale_of(raw)

    def nats(self, h: Tensor, x: Tensor) -> Tensor:
        """−log q(x, its code | h), [n]."""
        code = torch.cdist(x, self.book).argmin(1)
        return F.cross_entropy(self.out(h), code, reduction="none") + normal_nats(x, *self.residual(h, code))

    def draw(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """x [n, DIM]."""
        mean, log_scale = self.residual(h, picked(self.out(h), generator))
        return mean + log_scale.exp() * torch.randn(mean.shape, generator=generator)


def rise(move: Callable[[Tensor, float], tuple[Tensor, Tensor]], x: Tensor, ends: tuple[float, float], steps: int):
    """Follow dx/dt = v and dl/dt = −div v from ends[0] to ends[1] by Runge and Kutta's steps: x, and the sum l [n].

    move(x, t) -> (v [n, d], div v [n])
    """
    gained, t, dt = x.new_zeros(len(x)), ends[0], (ends[1] - ends[0]) / steps
    for _ in range(steps):
        v1, d1 = move(x, t)
        v2, d2 = move(x + dt / 2 * v1, t + dt / 2)
        v3, d3 = move(x + dt / 2 * v2, t + dt / 2)
        v4, d4 = move(x + dt * v3, t + dt)
        x = x + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        gained = gained - dt / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        t += dt
    return x, gained


def ode_nats(move: Callable[[Tensor, float], tuple[Tensor, Tensor]], x: Tensor, steps: int) -> Tensor:
    """−log q(x) [n] of the flow from N(0, I) at t = 0 along v to t = 1. Chen et al. 2018, arXiv 1806.07366, Eq. 8."""
    z, gained = rise(move, x, (1.0, 0.0), steps)  # gained: log q at z less log q at x
    return normal_nats(z, torch.zeros_like(z), torch.zeros_like(z)) + gained


class FlowMatching(Head):
    """A velocity v(x_t, t | h), fitted to x − z on x_t = t x + (1 − t) z (Lipman et al. 2022, arXiv 2210.02747)."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.first, self.of_h = nn.Linear(DIM + 5, width), nn.Linear(CHANNELS, width)
        self.second, self.out = nn.Linear(width, width), nn.Linear(width, DIM)

    def velocity(self, h: Tensor, x: Tensor, t: Tensor, tangents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """v [n, DIM] and, by carrying the unit vectors along, its divergence [n] (without tangents 0). t: [n, 1]."""
        waves = torch.cat((t, *(part(k * math.pi * t) for k in (1, 2) for part in (torch.sin, torch.cos))), 1)
        a = self.first(torch.cat((x, waves), 1)) + self.of_h(h)
        b = self.second(F.silu(a))
        v = self.out(F.silu(b))
        if tangents is None:
            return v, x.new_zeros(len(x))

        def slope(raw: Tensor) -> Tensor:
            s = torch.sigmoid(raw)
            return s * (1 + raw * (1 - s))

        carried = (tangents @ self.first.weight[:, :DIM].T) * slope(a)[:, None]  # [n, DIM, width]
        carried = (carried @ self.second.weight.T) * slope(b)[:, None]
        return v, torch.einsum("ndw,dw->n", carried, self.out.weight)

    def loss(self, h: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """|v − (x − z)|², [n]: no nats. Four draws of z and t for each x."""
        h, x = h.repeat(4, 1), x.repeat(4, 1)
        z, t = torch.randn(x.shape, generator=generator), torch.rand(len(x), 1, generator=generator)
        v, _ = self.velocity(h, torch.lerp(z, x, t), t)
        return (v - (x - z)).square().sum(1).view(4, -1).mean(0)

    def nats(self, h: Tensor, x: Tensor) -> Tensor:
        """−log q(x | h), [n], by the ODE with the exact divergence."""
        units = torch.eye(DIM, dtype=x.dtype)
        return ode_nats(lambda x, t: self.velocity(h, x, torch.full_like(x[:, :1], t), units), x, ODE_STEPS)

    def draw(self, h: Tensor, generator: torch.Generator) -> Tensor:
        """x [n, DIM], along the same ODE."""
        z = torch.randn(len(h), DIM, generator=generator)
        return rise(lambda x, t: self.velocity(h, x, torch.full_like(x[:, :1], t)), z, (0.0, 1.0), ODE_STEPS)[0]


HEADS = ("gaussian", "mixture", "bins", "codebook", "flow_matching")


def make_head(name: str, noise: float, patches: Tensor, seed: int = 0) -> Head:
    """A head of HEADS, untrained; patches [n, DIM]: what a codebook is learnt from."""
    match name:
        case "bins":
            return Bins(BINS, 1 + 6 * noise)
        case "codebook":
            return Codebook(ENTRIES, patches, seed)
        case "flow_matching":
            return FlowMatching()
    return Mixture(COMPONENTS if name == "mixture" else 1)


class Reader(nn.Module):
    """A causal transformer of two layers over the patches of a digit, and a head that writes the next patch."""

    def __init__(self, head: Head):
        super().__init__()
        self.head = head
        self.embed, self.start = nn.Linear(DIM, CHANNELS), nn.Parameter(0.1 * torch.randn(1, 1, CHANNELS))
        self.position = nn.Parameter(0.1 * torch.randn(TOKENS, CHANNELS))
        self.label = nn.Embedding(digits.CLASSES, CHANNELS)
        self.layers = nn.ModuleList(Layer(CHANNELS, 2) for _ in range(2))
        self.norm = nn.LayerNorm(CHANNELS)

    def read(self, x: Tensor, labels: Tensor) -> Tensor:
        """What the head is told of each of the next patches, [n (tokens + 1), CHANNELS], from x [n, tokens, DIM]."""
        h = torch.cat((self.start.expand(len(x), -1, -1), self.embed(x)), 1)
        h = h + self.position[: h.shape[1]] + self.label(labels)[:, None]
        for layer in self.layers:
            h = layer(h)
        return self.norm(h).flatten(0, 1)

    def nats(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean −log q of x [n, TOKENS, DIM], a pixel."""
        return self.head.nats(self.read(x[:, :-1], labels), x.flatten(0, 1)).mean() / DIM

    def loss(self, x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """What the head is trained by, a pixel."""
        return self.head.loss(self.read(x[:, :-1], labels), x.flatten(0, 1), generator).mean() / DIM

    @torch.no_grad()
    def sample(self, labels: Tensor, seed: int) -> Tensor:
        """Pictures [n, 64], patch by patch."""
        x, generator = torch.zeros(len(labels), 0, DIM), torch.Generator().manual_seed(seed)
        for _ in range(TOKENS):
            h = self.read(x, labels).view(len(labels), -1, CHANNELS)[:, -1]
            x = torch.cat((x, self.head.draw(h, generator)[:, None]), 1)
        return digits.to_pictures(x, PATCH)


@dataclass(frozen=True)
class PatchHeads:
    """Heads on the digits while they are trained, one after another.

    heads: keys, those begun
    step: int64 [r]; of the reports
    nats: float64 [heads, r], nats a pixel; of the noised test pictures with their labels; NaN where a head is not yet
    train: float64 [heads], nats a pixel; at the last report, of 100 training pictures
    loss: float64 [heads]; what each is trained by, a pixel, mean since the report before
    noise: its standard deviation
    noise_alone: nats a pixel; entropy of the noise, which no head undercuts
    gaussian: nats a pixel; one Gaussian of all 64 pixels, told no label
    pictures: uint8 [heads, 10, 8, 8, 3]; samples, still noised, a label after another
    real: uint8 [10, 8, 8, 3]; test pictures with the same noise, likewise
    recognised: float64 [heads]; share of 150 samples that the judge takes for their label
    """

    heads: tuple[str, ...]
    step: np.ndarray
    nats: np.ndarray
    train: np.ndarray
    loss: np.ndarray
    noise: float
    noise_alone: float
    gaussian: float
    pictures: np.ndarray
    real: np.ndarray
    recognised: np.ndarray


def train(reader: Reader, noise: float, steps: int, seed: int = 0, rate: float = 3e-3) -> Iterator[tuple[int, float]]:
    """Fit to the noised training pictures, 64 a step, in place; yields (step, loss). Stops as `tarflow.descend` does."""
    data, generator = digits.split(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-2)
    for step in range(steps):
        picks = torch.randint(digits.TRAIN, (64,), generator=generator)
        x = digits.to_tokens(digits.noised(data.train[picks], noise, generator), PATCH)
        loss = reader.loss(x, data.train_labels[picks], generator)
        now = rate * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        descend(reader, optimizer, loss, step + 1, now)
        yield step + 1, loss.item()


@checked
def patch_heads(
    heads: Annotated[Sequence[str], SomeOf(HEADS)] = HEADS,
    noise: Annotated[float, Between(0.1, 0.4)] = 0.1,
    effort: Annotated[float, Between(0.01, 1)] = 0.2,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[PatchHeads]]:
    """Train the same transformer with each head on patches of 2 x 2; yields a Progress of PatchHeads. effort 1: 2,000 steps of 64.

    A mixture has 8 Gaussians, each pixel 32 bins, the codebook 64 entries.
    """
    data, steps = digits.split(), max(10, int(2000 * effort))
    marks = np.unique(np.linspace(0, steps, REPORTS + 1).round().astype(int)[1:])
    draws = torch.Generator().manual_seed(seed)
    known, fresh = (digits.to_tokens(digits.noised(part, noise, draws), PATCH) for part in (data.train, data.test))
    real = digits.to_grey(digits.noised(digits.of_each_label(), noise, draws))
    nats = np.full((len(heads), len(marks)), np.nan)
    rows, labels = [], torch.arange(150) % digits.CLASSES
    for i, name in enumerate(heads):
        torch.manual_seed(seed)
        reader, losses = Reader(make_head(name, noise, known.flatten(0, 1), seed)), []
        rows.append(())
        for step, loss in train(reader, noise, steps, seed):
            losses.append(loss)
            if step not in marks:
                continue
            with torch.no_grad():
                nats[i, int((marks < step).sum())] = reader.nats(fresh, data.test_labels)
                own = float(reader.nats(known[:100], data.train_labels[:100]))
            made = reader.sample(labels, seed)
            rows[i] = own, float(np.mean(losses)), digits.to_grey(made[:10]), digits.recognised(made, labels)
            losses = []
            own, mean, pictures, recognised = (np.array(column) for column in zip(*rows, strict=True))
            yield Progress(
                i * steps + step,
                len(heads) * steps,
                PatchHeads(
                    tuple(heads[: i + 1]),
                    marks,
                    nats[: i + 1].copy(),
                    own,
                    mean,
                    noise,
                    digits.noise_entropy(noise),
                    digits.gaussian_nll(noise),
                    pictures,
                    real,
                    recognised,
                ),
            )
