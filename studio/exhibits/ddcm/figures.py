"""Figures of DDCM: codes of pictures, rate and distortion, generation, restoration, mixtures."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

from engines.ddcm.experiments import EQUAL, GaussianRate, PictureCode, RateDistortion
from engines.ddcm.generation import Generated, MixedCodes, Restored
from studio.figure import COLORS, GREY, Figure, across, bars, drag, figure, label, line, points, scrub, short
from studio.language import raw, say
from studio.panels import File, Folded, Pictures, Piece, Prose, Table, Writing

ONE, OTHER, TURBO = COLORS[0], COLORS[1], COLORS[2]
CODECS = {"webp": raw("WebP"), "jpeg": raw("JPEG")}
CODEC_COLORS = {"webp": COLORS[1], "jpeg": COLORS[3]}
OURS = tuple(COLORS[i] for i in (0, 2, 4, 5, 6, 7))
NAMES = {"shuffled": "DDCM", "reference": "DDCM, fresh codebooks", "turbo": "Turbo-DDCM"}
MOST_DOTS = 3000  # of a code's picture; further tiles are left out
MOST_LETTERS = 800
FILM_BYTES = 160_000  # of a film's frames


def decibels(value: float) -> str:
    """A PSNR in words."""
    return say("equal") if value >= EQUAL else say("{value} dB", value=short(value))


# -- one picture's code -----------------------------------------------------------------------------------------------


def draw_code(result: PictureCode) -> list:
    """The decoding step by step, the code, how it agrees with the residual, and what damage does."""
    panels = [_film(result), Prose(_summary(result))]
    if len(result.damaged):
        panels += _damage(result)
    panels += [_indices(result)]
    if result.alignment.size:
        panels.append(_alignment(result))
    if result.done:
        panels.append(_letters(result))
        panels.append(File("picture.ddcm", result.code, "Download the code (.ddcm)"))
    return [*panels, Folded("What the file says", [_header(result)])]


def _source(picture: np.ndarray) -> str:
    """A picture as a data address: small ones without loss."""
    file, kind = io.BytesIO(), "png" if picture.size <= 3 * 64 * 64 else "webp"
    Image.fromarray(picture).save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def _film(result: PictureCode) -> Figure:
    height, width = result.decoded.shape[:2]
    gap, known = max(2, width // 16), result.original.size > 0
    drawn = figure(height=420, showlegend=False, margin={"l": 8, "r": 8, "t": 34, "b": 8})
    last = _source(result.film[-1])
    count = max(2, min(len(result.film), FILM_BYTES // len(last)))
    frames = np.unique(np.linspace(0, len(result.film) - 1, count).round().astype(int)).tolist()
    shown = [("decoded", last, int(known))]
    if known:
        error = np.abs(result.original.astype(int) - result.decoded)
        difference = (255 - np.minimum(3 * error, 255)).astype(np.uint8)
        shown += [("original", _source(result.original), 0), ("difference × 3", _source(difference), 2)]
    for name, source, place in shown:
        drawn.add({"type": "image", "source": source, "x0": place * (width + gap), "hoverinfo": "skip"})
        label(drawn, place * (width + gap) + width / 2 - 0.5, -0.5, name, xanchor="center")
    hidden = {"visible": False, "constrain": "domain"}
    drawn.x(**hidden, range=[-0.5, len(shown) * (width + gap) - gap - 0.5])
    drawn.y(**hidden, scaleanchor="x", range=[height - 0.5, -0.5])
    sources = [last if i == len(result.film) - 1 else _source(result.film[i]) for i in frames]
    names = [
        say("{bytes} bytes", bytes=short(result.film_bytes[i], 6))
        if math.isnan(result.film_psnr[i])
        else say("{bytes} bytes: {psnr}", bytes=short(result.film_bytes[i], 6), psnr=decibels(result.film_psnr[i]))
        for i in frames
    ]
    drawn.alt = str(_summary(result))
    return scrub(drawn, [[{"source": source}] for source in sources], names, name="choices so far")


def _summary(result: PictureCode) -> str:
    height, width = result.decoded.shape[:2]
    clauses = [
        say(
            "{bytes} bytes, {rate} bits a pixel.",
            bytes=short(result.payload_bytes, 6),
            rate=short(8 * result.payload_bytes / (height * width)),
        )
    ]
    if not math.isnan(result.psnr):
        clauses.append(say("PSNR {psnr}.", psnr=decibels(result.psnr)))
    if not math.isnan(result.ssim):
        clauses.append(say("SSIM {ssim}.", ssim=short(result.ssim)))
    if result.frames > 1:
        clauses.append(say("The first of {frames} frames.", frames=result.frames))
    if result.tiles > 1:
        timed = "{tiles} tiles in {seconds} s." if result.done else "{tiles} tiles, about {seconds} s in all."
        clauses.append(say(timed, tiles=result.tiles, seconds=short(result.seconds, 2)))
    return raw(" ".join(clauses))


def _damage(result: PictureCode) -> list:
    names = [
        say("step {step}: {psnr}", step=int(place) + 1, psnr=decibels(value))
        for place, value in zip(result.places, result.damaged_psnr, strict=True)
    ]
    shown = Pictures(
        np.concatenate([result.decoded[None], result.damaged]),
        ("undamaged", *names),
        title=say("Bits flipped in the choice of one step: {flips}", flips=result.flips),
        size=128,
    )
    drawn = figure(x="step whose choice is damaged", y="PSNR against the undamaged picture (dB)", height=320)
    line(drawn, result.places + 1, result.damaged_psnr, "damaged", COLORS[3], marks=6, legend=False)
    drawn.x(range=[0, result.steps])
    return [shown, drawn]


def _indices(result: PictureCode) -> Figure:
    drawn = figure(x="step", y="atom chosen", height=340, showlegend=False)
    steps = result.indices.shape[1]
    for m in range(min(result.atoms, 8)):
        index = result.indices[: max(1, MOST_DOTS // (steps * result.atoms)), :, m]
        points(
            drawn,
            np.tile(np.arange(1, steps + 1), len(index)),
            index.ravel(),
            say("atom {m}", m=m + 1),
            COLORS[m],
            size=5 if len(index) == 1 else 3,
            hover="%{x}: %{y}",
        )
    counts, edges = np.histogram(result.indices, bins=min(32, result.codebook_size), range=(0, result.codebook_size))
    bars(drawn, counts, (edges[1:] + edges[:-1]) / 2, "count", GREY, horizontal=True, hover="%{x}", xaxis="x2")
    drawn.x(domain=[0, 0.74], range=[0, result.steps])
    drawn.y(range=[-0.02 * result.codebook_size, 1.02 * result.codebook_size])
    drawn.update(xaxis2={"domain": [0.78, 1], "title": {"text": say("count")}, "anchor": "y", "nticks": 3}, bargap=0.1)
    drawn.alt = say(
        "Entropy of the indices {entropy} bits; of as many uniform draws {typical} bits on average.",
        entropy=short(result.entropy),
        typical=short(result.typical_entropy),
    )
    return drawn


def _alignment(result: PictureCode) -> Figure:
    drawn = figure(x="step", y="⟨z, r⟩ / ‖r‖", height=300)
    x, mean = np.arange(1, len(result.alignment) + 1), result.alignment.mean(1)
    line(drawn, x, mean, "chosen noise", ONE, width=1.5, marks=4)
    name = say("E[max of {size} normals] = {value}", size=result.codebook_size, value=short(result.expected))
    across(drawn, y=result.expected, text=name, color=OTHER, dash="dash")
    drawn.x(range=[0, result.steps])
    drawn.y(range=[min(0.0, float(mean.min())), 1.15 * max(float(mean.max()), result.expected)])
    return drawn


def _letters(result: PictureCode) -> Writing:
    payload = base64.b64encode(result.code.tobytes()[-4 - result.payload_bytes : -4]).decode()
    cut = payload[:MOST_LETTERS]
    pieces = [Piece(raw(cut[i : i + 4])) for i in range(0, len(cut), 4)]
    if len(cut) < len(payload):
        pieces.append(Piece("…"))
    return Writing([[pieces]], title=say("The code in {count} letters (Base64)", count=len(payload)))


def _header(result: PictureCode) -> Table:
    pursuit = result.atoms > 1 and result.variant != "turbo"
    rows = [
        ("model", raw(result.model)),
        ("fingerprint of its weights", raw(result.fingerprint)),
        ("steps T", result.steps),
        ("codebook size K", result.codebook_size),
        ("atoms M", result.atoms),
        ("coefficient bits C", result.coefficient_bits if pursuit else "unused"),
        ("variant", NAMES[result.variant]),
        ("seed", result.seed),
        ("picture", raw(f"{result.decoded.shape[1]} × {result.decoded.shape[0]}")),
        ("choices (bytes)", result.payload_bytes),
    ]
    if result.done:
        rows += [("file (bytes)", len(result.code)), ("checksum", raw(f"{result.checksum:08x}"))]
    return Table(("field", "value"), rows)


# -- rate and distortion ----------------------------------------------------------------------------------------------


def draw_rate(result: RateDistortion, measure: str = "psnr") -> list:
    """PSNR or SSIM over bytes beside WebP and JPEG, and what the first picture looks like."""
    ours, usual = (result.psnr, result.usual_psnr) if measure == "psnr" else (result.ssim, result.usual_ssim)
    drawn = figure(x="bytes a picture", y="PSNR (dB)" if measure == "psnr" else "SSIM", height=460, log="x")
    settings = list(zip(result.variants, result.codebook_size.tolist(), result.atoms.tolist(), strict=True))
    curves = []
    for i, setting in enumerate(dict.fromkeys(settings)):
        mine = result.done & np.array([other == setting for other in settings])
        curves.append(
            (result.file_bytes[mine], result.payload_bytes[mine], ours[mine], OURS[i % len(OURS)], _name(*setting))
        )
    for i, codec in enumerate(result.usual):
        curves.append((result.usual_file[i], result.usual_bare[i], usual[i], CODEC_COLORS[codec], CODECS[codec]))
    for file, bare, quality, color, name in curves:
        if len(file):
            line(drawn, file, quality, name, color, marks=6, group=str(name), hover="%{x:.0f}: %{y:.3g}")
            line(
                drawn,
                bare,
                quality,
                say("{name}, without headers", name=name),
                color,
                dash="dot",
                width=1.2,
                marks=4,
                group=str(name),
                legend=False,
                hover="%{x:.0f}: %{y:.3g}",
            )
    done = np.flatnonzero(result.done)
    best = done[np.argsort(result.payload_bytes[done], kind="stable")]
    captions = [
        "original",
        *(
            say(
                "{name}, T = {steps}: {bytes} bytes",
                name=_name(*settings[i]),
                steps=int(result.steps[i]),
                bytes=short(result.file_bytes[i], 5),
            )
            for i in best
        ),
        *(
            say("{name} at quality 0: {bytes} bytes", name=CODECS[codec], bytes=int(size))
            for codec, size in zip(result.usual, result.usual_bytes, strict=True)
        ),
    ]
    pictures = np.concatenate([result.pictures[:1], result.pictures[1 + best], result.usual_pictures])
    shown = Pictures(pictures, captions, title="The first of the pictures, with the size of its file", size=160)
    rows = [
        (
            NAMES[result.variants[i]],
            int(result.steps[i]),
            int(result.codebook_size[i]),
            int(result.atoms[i]),
            float(result.payload_bytes[i]),
            float(result.file_bytes[i]),
            float(result.psnr[i]),
            float(result.ssim[i]),
            *(_needed(result, codec, result.psnr[i]) for codec in range(2)),
        )
        for i in best
    ]
    columns = (
        "variant",
        "T",
        "K",
        "M",
        "payload (bytes)",
        "file (bytes)",
        "PSNR (dB)",
        "SSIM",
        "WebP for this PSNR (bytes)",
        "JPEG for this PSNR (bytes)",
    )
    return [drawn, shown, Folded("All numbers", [Table(columns, rows)])]


def _name(variant: str, size: int, atoms: int) -> str:
    return say("{variant}, K = {size}, M = {atoms}", variant=say(NAMES[variant]), size=size, atoms=atoms)


def _needed(result: RateDistortion, codec: int, quality: float) -> float | str:
    """Mean file size, interpolated, with which a usual codec reaches a PSNR."""
    reached = np.maximum.accumulate(result.usual_psnr[codec])
    sizes = result.usual_file[codec]
    if quality <= reached[0]:
        return say("under {bytes}", bytes=short(sizes[0]))
    if quality > reached[-1]:
        return say("over {bytes}", bytes=short(sizes[-1]))
    return float(np.interp(quality, reached, sizes))


# -- a Gaussian source ------------------------------------------------------------------------------------------------


def draw_gaussian(result: GaussianRate) -> list:
    """Mean squared error over rate with the Shannon bound, and over the denoiser calls."""
    drawn = figure(x="rate (bits a number)", y="mean squared error", height=480, log="xy")
    line(drawn, result.bound_rate, result.bound, "Shannon bound", GREY, dash="dash")
    for i, bits in enumerate(result.codebook_bits.tolist()):
        color, name = OURS[i % len(OURS)], raw(f"K = {1 << bits}")
        line(drawn, result.rate[i], result.predicted[i], say("{name}, predicted", name=name), color, width=1.6)
        points(
            drawn,
            result.rate[i],
            result.shuffled[i],
            say("{name}, one codebook", name=name),
            color,
            size=8,
            group=str(name),
            legend=False,
        )
        points(
            drawn,
            result.rate[i],
            result.reference[i],
            say("{name}, fresh codebooks", name=name),
            color,
            size=8,
            symbol="x-thin-open",
            group=str(name),
            legend=False,
        )
    for i, color in enumerate((COLORS[3], COLORS[1], COLORS[6])):
        line(
            drawn, result.pursuit_rate[i], result.pursuit[i], _pursuit(result, i), color, width=1.2, dash="dot", marks=7
        )
    low = 0.5 * float(min(result.pursuit.min(), result.shuffled.min()))
    rates = np.concatenate([result.rate.ravel(), result.pursuit_rate.ravel()])
    drawn.x(span=(0.7 * rates.min(), 1.3 * rates.max()))
    drawn.y(span=(low, 2.0))
    calls = figure(x="denoiser calls T", y="mean squared error", height=360, log="xy")
    largest = raw(f"K = {1 << int(result.codebook_bits[-1])}")
    points(
        calls,
        result.steps,
        result.shuffled[-1],
        say("{name}, one atom", name=largest),
        OURS[(len(result.codebook_bits) - 1) % len(OURS)],
        size=11,
    )
    line(calls, result.steps, result.pursuit[-1], _pursuit(result, 2), COLORS[6], width=1.2, dash="dot", marks=7)
    drag(calls, 0, x="step_counts", item=True)
    table = Table(
        ("K", "⟨z, r⟩ / ‖r‖ measured", "E[max of K normals]"),
        [
            (1 << b, float(a), float(e))
            for b, a, e in zip(result.codebook_bits.tolist(), result.alignment, result.expected, strict=True)
        ],
    )
    return [drawn, Prose(_verdict(result)), calls, Folded("Alignment of the chosen noise", [table])]


def _pursuit(result: GaussianRate, i: int) -> str:
    if result.pursuit_variant[i] == "turbo":
        return say("{atoms} atoms, Turbo-DDCM", atoms=int(result.pursuit_atoms[i]))
    return say("{atoms} atoms, C = {bits}", atoms=int(result.pursuit_atoms[i]), bits=int(result.pursuit_bits[i]))


def _verdict(result: GaussianRate) -> str:
    """How many times Shannon's bits are spent, and what several atoms cost at equal bits."""
    rate = np.concatenate([result.rate.ravel(), result.pursuit_rate.ravel()])
    error = np.concatenate([result.shuffled.ravel(), result.pursuit.ravel()])
    useful = error < 0.95
    said = []
    if useful.any():
        spent = rate[useful] / (-0.5 * np.log2(error[useful]))
        said.append(
            say("The best code here spends {factor} times the bits of the Shannon bound.", factor=short(spent.min(), 2))
        )
    gaps, fewer = equal_rate_gap(result)
    if len(gaps):
        said.append(
            say(
                "At equal bits three atoms end {low} to {high} dB worse than one atom of the largest codebook, with {fewer} "
                "times fewer calls.",
                low=short(gaps.min(), 2),
                high=short(gaps.max(), 2),
                fewer=short(fewer, 2),
            )
        )
    return raw(" ".join(said))


