"""What several tests need: a question, the embedded model, a way to run."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.metadata
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
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")

# Inspect asks which package a task comes from each time it evaluates one. Where Mixtura is
# installed editable, it reads the file lists of all packages for that: half of the evaluation.
importlib.metadata.packages_distributions = functools.cache(
    importlib.metadata.packages_distributions
)

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


FIRST_FOLDERS = {"core", "billing", "config", "prompts", "protocols"}
"""The tests of values, which say soonest that something is broken."""

LONG_FILES = (
    "evals/test_compare.py", "evals/test_humaneval.py", "selection/test_selection.py",
    "evals/test_evals.py", "evals/test_judged.py", "engine/test_upstream_faults.py",
    "server/test_openapi.py", "web/test_page.py", "catalog/test_hub.py", "core/test_secrets.py",
    "core/test_quantities.py", "server/test_load.py", "llama/test_local_engine.py",
    "programs/test_sandbox.py", "project/test_clients.py",
)  # fmt: skip
"""The files that take longest, longest first: none of them is left for the end."""


def _start_order(item: pytest.Item) -> tuple[int, int]:
    file = "/".join(item.path.parts[-2:])
    if file in LONG_FILES:
        return 1, LONG_FILES.index(file)
    return (0 if item.path.parent.name in FIRST_FOLDERS else 2), 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    The order of the files; and Inspect leaves event loops and their sockets to the garbage
    collector, which is no test's failure.
    """
    items.sort(key=_start_order)
    ignore = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if INSPECT_FOLDERS.intersection(item.path.parent.parts):
            item.add_marker(ignore)


def pytest_collection_finish() -> None:
    """What the imports made lives as long as the tests do: no collection looks at it again."""
    gc.collect()
    gc.freeze()


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
