"""Speed and quality of the codec: python -m benchmarks.ddcm [--only speed|quality] [--images N]. Medians of interleaved pairs."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from engines.ddcm import Plan, encode_batch, open_model, psnr, ssim
from engines.ddcm.codec import PixelModel, encoder, timesteps, to_tensor, walk
from engines.ddcm.pictures import held_back
from engines.ddcm.quality import bare_bytes, recode

CODEBOOKS = (64, 256, 1024)
BATCH = 16


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, the GPU's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def speed(model: PixelModel, steps: int = 12) -> None:
    """Encoding against bare forwards of as many pictures, a step of the one and a forward of the other in turn."""
    images, wanted = to_tensor(held_back()[:BATCH], model.device), 100
    print(
        f"{BATCH} pictures; {wanted} steps of encoding, the first with the making of the codebook, to {wanted} bare forwards,"
    )
    print(f"from medians of {steps - 1} interleaved pairs; wanted: 1.05 with the default codebook")

    @torch.inference_mode()
    def bare(t):
        model.net(images, t)

    bare(0)
    for variant in ("shuffled", "reference"):
        for size in CODEBOOKS:
            plan = Plan(steps, size, variant=variant)
            encoding = walk(model, plan, BATCH, encoder(images))
            pairs = [
                (seconds(lambda encoding=encoding: next(encoding)), seconds(lambda t=t: bare(t)))
                for t in timesteps(steps, len(model.alphas_cumprod)).tolist()[:-1]
            ]
            step, least = (statistics.median(p[i] for p in pairs[1:]) for i in (0, 1))
            ratio = statistics.median(a / b for a, b in pairs[1:])
            first = max(pairs[0][0] - step, 0) / wanted
            print(
                f"{variant:10} K = {size:5}: step {1e3 * step:6.1f} ms, bare {1e3 * least:6.1f} ms, "
                f"ratio {ratio + first / least:.3f}",
                flush=True,
            )


def at_bytes(images: list[np.ndarray], kind: str, size: int, bare: bool) -> tuple[float, float]:
    """Mean bytes and PSNR of each picture's best file of at most `size` bytes, or else its smallest."""
    found = []
    for image in images:
        made = [recode(image, kind, quality) for quality in range(0, 101, 2)]
        sizes = [bare_bytes(file) if bare else len(file) for file, _ in made]
        rated = [(psnr(image, seen), n) for n, (_, seen) in zip(sizes, made, strict=True) if n <= size]
        smallest = min(range(len(made)), key=lambda i: sizes[i])
        found.append(max(rated) if rated else (psnr(image, made[smallest][1]), sizes[smallest]))
    quality, sizes = np.mean(found, axis=0)
    return sizes, quality


def quality(model: PixelModel, count: int) -> None:
    """Held-back emoji at 99 bytes, both kinds of codebook, beside WebP at 250 and JPEG at 700."""
    images = list(held_back()[np.linspace(0, len(held_back()) - 1, count).round().astype(int)])
    print(f"{count} emoji held back from training")
    each = []
    for variant in ("shuffled", "reference"):
        coded = encode_batch(images, model, Plan(100, 256, variant=variant))
        rated = [(psnr(a, c.picture), ssim(a, c.picture)) for a, c in zip(images, coded, strict=True)]
        each.append(np.array([q for q, _ in rated]))
        (mean, alike), spread = np.mean(rated, axis=0), np.std([q for q, _ in rated]) / count**0.5
        print(
            f"DDCM, {variant:10} 99 bytes of choices, {len(coded[0].code)} of file: {mean:.2f} ± {spread:.2f} dB, SSIM {alike:.3f}",
            flush=True,
        )
    apart = each[0] - each[1]
    print(f"one codebook less fresh ones, picture by picture: {apart.mean():+.2f} ± {apart.std() / count**0.5:.2f} dB")
    for kind, size in (("webp", 250), ("jpeg", 700)):
        for bare in (False, True):
            used, mean = at_bytes(images, kind, size, bare)
            print(
                f"{kind}, at most {size} bytes {'without headers' if bare else 'as files'}: {used:.0f} bytes, {mean:.2f} dB"
            )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("speed", "quality"))
    parser.add_argument("--images", type=int, default=16)
    a = parser.parse_args()
    model = open_model()
    if a.only in (None, "speed"):
        speed(model)
    if a.only in (None, "quality"):
        quality(model, a.images)


if __name__ == "__main__":
    main()
