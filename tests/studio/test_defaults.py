"""Links carry only what differs from the defaults, so that a changed default, slug or parameter must be a decision.

`python -m tests.studio.test_defaults` writes defaults.json anew. Whoever does that for a changed default gives `Exhibit.former` an
entry that keeps former links meaning what they meant.
"""

import json
from pathlib import Path

from studio import link
from studio.exhibits import EXHIBITS

FILE = Path(__file__).parent / "defaults.json"


def snapshot():
    """Every view, its parameters and their defaults, as a link would spell them."""
    return {
        exhibit.slug: {
            view.slug: {name: link.text(value) for name, value in view.defaults.items()} for view in exhibit.views
        }
        for exhibit in EXHIBITS
    }


def test_views_parameters_and_defaults_are_those_that_were_decided():
    assert snapshot() == json.loads(FILE.read_text(encoding="utf-8"))


def test_former_names_do_not_shadow_present_ones():
    for exhibit in EXHIBITS:
        for slug, former in exhibit.former.items():
            view = exhibit.view(former.view)
            assert set(former.names.values()) | set(former.values) <= view.settings.keys(), f"{exhibit.slug}/{slug}"
            for name, value in former.values.items():
                assert link.text(link.parse(view.settings[name], value, view.defaults[name])) == link.text(value)


if __name__ == "__main__":
    FILE.write_text(json.dumps(snapshot(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
