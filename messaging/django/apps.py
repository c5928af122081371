"""The Django app with the label "messaging", whose setting is MESSAGING."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.signals import setting_changed

from messaging.django.setup import DjangoSetup, read

__all__ = ["MessagingConfig"]


class MessagingConfig(AppConfig):
    """`INSTALLED_APPS += ["messaging.django"]`."""

    name = "messaging.django"
    label = "messaging"
    verbose_name = "Messaging"
    default_auto_field: Any = "django.db.models.BigAutoField"

    @cached_property
    def setup(self) -> DjangoSetup:
        """The value of MESSAGING. Raises `MessagingSetting` if it is invalid."""
        return read(getattr(settings, "MESSAGING", {}))

    def ready(self) -> None:
        """Register the checks, and reread MESSAGING when a test overrides it."""
        from messaging.django.checks import check_database, check_setting

        checks.register(check_setting)
        checks.register(check_database, checks.Tags.database)
        setting_changed.connect(self._forget)

    def _forget(self, *, setting: str, **given: Any) -> None:
        if setting == "MESSAGING":
            self.__dict__.pop("setup", None)
