"""What RoPE's engine must reproduce: closed forms, the published figures, the loss on the card of the weights."""

from __future__ import annotations

import numpy as np
import torch

from engines import models
from engines.checks import Check
from engines.rope.attention import attention, relative_positions
from engines.rope.bases import least_base, passes, printed_verdicts
from engines.rope.curves import decay_bound, first_negative, similarity, similarity_integral
from engines.rope.digits import dials
from engines.rope.extrapolation import held_back, position_losses
from engines.rope.frequencies import attention_factor, inverse_frequencies, wavelengths, yarn_ramp
from engines.rope.partial import least_unrotated
from engines.rope.passkey import recall, retrieval


def loss_within() -> float:
    """Mean loss within the trained length, nats a byte."""
    model = models.load("rope-base-10000", "decoder").model
    return position_losses(model, held_back()[:, : model.config.context], "none").mean()


def distance_from_limits() -> float:
    """Greatest difference between NTK-mixed at its two ends and what it is there."""
    ways = [("linear", 0.0), ("ntk_fixed", 1.0)]
    return max(
        (
            inverse_frequencies(128, 10_000.0, "ntk_mixed", factor=8.0, exponent=exponent)
            - inverse_frequencies(128, 10_000.0, same, factor=8.0)
        )
        .abs()
        .max()
        .item()
        for same, exponent in ways
    )


def printed_over_least() -> list[float]:
    """Two bases of table 2 over the least: that for 1,048,576 tokens is taken from `bases.LEAST`, and passes where a little less does not."""
    least = 65_374_956
    return [
        16_000 / least_base(2048),
        5.1e8 / least if passes(least, 1 << 20) and not passes(least - 2, 1 << 20) else 0,
    ]


def stretch_where_all_turn() -> float:
    """How far YaRN stretches any pair where all make over a thousand turns in training."""
    plain = inverse_frequencies(128, 20.0)
    return (plain / inverse_frequencies(128, 20.0, "yarn", factor=8.0, context_length=131_072)).max().item()


def attention_written_out() -> list[float]:
    """Greatest difference of ReRoPE, its leaky form and a window, with log n, from scores of the distances shown."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(60, 16, generator=draw, dtype=torch.float64) for _ in range(3))
    theta, found = 1000.0 ** -(torch.arange(8, dtype=torch.float64) / 8), []
    qc, kc = (torch.complex(*x.chunk(2, -1)) for x in (q, k))
    for form in ("rerope", "leaky_rerope", "window"):
        shown = relative_positions(60, form, 20, 4.0)
        turn = torch.exp(1j * shown.clamp_min(0)[..., None] * theta)
        score = (qc[:, None] * kc.conj() * turn).real.sum(-1) / 4
        seen = torch.arange(1, 61, dtype=torch.float64).clamp_max(20 if form == "window" else 60)
        score = score * (seen.log() / np.log(16)).clamp_min(1)[:, None] + torch.where(shown < 0, -torch.inf, 0.0)
        ours = attention(theta, 1.0, form, 20, 4.0, 16)(q[None, None], k[None, None], v[None, None])[0, 0]
        found.append(float((score.softmax(-1) @ v - ours).abs().max()))
    return found


def integral_by_quadrature() -> float:
    """Greatest difference of the integral from Gauss-Legendre quadrature with 1,000 nodes."""
    x, w = np.polynomial.legendre.leggauss(1000)
    m = np.array([1.0, 10.0, 100.0])
    direct = 64 * (np.cos(m[:, None] * 10_000.0 ** (-(x + 1) / 2)) @ w) / 2
    return float(np.abs(similarity_integral(m, 64, 10_000.0) - direct).max())


def unrotated_by_enumeration() -> list[int]:
    """The least number of unrotated pairs by adding up every cosine: d = 16, b = 100, L = 256, and b = 10,000, L = 2,000."""
    found = []
    for base, length in ((100.0, 256), (10_000.0, 2000)):
        m = np.arange(length)[:, None]
        lowest = [(u + np.cos(m * base ** -(np.arange(8 - u) / (8 - u))).sum(1)).min() for u in range(8)]
        found.append(1 + max((u for u in range(8) if lowest[u] < 0), default=-1))
    return found


def found_by_drawing() -> float:
    """Chance that a like key is found, of the formula minus that of 4,000 heads drawn with all their keys."""
    curve = retrieval(("none",), base=100.0, head_dim=32, distance=64, likeness=0.9)
    at = int(np.abs(curve.distance - 12).argmin())
    m, hits = int(curve.distance[at]), 0
    draw = torch.Generator().manual_seed(1)
    theta = 100.0 ** -(torch.arange(16, dtype=torch.float64) / 16)
    query, other = (torch.randn(4000, 32, generator=draw, dtype=torch.float64) for _ in range(2))
    keys = torch.randn(4000, m, 32, generator=draw, dtype=torch.float64)
    like = 0.9 * query + (1 - 0.9**2) ** 0.5 * other
    q, k = (torch.complex(*x.chunk(2, -1)) for x in (query, like))
    score = (q * k.conj() * torch.exp(1j * m * theta)).real.sum(-1)
    hits = (score > torch.einsum("td,tnd->tn", query, keys).amax(1)).double().mean()
    return float(curve.found[0, at] - hits)


def letters_recalled() -> float:
    """Share of a passkey's letters that the decoder of base 10,000 finds within 128 bytes."""
    return float(recall(models.load("rope-base-10000", "decoder", "cpu").model, held_back(), trials=8).mean())


