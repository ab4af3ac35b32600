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
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from engines.arguments import Between, Characters, ListOf, OneOf, Refusal, checked, items, number
from engines.arguments import text as checked_text
from engines.decoder import Decoder
from engines.gibbs import models
from engines.gibbs.inputs import ANY_SEED, SEED, floats, whole_list
from engines.gibbs.kernels import OPERATIONS, edit_log_acceptance
from engines.gibbs.masked import TYPED, Conditionals, MaskedLM, masked_model
from engines.gibbs.sampling import draw, temperatures
from engines.gibbs.text import named
from engines.progress import Progress

CONSTRAINTS = ("hard", "soft", "similar")
ANNEALING = ("off", "on")
MOST_KEYWORDS, MOST_LENGTH = 12, 40
HOTTEST, COLDEST = 3.0, 0.3  # temperatures of the target, with annealing


class Target(Protocol):
    """log π of sentences, up to a constant: float64 [sentences]."""

    def __call__(self, sentences: list[list[int]]) -> Tensor: ...


class Edit(NamedTuple):
    """One step of one chain: what was proposed, and whether it was accepted.

    operation: of OPERATIONS, or "" where none was possible
    place: int; the index it concerned
    old: int; the token that stood there, -1 for none
    new: int; the token proposed, -1 for none
    log_accept: float; log of the acceptance probability
    accepted: bool; whether it was accepted
    """

    operation: str
    place: int
    old: int
    new: int
    log_accept: float
    accepted: bool


@checked
def edit_walk(
    model: Conditionals,
    target: Target,
    sentences: list[list[int]],
    temperature: Annotated[Sequence[float], ListOf(1e-300, 1e300, most=10**6)],
    max_length: Annotated[int, Between(1, 10_000)],
    frame: tuple[int, int] | None = None,
    seed: Annotated[int, ANY_SEED] = 0,
) -> Iterator[tuple[list[list[int]], list[Edit], Tensor]]:
    """Chains of sentences under insertions, deletions and replacements, one of each chain a step, batched in one forward.

    target: log π; temperature: T of each step, the chain then keeping π^{1/T}
    max_length: sentences beyond this many tokens, like the deletion of what is not there, are not proposed: the chain stays
    frame: the tokens that open and close a text for the model, if it wants them
    Yields the sentences, the edits and log π [chains] after each step.
    """
    model = masked_model(model)
    sentences = [whole_list("sentences", s, 0, model.words - 1) for s in items("sentences", sentences, 10**4, least=0)]
    if frame is not None:
        frame = whole_list("frame", frame, 0, model.words - 1)
    generator = torch.Generator().manual_seed(seed)
    now = _level(target, sentences)
    if not now.isfinite().all():
        raise Refusal("{parameter} must begin where the target is above 0.", parameter="sentences")
    for heat in temperature:
        chosen = torch.randint(3, (len(sentences),), generator=generator).tolist()
        uniform = torch.rand(2, len(sentences), generator=generator, dtype=torch.float64)
        plans = []
        for chain, (sentence, choice) in enumerate(zip(sentences, chosen, strict=True)):
            operation = OPERATIONS[choice]
            places = len(sentence) + (operation == "insert")
            if places and not (operation == "insert" and len(sentence) >= max_length):
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
            ahead = _level(target, proposals)
            for plan, move, proposal, log_pi in zip(plans, moves, proposals, ahead, strict=True):
                (chain, operation, place), (old, new, log_word, log_back) = plan, move
                gain = min(float(log_pi - now[chain]) / heat, 1e300)
                accept = edit_log_acceptance(operation, len(sentences[chain]), gain, log_word, log_back)
                accepted = float(uniform[1, chain].log()) < accept
                edits[chain] = Edit(operation, place, old, new, accept, accepted)
                if accepted:
                    sentences[chain], now[chain] = proposal, log_pi
        yield [list(s) for s in sentences], edits, now.clone()


def _level(target: Target, sentences: list[list[int]]) -> Tensor:
    """log π of the sentences, float64, -inf where π is 0."""
    if not callable(target):
        raise Refusal("{parameter} must be a function: token sequences -> log π of each.", parameter="target")
    level = target(sentences)
    if not isinstance(level, Tensor) or level.shape != (len(sentences),) or not (level < math.inf).all():
        raise Refusal("{parameter} must give a number below infinity for each sentence.", parameter="target")
    return level.double()


