"""What the page asks of the codec: a picture's code, rate against distortion, the toy, a file opened and damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.arguments import several_of, wholes
from engines.ddcm.codec import (
    EMBEDDED,
    LANES,
    PixelModel,
    cut,
    following,
    join,
    open_model,
    read,
    timesteps,
    to_pixels,
    to_tensor,
    towards,
    walk,
)
from engines.ddcm.file import HEADER, Code, pack, payload
from engines.ddcm.gaussian import SCHEDULES, code_normals, expected_maximum, predicted_error
from engines.ddcm.pictures import entropy, held_back, source_picture, typical_entropy
from engines.ddcm.plan import MOST_STEPS, VARIANTS, CodeError, Plan, size_bits, whole
from engines.ddcm.quality import QUALITIES, bare_bytes, psnr, recode, ssim
from engines.progress import Progress

MOST_CALLS = 3000  # tiles times steps of one view: a minute or so on two cores
MOST_PAGE_STEPS = 200
MOST_BOOK_BITS = 12


def page_plan(
    steps: int,
    book_bits: int = 8,
    atoms: int = 1,
    coefficient_bits: int = 3,
    variant: str = "shuffled",
    seed: int = 0,
) -> Plan:
    """A plan within what the page computes."""
    whole("steps", steps, 2, MOST_PAGE_STEPS)
    whole("book_bits", book_bits, 1, MOST_BOOK_BITS)
    whole("atoms", atoms, 1, 8)
    return Plan(steps, 1 << int(book_bits), atoms, coefficient_bits, variant, seed)


def page_model(name: str) -> PixelModel:
    """A model small enough for the page."""
    model = open_model(name)
    if model.side > 64:
        raise CodeError(f"Model {name} makes pictures larger than 64 pixels, too slow for this page.")
    return model


def afford(calls: int) -> None:
    """A CodeError where a view would take too long."""
    if calls > MOST_CALLS:
        raise CodeError(
            f"That is {calls:,} tiles times steps; the page computes at most {MOST_CALLS:,}: ask for fewer."
        )


# -- one picture and its code -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PictureCode:
    """A picture encoded, as far as the steps have come.

    original, picture: [h, w, 3] uint8, the picture and what its code decodes to; done: whether the code is complete
    film: [F, h, w, 3] uint8, the estimate x̂0 after film_steps [F] int64 choices, and its film_psnr [F] float64 in dB
    indices: [tiles, S, atoms] int64, the atoms chosen in the S steps so far
    alignment: [S, tiles] float64, ⟨z, r⟩/‖r‖ of each step
    expected: float, E of the greatest of K normals (2 K with Turbo's signs), what it is with one atom
    noise: [S] float64, noise level √(1 − ᾱ) of each step
    code: uint8 [bytes], the .ddcm file; payload_bytes: of them, the choices
    psnr, ssim: of the picture against the original
    entropy, typical_entropy: bits of the histogram of all indices, and of as many uniform draws on average
    steps, codebook_size, atoms, tiles: as coded; model: its name
    """

    original: np.ndarray
    picture: np.ndarray
    done: bool
    film: np.ndarray
    film_steps: np.ndarray
    film_psnr: np.ndarray
    indices: np.ndarray
    alignment: np.ndarray
    expected: float
    noise: np.ndarray
    code: np.ndarray
    payload_bytes: int
    psnr: float
    ssim: float
    entropy: float
    typical_entropy: float
    steps: int
    codebook_size: int
    atoms: int
    tiles: int
    model: str


def picture_code(
    source: str = "emoji",
    emoji: int = 41,
    upload: str | None = None,
    drawing: str | None = None,
    pixels: int = 32,
    steps: int = 100,
    book_bits: int = 8,
    atoms: int = 1,
    coefficient_bits: int = 3,
    variant: str = "shuffled",
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Encode one picture (its tiles at once). Yields a Progress of PictureCode.

    source: one of SOURCES; emoji, upload, drawing: which picture; pixels: side of an upload or a drawing
    book_bits: log2 K
    """
    plan, net = page_plan(steps, book_bits, atoms, coefficient_bits, variant, seed), page_model(model)
    original = source_picture(source, emoji, upload, drawing, pixels, net.side)
    parts = cut(original, net.side)
    height, width = original.shape[:2]
    if len(parts) > LANES:
        raise CodeError(f"The picture has {len(parts)} tiles of {net.side} pixels; the page codes at most {LANES}.")
    afford(len(parts) * plan.steps)
    frames = max(6, min(25, plan.steps, 40 * 32 * 32 // (height * width)))
    moments = np.unique(np.linspace(0, plan.steps - 1, frames).round().astype(int))
    target = to_tensor(parts, net.device)
    chosen, alignment, film = [], [], []
    noise = np.sqrt(1 - net.kept[timesteps(plan.steps, len(net.kept))[:-1]])
    for moment in walk(net, plan, len(parts), towards(target)):
        if moment.noise is not None:
            residual = (target - moment.clean).flatten(1)
            alignment.append(((moment.noise * residual).sum(1) / residual.norm(dim=1)).double().cpu().numpy())
            chosen.append(moment.symbols.cpu().numpy())
        done, partial = moment.symbols is None, None
        if moment.step in moments:
            film.append(join(to_pixels(moment.clean), height, width))
        if done or (moment.step in moments and len(chosen) > 1):
            told = np.stack(chosen, 1)
            bits = payload(plan, told)
            code = pack(Code(plan, net.name, net.mark, height, width, len(parts), bits))
            indices = told[..., : plan.atoms]
            partial = PictureCode(
                original=original,
                picture=film[-1],
                done=done,
                film=np.stack(film),
                film_steps=moments[: len(film)],
                film_psnr=np.array([psnr(original, frame) for frame in film]),
                indices=indices,
                alignment=np.stack(alignment),
                expected=expected_maximum(plan.codebook_size * (2 if plan.variant == "turbo" else 1)),
                noise=noise[: len(alignment)],
                code=np.frombuffer(code, np.uint8),
                payload_bytes=len(bits),
                psnr=psnr(original, film[-1]),
                ssim=ssim(original, film[-1]),
                entropy=entropy(indices),
                typical_entropy=typical_entropy(indices.size, plan.codebook_size),
                steps=plan.steps,
                codebook_size=plan.codebook_size,
                atoms=plan.atoms,
                tiles=len(parts),
                model=net.name,
            )
        yield Progress(moment.step + 1, plan.steps, partial)


# -- rate and distortion ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateDistortion:
    """Bytes against quality, means over the same pictures.

    variants: [P] names; steps, codebook_size, atoms: [P] int64: settings of each point; done: [P] bool
    file_bytes, payload_bytes: [P] float64; psnr in dB, ssim: [P] float64
    usual: names of the usual codecs; usual_file, usual_bare, usual_psnr, usual_ssim: [codecs, qualities] float64;
        bare is the coded picture alone, without headers and tables
    pictures: [1 + P, h, w, 3] uint8, the first picture, and what each point makes of it
    usual_pictures: [codecs, h, w, 3] uint8, of each usual codec the smallest file; usual_bytes: [codecs] int64, its size
    count: pictures; model: its name
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
    usual_file: np.ndarray
    usual_bare: np.ndarray
    usual_psnr: np.ndarray
    usual_ssim: np.ndarray
    pictures: np.ndarray
    usual_pictures: np.ndarray
    usual_bytes: np.ndarray
    count: int
    model: str


def usual_codecs(pictures: Sequence[np.ndarray], kinds: Sequence[str] = ("webp", "jpeg")) -> np.ndarray:
    """[kinds, qualities, 4] float64: mean file bytes, bytes without headers, PSNR and SSIM over the pictures."""
    table = np.zeros((len(kinds), len(QUALITIES), 4))
    for i, kind in enumerate(kinds):
        for j, quality in enumerate(QUALITIES):
            made = [recode(picture, kind, quality) for picture in pictures]
            table[i, j] = np.mean(
                [
                    (len(file), bare_bytes(file), psnr(picture, seen), ssim(picture, seen))
                    for picture, (file, seen) in zip(pictures, made, strict=True)
                ],
                axis=0,
            )
    return table


def rate_distortion(
    count: int = 3,
    step_counts: Sequence[int] = (25, 100),
    books: Sequence[int] = (8,),
    atom_counts: Sequence[int] = (1, 3),
    coefficient_bits: int = 3,
    variants: Sequence[str] = ("shuffled", "turbo"),
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Encode `count` held-back emoji with every combination of T, log2 K (`books`), M and variant, beside WebP and JPEG.

    Yields a Progress of RateDistortion after every point.
    """
    count = whole("count", count, 1, 16)
    step_counts = wholes("step_counts", step_counts, 6, 2, MOST_STEPS)
    books, atom_counts = wholes("books", books, 4, 1, 12), wholes("atom_counts", atom_counts, 4, 1, 8)
    variants = several_of("variants", variants, VARIANTS, 3)
    plans = [
        page_plan(t, k, m, coefficient_bits, variant, seed)
        for variant in variants
        for m in dict.fromkeys(atom_counts)
        for k in dict.fromkeys(books)
        for t in sorted(set(step_counts))
    ]
    total = sum(plan.steps for plan in plans)
    afford(total * count)
    net, images = page_model(model), held_back()
    images = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    if net.side != images.shape[1]:
        raise CodeError(f"The emoji have {images.shape[1]} pixels, model {model} makes {net.side}.")
    target, kinds = to_tensor(images, net.device), ("webp", "jpeg")
    usual = usual_codecs(images, kinds)
    smallest = [recode(images[0], kind, QUALITIES[0]) for kind in kinds]
    made = np.full((1 + len(plans), *images.shape[1:]), 255, np.uint8)
    made[0] = images[0]
    quality, done = np.full((2, len(plans)), np.nan), np.zeros(len(plans), bool)
    payload_bytes = np.array([-(-size_bits(*_sizes(plan)) // 8) for plan in plans], float)

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
            usual=kinds,
            usual_file=usual[..., 0],
            usual_bare=usual[..., 1],
            usual_psnr=usual[..., 2],
            usual_ssim=usual[..., 3],
            pictures=made.copy(),
            usual_pictures=np.stack([seen for _, seen in smallest]),
            usual_bytes=np.array([len(file) for file, _ in smallest]),
            count=count,
            model=net.name,
        )

    spent = 0
    for i, plan in enumerate(plans):
        for moment in walk(net, plan, count, towards(target)):
            spent += 1
            if moment.symbols is not None:
                yield Progress(spent, total, None)
        shown = to_pixels(moment.clean)
        made[1 + i], done[i] = shown[0], True
        quality[:, i] = np.mean([(psnr(a, b), ssim(a, b)) for a, b in zip(images, shown, strict=True)], axis=0)
        yield Progress(spent, total, result())


def _sizes(plan: Plan) -> tuple:
    return plan.steps, plan.codebook_size, plan.atoms, plan.coefficient_bits, plan.variant


# -- the toy ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianRate:
    """Rate and distortion on N(0, I), where the best denoiser is known.

    rate: [B, N] float64, bits for each number at each of steps [N] int64, with books of book_bits [B] int64
    predicted: [B, N] float64, mean squared error predicted from E of the greatest of K normals
    shuffled, reference: [B, N] float64, measured with the one book and with fresh ones (NaN where not measured)
    pursuit_rate, pursuit: [3, N] float64, the same with the largest book and 3 atoms: by matching pursuit with C = 1
        and C = 3, and by Turbo
    bound_rate, bound: [64] float64, the Shannon bound 2^(−2 rate)
    alignment, expected: [B] float64, mean ⟨z, r⟩/‖r‖ of the longest codes with the one book, and E of the greatest of K normals
    size: numbers of a source
    """

    steps: np.ndarray
    book_bits: np.ndarray
    rate: np.ndarray
    predicted: np.ndarray
    shuffled: np.ndarray
    reference: np.ndarray
    pursuit_rate: np.ndarray
    pursuit: np.ndarray
    bound_rate: np.ndarray
    bound: np.ndarray
    alignment: np.ndarray
    expected: np.ndarray
    size: int


PURSUITS = ((3, 1, "shuffled"), (3, 3, "shuffled"), (3, 3, "turbo"))


def gaussian_rate(
    toy_steps: Sequence[int] = (10, 30, 100, 300),
    toy_books: Sequence[int] = (1, 4, 8),
    size: int = 256,
    sources: int = 4,
    schedule: str = "cosine",
    seed: int = 0,
) -> GaussianRate:
    """Encode draws from N(0, I) with every combination of T and log2 K, both kinds of book, and 3 atoms."""
    times = sorted(set(wholes("toy_steps", toy_steps, 6, 2, MOST_STEPS)))
    books = sorted(set(wholes("toy_books", toy_books, 6, 1, 10)))
    size, sources = whole("size", size, 16, 1024), whole("sources", sources, 1, 8)
    seed = whole("seed", seed, 0, 2**31)
    if schedule not in SCHEDULES:
        raise CodeError(f"schedule must be one of {', '.join(SCHEDULES)}.")
    if sum(times) * sum(1 << b for b in books) * size > 2**30:
        raise CodeError("That is too much to draw: take fewer steps, smaller books or a smaller size.")
    kept = SCHEDULES[schedule]()

    def measured(plan: Plan) -> tuple[float, float]:
        error, alignment = code_normals(plan, size, kept, sources)
        return error.mean(), alignment.mean()

    def table(variant: str) -> np.ndarray:
        return np.array([[measured(Plan(t, 1 << b, 1, 3, variant, seed)) for t in times] for b in books])

    expected = [expected_maximum(1 << b) for b in books]
    shuffled, largest = table("shuffled"), 1 << books[-1]
    pursuits = [
        [Plan(t, largest, min(atoms, largest), bits, variant, seed) for t in times] for atoms, bits, variant in PURSUITS
    ]
    top = max((times[-1] - 1) * plans[-1].step_bits for plans in pursuits) / size
    bound_rate = np.geomspace(0.005, min(top, 8), 64)
    return GaussianRate(
        steps=np.array(times),
        book_bits=np.array(books),
        rate=np.array([[(t - 1) * b / size for t in times] for b in books]),
        predicted=np.array([[predicted_error(t, size, kept, e) for t in times] for e in expected]),
        shuffled=shuffled[..., 0],
        reference=table("reference")[..., 0],
        pursuit_rate=np.array([[(plan.steps - 1) * plan.step_bits / size for plan in plans] for plans in pursuits]),
        pursuit=np.array([[measured(plan)[0] for plan in plans] for plans in pursuits]),
        bound_rate=bound_rate,
        bound=4.0**-bound_rate,
        alignment=shuffled[:, -1, 1],
        expected=np.array(expected),
        size=size,
    )


# -- a file, opened and damaged ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenedCode:
    """A .ddcm file decoded, whole and with flipped bits.

    picture: [h, w, 3] uint8, the file's picture
    damaged: [D, h, w, 3] uint8, what it becomes with bits flipped in the choices of step places [D] int64
    psnr: [D] float64, in dB, of each damaged picture against the undamaged one
    flips: bits flipped at each place; tiles: of the picture (only the first is damaged)
    header: names and values of what the file says
    code: uint8 [bytes], the file
    steps: T
    """

    picture: np.ndarray
    damaged: np.ndarray
    places: np.ndarray
    psnr: np.ndarray
    flips: int
    tiles: int
    header: tuple[tuple[str, str], ...]
    code: np.ndarray
    steps: int


PLACES = 8


def open_code(
    file: str | None = None,
    emoji: int = 41,
    flips: int = 1,
    steps: int = 100,
    book_bits: int = 8,
    model: str = EMBEDDED,
    seed: int = 0,
) -> Iterator[Progress]:
    """Decode a .ddcm file (without one: the code of an emoji, made first), and again with bits flipped at 8 places.

    Yields a Progress of OpenedCode. The checksum would notice each flip; here it is mended, to see what would happen.
    """
    flips, seed = whole("flips", flips, 1, 8), whole("seed", seed, 0, 2**31)
    net, before = page_model(model), 0
    if file is None:
        plan = page_plan(steps, book_bits, seed=seed)
        target = to_tensor(source_picture("emoji", emoji, None, None, 32, net.side)[None], net.device)
        before, chosen = plan.steps, []
        for moment in walk(net, plan, 1, towards(target)):
            if moment.symbols is not None:
                chosen.append(moment.symbols.cpu().numpy())
            yield Progress(moment.step + 1, 3 * plan.steps, None)
        data = pack(Code(plan, net.name, net.mark, net.side, net.side, 1, payload(plan, np.stack(chosen, 1))))
    else:
        if Path(file).stat().st_size > 1_000_000:
            raise CodeError("The file is larger than 1 MB: no code that the page can decode is.")
        data = Path(file).read_bytes()
    told, whole_code = read(data, net)
    plan, tiles = told.plan, len(whole_code)
    afford(plan.steps * (told.lanes * -(-tiles // told.lanes) + PLACES))
    places = np.unique(np.linspace(0, plan.steps - 2, PLACES).round().astype(int))
    rng, flips = np.random.default_rng(seed), min(flips, plan.step_bits)
    damaged = np.stack([_flipped(plan, whole_code[0], place, flips, rng) for place in places])
    # the whole picture first, in the encoder's lanes so that it is the encoder's to the bit; the damaged ones after it
    rounds = [whole_code[i : i + told.lanes] for i in range(0, tiles, told.lanes)]
    rounds = [np.concatenate([r, np.repeat(r[-1:], told.lanes - len(r), axis=0)]) for r in rounds]
    total = before + plan.steps * (len(rounds) + 1)
    spent, shown = before, []
    for symbols in (*rounds, damaged):
        for moment in walk(net, plan, len(symbols), following(symbols, net.device)):
            spent += 1
            if moment.symbols is not None:
                yield Progress(spent, total, None)
        shown.append(to_pixels(moment.clean))
    parts = np.concatenate(shown[:-1])[:tiles]
    picture = join(parts, told.height, told.width)
    spoilt = np.stack([join(np.concatenate([part[None], parts[1:]]), told.height, told.width) for part in shown[-1]])
    header = (
        ("model", told.model),
        ("mark of its weights", told.mark.hex()),
        ("steps T", f"{plan.steps:,}"),
        ("atoms in the book, K", f"{plan.codebook_size:,}"),
        ("atoms combined, M", str(plan.atoms)),
        ("coefficient bits, C", str(plan.coefficient_bits) if plan.atoms > 1 and plan.variant != "turbo" else "unused"),
        ("variant", VARIANTS[plan.variant]),
        ("seed", str(plan.seed)),
        ("picture", f"{told.width} x {told.height}"),
        ("payload", f"{len(told.payload):,} bytes"),
        ("file", f"{len(data):,} bytes"),
        ("bits for each pixel", f"{8 * len(data) / (told.height * told.width):.4g}"),
        ("checksum", f"{struct.unpack('<I', data[-4:])[0]:08x}"),
    )
    result = OpenedCode(
        picture=picture,
        damaged=spoilt,
        places=places,
        psnr=np.array([min(psnr(picture, s), 99.0) for s in spoilt]),
        flips=flips,
        tiles=tiles,
        header=header,
        code=np.frombuffer(data, np.uint8),
        steps=plan.steps,
    )
    yield Progress(total, total, result)


def _flipped(plan: Plan, symbols: np.ndarray, place: int, flips: int, rng: np.random.Generator) -> np.ndarray:
    """Symbols [T − 1, width] with that many bits of the word of one step flipped."""
    made, word = symbols.copy(), plan.word(symbols[place].tolist())
    for _ in range(100):
        bits = rng.permutation(plan.step_bits)[:flips]
        try:
            made[place] = plan.symbols(word ^ sum(1 << int(bit) for bit in bits))
        except CodeError:  # Turbo has words that name no set
            continue
        return made
    return made
