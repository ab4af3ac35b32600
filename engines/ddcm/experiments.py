"""Codes of pictures, rate and distortion, and the codec on a Gaussian source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines import models
from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, SomeOf, checked
from engines.ddcm.codec import (
    BATCH,
    EMBEDDED,
    cut,
    decoder,
    encoder,
    in_batches,
    join,
    read,
    timesteps,
    to_pixels,
    to_tensor,
    walk,
)
from engines.ddcm.file import HEADER, Code, checksum, pack, payload, unpack
from engines.ddcm.fitting import AUTO, SIDE, afford, choose_model, small_model
from engines.ddcm.gaussian import SCHEDULES, code_normals, expected_maximum, predict_error
from engines.ddcm.pictures import (
    Emoji,
    Photograph,
    emoji_picture,
    entropy,
    fit,
    held_back,
    photographs,
    scale,
    typical_entropy,
)
from engines.ddcm.plan import MOST_ATOMS, MOST_COEFFICIENT_BITS, MOST_STEPS, VARIANTS, CodeError, Plan
from engines.ddcm.quality import QUALITIES, USUAL, bare_bytes, psnr, recode, ssim
from engines.pictures import LONGEST, Picture, file_size, open_picture
from engines.progress import Progress

MOST_FILE = 1_000_000
PLACES = 8
EQUAL = 99.0  # dB; written for the PSNR of equal pictures

Steps = Annotated[int, Between(2, 200)]
CodebookBits = Annotated[int, Between(1, 12)]
Atoms = Annotated[int, Between(1, MOST_ATOMS)]
CoefficientBits = Annotated[int, Between(1, MOST_COEFFICIENT_BITS)]
Variant = Annotated[str, OneOf(VARIANTS)]
Model = Annotated[str, Characters(150)]
Seed = Annotated[int, Between(0, 9999)]
SOURCES = ("emoji", "photograph", "upload", "drawing", "file")


# -- one picture and its code -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureCode:
    """A picture encoded, or a file decoded, as far as the tiles and steps have come.

    original: uint8 [h, w, 3]; the picture, or [0, 0, 3] where only a file is known
    decoded: uint8 [h, w, 3]; what the code decodes to; white where no tile is decoded yet
    done: bool; whether the code is complete
    film: uint8 [F, h, w, 3]; the estimate x̂0 after some of the choices
    film_steps: int64 [F]; how many choices were made before each
    film_bytes: int64 [F], bytes; their size, over all tiles
    film_psnr: float64 [F], dB; against the original, NaN without one
    indices: int64 [tiles, S, M]; the atoms chosen in the S steps so far, of the tiles so far
    alignment: float64 [S, tiles]; ⟨z, r⟩/‖r‖ of each step; empty without an original
    expected: float; E of the maximum of K normals (2 K with Turbo's signs), the alignment of one atom
    noise_level: float64 [S]; √(1 − ᾱ) of each step
    code: uint8 [bytes]; the .ddcm file, empty until done
    payload_bytes: int, bytes; of the choices
    psnr: float, dB; of the decoded picture against the original, NaN without one
    ssim: float; likewise
    entropy: float, bits; of the histogram of all indices
    typical_entropy: float, bits; of as many uniform draws, on average
    places: int64 [D]; steps at which the file was damaged, from 0; empty without flips
    damaged: uint8 [D, h, w, 3]; what it then decodes to
    damaged_psnr: float64 [D], dB; of each against the undamaged picture, 99 where equal
    flips: int; bits flipped at each place, in the first tile
    steps: int; T
    codebook_size: int; K
    atoms: int; M
    coefficient_bits: int; C
    variant: str; a key of VARIANTS
    seed: int; of the codebooks
    tiles: int; of the picture
    frames: int; pictures in the file that was given, of which the first is coded
    model: str; its name
    losses: float64 [CANDIDATES]; of the models that were compared on the picture's tiles; empty where none were
    fingerprint: str; hexadecimal, of its weights
    checksum: int; CRC-32 of the file, 0 until done
    seconds: float, s; time of the whole run on this machine, estimated until done
    """

    original: np.ndarray
    decoded: np.ndarray
    done: bool
    film: np.ndarray
    film_steps: np.ndarray
    film_bytes: np.ndarray
    film_psnr: np.ndarray
    indices: np.ndarray
    alignment: np.ndarray
    expected: float
    noise_level: np.ndarray
    code: np.ndarray
    payload_bytes: int
    psnr: float
    ssim: float
    entropy: float
    typical_entropy: float
    places: np.ndarray
    damaged: np.ndarray
    damaged_psnr: np.ndarray
    flips: int
    steps: int
    codebook_size: int
    atoms: int
    coefficient_bits: int
    variant: str
    seed: int
    tiles: int
    frames: int
    model: str
    losses: np.ndarray
    fingerprint: str
    checksum: int
    seconds: float


@checked
def picture_code(
    source: Annotated[str, OneOf(SOURCES)] = "emoji",
    emoji: Emoji = 41,
    upload: str | None = None,
    drawing: str | None = None,
    file: str | None = None,
    pixels: Annotated[int, Between(32, 512)] = 32,
    steps: Steps = 100,
    codebook_bits: CodebookBits = 8,
    atoms: Atoms = 1,
    coefficient_bits: CoefficientBits = 3,
    variant: Variant = "shuffled",
    flips: Annotated[int, Between(0, 8)] = 0,
    model: Model = AUTO,
    seed: Seed = 0,
    photograph: Photograph = 24,
) -> Iterator[Progress[PictureCode]]:
    """Encode one picture, or decode a .ddcm file, 16 tiles at once. Yields a Progress of PictureCode.

    source: which picture: an emoji or a photograph (by number), an upload or a drawing (paths), or the .ddcm file (a path)
    model: its name; "auto" for the emoji model with an emoji, that of the file with a file, and else for the one of CANDIDATES
        that denoises the tiles best
    pixels: the longer side of an upload or a drawing as it is coded
    codebook_bits: log2 K; of a file, its own settings count
    flips: bits flipped in the choice of one step, at each of 8 steps, to see what becomes of the picture. The checksum
        would notice; here it is made right
    """
    started, losses = time.perf_counter(), np.zeros(0)
    if source == "file":
        original, frames, data = np.zeros((0, 0, 3), np.uint8), 1, read_code_file(file)
        net = small_model(_of_file(data) if model == AUTO else model)
        told = unpack(data)
        afford(told.plan.steps * told.tiles(net.side), net)  # before the choices are read
        header, known = read(data, net)
        plan = header.plan
        pieces = in_batches(known, header.batch)
    else:
        plan = Plan(steps, 1 << codebook_bits, atoms, coefficient_bits, variant, seed)
        net = small_model(EMBEDDED if model == AUTO else model)
        if source == "photograph":
            original, frames = fit(photographs()[photograph], net.side, net.side), 1
        else:
            original, frames = source_picture(source, emoji, upload, drawing, pixels, net.side)
        if model == AUTO and source != "emoji":
            net, losses = choose_model(cut(original, SIDE))
        known = cut(original, net.side)
        height, width = original.shape[:2]
        header = Code(plan, net.name, net.fingerprint, height, width, min(BATCH, len(known)), b"")
        header.check_size(net.side)
        pieces = in_batches(known, header.batch)
    tiles, height, width = len(known), header.height, header.width
    rounds = plan.steps * (len(pieces) + (flips > 0))
    afford(plan.steps * (len(pieces) * header.batch + PLACES * (flips > 0)), net)
    count = min(25, plan.steps) if height * width <= 96 * 96 else min(8, plan.steps)
    moments = np.unique(np.linspace(0, plan.steps - 1, count).round().astype(int)).tolist()
    film = np.full((len(moments), len(pieces) * header.batch, net.side, net.side, 3), 255, np.uint8)
    chosen: list[list[Tensor]] = []  # left where they are made: reading them at each step would stop a card
    alignment: list[list[Tensor]] = []
    places, damaged = np.zeros(0, int), np.zeros((0, height, width, 3), np.uint8)

    def result(frame: int, spent: int, done: bool) -> PictureCode:
        """All that is known when `spent` of the rounds are over and the film has come to a frame."""
        shown = np.stack([join(film[i, :tiles], height, width) for i in range(frame + 1)])
        against = original if original.size else None
        full = [piece for piece in chosen if len(piece) == plan.steps - 1] or chosen[:1]
        symbols = np.concatenate([torch.stack(piece, 1).cpu().numpy() for piece in full])[:tiles]
        along = [torch.stack(piece).cpu().double().numpy() for piece in alignment if len(piece) == symbols.shape[1]]
        indices = symbols[..., : plan.atoms]
        code = pack(header.filled(payload(plan, symbols))) if done else b""
        return PictureCode(
            original=original,
            decoded=shown[-1],
            done=done,
            film=shown,
            film_steps=np.array(moments[: frame + 1]),
            film_bytes=-(-np.array(moments[: frame + 1]) * plan.step_bits * tiles // 8),
            film_psnr=np.array([np.nan if against is None else psnr(against, picture) for picture in shown]),
            indices=indices,
            alignment=np.concatenate(along, 1)[:, :tiles] if along else np.zeros((0, 0)),
            expected=expected_maximum(plan.codebook_size * (2 if plan.variant == "turbo" else 1)),
            noise_level=noise_level[: symbols.shape[1]],
            code=np.frombuffer(code, np.uint8),
            payload_bytes=header.payload_bytes(net.side),
            psnr=np.nan if against is None else psnr(against, shown[-1]),
            ssim=np.nan if against is None else ssim(against, shown[-1]),
            entropy=entropy(indices),
            typical_entropy=typical_entropy(indices.size, plan.codebook_size),
            places=places,
            damaged=damaged,
            damaged_psnr=np.array([min(psnr(shown[-1], picture), EQUAL) for picture in damaged]),
            flips=flips,
            steps=plan.steps,
            codebook_size=plan.codebook_size,
            atoms=plan.atoms,
            coefficient_bits=plan.coefficient_bits,
            variant=plan.variant,
            seed=plan.seed,
            tiles=tiles,
            frames=frames,
            model=net.name,
            losses=losses,
            fingerprint=net.fingerprint.hex(),
            checksum=checksum(code) if done else 0,
            seconds=(time.perf_counter() - started) * rounds / spent,
        )

    noise_level = np.sqrt(1 - net.alphas_cumprod[timesteps(plan.steps, len(net.alphas_cumprod))[:-1]])
    for i, piece in enumerate(pieces):
        mine = slice(i * header.batch, (i + 1) * header.batch)
        chosen.append([])
        alignment.append([])
        target = to_tensor(piece, net.device) if original.size else None
        choose = decoder(piece, net.device) if target is None else encoder(target)
        for step in walk(net, plan, header.batch, choose):
            if step.symbols is not None and step.noise is not None:
                chosen[-1].append(step.symbols)
                if target is not None:
                    residual = (target - step.denoised).flatten(1)
                    alignment[-1].append((step.noise * residual).sum(1) / residual.norm(dim=1))
            spent, partial = i * plan.steps + step.number + 1, None
            if step.number in moments:
                frame = moments.index(step.number)
                film[frame, mine] = to_pixels(step.denoised)
                last = step.symbols is None
                if len(chosen[0]) > 1 and (len(pieces) == 1 or last or (i == 0 and frame == 1)) and spent < rounds:
                    partial = result(frame, spent, False)
            if spent < rounds:
                yield Progress(spent, rounds, partial)
    if flips:
        flips = min(flips, plan.step_bits)
        places = np.unique(np.linspace(0, plan.steps - 2, PLACES).round().astype(int))
        rng, whole = np.random.default_rng(seed), torch.stack(chosen[0], 1)[0].cpu().numpy()
        symbols = np.stack([flip_bits(plan, whole, place, flips, rng) for place in places])
        for step in walk(net, plan, len(symbols), decoder(symbols, net.device)):
            if step.symbols is not None:
                yield Progress(len(pieces) * plan.steps + step.number + 1, rounds, None)
        others = film[-1, 1:tiles]
        parts = [np.concatenate([first[None], others]) for first in to_pixels(step.denoised)]
        damaged = np.stack([join(part, height, width) for part in parts])
    yield Progress(rounds, rounds, result(len(moments) - 1, rounds, True))


def source_picture(source: str, emoji: int, upload: str | None, drawing: str | None, pixels: int, side: int) -> Picture:
    """The picture that a view's settings name; an emoji as it is, others with `pixels` along the longer side."""
    if source == "emoji":
        return Picture(emoji_picture(emoji, side), 1)
    path = upload if source == "upload" else drawing
    if path is None and source == "upload":
        raise Refusal("There is no picture yet: choose a file for {parameter}.", parameter="upload")
    if path is None:
        raise Refusal("There is no picture yet: draw something in {parameter}.", parameter="drawing")
    picture = open_picture(path, LONGEST)
    return Picture(scale(picture.pixels, pixels), picture.frames)


def _of_file(data: bytes) -> str:
    """The model that a file names, if it is an embedded one."""
    name = unpack(data).model
    return name if name in models.EMBEDDED else EMBEDDED


def read_code_file(path: str | None) -> bytes:
    """The bytes of a .ddcm file that a visitor chose."""
    if path is None:
        raise Refusal("There is no code yet: choose a file for {parameter}.", parameter="file")
    if file_size(path) > MOST_FILE:
        raise CodeError("The file is larger than {most} MB: no code that the page decodes is.", most=MOST_FILE / 1e6)
    return Path(path).read_bytes()


def flip_bits(plan: Plan, symbols: np.ndarray, place: int, flips: int, rng: np.random.Generator) -> np.ndarray:
    """Symbols [T − 1, width] with that many bits of the word of one step flipped."""
    changed, word = symbols.copy(), plan.word(symbols[place].tolist())
    for _ in range(100):
        bits = rng.permutation(plan.step_bits)[:flips]
        try:
            changed[place] = plan.symbols(word ^ sum(1 << int(bit) for bit in bits))
        except CodeError:  # Turbo has words that name no set
            continue
        return changed
    return changed


# -- rate and distortion ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateDistortion:
    """Bytes against quality, means over the same pictures.

    variants: str [P]; variant of each of the P combinations of settings
    steps: int64 [P]; T
    codebook_size: int64 [P]; K
    atoms: int64 [P]; M
    done: bool [P]; which of them are computed
    file_bytes: float64 [P], bytes; of a .ddcm file
    payload_bytes: float64 [P], bytes; of the choices alone
    psnr: float64 [P], dB
    ssim: float64 [P]
    usual: str [codecs]; keys of the usual codecs
    usual_quality: int64 [qualities]; their quality settings
    usual_file: float64 [codecs, qualities], bytes; of a file
    usual_bare: float64 [codecs, qualities], bytes; of the coded picture alone, without headers and tables
    usual_psnr: float64 [codecs, qualities], dB
    usual_ssim: float64 [codecs, qualities]
    pictures: uint8 [1 + P, h, w, 3]; the first picture, and what each combination decodes it to
    usual_pictures: uint8 [codecs, h, w, 3]; of each usual codec at its least quality, 0
    usual_bytes: int64 [codecs], bytes; size of that file
    count: int; pictures
    model: str; its name
    """

    variants: tuple[str, ...]
    steps: np.ndarray
    codebook_size: np.ndarray
    atoms: np.ndarray
    done: np.ndarray
    file_bytes: np.ndarray
    payload_bytes: np.ndarray
    psnr: np.ndarray
    ssim: np.ndarray
    usual: tuple[str, ...]
    usual_quality: np.ndarray
    usual_file: np.ndarray
    usual_bare: np.ndarray
    usual_psnr: np.ndarray
    usual_ssim: np.ndarray
    pictures: np.ndarray
    usual_pictures: np.ndarray
    usual_bytes: np.ndarray
    count: int
    model: str


def usual_codecs(pictures: Sequence[np.ndarray], kinds: Sequence[str] = USUAL) -> np.ndarray:
    """float64 [kinds, qualities, 4]: mean file bytes, bytes without headers, PSNR (dB) and SSIM over the pictures."""
    table = np.zeros((len(kinds), len(QUALITIES), 4))
    for i, kind in enumerate(kinds):
        for j, quality in enumerate(QUALITIES):
            coded = [recode(picture, kind, quality) for picture in pictures]
            table[i, j] = np.mean(
                [
                    (len(file), bare_bytes(file), psnr(picture, decoded), ssim(picture, decoded))
                    for picture, (file, decoded) in zip(pictures, coded, strict=True)
                ],
                axis=0,
            )
    return table


@checked
def rate_distortion(
    count: Annotated[int, Between(1, 16)] = 3,
    step_counts: Annotated[Sequence[int], ListOf(2, 200, most=6)] = (25, 100),
    codebook_bits: Annotated[Sequence[int], ListOf(1, 12, most=4)] = (8,),
    atom_counts: Annotated[Sequence[int], ListOf(1, MOST_ATOMS, most=4)] = (1, 3),
    coefficient_bits: CoefficientBits = 3,
    variants: Annotated[Sequence[str], SomeOf(VARIANTS)] = ("shuffled", "turbo"),
    model: Model = EMBEDDED,
    seed: Seed = 0,
) -> Iterator[Progress[RateDistortion]]:
    """Encode `count` held-back emoji (or, with the model of photographs, photographs) with every combination of T, log2 K (`codebook_bits`), M and variant, beside WebP
    and JPEG.

    Yields a Progress of RateDistortion after every combination.
    """
    plans = [
        Plan(t, 1 << k, m, coefficient_bits, variant, seed)
        for variant in variants
        for m in dict.fromkeys(atom_counts)
        for k in dict.fromkeys(codebook_bits)
        for t in sorted(set(step_counts))
    ]
    total = sum(plan.steps for plan in plans)
    net = small_model(model)
    afford(total * count, net)
    images = held_back(net.name)
    images = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    if net.side != images.shape[1]:
        raise Refusal(
            "The pictures have {pixels} pixels, model {name} makes {side}: choose another {parameter}.",
            parameter="model",
            pixels=images.shape[1],
            name=net.name,
            side=net.side,
        )
    target = to_tensor(images, net.device)
    usual = usual_codecs(list(images))
    smallest = [recode(images[0], kind, QUALITIES[0]) for kind in USUAL]
    pictures = np.full((1 + len(plans), *images.shape[1:]), 255, np.uint8)
    pictures[0] = images[0]
    quality, done = np.full((2, len(plans)), np.nan), np.zeros(len(plans), bool)
    payload_bytes = np.array([-(-plan.tile_bits // 8) for plan in plans], float)

    def result() -> RateDistortion:
        return RateDistortion(
            variants=tuple(plan.variant for plan in plans),
            steps=np.array([plan.steps for plan in plans]),
            codebook_size=np.array([plan.codebook_size for plan in plans]),
            atoms=np.array([plan.atoms for plan in plans]),
            done=done.copy(),
            file_bytes=payload_bytes + HEADER.size + len(net.name.encode()) + 4,
            payload_bytes=payload_bytes,
            psnr=quality[0].copy(),
            ssim=quality[1].copy(),
            usual=USUAL,
            usual_quality=np.array(QUALITIES),
            usual_file=usual[..., 0],
            usual_bare=usual[..., 1],
            usual_psnr=usual[..., 2],
            usual_ssim=usual[..., 3],
            pictures=pictures.copy(),
            usual_pictures=np.stack([decoded for _, decoded in smallest]),
            usual_bytes=np.array([len(file) for file, _ in smallest]),
            count=count,
            model=net.name,
        )

    spent = 0
    for i, plan in enumerate(plans):
        for step in walk(net, plan, count, encoder(target)):
            spent += 1
            if step.symbols is not None:
                yield Progress(spent, total, None)
        decoded = to_pixels(step.denoised)
        pictures[1 + i], done[i] = decoded[0], True
        quality[:, i] = np.mean([(psnr(a, b), ssim(a, b)) for a, b in zip(images, decoded, strict=True)], axis=0)
        yield Progress(spent, total, result())


# -- a Gaussian source ------------------------------------------------------------------------------------------------

PURSUITS = ((3, 1, "shuffled"), (3, 3, "shuffled"), (3, 3, "turbo"))


@dataclass(frozen=True)
class GaussianRate:
    """Rate and distortion on N(0, I), where the best denoiser is known.

    steps: int64 [N]; T
    codebook_bits: int64 [B]; log2 K
    rate: float64 [B, N], bits a number; with one atom
    predicted: float64 [B, N]; mean squared error, predicted from E of the maximum of K normals
    shuffled: float64 [B, N]; measured with one shuffled codebook
    reference: float64 [B, N]; measured with a fresh codebook at each step
    pursuit_atoms: int64 [3]; M of three further codes with the largest codebook
    pursuit_bits: int64 [3]; their C
    pursuit_variant: str [3]; their variant
    pursuit_rate: float64 [3, N], bits a number
    pursuit: float64 [3, N]; their mean squared error
    bound_rate: float64 [64], bits a number
    bound: float64 [64]; the Shannon bound 2^(−2 rate)
    alignment: float64 [B]; mean ⟨z, r⟩/‖r‖ of the longest codes, one shuffled codebook
    expected: float64 [B]; E of the maximum of K normals
    size: int; numbers of a source
    """

    steps: np.ndarray
    codebook_bits: np.ndarray
    rate: np.ndarray
    predicted: np.ndarray
    shuffled: np.ndarray
    reference: np.ndarray
    pursuit_atoms: np.ndarray
    pursuit_bits: np.ndarray
    pursuit_variant: tuple[str, ...]
    pursuit_rate: np.ndarray
    pursuit: np.ndarray
    bound_rate: np.ndarray
    bound: np.ndarray
    alignment: np.ndarray
    expected: np.ndarray
    size: int


@checked
def gaussian_rate(
    step_counts: Annotated[Sequence[int], ListOf(2, MOST_STEPS, most=6)] = (10, 30, 100, 300),
    codebook_bits: Annotated[Sequence[int], ListOf(1, 10, most=6)] = (1, 4, 8),
    size: Annotated[int, Between(16, 1024)] = 256,
    sources: Annotated[int, Between(1, 8)] = 4,
    schedule: Annotated[str, OneOf(tuple(SCHEDULES))] = "cosine",
    seed: Seed = 0,
) -> GaussianRate:
    """Encode draws from N(0, I) with every combination of T and log2 K, both kinds of codebook, and 3 atoms."""
    times, bits = sorted(set(step_counts)), sorted(set(codebook_bits))
    if sum(times) * sum(1 << b for b in bits) * size * (4 + sources) > 2**28:
        raise Refusal(
            "That is too much to draw: take fewer or smaller {parameter}, smaller codebooks or a smaller source.",
            parameter="step_counts",
        )
    alphas_cumprod = SCHEDULES[schedule]()

    def measure(plan: Plan) -> tuple[float, float]:
        error, alignment = code_normals(plan, size, alphas_cumprod, sources)
        return error.mean(), alignment.mean()

    def table(variant: str) -> np.ndarray:
        return np.array([[measure(Plan(t, 1 << b, 1, 3, variant, seed)) for t in times] for b in bits])

    expected = [expected_maximum(1 << b) for b in bits]
    shuffled, largest = table("shuffled"), 1 << bits[-1]
    pursuits = [
        [Plan(t, largest, min(atoms, largest), c, variant, seed) for t in times] for atoms, c, variant in PURSUITS
    ]
    top = max(plans[-1].tile_bits for plans in pursuits) / size
    bound_rate = np.geomspace(0.005, min(top, 8), 64)
    return GaussianRate(
        steps=np.array(times),
        codebook_bits=np.array(bits),
        rate=np.array([[(t - 1) * b / size for t in times] for b in bits]),
        predicted=np.array([[predict_error(t, size, alphas_cumprod, e) for t in times] for e in expected]),
        shuffled=shuffled[..., 0],
        reference=table("reference")[..., 0],
        pursuit_atoms=np.array([plans[0].atoms for plans in pursuits]),
        pursuit_bits=np.array([plans[0].coefficient_bits for plans in pursuits]),
        pursuit_variant=tuple(plans[0].variant for plans in pursuits),
        pursuit_rate=np.array([[plan.tile_bits / size for plan in plans] for plans in pursuits]),
        pursuit=np.array([[measure(plan)[0] for plan in plans] for plans in pursuits]),
        bound_rate=bound_rate,
        bound=4.0**-bound_rate,
        alignment=shuffled[:, -1, 1],
        expected=np.array(expected),
        size=size,
    )
