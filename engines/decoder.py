"""A tiny decoder-only language model: RMSNorm, rotary attention, SwiGLU, and optionally a mixture of experts.

Shared by the RoPE and the mixture-of-experts exhibits. The rotation is not part of the weights: `forward` takes any
inverse frequencies and attention scale, so every RoPE scaling applies to a trained model without retraining. A mixture
reports the experts each token was really sent to.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.arguments import Refusal, number, whole


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder.

    vocabulary: int; number of tokens
    width: int; of the residual stream, heads times an even number
    layers: int; blocks of attention and feed-forward
    heads: int; attention heads in a block
    hidden: int; hidden units of the feed-forward layer, of one expert in a mixture
    rope_base: float; base of the rotary positions
    context: int, tokens; the length it is trained on
    experts: int; 0 for a dense feed-forward layer
    top_k: int; how many of the experts each token uses
    """

    vocabulary: int = 256
    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 256
    rope_base: float = 10_000.0
    context: int = 128
    experts: int = 0
    top_k: int = 2

    def __post_init__(self):
        most = {
            "vocabulary": 1 << 20,
            "width": 1 << 14,
            "layers": 256,
            "heads": 1 << 10,
            "hidden": 1 << 17,
            "context": 1 << 24,
        }
        for name, high in most.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, high))
        object.__setattr__(self, "experts", whole("experts", self.experts, 0, 1 << 12))
        object.__setattr__(self, "top_k", whole("top_k", self.top_k, 0, 1 << 12))
        number("rope_base", self.rope_base, 1, 1e15)
        if self.width % (2 * self.heads):
            raise Refusal("{parameter} must be heads times an even number.", parameter="width")
        if self.experts and not 1 <= self.top_k <= self.experts:
            raise Refusal("{parameter} must be from 1 to the number of experts.", parameter="top_k")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def to_dict(self) -> dict:
        return {"model_type": "studio-decoder", **asdict(self)}


class Routing(NamedTuple):
    """Where the tokens of one layer went.

    scores: [batch, length, experts], the router's softmax probabilities, before any selection bias
    indices: [batch, length, top_k], experts chosen, by falling score + bias: those really used
    weights: [batch, length, top_k], their share in the output, summing to 1
    """

    scores: Tensor
    indices: Tensor
    weights: Tensor


