"""Packages of other people, as an installer leaves them in a folder: modules and entry points."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def docs_block(name: str, word: str) -> str:
    """The Python block of a page of the docs that has *word* in it."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = (one for one in found if word in one)
    return block


def install_package(folder: Path, module: str, code: str, group: str, **points: str) -> Path:
    """A package of one *module* with entry points of *group*; its folder goes on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    name = module.replace("_", "-")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    rows = "\n".join(f"{name} = {value}" for name, value in points.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{rows}\n")
    return folder
