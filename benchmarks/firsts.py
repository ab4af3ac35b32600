"""How soon each view shows a figure on a page that is there, with every core of the server busy.

    python -m benchmarks.firsts [exhibit ...] [--idle]

A studio is started and its opening page loaded; a process for each core of the server then computes for nothing. The browser has the
last core for itself, as a visitor's has (where there is but one, or no affinity, they share). Each view is opened once, by its
bare link as the page's own links do, and timed in the browser from there to the figure drawn. Nothing is remembered: each view
is its server's first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time

from playwright.sync_api import sync_playwright

from benchmarks.page import HERO, free_port
from studio.exhibits import EXHIBITS
from tests.browser.conftest import FLAGS
from tests.conftest import ROOT

OPEN = """async (address) => {
    const start = performance.now();
    history.pushState(null, "", address);
    dispatchEvent(new PopStateEvent("popstate"));
    const view = new URLSearchParams(address).get("view");
    for (;;) {
        await new Promise((r) => setTimeout(r, 2));
        const hero = HERO;
        const stage = hero?.closest(".exhibit");
        const chosen = stage?.querySelector(".views [aria-selected=true], .appendix [aria-checked=true]")?.dataset.view;
        const plot = hero?.querySelector(".panel-plot");
        if (chosen === view && Number(hero.dataset.shown ?? 0) > (window.drawnBefore[stage.dataset.exhibit] ?? 0)
            && (!plot || plot.querySelector(".main-svg"))) {
            window.drawnBefore[stage.dataset.exhibit] = Number(hero.dataset.shown);
            return performance.now() - start;
        }
        if (performance.now() - start > 60000) return null;
    }
}""".replace("HERO", HERO)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exhibits", nargs="*")
    parser.add_argument("--idle", action="store_true", help="leave the other cores alone")
    options = parser.parse_args()
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[-1:])  # the browser's, which starts below
        os.sched_setaffinity(server.pid, cores[:-1])
    busy = []
    taken = {}
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator(".card").first.wait_for(timeout=120_000)
            # plotly is of the page's own load
            page.evaluate(
                """(address) => new Promise((done) => {
                window.drawnBefore = {};
                const script = document.createElement("script");
                script.src = address; script.onload = done; document.head.append(script);
            })""",
                page.evaluate("window.studioFiles.plotly"),
            )
            if not options.idle:
                for core in cores[:-1] or [None]:
                    busy.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                    if core is not None:
                        os.sched_setaffinity(busy[-1].pid, [core])
            for exhibit in EXHIBITS:
                for view in exhibit.views if not options.exhibits or exhibit.slug in options.exhibits else ():
                    took = page.evaluate(OPEN, f"?tab={exhibit.slug}&view={view.slug}&lang=en")
                    taken[exhibit.slug, view.slug] = took
                    print(f"{exhibit.slug}/{view.slug:<18} {took or float('nan'):7.0f} ms", flush=True)
                    page.wait_for_timeout(1000)
            browser.close()
    finally:
        for process in [server, *busy]:
            process.kill()
    late = [took for took in taken.values() if took is None or took > 300]
    print(f"{len(taken) - len(late)} of {len(taken)} views show their first figure within 300 ms")


if __name__ == "__main__":
    main()
