"""Losses of multi-label classification: n scores, of which those above 0 are to be the labels that are on.

Each takes scores [..., n] and labels [..., n] in [0, 1] and gives a loss [...], in nats, differentiable in the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Refusal, number, whole

FORMS = (1, 2, 3)


def zlpr(scores: Tensor, labels: Any) -> Tensor:
    """log(1 + sum t_i e^-s_i) + log(1 + sum (1 - t_i) e^s_i): Su, kexue.fm 7359; soft labels 9064; Su et al. 2022 (ZLPR).

    Its minimum is s = logit(t) / 2. An empty label set leaves the second term, a full one the first.
    """
    s, t = _pair(scores, labels)
    zero = torch.zeros_like(s[..., :1])
    on, off = torch.cat([zero, t.log() - s], -1), torch.cat([zero, (1 - t).log() + s], -1)
    return on.logsumexp(-1) + off.logsumexp(-1)


def zlpr_optimum(labels: Any) -> Tensor:
    """The scores where ZLPR of these labels is least: logit(t) / 2, infinite where a label is certain."""
    t = _labels(labels)
    return (t.log() - (1 - t).log()) / 2


def bce(scores: Tensor, labels: Any) -> Tensor:
    """Binary cross-entropy, summed over the labels: its exponential is prod(1 + e^-s) prod(1 + e^s), which ZLPR cuts after first order."""
    s, t = _pair(scores, labels)
    return (t * _softplus(-s) + (1 - t) * _softplus(s)).sum(-1)


def focal(scores: Tensor, labels: Any, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p of labels that are on, -p^gamma log(1 - p) of the others, p = sigmoid(s); summed. Lin et al. 2017, eq. 4."""
    s, t = _pair(scores, labels)
    gamma = number("gamma", gamma, 0, 10)
    on, off = -_softplus(-s), -_softplus(s)  # log p, log(1 - p)
    return -(t * (gamma * off).exp() * on + (1 - t) * (gamma * on).exp() * off).sum(-1)


def circle(scores: Tensor, labels: Any) -> Tensor:
    """log(1 + sum over i on, j off of e^(s_j - s_i)): compares scores only, and has no threshold. Sun et al. 2020, eq. 1.

    0 where no label is on or none is off.
    """
    s, t = _pair(scores, labels)
    on, off = t.log().clamp_min(-1e30), (1 - t).log().clamp_min(-1e30)  # finite, so that gradients are 0 and not NaN
    pairs = (on - s).logsumexp(-1, keepdim=True) + (off + s).logsumexp(-1, keepdim=True)
    return torch.cat([torch.zeros_like(pairs), pairs], -1).logsumexp(-1)


def multiway(scores: Tensor, target: Any, form: int = 1) -> Tensor:
    """A loss of n choices among m classes each, of ZLPR's kind: three forms, none of which serves (Su, kexue.fm 9158).

    scores: [..., n, m], or [m] for one choice; target: whole numbers [..., n] (or one), the right class of each, from 0
    form 1: log(1 + sum_i sum_{j != t} e^(s_ij - s_it)); cross-entropy for n = 1
    form 2: the same with a logarithm for each class that is a target; for m = 2 it is ZLPR of the differences
    form 3: log(1 + sum_i e^-(s_it - mean_j s_ij)); its soft optimum is the softmax, but it may be near 0 with a wrong argmax
    """
    s = _scores(scores)
    if s.shape[-1] < 2:
        raise Refusal("{parameter} must hold the scores of 2 classes or more.", parameter="scores")
    s = s[None] if s.dim() == 1 else s
    t = _tensor("target", target)
    if t.is_floating_point() or t.numel() * s.shape[-1] != s.numel() or not ((t >= 0) & (t < s.shape[-1])).all():
        raise Refusal(
            "{parameter} must hold one class from 0 to {last} a choice.", parameter="target", last=s.shape[-1] - 1
        )
    form = whole("form", form, 1, 3)
    t = t.reshape(s.shape[:-1]).long()
    own = s.gather(-1, t[..., None])
    if form == 3:
        return _log1p_sum(s.mean(-1) - own[..., 0])
    others = torch.nn.functional.one_hot(t, s.shape[-1]).bool()
    each = (s - own).masked_fill(others, -torch.inf).logsumexp(-1)  # [..., n]
    if form == 1:
        return _log1p_sum(each)
    classes = torch.arange(s.shape[-1], device=s.device)
    split = each[..., None].masked_fill(t[..., None] != classes, -torch.inf)
    return _log1p_sum(split.transpose(-1, -2)).sum(-1)


LOSSES: dict[str, Callable[..., Tensor]] = {"zlpr": zlpr, "bce": bce, "focal": focal, "circle": circle}


def _softplus(s: Tensor) -> Tensor:
    return torch.logaddexp(s, torch.zeros_like(s))  # exact where torch's own turns into the identity


def _log1p_sum(terms: Tensor) -> Tensor:
    """log(1 + sum of e^terms) over the last axis."""
    return torch.cat([torch.zeros_like(terms[..., :1]), terms], -1).logsumexp(-1)


def _tensor(name: str, values: Any) -> Tensor:
    try:
        return torch.as_tensor(np.asarray(values)) if isinstance(values, Sequence) else torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise Refusal("{parameter} must hold numbers.", parameter=name) from None


def _scores(scores: Any) -> Tensor:
    s = _tensor("scores", scores)
    s = s if s.is_floating_point() else s.double()
    if not s.dim() or not s.shape[-1] or not s.isfinite().all():
        raise Refusal("{parameter} must hold one or more finite numbers.", parameter="scores")
    return s


def _labels(labels: Any) -> Tensor:
    t = _tensor("labels", labels)
    t = t if t.is_floating_point() else t.double()
    if not ((t >= 0) & (t <= 1)).all():
        raise Refusal("{parameter} must lie from 0 to 1.", parameter="labels")
    return t


def _pair(scores: Any, labels: Any) -> tuple[Tensor, Tensor]:
    s, t = _scores(scores), _labels(labels)
    if s.shape != t.shape:
        raise Refusal("{parameter} must hold as many numbers as there are scores.", parameter="labels")
    return s, t.to(s)
