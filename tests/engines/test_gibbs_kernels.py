import itertools
import math

import numpy as np
import pytest
import torch

from engines.gibbs import kernels
from engines.gibbs.kernels import (
    block_scan,
    conditionals,
    detailed_balance_gap,
    edit_kernel,
    edit_law,
    edit_states,
    importance_efficiency,
    metropolis,
    parallel_scan,
    potts,
    pseudo_likelihood,
    published_edit_law,
    random_scan,
    rejection_rate,
    stationary,
    systematic_scan,
    total_variation,
)

LAW = potts()
TABLES = conditionals(LAW)
STATES = edit_states()
EDIT_LAW = edit_law(STATES)


def test_the_joint():
    assert LAW[0, 0, 0] == pytest.approx(0.076137, abs=5e-7)
    fields = (0, 0.5, -0.5)
    for x in itertools.product(range(3), repeat=3):
        energy = (x[0] == x[1]) + (x[1] == x[2]) + sum(fields[v] for v in x)
        assert LAW[x] / LAW[0, 0, 0] == pytest.approx(math.exp(energy - 2), rel=1e-14)


@pytest.mark.parametrize(
    "kernel",
    [
        random_scan(TABLES),
        systematic_scan(TABLES),
        systematic_scan(TABLES, [2, 0, 1]),
        block_scan(LAW, 2, at_once=False),
        block_scan(LAW, 3, at_once=False),
    ],
)
def test_scans_that_keep_the_joint(kernel):
    assert kernel.sum(1) == pytest.approx(1, abs=1e-14)
    assert LAW.ravel() @ kernel == pytest.approx(LAW.ravel(), abs=1e-12)


def test_only_the_random_scan_is_reversible():
    assert detailed_balance_gap(random_scan(TABLES), LAW) < 1e-16
    assert detailed_balance_gap(systematic_scan(TABLES), LAW) > 1e-2


def test_positions_drawn_at_once_miss_the_joint():
    assert total_variation(stationary(parallel_scan(TABLES)), LAW) == pytest.approx(0.231208, abs=1e-6)
    assert total_variation(stationary(block_scan(LAW, 2, at_once=True)), LAW) == pytest.approx(0.163981, abs=1e-6)
    assert block_scan(LAW, 1, at_once=True) == pytest.approx(systematic_scan(TABLES), abs=1e-15)


def test_parallel_scan_entry_by_entry():
    kernel = parallel_scan(TABLES)
    states = list(itertools.product(range(3), repeat=3))
    for i, j in [(0, 5), (13, 2), (26, 26)]:
        x, y = states[i], states[j]
        expected = math.prod(TABLES[k][(*x[:k], y[k], *x[k + 1 :])] for k in range(3))
        assert kernel[i, j] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("proposal", [parallel_scan(TABLES), systematic_scan(TABLES), block_scan(LAW, 2, True)])
def test_metropolis_makes_any_proposal_reversible(proposal):
    for law in (LAW, pseudo_likelihood(TABLES)):
        kernel = metropolis(proposal, law)
        assert detailed_balance_gap(kernel, law) < 1e-15
        assert stationary(kernel) == pytest.approx(law.ravel(), abs=1e-12)
    assert total_variation(stationary(metropolis(proposal, LAW, ratio=False)), LAW) > 0.05


def test_the_pseudo_likelihood_is_another_law():
    assert total_variation(pseudo_likelihood(TABLES), LAW) == pytest.approx(0.177419, abs=1e-6)
    independent = potts(coupling=0.0)
    assert pseudo_likelihood(conditionals(independent)) == pytest.approx(independent, abs=1e-15)


def test_incompatible_conditionals_have_a_law_for_each_scan():
    one, other = potts(2, 1.0), potts(2, -0.5)
    tables = [conditionals(one)[0], conditionals(other)[1]]
    forward, backward = stationary(systematic_scan(tables, [0, 1])), stationary(systematic_scan(tables, [1, 0]))
    assert total_variation(forward, backward) > 0.1
    same = conditionals(one)
    assert stationary(systematic_scan(same, [0, 1])) == pytest.approx(
        stationary(systematic_scan(same, [1, 0])), abs=1e-14
    )


