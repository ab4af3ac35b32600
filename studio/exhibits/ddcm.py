"""DDCM: a picture as the noise that a diffusion model is to take."""

from __future__ import annotations

import base64
import io
import math
from functools import cache

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from engines.ddcm import CodeError, Plan, decode, encode, encode_batch, psnr, size_bits, unpack
from engines.ddcm.gaussian import SCHEDULES, code_normals, expected_maximum, linear_kept, predicted_error
from engines.ddcm.guided import Guided, guided
from engines.ddcm.pictures import MOST_SIDE, SOURCES, held_back
from engines.ddcm.plan import VARIANTS
from engines.ddcm.play import (
    TASKS,
    MixedCodes,
    RandomCodes,
    Restored,
    mix_codes,
    random_codes,
    restore,
)
from engines.ddcm.views import (
    PURSUITS,
    GaussianRate,
    OpenedCode,
    PictureCode,
    RateDistortion,
    gaussian_rate,
    open_code,
    picture_code,
    rate_distortion,
)
from studio.exhibit import (
    Check,
    Choice,
    Drawing,
    Exhibit,
    File,
    Numbers,
    Pictures,
    Prose,
    Range,
    Story,
    Table,
    Text,
    Upload,
    View,
)
from studio.figure import COLORS, GREY, across, figure, label, scrubbed

EMOJI = Range(
    "Emoji",
    0,
    63,
    step=1,
    help="One of 64 that the model has not seen: 41 is a clown, 6 are cherries.",
    when={"source": ["emoji"]},
)
BOOK_BITS = Range("Size of the book, log₂ K", 1, 12, step=1)
ATOMS = Range("Atoms combined, M", 1, 8, step=1)
COEFFICIENTS = Range("Bits of a coefficient, C", 1, 6, step=1, help="Of matching pursuit. At 1 the only value is 1.")
VARIANT = Choice("Books", VARIANTS)
STEPS = Range("Steps T", 2, 200, step=1, log=True)
COUNT = Range("Pictures", 2, 8, step=1)
SEED = Range("Seed", 0, 9999, step=1)
MODEL = Text("Model", 150, help="ddpm-emoji-32 ships with the page; google/ddpm-cifar10-32 comes from the Hub.")
NAMES = {"shuffled": "DDCM", "reference": "fresh books", "turbo": "Turbo"}
MOST_DOTS = 3000  # of a code's picture; further tiles are left out
OURS = tuple(COLORS[i] for i in (0, 4, 2, 5, 6, 7))


