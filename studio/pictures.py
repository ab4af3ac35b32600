"""The README's pictures and the thumbnails, renewed: python -m studio.pictures [--check].

Thumbnails are drawn by the engines; the README's pictures are taken of the running page in Chromium, which must be on the PATH
(and playwright installed: tests/requirements.txt). `--check` writes nothing and says which thumbnails would change.
"""

from __future__ import annotations

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


def main(check: bool) -> int:
    """Write everything, or say what would change; the number of changes where only checked."""
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ASSETS.parent)
    try:
        _take(f"http://127.0.0.1:{port}/")
    finally:
        server.kill()
    return 0


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
    sys.exit(main("--check" in sys.argv[1:]))
