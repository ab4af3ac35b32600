"""Masked models that read pairs of bytes, RoBERTa and ModernBERT, as the samplers ask them."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import torch
from torch import Tensor

from engines.arguments import Refusal, unbroken
from engines.gibbs import inputs
from engines.gibbs.masked import MARK, TYPED, MaskedLM, _asked
from engines.graphs import recorded

TYPES = ("roberta", "modernbert")
SPACE = "Ġ"  # how byte-level vocabularies write the space before a word


class BytePairLM(MaskedLM):
    """A RobertaForMaskedLM or ModernBertForMaskedLM and its tokenizer, by the model's own forward pass.

    Its tokens are shown as BERT's are: a word begins as it is written, what continues it with "##". Every text can be read.
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device | str = "cpu"):
        config = getattr(model, "config", None)
        if getattr(config, "model_type", "") not in TYPES:
            raise Refusal("{parameter} must be a RobertaForMaskedLM or ModernBertForMaskedLM.", parameter="model")
        if not hasattr(tokenizer, "mask_token_id"):
            raise Refusal("{parameter} must be the model's tokenizer.", parameter="tokenizer")
        self.device = torch.device(device)
        self.model, self.tokenizer = model.to(self.device), tokenizer
        self.mask, self.pad = tokenizer.mask_token_id, tokenizer.pad_token_id or 0
        self.open, self.close = tokenizer.cls_token_id, tokenizer.sep_token_id
        # RoBERTa counts positions from the one after its padding's
        first = self.pad + 1 if config.model_type == "roberta" else 0
        self.words, self.longest = config.vocab_size, config.max_position_embeddings - first
        known = tokenizer.convert_ids_to_tokens(list(range(min(self.words, len(tokenizer)))))
        known += [""] * (self.words - len(known))
        self.tokens = [self._shown(token) for token in known]
        self.characters, self.chinese = set(), False
        special = set(tokenizer.all_special_ids)
        filler = re.compile(r"\[unused\d+\]|madeupword\d+|\|\|\|.*\|\|\|")
        bad = [i in special or not token or bool(filler.fullmatch(token)) for i, token in enumerate(known)]
        self.forbidden = torch.tensor(bad, device=self.device)
        self._recorded = recorded(self._forward)

    @property
    def embedding(self) -> Tensor:
        """[words, width]; of the words that the model reads."""
        return self.model.get_input_embeddings().weight

    def _shown(self, token: str) -> str:
        """A token as BERT would write it."""
        if not token:
            return ""
        read = self.tokenizer.convert_tokens_to_string([token])
        return read[1:] if token.startswith(SPACE) and read.startswith(" ") and len(read) > 1 else "##" + read

    @torch.inference_mode()
    def logits(self, ids: Tensor, at: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `Conditionals.logits`; float32."""
        ids, at = (x.to(self.device) for x in _asked(self, ids, at, self.longest))
        if lengths is None:
            return self._recorded(ids, at)
        lengths = inputs.whole_tensor("lengths", lengths, 1, ids.shape[1], 1).to(self.device)
        attended = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        # not recorded: transformers looks into a mask to see whether it hides anything
        return self._forward(torch.where(attended, ids, self.pad), at, attended.long())

    def _forward(self, ids: Tensor, at: Tensor, attended: Tensor | None = None) -> Tensor:
        """The logits; of the vocabulary's head only the queried positions are computed."""
        hidden = self.model.base_model(input_ids=ids, attention_mask=attended).last_hidden_state
        asked = hidden.gather(1, at[:, :, None].expand(-1, -1, hidden.shape[-1]))
        if self.model.config.model_type == "roberta":
            found = self.model.lm_head(asked)
        else:
            found = self.model.decoder(self.model.head(asked))
        return found.float().masked_fill(self.forbidden, -torch.inf)

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text in which each `_` is a mask. The space before a mask belongs to the word in its place."""
        if not isinstance(text, str):
            raise Refusal("{parameter} must be a text.", parameter="text")
        parts = re.split(f"({MARK})", unicodedata.normalize("NFC", unbroken("text", text)).translate(TYPED))
        ids: list[int] = []
        for part, following in zip(parts, [*parts[1:], ""], strict=True):
            ids += [self.mask] if part == MARK else self._tokenized(part.rstrip(" ") if following == MARK else part)
        return ids

    def text(self, ids: list[int]) -> str:
        """Tokens as a text; the bytes of a character that was cut in several tokens are joined again."""
        ids = inputs.whole_list("ids", ids, 0, self.words - 1)
        names = self.tokenizer.convert_ids_to_tokens(ids)
        # the mask takes the space before it with it
        written = [f"{SPACE}{MARK}" if i == self.mask else name for i, name in zip(ids, names, strict=True)]
        return self.tokenizer.convert_tokens_to_string(written).removeprefix(" ")
