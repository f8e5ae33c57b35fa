"""What every test of selections and tunings has: folders of its own, and no event loop left."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    yield
    # Inspect leaves its loop open.
    with suppress(RuntimeError):
        asyncio.get_event_loop().close()
    asyncio.set_event_loop(None)
