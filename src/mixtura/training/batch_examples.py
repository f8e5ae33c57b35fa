"""A finished batch as examples: its output's answers, beside the rows of its input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from mixtura.batch.input_rows import BatchInput
from mixtura.batch.ordered_output import DIGEST, ROWS
from mixtura.batch.prompt_form import ImageReader, PromptForm
from mixtura.batch.records import Source, find_source
from mixtura.batch.resume import COMMAND, CREATED, FINISHED, STATE
from mixtura.core.errors import ConfigError
from mixtura.core.json_text import describe_decode_error
from mixtura.core.text import to_one_line
from mixtura.core.types import Sampling
from mixtura.storage.batch_journal import BatchJournal
from mixtura.training.examples import TrainingExample

STANDARD_INPUT = "-"
DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)
"""What reading something raises that is not as we wrote it."""


@dataclass(frozen=True, slots=True)
class FinishedBatch:
    """
    The files of a batch: its *output*, its *journal*, and where its input lies now, None for where
    it was.
    """

    output: Path
    journal: Path
    source: Path | None = None

    def read_examples(
        self, make_reader: Callable[[Source], ImageReader]
    ) -> Iterator[TrainingExample]:
        """
        Every answer, in the order of the input; *make_reader* makes what reads its pictures.

        Raises ConfigError where a file is not there or not the one that the batch was made of.
        """
        settings, models = self._read_journal()
        try:
            command: Mapping[str, Any] = json.loads(settings[COMMAND])
            batch_input = self._build_input(command, settings, make_reader)
            count, mixture = int(settings[ROWS]), str(command["-m"])
            began = datetime.fromtimestamp(int(settings[CREATED]), UTC)
        except DAMAGE as error:
            said = f"the journal {to_one_line(self.journal)} is damaged: {type(error).__name__}"
            raise ConfigError(said) from None
        if batch_input.check(count).digest.hex() != settings.get(DIGEST):
            raise ConfigError(
                f"{batch_input.source.shown} has changed since {self._label} was made from it"
            )
        lines = self._read_lines()
        line = next(lines, None)
        for rows in batch_input.rows():
            for row in rows:
                if line is None or line["custom_id"] != row.custom_id:
                    continue  # it has no answer: it stands in the file of errors
                yield TrainingExample(
                    "batch", row.custom_id, row.request.messages,
                    mixture=mixture, models=models, date=began, **self._read_answer(line),
                )  # fmt: skip
                line = next(lines, None)
        if line is not None:
            raise ConfigError(
                f"{self._label} has an answer to {to_one_line(line['custom_id'])}, which is not the"
                " next row of the input"
            )

    @property
    def _label(self) -> str:
        return to_one_line(self.output)

    def _read_journal(self) -> tuple[dict[str, str], list[str]]:
        """The batch's settings, and the models that have answered in it."""
        if not self.output.is_file():
            raise ConfigError(f"there is no file {self._label}: give --batch the OUT of a batch")
        if not self.journal.is_file():
            raise ConfigError(
                f"there is no journal {to_one_line(self.journal)}, which says what {self._label}"
                " was made from: name it with --journal"
            )
        with closing(BatchJournal(self.journal)) as journal:
            settings = journal.read_settings()
            models = [one.model for one in journal.read_spent() if one.kind == "answer"]
        if settings.get(STATE) != FINISHED or COMMAND not in settings:
            raise ConfigError(
                f"the batch of {self._label} is not finished: run its command again first"
            )
        return settings, models

    def _build_input(
        self,
        command: Mapping[str, Any],
        settings: Mapping[str, str],
        make_reader: Callable[[Source], ImageReader],
    ) -> BatchInput:
        name = command["IN"]
        if self.source is None and name == STANDARD_INPUT:
            raise ConfigError(
                f"the input of {self._label} was piped in and is not kept: give a file with the"
                " same rows as --input"
            )
        source = find_source(
            self.source or Path(name).expanduser(), name=str(self.source or name),
            format=command["--format"], split=command["--split"], subset=command["--subset"],
        )  # fmt: skip
        sampling = Sampling(
            command["--temperature"], command["--top-p"], command["--max-tokens"],
            seed=command["--seed"],
        )  # fmt: skip
        form = PromptForm(
            command["--column"], command["--template"], command["--system"],
            command["--image-column"], sampling, make_reader(source),
        )  # fmt: skip
        sample, rows = command["--sample"], int(settings[ROWS])
        return BatchInput(
            source, form, rows, sample, command["--seed"], shares=bool(command["--dedupe"])
        )

    def _read_answer(self, line: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return _answer_fields(line)
        except DAMAGE:
            name = to_one_line(str(line["custom_id"])[:100])
            raise ConfigError(f"{self._label}: the line of {name} is damaged") from None

    def _read_lines(self) -> Iterator[Mapping[str, Any]]:
        with self.output.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    line = msgspec.json.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    said = describe_decode_error(error)
                    raise ConfigError(f"{self._label}:{number}: not JSON: {said}") from None
                if not isinstance(line, dict) or "custom_id" not in line:
                    raise ConfigError(
                        f"{self._label}:{number}: this is not a line of the output of a batch"
                    )
                yield cast(dict[str, Any], line)


def _answer_fields(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of either form says of the answer. Raises what ``DAMAGE`` lists."""
    if "response" not in line:
        answer, own = line["answer"], line
        finish_reason, calls = line.get("finish_reason", "stop"), line.get("tool_calls")
    else:
        body = line["response"]["body"]
        choice, own = body["choices"][0], body["mixtura"]
        answer, finish_reason = choice["message"]["content"] or "", choice["finish_reason"]
        calls = choice["message"].get("tool_calls")
    return {
        "answer": msgspec.convert(answer, str),
        "cost_usd": msgspec.convert(own["cost_usd"], float | None),
        "degraded": msgspec.convert(own["degraded"], tuple[str, ...]),
        "finish_reason": finish_reason,
        "calls_tools": bool(calls),
    }
