"""The digits that the flows and transport share, and the Fréchet distance."""

import numpy as np
import pytest

from engines import digits
from engines.arguments import Refusal
from engines.transport import bures


def test_digits_are_all_there_with_ink_from_0_to_1_and_split_without_loss():
    pictures, labels = digits.load()
    assert pictures.shape == (1797, 64) and set(labels) == set(range(10))
    assert np.array_equal(np.unique(pictures), np.arange(17) / 16)
    one, other = digits.split(1500)
    assert np.array_equal(np.concatenate((one.pictures, other.pictures)), pictures) and len(other.labels) == 297


def test_frechet_is_the_distance_of_the_gaussians_in_squared_units():
    known, fresh = (part.pictures for part in digits.split(898))
    assert digits.frechet(known, known) == pytest.approx(0, abs=1e-9)
    assert digits.frechet(known, known + 0.5) == pytest.approx(16)
    expected = bures(known.mean(0), np.cov(known.T), fresh.mean(0), np.cov(fresh.T))
    assert digits.frechet(known, digits.normal(fresh)) == pytest.approx(expected, abs=1e-7)
    assert digits.frechet(16 * known, 16 * fresh) == pytest.approx(256 * expected, abs=1e-5)


def test_pictures_are_dark_where_there_is_ink():
    made = digits.as_pictures(np.array([[0.0, 0.25, 0.5, 1.0]]), 2, enlarge=2)
    assert made.shape == (1, 4, 4, 3) and made[0, ::2, ::2, 0].tolist() == [[255, 191], [128, 0]]


@pytest.mark.parametrize("a", [np.zeros((1, 4)), np.zeros(4), np.full((3, 4), np.nan), np.zeros((3, 5))])
def test_sets_that_cannot_be_compared_get_a_sentence(a):
    with pytest.raises(Refusal):
        digits.frechet(a, np.zeros((3, 4)))
