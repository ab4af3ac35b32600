"""Does a small parameter gradient force a small input gradient? Both sides of the inequality, example by example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, ListOf, OneOf, Refusal, checked, items, one_of
from engines.networks import accuracy, adam, cross_entropy, digits, forward, initial, stack, zero_moments
from engines.progress import Progress

ACTIVATIONS = ("tanh", "relu")
EXAMPLES = 200
BATCH = 64


def gradient_penalty_sides(
    weights: Sequence, biases: Sequence, activation: str, x: Sequence, readout: Sequence
) -> tuple[float, float]:
    """(left, right) of the inequality of input and parameter gradients (Dherin et al. 2111.15090; kexue.fm/archives/8796).

    f = readout · h, h the output of layers h ← activation(W h + b), also of the last; weights: W [out, in] of each layer,
    biases [out]; x: [in]; readout: [out of the last layer], not counted as a parameter.
    left: |∇_x f|² Σ_t (1 + |h_{t-1}|²) / (|W_t|² |∂h_{t-1}/∂x|²) with spectral norms; right: |∇_θ f|². left ≤ right.
    """
    one_of("activation", activation, ACTIVATIONS)
    kernels = [_tensor("weights", w, 2) for w in items("weights", weights, 64)]
    offsets = [_tensor("biases", b, 1) for b in items("biases", biases, 64)]
    x, readout = _tensor("x", x, 1), _tensor("readout", readout, 1)
    if len(offsets) != len(kernels):
        raise Refusal("{parameter} must have one entry for each layer.", parameter="biases")
    size = len(x)
    for kernel, offset in zip(kernels, offsets, strict=True):
        if kernel.shape[1] != size:
            raise Refusal(
                "{parameter} do not fit together: a layer takes what the one before gives.", parameter="weights"
            )
        if len(offset) != len(kernel):
            raise Refusal("{parameter} must have an entry for each output of their layer.", parameter="biases")
        size = len(kernel)
    if len(readout) != size:
        raise Refusal("{parameter} must have an entry for each output of the last layer.", parameter="readout")
    left, right, _ = sides(
        [w.mT for w in kernels], offsets, activation, x[None], lambda h: readout.expand(len(h), -1), last=True
    )
    return float(left), float(right)


def _tensor(name: str, values: Sequence, dim: int) -> Tensor:
    try:
        tensor = torch.as_tensor(np.asarray(values, dtype=float))
    except (ValueError, TypeError):
        raise Refusal("{parameter} must hold numbers.", parameter=name) from None
    if tensor.dim() != dim or not tensor.numel() or not tensor.isfinite().all():
        raise Refusal("{parameter} must hold finite numbers in {dim} dimensions.", parameter=name, dim=dim)
    return tensor


def sides(
    kernels: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    x: Tensor,
    slope: Callable[[Tensor], Tensor],
    last: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides for N examples, float64 [N] each, and the tightness of each layer [layers, N], |δWJ|²/(|δ||W||J|)².

    kernels: [in, out]; x: [N, in]; slope: output [N, out] -> gradient of f with respect to it; last: whether the last layer
    has the activation too
    """
    h, inputs, slopes = x, [], []
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        inputs.append(h)
        z = h @ kernel + bias
        acts = last or i < len(kernels) - 1
        h = (z.tanh() if activation == "tanh" else z.relu()) if acts else z
        slopes.append((1 - h.square() if activation == "tanh" else (z > 0).to(z)) if acts else torch.ones_like(z))
    delta, deltas = slope(h), []
    for i in range(len(kernels) - 1, -1, -1):
        delta = delta * slopes[i]
        deltas.append(delta.square().sum(-1))
        delta = delta @ kernels[i].mT
    deltas.reverse()
    inner = delta.square().sum(-1)  # |∇_x f|²
    jacobian = torch.eye(x.shape[1], dtype=x.dtype).expand(len(x), -1, -1)  # ∂h/∂x, transposed: [N, in, width]
    left = right = torch.zeros_like(inner)
    tightness = []
    for i, kernel in enumerate(kernels):
        spread = torch.linalg.eigvalsh(jacobian.mT @ jacobian)[:, -1] if i else torch.ones_like(inner)
        bound = torch.linalg.matrix_norm(kernel, 2) ** 2 * spread
        size = 1 + inputs[i].square().sum(-1)
        left = left + torch.where(bound > 0, inner * size / bound, 0)
        right = right + deltas[i] * size
        tightness.append(torch.where(bound * deltas[i] > 0, inner / (bound * deltas[i]), torch.nan))
        jacobian = (jacobian @ kernel) * slopes[i][:, None]
    return left, right, torch.stack(tightness)


