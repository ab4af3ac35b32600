"""What the flows must reproduce: closed forms, quadrature, and the determinant of the whole Jacobian."""

from __future__ import annotations

import math

import numpy as np
import torch

from engines.checks import Check
from engines.diffusion.mixture import GaussianMixture
from engines.flow.codes import lloyd_max, patch_entropy, picture_codes
from engines.flow.heads import codebook_gap, conditional_entropy, gaussian_gap
from engines.flow.patch_heads import ode_nats
from engines.flow.plane import gaussian_flow, one_order_floor
from engines.flow.tarflow import TarFlow


def random_flow() -> tuple[TarFlow, torch.Tensor]:
    """A TARFLOW of 5 tokens and 4 blocks with random weights, and 2 points, in float64."""
    generator = torch.Generator().manual_seed(0)
    flow = TarFlow(5, 3, 32, 4).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return flow.requires_grad_(False), torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)


def determinant_error() -> float:
    """Greatest difference of log|det| from that of the 15 x 15 Jacobian."""
    flow, points = random_flow()
    whole = [
        torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda x: flow(x)[0], x[None]).view(15, 15))[1]
        for x in points
    ]
    return float((flow(points)[1] - torch.stack(whole)).abs().max())


def round_trip() -> float:
    """Greatest |inverse(forward(x)) − x|, sampled with the cache."""
    flow, points = random_flow()
    return float((flow.inverse(flow(points)[0]) - points).abs().max())


def leaks() -> float:
    """Greatest entry of the first block's Jacobian above its diagonal blocks."""
    flow, points = random_flow()

    def first(x: torch.Tensor) -> torch.Tensor:
        shift, log_scale = flow.blocks[0](x)
        return (x - shift) * torch.exp(-log_scale)

    jacobian = torch.autograd.functional.jacobian(first, points[:1]).view(5, 3, 5, 3)
    later = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)[:, None, :, None]
    return float((jacobian.abs() * later).max())


def wiener() -> torch.Tensor:
    """log q at three points, then Tweedie's step there, of the exact flow of a Gaussian with noise 0.3."""
    flow = gaussian_flow([0.5, -0.25], [[2.09, 1.2], [1.2, 1.09]])
    points = torch.tensor([[1, 0], [-0.7, 0.9], [2.5, 1]], dtype=torch.float64)
    return torch.cat((flow.log_prob(points), flow.denoise(points, 0.3).ravel())).numpy()


def two_pictures() -> tuple[float, float]:
    """Bits of the codes of 1,024 pixels of which every fourth is black; PSNR of two entries for all 256 greys, once each."""
    quarter = np.where(np.arange(1024) % 4, 255, 0)
    bits, psnr = (
        picture_codes(np.repeat(values.astype(np.uint8).reshape(side, side, 1), 3, 2), "1", 2)
        for values, side in ((quarter, 32), (np.arange(256), 16))
    )
    return bits.bits_code, psnr.psnr


def along_the_ode() -> float:
    """Greatest error of −log q by the ODE, with the exact velocity from N(0, I) to N(m, 0.64 I) in the plane, at three points."""
    mean = torch.tensor([0.5, -0.25], dtype=torch.float64)
    x = torch.tensor([[1, 0], [-0.7, 0.9], [2.5, 1]], dtype=torch.float64)

    def move(x: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        lean = (t * 0.64 - (1 - t)) / (t * t * 0.64 + (1 - t) ** 2)
        return mean + lean * (x - t * mean), torch.full_like(x[:, 0], 2 * lean)

    exact = (x - mean).square().sum(1) / 1.28 + math.log(2 * math.pi * 0.64)
    return float((ode_nats(move, x, 64) - exact).abs().max())


CHECKS = (
    Check(
        "moons with noise 0.15: entropy, least −log q of any number of blocks in one order, their difference",
        "quadrature in float64",
        (2.196763, 2.691187, 0.494424),
        2e-5,
        lambda: one_order_floor("moons", 0.15),
    ),
    Check(
        "a random flow of 5 tokens and 4 blocks: log-determinant against the 15 x 15 Jacobian",
        "by its definition",
        0,
        1e-10,
        determinant_error,
    ),
    Check("the same flow: inverse of forward, token by token with the cache", "identity", 0, 1e-12, round_trip),
    Check("its first block: the Jacobian's entries above the diagonal blocks", "causality", 0, 0, leaks),
    Check(
        "two opposite blocks for a Gaussian: log q at three points, and Tweedie's step is Wiener's filter",
        "closed form",
        (
            *(-1.81109123, -6.31085259, -2.71939573),
            *(0.97369049, 0.0083224, -0.41134709, 0.48726286, 2.42697769, 0.97718053),
        ),
        1e-7,
        wiener,
    ),
    Check(
        "moons with noise 0.15: H(x₂ | x₁)",
        "quadrature in float64",
        0.559376,
        5e-5,
        lambda: conditional_entropy("moons", 0.15),
    ),
    Check(
        "moons: excess of the best Gaussian head at noise 0, 0.15, 0.3, 0.6",
        "quadrature in float64",
        (0.394523, 0.231823, 0.082512, 0.011253),
        5e-5,
        lambda: [gaussian_gap("moons", sigma) for sigma in (0, 0.15, 0.3, 0.6)],
    ),
    Check(
        "four levels for N(0, 1): mean squared error, bits of the code",
        "Max 1960",
        (0.1174818478, 1.91109877),
        1e-7,
        lambda: lloyd_max(4)[1:],
    ),
    Check(
        "distinct 2 x 2 patches of the digits, and their plug-in entropy in bits",
        "counted",
        (9191, 9.43656615),
        1e-6,
        lambda: patch_entropy(2),
    ),
    Check(
        "a picture of which a quarter is black: bits of its codes; all 256 greys in two entries: PSNR in dB",
        "1024 h(1/4) and 10 log10(255²/1365.5)",
        (830.7487994, 10 * math.log10(255**2 / 1365.5)),
        1e-6,
        two_pictures,
    ),
    Check(
        "N(0, I): excess of a head that says the sign of x₂, then a Gaussian",
        "log 2 + ½ log(1 − 2/π)",
        math.log(2) + 0.5 * math.log(1 - 2 / math.pi),
        1e-9,
        lambda: codebook_gap(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), 0, 2),
    ),
    Check(
        "−log q by a flow's ODE, from N(0, I) to another Gaussian in the plane, at three points: greatest error",
        "closed form",
        0,
        1e-6,
        along_the_ode,
    ),
)
