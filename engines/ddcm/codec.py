"""From picture to code and back, through any diffusion model on pixels.

A code says which atom of a codebook of noise each step of the sampler takes: DDPM as a code (Ohayon, Manor, Michaeli and
Elad 2025, "Compressed image generation with denoising diffusion codebook models", arXiv 2502.01189; kexue.fm's 29th post
on diffusion models). With picture x0, estimate x̂0 of the model and residual r = x0 − x̂0 the encoder takes the atom z of
largest ⟨z, r⟩; the step is that of DDIM with η = 1, which is DDPM's posterior for the steps that are taken.

Pictures larger than the model are coded in tiles. The last bits of a model's output depend on how many pictures it is
given at once (the libraries below choose other kernels), though not on what the others are. So the file says how many,
`batch`, and the decoder gives it as many: on one device and with as many threads the picture is the encoder's, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Refusal, checked, items, quoted, whole
from engines.ddcm.codebook import Codebook, StepCodebook
from engines.ddcm.file import Code, LatentCode, count_tiles, pack, payload, symbols, unpack
from engines.ddcm.plan import MOST_STEPS, CodeError, Plan
from engines.ddcm.quality import check_picture
from engines.graphs import network

EMBEDDED = "ddpm-emoji-32"
BATCH = 16  # tiles that the model sees at once
SPACING = 1.5  # part of the format: another needs another version


@dataclass(frozen=True)
class PixelModel:
    """A diffusion model as the codec sees it.

    name: of the model
    fingerprint: 8 bytes that pin its weights
    net: UNet2DModel, or what is called like one
    alphas_cumprod: float64 [N]; ᾱ of its N noise levels
    prediction: what the net predicts: "epsilon", "v_prediction" or "sample"
    side: of its pictures, in pixels
    labels: names of its classes, if it has any; it must then have one class more, which means any
    """

    name: str
    fingerprint: bytes
    net: Any
    alphas_cumprod: np.ndarray
    prediction: str
    side: int
    labels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.side, self.side

    @cached_property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @cached_property
    def _numbers(self) -> Tensor:
        """0, 1, ... on the device: a timestep or a class is a place in it, and nothing is sent."""
        return torch.arange(max(len(self.alphas_cumprod), len(self.labels) + 1), device=self.device)

    @cached_property
    def _forward(self) -> Callable[..., Tensor]:
        return network(self.net)

    def denoise(self, x: Tensor, t: int, label: int | None = None) -> Tensor:
        """x̂0 [n, 3, side, side], within the range of pixels, from the state at timestep t, of a class if one is given."""
        if x.device.type == "cpu":  # an eighth less time there
            x = x.contiguous(memory_format=torch.channels_last)
        classes = ()
        if self.labels:
            classes = (self._numbers[len(self.labels) if label is None else label].expand(len(x)),)
        output = self._forward(x, self._numbers[t], *classes)
        signal, noise = float(self.alphas_cumprod[t]) ** 0.5, float(1 - self.alphas_cumprod[t]) ** 0.5
        if self.prediction == "v_prediction":
            output = signal * x - noise * output
        elif self.prediction == "epsilon":
            output = (x - noise * output) / signal
        return output.clamp(-1, 1)


def check_kind(name: str, value: Any, kind: type) -> Any:
    """The value, or a Refusal unless it is of that kind."""
    if not isinstance(value, kind):
        raise Refusal(
            "{parameter} must be a {kind}, not {given}.", parameter=name, kind=kind.__name__, given=quoted(value)
        )
    return value


def check_model(model: Any) -> Any:
    """The model, or a Refusal unless it has what `walk` needs."""
    if not all(hasattr(model, name) for name in ("alphas_cumprod", "shape", "device", "denoise")):
        raise Refusal(
            "{parameter} must be a model's name or a PixelModel, not {given}.", parameter="model", given=quoted(model)
        )
    return model


def open_model(model: str | PixelModel = EMBEDDED) -> PixelModel:
    """A model by its name (see engines.models), or as it is."""
    if not isinstance(model, str):
        return check_model(model)
    from engines.models import fingerprint, load

    net, scheduler = load(model, family="diffusion")
    return wrap(model, hashlib.sha256(fingerprint(model).encode()).digest()[:8], net, scheduler)


def wrap(name: str, fingerprint: bytes, net: Any, scheduler: Any) -> PixelModel:
    """A UNet2DModel and its scheduler as a PixelModel."""
    labels = tuple(getattr(net, "labels", ()))
    classes = net.config.num_class_embeds or 0
    if net.config.class_embed_type or (classes and classes != len(labels) + 1):
        raise Refusal(
            "Model {name} needs a class for each picture and has none that means any: choose another {parameter}.",
            parameter="model",
            name=name,
        )
    side = net.config.sample_size
    if not isinstance(side, int) or side > 256:
        raise Refusal(
            "Model {name} makes pictures larger than {most} pixels: choose another {parameter}.",
            parameter="model",
            name=name,
            most=256,
        )
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise Refusal(
            "Model {name} predicts {prediction}, which this codec does not know: choose another {parameter}.",
            parameter="model",
            name=name,
            prediction=prediction,
        )
    alphas_cumprod = scheduler.alphas_cumprod.double().numpy()
    return PixelModel(name, fingerprint, net, alphas_cumprod, prediction, side, labels)


class Step(NamedTuple):
    """One step of a walk.

    number: of the step, from 0 to T − 1
    denoised: float32 [n, *shape]; x̂0
    symbols: int64 [n, width]; what was chosen, or None at the last step
    noise: float32 [n, size]; the noise that it stands for, or None at the last step
    """

    number: int
    denoised: Tensor
    symbols: Tensor | None
    noise: Tensor | None


Choose = Callable[[int, Tensor, StepCodebook], Tensor]  # (number, x̂0, codebook) -> symbols


@checked
def timesteps(steps: Annotated[int, Between(1, MOST_STEPS)], levels: Annotated[int, Between(1, 1 << 20)]) -> np.ndarray:
    """`steps` of the model's timesteps, falling, from its noisiest, the closer the less noise there is.

    The i-th from the end is levels (i / steps)^SPACING, or i where that is more: all of them if steps = levels. At
    T = 100 this gains 0.6 dB on emoji over even spacing (SPACING = 1), which is what the paper has.
    """
    if steps > levels:
        raise Refusal(
            "{parameter} must be at most {levels}, the number of the model's noise levels.",
            parameter="steps",
            levels=levels,
        )
    left = np.arange(steps, 0, -1)
    return np.maximum(np.round(levels * (left / steps) ** SPACING).astype(int), left) - 1


@torch.inference_mode()
def walk(
    model: Any,
    plan: Plan,
    batch: int,
    choose: Choose,
    view: Callable[[StepCodebook], Any] = lambda codebook: codebook,
) -> Iterator[Step]:
    """From the first noise to `batch` pictures at once; `choose(number, x̂0, codebook)` gives the symbols of each step.

    model: a PixelModel, or what has its `alphas_cumprod`, `shape`, `device` and `denoise`. Memory is that of one codebook,
        whatever the steps.
    view: turns a step's codebook into another that makes noise of symbols in a way of its own
    """
    check_model(model)
    check_kind("plan", plan, Plan)
    whole("batch", batch, 1, 1 << 16)
    if not callable(choose):
        raise Refusal("{parameter} must be a function, not {given}.", parameter="choose", given=quoted(choose))
    times, alphas = timesteps(plan.steps, len(model.alphas_cumprod)), model.alphas_cumprod
    codebook = Codebook(plan, int(np.prod(model.shape)), model.device)
    x = codebook.start.reshape(1, *model.shape).repeat(batch, *[1] * len(model.shape))
    for i, t in enumerate(times):
        denoised = model.denoise(x, int(t))
        if i + 1 == len(times):
            yield Step(i, denoised, None, None)
            return
        at_step = view(codebook.at(i))
        chosen = choose(i, denoised, at_step)
        noise = at_step.noise(chosen)
        alpha_t, alpha_s = float(alphas[t]), float(alphas[times[i + 1]])
        beta = 1 - alpha_t / alpha_s
        x = (
            (alpha_s**0.5 * beta / (1 - alpha_t)) * denoised
            + ((alpha_t / alpha_s) ** 0.5 * (1 - alpha_s) / (1 - alpha_t)) * x
            + (beta * (1 - alpha_s) / (1 - alpha_t)) ** 0.5 * noise.reshape(x.shape)
        )
        yield Step(i, denoised, chosen, noise)


def encoder(target: Tensor) -> Choose:
    """The choice that encodes: the symbols that agree best with target − x̂0; target [n, *shape]."""
    return lambda _, denoised, codebook: codebook.choose((target - denoised).flatten(1))


def decoder(symbols: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Choose:
    """The choice that decodes: symbols [n, T − 1, width]."""
    symbols = torch.as_tensor(symbols).to(device)
    return lambda number, _, __: symbols[:, number]


def to_tensor(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [n, h, w, 3] as float32 [n, 3, h, w] from −1 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device, torch.float32) / 127.5 - 1


def to_pixels(x: Tensor) -> np.ndarray:
    """[n, 3, h, w] from −1 to 1 as uint8 [n, h, w, 3]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


