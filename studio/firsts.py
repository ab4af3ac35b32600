"""First figures: what each view shows when it is opened, drawn beforehand, so that a page that opens shows it at once.

    python -m studio.firsts [exhibit ...]

computes them anew (of all exhibits, unless some are named) and writes assets/firsts/<exhibit>/<view>.jsonl.br: the panels
as the browser draws them, one line a language. What draws at once follows with a figure of its own; what takes long shows
the first one until Run is pressed. A link that names such a view alone means the defaults that the view had when such links
were made (Exhibit.former): where they differ, <view>.link.jsonl.br is kept beside.
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


def openings(exhibit: Exhibit, view: View) -> dict[Path, dict[str, Any]]:
    """The files of a view's first figures: its defaults, and where it differs and takes long, what a bare link means."""
    folder = FOLDER / exhibit.slug
    made = {folder / f"{view.slug}.jsonl.br": dict(view.defaults)}
    named = link.read(exhibit, f"view={view.slug}")[1]
    if not view.is_direct and _differs(named, view.defaults):
        made[folder / f"{view.slug}.link.jsonl.br"] = dict(named)
    return made


def _differs(settings: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return any(link.text(settings[name]) != link.text(other) for name, other in others.items())


def read(file: Path, language: str) -> str | None:
    """The panels in a file as JSON; None where it is not there."""
    try:
        lines = brotli.decompress(file.read_bytes()).decode().split("\n")
    except FileNotFoundError:
        return None
    return lines[list(LANGUAGES).index(language)]


def prepared(exhibit: Exhibit, view: View, settings: Mapping[str, Any], language: str) -> str | None:
    """The stage that shows the first figure; None where it would be wrong, or where the result is remembered."""
    file = next((f for f, kept in openings(exhibit, view).items() if not _differs(settings, kept)), None)
    kept = None if file is None or known(view, settings) else read(file, language)
    if kept is None:
        return None
    with speaking(language, exhibit.slug):
        return stage(exhibit, view, settings, packed=kept, status=say("Prepared; Run computes it here."))


def draw(view: View, exhibit: Exhibit, settings: Mapping[str, Any]) -> tuple[dict[str, str], float]:
    """The panels of a view at its settings, computed now, as JSON by language; and the seconds of one language."""
    started = time.perf_counter()
    *_, last = run(exhibit, view, settings)
    seconds, made = time.perf_counter() - started, {}
    for language in LANGUAGES:
        with speaking(language, exhibit.slug):
            started = time.perf_counter()
            made[language] = "[" + ",".join(map(pack, panels(view, last.result, settings))) + "]"
            drawing = time.perf_counter() - started
    return made, seconds + drawing


def write(exhibit: Exhibit, view: View) -> None:
    """Compute a view's first figures, keep them, and say what they take."""
    for file, settings in openings(exhibit, view).items():
        made, seconds = draw(view, exhibit, settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        # the window spans all languages: they differ in their texts alone
        file.write_bytes(brotli.compress("\n".join(made.values()).encode(), quality=11, lgwin=24))
        print(f"{exhibit.slug}/{file.name}: {seconds:.2f} s, {file.stat().st_size:,} bytes", flush=True)


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
    wanted = {file for exhibit in EXHIBITS for view in exhibit.views for file in openings(exhibit, view)}
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
