"""Conversations of recorded runs: listed, found by their words, read, named, deleted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mixtura.core.redaction import Redactor
from mixtura.core.text import collapse_whitespace
from mixtura.storage.interfaces import Store
from mixtura.storage.run_record import Record, format_timestamp
from mixtura.storage.turn_tables import (
    FoundRun,
    RunSummary,
    count_answered,
    find_conversation_id,
    find_runs_without_turn,
    find_turn_place,
    is_listed_before,
    iterate_found_runs,
    load_choices,
    load_summaries,
    load_titles,
    read_turns_from_bodies,
    write_turns,
)
from mixtura.storage.turns import (
    DAMAGED_TEXT,
    UNFINISHED_ERROR,
    TurnPlace,
    fold_words,
    read_turn_view,
)

MAX_TITLE_CHARS = 200


class ConversationStore:
    """
    The conversations of the runs in *store*; what *redactor* knows stands in no title.

    *who*: whose runs count; None for everyone's. Threads may share it. Raises StoreError.
    """

    def __init__(self, store: Store, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor

    def list_conversations(
        self,
        limit: int = 50,
        before: str | None = None,
        query: str | None = None,
        *,
        who: str | None = None,
    ) -> list[Record]:
        """
        Conversations, those with the newest run first. *query*: words that stand, all of them, in
        the question or the answer of one of its runs, or in its title. *before*: the `cursor` of
        the last one that is known already.
        """
        words = fold_words(query or "")
        if words:
            self.complete_turns()
        with self._store.read_transaction() as db:
            found: dict[str, FoundRun] = {}
            for run in iterate_found_runs(db, before, words, who):
                if run.conversation in found or (
                    before is not None and is_listed_before(db, run, before, words, who)
                ):
                    continue
                found[run.conversation] = run
                if len(found) == limit:
                    break
            runs = load_summaries(db, found, who)
            titles = load_titles(db, found)
            dead = db.find_dead_processes({r.owner for r in runs if r.state == "running"})
        rows: dict[str, list[RunSummary]] = {name: [] for name in found}
        for run in runs:
            if run.conversation in rows:  # a damaged name is in no list
                rows[run.conversation].append(run)
        return [
            _list_entry(found[name], members, titles.get(name), dead)
            for name, members in rows.items()
            if members
        ]

    def get_conversation(self, name: str, *, who: str | None = None) -> Record | None:
        """
        The conversation of that id, or of the run of that id, with the views of all its runs in
        the order of their beginnings; None where there is none.
        """
        with self._store.read_transaction() as db:
            conversation = find_conversation_id(db, name)
            runs = load_summaries(db, [conversation], who)
            if not runs:
                return None
            seen = dict(
                db.fetch_all("SELECT run, glance FROM turns WHERE conversation = ?", [conversation])
            )
            titles = load_titles(db, [conversation])
            chosen = load_choices(db, conversation)
            dead = db.find_dead_processes({r.owner for r in runs if r.state == "running"})
            if missing := [run.id for run in runs if run.id not in seen]:
                seen |= {row.run: row.glance for row in read_turns_from_bodies(db, missing)}
        turns = [
            _turn_view_of(run, seen.get(run.id), dead) | chosen.get(run.id, {}) for run in runs
        ]
        main = next((run for run in runs if not run.beside), runs[0])
        return {
            "id": conversation,
            "title": titles.get(conversation) or main.question,
            "renamed": conversation in titles,
            "started": format_timestamp(runs[0].started),
            "cost_usd": _total_cost(runs),
            "turns": turns,
        }

    def place_run(
        self, conversation: str, previous: str, beside: str, *, who: str | None = None
    ) -> TurnPlace:
        """
        Where a run stands that goes on from *previous*, or begins *conversation* anew, or stands
        *beside* another run. What is not there, or someone else's, is as if it was not named.
        """
        with self._store.transaction() as db:
            named = find_turn_place(db, beside or previous, who)
            if named is None:
                if not load_summaries(db, [conversation], who):
                    return TurnPlace()
                place = TurnPlace(conversation)
            elif beside:
                place = TurnPlace(named.conversation, named.previous, beside)
            else:
                place = TurnPlace(named.conversation, previous)
            return place._replace(draw=count_answered(db, place))

    def rename(self, name: str, title: str, *, who: str | None = None) -> bool:
        """Give it a title, or with an empty one its question again; whether there is one."""
        title = self._redactor.redact_text(collapse_whitespace(title, MAX_TITLE_CHARS))
        title = title[:MAX_TITLE_CHARS]
        with self._store.transaction() as db:
            conversation = find_conversation_id(db, name)
            if not load_summaries(db, [conversation], who):
                return False
            db.execute("DELETE FROM titles WHERE conversation = ?", (conversation,))
            if title:
                words = title.casefold().replace("\0", "")
                row = (conversation, title, words)
                db.execute("INSERT INTO titles (conversation, title, words) VALUES (?, ?, ?)", row)
        return True

    def delete_conversation(self, name: str, *, who: str | None = None) -> list[str]:
        """Delete its runs, all of them; their ids."""
        with self._store.transaction(alone="runs") as db:
            conversation = find_conversation_id(db, name)
            ids = [run.id for run in load_summaries(db, [conversation], who)]
            for table, key in (("runs", "id"), ("turns", "run")):
                db.execute_many(f"DELETE FROM {table} WHERE {key} = ?", [(one,) for one in ids])  # noqa: S608
            if ids:
                db.execute("DELETE FROM titles WHERE conversation = ?", (conversation,))
        return ids

    def complete_turns(self) -> None:
        """Write what searches read of runs that an older version has kept."""
        while self._find_runs_without_turn():
            with self._store.transaction(alone="runs") as db:
                rows = list(read_turns_from_bodies(db, find_runs_without_turn(db)))
                if not rows:  # a damaged id: nothing can be written for it
                    return
                write_turns(db, rows)

    def _find_runs_without_turn(self) -> list[str]:
        # Nearly always there is none, and nobody has to wait for that to be seen.
        with self._store.read_transaction() as db:
            return find_runs_without_turn(db)


# ---- what is told


def _total_cost(runs: Iterable[RunSummary]) -> float | None:
    """Dollars of all runs; None where the price of one is unknown."""
    total = 0.0
    for run in runs:
        if run.cost is None:
            return None
        total += run.cost
    return total


def _state_of(run: RunSummary, dead: set[str]) -> str:
    return "unfinished" if run.state == "running" and run.owner in dead else run.state


def _list_entry(
    found: FoundRun, runs: list[RunSummary], title: str | None, dead: set[str]
) -> Record:
    turns = [run for run in runs if not run.beside] or runs
    last = turns[-1]
    return {
        "id": found.conversation,
        "title": title or turns[0].question,
        "run": found.beside or found.id,
        "cursor": found.id,
        "started": format_timestamp(turns[0].started),
        "updated": format_timestamp(last.started),
        "turns": len(turns),
        "state": _state_of(last, dead),
        "model": last.model,
        "cost_usd": _total_cost(runs),
    }


def _turn_view_of(run: RunSummary, packed: Any, dead: set[str]) -> Record:
    seen = read_turn_view(packed, run.id) if packed is not None else None
    if seen is None:
        return {"id": run.id, "state": "damaged", "error": DAMAGED_TEXT, "previous": None,
                "beside": run.beside or None, "started": format_timestamp(run.started)}  # fmt: skip
    if run.state == "running" and run.owner in dead:
        return seen | {"state": "unfinished", "error": UNFINISHED_ERROR}
    return seen


def list_runs_alone(runs: Iterable[Record]) -> list[Record]:
    """Runs as they are listed where the store is damaged: each as a conversation of its own."""
    return [
        {
            "id": run["id"],
            "title": run["question"],
            "run": run["id"],
            "cursor": run["id"],
            "started": run["started"],
            "updated": run["started"],
            "turns": 1,
            "state": run["state"],
            "model": run["model"],
            "cost_usd": run["cost_usd"],
        }
        for run in runs
    ]