def equal_rate_gap(result: GaussianRate) -> tuple[np.ndarray, float]:
    """Errors of three atoms (C = 3, and Turbo) over that of one atom with as many bits, dB; and the ratio of calls."""
    gaps, calls = [], []
    one = np.log(result.rate[-1])
    for i in (1, 2):
        rate = np.log(result.pursuit_rate[i])
        within = (rate >= one[0]) & (rate <= one[-1])
        same = np.interp(rate, one, np.log(result.shuffled[-1]))
        gaps.append(10 / math.log(10) * (np.log(result.pursuit[i]) - same)[within])
        calls.append((np.exp(np.interp(rate, one, np.log(result.steps))) / result.steps)[within])
    return np.concatenate(gaps), float(np.concatenate(calls).mean()) if len(np.concatenate(calls)) else math.nan


# -- generation -------------------------------------------------------------------------------------------------------


def draw_generated(result: Generated) -> list:
    """A row of pictures for each setting, and how far they differ."""
    guided, done = result.label != "any", np.flatnonzero(result.done)
    heads = [
        (say("random") if result.compared[i] == 1 else say("best of {n}", n=int(result.compared[i])))
        if guided
        else raw(f"K = {int(result.codebook_size[i])}")
        for i in done
    ]
    count = result.pictures.shape[1]
    shown = Pictures(
        result.pictures[done].reshape(-1, *result.pictures.shape[2:]),
        rows=heads,
        columns=[raw(str(j + 1)) for j in range(count)],
        size=160,
    )
    columns = ["atoms compared" if guided else "K", "bytes a picture", "RMS distance of two pictures (grey levels)"]
    rows = [
        [
            int((result.compared if guided else result.codebook_size)[i]),
            int(result.payload_bytes[i]),
            float(result.distance[i]),
        ]
        for i in done
    ]
    if guided:
        columns.append("the model takes for the class (%)")
        rows = [[*row, 100 * float(result.classified[i])] for row, i in zip(rows, done, strict=True)]
    said = say("Held-back emoji have an RMS distance of {distance} grey levels.", distance=short(result.emoji_distance))
    return [shown, Table(columns, rows), Prose(said)]


