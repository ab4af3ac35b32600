"""RoPE's frequencies, curves and digits against closed forms, transformers and the published figures."""

import math

import numpy as np
import pytest
import torch

from engines.rope import (
    SCALINGS,
    attention_factor,
    decay_bound,
    first_negative,
    inverse_frequencies,
    similarity,
    similarity_profile,
    yarn_ramp,
)
from engines.rope.curves import SINGLE, similarity_curves
from engines.rope.digits import dials
from engines.rope.frequencies import wavelengths

FACTORS = [1 + i / 16 for i in range(64)]


def stretched(scaling, **settings):
    return inverse_frequencies(128, 10_000.0, scaling, factors=FACTORS, **settings)


def close(a, b, rel=1e-12):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rel, atol=0)


# ---- frequencies


def test_plain_frequencies_have_their_closed_form():
    theta = inverse_frequencies(128, 10_000.0)
    assert theta.dtype == torch.float64 and theta.shape == (64,) and theta[0] == 1
    close(theta, [10_000 ** (-2 * i / 128) for i in range(64)])
    assert theta[-1].item() == pytest.approx(1.1548e-4, rel=1e-4)
    assert 2 * math.pi / theta[-1].item() == pytest.approx(54_410, abs=5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_factor_of_one_changes_nothing(scaling):
    one = {"factors": [1.0] * 64} if scaling == "longrope" else {}
    close(inverse_frequencies(128, 10_000.0, scaling, factor=1.0, **one), inverse_frequencies(128, 10_000.0))


@pytest.mark.parametrize("scaling", [name for name in SCALINGS if name not in ("none", "longrope")])
def test_a_scaled_frequency_lies_between_keeping_and_interpolating(scaling):
    ratio = stretched(scaling, factor=8.0, length=8 * 4096) / stretched("none")
    assert (ratio <= 1 + 1e-12).all()
    if scaling != "dynamic":  # whose k·(kL)/L − (k−1) is above k
        assert (ratio >= 1 / 8 - 1e-12).all()
    if scaling not in ("linear", "proportional"):
        assert (ratio.diff() <= 1e-12).all()  # slow pairs are slowed most


def test_ntk_keeps_the_first_pair_and_interpolates_the_last():
    theta, plain = stretched("ntk", factor=8.0), stretched("none")
    close(theta[0], plain[0])
    close(theta[-1], plain[-1] / 8)
    assert (-math.log(theta[1].item()) * 64) == pytest.approx(math.log(82_684.6227), rel=1e-8)


def test_mixed_radix_contains_fixed_and_linear_and_sus_own_code():
    close(stretched("ntk_mixed", factor=12.0, exponent=1.0), stretched("ntk_fixed", factor=12.0))
    close(stretched("ntk_mixed", factor=12.0, exponent=0.0), stretched("linear", factor=12.0))
    # radix of digit m: βλ_m; the angle divides by β^(m−1) λ_1…λ_m, and λ_1…λ_{d/2} = k
    m = torch.arange(1, 65, dtype=torch.float64)
    a = math.log(12) / 64**0.75
    close(stretched("ntk_mixed", factor=12.0, exponent=0.75), stretched("none") * torch.exp(-a * m**0.75))
    mixed = stretched("ntk_mixed", factor=12.0)
    close(mixed[-1], stretched("none")[-1] / 12)
    growth = (stretched("none") / mixed).log().diff(prepend=torch.zeros(1))
    assert (growth.diff() < 0).all()  # λ_1 ≥ λ_2 ≥ …: low digits are stretched most


def test_yarn_ramp_and_attention_factor():
    assert yarn_ramp(128, 10_000.0, 4096) == (20, 46)
    assert attention_factor("yarn", 16.0) == pytest.approx(1.27725887, abs=1e-8)
    assert attention_factor("longrope", 32.0, 4096) == pytest.approx(math.sqrt(1 + 5 / 12), rel=1e-12)
    theta, plain = stretched("yarn", factor=16.0), stretched("none")
    close(theta[:21], plain[:21])
    close(theta[46:], plain[46:] / 16)


def theirs(kind, seq_len=None, base=10_000.0, head_dim=128, **parameters):
    """transformers' frequencies and its factor on cos and sin."""
    from transformers.configuration_utils import PreTrainedConfig  # LlamaConfig would take five seconds to import
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = PreTrainedConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=parameters.pop("max_position_embeddings", 4096),
        rope_parameters={"rope_type": kind, "rope_theta": base, **parameters},
    )
    theta, scale = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)
    return theta.double(), scale


