"""The house itself: light imports, a line for every module, no module too long, true docs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mixtura
from tests.conftest import LONG_FILES
from tests.support.paths import ROOT, TESTS

SOURCES = sorted((ROOT / "src" / "mixtura").rglob("*.py"))
FOLDERS = sorted({path.parent for path in SOURCES})
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
LONGEST_CLASS = 250


def loaded(statement):
    """The modules that *statement* brings into a fresh interpreter."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_configuration_loads_the_patterns_that_are_used_and_no_others():
    modules = loaded(
        "from pathlib import Path\nfrom mixtura.config.config import load\n"
        "here = Path('nowhere')\nload(None, environ={}, folder=here, home=here)"
        ".mixture_spec('guard')"
    )

    assert "mixtura.patterns.guard" in modules
    assert not modules & {f"mixtura.patterns.{name}" for name in ("robust", "mux", "checked")}


def test_importing_mixtura_loads_nothing_heavy():
    heavy = {
        "httptools",
        "aiohttp",
        "rich",
        "click",
        "xllamacpp",
        "genai_prices",
        "huggingface_hub",
        "pydantic",
    }

    assert not loaded("import mixtura") & heavy


def test_the_help_text_loads_no_http_and_no_command():
    modules = loaded(
        "import contextlib, io, mixtura.cli as c\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    c.main(['--help'])\n"
        "import json"
    )

    assert not modules & {"httptools", "rich", "xllamacpp", "genai_prices", "huggingface_hub"}
    assert "mixtura.cli.ask" not in modules


