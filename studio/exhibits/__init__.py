"""The exhibits, in the order of their tabs."""

from studio.exhibits import (
    ddcm,
    diffusion,
    flow,
    gibbs,
    hippo,
    hubness,
    moe,
    objectives,
    rope,
    segmentation,
    softmax,
    training,
    transport,
)

EXHIBITS = (
    diffusion.EXHIBIT,
    ddcm.EXHIBIT,
    hippo.EXHIBIT,
    rope.EXHIBIT,
    moe.EXHIBIT,
    softmax.EXHIBIT,
    hubness.EXHIBIT,
    gibbs.EXHIBIT,
    segmentation.EXHIBIT,
    objectives.EXHIBIT,
    training.EXHIBIT,
    flow.EXHIBIT,
    transport.EXHIBIT,
)
