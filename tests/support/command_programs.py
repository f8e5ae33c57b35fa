"""Programs that answer a prompt, or fail in every way that a program can, as files to run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

CLAUDE = r"""
import json, sys
prompt = sys.stdin.read()
def say(**fields): print(json.dumps(fields), flush=True)
if "--version" in sys.argv:
    print("2.1.197 (Claude Code)"); sys.exit()
say(type="system", subtype="init", tools=[])
for piece in ("Paris ", "it is."):
    say(type="stream_event", event={"type": "content_block_delta",
        "delta": {"type": "text_delta", "text": piece}})
say(type="result", is_error=False, result="Paris it is.",
    usage={"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 3})
"""
CODEX = r"""
import json, sys
if "--version" in sys.argv:
    print("codex-cli 0.171.0"); sys.exit()
prompt = sys.stdin.read()
assert sys.argv[-1] == "-", sys.argv
def say(**fields): print(json.dumps(fields), flush=True)
say(type="thread.started", thread_id="1")
say(type="error", message="Reconnecting... 2/5")
say(type="item.completed", item={"type": "reasoning", "text": "hm"})
say(type="item.completed", item={"type": "agent_message", "text": "It is Paris."})
say(type="turn.completed", usage={"input_tokens": 11, "cached_input_tokens": 2, "output_tokens": 4})
"""
GEMINI = r"""
import json, sys
sys.stdin.read()
print("Loaded cached credentials.")
print(json.dumps({"response": "Paris.", "stats": {"models": {
    "a": {"tokens": {"prompt": 6, "candidates": 2, "thoughts": 1, "cached": 0}},
    "b": {"tokens": {"prompt": 4, "candidates": 1, "thoughts": 0, "cached": 3}}}}}, indent=2))
"""
OPENCODE = r"""
import json, sys
sys.stdin.read()
def say(**fields): print(json.dumps(fields), flush=True)
say(type="step_start")
say(type="text", part={"text": "Paris"})
say(type="step_finish", part={"tokens": {"input": 9, "output": 1, "reasoning": 0,
    "cache": {"read": 1, "write": 0}}})
"""
ECHO = "import sys; sys.stdout.write(sys.stdin.read())"

FAILURES: dict[str, tuple[str, str, str]] = {
    # what it does: the program, the error, and words of its message
    "it ends with an exit code and says why": (
        "echo 'disk is full' >&2; exit 3", "UnavailableError", "exit code 3: “disk is full”"),
    "it ends with an exit code and says nothing": (
        "exit 7", "UnavailableError", "exit code 7 without any output"),
    "it answers and then fails": (
        "echo an answer; exit 1", "UnavailableError", "exit code 1"),
    "it hangs": ("cat > /dev/null; sleep 600", "TimedOutError", "no complete answer within"),
    "it hangs and holds its input closed": (
        "exec 0<&-; sleep 600", "TimedOutError", "no complete answer within"),
    "it ignores being told to end": (
        "trap '' TERM; while :; do sleep 1; done", "TimedOutError", "no complete answer within"),
    "it begins an answer and hangs": (
        "echo 'I think that'; sleep 600", "TimedOutError", "last words: “I think that”"),
    "it floods": ("yes answer", "RejectedError", "it wrote more than 1 MB"),
    "it floods the other stream and ends": (
        "head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 1", "UnavailableError", "exit code 1"),
    "it asks and waits": (
        "printf 'Overwrite? [y/N] '; sleep 600", "TimedOutError", "waits for an answer to"),
    "it asks and gives up": (
        "printf 'Continue? [y/N] ' >&2; exit 1", "RejectedError", "asked for input"),
    "it writes to the wrong stream": (
        "echo Paris >&2", "EmptyAnswerError", "on standard error: “Paris”"),
    "it writes nothing": ("true", "EmptyAnswerError", "wrote no answer"),
    "it writes blanks": ("printf ' \\n\\n'", "EmptyAnswerError", "wrote no answer"),
    "it ends within a sign": ("printf 'Z\\303'", "MalformedError", "not UTF-8"),
    "it writes another encoding": ("printf 'Z\\374rich'", "MalformedError", "not UTF-8"),
    "it needs a terminal": (
        "echo 'stdin is not a terminal' >&2; exit 1", "RejectedError", "needs a terminal"),
    "it wants a login": (
        "echo 'You are not logged in.' >&2; exit 1", "RejectedError", "is not logged in: "),
    "it says its limit is reached": (
        "echo 'Usage limit reached until 5pm' >&2; exit 1", "QuotaError", "limit is reached"),
    "it is killed": ("kill -KILL $$", "UnavailableError", "killed by signal 9"),
    "it crashes": ("kill -SEGV $$", "UnavailableError", "killed by signal 11"),
}  # fmt: skip
"""Each way to fail, as a shell script."""

ANSWERS: dict[str, tuple[str, str]] = {
    "it does not read its prompt": ("echo Paris", "Paris"),
    "it leaves a child that lives on": ("sleep 600 & echo Paris", "Paris"),
    "it leaves a child in a session of its own": ("setsid sleep 600 & echo Paris", "Paris"),
    "its child leaves its pipes alone": ("sleep 600 >/dev/null 2>&1 & echo Paris", "Paris"),
    "it colours its answer": ("printf '\\033[1;32mPar\\033[0mis\\033]0;title\\007'", "Paris"),
    "it warns aside": ("echo 'a warning' >&2; echo Paris", "Paris"),
    "it ends lines as Windows does": ("printf 'Paris\\r\\nLyon'", "Paris\nLyon"),
    "it cuts a sign in two": ("printf 'Z\\303'; sleep 0.05; printf '\\274rich'", "Zürich"),
}
"""Odd programs that answer all the same."""


def write_program(folder: Path, name: str, source: str) -> Path:
    """A program in Python as a file to run in *folder*."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


PLAIN = {"PATH": f"{os.environ['PATH']}{os.pathsep}/no-such-folder/{os.getpid()}"}
"""The environment of these programs; its last folder tells them from those of other sessions."""


def list_marked_processes() -> list[str]:
    """Every process that a program of a model, started with ``PLAIN``, has started and left."""
    mine = PLAIN["PATH"].encode()
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            told = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if b"MIXTURA_MEMBER_RUN=" in told and mine in told:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [one for one in found if one and "pytest" not in one]


def list_remaining_processes(seconds: float = 20.0) -> list[str]:
    """Those that are there still after *seconds*: on a busy machine a killed one takes a while."""
    until = time.monotonic() + seconds
    while (found := list_marked_processes()) and time.monotonic() < until:
        time.sleep(0.02)
    return found
