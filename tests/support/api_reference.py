"""Makes docs/api.md of the public names: ``python -m tests.support.api_reference``."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator

import mixtura

INTRODUCTION = """# API reference

Everything that `from mixtura import …` gives, with its types. Made from the code by
`python -m tests.support.api_reference`; a test holds the two together.
"""
GROUPS = {
    "Mixtures and patterns": (
        "Mixture",
        "Proposer",
        "Aggregator",
        "Layer",
        "Composite",
        "Pattern",
        "FinalStep",
        "PlannedCall",
        "PatternSpec",
        "PatternParts",
        "FinalModel",
        "Chosen",
        "BestOf",
        "Ranker",
        "Vote",
        "Sequential",
        "self_moa",
    ),
    "Models": (
        "Model",
        "ModelInfo",
        "get_model_info",
        "Price",
        "OpenAI",
        "Anthropic",
        "Local",
        "PydanticAI",
        "Replay",
        "model",
        "load",
    ),
    "Wrappers": (
        "Wrapper",
        "Retrying",
        "Limited",
        "RateLimiter",
        "RateLimits",
        "Hedged",
        "Cached",
        "Metered",
        "Budgeted",
        "RunCap",
        "Deadlined",
    ),
    "HTTP clients": ("Transport", "TransportResponse", "Http1Transport", "AiohttpTransport"),
    "Questions and answers": (
        "ask",
        "answer_sync",
        "Request",
        "Message",
        "TextPart",
        "ImagePart",
        "OtherPart",
        "ToolCall",
        "Sampling",
        "Completion",
        "Usage",
        "Charge",
        "answer_cost",
        "CallLedger",
        "open_ledger",
        "record_charge",
    ),
    "Watching a run": (
        "streamed",
        "Run",
        "Recorder",
        "Trace",
        "Emit",
        "Event",
        "RunStarted",
        "CallStarted",
        "Token",
        "ToolCallChunk",
        "CallRestarted",
        "CacheHit",
        "Notice",
        "Proposal",
        "Failure",
        "LayerFinished",
        "Aggregation",
        "RunCompleted",
        "Position",
        "PositionPath",
    ),
    "Errors": (),
}


def render() -> str:
    """The whole page."""
    errors = [n for n in mixtura.__all__ if n.endswith("Error")]
    groups = {**GROUPS, "Errors": tuple(errors)}
    listed = [name for names in groups.values() for name in names]
    if missing := set(mixtura.__all__) - set(listed):
        raise AssertionError(f"in no group of tests/support/api_reference.py: {sorted(missing)}")
    parts = [INTRODUCTION]
    for title, names in groups.items():
        parts.append(f"## {title}\n")
        parts += [entry for name in names for entry in _describe(name, getattr(mixtura, name))]
    return "\n".join(parts).rstrip() + "\n"


def _describe(name: str, value: object) -> Iterator[str]:
    if name.endswith("Error"):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"### `{name}({bases})`\n\n{_paragraph(value)}\n"
    elif inspect.isclass(value):
        yield f"### class `{name}`\n\n{_signature(name, value)}\n{_paragraph(value)}\n"
        yield _members(value)
    elif callable(value) and not typing.get_origin(value):
        yield f"### `{name}`\n\n{_signature(name, value)}\n{_paragraph(value)}\n"
    else:
        yield f"### type `{name}`\n\n`{_plain(str(value))}`\n"


def _signature(name: str, value: object) -> str:
    try:
        text = _plain(str(inspect.signature(value)))
    except (TypeError, ValueError):
        return ""
    return f"```text\n{name}{text}\n```\n"


def _plain(text: str) -> str:
    """Without the places of modules, which no one needs to import from."""
    for word in (
        "mixtura.core.types.",
        "mixtura.core.model.",
        "mixtura.core.events.",
        "collections.abc.",
    ):
        text = text.replace(word, "")
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text).replace("<factory>", "…")
    return text.replace("'", "").replace(" -> None", "")


def _members(value: type) -> str:
    rows = []
    for name, member in sorted(vars(value).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            rows.append(f"- `.{name}`{_first_line(value, name)}")
        elif isinstance(member, classmethod | staticmethod):
            rows.append(
                f"- `{value.__name__}.{name}{_own(member.__func__)}`{_first_line(value, name)}"
            )
        elif inspect.isfunction(member):
            rows.append(f"- `.{name}{_own(member)}`{_first_line(value, name)}")
    return "\n".join(rows) + "\n" if rows else ""


def _own(function: object) -> str:
    text = _plain(str(inspect.signature(function)))
    for first in ("(self, ", "(cls, "):
        text = text.replace(first, "(", 1)
    return text.replace("(self)", "()", 1)


def _first_line(owner: type, name: str) -> str:
    """What a member does, as it or the member that it overrides says."""
    for base in (*owner.__mro__, mixtura.Model, mixtura.Composite):
        if said := getattr(vars(base).get(name), "__doc__", None):
            return ": " + " ".join(inspect.cleandoc(said).split("\n\n")[0].split())
    return ""


def _paragraph(value: object) -> str:
    return inspect.getdoc(value) or ""


if __name__ == "__main__":
    print(render(), end="")
