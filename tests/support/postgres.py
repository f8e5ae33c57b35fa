"""Debian's PostgreSQL server, for the tests of a store in it: one a session, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.support.requirements import leave_out

MISSING = "no PostgreSQL server here: apt-get install --no-install-recommends postgresql"


class PostgresServer:
    """A server in a folder of its own, on a socket there and on a port of this machine."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._numbers = count(1)
        self._free: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        # The server refuses to run as root: the package has made a user for it.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            import pwd  # not on Windows

            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        words = ["-U", "postgres", "-A", "trust", "--auth-host=scram-sha-256", "--no-sync"]
        self._run("initdb", "-D", str(folder / "data"), "-E", "UTF8", "--locale=C.UTF-8", *words)

    def start(self) -> None:
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "fsync=off"]
        settings += [f"unix_socket_directories={self._folder}", "max_connections=60"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres", "-D", self._folder / "data",
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                user=self._user, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End the server at once; every connection is cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def empty_database(self) -> Generator[str, None, None]:
        """The address of a database that has nothing of ours; it is emptied and used again."""
        address = self._free.pop() if self._free else self.new_database()
        yield address
        with psycopg.connect(address) as connection:
            connection.execute("DROP SCHEMA IF EXISTS mixtura CASCADE")
        self._free.append(address)

    def new_database(self, **how: str) -> str:
        """The address of a new database."""
        name = f"test{next(self._numbers)}"
        more = " ".join(f"{key} {value}" for key, value in how.items())
        self.execute("postgres", f"CREATE DATABASE {name} {more}")
        return self.address(name)

    def address(self, database: str, user: str = "postgres") -> str:
        """Of a database by the socket, where every user is let in without a password."""
        return (
            f"postgresql://{user}@/{database}?host={quote(str(self._folder), '')}&port={self.port}"
        )

    def tcp_address(self, database: str, user: str) -> str:
        """Of a database by the port, where users need a password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, database: str, statement: str) -> None:
        """Run a statement as the database's administrator."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *words: str) -> None:
        command = [self._binaries / program, *words]
        done = subprocess.run(
            command, user=self._user, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running_postgres() -> Generator[PostgresServer, None, None]:
    """A server that runs; skips the test where none is installed, or fails it where one must be."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found += [Path(name) for name in [shutil.which("postgres")] if name]
    if not found:
        leave_out("postgres", MISSING)
    folder = Path(tempfile.mkdtemp(prefix="mixtura-pg-"))
    server = None
    try:
        server = PostgresServer(found[-1].parent, folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        with suppress(OSError):
            shutil.rmtree(folder)
