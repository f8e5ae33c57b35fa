"""Files as people have them: read, or refused with file and line before anyone is asked."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import terminal
from mixtura.core.errors import ConfigError
from mixtura.evals import alpaca_leaderboard
from mixtura.evals.rows import read_rows
from mixtura.evals.tasks import gsm8k, ifeval, jsonl
from tests.support import paths
from tests.support.forked_program import run_mixtura
from tests.support.loopback import Answer, loopback

CASES = paths.CASES / "data"
# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


def put(folder, content, name="rows.jsonl"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def mixtura(*words, folder, **environ):
    said = run_mixtura(
        [str(word) for word in words], cwd=folder, text=True,
        env=os.environ | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)} | environ,
    )  # fmt: skip
    return said.returncode, said.stdout, said.stderr


# ---- the form of a file


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(["\n", "\r\n"]))
def test_a_row_ends_at_a_line_feed_and_at_no_other_character(tmp_path_factory, text, end):
    rows = [{"input": text}, {"input": "\u2028\x85\x0b\x0c\r"}, {"input": text}]
    written = [json.dumps(rows[0], ensure_ascii=False)] + [json.dumps(row) for row in rows[1:]]
    file = put(tmp_path_factory.mktemp("rows"), end.join(written))

    assert [tuple(one) for one in read_rows(file)] == list(enumerate(rows, 1))


ROW = '{"input": "a", "target": "b"}'
TAKEN = {
    "u2028.jsonl": 2, "nel.jsonl": 2, "pretty.json": 1, "gsm_half.jsonl": 4,
}  # fmt: skip
FORMS = {
    "a byte order mark": f"\ufeff{ROW}\n{ROW}".encode(),
    "UTF-16": f"{ROW}\n{ROW}".encode("utf-16"),
    "gzip": gzip.compress(f"{ROW}\n{ROW}\n".encode()),
    "one list": f"[{ROW},\n\n{ROW}]".encode(),
    "objects of several lines": f"{json.dumps(json.loads(ROW), indent=1)}\n{ROW}".encode(),
    "empty lines": f"\n{ROW}\n\n  \r\n{ROW}\n\n".encode(),
}
REFUSED = [
    (b"", "has no rows"), (b"[]", "has no rows"), (b"\n \n", "has no rows"),
    (f"{ROW}\n[1, 2]\n", "line 2: a row must be a JSON"), ('"a"\n', "line 1: a row must be"),
    (f"{ROW}\n{ROW[:-1]}\n{ROW}", "line 2: not JSON: the row is incomplete"),
    (f"{ROW} {ROW}\n", "line 1: a second value follows"), (f"{ROW}\r{ROW}", "line 1: a second"),
    (f"{ROW}\n" + '{"input": "a\x0bb"}', "line 2: not JSON: the control character"),
    ('{"input": "a", "input": "b"}', "line 1: the key 'input' appears twice"),
    (f"{ROW}\n" + '{"input": "\\ud800"}', "line 2: a text has half a character"),
    ('{"input": "a", "target": 1e999}', "line 1: the number 1e999 is too large"),
    (f"{ROW}\n".encode() + b'{"input": "\xff"}', "line 2: not UTF-8"),
    (b"\x89PNG\0\0", "cannot be read: it contains zero bytes"),
    (gzip.compress(ROW.encode(), mtime=0)[:-6], "cannot be read"),
    ("a,b\n1,2\n", "line 1: not JSON: this looks like a table"),
    ("input\ttarget\na\tb\n", "line 1: not JSON: this looks like a table"),
    ("<!DOCTYPE html><html>404</html>", "line 1: not JSON: this is a web page"),
    ("version https://git-lfs.github.com/spec/v1\n", "line 1: not JSON: a pointer of git LFS"),
    (b"PK\x03\x04\x14\0\xff", "cannot be read: this is a zip archive"),
    (b"PAR1\x15\x04", "line 1: not JSON: this is a Parquet file"),
    ("{'input': 'a'}", "line 1: not JSON: this is Python's notation"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_in_every_form_that_they_come_in(form, tmp_path):
    assert [one.row for one in read_rows(put(tmp_path, FORMS[form]))] == [json.loads(ROW)] * 2


@pytest.mark.parametrize("name", TAKEN)
def test_files_that_people_have_are_read_whole(name):
    assert len(read_rows(str(CASES / name))) == TAKEN[name]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_what_is_no_file_of_rows_is_refused_with_its_line(content, said, tmp_path):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        read_rows(put(tmp_path, content))


# ---- the rows


ODD = [
    ({"input": "a", "question": "b", "target": "c"}, "both be the question"),
    ({"input": "a", "target": True}, "`target` is true"),
    ({"input": "a", "target": ""}, "is empty"),
    ({"input": "a", "target": []}, "empty list"), ({"input": "a", "target": {}}, "must be a text"),
    ({"input": 5, "target": "a"}, "must be a text or a list of messages"),
    ({"input": " ", "target": "a"}, "is empty"), ({"target": "a"}, "none of input"),
    ({"messages": [{"role": "assistant", "content": "a"}], "target": "a"}, "there is no question"),
    ({"messages": [{"role": "user"}], "target": "a"}, "a message needs a role"),
    ({"input": "a", "id": True, "target": "b"}, "an id must be a text"),
    ({"input": "a", "id": [1], "target": "b"}, "an id must be a text"),
    ({"input": "a", "id": 1.5, "target": "b"}, "an id must be a text"),
    ({"prompt": "p", "test": "t", "entry_point": "e"}, "looks like a row of humaneval"),
    ({"input": "a", "answer": "b", "reference": "c"}, "differ"),
    ({"input": "a", "answer": "1", "target": "2"}, "`target` and `answer` differ"),
    ({"input": "a", "answer": "so\n#### 1", "target": "2"}, "`target` and `answer` differ"),
    ({"input": "a", "choices": ["x", "y"], "answer": 1}, "`choices`, which no task sends"),
    ({"input": "a", "options": {"A": "x", "B": "y"}, "answer": "B"}, "`options`, which no task"),
    ({"input": "a", "choices": {"text": ["x"], "label": ["A"]}, "answer": "A"}, "`choices`"),
    ({"instruction": "a", "input": "b", "context": "c", "target": "d"}, "could both belong"),
    ({"instruction": "a", "context": ["c"], "target": "d"}, "`context` must be a text"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said"), ODD)
def test_a_row_that_cannot_be_asked_or_scored_is_named_with_its_line(row, said, tmp_path):
    file = put(tmp_path, lines({"input": "a", "target": "b"}, row))

    with pytest.raises(ConfigError, match=rf"rows\.jsonl, line 2: .*{said}"):
        jsonl.jsonl(file)


def test_an_id_that_stands_twice_is_named_with_both_lines():
    with pytest.raises(ConfigError, match="line 2: the id 1 is also used in line 1"):
        jsonl.jsonl(str(CASES / "dupid.jsonl"))


def test_alpacas_input_is_joined_to_its_instruction(tmp_path):
    row = {"instruction": "Translate.", "input": "Ja", "output": "x", "text": "Translate. Ja x"}
    (one, two) = jsonl.jsonl(
        put(
            tmp_path,
            lines(row | {"target": "Yes"}, {"instruction": "I", "input": "", "target": "t"}),
        )
    ).dataset

    assert one.input[0].text == "Translate.\n\nJa"
    assert two.input[0].text == "I"


def test_a_context_is_joined_to_its_instruction_as_an_input_is(tmp_path):
    row = {"instruction": "Sum", "target": "3"}
    there = [row | {"context": "1 2"}, row | {"context": ""}, row | {"context": None}]
    found = jsonl.jsonl(put(tmp_path, lines(*there))).dataset

    assert [one.input[0].text for one in found] == ["Sum\n\n1 2", "Sum", "Sum"]


def test_a_row_that_says_the_same_twice_is_taken(tmp_path):
    rows = [
        {"input": "a", "answer": "so\n#### 18", "target": "18"},
        {"input": "a", "answer": 18, "target": "18"},
        {"input": "a", "answer": "x", "target": ["x", "X"]},
        {"input": "x or y?", "choices": ["x", "y"], "target": "x"},
    ]
    found = jsonl.jsonl(put(tmp_path, lines(*rows))).dataset

    assert [one.target for one in found] == ["18", "18", ["x", "X"], "x"]


def test_rows_of_gsm8ks_form_are_known_by_their_mark_and_compared_as_numbers():
    file = str(CASES / "gsm_half.jsonl")

    assert [one.target for one in jsonl.jsonl(file).dataset] == ["2.5", "100", "18", "180000"]
    assert jsonl.default_scoring(file) == "number"
    assert len(gsm8k.gsm8k(file).dataset) == 4


def test_a_row_of_ifeval_that_cannot_be_checked_is_named_before_anyone_is_asked(tmp_path):
    for name, said in (("missing_kwarg", "`nth_paragraph` is missing"), ("at_most", "'at least'")):
        with pytest.raises(ConfigError, match=f"{name}.jsonl, line 1: .*{said}"):
            ifeval.ifeval(str(CASES / f"ifeval_{name}.jsonl"))
    row = {"prompt": "p", "instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}
    with pytest.raises(ConfigError, match="did you mean 'punctuation:no_comma'"):
        ifeval.ifeval(put(tmp_path, lines(row)))
    row["instruction_id_list"] = ["punctuation:no_comma"]
    with pytest.raises(ConfigError, match="`commas` is not one of its fields"):
        ifeval.ifeval(put(tmp_path, lines(row | {"kwargs": [{"commas": 1}]})))


# ---- the command line


FAKE = '[models.a]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "x"\n'


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (("eval", "jsonl", "--model", "a", "--data"), "line3.jsonl", "line 3"),
        (("eval", "jsonl", "--model", "a", "--data"), "nan.jsonl", "line 1: NaN"),
        (("eval", "jsonl", "--model", "a", "--data"), "booltarget.jsonl", "line 1"),
        (("compare", "t", "--on"), "dupid.jsonl", "line 2"),
        (("select", "--models", "a", "b", "--on"), "line3.jsonl", "line 3"),
        (("report", "diversity", "--answers"), "line3.jsonl", "line 3"),
    ],
)
def test_every_command_says_file_and_line_and_asks_no_one(words, name, said, tmp_path):
    team = '[mixtures.t]\nlayers = [["a", "b"]]\naggregator = "a"\n'
    put(tmp_path, FAKE + FAKE.replace("models.a", "models.b") + team, "mixtura.toml")

    code, _, err = mixtura(*words, CASES / name, folder=tmp_path)

    assert code == 2, err
    assert f"{name}, {said}" in " ".join(err.split())
    assert "Traceback" not in err


def test_annotations_and_difficulties_that_repeat_are_refused_with_both_places(tmp_path):
    row = {"output_1": "a", "generator_1": "g", "output_2": "bb", "generator_2": "h"}
    rows = [row | {"instruction": name, "preference": 1.5} for name in "abca"]
    file = put(tmp_path, json.dumps(rows, indent=1), "annotations.json")
    code, _, err = mixtura("eval", "alpaca-eval", "--annotations", file, folder=tmp_path)
    hard = put(tmp_path, "index,instruction_difficulty\n0,0.5\n1,0.1\n0,0.2\n", "hard.csv")

    assert code == 2
    assert "the instruction is that of line 2 (row 1)" in " ".join(err.split())
    with pytest.raises(
        ConfigError, match="line 4: the index 0 already has a difficulty, in line 2"
    ):
        alpaca_leaderboard.read_difficulties(Path(hard))


def test_a_name_with_a_dot_is_told_to_be_quoted(tmp_path):
    code, _, err = mixtura("ask", "x", "--config", CASES / "dotname.toml", folder=tmp_path)

    assert code == 2
    assert ':1: put a name with a dot in quotation marks: [models."gpt-4.1"]' in " ".join(
        err.split()
    )


def test_a_socks_proxy_is_told_as_what_it_is_without_its_password(tmp_path):
    put(tmp_path, FAKE.replace("127.0.0.1", "10.1.1.1"), "mixtura.toml")
    proxy = "socks5h://user:made-up-word@127.0.0.1:1"
    code, _, err = mixtura("ask", "-m", "a", "x", folder=tmp_path, ALL_PROXY=proxy, NO_PROXY="")

    assert code == 3
    assert "ALL_PROXY uses SOCKS" in " ".join(err.split())
    assert "made-up-word" not in err


# ---- lists of runs


@pytest.mark.parametrize("width", [17, 20, 27, 40, 59, 60, 80, 95, 96, 200])
def test_a_run_is_always_listed_with_its_whole_id(width):
    from rich.console import Console

    run = {
        "id": "20261128-87ywha91", "started": "2020-01-01T00:00:00+00:00", "model": "m" * 40,
        "seconds": 1.0, "cost_usd": 0.1, "question": "why " * 50, "state": "failed",
    }  # fmt: skip
    out = Console(width=width, record=True, file=io.StringIO())
    out.print(terminal.runs_table([run], width))

    assert run["id"] in out.export_text()


# ---- doubtful scores


def test_a_selection_writes_no_team_that_never_scored(tmp_path):
    rows = lines(*({"input": f"Say {n}", "target": f"t{n}"} for n in range(6)))
    put(tmp_path, rows)
    with loopback() as server:
        server.answers["x"] = lambda _: Answer.text("nothing of use")
        one = f'base_url = "{server.base_url}"\nmodel = "x"\n'
        put(tmp_path, f"[models.a]\n{one}[models.b]\n{one}", "mixtura.toml")
        code, _, err = mixtura(
            "select", "--models", "a", "b", "--on", "rows.jsonl", "--out", "team.toml",
            folder=tmp_path,
        )  # fmt: skip
        scored, out, _ = mixtura(
            "eval", "jsonl", "--model", "a", "--data", "rows.jsonl", folder=tmp_path
        )

    assert code == 3, err
    assert "no team scored a point" in " ".join(err.split())
    assert not (tmp_path / "team.toml").exists()
    assert scored == 0
    assert "No answer scored a point" in " ".join(out.split())
