"""Data sets as the hub has them, kept in a folder: odd columns, rows with nothing, broken files."""

from __future__ import annotations

import datetime

import pytest

from tests.support import shell as in_process

pytest.importorskip("datasets", reason="the package datasets is not installed")
arrow = pytest.importorskip("pyarrow", reason="the package pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the package pyarrow is not installed")

desk, shell = in_process.desk, in_process.shell
DRY = ("batch", "data", "out", "--format", "dataset", "--dry-run", "-m", "ann")


@pytest.fixture
def table(desk):
    folder = desk.folder / "data"
    folder.mkdir()
    rows = {
        "prompt": ["x", None, "", "y"],
        "when": [datetime.datetime(2020, 1, 1)] * 4,  # noqa: DTZ001
        "nest": [{"a": [1, None]}] * 4,
        "raw": [b"\xff"] * 4,
        "number": [float("nan"), 1.0, float("inf"), None],
    }
    parquet.write_table(arrow.table(rows), folder / "train.parquet")
    return folder / "train.parquet"


WRONG = {
    (): ("row 2: the prompt is empty", "row 3: the prompt is empty"),
    ("--template", "{when} {prompt}"): ("row 2: its prompt is null",),
    ("--column", "raw"): ("row 1: a field holds bytes, which is not text", "row 4: "),
    ("--column", "number"): ("row 1: a field holds nan", "row 3: a field holds inf", "row 4: "),
    ("--column", "nope"): ("the row has no field nope (it has prompt, when, nest, raw, number)",),
    ("--split", "nope"): ("Bad split: nope. Available splits: ['train']",),
    ("--subset", "nope"): ("'nope' not found",),
    ("--image-column", "raw"): ("row 1: an image must be a path or an address",),
}


def test_what_no_row_can_be_asked_with_is_told_with_its_row(table, desk, shell):
    for options, words in WRONG.items():
        ran = shell.run(*DRY, *options)

        assert (ran.code, ran.out) == (2, ""), (options, ran)
        for said in words:
            assert said in ran.err, (options, ran.err)
    assert not (desk.folder / "out").exists()


def test_times_and_nested_fields_are_asked_as_json(table, shell):
    for options in (("--column", "nest"), ("--column", "when"), ("--template", "{nest} {when}")):
        assert shell.run(*DRY, *options).code == 0, options


def _cut_in_half(file):
    file.write_bytes(file.read_bytes()[:800])


def _take_away(file):
    file.unlink()


def _break_json(file):
    file.unlink()
    file.with_suffix(".jsonl").write_text('{"prompt": "x"}\n{"prompt":')


def _put_a_program(file):
    file.unlink()
    file.with_name("data.py").write_text(f"open({str(file.parent / 'ran')!r}, 'w')")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut_in_half, "corrupted"),
        (_take_away, "doesn't contain any data files"),
        (_break_json, "JSON parse error"),
        (_put_a_program, "scripts are no longer supported"),
    ],
)
def test_a_damaged_data_set_is_told_and_no_program_of_it_is_run(damage, said, table, shell):
    damage(table)

    ran = shell.run(*DRY)

    assert (ran.code, ran.out) == (2, "")
    assert "the data set data cannot be read: " in ran.err
    assert said in ran.err
    assert not (table.parent / "ran").exists()
