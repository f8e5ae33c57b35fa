"""The skills and the plugin for agents: what their formats demand, and commands that there are."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.paths import ROOT

PLUGIN = ROOT / "integrations" / "claude-code"
SKILLS = sorted(PLUGIN.glob("skills/*/SKILL.md"))


@pytest.mark.parametrize("file", SKILLS, ids=lambda file: file.parent.name)
def test_a_skill_begins_with_its_name_and_says_when_to_use_it(file):
    head = re.match(r"---\n(.*?)\n---\n", file.read_text(), re.DOTALL)
    assert head
    fields = dict(line.split(": ", 1) for line in head[1].splitlines())

    assert set(fields) == {"name", "description"}
    assert fields["name"] == file.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert len(fields["name"]) <= 64
    assert len(fields["description"]) <= 1024
    assert ": " not in fields["description"]  # YAML would read another field
    assert "Use " in fields["description"]


def test_the_plugin_names_itself_and_both_skills_are_in_it():
    manifest = json.loads((PLUGIN / ".claude-plugin" / "plugin.json").read_text())

    assert re.fullmatch(r"[a-z0-9-]+", manifest["name"])
    assert {"version", "description"} <= set(manifest)
    assert [file.parent.name for file in SKILLS] == ["council-review", "second-opinion"]
