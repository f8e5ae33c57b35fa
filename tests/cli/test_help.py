"""Help, the man page, completion, and what -v logs."""

from __future__ import annotations

import subprocess

import click
import pytest

from mixtura.cli import COMMANDS, group
from tests.support import shell as in_process
from tests.support.loopback import Answer
from tests.support.man_page import MAN_PAGE, man_page
from tests.support.requirements import leave_out

desk, shell = in_process.desk, in_process.shell


def all_commands():
    """Every command and those below it, by the words that call it."""
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        yield (name,), command
        for inner in command.commands if isinstance(command, click.Group) else ():
            yield (name, inner), command.commands[inner]


EVERY = list(all_commands())
NAMES = [" ".join(words) for words, _ in EVERY]


# ---------------------------------------------------------------- help


@pytest.mark.parametrize(("words", "command"), EVERY, ids=NAMES)
def test_every_command_says_what_it_does_with_an_example_of_its_own(words, command, shell):
    said = shell.run(*words, "--help", COLUMNS="80").out

    assert "Examples:" in said
    assert f"  mixtura {' '.join(words)}" in said.partition("Examples:")[2]
    examples = said.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    others = [line for line in said.splitlines() if line not in examples]
    assert max(map(len, others)) <= 80
    assert "x>=1" not in said
    assert "--log-level" in said


@pytest.mark.parametrize(("words", "command"), EVERY, ids=NAMES)
def test_every_option_says_what_it_is_for(words, command):
    for option in command.params:
        if isinstance(option, click.Option):
            assert (option.help or "").endswith((".", "…")), option.name


def test_many_options_are_in_groups_and_each_is_listed_once(shell):
    said = shell.run("ask", "--help").out

    for title in ("Which models:", "Question:", "Sampling:", "Limits:", "Output:"):
        assert f"\n{title}\n" in said
    listed = said.partition("Which models:")[2]
    for option in ("--attach", "--schema", "--top-p", "--verbose", "--help"):
        assert (
            sum(option in line.split("  ")[1] for line in listed.splitlines() if line[:2] == "  ")
            == 1
        )


def test_the_list_of_commands_is_what_each_says_of_itself(shell):
    said = " ".join(shell.run("--help").out.split())

    for text in COMMANDS.values():
        assert text in said


# ---------------------------------------------------------------- the man page


def test_the_man_page_is_made_from_the_commands_of_today():
    assert MAN_PAGE.read_text(encoding="utf-8") == man_page(), "make man writes it anew"


def test_the_man_page_has_every_command_and_option_and_no_error():
    page = man_page()

    for words, command in EVERY:
        assert f"mixtura {' '.join(words)}" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[-1].replace("-", "\\-") in page
    try:
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", str(MAN_PAGE)], capture_output=True, text=True
        )
    except FileNotFoundError:
        leave_out("groff", "groff is not installed")
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------- completion


def completed(shell, *words, kind="bash"):
    """What a shell is offered for the last of the words."""
    env = {"_MIXTURA_COMPLETE": f"{kind}_complete", "COMP_CWORD": str(len(words) - 1)}
    env["COMP_WORDS"] = " ".join(words)
    if kind == "fish":
        env["COMP_CWORD"] = words[-1]
    return [line.partition(",")[2] for line in shell.run(**env).out.split()]


def test_tab_completes_commands_options_and_names(shell):
    run = shell.run("ask", "-m", "ann", "--json", "Q").json["run"]

    assert "doctor" in completed(shell, "mixtura", "do")
    assert completed(shell, "mixtura", "ask", "--att") == ["--attach"]
    assert completed(shell, "mixtura", "ask", "-m", "tea") == ["team"]
    assert completed(shell, "mixtura", "export", "-m", "tea") == ["team"]
    assert completed(shell, "mixtura", "chat", "-p", "ann") == ["ann"]
    assert completed(shell, "mixtura", "show", run[:9]) == [run]
    assert completed(shell, "mixtura", "ask", "--continue", run[:9]) == [run]
    assert completed(shell, "mixtura", "runs", "--delete", "la") == ["last"]
    assert completed(shell, "mixtura", "pull", "start") == ["starter"]
    assert completed(shell, "mixtura", "eval", "gs") == ["gsm8k"]
    assert completed(shell, "mixtura", "select", "--models", "be") == ["ben", "best-of"]


