import math
from collections import Counter

import numpy as np
import pytest
import torch

from engines.gibbs import diagnostics, models, sampling
from engines.gibbs.cgmh import edit_walk, holds, text_log_probability, write
from engines.gibbs.kernels import (
    block_scan,
    conditionals,
    edit_law,
    edit_states,
    parallel_scan,
    potts,
    pseudo_likelihood,
    stationary,
    total_variation,
)
from engines.gibbs.masked import MaskedLM, TableLM, join
from engines.gibbs.sampling import draw, leave_one_out, pseudo_log_likelihood, tempered, walk
from engines.gibbs.text import sample

LAW = potts()
WORDS = [
    "the",
    "a",
    "king",
    "queen",
    "fox",
    "saw",
    "went",
    "ran",
    "to",
    "of",
    "and",
    "in",
    "forest",
    "old",
    "young",
    ",",
    ".",
    "once",
    "##s",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of random weights, sharp enough for its words to depend on each other."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.3,
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    transformers.BertTokenizer(str(vocabulary)).save_pretrained(folder)
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    return model, MaskedLM(model, transformers.BertTokenizer.from_pretrained(folder))


@pytest.fixture(scope="module")
def decoder():
    from engines.decoder import Decoder, DecoderConfig

    torch.manual_seed(0)
    return Decoder(DecoderConfig(width=16, layers=1, heads=2, hidden=16)).eval()


def last(stream):
    for progress in stream:
        result = progress.result
    return result


# the walk on a joint that is known


def frequencies(scan, sweeps=35, chains=1500, **options):
    model = TableLM(LAW)
    start = torch.randint(3, (chains, 3), generator=torch.Generator().manual_seed(0))
    counts = np.zeros(LAW.shape)
    for step in walk(model, start, torch.arange(3), [1.0] * sweeps, scan, seed=1, **options):
        if step.visit == step.visits and step.sweep >= 10:
            np.add.at(counts, tuple(step.ids.T.numpy()), 1)
    return counts / counts.sum()


@pytest.mark.parametrize(
    ("scan", "options", "law"),
    [
        ("sweep", {}, LAW),
        ("random", {}, LAW),
        ("parallel", {}, stationary(parallel_scan(conditionals(LAW)))),
        ("blocks", {"block": 2}, stationary(block_scan(LAW, 2, at_once=True))),
        ("sweep", {"metropolis": True}, pseudo_likelihood(conditionals(LAW))),
        ("random", {"metropolis": True}, pseudo_likelihood(conditionals(LAW))),
        ("blocks", {"block": 2, "metropolis": True}, pseudo_likelihood(conditionals(LAW))),
        ("parallel", {"metropolis": True}, pseudo_likelihood(conditionals(LAW))),
    ],
)
def test_the_sampler_on_a_known_joint(scan, options, law):
    """37,500 draws (18,000 with Metropolis), neighbours in a chain dependent: the noise is about 0.01 (0.02)."""
    sweeps, chains = (40, 600) if options.get("metropolis") else (35, 1500)
    found = frequencies(scan, sweeps, chains, **options)
    assert total_variation(found, law) < (0.05 if options.get("metropolis") else 0.03)


def test_fixed_positions_stay():
    start = torch.tensor([[2, 0, 1]] * 50)
    for step in walk(TableLM(LAW), start, torch.tensor([1]), [1.0] * 5):
        assert (step.ids[:, [0, 2]] == torch.tensor([2, 1])).all()


def test_masks_are_marginalised():
    model = TableLM(LAW)
    ids = torch.tensor([[3, 3, 1]])
    found = model.logits(ids, torch.tensor([[0, 1]]))[0].softmax(-1).numpy()
    given = LAW[:, :, 1] / LAW[:, :, 1].sum()
    assert found[0] == pytest.approx(given.sum(1), abs=1e-14)
    assert found[1] == pytest.approx(given.sum(0), abs=1e-14)


def test_pseudo_log_likelihood_on_a_known_joint():
    ids = torch.tensor([[0, 1, 2], [1, 1, 1]])
    found = pseudo_log_likelihood(TableLM(LAW), ids, torch.arange(3))
    tables = conditionals(LAW)
    expected = [sum(math.log(t[tuple(x)]) for t in tables) for x in ids.tolist()]
    assert found.numpy() == pytest.approx(expected, abs=1e-13)


# temperature and truncation


def test_tempered_is_the_power_of_the_law():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64))
    law = logits.exp() ** 2
    assert tempered(logits, 0.5).exp().numpy() == pytest.approx((law / law.sum()).numpy(), abs=1e-15)
    assert tempered(logits, 1.0, top_k=2).exp().numpy() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-15)
    assert tempered(logits, 1.0, top_p=0.79).exp().numpy() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-15)
    assert tempered(logits, 1.0, top_p=0.81).exp().numpy() == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])