def _fill(model: Conditionals, plans: list[tuple[list[int], str, int]], frame: tuple[int, int] | None) -> Tensor:
    """Log-probabilities [plans, words], float64, of the word at the planned place, where a mask stands. An insertion, the
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
    similar: each costs `penalty` times what the cosine of its embedding and the nearest word's lacks of 1 instead, which is
        CGMH's constraint for paraphrases (there with other embeddings); of several tokens, their mean
    """

    def __init__(
        self,
        decoder: Decoder,
        model: MaskedLM,
        keywords: list[list[int]],
        penalty: float,
        reward: float,
        similar: bool = False,
    ):
        _decoder(decoder)
        if not isinstance(model, MaskedLM):
            raise Refusal("{parameter} must be a MaskedLM.", parameter="model")
        keywords = [whole_list("keywords", k, 0, model.words - 1) for k in items("keywords", keywords, 1000, least=0)]
        penalty = penalty if penalty == math.inf else number("penalty", penalty, 0, 1e9)
        reward = number("reward", reward, -1e9, 1e9)
        self.decoder, self.model, self.keywords = decoder, model, keywords
        self.penalty, self.reward = penalty, reward
        self.likeness = [likeness(model, keyword) for keyword in keywords] if similar else None
        self.seen: dict[tuple[int, ...], float] = {}

    def __call__(self, sentences: list[list[int]]) -> Tensor:
        fresh = [s for s in dict.fromkeys(map(tuple, sentences)) if s not in self.seen]
        if fresh:
            texts = [capital(self.model.text(list(s))) for s in fresh]
            self.seen.update(zip(fresh, text_log_probability(self.decoder, texts).tolist(), strict=True))
        found = []
        for sentence in sentences:
            if self.likeness is None:
                missing = sum(not holds(self.model.tokens, sentence, keyword) for keyword in self.keywords)
            else:
                missing = sum(1 - nearest(cosines, sentence)[0] for cosines in self.likeness)
            cost = self.penalty * missing if missing else 0.0
            found.append(self.seen[tuple(sentence)] + self.reward * len(sentence) - cost)
        return torch.tensor(found, dtype=torch.float64)


def likeness(model: MaskedLM, keyword: list[int]) -> np.ndarray:
    """Cosines [tokens of the keyword, words] of the model's input embeddings, the mean of all words taken off."""
    if not isinstance(model, MaskedLM):
        raise Refusal("{parameter} must be a MaskedLM.", parameter="model")
    keyword = whole_list("keyword", keyword, 0, model.words - 1)
    words = model.embedding[: model.words].double()
    words = torch.nn.functional.normalize(words - words.mean(0), dim=-1)
    return (words[keyword] @ words.T).cpu().numpy()


def nearest(cosines: np.ndarray, sentence: list[int]) -> tuple[float, int]:
    """The mean over a keyword's tokens of the greatest cosine (0 at least) with a word of the sentence, and the place of the
    word nearest to the first (-1 in an empty sentence). cosines: of `likeness`."""
    cosines = floats("cosines", cosines, 2)
    sentence = whole_list("sentence", sentence, 0, cosines.shape[1] - 1)
    if not sentence or not len(cosines):
        return 0.0, -1
    found = cosines[:, sentence]
    return float(found.max(1).clip(0, 1).mean()), int(found[0].argmax())


def _decoder(decoder: Any) -> Decoder:
    if not isinstance(decoder, Decoder):
        raise Refusal("{parameter} must be an engines.decoder.Decoder.", parameter="decoder")
    return decoder


def capital(text: str) -> str:
    """A sentence as it is printed, for vocabularies without capitals."""
    text = checked_text("text", text, 100_000)
    return text[:1].upper() + text[1:]


