"""What RoPE's engine must reproduce: closed forms, the published figures, the loss on the card of the weights."""

from __future__ import annotations

from engines import models
from engines.checks import Check
from engines.rope.bases import least_base, passes, printed_verdicts
from engines.rope.curves import decay_bound, first_negative, similarity
from engines.rope.digits import dials
from engines.rope.extrapolation import held_back, position_losses
from engines.rope.frequencies import attention_factor, inverse_frequencies, wavelengths, yarn_ramp


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
)
