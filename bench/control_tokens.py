"""
What ordinary text loses by the rule for control tokens: ``python bench/control_tokens.py FOLDER``.

FOLDER has published answers, ``model_outputs.json`` files of AlpacaEval, below it. Of a thousand
of them, drawn by a seed: how many are touched, where, and whether what was inserted can be taken
out again. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from mixtura.core.text import strip_invisible
from mixtura.prompts.control_tokens import neutralize_text, neutralized_json

ANSWERS = 1000


def main(folder: Path) -> None:
    files = sorted(folder.rglob("*.json"))
    answers = [row["output"] for file in files for row in json.loads(file.read_text("utf-8"))]
    chosen = random.Random(0).sample(answers, min(ANSWERS, len(answers)))
    touched = hidden = insertions = lost = 0
    begun = time.perf_counter()
    for answer in chosen:
        text, shown = strip_invisible(answer), neutralize_text(answer)
        hidden += text != answer
        touched += shown != text
        insertions += len(shown) - len(text)
        lost += json.loads(neutralized_json([answer])) != [text]
        if shown != text:
            at = next(i for i, (a, b) in enumerate(zip(shown, text, strict=False)) if a != b)
            print(repr(text[max(at - 20, 0) : at + 20]))
    figures = {
        "answers": len(chosen),
        "touched": touched,
        "insertions": insertions,
        "with_hidden_characters": hidden,
        "not_restored": lost,
        "microseconds_an_answer": round(1e6 * (time.perf_counter() - begun) / len(chosen)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
