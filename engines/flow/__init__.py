"""Flows with an exact likelihood: TARFLOW token by token, flows in the plane beside what is exact there, codebooks.

Zhai et al. 2024, arXiv 2412.06329; kexue.fm/archives/10667 and 10197.
"""

from engines.flow.codes import lloyd_max
from engines.flow.heads import bins_gap, codebook_gap, gaussian_gap, mixture_gap
from engines.flow.plane import PlaneFlow, divergence, entropy, gaussian_flow, one_order_floor
from engines.flow.tarflow import TarFlow

__all__ = [
    "PlaneFlow",
    "TarFlow",
    "bins_gap",
    "codebook_gap",
    "divergence",
    "entropy",
    "gaussian_flow",
    "gaussian_gap",
    "lloyd_max",
    "mixture_gap",
    "one_order_floor",
]
