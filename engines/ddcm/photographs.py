"""Photographs as codes: DDCM in the latents of a text-to-image model, as it was published (arXiv 2502.01189, section 3).

The walk, the codebooks and the file are those of pixels; the model is an `engines.latents.Prompted`. The file names the
model, its commit, the prompt and the shape, all that a decoder needs. The decoder makes on one machine the encoder's
latents bit for bit; another machine's network rounds otherwise, and its latents are near, not the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from engines import models
from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, checked
from engines.ddcm.codebook import check_table
from engines.ddcm.codec import Choose, Step, decoder, encoder, to_pixels, to_tensor, walk
from engines.ddcm.experiments import CoefficientBits, Seed, Variant, read_code_file
from engines.ddcm.file import Code, LatentCode, pack, payload, symbols, unpack
from engines.ddcm.fitting import afford, small_model
from engines.ddcm.pictures import PHOTOGRAPHS, Emoji, emoji_picture, fit, photographs
from engines.ddcm.pictures import Photograph as Number
from engines.ddcm.plan import MOST_ATOMS, CodeError, Plan
from engines.ddcm.quality import psnr, recode, ssim, usual
from engines.device import Timed, resolve
from engines.latents import KNOWN, Guidance, LatentModel, Prompt, Prompted, open_model, room, within_memory
from engines.pictures import read_picture
from engines.progress import Progress

NONE = "none"
SIDES = ("512", "768")
SOURCES = ("photograph", "emoji", "upload", "file")
QUALITIES = (0, 5, 10, 20, 40, 60, 80)
FILM = 8
MOST_CALLS = {"cuda": 4000, "cpu": 400}  # denoiser calls of one run


def fingerprint(revision: str) -> bytes:
    """The 8 bytes that stand for a commit, as in a file of pixels."""
    return hashlib.sha256(revision.encode()).digest()[:8]


def conditioned(model: LatentModel, code: LatentCode) -> Prompted:
    """The denoiser that a file asks for. Raises CodeError where its model gives latents of another shape."""
    seen = model.prompted(
        code.prompt, code.negative, code.guidance, code.height, code.width, code.model, code.fingerprint
    )
    if seen.shape != code.shape:
        raise CodeError("The header is damaged: no latents of {model} have this shape.", model=code.model)
    return seen


def header(
    model: LatentModel, name: str, plan: Plan, side: int, prompt: str = "", negative: str = "", guidance: float = 1.0
) -> LatentCode:
    """What the file of a picture of side x side pixels says, still without its choices."""
    revision = models.fingerprint(name)
    shape = (model.net.config.in_channels, side // model.factor, side // model.factor)
    # as the file keeps it, so that encoder and decoder compute with the same number
    kept = float(np.float32(guidance))
    code = LatentCode(
        plan, name, fingerprint(revision), side, side, 1, b"", revision, kept, shape, prompt, negative
    )  # fmt: skip
    code.check_size(side)
    return code


@dataclass
class Walked:
    """What is left of a walk: x̂0 at its end, Tensor [1, *shape], and the symbols, int64 [1, T − 1, width]."""

    latents: Tensor
    symbols: np.ndarray


def follow(seen: Prompted, plan: Plan, choose: Choose) -> Iterator[Step | Walked]:
    """The steps of a walk, then what is left of it."""
    chosen = []
    for step in walk(seen, plan, 1, choose):
        if step.symbols is not None:
            chosen.append(step.symbols.cpu().numpy())
        yield step
    yield Walked(step.denoised, np.stack(chosen, 1))


def encode_photograph(picture: np.ndarray, model: LatentModel, code: LatentCode) -> tuple[bytes, np.ndarray]:
    """The file of a picture, uint8 [side, side, 3], and what it decodes to; `code` is a `header`."""
    target = model.encode(to_tensor(picture[None], model.device))
    *_, last = follow(conditioned(model, code), code.plan, encoder(target))
    return pack(code.filled(payload(code.plan, last.symbols))), to_pixels(model.decode(last.latents))[0]


def decode_photograph(data: bytes, model: LatentModel | None = None) -> np.ndarray:
    """The picture of a file, uint8 [h, w, 3]; its model is loaded by name unless it is given. Raises CodeError."""
    code = read_photograph(data, model.name if model else "")
    model = open_model(code.model, max(code.height, code.width)) if model is None else model
    *_, last = follow(conditioned(model, code), code.plan, decoder(symbols(code, code.width), model.device))
    return to_pixels(model.decode(last.latents))[0]


def read_photograph(data: bytes, model: str = "") -> LatentCode:
    """What a file says, if it is of latents of a model at the commit that is loaded here, the one named if one is. Raises
    CodeError."""
    code = unpack(data)
    if not isinstance(code, LatentCode):
        raise CodeError("This code is of pixels, not of latents: open it under Code of a picture.")
    if model and code.model != model:
        raise CodeError("The file was made with {model}: choose it.", model=code.model)
    if code.revision != models.fingerprint(code.model):
        raise CodeError(
            "The file was made with commit {made_with} of {model}; here it is {here}.",
            made_with=code.revision[:12],
            model=code.model,
            here=models.fingerprint(code.model)[:12],
        )
    return code


@dataclass(frozen=True)
class Photograph:
    """Codes of one picture, P settings of them, beside the usual codecs: in latents, or in pixels with the embedded model.

    original: uint8 [h, w, 3]; [0, 0, 3] where only a file is known
    through: uint8 [h, w, 3]; the original through the autoencoder alone, the best that a code can be; [0, 0, 3] without one
    through_psnr: float, dB; of that, NaN without one
    through_ssim: float
    steps: int64 [P]; T
    atoms: int64 [P]; M
    done: bool [P]; which of them are computed
    file_bytes: int64 [P], bytes
    payload_bytes: int64 [P], bytes; of the choices alone
    psnr: float64 [P], dB; NaN without an original
    ssim: float64 [P]
    seconds: float64 [P], s; of the denoiser, the codebooks and the choices
    pictures: uint8 [P, h, w, 3]
    film: uint8 [F, h, w, 3]; x̂0 of the last of them, decoded, after some of its choices
    film_bytes: int64 [F], bytes; of the choices so far
    film_psnr: float64 [F], dB
    usual: [codecs] keys
    usual_bytes: int64 [codecs, qualities], bytes; of the file
    usual_psnr: float64 [codecs, qualities], dB
    usual_ssim: float64 [codecs, qualities]
    usual_pictures: uint8 [codecs, h, w, 3]; of each codec the largest file that is no larger than our largest, or its least
    usual_shown: int64 [codecs], bytes; of that
    code: uint8 [bytes]; the file of the last setting, empty until it is done
    model: str; its name
    revision: str; its commit, empty of the embedded model
    prompt: str
    negative: str
    guidance: float
    shape: (channels, h, w) of the latents, or of the pixels
    codebook_size: int; K
    coefficient_bits: int; C
    variant: str; a key of VARIANTS
    seed: int; of the codebooks
    device: str; where it ran: "cpu" or "cuda"
    """

    original: np.ndarray
    through: np.ndarray
    through_psnr: float
    through_ssim: float
    steps: np.ndarray
    atoms: np.ndarray
    done: np.ndarray
    file_bytes: np.ndarray
    payload_bytes: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray
    seconds: np.ndarray
    pictures: np.ndarray
    film: np.ndarray
    film_bytes: np.ndarray
    film_psnr: np.ndarray
    usual: tuple[str, ...]
    usual_bytes: np.ndarray
    usual_psnr: np.ndarray
    usual_ssim: np.ndarray
    usual_pictures: np.ndarray
    usual_shown: np.ndarray
    code: np.ndarray
    model: str
    revision: str
    prompt: str
    negative: str
    guidance: float
    shape: tuple[int, ...]
    codebook_size: int
    coefficient_bits: int
    variant: str
    seed: int
    device: str


def _usual(picture: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[codecs, qualities, 3] bytes, PSNR, SSIM; of each codec the picture to show, and its bytes. most: bytes of ours."""
    kinds = usual()
    table, shown, sizes = np.zeros((len(kinds), len(QUALITIES), 3)), [], []
    for i, kind in enumerate(kinds):
        for j, quality in enumerate(QUALITIES):
            file, coded = recode(picture, kind, quality)
            table[i, j] = len(file), psnr(picture, coded), ssim(picture, coded)
            if j == 0 or len(file) <= most:
                best, size = coded, len(file)
        shown.append(best)
        sizes.append(size)
    return table, np.stack(shown), np.array(sizes)