ORIGINAL = {"original_max_position_embeddings": 4096}
LISTS = {"long_factor": FACTORS, "short_factor": [1 + i / 99 for i in range(64)], **ORIGINAL}
SHORT = LISTS["short_factor"]
HALF = {"partial_rotary_factor": 0.5}


@pytest.mark.parametrize(
    ("their", "own"),
    [
        (("linear", None, {"factor": 8.0}), ("linear", {"factor": 8.0})),
        (("dynamic", 10_000, {"factor": 8.0}), ("dynamic", {"factor": 8.0, "length": 10_000})),
        (("dynamic", 1000, {"factor": 8.0}), ("dynamic", {"factor": 8.0, "length": 1000})),
        (("yarn", None, {"factor": 16.0, **ORIGINAL}), ("yarn", {"factor": 16.0})),
        (("yarn", None, {"factor": 4.0, "beta_fast": 20.0, "beta_slow": 2.0, **ORIGINAL}), ("yarn", {"factor": 4.0, "beta_fast": 20.0, "beta_slow": 2.0})),
        (("yarn", None, {"factor": 4.0, "truncate": False, **ORIGINAL}), ("yarn", {"factor": 4.0, "truncate": False})),
        (("llama3", None, {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}), ("llama3", {"factor": 8.0})),
        (("llama3", None, {"factor": 32.0, "low_freq_factor": 2.0, "high_freq_factor": 9.0, **ORIGINAL}), ("by_parts", {"factor": 32.0, "beta_fast": 9.0, "beta_slow": 2.0})),
        (("longrope", 9000, {"factor": 8.0, **LISTS}), ("longrope", {"factor": 8.0, "factors": FACTORS, "short_factors": SHORT, "length": 9000})),
        (("longrope", 4097, {"factor": 8.0, **LISTS}), ("longrope", {"factor": 8.0, "factors": FACTORS, "short_factors": SHORT, "length": 4097})),
        (("longrope", 4096, {"factor": 8.0, **LISTS}), ("longrope", {"factor": 8.0, "factors": FACTORS, "short_factors": SHORT, "length": 4096})),
        (("proportional", None, {"factor": 2.0, "partial_rotary_factor": 0.3}), ("proportional", {"factor": 2.0, "partial_rotary_factor": 0.3})),
        (("proportional", None, {}), ("proportional", {})),
        (("linear", None, {"factor": 8.0, **HALF}), ("linear", {"factor": 8.0, **HALF})),
        (("dynamic", 10_000, {"factor": 8.0, **HALF}), ("dynamic", {"factor": 8.0, "length": 10_000, **HALF})),
        (("yarn", None, {"factor": 16.0, **ORIGINAL, **HALF}), ("yarn", {"factor": 16.0, **HALF})),
        (("llama3", None, {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL, **HALF}), ("llama3", {"factor": 8.0, **HALF})),
    ],
    ids=lambda value: value[0],
)  # fmt: skip
def test_scalings_agree_with_transformers(their, own):
    kind, seq_len, parameters = their
    theta, scale = theirs(kind, seq_len, **parameters)
    scaling, settings = own
    ours = inverse_frequencies(128, 10_000.0, scaling, **settings)
    assert ours.shape == (64,) and not ours[len(theta) :].any()  # pairs that are not rotated stand last
    np.testing.assert_allclose(ours[: len(theta)], theta, rtol=1e-6)
    assert scale == pytest.approx(attention_factor(scaling, settings.get("factor", 1.0)), rel=1e-12)


