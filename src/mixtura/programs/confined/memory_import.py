"""The standard library held in memory: imports work in a process that can open no file."""

from __future__ import annotations

import importlib
import marshal
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any, BinaryIO

EXTENSIONS = [
    "_bisect", "_blake2", "_bz2", "_contextvars", "_csv", "_ctypes", "_datetime", "_decimal",
    "_hashlib", "_heapq", "_json", "_lzma", "_md5", "_multibytecodec", "_opcode", "_pickle",
    "_posixsubprocess", "_queue", "_random", "_sha1", "_sha2", "_sha256", "_sha3", "_sha512",
    "_socket", "_statistics", "_struct", "_uuid", "array", "binascii", "cmath", "fcntl", "grp",
    "math", "mmap", "pyexpat", "pwd", "resource", "select", "termios", "unicodedata", "zlib",
]  # fmt: skip
"""Modules in machine code, which must be loaded while files can still be opened."""
_LEFT_OUT = {
    "__pycache__", "dist-packages", "distutils", "ensurepip", "idlelib", "lib-dynload", "lib2to3",
    "pydoc_data", "site-packages", "test", "tests", "tkinter", "turtledemo",
}  # fmt: skip


def pack_stdlib(file: BinaryIO) -> None:
    """Write all modules of this Python's standard library.

    Raises OSError (FileNotFoundError where the library is not in files, as in a zip).
    """
    import sysconfig

    index: dict[str, tuple[int, int, bool, bool]] = {}
    parts: list[bytes] = []
    end = 0
    for name, package, path in _list_modules(sysconfig.get_path("stdlib"), ""):
        compiled, content = _module_content(path)
        parts.append(content)
        index[name] = (end, len(content), package, compiled)
        end += len(content)
    if "types" not in index:
        raise FileNotFoundError("the standard library of this Python is not in files")
    head = marshal.dumps(index)
    file.write(len(head).to_bytes(8, "big") + head + b"".join(parts))
    file.flush()


def _list_modules(folder: str, prefix: str) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it is a package, and file of every module below a folder."""
    for entry in list(os.scandir(folder)):
        name, suffix = os.path.splitext(entry.name)
        if entry.name in _LEFT_OUT:
            continue
        if suffix == ".py":
            inside = name == "__init__"
            yield (prefix[:-1] if inside else prefix + name), inside, entry.path
        elif os.path.isfile(f"{entry.path}/__init__.py"):
            yield from _list_modules(entry.path, f"{prefix}{entry.name}.")


def _module_content(path: str) -> tuple[bool, bytes]:
    """A module compiled, where that is kept and of the same source, else its source."""
    from importlib.util import MAGIC_NUMBER, cache_from_source

    about = os.stat(path)
    source = b"".join(
        (int(number) & 0xFFFFFFFF).to_bytes(4, "little")
        for number in (about.st_mtime, about.st_size)
    )
    kept = cache_from_source(path)
    if os.path.isfile(kept):
        held = _read_file(kept)
        # The head of a compiled module (PEP 552): its version, no flags, its source's time and
        # size.
        if held[:16] == MAGIC_NUMBER + bytes(4) + source:
            return True, held[16:]
    return False, _read_file(path)


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def install_finder(descriptor: int) -> None:
    """
    From here on import from what `pack_stdlib` wrote, and from nowhere else; closes *descriptor*.

    It is read, not mapped: a mapping would keep a descriptor of the file that all share. Raises
    EOFError where the copy is cut off.
    """
    size = os.fstat(descriptor).st_size
    content = b""
    while len(content) < size:
        # With a position of its own: that of the descriptor is shared by all who inherited it.
        more = os.pread(descriptor, size - len(content), len(content))
        if not more:
            raise EOFError("the copy of the standard library was cut off")
        content = content + more if content else more
    os.close(descriptor)
    for name in EXTENSIONS:
        try:
            importlib.import_module(name)
        except ImportError:  # of another version of Python, or one built without it
            continue
    _cache_system_name()
    sys.meta_path[:] = [one for one in sys.meta_path if one is not PathFinder]
    sys.meta_path.append(_MemoryFinder(content))
    sys.path.clear()
    sys.path_importer_cache.clear()


def _cache_system_name() -> None:
    """Keep what modules ask of the system when they are imported, without the machine's name."""
    system, _, *rest = os.uname()
    answer = os.uname_result((system, "localhost", *rest))
    os.uname = lambda: answer


class _MemoryFinder:
    """A finder and loader; without its abstract classes, which take as long as all else to load."""

    def __init__(self, content: bytes) -> None:
        start = 8 + int.from_bytes(content[:8], "big")
        self._index: dict[str, tuple[int, int, bool, bool]] = marshal.loads(content[8:start])  # noqa: S302
        self._held = memoryview(content)[start:]

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname not in self._index:
            return None
        loader: Any = self
        return ModuleSpec(fullname, loader, is_package=self.is_package(fullname))

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102

    def get_code(self, fullname: str) -> CodeType:
        start, length, _, compiled = self._index[fullname]
        content = self._held[start : start + length]
        if compiled:
            return marshal.loads(content)  # noqa: S302  (of this Python's own library)
        return compile(bytes(content), f"<{fullname}>", "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> None:
        """It is not kept."""

    def is_package(self, fullname: str) -> bool:
        return self._index[fullname][2]
