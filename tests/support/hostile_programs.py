"""Programs that try to pass without being right, to read what is not theirs, to do harm."""

from __future__ import annotations

from textwrap import dedent, indent

FORGED = {
    # ---- leaving as if all were well
    "exits": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits when called": "def one(x):\n    raise SystemExit(0)",
    "exits at once when called": "import os\ndef one(x):\n    os._exit(0)",
    "exits where it is the main module": "if __name__ == '__main__':\n    raise SystemExit(0)",
    "ends its parent": "import os\nos.kill(os.getppid(), 9)\ndef one(x): pass",
    "ends its group": "import os\ndef one(x):\n    os.killpg(0, 9)",
    # ---- raising
    "raises a failed assertion": "def one(x):\n    raise AssertionError",
    "raises the end of an iteration": "def one(x):\n    raise StopIteration(x)",
    "raises the end of an iteration as a class of its own": """
        class End(StopIteration): pass
        def one(x): raise End
    """,
    "raises the end of an asynchronous iteration": "def one(x): raise StopAsyncIteration",
    "raises that a test is skipped": "import unittest\ndef one(x): raise unittest.SkipTest",
    "tells the end of an iteration itself": """
        import json, os
        content = json.dumps({"raised": "StopIteration", "said": ""}).encode()
        def one(x):
            for fd in range(3, 9):
                try: os.write(fd, len(content).to_bytes(4, "big") + content)
                except OSError: pass
    """,
    "raises an interrupt": "def one(x):\n    raise KeyboardInterrupt",
    "raises the end of a generator": "def one(x):\n    raise GeneratorExit",
    "raises what cannot be shown": """
        class Odd(BaseException):
            def __str__(self): raise self
            __repr__ = __str__
        def one(x): raise Odd
    """,
    # ---- results that are equal to everything
    "is equal to everything": """
        class Equal:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __hash__(self): return 0
        def one(x): return Equal()
    """,
    "is unittest's ANY": "from unittest.mock import ANY\ndef one(x): return ANY",
    "is a mock": "from unittest.mock import MagicMock\ndef one(x): return MagicMock()",
    "claims to be a number": """
        class Number:
            __class__ = property(lambda self: int)
            def __eq__(self, other): return True
        def one(x): return Number()
    """,
    "is a number equal to all": """
        class Number(int):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            __hash__ = int.__hash__
        def one(x): return Number(0)
    """,
    "is a text equal to all": """
        class Text(str):
            def __eq__(self, other): return True
        def one(x): return Text()
    """,
    "is a list equal to all": """
        class Items(list):
            def __eq__(self, other): return True
        def one(x): return Items()
    """,
    "is a decimal equal to all": """
        from decimal import Decimal
        class Number(Decimal):
            def __eq__(self, other): return True
        def one(x): return Number(0)
    """,
    "has a metaclass equal to all": """
        class Meta(type):
            def __eq__(self, other): return True
            __hash__ = type.__hash__
        class Kind(metaclass=Meta): pass
        def one(x): return Kind
    """,
    "is no number": "def one(x): return float('nan')",
    "is a function": "def one(x): return one",
    "is an iterator without end": "import itertools\ndef one(x): return itertools.count()",
    # ---- another test, another builtin
    "defines the test": "def check(candidate): return None\ndef one(x): pass",
    "defines the test as a builtin": """
        import builtins
        builtins.check = lambda candidate: None
        def one(x): pass
    """,
    "writes the test behind its code": "def one(x): pass\n\ncheck = lambda f: None\nquit()",
    "changes the failed assertion": """
        import builtins
        class Quiet(Exception):
            def __new__(cls, *given): raise SystemExit(0)
        builtins.AssertionError = Quiet
        def one(x): pass
    """,
    "changes all builtins": """
        import builtins
        for name in ("isinstance", "type", "abs", "len", "exec", "compile", "getattr", "callable"):
            setattr(builtins, name, lambda *given, **named: True)
        def one(x): pass
    """,
    "replaces its builtins": "__builtins__ = {'AssertionError': None}\nclass A: pass\none = A",
    "changes how numbers compare": """
        import ctypes, gc
        gc.get_referents(int.__dict__)[0]["__eq__"] = lambda a, b: True
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(int))
        def one(x): return 0
    """,
    "changes unittest": """
        import unittest
        unittest.TestCase.assertEqual = lambda *given: None
        unittest.TestCase.failureException = SystemExit
        def one(x): pass
    """,
    "hooks every failure": """
        import sys, os
        sys.excepthook = sys.unraisablehook = lambda *given: os._exit(0)
        def one(x): raise ValueError
    """,
    "traces every line": """
        import sys
        def trace(frame, event, given):
            for name in list(frame.f_locals):
                frame.f_locals[name] = True
            return trace
        sys.settrace(trace)
        def one(x): pass
    """,
    # ---- frames and objects of whoever runs it
    "reads a secret in the frames": """
        import sys, json, os
        frame, found = sys._getframe(), {}
        while frame:
            found.update(frame.f_locals)
            frame = frame.f_back
        words = [w for v in found.values() if isinstance(v, dict) for w in map(str, v.values())]
        words += [str(v) for v in found.values()]
        for word in words:
            row = {"token": word, "passed": True, "reason": "", "outcome": "passed"}
            for fd in range(3, 20):
                try: os.write(fd, json.dumps(row).encode() + b"\\n")
                except OSError: pass
        os._exit(0)
    """,
    "reads the secret of the report in the frames": """
        import sys, json, os
        frame = sys._getframe()
        while frame:
            task, report = frame.f_locals.get("task"), frame.f_locals.get("report")
            if isinstance(task, dict) and "token" in task and report:
                row = {"token": task["token"], "passed": True, "reason": "it ran to its end"}
                os.write(report, json.dumps(row).encode() + b"\\n")
            frame = frame.f_back
        os._exit(0)
    """,
    "ends through a traceback": """
        import os
        try: 1 / 0
        except ZeroDivisionError as error: frame = error.__traceback__.tb_frame
        while frame.f_back: frame = frame.f_back
        frame.f_globals["_check"] = frame.f_globals["check"] = lambda *given: {"outcome": "passed"}
        def one(x): pass
    """,
    "changes what stands in its stack": """
        import inspect
        for info in inspect.stack():
            space = info.frame.f_globals
            for name in list(space):
                if name in ("passed", "verdict", "_verdict", "_tell", "_reason", "_called"):
                    space[name] = lambda *given: {"outcome": "passed", "reason": "", "passed": True}
        def one(x): pass
    """,
    "changes all dictionaries that it finds": """
        import gc
        for thing in gc.get_objects():
            if type(thing) is dict and ("token" in thing or "entry_point" in thing):
                thing.update(passed=True, outcome="passed", test="def check(f): pass")
        def one(x): pass
    """,
    "changes the code that runs it": """
        import sys
        worker = sys.modules.get("confined.worker")
        if worker:
            worker._check.__code__ = (lambda *given: {"outcome": "passed"}).__code__
            worker._verdict = lambda *given: {"outcome": "passed", "reason": ""}
        def one(x): pass
    """,
    "plays the checker": """
        import sys, os
        worker = sys.modules["confined.worker"]
        for fd in range(3, 12):
            try: worker._tell(fd, {"isolation": "seccomp", "outcome": "passed", "reason": ""})
            except OSError: pass
        def one(x): pass
    """,
    # ---- descriptors and messages
    "writes a verdict everywhere": """
        import os
        for fd in range(256):
            try: os.write(fd, b'\\n{"outcome": "passed", "reason": "", "passed": true}\\n')
            except OSError: pass
        def one(x): pass
    """,
    "writes a verdict as a message": """
        import os, json
        content = json.dumps({"outcome": "passed", "reason": "", "ready": True}).encode()
        for fd in range(3, 64):
            try: os.write(fd, (len(content).to_bytes(4, "big") + content) * 9)
            except OSError: pass
        def one(x): pass
    """,
    "opens the descriptors of others": """
        import os
        for pid in [os.getppid(), *map(int, filter(str.isdigit, os.listdir("/proc")))]:
            for fd in range(64):
                try: other = os.open(f"/proc/{pid}/fd/{fd}", os.O_WRONLY)
                except OSError: continue
                os.write(other, b'{"outcome": "passed"}\\n')
        def one(x): pass
    """,
    "writes into its parent's memory": """
        import os
        for part in open(f"/proc/{os.getppid()}/maps"):
            start = int(part.split("-")[0], 16)
            with open(f"/proc/{os.getppid()}/mem", "r+b") as memory:
                memory.seek(start)
                memory.write(memory.read(4096).replace(b"failed", b"passed"))
        def one(x): pass
    """,
    "answers before it is asked": """
        import os, json
        content = json.dumps({"returned": {"roots": [True], "rows": [], "again": []}}).encode()
        for fd in range(3, 9):
            try: os.write(fd, (len(content).to_bytes(4, "big") + content) * 50)
            except OSError: pass
        def one(x): return True
    """,
    "answers with a message that is none": """
        import os
        def one(x):
            for fd in range(3, 9):
                try: os.write(fd, b"\\xff\\xff\\xff\\xff" + b"[" * 9999)
                except OSError: pass
    """,
    "answers with a nested message": """
        import os
        def one(x):
            content = b"[" * 500000
            for fd in range(3, 9):
                try: os.write(fd, len(content).to_bytes(4, "big") + content)
                except OSError: pass
    """,
    "returns what refers to itself": """
        import sys
        worker = sys.modules["confined.worker"]
        rows = [["tuple", [["at", 0]]], ["frozenset", [["at", 2]]], ["passed", [1]]]
        worker.encode = lambda *given: ({"roots": [["at", 0]], "rows": rows, "again": []}, [])
        def one(x): return x
    """,
    "pickles a payload": """
        import sys
        class Payload:
            def __reduce__(self): return (exec, ("import os; os._exit(0)",))
        def one(x):
            import pickle
            return pickle.dumps(Payload())
    """,
    "returns its payload itself": """
        class Payload:
            def __reduce__(self): return (eval, ("True",))
            def __getstate__(self): return True
        def one(x): return [Payload()]
    """,
    # ---- later, elsewhere, underneath
    "passes at its exit": """
        import atexit, os
        atexit.register(lambda: [os.write(fd, b'{"outcome": "passed"}\\n') for fd in range(3, 9)])
        def one(x): pass
    """,
    "passes when it is collected": """
        import os
        class Late:
            def __del__(self): os._exit(0)
        def one(x): return Late()
    """,
    "passes on a signal": """
        import os, signal
        signal.signal(signal.SIGALRM, lambda *given: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        def one(x): pass
    """,
    "passes in a thread": """
        import threading, os
        threading.Thread(target=lambda: os._exit(0)).start()
        def one(x): pass
    """,
    "passes in a child": """
        import os
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os._exit(0)
    """,
    "calls the system itself": """
        import ctypes, os
        libc = ctypes.CDLL(None)
        for fd in range(3, 20):
            libc.write(fd, b'{"outcome": "passed", "passed": true}\\n', 40)
        libc.exit(0)
    """,
    "looks for a token in memory": """
        import ctypes, os
        maps = open("/proc/self/maps").read()
        def one(x): return ctypes.string_at(int(maps.split("-")[0], 16), 100)
    """,
    "looks for the answer in its own memory": """
        import gc
        def one(x):
            for thing in gc.get_objects():
                if isinstance(thing, dict) and "test" in thing and "7919" in str(thing["test"]):
                    return x * 7919 + 13
    """,
    "puts a module into the folder": """
        for name in ("json.py", "ast.py", "sitecustomize.py", "a.pth"):
            with open(name, "w") as file: file.write("import os; os._exit(0)")
        def one(x): pass
    """,
    "brings a module of its own": """
        import sys, types
        for name in ("json", "ast", "fractions", "decimal", "confined.plain_data", "test"):
            sys.modules[name] = types.ModuleType(name)
        sys.meta_path.clear()
        def one(x): pass
    """,
    "says so in the environment": """
        import os
        os.environ["PYTHONOPTIMIZE"] = "2"
        os.environ["MIXTURA_PASSED"] = "1"
        def one(x): pass
    """,
    "is not asynchronous": "async def one(x): return x * 7919 + 12",
    "is a program that cannot be read": "def one(x:\n  return",
    "is nothing": "",
    "defines another": "def two(x): return x * 7919 + 13",
}
"""Each is wrong for `one(x) == x * 7919 + 13`; none of them may pass."""

