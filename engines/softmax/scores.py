"""What every map of the family does first: refuse what is no row of scores, and choose the precision to compute in."""

from typing import Any

import torch
from torch import Tensor

from engines.arguments import Refusal, quoted, whole

HALVES = (torch.float16, torch.bfloat16)
FLOATS = (*HALVES, torch.float32, torch.float64)


def floating(name: str, x: Any, dim: int) -> Tensor:
    """The tensor in the precision to compute in: float32 for the half precisions, its own otherwise.

    Refusal for anything but a floating-point tensor with at least one entry along an existing dimension `dim`.
    """
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        raise Refusal("{parameter} must be a floating-point tensor (16, 32 or 64 bits).", parameter=name)
    if x.dim() == 0:
        raise Refusal("{parameter} must hold at least one number along a dimension.", parameter=name)
    if not x.shape[whole("dim", dim, -x.dim(), x.dim() - 1)]:
        raise Refusal("{parameter} must hold at least one number along a dimension.", parameter=name)
    return x.float() if x.dtype in HALVES else x


def check_top(top: Tensor) -> None:
    """The maximum of a row tells of NaN, of +inf, and of a row with everything masked."""
    if not bool(torch.isfinite(top).all()):
        raise Refusal(
            "{parameter} must have no NaN and no +inf, and in each row at least one that is not masked by -inf.",
            parameter="scores",
        )


def gaps(scores: Tensor, dim: int) -> Tensor:
    """score - largest of its row, <= 0, the largest held constant: a map that ignores shifts has the same values and
    gradients there, and no precision is lost to a constant that all scores share."""
    z = floating("scores", scores, dim)
    top = z.detach().amax(dim, keepdim=True)
    check_top(top)
    return z - top


def distribution(probabilities: Any, dim: int) -> Tensor:
    """Probabilities in the precision to compute in; Refusal for NaN, infinite or negative entries."""
    p = floating("probabilities", probabilities, dim)
    if not bool(((p >= 0) & (p < torch.inf)).all()):
        raise Refusal("{parameter} must be finite and not negative.", parameter="probabilities")
    return p


def class_indices(name: str, target: Any, scores: Tensor, dim: int) -> Tensor:
    """Indices along `dim` of `scores`, int64 and of its shape with 1 there; one whole number stands for all rows."""
    try:
        index = torch.as_tensor(target, device=scores.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Refusal(
            "{parameter} must be a whole number or a tensor of them, not {given}.", parameter=name, given=quoted(target)
        ) from None
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise Refusal(
            "{parameter} must be a whole number or a tensor of them, not {given}.", parameter=name, given=quoted(target)
        )
    shape = list(scores.shape)
    n = shape.pop(dim)
    if index.dim() and list(index.shape) != shape:
        raise Refusal(
            "{parameter} must be one number, or have the shape of scores without dimension dim.", parameter=name
        )
    if bool(((index < 0) | (index >= n)).any()):
        raise Refusal("{parameter} must be from 0 to {most}, one of the entries.", parameter=name, most=n - 1)
    return index.long().expand(shape).unsqueeze(dim)


def wide(x: Tensor) -> Tensor:
    """float64 where the device has it."""
    return x if x.device.type == "mps" else x.double()
