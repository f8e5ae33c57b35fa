"""Where a batch goes on: what its journal says of the command, the input and the output."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import NO_ROWS, BatchInput, CheckedInput
from mixtura.batch.ordered_output import BYTES, DIGEST, ROWS
from mixtura.batch.part_file import BatchFiles, begin_with_copy, check_unused
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count

COMMAND, STATE, CREATED, OUTPUT = "command", "state", "created", "output"
"""Settings of a journal: what was asked for, whether it is done, when it began, OUT's name."""
SINCE = "provider_batches_since"
"""The setting that says when the first call was gathered, in seconds of the epoch."""
RUNNING, FINISHED = "running", "finished"

Command = Mapping[str, Any]
"""What decides the output, as a person gave it: the options' names and their values."""


class ResumePoint(NamedTuple):
    """
    So many *rows* of *total* are done, in so many bytes of the output; *digest* is of them.
    *finished*: nothing is left but rows that failed. *notes*: what a person should know.
    """

    total: int
    rows: int = 0
    size: int = 0
    digest: bytes = NO_ROWS
    finished: bool = False
    failed: int = 0
    created: int = 0
    notes: tuple[str, ...] = ()


def command_digest(data: object) -> str:
    """A short name for settings that are too long to be shown."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).hexdigest()


def find_resume_point(
    calls: CallJournal,
    batch_input: BatchInput,
    files: BatchFiles,
    command: Command,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    before_asking: Callable[[], None] = lambda: None,
) -> ResumePoint:
    """
    Check the input, and compare it and the command with what the journal knows. *before_asking* is
    called where rows are left to ask, before anything is written down.

    Raises ConfigError for mistakes in the input, for an output that would be lost, and for a
    journal that is damaged.
    """
    try:
        return _find_point(
            calls, batch_input, files, command, overwrite, retry_failed, before_asking
        )
    except (ValueError, KeyError, AttributeError):  # what we wrote is not what is there
        raise calls.journal.damaged_error() from None


def _find_point(
    calls: CallJournal,
    batch_input: BatchInput,
    files: BatchFiles,
    command: Command,
    overwrite: bool,
    retry_failed: bool,
    before_asking: Callable[[], None],
) -> ResumePoint:
    _check_part(files)
    known = calls.settings
    before: Command | None = json.loads(known[COMMAND]) if COMMAND in known else None
    finished = known.get(STATE) == FINISHED
    changes = describe_changes(before, command) if before is not None else []
    # A command is in the journal once the output may be its own: whether that is finished, or
    # reopened for rows that failed, another command must be told to replace it.
    keeps = files.output.exists() and not overwrite
    if keeps and (before is None or changes):
        raise ConfigError(_output_exists_message(files, changes))
    rows = 0 if before is None or changes else int(known.get(ROWS, "0"))
    checked = batch_input.check(rows)
    notes: list[str] = []
    size = int(known.get(BYTES, "0"))
    other = _describe_other_input(rows, checked, known)
    if changes:
        notes.append(f"The command differs from the one in the journal: {'; '.join(changes)}.")
    elif other:
        rows = 0
        notes.append(f"The input differs from the one in the journal: {other}.")
        if keeps:
            raise ConfigError(_output_exists_message(files, [other]))
    elif rows:
        kept = files.output if finished else files.part
        exactly = kept is files.output
        if not _has_size(kept, size, exactly=exactly):
            rows = 0
            if exactly and keeps:
                raise ConfigError(_output_exists_message(files, [_describe_new_size(files, known)]))
            notes.append(f"{kept} does not match the journal: it is written again.")
    done = finished and rows == checked.rows
    if not done or (retry_failed and calls.journal.read_failed()):
        before_asking()
    if finished or changes or other:  # what is asked from now on has all of --within again
        calls.settings[SINCE] = ""
    return _record_resume_point(
        calls, files, command, checked, rows, notes, done, finished, retry_failed
    )


def _describe_other_input(rows: int, checked: CheckedInput, known: Mapping[str, str]) -> str | None:
    """What shows that *rows* rows of another input were done; None where nothing does."""
    if rows > checked.rows:
        return f"{pluralize_count(rows, 'row')} were done, and now there are {checked.rows:,}"
    if rows and checked.digest.hex() != known.get(DIGEST):
        return "rows that were done have changed"
    return None


def _check_part(files: BatchFiles) -> None:
    try:
        check_unused(files.part)
    except OSError as error:
        raise _part_error(files, error) from None


def _record_resume_point(
    calls: CallJournal,
    files: BatchFiles,
    command: Command,
    checked: CheckedInput,
    rows: int,
    notes: list[str],
    done: bool,
    finished: bool,
    retry_failed: bool,
) -> ResumePoint:
    """Record in the journal that it goes on behind the first *rows*, or begins anew."""
    known = calls.settings
    created = int(known.get(CREATED, "0")) or int(time.time())
    name = files.output.name.encode(errors="replace").decode()
    now = {COMMAND: json.dumps(command), CREATED: str(created), OUTPUT: name}
    now[SINCE] = known.get(SINCE, "")
    float(now[SINCE] or 0)  # raises ValueError where it is none: the journal is damaged
    if not rows:
        if calls.earlier_calls:
            kept_calls = pluralize_count(calls.earlier_calls, "call")
            notes.append(f"{kept_calls} in the journal: answers to the same requests are reused.")
        start = {ROWS: "0", BYTES: "0", DIGEST: NO_ROWS.hex(), STATE: RUNNING}
        calls.journal.forget_rows(now | start)
        return ResumePoint(checked.rows, created=created, notes=tuple(notes))
    failed = len(calls.journal.read_failed())
    if finished and (not done or (retry_failed and failed)):
        _reopen_output(files)
    stays = done and not (retry_failed and failed)
    calls.journal.write(settings=now if stays else now | {STATE: RUNNING})
    return ResumePoint(
        checked.rows,
        rows,
        int(known[BYTES]),
        bytes.fromhex(known[DIGEST]),
        done,
        failed,
        created,
        tuple(notes),
    )


def describe_changes(before: Command, now: Command) -> list[str]:
    """What differs between two commands, an option each."""
    names = dict.fromkeys((*before, *now))
    return [
        f"{name} was {_describe_setting(before.get(name))} and is"
        f" {_describe_setting(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _describe_setting(value: Any) -> str:
    return "not given" if value is None else "given" if value is True else str(value)


def _output_exists_message(files: BatchFiles, changes: Sequence[str]) -> str:
    if changes:
        return (
            f"{files.output} was made by another command or from another input"
            f" ({'; '.join(changes)}): give another file, or --overwrite to replace it (answers to"
            " the same requests are reused)"
        )
    return (
        f"{files.output} exists, but its journal {files.journal} does not: give another file, or"
        " --overwrite to replace it"
    )


def _describe_new_size(files: BatchFiles, known: Mapping[str, str]) -> str:
    other = known.get(OUTPUT, files.output.name)
    gone_on = other != files.output.name
    return f"the journal has gone on with {other}" if gone_on else "it was changed since"


def _has_size(file: Path, size: int, *, exactly: bool) -> bool:
    with suppress(OSError):
        found = file.stat().st_size
        return found == size if exactly else found >= size
    return False


def _reopen_output(files: BatchFiles) -> None:
    """The finished output is what the part file begins with."""
    try:
        begin_with_copy(files.part, files.output)
    except OSError as error:
        raise _part_error(files, error) from None


def _part_error(files: BatchFiles, error: OSError) -> ConfigError:
    return ConfigError(f"{files.part} cannot be written: {error.strerror}")
