"""The calls that a process with llama.cpp answers: a socket for each, and which of them stall."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time

from mixtura.core.errors import UnavailableError
from mixtura.llama.process_output import readable_descriptors

MAX_PROMPT_WAITS = 10
"""Time limits that a call waits at most while the prompts of other calls are read."""


class CallChannel:
    """The socket of one call, and when the call last showed a sign of life."""

    __slots__ = ("begun", "limit", "reading_since", "sign", "socket", "stalled", "writing")

    def __init__(self, ours: socket.socket, limit: float) -> None:
        self.socket = ours
        self.limit = limit
        """Seconds that it may be without a sign of life."""
        self.begun = False
        self.writing = False
        """Its prompt is read, its answer is being generated."""
        self.stalled = False
        self.reading_since = 0.0
        self.sign = 0.0
        """When something last came from it, on the clock ``time.monotonic``."""

    def is_overdue(self, now: float, others_read: float) -> bool:
        """Whether it was without a sign of life for too long."""
        since = self.sign
        if not self.writing:  # others' prompts may be read before its own
            since = min(max(since, others_read), self.reading_since + MAX_PROMPT_WAITS * self.limit)
        return now - since > self.limit


class CallChannels:
    """
    The channels of one process: calls under way, and calls that were left before their end.

    *control*: the socket by which the process is handed those of the calls. From any thread;
    what is shared is changed under *lock*.
    """

    def __init__(self, control: socket.socket, lock: threading.Lock) -> None:
        self.closed = False
        """The process was ended: no call reaches it. Set under the lock."""
        self.retired = False
        """The process is to take no more calls."""
        self.prompt_progress_at = 0.0
        """When a piece of any call's prompt was last read, on the clock ``time.monotonic``."""
        self._control = control
        self._lock = lock
        self._open: set[CallChannel] = set()
        self._left: set[CallChannel] = set()

    def open_channel(self, limit: float) -> CallChannel | None:
        """
        A channel for one call; None when the process has too many to take in. Where the process
        is gone, the channel is broken. Raises UnavailableError.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise UnavailableError(f"a call to llama.cpp cannot begin: {error}") from None
        ours.setblocking(False)
        channel = CallChannel(ours, limit)
        try:
            with theirs, self._lock:
                if not self.closed:
                    socket.send_fds(self._control, [b"c"], [theirs.fileno()])
                self._open.add(channel)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS):
                ours.close()
                return None
            self._open.add(channel)  # the process ended just now
        return channel

    def leave_channel(self, channel: CallChannel, *, whole: bool) -> None:
        """
        End a call for its caller. Unless its answer is *whole*, llama.cpp is told to stop, and
        the channel is watched until it has.
        """
        with self._lock:
            self._open.discard(channel)
            if whole or self.closed or channel.stalled:
                channel.socket.close()
            else:
                channel.sign = channel.reading_since = time.monotonic()
                with contextlib.suppress(OSError):
                    channel.socket.shutdown(socket.SHUT_WR)
                self._left.add(channel)

    def left_channels(self) -> tuple[dict[int, CallChannel], bool]:
        """The channels to watch, by file descriptor, and whether any call is under way."""
        with self._lock:
            return {channel.socket.fileno(): channel for channel in self._left}, bool(self._open)

    def drain_channel(self, channel: CallChannel) -> None:
        """Discard what still comes for a call that was left; close it at its end."""
        try:
            over = not channel.socket.recv(1 << 16)
            channel.begun, channel.sign = True, time.monotonic()
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            with self._lock:
                self._left.discard(channel)
            channel.socket.close()

    def stop_stalled_calls(self) -> None:
        """End the calls without a sign of life for too long; then the process is retired."""
        now = time.monotonic()
        with self._lock:
            late = [
                channel
                for channel in (*self._open, *self._left)
                if channel.begun
                and not channel.stalled
                and channel.is_overdue(now, self.prompt_progress_at)
            ]
            unread = readable_descriptors([channel.socket.fileno() for channel in late], 0.0)
            for channel in late:
                if channel.socket.fileno() in unread:  # its caller is late, not llama.cpp
                    continue
                channel.stalled = True
                self.retired = True
                with contextlib.suppress(OSError):
                    channel.socket.shutdown(socket.SHUT_RDWR)
                if channel in self._left:
                    self._left.discard(channel)
                    channel.socket.close()

    def is_superfluous(self, *, idle: bool) -> bool:
        """
        Whether the process can end: it is retired and no call of it lives, or it has none and
        was *idle* for long enough.
        """
        with self._lock:
            channels = (*self._open, *self._left)
            if self.retired:
                return not any(channel.begun and not channel.stalled for channel in channels)
            return idle and not channels

    def close_locked(self) -> None:
        """No call reaches the process any more; the lock is held."""
        self.closed = True
        for channel in self._left:
            channel.socket.close()
        self._left.clear()