@checked
def cut(picture: np.ndarray, side: Annotated[int, Between(1, 256)]) -> np.ndarray:
    """uint8 [h, w, 3] as tiles [n, side, side, 3], row by row; what they reach beyond the edge repeats it."""
    height, width = check_picture("picture", picture).shape[:2]
    count_tiles(height, width, side)
    padded = np.pad(picture, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    return padded.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)


def join(tiles: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `cut`."""
    side = tiles.shape[1]
    columns = -(-width // side)
    whole = tiles.reshape(-1, columns, side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(whole.reshape(-1, columns * side, 3)[:height, :width])


class Encoded(NamedTuple):
    """code: the file; picture: what decoding it gives, uint8 [h, w, 3]."""

    code: bytes
    picture: np.ndarray


Watch = Callable[[int, int], None]


def in_batches(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    """Rows [n, ...] in pieces of `batch`; the last one is filled up with its last row."""
    pieces = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return [np.concatenate([piece, np.repeat(piece[-1:], batch - len(piece), axis=0)]) for piece in pieces]


def encode_batch(
    images: Sequence[np.ndarray],
    model: str | PixelModel = EMBEDDED,
    plan: Plan | None = None,
    watch: Watch = lambda done, total: None,
) -> list[Encoded]:
    """Encode several images, uint8 [h, w, 3], with the same plan, their tiles up to 16 at a time.

    watch(done, total): called with the batches' denoiser calls so far and in all. Raises Refusal.
    """
    plan = Plan() if plan is None else plan
    check_kind("plan", plan, Plan)
    images = [check_picture("image", image) for image in items("images", images, 1 << 14, 0)]
    model = open_model(model)
    cuts = [cut(image, model.side) for image in images]
    if not cuts:
        return []
    tiles = np.concatenate(cuts)
    batch = min(BATCH, len(tiles))
    sizes = [image.shape[:2] for image in images]
    codes = [Code(plan, model.name, model.fingerprint, height, width, batch, b"") for height, width in sizes]
    for code in codes:
        code.check_size(model.side)
    chosen, decoded = [], []
    pieces = in_batches(tiles, batch)
    for i, piece in enumerate(pieces):
        in_piece = []
        for step in walk(model, plan, batch, encoder(to_tensor(piece, model.device))):
            if step.symbols is not None:
                in_piece.append(step.symbols)
            watch(i * plan.steps + step.number + 1, len(pieces) * plan.steps)
        chosen.append(torch.stack(in_piece, 1).cpu().numpy())
        decoded.append(to_pixels(step.denoised))
    chosen, decoded = np.concatenate(chosen), np.concatenate(decoded)
    encoded, at = [], 0
    for code, part in zip(codes, cuts, strict=True):
        mine = slice(at, at := at + len(part))
        file = pack(code.filled(payload(plan, chosen[mine])))
        encoded.append(Encoded(file, join(decoded[mine], code.height, code.width)))
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
    """The .ddcm file of an image, uint8 [h, w, 3]; the settings are those of `Plan`. Raises Refusal, a ValueError."""
    plan = Plan(steps, codebook_size, atoms, coefficient_bits, variant, seed)
    return encode_batch([image], model, plan)[0].code


def read(data: bytes, model: PixelModel) -> tuple[Code, np.ndarray]:
    """What a file says, and its symbols [tiles, T − 1, width], if it was made with this model. Raises CodeError."""
    code = unpack(data)
    if isinstance(code, LatentCode):
        raise CodeError("The code is of latents: {made_with} decodes it, not a model of pixels.", made_with=code.model)
    if code.model != model.name:
        raise CodeError(
            "The file was made with the model {made_with}; {model} would decode it to noise.",
            made_with=code.model,
            model=model.name,
        )
    if code.fingerprint != model.fingerprint:
        raise CodeError(
            "The file was made with other weights of {model}; those that are loaded here would decode it to noise.",
            model=model.name,
        )
    return code, symbols(code, model.side)


def decode(code: bytes, model: str | PixelModel = EMBEDDED, watch: Watch = lambda done, total: None) -> np.ndarray:
    """The image of a .ddcm file, uint8 [h, w, 3]. Raises CodeError where the file is damaged or of another model."""
    model = open_model(model)
    header, chosen = read(code, model)
    decoded, plan = [], header.plan
    pieces = in_batches(chosen, header.batch)
    for i, piece in enumerate(pieces):
        for step in walk(model, plan, header.batch, decoder(piece, model.device)):
            watch(i * plan.steps + step.number + 1, len(pieces) * plan.steps)
        decoded.append(to_pixels(step.denoised))
    return join(np.concatenate(decoded)[: len(chosen)], header.height, header.width)
