"""Configuration files, editors and conversations that are not as they should be: told in words."""

from __future__ import annotations

import os

import pytest

from tests.support import shell as in_process

desk, shell = in_process.desk, in_process.shell
KEY, WORD = "sk-proj-Canary0123456789abcdefghij", "hunter2-plainsecret-9f8e7d"
MODEL = '[models.m]\nmodel = "x"\nbase_url = "http://127.0.0.1:9/v1"\n'
BASE = 'base_url = "http://127.0.0.1:9"\n'
FILES = {
    # dates, lists of tables, other types
    b"default = 2026-01-01\n": (1, "default: expected a string, got date"),
    b"[models.m]\nmodel = 07:32:00\n": (2, "expected a string, got time"),
    b"[budget]\nday_usd = 1979-05-27\n": (2, "expected a number, got date"),
    b'[[models]]\nname = "m"\n': (1, "models: expected a table, got a list"),
    b'[[mixtures.team]]\nlayers = [["a"]]\n': (1, "mixtures.team: expected a table, got a list"),
    b"[serve]\nport = true\n": (2, "expected a whole number, got true or false"),
    # numbers
    b"[serve]\nport = 99999999999999999999\n": (2, "out of range: at most 19 digits"),
    MODEL.encode() + b"max_tokens = " + b"9" * 5_000 + b"\n": (4, "a number has too many digits"),
    b"[budget]\nday_usd = 1e400\n": (2, "write a finite number"),
    b"[budget]\nday_usd = nan\n": (2, "write a finite number"),
    "[serve]\nport = ٨٠\n".encode(): (2, "expected a quoted string, a number"),
    # encodings
    MODEL.encode("utf-16"): (1, "save the file as UTF-8"),
    MODEL.encode("utf-16-le"): (1, "not as UTF-16"),
    '[models.m]\nmodel = "café"\n'.encode("latin-1"): (2, "save the file as UTF-8"),
    b'default = "a\0b"\n': (1, "a NUL character"),
    b"\x1f\x8b\x08\0\0": (1, "save the file as UTF-8"),
    b'[models.m]\nmodel = "C:\\Users\\me.gguf"\n': (2, "goes into single quotes"),
    # other languages, the same thing twice
    b'{"default": "m"}': (1, "expected KEY = VALUE"),
    b"default: m\n": (1, "expected KEY = VALUE"),
    MODEL.encode() + b'model = "y"\n': (4, "this key is in the file already"),
    MODEL.encode() * 2: (4, "this table is in the file already"),
    b"a = " + b"[" * 3_000 + b"]" * 3_000 + b"\n": (1, "nested too deeply"),
    b".".join([b"a"] * 5_000) + b" = 1\n": (1, "nested too deeply"),
    # names
    b'Default = "m"\n' + MODEL.encode(): (1, "did you mean 'default'?"),
    b"[BUDGET]\nday_usd = 1\n": (1, "did you mean 'budget'?"),
    b'[models.m]\nMODEL = "x"\n': (2, "did you mean 'model'?"),
    MODEL.replace("[models.m]", '[models.""]').encode(): (1, "a name cannot be empty"),
    MODEL.replace("[models.m]", '[models." "]').encode(): (1, "a name cannot be empty"),
    MODEL.replace("[models.m]", '[models."a\\nb"]').encode(): (1, "no line ends"),
    MODEL.replace("[models.m]", '[models."\\u001b[31m"]').encode(): (1, "not shown"),
    b'[mixtures.t]\nlayers = [["m*0"]]\naggregator = "m"\n': (2, "from 1 to 1,000"),
    # keys in every place
    f'"{KEY}" = 1\n'.encode(): (1, "unknown key '***'"),
    f'[models."{KEY}"]\nmodel = "x"\n'.encode(): (1, "not a name"),
    f'default = "{KEY}"\n'.encode(): (1, "keys go into the environment"),
    f'{MODEL}api_key = "{WORD}"\n'.encode(): (4, "A key never goes into this file"),
    f'{MODEL}token = "{WORD}"\n'.encode(): (4, "unknown key 'token'"),
    f'OPENAI_API_KEY = "{WORD}"\n'.encode(): (1, "A key never goes into this file"),
    f"OPENAI_API_KEY={WORD}\n".encode(): (1, "a string needs quotation marks"),
    f"export OPENAI_API_KEY={WORD}\n".encode(): (1, "expected KEY = VALUE"),
    f"{KEY}\n".encode(): (1, "expected KEY = VALUE"),
    f'{MODEL}api_key_env = "{KEY}"\n'.encode(): (4, "the key itself goes into the environment"),
    f'[models.m]\nmodel = "x"\nbase_url = "{KEY}"\n'.encode(): (3, "must begin with http://"),
    f'[models.m]\nmodel = "x"\nprovider = "{KEY}"\n'.encode(): (3, "unknown provider '***'"),
    f'[serve.keys.me]\nsha256 = "{KEY}"\n'.encode(): (2, "this is not the SHA-256"),
    f'store = "postgres://u:{WORD}@h:99999/x"\n'.encode(): (1, "must not hold a password"),
    f'[telemetry]\nendpoint = "http://u:{WORD}@h/"\n'.encode(): (2, "must hold no login"),
    f'transport = "{KEY}"\n'.encode(): (1, "unknown transport '***'"),
    f'[mixtures.t]\npattern = "{KEY}"\nlayers = [["m"]]\n'.encode(): (2, "unknown pattern '***'"),
    f'{MODEL}headers = "Authorization: Bearer {WORD}"\n'.encode(): (4, "expected a table"),
}  # fmt: skip


