"""Where the tokens of a real text go in mixture-of-experts language models, and the statistics of it.

Recorded are the experts that tokens were really sent to, not the top-k of the router's logits: with a selection bias these differ.
"""

from __future__ import annotations

import inspect
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engines import models
from engines.arguments import one_of, unbroken, whole
from engines.moe import statistics
from engines.moe.rules import load as load_of
from engines.moe.rules import violation
from engines.moe.texts import OWN, PRESETS

EMBEDDED = {"moe-none": "none", "moe-auxiliary": "auxiliary", "moe-loss-free": "loss-free"}
HUB = tuple(name for name in models.names("moe") if name in models.HUB)
LONGEST = 2048  # tokens of one text
ASSETS = models.ASSETS / "moe-decoders"
_recording = threading.Lock()  # hooks sit on a model that visitors share: one text at a time


class Sent(NamedTuple):
    """Where tokens went, T of them in the order of the text.

    probabilities: [layers, T, experts], softmax of the router's logits (before any selection bias)
    indices: int64 [layers, T, k], the experts used, −1 for padding
    weights: [layers, T, k], their weights in the output, 0 for padding
    """

    probabilities: Tensor
    indices: Tensor
    weights: Tensor


@torch.no_grad()
def send_through_decoder(model: nn.Module, ids: Tensor) -> Sent:
    """Route ids [T] through an `engines.decoder.Decoder` with experts, in stretches of the length it was trained on."""
    length = min(model.config.context, len(ids))
    stretches = nn.functional.pad(ids, (0, -len(ids) % length)).view(-1, length)
    # causal attention: what follows a token, here padding, cannot move it; it is cut off again below
    routing = model(stretches.to(next(model.parameters()).device)).routing

    def gathered(part: str) -> Tensor:
        return torch.stack([getattr(layer, part).flatten(0, 1)[: len(ids)] for layer in routing]).to(ids.device)

    return Sent(gathered("scores").float(), gathered("indices"), gathered("weights").float())


