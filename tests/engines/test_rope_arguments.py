"""A wrong argument of any public function of RoPE's engine and of the decoder is answered with a sentence."""

import inspect
import math

import numpy as np
import pytest
import torch

from engines import rope
from engines.decoder import Decoder, DecoderConfig, rotate, token_losses
from engines.rope import bases, curves, digits, extrapolation, frequencies

SMALL = DecoderConfig(vocabulary=16, width=8, layers=1, heads=2, hidden=8, context=8)
MODEL = Decoder(SMALL)
TOKENS = torch.arange(12).view(2, 6)
THETA = torch.rand(3, 4, dtype=torch.float64)
JUNK = (object(), "junk", math.nan, {}, [[1.0], [2.0, 3.0]], 1j, None, -(10**9), np.array([math.inf]))

# function -> a call that works
CALLS = {
    rope.inverse_frequencies: {"head_dim": 8, "base": 1e4},
    rope.yarn_ramp: {"head_dim": 8, "base": 1e4},
    rope.attention_factor: {"scaling": "yarn"},
    rope.similarity: {"distance": 3.0, "head_dim": 8, "base": 1e4},
    rope.similarity_profile: {"length": 5, "frequencies": THETA},
    rope.decay_bound: {"distance": 3.0, "head_dim": 8, "base": 1e4},
    rope.first_negative: {"head_dim": 8, "base": 1e4, "limit": 100},
    rope.least_base: {"context_length": 20, "head_dim": 64},
    rope.passes: {"base": 1e4, "context_length": 20},
    frequencies.check_head_dim: {"head_dim": 8},
    frequencies.check_base: {"base": 1e4},
    frequencies.exponents: {"head_dim": 8},
    frequencies.spread_factors: {"factors": (1.0, 2.0), "pairs": 4},
    frequencies.wavelengths: {"head_dim": 8},
    curves.passing_length: {"frequencies": THETA, "limit": 20},
    curves.similarity_curves: {"distance": 20},
    bases.feasible_bases: {"length": 20},
    digits.dials: {},
    extrapolation.extrapolation: {"length": 256, "texts": 1},
    extrapolation.position_losses: {"model": MODEL, "tokens": TOKENS, "scaling": "none"},
    extrapolation.position_logits: {"model": MODEL, "tokens": TOKENS, "scaling": "none"},
    curves.similarity_integral: {"distance": 3.0, "pairs": 4, "base": 1e4},
    extrapolation.near_losses: {"model": MODEL, "tokens": TOKENS},
    rotate: {"x": torch.rand(2, 5, 4), "cos": torch.rand(5, 2), "sin": torch.rand(5, 2)},
    token_losses: {"logits": torch.rand(2, 6, 16), "tokens": TOKENS},
    DecoderConfig: {},
    Decoder: {"config": SMALL},
    MODEL.forward: {"tokens": TOKENS},
}
# what the argument does matters only to one of the scalings
NEEDS = {
    "exponent": {"scaling": "ntk_mixed"},
    "beta_fast": {"scaling": "yarn"},
    "beta_slow": {"scaling": "yarn"},
    "truncate": {"scaling": "yarn"},
    "factors": {"scaling": "longrope"},
    "short_factors": {"scaling": "longrope", "length": 5, "factors": [1.0] * 4},
}
FREE = {"name", "settings"}  # a parameter's own name; passed on to inverse_frequencies
PAIRS = [(function, name) for function in CALLS for name in inspect.signature(function).parameters if name not in FREE]


@pytest.mark.parametrize(("function", "name"), PAIRS, ids=lambda value: getattr(value, "__qualname__", value))
def test_a_wrong_argument_is_answered_with_a_sentence(function, name):
    refused = 0
    for value in JUNK:
        call = {**CALLS[function], name: value}
        if function is rope.inverse_frequencies:
            call = {**NEEDS.get(name, {}), **call}
        try:
            result = function(**call)
            if inspect.isgenerator(result):
                next(result)
        except ValueError as error:
            refused += 1
            assert str(error).endswith(".") and " " in str(error), (value, error)
            assert name in str(error), (value, error)
    assert refused >= len(JUNK) - 2  # None may mean the default, a far negative distance is one


def test_every_public_function_is_called():
    modules = (rope, frequencies, curves, bases, digits, extrapolation)
    public = {
        value
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__.startswith("engines.rope") and not name.startswith("_")
    }
    inner = {frequencies.finite, curves.one_thread, curves.cos_sin, extrapolation.held_back}  # helpers; no argument
    inner |= {extrapolation.decoder, extrapolation.attend_with, extrapolation.check_model}
    assert public - inner <= set(CALLS)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (MODEL.forward, {"tokens": TOKENS.float()}),
        (MODEL.forward, {"tokens": TOKENS + 10}),
        (MODEL.forward, {"tokens": TOKENS[0]}),
        (MODEL.forward, {"tokens": TOKENS, "inverse_frequencies": torch.rand(5)}),
        (token_losses, {"logits": torch.rand(2, 6, 16), "tokens": TOKENS + 10}),
        (token_losses, {"logits": torch.rand(2, 5, 16), "tokens": TOKENS}),
        (rotate, {"x": torch.rand(5, 3), "cos": torch.rand(5, 1), "sin": torch.rand(5, 1)}),
        (DecoderConfig, {"width": 10, "heads": 4}),
        (DecoderConfig, {"experts": 2, "top_k": 3}),
        (rope.similarity, {"distance": torch.rand(3), "head_dim": 8, "base": 1 + torch.rand(4)}),
        (rope.similarity, {"distance": 1.0, "head_dim": 8, "base": 1.0}),
        (rope.similarity_profile, {"length": 1 << 20, "frequencies": torch.rand(1000, 4)}),
        (rope.similarity_profile, {"length": 9, "frequencies": torch.zeros(3, 0)}),
        (frequencies.wavelengths, {"head_dim": 6, "scalings": ("longrope",)}),
        (frequencies.wavelengths, {"head_dim": 8, "partial_rotary_factor": 0.1}),
        (bases.feasible_bases, {"base_low": 1000.0, "base_high": 500.0}),
        (bases.feasible_bases, {"head_dim": 2}),
        (bases.feasible_bases, {"length": 65_536, "head_dim": 258}),
        (curves.similarity_curves, {"scaling": "longrope"}),
        (extrapolation.near_losses, {"model": MODEL, "tokens": TOKENS[:, :1]}),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_answered_with_a_sentence(function, call):
    with pytest.raises(ValueError, match=r" .*\.$"):
        function(**call)
