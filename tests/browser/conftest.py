"""A real Chromium. Where there is none the browser tests are skipped; with CI set they fail."""

import os
import shutil

import pytest

# No graphics card, and none of the browser's own traffic.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
# No stranger has an address. (To stop requests one by one would keep the browser from caching any.)
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="module")
def browser():
    """Debian's or the system's Chromium, driven by Playwright."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        message = "no Chromium found: install the chromium package to run the browser tests"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def visitor(browser):
    """One profile for all pages, so that the studio's scripts are compiled once."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


def watched(context, studio):
    """A page that may talk to the studio alone, and that fails its test on any script error."""
    page = context.new_page()
    page.set_default_timeout(int(os.environ.get("STUDIO_PATIENCE", 90_000)))  # a loaded machine is slow, not wrong
    faults, strangers = [], []
    page.on("pageerror", lambda error: faults.append(str(error)))
    known = (studio, "data:", "blob:", "file:")
    page.on("request", lambda request: request.url.startswith(known) or strangers.append(request.url))
    yield page
    page.close()
    assert not faults and not strangers


@pytest.fixture
def page(visitor, studio):
    yield from watched(visitor, studio)


@pytest.fixture
def newcomer(browser, studio):
    """A page in a profile of its own: nothing cached, and free to be cut off."""
    context = browser.new_context()
    yield from watched(context, studio)
    context.close()
