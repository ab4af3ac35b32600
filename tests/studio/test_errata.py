"""What the page of errata says is measured by the engines' checks, and its links show it."""

import json
import re

import pytest

from studio import link, page, serve
from studio.errata import SUBJECT, declared_errata, entries
from studio.language import needs_entry, table

ENTRIES = [pytest.param(one, id=f"{one.exhibit}-{i}") for i, one in enumerate(entries())]


@pytest.mark.parametrize("one", ENTRIES)
def test_a_truth_is_held_by_checks_and_shown_by_a_view(one):
    # that each check holds is measured in test_exhibits.py
    exhibit = page.BY_SLUG[one.exhibit]
    assert one.checks and set(one.checks) <= {check.claim for check in exhibit.checks}
    used = {int(number) for number in re.findall(r"\{(\d+)\}", one.truth)}
    assert used == set(range(len(one.numbers))), "every expected value is said, and no other"
    view, settings, pinned = link.read(exhibit, one.show)
    assert link.write(exhibit, view, settings, pinned) == one.show
    assert one.address.startswith("https://") and one.address in [address for _, address in exhibit.sources]


@pytest.mark.parametrize("one", ENTRIES)
def test_no_result_is_written_by_hand(one):
    # a decimal fraction is a measured number: it must come from a check, or be what the claim says or the link sets
    said = re.findall(r"\d+\.\d+", re.sub(r"\{\d+\}", "", one.truth))
    assert set(said) <= set(re.findall(r"\d+\.\d+", one.claim + one.show))


def test_every_text_has_its_chinese_and_no_entry_is_left_over():
    texts = {text for one in entries() for text in (one.claim, one.where, one.truth) if needs_entry(text)}
    assert table("zh", SUBJECT).keys() == texts


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_whole_in_both_languages(language):
    told = declared_errata(language)
    assert sum(len(group["entries"]) for group in told) == len(entries())
    assert not re.search(r"\{\w*\}|\$", json.dumps(told))
    assert (
        'property="og:title"'
        in serve.Front(None, serve.files())._head({"query_string": b"tab=errata", "headers": []})[1]
    )  # pyright: ignore[reportArgumentType]


def test_a_program_reads_them_too():
    told = serve.summary(None).body.decode()  # pyright: ignore[reportArgumentType]
    assert all(f"[Shown]({one.show})" in told and one.address in told for one in entries())
