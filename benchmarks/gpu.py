"""A card at work: every speed that this project claims for one, in one run of at most four minutes.

    python -m benchmarks.gpu [--only PART ...] [--small] [--device cuda]

Prints a table of ratios with the card's name; one part's failure is a line in it. Where $OUT is set, gpu.json is written there.
`--small` is for trying the script itself, on a CPU too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from engines import graphs

LIMIT = 210  # seconds for everything
PIXEL_MODELS = ("ddpm-emoji-32", "ddpm-cifar10-32")


class Row(NamedTuple):
    """One line of the table."""

    part: str
    what: str
    value: float
    unit: str
    aim: str = ""


class Setting(NamedTuple):
    """Where and how large."""

    device: str
    small: bool

    def of(self, large: int, small: int) -> int:
        return small if self.small else large

    @property
    def pictures(self) -> int:
        return self.of(16, 1)

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def in_turn(self, *works: Callable[[], object], rounds: int = 7) -> list[float]:
        """Median seconds of each, one after the other in each round, after three rounds that do not count."""
        aside = self.of(3, 0)
        found = [[self.seconds(work) for work in works] for _ in range(aside + self.of(rounds, 1))][aside:]
        return [statistics.median(times) for times in zip(*found, strict=True)]


def eagerly(work: Callable[[], object]) -> Callable[[], object]:
    """The same with every network called kernel by kernel."""

    def run() -> None:
        graphs.RECORD = False
        try:
            work()
        finally:
            graphs.RECORD = True

    return run


def products(s: Setting) -> Iterator[Row]:
    """The card's own rates, to read the others by."""
    size = s.of(8192, 256)
    for kind in (torch.float32, torch.bfloat16):
        x = torch.randn(size, size, device=s.device).to(kind)
        (took,) = s.in_turn(lambda x=x: x @ x)
        yield Row("products", f"{size}³ in {str(kind).split('.')[1]}", 2e-12 * size**3 / took, "TFLOP/s")
    x = torch.randn(s.of(2**29, 2**16), device=s.device)
    y = torch.empty_like(x)
    (took,) = s.in_turn(lambda: y.copy_(x))
    yield Row("products", "copy, read and written", 8e-12 * len(x) / took, "TB/s")


def forward(s: Setting) -> Iterator[Row]:
    """A bare forward pass: kernel by kernel, and as one graph, in either layout."""
    from engines import models
    from engines.graphs import network

    for name in PIXEL_MODELS:
        net = models.load(name, "diffusion", s.device).model
        run = network(net)
        x, t = torch.randn(s.pictures, 3, 32, 32, device=s.device), torch.full((), 500, device=s.device)
        labels = (torch.zeros(s.pictures, dtype=torch.int64, device=s.device),) if net.labels else ()
        last = x.contiguous(memory_format=torch.channels_last)

        @torch.no_grad()
        def call(x: torch.Tensor, run=run, t=t, labels=labels) -> None:
            for _ in range(s.of(20, 2)):
                run(x, t, *labels)

        bare, graph, other = s.in_turn(
            eagerly(lambda c=call, x=x: c(x)), lambda c=call, x=x: c(x), lambda c=call, x=last: c(x)
        )
        each = 1e3 / s.of(20, 2)
        yield Row("forward", f"{name}, {s.pictures} pictures, kernel by kernel", bare * each, "ms")
        yield Row("forward", f"{name}, one graph", graph * each, "ms")
        yield Row("forward", f"{name}, one graph, channels last", other * each, "ms")
        yield Row("forward", f"{name}, kernel by kernel / graph", bare / min(graph, other), "", ">= 3")


