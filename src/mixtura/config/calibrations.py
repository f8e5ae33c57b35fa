"""Calibrations as files: one for each mixture, beside the store, with what it was fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from mixtura.catalog.user_files import write_whole
from mixtura.config.plan import MixtureSpec
from mixtura.core.agreement import SupportSource
from mixtura.core.calibration import NOT_CALIBRATED, Calibration, CalibrationCurve
from mixtura.core.errors import ConfigError

MAX_NAME_CHARS = 200
"""Characters of the longest file name: a mixture that is written as one may be longer."""


class CalibratedTeam(NamedTuple):
    """Who answers in a mixture, and how: what a calibration holds for."""

    pattern: str
    layers: tuple[tuple[str, ...], ...]
    aggregator: str | None
    settings: Mapping[str, Any] | None = None
    """The pattern's own, where they are not the usual ones; None where they were not recorded."""

    def is_same(self, other: CalibratedTeam) -> bool:
        """Whether it answers as *other* does, as far as is recorded of both."""
        known = self.settings is not None and other.settings is not None
        return self[:3] == other[:3] and (not known or self.settings == other.settings)


def team_of(plan: MixtureSpec) -> CalibratedTeam:
    """The team that *plan* describes."""
    layers = tuple(tuple(s.model for s in row for _ in range(s.samples)) for row in plan.layers)
    last = plan.aggregator if plan.has_final_model else None
    return CalibratedTeam(plan.pattern.kind, layers, last, describe_settings(plan))


def describe_settings(plan: MixtureSpec) -> dict[str, Any]:
    """The settings of the pattern of *plan* that are not the usual ones, as they come from JSON."""
    settings = plan.pattern.settings
    own: dict[str, Any] = {}
    for one in msgspec.structs.fields(settings):
        value = getattr(settings, one.name)
        made = one.default_factory
        usual = one.default if made is msgspec.NODEFAULT else made()
        if value != usual:  # with no default, whatever it is
            own[one.name] = value
    return msgspec.json.decode(msgspec.json.encode(own, enc_hook=str), type=dict[str, Any])


class CalibrationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a calibration's file says: of which mixture, of which members, on which answers."""

    mixture: str
    pattern: str
    layers: tuple[tuple[str, ...], ...]
    aggregator: str | None
    date: str
    logs: tuple[str, ...]
    curves: dict[SupportSource, CalibrationCurve]
    settings: dict[str, Any] | None = None

    def matches_plan(self, plan: MixtureSpec) -> bool:
        """Whether it was fitted on answers of the members and settings that *plan* has."""
        team = CalibratedTeam(self.pattern, self.layers, self.aggregator, self.settings)
        return team.is_same(team_of(plan))


def calibration_path(folder: Path, mixture: str) -> Path:
    """The file of a mixture's calibration. Raises ConfigError for a name that is too long."""
    if not _is_nameable(mixture):
        raise ConfigError(
            f"{mixture[:40]}…: only a mixture with a name can be calibrated: write it into the"
            " configuration"
        )
    return folder / f"{quote(mixture, safe='')}.json"


def _is_nameable(mixture: str) -> bool:
    return len(quote(mixture, safe="")) <= MAX_NAME_CHARS


def write_calibration(folder: Path, found: CalibrationFile) -> Path:
    """Write it in place of an older one; the file. Raises OSError, ConfigError for its name."""
    path = calibration_path(folder, found.mixture)
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(found), indent=2)
    write_whole(path, text + b"\n")  # a server may be reading it
    return path


def read_calibration(path: Path) -> CalibrationFile | None:
    """What a file says; None where there is none. Raises ConfigError for one that is damaged."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CalibrationFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"the calibration {path} cannot be read ({problem}): delete it, or fit it again with"
            " `mixtura calibrate`"
        ) from None
    if any(curve.method == "isotonic" and not curve.points for curve in found.curves.values()):
        raise ConfigError(f"the calibration {path} has a curve without points: fit it again")
    return found


def find_calibration(folder: Path, plan: MixtureSpec) -> Calibration:
    """
    The calibration of *plan*; one that knows nothing where none was fitted on answers of these
    members with these settings. Raises ConfigError for a damaged file.
    """
    if not _is_nameable(plan.name):
        return NOT_CALIBRATED
    found = read_calibration(calibration_path(folder, plan.name))
    return Calibration(found.curves) if found and found.matches_plan(plan) else NOT_CALIBRATED


def missing_calibration_reason(folder: Path, plan: MixtureSpec) -> str:
    """Why answers of *plan* have no confidence, where its pattern knows their support."""
    if not _is_nameable(plan.name):
        return "only a mixture with a name can be calibrated"
    found = read_calibration(calibration_path(folder, plan.name))
    if found is not None and not found.matches_plan(plan):
        return f"the calibration of {plan.name} was made for other members or settings"
    return f"{plan.name} is not calibrated: `mixtura calibrate`"


def iterate_calibrations(folder: Path) -> Iterator[CalibrationFile]:
    """All that are kept, by name. Raises ConfigError for a damaged file."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if (found := read_calibration(path)) is not None:
            yield found
