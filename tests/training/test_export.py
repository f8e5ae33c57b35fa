"""mixtura export: kept runs and batches as conversations that trainers read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from mixtura.core.types import Message
from mixtura.training.examples import TrainingExample, build_training_lines
from tests.support.batches import read_lines, write_rows
from tests.support.loopback import Answer
from tests.support.paths import ROOT
from tests.support.recorded_runs import KEY
from tests.support.shell import desk, shell  # noqa: F401 - fixtures

ROLES = ("system", "user", "assistant")


def check_messages(messages: list) -> None:
    """TRL's conversational form: a list of objects with a role and a text, and no more."""
    assert messages
    for message in messages:
        assert set(message) == {"role", "content"}
        assert message["role"] in ROLES
        assert isinstance(message["content"], str)
        assert message["content"]
    turns = [one["role"] for one in messages if one["role"] != "system"]
    assert turns == ["user" if i % 2 == 0 else "assistant" for i in range(len(turns))]
    assert all(one["role"] != "system" for one in messages[1:])


def check_sft_rows(rows: list[dict]) -> None:
    """TRL's "language modeling" type: ``messages`` that end with the assistant's."""
    for row in rows:
        check_messages(row["messages"])
        assert row["messages"][-1]["role"] == "assistant"
        assert set(row) == {"messages", "provenance"}


def test_kept_runs_become_conversations_with_their_provenance(shell):  # noqa: F811
    shell.run("ask", "--quiet", "--system", "Be brief.", "Why is the sky blue?")
    shell.run("ask", "--quiet", "-m", "ann", "How?")

    done = shell.run("export", "train.jsonl")

    first, second = rows = read_lines(shell.desk.folder / "train.jsonl")
    assert (done.code, done.out) == (0, ""), done.err
    assert "2 conversations written to" in done.err
    check_sft_rows(rows)
    assert [one["content"] for one in first["messages"]] == [
        "Be brief.", "Why is the sky blue?", "Because air scatters blue light most.",
    ]  # fmt: skip
    (_, older) = shell.run("runs", "--json").json["runs"]
    source = first["provenance"]
    assert (source["source"], source["id"], source["mixture"]) == ("run", older["id"], "team")
    assert source["models"] == ["ann", "ben", "chief"]
    assert source["date"][:10] == older["started"][:10]
    assert source["cost_usd"] == pytest.approx(older["cost_usd"])
    assert second["provenance"]["models"] == ["ann"]


def test_the_same_runs_give_the_same_file_and_filters_choose_among_them(shell):  # noqa: F811
    shell.run("ask", "--quiet", "Why?")
    shell.run("ask", "--quiet", "-m", "ann", "How?")

    def exported(*words: str) -> list[str]:
        done = shell.run("export", "-", *words)
        assert done.code == 0, done.err
        return [json.loads(line)["messages"][-2]["content"] for line in done.out.splitlines()]

    assert shell.run("export", "-").out == shell.run("export", "-").out
    assert exported() == ["Why?", "How?"]
    assert exported("--mixture", "ann") == ["How?"]
    assert exported("--since", "2020-01-01") == ["Why?", "How?"]
    assert exported("--since", "2999-01-01") == []
    assert shell.run("export", "-", "--since", "soon").code == 2


def test_answers_that_are_not_what_was_asked_for_are_left_out(shell):  # noqa: F811
    shell.desk.server.answers["ben"] = Answer(status=400)
    shell.run("ask", "--quiet", "Who is degraded?")
    shell.desk.server.answers["ann"] = Answer.text("Half of", finish="length")
    shell.run("ask", "--quiet", "-m", "ann", "Who was cut off?")
    shell.run("ask", "--quiet", "-m", "ben", "Who fails?")

    done = shell.run("export", "-")
    assert done.out == ""
    assert "Left out: 1 cut off, 1 degraded." in done.err
    (row,) = map(json.loads, shell.run("export", "-", "--degraded").out.splitlines())
    assert row["provenance"]["degraded"]
    (row,) = map(json.loads, shell.run("export", "-", "--incomplete").out.splitlines())
    assert row["provenance"]["finish_reason"] == "length"


def test_a_batch_is_exported_with_the_rows_that_it_was_made_of(shell):  # noqa: F811
    names = write_rows(shell.desk.folder / "in.jsonl", 3)
    shell.run("batch", "in.jsonl", "out.jsonl", "-m", "team", "--system", f"The key is {KEY}.")

    done = shell.run("export", "train.jsonl", "--batch", "out.jsonl", MY_API_KEY=KEY)

    rows = read_lines(shell.desk.folder / "train.jsonl")
    assert done.code == 0, done.err
    check_sft_rows(rows)
    assert [row["provenance"]["id"] for row in rows] == names
    assert [row["messages"][1]["content"] for row in rows] == [f"Question {i}?" for i in range(3)]
    assert rows[0]["provenance"]["mixture"] == "team"
    assert rows[0]["provenance"]["models"] == ["ann", "ben", "chief"]
    assert KEY not in (shell.desk.folder / "train.jsonl").read_text()


