"""A store for the tests of wrappers that keep something."""

from __future__ import annotations

import pytest

from mixtura.storage.sqlite import Store


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "deep" / "mixtura.sqlite")
    yield found
    found.close()
