"""The studio as a visitor meets it."""

import io
import re
from urllib.parse import quote

import numpy as np
import pytest

from studio.exhibits import EXHIBITS

pytestmark = pytest.mark.browser

STAGE = ".stage-holder:visible"
DRAWN = (
    "() => [...document.querySelectorAll('[data-drawn]')].some(e => e.offsetParent && !e.querySelector('.stale')"
    " && (e.querySelector('.main-svg') || !e.querySelector('.panel-plot')))"
)


def open_at(page, studio, query):
    page.goto(f"{studio}/{query}")
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(300)


def drawn_count(page):
    return page.evaluate(
        "[...document.querySelectorAll('[data-drawn]')].filter(e => e.offsetParent).map(e => Number(e.dataset.drawn))[0]"
    )


def shown_plot(expression):
    """JavaScript: an expression of `p`, the first visible plot."""
    return f"(() => {{const p = [...document.querySelectorAll('.js-plotly-plot')].find(e => e.offsetParent); return {expression}}})()"


def plot(page, expression):
    return page.evaluate(shown_plot(expression))


def drag(page, label, value):
    """Move a slider as a hand does, let go, and wait for the redraw."""
    before = drawn_count(page)
    page.evaluate(
        """([label, value]) => {
            const slider = [...document.querySelectorAll('.control.range')].find(s => s.offsetParent && s.firstChild.textContent === label);
            const range = slider.querySelector('[type=range]');
            range.value = value;
            range.dispatchEvent(new Event('input', {bubbles: true}));
            range.dispatchEvent(new Event('change', {bubbles: true}));
        }""",
        [label, value],
    )
    page.wait_for_function(
        "before => [...document.querySelectorAll('[data-drawn]')].some(e => e.offsetParent && Number(e.dataset.drawn) > before)",
        arg=before,
    )


def test_the_opening_page_leads_to_every_exhibit(page, studio):
    asked = []
    page.on("request", lambda request: "queue/join" in request.url and asked.append(request.post_data))
    page.goto(studio)
    cards = page.locator(".card")
    cards.first.wait_for()
    assert cards.count() == len(EXHIBITS)
    page.locator(".card[data-tab=rope]").click()
    page.wait_for_function(DRAWN)
    assert page.evaluate("location.search").startswith("?tab=rope&view=")
    assert len(asked) == 1, "a late answer to anything but the figure could throw the visitor back"
    page.go_back()
    cards.first.wait_for()
    assert page.evaluate("location.search") == ""


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda e: e.slug)
def test_every_exhibit_opens_and_fits_a_phone(page, studio, exhibit):
    live = [view for view in exhibit.views if view.live]
    for view in live[:1] or exhibit.views[:1]:
        page.goto(f"{studio}/?tab={exhibit.slug}&view={view.slug}")
        page.wait_for_function(DRAWN if live else "document.querySelector('.stage-status:not([hidden])')")
        assert page.locator(".stage-error:visible").count() == 0
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")


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


def test_prose_follows_the_figure_and_leaves_with_it(page, studio):
    said = "[...document.querySelectorAll('.notes')].some(e => e.offsetParent && e.innerText.trim())"
    open_at(page, studio, "?tab=rope&view=table")
    page.wait_for_function(said)
    page.get_by_text("Similarity over distance").locator("visible=true").click()
    page.wait_for_function(f"!{said}")
    page.goto(f"{studio}/?tab=hippo&view=memory")  # live: past gradio's events
    page.wait_for_function(said)
    before = page.evaluate("[...document.querySelectorAll('.notes')].find(e => e.offsetParent).innerText")
    drag(page, "Numbers kept, N", 8)
    page.wait_for_function(
        "before => [...document.querySelectorAll('.notes')].some(e => e.offsetParent && e.innerText !== before)",
        arg=before,
    )


