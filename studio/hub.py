"""Text-to-image models: their names, and what each needs."""

from __future__ import annotations

from engines import models
from engines.latents import KNOWN
from studio.language import raw
from studio.panels import Folded, Prose, Table

# name -> as a choice on the page
LATENT = {"none": "included: 32 × 32 pixels"} | {
    name: {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": "Stable Diffusion 1.5",
        "Manojb/stable-diffusion-2-1-base": "Stable Diffusion 2.1 base",
        "stabilityai/sd-turbo": "SD-Turbo",
        "SimianLuo/LCM_Dreamshaper_v7": "LCM Dreamshaper v7",
        "stabilityai/stable-diffusion-xl-base-1.0": "SDXL 1.0",
        "stabilityai/sdxl-turbo": "SDXL-Turbo",
        "stabilityai/stable-diffusion-3-medium-diffusers": "Stable Diffusion 3 medium",
    }[name]
    for name in models.names("latent")
}
LICENCES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML OpenRAIL-M",
    "Manojb/stable-diffusion-2-1-base": "CreativeML OpenRAIL++-M",
    "stabilityai/sd-turbo": "Stability AI, to be read",
    "SimianLuo/LCM_Dreamshaper_v7": "MIT",
    "stabilityai/stable-diffusion-xl-base-1.0": "CreativeML OpenRAIL++-M",
    "stabilityai/sdxl-turbo": "Stability AI, to be read",
    "stabilityai/stable-diffusion-3-medium-diffusers": "Stability AI, to be agreed to on the Hub",
}


def needs() -> Folded:
    """What each model needs, under a sentence."""
    said = (
        "Weights come from the Hugging Face Hub when you press Run, which needs a network, the memory below and, unless minutes "
        "a picture are bearable, a graphics card."
    )
    rows = [
        [
            raw(LATENT[name]),
            models.HUB[name][2],
            2 * models.HUB[name][2],
            known.side,
            known.guidance,
            known.few,
            LICENCES[name],
        ]
        for name, known in KNOWN.items()
    ]
    heads = ("model", "GB on a card", "GB on a processor", "pixels", "usual guidance", "few steps", "licence")
    return Folded("What each model needs", [Prose(said), Table(heads, rows)])
