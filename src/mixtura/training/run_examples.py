"""Kept runs as examples, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mixtura.core.errors import ConfigError, MalformedError, StoreError
from mixtura.protocols.openai.messages import message_from_json
from mixtura.storage.run_record import iter_leaf_calls, parse_timestamp
from mixtura.storage.runs import RunStore
from mixtura.training.examples import TrainingExample
from mixtura.training.run_preferences import read_people_preferences, read_preferences

DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, MalformedError)
"""What reading a run raises that is not as we wrote it."""
PAGE = 500
"""Runs that are listed at a time."""


def read_run_examples(runs: RunStore, damaged: list[str]) -> Iterator[TrainingExample]:
    """
    Every run that has an answer. The ids of those that cannot be read are added to *damaged*.

    Raises StoreError where there is no store to read.
    """
    for id in reversed(_list_ids(runs)):  # noqa: A001
        try:
            run = runs.get_run(id, compared=False)
        except StoreError:
            damaged.append(id)
            continue
        if run is None or run.get("answer") is None or not run.get("request"):
            continue
        try:
            example = build_run_example(run)
            people = tuple(read_people_preferences(runs, run))
        except (ConfigError, *DAMAGE):
            damaged.append(id)
            continue
        yield replace(example, preferences=(*example.preferences, *people))


def build_run_example(run: Mapping[str, Any]) -> TrainingExample:
    """A run with an answer as an example. Raises ConfigError for one that is damaged."""
    try:
        return _build_example(run)
    except DAMAGE as error:
        raise ConfigError(f"the run {run['id']} is damaged: {error}") from None


def _build_example(run: Mapping[str, Any]) -> TrainingExample:
    messages = tuple(map(message_from_json, run["request"]["messages"]))
    return TrainingExample(
        "run",
        run["id"],
        messages,
        run["answer"],
        run["model"] or "",
        [row["model"] for row in iter_leaf_calls(run["calls"]) if row["completion"]],
        parse_timestamp(run["started"]),
        run["cost_usd"],
        tuple(run["left_out"]),
        run["finish_reason"],
        calls_tools=run["finish_reason"] == "tool_calls",
        preferences=read_preferences(run),
    )


def _list_ids(runs: RunStore) -> list[str]:
    """The ids of all runs, the newest first."""
    ids: dict[str, None] = {}
    last: str | None = None
    while rows := runs.list_runs(PAGE, last):
        known = len(ids)
        ids |= dict.fromkeys(row["id"] for row in rows)
        last = rows[-1]["id"]
        if len(rows) < PAGE or len(ids) == known:  # a damaged store lists the same ones again
            break
    return list(ids)
