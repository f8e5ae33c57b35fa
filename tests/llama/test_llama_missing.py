"""llama.cpp that is not installed, or cannot be loaded, is told with what brings it."""

from __future__ import annotations

import pytest

from mixtura import ConfigError, Request, ask
from mixtura.models.llama_cpp import Local
from tests.conftest import run
from tests.support import tiny_gguf


def refusal(tmp_path, monkeypatch, reason):
    """What is said where importing llama.cpp fails for *reason*."""
    (tmp_path / "xllamacpp.py").write_text(f"raise ImportError({reason!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = Local(tiny_gguf.written(tmp_path / "tiny.gguf"), context=256, threads=1)
    try:
        with pytest.raises(ConfigError) as raised:
            run(model.complete(Request(ask("hello").messages)))
    finally:
        model.close()
    return str(raised.value)


def test_without_llama_cpp_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    said = refusal(tmp_path, monkeypatch, "No module named 'xllamacpp'")

    assert "needs xllamacpp, which is not installed. To install it: " in said
    assert "'xllamacpp>=" in said


def test_a_library_of_the_system_that_it_lacks_is_told_with_its_package(tmp_path, monkeypatch):
    reason = "libgomp.so.1: cannot open shared object file: No such file or directory"

    said = refusal(tmp_path, monkeypatch, reason)

    assert "needs the system library libgomp.so.1" in said
    assert "sudo apt install libgomp1" in said
    assert "pip install" not in said
