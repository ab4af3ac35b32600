"""A folder of pictures to .ddcm files and back: python -m engines.ddcm encode|decode FOLDER

encode writes picture.ddcm beside each picture.png (.jpg, .jpeg, .webp, .gif, .bmp, in any case), or picture.png.ddcm where
another picture has the same name; decode writes picture.decoded.png beside each picture.ddcm, and says how near it is to
the picture if that is still there. What exists is not written over unless --overwrite is given; with --resume it is left
out, so that the same command goes on after a kill. Codes of latents (see engines.ddcm.photographs) are decoded with --model
and the name of the text-to-image model that made them.

With --ray ADDRESS the pictures, or codes, are shared among the machines of a Ray cluster (requirements-ray.txt); files are
read and written here alone, and are the same as without.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from engines import latents, models
from engines.arguments import Refusal
from engines.cluster import connect
from engines.ddcm import photographs
from engines.ddcm.codec import EMBEDDED, Encoded, PixelModel, decode, encode_batch, open_model
from engines.ddcm.file import count_tiles, unpack
from engines.ddcm.plan import VARIANTS, Plan
from engines.ddcm.quality import psnr, ssim
from engines.latents import LatentModel
from engines.pictures import ENDINGS, open_picture

DECODED = ".decoded.png"
Job = tuple[Path, int, Any]  # path, its tiles, the arguments of the work (or the fault that keeps it from being done)
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


def encode_picture(pixels: np.ndarray, model: str | PixelModel, plan: Plan, *watch: Watch) -> Encoded:
    """The code of one picture."""
    return encode_batch([pixels], model, plan, *watch)[0]


def decode_picture(code: bytes, model: str | PixelModel | LatentModel, *watch: Watch) -> np.ndarray:
    """The picture of one code, of pixels or of latents as the model is."""
    if isinstance(model, str) and models.HUB.get(model, ("",))[0] == "latent":
        model = latents.open_model(model)
    if isinstance(model, LatentModel):
        return photographs.decode_photograph(code, model)
    return decode(code, model, *watch)


class Here:
    """One after the other in this process, with a progress bar."""

    def results(self, work: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[tuple[Path, Any]]:
        """The path of each job, with what `work` made of its arguments, or the fault."""
        for path, tiles, arguments in jobs:
            try:
                found = arguments if isinstance(arguments, Exception) else work(*arguments, Watch(path.name, tiles))
            except (ValueError, OSError) as fault:
                found = fault
            yield path, found


class Cluster:
    """On the machines of a Ray cluster, two jobs for each core ahead."""

    def __init__(self, address: str):
        connect(address)

    def results(self, work: Callable[..., Any], jobs: Iterable[Job]) -> Iterator[tuple[Path, Any]]:
        """As Here.results, in the same order. What a machine that dies takes along is run again elsewhere."""
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(work)
        ahead: deque[tuple[Path, Any]] = deque()
        for path, _, arguments in jobs:
            ahead.append((path, arguments if isinstance(arguments, Exception) else remote.remote(*arguments)))
            if len(ahead) > 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1):
                yield self._end(*ahead.popleft())
        while ahead:
            yield self._end(*ahead.popleft())

    @staticmethod
    def _end(path: Path, running: Any) -> tuple[Path, Any]:
        import ray

        if isinstance(running, Exception):
            return path, running
        try:
            return path, ray.get(running)
        except ray.exceptions.RayTaskError as fault:
            return path, fault.cause
        except ray.exceptions.RayError as fault:
            return path, fault


def keep(path: Path, data: bytes) -> None:
    """Write a file at once: one that is there is whole."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def encode_folder(
    pictures: Sequence[Path],
    model: str | PixelModel,
    side: int,
    plan: Plan,
    overwrite: bool,
    where: Here | Cluster,
    resume: bool = False,
) -> Iterator[tuple[str, bool]]:
    """Write the code of each picture; the lines of the table, and whether each went through. resume: but for those that have one"""
    # some file systems take photo and Photo for one name
    named = Counter(path.stem.lower() for path in pictures)
    open_pictures: dict[Path, np.ndarray] = {}

    def written(path: Path) -> Path:
        stem = path.stem if named[path.stem.lower()] == 1 else path.name
        return path.with_name(f"{stem}.ddcm")

    def jobs() -> Iterator[Job]:
        for path in pictures:
            if resume and written(path).exists():
                continue
            try:
                target(written(path), overwrite)
                picture = open_picture(path)
                tiles = count_tiles(*picture.pixels.shape[:2], side)
            except (ValueError, OSError) as fault:
                yield path, 0, fault
                continue
            if picture.frames > 1:
                print(f"{path.name}: the first of {picture.frames} frames", file=sys.stderr, flush=True)
            open_pictures[path] = picture.pixels
            yield path, tiles, (picture.pixels, model, plan)

    for path, found in where.results(encode_picture, jobs()):
        pixels = open_pictures.pop(path, None)
        if not isinstance(found, Exception):
            try:
                keep(written(path), found.code)
            except OSError as fault:
                found = fault
        if isinstance(found, Exception):
            yield f"{path.name:32} {found}", False
        else:
            yield row(path.name, len(found.code), pixels, found.picture), True


