"""docs/guides/clients.md lists what `make soak` installs, and has a code block for each client."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.real_clients import DOCS, VERSIONS

TEXT = DOCS.read_text(encoding="utf-8")
CLIENTS = tomllib.loads(VERSIONS.read_text(encoding="utf-8"))
for tool in ("mcp-inspector", "mcp-conformance"):
    del CLIENTS[tool]  # no client of the server: docs/guides/agents.md has its version
TESTS = (Path(__file__).parent / "test_real_clients.py").read_text(encoding="utf-8")


def test_the_table_of_clients_has_the_versions_that_are_tried():
    rows = re.findall(r"^\| \[[^|]+\| ([^|]+) \|", TEXT, re.MULTILINE)
    listed = sorted(tuple(re.findall(r"`([^`]+)`", row)) for row in rows)
    tried = sorted(tuple(names) for one in CLIENTS.values() for names in one.values())

    assert listed == tried
    assert all(re.search(r"[@=]\d", name) for row in tried for name in row)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_that_is_listed_is_run(client):
    assert f'"{client}"' in TESTS or f'"{client}/' in TESTS


def test_every_client_has_a_section_with_its_lines():
    linked = set(re.findall(r"\]\(#([\w-]+)\)", TEXT))
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    named = {part.partition("\n")[0].lower().replace(" ", "-"): part for part in sections}

    assert linked == set(named)
    for name, part in named.items():
        assert "```" in part, name
        assert "Works" in part, name
