"""The page's files, the policy they are served under, and a run as one file of HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from mixtura.core import large_json
from mixtura.storage.run_record import without_replaced_items

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
    "woff2": "font/woff2",
}

_VENDORED_MODULES = {
    "preact": "vendor/preact.mjs",
    "preact/hooks": "vendor/preact-hooks.mjs",
    "htm": "vendor/htm.mjs",
    "@preact/signals-core": "vendor/signals-core.mjs",
    "@preact/signals": "vendor/preact-signals.mjs",
    "marked": "vendor/marked.mjs",
    "dompurify": "vendor/dompurify.mjs",
    "temml": "vendor/temml.mjs",
}
"""Modules by the name they are imported by. What one needs stands before it."""

_RUN_MODULES = (
    "language",
    "base",
    "format",
    "run",
    "maths",
    "markdown_extras",
    "code_block",
    "blocks",
    "markdown",
    "sentence_sources",
    "preview",
    "cards",
    "timeline",
    "agreement",
    "answer",
    "call_details",
    "attachments",
    "question",
    "exported_run",
)
"""The modules of an exported run, in the order they need each other, behind the files of words."""


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_IMPORT_MAP = json.dumps(
    {"imports": {name: f"./{path}" for name, path in _VENDORED_MODULES.items()}}
)

PAGE_CSP = "; ".join(
    (
        "default-src 'none'",
        # The only inline script of the page is its import map, which browsers take from no file.
        f"script-src 'self' {_csp_hash(_IMPORT_MAP)}",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        # Text of models becomes HTML in DOMPurify or not at all: the browser itself sees to it.
        # The second makes the address of the page's own worker, and no other.
        "trusted-types dompurify mixtura-worker",
    )
)
"""What a browser lets the page do: nothing that its own files do not do."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it goes over the wire."""

    body: bytes
    content_type: str
    etag: str


@cache
def page_assets() -> Mapping[str, Asset]:
    """Every file of the page by its path; ``index.html`` is the page itself."""
    assets = {name: _make_asset(name, body) for name, body in _find_files(files("mixtura.web"), "")}
    return MappingProxyType(assets)


def _find_files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("__"):
            yield from _find_files(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _CONTENT_TYPES:
            yield prefix + entry.name, entry.read_bytes()


def _make_asset(name: str, body: bytes) -> Asset:
    if name == "index.html":
        # Put in here, so that the text and its hash in the policy cannot differ.
        body = body.replace(b"{{importmap}}", _IMPORT_MAP.encode())
    elif name.endswith(".mjs") and not name.startswith("vendor/"):
        # Lines that are nothing but a comment are for whoever reads the source.
        body = re.sub(rb"(?m)^[ \t]*//.*\n", b"", body)
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return Asset(body, _CONTENT_TYPES[name.rpartition(".")[2]], etag)


# ---- one run, one file


def export_run(run: Mapping[str, Any]) -> str:
    """A recorded run as one file of HTML that needs nothing else: what the page shows, to read.

    Its own policy forbids it every request, and every script but the one that it brings.
    """
    # The file may be given to anyone: what members were not shown is not in it.
    data = _escape_html_json(large_json.encode(without_replaced_items(run)).decode())
    # Formulas take 340 kB of 600: a run without any does without them.
    maths = _may_have_maths(data)
    script, look = _bundle_script(with_maths=maths), page_style(with_maths=maths)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_csp_hash(script)}",
            f"style-src {_csp_hash(look)}",
            "img-src data:",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types dompurify",
        )
    )
    return f"""<!doctype html>
<html lang="en" data-frozen>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>A run of Mixtura</title>
<style>{look}</style>
</head>
<body>
<div id="app"></div>
<noscript>
<p>This file shows its run with a script of its own. It makes no request.</p>
<p lang="de">Diese Datei zeigt ihren Lauf mit einem eigenen Skript. Sie ruft nichts ab.</p>
</noscript>
<script type="application/json" id="run">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _escape_html_json(data: str) -> str:
    """JSON in which no HTML can begin: the same data, whoever wrote its texts."""
    for sign in "<>&\u2028\u2029":  # the last two end a line of a script
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    return data


def _may_have_maths(data: str) -> bool:
    # A backslash of the text is two in JSON.
    return "$" in data or "\\\\(" in data or "\\\\[" in data


def _asset_text(name: str) -> str:
    return page_assets()[name].body.decode()


@cache
def page_style(*, with_maths: bool = False) -> str:
    """The page's look as one text, its fonts in it; that of formulas where there are some."""
    look = _asset_text("style.css")
    for font in ("geist", "stix-two-math") if with_maths else ("geist",):
        encoded = base64.b64encode(page_assets()[f"vendor/{font}.woff2"].body).decode()
        look = look.replace(f"./vendor/{font}.woff2", f"data:font/woff2;base64,{encoded}")
    return look if with_maths else _MATHS_FONT.sub("", look)


