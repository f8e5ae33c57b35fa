"""The program as a person runs it: wrong use, hostile models, show, models, version, help."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mixtura.catalog import local_models
from tests.support import command_line
from tests.support.command_line import ANSWER, HOSTILE, Ran
from tests.support.loopback import Answer, nobody

desk = command_line.desk


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("aks", "Why?"), "'ask'"),
        (("Why is the sky blue?",), 'mixtura ask "Why is the sky blue?"'),
        (("ask", "--qiet", "Why?"), "--quiet"),
        (("ask", "--layers", "none", "Why?"), "--layers"),
        (("ask", "--layers", "0", "-p", "ann", "Why?"), "--layers"),
        (("ask", "--layers", "3", "Why?"), "-p"),
        (("ask", "--layers", "1", "-p", "ann", "Why?"), "-m"),
        (("ask", "-m", "team", "-p", "ann", "Why?"), "-m"),
        (("ask", "-m", "teem", "Why?"), "'team'"),
        (("ask", "-p", "anm", "Why?"), "'ann'"),
        (("ask", "-p", "ann", "-a", "cheif", "Why?"), "'chief'"),
        (("ask", "-p", "ann*x", "Why?"), "'ann*3'"),
        (("ask", "-m", "", "Why?"), "-m"),
        (("ask", "-m", "opnai/gpt-5.4", "Why?"), "'openai/gpt-5.4'"),
        (("ask", "-m", "gone.gguf", "Why?"), "gone.gguf"),
        (("ask", ""), "question"),
        (("ask",), "question"),
        (("ask", "-"), "question"),
        (("ask", "-m", "openai/gpt-5.4", "Why?"), "OPENAI_API_KEY"),
        (("ask", "-m", "lite", "Why?"), "TOGETHER_API_KEY"),
        (("ask", "--config", "gone.toml", "Why?"), "gone.toml"),
        (("ask", "--config", ".", "Why?"), "--config"),
        (("show", "papper"), "'paper'"),
        (("show", "--config", "~nobody-of-that-name/x.toml"), "--config"),
        (("pull", "qwen2.5"), "qwen2.5-0.5b"),
        (("pull",), "NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_ends_with_two_and_what_would_be_right(words, said, desk):
    assert said in desk.run(*words).complaint
    assert desk.server.requests == []


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_what_is_piped_in_must_be_text(locale, desk):
    ran = desk.run("ask", "-m", "ann", stdin=b"caf\xe9", env={"LANG": locale})

    assert "UTF-8" in ran.complaint
    assert desk.server.requests == []


@pytest.mark.parametrize("words", [(b"caf\xe9",), (b"--system", b"caf\xe9", b"Why?")])
def test_what_is_asked_must_be_text(words, desk):
    assert "UTF-8" in desk.run("ask", "-m", "ann", *words).complaint
    assert desk.server.requests == []


def test_a_wrong_file_is_refused_by_every_command_with_its_line(desk):
    desk.write("[models.m]\nbase_ulr = 1\n")

    for words in (("ask", "Why?"), ("show",), ("show", "lite"), ("models",), ("pull", "qwen3-4b")):
        assert "mixtura.toml:2: models.m: unknown key 'base_ulr'" in desk.run(*words).complaint


def test_what_is_wrong_is_said_before_a_model_is_brought(desk):
    """A team of the embedded model and of one without its key: nothing is fetched in vain."""
    away = {"PIP_INDEX_URL": f"http://{nobody()}/", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}
    ran = desk.run("ask", "-p", "smollm2-135m", "-a", "openai/gpt-5.4", "Why?", env=away)

    assert "OPENAI_API_KEY" in ran.complaint
    assert "Downloading" not in ran.err


def test_a_model_that_is_not_here_says_how_to_bring_it(desk):
    ran = desk.run("ask", "-m", "qwen2.5-0.5b", "Why?", env={"HF_HOME": str(desk.folder)})

    assert "mixtura pull qwen2.5-0.5b" in ran.complaint


# ---------------------------------------------------------------- hostile models, odd outputs


STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_a_hostile_answer_steers_no_terminal(form, desk):
    cut = tuple(HOSTILE[i : i + 3] for i in range(0, len(HOSTILE), 3))  # inside sequences too
    for name in ("ann", "chief"):
        desk.server.answers[name] = Answer(cut)
    desk.server.answers["ben"] = Answer.refused(400, f"refused: {HOSTILE}")
    ran = desk.run("ask", *form, "Why?")

    assert ran.code == 0
    assert not STEERING.search(ran.out + ran.err)
    for kept in ("[bold]b[/bold] [/b] [link=x]", "over", "end."):
        assert kept in ran.out
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_a_hostile_refusal_steers_no_terminal(form, desk):
    desk.server.answers["ann"] = Answer.refused(400, f"refused: {HOSTILE}")
    ran = desk.run("ask", *form, "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "refused: " in ran.err
    assert not STEERING.search(ran.err)


def test_the_json_keeps_a_hostile_answer_as_it_was_and_safe_to_print(desk):
    desk.server.answers["ann"] = Answer((HOSTILE,))
    ran = desk.run("ask", "--json", "-m", "ann", "Why?")

    assert ran.json["answer"] == HOSTILE
    assert not STEERING.search(ran.out.rstrip("\n"))


def test_half_a_character_in_an_answer_does_not_lose_the_answer(desk):
    """Some servers cut a stream between the two halves of an emoji."""
    desk.server.answers["ann"] = Answer(("Blue \ud83d", "\ude00 sky."))
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?")

    assert ran.code == 0, ran.err
    assert ran.out.startswith("Blue ")
    assert ran.out.endswith(" sky.\n")


def test_a_model_with_markup_for_a_name_is_only_a_name(desk):
    name = "[/b] [red]x"
    desk.server.answers[name] = Answer.text("fine")
    desk.write(f'default = "t"\n{desk.model(name)}[mixtures.t]\nlayers = [["{name}"]]\n'
               f'aggregator = "{name}"\n')  # fmt: skip

    for words in (("ask", "Why?"), ("show", "t"), ("show",), ("models",)):
        ran = desk.run(*words)
        assert ran.code == 0, ran.err
        assert name in ran.out + ran.err


def test_a_terminal_without_unicode_gets_what_it_can_show(desk):
    desk.server.answers["ann"] = Answer.text("Größe: 5 µm")
    ascii_only = {"PYTHONIOENCODING": "ascii"}

    for words in (("ask", "-m", "ann", "Why?"), ("show", "lite"), ("models",)):
        ran = desk.run(*words, env=ascii_only)
        assert ran.code == 0, ran.err


def closed_pipe() -> int:
    """Where a process writes whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "words",
    [("show",), ("show", "lite"), ("models",), ("ask", "--quiet", "Q"), ("ask", "--json", "Q")],
    ids=" ".join,
)
def test_a_reader_who_leaves_hears_no_complaint(words, desk):
    pipe = closed_pipe()
    process = desk.start(*words, stdout=pipe)
    os.close(pipe)
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, b"")


