"""`redact` in a configuration: whom it holds for, what it takes, what is said of wrong ones."""

from __future__ import annotations

import json

import pytest

from mixtura.core.roles import iterate_models
from mixtura.models.wrappers.private_items import Pseudonymized
from tests.support import command_line
from tests.support.config_files import folder, read, refused  # noqa: F401 - a fixture
from tests.support.loopback import Answer
from tests.support.other_packages import install_package

desk = command_line.desk
ADDRESS = "anna@example.com"


def is_redacted(config, name):
    return any(isinstance(model, Pseudonymized) for model in iterate_models(config.model(name)))


def test_a_hosted_member_is_not_shown_what_the_local_one_is(desk):
    desk.server.answers["ben"] = Answer(("Write to [EM", "AIL_", "1] or [CUSTO", "MER_1]."))
    desk.write("customer = 'CUST-[0-9]{6}'\nproject = ['Falcon', '(?i)red october']", "own.toml")
    team = '[mixtures.team]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
    ben = desk.model("ben", 'redact = { patterns = "own.toml", words = ["Zoe"] }')
    desk.write(f'default = "team"\n{desk.model("ann")}{ben}{desk.model("chief")}{team}')
    question = f"Who is Zoe, {ADDRESS}, CUST-123456, Red October?"

    ran = desk.run("ask", question, "--json")
    shown = desk.run("show", "last", "--json").json
    page = desk.run("show", "last", "--html", "-").out

    asked = {sent["model"]: sent["messages"][-1]["content"] for sent in desk.server.requests}
    assert asked["ann"] == question
    assert asked["ben"] == "Who is [WORD_1], [EMAIL_1], [CUSTOMER_1], [PROJECT_1]?"
    assert f"Write to {ADDRESS} or CUST-123456." in json.dumps(asked["chief"])
    ben = next(call for call in ran.json["calls"] if call["model"] == "ben")
    assert ben["text"] == f"Write to {ADDRESS} or CUST-123456."
    assert {"placeholder": "[EMAIL_1]", "kind": "EMAIL", "text": ADDRESS} in ben["replaced"]
    assert "4 private items replaced before the request" in ben["notices"][0]
    # The run on this machine has it, a file for others has not.
    kept = next(call for call in shown["calls"] if call["model"] == "ben")
    assert kept["replaced"] == ben["replaced"]
    assert '"replaced"' not in page


def test_one_line_holds_for_every_member_that_is_not_on_this_machine(folder):  # noqa: F811
    config = read(
        """
redact = true
[models.far]
base_url = "https://models.example.com/v1"
model = "a"
[models.trusted]
base_url = "https://ours.example.com/v1"
model = "a"
redact = false
[models.near]
base_url = "http://127.0.0.1:9/v1"
model = "a"
[models.tool]
command = ["cat"]
""",
        folder,
        {"OPENAI_API_KEY": "sk-none-of-yours-0123456789"},
    )

    names = ("far", "trusted", "near", "tool", "openai/gpt-5.4")
    assert [is_redacted(config, name) for name in names] == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('redact = { kinds = ["name"] }', "expected 'email' or 'phone'"),
        ('redact = { patterns = "gone.toml" }', "the pattern file"),
        ('redact = { patterns = "bad.toml" }', "bad.toml:2: customer: '(' is no regular"),
        ('redact = { recognizers = ["names"] }', "no installed package offers the recognizer"),
        ('redact = { regions = ["XX"] }', "'XX' is no region"),
        ('redact = true\nhedge = { elsewhere = "steady" }', "steady would be sent what this model"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(folder, setting, said):  # noqa: F811
    if "regions" in setting:
        pytest.importorskip("phonenumbers", reason="the package phonenumbers is not installed")
    (folder / "bad.toml").write_text("\ncustomer = '('\n")
    steady = '[models.steady]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "s"\n'
    table = f'[models.quick]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "q"\n{setting}\n'

    assert said in refused(f'default = "quick"\n{steady}{table}', folder).replace(str(folder), "")


def test_a_local_model_has_no_use_for_it(folder):  # noqa: F811
    text = 'default = "own"\n[models.own]\nmodel = "starter.gguf"\nredact = true\n'

    assert "redact is for hosted models and has no effect on a local one" in refused(text, folder)


def test_another_package_finds_names(desk, tmp_path):
    code = """
import re


def find_names(text):
    return [(*match.span(), "name") for match in re.finditer("Anna Schmidt", text)]
"""
    site = install_package(
        tmp_path / "site", "names", code, "mixtura.recognizers", names="names:find_names"
    )
    table = 'redact = { recognizers = ["names"] }'
    desk.write(f'default = "ben"\n{desk.model("ben", table)}')

    ran = desk.run("ask", "Who is Anna Schmidt?", env={"PYTHONPATH": str(site)})

    assert ran.code == 0, ran.err
    assert desk.server.requests[-1]["messages"][-1]["content"] == "Who is [NAME_1]?"


def test_the_numbers_of_a_country_are_found_as_its_people_write_them():
    pytest.importorskip("phonenumbers", reason="the package phonenumbers is not installed")
    from mixtura.privacy.phone_recognizer import create_phone_recognizer

    text = "Ruf 030 901820 an, oder 4930901820."
    found = [text[begin:end] for begin, end, _ in create_phone_recognizer(["de"])(text)]

    assert "030 901820" in found
