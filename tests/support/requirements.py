"""What a test needs of the machine: without it the test is skipped, or fails where it must run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def leave_out(need: str, why: str) -> NoReturn:
    """Skip the test, and say *why*; fail it where MIXTURA_REQUIRE names *need*, as in CI."""
    if need in os.environ.get("MIXTURA_REQUIRE", "").split(","):
        pytest.fail(why)
    pytest.skip(why)
