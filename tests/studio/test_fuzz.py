"""Hostile calls over HTTP: a few hundred of those that `python -m tests.fuzz` makes by the ten thousand."""

from tests.fuzz import KINDS, Fuzz, is_ours


def test_every_answer_to_a_hostile_call_is_a_result_or_a_sentence(studio_with_mcp):
    fuzz = Fuzz(studio_with_mcp, seed=0, computed=0)
    for kind in [*KINDS] * 4 + [""] * 160:
        fuzz.call(kind)
    assert fuzz.said.total() > 60  # most are refused, and not for another reason
    assert not fuzz.faults


def test_a_fault_of_the_studio_is_no_sentence():
    assert is_ours("The caller is gone.")
    assert not any(map(is_ours, ("Internal error: please report this.", "'seed'", "null", "list index out of range")))
