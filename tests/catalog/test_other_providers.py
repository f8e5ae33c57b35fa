"""A provider is one table, or one entry point: CONTRIBUTING's own table, added and asked."""

from __future__ import annotations

import shutil

import pytest

from tests.support.loopback import Answer, loopback
from tests.support.other_packages import docs_block, install_package, program
from tests.support.paths import ROOT

TABLE = docs_block("../CONTRIBUTING.md", "[example]", "text")
URL = "https://api.example.com/v1"
ASK = ("ask", "--quiet", "-m", "example/any-model", "6 x 7?")


@pytest.fixture
def upstream():
    with loopback() as server:
        server.answers["any-model"] = Answer.text("It is 42.")
        yield server


def test_a_provider_whose_table_is_added_as_the_docs_say_is_asked_by_its_name(tmp_path, upstream):
    site = tmp_path / "site"
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "mixtura", site / "mixtura", ignore=no_cache)
    presets = site / "mixtura" / "presets" / "providers.toml"
    presets.write_text(presets.read_text() + "\n" + TABLE.replace(URL, upstream.base_url))

    without = program(tmp_path, site, *ASK)
    asked = program(tmp_path, site, *ASK, EXAMPLE_API_KEY="k-1")

    assert "EXAMPLE_API_KEY is not set" in " ".join(without.stderr.split())
    assert (asked.stdout.strip(), asked.returncode) == ("It is 42.", 0), asked.stderr
    assert upstream.headers[0]["Authorization"] == "Bearer k-1"


def test_a_provider_of_another_package_is_asked_by_its_name(tmp_path, upstream):
    code = (
        "from mixtura.catalog.providers import Provider\n"
        f'PROVIDER = Provider(base_url="{upstream.base_url}", keys=("EXAMPLE_API_KEY",))\n'
    )
    site = install_package(
        tmp_path / "site", "example", code, "mixtura.providers", example="example:PROVIDER"
    )

    asked = program(tmp_path, site, *ASK, EXAMPLE_API_KEY="k-1")

    assert (asked.stdout.strip(), asked.returncode) == ("It is 42.", 0), asked.stderr
    assert upstream.headers[0]["Authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("PROVIDER = 7", "is not a Provider: example_provider:PROVIDER"),
    ],
)
def test_a_package_that_is_broken_is_named_without_a_traceback(tmp_path, code, words):
    site = install_package(
        tmp_path / "site", "example_provider", code, "mixtura.providers",
        example="example_provider:PROVIDER",
    )  # fmt: skip

    asked = program(tmp_path, site, *ASK)

    assert asked.returncode != 0
    assert words in " ".join(asked.stderr.split())
    assert "example-provider" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_a_provider_that_speaks_what_no_adapter_speaks_is_refused(tmp_path):
    code = (
        "from mixtura.catalog.providers import Provider\n"
        'PROVIDER = Provider(base_url="http://127.0.0.1:9", dialect="opnai")\n'
    )
    site = install_package(
        tmp_path / "site", "example", code, "mixtura.providers", example="example:PROVIDER"
    )

    asked = program(tmp_path, site, *ASK)

    assert asked.returncode != 0
    assert "unknown dialect 'opnai': did you mean 'openai'" in " ".join(asked.stderr.split())
