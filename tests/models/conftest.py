"""A store for the tests of wrappers that keep something."""

from __future__ import annotations

import pytest

from mixtura.storage.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path):
    found = SqliteStore(tmp_path / "deep" / "mixtura.sqlite")
    yield found
    found.close()
