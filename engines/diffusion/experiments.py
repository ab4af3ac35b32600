"""What the page asks of the exact targets: samplers side by side, the field, orders, distances, models of few steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked
from engines.diffusion.fewstep import METHODS, PENALTY, SHIPPED, Training, exact_flow, exact_states, load, train
from engines.diffusion.measures import energy_distance, fitted_order, sliced_wasserstein, straightness
from engines.diffusion.mixture import ANY_TARGET, TARGETS, THREE, GaussianMixture, target_mixture, three
from engines.diffusion.paths import AYS_KNOTS, GRIDS, PATHS, karras_sigmas, sigma_grid
from engines.diffusion.samplers import SAMPLERS, evaluations, solve, steps_within, trajectory
from engines.diffusion.sde import VARIANCES, Share
from engines.diffusion.variances import mean_covariance
from engines.progress import Progress

EXTENT = 3.4  # half the side of the square that the figures show
SHOWN = 450  # particles a panel shows; the distances use all of them
TRACED = 16
FRAMES = 21
FIELD_FRAMES, FIELD_SIDE, FIELD_SHOWN = 17, 13, 240
LOW, HIGH = 0.002, 80.0
DETERMINISTIC = tuple(name for name, sampler in SAMPLERS.items() if sampler.order)
EXACT = "exact"
FEW = (1, 2, 4, 8)
FEW_PARTICLES, FEW_SHOWN = 1000, 400

Target = Annotated[str, OneOf(ANY_TARGET)]
PathName = Annotated[str, OneOf(PATHS)]
Letters = Annotated[str, Characters(3)]
Seed = Annotated[int, Between(0, 9999)]
Centres = Annotated[Sequence[float], ListOf(-EXTENT, EXTENT, most=3, least=3)]
Variance = Annotated[str, OneOf(VARIANCES)]


def density_picture(target: GaussianMixture, sigma: float, scale: float, side: int) -> np.ndarray:
    """√ of the density of scale (data + σ ε) on the figures' square, as uint8 [side, side], row 0 at the bottom."""
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 * EXTENT - EXTENT
    lattice = torch.cartesian_prod(axis, axis)[:, [1, 0]]
    # a pixel's share of blur keeps narrow Gaussians from falling between the points
    blur = math.hypot(sigma, 0.5 * EXTENT / side / scale)
    density = (0.5 * target.log_density(lattice / scale, blur)).exp().reshape(side, side)
    return (density / density.max() * 255).round().to(torch.uint8).numpy()


def figure_scale(path: str, sigma: float) -> float:
    """The path's own scale; that of the variance exploding path is 1/√(1 + σ²), or nothing could be seen."""
    return 1 / math.hypot(1, sigma) if path == "ve" else PATHS[path].scale(sigma)


def options_of(
    name: str, mixture: GaussianMixture, ddim_eta: float = 0.0, ddpm_variance: str = "fixed_small", lms_order: int = 4
) -> dict:
    """The options of `solve` for one sampler, of those that the page sets."""
    ddpm = {"variance": ddpm_variance, "covariance": lambda sigma: mean_covariance(mixture, sigma)}
    return {"ddim": {"eta": ddim_eta}, "ddpm": ddpm, "lms": {"order": lms_order}}.get(name, {})


# -- samplers side by side --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SamplerPanels:
    """Several samplers from the same particles and the same noise.

    samplers: [S] names
    target, diffusion_path, grid, match: as asked
    ddim_eta, ddpm_variance: as asked
    frames: int64 [F]; steps, or with match="nfe" denoiser calls, at each frame
    positions: float32 [S, F, shown, 2]; particles, scaled by the path (variance exploding: 1/√(1 + σ²))
    traces: float32 [S, steps + 1, traced, 2]; trajectories of the first particles, each sampler's last place repeated
    sigma: float64 [S, F]; noise level of each sampler at each frame
    spent: int64 [S, F]; denoiser calls spent at each frame
    steps: int64 [S]; steps in all
    nfe: int64 [S]; denoiser calls in all
    distance: float64 [S], the target's units; sliced Wasserstein-1 distance of all particles to as many exact draws
    floor: float, likewise; the distance between two sets of exact draws
    density: uint8 [96, 96]; √ density of the target on [−extent, extent]², row 0 at the bottom
    extent: float; half the side of that square
    particles: int
    """

    samplers: tuple[str, ...]
    target: str
    diffusion_path: str
    grid: str
    match: str
    ddim_eta: float
    ddpm_variance: str
    frames: np.ndarray
    positions: np.ndarray
    traces: np.ndarray
    sigma: np.ndarray
    spent: np.ndarray
    steps: np.ndarray
    nfe: np.ndarray
    distance: np.ndarray
    floor: float
    density: np.ndarray
    extent: float
    particles: int


