"""Parses the URLs of RabbitMQ's nodes: their locations, and how connections are encrypted.

amqps://user:password@host:5671/vhost?cacertfile=/etc/ca.pem&certfile=/etc/me.pem&heartbeat=20

The TLS parameters are those of RabbitMQ's own URI syntax; the others are pika's.
https://www.rabbitmq.com/docs/uri-query-parameters
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pika

from messaging.errors import SettingsError

__all__ = ["place", "read_urls"]

_TLS = ("cacertfile", "certfile", "keyfile", "server_name_indication")
_FORM = (
    "amqp://user:password@host:5672/vhost, where a password writes "
    '"/" as "%2F", "@" as "%40" and "?" as "%3F"'
)


def read_urls(urls: str) -> list[Any]:
    """The client's parameters of each URL; several are separated by commas.

    Raises `SettingsError` if a URL cannot be parsed. It quotes no URL, which may hold a password.
    """
    return [_read(one.strip()) for one in urls.split(",") if one.strip()]


def place(parameters: Any) -> str:
    """A node's location for display: its URL without user, password and parameters."""
    scheme, usual = ("amqps", 5671) if parameters.ssl_options else ("amqp", 5672)
    host = f"[{parameters.host}]" if ":" in parameters.host else parameters.host
    port = "" if parameters.port == usual else f":{parameters.port}"
    return f"{scheme}://{host}{port}/{parameters.virtual_host.removeprefix('/')}"


def _read(url: str) -> Any:
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        tls = {name: value for name, value in given if name in _TLS}
        rest = urlencode([(name, value) for name, value in given if name not in _TLS])
    except ValueError:
        raise SettingsError(f"MESSAGING_BROKER_URL cannot be read: {_FORM}") from None
    if "verify" in dict(given):
        raise SettingsError(
            "MESSAGING_BROKER_URL has verify=: certificates are always verified. Name your own "
            "authority with cacertfile="
        )
    if tls and parts.scheme != "amqps":
        raise SettingsError(
            f"MESSAGING_BROKER_URL has {', '.join(tls)}, and its scheme is {parts.scheme}: only "
            "amqps:// is encrypted"
        )
    try:
        found = pika.URLParameters(urlunsplit(parts._replace(query=rest)))
    except Exception:  # noqa: BLE001 - the client's own text would quote the URL, and its password
        names = ", ".join(name for name, _ in given if name not in _TLS)
        said = f"; or one of its parameters is unknown: {names}" if names else ""
        raise SettingsError(f"MESSAGING_BROKER_URL cannot be read: {_FORM}{said}") from None
    if tls:
        found.ssl_options = pika.SSLOptions(_context(tls), tls.get("server_name_indication"))
    return found


def _context(given: dict[str, str]) -> ssl.SSLContext:
    if "keyfile" in given and "certfile" not in given:
        raise SettingsError("MESSAGING_BROKER_URL has keyfile= without certfile=")
    name = "cacertfile"
    try:
        context = ssl.create_default_context(cafile=given.get(name))
        if "certfile" in given:
            name = "certfile"
            context.load_cert_chain(given[name], given.get("keyfile"))
    except OSError as error:  # includes ssl.SSLError: no certificate is in the file
        raise SettingsError(
            f"MESSAGING_BROKER_URL: {name}={given.get(name)} cannot be read as a certificate in "
            f"PEM form ({type(error).__name__})"
        ) from None
    return context
