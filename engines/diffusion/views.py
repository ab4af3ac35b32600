"""What the page asks of the exact targets: samplers side by side, the field, orders of convergence, distances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, several_of, whole, wholes
from engines.diffusion.measures import energy_distance, fitted_order, sliced_wasserstein
from engines.diffusion.mixture import TARGETS, GaussianMixture, target_mixture
from engines.diffusion.paths import AYS_KNOTS, GRIDS, PATHS, karras_sigmas, sigma_grid
from engines.diffusion.samplers import SAMPLERS, evaluations, solve, steps_within, trajectory
from engines.progress import Progress

EXTENT = 3.4  # half the side of the square that the figures show
SHOWN = 500  # particles a panel draws; the distances use all of them
TRACED = 16
FRAMES = 21


def density_picture(target: GaussianMixture, sigma: float, scale: float, side: int) -> np.ndarray:
    """√ of the density of scale (data + σ ε) on the figures' square, as uint8 [side, side], row 0 at the bottom."""
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 * EXTENT - EXTENT
    lattice = torch.cartesian_prod(axis, axis)[:, [1, 0]]
    # a pixel's share of blur keeps narrow Gaussians from falling between the points
    blur = math.hypot(sigma, 0.5 * EXTENT / side / scale)
    density = (0.5 * target.log_density(lattice / scale, blur)).exp().reshape(side, side)
    return (density / density.max() * 255).round().to(torch.uint8).numpy()


def _drawn_scale(path: str, sigma: float) -> float:
    """The path's own scale; the variance exploding path is drawn as 1/√(1 + σ²), or nothing could be seen."""
    return 1 / math.hypot(1, sigma) if path == "ve" else PATHS[path].scale(sigma)


def variant(
    name: str, ddim_eta: float = 0.0, ddpm_variance: str = "fixed_small", lms_order: int = 4
) -> tuple[str, dict]:
    """A sampler's label and the options of `solve`, as the page's controls for its variants have them."""
    text = SAMPLERS[name].label
    if name == "ddim" and ddim_eta:
        return f"{text}, η = {ddim_eta:g}", {"eta": ddim_eta}
    if name == "ddpm" and ddpm_variance != "fixed_small":
        return f"{text}, large variance", {"variance": ddpm_variance}
    if name == "lms" and lms_order != 4:
        return f"LMS, order {lms_order}", {"order": lms_order}
    return text, {}


# -- samplers side by side --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SamplerPanels:
    """Several samplers from the same particles and the same noise.

    samplers: [S] names; labels: [S] as people call them; target: its name; diffusion_path, grid, match: as asked
    positions: [S, F, shown, 2] float32, particles at each frame, scaled by the path (variance exploding: 1/√(1 + σ²))
    traces: [S, steps + 1 padded with the end, traced, 2] float32, whole ways of the first few particles
    sigma: [S, F] float64, the noise level of each sampler at each frame
    spent: [S, F] int64, denoiser calls spent at each frame
    moments: [F] texts that name the frames
    steps, nfe: [S] int64, steps and denoiser calls in all
    distance: [S] float64, sliced Wasserstein-1 distance of all particles to as many exact draws, in the target's units
    floor: float, the same between two sets of exact draws
    density: [96, 96] uint8, √ density of the target on [−extent, extent]², row 0 at the bottom
    extent: float, half the side of that square
    particles: int
    """

    samplers: tuple[str, ...]
    labels: tuple[str, ...]
    target: str
    diffusion_path: str
    grid: str
    match: str
    positions: np.ndarray
    traces: np.ndarray
    sigma: np.ndarray
    spent: np.ndarray
    moments: tuple[str, ...]
    steps: np.ndarray
    nfe: np.ndarray
    distance: np.ndarray
    floor: float
    density: np.ndarray
    extent: float
    particles: int


