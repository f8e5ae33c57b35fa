"""A process gives up, for good, all that it could do but compute and talk on its open pipes."""

from __future__ import annotations

import _socket  # not `socket`, whose many imports a program would find in its process
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

Isolation = Literal["seccomp", "seatbelt"]
"""
What holds a program: seccomp (Linux) or the sandbox profile "pure-computation" (macOS).

The kernel refuses every call that opens, reads, lists or changes a file, opens a socket,
starts a process or a thread, signals or looks at another process, or raises a limit.
"""
NOBODY = 65534

_CALLS = {
    # name: its number on x86-64 and on ARM64; None where there is none
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214),
    "futex": (202, 98), "sched_yield": (24, 124), "getpid": (39, 172), "gettid": (186, 178),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "pause": (34, None),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrusage": (98, 165), "setitimer": (38, 103), "getitimer": (36, 102),
    "alarm": (37, None), "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
"""All that a program may ask of the kernel. None of it reaches beyond the process's own pipes."""
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
# Refused with EPERM, which a program can report, rather than killed.
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_DIE_WITH_PARENT, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVILEGES = 1, 4, 22, 38


class IsolationError(Exception):
    """This machine does not confine a process, so nothing may run in this one."""


def isolate_process(seconds: float, memory: int, parent: int) -> Isolation:
    """
    Confine this process for good: *seconds* of the processor, *memory* in bytes, no files.

    It ends with *parent*, the number of the process that started it. Says by what. Raises
    IsolationError where the kernel does not confine it, or where that turns out not to hold.
    """
    _set_resource_limits(seconds, memory)
    if sys.platform == "linux":
        _drop_root()
        _die_with_parent(parent)
        _install_seccomp_filter()
        isolation: Isolation = "seccomp"
    elif sys.platform == "darwin":
        _enter_seatbelt()
        isolation = "seatbelt"
    else:
        raise IsolationError(f"{sys.platform} has nothing that confines a process")
    _verify_isolation()
    return isolation


def _set_resource_limits(seconds: float, memory: int) -> None:
    # The kernel counts whole seconds.
    cpu = max(1, round(seconds))
    for what, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        # No file may grow, not even one that is open; no core dump writes the memory to one.
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # macOS does not limit the address space.
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (least, least))


def _drop_root() -> None:
    """An ordinary user is one more lock; the filter holds root, too, so it may fail."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)


def _die_with_parent(parent: int) -> None:
    # Both ends: the parent's end takes this process along, and no process of the same user may look
    # into it.
    libc = ctypes.CDLL(None)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    # It may have ended before the kernel was asked to watch it.
    if os.getppid() != parent:
        raise IsolationError("what started it has ended")


def _install_seccomp_filter() -> None:
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        raise IsolationError(f"its call numbers on {os.uname().machine} are not known here")
    column, architecture = machine
    allowed = [numbers[column] for numbers in _CALLS.values()]
    # First the architecture: a 32-bit call has a number that means another call here.
    rows = [
        _bpf_instruction(_LOAD, 4), _bpf_instruction(_EQUAL, architecture, 1),
        _bpf_instruction(_RETURN, _KILL), _bpf_instruction(_LOAD, 0),
        *(row for number in allowed if number is not None
          for row in (_bpf_instruction(_EQUAL, number, 0, 1), _bpf_instruction(_RETURN, _ALLOW))),
        _bpf_instruction(_RETURN, _REFUSE),
    ]  # fmt: skip
    code = b"".join(rows)
    # Held until the kernel has copied it: the program below has only its address.
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel takes a filter from an ordinary user only if nothing it starts can gain rights.
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SECCOMP, 2, program, 0, 0):
        raise IsolationError(f"seccomp: {os.strerror(ctypes.get_errno())}")


def _bpf_instruction(what: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", what, then, otherwise, value)


def _enter_seatbelt() -> None:
    libc = ctypes.CDLL(None)
    message = ctypes.c_char_p()
    named = 1
    if libc.sandbox_init(b"pure-computation", ctypes.c_uint64(named), ctypes.byref(message)):
        raise IsolationError(f"sandbox_init: {(message.value or b'').decode(errors='replace')}")


def _try_fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _verify_isolation() -> None:
    """Try what must be refused: a filter that is there and does not hold is none."""
    forbidden: dict[str, Callable[[], object]] = {
        "open a file": lambda: os.open("/dev/null", os.O_RDONLY),
        "list a folder": lambda: os.listdir("/"),
        "look at a file": lambda: os.stat("/"),
        "open a socket": lambda: _socket.socket(_socket.AF_UNIX).close(),
        "start a process": _try_fork,
        "signal another process": lambda: os.kill(os.getppid(), 0),
    }
    for what, attempt in forbidden.items():
        try:
            attempt()
        except OSError:
            continue
        raise IsolationError(f"a confined process can still {what}")
