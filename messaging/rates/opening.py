"""Opens the store of shared rates that a URL names."""

from __future__ import annotations

from messaging.errors import ConfigurationError
from messaging.rates.postgres import PostgresRates
from messaging.rates.redis import RedisRates
from messaging.stores import RateStore

__all__ = ["open_rates"]


def open_rates(url: str) -> RateStore:
    """The store at `url`: "redis://host:6379/0" (or rediss:, unix:) or "postgresql://user@host/db".

    Raises `ConfigurationError`, which does not quote the URL, and `MissingExtra`. It does not
    connect yet.
    """
    scheme = url.partition(":")[0]
    if scheme in ("redis", "rediss", "unix"):
        return RedisRates(url)
    if scheme in ("postgresql", "postgres"):
        return PostgresRates(url)
    raise ConfigurationError(
        "where are shared rates kept? Write redis://host:6379/0 or postgresql://user@host/name"
    )
