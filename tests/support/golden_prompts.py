"""
Every call of every pattern, in order, with the messages that are sent, as files to look at.

`python -m tests.support.golden_prompts --write` writes them anew; without `--write` it says which
differ. A pattern's team is that of `tests/support/pattern_teams.py`, of models that say what they
are asked for; a preset's models are those that it names.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from mixtura import Request
from tests.conftest import run
from tests.support.pattern_teams import (
    NAMES,
    Cast,
    build_plan,
    build_team,
    question,
    read_configuration,
)

FOLDER = Path(__file__).parents[1] / "patterns" / "golden"
COMMAND = "python -m tests.support.golden_prompts --write"
TOOL = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}


def preset_names() -> list[str]:
    """The presets that are called otherwise than a pattern."""
    with tempfile.TemporaryDirectory() as folder:
        names = list(read_configuration("", Path(folder)).registry.mixtures)
    return [name for name in names if name not in NAMES]


def golden_names() -> list[str]:
    """Every file's name without its end."""
    return [*NAMES, "mixture-with-tools", *(f"preset-{name}" for name in preset_names())]


def play(name: str) -> str:
    """The file *name* as the code has it today."""
    cast = Cast()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if name.startswith("preset-"):
            config = read_configuration("", folder)
            plan = config.mixture_spec(name.removeprefix("preset-"))
            team, asked = build_plan(config, plan, cast), question("mixture")
        elif name.endswith("-with-tools"):
            pattern = name.removesuffix("-with-tools")
            team = build_team(pattern, folder, cast)
            asked = dataclasses.replace(question(pattern), tools=(TOOL,))
        else:
            team, asked = build_team(name, folder, cast), question(name)
        answer = run(team.complete(asked))
    head = f"{len(cast.asked)} calls; at most {team.call_count}.\n"
    return head + write_calls(cast.asked) + f"\n=== the answer\n{answer.text}\n"


def write_calls(asked: Sequence[tuple[str, Request]]) -> str:
    """Each call under a line of its own; calls one after another that send the same, together."""
    text, number = "", 0
    for said, group in groupby(asked, lambda call: _write_request(call[1])):
        names = [name for name, _ in group]
        first, number = number + 1, number + len(names)
        numbers = f"call {first}" if number == first else f"calls {first} to {number}"
        text += f"\n=== {numbers}: {', '.join(names)}\n{said}"
    return text


def _write_request(request: Request) -> str:
    sampling = {k: v for k, v in dataclasses.asdict(request.sampling).items() if v is not None}
    tools = [tool["function"]["name"] for tool in request.tools]
    told = sampling | dict(request.extra) | ({"tools": tools} if tools else {})
    rows = [json.dumps(told)] if told else []
    for message in request.messages:
        rows.append(f"--- {message.role}\n{message.text}")
    return "\n".join(rows) + "\n"


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.golden_prompts")
    parser.add_argument("--write", action="store_true", help="Write what differs.")
    write = parser.parse_args(words).write
    different = 0
    for name in golden_names():
        file, text = FOLDER / f"{name}.txt", play(name)
        if file.is_file() and file.read_text("utf-8") == text:
            continue
        different += 1
        print(f"{'written' if write else 'differs'}: {file.name}")
        if write:
            FOLDER.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
    for file in sorted(FOLDER.glob("*.txt")):
        if file.stem not in golden_names():
            different += 1
            print(f"{'deleted' if write else 'belongs to no pattern'}: {file.name}")
            if write:
                file.unlink()
    return 0 if write else min(different, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
