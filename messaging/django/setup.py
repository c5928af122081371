"""The Django setting MESSAGING: its keys, and their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from pydantic import ValidationError

from messaging.cli import names
from messaging.codec import Codec
from messaging.consuming.dispatch import Middleware
from messaging.errors import SettingsError
from messaging.settings import Settings, without_password
from messaging.topology import Topology

__all__ = ["FILE", "MessagingSetting", "DjangoSetup", "current", "deployment", "read"]

FILE = "the Django setting MESSAGING"

_OURS: Mapping[str, type] = {
    "CODEC": str,
    "CSV": Mapping,
    "DATABASE": str,
    "EVENT": str,
    "MIDDLEWARE": Sequence,
    "TOPOLOGY": str,
}
_NOT_HERE = frozenset(
    ("database", "topology")
)  # fields of Settings with a different meaning in Django


class MessagingSetting(SettingsError, ImproperlyConfigured):
    """The Django setting MESSAGING is invalid. `mistakes` has the details.

    Args:
        mistakes: what is wrong, one text per mistake.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(f"{FILE} is wrong:\n  " + "\n  ".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, kw_only=True)
class DjangoSetup:
    """The value of MESSAGING. Objects are named as "module:NAME", and loaded when first used.

    fields      of `messaging.Settings`.
    database    the alias of the database with the outbox and the marks.
    middleware  around every handler of `messaging_worker`, outermost first.
    csv, event  for `messaging_publish`, as in the command line's project file.

    Args:
        fields: arguments of `Settings`.
        database: the alias of the outbox's database.
        topology_name: the `Topology`, as "module:NAME".
        codec_name: the codec, as "module:NAME".
        event_name: the event of `messaging_publish`, as "module:NAME".
        middleware_names: the middleware, each as "module:NAME".
        csv: the CSV options of `messaging_publish`.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    database: str = DEFAULT_DB_ALIAS
    topology_name: str | None = None
    codec_name: str | None = None
    event_name: str | None = None
    middleware_names: tuple[str, ...] = ()
    csv: Mapping[str, Any] = field(default_factory=dict)

    def deployment(self) -> Settings:
        """The settings, overridden by the environment: MESSAGING_TOPIC takes precedence over
        MESSAGING["TOPIC"]."""
        return Settings.from_environment(defaults=self.fields)

    @cached_property
    def topology(self) -> Topology | None:
        """The topology, if one is named."""
        if self.topology_name is None:
            return None
        return names.topology(self.topology_name, 'MESSAGING["TOPOLOGY"]')

    @cached_property
    def codec(self) -> Codec | None:
        """The codec; None is the library's own JSON."""
        return names.codec(self.codec_name, 'MESSAGING["CODEC"]') if self.codec_name else None

    @cached_property
    def middleware(self) -> Sequence[Middleware]:
        """The middleware, each created once."""
        return [names.middleware(one, 'MESSAGING["MIDDLEWARE"]') for one in self.middleware_names]

    @cached_property
    def source(self) -> str:
        """The publisher's source. Raises `MessagingSetting` if it is not set."""
        source = self.deployment().source
        if source is None:
            raise MessagingSetting(['SOURCE is missing: who publishes? Like "/secretaria"'])
        return source


def read(given: object) -> DjangoSetup:
    """The checked value of MESSAGING.

    Args:
        given: the value in Django's settings.

    Raises:
        MessagingSetting: if anything in it is invalid; it names all mistakes at once.
    """
    if not isinstance(given, Mapping):
        raise MessagingSetting([f"a dict was expected, not {type(given).__name__}"])
    fields = {name.upper(): name for name in Settings.model_fields if name not in _NOT_HERE}
    known = ", ".join(sorted([*fields, *_OURS]))
    mistakes = [
        f"nobody reads {key!r}; known are {known}"
        for key in given
        if key not in fields and key not in _OURS
    ]
    for key, kind in _OURS.items():
        value = given.get(key)
        if value is not None and (not isinstance(value, kind) or _is_text_for_a_list(kind, value)):
            mistakes.append(f"{key}: {_EXPECTED[kind]} was expected, not {type(value).__name__}")
    alias = given.get("DATABASE") or DEFAULT_DB_ALIAS
    if isinstance(alias, str) and alias not in list(connections):
        there = ", ".join(sorted(connections))
        mistakes.append(f"DATABASE: there is no {alias!r} in DATABASES, which has {there}")
    values = {fields[key]: given[key] for key in given if key in fields and given[key] is not None}
    mistakes += _mistakes_of(values)
    if mistakes:
        raise MessagingSetting(mistakes)
    return DjangoSetup(
        fields=values,
        database=alias,
        topology_name=given.get("TOPOLOGY"),
        codec_name=given.get("CODEC"),
        event_name=given.get("EVENT"),
        middleware_names=tuple(given.get("MIDDLEWARE") or ()),
        csv=given.get("CSV") or {},
    )


_EXPECTED: Mapping[type, str] = {
    str: "a text",
    Mapping: "a dict",
    Sequence: 'a list of "module:NAME"',
}


def _is_text_for_a_list(kind: type, value: object) -> bool:
    return kind is Sequence and (
        isinstance(value, str) or not all(isinstance(one, str) for one in cast("Any", value))
    )


def _mistakes_of(values: Mapping[str, Any]) -> list[str]:
    try:
        Settings.model_validate(dict(values))
    except ValidationError as error:
        return [
            f"{str(one['loc'][0]).upper()}={without_password(str(one['input']))!r}: {one['msg']}"
            for one in error.errors(include_url=False)
        ]
    return []


def current() -> DjangoSetup:
    """The current value of MESSAGING: read once, and again when a test overrides it."""
    config: Any = apps.get_app_config("messaging")
    found: DjangoSetup = config.setup
    return found


def deployment() -> Settings:
    """The library's `Settings` from MESSAGING and the environment, for `connect(...)`.

    The topic is that of MESSAGING["TOPOLOGY"] unless another is named.

    Example:
        ```python
        # Not run: needs a Django project; examples/django has one, with tests.
        from messaging import connect
        from messaging.django import deployment

        publisher = Publisher(connect(deployment()).topic(), source="/secretaria")
        ```
    """
    setup = current()
    settings = setup.deployment()
    if settings.topic is None and setup.topology is not None:
        settings = settings.model_copy(update={"topic": setup.topology.topic.name})
    return settings
