"""Figures of DDCM: photographs in latents."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from PIL import Image

from engines.ddcm.photographs import Photograph
from studio.exhibits.ddcm.figures import CODEC_COLORS, CODECS, NAMES, OURS, decibels, film_figure
from studio.figure import COLORS, GREY, Figure, across, figure, line, short
from studio.hub import LATENT, needs
from studio.language import raw, say
from studio.panels import File, Folded, Pictures, Prose, Table, verbatim

NAMED = CODECS | {"avif": raw("AVIF")}
COLORED = CODEC_COLORS | {"avif": COLORS[7]}
THUMB, FILM_BYTES = 256, 900_000


def draw_photograph(result: Photograph, measure: str = "psnr") -> list:
    """The last code's film, rate and distortion, the pictures, and what the file says; of the embedded model, what others need."""
    done = np.flatnonzero(result.done)
    panels: list = []
    if len(result.film):
        shown = SimpleNamespace(
            decoded=result.film[-1],
            original=result.original,
            film=result.film,
            film_steps=result.film_bytes,
            film_bytes=result.film_bytes,
            film_psnr=result.film_psnr,
        )
        panels += [film_figure(shown, _summary(result), FILM_BYTES), Prose(_summary(result))]
    panels.append(Prose(of_the_model(result)))
    if result.original.size and len(done):
        panels += [_rate(result, measure), _pictures(result, done)]
    if len(result.code):
        panels.append(File("photograph.ddcm", result.code, "Download the code (.ddcm)"))
    folded = Folded("All numbers", [_numbers(result, done), _header(result)])
    return [*panels, folded, *([] if result.model in LATENT else [needs()])]


def _summary(result: Photograph) -> str:
    pixels = result.pictures.shape[1] * result.pictures.shape[2]
    rate = short(8 * float(result.payload_bytes[-1]) / pixels)
    clauses = [say("{bytes} bytes, {rate} bits a pixel.", bytes=short(float(result.payload_bytes[-1]), 6), rate=rate)]
    if result.original.size and result.done[-1]:
        clauses.append(
            say("PSNR {psnr}, SSIM {ssim}.", psnr=decibels(float(result.psnr[-1])), ssim=short(result.ssim[-1]))
        )
    if result.prompt:
        clauses.append(say("Prompt: {prompt}", prompt=verbatim(result.prompt)))
    return raw(" ".join(clauses))


def of_the_model(result: Photograph) -> str:
    """What is so with this model alone."""
    if result.model not in LATENT:
        return say(
            "Made with what is included: {model} codes the pixels themselves, 32 × 32 of them, and reads no prompt.",
            model=raw(result.model),
        )
    return say(
        "The walk is in the latents of an autoencoder, 4 or 16 numbers for each 8 x 8 pixels. The grey line is the autoencoder "
        "alone, which a code of all its latents comes to. A prompt tells the denoiser what is there; its letters are part of "
        "the file, as are the commit of the model and the shape of the latents: all that a decoder needs."
    )


def _rate(result: Photograph, measure: str) -> Figure:
    ours, usual, through = (
        (result.psnr, result.usual_psnr, result.through_psnr)
        if measure == "psnr"
        else (result.ssim, result.usual_ssim, result.through_ssim)
    )
    drawn = figure(
        x="bytes of the file", y="PSNR (dB)" if measure == "psnr" else "SSIM", height=460, log="x",
    )  # fmt: skip
    for i, m in enumerate(dict.fromkeys(result.atoms.tolist())):
        mine = result.done & (result.atoms == m)
        name = say("{variant}, M = {atoms}", variant=say(NAMES[result.variant]), atoms=m)
        line(drawn, result.file_bytes[mine], ours[mine], name, OURS[i], marks=7, hover="%{x:.0f}: %{y:.3g}")
    for i, codec in enumerate(result.usual):
        line(drawn, result.usual_bytes[i], usual[i], NAMED[codec], COLORED[codec], marks=4, dash="dot",
             hover="%{x:.0f}: %{y:.3g}")  # fmt: skip
    if np.isfinite(through):
        across(drawn, y=float(through), text="the autoencoder alone", color=GREY)
    return drawn


def _thumb(picture: np.ndarray) -> np.ndarray:
    """At most 256 pixels a side; the page enlarges a small one as it is."""
    side = min(THUMB, *picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def _pictures(result: Photograph, done: np.ndarray) -> Pictures:
    shown, captions = [result.original], ["original"]
    if result.through.size:
        shown.append(result.through)
        captions.append(say("the autoencoder alone"))
    for i in done[np.argsort(result.file_bytes[done], kind="stable")]:
        shown.append(result.pictures[i])
        known = {
            "steps": int(result.steps[i]),
            "atoms": int(result.atoms[i]),
            "bytes": short(float(result.file_bytes[i]), 6),
        }
        captions.append(say("T = {steps}, M = {atoms}: {bytes} bytes", **known))
    for codec, picture, size in zip(result.usual, result.usual_pictures, result.usual_shown, strict=True):
        shown.append(picture)
        captions.append(say("{name}: {bytes} bytes", name=NAMED[codec], bytes=short(float(size), 6)))
    return Pictures(np.stack([_thumb(picture) for picture in shown]), captions, "By the size of the file", size=200)


def _numbers(result: Photograph, done: np.ndarray) -> Table:
    columns = ("T", "M", "payload (bytes)", "file (bytes)", "PSNR (dB)", "SSIM", "seconds")
    values = (
        result.steps,
        result.atoms,
        result.payload_bytes,
        result.file_bytes,
        result.psnr,
        result.ssim,
        result.seconds,
    )
    return Table(columns, [[column[i] for column in values] for i in done])


def _header(result: Photograph) -> Table:
    rows = [
        ("model", raw(LATENT.get(result.model, result.model))),
        ("commit", raw(result.revision)),
        ("shape of the latents", raw(" × ".join(map(str, result.shape)))),
        ("prompt", raw(result.prompt)),
        ("negative prompt", raw(result.negative)),
        ("guidance", result.guidance),
        ("codebook size K", result.codebook_size),
        ("coefficient bits C", result.coefficient_bits),
        ("variant", NAMES[result.variant]),
        ("seed", result.seed),
        ("computed on", say("a card") if result.device == "cuda" else say("the processor")),
    ]
    return Table(("field", "value"), rows)
