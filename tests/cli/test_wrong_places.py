"""Names and places that `review`, `export`, `calibrate`, `report` and `batch` cannot use."""

from __future__ import annotations

import pytest

from tests.support import shell as in_process

desk, shell = in_process.desk, in_process.shell
KEY = "sk-proj-Canary0123456789abcdefghij"
LONG = "n" * 300
REFUSED = {
    ("export", "o", "--batch", "."): "is a folder",
    ("export", "o", "--batch", ".."): "is a folder",
    ("export", "o", "--batch", LONG): "File name too long",
    ("export", "o", "--batch", "gone"): "give --batch the OUT of a batch",
    ("export", "o", "--batch", "made", "--journal", "."): "there is no journal",
    ("export", "o", "--batch", "made"): "is not a database",
    ("export", "made", "--batch", "made"): "is a file of the batch",
    ("export", "link", "--batch", "made"): "is a file of the batch",
    ("export", "made.journal", "--batch", "made"): "is a file of the batch",
    ("export", "in", "--batch", "made", "--input", "in"): "is a file of the batch",
    ("export", "o", "--since", ""): "is not a date",
    ("export", "o", "--since", KEY): "is not a date",
    ("calibrate", "--from", LONG): "there is no folder",
    ("calibrate", "--from", "made"): "there is no folder",
    ("calibrate", "--from", KEY): "there is no folder ***",
    ("report", "--from", LONG, "--out", "o"): "there is no folder",
    ("batch", LONG, "o"): "there is no file",
    ("batch", "../x", "o"): "there is no file",
    ("batch", "x/..", "o"): "there is no file",
    ("pull", KEY): "unknown local model '***'",
    ("pull", "smollm2-135m", "../x"): "unknown local model '../x'",
}  # fmt: skip


def test_a_name_that_is_no_file_of_the_kind_is_told_and_nothing_is_written(desk, shell):
    for name in ("made", "made.journal", "in"):
        desk.write('{"id": "1"}\n', name)
    (desk.folder / "link").symlink_to("made")
    before = {path.name: path.read_bytes() for path in desk.folder.iterdir()}

    for words, said in REFUSED.items():
        ran = shell.run(*words)

        assert (ran.code, ran.out) == (2, ""), (words, ran)
        assert said in ran.err, (words, ran.err)
        assert KEY not in ran.err
        assert {path.name: path.read_bytes() for path in desk.folder.iterdir()} == before, words


@pytest.mark.parametrize("words", [("x" * 5_000,), ("is", "y" * 300, "right?"), ("a/" * 3_000,)])
def test_a_question_of_any_length_is_no_name_of_a_file(words, shell):
    """A review asks whether a word of its question is a file: no name may have so many bytes."""
    ran = shell.run("review", "--dry-run", "-p", "ann", *words, stdin=b"+ a line")

    assert ran.code == 0, ran.err


def test_a_key_in_the_place_of_a_mixture_is_not_repeated(shell):
    ran = shell.run("export", "o", "--mixture", KEY)

    assert ran.code == 0
    assert "No answer of *** is kept" in ran.err
