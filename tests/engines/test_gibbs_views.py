import math

import numpy as np
import pytest
import torch

from engines.gibbs import kernels, models
from engines.gibbs.field import mismatch, random_field
from engines.gibbs.masked import MaskedLM
from engines.gibbs.toys import edit_laws, incompatible, scan_laws, weigh


def test_scan_laws():
    found = scan_laws()
    distance = dict(zip(found.scans, found.distance, strict=True))
    balance = dict(zip(found.scans, found.balance, strict=True))
    assert found.states[0] == "aaa"
    assert found.law[0] == pytest.approx(0.076137, abs=5e-7)
    assert max(distance["random"], distance["sweep"], distance["blocks of 2, jointly"]) < 1e-12
    assert distance["all at once"] == pytest.approx(0.231208, abs=1e-6)
    assert balance["random"] < 1e-15
    assert balance["sweep"] > 0.01
    assert found.approach[:, 0] == pytest.approx(1 - found.law.min())
    assert found.approach[1, -1] < 1e-6
    assert scan_laws(coupling=0.0).distance == pytest.approx(0, abs=1e-12)


def test_incompatible():
    found = incompatible()
    assert found.distance > 0.1
    assert (found.x_last + found.y_last) / 2 == pytest.approx(found.random, abs=1e-12)
    assert found.x_last.sum(1) == pytest.approx(found.y_last.sum(1), abs=1e-12)
    assert found.x_last.sum(0) == pytest.approx(found.y_last.sum(0), abs=1e-12)
    same = incompatible(coupling=0.7, other=0.7)
    assert same.distance < 1e-12
    assert same.x_last == pytest.approx(kernels.potts(2, 0.7), abs=1e-12)


@pytest.mark.parametrize("proposal", ["uniform", "conditional"])
def test_edit_laws(proposal):
    found = edit_laws(proposal=proposal, n=10_000)
    assert found.faithful == pytest.approx(found.law, abs=1e-14)
    assert found.balance < 1e-15
    assert found.distance[2] < 0.06  # a chain of 10,000 steps of which half move
    assert found.distance[1] == pytest.approx({"uniform": 0.3531, "conditional": 0.2967}[proposal], abs=5e-5)


def test_weigh():
    found = weigh(n=10_000)
    assert found.expected_rate == 0.5
    assert found.rate == pytest.approx(0.5, abs=0.02)
    assert found.efficiency == pytest.approx(math.sqrt(7) / 4, abs=0.03)
    assert found.variance == pytest.approx((1, 1), abs=0.08)
    assert (found.envelope >= found.target - 1e-12).all()
    assert found.rates[27] == pytest.approx(0.5**28)
    narrow = weigh(sd=0.6)
    assert narrow.bound == math.inf
    assert narrow.rate == narrow.expected_efficiency == 0


def test_mismatch_of_two_joints():
    one, other = kernels.potts(2, 1.0), kernels.potts(2, -0.5)
    tables = kernels.conditionals(one)[0], kernels.conditionals(other)[1]
    # log p(x|y) / p(y|x) = 1.5 * 1[x = y] + f(x) + g(y): the indicator less its best f + g leaves 1.5 * sqrt(2) / 3
    assert mismatch(*tables, np.ones((3, 3))) == pytest.approx(1.5 * math.sqrt(2) / 3, abs=1e-12)


def tiny(words):
    """A BERT of random weights over `words`, its tokenizer replaced by one of characters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    config = transformers.BertConfig(
        vocab_size=len(special) + len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        initializer_range=0.4,
    )

    class Characters:
        mask_token_id, pad_token_id, cls_token_id, sep_token_id, unk_token_id = 4, 0, 2, 3, 1
        all_special_ids = range(5)

        def __len__(self):
            return config.vocab_size

        def convert_ids_to_tokens(self, ids):
            return [[*special, *words][i] for i in ids]

        def __call__(self, text, add_special_tokens=False):
            return {"input_ids": [5 + words.index(c) if c in words else 1 for c in text if c != " "]}

    return MaskedLM(transformers.BertForMaskedLM(config).eval(), Characters())


def test_random_field_keeps_its_laws():
    model = tiny(list("abcdefgh"))
    *_, last = random_field(model, "a_b_", candidates=6)
    found = last.result
    assert found.x_given_y.sum(0) == pytest.approx(1, abs=1e-12)
    assert found.y_given_x.sum(1) == pytest.approx(1, abs=1e-12)
    # x drawn last: its law given y is the model's, and y's margin is that of the law before x was drawn
    assert found.x_last == pytest.approx(found.x_given_y * found.x_last.sum(0), abs=1e-12)
    assert found.y_last == pytest.approx(found.y_given_x * found.y_last.sum(1)[:, None], abs=1e-12)
    assert found.x_last.sum(0) == pytest.approx(found.y_last.sum(0), abs=1e-10)
    assert found.y_last.sum(1) == pytest.approx(found.x_last.sum(1), abs=1e-10)
    assert found.mismatch > 0
    assert found.distance > 0
    with pytest.raises(ValueError, match="exactly two marks"):
        list(random_field(model, "a_bb"))
    with pytest.raises(ValueError, match="pair_temperature"):
        list(random_field(model, "a_b_", pair_temperature=-1.0))


def test_models_are_known():
    assert set(models.ENGLISH) < set(models.NAMES)
    with pytest.raises(ValueError, match="model must be one of"):
        models.load("../../etc")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: scan_laws(coupling=float("nan")), "coupling must be"),
        (lambda: scan_laws(positions=40), "positions must be"),
        (lambda: incompatible(other=99.0), "other must be"),
        (lambda: edit_laws(letters=12), "letters must be"),
        (lambda: edit_laws(proposal="x"), "proposal must be one of"),
        (lambda: weigh(sd=0.0), "sd must be"),
        (lambda: weigh(n=10**9), "n must be"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
