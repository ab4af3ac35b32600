"""The README's pictures, the thumbnails and the pictures of link previews, renewed: python -m studio.pictures [--check | --previews].

Thumbnails are drawn by the engines, previews are a title over a thumbnail, the README's pictures are taken of the running page,
both in Chromium, which must be on the PATH (and playwright installed: tests/requirements.txt). `--check` writes nothing and says
which thumbnails would change; `--previews` makes the previews alone.
"""

from __future__ import annotations

import html
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

from studio.exhibits import EXHIBITS
from studio.theme import ASSETS
from studio.thumbnails import drawn

PICTURES = {
    "studio.png": "?lang=en",
    "studio.zh.png": "?lang=zh",
    "exhibit.png": "?tab=rope&view=similarity&lang=en",
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


PREVIEW = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; width: 1200px; height: 630px; background: #faf8f3; color: #26241f; font-family: sans-serif; }}
h1 {{ position: absolute; left: 70px; top: 40px; margin: 0; font-size: 58px; }}
p {{ position: absolute; left: 72px; top: 118px; margin: 0; font-size: 30px; color: #6d685d; }}
svg {{ position: absolute; left: 150px; top: 190px; width: 900px; height: 412px; }}
</style><h1>{title}</h1><p>{question}</p>{thumbnail}"""


def main(check: bool, previews: bool = False) -> int:
    """Write everything, or say what would change; the number of changes where only checked."""
    if previews:
        _previews()
        return 0
    changed = 0
    for exhibit in EXHIBITS:
        file = ASSETS / "thumbnails" / f"{exhibit.slug}.svg"
        svg = drawn(exhibit.slug)
        if not file.exists() or file.read_text(encoding="utf-8") != svg:
            changed += 1
            print(f"{file.name} {'would change' if check else 'is new'}")
            if not check:
                file.write_text(svg, encoding="utf-8")
    if check:
        return changed
    _previews()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ASSETS.parent)
    try:
        _take(f"http://127.0.0.1:{port}/")
    finally:
        server.kill()
    return 0


def _previews() -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        for exhibit in EXHIBITS:
            thumbnail = drawn(exhibit.slug)
            question = html.escape(exhibit.question or "Scientific Spaces Studio")
            page.set_content(PREVIEW.format(title=html.escape(exhibit.title), question=question, thumbnail=thumbnail))
            page.screenshot(path=str(ASSETS / "previews" / f"{exhibit.slug}.png"))
        browser.close()


def _take(address: str) -> None:
    from playwright.sync_api import sync_playwright

    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            time.sleep(0.5)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        for name, query in PICTURES.items():
            page.goto(address + query)
            page.wait_for_function(
                "document.querySelector('.js-plotly-plot .main-svg') || document.querySelector('.home:not([hidden]) .card')"
            )
            page.wait_for_timeout(5000)  # particles settle in three seconds
            page.screenshot(path=str(ASSETS / name))
            print(f"{name} is new")
        browser.close()


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:], "--previews" in sys.argv[1:]))
