"""What is to be evaluated: the task, its files, who judges and how many samples."""

from __future__ import annotations

from dataclasses import dataclass

from mixtura.catalog.user_files import expand_home
from mixtura.evals.rows import URL_PREFIXES

FILE_FIELDS = (
    "data", "references", "skills", "template", "against", "outputs", "labels", "difficulty",
    "gamed",
)  # fmt: skip
"""The fields of `EvalRequest` that may name a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """
    What is to be evaluated, and how.

    *data*: a file or an address, instead of the task's public home. *limit*: number of samples,
    the first ones or, given a *seed*, a random draw; the seed goes to the models, too. *epochs*:
    answers to each sample. *judge*: the judging model; *rubric*: for rows without one. *scoring*:
    how `jsonl` compares. *against*: the baseline's answers, a file or a model's name. *outputs*:
    a file of finished answers, so that no model is asked for them. *references*, *skills*,
    *template*, *difficulty*, *gamed*: other files of a task; *labels*: human labels of the same
    samples. *agreement*: each answer comes with a report of where its proposals agree.
    """

    task: str
    data: str | None = None
    judge: str | None = None
    rubric: str | None = None
    scoring: str | None = None
    against: str | None = None
    outputs: str | None = None
    references: str | None = None
    skills: str | None = None
    template: str | None = None
    labels: str | None = None
    difficulty: str | None = None
    gamed: str | None = None
    limit: int | None = None
    seed: int | None = None
    epochs: int = 1
    agreement: bool = False


_SUFFIXES = (".json", ".jsonl", ".gz", ".txt", ".csv")


def names_file(name: str | None) -> bool:
    """Whether *name* is a file's or an address, existing or not, rather than a model's."""
    if name is None:
        return False
    path = expand_home(name)
    if path.suffix.lower() == ".gguf":  # a local model's name
        return False
    return name.startswith(URL_PREFIXES) or path.suffix in _SUFFIXES or path.is_file()


def absolute_path(name: str | None) -> str | None:
    """The absolute path of a file name; an address or a model's name unchanged."""
    if name is None or not names_file(name) or name.startswith(URL_PREFIXES):
        return name
    return str(expand_home(name).resolve())
