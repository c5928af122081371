"""The local server's own process: it serves one socket, and ends when its parent does.

Run by path (`python -I child.py ...`), never imported by the library: so moto and ministack live
in this process only, and the process does not load the library. RabbitMQ is a child of it, with a
name server (epmd) of its own.
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
    """Serve the socket that the parent bound, until SIGTERM, SIGINT or the parent's death."""
    # As `messaging.local.process.spawn` gives them: "ministack", "moto" or "rabbitmq"; a listening
    # socket that is inherited, "None" for RabbitMQ; the process whose end ends this one; and the
    # folder that is removed at the end.
    engine, descriptor, parent, scratch = sys.argv[1:]
    keeps = os.environ.get("PERSIST_STATE") == "1"
    programs: list[int] = []

    def end(*_: object) -> None:
        # No graceful stop, which waits for open long polls: what is to be kept is written here.
        # What it may have started goes down with its process group.
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
    # The signal's handler runs in the main thread, between two steps of the server: so what is
    # written is never half of a change, and nobody waits for a node that another thread has reaped.
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
    """Call `end` when the parent is gone, however it went.

    The pipe alone is not enough: a process that the parent forked holds its other end as well.
    Linux's PR_SET_PDEATHSIG would not do: it fires when the *thread* that started us ends.
    """
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    patience = 1000  # milliseconds between looks at the parent, where the kernel cannot tell
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
    """Run a node until it ends, after a name server: without one it would start a daemon."""
    names, node = os.environ["MESSAGING_EPMD"], os.environ["MESSAGING_RABBITMQ"]
    for command in ([names, "-port", os.environ["ERL_EPMD_PORT"], "-address", "127.0.0.1"], [node]):
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the parent's words
        programs.insert(0, started.pid)  # the node is ended first
    # Not `Popen.wait`: the signal's handler, which runs meanwhile, waits for the same process.
    os.waitid(os.P_PID, programs[0], os.WEXITED | os.WNOWAIT)


def _end_program(pid: int) -> None:
    """End a program that this process started, in order if it has something to keep."""
    number = signal.SIGTERM if os.environ.get("MESSAGING_STATE") else signal.SIGKILL
    try:
        os.kill(pid, number)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


# What follows is imported by name: the engines are not in the environment that is type-checked.


def _save() -> None:
    """Write what ministack holds, as it does itself at the end of a graceful stop."""
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

    # With a trigger of our own, hypercorn leaves the signals alone.
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
