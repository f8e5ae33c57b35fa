"""What a question says about the results in it: that one is wrong, that order does not count."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A result that is wrong, that may come or that does not come is none to hold programs to.
_UNWANTED_BEFORE = re.compile(
    r"(?:\b(?:why|not\s+true|false\s+that|currently|actual(?:ly)?|wrong(?:ly)?"
    r"|incorrect(?:ly)?|instead\s+of|does|did"
    r"|could|might|bug(?:gy)?|fails?|broken|my\s+\w+|(?:should|must|expected)\b[^.;!?]*\bbut)\b[^.;!?]*"
    r"|\b(?:not|never|cannot)[ \t]+|n['’]t[ \t]+)\Z",
    re.IGNORECASE,
)
_UNWANTED_BEHIND = re.compile(
    r"\b(?:instead|wrong(?:ly)?|incorrect(?:ly)?|rather\s+than|bug|ought|supposed|must\s+be"
    r"|is\s+(?:false|untrue|not\s+true)"
    r"|(?<!as )expected|should\s+[a-z])|错|錯|应该|應該|应为|而不是",
    re.IGNORECASE,
)
_CONTEXT = 150
"""Characters before and behind an example that can say that it is none."""
ANY_ORDER = re.compile(
    r"\b(?:return|answer|output|result)(?!ed)[^.\n]{0,80}\bin\s+any\s+order\b"
    r"|\border\s+(?:of\s+the\s+\w+\s+)?(?:does\s+not|doesn['’]t|is\s+not)\s+(?:matter|important)",
    re.IGNORECASE,
)
ANY_ANSWER = re.compile(
    r"\breturn\s+any\s+(?:of|one|valid|possible|such|answer|solution)\b|\bany\s+(?:of\s+them|valid\s+\w+)"
    r"\s+(?:is|are|will\s+be)\s+(?:fine|ok|accepted|valid)|\balso\s+(?:a\s+)?(?:valid|correct|accepted)\b",
    re.IGNORECASE,
)
IN_PLACE = re.compile(r"\b(?:not|n['’]t)\s+return\s+anything\b|\bin[- ]place\b", re.IGNORECASE)
# Lines around one may also speak of the task: only what is plain counts there.
_WRONG_ABOVE = re.compile(
    r"\b(?:(?:i|we)\s+(?:get|got|see)|currently|at\s+the\s+moment|bugs?|buggy"
    r"|(?:wrong|incorrect|actual|current)\s+(?:result|output|answer|value|behaviou?r)s?"
    r"|(?:is|are|goes|seems|looks)\s+(?:wrong|incorrect|broken))\b|\A\W*why\b|错误|錯誤|目前",
    re.IGNORECASE,
)
_WRONG_BELOW = re.compile(
    r"\A\W*(?:expected|instead\s+of|rather\s+than|wrong|incorrect|but\s+(?:i|we|it|that|this|the))\b"
    r"|\b(?:(?:is|are|seems|looks)\s+(?:wrong|incorrect|a\s+bug)|(?:i|we)\s+expect\w*)\b"
    r"|错误|錯誤|应该是|應該是|而不是"
    r"|\b(?:it|this|that|which|but|answer|result|output)\s+(?:should|must)\s+(?:be|return|give|print"
    r"|have\s+\w+)\s+[`*]*(?:[-\d\"'\[({]|(?:true|false|none)\b)",
    re.IGNORECASE,
)
_NO_WORDS = re.compile(r"[\s>`~]*(?:python3?|py|text)?\s*\Z")


def words_say_wrong(before: str, behind: str) -> bool:
    """Whether the words around an example say that the result is not the right one."""
    return bool(
        _UNWANTED_BEFORE.search(before[-_CONTEXT:]) or _UNWANTED_BEHIND.search(behind[:_CONTEXT])
    )


def lines_say_wrong(lines: Sequence[str], first: int, end: int, function: str) -> bool:
    """
    Whether the words above the lines from *first* to *end*, or those below, say so; a line with
    another call of *function* speaks of that.
    """
    around = (reversed(lines[:first][-3:]), lines[end : end + 3])
    above, below = (next((one for one in some if not _NO_WORDS.match(one)), "") for some in around)
    return any(
        f"{function}(" not in line and bool(words.search(line[:_CONTEXT]))
        for line, words in ((above, _WRONG_ABOVE), (below, _WRONG_BELOW))
    )
