"""What every exhibit must do, whatever its subject: the tests that a declaration brings with it."""

import itertools
import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from engines.arguments import rules
from studio import link
from studio.exhibit import Choice, Drawing, Gallery, Numbers, Range, Text, Toggle, Upload
from studio.exhibits import EXHIBITS
from studio.figure import Figure
from studio.notebook import notebook
from studio.panels import Pictures, Table, inside
from studio.present import panels, present
from studio.results import arrays, run
from studio.snippet import in_python

VIEWS = [pytest.param(e, v, id=f"{e.slug}-{v.slug}") for e in EXHIBITS for v in e.views]
STORIES = [pytest.param(e, s, id=f"{e.slug}-{s.title}") for e in EXHIBITS for s in e.stories]
CHECKS = [pytest.param(c, id=f"{e.slug}-{c.claim}") for e in EXHIBITS for c in e.checks]


def brief(view):
    return view.defaults | dict(view.brief)


def another(control, value):
    """A permitted value of a control other than this one."""
    match control:
        case Range() | Gallery():
            return type(value)(control.low if value != control.low else control.high)
        case Choice(several=True):
            return tuple(itertools.islice(control.options, 1)) if len(value) != 1 else tuple(control.options)
        case Choice():
            return next(option for option in control.options if option != value) if len(control.options) > 1 else value
        case Toggle():
            return not value
        case Numbers():
            return tuple(value)[: max(control.least, 1)]
        case Text():
            return "a, b & c=1\n中文"[: control.most]
        case Upload() | Drawing():
            return value


def test_names_are_unique():
    for names in (
        [e.slug for e in EXHIBITS],
        [f"{e.slug}_{v.slug}" for e in EXHIBITS for v in e.views],
        *[[v.slug for v in e.views] for e in EXHIBITS],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.slug)
def test_a_shared_control_has_one_default(exhibit):
    found = {}
    for view in exhibit.views:
        for name, control in view.settings.items():
            default = found.setdefault(control, view.defaults[name])
            assert default == view.defaults[name], f"{view.slug}: {control.label}"
    assert len(set(exhibit.controls.values())) == len(exhibit.controls)


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_bounds_are_those_of_the_engine(exhibit, view):
    known = rules(view.compute)
    for name, control in view.controls.items():
        if isinstance(control, Range | Gallery | Numbers | Text):
            assert name in known, f"{view.compute.__name__}: {name} has no bounds in the signature"


def without(control, values):
    """A permitted value of a choice that has none of these."""
    options = [option for option in control.options if option not in values]
    return tuple(options[:1]) if control.several else options[0]


def untimed(panels):
    """What is seen, without what was measured in seconds: that is never the same twice."""
    for panel in panels or []:
        for measured in {"seconds", "ms a pass"} & set(panel.get("columns", ())):
            column = panel["columns"].index(measured)
            panel["columns"].pop(column)
            panel["rows"] = [row[:column] + row[column + 1 :] for row in panel["rows"]]
        untimed(panel.get("panels"))
    return re.sub(r"[\d.]+ s\b", "", json.dumps(panels, ensure_ascii=False))


@pytest.mark.parametrize(
    "exhibit, view, name",
    [
        pytest.param(exhibit, view, name, id=f"{exhibit.slug}-{view.slug}-{name}")
        for exhibit in EXHIBITS
        for view in exhibit.views
        for name, control in view.settings.items()
        if control.when.keys() & view.settings.keys() and not isinstance(control, Upload | Drawing)
    ],
)
def test_a_hidden_control_changes_nothing_that_is_seen(exhibit, view, name):
    control = view.settings[name]
    others = {other: values for other, values in control.when.items() if other in view.settings}
    for other, values in others.items():
        assert set(values) <= set(view.settings[other].options)
    settings = brief(view) | {other: without(view.settings[other], values) for other, values in others.items()}
    if view.slug == "speed":
        pytest.skip("a measured time is never the same twice")
    seen = []
    for value in (settings[name], another(control, settings[name])):
        *_, last = present(exhibit, view, settings | {name: value})
        said = json.loads(last)
        seen.append((untimed(said["panels"]), said["error"]))
    assert seen[0] == seen[1]


