"""Speeds of the diffusion engine: python -m benchmarks.diffusion [--only WHAT]. Medians of interleaved pairs."""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable

import torch

from engines.diffusion import SAMPLERS, append_zero, karras_sigmas, sampler_panels, solve, target_mixture

ROUNDS = 5


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def paired(
    one: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS, clock=time.perf_counter
) -> tuple[float, float, float]:
    """(median of one, median of the other, median ratio), measured in turn, each first as often as the other."""
    one(), other()
    pairs = []
    for i in range(rounds):
        first = seconds(one, clock) if i % 2 else None
        second = seconds(other, clock)
        pairs.append((first or seconds(one, clock), second))
    return (*(statistics.median(p[i] for p in pairs) for i in (0, 1)), statistics.median(a / b for a, b in pairs))


def first_figure() -> None:
    """Four samplers, 2,000 particles, 20 steps."""

    def four() -> object:
        return sampler_panels("ring", ("euler", "heun", "dpmpp_2m", "ddpm"), steps=20)

    four()
    took = statistics.median(seconds(four) for _ in range(ROUNDS))
    print(f"first figure (4 samplers, 2,000 particles, 20 steps): {took:.3f} s; wanted 0.5")


def overhead(particles: int = 100_000, steps: int = 4) -> None:
    """Each sampler against its own denoiser calls, bare, in CPU time of one thread.

    Memory is kept by the process meanwhile: whether the allocator gives it back after a call is luck, which costs
    either side up to half as much again.
    """
    torch.set_num_threads(1)
    if sys.platform == "linux":
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(option, 1 << 30)
    mixture = target_mixture("ring")
    x = mixture.sample(particles, 0, 80.0)
    levels = append_zero(karras_sigmas(steps))
    for name in SAMPLERS:
        seen: list[tuple[torch.Tensor, float]] = []

        def watched(state, sigma, seen=seen):
            seen.append((state, sigma))
            return mixture.denoise(state, sigma)

        solve(name, watched, x, levels)

        def bare(seen=seen):
            for state, sigma in seen:
                mixture.denoise(state, sigma)

        took, least, ratio = paired(
            lambda name=name: solve(name, mixture.denoise, x, levels), bare, 7, clock=time.process_time
        )
        print(
            f"{name:20} {len(seen):3} NFE  {took:7.3f} s, bare denoiser {least:7.3f} s, ratio {ratio:.3f}; wanted 1.2"
        )


def million() -> None:
    """10^6 particles, 50 Heun steps on the GPU."""
    if not torch.cuda.is_available():
        print("10^6 particles x 50 Heun steps: no GPU here")
        return
    levels = append_zero(karras_sigmas(50))
    for dtype in (torch.float64, torch.float32):
        mixture = target_mixture("ring").to("cuda", dtype)
        x = mixture.sample(1_000_000, 0, 80.0)
        solve("heun", mixture.denoise, x, levels)
        took = statistics.median(seconds(lambda m=mixture, x=x: solve("heun", m.denoise, x, levels)) for _ in range(3))
        print(f"10^6 particles x 50 Heun steps on the GPU, {dtype}: {took:.3f} s")


def images(steps: int = 10, count: int = 4) -> None:
    """Image sampling against NFE bare forwards, and against diffusers' own pipeline, in CPU time of one thread.

    What differs is well under 1 % of a forward and so hard to see in whole runs: it is measured once more with a
    network whose answer is ready.
    """
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel

    from engines.diffusion.images import sample_images, scheduler_for

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = UNet2DModel(sample_size=32, block_out_channels=(32, 64, 64), layers_per_block=1, norm_num_groups=8,
                      down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3).eval()  # fmt: skip
    config = DDPMScheduler().config
    noise = torch.randn(count, 3, 32, 32)
    scheduler = scheduler_for("ddim", config)
    pipeline = DDIMPipeline(net, DDIMScheduler.from_config(config, timestep_spacing="trailing"))
    pipeline.set_progress_bar_config(disable=True)

    def ours():
        for _ in sample_images(net, scheduler, steps, noise):
            pass

    def bare():
        with torch.inference_mode():
            for t in range(steps):
                net(noise, t)

    def theirs():
        pipeline(batch_size=count, num_inference_steps=steps, output_type="np")

    for what, other, wanted in (("bare forwards", bare, 1.05), ("diffusers' pipeline", theirs, 1.0)):
        took, least, ratio = paired(ours, other, 9, clock=time.process_time)
        print(
            f"{steps} DDIM steps of {count} images: {took:.3f} s, {what} {least:.3f} s, ratio {ratio:.3f}; wanted {wanted}"
        )
    with torch.inference_mode():
        ready = net(noise, 5)
    net.forward = lambda *_, **__: ready
    took, least, ratio = paired(ours, theirs, 25, clock=time.process_time)
    print(
        f"without the network, a step: {1e3 * took / steps:.3f} ms, diffusers' pipeline {1e3 * least / steps:.3f} ms, "
        f"ratio {ratio:.3f}; wanted 1.0"
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("figure", "overhead", "million", "images"))
    only = parser.parse_args().only
    for name, work in (("figure", first_figure), ("overhead", overhead), ("million", million), ("images", images)):
        if only in (None, name):
            work()


if __name__ == "__main__":
    main()
