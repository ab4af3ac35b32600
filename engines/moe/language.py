"""Where the tokens of a real text go in mixture-of-experts language models, and the statistics of it.

Recorded are the experts that tokens were really sent to, not the top-k of the router's logits: with a selection bias these differ.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engines import models
from engines.arguments import Characters, ListOf, OneOf, Refusal, checked, quoted, text, whole
from engines.decoder import Decoder, token_losses
from engines.moe import statistics
from engines.moe.rules import load as load_of
from engines.moe.rules import violation
from engines.moe.texts import OWN, PRESETS

EMBEDDED = {"moe-none": "none", "moe-auxiliary": "auxiliary", "moe-loss-free": "loss-free"}
HUB = tuple(name for name in models.names("moe") if name in models.HUB)
# model of the Hub -> layers, routed experts in each, experts of a token
HUB_SIZES = {
    "ibm-granite/granite-3.0-1b-a400m-instruct": (24, 32, 8),
    "allenai/OLMoE-1B-7B-0924": (16, 64, 8),
    "Qwen/Qwen1.5-MoE-A2.7B": (24, 60, 4),
    "deepseek-ai/DeepSeek-V2-Lite": (26, 64, 6),
    "mistralai/Mixtral-8x7B-v0.1": (32, 8, 2),
    "openai/gpt-oss-20b": (24, 32, 4),
}
READ = (*PRESETS, "held-back", "own")
LONGEST = 2048  # tokens of one text
SEQUENCES = 12  # of each domain held back
ASSETS = models.ASSETS / "moe-decoders"
_recording = threading.Lock()  # hooks sit on a model that visitors share: one text at a time


class Sent(NamedTuple):
    """Where tokens went, T of them in the order of the text.

    probabilities: [layers, T, experts]; softmax of the router's logits (before any selection bias)
    indices: int64 [layers, T, k]; the experts used, −1 for padding
    weights: [layers, T, k]; their weights in the output, 0 for padding
    loss: mean loss in nats a token of the tokens after the first of each stretch; NaN where it is not measured
    """

    probabilities: Tensor
    indices: Tensor
    weights: Tensor
    loss: float = float("nan")


@torch.no_grad()
def send_through_decoder(model: Decoder, ids: Tensor, bias: Sequence[float] = ()) -> Sent:
    """Route ids [T] through a decoder with experts, in stretches of the length it was trained on.

    bias: a number for each expert, added in every layer to the scores by which experts are chosen, not to their weights
    """
    if not isinstance(model, Decoder) or not model.config.experts:
        raise Refusal("{parameter} must be an engines.decoder.Decoder with experts.", parameter="model")
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.ndim != 1 or not len(ids):
        raise Refusal("{parameter} must be a tensor of at least one integer, [T].", parameter="ids")
    if int(ids.min()) < 0 or int(ids.max()) >= model.config.vocabulary:
        raise Refusal("{parameter} must be from 0 to {last}.", parameter="ids", last=model.config.vocabulary - 1)
    if any(bias):
        if len(bias) != model.config.experts:
            raise Refusal(
                "{parameter} must hold {experts} numbers, one an expert.",
                parameter="bias",
                experts=model.config.experts,
            )
        model = copy.deepcopy(model)  # the loaded one is shared
        for block in model.blocks:
            block.feed.bias += torch.tensor(list(bias)).to(block.feed.bias)
    length = min(model.config.context, len(ids))
    stretches = nn.functional.pad(ids, (0, -len(ids) % length)).view(-1, length)
    stretches = stretches.to(next(model.parameters()).device)
    # causal attention: what follows a token, here padding, cannot move it; it is cut off again below
    output = model(stretches)
    losses = nn.functional.pad(token_losses(output.logits, stretches), (1, 0), value=torch.nan).flatten()[: len(ids)]

    def gathered(part: str) -> Tensor:
        return torch.stack([getattr(layer, part).flatten(0, 1)[: len(ids)] for layer in output.routing]).to(ids.device)

    return Sent(gathered("scores").float(), gathered("indices"), gathered("weights").float(), float(losses.nanmean()))


@torch.no_grad()
def send_through_transformers(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Sent:
    """Route input_ids [batch, length] through a causal model of transformers: Mixtral, OLMoE, Qwen-MoE, Granite-MoE, GPT-OSS,
    DeepSeek-V2 and V3, and their kin.

    In transformers every mixture hands its experts module indices and weights: what is recorded is what the experts were
    given. Tokens are flattened over the batch; those masked out have index −1.
    """
    experts = {module: names for module in model.modules() if (names := _given_as(module)) is not None}
    if not experts:
        raise Refusal(
            "{model} is not a mixture of experts: it has no experts to route to.", model=model.config.model_type
        )
    given: list[tuple[Tensor, Tensor]] = []

    def record(module: nn.Module, arguments: tuple, named: dict) -> None:
        bound = inspect.signature(module.forward).bind(*arguments, **named).arguments
        given.append(tuple(bound[name] for name in experts[module]))

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


def _given_as(module: nn.Module) -> tuple[str, str] | None:
    """The names under which an experts module of transformers is given indices and weights; None for other modules."""
    parameters = inspect.signature(module.forward).parameters
    # the second pair is GPT-OSS's
    for names in (("top_k_index", "top_k_weights"), ("router_indices", "routing_weights")):
        if all(name in parameters for name in names):
            return names
    return None


@dataclass(frozen=True)
class TextRouting:
    """Where the tokens of a text went, and the statistics of it; L layers, T tokens, n experts, k of them used by a token.

    model: name of the model
    text: what was read
    tokens: T short texts; a byte after the first of its character is "·"
    indices: int16 [L, T, k]; experts used, by falling weight, −1 for padding
    weights: float32 [L, T, k]; their weights
    entropy: float32 [L, T]; entropy of the router's softmax in units of log n
    load: float32 [L, n]; share F of the assignments
    max: float32 [L]; greatest violation (F − Q)/Q of the load
    min: float32 [L]; least violation
    mean: float32 [L]; mean of the violation's absolute value
    co_activation: float32 [L, n, n]; share of i's tokens that also use j
    flow: float32 [n, n]; tokens by first choice in the first layer (row) and the last (column)
    repeat: float32 [2, L]; share of neighbours with the same first choice, and with a common expert among the first two
    repeat_load: float32 [2, L]; the same over all pairs of tokens
    repeat_chance: float32 [2]; the same for even random routing
    domains: keys of the text's parts, D of them ("own" for a text of one's own; none for models of the Hub)
    domain_share: float32 [L, D, n]; of a domain's tokens, the share routed to each expert (rows sum to k)
    apart: float32 [L]; mean total variation between a domain's load and the mean load of the domains
    classes: keys of kinds of byte, C of them (none for models of the Hub)
    class_share: float32 [L, C, n]; of a kind's tokens, the share routed to each expert
    class_count: int64 [C]; tokens of each kind
    top_tokens: for each layer and expert, up to five tokens most often routed to it, of those that occur `often` times or more
    top_share: float32 [L, n, 5]; the share of their occurrences routed to it (NaN where there are fewer)
    often: int; how often a token must occur to be listed
    loss: float; mean loss in nats a token (NaN for models of the Hub)
    bias: float32 [n]; what was added to the scores for the choice
    history: float32 [R, M, L]; max violation over the training of the embedded models, M even moments (empty for others)
    history_rules: keys of the R balancings
    experts: int; n
    top_k: int; k
    """

    model: str
    text: str
    tokens: tuple[str, ...]
    indices: np.ndarray
    weights: np.ndarray
    entropy: np.ndarray
    load: np.ndarray
    max: np.ndarray
    min: np.ndarray
    mean: np.ndarray
    co_activation: np.ndarray
    flow: np.ndarray
    repeat: np.ndarray
    repeat_load: np.ndarray
    repeat_chance: np.ndarray
    domains: tuple[str, ...]
    domain_share: np.ndarray
    apart: np.ndarray
    classes: tuple[str, ...]
    class_share: np.ndarray
    class_count: np.ndarray
    top_tokens: tuple[tuple[tuple[str, ...], ...], ...]
    top_share: np.ndarray
    often: int
    loss: float
    bias: np.ndarray
    history: np.ndarray
    history_rules: tuple[str, ...]
    experts: int
    top_k: int


class Read(NamedTuple):
    """A text as a model reads it, T tokens.

    text: the text
    ids: int64 [T]
    tokens: T short texts, as shown
    names: what an id is called in a list
    domains: D keys
    domain: int64 [T]; the domain of each token, an index into `domains`
    byte: whether ids are bytes
    """

    text: str
    ids: Tensor
    tokens: tuple[str, ...]
    names: dict[int, str]
    domains: tuple[str, ...] = ()
    domain: Tensor | None = None
    byte: bool = False


def summarise(sent: Sent, read: Read, model: str, bias: Sequence[float] = ()) -> TextRouting:
    """All statistics of where tokens went; computed on the device the indices are on."""
    layers, tokens, n = sent.probabilities.shape
    order = sent.weights.argsort(dim=-1, descending=True, stable=True)
    indices, weights = sent.indices.gather(-1, order), sent.weights.gather(-1, order)
    share = load_of(indices, n)
    violated = violation(share)
    several = tokens > 1
    repeat = statistics.repeat_rate(indices, n) if several else (torch.full((layers,), torch.nan),) * 2
    by_load = statistics.repeat_chance_of_load(indices, n) if several else repeat

    def shares(groups: Tensor, count: int) -> Tensor:
        return statistics.specialisation(indices, groups.to(indices.device), count, n) if count else share[:, :0]

    domain_share = shares(read.domain, len(read.domains)) if read.domains else share[:, None, :][:, :0]
    loads = domain_share / domain_share.sum(-1, keepdim=True).clamp_min(1e-30)
    classes = CLASSES if read.byte else ()
    kinds = byte_class(read.ids.cpu()) if read.byte else torch.zeros(0, dtype=torch.int64)

    # the tokens most often routed to each expert
    kept, which, counts = read.ids.cpu().unique(return_inverse=True, return_counts=True)
    often = max(3, tokens // 384)
    vocabulary = shares(which, len(kept)).cpu()
    vocabulary[:, counts < often] = -1
    best = nn.functional.pad(vocabulary, (0, 0, 0, 5), value=-1).topk(5, dim=1)
    values, places = best.values.mT, best.indices.mT
    top_tokens = tuple(
        tuple(
            tuple(read.names[int(kept[i])] for i, v in zip(*row, strict=True) if v >= 0)
            for row in zip(*layer, strict=True)
        )
        for layer in zip(places.tolist(), values.tolist(), strict=True)
    )

    def host(value: Tensor, kind: type = np.float32) -> np.ndarray:
        return value.cpu().numpy().astype(kind)

    embedded = model in EMBEDDED
    history = torch.stack([violation(load_history()[name]).max for name in EMBEDDED.values()]) if embedded else None
    return TextRouting(
        model=model,
        text=read.text,
        tokens=read.tokens,
        indices=host(indices, np.int16),
        weights=host(weights),
        entropy=host(statistics.router_entropy(sent.probabilities.clamp_min(1e-30).log())),
        load=host(share),
        max=host(violated.max),
        min=host(violated.min),
        mean=host(violated.mean),
        co_activation=host(statistics.co_activation(indices, n)),
        flow=host(statistics.flow(indices[0], indices[-1], n)),
        repeat=host(torch.stack(tuple(repeat))),
        repeat_load=host(torch.stack(tuple(by_load))),
        repeat_chance=np.array(statistics.repeat_chance(n, indices.shape[-1]), np.float32),
        domains=read.domains,
        domain_share=host(domain_share),
        apart=host((loads - loads.mean(1, keepdim=True)).abs().sum(-1).mean(1) / 2)
        if read.domains
        else np.zeros(layers),
        classes=classes,
        class_share=host(shares(kinds, len(classes))) if classes else np.zeros((layers, 0, n), np.float32),
        class_count=torch.bincount(kinds, minlength=len(classes)).numpy(),
        top_tokens=top_tokens,
        top_share=host(torch.where(values >= 0, values, torch.nan)),
        often=often,
        loss=sent.loss,
        bias=np.array(bias or np.zeros(n), np.float32),
        history=np.zeros((0, 0, 0), np.float32) if history is None else host(history),
        history_rules=tuple(EMBEDDED.values()) if embedded else (),
        experts=n,
        top_k=indices.shape[-1],
    )


@checked
def route_text(
    model: Annotated[str, OneOf(EMBEDDED)] = "moe-loss-free",
    preset: Annotated[str, OneOf(READ)] = "mixed",
    text: Annotated[str, Characters(LONGEST)] = OWN,
    bias: Annotated[Sequence[float], ListOf(-1, 1, most=8, least=8)] = (0.0,) * 8,
) -> TextRouting:
    """Route a text through one of the embedded byte-level models.

    model: moe-none, moe-auxiliary or moe-loss-free, by how training balanced them; preset: mixed, english, poem, python, held-back
    (36 sequences of stories, quatrains and Python that the models were not trained on, from the same books), or own;
    text: read with preset own; bias: a number for each of the 8 experts, added in every layer to the router's softmax when
    experts are chosen. Each stretch of 128 bytes is read on its own, as in training.
    """
    decoder = models.load(model).model
    read = read_bytes(preset, text)
    return summarise(
        send_through_decoder(decoder, read.ids.to(next(decoder.parameters()).device), bias), read, model, bias
    )


@checked
def route_text_on_hub(
    model: Annotated[str, OneOf((*EMBEDDED, *HUB))] = "moe-loss-free",
    preset: Annotated[str, OneOf((*PRESETS, "own"))] = "mixed",
    text: Annotated[str, Characters(LONGEST)] = OWN,
) -> TextRouting:
    """Route a text through a model of the Hub, fetched by name (or an embedded one, which needs no network)."""
    if model in EMBEDDED:
        return route_text(model, preset, text)
    whole_text = "".join(part for _, part in chosen_parts(preset, text))
    return route_text_through(*models.load(model, "moe"), whole_text, model)


def route_text_through(model: nn.Module, tokenizer: Any, text: str, name: str = "model") -> TextRouting:
    """Route a text through a model and tokenizer of transformers."""
    (_, text), *_ = chosen_parts("own", text)
    try:
        given = tokenizer(text, return_tensors="pt", return_attention_mask=True)
        ids, mask = given["input_ids"], given["attention_mask"]
        device = next(model.parameters()).device
    except (TypeError, AttributeError, KeyError):
        raise Refusal(
            "{parameter} must be a causal model of transformers, with its tokenizer; this is {given}.",
            parameter="model",
            given=quoted(model),
        ) from None
    if not 1 <= ids.shape[1] <= LONGEST:
        raise Refusal(
            "{parameter} is {count} tokens; from 1 to {most} are read at once.",
            parameter="text",
            count=ids.shape[1],
            most=LONGEST,
        )
    names = {i: shown(tokenizer.decode([i])) for i in set(ids[0].tolist())}
    sent = send_through_transformers(model, ids.to(device), mask.to(device))
    return summarise(sent, Read(text, ids[0], tuple(names[i] for i in ids[0].tolist()), names), name)


def chosen_parts(preset: str, typed: str) -> tuple[tuple[str, str], ...]:
    """The text to read in parts (domain, text): a preset, or with preset own the one typed."""
    if preset != "own":
        return PRESETS[preset]
    if not text("text", typed, LONGEST).strip():
        raise Refusal("{parameter} is empty: type something, or choose another text.", parameter="text")
    return (("own", typed),)


def read_bytes(preset: str, typed: str) -> Read:
    """A text as bytes of UTF-8."""
    if preset == "held-back":
        domains = tuple(held_back())
        parts = torch.stack(list(held_back().values()), 1)  # a sequence of each domain in turn
        ids, domain = parts.flatten(), torch.arange(len(domains)).repeat_interleave(parts.shape[-1]).repeat(len(parts))
        data = bytes(ids.tolist())
    else:
        chosen = chosen_parts(preset, typed)
        pieces = [part.encode() for _, part in chosen]
        data = b"".join(pieces)
        if len(data) > LONGEST:
            raise Refusal(
                "{parameter} is {count} bytes in UTF-8; at most {most} are read at once.",
                parameter="text",
                count=len(data),
                most=LONGEST,
            )
        domains = tuple(name for name, _ in chosen)
        ids = torch.tensor(list(data))
        domain = torch.arange(len(pieces)).repeat_interleave(torch.tensor([len(piece) for piece in pieces]))
    names = {i: byte_name(i) for i in range(256)}
    return Read(data.decode(errors="replace"), ids, byte_labels(data), names, domains, domain, True)


def shown(piece: str) -> str:
    """A token as shown in a figure: blanks made visible, long ones cut."""
    seen = piece.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    seen = "".join(letter if letter.isprintable() else "□" for letter in seen)
    return seen if len(seen) <= 12 else seen[:11] + "…"


def byte_labels(data: bytes) -> tuple[str, ...]:
    """A label for each byte of UTF-8: the character at its first byte, dots at the rest; hex digits where a character is cut."""
    labels: list[str] = []
    while len(labels) < len(data):
        start = len(labels)
        for size in (1, 2, 3, 4):
            try:
                labels += [shown(data[start : start + size].decode()), *"·" * (size - 1)][: len(data) - start]
                break
            except UnicodeDecodeError:
                continue
        else:
            labels.append(byte_name(data[start]))
    return tuple(labels)


# kinds of byte; "lead" and "continuation" are UTF-8's names for the first and the later bytes of a character beyond ASCII
CLASSES = ("lower", "capital", "digit", "space", "newline", "other", "lead", "continuation")


def byte_class(ids: Tensor) -> Tensor:
    """The kind of each byte, an index into `CLASSES`: integer [...] -> int64 [...]."""
    if (
        not isinstance(ids, Tensor)
        or ids.is_floating_point()
        or ids.is_complex()
        or (ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < 256)
    ):
        raise Refusal("{parameter} must be a tensor of integers from 0 to 255.", parameter="ids")
    kind = torch.full((256,), 5)
    kind[97:123], kind[65:91], kind[48:58], kind[32], kind[10] = 0, 1, 2, 3, 4
    kind[192:], kind[128:192] = 6, 7
    return kind[ids.long()]


def byte_name(byte: int) -> str:
    """A byte as shown: its character in ASCII, its two hex digits otherwise."""
    byte = whole("byte", byte, 0, 255)
    return shown(chr(byte)) if 32 <= byte < 127 or byte in (9, 10) else f"{byte:02X}"


@lru_cache(maxsize=1)
def held_back() -> dict[str, Tensor]:
    """Text the embedded models were not trained on, from the same books and files: domain -> int64 bytes [12, 128]."""
    from safetensors.torch import load_file

    held = load_file(_asset("held-back.safetensors"))
    return {name: held[name][:SEQUENCES].long() for name in ("story", "quatrain", "python")}


@lru_cache(maxsize=1)
def load_history() -> dict[str, Tensor]:
    """Load over the training of the embedded models: balancing -> [moments, layers, experts], shares."""
    from safetensors.torch import load_file

    return load_file(_asset("load-history.safetensors"))


def _asset(name: str) -> Path:
    path = ASSETS / name
    if not path.is_file():
        raise Refusal("The file {name} is missing from assets/models/moe-decoders: get the project again.", name=name)
    return path