@checked
def sampler_panels(
    target: Target = "spiral",
    samplers: Annotated[Sequence[str], SomeOf(SAMPLERS, 4)] = ("euler", "deis"),
    path: PathName = "ve",
    grid: Annotated[str, OneOf(GRIDS)] = "karras",
    steps: Annotated[int, Between(1, 100)] = 8,
    match: Annotated[str, OneOf(("steps", "nfe"))] = "steps",
    particles: Annotated[int, Between(100, 10_000)] = 2000,
    seed: Seed = 0,
    knots: Annotated[Sequence[float], ListOf(1e-3, 1e3, 24, 2)] = AYS_KNOTS,
    rho: Annotated[float, Between(0.5, 20)] = 7.0,
    ddim_eta: Share = 0.0,
    ddpm_variance: Variance = "fixed_small",
    letter: Letters = "S",
    drawing: str | None = None,
) -> SamplerPanels:
    """Up to four samplers from the same particles: as many `steps` each, or (match="nfe") as many denoiser calls.

    knots, rho: of the grids "ays" and "karras"; ddim_eta: DDIM's η; ddpm_variance: of DDPM's noise.
    """
    mixture = target_mixture(target, letter, drawing)
    counts = [steps if match == "steps" else steps_within(name, steps) for name in samplers]
    frames = np.unique(np.linspace(0, steps, min(steps + 1, FRAMES)).round().astype(int))
    exact = mixture.sample(particles, seed + 2)
    data, shown = mixture.sample(particles, seed), min(particles, SHOWN)
    noise = torch.randn(particles, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))

    positions, traces, sigma, spent, distance = [], [], [], [], []
    for name, count in zip(samplers, counts, strict=True):
        levels = sigma_grid(grid, count, path, rho=rho, knots=knots)
        start, options = data + levels[0] * noise, options_of(name, mixture, ddim_eta, ddpm_variance)
        states, _ = trajectory(name, mixture.denoise, start, levels, path=path, seed=seed + 3, **options)
        scales = torch.tensor([figure_scale(path, s) for s in levels.tolist()], dtype=torch.float64)
        calls = np.array([evaluations(name, i + 1) - 1 for i in range(count)] + [evaluations(name, count)])
        # with equal calls a frame shows what each sampler has reached for that many
        index = frames if match == "steps" else np.searchsorted(calls, frames, side="right") - 1
        scaled = states[:, :shown] * scales[:, None, None]
        positions.append(scaled[index].float().numpy())
        traces.append(scaled[np.minimum(np.arange(steps + 1), count), :TRACED].float().numpy())
        sigma.append(levels.numpy()[index])
        spent.append(calls[index])
        distance.append(sliced_wasserstein(states[-1], exact))
    return SamplerPanels(
        samplers=tuple(samplers),
        target=target,
        diffusion_path=path,
        grid=grid,
        match=match,
        ddim_eta=ddim_eta,
        ddpm_variance=ddpm_variance,
        frames=frames,
        positions=np.stack(positions),
        traces=np.stack(traces),
        sigma=np.stack(sigma),
        spent=np.stack(spent),
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

    places: float32 [G, 2]; where the arrows stand
    arrows: float32 [F, G, 2]; vectors over the length of each frame's longest
    longest: float64 [F]; that length, in the path's scaled coordinates
    density: uint8 [F, 48, 48]; √ density at each frame on [−extent, extent]², row 0 at the bottom
    particles: float32 [F, n, 2]; particles of the exact flow, scaled by the path
    traced: float32 [F, 2]; the particle that begins at (x, y), likewise
    sigma: float64 [F]; noise level
    time: float64 [F]; the path's own t (rectified flow: 1 is data)
    field, diffusion_path: as asked
    extent: float; half the side of the square
    centres: float64 [3, 2]; of the Gaussians of the target "three", as asked; [0, 2] for any other target
    """

    places: np.ndarray
    arrows: np.ndarray
    longest: np.ndarray
    density: np.ndarray
    particles: np.ndarray
    traced: np.ndarray
    sigma: np.ndarray
    time: np.ndarray
    field: str
    diffusion_path: str
    extent: float
    centres: np.ndarray


@checked
def vector_field(
    target: Target = "spiral",
    path: PathName = "ve",
    field: Annotated[str, OneOf(("velocity", "score", "denoised"))] = "velocity",
    x: Annotated[float, Between(-EXTENT, EXTENT)] = 0.5,
    y: Annotated[float, Between(-EXTENT, EXTENT)] = 1.5,
    seed: Seed = 0,
    letter: Letters = "S",
    drawing: str | None = None,
    centres_x: Centres = THREE[0],
    centres_y: Centres = THREE[1],
) -> Field:
    """Score, velocity towards the data, or D(x) − x, in the path's scaled coordinates.

    x, y: where one particle begins, in these coordinates, at the noisiest of the frames.
    centres_x, centres_y: of the Gaussians of the target "three".
    Song et al. 2020, arXiv 2011.13456, Eq. 13 (the flow and its score); Liu et al. 2022, arXiv 2209.03003, Eq. 1.
    """
    centres = tuple(zip(centres_x, centres_y, strict=True)) if target == "three" else ()
    mixture = three(centres_x, centres_y) if centres else target_mixture(target, letter, drawing)
    frames = field_frames(target, path, field, seed, letter, drawing if target == "drawing" else None, centres)
    sigmas = frames["sigma"]
    scales = np.array([figure_scale(path, sigma) for sigma in sigmas])
    start = torch.tensor([[x, y]], dtype=torch.float64) / scales[0]
    states, _ = trajectory("rk4", mixture.denoise, start, sigmas.tolist(), path="rf")
    traced = (states[:, 0].numpy() * scales[:, None]).astype(np.float32)
    return Field(**frames, traced=traced, field=field, diffusion_path=path, extent=EXTENT,
                 centres=np.array(centres).reshape(-1, 2))  # fmt: skip


@lru_cache(maxsize=8)
def field_frames(
    target: str, path: str, field: str, seed: int, letter: str, drawing: str | None, centres: tuple = ()
) -> dict[str, np.ndarray]:
    """What of a Field does not change while its particle is dragged."""
    mixture = three(*zip(*centres, strict=True)) if centres else target_mixture(target, letter, drawing)
    # even in the angle between data and noise, which is even to the eye
    sigmas = np.tan(np.linspace(0.965, 0.02, FIELD_FRAMES) * math.pi / 2)
    start = mixture.sample(FIELD_SHOWN, seed, float(sigmas[0]))
    states, _ = trajectory("rk4", mixture.denoise, start, sigmas.tolist(), path="rf")
    axis = torch.linspace(-EXTENT, EXTENT, FIELD_SIDE + 2, dtype=torch.float64)[1:-1]
    places = torch.cartesian_prod(axis, axis)
    arrows, longest, pictures, particles = [], [], [], []
    for sigma, state in zip(sigmas.tolist(), states, strict=True):
        scale = figure_scale(path, sigma)
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
    times = np.array([PATHS[path].time(s) for s in sigmas.tolist()])
    return {
        "places": places.float().numpy(),
        "arrows": torch.stack(arrows).float().numpy(),
        "longest": np.array(longest),
        "density": np.stack(pictures),
        "particles": torch.stack(particles).float().numpy(),
        "sigma": sigmas,
        "time": 1 - times if path == "rf" else times,
    }


# -- orders of convergence --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convergence:
    """Error of the endpoint against denoiser calls.

    samplers: [S] names
    lms_order: int; of LMS, as asked
    theory: int64 [S]; orders in theory
    fitted: float64 [S]; slopes over the three largest step counts
    steps: int64 [N]
    nfe: int64 [S, N]; denoiser calls
    error: float64 [S, N], the target's units; median over particles of |endpoint − exact endpoint|, NaN where not known yet
    target, diffusion_path: as asked
    particles: int
    low, high: float; the noise levels σ between which the flow is followed
    """

    samplers: tuple[str, ...]
    lms_order: int
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


def exact_endpoints(mixture: GaussianMixture, start: Tensor) -> Tensor:
    """The exact flow from σ = 80 to 0.002: RK4 on 200 and 400 Karras steps, extrapolated."""
    coarse, fine = (solve("rk4", mixture.denoise, start, karras_sigmas(n + 1, LOW, HIGH)) for n in (200, 400))
    return fine + (fine - coarse) / 15


@lru_cache(maxsize=16)
def named_endpoints(target: str, particles: int, seed: int) -> tuple[GaussianMixture, Tensor, Tensor]:
    """(the target, particles at σ = 80, where the exact flow takes them)."""
    mixture = TARGETS[target]()
    start = mixture.sample(particles, seed, HIGH)
    return mixture, start, exact_endpoints(mixture, start)


@checked
def convergence(
    target: Annotated[str, OneOf(TARGETS)] = "three",
    samplers: Annotated[Sequence[str], SomeOf(DETERMINISTIC)] = (
        "euler",
        "heun",
        "rk4",
        "lms",
        "dpmpp_2m",
        "dpmpp_3m",
        "dpmpp_3m_doubled",
    ),
    path: PathName = "ve",
    steps: Annotated[Sequence[int], ListOf(1, 640, 8, 2)] = (10, 20, 40, 80, 160, 320),
    lms_order: Annotated[int, Between(1, 4)] = 4,
    seed: Seed = 0,
) -> Iterator[Progress[Convergence]]:
    """Endpoint errors on Karras grids from σ = 80 to 0.002, for 256 particles. Yields a Progress of Convergence.

    Medians over the particles: means are ruled by the few that lie on the border between two modes.
    """
    counts = sorted(set(steps))
    particles = 256
    mixture, start, exact = named_endpoints(target, particles, seed)
    stages = np.array([SAMPLERS[name].stages for name in samplers])
    error = np.full((len(samplers), len(counts)), np.nan)
    work = (stages[:, None] * np.array(counts)).cumsum().reshape(error.shape)
    for i, name in enumerate(samplers):
        options = options_of(name, mixture, lms_order=lms_order)
        for j, count in enumerate(counts):
            ends = solve(name, mixture.denoise, start, karras_sigmas(count + 1, LOW, HIGH), path=path, **options)
            error[i, j] = float((ends - exact).norm(dim=1).median())
        result = Convergence(
            samplers=tuple(samplers),
            lms_order=lms_order,
            theory=np.array([lms_order if s == "lms" else SAMPLERS[s].order for s in samplers]),
            fitted=np.array([fitted_order(counts[-3:], row[-3:]) for row in error]),
            steps=np.array(counts),
            nfe=stages[:, None] * np.array(counts),
            error=error.copy(),
            target=target,
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

    samplers: [S] names
    ddim_eta, ddpm_variance: as asked
    budgets: int64 [N]; denoiser calls, as asked
    nfe: int64 [S, N]; calls really spent
    wasserstein: float64 [S, N], the target's units; sliced W1 distance to exact draws, NaN where not known yet
    energy: float64 [S, N], likewise; energy distance
    wasserstein_floor, energy_floor: float64 [3]; the least, mean and greatest of 32 exact sets to the same draws
    target, diffusion_path: as asked
    particles: int
    """

    samplers: tuple[str, ...]
    ddim_eta: float
    ddpm_variance: str
    budgets: np.ndarray
    nfe: np.ndarray
    wasserstein: np.ndarray
    energy: np.ndarray
    wasserstein_floor: np.ndarray
    energy_floor: np.ndarray
    target: str
    diffusion_path: str
    particles: int


@checked
def distances(
    target: Target = "spiral",
    samplers: Annotated[Sequence[str], SomeOf(SAMPLERS, 8)] = (
        "heun",
        "ddpm",
        "euler_maruyama",
        "dpmpp_2m_sde",
        "predictor_corrector",
    ),
    path: PathName = "ve",
    budgets: Annotated[Sequence[int], ListOf(1, 512, 8)] = (8, 16, 32, 64, 128),
    particles: Annotated[int, Between(100, 4000)] = 2000,
    seed: Seed = 0,
    ddim_eta: Share = 0.0,
    ddpm_variance: Variance = "fixed_small",
    letter: Letters = "S",
    drawing: str | None = None,
) -> Iterator[Progress[Distances]]:
    """Sliced Wasserstein and energy distances at equal denoiser calls. Yields a Progress of Distances.

    budgets: denoiser calls; a sampler takes as many steps as they allow.
    """
    budgets = sorted(set(budgets))
    mixture = target_mixture(target, letter, drawing)
    exact, start = mixture.sample(particles, seed + 2), mixture.sample(particles, seed + 4, HIGH)
    few = min(particles, 1000)  # the energy distance compares every pair

    def measured(samples: Tensor) -> tuple[float, float]:
        return sliced_wasserstein(samples, exact), energy_distance(samples[:few], exact[:few])

    floors = np.array([measured(mixture.sample(particles, seed + 100 + i)) for i in range(32)])
    low, mean, high = floors.min(0), floors.mean(0), floors.max(0)
    found = np.full((2, len(samplers), len(budgets)), np.nan)
    counts = [[steps_within(name, budget) for budget in budgets] for name in samplers]
    nfe = np.array([[evaluations(n, c) for c in row] for n, row in zip(samplers, counts, strict=True)])
    for i, name in enumerate(samplers):
        options = options_of(name, mixture, ddim_eta, ddpm_variance)
        for j, count in enumerate(counts[i]):
            levels = sigma_grid("karras", count, path, LOW, HIGH)
            found[:, i, j] = measured(solve(name, mixture.denoise, start, levels, path=path, seed=seed + 3, **options))
        result = Distances(
            samplers=tuple(samplers),
            ddim_eta=ddim_eta,
            ddpm_variance=ddpm_variance,
            budgets=np.array(budgets),
            nfe=nfe,
            wasserstein=found[0].copy(),
            energy=found[1].copy(),
            wasserstein_floor=np.array([low[0], mean[0], high[0]]),
            energy_floor=np.array([low[1], mean[1], high[1]]),
            target=target,
            diffusion_path=path,
            particles=particles,
        )
        yield Progress(i + 1, len(samplers), result)


# -- models of few steps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FewSteps:
    """Models of few steps from the same noise.

    methods: [M] names, of METHODS or "exact" for the exact flow by Euler
    target: its name
    steps: int64 [4]
    samples: float32 [M, 4, shown, 2]; samples in 1, 2, 4 and 8 steps (a generator's are the same in all)
    traces: float32 [M, 9, traced, 2]; trajectories of the first particles in eight steps (a generator's: straight)
    distance: float64 [M, 4], the target's units; sliced Wasserstein-1 distance of 1,000 samples to as many exact draws
    floor: float, likewise; the distance between two sets of exact draws
    flow_distance: float64 [M, 4], likewise; median distance from where the exact flow takes the same noise
    straightness: float64 [M]; ∫ E|x_1 − x_0 − dx/dt|² dt over 32 steps, NaN where there is no velocity
    cost: float64 [M]; E|x_1 − x_0|² of the coupling, in 8 steps
    losses: M arrays float64 [reports, 2]; (training step, loss), empty for the exact flow
    alpha: float64 [M]; SiD's α, NaN for other methods
    density: uint8 [48, 48]; √ density on [−extent, extent]², row 0 at the bottom
    extent: float; half the side of that square
    """

    methods: tuple[str, ...]
    target: str
    steps: np.ndarray
    samples: np.ndarray
    traces: np.ndarray
    distance: np.ndarray
    floor: float
    flow_distance: np.ndarray
    straightness: np.ndarray
    cost: np.ndarray
    losses: tuple[np.ndarray, ...]
    alpha: np.ndarray
    density: np.ndarray
    extent: float


def compare(
    target: str, mixture: GaussianMixture, trained: dict[str, Training | None], seed: int, alpha: float
) -> FewSteps:
    """The result for methods with their models (None for the exact flow)."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(FEW_PARTICLES, 2, generator=generator)
    exact = mixture.sample(FEW_PARTICLES, seed + 2)
    ends = exact_flow(mixture, z.double(), 16)
    samples, traces, distance, flow_distance, straight, cost, losses = [], [], [], [], [], [], []
    for name, training in trained.items():

        def states(steps: int, training=training) -> Tensor:
            if training is None:
                return exact_states(mixture, z.double(), steps)
            return training.model.sample(z, steps, seed + 3).double()

        kind = "velocity" if training is None else METHODS[name].kind
        runs = [states(k) for k in FEW]
        samples.append(np.stack([run[-1, :FEW_SHOWN].float().numpy() for run in runs]))
        trace = runs[-1][:, :TRACED]
        if kind == "generator":
            trace = torch.stack([torch.lerp(trace[0], trace[-1], i / 8) for i in range(9)])
        traces.append(trace.float().numpy())
        distance.append([sliced_wasserstein(run[-1], exact) for run in runs])
        flow_distance.append([float((run[-1] - ends).norm(dim=1).median()) for run in runs])
        straight.append(straightness(states(32)) if kind in ("velocity", "shortcut") else np.nan)
        cost.append(float((runs[-1][-1] - z).square().sum(-1).mean()))
        losses.append(np.array(training.losses if training else []).reshape(-1, 2))
    return FewSteps(
        methods=tuple(trained),
        target=target,
        steps=np.array(FEW),
        samples=np.stack(samples),
        traces=np.stack(traces),
        distance=np.array(distance),
        floor=sliced_wasserstein(mixture.sample(FEW_PARTICLES, seed + 4), exact),
        flow_distance=np.array(flow_distance),
        straightness=np.array(straight),
        cost=np.array(cost),
        losses=tuple(losses),
        alpha=np.array([alpha if name == "sid" else np.nan for name in trained]),
        density=density_picture(mixture, 0.0, 1.0, 48),
        extent=EXTENT,
    )


@checked
def few_steps(
    target: Target = "spiral",
    methods: Annotated[Sequence[str], SomeOf((EXACT, *METHODS), 6)] = (EXACT, "reflow", "consistency_distillation"),
    effort: Annotated[float, Between(0, 1)] = 0.0,
    alpha: Annotated[float, Between(0, 2)] = 1.0,
    penalty: Annotated[float, Between(0.01, 100)] = PENALTY,
    seed: Seed = 0,
    letter: Letters = "S",
    drawing: str | None = None,
) -> Iterator[Progress[FewSteps]]:
    """Up to six models (or "exact", the exact flow by Euler) in 1, 2, 4 and 8 steps from the same noise.

    effort: share of each method's full training that is done now; 0 takes the models that are trained already, which
    the targets of SHIPPED have (at effort 1 and seed 0, with the α of SHIPPED)
    alpha, penalty: SiD's α and WGAN-GP's λ, where they are trained now
    Yields a Progress of FewSteps: forty reports a method trained, a few of them and the last with a result.
    """
    mixture = target_mixture(target, letter, drawing)
    if not effort:
        if target not in SHIPPED and set(methods) != {EXACT}:
            raise Refusal(
                "{parameter} has no trained models: choose the ring, the moons, the spiral, the checkerboard or the two "
                "scales, or train some now.",
                parameter="target",
            )
        trained = {name: None if name == EXACT else load(target, name) for name in methods}
        yield Progress(1, 1, compare(target, mixture, trained, seed, SHIPPED.get(target, alpha)))
        return
    plan = {name: max(2, round(effort * METHODS[name].steps)) for name in methods if name != EXACT}
    done, total = 0, max(sum(plan.values()), 1)
    trained = {}
    for name in methods:
        if name == EXACT:
            trained[name] = None
            continue
        for report, state in enumerate(train(name, mixture, plan[name], seed, alpha, penalty)):
            trained[name] = state
            if done + state.step < total:
                # a comparison costs as much as many steps: make it at a few of the forty reports only
                seen = report in (7, 19) or state.step == plan[name]
                result = compare(target, mixture, trained, seed, alpha) if seen else None
                yield Progress(done + state.step, total, result)
        done += plan[name]
    yield Progress(total, total, compare(target, mixture, trained, seed, alpha))