@dataclass(frozen=True)
class Penalties:
    """Both sides over training; T moments, 200 test examples, L layers. f is the cross-entropy of an example.

    step: int64 [T]
    left: float64 [T]; median over the examples (gradient "mean": their mean)
    right: float64 [T]; likewise (gradient "mean": |∇_θ|² of the mean loss)
    ratio: float64 [T]; median of left/right (gradient "mean": left/right of the curves)
    greatest: float64 [T]; greatest left/right of any example (gradient "mean": the same as ratio)
    correlation: float64 [T]; of log left and log right over the examples
    tightness: float64 [L, T]; median of each layer's share of its bound
    norms: float64 [L, T]; spectral norm of each kernel
    example_left: float64 [T, 200]; example_right: float64 [T, 200]; every example
    accuracy: float64 [T]; share of right answers on the test images
    gradient: str; as asked for
    """

    step: np.ndarray
    left: np.ndarray
    right: np.ndarray
    ratio: np.ndarray
    greatest: np.ndarray
    correlation: np.ndarray
    tightness: np.ndarray
    norms: np.ndarray
    example_left: np.ndarray
    example_right: np.ndarray
    accuracy: np.ndarray
    gradient: str


@checked
def penalties(
    gradient: Annotated[str, OneOf(("example", "mean"))] = "example",
    activation: Annotated[str, OneOf(ACTIVATIONS)] = "tanh",
    widths: Annotated[Sequence[int], ListOf(1, 96, most=4)] = (64, 64),
    learning_rate: Annotated[float, Between(1e-4, 0.03)] = 3e-3,
    steps: Annotated[int, Between(100, 2000)] = 800,
    seed: Annotated[int, Between(0, 9999)] = 0,
) -> Iterator[Progress[Penalties]]:
    """Train a network on digits and measure both sides on 200 test images on the way; yields a `Penalties`.

    widths: of the hidden layers. gradient: "example", of each example's loss, for which the inequality is proved; "mean", the
    parameter gradient of the mean loss, which large batches follow, for which it is not.
    """
    data, random = digits(), torch.Generator().manual_seed(seed)
    weights = stack([initial((64, *widths, 10), random)])
    moments, rows = zero_moments(weights), []
    marks = sorted({round(steps * part) for part in (0, 0.02, 0.06, 0.12, 0.2, 0.35, 0.5, 0.75, 1)})
    for step in range(steps + 1):
        if step in marks:
            rows.append((step, *_measure(weights, activation, gradient)))
            if 1 < len(rows) < len(marks):
                yield Progress(step, steps, _penalties(rows, gradient))
        if step == steps:
            break
        chosen = torch.randint(len(data.x), (BATCH,), generator=random)
        leaves = [w.requires_grad_() for w in weights]
        loss = cross_entropy(forward(leaves, data.x[chosen], activation), data.y[chosen]).sum()
        gradients = torch.autograd.grad(loss, leaves)
        weights = [w.detach() for w in leaves]
        adam(weights, gradients, moments, step + 1, learning_rate)
    yield Progress(steps, steps, _penalties(rows, gradient))


def _measure(weights, activation, gradient) -> tuple:
    data = digits()
    own = [w[0].detach().double() for w in weights]
    x, y = data.test_x[:EXAMPLES].double(), data.test_y[:EXAMPLES]
    target = torch.nn.functional.one_hot(y, 10)
    left, right, tightness = sides(own[::2], own[1::2], activation, x, lambda scores: scores.softmax(-1) - target)
    mean = None
    if gradient == "mean":
        leaves = [w.requires_grad_() for w in stack([own])]
        loss = cross_entropy(forward(leaves, x, activation), y).sum()
        mean = sum(g.square().sum() for g in torch.autograd.grad(loss, leaves)).item()
    right_answers = accuracy(forward([w.detach() for w in weights], data.test_x, activation), data.test_y).item()
    norms = torch.stack([torch.linalg.matrix_norm(w.detach(), 2) for w in own[::2]])
    return left, right, tightness.nanmedian(1).values, norms, right_answers, mean


def _penalties(rows, gradient) -> Penalties:
    step, left, right, tightness, norms, right_answers, mean = zip(*rows, strict=True)
    left, right = torch.stack(left), torch.stack(right)
    alive = (left > 0) & (right > 0)
    ratio = torch.where(alive, left / right, torch.nan)
    logs = [torch.log(torch.stack((a[k], b[k]))) for a, b, k in zip(left, right, alive, strict=True)]
    correlation = torch.tensor([torch.corrcoef(pair)[0, 1] if pair.shape[1] > 2 else torch.nan for pair in logs])
    if gradient == "mean":
        low, high = left.mean(1), torch.tensor(mean, dtype=torch.float64)
        middle = most = low / high
    else:
        low, high = left.median(1).values, right.median(1).values
        middle, most = ratio.nanmedian(1).values, ratio.nan_to_num(0).amax(1)
    return Penalties(
        np.array(step), *(t.numpy() for t in (low, high, middle, most, correlation.double())), torch.stack(tightness, 1).numpy(),
        torch.stack(norms, 1).numpy(), left.numpy(), right.numpy(), np.array(right_answers), gradient,
    )  # fmt: skip
