"""Files that a person names which are none, or not what they seem: told in words, kept whole."""

from __future__ import annotations

import os
import stat

import pytest

from tests.support import shell as in_process

desk, shell = in_process.desk, in_process.shell

LONG = "a" * 300
PLACES = {
    "--config": ("config", "check", "--config", "{}"),
    "--schema": ("ask", "--dry-run", "--schema", "{}", "Q"),
    "--attach": ("ask", "--dry-run", "--attach", "{}", "Q"),
    "--image": ("ask", "--dry-run", "--image", "{}", "Q"),
    "--system": ("ask", "--dry-run", "--system", "@{}", "Q"),
}


@pytest.fixture
def names(desk):
    """What is no file, by a name of one's own."""
    os.mkfifo(desk.folder / "pipe")
    (desk.folder / "folder").mkdir()
    (desk.folder / "plain").write_text("x")
    return ("~nosuch/x", LONG, "pipe", "folder", "plain/x", "missing", "/dev/null")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_regular_file_is_told_and_never_waited_for(place, names, shell):
    for name in names:
        ran = shell.run(*(word.format(name) for word in PLACES[place]))

        assert ran.code == 2, (name, ran)
        assert "Traceback" not in ran.err, name
        assert ran.out == "", name


@pytest.mark.parametrize("name", ["~nosuch/x", LONG, "folder", "plain/x"])
def test_an_answer_is_not_asked_for_where_its_file_cannot_be_written(name, names, shell):
    ran = shell.run("ask", "--dry-run", "--output", name, "Q")

    assert (ran.code, ran.out) == (2, "")
    assert "--output" in ran.err


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://",
        "ftp://x/y.png",
        "data:image/png;base64,@@@",
        "data:image/;nonsense",
    ],
)
def test_a_picture_s_address_that_is_none_is_refused(address, shell):
    ran = shell.run("ask", "--dry-run", "--image", address, "Q")

    assert (ran.code, ran.out) == (2, "")
    assert "--image" in ran.err


def test_a_schema_with_a_number_of_thousands_of_digits_is_refused(desk, shell):
    (desk.folder / "s.json").write_text('{"maxLength": ' + "9" * 5000 + "}")

    assert shell.run("ask", "--schema", "s.json", "Q").code == 2


# ---- init


INIT = ("init", "--yes", "--no-scan", "--config")


def test_init_replaces_no_pipe_and_no_device(names, desk, shell):
    ran = shell.run(*INIT, "pipe", "--force")

    assert ran.code == 2
    assert "is not a regular file" in ran.err
    assert stat.S_ISFIFO((desk.folder / "pipe").stat().st_mode)


def test_init_writes_what_a_link_points_to_and_keeps_its_rights(desk, shell):
    real, link = desk.folder / "real.toml", desk.folder / "link.toml"
    real.write_text("")
    real.chmod(0o600)
    link.symlink_to(real)

    assert shell.run(*INIT, "link.toml").code == 2
    assert shell.run(*INIT, "link.toml", "--force").code == 0

    assert link.is_symlink()
    assert "[mixtures" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_init_does_not_take_a_broken_link_for_nothing(desk, shell):
    (desk.folder / "link.toml").symlink_to(desk.folder / "elsewhere.toml")

    assert shell.run(*INIT, "link.toml").code == 2


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://me:secret-word@h/", "x"])
def test_init_asks_no_address_that_is_none_and_repeats_no_login(address, shell):
    ran = shell.run("init", "--yes", "--no-scan", "--server", address)

    assert ran.code == 2
    assert "secret-word" not in ran.err


def test_completion_that_cannot_be_removed_is_told(desk, shell):
    (desk.folder.parent / "home" / ".local").write_text("")
    for how in ("--install", "--uninstall"):
        ran = shell.run("completion", "bash", how)

        assert ran.code == 2, ran
        assert "cannot be changed" in ran.err


@pytest.mark.parametrize("key", ["sk-proj-" + "a1" * 12, "sk-ant-" + "b2" * 12, "AIza" + "c3" * 18])
def test_a_key_that_is_pasted_right_behind_an_option_is_not_repeated(key, shell):
    for words in (("ask", f"--keep{key}", "Q"), ("config", "check", f"extra{key}")):
        ran = shell.run(*words)

        assert ran.code == 2
        assert key not in ran.err


def test_a_secret_without_quotation_marks_is_not_repeated(desk, shell):
    desk.write("[models.a]\napi_key = hunter2-plainsecret-9f8e7d\n")

    ran = shell.run("config", "check")

    assert "quotation marks" in ran.err
    assert "hunter2" not in ran.err
