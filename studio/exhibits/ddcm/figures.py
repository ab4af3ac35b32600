"""Figures of DDCM: codes of pictures, rate and distortion, generation, restoration, mixtures."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from engines.ddcm.experiments import EQUAL, GaussianRate, PictureCode, RateDistortion
from engines.ddcm.fitting import CANDIDATES
from engines.ddcm.generation import Generated, MixedCodes, Restored
from studio.figure import COLORS, GREY, Figure, bars, drag, figure, label, line, points, scrub, short
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
    panels = [film_figure(result, _summary(result)), Prose(_summary(result))]
    panels += _damage(result) if len(result.damaged) else []
    panels += [_indices(result), *([_alignment(result)] if result.alignment.size else [])]
    if result.done:
        panels += [_letters(result), File("picture.ddcm", result.code, "Download the code (.ddcm)")]
    return [*panels, Folded("What the file says", [_header(result)])]


def _source(picture: np.ndarray) -> str:
    """A picture as a data address: small ones without loss."""
    file, kind = io.BytesIO(), "png" if picture.size <= 3 * 64 * 64 else "webp"
    Image.fromarray(picture).save(file, kind, **({} if kind == "png" else {"quality": 88}))
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def film_figure(result: Any, alt: str, most: int = FILM_BYTES) -> Figure:
    """The decoded picture, large; beside it the original, the difference, and the quality over the bytes so far. Scrubbed.

    result: has decoded, original, film, film_steps, film_bytes and film_psnr of a PictureCode, and its `steps` where the end of
        the curve is to be dragged; most: bytes of the frames
    """
    height, width = result.decoded.shape[:2]
    known, ratio, small = result.original.size > 0, width / height, 0.44
    last = _source(result.film[-1])
    count = max(2, min(len(result.film), most // len(last)))
    frames = np.unique(np.linspace(0, len(result.film) - 1, count).round().astype(int)).tolist()
    shown = [("decoded", last)]
    if known:
        error = np.abs(result.original.astype(int) - result.decoded)
        difference = (255 - np.minimum(3 * error, 255)).astype(np.uint8)
        shown += [("original", _source(result.original)), ("difference × 3", _source(difference))]
    # the room: one high, and wide enough for two small pictures beside the large one; on a phone these stand in a column
    wide = ratio + (0.1 + 2 * small * ratio + 0.06 if known else 0)
    narrow, floor = (ratio * (1 + small) + 0.06, 0.52) if known else (ratio, 0)
    left = (ratio + 0.1) / wide
    wide_room = [
        ([0, ratio / wide], [0, 1]),
        ([left, left + small * ratio / wide], [1 - small, 1]),
        ([1 - small * ratio / wide, 1], [1 - small, 1]),
    ]
    over = floor / (1 + floor)  # of the height: the chart's
    middle = over + (1 - over) * small
    column = [ratio * 1.06 / narrow, 1]
    narrow_room = [([0, ratio / narrow], [over, 1]), (column, [1 - (1 - over) * small, 1]), (column, [over, middle])]
    phone: dict[str, Any] = {"aspect": narrow / (1 + floor)}
    # as high as the pictures are at the width that there is
    drawn = figure(height=540, showlegend=False, margin={"l": 8, "r": 8, "t": 28, "b": 8}, meta={"aspect": wide})
    for i, (name, source) in enumerate(shown):
        number = str(i + 1) if i else ""
        x, y = f"x{number}", f"y{number}"
        drawn.add({"type": "image", "source": source, "hoverinfo": "skip", "xaxis": x, "yaxis": y})
        label(drawn, 0, 1, name, xref=f"{x} domain", yref=f"{y} domain")
        hidden = {"visible": False, "constrain": "domain"}
        across, up = {"domain": wide_room[i][0], "anchor": y}, {"domain": wide_room[i][1], "anchor": x}
        drawn.update(**{
            f"xaxis{number}": hidden | across | {"constraintoward": "left", "range": [-0.5, width - 0.5]},
            f"yaxis{number}": hidden | up | {"constraintoward": "top", "scaleanchor": x, "range": [height - 0.5, -0.5]},
        })  # fmt: skip
        phone[f"xaxis{number}"], phone[f"yaxis{number}"] = ({"domain": domain} for domain in narrow_room[i])
    moments: list[list[dict[str, Any]]] = [
        [{"source": last if i == len(result.film) - 1 else _source(result.film[i])}] for i in frames
    ]
    names = [
        say("{bytes} bytes: {psnr}" if known else "{bytes} bytes", bytes=short(size, 6), psnr=decibels(quality))
        for size, quality in zip(result.film_bytes[frames], result.film_psnr[frames], strict=True)
    ]
    if known:
        _course(drawn, result, left, phone, over)
        for moment, i in zip(moments, frames, strict=True):
            moment += [{}, {}, {}, {"x": [result.film_steps[i] + 1], "y": [result.film_psnr[i]]}]
    drawn.update(meta={"phone": phone})
    drawn.alt = str(alt)
    return scrub(drawn, moments, names, name="choices so far")


def _course(drawn: Figure, result: Any, left: float, phone: dict[str, Any], floor: float) -> None:
    """The PSNR of the estimates over the bytes of the choices so far, with its last point to drag, and one that is scrubbed."""
    steps, quality = result.film_steps + 1, result.film_psnr
    on: dict[str, Any] = {"xaxis": "x4", "yaxis": "y4", "legend": False}
    a_step = result.film_bytes[-1] / max(result.film_steps[-1], 1)
    most = 200 if hasattr(result, "steps") and steps[-1] <= 150 else 1.25 * steps[-1]
    ticks = np.linspace(1, most, 5).round().astype(int)[:-1]
    line(drawn, steps, quality, "decoded so far", ONE, hover="%{y:.3g} dB", **on)
    points(drawn, steps[-1:], quality[-1:], "here", ONE, size=7, hover="%{y:.3g} dB", **on)
    if hasattr(result, "steps"):
        points(
            drawn, steps[-1:], quality[-1:], "drag: steps", COLORS[3], size=14, hover="T = %{x:.0f}: %{y:.3g} dB", **on
        )
        drag(drawn, 5, x="steps")
    arrow = "↔ " if hasattr(result, "steps") else ""
    size = raw(f"{arrow}{say('{bytes} bytes', bytes=short(float(result.film_bytes[-1]), 6))}")
    side = {"xanchor": "left", "xshift": 10, "yanchor": "middle"}
    if steps[-1] > 0.6 * most:  # no room on the right: above the curve, which rises
        side = {"xanchor": "right", "xshift": 8, "yanchor": "bottom", "yshift": 6}
    label(drawn, steps[-1], quality[-1], size, COLORS[3], xref="x4", yref="y4", **side)
    label(drawn, 0, 1, "PSNR (dB)", xref="x4 domain", yref="y4 domain", xanchor="left")
    low, high = float(np.nanmin(quality)), float(np.nanmax(quality))
    room = 0.25 * max(high - low, 1.0)
    drawn.update(
        xaxis4={"domain": [left + 0.03, 1], "anchor": "y4", "range": [0, most], "tickvals": ticks,
                "ticktext": [short(round(a_step * (t - 1))) for t in ticks], "title": {"text": "bytes of the choices so far", "standoff": 4}},
        yaxis4={"domain": [0.12, 0.43], "anchor": "x4", "range": [low - room, high + room], "nticks": 4},
    )  # fmt: skip
    phone["xaxis4"], phone["yaxis4"] = {"domain": [0.07, 1]}, {"domain": [0.36 * floor, 0.86 * floor]}


def _summary(result: PictureCode) -> str:
    rate = short(8 * result.payload_bytes / (result.decoded.size // 3))
    clauses = [say("{bytes} bytes, {rate} bits a pixel.", bytes=short(result.payload_bytes, 6), rate=rate)]
    if result.original.size:
        clauses.append(say("PSNR {psnr}, SSIM {ssim}.", psnr=decibels(result.psnr), ssim=short(result.ssim)))
    if result.frames > 1:
        clauses.append(say("The first of {frames} frames.", frames=result.frames))
    if result.tiles > 1:
        timed = "{tiles} tiles in {seconds} s." if result.done else "{tiles} tiles, about {seconds} s in all."
        clauses.append(say(timed, tiles=result.tiles, seconds=short(result.seconds, 2)))
    if result.losses.size:
        compared = {raw(name): loss for name, loss in zip(CANDIDATES, result.losses, strict=True)}
        own = compared.pop(raw(result.model))
        ((other, its),) = compared.items()
        said = "Coded with {model}, whose denoising loss on the picture is {own}; that of {other} is {its}."
        clauses.append(say(said, model=raw(result.model), own=short(own), other=other, its=short(its)))
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
        x, size = np.tile(np.arange(1, steps + 1), len(index)), 5 if len(index) == 1 else 3
        points(drawn, x, index.ravel(), say("atom {m}", m=m + 1), COLORS[m], size=size, hover="%{x}: %{y}")
    counts, edges = np.histogram(result.indices, bins=min(32, result.codebook_size), range=(0, result.codebook_size))
    bars(drawn, counts, (edges[1:] + edges[:-1]) / 2, "count", GREY, horizontal=True, hover="%{x}", xaxis="x2")
    drawn.x(domain=[0, 0.72], range=[0, result.steps])
    drawn.y(range=[-0.02 * result.codebook_size, 1.02 * result.codebook_size])
    drawn.update(xaxis2={"domain": [0.8, 1], "title": {"text": say("count")}, "anchor": "y", "nticks": 3}, bargap=0.1)
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
    line(drawn, [0, result.steps], [result.expected] * 2, name, OTHER, width=1.5, dash="dash")
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
    names = [say("{variant}, K = {size}, M = {atoms}", variant=say(NAMES[v]), size=k, atoms=m) for v, k, m in settings]
    curves = []
    for i, name in enumerate(dict.fromkeys(names)):
        mine = result.done & np.array([other == name for other in names])
        curves.append((name, OURS[i % len(OURS)], result.file_bytes[mine], result.payload_bytes[mine], ours[mine]))
    for i, codec in enumerate(result.usual):
        curves.append((CODECS[codec], CODEC_COLORS[codec], result.usual_file[i], result.usual_bare[i], usual[i]))
    for name, color, file, bare, quality in curves:
        both: dict[str, Any] = {"group": str(name), "hover": "%{x:.0f}: %{y:.3g}"}
        thin: dict[str, Any] = {"dash": "dot", "width": 1.2, "marks": 4, "legend": False}
        line(drawn, file, quality, name, color, marks=6, **both)
        line(drawn, bare, quality, say("{name}, without headers", name=name), color, **thin, **both)
    drawn.x(dtick="D2").update(legend={"traceorder": "normal"})
    order = np.argsort(np.where(result.done, result.payload_bytes, np.inf), kind="stable")[: result.done.sum()]
    captions = ["original"]
    for i in order:
        size = short(float(result.file_bytes[i]), 5)
        captions.append(
            say("{name}, T = {steps}: {bytes} bytes", name=names[i], steps=int(result.steps[i]), bytes=size)
        )
    for codec, size in zip(result.usual, result.usual_bytes, strict=True):
        captions.append(say("{name} at quality 0: {bytes} bytes", name=CODECS[codec], bytes=int(size)))
    pictures = np.concatenate([result.pictures[:1], result.pictures[1 + order], result.usual_pictures])
    numbers = (
        result.steps,
        result.codebook_size,
        result.atoms,
        result.payload_bytes,
        result.file_bytes,
        result.psnr,
        result.ssim,
    )
    rows = [(NAMES[result.variants[i]], *(values[i] for values in numbers)) for i in order]
    columns = ("variant", "T", "K", "M", "payload (bytes)", "file (bytes)", "PSNR (dB)", "SSIM")
    title = "The first of the pictures, with the size of its file"
    return [drawn, Pictures(pictures, captions, title, size=160), Folded("All numbers", [Table(columns, rows)])]


# -- a Gaussian source ------------------------------------------------------------------------------------------------


def draw_gaussian(result: GaussianRate) -> list:
    """Mean squared error over rate with the Shannon bound, and over the denoiser calls."""
    drawn = figure(x="rate (bits a number)", y="mean squared error", height=480, log="xy")
    calls = figure(x="denoiser calls T", y="mean squared error", height=360, log="xy")
    line(drawn, result.bound_rate, result.bound, "Shannon bound", GREY, dash="dash")
    for i, bits in enumerate(result.codebook_bits.tolist()):
        color, name = OURS[i % len(OURS)], raw(f"K = {1 << bits}")
        marks = {"size": 8, "group": str(name), "legend": False}
        line(drawn, result.rate[i], result.predicted[i], say("{name}, predicted", name=name), color, width=1.6)
        points(drawn, result.rate[i], result.shuffled[i], say("{name}, one codebook", name=name), color, **marks)
        fresh = say("{name}, fresh codebooks", name=name)
        points(drawn, result.rate[i], result.reference[i], fresh, color, symbol="x-thin-open", **marks)
    points(calls, result.steps, result.shuffled[-1], say("{name}, one atom", name=name), color, size=11)
    drag(calls, 0, x="step_counts", item=True)
    several = {"width": 1.2, "dash": "dot", "marks": 7}
    for i, color in enumerate((COLORS[3], COLORS[1], COLORS[6])):
        known = {"atoms": int(result.pursuit_atoms[i]), "bits": int(result.pursuit_bits[i])}
        name = say(
            "{atoms} atoms, Turbo-DDCM" if result.pursuit_variant[i] == "turbo" else "{atoms} atoms, C = {bits}",
            **known,
        )
        line(drawn, result.pursuit_rate[i], result.pursuit[i], name, color, **several)
    line(calls, result.steps, result.pursuit[-1], name, color, **several)
    drawn.update(legend={"traceorder": "normal"})
    rates = np.concatenate([result.rate.ravel(), result.pursuit_rate.ravel()])
    drawn.x(span=(0.7 * rates.min(), 1.3 * rates.max()))
    drawn.y(span=(0.5 * float(min(result.pursuit.min(), result.shuffled.min())), 2.0))
    rows = list(zip(1 << result.codebook_bits, result.alignment, result.expected, strict=True))
    table = Table(("K", "⟨z, r⟩ / ‖r‖ measured", "E[max of K normals]"), rows)
    return [drawn, Prose(_verdict(result)), calls, Folded("Alignment of the chosen noise", [table])]


def _verdict(result: GaussianRate) -> str:
    """How many times Shannon's bits are spent, and what several atoms cost at equal bits."""
    rate = np.concatenate([result.rate.ravel(), result.pursuit_rate.ravel()])
    error = np.concatenate([result.shuffled.ravel(), result.pursuit.ravel()])
    spent = rate[error < 0.95] / (-0.5 * np.log2(error[error < 0.95]))
    best = "The best code here spends {factor} times the bits of the Shannon bound."
    clauses = [say(best, factor=short(spent.min(), 2))] if len(spent) else []
    gaps, fewer = compare_at_equal_rate(result)
    if all(len(gap) for gap in gaps):
        compared = (
            "At equal bits the error of three atoms is above that of one atom of the largest codebook: by {turbo} dB with "
            "Turbo-DDCM, by {pursuit} dB with C = 3, on average; they take {fewer} times fewer calls."
        )
        pursuit, turbo = (short(gap.mean(), 2) for gap in gaps)
        clauses.append(say(compared, turbo=turbo, pursuit=pursuit, fewer=short(fewer, 2)))
    return raw(" ".join(clauses))


