"""What to say where an optional package is missing: a command that installs it here."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^]]*)\])?(?P<versions>[^;]*)")
_EXTRA_MARKER = re.compile(r"""\s*(?:\band\s+)?\bextra\s*==\s*(["'])(?P<extra>[^"']+)\1""")


def missing_package_text(what: str, package: str, extra: str) -> str:
    """A line: *what* needs *package* of our *extra*, and the command that installs it."""
    command = install_command(*(extra_requirements(extra) or (package,)))
    return f"{what} needs {package}, which is not installed. To install it: {command}"


def extra_requirements(extra: str) -> tuple[str, ...]:
    """The requirements of our own *extra*, those of extras that it includes among them.

    They come from the installed metadata, so that it does not matter whether this version was
    published. Empty where there is no metadata, as for sources that were only put on the path.
    """
    try:
        declared = metadata.requires("mixtura") or []
    except metadata.PackageNotFoundError:
        return ()
    return tuple(dict.fromkeys(_requirements_of(extra, declared, ())))


def install_command(*requirements: str) -> str:
    """The shell command that installs *requirements* for the Python that runs this program."""
    return " ".join([install_prefix(), *map(_quote_word, requirements)])


def install_prefix() -> str:
    """The command without requirements: ``PYTHON -m pip install``, or uv's where pip is missing."""
    python = _quote_word(sys.executable)
    if find_spec("pip") is not None:
        return f"{python} -m pip install"
    # As in an environment that uv made.
    return f"uv pip install --python {python}"


def _requirements_of(extra: str, declared: list[str], within: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for line in declared:
        text, _, marker = line.partition(";")
        named = _EXTRA_MARKER.search(marker)
        match = _REQUIREMENT.match(text.strip())
        if named is None or match is None or named["extra"] != extra:
            continue
        if match["name"] == "mixtura":
            inner = [name.strip() for name in (match["extras"] or "").split(",")]
            for name in set(inner) - {extra, *within}:
                found += _requirements_of(name, declared, (*within, extra))
            continue
        condition = _EXTRA_MARKER.sub("", marker).strip()
        found.append(f"{text.strip()}; {condition}" if condition else text.strip())
    return found


def _quote_word(word: str) -> str:
    """*word* as one word of a command: in a POSIX shell, or on Windows in both of its shells."""
    if sys.platform == "win32":
        return word if re.fullmatch(r"[\w.:\\/=-]+", word) else f'"{word}"'
    return shlex.quote(word)