def test_draw_follows_the_law_and_never_what_is_forbidden():
    law = torch.tensor([[0.2, 0.0, 0.5, 0.3, 0.0]], dtype=torch.float64).repeat(20_000, 1)
    found = torch.bincount(draw(law.log(), torch.Generator().manual_seed(0)), minlength=5) / 20_000
    assert found[1] == found[4] == 0
    assert found.numpy() == pytest.approx(law[0].numpy(), abs=0.015)


def test_schedules():
    assert sampling.temperatures(2.0, 0.5, "geometric", 3) == pytest.approx([2, 1, 0.5])
    assert sampling.temperatures(2.0, 0.5, "linear", 4) == pytest.approx([2, 1.5, 1, 0.5])
    assert sampling.temperatures(2.0, 0.5, "constant", 2) == [2, 2]
    assert sampling.temperatures(2.0, 0.5, "geometric", 1) == [2]


# the forward pass of our own


def test_logits_agree_with_transformers(bert):
    theirs, ours = bert
    ids, at = torch.randint(5, 24, (6, 13)), torch.randint(0, 13, (6, 3))
    lengths = torch.tensor([13, 13, 9, 4, 13, 7])
    with torch.inference_mode():
        whole = theirs(ids).logits.gather(1, at[:, :, None].expand(-1, -1, ours.words))
        padded = theirs(ids, attention_mask=(torch.arange(13) < lengths[:, None]).long()).logits[:, :1]
    kept = ~ours.forbidden
    assert torch.isneginf(ours.logits(ids, at)[..., ours.forbidden]).all()
    assert (whole - ours.logits(ids, at))[..., kept].abs().max() < 1e-5
    assert (padded - ours.logits(ids, torch.zeros(6, 1, dtype=torch.long), lengths))[..., kept].abs().max() < 1e-5


def test_leave_one_out_masks_one_position_at_a_time(bert):
    _, model = bert
    ids, free = torch.randint(5, 24, (3, 9)), torch.tensor([2, 5])
    found = leave_one_out(model, ids, free, rows=4)
    for i, place in enumerate(free.tolist()):
        masked = ids.clone()
        masked[:, place] = model.mask
        expected = model.logits(masked, torch.full((3, 1), place))[:, 0]
        assert (found[:, i] - expected)[:, ~model.forbidden].abs().max() < 2e-5


# the view


