"""From picture to code and back, through any diffusion model on pixels.

A code tells which atom of a book of noise each step of the sampler takes: DDPM as a code (Ohayon, Manor, Michaeli and
Elad 2025, "Compressed image generation with denoising diffusion codebook models", arXiv 2502.01189; kexue.fm's 29th post
on diffusion models). With picture x, estimate x̂ of the model and residual r = x − x̂ the encoder takes the atom z of
largest ⟨z, r⟩; the step is that of DDIM with η = 1, which is DDPM's posterior for the steps that are taken.

Pictures larger than the model are coded in tiles. The last bits of a model's output depend on how many pictures it is
given at once (the libraries below choose other kernels), though not on what the others are. So the file says how many,
`lanes`, and the decoder gives it as many: on one device and with as many threads the picture is the encoder's, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.ddcm.books import Book, Page
from engines.ddcm.file import Code, pack, payload, symbols, tiles, unpack
from engines.ddcm.plan import CodeError, Plan

EMBEDDED = "ddpm-emoji-32"
LANES = 16  # tiles walked at once
SPACING = 1.5  # part of the format: another needs another version


@dataclass(frozen=True)
class PixelModel:
    """A diffusion model as the codec sees it.

    name, mark: its name, and 8 bytes that pin its weights
    net: UNet2DModel, or what is called like one
    kept: [N] float64, ᾱ of its N noise levels
    prediction: what the net tells: "epsilon", "v_prediction" or "sample"
    side: of its pictures, in pixels
    labels: what its classes are called, if it has any; it must then have one class more, which tells nothing
    """

    name: str
    mark: bytes
    net: Any
    kept: np.ndarray
    prediction: str
    side: int
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.side, self.side

    @cached_property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def denoise(self, x: Tensor, t: int, label: int | None = None) -> Tensor:
        """x̂0 [n, 3, side, side], within the range of pixels, from the state at timestep t, of a class if told one."""
        x = x.contiguous(memory_format=torch.channels_last)  # an eighth less time on a CPU
        told = ()
        if self.labels:
            told = (torch.full((len(x),), len(self.labels) if label is None else label, device=x.device),)
        output = self.net(x, t, *told).sample
        signal, noise = float(self.kept[t]) ** 0.5, float(1 - self.kept[t]) ** 0.5
        if self.prediction == "v_prediction":
            output = signal * x - noise * output
        elif self.prediction == "epsilon":
            output = (x - noise * output) / signal
        return output.clamp(-1, 1)


def open_model(model: str | PixelModel = EMBEDDED) -> PixelModel:
    """A model by its name (see engines.models), or as it is."""
    if not isinstance(model, str):
        return model
    from engines.models import fingerprint, load

    net, scheduler = load(model, family="diffusion")
    return wrap(model, hashlib.sha256(fingerprint(model).encode()).digest()[:8], net, scheduler)


def wrap(name: str, mark: bytes, net: Any, scheduler: Any) -> PixelModel:
    """A UNet2DModel and its scheduler as a PixelModel."""
    labels = tuple(getattr(net, "labels", ()))
    classes = net.config.num_class_embeds or 0
    if net.config.class_embed_type or (classes and classes != len(labels) + 1):
        raise CodeError(f"Model {name} wants a class for each picture and has none that means any; choose another.")
    side = net.config.sample_size
    if not isinstance(side, int) or side > 256:
        raise CodeError(f"Model {name} makes pictures larger than 256 pixels.")
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise CodeError(f"Model {name} predicts {prediction}, which this codec does not know.")
    return PixelModel(name, mark, net, scheduler.alphas_cumprod.double().numpy(), prediction, side, labels)


class Moment(NamedTuple):
    """One step. clean: x̂0, [n, *shape]; symbols: [n, width], and noise: [n, size], or None after the last call."""

    step: int
    clean: Tensor
    symbols: Tensor | None
    noise: Tensor | None


def timesteps(steps: int, levels: int) -> np.ndarray:
    """`steps` of the model's timesteps, falling, from its noisiest, the closer the less noise there is.

    The i-th from the end is levels (i / steps)^SPACING, or i where that is more: all of them if steps = levels. At
    T = 100 this gains 0.6 dB on emoji over even spacing (SPACING = 1), which is what the paper has.
    """
    if steps > levels:
        raise CodeError(f"steps must be at most {levels}, the number of the model's noise levels.")
    left = np.arange(steps, 0, -1)
    return np.maximum(np.round(levels * (left / steps) ** SPACING).astype(int), left) - 1


@torch.inference_mode()
def walk(
    model: Any,
    plan: Plan,
    lanes: int,
    choose: Callable[[int, Tensor, Page], Tensor],
    seen_as: Callable[[Page], Any] = lambda page: page,
) -> Iterator[Moment]:
    """From the first noise to pictures, `lanes` at once; `choose(step, x̂0, page)` gives the symbols of each step.

    model: a PixelModel, or what has its `kept`, `shape`, `device` and `denoise`. Needs one book, whatever the steps.
    seen_as: what turns a page into another that makes noise of symbols in a way of its own
    """
    times = timesteps(plan.steps, len(model.kept))
    book = Book(plan, int(np.prod(model.shape)), model.device)
    x = book.start.reshape(1, *model.shape).repeat(lanes, *[1] * len(model.shape))
    for i, t in enumerate(times):
        clean = model.denoise(x, int(t))
        if i + 1 == len(times):
            yield Moment(i, clean, None, None)
            return
        page = seen_as(book.page(i))
        chosen = choose(i, clean, page)
        noise = page.noise(chosen)
        now, then = float(model.kept[t]), float(model.kept[times[i + 1]])
        fresh = 1 - now / then
        x = (
            (then**0.5 * fresh / (1 - now)) * clean
            + ((now / then) ** 0.5 * (1 - then) / (1 - now)) * x
            + (fresh * (1 - then) / (1 - now)) ** 0.5 * noise.reshape(x.shape)
        )
        yield Moment(i, clean, chosen, noise)


def towards(target: Tensor) -> Callable[[int, Tensor, Page], Tensor]:
    """A choice that encodes: the atoms that agree best with target − x̂0; target [n, *shape]."""
    return lambda _, clean, page: page.pick((target - clean).flatten(1))


def following(
    symbols: np.ndarray | Tensor, device: torch.device | str = "cpu"
) -> Callable[[int, Tensor, Page], Tensor]:
    """A choice that decodes: symbols [n, T − 1, width]."""
    told = torch.as_tensor(symbols).to(device)
    return lambda step, _, __: told[:, step]


def to_tensor(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [n, h, w, 3] as float32 [n, 3, h, w] from −1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device, torch.float32) / 127.5 - 1


def to_pixels(x: Tensor) -> np.ndarray:
    """[n, 3, h, w] from −1 to 1 as uint8 [n, h, w, 3]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def cut(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, 3] as tiles [n, side, side, 3], row by row; what they reach beyond the edge repeats it."""
    height, width = picture.shape[:2]
    tiles(height, width, side)
    padded = np.pad(picture, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    return padded.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)


def join(parts: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `cut`."""
    side = parts.shape[1]
    columns = -(-width // side)
    whole = parts.reshape(-1, columns, side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(whole.reshape(-1, columns * side, 3)[:height, :width])


def check_picture(picture: Any) -> np.ndarray:
    """The picture, or a CodeError unless it is uint8 [h, w, 3]."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise CodeError("image must be a uint8 array [height, width, 3].")
    return picture


class Encoded(NamedTuple):
    """code: the file; picture: what decoding it gives, uint8 [h, w, 3]."""

    code: bytes
    picture: np.ndarray


def encode_batch(
    images: Sequence[np.ndarray],
    model: str | PixelModel = EMBEDDED,
    plan: Plan | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> list[Encoded]:
    """Encode several images, uint8 [h, w, 3], with the same plan, their tiles up to 16 at a time.

    watch(done, total): told the denoiser calls so far and in all
    """
    model, plan = open_model(model), plan or Plan()
    cuts = [cut(check_picture(image), model.side) for image in images]
    if not cuts:
        return []
    parts = np.concatenate(cuts)
    lanes = min(LANES, len(parts))
    told, shown = [], []
    rounds = range(0, len(parts), lanes)
    for start in rounds:
        moments = walk(
            model, plan, lanes, towards(to_tensor(_filled(parts[start : start + lanes], lanes), model.device))
        )
        chosen = []
        for moment in moments:
            if moment.symbols is not None:
                chosen.append(moment.symbols)
            watch(start // lanes * plan.steps + moment.step + 1, len(rounds) * plan.steps)
        told.append(torch.stack(chosen, 1).cpu().numpy())
        shown.append(to_pixels(moment.clean))
    told, shown = np.concatenate(told), np.concatenate(shown)
    encoded, at = [], 0
    for image, part in zip(images, cuts, strict=True):
        mine = slice(at, at := at + len(part))
        height, width = image.shape[:2]
        code = Code(plan, model.name, model.mark, height, width, lanes, payload(plan, told[mine]))
        encoded.append(Encoded(pack(code), join(shown[mine], height, width)))
    return encoded


def encode(
    image: np.ndarray,
    model: str | PixelModel = EMBEDDED,
    *,
    steps: int = 100,
    codebook_size: int = 256,
    atoms: int = 1,
    coefficient_bits: int = 3,
    variant: str = "shuffled",
    seed: int = 0,
) -> bytes:
    """The .ddcm file of an image, uint8 [h, w, 3]; the settings are those of `Plan`. Raises CodeError, a ValueError."""
    plan = Plan(steps, codebook_size, atoms, coefficient_bits, variant, seed)
    return encode_batch([image], model, plan)[0].code


def read(code: bytes, model: PixelModel) -> tuple[Code, np.ndarray]:
    """What a file says, and its symbols [tiles, T − 1, width], if it is meant for this model."""
    told = unpack(code)
    if told.mark != model.mark:
        other = f"the model {told.model!r}" if told.model != model.name else f"other weights of {told.model!r}"
        raise CodeError(f"The code was made with {other}; {model.name!r} as loaded here would decode it to noise.")
    return told, symbols(told, model.side)


def decode(
    code: bytes, model: str | PixelModel = EMBEDDED, watch: Callable[[int, int], None] = lambda done, total: None
) -> np.ndarray:
    """The image of a .ddcm file, uint8 [h, w, 3]. Raises CodeError where the file is damaged or of another model."""
    model = open_model(model)
    told, chosen = read(code, model)
    shown = []
    rounds = range(0, len(chosen), told.lanes)
    for start in rounds:
        lanes = _filled(chosen[start : start + told.lanes], told.lanes)
        for moment in walk(model, told.plan, told.lanes, following(lanes, model.device)):
            watch(start // told.lanes * told.plan.steps + moment.step + 1, len(rounds) * told.plan.steps)
        shown.append(to_pixels(moment.clean))
    return join(np.concatenate(shown)[: len(chosen)], told.height, told.width)


def _filled(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows, the last repeated until there are `count`."""
    return np.concatenate([rows, np.repeat(rows[-1:], count - len(rows), axis=0)])
