"""A run as it is kept: its trace as plain data, how alike its texts are, who said what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

from mixtura.billing.price import Pricer
from mixtura.core import errors
from mixtura.core.agreement import Agreement, Support
from mixtura.core.attached_files import name_attached_files
from mixtura.core.credentials import environment_secrets, header_secrets, is_secret
from mixtura.core.errors import BudgetExceededError, MixturaError, ModelError
from mixtura.core.events import Position
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.core.similarity import (
    ReferenceText,
    cosine_similarity,
    find_sources,
    levenshtein_similarity,
    split_sentences,
    tfidf_vectors,
)
from mixtura.core.types import Charge, Completion, Message, ReplacedItem, Request, Usage
from mixtura.engine.trace import CallTrace, Trace, trace_json
from mixtura.protocols.openai.completion_json import (
    completion_from_json,
    usage_from_json,
    usage_json,
)
from mixtura.protocols.openai.messages import message_from_json
from mixtura.protocols.openai.request import request_json

Record = dict[str, Any]
MAX_QUESTION_CHARS = 2000
"""Letters of a question that lists show; the run has all of it."""
State = Literal["answered", "degraded", "failed", "stopped", "running"]
"""Of a run whose process ended first, what is kept says running, and who reads it unfinished."""
Via = Literal["ask", "chat", "serve", "mcp"]
_RENAMED_ERRORS = {
    "NoRoomError": "CallOverBudgetError",
    "BudgetExhaustedError": "CallOverBudgetError",
    "OutOfTimeError": "DeadlineExceededError",
    "RestingError": "CircuitOpenError",
}
"""Names of errors in records of before, and what they are called now."""


def run_outcome(trace: Trace, error: MixturaError | None) -> tuple[State, str | None]:
    """
    How a run ended, and why where it has no answer: what stops it on purpose (a person, a
    cap) is no failure. *error*: what it raised, None for a run that answered or was left.
    """
    if trace.completion is not None and error is None:
        return ("degraded" if trace.completion.degraded else "answered"), None
    if error is None:
        return "stopped", "interrupted"
    return ("stopped" if isinstance(error, BudgetExceededError) else "failed"), str(error)


def build_run_record(
    trace: Trace,
    pricer: Pricer,
    *,
    id: str,  # noqa: A002
    started: float,
    via: Via,
    state: State,
    error: str | None = None,
    request: Request | None = None,
    model: str | None = None,
    who: str = "",
    more: Mapping[str, Any] | None = None,
) -> Record:
    """
    The recorded run; ``add_text_comparison`` puts in how alike its texts are.

    *started*: seconds since 1970; *state* and *error*: see ``ended``. *request* and *model*
    are for a run that was refused before it began. *who*: whose it is, where there are several.
    *more*: further fields, of whoever began it.
    """
    whole = trace_json(trace, pricer)
    whole["model"] = whole["model"] or trace.model or model
    if whole["request"] is None and request is not None:
        whole["request"] = request_json(request, model or "")
    if whole["request"]:
        whole["request"]["model"] = whole["model"]
    return {
        "id": id,
        "started": format_timestamp(started),
        "via": via,
        "state": state,
        "error": error,
        "who": who,
        **(more or {}),
        **whole,
    }


def build_started_record(
    request: Request,
    pricer: Pricer,
    *,
    id: str,  # noqa: A002
    started: float,
    via: Via,
    model: str,
    who: str = "",
    more: Mapping[str, Any] | None = None,
) -> Record:
    """What is recorded of a run when it begins: what was asked, not the conversation before it."""
    last = next((m for m in reversed(request.messages) if m.role == "user"), None)
    asked = Message("user", last.text[:MAX_QUESTION_CHARS]) if last else None
    nothing = Trace(Request((asked,)) if asked else None, (), None, 0.0, model)
    return build_run_record(
        nothing, pricer, id=id, started=started, via=via, state="running", who=who, more=more
    )


def format_timestamp(moment: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_timestamp(text: str) -> datetime:
    """What ``format_timestamp`` wrote."""
    return datetime.fromisoformat(text)


# ---- where the proposals agree


def recorded_proposals(run: Mapping[str, Any]) -> list[Completion]:
    """
    The proposals of a recorded run that can be compared: those of its last layer with two or
    more; without such a layer, what there is.
    """
    layers: dict[int, list[Completion]] = {}
    for row in run["calls"]:
        if row["role"] == "proposer" and row["completion"]:
            whole = replace(completion_from_json(row["completion"]), model=row["model"])
            layers.setdefault(row["layer"], []).append(whole)
    several = [layer for layer, rows in layers.items() if len(rows) > 1]
    last = max(several or layers, default=None)
    return [] if last is None else layers[last]


def recorded_drafts(run: Mapping[str, Any]) -> dict[Position, Completion]:
    """Every proposal of a recorded run, by its position; of several at one seat the last."""
    return {
        Position(row["layer"], row["index"], "proposer"): replace(
            completion_from_json(row["completion"]), model=row["model"]
        )
        for row in run["calls"]
        if row["role"] == "proposer" and row["completion"]
    }


def with_agreement(run: Record, report: Trace, pricer: Pricer) -> Record:
    """The recorded run with a report that was made afterwards: its call, its price, its result."""
    made = trace_json(report, pricer)
    spent, more = run["cost_usd"], made["cost_usd"]
    layer = max((row["layer"] for row in run["calls"]), default=0) + 1
    agreement = report.completion.agreement if report.completion else None
    return run | {
        "agreement": agreement.to_json() if agreement else None,
        "calls": [*run["calls"], *(row | {"layer": layer} for row in made["calls"])],
        "cost_usd": None if spent is None or more is None else spent + more,
        "usage": usage_json(usage_from_json(run["usage"]) + report.usage),
        "usage_by_model": _add_usage(run["usage_by_model"], made["usage_by_model"]),
    }


def _add_usage(before: Mapping[str, Record], more: Mapping[str, Record]) -> dict[str, Record]:
    rows = dict(before)
    for model, row in more.items():
        if (known := rows.get(model)) is not None:
            costs = (known["cost_usd"], row["cost_usd"])
            usage = usage_json(usage_from_json(known) + usage_from_json(row))
            row = usage | {"cost_usd": None if None in costs else sum(costs)}  # noqa: PLW2901
        rows[model] = row
    return rows


# ---- who said what

MAX_COMPARED_CHARS = 200_000
"""Letters of all the texts of a run that are compared."""


def add_text_comparison(whole: Record) -> Record:
    """
    With how alike every text and the answer are, and where its sentences come from.

    It takes a tenth of a second where there is much text: for whoever looks at a run. Of very
    long texts only the beginnings are compared.
    """
    answer = whole["answer"]
    if answer is None or "sentences" in whole:
        return whole
    rows = [row for row in iter_leaf_calls(whole["calls"]) if row["text"]]
    most = max(MAX_COMPARED_CHARS // (len(rows) + 1), 1000)
    rest = answer[most:]
    answer = answer[:most]
    against, *others = tfidf_vectors([answer, *(row["text"][:most] for row in rows)])
    for row, other in zip(rows, others, strict=True):
        row["similarity"] = {
            "levenshtein": round(levenshtein_similarity(answer, row["text"][:most]), 4),
            "tfidf": round(min(cosine_similarity(against, other), 1.0), 4),
        }
    last = last_layer_proposals(whole)
    there = [i for i, row in enumerate(last) if row["completion"]]
    known = [ReferenceText(last[i]["text"][:most]) for i in there]
    whole["sentences"] = [
        {
            "text": sentence,
            "from": [
                {"call": there[source.text], "score": source.score}
                for source in find_sources(sentence, known)
            ],
        }
        for sentence in split_sentences(answer)
    ]
    if rest:
        whole["sentences"].append({"text": rest, "from": []})
    return whole


def last_layer_proposals(run: Mapping[str, Any]) -> list[Record]:
    """The calls of the last proposer layer: what the numbers in ``sentences`` count."""
    calls = [row for row in run["calls"] if row["role"] == "proposer"]
    last = max((row["layer"] for row in calls), default=0)
    return [row for row in calls if row["layer"] == last]


def iter_leaf_calls(rows: Sequence[Record]) -> Iterator[Record]:
    """Every call to a model that is not itself a mixture."""
    for row in rows:
        if row.get("calls"):
            yield from iter_leaf_calls(row["calls"])
        else:
            yield row


def without_replaced_items(run: Mapping[str, Any]) -> Record:
    """The run without the table of what some members were not shown: it leaves no machine."""

    def strip(rows: Iterable[Record]) -> list[Record]:
        kept = [{key: row[key] for key in row if key != "replaced"} for row in rows]
        return [row | ({"calls": strip(row["calls"])} if "calls" in row else {}) for row in kept]

    return {**run, "calls": strip(run["calls"])}


def last_user_question(run: Mapping[str, Any]) -> str:
    """The last thing that a person said in it; attached files by their names."""
    messages: list[Record] = run["request"]["messages"] if run["request"] else []
    for message in reversed(messages):
        if message["role"] == "user":
            return name_attached_files(message_from_json(message).text)
    return ""


# ---- what is not kept

_BASE64 = "[A-Za-z0-9+/_=-]"
_DATA_URL = re.compile(rf"(data:[\w.+-]+/[\w.+-]+(?:;[\w.=+-]+)*;base64,)({_BASE64}{{64,}})")
_RAW = re.compile(rf"{_BASE64}{{256,}}")


def collect_secret_values(
    environ: Mapping[str, str], variables: Iterable[str], headers: Iterable[Mapping[str, str]]
) -> set[str]:
    """The secrets in *environ*, under known names or names that keys have, and in *headers*."""
    found = environment_secrets(environ, variables)
    for table in headers:
        found |= header_secrets(table)
    return set(filter(is_secret, map(str.strip, found)))


def redact_record(data: Any, redactor: Redactor = NO_SECRETS) -> Any:
    """The same data without a secret, and with a stub for what is not text."""
    if isinstance(data, str):
        return _redact_text(data, redactor)
    if isinstance(data, list | tuple):
        return [redact_record(value, redactor) for value in cast("Sequence[Any]", data)]
    if not isinstance(data, dict):
        return data
    rows = cast("Record", data).items()
    row = {redactor.redact_text(key): redact_record(value, redactor) for key, value in rows}
    for key in row.keys() & {"data", "file_data"}:  # of a sound, a document
        if isinstance(row[key], str) and _RAW.fullmatch(row[key]):
            row[key] = _size_placeholder(row[key])
    if isinstance(row.get("pieces"), list):  # no secret in one, but in several
        whole = "".join(row["pieces"])
        safe = redactor.redact_text(whole)
        row["pieces"] = row["pieces"] if safe == whole else [safe]
    return row


def _redact_text(text: str, redactor: Redactor) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a character cannot be written
    if ";base64," in text:
        text = _DATA_URL.sub(lambda found: found[1] + _size_placeholder(found[2]), text)
    return redactor.redact_text(text)


def _size_placeholder(data: str) -> str:
    return f"[{len(data) * 3 // 4:,} bytes, not kept]"


# ---- and back


def restore_trace(run: Mapping[str, Any]) -> tuple[Trace, Pricer]:
    """A recorded run as a trace, and a pricer that says what it cost when it ran."""
    prices: dict[tuple[str, Usage], float | None] = {}
    calls = tuple(_restore_call(row, prices) for row in run["calls"])
    usage = usage_from_json(run["usage"])
    prices["", usage] = run["cost_usd"]
    completion = None
    if run["answer"] is not None:
        completion = Completion(
            Message("assistant", run["answer"]),
            run["model"] or "",
            run["finish_reason"],
            (Charge("", usage),),
            degraded=tuple(run["left_out"]),
            support=_restore_support(run.get("support")),
            confidence=run.get("confidence"),
            agreement=restore_agreement(run.get("agreement")),
        )
    trace = Trace(
        restore_request(run["request"]), calls, completion, run["seconds"], run["model"] or ""
    )
    return trace, lambda model, usage: prices.get((model, usage))


def _restore_support(data: Mapping[str, Any] | None) -> Support | None:
    return Support(data["source"], data["value"]) if data else None


def restore_agreement(data: Mapping[str, Any] | None) -> Agreement | None:
    """A recorded agreement; None in a run that has none."""
    return Agreement(data["number"], data["report"], data["reason"]) if data else None


def _restore_call(row: Record, prices: dict[tuple[str, Usage], float | None]) -> CallTrace:
    usage = usage_from_json(row["usage"])
    prices[row["model"], usage] = row["cost_usd"]
    begun, first, lasted = row["started_seconds"], row["first_token_seconds"], row["seconds"]
    return CallTrace(
        Position(row["layer"], row["index"], row["role"]),
        row["model"],
        restore_request(row["request"]) or Request(()),
        begun,
        None if first is None else begun + first,
        None if lasted is None else begun + lasted,
        row["pieces"] or [row["text"]],
        completion_from_json(row["completion"]) if row["completion"] else None,
        _restore_error(row["error"], row["error_type"]),
        row["restarts"],
        row["notices"],
        [_restore_call(inner, prices) for inner in row.get("calls", ())],
        (Charge(row["model"], usage),) if usage.total_tokens else (),
        replaced=tuple(ReplacedItem(**item) for item in row.get("replaced", ())),
    )


def restore_request(data: Mapping[str, Any] | None) -> Request | None:
    """The conversation of a recorded request; None where it was not recorded."""
    return Request(tuple(map(message_from_json, data["messages"]))) if data else None


def _restore_error(text: str | None, kind: str | None) -> MixturaError | None:
    """An error of the same family; what else it carried is not in a record."""
    if text is None:
        return None
    named = getattr(errors, _RENAMED_ERRORS.get(kind or "", kind or ""), None)
    stopped = isinstance(named, type) and issubclass(named, BudgetExceededError)
    return BudgetExceededError(text) if stopped else ModelError(text)