def test_a_reader_who_leaves_during_the_answer_ends_the_call(desk):
    desk.server.answers["ann"] = Answer(("word " * 100,) * 200, pace=0.1)
    process = desk.start("ask", "--quiet", "-m", "ann", "Why?")
    assert process.stdout is not None
    assert process.stdout.read(5) == b"word "
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, b"")
    desk.server.wait_until_left(["ann"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
@pytest.mark.parametrize("words", [("ask", "Q"), ("ask", "--json", "Q"), ("show",), ("--help",)])
def test_a_disk_that_is_full_is_one_line(words, desk):
    with Path("/dev/full").open("wb") as full:
        process = desk.start(*words, stdout=full)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    last = err.decode().splitlines()[-1]
    assert last == "mixtura: the output cannot be written: No space left on device"
    assert b"Traceback" not in err


def test_an_answer_does_not_need_anyone_who_reads_the_rest(desk):
    pipe = closed_pipe()
    process = desk.start("ask", "Why?", stderr=pipe)
    os.close(pipe)
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out.decode()) == (0, ANSWER)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed_from_the_start_is_no_crash(closed, desk):
    ran = subprocess.run(
        ["sh", "-c", f'"$0" -m mixtura ask -m ann "Why?" {closed}', sys.executable],
        capture_output=True, text=True, cwd=desk.folder, env=desk.env, timeout=20,
    )  # fmt: skip

    assert "Traceback" not in ran.stderr
    assert ran.returncode in (0, 2)


# ---------------------------------------------------------------- show, models, version


@pytest.mark.parametrize(
    ("name", "shape", "calls"),
    [
        ("paper", [6, 6], 13),
        ("paper-gpt-4o", [6, 6], 13),
        ("lite", [6], 7),
        ("paper-today", [6, 6], 13),
        ("self", [6], 7),
    ],
)
def test_show_draws_a_preset_and_counts_its_calls(name, shape, calls, desk):
    drawn, told = desk.run("show", name), desk.run("show", name, "--json").json

    assert drawn.code == 0
    assert f"{len(shape) + 1} layers, {calls} calls" in drawn.out
    assert f"layer {len(shape) + 1} (the aggregator)" in drawn.out
    # Rules of thumb advise against a synthesis by the small model that stands in here.
    assert set(told) - {"warnings"} == {"name", "layers", "aggregator", "calls", "typical"}
    assert told["name"] == name
    assert [len(layer) for layer in told["layers"]] == shape
    assert told["calls"] == calls
    for model in (*told["layers"][0], told["aggregator"]):
        assert model in drawn.out


def test_without_anything_set_up_the_default_is_a_vote_of_the_embedded_model(desk):
    desk.write("")
    told = desk.run("show", "default", "--json").json

    assert (told["calls"], len(told["layers"][0])) == (3, 3)


def test_default_means_the_configured_default_by_its_name_too(desk):
    assert desk.run("show", "default", "--json").json["name"] == "team"
    assert desk.run("ask", "-m", "default", "--json", "Why?").json["model"] == "team"


def test_show_lists_the_mixtures_there_are(desk):
    ran = desk.run("show")
    told = {row["name"]: row["calls"] for row in desk.run("show", "--json").json}

    assert told["team"] == 3
    assert told["paper"] == 13
    assert all(name in ran.out for name in told)


@pytest.mark.parametrize("name", ["default", "self"])
def test_show_says_what_auto_is_here_and_why(name, desk):
    desk.write("")
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}, {"name": "qwen3:8b", "size": 8}]
    ran = desk.run("show", name, env={"OLLAMA_HOST": desk.server.host})

    assert "ollama/qwen3:8b" in ran.out
    assert "Ollama answers" in ran.out


