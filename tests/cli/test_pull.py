"""`mixtura pull` as a person runs it, from a hub on this machine."""

from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console

from mixtura.cli.downloads import ProgressLines
from tests.support import command_line, hub_server
from tests.support.command_line import terminal
from tests.support.hub_server import NAME, Shelf

desk = command_line.desk
shelf = hub_server.shelf


@pytest.fixture
def hub(desk, shelf: Shelf) -> Shelf:
    desk.env |= {
        "HF_ENDPOINT": shelf.endpoint,
        "HF_HOME": str(desk.folder / "hf"),
        "NO_PROXY": "*",
    }
    return shelf


def test_what_it_takes_is_said_before_the_first_byte_and_nothing_is_asked(desk, hub):
    hub.refusal = (503, "")
    failed = desk.run("pull", NAME)
    hub.refusal = None
    ran = desk.run("pull", NAME)

    (path,) = (line.removeprefix(f"{NAME}: ") for line in ran.out.splitlines())
    assert Path(path).read_bytes() == hub.content
    assert (failed.code, ran.code) == (2, 0)
    for said in ("Downloading 1 model, 491 MB", "free", "Apache-2.0", "of memory", "core"):
        assert said in failed.err
        assert said in ran.err


def test_what_is_here_is_only_checked(desk, hub):
    first = desk.run("pull", NAME)
    again = desk.run("pull", NAME)

    assert (again.code, again.out, again.err) == (0, first.out, "")
    assert hub.seen["GET"] == 1


def test_a_stopped_download_says_how_to_go_on_and_goes_on(desk, hub):
    hub.content = b"GGUF" + os.urandom(24 << 20)
    hub.stall = threading.Event()
    screen = terminal(desk, "pull", NAME)
    screen.read("10.5/491.4 MB")
    screen.process.send_signal(signal.SIGINT)
    code = screen.close()
    hub.stall.set()
    hub.stall = None
    ran = desk.run("pull", NAME)

    assert code == 130
    assert f"Stopped with 481 MB to go. To continue: mixtura pull {NAME}" in screen.text
    assert "Continuing with 1 model, 481 MB" in ran.err
    assert hub.ranges == ["all", f"bytes={10 << 20}-"]
    assert ran.code == 0


def test_a_group_says_what_an_answer_by_all_of_it_takes(desk, hub):
    ran = desk.run("pull", "starter")  # this hub has none of them

    assert ran.code == 2
    assert "Downloading 4 models, 4.5 GB" in ran.err
    assert "An answer by all 4 takes about 10.5 GB of memory" in ran.err
    assert hub.seen["GET"] == 0


def test_a_log_has_lines_with_speed_and_time_left_after_the_first_seconds():
    out, now = io.StringIO(), [100.0]
    lines = ProgressLines(Console(file=out, width=80), lambda: now[0])
    for second in range(1, 101):
        lines("a (1 of 2)", 500_000_000 + second * 10_000_000, 4_500_000_000)
        now[0] += 1

    first, *rest = out.getvalue().splitlines()
    assert first == "a (1 of 2): 560 MB of 4.5 GB, 10 MB/s, about 6 min 34 s left"
    assert len(rest) == 3
