"""Models of few steps on two-dimensional targets: losses, small networks, and their training.

Time runs as in rectified flow, x_t = t x_1 + (1 − t) x_0 from noise x_0 ~ N(0, I) at t = 0 to data x_1 at t = 1. The
teacher of the distillations is the exact velocity of the mixture, so that what a student lacks is the method's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.arguments import Refusal, number, one_of, whole
from engines.diffusion.mixture import GaussianMixture

WIDTH = 96
BATCH = 512
# of WGAN-GP for each of its generator, and its λ: those of its authors' code for the plane (gan_toy.py); their λ for pictures is 10
CRITIC_STEPS, PENALTY = 5, 0.1
NEAR = 0.98  # t beyond this is data for every practical purpose; the exact score has little left to say there


class Net(nn.Module):
    """(x [n, 2], times [n] each) -> [n, out]: three hidden layers of 96, each time as itself and three octaves."""

    def __init__(self, times: int, out: int = 2, *, zero: bool = False):
        super().__init__()
        self.register_buffer("octaves", math.pi * torch.tensor([1.0, 2.0, 4.0]), persistent=False)
        layers = [nn.Linear(2 + 7 * times, WIDTH), nn.SiLU()]
        for _ in range(2):
            layers += [nn.Linear(WIDTH, WIDTH), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, out))
        if zero:
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor, *times: Tensor) -> Tensor:
        features = [x]
        for time in times:
            angles = time[:, None] * self.octaves
            features += [time[:, None], angles.sin(), angles.cos()]
        return self.layers(torch.cat(features, 1))


# -- losses, of any callables, per particle [n] -----------------------------------------------------------------------


def between(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """x_t = t x_1 + (1 − t) x_0, [n, d]."""
    return torch.lerp(x0, x1, t[:, None])


def matching_loss(velocity: Callable, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """|v(x_t, t) − (x_1 − x_0)|²: Liu et al. 2022, arXiv 2209.03003, Eq. 1. On pairs of a flow it is reflow."""
    return (velocity(between(x0, x1, t), t) - (x1 - x0)).square().sum(-1)


def consistency_loss(f: Callable, x_t: Tensor, t: Tensor, x_s: Tensor, s: Tensor, huber: float = 0.03) -> Tensor:
    """Pseudo-Huber distance of f(x_t, t) from f(x_s, s), which is detached; s is nearer to the data on the same path.

    Song et al. 2023, arXiv 2303.01469, Eq. 7 and 10; without a moving average and with this distance as in Song &
    Dhariwal 2023, arXiv 2310.14189, Section 3.3.
    """
    with torch.no_grad():
        goal = f(x_s, s)
    return ((f(x_t, t) - goal).square().sum(-1) + huber**2).sqrt() - huber


def shortcut_loss(jump: Callable, x_t: Tensor, t: Tensor, d: Tensor) -> Tensor:
    """|s(x, t, 2d) − (s(x, t, d) + s(x', t + d, d))/2|², x' = x + d s(x, t, d), the right side detached.

    Frans et al. 2024, arXiv 2410.12557, Eq. 4.
    """
    with torch.no_grad():
        first = jump(x_t, t, d)
        second = jump(x_t + d[:, None] * first, t + d, d)
    return (jump(x_t, t, 2 * d) - (first + second) / 2).square().sum(-1)


def identity_loss(real: Tensor, fake: Tensor, truth: Tensor, alpha: float) -> Tensor:
    """Δ·(real − truth) − α|Δ|², Δ = real − fake; all [n, d], at x_t made from the generator's sample.

    `truth` is what the fake network regresses on. As E[Δ·(fake* − truth)] = 0 for the optimal fake*, the mean is then
    (1 − α) F, F = E|Δ|². The fake network is held while the generator is trained. F's own gradient is ∇₁F + ∇₂F, through
    the distribution of x_t and through fake*, which moves with it; that of this loss is (1 − α) ∇₁F + ½ ∇₂F. So it is ½ ∇F, at no
    derivative of fake*, only at α = ½; at α = 1 it is ½ ∇₂F.
    With denoisers and α near 1 it is SiD (Zhou et al. 2024, arXiv 2404.04057, Eq. 23), with velocities and α = ½ FGM
    (Huang et al. 2024, arXiv 2410.19310, Eq. 4.12).
    """
    gap = real - fake
    return (gap * (real - truth)).sum(-1) - alpha * gap.square().sum(-1)


# -- the exact flow, as teacher ---------------------------------------------------------------------------------------


def exact_velocity(mixture: GaussianMixture, x: Tensor, t: Tensor) -> Tensor:
    """The rectified velocity at one time a particle, [n, d]; t from 0 to 1."""
    t, variances = t[:, None], mixture.scales.square()
    spread = (1 - t).square() + t.square() * variances
    # |x − tμ|² as one matrix product: the teacher is called at every training step
    crossed = x.square().sum(-1, keepdim=True) - 2 * t * (x @ mixture.means.T)
    distances = crossed + t.square() * mixture.means.square().sum(-1)
    shares = torch.softmax(mixture.weights.log() - spread.log() - distances / (2 * spread), -1)
    slopes = shares * (t * variances - (1 - t)) / spread
    return x * slopes.sum(-1, keepdim=True) + (shares - t * slopes) @ mixture.means


def exact_flow(mixture: GaussianMixture, x: Tensor, steps: int = 32, t0: float = 0.0, t1: float = 1.0) -> Tensor:
    """Where the exact flow takes x from t0 to t1, by RK4; [n, d]."""
    h = (t1 - t0) / steps
    for i in range(steps):
        t = t0 + i * h
        a = mixture.velocity(x, t)
        b = mixture.velocity(x + h / 2 * a, t + h / 2)
        c = mixture.velocity(x + h / 2 * b, t + h / 2)
        x = x + h / 6 * (a + 2 * b + 2 * c + mixture.velocity(x + h * c, min(t + h, 1.0)))
    return x


def exact_states(mixture: GaussianMixture, z: Tensor, steps: int) -> Tensor:
    """States [steps + 1, n, 2] of Euler's method along the exact rectified flow."""
    states = [z]
    for i in range(steps):
        states.append(states[-1] + mixture.velocity(states[-1], i / steps) / steps)
    return torch.stack(states)


# -- models -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A method of few steps.

    kind: how it samples: velocity (Euler), consistency, shortcut, or generator (one step only)
    steps: int; training steps, which take 10 to 30 s of one core
    times: int; time inputs of its network
    source: the paper or post
    rate: float; Adam's learning rate at the start
    """

    kind: str
    steps: int
    times: int
    source: str
    rate: float = 2e-3


METHODS: dict[str, Method] = {
    "rectified": Method("velocity", 5000, 1, "arXiv 2209.03003"),
    "reflow": Method("velocity", 5000, 1, "arXiv 2209.03003"),
    "reflow_twice": Method("velocity", 5000, 1, "arXiv 2209.03003"),
    "consistency_distillation": Method("consistency", 2500, 1, "arXiv 2303.01469"),
    "consistency_training": Method("consistency", 3000, 1, "arXiv 2310.14189"),
    "shortcut": Method("shortcut", 3000, 2, "arXiv 2410.12557"),
    "sid": Method("generator", 1300, 0, "arXiv 2404.04057", 1e-3),
    "fgm": Method("generator", 1300, 0, "arXiv 2410.19310", 1e-3),
    "wgan_gp": Method("generator", 800, 0, "arXiv 1704.00028", 1e-3),
    "gan_reflow": Method("generator", 900, 0, "kexue.fm 9668", 1e-3),
}


@dataclass
class Model:
    """A method, by its name in METHODS, with its network."""

    method: str
    net: Net

    def consistency(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t) = x + (1 − t) F(x, t): at t = 1 it is x whatever the network says."""
        return x + (1 - t)[:, None] * self.net(x, t)

    def generate(self, z: Tensor) -> Tensor:
        """The generator's sample, z + F(z)."""
        return z + self.net(z)

    @torch.no_grad()
    def sample(self, z: Tensor, steps: int, seed: int = 0) -> Tensor:
        """States [steps + 1, n, 2] from the noise z, at even times; a generator takes one step whatever is asked."""
        kind, states, x = METHODS[self.method].kind, [z], z
        if kind == "generator":
            return torch.stack([z, self.generate(z)])
        noise = torch.Generator(z.device).manual_seed(seed)
        for i in range(steps):
            t = z.new_full((len(z),), i / steps)
            if kind == "velocity":
                x = x + self.net(x, t) / steps
            elif kind == "shortcut":
                x = x + self.net(x, t, torch.full_like(t, 1 / steps)) / steps
            else:  # each later step noises the estimate anew: Song et al. 2023, Algorithm 1
                if i:
                    x = between(torch.randn(x.shape, generator=noise), x, t)
                x = self.consistency(x, t)
            states.append(x)
        return torch.stack(states)


@dataclass
class Training:
    """The state of a training.

    model: the model so far
    step: int; training steps done
    total: int; training steps in all
    losses: one (step, mean loss since the last report) a report
    """

    model: Model
    step: int
    total: int
    losses: list[tuple[int, float]] = field(default_factory=list)


def train(
    method: str,
    mixture: GaussianMixture,
    steps: int,
    seed: int = 0,
    alpha: float = 1.0,
    penalty: float = PENALTY,
    reports: int = 40,
) -> Iterator[Training]:
    """Train a method on a two-dimensional mixture; yields `reports` times, the last time with the trained model.

    alpha: SiD's α; penalty: λ of WGAN-GP. Deterministic for a seed on one device. Networks are small, so this runs on the CPU.
    """
    one_of("method", method, METHODS)
    total = steps = whole("steps", steps, 1, 1_000_000)
    seed, reports = whole("seed", seed, 0, 2**31 - 1), whole("reports", reports, 1, 10_000)
    alpha, penalty = number("alpha", alpha, 0, 2), number("penalty", penalty, 0, 1e6)
    if not isinstance(mixture, GaussianMixture) or mixture.means.shape[1] != 2:
        raise Refusal("{parameter} must be a mixture in the plane.", parameter="mixture")
    if method == "reflow_twice":  # half of the work for the first reflow, whose flow gives the second its pairs
        for state in train("reflow", mixture, max(steps // 2, 1), seed, reports=max(reports // 2, 1)):
            yield Training(state.model, state.step, total, state.losses)
        first, losses, done = state.model, state.losses, state.total
    else:
        first, losses, done = None, [], 0
    steps = total - done
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # initial weights come from the seed too, whoever drew before
        torch.manual_seed(seed)
        spec = METHODS[method]
        model = Model(method, Net(spec.times, zero=spec.kind == "generator"))
        other = {"wgan_gp": Net(0, 1), "gan_reflow": Net(0, 1), "sid": Net(1, zero=True), "fgm": Net(1, zero=True)}.get(
            method
        )
    # adversaries chase each other: Adam without momentum, as WGAN-GP has it
    betas = (0.0, 0.9) if other is not None else (0.9, 0.99)
    optimizers = [torch.optim.Adam(n.parameters(), spec.rate, betas, fused=True) for n in (model.net, other) if n]
    plans = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda i: 0.5 + 0.5 * math.cos(math.pi * i / steps)) for o in optimizers
    ]
    task = Task(mixture.to(dtype=torch.float32), model, other, optimizers, generator, steps, alpha, penalty, first)
    marks = {round(steps * (i + 1) / reports) for i in range(reports)} | {steps}
    recent = []
    for step in range(1, steps + 1):
        recent.append(task.update(step - 1))
        for plan in plans:
            plan.step()
        if step in marks:
            losses.append((done + step, sum(recent) / len(recent)))
            recent = []
            yield Training(model, done + step, total, losses)


class Task:
    """One training's data, networks and optimizers; `update` makes one step and says the loss."""

    def __init__(self, mixture, model, other, optimizers, generator, steps, alpha, penalty, first):
        self.mixture, self.model, self.other, self.optimizers = mixture, model, other, optimizers
        self.generator, self.steps, self.alpha, self.penalty = generator, steps, alpha, penalty
        if model.method in ("reflow", "reflow_twice"):
            x0 = self.noise(min(16_384, 16 * steps))
            x1 = exact_flow(self.mixture, x0, 16) if first is None else first.sample(x0, 32)[-1]
            self.pairs = x0, x1

    def noise(self, n: int = BATCH) -> Tensor:
        return torch.randn(n, 2, generator=self.generator)

    def times(self, n: int = BATCH) -> Tensor:
        return torch.rand(n, generator=self.generator)

    def data(self, n: int = BATCH) -> Tensor:
        picks = torch.multinomial(self.mixture.weights, n, replacement=True, generator=self.generator)
        return self.mixture.means[picks] + self.mixture.scales[picks][:, None] * self.noise(n)

    def descend(self, which: int, loss: Tensor) -> float:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()
        return float(loss.detach())

    def update(self, step: int) -> float:
        method = self.model.method
        if method in ("sid", "fgm"):
            return self.distill_by_identity()
        if method in ("wgan_gp", "gan_reflow"):
            return self.play()
        if method == "rectified":
            loss = matching_loss(self.model.net, self.noise(), self.data(), self.times())
        elif method in ("reflow", "reflow_twice"):
            picks = torch.randint(len(self.pairs[0]), (BATCH,), generator=self.generator)
            loss = matching_loss(self.model.net, self.pairs[0][picks], self.pairs[1][picks], self.times())
        elif method == "shortcut":
            loss = self.shortcut()
        else:
            loss = self.consistency(step, distilled=method == "consistency_distillation")
        return self.descend(0, loss.mean())

    def consistency(self, step: int, distilled: bool) -> Tensor:
        # pairs draw together while training goes on: from a quarter of the way to the data to a hundredth
        share = 0.25 * 0.04 ** (step / self.steps)
        x0, x1, t = self.noise(), self.data(), self.times()
        s = t + share * (1 - t)
        x_t = between(x0, x1, t)
        if distilled:
            slope = exact_velocity(self.mixture, x_t, t)
            h = (s - t)[:, None]
            x_s = x_t + h / 2 * (slope + exact_velocity(self.mixture, x_t + h * slope, s))
        else:
            x_s = between(x0, x1, s)
        # a pair's two ends are alike, the more so near the data: weigh by its length, so that all count
        return consistency_loss(self.model.consistency, x_t, t, x_s, s) / (s - t).clamp_min(1e-3)

    def shortcut(self) -> Tensor:
        quarter = BATCH // 4
        x0, x1, t = self.noise(), self.data(), self.times()
        # a quarter asks for consistency of steps 2d = 1, 1/2, ... 1/32, at times that are multiples of 2d
        d = 2.0 ** -torch.randint(1, 7, (quarter,), generator=self.generator)
        start = (t[:quarter] / (2 * d)).floor() * 2 * d
        consistent = shortcut_loss(self.model.net, between(x0[:quarter], x1[:quarter], start), start, d)
        x0, x1, t = x0[quarter:], x1[quarter:], t[quarter:]
        matched = matching_loss(lambda x, t: self.model.net(x, t, torch.zeros_like(t)), x0, x1, t)
        return torch.cat([matched, consistent])

    def distill_by_identity(self) -> float:
        """Two steps of the fake velocity on the generator's samples, then one of the generator."""

        def noised():
            z, t = self.noise(), NEAR * self.times()
            made = self.model.generate(z)
            x0 = self.noise()
            return made, x0, t, between(x0, made, t)

        for _ in range(2):
            with torch.no_grad():
                made, x0, t, x_t = noised()
                teacher = exact_velocity(self.mixture, x_t, t)
            # the fake begins as the teacher, as in SiD: its network learns the difference
            self.descend(1, (teacher + self.other(x_t, t) - (made - x0)).square().sum(-1).mean())
        made, x0, t, x_t = noised()
        real = exact_velocity(self.mixture, x_t, t)
        fake = real + self.other(x_t, t)
        if self.model.method == "fgm":
            return self.descend(0, identity_loss(real, fake, made - x0, 0.5).mean())
        away = (1 - t)[:, None]  # D = x_t + (1 − t) v
        return self.descend(0, identity_loss(x_t + away * real, x_t + away * fake, made, self.alpha).mean())

    def play(self) -> float:
        """Critic steps, then one generator step.

        WGAN-GP's penalty is centred at 1 (Gulrajani et al. 2017, arXiv 1704.00028, Eq. 3). The ReFlow view (kexue.fm 9668)
        has the critic's gradient match x_1 − x_0: but for a constant that is WGAN-GP with the penalty centred at 0 and
        λ = ½ (`engines.transport.critic_flow`).
        """
        reflow = self.model.method == "gan_reflow"
        for _ in range(3 if reflow else CRITIC_STEPS):
            with torch.no_grad():
                made = self.model.generate(self.noise(BATCH // 2))
            real = self.data(BATCH // 2)
            middle = between(made, real, self.times(BATCH // 2)).requires_grad_()
            (slope,) = torch.autograd.grad(self.other(middle).sum(), middle, create_graph=True)
            if reflow:
                loss = 0.5 * (slope - (real - made)).square().sum(-1).mean()
            else:
                excess = (slope.norm(dim=1) - 1).square().mean()
                loss = self.other(made).mean() - self.other(real).mean() + self.penalty * excess
            critic = self.descend(1, loss)
        made = self.model.generate(self.noise(BATCH // 2))
        if reflow:  # regress on an Euler step along the critic's gradient
            place = made.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.other(place).sum(), place)
            self.descend(0, 0.5 * (made - (place + slope).detach()).square().sum(-1).mean())
        else:
            self.descend(0, -self.other(made).mean())
        return critic


# -- shipped weights --------------------------------------------------------------------------------------------------

WEIGHTS = Path(__file__).resolve().parents[2] / "assets" / "diffusion" / "few_steps.safetensors"
# target -> α of its SiD: at 1 the generator leaves the two scales and never comes back
SHIPPED = {"ring": 1.0, "moons": 1.0, "spiral": 1.0, "checkerboard": 1.0, "two_scales": 0.75}


def save(trained: dict[tuple[str, str], Training], path: Path = WEIGHTS) -> None:
    """Write {(target, method): training} as float16 safetensors, losses included, beside what the file holds already."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path) if path.exists() else {}
    for (target, method), training in trained.items():
        for name, value in training.model.net.state_dict().items():
            tensors[f"{target}/{method}/{name}"] = value.half().contiguous()
        tensors[f"{target}/{method}/losses"] = torch.tensor(training.losses)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


@lru_cache(maxsize=64)
def load(target: str, method: str, path: Path = WEIGHTS) -> Training:
    """The shipped model of a method on a target of SHIPPED, as if just trained."""
    from safetensors import safe_open

    one_of("method", method, METHODS)
    start = f"{one_of('target', target, SHIPPED) if path == WEIGHTS else target}/{method}/"
    with safe_open(path, "pt") as file:
        tensors = {key[len(start) :]: file.get_tensor(key).float() for key in file.keys() if key.startswith(start)}  # noqa: SIM118
    if not tensors:
        raise Refusal(
            "{parameter} has no shipped weights for {target}: train it instead.", parameter="method", target=target
        )
    losses = [(int(step), float(loss)) for step, loss in tensors.pop("losses")]
    net = Net(METHODS[method].times)
    net.load_state_dict(tensors)
    net.requires_grad_(False)
    return Training(Model(method, net.eval()), losses[-1][0], losses[-1][0], losses)
