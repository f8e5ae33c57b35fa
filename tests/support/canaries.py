"""Secrets of every kind in every place that a configuration has, and how to find one again."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from functools import cache
from urllib.parse import quote, unquote

from tests.support.upstream import Wire

LEAST = 10
"""Characters of a secret that give it away."""

# where it is, and what is there
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-proj-Vw7canaryOne_0aZ9-lQ",
    "ANTHROPIC_API_KEY": "sk-ant-api03-canaryTwo0bY8kT",
    "MISTRAL_API_KEY": "Q4canaryThreeMxX7tPz2cWd",
    "HF_TOKEN": "hf_canaryFourPq5sXn3dJv",
    "AWS_SECRET_ACCESS_KEY": "canary/Five+e5Tr/9uHb+Kc==",
    "TEAM_KEY": "canarySix-plain-6fGs2Lw",
    "DB_PASSWORD": "p@ss:canary?Seven#7g&Rv=1",
    "REGEX_TOKEN": "ca.na*ry+E[i]g{h}t(8)^h$|x",
    "JSON_SECRET": "can\"ary\\Nine/9i'tab\\u0041z",
    "MARKUP_SECRET": "<canary>&amp;Ten'10\"j</canary>",
    "UNICODE_KEY": "schlüssel-日本-Elf-🔑-11kÄöß",
    "SPACED_PASSWORD": "correct canary battery Twelve12",
    "UPPER_KEY": "CANARYTHIRTEEN13MQWERTZUIOP",
    "LOWER_TOKEN": "canaryfourteen14nqwertzuiop",
    "JWT_TOKEN": "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOjE1fQ.c2lnLTE1",
}
LOGINS = {
    "HTTP_PROXY": ("http://user:{}@127.0.0.1:9", "proxyCanarySixteen16p"),
    "https_proxy": ("http://user:{}@127.0.0.1:9", "proxy/Canary@Seventeen:17q"),
    "AZURE_OPENAI_ENDPOINT": ("http://127.0.0.1:9/v1?api-key={}", "azureCanaryEighteen18r"),
}
HEADERS = {
    "Authorization": ("Bearer {}", "bearerCanaryNineteen19s"),
    "X-Api-Key": ("{}", "headerCanaryTwenty20t"),
    "Cookie": ("theme=dark; session={}", "cookieCanaryTwentyOne21u"),
    "X-Gateway": ("{}", "gatewayCanary22vTwentyTwo"),
}
ADDRESS = ("userCanaryTwentyThree23w", "queryCanaryTwentyFour24x")
BODY = "extraCanaryTwentyFive25y"

ALL = (
    *ENVIRONMENT.values(),
    *(value for _, value in LOGINS.values()),
    *(value for _, value in HEADERS.values()),
    *ADDRESS,
    BODY,
)
assert len(ALL) == 25


def environment() -> dict[str, str]:
    """The variables of a process that knows them."""
    logins = {name: form.format(quote(value, safe="")) for name, (form, value) in LOGINS.items()}
    return ENVIRONMENT | logins | {"NO_PROXY": "*"}


def table(host: str, name: str, model: str, more: str = "") -> str:
    """The table of a model at *host* with every secret that a table can hold."""
    password, query = ADDRESS
    headers = ", ".join(
        f"{key} = {json.dumps(form.format(value))}" for key, (form, value) in HEADERS.items()
    )
    return (
        f'[models.{name}]\nbase_url = "http://user:{password}@{host}/v1?api-key={query}"\n'
        f'model = "{model}"\napi_key_env = "TEAM_KEY"\nretries = 0\nheaders = {{{headers}}}\n'
        f'extra = {{vendor = {{api_key = "{BODY}"}}}}\n{more}\n'
    )


def written(secret: str) -> dict[str, str]:
    """How an upstream may repeat a secret."""
    return {
        "as it is": secret,
        "in small letters": secret.lower(),
        "for a URL": quote(secret, safe=""),
        "for a query": quote(secret, safe="/:").replace("%", "%25").replace("%25", "%"),
        "in JSON": json.dumps(secret)[1:-1],
        "in JSON in JSON": json.dumps(json.dumps(secret))[3:-3],
        "in HTML": html.escape(secret),
        "in base64": base64.b64encode(secret.encode()).decode(),
        "in a Basic login": base64.b64encode(f"user:{secret}".encode()).decode(),
        "in a longer login": base64.urlsafe_b64encode(f"us:{secret}:x".encode()).decode(),
    }


def told(turn: int = 0) -> str:
    """All of them as a text, each as it is and in one more form, another one every *turn*."""
    parts: list[str] = []
    for number, secret in enumerate(ALL):
        forms = list(written(secret).values())
        parts += (secret, forms[(number + turn) % len(forms)])
    return "; ".join(f"it is {part} so" for part in parts)


def found(output: str | bytes, secrets: tuple[str, ...] = ALL) -> list[str]:
    """The secrets that *output* gives away: whole, in part, or escaped however often."""
    view = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
    plain, packed = _windows(secrets)
    seen: set[str] = set()
    for change in (str, *_UNESCAPES, *_UNESCAPES):
        changed = change(view)
        if changed == view and seen:
            continue
        view = changed
        low = view.lower()
        size = range(len(low))
        seen |= {plain[low[i : i + LEAST]] for i in size if low[i : i + LEAST] in plain}
        seen |= {packed[view[i : i + 14]] for i in size if view[i : i + 14] in packed}
        seen.add("")
    return sorted(seen - {""})


@cache
def _windows(secrets: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Whose every few characters are, as they are and in base64."""
    plain: dict[str, str] = {}
    packed: dict[str, str] = {}
    for secret in secrets:
        low = secret.lower()
        plain |= {low[i : i + LEAST]: secret for i in range(len(low) - LEAST + 1)}
        for before in range(3):
            core = base64.b64encode(bytes(before) + secret.encode()).decode()[4:-4]
            packed |= {core[i : i + 14]: secret for i in range(len(core) - 13)}
    return plain, packed


