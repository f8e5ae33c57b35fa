"""25 secrets, repeated by an upstream in every way: none of them leaves by any exit."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import traceback
import zlib
from pathlib import Path

import pytest

from mixtura.config.config import load
from mixtura.core.errors import MixturaError
from mixtura.core.events import Event
from mixtura.core.types import ask
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.transport.client import Secret
from tests.conftest import run
from tests.support import canaries
from tests.support.canaries import PLAYS
from tests.support.forked_program import run_mixtura
from tests.support.serving import serving
from tests.support.upstream import Script, Wire, running

CLIENT = "mx-clientCanaryKey0123456789abcdefghijklmnopq"
APIS = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/responses": lambda text: {"input": text, "metadata": {"note": text[:60]}},
    "/v1/messages": lambda text: {
        "messages": [{"role": "user", "content": text}], "max_tokens": 4000,
    },
}  # fmt: skip
ODD = ("answers", "answers_in_words", "answers_whole")


async def _repeats(wire: Wire) -> None:
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say(*wire.record.prompt[-60:])
    await wire.finish()
    await wire.end()


@pytest.fixture(scope="module")
def upstream():
    with running() as found:
        for name, play in PLAYS.items():
            found.scripts[name] = Script(ever=play)
        found.scripts["repeats"] = Script(ever=_repeats)
        found.scripts["chief"] = Script("All is well.")
        yield found


def configuration(upstream, more: str = "") -> str:
    names = [*PLAYS, "repeats", "chief"]
    tables = "".join(canaries.table(upstream.host, name, name) for name in names)
    for name in ("answers", "calls", "refuses", "refuses_late"):
        tables += (
            f'[models.claude-{name}]\nprovider = "anthropic"\nmodel = "{name}"\nretries = 0\n'
            f'base_url = "{upstream.base_url("anthropic")}"\n'
        )
    team = ", ".join(f'"{name}"' for name in ODD)
    return (
        f'default = "team"\n{tables}[mixtures.team]\nlayers = [[{team}, "refuses"]]\n'
        f'aggregator = "chief"\n[mixtures.leaky]\nlayers = [["answers", "refuses"]]\n'
        f'aggregator = "answers_in_words"\n'
        f'[mixtures.odd]\nlayers = [["answers", "answers_whole"]]\n'
        f'aggregator = "answers_in_words"\n[agreement]\nmodel = "answers"\n{more}'
    )


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, configuration(upstream), environ=canaries.environment()) as found:
        found.folder = folder
        yield found


@pytest.fixture(scope="module")
def locked(upstream, tmp_path_factory):
    from hashlib import sha256

    keys = f'[serve.keys.me]\nsha256 = "{sha256(CLIENT.encode()).hexdigest()}"\n'
    with serving(tmp_path_factory.mktemp("locked"), configuration(upstream, keys)) as found:
        found.key = CLIENT
        yield found


# ---- over HTTP


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", APIS)
def test_no_api_answers_with_a_secret_that_its_upstream_repeats(server, upstream, path, stream):
    names = [*PLAYS, "leaky", "claude-answers", "claude-calls", "claude-refuses",
             "claude-refuses_late"]  # fmt: skip
    outputs: dict[str, str] = {}
    for name in names:
        body = {"model": name, "stream": stream, "mixtura": {"proposals": True}}
        if not stream:
            body.pop("mixtura")
        answer = server.post(path, body | APIS[path]("Why?"))
        outputs[name] = f"{answer.headers}\n{answer.body.decode()}\n{_joined(answer.body)}"
    for name, output in outputs.items():
        assert not canaries.found(output), name
    # Its upstream was asked: a refusal of another kind would hide something, too.
    assert upstream.of("answers")
    hidden = {name for name, output in outputs.items() if "***" in output}
    assert hidden >= {"answers", "answers_in_words", "answers_whole", "calls", "refuses", "leaky"}


def test_no_export_of_a_conversation_and_no_batch_has_one(server, upstream):
    def begin(model, place=""):
        body = {"model": model, "messages": user("Why?"), "stream": True}
        name = server.post(f"/api/runs{place}", body).json["run"]
        return name, server.get(f"/api/runs/{name}/events").body

    def upload(model):
        body = {"model": model, "messages": user("Why?")}
        row = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
        head, named = 'Content-Disposition: form-data; name="', canaries.ALL[0]
        form = (
            f'--B\r\n{head}purpose"\r\n\r\nbatch\r\n--B\r\n{head}file"; filename="{named}"'
            f"\r\n\r\n{json.dumps(row)}\n\r\n--B--\r\n"
        )
        kind = "multipart/form-data; boundary=B"
        return server.post("/v1/files", form.encode(), Content_Type=kind)

    asked = len(upstream.of("answers"))
    run, events = begin("odd")
    beside, more = begin("answers", f"?beside={run}")
    title = {"title": f"It is {canaries.ALL[3]}"}
    shown = [server.post(f"/api/conversations/{run}", title, method="PATCH")]
    paths = [f"/api/conversations/{run}{part}" for part in ("", "/markdown", "/json")]
    shown += map(server.get, [*paths, "/api/conversations?q=so", f"/api/runs/{beside}/html"])
    shown += [server.post(f"/api/runs/{run}/agreement", {})]
    shown += [server.post("/api/choices", {"run": run, "beside": beside, "choice": "tie"})]
    shown += [server.get(f"/api/choices/{part}") for part in ("labels", "against", "outputs")]
    for model in ("odd", "refuses"):
        shown.append(upload(model))
        wish = {"input_file_id": shown[-1].json["id"], "endpoint": "/v1/chat/completions",
                "completion_window": "24h", "metadata": {"note": canaries.ALL[4]}}  # fmt: skip
        batch = server.post("/v1/batches", wish).json["id"]
        while (reply := server.get(f"/v1/batches/{batch}")).json["status"] != "completed":
            pass
        ends = (reply.json["output_file_id"], reply.json["error_file_id"])
        shown += [reply, *(server.get(f"/v1/files/{name}/content") for name in ends if name)]
    for answer in shown:
        assert answer.status in (200, 204), answer.body
        assert not canaries.found(answer.body), answer.body
    for text in (events, more, (server.folder / "log").read_bytes()):
        assert not canaries.found(text)
    assert sum(b"***" in answer.body for answer in shown) > 8
    assert len(upstream.of("answers")) > asked + 3


def user(text):
    return [{"role": "user", "content": text}]


def test_no_page_of_the_server_and_no_file_that_it_keeps_has_one(server):
    server.chat(model="leaky")
    server.chat(model="refuses")
    server.chat(f"My key is {canaries.ALL[0]}, keep it.", model="chief")
    listed = server.get("/api/runs?limit=50")
    shown = [listed, server.get("/metrics"), server.get("/api/setup"), server.get("/v1/models"),
             server.get("/readyz"), server.get("/openapi.json"),
             server.post("/api/plan", {"model": "leaky"})]  # fmt: skip
    newest = [row["id"] for row in listed.json["runs"][:4]]
    shown += [server.get(f"/api/runs/{run}") for run in newest]
    shown += [server.get(f"/api/runs/{newest[-1]}/html")]
    for answer in shown:
        assert answer.status == 200
        assert not canaries.found(answer.body)
    assert any(b"***" in answer.body for answer in shown)
    assert not canaries.found((server.folder / "log").read_bytes())
    for text in _kept(server.folder / "state"):
        assert not canaries.found(text)


def test_no_model_is_shown_what_another_upstream_said_of_a_key(server, upstream):
    before = len(upstream.of("chief"))
    server.chat(model="team")
    for record in upstream.of("chief")[before:]:
        assert "***" in record.prompt
        assert not canaries.found(record.prompt)
        assert not canaries.found(json.dumps(record.body, ensure_ascii=False).replace(
            canaries.BODY, ""))  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", APIS)
def test_a_clients_own_key_is_not_repeated_to_it(locked, path, stream):
    bodies = [
        {"model": "repeats"} | APIS[path](f"Say {CLIENT}"),
        {"model": CLIENT} | APIS[path]("Why?"),
        {"model": "repeats", CLIENT: 1} | APIS[path]("Why?"),
        {"model": "repeats", "mixtura": {"aggregator": CLIENT, "proposers": [CLIENT]}}
        | APIS[path]("Why?"),
        {"model": "repeats", "mixtura": {"consult": CLIENT}} | APIS[path]("Why?"),
        {"model": "repeats", "temperature": CLIENT} | APIS[path]("Why?"),
    ]
    for body in bodies:
        answer = locked.post(path, body | {"stream": stream})
        output = f"{answer.headers}\n{answer.body.decode()}\n{_joined(answer.body)}"
        assert not canaries.found(output, (CLIENT,)), output
    for path in (f"/{CLIENT}", f"/v1/models/{CLIENT}", f"/api/runs/{CLIENT}"):
        assert not canaries.found(locked.get(path).body, (CLIENT,))
    for row in locked.get("/api/runs?limit=50").json["runs"]:
        assert not canaries.found(json.dumps(row), (CLIENT,))
        assert not canaries.found(locked.get(f"/api/runs/{row['id']}").body, (CLIENT,))


def test_a_key_that_is_none_of_the_servers_is_not_repeated_either(locked):
    other = "sk-otherCanary0123456789"
    for path in (f"/{other}", f"/v1/models/{other}"):
        answer = locked.get(path, Authorization=f"Bearer {other}")
        assert not canaries.found(answer.body, (other,))


def _joined(body: bytes) -> str:
    """All texts of a body's frames, one behind the other as a client joins them."""
    texts: list[str] = []

    def collect(data: object) -> None:
        if isinstance(data, str):
            texts.append(data)
        for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():  # fmt: skip # noqa: E501
            collect(value)

    for line in body.decode().splitlines():
        if line.startswith(("data: {", "{")):
            collect(json.loads(line.removeprefix("data: ")))
    pieces = [text for text in texts if len(text) < 40 and "_" not in text[1:-1]]
    return "\n".join(texts) + "\n" + "".join(pieces)


