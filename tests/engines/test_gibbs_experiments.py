import math

import numpy as np
import pytest
import torch

from engines.gibbs import kernels
from engines.gibbs.annealing import anneal
from engines.gibbs.experiments import edit_laws, scan_laws, weigh
from engines.gibbs.field import mismatch, random_field
from engines.gibbs.masked import MaskedLM


def test_scans_of_one_joint():
    found = scan_laws()
    distance = dict(zip(found.scans, found.distance, strict=True))
    balance = dict(zip(found.scans, found.balance, strict=True))
    assert found.states[0] == "aaa"
    assert found.law[0] == pytest.approx(0.076137, abs=5e-7)
    assert max(distance[name] for name in ("random", "sweep", "backwards", "joint blocks")) < 1e-12
    assert distance["parallel"] == pytest.approx(0.231208, abs=1e-6)
    assert distance["blocks"] == pytest.approx(0.163981, abs=1e-6)
    assert distance["metropolis"] == pytest.approx(0.177419, abs=1e-6)
    assert balance["random"] < 1e-15
    assert balance["sweep"] > 0.01
    assert found.approach[:, 0] == pytest.approx(1 - found.law.min())
    assert found.approach[1, -1] < 1e-6
    assert scan_laws(coupling=0.0).distance == pytest.approx(0, abs=1e-12)


def test_scans_of_conditionals_without_a_joint():
    found = scan_laws("mixed", positions=2)
    laws = dict(zip(found.scans, found.stationary.reshape(-1, 3, 3), strict=True))
    assert "joint blocks" not in laws
    assert found.orders > 0.1
    # with two positions the random scan keeps the mean of both orders, and these agree in their margins
    assert (laws["sweep"] + laws["backwards"]) / 2 == pytest.approx(found.law.reshape(3, 3), abs=1e-12)
    for axis in (0, 1):
        assert laws["sweep"].sum(axis) == pytest.approx(laws["backwards"].sum(axis), abs=1e-12)
    # drawn last, y has its conditional given x: that of the second coupling
    y_given_x = kernels.conditionals(kernels.potts(2, -0.5))[1]
    assert laws["sweep"] == pytest.approx(laws["sweep"].sum(1, keepdims=True) * y_given_x, abs=1e-12)
    same = scan_laws("mixed", coupling=0.7, other_coupling=0.7)
    assert same.orders < 1e-12
    assert same.law == pytest.approx(kernels.potts(3, 0.7).ravel(), abs=1e-12)


@pytest.mark.parametrize("proposal", ["uniform", "conditional"])
def test_edit_laws(proposal):
    found = edit_laws(proposal=proposal, n=10_000)
    assert found.with_ratio == pytest.approx(found.law, abs=1e-14)
    assert found.balance < 1e-15
    assert found.distance[2] < 0.06  # a chain of 10,000 steps of which half move
    assert found.distance[1] == pytest.approx({"uniform": 0.3531, "conditional": 0.2967}[proposal], abs=5e-5)


@pytest.mark.parametrize(("cost", "gain"), [(0.7, 0.9), (-0.4, -1.3), (0.0, 0.0)])
def test_without_the_letters_probability_edits_keep_the_law_over_two_to_the_length(cost, gain):
    """The places cancel: an insertion has as many as the deletion that undoes it."""
    found = edit_laws(cost, gain)
    expected = found.law * [0.5 ** len(s) for s in found.states]
    assert found.without_ratio == pytest.approx(expected / expected.sum(), abs=1e-13)


def test_weigh():
    found = weigh(n=10_000)
    assert found.expected_rate == 0.5
    assert found.rate == pytest.approx(0.5, abs=0.02)
    assert found.efficiency == pytest.approx(math.sqrt(7) / 4, abs=0.03)
    assert found.variance == pytest.approx((1, 1), abs=0.08)
    assert (found.envelope >= found.target - 1e-12).all()
    assert found.log_rates[27] == pytest.approx(28 * math.log(0.5))
    narrow = weigh(sd=0.6)
    assert narrow.log_bound == math.inf
    assert narrow.rate == narrow.expected_efficiency == 0


def test_a_huge_bound_is_a_bound():
    found = weigh(mean=3.0, sd=1.00001)
    assert found.expected_rate == 0
    assert found.log_bound == pytest.approx(9 / (2 * (1.00001**2 - 1)) + math.log(1.00001), rel=1e-9)
    assert weigh(mean=3.0, sd=1.0).log_bound == math.inf
    assert weigh(sd=1.0).rate == 1


def test_mismatch_of_two_joints():
    one, other = kernels.potts(2, 1.0), kernels.potts(2, -0.5)
    tables = kernels.conditionals(one)[0], kernels.conditionals(other)[1]
    # log p(x|y) / p(y|x) = 1.5 * 1[x = y] + f(x) + g(y): the indicator less its best f + g leaves 1.5 * sqrt(2) / 3
    assert mismatch(*np.log(tables), np.ones((3, 3))) == pytest.approx(1.5 * math.sqrt(2) / 3, abs=1e-12)


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

        def __call__(self, text, add_special_tokens=False, split_special_tokens=False):
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
    with pytest.raises(ValueError, match="temperature"):
        list(random_field(model, "a_b_", temperature=-1.0))


def test_random_field_at_the_lowest_temperature():
    """The laws hold probabilities below float64's least number; their logarithms are kept."""
    model = tiny(list("abcdefgh"))
    model.decoder = (model.decoder[0] * 400, model.decoder[1])
    *_, last = random_field(model, "a_b_", candidates=8, temperature=0.05)
    found = last.result
    assert found.x_given_y.min() == 0
    assert math.isfinite(found.mismatch) and math.isfinite(found.distance)
    assert found.x_last.sum() == pytest.approx(1) and found.y_last.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: scan_laws(coupling=float("nan")), "coupling must be"),
        (lambda: scan_laws(positions=40), "positions must be"),
        (lambda: scan_laws(other_coupling=99.0), "other_coupling must be"),
        (lambda: edit_laws(max_length=12), "max_length must be"),
        (lambda: edit_laws(proposal="x"), "proposal must be one of"),
        (lambda: weigh(sd=0.0), "sd must be"),
        (lambda: weigh(n=10**9), "n must be"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_mass_on_the_two_hills_is_that_of_the_curves():
    result = anneal(sweeps=30, length=4)
    assert result.mass.shape == (3, len(result.moments), 5, 5) and result.moments[[0, -1]].tolist() == [0, 30]
    np.testing.assert_allclose(np.nansum(result.mass, (2, 3)), 1, rtol=1e-5)
    for mass, chance in zip(result.mass, (result.annealed, result.cold, [1 / 81, *result.resting]), strict=True):
        np.testing.assert_allclose(mass[:, 4, 0], np.array(chance)[result.moments], rtol=1e-5)
    assert result.mass[0, -1, 0, 4] == pytest.approx(result.trapped)