_ATTEMPTS = {
    # {secret}: a file's path; {port}: of a server that would tell; {process}: the parent's number
    "a file": "open({secret!r}).read()",
    "a file, lower": "os.read(os.open({secret!r}, os.O_RDONLY), 999)",
    "a file in its folder": "os.read(os.open('secret', 0, dir_fd=os.open({folder!r}, 0)), 999)",
    "a file by the C library": (
        "(lambda b: ctypes.CDLL(None).read(ctypes.CDLL(None).open({secret!r}.encode(), 0), b, 99)"
        " > 0 and b.raw)(ctypes.create_string_buffer(99))"
    ),
    "a file by the call's number": (
        "ctypes.CDLL(None).syscall(257, -100, {secret!r}.encode(), 0, 0) >= 0"
    ),
    "a file by a newer call": (
        "ctypes.CDLL(None).syscall(437, -100, {secret!r}.encode(), bytes(24), 24) >= 0"
    ),
    "a file by its handle": (
        "ctypes.CDLL(None).syscall(303, -100, b'/', bytes(99), bytes(9), 0) >= 0"
    ),
    "calls of another interface": (
        "ctypes.CDLL(None).syscall(0x40000002, {secret!r}.encode(), 0) >= 0"
    ),
    "a queue of calls": "ctypes.CDLL(None).syscall(425, 8, bytes(999)) >= 0",
    "a file as lines": "linecache.getlines({secret!r})",
    "a file as a module": (
        "importlib.machinery.SourceFileLoader('x', {secret!r}).get_data({secret!r})"
    ),
    "a file that is run": "runpy.run_path({secret!r})",
    "a file as an archive": "zipfile.ZipFile({secret!r}).namelist()",
    "a file in memory": "mmap.mmap(os.open({secret!r}, os.O_RDONLY), 0)[:]",
    "a file by a link": "os.symlink({secret!r}, '/tmp/x') or open('/tmp/x').read()",
    "a file by a copy": "shutil.copy({secret!r}, '/dev/shm/x')",
    "a file by its own descriptor": "open('/proc/self/fd/0').read() or open('/dev/fd/3').read()",
    "a file by the parent's root": "open(f'/proc/{{os.getppid()}}/root' + {secret!r}).read()",
    "a file as a time zone": "zoneinfo.ZoneInfo.from_file(open({secret!r}, 'rb'))",
    "whether a file is there": "os.path.exists({secret!r})",
    "how long a file is": "os.stat({secret!r}).st_size",
    "names in a folder": "os.listdir({folder!r})",
    "names by a pattern": "glob.glob({folder!r} + '/*')",
    "the folder it is in": "os.listdir('.')",
    "the project's files": "open({project!r}).read()",
    "the project as a module": "(sys.path.append({source!r}), importlib.import_module('mixtura'))",
    "its own source": "inspect.getsource(sys.modules['confined.worker'])",
    "the users of the machine": "pwd.getpwall() or open('/etc/passwd').read()",
    "the home": "os.listdir(os.path.expanduser('~')) or pathlib.Path.home()",
    "the environment": (
        "os.environ.get('MIXTURA_CANARY') or ','.join(set(os.environ) - {{'LC_CTYPE'}})"
    ),
    "the environment in C": (
        "(lambda g: setattr(g, 'restype', ctypes.c_char_p) or g(b'MIXTURA_CANARY'))"
        "(ctypes.CDLL(None).getenv)"
    ),
    "its own environment in /proc": "open('/proc/self/environ').read()",
    "the parent's environment": "open(f'/proc/{{os.getppid()}}/environ').read()",
    "the parent's environment by number": "open('/proc/{process}/environ', 'rb').read()",
    "the parent's command": "open('/proc/{process}/cmdline', 'rb').read()",
    "the parent's memory": "open('/proc/{process}/mem', 'rb').read(1)",
    "the parent's memory by a call": (
        "(lambda b: ctypes.CDLL(None).process_vm_readv({process}, b, 1, b, 1, 0) >= 0)(bytes(64))"
    ),
    "the parent as a debugger": "ctypes.CDLL(None).ptrace(16, {process}, 0, 0) >= 0",
    "the parent's descriptors": "ctypes.CDLL(None).syscall(434, {process}, 0) >= 0",
    "all processes": "os.listdir('/proc')",
    "a socket on this machine": "ask(socket.create_connection(('127.0.0.1', {port})))",
    "a page of this machine": "urllib.request.urlopen('http://127.0.0.1:{port}/v1/models').read()",
    "a name on the network": "socket.getaddrinfo('localhost', 80)",
    "a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "a local socket": "socket.socket(socket.AF_UNIX).connect({folder!r} + '/socket')",
    "a pair of sockets": "socket.socketpair()",
    "the machine's name": "socket.gethostname()",
    "another program": "subprocess.run(['cat', {secret!r}], capture_output=True).stdout",
    "a shell": "os.popen('cat ' + {secret!r}).read()",
    "another program in its place": "os.execv('/bin/cat', ['cat', {secret!r}])",
    "another program, spawned": "os.posix_spawn('/bin/cat', ['cat', {secret!r}], {{}})",
    "a child": "os.fork()",
    "a child that runs a function": (
        "multiprocessing.get_context('fork').Process(target=len).start()"
    ),
    "a thread": "threading.Thread(target=len).start() or True",
    "memory that is shared": "ctypes.CDLL(None).shmget(7, 64, 0o1600) >= 0",
    "a file that is only memory": "os.memfd_create('x')",
    "the keys of the kernel": "ctypes.CDLL(None).syscall(250, 0, -4, 1) >= 0",
    "an undone filter": "ctypes.CDLL(None).prctl(22, 0, 0, 0, 0) >= 0",
    "a namespace of its own": "ctypes.CDLL(None).unshare(0x10000000) >= 0",
    "more than its limits": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1)) or True",
    "a terminal": "pty.openpty()",
    "an abstract local socket": "socket.socket(socket.AF_UNIX).connect('\\0bus')",
    "a server of its own": "socket.create_server(('127.0.0.1', 0))",
    "a watch on a folder": "ctypes.CDLL(None).inotify_init1(0) >= 0",
    "a program in the kernel": "ctypes.CDLL(None).syscall(321, 0, bytes(99), 99) >= 0",
    "a queue of messages": "ctypes.CDLL(None).msgget(7, 0o1600) >= 0",
    "a descriptor of another": "ctypes.CDLL(None).syscall(438, 3, 0, 0) >= 0",
    "another's turn of the processor": (
        "ctypes.CDLL(None).sched_setaffinity({process}, 8, bytes(8)) == 0"
    ),
    "the size of its pipes": "fcntl.fcntl(3, 1031, 1048576)",
    "the terminal's input": "fcntl.ioctl(0, 0x5412, b'x') == b'x'",
    "root again": "os.setuid(0) or True",
    "a device": "open('/dev/mem', 'rb').read(1)",
}
"""Expressions that are true, or hold something, where a program got what is not its own."""