def ddcm(s: Setting) -> Iterator[Row]:
    """A step of the codec beside the bare forward in it."""
    from engines.ddcm import Plan, open_model
    from engines.ddcm.codec import encoder, to_tensor, walk
    from engines.ddcm.pictures import held_back

    steps = s.of(60, 3)
    for name in PIXEL_MODELS:
        model = open_model(name)
        target = to_tensor(held_back()[: s.pictures], model.device)
        t = torch.full((), 500, device=model.device)
        labels = (torch.zeros(s.pictures, dtype=torch.int64, device=model.device),) if model.labels else ()

        @torch.inference_mode()
        def bare(model=model, x=target, t=t, labels=labels) -> None:
            for _ in range(steps):
                model._forward(x, t, *labels)

        def coded(plan: Plan, model=model, target=target) -> None:
            for _ in walk(model, plan, s.pictures, encoder(target)):
                pass

        for what, plan in (("K = 256", Plan(steps, 256)), ("Turbo, M = 8", Plan(steps, 256, 8, variant="turbo"))):
            code, least = s.in_turn(lambda p=plan, c=coded: c(p), bare)
            yield Row("ddcm", f"{name}, {what}: a step", 1e3 * code / steps, "ms")
            yield Row("ddcm", f"{name}, {what}: step / bare forward", code / least, "", "<= 1.05")
        (eager,) = s.in_turn(eagerly(lambda c=coded: c(Plan(steps, 256))), rounds=3)
        yield Row("ddcm", f"{name}, K = 256: a step, kernel by kernel", 1e3 * eager / steps, "ms")


def images(s: Setting) -> Iterator[Row]:
    """A sampler's call beside the bare forward in it."""
    from engines import models
    from engines.diffusion.images import sample_images, scheduler_for
    from engines.graphs import network

    steps = s.of(50, 3)
    net, companion = models.load("ddpm-emoji-32", "diffusion", s.device)
    noise, t = torch.randn(s.pictures, 3, 32, 32, device=s.device), torch.full((), 500, device=s.device)

    @torch.no_grad()
    def bare() -> None:
        for _ in range(steps):
            network(net)(noise, t)

    for name in ("ddim", "dpmpp_2m"):
        scheduler = scheduler_for(name, companion.config)
        sampled, least = s.in_turn(lambda scheduler=scheduler: list(sample_images(net, scheduler, steps, noise)), bare)
        yield Row("images", f"{name}: a call", 1e3 * sampled / steps, "ms")
        yield Row("images", f"{name}: call / bare forward", sampled / least, "")


def gibbs(s: Setting) -> Iterator[Row]:
    """A step of Gibbs sampling beside the bare forward in it."""
    from engines import models
    from engines.gibbs.masked import MaskedLM
    from engines.gibbs.sampling import walk

    loaded = models.load("bert-quatrain", "masked", s.device)
    model = MaskedLM(loaded.model, loaded.companion, s.device)
    start = model.frame(torch.tensor([model.encode("_______，_______。_______，_______。")] * 8))
    free = (start[0] == model.mask).nonzero()[:, 0]
    sweeps = s.of(3, 1)

    def sampled() -> None:
        for _ in walk(model, start, free, [1.0] * sweeps):
            pass

    def bare() -> None:
        for _ in range(sweeps):
            for place in free:
                model.logits(start, place.expand(len(start), 1))

    steps = sweeps * len(free)
    one, least, eager, slow = s.in_turn(sampled, bare, eagerly(sampled), eagerly(bare))
    yield Row("gibbs", "8 chains: a step", 1e3 * one / steps, "ms")
    yield Row("gibbs", "step / bare forward", one / least, "")
    yield Row("gibbs", "a step, kernel by kernel / graph", eager / one, "")
    yield Row("gibbs", "bare forward, kernel by kernel / graph", slow / least, "")


