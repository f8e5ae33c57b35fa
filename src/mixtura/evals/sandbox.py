"""Code that a model wrote, run where it can reach nothing: a child with limits, behind walls."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

Walls = Literal["namespaces", "seccomp", "audit"]
"""
What keeps a program in, the best that the machine has.

namespaces: Linux, with user namespaces: no network, no other process to be seen, every file
read-only but for a small folder in memory; besides, what "seccomp" forbids. seccomp: Linux
without them: the kernel refuses sockets, new processes, other programs and every write; Python
refuses to open /proc. audit: elsewhere, only Python itself refuses; good against accidents.
"""
MEGABYTE = 1024**2
ANSWER = 64 * 1024
"""Bytes of a child's report that are read."""
_AT_ONCE = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))


class SandboxError(RuntimeError):
    """This machine cannot hold a program: nothing was run, so nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take: processor and clock seconds, bytes of memory, bytes of a file."""

    seconds: float = 10.0
    patience: float = 30.0
    memory: int = 1024 * MEGABYTE
    file: int = 16 * MEGABYTE
    open_files: int = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the program ran to its end, and if not, why; *walls* says what held it."""

    passed: bool
    reason: str
    walls: Walls | None


def run(program: str, limits: Limits | None = None, *, at_best: Walls = "namespaces") -> Outcome:
    """
    Run a Python *program* to its end; an exception, a limit or a wall is its failure.

    It sees the standard library, an empty environment and nothing on its streams. *at_best*
    gives up the better walls, for trying the others. Takes its turn: as many at once as there
    are processors. Raises SandboxError when no wall stands: the program was not run.
    """
    limits = limits or Limits()
    lesser: tuple[Walls, ...] = ("seccomp",) if at_best == "namespaces" else ()
    reason = ""
    with _AT_ONCE, tempfile.TemporaryDirectory(prefix="mixtura-") as folder:
        for walls in (at_best, *lesser):
            outcome = _run(program, limits, folder, walls)
            if outcome.walls:
                return outcome
            reason = outcome.reason
    raise SandboxError(f"the sandbox could not be put up: {reason}")


def _run(program: str, limits: Limits, folder: str, at_best: Walls) -> Outcome:
    token = secrets.token_hex(16)
    task = {"program": program, "token": token, "walls": at_best, "limits": asdict(limits)}
    ours, theirs = os.pipe()
    child = subprocess.Popen(  # noqa: S603  (untrusted it is: that is what the walls are for)
        [sys.executable, "-I", "-S", "-B", str(Path(__file__).resolve()), str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs,),
        cwd=folder,
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as report:
            said, late = _said(child, json.dumps(task).encode(), report, limits.patience)
    finally:
        _end(child)
    if late:
        return Outcome(False, f"it was not done after {limits.patience:g} s", _row(said, "walls"))
    return _outcome(said, token, child.returncode, limits)


def _said(
    child: subprocess.Popen[bytes], task: bytes, report: Any, patience: float
) -> tuple[bytes, bool]:
    """What the child reports until it ends, and whether it was ended for taking too long."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(child)

    clock = threading.Timer(patience, stop)
    clock.start()
    try:
        with suppress(BrokenPipeError):
            child.communicate(task)
        said: bytes = report.read(ANSWER)
    finally:
        clock.cancel()
    return said, late.is_set()


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _outcome(said: bytes, token: str, code: int, limits: Limits) -> Outcome:
    walls = _row(said, "walls")
    if _row(said, "token") == token:
        return Outcome(bool(_row(said, "passed")), str(_row(said, "reason")), walls)
    if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU, -signal.SIGKILL, 128 + signal.SIGKILL):
        return Outcome(False, f"it used more than {limits.seconds:g} s of the processor", walls)
    return Outcome(False, f"it ended before its end, with code {code}", walls)


def _row(said: bytes, name: str) -> Any:
    """What a child's report says under a name; None where it does not."""
    found: Any = None
    for line in said.splitlines():
        with suppress(ValueError, AttributeError):  # a program may write there, too
            found = json.loads(line).get(name, found)
    return found


# ---- in the child: from here on nothing but the standard library, and no way back


def _child(report: int) -> NoReturn:
    task = json.loads(sys.stdin.buffer.read())
    limits = Limits(**task["limits"])
    at_best: Walls = task["walls"]
    _limited(limits)
    walls = _walled(at_best, limits)
    _tell(report, {"walls": walls})
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    passed, reason = True, "it ran to its end"
    try:
        exec(compile(task["program"], "<program>", "exec"), names)  # noqa: S102
    except MemoryError:
        passed, reason = False, "it wanted more memory than it may have"
    except BaseException as error:  # noqa: BLE001  (whatever it was, it is the program's)
        passed, reason = False, f"{type(error).__name__}: {error}"[:2000]
    _tell(report, {"token": task["token"], "passed": passed, "reason": reason})
    os._exit(0)


def _tell(report: int, row: dict[str, Any]) -> None:
    os.write(report, json.dumps(row).encode() + b"\n")


def _limited(limits: Limits) -> None:
    cpu = max(1, int(limits.seconds))
    for what, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(what, (soft, soft))
        except (ValueError, OSError):  # macOS does not limit the address space
            continue


