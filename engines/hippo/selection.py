"""Copying tokens that stand among blanks: a linear model of fixed step against one whose step is chosen by its input (Mamba).

x <- e^(step A) x + (the integral of e^(s A) B over the step) u. Mamba lets the input choose the step (Gu and Dao 2023, "Mamba:
Linear-Time Sequence Modeling with Selective State Spaces", algorithm 2): near 0 at a blank, where the state then stays as it is.
All that is drawn is exact: an expectation over all places of the tokens, not a sample of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, OneOf, Refusal, checked
from engines.hippo.experiments import Seed
from engines.hippo.measures import discretize, transition
from engines.hippo.s4 import diagonal
from engines.hippo.tensors import least_squares

POLES = ("real", "lin", "legt")
SIZES = (2, 4, 8, 16, 32)
RATIOS = (0.0, *np.geomspace(1e-4, 1, 17).tolist())

Poles = Annotated[str, OneOf(POLES)]
Places = Annotated[int, Between(4, 48)]
Tokens = Annotated[int, Between(1, 8)]
Order = Annotated[int, Between(2, 64)]
Ratio = Annotated[float, Between(0, 1)]


def system(poles: str, order: int, tokens: int) -> tuple[Tensor, Tensor]:
    """A [N, N] and B [N] for a token's step of 1.

    real: poles -1 ... -N, Mamba's start (S4D-Real). lin: -1/2 + i pi n, n = 1 ... N/2 (S4D-Lin without its constant), real and
    imaginary part as two numbers. Both times 2/(N+1), by which the poles of lin stay apart in steps of 1. legt: HiPPO-LegT, its
    window as long as all tokens.
    """
    if poles == "legt":
        A, B = transition("legt", order)
        return A / tokens, B / tokens
    if poles == "real":
        A, B = -torch.diag(torch.arange(1, order + 1, dtype=torch.float64)), torch.ones(order, dtype=torch.float64)
    else:
        A, B = torch.zeros(order, order, dtype=torch.float64), torch.zeros(order, dtype=torch.float64)
        for n, pole in enumerate(diagonal(order + 2, "lin")[1 : order // 2 + 1]):
            A[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = torch.tensor([[pole.real, -pole.imag], [pole.imag, pole.real]])
            B[2 * n] = 1
    return A * 2 / (order + 1), B * 2 / (order + 1)


@cache
def places(length: int, tokens: int) -> np.ndarray:
    """float64 [tokens, length]: the probability that token j stands at place k, all sets of places being as likely."""
    return np.array(
        [
            [
                math.comb(k, j) * math.comb(length - 1 - k, tokens - 1 - j) / math.comb(length, tokens)
                for k in range(length)
            ]
            for j in range(tokens)
        ]
    )


@checked
def readout(poles: Poles, order: Order, length: Places, tokens: Tokens, ratio: Ratio) -> tuple[np.ndarray, np.ndarray]:
    """The best linear readout of all tokens from the final state: weights float64 [N, M], and mean square errors float64 [M].

    ratio: a blank's step over a token's: 0 selects, 1 is a fixed step. Tokens are independent, of mean 0 and variance 1, blanks 0.
    The mean is over all places of the tokens: token j is followed by all later tokens and by a random number of blanks.
    """
    _hold(length, tokens)
    A, B = system(poles, order, tokens)
    token, x = discretize(A, B, 1.0, "zoh")
    blank = torch.linalg.matrix_exp(A * ratio).T
    left = [x]
    for _ in range(tokens - 1):
        left.append(token @ left[-1])
    x = torch.stack(left[::-1])  # [M, N]: what token j leaves, once all tokens have come
    rows, free = [], length - tokens
    for _ in range(free + 1):
        rows.append(x)
        x = x @ blank
    j = np.arange(tokens)
    blanks = np.arange(free + 1)[:, None]
    chance = torch.from_numpy(places(length, tokens)[j, free + j - blanks] ** 0.5)[..., None]  # [blanks after it, M, 1]
    states, wanted = torch.stack(rows) * chance, torch.eye(tokens, dtype=torch.float64) * chance
    weights, residual = least_squares(states.reshape(-1, order), wanted.reshape(-1, tokens))
    return weights.numpy(), residual.clamp(1e-30).numpy()


def _hold(length: int, tokens: int) -> None:
    """A Refusal where the tokens do not fit."""
    if tokens > length:
        raise Refusal(
            "{parameter} must be at most {length}, the length of the sequence.", parameter="tokens", length=length
        )


@checked
def fixed_bound(length: Places, tokens: Tokens) -> np.ndarray:
    """float64 [tokens]: the error of the best linear function of the whole input, which no model of fixed step can go below.

    1 - sum over k of p_j(k)^2 L / M: token j is u at a random place, and the entries of u are uncorrelated, of variance M / L.
    """
    _hold(length, tokens)
    return 1 - (places(length, tokens) ** 2).sum(1) * length / tokens


@dataclass(frozen=True)
class Copying:
    """Tokens copied from among blanks, by fixed and by selective steps.

    ratios: float64 [R]; a blank's step over a token's, from 0 (selective) to 1 (fixed)
    sizes: int64 [S]; N
    error: float64 [S, R]; mean square error of the best linear readout, over the variance of a token, mean over the tokens
    by_token: float64 [2, M]; of each token with `order` numbers: at `ratio`, and at a fixed step
    bound: float64 [M]; the least error of each token by any model of fixed step and linear readout
    here: float; the error at `ratio` with `order` numbers, mean over the tokens
    sequence: float64 [L]; an example: tokens of +1 or -1, 0 at blanks
    place: int64 [M]; where its tokens stand
    state: float64 [2, L, N]; its state over time: at `ratio`, and at a fixed step
    read: float64 [2, M]; what is read out of the final states
    order: int; N; ratio: float; tokens: int; M; length: int; L; poles: str; as asked
    """

    ratios: np.ndarray
    sizes: np.ndarray
    error: np.ndarray
    by_token: np.ndarray
    bound: np.ndarray
    here: float
    sequence: np.ndarray
    place: np.ndarray
    state: np.ndarray
    read: np.ndarray
    order: int
    ratio: float
    tokens: int
    length: int
    poles: str


@checked
def copying(
    tokens: Tokens = 4,
    length: Places = 24,
    order: Order = 8,
    ratio: Ratio = 0.01,
    poles: Poles = "lin",
    seed: Seed = 0,
) -> Copying:
    """Selective copying: `tokens` values at random places of a sequence are to be given, in order, from the final state.

    Readouts are linear and the best there are for steps and places (exactly). Gu and Dao 2023, section 4.1.1, for the task.
    """
    if order % 2:
        raise Refusal("{parameter} must be even, not {given}.", parameter="order", given=order)
    error = [[readout(poles, n, length, tokens, r)[1].mean() for r in RATIOS] for n in SIZES]
    random = np.random.default_rng(seed)
    place = np.sort(random.choice(length, tokens, replace=False))
    sequence = np.zeros(length)
    sequence[place] = random.choice([-1.0, 1.0], tokens)
    state, read, by_token = np.zeros((2, length, order)), [], []
    A, B = system(poles, order, tokens)
    for i, blank in enumerate((ratio, 1.0)):
        weights, residual = readout(poles, order, length, tokens, blank)
        state[i] = run(A, B, sequence, blank)
        read.append(state[i, -1] @ weights)
        by_token.append(residual)
    return Copying(
        ratios=np.array(RATIOS),
        sizes=np.array(SIZES),
        error=np.array(error),
        by_token=np.array(by_token),
        bound=fixed_bound(length, tokens),
        here=float(by_token[0].mean()),
        sequence=sequence,
        place=place,
        state=state,
        read=np.array(read),
        order=order,
        ratio=ratio,
        tokens=tokens,
        length=length,
        poles=poles,
    )


def run(A: Tensor, B: Tensor, sequence: np.ndarray, ratio: float) -> np.ndarray:
    """The states [L, N] of a sequence, step by step: a step of 1 at a token, of `ratio` at a blank (0)."""
    token, drive = discretize(A, B, 1.0, "zoh")
    blank = torch.linalg.matrix_exp(A * ratio)
    x, out = torch.zeros_like(B), []
    for u in sequence:
        x = token @ x + drive * u if u else blank @ x
        out.append(x)
    return torch.stack(out).numpy()
