"""How soon the studio answers: start to first figure, first load in bytes, slider release to redraw.

    python -m benchmarks.page [exhibit ...]

The redraw is timed in the browser, from the event of letting go to the figure drawn; 20 drags a slider, the median said.
Beside it, in the same run, the least page there can be: torch, gradio's own slider and plot, and one line.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

from studio.exhibit import Range
from studio.exhibits import EXHIBITS
from tests.browser.conftest import FLAGS
from tests.conftest import ROOT

DRAGS = 20
DRAG = """async ([label, value]) => {
    const slider = [...document.querySelectorAll('.control.range')].find(s => s.offsetParent && s.firstChild.textContent === label);
    const range = slider.querySelector('[type=range]');
    const stage = [...document.querySelectorAll('[data-drawn]')].find(e => e.offsetParent);
    const {drawn, said} = stage.dataset;
    // a setting that is refused is answered by a sentence instead
    const answered = () => stage.dataset.drawn !== drawn || (stage.dataset.said !== said && !stage.querySelector('.stage-error').hidden);
    range.value = Number(range.min) + value * (Number(range.max) - Number(range.min));
    range.dispatchEvent(new Event('input', {bubbles: true}));
    const start = performance.now();
    range.dispatchEvent(new Event('change', {bubbles: true}));
    while (!answered() && performance.now() - start < 2000) await new Promise(r => setTimeout(r, 1));
    return performance.now() - start;
}"""
DRAWN = "[...document.querySelectorAll('[data-drawn]')].some(e => e.offsetParent)"
FIRST_DRAWN = "[...document.querySelectorAll('[data-drawn]')].some(e => e.offsetParent && e.querySelector('.main-svg'))"


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


def main() -> None:
    """Print the table."""
    chosen = sys.argv[1:] or ["rope", "softmax"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        starts, least = [], []
        for port in (7981, 7982, 7983):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            process, seconds = first_figure(page, port + 10, ["-c", LEAST], "", LEAST_DRAWN)
            least.append(seconds)
            if port == 7983:
                times = [page.evaluate(LEAST_DRAG, 10 + 37 * i) for i in range(DRAGS)]
            process.kill()
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            sizes: list[float] = []
            session.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            process, seconds = first_figure(page, port, ["app.py", "--port"], "?tab=rope", FIRST_DRAWN)
            starts.append(seconds)
            if port != 7983:
                process.kill()
                context.close()
        ratio = statistics.median(s / t for s, t in zip(starts, least, strict=True))
        print(f"start to first figure  {statistics.median(starts):.2f} s, {ratio:.2f} x the least page's")
        print(f"first load             {sum(sizes) / 1e6:.2f} MB")
        print(f"the least page's slider, n {statistics.median(times):32.0f} ms")
        try:
            for exhibit in (e for e in EXHIBITS if e.slug in chosen):
                for view in (v for v in exhibit.views if v.live):
                    page.goto(f"http://127.0.0.1:{port}/?tab={exhibit.slug}&view={view.slug}")
                    page.wait_for_function(DRAWN)
                    page.wait_for_timeout(500)
                    seen = page.locator(".control.range > span").locator("visible=true").all_inner_texts()
                    for control in (c for c in view.controls.values() if isinstance(c, Range) and c.label in seen):
                        times = []
                        for i in range(DRAGS):
                            times.append(page.evaluate(DRAG, [control.label, (i * 0.37 + 0.05) % 1]))
                            page.wait_for_timeout(60)
                        print(
                            f"{exhibit.slug}/{view.slug:<16} {control.label:<32} {statistics.median(times):5.0f} ms",
                            flush=True,
                        )
        finally:
            process.kill()
        browser.close()


if __name__ == "__main__":
    main()