_MATHS_FONT = re.compile(r"@font-face \{\s*font-family: \"Maths\";.*?\}\s*", re.DOTALL)


@cache
def _bundle_script(*, with_maths: bool) -> str:
    """Every module that an exported run needs as one script, each in a function of its own."""
    names = {
        name: path for name, path in _VENDORED_MODULES.items() if with_maths or name != "temml"
    }
    words = [name for name in page_assets() if name.startswith("words/")]
    ours = {f"./{name}": name for name in (*words, *(f"{name}.mjs" for name in _RUN_MODULES))}
    joined = "\n".join(
        _wrap_module(name, _asset_text(path)) for name, path in (names | ours).items()
    )
    code = f'(() => {{\n"use strict";\nconst modules = {{}};\n{joined}\n}})();\n'
    # An element ends at the first thing that looks like its end tag, in a string, too.
    return re.sub(r"<(?=!--|/?script)", r"\\x3C", code, flags=re.IGNORECASE)


_REEXPORT = re.compile(r'export\s*\{([^}]*)\}\s*from\s*"([^"]+)";?')
_IMPORT = re.compile(r'import\s*(?:(\w+)\s+from|\{([^}]*)\}\s*from)\s*"([^"]+)";?')
_DYNAMIC_IMPORT = re.compile(r'import\("([^"]+)"\)')
_EXPORT_LIST = re.compile(r"export\s*\{([^}]*)\};?")
_DEFAULT_EXPORT = re.compile(r"export default ")
_NAMED_EXPORT = re.compile(r"^export ((?:async )?function\*?|const|let|class) (\w+)", re.MULTILINE)


def _wrap_module(name: str, source: str) -> str:
    """A module as an entry of `modules`. Knows the forms that these files have, no others."""
    exports: list[str] = []

    def replace_reexport(match: re.Match[str]) -> str:
        exports.extend(f"{new}: modules[{match[2]!r}].{old}" for old, new in _name_pairs(match[1]))
        return ""

    def replace_import(match: re.Match[str]) -> str:
        if match[1]:
            return f"const {match[1]} = modules[{match[3]!r}].default;"
        bindings = ", ".join(f"{old}: {new}" for old, new in _name_pairs(match[2]))
        return f"const {{{bindings}}} = modules[{match[3]!r}];"

    def replace_export_list(match: re.Match[str]) -> str:
        exports.extend(f"{new}: {old}" for old, new in _name_pairs(match[1]))
        return ""

    def replace_declaration(match: re.Match[str]) -> str:
        exports.append(f"{match[2]}: {match[2]}")
        return f"{match[1]} {match[2]}"

    source = _REEXPORT.sub(replace_reexport, source)
    source = _IMPORT.sub(replace_import, source)
    source = _DYNAMIC_IMPORT.sub(lambda match: f"Promise.resolve(modules[{match[1]!r}])", source)
    source = _EXPORT_LIST.sub(replace_export_list, source)
    source, defaults = _DEFAULT_EXPORT.subn("const default_ = ", source)
    source = _NAMED_EXPORT.sub(replace_declaration, source)
    exports += ["default: default_"] * defaults
    return f"modules[{name!r}] = (() => {{\n{source}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _name_pairs(names: str) -> Iterator[tuple[str, str]]:
    """``a as b, c`` as (a, b), (c, c)."""
    for name in filter(None, (part.strip() for part in names.split(","))):
        old, _, new = name.partition(" as ")
        yield old, new or old
