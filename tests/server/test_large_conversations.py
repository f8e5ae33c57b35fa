"""A short call that refers to a long conversation, which is read in parts, beside the loop."""

from __future__ import annotations

import gc
import threading
from typing import Any

import msgspec
import pytest

from mixtura.engine.background_work import LARGE_BYTES, collection_paused, run_in_thread_if_large
from mixtura.server.apis import openai_responses_request
from mixtura.server.apis.base import ResolvedReferences
from mixtura.server.apis.openai_responses_request import CONVERSION_CHUNK_SIZE
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
    referring = openai_responses_request.parse_decoded_request(
        {"model": "m", "input": "And?", "previous_response_id": "resp_1"}
    )
    call = referring.read(ResolvedReferences(context, {}))
    assert len(call.request.messages) == 5001
    assert call.request.messages[4999].text == "said 4999"
    assert max(sizes) <= CONVERSION_CHUNK_SIZE


def test_no_garbage_is_collected_while_something_large_is_read():
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        main = threading.current_thread() is threading.main_thread()
        seen.append((main, gc.isenabled()))

    run(run_in_thread_if_large(LARGE_BYTES - 1, look))
    run(run_in_thread_if_large(LARGE_BYTES, look))
    assert seen == [(True, True), (False, False)]
    with collection_paused(), collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