def test_a_wrong_file_completes_nothing_and_says_nothing(shell):
    shell.desk.write("[[[")
    assert completed(shell, "mixtura", "ask", "-m", "tea") == []


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script_by_name_or_by_default(kind, shell):
    named = shell.run("completion", kind)

    assert named.code == 0
    assert f"{kind}_complete" in named.out
    assert shell.run("completion", SHELL=f"/usr/bin/{kind}").out == named.out


def test_bash_itself_completes_with_the_script_that_was_installed(shell):
    rc = shell.desk.folder.parent / "home" / ".bashrc"
    rc.write_bytes(b"alias x=y\n# caf\xe9")
    for _ in range(2):  # twice is as once
        ran = shell.run("completion", "bash", "--install")
        assert ran.code == 0, ran.err
    data = shell.desk.folder.parent / "home/.local/share/bash-completion/completions/mixtura"
    asked = (
        f"source {data}; mixtura() {{ true; }}; complete -p mixtura; declare -F _mixtura_completion"
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "-F _mixtura_completion mixtura" in done.stdout
    assert rc.read_bytes().startswith(b"alias x=y\n# caf\xe9")
    assert rc.read_bytes().count(b"mixtura completion") <= 1
    shell.run("completion", "bash", "--uninstall")
    assert not data.exists()
    assert rc.read_bytes().strip() == b"alias x=y\n# caf\xe9"


def test_zsh_loads_its_script_and_fish_finds_its_own(shell):
    home = shell.desk.folder.parent / "home"
    shell.run("completion", "zsh", "--install")
    shell.run("completion", "fish", "--install")

    assert (home / "config/fish/completions/mixtura.fish").exists()
    assert str(home / ".local/share/mixtura/completion.zsh") in (home / ".zshrc").read_text()


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ((), {}, "$SHELL is not set"),
        ((), {"SHELL": "/bin/tcsh"}, "$SHELL is tcsh"),
        (("--install", "--uninstall", "bash"), {}, "exclude each other"),
        (("csh",), {}, "bash"),
    ],
)
def test_a_shell_that_there_is_no_completion_for_is_told(words, env, said, shell):
    assert said in shell.run("completion", *words, **env).complaint


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize("words", [("-v", "ask"), ("ask", "-v"), ("--log-level=info", "ask")])
def test_a_run_is_logged_before_or_behind_the_command(words, shell):
    ran = shell.run(*words, "Why?")

    assert ran.code == 0
    assert "configuration: " in ran.err
    for line in ("[1.1] ann is called with 1 message", "[1.2] ben answered: 12 tokens read"):
        assert f"INFO    {line}" in ran.err


def test_nothing_is_logged_without_and_no_secret_with(shell):
    secret = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
    shell.desk.server.answers["ann"] = Answer.refused(400, f"the key {secret}")
    plain = shell.run("ask", "-m", "ann", "Why?")
    ran = shell.run(
        "ask",
        "-vv",
        "-m",
        "ann",
        "--temperature",
        "0.1",
        "--top-p",
        "0.5",
        "Why?",
        OPENAI_API_KEY=secret,
    )

    assert "WARNING" not in plain.err
    assert "DEBUG   [answer] ann parameters: temperature=0.1, top_p=0.5" in ran.err
    assert "WARNING [answer] ann failed" in ran.err
    assert secret not in ran.err


def test_a_level_that_there_is_not_is_told(shell):
    assert (
        "'error', 'warning', 'info', 'debug'" in shell.run("--log-level", "loud", "ask").complaint
    )
