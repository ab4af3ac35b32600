"""Text-to-image models that work on the latents of an autoencoder, from the folders of diffusers.

`open_model(name)` is the model; `model.prompted(prompt, ...)` is what a sampler or the codec of engines.ddcm sees of it: a
denoiser of one text and guidance, with the members of a model of pixels, so that neither knows the difference. A model of
flow matching stands there too: its x = (1 − σ) x0 + σ ε, divided by √((1 − σ)² + σ²), is x = √ᾱ x0 + √(1 − ᾱ) ε.

Memory: torch's attention keeps no matrix of tokens by tokens, the autoencoder works through a picture in tiles where it is
larger than those of its training. On a card all but the autoencoder is in half precision, on a CPU everything in single.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engines import models
from engines.arguments import Between, Characters, Refusal, checked, quoted, whole
from engines.device import give_back, is_memory, resolve
from engines.graphs import recorded
from engines.models import ModelError

MOST_PROMPT = 1000  # characters
MOST_SIDE = 1024  # pixels
WORKING = 1.5  # GB that a picture of 512 x 512 takes while it is made, beside the weights
PIPELINES = {
    "StableDiffusionPipeline": "sd",
    "LatentConsistencyModelPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
}
# SD3's third text encoder, T5, is left out: 9.5 GB for little but lettering; its paper (arXiv 2403.03206) shows both
PARTS = ("unet", "transformer", "vae", "text_encoder", "text_encoder_2")
TEXTS = ("scheduler", "tokenizer", "tokenizer_2")

Prompt = Annotated[str, Characters(MOST_PROMPT)]
Guidance = Annotated[float, Between(1, 20)]


class Known(NamedTuple):
    """What is known of a pinned model.

    side: int, pixels; of the pictures that it was trained on
    guidance: float; as usual with it, 1 where it was distilled to do without
    few: bool; whether it is made for one to eight steps
    is_flow: bool; whether it was trained by flow matching
    """

    side: int
    guidance: float
    few: bool
    is_flow: bool = False

    @property
    def channels(self) -> int:
        """Of its latents, of which 8 pixels of a side make one."""
        return 16 if self.is_flow else 4


KNOWN = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Known(512, 7.5, False),
    "Manojb/stable-diffusion-2-1-base": Known(512, 7.5, False),
    "stabilityai/stable-diffusion-xl-base-1.0": Known(1024, 5.0, False),
    "stabilityai/stable-diffusion-3-medium-diffusers": Known(1024, 7.0, False, True),
    "stabilityai/sd-turbo": Known(512, 1.0, True),
    "stabilityai/sdxl-turbo": Known(512, 1.0, True),
    "SimianLuo/LCM_Dreamshaper_v7": Known(768, 8.0, True),
}


def wanted(files: Sequence[str]) -> list[str] | None:
    """Which files of a repository are needed, if it is one of PIPELINES; None for any other.

    Of each part the half-precision weights where there are some (of the autoencoder the full ones), as safetensors.
    """
    if "model_index.json" not in files or not any(file.startswith("vae/") for file in files):
        return None
    kept = ["model_index.json"]
    kept += [f for f in files if f.split("/")[0] in TEXTS and f.endswith((".json", ".txt", ".model"))]
    for part in PARTS:
        own = [file for file in files if file.startswith(f"{part}/")]
        kept += [file for file in own if file.endswith(".json") and not file.endswith(".index.json")]
        weights = [file for file in own if file.endswith(".safetensors") and "non_ema" not in file]
        half = [file for file in weights if ".fp16" in file]
        chosen = half if half and (part != "vae" or len(half) == len(weights)) else sorted({*weights} - {*half})
        kept += chosen
        kept += [f for f in own if f.endswith(".index.json") and (".fp16" in f) == (bool(chosen) and chosen == half)]
    return kept


def kind_of(folder: Path) -> str | None:
    """ "sd", "sdxl" or "sd3" for the folder of a pipeline that this module reads; None for any other."""
    return PIPELINES.get(models.read_json(folder / "model_index.json").get("_class_name", ""))


def from_folder(folder: Path, device: torch.device) -> LatentModel:
    """The pipeline of a folder. Its classes are named here, not by the folder, which runs no code of its own."""
    import diffusers
    import transformers

    kind, half = kind_of(folder), torch.float16 if device.type == "cuda" else torch.float32
    needed = ["vae", "text_encoder", "transformer" if kind == "sd3" else "unet", *["text_encoder_2"] * (kind != "sd")]
    missing = [part for part in needed if not any((folder / part).glob("*.safetensors"))]
    if missing:
        raise ModelError(
            "Parts of the model are missing here ({parts}): its download was cut short, or it has no safetensors. Run it again.",
            parts=", ".join(missing),
        )
    safe = {"use_safetensors": True, "local_files_only": True}

    def part(name: str, made: Any, **types: torch.dtype) -> Any:
        files = [file.name for file in (folder / name).glob("*.safetensors")]
        has_half = any(".fp16" in file for file in files) and (name != "vae" or all(".fp16" in file for file in files))
        more = {} if made.__module__.startswith("transformers") else {"low_cpu_mem_usage": False}
        return made.from_pretrained(folder / name, variant="fp16" if has_half else None, **types, **safe, **more)

    def words(name: str) -> Any:
        return transformers.CLIPTokenizer.from_pretrained(folder / name, local_files_only=True)

    single = transformers.CLIPTextModelWithProjection if kind == "sd3" else transformers.CLIPTextModel
    given = {
        "vae": part("vae", diffusers.AutoencoderKL, torch_dtype=torch.float32),
        "text_encoder": part("text_encoder", single, dtype=half),
        "tokenizer": words("tokenizer"),
        # the pipeline below only reads prompts: it is given no scheduler to change
        "scheduler": None,
    }
    if kind != "sd":
        projecting = transformers.CLIPTextModelWithProjection
        given["text_encoder_2"] = part("text_encoder_2", projecting, dtype=half)
        given["tokenizer_2"] = words("tokenizer_2")
    if kind == "sd3":
        given["transformer"] = part("transformer", diffusers.SD3Transformer2DModel, torch_dtype=half)
        pipeline = diffusers.StableDiffusion3Pipeline(text_encoder_3=None, tokenizer_3=None, **given)
    else:
        given["unet"] = part("unet", diffusers.UNet2DConditionModel, torch_dtype=half)
        if kind == "sdxl":
            index = models.read_json(folder / "model_index.json")
            zeros = bool(index.get("force_zeros_for_empty_prompt", True))
            pipeline = diffusers.StableDiffusionXLPipeline(
                **given, force_zeros_for_empty_prompt=zeros, add_watermarker=False
            )
        else:
            pipeline = diffusers.StableDiffusionPipeline(
                **given, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
    net = given.get("transformer", given.get("unet"))
    if net.config.in_channels != given["vae"].config.latent_channels:
        raise ModelError(
            "The network of this model takes {given} channels where its latents have {expected}: it needs more than a prompt.",
            given=net.config.in_channels,
            expected=given["vae"].config.latent_channels,
        )
    return LatentModel(kind, pipeline, models.read_json(folder / "scheduler" / "scheduler_config.json"))


class LatentModel(nn.Module):
    """A text-to-image model: text encoders, autoencoder and the network between.

    kind: "sd", "sdxl" or "sd3"
    config: of its scheduler, as diffusers has it
    name: as it was asked for, "" of one that was opened otherwise
    """

    name = ""

    def __init__(self, kind: str, pipeline: Any, config: dict[str, Any]):
        super().__init__()
        self.kind, self.pipeline, self.config = kind, pipeline, config
        self.net: Any = pipeline.transformer if kind == "sd3" else pipeline.unet
        self.vae: Any = pipeline.vae
        self.encoders = nn.ModuleList([pipeline.text_encoder, *([pipeline.text_encoder_2] if kind != "sd" else [])])
        self.vae.enable_tiling()
        self.vae.enable_slicing()
        # a recording holds all that a pass works with, so few are kept
        self.run = recorded(self._run, most=2)

    def _run(self, x: Tensor, times: Tensor, embedding: Tensor, *more: Tensor) -> Tensor:
        """What the network gives. more: pooled texts and (SDXL) sizes, or an LCM's guidance."""
        if self.is_flow:
            (pooled,) = more
            return self.net(
                hidden_states=x,
                timestep=times,
                encoder_hidden_states=embedding,
                pooled_projections=pooled,
                return_dict=False,
            )[0]
        named, rest = dict[str, Any](), list(more)
        if self.kind == "sdxl":
            named["added_cond_kwargs"] = {"text_embeds": rest.pop(0), "time_ids": rest.pop(0)}
        if self.embeds_guidance:
            named["timestep_cond"] = rest.pop(0)
        return self.net(x, times, encoder_hidden_states=embedding, return_dict=False, **named)[0]

    @property
    def device(self) -> torch.device:
        return self.vae.device

    @property
    def factor(self) -> int:
        """Pixels to a latent, along a side."""
        return self.pipeline.vae_scale_factor

    @property
    def is_flow(self) -> bool:
        """Whether it was trained by flow matching."""
        return self.kind == "sd3"

    @property
    def embeds_guidance(self) -> bool:
        """Whether the network takes guidance as a number, which a consistency model learned with, and makes one call of it."""
        return not self.is_flow and self.net.config.time_cond_proj_dim is not None

    @cached_property
    def levels(self) -> np.ndarray:
        """float64 [N]; ᾱ of the noise levels it was trained at, falling. Of flow matching (1 − σ)²/((1 − σ)² + σ²)."""
        if self.is_flow:
            return (1 - self.sigmas) ** 2 / ((1 - self.sigmas) ** 2 + self.sigmas**2)
        from diffusers import DDPMScheduler

        known = inspect.signature(DDPMScheduler).parameters
        told = {key: value for key, value in self.config.items() if key in known}
        return DDPMScheduler.from_config(told).alphas_cumprod.double().numpy()

    @cached_property
    def sigmas(self) -> np.ndarray:
        """float64 [N]; σ of flow matching, rising to 1, with the shift towards noise of its configuration."""
        count, shift = self.config.get("num_train_timesteps", 1000), float(self.config.get("shift", 1.0))
        even = np.arange(1, count + 1) / count
        return shift * even / (1 + (shift - 1) * even)

    @property
    def prediction(self) -> str:
        """What the network predicts: "epsilon", "v_prediction", "sample" or, of flow matching, "flow"."""
        return "flow" if self.is_flow else self.config.get("prediction_type", "epsilon")

    def _scale(self) -> tuple[Any, Any]:
        """(offset, factor) of a latent z = (what the encoder gives − offset) · factor."""
        config = self.vae.config
        factor, offset = config.scaling_factor, getattr(config, "shift_factor", None) or 0.0
        if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
            mean, std = (
                torch.tensor(values, device=self.device).view(1, -1, 1, 1)
                for values in (config.latents_mean, config.latents_std)
            )
            return mean, factor / std
        return offset, factor

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [n, 3, H, W] from −1 to 1 as latents [n, C, H/f, W/f]: the mean of the encoder's distribution."""
        offset, factor = self._scale()
        return (self.vae.encode(pictures.to(self.device, torch.float32)).latent_dist.mode() - offset) * factor

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [n, C, h, w] as pictures [n, 3, H, W], about −1 to 1; a Refusal where they are not finite."""
        if not latents.isfinite().all():
            raise Refusal(
                "The latents of {name} are not finite: half precision overflows, or the scheduler diverges. Try less guidance, more steps or another scheduler.",
                name=self.name or self.kind,
            )
        offset, factor = self._scale()
        return self.vae.decode(latents.to(torch.float32) / factor + offset, return_dict=False)[0]

    def tokens(self, prompt: str) -> tuple[int, int]:
        """How many tokens a prompt has, and how many of them are read."""
        words = self.pipeline.tokenizer
        return len(words(prompt, verbose=False)["input_ids"]) - 2, words.model_max_length - 2

    @checked
    def prompted(
        self,
        prompt: Prompt = "",
        negative: Prompt = "",
        guidance: Guidance = 1.0,
        height: Annotated[int, Between(8, MOST_SIDE)] = 512,
        width: Annotated[int, Between(8, MOST_SIDE)] = 512,
        name: str = "",
        fingerprint: bytes = b"",
    ) -> Prompted:
        """The denoiser of a prompt, for pictures of height x width pixels, both multiples of 8 (16 for SD3).

        guidance: g of u + g (c − u) (Ho & Salimans 2022, arXiv 2207.12598, with w = g − 1), c with the prompt and u with
            the negative one; 1 is no guidance, and half the work
        """
        unit = self.factor * (getattr(self.net.config, "patch_size", None) or 1)
        for parameter, given in (("height", height), ("width", width)):
            if given % unit:
                raise Refusal("{parameter} must be a multiple of {unit}.", parameter=parameter, unit=unit)
        pipeline, is_guided = self.pipeline, guidance > 1 and not self.embeds_guidance
        texts: dict[str, Any] = {"device": self.device, "num_images_per_prompt": 1}
        texts |= {
            "do_classifier_free_guidance": is_guided,
            "negative_prompt": (negative or None) if is_guided else None,
        }
        with torch.inference_mode():
            if self.kind == "sd":
                found = [*pipeline.encode_prompt(prompt, **texts), None, None]
            elif self.kind == "sdxl":
                found = pipeline.encode_prompt(prompt=prompt, **texts)
            else:
                found = pipeline.encode_prompt(prompt=prompt, prompt_2=None, prompt_3=None, **texts)
        embedding, pooled = (
            None if with_prompt is None else torch.cat([without, with_prompt]) if is_guided else with_prompt
            for with_prompt, without in (found[:2], found[2:])
        )
        shape = (self.net.config.in_channels, height // self.factor, width // self.factor)
        return Prompted(self, shape, embedding, pooled, guidance, is_guided, name, fingerprint)


@dataclass(frozen=True)
class Prompted:
    """A latent model with a prompt, as a sampler or a codec sees it: a model of pictures [n, *shape].

    model: LatentModel
    shape: (channels, h, w) of a latent
    embedding: Tensor [1 or 2, tokens, width]; of the negative prompt (where guided) and of the prompt
    pooled: Tensor [1 or 2, width]; likewise, of a whole prompt, or None
    guidance: float
    is_guided: bool; whether each call runs the network with and without the prompt
    name: of the model
    fingerprint: 8 bytes that pin its weights
    """

    model: LatentModel
    shape: tuple[int, int, int]
    embedding: Tensor
    pooled: Tensor | None
    guidance: float
    is_guided: bool
    name: str
    fingerprint: bytes

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """float64 [N]; ᾱ of the noise levels."""
        return self.model.levels

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor | float) -> Output:
        """What the network predicts, guided, in the dtype of x: [n, *shape] as noised by its own process, at timestep t."""
        model, n, kind = self.model, len(x), self.model.net.dtype
        given = torch.cat([x, x] if self.is_guided else [x]).to(kind)
        # as one for each picture: the shape, by which passes are recorded, is the same for a number and a tensor
        times = torch.as_tensor(t, device=x.device).expand(len(given))
        texts = [values.repeat_interleave(n, 0).to(kind) for values in (self.embedding, *self._more)]
        output = model.run(given, times, *texts).to(x.dtype)
        if self.is_guided:
            without, with_prompt = output.chunk(2)
            output = without + self.guidance * (with_prompt - without)
        return Output(output)

    @cached_property
    def _more(self) -> list[Tensor]:
        """What the network is told beside the text, [1 or 2, ...] as the embedding."""
        model, more = self.model, [] if self.pooled is None else [self.pooled]
        if model.kind == "sdxl":
            size = [self.shape[1] * model.factor, self.shape[2] * model.factor]
            more.append(torch.tensor([[*size, 0, 0, *size]] * len(self.embedding), device=self.embedding.device))
        if model.embeds_guidance:
            scale = torch.full((1,), float(self.guidance) - 1)
            embedded = model.pipeline.get_guidance_scale_embedding(
                scale, embedding_dim=model.net.config.time_cond_proj_dim
            )
            more.append(embedded.to(self.embedding.device))
        return more

    def clean(self, x: Tensor, t: float, output: Tensor) -> Tensor:
        """x̂0 of a state and of what the network predicted of it at timestep t, between timesteps by log-linear levels."""
        if self.model.is_flow:
            return x - t / self.model.config.get("num_train_timesteps", 1000) * output
        odds = np.interp(t, np.arange(len(self.alphas_cumprod)), np.log(1 / self.alphas_cumprod - 1 + 1e-12))
        signal, noise = (1 / (1 + np.exp(odds))) ** 0.5, (1 / (1 + np.exp(-odds))) ** 0.5
        if self.model.prediction == "v_prediction":
            return signal * x - noise * output
        return output if self.model.prediction == "sample" else (x - noise * output) / signal

    def denoise(self, x: Tensor, t: int, label: None = None) -> Tensor:
        """x̂0 [n, *shape] from the state √ᾱ x0 + √(1 − ᾱ) ε with the t-th ᾱ, as engines.ddcm asks for it."""
        if not self.model.is_flow:
            return self.clean(x, t, self(x, t).sample)
        sigma = float(self.model.sigmas[t])
        own = x * ((1 - sigma) ** 2 + sigma**2) ** 0.5
        time = sigma * self.model.config.get("num_train_timesteps", 1000)
        return self.clean(own, time, self(own, time).sample)


class Output(NamedTuple):
    """sample: Tensor; what a network gives, named as diffusers names it."""

    sample: Tensor


def room(name: str, side: int, device: torch.device) -> None:
    """A ModelError where a pinned model and a picture of side x side pixels cannot fit: before anything is fetched."""
    if name in models.HUB and name in KNOWN:
        weights = models.needed(name, device)
        models.check_room(name, weights + WORKING * (side / 512) ** 2, device)


def open_model(name: str, side: int = 512, device: str | torch.device | None = None) -> LatentModel:
    """A model by its name (see engines.models), for pictures of up to side x side pixels. Raises ModelError."""
    whole("side", side, 8, MOST_SIDE)
    if not isinstance(name, str):
        raise ModelError("model must be the name of a model.")
    room(name, side, resolve(device))
    model = models.load(name, "latent", device).model
    model.name = name
    return model


@contextmanager
def within_memory(name: str) -> Iterator[None]:
    """A Refusal where the memory of the card does not suffice; what was taken is given back."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as fault:
        if not is_memory(fault):
            raise
        give_back(fault)
        raise Refusal(
            "The memory of this machine does not suffice for {name} at this size: choose smaller pictures, fewer of them, or a smaller model.",
            name=name,
        ) from None


def check_prompted(model: Any) -> Prompted:
    """The model, or a Refusal unless it is a Prompted."""
    if not isinstance(model, Prompted):
        raise Refusal("{parameter} must be a Prompted, not {given}.", parameter="model", given=quoted(model))
    return model