def sampler_panels(
    target: str = "ring",
    samplers: Sequence[str] = ("euler", "heun", "dpmpp_2m", "ddpm"),
    path: str = "ve",
    grid: str = "karras",
    steps: int = 20,
    match: str = "steps",
    particles: int = 2000,
    seed: int = 0,
    knots: Sequence[float] = AYS_KNOTS,
    rho: float = 7.0,
    ddim_eta: float = 0.0,
    ddpm_variance: str = "fixed_small",
    letter: str = "S",
    drawing: str | None = None,
) -> SamplerPanels:
    """Up to four samplers from the same particles: as many `steps` each, or (match="nfe") as many denoiser calls.

    knots, rho: of the grids "ays" and "karras"; ddim_eta: DDIM's η; ddpm_variance: fixed_small or fixed_large.
    """
    samplers = several_of("samplers", samplers, SAMPLERS, 4)
    one_of("path", path, PATHS)
    one_of("grid", grid, GRIDS)
    one_of("match", match, ("steps", "nfe"))
    steps, particles = whole("steps", steps, 1, 200), whole("particles", particles, 10, 20_000)
    seed, rho = whole("seed", seed, 0, 2**31 - 1), number("rho", rho, 0.5, 20)
    ddim_eta = number("ddim_eta", ddim_eta, 0, 1)
    one_of("ddpm_variance", ddpm_variance, ("fixed_small", "fixed_large"))
    variants = [variant(name, ddim_eta, ddpm_variance) for name in samplers]
    mixture = target_mixture(target, letter, drawing)
    counts = [steps if match == "steps" else steps_within(name, steps) for name in samplers]
    frames = np.unique(np.linspace(0, steps, min(steps + 1, FRAMES)).round().astype(int))
    exact = mixture.sample(particles, seed + 2)
    data, shown = mixture.sample(particles, seed), min(particles, SHOWN)
    noise = torch.randn(particles, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))

    positions, traces, sigma, spent, distance = [], [], [], [], []
    for name, count, (_, options) in zip(samplers, counts, variants, strict=True):
        levels = sigma_grid(grid, count, path, rho=rho, knots=knots)
        start = data + levels[0] * noise
        states, _ = trajectory(name, mixture.denoise, start, levels, path=path, seed=seed + 3, **options)
        scales = torch.tensor([_drawn_scale(path, s) for s in levels.tolist()], dtype=torch.float64)
        calls = np.array([evaluations(name, i + 1) - 1 for i in range(count)] + [evaluations(name, count)])
        # with equal calls a frame shows what each sampler has reached for that many
        index = frames if match == "steps" else np.searchsorted(calls, frames, side="right") - 1
        drawn = states[:, :shown] * scales[:, None, None]
        positions.append(drawn[index].float().numpy())
        held = np.minimum(np.arange(steps + 1), count)
        traces.append(drawn[held, :TRACED].float().numpy())
        sigma.append(levels.numpy()[index])
        spent.append(calls[index])
        distance.append(sliced_wasserstein(states[-1], exact))
    unit = "step" if match == "steps" else "NFE"
    return SamplerPanels(
        samplers=tuple(samplers),
        labels=tuple(text for text, _ in variants),
        target=target,
        diffusion_path=path,
        grid=grid,
        match=match,
        positions=np.stack(positions),
        traces=np.stack(traces),
        sigma=np.stack(sigma),
        spent=np.stack(spent),
        moments=tuple(f"{unit} {frame}" for frame in frames),
        steps=np.array(counts),
        nfe=np.array([evaluations(name, count) for name, count in zip(samplers, counts, strict=True)]),
        distance=np.array(distance),
        floor=sliced_wasserstein(mixture.sample(particles, seed + 4), exact),
        density=density_picture(mixture, 0.0, 1.0, 96),
        extent=EXTENT,
        particles=particles,
    )


