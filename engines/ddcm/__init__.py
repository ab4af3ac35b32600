"""DDPM as a code: an image becomes a few bytes that say which noise each step of a diffusion model takes."""

from engines.ddcm.codec import Encoded, PixelModel, decode, encode, encode_batch, open_model, walk
from engines.ddcm.file import Code, unpack
from engines.ddcm.plan import VARIANTS, CodeError, Plan, size_bits
from engines.ddcm.quality import psnr, ssim

__all__ = [
    "VARIANTS",
    "Code",
    "CodeError",
    "Encoded",
    "PixelModel",
    "Plan",
    "decode",
    "encode",
    "encode_batch",
    "open_model",
    "psnr",
    "size_bits",
    "ssim",
    "unpack",
    "walk",
]
