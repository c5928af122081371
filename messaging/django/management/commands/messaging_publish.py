"""`manage.py messaging_publish`: `messaging publish`, configured by MESSAGING."""

from __future__ import annotations

from messaging.django.commands import CliCommand


class Command(CliCommand):
    """Runs `messaging publish` with what MESSAGING says."""

    help = "Publish each row of a CSV file as an event."
    words = ("publish",)
