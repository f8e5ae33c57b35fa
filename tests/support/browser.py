"""The browser for the page's tests: found, or installed if that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome",
    "google-chrome-stable",
)  # fmt: skip
"""The first one is the same browser without its windows: the tests take half of the time."""
MISSING = (
    "the page's tests need Chromium: `apt-get install chromium`, or"
    " `.venv/bin/python -m playwright install --with-deps chromium`,"
    " or the path of one in MIXTURA_CHROMIUM"
)
INSTALL_SECONDS = 300


def find_browser(own: str) -> Path | None:
    """The program that MIXTURA_CHROMIUM names, one on the PATH, or *own*: playwright's."""
    here = next(filter(None, map(shutil.which, NAMES)), own)
    found = Path(os.environ.get("MIXTURA_CHROMIUM") or here)
    return found if found.exists() else None


def install_browser() -> None:
    """Let playwright install one, unless there is one. Says what comes of it, and never fails."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if find_browser(own) or os.environ.get("MIXTURA_CHROMIUM"):
        return
    print("Installing a browser for the page's tests (once) ...", flush=True)
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS, check=False)
        succeeded = done.returncode == 0
    except subprocess.TimeoutExpired:
        succeeded = False
    if not succeeded:
        print(f"It could not be downloaded. Its tests are skipped: {MISSING}", flush=True)


if __name__ == "__main__":
    install_browser()
