"""A key reaches only what its `models` allow, however a model is named."""

from __future__ import annotations

import json
from hashlib import sha256
from http.client import HTTPConnection
from itertools import cycle, product
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

TITLE = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji.\n### Guidelines:\n- Be short.\n"
    "### Output:\nJSON\n### Chat History:\n<chat_history>\nUSER: hi\n</chat_history>"
)


def key(name: str, more: str = "") -> str:
    return f'[serve.keys.{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{more}\n'


MORE = f"""
fallbacks = ["spare"]
[mixtures.hidden]
layers = [["secret"]]
aggregator = "secret"
[mixtures.outer]
layers = [["team", "a"]]
aggregator = "team"
[serve]
side = "b"
{key("friend", 'models = ["team", "a"]')}
{key("narrow", 'models = ["team"]')}
{key("guest", 'models = ["default"]')}
{key("outside", 'models = ["outer"]')}
{key("owner")}
"""
MEMBERS = ("a", "b", "secret", "spare", "chief")


upstream = upstream_fixture({name: Script(f"{name} says so.") for name in MEMBERS})


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    table = team(upstream, *MEMBERS, more=MORE).replace('"b", "secret", "spare"', '"b"')
    host = urlsplit(upstream.base_url("openai")).netloc
    folder = tmp_path_factory.mktemp("locked")
    with serving(folder, table, environ={"OLLAMA_HOST": host}) as found:
        yield found


