"""What the samplers ask of a masked language model: the words at some positions, given all the others.

`MaskedLM` reads a BERT of transformers and runs its own forward pass over the same weights. Of the last layer and of the
vocabulary's head only the queried positions are computed, which is most of the work saved: at 8 chains of 34 tokens
transformers' own forward takes about twice as long (benchmarks/gibbs.py).
`TableLM` answers from a joint that is known, so that the same samplers can be compared with the truth.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engines.arguments import Refusal, unbroken
from engines.gibbs import inputs
from engines.graphs import recorded

MARK = "_"
# what stands for a character that a vocabulary lacks, where it has one of these
STAND_INS = {"“": '"', "”": '"', "‘": "'", "’": "'", "。": ".", ".": "。", "、": "，,", "—": "-–", "–": "-—", "…": "."}
# a byte order mark and characters of no width; low lines of other widths
TYPED = str.maketrans(dict.fromkeys("\ufeff\u200b\u200c\u200d\u2060\xad", "") | dict.fromkeys("＿﹍﹎﹏", MARK))


@runtime_checkable
class Conditionals(Protocol):
    """A masked model. `mask` is the number of the mask; numbers below `words` are words, all of which may be drawn
    unless `forbidden` (bool [words], or None) says otherwise."""

    mask: int
    words: int
    forbidden: Tensor | None

    def logits(self, ids: Tensor, at: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits [batch, queried, words] of the words at the positions `at` [batch, queried] of ids [batch, length], which
        hold the mask where a word is unknown; `lengths` [batch] where rows are padded. Forbidden words have -inf."""
        ...


class TableLM:
    """The exact conditionals of a joint of shape (V,) * L, marginalised over all masked positions."""

    def __init__(self, law: np.ndarray):
        law = inputs.law("law", law)
        if len(set(law.shape)) != 1:
            raise Refusal("{parameter} must have the same values at each position.", parameter="law")
        self.words = self.mask = law.shape[0]
        self.forbidden = None
        self.law = torch.as_tensor(law, dtype=torch.float64).ravel()
        self.states = torch.cartesian_prod(*[torch.arange(self.words)] * law.ndim).view(-1, law.ndim)
        self.one_hot = F.one_hot(self.states, self.words).double()  # [states, length, words]

    def logits(self, ids: Tensor, at: Tensor, lengths: Tensor | None = None) -> Tensor:
        ids, at = _asked(self, ids, at, self.states.shape[1])
        fits = ((ids[:, None] == self.states) | (ids[:, None] == self.mask)).all(-1)
        share = torch.einsum("bs,slw->blw", fits * self.law, self.one_hot)
        return share.gather(1, at[:, :, None].expand(-1, -1, self.words)).log()


