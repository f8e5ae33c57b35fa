"""The sandbox as a library: who gives the verdict, what crosses, and what stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict, deque, namedtuple
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.programs.confined.plain_data import PlainDataError, decode, encode
from mixtura.programs.sandbox import SandboxError, SandboxLimits, check_program
from tests.support.hostile_programs import FORGED, HARMFUL
from tests.support.paths import ROOT

SOURCE = ROOT / "src"
LINUX = sys.platform == "linux"
QUICK = SandboxLimits(seconds=1, wall_seconds=2, memory=256 * 1024**2)
SEVEN = "def check(candidate):\n    assert candidate(3) == 7\n"


def outcome_of(program, test=SEVEN, **how):
    return check_program(program, test, "one", **how)


# ---- who gives the verdict


def test_the_verdict_says_which_test_failed_and_nothing_that_the_program_says():
    assert outcome_of("def one(x): return x + 4").passed
    wrong = outcome_of("def one(x): return 'secret'")
    assert (wrong.passed, wrong.reason) == (False, "a test failed: assert candidate(3) == 7")
    raised = outcome_of("def one(x): raise type('Secret', (OSError,), {})('secret')")
    assert raised.reason == "it raised OSError in: assert candidate(3) == 7"
    assert outcome_of("def (").reason == "it raised SyntaxError before any test"
    assert outcome_of("def two(x): return 7").reason == "it does not define the function"


def test_a_program_never_sees_its_test():
    looks = (
        "import gc, sys\ndef one(x):\n"
        "    seen = [str(t) for t in gc.get_objects() if type(t) in (dict, list, tuple)]\n"
        "    return any(''.join(['4'] * 9) in text for text in seen)\n"
    )
    assert outcome_of(
        looks, f"def check(candidate):\n    assert candidate(1) is False\n    {'4' * 9}\n"
    ).passed


def test_a_test_that_catches_everything_passes_no_program_that_is_gone():
    catches = (
        "def check(candidate):\n    for _ in range(3):\n        try:\n            candidate(3)\n"
        "        except:\n            pass\n"
    )
    assert outcome_of("def one(x): raise ValueError", catches).passed
    for program in (
        "import os\ndef one(x): os._exit(0)", "def one(x): return object()", "raise SystemExit",
    ):  # fmt: skip
        assert not outcome_of(program, catches).passed


LOOKS_IN_ORDER = {
    # ways of a test to go through its examples
    "a map": "all(map(lambda x: f(x) == x * 7919 + 13, range(4)))",
    "pairs": "not [1 for a, x in zip(map(f, range(4)), [13, 7932, 15851, 23770]) if a != x]",
    "a search": "not any(map(lambda x: f(x) != x * 7919 + 13, range(4)))",
    "a filter": "not list(filter(lambda x: f(x) != x * 7919 + 13, range(4)))",
    "a generator": "all(f(x) == x * 7919 + 13 for x in range(4))",
}


@pytest.mark.parametrize("way", LOOKS_IN_ORDER)
def test_no_program_ends_the_examples_before_they_are_looked_at(way):
    """`map` and `zip` take StopIteration for their end: with it a program passed."""
    test = f"def check(f):\n    assert {LOOKS_IN_ORDER[way]}\n"
    ends = {name: text for name, text in FORGED.items() if name.startswith(("raises", "tells"))}
    passed = [name for name, text in ends.items() if outcome_of(text, test, limits=QUICK).passed]

    assert outcome_of("def one(x): return x * 7919 + 13", test).passed
    assert passed == []


def test_a_test_that_is_none_says_nothing_of_the_program():
    honest = "def one(x): return 7"
    for test, why in {
        "def check(": "SyntaxError", "import no_such_module": "ModuleNotFoundError",
        "x = 1": "defines no check", "def check(f):\n    f(print)": "no plain data",
    }.items():  # fmt: skip
        with pytest.raises(SandboxError, match=f"the test cannot be used: .*{why}"):
            outcome_of(honest, test)


# ---- what a program does as it would elsewhere

SAME = {
    "it is no main module": ("def one(x): return __name__ == '__main__'", "is False"),
    "future imports come first": (
        "from __future__ import annotations\ndef one(x: Unknown): return x", "== 3",
    ),
    "a data class finds its module": (
        (
            "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\n"
            "class A:\n    x: int\ndef one(x): return A(x).x"
        ),
        "== 3",
    ),
    "helpers of the setup": ("def one(x): return helper(x)", "== helper(3)"),
    "types are exact": ("def one(x): return (1, [2.0], {3: {4}}, None, True, 'a', b'b', 2j)",
        "== (1, [2.0], {3: {4}}, None, True, 'a', b'b', 2j)"),
    "a tuple is no list": ("def one(x): return [1, 2]", "!= (1, 2)"),
    "a generator can be gone through": ("def one(x):\n    yield from range(x)", "is not None"),
    "large numbers": ("def one(x): return 7 ** 9999", "== 7 ** 9999"),
    "a caught error": ("def one(x): raise UnicodeDecodeError('a', b'', 0, 1, 'b')", "if 0 else 1"),
    "output": ("def one(x):\n    print('to', 'nowhere')\n    return x", "== 3"),
    "no input": ("def one(x):\n    try: return input()\n    except EOFError: return 3", "== 3"),
    "deep recursion": ("def one(x): return one(x - 1) if x > -900 else 3", "== 3"),
    "numbers at random": ("import random\ndef one(x): return random.randint(3, 3)", "== 3"),
    "sums of bytes": (
        "import hashlib\ndef one(x): return len(hashlib.md5(b'a').hexdigest())", "== 32",
    ),
}  # fmt: skip


def test_a_program_does_in_it_what_it_does_elsewhere():
    failed = {}
    for name, (program, expected) in SAME.items():
        if name == "a caught error":
            test = (
                "def check(candidate):\n    try:\n        candidate(3)\n"
                "    except ValueError:\n        return\n    assert False\n"
            )
        elif name == "a generator can be gone through":
            test = "def check(candidate):\n    assert list(candidate(3)) == [0, 1, 2]\n"
        else:
            test = f"def check(candidate):\n    assert candidate(3) {expected}\n"
        outcome = outcome_of(program, test, setup="def helper(x): return [x]")
        if not outcome.passed:
            failed[name] = outcome.reason

    assert failed == {}


def test_what_a_program_changes_in_its_arguments_is_seen_by_the_test():
    program = (
        "def one(x, *, by):\n    x.sort()\n    x[0].append(by)\n    by['n'] = {1}\n    return x"
    )
    test = (
        "def check(candidate):\n    inner, by = [1], {}\n    given = [[2], inner]\n"
        "    result = candidate(given, by=by)\n    assert result is given\n"
        "    assert given[0] is inner and inner[1] is by and by == {'n': {1}}\n"
    )
    assert outcome_of(program, test).passed


LIBRARY = (
    "abc argparse array ast asyncio base64 binascii bisect builtins bz2 calendar cmath codecs "
    "collections collections.abc concurrent.futures contextlib copy csv ctypes dataclasses "
    "datetime decimal difflib dis doctest email enum fractions functools gc glob graphlib gzip "
    "hashlib heapq hmac html inspect io ipaddress itertools json keyword linecache locale logging "
    "lzma math multiprocessing numbers operator os os.path pathlib pickle platform pprint queue "
    "random re secrets select shlex shutil signal socket stat statistics string struct subprocess "
    "sys tempfile textwrap threading time timeit token tokenize traceback types typing unicodedata "
    "unittest unittest.mock urllib.parse uuid warnings weakref xml.etree.ElementTree zipfile zlib "
    "zoneinfo"
)


def test_the_standard_library_can_be_imported():
    imports = "\n".join(f"import {name}" for name in LIBRARY.split())
    outcome = outcome_of(f"{imports}\ndef one(x): return 7")

    assert outcome.passed, outcome.reason


# ---- what it leaves behind


def left_behind():
    """Children and descriptors of this process, by which anything left would show."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    return sorted(" ".join(one.read_text() for one in children).split()), open_files


