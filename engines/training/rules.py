"""Update rules as functions on tensors with a leading axis of rows: several rules and seeds go side by side.

A kernel is [rows, in, out], a bias [rows, out]. `Rule` says what a rule keeps and how it steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engines.arguments import Refusal, items, number, one_of, whole

RULES = ("sgd", "adamw", "adamw-linear", "lamb", "su", "amos-scalar", "amos-rows", "amos-momentum")
SLOT_RULES = ("sgd", "adamw", "lamb", "su", "amos-scalar", "amos-rows", "amos-momentum", "adafactor")
BIAS_SCALE = 0.5  # expected size of a bias, which starts at 0 (Amos's η for it, and Su's)
DECAY = 0.01  # AdamW's and LAMB's weight decay
TINY = 2.0**-125  # Amos's own


def slot_count(rule: str, shape: Sequence[int]) -> int:
    """Numbers that a rule keeps beside one tensor of this shape (out, in): constants and the step apart.

    adamw, lamb, su: two moments each entry; amos-scalar: v and b, one each; amos-rows: v and b a row (of a vector, one each);
    amos-momentum: those and a momentum each entry; adafactor: a row and a column sum of squares for each matrix, without
    momentum (Shazeer & Stern 2018), one each entry for a vector.
    """
    one_of("rule", rule, (*SLOT_RULES, "adamw-linear"))
    shape = [whole("shape", side, 1, 10**12) for side in items("shape", shape, 8, 0)]
    size = math.prod(shape)
    rows = shape[0] if len(shape) > 1 else 1
    match rule:
        case "sgd":
            return 0
        case "amos-scalar":
            return 2
        case "amos-rows":
            return 2 * rows
        case "amos-momentum":
            return 2 * rows + size
        case "adafactor":
            return math.prod(shape[:-2]) * (shape[-2] + shape[-1]) if len(shape) > 1 else size
    return 2 * size


def amos(
    weight: Tensor,
    gradient: Tensor,
    slots: dict[str, Tensor],
    step: int,
    rate: float = 0.02,
    eta: float | Tensor = 1.0,
    beta: float = 0.999,
    momentum: float = 0.0,
) -> Tensor:
    """One step of Amos (Tian & Parikh, arXiv 2210.11693, algorithm 1): the new weight; `slots` is changed in place.

    weight, gradient: [...]; step: from 1; rate: ξ; eta: η, the expected size of an entry, broadcastable
    slots: "v", the mean square, and "b", the decay so far: alike and broadcastable to the weight; squares are averaged over
        the axes where they are 1. Empty: scalars. "m" is the momentum's, an average of the updates.
    As google-research/jestimator has it (ζ = 1/4); pytorch_optimizer 4.1 takes the sign of its extra decay the other way.
    """
    if not isinstance(weight, Tensor) or not isinstance(gradient, Tensor) or weight.shape != gradient.shape:
        raise Refusal("{parameter} must be a tensor of the weight's shape.", parameter="gradient")
    if not isinstance(slots, dict):
        raise Refusal("{parameter} must be a dict, empty before the first step.", parameter="slots")
    step, rate = whole("step", step, 1, 10**9), number("rate", rate, 0, 1e3)
    beta, momentum = number("beta", beta, 0, 0.9999999), number("momentum", momentum, 0, 0.9999999)
    if not isinstance(eta, Tensor):
        eta = torch.tensor(number("eta", eta, 0, 1e9), dtype=weight.dtype)
    if "v" not in slots:
        slots["v"] = torch.zeros((1,) * weight.dim(), dtype=weight.dtype, device=weight.device)
        slots["b"] = torch.zeros_like(slots["v"])
    v, b = slots["v"], slots["b"]
    alike = [i for i, size in enumerate(v.shape) if size == 1]
    square = gradient.square().mean(alike, keepdim=True) if alike else gradient.square()
    v.lerp_(square, 1 - beta)
    inverse = (1 - beta**step) / v.clamp_min(TINY)
    c = (1 + 0.25 * rate**0.5 * b).rsqrt()
    d = 1 / (1 + 0.25 * (rate * eta).sqrt() * b)
    gamma = c * rate**2 * inverse * square
    update = d * (rate * eta * inverse.sqrt() * gradient + 0.5 * gamma * weight)
    b += gamma * (1 + b)
    if momentum:
        update = slots.setdefault("m", torch.zeros_like(weight)).lerp_(update, 1 - momentum)
    return weight - update


class Rule:
    """A rule and what it keeps, for weights with a leading axis of rows.

    name: one of RULES; weights: at the start; sizes: expected size of an entry of each weight [rows, 1, ...]
    rate: AdamW's and SGD's learning rate, LAMB's and Su's α_0, Amos's ξ; total: steps, for the linear decay
    p, q: of Su's schedule
    """

    def __init__(self, name: str, weights: Sequence[Tensor], sizes: Sequence[Tensor], rate: float, total: int):
        self.name, self.sizes, self.rate, self.total = name, sizes, rate, total
        self.step, self.p, self.q = 0, 0.5, 1.0
        self.slots: list[dict[str, Tensor]] = [{} for _ in weights]
        for weight, slots in zip(weights, self.slots, strict=True):
            if name in ("amos-rows", "amos-momentum"):
                slots["v"] = weight.new_zeros(
                    [weight.shape[0], 1, weight.shape[2]] if weight.dim() == 3 else [len(weight), 1]
                )
                slots["b"] = torch.zeros_like(slots["v"])
            elif name == "amos-scalar":
                slots["v"], slots["b"] = weight.new_zeros(2, len(weight), *[1] * (weight.dim() - 1))
            elif name != "sgd":
                slots["m"], slots["v"] = torch.zeros_like(weight), torch.zeros_like(weight)

    def __call__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """The weights after one more step."""
        self.step += 1
        found = []
        for weight, gradient, size, slots in zip(weights, gradients, self.sizes, self.slots, strict=True):
            if self.name == "sgd":
                found.append(weight - self.rate * gradient)
            elif self.name.startswith("amos"):
                momentum = 0.9 if self.name == "amos-momentum" else 0.0
                found.append(amos(weight, gradient, slots, self.step, self.rate, size, momentum=momentum))
            else:
                found.append(self._adam(weight, gradient, size, slots))
        return found

    def _adam(self, weight: Tensor, gradient: Tensor, size: Tensor, slots: dict[str, Tensor]) -> Tensor:
        slots["m"].lerp_(gradient, 0.1)
        slots["v"].lerp_(gradient.square(), 0.001)
        first, second = slots["m"] / (1 - 0.9**self.step), slots["v"] / (1 - 0.999**self.step)
        if self.name == "su":  # without epsilon: a change of units then changes nothing
            update = torch.where(second > 0, first / second.sqrt(), 0)
            alpha = self.rate / (1 + 2 * self.rate * self.p * self.step)
            length = _norm(update)
            whole = size * math.sqrt(weight[0].numel())  # |ε_0|: that of the weights as they start
            decay = 0.5 * self.rate / self.q * alpha
            return weight - alpha * whole * torch.where(length > 0, update / length, 0) - decay * weight
        update = first / (second.sqrt() + 1e-8) + DECAY * weight
        if self.name == "lamb":
            own, length = _norm(weight), _norm(update)
            return weight - self.rate * torch.where((own > 0) & (length > 0), own / length, 1) * update
        rate = self.rate * (1 - (self.step - 1) / self.total) if self.name == "adamw-linear" else self.rate
        return weight - rate * update


def _norm(tensor: Tensor) -> Tensor:
    """Euclidean norm of each row, [rows, 1, ...]."""
    return tensor.flatten(1).square().sum(1).sqrt().view(-1, *[1] * (tensor.dim() - 1))
