"""Wrong inputs of a batch: each is told what is wrong before anything is asked, or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.batch.test_batch_command import batch, upstream  # noqa: F401 - fixtures
from tests.batch.test_real_tables import write_table
from tests.support.shell import desk, shell  # noqa: F401 - fixtures

ROW = '{"prompt": "Why?"}\n'


@dataclass(frozen=True)
class Wrong:
    """What is written, what is typed behind ``mixtura batch``, and pieces of what must be said."""

    said: tuple[str, ...]
    name: str = "in.jsonl"
    text: str | bytes | dict[str, list[Any]] | None = ROW
    """What is in the input: a text, or the columns of a Parquet file; None where there is none."""
    words: tuple[str, ...] = ()
    output: str = "out.jsonl"
    beside: dict[str, bytes] = field(default_factory=dict[str, bytes])
    code: int = 2
    needs: str | None = None
    """A package without which something else would be said."""


def _row(fields: dict[str, Any], *words: str, said: tuple[str, ...]) -> Wrong:
    return Wrong(said, text=json.dumps(fields) + "\n", words=words)


def _typed(*words: str, said: tuple[str, ...], **more: Any) -> Wrong:
    return Wrong(said, words=words, **more)


def _openai(*words: str) -> Wrong:
    said = (words[0], "OpenAI's API")
    return Wrong(said, text=json.dumps(OPENAI_ROW) + "\n", words=words)


def _csv(text: str | bytes, *words: str, said: tuple[str, ...]) -> Wrong:
    return Wrong(said, "in.csv", text, words)


def _parquet(columns: dict[str, list[Any]] | bytes, *words: str, said: tuple[str, ...]) -> Wrong:
    return Wrong(said, "in.parquet", columns, words, needs="pyarrow")


def _named(name: str, *words: str, said: tuple[str, ...]) -> Wrong:
    return Wrong(said, name, None, words, needs="datasets")


OPENAI_ROW = {
    "custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
    "body": {"model": "m", "messages": [{"role": "user", "content": "Why?"}]},
}  # fmt: skip
EMPTY = ("the prompt is empty", "`prompt`")
NO_PROMPT = ("no field is named", "--column or --template")

WRONG = {
    # ---- CSV
    "CSV: more fields than names": _csv("prompt,x\na,b,c\n", said=("in.csv:2", "more fields")),
    "CSV: fewer fields than names": _csv("prompt,x\na\n", said=("in.csv:2", "fewer fields")),
    "CSV: an open quote": _csv(
        'prompt,x\na,b\n"c\nd",e\n\n"f,g\nh,i\n', said=("in.csv:5", "quotation mark is not closed")
    ),
    "CSV: an open quote in the only column": _csv(
        'prompt\n"f\nh', said=("in.csv:2", "quotation mark is not closed")
    ),
    "CSV: an open quote in the names": _csv(
        'prompt,"x\na,b\n', said=("in.csv:1", "quotation mark is not closed")
    ),
    "CSV: a name twice": _csv("prompt,prompt\na,b\n", said=("in.csv:1", "prompt", "twice")),
    "CSV: no rows": _csv("prompt,x\n", said=("in.csv has no rows",)),
    "CSV: an empty file": _csv("", said=("in.csv has no rows",)),
    "CSV: no prompt": _csv("q,x\na,b\n", said=(*NO_PROMPT, "it has q, x")),
    "CSV: semicolons": _csv("id;prompt\n1;a\n", said=("in.csv:1", "semicolons", "commas")),
    "CSV: tabs": _csv("id\tprompt\n1\ta\n", said=("in.csv:1", "tabs", "--format tsv")),
    "CSV: Latin-1": _csv("prompt\ncafé\n".encode("latin-1"), said=("in.csv is not UTF-8",)),
    "CSV: an empty prompt": _csv("prompt,x\n,b\n", said=("in.csv:2", *EMPTY)),
    "CSV: another case": _csv("Prompt\na\n", said=(*NO_PROMPT, "it has Prompt")),
    "CSV: an id twice": _csv("id,prompt\n1,a\n1,b\n", said=("in.csv:3", "custom_id 1")),
    "TSV: commas": Wrong(NO_PROMPT, "in.tsv", "id,prompt\n1,a\n"),
    "a spreadsheet": Wrong(("in.xlsx", "--format"), "in.xlsx", b"PK\x03\x04"),
    "a compressed file": Wrong(("in.jsonl.gz", "--format"), "in.jsonl.gz", b"\x1f\x8b"),
    "words": Wrong(("in.jsonl:1: not JSON: invalid character",), text="Why?\n"),
    "compressed, called .jsonl": Wrong(
        ("in.jsonl:1: not JSON: this is packed with gzip",), text=b"\x1f\x8b\x08\xff\n"
    ),
    # ---- Parquet
    "Parquet: no such file": _parquet(b"nonsense", said=("in.parquet cannot be read as Parquet",)),
    "Parquet: an empty file": _parquet(b"", said=("in.parquet cannot be read as Parquet",)),
    "Parquet: no prompt": _parquet({"q": ["a"]}, said=(*NO_PROMPT, "it has q")),
    "Parquet: null": _parquet({"prompt": ["a", None]}, said=("in.parquet, row 2", *EMPTY)),
    "Parquet: no rows": _parquet({"prompt": []}, said=("in.parquet has no rows",)),
    "Parquet: bytes": _parquet({"prompt": [b"\xff"]}, said=("in.parquet, row 1", "not text")),
    "Parquet: messages without roles": _parquet(
        {"messages": [[{"who": "user"}]]}, said=("row 1", "a role and a content")
    ),
    "Parquet: an unknown role": _parquet(
        {"messages": [[{"role": "boss", "content": "a"}]]}, said=("row 1", "role", "boss")
    ),
    "Parquet: a date as a picture": _parquet(
        {"prompt": ["a"], "image": [date(2026, 1, 1)]}, said=("row 1", "an image must be a path")
    ),
    "Parquet: a column that is not there": _parquet(
        {"prompt": ["a"]}, "--column", "q", said=("row 1", "no field q", "it has prompt")
    ),
    "JSON lines as Parquet": _typed(
        "--format", "parquet", said=("cannot be read as Parquet",), needs="pyarrow"
    ),
    "Parquet as JSON lines": _parquet(
        {"prompt": ["a"]}, "--format", "jsonl", said=("in.parquet:1", "not JSON")
    ),
    # ---- names of data sets
    "a name without an owner": _named("alpaca", said=("no file alpaca", "OWNER/NAME")),
    "a name of three parts": _named("a/b/c", said=("no file a/b/c", "OWNER/NAME")),
    "the page of a data set": _named(
        "https://huggingface.co/datasets/a/b", said=("web address", "download")
    ),
    "an hf:// address": _named("hf://datasets/a/b", said=("web address",)),
    "a file with a split": _typed("--split", "test", said=("--split and --subset", "a file")),
    "a file with a subset": _typed("--subset", "x", said=("--split and --subset", "a file")),
    # ---- templates
    "a template with an open brace": _typed("--template", "{prompt", said=("--template", "{{")),
    "a template with a closing brace": _typed("--template", "prompt}", said=("--template", "}}")),
    "a template without a field": _typed("--template", "Why?", said=("has no field", "{question}")),
    "an empty template": _typed("--template", "", said=("--template",)),
    "a template with a number": _typed("--template", "{0}", said=("no field 0",)),
    "a template with no name": _typed("--template", "{}", said=("--template", "{name}")),
    "a template with a format": _typed("--template", "{prompt:>9}", said=("--template", "{name}")),
    "a template with a conversion": _typed("--template", "{prompt!r}", said=("--template",)),
    "a template with an attribute": _typed(
        "--template", "{prompt.__class__}", said=("no field prompt.__class__",)
    ),
    "a template of Jinja's": _typed("--template", "{{prompt}}", said=("--template has no field",)),
    "a misspelt field of a template": _typed("--template", "{promt}", said=("no field promt",)),
    "a template's file that is not there": _typed("--template", "@no.txt", said=("no.txt",)),
    "a template's file that is a folder": _typed("--template", "@.", said=("--template",)),
    "a template's file of Latin-1": _typed(
        "--template", "@t.txt", said=("t.txt", "UTF-8"), beside={"t.txt": b"\xff{prompt}"}
    ),
    "a template that comes to nothing": _row(
        {"q": " "}, "--template", "{q}", said=("in.jsonl:1", "its prompt is empty")
    ),
    "a field of a template that is null": _row(
        {"q": None}, "--template", "{q}", said=("in.jsonl:1", "its q is null")
    ),
    # ---- columns
    "a column that is not there": _typed("--column", "question", said=("no field question",)),
    "a column without a name": _typed("--column", "", said=("--column",)),
    "a column that is empty": _row({"q": ""}, "--column", "q", said=("its prompt is empty",)),
    "a column of no messages": _row({"q": []}, "--column", "q", said=("its messages are empty",)),
    "a column of a list of texts": _row(
        {"q": ["a"]}, "--column", "q", said=("in.jsonl:1", "a role and a content")
    ),
    "a column and a template": _typed(
        "--column", "prompt", "--template", "{prompt}", said=("--column and --template", "give one")
    ),
    "a column of pictures that is not there": _typed(
        "--image-column", "picture", said=("in.jsonl:1", "no field picture")
    ),
    "a column of pictures with a number": _row(
        {"prompt": "a", "p": 5}, "--image-column", "p", said=("an image must be a path",)
    ),
    # ---- equal rows, and how many
    "--dedupe with a value": _typed("--dedupe=yes", said=("--dedupe",)),
    "--dedupe misspelt": _typed("--dedup", said=("--dedup", "--dedupe")),
    "equal rows of one name": Wrong(
        ("in.jsonl:2", "custom_id 1"), text='{"id": 1, "prompt": "a"}\n' * 2, words=("--dedupe",)
    ),
    "no rows at most": _typed("--limit", "0", said=("--limit",)),
    "half a row": _typed("--limit", "1.5", said=("--limit",)),
    "a sample of none": _typed("--sample", "0", said=("--sample",)),
    # ---- provider batches
    "an unknown mode": _typed("--provider-batch", "yes", said=("auto", "off", "only")),
    "no mode": _typed("--provider-batch", said=("--provider-batch",)),
    "a model without batches": _typed(
        "--provider-batch", "only", said=("knows no batch API of the provider", "auto")
    ),
    "a time without a unit": _typed("--within", "six", said=("--within", "90m")),
    "no time": _typed("--within", "0h", said=("--within",)),
    "a negative time": _typed("--within", "-1h", said=("--within",)),
    "a time in weeks": _typed("--within", "2 weeks", said=("--within",)),
    "a time without end": _typed("--within", "inf", said=("--within",)),
    "batches of workers": _typed(
        "--provider-batch", "auto", "--engine", "ray", said=("--provider-batch and --engine ray",)
    ),
    "provider batches that nothing would remember": _typed(
        "--provider-batch", "auto", output="-", said=("- as OUT needs a --journal",)
    ),
    "a data set from standard input": Wrong(
        ("--format dataset", "IN is -"), "-", None, ("--format", "dataset")
    ),
    "a time for no provider batches": _typed(
        "--within", "6h", said=("--within is for --provider-batch",)
    ),
    "a template for a batch file of OpenAI's": _openai("--template", "{prompt}"),
    "a column of a batch file of OpenAI's": _openai("--column", "prompt"),
    "a system prompt for a batch file of OpenAI's": _openai("--system", "Be brief."),
    # ---- where it goes
    "an output that is a device": _typed(output="/dev/null", said=("OUT", "not an ordinary file")),
    "an output of CSV": _typed(output="out.csv", said=("out.jsonl", "JSON lines")),
    "an output of Parquet": _typed(output="out.parquet", said=("out.jsonl", "JSON lines")),
    "an output that is a folder": _typed(output=".", said=("OUT", "folder")),
    "a journal that is none": _typed(
        "--journal", "j.journal", said=("journal j.journal", "move it away"), code=1,
        beside={"j.journal": b"no journal at all" * 99},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_batch_is_told_what_is_wrong_before_anything_is_asked(
    batch: Callable[..., Any],  # noqa: F811
    upstream: Any,  # noqa: F811
    name: str,
):
    wrong = WRONG[name]
    if wrong.needs:
        pytest.importorskip(wrong.needs, reason=f"the package {wrong.needs} is not installed")
    folder: Path = batch.folder  # type: ignore[attr-defined]
    for path, data in wrong.beside.items():
        (folder / path).write_bytes(data)
    match wrong.text:
        case str():
            (folder / wrong.name).write_text(wrong.text)
        case bytes():
            (folder / wrong.name).write_bytes(wrong.text)
        case dict():
            write_table(folder / wrong.name, wrong.text)
        case None:
            pass
    before = sorted(path.name for path in folder.iterdir())

    ran = batch(wrong.name, wrong.output, *wrong.words)

    assert ran.code == wrong.code, ran.err
    for words in wrong.said:
        assert words in ran.err, ran.err
    assert not upstream.records
    assert "Traceback" not in ran.err
    left = {path.name for path in folder.iterdir()} - set(before)
    assert not {name for name in left if "journal" not in name}


def test_the_table_of_wrong_batches_has_at_least_forty_rows():
    assert len(WRONG) >= 40
