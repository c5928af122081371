"""Real databases for tests: PostgreSQL, MariaDB and Redis, as processes of their own, gone at the
end.

    def test_x(postgres: str) -> None: ...     # the conninfo of a fresh, empty database
    def test_z(mariadb: str) -> None: ...      # the URL of a fresh, empty database
    def test_y(redis_url: str) -> None: ...    # the URL of an emptied Redis

A server starts when the first test of a process asks for it, and listens on a socket file in a
folder of its own: no port that another could have. Where the server is not installed the tests
that need it are skipped and say so; where the environment says CI they fail.

Whoever runs pytest many times starts the servers once (`running_postgres`, `running_mariadb`) and
hands on what these give as TESTS_POSTGRES and TESTS_MARIADB: then no test starts one of its own.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import psycopg
import pymysql
import pytest
import redis

__all__ = [
    "mariadb",
    "mariadb_server",
    "postgres",
    "postgres_server",
    "redis_server",
    "redis_url",
    "running_mariadb",
    "running_postgres",
    "running_redis",
]

_USER = "messaging"
_START_SECONDS = 60.0
_numbers = count(1)


@contextmanager
def running_postgres() -> Iterator[str]:
    """The conninfo of a new PostgreSQL's own database."""
    binaries = _postgres_binaries()
    owner = _somebody_else()
    folder = _folder()
    process = None
    try:
        if owner:
            shutil.chown(folder, owner)
        _as(owner, [binaries / "initdb", "-D", folder / "data", "-U", _USER, "-A", "trust"])
        settings = {
            "unix_socket_directories": str(folder),
            "listen_addresses": "",
            "fsync": "off",  # it need not survive this machine, only our own processes' deaths
            "timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        process = _start(owner, [binaries / "postgres", "-D", folder / "data", *options], folder)
        conninfo = f"host={folder} user={_USER} dbname=postgres"
        _wait(process, lambda: psycopg.connect(conninfo).close(), psycopg.OperationalError, folder)
        yield conninfo
    finally:
        _stop(process, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The conninfo of a server's own database; for fixtures that make others."""
    with _running("TESTS_POSTGRES", running_postgres) as conninfo:
        yield conninfo


@contextmanager
def _running(name: str, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """The server that the environment names, or a new one."""
    if given := os.environ.get(name):
        yield given
        return
    with start() as address:
        yield address


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The conninfo of a database that only this test has."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
        yield postgres_server.replace("dbname=postgres", f"dbname={name}")
        admin.execute(f"drop database {name} with (force)".encode())


@contextmanager
def running_mariadb(**more: str) -> Iterator[str]:
    """The URL of a new MariaDB, without a database's name: "mysql://messaging@localhost/{}?..."."""
    install, server = (_mariadb_binary(name) for name in ("mariadb-install-db", "mariadbd"))
    owner = _somebody_else()
    folder = _folder()
    process = None
    try:
        if owner:
            shutil.chown(folder, owner)
        # At its start it deletes what others have in a folder for temporary files that they share.
        data = ["--no-defaults", f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
        accounts = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        _as(owner, [install, *data, *accounts])
        path = folder / "mariadb.sock"
        options = {
            "socket": str(path),
            "pid-file": str(folder / "pid"),
            "innodb-flush-log-at-trx-commit": "0",  # it need not survive this machine
            "innodb-buffer-pool-size": "32M",
            "innodb-lock-wait-timeout": "20",
            **more,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        command = [server, *data, "--skip-networking", *given]
        process = _start(owner, command, folder, death=signal.SIGTERM)  # it ignores SIGINT

        def knock() -> None:
            with closing(socket.socket(socket.AF_UNIX)) as door:  # PyMySQL would leave one open
                door.connect(str(path))

        _wait(process, knock, OSError, folder)
        with pymysql.connect(unix_socket=str(path), user="root", ssl_disabled=True) as admin:
            admin.cursor().execute(f"create user {_USER}@localhost")
            admin.cursor().execute(f"grant all on *.* to {_USER}@localhost with grant option")
        yield f"mysql://{_USER}@localhost/{{}}?unix_socket={path}"
    finally:
        _stop(process, signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    """The one that tests share; see `mariadb`."""
    with _running("TESTS_MARIADB", running_mariadb) as url:
        yield url


@pytest.fixture
def mariadb(mariadb_server: str) -> Iterator[str]:
    """The URL of a database that only this test has; its collation takes "a" for "A"."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    path = mariadb_server.partition("unix_socket=")[2]
    with pymysql.connect(unix_socket=path, user=_USER, autocommit=True) as admin:
        admin.cursor().execute(f"create database {name} collate utf8mb4_general_ci")
        yield mariadb_server.format(name)
        admin.cursor().execute(f"drop database {name}")


@contextmanager
def running_redis() -> Iterator[str]:
    """The URL of a new Redis that keeps nothing on disk."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server", "apt-get install redis-server")
    folder = _folder()
    process = None
    try:
        path = folder / "redis.sock"
        options: list[str | Path] = [
            "--port",
            "0",
            "--unixsocket",
            path,
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = _start(None, [binary, *options], folder)
        url = f"unix://{path}"

        def ping() -> None:
            with redis.Redis.from_url(url) as client:
                client.ping()

        _wait(process, ping, redis.exceptions.ConnectionError, folder)
        yield url
    finally:
        _stop(process, signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The one that tests share; see `redis_url`."""
    with running_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of a Redis with nothing in it."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


def _folder() -> Path:
    # Not in TMPDIR: a socket's path has 107 bytes at most, and PostgreSQL's user must get there.
    return Path(tempfile.mkdtemp(prefix="messaging-", dir="/tmp"))


def missing(server: str, remedy: str) -> NoReturn:
    """Skip the test; but where the environment says CI, fail: there it must have run."""
    said = f"{server} is not installed, and a test that needs it cannot run: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


def _postgres_binaries() -> Path:
    candidates = [Path(one).parent for one in [shutil.which("initdb")] if one]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    missing("PostgreSQL", "apt-get install postgresql")


def _mariadb_binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found or missing("MariaDB", "apt-get install mariadb-server")


def _somebody_else() -> str | None:
    """PostgreSQL and MariaDB refuse to run as root: then as the user that
    PostgreSQL's package made, or as nobody."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _as(user: str | None, command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stderr}"


def _start(
    user: str | None,
    command: Sequence[str | Path],
    folder: Path,
    *,
    death: signal.Signals = signal.SIGINT,
) -> subprocess.Popen[bytes]:
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [str(part) for part in command],
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            cwd="/",
            stdout=log,
            stderr=log,
            preexec_fn=partial(_die_with_parent, death) if sys.platform == "linux" else None,
        )


def _die_with_parent(how: signal.Signals) -> None:
    ctypes.CDLL(None).prctl(1, how)  # PR_SET_PDEATHSIG: even if pytest is killed


def _wait(
    process: subprocess.Popen[bytes],
    ask: Callable[[], None],
    refused: type[Exception],
    folder: Path,
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            ask()
        except refused:
            log = (folder / "server.log").read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"the server ended at its start:\n{log}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{log}"
            time.sleep(0.02)
        else:
            return


def _stop(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    if process is None:
        return
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
