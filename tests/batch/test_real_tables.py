"""mixtura batch with tables as the real packages write them: Parquet, data sets in folders."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.batch.test_batch_command import batch, upstream  # noqa: F401 - fixtures
from tests.support.batches import read_lines
from tests.support.shell import desk, shell  # noqa: F401 - fixtures

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def write_table(path: Path, columns: dict[str, list[Any]], *, picture: bool = False) -> None:
    """A Parquet file; *picture*: its column `image` is one, as `datasets` marks it."""
    arrow = pytest.importorskip("pyarrow", reason="the package pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no Parquet here")
    path.parent.mkdir(exist_ok=True)
    table = arrow.table(columns)
    if picture:
        text = {"dtype": "string", "_type": "Value"}
        features = {"prompt": text, "image": {"_type": "Image"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    parquet.write_table(table, path)


def test_every_row_of_a_parquet_file_is_answered_in_its_order(batch):  # noqa: F811
    names = [f"r{i}" for i in range(600)]  # more than are read at once
    write_table(batch.folder / "in.parquet", {"id": names, "q": [f"Is {n} odd?" for n in names]})

    done = batch("in.parquet", "out.jsonl", "--template", "{q}", "--limit", "300")

    assert done.code == 0, done.err
    assert [row["custom_id"] for row in read_lines(batch.folder / "out.jsonl")] == names[:300]


def test_conversations_and_other_fields_of_a_parquet_file_are_read(batch, upstream):  # noqa: F811
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    write_table(batch.folder / "in.parquet", {"messages": [said], "score": [1.5], "tags": [["a"]]})

    done = batch("in.parquet", "out.jsonl")
    mixed = batch("in.parquet", "b.jsonl", "--template", "{score} {tags}")

    assert (done.code, mixed.code) == (0, 0), done.err + mixed.err
    assert upstream.of("a")[0].body["messages"] == said
    assert upstream.of("a")[1].body["messages"][-1]["content"] == '1.5 ["a"]'


def test_a_broken_parquet_file_is_told(batch, upstream):  # noqa: F811
    write_table(batch.folder / "in.parquet", {"prompt": ["Why?"]})
    whole = (batch.folder / "in.parquet").read_bytes()
    (batch.folder / "in.parquet").write_bytes(whole[:-9])

    assert "in.parquet cannot be read as Parquet" in batch("in.parquet", "out.jsonl").complaint
    assert not upstream.records


def test_a_folder_is_a_data_set_if_that_is_said(batch, upstream):  # noqa: F811
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    write_table(batch.folder / "rows" / "test.parquet", {"id": ["x"], "question": ["Why?"]})

    plain = batch("rows", "out.jsonl")
    wrong = batch("rows", "out.jsonl", "--format", "dataset", "--split", "nope")
    done = batch("rows", "out.jsonl", "--format", "dataset", "--split", "test")

    assert "--format dataset" in plain.complaint
    assert "Available splits: ['test']" in wrong.complaint
    assert done.code == 0, done.err
    assert [row["custom_id"] for row in read_lines(batch.folder / "out.jsonl")] == ["x"]
    assert upstream.of("a")[0].body["messages"][-1]["content"] == "Why?"


@pytest.mark.parametrize("options", [("p/train.parquet",), ("p", "--format", "dataset")])
def test_pictures_of_a_data_set_are_sent_as_they_are_kept(batch, upstream, options):  # noqa: F811
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    rows = {"prompt": ["What is it?"], "image": [{"bytes": PNG, "path": None}]}
    write_table(batch.folder / "p" / "train.parquet", rows, picture=True)

    source, *more = options
    done = batch(source, "out.jsonl", *more)

    assert done.code == 0, done.err
    parts = upstream.of("last")[0].body["messages"][0]["content"]
    (shown,) = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert base64.b64decode(shown.partition(",")[2]) == PNG
