"""Ladder side-tuning (Sung et al., arXiv 2206.06522; kexue.fm/archives/9138) beside other ways to tune a small BERT.

What the backward pass keeps is counted exactly, by the tensors that autograd saves, weights apart.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.arguments import Between, OneOf, SomeOf, checked, one_of, whole
from engines.networks import adam, zero_moments
from engines.progress import Progress
from engines.training.formulas import METHODS, kept_bytes
from engines.training.inside import eager

FRAGMENTS = Path(__file__).parents[2] / "assets" / "training" / "fragments.txt"
TASKS = ("none", "shuffled", "swapped")
RATES = {"full": 5e-4, "lora": 3e-3, "bitfit": 3e-3, "head": 1e-2, "ladder": 3e-3}
STACK = {"layers": 6, "width": 256, "batch": 128}  # the Linear-ReLU stack beside it
TESTED = 400  # fragments that are never trained on


def saved_bytes(run: Callable[[], Any], weights: Sequence[Tensor] = ()) -> int:
    """Bytes of the tensors that autograd saves during `run()`, each piece of memory once, without the weights."""
    apart = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, Tensor] = {}  # held, so that no address is given out twice

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in apart:
            kept.setdefault(address, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    del result
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def stack_bytes(method: str, layers: int = 6, width: int = 256, batch: int = 128, reduced: int = 4) -> int:
    """What `engines.training.kept_bytes` says, measured on a plain stack of linear layers and ReLUs with a head of 10."""
    one_of("method", method, METHODS)
    layers, width = whole("layers", layers, 1, 64), whole("width", width, 1, 4096)
    batch, reduced = whole("batch", batch, 1, 4096), whole("reduced", reduced, 1, 4096)
    tuned = method in ("full", "bitfit")
    made: list[Tensor] = []

    def weight(*shape: int, train: bool = True) -> Tensor:
        made.append(torch.randn(*shape).div_(shape[-1] ** 0.5).requires_grad_(train))
        return made[-1]

    kernels = [weight(width, width, train=method == "full") for _ in range(layers)]
    biases = [weight(width, train=tuned) for _ in range(layers)]
    x = torch.randn(batch, width)

    def plain() -> Tensor:
        h = x
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            z = F.linear(h, kernel, bias)
            h = F.relu(z + F.linear(F.linear(h, down[i]), up[i]) if method == "lora" else z)
        return F.linear(h, head)

    def ladder() -> Tensor:
        h, state = x, F.linear(x, down[0])
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            h = F.relu(F.linear(h, kernel, bias))
            state = F.relu(F.linear(state, side[i]) + F.linear(h, down[i + 1]))
        return F.linear(state, head)

    if method == "ladder":
        down = [weight(reduced, width) for _ in range(layers + 1)]
        side = [weight(reduced, reduced) for _ in range(layers)]
        head = weight(10, reduced)
        return saved_bytes(ladder, made)
    down, up = [weight(reduced, width) for _ in range(layers)], [weight(width, reduced) for _ in range(layers)]
    head = weight(10, width, train=method != "bitfit")
    return saved_bytes(plain, made)


class Rung(nn.Module):
    """A transformer block of small width on the side: one head of attention and a feed-forward layer, both residual."""

    def __init__(self, width: int, reduced: int):
        super().__init__()
        self.down, self.first, self.second = nn.Linear(width, reduced), nn.LayerNorm(reduced), nn.LayerNorm(reduced)
        self.qkv, self.out = nn.Linear(reduced, 3 * reduced), nn.Linear(reduced, reduced)
        self.grow, self.shrink = nn.Linear(reduced, 2 * reduced), nn.Linear(2 * reduced, reduced)

    def forward(self, state: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """state [batch, n, k], hidden [batch, n, width] of the backbone, mask [batch, 1, n] with -inf where nothing is."""
        state = state + self.down(hidden)
        q, k, v = self.qkv(self.first(state)).chunk(3, -1)
        share = (q @ k.mT / q.shape[-1] ** 0.5 + mask).softmax(-1)
        state = state + self.out(share @ v)
        return state + self.shrink(F.gelu(self.grow(self.second(state))))


class Tuned(nn.Module):
    """bert-storybook with one way of tuning it and a head for two classes, a text each or a token each."""

    def __init__(self, method: str, reduction: int, rungs: int, by_token: bool):
        super().__init__()
        self.method, self.by_token = method, by_token
        self.bert = copy.deepcopy(eager("bert-storybook")[0].bert).requires_grad_(False)
        self.bert.set_attn_implementation("eager")
        width, layers = self.bert.config.hidden_size, self.bert.config.num_hidden_layers
        self.head = nn.Linear(width, 2)
        if method == "full":
            self.bert.requires_grad_(True)
        elif method == "bitfit":
            for name, weight in self.bert.named_parameters():
                weight.requires_grad_(name.endswith("bias"))
        elif method == "lora":
            for layer in self.bert.encoder.layer:
                own = layer.attention.self
                own.query, own.value = (
                    Lora(own.query, max(1, 32 // reduction)),
                    Lora(own.value, max(1, 32 // reduction)),
                )
        elif method == "ladder":
            reduced = width // reduction
            self.fed = [round((i + 1) * layers / rungs) for i in range(rungs)]  # which hidden states, 1 to 4
            self.enter, self.leave = nn.Linear(width, reduced), nn.Linear(reduced, width)
            self.rungs = nn.ModuleList(Rung(width, reduced) for _ in range(rungs))

    def forward(self, ids: Tensor) -> Tensor:
        """Scores [batch, 2], or [batch, n, 2] by token; ids [batch, n], 0 where nothing is."""
        there = ids != 0
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.method not in ("head", "ladder")):
            out = self.bert(input_ids=ids, attention_mask=there.long(), output_hidden_states=self.method == "ladder")
        hidden = out.last_hidden_state
        if self.method == "ladder":
            mask = torch.zeros(ids.shape[0], 1, ids.shape[1]).masked_fill(~there[:, None], -math.inf)
            state = self.enter(out.hidden_states[0])
            for layer, rung in zip(self.fed, self.rungs, strict=True):
                state = rung(state, out.hidden_states[layer], mask)
            hidden = hidden + self.leave(state)
        if self.by_token:
            return self.head(hidden)
        return self.head((hidden * there[..., None]).sum(1) / there.sum(1, keepdim=True))

    def trained(self) -> list[nn.Parameter]:
        """The weights that are tuned."""
        return [weight for weight in self.parameters() if weight.requires_grad]


class Lora(nn.Module):
    """A linear layer left as it is, plus a product of two thin ones that starts at 0 (Hu et al., arXiv 2106.09685)."""

    def __init__(self, plain: nn.Linear, rank: int):
        super().__init__()
        self.plain = plain
        self.down, self.up = (
            nn.Linear(plain.in_features, rank, bias=False),
            nn.Linear(rank, plain.out_features, bias=False),
        )
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        return self.plain(x) + self.up(self.down(x))


@cache
def fragments() -> tuple[str, ...]:
    """2,000 fragments of stories that bert-storybook was not trained on."""
    return tuple(FRAGMENTS.read_text(encoding="utf-8").splitlines())


def examples(task: str, count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """(ids [count, n], labels): half of the fragments with their words shuffled (labels [count], 1 where they are), or with two
    neighbours swapped somewhere (labels [count, n], 1 on the swapped words, -100 where no word is). The last ones are for tests.
    """
    tokenizer, rng = eager("bert-storybook")[1], np.random.default_rng(seed)
    order = np.random.default_rng(0).permutation(len(fragments()))
    order = np.concatenate((rng.permutation(order[TESTED:])[: count - TESTED], order[:TESTED]))
    rows, labels = [], []
    for number, place in enumerate(order):
        words, wrong = fragments()[place].split(), number % 2
        flags = [0] * len(words)
        if task == "shuffled" and wrong:
            words = [words[i] for i in rng.permutation(len(words))]
        if task == "swapped" and wrong:
            at = int(rng.integers(len(words) - 1))
            words[at], words[at + 1] = words[at + 1], words[at]
            flags[at] = flags[at + 1] = 1
        pieces = tokenizer(words, is_split_into_words=True, truncation=True, max_length=length)
        rows.append(pieces["input_ids"])
        owner = pieces.word_ids()
        labels.append([-100 if w is None else flags[w] for w in owner] if task == "swapped" else wrong)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    if task == "swapped":
        return ids, torch.tensor([row + [-100] * (longest - len(row)) for row in labels])
    return ids, torch.tensor(labels)


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: chance that a 1 is scored above a 0, ties half."""
    from scipy.stats import rankdata

    ranks, ones = rankdata(scores.double().numpy()), labels.numpy() == 1
    count = ones.sum()
    return float((ranks[ones].sum() - count * (count + 1) / 2) / (count * (len(ranks) - count)))


