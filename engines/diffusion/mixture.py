"""Targets whose noised densities, scores and denoisers are closed forms: mixtures of isotropic Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

MAX_COMPONENTS = 256
MAX_PIXELS = 4096 * 4096


class GaussianMixture:
    """p(x) = Σ_k w_k N(x; μ_k, s_k² I).

    weights: [K] positive, normalised here; means: [K, d]; scales: [K] non-negative standard deviations.
    Everything is float64 unless `dtype` says otherwise. σ arguments are the standard deviation of added noise
    (x = data + σ ε), a number or one per particle [n].
    """

    def __init__(self, weights, means, scales, *, dtype=torch.float64, device=None):
        means = torch.as_tensor(means, dtype=dtype, device=device)
        if means.ndim != 2 or not 1 <= means.shape[0] <= MAX_COMPONENTS:
            raise ValueError(f"means must be [components, dimensions] with 1 to {MAX_COMPONENTS} components.")
        weights = torch.as_tensor(weights, dtype=dtype, device=device)
        scales = torch.as_tensor(scales, dtype=dtype, device=device)
        if weights.shape != means.shape[:1] or scales.shape != means.shape[:1]:
            raise ValueError("weights and scales must have one number for each row of means.")
        if not bool((weights > 0).all() and (scales >= 0).all() and torch.isfinite(means).all()):
            raise ValueError("weights must be positive, scales not negative, and means finite.")
        if not bool(torch.isfinite(weights).all() and torch.isfinite(scales).all()):
            raise ValueError("weights and scales must be finite.")
        self.weights, self.means, self.scales = weights / weights.sum(), means, scales
        # constants of the denoiser, so that a call is two matrix products and a softmax
        self._log_weights = self.weights.log()
        self._variances = scales.square()
        self._squared_means = means.square().sum(-1)

    def to(self, device=None, dtype=None) -> GaussianMixture:
        """The same mixture elsewhere, or in another precision."""
        dtype, device = dtype or self.means.dtype, device or self.means.device
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

    def _logits(self, x: Tensor, variances: Tensor, scale: float = 1.0) -> Tensor:
        """log w_k − d/2 log v_k − |x − scale μ_k|²/(2 v_k), [n, K]."""
        constants = self._log_weights - 0.5 * self.means.shape[1] * variances.log()
        distances = torch.addmm(scale**2 * self._squared_means, x, self.means.T, alpha=-2 * scale)
        distances = distances + x.square().sum(-1, keepdim=True)
        return torch.addcmul(constants, distances, -0.5 / variances)

    def _noised_variances(self, sigma) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=self.means.dtype, device=self.means.device)
        return self._variances + (sigma.square()[:, None] if sigma.ndim else sigma.square())

    def denoise(self, x: Tensor, sigma) -> Tensor:
        """D(x; σ) = E[data | data + σ ε = x] = Σ_k r_k [μ_k + s_k²/(s_k² + σ²) (x − μ_k)], [n, d].

        Karras et al. 2022, arXiv 2206.00364, Appendix B.3 (the closed form for a sum of Gaussians).
        """
        variances = self._noised_variances(sigma)
        kept = self._variances / variances  # s²/(s² + σ²), [K] or [n, K]
        shares = torch.softmax(self._logits(x, variances), -1)
        if kept.ndim == 1:
            return torch.addmm(x * (shares @ kept)[:, None], shares, (1 - kept)[:, None] * self.means)
        return x * (shares * kept).sum(-1, keepdim=True) + (shares * (1 - kept)) @ self.means

    def score(self, x: Tensor, sigma=0.0) -> Tensor:
        """∇ log p_σ(x), [n, d]; at σ = 0 that of the data, which needs every scale positive."""
        variances = self._noised_variances(sigma)
        shares = torch.softmax(self._logits(x, variances), -1) / variances
        return shares @ self.means - x * shares.sum(-1, keepdim=True)

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """Rectified flow's v(x, t) = E[data − noise | t data + (1 − t) noise = x], [n, d], for 0 <= t <= 1.

        v = Σ_k r_k [μ_k + (t s_k² − (1 − t))/(t² s_k² + (1 − t)²) (x − t μ_k)]; Liu et al. 2022, arXiv 2209.03003,
        Eq. 1, for independent pairs.
        """
        variances = t * t * self._variances + (1 - t) ** 2
        shares = torch.softmax(self._logits(x, variances, t), -1)
        slope = (t * self._variances - (1 - t)) / variances
        return x * (shares @ slope)[:, None] + shares @ ((1 - t * slope)[:, None] * self.means)

    def log_density(self, x: Tensor, sigma=0.0) -> Tensor:
        """log p_σ(x), [n]."""
        logits = self._logits(x, self._noised_variances(sigma))
        return torch.logsumexp(logits, -1) - 0.5 * self.means.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, seed: int = 0, sigma: float = 0.0) -> Tensor:
        """n draws of data + σ ε, [n, d]. The same seed gives the same draws (on one kind of device)."""
        generator = torch.Generator(self.means.device).manual_seed(seed)
        picks = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=picks.device)
        return self.means[picks] + (self._variances[picks] + sigma * sigma).sqrt()[:, None] * noise


def _along(points: np.ndarray, scale: float) -> GaussianMixture:
    return GaussianMixture(np.ones(len(points)), points, np.full(len(points), scale))


def ring(count: int = 8, radius: float = 2.0, scale: float = 0.15) -> GaussianMixture:
    """`count` equal Gaussians on a circle."""
    angles = 2 * math.pi * np.arange(count) / count
    return _along(radius * np.stack([np.cos(angles), np.sin(angles)], 1), scale)


def moons(count: int = 16, scale: float = 0.14) -> GaussianMixture:
    """Two interleaved half circles."""
    angles = math.pi * (np.arange(count) + 0.5) / count
    upper = np.stack([np.cos(angles) - 0.5, np.sin(angles) - 0.25], 1)
    return _along(1.6 * np.concatenate([upper, -upper]), scale)


def spiral(count: int = 48, turns: float = 2.0, scale: float = 0.11) -> GaussianMixture:
    """An Archimedean spiral, even along its length."""
    angles = 2 * math.pi * turns * np.sqrt((np.arange(count) + 2) / (count + 1))
    return _along((2.5 * angles / angles[-1])[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), scale)


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
    return _along(np.array(points), 0.38 * width / fill)


def two_scales() -> GaussianMixture:
    """Far clusters, each of a few narrow Gaussians: coarse and fine structure in one target."""
    centres = np.array([[-2.0, -1.2], [2.0, -1.2], [0.0, 2.0]])
    angles = 2 * math.pi * np.arange(5) / 5
    near = 0.45 * np.stack([np.cos(angles), np.sin(angles)], 1)
    return _along((centres[:, None] + near).reshape(-1, 2), 0.05)


def three() -> GaussianMixture:
    """Three unequal Gaussians: the target on which orders of convergence are checked."""
    return GaussianMixture([0.5, 0.3, 0.2], [[-2.0, 0.0], [2.0, 1.0], [0.0, -2.5]], [0.5, 0.4, 0.6])


TARGETS: dict[str, Callable[[], GaussianMixture]] = {
    "ring": ring,
    "moons": moons,
    "spiral": spiral,
    "checkerboard": checkerboard,
    "two_scales": two_scales,
    "three": three,
}


def from_ink(ink: np.ndarray, most: int = 160, extent: float = 5.0) -> GaussianMixture:
    """A mixture that looks like a picture: one Gaussian for each inked cell of the finest grid with at most `most`.

    ink: [h, w], 0 for paper to 1 for ink; extent: longer side of the inked box in the target's units.
    """
    rows, columns = np.nonzero(ink > 0.25)
    if len(rows) < 4:
        raise ValueError("The drawing has no ink: draw a line or a shape in black first.")
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

    if not 1 <= len(letter) <= 3 or not all("!" <= c <= "~" for c in letter):
        raise ValueError("letter must be one to three Latin letters, digits or signs, without spaces.")
    picture = Image.new("L", (420, 220))
    ImageDraw.Draw(picture).text((20, 20), letter, font=ImageFont.load_default(size=140), fill=255)
    return from_ink(np.asarray(picture, dtype=np.float64) / 255)


def from_drawing(path: str | None) -> GaussianMixture:
    """The file of a picture, black on white (transparent counts as white), as a mixture."""
    from PIL import Image, UnidentifiedImageError

    if not path:
        raise ValueError("There is no drawing yet: draw something, or choose another target.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError("The drawing is too large: at most 4096 x 4096 pixels.")
            rgba = opened.convert("RGBA")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError("The drawing could not be read as a picture: use a PNG or JPEG file.") from error
    rgba.thumbnail((256, 256))
    pixels = np.asarray(rgba, dtype=np.float64) / 255
    return from_ink((1 - pixels[..., :3].mean(-1)) * pixels[..., 3])


def target_mixture(target: str = "ring", letter: str = "S", drawing: str | None = None) -> GaussianMixture:
    """The target of that name: one of TARGETS, "letter" or "drawing"."""
    if target == "letter":
        return from_letter(letter)
    if target == "drawing":
        return from_drawing(drawing)
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, letter or drawing.")
    return TARGETS[target]()
