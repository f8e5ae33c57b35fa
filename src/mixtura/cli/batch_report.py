"""How a batch ended: what is said and written of it, and its exit code."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import click

from mixtura import cli
from mixtura.batch.outcome import BatchOutcome
from mixtura.batch.part_file import BatchFiles
from mixtura.cli.batch_progress import ShowOptions, print_outcome
from mixtura.cli.common import echo_json


class ReportOptions(ShowOptions, Protocol):
    """How it is reported."""

    @property
    def is_temporary(self) -> bool: ...


def _copy_to_stdout(output: Path) -> None:
    with output.open(encoding="utf-8") as file:
        shutil.copyfileobj(file, sys.stdout)


def report_outcome(outcome: BatchOutcome, files: BatchFiles, options: ReportOptions) -> int:
    """Say how it ended, write what goes to standard output, and return the exit code."""
    if options.is_temporary:
        return _report_temporary(outcome, files, options)
    if options.writes_stdout and outcome.ending == "done":
        _copy_to_stdout(files.output)
    return _report(outcome, options)


def _report_temporary(outcome: BatchOutcome, files: BatchFiles, options: ReportOptions) -> int:
    """Write all of it to standard output, and the rows that failed to standard error."""
    # What there is of a batch that came to no end: it was paid for, and nothing else is left.
    for path in (files.output, files.part):
        if path.exists():
            _copy_to_stdout(path)
            break
    if files.errors.exists():
        click.echo(files.errors.read_bytes(), err=True, nl=False)
    return _report(replace(outcome, output=None, errors=None, journal=None), options)


def _report(outcome: BatchOutcome, options: ReportOptions) -> int:
    """Say how it ended, and return the exit code."""
    if options.as_json:
        text = outcome.to_json()
        if options.writes_stdout:
            click.echo(json.dumps(text), err=True)
        else:
            echo_json(text)
    else:
        print_outcome(outcome, quiet=options.quiet)
    if outcome.ending == "interrupted":
        return cli.INTERRUPTED
    if outcome.ending == "capped":
        return cli.CAPPED
    return cli.NO_ANSWER if outcome.failed else cli.ANSWERED
