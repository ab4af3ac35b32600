"""Every public function of the mixtures, each argument wrong: a sentence, or an answer where the value is one it takes."""

import inspect
import math

import pytest
import torch

from engines.moe import balancing, geometry, language, rules, statistics, training

SCORES, INDICES = torch.randn(6, 4), torch.tensor([[0, 1], [2, 3], [1, 2]])
VECTORS = torch.randn(2, 3, 4)
KEPT = torch.tensor([True, False, True])

# function -> arguments that it takes
CALLS = [
    (rules.load, {"indices": INDICES, "experts": 4}),
    (rules.violation, {"load": torch.ones(4)}),
    (rules.gated, {"logits": SCORES, "gate": "softmax"}),
    (rules.load_balancing_loss, {"scores": SCORES, "top_k": 2, "mask": torch.ones(6)}),
    (rules.quantile_balance, {"scores": SCORES, "top_k": 2, "rounds": 1, "bias": torch.zeros(4)}),
    (
        rules.route,
        {
            "scores": SCORES,
            "top_k": 2,
            "rule": "quantile",
            "gate": "softmax",
            "rounds": 1,
            "rate": 0.1,
            "ids": torch.arange(6),
            "groups": rules.Groups(2, 2),
        },
    ),
    (
        rules.shared_expert_scale,
        {"experts": 8, "top_k": 4, "shared": 1, "gate": "softmax", "samples": 10, "seed": 0},
    ),
    (balancing.synthetic_scores, {"source": "uniform", "tokens": 10, "experts": 4, "seed": 0}),
    (balancing.model_scores, {"tokens": 10}),
    (
        balancing.compare_rules,
        {
            "scores": SCORES,
            "top_k": 2,
            "rules": ("quantile", "hash"),
            "rounds": 2,
            "gate": "none",
            "rate": 0.1,
            "ids": torch.arange(6),
        },
    ),
    (
        balancing.balance,
        {
            "source": "uniform",
            "tokens": 20,
            "experts": 4,
            "top_k": 2,
            "gate": "none",
            "rules": ("top-k",),
            "rate": 0.1,
            "rounds": 1,
            "seed": 0,
        },
    ),
    (balancing.shared_scale, {"experts": 8, "top_k": 4, "shared": 1, "gate": "softmax", "seed": 0}),
    (geometry.omission_error, {"vectors": VECTORS, "kept": KEPT}),
    (geometry.best_subsets, {"vectors": VECTORS}),
    (
        geometry.subset_errors,
        {"blocks": 3, "dim": 4, "units": 2, "spread": 0.1, "vectors": "ffn", "seed": 0},
    ),
    (statistics.assignments, {"indices": INDICES, "experts": 4}),
    (statistics.co_activation, {"indices": INDICES, "experts": 4}),
    (
        statistics.specialisation,
        {"indices": INDICES, "groups": torch.tensor([0, 1, 0]), "count": 2, "experts": 4},
    ),
    (statistics.flow, {"first": INDICES, "last": INDICES, "experts": 4}),
    (statistics.router_entropy, {"logits": SCORES}),
    (statistics.repeat_rate, {"indices": INDICES, "experts": 4}),
    (statistics.repeat_chance, {"experts": 4, "top_k": 2}),
    (statistics.repeat_chance_of_load, {"indices": INDICES, "experts": 4}),
    (
        training.train,
        {
            "experts": 2,
            "top_k": 1,
            "kinds": 2,
            "rules": ("top-k",),
            "steps": 20,
            "learning_rate": 0.01,
            "common": 1.0,
            "aux_weight": 0.1,
            "bias_rate": 0.01,
            "seed": 0,
        },
    ),
    (language.route_text, {"model": "moe-none", "preset": "own", "text": "x", "bias": [0] * 8}),
    (language.route_text_on_hub, {"model": "moe-none", "preset": "own", "text": "x"}),
    (language.byte_class, {"ids": torch.arange(3)}),
    (language.byte_name, {"byte": 3}),
]
WRONG = [
    None,
    "?",
    "",
    -1,
    2.5,
    10**30,
    math.nan,
    math.inf,
    True,
    object(),
    [],
    [object()],
    ["?"],
    {},
    torch.zeros(0),
    torch.tensor(1.0),
    torch.tensor([[math.nan, 1.0]]),
    torch.tensor([[10**6]]),
    torch.randn(5, 3, 2),
    torch.zeros(3, dtype=torch.complex64),
]


def call(function, arguments):
    answer = function(**arguments)
    return next(answer) if inspect.isgenerator(answer) else answer


@pytest.mark.parametrize(("function", "right"), CALLS, ids=lambda case: getattr(case, "__name__", None))
def test_a_wrong_argument_is_answered_with_a_sentence(function, right):
    call(function, right)
    for name in right:
        refused = 0
        for wrong in WRONG:
            try:
                call(function, right | {name: wrong})
            except ValueError as refusal:
                refused += 1
                assert len(str(refusal)) > 15 and str(refusal).rstrip().endswith("."), (name, wrong)
        assert refused >= 10, name
