"""Autoregressive flows: a stack of affine blocks, each causal in its own order, and TARFLOW, whose blocks are transformers.

Zhai et al. 2024, arXiv 2412.06329; kexue.fm/archives/10667. A block in order 1, ..., T maps tokens x to

    z_1 = x_1,    z_i = (x_i − μ_i(x_<i)) exp(−a_i(x_<i)),

so its Jacobian is triangular and log|det| = −Σ a_i. The inverse goes token by token. The log-scale is bounded,
a = c tanh(raw/c) with c = 2: unbounded, training gave NaN on some targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.arguments import Refusal, number, several_of, whole

BOUND = 2.0  # c, of the log-scale
GUIDED = ("shift", "scale")


def bounded(raw: Tensor) -> Tensor:
    """c tanh(raw/c): the log-scale."""
    return BOUND * torch.tanh(raw / BOUND)


class Flow(nn.Module):
    """Blocks applied one after another, each in its order, under N(0, I).

    A block has `backward` (whether it reads the tokens from last to first), `forward(x, condition) -> (shift, log_scale)`
    and `invert(z, condition, **how) -> x`, both in its own order. Arrays are [n, tokens, ...].
    """

    blocks: nn.ModuleList
    shape: tuple[int, ...]  # of one x

    def check(self, name: str, x: Tensor) -> None:
        """Refusal unless x is [n, *shape] in the flow's precision."""
        weight = next(self.parameters())
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != self.shape or not len(x) or x.dtype != weight.dtype:
            raise Refusal(
                "{parameter} must be a tensor [n, {shape}] of {precision}.",
                parameter=name,
                shape=", ".join(map(str, self.shape)),
                precision=str(weight.dtype).removeprefix("torch."),
            )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(z, log|det dz/dx| [n])."""
        *_, (z, _, log_determinant) = self.states(x, condition)
        return z, log_determinant

    def states(self, x: Tensor, condition: Tensor | None = None):
        """After 0, 1, ... blocks: (the tokens, log-scales of the last block in the tokens' places, log|det| so far [n])."""
        self.check("x", x)
        log_determinant = x.new_zeros(len(x))
        yield x, torch.zeros_like(x), log_determinant
        for block in self.blocks:
            x = x.flip(1) if block.backward else x
            shift, log_scale = block(x, condition)
            x = (x - shift) * torch.exp(-log_scale)
            log_determinant = log_determinant - log_scale.flatten(1).sum(1)
            if block.backward:
                x, log_scale = x.flip(1), log_scale.flip(1)
            yield x, log_scale, log_determinant

    @torch.no_grad()
    def inverse(self, z: Tensor, condition: Tensor | None = None, **how) -> Tensor:
        """x with forward(x) = z; `how` goes to the blocks."""
        *_, x = self.back(z, condition, **how)
        return x

    def back(self, z: Tensor, condition: Tensor | None = None, **how):
        """z, and what it is with the last, the last two, ... blocks undone."""
        self.check("z", z)
        yield z
        for block in reversed(self.blocks):
            z = z.flip(1) if block.backward else z
            z = block.invert(z, condition, **how)
            z = z.flip(1) if block.backward else z
            yield z

    def log_prob(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """log q(x), nats, [n]."""
        z, log_determinant = self(x, condition)
        z = z.flatten(1)
        return log_determinant - 0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def score(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """∇ log q(x), of x's shape."""
        self.check("x", x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_prob(x, condition).sum(), x)[0]

    def denoise(self, x: Tensor, sigma: float, condition: Tensor | None = None) -> Tensor:
        """x + σ² ∇ log q(x): Tweedie's E[clean | x] if q is the law of clean + σ ε. Zhai et al. 2024, §2.6."""
        sigma = number("sigma", sigma, 0, 1e6)
        if sigma == 0:
            raise Refusal("{parameter} is 0: without noise there is nothing to take away.", parameter="sigma")
        return x + sigma**2 * self.score(x, condition)


def descend(flow: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, step: int, rate: float) -> None:
    """One step down the clipped gradient; Refusal where loss or gradient is no number, and the weights stay as they are."""
    loss.backward()
    norm = nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
    if not (loss.isfinite() and norm.isfinite()):
        raise Refusal("At step {step} the loss or its gradient is no number; the flow is as it was before.", step=step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Cache:
    """Keys and values of the tokens read so far, of one layer. [2, n, heads, tokens, head_dim]"""

    def __init__(self, like: Tensor, n: int, heads: int, tokens: int, head_dim: int):
        self.kept = like.new_empty(2, n, heads, tokens, head_dim)
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, those of one more token included."""
        at = self.length
        self.kept[0, :, :, at : at + 1] = keys
        self.kept[1, :, :, at : at + 1] = values
        self.length += 1
        return self.kept[0, :, :, : self.length], self.kept[1, :, :, : self.length]


class Layer(nn.Module):
    """Causal attention and a perceptron, each after a LayerNorm and added on."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_hidden = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.mixed = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.hidden, self.out = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, h: Tensor, cache: Cache | None = None, temperature: float = 1.0) -> Tensor:
        """h [n, tokens, channels] after this layer; with a cache h is the one next token's, [n, 1, channels]."""
        n, tokens, channels = h.shape
        q, k, v = self.qkv(self.norm_attention(h)).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if temperature != 1:
            q = q / temperature
        if cache is not None:
            k, v = cache.append(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        h = h + self.mixed(mixed.transpose(1, 2).reshape(n, tokens, channels))
        return h + self.out(F.gelu(self.hidden(self.norm_hidden(h))))


class TransformerBlock(nn.Module):
    """Shift and log-scale of each token from the tokens before it, by a causal transformer."""

    def __init__(
        self, tokens: int, token_dim: int, channels: int, layers: int, head_dim: int, classes: int, backward: bool
    ):
        super().__init__()
        self.backward, self.tokens, self.token_dim, self.channels, self.classes = (
            backward,
            tokens,
            token_dim,
            channels,
            classes,
        )
        self.heads = max(1, channels // head_dim)
        self.embed = nn.Linear(token_dim, channels)
        self.position = nn.Parameter(0.1 * torch.randn(tokens, channels))
        self.kind = nn.Embedding(classes + 1, channels) if classes else None  # the last one: no class told
        self.layers = nn.ModuleList(Layer(channels, self.heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, 2 * token_dim)
        nn.init.zeros_(self.head.weight)  # at first a block changes nothing
        nn.init.zeros_(self.head.bias)

    def told(self, n: int, condition: Tensor | None) -> Tensor | float:
        """The class's embedding, [n, 1, channels]."""
        if self.kind is None:
            return 0.0
        if condition is None:
            condition = torch.full((n,), self.classes, device=self.position.device)
        return self.kind(condition)[:, None]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(shift, log_scale), [n, tokens, token_dim] each; 0 for the first token."""
        h = self.embed(x[:, :-1]) + self.position[:-1] + self.told(len(x), condition)
        for layer in self.layers:
            h = layer(h)
        shift, raw = self.head(self.norm(h)).chunk(2, -1)
        return F.pad(shift, (0, 0, 1, 0)), F.pad(bounded(raw), (0, 0, 1, 0))

    def caches(self, n: int) -> list[Cache]:
        """An empty one for each layer."""
        size = (n, self.heads, self.tokens, self.channels // self.heads)
        return [Cache(self.position, *size) for _ in self.layers]

    def step(
        self, x: Tensor, i: int, told: Tensor | float, caches: list[Cache], temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """(shift, log_scale) of token i + 1, [n, 1, token_dim], from token i and what the caches keep of those before."""
        h = self.embed(x) + self.position[i] + told
        for layer, cache in zip(self.layers, caches, strict=True):
            h = layer(h, cache, temperature)
        shift, raw = self.head(self.norm(h)).chunk(2, -1)
        return shift, bounded(raw)

    def invert(
        self,
        z: Tensor,
        condition: Tensor | None = None,
        *,
        guidance: float = 0.0,
        guided: Sequence[str] = GUIDED,
        annealed: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """x, token by token with a cache of keys and values.

        guidance: w of μ + w (μ − μ_u), likewise for the log-scale, where u is told no class; Zhai et al. 2024, §2.7
        guided: which of shift and scale; annealed: w grows from 0 at the first token to its full value at the last
        temperature: of the attention in the branch that is told no class
        """
        done = [z[:, :1]]
        told, untold = self.told(len(z), condition), self.told(len(z), None)
        caches = self.caches(len(z))
        others = self.caches(len(z)) if guidance else []
        for i in range(self.tokens - 1):
            shift, log_scale = self.step(done[-1], i, told, caches)
            if guidance:
                shift_u, log_scale_u = self.step(done[-1], i, untold, others, temperature)
                weight = guidance * ((i + 1) / (self.tokens - 1) if annealed else 1.0)
                shift = shift + weight * (shift - shift_u) if "shift" in guided else shift
                log_scale = log_scale + weight * (log_scale - log_scale_u) if "scale" in guided else log_scale
            done.append(z[:, i + 1 : i + 2] * torch.exp(log_scale) + shift)
        return torch.cat(done, 1)


class TarFlow(Flow):
    """TARFLOW over tokens [n, tokens, token_dim].

    channels: width of the transformers; blocks: how many, every second one reading backwards (`alternate`)
    layers: of each transformer; head_dim: of its attention; classes: how many classes it can be told (0: none)
    """

    def __init__(
        self,
        tokens: int,
        token_dim: int,
        channels: int,
        blocks: int,
        layers: int = 1,
        head_dim: int = 32,
        classes: int = 0,
        alternate: bool = True,
    ):
        super().__init__()
        tokens, token_dim = whole("tokens", tokens, 2, 4096), whole("token_dim", token_dim, 1, 4096)
        channels, blocks = whole("channels", channels, 1, 8192), whole("blocks", blocks, 1, 64)
        layers, head_dim = whole("layers", layers, 1, 64), whole("head_dim", head_dim, 1, 8192)
        classes = whole("classes", classes, 0, 100_000)
        if channels % max(1, channels // head_dim):
            raise Refusal("{parameter} must be a multiple of {head_dim}.", parameter="channels", head_dim=head_dim)
        self.config = {
            "tokens": tokens,
            "token_dim": token_dim,
            "channels": channels,
            "blocks": blocks,
            "layers": layers,
            "head_dim": head_dim,
            "classes": classes,
            "alternate": bool(alternate),
        }
        self.shape, self.classes = (tokens, token_dim), classes
        self.blocks = nn.ModuleList(
            TransformerBlock(tokens, token_dim, channels, layers, head_dim, classes, bool(alternate) and b % 2 == 1)
            for b in range(blocks)
        )

    def _condition(self, n: int, condition: Tensor | None) -> None:
        if condition is None:
            return
        whole_numbers = isinstance(condition, Tensor) and not condition.is_floating_point() and condition.shape == (n,)
        if (
            not self.classes
            or not whole_numbers
            or not (0 <= int(condition.min()) <= int(condition.max()) <= self.classes)
        ):
            raise Refusal(
                "{parameter} must be whole numbers [n] from 0 to {classes}, for a flow that has classes.",
                parameter="condition",
                classes=self.classes,
            )

    def states(self, x: Tensor, condition: Tensor | None = None):
        """As of every flow; condition: the classes, whole numbers [n] (the number of classes itself: no class told)."""
        self.check("x", x)
        self._condition(len(x), condition)
        yield from super().states(x, condition)

    @torch.no_grad()
    def inverse(
        self,
        z: Tensor,
        condition: Tensor | None = None,
        *,
        guidance: float = 0.0,
        guided: Sequence[str] = GUIDED,
        annealed: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """x of z, [n, tokens, token_dim], token by token; the guidance is `TransformerBlock.invert`'s."""
        self.check("z", z)
        self._condition(len(z), condition)
        how = {
            "guidance": number("guidance", guidance, -100, 100),
            "guided": several_of("guided", guided, GUIDED, 2),
            "annealed": bool(annealed),
            "temperature": number("temperature", temperature, 1e-3, 1e3),
        }
        return super().inverse(z, condition, **how)
