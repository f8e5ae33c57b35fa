"""Which of a run's proposals was found better than which, and by whom, as the run recorded it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mixtura.core.errors import StoreError
from mixtura.core.types import JsonObject
from mixtura.patterns.best_of import parse_score
from mixtura.protocols.openai.completion_json import completion_from_json
from mixtura.storage.run_record import Record, iter_leaf_calls, last_layer_proposals
from mixtura.storage.runs import RunStore
from mixtura.training.examples import WHOLE, Preference

_CHOICE = re.compile(r"proposal (\d+) of (\d+), by .+: (.+)", re.DOTALL)
_RANKED, _SCORED = "the best for ", re.compile(r"a score of (\S+), the highest")
_CHECKED = re.compile(r"it passes (\d+) of (\d+) checks?, the others ([\d, ]+)")


class _RecordedChoice(NamedTuple):
    """A last step's choice: the position of what was chosen, and the call that chose."""

    position: int
    why: str
    call: Record


def read_preferences(run: Mapping[str, Any]) -> tuple[Preference, ...]:
    """
    The answer before every proposal that a verdict puts behind it: a ranker that names the best, a
    judge that scores each, checks that are run. None where the run recorded no verdict: a vote, or
    a choice of what is closest to the others, says nothing of what is better.
    """
    proposals = _answered_proposals(run)
    choice = _find_choice(run, len(proposals))
    if choice is None or proposals[choice.position]["text"] != run["answer"]:
        return ()
    decisions = _read_decisions(choice, len(proposals))
    return tuple(
        Preference(run["answer"], row["text"], decided_by)
        for position, decided_by in decisions
        if _can_be_rejected(row := proposals[position], run["answer"])
    )


def read_people_preferences(runs: RunStore, run: Mapping[str, Any]) -> Iterator[Preference]:
    """
    What people chose of the run's answer and those beside it, not knowing whose they were: without
    ties, and answers that are not whole or can no longer be read. Raises StoreError.
    """
    for choice in runs.choices.read_choices(run["id"]):
        texts = (choice.own, choice.other)
        equal = choice.own.strip() == choice.other.strip()
        if choice.preferred == "tie" or equal or not all(one.strip() for one in texts):
            continue
        models = [choice.model]
        # It may be deleted by now: its text is kept with the choice.
        try:
            beside = runs.get_run(choice.beside, compared=False)
        except StoreError:
            continue
        if beside is not None:
            if beside["finish_reason"] not in WHOLE:
                continue
            models = [one["model"] for one in iter_leaf_calls(beside["calls"]) if one["completion"]]
        better, worse = texts if choice.preferred == "mixture" else texts[::-1]
        yield Preference(better, worse, _decided_by("person", None), models)


def _can_be_rejected(row: Record, answer: str) -> bool:
    """Whether it is a whole text of its own: equal texts say nothing, half of one too little."""
    whole = row["completion"]["finish_reason"] == "stop"
    return whole and bool(row["text"].strip()) and row["text"].strip() != answer.strip()


def _answered_proposals(run: Mapping[str, Any]) -> list[Record]:
    """The last layer's proposals in the order of its proposers, as the last step had them."""
    there = [row for row in last_layer_proposals(run) if row["completion"]]
    return sorted(there, key=lambda row: row["index"])


def _find_choice(run: Mapping[str, Any], proposals: int) -> _RecordedChoice | None:
    last = [row for row in run["calls"] if row["role"] == "aggregator"]
    for call in last[-1:]:
        for notice in call["notices"]:
            found = _CHOICE.fullmatch(notice)
            # Proposals that came too late were not compared: then nothing is known of them.
            if found and int(found[2]) == proposals and 0 < int(found[1]) <= proposals:
                return _RecordedChoice(int(found[1]) - 1, found[3], call)
    return None


def _read_decisions(choice: _RecordedChoice, proposals: int) -> Iterator[tuple[int, JsonObject]]:
    """The positions that are behind the chosen one, and who says so."""
    others = [i for i in range(proposals) if i != choice.position]
    if choice.why == f"{_RANKED}{choice.call['model']}":
        for i in others:
            yield i, _decided_by("ranker", choice.call["model"])
    elif _SCORED.fullmatch(choice.why):
        scores = _read_scores(choice.call.get("calls", ()), proposals)
        best = scores[choice.position] if scores else None
        for i in others if best is not None else ():
            if (score := scores[i]) is not None and best is not None and score < best:
                yield i, _decided_by("judge", choice.call["model"], best, score)
    elif found := _CHECKED.fullmatch(choice.why):
        passed = [int(one) for one in found[3].split(",")]
        for i, count in zip(others, passed, strict=False):
            if len(passed) == len(others) and count < int(found[1]):
                yield i, _decided_by("checks", None, float(found[1]), float(count))


def _read_scores(calls: Sequence[Record], proposals: int) -> list[float | None]:
    """The judge's score of each proposal; empty where its calls are not one for each."""
    rows = sorted(calls, key=lambda row: row["index"])
    if [row["index"] for row in rows] != list(range(proposals)):
        return []
    return [
        parse_score(completion_from_json(row["completion"])) if row["completion"] else None
        for row in rows
    ]


def _decided_by(
    kind: str, model: str | None, chosen: float | None = None, rejected: float | None = None
) -> JsonObject:
    return {
        "kind": kind, "model": model, "chosen_score": chosen, "rejected_score": rejected,
    }  # fmt: skip
