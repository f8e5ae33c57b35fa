"""What several tests need: a question, the embedded model, a way to run."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from mixtura.catalog import downloads
from mixtura.config.paths import models_folder
from mixtura.config.plan import EMBEDDED_MODEL
from tests.support.stores import postgres, stores  # noqa: F401 - fixtures of any test

T = TypeVar("T")

# Without deadlines, so that a busy machine is no failure. For many more examples:
# pytest --hypothesis-profile thorough
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background, a shell has it ignored, and so would every process that a test
    # starts and interrupts: what is caught here is theirs to catch.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(coroutine: Coroutine[None, None, T]) -> T:
    """Run it in a loop of its own; a task that it leaves behind is a failure."""

    async def alone() -> T:
        try:
            return await coroutine
        finally:
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left running: {left}"

    return asyncio.run(alone())


INSPECT_FOLDERS = {"evals", "reports", "selection"}
"""Whose tests run in a process with Inspect (``INSPECT`` in the Makefile)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Inspect leaves event loops and their sockets to the garbage collector: no test's failure."""
    ignore = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if INSPECT_FOLDERS.intersection(item.path.parent.parts):
            item.add_marker(ignore)


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage():
    """
    What a module leaves to the garbage collector is collected at its end: a leak is that module's
    failure, not a later one's.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded model's file; `make test` brings it."""
    return downloads.download_model(EMBEDDED_MODEL, models_folder(os.environ))
