"""How soon the studio answers: start to first figure, first load in bytes, a slider's move to the redraw.

    python -m benchmarks.page [exhibit ...] [--drags N] [--views N]

The redraw is timed in the browser, from the event that a moving hand makes to the view's first figure drawn (where that stays
as it was, to the last that changes): the median of some drags a slider, one line a slider, all exhibits unless some are named.
Beside it, in the same run, the least page there can be: torch, gradio's own slider (let go, which is when it answers) and plot,
and one line.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

from studio.exhibits import EXHIBITS
from tests.browser.conftest import FLAGS
from tests.conftest import ROOT

HERO = "[...document.querySelectorAll('.stage-hero')].find(e => e.offsetParent)"
DRAG = """async ([name, share]) => {
    const slider = document.querySelector(`.exhibit:not([hidden]) .control[data-name='${name}']`);
    const range = slider.querySelector('[type=range]');
    const hero = HERO;
    const error = hero.parentElement.querySelector('.stage-error');
    const drawn = hero.dataset.shown;
    const before = range.value;
    range.value = Number(range.min) + share * (Number(range.max) - Number(range.min));
    if (range.value === before) return null;
    const start = performance.now();
    range.dispatchEvent(new Event('input', {bubbles: true}));
    // a setting that is refused is answered by a sentence instead
    while (hero.dataset.shown === drawn && error.hidden && performance.now() - start < 2000) await new Promise(r => setTimeout(r, 1));
    const took = performance.now() - start;
    range.dispatchEvent(new Event('change', {bubbles: true}));
    return took;
}""".replace("HERO", HERO)
REFUSED = f"!{HERO}.parentElement.querySelector('.stage-error').hidden"
DRAWN = f"Number({HERO}?.dataset.drawn ?? 0) > 0"
FIRST_DRAWN = f"{HERO}?.querySelector('.main-svg')"


LEAST = """
import sys
import gradio as gr
import plotly.graph_objects as go
import torch

def draw(n):
    return go.Figure(go.Scatter(y=torch.arange(n).numpy() ** 2))

with gr.Blocks() as page:
    n = gr.Slider(1, 1000, 10, step=1, label="n")
    plot = gr.Plot()
    page.load(draw, n, plot)
    n.release(draw, n, plot)
page.launch(server_port=int(sys.argv[1]))
"""
LEAST_DRAWN = "document.querySelector('.js-plotly-plot .main-svg')"
# gradio's plot is put in anew at each redraw
LEAST_DRAG = """async (value) => {
    const range = document.querySelector('input[type=range]');
    const before = document.querySelector('.js-plotly-plot .main-svg');
    range.value = value;
    range.dispatchEvent(new Event('input', {bubbles: true}));
    const start = performance.now();
    range.dispatchEvent(new Event('pointerup', {bubbles: true}));
    while (performance.now() - start < 4000) {
        const now = document.querySelector('.js-plotly-plot .main-svg');
        if (now && now !== before) break;
        await new Promise(r => setTimeout(r, 1));
    }
    return performance.now() - start;
}"""


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_figure(page: Page, port: int, command: list[str], address: str, drawn: str) -> tuple[subprocess.Popen, float]:
    """Start a server and open its page at once; seconds from process start to its figure."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command, str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    page.goto(f"http://127.0.0.1:{port}/{address}")
    page.wait_for_function(drawn)
    return process, time.perf_counter() - start


def show(page: Page, port: int, exhibit: str, view: str) -> None:
    """Open a view with its defaults, and wait until nothing is drawn any more."""
    page.goto(f"http://127.0.0.1:{port}/?tab={exhibit}&view={view}")
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(500)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("exhibits", nargs="*")
    parser.add_argument("--drags", type=int, default=20)
    parser.add_argument("--views", type=int, default=99, help="views an exhibit at most")
    options = parser.parse_args()
    chosen = [e for e in EXHIBITS if e.slug in (options.exhibits or [e.slug for e in EXHIBITS])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        starts, least = [], []
        for turn in range(3):
            is_last = turn == 2
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            process, seconds = first_figure(page, free_port(), ["-c", LEAST], "", LEAST_DRAWN)
            least.append(seconds)
            if is_last:
                bare = statistics.median(page.evaluate(LEAST_DRAG, 10 + 37 * i) for i in range(options.drags))
            process.kill()
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            sizes: list[float] = []
            session.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            port = free_port()
            process, seconds = first_figure(page, port, ["app.py", "--port"], "?tab=rope&view=similarity", FIRST_DRAWN)
            starts.append(seconds)
            if not is_last:
                process.kill()
                context.close()
        ratio = statistics.median(s / t for s, t in zip(starts, least, strict=True))
        print(f"start to first figure  {statistics.median(starts):.2f} s, {ratio:.2f} x the least page's")
        print(f"first load             {sum(sizes) / 1e6:.2f} MB")
        first, second = [], []
        for _ in range(5):  # the server is warm: what differs is the browser's cache alone
            fresh = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            for loads in (first, second):
                begun = time.perf_counter()
                fresh.goto(f"http://127.0.0.1:{port}/?tab=rope&view=similarity")
                fresh.wait_for_function(FIRST_DRAWN)
                loads.append(time.perf_counter() - begun)
            fresh.context.close()
        ratio = statistics.median(s / f for s, f in zip(second, first, strict=True))
        print(f"second load            {statistics.median(second):.2f} s, {ratio:.2f} x the first")
        print(f"the least page's slider, n {bare:32.0f} ms")
        within = total = 0
        try:
            for exhibit in chosen:
                for view in [v for v in exhibit.views if v.is_direct][: options.views]:
                    show(page, port, exhibit.slug, view.slug)
                    seen = page.evaluate(
                        "[...document.querySelectorAll('.exhibit:not([hidden]) .control.range')].filter(e => e.offsetParent).map(e => e.dataset.name)"
                    )
                    for name in seen:
                        if page.evaluate(REFUSED):  # by the last slider: it would seem to answer this one
                            show(page, port, exhibit.slug, view.slug)
                        times = []
                        for i in range(options.drags):
                            took = page.evaluate(DRAG, [name, (i * 0.37 + 0.05) % 1])
                            times += [] if took is None else [took]
                            page.wait_for_timeout(60)
                        if times:
                            median = statistics.median(times)
                            within, total = within + (median <= bare), total + 1
                            print(f"{exhibit.slug}/{view.slug:<16} {name:<24} {median:5.0f} ms", flush=True)
        finally:
            process.kill()
        print(f"{within} of {total} sliders answer within the least page's {bare:.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
