"""The pictures that are coded: emoji which the embedded model has not seen, and the visitor's own."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated

import numpy as np

from engines.arguments import Between, Refusal, checked
from engines.ddcm.codec import EMBEDDED
from engines.ddcm.file import MOST_SIDE
from engines.ddcm.quality import check_picture
from engines.models import ASSETS, CLASSES
from engines.pictures import read_picture as read_picture  # notebooks know it by this module

Emoji = Annotated[int, Between(0, 63)]  # number of a picture held back from the embedded model
Photograph = Annotated[int, Between(0, 63)]  # of one held back from the model of photographs
Side = Annotated[int, Between(1, MOST_SIDE)]
PHOTOGRAPHS = "ddpm-cifar10-32"
# of the emoji held back, by their code points
EMOJI_NAMES = (
    "keycap 2", "UP! button", "letter U", "water wave", "glowing star", "four leaf clover", "cherries", "pot of food", "balloon",
    "clapper board", "snowboarder", "beach with umbrella", "convenience store", "ram", "baby chick", "ear", "jeans",
    "father with two girls", "bald man", "woman office worker", "two women kissing", "alien", "broken heart", "pile of poo",
    "card index", "memo", "radio", "locked", "white square button", "five o’clock", "joystick", "spiral notepad",
    "smiling face with sunglasses", "face with steam from nose", "slightly smiling face", "person frowning", "articulated lorry",
    "do not litter", "baggage claim", "motorway", "pinched fingers", "clown face", "person juggling", "bacon", "cut of meat",
    "shark", "parrot", "supervillain", "man standing", "person with curly hair", "woman climbing", "coat", "broom",
    "ringed planet", "headstone", "people hugging", "face with peeking eye", "eject button", "black square", "Virgo", "gear",
    "person bouncing a ball", "eight-pointed star", "unknown flag",
)  # fmt: skip


@cache
def held_back(name: str = EMBEDDED) -> np.ndarray:
    """uint8 [64, 32, 32, 3], pictures that an embedded model was not trained on: photographs of the model of photographs, and
    emoji of any other."""
    return _kept(name if name == PHOTOGRAPHS else EMBEDDED)["images"]


def photographs() -> np.ndarray:
    """Those of the model of photographs."""
    return held_back(PHOTOGRAPHS)


def photograph_names() -> list[str]:
    """The class of each."""
    return [CLASSES[PHOTOGRAPHS][label] for label in _kept(PHOTOGRAPHS)["labels"].tolist()]


def _kept(name: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(ASSETS / name / "held-back.safetensors")


@checked
def fit(picture: np.ndarray, height: Side, width: Side) -> np.ndarray:
    """A picture uint8 [h, w, 3], cut to the proportion and scaled: uint8 [height, width, 3]."""
    from PIL import Image, ImageOps

    scaled = ImageOps.fit(Image.fromarray(check_picture("picture", picture)), (width, height), Image.Resampling.LANCZOS)
    return np.array(scaled)


@checked
def scale(picture: np.ndarray, side: Side) -> np.ndarray:
    """A picture uint8 [h, w, 3], its longer side scaled to `side` pixels, in proportion."""
    check_picture("picture", picture)
    height, width = picture.shape[:2]
    longer = max(height, width)
    return fit(picture, max(1, round(height * side / longer)), max(1, round(width * side / longer)))


@checked
def emoji_picture(emoji: Emoji, side: Side) -> np.ndarray:
    """A held-back emoji, uint8 [side, side, 3]."""
    picture = held_back()[emoji]
    return picture if side == len(picture) else fit(picture, side, side)


@checked
def typical_entropy(draws: Annotated[int, Between(0, 1 << 24)], size: Annotated[int, Between(2, 1 << 24)]) -> float:
    """Mean plug-in entropy, in bits, of `draws` uniform draws from `size` values: what no code can be told from."""
    if draws == 0:
        return 0.0
    counts = np.arange(1, draws + 1)
    log = np.array([math.lgamma(n + 1) for n in range(draws + 1)])
    odds = math.log(1 / size), math.log1p(-1 / size)
    mass = np.exp(log[draws] - log[counts] - log[draws - counts] + counts * odds[0] + (draws - counts) * odds[1])
    return float(-size * (mass * counts / draws * np.log2(counts / draws)).sum())


def entropy(values: np.ndarray) -> float:
    """Plug-in entropy of whole numbers in bits."""
    values = np.asarray(values)
    if not values.size or values.dtype.kind not in "iu":
        raise Refusal("{parameter} must be an array of whole numbers.", parameter="values")
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())
