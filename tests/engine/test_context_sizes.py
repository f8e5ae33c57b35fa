"""The context size of every model and mixture, as /v1/models tells it, and what is done with it."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import Message, Mixture, ModelInfo, Request, ToolCall, ask
from mixtura.billing.forecast import DRAFT_OVERHEAD_TOKENS, ENVELOPE_OVERHEAD_TOKENS
from mixtura.config.model_lists import parse_model_list
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
from mixtura.core.types import Sampling
from mixtura.engine.conversation_window import conversation_window
from mixtura.models.fake import Scripted, echo
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.retry import Retrying
from mixtura.prompts.context_fitting import tokens_left
from mixtura.server.truncation import truncate_request
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.serving import serving
from tests.support.upstream import Script, running

NAMES = (
    "context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens",
)  # fmt: skip


# ---- what lists say

LISTS = [
    ({"id": "m", "max_model_len": 8192}, 8192, None),  # vLLM, SGLang
    ({"id": "m", "context_length": 131072,
      "top_provider": {"context_length": 65536, "max_completion_tokens": 16384}}, 65536, 16384),
    ({"id": "m", "meta": {"n_ctx_train": 32768}}, 32768, None),  # llama.cpp
    ({"id": "m", "meta": {"n_ctx_train": 32768, "n_ctx": 4096}}, 4096, None),
    ({"id": "m", "context_window": 131072, "max_completion_tokens": 32768}, 131072, 32768),  # Groq
    ({"id": "m", "max_context_length": 262144, "loaded_context_length": 8192}, 8192, None),
    ({"id": "m", "max_input_tokens": 200000, "max_output_tokens": 64000}, 200000, 64000),
    ({"id": "m", "inputTokenLimit": 1048576, "outputTokenLimit": 65536}, 1048576, 65536),
    ({"id": "m", "capabilities": {"limits": 3}, "context_length": None}, None, None),
    ({"id": "m", "context_length": 0}, None, None),
    ({"id": "m", "context_length": -1, "max_model_len": True}, None, None),
    ({"id": "m", "context_length": "8192"}, None, None),
    ({"id": "m", "context_length": 1e300, "max_tokens": 5}, None, None),
    ({"id": "m", "context_length": 2**62}, None, None),
    ({"id": "m", "context_length": 2**31 - 1, "max_model_len": 8192}, 8192, None),
    ({"id": "m", "context_length": 10_000_001, "max_output_tokens": 15}, None, None),
    ({"id": "m", "context_length": 255, "n_ctx": 3, "max_output_tokens": 16}, None, 16),
    ({"id": "m", "context_length": 256, "n_ctx": 1, "max_output_tokens": 2**31}, 256, None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "window", "longest"), LISTS)
def test_the_smallest_size_that_a_list_tells_counts_and_nonsense_is_none(row, window, longest):
    for found in ({"object": "list", "data": [row]}, [row]):
        assert parse_model_list(found) == [("m", window, longest)]


def test_what_is_no_list_is_none():
    for found in (None, "x", {}, {"data": {}}, {"data": [{"name": "m"}]}, [1]):
        assert parse_model_list(found) is None


# ---- what drafts leave of a window


def sized(name, window):
    return Scripted(name, ["x"], info=ModelInfo(name, context_window=window))


@given(
    windows=st.lists(st.none() | st.integers(100, 10**6), min_size=1, max_size=5),
    last=st.none() | st.integers(100, 10**6),
    most=st.none() | st.integers(1, 10**5),
)
@settings(max_examples=50, deadline=None)
def test_a_mixture_takes_what_its_smallest_member_does_less_the_drafts_that_are_read(
    windows, last, most
):
    drafts = tuple(
        Proposer(sized(f"p{i}", size), Sampling(max_tokens=most)) for i, size in enumerate(windows)
    )
    whole = Mixture(
        layers=(Layer(drafts),), aggregator=Aggregator(sized("chief", last)), name="team"
    )

    found = conversation_window(whole)

    known = [size for size in windows if size is not None]
    if last is not None:
        taken = (
            len(windows) * ((most or DEFAULT_ANSWER_TOKENS) + DRAFT_OVERHEAD_TOKENS)
            + ENVELOPE_OVERHEAD_TOKENS
        )
        known.append(last - min(taken, last // 2))
    assert found == min(known, default=None)
    assert found is None or found > 0
    nested = Mixture.of([whole], sized("top", None))
    assert conversation_window(nested) == found


def test_a_size_that_an_endpoint_tells_is_learned_where_none_was_known():
    model = OpenAI("m", "http://127.0.0.1:9/v1")
    wrapped = Retrying(model, attempts=2)
    assert conversation_window(wrapped) is None
    model.set_listed_sizes(4, None)
    model.set_listed_sizes(8192, None)  # a later list

    team = Mixture.of([echo("a")], wrapped)
    assert conversation_window(wrapped) == 8192
    assert conversation_window(team) == 8192 - min(
        4096, ENVELOPE_OVERHEAD_TOKENS + 64 + DEFAULT_ANSWER_TOKENS
    )
    known = OpenAI("m", "http://127.0.0.1:9/v1", context_window=100)
    known.set_listed_sizes(8192, None)
    assert conversation_window(known) == 100
    assert conversation_window(OpenAI("m", "http://127.0.0.1:9/v1")) is None


# ---- over HTTP


class Lister:
    """An endpoint that lists models and does nothing else; without any it is silent."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = 0
        self.let_go = threading.Event()


