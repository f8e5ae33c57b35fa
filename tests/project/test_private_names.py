"""Names that other people's libraries keep to themselves are used where a reason says why."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mixtura.server.uvicorn_protocol import UVICORN_NAMES, BoundedHttpProtocol
from tests.support.paths import ROOT

SOURCE = ROOT / "src" / "mixtura"

ALLOWED = {
    ("evals/inspect_private.py", "inspect_ai._util.error.PrerequisiteError"): "see there",
    ("evals/inspect_private.py", "inspect_ai.log._samples.sample_active"): "see there",
    ("server/uvicorn_protocol.py", "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol"): (
        "see there"
    ),
    ("programs/confined/isolation.py", "_socket"): "see there",
    ("cli/__init__.py", "_typeshed.ReadableBuffer"): "read by type checkers alone",
    ("programs/confined/isolation.py", "os._exit"): "documented, for children after a fork",
    ("programs/confined/worker.py", "os._exit"): "documented, for children after a fork",
    ("llama/worker_process.py", "os._exit"): "documented: llama.cpp's threads are not waited for",
    ("cli/__init__.py", "os._exit"): "documented: a second Ctrl-C waits for nothing",
}
UNDOCUMENTED_MODULES = ("uvicorn.protocols", "starlette.middleware.base", "anyio.lowlevel")
"""Without an underscore, but not for use from outside."""
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


class ForeignName(NamedTuple):
    """A private name of another package, and the file that uses it."""

    file: str
    name: str


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _own_names(trees: dict[str, ast.Module]) -> set[str]:
    """Every private name that is defined somewhere in our own code."""
    names: set[str] = set()
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.arg(arg=name):
                names.add(name)
            case ast.Constant(value=str() as name):  # __slots__
                names.add(name)
            case _:
                pass
    return names


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _foreign_names(sources: dict[str, str]) -> Iterator[ForeignName]:
    trees = {file: ast.parse(text) for file, text in sources.items()}
    own = _own_names(trees) | OF_NAMED_TUPLES
    for file, tree in trees.items():
        for name in _imported_names(tree):
            private = any(map(_is_private, name.split("."))) or name.startswith(
                UNDOCUMENTED_MODULES
            )
            if private and not name.startswith("mixtura."):
                yield ForeignName(file, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
                yield ForeignName(file, ast.unparse(node))
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "getattr",
                "setattr",
            ):
                name = node.args[1]
                if (
                    isinstance(name, ast.Constant)
                    and _is_private(str(name.value))
                    and name.value not in OF_NAMED_TUPLES
                ):
                    yield ForeignName(file, f"{ast.unparse(node.args[0])}.{name.value}")


def test_every_use_of_a_name_that_another_package_keeps_private_has_its_reason():
    sources = {str(file.relative_to(SOURCE)): file.read_text() for file in SOURCE.rglob("*.py")}

    found = set(_foreign_names(sources))

    assert found - ALLOWED.keys() == set(), "use a public name, or give the reason in ALLOWED"
    assert ALLOWED.keys() - found == set(), "no longer used: take it off the list"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("from other._inside import thing", "other._inside.thing"),
        ("from other import _thing", "other._thing"),
        ("import other._inside as inside", "other._inside"),
        ("from uvicorn.protocols.utils import get_path", "uvicorn.protocols.utils.get_path"),
        ("asyncio.current_task()._must_cancel", "asyncio.current_task()._must_cancel"),
        ("def f(server):\n    return server._state", "server._state"),
        ("getattr(object, '_hidden', None)", "object._hidden"),
        ("class Own(Base):\n    def f(self):\n        return self._of_base", "self._of_base"),
    ],
)  # fmt: skip
def test_a_use_of_a_private_name_is_found_however_it_is_written(text, name):
    assert set(_foreign_names({"a.py": text})) == {("a.py", name)}


def test_names_of_our_own_and_of_named_tuples_are_no_ones_secrets():
    text = "class A:\n    _b = 1\n    def f(self):\n        self._c = t._replace(self._b)"
    assert not set(_foreign_names({"a.py": text, "b.py": "other._c, other._b, other.__doc__"}))


def _class_tree(of: type) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(of)))


def _names_of_self(tree: ast.Module) -> set[str]:
    """The attributes of itself that a class uses, sets or passes on to its base."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")
    }


def test_uvicorn_still_has_what_our_protocol_builds_on():
    theirs = set(vars(HttpToolsProtocol)) | _names_of_self(_class_tree(HttpToolsProtocol))
    own = set(vars(BoundedHttpProtocol)) - set(vars(HttpToolsProtocol))

    assert set(UVICORN_NAMES) - theirs == set()
    assert _names_of_self(_class_tree(BoundedHttpProtocol)) - own == set(UVICORN_NAMES)
    assert {name for name in own if not name.startswith("__")} & theirs == set()