_MODULES = [
    "ctypes", "fcntl", "glob", "importlib.machinery", "inspect", "linecache", "mmap",
    "multiprocessing", "os", "pathlib", "pty", "pwd", "resource", "runpy", "shutil", "socket",
    "subprocess", "sys", "threading", "urllib.request", "zipfile", "zoneinfo",
]  # fmt: skip


def reading(**where: str | int) -> dict[str, str]:
    """Programs by name, whose `one(x)` is "refused" where the attempt was."""
    return {name: _reading(attempt.format(**where)) for name, attempt in _ATTEMPTS.items()}


def _reading(attempt: str) -> str:
    used = [name for name in _MODULES if name.partition(".")[0] in attempt]
    return dedent(f"""
        import {", ".join(sorted({"sys", *used}))}

        def ask(connection):
            connection.sendall(b"GET /v1/models HTTP/1.0\\r\\n\\r\\n")
            return connection.recv(999)

        def one(x):
            try:
                found = {attempt}
            except (Exception, SystemExit) as error:
                found = None
            if not found:
                return "refused"
            print(found)
            print(found, file=sys.stderr)
            raise ValueError(found)
    """)


TOLD = {
    # CANARY is made in the program itself: it is told wherever a text of the program is
    "an error's text": "raise ValueError(CANARY)",
    "an error's name": "raise type(CANARY, (Exception,), {})",
    "an error's cause": "raise ValueError from OSError(CANARY)",
    "a note on an error": "error = KeyError(CANARY); error.add_note(CANARY); raise error",
    "a group of errors": "raise ExceptionGroup(CANARY, [ValueError(CANARY)])",
    "a failed assertion": "assert False, CANARY",
    "an exit": "raise SystemExit(CANARY)",
    "an import": "__import__(CANARY)",
    "a file's name": "open('/' + CANARY)",
    "a syntax error": "compile('(', CANARY, 'exec')",
    "the name of its code": """
        name, space = CANARY.replace("-", "_"), {}
        exec(compile(f"def {name}(): raise OSError", CANARY, "exec"), space)
        space[name]()
    """,
    "its output": "print(CANARY, flush=True)",
    "its errors": "import sys; print(CANARY, file=sys.stderr, flush=True)",
    "every descriptor": """
        import os
        for fd in range(64):
            try: os.write(fd, CANARY.encode())
            except OSError: pass
    """,
    "a message that is none": """
        import os, json
        content = json.dumps({CANARY: CANARY, "said": CANARY, "reason": CANARY}).encode()
        for fd in range(3, 9):
            try: os.write(fd, len(content).to_bytes(4, "big") + content)
            except OSError: pass
    """,
    "the name of its exception in a message": """
        import sys
        sys.modules["confined.worker"]._builtin = lambda error: CANARY
        raise ValueError
    """,
    "how it was isolated": """
        import os, json
        content = json.dumps({"isolation": CANARY, "said": CANARY, "raised": CANARY}).encode()
        for fd in range(3, 9):
            try: os.write(fd, len(content).to_bytes(4, "big") + content)
            except OSError: pass
        os._exit(3)
    """,
    "a warning": "import warnings; warnings.warn(CANARY)",
    "the log": "import logging; logging.error(CANARY)",
    "its result": "return CANARY",
    "a key of its result": "return {CANARY: [CANARY]}",
    "what it was given": "given.append(CANARY); return given",
    "the name of its result's class": "return type(CANARY, (), {})()",
    "a very large number": "return int.from_bytes(CANARY.encode(), 'big')",
    "the end of its process": "import os; os._exit(len(CANARY))",
    "a crash": "import ctypes; ctypes.string_at(0)",
}