# -- restoration ------------------------------------------------------------------------------------------------------


def draw_restored(result: Restored) -> list:
    """Original, degraded, and as often restored as there are codebooks."""
    done = np.flatnonzero(result.done)
    captions = (
        "original",
        say("degraded: {psnr}", psnr=decibels(result.degraded_psnr)),
        *(say("restored: {psnr}", psnr=decibels(result.psnr[i])) for i in done),
    )
    shown = Pictures(
        np.concatenate([result.original[None], result.degraded[None], result.restored[done]]), captions, size=200
    )
    rows = [(int(i) + 1, float(result.psnr[i]), float(result.agreement[i])) for i in done]
    table = Table(("restoration", "PSNR (dB)", "agreement with the measurement (dB)"), rows)
    gain = result.psnr[done] - result.degraded_psnr
    better = int((gain > 0).sum())
    said = say(
        "{better} of {count} restorations have a higher PSNR than the degraded picture. Each is also a code of {bytes} bytes.",
        better=better,
        count=len(done),
        bytes=short(result.payload_bytes, 5),
    )
    return [shown, Prose(said), Folded("All numbers", [table])]


# -- mixtures ---------------------------------------------------------------------------------------------------------


def draw_mixed(result: MixedCodes) -> list:
    """Two rows from one picture to the other, and how far each mixture is from both."""
    last = result.steps - 1
    ends = result.one[None], result.other[None]
    rows = np.concatenate([np.concatenate([ends[0], row, ends[1]]) for row in (result.spliced, result.blended)])
    shares = ["first picture", *(raw(f"{w:.0%}".replace("%", " %")) for w in result.weights), "second picture"]
    shown = Pictures(rows, rows=("spliced", "interpolated"), columns=shares, size=160)
    drawn = figure(x="fraction of the second code (%)", y="PSNR (dB)", height=340)
    for name, share, quality, color in (
        ("spliced", result.taken / last, result.splice_psnr, ONE),
        ("interpolated", result.weights, result.blend_psnr, OTHER),
    ):
        for end, dash in ((0, "solid"), (1, "dot")):
            against = ("against the first", "against the second")[end]
            text = say("{name}, {against}", name=say(name), against=say(against))
            line(drawn, 100 * share, quality[:, end], text, color, dash=dash, marks=6)
    drawn.x(range=[0, 100])
    return [shown, drawn]
