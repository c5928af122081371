"""The local server's own process: it serves one socket, and ends when its parent does.

Run by path (`python -I child.py ...`), never imported by the library: so moto and ministack are
loaded in this process only, and it does not load the library. RabbitMQ is a child of this process,
with its own name server (epmd).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial


def main() -> None:
    """Serve the socket that the parent bound, until SIGTERM, SIGINT or the parent's end."""
    # From `messaging.local.process.spawn`: "ministack", "moto" or "rabbitmq"; the inherited
    # listening socket ("None" for RabbitMQ); the id of the parent process, whose end ends this one;
    # and the folder to remove at the end.
    engine, descriptor, parent, scratch = sys.argv[1:]
    keeps = os.environ.get("PERSIST_STATE") == "1"
    programs: list[int] = []

    def end(*_: object) -> None:
        # No graceful stop, which would wait for open long polls: the state is saved here instead.
        # Its own child processes end with the process group.
        if keeps:
            _save()
        for one in programs:
            _end_program(one)
        shutil.rmtree(scratch, ignore_errors=True)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # The signal handler runs in the main thread, between two steps of the server: so it never saves
    # a half-made change, and never waits for a node that another thread has reaped.
    in_main = keeps or engine == "rabbitmq"
    orphaned = partial(os.kill, os.getpid(), signal.SIGTERM) if in_main else end
    threading.Thread(
        target=_watch, args=(int(parent), orphaned), name="watch-parent", daemon=True
    ).start()
    if engine == "rabbitmq":
        _rabbitmq(programs)
        end()
    else:
        {"ministack": _ministack, "moto": _moto}[engine](int(descriptor))


def _watch(parent: int, end: Callable[[], None]) -> None:
    """Call `end` when the parent is gone, however it ended.

    The pipe alone is not enough: processes forked by the parent also hold its other end. Linux's
    PR_SET_PDEATHSIG does not work: it fires when the *thread* that started us ends.
    """
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    patience = 1000  # milliseconds between checks of the parent, without pidfd
    if hasattr(os, "pidfd_open"):
        try:
            poll.register(os.pidfd_open(parent), select.POLLIN)
            patience = -1
        except OSError:  # gone already, or a kernel before 5.3
            pass
    while os.getppid() == parent:
        if poll.poll(patience if os.getppid() == parent else 0):
            break
    end()


def _rabbitmq(programs: list[int]) -> None:
    """Start a name server, then run a node until it ends: without one, the node would start a
    daemon."""
    names, node = os.environ["MESSAGING_EPMD"], os.environ["MESSAGING_RABBITMQ"]
    for command in ([names, "-port", os.environ["ERL_EPMD_PORT"], "-address", "127.0.0.1"], [node]):
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the parent's words
        programs.insert(0, started.pid)  # the node is to end first
    # Not `Popen.wait`, because the signal handler may wait for the same process meanwhile.
    os.waitid(os.P_PID, programs[0], os.WEXITED | os.WNOWAIT)


def _end_program(pid: int) -> None:
    """End a program that this process started, gracefully if it has state to save."""
    number = signal.SIGTERM if os.environ.get("MESSAGING_STATE") else signal.SIGKILL
    try:
        os.kill(pid, number)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


# The engines are imported by name, because they are not in the type-checked environment.


def _save() -> None:
    """Save ministack's state, as it does itself at the end of a graceful stop."""
    app = importlib.import_module("ministack.app")
    app.save_all(app._build_persistence_save_dict())


def _ministack(descriptor: int) -> None:
    serve = importlib.import_module("hypercorn.asyncio").serve
    config = importlib.import_module("hypercorn.config").Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = 75
    config.loglevel = os.environ["LOG_LEVEL"]

    async def forever() -> None:
        await asyncio.Event().wait()

    # With our own trigger, hypercorn installs no signal handlers.
    app = importlib.import_module("ministack.app").app
    asyncio.run(serve(app, config, shutdown_trigger=forever))


def _moto(descriptor: int) -> None:
    moto = importlib.import_module("moto.moto_server.werkzeug_app")
    logging.getLogger("werkzeug").setLevel(os.environ["LOG_LEVEL"])
    server = importlib.import_module("werkzeug.serving").make_server(
        "127.0.0.1",
        int(os.environ["MOTO_PORT"]),
        moto.DomainDispatcherApplication(moto.create_backend_app),
        threaded=True,
        request_handler=moto.MotoRequestHandler,
        fd=descriptor,
    )
    server.serve_forever()


if __name__ == "__main__":
    main()