@torch.no_grad()
def send_through_transformers(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Sent:
    """Route input_ids [batch, length] through a causal model of transformers: Mixtral, OLMoE, Qwen-MoE, Granite-MoE and their kin.

    In transformers every mixture hands its experts module `top_k_index` and `top_k_weights`: what is recorded is what the
    experts were given. Tokens are flattened over the batch; those masked out have index −1.
    """
    experts = [module for module in model.modules() if "top_k_index" in inspect.signature(module.forward).parameters]
    if not experts:
        raise ValueError(f"model {model.config.model_type} is not a mixture of experts: it has no experts to route to.")
    given: list[tuple[Tensor, Tensor]] = []

    def record(module: nn.Module, arguments: tuple, named: dict) -> None:
        bound = inspect.signature(module.forward).bind(*arguments, **named).arguments
        given.append((bound["top_k_index"], bound["top_k_weights"]))

    with _recording:
        handles = [module.register_forward_pre_hook(record, with_kwargs=True) for module in experts]
        try:
            output = model.base_model(
                input_ids=input_ids, attention_mask=attention_mask, output_router_logits=True, use_cache=False
            )
        finally:
            for handle in handles:
                handle.remove()
    here = input_ids.device
    probabilities = torch.stack([logits.to(here).float().softmax(-1) for logits in output.router_logits])
    tokens = input_ids.numel()
    indices = torch.stack([index.to(here).long().view(tokens, -1) for index, _ in given])
    weights = torch.stack([weight.to(here).float().view(tokens, -1) for _, weight in given])
    if attention_mask is not None:
        padding = attention_mask.flatten() == 0
        indices[:, padding], weights[:, padding] = -1, 0
    return Sent(probabilities.view(len(given), tokens, -1), indices, weights)


@dataclass(frozen=True)
class TextRouting:
    """Where the tokens of a text went, and what that says. L layers, T tokens, n experts, k of them active.

    model: its name; text: what was read; tokens: T short texts, as shown
    indices: int16 [L, T, k], experts used, by falling weight, −1 for padding; weights: float32 [L, T, k]
    load: float32 [L, n], share of the assignments; max, min, mean: float32 [L], its violation
    co_activation: float32 [L, n, n], share of i's tokens that also use j
    flow: float32 [n, n], tokens by first choice in the first layer (row) and the last (column)
    entropy: float32 [L, T], entropy of the router's softmax in units of log n
    repeat: float32 [2, L], share of neighbours with the same first choice, and with a common expert among the first two
    repeat_load: float32 [2, L], the same over all pairs of tokens; repeat_chance: float32 [2], for even random routing
    history: float32 [R, M] and history_rules: max violation of layer `layer` (or the mean over layers) over the training of the embedded
        models at M even moments; empty for others
    layer: 0 for all layers or the one to show, counted from 1; experts, top_k: n and k
    """

    model: str
    text: str
    tokens: tuple[str, ...]
    indices: np.ndarray
    weights: np.ndarray
    load: np.ndarray
    max: np.ndarray
    min: np.ndarray
    mean: np.ndarray
    co_activation: np.ndarray
    flow: np.ndarray
    entropy: np.ndarray
    repeat: np.ndarray
    repeat_load: np.ndarray
    repeat_chance: np.ndarray
    history: np.ndarray
    history_rules: tuple[str, ...]
    layer: int
    experts: int
    top_k: int


def summarise(sent: Sent, model: str, text: str, tokens: tuple[str, ...], layer: int) -> TextRouting:
    """All statistics of where tokens went; computed on the device the indices are on."""
    layers, _, n = sent.probabilities.shape
    layer = whole("layer", layer, 0, layers)
    order = sent.weights.argsort(dim=-1, descending=True, stable=True)
    indices, weights = sent.indices.gather(-1, order), sent.weights.gather(-1, order)
    share = load_of(indices, n)
    violated = violation(share)
    entropy = statistics.router_entropy(sent.probabilities.clamp_min(1e-30).log())
    several = indices.shape[1] > 1
    repeat = statistics.repeat_rate(indices, n) if several else (torch.full((layers,), torch.nan),) * 2
    by_load = statistics.repeat_chance_of_load(indices, n) if several else repeat

    def host(value: Tensor, kind: type = np.float32) -> np.ndarray:
        return value.cpu().numpy().astype(kind)

    history, rules = _history(layer) if model in EMBEDDED else (np.zeros((0, 0), np.float32), ())
    return TextRouting(
        model=model,
        text=text,
        tokens=tokens,
        indices=host(indices, np.int16),
        weights=host(weights),
        load=host(share),
        max=host(violated.max),
        min=host(violated.min),
        mean=host(violated.mean),
        co_activation=host(statistics.co_activation(indices, n)),
        flow=host(statistics.flow(indices[0], indices[-1], n)),
        entropy=host(entropy),
        repeat=host(torch.stack(tuple(repeat))),
        repeat_load=host(torch.stack(tuple(by_load))),
        repeat_chance=np.array(statistics.repeat_chance(n, indices.shape[-1]), np.float32),
        history=history,
        history_rules=rules,
        layer=layer,
        experts=n,
        top_k=indices.shape[-1],
    )


def route_text(model: str = "moe-loss-free", preset: str = "mixed", text: str = OWN, layer: int = 0) -> TextRouting:
    """Route a text through one of the embedded byte-level models.

    model: moe-none, moe-auxiliary or moe-loss-free, by how training balanced them; preset: mixed, english, poem, python, or own;
    text: read with preset own; layer: the one to show, from 1, or 0 for all.
    Each stretch of 128 bytes is read on its own, as in training.
    """
    one_of("model", model, EMBEDDED)
    text = chosen_text(preset, text)
    ids = np.frombuffer(text.encode(), np.uint8)
    if len(ids) > LONGEST:
        raise ValueError(f"text is too long: {len(ids):,} bytes in UTF-8, and at most {LONGEST:,} are read at once.")
    decoder = models.load(model).model
    sent = send_through_decoder(decoder, torch.tensor(ids.astype(np.int64), device=next(decoder.parameters()).device))
    return summarise(sent, model, text, byte_labels(text), layer)


def route_text_on_hub(
    hub_model: str = HUB[0], preset: str = "mixed", text: str = OWN, hub_layer: int = 0
) -> TextRouting:
    """Route a text through a model of the Hub (or an embedded one), by name; parameters otherwise as in `route_text`."""
    if hub_model in EMBEDDED:
        return route_text(hub_model, preset, text, hub_layer)
    text = chosen_text(preset, text)
    model, tokenizer = models.load(hub_model, "moe")
    return route_text_through(model, tokenizer, text, hub_layer, hub_model)


def route_text_through(model: nn.Module, tokenizer: Any, text: str, layer: int = 0, name: str = "model") -> TextRouting:
    """Route a text through a model and tokenizer of transformers."""
    ids = tokenizer(text, return_tensors="pt", return_attention_mask=True)
    if ids["input_ids"].shape[1] > LONGEST:
        raise ValueError(f"text is too long: {ids['input_ids'].shape[1]:,} tokens, at most {LONGEST:,} at once.")
    labels = tuple(tokenizer.decode([i]) for i in ids["input_ids"][0].tolist())
    device = next(model.parameters()).device
    sent = send_through_transformers(model, ids["input_ids"].to(device), ids["attention_mask"].to(device))
    return summarise(sent, name, text, tuple(map(shown, labels)), layer)


def chosen_text(preset: str, text: str) -> str:
    """The text to read: a preset, or with preset own the one typed."""
    if one_of("preset", preset, (*PRESETS, "own")) != "own":
        return PRESETS[preset]
    if not isinstance(text, str):
        raise ValueError("text must be a text.")
    if len(text) > LONGEST:
        raise ValueError(
            f"text is too long: {len(text):,} characters, and at most {LONGEST:,} tokens are read at once."
        )
    if not text.strip():
        raise ValueError("text is empty: type something, or choose one of the preset texts.")
    return unbroken("text", text)


def shown(piece: str) -> str:
    """A token as shown in a figure: blanks made visible, long ones cut."""
    seen = piece.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    seen = "".join(letter if letter.isprintable() else "□" for letter in seen)
    return seen if len(seen) <= 12 else seen[:11] + "…"


def byte_labels(text: str) -> tuple[str, ...]:
    """A label for each byte of UTF-8: the character at its first byte, dots at the rest."""
    return tuple(label for letter in text for label in (shown(letter), *"·" * (len(letter.encode()) - 1)))


@dataclass(frozen=True)
class Domains:
    """What the experts of one layer do with kinds of text, and with single tokens.

    domains: names, D of them; share: float32 [D, n], of a domain's tokens, the share routed to each expert (rows sum to k)
    classes: names of kinds of byte, C of them; class_share: float32 [C, n]; class_count: int [C], tokens of each kind
    top_tokens: for each expert the tokens most often routed to it, of those that occur at least `often` times; top_share: float32
        [n, 5], the share of their occurrences routed to it (NaN where there are fewer)
    apart: float32 [L], how far the domains part in each layer: mean total variation between a domain's load and the mean load
    even: k/n; layer, layers, experts, top_k, often, model: settings
    """

    domains: tuple[str, ...]
    share: np.ndarray
    classes: tuple[str, ...]
    class_share: np.ndarray
    class_count: np.ndarray
    top_tokens: tuple[tuple[str, ...], ...]
    top_share: np.ndarray
    apart: np.ndarray
    even: float
    layer: int
    layers: int
    experts: int
    top_k: int
    often: int
    model: str


CLASSES = ("lower case", "capitals", "digits", "space", "newline", "punctuation", "first byte of a 汉字", "later bytes")


def byte_class(ids: Tensor) -> Tensor:
    """The kind of each byte, an index into `CLASSES`."""
    kind = torch.full((256,), 5)
    kind[97:123], kind[65:91], kind[48:58], kind[32], kind[10] = 0, 1, 2, 3, 4
    kind[192:], kind[128:192] = 6, 7
    return kind[ids]


def domain_routing(model: str = "moe-loss-free", layer: int = 0, often: int = 12) -> Domains:
    """Domain and vocabulary specialisation (OLMoE, sections 5.3 and 5.4) on text held back from training: stories, quatrains, Python.

    model: an embedded one; layer: from 1, or 0 for the last; often: how often a byte must occur to be listed.
    """
    one_of("model", model, EMBEDDED)
    often = whole("often", often, 1, 1000)
    texts = held_back()
    domains = tuple(texts)
    ids = torch.cat([part.flatten() for part in texts.values()])
    sent = send_through_decoder(models.load(model).model, ids)
    layers, _, n = sent.probabilities.shape
    layer = whole("layer", layer, 0, layers) or layers
    belongs = torch.arange(len(domains)).repeat_interleave(torch.tensor([p.numel() for p in texts.values()]))
    by_domain = statistics.specialisation(sent.indices, belongs, len(domains), n)
    loads = by_domain / by_domain.sum(-1, keepdim=True)
    kinds = byte_class(ids)
    vocabulary = statistics.specialisation(sent.indices[layer - 1], ids, 256, n)
    vocabulary[torch.bincount(ids, minlength=256) < often] = -1
    best = vocabulary.topk(5, dim=0)
    present = best.values.T >= 0
    return Domains(
        domains=domains,
        share=by_domain[layer - 1].numpy(),
        classes=CLASSES,
        class_share=statistics.specialisation(sent.indices[layer - 1], kinds, len(CLASSES), n).numpy(),
        class_count=torch.bincount(kinds, minlength=len(CLASSES)).numpy(),
        top_tokens=tuple(
            tuple(byte_name(i) for i, there in zip(row, kept, strict=True) if there)
            for row, kept in zip(best.indices.T.tolist(), present.tolist(), strict=True)
        ),
        top_share=torch.where(present, best.values.T, torch.nan).numpy(),
        apart=((loads - loads.mean(1, keepdim=True)).abs().sum(-1).mean(1) / 2).numpy(),
        even=sent.indices.shape[-1] / n,
        layer=layer,
        layers=layers,
        experts=n,
        top_k=sent.indices.shape[-1],
        often=often,
        model=model,
    )


def byte_name(byte: int) -> str:
    """A byte as shown: its character in ASCII, its two hex digits otherwise."""
    return shown(chr(byte)) if 32 <= byte < 127 or byte in (9, 10) else f"{byte:02X}"


@lru_cache(maxsize=1)
def held_back() -> dict[str, Tensor]:
    """Text the embedded models were not trained on: domain -> integer bytes [12, context]."""
    from safetensors.torch import load_file

    held = load_file(_asset("held-back.safetensors"))
    return {name: held[name][:12].long() for name in ("story", "quatrain", "python")}


@lru_cache(maxsize=1)
def load_history() -> dict[str, Tensor]:
    """Load over the training of the embedded models: balancing -> [moments, layers, experts], shares."""
    from safetensors.torch import load_file

    return load_file(_asset("load-history.safetensors"))


def _history(layer: int) -> tuple[np.ndarray, tuple[str, ...]]:
    violated = {name: violation(load_history()[name]).max for name in EMBEDDED.values()}
    rows = [v.mean(1) if layer == 0 else v[:, layer - 1] for v in violated.values()]
    return torch.stack(rows).float().numpy(), tuple(violated)


def _asset(name: str) -> Path:
    path = ASSETS / name
    if not path.is_file():
        raise ValueError(f"model weights are missing: {path.name} belongs in assets/models/moe-decoders.")
    return path
