"""A batch's input as spreadsheets and PowerShell write it: UTF-8, or UTF-16 with its mark."""

import json

import pytest

from tests.batch.test_batch_command import batch, upstream  # noqa: F401 - fixtures
from tests.support.batches import read_lines
from tests.support.shell import desk, shell  # noqa: F401 - fixtures

ASKED = ["Grüße, 世界?", "Second 🙂"]
INPUTS = {
    "in.jsonl": "".join(json.dumps({"prompt": one}, ensure_ascii=False) + "\n" for one in ASKED),
    "in.json": json.dumps([{"prompt": one} for one in ASKED], ensure_ascii=False, indent=1),
    "in.csv": "".join(f'"{line}"\r\n' for line in ["prompt", *ASKED]),
    "in.tsv": "".join(f"{line}\n" for line in ["prompt", *ASKED]),
    "in.txt": "".join(f"{line}\n" for line in ASKED),
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_with_a_byte_order_mark_is_read_in_its_encoding(
    name, encoding, batch, upstream  # noqa: F811
):  # fmt: skip
    (batch.folder / name).write_bytes(INPUTS[name].encode(encoding))

    done = batch(name, "out.jsonl")

    assert done.code == 0, done.err
    asked = {one.body["messages"][-1]["content"] for one in upstream.of("a")}
    assert asked == set(ASKED)
    assert len(read_lines(batch.folder / "out.jsonl")) == 2


@pytest.mark.parametrize("name", INPUTS)
def test_a_damaged_input_in_utf_16_is_refused_before_anything_is_asked(
    name, batch, upstream  # noqa: F811
):  # fmt: skip
    (batch.folder / name).write_bytes(INPUTS[name].encode("utf-16")[:-1])

    assert f"{name} is not UTF-8 text: save it as UTF-8" in batch(name, "out.jsonl").complaint
    assert not upstream.of("a")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_in_utf_16_without_its_mark_is_refused_before_anything_is_asked(
    name, encoding, batch, upstream  # noqa: F811
):  # fmt: skip
    (batch.folder / name).write_bytes(
        INPUTS[name].encode("ascii", "replace").decode().encode(encoding)
    )

    said = batch(name, "out.jsonl").complaint

    assert f"{name}:1: " in said
    assert "zero bytes, so it is not UTF-8 text: save it as UTF-8" in said
    assert not upstream.of("a")
