"""The studio as a visitor meets it."""

import importlib.util
import io
import json
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Error

from studio.exhibit import Choice
from studio.exhibits import EXHIBITS
from studio.language import translate

AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js"
pytestmark = pytest.mark.browser

STAGE = ".exhibit:not([hidden]) .stage"
HERO = "[...document.querySelectorAll('.stage-hero')].find(e => e.offsetParent)"
DRAWN = (
    f"() => {{const e = {HERO}; return e && Number(e.dataset.drawn) > 0 && !e.closest('.stale')"
    " && (e.querySelector('.main-svg') || !e.querySelector('.panel-plot'))}"
)
ROPE = next(exhibit for exhibit in EXHIBITS if exhibit.slug == "rope")
STREAMS = [(e, v) for e in EXHIBITS for v in e.views if v.streams and v.seconds >= 8]


def open_at(page, studio, query):
    page.goto(f"{studio}/{query}")
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(300)


def drawn_count(page):
    return page.evaluate(f"Number(({HERO})?.dataset.drawn ?? 0)")


def redrawn(page, before):
    page.wait_for_function(f"before => Number(({HERO})?.dataset.drawn ?? 0) > before", arg=before)


def shown_plot(expression):
    """JavaScript: an expression of `p`, the first visible plot."""
    return f"(() => {{const p = [...document.querySelectorAll('.js-plotly-plot')].find(e => e.offsetParent); return {expression}}})()"


def plot(page, expression):
    return page.evaluate(shown_plot(expression))


def control(page, label):
    return page.locator(
        ".control:visible", has=page.locator(".control-label", has_text=re.compile(f"^{re.escape(label)}$"))
    )


def drag(page, label, value, release=True):
    """Move a slider as a hand does (and let go), and wait for the redraw."""
    before = drawn_count(page)
    control(page, label).first.evaluate(
        """(slider, [value, release]) => {
            const range = slider.querySelector('[type=range]');
            range.value = value;
            range.dispatchEvent(new Event('input', {bubbles: true}));
            if (release) range.dispatchEvent(new Event('change', {bubbles: true}));
        }""",
        [value, release],
    )
    redrawn(page, before)


def test_the_opening_page_leads_to_every_exhibit(page, studio):
    page.goto(studio)
    cards = page.locator(".card")
    cards.first.wait_for()
    assert cards.count() == len(EXHIBITS)
    tops = cards.evaluate_all("all => all.map(e => Math.round(e.getBoundingClientRect().top))")
    assert len(set(tops)) <= 4  # small themes share a row
    page.locator(".card-open[data-tab=rope]").click()
    page.wait_for_function(DRAWN)
    assert page.evaluate("location.search").startswith("?tab=rope&view=")
    page.go_back()
    cards.first.wait_for()
    assert page.evaluate("location.search") == ""


def test_errata_are_reached_from_every_page_and_lead_to_what_shows_them(page, studio):
    page.goto(f"{studio}/?lang=en")
    page.locator(".home-start a[data-tab=errata]").click()
    page.locator(".erratum").first.wait_for()
    assert page.evaluate("location.search") == "?tab=errata&lang=en" and page.title().startswith("Errata")
    page.get_by_role("button", name="中文").click()
    page.get_by_role("heading", name="勘误").wait_for()
    assert page.locator(".masthead [aria-current]").get_attribute("data-tab") == "errata"
    page.locator(".erratum a[href*='tab=gibbs&view=edits']").click()
    page.wait_for_function(DRAWN)
    page.go_back()
    page.locator(".erratum:visible").first.wait_for()


def test_the_search_finds_views_in_both_languages(page, studio):
    page.goto(f"{studio}/?lang=en")
    field = page.get_by_role("combobox", name="Search")
    view = ROPE.views[-1]
    for words in (view.title, translate(view.title, "zh", "rope")):
        field.fill(words)
        page.locator(f".search-found a[href*='tab=rope&view={view.slug}']").first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('tab=rope')")


