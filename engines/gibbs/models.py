"""The masked models that can be asked for by name, and the causal one that scores sentences."""

from __future__ import annotations

from functools import lru_cache

from engines import models
from engines.arguments import one_of
from engines.decoder import Decoder
from engines.gibbs.bytepair import TYPES, BytePairLM
from engines.gibbs.masked import MaskedLM

NAMES = (
    "bert-quatrain",
    "bert-storybook",
    "google-bert/bert-base-chinese",
    "google-bert/bert-base-uncased",
    "FacebookAI/roberta-base",
    "answerdotai/ModernBERT-base",
)
ENGLISH = ("bert-storybook", "google-bert/bert-base-uncased")
DECODER = "rope-base-10000"


def load(name: str) -> MaskedLM:
    """A model of NAMES, ready to be asked for conditionals."""
    return _load(one_of("model", name, NAMES))


@lru_cache(maxsize=2)
def _load(name: str) -> MaskedLM:
    model, tokenizer = models.load(name, "masked")
    kind = BytePairLM if model.config.model_type in TYPES else MaskedLM
    return kind(model, tokenizer, next(model.parameters()).device)


def load_decoder() -> Decoder:
    """The causal model of bytes, trained on the story book, that scores the sentences of CGMH."""
    return models.load(DECODER, "decoder", "cpu").model
