"""Hostile calls over HTTP: a few hundred of those that `python -m tests.fuzz` makes by the ten thousand."""

import httpx
import pytest

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


@pytest.mark.parametrize("long", [False, True])
def test_mcp_reads_no_file_of_the_machine(studio_with_mcp, tmp_path, long):
    (tmp_path / "secret.csv").write_text("value\n41\nsecret\n")
    named = {"path": "9" * 400 if long else str(tmp_path / "secret.csv"), "meta": {"_type": "gradio.FileData"}}
    arguments = {"exhibit": "hippo", "view": "memory", "settings": {"signal": "own", "upload": named}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run_view", "arguments": arguments}}
    accept = {"accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{studio_with_mcp}/gradio_api/mcp/", json=asked, headers=accept, timeout=60).text
    assert "send it first" in answer and "secret" not in answer
