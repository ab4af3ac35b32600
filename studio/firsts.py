"""First figures: what each view shows at its defaults, drawn beforehand, so that a page that opens shows it at once.

    python -m studio.firsts [exhibit ...]

computes them anew (of all exhibits, unless some are named) and writes assets/firsts/<exhibit>/<view>.jsonl.br: the panels
as the browser draws them, one line a language. What draws at once follows with a figure of its own; what takes long shows
the first one until Run is pressed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import brotli

from studio import link
from studio.exhibit import Exhibit, View
from studio.exhibits import EXHIBITS
from studio.language import LANGUAGES, say, speaking
from studio.panels import pack
from studio.present import panels, stage
from studio.results import known, run
from studio.theme import ASSETS

FOLDER = ASSETS / "firsts"
MOST = 6_000_000  # bytes of all files together


def file(exhibit: Exhibit, view: View) -> Path:
    """Where the first figure of a view is kept."""
    return FOLDER / exhibit.slug / f"{view.slug}.jsonl.br"


def read(exhibit: Exhibit, view: View, language: str) -> str | None:
    """The panels of a view at its defaults as JSON; None where none are kept."""
    try:
        lines = brotli.decompress(file(exhibit, view).read_bytes()).decode().split("\n")
    except FileNotFoundError:
        return None
    return lines[list(LANGUAGES).index(language)]


def prepared(exhibit: Exhibit, view: View, settings: Mapping[str, Any], language: str) -> str | None:
    """The stage that shows the first figure; None where it would be wrong, or where the result is remembered."""
    if any(link.text(settings[name]) != link.text(default) for name, default in view.defaults.items()):
        return None
    kept = None if known(view, settings) else read(exhibit, view, language)
    if kept is None:
        return None
    with speaking(language, exhibit.slug):
        return stage(exhibit, view, settings, packed=kept, status=say("Prepared; Run computes it here."))


def draw(view: View, exhibit: Exhibit) -> tuple[dict[str, str], float]:
    """The panels of a view at its defaults, computed now, as JSON by language; and the seconds of one language."""
    started = time.perf_counter()
    *_, last = run(exhibit, view, view.defaults)
    seconds, made = time.perf_counter() - started, {}
    for language in LANGUAGES:
        with speaking(language, exhibit.slug):
            started = time.perf_counter()
            made[language] = "[" + ",".join(map(pack, panels(view, last.result, view.defaults))) + "]"
            drawing = time.perf_counter() - started
    return made, seconds + drawing


def write(exhibit: Exhibit, view: View) -> None:
    """Compute a view's first figure, keep it, and say what it takes."""
    made, seconds = draw(view, exhibit)
    place = file(exhibit, view)
    place.parent.mkdir(parents=True, exist_ok=True)
    # the window spans all languages: they differ in their texts alone
    place.write_bytes(brotli.compress("\n".join(made.values()).encode(), quality=11, lgwin=24))
    print(f"{exhibit.slug}/{view.slug}: {seconds:.2f} s, {place.stat().st_size:,} bytes", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the first figures; 1 where they are too large together."""
    parser = argparse.ArgumentParser(prog="python -m studio.firsts", description=__doc__.split("\n")[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("exhibit", nargs="*", help="slug of an exhibit (default: all)")
    named = parser.parse_args(arguments).exhibit
    unknown = set(named) - {exhibit.slug for exhibit in EXHIBITS}
    if unknown:
        parser.error(f"there is no exhibit called {', '.join(sorted(unknown))}")
    for exhibit in EXHIBITS:
        for view in exhibit.views if not named or exhibit.slug in named else ():
            write(exhibit, view)
    wanted = {file(exhibit, view) for exhibit in EXHIBITS for view in exhibit.views}
    sizes = {}
    for kept in sorted(FOLDER.glob("*/*")):
        if kept not in wanted:
            kept.unlink()  # of a view that is gone
        else:
            sizes[kept.parent.name] = sizes.get(kept.parent.name, 0) + kept.stat().st_size
    for slug, size in sizes.items():
        print(f"{slug:16}{size:12,} bytes{size / MOST:8.1%}")
    total = sum(sizes.values())
    print(f"{'together':16}{total:12,} bytes{total / MOST:8.1%} of {MOST:,}")
    return int(total > MOST)


if __name__ == "__main__":
    sys.exit(main())
