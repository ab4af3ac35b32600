"""A flow in the plane beside zuko's MAF on noised moons at equal processor seconds; digits; the price of the cache in sampling.

python -m benchmarks.flow [processor seconds, default 15] [seeds, default 3]

Aims: moons in 20 processor seconds to a KL of at most 0.03; digits at noise 0.3 in 45: Tweedie's step at least halves the
Fréchet distance, and at least 97 % of the samples are recognised; one cached step at most 1.15 of the bare block's.
"""

import statistics
import sys
import time

import torch
from torch.nn import functional as F

from engines.diffusion.mixture import target_mixture
from engines.flow import digits
from engines.flow.plane import PlaneFlow, divergence, grid, one_order_floor, train
from engines.flow.tarflow import TarFlow

SIGMA = 0.15


def ours(seconds: float, seed: int) -> tuple[float, float]:
    """(KL(exact distribution to flow) of 8 blocks after about so much processor time, the processor seconds really used)."""
    mixture = target_mixture("moons")
    torch.manual_seed(seed)
    start = time.process_time()
    for _ in train(mixture, PlaneFlow(8), 60, sigma=SIGMA, seed=seed):
        pass
    steps = int(60 * seconds / (time.process_time() - start))
    torch.manual_seed(seed)
    flow, start = PlaneFlow(8), time.process_time()
    for _ in train(mixture, flow, steps, sigma=SIGMA, seed=seed):
        pass
    spent = time.process_time() - start
    return divergence(flow, mixture, SIGMA), spent


def digits_line(seconds: float, seed: int = 0) -> str:
    """What a flow of the digits at noise 0.3 does after about so much processor time."""
    labels = torch.arange(300) % 10
    start = time.process_time()
    for _ in digits.train(digits.make(), 4, 0.3, 20):
        pass
    steps = int(20 * seconds / (time.process_time() - start))
    flow, start = digits.make(seed=seed), time.process_time()
    for _ in digits.train(flow, 4, 0.3, steps, seed=seed):
        pass
    spent = time.process_time() - start
    raw = digits.sample(flow, 4, labels, seed)
    clean = digits.denoised(flow, 4, raw, 0.3, labels)
    return (
        f"{spent:.1f} s, {steps} steps: Fréchet {digits.frechet(raw):.3f} as drawn, {digits.frechet(clean):.3f} denoised; "
        f"recognised {100 * digits.recognised(raw, labels):.1f} %, {100 * digits.recognised(clean, labels):.1f} %"
    )


def zuko_maf(seconds: float, seed: int) -> tuple[float, float]:
    """The same for zuko's MAF of 8 transforms, two hidden layers of 64, alternating order, the same optimiser."""
    import zuko

    mixture = target_mixture("moons")
    torch.manual_seed(seed)
    flow = zuko.flows.MAF(2, transforms=8, hidden_features=(64, 64))
    optimizer = torch.optim.AdamW(flow.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    start, step = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * spent / seconds)).item())
        x = mixture.sample(256, seed * 1_000_003 + step, SIGMA).float()
        optimizer.zero_grad()
        (-flow().log_prob(x).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        step += 1
    points, _, cell = grid(mixture, SIGMA, most=121)
    points = points.reshape(-1, 2)
    log_p = mixture.log_density(points, SIGMA)
    seen = log_p > -18
    with torch.no_grad():
        log_q = flow().log_prob(points[seen].float()).double()
    return float((log_p[seen].exp() * (log_p[seen] - log_q)).sum()) * cell, spent


@torch.no_grad()
def cache_price() -> float:
    """Time of one cached step in the middle of 64 tokens, over that of the same block on given keys and values."""
    block = TarFlow(64, 48, 192, 1, layers=4).eval().blocks[0]
    x, middle = torch.randn(16, 1, 48), 32
    caches = block.caches(16)
    for i in range(middle):
        block.step(x, i, 0.0, caches)

    def cached() -> None:
        for cache in caches:
            cache.length = middle
        block.step(x, middle, 0.0, caches)

    def bare() -> None:
        h = block.embed(x) + block.position[middle]
        for layer, cache in zip(block.layers, caches, strict=True):
            q, _, _ = layer.qkv(layer.norm_attention(h)).view(16, 1, 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(
                q, cache.kept[0, :, :, : middle + 1], cache.kept[1, :, :, : middle + 1]
            )
            h = h + layer.mixed(mixed.transpose(1, 2).reshape(16, 1, -1))
            h = h + layer.out(F.gelu(layer.hidden(layer.norm_hidden(h))))
        block.head(block.norm(h))

    def seconds(run) -> float:
        start = time.process_time()
        for _ in range(20):
            run()
        return time.process_time() - start

    pairs = [(seconds(cached), seconds(bare)) for _ in range(15)]
    return statistics.median(a / b for a, b in pairs)


def main() -> None:
    torch.set_num_threads(1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print(f"one cached sampling step over the bare block's: {cache_price():.3f}")
    exact = one_order_floor("moons", SIGMA)
    print(f"digits, noise 0.3, 45 processor seconds aimed at; used {digits_line(45)}", flush=True)
    gap, spent = ours(20, 0)
    print(f"moons, noise {SIGMA}, 20 processor seconds aimed at; used {spent:.1f} s: KL {gap:.4f}", flush=True)
    print(
        f"moons, noise {SIGMA}: entropy {exact.entropy:.4f}; −log q after about {seconds:g} processor seconds (KL; seconds)"
    )
    for name, run in (("engines.flow, 8 blocks", ours), ("zuko MAF, 8 transforms", zuko_maf)):
        found = [run(seconds, seed) for seed in range(seeds)]
        shown = "  ".join(f"{exact.entropy + gap:.4f} ({gap:.4f}; {spent:.1f} s)" for gap, spent in found)
        print(f"{name:24} {shown}   median KL {statistics.median(gap for gap, _ in found):.4f}", flush=True)


if __name__ == "__main__":
    main()
