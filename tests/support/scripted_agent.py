"""A model for agents: it calls the tool that the question names, then says what came of it."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.upstream import Record, Script

PLAIN = "Light scatters, blue most."
SAID = "The tool said: "
_WISH = re.compile(r"Call (\w+) with (?=\{)")
_FORM = re.compile(r"Answer with (\{.*\}) only")
_WHOLE_FILE = "```\nprint('edited')\n```"


def wish(tool: str, **arguments: Any) -> str:
    """A question that makes this model call *tool*."""
    return f"Call {tool} with {json.dumps(arguments)} please."


def form(**values: Any) -> str:
    """A question that makes this model answer with a JSON object."""
    return f"Answer with {json.dumps(values)} only."


def acts(record: Record) -> Script:
    """What it does when it is asked *record*."""
    messages = record.body["messages"]
    begun = max((i for i, m in enumerate(messages) if _is_answer(m)), default=-1) + 1
    results = [_text(m) for m in messages[begun:] if m["role"] == "tool"]
    if results:
        return Script(SAID + results[-1])
    question = "\n".join(_text(m) for m in messages[begun:] if m["role"] == "user")
    offered = [tool["function"]["name"] for tool in record.body.get("tools") or ()]
    if offered and (found := _WISH.search(question)):  # a request for a title repeats it, too
        named = [name for name in offered if name == found[1] or name.endswith(f"_{found[1]}")]
        if not named:
            return Script(f"No tool {found[1]} is offered, only: {', '.join(offered)}")
        said = question[found.end() :]
        if said.startswith('{\\"'):  # opencode quotes what it is asked
            said = said.replace('\\"', '"')
        arguments = json.JSONDecoder().raw_decode(said)[0]
        return Script("", tool=(named[0], json.dumps(arguments)), finish="tool_calls")
    if found := _FORM.search(question):
        return Script(found[1])
    if "edit program.py" in question:  # as an editor without tools wants its answer
        return Script(f"program.py\n{_WHOLE_FILE}")
    return Script(PLAIN)


def _is_answer(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and not message.get("tool_calls")


def _text(message: dict[str, Any]) -> str:
    content = message["content"] or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)
