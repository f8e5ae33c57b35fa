"""
How good the embedded model's answers are, under one choice of settings or another.

    python bench/first_answers.py ask --out answers.jsonl [--config FILE] [--for check] [NAME …]
    python bench/first_answers.py sheet answers.jsonl > sheet.toml
    python bench/first_answers.py score answers.jsonl [sheet.toml]

`ask` puts the questions of first_answers.toml to each mixture NAME (`default` by default) three
times over, once per seed, and appends what it says to a file. `sheet` prints all those answers
without names, in an order that says nothing, with five empty marks each: whoever grades fills in
`marks`. `score` prints a table: what can be counted, and the marks where there are any. It counts
tokens, not seconds, so it may run beside anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from mixtura import Sampling, ask
from mixtura.config.config import load
from mixtura.core.similarity import split_words

QUESTIONS = Path(__file__).with_suffix(".toml")
CRITERIA = ("topic", "right", "consistent", "fresh", "ends")
SEEDS = (1, 2, 3)
AT_ONCE = 4
"""Questions that are asked at once."""


class Question(NamedTuple):
    text: str
    facts: tuple[str, ...]


class Answer(NamedTuple):
    mixture: str
    question: str
    seed: int
    text: str
    finish: str
    tokens: int
    """Written in all: drafts, and what was made of them."""

    @property
    def id(self) -> str:
        """A name that says nothing about where the answer is from; equal texts share it."""
        key = f"{self.question}\n{self.text}".encode()
        return blake2b(key, digest_size=5).hexdigest()


def read_questions(part: str) -> list[Question]:
    rows = tomllib.loads(QUESTIONS.read_text("utf-8"))["questions"]
    return [Question(r["text"], tuple(r.get("facts", ()))) for r in rows if r["for"] == part]


def read_answers(file: Path) -> list[Answer]:
    return [Answer(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]


# ---- asking


async def ask_mixture(model: Any, name: str, part: str, seeds: Sequence[int]) -> list[Answer]:
    """The answers to every question, some at once: they are decoded together."""
    room = asyncio.Semaphore(AT_ONCE)

    async def answer_one(question: Question, seed: int) -> Answer:
        async with room:
            request = replace(ask(question.text), sampling=Sampling(seed=seed))
            said = await model.complete(request)
        print(f"{name}: {question.text[:60]}", file=sys.stderr, flush=True)
        tokens = sum(charge.usage.completion_tokens for charge in said.charges)
        return Answer(name, question.text, seed, said.text, said.finish_reason or "", tokens)

    asked = [(question, seed) for question in read_questions(part) for seed in seeds]
    return await asyncio.gather(*(answer_one(*one) for one in asked))


def ask_all(
    names: Sequence[str], config_file: str | None, part: str, seeds: int, out: Path
) -> None:
    # As on a machine where nothing is set up: no key, no Ollama.
    environ = {"HOME": os.environ["HOME"], "OLLAMA_HOST": "127.0.0.1:1"}
    config = load(config_file, environ=environ, folder=Path("/nowhere"), cache=False, keep=False)
    with asyncio.Runner() as runner, out.open("a", encoding="utf-8") as file:
        for name in names:
            model = config.build_runnable(config.mixture_spec(name))
            for answer in runner.run(ask_mixture(model, name, part, SEEDS[:seeds])):
                file.write(json.dumps(answer._asdict(), ensure_ascii=False) + "\n")
            file.flush()


# ---- what can be counted


def sentences(text: str) -> Iterator[str]:
    for piece in re.split(r"(?<=[.!?])\s+|\n+", text):
        words = split_words(re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", piece))
        if len(words) > 2:
            yield " ".join(words)


def repeats(text: str) -> int:
    """Sentences and list items that stood in the answer before."""
    said = list(sentences(text))
    return len(said) - len(set(said))


def has_facts(answer: Answer, facts: dict[str, tuple[str, ...]]) -> bool:
    return all(re.search(f, answer.text, re.IGNORECASE | re.DOTALL) for f in facts[answer.question])


# ---- what a reader says


def print_sheet(answers: Sequence[Answer]) -> None:
    """Sorted by question, and below it by an id that only a text decides."""
    order = {q.text: i for i, q in enumerate(read_questions("choose") + read_questions("check"))}
    seen = {answer.id: answer for answer in answers}
    for answer in sorted(seen.values(), key=lambda a: (order[a.question], a.id)):
        ending = "" if answer.finish == "stop" else f"\n[cut: {answer.finish}]"
        print(f"# {answer.question}")
        print("".join(f"#   {line}\n" for line in f"{answer.text}{ending}".splitlines()), end="")
        print(f'{answer.id} = ""  # of: {", ".join(CRITERIA)}\n')


def read_marks(file: Path) -> dict[str, set[str]]:
    rows = tomllib.loads(file.read_text("utf-8"))
    marks = {name: set(said) for name, said in rows.items()}
    for name, given in marks.items():
        if unknown := given - {word[0] for word in CRITERIA}:
            raise SystemExit(f"{file}: {name}: no criterion begins with {', '.join(unknown)}")
    return marks


def print_scores(answers: Sequence[Answer], marks: dict[str, set[str]]) -> None:
    facts = {q.text: q.facts for part in ("choose", "check") for q in read_questions(part)}
    by_mixture: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_mixture[answer.mixture].append(answer)
    heads = ["answers", "facts", "repeats", "cut", "words", "tokens", *CRITERIA, "of 100"]
    print(f"{'settings':24}" + "".join(f"{head:>11}" for head in heads))
    for name, rows in by_mixture.items():
        share = 1 / len(rows)
        factual = [a for a in rows if facts[a.question]]
        cells = [
            str(len(rows)),
            f"{sum(has_facts(a, facts) for a in factual) / len(factual):.0%}",
            str(sum(repeats(a.text) for a in rows)),
            str(sum(a.finish != "stop" for a in rows)),
            f"{share * sum(len(a.text.split()) for a in rows):.0f}",
            f"{share * sum(a.tokens for a in rows):.0f}",
        ]
        graded = [marks[a.id] for a in rows if a.id in marks]
        if graded:
            means = [sum(word[0] in m for m in graded) / len(graded) for word in CRITERIA]
            cells += [*(f"{mean:.0%}" for mean in means), f"{20 * sum(means):.0f}"]
        print(f"{name:24}" + "".join(f"{cell:>11}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("ask")
    step.add_argument("names", nargs="*", default=["default"])
    step.add_argument("--config")
    step.add_argument("--for", dest="part", choices=("choose", "check"), default="choose")
    step.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1))
    step.add_argument("--out", type=Path, required=True)
    step = steps.add_parser("sheet")
    step.add_argument("answers", type=Path)
    step = steps.add_parser("score")
    step.add_argument("answers", type=Path)
    step.add_argument("marks", type=Path, nargs="?")
    given = parser.parse_args()
    match given.step:
        case "ask":
            ask_all(given.names, given.config, given.part, given.seeds, given.out)
        case "sheet":
            print_sheet(read_answers(given.answers))
        case _:
            print_scores(
                read_answers(given.answers), read_marks(given.marks) if given.marks else {}
            )


if __name__ == "__main__":
    main()
