"""A disk that fails: the n-th write, fsync, rename or open below a folder, in a forked program.

`compile_library` makes what is loaded into a process with LD_PRELOAD. Run as a module, it reads
lines of JSON, runs the program once for each in a child, and says how each ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

SOURCE = Path(__file__).with_suffix(".c")


def find_compiler() -> str | None:
    return shutil.which("cc") if sys.platform == "linux" else None


class FailingDisk:
    """Runs `mixtura` in *folder* with a disk that fails."""

    def __init__(self, folder: Path, env: dict[str, str], build: Path) -> None:
        library = build / "failing_disk.so"
        compiler = find_compiler()
        assert compiler
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
            check=True,
        )
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, text=True,
            env={**env, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def run(self, words: list[str], number: int, error: int, *, lasts: bool = False) -> dict:
        """How the program ended whose operation *number* failed (0: none), and what it said."""
        request = {
            "words": words, "folder": f"{self._folder}/", "number": number, "error": error,
            "lasts": lasts,
        }  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    import mixtura.batch.session
    import mixtura.cli.batch_run
    import mixtura.models.openai
    import mixtura.terminal.batches  # noqa: F401 - imported once, before the children

    for line in sys.stdin:
        print(json.dumps(_run_child(json.loads(line))), flush=True)


def _run_child(request: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _become(request, write)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    told, _, seen = text.rpartition("\n")
    return {"code": os.waitstatus_to_exitcode(status), "said": told, "seen": int(seen or 0)}


def _become(request: dict[str, Any], write: int) -> None:
    """Run the program and end the process; its last line is how many operations there were."""
    code = 70
    library = ctypes.CDLL(None)
    library.operations_seen.restype = ctypes.c_long
    os.dup2(write, 1)
    os.dup2(write, 2)
    try:
        from mixtura.cli import main

        library.fail_operation(
            request["folder"].encode(), ctypes.c_long(request["number"] or 1 << 40),
            request["error"], int(request["lasts"]),
        )  # fmt: skip
        main(request["words"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - said, whatever it is
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(write, f"\n{library.operations_seen()}".encode())
        os._exit(code)


if __name__ == "__main__":
    _serve()