def test_a_pin_stays_behind_and_in_the_link(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    traces = plot(page, "p.data.length")
    drag(page, "Head dimension d", 32)
    page.get_by_role("button", name="Pin", exact=True).locator("visible=true").click()
    page.wait_for_function("location.search.includes('pin=1')")
    drag(page, "Head dimension d", 64)
    assert plot(page, "p.data.length") == 2 * traces
    query = page.evaluate("location.search")
    assert "head_dim=64" in query and "pin=1&pin.head_dim=32" in query
    open_at(page, studio, query)
    assert plot(page, "p.data.length") == 2 * traces
    page.get_by_role("button", name="Unpin").locator("visible=true").click()
    page.wait_for_function("!location.search.includes('pin')")


def test_bad_input_gets_a_sentence_and_loses_nothing(page, studio):
    open_at(page, studio, "?tab=rope&view=similarity")
    traces = plot(page, "p.data.length")
    box = page.get_by_label("Bases b").locator("visible=true")
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
    box = page.get_by_label("Bases b").locator("visible=true")
    box.fill("ten thousand")
    box.press("Enter")
    page.locator(".stage-error:visible").wait_for()
    said = "[...document.querySelectorAll('[data-said]')].find(e => e.offsetParent).dataset.said"
    before = page.evaluate(said)
    page.get_by_text("Decay with distance").locator("visible=true").click()
    page.wait_for_function(f"before => {said} !== before", arg=before)
    box.fill("10000")
    box.press("Enter")
    page.wait_for_function("location.search.includes('view=decay') && location.search.includes('bases=10000')")


def test_a_setting_made_while_a_view_loads_is_kept(page, studio):
    open_at(page, studio, "?tab=hubness&view=latent")
    page.locator(".views label:visible", has_text="Sharing neighbours out again").click()
    page.evaluate(
        """() => {
            const number = [...document.querySelectorAll('.control.range')]
                .find(s => s.offsetParent && s.firstChild.textContent === 'Seed').querySelector('[type=number]');
            number.value = 42;
            number.dispatchEvent(new Event('change'));
        }"""
    )
    page.wait_for_function("location.search.includes('view=reduction') && location.search.includes('seed=42')")


def test_a_control_is_seen_where_it_matters(page, studio):
    open_at(page, studio, "?tab=diffusion&view=samplers")
    letters = page.locator(".control.text", has_text="Letters")
    target = (
        page.locator(".control", has=page.locator("option[value=letter]")).locator("visible=true").locator("select")
    )
    assert letters.locator("visible=true").count() == 0
    target.select_option("letter")
    letters.locator("visible=true").wait_for()
    target.select_option("ring")
    letters.locator("visible=true").wait_for(state="hidden")


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
    redrawn = (
        "n => [...document.querySelectorAll('[data-drawn]')].some(e => e.offsetParent && Number(e.dataset.drawn) > n)"
    )
    page.wait_for_function(redrawn, arg=before)
    drawn, before = plot(page, signal), drawn_count(page)
    assert drawn != built_in
    page.get_by_role("button", name="Clear").locator("visible=true").click()
    page.wait_for_function(redrawn, arg=before)
    assert plot(page, signal) == built_in
    wave = {"name": "wave.csv", "mimeType": "text/csv", "buffer": b"\n".join(b"%d" % (i % 7) for i in range(400))}
    before = drawn_count(page)
    page.locator(".upload-field input").locator("visible=true").set_input_files(wave)
    page.wait_for_function(redrawn, arg=before)
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
    page.locator(".notes:visible", has_text="![](//evil.te/a)").first.wait_for()
    assert not [address for address in asked if "evil" in address.split("?")[0]]


def test_a_junk_link_opens(page, studio):
    open_at(page, studio, "?tab=rope&view=nothing&head_dim=<script>&bases=;;;&pin=9&x=" + "y" * 2000)
    assert page.locator(".stage-error:visible").count() == 0
    page.goto(f"{studio}/?tab=nowhere")
    page.locator(".card").first.wait_for()


def test_a_story_sets_the_stage(page, studio):
    exhibit = next(e for e in EXHIBITS if e.slug == "rope")
    open_at(page, studio, "?tab=rope")
    story = exhibit.stories[0]
    page.get_by_role("button", name=story.title).locator("visible=true").click()
    page.locator(".told:visible").first.wait_for()
    assert story.text[:40] in page.locator(".told:visible").first.inner_text()


def test_a_long_run_shows_progress_and_is_cancelled(page, studio):
    open_at(page, studio, "?tab=rope&view=table")
    page.get_by_label("Up to (tokens)", exact=True).locator("visible=true").fill("1048576")
    page.keyboard.press("Tab")
    status = page.locator(".stage-status:visible")
    page.wait_for_function(
        "[...document.querySelectorAll('.stage-status')].some(e => e.textContent.includes('Press Run'))"
    )
    page.get_by_role("button", name="Run", exact=True).locator("visible=true").click()
    page.locator(".stage-status progress:visible").wait_for()
    page.get_by_role("button", name="Cancel").locator("visible=true").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.stage-status')].some(e => e.textContent.includes('cancelled'))"
    )
    said = status.inner_text()
    page.wait_for_timeout(1500)
    assert status.inner_text() == said


def test_downloads(newcomer, studio, tmp_path):
    page = newcomer
    open_at(page, studio, "?tab=rope&view=similarity")
    files = {}
    for button in (".npz", ".html", ".svg", ".png"):
        with page.expect_download() as download:
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
    open_at(page, studio, "?tab=rope&view=similarity&head_dim=64")
    page.locator(f"{STAGE} [data-do=link]").click()
    page.locator(f"{STAGE} [data-do=link]", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").endswith("?tab=rope&view=similarity&head_dim=64")
    page.locator(f"{STAGE} summary").click()
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
    page.get_by_role("tab", name="Studio").click()
    page.locator(".card").first.wait_for()
    page.set_viewport_size({"width": 900, "height": 900})
    page.get_by_role("tab", name="RoPE").click()
    page.wait_for_function(DRAWN)
    page.wait_for_function("location.search.includes('head_dim=64')")
    page.wait_for_function(shown_plot("Math.abs(p.querySelector('.main-svg').clientWidth - p.clientWidth) <= 2"))


def test_checks_are_recomputed_on_the_page(page, studio):
    open_at(page, studio, "?tab=rope")
    checks = page.locator(".checks:visible").first
    checks.get_by_role("button", name=re.compile("Checked against")).click()
    checks.get_by_role("button", name="Recompute them now").click()
    exhibit = next(e for e in EXHIBITS if e.slug == "rope")
    page.wait_for_function(
        "n => [...document.querySelectorAll('.check-table')].some(t => t.querySelectorAll('.holds').length === n)",
        arg=len(exhibit.checks),
    )


def test_the_first_load_is_small(newcomer, studio):
    page = newcomer
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    sizes = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    open_at(page, studio, "?tab=rope&view=similarity")
    assert 0 < sum(sizes) <= 2_000_000
