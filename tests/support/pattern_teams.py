"""
A small team for every registered pattern, of models that can answer whatever a pattern asks.

A pattern that is added needs nothing here: three proposers `a`, `b` and `c`, and for every model
that its settings name one called as the setting is. What differs stands in `SETTINGS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from mixtura import Message, Request
from mixtura.catalog.patterns import BUILT_IN, find_pattern
from mixtura.config.config import Config, read_presets
from mixtura.config.plan import MixtureSpec
from mixtura.config.toml_document import TomlDocument
from mixtura.engine.pattern import Pattern
from mixtura.models.fake import Scripted, ScriptStep

NAMES = tuple(BUILT_IN)
MEMBERS = ("a", "b", "c")
LAYERS = {
    "mux": '[["a*2", "b*2"]]',
    "switch": '[["a*2", "b*2"]]',
    "adaptive": json.dumps([list(MEMBERS)] * 3),
    "residual": json.dumps([list(MEMBERS)] * 2),
}
SETTINGS = {
    "sequential": "window = 2",
    "recursive": "subset = 2",
    "robust": 'extract = "text"',
    "sparse": "keep = 2",
    "tree": "fan_in = 2",
}
"""Lines of a team's table, where the pattern's own defaults do not do for a small team."""

TALK = (
    Message("system", "Be brief."),
    Message("user", "What is six times seven?"),
    Message("assistant", "42."),
    Message("user", "And seven times eight?"),
)
CODE_QUESTION = (
    "Complete this function.\n\ndef double(n):\n"
    '    """Twice n.\n\n    >>> double(2)\n    4\n    """\n'
)


def question(name: str) -> Request:
    """What the team of that pattern is asked: the second question of a conversation."""
    last = Message("user", CODE_QUESTION) if name == "checked" else TALK[-1]
    return Request((*TALK[:-1], last))


# ---- the table in a file


def model_keys(name: str) -> list[str]:
    """The settings of a pattern that name a model, which is called as its setting is."""
    spec = find_pattern(name)
    assert spec is not None
    return [*([spec.final_model.key] if spec.final_model else []), *spec.model_settings]


def team_table(name: str, more: str = "") -> str:
    """The body of the team's table in a file."""
    rows = [f'pattern = "{name}"', f"layers = {LAYERS.get(name, json.dumps([list(MEMBERS)]))}"]
    rows += [f'{key} = "{key}"' for key in model_keys(name)]
    return "\n".join([*rows, SETTINGS.get(name, ""), more]) + "\n"


def model_names(name: str) -> list[str]:
    """Every model of the team."""
    members = [one for one in MEMBERS if f'"{one}' in LAYERS.get(name, '"a "b "c')]
    return [*members, *model_keys(name)]


def read_configuration(text: str, folder: Path, *, presets: bool = True) -> Config:
    """A configuration of that text over the presets, on a machine without keys and Ollama."""
    return Config(
        [*([read_presets()] if presets else []), TomlDocument(text, "mixtura.toml")],
        environ={"OLLAMA_HOST": "127.0.0.1:9"},
        models_folder=folder / "models",
        store_folder=folder,
    )


def read_team(name: str, folder: Path, more: str = "") -> tuple[Config, MixtureSpec]:
    """The configuration with the team as its mixture `team`."""
    models = "".join(
        f'[models.{one}]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
        for one in model_names(name)
    )
    text = f"{models}[mixtures.team]\n{team_table(name, more)}"
    config = read_configuration(text, folder, presets=False)
    return config, config.mixture_spec("team")


# ---- models that answer


ANALYSIS = {
    "agreed": [{"claim": "It is a number.", "slots": [1, 2]}],
    "disputed": [
        {
            "topic": "Which",
            "stances": [{"claim": "56", "slots": [1]}, {"claim": "54", "slots": [2]}],
        }
    ],
    "only_one": [],
    "not_covered": ["Why"],
}
VERDICT = re.compile(r'\{"(\w+)": N\}\s*$')
REVIEW = {
    "findings": [
        {"severity": "low", "problem": "It is short.", "quote": "And seven times eight?"},
    ]
}
PROGRAM = "```python\ndef solve():\n    return 56\n```"
CODE = "```python\ndef double(n):\n    return n * 2\n```"


def answer_whatever(name: str, number: int, request: Request) -> str:
    """
    What model *name* says to its *number*th request: the verdict, the report or the tests that
    the prompt asks for, else a draft of its own.
    """
    prompt = request.messages[-1].text
    if found := VERDICT.search(prompt):  # drafts that are found to differ need every further call
        return json.dumps({found[1]: 0 if found[1] == "same" else 1})
    if prompt.endswith('{"best": [A, B]}'):
        return '{"best": [1, 2]}'
    if prompt.endswith('{"changed": ["..."]}'):
        return '{"changed": ["a number"]}'
    if '{"findings": []}' in prompt:
        return json.dumps(REVIEW)
    if "a function solve()" in request.messages[0].text:
        return PROGRAM
    if "Reply with one digit and nothing else" in prompt:
        return "1"
    if "Reply with one JSON object and nothing else" in prompt:
        return json.dumps(ANALYSIS)
    if "Write tests for the function" in prompt:
        return "assert double(3) == 6\nassert double(0) == 0"
    draft = f"Text {number} of {name}"
    return f"{draft}:\n{CODE}" if "def double" in prompt else f"{draft}: {55 + number}."


@dataclass
class Cast:
    """Models by name, and what they were asked, in the order of all calls."""

    answer: Callable[[str, int, Request], ScriptStep] = answer_whatever
    asked: list[tuple[str, Request]] = field(default_factory=list)
    models: dict[str, Scripted] = field(default_factory=dict)

    def model(self, name: str) -> Scripted:
        """The model of that name, the same each time."""
        if name not in self.models:
            self.models[name] = Scripted(name, self._script(name))
        return self.models[name]

    def _script(self, name: str) -> Iterator[ScriptStep]:
        for number in count(1):
            model = self.models[name]
            request = model.asked[-1]
            self.asked.append((name, request))
            yield self.answer(name, number, request)


def build_team(name: str, folder: Path, cast: Cast, more: str = "") -> Pattern:
    """The team of that pattern, of the models of *cast*."""
    config, plan = read_team(name, folder, more)
    return build_plan(config, plan, cast)


def build_plan(config: Config, plan: MixtureSpec, cast: Cast) -> Pattern:
    """A mixture of a configuration, of the models of *cast*."""
    for one in plan.member_names():
        config.builder.built_models[one] = cast.model(one)
    return config.build_mixture(plan)


def drafts_between_fences(text: str) -> list[list[Mapping[str, object]]]:
    """Every list of drafts in a prompt, as whoever looks for the fences finds them."""
    found = re.findall(r"^(=====drafts-\w+=====)\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)
    return [json.loads(listed) for _, listed in found]


def said_to(request: Request, roles: Sequence[str] = ()) -> str:
    """The texts of a request's messages, of *roles* or of all."""
    return "\n".join(m.text for m in request.messages if not roles or m.role in roles)
