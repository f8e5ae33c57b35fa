"""`mixtura review`: findings of several members merged, with their evidence; wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from mixtura import Layer, Proposer, ask
from mixtura.core.json_schema import find_mismatches
from mixtura.core.types import Completion, Message
from mixtura.models.fake import Scripted
from mixtura.patterns import review
from mixtura.patterns.review_findings import Finding, merge_findings, parse_findings
from tests.conftest import run
from tests.support import command_line, shell
from tests.support.loopback import Answer

desk = command_line.desk
shell = shell.shell

DIFF = b"""diff --git a/app/pay.py b/app/pay.py
--- a/app/pay.py
+++ b/app/pay.py
@@ -10,4 +10,5 @@ def pay(amount):
     total = 0
-    total += amount
+    total -= amount
+    log(card_number)
     return total
"""
SIGN = {
    "file": "app/pay.py", "line": 3, "severity": "medium", "quote": "+    total -= amount",
    "problem": "The amount is subtracted, so the total has the wrong sign.",
    "suggestion": "Use +=.",
}  # fmt: skip
CARD = {
    "file": "pay.py", "line": 12, "severity": "high", "quote": "log(card_number)",
    "problem": "The card number is written to the log.", "suggestion": None,
}  # fmt: skip
INVENTED = {
    "file": "app/pay.py", "line": 90, "severity": "low", "quote": "eval(user_input)",
    "problem": "Input is evaluated.", "suggestion": None,
}  # fmt: skip
SIGN_AGAIN = SIGN | {
    "severity": "high", "line": 11, "problem": "Wrong sign: the total falls by the amount.",
}  # fmt: skip


def finds(*findings):
    return Answer.text(f"Here it is:\n```json\n{json.dumps({'findings': findings})}\n```")


@pytest.fixture
def reviews(shell):
    shell.desk.server.answers |= {"ann": finds(SIGN, CARD), "ben": finds(INVENTED, SIGN_AGAIN)}
    text = (shell.desk.folder / "mixtura.toml").read_text()
    shell.desk.write(f'{text}\n[mixtures.review]\npattern = "review"\nlayers = [["ann", "ben"]]\n')
    return shell


def test_a_diff_is_reviewed_with_what_most_found_first_and_its_place_from_the_quote(reviews):
    ran = reviews.run("review", stdin=DIFF)

    assert ran.code == 0
    assert ran.out.splitlines() == [
        "app/pay.py:11  high  found by 2 of 2",
        "  The amount is subtracted, so the total has the wrong sign.",
        "  > + total -= amount",
        "  Suggestion: Use +=.",
        "  ann, ben",
        "",
        "app/pay.py:12  high  found by 1 of 2",
        "  The card number is written to the log.",
        "  > log(card_number)",
        "  ann",
        "",
        "app/pay.py:90  low  found by 1 of 2",
        "  Input is evaluated.",
        "  > eval(user_input)",
        "  (none of the quoted lines occurs in the text: check by hand)",
        "  ben",
        "",
        "3 findings; 1 by more than one of 2 members.",
    ]
    (asked,) = reviews.desk.server.asked("ann")
    assert "total -= amount" in asked["messages"][-1]["content"]


def test_a_quiet_review_says_its_findings_alone(reviews):
    told = reviews.run("review", stdin=DIFF)
    ran = reviews.run("review", "--quiet", stdin=DIFF)

    assert (ran.code, ran.out, ran.err) == (0, told.out, "")


def test_the_json_is_what_the_schema_says(reviews):
    schema = reviews.run("review", "--schema").json
    review = reviews.run("review", "--json", "Is it safe?", stdin=DIFF).json

    assert find_mismatches(schema, review) == []
    assert review["members"] == ["ann", "ben"]
    first, _, last = review["findings"]
    assert (first["found_by"], first["of"], first["line"]) == (2, 2, 11)
    assert [row["member"] for row in first["evidence"]] == ["ann", "ben"]
    assert (first["quote_found"], last["quote_found"]) == (True, False)
    assert "Is it safe?" in reviews.desk.server.requests[0]["messages"][-1]["content"]


SIGN_TEXT = "The amount is subtracted, so the total is wrong."
SAME_LINE, NEXT_LINE = "total -= amount", "log(card_number)"


@pytest.mark.parametrize(
    ("problem", "quote", "many"),
    [
        ("Wrong sign: the total falls by the amount.", SAME_LINE, 1),
        ("total must grow.", SAME_LINE, 1),
        ("The function has no docstring.", SAME_LINE, 2),
        ("The wrong amount is logged after it was subtracted from the total.", NEXT_LINE, 1),
        ("The card number is written to the log, so it is not safe.", NEXT_LINE, 2),
        ("Die Kartennummer ist im Log.", NEXT_LINE, 2),
    ],
)
def test_only_findings_about_one_thing_are_one_however_near_they_stand(problem, quote, many):
    mine = Finding(SIGN_TEXT, "low", SAME_LINE)

    merged = merge_findings(
        [("ann", [mine]), ("ben", [Finding(problem, "high", quote)])], DIFF.decode()
    )

    assert [len(group.evidence) for group in merged] == ([2] if many == 1 else [1, 1])


@pytest.mark.parametrize(
    ("head", "place"),
    [
        ("--- a/old.py\n+++ /dev/null\n@@ -4,2 +0,0 @@\n-def f():\n-    x = 1", ["old.py", 5]),
        ("--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+def f():\n+    x = 1", ["new.py", 2]),
        ('--- "a/\\303\\244"\n+++ "b/\\303\\244"\n@@ -1 +1 @@\n-x\n+x = 1', ["ä", 1]),
        ('--- "a/a\\"b"\n+++ "b/a\\"b"\n@@ -1 +1 @@\n-x\n+x = 1', ['a"b', 1]),
    ],
)  # fmt: skip
def test_a_finding_has_the_name_and_line_that_its_file_has_or_had(head, place):
    after = "\n--- a/other.py\n+++ b/other.py\n@@ -7 +7 @@\n-y\n+y = 2\n"
    findings = [Finding("Wrong.", "low", "x = 1"), Finding("Bad.", "low", "y = 2")]

    merged = merge_findings([("ann", findings)], f"diff --git a/x b/x\n{head}{after}")

    rows = [one.to_json(1) for one in merged]
    assert [[row["file"], row["line"]] for row in rows] == sorted([place, ["other.py", 7]])


def test_initials_are_telling_and_a_word_of_any_sentence_is_not():
    first = Finding("An SQL injection.", "high", SAME_LINE)

    def merged(problem):
        return len(merge_findings([("a", [first]), ("b", [Finding(problem, "high", SAME_LINE)])],
                                  DIFF.decode()))  # fmt: skip

    assert merged("SQL is written by hand.") == 1
    assert merged("An int overflows.") == 2


def test_files_are_reviewed_by_their_own_lines(reviews):
    reviews.desk.write("# Notes\n\nThe earth is flat.\n", "notes.md")
    claim = {"problem": "It is round.", "severity": "low", "quote": "The earth is flat."}
    reviews.desk.server.answers |= {"ann": finds(claim), "ben": finds()}

    review = reviews.run("review", "--json", "--file", "notes.md").json

    (one,) = review["findings"]
    assert (one["file"], one["line"], one["found_by"], one["of"]) == ("notes.md", 3, 1, 2)


HEAD = "--- a/x.c\n+++ b/x.c\n"


@pytest.mark.parametrize(
    ("text", "file", "line"),
    [
        (
            f"{HEAD}@@ -1,2 +1,3 @@\n keep\n-old\n\\ No newline at end of file\n+new\n+bad();\n",
            "x.c", 3,
        ),
        (f"{HEAD}@@ -1,1 +1,3 @@\n int i;\n+++ i;\n+bad();\n", "x.c", 3),
        (f"{HEAD}@@ -1,2 +1,2 @@\n int i;\n--- a/y;\n+bad();\n", "x.c", 2),
        (f"{HEAD}@@ -1 +1 @@\n-a\n+b\n--- a/y.c\n+++ b/y.c\n@@ -7 +7 @@\n-x\n+bad();\n", "y.c", 7),
        (
            (f"{HEAD}@@ -5,9 +5,9 @@\n a\ndiff --git a/y b/y\nindex 1..2\n--- a/y\n+++ b/y\n"
            "@@ -0,0 +1 @@\n+bad();"), "y", 1,
        ),
        (f"{HEAD}@@ -5,2 +5,2 @@\n a\r\n \x0c\r\n+bad();\r\n", "x.c", 7),
        ("--- a rule\nindex of things\n+++ plus\nbad();", None, 4),
    ],
)  # fmt: skip
def test_a_line_of_a_diff_has_the_number_that_it_has_in_the_file(text, file, line, reviews):
    claim = {"problem": "It is wrong.", "severity": "low", "quote": "bad();"}
    reviews.desk.server.answers |= {"ann": finds(claim), "ben": finds()}

    review = reviews.run("review", "--json", stdin=text.encode()).json

    (one,) = review["findings"]
    assert (one["quote_found"], one["file"], one["line"]) == (True, file, line)


@pytest.mark.parametrize(
    "reply",
    [
        "The dict {a} is fine.\n%s", "%s\nI used the {findings} form.", "{ %s }", '{"a": 1} %s',
        "```json\n%s\n```\n}",
    ],
)  # fmt: skip
def test_findings_are_found_among_other_braces(reply, reviews):
    whole = json.dumps({"findings": [SIGN]})
    reviews.desk.server.answers |= {"ann": Answer.text(reply % whole), "ben": finds(SIGN)}

    review = reviews.run("review", "--json", stdin=DIFF).json

    assert [one["found_by"] for one in review["findings"]] == [2]


def test_a_member_without_a_review_is_left_out_and_not_counted(reviews):
    reviews.desk.server.answers["ben"] = Answer.text("Looks good to me!")

    ran = reviews.run("review", "--json", stdin=DIFF)

    assert {one["of"] for one in ran.json["findings"]} == {1}
    assert "the reply of ben is not a review: it is left out" in ran.err


def test_findings_of_a_wrong_form_are_left_out_and_counted(reviews):
    reviews.desk.server.answers["ben"] = finds({"severity": "huge"}, SIGN_AGAIN)

    ran = reviews.run("review", "--json", stdin=DIFF)

    assert ran.json["findings"][0]["found_by"] == 2
    assert "1 finding of ben cannot be read" in ran.err


@pytest.mark.parametrize(
    "other",
    [
        {"severity": "Critical"},
        {"severity": "HIGH "},
        {"line": "11-12"},
        {"line": 11.0},
        {"file": ""},
    ],
)
def test_a_finding_in_a_form_that_is_plain_all_the_same_is_read(other, reviews):
    reviews.desk.server.answers["ben"] = finds(SIGN_AGAIN | other)

    ran = reviews.run("review", "--json", stdin=DIFF)

    first = ran.json["findings"][0]
    assert (first["found_by"], first["severity"]) == (2, "high")
    assert "cannot be read" not in ran.err


@pytest.mark.parametrize(
    ("reply", "unread"),
    [
        (Answer.text(json.dumps([SIGN_AGAIN])), False),
        (Answer.text(f"```json\n{json.dumps(SIGN_AGAIN)}\n```"), False),
        (
            Answer.text(json.dumps({"findings": [SIGN_AGAIN, SIGN]})[:-40], finish="length"),
            True,
        ),
    ],
)
def test_findings_without_their_list_or_in_one_that_breaks_off_are_read(reply, unread, reviews):
    reviews.desk.server.answers["ben"] = reply

    ran = reviews.run("review", "--json", stdin=DIFF)

    assert ran.json["findings"][0]["found_by"] == 2
    assert ("1 finding of ben cannot be read" in ran.err) == unread


def test_an_empty_list_that_only_repeats_the_form_hides_no_finding(reviews):
    said = f'With nothing to report: {{"findings": []}}. But:\n{json.dumps({"findings": [SIGN]})}'
    reviews.desk.server.answers |= dict.fromkeys(("ann", "ben"), Answer.text(said))

    review = reviews.run("review", "--json", stdin=DIFF).json

    assert [one["found_by"] for one in review["findings"]] == [2]


@pytest.mark.parametrize("piece", ['{"a": [', "{\n"])
def test_a_reply_of_nothing_but_braces_is_no_review_and_holds_nobody_up(piece):
    reply = Completion(Message("assistant", piece * 1_000_000), "m")

    assert parse_findings(reply) is None  # with a try for each brace this would not end


PAST_THE_END = (
    "The loop reads one element past the end of the list because the range is off by one.",
    "Off-by-one error: the loop runs past the end of the list and raises IndexError.",
    "range(len(items) + 1) goes one past the end of the list, so the last step raises IndexError.",
    "The loop bound is wrong: it iterates one element too many past the end of the list.",
    "An index error occurs since the loop goes past the end of the list by one.",
)


@pytest.mark.parametrize("members", [2, 3, 5])
def test_a_finding_without_a_place_is_one_however_many_members_agree(members):
    """Words that all of them use were taken for common ones, that say little."""
    found = [(f"m{n}", [Finding(PAST_THE_END[n], "high")]) for n in range(members)]

    (one,) = merge_findings(found, "x")

    assert list(one.evidence) == [f"m{n}" for n in range(members)]


MANY = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (12, 12))
from mixtura.patterns.review_findings import Finding, merge_findings
words = [f"{one}{two}" for one in "abcdefghijklmnopqrst" for two in "uvwxyzabcdefghijklmn"]
def findings(first):
    return [
        Finding(" ".join(words[(first + n * step) % 400] for step in range(1, 40)), "low")
        for n in range(350)
    ]
merged = merge_findings([(name, findings(at)) for at, name in enumerate(("a", "b", "c"))], "x")
print(sum(len(one.evidence) for one in merged))
"""