class Line:
    """One kept connection, with a key."""

    def __init__(self, server, who: str) -> None:
        self._line = HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        self._who = who

    def sent(self, path: str, body=None, method: str | None = None):
        headers = {"Authorization": f"Bearer {self._who}"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        self._line.request(method or ("POST" if data else "GET"), path, data, headers)
        reply = self._line.getresponse()
        return reply.status, reply.read().decode()

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def line(server):
    opened: list[Line] = []

    def made(who: str) -> Line:
        opened.append(Line(server, who))
        return opened[-1]

    yield made
    for each in opened:
        each.close()


def chat(body, question="Why?"):
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": question}]} | body


def streamed(body):
    path, whole = chat(body)
    return path, whole | {"stream": True, "mixtura": body.get("mixtura", {}) | {"proposals": True}}


def responses(body):
    return "/v1/responses", {"input": "Why?"} | body


def messages(body):
    said = [{"role": "user", "content": "Why?"}]
    return "/v1/messages", {"messages": said, "max_tokens": 50} | body


def dry(body):
    return "/api/plan", body


APIS = (chat, streamed, responses, messages, dry)
ASKING = APIS[:4]

FORBIDDEN = (
    "b", "chief", "secret", "spare", "hidden", "outer", "nothing-of-the-sort", "paper", "auto",
    "auto-team", "smollm2-135m", "ollama/secret", "ollama/a", "openai/gpt-5.4",
    "openrouter/openai/gpt-5.4", "bridge:ollama/secret", "/tmp/model.gguf", "./model.GGUF",
    "A", "TEAM", "\uff41", "te\u200bam", "a\u0000", "\u0430", "a/", "models.a",
)  # fmt: skip
FORMS = (
    "{}", "{}>a", "a>{}", "a,{}>a", "{}*3>a", "team>{}", "a>{}>a", " a , {} > a ",
    "team,{}*2>team", "{}>{}", "a>a,{}*2>a",
)  # fmt: skip
FIELDS = {
    "model": lambda form: {"model": form},
    "mixture": lambda form: {"model": "team", "mixtura": {"mixture": form}},
    "proposers": lambda form: {"model": "team", "mixtura": {"proposers": ["a", form]}},
    "drawn": lambda form: {"model": "a>a", "mixtura": {"proposers": [f"{form}*2"], "layers": 3}},
    "aggregator": lambda form: {"model": "team", "mixtura": {"aggregator": form}},
    "both": lambda form: {
        "model": "a", "mixtura": {"mixture": "team", "proposers": ["a"], "aggregator": form}
    },
    "deep": lambda form: {"model": "team", "mixtura": {"aggregator": form, "layers": 1}},
}  # fmt: skip


def forms():
    """Every name in every form in every field, the APIs in turn; two names through all of them."""
    api = cycle(APIS)
    for name, form, field in product(FORBIDDEN, FORMS, FIELDS):
        yield next(api), FIELDS[field](form.replace("{}", name))
    for name, form, field, each in product(("secret", "ollama/secret"), FORMS, FIELDS, APIS):
        yield each, FIELDS[field](form.replace("{}", name))


def test_no_form_of_naming_a_model_in_any_field_of_any_api_passes_a_keys_models(
    line, upstream, record_property
):
    friend, before = line("friend"), len(upstream.records)
    tried = 0
    passed = []
    for api, body in forms():
        tried += 1
        status, said = friend.sent(*api(body))
        refused = status == 403 and ("model_not_allowed" in said or "permission_error" in said)
        if not (refused or (status == 400 and "*" in json.dumps(body))):
            passed.append((api.__name__, body, status))
        if len(upstream.records) != before:
            passed.append((api.__name__, body, "asked"))
            before = len(upstream.records)
    record_property("forms_tried", tried)
    assert tried >= 2_500
    assert passed == []


def test_a_key_that_may_use_a_team_may_not_take_it_apart(line, upstream):
    before = len(upstream.records)
    for who, parts in (
        ("narrow", ({"layers": 1}, {"proposers": ["a"]}, {"aggregator": "chief"},
                    {"proposers": ["a", "b"]}, {"aggregator": "a", "layers": 1})),
        ("friend", ({"layers": 1}, {"aggregator": "chief"}, {"proposers": ["b"]})),
        ("outside", ({"mixture": "team"}, {"mixture": "a"}, {"layers": 1},
                     {"aggregator": "team"}, {"proposers": ["team"]})),
    ):  # fmt: skip
        name = "outer" if who == "outside" else "team"
        for wish, api in product(parts, APIS):
            status, said = line(who).sent(*api({"model": name, "mixtura": wish}))
            assert status == 403, (who, wish, api.__name__, said)
    assert len(upstream.records) == before


NAME = st.sampled_from(("team", "a", "default", "b", "chief", "secret", "outer", "ollama/a", " a "))
MANY = st.tuples(NAME, st.sampled_from(("", "*2"))).map("".join)
INLINE = st.builds(
    lambda rows, last: ">".join((*(",".join(row) for row in rows), last)),
    st.lists(st.lists(MANY, min_size=1, max_size=2), min_size=1, max_size=2),
    NAME,
)
WISH = st.fixed_dictionaries(
    {},
    optional={
        "mixture": NAME | INLINE,
        "proposers": st.lists(MANY | INLINE, min_size=1, max_size=3),
        "aggregator": NAME | INLINE,
        "layers": st.integers(1, 4),
    },
)


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(model=NAME | INLINE, wish=WISH)
def test_a_plan_that_a_key_gets_has_only_what_it_may_use_and_what_its_team_has_there(
    model, wish, server
):
    friend = Line(server, "friend")
    try:
        status, said = friend.sent("/api/plan", {"model": model, "mixtura": wish})
    finally:
        friend.close()
    assert status in (200, 400, 403, 404), said
    if status != 200:
        return
    plan = json.loads(said)
    as_team = (wish.get("mixture") or model) in ("team", "default") and plan["layers"]
    proposers = {"b"} if as_team and "proposers" not in wish else set()
    last = {"chief"} if as_team and "aggregator" not in wish else set()
    assert {name for row in plan["layers"] for name in row} <= {"team", "a"} | proposers
    assert plan["aggregator"] in {"team", "a"} | last


LEGITIMATE = (
    ("friend", {"model": "team"}, {"a", "b", "chief"}),
    ("friend", {"model": "default"}, {"a", "b", "chief"}),
    ("friend", {"model": "a"}, {"a"}),
    ("friend", {"model": "a*2>a"}, {"a"}),
    ("friend", {"model": " team , a >a"}, {"a", "b", "chief"}),
    ("friend", {"model": "default>a"}, {"a", "b", "chief"}),
    ("friend", {"model": "a", "mixtura": {"mixture": "team"}}, {"a", "b", "chief"}),
    ("friend", {"model": "whatever", "mixtura": {"mixture": "a>a"}}, {"a"}),
    ("friend", {"model": "team", "mixtura": {"proposers": ["a*2"]}}, {"a", "chief"}),
    ("friend", {"model": "team", "mixtura": {"proposers": ["a*2"], "aggregator": "a"}}, {"a"}),
    ("friend", {"model": "team", "mixtura": {"aggregator": "a"}}, {"a", "b"}),
    ("friend", {"model": "team", "mixtura": {"aggregator": "team"}}, {"a", "b", "chief"}),
    ("friend", {"model": "a", "mixtura": {"proposers": ["team"]}}, {"a", "b", "chief"}),
    ("friend", {"model": "team", "mixtura": {"aggregator": "a", "layers": 1}}, None),
    ("narrow", {"model": "team", "mixtura": {"layers": 3}}, {"a", "b", "chief"}),
    ("narrow", {"model": "team>default"}, {"a", "b", "chief"}),
    ("guest", {"model": "default", "mixtura": {"layers": 3}}, {"a", "b", "chief"}),
    ("guest", {"model": "default,default>default"}, {"a", "b", "chief"}),
    ("outside", {"model": "outer"}, {"a", "b", "chief"}),
    ("outside", {"model": "outer>outer"}, {"a", "b", "chief"}),
    ("owner", {"model": "ollama/a>hidden"}, {"a", "secret"}),
    ("owner", {"model": "team", "mixtura": {"aggregator": "secret"}}, {"a", "b", "secret"}),
)


@pytest.mark.parametrize(("who", "body", "asked"), [row for row in LEGITIMATE if row[2]])
def test_what_a_key_may_use_still_answers_through_every_api(who, body, asked, line, upstream):
    person = line(who)
    for api in ASKING:
        before = len(upstream.records)
        status, said = person.sent(*api(body))
        assert status == 200, said
        assert {record.model for record in upstream.records[before:]} == asked
    assert person.sent(*dry(body))[0] == 200


def test_a_fallback_and_a_nested_team_come_along_and_stay_inside(line, upstream):
    def broken(model):
        old = upstream.scripts[model]
        upstream.scripts[model] = Script("x", ever=cut)
        return old

    async def cut(_wire):
        return

    old = broken("chief")
    try:
        before = len(upstream.records)
        status, said = line("narrow").sent(*chat({"model": "team"}))
        assert status == 200, said
        assert "spare" in {record.model for record in upstream.records[before:]}
    finally:
        upstream.scripts["chief"] = old
    for name in ("spare", "team>spare"):
        assert line("narrow").sent(*chat({"model": name}))[0] == 403


def test_what_one_client_was_allowed_opens_nothing_to_another(line, upstream):
    bodies = (
        {"model": "secret"}, {"model": "hidden"}, {"model": "a>secret"}, {"model": "outer"},
        {"model": "team", "mixtura": {"aggregator": "secret"}},
        {"model": "team", "mixtura": {"proposers": ["secret"]}},
        {"model": "team", "mixtura": {"layers": 1}},
    )  # fmt: skip
    owner, friend, guest = line("owner"), line("friend"), line("guest")
    for body, _ in product(bodies, range(3)):
        assert owner.sent(*chat(body))[0] == 200
        before = len(upstream.records)
        assert friend.sent(*chat(body))[0] == 403
        assert guest.sent(*chat(body))[0] == 403
        assert len(upstream.records) == before
    assert owner.sent(*chat({"model": "team"}))[0] == 200
    assert guest.sent(*chat({"model": "default"}))[0] == 200
    assert guest.sent(*chat({"model": "team"}))[0] == 403, "it may use `default`, not that name"


def test_a_small_request_of_a_front_end_opens_no_model_by_name(line, upstream):
    friend, before = line("friend"), len(upstream.records)
    for name in ("b", "secret", "a>b", "ollama/secret"):
        assert friend.sent(*chat({"model": name}, TITLE))[0] == 403
        assert friend.sent("/api/plan", chat({"model": name}, TITLE)[1])[0] == 403
    assert len(upstream.records) == before
    assert friend.sent(*chat({"model": "team"}, TITLE))[0] == 200
    assert [record.model for record in upstream.records[before:]] == ["b"]


def test_what_a_key_may_not_use_is_not_told_apart_from_what_is_not_there(line):
    friend = line("friend")
    for api, field in product(APIS, FIELDS):
        known, unknown = (friend.sent(*api(FIELDS[field](name))) for name in ("secret", "secreT"))
        assert known[0] == unknown[0]
        assert known[1].replace("secret", "secreT").lower() == unknown[1].lower()
    for name in ("secret", "hidden", "chief", "a>secret", "b", "nothing", "ollama/a"):
        status, said = friend.sent(f"/v1/models/{quote(name, safe='')}")
        assert (status, "model_not_found" in said) == (404, True)
    near = friend.sent(*chat({"model": "a>secre"}))
    assert near[0] == 403
    assert "did you mean" not in near[1]


def test_a_list_shows_a_key_its_own_models_only(line):
    friend = line("friend")
    listed = json.loads(friend.sent("/v1/models")[1])
    assert [row["id"] for row in listed["data"]] == ["team", "a"]
    setup = friend.sent("/api/setup")[1]
    assert "hidden" not in setup
    assert "secret" not in setup
    assert "secret" not in friend.sent("/openapi.json")[1]


def test_no_key_reads_deletes_or_finds_the_run_of_another(line):
    owner, friend = line("owner"), line("friend")
    status, said = owner.sent(*chat({"model": "secret"}, "a question of the owner's"))
    run = json.loads(said)["mixtura"]["run"]
    owner.sent("/metrics")  # what has ended is kept by then or soon
    for path, method in product(
        (f"/api/runs/{run}", f"/api/runs/{run}/html", f"/api/runs/{run[:12]}", "/api/runs/last"),
        ("GET", "DELETE", "HEAD"),
    ):
        if path.endswith("/html") and method == "DELETE":
            continue
        assert friend.sent(path, method=method)[0] == 404
    assert run not in friend.sent("/api/runs?q=owner")[1]
    assert status == 200


def test_metrics_show_a_key_its_own_requests_and_no_name_that_it_may_not_use(line):
    owner, friend, guest = line("owner"), line("friend"), line("guest")
    for name in ("secret", "hidden", "outer"):
        assert owner.sent(*chat({"model": name}))[0] == 200
    assert friend.sent(*chat({"model": "team"}))[0] == 200
    assert guest.sent(*chat({"model": "default"}))[0] == 200
    everything = owner.sent("/metrics")[1]
    own, narrow, small = (line(who).sent("/metrics")[1] for who in ("friend", "outside", "guest"))
    assert 'mixtura_runs_total{model="hidden",outcome="answered"}' in everything
    assert 'mixtura_runs_total{model="team",outcome="answered"}' in own
    assert 'mixtura_runs_total{model="default",outcome="answered"}' in small
    for text, allowed in ((own, {"team", "a", "other"}), (small, {"default", "other"})):
        shown = {part.split('"')[1] for part in text.split() if 'model="' in part for part in
                 part.replace("{", ",").split(",") if part.startswith("model=")}  # fmt: skip
        assert shown <= allowed
    assert "mixtura_runs_in_flight" in everything
    assert "mixtura_runs_in_flight" not in own
    for name in ("secret", "hidden", "chief", "spare", "outer"):
        assert name not in own
        assert name not in small
    assert "hidden" not in narrow


def test_a_member_is_one_name_also_for_a_key_that_may_use_all(line, upstream):
    owner, before = line("owner"), len(upstream.records)
    for wish in (
        {"aggregator": "ollama/x>ollama/y"}, {"proposers": ["a>b"]}, {"aggregator": "ollama/x*3"},
        {"aggregator": "ollama/x,ollama/y"},
    ):  # fmt: skip
        for api in APIS:
            status, said = owner.sent(*api({"model": "team", "mixtura": wish}))
            assert status in (400, 404), said
    assert len(upstream.records) == before


@pytest.mark.parametrize(
    ("aggregator", "said"),
    [(name, "expected the name of one model") for name in ("ollama/x>ollama/y", "ollama/x*3")],
)
def test_a_file_with_a_mixture_where_one_model_belongs_is_refused(aggregator, said, tmp_path):
    (tmp_path / "mixtura.toml").write_text(
        f'[mixtures.m]\nlayers = [["ollama/x"]]\naggregator = "{aggregator}"\n'
    )
    with pytest.raises(ConfigError, match=said):
        load(None, environ={"XDG_STATE_HOME": str(tmp_path)}, folder=tmp_path, home=tmp_path)


def test_a_key_without_a_name_is_refused_since_runs_are_kept_under_it(tmp_path):
    (tmp_path / "mixtura.toml").write_text(f'[serve.keys.""]\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(ConfigError, match="the key's name is empty"):
        load(None, environ={"XDG_STATE_HOME": str(tmp_path)}, folder=tmp_path, home=tmp_path)
