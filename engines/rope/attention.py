"""Attention that never meets an unknown distance, and log n scaling: what the posts change beside the frequencies.

kexue.fm/archives/9708 (ReRoPE and its leaky form), 7823 and 8823 (log n), 9603 (windows).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from engines.arguments import Between, Refusal, number, one_of, whole
from engines.decoder import Attend, Decoder, rotate
from engines.rope.frequencies import MOST_FACTOR, MOST_LENGTH

# name -> where it comes from
FORMS = {
    "rerope": "ReRoPE, kexue.fm/archives/9708",
    "leaky_rerope": "Leaky ReRoPE, kexue.fm/archives/9708",
    "window": "a sliding window, kexue.fm/archives/9603",
}
Window = Annotated[int, Between(1, 2048)]
_ROWS = 128  # queries at a time: their scores fit the cache of the processor


def relative_positions(length: int, form: str = "", window: int = 64, factor: float = 8.0) -> Tensor:
    """The distance that each pair of query (row) and key (column) is shown, float64 [length, length], −inf if masked.

    Within the window it is m = row − column. From m = w on: rerope shows w, leaky_rerope w + (m − w)/k with k = factor, and
    window masks the key. Without a form all distances are shown as they are. Later keys are masked.
    """
    length, window = whole("length", length, 1, 8192), whole("window", window, 1, MOST_LENGTH)
    k = math.inf if one_of("form", form, ("", *FORMS)) == "rerope" else number("factor", factor, 1, MOST_FACTOR)
    m = torch.arange(length, dtype=torch.float64)
    m = m[:, None] - m
    if form == "window":
        m = m.masked_fill(m >= window, -torch.inf)
    elif form:
        m = torch.where(m >= window, window + (m - window) / k, m)
    return m.masked_fill(m < 0, -torch.inf)


def attention(
    frequencies: Tensor,
    scale: float = 1.0,
    form: str = "",
    window: int = 64,
    factor: float = 8.0,
    log_n: int = 0,
) -> Attend | None:
    """What a `Decoder` does in place of its own attention; None where that is the same.

    frequencies: θ, float64 [d/2], radians a token; scale: of cos and sin; form: "" or one of FORMS, with window w and factor
    k as in `relative_positions`; log_n: the trained length L, where a query that sees n > L keys is multiplied by ln n / ln L
    (0: none is). Two rotations are enough: R_a q · R_b k depends on a − b alone, so that keys beyond the window are
    turned by j/k and their queries by w + (i − w)/k.
    """
    one_of("form", form, ("", *FORMS))
    if not form and not log_n:
        return None
    if log_n and whole("log_n", log_n, 0, MOST_LENGTH) < 2:
        raise Refusal("{parameter} must be 0 or at least 2.", parameter="log_n")
    slow = 0.0 if form == "rerope" else 1 / number("factor", factor, 1, MOST_FACTOR)

    def angles(position: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        phase = position[:, None] * frequencies.to("cpu", torch.float64)
        return (phase.cos() * scale).to(like), (phase.sin() * scale).to(like)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length, device = q.shape[-2], q.device
        position = torch.arange(length, dtype=torch.float64)
        if log_n:
            seen = (position + 1).clamp_max(window) if form == "window" else position + 1
            q = q * (seen.log() / math.log(log_n)).clamp_min(1).to(q)[:, None]
        here = angles(position, q)
        near_q, near_k = rotate(q, *here), rotate(k, *here)
        if not form:
            return torch.nn.functional.scaled_dot_product_attention(near_q, near_k, v, is_causal=True)
        far = form != "window"
        if far:
            far_q = rotate(q, *angles(window + (position - window) * slow, q))
            far_k = rotate(k, *angles(position * slow, q))
        mixed, place = torch.empty_like(q), torch.arange(length, device=device)
        for start in range(0, length, _ROWS):
            rows, end = slice(start, start + _ROWS), min(start + _ROWS, length)
            first = 0 if far else max(0, start - window + 1)
            distance = place[rows, None] - place[first:end]
            score = near_q[..., rows, :] @ near_k[..., first:end, :].mT
            beyond = distance >= window
            if far and start + _ROWS > window:
                score = torch.where(beyond, far_q[..., rows, :] @ far_k[..., first:end, :].mT, score)
            hidden = distance < 0 if far else (distance < 0) | beyond
            score = (score / math.sqrt(q.shape[-1])).masked_fill_(hidden, -torch.inf)
            mixed[..., rows, :] = score.softmax(-1) @ v[..., first:end, :]
        return mixed

    return attend


def check_model(model: object) -> Decoder:
    """The model, if it is a Decoder; Refusal otherwise."""
    if not isinstance(model, Decoder):
        raise Refusal("{parameter} must be a Decoder.", parameter="model")
    return model
