"""Whether an answer is right, by each set's own rules: those of `mixtura eval`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from bench.proof.programs import ProgramRuns
from bench.proof.questions import Item

from mixtura.evals.tasks.gsm8k import extract_fraction
from mixtura.evals.tasks.humaneval import prompt_helpers
from mixtura.evals.tasks.ifeval_checks import follows_instruction
from mixtura.programs.code_blocks import extract_program

Scorer = Callable[[Item, str, ProgramRuns], bool]
_DIGITS = 64
NUMBER_TEST = f"""
def check(candidate):
    value = candidate()
    text = repr(int(value) if value == int(value) else round(float(value), 9))
    bits = "".join(format(ord(letter), "08b") for letter in text[:{_DIGITS}])
    return [bit == "1" for bit in bits]
"""
"""A test gives no value back, only a list of yes and no: the letters of the number as bits."""


def humaneval_right(item: Item, text: str, runs: ProgramRuns) -> bool:
    """Whether the program passes the tests of the set, which no pattern ever sees."""
    prompt, test, name = (item.row[key] for key in ("prompt", "test", "entry_point"))
    program = extract_program(text, prompt, name)
    return runs.passes(program, test, name, prompt_helpers(prompt, name))


def gsm8k_right(item: Item, text: str, runs: ProgramRuns) -> bool:  # noqa: ARG001
    """Whether an answer in words comes to the number of the set."""
    number = extract_fraction(text)
    return number is not None and number == target_number(item)


def gsm8k_program_right(item: Item, text: str, runs: ProgramRuns) -> bool:
    """Whether the program returns the number of the set."""
    number = run_for_number(text, runs)
    return number is not None and abs(number - target_number(item)) < Fraction(1, 10**6)


def target_number(item: Item) -> Fraction:
    """The number behind `####`."""
    number = extract_fraction(item.row["answer"].rpartition("####")[2])
    assert number is not None
    return number


def run_for_number(text: str, runs: ProgramRuns) -> Fraction | None:
    """What the program in *text* returns; None where it returns no number."""
    program = extract_program(text, "def solution():\n", "solution")
    bits = runs.results_of(program, NUMBER_TEST, "solution")
    letters = [bits[i : i + 8] for i in range(0, len(bits), 8)]
    said = "".join(chr(sum(bit << 7 - i for i, bit in enumerate(letter))) for letter in letters)
    try:
        return Fraction(said)
    except (ValueError, ZeroDivisionError):
        return None


def ifeval_right(item: Item, text: str, runs: ProgramRuns) -> bool:  # noqa: ARG001
    """Whether every instruction is followed to the letter (the strict score of prompts)."""
    return all(follows_instruction(name, given, text) for name, given in _instructions(item.row))


def ifeval_share(row: Mapping[str, Any], text: str) -> float:
    """The share of the instructions that are followed."""
    pairs = _instructions(row)
    return sum(follows_instruction(name, given, text) for name, given in pairs) / len(pairs)


def _instructions(row: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    stated = [{k: v for k, v in one.items() if v is not None} for one in row["kwargs"]]
    return list(zip(row["instruction_id_list"], stated, strict=True))


SCORERS: Mapping[str, Scorer] = {
    "humaneval": humaneval_right,
    "gsm8k": gsm8k_right,
    "gsm8k-programs": gsm8k_program_right,
    "ifeval": ifeval_right,
    "deception": gsm8k_right,
}