def test_an_explicit_attention_factor_and_deepseeks_scales_agree_with_transformers():
    own = attention_factor("yarn", 40.0, attention=0.7)
    assert own == theirs("yarn", factor=40.0, attention_factor=0.7, **ORIGINAL)[1] == 0.7
    scales = {"mscale": 1.0, "mscale_all_dim": 0.707}
    own = attention_factor("yarn", 40.0, **scales)
    assert (
        own
        == pytest.approx(theirs("yarn", factor=40.0, **scales, **ORIGINAL)[1], rel=1e-12)
        != attention_factor("yarn", 40.0)
    )
    assert (
        attention_factor("longrope", 8.0, attention=1.5)
        == theirs("longrope", factor=8.0, attention_factor=1.5, **LISTS)[1]
    )
    assert attention_factor("linear", 8.0, attention=1.5) == 1  # has none


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize(("base", "context_length"), [(20.0, 131_072), (2.0, 1 << 20), (60.0, 1 << 20)])
def test_yarn_keeps_all_pairs_where_all_turn_often(base, context_length, truncate):
    plain = inverse_frequencies(128, base)
    assert context_length * plain[-1] / (2 * math.pi) > 32
    kept = inverse_frequencies(128, base, "yarn", factor=8.0, context_length=context_length, truncate=truncate)
    close(kept, plain)
    assert (
        theirs("yarn", base=base, factor=8.0, original_max_position_embeddings=context_length)[0] < 0.9 * plain
    ).any()


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("context_length", [1, 2, 5, 6])
def test_yarn_interpolates_all_pairs_where_none_turns(context_length, truncate):
    plain = inverse_frequencies(128, 10_000.0)
    assert context_length * plain[0] / (2 * math.pi) < 1
    stretched = inverse_frequencies(128, 10_000.0, "yarn", factor=8.0, context_length=context_length, truncate=truncate)
    close(stretched, plain / 8)


@pytest.mark.parametrize("head_dim", [16, 64, 128, 512])
@pytest.mark.parametrize("base", [1.5, 20.0, 1e4, 1e7])
@pytest.mark.parametrize("context_length", [3, 100, 4096, 1 << 20])
def test_yarn_never_stretches_a_faster_pair_more_than_a_slower_one(head_dim, base, context_length):
    plain = inverse_frequencies(head_dim, base)
    ratio = inverse_frequencies(head_dim, base, "yarn", factor=8.0, context_length=context_length) / plain
    turns = context_length * plain / (2 * math.pi)
    assert (ratio.diff() <= 1e-12).all() and (ratio <= 1 + 1e-12).all() and (ratio >= 1 / 8 - 1e-12).all()
    # the ends of the ramp are rounded outwards, by less than a pair
    assert (ratio[turns >= 32] > 1 - 1e-12).all() and (ratio[turns * base ** (2 / head_dim) <= 1] < 1 / 8 + 1e-12).all()


def test_partial_rotary_leaves_the_last_pairs_alone():
    theta = inverse_frequencies(128, 10_000.0, partial_rotary_factor=0.25)
    close(theta[:16], inverse_frequencies(32, 10_000.0))
    assert not theta[16:].any()
    with pytest.raises(ValueError, match="partial_rotary_factor"):
        inverse_frequencies(128, 10_000.0, partial_rotary_factor=0.01)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"head_dim": 127}, "head_dim"),
        ({"head_dim": 0}, "head_dim"),
        ({"head_dim": math.nan}, "head_dim"),
        ({"head_dim": 10**9}, "head_dim"),
        ({"base": 1.0}, "base"),
        ({"base": math.nan}, "base"),
        ({"base": math.inf}, "base"),
        ({"scaling": "magic"}, "scaling"),
        ({"factor": 0.5}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"context_length": 0}, "context_length"),
        ({"scaling": "dynamic", "length": -3}, "length"),
        ({"scaling": "ntk_mixed", "exponent": 1.5}, "exponent"),
        ({"scaling": "yarn", "beta_fast": 1.0}, "beta_fast"),
        ({"scaling": "longrope", "factors": [1.0]}, "factors"),
        ({"scaling": "longrope", "factors": [-1.0] * 64}, "factors"),
        ({"scaling": "ntk", "head_dim": 2}, "head_dim"),
    ],
)
def test_bad_arguments_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        inverse_frequencies(**{"head_dim": 128, "base": 10_000.0, **settings})