def _walled(at_best: Walls, limits: Limits) -> Walls:
    """Put up the best walls there are; from here on a program is inside."""
    if sys.platform == "linux" and at_best != "audit":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        inside = at_best == "namespaces" and _apart(libc, limits)
        if _filtered(libc, writes=inside):
            _audited(writes=inside, everything=False)
            return "namespaces" if inside else "seccomp"
    _audited(writes=False, everything=True)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    return "audit"


# ---- namespaces

_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT, _SECCOMP = 38, 1, 22
_NEW_MOUNTS, _NEW_NAMES, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_NO_SETUID, _NO_DEVICES, _NO_EXEC, _READ_ONLY = 2, 4, 8, 1
_MOUNT_SETATTR, _AT_HERE, _AT_RECURSIVE = 442, -100, 0x8000
_CAPABILITIES = 0x20080522


def _apart(libc: ctypes.CDLL, limits: Limits) -> bool:
    """
    Into namespaces of its own; True in the process that is inside.

    The one that goes in is the first of a new numbering and cannot see any other: the outer
    one waits here until it ends, and ends as it did. False where the machine will not.
    """
    user, group = os.getuid(), os.getgid()
    apart = _NEW_USER | _NEW_MOUNTS | _NEW_NETWORK | _NEW_PROCESSES | _NEW_IPC | _NEW_NAMES
    if libc.unshare(apart):
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    first = os.fork()
    if first:
        _, status = os.waitpid(first, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if not _mounted(libc, limits):
        os._exit(125)
    return True


def _mounted(libc: ctypes.CDLL, limits: Limits) -> bool:
    """Every file read-only, the work folder in memory, /proc empty; and no power to undo it."""
    folder = str(Path.cwd()).encode()
    size = f"size={limits.file * 2},mode=700".encode()
    closed = _NO_SETUID | _NO_DEVICES | _NO_EXEC
    read_only = struct.pack("QQQQ", _READ_ONLY, 0, 0, 0)
    done = not (
        libc.mount(None, b"/", None, _PRIVATE | _RECURSIVE, None)
        or libc.syscall(_MOUNT_SETATTR, _AT_HERE, b"/", _AT_RECURSIVE, read_only, len(read_only))
        or libc.mount(b"tmpfs", folder, b"tmpfs", closed, size)
        or libc.mount(b"tmpfs", b"/proc", b"tmpfs", closed | _READ_ONLY, b"size=4096")
    )
    os.chdir(folder)
    header, none = struct.pack("Ii", _CAPABILITIES, 0), bytes(24)
    return done and not libc.capset(header, none)


# ---- seccomp

_NUMBERS = {
    # name: (x86_64, aarch64); None where there is no such call
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
    "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198), "socketpair": (53, 199),
    "connect": (42, 203), "bind": (49, 200), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kill": (62, 129),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268),
    "mount_setattr": (442, 442), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "setpriority": (141, 140), "prlimit64": (302, 261), "memfd_create": (319, 279),
}  # fmt: skip
_WRITES = {
    "creat": (85, None), "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88), "utimes": (235, None),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "removexattr": (197, 14), "openat2": (437, 437),
    "fchmod": (91, 52), "fchown": (93, 55),
}  # fmt: skip
_OPENS = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Calls that open, and which of their arguments has the flags."""
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06


def _filtered(libc: ctypes.CDLL, *, writes: bool) -> bool:
    """Have the kernel refuse what a sum or a sort never needs; False where we cannot say it."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    column, architecture = machine
    rows = [_step(_LOAD, 4), _step(_EQUAL, architecture, 1), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    if column == 0:  # the same calls under the numbers of another interface
        rows += [_step(_AT_LEAST, 0x40000000, 0, 1), _step(_RETURN, _REFUSE)]
    names = _NUMBERS if writes else _NUMBERS | _WRITES
    for numbers in names.values():
        if (number := numbers[column]) is not None:
            rows += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _REFUSE)]
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    for *numbers, place in () if writes else _OPENS.values():
        if (number := numbers[column]) is not None:
            rows += [
                _step(_EQUAL, number, 0, 4), _step(_LOAD, 16 + 8 * (place or 0)),
                _step(_ANY_BIT, flags, 0, 1), _step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW),
            ]  # fmt: skip
    code = b"".join([*rows, _step(_RETURN, _ALLOW)])
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    return libc.prctl(_SECCOMP, 2, program, 0, 0) == 0


def _step(what: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", what, then, otherwise, value)


# ---- Python's own refusal

_NEVER = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.",
          "socket.", "ctypes.", "os.kill", "os.putenv", "syslog.", "webbrowser.")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
            "os.chown", "os.truncate", "os.utime", "shutil.", "tempfile.")  # fmt: skip


def _audited(*, writes: bool, everything: bool) -> None:
    """A hook that no program can take away; *everything* where there is no other wall."""

    def refuse(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and not writes:
            path, mode, flags = given
            if str(path).startswith("/proc") or "/../proc" in str(path):
                raise PermissionError("the sandbox has no /proc")
            written = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if everything and (written or set(str(mode or "r")) & set("wax+")):
                raise PermissionError("the sandbox writes no file")
        elif event.startswith(_NEVER) or (everything and event.startswith(_CHANGES)):
            raise PermissionError(f"the sandbox refuses {event}")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    _child(int(sys.argv[1]))
