"""Loss over position: the same model under every scaling, and the bins that are drawn."""

import numpy as np
import pytest
import torch

from engines.decoder import Decoder, DecoderConfig, token_losses
from engines.rope import SCALINGS, attention_factor
from engines.rope.extrapolation import Extrapolation, _result, extrapolation, held_back, near_losses, position_losses


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=32, heads=2, layers=1, hidden=32, context=32, rope_base=1_000.0))
    for p in model.parameters():
        p.data *= 10  # as sharp as a trained one, so that a rotation shows
    return model.eval()


@pytest.fixture(scope="module")
def tokens():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 150), dtype=np.uint8))


def test_no_scaling_is_the_model_as_it_is(model, tokens):
    plain = token_losses(model(tokens.long()).logits, tokens.long()).detach()
    np.testing.assert_allclose(position_losses(model, tokens, "none"), plain, rtol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_scaling_applies_and_a_factor_of_one_changes_nothing(model, tokens, scaling):
    plain = position_losses(model, tokens, "none")
    settings = {"factors": [1.0, 2.0, 4.0, 4.0] * 2} if scaling == "longrope" else {}
    stretched = position_losses(model, tokens, scaling, 4.0, **settings)
    assert stretched.shape == plain.shape == (2, 149)
    assert np.isfinite(stretched).all()
    if scaling not in ("none", "dynamic"):
        assert np.abs(stretched - plain)[:, -50:].max() > 1e-3
        settings = {"factors": [1.0] * 8} if scaling == "longrope" else {}
        np.testing.assert_allclose(position_losses(model, tokens, scaling, 1.0, **settings), plain, rtol=1e-5)


def test_dynamic_keeps_the_trained_length_and_follows_the_length_read(model, tokens):
    plain, dynamic = position_losses(model, tokens, "none"), position_losses(model, tokens, "dynamic", 4.0)
    np.testing.assert_allclose(dynamic[:, :31], plain[:, :31], rtol=1e-5)
    # positions 64 to 127 are read with the frequencies for 128 bytes, whatever follows
    np.testing.assert_allclose(dynamic[:, :127], position_losses(model, tokens[:, :128], "dynamic", 4.0), rtol=1e-5)
    assert np.abs(dynamic - plain)[:, 40:].max() > 1e-3


def test_longrope_switches_from_its_short_to_its_long_factors_at_the_trained_length(model, tokens):
    short, long = [1.5] * 8, [4.0] * 8
    both = position_losses(model, tokens, "longrope", 4.0, factors=long, short_factors=short)
    within = position_losses(model, tokens[:, :32], "longrope", 4.0, factors=short)
    np.testing.assert_allclose(both[:, :31], within, rtol=1e-5)
    np.testing.assert_allclose(
        both[:, 31:], position_losses(model, tokens, "longrope", 4.0, factors=long)[:, 31:], rtol=1e-5
    )


def test_an_explicit_attention_factor_takes_the_place_of_yarns(model, tokens):
    own = position_losses(model, tokens, "yarn", 4.0)
    np.testing.assert_array_equal(position_losses(model, tokens, "yarn", 4.0, attention_factor("yarn", 4.0)), own)
    assert np.abs(position_losses(model, tokens, "yarn", 4.0, 0.5) - own).max() > 1e-3


def test_the_reference_has_half_the_trained_length_in_view_and_no_more_than_all_of_it(model, tokens):
    near = near_losses(model, tokens)
    plain = position_losses(model, tokens, "none")
    np.testing.assert_allclose(near[:, :31], plain[:, :31], rtol=1e-5)
    for byte in (32, 47, 48, 100, 149):  # the windows of 32 start at 0, 16, 32 ... and end with the text
        start = next(s for s in (*range(0, 118, 16), 118) if 16 <= byte - s < 32)
        alone = position_losses(model, tokens[:, start : byte + 1], "none")[:, -1]
        np.testing.assert_allclose(near[:, byte - 1], alone, rtol=1e-4)


def test_bins_hold_the_mean_and_its_error(model):
    losses = np.random.default_rng(0).random((1, 4, 255))
    result = _result(model, [("100", "none", "off")], losses, np.full((1, 4, 255), 0.25), 8.0, [0.5])
    assert (np.diff(result.position) > 0).all() and result.position[-1] < 255
    assert result.loss[0, 0] == pytest.approx(losses[0, :, :7].mean())
    np.testing.assert_allclose(result.excess, result.loss - 0.25)
    assert result.error[0, 0] == pytest.approx(losses[0, :, :7].mean(1).std(ddof=1) / 2)
    assert result.inside[0] == pytest.approx(losses[0, :, 16:31].mean())
    assert result.beyond[0] == pytest.approx(losses[0, :, 127:].mean())


def test_the_shipped_models_are_read():
    steps = list(extrapolation(("100", "1000000"), ("none", "ntk"), length=512, texts=1))
    assert [p.step for p in steps] == [1, 2, 3, 4] and steps[-1].total == 4
    result = steps[-1].result
    assert isinstance(result, Extrapolation)
    assert result.bases.tolist() == [100, 100, 1e6, 1e6] and result.scalings == ("none", "ntk", "none", "ntk")
    assert result.loss.shape == result.error.shape == (4, len(result.position))
    assert np.isfinite(result.loss).all() and (result.error == 0).all()
    # within half the trained length the reference is the model itself; far beyond, more context only hurts it
    np.testing.assert_allclose(result.excess[::2, result.position < 50], 0, atol=1e-5)
    assert (result.excess[::2, -4:].mean(1) > 0.05).all()
    again = list(extrapolation(("100", "1000000"), ("none", "ntk"), length=512, texts=1))[-1].result
    np.testing.assert_array_equal(result.loss, again.loss)
    assert held_back().shape == (16, 2048)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"trained_bases": ()}, "trained_bases"),
        ({"trained_bases": ("7",)}, "trained_bases"),
        ({"scalings": ("magic",)}, "scalings"),
        ({"scalings": ("none", "none")}, "scalings"),
        ({"factor": float("nan")}, "factor"),
        ({"factor": 0.5}, "factor"),
        ({"length": 10**9}, "length"),
        ({"texts": 0}, "texts"),
        ({"longrope_factors": (float("inf"),)}, "longrope_factors"),
        ({"scalings": ("longrope",), "longrope_factors": (1.0,) * 17}, "longrope_factors"),
        ({"scalings": ("longrope",), "longrope_short_factors": (1.0,) * 17}, "longrope_short_factors"),
        ({"attention": -1.0}, "attention"),
        ({"scalings": ("proportional",), "partial_rotary_factor": 0.05}, "partial_rotary_factor"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        next(extrapolation(**arguments))
