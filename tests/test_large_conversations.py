"""A short call that refers to a long conversation, which is read in parts, beside the loop."""

from __future__ import annotations

import gc
import threading
from typing import Any

import msgspec
import pytest

from mixtura.apart import LARGE, apart, collection_paused
from mixtura.server import responses_asked
from mixtura.server.dialect import Found
from mixtura.server.responses_asked import AT_ONCE
from tests.conftest import run


def test_a_stored_conversation_is_converted_in_parts(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    convert = msgspec.convert

    def counted(data: Any, kind: Any, **options: Any) -> Any:
        if isinstance(data, list):
            sizes.append(len(data))
        return convert(data, kind, **options)

    monkeypatch.setattr(msgspec, "convert", counted)
    context = [{"role": ("user", "assistant")[i % 2], "content": f"said {i}"} for i in range(5000)]
    referring = responses_asked.from_data(
        {"model": "m", "input": "And?", "previous_response_id": "resp_1"}
    )
    call = referring.read(Found(context, {}))
    assert len(call.request.messages) == 5001
    assert call.request.messages[4999].text == "said 4999"
    assert max(sizes) <= AT_ONCE


def test_no_garbage_is_collected_while_something_large_is_read():
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        main = threading.current_thread() is threading.main_thread()
        seen.append((main, gc.isenabled()))

    run(apart(LARGE - 1, look))
    run(apart(LARGE, look))
    assert seen == [(True, True), (False, False)]
    with collection_paused(), collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