@dataclass(frozen=True)
class LadderCosts:
    """What each of M ways of tuning costs and reaches.

    methods: keys of the ways
    kept: int64 [M]; bytes that the backward pass keeps, weights apart
    forward_seconds: float64 [M]; median of three forward passes
    backward_seconds: float64 [M]; of three backward passes
    trained: float64 [M]; share of the weights that is tuned
    stack: int64 [M]; bytes kept on the Linear-ReLU stack (6 x 256, batch 128), measured
    stack_closed: int64 [M]; the same in closed form
    step: int64 [T]; steps of the task so far
    loss: float64 [M, T]; training loss, nats, smoothed over ten steps (NaN: not yet)
    score: float64 [M]; accuracy (shuffled) or AUC by token (swapped) on 400 held-back fragments; NaN without a task
    score_error: float64 [M]; standard error over those fragments (a bootstrap for the AUC)
    task: str; batch: int; length: int; as asked for
    """

    methods: tuple[str, ...]
    kept: np.ndarray
    forward_seconds: np.ndarray
    backward_seconds: np.ndarray
    trained: np.ndarray
    stack: np.ndarray
    stack_closed: np.ndarray
    step: np.ndarray
    loss: np.ndarray
    score: np.ndarray
    score_error: np.ndarray
    task: str
    batch: int
    length: int


