"""A folder of pictures to .ddcm files and back: python -m engines.ddcm encode|decode FOLDER

encode writes picture.ddcm beside each picture.png (.jpg, .jpeg, .webp, .gif, .bmp); decode writes picture.decoded.png
beside each picture.ddcm, and says how near it is to the picture if that is still there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from engines.ddcm.codec import EMBEDDED, PixelModel, decode, encode_batch, open_model
from engines.ddcm.file import unpack
from engines.ddcm.pictures import read_picture
from engines.ddcm.plan import VARIANTS, Plan
from engines.ddcm.quality import psnr, ssim

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
DECODED = ".decoded.png"


class Bar:
    """A progress bar on standard error, where that is a terminal."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            filled = 30 * done // total
            end = "\r" if done < total else "\r\033[K"
            print(f"[{'#' * filled:<30}] {done}/{total} {self.name[:40]}", end=end, file=sys.stderr, flush=True)


def row(name: str, size: int, picture: np.ndarray | None, decoded: np.ndarray) -> str:
    """A line of the table."""
    rate = 8 * size / (decoded.shape[0] * decoded.shape[1])
    shape = f"{decoded.shape[1]}x{decoded.shape[0]}"
    if picture is None or picture.shape != decoded.shape:
        return f"{name:32} {shape:>9} {size:7,} {rate:8.3f} {'':>8} {'':>6}"
    alike = f"{ssim(picture, decoded):.3f}" if min(decoded.shape[:2]) >= 7 else ""
    return f"{name:32} {shape:>9} {size:7,} {rate:8.3f} {psnr(picture, decoded):8.2f} {alike:>6}"


def encode_file(path: Path, model: PixelModel, plan: Plan) -> str:
    """Write path.ddcm; the line of the table."""
    picture = read_picture(path)
    (coded,) = encode_batch([picture], model, plan, Bar(path.name))
    path.with_suffix(".ddcm").write_bytes(coded.code)
    return row(path.name, len(coded.code), picture, coded.picture)


def decode_file(path: Path, model: PixelModel) -> str:
    """Write path.decoded.png; the line of the table."""
    from PIL import Image

    code = path.read_bytes()
    unpack(code)
    decoded = decode(code, model, Bar(path.name))
    Image.fromarray(decoded).save(path.with_suffix(DECODED))
    known = next((p for e in PICTURES if (p := path.with_suffix(e)).exists()), None)
    return row(path.name, len(code), None if known is None else read_picture(known), decoded)


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 if every file went through."""
    parser = argparse.ArgumentParser(prog="python -m engines.ddcm", description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("encode", "decode"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--steps", type=int, default=100, help="T, calls of the model (default 100)")
    parser.add_argument("--codebook-size", type=int, default=256, help="K, a power of two (default 256)")
    parser.add_argument("--atoms", type=int, default=1, help="M, atoms combined at each step (default 1)")
    parser.add_argument("--coefficient-bits", type=int, default=3, help="C, for M > 1 (default 3)")
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="shuffled")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    try:
        plan = Plan(a.steps, a.codebook_size, a.atoms, a.coefficient_bits, a.variant, a.seed)
        model = open_model(a.model)
    except ValueError as fault:
        parser.error(str(fault))
    if not a.folder.is_dir():
        parser.error(f"{a.folder} is no folder")
    endings = PICTURES if a.do == "encode" else (".ddcm",)
    files = [f for f in sorted(a.folder.iterdir()) if f.suffix.lower() in endings and not f.name.endswith(DECODED)]
    if not files:
        parser.error(f"{a.folder} holds no {', '.join(endings)}")
    print(f"{'file':32} {'size':>9} {'bytes':>7} {'bpp':>8} {'PSNR dB':>8} {'SSIM':>6}")
    failed = 0
    for path in files:
        try:
            print(encode_file(path, model, plan) if a.do == "encode" else decode_file(path, model), flush=True)
        except ValueError as fault:
            failed += 1
            print(f"{path.name:32} {fault}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
