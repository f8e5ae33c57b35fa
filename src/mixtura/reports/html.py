"""One file of HTML that makes no request, and what stands on it: figures, tables, folds."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from mixtura.reports.charts import RenderedChart
from mixtura.web.assets import page_style


def html_page(title: str, parts: Iterable[str]) -> str:
    """A whole page: no script, no request, its own policy forbids both."""
    own = (files("mixtura.reports") / "report.css").read_text("utf-8")
    whole = _shorten_style(page_style() + own)
    # The hash lets in this one style and no other; there is no source for scripts, so none runs.
    digest = base64.b64encode(hashlib.sha256(whole.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; font-src data:; base-uri 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{whole}</style>
</head>
<body>
<main class="report">
{"".join(parts)}
</main>
</body>
</html>
"""


def _shorten_style(style: str) -> str:
    """The style on one line, without comments: every page has it whole."""
    return " ".join(re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL).split())


def figure_html(drawing: RenderedChart) -> str:
    label = escape(drawing.title)
    return f'<figure role="img" aria-label="{label}">{drawing.inline_svg}</figure>'


def details_html(head: str, body: str, *, opened: bool) -> str:
    return f"<details{' open' if opened else ''}><summary>{head}</summary>{body}</details>"


def table_html(heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """A table of markup; a head says whether its column is text, which stands on the left."""
    sides = [' class="text"' if text else "" for _, text in heads]

    def table_row(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(sides, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}{side}>{cell}</{tag}>' for side, cell in pairs)}</tr>"

    head = table_row("th", [text for text, _ in heads])
    body = "".join(table_row("td", row) for row in rows)
    table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