@checked
def ladder(
    methods: Annotated[Sequence[str], SomeOf(METHODS)] = METHODS,
    task: Annotated[str, OneOf(TASKS)] = "none",
    reduction: Annotated[int, Between(2, 16)] = 8,
    rungs: Annotated[int, Between(1, 4)] = 4,
    batch: Annotated[int, Between(1, 32)] = 16,
    length: Annotated[int, Between(16, 64)] = 64,
    steps: Annotated[int, Between(10, 200)] = 100,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[LadderCosts]]:
    """Bytes, times and, with a task, accuracy of ways of tuning bert-storybook; yields a `LadderCosts`.

    reduction: the ladder's width is 192 over it; LoRA's rank is 32 over it. rungs: layers that feed the ladder.
    task: "shuffled", tell fragments whose words are shuffled; "swapped", find words swapped with their neighbour. 800 fragments.
    """
    methods = tuple(methods)
    torch.manual_seed(seed)
    tokens = [
        i for text in fragments()[:400] for i in eager("bert-storybook")[1](text, add_special_tokens=False)["input_ids"]
    ]
    ids = torch.tensor(tokens[: batch * length]).view(batch, length)
    networks = [Tuned(method, reduction, rungs, task == "swapped") for method in methods]
    rows = []
    for method, network in zip(methods, networks, strict=True):
        kept = saved_bytes(lambda n=network: n(ids), list(network.parameters()))
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            out = network(ids).square().mean()
            between = time.perf_counter()
            torch.autograd.grad(out, network.trained())
            times.append((between - begun, time.perf_counter() - between))
        ahead, back = (statistics.median(column) for column in zip(*times, strict=True))
        share = sum(w.numel() for w in network.trained()) / sum(w.numel() for w in network.parameters())
        reduced = max(1, 32 // reduction) if method == "lora" else max(1, STACK["width"] // reduction)
        rows.append(
            (
                kept,
                ahead,
                back,
                share,
                stack_bytes(method, **STACK, reduced=reduced),
                kept_bytes(method, **STACK, reduced=reduced),
            )
        )
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    count = len(methods)
    losses, score, error = np.full((count, steps), np.nan), np.full(count, np.nan), np.full(count, np.nan)

    def result() -> LadderCosts:
        smooth = np.array([np.convolve(row, np.ones(10) / 10, "valid") for row in losses])
        at, shown = (np.arange(10, steps + 1), smooth) if task != "none" else (np.zeros(0, int), np.zeros((count, 0)))
        return LadderCosts(methods, *columns, at, shown, score.copy(), error.copy(), task, batch, length)

    if task == "none":
        yield Progress(1, 1, result())
        return
    total = steps * count
    yield Progress(0, total, result())
    x, y = examples(task, 800 + TESTED, length, seed)
    for row, (method, network) in enumerate(zip(methods, networks, strict=True)):
        random = torch.Generator().manual_seed(seed)
        weights = network.trained()
        moments = zero_moments(weights)
        for step in range(1, steps + 1):
            chosen = torch.randint(800, (batch,), generator=random)
            inputs = x[chosen]
            inputs = inputs[:, : int((inputs != 0).sum(1).max())]
            scores, target = network(inputs), y[chosen]
            target = target[:, : inputs.shape[1]].reshape(-1) if task == "swapped" else target
            loss = F.cross_entropy(scores.reshape(-1, 2), target, ignore_index=-100)
            adam(weights, torch.autograd.grad(loss, weights), moments, step, RATES[method])
            losses[row, step - 1] = loss.item()
            if step % 20 == 0 and step < steps:
                yield Progress(row * steps + step, total, result())
        score[row], error[row] = _score(network, x[-TESTED:], y[-TESTED:], task, seed)
        yield Progress((row + 1) * steps, total, result())


@torch.no_grad()
def _score(network: Tuned, x: Tensor, y: Tensor, task: str, seed: int) -> tuple[float, float]:
    scores = torch.cat([network(part) for part in x.split(50)])
    margin = scores[..., 1] - scores[..., 0]
    if task == "shuffled":
        right = ((margin > 0) == (y == 1)).double()
        return right.mean().item(), right.std().item() / len(y) ** 0.5
    rng, found = np.random.default_rng(seed), []
    for i in range(41):
        rows = torch.from_numpy(rng.integers(len(x), size=len(x))) if i else torch.arange(len(x))
        words = y[rows] >= 0
        found.append(auc(margin[rows][words], y[rows][words]))
    return found[0], float(np.std(found[1:], ddof=1))
