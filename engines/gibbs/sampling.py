"""Gibbs sampling of text from a masked language model.

Each step masks one position (or a block), asks the model for its distribution given the rest, and draws: "BERT has a mouth, and
it must speak" (Wang & Cho, arXiv 1902.04094) and the third of kexue.fm's "searched text" posts (archives/8119). BERT's conditionals
are no conditionals of one joint, so the chain's distribution depends on the scan; a Metropolis correction (Goyal et al., arXiv 2106.02736)
makes it sample exp(pseudo-log-likelihood) instead, whatever the scan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from engines.arguments import Between, ListOf, OneOf, Refusal, checked
from engines.gibbs.inputs import ANY_SEED, POSITIVE, whole_tensor
from engines.gibbs.masked import Conditionals, masked_model
from engines.graphs import Captured

SCANS = ("sweep", "random", "blocks", "parallel")
SCHEDULES = ("constant", "linear", "geometric")
UNTOUCHED, SAME, CHANGED, REJECTED = range(4)


@checked
def temperatures(
    first: Annotated[float, POSITIVE],
    last: Annotated[float, POSITIVE],
    schedule: Annotated[str, OneOf(SCHEDULES)],
    sweeps: Annotated[int, Between(1, 10**6)],
) -> list[float]:
    """The temperature of each sweep, from `first` to `last` ("constant" stays at first)."""
    share = [i / max(1, sweeps - 1) for i in range(sweeps)]
    if schedule == "linear":
        return [first * (1 - s) + last * s for s in share]
    if schedule == "geometric":
        return [math.exp(math.log(first) * (1 - s) + math.log(last) * s) for s in share]
    return [first] * sweeps


@checked
def tempered(
    logits: Tensor,
    temperature: Annotated[float, POSITIVE],
    top_k: Annotated[int, Between(0, 10**9)] = 0,
    top_p: Annotated[float, Between(1e-9, 1)] = 1.0,
) -> Tensor:
    """Log-probabilities, float64, of logits [..., words] / temperature, kept to the top_k most probable words (0: all;
    words as probable as the last of them stay too) and to the fewest whose probability reaches top_p (Holtzman et al.,
    arXiv 1904.09751)."""
    return _tempered(_laws("logits", logits), temperature, top_k, top_p)


def _tempered(logits: Tensor, temperature: float | Tensor, top_k: int, top_p: float) -> Tensor:
    """The same of float64 logits, unchecked."""
    # the greatest is taken off first: nothing overflows, whatever the temperature
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature
    if 0 < top_k < scaled.shape[-1]:
        scaled = scaled.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    if top_p < 1:
        ranked, order = scaled.softmax(-1).sort(descending=True)
        beyond = ranked.cumsum(-1).roll(1, -1) >= top_p
        beyond[..., 0] = False
        scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return scaled.log_softmax(-1)


def _laws(name: str, values: Tensor) -> Tensor:
    """Logits or log-probabilities [..., words] as float64: each row with a finite greatest entry."""
    if not isinstance(values, Tensor) or not values.is_floating_point() or not values.ndim or not values.shape[-1]:
        raise Refusal("{parameter} must be a tensor of numbers, words along its last axis.", parameter=name)
    values = values.double()
    if not values.amax(-1).isfinite().all():
        raise Refusal("{parameter} must allow a word in each row, and hold neither NaN nor +∞.", parameter=name)
    return values


def draw(log_probs: Tensor, generator: torch.Generator) -> Tensor:
    """One word for each distribution [..., words], by its inverse distribution function (one random number a word)."""
    log_probs = _laws("log_probs", log_probs)
    if not isinstance(generator, torch.Generator):
        raise Refusal("{parameter} must be a torch.Generator.", parameter="generator")
    u = torch.rand(*log_probs.shape[:-1], 1, generator=generator, dtype=torch.float64)
    return _drawn(log_probs, u.to(log_probs.device))


def _drawn(log_probs: Tensor, u: Tensor) -> Tensor:
    """The word of each distribution [..., words], float64, at u [..., 1] of its distribution function."""
    total = (log_probs - log_probs.amax(-1, keepdim=True)).exp().cumsum(-1)  # float32 would lose rare words in the sum
    # kept below the sum: a word of probability 0 stands after it
    at = (u * total[..., -1:]).minimum(total[..., -1:].nextafter(torch.zeros_like(u)))
    return torch.searchsorted(total, at, right=True).squeeze(-1)


@lru_cache(maxsize=2)  # a walk has one distribution while it burns in, and another after that
def _drawing(top_k: int, top_p: float) -> Captured:
    """(logits, u, temperature) -> (words drawn, their log-probabilities at temperature 1, the distribution they were drawn from)."""

    def draw_from(logits: Tensor, u: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = logits.double()
        log_law = _tempered(logits, temperature, top_k, top_p)
        new = _drawn(log_law, u)
        return new, logits.log_softmax(-1).gather(-1, new[..., None]).squeeze(-1), log_law

    return Captured(draw_from, most=4)  # each holds several times the logits


@checked
def leave_one_out(
    model: Conditionals, ids: Tensor, free: Tensor, rows: Annotated[int, Between(1, 10**6)] = 256
) -> Tensor:
    """Logits [chains, free, words] of each free position given all the others: one row for each, masked there."""
    model = masked_model(model)
    ids, free = checked_state(model, ids, free)
    chains, count = len(ids), len(free)
    masked = ids.repeat_interleave(count, 0)
    at = free.repeat(chains)
    masked[torch.arange(len(masked)), at] = model.mask
    found = [
        model.logits(part, where[:, None])[:, 0] for part, where in zip(masked.split(rows), at.split(rows), strict=True)
    ]
    return torch.cat(found).view(chains, count, model.words)


def pseudo_log_likelihood(model: Conditionals, ids: Tensor, free: Tensor) -> Tensor:
    """Σ over free positions of log p(word | all others), float64 [chains], nats (Salazar et al., arXiv 1910.14659, eq. 1);
    -inf where a mask is left."""
    model = masked_model(model)
    ids, free = checked_state(model, ids, free)
    return _log_probability(leave_one_out(model, ids, free), ids[:, free])


def checked_state(model: Conditionals, ids: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Token numbers [chains, length] and the positions [free] among them, both on the CPU."""
    model = masked_model(model)
    ids = whole_tensor("ids", ids, 0, max(model.mask, model.words - 1), 2).cpu()
    free = whole_tensor("free", free, 0, ids.shape[1] - 1, 1).cpu()
    if not len(free) or len(free.unique()) < len(free):
        raise Refusal("{parameter} must name at least one position, each once.", parameter="free")
    return ids, free