def _kept(folder: Path) -> list[bytes]:
    """All that the store has, bodies unpacked, and its files as they are."""
    found: list[bytes] = []
    for file in folder.rglob("*"):
        if file.is_file():
            found.append(file.read_bytes())
    for file in folder.rglob("*.sqlite"):
        db = sqlite3.connect(file)
        found += [zlib.decompress(row[0]) for row in db.execute("SELECT body FROM runs")]
        found += [bytes(row[0]) for row in db.execute("SELECT body FROM answers")]
        db.close()
    assert len(found) > 3
    return found


# ---- on the command line


@pytest.fixture(scope="module")
def desk(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    (folder / "mixtura.toml").write_text(configuration(upstream), encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.upper().endswith("_KEY")}
    env |= canaries.environment() | {"XDG_STATE_HOME": str(folder / "state"), "LANG": "C.UTF-8"}
    env |= {"OLLAMA_HOST": "127.0.0.1:9"}

    def mixtura(*words: str, stdin: str | None = None) -> tuple[int, str]:
        done = run_mixtura(words, cwd=folder, env=env, text=True, input=stdin or "")
        return done.returncode, f"{done.stdout}\n{done.stderr}"

    mixtura.folder = folder
    return mixtura


def test_no_command_prints_a_secret_or_writes_one_down(desk):
    folder = desk.folder
    outputs = {
        words: desk(*words)[1]
        for words in (
            ("ask", "--no-cache", "-m", "leaky", "Why?"),
            ("ask", "-m", "leaky", "--json", "Why?"),
            ("ask", "-m", "team", "--quiet", f"Is {canaries.ALL[1]} mine?"),
            ("ask", "-m", "refuses", "Why?"),
            ("ask", "-m", "refuses_late", "--json", f"Is {canaries.ALL[0]} mine?"),
            ("show", "last"),
            ("show", "last", "--json"),
            ("show", "last", "--html", str(folder / "run.html")),
            ("runs", "--json"),
            ("doctor", "--json"),
            ("doctor", "--call", "refuses"),
            ("eval", "smoke", "-m", "answers_in_words", "--limit", "1"),
        )
    }
    outputs["chat"] = desk("chat", "-m", "leaky", stdin=f"Why?\n/save {folder}/talk.md\n/quit\n")[1]
    for words, output in outputs.items():
        assert not canaries.found(output), words
        assert "Traceback" not in output, output
    assert "***" in outputs["ask", "-m", "leaky", "--json", "Why?"]
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "mixtura.toml":
            assert not canaries.found(file.read_bytes()), file
    for text in _kept(folder / "state"):
        assert not canaries.found(text)


# ---- in Python


@pytest.mark.parametrize("name", PLAYS)
@pytest.mark.parametrize("adapter", [OpenAI, Anthropic])
def test_a_model_of_its_own_hides_the_key_that_it_was_given(adapter, name, upstream, monkeypatch, caplog):  # fmt: skip # noqa: E501
    caplog.set_level(logging.DEBUG)
    form, proxy = canaries.LOGINS["HTTP_PROXY"]
    monkeypatch.setenv("http_proxy", form.format(proxy))
    monkeypatch.setenv("NO_PROXY", "*")
    dialect = "openai" if adapter is OpenAI else "anthropic"
    password, query = canaries.ADDRESS
    address = upstream.base_url(dialect).replace("://", f"://user:{password}@")
    model = adapter(
        name, f"{address}?key={query}", api_key=Secret(canaries.ALL[5]),
        headers={key: form.format(value) for key, (form, value) in canaries.HEADERS.items()},
        extra={"vendor": {"api_key": canaries.BODY}},
    )  # fmt: skip
    events: list[Event] = []
    try:
        said = repr(run(model.complete(ask("Why?"), events.append)))
    except MixturaError as error:
        said = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error)
    texts = "".join(getattr(event, "text", "") for event in events)
    given = (canaries.ALL[5], proxy, password, query, canaries.BODY,
             *(value for _, value in canaries.HEADERS.values()))  # fmt: skip
    assert not canaries.found(f"{said}\n{events}\n{texts}\n{model!r}{caplog.text}", given)


