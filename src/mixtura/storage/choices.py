"""What people chose of two answers without knowing whose they are: kept, counted, exported."""

from __future__ import annotations

import zlib
from typing import Any, Literal, NamedTuple, cast

from mixtura.core import large_json
from mixtura.core.wilson_interval import wilson_interval
from mixtura.storage.interfaces import Store
from mixtura.storage.run_record import Record, last_user_question
from mixtura.storage.turns import UNPACK_ERRORS

Preference = Literal["mixture", "model", "tie"]
ExportPart = Literal["labels", "against", "outputs"]
LABELS = {"mixture": "model", "model": "other", "tie": "tie"}
"""A choice in the words of people's labels of an evaluation of the mixture against the model."""
_MEMBER_OPTIONS = ("proposers", "aggregator", "layers")


class Choice(NamedTuple):
    """
    What a person chose of two answers: a run's (*own*), and the *other* one, of the run *beside*
    and the model called *model*.
    """

    beside: str
    model: str
    preferred: Preference
    own: str
    other: str


class ChoiceStore:
    """Choices in *store*. *who*: whose count; None for everyone's. Raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep_choice(self, run: Record, beside: Record, choice: Preference) -> None:
        """Keep what was chosen of a run's answer and the one *beside* it; the last word counts."""
        whole = {
            "question": last_user_question(run),
            "is_first": not run.get("previous") and _count_questions(run) == 1,
            "mixture": run["answer"],
            "model": beside["answer"],
        }
        row = (
            run["id"], beside["id"], run.get("who", ""), self._store.current_time(),
            team_name(run), beside["model"] or "", choice, zlib.compress(large_json.encode(whole)),
        )  # fmt: skip
        with self._store.transaction() as db:
            db.execute("DELETE FROM choices WHERE run = ? AND beside = ?", row[:2])
            db.execute(
                "INSERT INTO choices (run, beside, who, chosen, mixture, model, choice, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def count_choices(self, *, who: str | None = None) -> list[Record]:
        """How often each mixture was preferred to each model, with Wilson's 95 % interval."""
        mine, values = ("", ()) if who is None else (" WHERE who = ?", (who,))
        with self._store.transaction() as db:
            rows = db.fetch_all(
                "SELECT mixture, model, choice, count(*) FROM choices"  # noqa: S608
                f"{mine} GROUP BY mixture, model, choice ORDER BY mixture, model",
                values,
            )
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for mixture, model, choice, count in rows:
            counts.setdefault((mixture, model), {})[choice] = count
        return [_count_entry(*pair, found) for pair, found in counts.items()]

    def read_choices(self, run: str) -> list[Choice]:
        """What was chosen of a run's answer and of those beside it, without damaged ones."""
        with self._store.transaction() as db:
            rows = db.fetch_all(
                "SELECT beside, model, choice, body FROM choices WHERE run = ? ORDER BY beside",
                (run,),
            )
        found: list[Choice] = []
        for beside, model, choice, body in rows:
            try:
                whole: Record = large_json.decode(zlib.decompress(body))
                texts = (whole["mixture"], whole["model"])
            except UNPACK_ERRORS:
                continue
            if choice in LABELS and all(isinstance(one, str) for one in texts):
                found.append(Choice(beside, model, choice, *texts))
        return found

    def export_choices(
        self, mixture: str, model: str, part: ExportPart, *, who: str | None = None
    ) -> list[Record]:
        """
        Rows for `mixtura eval alpaca-eval`: people's *labels*, the model's answers (*against*) or
        the mixture's (*outputs*), in one order. Of each question the last choice; questions that
        go on a conversation are left out, as they say nothing alone, and so are damaged ones.
        """
        mine, values = ("", (mixture, model)) if who is None else (
            " AND who = ?", (mixture, model, who),
        )  # fmt: skip
        with self._store.read_transaction() as db:
            rows = db.fetch_all(
                "SELECT choice, body FROM choices WHERE mixture = ? AND model = ?"  # noqa: S608
                f"{mine} ORDER BY chosen, run",
                values,
            )
        last: dict[str, tuple[str, Record]] = {}
        for choice, body in rows:
            try:
                whole: Record = large_json.decode(zlib.decompress(body))
                texts = (whole["question"], whole["mixture"], whole["model"])
                right = choice in LABELS and all(isinstance(one, str) for one in texts)
                if right and whole["is_first"]:
                    last[whole["question"]] = (choice, whole)
            except UNPACK_ERRORS:  # a damaged one is in none of the parts
                continue
        names = {"against": ("model", model), "outputs": ("mixture", mixture)}
        if part == "labels":
            return [
                {"id": number, "label": LABELS[choice]}
                for number, (choice, _) in enumerate(last.values(), 1)
            ]
        key, author = names[part]
        return [
            {"instruction": question, "output": whole[key], "generator": author}
            for question, (_, whole) in last.items()
        ]


def team_name(run: Record) -> str:
    """Who answered a run, for counting: a changed mixture is another one."""
    asked = run.get("asked")
    changes: Record = asked["mixtura"] if asked else {}
    changed = [f"{key}={_text_or_empty(changes[key])}" for key in _MEMBER_OPTIONS if key in changes]
    return f"{run['model']} ({', '.join(changed)})" if changed else run["model"] or ""


def _text_or_empty(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text_or_empty, cast("list[Any]", value)))
    if isinstance(value, dict):  # a seat with its persona and its sampling
        seat = cast("Record", value)
        times = f"*{seat['samples']}" if seat.get("samples", 1) > 1 else ""
        changed = seat.keys() - {"model", "samples"}
        return f"{seat['model']}{times}{' (changed)' if changed else ''}"
    return str(value)


def _count_questions(run: Record) -> int:
    messages: list[Record] = run["request"]["messages"] if run["request"] else []
    return sum(message["role"] == "user" for message in messages)


def _count_entry(mixture: str, model: str, found: dict[str, int]) -> Record:
    won, lost = found.get("mixture", 0), found.get("model", 0)
    bounds = wilson_interval(won / (won + lost), won + lost) if won + lost else (None, None)
    return {
        "mixture": mixture,
        "model": model,
        "won": won,
        "lost": lost,
        "tied": found.get("tie", 0),
        "share": won / (won + lost) if won + lost else None,
        "low": bounds[0],
        "high": bounds[1],
    }