class MaskedLM:
    """A BertForMaskedLM and its tokenizer.

    model, tokenizer: as transformers loads them; weights are kept in float32 on `device`
    """

    def __init__(self, model: Any, tokenizer: Any, device: torch.device | str = "cpu"):
        config = getattr(model, "config", None)
        if getattr(config, "model_type", "") != "bert" or config.hidden_act != "gelu":
            raise Refusal("{parameter} must be a BertForMaskedLM with the activation gelu.", parameter="model")
        if not hasattr(tokenizer, "mask_token_id"):
            raise Refusal("{parameter} must be the model's tokenizer.", parameter="tokenizer")
        self.tokenizer = tokenizer
        self.mask, self.pad = tokenizer.mask_token_id, tokenizer.pad_token_id or 0
        self.open, self.close = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.words, self.longest = config.vocab_size, config.max_position_embeddings
        self.heads, self.eps = config.num_attention_heads, config.layer_norm_eps
        self.device = torch.device(device)
        self.tokens = tokenizer.convert_ids_to_tokens(list(range(min(self.words, len(tokenizer)))))
        self.tokens += [""] * (self.words - len(self.tokens))
        self.characters = {c for token in self.tokens for c in token.removeprefix("##")}
        self.chinese = sum("一" <= token[:1] <= "鿿" for token in self.tokens) > 1000
        special = set(tokenizer.all_special_ids)
        bad = [i in special or not t or bool(re.fullmatch(r"\[unused\d+\]", t)) for i, t in enumerate(self.tokens)]
        self.forbidden = torch.tensor(bad, device=self.device)

        weights = {name: value.detach().float().to(self.device) for name, value in model.state_dict().items()}

        def linear(*names: str) -> tuple[Tensor, Tensor]:
            return tuple(torch.cat([weights[f"{n}.{kind}"] for n in names]) for kind in ("weight", "bias"))

        stem = "bert.embeddings"
        self.embedding = weights[f"{stem}.word_embeddings.weight"]
        types = weights[f"{stem}.token_type_embeddings.weight"][0]
        self.positions = weights[f"{stem}.position_embeddings.weight"] + types
        self.embedding_norm = linear(f"{stem}.LayerNorm")
        scale = (config.hidden_size // self.heads) ** -0.5  # of the scores, folded into the queries
        self.layers = []
        for i in range(config.num_hidden_layers):
            layer = f"bert.encoder.layer.{i}"
            attend = linear(*(f"{layer}.attention.self.{part}" for part in ("query", "key", "value")))
            for part in attend:
                part[: config.hidden_size] *= scale
            self.layers.append(
                {
                    "attend": attend,
                    "mixed": linear(f"{layer}.attention.output.dense"),
                    "mixed_norm": linear(f"{layer}.attention.output.LayerNorm"),
                    "up": linear(f"{layer}.intermediate.dense"),
                    "down": linear(f"{layer}.output.dense"),
                    "norm": linear(f"{layer}.output.LayerNorm"),
                }
            )
        head = "cls.predictions"
        self.transform, self.transform_norm = linear(f"{head}.transform.dense"), linear(f"{head}.transform.LayerNorm")
        bias = weights[f"{head}.bias"].masked_fill(self.forbidden, -torch.inf)
        self.decoder = weights.get(f"{head}.decoder.weight", self.embedding), bias
        self._recorded = recorded(self._forward)

    @torch.inference_mode()
    def logits(self, ids: Tensor, at: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `Conditionals.logits`; float32."""
        ids, at = (x.to(self.device, non_blocking=True) for x in _asked(self, ids, at, self.longest))
        length = ids.shape[1]
        if lengths is None:
            return self._recorded(ids, at)
        lengths = inputs.whole_tensor("lengths", lengths, 1, length, 1).to(self.device)
        return self._recorded(ids, at, torch.arange(length, device=self.device) >= lengths[:, None, None])

    def _forward(self, ids: Tensor, at: Tensor, beyond: Tensor | None = None) -> Tensor:
        """The logits; beyond: bool [batch, 1, length], the padding."""
        x = self._norm(F.embedding(ids, self.embedding) + self.positions[: ids.shape[1]], self.embedding_norm)
        for layer in self.layers[:-1]:
            x = self._feed(x, self._attend(x, beyond, *layer["attend"]), layer)
        asking = x.gather(1, at[:, :, None].expand(-1, -1, x.shape[-1]))
        x = self._feed(asking, self._attend_from(asking, x, beyond, *self.layers[-1]["attend"]), self.layers[-1])
        x = self._norm(F.gelu(F.linear(x, *self.transform)), self.transform_norm)
        return F.linear(x, *self.decoder)

    def _attend(self, x: Tensor, beyond: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        """Multi-head attention of x [batch, length, width] to itself. Two batched products are faster here than the fused
        kernel, whose blocks are larger than these texts."""
        batch, length, width = x.shape
        parts = F.linear(x, weight, bias).view(batch, length, 3, self.heads, -1).permute(2, 3, 0, 1, 4)
        query, key, value = parts.reshape(3, self.heads * batch, length, -1)
        scores = torch.bmm(query, key.mT)
        if beyond is not None:
            scores.masked_fill_(beyond.repeat(self.heads, 1, 1), -torch.inf)
        mixed = torch.bmm(scores.softmax(-1), value).view(self.heads, batch, length, -1)
        return mixed.permute(1, 2, 0, 3).reshape(batch, length, width)

    def _attend_from(self, asking: Tensor, x: Tensor, beyond: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        """The same from a few positions `asking` [batch, queried, width], without a key or a value: (x K) q = x (K q), and
        p (x V) = (p x) V. The keys' bias adds the same to all scores of a query, and so drops out of the softmax."""
        batch, queried, width = asking.shape
        to_query, to_key, to_value = weight.split(width)

        def by_head(y: Tensor) -> Tensor:
            return y.view(batch, queried, self.heads, -1).permute(2, 0, 1, 3).reshape(self.heads, batch * queried, -1)

        def by_text(y: Tensor) -> Tensor:
            return y.view(self.heads, batch, queried, -1).transpose(0, 1).reshape(batch, self.heads * queried, -1)

        query = by_head(F.linear(asking, to_query, bias[:width]))
        scores = torch.bmm(by_text(torch.bmm(query, to_key.view(self.heads, -1, width))), x.mT)
        if beyond is not None:
            scores.masked_fill_(beyond, -torch.inf)
        mixed = torch.bmm(scores.softmax(-1), x).view(batch, self.heads, queried, width).transpose(0, 1)
        mixed = torch.bmm(mixed.reshape(self.heads, -1, width), to_value.view(self.heads, -1, width).mT)
        return mixed.transpose(0, 1).reshape(batch, queried, width) + bias[2 * width :]

    def _feed(self, x: Tensor, mixed: Tensor, layer: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        """What follows the attention in a layer."""
        x = self._norm(_added(x, mixed, *layer["mixed"]), layer["mixed_norm"])
        return self._norm(_added(x, F.gelu(F.linear(x, *layer["up"])), *layer["down"]), layer["norm"])

    def _norm(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *weights, self.eps)

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text in which each `_` is a mask; Refusal for a character the vocabulary lacks.

        Names of special tokens ("[SEP]") are text like any other. Characters are composed (NFC), and one that the vocabulary
        lacks is read as its counterpart that it has: a straight quote as a curly one, a full-width letter or mark as a narrow one,
        and the other way round.
        """
        if not isinstance(text, str):
            raise Refusal("{parameter} must be a text.", parameter="text")
        text = unicodedata.normalize("NFC", unbroken("text", text)).translate(TYPED)
        text = "".join(self._read(text[i - 1 : i], c) for i, c in enumerate(text))
        ids: list[int] = []
        for part in re.split(f"({MARK})", text):
            found = [self.mask] if part == MARK else self._tokenized(part)
            if self.tokenizer.unk_token_id in found:
                raise Refusal(
                    "{parameter} holds {unknown}, which the vocabulary of this model lacks.",
                    parameter="text",
                    unknown=repr(self._unknown(part)),
                )
            ids += found
        return ids

    def _tokenized(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def _read(self, before: str, c: str) -> str:
        """The character, or what the vocabulary has in its place."""
        if c == MARK or c.isspace() or c in self.characters or c.lower() in self.characters:
            return c
        opens = not before or before.isspace() or before in "([{“‘—–-"
        quotes = {'"': "“" if opens else "”", "'": "‘" if opens else "’"}
        narrow = unicodedata.normalize("NFKC", c)
        wide = chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else ""
        others = [narrow, quotes.get(narrow, ""), *STAND_INS.get(c, ""), wide]
        return next((other for other in others if other in self.characters), c)

    def _unknown(self, text: str) -> str:
        for word in [*text.split(), *text]:
            if self._tokenized(word) == [self.tokenizer.unk_token_id]:
                return word[:20]
        return text.strip()[:20]

    def frame(self, ids: Tensor) -> Tensor:
        """ids [batch, length] between the tokens that open and close a text."""
        ids = inputs.whole_tensor("ids", ids, 0, self.words - 1, 2).cpu()
        edge = torch.ones(len(ids), 1, dtype=ids.dtype)
        return torch.cat((edge * self.open, ids, edge * self.close), dim=1)

    def text(self, ids: list[int]) -> str:
        """Tokens set as a reader expects: word pieces joined, no space before a comma, none at all in Chinese."""
        ids = inputs.whole_list("ids", ids, 0, self.words - 1)
        return join([MARK if i == self.mask else self.tokens[i] for i in ids], self.chinese)


def masked_model(model: Any) -> Conditionals:
    """The model, if it answers as `Conditionals`."""
    if not isinstance(model, Conditionals):
        raise Refusal("{parameter} must be a masked model: MaskedLM, or TableLM.", parameter="model")
    return model


def _asked(model: Conditionals, ids: Tensor, at: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Token numbers [batch, length] and positions [batch, queried], both int64."""
    ids = inputs.whole_tensor("ids", ids, 0, max(model.mask, model.words - 1), 2)
    length = ids.shape[1]
    if not 1 <= length <= longest:
        raise Refusal(
            "{parameter} has {length} tokens; this model takes at most {most}.",
            parameter="ids",
            length=length,
            most=longest,
        )
    at = inputs.whole_tensor("at", at, 0, length - 1, 2)
    if len(at) != len(ids):
        raise Refusal("{parameter} must have a row for each text.", parameter="at")
    return ids, at


def _added(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x + y W' + b, the product accumulated in place."""
    return (x + bias).flatten(0, -2).addmm_(y.flatten(0, -2), weight.T).view(x.shape)


def join(tokens: list[str], chinese: bool) -> str:
    """Tokens of a BERT vocabulary as a line of text."""
    if not isinstance(tokens, list | tuple) or any(not isinstance(token, str) for token in tokens):
        raise Refusal("{parameter} must be a list of tokens.", parameter="tokens")
    if chinese:
        return "".join(token.removeprefix("##") for token in tokens)
    text = " ".join(tokens).replace(" ##", "")
    text = re.sub(r" ([,.;:!?’”)\]])", r"\1", text)
    text = re.sub(r"([“‘(\[]) ", r"\1", text)
    return re.sub(r"(\w)([’']) (\w)", r"\1\2\3", text)
