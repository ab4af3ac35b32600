"""Gibbs sampling of text from a masked language model.

Each step masks one position (or a block), asks the model for its law given the rest, and draws: "BERT has a mouth, and
it must speak" (Wang & Cho, arXiv 1902.04094) and the third of kexue.fm's "searched text" posts (archives/8119). BERT's conditionals
are no conditionals of one joint, so the chain's law depends on the scan; a Metropolis correction (Goyal et al., arXiv 2106.02736)
makes it sample exp(pseudo-log-likelihood) instead, whatever the scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from engines.gibbs.masked import Conditionals

SCANS = {
    "sweep": "left to right",
    "random": "random positions",
    "blocks": "blocks at once",
    "parallel": "all at once",
}
SCHEDULES = {"constant": "constant", "linear": "linear", "geometric": "geometric"}
UNTOUCHED, SAME, CHANGED, REJECTED = range(4)


def temperatures(first: float, last: float, schedule: str, sweeps: int) -> list[float]:
    """The temperature of each sweep, from `first` to `last` ("constant" stays at first)."""
    share = [i / max(1, sweeps - 1) for i in range(sweeps)]
    if schedule == "linear":
        return [first + (last - first) * s for s in share]
    if schedule == "geometric":
        return [first * (last / first) ** s for s in share]
    return [first] * sweeps


def tempered(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Log-probabilities of logits [..., words] / temperature, kept to the top_k most probable words (0: all) and
    to the fewest whose probability reaches top_p (Holtzman et al., arXiv 1904.09751)."""
    scaled = logits / temperature
    if 0 < top_k < scaled.shape[-1]:
        least = scaled.topk(top_k).values[..., -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    if top_p < 1:
        ranked, order = scaled.softmax(-1).sort(descending=True)
        beyond = ranked.cumsum(-1) - ranked >= top_p
        scaled = scaled.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return scaled.log_softmax(-1)


def draw(log_probs: Tensor, generator: torch.Generator) -> Tensor:
    """One word for each law [..., words], by its inverse distribution function (one random number a word)."""
    total = log_probs.exp().cumsum(-1, dtype=torch.float64)  # float32 would lose rare words in the sum
    u = torch.rand(*total.shape[:-1], 1, generator=generator, dtype=torch.float64).to(total.device)
    return torch.searchsorted(total, u * total[..., -1:], right=True).squeeze(-1).clamp_max(total.shape[-1] - 1)


def leave_one_out(model: Conditionals, ids: Tensor, free: Tensor, rows: int = 256) -> Tensor:
    """Logits [chains, free, words] of each free position given all the others: one row for each, masked there."""
    chains, count = len(ids), len(free)
    masked = ids.repeat_interleave(count, 0)
    at = free.repeat(chains)
    masked[torch.arange(len(masked)), at] = model.mask
    found = [
        model.logits(part, where[:, None])[:, 0] for part, where in zip(masked.split(rows), at.split(rows), strict=True)
    ]
    return torch.cat(found).view(chains, count, -1)


def pseudo_log_likelihood(model: Conditionals, ids: Tensor, free: Tensor) -> Tensor:
    """Σ over free positions of log p(word | all others), float64 [chains], nats (Salazar et al., arXiv 1910.14659, eq. 1)."""
    logits = leave_one_out(model, ids, free).double()
    words = ids[:, free].to(logits.device)
    return logits.log_softmax(-1).gather(-1, words[:, :, None])[:, :, 0].sum(-1).cpu()


class Step(NamedTuple):
    """What one step of `walk` did.

    sweep, done: the sweep it belongs to, and the share of it that is done, up to 1
    ids: int64 [chains, length], the state after it (the walk's own tensor: copy to keep)
    at: int64 [chains, drawn], positions drawn; moves: uint8 [chains, drawn], SAME, CHANGED or REJECTED
    log_probs: float64 [chains], summed log-probability at temperature 1 of the words drawn, given what they were drawn from
    pseudo: float64 [chains], pseudo-log-likelihood of the state where the Metropolis correction had to know it, or None
    """

    sweep: int
    done: float
    ids: Tensor
    at: Tensor
    moves: Tensor
    log_probs: Tensor
    pseudo: Tensor | None


def walk(
    model: Conditionals,
    ids: Tensor,
    free: Tensor,
    heat: list[float],
    scan: str = "sweep",
    block: int = 4,
    top_k: int = 0,
    top_p: float = 1.0,
    burn_in: int = 0,
    metropolis: bool = False,
    seed: int = 0,
) -> Iterator[Step]:
    """Run chains from ids [chains, length], all at once in each forward pass, for len(heat) sweeps.

    free: int64 [F], positions that move; heat: the temperature of each sweep
    scan: "sweep" draws them from left to right; "random" draws F uniform positions a sweep, each chain its own; "blocks"
        masks `block` neighbours together and draws each from its own law; "parallel" draws all at once, each given the
        others as they were
    top_k, top_p: truncate the law after `burn_in` sweeps
    metropolis: accept with the Metropolis-Hastings probability of the target exp(pseudo-log-likelihood / temperature)
    """
    generator = torch.Generator().manual_seed(seed)
    ids, chains, count = ids.clone(), len(ids), len(free)
    row = torch.arange(chains)[:, None]
    everywhere = free.repeat(chains, 1)
    known = None  # of the present state: leave-one-out logits, where metropolis or parallel has computed them
    for sweep, temperature in enumerate(heat):
        cut = (top_k, top_p) if sweep >= burn_in else (0, 1.0)
        if scan == "sweep":
            visits = [free[i : i + 1].repeat(chains, 1) for i in range(count)]
        elif scan == "random":
            visits = list(free[torch.randint(count, (count, chains, 1), generator=generator)])
        elif scan == "blocks":
            visits = [part.repeat(chains, 1) for part in free.split(block)]
        else:
            visits = [everywhere]
        for number, at in enumerate(visits):
            old = ids[row, at]
            if scan == "parallel":
                logits = known if known is not None else leave_one_out(model, ids, free)
            else:
                masked = ids.scatter(1, at, model.mask)
                logits = model.logits(masked, at)
            law = tempered(logits, temperature, *cut)
            new = draw(law, generator).cpu()
            plain = logits.log_softmax(-1).gather(-1, new.to(logits.device)[:, :, None])[:, :, 0].double().cpu()
            moves = torch.where(new == old, SAME, CHANGED).to(torch.uint8)
            pseudo = None
            if metropolis:
                if known is None:
                    known = leave_one_out(model, ids, free)
                proposal = ids.scatter(1, at, new)
                ahead = leave_one_out(model, proposal, free)
                back_law = tempered(ahead, temperature, *cut) if scan == "parallel" else law
                here, there = _score(known, ids[:, free]), _score(ahead, proposal[:, free])
                ratio = (there - here) / temperature + _score(back_law, old, True) - _score(law, new, True)
                # a mask, which no law draws, is left at once: the chain proper begins where none remains
                masks = (ids[:, free] == model.mask).any(1)
                accept = masks | (torch.rand(chains, generator=generator, dtype=torch.float64).log() < ratio)
                ids[accept] = proposal[accept]
                known = torch.where(accept[:, None, None].to(ahead.device), ahead, known)
                pseudo = torch.where(accept, there, here)
                moves[~accept] = torch.where(moves[~accept] == CHANGED, REJECTED, SAME).to(torch.uint8)
            else:
                ids.scatter_(1, at, new)
                known = None
            yield Step(sweep, (number + 1) / len(visits), ids, at, moves, plain.sum(-1), pseudo)


def _score(logits: Tensor, words: Tensor, normalised: bool = False) -> Tensor:
    """Σ log p(word) [chains] of words [chains, n] under logits [chains, n, words]; a mask among the words gives -inf."""
    law = logits if normalised else logits.double().log_softmax(-1)
    inside = words < law.shape[-1]
    found = law.gather(-1, words.clamp_max(law.shape[-1] - 1).to(law.device)[:, :, None])[:, :, 0].cpu()
    return found.masked_fill(~inside, -torch.inf).sum(-1)
