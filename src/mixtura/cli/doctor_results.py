"""What `mixtura doctor` finds: the structs that ``--json`` prints."""

from __future__ import annotations

import msgspec

from mixtura.cli.environment import VariableStatus
from mixtura.cli.telemetry_check import TelemetryCheck


class EndpointCheck(msgspec.Struct):
    """An endpoint that was asked for its list."""

    name: str
    address: str
    answers: bool
    models: list[str] | None = None
    """What it lists; None where it gives no list."""
    seconds: float | None = None
    error: str | None = None
    usable: bool = True
    """False where a key for it is set here, and it is down or refuses that key."""


class ModelCheck(msgspec.Struct):
    """A model that was asked for a word."""

    model: str
    works: bool
    first_token: float | None = None
    seconds: float | None = None
    error: str | None = None


class CommandCheck(msgspec.Struct):
    """A command-line tool that is on the PATH and can answer as a model."""

    name: str
    program: str
    path: str
    version: str | None
    logged_in: bool | None
    """None where that cannot be told without asking it."""
    log_in: str | None
    """How one logs in; None where nobody has to."""


class DoctorReport(msgspec.Struct):
    """What ``--json`` prints."""

    ok: bool
    config: str | None
    keys: dict[str, bool]
    endpoints: list[EndpointCheck]
    calls: list[ModelCheck]
    local: list[str]
    commands: list[CommandCheck]
    environment: list[VariableStatus]
    telemetry: TelemetryCheck
    default: str = ""
    """What answers where nothing is named and configured, and why."""
    warnings: list[str] = []
    """Of the mixtures of the user's own file: what the rules of thumb advise against."""