def gibbs_fill(left, right):
    weights = np.array([EDIT_LAW[STATES.index(left + c + right)] if len(left + right) < 3 else 1.0 for c in "ab"])
    return weights / weights.sum()


@pytest.mark.parametrize("fill", [None, gibbs_fill, lambda left, right: np.array([0.9, 0.1])])
def test_edits_balance_in_detail(fill):
    kernel = edit_kernel(STATES, EDIT_LAW, fill=fill)
    assert kernel.min() >= 0
    assert detailed_balance_gap(kernel, EDIT_LAW) < 1e-15
    assert EDIT_LAW @ kernel == pytest.approx(EDIT_LAW, abs=1e-15)


def test_edits_without_the_probability_of_the_letters():
    kernel = edit_kernel(STATES, EDIT_LAW, ratio=False)
    assert len(STATES) == 15
    assert total_variation(stationary(kernel), EDIT_LAW) == pytest.approx(0.3531, abs=5e-5)


def test_replacement_by_the_true_conditional_is_always_accepted():
    """The Gibbs step is the Metropolis-Hastings step that never rejects (arXiv 1811.10996, section 3.2)."""
    for left, right in [("", "b"), ("a", ""), ("a", "b")]:
        words = gibbs_fill(left, right)
        before, after = (EDIT_LAW[STATES.index(left + c + right)] for c in "ab")
        accept = kernels.edit_log_acceptance(
            "replace", len(left + right) + 1, *map(math.log, (after / before, *words[::-1]))
        )
        assert accept == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(("mean", "sd"), [(0, 2), (0, 1.2), (0.5, 1.5), (0, 0.9), (1, 0.9)])
def test_importance_efficiency_by_quadrature(mean, sd):
    x = np.linspace(-30, 30, 600_001)
    p = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    log_q = -(((x - mean) / sd) ** 2) / 2 - math.log(sd * math.sqrt(2 * math.pi))
    second = np.trapezoid(np.exp(2 * np.log(np.maximum(p, 1e-300)) - log_q) * (p > 1e-290), x)
    assert importance_efficiency(mean, sd) == pytest.approx(1 / second, rel=1e-6)
    if sd > 1:
        assert rejection_rate(mean, sd) == pytest.approx(
            1 / np.max(np.exp(-(x**2) / 2 - log_q) / math.sqrt(2 * math.pi)), rel=1e-6
        )


def test_rejection_from_the_wide_normal_accepts_half():
    assert rejection_rate(0, 2) == 0.5
    assert rejection_rate(0, 0.9) == 0
    assert importance_efficiency(0, 2) == pytest.approx(math.sqrt(7) / 4)
    assert importance_efficiency(0, 0.7) == 0


@pytest.mark.parametrize("coupling", [-200.0, -40.0, 40.0, 200.0])
def test_stationary_laws_of_nearly_separate_states(coupling):
    """Moves as rare as exp(-400): the law is known in closed form, and each entry must have its own relative precision."""
    law = potts(3, coupling)
    for kernel in (random_scan(conditionals(law)), systematic_scan(conditionals(law))):
        assert stationary(kernel) == pytest.approx(law.ravel(), rel=1e-9)


def test_stationary_with_states_that_are_left_for_good():
    kernel = np.array([[0.5, 0.5, 0, 0], [0, 0.9, 0.1, 0], [0, 0.3, 0.7, 0], [0.2, 0.2, 0.2, 0.4]])
    assert stationary(kernel) == pytest.approx([0, 0.75, 0.25, 0], abs=1e-15)
    with pytest.raises(ValueError, match="more than one stationary distribution"):
        stationary(np.eye(3))


@pytest.mark.parametrize("power", [-500, 500])
def test_the_scale_of_a_law_does_not_matter(power):
    scaled = LAW * 2.0**power
    assert conditionals(scaled)[1] == pytest.approx(TABLES[1], rel=1e-15)
    assert total_variation(scaled, LAW) < 1e-15
    proposal = parallel_scan(TABLES)
    assert metropolis(proposal, scaled) == pytest.approx(metropolis(proposal, LAW), rel=1e-13)
    assert detailed_balance_gap(metropolis(proposal, scaled), scaled) < 1e-15
    assert block_scan(scaled, 2, True) == pytest.approx(block_scan(LAW, 2, True), rel=1e-13)