@pytest.mark.skipif(os.name != "posix", reason="no limit of processor time here")
def test_very_many_findings_are_merged_in_bounded_time():
    """Comparing each with all the others word by word took minutes."""
    told = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True)

    assert told.stdout == "1050\n", (told.returncode, told.stderr[-2000:])


def test_many_short_findings_are_merged_beside_the_event_loop(monkeypatch):
    """Comparing them in pairs takes as long as reading a large text."""
    threads = []

    def merge(*given):
        threads.append(threading.current_thread())
        return merge_findings(*given)

    monkeypatch.setattr(review, "merge_findings", merge)
    reply = json.dumps(
        {"findings": [{"problem": f"No {n}", "severity": "low"} for n in range(400)]}
    )
    layer = Layer((Proposer(Scripted("a", [reply])), Proposer(Scripted("b", [reply]))))

    answer = run(review.Review(layers=(layer,)).complete(ask("x")))

    assert len(json.loads(answer.text)["findings"]) == 400
    assert threads
    assert threading.main_thread() not in threads


def test_without_any_review_there_is_no_answer(reviews):
    reviews.desk.server.answers |= {name: Answer.text("Fine.") for name in ("ann", "ben")}

    ran = reviews.run("review", "--json", stdin=DIFF)

    assert (ran.code, ran.out) == (3, "")
    assert "No review: no reply was in the requested form" in ran.err