def test_a_call_that_is_called_off_leaves_no_secret_behind(upstream):
    async def called_off() -> object:
        model = OpenAI("answers_in_words", upstream.base_url(), api_key=Secret(canaries.ALL[5]))
        started = asyncio.Event()
        task = asyncio.create_task(model.complete(ask("Why?"), lambda _: started.set()))
        await started.wait()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as left:
            return getattr(left, "partial", "")
        return ""

    assert not canaries.found(str(run(called_off())), (canaries.ALL[5],))


def test_the_first_piece_comes_at_once_and_usage_is_as_it_was_told(upstream):
    upstream.scripts["plain"] = Script("Task after task is done.", pace=0.02)
    model = OpenAI("plain", upstream.base_url(), api_key=Secret(canaries.ALL[0]))
    events: list[Event] = []
    answer = run(model.complete(ask("Why?"), events.append))
    assert answer.text == "Task after task is done."
    assert events[0].text.startswith("Task ")
    assert "".join(event.text for event in events) == answer.text
    (record,) = upstream.of("plain")
    assert answer.usage.completion_tokens == record.tally.completion


# ---- in the wrong place of a file, or of a command

WRONG = "Gx7canaryInTheWrongPlace42"
PLACES = [
    'api_key_env = "{}-x"', 'api_key_env = "{}"', 'api_key_env = "sk-{}"', 'api_key = "{}"',
    'key = "{}"', 'token = "{}"', 'base_url = "{}"', 'base_url = "sk-{}"',
    'base_url = "ftp://me:{}@127.0.0.1"', 'base_url = "http://[me:{}@h/"', 'model = "sk-{}"',
    'provider = "sk-{}"', 'headers = "{}"', 'headers = {{Authorization = ["{}"]}}',
    'headers = {{Authorization = "{}\\n"}}', 'headers = {{"sk-{}" = "\\n"}}', '"sk-{}" = 1',
    'timeouts = "sk-{}"', 'hedge = {{elsewhere = "sk-{}"}}',
    'extra = {{api_key = "{}", model = 1}}',
    'api_key = "{}', 'api_key = {}', 'api_key = "{}" "', '"sk-{}" = 1\n"sk-{}" = 2',
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_key_in_the_wrong_place_of_a_file_is_refused_and_not_shown(place, tmp_path):
    fixed = "" if place.startswith("base_url") else 'base_url = "http://127.0.0.1:9/v1"\n'
    fixed += "" if place.startswith("model") else 'model = "m"\n'
    text = f"[models.m]\n{fixed}{place.format(WRONG, WRONG)}\n"
    assert WRONG not in _refused(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        'default = "sk-{}"', '[models."sk-{}"]\nmodel = "m"',
        '[mixtures."sk-{}"]\nlayers = [["m"]]',
        '[mixtures.t]\nlayers = [["sk-{}"]]',
        '[mixtures.t]\nlayers = [["m"]]\naggregator = "sk-{}"',
        '[mixtures.t]\nlayers = [["auto"]]\nsynthesis = "sk-{}"\naggregator = "auto"',
        '[serve.keys.me]\nsha256 = "sk-{}"', '[budget.keys."sk-{}"]\nday_usd = 1',
        '[serve]\nside = "sk-{}"', '[serve]\ncors = ["http://me:{}@x.example"]', 'sk-{}', '[sk-{}',
        '[serve]\nconsult = "sk-{}"', 'cache = "sk-{}"',
    ],
)  # fmt: skip
def test_a_key_anywhere_else_in_a_file_is_refused_and_not_shown(text, tmp_path):
    assert WRONG not in _refused(text.format(WRONG), tmp_path)


