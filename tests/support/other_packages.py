"""Packages of other people, as an installer leaves them in a folder: modules and entry points."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def docs_block(name: str, word: str, language: str = "python") -> str:
    """The block of a page that has *word* in it; *name* begins in ``docs``."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = (one for one in found if word in one)
    return block


def install_package(folder: Path, module: str, code: str, group: str, **points: str) -> Path:
    """A package of one *module* with entry points of *group*; its folder goes on the path."""
    rows = "\n".join(f"{name} = {value}" for name, value in points.items())
    return install_modules(folder, module, {module: code}, f"[{group}]\n{rows}\n")


def install_modules(folder: Path, name: str, modules: Mapping[str, str], points: str) -> Path:
    """A package of several modules; *points*: its entry points, as a file has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    title = name.replace("_", "-")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(points)
    return folder


def program(folder: Path, site: Path, *words: str, **environ: str) -> Any:
    """`mixtura` with *words* in *folder*, beside the packages in *site*; it has ended."""
    keep = {k: v for k, v in os.environ.items() if not k.upper().endswith("_KEY")}
    env = keep | {
        "PYTHONPATH": str(site), "XDG_STATE_HOME": str(folder / "state"), "NO_PROXY": "*",
        "OLLAMA_HOST": "127.0.0.1:9", "XDG_CONFIG_HOME": str(folder / "config"), "COLUMNS": "100",
        **environ,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "mixtura", *words], cwd=folder, env=env, text=True,
        capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
