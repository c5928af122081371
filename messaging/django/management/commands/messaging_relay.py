"""`manage.py messaging_relay`: sends committed entries of the outbox in Django's database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from messaging.cli.project import Host
from messaging.django.commands import CliCommand, DjangoHost, refuse
from messaging.django.database import url, wrapper_of
from messaging.django.setup import current
from messaging.errors import ConfigurationError


class Command(CliCommand):
    """Runs `messaging outbox relay` on the database that Django knows by an alias."""

    help = "Send what was committed to the outbox, until Ctrl-C or SIGTERM."
    words = ("outbox", "relay")
    left_out = ("database",)

    def add_arguments(self, parser: CommandParser) -> None:
        """`--using` in addition to the options of `messaging outbox relay`."""
        super().add_arguments(parser)
        about = 'The database, by its alias. Else MESSAGING["DATABASE"], else "default".'
        parser.add_argument("--using", metavar="ALIAS", help=about)

    def host(self, options: dict[str, Any]) -> Host:
        """The relay has its own connection, to the same database as Django's."""
        alias = options["using"] or current().database
        try:
            return DjangoHost(database=url(wrapper_of(alias)))
        except ConfigurationError as error:
            refuse(str(error))
