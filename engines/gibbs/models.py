"""The masked models that can be asked for by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from engines.device import resolve
from engines.gibbs.masked import MaskedLM

ASSETS = Path(__file__).parents[2] / "assets" / "models"
NAMES = {
    "bert-quatrain": "Quatrains (ours, Chinese)",
    "bert-storybook": "Story book (ours, English)",
    "bert-base-chinese": "bert-base-chinese (Hub)",
    "bert-base-uncased": "bert-base-uncased (Hub)",
}
HUB = {
    "bert-base-chinese": ("google-bert/bert-base-chinese", "8f23c25b06e129b6c986331a13d8d025a92cf0ea"),
    "bert-base-uncased": ("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594"),
}


@lru_cache(maxsize=2)
def load(name: str) -> MaskedLM:
    """A model of NAMES: shipped weights, or the Hub's at a pinned revision (safetensors, no remote code)."""
    if name not in NAMES:
        raise ValueError(f"model must be one of {', '.join(NAMES)}; not {str(name)[:40]!r}")
    import transformers

    source, options = str(ASSETS / name), {"local_files_only": True}
    if name in HUB:
        source, revision = HUB[name]
        options = {"revision": revision}
    elif not (ASSETS / name).exists():
        raise ValueError(f"the model {name} is not installed: assets/models/{name} is missing")
    try:
        tokenizer = transformers.BertTokenizer.from_pretrained(source, **options)
        model = transformers.BertForMaskedLM.from_pretrained(source, use_safetensors=True, **options)
    except OSError as error:
        raise ValueError(f"the model {name} could not be fetched from the Hub; choose one of ours") from error
    return MaskedLM(model.eval(), tokenizer, resolve())