# ---- similarity and decay


def test_similarity_has_its_published_values():
    close(similarity([0, 1, 1000], 128, 10_000.0), [64.0, 62.093684, 10.177728], 1e-7)
    assert first_negative(128, 10_000.0) == 1707
    assert first_negative(128, 10_000.0, limit=1707) is None


def test_python_numbers_are_not_rounded_to_single_precision():
    exact = sum(math.cos(450_001.1 * 12_345.678 ** (-2 * i / 128)) for i in range(64))
    assert similarity(450_001.1, 128, 12_345.678).item() == pytest.approx(exact, abs=1e-8)
    assert similarity([450_001.1], 128, [12_345.678])[0].item() == pytest.approx(exact, abs=1e-8)


def test_similarity_broadcasts_and_differentiates():
    base = torch.tensor([[5e3], [1e4]], dtype=torch.float64, requires_grad=True)
    distance = torch.tensor([1.0, 30.0, 7e3], dtype=torch.float64, requires_grad=True)
    assert similarity(distance, 16, base).shape == (2, 3)
    assert torch.autograd.gradcheck(lambda m, b: similarity(m, 16, b), (distance, base))


def test_profile_agrees_with_extended_precision():
    length, base = 1 << 20, 1e7
    profile = similarity_profile(length, inverse_frequencies(128, base)).numpy()
    some = np.random.default_rng(0).integers(0, length, 2000)
    exact = np.zeros(len(some), dtype=np.longdouble)
    for i in range(64):
        exact += np.cos(some.astype(np.longdouble) * np.longdouble(base) ** (-np.longdouble(2 * i) / 128))
    assert np.abs(profile[some] - exact).max() < 3e-9
    assert np.abs(similarity(some, 128, base).numpy() - exact).max() < 3e-9


def test_float32_phases_would_not_do():
    m = torch.arange(450_000, 524_288)
    single = sum(torch.cos(m.float() * theta) for theta in inverse_frequencies(128, 6e7).float())
    assert 0.03 < (single - similarity(m, 128, 6e7)).abs().max() < 0.3


@pytest.mark.parametrize("head_dim", [64, 128, 512])
@pytest.mark.parametrize("base", [1e3, 3e4, 1e6, 1e9])
def test_a_profile_in_single_precision_is_as_sure_as_the_searches_take_it(head_dim, base):
    theta, length = inverse_frequencies(head_dim, base), 1 << (20 if head_dim == 128 else 16)
    off = (similarity_profile(length, theta) - similarity_profile(length, theta, torch.float32)).abs().max()
    assert off < SINGLE / 4 * head_dim / 2


@pytest.mark.parametrize("length", [1, 2, 5, 16, 17, 1000])
def test_profile_has_the_length_asked(length):
    profile = similarity_profile(length, inverse_frequencies(64, 500.0))
    torch.testing.assert_close(profile, similarity(torch.arange(length), 64, 500.0), rtol=0, atol=1e-11)


def test_curves_hide_no_dip():
    result = similarity_curves(bases=(10_000.0, 3e5), distance=5000)
    full = similarity(torch.arange(5001), 128, torch.tensor([[10_000.0], [3e5]])).numpy()
    assert list(result.first_negative) == [1707, -1]
    np.testing.assert_allclose(result.lowest, full.min(1), atol=1e-9)
    np.testing.assert_allclose(result.low.min(1), full.min(1), atol=1e-9)
    np.testing.assert_allclose(result.high.max(1), 64, atol=1e-9)
    np.testing.assert_array_equal(result.lowest_distance, full.argmin(1))


