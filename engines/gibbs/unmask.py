"""Masked diffusion, remasking and mask-predict beside Gibbs sampling, each with so many forward passes.

All begin with masks and ask the same masked model. Masked diffusion draws some random masks at each pass and never looks back
(absorbing states: Austin et al., arXiv 2107.03006; Sahoo et al., arXiv 2406.07524); remasking masks a few known words again at each
pass, so that they may be mended (Wang et al., arXiv 2503.00307); the confident sampler draws all masks and keeps the most probable
words (MaskGIT, arXiv 2202.04200; LLaDA, arXiv 2502.09992); mask-predict takes the likeliest words of all and masks the least certain
again (Ghazvininejad et al., arXiv 1904.09324). Words drawn in one pass do not see each other: that is what is paid for speed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, ListOf, OneOf, SomeOf, checked
from engines.gibbs import diagnostics, kernels
from engines.gibbs.inputs import ANY_SEED, SEED
from engines.gibbs.masked import MARK, Conditionals, MaskedLM, TableLM, masked_model
from engines.gibbs.sampling import checked_state, draw, pseudo_log_likelihood, tempered
from engines.gibbs.text import MOST_CHARACTERS, TEMPERATURE, named, prompt
from engines.progress import Progress

SAMPLERS = ("gibbs", "diffusion", "remask", "confident", "mask-predict")
MOST_FORWARDS = 200
TOY = (4, 3)  # positions and values of the joint whose distributions are exact
TOY_FORWARDS = 12
Remasked = Annotated[int, Between(1, 16)]


@checked
def unmask(
    model: Conditionals,
    ids: Tensor,
    free: Tensor,
    sampler: Annotated[str, OneOf(SAMPLERS)],
    forwards: Annotated[int, Between(1, 10_000)],
    temperature: Annotated[float, Between(1e-300, 1e300)] = 1.0,
    remasked: Remasked = 1,
    seed: Annotated[int, ANY_SEED] = 0,
) -> Iterator[Tensor]:
    """The positions `free` [F] of ids [chains, length] found from masks in at most `forwards` passes: the state after each.

    sampler: "gibbs" draws them from left to right, ceil(F / forwards) at once, and goes on from the start; "diffusion" draws equal
        shares in an order that is random in each chain, and ends after F passes; "remask" the same, while `remasked` known words
        are masked again at each pass; "confident" draws all that are masked and keeps as many, those that were most
        probable; "mask-predict" takes the likeliest words, and masks the least probable ones again
    """
    model = masked_model(model)
    ids, free = checked_state(model, ids, free)
    ids, chains, count = ids.clone(), len(ids), len(free)
    ids[:, free] = model.mask
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(chains)[:, None]
    sure = torch.zeros(chains, count, dtype=torch.float64)  # log-probability of each word when it was taken

    def known() -> Tensor:
        return ids[:, free] != model.mask

    def some(among: Tensor, most: int) -> Tensor:
        """`most` random positions [chains, most] of those marked in `among` [chains, F], as numbers below F."""
        return (torch.rand(chains, count, generator=generator) + among).topk(most, dim=1).indices

    size = -(-count // forwards)
    for step in range(forwards):
        before, after = count * step // forwards, count * (step + 1) // forwards
        if sampler == "gibbs":
            places = size * (step % -(-count // size)) + torch.arange(size)
            chosen = places[places < count].repeat(chains, 1)
        elif sampler == "mask-predict":
            chosen = sure.topk(count - before, dim=1, largest=False).indices
        elif sampler == "confident":
            if after == before:
                continue  # more passes than words: none of them is kept in this one
            chosen = some(~known(), count - before)
        else:
            again = min(remasked, before) if sampler == "remask" else 0
            if again:
                ids[rows, free[some(known(), again)]] = model.mask
            if after - before + again == 0:
                continue  # likewise
            chosen = some(~known(), after - before + again)
        ids[rows, free[chosen]] = model.mask
        logits = model.logits(ids, free[chosen])
        if sampler == "mask-predict":
            best = logits.double().log_softmax(-1).max(-1)
            ids[rows, free[chosen]], sure[rows, chosen] = best.indices.cpu(), best.values.cpu()
        else:
            law = tempered(logits, temperature)
            words = draw(law, generator).cpu()
            if sampler == "confident":
                odds = law.cpu().gather(-1, words[:, :, None])[:, :, 0]
                kept = (odds + 1e-9 * torch.rand(odds.shape, generator=generator)).topk(after - before, dim=1).indices
                chosen, words = chosen.gather(1, kept), words.gather(1, kept)
            ids[rows, free[chosen]] = words
        yield ids.clone()


class PartialLaws:
    """Laws over the partly masked states of a joint of shape (V,) * L, as vectors [(V + 1)^L]; V stands for a mask."""

    def __init__(self, law: np.ndarray):
        self.values, self.length = law.shape[0], law.ndim
        model = TableLM(law)  # whose mask is V too
        self.states = np.array(list(itertools.product(range(self.values + 1), repeat=self.length)))
        self.weights = (self.values + 1) ** np.arange(self.length)[::-1]  # a state's number is its product with them
        at = torch.arange(self.length).repeat(len(self.states), 1)
        self.shares = model.logits(torch.from_numpy(self.states), at).softmax(-1).numpy()  # [states, L, V]
        self.masked = self.states == self.values

    def mask(self, places: tuple[int, ...]) -> np.ndarray:
        """The kernel that masks these places."""
        kernel = np.zeros((len(self.states),) * 2)
        kernel[np.arange(len(kernel)), self._emptied(places) @ self.weights] = 1
        return kernel

    def draw(self, places: tuple[int, ...]) -> np.ndarray:
        """The kernel that masks these places and draws them at once, each given what is known."""
        kernel, emptied = np.zeros((len(self.states),) * 2), self._emptied(places)
        shares = self.shares[emptied @ self.weights][:, places]  # [states, places, V]
        for words in itertools.product(range(self.values), repeat=len(places)):
            emptied[:, places] = words
            kernel[np.arange(len(kernel)), emptied @ self.weights] += np.prod(
                shares[:, np.arange(len(places)), words], axis=1
            )
        return kernel

    def some(self, kernels_of: dict[tuple[int, ...], np.ndarray], among: np.ndarray, most: int) -> np.ndarray:
        """The kernel of a random choice of `most` places among those marked in a state [states, L]."""
        kernel = np.eye(len(self.states))
        for i, marks in enumerate(among):
            options = list(itertools.combinations(np.flatnonzero(marks).tolist(), most)) if most else []
            if options:
                kernel[i] = np.mean([kernels_of[option][i] for option in options], axis=0)
        return kernel

    def confident(self, most: int) -> np.ndarray:
        """The kernel that draws all that is masked and keeps the `most` words that were most probable, at random among equals."""
        kernel = np.eye(len(self.states))
        for i, state in enumerate(self.states):
            places = np.flatnonzero(self.masked[i])
            if not 0 < most <= len(places):
                continue
            kernel[i] = 0
            for words in itertools.product(range(self.values), repeat=len(places)):
                odds = self.shares[i, places, words]
                least = np.sort(odds)[-most]
                sure, tied = places[odds > least + 1e-12], places[abs(odds - least) <= 1e-12]
                options = list(itertools.combinations(tied.tolist(), most - len(sure)))
                drawn = dict(zip(places.tolist(), words, strict=True))
                for option in options:
                    after = state.copy()
                    for place in (*sure.tolist(), *option):
                        after[place] = drawn[place]
                    kernel[i, after @ self.weights] += np.prod(odds) / len(options)
        return kernel

    def _emptied(self, places: tuple[int, ...]) -> np.ndarray:
        states = self.states.copy()
        states[:, places] = self.values
        return states


@checked
@cache
def toy_distances(
    remasked: Annotated[int, Between(1, TOY[0])] = 1, coupling: Annotated[float, Between(-3, 3)] = 1.0
) -> np.ndarray:
    """Total variation [samplers, TOY_FORWARDS] between what a sampler of SAMPLERS draws from the exact conditionals of a joint of 4
    positions, in 1, 2, ... passes, and that joint (`kernels.potts`)."""
    length = TOY[0]
    law = kernels.potts(length, coupling)
    partial = PartialLaws(law)
    sets = [s for n in range(1, length + 1) for s in itertools.combinations(range(length), n)]
    drawn, emptied = ({s: make(s) for s in sets} for make in (partial.draw, partial.mask))
    random = [partial.some(drawn, partial.masked, n) for n in range(length + 1)]
    again = [partial.some(emptied, ~partial.masked, n) for n in range(length + 1)]
    confident = [partial.confident(n) for n in range(length + 1)]
    full = ~partial.masked.any(1)
    found = np.zeros((len(SAMPLERS), TOY_FORWARDS))
    for k in range(1, TOY_FORWARDS + 1):
        for row, sampler in enumerate(SAMPLERS):
            now = np.zeros(len(partial.states))
            now[partial.masked.all(1)] = 1
            for step in range(k):
                before, after = length * step // k, length * (step + 1) // k
                if sampler == "gibbs":
                    size = -(-length // k)
                    start = size * (step % -(-length // size))
                    now = now @ drawn[tuple(range(start, min(start + size, length)))]
                elif sampler == "confident":
                    now = now @ confident[after - before]
                elif sampler != "mask-predict":
                    back = min(remasked, before) if sampler == "remask" else 0
                    now = now @ again[back] @ random[after - before + back]
            if sampler == "mask-predict":
                *_, last = unmask(
                    TableLM(law), torch.zeros(1, length, dtype=torch.long), torch.arange(length), sampler, k
                )
                now = np.zeros(len(partial.states))
                now[last[0].numpy() @ partial.weights] = 1
            found[row, k - 1] = kernels.total_variation(now[full], law)
    return found


@dataclass(frozen=True)
class Decodings:
    """K samplers at B budgets of forward passes, C chains each, of a text of N tokens.

    samplers: K keys of SAMPLERS
    budgets: int64 [B]; passes allowed
    forwards: int64 [K, B]; passes used
    pll: float64 [K, B, C], nats a position; pseudo-log-likelihood of the texts under the same model, NaN where not yet known
    self_bleu: float64 [K, B]; BLEU-2 of the chains' words against each other, NaN with one chain
    texts: text [K, B, C]; the texts
    history: text [K, B, most + 1, N]; tokens of the first chain after each pass, "_" for a mask, "" beyond the last
    free: int; positions found
    toy: float64 [K, 12]; total variation on a joint of 4 positions, exact, after 1, 2, ... 12 passes
    chinese: bool; whether tokens are set without spaces
    model: name of the model
    """

    samplers: tuple[str, ...]
    budgets: np.ndarray
    forwards: np.ndarray
    pll: np.ndarray
    self_bleu: np.ndarray
    texts: np.ndarray
    history: np.ndarray
    free: int
    toy: np.ndarray
    chinese: bool
    model: str


@checked
def decode(
    model: str | MaskedLM = "bert-quatrain",
    text: Annotated[str, Characters(MOST_CHARACTERS)] = "_______，_______。_______，_______。",
    samplers: Annotated[Sequence[str], SomeOf(SAMPLERS)] = SAMPLERS,
    budgets: Annotated[Sequence[int], ListOf(1, MOST_FORWARDS, most=8)] = (4, 7, 14, 28),
    chains: Annotated[int, Between(1, 16)] = 8,
    temperature: Annotated[float, TEMPERATURE] = 1.0,
    remasked: Remasked = 1,
    seed: Annotated[int, SEED] = 0,
) -> Iterator[Progress[Decodings]]:
    """The marked words of a text found by several samplers with equal numbers of forward passes: a stream of `Decodings`.

    model, text: as `engines.gibbs.text.sample` takes them
    temperature: of the draws; mask-predict takes the likeliest words
    remasked: known words that "remask" masks again at each pass
    """
    yield Progress(0, 1, None)  # the model may have to be fetched
    model, name = named(model)
    budgets = sorted(set(budgets))
    ids = torch.tensor(prompt(model, text, 0))
    state = model.frame(ids.repeat(chains, 1))
    free = (state[0] == model.mask).nonzero()[:, 0]
    shape = len(samplers), len(budgets)
    forwards, pll, self_bleu = np.zeros(shape, np.int64), np.full((*shape, chains), np.nan), np.full(shape, np.nan)
    tokens = np.array([*model.tokens, *[""] * max(0, model.mask + 1 - len(model.tokens))], dtype=object)
    tokens[model.mask] = MARK
    texts = np.full((*shape, chains), "", dtype=object)
    history = np.full((*shape, budgets[-1] + 1, len(ids)), "", dtype=object)
    toy = toy_distances(min(remasked, TOY[0]))[[SAMPLERS.index(s) for s in samplers]]
    cells = [(i, j) for j in range(len(budgets)) for i in range(len(samplers))]
    for done, (i, j) in enumerate(cells, 1):
        history[i, j, 0] = tokens[ids.numpy()]
        last = begun = state[:1] if samplers[i] == "mask-predict" else state  # which is the same in all chains
        for last in unmask(model, begun, free, samplers[i], budgets[j], temperature, remasked, seed):
            forwards[i, j] += 1
            history[i, j, forwards[i, j]] = tokens[last[0, 1:-1].numpy()]
        pll[i, j] = pseudo_log_likelihood(model, last, free) / len(free)
        last = last.expand(chains, -1)
        words = [[model.tokens[w] for w in row] for row in last[:, free].tolist()]
        self_bleu[i, j] = diagnostics.self_bleu(words, 2)
        texts[i, j] = [model.text(row) for row in last[:, 1:-1].tolist()]
        yield Progress(
            done,
            len(cells),
            Decodings(
                samplers=tuple(samplers),
                budgets=np.array(budgets),
                forwards=forwards.copy(),
                pll=pll.copy(),
                self_bleu=self_bleu.copy(),
                texts=texts.astype(np.str_),
                history=history.astype(np.str_),
                free=len(free),
                toy=toy,
                chinese=model.chinese,
                model=name,
            ),
        )
