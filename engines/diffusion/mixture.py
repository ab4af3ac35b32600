"""Targets whose noised densities, scores and denoisers are closed forms: mixtures of isotropic Gaussians."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, one_of, whole
from engines.pictures import read_drawing

MAX_COMPONENTS = 256


class GaussianMixture:
    """p(x) = Σ_k w_k N(x; μ_k, s_k² I).

    weights: [K] positive, normalised here; means: [K, d]; scales: [K] non-negative standard deviations.
    Everything is float64 unless `dtype` says otherwise. σ arguments are the standard deviation of added noise
    (x = data + σ ε), a number or one per particle [n].
    """

    def __init__(self, weights, means, scales, *, dtype=torch.float64, device=None):
        try:
            means, weights, scales = (torch.as_tensor(a, dtype=dtype, device=device) for a in (means, weights, scales))
        except (TypeError, ValueError, RuntimeError):
            raise Refusal("{parameter} must be numbers, as weights and scales are.", parameter="means") from None
        if means.ndim != 2 or not 1 <= means.shape[0] <= MAX_COMPONENTS or not means.isfinite().all():
            raise Refusal(
                "{parameter} must be finite numbers [components, dimensions], at most {most} components.",
                parameter="means",
                most=MAX_COMPONENTS,
            )
        for name, values in (("weights", weights), ("scales", scales)):
            least = values > 0 if name == "weights" else values >= 0
            if values.shape != means.shape[:1] or not (least & values.isfinite()).all():
                raise Refusal(
                    "{parameter} must have one positive number for each row of means (scales may be 0).", parameter=name
                )
        self.weights, self.means, self.scales = weights / weights.sum(), means, scales
        # constants of the denoiser, so that a call is two matrix products and a softmax
        self._log_weights = self.weights.log()
        self._variances = scales.square()
        self._squared_means = means.square().sum(-1)

    def to(self, device=None, dtype=None) -> GaussianMixture:
        """The same mixture elsewhere, or in another precision."""
        dtype, device = dtype or self.means.dtype, device or self.means.device
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise Refusal("{parameter} must be a floating-point type of torch.", parameter="dtype")
        return GaussianMixture(self.weights, self.means, self.scales, dtype=dtype, device=device)

    @property
    def mean(self) -> Tensor:
        """[d]."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """[d, d]."""
        centred = self.means - self.mean
        identity = torch.eye(self.means.shape[1], dtype=self.means.dtype, device=self.means.device)
        return (self.weights[:, None] * centred).T @ centred + (self.weights @ self._variances) * identity

    def logits(self, x: Tensor, variances: Tensor, scale: float = 1.0) -> Tensor:
        """log w_k − d/2 log v_k − |x − scale μ_k|²/(2 v_k), [n, K]."""
        if not isinstance(x, Tensor) or x.shape[1:] != self.means.shape[1:] or x.dtype != self.means.dtype:
            raise Refusal(
                "{parameter} must be a tensor [n, {dimensions}] of the mixture's precision.",
                parameter="x",
                dimensions=self.means.shape[1],
            )
        constants = self._log_weights - 0.5 * self.means.shape[1] * variances.log()
        distances = torch.addmm(scale**2 * self._squared_means, x, self.means.T, alpha=-2 * scale)
        distances = distances + x.square().sum(-1, keepdim=True)
        return torch.addcmul(constants, distances, -0.5 / variances)

    def noised_variances(self, sigma) -> Tensor:
        """s_k² + σ², [K] or [n, K]."""
        sigma = sigma if isinstance(sigma, Tensor) else number("sigma", sigma, 0, 1e150)
        sigma = torch.as_tensor(sigma, dtype=self.means.dtype, device=self.means.device)
        return self._variances + (sigma.square()[:, None] if sigma.ndim else sigma.square())

    def denoise(self, x: Tensor, sigma) -> Tensor:
        """D(x; σ) = E[data | data + σ ε = x] = Σ_k r_k [μ_k + s_k²/(s_k² + σ²) (x − μ_k)], [n, d].

        Karras et al. 2022, arXiv 2206.00364, Appendix B.3 (the closed form for a sum of Gaussians).
        """
        variances = self.noised_variances(sigma)
        kept = self._variances / variances  # s²/(s² + σ²), [K] or [n, K]
        shares = torch.softmax(self.logits(x, variances), -1)
        if kept.ndim == 1:
            return torch.addmm(x * (shares @ kept)[:, None], shares, (1 - kept)[:, None] * self.means)
        return x * (shares * kept).sum(-1, keepdim=True) + (shares * (1 - kept)) @ self.means

    def score(self, x: Tensor, sigma=0.0) -> Tensor:
        """∇ log p_σ(x), [n, d]; at σ = 0 that of the data, which needs every scale positive."""
        variances = self.noised_variances(sigma)
        shares = torch.softmax(self.logits(x, variances), -1) / variances
        return shares @ self.means - x * shares.sum(-1, keepdim=True)

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """Rectified flow's v(x, t) = E[data − noise | t data + (1 − t) noise = x], [n, d], for 0 <= t <= 1.

        v = Σ_k r_k [μ_k + (t s_k² − (1 − t))/(t² s_k² + (1 − t)²) (x − t μ_k)]; Liu et al. 2022, arXiv 2209.03003,
        Eq. 1, for independent pairs.
        """
        t = number("t", t, 0, 1)
        variances = t * t * self._variances + (1 - t) ** 2
        shares = torch.softmax(self.logits(x, variances, t), -1)
        slope = (t * self._variances - (1 - t)) / variances
        return x * (shares @ slope)[:, None] + shares @ ((1 - t * slope)[:, None] * self.means)

    def log_density(self, x: Tensor, sigma=0.0) -> Tensor:
        """log p_σ(x), [n]."""
        logits = self.logits(x, self.noised_variances(sigma))
        return torch.logsumexp(logits, -1) - 0.5 * self.means.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, seed: int = 0, sigma: float = 0.0) -> Tensor:
        """n draws of data + σ ε, [n, d]. The same seed gives the same draws (on one kind of device)."""
        n, sigma = whole("n", n, 1, 10_000_000), number("sigma", sigma, 0, 1e150)
        generator = torch.Generator(self.means.device).manual_seed(whole("seed", seed, 0, 2**63 - 1))
        picks = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=picks.device)
        return self.means[picks] + (self._variances[picks] + sigma * sigma).sqrt()[:, None] * noise


def equal_mixture(points: np.ndarray, scale: float) -> GaussianMixture:
    """Equal Gaussians at points [K, 2]."""
    return GaussianMixture(np.ones(len(points)), points, np.full(len(points), scale))


def ring(count: int = 8, radius: float = 2.0, scale: float = 0.15) -> GaussianMixture:
    """`count` equal Gaussians on a circle."""
    angles = 2 * math.pi * np.arange(count) / count
    return equal_mixture(radius * np.stack([np.cos(angles), np.sin(angles)], 1), scale)


def moons(count: int = 16, scale: float = 0.14) -> GaussianMixture:
    """Two interleaved half circles."""
    angles = math.pi * (np.arange(count) + 0.5) / count
    upper = np.stack([np.cos(angles) - 0.5, np.sin(angles) - 0.25], 1)
    return equal_mixture(1.6 * np.concatenate([upper, -upper]), scale)


def spiral(count: int = 48, turns: float = 2.0, scale: float = 0.11) -> GaussianMixture:
    """An Archimedean spiral, even along its length."""
    angles = 2 * math.pi * turns * np.sqrt((np.arange(count) + 2) / (count + 1))
    return equal_mixture((2.5 * angles / angles[-1])[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), scale)


def checkerboard(cells: int = 4, fill: int = 3) -> GaussianMixture:
    """The dark squares of a cells x cells board, each filled with fill x fill Gaussians."""
    width = 5.0 / cells
    offsets = ((np.arange(fill) + 0.5) / fill - 0.5) * width
    centres = (np.arange(cells) + 0.5) * width - 2.5
    points = [
        (centres[i] + a, centres[j] + b)
        for i in range(cells)
        for j in range(cells)
        if (i + j) % 2 == 0
        for a in offsets
        for b in offsets
    ]
    return equal_mixture(np.array(points), 0.38 * width / fill)


def two_scales() -> GaussianMixture:
    """Far clusters, each of a few narrow Gaussians: coarse and fine structure in one target."""
    centres = np.array([[-2.0, -1.2], [2.0, -1.2], [0.0, 2.0]])
    angles = 2 * math.pi * np.arange(5) / 5
    near = 0.45 * np.stack([np.cos(angles), np.sin(angles)], 1)
    return equal_mixture((centres[:, None] + near).reshape(-1, 2), 0.05)


THREE = ((-2.0, 2.0, 0.0), (0.0, 1.0, -2.5))  # x and y of their centres


def three(x: Sequence[float] = THREE[0], y: Sequence[float] = THREE[1]) -> GaussianMixture:
    """Three unequal Gaussians: the target on which orders of convergence are checked. x, y: their centres."""
    return GaussianMixture([0.5, 0.3, 0.2], list(zip(x, y, strict=True)), [0.5, 0.4, 0.6])


TARGETS: dict[str, Callable[[], GaussianMixture]] = {
    "ring": ring,
    "moons": moons,
    "spiral": spiral,
    "checkerboard": checkerboard,
    "two_scales": two_scales,
    "three": three,
}

ANY_TARGET = (*TARGETS, "letter", "drawing")


def from_ink(ink: np.ndarray, most: int = 160, extent: float = 5.0) -> GaussianMixture:
    """A mixture that looks like a picture: one Gaussian for each inked cell of the finest grid with at most `most`.

    ink: [h, w], 0 for paper to 1 for ink; extent: longer side of the inked box in the target's units.
    """
    if not isinstance(ink, np.ndarray) or ink.ndim != 2 or ink.dtype.kind not in "fiub":
        raise Refusal("{parameter} must be an array [h, w] of numbers from 0 to 1.", parameter="ink")
    most, extent = whole("most", most, 16, MAX_COMPONENTS), number("extent", extent, 1e-3, 1e3)
    ink = ink.astype(np.float64)
    rows, columns = np.nonzero(ink > 0.25)
    if len(rows) < 4:
        raise Refusal("{parameter} has no ink: draw a line or a shape in black first.", parameter="drawing")
    ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(ink.shape)
    for cells in range(32, 3, -1):
        width = max(side / cells, 1.0)
        y, x = np.indices(ink.shape)
        shape = math.ceil(ink.shape[0] / width), math.ceil(ink.shape[1] / width)
        index = ((y // width) * shape[1] + x // width).astype(int).ravel()
        mass = np.bincount(index, ink.ravel(), shape[0] * shape[1])
        filled = mass > 0.15 * mass.max()  # of a thin line no cell is full
        if 0 < filled.sum() <= most:
            break
    # the centre of each cell's ink, so that thin strokes stay where they were drawn
    mass = np.where(filled, mass, 1.0)
    centre_x = np.bincount(index, (ink * x).ravel(), len(mass)) / mass
    centre_y = np.bincount(index, (ink * y).ravel(), len(mass)) / mass
    unit = extent / side
    points = np.stack([(centre_x - (ink.shape[1] - 1) / 2) * unit, ((ink.shape[0] - 1) / 2 - centre_y) * unit], 1)
    return GaussianMixture(mass[filled], points[filled], np.full(int(filled.sum()), 0.42 * width * unit))


def from_letter(letter: str) -> GaussianMixture:
    """One to three printable ASCII characters, set in Pillow's own typeface, as a mixture."""
    from PIL import Image, ImageDraw, ImageFont

    if not isinstance(letter, str) or not 1 <= len(letter) <= 3 or not all("!" <= c <= "~" for c in letter):
        raise Refusal(
            "{parameter} must be one to three Latin letters, digits or signs, without spaces.", parameter="letter"
        )
    picture = Image.new("L", (420, 220))
    ImageDraw.Draw(picture).text((20, 20), letter, font=ImageFont.load_default(size=140), fill=255)
    return from_ink(np.asarray(picture, dtype=np.float64) / 255)


def from_drawing(path: str | None) -> GaussianMixture:
    """The file of a picture, black on white (transparent counts as white), as a mixture."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise Refusal("{parameter}: there is none yet. Draw something, or choose another target.", parameter="drawing")
    return from_ink(read_drawing(path, 256))


def target_mixture(target: str = "ring", letter: str = "S", drawing: str | None = None) -> GaussianMixture:
    """The target of that name: one of TARGETS, "letter" or "drawing"."""
    if target == "letter":
        return from_letter(letter)
    if target == "drawing":
        return from_drawing(drawing)
    return TARGETS[one_of("target", target, ANY_TARGET)]()
