"""A fault-injecting provider on loopback, for tests: the server, its dialects, its faults."""

from tests.support.upstream.dialects import CANARY, VOICES, Tally, counted, pieces
from tests.support.upstream.server import (
    LeftError,
    Play,
    Record,
    Script,
    Upstream,
    Wire,
    drawn,
    honest,
    running,
    seeded,
    upstream_fixture,
)

__all__ = [
    "CANARY",
    "VOICES",
    "LeftError",
    "Play",
    "Record",
    "Script",
    "Tally",
    "Upstream",
    "Wire",
    "counted",
    "drawn",
    "honest",
    "pieces",
    "running",
    "seeded",
    "upstream_fixture",
]
