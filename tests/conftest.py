"""What several tests need: a question, the embedded model, a way to run."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from mixtura.catalog import downloads
from mixtura.config.paths import models_folder
from mixtura.config.plan import EMBEDDED_MODEL

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


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage(request: pytest.FixtureRequest):
    """
    What a module leaves to the garbage collector is collected at its end: a leak is that module's
    failure, not a later one's. In modules that ignore warnings, libraries are allowed theirs.
    """
    yield
    marks = getattr(request.module, "pytestmark", None)
    with warnings.catch_warnings():
        if getattr(marks, "name", None) == "filterwarnings":
            warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded model's file; `make test` brings it."""
    return downloads.download_model(EMBEDDED_MODEL, models_folder(os.environ))
