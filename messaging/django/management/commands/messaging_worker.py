"""`manage.py messaging_worker`: runs services in Django, and restarts them when code changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections
from django.db.utils import Error as DatabaseError
from django.utils import autoreload

from messaging.cli.app import run
from messaging.consuming.consumer import Consumer
from messaging.django.commands import CliCommand, DjangoHost, manage_py, refuse
from messaging.django.database import dialect, missing_tables
from messaging.django.handling import TransactionalAtomic
from messaging.django.setup import current
from messaging.logs import logger
from messaging.runtime import Stage, Worker

log = logger("messaging.django")


class _WorkerHost(DjangoHost):
    """Keeps the worker, so that it can be stopped in an orderly way before the code is reloaded."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._workers: list[Worker] = []

    def made(self, worker: Worker, consumers: Sequence[Consumer]) -> None:
        """Refuse handlers that could not run with MESSAGING's settings."""
        self._workers.append(worker)
        middleware: Sequence[object] = self._setup.middleware
        for one in middleware:
            if isinstance(one, TransactionalAtomic):
                for consumer in consumers:
                    for handler in consumer.handlers.values():
                        one.check(consumer.service, is_async=handler.is_async)

    def reloading(self, *, file_path: Path, **given: Any) -> None:
        """Called before the process ends, because `file_path` has changed."""
        if file_path.suffix == ".py":
            self.stop()

    def stop(self) -> None:
        """Let running handlers finish, and release the other messages."""
        for worker in self._workers:
            if worker.stage is not Stage.NEW:
                worker.stop()


class Command(CliCommand):
    """Runs `messaging run` with what MESSAGING says, each handler with fresh connections."""

    help = "Run services: receive, handle, acknowledge, until Ctrl-C or SIGTERM."
    words = ("run",)
    left_out = ("reload",)  # used by Django's own reloader

    def add_arguments(self, parser: CommandParser) -> None:
        """`--reload` in addition to the options of `messaging run`."""
        super().add_arguments(parser)
        about = "For development: start again when a module changes, as runserver does."
        parser.add_argument("--reload", action="store_true", help=about)

    def handle(self, *arguments: Any, **options: Any) -> None:
        """Run it, under Django's reloader if requested."""
        _must_have_tables()
        if not options["reload"]:
            super().handle(**options)
            return
        if str(options["processes"] or 1) != "1" or options["until_empty"]:
            refuse(
                "--reload is for a single worker that keeps running: leave out --processes, "
                "--until-empty"
            )
        host = self.host(options)
        autoreload.file_changed.connect(host.reloading)
        try:
            autoreload.run_with_reloader(partial(self._run, options, host))
        finally:
            host.stop()

    def host(self, options: dict[str, Any]) -> _WorkerHost:
        """The arguments of `messaging run`."""
        return _WorkerHost(child=manage_py("messaging_worker", options))

    def _run(self, options: dict[str, Any], host: _WorkerHost) -> None:
        for name in options["consumers"]:
            # A module that cannot be imported is reported to the reloader, which waits for a
            # change.
            import_module(name.partition(":")[0])
        run(self.command_line(options), host)


def _must_have_tables() -> None:
    """Without the table of marks or the outbox, every message would fail in its handler."""
    alias = current().database
    wrapper = connections[alias]
    if dialect(wrapper) is None:
        return
    try:
        missing = missing_tables(wrapper)
    except DatabaseError as error:
        log.warning("the database %r does not answer (%s)", alias, type(error).__name__)
        return
    finally:
        with suppress(DatabaseError):
            wrapper.close()
    if missing:
        refuse(
            f"{' and '.join(missing)}: missing in the database {alias!r}. Run: manage.py migrate "
            "messaging"
        )
