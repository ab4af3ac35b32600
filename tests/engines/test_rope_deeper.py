"""Partial rotation, the integral, forms of attention, retrieval: what the posts add to the base."""

import numpy as np
import pytest
import torch

from engines.decoder import Decoder, DecoderConfig
from engines.rope.attention import FORMS, attention, relative_positions
from engines.rope.checks import CHECKS
from engines.rope.curves import similarity_curves
from engines.rope.extrapolation import extrapolation, held_back, position_losses
from engines.rope.partial import frequencies, least_unrotated, partial_rotation
from engines.rope.passkey import recall, retrieval, shown_distance


@pytest.mark.parametrize("check", CHECKS[16:], ids=lambda check: check.claim[:30])
def test_what_the_posts_add_holds(check):
    assert check.outcome().holds


def test_relative_positions_are_those_of_the_posts():
    shown = relative_positions(6, "rerope", 3)
    assert shown[5].tolist() == [3, 3, 3, 2, 1, 0] and torch.isinf(shown[0, 1:]).all()
    assert relative_positions(6, "leaky_rerope", 3, 2.0)[5].tolist() == [4, 3.5, 3, 2, 1, 0]
    assert relative_positions(6, "window", 3)[5].tolist() == [-np.inf] * 3 + [2, 1, 0]
    np.testing.assert_allclose(shown_distance([1, 3, 5], "leaky_rerope", 3, 2.0), [1, 3, 4])


@pytest.mark.parametrize("form", FORMS)
def test_a_form_whose_window_holds_the_text_changes_nothing(form):
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=32, heads=2, layers=1, hidden=32, context=32)).eval()
    tokens = held_back()[:1, :60]
    plain = position_losses(model, tokens, "none")
    np.testing.assert_allclose(position_losses(model, tokens, form, 4.0, window=60), plain, atol=1e-5)
    theta = model.inverse_frequencies()
    assert attention(theta) is None and attention(theta, log_n=32) is not None


def test_log_n_changes_only_what_lies_beyond_the_trained_length():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(width=32, heads=2, layers=1, hidden=32, context=32)).eval()
    for parameter in model.parameters():
        parameter.data *= 10
    tokens = held_back()[:1, :80]
    plain, scaled = (position_losses(model, tokens, "none", log_n=on) for on in (False, True))
    np.testing.assert_allclose(scaled[:, :31], plain[:, :31], rtol=1e-5)
    assert np.abs(scaled - plain)[:, 40:].max() > 1e-4


def test_the_repeated_text_is_its_first_bytes_again_and_the_decoders_make_nothing_of_it():
    *_, last = extrapolation(("10000",), ("none",), length=256, texts=2, repeat=64)
    tokens = held_back()[:2, :64].repeat(1, 4)
    model_losses = position_losses(_decoder(), tokens, "none")
    assert last.result.beyond[0] == pytest.approx(model_losses[:, 127:].mean())
    # read again, within the trained length, the same bytes are no easier
    assert model_losses[:, 64:127].mean() > model_losses[:, :63].mean() - 0.05
    assert recall(_decoder(), held_back(), trials=2, places=2).max() == 0


def _decoder():
    from engines.rope.extrapolation import decoder

    return decoder("10000")


def test_half_of_the_pairs_are_enough_and_one_fewer_than_the_least_is_not():
    result = partial_rotation(lengths=(512.0,), head_dim=32)
    assert (result.least <= 8).all() and result.least[0, -1] == 0
    at = int(result.at_base[0])
    assert result.lowest[0, at] >= 0 > result.lowest[0, at - 1]
    assert (frequencies(32, 100.0, 6) == 0).sum() == 6
    assert least_unrotated([1.0001], 400, 32)[0] == 8  # all turn alike: half it must be


def test_the_integral_is_the_sum_of_many_pairs_and_trapezoids_are_nearer():
    result = similarity_curves(bases=(10_000.0,), head_dim=512, distance=16)
    assert np.nanmax(result.trapezoid_error) < 0.2 < np.nanmax(result.integral_error)
    assert result.integral[0, 0] == 256
    assert np.isnan(similarity_curves(scaling="linear", distance=64).integral).all()


def test_a_like_key_is_lost_sooner_with_a_small_base_and_never_by_a_window_that_holds_it():
    near, far = (retrieval(("none",), base=base) for base in (1e4, 1e7))
    assert 0 < near.reach[0] < far.reach[0]
    held = retrieval(("none", "window"), distance=256, window=512)
    np.testing.assert_allclose(held.found[0], held.found[1])
    gone = retrieval(("window",), distance=256, window=64)
    assert (gone.found[0, gone.distance >= 64] == 0).all()
    stretched = retrieval(("proportional",), distance=65_536)
    assert stretched.attention_log_n[0, -1] > 2 * stretched.attention[0, -1]