def test_every_view_but_those_of_pictures_alone_has_numbers_for_a_sweep():
    without = {f"{e.slug}/{v.slug}" for e in EXHIBITS for v in e.views if not v.scalars}
    assert without == {"diffusion/field", "diffusion/images", "diffusion/prompt", "ddcm/photographs"}


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_what_streams_is_not_live(exhibit, view):
    assert not (view.live and view.streams)  # a slider's release is answered once


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_defaults_are_permitted(exhibit, view):
    for name, control in view.settings.items():
        parsed = link.parse(control, view.defaults[name], view.defaults[name])
        assert link.text(parsed) == link.text(view.defaults[name])


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_link_says_it_all(exhibit, view):
    changed = {name: another(control, view.defaults[name]) for name, control in view.settings.items()}
    for settings, pinned in (
        (view.defaults, None),
        (changed, None),
        (view.defaults, changed),
        (changed, view.defaults),
    ):
        query = link.write(exhibit, view, settings, pinned)
        found, read, behind = link.read(exhibit, query)
        assert found is view
        assert {n: link.text(v) for n, v in read.items()} == {n: link.text(v) for n, v in settings.items()}
        assert (behind is None) == (pinned is None)
        assert link.write(exhibit, found, read, behind) == query


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_the_longest_link_still_opens(exhibit, view):
    texts = {name: "中" * control.most for name, control in view.settings.items() if isinstance(control, Text)}
    settings = view.defaults | texts
    query = link.write(exhibit, view, settings, settings)
    assert link.read(exhibit, query) == (view, settings, settings)
    assert link.read(exhibit, query + "".join(f"&x{i}=1" for i in range(999)))[0] == view


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_junk_in_a_link_is_ignored(exhibit, view):
    junk = "&".join(f"{name}=%00nan;[](){{}}" for name in view.settings)
    found, settings, pinned = link.read(exhibit, f"?tab={exhibit.slug}&view={view.slug}&{junk}&pin=x&unknown=1")
    assert found is view and pinned is None
    silent = link.read(exhibit, f"?tab={exhibit.slug}&view={view.slug}")[1]  # what a former link means by silence
    for name, control in view.settings.items():
        if not isinstance(control, Text):
            assert link.text(settings[name]) == link.text(silent[name])


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_view_is_drawn(exhibit, view):
    said = [json.loads(stage) for stage in present(exhibit, view, brief(view))][-1]
    assert not said["error"] and said["panels"]
    for panel in said["panels"]:
        assert len(json.dumps(panel)) < 300_000
    numbers = [number for several in said["scalars"].values() for number in several.values()]
    assert len(said["scalars"]) == len(view.scalars) <= 4 and (numbers or not view.scalars) and None not in numbers


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_figures_are_of_plotlys_schema(exhibit, view):
    *_, last = run(exhibit, view, brief(view))
    for panel in inside(panels(view, last.result, brief(view))):
        if isinstance(panel, Figure):
            go.Figure(panel.plotly())  # refuses what the schema does not know
            for moment in panel.frames:
                for change, trace in zip(moment, panel.data, strict=False):
                    go.Figure([{"type": trace["type"]} | change])
            names = [trace.get("name") for trace in panel.data if trace.get("showlegend")]
            assert len(set(names)) == len(names), f"two entries of the legend are {names}"


def traces(shown):
    return sum(len(panel.data) for panel in shown if isinstance(panel, Figure))


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_pinned_view_is_drawn(exhibit, view):
    settings = brief(view)
    *_, last = run(exhibit, view, settings)
    other, behind = last.result, settings
    for name, control in view.settings.items() if view.live else ():
        try:
            behind = settings | {name: another(control, settings[name])}
            *_, progress = run(exhibit, view, behind)
        except ValueError:
            behind = settings
            continue  # an empty text, a drawing that is not there
        other = progress.result
        break
    shown = panels(view, last.result, settings, other, behind)
    ours, theirs = panels(view, last.result, settings), panels(view, other, behind)
    assert shown and traces(shown) == traces(ours) + traces(theirs)
    assert len(shown) >= len(ours)


@pytest.mark.parametrize("exhibit, view", VIEWS)
def test_the_notebook_computes_the_same_arrays_and_draws_them(exhibit, view, monkeypatch):
    *_, last = run(exhibit, view, brief(view))
    made = notebook(exhibit, view, brief(view), "zh")
    code = [cell["source"] for cell in made["cells"] if cell["cell_type"] == "code"]
    assert code[0] == in_python(view, brief(view)).rstrip()  # which the page shows under the figure
    drawn = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: drawn.append(figure.to_json()))
    scope = {"print": lambda *_: None}
    for source in code:
        exec(source, scope)
    kinds = [type(panel) for panel in inside(panels(view, last.result, brief(view)))]
    assert len(drawn) == sum(kind in (Figure, Table, Pictures) for kind in kinds)
    ours, theirs = arrays(last.result), arrays(scope["result"])
    assert ours.keys() == theirs.keys()
    assert not [name for name in ours if name.split(".")[-1] == "path"], "gradio's client would take it for a file"
    for name, array in ours.items():
        if "seconds" not in name:  # a measured time is never the same twice
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.mark.parametrize("exhibit, story", STORIES)
def test_story_opens_at_every_step(exhibit, story):
    view = exhibit.view(story.view)
    keys = set()
    for number, step in enumerate(story.steps):
        assert step.settings.keys() <= view.settings.keys()
        assert not step.control or step.control in view.settings
        settings = story.settings(view, number)
        for name, control in view.settings.items():
            link.parse(control, settings[name], view.defaults[name])
        if view.is_direct:
            said = [json.loads(stage) for stage in present(exhibit, view, settings)][-1]
            assert not said["error"] and said["panels"]
            plots = [panel["figure"] for panel in said["panels"] if panel["kind"] == "plot"]
            keys |= {trace.get("meta", {}).get("key") for plot in plots for trace in plot["data"]}
            for panel in said["panels"]:  # a heading can be pointed at where there are no traces
                keys |= set(panel.get("columns", ())) | {
                    row if isinstance(row, str) else row[0][0] for row in panel.get("rows", ())
                }
            assert not step.mark or step.mark in keys
            assert {found[1] for found in re.finditer(r"\[\[([^|\]]+)\|", step.text)} <= keys


@pytest.mark.parametrize("check", CHECKS)
def test_check_holds(check):
    outcome = check.outcome()
    assert outcome.holds, (
        f"{check.claim}: measured {outcome.measured}, expected {check.expected}, off by {outcome.error}"
    )