def latents(s: Setting) -> Iterator[Row]:
    """A network of Stable Diffusion 1.5's size and random weights: kernel by kernel, and as one graph; and a step of the codec."""
    import diffusers

    from engines.ddcm import Plan
    from engines.ddcm.codec import encoder, walk
    from engines.latents import LatentModel, Prompted

    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    tiny = {"block_out_channels": (32, 32), "layers_per_block": 1, **blocks} if s.small else {}
    with torch.device(s.device):  # weights are drawn there
        net = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, **tiny)
        vae = diffusers.AutoencoderKL()  # not run: it is the network that is measured
    net = net.to(torch.float16 if s.device == "cuda" else torch.float32)
    parts = SimpleNamespace(unet=net, vae=vae, text_encoder=torch.nn.Identity(), vae_scale_factor=8)
    model = LatentModel("sd", parts, {}).eval().requires_grad_(False)
    side, calls = s.of(64, 8), s.of(10, 1)
    shape, t = (4, side, side), torch.full((), 500, device=s.device)
    plan, target = Plan(s.of(20, 3), s.of(1024, 16)), torch.randn(1, *shape, device=s.device)
    for guided in (False, True):
        text = torch.randn(1 + guided, 77, 768, device=s.device)
        seen = Prompted(model, shape, text, None, 7.5 if guided else 1.0, guided, "", b"")
        x = torch.randn(1, *shape, device=s.device)

        def call(seen: Prompted = seen, x: torch.Tensor = x) -> None:
            for _ in range(calls):
                seen(x, t)

        what = f"{sum(p.numel() for p in net.parameters()) / 1e6:.0f} M parameters, {side} x {side}{', guided' if guided else ''}"
        bare, graph = s.in_turn(eagerly(call), call)
        yield Row("latents", f"{what}, kernel by kernel", 1e3 * bare / calls, "ms")
        yield Row("latents", f"{what}, one graph", 1e3 * graph / calls, "ms")
        yield Row("latents", f"{what}, kernel by kernel / graph", bare / graph, "")
        if not guided:
            (took,) = s.in_turn(lambda seen=seen: list(walk(seen, plan, 1, encoder(target))), rounds=3)
            yield Row("latents", "DDCM step / bare forward", took / plan.steps / (graph / calls), "")


def particles(s: Setting) -> Iterator[Row]:
    """50 Heun steps of a million particles in float64."""
    from engines.diffusion import append_zero, karras_sigmas, solve, target_mixture

    n, mixture = s.of(1_000_000, 1000), target_mixture("ring").to(s.device)
    x = mixture.sample(n, 0, 80.0)
    levels = append_zero(karras_sigmas(50))
    (took,) = s.in_turn(lambda: solve("heun", mixture.denoise, x, levels), rounds=3)
    yield Row("particles", f"{n:,} x 50 Heun steps, float64", took, "s", "<= 0.07")


