"""HumanEval: functions to be written, and tests that run them (Chen et al. 2021, 2107.03374)."""

from __future__ import annotations

import ast
import keyword
import re
from functools import partial
from typing import cast

import anyio.to_thread
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState

from mixtura.core.errors import ConfigError
from mixtura.evals.tasks.dataset import Row, load_samples, prompted_task, text_field
from mixtura.programs.code_blocks import extract_program
from mixtura.programs.python_syntax import NOT_PYTHON, parse_python

HOME = "https://raw.githubusercontent.com/openai/human-eval/master/data/HumanEval.jsonl.gz"
PROMPT = """Write this Python function. Answer with one block of code that holds the whole function,
its imports included, ready to run as it is; no examples of its use.

```python
{prompt}
```"""


@task
def humaneval(data: str | None = None, seed: int | None = None, seconds: float = 10.0) -> Task:
    """Rows with `prompt`, `test`, `entry_point`; *seconds* of the processor for each.

    Raises ConfigError for rows that cannot be read, and where programs cannot be confined.
    """
    samples = load_samples("humaneval", data or HOME, _row_to_sample, seed=seed)
    return prompted_task(samples, PROMPT, passing(seconds), version=2)


def _row_to_sample(row: Row) -> Sample:
    about = {name: text_field(row, name) for name in ("prompt", "test", "entry_point")}
    if not about["entry_point"].isidentifier() or keyword.iskeyword(about["entry_point"]):
        raise ValueError(f"`entry_point` is '{about['entry_point']}', not a name of a function")
    return Sample(
        input=about["prompt"],
        target=row.get("canonical_solution") or "",
        id=row.get("task_id"),
        metadata=about,
    )


@scorer(metrics=[accuracy()])
def passing(seconds: float = 10.0) -> Scorer:
    """1 where the program passes its test, else 0.

    Raises ConfigError where no program could be run: before a model is asked and paid.
    """
    try:
        from mixtura.programs import sandbox
    except ModuleNotFoundError:  # it stands on what only these have
        problem = "humaneval runs code in a sandbox of Linux or macOS; on Windows, use WSL"
        raise ConfigError(problem) from None
    try:
        sandbox.ensure_available()
    except sandbox.SandboxError as error:
        raise ConfigError(f"humaneval: {error}") from None
    # By the clock three times as long: on a busy machine a right program must not fail for it.
    limits = sandbox.SandboxLimits(seconds=seconds, wall_seconds=3 * seconds)

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        prompt, test, name = (state.metadata[key] for key in ("prompt", "test", "entry_point"))
        reply = state.output.completion
        written = await anyio.to_thread.run_sync(extract_program, reply, prompt, name)
        checked = partial(sandbox.check_program, setup=prompt_helpers(prompt, name), limits=limits)
        outcome = await anyio.to_thread.run_sync(checked, written, test, name)
        return Score(
            value=1.0 if outcome.passed else 0.0,
            answer=written,
            explanation=outcome.reason,
            metadata={"isolation": outcome.isolation},
        )

    return score


def prompt_helpers(prompt: str, entry_point: str) -> str:
    """What a prompt brings along beside its function: imports, other functions, constants."""
    try:
        body = cast(ast.Module, parse_python(f"{prompt}\n    pass\n")).body
    except NOT_PYTHON:
        return "\n".join(re.findall(r"^(?:from|import) .*", prompt, re.MULTILINE))
    others = (part for part in body if getattr(part, "name", "") != entry_point)
    return "\n".join(ast.unparse(part) for part in others)