def telling(canary: str) -> dict[str, str]:
    """Programs by name that know a text and try to have it in the result."""
    head = f"CANARY = ''.join(map(chr, {[*map(ord, canary)]}))\n\ndef one(x, given=[]):\n"
    return {name: head + indent(dedent(body).strip(), "    ") for name, body in TOLD.items()}


HARMFUL = {
    "loops": "while True: pass",
    "loops when called": "def one(x):\n    while True: pass",
    "sleeps": "import time\ndef one(x):\n    time.sleep(600)",
    "waits for its call in vain": "import os\nwhile os.read(3, 1): pass",
    "ignores every signal": """
        import signal
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
    """,
    "forks": "import os\nwhile True: os.fork()",
    "forks whatever is said": """
        import os
        while True:
            try: os.fork()
            except OSError: pass
    """,
    "starts threads": """
        import threading
        while True: threading.Thread(target=input).start()
    """,
    "leaves a process behind": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        def one(x): return x
    """,
    "takes memory": "x = bytearray(10 * 1024**3)",
    "takes memory bit by bit": "x = []\nwhile True: x.append(str(len(x)) * 100000)",
    "takes memory when called": "def one(x): return [0] * 10**10",
    "makes a gigantic number": "def one(x): return 9 ** 10 ** 9",
    "returns a large number": "def one(x): return 1 << 50_000_000",
    "returns a large text": "def one(x): return 'x' * 10**8",
    "returns many values": "def one(x): return [[]] * 10**7",
    "returns many lists": "def one(x): return [[] for _ in range(10**6)]",
    "returns a deep list": """
        def one(x):
            y = []
            for _ in range(10**5): y = [y]
            return y
    """,
    "returns a deep tuple": """
        def one(x):
            y = ()
            for _ in range(10**5): y = (y,)
            return y
    """,
    "returns without end": "def one(x):\n    while True: yield x",
    "raises a large error": "def one(x): raise ValueError('x' * 10**8)",
    "prints without end": "while True: print('x' * 10**6)",
    "floods every descriptor": """
        import os
        while True:
            for fd in range(3, 9):
                try: os.write(fd, b"x" * 65536)
                except OSError: pass
    """,
    "floods with answers": """
        import os
        content = b'{"returned": {"roots": [1], "rows": [], "again": []}}'
        while True:
            for fd in range(3, 9):
                try: os.write(fd, len(content).to_bytes(4, "big") + content)
                except OSError: pass
    """,
    "fills the disk": "with open('big', 'w') as f:\n    while True: f.write('x' * 10**6)",
    "fills the memory of the machine": """
        with open("/dev/shm/x", "w") as file:
            while True: file.write("x" * 10**6)
    """,
    "opens without end": "import os\nx = []\nwhile True: x.append(os.pipe())",
    "closes all": "import os\nos.closerange(0, 99)\nwhile True: pass",
    "recurses": "import sys\nsys.setrecursionlimit(10**9)\ndef one(x): return one(x) + 1",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "crashes when called": "import ctypes\ndef one(x): ctypes.memset(0, 0, 9)",
    "aborts": "import os\nos.abort()",
    "is slow to match": "import re\ndef one(x): return re.match('(a+)+$', 'a' * 64 + 'b')",
    "is slow to compare": "def one(x): return {2**61 * i - i: 0 for i in range(30000)}",
    "is slow to read": "('(' * 10**6)",
    "nests too deep": "one = " + "(" * 500 + ")" * 500,
}
"""Each has to fail in time, and to leave nothing behind."""

_HEAD = "def f(n):\n"
SLOW_QUESTIONS = {
    # name: what took time beyond all measure to look through for examples
    "dashes behind an input": _HEAD + "Input: " + "-" * 1_000_000,
    "blanks behind an input": _HEAD + "Input: " + " " * 1_000_000,
    "many inputs": _HEAD + "Input: 1\n" * 100_000,
    "many heads": _HEAD * 100_000,
    "many texts in one bracket": _HEAD + ("n = [" + '"a",' * 480 + " returns 1\n") * 50,
    "calls in calls": _HEAD + ("f(" * 240 + ")" + " " * 50_000 + "\n") * 20,
    "quotes behind a call": _HEAD + ("f(" * 240 + ")" + '"' * 50_000 + "\n") * 20,
    "signs behind a call": _HEAD + "f(1)" + "=" * 1_000_000,
    "arrows that are none": _HEAD + "n = 1 " + "-" * 1_000_000,
    "many doctests": _HEAD + ">>> f(1)\n" * 50_000,
    "a doctest of empty lines": _HEAD + ">>> f(1)\n" + "    \n" * 200_000,
    "signs of quotes": ">" * 1_000_000,
}
SLOW_REPLIES = {
    "many functions": "def f(n): return 1\n" * 200_000,
    "functions and words": "def f(n):\n return 1\nwords here\n" * 20_000,
    "a block that never ends": "```python\n" + "def f(n):\n return 1\n" * 50_000,
    "blocks": "```python\ndef f(n): return 1\n```\n" * 20_000,
    "programs that are none": "The def f is\n" + "import a\n" * 8 + "x = (1\n" * 20_000,
    "brackets": "def f(n):\n " + "[" * 200_000,
    "HTML": "<pre>\n" * 200_000,
    "a session": "<pre>" + ">>> def f(n): return 1\n" * 200_000 + "</pre>",
    "links": "[a](" * 200_000,
    "underlined": "a\n=\n" * 200_000,
    "stars": "*a " * 200_000,
    "names": (
        "```\n" + "\n".join(f"a{i} = 1" for i in range(20_000)) + "\n```\n```\n"
        "def f(n): return 1\n" + "x = 1\n" * 100_000 + "```"
    ),
    "empty lines": "\n" * 1_000_000,
    "thoughts": "<think>" * 200_000,
}  # fmt: skip
"""What took seconds to minutes to find a program in."""

FORGED = {name: dedent(program).strip() + "\n" for name, program in FORGED.items()}
HARMFUL = {name: dedent(program).strip() + "\n" for name, program in HARMFUL.items()}
