"""What a request's size costs: work is counted, twice as much of anything takes about twice it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mixtura import Message, Request, get_model_info
from mixtura.config import model_lists
from mixtura.config.config import load
from mixtura.prompts import conversation_turns
from mixtura.prompts.conversation_turns import strip_volatile_words
from mixtura.server import encodings, truncation
from mixtura.server.access import ApiClient
from mixtura.server.apis import openai_completions
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.apis.tool_names import Tool, Toolbox
from mixtura.server.encodings import MAX_GZIP_MEMBERS, decompress_body
from mixtura.server.model_choice import MixtureChooser
from mixtura.server.truncation import truncate_request
from tests.conftest import run
from tests.support.http_server import QuietHandler, serve_handler


class Counted:
    """A function that counts its calls."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.work(*args, **kwargs)


# ---- compressed bodies


def test_a_body_of_several_members_is_read_and_one_of_very_many_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    members = Counted(encodings.zlib.decompressobj)
    monkeypatch.setattr(encodings.zlib, "decompressobj", members)
    words = b"".join(bytes([n % 256]) * 3000 for n in range(MAX_GZIP_MEMBERS))
    packed = b"".join(gzip.compress(words[at : at + 3000]) for at in range(0, len(words), 3000))
    assert decompress_body(packed, "gzip", len(words)) == words
    assert members.calls == MAX_GZIP_MEMBERS
    assert decompress_body(packed, "gzip", len(words) - 1) is None

    members.calls = 0
    with pytest.raises(ApiError, match="more than 1,000 compressed members"):
        decompress_body(gzip.compress(b"") * 200_000, "gzip", 1 << 20)
    assert members.calls == MAX_GZIP_MEMBERS


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_large_body_is_read_whole_and_one_that_is_cut_off_is_refused(name: str):
    words = bytes(range(256)) * 4096
    pack = gzip.compress if name == "gzip" else encodings.zlib.compress
    assert decompress_body(pack(words, 0), name, len(words)) == words
    for end in (1, 20_000, len(words) // 2):
        with pytest.raises(ApiError, match=f"not whole {name} data"):
            decompress_body(pack(words, 0)[:-end], name, len(words))


# ---- instructions


@pytest.mark.parametrize("piece", ["a.b-", "a-", "aA.", "idi-", "aGVsbG8gd29y", "a: ", "id=a "])
def test_of_long_instructions_a_part_is_looked_at_for_what_changes(
    piece: str, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []
    whole = conversation_turns._strip_volatile

    def looked_at(text: str) -> str:
        seen.append(len(text))
        return whole(text)

    monkeypatch.setattr(conversation_turns, "_strip_volatile", looked_at)
    for n in (500_000, 1_000_000):
        seen.clear()
        strip_volatile_words(piece * (n // len(piece)))
        assert sum(seen) == 2 * 64 * 1024


def test_what_changes_at_the_ends_of_long_instructions_is_no_other_turn():
    def said(head: str, middle: str, tail: str) -> str:
        words = "Some words of a rule that is long. " * 4000
        return strip_volatile_words(f"It is {head}.\n{words}{middle}{words}\nLeft: {tail} tokens")

    assert said("9:59", "", "100") == said("10:00", "", "99")
    assert said("9:59", "", "100") != said("9:59", "Never.", "100")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("session_id: qwert.", "session_id: #"),
        ("x=id=abc b", "x=id=# b"),
        ("a=b, token = 'word' left", "a=b, token = '#' left"),
        ("on Friday in May, tuesdays", "on # in #, tuesdays"),
        ("kLmaBcdEf", "#"),
        ("oneTwoThreeWordsFour", "#"),
        ("camelCase oneTwoThree aVeryLongWordThat", "camelCase oneTwoThree #"),
    ],
)
def test_what_is_masked(text: str, left: str):
    assert strip_volatile_words(text) == left


# ---- conversations that are cut


def test_every_message_is_measured_once_where_a_conversation_is_cut(
    monkeypatch: pytest.MonkeyPatch,
):
    measured = Counted(truncation.count_message_tokens)
    monkeypatch.setattr(truncation, "count_message_tokens", measured)
    for n in (2000, 4000):
        measured.calls = 0
        said = (Message("assistant" if i % 2 else "user", "x" * 10) for i in range(n))
        shorter, gone = truncate_request(Request(tuple(said)), 100)
        assert measured.calls == n
        assert (len(shorter.messages), gone) == (2, n - 2)


# ---- tools


class Names(tuple[Tool, ...]):
    """Tools that count how often they are gone through."""

    walks = 0

    def __iter__(self) -> Any:
        self.walks += 1
        return super().__iter__()

    def __contains__(self, tool: object) -> bool:
        self.walks += 1
        return super().__contains__(tool)


def test_calls_of_unknown_names_do_not_go_through_all_tools():
    toolbox = Toolbox([Tool(f"tool{i}", namespace="n") for i in range(1000)])
    toolbox.tools = tools = Names(toolbox.tools)
    for i in range(1000):
        assert toolbox.find_by_flat_name(f"none{i}") == Tool(f"none{i}")
        assert toolbox.find_by_flat_name(f"n.tool{i}") is tools[i]
        assert toolbox.first_of_kinds(("local_shell",)) is None
    assert tools.walks == 0


def test_the_allowed_tools_are_gone_through_once():
    toolbox = Toolbox([Tool(f"tool{i}") for i in range(1000)])
    allowed = Names(toolbox.tools[500:])
    fewer = toolbox.keep_only(allowed)
    assert fewer.tools == tuple(allowed[:])
    assert allowed.walks <= 2


def test_a_name_finds_a_tool_where_only_one_that_is_offered_has_it():
    one, other = Tool("look", namespace="a"), Tool("look", namespace="b")
    toolbox = Toolbox([one, other])
    assert toolbox.find_by_flat_name("look") == Tool("look")
    assert toolbox.find_by_flat_name("b.look") is other
    assert toolbox.keep_only([one]).find_by_flat_name("look") is one


# ---- prompts


@pytest.mark.parametrize("token", ["1", "-1", "[1, 2]", "[]"])
def test_a_prompt_of_tokens_is_refused_by_its_first(token: str, monkeypatch: pytest.MonkeyPatch):
    decoded = Counted(openai_completions.decode_body)
    monkeypatch.setattr(openai_completions, "decode_body", decoded)
    body = f'{{"model": "a", "n": [1], "prompt": [ {", ".join([token] * 10_000)}]}}'
    with pytest.raises(ApiError, match="tokens mean something else to every model") as refused:
        openai_completions.CompletionsApi().parse_request(body.encode())
    assert refused.value.param == "prompt[0]"
    assert decoded.calls == 0


def test_prompts_of_texts_are_read_and_what_is_none_is_refused():
    read = openai_completions.CompletionsApi().parse_request
    assert read(b'{"model": "a", "prompt": ["[1]", "2"]}').n == 2
    assert read(b'{"model": "a", "prompt": "[1]"}').n == 1
    for body in (b"[1]", b"{", b'{"model": "a"}', b'{"model": "a", "prompt": [null]}'):
        with pytest.raises(ApiError):
            read(body)


# ---- lists of models


def test_of_a_very_long_list_the_configured_models_are_kept_and_some_others(
    monkeypatch: pytest.MonkeyPatch,
):
    measured = Counted(model_lists.parse_context_window)
    monkeypatch.setattr(model_lists, "parse_context_window", measured)
    counts: list[int] = []
    for n in (20_000, 40_000):
        measured.calls = 0
        rows = [{"id": f"m{i}", "context_length": 4096} for i in range(n)]
        rows += [{"id": "models/mine", "context_length": 8192}]
        found = model_lists.parse_model_list({"data": rows}, {"mine"})
        assert found is not None
        assert len(found) == model_lists.MAX_OTHER_MODELS + 1
        assert found[-1] == ("models/mine", 8192, None)
        counts.append(measured.calls)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("letters", [0, model_lists.MAX_LIST_BYTES])
def test_a_list_of_more_than_four_megabytes_is_none(
    letters: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    body = b'{"data": [{"id": "m", "context_length": 8192}, {"id": "%s"}]}' % (b"x" * letters)
    threads: list[str] = []
    rows = model_lists.parse_model_list

    def listed(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return rows(*given)

    monkeypatch.setattr(model_lists, "parse_model_list", listed)
    with answering(body + b" " * 200_000) as url:
        (tmp_path / "mixtura.toml").write_text(
            f'[models.one]\nbase_url = "{url}/v1"\nmodel = "m"\n'
        )
        config = load(None, environ={}, folder=tmp_path, home=tmp_path)

        async def learned() -> tuple[Any, Any]:
            lists = model_lists.ModelLists(config)
            await lists.learn_context_windows(["one"], timeout=20)
            return lists.listed_model("one"), get_model_info(config.model("one")).context_window

        found = run(learned())
    assert found == ((None, None) if letters else (("m", 8192, None), 8192))
    assert all("apart" in name for name in threads)
    assert len(threads) == (0 if letters else 1)


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """The address of an endpoint whose every answer to GET is *body*."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(OSError):
                self.send_body(200, body, "application/json")

    with serve_handler(Handler, waits=False) as url:
        yield url


# ---- mixtures that a client writes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ann*1000>ann", {}),
        (",".join(["ann"] * 400) + ">ann", {}),
        ("ann,ann*300>ann", {}),
        ("ann", {"proposers": ("ann*1000",) * 64, "layers": 16}),
        ("ann>ann", {"proposers": ("ann*16",) * 16, "layers": 3}),
    ],
)
def test_a_mixture_of_very_many_is_refused_before_its_members_are_gone_through(
    name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mixtura.toml").write_text(
        '[models.ann]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    )
    config = load(str(tmp_path / "mixtura.toml"), environ={}, folder=tmp_path, home=tmp_path)
    chooser = MixtureChooser(config)
    seats: list[int] = []
    count = config.count_calls
    monkeypatch.setattr(config, "count_calls", lambda p: seats.append(p.seat_count) or count(p))
    call = ApiCall(name, Request(()), options=MixtureOptions(**options))

    with pytest.raises(ApiError, match="one request may make 256"):
        chooser.choose_mixture(call, ApiClient.with_models("x", None))

    assert sum(seats) <= 256
