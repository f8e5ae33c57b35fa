"""A server in front of a provider on loopback: one team a api, and what was sent upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.serving import Answer, Served, serving
from tests.support.upstream import Script, Upstream, running

Json = dict[str, Any]

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
MORE: dict[str, Json] = {"chat": {}, "responses": {}, "messages": {"max_tokens": 4096}}
"""What a request of each API cannot do without."""


def configuration(upstream: Upstream, more: str = "") -> str:
    """Members ``a`` (draft), ``o`` (OpenAI's chat) and ``c`` (Anthropic's messages)."""
    models = "\n".join(
        f'[models.{name}]\nprovider = "{dialect}"\nbase_url = "{upstream.base_url(dialect)}"\n'
        f'model = "{name}"\napi_key_env = "A_KEY"\nretries = 0\n'
        for name, dialect in (("a", "openai"), ("o", "openai"), ("c", "anthropic"))
    )
    teams = "\n".join(
        f'[mixtures.team-{name}]\nlayers = [["a"]]\naggregator = "{name}"\n' for name in "oc"
    )
    return f'default = "team-o"\ncache = {{ use = false }}\n{models}\n{teams}\n{more}'


class Team:
    """The server and its provider."""

    def __init__(self, served: Served, upstream: Upstream) -> None:
        self.served = served
        self.upstream = upstream

    def ask(self, api: str, body: Json, model: str = "o", **headers: str) -> Answer:
        """A request in one of the APIs; what the provider was sent before is forgotten."""
        self.upstream.records.clear()
        return self.served.post(PATHS[api], {"model": model, **MORE[api], **body}, **headers)

    def sent(self, model: str = "o") -> list[Json]:
        """The bodies that a model got."""
        return [record.body for record in self.upstream.records if record.model == model]

    def script(self, model: str, script: Script) -> None:
        self.upstream.scripts[model] = script

    def events(self, api: str, body: Json, model: str = "o") -> list[Json]:
        """The frames of a streamed answer."""
        answer = self.ask(api, {**body, "stream": True}, model)
        assert answer.status == 200, answer.body
        lines = answer.body.decode().splitlines()
        return [
            json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")
        ]


@contextmanager
def team(folder: Path, more: str = "") -> Iterator[Team]:
    with (
        running() as upstream,
        serving(folder, configuration(upstream, more), environ={"A_KEY": "none"}) as served,
    ):
        yield Team(served, upstream)


def texts(data: Any) -> str:
    """Every text in a body, however deep."""
    if isinstance(data, str):
        return data
    rows: Sequence[Any] = list(data.values()) if isinstance(data, dict) else data
    return "\n".join(texts(row) for row in rows) if isinstance(rows, list) else ""