def test_nothing_found_is_said(reviews):
    reviews.desk.server.answers |= {"ann": finds(), "ben": finds()}

    ran = reviews.run("review", stdin=DIFF)

    assert (ran.code, ran.out) == (0, "No finding; 0 by more than one of 2 members.\n")


def test_the_preset_answers_any_client_and_members_can_be_named(reviews):
    whole = reviews.run("ask", "-m", "review", "--json", stdin=DIFF).json
    one = reviews.run("review", "--json", "-p", "ann*2", stdin=DIFF).json

    assert json.loads(whole["answer"])["members"] == ["ann", "ben"]
    assert one["members"] == ["ann #1", "ann #2"]


def test_a_dry_run_says_the_price_and_sends_nothing(reviews):
    ran = reviews.run("review", "--dry-run", stdin=DIFF)

    assert ran.out.startswith("2 calls, at most ")
    capped = reviews.run("review", "--dry-run", "--json", "--max-cost", "0.001", stdin=DIFF)
    assert capped.code == 4
    assert capped.json["over_cap"].startswith("this run could cost up to $")
    assert reviews.desk.server.requests == []


def test_a_diff_that_powershell_wrote_is_reviewed(reviews):
    wide = DIFF.decode().replace("\n", "\r\n").encode("utf-16")

    assert reviews.run("review", "--json", stdin=wide).json["findings"]


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), b"", "What was piped in is empty: there is no change to review."),
        ((), b" \n\n", "What was piped in is empty"),
        ((), b"\x00\x01GIF", "is not text (UTF-8)"),
        ((), b"\xff\xfe\x00", "is not text (UTF-8)"),
        ((), b"\xff\xfe", "What was piped in is empty"),
        ((), b"+x\n" * 200_000, "is larger than 400 kB"),
        (("--file", "missing.py"), b"", "missing.py"),
        (("--file", "empty.py"), b"", "empty.py is empty"),
        # A file's name is no question, and there is nothing else to review.
        (("empty.py",), b"", "A file is reviewed by: mixtura review --file empty.py"),
        (("-m", "team"), DIFF, "team is not a mixture for reviews: its pattern is 'mixture'"),
        (("-p", "nobody"), DIFF, "nobody"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(words, stdin, said, reviews):
    reviews.desk.write("", "empty.py")

    assert said in reviews.run("review", *words, stdin=stdin).complaint
    assert reviews.desk.server.requests == []


def test_what_members_write_reaches_the_terminal_as_text(reviews):
    wild = CARD | {"problem": "\x1b[2Jgone\nnext", "file": "\x1b]0;x\x07f"}
    reviews.desk.server.answers |= {"ann": finds(wild), "ben": finds()}

    ran = reviews.run("review", stdin=DIFF)

    assert "\x1b" not in ran.out
    assert "gone next" in ran.out
