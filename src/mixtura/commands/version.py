"""What version of a program is installed, as it says itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from mixtura.commands.process import start_command
from mixtura.core.errors import MixturaError
from mixtura.core.text import to_one_line

SECONDS = 15.0
_MOST = 100_000
_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+-]*")


async def read_version(path: str, environ: Mapping[str, str]) -> str | None:
    """The version that ``PATH --version`` prints; None where it prints none in time."""
    written = bytearray()
    try:
        async with (
            asyncio.timeout(SECONDS),
            start_command([path, "--version"], (), environ, _MOST) as process,
        ):
            async for piece in process.read_output(b""):
                written += piece
    except (TimeoutError, MixturaError):
        return None
    found = _VERSION.search(to_one_line(written.decode("utf-8", "replace")))
    return found[0] if found and process.exit_code == 0 else None
