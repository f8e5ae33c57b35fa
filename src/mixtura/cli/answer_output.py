"""The answer to a question of the command line, to where it belongs: a file, or standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from mixtura.cli.answer_schema import AnswerSchema
from mixtura.cli.attachments import Attachment
from mixtura.cli.common import echo_json
from mixtura.cli.output_file import write_output
from mixtura.cli.run import FinishedRun
from mixtura.core.redaction import process_redactor
from mixtura.core.text import escape_json, strip_invisible
from mixtura.core.types import Request


class PreparedQuestion(NamedTuple):
    """A request, and what is to be done with its answer."""

    request: Request
    attached: Sequence[Attachment]
    continued: str | None
    """The run that it goes on with."""
    schema: AnswerSchema | None
    output: Path | None


def prepared_json(prepared: PreparedQuestion) -> dict[str, Any]:
    """What was attached and asked for, where it was, for ``--json``."""
    row: dict[str, Any] = {}
    if prepared.attached:
        row["attachments"] = [one.to_json() for one in prepared.attached]
    if prepared.continued:
        row["continued"] = prepared.continued
    if prepared.schema:
        row["schema"] = str(prepared.schema.file)
    if prepared.output:
        row["output"] = str(prepared.output)
    return row


def checked_data(schema: AnswerSchema, run: FinishedRun) -> object:
    """The data in the answer; None where there is none that matches."""
    completion = run.trace.completion
    return schema.read_answer(completion.text) if completion and not run.failure else None


def write_answer(run: FinishedRun, prepared: PreparedQuestion, *, note: bool) -> None:
    """The answer that was held back, to where it belongs; *note*: say where that is.

    Raises OutputLostError.
    """
    completion = run.trace.completion
    assert completion is not None
    text = completion.text
    if prepared.schema:
        # Without the fence that a model may have put around it: what comes out is JSON.
        text = json.dumps(prepared.schema.read_answer(text), ensure_ascii=False, indent=2)
    text = process_redactor().redact_text(text.rstrip("\n")) + "\n"
    if prepared.output is None:
        click.echo(strip_invisible(text), nl=False)
        return
    write_output(prepared.output, text, note=note)


def write_json(whole: dict[str, Any], output: Path | None, *, note: bool) -> None:
    """One JSON object to *output*, else to standard output. Raises OutputLostError."""
    if output is None:
        echo_json(whole)
    else:
        text = json.dumps(process_redactor().redact_data(whole), ensure_ascii=False)
        write_output(output, f"{escape_json(text)}\n", note=note)
