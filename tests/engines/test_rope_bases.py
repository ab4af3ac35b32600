"""The search for the least base against dense scans and the published tables."""

import math

import numpy as np
import pytest
import torch

from engines.rope import first_negative, inverse_frequencies, least_base, passes, similarity, similarity_profile
from engines.rope.bases import BLOG, LEAST, LENGTHS, PAPER, least_base_near, least_bases, passing_lengths


def all_fail(bases, length, head_dim):
    """Whether every base fails, trying the distances on those that have passed so far (far ones fail most)."""
    for m in reversed(range(length)):
        bases = bases[similarity(m, head_dim, bases) >= 0]
        if not len(bases):
            return True
    return False


@pytest.mark.parametrize(("length", "head_dim"), [(3, 128), (64, 128), (300, 64), (300, 16), (1024, 128)])
def test_no_base_below_passes_and_the_least_one_does(length, head_dim):
    least = least_base(length, head_dim)
    assert passes(least, length, head_dim)
    assert not passes(least * (1 - 1e-10), length, head_dim)
    top = math.log(least)
    spread = torch.exp(torch.linspace(1e-9, top - 1e-9, 40_000, dtype=torch.float64))
    near = least * (1 - torch.logspace(-10, -1, 5000, dtype=torch.float64))
    assert all_fail(spread, length, head_dim)
    assert all_fail(near, length, head_dim)


def test_a_sliver_that_a_grid_would_miss_is_found():
    # d = 128, 8192: 83,764 passes, 100,000 fails
    least = least_base(8192)
    assert least == pytest.approx(83_763.841, abs=1e-3)
    assert passes(83_764, 8192) and not passes(100_000, 8192) and passes(200_000, 8192)


@pytest.mark.parametrize(("length", "expected"), [(1024, 4293.45), (4096, 26_952.6)])
def test_published_least_bases(length, expected):
    assert least_base(length) == pytest.approx(expected, rel=1e-4)


def test_half_a_million_has_a_sliver_where_the_search_found_it():
    # Found by the search in minutes; here only that it passes there, and on either side does not.
    least = 58_496_173.80222058
    theta = [b ** -(torch.arange(0, 128, 2, dtype=torch.float64) / 128) for b in (least - 1, least + 1, least + 1000)]
    assert [bool((similarity_profile(1 << 19, each) >= 0).all()) for each in theta] == [False, True, False]


def test_the_table_agrees_with_the_blogs_digits():
    *_, last = least_bases(longest=16_384)
    assert last.step == last.total == 16_384
    table = last.result
    assert table.lengths.tolist() == list(LENGTHS[:5])
    np.testing.assert_allclose(LEAST[:5], table.bases, rtol=1e-9)
    assert [f"{base:.1e}" for base in table.bases] == [f"{base:.1e}" for base in BLOG[:5]]
    assert (table.bases < np.array(PAPER[:5]) * 1.02).all()
    assert [least_base(n) for n in (1024, 4096)] == pytest.approx(list(table.bases[[0, 2]]), rel=1e-11)


def test_progress_never_goes_back_and_ends_full():
    reports = list(least_bases(longest=2048, head_dim=64))
    steps = [report.step for report in reports]
    assert steps == sorted(steps) and steps[-1] == reports[-1].total == 2048
    assert np.isfinite(reports[-1].result.bases).all() and np.isnan(reports[-1].result.paper).all()


def test_short_contexts_and_narrow_heads():
    assert least_base(1) == least_base(2) == 1.0  # cosines of at most one radian are positive
    with pytest.raises(ValueError, match="head_dim"):
        least_base(1024, 4)
    with pytest.raises(ValueError, match="head_dim"):
        least_base(1024, 2)


def test_the_neighbourhood_shows_the_crossing():
    near = least_base_near(1024)
    below, above = near.bases < near.base, near.bases > near.base
    assert (near.worst[below] < 0).all() and (near.worst[above] >= 0).any() and (near.worst[above] < 0).any()
    assert near.paper == near.blog == 4300
    assert near.base < near.fails_again and not passes(near.fails_again, 1024)
    assert passes(near.fails_again - 1e-8 * near.base, 1024)
    stretch = (near.near_bases > near.base) & (near.near_bases < near.fails_again)
    assert (near.near_worst[stretch] > -1e-4).mean() > 0.9 and near.near_worst[0] < 0 and near.near_worst[-1] < 0
    assert abs(similarity(near.touching, 128, near.base).item()) < 1e-8
    at = near.bases.tolist().index(near.base)
    assert near.worst[at - 1] < 0 < near.worst[at + 1] and near.worst[at] == pytest.approx(0, abs=1e-4)
    assert near.bases[at + 1] - near.base < 0.2 * (near.fails_again - near.base)
    assert math.isnan(least_base_near(1000).paper)


def test_the_map_is_the_first_negative_distance():
    result = passing_lengths(head_dim=64, base_low=100.0, base_high=1e5, limit=4096)
    for i in range(0, len(result.bases), 40):
        assert result.length[i] == (first_negative(64, result.bases[i], 4096) or 4096)
        assert passes(result.bases[i], int(result.length[i]), 64)
    assert (np.diff(result.length) < 0).any()  # not monotone
    assert (np.diff(result.envelope) >= 0).all()


def test_the_record_of_the_map_reaches_a_length_at_its_least_base():
    result = passing_lengths(limit=16_384)
    for base, length in zip(LEAST[:5], LENGTHS[:5], strict=True):
        assert result.bases[(result.envelope >= length).argmax()] == base
        assert not passes(base * (1 - 2e-9), length)
    wide = passing_lengths(base_high=1e7, limit=1 << 16)
    assert [wide.bases[(wide.length >= n).argmax()] for n in LENGTHS[5:7]] == list(LEAST[5:])


@pytest.mark.parametrize(
    ("view", "settings", "named"),
    [
        (least_base_near, {"length": 10**7}, "length"),
        (least_base_near, {"length": 2}, "length"),
        (least_base_near, {"length": math.nan}, "length"),
        (least_base_near, {"head_dim": 5}, "head_dim"),
        (passing_lengths, {"base_low": 10.0, "base_high": 5.0}, "base_high"),
        (passing_lengths, {"base_low": 1.0}, "base_low"),
        (passing_lengths, {"limit": 1 << 30}, "limit"),
        (least_bases, {"longest": 10}, "longest"),
        (least_bases, {"longest": 10**9}, "longest"),
    ],
)
def test_views_name_what_is_wrong(view, settings, named):
    with pytest.raises(ValueError, match=named):
        result = view(**settings)
        next(result)


def test_inverse_frequencies_are_what_the_search_uses():
    least = least_base(256, 64)
    profile = similarity_profile(256, inverse_frequencies(64, least))
    assert profile.min() >= -1e-12
