"""A JSON schema that an answer has to match: asked for, and checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from mixtura.catalog.user_files import expand_home, read_user_file
from mixtura.core.errors import AnswerMismatchError, ConfigError
from mixtura.core.json_schema import (
    SchemaError,
    check_schema,
    find_mismatches,
    read_json_answer,
    requires_everything,
)
from mixtura.core.text_encoding import decode_text
from mixtura.core.types import Completion, JsonObject

MAX_SCHEMA_BYTES = 10_000_000
MAX_SHOWN = 5
"""Mismatches that a message names."""


class AnswerSchema(NamedTuple):
    """A schema and the file that it is from."""

    file: Path
    schema: JsonObject

    @property
    def response_format(self) -> JsonObject:
        """What asks a model for it, as chat completions has it."""
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self.file.stem)[:64] or "answer"
        # Providers that keep a schema strictly refuse one that leaves anything open.
        strict = {"strict": True} if requires_everything(self.schema) else {}
        return {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": self.schema} | strict,
        }

    def read_answer(self, text: str) -> Any:
        """The data in an answer. Raises AnswerMismatchError, with what does not match and where."""
        try:
            data = read_json_answer(text)
            problems = find_mismatches(self.schema, data)
        except json.JSONDecodeError as error:
            raise AnswerMismatchError(
                f"the answer is not JSON: {error.msg} (line {error.lineno})"
            ) from None
        except (SchemaError, RecursionError, ValueError) as error:
            raise AnswerMismatchError(f"the answer cannot be checked: {error}") from None
        if problems:
            more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
            raise AnswerMismatchError(
                f"the answer does not match {self.file.name}: "
                + "; ".join(problems[:MAX_SHOWN]) + more
            )  # fmt: skip
        return data

    def answer_error(self, answer: Completion) -> AnswerMismatchError | None:
        """Why *answer* does not match; None where it does."""
        try:
            self.read_answer(answer.text)
        except AnswerMismatchError as error:
            return error
        return None


def read_schema(name: str) -> AnswerSchema:
    """The schema in a file. Raises ConfigError for what is none, or could not be checked."""
    file = expand_home(name)
    try:
        schema = json.loads(decode_text(read_user_file(file, MAX_SCHEMA_BYTES)))
        check_schema(schema)
        if not isinstance(schema, dict):
            raise SchemaError('$: a schema is an object, as in {"type": "object"}')
    except ConfigError as error:
        raise ConfigError(f"--schema: {error}") from None
    except json.JSONDecodeError as error:
        place = f"{file}:{error.lineno}"
        raise ConfigError(f"--schema: {place} is not JSON: {error.msg}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--schema: {file} is not text (UTF-8)") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is one, too
        raise ConfigError(f"--schema: {file}: {error}") from None
    return AnswerSchema(file, schema)
