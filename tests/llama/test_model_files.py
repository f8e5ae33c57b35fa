"""Model files as people have them: capitals, parts, and what stands in a model's place."""

from __future__ import annotations

import pytest

from mixtura import ConfigError, Request, Sampling, ask
from mixtura.models.llama_cpp import Local
from tests.conftest import run
from tests.support import tiny_gguf
from tests.support.forked_program import run_mixtura

SHORT = Request(ask("hello").messages, Sampling(temperature=0.0, max_tokens=6))


def answered(path):
    model = Local(path, context=256, threads=1)
    try:
        return run(model.complete(SHORT)).text
    finally:
        model.close()


def test_a_model_in_parts_answers_as_the_whole_one_whichever_part_is_named(tmp_path):
    whole = answered(tiny_gguf.written(tmp_path / "whole.gguf"))
    parts = tiny_gguf.split(tmp_path)

    assert whole
    assert [answered(part) for part in parts] == [whole] * 3


@pytest.mark.parametrize("ending", [".GGUF", ".Gguf"])
def test_the_parts_of_a_model_may_be_named_in_capitals(ending, tmp_path):
    parts = tiny_gguf.split(tmp_path, 2, ending=ending)

    assert answered(parts[1])


def test_a_model_of_one_part_answers(tmp_path):
    (only,) = tiny_gguf.split(tmp_path, 1)

    assert answered(only)


def test_a_command_takes_any_part_and_says_which_one_is_missing(tmp_path):
    parts = tiny_gguf.split(tmp_path)
    asked = ["ask", "--quiet", "-m", str(parts[2]), "Hello"]
    good = run_mixtura(asked, text=True, cwd=tmp_path)
    parts[1].unlink()
    bad = run_mixtura(asked, text=True, cwd=tmp_path)

    assert (good.returncode, bool(good.stdout.strip())) == (0, True), good.stderr
    assert bad.returncode != 0
    assert "tiny-00002-of-00003.gguf is not beside it" in " ".join(bad.stderr.split())
    assert "Traceback" not in bad.stderr


def test_a_part_that_was_renamed_or_joined_is_told_as_one(tmp_path):
    parts = tiny_gguf.split(tmp_path)
    joined = tmp_path / "joined.gguf"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    (swapped := tmp_path / "other-00001-of-00003.gguf").write_bytes(parts[1].read_bytes())
    for number in (2, 3):
        (tmp_path / f"other-0000{number}-of-00003.gguf").write_bytes(parts[number - 1].read_bytes())

    for path in (joined, swapped):
        with pytest.raises(ConfigError, match=r"one of the 3 parts .*llama-gguf-split --merge"):
            run(Local(path).load())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9", "`git lfs pull`"),
        ("<!DOCTYPE html><html><body>Please log in</body></html>", "a web page"),
        ("<html><body>Please log in again</body></html>", "a web page"),
        ('{"error":"Invalid username or password."}', "it is JSON"),
        ("Entry not found", "not a GGUF file"),
        ("\x14\0\0\0\0\0\0\0" + '{"a":{"dtype":"F16"}}', "a safetensors file"),
        ("PK\x03\x04", "a zip archive, or a model of PyTorch"),
        ("tjgg\x01", "before GGUF"),
    ],
)
def test_what_stands_in_a_models_place_is_told_as_what_it_is(content, said, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text(content)

    with pytest.raises(ConfigError, match=said):
        run(Local(path).load())


def test_a_vocabulary_of_numbers_is_told_as_the_damage_that_it_is(tmp_path):
    numbers = (tiny_gguf.ARRAY, (tiny_gguf.U32, [1, 2, 3]))
    path = tiny_gguf.written(tmp_path / "numbers.gguf", tokenizer__ggml__tokens=numbers)

    with pytest.raises(ConfigError, match=r"'tokenizer\.ggml\.tokens' has other values than str"):
        answered(path)
