"""Responses that are stored: the second turn finds the first, and no one else does."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import urllib.request
from contextlib import asynccontextmanager, closing
from hashlib import sha256

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.config.config import load
from mixtura.core.errors import StoreError
from mixtura.server.apis.base import ResolvedReferences, UnresolvedCall
from mixtura.server.apis.openai_responses import ResponsesApi
from mixtura.server.app import make_app
from mixtura.storage.interfaces import DAY_SECONDS
from mixtura.storage.responses import ConversationTooLongError, ResponseNotFoundError, ResponseStore
from mixtura.storage.sqlite import MIGRATIONS, SqliteStore
from tests.support.paths import CASES
from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

ALICE, BOB = "alice-has-this-word", "bob-has-another-one"
KEYS = "".join(
    f'[serve.keys.{name}]\nsha256 = "{sha256(key.encode()).hexdigest()}"\n'
    for name, key in (("alice", ALICE), ("bob", BOB))
)
MORE = "".join(
    f'[mixtures.{name}]\nlayers = [["a"]]\naggregator = "{last}"\n'
    for name, last in (("agent", "caller"), ("short", "cut"), ("lazy", "slow"))
)
CASE = CASES / "requests" / "22-ai-sdk-6-second-turn.responses.json"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


def configured(upstream, more=""):
    whole = team(upstream, "a", "caller", "cut", "slow", "chief", more=MORE + more)
    return whole.replace('["a", "caller", "cut", "slow"]', '["a"]')


upstream = upstream_fixture(
    {
        "a": Script("A draft."),
        "chief": Script("Blue light scatters."),
        "caller": Script("", tool=("weather", '{"town": "Rome"}')),
        "cut": Script("Blue light", finish="length"),
        "slow": Script("one two three four five six seven eight nine ten", pace=0.3),
    }
)


@pytest.fixture(scope="module")
def served(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with serving(folder, configured(upstream, KEYS)) as server:
        yield server, folder


@pytest.fixture
def alice(served):
    with openai.OpenAI(base_url=served[0].base_url, api_key=ALICE, max_retries=0) as client:
        yield client


@pytest.fixture
def bob(served):
    with openai.OpenAI(base_url=served[0].base_url, api_key=BOB, max_retries=0) as client:
        yield client


def told(upstream, model="chief"):
    """The conversation that the aggregator was shown last, without the drafts."""
    messages = upstream.of(model)[-1].body["messages"]
    return [(m["role"], (m["content"] or "").partition("\n\nFor reference")[0]) for m in messages]


def refused(call, status, code=None):
    with pytest.raises(openai.APIStatusError) as error:
        call()
    assert (error.value.status_code, error.value.code) == (status, code or error.value.code)
    return error.value


def test_a_second_turn_has_the_input_and_the_answer_of_the_first_without_its_instructions(
    alice, upstream
):
    first = alice.responses.create(model="team", input="Why is it blue?", instructions="Be brief.")
    second = alice.responses.create(
        model="team", input="And red?", previous_response_id=first.id, instructions="Be kind."
    )

    assert (first.store, second.store, second.previous_response_id) == (True, True, first.id)
    assert told(upstream) == [
        ("system", "Be kind."),
        ("user", "Why is it blue?"),
        ("assistant", "Blue light scatters."),
        ("user", "And red?"),
    ]
    alice.responses.create(model="team", input="And green?", previous_response_id=second.id)
    assert [role for role, _ in told(upstream)] == ["user", "assistant"] * 2 + ["user"]


def test_an_item_that_was_handed_out_is_found_when_a_later_turn_refers_to_it(alice, upstream):
    first = alice.responses.create(model="team", input="Hi")
    body = json.loads(CASE.read_text())
    body["input"][1]["id"] = first.output[0].id

    assert alice.responses.create(**body).output_text == "Blue light scatters."
    assert told(upstream) == [
        ("user", "Hi"), ("assistant", "Blue light scatters."), ("user", "and?"),
    ]  # fmt: skip
    own = next(iter(alice.responses.input_items.list(first.id)))
    alice.responses.create(model="team", input=[{"id": own.id}])  # a type may be left out
    assert told(upstream) == [("user", "Hi")]


def test_a_tool_call_is_answered_by_reference_and_by_the_response_before(alice, upstream):
    first = alice.responses.create(model="agent", input="Weather in Rome?", tools=[TOOL])
    call = first.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    asked = {"role": "user", "content": "Weather in Rome?"}
    reference = {"type": "item_reference", "id": call.id}

    alice.responses.create(model="team", input=[asked, reference, result], tools=[TOOL])
    by_item = upstream.of("chief")[-1].body["messages"]
    alice.responses.create(
        model="team", input=[result], previous_response_id=first.id, tools=[TOOL]
    )

    assert upstream.of("chief")[-1].body["messages"] == by_item
    assert by_item[1]["tool_calls"][0]["function"]["arguments"] == '{"town": "Rome"}'
    assert (by_item[2]["role"], by_item[2]["content"]) == ("tool", "sunny")
    left = lambda: alice.responses.create(  # noqa: E731
        model="team", input="Well?", previous_response_id=first.id, tools=[TOOL]
    )
    assert "has no function_call_output" in str(refused(left, 400))


def test_a_streamed_response_is_stored_as_its_last_event_has_it(alice, upstream):
    events = list(alice.responses.create(model="short", input="Why?", stream=True))

    last = events[-1].response
    assert (events[-1].type, last.store) == ("response.incomplete", True)
    assert alice.responses.retrieve(last.id).to_dict() == last.to_dict()
    alice.responses.create(model="team", input="Go on.", previous_response_id=last.id)
    assert told(upstream)[1] == ("assistant", "Blue light")


def test_a_response_whose_client_left_is_not_stored(served, alice):
    server, _ = served
    body = {"model": "lazy", "input": "Why?", "stream": True}
    request = urllib.request.Request(
        f"{server.base_url}/responses", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {ALICE}"},
    )  # fmt: skip
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as reply:
        reply.readline()
        begun = json.loads(reply.readline().removeprefix(b"data: "))
        reply.readline()

    refused(lambda: alice.responses.retrieve(begun["response"]["id"]), 404)


def test_what_is_not_to_be_stored_is_not_found_again(alice):
    first = alice.responses.create(model="team", input="Why?", store=False)
    reference = {"type": "item_reference", "id": first.output[0].id}

    assert first.store is False
    refused(lambda: alice.responses.retrieve(first.id), 404)
    error = refused(lambda: alice.responses.create(model="team", input=[reference]), 404)
    assert "send the item itself" in error.message
    again = lambda: alice.responses.create(  # noqa: E731
        model="team", input="And?", previous_response_id=first.id
    )
    error = refused(again, 400, "previous_response_not_found")
    assert error.param == "previous_response_id"


def test_another_key_finds_nothing_of_it(alice, bob):
    first = alice.responses.create(model="team", input="Why?")
    reference = {"type": "item_reference", "id": first.output[0].id}

    for call in (
        lambda: bob.responses.retrieve(first.id),
        lambda: bob.responses.delete(first.id),
        lambda: list(bob.responses.input_items.list(first.id)),
        lambda: bob.responses.create(model="team", input=[reference]),
    ):
        assert refused(call, 404).type == "invalid_request_error"
    again = lambda: bob.responses.create(  # noqa: E731
        model="team", input="And?", previous_response_id=first.id
    )
    refused(again, 400, "previous_response_not_found")
    with openai.OpenAI(base_url=bob.base_url, api_key="no one's", max_retries=0) as stranger:
        refused(lambda: stranger.responses.retrieve(first.id), 401)
    assert alice.responses.retrieve(first.id).id == first.id


def test_a_stored_response_is_read_listed_and_deleted(alice):
    first = alice.responses.create(model="team", input="Why?", metadata={"of": "mine"})
    second = alice.responses.create(model="team", input="And?", previous_response_id=first.id)

    assert alice.responses.retrieve(first.id).to_dict() == first.to_dict()
    ids = [item.id for item in alice.responses.input_items.list(second.id, order="asc", limit=2)]
    assert len(set(ids)) == 3
    assert ids[1] == first.output[0].id
    newest = alice.responses.input_items.list(second.id, limit=1)
    assert ([item.id for item in newest.data], newest.has_more) == ([ids[2]], True)
    assert newest.data[0].to_dict()["content"] == [{"type": "input_text", "text": "And?"}]
    refused(lambda: alice.responses.input_items.list(second.id, limit=0), 400)
    refused(lambda: alice.responses.input_items.list(second.id, after="msg_1"), 400)

    alice.responses.delete(first.id)
    refused(lambda: alice.responses.retrieve(first.id), 404)
    refused(lambda: alice.responses.delete(first.id), 404)
    again = lambda: alice.responses.create(  # noqa: E731
        model="team", input="Well?", previous_response_id=second.id
    )
    assert (
        f"continues from '{first.id}'" in refused(again, 400, "previous_response_not_found").message
    )


def test_no_secret_is_stored(served, alice):
    first = alice.responses.create(model="team", input=f"My key is {ALICE}, is it good?")

    item = next(iter(alice.responses.input_items.list(first.id)))
    assert item.content[0].text == "My key is ***, is it good?"
    files = (served[1] / "state" / "mixtura").glob("mixtura.sqlite*")
    assert not any(ALICE.encode() in file.read_bytes() for file in files if file.is_file())


def test_another_process_with_the_same_store_goes_on_with_the_conversation(served, alice, upstream):
    _, folder = served
    first = alice.responses.create(model="team", input="Why is it blue?")
    environ = {"XDG_STATE_HOME": str(folder / "state")}
    with (
        serving(folder / "other", configured(upstream, KEYS), environ=environ) as other,
        openai.OpenAI(base_url=other.base_url, api_key=ALICE, max_retries=0) as there,
    ):
        second = there.responses.create(
            model="team", input="And red?", previous_response_id=first.id
        )
        assert told(upstream)[:2] == [
            ("user", "Why is it blue?"), ("assistant", "Blue light scatters."),
        ]  # fmt: skip
    assert alice.responses.retrieve(second.id).previous_response_id == first.id


# ---- where the operator wants none, or the store takes none


@asynccontextmanager
async def inside(tmp_path, upstream, more="", **how):
    """A client of a server in this very process."""
    (tmp_path / "mixtura.toml").write_text(configured(upstream, more))
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    config = load(None, environ=environ, folder=tmp_path, home=tmp_path, **how)
    app = make_app(config, host="127.0.0.1")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield openai.AsyncOpenAI(
            base_url="http://127.0.0.1/v1", api_key="none", max_retries=0, http_client=http
        )
        await app.state.service.close()


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ("[serve]\nresponses = { keep = false }\n", {}),
        ("[serve]\nresponses = { days = 0 }\n", {}),
        ("[runs]\nkeep = false\n", {}),
        ("[serve]\nresponses = { keep = true }\n", {"keep": False}),
    ],
)
def test_where_nothing_is_to_be_kept_the_first_turn_says_so(tmp_path, upstream, more, how):
    async def main():
        async with inside(tmp_path, upstream, more, **how) as client:
            create = client.responses.create
            first = await create(model="team", input="Why?")
            assert first.store is False
            with pytest.raises(openai.BadRequestError) as error:
                await create(model="team", input="Why?", store=True)
            assert error.value.param == "store"
            with pytest.raises(openai.BadRequestError) as error:
                await create(model="team", input="And?", previous_response_id=first.id)
            assert error.value.code == "previous_response_not_found"
            assert "`store` as false" in error.value.message
            item = {"type": "item_reference", "id": first.output[0].id}
            with pytest.raises(openai.NotFoundError) as error:
                await create(model="team", input=[item])
            assert "`store` as false" in error.value.message

    asyncio.run(main())
    store = tmp_path / "state" / "mixtura" / "mixtura.sqlite"
    if store.exists():
        with closing(sqlite3.connect(store)) as db, db:
            assert db.execute("SELECT count(*) FROM responses").fetchone() == (0,)
        db.close()


def test_a_store_that_takes_nothing_stops_no_answer_and_the_loss_is_counted(tmp_path, upstream):
    (tmp_path / "state").write_text("a file, where a folder should be")

    async def main():
        async with inside(tmp_path, upstream) as client:
            first = await client.responses.create(model="team", input="Why?")
            assert first.output_text == "Blue light scatters."
            with pytest.raises(openai.APIStatusError) as error:
                await client.responses.create(
                    model="team", input="And?", previous_response_id=first.id
                )
            assert (error.value.status_code, error.value.code) == (503, "store_unavailable")
            dropped = 'mixtura_responses_dropped_total{reason="store"} 1.0'
            for _ in range(100):  # it is counted when the queue's turn comes
                reply = await client.get("/../metrics", cast_to=httpx.Response)
                if dropped in reply.text:
                    break
                await asyncio.sleep(0.1)
            assert dropped in reply.text

    asyncio.run(main())


# ---- the book


def record(id, text="x", previous=None, who=""):  # noqa: A002
    item = {"id": f"in_{id}", "type": "message", "role": "user", "content": text}
    return {
        "id": id, "who": who, "previous": previous, "items": [item],
        "response": {"id": id, "output": []},
    }  # fmt: skip


@pytest.fixture
def clock():
    return [1_795_400_000.0]


@pytest.fixture
def store(stores, clock):
    return stores.open(clock=lambda: clock[0])


def kept(book, *records):
    assert book.write_records([book.pack_record(row) for row in records])


def test_what_no_one_used_for_so_long_is_gone_and_a_conversation_that_goes_on_stays(store, clock):
    book = ResponseStore(store, days=30)
    kept(book, record("r1"), record("r2", previous="r1"), record("r3"))

    clock[0] += 20 * DAY_SECONDS
    assert [r["id"] for r in book.load_conversation("r2", "", 10**6)] == ["r1", "r2"]
    clock[0] += 20 * DAY_SECONDS
    assert [bool(book.get_response(name, "")) for name in ("r1", "r2", "r3")] == [True, True, False]
    clock[0] += 31 * DAY_SECONDS
    with pytest.raises(ResponseNotFoundError):
        book.load_conversation("r2", "", 10**6)
    kept(book, record("r4"))
    with store.transaction() as db:
        assert db.fetch_all("SELECT id FROM responses") == [("r4",)]


def test_no_more_is_kept_than_was_said_and_the_longest_unused_go_first(store, clock):
    import random

    book = ResponseStore(store, megabytes=0.1)
    for i in range(20):
        clock[0] += 1
        kept(book, record(f"r{i}", random.Random(i).randbytes(10_000).hex()))

    assert book.get_response("r19", "")
    assert not book.get_response("r0", "")
    with store.transaction() as db:
        (size,) = db.fetch_one("SELECT sum(length(body)) FROM responses")
    assert 0 < size <= 0.12 * 1024**2
    said = []
    book.notice = said.append
    assert book.pack_record(record("big", random.Random(1).randbytes(200_000).hex())) is None
    assert "[serve.responses] megabytes" in said[0]


def test_a_conversation_is_put_together_up_to_a_size_however_well_it_packs(store):
    book = ResponseStore(store)
    kept(book, record("r1", "x" * 10_000), record("r2", "x" * 10_000, previous="r1"))

    assert len(book.load_conversation("r2", "", 30_000)) == 2
    with pytest.raises(ConversationTooLongError):
        book.load_conversation("r2", "", 15_000)


def test_a_damaged_response_is_told_and_hides_no_other(store):
    book = ResponseStore(store)
    kept(book, record("r1"), record("r2", previous="r1"), record("r3"))
    with store.transaction() as db:
        db.execute("UPDATE responses SET body = ? WHERE id = 'r1'", (b"\x00nonsense",))
        db.execute("UPDATE responses SET previous = 'r3' WHERE id = 'r3'")

    for look in (
        lambda: book.get_response("r1", ""),
        lambda: book.load_conversation("r2", "", 10**6),
    ):
        with pytest.raises(StoreError, match=r"the response r1 in the store .* is damaged"):
            look()
    with pytest.raises(ResponseNotFoundError):  # it goes round in a circle
        book.load_conversation("r3", "", 10**6)
    assert book.get_response("r3", "")
    assert book.delete_response("r1", "")


def test_a_store_of_an_older_version_is_taken_over(tmp_path):
    path = tmp_path / "old.sqlite"
    old = sqlite3.connect(path)
    for step in MIGRATIONS[:-1]:
        old.executescript(step)
    old.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    old.execute("INSERT INTO spent VALUES ('day', '2026-11-28', 1.5, 10)")
    old.commit()
    old.close()
    store = SqliteStore(path)

    kept(ResponseStore(store), record("r1"))

    with store.transaction() as db:
        assert db.fetch_one("SELECT dollars FROM spent") == (1.5,)
    assert ResponseStore(store).get_response("r1", "")["response"] == {"id": "r1", "output": []}
    store.close()


# ---- a conversation, however it is sent

SAID = st.text(min_size=1, max_size=20)
TURNS = st.lists(
    st.one_of(
        SAID.map(lambda t: [{"role": "user", "content": t}]),
        SAID.map(lambda t: [{"role": "assistant", "content": t}]),
        st.integers(0, 10**6).map(
            lambda n: [
                {"type": "function_call", "id": f"fc_{n}", "call_id": f"c{n}", "name": "f",
                 "arguments": "{}"},
                {"type": "function_call_output", "call_id": f"c{n}", "output": str(n)},
            ]
        ),
    ),
    min_size=2, max_size=8, unique_by=str,
)  # fmt: skip


@given(turns=TURNS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_models_see_the_same_however_much_of_a_conversation_is_referred_to(turns, data):
    items = [item for turn in turns for item in turn]
    cut = data.draw(st.integers(1, len(items) - 1))
    marked = data.draw(st.sets(st.integers(cut, len(items) - 1)))
    named = {f"msg_{i}": items[i] for i in marked}
    own = [
        {"type": "item_reference", "id": f"msg_{i}"} if i in marked else items[i]
        for i in range(cut, len(items))
    ]
    body = {"model": "m", "previous_response_id": "resp_1", "input": own}

    whole = ResponsesApi().parse_request(json.dumps({"model": "m", "input": items}).encode())
    referring = ResponsesApi().parse_request(json.dumps(body).encode())

    assert isinstance(referring, UnresolvedCall)
    assert referring.items == tuple(i["id"] for i in own if i.get("type") == "item_reference")
    call = referring.read(ResolvedReferences(items[:cut], named))
    assert call.request == whole.request
    assert [i.get("content") for i in call.store.items] == [i.get("content") for i in items[cut:]]
