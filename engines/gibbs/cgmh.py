"""Sentences from keywords by inserting, deleting and replacing words: constrained Metropolis-Hastings.

CGMH (Miao et al., AAAI 2019, arXiv 1811.10996; the fourth of kexue.fm's "searched text" posts, archives/8194). A masked
model proposes a word at a random place, a causal model times a keyword constraint is the target, and every move is accepted
with the full Metropolis-Hastings ratio. The published code (NingMiao/CGMH, key_gen.py) is another chain: it walks the
places from left to right instead of drawing them, takes every replacement above a threshold that alternates between 0
and half the old probability, proposes only from the 100 best candidates, multiplies the score of insertions by 10 / length
and reports the most probable sentence seen instead of the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from engines.arguments import number, one_of, whole
from engines.decoder import Decoder
from engines.gibbs import models
from engines.gibbs.kernels import OPERATIONS, edit_log_acceptance
from engines.gibbs.masked import Conditionals, MaskedLM
from engines.gibbs.sampling import draw, temperatures
from engines.progress import Progress

CONSTRAINTS = {"hard": "hard: every keyword stays", "soft": "soft: a missing keyword costs"}
ANNEALING = {"off": "off", "on": "on"}
MOST_STEPS, MOST_KEYWORDS = 2000, 8


class Target(Protocol):
    """log π of sentences, up to a constant: float64 [sentences]."""

    def __call__(self, sentences: list[list[int]]) -> Tensor: ...


class Edit(NamedTuple):
    """One step of one chain: what was proposed, and whether it was taken.

    operation: of OPERATIONS, or "" where none was possible; place: the index it concerned
    old, new: token numbers, -1 where there is none
    log_accept: log of the acceptance probability; accepted: whether it was taken
    """

    operation: str
    place: int
    old: int
    new: int
    log_accept: float
    accepted: bool


def edit_walk(
    model: Conditionals,
    target: Target,
    sentences: list[list[int]],
    heat: Sequence[float],
    longest: int,
    frame: tuple[int, int] | None = None,
    seed: int = 0,
) -> Iterator[tuple[list[list[int]], list[Edit], Tensor]]:
    """Chains of sentences under insertions, deletions and replacements, one of each chain a step, batched in one forward.

    target: log π; heat: the temperature T of each step, the chain then keeping π^{1/T}
    longest: sentences beyond this many tokens, like the deletion of what is not there, are not proposed: the chain stays
    frame: the tokens that open and close a text for the model, if it wants them
    Yields the sentences, the edits and log π [chains] after each step.
    """
    generator = torch.Generator().manual_seed(seed)
    sentences = [list(s) for s in sentences]
    now = target(sentences)
    for temperature in heat:
        chosen = torch.randint(3, (len(sentences),), generator=generator).tolist()
        uniform = torch.rand(2, len(sentences), generator=generator, dtype=torch.float64)
        plans = []
        for chain, (sentence, choice) in enumerate(zip(sentences, chosen, strict=True)):
            operation = OPERATIONS[choice]
            places = len(sentence) + (operation == "insert")
            if places and not (operation == "insert" and len(sentence) >= longest):
                plans.append((chain, operation, int(uniform[0, chain] * places)))
        edits = [Edit("", 0, -1, -1, 0.0, False)] * len(sentences)
        if plans:
            law = _fill(model, [(sentences[c], o, p) for c, o, p in plans], frame)
            words, law = draw(law, generator).tolist(), law.numpy()
            proposals, moves = [], []
            for (chain, operation, place), word, row in zip(plans, words, law, strict=True):
                sentence = sentences[chain]
                old = -1 if operation == "insert" else sentence[place]
                new = -1 if operation == "delete" else word
                proposals.append(sentence[:place] + [new] * (new >= 0) + sentence[place + (old >= 0) :])
                log_word = float(row[new]) if new >= 0 else 0.0
                log_back = float(row[old]) if old >= 0 else 0.0
                moves.append((old, new, log_word, log_back))
            ahead = target(proposals)
            for plan, move, proposal, log_pi in zip(plans, moves, proposals, ahead, strict=True):
                (chain, operation, place), (old, new, log_word, log_back) = plan, move
                gain = float(log_pi - now[chain]) / temperature
                accept = edit_log_acceptance(operation, len(sentences[chain]), gain, log_word, log_back)
                taken = float(uniform[1, chain].log()) < accept
                edits[chain] = Edit(operation, place, old, new, accept, taken)
                if taken:
                    sentences[chain], now[chain] = proposal, log_pi
        yield [list(s) for s in sentences], edits, now.clone()


def _fill(model: Conditionals, plans: list[tuple[list[int], str, int]], frame: tuple[int, int] | None) -> Tensor:
    """Log-probabilities [plans, words], float64, of the word at the planned place, masked (or made) there. An insertion, the
    deletion that undoes it and a replacement ask for the same thing."""
    rows, at = [], []
    for sentence, operation, place in plans:
        row = [*sentence[:place], model.mask, *sentence[place + (operation != "insert") :]]
        rows.append([frame[0], *row, frame[1]] if frame else row)
        at.append(place + bool(frame))
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    padded = lengths if (lengths < ids.shape[1]).any() else None
    return model.logits(ids, torch.tensor(at)[:, None], padded)[:, 0].double().log_softmax(-1).cpu()


class ByteTarget:
    """log P(text and a line's end | a line's end) under a causal model of bytes, the text capitalised, plus `reward` nats
    a token (a language model alone prefers the shortest sentence), with the keyword constraint.

    keywords: token sequences; each that is missing costs `penalty` nats, infinity for a hard constraint
    """

    def __init__(self, decoder: Decoder, model: MaskedLM, keywords: list[list[int]], penalty: float, reward: float):
        self.decoder, self.model, self.keywords = decoder, model, keywords
        self.penalty, self.reward = penalty, reward
        self.seen: dict[tuple[int, ...], float] = {}

    def __call__(self, sentences: list[list[int]]) -> Tensor:
        fresh = [s for s in dict.fromkeys(map(tuple, sentences)) if s not in self.seen]
        if fresh:
            texts = [capital(self.model.text(list(s))) for s in fresh]
            self.seen.update(zip(fresh, text_log_probability(self.decoder, texts).tolist(), strict=True))
        found = []
        for sentence in sentences:
            missing = sum(not holds(self.model.tokens, sentence, keyword) for keyword in self.keywords)
            cost = self.penalty * missing if missing else 0.0
            found.append(self.seen[tuple(sentence)] + self.reward * len(sentence) - cost)
        return torch.tensor(found, dtype=torch.float64)


def capital(text: str) -> str:
    """A sentence as it is printed, for vocabularies without capitals."""
    return text[:1].upper() + text[1:]


def holds(tokens: Sequence[str], sentence: list[int], keyword: list[int]) -> bool:
    """Whether the keyword stands in the sentence as a whole word: no piece of a word ("##…") follows it."""
    size = len(keyword)
    return any(
        sentence[i : i + size] == keyword
        and not (i + size < len(sentence) and tokens[sentence[i + size]].startswith("##"))
        for i in range(len(sentence) - size + 1)
    )


@torch.inference_mode()
def text_log_probability(decoder: Decoder, texts: list[str]) -> Tensor:
    """log P of each text as a line of its own, float64 [texts], nats: its bytes and the end of the line, after one."""
    rows = [[10, *text.encode(), 10] for text in texts]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    logits = decoder(ids[:, :-1]).logits.double().log_softmax(-1)
    nats = logits.gather(-1, ids[:, 1:, None])[:, :, 0]
    inside = torch.arange(1, ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    return (nats * inside).sum(-1)


@dataclass(frozen=True)
class KeywordSentences:
    """C chains of sentences after S steps.

    sentences: the texts of the chains now; history: text [S + 1, C]
    operation: text [S, C], "insert", "delete", "replace" or "" where none was possible
    place: int [S, C], index of the token concerned; old, new: text [S, C], tokens, "" where there is none
    accepted: bool [S, C]; log_accept: float64 [S, C], log of the acceptance probability
    before: text [S, C], the sentence before each step as tokens parted by spaces, which `place` indexes
    log_target: float64 [S + 1, C], log π in nats
    temperature: float64 [S]
    missing: int [C], keywords that the last sentences lack
    keywords: as read; best, best_log_target: the sentence of the greatest log π seen, and that
    model: as given; stage: "loading", "sampling" or "done"
    """

    sentences: tuple[str, ...]
    history: np.ndarray
    operation: np.ndarray
    place: np.ndarray
    old: np.ndarray
    new: np.ndarray
    accepted: np.ndarray
    log_accept: np.ndarray
    before: np.ndarray
    log_target: np.ndarray
    temperature: np.ndarray
    missing: np.ndarray
    keywords: tuple[str, ...]
    best: str
    best_log_target: float
    model: str
    stage: str


def read_keywords(model: MaskedLM, keywords: str) -> list[tuple[str, list[int]]]:
    """Keywords parted by commas or spaces, each with its tokens; ValueError for one outside the vocabulary."""
    words = keywords.replace(",", " ").replace("，", " ").split() if isinstance(keywords, str) else []
    if not 1 <= len(words) <= MOST_KEYWORDS or len(keywords) > 200:
        raise ValueError(f"keywords must be from 1 to {MOST_KEYWORDS} words, parted by commas or spaces")
    found = []
    for word in words:
        try:
            ids = model.encode(word)
        except ValueError:
            ids = []
        if not ids or model.mask in ids:
            raise ValueError(f"keywords: {word[:30]!r} is outside the vocabulary of this model")
        found.append((word, ids))
    return found


def write(
    keywords: str = "king, forest",
    constraint: str = "hard",
    penalty: float = 8.0,
    reward: float = 3.0,
    longest: int = 14,
    steps: int = 150,
    edit_chains: int = 4,
    annealing: str = "off",
    seed: int = 0,
    english_model: str | MaskedLM = "bert-storybook",
    decoder: Decoder | None = None,
) -> Iterator[Progress]:
    """Sentences that hold the keywords, by CGMH with the true Metropolis-Hastings ratio: a stream of `KeywordSentences`.

    keywords: words parted by commas; the chains begin with just these, in this order
    constraint: "hard" (π = 0 without all of them) or "soft" (each missing one costs `penalty` nats)
    reward: nats that each token adds to log π
    longest: tokens of a sentence at most; steps: edits proposed to each chain; edit_chains: chains
    annealing: "on" lowers the temperature of the target geometrically from 3 to 0.3
    english_model: a name of `engines.gibbs.models.ENGLISH`, or a MaskedLM; decoder: a causal model of bytes instead of ours
    """
    one_of("constraint", constraint, CONSTRAINTS)
    one_of("annealing", annealing, ANNEALING)
    penalty = number("penalty", penalty, 0, 100)
    reward = number("reward", reward, -5, 10)
    longest = whole("longest", longest, 2, 40)
    steps = whole("steps", steps, 1, MOST_STEPS)
    edit_chains = whole("edit_chains", edit_chains, 1, 16)
    seed = whole("seed", seed, 0, 2**63 - 1)
    model, name = english_model, english_model if isinstance(english_model, str) else "a model of your own"
    if isinstance(model, str):
        one_of("english_model", model, models.ENGLISH)
        yield Progress(0, 1, _collect({part: [] for part in RECORDED}, [], [], [], [], None, name, "loading"))
        model = models.load(model)
    decoder = models.load_decoder() if decoder is None else decoder
    words = read_keywords(model, keywords)
    first = [i for _, ids in words for i in ids]
    if len(first) > longest:
        raise ValueError(f"the keywords are {len(first)} tokens; longest, at {longest}, must leave room for them")
    cost = math.inf if constraint == "hard" else float(penalty)
    target = ByteTarget(decoder, model, [ids for _, ids in words], cost, reward)
    heat = temperatures(3.0, 0.3, "geometric" if annealing == "on" else "constant", steps)
    if annealing == "off":
        heat = [1.0] * steps
    state = [first] * edit_chains
    rows: dict[str, list] = {part: [] for part in RECORDED}

    def token(i: int) -> str:
        return "" if i < 0 else model.tokens[i]

    def reached(sentences: list[list[int]], level: Tensor) -> None:
        rows["history"].append([model.text(s) for s in sentences])
        rows["log_target"].append(level.tolist())

    reached(state, target(state))
    walk = edit_walk(model, target, state, heat, longest, (model.open, model.close), seed)
    for step, (sentences, made, level) in enumerate(walk, 1):
        rows["before"].append([" ".join(map(token, s)) for s in state])
        for part in ("operation", "place", "accepted", "log_accept"):
            rows[part].append([getattr(edit, part) for edit in made])
        for part in ("old", "new"):
            rows[part].append([token(getattr(edit, part)) for edit in made])
        reached(sentences, level)
        state = sentences
        stage = "done" if step == steps else "sampling"
        if step % 5 == 0 or step == steps or step == 1:
            found = _collect(rows, state, heat[:step], words, target.keywords, model, name, stage)
            yield Progress(step, steps, found)


# what `KeywordSentences` holds a row of for each step
RECORDED = {
    "history": np.str_,
    "operation": np.str_,
    "place": np.int64,
    "old": np.str_,
    "new": np.str_,
    "accepted": bool,
    "log_accept": np.float64,
    "before": np.str_,
    "log_target": np.float64,
}


def _collect(rows, state, heat, words, keywords, model, name, stage) -> KeywordSentences:
    arrays = {part: np.array(rows[part], dtype=kind) for part, kind in RECORDED.items()}
    history, log_target = arrays["history"], arrays["log_target"]
    best = np.unravel_index(log_target.argmax(), log_target.shape) if log_target.size else None
    return KeywordSentences(
        **arrays,
        sentences=tuple(rows["history"][-1]) if state else (),
        temperature=np.array(heat, dtype=np.float64),
        missing=np.array([sum(not holds(model.tokens, s, k) for k in keywords) for s in state], dtype=np.int64),
        keywords=tuple(word for word, _ in words),
        best=str(history[best]) if best else "",
        best_log_target=float(log_target[best]) if best else math.nan,
        model=name,
        stage=stage,
    )
