"""Redis and PostgreSQL for one run: on loopback, at free ports, in temporary directories, ended by their process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Skipped, end

PATIENCE_SECONDS = 30
POSTGRES_USER = "postgres"


def free_port() -> int:
    """A port of the loopback address that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _until(works: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not works():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Skipped(f"{what} did not come up")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@contextmanager
def redis(*, durable: bool) -> Iterator[int]:
    """A Redis, as its port. ``durable``: every write is synced before it is answered. Skipped where it is absent."""
    program = shutil.which("redis-server")
    if program is None:
        raise Skipped("redis-server is not installed")
    with tempfile.TemporaryDirectory(prefix="nbilling-bench-redis-") as directory:
        port = free_port()
        keep = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--appendonly", "no")
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", *keep],
            stdout=subprocess.DEVNULL,
        )
        try:
            _until(lambda: _answers(port), process, "redis-server")
            yield port
        finally:
            end(process)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL with its settings as they come (fsync and synchronous_commit on), as a connection string. Skipped
    where it is absent."""
    initdb, server, asks = (_postgres_program(name) for name in ("initdb", "postgres", "pg_isready"))
    # It refuses to run as root: as its own user then, if there is one.
    user = POSTGRES_USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="nbilling-bench-postgres-") as directory:
        data = Path(directory) / "data"
        try:
            if user:
                shutil.chown(directory, user)
            subprocess.run(
                [initdb, "-D", str(data), "-A", "trust", "-U", POSTGRES_USER, "-E", "UTF8", "--no-locale"],
                check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (LookupError, OSError, subprocess.CalledProcessError) as error:
            raise Skipped(f"PostgreSQL cannot make a database here: {error}") from None
        port = free_port()
        process = subprocess.Popen(
            [server, "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
             "-c", f"unix_socket_directories={directory}"],
            user=user, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            ready = [asks, "-q", "-h", "127.0.0.1", "-p", str(port)]
            _until(lambda: subprocess.run(ready, check=False).returncode == 0, process, "postgres")
            yield f"host=127.0.0.1 port={port} user={POSTGRES_USER} dbname=postgres"
        finally:
            end(process)


def _postgres_program(name: str) -> str:
    """On the PATH, or where Debian keeps it, the newest version first."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name) or (str(places[0]) if places else None)
    if found is None:
        raise Skipped("PostgreSQL is not installed")
    return found
