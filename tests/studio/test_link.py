"""Settings to address and back: what a person typed gets a sentence, what a link says is bent to what is possible."""

import pytest

from studio import link
from studio.exhibit import Choice, Numbers, Range, Text, Toggle

BASE = Range("Base", 1.5, 1e9, log=True)
DIM = Range("Head dimension", 2, 512)


@pytest.mark.parametrize(
    "control, raw, default, sentence",
    [
        (BASE, "ten", 1e4, "Base: 'ten' is not a number."),
        (BASE, "1", 1e4, "Base: give a number from 1.5 to 1,000,000,000."),
        (BASE, "nan", 1e4, "Base: give a number"),
        (DIM, 1e30, 64, "Head dimension: give a number from 2 to 512."),
        (DIM, None, 64, "is not a number"),
        (Numbers("Bases", 1, 10, most=2), "1, 2, 3", (1.0,), "Bases: give 1 to 2 numbers"),
        (Numbers("Bases", 1, 10, most=2), "", (1.0,), "Bases: give 1 to 2 numbers"),
        (Choice("Map", ("a", "b")), "c", "a", "Map: choose among a, b."),
        (Choice("Maps", ("a", "b"), several=True), ["a", "c"], ("a",), "Maps: choose among a, b."),
        (Toggle("Log"), "maybe", True, "Log: answer 1 or 0."),
        (Text("Words", most=3), "abcd", "", "Words: at most 3 characters, this has 4."),
    ],
)
def test_what_cannot_be_read_is_said(control, raw, default, sentence):
    with pytest.raises(ValueError) as fault:
        link.parse(control, raw, default)
    assert sentence in str(fault.value)


def test_numbers_take_commas_spaces_and_brackets():
    control = Numbers("Scores", -10, 10, most=5)
    assert link.parse(control, "(2, 1 0.5;-3)", (0.0,)) == (2.0, 1.0, 0.5, -3.0)
    assert link.parse(control, "2 3", (1, 2)) == (2, 3)


def test_a_link_is_clamped():
    assert link.parse(DIM, "1e30", 64, clamp=True) == 512
    assert link.parse(BASE, "-5", 1e4, clamp=True) == 1.5
    assert link.parse(Numbers("Bases", 1, 10, most=2), "1,2,30,4", (1.0,), clamp=True) == (1.0, 2.0)


def test_a_whole_number_keeps_to_the_steps():
    even = Range("Order", 2, 12, step=2)
    assert [link.parse(even, raw, 2) for raw in (2, 3.2, 5, "11.9")] == [2, 4, 6, 12]
    assert link.parse(Range("Samples", 64, 4096, step=64), 1000, 64) == 1024


def test_half_a_surrogate_pair_is_no_text():
    assert link.parse(Text("Words", most=9), "a\ud800b", "") == "a?b"


def test_numbers_are_written_as_a_person_would():
    assert link.text(10000.0) == "10000"
    assert link.text(0.1) == "0.1"
    assert link.text((1e4, 2.5)) == "10000,2.5"
    assert link.text(True) == "1"
