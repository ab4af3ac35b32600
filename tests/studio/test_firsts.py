"""First figures are what their views draw today: each is drawn again and compared.

After a change that is meant: python -m studio.firsts EXHIBIT.
"""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from studio import firsts, link, page
from studio.exhibits import EXHIBITS
from studio.language import LANGUAGES
from studio.present import present, shown_values

VIEWS = [pytest.param(e, v, id=f"{e.slug}-{v.slug}") for e in EXHIBITS for v in e.views]
KEPT = [
    pytest.param(e, v, file, settings, id=f"{e.slug}-{file.name.removesuffix('.jsonl.br')}")
    for e in EXHIBITS
    for v in e.views
    for file, settings in firsts.openings(e, v).items()
]
KEPT_BARE = {
    id(view): file for _, view, file, _ in (param.values for param in KEPT)
}  # the last of each: what a bare link shows
LONG = 10  # s, from which on only the kinds of panels are compared, and the numbers with -m slow
NUMBER = re.compile(r"[-−]?\d[\d,.]*(?:×10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?|–|∞")


def is_long(view, file):
    """Drawn small unless with -m slow; so is what an old link means, which few ask for."""
    return view.seconds >= LONG or ".link." in file.name


def is_measured(view):
    """A measured time is never the same twice, and critics that chase each other follow the number of threads."""
    return view.slug in ("speed", "ladder", "critics")


def kept(file, language="en"):
    return json.loads(firsts.read(file, language))


def kinds(panels):
    return [(panel["kind"], kinds(panel["panels"]) if panel["kind"] == "folded" else ()) for panel in panels]


def assert_alike(ours, theirs, where=""):
    """The same but for the last digits, in which one machine differs from another."""
    if isinstance(ours, dict) and "bdata" in ours:
        assert ours.keys() == theirs.keys() and ours.get("shape") == theirs.get("shape"), where
        a, b = (np.frombuffer(base64.b64decode(one["bdata"]), one["dtype"]) for one in (ours, theirs))
        assert a.shape == b.shape, where
        np.testing.assert_allclose(
            a, b, rtol=1e-3, atol=1e-3 * (np.nanmax(np.abs(a[np.isfinite(a)]), initial=0) or 1), err_msg=where
        )
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key, value in ours.items():
            assert_alike(value, theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_alike(one, other, f"{where}[{i}]")
    elif isinstance(ours, str) and ours.startswith("data:image/png"):
        a, b = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))), float) for one in (ours, theirs)
        )
        assert a.shape == b.shape and np.abs(a - b).mean() < 4, where
    elif isinstance(ours, str):
        assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs), where
    elif isinstance(ours, float) or isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-6), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("exhibit, view, file, settings", KEPT)
def test_a_first_figure_is_what_the_view_draws_today(exhibit, view, file, settings):
    is_small = is_long(view, file)
    *_, last = present(exhibit, view, settings | (dict(view.brief) if is_small else {}))
    today, numbers = (json.loads(last)[part] for part in ("panels", "scalars"))
    if ".link." not in file.name:
        assert None not in [number for several in numbers.values() for number in several.values()]  # of a sweep: finite
    if is_small or is_measured(view):
        assert kinds(kept(file)) == kinds(today)
    else:
        assert_alike(kept(file), today)


@pytest.mark.slow
@pytest.mark.parametrize(
    "exhibit, view, file, settings",
    [one for one in KEPT if is_long(*one.values[1:3]) and not is_measured(one.values[1])],
)
def test_the_numbers_of_a_long_one_are_those_of_today(exhibit, view, file, settings):
    *_, last = present(exhibit, view, settings)
    assert_alike(kept(file), json.loads(last)["panels"])


@pytest.mark.parametrize("exhibit, view, file, settings", KEPT)
def test_every_view_has_one(exhibit, view, file, settings):
    for language in LANGUAGES:
        assert firsts.read(file, language), f"python -m studio.firsts {exhibit.slug}"


def test_they_are_small_and_of_views_that_there_are():
    files = list(firsts.FOLDER.glob("*/*"))
    assert {*files} <= {param.values[2] for param in KEPT}
    assert 0 < sum(file.stat().st_size for file in files) <= firsts.MOST


@pytest.mark.parametrize("exhibit, view, file, settings", KEPT)
def test_an_address_opens_with_it_at_once_in_both_languages(exhibit, view, file, settings, monkeypatch):
    monkeypatch.setattr(firsts, "known", lambda *_: False)
    monkeypatch.setattr(page, "present", None)  # nothing is computed
    bare = f"?tab={exhibit.slug}&view={view.slug}"
    for language in LANGUAGES:
        for address in [link.write(exhibit, view, settings)] + [bare] * (
            not view.is_direct and file == KEPT_BARE[id(view)]
        ):
            found = json.loads(page.arrive([address, language]))
            said = json.loads(found["stage"])
            assert said["prepared"] and said["panels"] == kept(file, language)
            assert said["status"] and not said["waits"] and not said["error"]


def test_a_live_view_is_drawn_unless_it_is_just_opened():
    exhibit = page.BY_SLUG["rope"]
    view = exhibit.view("similarity")
    asked = [exhibit.slug, view.slug, shown_values(exhibit, view, view.defaults), None, "en"]
    drawn = json.loads(page.draw(asked))
    assert drawn["panels"] and not drawn["prepared"] and not drawn["status"]
    firsts_shown = []
    for last in (True, False, "x"):
        said = json.loads(page.draw([*asked, last]))
        firsts_shown.append(bool(said.get("panels")))
    assert firsts_shown == [True, False, False]  # what is not ours is refused


def test_other_settings_a_remembered_result_and_a_pin_are_computed(monkeypatch):
    exhibit, view, *_ = KEPT[0].values
    monkeypatch.setattr(firsts, "known", lambda *_: False)
    assert firsts.prepared(exhibit, view, view.defaults, "en")
    name, value = next(iter(view.brief.items())) if view.brief else (next(iter(view.settings)), "other")
    assert firsts.prepared(exhibit, view, view.defaults | {name: value}, "en") is None
    monkeypatch.setattr(firsts, "known", lambda *_: True)
    assert firsts.prepared(exhibit, view, view.defaults, "en") is None


def test_a_change_is_noticed():
    made = {"kind": "plot", "y": {"dtype": "f4", "bdata": base64.b64encode(np.ones(3, np.float32).tobytes()).decode()}}
    other = json.loads(json.dumps(made))
    assert_alike(made, other)
    other["y"]["bdata"] = base64.b64encode(np.float32([1, 1.01, 1]).tobytes()).decode()
    with pytest.raises(AssertionError):
        assert_alike(made, other)
    for one, two in (("step 1 of 3", "stage 1 of 3"), ([1], [1, 2]), ({"a": 1}, {"b": 1}), (1.0, 1.1), ("a", None)):
        with pytest.raises((AssertionError, TypeError)):
            assert_alike(one, two)
