"""Programs whose answer is a method, as sites of programming tasks ask for: `class Solution`."""

from __future__ import annotations

import re

from mixtura.programs.code_blocks import class_with_method, defines_name

_FUTURE = re.compile(r"(?:from __future__ import [^\n]*+\n)*")
# What such sites import for every program. Annotations are not evaluated: they name classes of the
# site's own, too.
_USUAL_IMPORTS = """\
from __future__ import annotations
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string
from typing import *
from collections import *
from functools import *
"""


def call_as_function(program: str, name: str) -> str:
    """
    *program* with a function *name* that calls the method of that name on a new object of its
    class; the same program where *name* stands at its top, or no class has such a method.
    """
    if defines_name(program, name) or (owner := class_with_method(program, name)) is None:
        return program
    future = _FUTURE.match(program)
    first = future[0] if future else ""  # nothing else may stand before these
    called = f"\ndef {name}(*arguments):\n    return {owner}().{name}(*arguments)\n"
    return f"{first}{_USUAL_IMPORTS}{program[len(first) :]}\n{called}"