def holds(tokens: Sequence[str], sentence: list[int], keyword: list[int]) -> bool:
    """Whether the keyword stands in the sentence as a whole word: no piece of a word ("##…") follows it."""
    keyword = whole_list("keyword", keyword, 0, len(tokens) - 1) if isinstance(tokens, Sequence) else None
    if keyword is None or isinstance(tokens, str):
        raise Refusal("{parameter} must be the tokens of the vocabulary.", parameter="tokens")
    sentence, size = whole_list("sentence", sentence, 0, len(tokens) - 1), len(keyword)
    return any(
        sentence[i : i + size] == keyword
        and not (i + size < len(sentence) and tokens[sentence[i + size]].startswith("##"))
        for i in range(len(sentence) - size + 1)
    )


@torch.inference_mode()
def text_log_probability(decoder: Decoder, texts: list[str]) -> Tensor:
    """log P of each text as a line of its own, float64 [texts], nats: its bytes and the end of the line, after one."""
    device = next(_decoder(decoder).parameters()).device
    rows = [[10, *checked_text("texts", text, 100_000).encode(), 10] for text in items("texts", texts, 10**6, least=0)]
    if not rows:
        return torch.zeros(0, dtype=torch.float64)
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    logits = decoder(ids[:, :-1].to(device)).logits.cpu().double().log_softmax(-1)
    nats = logits.gather(-1, ids[:, 1:, None])[:, :, 0]
    inside = torch.arange(1, ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    return (nats * inside).sum(-1)


@dataclass(frozen=True)
class KeywordSentences:
    """C chains of sentences after S steps.

    sentences: C texts; of the chains now
    history: text [S + 1, C]; before and after each step
    operation: text [S, C]; "insert", "delete", "replace", or "" where none was possible
    place: int64 [S, C]; index of the token concerned
    old: text [S, C]; the token that stood there, "" for none
    new: text [S, C]; the token proposed, "" for none
    accepted: bool [S, C]; whether the edit was accepted
    log_accept: float64 [S, C]; log of the acceptance probability
    before: text [S, C]; the sentence before each step as tokens separated by spaces, which `place` indexes
    log_target: float64 [S + 1, C], nats; log π
    temperature: float64 [S]; of each step
    missing: int64 [C]; how many keywords the last sentences lack
    match: float64 [C, K]; cosine of each keyword and the word nearest to it in the last sentence, 1 for itself
    counterpart: text [C, K]; that word, "" in an empty sentence
    keywords: the keywords as read
    constraint: as given
    best: the sentence of the greatest log π seen
    best_log_target: float, nats; its log π
    model: name of the model that proposes
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
    match: np.ndarray
    counterpart: np.ndarray
    keywords: tuple[str, ...]
    constraint: str
    best: str
    best_log_target: float
    model: str


def read_keywords(model: MaskedLM, keywords: str) -> list[tuple[str, list[int]]]:
    """Keywords separated by commas or spaces (of any width), each with its tokens; Refusal for one outside the vocabulary."""
    words = re.split(r"[\s,，、;；]+", checked_text("keywords", keywords, 200).translate(TYPED))
    words = [word for word in (word.strip("\"'“”‘’「」") for word in words) if word]
    if not 1 <= len(words) <= MOST_KEYWORDS:
        raise Refusal(
            "{parameter} must be from 1 to {most} words, separated by commas or spaces.",
            parameter="keywords",
            most=MOST_KEYWORDS,
        )
    if not isinstance(model, MaskedLM):
        raise Refusal("{parameter} must be a MaskedLM.", parameter="model")
    found = []
    for word in words:
        try:
            ids = model.encode(word)
        except Refusal:
            ids = []
        if not ids or model.mask in ids:
            raise Refusal(
                "{parameter} has {word}, which is outside the vocabulary of this model.",
                parameter="keywords",
                word=repr(word[:30]),
            )
        found.append((word, ids))
    return found


@checked
def write(
    keywords: Annotated[str, Characters(200)] = "king, forest",
    constraint: Annotated[str, OneOf(CONSTRAINTS)] = "hard",
    penalty: Annotated[float, Between(0, 50)] = 8.0,
    reward: Annotated[float, Between(-5, 10)] = 3.0,
    max_length: Annotated[int, Between(2, MOST_LENGTH)] = 14,
    steps: Annotated[int, Between(10, 1000)] = 150,
    chains: Annotated[int, Between(1, 16)] = 4,
    annealing: Annotated[str, OneOf(ANNEALING)] = "off",
    seed: Annotated[int, SEED] = 0,
    model: str | MaskedLM = "bert-storybook",
    decoder: Decoder | None = None,
) -> Iterator[Progress[KeywordSentences]]:
    """Sentences that hold the keywords, or say the like, by CGMH with the true Metropolis-Hastings ratio: a stream of
    `KeywordSentences`. With "similar" and the words of a sentence it is paraphrased, or corrected.

    keywords: words separated by commas; the chains begin with just these, in this order
    constraint: "hard" (π = 0 without all of them), "soft" (each missing one costs `penalty` nats) or "similar" (each costs
        `penalty` times 1 less the cosine of the nearest word, see `ByteTarget`)
    reward: nats that each token adds to log π
    max_length: tokens of a sentence at most
    steps: edits proposed to each chain
    annealing: "on" lowers the temperature of the target geometrically from 3 to 0.3
    model: that proposes words: a name of `engines.gibbs.models.ENGLISH`, or a MaskedLM
    decoder: a causal model of bytes instead of ours
    """
    yield Progress(0, 1, None)  # the model may have to be fetched
    model, name = named(model, models.ENGLISH)
    decoder = models.load_decoder() if decoder is None else _decoder(decoder)
    words = read_keywords(model, keywords)
    first = [i for _, ids in words for i in ids]
    if len(first) > max_length:
        raise Refusal(
            "{parameter} is {length}, but the keywords are {count} tokens: it must leave room for them.",
            parameter="max_length",
            length=max_length,
            count=len(first),
        )
    cost = math.inf if constraint == "hard" else float(penalty)
    target = ByteTarget(decoder, model, [ids for _, ids in words], cost, reward, constraint == "similar")
    heat = temperatures(HOTTEST, COLDEST, "geometric", steps) if annealing == "on" else [1.0] * steps
    cosines = [likeness(model, ids) for _, ids in words]
    state = [first] * chains
    rows: dict[str, list] = {part: [] for part in RECORDED}

    def token(i: int) -> str:
        return "" if i < 0 else model.tokens[i]

    def reached(sentences: list[list[int]], level: Tensor) -> None:
        rows["history"].append([model.text(s) for s in sentences])
        rows["log_target"].append(level.tolist())

    reached(state, target(state))
    walk = edit_walk(model, target, state, heat, max_length, (model.open, model.close), seed)
    for step, (sentences, made, level) in enumerate(walk, 1):
        rows["before"].append([" ".join(map(token, s)) for s in state])
        for part in ("operation", "place", "accepted", "log_accept"):
            rows[part].append([getattr(edit, part) for edit in made])
        for part in ("old", "new"):
            rows[part].append([token(getattr(edit, part)) for edit in made])
        reached(sentences, level)
        state = sentences
        if step % 5 == 0 or step == steps or step == 1:
            found = _collect(rows, state, heat[:step], words, target.keywords, cosines, constraint, model, name)
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


def _collect(rows, state, heat, words, keywords, cosines, constraint, model, name) -> KeywordSentences:
    arrays = {part: np.array(rows[part], dtype=kind) for part, kind in RECORDED.items()}
    history, log_target = arrays["history"], arrays["log_target"]
    best = np.unravel_index(log_target.argmax(), log_target.shape)
    near = [[nearest(one, s) for one in cosines] for s in state]
    return KeywordSentences(
        **arrays,
        sentences=tuple(rows["history"][-1]),
        temperature=np.array(heat, dtype=np.float64),
        missing=np.array([sum(not holds(model.tokens, s, k) for k in keywords) for s in state], dtype=np.int64),
        match=np.array([[cosine for cosine, _ in row] for row in near], dtype=np.float64),
        counterpart=np.array(
            [
                [model.tokens[s[place]] if place >= 0 else "" for _, place in row]
                for s, row in zip(state, near, strict=True)
            ],
            dtype=np.str_,
        ),
        keywords=tuple(word for word, _ in words),
        constraint=constraint,
        best=str(history[best]),
        best_log_target=float(log_target[best]),
        model=name,
    )
