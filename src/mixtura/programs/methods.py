"""
Programs whose answer is a method, as sites of programming tasks ask for (`class Solution`), or has
to be awaited.
"""

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


# The sandbox has no sockets, which every loop of asyncio's own begins with.
_RUN_TO_END = """
def {name}(*arguments, _awaited={name}):
    import asyncio, time
    awaited = _awaited(*arguments)
    calls_itself = asyncio._get_running_loop() is not None
    if calls_itself or not hasattr(awaited, "__await__"):
        return awaited
    class Waiter:
        def select(self, timeout):
            time.sleep(timeout or 0)
            return ()
        def close(self):
            pass
    class Loop(asyncio.BaseEventLoop):
        def __init__(self):
            super().__init__()
            self._selector = Waiter()
        def _process_events(self, events):
            pass
    return Loop().run_until_complete(awaited)
"""


def call_as_function(program: str, name: str) -> str:
    """
    *program* with a function *name* that calls the method of that name on a new object of its
    class, and waits for what has to be awaited; the same program where *name* is a plain function
    at its top, or no class has such a method.
    """
    if not defines_name(program, name):
        if (owner := class_with_method(program, name)) is None:
            return program
        future = _FUTURE.match(program)
        first = future[0] if future else ""  # nothing else may stand before these
        called = f"\ndef {name}(*arguments):\n    return {owner}().{name}(*arguments)\n"
        program = f"{first}{_USUAL_IMPORTS}{program[len(first) :]}\n{called}"
    return f"{program}\n{_RUN_TO_END.format(name=name)}" if "async def" in program else program
