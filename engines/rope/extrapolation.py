"""What the bases and scalings do to a real model: loss against position, far beyond the length it was trained on.

The five embedded decoders differ in nothing but their base; each scaling is applied as they stand, without retraining.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from engines import models
from engines.arguments import Between, Refusal, SomeOf, checked, one_of, whole
from engines.decoder import Decoder, token_losses
from engines.progress import Progress
from engines.rope.attention import FORMS, Window, check_model
from engines.rope.attention import attention as attend_with
from engines.rope.frequencies import (
    MOST_LENGTH,
    SCALINGS,
    Exponent,
    Factor,
    LongRopeFactors,
    RotaryPart,
    attention_factor,
    inverse_frequencies,
    spread_factors,
)

TRAINED_BASES = ("100", "1000", "10000", "100000", "1000000")
WAYS = (*SCALINGS, *FORMS)
LOG_N = ("off", "on")
LONGEST = 2_048
Ways = Annotated[Sequence[str], SomeOf(WAYS)]


@dataclass(frozen=True)
class Extrapolation:
    """Held-back loss over position, a curve for each base and scaling.

    head_dim: int; dimensions of a head
    context_length: int, bytes; the length that the models were trained on, L
    factor: float; k of the scalings
    texts: int; how many texts were read
    length: int, bytes; how much of each
    models: tuple [c]; key of each curve's model
    bases: float64 [c]; its base
    scalings: tuple [c]; scaling of each curve, or form of its attention
    log_n: tuple [c]; whether logits grow with ln n, "on" or "off"
    position: float64 [n], bytes; how many stand before the predicted one, geometric mean of each bin
    loss: float64 [c, n], nats a byte; mean negative log-likelihood in each bin
    excess: float64 [c, n], nats a byte; loss less that of the same bytes read by the same model, unscaled, with only the
        64 to 127 bytes before them in view: what the context beyond the trained length costs, freed of how hard each
        passage is
    error: float64 [c, n], nats a byte; standard error of the excess over the texts, 0 for a single text
    accuracy: float64 [c]; share of the bytes in the second half of the whole length that the model finds likeliest
    inside: float64 [c], nats a byte; mean loss over the second half of the trained length
    beyond: float64 [c], nats a byte; mean loss over the second half of the whole length
    """

    head_dim: int
    context_length: int
    factor: float
    texts: int
    length: int
    models: tuple[str, ...]
    bases: np.ndarray
    scalings: tuple[str, ...]
    log_n: tuple[str, ...]
    position: np.ndarray
    loss: np.ndarray
    excess: np.ndarray
    error: np.ndarray
    accuracy: np.ndarray
    inside: np.ndarray
    beyond: np.ndarray


@checked
def extrapolation(
    trained_bases: Annotated[Sequence[str], SomeOf(TRAINED_BASES)] = ("10000",),
    scalings: Ways = ("none", "linear", "ntk", "yarn"),
    factor: Factor = 8.0,
    length: Annotated[int, Between(256, LONGEST)] = LONGEST,
    texts: Annotated[int, Between(1, 16)] = 4,
    repeat: Annotated[int, Between(0, 1024)] = 0,
    log_n: Annotated[Sequence[str], SomeOf(LOG_N)] = ("off",),
    window: Window = 64,
    exponent: Exponent = 0.625,
    attention: Annotated[float, Between(0, 4)] = 0.0,
    longrope_factors: LongRopeFactors = (1.0, 1.0, 2.0, 8.0),
    longrope_short_factors: LongRopeFactors = (1.0,),
    partial_rotary_factor: RotaryPart = 1.0,
) -> Iterator[Progress[Extrapolation]]:
    """Progress with Extrapolation: loss over position of the embedded decoders, as in YaRN's figures (arXiv 2309.00071).

    dynamic is what it is in use: the frequencies at position n are those for n bytes (here for n rounded up to 128 times a
    power of two). longrope likewise: its short factors to the trained length, its long ones for whatever is longer.
    attention: the attention_factor of yarn and longrope; 0 leaves it to the scaling. The factors are spread over the
    pairs as in `wavelengths`. partial_rotary_factor is used by proportional alone (with a factor of 1): the models rotate all pairs.
    scalings may also name a form of attention (`attention.FORMS`), with its window; leaky_rerope uses the factor.
    repeat: the first so many bytes again and again in place of each text, as the repeated test of kexue.fm/archives/9675
    (0: the text itself); log_n: curves with and without log n scaling.
    """
    tokens = held_back()[:texts, :length].long()
    if repeat:
        tokens = tokens[:, :repeat].repeat(1, -(-length // repeat))[:, :length]
    curves = [(base, name, log) for base in trained_bases for name in scalings for log in log_n]
    losses, hits, near = [], [], {}
    for base, name, log in curves:
        model = decoder(base)
        own: dict[str, Any] = {"partial_rotary_factor": partial_rotary_factor} if name == "proportional" else {}
        if name == "longrope":
            pairs = model.config.head_dim // 2
            own["factors"] = spread_factors(longrope_factors, pairs, "longrope_factors")
            own["short_factors"] = spread_factors(longrope_short_factors, pairs, "longrope_short_factors")
        k = 1.0 if name == "proportional" else factor
        logits = position_logits(
            model, tokens, name, k, attention or None, log == "on", window, exponent=exponent, **own
        )
        losses.append(token_losses(logits, tokens).double().numpy())
        hits.append(float((logits[:, :-1].argmax(-1) == tokens[:, 1:])[:, (length - 1) // 2 :].double().mean()))
        if base not in near:
            near[base] = near_losses(model, tokens)
        done = curves[: len(losses)]
        reference = np.stack([near[base] for base, *_ in done])
        yield Progress(len(losses), len(curves), _result(model, done, np.stack(losses), reference, factor, hits))


def decoder(base: str) -> Decoder:
    """The embedded decoder of one of TRAINED_BASES, on the processor."""
    return models.load(f"rope-base-{base}", "decoder", "cpu").model


def held_back() -> torch.Tensor:
    """The texts that the models were not trained on, uint8 [16, 2048]."""
    from safetensors.torch import load_file

    return load_file(models.ASSETS / "rope-decoders" / "held-back.safetensors")["tokens"]


def _tokens(model: Decoder, tokens: Any) -> torch.Tensor:
    check_model(model)
    if not isinstance(tokens, torch.Tensor) or tokens.dim() != 2 or not len(tokens) or tokens.shape[1] < 2:
        raise Refusal(
            "{parameter} must be a tensor [texts, length] of at least one text and two bytes.", parameter="tokens"
        )
    return tokens.to(next(model.parameters()).device).long()


def position_losses(
    model: Decoder,
    tokens: torch.Tensor,
    scaling: str,
    factor: float = 1.0,
    attention: float | None = None,
    log_n: bool = False,
    window: int = 64,
    **settings: Any,
) -> np.ndarray:
    """Loss in nats of each token given those before it, float64 [texts, length − 1]; arguments of `position_logits`."""
    logits = position_logits(model, tokens, scaling, factor, attention, log_n, window, **settings)
    return token_losses(logits, tokens.cpu().long()).double().numpy()


@torch.no_grad()
def position_logits(
    model: Decoder,
    tokens: torch.Tensor,
    scaling: str,
    factor: float = 1.0,
    attention: float | None = None,
    log_n: bool = False,
    window: int = 64,
    **settings: Any,
) -> torch.Tensor:
    """Logits [texts, length, vocabulary], in memory, under a scaling of the rotation or a form of attention.

    tokens: integers [texts, length]; scaling: one of SCALINGS or FORMS; attention: as in `attention_factor`; log_n:
    whether the logits of a query that sees n tokens, more than trained, are multiplied by ln n / ln L; window: of the
    form; settings: as in `inverse_frequencies`
    """
    tokens, trained = _tokens(model, tokens), model.config.context
    length = tokens.shape[1]
    form = scaling if one_of("scaling", scaling, WAYS) in FORMS else ""
    window = whole("window", window, 1, MOST_LENGTH)
    if not isinstance(log_n, bool):
        raise Refusal("{parameter} must be True or False.", parameter="log_n")
    kind = "none" if form else scaling
    scale = attention_factor(kind, factor, trained, attention=attention)

    def read(prefix: int) -> torch.Tensor:
        frequencies = inverse_frequencies(
            model.config.head_dim,
            model.config.rope_base,
            kind,
            factor=factor,
            context_length=trained,
            length=prefix,
            **settings,
        )
        own = attend_with(frequencies, scale, form, window, factor, trained if log_n else 0)
        # a text at a time: its attention fits the cache of the processor
        return torch.cat([model(row[None, :prefix], frequencies, scale, own).logits for row in tokens])

    ends = [length]  # of the prefixes that are read with frequencies of their own
    if scaling == "longrope":
        ends = [min(trained, length), length]
    elif scaling == "dynamic":
        doublings = math.ceil(math.log2(max(length / trained, 1)))
        ends = [min(trained << doubling, length) for doubling in range(doublings + 1)]
    logits, start = [], 0
    for end in dict.fromkeys(ends):
        # what predicts the first byte beyond a prefix is read with the frequencies of the next one
        logits.append(read(end)[:, start : end if end == length else end - 1])
        start = end - 1
    return torch.cat(logits, dim=1).float().cpu()


@torch.no_grad()
def near_losses(model: Decoder, tokens: torch.Tensor) -> np.ndarray:
    """Loss of each byte given no more than the trained length, and no less than half of it where there is as much.

    float64 [texts, length − 1]: the text is read in windows of the trained length that overlap by half.
    """
    tokens, trained, half = _tokens(model, tokens), model.config.context, model.config.context // 2
    length = tokens.shape[1]
    losses = torch.empty(len(tokens), length - 1, dtype=torch.float64)
    for row, found in zip(tokens, losses, strict=True):
        count = max(0, math.ceil((length - trained) / half)) + 1
        starts = [min(i * half, max(0, length - trained)) for i in range(count)]
        windows = torch.stack([row[start : start + trained] for start in starts])
        read = token_losses(model(windows).logits, windows).cpu().double()
        # later windows overwrite only where they have half the trained length in view
        for start, window in zip(starts, read, strict=True):
            new = half - 1 if start else 0
            found[start + new : start + len(window)] = window[new:]
    return losses.numpy()


def _result(
    model: Decoder,
    curves: Sequence[tuple[str, str, str]],
    losses: np.ndarray,
    near: np.ndarray,
    factor: float,
    hits: Sequence[float],
) -> Extrapolation:
    """Bin the losses [c, texts, length − 1] by position, four bins an octave after the first eight bytes."""
    texts, count = losses.shape[1:]
    trained = model.config.context
    edges = np.r_[1, np.round(2 ** np.arange(3, math.log2(count) - 0.1, 1 / 4)).astype(int), count + 1]

    def binned(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, edges[:-1] - 1, axis=-1) / np.diff(edges)

    excess = binned(losses - near)
    spread = excess.std(axis=1, ddof=1) / math.sqrt(texts) if texts > 1 else np.zeros_like(excess[:, 0])
    return Extrapolation(
        head_dim=model.config.head_dim,
        context_length=trained,
        factor=factor,
        texts=texts,
        length=count + 1,
        models=tuple(base for base, *_ in curves),
        bases=np.array([decoder(base).config.rope_base for base, *_ in curves]),
        scalings=tuple(name for _, name, _ in curves),
        log_n=tuple(log for *_, log in curves),
        position=np.exp(binned(np.log(np.arange(1, count + 1)))),
        loss=binned(losses).mean(axis=1),
        excess=excess.mean(axis=1),
        error=spread,
        accuracy=np.array(hits),
        inside=losses[:, :, trained // 2 : trained - 1].mean((1, 2)),
        beyond=losses[:, :, count // 2 :].mean((1, 2)),
    )
