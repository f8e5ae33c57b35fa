"""Check a tag before it is released: python scripts/check_release.py v0.2.0

The version is in pyproject.toml alone, and the tag must say the same. It is not read from the tag:
a download without git's history, a shallow clone and an sdist would have none or a wrong one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_problems(tag: str, root: Path = ROOT) -> list[str]:
    """What keeps *tag* from being released, each in a line; empty where nothing does."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    problems: list[str] = []
    if tag != f"v{version}":
        problems.append(
            f"the tag is {tag} and the version in pyproject.toml {version}:"
            f" tag v{version}, or change the version first"
        )
    changelog = (root / "CHANGELOG.md").read_text()
    if not re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE):
        problems.append(f"CHANGELOG.md has no section '## {version}': rename '## Unreleased' to it")
    return problems


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = find_problems(sys.argv[1])
    sys.exit("\n".join(found) if found else 0)