class Output(NamedTuple):
    """logits: [batch, length, vocabulary]; routing: one `Routing` for each layer, or none of a dense model."""

    logits: Tensor
    routing: tuple[Routing, ...]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) of x [..., length, d] by angles of cos, sin [length, d/2] (RoFormer, eq. 34)."""
    if not all(isinstance(each, Tensor) for each in (x, cos, sin)):
        raise Refusal("{parameter}, cos and sin must be tensors.", parameter="x")
    if x.dim() < 2 or x.shape[-1] % 2 or not cos.shape == sin.shape == (x.shape[-2], x.shape[-1] // 2):
        raise Refusal("{parameter} must be [..., length, d] with even d, cos and sin [length, d/2].", parameter="x")
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


# (queries, keys, values), each [batch, heads, length, d] and not yet rotated, to what attention makes of them
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """Causal self-attention with rotary positions, or whatever `attend` makes of queries, keys and values."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if attend is None:
            mixed = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        else:
            mixed = attend(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Mixture(nn.Module):
    """SwiGLU experts, of which each token uses the `top_k` with the greatest score + bias.

    The bias moves only the selection, never the weights of the output (loss-free balancing, arXiv 2408.15664, eq. 3);
    it is a buffer that training moves and that stays zero under the other rules.
    """

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.top_k = config.top_k
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.up = nn.Parameter(torch.empty(config.experts, 2 * config.hidden, config.width))
        self.down = nn.Parameter(torch.empty(config.experts, config.width, config.hidden))
        self.register_buffer("bias", torch.zeros(config.experts))
        nn.init.normal_(self.up, std=0.02)
        nn.init.normal_(self.down, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        scores = self.router(x).float().softmax(-1)
        indices = (scores + self.bias).topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, indices)
        weights = weights / weights.sum(-1, keepdim=True)

        tokens, share = x.flatten(0, -2), weights.flatten().to(x.dtype)
        expert = indices.flatten()
        order = expert.argsort(stable=True)
        source = order // self.top_k
        counts = torch.bincount(expert, minlength=len(self.up)).tolist()
        outputs = []
        for part, up, down in zip(tokens[source].split(counts), self.up, self.down, strict=True):
            gate, value = F.linear(part, up).chunk(2, dim=-1)
            outputs.append(F.linear(F.silu(gate) * value, down))
        mixed = torch.zeros_like(tokens).index_add(0, source, torch.cat(outputs) * share[order, None])
        return mixed.view_as(x), Routing(scores, indices, weights)


class Block(nn.Module):
    """Attention and feed-forward, each behind an RMS norm and added to the stream."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config)
        self.feed_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.feed = Mixture(config) if config.experts else FeedForward(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend | None = None
    ) -> tuple[Tensor, Routing | None]:
        x = x + self.attention(self.attention_norm(x), cos, sin, attend)
        fed = self.feed(self.feed_norm(x))
        fed, routing = fed if isinstance(fed, tuple) else (fed, None)
        return x + fed, routing


class Decoder(nn.Module):
    """A causal language model over bytes (or any vocabulary), with tied embeddings.

    forward: tokens [batch, length] of integers; inverse_frequencies [head_dim / 2] in radians a token, by default
    `rope_base`^(-2i/head_dim); attention_scale multiplies cos and sin, as YaRN's attention factor does (so scores by its
    square); attend takes the place of rotation and attention altogether.
    """

    def __init__(self, config: DecoderConfig):
        if not isinstance(config, DecoderConfig):
            raise Refusal("{parameter} must be a DecoderConfig.", parameter="config")
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def inverse_frequencies(self) -> Tensor:
        """Those the model was trained with, float64 [head_dim / 2]."""
        exponent = torch.arange(0, self.config.head_dim, 2, dtype=torch.float64) / self.config.head_dim
        return self.config.rope_base**-exponent

    def forward(
        self,
        tokens: Tensor,
        inverse_frequencies: Tensor | None = None,
        attention_scale: float = 1.0,
        attend: Attend | None = None,
    ) -> Output:
        _check_tokens(tokens, self.config.vocabulary)
        attention_scale = number("attention_scale", attention_scale)
        if not (attend is None or callable(attend)):
            raise Refusal("{parameter} must be a function of queries, keys and values.", parameter="attend")
        frequencies, pairs = self.inverse_frequencies(), self.config.head_dim // 2
        if inverse_frequencies is not None:
            frequencies = inverse_frequencies
            if not isinstance(frequencies, Tensor) or frequencies.shape != (pairs,):
                raise Refusal(
                    "{parameter} must be a tensor of {pairs} numbers.", parameter="inverse_frequencies", pairs=pairs
                )
        # phases in float64: in float32 a large position times a frequency loses its fraction of a turn
        phase = torch.arange(tokens.shape[1], dtype=torch.float64)[:, None] * frequencies.to("cpu", torch.float64)
        x = self.embedding(tokens.long())
        cos = (phase.cos() * attention_scale).to(x)
        sin = (phase.sin() * attention_scale).to(x)
        routing = []
        for block in self.blocks:
            x, routed = block(x, cos, sin, attend)
            routing.append(routed)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return Output(logits, tuple(r for r in routing if r is not None))


def token_losses(logits: Tensor, tokens: Tensor) -> Tensor:
    """Negative log-likelihood [batch, length - 1] in nats of each token after the first, given those before it.

    logits: [batch, length, vocabulary]; tokens: integers [batch, length]
    """
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise Refusal("{parameter} must be a tensor [batch, length, vocabulary].", parameter="logits")
    _check_tokens(tokens, logits.shape[-1])
    if tokens.shape != logits.shape[:2]:
        raise Refusal("{parameter} must be [batch, length], as logits are.", parameter="tokens")
    losses = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten().long(), reduction="none")
    return losses.view(len(tokens), tokens.shape[1] - 1)


def _check_tokens(tokens: Tensor, vocabulary: int) -> None:
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or not tokens.numel():
        raise Refusal("{parameter} must be a tensor [batch, length] that is not empty.", parameter="tokens")
    if tokens.dtype not in (torch.uint8, torch.int32, torch.int64):
        raise Refusal("{parameter} must be whole numbers (uint8, int32 or int64).", parameter="tokens")
    low, high = tokens.aminmax()
    if low < 0 or high >= vocabulary:
        raise Refusal("{parameter} must be from 0 to {most}.", parameter="tokens", most=vocabulary - 1)