CHECKS = (
    Check(
        "loss within 128 bytes of the model with base 10,000, nats a byte",
        "the card of the shipped weights",
        1.2213,
        0.01,
        loss_within,
        relative=True,
    ),
    Check(
        "θ of the last pair, d = 128, b = 10,000",
        "RoFormer §3.2.2",
        10_000 ** (-126 / 128),
        1e-15,
        lambda: inverse_frequencies(128, 10_000.0)[-1].item(),
    ),
    Check(
        "longest wavelength, d = 128, b = 10,000, in tokens",
        "2π/θ",
        54_410,
        0.5,
        lambda: wavelengths().wavelength[0, -1],
    ),
    Check(
        "f(0), f(1), f(1000) at b = 10,000",
        "direct sum",
        (64, 62.093684, 10.177728),
        1e-6,
        lambda: similarity([0, 1, 1000], 128, 10_000.0).numpy(),
    ),
    Check("first negative distance, b = 10,000", "direct sum", 1707, 0, lambda: first_negative(128, 10_000.0)),
    Check(
        "least base for 1,024 tokens, d = 128",
        "4.3e3 in both published tables",
        4293.45,
        1e-4,
        lambda: least_base(1024),
        relative=True,
    ),
    Check(
        "least base for 4,096 tokens, d = 128",
        "2.7e4 in both published tables",
        26_952.6,
        1e-4,
        lambda: least_base(4096),
        relative=True,
    ),
    Check(
        "1.6e4 for 2,048 and 5.1e8 for 1,048,576 tokens over the least base",
        "arXiv 2405.14591, table 2; the least by a search that steps over none",
        (1.38083, 7.80116),
        1e-4,
        printed_over_least,
        relative=True,
    ),
    Check(
        "published bases that pass as they are printed, of 11: table 2 of arXiv 2405.14591, kexue.fm 10122",
        "min f over all distances",
        (4, 4),
        0,
        lambda: [sum(table) for table in printed_verdicts()],
    ),
    Check(
        "83,764 passes for 8,192 tokens, 100,000 does not",
        "kexue.fm/archives/10122: not monotone",
        (True, False),
        0,
        lambda: (passes(83_764, 8192), passes(100_000, 8192)),
    ),
    Check(
        "NTK-aware base, k = 8, from 10,000",
        "10,000 · 8^(128/126)",
        82_684.6227,
        1e-8,
        lambda: inverse_frequencies(128, 10_000.0, "ntk", factor=8.0)[1].item() ** -64,
        relative=True,
    ),
    Check(
        "NTK-mixed with exponent 0 is interpolation, with 1 NTK-fixed: greatest difference",
        "kexue.fm/archives/9706",
        0,
        1e-15,
        distance_from_limits,
    ),
    Check("YaRN's ramp, L = 4,096: from pair, to pair", "its code", (20, 46), 0, lambda: yarn_ramp(128, 10_000.0)),
    Check(
        "YaRN stretches no pair where the slowest makes over a thousand turns in training: greatest stretch",
        "arXiv 2309.00071, §3.2; its released code stretches all of them by 8",
        1,
        1e-12,
        stretch_where_all_turn,
    ),
    Check(
        "YaRN's factor on cos and sin, k = 16",
        "0.1 ln k + 1",
        1.27725887,
        1e-8,
        lambda: attention_factor("yarn", 16.0),
    ),
    Check(
        "pairs that complete no turn in 4,096 tokens",
        "2π · 10,000^(i/64) > 4,096 from i = 46",
        18,
        0,
        lambda: wavelengths().incomplete[0],
    ),
    Check(
        "1,749 in radix 16, lowest digit first",
        "kexue.fm/archives/9675",
        (5, 13, 6),
        0,
        lambda: dials(1749, radix=16, digits=3).values[0],
    ),
    Check("mean |S_j| at distance 0", "(d/2 + 1)/2", 32.5, 1e-12, lambda: decay_bound(0, 128, 10_000.0).item()),
    Check(
        "ReRoPE, Leaky ReRoPE and a window with log n scaling, minus scores of the distances shown",
        "kexue.fm/archives/9708, written out in complex numbers",
        (0, 0, 0),
        1e-12,
        attention_written_out,
    ),
    Check(
        "d/2 · (Ci(m) − Ci(m/b))/ln b at m = 1, 10, 100 minus quadrature",
        "kexue.fm/archives/10122",
        0,
        1e-9,
        integral_by_quadrature,
    ),
    Check(
        "least number of unrotated pairs, d = 16: b = 100 for 256 tokens, b = 10,000 for 2,000",
        "every cosine added up",
        unrotated_by_enumeration(),
        0,
        lambda: [least_unrotated([100.0], 256, 16)[0], least_unrotated([10_000.0], 2000, 16)[0]],
    ),
    Check(
        "chance of finding a similar key 12 tokens back, formula minus 4,000 heads drawn",
        "d = 32, b = 100, similarity 0.9",
        0,
        0.05,
        found_by_drawing,
    ),
    Check(
        "share of a passkey's letters that the decoder of base 10,000 recalls within 128 bytes",
        "it never learned to look back: none, where a guess among 26 would have 0.04",
        0,
        0.04,
        letters_recalled,
    ),
)
