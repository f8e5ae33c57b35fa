"""Every command of the README, run as it is written, in order, by someone with a new home.

`mixtura` is on the PATH, as after `make install`. Hosted providers and Ollama are servers on this
machine under their own names. What differs from what is written: the port (another server may have
it) and that a chat's person leaves after a question.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hosted_providers import HostedProviders, hosted_providers
from tests.support.loopback import Answer, loopback
from tests.support.paths import ROOT

README = ROOT / "README.md"
PORT = "6498"
LONG = ("eval", "select", "compare", "report")
"""Commands that load Inspect, or draw: in `make soak`."""
NEEDS_THE_HUB = re.compile(r"mixtura (pull starter|eval \w+)\b")
"""Gigabytes, or a benchmark's rows, from a hub that is not there: refused in words."""

# The reader's own prompts. The mixture `team` is the one that `mixtura init` of the README writes.
PROMPTS = "".join(
    f'{{"id": "{n}", "input": "What is 2 + 2 + {n} - {n}?", "target": "4"}}\n' for n in range(4)
)


def commands() -> list[str]:
    """The commands of README's shell blocks, each whole, with the lines that it goes on in."""
    found = []
    for block in re.findall(
        r"^```(?:sh|bash|shell)\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                found.append(line.strip())
    return found


class Reader:
    """A home of its own, a shell that remembers what was exported, and `mixtura` on the PATH."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.home = home
        tools = home / ".local" / "bin"
        tools.mkdir(parents=True)
        (tools / "mixtura").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mixtura "$@"\n')
        (tools / "mixtura").chmod(0o755)
        (home / "prompts.jsonl").write_text(PROMPTS)
        self.env = {
            "HOME": str(home), "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8", "COLUMNS": "80",
        } | env  # fmt: skip
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self.servers: list[subprocess.Popen[bytes]] = []

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run *line*; a server is left running once it has said its address."""
        line = line.replace(PORT, self.port)
        if exported := re.fullmatch(r"export (\w+)=(\S*)(\s+#.*)?", line):
            self.env[exported[1]] = exported[2].strip("\"'")
            return subprocess.CompletedProcess(line, 0, "", "")
        if re.match(r"mixtura serve\b(?!.*--new-key)", line):
            return self._serves(f"{line} --port {self.port}" if "--port" not in line else line)
        said = "Why is the sky blue?\n" if line.startswith("mixtura chat") else ""
        return subprocess.run(
            ["bash", "-c", line], cwd=self.home, env=self.env, input=said,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def _serves(self, line: str) -> subprocess.CompletedProcess[str]:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=self.home, env=self.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.servers.append(server)
        assert server.stderr
        said = ""
        while self.port not in said and (more := server.stderr.readline()):
            said += more.decode()
        status = 0 if self.port in said else server.wait()
        return subprocess.CompletedProcess(line, status, "", said)

    def leaves(self) -> None:
        for server in self.servers:
            server.terminate()
            server.communicate()


@pytest.fixture
def internet(tmp_path):
    with hosted_providers(tmp_path / "certificate") as providers:
        yield providers


@pytest.fixture
def reader(tmp_path, embedded, internet: HostedProviders):
    """Someone with a key of every provider, and with Ollama."""
    with loopback() as ollama:
        names = re.findall(r"ollama/([\w.:-]+)", README.read_text())
        ollama.tags = [{"name": name, "model": name} for name in {*names, "llama3.2:latest"}]
        ollama.answers = {name: Answer.text("Red light passes.") for name in names}
        env = internet.environment | internet.keys
        env |= {"OLLAMA_HOST": ollama.host, "MIXTURA_CACHE": str(embedded.parent)}
        person = Reader(tmp_path / "a home", env)
        yield person
        person.leaves()


def is_long(line: str) -> bool:
    return line.startswith(tuple(f"mixtura {name}" for name in LONG))


def follows(person: Reader, lines: list[str]) -> None:
    for line in lines:
        done = person.types(line)
        told = f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in told
        assert "command not found" not in told
        if NEEDS_THE_HUB.match(line):
            assert done.returncode in (0, 2), told
            assert done.returncode == 0 or re.search("^mixtura: ", done.stderr, re.MULTILINE), told
        else:
            assert done.returncode == 0, told
            assert done.stdout.strip() or re.match(r"export|cd |mixtura serve", line), told


def test_readme_has_commands_and_they_are_not_only_make_s():
    assert len([line for line in commands() if line.startswith("mixtura ")]) >= 5


def test_the_commands_of_the_readme_run_as_written_in_order(reader, internet):
    lines = [line for line in commands() if not line.startswith("make ") and not is_long(line)]

    follows(reader, lines)

    assert internet.asked, "no hosted model was asked"


@pytest.mark.soak
def test_all_commands_of_the_readme_run_as_written_in_order(reader, internet):
    lines = [line for line in commands() if not line.startswith("make ")]
    internet.answer = f"{internet.answer}\n\n[[A]]"

    follows(reader, lines)


@pytest.mark.soak
def test_without_key_and_ollama_each_command_answers_or_says_what_it_needs(
    tmp_path, embedded, internet
):
    person = Reader(
        tmp_path / "a home", internet.environment | {"MIXTURA_CACHE": str(embedded.parent)}
    )
    try:
        for line in commands():
            if line.startswith(("make ", "export ")) or is_long(line):
                continue
            done = person.types(line)
            told = f"{line}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in told
            if done.returncode:
                assert done.returncode in (2, 3), told
                assert re.search(r"_API_KEY|ollama|Ollama|mixtura:", told), told
    finally:
        person.leaves()
    assert internet.asked == []


def test_every_make_command_of_the_readme_is_a_target():
    text = README.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = "\n".join(re.findall(r"^```(?:\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    used = set(re.findall(r"^make (?:\w+=\S+ )*([a-z]+)", blocks, re.MULTILINE))

    assert used
    assert used <= targets