# -- the field --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """The exact field along a path, with particles carried by the exact flow.

    places: [G, 2] float32, where the arrows stand; arrows: [F, G, 2] float32, the longest of each frame of length 1
    longest: [F] float64, the true length of that longest arrow
    density: [F, 48, 48] uint8, √ density at each frame on [−extent, extent]², row 0 at the bottom
    particles: [F, n, 2] float32; sigma: [F] float64; time: [F] float64, the path's own t (rectified flow: 1 is data)
    field, diffusion_path: as asked; extent: float
    """

    places: np.ndarray
    arrows: np.ndarray
    longest: np.ndarray
    density: np.ndarray
    particles: np.ndarray
    sigma: np.ndarray
    time: np.ndarray
    field: str
    diffusion_path: str
    extent: float


def vector_field(
    target: str = "ring",
    path: str = "ve",
    field: str = "velocity",
    seed: int = 0,
    letter: str = "S",
    drawing: str | None = None,
) -> Field:
    """Score, velocity towards the data, or the way to the denoised point, in the path's scaled coordinates.

    Song et al. 2020, arXiv 2011.13456, Eq. 13 (the flow and its score); Liu et al. 2022, arXiv 2209.03003, Eq. 1.
    """
    one_of("path", path, PATHS)
    one_of("field", field, ("velocity", "score", "denoised"))
    seed = whole("seed", seed, 0, 2**31 - 1)
    mixture = target_mixture(target, letter, drawing)
    # even in the angle between data and noise, which is even to the eye
    sigmas = np.tan(np.linspace(0.965, 0.02, FRAMES) * math.pi / 2)
    start = mixture.sample(300, seed, float(sigmas[0]))
    states, _ = trajectory("rk4", mixture.denoise, start, sigmas.tolist(), path="rf")
    axis = torch.linspace(-EXTENT, EXTENT, 18, dtype=torch.float64)[1:-1]
    places = torch.cartesian_prod(axis, axis)
    arrows, longest, pictures, particles = [], [], [], []
    for sigma, state in zip(sigmas.tolist(), states, strict=True):
        scale = _drawn_scale(path, sigma)
        x = places / scale
        denoised = mixture.denoise(x, sigma)
        if field == "score":
            vectors = (denoised - x) / sigma**2 / scale
        elif field == "denoised":
            vectors = scale * (denoised - x)
        else:
            a, b = PATHS[path].flow(sigma)
            own = PATHS[path].scale(sigma)
            vectors = (b * denoised - a * own * x) * (scale / own)
        longest.append(float(vectors.norm(dim=1).max()))
        arrows.append(vectors / longest[-1])
        pictures.append(density_picture(mixture, sigma, scale, 48))
        particles.append(state * scale)
    times = [PATHS[path].time(s) for s in sigmas.tolist()]
    return Field(
        places=places.float().numpy(),
        arrows=torch.stack(arrows).float().numpy(),
        longest=np.array(longest),
        density=np.stack(pictures),
        particles=torch.stack(particles).float().numpy(),
        sigma=sigmas,
        time=1 - np.array(times) if path == "rf" else np.array(times),
        field=field,
        diffusion_path=path,
        extent=EXTENT,
    )


# -- orders of convergence --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convergence:
    """Error of the endpoint against denoiser calls.

    samplers, labels: [S]; theory: [S] int64, orders in theory; fitted: [S] float64, over the three largest step counts
    steps: [N] int64; nfe: [S, N] int64; error: [S, N] float64, median over particles of |endpoint − exact endpoint| in
    the target's units (NaN where not computed yet)
    target, diffusion_path: as asked; particles: int; low, high: float, the noise levels σ between which the flow is followed
    """

    samplers: tuple[str, ...]
    labels: tuple[str, ...]
    theory: np.ndarray
    fitted: np.ndarray
    steps: np.ndarray
    nfe: np.ndarray
    error: np.ndarray
    target: str
    diffusion_path: str
    particles: int
    low: float
    high: float


LOW, HIGH = 0.002, 80.0


def exact_endpoints(mixture: GaussianMixture, start: Tensor) -> Tensor:
    """The exact flow from σ = 80 to 0.002: RK4 on 200 and 400 Karras steps, extrapolated."""
    coarse, fine = (solve("rk4", mixture.denoise, start, karras_sigmas(n + 1, LOW, HIGH)) for n in (200, 400))
    return fine + (fine - coarse) / 15


@lru_cache(maxsize=16)
def _named_endpoints(target: str, particles: int, seed: int) -> tuple[GaussianMixture, Tensor, Tensor]:
    mixture = TARGETS[target]()
    start = mixture.sample(particles, seed, HIGH)
    return mixture, start, exact_endpoints(mixture, start)


def convergence(
    order_target: str = "three",
    ode_samplers: Sequence[str] = ("euler", "heun", "rk4", "lms", "dpmpp_2m", "dpmpp_3m", "dpmpp_3m_doubled"),
    path: str = "ve",
    step_counts: Sequence[int] = (10, 20, 40, 80, 160, 320),
    lms_order: int = 4,
    seed: int = 0,
) -> Iterator[Progress]:
    """Endpoint errors on Karras grids from σ = 80 to 0.002, for 256 particles. Yields a Progress of Convergence.

    The medians halve as theory says; means are ruled by the few particles that lie on a watershed between modes.
    """
    one_of("order_target", order_target, TARGETS)
    one_of("path", path, PATHS)
    deterministic = [name for name, sampler in SAMPLERS.items() if sampler.order]
    samplers = several_of("ode_samplers", ode_samplers, deterministic, len(deterministic))
    counts = sorted(set(wholes("step_counts", step_counts, 10, 1, 640)))
    seed, lms_order = whole("seed", seed, 0, 2**31 - 1), whole("lms_order", lms_order, 1, 4)
    variants = [variant(name, lms_order=lms_order) for name in samplers]
    particles = 256
    mixture, start, exact = _named_endpoints(order_target, particles, seed)
    stages = np.array([SAMPLERS[name].stages for name in samplers])
    error = np.full((len(samplers), len(counts)), np.nan)
    work = (stages[:, None] * np.array(counts)).cumsum().reshape(error.shape)
    for i, (name, (_, options)) in enumerate(zip(samplers, variants, strict=True)):
        for j, count in enumerate(counts):
            ends = solve(name, mixture.denoise, start, karras_sigmas(count + 1, LOW, HIGH), path=path, **options)
            error[i, j] = float((ends - exact).norm(dim=1).median())
        result = Convergence(
            samplers=tuple(samplers),
            labels=tuple(text for text, _ in variants),
            theory=np.array([lms_order if s == "lms" else SAMPLERS[s].order for s in samplers]),
            fitted=np.array([fitted_order(counts[-3:], row[-3:]) for row in error]),
            steps=np.array(counts),
            nfe=stages[:, None] * np.array(counts),
            error=error.copy(),
            target=order_target,
            diffusion_path=path,
            particles=particles,
            low=LOW,
            high=HIGH,
        )
        yield Progress(int(work[i, -1]), int(work[-1, -1]), result)


# -- distances of the stochastic samplers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Distances:
    """Distance to the target against denoiser calls, and what chance alone leaves.

    samplers, labels: [S]; nfe: [S, N] int64, calls really spent
    wasserstein, energy: [S, N] float64, sliced W1 and energy distance to exact draws (NaN where not computed yet)
    wasserstein_floor, energy_floor: [3] float64, the least, mean and greatest of eight exact sets to the same draws
    target, diffusion_path: as asked; particles: int
    """

    samplers: tuple[str, ...]
    labels: tuple[str, ...]
    nfe: np.ndarray
    wasserstein: np.ndarray
    energy: np.ndarray
    wasserstein_floor: np.ndarray
    energy_floor: np.ndarray
    target: str
    diffusion_path: str
    particles: int


def distances(
    target: str = "ring",
    any_samplers: Sequence[str] = ("heun", "ddpm", "euler_maruyama", "dpmpp_2m_sde", "predictor_corrector"),
    path: str = "ve",
    budgets: Sequence[int] = (8, 16, 32, 64, 128),
    draws: int = 2000,
    seed: int = 0,
    ddim_eta: float = 0.0,
    ddpm_variance: str = "fixed_small",
    letter: str = "S",
    drawing: str | None = None,
) -> Iterator[Progress]:
    """Sliced Wasserstein and energy distances at equal denoiser calls. Yields a Progress of Distances."""
    samplers = several_of("any_samplers", any_samplers, SAMPLERS, 8)
    one_of("path", path, PATHS)
    draws, seed = whole("draws", draws, 10, 4000), whole("seed", seed, 0, 2**31 - 1)
    budgets = sorted(set(wholes("budgets", budgets, 8, 1, 512)))
    ddim_eta = number("ddim_eta", ddim_eta, 0, 1)
    one_of("ddpm_variance", ddpm_variance, ("fixed_small", "fixed_large"))
    variants = [variant(name, ddim_eta, ddpm_variance) for name in samplers]
    mixture = target_mixture(target, letter, drawing)
    exact, start = mixture.sample(draws, seed + 2), mixture.sample(draws, seed + 4, HIGH)
    few = min(draws, 1000)  # the energy distance compares every pair

    def measured(samples: Tensor) -> tuple[float, float]:
        return sliced_wasserstein(samples, exact), energy_distance(samples[:few], exact[:few])

    floors = np.array([measured(mixture.sample(draws, seed + 100 + i)) for i in range(8)])
    low, mean, high = floors.min(0), floors.mean(0), floors.max(0)
    found = np.full((2, len(samplers), len(budgets)), np.nan)
    counts = [[steps_within(name, budget) for budget in budgets] for name in samplers]
    nfe = np.array([[evaluations(n, c) for c in row] for n, row in zip(samplers, counts, strict=True)])
    for i, (name, (_, options)) in enumerate(zip(samplers, variants, strict=True)):
        for j, count in enumerate(counts[i]):
            levels = sigma_grid("karras", count, path, LOW, HIGH)
            found[:, i, j] = measured(solve(name, mixture.denoise, start, levels, path=path, seed=seed + 3, **options))
        result = Distances(
            samplers=tuple(samplers),
            labels=tuple(text for text, _ in variants),
            nfe=nfe,
            wasserstein=found[0].copy(),
            energy=found[1].copy(),
            wasserstein_floor=np.array([low[0], mean[0], high[0]]),
            energy_floor=np.array([low[1], mean[1], high[1]]),
            target=target,
            diffusion_path=path,
            particles=draws,
        )
        yield Progress(i + 1, len(samplers), result)