def test_a_file_is_told_where_a_key_belongs(tmp_path):
    url = 'base_url = "http://127.0.0.1:9/v1"\nmodel = "m"'
    said = _refused(f'[models.m]\n{url}\napi_key_env = "sk-{WRONG}"', tmp_path)
    assert "mixtura.toml:4: " in said
    assert "OPENAI_API_KEY" in said
    assert "api_key_env" in _refused(f'[models.m]\n{url}\napi_key = "{WRONG}"', tmp_path)
    missing = _refused(f'[models.m]\n{url}\napi_key_env = "TEAM_KEY"', tmp_path)
    assert "TEAM_KEY" in missing


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "-m", "openai/sk-{}", "Why?"), ("ask", "-m", "http://me:{}@127.0.0.1:9/v1", "Why?"),
        ("ask", "-p", "sk-{}*3", "Why?"), ("ask", "-m", "a > sk-{}", "Why?"), ("show", "sk-{}"),
        ("ask", "--max-cost", "sk-{}", "Why?"), ("ask", "--api-key=sk-{}", "Why?"), ("sk-{}",),
        ("pull", "sk-{}"), ("serve", "--host", "sk-{}"), ("doctor", "--call", "sk-{}"),
    ],
)  # fmt: skip
def test_a_key_in_the_wrong_place_of_a_command_is_refused_and_not_shown(words, desk):
    code, output = desk(*(word.format(WRONG) for word in words))
    assert code != 0
    assert WRONG not in output
    assert "Traceback" not in output


def _refused(text: str, folder: Path) -> str:
    """What is said of a file, with all that led to it."""
    (folder / "mixtura.toml").write_text(text, encoding="utf-8")
    try:
        config = load(None, environ={"HOME": str(folder)}, folder=folder, home=folder)
        for name in config.registry.models:
            config.model(name)
    except MixturaError as error:
        chain = repr(error.__cause__) + repr(vars(error))
        return "".join(traceback.format_exception(error)).replace(text, "") + chain
    raise AssertionError("it was not refused")