def list_shared_memory() -> set[Path]:
    """What is in shared memory, without that of the database servers of other tests."""
    found = Path("/dev/shm").glob("*")
    return {path for path in found if not path.name.startswith("PostgreSQL.")}


def test_a_program_that_does_harm_fails_in_time_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert outcome_of("def one(x): return 7").passed  # what is kept from here on is there now
    before, shared = left_behind() if LINUX else None, list_shared_memory()
    with ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(outcome_of, program, limits=QUICK)
            for name, program in HARMFUL.items()
        }
    outcomes = {name: future.result() for name, future in running.items()}

    assert [name for name, one in outcomes.items() if one.passed or not one.reason] == []
    assert "memory" in outcomes["takes memory"].reason or not LINUX
    assert outcomes["sleeps"].reason == "it was not done after 2 s"
    assert list(tmp_path.iterdir()) == []
    assert list_shared_memory() == shared
    assert not LINUX or left_behind() == before


def test_the_processor_time_is_limited_whatever_the_clock_says():
    outcome = outcome_of("while True: pass", limits=SandboxLimits(seconds=1, wall_seconds=300))

    assert outcome.reason == "it used more than 1 s of the processor"


@pytest.mark.skipif(not LINUX, reason="elsewhere a process does not end with its parent")
def test_a_killed_parent_leaves_no_program_behind():
    sleeps = "import time\nwhile True: time.sleep(600)"
    script = (
        "from mixtura.programs.sandbox import check_program\n"
        f"check_program({sleeps!r}, {SEVEN!r}, 'one')"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])

    def children():
        tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")
        return [int(pid) for one in tasks for pid in one.read_text().split()]

    def seccomp(pid):
        return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()

    wait_for(lambda: len(children()) == 2 and all(map(seccomp, children())))
    started = children()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(
        lambda: not any(Path(f"/proc/{pid}/cmdline").is_file() and running(pid) for pid in started)
    )


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.02)


