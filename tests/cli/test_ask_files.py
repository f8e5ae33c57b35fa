"""Files, pictures, schemas and output files of `mixtura ask`, and conversations gone on with."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import stat
import sys

import pytest

from tests.support import shell as in_process
from tests.support.command_line import ANSWER, last_message
from tests.support.loopback import Answer

desk, shell = in_process.desk, in_process.shell

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
needs_pdf_reader = pytest.mark.skipif(
    shutil.which("pdftotext") is None and importlib.util.find_spec("pypdf") is None,
    reason="neither pdftotext nor pypdf (the extra pdf) is installed",
)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "born": {"type": "integer"}},
    "required": ["name", "born"],
    "additionalProperties": False,
}


def pdf(*texts: str) -> bytes:
    """A PDF with a page for each text."""
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(texts)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>",
               f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>".encode()]  # fmt: skip
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for i, text in enumerate(texts):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Resources {font}"
        objects.append(f"{page} /Contents {4 + 2 * i} 0 R >>".encode())
        drawn = f"BT /F 12 Tf 20 200 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    whole, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        starts.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, len(whole))
    return whole + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (size, table, end)


# ---------------------------------------------------------------- files


def test_text_files_stand_before_the_question_under_their_names(shell):
    shell.desk.write("def f():\n    return 1\n", "f.py")
    shell.desk.write("A list.\n", "notes.md")
    words = ("--attach", "f.py", "--attach", "notes.md", "What", "is", "this?")
    ran = shell.run("ask", "-m", "ann", *words)
    (request,) = shell.desk.server.requests

    assert ran.code == 0
    assert last_message(request) == (
        '<file name="f.py">\ndef f():\n    return 1\n</file>\n\n'
        '<file name="notes.md">\nA list.\n</file>\n\nWhat is this?'
    )
    assert "Attached f.py (2 lines)." in ran.err
    listed = shell.run("runs", "--json").json["runs"][0]
    assert listed["question"] == "[f.py] [notes.md] What is this?"


@pytest.mark.parametrize("option", ["--attach", "--image"])
def test_a_picture_reaches_the_model_as_one(option, shell):
    (shell.desk.folder / "dot.png").write_bytes(PNG)
    ran = shell.run("ask", "-m", "ann", option, "dot.png", "What is this?")
    (request,) = shell.desk.server.requests
    picture, text = request["messages"][-1]["content"]

    assert ran.code == 0, ran.err
    assert picture["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert text == {"type": "text", "text": "What is this?"}
    assert "Attached dot.png (PNG picture, 1 kB)." in ran.err
    assert "iVBOR" not in shell.run("show", "last", "--json").out


def test_a_picture_may_have_a_web_address(shell):
    ran = shell.run("ask", "-m", "ann", "--image", "https://pictures.example/a.jpg", "What?")
    (request,) = shell.desk.server.requests

    assert ran.code == 0, ran.err
    address = request["messages"][-1]["content"][0]["image_url"]["url"]
    assert address == "https://pictures.example/a.jpg"


@needs_pdf_reader
def test_the_text_of_a_pdf_is_read_page_by_page(shell):
    (shell.desk.folder / "two.pdf").write_bytes(pdf("First page.", "Second page."))
    ran = shell.run("ask", "-m", "ann", "--attach", "two.pdf", "Sum this up.")

    assert ran.code == 0, ran.err
    text = last_message(shell.desk.server.requests[0])
    assert "[page 1]\nFirst page." in text
    assert "[page 2]\nSecond page." in text
    assert "Attached two.pdf (PDF, 2 pages)." in ran.err


@needs_pdf_reader
def test_a_pdf_without_text_and_a_broken_one_say_so(shell):
    (shell.desk.folder / "scan.pdf").write_bytes(pdf(""))
    (shell.desk.folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")

    assert "has no text in it" in shell.run("ask", "--attach", "scan.pdf", "Q").complaint
    assert "cannot be read as a PDF" in shell.run("ask", "--attach", "broken.pdf", "Q").complaint


def test_a_pdf_without_its_reader_says_what_to_install(shell):
    (shell.desk.folder / "a.pdf").write_bytes(pdf("Text."))
    shell.patch.setitem(sys.modules, "pypdf", None)  # Python's own way to say that it is missing

    said = shell.run("ask", "--attach", "a.pdf", "Q", PATH="/nowhere").complaint
    assert "pypdf" in said
    assert "pip install" in said


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing.txt", None, "there is no file missing.txt"),
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n", "has no text in it"),
        ("latin.txt", "Grüße".encode("latin-1"), "iconv"),
        ("report.docx", b"PK\x03\x04\x00\xff", "save it as PDF"),
        ("photo.tiff", b"II*\x00\xff\xfe\x00", "convert it to PNG"),
        ("song.mp3", b"ID3\x04\xff\xfe\x00", "audio"),
        ("zeros.bin", b"\0\0\0\0", "is not UTF-8 text"),
        (".", None, "is a folder"),
        ("https://site.example/page", None, "is a web address"),
    ],
)
def test_a_file_that_no_model_could_read_is_refused_before_anyone_is_asked(name, data, said, shell):
    if data is not None:
        (shell.desk.folder / name).write_bytes(data)
    ran = shell.run("ask", "--attach", name, "What is this?")

    assert said in ran.complaint
    assert "--attach" in ran.err
    assert shell.desk.server.requests == []


def test_a_picture_must_be_one(shell):
    shell.desk.write("no picture", "a.txt")

    assert "is not a PNG, JPEG" in shell.run("ask", "--image", "a.txt", "Q").complaint
    assert "begins with data:image/" in shell.run("ask", "--image", "data:x", "Q").complaint


def test_text_of_windows_is_text(shell):
    (shell.desk.folder / "a.txt").write_bytes("Grüße\r\n".encode("utf-16"))
    shell.run("ask", "-m", "ann", "--attach", "a.txt", "Q")

    assert '<file name="a.txt">\nGrüße\n</file>' in last_message(shell.desk.server.requests[0])


def test_a_dry_run_counts_what_is_attached_and_names_it(shell):
    shell.desk.write("word " * 4000, "long.txt")
    bare = shell.run("ask", "-m", "ann", "--dry-run", "--json", "Q").json
    ran = shell.run("ask", "-m", "ann", "--dry-run", "--json", "--attach", "long.txt", "Q").json

    assert ran["max_cost_usd"] > bare["max_cost_usd"]
    assert ran["attachments"] == [{"name": "long.txt", "description": "1 line"}]
    assert shell.desk.server.requests == []


# ---------------------------------------------------------------- the system prompt, sampling


def test_a_system_prompt_may_stand_in_a_file(shell):
    shell.desk.write("Speak as a pirate.\n", "pirate.txt")
    shell.run("ask", "-m", "ann", "--system", "@pirate.txt", "Q")
    shell.run("ask", "-m", "ann", "--system", "@@home", "Q")
    prompts = [r["messages"][0]["content"] for r in shell.desk.server.requests]

    assert prompts == ["Speak as a pirate.", "@home"]
    assert "written @@" in shell.run("ask", "--system", "@missing", "Q").complaint


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_system_prompt_and_a_question_may_have_a_byte_order_mark(encoding, shell):
    (shell.desk.folder / "pirate.txt").write_bytes("Grüße.".encode(encoding))
    shell.run("ask", "-m", "ann", "--system", "@pirate.txt", "-", stdin="Süß?".encode(encoding))
    (request,) = shell.desk.server.requests

    assert [one["content"] for one in request["messages"]] == ["Grüße.", "Süß?"]


def test_top_p_is_of_the_answer_and_in_range(shell):
    shell.run("ask", "-m", "team", "--top-p", "0.5", "Q")

    assert shell.desk.server.asked("chief")[0]["top_p"] == 0.5
    assert "top_p" not in shell.desk.server.asked("ann")[0]
    assert "--top-p" in shell.run("ask", "--top-p", "1.5", "Q").complaint


# ---------------------------------------------------------------- schemas


def test_an_answer_that_matches_its_schema_is_printed_as_json(shell):
    (shell.desk.folder / "person.json").write_bytes(json.dumps(PERSON).encode("utf-16"))
    answer = '```json\n{"name": "Ada", "born": 1815}\n```'
    shell.desk.server.answers["ann"] = Answer.text(answer)
    ran = shell.run("ask", "-m", "ann", "--schema", "person.json", "Who?")
    (request,) = shell.desk.server.requests

    assert (ran.code, json.loads(ran.out)) == (0, {"name": "Ada", "born": 1815})
    assert request["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": PERSON, "strict": True},
    }
    whole = shell.run("ask", "-m", "ann", "--schema", "person.json", "--json", "Who?").json
    assert (whole["data"], whole["error"]) == ({"name": "Ada", "born": 1815}, None)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"name": "Ada", "born": "1815"}', "$.born: '1815' is not of type 'integer'"),
        ('{"name": "Ada"}', "'born' is a required property"),
        ('{"name": "Ada", "born": 1, "x": 1}', "('x' was unexpected)"),
        ("Ada, 1815", "is not JSON"),
        ('{"name": "Ada", "born": NaN}', "NaN"),
    ],
)
def test_an_answer_that_does_not_match_is_told_kept_and_not_printed(answer, said, shell):
    shell.desk.write(json.dumps(PERSON), "person.json")
    shell.desk.server.answers["ann"] = Answer.text(answer)
    words = ("ask", "-m", "ann", "--schema", "person.json", "--output", "ada.json", "Who?")
    ran = shell.run(*words)

    assert (ran.code, ran.out) == (3, "")
    assert said in ran.err
    assert not (shell.desk.folder / "ada.json").exists()
    kept = shell.run("show", "last", "--json").json
    assert (kept["state"], kept["answer"]) == ("failed", answer)
    assert said in kept["error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "a schema is an object"),
        ('{"type": "text"}', "'text' is not one of"),
        ('{"properties": {"a": {"typ": "string"}}}', "unknown keyword 'typ': did you mean 'type'?"),
        ('{"$ref": "#/$defs/none"}', "there is no #/$defs/none"),
        ('{"$ref": "other.json"}', "only references into this file"),
        ('{"pattern": "("}', "'(' is not a 'regex'"),
    ],
)
def test_a_wrong_schema_is_refused_before_anyone_is_asked(text, said, shell):
    shell.desk.write(text, "s.json")

    assert said in shell.run("ask", "--schema", "s.json", "Q").complaint
    assert shell.desk.server.requests == []


# ---------------------------------------------------------------- output files


def test_the_answer_goes_to_a_file_whole(shell):
    ran = shell.run("ask", "--output", "answer.md", "Why?")
    file = shell.desk.folder / "answer.md"

    assert (ran.code, ran.out, file.read_text()) == (0, "", ANSWER)
    assert "Written to answer.md." in ran.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~_umask()
    ran = shell.run("ask", "--json", "--output", "answer.json", "Why?")
    assert ran.out == ""
    whole = json.loads((shell.desk.folder / "answer.json").read_text())
    assert whole["answer"] + "\n" == ANSWER
    quiet = shell.run("ask", "--quiet", "--output", "answer.md", "Why?")
    assert (quiet.out, quiet.err) == ("", "")
    names = {one.name for one in shell.desk.folder.iterdir()}
    assert names == {"answer.md", "answer.json", "mixtura.toml"}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_half_a_character_does_not_lose_the_answer_on_its_way_to_a_file(shell):
    shell.desk.server.answers["ann"] = Answer(("Blue \ud83d", " sky."))
    ran = shell.run("ask", "-m", "ann", "--output", "a.md", "Why?")
    whole = shell.run("ask", "-m", "ann", "--json", "--output", "a.json", "Why?")

    assert (ran.code, whole.code) == (0, 0), ran.err + whole.err
    assert "sky." in (shell.desk.folder / "a.md").read_text()
    assert "sky." in json.loads((shell.desk.folder / "a.json").read_text())["answer"]


def test_a_file_stays_as_it_was_where_there_is_no_answer(shell):
    shell.desk.write("old", "answer.md")
    shell.desk.server.answers["ann"] = Answer.refused(400, "no")
    ran = shell.run("ask", "-m", "ann", "--output", "answer.md", "Why?")

    assert ran.code == 3
    assert (shell.desk.folder / "answer.md").read_text() == "old"


@pytest.mark.parametrize(("name", "said"), [("no/a.md", "no folder no"), (".", "is a folder")])
def test_a_file_that_cannot_be_written_is_told_before_anyone_is_asked(name, said, shell):
    assert said in shell.run("ask", "--output", name, "Why?").complaint
    assert shell.desk.server.requests == []


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("words", "mistyped"),
    [
        (("And?", "--continue", "20261128x5893ew3"), "20261128x5893ew3"),
        (("And?", "-c", "nosuchrun"), "nosuchrun"),
        (("--continue", "20261128_s589", "And?"), "20261128_s589"),
        (("-m", "ann", "And", "so?", "-c", "2026112-s58"), "2026112-s58"),
        (("--continue", "nosuch", "And at night?"), "nosuch"),
        (("-c", "s5893ew3", "-m", "ann", "And at night?"), "s5893ew3"),
    ],
)
def test_a_mistyped_run_to_go_on_with_is_no_part_of_the_question(words, mistyped, shell):
    ran = shell.run("ask", *words)

    assert f"no run is called '{mistyped}'" in ran.complaint
    assert shell.desk.server.requests == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--continue", "And", "at", "night?"), "And at night?"),
        (("-c", "Why?", "--system", "Be very brief."), "Why?"),
        (("-m", "ann", "-c", "And at night?"), "And at night?"),
    ],
)
def test_a_word_of_the_question_is_no_run_to_go_on_with(words, asked, shell):
    shell.run("ask", "-m", "ann", "Why blue?")

    assert shell.run("ask", *words).code == 0
    assert last_message(shell.desk.server.requests[-1]) == asked


@pytest.mark.parametrize("words", [("--continue", "latest", "And?"), ("And?", "-c", "Last")])
def test_the_last_run_is_meant_by_its_usual_names(words, shell):
    shell.run("ask", "-m", "ann", "Why blue?")

    assert shell.run("ask", *words).code == 0
    assert last_message(shell.desk.server.requests[-1]) == "And?"


def test_a_conversation_goes_on_with_who_answered_and_all_that_was_said(shell):
    shell.run("ask", "-m", "ann", "--system", "Be brief.", "Why blue?")
    ran = shell.run("ask", "--continue", "And", "at", "night?")

    assert ran.code == 0, ran.err
    assert shell.desk.server.requests[-1]["model"] == "ann"
    assert [m["content"] for m in shell.desk.server.requests[-1]["messages"]] == [
        "Be brief.", "Why blue?", "Air scatters blue light.", "And at night?",
    ]  # fmt: skip
    first = shell.run("runs", "--json").json["runs"][-1]["id"]
    assert "Continuing run " in ran.err
    second = shell.run("runs", "--json").json["runs"][0]["id"]
    assert shell.run("show", second, "--json").json["conversation"] == first
    planned = shell.run("ask", "--continue", first, "--dry-run", "--json", "And?").json
    assert planned["continued"] == first
    shell.run("ask", "-m", "ben", "--continue", first, "--system", "Be long.", "And in Spain?")
    assert shell.desk.server.requests[-1]["model"] == "ben"
    assert [m["content"] for m in shell.desk.server.requests[-1]["messages"]] == [
        "Be long.", "Why blue?", "Air scatters blue light.", "And in Spain?",
    ]  # fmt: skip


def test_a_picture_that_is_not_kept_is_a_note_when_it_goes_on(shell):
    (shell.desk.folder / "dot.png").write_bytes(PNG)
    shell.run("ask", "-m", "ann", "--image", "dot.png", "What is this?")
    shell.run("ask", "--continue", "Sure?")
    first = shell.desk.server.requests[-1]["messages"][0]["content"]

    assert first == "[There was a picture here. It was not kept.]\nWhat is this?"


def test_where_nothing_can_be_gone_on_with_that_is_said(shell):
    assert "no conversation to continue" in shell.run("ask", "--continue", "Q").complaint
    assert "no run is called" in shell.run("ask", "--continue", "20200101-aaaa", "Q").complaint
    shell.desk.server.answers["ann"] = Answer.refused(400, "no")
    shell.run("ask", "-m", "ann", "Q")
    failed = shell.run("runs", "--json").json["runs"][0]["id"]
    assert "has no answer" in shell.run("ask", f"--continue={failed}", "Q").complaint


# ---------------------------------------------------------------- chat


def test_a_file_goes_with_the_next_turn_of_a_chat_and_stays_in_the_talk(shell):
    shell.desk.write("A list.\n", "notes.md")
    typed = b"/attach notes.md\nWhat is this?\nAnd now?\n/attach\n/attach none\n/save talk.json\n"
    ran = shell.run("chat", "-m", "ann", stdin=typed)
    first, second = shell.desk.server.requests

    asked = '<file name="notes.md">\nA list.\n</file>\n\nWhat is this?'
    assert ran.code == 0
    assert last_message(first) == asked
    assert [m["content"] for m in second["messages"]][::2] == [asked, "And now?"]
    for said in ("goes with the next question", "which file?", "there is no file none"):
        assert said in ran.err
    saved = json.loads((shell.desk.folder / "talk.json").read_text())
    assert saved["messages"][0]["content"] == asked


def test_files_of_the_command_go_with_the_first_turn(shell):
    shell.desk.write("A list.\n", "notes.md")
    shell.run("chat", "-m", "ann", "--attach", "notes.md", stdin=b"What?\n/retry\n")

    first, again = map(last_message, shell.desk.server.requests)
    assert first == again == '<file name="notes.md">\nA list.\n</file>\n\nWhat?'