def test_a_pair_that_is_not_rotated_adds_one_at_every_distance():
    half = similarity_curves(bases=(10_000.0,), distance=64, partial_rotary_factor=0.5)
    direct = 32 + similarity(torch.arange(65), 64, 10_000.0).numpy()
    np.testing.assert_allclose(half.low[0], direct[half.bin_distance], atol=1e-9)
    assert half.first_negative[0] == -1


def test_interpolation_widens_the_range_that_is_not_negative():
    plain = similarity_curves(bases=(10_000.0,)).first_negative[0]
    linear = similarity_curves(bases=(10_000.0,), scaling="linear", factor=8.0).first_negative[0]
    assert 7 * plain < linear <= 8 * plain


def test_decay_bound_has_its_definition():
    close(decay_bound(0, 128, 10_000.0), 32.5)
    z = np.cumsum(np.exp(1j * np.multiply.outer([3.0, 77.0], inverse_frequencies(64, 10_000.0).numpy())), axis=1)
    close(decay_bound([3.0, 77.0], 64, 10_000.0), np.abs(z).mean(1))
    curves = similarity_curves(bases=(10_000.0,))
    np.testing.assert_allclose(curves.bound[0], decay_bound(curves.bound_distance, 128, 10_000.0), rtol=1e-6)
    assert curves.bound[0, 0] == 32.5 and curves.bound[0, -1] < 0.3 * 32.5


def test_decay_bound_bounds_attention_scores():
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 32)) + 1j * rng.normal(size=(2, 32))
    h = q * k.conj()
    theta = inverse_frequencies(64, 10_000.0).numpy()
    for m in (1, 10, 100, 1000):
        score = abs((h * np.exp(1j * m * theta)).sum())
        steps = np.abs(np.diff(np.append(h, 0))).max()
        assert score <= steps * 32 * decay_bound(m, 64, 10_000.0).item() + 1e-9