def test_the_search_opens_a_view_as_its_tab_does(page, studio):
    # an address that says nothing more means what it meant when it was first given away
    open_at(page, studio, "?tab=hubness&view=concentration&lang=en")
    page.locator("[role=tab][data-view=occurrence]").locator("visible=true").click()
    page.wait_for_function("location.search.includes('view=occurrence')")
    page.wait_for_function(DRAWN)
    by_tab = page.evaluate("location.search")
    open_at(page, studio, "?tab=hubness&view=concentration&lang=en")
    page.get_by_role("combobox", name="Search").fill(
        next(e for e in EXHIBITS if e.slug == "hubness").view("occurrence").title
    )
    page.locator(".search-found a[href*='view=occurrence']").click()
    page.wait_for_function("location.search.includes('view=occurrence')")
    assert page.evaluate("location.search") == by_tab


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.slug)
def test_every_exhibit_opens_figure_first_and_fits_a_phone(page, studio, exhibit):
    live = [view for view in exhibit.views if view.is_direct]
    view = (live or exhibit.views)[0]
    top = f"({HERO}).getBoundingClientRect().top + scrollY"
    page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}&story=1.1")
    page.wait_for_function(DRAWN if live else f"{HERO} && document.querySelector('.stage-status')")
    assert page.locator(".stage-error:visible").count() == 0
    assert page.evaluate(top) <= 200
    controls = page.locator(".side > .controls-list:visible > .control")
    assert controls.count() <= 6
    # every view, as soon as it is chosen
    tops = f"""async () => {{
        const found = {{}};
        const chosen = [...document.querySelectorAll('.exhibit:not([hidden]) .exhibit-head [data-view]')];
        for (const one of chosen) {{
            one.click();
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            found[one.dataset.view] = {top};
        }}
        return found;
    }}"""
    page.set_viewport_size({"width": 1400, "height": 900})
    assert len(found := page.evaluate(tops)) == len(exhibit.views) and max(found.values()) <= 200, found
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
    page.wait_for_function(f"{top} <= 260")
    assert max((found := page.evaluate(tops)).values()) <= 260, found
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", ["", "?tab=errata", *[f"?tab={exhibit.slug}" for exhibit in EXHIBITS]])
def test_pages_meet_wcag_2_2_aa(page, studio, place, theme):
    page.goto(f"{studio}/{place}{'&' if place else '?'}__theme={theme}&lang={'zh' if theme == 'dark' else 'en'}")
    page.wait_for_function("document.querySelector('.exhibit, .card, .erratum')")
    page.wait_for_function(
        f"document.querySelector('.exhibit') ? {HERO}?.children.length > 0 : true" if place else "true"
    )
    page.wait_for_timeout(1500)
    assert not violations(page)