def test_show_uses_the_starter_team_once_it_was_pulled(desk):
    """A hub's cache as huggingface_hub lays it out; the models themselves are not needed here."""
    desk.write("")
    for name in local_models.model_groups()["starter"]:
        source = local_models.known_models()[name].source
        assert isinstance(source, local_models.HubSource)
        repo = desk.folder / "hub" / f"models--{source.repo.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True)
        (repo / "refs" / source.revision).write_text("c" * 40)
        (repo / "snapshots" / ("c" * 40)).mkdir(parents=True)
        (repo / "snapshots" / ("c" * 40) / source.file).write_bytes(b"GGUF")
    here = {"HF_HOME": str(desk.folder)}

    assert desk.run("show", "default", "--json", env=here).json["layers"] == [
        list(local_models.model_groups()["starter"])
    ]
    rows = desk.run("models", "--json", env=here).json["local"]
    assert {row["name"] for row in rows if row["path"]} == set(
        local_models.model_groups()["starter"]
    )


def test_ask_says_which_it_chose_and_why_where_it_chose(desk):
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}, {"name": "qwen3:8b", "size": 8}]
    desk.write("")
    ran = desk.run("ask", "Why?", env={"OLLAMA_HOST": desk.server.host})

    assert ran.code == 0, ran.err
    first = ran.err.splitlines()[0]
    assert "ollama/llama3.2:3b" in first
    assert "ollama/qwen3:8b" in first
    assert "Ollama answers" in first


def test_ask_says_in_its_last_line_that_ollama_is_not_running(desk):
    desk.write("")
    place = nobody()
    ran = desk.run("ask", "-m", "ollama/llama3.2", "Why?", env={"OLLAMA_HOST": place})

    assert ran.code == 3
    said = f"Ollama is not running at {place}: start it with `ollama serve`."
    assert ran.err.splitlines()[-1] == said


def test_a_port_in_use_is_told_with_what_to_do(desk):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = desk.run("serve", "--port", str(port))

    assert ran.code == 2
    said = f"port {port} is in use: choose another with --port; --port 0 picks a free one"
    assert said in ran.err


