"""What the stores on Redis share: how they connect, with time limits, and how they tell errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from messaging.errors import ConfigurationError, MissingExtra, TransportError

__all__ = ["OnRedis"]


class OnRedis:
    """A store whose keys begin with `prefix`.

    client    a URL, whose connections are closed with the store; or a `redis.Redis` of the caller.
    timeout   seconds to wait for Redis, in each attempt; the URL's own socket_timeout and
              socket_connect_timeout take precedence.
    attempts  how often a command is sent at most; None: the client's default.

    Raises `ConfigurationError`, which does not quote the URL, because it may contain a password;
    and `MissingExtra` if the package redis is not installed.
    """

    def __init__(
        self, client: Any, prefix: str, timeout: float, attempts: int | None = None
    ) -> None:
        if timeout <= 0:
            raise ConfigurationError(
                f"{type(self).__name__}(timeout={timeout!r}): more than 0 seconds"
            )
        self._owned = isinstance(client, str)
        self._client = (
            _open(client, timeout, type(self).__name__, attempts) if self._owned else client
        )
        self._prefix = prefix

    def __repr__(self) -> str:
        # The client's own repr may show its URL.
        return f"{type(self).__name__}(prefix={self._prefix!r})"

    def close(self) -> None:
        """Close the connections that were made for a URL."""
        if self._owned:
            self._client.close()

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` returns. Raises `TransportError` for an error of Redis; `what` reads "refused
        it"."""
        try:
            return ask()
        except Exception as error:
            name = type(error).__name__
            if all(one.__name__ != "RedisError" for one in type(error).__mro__):
                raise
            raise TransportError(
                f"Redis {what} ({name}); check its address, password and state", code=name
            ) from None


def _open(url: str, timeout: float, who: str, attempts: int | None) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise MissingExtra(f"{who} needs the package redis", "redis") from error
    more: dict[str, Any] = (
        {} if attempts is None else {"retry": Retry(NoBackoff(), max(0, attempts - 1))}
    )
    try:
        return redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, **more
        )
    except ValueError:
        raise ConfigurationError(
            "the URL of Redis cannot be read: write redis://host:6379/0; in a password write "
            '"%2F" for "/", "%3A" for ":", "%40" for "@" (it is not shown)'
        ) from None
