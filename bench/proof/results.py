"""What each arm answered: whether it is right, and what it took. The page is made of this alone."""

from __future__ import annotations

import asyncio
import json
import lzma
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, cast

from bench.proof.arms import Arm
from bench.proof.kept import CALLS, Kept, labelled
from bench.proof.programs import ProgramRuns
from bench.proof.questions import Item
from bench.proof.scoring import SCORERS

from mixtura import MixturaError
from mixtura.core.similarity import cosine_similarity, tfidf_vectors
from mixtura.patterns.final_answer import extract_number
from mixtura.programs.code_blocks import extract_program
from mixtura.programs.examples import make_test, read_examples


class Outcome(NamedTuple):
    """One answer of one arm to one item."""

    arm: str
    item: str
    draw: int
    right: bool
    calls: tuple[tuple[str, int, int, float, str], ...]
    """Of each call: the model, tokens of the prompt and of the answer, seconds, why it ended."""
    degraded: int
    confidence: dict[str, float]
    """Simple measures of how sure the arm may be, by name."""


async def run_arms(
    set_name: str,
    arms: Sequence[Arm],
    items: Sequence[Item],
    runs: ProgramRuns,
    at_once: int = 1,
) -> list[Outcome]:
    """
    The outcomes of all arms, as far as the answers go that are kept: a partial log gives a partial
    table. No item counts before all items in front of it have their answers, since those that come
    early are the short ones.
    """
    room = asyncio.Semaphore(at_once)

    async def run_one(arm: Arm, item: Item, draw: int) -> Outcome | None:
        async with room:
            return await answer_item(set_name, arm, item, draw, runs)

    outcomes: list[Outcome] = []
    for arm in arms:
        done: list[Outcome] = []
        for draw in range(arm.draws):
            found = await asyncio.gather(*(run_one(arm, item, draw) for item in items))
            done += cast(list[Outcome], list(takewhile(lambda one: one is not None, found)))
        print(f"{set_name}, {arm.name}: {len(done)} answers", file=sys.stderr, flush=True)
        outcomes += done
    return outcomes


async def answer_item(
    set_name: str, arm: Arm, item: Item, draw: int, runs: ProgramRuns
) -> Outcome | None:
    """One outcome; None where an answer that is needed is not kept."""
    calls: list[Kept] = []
    token = CALLS.set(calls)
    try:
        with labelled(item.id, arm.name):
            said = await arm.model.complete(replace(item.request, draw=draw))
    except MixturaError as error:
        if _is_missing(error):
            return None
        raise
    finally:
        CALLS.reset(token)
    if any(_is_missing_text(notice) for notice in said.degraded):
        return None
    right = await asyncio.to_thread(SCORERS[set_name], item, said.text, runs)
    used = tuple(
        (c.model, c.prompt_tokens, c.completion_tokens, c.seconds, c.finish) for c in calls
    )
    texts = [call.text for call in calls if call.part == "draw"]
    confidence = await asyncio.to_thread(
        measure_confidence, set_name, item, said.text, texts, runs
    )  # fmt: skip
    return Outcome(arm.name, item.id, draw, right, used, len(said.degraded), confidence)


NOT_KEPT = "no answer is kept for this request"


def _is_missing(error: BaseException) -> bool:
    causes = getattr(error, "causes", ())
    return NOT_KEPT in str(error) or any(_is_missing(cause) for cause in causes)


def _is_missing_text(notice: str) -> bool:
    return NOT_KEPT in notice


def measure_confidence(
    set_name: str, item: Item, answer: str, texts: Sequence[str], runs: ProgramRuns
) -> dict[str, float]:
    """
    Of an answer among several *texts*: how alike they are, and the share that come to the same
    number, or of programs do the same on the examples of the prompt, and the share of these that
    the answer passes. A prompt without examples has neither of the two.
    """
    if len(texts) < 2:
        return {}
    vectors = tfidf_vectors([answer, *texts])
    found = {"alike": sum(cosine_similarity(vectors[0], v) for v in vectors[1:]) / len(texts)}
    if set_name == "gsm8k":
        number = extract_number(answer)
        same = [text for text in texts if number is not None and extract_number(text) == number]
        found["agreeing"] = len(same) / len(texts)
    if set_name == "humaneval":
        prompt, function = item.request.messages[-1].text, item.row["entry_point"]
        if examples := read_examples(prompt, function):
            test = make_test(examples)

            def run(text: str) -> tuple[bool, ...]:
                program = extract_program(text, prompt, function)
                return tuple(runs.run_examples(program, test, function))

            mine = run(answer)
            found["passed"] = sum(mine) / len(examples)
            found["agreeing"] = sum(run(text) == mine for text in texts) / len(texts)
    return {name: round(value, 4) for name, value in found.items()}


# ---- files


def write_outcomes(file: Path, outcomes: Iterable[Outcome]) -> None:
    """As lines of JSON, compressed."""
    lines = "".join(json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in outcomes)
    file.write_bytes(lzma.compress(lines.encode(), preset=9))


def read_outcomes(file: Path) -> list[Outcome]:
    """What `write_outcomes` wrote."""
    rows = map(json.loads, lzma.decompress(file.read_bytes()).decode().splitlines())
    return [Outcome(**{**row, "calls": tuple(map(tuple, row["calls"]))}) for row in rows]