class Step(NamedTuple):
    """What one step of `walk` did.

    sweep: int; the sweep it belongs to, from 0
    visit: int; which step of that sweep it was, from 1
    visits: int; steps of a sweep
    ids: int64 [chains, length]; the state after it (the walk's own tensor: copy to keep)
    at: int64 [chains, drawn]; positions drawn
    moves: uint8 [chains, drawn]; SAME, CHANGED or REJECTED
    log_probs: float64 [chains, drawn], nats; log-probability at temperature 1 of each word drawn, given what it was drawn from
    pll: float64 [chains], nats; pseudo-log-likelihood of the state where the Metropolis correction had to know it, or None
    """

    sweep: int
    visit: int
    visits: int
    ids: Tensor
    at: Tensor
    moves: Tensor
    log_probs: Tensor
    pll: Tensor | None


@checked
def walk(
    model: Conditionals,
    ids: Tensor,
    free: Tensor,
    temperature: Annotated[Sequence[float], ListOf(1e-300, 1e300, most=10**6)],
    scan: Annotated[str, OneOf(SCANS)] = "sweep",
    block: Annotated[int, Between(1, 10**6)] = 4,
    top_k: Annotated[int, Between(0, 10**9)] = 0,
    top_p: Annotated[float, Between(1e-9, 1)] = 1.0,
    burn_in: Annotated[int, Between(0, 10**6)] = 0,
    metropolis: bool = False,
    seed: Annotated[int, ANY_SEED] = 0,
) -> Iterator[Step]:
    """Run chains from ids [chains, length], all at once in each forward pass, for len(temperature) sweeps.

    free: int64 [F], positions that move; temperature: of each sweep
    scan: "sweep" draws them in the order given; "random" draws F uniform positions a sweep, each chain its own; "blocks"
        masks `block` neighbours together and draws each from its own distribution; "parallel" draws all at once, each given the
        others as they were
    top_k, top_p: truncate the distribution after `burn_in` sweeps
    metropolis: accept with the Metropolis-Hastings probability of the target exp(pseudo-log-likelihood / temperature)
    """
    model = masked_model(model)
    ids, free = checked_state(model, ids, free)
    generator = torch.Generator().manual_seed(seed)
    ids, chains, count = ids.clone(), len(ids), len(free)
    row = torch.arange(chains)[:, None]
    everywhere = free.repeat(chains, 1)
    known = None  # of the present state: leave-one-out logits, where metropolis or parallel has computed them
    for sweep, now in enumerate(temperature):
        cut = (top_k, top_p) if sweep >= burn_in else (0, 1.0)
        if scan == "sweep":
            visits = [free[i : i + 1].repeat(chains, 1) for i in range(count)]
        elif scan == "random":
            visits = list(free[torch.randint(count, (count, chains, 1), generator=generator)])
        elif scan == "blocks":
            visits = [part.repeat(chains, 1) for part in free.split(block)]
        else:
            visits = [everywhere]
        for visit, at in enumerate(visits, 1):
            old = ids[row, at]
            if scan == "parallel":
                logits = known if known is not None else leave_one_out(model, ids, free)
            else:
                logits = model.logits(ids.scatter(1, at, model.mask), at)
            u = torch.rand(*at.shape, 1, generator=generator, dtype=torch.float64)
            temper = torch.full((), now, dtype=torch.float64, device=logits.device)
            new, plain, log_law = _drawing(*cut)(logits, u.to(logits.device, non_blocking=True), temper)
            new, plain = new.cpu(), plain.cpu()
            if plain.isnan().any():
                _laws("logits", logits)  # which says what is wrong
            moves = torch.where(new == old, SAME, CHANGED).to(torch.uint8)
            pll = None
            if metropolis:
                if known is None:
                    known = leave_one_out(model, ids, free)
                proposal = ids.scatter(1, at, new)
                ahead = leave_one_out(model, proposal, free)
                back = tempered(ahead, now, *cut) if scan == "parallel" else log_law
                here, there = _log_probability(known, ids[:, free]), _log_probability(ahead, proposal[:, free])
                ratio = (there - here) / now + _sum_at(back, old) - _sum_at(log_law, new)
                # a mask, which no distribution draws, is left at once: the chain proper begins where the target is above 0
                accept = torch.rand(chains, generator=generator, dtype=torch.float64).log() < ratio
                accept |= here.isneginf()
                ids[accept] = proposal[accept]
                known = torch.where(accept[:, None, None].to(ahead.device), ahead, known)
                pll = torch.where(accept, there, here)
                moves[~accept] = torch.where(moves[~accept] == CHANGED, REJECTED, SAME).to(torch.uint8)
            else:
                ids.scatter_(1, at, new)
                known = None
            yield Step(sweep, visit, len(visits), ids, at, moves, plain, pll)


def _log_probability(logits: Tensor, words: Tensor) -> Tensor:
    """Σ log p(word) [chains], float64, of words [chains, n] under logits [chains, n, words]."""
    return _sum_at(logits.double().log_softmax(-1), words)


def _sum_at(log_law: Tensor, words: Tensor) -> Tensor:
    """Sum over n of the entries of log_law [chains, n, words] at words [chains, n]; a mask, which is no word, gives -inf."""
    inside = words < log_law.shape[-1]
    found = log_law.gather(-1, words.clamp_max(log_law.shape[-1] - 1).to(log_law.device)[:, :, None])[:, :, 0].cpu()
    return found.masked_fill(~inside, -torch.inf).sum(-1)
