"""A folder of pictures to .ddcm files and back: python -m engines.ddcm encode|decode FOLDER

encode writes picture.ddcm beside each picture.png (.jpg, .jpeg, .webp, .gif, .bmp, in any case), or picture.png.ddcm where
another picture has the same name; decode writes picture.decoded.png beside each picture.ddcm, and says how near it is to
the picture if that is still there. What exists is not written over unless --overwrite is given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from engines.arguments import Refusal
from engines.ddcm.codec import EMBEDDED, PixelModel, decode, encode_batch, open_model
from engines.ddcm.file import count_tiles, unpack
from engines.ddcm.pictures import ENDINGS, open_picture
from engines.ddcm.plan import VARIANTS, Plan
from engines.ddcm.quality import psnr, ssim

DECODED = ".decoded.png"
LONG = 10  # seconds, from which on the time that a file takes is printed


class Watch:
    """Prints on standard error how long a file of many tiles takes, and in a terminal a progress bar."""

    def __init__(self, name: str, tiles: int):
        self.name, self.tiles, self.started = name, tiles, time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if done == min(4, total):
            seconds = (time.perf_counter() - self.started) / done * total
            if seconds > LONG:
                took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
                print(f"{self.name}: {self.tiles:,} tiles, about {took}", file=sys.stderr, flush=True)
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
    alike = ssim(picture, decoded)
    return (
        f"{name:32} {shape:>9} {size:7,} {rate:8.3f} {psnr(picture, decoded):8.2f} "
        f"{'' if np.isnan(alike) else f'{alike:.3f}':>6}"
    )


def target(path: Path, overwrite: bool) -> Path:
    """The path, or a Refusal where something would be written over."""
    if path.exists() and not overwrite:
        raise Refusal("{name} exists: move it away, or give --overwrite.", name=path.name)
    return path


def encode_file(path: Path, written: Path, model: PixelModel, plan: Plan) -> str:
    """Write the code of a picture; the line of the table."""
    picture = open_picture(path)
    if picture.frames > 1:
        print(f"{path.name}: the first of {picture.frames} frames", file=sys.stderr, flush=True)
    height, width = picture.pixels.shape[:2]
    tiles = count_tiles(height, width, model.side)
    (coded,) = encode_batch([picture.pixels], model, plan, Watch(path.name, tiles))
    written.write_bytes(coded.code)
    return row(path.name, len(coded.code), picture.pixels, coded.picture)


def decode_file(path: Path, written: Path, original: Path | None, model: PixelModel) -> str:
    """Write the picture of a code; the line of the table."""
    from PIL import Image

    code = path.read_bytes()
    decoded = decode(code, model, Watch(path.name, unpack(code).tiles(model.side)))
    Image.fromarray(decoded).save(written)
    return row(path.name, len(code), None if original is None else open_picture(original).pixels, decoded)


def original_of(code: Path, pictures: list[Path]) -> Path | None:
    """The picture that a code was made of, by its name, or None."""
    stem = code.name[: -len(code.suffix)]
    return next((p for p in pictures if p.name == stem), next((p for p in pictures if p.stem == stem), None))


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 if every file went through."""
    parser = argparse.ArgumentParser(prog="python -m engines.ddcm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("do", choices=("encode", "decode"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--steps", type=int, default=100, help="T, calls of the model (default 100)")
    parser.add_argument("--codebook-size", type=int, default=256, help="K, a power of two (default 256)")
    parser.add_argument("--atoms", type=int, default=1, help="M, atoms combined at each step (default 1)")
    parser.add_argument("--coefficient-bits", type=int, default=3, help="C, for M > 1 (default 3)")
    parser.add_argument("--variant", choices=VARIANTS, default="shuffled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="write over files that exist")
    a = parser.parse_args(argv)
    try:
        plan = Plan(a.steps, a.codebook_size, a.atoms, a.coefficient_bits, a.variant, a.seed)
        model = open_model(a.model)
    except ValueError as fault:
        parser.error(str(fault))
    if not a.folder.is_dir():
        parser.error(f"{a.folder} is no folder")
    files = [f for f in sorted(a.folder.iterdir()) if f.is_file() and not f.name.lower().endswith(DECODED)]
    pictures = [f for f in files if f.suffix.lower() in ENDINGS]
    codes = [f for f in files if f.suffix.lower() == ".ddcm"]
    if not (pictures if a.do == "encode" else codes):
        parser.error(f"{a.folder} holds no {', '.join(ENDINGS if a.do == 'encode' else ('.ddcm',))}")
    # some file systems take photo and Photo for one name
    named = Counter(f.stem.lower() for f in pictures)
    print(f"{'file':32} {'size':>9} {'bytes':>7} {'bpp':>8} {'PSNR dB':>8} {'SSIM':>6}")
    failed = 0
    for path in pictures if a.do == "encode" else codes:
        try:
            if a.do == "encode":
                stem = path.stem if named[path.stem.lower()] == 1 else path.name
                print(encode_file(path, target(path.with_name(f"{stem}.ddcm"), a.overwrite), model, plan), flush=True)
            else:
                written = target(path.with_name(path.name[: -len(path.suffix)] + DECODED), a.overwrite)
                print(decode_file(path, written, original_of(path, pictures), model), flush=True)
        except (ValueError, OSError) as fault:
            failed += 1
            print(f"{path.name:32} {fault}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