def _characters(text: str) -> str:
    if "\\u" not in text:
        return text
    plain = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_UNESCAPES: tuple[Callable[[str], str], ...] = (
    _characters, lambda text: re.sub(r"\\+(.)", r"\1", text), html.unescape, unquote,
)  # fmt: skip


# ---- an upstream that repeats them


async def answers(wire: Wire) -> None:
    """In the answer and in its thoughts, each character an event of its own."""
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.think(*told(5))
    await wire.say(*told())
    await wire.finish()
    await wire.end()


async def answers_in_words(wire: Wire) -> None:
    """In the answer, cut at some place in the middle."""
    text = told(1)
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say(*(text[i : i + 7] for i in range(0, len(text), 7)))
    await wire.finish()
    await wire.end()


async def answers_whole(wire: Wire) -> None:
    """As one JSON object."""
    await wire.reply(200, wire.voice.whole(told(2), "stop", told(3)))


async def calls(wire: Wire) -> None:
    """As a tool call: its name and its arguments."""
    await wire.head()
    await wire.send(wire.voice.opening())
    key = ALL[5]
    escaped = "".join(f"\\u{ord(c):04x}" for c in key)
    arguments = json.dumps({"said": told(4), ALL[0]: [ALL[1]]})[:-1] + f', "odd": "{escaped}"}}'
    await wire.send(wire.voice.tool(key, arguments))
    await wire.finish("tool_calls")
    await wire.end()


async def refuses(wire: Wire) -> None:
    """In an error: its message, its type, its parameter, its headers."""
    error = {"message": f"Bad key: {ALL[wire.record.call % 25]} {told(6)}", "type": ALL[3]}
    headers = {"X-Key": ALL[0], "Retry-After": ALL[2], "x-ratelimit-reset-requests": ALL[5]}
    await wire.reply(400, {"error": error | {"param": ALL[5], "code": ALL[6]}}, headers)


async def refuses_late(wire: Wire) -> None:
    """In an error after the first words."""
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say("Well, ", "it is ", ALL[0][:9])
    await wire.send(wire.voice.error_frame("overloaded", f"{ALL[1]} {told()}"))
    await wire.end()


async def breaks_off(wire: Wire) -> None:
    """In the answer, which ends in the middle of it."""
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say("Well, ", "the key is ", ALL[0][:9], ALL[0][9:-2])
    await wire.reset()


async def plain_words(wire: Wire) -> None:
    """In a page of text with status 502."""
    await wire.reply(502, f"<html>{'x' * 190} {ALL[5]} {told()}</html>")


async def no_event(wire: Wire) -> None:
    """In what is no event, cut off where the complaint quotes it."""
    await wire.head()
    await wire.send(b"data: " + ("x" * 55 + ALL[5] + told()).encode() + b"\n\n")
    await wire.end()


async def packed(wire: Wire) -> None:
    """As the name of a packing."""
    await wire.head(headers={"Content-Encoding": f"x-key-{ALL[0]}"})
    await wire.end()


PLAYS = {
    play.__name__: play
    for play in (
        answers, answers_in_words, answers_whole, calls, refuses, refuses_late, breaks_off,
        plain_words, no_event, packed,
    )
}  # fmt: skip