@pytest.mark.parametrize("head_dim", [4, 6, 8.0])
def test_factors_that_are_not_asked_for_do_not_matter(head_dim):
    assert wavelengths(head_dim=head_dim).wavelength.shape == (4, head_dim // 2)
    with pytest.raises(ValueError, match="longrope_factors"):
        wavelengths(head_dim=6, scalings=("longrope",))


def test_numbers_of_any_type_are_taken():
    result = similarity_curves(bases=np.array([1e4]), distance=np.int64(2000), head_dim=128.0)
    assert result.distance == 2000 and result.head_dim == 128 and result.first_negative[0] == 1707


def test_wavelengths_count_what_training_never_shows():
    result = wavelengths(scalings=tuple(SCALINGS))
    at = {name: i for i, name in enumerate(result.scalings)}
    assert result.wavelength.shape == (len(SCALINGS), 64)
    # 2π·10000^(2i/128) > 4096 from pair 46 on
    assert result.incomplete[at["none"]] == 18 and result.unseen[at["none"]].sum() == 18
    assert result.unseen[at["ntk"]].sum() == 17  # all but the last
    assert result.unseen[at["linear"]].sum() == 0 and result.unseen[at["yarn"]].sum() == 0
    assert result.wavelength[at["linear"]] == pytest.approx(8 * result.wavelength[at["none"]])
    assert result.turns[0] == pytest.approx(4096 / (2 * math.pi))


def test_wavelengths_of_pairs_that_are_not_rotated_are_infinite():
    result = wavelengths(scalings=("none", "proportional"), factor=1.0, partial_rotary_factor=0.75)
    assert np.isfinite(result.wavelength).sum(1).tolist() == [48, 48]
    # proportional leaves out just the slowest pairs of the whole head, partial rotary spreads all speeds over the rest
    np.testing.assert_allclose(result.wavelength[1, :48], wavelengths().wavelength[0, :48])
    assert result.incomplete.tolist() == [14, 2] and not result.unseen.any()


# ---- digits


def test_digits_are_those_of_the_post():
    result = dials(position=1749, radix=10, digits=3, factor=2.0)
    written = dict(zip(result.numerals, result.values, strict=True))
    carried = dict(zip(result.numerals, result.carried, strict=True))
    assert list(written["none"]) == [9, 4, 7] and carried["none"] == 1  # a fourth digit would be needed
    assert written["linear"] == pytest.approx([4.5, 7, 8]) and carried["linear"] == 0
    assert list(dials(position=1749, radix=16, digits=3, factor=1.0).values[0]) == [5, 13, 6]
    assert carried["ntk_fixed"] == carried["ntk_mixed"] == 0


@pytest.mark.parametrize("digits", range(2, 9))
def test_digits_compose_the_position_in_every_radix(digits):
    for radix in range(2, 33):
        places = radix ** np.arange(digits + 1)
        for position in (radix**2, 99_999):
            plain = dials(position, radix, digits, factor=1.0)
            for values, carried in zip(plain.values, plain.carried, strict=True):  # a stretch of 1 changes nothing
                assert (values == values.round()).all() and (values >= 0).all() and (values < radix).all()
                assert values @ places[:-1] + carried * places[-1] == position, (radix, position)
        squeezed = dials(1000, radix, digits, factor=8.0)
        assert (squeezed.values[1] < radix).all()
        assert squeezed.values[1] @ places[:-1] + squeezed.carried[1] * places[-1] == 125


def test_a_digit_that_has_just_turned_over_stands_at_nought():
    result = dials(1000, 10, 5)
    assert list(result.values[0]) == [0, 0, 0, 1, 0]
    assert list(result.digit_turns[result.start, 0, :3]) == [0, 0, 0]


def test_radices_multiply_to_the_stretched_range():
    result = dials(radix=7, digits=5, factor=9.0)
    product = dict(zip(result.numerals, result.radices.prod(1), strict=True))
    assert product["none"] == pytest.approx(7**5)
    assert product["ntk_fixed"] == product["ntk_mixed"] == pytest.approx(9 * 7**5)
    assert (result.values < result.radices).all()
    for radices, values, carried in zip(result.radices[2:], result.values[2:], result.carried[2:], strict=True):
        places = np.append(1.0, radices.cumprod()[:-1])
        assert list(values) == [math.floor(1749 / place % radix) for place, radix in zip(places, radices, strict=True)]
        assert carried == 1749 // radices.prod()


def test_digits_stand_where_their_beads_do():
    result = dials(radix=7, digits=5, factor=9.0)
    where = result.digit_turns[result.start] * result.radices
    np.testing.assert_array_equal(np.floor(where + 1e-5)[:, 1:], result.values[:, 1:])
    np.testing.assert_allclose(where[1, 0], result.values[1, 0], rtol=1e-5)


def test_dials_turn_as_digits_do():
    result = dials(position=1749, radix=10, digits=4)
    assert result.positions[result.start] == 1749
    assert result.digit_turns[result.start, 0] == pytest.approx([0.9, 0.49, 0.749, 0.1749], abs=1e-6)
    assert result.rotary_turns[result.start, 0, 3] == pytest.approx(1.749 / (2 * math.pi), abs=1e-6)
    assert list(result.digit_seen) == pytest.approx([1, 1, 1, 0.1])
    assert (result.positions[9] / result.rotary_period % 1) == pytest.approx(result.rotary_turns[9], abs=1e-4)
    # n/k stands where n did, an eighth as far round
    assert result.digit_turns[result.start, 1, 3] == pytest.approx(0.1749 / 8, abs=1e-6)


def test_only_the_ways_asked_for_are_written():
    one, all_ways = dials(numerals=("ntk_mixed",)), dials()
    assert one.numerals == ("ntk_mixed",) and one.values.shape == (1, 4)
    np.testing.assert_array_equal(one.rotary_turns[:, 0], all_ways.rotary_turns[:, 3])
    np.testing.assert_array_equal(one.radices[0], all_ways.radices[3])