@pytest.mark.parametrize("power", [-500, 500])
def test_normals_of_any_width(power):
    sd = 2.0**power
    assert rejection_rate(0, sd) == (1 / sd if power > 0 else 0)
    assert importance_efficiency(0, sd) == pytest.approx(math.sqrt(2) / sd if power > 0 else 0)
    assert rejection_rate(sd, 1.5) == (0 if power > 0 else rejection_rate(0, 1.5))
    assert importance_efficiency(sd, 1.5) == (0 if power > 0 else importance_efficiency(0, 1.5))
    assert rejection_rate(sd * 2, sd * 3) == pytest.approx(math.exp(-2 / 9) / 3 / sd if power > 0 else 0)
    assert kernels.effective_sample_size([2.0**power * 3, 2.0**power * 3, -math.inf]) == 2


def test_weights_in_half_precision():
    weights = np.full(100_000, -2.0, np.float16)
    assert kernels.effective_sample_size(weights) == pytest.approx(100_000)
    assert kernels.effective_sample_size(torch.tensor([0.0, 0.0, -50.0], dtype=torch.bfloat16)) == pytest.approx(2)


def test_bad_sizes_get_a_sentence():
    with pytest.raises(ValueError, match="length must be"):
        potts(length=30)
    with pytest.raises(ValueError, match="from 2 to 1,024 states"):
        potts(length=7)
    with pytest.raises(ValueError, match="max_length must"):
        edit_states("ab", 20)
    with pytest.raises(ValueError, match="gives probability 0"):
        conditionals(np.array([[0.5, 0.0], [0.5, 0.0]]))


def test_the_published_edits_keep_the_law_that_a_run_of_them_has():
    # the same steps drawn one by one, as key_gen.py makes them: `length` counts the token that opens a sentence
    weight = dict(zip(STATES, EDIT_LAW, strict=True))
    rng = np.random.default_rng(0)
    s, place, shares = "a", 0, dict.fromkeys(STATES, 0)
    uniform, steps = rng.random((60_000, 3)), 60_000
    for i, (which, letter, accept) in enumerate(uniform):
        length, threshold = len(s) + 1, 0.0 if i % 20 < 10 else 0.5
        at, action = place % length, min(3, int(which / 0.3))
        skip = action == 3
        if action == 0 and at < length - 1:
            options = [s[:at] + c + s[at + 1 :] for c in "ab"]
            new = options[int(letter > weight[options[0]] / sum(weight[o] for o in options))]
            s, place = new if weight[new] > threshold * weight[s] else s, place + 1
        elif action == 1 and length > len(max(STATES, key=len)):
            skip = True
        elif action == 1:
            options = [s[:at] + c + s[at:] for c in "ab"]
            levels = np.array([weight[o] * 10 / length for o in options])
            proposal = levels / levels.sum()
            chosen = int(letter > proposal[0])
            taken = accept < levels[chosen] / (weight[s] * proposal[chosen]) and levels[chosen] > threshold * weight[s]
            s, place = (options[chosen], place + 2) if taken else (s, place)
            skip = not taken
        elif action == 2 and at < length - 1:
            options = [weight[s[:at] + c + s[at + 1 :]] for c in "ab"]
            new = s[:at] + s[at + 1 :]
            ratio = weight[s] / sum(options) * weight[new] / weight[s]
            taken = length > 2 and accept < ratio and weight[new] > threshold * weight[s]
            s, skip = (new if taken else s), not taken
        place += skip
        shares[s] += 1
    found = published_edit_law(STATES, EDIT_LAW)
    assert found[0] == 0 and found.sum() == pytest.approx(1)
    assert total_variation(np.array(list(shares.values())) / steps, found) < 0.035  # by chance about 0.02
    assert total_variation(EDIT_LAW[1:], found[1:]) > 0.2