@contextmanager
def lister(*rows):
    front = Lister(rows)

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            front.asked += 1
            if not front.rows:
                front.let_go.wait(20)
            self.send_json(200, {"object": "list", "data": list(front.rows)})

    with serve_handler(Handler, waits=False) as url:
        try:
            yield front, f"{url}/v1"
        finally:
            front.let_go.set()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server whose models are sized by its file, by a list, by their names, and not at all."""
    rows = [
        {"id": "listed", "max_model_len": 20000, "max_output_tokens": 1000},
        {"id": "configured", "max_model_len": 1},
    ]
    with running() as upstream, lister(*rows) as (lists, url), lister() as (silent, nowhere):
        upstream.scripts = {"said": Script("Yes.")}
        models = "".join(
            f'[models.{name}]\nbase_url = "{base}"\nmodel = "{name}"\nretries = 0\n{more}\n'
            for name, base, more in (
                ("listed", url, ""),
                ("configured", url, "window = 40000"),
                ("silent", nowhere, ""),
                ("said", upstream.base_url("openai"), "window = 3000"),
            )
        )
        mixtures = """
[mixtures.team]
layers = [["listed", "configured*2"]]
aggregator = "configured"
sampling = { max_tokens = 500 }
[mixtures.shy]
layers = [["silent"]]
aggregator = "silent"
[mixtures.small]
layers = [["said"]]
aggregator = "said"
"""
        configuration = f'default = "team"\ncache = {{ use = false }}\n{models}{mixtures}'
        environ = {"MIXTURA_CACHE": str(tmp_path_factory.mktemp("empty"))}
        folder = tmp_path_factory.mktemp("sizes")
        with serving(folder, configuration, environ=environ) as server:
            yield server, lists, silent, upstream


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served[0].base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def theirs(served):
    with anthropic.Anthropic(base_url=served[0].url, api_key="none", max_retries=0) as client:
        yield client


def test_every_model_tells_its_context_size_under_the_names_that_clients_read(
    served, client, theirs
):
    _, lists, silent, _ = served
    rows = {row.id: row.to_dict() for row in client.models.list()}

    def size(name):
        assert len({rows[name].get(key) for key in NAMES}) == 1
        return rows[name].get("context_length")

    assert size("configured") == 40000  # the file's own word counts, whatever a list says
    assert size("listed") == 20000
    assert rows["listed"]["max_output_tokens"] == rows["listed"]["max_tokens"] == 1000
    assert rows["listed"]["top_provider"] == {
        "context_length": 20000, "max_completion_tokens": 1000,
    }  # fmt: skip
    assert size("team") == size("default") == 20000  # its smallest member
    assert size("said") == 3000
    assert size("small") == 3000 - 1500  # drafts are shortened to half of it
    for name in ("silent", "shy"):  # unknown is neither a guess nor a zero
        assert not {*NAMES, "top_provider", "max_tokens"} & rows[name].keys()
    assert client.models.retrieve("team").to_dict() == rows["team"]
    infos = {info.id: info for info in theirs.models.list()}
    assert (infos["listed"].max_input_tokens, infos["listed"].max_tokens) == (20000, 1000)
    assert infos["listed"].created_at.year >= 2026
    assert theirs.models.retrieve("silent").max_input_tokens is None
    assert (lists.asked, silent.asked) == (1, 1)  # once, however often someone looks


def test_a_conversation_that_is_too_long_loses_its_oldest_messages_where_that_is_wanted(
    served, client
):
    upstream = served[3]
    turns = [
        {"role": role, "content": f"{role} {i}: " + "word " * 150}
        for i in range(10)
        for role in ("user", "assistant")
    ]
    items = [*turns, {"role": "user", "content": "And now?"}]

    answer = client.responses.create(
        model="small", input=items, instructions="Be brief.", truncation="auto"
    )

    assert (answer.truncation, answer.output_text) == ("auto", "Yes.")
    (said,) = answer.mixtura["left_out"]
    shown = upstream.of("said")[-2].body["messages"]
    gone = 22 - len(shown)
    assert 0 < gone < 20
    assert said.startswith(f"the {gone} oldest messages")
    assert [m["role"] for m in shown[:2]] == ["system", "user"]
    assert shown[-1]["content"] == "And now?"
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model="small", input=items, truncation="disabled")
    assert error.value.code == "context_length_exceeded"
    short = client.responses.create(model="small", input="Hi", truncation="auto")
    assert short.mixtura["left_out"] == []


@given(
    turns=st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "call", "system"]), st.integers(0, 900)),
        max_size=12,
    ),
    window=st.integers(600, 4000),
)
@settings(max_examples=60, deadline=None)
def test_what_is_left_of_a_conversation_is_its_end_and_every_call_keeps_its_result(turns, window):
    messages = []
    for i, (role, size) in enumerate(turns):
        if role == "call":
            call = ToolCall(f"c{i}", "f", "{}")
            messages += [
                Message("assistant", "x" * size, (call,)),
                Message("tool", "y" * size, tool_call_id=f"c{i}"),
            ]
        else:
            messages.append(Message(role, "z" * size))
    request = Request((*messages, Message("user", "And now?")))

    shorter, gone = truncate_request(request, window)

    assert len(shorter.messages) + gone == len(request.messages)
    assert [m for m in shorter.messages if m.role == "system"] == [
        m for m in messages if m.role == "system"
    ]
    rest = [m for m in shorter.messages if m.role != "system"]
    whole = [m for m in request.messages if m.role != "system"]
    assert rest == whole[len(whole) - len(rest) :]
    called = {c.id for m in rest for c in m.tool_calls}
    assert all(m.tool_call_id in called for m in rest if m.role == "tool")
    if gone:
        assert rest[0].role == "user"
        assert tokens_left(request, window) < 0
    if tokens_left(ask("And now?"), window) >= 0 and not any(m.role == "system" for m in messages):
        assert tokens_left(shorter, window) >= 0


def test_a_file_on_this_machine_tells_its_own_size(tmp_path):
    from mixtura.config.config import load
    from tests.support.tiny_gguf import written

    path = written(tmp_path / "tiny.gguf")
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)

    assert conversation_window(config.model(str(path))) == 16384  # all that there is room for
    (tmp_path / "mixtura.toml").write_text(f'[models.half]\nmodel = "{path}"\ncontext = 4096\n')
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    assert conversation_window(config.model("half")) == 4096
    assert conversation_window(echo("a")) is None
