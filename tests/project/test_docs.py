"""The documentation: its links, its contents, and that it lists all there is."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import mixtura
from mixtura import cli
from mixtura.config.config import load
from mixtura.config.local_council import SERVER_TITLES
from mixtura.config.registry import USE_COMMANDS
from mixtura.core import errors, events
from mixtura.server import error_statuses
from mixtura.server.openapi import openapi_document
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.loopback import Answer
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
SOURCES = ROOT / "src" / "mixtura"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site name them."""
    text = path.read_text("utf-8")
    if included := re.search(r"^```\{include\} (\S+)", text, re.MULTILINE):
        text = (path.parent / included[1]).read_text("utf-8")
    heads = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


# ---- links and contents


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_link_between_pages_leads_somewhere(path):
    links = re.findall(r"\]\((?!\w+:)([^)\s]+)\)", without_code(path.read_text("utf-8")))
    for link in links:
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), f"{link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_contents():
    text = (DOCS / "index.md").read_text("utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    entries = [row for tree in trees for row in tree.splitlines() if row and row[0] != ":"]

    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"index"}
    apart = {
        str(page.relative_to(DOCS).with_suffix(""))
        for page in PAGES
        if page.read_text("utf-8").startswith("---\norphan: true\n")
    }
    assert len(entries) == len(set(entries))
    assert pages - apart <= set(entries) <= pages


