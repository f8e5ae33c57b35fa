"""Conversations of kept runs: one row each, all turns, branches, words of answers, titles."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from mixtura.core.text import collapse_whitespace
from mixtura.storage.conversation_text import conversation_markdown, find_branch
from mixtura.storage.open_store import open_store
from mixtura.storage.runs import RunStore
from mixtura.storage.store_address import parse_store_address
from mixtura.storage.turns import TurnPlace
from tests.storage.test_runs import recorded

FIRST = 1795400000.0


@pytest.fixture
def store(stores):
    return stores.open(clock=lambda: FIRST + 5000)


@pytest.fixture
def book(store):
    return RunStore(store, hidden={"sk-very-secret-key-0123456789"})


def keep(book, number, *, conversation=None, previous=None, beside=None, answer=None, **more):
    """Keep a run number *number*, begun so many minutes after the first."""
    name = f"20261123-{number:08d}"
    run = recorded(named=name, started=FIRST + 60 * number) | more
    run |= {"conversation": conversation or name, "previous": previous, "beside": beside}
    run["cost_usd"] = more.get("cost_usd", 0.5)
    if answer is not None:
        run["answer"] = answer
    assert book.save_run(run)
    return name


def asked(text):
    return {"request": {"model": "team", "messages": [{"role": "user", "content": text}]}}


def test_a_conversation_is_one_row_with_what_it_has_cost_and_its_newest_run(book):
    a = keep(book, 1, **asked("What is rain?"))
    keep(book, 2, **asked("Something else"))
    b = keep(book, 3, conversation=a, previous=a, cost_usd=0.25)
    keep(book, 4, conversation=a, beside=b, cost_usd=1.0)

    rows = book.conversations.list_conversations()
    assert [row["title"] for row in rows] == ["What is rain?", "Something else"]
    assert rows[0] | {"started": "", "updated": ""} == {
        "id": a, "title": "What is rain?", "run": b, "cursor": "20261123-00000004", "started": "",
        "updated": "", "turns": 2, "state": "answered", "model": "mixture", "cost_usd": 1.75,
    }  # fmt: skip


def test_a_price_that_is_unknown_makes_the_sum_unknown(book):
    a = keep(book, 1)
    keep(book, 2, conversation=a, previous=a, cost_usd=None)
    assert book.conversations.list_conversations()[0]["cost_usd"] is None


def test_pages_of_conversations_have_each_once_also_where_words_are_searched(book):
    first = [keep(book, number, answer="the leftmost prefix") for number in range(5)]
    for number, name in enumerate(first):
        keep(book, 10 + number, conversation=name, previous=name, answer="a leftmost PREFIX, again")
    for query in (None, "prefix"):
        seen, before = [], None
        while rows := book.conversations.list_conversations(2, before, query):
            seen += [row["id"] for row in rows]
            before = rows[-1]["cursor"]
        assert seen == first[::-1], query


def test_words_are_found_in_questions_answers_and_titles_in_any_case_and_as_they_are(book):
    a = keep(book, 1, answer="Use the LEFTMOST prefix: 100 % of it, snake_case. Straße.")
    b = keep(book, 2, **asked("Who is it?"))
    book.conversations.rename(b, "A talk about Owls")

    def found(words):
        return [row["id"] for row in book.conversations.list_conversations(query=words)]

    assert found("leftmost Prefix") == [a]
    assert found("STRASSE") == [a]
    assert found("100 % snake_case") == [a]
    assert found("snakeXcase") == []
    assert found("owls") == [b]
    assert found("who owls") == [b]
    assert [row["id"] for row in book.list_runs(query="leftmost")] == [a]


def test_runs_that_an_older_version_kept_are_conversations_and_found_by_their_answers(book, store):
    name = keep(book, 1, answer="An old answer about owls")
    with store.transaction() as db:
        db.execute("DELETE FROM turns")

    assert [row["id"] for row in book.conversations.list_conversations()] == [name]
    assert book.conversations.get_conversation(name)["turns"][0]["answer"].startswith("An old")
    assert [row["id"] for row in book.conversations.list_conversations(query="owls")] == [name]
    assert [row["id"] for row in book.list_runs(query="owls")] == [name]


def test_a_conversation_is_read_at_a_glance_without_its_runs_bodies(book, store):
    a = keep(book, 1)
    last = a
    for number in range(2, 51):
        last = keep(book, number, conversation=a, previous=last)
    with store.transaction() as db:
        db.execute("UPDATE runs SET body = ?", (b"nobody reads this",))

    found = book.conversations.get_conversation(last)
    assert len(found["turns"]) == 50
    assert [turn["id"] for turn in find_branch(found["turns"])][-1] == last
    assert {turn["state"] for turn in found["turns"]} == {"answered"}
    assert [call["model"] for call in found["turns"][0]["calls"]] == ["a", "b", "chief"]
    assert "before" in found["turns"][0]
    assert "before" not in found["turns"][1]


def test_an_edited_question_is_a_branch_and_asked_again_it_gets_another_draw(book):
    a = keep(book, 1)
    b = keep(book, 2, conversation=a, previous=a)
    place = book.conversations.place_run
    assert place(a, a, "") == TurnPlace(a, a, "", 1)
    c = keep(book, 3, conversation=a, previous=a, **asked("Edited?"))
    assert place("", a, "").draw == 2
    assert place("", b, "") == TurnPlace(a, b, "", 0)
    assert place(a, "", "") == TurnPlace(a, "", "", 1)
    assert place("", "", c) == TurnPlace(a, a, c, 0)
    assert place("nothing", "gone", "") == TurnPlace("", "", "", 0)
    assert place("", a, "", who="someone else") == TurnPlace("", "", "", 0)

    turns = book.conversations.get_conversation(a)["turns"]
    assert [turn["id"] for turn in find_branch(turns)] == [a, c]
    assert [turn["id"] for turn in find_branch(turns, b)] == [a, b]


def test_a_title_is_kept_without_secrets_and_taken_away_again(book):
    a = keep(book, 1, **asked("What is rain?"))
    assert book.conversations.rename(a, "  My key\nsk-very-secret-key-0123456789 ")
    title = book.conversations.get_conversation(a)["title"]
    assert title.startswith("My key ")
    assert "secret" not in title
    assert book.conversations.rename(a, "")
    assert book.conversations.get_conversation(a)["title"] == "What is rain?"
    assert not book.conversations.rename("nothing", "A title")
    assert not book.conversations.rename(a, "A title", who="someone else")


def test_a_deleted_conversation_is_gone_with_all_its_runs_and_words(book, store):
    a = keep(book, 1)
    keep(book, 2, conversation=a, previous=a)
    other = keep(book, 3)
    book.conversations.rename(a, "A title")
    assert book.conversations.delete_conversation(a, who="someone else") == []
    assert len(book.conversations.delete_conversation(a)) == 2

    assert [row["id"] for row in book.list_runs()] == [other]
    assert book.delete_run(other)
    with store.transaction() as db:
        for table in ("runs", "turns", "titles"):
            assert db.fetch_one(f"SELECT count(*) FROM {table}") == (0,), table


def test_what_is_too_old_goes_with_its_words(stores):
    now = [FIRST]
    book = RunStore(stores.open(clock=lambda: now[0]), days=1.0)
    keep(book, 0)
    now[0] += 3 * 86400
    last = keep(book, 3 * 24 * 60)
    with book._store.transaction() as db:
        assert db.fetch_all("SELECT run FROM turns") == [(last,)]


def test_a_branch_is_written_as_markdown(book):
    a = keep(book, 1, answer="It is **water**.", **asked("What is rain?"))
    keep(book, 2, conversation=a, previous=a, answer="| a |\n|---|", **asked("As a table"))
    text = conversation_markdown(book.conversations.get_conversation(a))
    assert text.startswith("# What is rain?\n\n")
    for words in ("## You\n\nWhat is rain?", "It is **water**.", "As a table", "\n| a |\n|---|\n"):
        assert words in text
    assert "3 calls" in collapse_whitespace(text)


@pytest.mark.parametrize("column", ["started", "cost", "question", "model", "state"])
def test_one_damaged_run_hides_no_other_conversation(column, tmp_path):
    path = tmp_path / "mixtura.sqlite"
    book = RunStore(open_store(parse_store_address(str(path), tmp_path)))
    whole, damaged = keep(book, 1), keep(book, 2)
    for value in ("soon", b"\xff\xfe", -1, 2**62, float("inf")):
        with closing(sqlite3.connect(path, timeout=30)) as db, db:
            db.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, damaged))
        db.close()
        listed = book.conversations.list_conversations(10)
        assert whole in [row["id"] for row in listed]
        assert book.conversations.get_conversation(whole)["turns"]
        assert book.conversations.get_conversation(damaged)["turns"]


def test_a_search_waits_for_nobody_and_nobody_for_it(store, book):
    keep(book, 1, **asked("What is rain?"))
    with ThreadPoolExecutor(1) as others, store.transaction(alone="runs") as db:
        db.execute("UPDATE runs SET state = 'failed'")  # and not yet committed
        (row,) = others.submit(book.conversations.list_conversations, query="rain").result(30)
        (run,) = others.submit(book.list_runs, query="rain").result(30)

    with store.read_transaction() as db, ThreadPoolExecutor(1) as others:
        assert db.fetch_one("SELECT count(*) FROM turns")
        assert others.submit(book.conversations.rename, row["id"], "Rain").result(30)
    assert (row["state"], run["state"]) == ("answered", "answered")


def test_a_word_without_end_and_words_without_number_are_cut_to_what_one_looks_for(book):
    name = keep(book, 1, answer="a" * 400_000)

    assert [row["id"] for row in book.list_runs(query="a" * 5000)] == [name]
    assert [row["id"] for row in book.list_runs(query="a " * 5000 + "b")] == [name]


def test_a_branch_of_many_turns_is_followed_once():
    turns = [{"id": str(n), "previous": str(n - 1), "beside": None} for n in range(30_000)]
    turns[0]["previous"] = "29999"  # damaged: it leads back to its own end

    assert [turn["id"] for turn in find_branch(turns)] == list(map(str, range(30_000)))
