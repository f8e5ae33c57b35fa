"""Python source is read the same, however many threads read some at once."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mixtura.programs.python_syntax import parse_python

SOURCE = "\n".join(
    f"def f{n}(a, b=[1, 2, {{'x': (1, 2)}}]):\n    return [a + b * {n} for _ in range(3) if not a]"
    for n in range(20)
)


class _Loop:
    """Garbage whose end takes long enough for another thread to run."""

    def __init__(self):
        self.me = self

    def __del__(self):
        for _ in range(50):
            pass


@pytest.fixture
def eager():
    """Threads that take turns often, and a garbage collector that runs often."""
    often, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50, 2, 2)
    yield
    sys.setswitchinterval(often)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("eager")
def test_threads_that_parse_at_once_with_garbage_between_do_not_disturb_each_other():
    def parse_some():
        for _ in range(40):
            for _ in range(30):
                _Loop()
            parse_python(SOURCE)

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(parse_some) for _ in range(6)]:
            done.result()