def test_messages_of_one_role_are_one_turn_and_a_begun_answer_is_left_out(shell):  # noqa: F811
    turns = (("system", "Be kind."), ("developer", "Be brief."), ("user", "One."), ("user", "Two?"))
    said = [{"role": role, "content": text} for role, text in turns]
    begun = [said[2], {"role": "assistant", "content": "Because"}]
    rows = "".join(json.dumps({"messages": one}) + "\n" for one in (said, begun))
    (shell.desk.folder / "in.jsonl").write_text(rows)
    shell.run("batch", "in.jsonl", "out.jsonl", "-m", "ann", "--system", "Be true.")

    done = shell.run("export", "train.jsonl", "--batch", "out.jsonl")

    (row,) = rows = read_lines(shell.desk.folder / "train.jsonl")
    check_sft_rows(rows)
    texts = [one["content"] for one in row["messages"]]
    assert texts[:2] == ["Be true.\n\nBe kind.\n\nBe brief.", "One.\n\nTwo?"]
    assert "Left out: 1 continuing a given beginning." in done.err


def test_what_has_the_form_of_a_key_is_not_written(shell):  # noqa: F811
    key = "sk-proj-abcdefghijklmnopqrstuvwx1234567890ABCD"
    shell.run("ask", "--quiet", f"What is {key} good for?")

    done = shell.run("export", "train.jsonl")

    (row,) = read_lines(shell.desk.folder / "train.jsonl")
    assert done.code == 0, done.err
    assert row["messages"][0]["content"].startswith("What is ")
    assert "abcdefghijklmnop" not in json.dumps(row)


def test_a_batch_without_the_input_that_it_was_made_of_is_not_exported(shell):  # noqa: F811
    write_rows(shell.desk.folder / "in.jsonl", 2)
    row = b'{"id": "x", "prompt": "Well?"}\n'
    shell.run("batch", "in.jsonl", "out.jsonl", "-m", "ann")
    shell.run("batch", "-", "piped.jsonl", "-m", "ann", stdin=row)
    (shell.desk.folder / "x.jsonl").write_bytes(row)
    (shell.desk.folder / "in.jsonl").write_text('{"id": "r0", "prompt": "Other?"}\n' * 1)
    (shell.desk.folder / "train.jsonl").write_text("kept")

    changed = shell.run("export", "train.jsonl", "--batch", "out.jsonl")
    piped = shell.run("export", "train.jsonl", "--batch", "piped.jsonl")
    none = shell.run("export", "train.jsonl", "--batch", "in.jsonl")

    assert (changed.code, piped.code, none.code) == (2, 2, 2)
    assert "in.jsonl has changed" in changed.err
    assert "was piped in and is not kept" in piped.err
    assert "there is no journal" in none.err
    assert (shell.desk.folder / "train.jsonl").read_text() == "kept"
    named = shell.run("export", "-", "--batch", "piped.jsonl", "--input", "x.jsonl")
    assert json.loads(named.out)["provenance"]["id"] == "x"


def test_the_file_loads_as_a_data_set(shell):  # noqa: F811
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    shell.run("ask", "--quiet", "--system", "Be brief.", "Why?")
    shell.run("ask", "--quiet", "-m", "ann", "How?")
    shell.run("export", "train.jsonl")

    rows = datasets.load_dataset(
        "json", data_files=str(shell.desk.folder / "train.jsonl"), split="train",
        cache_dir=str(shell.desk.folder / "cache"),
    )  # fmt: skip

    check_sft_rows(list(rows))
    assert rows.column_names == ["messages", "provenance"]


def test_a_large_file_loads_as_the_guide_says_though_types_show_late(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    long = (Message("user", "x" * 300_000),)
    with (tmp_path / "train.jsonl").open("w") as file:
        for number in range(45):  # more than is read for the types
            known = number == 44
            example = TrainingExample(
                "run", "r", long, "So.", "team", ["ann"] if known else [], datetime.now(UTC),
                0.5 if known else None, ("a failure",) if known else (),
            )  # fmt: skip
            (line,) = build_training_lines(example, "sft")
            file.write(json.dumps(line) + "\n")
    (code,) = re.findall(
        r"```py\n(.*?)```", (ROOT / "docs/guides/training-data.md").read_text(), re.DOTALL
    )

    names: dict = {}
    exec(code.replace("rows = rows.remove", "whole, rows = rows, rows.remove"), names)

    assert names["rows"].column_names == ["messages"]
    assert names["whole"][44]["provenance"]["cost_usd"] == 0.5
    assert names["whole"][0]["provenance"]["cost_usd"] is None


@pytest.mark.parametrize(
    "line",
    [
        "{", "5", "[" * 3_000, "{}", '{"custom_id": "r0"}', '{"custom_id": "r0", "response": 5}',
        '{"custom_id": "r0", "response": {"body": {"choices": []}}}',
        '{"custom_id": "r0", "answer": 5, "cost_usd": 0, "degraded": []}',
        '{"custom_id": "r0", "answer": "x", "cost_usd": "much", "degraded": []}',
        '{"custom_id": "r0", "answer": "x", "cost_usd": 0, "degraded": 7}',
        '{"custom_id": ["x"], "answer": "x", "cost_usd": 0, "degraded": []}',
    ],
    ids=range(11),
)  # fmt: skip
def test_a_damaged_line_of_a_batch_is_told_in_words(line, shell):  # noqa: F811
    write_rows(shell.desk.folder / "in.jsonl", 1)
    shell.run("batch", "in.jsonl", "out.jsonl", "-m", "ann")
    (shell.desk.folder / "out.jsonl").write_text(line + "\n")

    done = shell.run("export", "-", "--batch", "out.jsonl")

    assert done.code == 2
    assert "out.jsonl" in done.err
    assert done.out == ""
