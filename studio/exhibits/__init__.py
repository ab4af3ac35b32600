"""The exhibits, in the order of their tabs."""

from studio.exhibits import diffusion, hippo, moe, rope

EXHIBITS = (diffusion.EXHIBIT, hippo.EXHIBIT, rope.EXHIBIT, moe.EXHIBIT)
