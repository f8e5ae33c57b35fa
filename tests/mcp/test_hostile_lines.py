"""`mixtura mcp` over standard streams, and clients that write nonsense, leave or are killed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from mixtura.mcp.protocol_lines import read_protocol_line
from tests.support import command_line
from tests.support.loopback import Answer

desk = command_line.desk
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {},
         "clientInfo": {"name": "x", "version": "1"}}  # fmt: skip
PARSE, INVALID = -32700, -32600


def line(**message):
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


def asked(question: bytes, more: bytes = b"") -> bytes:
    """A call of a tool with its id first, as most clients write it."""
    return (
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask","arguments":'
        b'{"question":"' + question + b'"' + more + b"}}}"
    )


REFUSED = {
    b"hello": (PARSE, None),
    b"null": (INVALID, None),
    b"42": (INVALID, None),
    b'"x"': (INVALID, None),
    b"{}": (INVALID, None),
    b"[]": (INVALID, None),
    b"[" + line(id=1, method="ping") + b"]": (INVALID, None),
    b'{"jsonrpc":"2.0","id":1,"method":"ping"': (PARSE, 1),
    b'{"method":"ping","params":{"id":3,"jsonrpc":"2.0","id":4}': (PARSE, 4),
    b'{"method":"x","params":{"id":3}}}': (PARSE, None),
    b'{"id":3,"method":"ping"}': (INVALID, 3),
    b'{"jsonrpc":"1.0","id":"a","method":"ping"}': (INVALID, "a"),
    line(id=None, method="ping"): (INVALID, None),
    line(id=1.5, method="ping"): (INVALID, None),
    line(id=True, method="ping"): (INVALID, None),
    line(id={}, method="ping"): (INVALID, None),
    b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}': (PARSE, None),
    line(id=7, method="tools/call", params=["ask"]): (INVALID, 7),
    line(id=8, method="tools/call", params="ask"): (INVALID, 8),
    line(id=9, method=5): (INVALID, 9),
    asked(b"x", b',"a":' + b"[" * 200_000 + b"]" * 200_000): (PARSE, 7),
    b"\xff\xfe{\x00}\x00": (PARSE, None),
}
MENDED = {
    asked(b"half \\ud83d a character"): "half \ufffd a character",
    asked(b"\xff bytes"): "\ufffd bytes",
    asked(b"a\x00b"): "a\0b",
    b"\xef\xbb\xbf" + asked(b"marked") + b"\r": "marked",
    asked(b"deep", b',"a":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000): "deep",
    asked(b"endless", b',"max_cost_usd":' + b"9" * 5_000): "endless",
}
SILENT = (
    b"", b"  \r", line(method="no/such"), line(method="tools/call", params=["x"]),
    line(result={}), b'{"id":1,"error":{}}',
)  # fmt: skip


def test_a_line_that_is_no_request_is_refused_under_its_id_where_that_is_sure():
    for data, (code, id_) in REFUSED.items():
        read = read_protocol_line(data)
        assert read.message is None, data[:80]
        assert read.refusal, data[:80]
        said = json.loads(read.refusal)
        assert (said["error"]["code"], said["id"]) == (code, id_), data[:80]


def test_a_request_of_a_wrong_form_is_mended_and_never_left_without_an_answer():
    for data, question in MENDED.items():
        read = read_protocol_line(data)
        assert read.refusal is None, data[:80]
        message = json.loads(read.message or "")
        assert (message["id"], message["params"]["arguments"]["question"]) == (7, question)


def test_notifications_and_answers_are_never_answered_however_wrong():
    assert [read_protocol_line(data).refusal for data in SILENT] == [None] * len(SILENT)


class Agent:
    """An agent that writes bytes."""

    def __init__(self, desk, **streams):
        self.process = desk.start("mcp", stdin=-1, **streams)
        self.say(line(id=0, method="initialize", params=HELLO))
        assert self.hear()["id"] == 0
        self.say(line(method="notifications/initialized"))

    def say(self, *lines):
        self.process.stdin.write(b"".join(one + b"\n" for one in lines))
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.process.stdout.readline())


def test_every_request_is_answered_among_lines_that_are_none(desk):
    agent = Agent(desk)
    agent.say(*REFUSED, *SILENT, b"x" * 65 * 1024**2, line(id="last", method="ping"))

    heard = []
    while not heard or heard[-1]["id"] != "last":
        heard.append(agent.hear())
    agent.process.stdin.close()
    errors = agent.process.stderr.read()

    assert len(heard) == len(REFUSED) + 2
    assert "64 MB" in str(heard)
    assert agent.process.wait(30) == 0
    assert b"Traceback" not in errors
    assert desk.server.requests == []


def _close_input(agent):
    agent.process.stdin.close()


def _close_output(agent):
    agent.process.stdout.close()
    agent.say(line(id=2, method="ping"))


def _ask_to_end(agent):
    agent.process.send_signal(signal.SIGTERM)


def _interrupt(agent):
    agent.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("leave", [_close_input, _close_output, _ask_to_end, _interrupt])
def test_however_an_agent_leaves_its_call_ends_and_is_written_down(leave, desk):
    desk.server.answers["ann"] = Answer(("Well. ",) * 600, pace=0.1)
    agent = Agent(desk)
    given = {"question": "Why?", "mixture": "ann"}
    agent.say(line(id=1, method="tools/call", params={"name": "ask", "arguments": given}))
    desk.server.wait_until_asked(1)

    leave(agent)

    assert agent.process.wait(30) == 0
    assert b"Traceback" not in agent.process.stderr.read()
    desk.server.wait_until_left(["ann"], 20)
    (run,) = desk.run("runs", "--json").json["runs"]
    assert (run["state"], run["calls"]) == ("stopped", 1)
    assert run["cost_usd"] > 0


def test_an_output_that_takes_no_more_is_told(desk):
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        process = desk.start("mcp", stdin=-1, stdout=full)
        process.stdin.write(line(id=0, method="initialize", params=HELLO) + b"\n")
        process.stdin.flush()
        said = process.stderr.read().decode()

    assert process.wait(30) == 1
    assert said == "mixtura: the output cannot be written: No space left on device\n"


def test_an_agent_that_writes_nonsense_and_reads_nothing_has_to_wait(desk):
    agent = Agent(desk)
    os.set_blocking(agent.process.stdin.fileno(), False)
    most, sent, quiet = 1024**2, 0, 0
    while sent < most and quiet < 20:
        try:
            sent += os.write(agent.process.stdin.fileno(), b"{}\n" * 1000)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.05)
    agent.process.terminate()

    # A line has 3 bytes and its refusal 200: all of them would be 70 MB.
    assert sent < most
    assert agent.process.wait(30) == 0