def neighbours(s: Setting) -> Iterator[Row]:
    """Exact nearest neighbours of a million points, and whether they are."""
    from engines.hubness import nearest

    n, d, k = s.of(1_000_000, 2000), 128, 10
    points = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    if s.device == "cuda":  # libraries load at the first product
        nearest.k_occurrence(points[: 5 * nearest.ROWS], k, device=s.device)
        torch.cuda.reset_peak_memory_stats()
    counts = []
    took = s.seconds(lambda: counts.append(nearest.k_occurrence(points, k, device=s.device)))
    assert int(counts[0].sum()) == n * k
    yield Row("neighbours", f"{n:,} x {d}, k = {k}", took, "s", "<= 12")
    ready = nearest.prepare(nearest.check_points(points, k).to(s.device), "euclidean")
    start, found = next(nearest._grouped(ready, k, "euclidean", True))
    rows = torch.arange(0, len(found), max(1, len(found) // 128), device=s.device)
    truth = torch.stack(
        [
            (ready - ready[start + i])
            .square()
            .sum(1)
            .index_fill_(0, start + i, torch.inf)
            .topk(k, largest=False)
            .indices
            for i in rows
        ]
    )
    wrong = int((found[rows].sort(1).values != truth.sort(1).values).any(1).sum())
    yield Row("neighbours", f"rows of {len(rows)} that differ from float64's", wrong, "", "0")
    for what, split in (("split bfloat16", True), ("float32", False)):
        blocks = nearest._grouped(ready, k, "euclidean", split)
        next(blocks)
        few = s.of(5, 0)
        part = s.seconds(lambda blocks=blocks, few=few: [next(blocks) for _ in range(few)])
        if few:
            yield Row(
                "neighbours", f"search by products in {what}, from {few} blocks", part / few * n / nearest.ROWS, "s"
            )
    if s.device == "cuda":
        yield Row("neighbours", "memory of the card at most", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def checks(s: Setting) -> Iterator[Row]:
    """The known results of every engine, measured here."""
    from engines.checks import of, subjects

    held, failed, started = 0, [], time.perf_counter()
    for subject in subjects()[: s.of(99, 2)]:
        try:
            known = of(subject)
        except ImportError as fault:
            failed.append(f"{subject}: {fault}")
            continue
        for check in known:
            if time.perf_counter() - started > s.of(50, 5):
                break
            try:
                outcome = check.outcome()
            except Exception as fault:  # one that cannot be measured says nothing of the others
                failed.append(f"{subject}: {check.claim[:80]}: {type(fault).__name__}")
                continue
            held += outcome.holds
            if not outcome.holds:
                failed.append(f"{subject}: {check.claim[:80]}: {outcome.error:.2g} of {check.tolerance:.2g}")
    yield Row("checks", "known results that hold", held, "")
    yield Row("checks", "that do not: " + "; ".join(failed) if failed else "that do not", len(failed), "", "0")


PARTS = (forward, ddcm, neighbours, gibbs, images, latents, particles, products, checks)


class OutOfTime(Exception):
    """A part took longer than there is."""


def _stop(*_: Any) -> None:
    raise OutOfTime("no time left")


def measure(
    s: Setting, parts: tuple[Callable[[Setting], Iterator[Row]], ...], limit: float, keep: Callable[[list[Row]], None]
) -> list[Row]:
    """The rows of all parts; of one that fails, those so far and a line that says how. keep: what is done after each part."""
    rows: list[Row] = []
    started = time.perf_counter()
    signal.signal(signal.SIGALRM, _stop)
    for part in parts:
        begun = time.perf_counter()
        try:
            signal.alarm(max(1, int(limit - (begun - started))))
            for row in part(s):
                print(f"  {row.part}: {row.what}: {row.value:.4g} {row.unit}", flush=True)
                rows.append(row)
        except Exception as fault:
            traceback.print_exc()
            rows.append(
                Row(
                    part.__name__,
                    f"FAILED: {type(fault).__name__}: {str(fault).splitlines()[0][:120]}" if str(fault) else "FAILED",
                    float("nan"),
                    "",
                )
            )
        finally:
            signal.alarm(0)
        rows.append(Row(part.__name__, "this part", time.perf_counter() - begun, "s"))
        keep(rows)
    return rows


def table(rows: list[Row]) -> str:
    """Markdown, for the README."""
    lines = ["| what | measured | aim |", "|---|---|---|"]
    lines += [f"| {r.part}: {r.what} | {r.value:.4g} {r.unit} | {r.aim} |" for r in rows if r.what != "this part"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> list[Row]:
    names = {part.__name__: part for part in PARTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for everything")
    a = parser.parse_args(argv)
    card = torch.cuda.get_device_name() if a.device == "cuda" else "CPU"

    def keep(rows: list[Row]) -> None:
        """After each part, as the next may be the last that there is time for."""
        if os.environ.get("OUT"):
            found = {"card": card, "torch": torch.__version__, "rows": [r._asdict() for r in rows]}
            Path(os.environ["OUT"], "gpu.json").write_text(json.dumps(found, indent=1) + "\n")

    rows = measure(Setting(a.device, a.small), tuple(names[name] for name in a.only or names), a.limit, keep)
    print(f"\n{card}, torch {torch.__version__}\n\n{table(rows)}", flush=True)
    return rows


if __name__ == "__main__":
    main()