def test_a_page_begins_with_its_title_and_has_but_one():
    for page in PAGES:
        text = re.sub(r"\A---\n.*?\n---\n+", "", page.read_text("utf-8"), flags=re.DOTALL)
        heads = re.findall(r"^# .+$", without_code(text), re.MULTILINE)
        assert "```{include}" in text or (len(heads) == 1 and text.startswith("# ")), page


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_examples_that_need_a_server_or_a_key_are_python_all_the_same(path):
    for code in re.findall(r"^```py\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        compile(code, name_of(path), "exec")


# ---- the references list all there is


def test_the_library_reference_has_every_public_name_once():
    text = (DOCS / "reference" / "api.md").read_text("utf-8")

    listed = re.findall(r"^\.\. auto\w+:: mixtura\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(mixtura.__all__)


def test_the_page_of_errors_has_every_class_and_every_code():
    text = (DOCS / "reference" / "errors.md").read_text("utf-8")
    written = {
        code
        for path in (SOURCES / "server").rglob("*.py")
        for code in re.findall(r"""code="([a-z_]+)\"""", path.read_text("utf-8"))
    }
    codes = written | {kind.code for _, kind in error_statuses._ERROR_KINDS}

    for name in [n for n in mixtura.__all__ if n.endswith("Error")]:
        assert re.search(rf"\b{name}\b", text), name
    for code in codes:
        assert f"`{code}`" in text, code
    for error, kind in error_statuses._ERROR_KINDS:
        rows = [row for row in text.splitlines() if f"`{kind.code}`" in row]
        assert any(str(kind.status) in row.split("|")[1] for row in rows), error


def test_every_class_of_the_tree_of_errors_has_its_own_line_below_its_parent():
    text = (DOCS / "reference" / "errors.md").read_text("utf-8")
    tree = re.search(r"^```text\n(MixturaError\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    public = [getattr(mixtura, name) for name in mixtura.__all__ if name.endswith("Error")]
    classes = {kind for kind in (*vars(errors).values(), *public) if isinstance(kind, type)}
    expected = {
        kind.__name__: kind.__base__.__name__
        for kind in classes
        if issubclass(kind, errors.MixturaError) and kind is not errors.MixturaError
    }

    assert tree, "there is no tree"
    above: list[str] = []
    parents: dict[str, str] = {}
    for line in tree[1].splitlines():
        found = re.fullmatch(r"((?:│   |    )*(?:[├└]── )?)(\w+Error)(?: +[^│├└]+)?", line)
        assert found, line
        depth = len(found[1]) // 4
        above = [*above[:depth], found[2]]
        assert len(above) == depth + 1, line
        if depth:
            assert found[2] not in parents, line
            parents[found[2]] = above[-2]
    assert parents == expected


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_line_of_a_tree_has_one_branch(path):
    """A tree or a drawing whose lines were joined is no longer read."""
    for block in re.findall(r"^```.*?^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            assert len(re.findall("[├└]── ", line)) <= 1, line


def test_the_page_of_events_has_every_event_and_every_frame():
    text = (DOCS / "reference" / "events.md").read_text("utf-8")
    frames = re.findall(r'"event": "(\w+)"', (SOURCES / "server" / "event_json.py").read_text())

    assert frames
    for event in events.Event.__args__:
        assert f"`{event.__name__}`" in text, event
    for frame in frames:
        assert f"`{frame}`" in text, frame


def test_every_field_of_a_request_has_a_meaning():
    meanings = tomllib.loads((DOCS / "reference" / "request_fields.toml").read_text("utf-8"))
    schemas = openapi_document(["default"], [], locked=False)["components"]["schemas"]
    listed = (DOCS / "reference" / "http-fields.md").read_text("utf-8")

    named = re.findall(r"^```\{request-fields\} (\w+)$", listed, re.MULTILINE)
    assert sorted(named) == sorted({*meanings} - {"common"})
    for name in named:
        fields = set(schemas[name]["properties"])
        assert fields <= {*meanings["common"], *meanings[name]}, name
        assert set(meanings[name]) <= fields, name


def test_the_page_on_observing_has_every_metric():
    text = (DOCS / "guides" / "observing.md").read_text("utf-8")
    code = (SOURCES / "server" / "metrics.py").read_text("utf-8")

    for metric in re.findall(r'"(mixtura_\w+)"', code):
        assert re.search(rf"`{metric}(_total)?`", text), metric


def test_the_default_team_is_described_alike_wherever_it_is():
    text = (DOCS / "reference" / "configuration.md").read_text("utf-8")
    section = text.partition("### The default team\n")[2].partition("\n### ")[0]
    guide = (DOCS / "guides" / "command-members.md").read_text("utf-8")
    help_text = cli.group.get_command(None, "ask").help

    steps = re.findall(r"^\d\. \*\*(.+?)\*\*", section, re.MULTILINE)
    assert steps == [
        "Keys of several providers", "One provider's key", "Models and tools on this machine",
        "The starter team", "The embedded model",
    ]  # fmt: skip
    for title in SERVER_TITLES:
        assert title in section, title
        assert title in guide, title
        assert title in help_text, title
    assert USE_COMMANDS in section
    assert USE_COMMANDS in guide
    assert "use_commands = true" in section


def test_the_table_of_exit_codes_is_that_of_the_command_line():
    text = (DOCS / "reference" / "cli.md").read_text("utf-8")
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]

    known = ("ANSWERED", "NOT_WRITTEN", "WRONG_USE", "NO_ANSWER", "CAPPED", "INTERRUPTED")
    assert codes == [getattr(cli, name) for name in known]


# ---- the examples are teams that we would advise


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_example_is_no_team_that_show_advises_against(path, tmp_path):
    page = path.read_text("utf-8")
    (tmp_path / "merge.md").write_text("{{proposals}}")
    for text in re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        file = tmp_path / "mixtura.toml"
        file.write_text(text)
        config = load(str(file), environ={}, folder=tmp_path, home=tmp_path)
        for plan in (plan for plan in config.registry.mixtures.values() if plan.where):
            # Of small local models a page says itself what `mixtura show` says of them.
            known = "small models, which gain little" if "small gain little" in page else None
            problems = [one for one in config.team_problems(plan) if not known or known not in one]
            assert problems == [], plan.name


# ---- the tutorial, step by step


def tutorial_steps() -> list[tuple[str, str]]:
    text = (DOCS / "tutorial.md").read_text("utf-8")
    return re.findall(r"^```(sh|toml|text)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


NOT_WALKED = ("make ", "export ", "mixtura doctor", "mixtura serve")
"""What needs a network, or does not end."""
EVALUATIONS = ("mixtura compare", "mixtura select", "mixtura ask -m selected")
SERVED = ("openai/gpt-5.4-mini", "openai/gpt-5.4", "groq/llama-3.3-70b-versatile")


@pytest.fixture
def reader(desk):  # noqa: F811
    """A reader's desk: what the tutorial asks is answered on loopback, rightly where it can be."""
    rows = [
        json.loads(line)
        for _, text in tutorial_steps()
        for line in text.splitlines()
        if line.startswith('{"input"')
    ]

    def answer(request):
        asked = str(request["messages"])
        found = [row["target"] for row in rows if row["input"] in asked]
        return Answer.text(f"The answer is {found[0]}." if found else "Flour and water.")

    desk.server.answers = {name.partition("/")[2]: answer for name in SERVED}
    desk.env |= {"OPENAI_API_KEY": "none-of-theirs", "GROQ_API_KEY": "none-of-theirs"}
    here = f'base_url = "{desk.server.base_url}"\n'
    desk.write(
        "".join(f'[models."{name}"]\n{here}model = "{name.partition("/")[2]}"\n' for name in SERVED)
    )
    return desk


def walk_tutorial(reader, left_out: tuple[str, ...]) -> list[str]:
    """Does what the tutorial says, and gives the commands that were run."""
    here = f'base_url = "{reader.server.base_url}"'
    done = []
    for kind, text in tutorial_steps():
        if kind == "toml":
            reader.write(re.sub(r"^(provider = .*)$", rf"\1\n{here}", text, flags=re.MULTILINE))
        elif kind == "text" and text.startswith("{"):
            reader.write(text, "prompts.jsonl")
        for line in text.splitlines() if kind == "sh" else ():
            if line.startswith(left_out) or "--judge" in line:  # nobody here gives verdicts
                continue
            process = reader.start(*shlex.split(line)[1:])
            out, err = process.communicate(timeout=240)  # an evaluation on a busy machine
            assert process.returncode == 0, (line, err.decode())
            assert out.strip(), line
            done.append(line)
    return done


def test_the_first_steps_of_the_tutorial_can_be_walked(reader):
    assert len(walk_tutorial(reader, (*NOT_WALKED, *EVALUATIONS))) >= 4


@pytest.mark.soak
def test_the_tutorial_can_be_walked_to_its_end(reader):
    assert len(walk_tutorial(reader, NOT_WALKED)) >= 8
    assert "[mixtures.selected]" in (reader.folder / "mixtura.toml").read_text()