def _source(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _scale(picture: np.ndarray) -> int:
    return max(1, 150 // picture.shape[1])


def _decibels(value: float) -> str:
    return "equal" if value >= 99 else f"{value:.1f} dB"


def draw_code(result: PictureCode) -> list:
    """Pictures, the decoding scrubbed, the code as a picture with its histogram, and the alignment."""
    error = np.abs(result.original.astype(int) - result.picture)
    shown = Pictures(
        np.stack([result.original, result.picture, (255 - np.minimum(3 * error, 255)).astype(np.uint8)]),
        (
            "original",
            f"from {result.payload_bytes:,} bytes: {_decibels(result.psnr)}",
            "difference × 3 (white: none)",
        ),
        scale=_scale(result.original),
    )
    table = Table(
        ("", "bytes", "bits a pixel"),
        [
            (name, f"{size:,}", f"{8 * size / (result.original.size / 3):.3g}")
            for name, size in (
                ("choices alone", result.payload_bytes),
                (".ddcm file, with header and checksum", len(result.code)),
                ("picture as it is", result.original.size),
            )
        ],
    )
    panels = [shown, _film(result), _code_picture(result), _alignment(result), table]
    if result.done:
        panels.append(File("picture.ddcm", result.code, "Download the code (.ddcm)"))
    said = (
        f"PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.3f}. The indices' histogram has an entropy of {result.entropy:.2f} "
        f"bits, where as many uniform draws have {result.typical_entropy:.2f} on average"
    )
    if result.entropy > 0.95 * result.typical_entropy:
        said += ": there is nothing left for an entropy coder to gain"
    panels.append(Prose(f"{said}."))
    return panels


def _film(result: PictureCode) -> go.Figure:
    drawn = figure(height=360, showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 110})
    hidden = {"visible": False, "constrain": "domain"}
    drawn.update_xaxes(**hidden)
    drawn.update_yaxes(**hidden, scaleanchor="x")
    bits = 8 * result.payload_bytes / max(1, result.indices.shape[1])

    def frame(i: int) -> list[go.Image]:
        return [go.Image(source=_source(result.film[i]), hoverinfo="skip")]

    last = len(result.film) - 1
    drawn.add_traces(frame(last))
    names = [
        f"{math.ceil(n * bits / 8):,} bytes, {_decibels(q)}"
        for n, q in zip(result.film_steps.tolist(), result.film_psnr, strict=True)
    ]
    return scrubbed(drawn, [frame(i) for i in range(last + 1)], names, name="after", start=last)


def _code_picture(result: PictureCode) -> go.Figure:
    drawn = figure(height=340, showlegend=False, margin={"l": 60, "r": 20, "t": 34, "b": 52})
    steps = result.indices.shape[1]
    for m in range(result.atoms):
        index = result.indices[: max(1, MOST_DOTS // (steps * result.atoms)), :, m]
        drawn.add_trace(
            go.Scatter(
                x=np.tile(np.arange(1, steps + 1, dtype=np.int16), len(index)),
                y=index.ravel().astype(np.int16),
                mode="markers",
                marker={"size": 5 if len(index) == 1 else 3, "color": COLORS[m % len(COLORS)], "opacity": 0.8},
                hovertemplate="step %{x}: atom %{y}<extra></extra>",
            )
        )
    counts, edges = np.histogram(result.indices, bins=min(32, result.codebook_size), range=(0, result.codebook_size))
    drawn.add_trace(
        go.Bar(
            x=counts.astype(np.int32),
            y=((edges[1:] + edges[:-1]) / 2).astype(np.float32),
            orientation="h",
            marker={"color": GREY},
            xaxis="x2",
            hovertemplate="%{x} times<extra></extra>",
        )
    )
    drawn.update_layout(
        xaxis={"domain": (0, 0.74), "title": {"text": "step"}, "range": (0, result.steps)},
        xaxis2={"domain": (0.78, 1), "title": {"text": "times"}, "anchor": "y", "nticks": 3},
        yaxis={"title": {"text": "atom taken"}, "range": (-0.02 * result.codebook_size, 1.02 * result.codebook_size)},
        bargap=0.1,
    )
    drawn.add_annotation(
        text="the code" if result.atoms == 1 else "the code (a colour for each atom of a step)",
        **{"x": 0, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"},
        showarrow=False,
    )
    return drawn


def _alignment(result: PictureCode) -> go.Figure:
    x = np.arange(1, len(result.alignment) + 1)
    high, low = float(result.alignment.max()), min(0.0, float(result.alignment.min()))
    drawn = figure(x="step", y="⟨z, r⟩ / ‖r‖", height=300, showlegend=False)
    drawn.add_trace(
        go.Scatter(
            x=x,
            y=result.alignment.mean(1),
            mode="lines+markers",
            marker={"size": 4},
            line={"color": COLORS[0], "width": 1.5},
            hovertemplate="step %{x}: %{y:.2f}<extra></extra>",
        )
    )
    size = result.codebook_size
    across(drawn, y=result.expected, line={"dash": "dash", "width": 1.2, "color": COLORS[1]})
    text = f"E[max of {size:,} normals] = {result.expected:.2f}" + (" (one atom)" if result.atoms > 1 else "")
    label(drawn, 1, 0.03, f"dashed: {text}", COLORS[1], xref="paper", yref="paper", xanchor="right")
    drawn.update_xaxes(range=(0, result.steps))
    drawn.update_yaxes(range=(low, 1.12 * max(high, result.expected)))
    return drawn


def draw_rate(result: RateDistortion) -> list:
    """PSNR and SSIM over bytes beside WebP and JPEG, and what the first picture looks like."""
    figures = [
        _rate(result, result.psnr, result.usual_psnr, "PSNR in dB", 440),
        _rate(result, result.ssim, result.usual_ssim, "SSIM", 360),
    ]
    done = np.flatnonzero(result.done)
    best = done[np.argsort(result.payload_bytes[done], kind="stable")]
    shown = Pictures(
        np.concatenate([result.pictures[:1], result.pictures[1 + best], result.usual_pictures]),
        (
            "original",
            *(
                f"{NAMES[result.variants[i]]}, T = {result.steps[i]}, M = {result.atoms[i]}: {result.file_bytes[i]:,.0f} bytes"
                for i in best
            ),
            *(
                f"{_title(name)}: {size:,} bytes, its least"
                for name, size in zip(result.usual, result.usual_bytes, strict=True)
            ),
        ),
        title="The first of the pictures, file sizes as they are",
        scale=_scale(result.pictures[0]) - 1,
    )
    table = Table(
        (
            "books",
            "T",
            "K",
            "M",
            "payload, bytes",
            "file, bytes",
            "PSNR, dB",
            "SSIM",
            "WebP needs, bytes",
            "JPEG needs, bytes",
        ),
        [
            (
                result.variants[i],
                int(result.steps[i]),
                int(result.codebook_size[i]),
                int(result.atoms[i]),
                f"{result.payload_bytes[i]:.0f}",
                f"{result.file_bytes[i]:.0f}",
                f"{result.psnr[i]:.2f}",
                f"{result.ssim[i]:.3f}",
                *(_needed(result, codec, result.psnr[i]) for codec in range(2)),
            )
            for i in best
        ],
    )
    return [*figures, shown, table]


def _title(codec: str) -> str:
    return {"webp": "WebP", "jpeg": "JPEG"}[codec]


def _needed(result: RateDistortion, codec: int, quality: float) -> str:
    """Mean file size, interpolated, with which a usual codec reaches a PSNR."""
    reached = np.maximum.accumulate(result.usual_psnr[codec])
    if quality <= reached[0]:
        return f"under {result.usual_file[codec][0]:.0f}"
    if quality > reached[-1]:
        return f"over {result.usual_file[codec][-1]:.0f}"
    return f"{np.interp(quality, reached, result.usual_file[codec]):.0f}"


def _rate(result: RateDistortion, ours: np.ndarray, usual: np.ndarray, name: str, height: int) -> go.Figure:
    drawn = figure(x="bytes a picture", y=name, height=height, margin={"l": 60, "r": 20, "t": 60, "b": 52})
    settings = list(zip(result.variants, result.codebook_size.tolist(), result.atoms.tolist(), strict=True))
    lines = []
    for i, family in enumerate(dict.fromkeys(settings)):
        mine = result.done & np.array([setting == family for setting in settings])
        variant, size, atoms = family
        text = f"{NAMES[variant]}, K = {size}, M = {atoms}"
        lines.append((result.file_bytes[mine], result.payload_bytes[mine], ours[mine], OURS[i % len(OURS)], text))
    for i, codec in enumerate(result.usual):
        lines.append((result.usual_file[i], result.usual_bare[i], usual[i], (COLORS[1], COLORS[3])[i], _title(codec)))
    for whole, bare, quality, color, text in lines:
        if not len(whole):
            continue
        for x, dash, width in ((whole, "solid", 2), (bare, "dot", 1.2)):
            drawn.add_trace(
                go.Scatter(
                    x=x,
                    y=quality,
                    mode="lines+markers",
                    line={"color": color, "width": width, "dash": dash},
                    marker={"size": 6 if dash == "solid" else 4},
                    name=text,
                    showlegend=dash == "solid" and text not in ("WebP", "JPEG"),
                    hovertemplate=f"{text}: %{{x:.0f}} bytes, %{{y:.3g}}<extra></extra>",
                )
            )
        if text in ("WebP", "JPEG"):
            at = len(whole) // 2
            label(drawn, math.log10(whole[at]), quality[at], text, color, yanchor="top")
    drawn.update_xaxes(type="log", tickvals=[20, 50, 100, 200, 500, 1000, 2000], nticks=6)
    return drawn


def draw_gaussian(result: GaussianRate) -> list:
    """Mean squared error over rate, log-log, with the Shannon bound."""
    drawn = figure(x="bits for each number", y="mean squared error", height=480)
    floor = 0.5 * float(min(result.pursuit.min(), result.shuffled.min()))
    drawn.add_trace(
        go.Scatter(
            x=result.bound_rate,
            y=result.bound,
            mode="lines",
            line={"color": GREY, "width": 2, "dash": "dash"},
            showlegend=False,
        )
    )
    at = min(int(np.searchsorted(-result.bound, -max(2 * floor, 0.02))), len(result.bound) - 1)
    text = {"text": "Shannon bound", "color": GREY, "xanchor": "right", "xshift": -6}
    label(drawn, math.log10(result.bound_rate[at]), math.log10(result.bound[at]), **text)
    for i, bits in enumerate(result.book_bits.tolist()):
        color = COLORS[(0, 2, 4, 5, 6, 7)[i]]
        for values, mode, symbol, name in (
            (result.predicted[i], "lines", "circle", "predicted"),
            (result.shuffled[i], "markers", "circle", "one book, shuffled"),
            (result.reference[i], "markers", "x-thin-open", "fresh books"),
        ):
            drawn.add_trace(
                go.Scatter(
                    x=result.rate[i],
                    y=values,
                    mode=mode,
                    line={"color": color, "width": 1.6},
                    marker={"color": color, "size": 8, "symbol": symbol, "line": {"width": 1.5, "color": color}},
                    customdata=result.steps,
                    showlegend=False,
                    hovertemplate=f"K = {1 << bits}, T = %{{customdata}}, {name}: %{{y:.3g}}<extra></extra>",
                )
            )
        label(drawn, math.log10(result.rate[i, 0]), math.log10(result.predicted[i, 0]), f"K = {1 << bits}", color,
              xanchor="right", yanchor="middle", xshift=-6)  # fmt: skip
    names = [f"{m} atoms, {'Turbo' if variant == 'turbo' else f'C = {c}'}" for m, c, variant in PURSUITS]
    for i, (color, name) in enumerate(zip((GREY, COLORS[1], COLORS[3]), names, strict=True)):
        drawn.add_trace(
            go.Scatter(
                x=result.pursuit_rate[i],
                y=result.pursuit[i],
                mode="lines+markers",
                line={"color": color, "width": 1.2, "dash": "dot"},
                marker={"size": 6, "symbol": "diamond"},
                name=name,
                customdata=result.steps,
                hovertemplate=f"{name}, T = %{{customdata}}: %{{y:.3g}}<extra></extra>",
            )
        )
    lowest = math.log10(min(result.rate.min(), result.pursuit_rate.min())) - 0.45
    drawn.update_xaxes(type="log", range=(lowest, math.log10(result.pursuit_rate.max()) + 0.1), dtick=1)
    drawn.update_yaxes(type="log", range=(math.log10(floor), 0.3), dtick=1)
    table = Table(
        ("K", "⟨z, r⟩/‖r‖ measured", "E[max of K normals]"),
        [
            (1 << b, f"{a:.3f}", f"{e:.4f}")
            for b, a, e in zip(result.book_bits.tolist(), result.alignment, result.expected, strict=True)
        ],
    )
    return [drawn, table]


def draw_random(result: RandomCodes) -> list:
    """A row of pictures for each size of book."""
    rows = [
        Pictures(
            result.pictures[i],
            title=f"K = {size:,}: {bytes_:,} bytes a picture",
            scale=_scale(result.pictures[i, 0]) - 1,
        )
        for i, (size, bytes_) in enumerate(
            zip(result.codebook_size.tolist(), result.payload_bytes.tolist(), strict=True)
        )
        if result.done[i]
    ]
    table = Table(
        ("K", "mean distance of two pictures, grey levels"),
        [
            *((size, f"{s:.1f}") for size, s in zip(result.codebook_size.tolist(), result.spread, strict=True)),
            ("held-back emoji", f"{result.real_spread:.1f}"),
        ],
    )
    return [*rows, table]


def draw_guided(result: Guided) -> list:
    """A row of pictures for each strength, and how many are taken for the kind."""
    rows = [
        Pictures(
            result.pictures[i],
            title="unguided: any atom" if many == 1 else f"the best of {many} atoms at each step",
            scale=_scale(result.pictures[i, 0]) - 1,
        )
        for i, many in enumerate(result.compared.tolist())
        if result.done[i]
    ]
    table = Table(
        ("atoms compared", f"the model itself takes for: {result.kind}"),
        [
            (many, f"{share:.0%}")
            for many, share, done in zip(result.compared.tolist(), result.recognised, result.done, strict=True)
            if done
        ],
    )
    return [*rows, table, Prose(f"Each picture is a code of {result.payload_bytes:,} bytes, decoded without its kind.")]


def draw_restored(result: Restored) -> list:
    """Original, spoilt, and as often restored as there are books."""
    done = np.flatnonzero(result.done)
    shown = Pictures(
        np.concatenate([result.original[None], result.spoilt[None], result.restored[done]]),
        ("original", "what is left of it", *(f"restored: {_decibels(result.psnr[i])}" for i in done)),
        scale=_scale(result.original),
    )
    table = Table(
        ("", "PSNR against the original", "agreement with what is left"),
        [
            ("what is left", f"{result.spoilt_psnr:.2f} dB", ""),
            *((f"restored {i + 1}", f"{result.psnr[i]:.2f} dB", f"{result.agreement[i]:.2f} dB") for i in done),
        ],
    )
    return [shown, table, Prose(f"Each restored picture is also a code, of {result.payload_bytes:,} bytes.")]


def draw_mixed(result: MixedCodes) -> list:
    """Two rows from one picture to the other, and how far each mixture is from both."""
    ends = result.one[None], result.other[None]
    scale = _scale(result.one) - 1
    last = result.steps - 1
    spliced = Pictures(
        np.concatenate([ends[0], result.spliced, ends[1]]),
        ("the one", *(f"{n} of {last} steps" for n in result.taken), "the other"),
        title="Spliced: the other's code up to a step, then the one's",
        scale=scale,
    )
    blended = Pictures(
        np.concatenate([ends[0], result.blended, ends[1]]),
        ("the one", *(f"{w:.0%}" for w in result.weights), "the other"),
        title="Interpolated: the noises of both mixed at every step",
        scale=scale,
    )
    drawn = figure(x="share of the other", y="PSNR in dB", height=340, showlegend=False)
    for name, share, quality, color in (
        ("spliced", result.taken / last, result.splice_psnr, COLORS[0]),
        ("interpolated", result.weights, result.blend_psnr, COLORS[1]),
    ):
        for end, dash in ((0, "solid"), (1, "dot")):
            drawn.add_trace(
                go.Scatter(
                    x=share,
                    y=quality[:, end],
                    mode="lines+markers",
                    line={"color": color, "width": 2, "dash": dash},
                    hovertemplate=f"{name}, against {('the one', 'the other')[end]}: %{{y:.1f}} dB<extra></extra>",
                )
            )
        label(drawn, share[-1], quality[-1, 1], name, color, xanchor="right")
    drawn.update_xaxes(range=(0, 1), tickformat=".0%")
    place = {"xref": "paper", "yref": "paper", "yanchor": "top"}
    label(drawn, 0.01, 1, "solid: against the one<br>dotted: against the other", align="left", **place)
    return [spliced, blended, drawn]


def draw_opened(result: OpenedCode) -> list:
    """The file's picture, what damage makes of it, and what its header says."""
    names = [f"step {p + 1}: {_decibels(q)}" for p, q in zip(result.places, result.psnr, strict=True)]
    flips = "one bit" if result.flips == 1 else f"{result.flips} bits"
    shown = Pictures(
        np.concatenate([result.picture[None], result.damaged]),
        ("undamaged", *names),
        title=f"As it is, and with {flips} flipped in the choice of one step",
        scale=max(1, _scale(result.picture) - 1),
    )
    drawn = figure(x="step whose choice is damaged", y="PSNR in dB", height=320, showlegend=False)
    drawn.add_trace(
        go.Scatter(
            x=result.places + 1,
            y=result.psnr,
            mode="lines+markers",
            line={"color": COLORS[3], "width": 2},
            hovertemplate="step %{x}: %{y:.1f} dB<extra></extra>",
        )
    )
    drawn.update_xaxes(range=(0, result.steps))
    table = Table(("what the file says", ""), list(result.header))
    return [shown, drawn, table, File("picture.ddcm", result.code, "Download this code (.ddcm)")]


# -- checks -----------------------------------------------------------------------------------------------------------


@cache
def _toy(variant: str = "shuffled", steps: int = 1000, atoms: int = 1, bits: int = 3) -> tuple[float, float]:
    error, alignment = code_normals(Plan(steps, 64, atoms, bits, variant), 1024, linear_kept(), 4)
    return float(error.mean()), float(alignment.mean())


def _round_trip() -> int:
    (coded,) = encode_batch([held_back()[6]], plan=Plan(5, 16))
    return int((decode(coded.code) != coded.picture).sum())


def _unnoticed() -> int:
    code = encode(held_back()[6], steps=3, codebook_size=16)
    missed = 0
    for i in range(8 * len(code)):
        flipped = bytearray(code)
        flipped[i // 8] ^= 1 << i % 8
        try:
            unpack(bytes(flipped))
            missed += 1
        except CodeError:
            pass
    return missed


CHECKS = (
    Check(
        "Bits of a 512 x 512 picture, T = 1,000, K = 256",
        "(T − 1) M log2 K; arXiv 2502.01189, section 3.3",
        7992,
        0,
        lambda: size_bits(1000, 256),
    ),
    Check("The same in bits a pixel", "999 bytes", 0.030487, 5e-7, lambda: size_bits(1000, 256) / 512**2),
    Check("Bits of a 28 x 28 picture, T = 100, K = 256", "99 bytes", 792, 0, lambda: size_bits(100, 256)),
    Check("E of the greatest of 2 normals", "1/√π", 1 / math.sqrt(math.pi), 1e-10, lambda: expected_maximum(2)),
    Check("E of the greatest of 64 normals", "tables of order statistics", 2.3437, 5e-5, lambda: expected_maximum(64)),
    Check("⟨z, r⟩/‖r‖ over 1,000 steps, K = 64", "E[max of 64 normals]", 2.3437, 0.04, lambda: _toy()[1]),
    Check(
        "N(0, I) in 1,024 dimensions, K = 64, T = 1,000: mean squared error",
        "an earlier trial",
        0.080,
        0.006,
        lambda: _toy()[0],
    ),
    Check(
        "The same, against the recursion of two moments",
        "closed recursion, exact in many dimensions",
        predicted_error(1000, 1024, linear_kept(), expected_maximum(64)),
        0.006,
        lambda: _toy()[0],
    ),
    Check(
        "One shuffled book to fresh books: ratio of the errors, T = 200",
        "the same law, atom by atom",
        1.0,
        0.06,
        lambda: _toy("shuffled", 200)[0] / _toy("reference", 200)[0],
    ),
    Check(
        "Three atoms with C = 1 to one atom: ratio of the errors, T = 200",
        "the only coefficient is 1",
        1.0,
        0.03,
        lambda: _toy("shuffled", 200, 3, 1)[0] / _toy("shuffled", 200)[0],
    ),
    Check("Decoder's picture against the encoder's: pixels that differ", "the same steps", 0, 0, _round_trip),
    Check("Flipped bits of a file that go unnoticed", "CRC-32", 0, 0, _unnoticed),
    Check(
        "PSNR of a picture off by 5 everywhere, dB",
        "20 log10(255/5)",
        20 * math.log10(51),
        1e-12,
        lambda: psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 5, np.uint8)),
    ),
)

EXHIBIT = Exhibit(
    slug="ddcm",
    title="DDCM",
    summary="A picture in a hundred bytes: which noise a diffusion model is to take at each of its steps.",
    sources=(
        ("kexue.fm: generative diffusion models 29, discrete coding with DDPM", "https://kexue.fm/archives/10711"),
        ("Ohayon, Manor, Michaeli, Elad: Compressed image generation with DDCM", "https://arxiv.org/abs/2502.01189"),
        ("Turbo-DDCM (Vaisman et al. 2025)", ""),
        ("gDDCM (Kong 2025)", "https://arxiv.org/abs/2511.13387"),
    ),
    views=(
        View(
            slug="picture",
            title="A picture's code",
            caption=(
                "DDPM adds fresh noise at each step. Let it choose among $K$ noises that everyone can draw, and the choices "
                "alone determine the picture. The encoder takes the noise $z$ that points best along $r = x - \\hat x_0$, "
                "what the model's estimate still lacks. Scrub the decoding: colours come first, outlines later. "
                "Below: each choice, and how far along $r$ it points, which the greatest of $K$ normals foretells."
            ),
            compute=picture_code,
            controls={
                "source": Choice("Picture", SOURCES),
                "emoji": EMOJI,
                "upload": Upload(
                    "Your picture",
                    (".png", ".jpg", ".jpeg", ".webp"),
                    20,
                    help="Is cut to a square.",
                    when={"source": ["upload"]},
                ),
                "drawing": Drawing("Your drawing", when={"source": ["drawing"]}),
                "pixels": Range(
                    "Side in pixels",
                    32,
                    MOST_SIDE,
                    step=32,
                    help="Beyond 32, tile by tile.",
                    when={"source": ["upload", "drawing"]},
                ),
                "steps": STEPS,
                "book_bits": BOOK_BITS,
                "atoms": ATOMS,
                "coefficient_bits": COEFFICIENTS,
                "variant": VARIANT,
                "seed": SEED,
                "model": MODEL,
            },
            draw=draw_code,
            live=False,
            seconds=3,
            brief={"steps": 6},
            gpu=True,
        ),
        View(
            slug="rate",
            title="Bytes against quality",
            caption=(
                "The same held-back emoji through DDCM, WebP and JPEG: solid lines are files as they are, dotted ones the "
                "coded picture without headers and tables, which weigh much at this size (ours: 48 bytes). A codec that "
                "knows emoji needs few bytes to draw one; but the model itself has megabytes, and more quality takes more "
                "steps, each a call of it."
            ),
            compute=rate_distortion,
            controls={
                "count": COUNT,
                "step_counts": Numbers("Steps T", 2, 200, most=6),
                "books": Numbers("log₂ K", 1, 12, most=4),
                "atom_counts": Numbers("Atoms M", 1, 8, most=4),
                "coefficient_bits": COEFFICIENTS,
                "variants": Choice("Books", VARIANTS, several=True),
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_rate,
            live=False,
            seconds=20,
            brief={"count": 2, "step_counts": (3, 5), "atom_counts": (1,), "variants": ("turbo",)},
            gpu=True,
        ),
        View(
            slug="gaussian",
            title="Beside Shannon's bound",
            caption=(
                "Numbers from $N(0, I)$ instead of pixels: their best denoiser is known, so nothing is owed to training. Lines "
                "are predicted from the expected maximum alone; dots are measured with one book shuffled at each step, "
                "crosses with a fresh book each: the same. No code can go below the dashed line; the best here, 256 atoms and "
                "100 steps, spend 1.6 times the bits it asks for. An error above 1 is worse than sending nothing: a book of two "
                "adds more noise than it tells. Three atoms a step come nearly as far with a third of the model's calls; "
                "with $C = 1$ they cost bits for nothing."
            ),
            compute=gaussian_rate,
            controls={
                "toy_steps": Numbers("Steps T", 2, 1000, most=6),
                "toy_books": Numbers("log₂ K", 1, 10, most=6),
                "size": Range("Numbers in a source", 64, 1024, step=64),
                "sources": Range("Sources", 1, 8, step=1),
                "schedule": Choice("Schedule", {name: name for name in SCHEDULES}),
                "seed": SEED,
            },
            draw=draw_gaussian,
            live=False,
            seconds=3,
            brief={"toy_steps": (5, 20), "toy_books": (2, 4)},
        ),
        View(
            slug="generate",
            title="Random codes",
            caption=(
                "Decode bits that nobody encoded and you have the model's own samples. All start from the same noise, so "
                "what differs is chosen. The surprise of the paper is that a handful of noises to choose from at each "
                "step will do; its table is of large models and thousands of pictures, judge these few by eye. With $K = 2$ a picture is one coin toss for each step."
            ),
            compute=random_codes,
            controls={
                "generated_books": Numbers("log₂ K", 1, 12, most=4),
                "count": COUNT,
                "generated_steps": STEPS,
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_random,
            live=False,
            seconds=9,
            brief={"generated_steps": 4, "count": 2, "generated_books": (1, 4)},
            gpu=True,
        ),
        View(
            slug="guide",
            title="Guided codes",
            caption=(
                "A model that was told kinds of emoji has two estimates of the clean picture, with the kind and without. "
                "Their difference points to the kind, and the noise that points there best is taken; the step itself "
                "goes by the estimate without. Compare one atom and nothing is guided; compare many and the pictures take to "
                "the kind, and grow alike. The table asks the model itself, no great judge: it mistakes the kind of most "
                "emoji that it has not seen."
            ),
            compute=guided,
            controls={
                "kind": Choice("Kind", ("person", "face", "animal", "food", "sign", "thing")),
                "compared": Numbers("Atoms compared", 1, 256, most=4),
                "count": COUNT,
                "guided_steps": STEPS,
                "seed": SEED,
            },
            draw=draw_guided,
            live=False,
            seconds=20,
            brief={"guided_steps": 3, "count": 2, "compared": (2,)},
            gpu=True,
        ),
        View(
            slug="restore",
            title="Restoration",
            caption=(
                "The same machine with another question: choose the noise that agrees best not with the picture, which is "
                "unknown, but with what is left of it. Where nothing is left the model invents. Other books give other "
                "restorations, and each is a code already. Draw what is to be hidden, black on white. "
                "PSNR punishes invention: a plain grey patch can score higher than a good guess."
            ),
            compute=restore,
            controls={
                "task": Choice("Task", TASKS),
                "emoji": EMOJI,
                "mask": Drawing("What to hide", help="Empty: a square in the middle.", when={"task": ["inpaint"]}),
                "restored_steps": STEPS,
                "book_bits": BOOK_BITS,
                "count": COUNT,
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_restored,
            live=False,
            seconds=5,
            brief={"restored_steps": 5, "count": 2},
            gpu=True,
        ),
        View(
            slug="mix",
            title="Codes mixed",
            caption=(
                "Two codes are lists of the same length, so they can be cut and joined. The early choices settle the large "
                "forms and the colours, the late ones only touch up: after a few of the other's steps the picture is "
                "the other's. Mixing the noises at every step goes from one to the other more evenly, through pictures "
                "that are neither."
            ),
            compute=mix_codes,
            controls={
                "emoji": EMOJI,
                "other_emoji": Range("The other emoji", 0, 63, step=1),
                "mixed_steps": STEPS,
                "book_bits": BOOK_BITS,
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_mixed,
            live=False,
            seconds=9,
            brief={"mixed_steps": 9},
            gpu=True,
        ),
        View(
            slug="open",
            title="A file, opened and damaged",
            caption=(
                "Load a .ddcm file back (without one, an emoji is encoded first). The file says which weights it needs and "
                "carries a checksum, so damage is refused with a sentence. Mend the checksum, and a flipped bit makes "
                "one step take another noise: early on features of the picture change, late it only shivers."
            ),
            compute=open_code,
            controls={
                "file": Upload("A .ddcm file", (".ddcm",), 1),
                "emoji": EMOJI,
                "flips": Range("Bits flipped", 1, 8, step=1),
                "steps": STEPS,
                "book_bits": BOOK_BITS,
                "model": MODEL,
                "seed": SEED,
            },
            draw=draw_opened,
            live=False,
            seconds=15,
            brief={"steps": 5},
            gpu=True,
        ),
    ),
    stories=(
        Story(
            "Ninety-nine bytes",
            "A hundred steps with 256 noises each: the choices are 99 bytes, and no choice is likelier than another. Scrub "
            "the decoding to see how little is needed for the gist, and how much for the rest.",
            "picture",
            {"steps": 100, "book_bits": 8},
        ),
        Story(
            "A coin at each step",
            "Two noises to choose from: thirteen bytes. The better of two normals reaches only 0.56 along what is missing, the "
            "best of 256 reaches 2.83, so the steps are spent before the picture is found. Set the book back to 8 bits.",
            "picture",
            {"steps": 100, "book_bits": 1},
        ),
        Story(
            "Atoms for nothing",
            "The published code's default gives each further atom a coefficient of one bit. Of its two values one means no "
            "atom, and the other keeps all of what there is: the atoms cost bits and change nothing. Try C = 3.",
            "picture",
            {"steps": 50, "atoms": 3, "coefficient_bits": 1},
        ),
        Story(
            "All at once",
            "Turbo takes the atoms of largest inner product together, with their signs, and counts sets instead of lists. A "
            "sign costs a bit where a coefficient costs three, and minus an atom is an atom too.",
            "picture",
            {"steps": 50, "atoms": 3, "variant": "turbo"},
        ),
        Story(
            "The price of a sampler",
            "Shannon needs at best three fifths of these bits, with few steps or small books far less. DDPM adds noise at every "
            "step, and much of what was said is drowned and has to be said again; larger books drown less of it.",
            "gaussian",
            {"toy_books": (1, 2, 4, 8)},
        ),
        Story(
            "Whose picture is it?",
            "The other's first few choices and the clown's for all the rest: still the picture is the other's, for the early "
            "steps settle colours and shape. Who speaks first decides; mixed at each step, both have a say.",
            "mix",
            {"emoji": 41, "other_emoji": 32},
        ),
        Story(
            "Six faces, please",
            "Nothing but the choice of noise changes: the step itself never hears of faces. Any atom, and anything may "
            "come; the best of four, and some are faces; the best of 64, and all are.",
            "guide",
            {"kind": "face", "compared": (1, 4, 64), "count": 6, "guided_steps": 30},
        ),
        Story(
            "Grey with a memory of colour",
            "Only the mean of red, green and blue is given. The model knows what colours such shapes tend to have, and with "
            "each book it guesses anew.",
            "restore",
            {"task": "colour", "emoji": 6},
        ),
    ),
    checks=CHECKS,
)
