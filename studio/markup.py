"""Texts of the page as HTML: Markdown, $TeX$ as MathML (which browsers set themselves), and words that name a trace."""

from __future__ import annotations

import html
import re
from functools import lru_cache

from latex2mathml.converter import convert
from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.S)
_MARK = re.compile(r"\[\[([^|\]]+)\|([^\]]+)\]\]")
# a raised prime or star would be raised twice, for the sign itself stands high
_PRIME = re.compile(r"<msup>(<m[ion]>[^<]*</m[ion]>)<mi>&#x02032;</mi></msup>")
_STAR = re.compile(r"<mo>&#x0002A;</mo>((?:</mrow>)?</m(?:sub)?sup>)")
_KEPT = re.compile("\ue000(\\d+)\ue001")  # private letters, which no text has


@lru_cache(maxsize=4096)
def _mathml(tex: str, display: str = "inline") -> str:
    return convert(tex, display=display)  # a library's, and slow: most formulas stand in both languages


@lru_cache(maxsize=4096)
def to_html(text: str) -> str:
    """Markdown with $formulas$ and [[trace|words]] as HTML that is safe whatever the text is."""
    kept: list[str] = []

    def keep(made: str) -> str:
        kept.append(made)
        return f"\ue000{len(kept) - 1}\ue001"

    def formula(found: re.Match) -> str:
        block, inline = found.groups()
        try:
            made = _mathml(block or inline, "block" if block else "inline")
            made = _STAR.sub(r"<mo>&#x02217;</mo>\1", made)
            return keep(_PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', made))
        except Exception:  # the library raises what it likes at a formula that is none
            return found[0]

    def mark(found: re.Match) -> str:
        return keep(f'<span class="mark" data-mark="{html.escape(found[1])}">{html.escape(found[2])}</span>')

    text = _MARK.sub(mark, _FORMULA.sub(formula, text.replace("\ue000", "").replace("\ue001", "")))
    return _KEPT.sub(lambda found: kept[int(found[1])], _MARKDOWN.render(text)).strip()


def inline(text: str) -> str:
    """The same for a text of one paragraph, without its <p>."""
    made = to_html(text)
    is_one = made.startswith("<p>") and made.endswith("</p>") and made.count("<p>") == 1
    return made[3:-4] if is_one else made


def plain(text: str) -> str:
    """The same without any markup, for titles and screen readers; formulas as their letters."""

    def letters(found: re.Match) -> str:
        try:
            return html.unescape(re.sub(r"<[^>]+>", "", _mathml(found[1] or found[2])))
        except Exception:  # as above
            return found[0]

    text = _FORMULA.sub(letters, _MARK.sub(lambda found: found[2], text))
    text = re.sub(r"\*\*?|`", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