def test_the_public_names_are_all_there_and_sorted():
    assert mixtura.__all__ == sorted(mixtura.__all__)
    assert all(hasattr(mixtura, name) for name in mixtura.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_knows_and_stays_small(path):
    text = path.read_text()
    tree = ast.parse(text)

    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{path.name}: {node.name} has {length} lines"
        elif isinstance(node, ast.ClassDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_CLASS, f"{path.name}: {node.name} has {length} lines"


def imported_modules(path, known):
    """The modules of the package that a file imports, wherever in it: for types alone, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixtura"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (names | {node.module}) & known


def test_no_modules_import_each_other_in_a_circle():
    modules = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts): path
        for path in SOURCES
        if path.name != "__init__.py"
    }
    imports = {name: set(imported_modules(path, modules.keys())) for name, path in modules.items()}

    TopologicalSorter(imports).prepare()  # raises CycleError, with the modules of the circle


SAYS_WHAT_IT_RAISES = (
    "core/", "prompts/", "protocols/", "billing/", "engine/", "patterns/", "server/",
)  # fmt: skip


def own_nodes(function):
    """The nodes of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def unannounced_errors(body, said=""):
    """Public functions with a ``raise`` of an error that no docstring of theirs names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from unannounced_errors(node.body, ast.get_docstring(node) or "")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") and node.name not in ("__init__", "__post_init__"):
            continue
        text = f"{said} {ast.get_docstring(node) or ''}"
        for raised in own_nodes(node):
            if isinstance(raised, ast.Raise) and isinstance(raised.exc, ast.Call):
                error = ast.unparse(raised.exc.func)
                if error.endswith("Error") and error != "AssertionError" and error not in text:
                    yield f"{node.name}: {error}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_say_what_they_raise(path):
    if path.relative_to(ROOT / "src" / "mixtura").as_posix().startswith(SAYS_WHAT_IT_RAISES):
        assert not list(unannounced_errors(ast.parse(path.read_text()).body))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_error_message_is_ever_returned_as_text(path):
    """The peers' disease: `return f"Error: {e}"`."""
    assert not re.search(r"return f?[\"'](?:error|failed)", path.read_text(), re.IGNORECASE)


LONGEST_TEST_FILE = 700


_POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+(?=.*[\"'])")
_ALIKE_EVERYWHERE = {"json_text.py", "literals.py", "redaction.py"}
"""In these such a group holds nothing that could match in another way."""


def test_no_pattern_repeats_a_group_that_can_match_in_two_ways_possessively():
    # Before Python 3.11.5, which Debian has, such a group may match otherwise (CPython 106052).
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in SOURCES
        if path.name not in _ALIKE_EVERYWHERE
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if _POSSESSIVE_GROUP.search(line) and re.search(r"\br[bf]?[\"']|\b[bf]r[\"']", line)
    ]

    assert found == []


def test_every_test_file_can_be_read_in_one_go():
    long = {
        path.name
        for path in TESTS.rglob("*.py")
        if len(path.read_text().splitlines()) > LONGEST_TEST_FILE
    }

    assert long == set()


def test_tests_lie_in_the_folders_of_the_code_that_they_try():
    folders = {path.name for path in (ROOT / "src" / "mixtura").iterdir()} | {"project"}
    found = {path.relative_to(TESTS).parent.as_posix() for path in TESTS.rglob("test_*.py")}

    assert found - folders == set()


PRINTS = ("cli/", "terminal/")
READS_ENVIRONMENT = (
    "cli/", "catalog/wheel_source.py", "config/python_api.py", "config/provider_models.py",
    "llama/process.py",
    "evals/inspect_provider.py", "evals/answers/symbolic_equality.py", "programs/commands.py",
    "models/command.py", "cluster/ray_cluster.py", "cluster/worker_models.py",
    "cluster/served_replicas.py",
)  # fmt: skip


def test_only_the_edges_print_and_only_they_read_the_environment():
    for path in SOURCES:
        inside = path.relative_to(ROOT / "src" / "mixtura").as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                assert inside.startswith(PRINTS), inside
            named = isinstance(node, ast.Attribute) and ast.unparse(node)
            if named in ("os.environ", "os.getenv"):
                assert inside.startswith(READS_ENVIRONMENT), inside
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                taken = {one.name for one in node.names}
                assert not taken & {"environ", "getenv"}, inside


@pytest.mark.parametrize("path", FOLDERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_package_says_what_is_in_it(path):
    """A folder of modules has an __init__ with a docstring; one of data files has no modules."""
    first = path / "__init__.py"

    assert first.is_file(), f"{path.name} has modules and no __init__.py"
    assert ast.get_docstring(ast.parse(first.read_text())), f"{path.name} has no docstring"


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    ("path", "code"),
    [(path, code) for path in DOCS for code in blocks(path, "python")],
    ids=lambda v: v.name if isinstance(v, Path) else None,
)
def test_every_python_block_of_the_docs_runs(path, code, embedded, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("path", "text"),
    [(path, text) for path in DOCS for text in blocks(path, "toml")],
    ids=lambda v: v.name if isinstance(v, Path) else None,
)
def test_every_configuration_in_the_docs_is_one_that_can_be_read(path, text, tmp_path):
    from mixtura.config.config import load

    file = tmp_path / "mixtura.toml"
    file.write_text(text)
    (tmp_path / "merge.md").write_text("{{fence}}\n{{proposals}}\n{{fence}}")

    load(str(file), environ={}, folder=tmp_path, home=tmp_path)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (path, line)
        for path in DOCS
        for block in blocks(path, "sh")
        for line in block.splitlines()
        if line.startswith("mixtura ")
    ],
    ids=lambda v: v.name if isinstance(v, Path) else v,
)
def test_every_command_in_the_docs_exists_with_its_options(path, line):
    import shlex

    from click import Group

    from mixtura.cli import group

    name, *words = shlex.split(line.split(" | ")[0].split("  #")[0])[1:]
    command = group.get_command(None, name)
    assert command, f"{path.name}: no command {name}"
    if isinstance(command, Group) and words[0] in command.commands:
        command = command.commands[words[0]]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{path.name}: {line}"


def test_the_files_that_are_started_early_are_there():
    assert [name for name in LONG_FILES if not (TESTS / name).is_file()] == []


def test_make_asks_a_question_as_it_was_written(tmp_path):
    for name in ("python", "mixtura"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
        program.chmod(0o755)
    (tmp_path / ".use").touch()
    question = '-5 $HOME $(shell id) `id` $$ "quoted" it\'s 3 #4'

    asked = ["make", "--silent", "ask", f"VENV={tmp_path}", f"Q={question}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == f"ask|--|{question}|"


def test_no_commit_names_a_registry_or_carries_a_lock_with_addresses():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines()
    assert not [n for n in names if n.endswith(("uv.lock", "pylock.toml"))]
    for requirements in (ROOT / "requirements").glob("*.txt"):
        text = requirements.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert "--hash=sha256:" in text
    # In pieces: this file must name none either.
    hosts = [f"{name}.org" for name in ("pypi", "pythonhosted", "npmjs", f"deb.{'debian'}")]
    found = subprocess.run(
        ["git", "grep", "-lIF", *(word for host in hosts for word in ("-e", host))],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.splitlines() == []