def decode_folder(
    codes: Sequence[Path],
    pictures: Sequence[Path],
    model: str | PixelModel | LatentModel,
    side: int,
    overwrite: bool,
    where: Here | Cluster,
    resume: bool = False,
) -> Iterator[tuple[str, bool]]:
    """Write the picture of each code; as encode_folder."""
    from PIL import Image

    def written(path: Path) -> Path:
        return path.with_name(path.name[: -len(path.suffix)] + DECODED)

    def jobs() -> Iterator[Job]:
        for path in codes:
            if resume and written(path).exists():
                continue
            try:
                target(written(path), overwrite)
                code = path.read_bytes()
                yield path, unpack(code).tiles(side), (code, model)
            except (ValueError, OSError) as fault:
                yield path, 0, fault

    for path, found in where.results(decode_picture, jobs()):
        if not isinstance(found, Exception):
            try:
                file = io.BytesIO()
                Image.fromarray(found).save(file, "PNG")
                keep(written(path), file.getvalue())
            except (ValueError, OSError) as fault:
                found = fault
        if isinstance(found, Exception):
            yield f"{path.name:32} {found}", False
            continue
        seen, original = None, original_of(path, pictures)
        if original is not None:
            with suppress(ValueError, OSError):  # the code is decoded, whatever became of its picture
                seen = open_picture(original).pixels
        yield row(path.name, path.stat().st_size, seen, found), True


def original_of(code: Path, pictures: Sequence[Path]) -> Path | None:
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
    parser.add_argument("--resume", action="store_true", help="leave out what is done already")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="share the files among a Ray cluster (auto: the one found here)"
    )
    a = parser.parse_args(argv)
    if a.ray and find_spec("ray") is None:
        parser.error("ray is not installed: pip install -r requirements-ray.txt")
    try:
        plan = Plan(a.steps, a.codebook_size, a.atoms, a.coefficient_bits, a.variant, a.seed)
        is_latent = a.do == "decode" and models.HUB.get(a.model, ("",))[0] == "latent"
        model = latents.open_model(a.model) if is_latent else open_model(a.model)
    except ValueError as fault:
        parser.error(str(fault))
    if not a.folder.is_dir():
        parser.error(f"{a.folder} is no folder")
    files = [f for f in sorted(a.folder.iterdir()) if f.is_file() and not f.name.lower().endswith(DECODED)]
    pictures = [f for f in files if f.suffix.lower() in ENDINGS]
    codes = [f for f in files if f.suffix.lower() == ".ddcm"]
    if not (pictures if a.do == "encode" else codes):
        parser.error(f"{a.folder} holds no {', '.join(ENDINGS if a.do == 'encode' else ('.ddcm',))}")
    print(f"{'file':32} {'size':>9} {'bytes':>7} {'bpp':>8} {'PSNR dB':>8} {'SSIM':>6}")
    try:
        where = Cluster(a.ray) if a.ray else Here()
    except ValueError as fault:
        parser.error(str(fault))
    own = a.model if a.ray else model  # the machines of a cluster open their own
    side = getattr(model, "side", 32)  # a code of latents has no tiles
    if a.do == "encode":
        rows = encode_folder(pictures, own, side, plan, a.overwrite, where, a.resume)
    else:
        rows = decode_folder(codes, pictures, own, side, a.overwrite, where, a.resume)
    failed = 0
    try:
        for line, is_right in rows:
            failed += not is_right
            print(line, flush=True)
    except KeyboardInterrupt:
        print("\nStopped; the same command with --resume goes on from here.", file=sys.stderr)
        return 130
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
