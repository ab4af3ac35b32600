"""Words at once and annealing against laws that are exact, enumerated or drawn."""

import itertools
import math

import numpy as np
import pytest
import torch

from engines.gibbs import kernels
from engines.gibbs.annealing import BUDGETS, SCHEDULES, anneal, cool, cooling, two_hills
from engines.gibbs.cgmh import ByteTarget, likeness, nearest
from engines.gibbs.masked import TableLM
from engines.gibbs.unmask import SAMPLERS, decode, toy_distances, unmask

LAW = kernels.potts(4)
MODEL = TableLM(LAW)


def final(sampler, forwards, chains=1, seed=0, remasked=1):
    start = torch.zeros(chains, 4, dtype=torch.long)
    states = list(unmask(MODEL, start, torch.arange(4), sampler, forwards, 1.0, remasked, seed))
    return len(states), states[-1]


@pytest.mark.parametrize(
    ("sampler", "forwards", "remasked"),
    [
        ("gibbs", 3, 1),
        ("diffusion", 2, 1),
        ("remask", 4, 1),
        ("remask", 4, 2),
        ("confident", 2, 1),
        ("confident", 4, 1),
    ],
)
def test_draws_follow_the_law_that_is_computed(sampler, forwards, remasked):
    _, last = final(sampler, forwards, 6000, remasked=remasked)
    counts = np.zeros(LAW.shape)
    np.add.at(counts, tuple(last.T.numpy()), 1)
    exact = toy_distances(remasked)[SAMPLERS.index(sampler), forwards - 1]
    # 81 states and 6,000 draws: chance adds up to 0.04 where the law is met, and less where it is far
    assert kernels.total_variation(counts / 6000, LAW) == pytest.approx(exact, abs=0.015 if exact > 0.1 else 0.045)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_mask_is_left_and_no_pass_is_wasted(sampler):
    for forwards in (1, 2, 3, 4, 7):
        used, last = final(sampler, forwards, 3)
        assert int(last.max()) < 3
        assert used <= forwards and (
            used == forwards or (forwards > 4 and sampler in ("diffusion", "confident", "remask"))
        )


def test_mask_predict_is_the_same_in_every_chain_and_for_every_seed():
    texts = [final("mask-predict", 3, 4, seed)[1] for seed in (0, 1)]
    assert (texts[0] == texts[0][0]).all() and (texts[0] == texts[1]).all()


def test_fixed_words_are_kept():
    start = torch.tensor([[2, 0, 0, 1]])
    for sampler in SAMPLERS:
        *_, last = unmask(MODEL, start, torch.tensor([1, 2]), sampler, 2)
        assert last[0, [0, 3]].tolist() == [2, 1]


def test_decodings_are_told_cell_by_cell():
    stages = [
        stage.result
        for stage in decode(text="明月__，清风__。", budgets=(4, 2), chains=2, samplers=("gibbs", "diffusion"))
        if stage.result
    ]
    assert len(stages) == 4 and np.isnan(stages[0].pll).sum() == 6 and np.isfinite(stages[-1].pll).all()
    last = stages[-1]
    assert last.budgets.tolist() == [2, 4] and last.forwards.tolist() == [[2, 4], [2, 4]] and last.free == 4
    assert "_" not in "".join(last.texts.ravel()) and "".join(last.history[0, 1, 0]) == "明月__，清风__。"
    assert "".join(last.history[0, 1, 4]) == last.texts[0, 1, 0]


def test_greedy_search_ends_where_every_start_leads():
    log_p = two_hills(3)

    def ends(state, axis=0):
        """The law after two sweeps from a state, by following every tie."""
        if axis == 6:
            return {state: 1.0}
        options = [(*state[: axis % 3], v, *state[axis % 3 + 1 :]) for v in range(3)]
        best = [o for o in options if log_p[o] == max(log_p[o] for o in options)]
        found = {}
        for option in best:
            for end, chance in ends(option, axis + 1).items():
                found[end] = found.get(end, 0) + chance / len(best)
        return found

    starts = list(itertools.product(range(3), repeat=3))
    expected = sum(ends(start).get((1, 1, 1), 0) for start in starts) / len(starts)
    assert anneal(length=3, sweeps=2).greedy[-1] == pytest.approx(expected, abs=1e-12)


def test_annealing_keeps_a_law_and_its_temperatures():
    log_p = two_hills(4)
    law = np.exp(log_p / 0.7)
    assert np.abs(cool(law / law.sum(), log_p, 0.7) - law / law.sum()).max() < 1e-15
    for schedule in SCHEDULES:
        found = cooling(2.0, 0.2, schedule, 50)
        assert found[0] == pytest.approx(2.0) and found[-1] == pytest.approx(0.2) and (np.diff(found) < 0).all()
    run = anneal(length=4)
    assert run.by_annealing[BUDGETS.index(64)] == pytest.approx(run.annealed[-1])
    assert run.resting[-1] == pytest.approx(1 / np.exp((log_p - log_p.max()) / 0.2).sum())
    assert (np.diff(run.by_annealing) > 0).all() and run.annealed[-1] + run.trapped < 1


def test_the_like_of_a_word_costs_less_than_a_stranger(story_model):
    model, decoder = story_model
    king, forest = model.encode("king"), model.encode("forest")
    cosines = likeness(model, king)
    assert nearest(cosines, [*forest, *king]) == (pytest.approx(1.0), 1)
    like, stranger = (nearest(cosines, model.encode(word))[0] for word in ("queen", "forest"))
    assert 1 > like > stranger and nearest(cosines, []) == (0.0, -1)
    target = ByteTarget(decoder, model, [king], 10.0, 0.0, similar=True)
    plain = ByteTarget(decoder, model, [king], 0.0, 0.0)
    sentences = [king, model.encode("queen"), []]
    assert (plain(sentences) - target(sentences)).tolist() == pytest.approx([0, 10 * (1 - like), 10], abs=1e-9)


@pytest.fixture(scope="module")
def story_model():
    from engines.gibbs import models

    return models.load("bert-storybook"), models.load_decoder()


def test_one_pass_is_the_product_of_the_marginals():
    marginals = [LAW.sum(axis=tuple(j for j in range(4) if j != i)) for i in range(4)]
    product = math.prod(np.ix_(*marginals))
    assert toy_distances()[:4, 0] == pytest.approx(np.full(4, np.abs(product - LAW).sum() / 2), abs=1e-12)
