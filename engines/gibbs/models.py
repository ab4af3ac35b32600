"""The masked models that can be asked for by name, and the causal one that scores sentences."""

from __future__ import annotations

from functools import lru_cache

from engines import models
from engines.decoder import Decoder
from engines.gibbs.masked import MaskedLM

NAMES = {
    "bert-quatrain": "Quatrains (ours)",
    "bert-storybook": "Story book (ours)",
    "google-bert/bert-base-chinese": "bert-base-chinese (Hub)",
    "google-bert/bert-base-uncased": "bert-base-uncased (Hub)",
}
ENGLISH = {name: label for name, label in NAMES.items() if name in ("bert-storybook", "google-bert/bert-base-uncased")}
DECODER = "rope-base-10000"


@lru_cache(maxsize=2)
def load(name: str) -> MaskedLM:
    """A model of NAMES, ready to be asked for conditionals."""
    if name not in NAMES:
        raise ValueError(f"model must be one of {', '.join(NAMES)}; not {str(name)[:40]!r}")
    model, tokenizer = models.load(name, "masked")
    return MaskedLM(model, tokenizer, next(model.parameters()).device)


def load_decoder() -> Decoder:
    """The causal model of bytes, trained on the story book, that scores the sentences of CGMH."""
    return models.load(DECODER, "decoder", "cpu").model