# ---- where it cannot be


def test_where_no_process_starts_nothing_is_said_of_the_program(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(SandboxError, match="does not confine programs, so none was run"):
        outcome_of("def one(x): return 7")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "isolation._install_seccomp_filter = lambda: None",
            "a confined process can still open a file",
        ),
        ("os.uname = lambda: types.SimpleNamespace(machine='vax')", "call numbers on vax"),
        ("sys.platform = 'plan9'", "plan9 has nothing that confines a process"),
    ],
)
@pytest.mark.skipif(not LINUX, reason="the filter is Linux's")
def test_a_machine_whose_isolation_does_not_hold_runs_nothing(change, said):
    """Each in a process of its own: what is given up there does not come back."""
    script = (
        f"import os, sys, types\nfrom mixtura.programs.confined import isolation\n{change}\n"
        "try: isolation.isolate_process(9, 1 << 30, os.getppid())\n"
        "except isolation.IsolationError as error: print(error)\nelse: print('runs')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert said in ran.stdout, ran.stderr


@pytest.mark.skipif(not LINUX, reason="the users are Linux's")
def test_root_is_given_up():
    program = "import os\ndef one(x): return os.getuid(), os.geteuid(), os.getgid()"
    test = "def check(candidate):\n    assert 0 not in candidate(3)\n"

    assert outcome_of(program, test).passed


# ---- values on their way


class Level(IntEnum):
    HIGH = 3


Point = namedtuple("Point", "x y")

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
    | st.complex_numbers() | st.fractions() | st.decimals(allow_nan=False)
    | st.integers(2**60, 2**70)
)  # fmt: skip
hashed = st.recursive(
    scalars, lambda parts: st.tuples(parts, parts) | st.frozensets(parts, max_size=3), max_leaves=5
)
values = st.recursive(
    hashed,
    lambda parts: (
        st.lists(parts, max_size=4) | st.tuples(parts) | st.dictionaries(hashed, parts, max_size=4)
        | st.sets(hashed, max_size=3) | st.builds(bytearray, st.binary())
    ),
    max_leaves=12,
)  # fmt: skip


def there(value):
    """What comes of a value on the way over."""
    message, _ = encode([value])
    return decode(json.loads(json.dumps(message)))[0][0]


@given(values)
def test_plain_data_arrives_as_it_was_types_included(value):
    assert repr(sorted_sets(there(value))) == repr(sorted_sets(value))


def sorted_sets(value):
    """A value in which sets stand in an order, so that representations can be compared."""
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(map(repr, map(sorted_sets, value))))
    if isinstance(value, (list, tuple)):
        return type(value)(map(sorted_sets, value))
    if isinstance(value, dict):
        return [(sorted_sets(key), sorted_sets(one)) for key, one in value.items()]
    return value


def test_subclasses_arrive_as_what_they_are_made_of_and_objects_not_at_all():
    for value, arrives in (
        (Level.HIGH, 3), (Point(1, [2]), (1, [2])), (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}), (deque([1]), deque([1])), ({1: 2}.keys(), {1}),
        (range(1, 9, 2), range(1, 9, 2)), (Decimal("1.50"), Decimal("1.5")), (Fraction(1, 3),) * 2,
    ):  # fmt: skip
        assert there(value) == arrives
    assert list(there(map(abs, [-1, 2]))) == [1, 2]
    for value in (object(), len, int, [lambda: 1], {"a": object}, Exception("a"), Path("a")):
        with pytest.raises(PlainDataError):
            encode([value])


def test_one_object_stays_one_object_and_may_hold_itself():
    loop: list = [1]
    loop.append((loop, loop))
    arrived = there(loop)

    assert arrived[1][0] is arrived[1][1] is arrived


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["at", "tuple", "list", "dict", "set", "int", "range", "Fraction"]),
    lambda parts: st.lists(parts, max_size=5)
    | st.dictionaries(st.sampled_from(["roots", "rows", "again", "x"]), parts),
    max_leaves=20,
)  # fmt: skip
rows = st.lists(
    st.tuples(
        st.sampled_from(["tuple", "list", "dict", "set", "frozenset", "items", "bytearray", "x"]),
        st.lists(
            json_values | st.tuples(st.just("at"), st.integers(-3, 6)).map(list), max_size=4
        ),
    ).map(list),
    max_size=5,
)  # fmt: skip


@given(
    json_values
    | st.fixed_dictionaries({
        "roots": st.lists(json_values | st.tuples(st.just("at"), st.integers(-3, 6)).map(list)),
        "rows": rows,
        "again": st.lists(st.none() | rows.map(lambda some: some[0] if some else None), max_size=2),
    })
)  # fmt: skip
def test_a_message_that_describes_nothing_is_refused_and_changes_nothing(message):
    known: list[object] = [[1, 2], (3,)]
    try:
        decode(message, known)
    except PlainDataError:
        assert known == [[1, 2], (3,)]
