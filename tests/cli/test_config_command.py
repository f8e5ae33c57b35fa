"""`mixtura config`: the configuration file checked, shown, edited and found."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.command_line import desk

desk = desk
WRONG = """default = "tem"
[models.m]
model = "x"
base_ulr = "http://127.0.0.1:9"
[mixtures.team]
layers = [["m"]]
agregator = "m"
"""


def test_a_right_file_is_said_to_be_right(desk):
    ran = desk.run("config", "check")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{desk.folder / 'mixtura.toml'}: no mistakes (3 models, 1 mixture).\n"


@pytest.mark.parametrize("named", [False, True])
def test_every_mistake_is_a_line_of_its_own(named, desk):
    path = desk.write(WRONG, "other.toml" if named else "mixtura.toml")

    said = desk.run("config", "check", *(["--config", str(path)] if named else [])).complaint

    lines = said.splitlines()
    assert [line.rpartition("toml:")[2].partition(":")[0] for line in lines] == ["1", "4", "7"]
    assert all(line.startswith(f"{path}:") for line in lines)
    assert "did you mean 'base_url'?" in lines[1]


def test_every_command_that_reads_the_file_tells_all_mistakes(desk):
    desk.write(WRONG)

    for words in (["ask", "Why?"], ["show"], ["serve", "--port", "0"], ["models"]):
        said = desk.run(*words).complaint
        assert said.startswith("mixtura: 3 mistakes:\n"), said
        assert len(said.splitlines()) == 4


def test_broken_toml_is_one_line(desk):
    desk.write('default = "a"\n[models.m\n')

    said = desk.run("config", "check").complaint

    assert said.startswith(f"{desk.folder / 'mixtura.toml'}:2: not valid TOML: ")
    assert said.count("\n") == 1


def test_a_key_that_is_not_set_here_is_a_note_and_no_mistake(desk):
    desk.write('default = "openai/gpt-5.4"\n[models.m]\nmodel = "x"\nprovider = "groq"\n')

    ran = desk.run("config", "check")

    assert ran.code == 0
    assert "mixtura.toml:4: models.m: groq needs an API key: GROQ_API_KEY" in ran.err
    assert "note: openai needs an API key" in ran.err


def test_a_model_file_that_is_not_there_is_a_mistake(desk):
    desk.write('default = "m"\n[models.m]\nmodel = "gone.gguf"\n')

    assert "mixtura.toml:3: models.m: " in desk.run("config", "check").complaint


def test_settings_are_shown_with_where_each_comes_from_and_no_secret(desk):
    desk.write(
        'default = "m"\n[models.m]\nmodel = "x"\nbase_url = "http://u:canary-login-77@127.0.0.1:9"\n'
        'headers = { Authorization = "Bearer canary-header-0a1b2c" }\napi_key_env = "HOUSE_KEY"\n'
        'extra = { api_key = "canary-extra-9z8y" }\n[budget]\nday_usd = 3\n'
    )

    env = {"HOUSE_KEY": "canary-house-4f5g6h"}
    ran = desk.run("config", "show", env=env)
    rows = {row["key"]: row for row in desk.run("config", "show", "--json", env=env).json}

    assert "canary" not in ran.out + json.dumps(rows)
    assert "day_usd = 3" in ran.out
    assert "# mixtura.toml:9" in ran.out
    assert rows["models.m.api_key"] == {
        "key": "models.m.api_key", "value": "***", "origin": "HOUSE_KEY",
    }  # fmt: skip
    assert rows["serve.port"]["origin"] == "default"
    assert rows["default"]["origin"] == f"{desk.folder / 'mixtura.toml'}:1"


def test_the_file_is_opened_in_the_editor_and_checked_after_it(desk):
    script = desk.write(
        "import sys\nopen(sys.argv[1], 'a').write('[modles.x]\\n')\n", name="editor.py"
    )

    said = desk.run("config", "edit", env={"EDITOR": f"{sys.executable} {script}"}).complaint

    assert "unknown key 'modles': did you mean 'models'?" in said


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        ("", "set EDITOR"),
        ("no-such-editor", "cannot be started: not found"),
        ("false", "exit code 1"),
        ("vi 'x", "a quotation mark is not closed"),
    ],
)
def test_an_editor_that_does_not_work_is_told(editor, said, desk):
    assert said in desk.run("config", "edit", env={"EDITOR": editor}).complaint


def test_the_path_in_effect_is_printed(desk):
    assert desk.run("config", "path").out == f"{desk.folder / 'mixtura.toml'}\n"
    (desk.folder / "mixtura.toml").unlink()

    assert "`mixtura init` writes one" in desk.run("config", "path").complaint