def test_sample_keeps_what_is_written(bert):
    _, model = bert
    stream = list(sample(model, "the old _ saw a _ _ .", sweeps=6, chains=3, burn_in=1, score_every=2))
    found = stream[-1].result
    assert stream[-1].step == stream[-1].total == 18
    assert stream[0].result is None
    assert found.tokens.shape == (7, 3, 8)
    assert found.free.tolist() == [False, False, True, False, False, True, True, False]
    assert (found.tokens[:, :, ~found.free] == np.array(["the", "old", "saw", "a", "."])).all()
    assert (found.tokens[0][:, found.free] == "_").all()
    assert not (found.tokens[1:] == "_").any()
    assert (found.moves[:, :, found.free] > 0).all()
    assert (found.moves[:, :, ~found.free] == 0).all()
    changed = found.tokens[1:] != found.tokens[:-1]
    assert ((found.moves == 2) == changed).all()
    assert np.isfinite(found.pll[[2, 4, 6]]).all()
    assert np.isnan(found.pll[[0, 1, 3, 5]]).all()
    assert found.log_prob == pytest.approx(found.token_log_prob[:, :, found.free].mean(-1), abs=1e-12)
    assert np.isnan(found.token_log_prob[:, :, ~found.free]).all()
    assert found.acceptance == 1
    assert found.temperature[[0, -1]] == pytest.approx([1.0, 0.5])
    assert found.hamming[0] == pytest.approx(1)
    words = found.tokens[-1][:, found.free].tolist()
    assert found.self_bleu == diagnostics.self_bleu(words, 2)
    assert found.self_bleu < diagnostics.self_bleu(found.tokens[-1].tolist(), 2)  # fixed words are alike by themselves


@pytest.mark.parametrize("scan", sampling.SCANS)
@pytest.mark.parametrize("metropolis", [False, True])
def test_sample_repeats(bert, scan, metropolis):
    options = {
        "sweeps": 4,
        "chains": 2,
        "scan": scan,
        "metropolis": metropolis,
        "start": "words",
        "top_k": 5,
        "burn_in": 2,
    }
    first, second = (last(sample(bert[1], "the _ _ to the _ .", seed=3, **options)) for _ in range(2))
    assert (first.tokens == second.tokens).all()
    assert np.array_equal(first.pll, second.pll, equal_nan=True)
    assert 0 <= first.acceptance <= 1


def test_pseudo_log_likelihood_under_metropolis_is_the_real_one(bert):
    _, model = bert
    found = last(sample(model, "the _ _ to the _ .", sweeps=3, chains=2, metropolis=True, start="words"))
    ids = torch.tensor([[model.open, *model.encode(" ".join(row)), model.close] for row in found.tokens[-1]])
    expected = pseudo_log_likelihood(model, ids, torch.tensor([2, 3, 6])) / 3
    assert found.pll[-1] == pytest.approx(expected.numpy(), abs=1e-5)


def test_length_adds_marks(bert):
    found = last(sample(bert[1], "once", length=6, sweeps=1, chains=1))
    assert found.tokens.shape == (2, 1, 6)
    assert found.free.tolist() == [False] + [True] * 5


def test_truncation_after_the_burn_in(bert):
    found = last(sample(bert[1], "_ " * 8, sweeps=8, chains=2, top_k=1, burn_in=2, temperature=1.0, seed=1))
    assert (found.moves[5:] == 1).mean() > (found.moves[:2] == 1).mean()


def test_join_sets_words_as_a_reader_expects():
    assert (
        join(["the", "king", "##s", ",", "“", "he", "said", ",", "”", "don", "’", "t", "."], False)
        == "the kings, “he said,” don’t."
    )
    assert join(["明", "月", "，", "光"], True) == "明月，光"


# diagnostics


def test_r_hat_and_effective_size_of_known_chains():
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(2000, 4))
    assert diagnostics.split_r_hat(apart) == pytest.approx(1, abs=0.01)
    assert diagnostics.split_r_hat(apart + np.arange(4)) > 1.3
    phi = 0.8
    chain = np.zeros((4000, 4))
    for t in range(1, len(chain)):
        chain[t] = phi * chain[t - 1] + rng.normal(size=4)
    assert diagnostics.effective_sample_size(chain) == pytest.approx(16_000 * (1 - phi) / (1 + phi), rel=0.15)
    assert math.isnan(diagnostics.split_r_hat(np.zeros((20, 2))))
    assert math.isnan(diagnostics.effective_sample_size(np.zeros((20, 2))))
    assert math.isnan(diagnostics.split_r_hat(np.zeros((3, 2))))


def test_split_r_hat_by_hand():
    trace = np.array([[1.0], [2.0], [3.0], [5.0]])
    # halves (1, 2) and (3, 5): W = (0.5 + 2) / 2, B / n = variance of (1.5, 4) = 3.125
    assert diagnostics.split_r_hat(trace) == pytest.approx(math.sqrt(0.5 + 3.125 / 1.25))