def compare_at_equal_rate(result: GaussianRate) -> tuple[list[np.ndarray], float]:
    """Three atoms (with C = 3, and with Turbo) beside one atom at equal rates: errors' ratios in dB; calls' mean ratio."""
    one, rate = np.log(result.rate[-1]), np.log(result.pursuit_rate[1:])
    within = (rate >= one[0]) & (rate <= one[-1])
    gap = 10 / math.log(10) * (np.log(result.pursuit[1:]) - np.interp(rate, one, np.log(result.shuffled[-1])))
    calls = np.exp(np.interp(rate, one, np.log(result.steps))) / result.steps
    return [row[there] for row, there in zip(gap, within, strict=True)], float(
        np.where(within, calls, 0).sum() / max(within.sum(), 1)
    )


# -- generation -------------------------------------------------------------------------------------------------------


def draw_generated(result: Generated) -> list:
    """A row of pictures for each setting, and how far they differ."""
    guided, done = result.label != "any", np.flatnonzero(result.done)
    settings = (result.compared if guided else result.codebook_size)[done].tolist()
    heads = [raw(f"K = {n}") if not guided else say("best of {n}", n=n) if n > 1 else say("random") for n in settings]
    shown = Pictures(
        result.pictures[done].reshape(-1, *result.pictures.shape[2:]),
        rows=heads,
        columns=[raw(str(j + 1)) for j in range(result.pictures.shape[1])],
    )
    columns = ["atoms compared" if guided else "K", "bytes a picture", "RMS distance of two pictures (grey levels)"]
    numbers = [settings, result.payload_bytes[done], result.distance[done]]
    if guided:
        columns.append("the model takes for the class (%)")
        numbers.append(100 * result.classified[done])
    said = say(
        "Pictures held back from the model have an RMS distance of {distance} grey levels.",
        distance=short(result.real_distance),
    )
    return [shown, Table(columns, list(zip(*numbers, strict=True))), Prose(said)]


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
        np.concatenate([result.original[None], result.degraded[None], result.restored[done]]), captions, size=186
    )
    rows = list(zip(done + 1, result.psnr[done], result.agreement[done], strict=True))
    table = Table(("restoration", "PSNR (dB)", "agreement with the measurement (dB)"), rows)
    said = say(
        "{better} of {count} restorations have a higher PSNR than the degraded picture. Each is also a code of {bytes} bytes.",
        better=int((result.psnr[done] > result.degraded_psnr).sum()),
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