def test_show_says_how_a_vote_chooses(desk):
    vote = '[mixtures.{0}]\nlayers = [["ann*3"]]\npattern = "vote"\nextract = "{0}"\n'
    desk.write(desk.model("ann") + vote.format("text") + vote.format("number"))

    assert "(the proposal most like the others is the answer)" in desk.run("show", "text").out
    assert "(the proposal with the most votes is the answer)" in desk.run("show", "number").out


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("--config mine.toml ask Why?", "after the command: mixtura ask --config FILE"),
        ("--config x.toml config check", "after the command: mixtura config check --config FILE"),
        ("--json report --from logs", "after the command: mixtura report --json"),
        ("--from logs report collect", "the command: mixtura report collect --from RUNS"),
        ("--no-cache ask Why?", "--no-cache goes after the command: mixtura ask --no-cache"),
        ("-m rank Why?", "-m goes after the command: mixtura ask -m NAME"),
        ("--nonsense ask Why?", "No such option '--nonsense'"),
    ],
)
def test_an_option_of_a_command_in_front_of_it_is_told_its_place(words, right, desk):
    ran = desk.run(*words.split())

    assert ran.code == 2
    assert right in ran.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai", "openai is a provider: name a model of it, such as openai/gpt-5.4"),
        ("openai/", "'openai/': the model's name is missing after the slash"),
    ],
)
def test_a_providers_name_alone_is_told_what_is_missing(desk, name, said):
    ran = desk.run("ask", "-p", name, "Why?")

    assert ran.code == 2
    assert said in ran.err


def test_ask_claims_no_choice_that_was_not_its_own(desk):
    """A `default` of one's own, or another aggregator: what is said must be what is used."""
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}]
    ollama = {"OLLAMA_HOST": desk.server.host}
    one = '[mixtures.default]\nlayers = [["ann"]]\naggregator = "chief"\n'
    desk.write(desk.model("ann") + desk.model("chief") + one)
    mine = desk.run("ask", "Why?", env=ollama)
    desk.write(desk.model("chief"))
    other = desk.run("ask", "-a", "chief", "Why?", env=ollama)

    assert mine.code == other.code == 0
    assert "llama3.2" not in mine.err
    assert "then ollama/llama3.2" not in other.err


def test_models_lists_every_name_whole_however_narrow_the_output(desk):
    ran = desk.run("models")
    narrow = desk.run("models", env={"COLUMNS": "60"})

    for name in local_models.known_models():
        assert name in ran.out
        assert name in narrow.out
    assert max(map(len, narrow.out.splitlines())) <= 60
    assert "…" not in narrow.out
    for word in ("mixtura pull starter", "ann", "openai", "ollama", ".gguf"):
        assert word in ran.out


def test_models_as_json_has_what_is_known_what_is_here_and_what_is_configured(desk):
    told = desk.run("models", "--json").json

    assert [row["name"] for row in told["local"]] == list(local_models.known_models())
    assert all(row["path"] is None for row in told["local"])
    assert told["configured"] == ["ann", "ben", "chief"]
    assert "openai" in told["providers"]
    assert told["groups"]["starter"]


def test_the_version_is_the_packages(desk):
    from importlib.metadata import version

    assert desk.run("--version") == Ran(0, f"mixtura {version('mixtura')}\n", "")


def test_help_names_every_command_and_the_exit_codes(desk):
    ran = desk.run("--help")

    assert ran.code == 0
    for word in ("ask", "show", "models", "pull", "--version", "130 interrupted"):
        assert word in ran.out
    for command in ("ask", "show", "models", "pull"):
        assert desk.run(command, "--help").code == 0


def test_the_installed_command_is_the_same_program(desk):
    command = Path(sys.executable).parent / "mixtura"
    ran = subprocess.run(
        [command, "--version"], capture_output=True, text=True, env=desk.env, check=True
    )

    assert ran.stdout == desk.run("--version").out


HEAVY = {"httptools", "rich", "click", "xllamacpp", "genai_prices", "huggingface_hub"}
RUN = "from mixtura import cli\ntry: cli.main({})\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import mixtura", HEAVY),
        (RUN.format(["--help"]), HEAVY - {"click"}),
        (RUN.format(["show", "lite", "--json"]), {"httptools", "xllamacpp", "huggingface_hub"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code, heavy, desk):
    show = "\nimport sys; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", code + show],
        capture_output=True, text=True, env=desk.env, check=True,
    )  # fmt: skip

    assert not heavy & set(ran.stderr.split())
