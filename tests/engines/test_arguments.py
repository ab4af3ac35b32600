import math

import numpy as np
import pytest

from engines.arguments import Refusal, items, number, one_of, several_of, whole, wholes


def test_good_values_come_back_plain():
    assert whole("n", 3, 1, 5) == whole("n", 3.0, 1, 5) == whole("n", np.int32(3), 1, 5) == 3
    assert type(whole("n", 3.0, 1, 5)) is type(whole("n", np.int64(3), 1, 5)) is int
    assert type(number("x", 1, 0, 1)) is type(number("x", np.float32(1), 0, 1)) is float
    assert whole("n", 2**63 - 1, 0, 2**63 - 1) == 2**63 - 1
    assert one_of("law", "normal", ("uniform", "normal")) == "normal"


@pytest.mark.parametrize("value", [0, 6, 2.5, math.nan, math.inf, -math.inf, True, "3", None, [3], 10**400, 1j])
def test_bad_whole_numbers(value):
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 5, not "):
        whole("n", value, 1, 5)


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf, True, "0.5", None, 10**400])
def test_bad_numbers(value):
    with pytest.raises(ValueError, match="x must be a number from 0 to 1, not "):
        number("x", value, 0, 1)


@pytest.mark.parametrize("value", ["exponential", "", None, 3, ["normal"], "y" * 10**6])
def test_bad_options(value):
    with pytest.raises(ValueError, match="law must be one of uniform, normal, not ") as error:
        one_of("law", value, {"uniform": 1, "normal": 2})
    assert len(str(error.value)) < 100


def test_lists():
    assert wholes("n", (3.0, np.int64(1)), 2, 1, 5) == wholes("n", np.array([3, 1]), 2, 1, 5) == [3, 1]
    assert several_of("laws", "normal", ("uniform", "normal"), 2) == ["normal"]
    assert several_of("laws", ("normal", "uniform"), ("uniform", "normal"), 2) == ["normal", "uniform"]


@pytest.mark.parametrize("values", [(), (1, 2, 3), "12", 5, None, {1, 2}])
def test_bad_lists(values):
    with pytest.raises(ValueError, match="n must be a list of 1 to 2 entries"):
        wholes("n", values, 2, 1, 5)


@pytest.mark.parametrize(("values", "words"), [(("a", "a"), "each once"), (("a", "c"), "one of a, b"), (7, "a list")])
def test_bad_choices(values, words):
    with pytest.raises(ValueError, match=words):
        several_of("laws", values, ("a", "b"), 2)


def test_numpy_values_are_compared_as_they_are(recwarn):
    assert number("x", np.float32(2), 1e-300, 1e300) == 2
    assert whole("n", np.float16(3), 0, 10**30) == 3
    assert not recwarn.list
    with pytest.raises(Refusal, match="a list of 1 to 3"):
        items("x", np.array("x"), 3)
    assert items("x", [[1], [2, 3]], 3) == [[1], [2, 3]]