def test_hamming_autocorrelation():
    still = np.tile(np.arange(6), (10, 1, 1))
    assert diagnostics.hamming_autocorrelation(still, 3) == pytest.approx(np.ones(4))
    fresh = np.random.default_rng(0).integers(0, 5, (400, 3, 30))
    assert diagnostics.hamming_autocorrelation(fresh, 3) == pytest.approx([1, 0, 0, 0], abs=0.01)


def test_bleu_against_published_examples():
    """Papineni et al. 2002, section 2.1: the modified unigram precision of seven "the" is 2/7."""
    references = [["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]
    assert diagnostics.bleu(["the"] * 7, references, 1) == pytest.approx(2 / 7)
    assert diagnostics.self_bleu([["a", "b", "c", "d"]] * 3) == pytest.approx(1)
    assert diagnostics.self_bleu([list("abcd"), list("efgh")]) == 0
    assert math.isnan(diagnostics.self_bleu([["a"]]))


# edits


class StringTable:
    """A masked model over the letters a, b that always proposes with the same law."""

    mask, words, forbidden = 2, 2, None

    def logits(self, ids, at, lengths=None):
        return torch.tensor([0.7, 0.3], dtype=torch.float64).log().expand(*at.shape, 2)


def test_edit_walk_keeps_the_target():
    states = edit_states()
    law = edit_law(states)
    number = {s: i for i, s in enumerate(states)}

    def target(sentences):
        return torch.tensor(
            [math.log(law[number["".join("ab"[i] for i in s)]]) for s in sentences], dtype=torch.float64
        )

    counts: Counter = Counter()
    chains = 200
    for step, (sentences, edits, level) in enumerate(edit_walk(StringTable(), target, [[0]] * chains, [1.0] * 100, 3)):
        assert level.numpy() == pytest.approx(target(sentences).numpy(), abs=1e-12)
        assert len(edits) == chains
        if step >= 20:
            counts.update("".join("ab"[i] for i in s) for s in sentences)
    found = np.array([counts[s] for s in states]) / counts.total()
    assert total_variation(found, law) < 0.05  # 16,000 draws, neighbours dependent: about 0.02 of noise


def test_text_log_probability_is_the_decoder_s(decoder):
    texts = ["a king", "the old fox ran", "é"]
    found = text_log_probability(decoder, texts)
    for text, value in zip(texts, found.tolist(), strict=True):
        ids = torch.tensor([[10, *text.encode(), 10]])
        with torch.inference_mode():
            law = decoder(ids).logits[0].double().log_softmax(-1)
        assert value == pytest.approx(sum(law[i, ids[0, i + 1]].item() for i in range(ids.shape[1] - 1)), abs=1e-4)


def test_hard_keywords_never_leave(bert, decoder):
    options = {"model": bert[1], "decoder": decoder, "steps": 60, "chains": 3, "reward": 8.0, "max_length": 8}
    found = last(write("king, forest", **options))
    assert all("king" in text and "forest" in text for text in found.history.ravel())
    assert (found.missing == 0).all()
    assert found.accepted.any()
    assert not found.accepted.all()
    assert (found.log_accept <= 0).all()
    assert {"insert", "delete", "replace"} <= set(found.operation.ravel().tolist())
    again = last(write("king, forest", **options))
    assert (again.log_target == found.log_target).all()
    assert (again.history == found.history).all()


def test_a_keyword_is_a_whole_word(bert):
    _, model = bert
    king, the, ending = (model.tokens.index(word) for word in ("king", "the", "##s"))
    assert holds(model.tokens, [the, king], [king])
    assert holds(model.tokens, [king, the], [king])
    assert not holds(model.tokens, [the, king, ending], [king])
    assert holds(model.tokens, [king, ending, the, king], [king])


def test_soft_keywords_may_leave_at_a_price(bert, decoder):
    options = {"model": bert[1], "decoder": decoder, "steps": 80, "chains": 4, "reward": 2.0, "max_length": 8}
    free = last(write("king, forest", constraint="soft", penalty=0.0, **options))
    assert free.missing.sum() > 0


def test_moves_rebuild_the_history(bert, decoder):
    found = last(write("king", model=bert[1], decoder=decoder, steps=30, chains=2, reward=8.0, annealing="on"))
    assert found.temperature[[0, -1]] == pytest.approx([3, 0.3])
    for step in range(30):
        for chain in range(2):
            words = found.before[step, chain].split()
            if found.accepted[step, chain]:
                place, old, new = found.place[step, chain], found.old[step, chain], found.new[step, chain]
                words[place : place + (old != "")] = [new] * (new != "")
            assert join(words, False) == found.history[step + 1, chain]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"text": ""}, "text is empty"),
        ({"text": "the king"}, "from 1 to 64 marks"),
        ({"text": "\ud800_"}, "text holds half a character"),
        ({"text": "the zebra _"}, "'zebra', which the vocabulary"),
        ({"text": "_" * 100_000}, "at most 400 characters"),
        ({"text": 5}, "text must be a text"),
        ({"text": "_" * 65}, "from 1 to 64 marks"),
        ({"text": "_" * 50}, "takes at most 46"),
        ({"text": "the _ the _", "length": 2}, "length is 2"),
        ({"temperature": 0}, "temperature must be a number from 0.05"),
        ({"temperature": -1}, "temperature must be"),
        ({"end_temperature": float("nan")}, "end_temperature must be"),
        ({"scan": "spiral"}, "scan must be one of"),
        ({"schedule": "never"}, "schedule must be one of"),
        ({"start": "x"}, "start must be one of"),
        ({"sweeps": 0}, "sweeps must be"),
        ({"chains": 1000}, "chains must be"),
        ({"chains": True}, "chains must be"),
        ({"top_p": 0}, "top_p must be"),
        ({"block": 0}, "block must be"),
    ],
)
def test_bad_arguments_get_a_sentence(bert, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(sample(bert[1], **({"text": "the _"} | options)))


def test_each_sentence_is_set_as_text_once(bert, decoder, monkeypatch):
    calls, plain = [], MaskedLM.text
    monkeypatch.setattr(MaskedLM, "text", lambda model, ids: calls.append(1) or plain(model, ids))
    stream = list(write("king", model=bert[1], decoder=decoder, steps=40, chains=2))
    assert [report.step for report in stream] == [0, 1, *range(5, 41, 5)]
    assert len(calls) <= 2 * 2 * 41  # once for the history and once for the target, not again for each report
    for report in stream[1:]:
        found = report.result
        assert found.history.shape == found.log_target.shape == (report.step + 1, 2)
        assert found.before.shape == found.old.shape == found.accepted.shape == (report.step, 2)
        assert (found.history == stream[-1].result.history[: report.step + 1]).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keywords": " ，\n"}, "keywords must be from 1 to 12"),
        ({"keywords": "zebra"}, "'zebra', which is outside the vocabulary"),
        ({"keywords": "\ud800"}, "half a character"),
        ({"keywords": "_"}, "outside the vocabulary"),
        ({"keywords": "king " * 5, "max_length": 3}, "must leave room"),
        ({"constraint": "x"}, "constraint must be one of"),
        ({"steps": 10**9}, "steps must be"),
        ({"penalty": float("inf")}, "penalty must be"),
        ({"annealing": "perhaps"}, "annealing must be"),
    ],
)
def test_bad_keywords_get_a_sentence(bert, decoder, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        list(write(**({"model": bert[1], "decoder": decoder, "keywords": "king"} | options)))


def test_models_by_name():
    with pytest.raises(ValueError, match="model must be one of"):
        list(sample("gpt-9"))
    with pytest.raises(ValueError, match="model must be one of"):
        list(write(model="bert-quatrain"))
    with pytest.raises(ValueError, match="model must be one of"):
        models.load("../../etc")