@checked
def code_photograph(
    model: Annotated[str, Characters(150)] = NONE,
    source: Annotated[str, OneOf(SOURCES)] = "photograph",
    photograph: Number = 24,
    emoji: Emoji = 41,
    upload: str | None = None,
    file: str | None = None,
    side: Annotated[str, OneOf(SIDES)] = "512",
    prompt: Prompt = "",
    negative: Prompt = "",
    guidance: Guidance = 1.0,
    step_counts: Annotated[Sequence[int], ListOf(2, 1000, most=4)] = (20, 50, 100),
    atom_counts: Annotated[Sequence[int], ListOf(1, MOST_ATOMS, most=3)] = (1, 5),
    codebook_bits: Annotated[int, Between(1, 14)] = 10,
    coefficient_bits: CoefficientBits = 3,
    variant: Variant = "shuffled",
    seed: Seed = 0,
) -> Iterator[Progress[Photograph]]:
    """Code a picture with every combination of T and M, or decode a file. Yields a Progress of Photograph for each.

    model: a text-to-image model of the Hub; or "none": nothing is fetched, and the embedded model of photographs codes 32 x 32 pixels,
        without a prompt
    source: which picture: a photograph or an emoji (by number, enlarged), an upload (a path), cut to a square, or a .ddcm file (a path)
    prompt, negative, guidance: what the denoiser is told; an empty prompt without guidance is the published default
    """
    code, original, data = None, np.zeros((0, 0, 3), np.uint8), b""
    device, small = resolve(), small_model(PHOTOGRAPHS) if model == NONE else None
    pixels = small.side if small else int(side)
    if small:
        prompt, negative, guidance = "", "", 1.0
    if source == "file":
        if small:
            raise Refusal("Choose the {parameter} that the file was made with.", parameter="model")
        data = read_code_file(file)
        code = read_photograph(data, model)
        plans = [code.plan]
        prompt, negative, guidance = code.prompt, code.negative, code.guidance
    else:
        size = 1 << codebook_bits
        plans = [
            Plan(t, size, m, coefficient_bits, variant, seed)
            for m in dict.fromkeys(atom_counts)
            for t in sorted(set(step_counts))
        ]
        if source == "upload" and upload is None:
            raise Refusal("There is no picture yet: choose a file for {parameter}.", parameter="upload")
        picture = emoji_picture(emoji, 32) if source == "emoji" else None
        picture = photographs()[photograph] if source == "photograph" else picture
        original = fit(read_picture(upload) if picture is None else picture, pixels, pixels)
    total = sum(plan.steps for plan in plans)
    most = MOST_CALLS.get(device.type, MOST_CALLS["cpu"])
    if total > most:
        raise Refusal(
            "{calls} denoiser calls are more than the {most} that one run makes here: take fewer or smaller {parameter}.",
            parameter="step_counts",
            calls=total,
            most=most,
        )
    if small:
        afford(total, small)
    height, width = (code.height, code.width) if code else (pixels, pixels)
    most_pixels, channels = max(height, width), KNOWN[model].channels if model in KNOWN else 4
    for plan in plans:
        # the size of the latents, as far as it is known before the model is here
        unknown = 3 * pixels**2 if small else channels * (pixels // 8) ** 2
        check_table(plan, math.prod(code.shape) if code else unknown, device)
    count = len(plans)
    pictures = np.full((count, height, width, 3), 255, np.uint8)
    sizes, quality = np.zeros((2, count), int), np.full((3, count), np.nan)
    done, film, film_bytes = np.zeros(count, bool), [], []
    through, table = np.zeros((0, 0, 3), np.uint8), np.zeros((0, len(QUALITIES), 3))
    shown, shown_bytes = np.zeros((0, height, width, 3), np.uint8), np.zeros(0, int)
    known, last_file = original.size > 0, b""

    def result() -> Photograph:
        first = plans[-1]
        return Photograph(
            original=original,
            through=through,
            through_psnr=psnr(original, through) if through.size else np.nan,
            through_ssim=ssim(original, through) if through.size else np.nan,
            steps=np.array([plan.steps for plan in plans], int),
            atoms=np.array([plan.atoms for plan in plans], int),
            done=done.copy(),
            file_bytes=sizes[0].copy(),
            payload_bytes=sizes[1].copy(),
            psnr=quality[0].copy(),
            ssim=quality[1].copy(),
            seconds=quality[2].copy(),
            pictures=pictures.copy(),
            film=np.stack(film) if film else np.zeros((0, height, width, 3), np.uint8),
            film_bytes=np.array(film_bytes, int),
            film_psnr=np.array([psnr(original, frame) if known else np.nan for frame in film]),
            usual=usual()[: len(table)],
            usual_bytes=table[..., 0].astype(int),
            usual_psnr=table[..., 1],
            usual_ssim=table[..., 2],
            usual_pictures=shown,
            usual_shown=shown_bytes,
            code=np.frombuffer(last_file, np.uint8),
            model=small.name if small else model,
            revision=getattr(code, "revision", ""),
            prompt=prompt,
            negative=negative,
            guidance=float(guidance),
            shape=small.shape if small else getattr(code, "shape", ()),
            codebook_size=first.codebook_size,
            coefficient_bits=first.coefficient_bits,
            variant=first.variant,
            seed=first.seed,
            device=device.type,
        )

    if not small:
        room(model, most_pixels, device)
        yield Progress(0, total, None)  # all is checked: the model may have to be fetched
    with within_memory(model):
        loaded = None if small else open_model(model, most_pixels)
        target = to_tensor(original[None], small.device) if small else None
        if loaded and known:
            target = loaded.encode(to_tensor(original[None], loaded.device))
            through = to_pixels(loaded.decode(target))[0]

    def seen_as(latents: Tensor) -> np.ndarray:
        return to_pixels(loaded.decode(latents) if loaded else latents)[0]

    spent = 0
    for p, plan in enumerate(plans):
        if small:
            code = Code(plan, small.name, small.fingerprint, height, width, 1, b"")
        elif known:
            code = header(loaded, model, plan, most_pixels, prompt, negative, guidance)
        with within_memory(model):
            seen = conditioned(loaded, code) if loaded else small
            choose = encoder(target) if known else decoder(symbols(code, most_pixels), loaded.device)
            moments = FILM if loaded else 3 * FILM
            taken = set(np.linspace(0, plan.steps - 1, moments).round().astype(int).tolist()) if p + 1 == count else ()
            steps = Timed(follow(seen, plan, choose), seen.device)
            for step in steps:
                if isinstance(step, Walked):
                    break
                spent += 1
                if step.number in taken and step.symbols is not None:
                    film.append(seen_as(step.denoised))
                    film_bytes.append(-(-step.number * plan.step_bits // 8))
                yield Progress(min(spent, total - 1), total, None)
            pictures[p] = seen_as(step.latents)
        quality[2, p], done[p] = steps.seconds, True
        written = pack(code.filled(payload(plan, step.symbols))) if known else data
        sizes[:, p] = len(written), code.payload_bytes(most_pixels)
        if known:
            quality[:2, p] = psnr(original, pictures[p]), ssim(original, pictures[p])
        if p + 1 == count:
            last_file = written
            film.append(pictures[p])
            film_bytes.append(int(sizes[1, p]))
            if known:
                table, shown, shown_bytes = _usual(original, float(sizes[0].max()))
        yield Progress(spent, total, result())
