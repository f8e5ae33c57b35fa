"""The answers that stand beside a model's: from a file, or from another model in that role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from inspect_ai.model import ChatMessage, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.solver import TaskState

from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.evals.rows import Row, source_location
from mixtura.evals.rows import read_rows as read_rows
from mixtura.evals.tasks.dataset import instruction_text
from mixtura.evals.tasks.grader import OPPONENT_ROLE

_KEYS = ("question_id", "uid", "instruction", "id")
_AUTHORS = ("model_id", "generator", "model")


class BaselineAnswers(NamedTuple):
    """What someone answered, turn by turn, under a question's id or its words."""

    author: str
    by_key: Mapping[str, tuple[str, ...]]

    def find_answer(self, *keys: str) -> tuple[str, ...]:
        """The answer under the first of *keys* that is there; nothing where none is."""
        return next((self.by_key[key] for key in keys if key in self.by_key), ())


def read_answers(*files: str) -> BaselineAnswers:
    """
    Files of answers as FastChat, Arena-Hard or AlpacaEval have them, or ``id`` and ``answer``.

    Raises ConfigError with the file and the row, for one without an id or an answer, and for a
    second answer to one question.
    """
    answers: dict[str, tuple[str, ...]] = {}
    author = ""
    for file in files:
        lines: dict[str, int] = {}
        for line, row in read_rows(file):
            key, turns = _answer_key(row), _turns_or_empty(row)
            if key is None or not turns:
                raise ConfigError(f"{source_location(file, line)}: it has no id, or no answer")
            # The same answer twice does no harm; of two different ones no one knows which is meant.
            if answers.get(key, turns) != turns:
                problem = (
                    f"the answer to {to_one_line(key)[:60]!r} is not the one in line"
                    f" {lines.get(key)}: keep one of them"
                )
                raise ConfigError(f"{source_location(file, line)}: {problem}")
            answers[key] = turns
            lines[key] = line
            author = author or next((str(row[n]) for n in _AUTHORS if row.get(n)), "")
    return BaselineAnswers(author, answers)


def _answer_key(row: Row) -> str | None:
    name = next((name for name in _KEYS if row.get(name) is not None), None)
    if name == "instruction" and isinstance(row[name], str) and row[name].strip():
        return instruction_text(row)
    return None if name is None else str(row[name])


def _turns_or_empty(row: Row) -> tuple[str, ...]:
    try:
        return _turn_texts(row)
    except (KeyError, IndexError, TypeError, AttributeError):
        return ()


def _turn_texts(row: Row) -> tuple[str, ...]:
    if choices := row.get("choices"):
        return tuple(turn_text(turn) for turn in choices[0]["turns"])
    if messages := row.get("messages"):
        return tuple(turn_text(one) for one in messages if one.get("role") == "assistant")
    content = next((row[name] for name in ("output", "answer") if row.get(name) is not None), None)
    if content is None:
        return ()
    turns = cast(Sequence[Any], content if isinstance(content, list) else [content])
    return tuple(map(turn_text, turns))


def turn_text(turn: Any) -> str:
    """A turn as text, ``{"content": …}`` or ``{"content": {"answer": …}}``."""
    while isinstance(turn, dict):
        inner = cast(Mapping[str, Any], turn)
        turn = inner["content"] if "content" in inner else inner.get("answer", "")
    return str(turn)


async def ask_opponent(questions: Sequence[str], temperature: float | None = None) -> list[str]:
    """The answers of the model in the opponent's role, turn by turn. Raises what Inspect raises."""
    model = get_model(role=OPPONENT_ROLE, required=True)
    messages: list[ChatMessage] = []
    answers: list[str] = []
    for question in questions:
        messages.append(ChatMessageUser(content=question))
        output = await model.generate(messages, config=GenerateConfig(temperature=temperature))
        messages.append(output.message)
        answers.append(output.completion)
    return answers


async def opponent_answers(
    state: TaskState, known: BaselineAnswers | None, questions: Sequence[str]
) -> list[str]:
    """The other side's answers to a sample's questions. Raises ConfigError where one has none."""
    if known is None:
        return await ask_opponent(questions, state.metadata.get("temperature"))
    answers = list(known.find_answer(str(state.sample_id), questions[0]))
    if len(answers) < len(questions):
        raise ConfigError(f"there is no baseline answer for sample {state.sample_id}")
    return answers[: len(questions)]


def opponent_name() -> str:
    """The name of the model in the opponent's role."""
    return get_model(role=OPPONENT_ROLE, required=True).name
