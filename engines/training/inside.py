"""Every tensor of a forward pass of a small BERT, by name, each recomputed from those it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from engines import models
from engines.arguments import Between, Characters, OneOf, Refusal, checked

MODELS = ("bert-storybook", "bert-quatrain")
LAYERS, MOST_TOKENS, MOST_COLUMNS = 4, 32, 192
EMBEDDING = (
    "words",
    "segments",
    "words + segments",
    "positions",
    "embedding sum",
    "embedding norm",
    "embedding dropout",
)
LAYER = (
    "query", "query split", "query heads", "key", "key split", "key heads", "value", "value split", "value heads",
    "key transposed", "products", "scaled products", "softmax", "softmax dropout", "context heads", "context transposed",
    "context copied", "context merged", "context", "attention output", "attention dropout", "attention sum",
    "attention norm", "feed-forward in", "gelu", "feed-forward out", "feed-forward dropout", "feed-forward sum",
    "feed-forward norm",
)  # fmt: skip
HEAD = ("head linear", "head gelu", "head norm", "logits")
TENSORS = (*EMBEDDING, *(f"layer {i} {name}" for i in range(LAYERS) for name in LAYER), *HEAD)


class Recorder(TorchFunctionMode):
    """Keeps every tensor that a function makes inside, with the function and what it was given; no copies.

    torch also passes each look at an attribute (x.shape) through here, so that this method must be short.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict | None, Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Call, and keep."""
        made = function(*args, **kwargs) if kwargs else function(*args)
        if type(made) is Tensor:
            self.calls.append((function, args, kwargs, made))
        return made


@cache
def eager(name: str) -> tuple[Any, Any]:
    """A model whose attention is written out, so that its softmax is a tensor of its own, and its tokenizer."""
    import copy

    model, tokenizer = models.load(name, "masked", "cpu")
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")
    return model, tokenizer


@torch.no_grad()
def record(model: Any, ids: Tensor) -> list[tuple[Any, tuple, dict, Tensor]]:
    """(function, its arguments, its keywords, what it made) for each tensor of floats of a forward pass, in order."""
    with Recorder() as recorder:
        model(input_ids=ids)
    return [
        (function, args, kwargs or {}, made)
        for function, args, kwargs, made in recorder.calls
        if made.is_floating_point()
    ]


@dataclass(frozen=True)
class Inside:
    """Every tensor of floats of one forward pass, N = 127 of them, and the one that is looked at.

    names: of the tensors, in order
    shapes: their sizes as texts
    mean: float64 [N]; root_mean_square: float64 [N]; of the entries
    difference: float64 [N]; greatest difference to the same function applied again to the same inputs
    made_by: the function that made each
    tokens: the n pieces of the text, with the model's marks
    value: float32 [slices, rows, columns]; the tensor: a slice a head where it has heads; of more than 192 columns those with
        the greatest entries
    columns: int64 [columns]; which columns those are
    words: pieces of the vocabulary for the columns of the logits; empty for others
    row_sums: float64 [2]; least and greatest sum of a row of the value (1 and 1 for a softmax)
    tensor: str; as asked for
    """

    names: tuple[str, ...]
    shapes: tuple[str, ...]
    mean: np.ndarray
    root_mean_square: np.ndarray
    difference: np.ndarray
    made_by: tuple[str, ...]
    tokens: tuple[str, ...]
    value: np.ndarray
    columns: np.ndarray
    words: tuple[str, ...]
    row_sums: np.ndarray
    tensor: str


@checked
def inside(
    text: Annotated[str, Characters(300)] = "the old king had three sons, and the youngest of them was called a fool.",
    tensor: Annotated[str, OneOf(TENSORS)] = "layer 0 softmax",
    model: Annotated[str, OneOf(MODELS)] = "bert-storybook",
    most_tokens: Annotated[int, Between(4, MOST_TOKENS)] = MOST_TOKENS,
) -> Inside:
    """Run a text of at most 32 pieces through the model and look at one of its 127 tensors."""
    network, tokenizer = eager(model)
    ids = tokenizer(text.strip(), return_tensors="pt", truncation=True, max_length=most_tokens)["input_ids"]
    if ids.shape[1] < 3:
        raise Refusal("{parameter} must hold at least one word.", parameter="text")
    calls = record(network, ids)
    if len(calls) != len(TENSORS):
        raise Refusal(
            "This version of transformers makes {found} tensors in a forward pass, not {expected}: install the one that "
            "requirements.txt names.",
            found=len(calls),
            expected=len(TENSORS),
        )
    with torch.no_grad():
        difference = [(function(*args, **kwargs) - made).abs().max().item() for function, args, kwargs, made in calls]
    tensors = [made for *_, made in calls]
    value = tensors[TENSORS.index(tensor)]
    value = value.squeeze(0) if value.shape[0] == 1 else value
    value = value[None] if value.dim() == 2 else value
    # heads first: [tokens, heads, d] of a split is turned
    if tensor.endswith("split") or tensor.endswith(("context transposed", "context copied")):
        value = value.transpose(0, 1)
    sums = value.double().sum(-1)
    columns = torch.arange(value.shape[-1])
    if len(columns) > MOST_COLUMNS:
        wanted = 48 if tensor == "logits" else MOST_COLUMNS
        columns = value.amax((0, 1)).topk(wanted).indices.sort().values
    words = tuple(tokenizer.convert_ids_to_tokens(columns.tolist())) if tensor == "logits" else ()
    return Inside(
        TENSORS,
        tuple(" × ".join(map(str, made.shape)) for made in tensors),
        np.array([made.double().mean().item() for made in tensors]),
        np.array([made.double().square().mean().sqrt().item() for made in tensors]),
        np.array(difference),
        tuple(function.__name__ for function, *_ in calls),
        tuple(tokenizer.convert_ids_to_tokens(ids[0].tolist())),
        value[..., columns].float().numpy().copy(),
        columns.numpy(),
        words,
        np.array([sums.min().item(), sums.max().item()]),
        tensor,
    )
