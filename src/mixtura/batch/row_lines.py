"""What is written of a row: its line of the output, or of the file of errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from mixtura.batch import openai_form
from mixtura.batch.input_rows import BatchRow
from mixtura.billing.price import Pricer
from mixtura.core.errors import MixturaError
from mixtura.core.types import Charge, Completion, JsonObject, sum_usage
from mixtura.protocols.openai.messages import message_json

LINES_LOOKED_AT = 1000
"""Lines of a file of errors that are read for the most frequent one."""


@dataclass(frozen=True, slots=True)
class RowLines:
    """
    Lines of JSON. *openai*: as OpenAI's batch files have them; *created*: when the batch began, in
    seconds since the epoch; *model*: what answers.
    """

    pricer: Pricer
    openai: bool = False
    model: str = ""
    created: int = 0

    def answer_line(
        self, row: BatchRow, completion: Completion, charges: Sequence[Charge]
    ) -> bytes:
        """The line of a row that *completion* answers; *charges*: of all calls it took."""
        usage, cost = sum_usage(charges), self.find_cost(charges)
        if self.openai:
            line = openai_form.result_line(
                row.custom_id, row.key.hex(), self.model, completion, usage, cost,
                created=self.created,
            )  # fmt: skip
        else:
            line: JsonObject = {
                "custom_id": row.custom_id,
                "answer": completion.text,
                "usage": openai_form.usage_object(usage),
                **openai_form.answer_summary(completion, cost),
            }
            if completion.finish_reason not in ("stop", "tool_calls"):
                line["finish_reason"] = completion.finish_reason  # it was cut off: not the answer
            if completion.message.tool_calls:
                line["tool_calls"] = message_json(completion.message)["tool_calls"]
        return msgspec.json.encode(line) + b"\n"

    def error_line(self, row: BatchRow, error: MixturaError, charges: Sequence[Charge]) -> bytes:
        """The line of a row that has no answer."""
        code = _error_code(error)
        if self.openai:
            line = openai_form.error_line(row.custom_id, row.key.hex(), code, str(error))
        else:
            line = {
                "custom_id": row.custom_id,
                "error": {"code": code, "message": str(error)},
                "usage": openai_form.usage_object(sum_usage(charges)),
                "cost_usd": self.find_cost(charges),
            }
        return msgspec.json.encode(line) + b"\n"

    def find_cost(self, charges: Sequence[Charge]) -> float | None:
        """Dollars; None where a price is unknown."""
        prices = [self.pricer(charge.model, charge.usage) for charge in charges]
        known = [price for price in prices if price is not None]
        # The same sum in whatever order the calls ended.
        return round(math.fsum(known), 12) if len(known) == len(prices) else None


def find_common_failure(lines: Iterable[bytes]) -> str | None:
    """What most of the first lines of a file of errors say; None where there are none."""
    said = Counter(
        message
        for line in islice(lines, LINES_LOOKED_AT)
        if (message := msgspec.json.decode(line).get("error", {}).get("message"))
    )
    return said.most_common(1)[0][0] if said else None


def _error_code(error: MixturaError) -> str:
    """``rate_limited`` of RateLimitedError."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")