def test_a_wrong_file_is_told_by_its_line_and_nothing_secret_is_repeated(desk, shell):
    path = desk.folder / "mixtura.toml"
    for data, (line, words) in FILES.items():
        path.write_bytes(data)
        ran = shell.run("config", "check")
        shown = shell.run("config", "show")

        assert (ran.code, ran.out) == (2, ""), data[:80]
        assert f"mixtura.toml:{line}: " in ran.err, (data[:80], ran.err[:300])
        assert words in ran.err, (data[:80], ran.err[:300])
        for text in (ran.err, shown.out, shown.err):
            assert KEY not in text
            assert WORD not in text
            assert "\x1b" not in text


@pytest.mark.parametrize(
    "more",
    [f'model = "{KEY}"\n', f'{BASE}extra = {{ a = {{ "{KEY}" = ["{KEY}"] }} }}\nmodel = "x"\n'],
)
def test_a_key_that_stands_where_none_belongs_is_not_shown(more, desk, shell):
    desk.write(f"[models.m]\n{more}")

    for options in ((), ("--json",)):
        ran = shell.run("config", "show", *options)

        assert ran.code == 0
        assert KEY not in ran.out + ran.err
        assert "***" in ran.out


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
def test_a_file_is_read_whatever_its_line_ends_and_its_mark(end, mark, desk, shell):
    (desk.folder / "mixtura.toml").write_bytes((mark + MODEL.replace("\n", end)).encode())

    assert shell.run("config", "check").code == 0


def _make_folder(path):
    path.mkdir()


def _make_broken_link(path):
    path.symlink_to("gone.toml")


def _make_link_to_itself(path):
    path.symlink_to(path.name)


def _make_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_make_folder, "is a folder"),
        (_make_broken_link, "is a link to a file that is not there"),
        (_make_link_to_itself, "Too many levels of symbolic links"),
        (_make_pipe, "is not a regular file"),
    ],
)
@pytest.mark.parametrize("of_user", [False, True])
def test_what_stands_in_the_files_place_is_told_and_its_caps_not_passed_over(
    make, words, of_user, desk, shell
):
    path = desk.folder / "mixtura.toml"
    path.unlink()
    if of_user:
        path = desk.folder.parent / "home" / "config" / "mixtura" / "mixtura.toml"
        path.parent.mkdir(parents=True)
    make(path)

    for command in (("config", "check"), ("config", "path"), ("ask", "--dry-run", "Why?")):
        ran = shell.run(*command)

        assert (ran.code, ran.out) == (2, ""), command
        assert words in ran.err


def test_an_empty_name_is_no_wish_for_another_file(shell):
    assert "cannot be empty" in shell.run("config", "check", "--config", "").err


def test_a_folder_that_is_gone_is_told(desk, shell):
    gone = desk.folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()

    for command in (("config", "check"), ("init", "--yes", "--no-scan"), ("calibrate",)):
        ran = shell.run(*command)

        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "the current folder is gone" in ran.err


@pytest.mark.parametrize(
    ("editor", "words"),
    [
        ("sh -c 'kill -9 $$'", "was ended by signal 9"),
        ("rm", "after the editor, there is no file"),
        ('sh -c \'rm "$0"; mkdir "$0"\'', "is a folder"),
        ("/", "cannot be started"),
        ("''", "cannot be started"),
        (f"no-such --token {WORD}", "cannot be started: not found"),
        ("  ", "set EDITOR"),
    ],
)
def test_an_editor_that_fails_or_takes_the_file_away_is_told(editor, words, shell):
    ran = shell.run("config", "edit", EDITOR=editor)

    assert ran.code == 2
    assert words in ran.err
    assert WORD not in ran.err


def test_a_blank_editor_never_runs_the_file_itself(desk, shell):
    path = desk.write(f"#!/bin/sh\ntouch {desk.folder}/ran\n")
    path.chmod(0o755)

    assert shell.run("config", "edit", VISUAL=" ", EDITOR="\t").code == 2
    assert not (desk.folder / "ran").exists()


def test_a_file_is_no_option_of_the_editor_whatever_its_name(desk, shell):
    desk.write(MODEL, "-rf")

    assert shell.run("config", "edit", "--config=-rf", EDITOR="ls").code == 0


# ---- init


INIT = ("init", "--no-scan", "--config", "new.toml")


@pytest.mark.parametrize(
    "typed",
    [b"\xff\xfe\n", b"n\n\xff\n", b"n\n", b"", b"y\n" + KEY.encode() + b"\n", b"n\n,,\n\n"],
)
def test_a_conversation_that_ends_or_is_no_text_leaves_no_file(typed, desk, shell):
    ran = shell.run(*INIT, stdin=typed)

    assert ran.code == 2
    assert "Nothing was written." in ran.err
    assert KEY not in ran.err
    assert not (desk.folder / "new.toml").exists()


@pytest.mark.parametrize(
    "address",
    [f"http://h/#{WORD}", f"http://h/{KEY}", f"http://h/?k={WORD}", f"http://u:{WORD}@h/",
     "http://h:99999/", "http://h:0/", "http://h:x/"],
)  # fmt: skip
def test_a_servers_address_with_a_key_or_a_wrong_port_is_refused(address, desk, shell):
    ran = shell.run(*INIT, "--yes", "--server", address)

    assert ran.code == 2
    assert WORD not in ran.err
    assert KEY not in ran.err
    assert not (desk.folder / "new.toml").exists()


def test_a_files_name_moves_no_cursor(desk, shell):
    ran = shell.run("init", "--yes", "--no-scan", "--config", "a\nb\x1b[31m.toml")

    assert ran.code == 0
    assert "a b.toml\n" in ran.out