def violations(page):
    """What axe finds of the rules of WCAG 2.2 AA in the page as it is."""
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run(document.querySelector('.studio'), {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    )
    return [
        (fault["id"], fault["nodes"][0]["target"], fault["nodes"][0]["failureSummary"]) for fault in found["violations"]
    ]


@pytest.mark.parametrize(
    "query, width",
    [
        ("?tab=softmax&story=2.1", 1280),
        ("?tab=rope&view=similarity&sweep=head_dim:32,64", 1280),
        ("?tab=diffusion&lang=zh&__theme=dark", 390),
    ],
)
def test_what_opens_meets_wcag_2_2_aa_too(page, studio, query, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_at(page, studio, query)
    page.evaluate("document.querySelectorAll('.exhibit details').forEach(e => { e.open = true; })")
    menu = page.locator(".appendix > button:visible")
    if menu.count():
        menu.click()
    page.wait_for_timeout(1500)
    assert not violations(page)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_at_200_percent_nothing_is_cut(page, studio):
    page.set_viewport_size({"width": 640, "height": 450})
    open_at(page, studio, "?tab=softmax")
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
    assert page.evaluate(f"({HERO}).getBoundingClientRect().top + scrollY") <= 260
    page.set_viewport_size({"width": 1280, "height": 900})


def test_more_views_are_a_menu_for_mouse_and_keyboard(page, studio):
    exhibit = next(exhibit for exhibit in EXHIBITS if sum(view.appendix for view in exhibit.views) > 1)
    first, second, *_ = [view for view in exhibit.views if view.appendix]
    open_at(page, studio, f"?tab={exhibit.slug}&lang=en")
    menu = page.locator(".appendix > button:visible")
    menu.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.wait_for_function(f"location.search.includes('view={second.slug}')")
    assert menu.inner_text().startswith(second.title)
    menu.click()
    page.get_by_role("menuitemradio", name=first.title).click()
    page.wait_for_function(f"location.search.includes('view={first.slug}')")
    page.locator(".views:visible [role=tab]").first.focus()
    page.keyboard.press("End")
    page.wait_for_function(f"location.search.includes('view={[v for v in exhibit.views if not v.appendix][-1].slug}')")


def test_a_mouse_reaches_the_end_of_a_row(page, studio):
    page.set_viewport_size({"width": 1000, "height": 900})
    page.goto(f"{studio}/?lang=en")
    row = page.locator(".exhibits")
    row.hover()
    page.mouse.wheel(0, 4000)
    page.wait_for_function(
        "(() => { const r = document.querySelector('.exhibits'); return r.scrollLeft + r.clientWidth >= r.scrollWidth - 1; })()"
    )
    page.locator(".masthead .row-end:visible").first.click()
    page.wait_for_function(
        "(() => { const r = document.querySelector('.exhibits'); return r.scrollLeft + r.clientWidth < r.scrollWidth - 9; })()"
    )
    page.set_viewport_size({"width": 1280, "height": 900})


def test_what_takes_long_is_swept_one_value_after_another(page, studio):
    open_at(page, studio, "?tab=moe&view=sequences&lang=en")
    page.get_by_role("button", name="Sweep", exact=True).locator("visible=true").click()
    page.get_by_label("Control", exact=True).locator("visible=true").select_option("sequences")
    field = page.get_by_label("Values, up to 9").locator("visible=true")
    field.fill("2, 3")
    field.press("Tab")
    page.locator(".sweep-cell", has_text="not computed yet").nth(1).wait_for()
    page.get_by_role("button", name="Run all").click()
    page.wait_for_function("document.querySelectorAll('.sweep-cell .js-plotly-plot .main-svg').length >= 2")
    page.get_by_role("button", name="Run all").wait_for()
    assert not page.locator(".sweep-cell", has_text="not computed yet").count()


def test_a_link_reproduces_what_was_seen(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    drag(page, "Head dimension d", 64)
    seen = plot(page, "p._fullData.map(t => [...t.y])")
    query = page.evaluate("location.search")
    assert "head_dim=64" in query
    open_at(page, studio, query)
    assert plot(page, "p._fullData.map(t => [...t.y])") == seen
    assert page.evaluate("location.search") == query
    # gradio's panel of the API borrows the address, and returns it short of its view
    page.evaluate("history.replaceState(null, '', '?tab=rope&view=api')")
    page.evaluate("history.replaceState(null, '', '?tab=rope')")
    assert page.evaluate("location.search") == query


def test_zoom_and_node_outlive_a_redraw(page, studio):
    ranges = "[...p._fullLayout.xaxis.range, ...p._fullLayout.yaxis.range]"
    open_at(page, studio, "?tab=rope&view=similarity")
    whole = plot(page, ranges)
    plot(page, "p.dataset.mark = 'same'")
    box = page.locator(".js-plotly-plot .nsewdrag:visible").first.bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=5)
    page.mouse.up()
    page.wait_for_function(f"before => JSON.stringify({shown_plot(ranges)}) !== JSON.stringify(before)", arg=whole)
    zoomed = plot(page, ranges)
    drag(page, "Head dimension d", 64)
    assert plot(page, "p.dataset.mark") == "same"
    assert plot(page, ranges) == zoomed
    # plotly's clip paths by full address would break as soon as the address says another setting
    clips = page.evaluate("[...document.querySelectorAll('[clip-path]')].map(e => e.getAttribute('clip-path'))")
    assert clips and not [clip for clip in clips if "/" in clip]


def test_a_figure_answers_while_the_hand_still_moves(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    seen = plot(page, "JSON.stringify(p._fullData.map(t => [...t.y]))")
    drag(page, "Head dimension d", 64, release=False)
    assert plot(page, "JSON.stringify(p._fullData.map(t => [...t.y]))") != seen


def test_the_first_figure_is_drawn_before_the_others(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&lang=en")
    order = page.evaluate(f"""async () => {{
        const hero = {HERO};
        const seen = [];
        new MutationObserver((changes) => changes.forEach((one) => seen.push(one.attributeName)))
            .observe(hero, {{attributes: true, attributeFilter: ["data-shown", "data-drawn"]}});
        hero.closest(".stage").querySelector(".stage-panels .js-plotly-plot").once("plotly_afterplot", () => seen.push("second"));
        const range = document.querySelector(".exhibit:not([hidden]) .control[data-name=head_dim] [type=range]");
        range.value = range.max;
        range.dispatchEvent(new Event("input"));
        while (!seen.includes("data-drawn")) await new Promise((resolve) => {{ setTimeout(resolve, 5); }});
        return seen;
    }}""")
    assert order == ["data-shown", "second", "data-drawn"]
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        "document.querySelector('.exhibit:not([hidden]) .control[data-name=head_dim] [type=range]').dispatchEvent(new Event('change'))"
    )
    page.wait_for_timeout(300)
    assert not asked  # let go where it was drawn last


def test_a_pin_stays_behind_and_in_the_link(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    traces = plot(page, "p.data.length")
    drag(page, "Head dimension d", 32)
    page.get_by_role("button", name="Pin", exact=True).locator("visible=true").click()
    page.wait_for_function("location.search.includes('pin=1')")
    drag(page, "Head dimension d", 64)
    page.wait_for_function("location.search.includes('head_dim=64')")
    assert plot(page, "p.data.length") == 2 * traces
    assert "Head dimension d 32" in page.locator(".pinned-note:visible").inner_text()
    query = page.evaluate("location.search")
    assert "pin=1&pin.head_dim=32" in query
    open_at(page, studio, query)
    assert plot(page, "p.data.length") == 2 * traces
    page.get_by_role("button", name="Unpin").locator("visible=true").click()
    page.wait_for_function("!location.search.includes('pin')")


def test_bad_input_gets_a_sentence_and_loses_nothing(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    traces = plot(page, "p.data.length")
    box = page.get_by_role("textbox", name="Bases b").locator("visible=true")
    box.fill("ten thousand")
    box.press("Enter")
    error = page.locator(".stage-error:visible")
    error.wait_for()
    assert "Bases b: 'ten' is not a number." in error.inner_text()
    assert plot(page, "p.data.length") == traces
    box.fill("10000")
    box.press("Enter")
    error.wait_for(state="hidden")


def test_a_refused_view_is_the_one_that_is_mended(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    box = page.get_by_role("textbox", name="Bases b").locator("visible=true")
    box.fill("ten thousand")
    box.press("Enter")
    page.locator(".stage-error:visible").wait_for()
    box.fill("10000")
    box.press("Enter")
    page.wait_for_function("location.search.includes('view=similarity') && location.search.includes('bases=10000')")


def test_views_stories_and_back_are_places_of_the_history(page, studio):
    open_at(page, studio, f"?tab=rope&view={ROPE.views[0].slug}")
    page.get_by_role("tab", name=ROPE.views[1].title, exact=True).click()
    page.wait_for_function(f"location.search.includes('view={ROPE.views[1].slug}')")
    page.evaluate("window.same = true")
    page.go_back()
    page.wait_for_function(f"location.search.includes('view={ROPE.views[0].slug}')")
    page.wait_for_function(
        f"document.querySelector('[role=tab][aria-selected=true]').dataset.view === '{ROPE.views[0].slug}'"
    )
    assert page.evaluate("window.same")
    page.get_by_role("tab", name=ROPE.views[0].title, exact=True).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"location.search.includes('view={ROPE.views[1].slug}')")


def test_the_language_switch_keeps_view_and_settings(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64&lang=en")
    page.get_by_role("button", name="中文").click()
    page.wait_for_function("location.search.includes('lang=zh')")
    page.wait_for_function(DRAWN)
    assert "head_dim=64" in page.evaluate("location.search")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.locator(".exhibit:not([hidden]) h1").inner_text() == translate(ROPE.title, "zh", "rope")
    page.get_by_role("button", name="English").click()
    page.wait_for_function("document.documentElement.lang === 'en'")


def test_the_language_switch_keeps_an_open_sweep(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&sweep=head_dim:32,64&lang=en")
    page.get_by_role("button", name="中文").click()
    page.wait_for_function("location.search.includes('lang=zh')")
    page.wait_for_function("document.querySelectorAll('.sweep-cell .main-svg').length >= 2")
    assert "sweep=head_dim:32,64" in page.evaluate("location.search")


def test_back_between_steps_of_a_story_stays_where_one_reads(page, studio):
    open_at(page, studio, "?tab=rope&story=1.1&lang=en")
    page.evaluate("scrollTo(0, 200)")
    page.get_by_role("button", name="Next", exact=True).locator("visible=true").click()
    page.wait_for_function("location.search.includes('story=1.2')")
    page.go_back()
    page.wait_for_function("document.querySelector('.walk-steps').textContent.includes('1 /')")
    assert page.evaluate("scrollY") == 200


def test_a_first_story_is_offered_until_another_is_opened(newcomer, studio):
    open_at(newcomer, studio, "?tab=rope&lang=en")
    newcomer.locator(".offer:visible").wait_for()
    newcomer.get_by_text("Stories", exact=True).locator("visible=true").click()
    newcomer.locator(".stories li button").nth(1).click()
    newcomer.locator(".walk:visible").wait_for()
    assert not newcomer.locator(".offer").count()


def test_a_slider_is_played_where_the_figure_follows(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&lang=en")
    play = control(page, "Head dimension d").locator(".play")
    before, seen = drawn_count(page), page.evaluate("location.search")
    play.click()
    assert play.get_attribute("aria-label") == "Pause Head dimension d"
    redrawn(page, before + 2)
    play.click()
    assert play.get_attribute("aria-label") == "Play Head dimension d"
    assert page.evaluate("location.search") != seen
    exhibit, view = STREAMS[0]
    page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}")
    page.locator(".control.range:visible").first.wait_for()
    assert not page.locator(".play:visible").count()


def test_a_control_is_seen_where_it_matters(page, studio):
    exhibit, view, name = next(
        (e, v, n)
        for e in EXHIBITS
        for v in e.views
        for n, c in v.controls.items()
        if v.is_direct and any(isinstance(v.settings.get(o), Choice) and not v.settings[o].several for o in c.when)
    )
    control = view.controls[name]
    other, values = next((o, values) for o, values in control.when.items() if isinstance(view.settings.get(o), Choice))
    hidden = next(option for option in view.settings[other].options if option not in values)
    for option, seen in ((hidden, 0), (values[0], 1)):
        open_at(page, studio, f"?tab={exhibit.slug}&view={view.slug}&{other}={option}")
        page.evaluate("document.querySelectorAll('.more').forEach(e => { e.open = true; })")
        found = page.locator(f".control[data-name='{exhibit.controls[control]}']").locator("visible=true")
        assert found.count() == seen


def test_a_ticked_box_looks_ticked(page, studio):
    open_at(page, studio, "?tab=flow&view=train&__theme=light")
    box = page.locator(".control.toggle input:visible").first
    seen = []
    for is_on in (True, False):
        box.set_checked(is_on)
        page.mouse.move(0, 0)
        seen.append(np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"), dtype=float))
    assert (np.abs(seen[0] - seen[1]) > 60).mean() > 0.2


def test_a_drawing_and_a_file_reach_the_engine(page, studio):
    open_at(page, studio, "?tab=hippo&view=memory&signal=own")
    signal = "[...p._fullData.find(t => t.name === 'signal').y].slice(0, 50)"
    built_in, before = plot(page, signal), drawn_count(page)
    canvas = page.locator("canvas[aria-label*='draw here']").locator("visible=true")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    for i in range(1, 20):
        page.mouse.move(box["x"] + 4 + i * (box["width"] - 8) / 19, box["y"] + box["height"] * (0.3 + 0.4 * (i % 2)))
    page.mouse.up()
    redrawn(page, before)
    drawn, before = plot(page, signal), drawn_count(page)
    assert drawn != built_in
    page.get_by_role("button", name="Clear").locator("visible=true").click()
    redrawn(page, before)
    assert plot(page, signal) == built_in
    wave = {"name": "wave.csv", "mimeType": "text/csv", "buffer": b"\n".join(b"%d" % (i % 7) for i in range(400))}
    before = drawn_count(page)
    page.locator(".upload-field input").locator("visible=true").set_input_files(wave)
    redrawn(page, before)
    assert plot(page, signal) not in (built_in, drawn)
    junk = {"name": "junk.wav", "mimeType": "audio/wav", "buffer": b"no sound at all"}
    page.locator(".upload-field input").locator("visible=true").set_input_files(junk)
    page.locator(".stage-error:visible").wait_for()
    assert "Traceback" not in page.locator(".stage-error:visible").inner_text()


def test_a_link_writes_no_markdown_into_the_page(page, studio):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    pieces = ",".join(f"{sign}=0.1" for sign in sorted(set("![](//evil.te/a)")))
    open_at(page, studio, f"?tab=segmentation&view=law&vocabulary=own&text=![](//evil.te/a)&pieces={quote(pieces)}")
    page.locator(".exhibit:not([hidden])", has_text="![](//evil.te/a)").first.wait_for()
    assert not [address for address in asked if "evil" in address.split("?")[0]]


def test_a_junk_link_opens(page, studio):
    open_at(page, studio, "?tab=rope&view=nothing&head_dim=<script>&bases=;;;&pin=9&x=" + "y" * 2000)
    assert page.locator(".stage-error:visible").count() == 0
    page.goto(f"{studio}/?tab=nowhere")
    page.locator(".card").first.wait_for()


def test_a_story_is_walked(page, studio):
    open_at(page, studio, "?tab=rope&lang=en")
    story = ROPE.stories[0]
    page.get_by_text("Stories", exact=True).locator("visible=true").click()
    page.locator(".stories:visible").get_by_role("button", name=story.title).click()
    page.wait_for_function("location.search.includes('story=1.1')")
    walk = page.locator(".walk:visible")
    assert story.title in walk.inner_text()
    walk.get_by_role("button", name="Next").click()
    page.wait_for_function("location.search.includes('story=1.2')")
    query = page.evaluate("location.search")
    open_at(page, studio, query)
    assert page.locator(".walk:visible").inner_text().count("2 /")
    page.locator(".walk-close:visible").first.click()
    page.wait_for_function("!location.search.includes('story')")


def test_a_long_run_shows_progress_and_is_cancelled(page, studio):
    exhibit, view = STREAMS[0]
    page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}&lang=en")
    run = page.get_by_role("button", name="Run", exact=True).locator("visible=true")
    run.wait_for()
    if not page.locator(".stage-status progress:visible").count():
        run.click()
    page.locator(".stage-status progress:visible").wait_for()
    page.get_by_role("button", name="Cancel").locator("visible=true").click()
    status = page.locator(".stage-status:visible")
    page.wait_for_function(
        "[...document.querySelectorAll('.stage-status')].some(e => e.textContent.includes('cancelled'))"
    )
    said = status.inner_text()
    page.wait_for_timeout(1500)
    assert status.inner_text() == said


def test_a_run_goes_on_while_another_exhibit_is_looked_at(page, studio):
    exhibit, view = STREAMS[0]
    page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}&lang=en")
    run = page.get_by_role("button", name="Run", exact=True).locator("visible=true")
    run.wait_for()
    if not page.locator(".stage-status progress:visible").count():
        run.click()
    page.locator(".stage-status progress:visible").wait_for()
    page.locator(".exhibits a[data-tab=rope]").click()
    page.wait_for_function("location.search.includes('tab=rope')")
    page.wait_for_function(DRAWN)
    page.locator(f".exhibits a[data-tab={exhibit.slug}]").click()
    page.wait_for_function(f"location.search.includes('tab={exhibit.slug}')")
    page.wait_for_function(DRAWN)


def test_downloads(newcomer, studio, tmp_path):
    page = newcomer
    open_at(page, studio, "?tab=rope&view=similarity")
    files = {}
    for button in (".npz", ".html", ".svg", ".png"):
        # (a view of several figures saves several .svg)
        with page.expect_download(lambda saved, button=button: saved.suggested_filename.endswith(button)) as download:
            page.locator(f"{STAGE} .stage-tools button", has_text=button).click()
        files[button] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[button])
    with np.load(io.BytesIO(files[".npz"].read_bytes()), allow_pickle=False) as data:
        assert len(data.files) > 2
    assert files[".svg"].read_text().startswith("<svg")
    assert files[".png"].read_bytes()[:4] == b"\x89PNG"
    # The page that was saved works by itself, with no network.
    page.context.set_offline(True)
    page.goto(files[".html"].as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()


def test_copy_link_and_python(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64&lang=en")
    page.locator(f"{STAGE} [data-do=link]").click()
    page.locator(f"{STAGE} [data-do=link]", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").endswith("?tab=rope&view=similarity&head_dim=64&lang=en")
    page.locator(f"{STAGE} .stage-code > summary").click()
    assert "from engines.rope" in page.locator(f"{STAGE} .stage-code code").inner_text()


def test_dark_and_light_are_followed(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&__theme=dark")
    assert plot(page, "p._fullLayout.font.color") == "#d8d4ca"
    assert "__theme=dark" in page.evaluate("location.search")
    page.evaluate("document.body.classList.remove('dark')")
    page.wait_for_function(shown_plot("p._fullLayout.font.color === '#33302a'"))


def test_a_tab_left_and_found_again_keeps_its_figure(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    drag(page, "Head dimension d", 64)
    page.locator(".brand").click()
    page.locator(".card").first.wait_for()
    page.set_viewport_size({"width": 900, "height": 900})
    page.locator(".exhibits a[data-tab=rope]").click()
    page.wait_for_function(DRAWN)
    page.wait_for_function("location.search.includes('head_dim=64')")
    page.wait_for_function(shown_plot("Math.abs(p.querySelector('.main-svg').clientWidth - p.clientWidth) <= 2"))


def test_checks_are_measured_on_the_page(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    page.locator(".checks:visible > summary").click()
    page.wait_for_function("n => document.querySelectorAll('.checks .holds').length === n", arg=len(ROPE.checks))


def test_a_frame_tells_the_page_of_its_space(browser, studio):
    said = "window.said = []; addEventListener('message', (event) => said.push([event.origin, event.data]))"
    inside = f"<iframe width=1200 height=900 src='{studio}/?tab=rope&view=similarity'></iframe>"
    outer = f"<script>{said}</script>{inside}"
    context = browser.new_context()
    with suppress(Error):  # a Chromium that does not know it asks for none
        context.grant_permissions(["local-network-access"])
    page = context.new_page()
    page.route("https://huggingface.co/**", lambda route: route.fulfill(body=outer, content_type="text/html"))
    page.goto("https://huggingface.co/spaces/someone/studio")
    inner = page.frame_locator("iframe")
    inner.locator(".js-plotly-plot:visible").first.wait_for()
    box = inner.locator("input[type=number]:visible").first
    box.fill("64")
    box.press("Tab")
    page.wait_for_function("said.some(([, data]) => String(data?.queryString).includes('head_dim=64'))")
    told = [(origin, data) for origin, data in page.evaluate("said") if "queryString" in (data or {})]
    assert told[-1] == (studio, {"queryString": "tab=rope&view=similarity&head_dim=64", "hash": ""})
    context.close()


def test_the_link_that_a_space_copies_is_the_outer_one(page, studio):
    def hosted(route):  # as the page is served where SPACE_ID is set (tests/studio/test_hosting.py)
        answer = route.fetch()
        body = answer.text()
        assert "space:null" in body
        route.fulfill(response=answer, body=body.replace("space:null", 'space:"someone/studio"'))

    page.route(re.compile(rf"{studio}/\?"), hosted)
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64&lang=en&embed=0")
    page.locator(f"{STAGE} [data-do=link]").click()
    page.locator(f"{STAGE} [data-do=link]", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "https://huggingface.co/spaces/someone/studio?tab=rope&view=similarity&head_dim=64&lang=en"


def test_the_first_load_is_small(newcomer, studio):
    page = newcomer
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    open_at(page, studio, "?tab=rope&view=similarity")
    assert 0 < sum(sizes) <= 2_000_000


def test_what_takes_long_opens_with_a_figure_that_was_prepared(newcomer, studio):
    page = newcomer
    # the last: a result that another test left in the server's memory would be shown instead
    exhibit, view = STREAMS[-1]
    page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}&lang=en")
    page.wait_for_function(DRAWN)
    status = page.locator(".stage-status:visible")
    assert "Prepared" in status.inner_text() and not page.locator(".stage-status progress:visible").count()
    page.get_by_role("button", name=".npz", exact=True).locator("visible=true").click()
    page.locator(".stage-error:visible", has_text="press Run").wait_for()
    page.get_by_role("button", name="Run", exact=True).locator("visible=true").click()
    page.locator(".stage-status progress:visible").wait_for()
    page.get_by_role("button", name="Cancel").locator("visible=true").click()


def test_the_notebook_is_saved(page, studio, tmp_path):
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64&lang=en")
    with page.expect_download() as found:
        page.get_by_role("button", name=".ipynb", exact=True).locator("visible=true").click()
    found.value.save_as(tmp_path / "made.ipynb")
    made = json.loads((tmp_path / "made.ipynb").read_text(encoding="utf-8"))
    assert "head_dim=64" in made["cells"][1]["source"] and f"{studio}/?tab=rope" in made["cells"][0]["source"]


def test_a_frame_of_another_page_shows_the_figure_and_where_it_is_from(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64&lang=en")
    page.get_by_role("button", name="Embed", exact=True).locator("visible=true").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    page.emulate_media(color_scheme="light")
    page.set_content(f'<p>A blog.</p><div style="width: 320px">{copied}</div>')
    frame = page.frames[1]
    frame.wait_for_function(DRAWN)
    assert frame.evaluate("innerWidth") == 320 and frame.evaluate("document.documentElement.scrollWidth") <= 320
    for gone in (".masthead", ".exhibit-head", ".exhibit-foot", ".stage-tools"):
        assert not frame.locator(f"{gone}:visible").count()
    assert frame.locator(".control:visible").count() > 2
    link = frame.locator(".embed-from a:visible")
    assert link.get_attribute("href") == f"{studio}/?tab=rope&view=similarity&head_dim=64&lang=en"
    assert "Scientific Spaces Studio" in link.inner_text()
    page.emulate_media(color_scheme="dark")
    frame.wait_for_function("document.body.classList.contains('dark')")
    before = frame.evaluate(f"Number(({HERO}).dataset.drawn)")
    slider = frame.locator(".control[data-name=head_dim] input[type=range]")
    slider.evaluate(
        "e => { e.value = 200; e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); }"
    )
    frame.wait_for_function(f"before => Number(({HERO}).dataset.drawn) > before", arg=before)
    page.emulate_media(color_scheme=None)


def test_a_sweep_shows_one_figure_a_value_with_shared_axes_and_is_in_the_link(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity&lang=en")
    page.get_by_role("button", name="Sweep", exact=True).locator("visible=true").click()
    field = page.get_by_label("Values, up to 9").locator("visible=true")
    field.fill("32, 64, 3")
    field.press("Tab")
    page.wait_for_function("location.search.includes('sweep=head_dim:32,64,3')")
    page.locator(".sweep-cell .stage-error", has_text="Head dimension d").wait_for()
    page.wait_for_function(
        "(() => { const [a, b, ...more] = [...document.querySelectorAll('.sweep-cell .js-plotly-plot')].map(p => p._fullLayout?.yaxis.range + '');"
        " return a && a === b && !more.length; })()"
    )
    page.reload()
    page.wait_for_function("document.querySelectorAll('.sweep-cell .main-svg').length > 2")
    assert "sweep=head_dim:32,64,3" in page.evaluate("location.search")
    page.wait_for_function(  # what the view follows, where it is not refused: a line a base, in the colours of the figure
        "(() => { const [one, other] = document.querySelectorAll('.sweep-curves .js-plotly-plot'); const d = one?._fullData;"
        " return other && d?.length === 3 && d[0].y.length === 3 && d[0].y[2] == null && d[0].name === 'b = 10,000'; })()"
    )
    page.locator(".sweep .walk-close").click()
    page.wait_for_function("!location.search.includes('sweep')")


def test_a_sweep_in_a_link_has_the_name_that_its_setting_has_there(page, studio):
    open_at(page, studio, "?tab=rope&view=partial&sweep=head_dim:32,64&lang=en")  # one of two controls of that name
    page.wait_for_function("document.querySelectorAll('.sweep-cell .main-svg').length >= 2")
    assert "&sweep=head_dim:32,64&" in page.evaluate("location.search") + "&"


def test_on_a_phone_titles_do_not_collide_and_a_matrix_has_the_width(page, studio):
    page.set_viewport_size({"width": 390, "height": 844})
    open_at(page, studio, "?tab=diffusion&view=few&lang=en")
    boxes = page.evaluate(
        "[...document.querySelectorAll('.hero .annotation-text')].map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])"
    )
    assert len(boxes) >= 12 and all(right <= 390 for _, right, *_ in boxes)
    for i, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[:i]:
            assert right <= other[0] + 1 or other[1] <= left + 1 or bottom <= other[2] + 1 or other[3] <= top + 1
    open_at(page, studio, "?tab=hippo&view=matrices")
    assert plot(page, "p._fullLayout.xaxis._length") >= 250
    page.set_viewport_size({"width": 1280, "height": 900})
    open_at(page, studio, "?tab=diffusion&view=few&methods=exact,reflow,consistency_distillation,shortcut,sid")
    assert plot(page, "p.offsetHeight") < 1100  # 1,600 at the full width


def test_the_poem_is_written_when_it_opens_where_motion_is_welcome(page, studio):
    at = "[document.querySelector('.hero .scrub input').value, document.querySelector('.hero .scrub input').max].map(Number)"
    open_at(page, studio, "?tab=gibbs&view=sample")
    page.wait_for_function(f"(() => {{const [now, last] = {at}; return now < last}})()")
    page.emulate_media(reduced_motion="reduce")
    open_at(page, studio, "?tab=gibbs&view=sample")
    page.wait_for_timeout(1200)
    now, last = page.evaluate(at)
    assert now == last
    page.emulate_media(reduced_motion="no-preference")
